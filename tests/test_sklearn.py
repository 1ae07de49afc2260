"""MLPClassifier and MLPRegressor against scikit-learn's: the same numbers, manners and company.

With the environment variable ``FASTMLP_EXHAUSTIVE`` every kind of target is trained in every way;
else a sample of both.
"""

import contextlib
import itertools
import os
import pickle
import sys
import time
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import joblib
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401  what it is imported for
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_predict
from sklearn.neural_network import _multilayer_perceptron as theirs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import fastmlp as fm

EPS = np.finfo(np.float64).eps
STRIDE = 1 if os.environ.get("FASTMLP_EXHAUSTIVE") else 5

# A training of a few epochs ends as one that has not converged.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def inputs(n=130, n_in=5):
    return np.random.default_rng(1).normal(size=(n, n_in))


X = inputs()
RNG = np.random.default_rng(2)
WEIGHTS = RNG.uniform(0.1, 1, len(X))
TWO = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)
THREE = np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.5, 0.5])
LABELS = (X[:, :4] + 0.3 * RNG.normal(size=(len(X), 4)) > 0).astype(int)
NUMBER = X[:, 0] - 2 * X[:, 1] ** 2
COUNT = RNG.poisson(np.exp(X[:, 0] / 2))

TARGETS = {
    "two classes": (TWO, None),
    "two words": (np.array(["no", "yes"])[TWO], None),
    "three classes": (THREE, None),
    "several labels": (LABELS, None),
    "a number": (NUMBER, "squared_error"),
    "several numbers": (np.c_[NUMBER, X[:, 3], np.sin(X[:, 4])], "squared_error"),
    "a count": (COUNT, "poisson"),
    "several counts": (np.c_[COUNT, RNG.poisson(1.5, len(X))], "poisson"),
}
SOLVERS = {
    "adam": {"solver": "adam"},
    "gradient descent": {"solver": "sgd", "momentum": 0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd"},
    "inverse scaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 2, "tol": 0.01},
    "in order": {"shuffle": False, "batch_size": 17},
    "full batch": {"batch_size": 10_000},
}
EVERY_WAY = list(
    itertools.product(
        TARGETS, SOLVERS, [False, True], [False, True], ["relu", "tanh", "logistic", "identity"]
    )
)
SAMPLE = EVERY_WAY[::STRIDE]


def pair(target, **settings):
    """Their estimator and ours with the same settings, and the targets of a kind."""
    y, loss = TARGETS[target]
    if loss is None:
        return theirs.MLPClassifier(**settings), fm.MLPClassifier(**settings), y
    settings["loss"] = loss
    return theirs.MLPRegressor(**settings), fm.MLPRegressor(**settings), y


def assert_equal_within_rounding(ours, expected, k=100):
    """Within k·eps·sqrt(n) of the largest number, n being the rows that sums are made of."""
    expected = np.asarray(expected)
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(ours, expected, rtol=0, atol=k * EPS * np.sqrt(len(X)) * scale)


def assert_same_training(ours, expected, k=100):
    """Curves, counts and weights."""
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(expected, name), name
    assert_equal_within_rounding(ours.loss_curve_, expected.loss_curve_, k)
    assert_equal_within_rounding(ours.loss_, expected.loss_, k)
    for name in ("validation_scores_", "best_validation_score_", "best_loss_"):
        value = getattr(expected, name)
        if value is None:
            assert getattr(ours, name) is None
        else:
            assert_equal_within_rounding(getattr(ours, name), value, k)
    for name in ("coefs_", "intercepts_"):
        for own, other in zip(getattr(ours, name), getattr(expected, name), strict=True):
            assert own.dtype == other.dtype
            assert_equal_within_rounding(own, other, 100 * k)


def assert_same_predictions(ours, expected):
    found, wanted = ours.predict(X), expected.predict(X)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    if hasattr(expected, "classes_"):
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(ours.classes_, expected.classes_)
        assert ours.classes_.dtype == expected.classes_.dtype
        for method in ("predict_proba", "predict_log_proba"):
            assert_equal_within_rounding(
                getattr(ours, method)(X), getattr(expected, method)(X), 1e4
            )
    else:
        assert_equal_within_rounding(found, wanted, 1e4)


# ---- the same numbers


@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1")
@pytest.mark.parametrize("part", range(8))
def test_losses_scores_weights_and_predictions_are_scikit_learns(part):
    """In a sample, or in every way."""
    for target, solver, weighted, early, activation in SAMPLE[part::8]:
        settings = {
            "hidden_layer_sizes": (7, 4), "max_iter": 20, "random_state": 3, "batch_size": 32,
            "validation_fraction": 0.2, "learning_rate_init": 0.01, "activation": activation,
            "early_stopping": early,
        }  # fmt: skip
        expected, ours, y = pair(target, **settings | SOLVERS[solver])
        weight = WEIGHTS if weighted else None
        assert_same_training(
            ours.fit(X, y, sample_weight=weight), expected.fit(X, y, sample_weight=weight)
        )
        assert_same_predictions(ours, expected)


def test_the_sample_meets_every_two_settings():
    for few, all_of_them in zip(
        *(itertools.combinations(zip(*ways, strict=True), 2) for ways in (SAMPLE, EVERY_WAY)),
        strict=True,
    ):
        assert set(zip(*few, strict=True)) == set(zip(*all_of_them, strict=True))


@pytest.mark.parametrize("target", ["two classes", "three classes", "several numbers"])
@pytest.mark.parametrize("sizes", [(), 6, [3, 3, 3]])
def test_any_number_of_layers_may_be_hidden(target, sizes):
    expected, ours, y = pair(target, hidden_layer_sizes=sizes, max_iter=5, random_state=0)
    assert_same_training(ours.fit(X, y), expected.fit(X, y))


@pytest.mark.parametrize("target", TARGETS)
def test_partial_fit_is_scikit_learns(target):
    settings = {"hidden_layer_sizes": 6, "random_state": 0, "solver": "sgd"}
    expected, ours, y = pair(target, learning_rate="invscaling", **settings)
    classes = {} if hasattr(expected, "loss") and expected.loss != "log_loss" else {
        "classes": np.arange(4) if y.ndim == 2 else np.unique(y)
    }  # fmt: skip
    for start in (0, 40, 80, 0):
        rows = slice(start, start + 50)
        for estimator in (expected, ours):
            estimator.partial_fit(X[rows], y[rows], sample_weight=WEIGHTS[rows], **classes)
        classes = {}
    assert_same_training(ours, expected)
    assert_same_predictions(ours, expected)


@pytest.mark.parametrize("solver", ["adam", "inverse scaling", "adaptive"])
def test_a_warm_start_is_scikit_learns(solver):
    settings = {"hidden_layer_sizes": 6, "random_state": 0, "max_iter": 4, "warm_start": True}
    expected, ours, y = pair("three classes", **settings | SOLVERS[solver])
    for n_epochs in (4, 3, 5):
        for estimator in (expected, ours):
            estimator.set_params(max_iter=n_epochs).fit(X, y)
        assert_same_training(ours, expected)


@pytest.mark.parametrize("solver", ["adam", "inverse scaling", "adaptive"])
def test_a_warm_start_with_early_stopping_is_scikit_learns(solver):
    settings = {"hidden_layer_sizes": 6, "random_state": 0, "max_iter": 4, "warm_start": True}
    expected, ours, y = pair("three classes", early_stopping=True, **settings | SOLVERS[solver])
    for estimator in (expected, ours):
        estimator.fit(X, y).fit(X, y)
    assert_equal_within_rounding(ours.loss_curve_, expected.loss_curve_)
    assert_equal_within_rounding(ours.validation_scores_, expected.validation_scores_)
    assert len(ours.loss_curve_) == 8


def test_a_warm_start_that_does_not_help_keeps_the_best_network():
    """Where scikit-learn, whose best weights and last are then the same arrays, keeps the last."""
    ours = fm.MLPClassifier(
        early_stopping=True, warm_start=True, learning_rate_init=0.05, random_state=0, max_iter=60
    ).fit(X, TWO)
    best, weights = ours.best_validation_score_, ours.coefs_[0].copy()
    ours.set_params(learning_rate_init=1e-9, max_iter=2).fit(X, TWO)
    assert ours.best_validation_score_ == best
    np.testing.assert_array_equal(ours.coefs_[0], weights)


@pytest.mark.parametrize("learning_rate", ["invscaling", "constant"])
def test_a_warm_start_has_scikit_learns_rates(learning_rate):
    """Where the rate of the first epoch is not that of a new training, the weights tell."""
    expected, ours, y = pair(
        "two classes", solver="sgd", hidden_layer_sizes=4, learning_rate=learning_rate,
        max_iter=1, power_t=0.25, warm_start=True, random_state=0,
    )  # fmt: skip
    for _ in range(3):
        assert_same_training(ours.fit(X, y), expected.fit(X, y))


def test_adaptive_training_ends_at_scikit_learns_rate(capsys):
    settings = {"tol": 0.5, "max_iter": 3000, "solver": "sgd", "learning_rate": "adaptive"}
    said = []
    for estimator in pair("two classes", verbose=True, random_state=0, **settings)[:2]:
        assert estimator.fit(X, TWO).n_iter_ < 3000
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "Setting learning rate to 0.000000\n" in said[1]
    assert said[1].endswith("Learning rate too small. Stopping.\n")


@pytest.mark.parametrize("target", ["two classes", "three classes", "several labels", "a count"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_gradients_are_those_of_the_loss(target, activation):
    """The network and the loss that an estimator trains, by central differences."""
    _, ours, y = pair(target, activation=activation, hidden_layer_sizes=10, max_iter=1, alpha=1e-5)
    ours.set_params(random_state=1).fit(X[:5], y[:5])
    classes = getattr(ours, "classes_", None)
    t = np.searchsorted(classes, y[:5]) if target == "three classes" else y[:5]
    trainer = fm.Trainer(ours.mlp_, loss=ours._trainer.loss, l2=1e-5, penalties_over_rows=True)
    errors = trainer.check_gradients(X[:5], t)
    assert max(errors.values()) < 1e-6


@pytest.mark.parametrize("target", TARGETS)
def test_lbfgs_finds_as_low_a_loss(target):
    settings = {"solver": "lbfgs", "hidden_layer_sizes": 5, "activation": "tanh", "max_iter": 15}
    expected, ours, y = pair(target, random_state=0, **settings)
    expected.fit(X, y)
    ours.fit(X, y)
    assert (ours.n_iter_, ours.t_) == (expected.n_iter_, expected.t_)
    # Rounding grows with the iterations, as each decides where the next looks.
    assert_equal_within_rounding(ours.loss_, expected.loss_, 1e6)
    assert ours.history_["loss"][-1] == ours.loss_


@pytest.mark.parametrize("early", [False, True])
def test_what_is_printed_is_scikit_learns(early, capsys):
    said = []
    for estimator in pair(
        "a number", verbose=True, early_stopping=early, max_iter=30, n_iter_no_change=2, tol=0.1,
        random_state=0, learning_rate_init=0.01,
    )[:2]:  # fmt: skip
        estimator.fit(X, NUMBER)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "Iteration 1, loss = " in said[1]
    assert said[1].endswith("consecutive epochs. Stopping.\n")
    assert ("Validation score: " in said[1]) == early


def test_float32_stays_float32():
    expected, ours, y = pair("three classes", max_iter=10, random_state=0, hidden_layer_sizes=8)
    X32 = X.astype(np.float32)
    expected.fit(X32, y)
    ours.fit(X32, y)
    assert {a.dtype for a in (*ours.coefs_, *ours.intercepts_)} == {np.dtype(np.float32)}
    assert ours.predict_proba(X32).dtype == np.float32
    tolerance = 100 * np.finfo(np.float32).eps * np.sqrt(len(X))
    np.testing.assert_allclose(ours.loss_curve_, expected.loss_curve_, rtol=0, atol=tolerance)


def test_random_states_of_any_kind_give_scikit_learns_numbers():
    for state in (7, np.random.RandomState(7)):
        expected, ours, y = pair("three classes", max_iter=3, hidden_layer_sizes=4)
        ours.set_params(random_state=clone(expected.set_params(random_state=state)).random_state)
        assert_same_training(ours.fit(X, y), expected.fit(X, y))
    curves = []
    for estimator in pair("three classes", max_iter=3, hidden_layer_sizes=4)[:2]:
        np.random.seed(5)  # what random_state=None draws from
        curves.append(estimator.fit(X, THREE).loss_curve_)
    assert_equal_within_rounding(curves[1], curves[0])


# ---- scikit-learn's own checks


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_every_check_of_scikit_learns_passes(name):
    def outcomes(estimator):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = check_estimator(estimator, on_skip=None, on_fail=None)
        return {str(r["check_name"]): r["status"] for r in found}, found

    ours, found = outcomes(getattr(fm, name)(max_iter=100))
    bad = [(r["check_name"], r["exception"]) for r in found if r["status"] == "failed"]
    assert bad == []
    # What is skipped, theirs skips too.
    skipped = {check for check, status in ours.items() if status != "passed"}
    expected = {
        "check_array_api_input",
        "check_classifiers_multilabel_output_format_decision_function",
    }
    assert skipped <= expected
    assert len(ours) > 50


# ---- its manners: errors and warnings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_layer_sizes": -1}, "hidden_layer_sizes.* parameter of MLPClassifier must be"),
        ({"hidden_layer_sizes": (3, 0)}, r"hidden_layer_sizes must be > 0, got \[3, 0\]"),
        ({"activation": "rellu"}, "'activation' parameter of MLPClassifier must be a str among"),
        ({"activation": ["relu", "tanh"]}, "activation: got 2 names, expected one, or one for"),
        ({"activation": "softmax"}, "activation: 'softmax' is for the output"),
        ({"solver": "rmsprop"}, "'solver' parameter of MLPClassifier must be a str among"),
        ({"solver": "sgd", "momentum": 1.0}, "momentum: got 1.0, expected .* below 1"),
        ({"output": "identity", "loss": "cross_entropy"}, "does not go with output='identity'"),
        ({"loss": "logloss"}, "'loss' parameter of MLPClassifier must be a str among"),
        ({"dropout": 1.0}, "'dropout' parameter of MLPClassifier must be"),
        ({"dropout": [0.1, 0.1]}, "dropout: got 2 values, expected one, or one for each of the 1"),
        ({"batch_norm": "yes"}, "'batch_norm' parameter of MLPClassifier must be"),
        ({"class_weight": "even"}, "'class_weight' parameter of MLPClassifier must be"),
        ({"weight_decay": -1}, "'weight_decay' parameter of MLPClassifier must be a float"),
        ({"init": "he"}, "'init' parameter of MLPClassifier must be a str among"),
        ({"scale": "minmax"}, "'scale' parameter of MLPClassifier must be a str among"),
        ({"schedule": "sawtooth"}, "'schedule' parameter of MLPClassifier must be a str among"),
        ({"scoring": "goodness"}, "'scoring' parameter of MLPClassifier must be a str among"),
        ({"target_loss": "low"}, "'target_loss' parameter of MLPClassifier must be"),
        ({"max_seconds": 0}, "'max_seconds' parameter of MLPClassifier must be a float"),
        ({"dtype": "float16"}, "'dtype' parameter of MLPClassifier must be a str among"),
        ({"dtype": np.int32}, "dtype: got .*, expected 'float32' or 'float64'"),
        ({"n_threads": 0}, "'n_threads' parameter of MLPClassifier must be an int"),
        ({"continue_exactly": 2}, "'continue_exactly' parameter of MLPClassifier must be"),
        (
            {"solver": "lbfgs", "dropout": 0.1},
            "dropout: got 0.1 with solver='lbfgs', expected none",
        ),
        ({"solver": "lbfgs", "schedule": "step"}, "schedule: got 'step' with solver='lbfgs'"),
        ({"solver": "lbfgs", "weight_decay": 1}, "weight_decay: got 1 with solver='lbfgs'"),
    ],
)
def test_a_wrong_parameter_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        fm.MLPClassifier(**settings).fit(X, TWO)


@pytest.mark.parametrize("target", ["two classes", "three classes", "several labels", "a count"])
@pytest.mark.parametrize(
    "call",
    [
        lambda e, X, y: e.predict(X),
        lambda e, X, y: e.fit(X, y).predict(X[:, :3]),
        lambda e, X, y: e.fit(X, y).predict(X[0]),
        lambda e, X, y: e.fit(X, y).predict(X[:0]),
        lambda e, X, y: e.fit(X, y).predict(np.full_like(X, np.nan)),
        lambda e, X, y: e.fit(X, y).predict(np.full_like(X, np.inf)),
        lambda e, X, y: e.fit(X, y).predict(X.astype(complex)),
        lambda e, X, y: e.fit(X, y[:5]),
        lambda e, X, y: e.fit(X, None),
        lambda e, X, y: e.fit(X * np.nan, y),
        lambda e, X, y: e.fit(X, y * np.nan),
        lambda e, X, y: e.fit(X, y + 0.5),
        lambda e, X, y: e.fit(X, y[:, None, None]),
        lambda e, X, y: e.fit(X, np.full(len(X), "a", object)[:1]),
        lambda e, X, y: e.fit(X, y, sample_weight=np.ones(3)),
        lambda e, X, y: e.fit(X, y, sample_weight=np.full(len(X), np.nan)),
        lambda e, X, y: e.set_params(early_stopping=True).fit(X[:3], y[:3]),
        lambda e, X, y: e.set_params(early_stopping=True, validation_fraction=0.0).fit(X, y),
        lambda e, X, y: e.fit(X, y).set_params(early_stopping=True).partial_fit(X, y),
        lambda e, X, y: e.set_params(solver="lbfgs", alpha=-1).fit(X, y),
    ],
)
def test_what_is_wrong_is_said_in_scikit_learns_words(target, call):
    expected, ours, y = pair(target, max_iter=1, hidden_layer_sizes=3, random_state=0)
    said = []
    for estimator in (expected, ours):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                call(estimator, X, y)
                said.append("nothing")
            except (ValueError, TypeError) as error:
                # What follows the first line is advice.
                said.append((type(error), str(error).partition("\n")[0]))
    assert said[0] == said[1]


def test_labels_are_judged_as_scikit_learn_does():
    for y in (
        NUMBER,
        np.c_[NUMBER, NUMBER],
        np.array([None] * len(X)),
        np.array([b"a", b"b"] * 65),
    ):
        messages = []
        for kind in (theirs.MLPClassifier, fm.MLPClassifier):
            with pytest.raises((ValueError, TypeError)) as error:
                kind(max_iter=1).fit(X, y)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
    for later, message in ((THREE, "has classes not in"), (LABELS, "not fitted with multilabel")):
        ours = fm.MLPClassifier(max_iter=1).fit(X, TWO)
        with pytest.raises(ValueError, match=message):
            ours.partial_fit(X, later)
    ours = fm.MLPClassifier(max_iter=1).fit(X, LABELS)
    with pytest.raises(ValueError, match=r"y: got shape .* several columns as in the"):
        ours.partial_fit(X, TWO)
    with pytest.raises(ValueError, match="y: got 3 columns, expected 4"):
        ours.partial_fit(X, LABELS[:, :3])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        fm.MLPClassifier().partial_fit(X, TWO)


def test_more_targets_than_a_network_has_are_refused():
    ours = fm.MLPRegressor(max_iter=1, hidden_layer_sizes=3).fit(X, NUMBER)
    with pytest.raises(ValueError, match="y: got targets for 2 outputs, expected 1"):
        ours.partial_fit(X, np.c_[NUMBER, NUMBER])


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match=r"row 2 has the weight -1\.0, expected 0 or more"):
        fm.MLPRegressor().fit(X, NUMBER, sample_weight=np.where(np.arange(len(X)) == 2, -1.0, 1))


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_warnings_are_scikit_learns(name):
    said = []
    for kind in (getattr(theirs, name), getattr(fm, name)):
        estimator = kind(max_iter=1, hidden_layer_sizes=2, batch_size=1000)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            estimator.fit(X, TWO[:, None])
            estimator.set_params(solver="lbfgs").fit(X, TWO)
        said.append([(w.category, str(w.message)) for w in found])
    assert said[0] == said[1]
    categories = {category for category, _ in said[1]}
    assert categories == {UserWarning, ConvergenceWarning, DataConversionWarning}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_training_that_diverges_raises(solver):
    """Numbers whose products are not finite, from the first minibatch."""
    huge = np.finfo(np.float64).max * np.abs(np.tanh(X))
    for ours, y in (
        (fm.MLPRegressor(solver=solver), NUMBER),
        (fm.MLPClassifier(solver=solver), TWO),
    ):
        with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
            ours.fit(huge, y)
        assert ours.stop_reason_ == "diverged"


