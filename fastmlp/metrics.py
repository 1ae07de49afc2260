"""Metrics: one number that says how good predictions are.

A metric compares `y_true` with `y_pred`, which is what ``mlp.predict`` returns: scores, a column
for each class, rather than classes. `METRICS` is the table of all of them, `get` finds one by
name. To add one, write its function and its row.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import find, number, whole_number

__all__ = [
    "METRICS",
    "Metric",
    "accuracy",
    "balanced_accuracy",
    "confusion_matrix",
    "explained_variance",
    "f1",
    "get",
    "hamming_loss",
    "huber",
    "log_cosh",
    "log_loss",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "median_absolute_error",
    "pinball",
    "poisson_deviance",
    "precision",
    "r2",
    "recall",
    "roc_auc",
    "root_mean_squared_error",
    "subset_accuracy",
    "top_k_accuracy",
]

Float64: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.intp]
Booleans: TypeAlias = NDArray[np.bool_]

_EPS = float(np.finfo(np.float64).eps)

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

    Examples
    --------
    A metric with an option of your choice has a name of your choice:

    >>> from functools import partial
    >>> from fastmlp import metrics
    >>> top_2 = partial(metrics.top_k_accuracy, k=2)
    >>> metric = metrics.Metric("top_2_accuracy", top_2, greater_is_better=True)
    >>> metric([2, 0], [[1, 2, 3], [1, 2, 3]])
    0.5
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
        A name from `METRICS`, or an alias (``mse``, ``rmse``, ``mae``, ``mape``, ``r2_score``),
        which gives the metric under its full name; a `Metric`, returned as it is; or a callable,
        called as `Metric` describes it, named after its ``__name__`` and of unknown direction.

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        If there is no metric of that name.
    TypeError
        If `metric` is none of these.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.get("mse").name
    'mean_squared_error'
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


# ---- classes: a row belongs to one of several, or to class 1 or not


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

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.accuracy([0, 1, 2, 2], [[8, 1, 1], [2, 7, 1], [1, 3, 6], [5, 4, 1]])
    0.75
    >>> metrics.accuracy([0, 1, 1, 1], [0.2, 0.9, 0.6, 0.4])
    0.75
    """
    scores, classes, weights = _classified(y_true, y_pred, sample_weight)
    return _mean(_predicted_classes(scores) == classes, weights)


