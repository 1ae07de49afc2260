"""The works all claims are measured on: what is trained, on which data, from which weights.

A work fixes everything that decides the result, so that every library does the same arithmetic:
sizes, activations, loss, optimizer, rows and their order, initial weights, number of epochs. Six
are plain; three more have AdamW, dropout and batch normalisation. One of the six comes a second
time with its inputs standardised, so that none is 0: we leave out what zeros would add.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import datasets

Array: TypeAlias = NDArray[Any]

Weights: TypeAlias = list[tuple[Array, Array]]
"""One ``(w, b)`` per layer, ``w`` of shape ``(n_in, n_out)``, float32."""


@dataclass(frozen=True)
class Data:
    """Rows and targets of a work, and where they come from."""

    x: Array
    y: Array
    source: str


@dataclass(frozen=True)
class SGD:
    """``v = momentum * v + g; p -= lr * v``."""

    lr: float
    momentum: float = 0.0


@dataclass(frozen=True)
class Adam:
    """Adam in PyTorch's form: eps is added after the bias correction.

    With ``weight_decay`` AdamW, of the weights alone: ``w -= lr * weight_decay * w`` before a step.
    """

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Work:
    """One thing to train.

    ``mse`` is the mean of squares over outputs and rows, ``cross_entropy`` the mean over rows of
    the softmax cross-entropy with class numbers, ``half_squared_error`` half the *sum* of squares
    over outputs and rows. Rows are visited in order; the last minibatch of an epoch may be smaller.
    ``epochs`` is the number trained in one timed call. The learning rates of the wide networks are
    low, because higher ones amplify rounding until the libraries' losses part. ``dropout`` and
    ``batch_norm`` (PyTorch's defaults, before the activation) are those of every hidden layer.
    ``loss_tolerance`` is how far two libraries' losses may be apart, relatively: each drops other
    outputs.
    """

    name: str
    sizes: tuple[int, ...]
    activation: Literal["sigmoid", "tanh", "relu"]
    output: Literal["sigmoid", "identity", "softmax"]
    loss: Literal["half_squared_error", "mse", "cross_entropy"]
    optimizer: SGD | Adam
    batch_size: int
    rows: int
    epochs: int
    load: Callable[[int], Data]
    dropout: float = 0.0
    batch_norm: bool = False
    loss_tolerance: float = 1e-3

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but dense layers and an optimizer every library has."""
        decays = isinstance(self.optimizer, Adam) and self.optimizer.weight_decay > 0
        return not (self.dropout or self.batch_norm or decays)

    def data(self) -> Data:
        """Return the rows: float32 ``x``; ``y`` float32 ``(rows, n_out)`` or int64 classes."""
        return self.load(self.rows)

    def initial_weights(self) -> Weights:
        """Return the weights every library starts from: N(0, 1/n_in), doubled for relu."""
        rng = np.random.default_rng(0)
        gain = 2.0 if self.activation == "relu" else 1.0
        weights = []
        for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False):
            w = rng.standard_normal((n_in, n_out)) * np.sqrt(gain / n_in)
            weights.append((w.astype(np.float32), np.zeros(n_out, np.float32)))
        return weights


BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1


def folded(w: Array, b: Array, gamma: Array, beta: Array, mean: Array, variance: Array) -> Any:
    """Return the weights and biases of a layer with its batch normalisation, as it predicts."""
    factor = gamma / np.sqrt(variance + BATCH_NORM_EPS)
    return w * factor, (b - mean) * factor + beta


def objective(work: Work, weights: Weights, data: Data) -> float:
    """Return the loss of ``weights`` over all rows, in float64: the same judge for everybody."""
    total = 0.0
    for first in range(0, len(data.x), 4096):
        rows = slice(first, first + 4096)
        z, y = _scores(work, weights, data.x[rows]), data.y[rows]
        if work.loss == "cross_entropy":
            top = z.max(axis=1)
            log_sum = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top
            total += np.sum(log_sum - z[np.arange(len(z)), y])
        else:
            a = _ACTIVATIONS[work.output](z)
            total += np.sum((a - y) ** 2)
    if work.loss == "half_squared_error":
        return float(total / 2)
    return float(total / (data.y.size))


def _scores(work: Work, weights: Weights, x: Array) -> Array:
    a = x.astype(np.float64)
    for w, b in weights[:-1]:
        a = _ACTIVATIONS[work.activation](a @ w + b)
    w, b = weights[-1]
    return a @ w + b


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "identity": lambda z: z,
}


def _xor(rows: int) -> Data:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([[0], [1], [1], [0]], np.float32)
    return Data(x, y, "the truth table")


def _expm(rows: int) -> Data:
    """Return random 2x2 matrices A and exp(A), by Cayley-Hamilton.

    With s = tr(A)/2, B = A - sI and q² = -det(B): exp(A) = e^s (cosh(q) I + sinh(q)/q B).
    """
    a = np.random.default_rng(1).uniform(-1, 1, (rows, 2, 2))
    eye = np.eye(2)
    s = np.trace(a, axis1=1, axis2=2)[:, None, None] / 2
    b = a - s * eye
    q = np.sqrt(-np.linalg.det(b).astype(complex))[:, None, None]
    # NumPy's sinc is sin(pi t)/(pi t), 1 at zero: sinh(q)/q = sinc(iq/pi)
    exp_a = np.exp(s) * (np.cosh(q) * eye + np.sinc(1j * q / np.pi) * b).real
    x, y = a.reshape(rows, 4), exp_a.reshape(rows, 4)
    return Data(x.astype(np.float32), y.astype(np.float32), "synthetic, seed 1")


