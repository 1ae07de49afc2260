"""The libraries that train the works, one module each, written as their own tutorials write it.

A module is the only importer of its library and holds one class, ``Run``, with the interface
below. Set-up belongs in ``__init__`` and ``reset``, which are not timed: data converted to the
library's own arrays, code compiled. To add a rival, write its module and add a row to ``RIVALS``.
"""

import importlib
import importlib.util
from typing import NamedTuple, Protocol, cast

from ..works import Data, Weights, Work


class Run(Protocol):
    """One library about to train one work; raises NotImplementedError if it cannot express it."""

    def __init__(self, work: Work, weights: Weights, data: Data, n_threads: int) -> None: ...

    def reset(self) -> None:
        """Go back to the initial weights and to an optimizer that has not stepped yet."""

    def train(self) -> None:
        """Train for the work's epochs; return when the last one is done. This is what is timed."""

    def weights(self) -> Weights:
        """Return the current weights."""


class Rival(NamedTuple):
    """Where a rival is written and which package it needs."""

    module: str
    package: str

    def missing(self) -> str | None:
        """Return why the rival cannot run, or None; imports nothing."""
        if importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed"
        return None

    def load(self) -> type[Run]:
        """Import the rival, and with it its package."""
        return cast(type[Run], importlib.import_module(f".{self.module}", __name__).Run)

    def version(self) -> str:
        """Return the version of the rival's package."""
        return str(importlib.import_module(self.package).__version__)


RIVALS: dict[str, Rival] = {
    "fastmlp": Rival("fastmlp_fit", "fastmlp"),
    "numpy": Rival("numpy_loop", "numpy"),
    "pytorch": Rival("pytorch_eager", "torch"),
    "pytorch-compiled": Rival("pytorch_compiled", "torch"),
    "jax": Rival("jax_scan", "jax"),
    "scikit-learn": Rival("scikit_learn", "sklearn"),
}
