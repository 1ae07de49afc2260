"""Time one rival against the baseline, in pairs: ``python -m fastmlp.benchmarks.pairs``.

The runner starts one such process per pair of libraries, with its number of threads fixed by the
environment and the CPU affinity, so that no other library's thread pool is around.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .claims import CLAIMS, Call, versions
from .rivals import RIVALS, Run
from .works import WORKS, objective

Round: TypeAlias = dict[str, float]
"""Seconds of each side, and of ``control``."""

CONTROL_TOLERANCE = 0.05
MANY_ROUNDS, FEW_ROUNDS = 30, 8
SLOW_ROUND = 2.0
"""Seconds a round may take and still be run ``MANY_ROUNDS`` times."""

LEAST_ROUNDS = 5
"""With fewer, even the whole range of the ratios is less than a 93 % interval of the median."""


def measure(
    work_name: str, rival_name: str, baseline_name: str, n_threads: int, pairs: int | None
) -> dict[str, Any]:
    """Train a work with both libraries in turn and return the record of it.

    Both are warmed up by one whole run, and their losses compared, before any time counts.

    Parameters
    ----------
    work_name : str
        A key of ``WORKS``.
    rival_name, baseline_name : str
        Keys of ``RIVALS``.
    n_threads : int
        Threads each library may use.
    pairs : int or None
        Undisturbed rounds wanted, for which at most twice as many are run; None for 30, or 8
        where a round takes more than two seconds.
    """
    work = WORKS[work_name]
    data = work.data()
    names = {"baseline": baseline_name, "rival": rival_name}
    runs: dict[str, Run] = {
        side: RIVALS[name].load()(work, work.initial_weights(), data, n_threads)
        for side, name in names.items()
    }

    warm_losses = {}
    for side, run in runs.items():
        timed(run)
        warm_losses[side] = objective(work, run.weights(), data)
    if pairs is None:
        seconds = sum(timed(run) for run in runs.values())
        pairs = MANY_ROUNDS if seconds < SLOW_ROUND else FEW_ROUNDS

    rounds: list[Round] = []
    if same_loss(warm_losses, work.loss_tolerance):
        rounds = interleaved({side: partial(timed, run) for side, run in runs.items()}, pairs)
    final_losses = {side: objective(work, run.weights(), data) for side, run in runs.items()}

    record: dict[str, Any] = {
        "epochs": work.epochs,
        "data": data.source,
        "versions": {name: RIVALS[name].version() for name in names.values()},
        "losses": {"warm": warm_losses, "final": final_losses},
        "same_loss": all(
            same_loss(losses, work.loss_tolerance) for losses in (warm_losses, final_losses)
        ),
        "rounds": rounds,
    }
    if "fastmlp" in names.values():
        record["build"] = _fastmlp_config()
    return record | summarize(rounds, work.epochs)


def measure_claim(name: str, pairs: int | None) -> dict[str, Any]:
    """Time the two calls of a claim in turn and return the record of it.

    Parameters
    ----------
    name : str
        A key of ``CLAIMS``.
    pairs : int or None
        As for `measure`.
    """
    claim = CLAIMS[name]
    ours, theirs = claim.calls()
    seconds = max(seconds_of(ours) + seconds_of(theirs) for _ in range(2))
    if pairs is None:
        pairs = MANY_ROUNDS if seconds < SLOW_ROUND else FEW_ROUNDS
    calls = {"baseline": ours, "rival": theirs}
    rounds = interleaved({side: partial(seconds_of, call) for side, call in calls.items()}, pairs)
    record = {
        "rival": claim.rival,
        "threads": claim.threads,
        "floor": claim.floor,
        "goal": claim.goal,
        "versions": versions(claim),
        "build": _fastmlp_config(),
        "rounds": rounds,
    }
    return record | summarize(rounds, 1)


def interleaved(sides: Mapping[str, Callable[[], float]], wanted: int) -> list[Round]:
    """Return rounds of all sides, timed in turn, until enough of them are undisturbed.

    Parameters
    ----------
    sides : mapping of str to callable
        What runs a side and returns its seconds.
    wanted : int
        Undisturbed rounds wanted, for which at most twice as many are run.
    """
    rounds: list[Round] = []
    while undisturbed(rounds).sum() < wanted and len(rounds) < 2 * wanted:
        # the control is spread over the round, to notice a disturbance of any side
        control = _control()
        seconds: Round = {}
        for name, side in sides.items():
            seconds[name] = side()
            control += _control()
        rounds.append(seconds | {"control": control})
    return rounds


def seconds_of(call: Call) -> float:
    """Return the seconds a call takes."""
    start = perf_counter()
    call()
    return perf_counter() - start


def timed(run: Run) -> float:
    """Return the seconds one training takes, from the initial weights."""
    run.reset()
    return seconds_of(run.train)


def same_loss(losses: dict[str, float], tolerance: float) -> bool:
    """Tell whether two finite losses agree within ``tolerance``, relatively."""
    a, b = losses["baseline"], losses["rival"]
    return abs(a - b) <= tolerance * abs(a)


def undisturbed(rounds: list[Round]) -> NDArray[np.bool_]:
    """Tell of each round whether its control is within 5 % of the control's median."""
    if not rounds:
        return np.zeros(0, np.bool_)
    control = np.array([r["control"] for r in rounds])
    near: NDArray[np.bool_] = np.abs(control / np.median(control) - 1) <= CONTROL_TOLERANCE
    return near


