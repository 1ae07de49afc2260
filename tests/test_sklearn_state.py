"""Estimators that go on: exactly, as pickles, from and to scikit-learn's, and in their place."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.neural_network import _multilayer_perceptron as theirs

import fastmlp as fm

EPS = np.finfo(np.float64).eps

# A training of a few epochs ends as one that has not converged.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(1).normal(size=(120, 5))
TWO = (X[:, 0] * X[:, 1] > 0).astype(int)
THREE = np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.5, 0.5])
LABELS = (X[:, :3] > 0).astype(int)
NUMBER = X[:, 0] - X[:, 1] ** 2
SMALL = {"hidden_layer_sizes": (6,), "random_state": 0, "batch_size": 16}

# How a training may go on; none ends before its time.
WAYS = {
    "adam": {},
    "nesterov": {"solver": "sgd"},
    "inverse scaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.5},
    "schedule": {"schedule": fm.Exponential(0.9)},
    "dropout": {"dropout": 0.3},
    "batch normalisation": {"batch_norm": True},
    "scaling": {"scale": "standard"},
    "float32": {"dtype": "float32"},
    "weight decay": {"weight_decay": 0.1},
    "in order": {"shuffle": False},
    "class weights": {"class_weight": {0: 3.0}},
}
EARLY = {"early_stopping": True, "validation_fraction": 0.25, "n_iter_no_change": 100}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def classifier(**settings):
    return fm.MLPClassifier(**SMALL | {"n_iter_no_change": 100} | settings)


def assert_same_bits(ours, expected):
    np.testing.assert_array_equal(ours.mlp_.params, expected.mlp_.params)
    np.testing.assert_array_equal(ours.mlp_._running, expected.mlp_._running)
    for name in ("loss_curve_", "validation_scores_", "best_loss_", "best_validation_score_", "t_"):
        assert getattr(ours, name) == getattr(expected, name), name
    assert ours._no_improvement_count == expected._no_improvement_count
    assert ours.history_["loss"] == expected.history_["loss"]


# ---- as if never stopped


@each_way
@pytest.mark.parametrize("early", [{}, EARLY], ids=["", "early stopping"])
@pytest.mark.parametrize("pickled", [False, True])
def test_a_warm_start_goes_on_exactly(way, early, pickled):
    whole = classifier(max_iter=7, **way | early).fit(X, THREE)
    parts = classifier(warm_start=True, continue_exactly=True, **way | early)
    for n_epochs in (2, 4, 1):
        parts.set_params(max_iter=n_epochs).fit(X, THREE)
        assert parts.n_iter_ == n_epochs
        if pickled:
            parts = pickle.loads(pickle.dumps(parts))
    assert_same_bits(parts, whole)


@each_way
def test_partial_fit_goes_on_exactly(way):
    whole = classifier(max_iter=5, **way).fit(X, THREE)
    parts = classifier(continue_exactly=True, **way)
    for _ in range(5):
        parts.partial_fit(X, THREE, classes=[0, 1, 2])
    assert_same_bits(parts, whole)


def test_without_it_they_do_not():
    whole = classifier(max_iter=6).fit(X, THREE)
    parts = classifier(max_iter=3, warm_start=True)
    parts.fit(X, THREE).fit(X, THREE)
    assert not np.array_equal(parts.mlp_.params, whole.mlp_.params)


def test_other_rows_may_follow():
    """Another number of rows has an order, and a split, of its own."""
    ours = classifier(max_iter=2, warm_start=True, continue_exactly=True, early_stopping=True)
    for n in (120, 80, 100):
        ours.fit(X[:n], THREE[:n])
    assert len(ours.loss_curve_) == 6
    assert np.isfinite(ours.mlp_.params).all()


def test_what_is_assigned_between_is_gone_on_from():
    settings = {"warm_start": True, "continue_exactly": True, "max_iter": 2}
    ours, expected = (classifier(**settings, **EARLY).fit(X, THREE) for _ in range(2))
    ours.coefs_[0] = np.zeros((5, 6))
    ours.fit(X, THREE)
    expected.fit(X, THREE)
    assert not np.array_equal(ours.mlp_.params, expected.mlp_.params)


def test_partial_fit_keeps_the_optimizer_and_follows_alpha():
    """A new alpha counts from the next call on, the vectors stay: as scikit-learn."""
    settings = {"hidden_layer_sizes": (6,), "random_state": 0}
    expected, ours = theirs.MLPRegressor(**settings), fm.MLPRegressor(**settings)
    for estimator in (expected, ours):
        for alpha in (1e-4, 10.0, 0.0):
            estimator.set_params(alpha=alpha, learning_rate_init=alpha + 1).partial_fit(X, NUMBER)
    tolerance = 100 * EPS * np.sqrt(len(X))
    np.testing.assert_allclose(ours.loss_curve_, expected.loss_curve_, rtol=tolerance)


# ---- weights assigned


def test_weights_and_biases_are_the_networks_own():
    ours = classifier(max_iter=1).fit(X, TWO)
    before = ours.predict_proba(X)
    assert ours.coefs_[0] is ours.mlp_.weights[0]
    ours.coefs_[0][:] *= 2
    assert not np.array_equal(ours.predict_proba(X), before)


@pytest.mark.parametrize("name", ["coefs_", "intercepts_"])
def test_what_is_assigned_takes_effect(name):
    expected = theirs.MLPClassifier(hidden_layer_sizes=(6,), random_state=0, max_iter=2)
    ours = fm.MLPClassifier(hidden_layer_sizes=(6,), random_state=0, max_iter=2)
    for estimator in (expected, ours):
        estimator.fit(X, TWO)
        held = getattr(estimator, name)
        held[1] = held[1] * 2 + 1
        estimator.first = estimator.predict_proba(X)
        setattr(estimator, name, [array / 2 for array in getattr(estimator, name)])
        estimator.second = estimator.predict_proba(X)
        held = getattr(estimator, name)
        for i, array in enumerate(held):
            held[i] = array + 0.1
        estimator.third = estimator.predict_proba(X)
        estimator.partial_fit(X, TWO)
    for which in ("first", "second", "third", "loss_"):
        np.testing.assert_allclose(
            getattr(ours, which), getattr(expected, which), rtol=1000 * EPS * np.sqrt(len(X))
        )
    assert (
        getattr(ours, name)[0] is getattr(ours.mlp_, {"coefs_": "weights"}.get(name, "biases"))[0]
    )


def test_arrays_of_other_shapes_make_another_network():
    ours = classifier(activation="tanh").fit(X, TWO)
    rng = np.random.default_rng(3)
    shapes = [(5, 4), (4, 3), (3, 1)]
    ours.coefs_ = [rng.normal(size=shape) for shape in shapes]
    ours.intercepts_ = [rng.normal(size=n) for _, n in shapes]
    a = X
    for w, b in zip(ours.coefs_, ours.intercepts_, strict=True):
        z = a @ w + b
        a = np.tanh(z)
    np.testing.assert_allclose(ours.predict_proba(X)[:, 1], 1 / (1 + np.exp(-z[:, 0])), rtol=1e-12)
    assert ours.mlp_.sizes == (5, 4, 3, 1)
    assert ours.partial_fit(X, TWO).coefs_[1].shape == (4, 3)


def test_a_network_may_be_assigned_before_any_fit():
    ours = fm.MLPRegressor(activation="identity")
    ours.coefs_, ours.intercepts_ = [np.array([[2.0], [3.0]])], [np.array([1.0])]
    ours.out_activation_ = "identity"
    assert ours.predict([[10.0, 100.0]]) == [321.0]
    with pytest.raises(ValueError, match="X: got 3 columns, expected 2"):
        ours.predict([[1.0, 2.0, 3.0]])


# ---- pickles


@pytest.mark.parametrize("y", [TWO, THREE, LABELS, np.c_[THREE, TWO + 5], NUMBER])
@pytest.mark.parametrize(
    "copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy, copy.copy]
)
def test_a_copy_goes_on_as_the_original_would(y, copied):
    kind = fm.MLPRegressor if y is NUMBER else fm.MLPClassifier
    ours = kind(**SMALL, max_iter=3).fit(X, y)
    ours.coefs_[0] = ours.coefs_[0] * 2
    other = copied(ours)
    np.testing.assert_array_equal(other.predict(X), ours.predict(X))
    assert other.coefs_[0] is other.mlp_.weights[0]
    if copied is not copy.copy:
        ours.partial_fit(X, y)
        other.partial_fit(X, y)
        np.testing.assert_array_equal(other.mlp_.params, ours.mlp_.params)


def test_an_estimator_without_a_fit_is_pickled():
    ours = pickle.loads(pickle.dumps(fm.MLPClassifier(alpha=3)))
    assert ours.alpha == 3
    assert not hasattr(ours, "coefs_")
    bare = fm.MLPRegressor()
    bare.coefs_ = [0]
    assert pickle.loads(pickle.dumps(bare)).coefs_ == [0]


def damaged(change):
    """The state of an estimator that goes on exactly, with something changed."""
    ours = fm.MLPClassifier(
        **SMALL, max_iter=2, warm_start=True, continue_exactly=True, early_stopping=True
    )
    state = pickle.loads(pickle.dumps(ours.fit(X, THREE).__getstate__()))
    change(state)
    return state


def changed(part, **values):
    """A function that changes attributes of a part of the state."""

    def change(state):
        for name, value in values.items():
            held = state[part]
            # Settings are frozen, as pickle does not know.
            object.__setattr__(held, name, value(getattr(held, name)) if callable(value) else value)

    return change


def with_optimizer(**values):
    def change(state):
        for name, value in values.items():
            object.__setattr__(state["_standing"].optimizer, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(mlp_=3), "mlp_: got int, expected a fastmlp.MLP"),
        (lambda s: s.update(_standing=3), "state: got one that makes no sense"),
        (lambda s: s.update(_course=3), "state: got one that makes no sense"),
        (changed("_standing", vectors=lambda v: v[:1]), "vectors: got float64"),
        (changed("_standing", vectors=lambda v: v.astype(np.float32)), "vectors: got float32"),
        (changed("_standing", vectors=lambda v: v[:, :-1]), "vectors: got float64"),
        (changed("_standing", vectors=None), "vectors: got None"),
        (changed("_standing", memory=lambda m: m[:1]), "memory: got float64"),
        (changed("_standing", rate=lambda r: r.astype(int)), "rate: got int64"),
        (changed("_standing", n_steps=-1), "n_steps: got -1"),
        (changed("_standing", n_epochs=2.5), "n_epochs: got 2.5"),
        (changed("_standing", seed=2**64), "seed: got"),
        (changed("_standing", history=None), "history: got None, expected one of 2 epochs"),
        (changed("_standing", n_epochs=3), "history: got .*, expected one of 3 epochs"),
        (changed("_standing", optimizer="adam"), "optimizer: got 'adam'"),
        (with_optimizer(lr=-1.0), "lr: got -1.0"),
        (with_optimizer(beta1=7.0), "beta1: got 7.0"),
        (changed("_course", order=lambda o: o + 1), "order: got"),
        (changed("_course", order=lambda o: o.astype(np.int32)), "order: got int32"),
        (changed("_course", order=lambda o: np.zeros_like(o)), "order: got"),
        (changed("_course", split=lambda s: (s[0], s[1] + 10**6)), "split: got"),
        (changed("_course", split=lambda s: (s[0], s[0])), "split: got"),
        (changed("_course", last=lambda s: s._replace(params=s.params[1:])), "last: got"),
        (changed("_course", last=lambda s: s._replace(running=np.ones(3))), "last: got"),
        (changed("_course", last=3), "state: got one that makes no sense"),
    ],
)
def test_a_damaged_pickle_is_refused(change, message):
    state = damaged(change)
    with pytest.raises(ValueError, match=message):
        fm.MLPClassifier().__setstate__(state)


def test_an_undamaged_state_is_taken():
    ours = fm.MLPClassifier()
    ours.__setstate__(damaged(lambda state: None))
    assert ours.fit(X, THREE).n_iter_ == 2


# ---- from and to scikit-learn


FITTED = {
    "two classes": ("MLPClassifier", np.array(["no", "yes"])[TWO], {}),
    "three classes": ("MLPClassifier", THREE, {"activation": "logistic"}),
    "labels": ("MLPClassifier", LABELS, {"solver": "sgd"}),
    "number": ("MLPRegressor", NUMBER, {"activation": "tanh", "early_stopping": True}),
    "numbers": ("MLPRegressor", np.c_[NUMBER, TWO], {"solver": "lbfgs"}),
    "count": ("MLPRegressor", THREE, {"loss": "poisson", "activation": "identity"}),
    "no hidden layer": ("MLPRegressor", NUMBER, {"hidden_layer_sizes": ()}),
}
each_fitted = pytest.mark.parametrize("fitted", FITTED.values(), ids=FITTED)


def outputs(estimator, rows):
    return getattr(estimator, "predict_proba", estimator.predict)(rows)


def assert_equivalent(one, other, dtype):
    tolerance = 1e-12 if dtype == np.float64 else 1e-6
    rows = X.astype(dtype)
    np.testing.assert_allclose(
        outputs(one, rows), outputs(other, rows), rtol=tolerance, atol=tolerance
    )
    np.testing.assert_array_equal(np.shape(one.predict(rows)), np.shape(other.predict(rows)))
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("loss_curve_", "best_loss_", "validation_scores_", "_no_improvement_count"):
        assert getattr(one, name, None) == getattr(other, name, None)
    if hasattr(one, "classes_"):
        np.testing.assert_array_equal(one.classes_, other.classes_)


@each_fitted
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_networks_of_scikit_learns_come_in(fitted, dtype):
    name, y, settings = fitted
    original = getattr(theirs, name)(**SMALL | settings, max_iter=4).fit(X.astype(dtype), y)
    ours = fm.from_sklearn(original)
    assert type(ours) is getattr(fm, name)
    assert {k: ours.get_params()[k] for k in original.get_params()} == original.get_params()
    assert_equivalent(ours, original, dtype)
    before = [w.copy() for w in original.coefs_]
    ours.mlp_.params[:] += 1
    for w, held in zip(original.coefs_, before, strict=True):
        np.testing.assert_array_equal(w, held)


@each_fitted
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_networks_go_out_to_scikit_learns(fitted, dtype):
    name, y, settings = fitted
    ours = getattr(fm, name)(**SMALL | settings, max_iter=4).fit(X.astype(dtype), y)
    found = fm.to_sklearn(ours)
    assert type(found) is getattr(theirs, name)
    assert found.get_params() == {k: ours.get_params()[k] for k in found.get_params()}
    assert_equivalent(found, ours, dtype)
    again = fm.from_sklearn(found)
    np.testing.assert_array_equal(again.mlp_.params, ours.mlp_.params)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "sgd"},
        {"solver": "sgd", "momentum": 0},
        {"solver": "sgd", "learning_rate": "invscaling"},
    ],
)
def test_training_goes_on_across_the_border(settings):
    """Each way: the optimizer's vectors, its counts and its rate go along."""
    settings = {**SMALL, **settings, "max_iter": 3, "learning_rate_init": 0.05}
    original = theirs.MLPRegressor(**settings).fit(X, NUMBER)
    ours = fm.MLPRegressor(**settings).fit(X, NUMBER)
    for one, other in (
        (original, fm.from_sklearn(copy.deepcopy(original))),
        (ours, fm.to_sklearn(ours)),
        (ours, pickle.loads(pickle.dumps(fm.from_sklearn(fm.to_sklearn(ours))))),
    ):
        first, second = copy.deepcopy(one), other
        for _ in range(3):
            first.partial_fit(X, NUMBER)
            second.partial_fit(X, NUMBER)
        tolerance = 1000 * EPS * np.sqrt(len(X))
        np.testing.assert_allclose(first.loss_curve_, second.loss_curve_, rtol=tolerance)
        np.testing.assert_allclose(first.coefs_[0], second.coefs_[0], atol=tolerance)


