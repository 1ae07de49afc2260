"""Every number of one step of learning, from the kernels themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import arrays, kernels
from .network import MLP
from .training import Trainer

if TYPE_CHECKING:
    from .losses import Loss
    from .optimizers import Optimizer

__all__ = ["LayerTrace", "Trace", "trace"]

# Of a layer's parameters, in the order in which they lie in ``params``.
_TENSORS = ("w", "b", "gamma", "beta")
# Numbers between these are shown with eight digits behind the point, others with an exponent.
_SMALLEST_SHOWN, _LARGEST_SHOWN = 1e-3, 1e6


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer's share of a step, for a minibatch of n rows; None is what it does not have.

    Attributes
    ----------
    activation : str
    normalization : str or None
    x : ndarray, shape (n, n_in)
        Its input: what the layer before puts out, after dropout.
    mask : ndarray, shape (n, n_in), or None
        What dropout multiplied that by: 0, or 1 / (1 - p).
    w, b : ndarray, shapes (n_in, n_out) and (n_out,)
        What it had learned; likewise ``gamma`` and ``beta``, (n_out,), with normalisation.
    z : ndarray, shape (n, n_out)
        Its scores, ``x·w + b``.
    normalized : ndarray, shape (n, n_out), or None
        The scores with mean 0 and variance 1, over the minibatch or over the layer.
    y : ndarray, shape (n, n_out), or None
        ``gamma·normalized + beta``.
    running_mean, running_variance, new_running_mean, new_running_variance : ndarray or None
        Of batch normalisation, (n_out,), before and after the step.
    a : ndarray, shape (n, n_out)
        Its output: the activation of ``y``, or of ``z`` where nothing normalises.
    dz : ndarray, shape (n, n_out)
        The objective's derivative by ``z``.
    dw, db, dgamma, dbeta : ndarray or None
        The objective's gradient, shaped like the parameters.
    loss_dw : ndarray, shape (n_in, n_out), or None
        ``dw`` without the share of ``l1`` and ``l2``, where there are any.
    clipped_dw, clipped_db, clipped_dgamma, clipped_dbeta : ndarray or None
        What clipping left of the gradient, where it is clipped.
    state, new_state : dict of str to dict of str to ndarray
        The optimizer's vectors before and after the step: ``state["velocity"]["w"]``. The names are
        those of ``optimizer.vector_names``.
    new_w, new_b, new_gamma, new_beta : ndarray or None
        What it learned.
    """

    activation: str
    normalization: str | None
    x: NDArray[Any]
    mask: NDArray[Any] | None
    w: NDArray[Any]
    b: NDArray[Any]
    z: NDArray[Any]
    normalized: NDArray[Any] | None
    gamma: NDArray[Any] | None
    beta: NDArray[Any] | None
    y: NDArray[Any] | None
    running_mean: NDArray[np.float64] | None
    running_variance: NDArray[np.float64] | None
    new_running_mean: NDArray[np.float64] | None
    new_running_variance: NDArray[np.float64] | None
    a: NDArray[Any]
    dz: NDArray[Any]
    dw: NDArray[Any]
    db: NDArray[Any]
    dgamma: NDArray[Any] | None
    dbeta: NDArray[Any] | None
    loss_dw: NDArray[Any] | None
    clipped_dw: NDArray[Any] | None
    clipped_db: NDArray[Any] | None
    clipped_dgamma: NDArray[Any] | None
    clipped_dbeta: NDArray[Any] | None
    state: dict[str, dict[str, NDArray[Any]]]
    new_state: dict[str, dict[str, NDArray[Any]]]
    new_w: NDArray[Any]
    new_b: NDArray[Any]
    new_gamma: NDArray[Any] | None
    new_beta: NDArray[Any] | None

    def _forward_lines(self, number: int) -> list[str]:
        formula, given = "z = x·w + b", "z"
        if self.normalization is not None:
            formula += f", y = gamma·normalized + beta ({self.normalization} of z)"
            given = "y"
        names = (
            "mask", "x", "w", "b", "z", "running_mean", "running_variance", "normalized", "gamma",
            "beta", "y", "a", "new_running_mean", "new_running_variance",
        )  # fmt: skip
        return [
            f"layer {number}, forward: {formula}, a = {self.activation}({given})",
            *_rows({name: getattr(self, name) for name in names}),
        ]

    def _backward_lines(self, number: int) -> list[str]:
        found = {"dz": self.dz, "loss_dw": self.loss_dw}
        found |= {f"d{name}": getattr(self, f"d{name}") for name in _TENSORS}
        found |= {f"clipped_d{name}": getattr(self, f"clipped_d{name}") for name in _TENSORS}
        for vector, before in self.state.items():
            for name in before:
                found[f"{vector} of {name}"] = before[name]
                found[f"new {vector} of {name}"] = self.new_state[vector][name]
        found |= {f"new_{name}": getattr(self, f"new_{name}") for name in _TENSORS}
        head = f"layer {number}, backward: derivatives of the objective, and the update"
        return [head, *_rows(found)]