def kept(rounds: list[Round]) -> dict[str, NDArray[np.float64]]:
    """Return the seconds of each side in the rounds that were not disturbed."""
    chosen = undisturbed(rounds)
    return {side: np.array([r[side] for r in rounds])[chosen] for side in rounds[0]}


def interval(values: NDArray[np.float64]) -> dict[str, float] | None:
    """Return the ``median`` with the ends of its interval; None if there are too few values."""
    if len(values) < LEAST_ROUNDS:
        return None
    return dict(zip(("median", "low", "high"), median_interval(values), strict=True))


def median_interval(ratios: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the median, and the ends of its bootstrap 95 % interval."""
    samples = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.percentile(np.median(samples, axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def summarize(rounds: list[Round], epochs: int) -> dict[str, Any]:
    """Drop the disturbed rounds; give the median ratio with its bootstrap 95 % interval."""
    chosen = undisturbed(rounds)
    baseline, rival = (
        np.array([r[side] for r in rounds])[chosen] for side in ("baseline", "rival")
    )
    ratio = interval(rival / baseline)
    summary: dict[str, Any] = {"kept": len(baseline), "dropped": len(rounds) - len(baseline)}
    summary["ratio"] = ratio
    if ratio:
        summary["seconds_per_epoch"] = float(np.median(baseline)) / epochs
    return summary


def _control() -> float:
    """Return the seconds a fixed piece of work takes that depends on nobody's library."""
    start = perf_counter()
    v = np.full(16_384, 0.5, np.float32)
    for _ in range(500):
        v *= 3.7 * (1 - v)
    return perf_counter() - start


def _fastmlp_config() -> dict[str, Any]:
    import fastmlp

    config: dict[str, Any] = fastmlp.show_config(mode="dict")
    return config


def main() -> None:
    """Measure one pair and write its record to the file given by ``--json``."""
    parser = argparse.ArgumentParser(prog="python -m fastmlp.benchmarks.pairs")
    parser.add_argument("--work", choices=WORKS)
    parser.add_argument("--rival", choices=RIVALS)
    parser.add_argument("--baseline", default="fastmlp", choices=RIVALS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--claim", choices=CLAIMS)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    if args.claim:
        args.json.write_text(json.dumps(measure_claim(args.claim, args.pairs)))
        return
    try:
        record = measure(args.work, args.rival, args.baseline, args.threads, args.pairs)
    except NotImplementedError as refusal:
        record = {"skipped": str(refusal)}
    args.json.write_text(json.dumps(record))


if __name__ == "__main__":
    main()
