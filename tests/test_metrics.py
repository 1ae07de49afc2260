"""Metrics by hand, against scikit-learn, and on input that makes no sense."""

import functools
import inspect
import math

import numpy as np
import pytest

from fastmlp import metrics


@pytest.fixture(scope="module")
def sk():
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


def softmax_rows(rng, n, n_out, dtype=np.float64):
    e = np.exp(rng.normal(size=(n, n_out)))
    return (e / e.sum(axis=1, keepdims=True)).astype(dtype)


def refuses(function, *arguments, error=ValueError):
    with pytest.raises(error) as caught:
        function(*arguments)
    return str(caught.value)


# --- the table ------------------------------------------------------------------------------


def test_table_is_complete_and_knows_the_direction():
    assert {name: metric.greater_is_better for name, metric in metrics.METRICS.items()} == {
        "accuracy": True,
        "balanced_accuracy": True,
        "precision": True,
        "recall": True,
        "f1": True,
        "top_5_accuracy": True,
        "roc_auc": True,
        "log_loss": False,
        "hamming_loss": False,
        "subset_accuracy": True,
        "mean_squared_error": False,
        "root_mean_squared_error": False,
        "mean_absolute_error": False,
        "median_absolute_error": False,
        "mean_absolute_percentage_error": False,
        "r2": True,
        "explained_variance": True,
        "huber": False,
        "log_cosh": False,
        "pinball": False,
        "poisson_deviance": False,
    }
    for name, metric in metrics.METRICS.items():
        assert metric.name == name
        assert metrics.get(name) is metric
        assert metrics.get(metric) is metric
        function = "top_k_accuracy" if name == "top_5_accuracy" else name
        assert getattr(metrics, function) is metric.function


def test_every_function_is_in_the_table_and_every_public_one_has_an_example():
    functions = {name for name in metrics.__all__ if inspect.isfunction(getattr(metrics, name))}
    in_table = {metric.function.__name__ for metric in metrics.METRICS.values()}
    assert functions == in_table | {"get", "confusion_matrix"}
    for name in functions:
        assert ">>>" in getattr(metrics, name).__doc__, name


@pytest.mark.parametrize("name", metrics.METRICS)
def test_direction_is_that_of_the_function(name):
    metric = metrics.get(name)
    y = np.array([0, 1, 1, 0])
    good, bad = np.array([[0.1], [0.8], [0.9], [0.2]]), np.array([[0.9], [0.2], [0.3], [0.8]])
    if name == "top_5_accuracy":
        y, good = np.array([0, 1]), np.eye(6)[:2]
        bad = 1 - good
    assert (metric(y, good) > metric(y, bad)) == metric.greater_is_better
    assert (metric(y, good) < metric(y, bad)) != metric.greater_is_better


ALIASES = {
    "mse": "mean_squared_error",
    "rmse": "root_mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "r2_score": "r2",
}


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_aliases(alias, name):
    assert metrics.get(alias) is metrics.METRICS[name]


KNOWN = [*metrics.METRICS, *ALIASES]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("acuracy", "accuracy"),
        ("Accuracy", "accuracy"),
        ("MSE", "mse"),
        ("logloss", "log_loss"),
        ("mean_square_error", "mean_squared_error"),
    ],
)
def test_unknown_name_suggests_the_nearest(name, nearest):
    message = refuses(metrics.get, name)
    assert message.startswith(f"metric: unknown name '{name}'; did you mean '{nearest}'? ")
    assert all(known in message.split("?")[1] for known in KNOWN)


def test_unknown_name_far_from_all():
    message = refuses(metrics.get, "zzz")
    assert message.startswith("metric: unknown name 'zzz'")
    assert "did you mean" not in message
    assert all(known in message for known in KNOWN)


@pytest.mark.parametrize("value", [3, None, ["accuracy"]])
def test_get_refuses_other_types(value):
    with pytest.raises(TypeError, match=f"metric: got {type(value).__name__}, expected a name"):
        metrics.get(value)


def test_own_function_passes_through():
    def largest_error(y_true, y_pred):
        return np.abs(y_pred - y_true).max()

    metric = metrics.get(largest_error)
    assert metric.name == "largest_error"
    assert metric.greater_is_better is None
    value = metric(np.array([[1.0], [2.0]]), np.array([[1.5], [4.0]]))
    assert value == 2.0
    assert type(value) is float


def test_own_function_is_given_weights_by_name():
    def weighted(y_true, y_pred, *, sample_weight=None):
        return 0.0 if sample_weight is None else sum(sample_weight)

    assert metrics.get(weighted)([1], [1]) == 0
    assert metrics.get(weighted)([1], [1], [5]) == 5


def test_callable_without_a_name_is_named_after_its_type():
    assert metrics.get(functools.partial(metrics.r2)).name == "partial"


def test_metric_is_frozen():
    with pytest.raises(AttributeError):
        metrics.METRICS["r2"].name = "other"


# --- by hand --------------------------------------------------------------------------------


def test_accuracy_by_hand():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.0, 0.1, 0.9], [0.3, 0.4, 0.3]])
    # Predicted classes: 1, 0, 2, 1.
    assert metrics.accuracy([1, 0, 2, 0], scores) == 0.75
    assert metrics.accuracy([[1], [0], [2], [0]], scores) == 0.75
    assert metrics.accuracy(np.eye(3)[[1, 0, 2, 0]], scores) == 0.75
    soft = [[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]]
    assert metrics.accuracy(soft, scores) == 0.75
    # The wrong row weighs 3 of 3 + 1 + 1 + 1.
    assert metrics.accuracy([1, 0, 2, 0], scores, [1, 1, 1, 3]) == 0.5


def test_accuracy_of_a_single_column():
    p = np.array([[0.2], [0.5], [0.51], [0.9]])
    # Predicted classes: 0, 0, 1, 1: one half is not above one half.
    assert metrics.accuracy([0, 0, 1, 1], p) == 1
    assert metrics.accuracy([[0], [1], [1], [1]], p) == 0.75
    assert metrics.accuracy([False, False, False, False], p[:, 0]) == 0.5
    assert metrics.accuracy([0.1, 0.4, 0.9, 0.2], p) == 0.75


def test_accuracy_takes_the_first_of_equal_scores():
    assert metrics.accuracy([0, 1], [[0.5, 0.5], [0.5, 0.5]]) == 0.5


