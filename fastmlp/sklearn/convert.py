"""Fitted scikit-learn networks as fastmlp's estimators, and the other way."""

from __future__ import annotations

import copy
from typing import Any

from numpy.typing import NDArray
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.utils.validation import check_is_fitted

from ..network import MLP
from ..optimizers import SGD, Adam
from .base import BaseMLP
from .classifier import MLPClassifier
from .losses import out_activation
from .patch import TheirClassifier, TheirRegressor
from .regressor import MLPRegressor
from .standing import Standing

_PAIRS = ((TheirClassifier, MLPClassifier), (TheirRegressor, MLPRegressor))
# What scikit-learn keeps of a fit beside its weights, where there is any.
_FITTED = (
    "classes_", "loss_", "loss_curve_", "best_loss_", "validation_scores_",
    "best_validation_score_", "n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_",
    "n_features_in_", "feature_names_in_", "_label_binarizer", "_no_improvement_count",
    "_random_state",
)  # fmt: skip
# Our names of the activations it has, and its own.
_ACTIVATIONS = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
_OUTPUTS = ("identity", "softmax", "logistic", "exp")


def from_sklearn(fitted: Any) -> MLPClassifier | MLPRegressor:
    """Return a fitted scikit-learn network as fastmlp's estimator.

    Predictions are the same within rounding, and ``partial_fit`` goes on with the optimizer's
    vectors. The original is left as it is.

    Parameters
    ----------
    fitted : sklearn.neural_network.MLPClassifier or MLPRegressor

    Returns
    -------
    MLPClassifier or MLPRegressor

    Raises
    ------
    TypeError
        If it is something else.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> import fastmlp as fm
    >>> from sklearn.neural_network import MLPRegressor
    >>> X = [[0.0], [1.0], [2.0]]
    >>> theirs = MLPRegressor(solver="lbfgs", random_state=0).fit(X, [0.0, 1.0, 2.0])
    >>> ours = fm.from_sklearn(theirs)
    >>> bool(abs(ours.predict(X) - theirs.predict(X)).max() < 1e-12)
    True
    """
    kind = next((ours for theirs, ours in _PAIRS if type(fitted) is theirs), None)
    if kind is None:
        raise TypeError(
            f"fitted: got {type(fitted).__name__}, expected scikit-learn's MLPClassifier or "
            f"MLPRegressor"
        )
    check_is_fitted(fitted, "coefs_")
    ours: MLPClassifier | MLPRegressor = kind(**copy.deepcopy(fitted.get_params(deep=False)))
    _copy_fitted(fitted, ours)
    mlp = MLP.from_weights(
        fitted.coefs_,
        fitted.intercepts_,
        activation=fitted.activation,
        output=fitted.out_activation_,
    )
    ours._bind(mlp)
    optimizer = getattr(fitted, "_optimizer", None)
    if optimizer is not None:
        ours._standing = Standing.of_theirs(optimizer, mlp)
    return ours