def balanced_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the share of correctly predicted rows of each class, averaged over the classes.

    Every class that occurs in `y_true` counts the same, however few its rows are. Classes are
    predicted as for `accuracy`; a row with a NaN score counts as wrong.

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

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.balanced_accuracy([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4])
    0.5
    """
    counts = _count_classes(y_true, y_pred, sample_weight)
    occurs = counts.true > 0
    return float((counts.correct[occurs] / counts.true[occurs]).mean())


def precision(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    average: str = "macro",
) -> float:
    """Return the share of the rows predicted to be of a class that are of it.

    With one column it is that of class 1; with several it is averaged over the classes that
    occur, be it in `y_true` or in the predictions. A class that is never predicted scores 0.
    Classes are predicted as for `accuracy`; a row with a NaN score is of no predicted class.

    Parameters
    ----------
    y_true : array of shape (n,), (n, 1) or (n, n_out)
        Class numbers from 0; or class probabilities, one-hot rows among them, of which the
        highest counts. For a single column: 0 or 1, or the probability of class 1.
    y_pred : array of shape (n, n_out) or (n,)
        Scores or probabilities.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.
    average : {"macro", "weighted"}
        Whether the mean over the classes is plain, or weighted by the rows each class has in
        `y_true`. Not used with one column.

    Returns
    -------
    float
        Between 0 and 1; greater is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty, a label is out of range or `average` is neither.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.precision([0, 0, 1, 1], [0.1, 0.9, 0.8, 0.4])
    0.5
    >>> metrics.precision([0, 1, 2, 2], [[8, 1, 1], [2, 7, 1], [1, 6, 3], [1, 3, 6]])
    0.8333333333333334
    """
    counts = _count_classes(y_true, y_pred, sample_weight)
    return _class_average(counts, counts.predicted, average)


def recall(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    average: str = "macro",
) -> float:
    """Return the share of the rows of a class that are predicted to be of it.

    With one column it is that of class 1; with several it is averaged over the classes that
    occur, be it in `y_true` or in the predictions. A class without a row in `y_true` scores 0;
    `balanced_accuracy` leaves it out. Classes are predicted as for `accuracy`; a row with a NaN
    score is of no predicted class.

    Parameters
    ----------
    y_true : array of shape (n,), (n, 1) or (n, n_out)
        Class numbers from 0; or class probabilities, one-hot rows among them, of which the
        highest counts. For a single column: 0 or 1, or the probability of class 1.
    y_pred : array of shape (n, n_out) or (n,)
        Scores or probabilities.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.
    average : {"macro", "weighted"}
        Whether the mean over the classes is plain, or weighted by the rows each class has in
        `y_true`. Not used with one column.

    Returns
    -------
    float
        Between 0 and 1; greater is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty, a label is out of range or `average` is neither.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.recall([0, 0, 1, 1], [0.1, 0.9, 0.8, 0.4])
    0.5
    >>> metrics.recall([0, 1, 2, 2], [[8, 1, 1], [2, 7, 1], [1, 6, 3], [1, 3, 6]])
    0.8333333333333334
    """
    counts = _count_classes(y_true, y_pred, sample_weight)
    return _class_average(counts, counts.true, average)


def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    average: str = "macro",
) -> float:
    """Return the harmonic mean of precision and recall.

    With one column it is that of class 1; with several it is averaged over the classes that
    occur, be it in `y_true` or in the predictions. A class of which no row is predicted correctly
    scores 0. Classes are predicted as for `accuracy`; a row with a NaN score is of no predicted
    class.

    Parameters
    ----------
    y_true : array of shape (n,), (n, 1) or (n, n_out)
        Class numbers from 0; or class probabilities, one-hot rows among them, of which the
        highest counts. For a single column: 0 or 1, or the probability of class 1.
    y_pred : array of shape (n, n_out) or (n,)
        Scores or probabilities.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.
    average : {"macro", "weighted"}
        Whether the mean over the classes is plain, or weighted by the rows each class has in
        `y_true`. Not used with one column.

    Returns
    -------
    float
        Between 0 and 1; greater is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty, a label is out of range or `average` is neither.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.f1([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.4])
    0.6666666666666666
    """
    counts = _count_classes(y_true, y_pred, sample_weight)
    return _class_average(counts, (counts.true + counts.predicted) / 2, average)


def top_k_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    k: int = 5,
) -> float:
    """Return the share of rows whose class is among the `k` with the highest scores.

    Of equal scores the first is the higher, as for `accuracy`, which is this with ``k=1``;
    scikit-learn takes the last. A row with a NaN score counts as wrong. By name it is
    ``"top_5_accuracy"``.

    Parameters
    ----------
    y_true : array of shape (n,), (n, 1) or (n, n_out)
        Class numbers from 0; or class probabilities, one-hot rows among them, of which the
        highest counts.
    y_pred : array of shape (n, n_out)
        Scores or probabilities.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.
    k : int
        How many classes; fewer than there are.

    Returns
    -------
    float
        Between 0 and 1; greater is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty, a label is out of range, or `k` is no whole
        number above 0 and below the number of columns.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.top_k_accuracy([0, 1, 2, 2], [[8, 1, 1], [5, 3, 2], [1, 3, 6], [5, 4, 1]], k=2)
    0.75
    """
    scores, classes, weights = _classified(y_true, y_pred, sample_weight)
    k, n_out = whole_number("k", k, 1), scores.shape[1]
    if n_out <= k:
        raise ValueError(
            f"y_pred: has the shape {scores.shape}, expected more than k={k} columns, as every "
            f"class is among the first {k} of so few; take a smaller k, or accuracy"
        )
    own = np.take_along_axis(scores, classes[:, np.newaxis], axis=1)
    first = np.arange(n_out) < classes[:, np.newaxis]
    ahead = ((scores > own) | ((scores == own) & first)).sum(axis=1)
    return _mean((ahead < k) & ~np.isnan(scores).any(axis=1), weights)


def roc_auc(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the area under the ROC curve: how well the scores rank the rows.

    It is the probability that a row of class 1 scores higher than a row of class 0, equal scores
    counting half. One column holds the scores of class 1, and so does the second of two; with
    more columns each class that occurs in `y_true` is ranked against the rest by its own column,
    and the areas are averaged; for a class that does not occur, scikit-learn gives NaN.

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
        Between 0 and 1, 0.5 for scores that say nothing, or NaN if a score is; greater is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty, a label is out of range, or all rows that weigh
        are of one class.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    scores, classes, weights = _classified(y_true, y_pred, sample_weight)
    occurring = np.flatnonzero(np.bincount(classes, weights))
    if len(occurring) == 1:
        raise ValueError(
            f"y_true: every row that weighs is of class {occurring[0]}, expected rows of at least "
            "two classes, to rank one against the others"
        )
    if np.isnan(scores).any():
        return math.nan
    if scores.shape[1] <= 2:
        return _area(scores[:, -1], classes == 1, weights)
    return float(np.mean([_area(scores[:, c], classes == c, weights) for c in occurring]))


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

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.log_loss([0, 1], [[0.5, 0.5], [0.5, 0.5]])
    0.6931471805599453
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


def confusion_matrix(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> NDArray[Any]:
    """Return how many rows of each class are predicted to be of each class.

    Not a metric, as it is not one number. Classes are predicted as for `accuracy`.

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
    array of shape (n_classes, n_classes)
        Row i and column j hold the rows of class i that are predicted to be of class j: their
        number, or with `sample_weight` the sum of their weights. Every class of `y_pred` is there,
        two for a single column.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty, a label is out of range or a score is NaN.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.confusion_matrix([0, 0, 1, 1, 1], [0.1, 0.9, 0.8, 0.7, 0.4])
    array([[1, 1],
           [1, 2]])
    """
    scores, classes, weights = _classified(y_true, y_pred, sample_weight)
    missing = np.isnan(scores).any(axis=1)
    if missing.any():
        raise ValueError(f"y_pred: row {int(missing.argmax())} holds NaN, expected numbers")
    n = max(2, scores.shape[1])
    cells = n * classes + _predicted_classes(scores)
    counts: NDArray[Any] = np.bincount(
        cells, None if sample_weight is None else weights, minlength=n * n
    )
    return counts.reshape(n, n)


# ---- labels: several yes-or-no answers about one row


def hamming_loss(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the share of labels that are predicted wrongly, over labels and rows.

    A label whose probability is NaN counts as wrong.

    Parameters
    ----------
    y_true : array of shape (n, n_out), or (n,) if there is one label
        0 or 1 for each label, or the probability that it is 1.
    y_pred : array of shape (n, n_out) or (n,)
        Probabilities of the labels, as sigmoid outputs give them; above 0.5 the label is
        predicted to be 1.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.

    Returns
    -------
    float
        Between 0 and 1; smaller is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty or `y_true` leaves 0..1.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.hamming_loss([[0, 1], [1, 1]], [[0.1, 0.8], [0.9, 0.3]])
    0.25
    """
    wrong, weights = _wrong_labels(y_true, y_pred, sample_weight)
    return _mean(wrong.mean(axis=1), weights)


