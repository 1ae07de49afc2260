"""Second derivatives pay where networks are small: Levenberg-Marquardt beside Adam.

    python -m bench.second_order [--seeds 10] [--seconds 0.2] [--json FILE]

A network 1-20-1 with tanh learns y = sin(x) from 200 points without noise, evenly on [-pi, pi], in
float64 on one thread. From the same initial weights each optimizer has the same time; Adam, too,
makes its steps from all rows. What counts is the mean squared error of the predictions then: the
median over the seeds, of Adam that with the best of five rates.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastmlp as fm
from bench.tables import Table, publish
from fastmlp.benchmarks.runner import header, pin

SIZES = (1, 20, 1)
ROWS = 200
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)

LEAST_ADVANTAGE = 100.0
"""Claimed: Adam's median loss over that of Levenberg-Marquardt, at least."""

ENDLESS = 10**9
"""Epochs of a training that its time ends."""


def sine() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points, (200, 1) each."""
    x = np.linspace(-np.pi, np.pi, ROWS)[:, None]
    return x, np.sin(x)


def trained(optimizer: str | fm.optimizers.Optimizer, seed: int, **until: Any) -> dict[str, Any]:
    """Train a new network.

    Parameters
    ----------
    optimizer : str or Optimizer
    seed : int
        For the initial weights.
    **until
        Options of ``fit`` that end it: ``epochs`` or ``max_seconds``.

    Returns
    -------
    dict
        ``loss``, the mean squared error, and ``epochs``, which are steps here.
    """
    x, y = sine()
    mlp = fm.MLP(SIZES, activation="tanh", seed=seed, dtype="float64")
    trainer = fm.Trainer(mlp, loss="mse", optimizer=optimizer, batch_size=ROWS, seed=0, n_threads=1)
    trainer.fit(x, y, shuffle=False, **{"epochs": ENDLESS, **until})
    return {"loss": float(np.mean((mlp.predict(x) - y) ** 2)), "epochs": trainer.epoch}


def compared(
    seeds: Iterable[int], until: dict[str, Any], until_of_adam: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Train from every seed with every optimizer, in turn.

    Parameters
    ----------
    seeds : iterable of int
    until : dict
        What ends a training, see `trained`.
    until_of_adam : dict, optional
        Likewise with Adam; by default the same.

    Returns
    -------
    dict
        ``levenberg_marquardt``: what was found from each seed; ``adam``: that by rate.
    """
    found: dict[str, Any] = {"levenberg_marquardt": [], "adam": {f"{r:g}": [] for r in RATES}}
    for seed in seeds:
        found["levenberg_marquardt"].append(trained("levenberg_marquardt", seed, **until))
        for rate in RATES:
            record = trained(fm.Adam(lr=rate), seed, **(until_of_adam or until))
            found["adam"][f"{rate:g}"].append(record)
    return found


def median(records: list[dict[str, Any]], of: str = "loss") -> float:
    """Return the median over the seeds."""
    return float(np.median([record[of] for record in records]))


def advantage(found: dict[str, Any]) -> float:
    """Return how many times lower the loss is than Adam's with its best rate, both medians."""
    best = min(median(records) for records in found["adam"].values())
    return best / median(found["levenberg_marquardt"])


def tables(result: dict[str, Any]) -> list[Table]:
    """Return the one table there is."""
    found = result["found"]
    of_all = {"Levenberg-Marquardt": found["levenberg_marquardt"]}
    of_all |= {f"Adam, rate {rate}": records for rate, records in found["adam"].items()}
    rows = [["optimizer", "median loss", "lowest", "highest", "steps"]]
    for name, records in of_all.items():
        losses = [record["loss"] for record in records]
        cells = [f"{loss:.2e}" for loss in (median(records), min(losses), max(losses))]
        rows.append([name, *cells, f"{median(records, 'epochs'):,.0f}"])
    seeds = len(found["levenberg_marquardt"])
    title = f"{'-'.join(map(str, SIZES))} on {ROWS} points of a sine, {result['seconds']:g} s each"
    note = f"Adam's best median over that of Levenberg-Marquardt: {advantage(found):,.0f} "
    note += f"(claimed: at least {LEAST_ADVANTAGE:g}). {seeds} seeds."
    return [Table(title, rows, [note])]


def main() -> None:
    """Compare them."""
    parser = argparse.ArgumentParser(prog="python -m bench.second_order")
    parser.add_argument("--seeds", type=int, default=10, help="initial weights to begin from")
    parser.add_argument("--seconds", type=float, default=0.2, help="time of each training")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pin(1)
    found = compared(range(args.seeds), {"max_seconds": args.seconds})
    result = header("second order") | {"seconds": args.seconds, "found": found}
    publish(result, tables(result), args.json)


if __name__ == "__main__":
    main()