def test_accuracy_takes_any_scores():
    assert metrics.accuracy([1, 0], [[-300.0, 12.0], [-1.0, -7.0]]) == 1


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, ">i4"])
def test_accuracy_takes_labels_of_any_type(dtype):
    assert metrics.accuracy(np.array([1, 0, 1], dtype), np.eye(2)[[1, 0, 0]]) == 2 / 3


def test_nan_scores_are_never_right():
    nan = math.nan
    assert metrics.accuracy([0, 0, 1], [[nan, 0.1], [0.9, nan], [0.2, 0.8]]) == 1 / 3
    assert metrics.accuracy([0, 1], [[nan], [0.9]]) == 0.5


def test_confusion_matrix_by_hand():
    scores = np.eye(3)[[0, 0, 2, 1, 2, 2]]
    classes = [0, 0, 0, 1, 2, 1]
    expected = [[2, 0, 1], [0, 1, 1], [0, 0, 1]]
    for y_true in (classes, np.eye(3)[classes]):
        matrix = metrics.confusion_matrix(y_true, scores)
        assert matrix.tolist() == expected
        assert matrix.dtype.kind == "i"
    weighted = metrics.confusion_matrix(classes, scores, [1, 2, 4, 8, 16, 0.5])
    assert weighted.tolist() == [[3, 0, 4], [0, 8, 0.5], [0, 0, 16]]


def test_confusion_matrix_has_every_class():
    assert metrics.confusion_matrix([1], [[0.1, 0.2, 0.9]]).tolist() == [
        [0, 0, 0],
        [0, 0, 1],
        [0, 0, 0],
    ]
    assert metrics.confusion_matrix([0, 0], [0.1, 0.2]).tolist() == [[2, 0], [0, 0]]
    assert metrics.confusion_matrix([1, 1, 0], [0.5, 0.6, 0.7]).tolist() == [[0, 1], [1, 1]]


def test_class_averages_by_hand():
    # Confused as above: class 0 is 2 of 3 found and 2 of 2 right, class 1 is 1 of 2 and 1 of 1,
    # class 2 is 1 of 1 and 1 of 3.
    scores = np.eye(3)[[0, 0, 2, 1, 2, 2]]
    classes = [0, 0, 0, 1, 2, 1]
    found = [2 / 3, 1 / 2, 1 / 1]
    right = [2 / 2, 1 / 1, 1 / 3]
    both = [4 / 5, 2 / 3, 2 / 4]
    for function, shares in (
        (metrics.recall, found),
        (metrics.precision, right),
        (metrics.f1, both),
    ):
        macro, weighted = np.mean(shares), np.average(shares, weights=[3, 2, 1])
        assert function(classes, scores) == pytest.approx(macro, rel=1e-15)
        assert function(classes, scores, average="macro") == pytest.approx(macro, rel=1e-15)
        assert function(classes, scores, average="weighted") == pytest.approx(weighted, rel=1e-15)
    assert metrics.balanced_accuracy(classes, scores) == pytest.approx(np.mean(found), rel=1e-15)


def test_one_column_is_about_class_1():
    p, classes = [0.9, 0.8, 0.7, 0.2, 0.1], [1, 0, 0, 1, 0]
    # Predicted classes: 1 1 1 0 0. Found 1 of 2, right 1 of 3; of class 0, found 1 of 3.
    for average in ("macro", "weighted"):
        assert metrics.precision(classes, p, average=average) == 1 / 3
        assert metrics.recall(classes, p, average=average) == 1 / 2
        assert metrics.f1(classes, p, average=average) == 2 / 5
    assert metrics.balanced_accuracy(classes, p) == (1 / 2 + 1 / 3) / 2
    weights = [4, 1, 1, 2, 1]
    assert metrics.precision(classes, p, weights) == 4 / 6
    assert metrics.recall(classes, p, weights) == 4 / 6
    assert metrics.f1(classes, p, weights) == 8 / 12
    assert metrics.balanced_accuracy(classes, p, weights) == (4 / 6 + 1 / 3) / 2


@pytest.mark.parametrize("function", [metrics.precision, metrics.recall, metrics.f1])
def test_nothing_by_nothing_is_0(function):
    assert function([0, 0], [0.1, 0.2]) == 0
    assert function([1, 1], [0.1, 0.2]) == 0
    assert function([0, 0], [0.9, 0.8]) == 0
    # Class 2 is never predicted and class 1 never true; class 3 does not occur and does not count.
    assert function([0, 2], np.eye(4)[[0, 1]]) == 1 / 3
    # To be found, a class has to be there.
    assert metrics.balanced_accuracy([0, 2], np.eye(4)[[0, 1]]) == 1 / 2


def test_classes_without_a_row_that_weighs_do_not_count():
    scores, classes, weights = np.eye(3)[[0, 1, 0]], [0, 1, 2], [1, 1, 0]
    assert metrics.balanced_accuracy(classes, scores, weights) == 1
    assert metrics.balanced_accuracy(classes, scores) == 2 / 3
    assert metrics.precision(classes, scores, weights) == 1
    assert metrics.recall(classes, scores, weights) == 1
    assert metrics.f1(classes, scores, weights) == 1


def test_nan_scores_are_of_no_class():
    nan = math.nan
    p = [[0.9, 0.1], [nan, 0.1], [0.2, nan], [0.2, 0.8]]
    classes = [0, 0, 1, 1]
    assert metrics.balanced_accuracy(classes, p) == 0.5
    assert metrics.recall(classes, p) == 0.5
    assert metrics.precision(classes, p) == 1
    assert metrics.f1(classes, p) == 2 / 3
    assert metrics.recall([1, 1], [nan, 0.9]) == 0.5
    assert metrics.precision([0, 1], [nan, 0.9]) == 1
    assert metrics.top_k_accuracy([0, 1], [[nan, 1, 0], [0, 1, 0]], k=2) == 0.5
    assert math.isnan(metrics.roc_auc([0, 1], [nan, 0.9]))
    assert math.isnan(metrics.roc_auc([0, 1], [[0.9, 0.1], [nan, 0.9]]))
    assert math.isnan(metrics.roc_auc([0, 1], [[0.9, 0.1, nan], [0.1, 0.9, 0.0]]))
    message = refuses(metrics.confusion_matrix, classes, p)
    assert message == "y_pred: row 1 holds NaN, expected numbers"


def test_top_k_accuracy_by_hand():
    scores = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.4, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4]])
    # The class's place in its row: 2, 3, 4.
    classes = [1, 3, 0]
    for y_true in (classes, np.eye(4)[classes]):
        values = [metrics.top_k_accuracy(y_true, scores, k=k) for k in (1, 2, 3)]
        assert values == [0, 1 / 3, 2 / 3]
    assert metrics.top_k_accuracy(classes, scores, [1, 1, 2], k=3) == 0.5
    assert metrics.top_k_accuracy([0, 5], np.eye(6)[[0, 0]]) == 0.5


