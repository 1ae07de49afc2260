"""What else is claimed besides training: prediction, float64, threads. One row for each claim.

A claim compares two calls that do the same work, and says how many times faster ours must be.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

import fastmlp as fm

from .rivals import fastmlp_fit
from .works import WORKS

Call: TypeAlias = Callable[[], object]


@dataclass(frozen=True)
class Claim:
    """Two calls to time against each other; the ratio is the rival's time over ours.

    Attributes
    ----------
    name : str
        Its group, then what is measured.
    rival : str
        What ours is compared with.
    threads : int
        Threads both may use, and processors the process is bound to.
    floor, goal : float
        The ratio that must be shown, and the one that is aimed at.
    calls : callable
        Makes the two calls, ours first; each call lasts long enough to be timed.
    package : str or None
        What the rival needs installed, besides fastmlp.
    """

    name: str
    rival: str
    threads: int
    floor: float
    goal: float
    calls: Callable[[], tuple[Call, Call]]
    package: str | None = None


NETWORKS: dict[tuple[int, ...], tuple[str, str]] = {
    (784, 128, 10): ("relu", "softmax"),
    (784, 512, 512, 10): ("relu", "softmax"),
    (4, 32, 16, 4): ("tanh", "identity"),
}
"""Sizes of the networks that predict, with their activation and output."""

WIDTHS = (8, 16, 32, 45, 46, 64, 128, 256, 512, 1024)


def _repeated(call: Call, times: int) -> Call:
    def repeat() -> None:
        for _ in range(times):
            call()

    return repeat


def _prediction(sizes: tuple[int, ...], rows: int, frozen: bool) -> tuple[Call, Call]:
    from .rivals import onnx_runtime

    activation, output = NETWORKS[sizes]
    mlp = fm.MLP(sizes, activation=activation, output=output, seed=0)
    predict = mlp.freeze() if frozen else mlp.predict
    rival = onnx_runtime.predictor(mlp)
    x = np.random.default_rng(0).random((rows, sizes[0]), np.float32)
    np.testing.assert_allclose(rival(x), predict(x), rtol=1e-3, atol=1e-5)
    times = 2000 if rows == 1 else 1
    return (
        _repeated(lambda: predict(x, n_threads=1), times),
        _repeated(lambda: rival(x), times),
    )


def _training(work_name: str, n_threads: int, dtype: str = "float32") -> Call:
    """Return a call that trains a work for its epochs, from wherever it is."""
    work = WORKS[work_name]
    data = work.data()
    ws, bs = zip(*work.initial_weights(), strict=True)
    mlp = fm.MLP.from_weights(
        [w.astype(dtype) for w in ws],
        [b.astype(dtype) for b in bs],
        activation=work.activation,
        output=work.output,
    )
    trainer = fm.Trainer(
        mlp,
        loss=fastmlp_fit.loss_of(work),
        optimizer=fastmlp_fit.optimizer_of(work),
        batch_size=work.batch_size,
        n_threads=n_threads,
    )
    x, y = data.x.astype(dtype), data.y if data.y.dtype.kind == "i" else data.y.astype(dtype)
    return lambda: trainer.fit(x, y, epochs=work.epochs, shuffle=False)


def _of_width(width: int, n_threads: int | None) -> Call:
    """Return a call that trains 10-w-w-10 for 50 ms and more, in minibatches of 128 rows."""
    rows = 4096
    # At 50 multiplications a nanosecond, which is less than wide layers reach.
    epochs = max(1, 2_500_000_000 // (3 * rows * (width * width + 20 * width)))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, rows, 10), np.float32)
    mlp = fm.MLP([10, width, width, 10], seed=0)
    trainer = fm.Trainer(mlp, optimizer=fm.SGD(lr=1e-3), batch_size=128, n_threads=n_threads)
    return lambda: trainer.fit(x, y, epochs=epochs)


def _all() -> Iterator[Claim]:
    for sizes in NETWORKS:
        name = "-".join(map(str, sizes))
        for rows, frozen, floor, goal in (
            (10_000, False, 1.2, 1.6),
            (1, False, 1.25, 2.0),
            (1, True, 2.0, 4.0),
        ):
            if frozen and len(sizes) == 4 and sizes[1] == 512:
                floor, goal = 1.0, 1.0  # bound by reading the weights from the last-level cache

            def calls(
                sizes: tuple[int, ...] = sizes, rows: int = rows, frozen: bool = frozen
            ) -> tuple[Call, Call]:
                return _prediction(sizes, rows, frozen)

            title = f"{'frozen' if frozen else 'predict'} {name}, {rows:,} row{'s' * (rows > 1)}"
            yield Claim(title, "ONNX Runtime", 1, floor, goal, calls, "onnxruntime")
    for work in ("mnist-adam", "mnist-wide"):

        def both_types(work: str = work) -> tuple[Call, Call]:
            return _training(work, 1, "float64"), _training(work, 1)

        yield Claim(f"float64 {work}", "our float32", 1, 0.45, 0.5, both_types)
    for work in ("expm", "mnist-adam", "mnist-wide"):

        def both_counts(work: str = work) -> tuple[Call, Call]:
            return _training(work, 2), _training(work, 1)

        yield Claim(f"two threads {work}", "our one thread", 2, 1.7, 2.0, both_counts)
    for width in WIDTHS:
        for n in (1, 2):

            def default(width: int = width, n: int = n) -> tuple[Call, Call]:
                return _of_width(width, None), _of_width(width, n)

            rival = "our one thread" if n == 1 else "our two threads"
            yield Claim(f"default threads 10-{width}-{width}-10, {n}", rival, 2, 0.95, 1, default)


CLAIMS: dict[str, Claim] = {claim.name: claim for claim in _all()}


def versions(claim: Claim) -> dict[str, Any]:
    """Return the versions of what a claim compares."""
    import importlib

    found = {"fastmlp": fm.__version__}
    if claim.package:
        found[claim.rival] = importlib.import_module(claim.package).__version__
    return found