def _tabular(rows: int) -> Data:
    """Return standard normal features and a random relu network of them, plus noise."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((rows, 13))
    hidden = np.maximum(x @ rng.standard_normal((13, 32)) / np.sqrt(13), 0)
    y = hidden @ rng.standard_normal((32, 1)) / np.sqrt(32)
    y += 0.5 * rng.standard_normal((rows, 1))
    return Data(x.astype(np.float32), y.astype(np.float32), "synthetic, seed 2")


def _digits(rows: int) -> Data:
    """Return the first rows of the bundled digits."""
    (x, y), _ = datasets.digits()
    return Data(x[:rows], y[:rows], "UCI digits")


def _mnist(rows: int) -> Data:
    """Return the first rows of MNIST, or noisy class prototypes of the same shape."""
    try:
        (x, y), _ = datasets.mnist()
    except FileNotFoundError:
        return _mnist_like(rows)
    return Data(x[:rows], y[:rows], "MNIST training set")


def _mnist_standardised(rows: int) -> Data:
    """Return the same with the mean and deviation of all pixels taken out."""
    data = _mnist(rows)
    x = (data.x - np.float32(0.1307)) / np.float32(0.3081)
    return Data(x, data.y, f"{data.source}, standardised")


def _mnist_like(rows: int) -> Data:
    rng = np.random.default_rng(3)
    # about a fifth of MNIST's pixels are not black
    prototypes = rng.random((10, 784), np.float32) * (rng.random((10, 784)) < 0.2)
    y = rng.integers(0, 10, rows)
    x = prototypes[y]
    x *= rng.random(x.shape, np.float32)
    # some labels are wrong: a loss that went to zero could not be compared relatively
    wrong = rng.random(rows) < 0.1
    y[wrong] = rng.integers(0, 10, wrong.sum())
    return Data(x, y, "synthetic, seed 3 (no MNIST files in FASTMLP_DATA_DIR)")


_DIGITS = Work(
    name="digits-adamw",
    sizes=(64, 128, 128, 10),
    activation="relu",
    output="softmax",
    loss="cross_entropy",
    optimizer=Adam(lr=3e-4, weight_decay=0.01),
    batch_size=64,
    rows=1437,
    epochs=5,
    load=_digits,
)

_MNIST_SGD = Work(
    name="mnist-sgd",
    sizes=(784, 128, 10),
    activation="relu",
    output="softmax",
    loss="cross_entropy",
    optimizer=SGD(lr=0.1),
    batch_size=64,
    rows=60_000,
    epochs=1,
    load=_mnist,
)

WORKS: dict[str, Work] = {
    work.name: work
    for work in (
        Work(
            name="xor",
            sizes=(2, 4, 1),
            activation="sigmoid",
            output="sigmoid",
            loss="half_squared_error",
            optimizer=SGD(lr=0.1),
            batch_size=4,
            rows=4,
            epochs=10_000,
            load=_xor,
        ),
        Work(
            name="expm",
            sizes=(4, 32, 16, 4),
            activation="tanh",
            output="identity",
            loss="mse",
            optimizer=Adam(lr=1e-3),
            batch_size=10_000,
            rows=10_000,
            epochs=20,
            load=_expm,
        ),
        Work(
            name="tabular",
            sizes=(13, 64, 64, 1),
            activation="relu",
            output="identity",
            loss="mse",
            optimizer=Adam(lr=1e-3),
            batch_size=32,
            rows=10_000,
            epochs=3,
            load=_tabular,
        ),
        _MNIST_SGD,
        Work(
            name="mnist-adam",
            sizes=(784, 512, 512, 10),
            activation="relu",
            output="softmax",
            loss="cross_entropy",
            optimizer=Adam(lr=5e-5),
            batch_size=128,
            rows=60_000,
            epochs=1,
            load=_mnist,
        ),
        Work(
            name="mnist-wide",
            sizes=(784, 1024, 1024, 1024, 10),
            activation="relu",
            output="softmax",
            loss="cross_entropy",
            optimizer=SGD(lr=0.003, momentum=0.9),
            batch_size=128,
            rows=12_800,
            epochs=1,
            load=_mnist,
        ),
        replace(
            _MNIST_SGD, name="mnist-sgd-dense", optimizer=SGD(lr=0.01), load=_mnist_standardised
        ),
        _DIGITS,
        replace(
            _DIGITS,
            name="digits-dropout",
            optimizer=Adam(lr=3e-4),
            dropout=0.2,
            loss_tolerance=0.1,
        ),
        replace(_DIGITS, name="digits-batchnorm", optimizer=Adam(lr=3e-4), batch_norm=True),
    )
}