@pytest.mark.parametrize(
    "settings", [{"batch_norm": True}, {"scale": "standard"}, {"scale": 0.1}, {"dropout": 0.2}]
)
def test_what_can_be_folded_into_weights_goes_out(settings):
    ours = fm.MLPRegressor(**SMALL, max_iter=5, **settings).fit(X, NUMBER)
    found = fm.to_sklearn(ours)
    np.testing.assert_allclose(found.predict(X), ours.predict(X), rtol=0, atol=1e-12)
    assert found.partial_fit(X, NUMBER).n_iter_ == 1


@pytest.mark.parametrize(
    ("settings", "y", "message"),
    [
        ({"activation": "gelu"}, NUMBER, "no networks with the hidden activations gelu, expected"),
        (
            {"activation": ["relu", "tanh"], "hidden_layer_sizes": (3, 3)}, NUMBER,
            "no networks with the hidden activations relu, tanh",
        ),
        ({"output": "softplus"}, NUMBER, "no networks with the output 'softplus'"),
        ({}, np.c_[THREE, TWO + 5], "no networks with several columns of classes"),
    ],
)  # fmt: skip
def test_what_scikit_learn_cannot_hold_is_refused(settings, y, message):
    kind = fm.MLPRegressor if y is NUMBER else fm.MLPClassifier
    ours = kind(**SMALL | settings, max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match=message):
        fm.to_sklearn(ours)


