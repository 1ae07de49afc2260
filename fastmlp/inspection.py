"""Looking inside: hidden activations, derivatives by the inputs, gradients row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import arrays, kernels, threads
from .arguments import number, whole_number
from .arrays import loss_code, loss_constants, loss_shares

if TYPE_CHECKING:
    from .fitting import Data
    from .network import MLP
    from .training import Trainer

__all__ = ["check_gradients", "hidden", "input_gradient", "jacobian", "per_sample_gradients"]


def _looking_plan(mlp: MLP) -> Any:
    """Return a plan that goes forward as ``predict`` does, and can go back."""
    build = kernels.of(mlp.dtype)
    return build.Plan(
        *mlp._structure.tables,
        mlp.params,
        buffers=mlp._running,
        grads=np.empty_like(mlp.params),
        settings=np.zeros(1),
        state=np.zeros((0, mlp.n_params), mlp.dtype),
        predicts=True,
    )


def _forward(mlp: MLP, X: Any, n_threads: int | None) -> tuple[Any, arrays.Rows]:
    """Push rows through a plan that keeps everything; the lock must be held."""
    rows = arrays.inputs(X, mlp.sizes[0])
    plan = _looking_plan(mlp)
    output = np.empty((len(rows), mlp.sizes[-1]), mlp.dtype)
    bad = plan.forward(mlp._source(rows), output, n_threads=threads.resolve(n_threads))
    if bad >= 0:
        raise rows.not_finite(bad, mlp.dtype)
    return plan, rows


def layers_of(
    trainer: Trainer, data: Data
) -> tuple[float, list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]]:
    """Return the loss and every layer's a, z and dz for some rows, as in prediction.

    The lock must be held.
    """
    mlp = trainer.mlp
    n_out = mlp.sizes[-1]
    plan = kernels.of(mlp.dtype).Plan(
        *mlp._structure.tables,
        mlp.params,
        buffers=mlp._running,
        grads=np.empty_like(mlp.params),
        loss=loss_code(trainer.loss, data.targets, mlp.dtype),
        loss_constants=loss_constants(trainer.loss, n_out, mlp.dtype),
        loss_shares=loss_shares(trainer.loss, n_out),
        missing=trainer.loss.takes_missing,
        settings=np.zeros(1),
        state=np.zeros((0, mlp.n_params), mlp.dtype),
        predicts=True,
    )
    plan.forward(mlp._source(data.rows), np.empty((len(data), n_out), mlp.dtype))
    loss, _ = plan.compute_loss(mlp._source(data.targets, "targets"), None)
    plan.backward()
    found = []
    for i, size in enumerate(mlp.sizes[1:]):
        a, z, dz = (np.empty((len(data), size), mlp.dtype) for _ in range(3))
        for name, value in (("a", a), ("z", z), ("dz", dz)):
            plan.read(name, i, value)
        found.append((a, z, dz))
    return loss, found


def hidden(mlp: MLP, X: Any, n_threads: int | None) -> list[NDArray[Any]]:
    """Return what every layer puts out; see `MLP.hidden`."""
    with mlp._lock:
        plan, rows = _forward(mlp, X, n_threads)
        found = []
        for i, size in enumerate(mlp.sizes[1:]):
            a = np.empty((len(rows), size), mlp.dtype)
            plan.read("a", i, a)
            found.append(a)
    return found


def _scales(mlp: MLP) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what a unit of each input is inside the network, and of each output outside."""
    inputs, targets = mlp._scaling("inputs"), mlp._scaling("targets")
    by_input = np.ones(mlp.sizes[0]) if inputs is None else 1 / inputs[1]
    by_output = np.ones(mlp.sizes[-1]) if targets is None else targets[1]
    return by_input, by_output


def input_gradient(mlp: MLP, X: Any, output: int | None, n_threads: int | None) -> NDArray[Any]:
    """Return the derivative of one output by the inputs; see `MLP.input_gradient`."""
    n_out = mlp.sizes[-1]
    if output is None:
        if n_out > 1:
            raise ValueError(f"output: missing; the network has {n_out}, say which one")
        output = 0
    output = whole_number("output", output, 0, n_out)
    with mlp._lock:
        plan, rows = _forward(mlp, X, n_threads)
        return _pulled_back(mlp, plan, len(rows), output, n_threads)