def subset_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the share of rows of which every label is predicted correctly.

    A label whose probability is NaN counts as wrong.

    Parameters
    ----------
    y_true : array of shape (n, n_out), or (n,) if there is one label
        0 or 1 for each label, or the probability that it is 1.
    y_pred : array of shape (n, n_out) or (n,)
        Probabilities of the labels, as sigmoid outputs give them; above 0.5 the label is
        predicted to be 1.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.

    Returns
    -------
    float
        Between 0 and 1; greater is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty or `y_true` leaves 0..1.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.subset_accuracy([[0, 1], [1, 1]], [[0.1, 0.8], [0.9, 0.3]])
    0.5
    """
    wrong, weights = _wrong_labels(y_true, y_pred, sample_weight)
    return _mean(wrong.sum(axis=1) == 0, weights)


# ---- numbers


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

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.mean_squared_error([1, 2, 3, 4], [1, 2, 3, 6])
    1.0
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    with _quiet():
        return _mean(((predicted - targets) ** 2).mean(axis=1), weights)


def root_mean_squared_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the root of the mean squared error of each output, averaged over the outputs.

    With several outputs this is not the root of `mean_squared_error`, but scikit-learn's.

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

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.root_mean_squared_error([1, 2, 3, 4], [1, 2, 3, 8])
    2.0
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    with _quiet():
        return float(np.sqrt(_column_means((predicted - targets) ** 2, weights)).mean())


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

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.mean_absolute_error([1, 2, 3, 4], [1, 2, 3, 6])
    0.5
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    with _quiet():
        return _mean(np.abs(predicted - targets).mean(axis=1), weights)


def median_absolute_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the median of the absolute errors of each output, averaged over the outputs.

    With weights, half of the weight lies on either side of the median. Where an error splits it
    into equal halves, the median is the mean of that error and the next, as for an even number of
    rows; scikit-learn does the same from 1.8 on.

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
        At least 0, or NaN if a prediction is; smaller is better.

    Raises
    ------
    ValueError
        If shapes do not match or an array is empty.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.median_absolute_error([1, 2, 3], [1, 2.5, 100])
    0.5
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    with _quiet():
        errors = np.abs(predicted - targets)
        return float(np.mean([_median(column, weights) for column in errors.T]))


def mean_absolute_percentage_error(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean over outputs and rows of the absolute errors as shares of the true values.

    It is a share: 0.1 is ten percent. A true value of 0 is taken for the eps of float64, as in
    scikit-learn, so that an error there gives a very large number.

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

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.mean_absolute_percentage_error([10, 20], [15, 20])
    0.25
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    with _quiet():
        shares = np.abs(predicted - targets) / np.maximum(np.abs(targets), _EPS)
        return _mean(shares.mean(axis=1), weights)


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

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.r2([1, 2, 3], [1, 2, 4])
    0.5
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    with _quiet():
        residual = (weights[:, np.newaxis] * (predicted - targets) ** 2).sum(axis=0)
        return _explained(residual, _variation(targets, weights))


def explained_variance(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the share of the targets' variance that is not left in the errors.

    Unlike `r2`, it forgives errors that are the same in every row. For each output it is
    ``1 - Var(y_true - y_pred) / Var(y_true)``, with weighted variances, and averaged over the
    outputs. An output whose true values are all equal scores 1 if all its errors are, else 0.

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

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.explained_variance([1, 2, 3], [11, 12, 13])
    1.0
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    with _quiet():
        errors = predicted - targets
        return _explained(_variation(errors, weights), _variation(targets, weights))


def huber(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    delta: float = 1.0,
) -> float:
    """Return the mean Huber loss over outputs and rows.

    An error e costs ``e² / 2`` up to an absolute value of `delta`, and beyond it
    ``delta * (|e| - delta / 2)``, which goes on straight.

    Parameters
    ----------
    y_true : array of shape (n, n_out), or (n,) if there is one output
        True values.
    y_pred : array of shape (n, n_out) or (n,)
        Predicted values.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.
    delta : float
        The largest error that is squared.

    Returns
    -------
    float
        At least 0; smaller is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty or `delta` is not above 0.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.huber([0, 0], [1, 3])
    1.5
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    delta = number("delta", delta, 0, above=True)
    with _quiet():
        errors = np.abs(predicted - targets)
        straight = delta * (errors - delta / 2)
        losses = np.where(errors <= delta, errors**2 / 2, straight)
        return _mean(losses.mean(axis=1), weights)


