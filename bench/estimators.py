"""fastmlp's estimators beside scikit-learn's: training, prediction, searches, many at once.

    python -m bench.estimators [--cases PREFIX ...] [--pairs 30] [--json FILE]

Both sides have the same settings, the same seed and the same data of the same type, and so the same
initial weights and order of rows. Before any time counts, and again after, both must have the same
score on rows held out. Each case has a process of its own, bound to as many CPUs as it may use.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import fastmlp as fm
from bench.tables import Table, counted, publish
from fastmlp.benchmarks.pairs import (
    FEW_ROUNDS,
    MANY_ROUNDS,
    SLOW_ROUND,
    interleaved,
    seconds_of,
    summarize,
)
from fastmlp.benchmarks.runner import cell, header, in_process
from fastmlp.benchmarks.works import SGD, WORKS, Work

Array: TypeAlias = NDArray[Any]
Rows: TypeAlias = tuple[Array, Array, Array, Array]
"""Rows and targets to train on, then those held out."""

HELD_OUT = 10
"""One row of so many of a work is held out."""

SCORE_TOLERANCE = 0.01
"""How far scores may be apart: both round differently, and training amplifies it."""

TRAINING, PREDICTION, MANY = "training", "prediction", "many at once"
THEIRS = "scikit-learn"


class Side:
    """What is timed: ``run``, after ``reset``; ``score`` says what has come of it."""

    def reset(self) -> None:
        """Prepare a run, untimed."""

    def run(self) -> None:
        """Do it."""
        raise NotImplementedError

    def score(self) -> float:
        """Return the score, or the checksum, of the last run."""
        raise NotImplementedError


@dataclass(frozen=True)
class Case:
    """Two sides to time against each other; the ratio is the rival's time over ours.

    Attributes
    ----------
    name : str
    group : str
        The table it belongs to.
    floor : float or None
        The ratio that is claimed, if any.
    sides : callable
        Makes the two sides, ours first.
    tolerance : float
        How far their scores may be apart.
    threads : int
        Threads that both may use.
    rival : str
    """

    name: str
    group: str
    floor: float | None
    sides: Callable[[], tuple[Side, Side]]
    tolerance: float = SCORE_TOLERANCE
    threads: int = 1
    rival: str = THEIRS


# ---- training and prediction


class Fit(Side):
    """The training of an estimator."""

    def __init__(self, estimator: Any, rows: Rows) -> None:
        self.estimator, self.rows = estimator, rows

    def reset(self) -> None:
        """Make an estimator that has not been fitted."""
        from sklearn.base import clone

        self.estimator = clone(self.estimator)

    def run(self) -> None:
        """Fit it."""
        X, y, _, _ = self.rows
        self.estimator.fit(X, y)

    def score(self) -> float:
        """Return its score on the rows held out."""
        _, _, X, y = self.rows
        return float(self.estimator.score(X, y))


class Predict(Side):
    """The prediction of one row, many times."""

    def __init__(self, estimator: Any, rows: Rows, times: int) -> None:
        X, y, self.X, self.y = rows
        self.estimator, self.times = estimator.fit(X, y), times
        self.row = self.X[:1].copy()

    def run(self) -> None:
        """Predict it."""
        predict, row = self.estimator.predict, self.row
        for _ in range(self.times):
            predict(row)

    def score(self) -> float:
        """Return the estimator's score on the rows held out."""
        return float(self.estimator.score(self.X, self.y))


def estimators(kind: str, **settings: Any) -> tuple[Any, Any]:
    """Return fastmlp's and scikit-learn's estimator of a kind with the same settings."""
    from sklearn import neural_network

    name = {"classes": "MLPClassifier", "numbers": "MLPRegressor"}[kind]
    settings = {"random_state": 0} | settings
    return getattr(fm, name)(**settings), getattr(neural_network, name)(**settings)


