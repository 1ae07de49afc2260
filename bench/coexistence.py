"""What another package in the process, with threads of its own, costs our training.

    python -m bench.coexistence [--rounds 20] [--json FILE]

Three processes train the same work in interleaved rounds, each when it is told to: in one fastmlp
is alone; in the others PyTorch or scikit-learn is imported and, just before each training, has run
something on all its threads. A fourth is alone, too: what two equal processes differ by.

Their threads may go on spinning for a while after their own work, which a short training pays for
in full. So the small work is measured both once and as many times in a row as take half a second.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.tables import Table, counted, publish
from fastmlp.benchmarks.pairs import interleaved, interval, kept, timed
from fastmlp.benchmarks.rivals import RIVALS
from fastmlp.benchmarks.runner import cell, environment, header, pin
from fastmlp.benchmarks.works import WORKS

LIMIT = 1.1
"""Claimed of the time beside another package, over the time alone: at most."""


class Guest(NamedTuple):
    """Another package in the process: its rival's name in ``RIVALS``, and what it runs."""

    rival: str
    load: Callable[[], Callable[[], object]]


def _pytorch() -> Callable[[], object]:
    import torch

    a = torch.randn(1024, 1024)
    return lambda: a @ a


def _scikit_learn() -> Callable[[], object]:
    from sklearn.ensemble import HistGradientBoostingRegressor

    x = np.random.default_rng(0).random((5_000, 8))
    boosting = HistGradientBoostingRegressor(max_iter=5, early_stopping=False)
    return lambda: boosting.fit(x, x[:, 0])


GUESTS = {
    "PyTorch": Guest("pytorch", _pytorch),
    "scikit-learn": Guest("scikit-learn", _scikit_learn),
}
"""The packages whose threads ours may meet."""

ALONE, AGAIN = "alone", "alone, too"

TRAININGS = {"expm": (1, 30), "mnist-adam": (1,)}
"""How many times in a row each work is trained between two turns of the guest."""


class Worker:
    """A process that trains a work each time it is asked to.

    Parameters
    ----------
    work : str
        A key of ``WORKS``.
    times : int
        How many trainings in a row.
    n_threads : int
        Threads of fastmlp and of the guest.
    guest : str or None
        A key of ``GUESTS``.
    """

    def __init__(self, work: str, times: int, n_threads: int, guest: str | None) -> None:
        command = [sys.executable, "-P", "-m", "bench.coexistence", "--work", work]
        command += ["--times", str(times), "--threads", str(n_threads)]
        command += ["--guest", guest] if guest else []
        self.process = subprocess.Popen(
            command,
            env=environment(n_threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.seconds()  # the first time, buffers are made and threads started

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.communicate()  # the end of its input ends the process

    def seconds(self) -> float:
        """Return the seconds that the trainings take now."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("train\n")
        answer = self.process.stdout.readline()
        if not answer:
            self.process.communicate()  # closes its pipes
            raise RuntimeError(f"a worker ended with exit status {self.process.returncode}")
        return float(answer)


def _serve(work_name: str, times: int, n_threads: int, guest: str | None) -> None:
    """Train for every line that comes in, and write the seconds."""
    work = WORKS[work_name]
    run = RIVALS["fastmlp"].load()(work, work.initial_weights(), work.data(), n_threads)
    meanwhile = GUESTS[guest].load() if guest else lambda: None
    for _ in sys.stdin:
        meanwhile()
        print(sum(timed(run) for _ in range(times)), flush=True)


def measure(work: str, times: int, n_threads: int, rounds: int) -> dict[str, Any]:
    """Train a work in all processes in turn.

    Returns
    -------
    dict
        ``work`` and ``times``; ``missing``: why a guest did not come; ``rounds``: seconds by guest.
    """
    missing = {name: RIVALS[guest.rival].missing() for name, guest in GUESTS.items()}
    missing = {name: reason for name, reason in missing.items() if reason}
    guests = {ALONE: None, AGAIN: None} | {name: name for name in GUESTS if name not in missing}
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Worker(work, times, n_threads, guest)).seconds
            for name, guest in guests.items()
        }
        found = interleaved(sides, rounds)
        return {"work": work, "times": times, "missing": missing, "rounds": found}


def tables(result: dict[str, Any]) -> list[Table]:
    """Return the one table there is."""
    rows = [["work", ALONE, *(f"beside {name}" for name in GUESTS), AGAIN, "rounds kept / dropped"]]
    for record in result["records"]:
        seconds = kept(record["rounds"])
        cells = [
            cell({"skipped": record["missing"][name]})
            if name in record["missing"]
            else cell({"ratio": interval(seconds[name] / seconds[ALONE])})
            for name in (*GUESTS, AGAIN)
        ]
        times = record["times"]
        name = record["work"] if times == 1 else f"{record['work']}, {times} in a row"
        alone = f"{1e3 * float(np.median(seconds[ALONE])):.3g} ms"
        rows.append([name, alone, *cells, counted(record["rounds"])])
    title = f"Times as long as alone, {result['threads']} threads"
    return [Table(title, rows, [f"Claimed beside another package: at most {LIMIT:g}."])]


def main() -> None:
    """Measure every work."""
    parser = argparse.ArgumentParser(prog="python -m bench.coexistence")
    parser.add_argument("--works", nargs="+", choices=TRAININGS, default=list(TRAININGS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20, help="undisturbed rounds wanted")
    parser.add_argument("--work", choices=WORKS, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--guest", choices=GUESTS, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.work:
        _serve(args.work, args.times, args.threads, args.guest)
        return
    pin(args.threads)
    records = [
        measure(work, times, args.threads, args.rounds)
        for work in args.works
        for times in TRAININGS[work]
    ]
    result = header("coexistence") | {"threads": args.threads, "records": records}
    publish(result, tables(result), args.json)


if __name__ == "__main__":
    main()