def to_sklearn(fitted: MLPClassifier | MLPRegressor) -> Any:
    """Return a fitted estimator of fastmlp's as scikit-learn's.

    Batch normalisation and scaling are folded into the weights, so that predictions are the same
    within rounding.

    Parameters
    ----------
    fitted : MLPClassifier or MLPRegressor

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor
        With the optimizer's vectors, where the network has been converted as it is.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If scikit-learn has no such network: several hidden activations, or others than its own; an
        output it does not have; several columns of classes; inputs whose scaling cannot be folded.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> import fastmlp as fm
    >>> X = [[0.0], [1.0], [2.0]]
    >>> ours = fm.MLPRegressor(solver="lbfgs", random_state=0).fit(X, [0.0, 1.0, 2.0])
    >>> theirs = fm.to_sklearn(ours)
    >>> bool(abs(ours.predict(X) - theirs.predict(X)).max() < 1e-12)
    True
    """
    if not isinstance(fitted, BaseMLP):
        raise TypeError(
            f"fitted: got {type(fitted).__name__}, expected fastmlp's MLPClassifier or MLPRegressor"
        )
    mlp = fitted._network()
    theirs = TheirClassifier() if isinstance(fitted, MLPClassifier) else TheirRegressor()
    own = copy.deepcopy(fitted.get_params(deep=False))
    theirs.set_params(**{name: own[name] for name in theirs.get_params() if name in own})
    theirs.activation = _activation_of(fitted, mlp)
    output = out_activation(mlp.output)
    if output not in _OUTPUTS:
        raise _cannot_hold(f"the output {output!r}, expected one of {', '.join(_OUTPUTS)}")
    if isinstance(getattr(fitted, "_label_binarizer", None), list):
        raise _cannot_hold("several columns of classes, expected one, or labels of 0 and 1")
    if isinstance(fitted, MLPRegressor) and fitted.loss not in ("squared_error", "poisson"):
        theirs.loss = "poisson" if output == "exp" else "squared_error"
    structure, params, inputs, _ = mlp._folded()
    if inputs is not None:
        raise _cannot_hold("a scaling of inputs that lie too far from zero to be folded in")
    _copy_fitted(fitted, theirs)
    theirs.coefs_ = [
        params[part.w].reshape(n_in, -1).copy()
        for part, n_in in zip(structure.parts, structure.sizes[:-1], strict=True)
    ]
    theirs.intercepts_ = [params[part.b].copy() for part in structure.parts]
    theirs._best_coefs = [w.copy() for w in theirs.coefs_]
    theirs._best_intercepts = [b.copy() for b in theirs.intercepts_]
    as_it_is = mlp.scale is None and not any(mlp._structure.normalization)
    trainer = fitted._trainer
    standing = fitted._standing if trainer is None else Standing.of(trainer)
    if as_it_is and standing is not None:
        theirs._optimizer = _optimizer_of(standing, theirs, mlp)
    return theirs


def _cannot_hold(what: str) -> ValueError:
    return ValueError(f"fitted: scikit-learn has no networks with {what}")


def _activation_of(fitted: BaseMLP, mlp: MLP) -> str:
    """Return scikit-learn's name of the activation of all hidden layers."""
    found = set(mlp.activations[:-1]) or {"relu"}
    if len(found) > 1 or not found <= set(_ACTIVATIONS):
        raise _cannot_hold(
            f"the hidden activations {', '.join(mlp.activations[:-1])}, expected one for all "
            f"layers: {', '.join(_ACTIVATIONS.values())}"
        )
    return _ACTIVATIONS[found.pop()]


def _copy_fitted(source: Any, target: Any) -> None:
    held = vars(source)
    for name in _FITTED:
        if name in held:
            setattr(target, name, copy.deepcopy(held[name]))


def _listed(mlp: MLP, flat: NDArray[Any]) -> list[NDArray[Any]]:
    """Return scikit-learn's list of a flat vector."""
    parts = mlp._structure.parts
    weights = [flat[p.w].reshape(w.shape) for p, w in zip(parts, mlp.weights, strict=True)]
    return [array.copy() for array in (*weights, *(flat[p.b] for p in parts))]


def _optimizer_of(standing: Standing, theirs: Any, mlp: MLP) -> Any:
    """Return scikit-learn's optimizer that stands where ours does; None where it has no such."""
    ours, vectors = standing.optimizer, standing.vectors
    params = theirs.coefs_ + theirs.intercepts_
    if isinstance(ours, Adam):
        adam = AdamOptimizer(params, ours.lr, ours.beta1, ours.beta2, ours.eps)
        adam.t, adam.ms, adam.vs = standing.n_steps, *(_listed(mlp, v) for v in vectors)
        return adam
    assert isinstance(ours, SGD)
    sgd = SGDOptimizer(
        params, ours.lr, theirs.learning_rate, ours.momentum, ours.nesterov, theirs.power_t
    )
    if len(vectors):
        sgd.velocities = _listed(mlp, vectors[0])
    if len(standing.rate) == 1:
        sgd.learning_rate = float(standing.rate[0])
    return sgd
