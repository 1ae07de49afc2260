"""Several estimators at once: searches, bagging, `fit_many`; each fit as if it were alone."""

import contextlib
import itertools
import os
import pickle
import re
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import sklearn
from sklearn import ensemble, model_selection
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection._search_successive_halving import HalvingGridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp as fm
from fastmlp import threads

# A training of a few epochs ends as one that has not converged.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(1).normal(size=(120, 5))
TWO = (X[:, 0] * X[:, 1] > 0).astype(int)
THREE = np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.5, 0.5])
NUMBER = X[:, 0] - X[:, 1] ** 2
WEIGHTS = np.random.default_rng(2).uniform(0.5, 2, len(X))
SMALL = {"hidden_layer_sizes": (6,), "random_state": 0, "max_iter": 5}
GRID = {"alpha": [1e-4, 1.0], "learning_rate_init": [1e-3, 0.1]}
# Epochs without end, but for a test that fails.
ENDLESS = {"max_iter": 10**9, "tol": 0.0, "n_iter_no_change": np.inf, "max_seconds": 100}


def classifier(**settings):
    return fm.MLPClassifier(**SMALL | settings)


def regressor(**settings):
    return fm.MLPRegressor(**SMALL | settings)


def of_mlp(grid):
    """The grid for a pipeline whose last step is the network."""
    return {f"mlpclassifier__{name}": values for name, values in grid.items()}


def assert_same_results(ours, theirs):
    """All but the times."""
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    for name, found in ours.cv_results_.items():
        if not name.endswith("_time"):
            np.testing.assert_array_equal(found, theirs.cv_results_[name], err_msg=name)


@contextlib.contextmanager
def interrupted(after):
    """Ctrl-C after so many seconds."""
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    # A shell that starts a process in the background lets it ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.perf_counter()
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            yield
        assert time.perf_counter() - began < 60
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert threads.resolve(8) == 8


class Dummy(ClassifierMixin, BaseEstimator):
    """Learns nothing; calls ``during`` meanwhile."""

    def __init__(self, c=0):
        self.c = c

    def fit(self, X, y):
        type(self).during()
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X))


def dummy(function):
    """A dummy that calls the function."""
    return type("Dummy", (Dummy,), {"during": staticmethod(function)})()


# ---- searches


SEARCHES = {
    "grid": (fm.GridSearchCV, model_selection.GridSearchCV, {}),
    "randomized": (
        fm.RandomizedSearchCV,
        model_selection.RandomizedSearchCV,
        {"n_iter": 3, "random_state": 0},
    ),
    "halving": (fm.HalvingGridSearchCV, HalvingGridSearchCV, {"random_state": 0}),
}


@pytest.mark.parametrize("n_jobs", [None, 1, 3])
@pytest.mark.parametrize("name", SEARCHES)
def test_results_are_those_of_scikit_learns_search(name, n_jobs):
    ours, theirs, settings = SEARCHES[name]
    estimator = make_pipeline(StandardScaler(), classifier())
    settings = settings | {"cv": 3, "return_train_score": True}
    found = ours(estimator, of_mlp(GRID), n_jobs=n_jobs, **settings).fit(X, THREE)
    expected = theirs(estimator, of_mlp(GRID), **settings).fit(X, THREE)
    assert_same_results(found, expected)
    assert found.best_params_ == expected.best_params_
    assert found.best_score_ == expected.best_score_
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


@pytest.mark.parametrize("name", SEARCHES)
def test_parameters_are_scikit_learns(name):
    ours, theirs, _ = SEARCHES[name]
    search = ours(classifier(), GRID, cv=3)
    expected = theirs(classifier(), GRID, cv=3)
    assert search.get_params().keys() == expected.get_params().keys()
    assert clone(search).set_params(estimator__alpha=3.0).estimator.alpha == 3
    with pytest.raises(sklearn.utils._param_validation.InvalidParameterError, match="'n_jobs'"):
        search.set_params(n_jobs="two").fit(X, TWO)


def test_several_scores():
    settings = {"cv": 3, "scoring": ["neg_mean_squared_error", "r2"], "refit": "r2"}
    search = fm.GridSearchCV(regressor(), GRID, n_jobs=2, **settings).fit(X, NUMBER)
    expected = model_selection.GridSearchCV(regressor(), GRID, **settings).fit(X, NUMBER)
    assert_same_results(search, expected)
    assert set(search.scorer_) == {"neg_mean_squared_error", "r2"}


