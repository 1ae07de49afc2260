"""Optimizers: their settings, and which compiled loop carries them out.

An optimizer object holds settings only; its vectors belong to the trainer, so one object may serve
any number of trainers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .arguments import find, number

__all__ = ["SGD", "Adam", "Optimizer"]


@dataclass(frozen=True)
class Optimizer:
    """What all optimizers share: a learning rate.

    Parameters
    ----------
    lr : float
        The learning rate, above 0.
    """

    lr: float

    def __post_init__(self) -> None:
        self._check("lr", 0, above=True)

    def _check(self, name: str, low: float, high: float = math.inf, *, above: bool = False) -> None:
        """Refuse a setting outside its range; keep it as a plain float."""
        value = number(name, getattr(self, name), low, high, above=above)
        object.__setattr__(self, name, value)

    @property
    def n_vectors(self) -> int:
        """State vectors, each as long as the parameters."""
        raise NotImplementedError

    @property
    def kernel(self) -> str:
        """The name of the compiled loop."""
        raise NotImplementedError

    @property
    def settings(self) -> tuple[float, ...]:
        """What the compiled loop is given besides the rate."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: ``p -= lr·g``, with momentum if wanted.

    Parameters
    ----------
    lr : float, default 0.01
    momentum : float, default 0
        From 0 up to (not including) 1: how much of the velocity a step keeps.
    nesterov : bool, default False
        Look ahead by one velocity (Sutskever et al., 2013). Needs momentum.
    rate_inside_velocity : bool, default False
        False, as PyTorch: ``v = m·v + g; p -= lr·v`` (Nesterov: ``p -= lr·(g + m·v)``). True, as
        scikit-learn and Keras: ``v = m·v - lr·g; p += v`` (Nesterov: ``p += m·v - lr·g``). The two
        agree until the rate changes.

    Raises
    ------
    ValueError
        If a setting is outside its range, or ``nesterov`` is wanted without momentum.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.SGD(lr=0.1, momentum=0.9, nesterov=True).n_vectors
    1
    """

    lr: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    rate_inside_velocity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("momentum", 0, 1)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: got True with momentum=0; give a momentum, such as 0.9")

    @property
    def n_vectors(self) -> int:
        """One velocity with momentum, none without."""
        return 1 if self.momentum > 0 else 0

    @property
    def kernel(self) -> str:
        """The name of the compiled loop."""
        if self.momentum == 0:
            return "sgd"
        form = "nesterov" if self.nesterov else "momentum"
        return f"sgd_{form}_inside" if self.rate_inside_velocity else f"sgd_{form}"

    @property
    def settings(self) -> tuple[float, ...]:
        """Just the momentum."""
        return (self.momentum,)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: Kingma and Ba, "Adam: a method for stochastic optimization" (2015).

    ``m`` and ``v`` are running means of ``g`` and ``g²``; a step is
    ``p -= lr / (1 - beta1^t) · m / (sqrt(v / (1 - beta2^t)) + eps)``.

    Parameters
    ----------
    lr : float, default 0.001
    beta1, beta2 : float, default 0.9 and 0.999
        From 0 up to (not including) 1: how much of the running means a step keeps.
    eps : float, default 1e-8
        Above 0; keeps the division finite.
    eps_before_correction : bool, default False
        False: eps is added after the bias correction, as in the paper's algorithm 1 and PyTorch.
        True: before it, as in the faster order of the paper's section 2, TensorFlow and
        scikit-learn: ``p -= lr·sqrt(1 - beta2^t) / (1 - beta1^t) · m / (sqrt(v) + eps)``.

    Raises
    ------
    ValueError
        If a setting is outside its range.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Adam(lr=3e-4)
    Adam(lr=0.0003, beta1=0.9, beta2=0.999, eps=1e-08, eps_before_correction=False)
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_before_correction: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("beta1", 0, 1)
        self._check("beta2", 0, 1)
        self._check("eps", 0, above=True)

    @property
    def n_vectors(self) -> int:
        """The two running means."""
        return 2

    @property
    def kernel(self) -> str:
        """The name of the compiled loop."""
        return "adam_eps_before" if self.eps_before_correction else "adam"

    @property
    def settings(self) -> tuple[float, ...]:
        """The two rates of forgetting, and eps."""
        return (self.beta1, self.beta2, self.eps)


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}


def get(optimizer: object) -> Optimizer:
    """Return an optimizer from its name or from itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    return find("optimizer", optimizer, OPTIMIZERS)()