def of_work(work: Work, dtype: str) -> tuple[str, dict[str, Any], Rows]:
    """Return a work's kind of target, its estimator's settings, and its rows.

    The targets of a sigmoid output become classes, for scikit-learn has it with those alone.
    """
    data = work.data()
    x, y = data.x.astype(dtype), data.y if data.y.dtype.kind == "i" else data.y.astype(dtype)
    kind = "numbers" if work.output == "identity" else "classes"
    if kind == "classes":
        y = y.reshape(len(x)).astype(np.int64)
    elif y.shape[1] == 1:
        y = y[:, 0]
    n = len(x) - len(x) // HELD_OUT
    rows = (x[:n], y[:n], x[n:], y[n:]) if n < len(x) else (x, y, x, y)
    settings = {
        "hidden_layer_sizes": work.sizes[1:-1],
        "activation": {"sigmoid": "logistic"}.get(work.activation, work.activation),
        "batch_size": min(work.batch_size, n),
        "learning_rate_init": work.optimizer.lr,
        "max_iter": work.epochs,
        # All epochs are trained.
        "tol": 0.0,
        "n_iter_no_change": np.inf,
    }
    if isinstance(work.optimizer, SGD):
        momentum = work.optimizer.momentum
        settings |= {"solver": "sgd", "momentum": momentum, "nesterovs_momentum": False}
    return kind, settings, rows


def digits() -> Rows:
    """Return the digits as scikit-learn's users have them: float64."""
    (X, y), (Xv, yv) = fm.datasets.digits()
    return X.astype(np.float64), y, Xv.astype(np.float64), yv


def fits_of_work(name: str, dtype: str, **changes: Any) -> tuple[Side, Side]:
    """Return the training of a work by both."""
    kind, settings, rows = of_work(WORKS[name], dtype)
    ours, theirs = estimators(kind, **settings | changes)
    return Fit(ours, rows), Fit(theirs, rows)


def fits_of_digits(**settings: Any) -> tuple[Side, Side]:
    """Return the training of digits by both."""
    rows = digits()
    ours, theirs = estimators("classes", **settings)
    return Fit(ours, rows), Fit(theirs, rows)


def predictions(kind: str, times: int = 1000) -> tuple[Side, Side]:
    """Return the prediction of a row of digits by both: its class, or a number."""
    X, y, Xv, yv = digits()
    rows = (X, y, Xv, yv) if kind == "classes" else (X, y / 10, Xv, yv / 10)
    ours, theirs = estimators(kind, max_iter=10)
    return Predict(ours, rows, times), Predict(theirs, rows, times)


# ---- many at once


GRID = {
    "hidden_layer_sizes": [(16,), (32,), (64,), (100,)],
    "batch_size": [32, 64, 128, 200],
    "alpha": [1e-4, 1e-2],
    "learning_rate_init": [1e-3, 5e-3],
}
"""64 points."""

EPOCHS_OF_SEARCH = 20


class Search(Side):
    """A search over a grid with 3 folds, two fits at a time; theirs in processes of one thread."""

    def __init__(self, estimator: Any, grid: dict[str, Any]) -> None:
        from sklearn.model_selection import GridSearchCV

        is_ours = isinstance(estimator, fm.MLPClassifier)
        self.search = (fm.GridSearchCV if is_ours else GridSearchCV)(
            estimator, grid, cv=3, n_jobs=2
        )
        self.rows = digits()

    def run(self) -> None:
        """Search."""
        from joblib import parallel_config

        X, y, _, _ = self.rows
        with parallel_config("loky", inner_max_num_threads=1):
            self.search.fit(X, y)

    def score(self) -> float:
        """Return the mean score of all points and folds."""
        return float(np.mean(self.search.cv_results_["mean_test_score"]))


def searches(grid: dict[str, Any] = GRID, epochs: int = EPOCHS_OF_SEARCH) -> tuple[Side, Side]:
    """Return the search by both."""
    ours, theirs = estimators("classes", max_iter=epochs)
    return Search(ours, grid), Search(theirs, grid)