def test_top_k_accuracy_takes_the_first_of_equal_scores():
    scores = np.full((4, 4), 0.25)
    values = [metrics.top_k_accuracy(range(4), scores, k=k) for k in (1, 2, 3)]
    assert values == [0.25, 0.5, 0.75]
    tied = np.random.default_rng(0).integers(0, 3, (100, 5))
    y = np.arange(100) % 5
    assert metrics.top_k_accuracy(y, tied, k=1) == metrics.accuracy(y, tied)


def test_roc_auc_by_hand():
    # The pairs of a 1 and a 0: 0.35 is above 0.1 only, 0.8 is above both.
    assert metrics.roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 3 / 4
    # Equal scores count half.
    assert metrics.roc_auc([0, 1], [0.5, 0.5]) == 0.5
    assert metrics.roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8]) == 3.5 / 4
    # The pair in the wrong order weighs 3 · 2 of (1 + 3) · (2 + 5).
    weights = [1, 3, 2, 5]
    assert metrics.roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], weights) == 22 / 28


def test_roc_auc_takes_any_scores():
    assert metrics.roc_auc([0, 1, 1], [-math.inf, -300, math.inf]) == 1
    assert metrics.roc_auc([0, 1, 2], [[5, 0, -3], [-7, 9, -4], [1, 2, 300]]) == 1


def test_roc_auc_of_two_columns_is_that_of_class_1():
    p = np.array([1e-12, 1e-11, 1e-10, 0.75], np.float32)
    y = [0, 0, 1, 1]
    # In float32 the first three of the other column are rounded to 1.
    both = np.column_stack((np.float32(1) - p, p))
    assert metrics.roc_auc(y, both) == 1
    assert metrics.roc_auc(y, -both[:, 0]) == 3 / 4


def test_roc_auc_leaves_out_classes_that_do_not_occur():
    scores = np.array([[0.1, 0.7, 0.2], [0.3, 0.3, 0.4], [0.3, 0.1, 0.6], [0.5, 0.2, 0.3]])
    # Class 0 against the rest: 0.1 0.3 below 0.3 0.5 but for one half; class 2: 0.2 0.4 0.6 0.3.
    assert metrics.roc_auc([2, 2, 0, 0], scores) == (3.5 / 4 + 1 / 4) / 2
    assert metrics.roc_auc([2, 2, 0, 0, 1], [*scores, [1, 0, 0]], [1, 1, 1, 1, 0]) == (
        (3.5 / 4 + 1 / 4) / 2
    )


def test_labels_by_hand():
    y_true = [[0, 1, 1], [1, 0, 0]]
    p = np.array([[0.2, 0.9, 0.5], [0.51, 0.1, 0.3]])
    # Predicted labels: 0 1 0 and 1 0 0: one half is not above one half.
    assert metrics.hamming_loss(y_true, p) == pytest.approx(1 / 6, rel=1e-15)
    assert metrics.subset_accuracy(y_true, p) == 0.5
    assert metrics.hamming_loss(y_true, p, [3, 1]) == 0.25
    assert metrics.subset_accuracy(y_true, p, [3, 1]) == 0.25
    assert metrics.hamming_loss([[0.4, 0.9, 0.6], [0.8, 0.2, 0.1]], p) == pytest.approx(1 / 6)
    assert metrics.hamming_loss([0, 1, 1, 1], [0.1, 0.9, 0.8, 0.3]) == 0.25
    assert metrics.hamming_loss([0.5, 0.5], [0.7, 0.6]) == 1


def test_nan_labels_are_never_right():
    nan = math.nan
    for label in (0, 1):
        assert metrics.hamming_loss([[label, 0]], [[nan, 0.2]]) == 0.5
        assert metrics.subset_accuracy([[label, 0]], [[nan, 0.2]]) == 0


def test_regression_by_hand():
    y_true = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    y_pred = np.array([[1.0, 12.0], [3.0, 20.0], [3.0, 26.0]])
    # Errors: 0 2, 1 0, 0 -4. Squares per row, averaged: 2, 0.5, 8. Absolute: 1, 0.5, 2.
    assert metrics.mean_squared_error(y_true, y_pred) == 10.5 / 3
    assert metrics.mean_absolute_error(y_true, y_pred) == 3.5 / 3
    # Sums of squares around the means 2 and 20: 2 and 200; residuals 1 and 20.
    assert metrics.r2(y_true, y_pred) == (1 - 1 / 2 + 1 - 20 / 200) / 2
    # With the weights 1, 3, 0 the means are 7/4 and 70/4.
    weights = [1, 3, 0]
    assert metrics.mean_squared_error(y_true, y_pred, weights) == (2 + 3 * 0.5) / 4
    assert metrics.mean_absolute_error(y_true, y_pred, weights) == (1 + 3 * 0.5) / 4
    totals = (0.75**2 + 3 * 0.25**2, 7.5**2 + 3 * 2.5**2)
    assert metrics.r2(y_true, y_pred, weights) == pytest.approx(
        (1 - 3 / totals[0] + 1 - 4 / totals[1]) / 2, rel=1e-14
    )


def test_root_mean_squared_error_is_taken_for_each_output():
    y_true = np.zeros((2, 2))
    y_pred = np.array([[3.0, 1.0], [3.0, 7.0]])
    # Mean squares: 9 and 25.
    assert metrics.root_mean_squared_error(y_true, y_pred) == (3 + 5) / 2
    assert metrics.root_mean_squared_error(y_true, y_pred, [1, 0]) == (3 + 1) / 2
    assert metrics.root_mean_squared_error(y_true[:, 1], y_pred[:, 1]) == 5


