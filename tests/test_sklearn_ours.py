"""What fastmlp's MLPClassifier and MLPRegressor have beyond scikit-learn's parameters."""

import time

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.metrics import accuracy_score, log_loss, make_scorer, r2_score
from sklearn.utils.class_weight import compute_sample_weight

import fastmlp as fm
from fastmlp import threads

EPS = np.finfo(np.float64).eps

# A training of a few epochs ends as one that has not converged.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(1).normal(size=(120, 5))
TWO = (X[:, 0] * X[:, 1] > 0).astype(int)
THREE = np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.5, 0.5])
LABELS = (X[:, :3] > 0).astype(int)
NUMBER = X[:, 0] - X[:, 1] ** 2
WEIGHTS = np.random.default_rng(2).uniform(0.5, 2, len(X))
SMALL = {"hidden_layer_sizes": (6,), "random_state": 0, "max_iter": 5}


def classifier(**settings):
    return fm.MLPClassifier(**SMALL | settings)


def regressor(**settings):
    return fm.MLPRegressor(**SMALL | settings)


# ---- networks


def test_activations_are_those_of_the_network():
    names = ["gelu", "leaky_relu(slope=0.2)", fm.activations.elu(0.5)]
    ours = regressor(hidden_layer_sizes=(6, 5, 4), activation=names).fit(X, NUMBER)
    assert ours.mlp_.activations == ("gelu", "leaky_relu(slope=0.2)", "elu(alpha=0.5)", "identity")
    np.testing.assert_array_equal(ours.predict(X), ours.mlp_.predict(X)[:, 0])


@pytest.mark.parametrize("activation", ["tanh", "logistic", ["logistic", "tanh"]])
def test_initial_weights_lie_within_scikit_learns_bounds(activation):
    """Each layer's by its activation, the output's by that of the layer before."""
    ours = regressor(
        hidden_layer_sizes=(50, 60), activation=activation, learning_rate_init=1e-12, max_iter=1
    ).fit(X, NUMBER)
    names = activation if isinstance(activation, list) else [activation] * 2
    for w, b, name in zip(ours.coefs_, ours.intercepts_, [*names, names[-1]], strict=True):
        bound = np.sqrt((2 if name == "logistic" else 6) / sum(w.shape))
        assert 0.9 * bound < np.abs(w).max() < bound + 1e-9
        assert np.abs(b).max() < bound + 1e-9


def test_initializers_are_fastmlps():
    ours = regressor(init=["he_normal", "zeros"], learning_rate_init=1e-12, max_iter=1)
    ours.fit(X, NUMBER)
    drawn = np.random.RandomState(0).normal(0, np.sqrt(2 / 5), (5, 6))
    np.testing.assert_allclose(ours.coefs_[0], drawn, atol=1e-9)
    assert np.abs(ours.coefs_[1]).max() < 1e-9
    assert np.abs(ours.intercepts_[0]).max() < 1e-9


@pytest.mark.parametrize(
    ("settings", "out", "n_out"),
    [
        ({}, "logistic", 1),
        ({"output": "softmax"}, "softmax", 2),
        ({"loss": "cross_entropy"}, "softmax", 2),
        ({"loss": fm.CrossEntropy(label_smoothing=0.1)}, "softmax", 2),
        ({"loss": "mse"}, "logistic", 1),
        ({"loss": "mse", "output": "identity"}, "identity", 1),
        ({"output": "tanh"}, "tanh", 1),
        ({"loss": "huber", "output": "softmax"}, "softmax", 2),
    ],
)
def test_losses_and_outputs_of_a_classifier(settings, out, n_out):
    for y, n in ((TWO, n_out), (THREE, 3)):
        expected = {"logistic": "logistic"}.get(out, out)
        if y is THREE and out == "logistic":
            expected = "softmax"
        ours = classifier(max_iter=300, learning_rate_init=0.02, **settings).fit(X, y)
        assert (ours.out_activation_, ours.n_outputs_) == (expected, n)
        assert ours.score(X, y) > 0.85
        if expected in ("softmax", "logistic"):
            found = ours.predict_proba(X)
            assert found.shape == (len(X), len(ours.classes_))
            np.testing.assert_allclose(found.sum(axis=1), 1, rtol=8 * EPS)
        else:
            assert not hasattr(ours, "predict_proba")


def test_one_against_the_rest_gives_probabilities():
    ours = classifier(max_iter=100, output="sigmoid").fit(X, THREE)
    outputs = ours.mlp_.predict(X)
    np.testing.assert_allclose(
        ours.predict_proba(X), outputs / outputs.sum(axis=1, keepdims=True), rtol=8 * EPS
    )
    np.testing.assert_array_equal(ours.predict(X), outputs.argmax(axis=1))


