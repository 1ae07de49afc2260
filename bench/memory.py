"""The memory that training takes, beside what its parts add up to.

    python -m bench.memory [--json FILE]

Each case trains in a process of its own. Its peak of resident memory, less what the process had
after its imports, stands beside the formula:

    the data + parameters x (3 + vectors of the optimizer) + packs + 2 x batch x widths + the order

Three vectors as long as the parameters: they themselves, their gradient, and the snapshot to go
back to after divergence. Packs: copies of the weights, for the products forward and for those back
(none to the input), where a minibatch is longer than the chunk of rows that goes through together.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import fastmlp as fm
from bench.tables import Table, publish
from fastmlp import optimizers
from fastmlp.benchmarks.runner import environment, header

MEGABYTE = 1e6

WITHIN = 0.2
"""Claimed: how far the measured peak is from the formula, as a share of it."""


@dataclass(frozen=True)
class Case:
    """What is trained, in float32 on one thread.

    Attributes
    ----------
    sizes : sequence of int
    optimizer : str
    rows, batch_size : int
    foreign : bool
        The data in the byte order this machine does not have, which has to be copied.
    """

    sizes: Sequence[int]
    optimizer: str
    rows: int
    batch_size: int
    foreign: bool = False


CASES = (
    Case((784, 1024, 1024, 10), "sgd", 5_000, 128),
    Case((784, 1024, 1024, 10), "adam", 5_000, 128),
    Case((784, 1024, 1024, 10), "adam", 5_000, 128, foreign=True),
    Case((784, 2048, 2048, 10), "adam", 2_000, 512),
    Case((32, 64, 64, 1), "adam", 400_000, 128),
)


def formula(case: Case, chunk_rows: int) -> dict[str, int]:
    """Return the bytes of each term, for a network of which so many rows go through together."""
    itemsize = np.dtype(np.float32).itemsize
    layers = list(pairwise(case.sizes))
    n_params = sum((n_in + 1) * n_out for n_in, n_out in layers)
    packed = n_params + sum(n_in * n_out for n_in, n_out in layers[1:])
    data = case.rows * (case.sizes[0] + case.sizes[-1]) * itemsize
    return {
        "data": data * (2 if case.foreign else 1),
        "parameters": n_params * (3 + optimizers.get(case.optimizer).n_vectors) * itemsize,
        "packs": packed * itemsize if case.batch_size > chunk_rows else 0,
        "minibatch": 2 * case.batch_size * sum(case.sizes) * itemsize,
        "order": case.rows * np.dtype(np.int64).itemsize,
    }


def measure(case: Case) -> dict[str, Any]:
    """Train in a process of its own, and return the record of it.

    Returns
    -------
    dict
        The case; ``formula``, the bytes of its terms; ``peak``, those measured above what the
        process had after its imports; ``fit``, those that the call of ``fit`` added to the data and
        the trainer.

    Raises
    ------
    NotImplementedError
        If the system does not let a process measure its peak anew.
    """
    if not Path("/proc/self/clear_refs").exists():
        raise NotImplementedError("this system does not let a process measure its peak anew")
    command = [sys.executable, "-P", "-m", "bench.memory", "--case"]
    command.append(json.dumps(asdict(case)))
    done = subprocess.run(
        command, env=environment(1), check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, int] = json.loads(done.stdout)
    terms = formula(case, found.pop("chunk_rows"))
    return {"case": asdict(case), "formula": terms} | found


def _train(case: Case) -> dict[str, int]:
    """Train in this process and return the bytes measured; see `measure`."""
    # Whatever a process makes in its first training only is no matter of size.
    fm.MLP([2, 2], seed=0).fit(np.zeros((2, 2)), np.zeros((2, 2)), epochs=1)
    at_first = _resident("VmRSS")
    rng = np.random.default_rng(0)
    x = np.empty((case.rows, case.sizes[0]), np.float32)
    y = np.empty((case.rows, case.sizes[-1]), np.float32)
    for array in (x, y):
        rng.random(out=array, dtype=array.dtype)
    if case.foreign:
        x, y = (a.byteswap(inplace=True).view(a.dtype.newbyteorder()) for a in (x, y))
    trainer = fm.Trainer(
        fm.MLP(case.sizes, seed=0),
        optimizer=case.optimizer,
        batch_size=case.batch_size,
        n_threads=1,
    )
    # Zeros that were never written take no memory, and would count as what `fit` adds.
    trainer.grads[:] = 0
    trainer._state[:] = 0
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # from now on, the peak is counted anew
    trainer.fit(x, y, epochs=1)
    peak = _resident("VmHWM")
    chunk_rows = trainer._plan.chunk_rows
    return {"peak": peak - at_first, "fit": peak - before, "chunk_rows": chunk_rows}


def _resident(name: str) -> int:
    """Return a line of the process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def tables(result: dict[str, Any]) -> list[Table]:
    """Return the one table there is, in megabytes."""
    records = result["records"]
    head = ["network", "optimizer", "rows", "batch"]
    rows = [[*head, *records[0]["formula"], "sum", "measured", "measured / sum", "by fit alone"]]
    for record in records:
        case, terms = record["case"], record["formula"]
        total = sum(terms.values())
        data = f"{case['rows']:,}{', foreign' if case['foreign'] else ''}"
        cells = ["-".join(map(str, case["sizes"])), case["optimizer"], data]
        cells += [f"{size / MEGABYTE:.1f}" for size in (*terms.values(), total, record["peak"])]
        cells.insert(3, str(case["batch_size"]))
        rows.append([*cells, f"{record['peak'] / total:.2f}", f"{record['fit'] / MEGABYTE:.1f}"])
    title = "Megabytes at the peak of training, in float32 on one thread"
    limit = f"Claimed: measured within {WITHIN:.0%} of the sum."
    return [Table(title, rows, [limit, "Data in foreign byte order are copied."])]


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(_train(Case(**args.case))))
        return
    try:
        records = [measure(case) for case in CASES]
    except NotImplementedError as reason:
        print(f"Not measured: {reason}.")
        return
    result = header("memory") | {"records": records}
    publish(result, tables(result), args.json)


if __name__ == "__main__":
    main()