def log_cosh(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the mean over outputs and rows of the logarithm of the errors' hyperbolic cosine.

    Small errors cost half their square, large ones their absolute value less log 2.

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

    Examples
    --------
    >>> from fastmlp import metrics
    >>> round(metrics.log_cosh([0, 0], [1, -1]), 6)
    0.433781
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    with _quiet():
        errors = np.abs(predicted - targets)
        # Near 0 the first keeps the digits; far from it the second does not overflow.
        near = np.log1p(2 * np.sinh(errors / 2) ** 2)
        far = errors + np.log1p(np.exp(-2 * errors)) - math.log(2)
        return _mean(np.where(errors < 1, near, far).mean(axis=1), weights)


def pinball(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    tau: float | Sequence[float] = 0.5,
) -> float:
    """Return the mean pinball loss over outputs and rows: the error of predicted quantiles.

    An error ``e = y_true - y_pred`` costs ``tau * e`` where it is positive and ``(tau - 1) * e``
    where it is negative, so that the `tau`-quantile costs the least. With ``tau=0.5`` it is half
    of `mean_absolute_error`.

    Parameters
    ----------
    y_true : array of shape (n, n_out), or (n,) if there is one output
        True values.
    y_pred : array of shape (n, n_out) or (n,)
        Predicted values.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.
    tau : float or sequence of float
        Which quantile is predicted, above 0 and below 1; or one for each output.

    Returns
    -------
    float
        At least 0; smaller is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty, or `tau` is not between 0 and 1 or not one for
        each output.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> metrics.pinball([10, 10], [6, 14], tau=0.75)
    2.0
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    taus = _taus(tau, targets.shape[1])
    with _quiet():
        errors = targets - predicted
        return _mean(np.maximum(taus * errors, (taus - 1) * errors).mean(axis=1), weights)


def poisson_deviance(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the mean Poisson deviance over outputs and rows: the error of predicted rates.

    It is ``2 * (y_true * log(y_true / y_pred) - y_true + y_pred)``, in which 0 times the logarithm
    of 0 is 0. A rate of 0 where something was counted gives infinity; scikit-learn refuses rates
    of 0.

    Parameters
    ----------
    y_true : array of shape (n, n_out), or (n,) if there is one output
        Counts, or rates, not negative.
    y_pred : array of shape (n, n_out) or (n,)
        Predicted rates, not negative.
    sample_weight : array of shape (n,), optional
        Weights of the rows, not negative, not all zero.

    Returns
    -------
    float
        At least 0; smaller is better.

    Raises
    ------
    ValueError
        If shapes do not match, an array is empty or a number is negative.
    TypeError
        If an array does not hold numbers.

    Examples
    --------
    >>> from fastmlp import metrics
    >>> round(metrics.poisson_deviance([0, 2], [1, 1]), 6)
    1.386294
    """
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    _check_range("y_true", targets, 0, math.inf, "counts, which are not negative")
    _check_range("y_pred", predicted, 0, math.inf, "rates, which are not negative")
    with _quiet():
        ratios = np.where(targets > 0, targets / predicted, 1.0)
        deviances = 2 * (targets * np.log(ratios) - targets + predicted)
        return _mean(deviances.mean(axis=1), weights)


# ---- the table

_TABLE: tuple[tuple[str, Callable[..., float], bool], ...] = (
    # name, function, greater is better
    ("accuracy",                       accuracy,                       True),
    ("balanced_accuracy",              balanced_accuracy,              True),
    ("precision",                      precision,                      True),
    ("recall",                         recall,                         True),
    ("f1",                             f1,                             True),
    ("top_5_accuracy",                 top_k_accuracy,                 True),
    ("roc_auc",                        roc_auc,                        True),
    ("log_loss",                       log_loss,                       False),
    ("hamming_loss",                   hamming_loss,                   False),
    ("subset_accuracy",                subset_accuracy,                True),
    ("mean_squared_error",             mean_squared_error,             False),
    ("root_mean_squared_error",        root_mean_squared_error,        False),
    ("mean_absolute_error",            mean_absolute_error,            False),
    ("median_absolute_error",          median_absolute_error,          False),
    ("mean_absolute_percentage_error", mean_absolute_percentage_error, False),
    ("r2",                             r2,                             True),
    ("explained_variance",             explained_variance,             True),
    ("huber",                          huber,                          False),
    ("log_cosh",                       log_cosh,                       False),
    ("pinball",                        pinball,                        False),
    ("poisson_deviance",               poisson_deviance,               False),
)  # fmt: skip

METRICS: dict[str, Metric] = {
    name: Metric(name, function, greater_is_better) for name, function, greater_is_better in _TABLE
}

_BY_NAME = METRICS | {
    "mse": METRICS["mean_squared_error"],
    "rmse": METRICS["root_mean_squared_error"],
    "mae": METRICS["mean_absolute_error"],
    "mape": METRICS["mean_absolute_percentage_error"],
    "r2_score": METRICS["r2"],
}


# ---- what the metrics are made of


class _Counts(NamedTuple):
    """The weights of each class's rows, and whether the classes are those of one column."""

    true: Float64
    predicted: Float64
    correct: Float64
    one_column: bool


def _count_classes(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> _Counts:
    scores, classes, weights = _classified(y_true, y_pred, sample_weight)
    predicted = _predicted_classes(scores)

    def per_class(of: Integers, rows: Booleans) -> Float64:
        totals = np.bincount(of[rows], weights[rows], minlength=max(2, scores.shape[1]))
        return totals.astype(np.float64, copy=False)

    return _Counts(
        true=per_class(classes, classes >= 0),
        predicted=per_class(predicted, predicted >= 0),
        correct=per_class(classes, classes == predicted),
        one_column=scores.shape[1] == 1,
    )


def _classified(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Float64, Integers, Float64]:
    """Return the scores (n, n_out), the true class of each row and the weights."""
    scores = _predictions(y_pred)
    targets, weights = _class_targets(y_true, scores), _weights(sample_weight, scores)
    if scores.shape[1] == 1:
        return scores, (targets[:, 0] > 0.5).astype(np.intp), weights
    classes = targets.argmax(axis=1) if targets.shape[1] > 1 else targets[:, 0].astype(np.intp)
    return scores, classes, weights


def _predicted_classes(scores: Float64) -> Integers:
    """Return the predicted class of each row, -1 where a score is NaN."""
    one = scores.shape[1] == 1
    classes = (scores[:, 0] > 0.5).astype(np.intp) if one else scores.argmax(axis=1)
    classes[np.isnan(scores).any(axis=1)] = -1
    return classes


def _wrong_labels(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Booleans, Float64]:
    """Return which labels are predicted wrongly, (n, n_out), and the weights of the rows."""
    targets, predicted, weights = _compared(y_true, y_pred, sample_weight)
    _check_range("y_true", targets, -_TOLERANCE, 1 + _TOLERANCE, "0 or 1 for each label")
    wrong: Booleans = ((predicted > 0.5) != (targets > 0.5)) | np.isnan(predicted)
    return wrong, weights


def _compared(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Float64, Float64, Float64]:
    """Return true values and predictions, both (n, n_out), and the weights of the rows."""
    predicted = _predictions(y_pred)
    return _values(y_true, predicted), predicted, _weights(sample_weight, predicted)


# ---- checking


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
    _check_range(argument, p, -_TOLERANCE, 1 + _TOLERANCE, expected)
    if p.shape[1] > 1:
        sums = p.sum(axis=1)
        wrong = np.abs(sums - 1) > _TOLERANCE
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"{argument}: row {row} sums to {sums[row]:g}, expected class probabilities, "
                "which sum to 1"
            )


def _check_range(argument: str, values: Float64, low: float, high: float, expected: str) -> None:
    """Check that values lie in low..high; let NaN pass."""
    wrong = (values < low) | (values > high)
    if wrong.any():
        row, column = (int(index[0]) for index in np.nonzero(wrong))
        raise ValueError(
            f"{argument}: holds {values[row, column]:g} in row {row}, expected {expected}"
        )


def _taus(tau: float | Sequence[float], n_out: int) -> Float64:
    """Return `tau` as one number, or as one for each output."""
    if np.ndim(tau) == 0:
        return np.array([number("tau", tau, 0, 1, above=True)])
    taus = np.array([number("tau", each, 0, 1, above=True) for each in cast(Sequence[float], tau)])
    if len(taus) != n_out:
        raise ValueError(
            f"tau: got {len(taus)} numbers, expected one, or one for each output of y_pred, "
            f"which has {n_out}"
        )
    return taus


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


# ---- sums


def _mean(row_values: Float64 | Booleans, weights: Float64) -> float:
    return float((weights * row_values).sum() / weights.sum())


def _column_means(values: Float64, weights: Float64) -> Float64:
    means: Float64 = (weights[:, np.newaxis] * values).sum(axis=0) / weights.sum()
    return means


def _median(values: Float64, weights: Float64) -> float:
    """Return the weighted median, or NaN if a value is."""
    if np.isnan(values).any():
        return math.nan
    order = values.argsort()
    below = weights[order].cumsum()
    # What rounding may add to a sum of n: halves that differ by less are equal.
    slack = len(values) * _EPS * below[-1]
    low = below.searchsorted(below[-1] / 2 - slack, side="left")
    high = below.searchsorted(below[-1] / 2 + slack, side="right")
    return float((values[order[low]] + values[order[high]]) / 2)


def _variation(values: Float64, weights: Float64) -> Float64:
    """Return the weighted sum of squares around the mean, for each column."""
    # Measured from a row that counts, constant values are exactly 0, and so is their mean: no
    # rounding makes them look as if they varied.
    values = values - values[weights.argmax()]
    squares = (values - _column_means(values, weights)) ** 2
    variation: Float64 = (weights[:, np.newaxis] * squares).sum(axis=0)
    return variation


def _explained(left: Float64, total: Float64) -> float:
    """Return the mean over outputs of 1 - left / total; 0/0 counts as 1, left/0 as 0."""
    constant = total == 0
    scores = 1 - left / np.where(constant, 1.0, total)
    scores[constant] = left[constant] == 0
    return float(scores.mean())


def _class_average(counts: _Counts, of: Float64, average: str) -> float:
    """Return what is predicted correctly as a share `of` something, averaged over the classes."""
    if average not in ("macro", "weighted"):
        raise ValueError(
            f"average: got {average!r}, expected 'macro' or 'weighted'; for the micro average, "
            "take accuracy"
        )
    shares = np.divide(counts.correct, of, out=np.zeros_like(of), where=of > 0)
    if counts.one_column:
        return float(shares[1])
    if average == "weighted":
        return _mean(shares, counts.true)
    return float(shares[counts.true + counts.predicted > 0].mean())


def _area(scores: Float64, positive: Booleans, weights: Float64) -> float:
    """Return the share of pairs, one row positive and one not, whose scores are in that order."""
    values, rank = np.unique(scores, return_inverse=True)
    up = np.bincount(rank, weights * positive, minlength=len(values))
    down = np.bincount(rank, weights * ~positive, minlength=len(values))
    # Of the pairs with equal scores, half.
    below = down.cumsum() - down / 2
    return float((up * below).sum() / (up.sum() * down.sum()))


def _quiet() -> np.errstate:
    """Silence warnings: the predictions of a diverged network give inf or NaN, which says it."""
    return np.errstate(divide="ignore", over="ignore", invalid="ignore")
