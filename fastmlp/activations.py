"""Activations by name: the table the network and the kernels share.

An activation's loops stand in ``kernels/activations.pxi``; here stand its names, its formula and
the initial weights that suit it.
"""

from __future__ import annotations

from typing import NamedTuple

from .arguments import find

__all__ = ["ACTIVATIONS", "Activation"]


class Activation(NamedTuple):
    """One activation ``a = f(z)``.

    ``name`` is also its name in the kernels. ``initializer`` is the default for a layer that ends
    in it. ``output_only`` marks one that couples the columns of a row.
    """

    name: str
    formula: str
    initializer: str
    output_only: bool = False


_TABLE = (
    Activation("identity", "z",                 "glorot_uniform"),
    Activation("sigmoid",  "1 / (1 + exp(-z))", "glorot_uniform"),
    Activation("tanh",     "tanh(z)",           "glorot_uniform"),
    Activation("relu",     "max(z, 0)",         "he_uniform"),
    Activation("softmax",  "exp(z) / sum of the row's exp(z)", "glorot_uniform", output_only=True),
)  # fmt: skip

ACTIVATIONS = {row.name: row for row in _TABLE}
_ALIASES = {"logistic": "sigmoid", "linear": "identity"}
_BY_NAME = ACTIVATIONS | {alias: ACTIVATIONS[name] for alias, name in _ALIASES.items()}


def get(name: object, argument: str = "activation") -> Activation:
    """Return the activation called ``name``; ``argument`` is named in the error."""
    return find(argument, name, _BY_NAME)
