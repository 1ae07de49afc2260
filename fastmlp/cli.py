"""The command line: ``fastmlp demo``, ``fastmlp info``, ``fastmlp bench``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from . import MLP, Adam, datasets, show_config, threads

__all__ = ["main"]


def demo() -> int:
    """Train on the bundled handwritten digits and print the accuracy on held-out ones."""
    (X, y), (X_test, y_test) = datasets.digits()
    config = show_config(mode="dict")
    mlp = MLP([64, 128, 10], activation="relu", output="softmax", seed=0)
    print(f"{len(X):,} handwritten digits of 8 by 8 pixels to learn from, {len(X_test)} held out")
    print(f"network {mlp!r}")
    print(f"build {config['variant']}, {threads.get_num_threads()} threads")
    started = time.perf_counter()
    mlp.fit(X, y, optimizer=Adam(lr=2e-3), epochs=40, batch_size=32, seed=0, verbose=1)
    seconds = time.perf_counter() - started
    accuracy = mlp.evaluate(X_test, y_test)["accuracy"]
    print(f"trained in {seconds:.2f} s; accuracy on the held-out digits: {accuracy:.4f}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="fastmlp", description="Multi-layer perceptrons on a CPU, as fast as it goes."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("demo", help="train on the bundled handwritten digits")
    commands.add_parser("info", help="what is installed and in use: build, CPU, threads, versions")
    commands.add_parser(
        "bench",
        help="the works of the benchmark, beside whichever peers are installed",
        add_help=False,
    )
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.command == "bench":
        from .benchmarks import main as bench

        return bench(rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if chosen.command == "demo":
        return demo()
    show_config()
    return 0