def _pulled_back(mlp: MLP, plan: Any, n: int, output: int, n_threads: int | None) -> NDArray[Any]:
    by_input, by_output = _scales(mlp)
    seeds = np.zeros((n, mlp.sizes[-1]), mlp.dtype)
    seeds[:, output] = by_output[output]
    gradient = np.empty((n, mlp.sizes[0]), mlp.dtype)
    plan.pull_back(seeds, gradient, threads.resolve(n_threads))
    gradient *= by_input.astype(mlp.dtype)
    return gradient


def jacobian(mlp: MLP, X: Any, n_threads: int | None) -> NDArray[Any]:
    """Return the derivatives of all outputs by the inputs; see `MLP.jacobian`."""
    with mlp._lock:
        plan, rows = _forward(mlp, X, n_threads)
        found = np.empty((len(rows), mlp.sizes[-1], mlp.sizes[0]), mlp.dtype)
        for output in range(mlp.sizes[-1]):
            found[:, output] = _pulled_back(mlp, plan, len(rows), output, n_threads)
    return found


def per_sample_gradients(trainer: Trainer, x: Any, t: Any) -> NDArray[Any]:
    """Return each row's own gradient; see `Trainer.per_sample_gradients`."""
    mlp = trainer.mlp
    for i in range(len(mlp.weights)):
        if mlp._structure.normalization[i] is not None:
            raise ValueError(
                f"per_sample_gradients: layer {i} normalises, where rows or columns meet; make "
                f"the network without normalization"
            )
    data = trainer._judged(x, t, None, None)
    gradients = np.empty((len(data), mlp.n_params), mlp.dtype)
    before = trainer.grads.copy()
    trainer.forward(x)
    trainer.compute_loss(t)
    trainer.backward()
    with mlp._lock:
        trainer._plan.row_gradients(gradients)
    trainer.grads[:] = before
    trainer._stage, trainer._went_back = "start", False
    # The objective's share of a row is its own loss divided by the rows, if it is a mean; rows of
    # which no target is known are none.
    if trainer.loss.reduction == "mean":
        known = len(data)
        if trainer.loss.takes_missing:
            known = int(np.isfinite(data.targets.whole()).any(axis=1).sum())
        gradients *= known
    return gradients


def check_gradients(trainer: Trainer, x: Any, t: Any, step: float | None) -> dict[str, float]:
    """Compare the gradient with central differences; see `Trainer.check_gradients`."""
    mlp = trainer.mlp
    params, running = mlp.params, mlp._running.copy()
    before, params_before = trainer.grads.copy(), params.copy()
    h = float(np.cbrt(np.finfo(mlp.dtype).eps))
    if step is not None:
        h = number("step", step, 0, above=True)

    def objective() -> float:
        trainer.forward(x)
        return trainer.compute_loss(t)

    try:
        objective()
        trainer.backward()
        gradient = trainer.grads.astype(np.float64)
        differences = np.empty_like(gradient)
        for i in range(len(params)):
            value = params[i]
            size = h * max(1.0, abs(float(value)))
            params[i] = value + size
            high, above = objective(), float(params[i])
            params[i] = value - size
            low, below = objective(), float(params[i])
            params[i] = value
            differences[i] = (high - low) / (above - below)
    finally:
        params[:] = params_before
        mlp._running[:] = running
        trainer.grads[:] = before
        trainer._stage = "start"
    errors = {}
    largest = float(np.linalg.norm(differences))
    for i, parts in enumerate(mlp._structure.parts):
        for name in ("w", "b", "gamma", "beta"):
            part = getattr(parts, name)
            if part.stop > part.start:
                error = float(np.linalg.norm(gradient[part] - differences[part]))
                norm = max(float(np.linalg.norm(differences[part])), 1e-3 * largest)
                errors[f"layers.{i}.{name}"] = error / norm if error else 0.0
    return errors
