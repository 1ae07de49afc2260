"""Metrics: one number that says how good predictions are.

A metric compares `y_true` with `y_pred`, which is what ``mlp.predict`` returns. `METRICS` is the
table of all of them, `get` finds one by name. To add one, write its function and its row.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import find

__all__ = [
    "METRICS",
    "Metric",
    "accuracy",
    "get",
    "log_loss",
    "mean_absolute_error",
    "mean_squared_error",
    "r2",
]

Float64: TypeAlias = NDArray[np.float64]

# Probabilities may leave 0..1, and their sum in a row miss 1, by this much: float32 kernels round
# in the last place, float16 by up to 0.0005.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Metric:
    """A metric with its name and its direction; call it like its function.

    Parameters
    ----------
    name : str
        The name it has in the history and in printed lines.
    function : callable
        ``function(y_true, y_pred)`` returns a number. It is given the keyword argument
        ``sample_weight`` only when there are weights.
    greater_is_better : bool or None
        The direction, for early stopping; None where it is not known.
    """

    name: str
    function: Callable[..., float]
    greater_is_better: bool | None

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the value of the metric as a Python float."""
        if sample_weight is None:
            return float(self.function(y_true, y_pred))
        return float(self.function(y_true, y_pred, sample_weight=sample_weight))


def get(metric: str | Metric | Callable[..., float]) -> Metric:
    """Return the metric of that name, or wrap a function of your own.

    Parameters
    ----------
    metric : str, Metric or callable
        A name from `METRICS`, or an alias (``mse``, ``mae``, ``r2_score``), which gives the
        metric under its full name; a `Metric`, returned as it is; or a callable, called as
        `Metric` describes it, named after its ``__name__`` and of unknown direction.

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        If there is no metric of that name.
    TypeError
        If `metric` is none of these.
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        return find("metric", metric, _BY_NAME)
    if callable(metric):
        # Partial functions and callable objects have no name of their own.
        return Metric(getattr(metric, "__name__", type(metric).__name__), metric, None)
    raise TypeError(f"metric: got {type(metric).__name__}, expected a name, a Metric or a callable")


def named_metrics(metrics: Iterable[str | Metric | Callable[..., float]]) -> dict[str, Metric]:
    """Return the metrics of a list under the names that results show: as given, or their own.

    Raises
    ------
    TypeError
        If `metrics` is one metric, or no iterable.
    ValueError
        If there is no metric of a name in it, or two would share one.
    """
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(
            f"metrics: got {metrics!r}, expected a list of names and functions: ['accuracy']"
        )
    found: dict[str, Metric] = {}
    for given in metrics:
        metric = get(given)
        name = given if isinstance(given, str) else metric.name
        if name == "loss" or name in found:
            raise ValueError(
                f"metrics: two results would be called {name!r}; give each a name of its own: "
                "Metric('name', function)"
            )
        found[name] = metric
    return found


def accuracy(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the share of rows whose class is predicted correctly.

    With several columns, the predicted class is the one with the highest score, the first of
    equals; with one column it is 1 where the score is above 0.5, else 0. A row with a NaN score
    counts as wrong.

    Parameters
    ----------
    y_true : array of shape (n,), (n, 1) or (n, n_out)
        Class numbers from 0; or class probabilities, one-hot rows among them, of which the
        highest counts. For a single column: 0 or 1, or the probability of class 1.
    y_pred : array of shape (n, n_out) or (n,)
        Scores or probabilities.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.

    Returns
    -------
    float
        Between 0 and 1; greater is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty or a label is out of range.
    TypeError
        If an array does not hold numbers.
    """
    scores = _predictions(y_pred)
    targets, weights = _class_targets(y_true, scores), _weights(sample_weight, scores)
    if scores.shape[1] == 1:
        correct = (scores[:, 0] > 0.5) == (targets[:, 0] > 0.5)
    else:
        classes = targets.argmax(axis=1) if targets.shape[1] > 1 else targets[:, 0]
        correct = scores.argmax(axis=1) == classes
    correct &= ~np.isnan(scores).any(axis=1)
    return _mean(correct.astype(np.float64), weights)


