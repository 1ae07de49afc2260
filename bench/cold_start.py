"""What a process that loads a network and predicts costs beside one that only imports NumPy.

    python -m bench.cold_start [--rounds 30] [--json FILE]

Whole processes in interleaved pairs, on one processor: one imports NumPy and safetensors, which
fastmlp needs; the other imports fastmlp, loads a saved 784-128-10 and predicts one row.
"""

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import fastmlp as fm
from bench.tables import Table, counted, publish
from fastmlp.benchmarks.pairs import interleaved, interval, kept, seconds_of
from fastmlp.benchmarks.runner import cell, environment, header, pin

SIZES = (784, 128, 10)

LIMIT = 60
"""Claimed of the difference, in milliseconds: at most."""

PROCESSES = {
    "NumPy and safetensors": "import numpy, safetensors.numpy",
    "fastmlp": "import sys, numpy, fastmlp\n"
    f"x = numpy.zeros((1, {SIZES[0]}), numpy.float32)\n"
    "fastmlp.load(sys.argv[1]).predict(x)",
}


def measure(rounds: int) -> dict[str, Any]:
    """Return the seconds of both processes in so many undisturbed rounds."""
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder, "model.safetensors"))
        fm.MLP(SIZES, output="softmax", seed=0).save(model)
        # Where it is forbidden to keep bytecode, what is not installed would be compiled each time.
        env = {k: v for k, v in environment(1).items() if k != "PYTHONDONTWRITEBYTECODE"}
        run = partial(subprocess.run, env=env, check=True)
        calls = {
            name: partial(run, [sys.executable, "-P", "-c", code, model])
            for name, code in PROCESSES.items()
        }
        for call in calls.values():
            call()
        sides = {name: partial(seconds_of, call) for name, call in calls.items()}
        return {"rounds": interleaved(sides, rounds)}


def tables(result: dict[str, Any]) -> list[Table]:
    """Return the one table there is."""
    milliseconds = {name: 1e3 * seconds for name, seconds in kept(result["rounds"]).items()}
    base, ours = (milliseconds[name] for name in PROCESSES)
    network = "-".join(map(str, SIZES))
    rows = [["a process that …", "ms"]]
    rows += [
        ["imports NumPy and safetensors", cell({"ratio": interval(base)})],
        [f"imports fastmlp, loads {network}, predicts a row", cell({"ratio": interval(ours)})],
        ["difference", cell({"ratio": interval(ours - base)})],
    ]
    limit = f"Claimed of the difference: at most {LIMIT} ms."
    title = "Whole processes, one processor, medians with their intervals"
    return [Table(title, rows, [limit, f"Rounds kept / dropped: {counted(result['rounds'])}."])]


def main() -> None:
    """Measure both processes."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start")
    parser.add_argument("--rounds", type=int, default=30, help="undisturbed rounds wanted")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pin(1)
    result = header("cold start") | measure(args.rounds)
    publish(result, tables(result), args.json)


if __name__ == "__main__":
    main()
