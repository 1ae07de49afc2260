"""Every number of one step of learning, from the kernels themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .training import Trainer

if TYPE_CHECKING:
    from .losses import Loss
    from .network import MLP
    from .optimizers import Optimizer

__all__ = ["LayerTrace", "Trace", "trace"]


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer's share of a step, for a minibatch of n rows.

    ``x`` (n, n_in) is its input; ``w`` (n_in, n_out), ``b`` (n_out,) what it had learned;
    ``z = x·w + b`` and ``a = f(z)`` (n, n_out) what it computed; ``dz``, ``dw``, ``db`` the
    derivatives of the loss by them; ``new_w``, ``new_b`` what it learned.
    """

    activation: str
    x: NDArray[Any]
    w: NDArray[Any]
    b: NDArray[Any]
    z: NDArray[Any]
    a: NDArray[Any]
    dz: NDArray[Any]
    dw: NDArray[Any]
    db: NDArray[Any]
    new_w: NDArray[Any]
    new_b: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Trace:
    """One forward, backward and update; printing it shows every number."""

    loss: float
    layers: tuple[LayerTrace, ...]

    def __str__(self) -> str:
        lines = []
        for number, layer in enumerate(self.layers, 1):
            lines.append(f"layer {number}, forward: z = x·w + b, a = {layer.activation}(z)")
            lines += _rows(layer, "x", "w", "b", "z", "a")
        lines += [f"loss: {self.loss:.10g}"]
        for number, layer in reversed(list(enumerate(self.layers, 1))):
            lines.append(f"layer {number}, backward: derivatives of the loss, and the update")
            lines += _rows(layer, "dz", "dw", "db", "new_w", "new_b")
        return "\n".join(lines)


def trace(
    mlp: MLP,
    x: Any,
    y: Any,
    *,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer = "sgd",
) -> Trace:
    """Take one step on a copy of ``mlp`` and return every number of it; see `MLP.trace`."""
    trainer = Trainer(mlp.copy(), loss=loss, optimizer=optimizer)
    trainer.forward(x)
    value = trainer.compute_loss(y)
    trainer.backward()
    before = trainer.mlp.copy()
    trainer.step()
    layers = []
    at = 0
    for i, activation in enumerate(mlp.activations):
        w, b = before.weights[i], before.biases[i]
        end_of_w, end = at + w.size, at + w.size + b.size
        layers.append(
            LayerTrace(
                activation=activation,
                **{name: trainer.read(name, i) for name in ("x", "z", "a", "dz")},
                w=w,
                b=b,
                dw=trainer.grads[at:end_of_w].reshape(w.shape).copy(),
                db=trainer.grads[end_of_w:end].copy(),
                new_w=trainer.mlp.weights[i].copy(),
                new_b=trainer.mlp.biases[i].copy(),
            )
        )
        at = end
    return Trace(value, tuple(layers))


def _rows(layer: LayerTrace, *names: str) -> list[str]:
    lines = []
    for name in names:
        values = np.atleast_2d(getattr(layer, name))
        for i, row in enumerate(values):
            label = name if i == 0 else ""
            lines.append(f"  {label:>5}  " + "  ".join(f"{value: .8f}" for value in row))
    return lines