def test_without_a_refit():
    search = fm.GridSearchCV(classifier(), GRID, cv=3, refit=False, n_jobs=2).fit(X, TWO)
    assert not hasattr(search, "best_estimator_")
    assert len(search.cv_results_["params"]) == 4


def test_other_estimators_are_searched_too():
    grid = {"C": [0.1, 1.0, 10.0]}
    search = fm.GridSearchCV(LogisticRegression(), grid, cv=3, n_jobs=2).fit(X, TWO)
    expected = model_selection.GridSearchCV(LogisticRegression(), grid, cv=3).fit(X, TWO)
    assert_same_results(search, expected)


def test_arguments_of_fit_go_where_scikit_learn_sends_them():
    search = fm.GridSearchCV(classifier(), GRID, cv=3, n_jobs=2)
    expected = model_selection.GridSearchCV(classifier(), GRID, cv=3)
    search.fit(X, TWO, sample_weight=WEIGHTS)
    assert_same_results(search, expected.fit(X, TWO, sample_weight=WEIGHTS))
    before = search.cv_results_["mean_test_score"]
    groups = np.arange(len(X)) % 4
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = classifier().set_fit_request(sample_weight=True)
        estimator.set_score_request(sample_weight=False)
        settings = {"cv": model_selection.GroupKFold(4)}
        search = fm.GridSearchCV(estimator, GRID, n_jobs=2, **settings)
        expected = model_selection.GridSearchCV(estimator, GRID, **settings)
        search.fit(X, TWO, sample_weight=WEIGHTS, groups=groups)
        assert_same_results(search, expected.fit(X, TWO, sample_weight=WEIGHTS, groups=groups))
        with pytest.raises(TypeError, match="unexpected argument"):
            search.fit(X, TWO, weights=WEIGHTS)
    assert not np.array_equal(before, search.cv_results_["mean_test_score"])


def test_a_fitted_search_is_pickled():
    search = fm.GridSearchCV(classifier(), GRID, cv=3, n_jobs=2).fit(X, THREE)
    again = pickle.loads(pickle.dumps(search))
    assert_same_results(again, search)
    np.testing.assert_array_equal(again.predict_proba(X), search.predict_proba(X))
    again.fit(X, TWO)


def test_a_fit_that_fails_has_the_error_score():
    grid = {"learning_rate_init": [1e-3, 1e300], "solver": ["sgd"]}
    settings = {"cv": 3, "error_score": -7.0}
    # The errors' own words hold the times and the lines of code they come from.
    with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 6"):
        search = fm.GridSearchCV(regressor(), grid, n_jobs=2, **settings).fit(X, NUMBER)
    with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 6"):
        expected = model_selection.GridSearchCV(regressor(), grid, **settings).fit(X, NUMBER)
    assert_same_results(search, expected)
    assert search.cv_results_["mean_test_score"][1] == -7
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        search.set_params(error_score="raise").fit(X, NUMBER)
    assert threads.resolve(8) == 8


def test_a_failed_fit_ends_the_others():
    """Those under way are ended, for nobody will look at them."""
    grid = [{"hidden_layer_sizes": [(0,)]}, {"hidden_layer_sizes": [(5,), (6,), (7,)]}]
    search = fm.GridSearchCV(classifier(**ENDLESS), grid, cv=2, n_jobs=3, error_score="raise")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="hidden_layer_sizes must be > 0"):
            search.fit(X, TWO)
    assert said == []


class Meet:
    """Scores when two threads ask for a score at the same time; notes what they see."""

    def __init__(self):
        self.barrier = threading.Barrier(2, timeout=60)
        self.seen, self.counts, self.configs = set(), set(), set()

    def __call__(self, estimator, X, y):
        self.barrier.wait()
        self.seen.add(threading.get_ident())
        self.counts.add(threads.resolve(8))
        self.configs.add(sklearn.get_config()["working_memory"])
        return estimator.score(X, y)


def test_two_threads_work_one_network_each():
    meet = Meet()
    search = fm.GridSearchCV(
        classifier(), GRID, cv=2, n_jobs=2, scoring=meet, refit=False, error_score="raise"
    )
    with sklearn.config_context(working_memory=77):
        search.fit(X, TWO)
    assert len(meet.seen) == 2
    assert threading.get_ident() not in meet.seen
    assert meet.counts == {1}
    assert meet.configs == {77}
    assert threads.resolve(8) == 8


