"""fastmlp: multi-layer perceptrons on a CPU, as fast as the hardware allows.

A map of the package; imports only point down::

    doors       sklearn, progress, plots, lbfgs,    other packages; imported when asked for
                benchmarks, cli
    seeing      inspection, trace, doctor, finder   what the network does while it learns
    training    training, fitting, callbacks,       epochs, minibatches, stopping, listening
                history, checkpoints, many
    network     network, structure, predictor,      layers, parameters, prediction, files
                serialization
    data        arrays, datasets                    user arrays in, rows out
    tables      activations, losses, optimizers,    small declarations; how many threads
                schedules, initializers, metrics,
                threads
    kernels/    compiled: arrays in, arrays out; knows nothing of the rooms above
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import activations, datasets, metrics
from .callbacks import Callback, Progress
from .config import show_config
from .history import History
from .losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    HalfPoissonDeviance,
    HalfSquaredError,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    Quantile,
)
from .network import MLP
from .predictor import Predictor
from .threads import get_num_threads, set_num_threads
from .version import __version__

if TYPE_CHECKING:
    from . import plots as plots
    from . import schedules
    from .doctor import Doctor
    from .fitting import Checkpoint, EarlyStopping
    from .lbfgs import fit_lbfgs as fit_lbfgs
    from .many import fit_many
    from .optimizers import SGD, Adagrad, Adam, AdamW, LevenbergMarquardt, Nadam, RMSprop
    from .progress import ProgressBar as ProgressBar
    from .schedules import (
        Constant,
        Cosine,
        Exponential,
        InverseScaling,
        MultiStep,
        OneCycle,
        OnPlateau,
        Polynomial,
        Step,
        Warmup,
    )
    from .serialization import load
    from .sklearn import BaggingClassifier as BaggingClassifier
    from .sklearn import BaggingRegressor as BaggingRegressor
    from .sklearn import GridSearchCV as GridSearchCV
    from .sklearn import HalvingGridSearchCV as HalvingGridSearchCV
    from .sklearn import MLPClassifier as MLPClassifier
    from .sklearn import MLPRegressor as MLPRegressor
    from .sklearn import RandomizedSearchCV as RandomizedSearchCV
    from .sklearn import from_sklearn as from_sklearn
    from .sklearn import patch_sklearn as patch_sklearn
    from .sklearn import to_sklearn as to_sklearn
    from .sklearn import unpatch_sklearn as unpatch_sklearn
    from .training import Trainer

__all__ = [
    "MLP",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "BinaryCrossEntropy",
    "Callback",
    "Checkpoint",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "Doctor",
    "EarlyStopping",
    "Exponential",
    "HalfPoissonDeviance",
    "HalfSquaredError",
    "History",
    "Huber",
    "InverseScaling",
    "LevenbergMarquardt",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MultiStep",
    "Nadam",
    "OnPlateau",
    "OneCycle",
    "Poisson",
    "Polynomial",
    "Predictor",
    "Progress",
    "Quantile",
    "RMSprop",
    "Step",
    "Trainer",
    "Warmup",
    "__version__",
    "activations",
    "datasets",
    "fit_many",
    "get_num_threads",
    "load",
    "metrics",
    "schedules",
    "set_num_threads",
    "show_config",
]

# Names in modules that import other packages, and modules that not every program needs: fetched on
# first use, so that `import fastmlp` needs NumPy alone and little time. Those of extras are not in
# __all__, so that a star import needs no extra.
_MODULES: dict[str, tuple[str, ...]] = {
    "doctor": ("Doctor",),
    "fitting": ("Checkpoint", "EarlyStopping"),
    "lbfgs": ("fit_lbfgs",),
    "many": ("fit_many",),
    "optimizers": ("SGD", "Adagrad", "Adam", "AdamW", "LevenbergMarquardt", "Nadam", "RMSprop"),
    "plots": (),
    "progress": ("ProgressBar",),
    "schedules": (
        "Constant", "Cosine", "Exponential", "InverseScaling", "MultiStep", "OnPlateau",
        "OneCycle", "Polynomial", "Step", "Warmup",
    ),
    "serialization": ("load",),
    "sklearn": (
        "BaggingClassifier", "BaggingRegressor", "GridSearchCV", "HalvingGridSearchCV",
        "MLPClassifier", "MLPRegressor", "RandomizedSearchCV", "from_sklearn", "patch_sklearn",
        "to_sklearn", "unpatch_sklearn",
    ),
    "training": ("Trainer",),
}  # fmt: skip
_LAZY = {name: module for module, names in _MODULES.items() for name in (module, *names)}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module = import_module(f".{_LAZY[name]}", __name__)
        return module if name == _LAZY[name] else getattr(module, name)
    raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