def test_a_training_that_diverges_late_keeps_the_best_network():
    ours = fm.MLPRegressor(
        solver="sgd", activation="identity", learning_rate_init=1, early_stopping=True,
        random_state=0, max_iter=20,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="no longer a finite number in iteration"):
        ours.fit(X, NUMBER)
    assert ours.stop_reason_ == "diverged"
    assert np.isnan(ours.validation_scores_[-1])
    assert np.isnan(ours.loss_curve_[-1])
    assert len(ours.loss_curve_) == len(ours.validation_loss_curve_) == ours.n_iter_ <= 20
    assert all(np.isfinite(w).all() for w in (*ours.coefs_, *ours.intercepts_))


@pytest.mark.parametrize("early", [False, True])
def test_control_c_ends_a_training_in_scikit_learns_words(early):
    class Interrupt(fm.Callback):
        def on_epoch_end(self, trainer):
            if trainer.epoch == 3:
                raise KeyboardInterrupt

    ours = fm.MLPRegressor(max_iter=20, random_state=0, early_stopping=early)
    with pytest.warns(UserWarning, match="Training interrupted by user."):
        ours.fit(X, NUMBER, callbacks=[Interrupt()])
    assert (ours.n_iter_, ours.stop_reason_, len(ours.loss_curve_)) == (3, "interrupted", 3)
    assert ours.predict(X).shape == (len(X),)