def test_one_class_may_have_two_outputs():
    ours = classifier(output="softmax").fit(X, np.full(len(X), "only"))
    assert set(ours.predict(X)) == {"only"}


def test_a_loss_of_one_class_is_refused_for_several_labels():
    with pytest.raises(ValueError, match="loss: got 'cross_entropy', which is for one class of"):
        classifier(loss="cross_entropy").fit(X, LABELS)
    with pytest.raises(ValueError, match="loss: got 'cross_entropy', which is for classes"):
        regressor(loss="cross_entropy").fit(X, NUMBER)


@pytest.mark.parametrize(
    ("loss", "output", "out"),
    [
        ("mae", None, "identity"),
        ("huber", "tanh", "tanh"),
        (fm.Poisson(), None, "exp"),
        ("binary_cross_entropy", None, "logistic"),
        ("squared_error", "softplus", "softplus"),
    ],
)
def test_losses_and_outputs_of_a_regressor(loss, output, out):
    y = 1 / (1 + np.exp(-NUMBER))
    ours = regressor(loss=loss, output=output).fit(X, y)
    assert ours.out_activation_ == out
    trained_with = {"squared_error": "half_squared_error"}.get(loss, loss)
    assert ours._trainer.loss.name == getattr(trained_with, "name", trained_with)
    assert ours.predict(X).shape == (len(X),)


def test_several_quantiles_are_several_outputs():
    loss = fm.Quantile(tau=(0.1, 0.5, 0.9))
    ours = regressor(loss=loss, max_iter=200, learning_rate_init=0.02).fit(X, NUMBER)
    found = ours.predict(X)
    assert found.shape == (len(X), 3)
    assert abs((NUMBER[:, None] < found).mean(axis=0) - (0.1, 0.5, 0.9)).max() < 0.1
    with pytest.raises(ValueError, match="scoring: got None with 3 quantiles of each target"):
        ours.set_params(early_stopping=True).fit(X, NUMBER)

    def width(estimator, X, y):
        return -np.ptp(estimator.predict(X), axis=1).mean()

    ours.set_params(early_stopping=True, scoring=width, max_iter=3).fit(X, NUMBER)
    assert len(ours.validation_scores_) == 3


def test_poisson_is_scikit_learns_and_not_fastmlps():
    y = np.random.default_rng(0).poisson(2, len(X))
    ours = regressor(loss="poisson", alpha=0, max_iter=50).fit(X, y)
    a = ours.predict(X)
    log = np.where(y > 0, y * np.log(np.maximum(y, 1) / a), 0)
    ours.set_params(max_iter=1, warm_start=True, learning_rate_init=1e-12).fit(X, y)
    np.testing.assert_allclose(ours.loss_, (log - y + a).mean(), rtol=1e-6)


def test_dropout_and_batch_normalisation_are_the_networks():
    settings = {"hidden_layer_sizes": (6, 5), "dropout": [0.2, 0.0], "batch_norm": True}
    ours, again = (regressor(**settings).fit(X, NUMBER) for _ in range(2))
    structure = ours.mlp_._structure
    assert structure.dropout == (0.2, 0.0)
    assert structure.normalization == ("batch", "batch", None)
    np.testing.assert_array_equal(ours.predict(X), again.predict(X))
    other = regressor(**settings | {"random_state": 1}).fit(X, NUMBER)
    assert not np.array_equal(ours.predict(X), other.predict(X))
    with pytest.raises(ValueError, match="batch_size: minibatches of one row"):
        regressor(batch_norm=True, batch_size=1).fit(X, NUMBER)


def test_scaling_is_the_networks():
    far = 1000 + 50 * X
    plain = regressor(max_iter=100).fit(far, NUMBER)
    scaled = regressor(max_iter=100, scale="standard").fit(far, NUMBER)
    assert scaled.score(far, NUMBER) > plain.score(far, NUMBER) + 0.1
    np.testing.assert_allclose(scaled.mlp_.buffers["inputs.mean"], far.mean(axis=0))
    assert (
        regressor(scale=0.5).fit(X, NUMBER).loss_curve_[0]
        != (regressor().fit(X, NUMBER).loss_curve_[0])
    )


