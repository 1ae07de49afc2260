"""fastmlp: multi-layer perceptrons on a CPU, as fast as the hardware allows.

A map of the package; imports only point down::

    doors       progress, benchmarks, cli           other packages; imported when asked for
    training    training, callbacks, trace          epochs, minibatches, stopping, listening
    network     network, predictor, serialization   layers, parameters, prediction, files
    data        arrays, datasets                    user arrays in, rows out
    tables      activations, losses, optimizers,    small declarations; how many threads
                initializers, metrics, threads
    kernels/    compiled: arrays in, arrays out; knows nothing of the rooms above
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import datasets, metrics
from .callbacks import Callback, Progress
from .config import show_config
from .losses import BinaryCrossEntropy, CrossEntropy, HalfSquaredError, MeanSquaredError
from .network import MLP
from .optimizers import SGD, Adam
from .predictor import Predictor
from .threads import get_num_threads, set_num_threads
from .training import History, Trainer
from .version import __version__

if TYPE_CHECKING:
    from .progress import ProgressBar as ProgressBar
    from .serialization import load

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "BinaryCrossEntropy",
    "Callback",
    "CrossEntropy",
    "HalfSquaredError",
    "History",
    "MeanSquaredError",
    "Predictor",
    "Progress",
    "Trainer",
    "__version__",
    "datasets",
    "get_num_threads",
    "load",
    "metrics",
    "set_num_threads",
    "show_config",
]

# Names whose modules import other packages: fetched on first use, so that `import fastmlp` needs
# NumPy alone. Those of extras are not in __all__, so that a star import needs no extra.
_LAZY = {"ProgressBar": "progress", "load": "serialization"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