@dataclass(frozen=True, eq=False)
class Trace:
    """One forward, backward and update; printing it shows every number.

    Attributes
    ----------
    loss : float
        The objective before the update, penalties included.
    layers : tuple of LayerTrace
    data_loss : float
        The same without ``l1`` and ``l2``.
    inputs : ndarray, shape (n, n_in)
        As the network reads them: scaled, if it scales them, and before dropout.
    targets : ndarray, shape (n, n_targets)
        Likewise.
    optimizer : str
        The optimizer and its settings.
    learning_rate : float
    settings : dict of str to float or bool
        Those of ``l1``, ``l2``, ``penalties_over_rows``, ``clip_value``, ``clip_norm`` and
        ``max_norm`` that were given.
    seed : int
        What decided the dropout.

    Examples
    --------
    >>> import fastmlp as fm
    >>> mlp = fm.MLP.from_weights([[[2.0], [3.0]]], [[1.0]])
    >>> print(mlp.trace([[1.0, 1.0]], [[5.0]], optimizer=fm.SGD(lr=0.5)))
    layer 1, forward: z = x·w + b, a = identity(z)
      x   1.00000000   1.00000000
      w   2.00000000
          3.00000000
      b   1.00000000
      z   6.00000000
      a   6.00000000
    loss: 1
    layer 1, backward: derivatives of the objective, and the update
         dz   2.00000000
         dw   2.00000000
              2.00000000
         db   2.00000000
      new_w   1.00000000
              2.00000000
      new_b   0.00000000
    """

    loss: float
    layers: tuple[LayerTrace, ...]
    data_loss: float
    inputs: NDArray[Any]
    targets: NDArray[Any]
    optimizer: str
    learning_rate: float
    settings: dict[str, float]
    seed: int

    def __str__(self) -> str:
        lines = []
        if self.layers[0].mask is not None:
            lines += ["inputs, before dropout", *_rows({"inputs": self.inputs})]
        for number, layer in enumerate(self.layers, 1):
            lines += layer._forward_lines(number)
        shown = f"loss: {self.loss:.10g}"
        if self.loss != self.data_loss:
            shown += f", without penalties {self.data_loss:.10g}"
        if self.settings:
            given = (
                f"{key}={value if value is True else f'{value:g}'}"
                for key, value in self.settings.items()
            )
            shown += f" ({', '.join(given)})"
        lines.append(shown)
        for number, layer in reversed(list(enumerate(self.layers, 1))):
            lines += layer._backward_lines(number)
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return everything as JSON: arrays are lists of lists of numbers, None is null.

        Each number is written with as many digits as tell it from its neighbours, so that what a
        reader gets back is exact to the last bit. NaN and the infinities, of a network that has
        diverged, are written as Python's ``json`` reads them.

        Returns
        -------
        str

        Examples
        --------
        >>> import json, fastmlp as fm
        >>> trace = fm.MLP([2, 3, 1], seed=0).trace([[1.0, 2.0]], [[3.0]])
        >>> found = json.loads(trace.to_json())
        >>> found["layers"][1]["z"] == trace.layers[1].z.tolist()
        True
        """
        return json.dumps(_plain(self))


def trace(
    mlp: MLP,
    x: Any,
    y: Any,
    *,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer = "sgd",
    sample_weight: Any = None,
    **settings: Any,
) -> Trace:
    """Take one step on a copy of ``mlp`` and return every number of it; see `MLP.trace`.

    Parameters
    ----------
    mlp : MLP
        Left as it is.
    x : array_like, shape (n, n_in)
        One minibatch.
    y : array_like, shape (n,) or (n, n_out)
    loss : str or Loss, optional
        Default: the usual one for the network's output.
    optimizer : str or Optimizer, default "sgd"
    sample_weight : array_like, shape (n,), optional
    **settings
        Others of `Trainer`: ``l1``, ``l2``, ``penalties_over_rows``, ``clip_value``,
        ``clip_norm``, ``max_norm``, ``seed``.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError, TypeError
        As `Trainer`; or if the optimizer does not step by the gradient.

    Examples
    --------
    >>> import fastmlp as fm
    >>> from fastmlp.trace import trace
    >>> mlp = fm.MLP.from_weights([[[2.0], [3.0]]], [[1.0]])
    >>> found = trace(mlp, [[1.0, 1.0]], [[5.0]], optimizer=fm.SGD(lr=0.5), l2=0.5)
    >>> found.data_loss, found.loss
    (1.0, 4.25)
    """
    start = mlp.copy()
    trainer = Trainer(start.copy(), loss=loss, optimizer=optimizer, **settings)
    if not trainer.optimizer.elementwise:
        raise ValueError(
            f"optimizer: got {type(trainer.optimizer).__name__}, whose steps are not made from a "
            f"minibatch's gradient, expected one of the others"
        )
    value = _go_back(trainer, x, y, sample_weight)
    gradient, state = trainer.grads.copy(), trainer._state.copy()
    rate = trainer._rate()
    trainer.step()
    alone: Trainer | None = None
    data_loss = value
    if trainer.l1 or trainer.l2:
        alone = Trainer(start.copy(), loss=trainer.loss, seed=trainer.seed)
        data_loss = _go_back(alone, x, y, sample_weight)
    inputs = arrays.inputs(x, start.sizes[0], "x")
    targets = arrays.targets(y, trainer.loss, start.sizes[-1], len(inputs), "t")
    read = _gathered(start, inputs, "inputs")
    layers: list[LayerTrace] = []
    for i in range(len(start.weights)):
        before = layers[-1].a if layers else read
        mask = _mask(start, i, trainer.seed, before.shape)
        # A product would make a dropped negative -0.
        into = before if mask is None else np.where(mask == 0, 0, mask * before)

        def tensors(vector: NDArray[Any], layer: int = i) -> dict[str, NDArray[Any]]:
            return _tensors(start, layer, vector)

        names = trainer.optimizer.vector_names
        clips = trainer.clip_value is not None or trainer.clip_norm is not None
        found: dict[str, Any] = dict.fromkeys(field.name for field in fields(LayerTrace))
        found |= tensors(start.params)
        found |= _named("d{}", tensors(gradient))
        found |= _named("clipped_d{}", tensors(trainer.grads) if clips else {})
        found |= _named("new_{}", tensors(trainer.mlp.params))
        if alone is not None:
            found["loss_dw"] = tensors(alone.grads)["w"]
        found |= _scores(start, trainer, x, into, i)
        layers.append(
            LayerTrace(
                **found
                | {
                    "activation": start.activations[i],
                    "normalization": start._structure.normalization[i],
                    "x": into,
                    "mask": mask,
                    "a": trainer.read("a", i),
                    "dz": trainer.read("dz", i),
                    "state": dict(zip(names, map(tensors, state), strict=True)),
                    "new_state": dict(zip(names, map(tensors, trainer._state), strict=True)),
                }
            )
        )
    options = ("l1", "l2", "penalties_over_rows", "clip_value", "clip_norm", "max_norm")
    given = {name: getattr(trainer, name) for name in options if getattr(trainer, name)}
    return Trace(
        loss=value,
        layers=tuple(layers),
        data_loss=data_loss,
        inputs=read,
        targets=_gathered(start, targets, "targets"),
        optimizer=repr(trainer.optimizer),
        learning_rate=rate,
        settings=given,
        seed=trainer.seed,
    )


def _go_back(trainer: Trainer, x: Any, y: Any, sample_weight: Any) -> float:
    """Forward and backward; return the objective."""
    trainer.forward(x)
    value = trainer.compute_loss(y, sample_weight)
    trainer.backward()
    return value


def _gathered(mlp: MLP, rows: arrays.Rows, what: str) -> NDArray[Any]:
    """Return rows as the network reads them."""
    found = np.empty((len(rows), rows.n_cols), mlp.dtype)
    kernels.of(mlp.dtype).gather(mlp._source(rows, what), np.arange(len(rows)), found)
    return found


def _mask(mlp: MLP, layer: int, seed: int, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Return what dropout multiplies a layer's input by in the first update, if there is any."""
    structure = mlp._structure
    p = structure.dropout[layer - 1] if layer else structure.input_dropout
    if not p:
        return None
    mask = np.empty(shape, mlp.dtype)
    kernels.of(mlp.dtype).dropout_mask(seed, 0, layer, p, mask)
    return mask