def test_a_refit_has_all_threads():
    counts = {}

    class Watch(fm.Callback):
        def on_epoch_end(self, trainer):
            counts.setdefault(threading.get_ident(), set()).add(threads.resolve(8))

    search = fm.GridSearchCV(classifier(), GRID, cv=2, n_jobs=2)
    search.fit(X, TWO, callbacks=[Watch()])
    assert counts.pop(threading.get_ident()) == {8}
    assert set.union(*counts.values()) == {1}


def most_at_a_time(n_jobs):
    """The most fits under way at once, of ten."""
    running, most, lock = [0], [0], threading.Lock()

    def during():
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1

    settings = {"cv": 2, "refit": False, "n_jobs": n_jobs}
    fm.GridSearchCV(dummy(during), {"c": list(range(5))}, **settings).fit(X, TWO)
    return most[0]


def test_the_number_of_fits_at_a_time():
    try:
        fm.set_num_threads(3)
        assert most_at_a_time(None) == 3
        assert most_at_a_time(-1) == 3
        assert most_at_a_time(-2) == 2
        assert most_at_a_time(-100) == most_at_a_time(1) == 1
        assert most_at_a_time(4) == 4
    finally:
        fm.set_num_threads(None)
    with pytest.raises(ValueError, match="n_jobs: got 0, expected a number of fits at a time"):
        most_at_a_time(0)


def test_an_interruption_ends_a_search_and_all_its_fits():
    search = fm.GridSearchCV(classifier(**ENDLESS), GRID, cv=3, n_jobs=2)
    before = threading.active_count()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with interrupted(0.5):
            search.fit(X, TWO)
    assert said == []
    assert threading.active_count() == before
    search.set_params(estimator=classifier()).fit(X, TWO)


def test_an_interruption_ends_lbfgs_too():
    settings = {**ENDLESS, "solver": "lbfgs", "max_fun": 10**9}
    noise = np.random.default_rng(3).normal(size=(2000, 1))
    rows = np.random.default_rng(4).normal(size=(2000, 20))
    search = fm.GridSearchCV(
        regressor(**settings | {"hidden_layer_sizes": (200, 200)}), GRID, cv=3, n_jobs=2
    )
    with interrupted(0.5):
        search.fit(rows, noise[:, 0])


def test_filters_of_warnings_are_not_set_anew_in_every_thread():
    """As scikit-learn does for processes; here it would clear them for other threads."""
    meet, seen = threading.Barrier(2, timeout=60), []

    def see():
        meet.wait()
        seen.append(warnings.filters)
        meet.wait()

    search = fm.GridSearchCV(dummy(see), {"c": [0, 1]}, cv=2, n_jobs=2, refit=False)
    search.fit(X, TWO)
    assert len(seen) == 4
    assert all(filters is seen[0] for filters in seen)


@pytest.mark.parametrize(
    "run",
    [
        lambda model: fm.GridSearchCV(model, {}, cv=2, n_jobs=2, refit=False).fit(X, TWO),
        lambda model: fm.BaggingClassifier(model, n_estimators=2, n_jobs=2).fit(X, TWO),
        lambda model: fm.fit_many([model, clone(model)], X, TWO, n_threads=2),
    ],
)
def test_filters_of_warnings_stay_as_they_were(run):
    """Whatever is changed for a moment in several threads at once."""
    count, turns = itertools.count(), [threading.Event() for _ in range(3)]

    def change():
        first = next(count) == 0
        if not first:
            assert turns[0].wait(60)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BytesWarning)
            turns[0 if first else 1].set()
            assert turns[1 if first else 2].wait(60)
        turns[2].set()

    before = list(warnings.filters)
    run(dummy(change))
    assert next(count) == 2
    assert warnings.filters == before


def test_filters_of_warnings_hold_in_every_thread():
    search = fm.GridSearchCV(classifier(), GRID, cv=3, n_jobs=4)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, TWO)
    assert said == []
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ConvergenceWarning):
            search.set_params(error_score="raise").fit(X, TWO)


def test_a_search_within_a_cross_validation():
    search = fm.GridSearchCV(classifier(), GRID, cv=2, n_jobs=2)
    expected = model_selection.GridSearchCV(classifier(), GRID, cv=2)
    scores = [model_selection.cross_val_score(s, X, TWO, cv=3) for s in (search, expected)]
    np.testing.assert_array_equal(*scores)
    pipeline = make_pipeline(StandardScaler(), search).fit(X, TWO)
    expected = make_pipeline(StandardScaler(), expected).fit(X, TWO)
    np.testing.assert_array_equal(pipeline.predict_proba(X), expected.predict_proba(X))