# ---- its company


def test_data_frames_come_in_with_their_names():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    pl = pytest.importorskip("polars", reason="polars is not installed")
    names = [f"column {i}" for i in range(5)]
    plain = fm.MLPClassifier(max_iter=3, random_state=0).fit(X, TWO)
    for frame, series in (
        (pd.DataFrame(X, columns=names), pd.Series(TWO)),
        (pl.DataFrame(X, schema=names), pl.Series(TWO)),
    ):
        ours = fm.MLPClassifier(max_iter=3, random_state=0).fit(frame, series)
        assert list(ours.feature_names_in_) == names
        np.testing.assert_array_equal(ours.predict_proba(frame), plain.predict_proba(X))
        assert ours.score(frame, series) == plain.score(X, TWO)
        with pytest.raises(ValueError, match="feature names should match"):
            ours.predict(frame[names[::-1]])
        with pytest.warns(UserWarning, match="X does not have valid feature names"):
            ours.predict(X)
        # Rows held out keep their names, too.
        for scoring in (None, "accuracy"):
            ours.set_params(early_stopping=True, scoring=scoring).fit(frame, series)


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "csr_array", "csc_array"])
def test_sparse_inputs_are_read(form):
    dense = np.where(np.abs(X) > 0.7, X, 0)
    rows = getattr(sparse, form)(dense)
    for early in (False, True):
        settings = {"max_iter": 3, "random_state": 0, "early_stopping": early}
        one, other = fm.MLPRegressor(**settings), fm.MLPRegressor(**settings)
        one.fit(dense, NUMBER)
        other.fit(rows, NUMBER)
        assert one.loss_curve_ == other.loss_curve_
        np.testing.assert_array_equal(one.predict(dense), other.predict(rows))


