"""Optimizers: their settings, and which compiled loop carries them out.

An optimizer object holds settings only; its vectors belong to the trainer, so one object may serve
any number of trainers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .arguments import find, number

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "LevenbergMarquardt",
    "Nadam",
    "Optimizer",
    "RMSprop",
]

# Of a network that Levenberg-Marquardt can train: JᵀJ and its factor take 270 MB then.
MOST_PARAMS = 4096


@dataclass(frozen=True)
class Optimizer:
    """What all optimizers share: a learning rate, and decay of weights.

    Parameters
    ----------
    lr : float
        The learning rate, above 0.
    weight_decay : float, default 0
        Decoupled: before each step ``w -= lr·weight_decay·w``, for weights only, as in Loshchilov
        and Hutter's AdamW. Unlike ``l2`` of the trainer it is no part of the objective.
    """

    lr: float
    weight_decay: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check("lr", 0, above=True)
        self._check("weight_decay", 0)

    def _check(self, name: str, low: float, high: float = math.inf, *, above: bool = False) -> None:
        """Refuse a setting outside its range; keep it as a plain float."""
        value = number(name, getattr(self, name), low, high, above=above)
        object.__setattr__(self, name, value)

    @property
    def elementwise(self) -> bool:
        """Whether a step is made parameter by parameter, from a gradient of any rows."""
        return True

    @property
    def n_vectors(self) -> int:
        """State vectors, each as long as the parameters."""
        raise NotImplementedError

    @property
    def vector_names(self) -> tuple[str, ...]:
        """What each state vector holds, in their order, in the field's terms: ``n_vectors`` names.

        ``velocity`` is the running sum of gradients that momentum keeps; ``first_moment`` and
        ``second_moment`` the running means of ``g`` and ``g²``, not corrected for their beginning
        at zero (Adam, Nadam); ``mean_square`` and ``mean_gradient`` the same of RMSprop;
        ``sum_of_squares`` that of ``g²`` (Adagrad).
        """
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
    def vector_names(self) -> tuple[str, ...]:
        """One velocity with momentum, none without."""
        return ("velocity",) if self.momentum > 0 else ()

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
    >>> fm.Adam(lr=3e-4).lr
    0.0003
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
    def vector_names(self) -> tuple[str, ...]:
        """The running means of the gradient and of its square."""
        return ("first_moment", "second_moment")

    @property
    def kernel(self) -> str:
        """The name of the compiled loop."""
        return "adam_eps_before" if self.eps_before_correction else "adam"

    @property
    def settings(self) -> tuple[float, ...]:
        """The two rates of forgetting, and eps."""
        return (self.beta1, self.beta2, self.eps)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: Loshchilov and Hutter (2019).

    Parameters
    ----------
    lr, beta1, beta2, eps, eps_before_correction
        As for `Adam`.
    weight_decay : float, default 0.01

    Raises
    ------
    ValueError
        If a setting is outside its range.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.AdamW(lr=3e-4).weight_decay
    0.01
    """

    weight_decay: float = field(default=0.01, kw_only=True)


@dataclass(frozen=True)
class Nadam(Optimizer):
    """Adam with Nesterov's look ahead: Dozat (2016); as PyTorch's NAdam.

    With ``mu[t] = beta1·(1 - 0.96^(t·momentum_decay) / 2)`` and ``M[t]`` their product up to ``t``,
    ``p -= lr·((1 - mu[t]) / (1 - M[t])·g + mu[t+1] / (1 - M[t+1])·m) / (sqrt(v / (1 - beta2^t)) +
    eps)``.

    Parameters
    ----------
    lr : float, default 0.002
    beta1, beta2 : float, default 0.9 and 0.999
        From 0 up to (not including) 1.
    eps : float, default 1e-8
        Above 0.
    momentum_decay : float, default 0.004
        At least 0: how fast the momentum comes up to beta1.

    Raises
    ------
    ValueError
        If a setting is outside its range.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Nadam().n_vectors
    2
    """

    lr: float = 2e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    momentum_decay: float = 4e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("beta1", 0, 1)
        self._check("beta2", 0, 1)
        self._check("eps", 0, above=True)
        self._check("momentum_decay", 0)

    @property
    def n_vectors(self) -> int:
        """The two running means."""
        return 2

    @property
    def vector_names(self) -> tuple[str, ...]:
        """The running means of the gradient and of its square."""
        return ("first_moment", "second_moment")

    @property
    def kernel(self) -> str:
        """The name of the compiled loop."""
        return "nadam"

    @property
    def settings(self) -> tuple[float, ...]:
        """The two rates of forgetting, eps, and the momentum's decay."""
        return (self.beta1, self.beta2, self.eps, self.momentum_decay)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """Gradients divided by their running root mean square: Hinton (2012); as PyTorch.

    ``v`` is a running mean of ``g²``: ``p -= lr·g / (sqrt(v) + eps)``.

    Parameters
    ----------
    lr : float, default 0.01
    alpha : float, default 0.99
        From 0 up to (not including) 1: how much of the running mean a step keeps.
    eps : float, default 1e-8
        Above 0.
    momentum : float, default 0
        From 0 up to (not including) 1: ``b = momentum·b + g / (sqrt(v) + eps)``, ``p -= lr·b``.
    centered : bool, default False
        Subtract the square of a running mean of ``g`` from ``v``: Graves (2013).

    Raises
    ------
    ValueError
        If a setting is outside its range.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.RMSprop(momentum=0.9, centered=True).n_vectors
    3
    """

    lr: float = 0.01
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("alpha", 0, 1)
        self._check("eps", 0, above=True)
        self._check("momentum", 0, 1)

    @property
    def n_vectors(self) -> int:
        """The mean of squares, the mean if centered, the velocity with momentum."""
        return 1 + self.centered + (self.momentum > 0)

    @property
    def vector_names(self) -> tuple[str, ...]:
        """The mean of squares, the mean if centered, the velocity with momentum."""
        mean = ("mean_gradient",) if self.centered else ()
        return ("mean_square", *mean, *(("velocity",) if self.momentum > 0 else ()))

    @property
    def kernel(self) -> str:
        """The name of the compiled loop."""
        return "rmsprop" + "_centered" * self.centered + "_momentum" * (self.momentum > 0)

    @property
    def settings(self) -> tuple[float, ...]:
        """The rate of forgetting, eps, and the momentum."""
        return (self.alpha, self.eps, self.momentum)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Gradients divided by the root of all their squares: Duchi, Hazan and Singer (2011).

    As PyTorch: ``v`` is the sum of ``g²``,
    ``p -= lr / (1 + (t - 1)·rate_decay)·g / (sqrt(v) + eps)``.

    Parameters
    ----------
    lr : float, default 0.01
    rate_decay : float, default 0
        At least 0.
    eps : float, default 1e-10
        Above 0.

    Raises
    ------
    ValueError
        If a setting is outside its range.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Adagrad(lr=0.1).kernel
    'adagrad'
    """

    lr: float = 0.01
    rate_decay: float = 0.0
    eps: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("rate_decay", 0)
        self._check("eps", 0, above=True)

    @property
    def n_vectors(self) -> int:
        """The sum of squares."""
        return 1

    @property
    def vector_names(self) -> tuple[str, ...]:
        """The sum of squares."""
        return ("sum_of_squares",)

    @property
    def kernel(self) -> str:
        """The name of the compiled loop."""
        return "adagrad"

    @property
    def settings(self) -> tuple[float, ...]:
        """The rate's decay and eps."""
        return (self.rate_decay, self.eps)


