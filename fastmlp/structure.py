"""What a network is made of, its parameters aside: sizes, activations, what stands between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import activations, kernels
from .arguments import find, number, sequence, specification

__all__ = ["Structure"]

# What a normalisation is given where nothing is said, as PyTorch: eps is added to the variance,
# momentum is how much of a running mean a minibatch replaces.
_NORMALIZATIONS = {
    "batch": {"momentum": 0.1, "eps": 1e-5},
    "layer": {"eps": 1e-5},
}


class LayerParts(NamedTuple):
    """Where a layer's numbers lie: slices of ``params`` and of the running means' vector."""

    w: slice
    b: slice
    gamma: slice
    beta: slice
    mean: slice
    variance: slice


@dataclass(frozen=True)
class Structure:
    """The sizes of a network and what each layer does; see `MLP` for the parameters.

    ``activations`` and ``normalization`` have an entry for every layer (the output's
    normalisation is None), ``dropout`` one for every hidden layer.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    normalization: tuple[str | None, ...]
    dropout: tuple[float, ...]
    input_dropout: float
    dtype: np.dtype[Any]

    @classmethod
    def checked(
        cls,
        sizes: Sequence[int],
        activation: Any,
        output: Any,
        normalization: Any,
        dropout: Any,
        input_dropout: Any,
        dtype: DTypeLike,
    ) -> Structure:
        """Judge the arguments of `MLP`; raise `ValueError` or `TypeError` where one is wrong."""
        found = _checked_sizes(sizes)
        n_hidden = len(found) - 2
        names = _checked_activations(activation, output, n_hidden)
        if names[-1] == "softmax" and found[-1] == 1:
            raise ValueError(
                "output: got 'softmax' for one output, where it is always 1, expected two outputs; "
                "or use output='sigmoid'"
            )
        kinds = _each_hidden("normalization", normalization, n_hidden, (str, type(None)))
        rates = _each_hidden("dropout", dropout, n_hidden, (int, float, np.number))
        return cls(
            found,
            names,
            (*(_checked_normalization(kind) for kind in kinds), None),
            tuple(number("dropout", rate, 0, 1) for rate in rates),
            number("input_dropout", input_dropout, 0, 1),
            _checked_dtype(dtype),
        )

    def judged_again(self) -> Structure:
        """Return the structure as `checked` would make it; raise as it does."""
        return self.checked(
            self.sizes,
            self.activations[:-1],
            self.activations[-1],
            self.normalization[:-1],
            self.dropout,
            self.input_dropout,
            self.dtype,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the tables: their codes are those of this release.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @property
    def output(self) -> str:
        """The activation of the last layer."""
        return self.activations[-1]

    @property
    def scaled(self) -> dict[str, int]:
        """What may be scaled, and how many columns each has."""
        return {"inputs": self.sizes[0], "targets": self.sizes[-1]}

    @cached_property
    def parts(self) -> tuple[LayerParts, ...]:
        """Where each layer's numbers lie: ``w``, ``b``, then what its normalisation learns."""
        parts, at, kept = [], 0, 0
        for (n_in, n_out), kind in zip(pairwise(self.sizes), self.normalization, strict=True):
            n_scales = n_out * (kind is not None)
            n_kept = n_out * _is_batch(kind)
            b = at + n_in * n_out
            gamma = b + n_out
            beta = gamma + n_scales
            parts.append(
                LayerParts(
                    w=slice(at, b),
                    b=slice(b, gamma),
                    gamma=slice(gamma, beta),
                    beta=slice(beta, beta + n_scales),
                    mean=slice(kept, kept + n_kept),
                    variance=slice(kept + n_kept, kept + 2 * n_kept),
                )
            )
            at, kept = beta + n_scales, kept + 2 * n_kept
        return tuple(parts)

    @property
    def n_params(self) -> int:
        """How many numbers are learned by gradients."""
        return int(self.parts[-1].beta.stop)

    @property
    def n_running(self) -> int:
        """How many running means and variances there are."""
        return int(self.parts[-1].variance.stop)

    @cached_property
    def tables(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """What the kernels' ``Plan`` is made from: see ``kernels/__init__.pyi``."""
        build = kernels.of(self.dtype)
        layers = np.empty((len(self.sizes) - 1, 8), np.int64)
        constants = np.zeros((len(self.sizes) - 1, 4))
        for i, ((n_in, n_out), parts) in enumerate(
            zip(pairwise(self.sizes), self.parts, strict=True)
        ):
            activation = activations.get(self.activations[i])
            kind, settings = _normalization_of(self.normalization[i])
            layers[i] = (
                n_in, n_out, parts.w.start, parts.b.start, build.ACTIVATIONS[activation.name],
                build.NORMALIZATIONS[kind], parts.gamma.start, parts.mean.start,
            )  # fmt: skip
            constants[i] = (
                activation.constant,
                self.dropout[i] if i < len(self.dropout) else 0,
                settings.get("eps", 0),
                settings.get("momentum", 0),
            )
        return layers, constants

    def without_batch_normalization(self) -> Structure:
        """Return the structure in which every batch normalisation is folded into its layer."""
        kinds = tuple(None if _is_batch(kind) else kind for kind in self.normalization)
        return replace(self, normalization=kinds)

    def eps_of(self, layer: int) -> float:
        """Return what a layer's normalisation adds to the variance."""
        return _normalization_of(self.normalization[layer])[1]["eps"]

    def is_batch(self, layer: int) -> bool:
        """Whether a layer normalises over the minibatch."""
        return _is_batch(self.normalization[layer])


def _is_batch(kind: str | None) -> bool:
    return kind is not None and kind.startswith("batch")


def _normalization_of(kind: str | None) -> tuple[str | None, dict[str, float]]:
    """Return the name and the settings, defaults filled in."""
    if kind is None:
        return None, {}
    name, given = specification("normalization", kind)
    return name, find("normalization", name, _NORMALIZATIONS) | given


def _checked_normalization(kind: str | None) -> str | None:
    if kind is None:
        return None
    name, settings = _normalization_of(kind)
    known = _NORMALIZATIONS[str(name)]
    for key, value in settings.items():
        if key not in known:
            raise ValueError(
                f"normalization: {name!r} has no {key!r}, expected one of {', '.join(known)}"
            )
        number(f"normalization {key}", value, 0, 1 if key == "momentum" else np.inf, above=True)
    changed = {key: value for key, value in settings.items() if value != known[key]}
    text = ", ".join(f"{key}={value!r}" for key, value in changed.items())
    return f"{name}({text})" if changed else name


def _each_hidden(argument: str, value: Any, n_hidden: int, single: tuple[type, ...]) -> list[Any]:
    """Return one value for each hidden layer: one for all, or a sequence of them."""
    if isinstance(value, single):
        return [value] * n_hidden
    values = sequence(argument, value, "values")
    if len(values) != n_hidden:
        raise ValueError(
            f"{argument}: got {len(values)} values, expected one, or one for each of the "
            f"{n_hidden} hidden layers"
        )
    return values


def _checked_sizes(sizes: Any) -> tuple[int, ...]:
    try:
        found = tuple(sizes)
    except TypeError:
        raise TypeError(
            f"sizes: got {sizes!r}, expected a sequence of whole numbers such as [784, 128, 10]"
        ) from None
    if len(found) < 2:
        raise ValueError(
            f"sizes: got {len(found)} numbers, expected at least two: the inputs and the outputs"
        )
    for size in found:
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"sizes: got {size!r}, expected whole numbers of at least 1")
    return tuple(int(size) for size in found)


def _checked_activations(activation: Any, output: Any, n_hidden: int) -> tuple[str, ...]:
    if isinstance(activation, str | activations.Activation):
        activations.get(activation)
        names = [activation] * n_hidden
    else:
        names = sequence("activation", activation, "names")
    if len(names) != n_hidden:
        raise ValueError(
            f"activation: got {len(names)} names, expected one, or one for each of the "
            f"{n_hidden} hidden layers"
        )
    found = [activations.get(name) for name in names]
    for hidden in found:
        if hidden.output_only:
            raise ValueError(
                f"activation: {hidden.name!r} is for the output; give it as output={hidden.name!r} "
                f"and choose another for the hidden layers"
            )
    return (*(str(hidden) for hidden in found), str(activations.get(output, "output")))


def _checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.float32, np.float64):
        raise ValueError(f"dtype: got {dtype!r}, expected 'float32' or 'float64'")
    return found