def test_sparse_labels_come_back_sparse():
    expected, ours, _ = pair("several labels", max_iter=3, random_state=0)
    rows = sparse.csr_matrix(LABELS)
    found, wanted = ours.fit(X, rows).predict(X), expected.fit(X, rows).predict(X)
    assert type(found) is type(wanted)
    np.testing.assert_array_equal(found.toarray(), wanted.toarray())
    assert ours.set_params(early_stopping=True).fit(X, rows).n_outputs_ == 4


@pytest.mark.parametrize(
    "y",
    [
        np.array(["no", "yes", "perhaps"])[THREE],
        np.array(["no", "yes", "perhaps"], object)[THREE],
        THREE.astype(float) * 10 - 5,
        THREE.astype(np.int8),
        TWO.astype(bool),
        np.full(len(X), 7),
        np.full(len(X), "only"),
        TWO.tolist(),
        LABELS.astype(float),
        LABELS * 2,
    ],
    ids=["str", "object", "float", "int8", "bool", "one", "one word", "list", "floats", "twos"],
)
def test_labels_of_any_type_come_back(y):
    expected, ours, _ = pair("two classes", max_iter=5, random_state=0, hidden_layer_sizes=5)
    expected.fit(X, y)
    assert_same_training(ours.fit(X, y), expected)
    assert_same_predictions(ours, expected)