def test_the_element_type_may_be_chosen():
    ours = regressor(dtype="float32").fit(X, NUMBER)
    assert ours.mlp_.dtype == ours.predict(X).dtype == np.float32
    for dtype in (np.float64, np.dtype(np.float64), "float64"):
        wide = regressor(dtype=dtype).fit(X.astype(np.float32), NUMBER)
        assert wide.mlp_.dtype == np.float64
    assert regressor(solver="lbfgs").fit(X.astype(np.float32), NUMBER).mlp_.dtype == np.float64
    whole = (10 * X).astype(np.int8)
    np.testing.assert_array_equal(
        regressor(dtype="float32").fit(whole, NUMBER).predict(whole),
        regressor().fit(whole.astype(np.float32), NUMBER).predict(whole),
    )
    for solver in ("adam", "lbfgs"):
        narrow = regressor(dtype="float32", solver=solver)
        with pytest.raises(ValueError, match=r"X: row \d+ holds .* more than float32"):
            narrow.fit(X * 1e200, NUMBER)
        with pytest.raises(ValueError, match=r"y: row \d+ holds .* more than float32"):
            narrow.fit(X, NUMBER * 1e200)


def test_the_number_of_threads_changes_nothing():
    settings = {"hidden_layer_sizes": (300,), "batch_size": 1000, "max_iter": 2, "random_state": 0}
    rows = np.random.default_rng(0).normal(size=(1000, 30))
    one, two = (fm.MLPRegressor(**settings, n_threads=n).fit(rows, rows[:, 0]) for n in (1, 2))
    np.testing.assert_array_equal(one.mlp_.params, two.mlp_.params)
    np.testing.assert_array_equal(one.predict(rows), two.predict(rows))


# ---- training


def test_class_weights_are_the_rows_weights():
    for y, class_weight in (
        (TWO, "balanced"), (THREE, {0: 2.0, 2: 0.5}), (LABELS, "balanced"),
        (np.array(["a", "b"])[TWO], {"a": 3.0}), (np.c_[THREE, TWO + 5], "balanced"),
        (np.c_[THREE, TWO + 5], [{0: 2, 1: 1, 2: 1}, {5: 1, 6: 3}]),
    ):  # fmt: skip
        weights = compute_sample_weight(class_weight, y)
        for given in (None, WEIGHTS):
            ours = classifier(class_weight=class_weight).fit(X, y, sample_weight=given)
            both = weights if given is None else weights * given
            expected = classifier().fit(X, y, sample_weight=both)
            np.testing.assert_array_equal(ours.mlp_.params, expected.mlp_.params)
    with pytest.raises(ValueError, match="class_weight: 'balanced' is not known from some"):
        classifier(class_weight="balanced").partial_fit(X, TWO, classes=[0, 1])


def test_class_weights_do_not_weigh_rows_held_out():
    weighted = classifier(class_weight={0: 100.0}, early_stopping=True, max_iter=1)
    weighted.fit(X, TWO, eval_set=(X, TWO))
    assert weighted.validation_scores_[0] == weighted.score(X, TWO)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_weight_decay_shrinks_weights_alone(solver):
    settings = {"solver": solver, "max_iter": 1, "batch_size": 120, "learning_rate_init": 0.1}
    plain = regressor(**settings).fit(X, NUMBER)
    decayed = regressor(**settings, weight_decay=0.5).fit(X, NUMBER)
    start = regressor(**settings | {"learning_rate_init": 1e-15}).fit(X, NUMBER)
    for w, d, s in zip(plain.coefs_, decayed.coefs_, start.coefs_, strict=True):
        np.testing.assert_allclose(w - d, 0.1 * 0.5 * s, atol=1e-12)
    np.testing.assert_array_equal(plain.intercepts_[0], decayed.intercepts_[0])


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_schedule_takes_the_place_of_the_learning_rate(solver):
    constant = regressor(solver=solver).fit(X, NUMBER)
    for schedule in ("constant", lambda step, epoch: 1.0):
        same = regressor(solver=solver, schedule=schedule, learning_rate="invscaling")
        np.testing.assert_array_equal(same.fit(X, NUMBER).mlp_.params, constant.mlp_.params)
    halved = regressor(solver=solver, schedule=lambda step, epoch: 0.5).fit(X, NUMBER)
    expected = regressor(solver=solver, learning_rate_init=0.0005).fit(X, NUMBER)
    np.testing.assert_array_equal(halved.mlp_.params, expected.mlp_.params)
    fallen = regressor(solver=solver, schedule=fm.Exponential(0.5)).fit(X, NUMBER)
    assert fallen.loss_ > constant.loss_


def test_a_schedule_may_watch_what_is_measured():
    ours = regressor(schedule=fm.OnPlateau(metric="val_r2", mode="max", patience=0))
    ours.fit(X, NUMBER, eval_set=(X, NUMBER))
    with pytest.raises(ValueError, match="schedule: it watches 'val_r2', which is not measured"):
        ours.fit(X, NUMBER)


