"""Losses: what each says about one row, and which output activation it goes with.

The loss of a row is a formula over its outputs ``a`` (or its scores ``z``) and its targets ``t``.
The objective of a minibatch is the mean of its rows' losses, weighted by the rows' weights,
Σ w·loss / Σ w, or with ``reduction="sum"`` the sum Σ w·loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .arguments import find

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "HalfSquaredError",
    "Loss",
    "MeanSquaredError",
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
    # What targets are: "numbers", "fractions" (within 0 and 1) or "classes".
    targets: ClassVar[str] = "numbers"

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"reduction: got {self.reduction!r}, expected 'mean' or 'sum'")

    def check_output(self, output: str) -> None:
        """Refuse an output activation that makes no sense with this loss."""
        if output in self.outputs:
            return
        fix = next((loss.name for loss in _TABLE if loss.outputs[0] == output), "mse")
        raise ValueError(
            f"loss: {self.name!r} does not go with output={output!r}; make the network with "
            f"output={self.outputs[0]!r}, or use loss={fix!r}"
        )


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """Mean over the outputs of (a - t)²; gradient 2 (a - t) / n_out. As PyTorch's and Keras's.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.MeanSquaredError().name
    'mse'
    """

    name = "mse"
    outputs = ("identity", "sigmoid", "tanh", "relu", "softmax")


@dataclass(frozen=True)
class HalfSquaredError(Loss):
    """Half the sum over the outputs of (a - t)²; gradient a - t. The textbooks' squared error.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.HalfSquaredError(reduction="sum")
    HalfSquaredError(reduction='sum')
    """

    name = "half_squared_error"
    outputs = ("identity", "sigmoid", "tanh", "relu", "softmax")


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Sum over the classes of -t·log a, with a = softmax(z); gradient in z: a·Σt - t.

    Targets are class numbers (n,) from 0 to n_out - 1, or a probability for each class (n, n_out).
    Computed from the scores z, so it is finite for any score.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.CrossEntropy().outputs
    ('softmax',)
    """

    name = "cross_entropy"
    outputs = ("softmax",)
    targets = "classes"


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
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


_TABLE: tuple[type[Loss], ...] = (
    MeanSquaredError,
    HalfSquaredError,
    CrossEntropy,
    BinaryCrossEntropy,
)

LOSSES = {loss.name: loss for loss in _TABLE}

# What a network is trained with where no loss is named.
_DEFAULTS = {"softmax": CrossEntropy, "sigmoid": BinaryCrossEntropy}


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