def test_several_columns_of_several_classes():
    Y = np.c_[THREE, TWO + 3, np.digitize(X[:, 2], [-1, 0, 1])]
    ours = fm.MLPClassifier(max_iter=300, learning_rate_init=0.01, random_state=0).fit(X, Y)
    assert [list(c) for c in ours.classes_] == [[0, 1, 2], [3, 4], [0, 1, 2, 3]]
    assert (ours.n_outputs_, ours.out_activation_) == (9, "logistic")
    found = ours.predict(X)
    assert found.shape == Y.shape
    assert (found == Y).mean() > 0.9
    assert ours.score(X, Y) == (found == Y).all(axis=1).mean()
    outputs = ours.mlp_.predict(X)
    groups = np.split(outputs, [3, 5], axis=1)
    for group, p in zip(groups, ours.predict_proba(X), strict=True):
        np.testing.assert_allclose(p, group / group.sum(axis=1, keepdims=True), rtol=4 * EPS)
    assert [p.shape[1] for p in ours.predict_log_proba(X)] == [3, 2, 4]
    # Each column is what the same network, trained on its own indicators, would say.
    indicators = np.hstack([column[:, None] == np.unique(column) for column in Y.T])
    same = fm.MLPClassifier(max_iter=300, learning_rate_init=0.01, random_state=0)
    assert same.fit(X, indicators.astype(int)).loss_curve_ == ours.loss_curve_


