"""The benchmarks' bookkeeping: what counts, what is dropped, what is printed. No time is judged."""

import json

import numpy as np
import pytest

from fastmlp.benchmarks import pairs, runner
from fastmlp.benchmarks.claims import CLAIMS, NETWORKS, WIDTHS


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
