"""The benchmarks' bookkeeping: what counts, what is dropped, what is printed. No time is judged."""

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from bench import coexistence, cold_start, estimators, growth, report, roofline
from fastmlp.benchmarks import pairs, runner
from fastmlp.benchmarks.claims import CLAIMS, NETWORKS, WIDTHS
from fastmlp.benchmarks.rivals import RIVALS
from fastmlp.benchmarks.works import WORKS, objective


def rounds(*triples):
    return [dict(zip(("baseline", "rival", "control"), triple, strict=True)) for triple in triples]


def test_rounds_with_a_disturbed_control_are_dropped():
    found = rounds(*[(1, 2, 1.0)] * 6, (1, 50, 1.06), (1, 50, 0.94), (1, 2, 1.049))
    assert pairs.undisturbed(found).tolist() == [True] * 6 + [False, False, True]
    summary = pairs.summarize(found, epochs=4)
    assert (summary["kept"], summary["dropped"]) == (7, 2)
    assert summary["ratio"] == {"median": 2, "low": 2, "high": 2}
    assert summary["seconds_per_epoch"] == 0.25


def test_too_few_rounds_give_no_ratio():
    summary = pairs.summarize(rounds(*[(1, 2, 1)] * 4), epochs=1)
    assert summary == {"kept": 4, "dropped": 0, "ratio": None}


def test_the_interval_holds_the_median():
    rng = np.random.default_rng(0)
    found = rounds(*[(1.0, ratio, 1.0) for ratio in rng.uniform(1, 3, 31)])
    ratio = pairs.summarize(found, 1)["ratio"]
    assert 1 < ratio["low"] < ratio["median"] < ratio["high"] < 3


def test_both_sides_are_timed_in_turn_until_enough_rounds_count():
    calls = []
    sides = {"a": lambda: calls.append("a") or 1.0, "b": lambda: calls.append("b") or 2.0}
    found = pairs.interleaved(sides, 5)
    assert "".join(calls) == "ab" * len(found)
    assert 5 <= len(found) <= 10
    assert all(r["b"] == 2 * r["a"] and r["control"] > 0 for r in found)


def test_every_claim_has_a_name_a_floor_and_a_goal():
    assert len(CLAIMS) == 3 * len(NETWORKS) + 2 + 3 + 2 * len(WIDTHS)
    for name, claim in CLAIMS.items():
        assert name == claim.name
        assert 0 < claim.floor <= claim.goal
        assert claim.threads in (1, 2)


def test_a_claim_is_measured_and_recorded(tmp_path, monkeypatch, capsys):
    name = "default threads 10-8-8-10, 1"
    target = tmp_path / "record.json"
    monkeypatch.setattr(
        "sys.argv", ["pairs", "--claim", name, "--pairs", "5", "--json", str(target)]
    )
    pairs.main()
    record = json.loads(target.read_text())
    assert record["kept"] + record["dropped"] == len(record["rounds"]) >= 5
    assert (record["floor"], record["goal"], record["threads"]) == (0.95, 1, 2)
    assert record["versions"]["fastmlp"]
    record["ratio"] = {"median": 1.25, "low": 1.0, "high": 1.5}
    table = runner.table_of_claims([{"work": name, "rival": "our one thread"} | record])
    assert "1.25 [1, 1.5]" in table
    assert table.splitlines()[2].split()[-2:] == ["0.95", "1"]


@pytest.mark.parametrize("name", ["predict 4-32-16-4, 1 row", "frozen 784-128-10, 1 row"])
def test_predictions_are_compared_with_onnx_runtime(name):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    for call in CLAIMS[name].calls():
        call()


# ---- what is made of raw numbers


def alike(seconds, times=6):
    """Rounds that all took the same seconds."""
    return [seconds | {"control": 1.0}] * times