def test_a_search_within_a_search():
    """The inner ones fit one by one, however many threads they are given."""
    inner = fm.GridSearchCV(classifier(), {"alpha": [1e-4, 1.0]}, cv=2, n_jobs=4)
    grid = {"estimator__hidden_layer_sizes": [(3,), (4,)]}
    search = fm.GridSearchCV(inner, grid, cv=2, n_jobs=2).fit(X, TWO)
    theirs = model_selection.GridSearchCV(classifier(), {"alpha": [1e-4, 1.0]}, cv=2)
    assert_same_results(search, model_selection.GridSearchCV(theirs, grid, cv=2).fit(X, TWO))


# ---- bagging


@pytest.mark.parametrize("n_jobs", [None, 1, 3])
@pytest.mark.parametrize("settings", [{}, {"bootstrap": False, "max_features": 0.6}])
def test_bagging_is_scikit_learns(settings, n_jobs):
    settings = settings | {"n_estimators": 5, "random_state": 3}
    for ours, theirs, member, y in (
        (fm.BaggingClassifier, ensemble.BaggingClassifier, classifier(), THREE),
        (fm.BaggingRegressor, ensemble.BaggingRegressor, regressor(), NUMBER),
    ):
        found = ours(member, n_jobs=n_jobs, **settings).fit(X, y)
        expected = theirs(member, **settings).fit(X, y)
        for one, other in zip(found.estimators_, expected.estimators_, strict=True):
            np.testing.assert_array_equal(one.mlp_.params, other.mlp_.params)
        np.testing.assert_array_equal(found.predict(X), expected.predict(X))
        if hasattr(found, "predict_proba"):
            np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
            np.testing.assert_array_equal(found.predict_log_proba(X), expected.predict_log_proba(X))


def test_bags_hold_multi_layer_perceptrons_by_default():
    for ours, kind, y in (
        (fm.BaggingClassifier, fm.MLPClassifier, TWO),
        (fm.BaggingRegressor, fm.MLPRegressor, NUMBER),
    ):
        bag = ours(n_estimators=2, random_state=0).fit(X, y)
        assert [type(member) for member in bag] == [kind, kind]


def test_bagging_has_what_scikit_learns_has():
    settings = {"n_estimators": 20, "oob_score": True, "random_state": 0}
    found = fm.BaggingClassifier(classifier(), n_jobs=2, **settings)
    expected = ensemble.BaggingClassifier(classifier(), **settings)
    found.fit(X, TWO, sample_weight=WEIGHTS)
    expected.fit(X, TWO, sample_weight=WEIGHTS)
    assert found.oob_score_ == expected.oob_score_
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict_proba(X), expected.predict_proba(X))
    assert clone(found).get_params().keys() == expected.get_params().keys()
    other = fm.BaggingClassifier(LogisticRegression(), n_estimators=3, random_state=0, n_jobs=2)
    theirs = ensemble.BaggingClassifier(LogisticRegression(), n_estimators=3, random_state=0)
    np.testing.assert_array_equal(
        other.fit(X, TWO).decision_function(X), theirs.fit(X, TWO).decision_function(X)
    )


def test_predictions_of_bags_are_made_here():
    """Where each member has all threads, rather than in processes of joblib's."""
    seen = set()

    class Watched(fm.MLPRegressor):
        def predict(self, X):
            seen.add((threading.get_ident(), threads.resolve(8)))
            return super().predict(X)

    bag = fm.BaggingRegressor(Watched(max_iter=2), n_estimators=4, n_jobs=3).fit(X, NUMBER)
    bag.predict(X)
    assert seen == {(threading.get_ident(), 8)}

    class WatchedClassifier(fm.MLPClassifier):
        def predict_proba(self, X):
            seen.add((threading.get_ident(), threads.resolve(8)))
            return super().predict_proba(X)

    seen.clear()
    bag = fm.BaggingClassifier(WatchedClassifier(max_iter=2), n_estimators=4, n_jobs=3)
    bag.fit(X, TWO).predict_log_proba(X)
    assert seen == {(threading.get_ident(), 8)}


def test_bags_are_searched():
    bag = fm.BaggingClassifier(classifier(), n_estimators=2, random_state=0)
    grid = {"estimator__alpha": [1e-4, 1.0], "max_samples": [0.5, 1.0]}
    search = fm.GridSearchCV(bag, grid, cv=2, n_jobs=2).fit(X, TWO)
    theirs = ensemble.BaggingClassifier(classifier(), n_estimators=2, random_state=0)
    assert_same_results(search, model_selection.GridSearchCV(theirs, grid, cv=2).fit(X, TWO))