def _scores(
    start: MLP, trainer: Trainer, x: Any, into: NDArray[Any], layer: int
) -> dict[str, NDArray[Any]]:
    """Return a layer's scores, and what its normalisation makes of them."""
    scores = trainer.read("z", layer)
    if start._structure.normalization[layer] is None:
        return {"z": scores}
    found = {"y": scores}
    # Normalisation overwrites its scores where they lie: another network of this layer alone keeps
    # them, and one that neither scales nor shifts what is normalised puts that out.
    alone = MLP(into.shape[1:] + scores.shape[1:], init="zeros", dtype=start.dtype)
    alone.weights[0][:], alone.biases[0][:] = start.weights[layer], start.biases[layer]
    found["z"] = alone.predict(into)
    bare = start.copy()
    bare.params[bare._structure.parts[layer].gamma] = 1
    bare.params[bare._structure.parts[layer].beta] = 0
    twin = Trainer(bare, loss=trainer.loss, seed=trainer.seed)
    twin.forward(x)
    found["normalized"] = twin.read("z", layer)
    for name in ("mean", "variance"):
        buffer = f"layers.{layer}.{name}"
        if buffer in start.buffers:
            found[f"running_{name}"] = start.buffers[buffer].copy()
            found[f"new_running_{name}"] = trainer.mlp.buffers[buffer].copy()
    return found


