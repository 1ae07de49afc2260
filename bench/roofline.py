"""The roofline: each work's time beside what its arithmetic and its memory traffic take at least.

    python -m bench.roofline [--works xor expm …] [--rounds 10] [--json FILE]

A work's phases follow one another, so their least times add up:

- the products, at the rate of multiplications and additions that ``peak.c`` reaches in registers;
  for a single row, the weights at the rate at which so much memory is read, if that takes longer;
- activations and their derivatives, every operation on an element in the place of a fused
  multiply-add at that rate;
- the optimizer's update: its operations at that rate, or the bytes it reads and writes at the rate
  at which vectors of that size are updated, whichever takes longer;
- the rows, at the rate at which so much memory is read.

All multiplications count, those by a zero in the input too, which we leave out: on MNIST, of whose
pixels four fifths are 0, a work may take less than its bound. ``mnist-sgd-dense`` has no zeros.

The rates are measured in every round beside the work, on one thread. What the bound leaves out are
the chains of dependent steps that a tiny network consists of, the call from Python, packing and
the ends of tiles.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastmlp as fm
from bench.peak import Peak
from bench.tables import Table, counted, publish
from fastmlp.benchmarks.claims import NETWORKS
from fastmlp.benchmarks.pairs import interleaved, interval, kept, seconds_of, timed
from fastmlp.benchmarks.rivals import RIVALS
from fastmlp.benchmarks.runner import cell, header, pin
from fastmlp.benchmarks.works import WORKS, Adam, Work

SECONDS = 0.01
"""How long each of the machine's rates is measured in a round, about."""

OPERATIONS = {
    "identity": (0, 0),
    "relu": (1, 2),
    "tanh": (28, 2),
    "sigmoid": (28, 3),
    "softmax": (32, 0),
}
"""Of an activation and of its derivative on one element, about as the AVX2 build has them."""

UPDATES = {"sgd": (1, 3), "momentum": (2, 5), "adam": (11, 7)}
"""Operations on one parameter, and how many numbers are read and written."""

PHASES = ("products", "activations", "update", "rows")


class Amounts(NamedTuple):
    """What one call of a work does.

    Attributes
    ----------
    products, activations : float
        Operations, a multiplication with an addition counted as two.
    update_operations, update_bytes : float
        The optimizer's.
    row_bytes, weight_bytes : float
        Of the rows that are read; of the weights, where they are read for a single row.
    vectors : int
        Numbers the optimizer works on: parameters, gradients and its own.
    memory : int
        Numbers in the rows or weights.
    """

    products: float
    activations: float
    update_operations: float
    update_bytes: float
    row_bytes: float
    weight_bytes: float
    vectors: int
    memory: int


def amounts_of_training(work: Work, rows: int, numbers_in_row: int) -> Amounts:
    """Return what the epochs of a work do on so many rows."""
    layers = list(itertools.pairwise(work.sizes))
    params = sum((n_in + 1) * n_out for n_in, n_out in layers)
    # Forward, dw with db, and dx of all layers but the first.
    multiply_adds = 2 * params + sum(n_in * n_out for n_in, n_out in layers[1:])
    hidden, last = OPERATIONS[work.activation], OPERATIONS[work.output]
    elements = sum(work.sizes[1:-1]) * sum(hidden) + work.sizes[-1] * sum(last)
    if isinstance(work.optimizer, Adam):
        optimizer, states = "adam", 2
    else:
        optimizer, states = ("momentum", 1) if work.optimizer.momentum else ("sgd", 0)
    operations, numbers = UPDATES[optimizer]
    updates = -(-rows // work.batch_size) * work.epochs
    return Amounts(
        products=2.0 * multiply_adds * rows * work.epochs,
        activations=2.0 * elements * rows * work.epochs,
        update_operations=2.0 * operations * params * updates,
        update_bytes=4.0 * numbers * params * updates,
        row_bytes=4.0 * numbers_in_row * rows * work.epochs,
        weight_bytes=0.0,
        vectors=(2 + states) * params,
        memory=numbers_in_row * rows,
    )


def amounts_of_prediction(sizes: Sequence[int], rows: int, calls: int) -> Amounts:
    """Return what ``calls`` predictions of so many rows do."""
    activation, output = NETWORKS[tuple(sizes)]
    params = sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))
    elements = sum(sizes[1:-1]) * OPERATIONS[activation][0] + sizes[-1] * OPERATIONS[output][0]
    numbers = rows * (sizes[0] + sizes[-1])
    return Amounts(
        products=2.0 * params * rows * calls,
        activations=2.0 * elements * rows * calls,
        update_operations=0.0,
        update_bytes=0.0,
        row_bytes=4.0 * numbers * calls if rows > 1 else 0.0,
        weight_bytes=4.0 * params * calls if rows == 1 else 0.0,
        vectors=0,
        memory=numbers if rows > 1 else params,
    )


class Probe(NamedTuple):
    """One of the machine's rates: a call, and how much it does."""

    call: Callable[[], object]
    amount: float