MADE_UP = {
    "pairs": {
        "threads": 1,
        "records": [
            {
                "work": "xor",
                "rival": "jax",
                "versions": {"jax": "1.2.3"},
                "build": {"variant": "avx2"},
            }
            | pairs.summarize(alike({"baseline": 2, "rival": 5}), 1),
            {"work": "xor", "rival": "pytorch", "skipped": "torch is not installed"},
            *(
                {"work": f"default threads 10-8-8-10, {n}", "rival": "ours", "threads": 2}
                | {"floor": 0.95, "goal": 1}
                | pairs.summarize(alike({"baseline": 2, "rival": 2 * n}), 1)
                for n in (1, 2)
            ),
        ],
    },
    "products": {
        "dtype": "float32",
        "coretype": "Zen",
        "records": [{"shape": [4, 5, 6], "product": "dw", "rates": [[10, 8, 4]] * 6}],
    },
    "growth": {
        "by_rows": {
            "rows": {"1000": 3000, "2000": 2000},
            "rounds": alike({"1000": 3e-3, "2000": 2.2e-3}),
        },
        "by_width": {
            "multiply_adds": {"64": 1e9, "128": 2e9, "256": 1e9},
            "rounds": alike(
                {"training 64": 1, "forward and backward 64": 1, "update 64": 0.1}
                | {"training 128": 1, "forward and backward 128": 1, "update 128": 0.2}
                | {"training 256": 0.6, "forward and backward 256": 0.5, "update 256": 0.3}
            ),
        },
    },
    "cold start": {"rounds": alike({"NumPy and safetensors": 0.1, "fastmlp": 0.141})},
    "roofline": {
        "records": {
            "xor": {
                # A second for the products, two for the rows; the update needs two for its memory.
                "amounts": roofline.Amounts(8.0, 0.0, 8.0, 6.0, 10.0, 0.0, 17, 3)._asdict(),
                "probes": {"operations": 16.0, "update": 3.0, "read": 5.0},
                "calls": 5,
                "rounds": alike({"work": 10.0, "operations": 2.0, "update": 1.0, "read": 1.0}),
            },
        },
    },
    "memory": {
        "records": [
            {
                "case": {"sizes": [2, 3], "optimizer": "sgd", "rows": 5000, "batch_size": 7}
                | {"foreign": False},
                "formula": {"data": 3e6, "parameters": 2e6},
                "peak": 5.5e6,
                "fit": 1e6,
            }
        ]
    },
    "coexistence": {
        "threads": 2,
        "records": [
            {
                "work": "expm",
                "times": 30,
                "missing": {"scikit-learn": "sklearn is not installed"},
                "rounds": alike({"alone": 1.0, "alone, too": 1.01, "PyTorch": 1.05}),
            }
        ],
    },
}


MADE_UP["estimators"] = {
    "records": [
        {"work": "xor, float32", "rival": "scikit-learn", "group": estimators.TRAINING}
        | {"scores": {"baseline": 1.0, "rival": 0.999}, "same_score": True}
        | {"rounds": alike({"baseline": 0.002, "rival": 0.009})}
        | pairs.summarize(alike({"baseline": 0.002, "rival": 0.009}), 1),
        {"work": "expm, float32", "rival": "scikit-learn", "group": estimators.TRAINING}
        | {"scores": {"baseline": 1.0, "rival": 0.9}, "same_score": False, "rounds": []},
        {"work": "MLPClassifier.predict, 1 row", "rival": "scikit-learn", "failed": "no memory"},
    ]
}


def keep(folder, results, date="2026-01-01"):
    folder.mkdir(exist_ok=True)
    for kind, result in results.items():
        head = runner.header(kind) | {"date": date, "machine": {"cpu": "a CPU", "cores": 2}}
        (folder / f"{kind} {date}.json").write_text(json.dumps(head | result))


def test_the_report_is_made_of_raw_numbers(tmp_path):
    keep(tmp_path / "raw", MADE_UP)
    report.write(tmp_path / "raw", tmp_path)
    lines = (tmp_path / "RESULTS.md").read_text().splitlines()
    for line in (
        "Machine: a CPU, 2 cores. Build: avx2. Versions: jax 1.2.3.",
        "| work | jax | pytorch | rounds kept / dropped |",
        "| xor | 2.5 [2.5, 2.5] | – | 6 / 0 |",
        "| default threads 10-8-8-10, 2 | ours | 2 [2, 2] | 0.95 | 1 | 6 / 0 |",
        "| 4 x 5 x 6 | dw | 0.80 [0.80, 0.80] | 2.00 [2.00, 2.00] |",
        "| 2,000 | 1.1 [1.1, 1.1] | 1.1 [1.1, 1.1] |",
        "Most over least: 1.1 (claimed: at most 1.15). Rounds kept / dropped: 6 / 0.",
        "| 128 | 500 [500, 500] | 0.5 [0.5, 0.5] | 0.5 [0.5, 0.5] | 0.2 [0.2, 0.2] |",
        "Most over the least of any lesser width: training 1.2, forward and backward 1 "
        "(claimed: at most 1.2). Rounds kept / dropped: 6 / 0.",
        "| xor | 200 | 0 | 400 | 400 | 1e+03 | 2e+03 | 0.5 [0.5, 0.5] | 6 / 0 |",
        "| xor | jax | 2.5 | 0.5 | 5 |",
        "| difference | 41 [41, 41] |",
        "| 2-3 | sgd | 5,000 | 7 | 3.0 | 2.0 | 5.0 | 5.5 | 1.10 | 1.0 |",
        "| xor, float32 | scikit-learn | 4.5 [4.5, 4.5] | 3 | 2 ms | 1, 0.999 | 6 / 0 |",
        "| expm, float32 | scikit-learn | SCORES DIFFER | 3 |  |  |  |",
        "| MLPClassifier.predict, 1 row | scikit-learn | FAILED | 5 |  |  |  |",
        "MLPClassifier.predict, 1 row: failed: no memory.",
        "| expm, 30 in a row | 1e+03 ms | 1.05 [1.05, 1.05] | – | 1.01 [1.01, 1.01] | 6 / 0 |",
    ):
        assert line in lines
    assert "Not measured." in lines, "with two threads"
    for plot in ("growth.png", "threads.png"):
        assert any(f"]({plot})" in line for line in lines)
        assert (tmp_path / plot).read_bytes().startswith(b"\x89PNG")


