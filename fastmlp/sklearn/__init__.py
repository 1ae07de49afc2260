"""scikit-learn's door: its multi-layer perceptrons with fastmlp's kernels.

A map of it::

    public      classifier, regressor       MLPClassifier and MLPRegressor
                convert, patch              from and to scikit-learn's; in place of them
                searches, ensembles         scikit-learn's over many networks
    shared      base                        parameters, networks, training, prediction, pickles
    parts       labels, losses              classes in and out; which loss for which targets
                epochs, standing            after every epoch; where a training stands
                at_once                     several fits in one process

Everything here is imported with the first of its names, and scikit-learn with it.
"""

from __future__ import annotations

try:
    import sklearn  # noqa: F401  scikit-learn itself: imports are absolute
except ImportError as error:
    raise ImportError(
        f"fastmlp.sklearn needs scikit-learn ({error}): pip install 'fastmlp[sklearn]'"
    ) from error

from .classifier import MLPClassifier
from .convert import from_sklearn, to_sklearn
from .ensembles import BaggingClassifier, BaggingRegressor
from .patch import patch_sklearn, unpatch_sklearn
from .regressor import MLPRegressor
from .searches import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV

__all__ = [
    "BaggingClassifier",
    "BaggingRegressor",
    "GridSearchCV",
    "HalvingGridSearchCV",
    "MLPClassifier",
    "MLPRegressor",
    "RandomizedSearchCV",
    "from_sklearn",
    "patch_sklearn",
    "to_sklearn",
    "unpatch_sklearn",
]