def test_several_columns_of_words_and_piece_by_piece():
    Y = np.c_[np.array(["a", "b", "c"])[THREE], np.array(["x", "y"])[TWO]]
    ours = fm.MLPClassifier(max_iter=20, random_state=0, early_stopping=True).fit(X, Y)
    assert len(ours.validation_scores_) == ours.n_iter_
    assert set(ours.predict(X)[:, 1]) <= {"x", "y"}
    pieces = fm.MLPClassifier(random_state=0)
    for rows in np.split(np.arange(120), 3):
        pieces.partial_fit(X[rows], Y[rows], classes=[["a", "b", "c"], ["x", "y"]])
    assert pieces.predict(X).shape == Y.shape
    with pytest.raises(ValueError, match="has classes not in"):
        pieces.partial_fit(X[:2], np.array([["a", "z"], ["b", "x"]]))
    for classes in ([["a", "b"], ["x", "y"]], [["a", "b", "c"]]):
        with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
            pieces.partial_fit(X, Y, classes=classes)
    with pytest.raises(ValueError, match=r"y: got shape \(130,\), expected several columns"):
        pieces.partial_fit(X, Y[:, 0])
    warm = fm.MLPClassifier(max_iter=2, warm_start=True).fit(X, Y)
    warm.fit(X, Y)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same"):
        warm.fit(X, np.c_[Y[:, 0], np.where(TWO, "x", "w")])