def test_a_loss_to_reach_ends_training():
    full = regressor(max_iter=50).fit(X, NUMBER)
    ours = regressor(max_iter=50, target_loss=full.loss_curve_[20]).fit(X, NUMBER)
    assert (ours.stop_reason_, ours.n_iter_) == ("target_loss", 21)
    assert ours.loss_curve_ == full.loss_curve_[:21]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_time_ends_training(solver):
    ours = regressor(
        hidden_layer_sizes=50, solver=solver, max_iter=10**8, max_fun=10**9, tol=0,
        n_iter_no_change=np.inf, max_seconds=0.002,
    )  # fmt: skip
    began = time.perf_counter()
    ours.fit(X, NUMBER)
    assert ours.stop_reason_ == "max_seconds"
    assert 0.002 <= time.perf_counter() - began < 20


def test_why_training_ended_is_told():
    assert regressor().fit(X, NUMBER).stop_reason_ == "epochs"
    assert regressor(max_iter=100, tol=10.0).fit(X, NUMBER).stop_reason_ == "converged"
    early = regressor(max_iter=100, tol=10.0, early_stopping=True).fit(X, NUMBER)
    assert early.stop_reason_ == early.history_.stop_reason == "early_stopping"
    assert regressor(solver="lbfgs").fit(X, NUMBER).stop_reason_ == "epochs"
    easy = regressor(solver="lbfgs", max_iter=500, tol=1e-2).fit(X, X[:, 0])
    assert easy.stop_reason_ == "converged"


def test_the_history_holds_what_was_measured():
    ours = classifier(early_stopping=True).fit(X, TWO)
    assert isinstance(ours.history_, fm.History)
    assert ours.history_["loss"] == ours.loss_curve_
    assert ours.history_["val_loss"] == ours.validation_loss_curve_
    assert ours.history_["val_accuracy"] == ours.validation_scores_


# ---- rows held out


@pytest.mark.parametrize("y", [TWO, THREE, LABELS, np.array(["a", "b"])[TWO], NUMBER])
@pytest.mark.parametrize("weight", [None, WEIGHTS[:50]])
def test_a_set_of_the_users_is_measured(y, weight):
    estimator = regressor if y.dtype.kind == "f" else classifier
    held_out = (X[:50], y[:50]) if weight is None else (X[:50], y[:50], weight)
    ours = estimator(max_iter=3).fit(X[50:], y[50:], eval_set=held_out)
    assert len(ours.validation_loss_curve_) == 3
    assert ours.validation_scores_ is None
    t = np.searchsorted(ours.classes_, y[:50]) if y.ndim == 1 and y is not NUMBER else y[:50]
    expected = ours.mlp_.evaluate(
        X[:50], t, loss=ours._trainer.loss, metrics=[], sample_weight=weight
    )
    assert ours.validation_loss_curve_[-1] == expected["loss"]
    name = "val_r2" if y is NUMBER else "val_accuracy"
    score = r2_score if y is NUMBER else accuracy_score
    wanted = score(y[:50], ours.predict(X[:50]), sample_weight=weight)
    np.testing.assert_allclose(ours.history_[name][-1], wanted, rtol=100 * EPS)
    plain = estimator(max_iter=3).fit(X[50:], y[50:])
    np.testing.assert_array_equal(plain.mlp_.params, ours.mlp_.params)


def test_a_set_of_the_users_takes_the_place_of_rows_held_out():
    ours = classifier(early_stopping=True, max_iter=3)
    ours.fit(X[20:], TWO[20:], eval_set=[X[:20], TWO[:20]])
    assert ours.t_ == 3 * 100
    assert len(ours.validation_scores_) == 3
    best = int(np.argmax(ours.validation_scores_))
    assert ours.score(X[:20], TWO[:20]) == ours.validation_scores_[best]


def test_lbfgs_measures_a_set_of_the_users():
    ours = regressor(solver="lbfgs").fit(X[20:], NUMBER[20:], eval_set=(X[:20], NUMBER[:20]))
    assert len(ours.validation_loss_curve_) == ours.n_iter_ == 5
    expected = ((ours.predict(X[:20]) - NUMBER[:20]) ** 2).mean() / 2
    np.testing.assert_allclose(ours.validation_loss_curve_[-1], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("eval_set", "message"),
    [
        ((X, TWO, None, None), r"eval_set: got 4 values, expected \(X, y\) or"),
        (X, "eval_set: got .*ndarray.*, expected"),
        ((X, TWO + 1), "eval_set: got the labels .*expected some of those"),
        ((X, LABELS), "eval_set: got labels of another kind"),
        ((X[:, :2], TWO), "X has 2 features, but MLPClassifier is expecting 5"),
        ((X * np.nan, TWO), "Input X contains NaN"),
        ((X, TWO, [1.0]), "sample_weight.shape"),
    ],
)
def test_a_wrong_set_is_named(eval_set, message):
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, TWO, eval_set=eval_set)