def mean_squared_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean of the squared errors over outputs and rows.

    Parameters
    ----------
    y_true : array of shape (n, n_out), or (n,) if there is one output
        True values.
    y_pred : array of shape (n, n_out) or (n,)
        Predicted values.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.

    Returns
    -------
    float
        At least 0; smaller is better.

    Raises
    ------
    ValueError
        If shapes do not match or an array is empty.
    TypeError
        If an array does not hold numbers.
    """
    predicted = _predictions(y_pred)
    targets, weights = _values(y_true, predicted), _weights(sample_weight, predicted)
    with _quiet():
        return _mean(((predicted - targets) ** 2).mean(axis=1), weights)


def mean_absolute_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean of the absolute errors over outputs and rows.

    Parameters
    ----------
    y_true : array of shape (n, n_out), or (n,) if there is one output
        True values.
    y_pred : array of shape (n, n_out) or (n,)
        Predicted values.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.

    Returns
    -------
    float
        At least 0; smaller is better.

    Raises
    ------
    ValueError
        If shapes do not match or an array is empty.
    TypeError
        If an array does not hold numbers.
    """
    predicted = _predictions(y_pred)
    targets, weights = _values(y_true, predicted), _weights(sample_weight, predicted)
    with _quiet():
        return _mean(np.abs(predicted - targets).mean(axis=1), weights)


def r2(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the coefficient of determination R², averaged over the outputs.

    For each output it is ``1 - sum(w * (y_true - y_pred)²) / sum(w * (y_true - mean)²)``, with
    the weighted mean of `y_true`: 0 for predicting that mean, 1 for no error. An output whose
    true values are all equal, as they are in a single row, scores 1 if predicted exactly and else
    0; scikit-learn does the same, but gives NaN for a single row.

    Parameters
    ----------
    y_true : array of shape (n, n_out), or (n,) if there is one output
        True values.
    y_pred : array of shape (n, n_out) or (n,)
        Predicted values.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.

    Returns
    -------
    float
        At most 1; greater is better.

    Raises
    ------
    ValueError
        If shapes do not match or an array is empty.
    TypeError
        If an array does not hold numbers.
    """
    predicted = _predictions(y_pred)
    targets, weights = _values(y_true, predicted), _weights(sample_weight, predicted)
    with _quiet():
        residual = (weights[:, np.newaxis] * (predicted - targets) ** 2).sum(axis=0)
        # Measured from a row that counts, constant targets are exactly 0, and so is their mean:
        # no rounding makes them look as if they varied.
        targets = targets - targets[weights.argmax()]
        mean = (weights[:, np.newaxis] * targets).sum(axis=0) / weights.sum()
        total = (weights[:, np.newaxis] * (targets - mean) ** 2).sum(axis=0)
        constant = total == 0
        scores = 1 - residual / np.where(constant, 1.0, total)
        scores[constant] = residual[constant] == 0
        return float(scores.mean())


def log_loss(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean negative logarithm of the probability given to the true class.

    With target probabilities t it is ``-sum(t * log(p))`` per row; with one column,
    ``-t * log(p) - (1 - t) * log(1 - p)``. Probabilities are clipped to [eps, 1 - eps] first, eps
    being that of the element type of `y_pred`, as in scikit-learn.

    Parameters
    ----------
    y_true : array of shape (n,), (n, 1) or (n, n_out)
        Class numbers from 0; or class probabilities, one-hot rows among them. For a single
        column: 0 or 1, or the probability of class 1.
    y_pred : array of shape (n, n_out) or (n,)
        Class probabilities, as softmax gives them; or the probability of class 1, as one sigmoid
        output gives it.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.

    Returns
    -------
    float
        At least 0, or NaN if a probability is; smaller is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty, a label is out of range or `y_pred` does not
        hold probabilities.
    TypeError
        If an array does not hold numbers.
    """
    p = _predictions(y_pred)
    targets, weights = _class_targets(y_true, p), _weights(sample_weight, p)
    _check_probabilities("y_pred", p, "probabilities between 0 and 1, as softmax or sigmoid give")

    dtype = np.asarray(y_pred).dtype
    eps = float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)
    log_p = np.log(np.clip(p, eps, 1 - eps))
    if p.shape[1] == 1:
        log_q = np.log(np.clip(1 - p, eps, 1 - eps))
        losses = -(targets * log_p + (1 - targets) * log_q)[:, 0]
    elif targets.shape[1] == 1:
        losses = -log_p[np.arange(len(p)), targets[:, 0].astype(np.intp)]
    else:
        losses = -(targets * log_p).sum(axis=1)
    return _mean(losses, weights)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy",            accuracy,            greater_is_better=True),
        Metric("mean_squared_error",  mean_squared_error,  greater_is_better=False),
        Metric("mean_absolute_error", mean_absolute_error, greater_is_better=False),
        Metric("r2",                  r2,                  greater_is_better=True),
        Metric("log_loss",            log_loss,            greater_is_better=False),
    )
}  # fmt: skip