def test_the_report_says_what_is_not_measured(tmp_path):
    keep(tmp_path / "raw", {})
    report.write(tmp_path / "raw", tmp_path)
    lines = (tmp_path / "RESULTS.md").read_text().splitlines()
    assert lines.count("Not measured.") == sum(line.startswith("## ") for line in lines)
    assert not any(line.startswith("![") for line in lines)


def test_the_later_of_two_measurements_counts(tmp_path):
    later = alike({"NumPy and safetensors": 0.1, "fastmlp": 0.2})
    keep(tmp_path, {"cold start": {"rounds": later}}, "2026-03-01")
    keep(tmp_path, MADE_UP)
    found = report.load(tmp_path)
    assert [name for name, _ in found["cold start"]][-1] == "cold start 2026-03-01.json"
    assert "| difference | 100 [100, 100] |" in report.measured(found, "cold start")


def test_too_few_rounds_are_no_result():
    record = MADE_UP["growth"]
    few = {part: {**of, "rounds": of["rounds"][:4]} for part, of in record.items()}
    for table in growth.tables(few):
        assert "too few rounds" in table.text()
        assert all(set(row[1:]) == {"too few rounds"} for row in table.rows[1:])


# ---- the programs, on little work


def test_growth_is_measured():
    rows = growth.by_rows([100, 300], 600, 1)
    assert rows["rows"] == {"100": 600, "300": 600}
    assert set(rows["rounds"][0]) == {"100", "300", "control"}
    widths = growth.by_width([8, 16], 1e6, 1)
    # 10 minibatches of 128 rows an epoch, 5 products a row
    assert widths["multiply_adds"] == {"8": 2 * 1280 * 5 * 64, "16": 1280 * 5 * 256}
    assert min(min(round_.values()) for round_ in widths["rounds"]) > 0


def test_growth_is_judged():
    one = np.ones(5)
    costs = {"1": 2 * one, "2": 1 * one, "3": 1.5 * one, "4": 1.2 * one}
    assert growth.spread(costs) == 2
    assert growth.rise(costs) == 1.5
    assert growth.rise({"1": one, "2": one / 2}) == 1


def test_a_cold_start_is_measured():
    rounds = cold_start.measure(1)["rounds"]
    assert set(rounds[0]) == {*cold_start.PROCESSES, "control"}


def test_training_beside_others_is_measured():
    record = coexistence.measure("tabular", 2, 2, 1)
    guests = set(coexistence.GUESTS) - set(record["missing"])
    assert set(record["rounds"][0]) == {coexistence.ALONE, coexistence.AGAIN, *guests, "control"}


def test_what_a_training_does_is_counted():
    work = dataclasses.replace(WORKS["expm"], batch_size=400, epochs=3)
    amounts = roofline.amounts_of_training(work, rows=1000, numbers_in_row=8)
    params = 5 * 32 + 33 * 16 + 17 * 4
    per_row = 2 * params + 32 * 16 + 16 * 4
    assert amounts.products == 2 * per_row * 3000
    assert amounts.activations == 2 * 48 * sum(roofline.OPERATIONS["tanh"]) * 3000
    # Three minibatches an epoch; Adam reads p, g, m and v, and writes all but g.
    assert amounts.update_bytes == 4 * 7 * params * 9
    assert amounts.row_bytes == 4 * 8 * 3000
    assert (amounts.vectors, amounts.memory) == (4 * params, 8000)


def test_a_single_row_reads_the_weights():
    sizes = (784, 128, 10)
    one, many = (roofline.amounts_of_prediction(sizes, rows, 2) for rows in (1, 50))
    params = 785 * 128 + 129 * 10
    assert (one.products, many.products) == (4 * params, 200 * params)
    assert (one.weight_bytes, one.row_bytes, one.memory) == (8 * params, 0, params)
    assert (many.weight_bytes, many.row_bytes, many.memory) == (0, 400 * 794, 50 * 794)


def test_a_work_is_timed_beside_the_machine():
    amounts = roofline.amounts_of_training(WORKS["xor"], 4, 3)
    record = roofline.measure(amounts, lambda: 1e-3, 1)
    assert set(record["rounds"][0]) == {"work", "operations", "update", "read", "control"}
    assert set(record["probes"]) == {"operations", "update", "read"}
    assert min(record["probes"].values()) > 0