def test_median_absolute_error_by_hand():
    def median(errors, weights=None):
        signs = (-1) ** np.arange(len(errors))
        return metrics.median_absolute_error(np.ones(len(errors)), 1 + signs * errors, weights)

    assert median([5, 1, 100]) == 5
    assert median([5, 1, 100, 7]) == 6
    assert median([4, 8], [1, 3]) == 8
    assert median([8, 4], [1, 3]) == 4
    # Halves of equal weight.
    assert median([1, 2, 4, 8], [1, 1, 1, 1]) == 3
    assert median([1, 2, 4], [1, 1, 2]) == 3
    # Halves that are equal but for rounding, up and down.
    sums = np.full(10, 0.1).cumsum()
    assert sums[4] > sums[-1] / 2
    assert median(np.arange(10), np.full(10, 0.1)) == 4.5
    weights = [0.7, 0.7, 0.4, 0.7, 0.7, 0.4]
    sums = np.cumsum(weights)
    assert sums[2] < sums[-1] / 2
    assert median(np.arange(6), weights) == 2.5
    # Rows without weight are not there, be they first, last or in the middle.
    assert median([1, 3, 4, 6, 9], [0, 1, 0, 1, 0]) == 4.5
    assert median([1, 2, 4], [0, 0, 1]) == 4
    two = metrics.median_absolute_error(np.zeros((3, 2)), [[1, 10], [2, 30], [9, 20]])
    assert two == (2 + 20) / 2


def test_mean_absolute_percentage_error_by_hand():
    percentage = metrics.mean_absolute_percentage_error
    assert percentage([10, -20], [15, -25]) == (1 / 2 + 1 / 4) / 2
    assert percentage([10, -20], [15, -25], [3, 1]) == (3 / 2 + 1 / 4) / 4
    assert percentage([[10, -20]], [[15, -25]]) == (1 / 2 + 1 / 4) / 2
    assert percentage([0], [0]) == 0
    assert percentage([0], [1]) == 2.0**52


def test_explained_variance_by_hand():
    y_true = np.array([1.0, 2.0, 3.0, 6.0])
    # Variance of the targets 14 / 4, of the errors 1 / 4 around 5 / 2.
    y_pred = y_true + np.array([2, 3, 2, 3])
    assert metrics.explained_variance(y_true, y_pred) == pytest.approx(1 - 1 / 14, rel=1e-15)
    assert metrics.explained_variance(y_true, y_true + 7) == 1
    assert metrics.explained_variance(y_true, np.zeros(4)) == 0
    # The last row alone differs in its error.
    assert metrics.explained_variance(y_true, [8, 9, 10, 0], [1, 1, 1, 0]) == 1


def test_huber_by_hand():
    y_true, y_pred = [0, 0, 0, 0], [0.5, -1.0, 3.0, -4.0]
    assert metrics.huber(y_true, y_pred) == (0.125 + 0.5 + 2.5 + 3.5) / 4
    assert metrics.huber(y_true, y_pred, delta=3) == (0.125 + 0.5 + 4.5 + 7.5) / 4
    assert metrics.huber(y_true, y_pred, [0, 1, 2, 1]) == (0.5 + 5 + 3.5) / 4
    assert metrics.huber([y_true], [y_pred]) == (0.125 + 0.5 + 2.5 + 3.5) / 4


def test_log_cosh_by_hand():
    for error in (0.3, 0.999, 1.0, 1.001, 5.0, 20.0):
        expected = pytest.approx(math.log(math.cosh(error)), rel=1e-14)
        assert metrics.log_cosh([0], [error]) == expected
        assert metrics.log_cosh([error], [0]) == expected
    assert metrics.log_cosh([0], [0]) == 0
    assert metrics.log_cosh([0], [1e-8]) == pytest.approx(5e-17, rel=1e-14, abs=0)
    assert metrics.log_cosh([0], [1e4]) == pytest.approx(1e4 - math.log(2), rel=1e-15)
    one, two = math.log(math.cosh(1)), math.log(math.cosh(2))
    assert metrics.log_cosh([0, 0], [1, 2], [3, 1]) == pytest.approx((3 * one + two) / 4, rel=1e-15)
    assert metrics.log_cosh([[0, 0]], [[1, 2]]) == pytest.approx((one + two) / 2, rel=1e-15)


def test_pinball_by_hand():
    # Too low by 4 costs 3, too high by 2 costs 0.5.
    assert metrics.pinball([10, 10], [6, 12], tau=0.75) == 3.5 / 2
    assert metrics.pinball([10, 10], [6, 12], [1, 3], tau=0.75) == 4.5 / 4
    assert metrics.pinball([10, 10], [6, 12]) == 3 / 2
    assert metrics.pinball([[10, 10]], [[6, 12]], tau=[0.75, 0.25]) == (3 + 1.5) / 2
    assert metrics.pinball([[10, 10]], [[6, 12]], tau=np.array([0.25, 0.75])) == (1 + 0.5) / 2


def test_poisson_deviance_by_hand():
    assert metrics.poisson_deviance([0, 1, 3], [0, 1, 3]) == 0
    # 2 (0 - 0 + 1.5) and 2 (4 log 2 - 4 + 2).
    values = 3, 8 * math.log(2) - 4
    assert metrics.poisson_deviance([0, 4], [1.5, 2]) == pytest.approx(sum(values) / 2, rel=1e-15)
    assert metrics.poisson_deviance([[0, 4]], [[1.5, 2]]) == metrics.poisson_deviance(
        [0, 4], [1.5, 2]
    )
    assert metrics.poisson_deviance([0, 4], [1.5, 2], [3, 1]) == pytest.approx(
        (3 * values[0] + values[1]) / 4, rel=1e-15
    )
    assert metrics.poisson_deviance([1, 1], [0, 1]) == math.inf


def test_log_loss_by_hand():
    p = np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])
    assert metrics.log_loss([0, 1], p) == pytest.approx((math.log(2) + math.log(8)) / 2, rel=1e-15)
    assert metrics.log_loss([0, 1], p, [3, 1]) == pytest.approx(1.5 * math.log(2), rel=1e-15)
    soft = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    expected = (0.5 * math.log(2) + 0.5 * math.log(4) + math.log(8)) / 2
    assert metrics.log_loss(soft, p) == pytest.approx(expected, rel=1e-15)