class Many(Side):
    """The training of many small networks, so many at a time."""

    def __init__(self, jobs: Callable[[], list[Any]], y: Array, n_threads: int) -> None:
        self.jobs, self.n_threads = jobs, n_threads
        self.X, self.y = small_rows()[0], y

    def reset(self) -> None:
        """Make the networks."""
        self.made = self.jobs()

    def run(self) -> None:
        """Train them."""
        fm.fit_many(self.made, self.X, self.y, n_threads=self.n_threads)

    def score(self) -> float:
        """Return a checksum of all networks."""
        mlps = (job[0] if isinstance(job, tuple) else job.mlp_ for job in self.made)
        return float(sum(mlp.params.astype(np.float64) @ np.arange(mlp.n_params) for mlp in mlps))


def small_rows() -> tuple[Array, Array]:
    """Return 500 rows of 20 columns and whether two of them are of one sign, float32."""
    x = np.random.default_rng(0).standard_normal((500, 20), np.float32)
    return x, (x[:, :1] * x[:, 1:2] > 0).astype(np.float32)


def networks(n: int, epochs: int) -> list[Any]:
    """Return jobs for `fit_many`: 20-16-1."""
    options = {"epochs": epochs, "batch_size": 32, "optimizer": fm.Adam(lr=0.01)}
    return [
        (fm.MLP([20, 16, 1], output="sigmoid", seed=i), options | {"seed": i}) for i in range(n)
    ]


def classifiers(n: int, epochs: int) -> list[Any]:
    """Return the same networks as estimators."""
    settings = {"batch_size": 32, "learning_rate_init": 0.01, "max_iter": epochs}
    settings |= {"tol": 0.0, "n_iter_no_change": np.inf}
    return [fm.MLPClassifier((16,), random_state=i, **settings) for i in range(n)]


EPOCHS_OF_SMALL = 200


def many(kind: str, n: int = 1000, epochs: int = EPOCHS_OF_SMALL) -> tuple[Side, Side]:
    """Return the training of small networks, two at a time and one after the other."""
    make = {"networks": networks, "classifiers": classifiers}[kind]
    y = small_rows()[1]
    y = y if kind == "networks" else y[:, 0].astype(np.int64)
    two, one = (Many(partial(make, n, epochs), y, n_threads) for n_threads in (2, 1))
    return two, one


def _all() -> Iterator[Case]:
    for name, work in WORKS.items():
        if work.is_plain:
            yield Case(f"{name}, float32", TRAINING, 3.0, partial(fits_of_work, name, "float32"))
    yield Case("digits, every default", TRAINING, 5.0, fits_of_digits)
    for size in (32, 8):
        sides = partial(fits_of_digits, batch_size=size, max_iter=50, tol=0.0)
        yield Case(f"digits, minibatches of {size}", TRAINING, 10.0, sides)
    for size in (32, 8):
        sides = partial(fits_of_work, "tabular", "float64", batch_size=size)
        yield Case(f"tabular, minibatches of {size}", TRAINING, 10.0, sides)
    for kind in ("classes", "numbers"):
        name = {"classes": "MLPClassifier", "numbers": "MLPRegressor"}[kind]
        yield Case(f"{name}.predict, 1 row", PREDICTION, 5.0, partial(predictions, kind))
    name = f"search, {np.prod([len(v) for v in GRID.values()])} points, 3 folds, digits"
    yield Case(name, MANY, 6.0, searches, threads=2)
    # 95 % of twice the throughput; and the bits are the same. What an estimator does after every
    # epoch is done in Python, by one thread at a time: nothing is claimed of those so small.
    for kind, floor in (("networks", 1.9), ("classifiers", None)):
        sides = partial(many, kind)
        yield Case(f"fit_many, 1,000 {kind}", MANY, floor, sides, 0.0, 2, "one after the other")


CASES: dict[str, Case] = {case.name: case for case in _all()}


# ---- measuring


