"""The cost grows as the work grows: with the rows of an epoch, and with the width of the layers.

    python -m bench.growth [--rounds 20] [--json FILE]

In each round every size is measured in turn, on one thread, and compared with the least size of the
same round. Every call does about the same work, so small sizes are repeated. By rows: whole calls
of ``fit`` with all that belongs to them, shuffled. By width: training w-w-w on minibatches of 128
rows with plain SGD; then, on one minibatch, forward and backward alone, and the update alone, which
moves memory and multiplies next to nothing.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastmlp as fm
from bench.products import Layers
from bench.tables import Table, counted, publish
from fastmlp.benchmarks.pairs import interleaved, interval, kept, seconds_of
from fastmlp.benchmarks.runner import cell, header, pin

ROWS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)

NETWORK = (32, 64, 64, 1)
"""What is trained on more and more rows."""

BATCH_SIZE = 128
MINIBATCHES = 10
"""In an epoch of the wide networks."""

PARTS = ("training", "forward and backward", "update")
"""What is timed for each width."""

MOST_SPREAD = 1.15
"""Claimed of the time per row: the most over the least of all sizes."""

MOST_RISE = 1.2
"""Claimed of the time per multiply-add: the most over that of any lesser width."""


def by_rows(sizes: Iterable[int], work: int, rounds: int) -> dict[str, Any]:
    """Time epochs of so many rows.

    Parameters
    ----------
    sizes : iterable of int
        Rows of the training sets.
    work : int
        Rows trained on in a call, at least: whole epochs.
    rounds : int
        Undisturbed rounds wanted.

    Returns
    -------
    dict
        ``rows``: of each size, those trained on in a call; ``rounds``: seconds by size.
    """
    trained, sides = {}, {}
    for n in sizes:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((n, NETWORK[0]), np.float32)
        y = rng.standard_normal((n, NETWORK[-1]), np.float32)
        epochs = max(1, work // n)
        trained[str(n)] = n * epochs
        trainer = _trainer(NETWORK, "relu")
        sides[str(n)] = partial(seconds_of, partial(trainer.fit, x, y, epochs=epochs))
    return {"rows": trained, "rounds": _measured(sides, rounds)}


def by_width(sizes: Iterable[int], work: float, rounds: int) -> dict[str, Any]:
    """Time minibatches of networks w-w-w, and their parts.

    Parameters
    ----------
    sizes : iterable of int
        Widths.
    work : float
        Multiply-adds of a call, about: whole epochs of ``MINIBATCHES``.
    rounds : int
        Undisturbed rounds wanted.

    Returns
    -------
    dict
        ``multiply_adds``: of each width, those of a call; ``rounds``: seconds by part and width.
    """
    multiply_adds, sides = {}, {}
    for width in sizes:
        # Two layers: two products forward, two for dw, and dx of the second.
        of_step = 5 * width * width * BATCH_SIZE
        epochs = max(1, round(work / (MINIBATCHES * of_step)))
        steps = MINIBATCHES * epochs
        multiply_adds[str(width)] = steps * of_step
        calls = _calls_of_width(width, epochs, steps)
        for part in PARTS:
            sides[f"{part} {width}"] = partial(seconds_of, calls[part])
    return {"multiply_adds": multiply_adds, "rounds": _measured(sides, rounds)}


def _calls_of_width(width: int, epochs: int, steps: int) -> dict[str, Callable[[], object]]:
    """Return what to time for each of ``PARTS``."""
    x, y = np.random.default_rng(0).standard_normal(
        (2, MINIBATCHES * BATCH_SIZE, width), np.float32
    )
    trainer = _trainer((width,) * 3, "identity")
    layers = Layers(np.dtype(np.float32), BATCH_SIZE, [width] * 3)

    def forward_and_backward() -> None:
        for _ in range(steps):
            layers.forward()
            layers.backward()

    def update() -> None:
        position, running = np.zeros(4, np.int64), np.zeros(2)
        for _ in range(steps):
            layers.plan.step(1e-9, position, running)

    training = partial(trainer.fit, x, y, epochs=epochs)
    return dict(zip(PARTS, (training, forward_and_backward, update), strict=True))


def _trainer(sizes: tuple[int, ...], activation: str) -> fm.Trainer:
    mlp = fm.MLP(sizes, activation=activation, seed=0)
    # Low, so that no number of rounds leads to a network of zeros or of infinities.
    sgd = fm.SGD(lr=1e-6)
    return fm.Trainer(mlp, loss="mse", optimizer=sgd, batch_size=BATCH_SIZE, seed=0, n_threads=1)


def _measured(sides: Mapping[str, Callable[[], float]], rounds: int) -> list[dict[str, float]]:
    for side in sides.values():
        side()  # the first call makes the buffers
    return interleaved(sides, rounds)


def tables(result: dict[str, Any]) -> list[Table]:
    """Return the tables of both sweeps."""
    return [_table_of_rows(result["by_rows"]), _table_of_widths(result["by_width"])]


def _table_of_rows(record: dict[str, Any]) -> Table:
    costs = costs_of_rows(record)
    least = next(iter(costs.values()))
    rows = [["rows", "µs per row", f"x that of {int(next(iter(costs))):,} rows"]]
    for n, cost in costs.items():
        rows.append([f"{int(n):,}", _cell(1e6 * cost), _cell(cost / least)])
    network = "-".join(map(str, NETWORK))
    title = f"An epoch of {network}, minibatches of {BATCH_SIZE} rows, SGD, one thread"
    found = f"Most over least: {_judged(spread, costs)} (claimed: at most {MOST_SPREAD:g})."
    return Table(title, rows, [found, f"Rounds kept / dropped: {counted(record['rounds'])}."])


def _table_of_widths(record: dict[str, Any]) -> Table:
    costs = costs_of_widths(record)
    widths = list(record["multiply_adds"])
    rows = [["w", "ps per multiply-add", *(f"{p}, x that of {widths[0]}" for p in PARTS[:2])]]
    rows[0].append("update, share of training")
    for w in widths:
        of_training = costs["training"][w]
        ratios = [costs[part][w] / costs[part][widths[0]] for part in PARTS[:2]]
        ratios.append(costs["update"][w] / of_training)
        rows.append([w, _cell(1e12 * of_training), *map(_cell, ratios)])
    rises = [f"{part} {_judged(rise, costs[part])}" for part in PARTS[:2]]
    title = f"Training w-w-w, minibatches of {BATCH_SIZE} rows, SGD, one thread"
    found = f"Most over the least of any lesser width: {', '.join(rises)} "
    found += f"(claimed: at most {MOST_RISE:g})."
    return Table(title, rows, [found, f"Rounds kept / dropped: {counted(record['rounds'])}."])


def costs_of_rows(record: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Return the seconds per row in every undisturbed round, by number of rows."""
    seconds = kept(record["rounds"])
    return {n: seconds[n] / trained for n, trained in record["rows"].items()}


