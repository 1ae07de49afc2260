"""Which loss and which output a target of a kind is trained with, and scikit-learn's own losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import losses
from ..activations import Activation
from ..activations import get as activation_of
from ..arguments import find
from ..losses import BinaryCrossEntropy, HalfPoissonDeviance, HalfSquaredError, Loss, Quantile


@dataclass(frozen=True)
class SquaredError(HalfSquaredError):
    """scikit-learn's ``"squared_error"``.

    Its value is half the mean over the outputs of (a - t)²; its gradient a - t, that of half their
    sum.
    """

    def shares(self, n_out: int) -> tuple[float, float]:
        """Return a mean's share of the value and a sum's of the gradient."""
        return 1 / n_out, 1.0


@dataclass(frozen=True)
class SummedBinaryCrossEntropy(BinaryCrossEntropy):
    """scikit-learn's log-loss of several labels: summed over the outputs, not averaged."""

    def shares(self, n_out: int) -> tuple[float, float]:
        """Return a sum's shares."""
        return 1.0, 1.0


class Objective(NamedTuple):
    """What a network of ``n_out`` outputs is trained with."""

    loss: Loss
    output: str
    n_out: int


def of_classes(
    kind: str, n_columns: int, loss: str | Loss | None, output: str | Activation | None
) -> Objective:
    """Return the objective of a classifier.

    ``kind`` is scikit-learn's name of the kind of target, ``n_columns`` the number of classes, of
    labels, or of the classes of several outputs together.
    """
    usual = "softmax" if kind == "multiclass" else "sigmoid"
    name = usual if output is None else str(activation_of(output, "output"))
    found = _for_output(kind, name) if loss is None or loss == "log_loss" else _named(loss)
    if found.targets == "classes" and kind not in ("binary", "multiclass"):
        raise ValueError(
            f"loss: got {found.name!r}, which is for one class of several, expected another for "
            f"y with several columns; use loss='binary_cross_entropy'"
        )
    if output is None and name not in found.outputs:
        name = found.outputs[0]
    found.check_output(name)
    if kind == "binary":
        n_columns = 2 if name == "softmax" else 1
    return Objective(found, name, n_columns)


def _for_output(kind: str, output: str) -> Loss:
    """Return the usual loss of classes for an output."""
    if output == "sigmoid" and kind != "binary":
        return SummedBinaryCrossEntropy()
    return losses.get(None, output)


def of_numbers(n_columns: int, loss: str | Loss, output: str | Activation | None) -> Objective:
    """Return the objective of a regressor for ``n_columns`` targets."""
    found = _OF_NUMBERS[loss]() if isinstance(loss, str) and loss in _OF_NUMBERS else _named(loss)
    if found.targets == "classes":
        raise ValueError(
            f"loss: got {found.name!r}, which is for classes, expected one for numbers; use "
            f"MLPClassifier, or loss='squared_error'"
        )
    if output is None:
        output = found.outputs[0]
    name = str(activation_of(output, "output"))
    found.check_output(name)
    taus: Any = found.tau if isinstance(found, Quantile) else (None,)
    return Objective(found, name, n_columns * len(taus))


_OF_NUMBERS: dict[str, type[Loss]] = {
    "squared_error": SquaredError,
    "poisson": HalfPoissonDeviance,
}


def _named(loss: str | Loss) -> Loss:
    """Return one of fastmlp's losses from its name or from itself."""
    return loss if isinstance(loss, Loss) else find("loss", loss, losses.LOSSES)()


def out_activation(name: str) -> str:
    """Return what scikit-learn calls the activation of the output."""
    return "logistic" if name == "sigmoid" else name