def test_inputs_far_from_zero_are_refused():
    ours = fm.MLPRegressor(**SMALL, max_iter=1, scale="standard").fit(X + 1e6, NUMBER)
    with pytest.raises(ValueError, match="a scaling of inputs that lie too far from zero"):
        fm.to_sklearn(ours)


def test_losses_of_ours_go_out_with_their_output():
    ours = fm.MLPRegressor(**SMALL, loss="huber", max_iter=1).fit(X, NUMBER)
    assert fm.to_sklearn(ours).loss == "squared_error"
    ours = fm.MLPRegressor(**SMALL, loss=fm.Poisson(), max_iter=1).fit(X, THREE)
    assert fm.to_sklearn(ours).loss == "poisson"


def test_what_is_no_such_network_is_refused():
    for function in (fm.from_sklearn, fm.to_sklearn):
        with pytest.raises(TypeError, match="fitted: got int, expected"):
            function(3)
    with pytest.raises(TypeError, match="fitted: got MLPRegressor, expected scikit-learn's"):
        fm.from_sklearn(fm.MLPRegressor())
    for function, unfitted in (
        (fm.from_sklearn, theirs.MLPRegressor()), (fm.to_sklearn, fm.MLPRegressor()),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="is not fitted yet"):
            function(unfitted)