_BY_NAME = METRICS | {
    "mse": METRICS["mean_squared_error"],
    "mae": METRICS["mean_absolute_error"],
    "r2_score": METRICS["r2"],
}


def _predictions(y_pred: ArrayLike) -> Float64:
    """Return `y_pred` as (n, n_out)."""
    values = _numbers("y_pred", y_pred)
    if values.ndim not in (1, 2) or values.size == 0:
        raise ValueError(
            f"y_pred: has the shape {values.shape}, expected (n, n_out) with at least one row "
            "and one column"
        )
    return values[:, np.newaxis] if values.ndim == 1 else values


def _values(y_true: ArrayLike, predicted: Float64) -> Float64:
    """Return `y_true` in the shape of `predicted`; never broadcast, which would hide mistakes."""
    targets = _finite("y_true", y_true)
    if targets.shape == (len(predicted),) and predicted.shape[1] == 1:
        return targets[:, np.newaxis]
    if targets.shape != predicted.shape:
        raise ValueError(
            f"y_true: has the shape {targets.shape}, expected {predicted.shape}, that of y_pred"
        )
    return targets


def _class_targets(y_true: ArrayLike, predicted: Float64) -> Float64:
    """Return `y_true` as (n, 1), class numbers or P(class 1), or as (n, n_out) probabilities."""
    targets = _finite("y_true", y_true)
    n, n_out = predicted.shape
    if targets.shape not in ((n,), (n, 1), (n, n_out)):
        expected = f"({n},)" if n_out == 1 else f"({n},) or ({n}, {n_out})"
        raise ValueError(
            f"y_true: has the shape {targets.shape}, expected {expected} "
            f"for y_pred of shape {predicted.shape}"
        )
    targets = targets.reshape(n, -1)
    if n_out == 1:
        _check_probabilities("y_true", targets, "0 or 1, as y_pred has a single column")
    elif targets.shape[1] == n_out:
        _check_probabilities("y_true", targets, "class probabilities between 0 and 1")
    else:
        labels = targets[:, 0]
        wrong = (labels < 0) | (labels >= n_out) | (labels % 1 != 0)
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"y_true: holds {labels[row]:g} in row {row}, expected class numbers from 0 "
                f"to {n_out - 1}, one for each column of y_pred"
            )
    return targets


def _check_probabilities(argument: str, p: Float64, expected: str) -> None:
    """Check that values lie in 0..1 and rows of several columns sum to 1; let NaN pass."""
    wrong = (p < -_TOLERANCE) | (p > 1 + _TOLERANCE)
    if wrong.any():
        row, column = (int(index[0]) for index in np.nonzero(wrong))
        raise ValueError(f"{argument}: holds {p[row, column]:g} in row {row}, expected {expected}")
    if p.shape[1] > 1:
        sums = p.sum(axis=1)
        wrong = np.abs(sums - 1) > _TOLERANCE
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"{argument}: row {row} sums to {sums[row]:g}, expected class probabilities, "
                "which sum to 1"
            )


def _weights(sample_weight: ArrayLike | None, predicted: Float64) -> Float64:
    """Return one weight per row of `predicted`, ones by default."""
    n = len(predicted)
    if sample_weight is None:
        return np.ones(n)
    weights = _finite("sample_weight", sample_weight)
    if weights.shape != (n,):
        raise ValueError(
            f"sample_weight: has the shape {weights.shape}, expected ({n},), one for each row"
        )
    if (weights < 0).any():
        row = int((weights < 0).argmax())
        raise ValueError(
            f"sample_weight: holds {weights[row]:g} in row {row}, expected no negative weight"
        )
    if not weights.any():
        raise ValueError("sample_weight: all weights are 0, expected at least one above 0")
    return weights


def _finite(argument: str, value: ArrayLike) -> Float64:
    """Return `value` in float64, free of NaN and infinity."""
    values = _numbers(argument, value)
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.nonzero(wrong)[0][0]) if values.ndim else 0
        raise ValueError(f"{argument}: row {row} holds NaN or infinity, expected finite numbers")
    return values


def _numbers(argument: str, value: ArrayLike) -> Float64:
    """Return `value` in float64, in which every sum is made."""
    array: NDArray[Any] = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{argument}: holds {array.dtype}, expected numbers")
    return array.astype(np.float64, copy=False)


def _mean(row_values: Float64, weights: Float64) -> float:
    return float((weights * row_values).sum() / weights.sum())


def _quiet() -> np.errstate:
    """Silence overflow: the predictions of a diverged network give inf or NaN, which says it."""
    return np.errstate(over="ignore", invalid="ignore")