def measure(amounts: Amounts, call: Callable[[], float], rounds: int) -> dict[str, Any]:
    """Time a work and the machine's rates in turn.

    Parameters
    ----------
    amounts : Amounts
        What the work does in a call.
    call : callable
        Runs the work and returns its seconds.
    rounds : int
        Undisturbed rounds wanted.

    Returns
    -------
    dict
        ``amounts``; ``probes``: what each probe does in a round; ``rounds``: seconds.
    """
    peak = Peak(np.dtype(np.float32))
    probes = {"operations": _probe(peak.operations)}
    if amounts.vectors:
        p, g = np.zeros((2, -(-amounts.vectors // 2)), np.float32)
        probes["update"] = _probe(partial(peak.update, p, g))
    memory = np.ones(max(amounts.memory, 1024), np.float32)
    probes["read"] = _probe(partial(peak.read, memory))
    call()
    sides = {name: partial(seconds_of, probe.call) for name, probe in probes.items()}
    return {
        "amounts": amounts._asdict(),
        "probes": {name: probe.amount for name, probe in probes.items()},
        "rounds": interleaved({"work": call} | sides, rounds),
    }


def _probe(program: Callable[[int], float]) -> Probe:
    """Return a program called so that it takes about ``SECONDS``."""
    times = 1
    while (seconds := seconds_of(partial(program, times))) < SECONDS / 10:
        times *= 4
    times = max(1, int(times * SECONDS / seconds))
    return Probe(partial(program, times), program(times))


def bounds(record: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Return the least seconds of each of ``PHASES`` in every undisturbed round."""
    amounts = Amounts(**record["amounts"])
    seconds = kept(record["rounds"])
    rates = {name: amount / seconds[name] for name, amount in record["probes"].items()}
    update = amounts.update_operations / rates["operations"]
    if "update" in rates:
        update = np.maximum(update, amounts.update_bytes / rates["update"])
    least = (
        np.maximum(amounts.products / rates["operations"], amounts.weight_bytes / rates["read"]),
        amounts.activations / rates["operations"],
        update,
        amounts.row_bytes / rates["read"],
    )
    return dict(zip(PHASES, least, strict=True))


def shares(record: dict[str, Any]) -> NDArray[np.float64]:
    """Return what the least time is of the measured one, in every undisturbed round."""
    least: NDArray[np.float64] = sum(bounds(record).values(), np.zeros(1))
    return least / kept(record["rounds"])["work"]


def tables(result: dict[str, Any]) -> list[Table]:
    """Return the table of all works."""
    rows = [["work", *(f"{phase}, ms" for phase in PHASES), "sum", "measured", "of the roofline"]]
    rows[0].append("rounds kept / dropped")
    for name, record in result["records"].items():
        least = bounds(record)
        measured = kept(record["rounds"])["work"]
        calls = record["calls"]
        times = [*least.values(), sum(least.values(), np.zeros(1)), measured]
        share = interval(shares(record))
        cells = [f"{1e3 * np.median(time) / calls:.3g}" if share else "" for time in times]
        rows.append([name, *cells, cell({"ratio": share}), counted(record["rounds"])])
    title = "Least times of an epoch or a prediction, one thread, float32"
    return [Table(title, rows, ["Medians; the share is of the sum in the same round."])]


def main() -> None:
    """Measure the works and predictions that are asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m bench.roofline")
    predictions = {
        f"predict {'-'.join(map(str, sizes))}, {rows:,} row{'s' * (rows > 1)}": (sizes, rows)
        for sizes in NETWORKS
        for rows in (10_000, 1)
    }
    plain = [name for name, work in WORKS.items() if work.is_plain]
    parser.add_argument("--works", nargs="*", choices=[*plain, *predictions])
    parser.add_argument("--rounds", type=int, default=10, help="undisturbed rounds wanted")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pin(1)
    records = {}
    for name in args.works or [*plain, *predictions]:
        if name in WORKS:
            work = WORKS[name]
            data = work.data()
            run = RIVALS["fastmlp"].load()(work, work.initial_weights(), data, 1)
            numbers = data.x[0].size + data.y[0].size
            amounts = amounts_of_training(work, len(data.x), numbers)
            call, calls = partial(timed, run), work.epochs
        else:
            sizes, rows = predictions[name]
            calls = 2000 if rows == 1 else 1
            amounts = amounts_of_prediction(sizes, rows, calls)
            call = partial(seconds_of, _predictions(sizes, rows, calls))
        records[name] = measure(amounts, call, args.rounds) | {"calls": calls}
    result = header("roofline") | {"records": records}
    publish(result, tables(result), args.json)


def _predictions(sizes: Sequence[int], rows: int, calls: int) -> Callable[[], None]:
    activation, output = NETWORKS[tuple(sizes)]
    mlp = fm.MLP(sizes, activation=activation, output=output, seed=0)
    x = np.random.default_rng(0).random((rows, sizes[0]), np.float32)

    def predict() -> None:
        for _ in range(calls):
            mlp.predict(x, n_threads=1)

    return predict


if __name__ == "__main__":
    main()
