"""How near the kernels' matrix products come to what a core can do, and to NumPy's.

    python -m bench.products [--dtype float64] [--rounds 30] [--json FILE]

In each round the peak program (``peak.c``, built here with the flags of the build in use), our
product and NumPy's run in turn, on one thread; ratios of one round are compared. Ours are those
that training calls, with all that belongs to them: rows gathered and checked, operands packed,
outputs copied. ``FASTMLP_VARIANT`` chooses the build, ``OPENBLAS_CORETYPE`` NumPy's kernels: the
fastest here of those it was made for, if it is not set.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np

from bench.peak import Peak
from fastmlp import kernels
from fastmlp.benchmarks.pairs import median_interval
from fastmlp.benchmarks.runner import header, pin
from fastmlp.structure import Structure

SHAPES = [(64, 784, 128), (128, 512, 512), (128, 784, 1024), (128, 1024, 1024), (512, 512, 512)]
"""Rows, n_in and n_out of a layer."""

CORETYPES = ("Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids")
"""OpenBLAS's kernels for CPUs with AVX2 and AVX-512: it does not know every CPU that runs them."""

SECONDS = 0.02
"""How long each side of a round takes, about."""


class Layers:
    """One or two dense layers without activations, as a plan of the kernels."""

    def __init__(self, dtype: np.dtype, rows: int, sizes: list[int]) -> None:
        build = kernels.of(dtype)
        rng = np.random.default_rng(0)
        structure = Structure.checked(sizes, "identity", "identity", None, 0, 0, dtype)
        params = rng.standard_normal(structure.n_params).astype(dtype)
        self.plan = build.Plan(
            *structure.tables,
            params,
            grads=np.zeros_like(params),
            loss=build.LOSSES["mse"],
            settings=np.zeros(3),
            state=np.zeros((0, len(params)), dtype),
        )
        self.x = build.Source(rng.standard_normal((rows, sizes[0])).astype(dtype))
        self.y = build.Source(rng.standard_normal((rows, sizes[-1])).astype(dtype))
        self.out = np.empty((rows, sizes[-1]), dtype)
        self.forward()
        self.plan.compute_loss(self.y, None)

    def forward(self) -> None:
        """Gather the rows and go forward."""
        self.plan.forward(self.x, self.out, 1)

    def backward(self) -> None:
        """Compute every gradient but that of the input."""
        self.plan.backward(1)


def products(
    dtype: np.dtype, m: int, k: int, n: int
) -> dict[str, tuple[Callable, Callable, float]]:
    """Return our call, NumPy's and the operations of each of a layer's products."""
    rng = np.random.default_rng(1)
    x, w, dz = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (k, n), (m, n)))
    z, dw = np.empty((m, n), dtype), np.empty((k, n), dtype)
    one, two = Layers(dtype, m, [k, n]), Layers(dtype, m, [k, n, n])

    def numpys_backward() -> None:
        np.matmul(x.T, dz, out=dw)
        np.matmul(dz.T, dz, out=square)
        np.matmul(dz, square.T, out=z)

    square = np.empty((n, n), dtype)
    flops = 2.0 * m * k * n
    return {
        "forward": (one.forward, lambda: np.matmul(x, w, out=z), flops),
        "dw": (one.backward, lambda: np.matmul(x.T, dz, out=dw), flops),
        "dw, dx, dw": (two.backward, numpys_backward, flops + 4.0 * m * n * n),
    }


def rate(call: Callable[[], object], operations: float, times: int) -> float:
    """Return operations per second."""
    start = perf_counter()
    for _ in range(times):
        call()
    return operations * times / (perf_counter() - start)


def fastest_coretype() -> str | None:
    """Return the one of ``CORETYPES`` whose 512 x 512 x 512 is fastest; None if NumPy's choice is.

    One that is not 3 % faster than that choice is taken for the same.
    """
    code = (
        "import numpy as np, time\n"
        "a = np.ones((512, 512), np.float32)\n"
        "def seconds():\n"
        "    start = time.perf_counter()\n"
        "    a @ a\n"
        "    return time.perf_counter() - start\n"
        "print(min(seconds() for _ in range(200)))"
    )
    found: dict[str | None, float] = {}
    for coretype in (None, *CORETYPES):
        env = os.environ | ({"OPENBLAS_CORETYPE": coretype} if coretype else {})
        run = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True)
        if run.returncode == 0:  # kernels this CPU cannot run end by a signal
            found[coretype] = float(run.stdout)
    best = min(found, key=found.__getitem__)
    return best if found[best] < 0.97 * found[None] else None


def main() -> int:
    """Measure all shapes, print the table, and keep the raw rates where asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.products")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        # OpenBLAS reads it when it is loaded.
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        if "OPENBLAS_CORETYPE" not in os.environ and (coretype := fastest_coretype()):
            os.environ["OPENBLAS_CORETYPE"] = coretype
        os.execv(sys.executable, [sys.executable, "-m", "bench.products", *sys.argv[1:]])
    pin(1)
    dtype = np.dtype(args.dtype)
    coretype = os.environ.get("OPENBLAS_CORETYPE", "its own choice")
    print(f"build {kernels.VARIANT}, {dtype}, NumPy {np.__version__} with {coretype}; one thread")
    print(f"{'rows x n_in x n_out':20} {'product':11} {'of peak [95 %]':24} {'x NumPy [95 %]':24}")
    records = []
    peak = Peak(dtype).operations
    a_step = peak(1)
    steps = int(SECONDS * rate(lambda: peak(1_000_000), 1_000_000, 1))
    for m, k, n in SHAPES:
        for name, (ours, numpys, operations) in products(dtype, m, k, n).items():
            times = max(1, int(SECONDS / (operations / rate(ours, operations, 3))))
            rounds = np.array(
                [
                    (
                        rate(lambda: peak(steps), a_step * steps, 1),
                        rate(ours, operations, times),
                        rate(numpys, operations, times),
                    )
                    for _ in range(args.rounds)
                ]
            )
            of_peak = median_interval(rounds[:, 1] / rounds[:, 0])
            of_numpy = median_interval(rounds[:, 1] / rounds[:, 2])
            cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*cell) for cell in (of_peak, of_numpy)]
            shape = f"{m} x {k} x {n}"
            print(f"{shape:20} {name:11} {cells[0]:24} {cells[1]:24}", flush=True)
            records.append({"shape": [m, k, n], "product": name, "rates": rounds.tolist()})
    if args.json:
        what = {"dtype": str(dtype), "coretype": coretype, "records": records}
        args.json.write_text(json.dumps(header("products") | what, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
