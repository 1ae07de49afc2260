"""Activations by name: the table the network and the kernels share.

An activation's loops stand in ``kernels/activations.pxi``; here stand its names, its formula, its
constant if it has one, and the initial weights that suit it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .arguments import find, number, specification

__all__ = ["ACTIVATIONS", "Activation", "elu", "leaky_relu"]


@dataclass(frozen=True)
class Activation:
    """One activation ``a = f(z)``; its text is what files and networks call it.

    ``name`` is also its name in the kernels. ``initializer`` is the default for a layer that ends
    in it. ``constant_name`` and ``constant`` are those of the formula, if it has one.
    ``output_only`` marks one that couples the columns of a row.
    """

    name: str
    formula: str
    initializer: str
    constant_name: str = ""
    constant: float = 0.0
    output_only: bool = False

    def __str__(self) -> str:
        if self.constant == ACTIVATIONS[self.name].constant:
            return self.name
        return f"{self.name}({self.constant_name}={self.constant!r})"


_TABLE = (
    Activation("identity", "z", "glorot_uniform"),
    Activation("sigmoid", "1 / (1 + exp(-z))", "glorot_uniform"),
    Activation("tanh", "tanh(z)", "glorot_uniform"),
    Activation("relu", "max(z, 0)", "he_uniform"),
    Activation("leaky_relu", "z if z > 0 else slope z", "he_uniform", "slope", 0.01),
    Activation("elu", "z if z > 0 else alpha (exp(z) - 1)", "he_uniform", "alpha", 1.0),
    Activation("selu", "1.0507 z if z > 0 else 1.7581 (exp(z) - 1)", "lecun_normal"),
    Activation("gelu", "z (1 + erf(z / sqrt(2))) / 2", "he_uniform"),
    Activation("gelu_tanh", "z (1 + tanh(sqrt(2/pi) (z + 0.044715 z**3))) / 2", "he_uniform"),
    Activation("silu", "z / (1 + exp(-z))", "he_uniform"),
    Activation("mish", "z tanh(log(1 + exp(z)))", "he_uniform"),
    Activation("softplus", "log(1 + exp(z))", "he_uniform"),
    Activation("hard_sigmoid", "z / 6 + 1/2 within 0 and 1", "glorot_uniform"),
    Activation("exp", "exp(z)", "glorot_uniform"),
    Activation("softmax", "exp(z) / sum of the row's exp(z)", "glorot_uniform", output_only=True),
)

ACTIVATIONS = {row.name: row for row in _TABLE}
_ALIASES = {"logistic": "sigmoid", "linear": "identity", "swish": "silu"}
_BY_NAME = ACTIVATIONS | {alias: ACTIVATIONS[name] for alias, name in _ALIASES.items()}


def leaky_relu(slope: float = 0.01) -> Activation:
    """Return the leaky ReLU: ``z`` above zero, ``slope·z`` below. Maas, Hannun and Ng (2013).

    Parameters
    ----------
    slope : float, default 0.01
        At least 0.

    Raises
    ------
    ValueError
        If ``slope`` is negative.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.MLP([2, 8, 1], activation=fm.activations.leaky_relu(0.2)).activations
    ('leaky_relu(slope=0.2)', 'identity')
    """
    return replace(ACTIVATIONS["leaky_relu"], constant=number("slope", slope, 0))


def elu(alpha: float = 1.0) -> Activation:
    """Return the exponential linear unit: ``z`` above zero, ``alpha·(e^z - 1)`` below.

    Clevert, Unterthiner and Hochreiter (2016).

    Parameters
    ----------
    alpha : float, default 1
        Above 0.

    Raises
    ------
    ValueError
        If ``alpha`` is not above 0.

    Examples
    --------
    >>> import fastmlp as fm
    >>> str(fm.activations.elu(0.5))
    'elu(alpha=0.5)'
    """
    return replace(ACTIVATIONS["elu"], constant=number("alpha", alpha, 0, above=True))


# What makes an activation from its constant.
_WITH_CONSTANT = {"leaky_relu": leaky_relu, "elu": elu}


def get(activation: object, argument: str = "activation") -> Activation:
    """Return an activation from itself or its text; ``argument`` is named in the error."""
    if isinstance(activation, Activation):
        # Judged like any other: anybody can make one with a constant that cannot be.
        activation = str(activation)
    if not isinstance(activation, str) or "(" not in activation:
        return find(argument, activation, _BY_NAME)
    name, settings = specification(argument, activation)
    found = find(argument, name, _BY_NAME)
    if list(settings) != [found.constant_name]:
        constant = found.constant_name or "no constant"
        raise ValueError(f"{argument}: got {activation!r}, expected {found.name!r} with {constant}")
    return _WITH_CONSTANT[found.name](**settings)