def test_log_loss_of_a_single_column():
    p = np.array([[0.25], [0.75]])
    assert metrics.log_loss([1, 1], p) == pytest.approx(
        (math.log(4) - math.log(0.75)) / 2, rel=1e-15
    )
    assert metrics.log_loss([0, 1], p[:, 0]) == pytest.approx(-math.log(0.75), rel=1e-15)
    assert metrics.log_loss([[0.5], [0.5]], p) == pytest.approx(
        (math.log(4) - math.log(0.75)) / 2, rel=1e-15
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_log_loss_clips_at_the_eps_of_its_type(dtype):
    expected = pytest.approx(-math.log(np.finfo(dtype).eps), rel=1e-12)
    assert metrics.log_loss([1], np.array([[1, 0]], dtype)) == expected
    assert metrics.log_loss([1], np.array([[0]], dtype)) == expected
    assert metrics.log_loss([0], np.array([[1]], dtype)) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_clips_below_one_as_well(dtype):
    expected = pytest.approx(-math.log1p(-float(np.finfo(dtype).eps)), rel=1e-6)
    assert metrics.log_loss([0], np.array([[1, 0]], dtype)) == expected
    assert metrics.log_loss([1], np.array([[1]], dtype)) == expected
    assert metrics.log_loss([0], np.array([[0]], dtype)) == expected


def test_log_loss_of_whole_numbers_clips_like_float64():
    assert metrics.log_loss([1], [[1, 0]]) == pytest.approx(-math.log(2**-52), rel=1e-12)


def test_log_loss_accepts_rounding_beyond_one():
    above = np.nextafter(np.float32(1), np.float32(2))
    loss = metrics.log_loss([0], np.array([[above, 0]], np.float32))
    assert loss == pytest.approx(0, abs=2e-7)


def test_log_loss_of_nan_is_nan():
    assert math.isnan(metrics.log_loss([0, 1], [[math.nan, math.nan], [0.5, 0.5]]))


# --- R² and explained variance where the target does not vary -------------------------------


def test_r2_of_a_constant_target():
    assert metrics.r2([2, 2, 2], [2, 2, 2]) == 1
    assert metrics.r2([2, 2, 2], [2, 2, 3]) == 0
    assert metrics.r2([5], [5]) == 1
    assert metrics.r2([5], [4]) == 0
    # One output constant and missed, one perfect.
    assert metrics.r2([[1, 1], [1, 2]], [[0, 1], [1, 2]]) == 0.5


@pytest.mark.parametrize("weights", [None, [1, 1, 1], [0.1, 0.7, 0.3]])
def test_r2_of_a_constant_target_whose_mean_is_rounded(weights):
    # The mean of three 0.1 is not 0.1.
    assert sum([0.1] * 3) / 3 != 0.1
    assert metrics.r2([0.1, 0.1, 0.1], [0.1, 0.1, 0.2], weights) == 0


def test_explained_variance_of_a_constant_target():
    assert metrics.explained_variance([2, 2, 2], [3, 3, 3]) == 1
    assert metrics.explained_variance([2, 2, 2], [3, 3, 4]) == 0
    assert metrics.explained_variance([5], [4]) == 1
    # The means of three 0.1 and of three 0.3 are rounded.
    assert metrics.explained_variance([0.1, 0.1, 0.1], [0.3, 0.3, 0.3], [0.1, 0.7, 0.3]) == 1
    assert metrics.explained_variance([0.1, 0.1, 0.1], [0.3, 0.3, 0.4]) == 0
    # One output constant and missed, one perfect.
    assert metrics.explained_variance([[1, 1], [1, 2]], [[0, 1], [1, 2]]) == 0.5


def test_r2_sees_only_rows_that_weigh():
    assert metrics.r2([7, 0.1, 0.1, 0.1], [0, 0.1, 0.1, 0.1], [0, 1, 1, 1]) == 1
    assert metrics.r2([7, 0.1, 0.1, 0.1], [0, 0.2, 0.1, 0.1], [0, 1, 1, 1]) == 0


def test_r2_keeps_its_digits_far_from_zero():
    rng = np.random.default_rng(0)
    y, noise = rng.normal(size=100), rng.normal(size=100)
    shift = 2.0**26
    y, noise = np.round(y * 1024) / 1024, np.round(noise * 1024) / 1024
    assert metrics.r2(y + shift, y + noise + shift) == pytest.approx(
        metrics.r2(y, y + noise), rel=1e-12
    )


# --- against scikit-learn -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_out", [1, 2, 5])
@pytest.mark.parametrize("n", [2, 3, 100])
def test_regression_against_scikit_learn(sk, n, n_out, weighted, dtype):
    rng = np.random.default_rng(n * 10 + n_out)
    y_true = rng.normal(3, 2, (n, n_out))
    y_pred = (y_true + rng.normal(size=(n, n_out))).astype(dtype)
    weights = rng.uniform(0.1, 3, n) if weighted else None
    for ours, theirs in (
        (metrics.mean_squared_error, sk.mean_squared_error),
        (metrics.root_mean_squared_error, sk.root_mean_squared_error),
        (metrics.mean_absolute_error, sk.mean_absolute_error),
        (metrics.median_absolute_error, sk.median_absolute_error),
        (metrics.mean_absolute_percentage_error, sk.mean_absolute_percentage_error),
        (metrics.r2, sk.r2_score),
        (metrics.explained_variance, sk.explained_variance_score),
        (metrics.pinball, sk.mean_pinball_loss),
    ):
        expected = theirs(y_true, y_pred, sample_weight=weights)
        assert ours(y_true, y_pred, weights) == pytest.approx(expected, rel=1e-12)
    for tau in (0.05, 0.9):
        expected = sk.mean_pinball_loss(y_true, y_pred, sample_weight=weights, alpha=tau)
        assert metrics.pinball(y_true, y_pred, weights, tau=tau) == pytest.approx(
            expected, rel=1e-12
        )
    taus = rng.uniform(0.1, 0.9, n_out)
    expected = [
        sk.mean_pinball_loss(t, p, sample_weight=weights, alpha=tau)
        for t, p, tau in zip(y_true.T, y_pred.T, taus, strict=True)
    ]
    assert metrics.pinball(y_true, y_pred, weights, tau=taus) == pytest.approx(
        np.mean(expected), rel=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_out", [1, 3])
def test_poisson_deviance_against_scikit_learn(sk, n_out, weighted, dtype):
    rng = np.random.default_rng(n_out)
    rates = rng.uniform(0.1, 5, (100, n_out))
    y_true = rng.poisson(rates).astype(np.float64)
    assert (y_true == 0).any()
    y_pred = (rates * rng.uniform(0.5, 2, rates.shape)).astype(dtype)
    weights = rng.uniform(0, 3, 100) if weighted else None
    expected = [
        sk.mean_poisson_deviance(t, p, sample_weight=weights)
        for t, p in zip(y_true.T, y_pred.T, strict=True)
    ]
    assert metrics.poisson_deviance(y_true, y_pred, weights) == pytest.approx(
        np.mean(expected), rel=1e-12
    )


@pytest.mark.parametrize("delta", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_huber_against_scipy(delta, weighted):
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.normal(size=(2, 100, 3))
    weights = rng.uniform(0, 3, 100) if weighted else None
    expected = np.average(special.huber(delta, y_pred - y_true).mean(axis=1), weights=weights)
    assert metrics.huber(y_true, y_pred, weights, delta=delta) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_out", [2, 3, 10])
def test_classification_against_scikit_learn(sk, n_out, weighted, dtype):
    rng = np.random.default_rng(n_out)
    p = softmax_rows(rng, 200, n_out, dtype)
    y = rng.integers(0, n_out, 200)
    weights = rng.uniform(0, 3, 200) if weighted else None
    predicted = p.argmax(axis=1)
    accuracy = sk.accuracy_score(y, predicted, sample_weight=weights)
    balanced = sk.balanced_accuracy_score(y, predicted, sample_weight=weights)
    confused = sk.confusion_matrix(y, predicted, sample_weight=weights)
    for y_true in (y, y[:, np.newaxis], np.eye(n_out)[y]):
        assert metrics.accuracy(y_true, p, weights) == pytest.approx(accuracy, rel=1e-12)
        assert metrics.balanced_accuracy(y_true, p, weights) == pytest.approx(balanced, rel=1e-12)
        ours = metrics.confusion_matrix(y_true, p, weights)
        assert ours.dtype == confused.dtype
        np.testing.assert_allclose(ours, confused, rtol=1e-12)
    if dtype == np.float64:
        # In float32 scikit-learn takes its logarithms and sums in float32.
        log_loss = sk.log_loss(y, p, sample_weight=weights, labels=np.arange(n_out))
        for y_true in (y, y[:, np.newaxis], np.eye(n_out)[y]):
            assert metrics.log_loss(y_true, p, weights) == pytest.approx(log_loss, rel=1e-12)


@pytest.mark.parametrize("average", ["macro", "weighted"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "n_out"), [(200, 2), (200, 3), (12, 10)])
def test_class_averages_against_scikit_learn(sk, n, n_out, weighted, average):
    rng = np.random.default_rng(0)
    p = softmax_rows(rng, n, n_out, np.float32)
    y = rng.integers(0, n_out, n)
    predicted = p.argmax(axis=1)
    weights = rng.uniform(0.1, 3, n) if weighted else None
    if n == 12:
        # Some classes are never predicted, some never true, some neither; some rows are right.
        true, found, every = set(y), set(predicted), set(range(n_out))
        assert true - found
        assert found - true
        assert every - found - true
        assert (y == predicted).any()
    for ours, theirs in (
        (metrics.precision, sk.precision_score),
        (metrics.recall, sk.recall_score),
        (metrics.f1, sk.f1_score),
    ):
        expected = theirs(y, predicted, average=average, sample_weight=weights, zero_division=0)
        assert ours(y, p, weights, average=average) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_top_k_accuracy_against_scikit_learn(sk, k, weighted, dtype):
    rng = np.random.default_rng(k)
    scores = rng.normal(size=(200, 10)).astype(dtype)
    y = rng.integers(0, 10, 200)
    weights = rng.uniform(0, 3, 200) if weighted else None
    expected = sk.top_k_accuracy_score(y, scores, k=k, sample_weight=weights)
    assert metrics.top_k_accuracy(y, scores, weights, k=k) == pytest.approx(expected, rel=1e-12)
    if k == 5:
        assert metrics.get("top_5_accuracy")(y, scores, weights) == pytest.approx(
            expected, rel=1e-12
        )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_out", [1, 2, 3, 10])
def test_roc_auc_against_scikit_learn(sk, n_out, weighted, dtype):
    rng = np.random.default_rng(n_out)
    # Rounded to 1/16, so that scores are equal and rows still sum to 1.
    p = np.floor(softmax_rows(rng, 200, max(n_out, 2)) * 16) / 16
    p[:, 0] += 1 - p.sum(axis=1)
    p = (p if n_out > 1 else p[:, 1:]).astype(dtype)
    y = rng.integers(0, max(n_out, 2), 200)
    weights = rng.uniform(0, 3, 200) if weighted else None
    scores = p if n_out > 2 else p[:, -1]
    expected = sk.roc_auc_score(y, scores, sample_weight=weights, multi_class="ovr")
    assert len(np.unique(scores)) < 20
    assert metrics.roc_auc(y, p, weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_out", [1, 2, 5])
def test_labels_against_scikit_learn(sk, n_out, weighted):
    rng = np.random.default_rng(n_out)
    p = rng.uniform(size=(200, n_out)).astype(np.float32)
    y = rng.integers(0, 2, (200, n_out))
    weights = rng.uniform(0, 3, 200) if weighted else None
    hamming = sk.hamming_loss(y, p > 0.5, sample_weight=weights)
    subset = sk.accuracy_score(y, p > 0.5, sample_weight=weights)
    assert 0 < subset < 1 - hamming / 2
    assert metrics.hamming_loss(y, p, weights) == pytest.approx(hamming, rel=1e-12)
    assert metrics.subset_accuracy(y, p, weights) == pytest.approx(subset, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_against_scikit_learn(sk, weighted):
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(200, 1))
    p[:2] = [[0], [1]]
    y = rng.integers(0, 2, 200)
    weights = rng.uniform(0, 3, 200) if weighted else None
    log_loss = sk.log_loss(y, p[:, 0], sample_weight=weights)
    assert metrics.log_loss(y, p, weights) == pytest.approx(log_loss, rel=1e-12)
    for ours, theirs in (
        (metrics.accuracy, sk.accuracy_score),
        (metrics.balanced_accuracy, sk.balanced_accuracy_score),
        (metrics.precision, sk.precision_score),
        (metrics.recall, sk.recall_score),
        (metrics.f1, sk.f1_score),
    ):
        expected = theirs(y, p[:, 0] > 0.5, sample_weight=weights)
        assert ours(y, p, weights) == pytest.approx(expected, rel=1e-12)
    matrix = sk.confusion_matrix(y, p[:, 0] > 0.5, sample_weight=weights)
    np.testing.assert_allclose(metrics.confusion_matrix(y, p, weights), matrix, rtol=1e-12)


def test_clipping_against_scikit_learn(sk):
    p = np.array([[0, 1], [1, 0], [0.5, 0.5]], np.float32)
    expected = sk.log_loss([0, 1, 1], p)
    assert expected > 10
    assert metrics.log_loss([0, 1, 1], p) == pytest.approx(expected, rel=1e-6)


def test_constant_target_against_scikit_learn(sk):
    for y_pred in ([[2, 1], [2, 2]], [[2, 1], [3, 2]], [[1, 1], [1, 3]]):
        y_true = [[2, 1], [2, 2]]
        assert metrics.r2(y_true, y_pred) == sk.r2_score(y_true, y_pred)
        expected = sk.explained_variance_score(y_true, y_pred)
        assert metrics.explained_variance(y_true, y_pred) == expected


def test_functions_of_scikit_learn_are_metrics(sk):
    metric = metrics.get(sk.median_absolute_error)
    assert metric.name == "median_absolute_error"
    assert metric([1.0, 2.0, 3.0], [1.0, 2.5, 5.0]) == 0.5
    assert metric([1.0, 2.0, 3.0], [1.0, 2.5, 5.0], [1, 1, 9]) == 2.0


# --- sums in float64, input left alone ------------------------------------------------------


def test_sums_are_made_in_float64():
    n = 100_000
    y_pred = np.full((n, 1), 0.1, np.float32)
    expected = float(np.float32(0.1)) ** 2
    assert metrics.mean_squared_error(np.zeros(n), y_pred) == pytest.approx(expected, rel=1e-12)
    # float16 overflows above 65504 and float32 cannot see the 1.
    y_true, y_pred = np.zeros(2, np.float16), np.array([[60000], [1]], np.float16)
    assert metrics.mean_squared_error(y_true, y_pred) == (60000.0**2 + 1) / 2


@pytest.mark.parametrize("metric", metrics.METRICS.values(), ids=lambda metric: metric.name)
def test_input_is_left_alone_in_any_layout(metric):
    rng = np.random.default_rng(0)
    p = softmax_rows(rng, 20, 6)
    y = softmax_rows(rng, 20, 6)
    weights = rng.uniform(1, 2, 20)
    expected = metric(y, p, weights)
    strided = np.zeros((40, 12))
    strided[::2, ::2] = p
    for variant in (np.asfortranarray(p), strided[::2, ::2], p.astype(">f8"), p.tolist()):
        assert metric(y, variant, weights) == pytest.approx(expected, rel=1e-14)
    for array in (y, p, weights):
        array.setflags(write=False)
    assert metric(y, p, weights) == expected


@pytest.mark.filterwarnings("error")
def test_diverged_predictions_give_inf_or_nan_without_a_warning():
    y = [0.0, 1.0]
    for y_pred in ([1e200, 0], [math.inf, 0], [math.inf, -math.inf]):
        assert metrics.mean_squared_error(y, y_pred) == math.inf
        assert metrics.r2(y, y_pred) == -math.inf
    assert metrics.mean_absolute_error(y, [math.inf, 0]) == math.inf
    assert math.isnan(metrics.mean_squared_error(y, [math.nan, 0]))
    assert math.isnan(metrics.r2(y, [math.nan, 0]))
    assert math.isnan(metrics.mean_squared_error(y, [math.inf, 1], [0, 1]))
    for function in REGRESSION:
        assert math.isnan(function(y, [0, math.nan])), function
        if function not in (metrics.r2, metrics.explained_variance):
            assert function(y, [math.inf, 0]) == math.inf, function
    assert metrics.explained_variance(y, [1e200, 0]) == -math.inf
    assert math.isnan(metrics.explained_variance(y, [math.inf, 0]))
    assert metrics.root_mean_squared_error(y, [1e200, 0]) == math.inf
    for function in (metrics.huber, metrics.log_cosh, metrics.pinball, metrics.poisson_deviance):
        assert 1e199 < function(y, [1e200, 1]) < math.inf
    assert math.isnan(metrics.poisson_deviance(y, [0, math.inf]))
    # Half of the errors are still finite.
    assert metrics.median_absolute_error([0, 0, 0], [1, 2, math.inf]) == 2
    assert math.isnan(metrics.median_absolute_error([0, 0, 0], [1, 2, math.nan]))


# --- input that makes no sense --------------------------------------------------------------

CLASSIFICATION = [
    metrics.accuracy,
    metrics.balanced_accuracy,
    metrics.precision,
    metrics.recall,
    metrics.f1,
    metrics.top_k_accuracy,
    metrics.roc_auc,
    metrics.log_loss,
    metrics.confusion_matrix,
]
LABELS = [metrics.hamming_loss, metrics.subset_accuracy]
REGRESSION = [
    metrics.mean_squared_error,
    metrics.root_mean_squared_error,
    metrics.mean_absolute_error,
    metrics.median_absolute_error,
    metrics.mean_absolute_percentage_error,
    metrics.r2,
    metrics.explained_variance,
    metrics.huber,
    metrics.log_cosh,
    metrics.pinball,
    metrics.poisson_deviance,
]
EVERY = CLASSIFICATION + LABELS + REGRESSION


def test_no_function_is_forgotten():
    functions = {metric.function for metric in metrics.METRICS.values()}
    assert functions | {metrics.confusion_matrix} == set(EVERY)


@pytest.mark.parametrize("function", EVERY)
def test_shapes_that_do_not_match(function):
    message = refuses(function, [0, 1, 1], np.full((2, 1), 0.5))
    assert message.startswith("y_true: has the shape (3,), expected (2,")
    message = refuses(function, np.zeros((2, 3)), np.full((2, 2), 0.5))
    assert message.startswith("y_true: has the shape (2, 3), expected (2,")
    message = refuses(function, [0, 1], np.full((2, 2, 2), 0.5))
    assert message.startswith("y_pred: has the shape (2, 2, 2), expected (n, n_out)")
    message = refuses(function, 0, 0.5)
    assert message.startswith("y_pred: has the shape (), expected (n, n_out)")


@pytest.mark.parametrize("function", LABELS + REGRESSION)
def test_values_are_never_broadcast(function):
    message = refuses(function, [1.0, 2.0], np.ones((2, 2)))
    assert message == "y_true: has the shape (2,), expected (2, 2), that of y_pred"
    refuses(function, np.ones((2, 1)), np.ones((2, 2)))
    refuses(function, np.ones((1, 2)), np.ones((2, 2)))


@pytest.mark.parametrize("function", EVERY)
@pytest.mark.parametrize("shape", [(0,), (0, 1), (0, 3), (3, 0)])
def test_empty_arrays(function, shape):
    message = refuses(function, np.zeros(shape), np.zeros(shape))
    assert message.startswith(f"y_pred: has the shape {shape}, expected (n, n_out) with at least")


@pytest.mark.parametrize("function", EVERY)
@pytest.mark.parametrize("value", [["a", "b"], [None, 1], [1j, 0]])
def test_arrays_that_hold_no_numbers(function, value):
    good = [0, 1]
    assert refuses(function, value, good, error=TypeError).startswith("y_true: holds ")
    assert refuses(function, good, value, error=TypeError).startswith("y_pred: holds ")
    assert refuses(function, good, good, value, error=TypeError).startswith("sample_weight: holds ")


@pytest.mark.parametrize("function", EVERY)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_targets_and_weights_are_finite(function, value):
    message = refuses(function, [0, 1, value], [0, 1, 1])
    assert message == "y_true: row 2 holds NaN or infinity, expected finite numbers"
    message = refuses(function, [0, 1, 1], [0, 1, 1], [1, value, 1])
    assert message == "sample_weight: row 1 holds NaN or infinity, expected finite numbers"


@pytest.mark.parametrize("function", EVERY)
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1, 1], "sample_weight: has the shape (3,), expected (2,), one for each row"),
        ([[1], [1]], "sample_weight: has the shape (2, 1), expected (2,), one for each row"),
        (1, "sample_weight: has the shape (), expected (2,), one for each row"),
        ([1, -2], "sample_weight: holds -2 in row 1, expected no negative weight"),
        ([0, 0], "sample_weight: all weights are 0, expected at least one above 0"),
    ],
)
def test_weights_that_make_no_sense(function, weights, message):
    assert refuses(function, [0, 1], [0, 1], weights) == message


