"""Metrics by hand, against scikit-learn, and on input that makes no sense."""

import functools
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
        "mean_squared_error": False,
        "mean_absolute_error": False,
        "r2": True,
        "log_loss": False,
    }
    for name, metric in metrics.METRICS.items():
        assert metric.name == name
        assert metrics.get(name) is metric
        assert metrics.get(metric) is metric
        assert getattr(metrics, name) is metric.function


@pytest.mark.parametrize("name", metrics.METRICS)
def test_direction_is_that_of_the_function(name):
    metric = metrics.get(name)
    y = np.array([0, 1, 1, 0])
    good, bad = np.array([[0.1], [0.8], [0.9], [0.2]]), np.array([[0.9], [0.2], [0.3], [0.8]])
    assert (metric(y, good) > metric(y, bad)) == metric.greater_is_better


@pytest.mark.parametrize(
    ("alias", "name"),
    [("mse", "mean_squared_error"), ("mae", "mean_absolute_error"), ("r2_score", "r2")],
)
def test_aliases(alias, name):
    assert metrics.get(alias) is metrics.METRICS[name]


KNOWN = [*metrics.METRICS, "mse", "mae", "r2_score"]


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


# --- R² where the target does not vary ------------------------------------------------------


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


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_out", [1, 2, 5])
@pytest.mark.parametrize("n", [2, 3, 100])
def test_regression_against_scikit_learn(sk, n, n_out, weighted):
    rng = np.random.default_rng(n * 10 + n_out)
    y_true = rng.normal(3, 2, (n, n_out))
    y_pred = y_true + rng.normal(size=(n, n_out))
    weights = rng.uniform(0.1, 3, n) if weighted else None
    for ours, theirs in (
        (metrics.mean_squared_error, sk.mean_squared_error),
        (metrics.mean_absolute_error, sk.mean_absolute_error),
        (metrics.r2, sk.r2_score),
    ):
        expected = theirs(y_true, y_pred, sample_weight=weights)
        assert ours(y_true, y_pred, weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_out", [2, 3, 10])
def test_classification_against_scikit_learn(sk, n_out, weighted):
    rng = np.random.default_rng(n_out)
    p = softmax_rows(rng, 200, n_out)
    y = rng.integers(0, n_out, 200)
    weights = rng.uniform(0, 3, 200) if weighted else None
    accuracy = sk.accuracy_score(y, p.argmax(axis=1), sample_weight=weights)
    log_loss = sk.log_loss(y, p, sample_weight=weights, labels=np.arange(n_out))
    for y_true in (y, y[:, np.newaxis], np.eye(n_out)[y]):
        assert metrics.accuracy(y_true, p, weights) == pytest.approx(accuracy, rel=1e-12)
        assert metrics.log_loss(y_true, p, weights) == pytest.approx(log_loss, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_against_scikit_learn(sk, weighted):
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(200, 1))
    p[:2] = [[0], [1]]
    y = rng.integers(0, 2, 200)
    weights = rng.uniform(0, 3, 200) if weighted else None
    accuracy = sk.accuracy_score(y, p[:, 0] > 0.5, sample_weight=weights)
    log_loss = sk.log_loss(y, p[:, 0], sample_weight=weights)
    assert metrics.accuracy(y, p, weights) == pytest.approx(accuracy, rel=1e-12)
    assert metrics.log_loss(y, p, weights) == pytest.approx(log_loss, rel=1e-12)


def test_clipping_against_scikit_learn(sk):
    p = np.array([[0, 1], [1, 0], [0.5, 0.5]], np.float32)
    expected = sk.log_loss([0, 1, 1], p)
    assert expected > 10
    assert metrics.log_loss([0, 1, 1], p) == pytest.approx(expected, rel=1e-6)


def test_constant_target_against_scikit_learn(sk):
    for y_pred in ([[2, 1], [2, 2]], [[2, 1], [3, 2]], [[1, 1], [1, 3]]):
        y_true = [[2, 1], [2, 2]]
        assert metrics.r2(y_true, y_pred) == sk.r2_score(y_true, y_pred)


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
    p = softmax_rows(rng, 20, 4)
    y = softmax_rows(rng, 20, 4)
    weights = rng.uniform(1, 2, 20)
    expected = metric(y, p, weights)
    strided = np.zeros((40, 8))
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


# --- input that makes no sense --------------------------------------------------------------

CLASSIFICATION = [metrics.accuracy, metrics.log_loss]
REGRESSION = [metrics.mean_squared_error, metrics.mean_absolute_error, metrics.r2]
EVERY = CLASSIFICATION + REGRESSION


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


@pytest.mark.parametrize("function", REGRESSION)
def test_regression_never_broadcasts(function):
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