def test_an_interruption_ends_all_members():
    bag = fm.BaggingClassifier(classifier(**ENDLESS), n_estimators=5, n_jobs=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with interrupted(0.5):
            bag.fit(X, TWO)
    assert said == []


# ---- fit_many


def jobs():
    """Estimators and networks, of any mixture."""
    for i in range(4):
        yield classifier(hidden_layer_sizes=(3 + i,), random_state=i, solver=("adam", "sgd")[i % 2])
        settings = {"early_stopping": True, "dropout": 0.1, "random_state": i}
        yield classifier(**settings), {"X": X[:90], "y": THREE[:90]}
        yield regressor(random_state=i, solver="lbfgs"), {"y": NUMBER, "sample_weight": WEIGHTS}
        yield make_pipeline(StandardScaler(), classifier(random_state=i))
        yield fm.MLP([5, 4 + i, 1], seed=i), {"y": NUMBER, "epochs": 3, "seed": i}
        yield LogisticRegression(C=1 + i)


def weights_of(model):
    model = model[-1] if hasattr(model, "steps") else model
    if isinstance(model, LogisticRegression):
        return model.coef_
    return model.params if isinstance(model, fm.MLP) else model.mlp_.params


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_estimators_are_fitted_as_if_alone(n_threads):
    many = list(jobs())
    results = fm.fit_many(many, X, TWO, n_threads=n_threads)
    for job, alone, result in zip(many, jobs(), results, strict=True):
        model = job[0] if isinstance(job, tuple) else job
        alone, options = alone if isinstance(alone, tuple) else (alone, {})
        alone.fit(**{"X": X, "y": TWO} | options)
        np.testing.assert_array_equal(weights_of(model), weights_of(alone))
        if isinstance(model, fm.MLP):
            assert isinstance(result, fm.History)
        else:
            assert result is model


def test_an_estimators_error_names_its_job():
    many = [*jobs(), classifier(alpha=-1)]
    with pytest.raises(ValueError, match="'alpha' parameter of MLPClassifier") as error:
        fm.fit_many(many, X, TWO, n_threads=2)
    assert error.value.__notes__ == [f"fit_many: this is of job {len(many) - 1}, MLPClassifier"]


def test_an_estimator_may_not_come_twice():
    model = classifier()
    with pytest.raises(ValueError, match=r"jobs\[1\]: got the same network as jobs\[0\]"):
        fm.fit_many([model, (model, {"y": TWO})], X, THREE)


def test_an_interruption_ends_estimators():
    many = [classifier(**ENDLESS), regressor(**ENDLESS), classifier(**ENDLESS)]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with interrupted(0.5):
            fm.fit_many(many, X, TWO, n_threads=2)
    assert said == []


def test_searches_within_fit_many():
    searches = [fm.GridSearchCV(classifier(random_state=i), GRID, cv=2) for i in range(3)]
    for i, search in enumerate(fm.fit_many(searches, X, TWO, n_threads=2)):
        expected = model_selection.GridSearchCV(classifier(random_state=i), GRID, cv=2)
        assert_same_results(search, expected.fit(X, TWO))


def test_importing_enables_nothing_of_scikit_learns():
    """The halving search is experimental there; whoever wants theirs asks for it."""
    import subprocess

    script = (
        "import fastmlp as fm, sklearn.model_selection as ms\n"
        "fm.HalvingGridSearchCV\n"
        "print('HalvingGridSearchCV' in vars(ms))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("y", [TWO, THREE.astype(np.uint8), np.array(list("abc"))[THREE], TWO > 0])
def test_a_score_is_scikit_learns(y):
    ours = classifier().fit(X, y)
    wrong = y.astype("U5") if y.dtype.kind != "U" else THREE
    assert ours.score(X, y) == accuracy_score(y, ours.predict(X))
    assert ours.score(X, list(y)) == accuracy_score(y, ours.predict(X))
    for bad_X, bad_y in ((X, y[:-1]), (X, wrong)):
        with pytest.raises((ValueError, TypeError)) as expected:
            accuracy_score(bad_y, ours.predict(bad_X))
        with pytest.raises(expected.type, match=re.escape(str(expected.value))):
            ours.score(bad_X, bad_y)
