"""Losses: what each says about one row, and which output activation it goes with.

The loss of a row is a formula over its outputs ``a`` (or its scores ``z``) and its targets ``t``.
The objective of a minibatch is the mean of its rows' losses, weighted by the rows' weights,
Σ w·loss / Σ w, or with ``reduction="sum"`` the sum Σ w·loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .activations import ACTIVATIONS
from .arguments import find, number, sequence

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "HalfPoissonDeviance",
    "HalfSquaredError",
    "Huber",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Poisson",
    "Quantile",
]


@dataclass(frozen=True)
class Loss:
    """What all losses share.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Whether the objective of a minibatch is the (weighted) mean or the sum of its rows' losses.

    Raises
    ------
    ValueError
        If ``reduction`` is neither.
    """

    reduction: str = "mean"

    name: ClassVar[str]
    # The output activations it goes with; the first is the one to recommend.
    outputs: ClassVar[tuple[str, ...]]
    # What targets are: "numbers", "fractions" (within 0 and 1), "counts" (at least 0) or "classes".
    targets: ClassVar[str] = "numbers"

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"reduction: got {self.reduction!r}, expected 'mean' or 'sum'")

    @property
    def takes_missing(self) -> bool:
        """Whether a target may be NaN: not known."""
        return False

    def constants(self, n_out: int) -> NDArray[np.float64] | None:
        """Return the formula's constant for each output, if it has one."""
        return None

    def shares(self, n_out: int) -> tuple[float, float] | None:
        """Return what multiplies the sum over the outputs, in the value and in the gradient.

        None for the formula's own: 1 / n_out for both where it is a mean, else 1.
        """
        return None

    def target_columns(self, n_out: int) -> int:
        """Return how many targets a row has for ``n_out`` outputs; never fewer than one."""
        return n_out

    def check_output(self, output: str) -> None:
        """Refuse an output activation that makes no sense with this loss."""
        name = output.partition("(")[0]
        if name in self.outputs:
            return
        fix = next((loss.name for loss in _TABLE if loss.outputs[0] == name), "mse")
        raise ValueError(
            f"loss: {self.name!r} does not go with output={output!r}; make the network with "
            f"output={self.outputs[0]!r}, or use loss={fix!r}"
        )


@dataclass(frozen=True)
class OutputLoss(Loss):
    """What losses share that are made output by output.

    Parameters
    ----------
    reduction : {"mean", "sum"}
    missing : {"error", "ignore"}
        Whether a target may be NaN, which says that it is not known. With "ignore" a row's loss is
        that of its known targets (their mean, where the loss is a mean), and a row without any
        counts as a row of weight 0.

    Raises
    ------
    ValueError
        If either is something else.
    """

    missing: str = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.missing not in ("error", "ignore"):
            raise ValueError(f"missing: got {self.missing!r}, expected 'error' or 'ignore'")

    @property
    def takes_missing(self) -> bool:
        """Whether a target may be NaN: not known."""
        return self.missing == "ignore"


# Any number may be compared with a target; the first is the one to recommend.
_OUTPUTS_OF_NUMBERS = ("identity", *(name for name in ACTIVATIONS if name != "identity"))


@dataclass(frozen=True)
class MeanSquaredError(OutputLoss):
    """Mean over the outputs of (a - t)²; gradient 2 (a - t) / n_out. As PyTorch's and Keras's.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.MeanSquaredError().name
    'mse'
    """

    name = "mse"
    outputs = _OUTPUTS_OF_NUMBERS