@dataclass(frozen=True)
class LevenbergMarquardt(Optimizer):
    """Levenberg-Marquardt, for small regression networks: few steps, each of all rows.

    A step solves ``(JᵀJ + damping)·d = -Jᵀr``, r being the residuals and J their derivatives by the
    parameters; the damping falls after a step that helped and rises until one does (Levenberg,
    1944; Marquardt, 1963; the damping after Nielsen, 1999). Steps cost n_params³ and memory
    n_params², so networks have at most 4,096 parameters, and float64. For ``"mse"`` and
    ``"half_squared_error"``, also with ``l2``; an epoch is one step.

    Parameters
    ----------
    damping : float, default 1e-3
        Above 0: the first damping, as a share of the largest element of JᵀJ's diagonal.

    Raises
    ------
    ValueError
        If ``damping`` is not above 0.

    Examples
    --------
    >>> import numpy as np, fastmlp as fm
    >>> x = np.linspace(-3, 3, 50)[:, None]
    >>> mlp = fm.MLP([1, 8, 1], activation="tanh", seed=0, dtype="float64")
    >>> history = mlp.fit(x, np.sin(x), optimizer="levenberg_marquardt", epochs=500)
    >>> history["loss"][-1] < 1e-6
    True
    """

    lr: float = field(default=1.0, init=False, repr=False)
    weight_decay: float = field(default=0.0, init=False, repr=False)
    damping: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("damping", 0, above=True)

    @property
    def n_vectors(self) -> int:
        """None: its matrices are made anew in every step."""
        return 0

    @property
    def vector_names(self) -> tuple[str, ...]:
        """None: its matrices are made anew in every step."""
        return ()

    @property
    def kernel(self) -> str:
        """The name of the compiled loop."""
        return "levenberg_marquardt"

    @property
    def settings(self) -> tuple[float, ...]:
        """The first damping."""
        return (self.damping,)

    @property
    def elementwise(self) -> bool:
        """A step is not made parameter by parameter."""
        return False

    def check(
        self, n_params: int, dtype: str, loss: str, *, plain: bool, others: dict[str, object]
    ) -> None:
        """Refuse a network, a loss or penalties it cannot work with."""
        if n_params > MOST_PARAMS:
            raise ValueError(
                f"optimizer: Levenberg-Marquardt for {n_params:,} parameters, expected at most "
                f"{MOST_PARAMS:,}; use 'adam', or a smaller network"
            )
        if dtype != "float64":
            raise ValueError(
                "optimizer: Levenberg-Marquardt in float32, whose digits are too few for JᵀJ; make "
                "the network with dtype='float64'"
            )
        if loss not in ("mse", "half_squared_error"):
            raise ValueError(
                f"optimizer: Levenberg-Marquardt with loss {loss!r}, expected 'mse' or "
                f"'half_squared_error', which are sums of squares"
            )
        if not plain:
            raise ValueError(
                "optimizer: Levenberg-Marquardt for a network with normalization or dropout, "
                "expected plain layers"
            )
        for name, value in others.items():
            if value:
                raise ValueError(f"{name}: got {value!r}, expected none with Levenberg-Marquardt")


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "levenberg_marquardt": LevenbergMarquardt,
}


def get(optimizer: object) -> Optimizer:
    """Return an optimizer from its name or from itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    found = find("optimizer", optimizer, OPTIMIZERS)
    return found()  # type: ignore[call-arg]  # every optimizer of the table has a default rate