@pytest.mark.parametrize("function", CLASSIFICATION)
@pytest.mark.parametrize("label", [-1, 3, 1.5])
def test_labels_out_of_range(function, label):
    message = refuses(function, [0, label, 1], np.full((3, 3), 1 / 3))
    assert message == (
        f"y_true: holds {label:g} in row 1, expected class numbers from 0 to 2, "
        "one for each column of y_pred"
    )


@pytest.mark.parametrize("function", CLASSIFICATION)
def test_labels_of_a_single_column(function):
    message = refuses(function, [0, 1, 2], [0.1, 0.2, 0.3])
    assert message == ("y_true: holds 2 in row 2, expected 0 or 1, as y_pred has a single column")
    refuses(function, [-1, 1, 1], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("function", CLASSIFICATION)
def test_targets_that_are_no_probabilities(function):
    p = np.full((2, 3), 1 / 3)
    message = refuses(function, [[1, 0, 0], [0, 2, -1]], p)
    assert message == "y_true: holds 2 in row 1, expected class probabilities between 0 and 1"
    message = refuses(function, [[1, 0, 0], [1, 1, 0]], p)
    assert message == ("y_true: row 1 sums to 2, expected class probabilities, which sum to 1")


def test_log_loss_of_scores_that_are_no_probabilities():
    message = refuses(metrics.log_loss, [0, 1], [[0.5, 0.5], [-3.0, 4.0]])
    assert message.startswith("y_pred: holds -3 in row 1, expected probabilities between 0 and 1")
    message = refuses(metrics.log_loss, [0, 1], [[0.5, 0.5], [0.9, 0.8]])
    assert message.startswith("y_pred: row 1 sums to 1.7, expected class probabilities")


@pytest.mark.parametrize("function", LABELS)
def test_labels_that_are_neither_0_nor_1(function):
    message = refuses(function, [[0, 1], [1, 2]], np.full((2, 2), 0.5))
    assert message == "y_true: holds 2 in row 1, expected 0 or 1 for each label"
    assert refuses(function, [-1, 1], [0.1, 0.2]).startswith("y_true: holds -1 in row 0")


@pytest.mark.parametrize("function", [metrics.precision, metrics.recall, metrics.f1])
@pytest.mark.parametrize("average", ["micro", "Macro", None])
def test_averages_that_do_not_exist(function, average):
    for p in ([0.1, 0.9], np.eye(2)):
        message = refuses(functools.partial(function, average=average), [0, 1], p)
        assert message.startswith(f"average: got {average!r}, expected 'macro' or 'weighted'")


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "1", None])
def test_k_that_is_no_number_of_classes(k):
    message = refuses(functools.partial(metrics.top_k_accuracy, k=k), [0, 1, 2], np.eye(3))
    assert message == f"k: got {k!r}, expected a whole number of at least 1"