@dataclass(frozen=True)
class HalfSquaredError(OutputLoss):
    """Half the sum over the outputs of (a - t)²; gradient a - t. The textbooks' squared error.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.HalfSquaredError(reduction="sum")
    HalfSquaredError(reduction='sum', missing='error')
    """

    name = "half_squared_error"
    outputs = _OUTPUTS_OF_NUMBERS


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Sum over the classes of -t·log a, with a = softmax(z); gradient in z: a·Σt - t.

    Targets are class numbers (n,) from 0 to n_out - 1, or a probability for each class (n, n_out).
    Computed from the scores z, so it is finite for any score.

    Parameters
    ----------
    reduction : {"mean", "sum"}
    label_smoothing : float, default 0
        From 0 up to (not including) 1: targets become (1 - s)·t + s / n_out. Szegedy, Vanhoucke,
        Ioffe, Shlens and Wojna, "Rethinking the Inception architecture" (2016).

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.CrossEntropy(label_smoothing=0.1).outputs
    ('softmax',)
    """

    label_smoothing: float = 0.0

    name = "cross_entropy"
    outputs = ("softmax",)
    targets = "classes"

    def __post_init__(self) -> None:
        super().__post_init__()
        number("label_smoothing", self.label_smoothing, 0, 1)

    def constants(self, n_out: int) -> NDArray[np.float64] | None:
        """Return the smoothing."""
        return np.full(n_out, float(self.label_smoothing)) if self.label_smoothing else None


@dataclass(frozen=True)
class BinaryCrossEntropy(OutputLoss):
    """Mean over the outputs of -t·log a - (1 - t)·log(1 - a), with a = sigmoid(z).

    The gradient in z is (a - t) / n_out. Targets lie within 0 and 1, one for each output: several
    outputs are several yes-or-no questions about one row. Computed from the scores z, so it is
    finite for any score.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.BinaryCrossEntropy().outputs
    ('sigmoid',)
    """

    name = "binary_cross_entropy"
    outputs = ("sigmoid",)
    targets = "fractions"


@dataclass(frozen=True)
class MeanAbsoluteError(OutputLoss):
    """Mean over the outputs of ``|a - t|``; gradient sign(a - t) / n_out, 0 where they are equal.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.MeanAbsoluteError().name
    'mae'
    """

    name = "mae"
    outputs = _OUTPUTS_OF_NUMBERS


@dataclass(frozen=True)
class Huber(OutputLoss):
    """Mean over the outputs of d²/2 up to delta, then ``delta·(|d| - delta/2)``; d = a - t.

    Huber, "Robust estimation of a location parameter" (1964); as PyTorch's HuberLoss.

    Parameters
    ----------
    reduction, missing
        As for `MeanSquaredError`.
    delta : float, default 1
        Above 0: where the square goes over into a straight line.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Huber(delta=0.5).name
    'huber'
    """

    delta: float = 1.0

    name = "huber"
    outputs = _OUTPUTS_OF_NUMBERS

    def __post_init__(self) -> None:
        super().__post_init__()
        number("delta", self.delta, 0, above=True)

    def constants(self, n_out: int) -> NDArray[np.float64] | None:
        """Return delta for each output."""
        return np.full(n_out, float(self.delta))


@dataclass(frozen=True)
class Quantile(OutputLoss):
    """Mean over the outputs of max(tau·d, (tau - 1)·d) with d = t - a: the pinball loss.

    Its minimum is the quantile tau of the targets. Koenker and Bassett, "Regression quantiles"
    (1978). Several at once give prediction intervals: with k of them every target has k outputs
    side by side, in the order of ``tau``.

    Parameters
    ----------
    reduction, missing
        As for `MeanSquaredError`.
    tau : float or sequence of float, default 0.5
        Each above 0 and below 1.

    Examples
    --------
    >>> import fastmlp as fm
    >>> loss = fm.Quantile(tau=(0.05, 0.5, 0.95))
    >>> mlp = fm.MLP([1, 16, 3], seed=0)       # three quantiles of one target
    >>> history = mlp.fit([[0.0], [1.0]], [[2.0], [3.0]], loss=loss, epochs=1)
    """

    tau: float | Sequence[float] = 0.5

    name = "quantile"
    outputs = _OUTPUTS_OF_NUMBERS

    def __post_init__(self) -> None:
        super().__post_init__()
        taus = [self.tau] if isinstance(self.tau, Real) else sequence("tau", self.tau, "numbers")
        if not taus:
            raise ValueError("tau: got no number, expected at least one")
        found = tuple(number("tau", tau, 0, 1, above=True) for tau in taus)
        object.__setattr__(self, "tau", found)

    def constants(self, n_out: int) -> NDArray[np.float64] | None:
        """Return tau for each output."""
        taus: Any = self.tau
        return np.tile(np.array(taus, np.float64), n_out // len(taus))

    def target_columns(self, n_out: int) -> int:
        """Return one for each group of outputs."""
        taus: Any = self.tau
        if n_out % len(taus):
            raise ValueError(
                f"loss: {len(taus)} quantiles of each target for {n_out} outputs, expected a "
                f"multiple of {len(taus)}; make the network with {len(taus)} outputs a target"
            )
        return n_out // len(taus)


@dataclass(frozen=True)
class LogCosh(OutputLoss):
    """Mean over the outputs of log cosh(a - t); gradient tanh(a - t) / n_out.

    Like half a square near zero, like the absolute value far from it.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.LogCosh().name
    'log_cosh'
    """

    name = "log_cosh"
    outputs = _OUTPUTS_OF_NUMBERS


@dataclass(frozen=True)
class Poisson(OutputLoss):
    """Mean over the outputs of a - t·log a, with a = exp(z): for counts.

    The negative logarithm of a Poisson distribution's likelihood, without the part that depends on
    the target alone; as PyTorch's PoissonNLLLoss. The gradient in z is (a - t) / n_out. Targets are
    at least 0; the network's output is the expected count.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Poisson().outputs
    ('exp',)
    """

    name = "poisson"
    outputs = ("exp",)
    targets = "counts"


@dataclass(frozen=True)
class HalfPoissonDeviance(OutputLoss):
    """Sum over the outputs of t·log(t / a) - t + a, with a = exp(z): for counts.

    `Poisson` with the part that depends on the target alone, so that it is 0 for a perfect
    prediction, and summed. The gradient in z is a - t. Targets are at least 0. McCullagh and
    Nelder, "Generalized linear models" (1989); the ``"poisson"`` of scikit-learn's MLPRegressor.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.HalfPoissonDeviance().outputs
    ('exp',)
    """

    name = "half_poisson_deviance"
    outputs = ("exp",)
    targets = "counts"


_TABLE: tuple[type[Loss], ...] = (
    MeanSquaredError,
    HalfSquaredError,
    CrossEntropy,
    BinaryCrossEntropy,
    MeanAbsoluteError,
    Huber,
    Quantile,
    LogCosh,
    Poisson,
    HalfPoissonDeviance,
)

LOSSES = {loss.name: loss for loss in _TABLE}

# What a network is trained with where no loss is named.
_DEFAULTS = {"softmax": CrossEntropy, "sigmoid": BinaryCrossEntropy, "exp": Poisson}


def get(loss: object, output: str) -> Loss:
    """Return a loss from its name, from itself, or for None from the output activation."""
    if loss is None:
        found: Loss = _DEFAULTS.get(output, MeanSquaredError)()
    elif isinstance(loss, Loss):
        found = loss
    else:
        found = find("loss", loss, LOSSES)()
    found.check_output(output)
    return found