def costs_of_widths(record: dict[str, Any]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the seconds per multiply-add of training in every round, by part and width."""
    seconds = kept(record["rounds"])
    work = record["multiply_adds"]
    return {part: {w: seconds[f"{part} {w}"] / work[w] for w in work} for part in PARTS}


def spread(costs: Mapping[str, NDArray[np.float64]]) -> float:
    """Return the most over the least of the sizes' costs, each the median beside the first's."""
    relative = _relative(costs)
    return float(relative.max() / relative.min())


def rise(costs: Mapping[str, NDArray[np.float64]]) -> float:
    """Return the most that a size's cost is of a lesser size's; 1 where none rises."""
    relative = _relative(costs)
    return float(np.max(relative / np.minimum.accumulate(relative)))


def _judged(
    judge: Callable[[Mapping[str, NDArray[np.float64]]], float],
    costs: Mapping[str, NDArray[np.float64]],
) -> str:
    enough = interval(next(iter(costs.values()))) is not None
    return f"{judge(costs):.3g}" if enough else "too few rounds"


def _cell(values: NDArray[np.float64]) -> str:
    return cell({"ratio": interval(values)})


def _relative(costs: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    first = next(iter(costs.values()))
    return np.array([np.median(cost / first) for cost in costs.values()])


def main() -> None:
    """Measure both sweeps."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth")
    parser.add_argument("--rounds", type=int, default=20, help="undisturbed rounds wanted")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--rows-per-call", type=int, default=1_000_000)
    parser.add_argument("--multiply-adds-per-call", type=float, default=1e10)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pin(1)
    result = header("growth") | {
        "by_rows": by_rows(args.rows, args.rows_per_call, args.rounds),
        "by_width": by_width(args.widths, args.multiply_adds_per_call, args.rounds),
    }
    publish(result, tables(result), args.json)


if __name__ == "__main__":
    main()