def test_it_is_found_in_grids_pipelines_and_the_like():
    settings = {"hidden_layer_sizes": (4,), "random_state": 0, "max_iter": 5}
    ours, expected = fm.MLPClassifier(**settings), theirs.MLPClassifier(**settings)
    assert clone(ours).get_params() == ours.get_params()
    pipes = [make_pipeline(StandardScaler(), e).fit(X, THREE) for e in (ours, expected)]
    assert_equal_within_rounding(pipes[0].predict_proba(X), pipes[1].predict_proba(X), 1e4)
    np.testing.assert_array_equal(
        cross_val_predict(ours, X, THREE, cv=3), cross_val_predict(expected, X, THREE, cv=3)
    )
    found = [
        HalvingGridSearchCV(e, {"alpha": [1e-4, 10.0]}, cv=2, random_state=0).fit(X, THREE)
        for e in (ours, expected)
    ]
    assert found[0].best_params_ == found[1].best_params_
    calibrated = [CalibratedClassifierCV(e, cv=2).fit(X, THREE) for e in (ours, expected)]
    assert_equal_within_rounding(
        calibrated[0].predict_proba(X), calibrated[1].predict_proba(X), 1e6
    )
    importance = [
        permutation_importance(e.fit(X, THREE), X, THREE, random_state=0, n_repeats=2)
        for e in (ours, expected)
    ]
    assert_equal_within_rounding(importance[0].importances, importance[1].importances)