@pytest.mark.parametrize(("k", "n_out"), [(1, 1), (2, 2), (5, 3), (5, 5)])
def test_top_k_accuracy_of_too_few_columns(k, n_out):
    top_k = functools.partial(metrics.top_k_accuracy, k=k)
    message = refuses(top_k, [0, 0], np.eye(2, n_out))
    assert message.startswith(f"y_pred: has the shape (2, {n_out}), expected more than k={k} ")


@pytest.mark.parametrize(
    ("y_true", "p", "weights"),
    [
        ([1, 1], [0.1, 0.9], None),
        ([1, 1], np.eye(2), None),
        ([1, 1], np.eye(3)[:2], None),
        ([1, 0, 1], [0.1, 0.2, 0.3], [1, 0, 1]),
        ([1, 2, 1], np.eye(3), [1, 0, 1]),
    ],
)
def test_roc_auc_of_a_single_class(y_true, p, weights):
    message = refuses(metrics.roc_auc, y_true, p, weights)
    assert message == (
        "y_true: every row that weighs is of class 1, expected rows of at least two classes, "
        "to rank one against the others"
    )


@pytest.mark.parametrize("delta", [0, -1, math.nan, math.inf, "1", None, True])
def test_delta_that_is_no_number_above_0(delta):
    message = refuses(functools.partial(metrics.huber, delta=delta), [0, 1], [0, 1])
    assert message == f"delta: got {delta!r}, expected a finite number above 0"


@pytest.mark.parametrize("tau", [0, 1, -0.5, math.nan, "0.5", None])
def test_tau_that_is_no_quantile(tau):
    for given in (tau, [0.5, tau]):
        message = refuses(
            functools.partial(metrics.pinball, tau=given), np.eye(2), np.full((2, 2), 0.5)
        )
        assert message == f"tau: got {tau!r}, expected a finite number above 0 and below 1"


@pytest.mark.parametrize("taus", [[0.5], [0.5, 0.5, 0.5], []])
def test_taus_that_are_not_one_for_each_output(taus):
    message = refuses(functools.partial(metrics.pinball, tau=taus), np.eye(2), np.eye(2))
    assert message == (
        f"tau: got {len(taus)} numbers, expected one, or one for each output of y_pred, which has 2"
    )


def test_rates_that_are_negative():
    message = refuses(metrics.poisson_deviance, [1, -2], [1, 1])
    assert message == "y_true: holds -2 in row 1, expected counts, which are not negative"
    message = refuses(metrics.poisson_deviance, [1, 2], [1, -0.5])
    assert message == "y_pred: holds -0.5 in row 1, expected rates, which are not negative"