def test_a_pickle_of_scikit_learns_is_read_by_ours():
    """What a patched program does with an old pickle: their state, our class."""
    original = theirs.MLPClassifier(**SMALL, max_iter=3).fit(X, THREE)
    ours = fm.MLPClassifier.__new__(fm.MLPClassifier)
    ours.__setstate__(pickle.loads(pickle.dumps(original.__getstate__())))
    np.testing.assert_allclose(ours.predict_proba(X), original.predict_proba(X), atol=1e-12)
    np.testing.assert_array_equal(ours.predict(X), original.predict(X))
    assert clone(ours).get_params()["n_threads"] is None
    original.partial_fit(X, THREE)
    ours.partial_fit(X, THREE)
    tolerance = 100 * EPS * np.sqrt(len(X))
    np.testing.assert_allclose(ours.coefs_[0], original.coefs_[0], atol=tolerance)


# ---- in their place


def run(code):
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_name_is_replaced_and_put_back():
    said = run("""
import sys, types
import fastmlp as fm
import sklearn.neural_network as public
from sklearn.neural_network import MLPClassifier, MLPRegressor as Renamed
from sklearn.neural_network import _multilayer_perceptron as private
Theirs, TheirsToo = MLPClassifier, Renamed
held = [MLPClassifier]

def names():
    return {(module, name): id(value) for module, found in list(sys.modules.items())
            if isinstance(found, types.ModuleType)
            for name, value in list(vars(found).items()) if isinstance(value, type)}

fm.unpatch_sklearn()
fm.sklearn
before = names()
for _ in range(2):
    fm.patch_sklearn()
    assert MLPClassifier is public.MLPClassifier is private.MLPClassifier is fm.MLPClassifier
    assert Renamed is public.MLPRegressor is private.MLPRegressor is fm.MLPRegressor
    assert held[0] is not fm.MLPClassifier
from sklearn.neural_network import MLPRegressor
assert MLPRegressor is fm.MLPRegressor
del MLPRegressor
theirs = fm.to_sklearn(fm.MLPRegressor(max_iter=300).fit([[0.0], [1.0]], [0.0, 1.0]))
assert type(theirs) is not fm.MLPRegressor
assert type(fm.from_sklearn(theirs)) is fm.MLPRegressor
public.MLPRegressor = 3
for _ in range(2):
    fm.unpatch_sklearn()
    assert public.MLPRegressor == 3
public.MLPRegressor = private.MLPRegressor
after = names()
assert {key: value for key, value in before.items() if after.get(key) != value} == {}
assert held[0] is MLPClassifier is public.MLPClassifier is not fm.MLPClassifier
print("well")
""")
    assert said == "well\n"


def test_a_patched_program_reads_old_pickles(tmp_path):
    original = theirs.MLPRegressor(**SMALL, max_iter=3).fit(X, NUMBER)
    path = tmp_path / "old.pickle"
    path.write_bytes(pickle.dumps(original))
    said = run(f"""
import pickle
import numpy as np
import fastmlp as fm
fm.patch_sklearn()
with open({str(path)!r}, "rb") as file:
    estimator = pickle.load(file)
print(type(estimator) is fm.MLPRegressor)
again = pickle.loads(pickle.dumps(estimator))
print(float(again.predict(np.ones((1, 5)))[0]))
""")
    is_ours, value = said.split()
    assert is_ours == "True"
    np.testing.assert_allclose(float(value), original.predict(np.ones((1, 5)))[0], rtol=1e-12)
