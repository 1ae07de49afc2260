"""Put fastmlp's classes where a program has taken scikit-learn's from, and scikit-learn's back."""

from __future__ import annotations

import sys
from types import ModuleType

from sklearn.neural_network import _multilayer_perceptron

from .classifier import MLPClassifier
from .regressor import MLPRegressor

# scikit-learn's own, as they are before anything is replaced.
TheirClassifier = _multilayer_perceptron.MLPClassifier
TheirRegressor = _multilayer_perceptron.MLPRegressor

_REPLACEMENTS: dict[type, type] = {TheirClassifier: MLPClassifier, TheirRegressor: MLPRegressor}
# What has been replaced, and where.
_replaced: list[tuple[ModuleType, str, type]] = []


def patch_sklearn() -> None:
    """Let ``sklearn.neural_network`` give fastmlp's MLPClassifier and MLPRegressor.

    They are replaced in scikit-learn, and in every module imported so far that has taken them from
    there by name. Objects that exist already stay what they are, and cannot be pickled meanwhile.
    Calling it again replaces what has been imported since.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.patch_sklearn()
    >>> from sklearn.neural_network import MLPClassifier
    >>> MLPClassifier is fm.MLPClassifier
    True
    >>> fm.unpatch_sklearn()
    """
    by_identity = {id(theirs): (theirs, ours) for theirs, ours in _REPLACEMENTS.items()}
    package = __name__.partition(".")[0]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package or not isinstance(module, ModuleType):
            continue
        for attribute, value in list(vars(module).items()):
            found = by_identity.get(id(value))
            if found is not None:
                setattr(module, attribute, found[1])
                _replaced.append((module, attribute, found[0]))


def unpatch_sklearn() -> None:
    """Undo `patch_sklearn`: every name it has replaced is what it was.

    A name that has been given another value since stays as it is.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.unpatch_sklearn()
    """
    while _replaced:
        module, attribute, theirs = _replaced.pop()
        if vars(module).get(attribute) is _REPLACEMENTS[theirs]:
            setattr(module, attribute, theirs)
