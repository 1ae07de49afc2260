"""Initial weights by name.

Each draws a matrix of shape (n_in, n_out) in float64 from a NumPy generator, so that a float32 and
a float64 network of one seed start alike. Biases start at zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .arguments import find

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INITIALIZERS"]

# As text, because to look at numpy.random is to import it, which `import fastmlp` need not.
Initializer: TypeAlias = "Callable[[np.random.Generator, int, int], NDArray[np.float64]]"


def he_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Uniform within ±sqrt(6 / n_in): He, Zhang, Ren and Sun (2015), for the ReLU family."""
    limit = np.sqrt(6 / n_in)
    return rng.uniform(-limit, limit, (n_in, n_out))


def he_normal(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Normal with variance 2 / n_in: He, Zhang, Ren and Sun (2015)."""
    return rng.normal(0, np.sqrt(2 / n_in), (n_in, n_out))


def glorot_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Uniform within ±sqrt(6 / (n_in + n_out)): Glorot and Bengio (2010)."""
    limit = np.sqrt(6 / (n_in + n_out))
    return rng.uniform(-limit, limit, (n_in, n_out))


def glorot_normal(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Normal with variance 2 / (n_in + n_out): Glorot and Bengio (2010)."""
    return rng.normal(0, np.sqrt(2 / (n_in + n_out)), (n_in, n_out))


def lecun_normal(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Normal with variance 1 / n_in: LeCun, Bottou, Orr and Müller (1998), for selu."""
    return rng.normal(0, np.sqrt(1 / n_in), (n_in, n_out))


def lecun_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Uniform within ±sqrt(3 / n_in): LeCun, Bottou, Orr and Müller (1998)."""
    limit = np.sqrt(3 / n_in)
    return rng.uniform(-limit, limit, (n_in, n_out))


def normal(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Normal with variance 1, as textbooks start: for networks of a few neurons."""
    return rng.normal(0, 1, (n_in, n_out))


def zeros(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[np.float64]:
    """All zero: the neurons of a hidden layer then stay alike for ever."""
    return np.zeros((n_in, n_out))


INITIALIZERS: dict[str, Initializer] = {
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "xavier_uniform": glorot_uniform,
    "xavier_normal": glorot_normal,
    "lecun_uniform": lecun_uniform,
    "lecun_normal": lecun_normal,
    "normal": normal,
    "zeros": zeros,
}


def get(name: object) -> Initializer:
    """Return the initializer called ``name``."""
    return find("init", name, INITIALIZERS)