def test_any_score_of_scikit_learns_may_be_watched():
    for scoring, name in (
        ("neg_log_loss", "val_neg_log_loss"),
        (make_scorer(r2_score), "val_score"),
    ):
        ours = classifier(early_stopping=True, scoring=scoring, max_iter=4)
        ours.fit(X, TWO, eval_set=(X[:30], TWO[:30]))
        assert ours.history_[name] == ours.validation_scores_
    ours = classifier(scoring="neg_log_loss").fit(X, TWO, eval_set=(X[:30], TWO[:30], WEIGHTS[:30]))
    expected = -log_loss(TWO[:30], ours.predict_proba(X[:30]), sample_weight=WEIGHTS[:30])
    np.testing.assert_allclose(ours.history_["val_neg_log_loss"][-1], expected, rtol=100 * EPS)


def test_a_function_may_score():
    seen = []

    def score(estimator, X, y):
        seen.append((len(X), set(y)))
        return -float(len(seen))

    words = np.array(["no", "yes"])[TWO]
    ours = classifier(early_stopping=True, scoring=score, max_iter=4).fit(X, words)
    assert seen == [(12, {"no", "yes"})] * 4
    assert (ours.validation_scores_, ours.best_validation_score_) == ([-1, -2, -3, -4], -1)
    # The network is that of the first epoch, which scored best.
    expected = classifier(early_stopping=True, max_iter=1).fit(X, words)
    np.testing.assert_array_equal(ours.mlp_.params, expected.mlp_.params)


# ---- listening, and many at once


def test_callbacks_hear_of_every_event():
    heard = []
    ours = classifier(max_iter=2, batch_size=60)

    class Listen(fm.Callback):
        def on_fit_begin(self, trainer):
            heard.append("begin")

        def on_gradient(self, trainer):
            heard.append("gradient")

        def on_epoch_end(self, trainer):
            heard.append(len(ours.loss_curve_))

    ours.fit(X, TWO, callbacks=[Listen()])
    expected = ["begin", "gradient", "gradient", 1, "gradient", "gradient", 2]
    assert heard == expected
    plain = classifier(max_iter=2, batch_size=60).fit(X, TWO)
    np.testing.assert_array_equal(plain.mlp_.params, ours.mlp_.params)
    with pytest.raises(TypeError, match="callbacks: got 'bar', expected"):
        classifier().fit(X, TWO, callbacks=["bar"])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_may_stop_a_training(solver):
    class Stop(fm.Callback):
        def on_epoch_end(self, trainer):
            if trainer.epoch == 2:
                trainer.stop()

    ours = regressor(solver=solver).fit(X, NUMBER, callbacks=[Stop()])
    assert (ours.n_iter_, ours.stop_reason_) == (2, "early_stopping")


def test_many_small_networks_are_trained_at_once():
    def jobs():
        return [
            classifier(hidden_layer_sizes=3 + i, random_state=i, dropout=0.1) for i in range(12)
        ]

    together = fm.fit_many(jobs(), X, THREE, n_threads=2)
    for ours, alone in zip(together, jobs(), strict=True):
        np.testing.assert_array_equal(ours.mlp_.params, alone.fit(X, THREE).mlp_.params)


def test_lbfgs_is_interrupted_with_others():
    """As Ctrl-C ends all trainings that are under way at once."""
    with threads.one_a_network() as interrupted:

        class Interrupt(fm.Callback):
            def on_epoch_end(self, trainer):
                if trainer.epoch == 3:
                    interrupted.set()

        ours = regressor(solver="lbfgs", max_iter=100)
        with pytest.raises(KeyboardInterrupt):
            ours.fit(X, NUMBER, callbacks=[Interrupt()])
    assert (ours.n_iter_, ours.stop_reason_) == (3, "interrupted")
    assert ours.loss_ == ours.history_["loss"][-1]


def test_a_thousand_networks_need_little_room():
    """What training alone needs is given back after each fit."""
    ours = classifier(max_iter=1).fit(X, THREE)
    assert ours._trainer._plan is None
    assert ours.partial_fit(X, THREE).n_iter_ == 1