def _tensors(mlp: MLP, layer: int, vector: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return a layer's part of a vector that is laid out like ``params``, copied."""
    found = {}
    for name in _TENSORS:
        part = vector[getattr(mlp._structure.parts[layer], name)]
        if len(part):
            found[name] = part.reshape(mlp.weights[layer].shape if name == "w" else -1).copy()
    return found


def _named(form: str, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {form.format(name): values for name, values in tensors.items()}


def _rows(found: dict[str, NDArray[Any] | None]) -> list[str]:
    """Return the lines of some arrays, their names to the left."""
    width = max(len(name) for name, values in found.items() if values is not None)
    lines = []
    for name, values in found.items():
        if values is None:
            continue
        largest = np.abs(values).max(initial=0)
        form = " .8f" if largest == 0 or _SMALLEST_SHOWN <= largest < _LARGEST_SHOWN else " .8e"
        for i, row in enumerate(np.atleast_2d(values)):
            label = name if i == 0 else ""
            lines.append(f"  {label:>{width}}  " + "  ".join(f"{value:{form}}" for value in row))
    return lines


def _plain(thing: Any) -> Any:
    """Return a trace, or a part of one, as what JSON knows."""
    if isinstance(thing, Trace | LayerTrace):
        return {field.name: _plain(getattr(thing, field.name)) for field in fields(thing)}
    if isinstance(thing, dict):
        return {key: _plain(value) for key, value in thing.items()}
    if isinstance(thing, tuple):
        return [_plain(value) for value in thing]
    return thing.tolist() if isinstance(thing, np.ndarray) else thing