def measure(case: Case, pairs: int | None = None) -> dict[str, Any]:
    """Run both sides in turn and return the record of it.

    Parameters
    ----------
    case : Case
    pairs : int, optional
        Undisturbed rounds wanted, for which at most twice as many are run. Default: 30, or 8 where
        a round takes more than two seconds.
    """
    import sklearn
    from sklearn.exceptions import ConvergenceWarning

    def seconds(side: Side) -> float:
        side.reset()
        return seconds_of(side.run)

    with warnings.catch_warnings():
        # It means: all epochs were used.
        warnings.simplefilter("ignore", ConvergenceWarning)
        sides = dict(zip(("baseline", "rival"), case.sides(), strict=True))
        # The first time, buffers are made, and processes and threads started.
        warm = [sum(map(seconds, sides.values())) for _ in range(2)][-1]
        scores = [{name: side.score() for name, side in sides.items()}]
        if pairs is None:
            pairs = MANY_ROUNDS if warm < SLOW_ROUND else FEW_ROUNDS
        rounds = []
        if _agree(scores[0], case.tolerance):
            timed = {name: partial(seconds, side) for name, side in sides.items()}
            rounds = interleaved(timed, pairs)
            scores.append({name: side.score() for name, side in sides.items()})
    record = {
        "rival": case.rival,
        "group": case.group,
        "threads": case.threads,
        "floor": case.floor,
        "versions": {"fastmlp": fm.__version__, "scikit-learn": sklearn.__version__},
        "scores": scores[-1],
        "same_score": all(_agree(found, case.tolerance) for found in scores),
        "rounds": rounds,
    }
    return record | (summarize(rounds, 1) if rounds else {})


def _agree(scores: dict[str, float], tolerance: float) -> bool:
    return abs(scores["baseline"] - scores["rival"]) <= tolerance


def _in_process(case: Case, pairs: int | None) -> dict[str, Any]:
    """Measure a case in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-m", "bench.estimators", "--case", case.name]
        return in_process(command, case.threads, pairs, Path(folder, "record.json"))


def shown(record: dict[str, Any]) -> str:
    """Return what a table shows of a record: the ratio with its interval, or why there is none."""
    if not record.get("same_score", True):
        return "SCORES DIFFER"
    return cell(record)


def tables(result: dict[str, Any]) -> list[Table]:
    """Return a table for each group of cases."""
    found = []
    for group in (TRAINING, PREDICTION, MANY):
        records = [r for r in result["records"] if r.get("group", CASES[r["work"]].group) == group]
        if records:
            found.append(_table(group, records))
    return found


def _table(group: str, records: list[dict[str, Any]]) -> Table:
    rows = [["case", "against", "times faster", "claimed", "ours", "scores", "kept / dropped"]]
    notes = []
    for r in records:
        case = CASES[r["work"]]
        row = [r["work"], case.rival, shown(r), f"{case.floor:g}" if case.floor else "–"]
        if r.get("ratio"):
            scores = "{baseline:.4g}, {rival:.4g}".format(**r["scores"])
            row += [f"{1e3 * r['seconds_per_epoch']:.3g} ms", scores, counted(r["rounds"])]
        rows.append(row + [""] * (len(rows[0]) - len(row)))
        for reason in ("skipped", "failed"):
            if reason in r:
                notes.append(f"{r['work']}: {reason}: {r[reason]}.")
    threads = max(CASES[r["work"]].threads for r in records)
    title = f"Estimators, {group}, {threads} thread{'s' * (threads > 1)}"
    return Table(title, rows, notes)


def main() -> None:
    """Measure the cases, or one of them."""
    parser = argparse.ArgumentParser(prog="python -m bench.estimators")
    parser.add_argument("--cases", nargs="+", default=[""], metavar="PREFIX", help="which of them")
    parser.add_argument("--pairs", type=int, help="undisturbed rounds wanted, at least 5")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        args.json.write_text(json.dumps(measure(CASES[args.case], args.pairs)))
        return
    records = []
    for name, case in CASES.items():
        if name.startswith(tuple(args.cases)):
            record = {"work": name, "rival": case.rival} | _in_process(case, args.pairs)
            records.append(record)
            print(f"{name}: {shown(record)}", file=sys.stderr, flush=True)
    result = header("estimators") | {"records": records}
    publish(result, tables(result), args.json)


if __name__ == "__main__":
    main()