def test_a_grid_is_searched_by_two_processes():
    found = GridSearchCV(
        fm.MLPRegressor(max_iter=3, random_state=0, hidden_layer_sizes=3),
        {"activation": ["tanh", "gelu"]}, n_jobs=2, cv=2,
    ).fit(X, NUMBER)  # fmt: skip
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()


def test_metadata_is_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        ours = fm.MLPRegressor(max_iter=3, random_state=0)
        ours.set_fit_request(sample_weight=True, eval_set=True)
        scaler = StandardScaler(with_mean=False, with_std=False)
        pipe = make_pipeline(scaler.set_fit_request(sample_weight=False), ours)
        pipe.fit(X, NUMBER, sample_weight=WEIGHTS, eval_set=(X, NUMBER))
    alone = fm.MLPRegressor(max_iter=3, random_state=0).fit(X, NUMBER, sample_weight=WEIGHTS)
    assert pipe[-1].loss_curve_ == alone.loss_curve_
    assert len(pipe[-1].validation_loss_curve_) == 3


def test_it_can_be_looked_at():
    ours = fm.MLPClassifier(max_iter=7)
    assert repr(ours) == "MLPClassifier(max_iter=7)"
    assert "MLPClassifier" in ours._repr_html_()
    assert "MLPClassifier" in ours.fit(X, TWO)._repr_html_()


def test_it_goes_through_pickles_and_joblib(tmp_path):
    ours = fm.MLPClassifier(max_iter=5, random_state=0).fit(X, THREE)
    joblib.dump(ours, tmp_path / "ours.joblib")
    for copied in (pickle.loads(pickle.dumps(ours)), joblib.load(tmp_path / "ours.joblib")):
        np.testing.assert_array_equal(copied.predict_proba(X), ours.predict_proba(X))
        assert copied.coefs_[0] is copied.mlp_.weights[0]
        assert copied.loss_curve_ == ours.loss_curve_


# ---- speed


def seconds(function, times=200):
    """The shortest of a few, each of so many calls."""

    def once():
        began = time.perf_counter()
        for _ in range(times):
            function()
        return time.perf_counter() - began

    return min(once() for _ in range(5))


@pytest.mark.parametrize("target", ["two classes", "three classes", "a number"])
def test_one_row_is_predicted_five_times_as_fast(target):
    expected, ours, y = pair(target, hidden_layer_sizes=10, max_iter=1)
    expected.fit(X, y)
    ours.fit(X, y)
    row = X[:1]
    assert seconds(lambda: expected.predict(row)) > 5 * seconds(lambda: ours.predict(row))


def calls_of(function):
    """How many functions of Python's and C's are called."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, SOLVERS["inverse scaling"]])
def test_no_python_is_run_for_a_minibatch(settings):
    def fit(batch_size):
        ours = fm.MLPRegressor(
            hidden_layer_sizes=3, max_iter=4, random_state=0, batch_size=batch_size, **settings
        )
        with contextlib.suppress(ConvergenceWarning):
            return calls_of(lambda: ours.fit(X, NUMBER))

    fit(1)
    # A handful more or less, however many minibatches.
    assert abs(fit(1) - fit(100)) < 50


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_warnings_are_silenced_as_scikit_learn_s(solver):
    """Its own gallery does it by the module, which is where `fit` of both is entered."""
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    estimator = fm.MLPClassifier(solver=solver, max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
        estimator.fit(X, y)
    with pytest.warns((ConvergenceWarning, DataConversionWarning)) as caught:
        estimator.fit(X, y[:, None])
    assert [w.category for w in caught] == [DataConversionWarning, ConvergenceWarning]
    assert {w.filename for w in caught} == {sklearn.base.__file__}