@pytest.mark.parametrize("name", [work.name for work in WORKS.values() if not work.is_plain])
def test_what_rivals_add_to_dense_layers_is_the_same(name):
    """AdamW, dropout and batch normalisation lead PyTorch and us to the same loss."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    work = WORKS[name]
    data = work.data()
    losses = []
    for rival in ("fastmlp", "pytorch"):
        run = RIVALS[rival].load()(work, work.initial_weights(), data, 1)
        for _ in range(2):
            run.reset()
            run.train()
        losses.append(objective(work, run.weights(), data))
    assert losses[0] < 0.6 * objective(work, work.initial_weights(), data)
    assert pairs.same_loss(
        dict(zip(("baseline", "rival"), losses, strict=True)), work.loss_tolerance
    )


# ---- the estimators


# All epochs are trained, which scikit-learn takes for too few.
SKLEARN = pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations")


@pytest.fixture
def _sklearn():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")


def test_every_case_has_a_claim():
    assert len(estimators.CASES) == 7 + 1 + 4 + 2 + 3
    for name, case in estimators.CASES.items():
        assert name == case.name
        assert case.floor is None or case.floor > 1
        assert case.threads == (2 if case.group == estimators.MANY else 1)


@SKLEARN
@pytest.mark.usefixtures("_sklearn")
def test_a_work_is_what_both_estimators_train():
    """The same sizes, rows and number of epochs on both sides, of the type asked for."""
    work = WORKS["expm"]
    ours, theirs = estimators.fits_of_work("expm", "float64")
    for side in (ours, theirs):
        X, y, Xv, yv = side.rows
        assert (len(X), len(Xv)) == (9000, 1000)
        assert X.dtype == y.dtype == Xv.dtype == yv.dtype == np.float64
        side.estimator.set_params(max_iter=2)
        side.run()
        found = side.estimator
        assert [w.shape[0] for w in found.coefs_] == list(work.sizes[:-1])
        assert (found.n_iter_, found.batch_size) == (2, 9000)
    assert ours.estimator.get_params().items() >= theirs.estimator.get_params().items()
    np.testing.assert_allclose(ours.score(), theirs.score(), atol=1e-6)


@SKLEARN
@pytest.mark.usefixtures("_sklearn")
@pytest.mark.parametrize("name", ["xor", "digits", "fit"])
def test_a_case_is_measured_and_recorded(name):
    """Of each kind one, on little work."""
    case = {
        "xor": lambda: estimators.fits_of_work("xor", "float32", max_iter=20),
        "digits": lambda: estimators.predictions("classes", 5),
        "fit": lambda: estimators.many("classifiers", 4, 3),
    }[name]
    tolerance = 0.0 if name == "fit" else estimators.SCORE_TOLERANCE
    record = estimators.measure(estimators.Case(name, "any", 2.0, case, tolerance), 1)
    assert record["same_score"]
    assert record["floor"] == 2.0
    assert set(record["rounds"][0]) == {"baseline", "rival", "control"}
    assert (record["scores"]["baseline"] == record["scores"]["rival"]) or name != "fit"


@SKLEARN
@pytest.mark.usefixtures("_sklearn")
def test_other_scores_are_not_timed():
    def sides():
        ours, theirs = estimators.fits_of_digits(max_iter=2)
        theirs.estimator.set_params(random_state=1, max_iter=1)
        return ours, theirs

    record = estimators.measure(estimators.Case("other", "any", 2.0, sides))
    assert not record["same_score"]
    assert record["rounds"] == []
    assert "ratio" not in record


@SKLEARN
@pytest.mark.usefixtures("_sklearn")
def test_searches_of_both_are_the_same():
    """Theirs is not run, for its processes take seconds to start."""
    from sklearn.model_selection import GridSearchCV

    ours, theirs = estimators.searches({"alpha": [1e-4, 1.0]}, 2)
    assert (type(ours.search), type(theirs.search)) == (fm.GridSearchCV, GridSearchCV)
    assert type(theirs.search.estimator).__module__.startswith("sklearn.")
    ours.run()
    theirs.search.set_params(n_jobs=1)
    theirs.run()
    assert ours.score() == pytest.approx(theirs.score(), abs=1e-3)
    assert np.prod([len(values) for values in estimators.GRID.values()]) == 64


def test_the_speed_is_drawn(monkeypatch):
    """The documentation's picture: a bar for each case beside scikit-learn's that gave a ratio."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "docs")
    speed = importlib.import_module("sklearn_speed").speed(MADE_UP["estimators"])
    (axes,) = speed.axes
    assert [bar.get_width() for bar in axes.patches] == [4.5]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["xor, float32"]
