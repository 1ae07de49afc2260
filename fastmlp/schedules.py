"""Learning-rate schedules: which rate each update gets.

A schedule is a factor on the optimizer's learning rate: ``rate = lr · factor(step, epoch)``, where
``step`` counts the updates made before and ``epoch`` the whole epochs. So ``lr`` is the rate at the
top of every schedule that comes with the package, and ``lambda step, epoch: …`` is a schedule too.
(`RangeTest` alone gives rates that do not depend on ``lr``.)

The trainer asks for the rates of many updates at once and hands the table to compiled code. A
schedule object holds settings only and a rate depends on nothing but the update's place, so however
training is sliced, the rates are the same. What `OnPlateau` has measured is a vector of numbers
that belongs to the trainer, as an optimizer's vectors do.

A schedule that was given no time of its own lasts from the first update of all until the call of
``fit`` ends. So training that was interrupted half-way and is resumed for the other half goes on as
if nothing had happened. Who calls ``fit`` epoch by epoch gives the schedule ``epochs=…``, or each
call stretches it anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .arguments import find, number, whole_number

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "FromFunction",
    "InverseScaling",
    "MultiStep",
    "OnPlateau",
    "OneCycle",
    "Polynomial",
    "RangeTest",
    "Schedule",
    "Step",
    "Warmup",
]

Numbers: TypeAlias = NDArray[np.float64]
# A user's own schedule: step and epoch in, factor out.
Function: TypeAlias = Callable[[int, Any], float]

# Whole numbers above this are not all float64s.
MOST_STEPS = 2**53


@dataclass(frozen=True)
class _Span:
    """Updates in a row, and where in training they lie; the arguments of `Schedule.rates`."""

    first_step: int
    n_steps: int
    steps_per_epoch: int | None = None
    total_steps: int | None = None
    epoch_zero: int = 0

    @property
    def step(self) -> NDArray[np.int64]:
        """How many updates come before each of these."""
        return np.arange(self.first_step, self.first_step + self.n_steps, dtype=np.int64)

    def epoch(self, schedule: Schedule) -> NDArray[np.int64]:
        """How many whole epochs come before each of these updates."""
        n = self.epoch_steps(schedule)
        return np.maximum((self.step - self.epoch_zero) // n, 0)

    def epoch_steps(self, schedule: Schedule) -> int:
        """The updates of an epoch, for a schedule that cannot do without."""
        if self.steps_per_epoch is None:
            raise ValueError(
                f"schedule: {schedule!r} counts epochs, but there are none in a loop by hand; use "
                f"a schedule that counts steps, such as fastmlp.Cosine(steps=1000)"
            )
        return self.steps_per_epoch

    def after(self, n_steps: int) -> _Span:
        """Return these updates as a schedule sees them that begins with update ``n_steps``.

        Its epoch 0 is the epoch that update is in, so that its epochs are training's own.
        """
        zero = self.epoch_zero - n_steps
        if self.steps_per_epoch is not None:
            zero += max(-zero // self.steps_per_epoch, 0) * self.steps_per_epoch
        total = None if self.total_steps is None else self.total_steps - n_steps
        return replace(
            self, first_step=self.first_step - n_steps, total_steps=total, epoch_zero=zero
        )


@dataclass(frozen=True)
class Schedule:
    """What all schedules share: a table of rates, and what is measured after an epoch.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Step(factor=0.5, epochs=1).rates(0.4, first_step=0, n_steps=6, steps_per_epoch=2)
    array([0.4, 0.4, 0.2, 0.2, 0.1, 0.1])
    """

    def rates(
        self,
        lr: float,
        first_step: int,
        n_steps: int,
        steps_per_epoch: int | None = None,
        total_steps: int | None = None,
        *,
        epoch_zero: int = 0,
        state: Numbers | None = None,
    ) -> Numbers:
        """Return the rates of updates ``first_step`` to ``first_step + n_steps - 1``, from 0.

        Parameters
        ----------
        lr : float
            The optimizer's learning rate.
        first_step, n_steps : int
            Which updates.
        steps_per_epoch : int, optional
            Updates in an epoch. None where there are no epochs, in a loop by hand.
        total_steps : int, optional
            How many updates will have been made when the present call of ``fit`` ends, those of
            earlier calls included: the length of a schedule that was given none.
        epoch_zero : int, default 0
            The update that epoch 0 began with, or would have if all epochs were as long as these:
            ``n_steps - epoch * steps_per_epoch`` of a trainer at the beginning of an epoch. Not 0
            after an epoch that was cut short, or earlier ones of another length.
        state : ndarray, optional
            Of `OnPlateau`: what `new_state` made and `after_epoch` has changed. Default: new.

        Returns
        -------
        ndarray of float64, shape (n_steps,)

        Raises
        ------
        ValueError
            If the schedule counts epochs or needs a length, and neither it nor the caller has one;
            or if a user's own function returns anything but a finite number of at least 0.
        """
        span = _Span(first_step, n_steps, steps_per_epoch, total_steps, epoch_zero)
        return self._rates(lr, span, self.new_state() if state is None else state)

    def _rates(self, lr: float, span: _Span, state: Numbers) -> Numbers:
        return lr * self._factors(span)

    def _factors(self, span: _Span) -> Numbers:
        raise NotImplementedError

    @property
    def watches(self) -> str | None:
        """The name in ``history`` that `after_epoch` must be told after every epoch, if any."""
        return None

    def check_measured(self, names: Collection[str]) -> None:
        """Refuse to go without what this schedule watches."""
        if self.watches is not None and self.watches not in names:
            raise ValueError(
                f"schedule: it watches {self.watches!r}, which is not measured; give "
                f"validation_data and metrics to fit, or watch one of {', '.join(sorted(names))}"
            )

    def new_state(self) -> Numbers:
        """Return what `after_epoch` keeps between epochs, as it is before the first."""
        return np.empty(0)

    def after_epoch(self, state: Numbers, measured: Mapping[str, float]) -> None:
        """Take in the numbers of an epoch just finished: ``state`` is changed in place."""

    def _check(self, name: str, low: float, high: float = math.inf, *, above: bool = False) -> None:
        """Refuse a setting outside its range; keep it as a plain float."""
        value = number(name, getattr(self, name), low, high, above=above)
        object.__setattr__(self, name, value)

    def _check_choice(self, name: str, *known: str) -> None:
        value = getattr(self, name)
        if value not in known:
            expected = " or ".join(repr(choice) for choice in known)
            raise ValueError(f"{name}: got {value!r}, expected {expected}")


class _Timed(Schedule):
    """What schedules share that are given a time, in epochs or in steps."""

    epochs: int | None
    steps: int | None

    def _check_time(self) -> None:
        _one_of_two(self.epochs, self.steps)
        for name in ("epochs", "steps"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole_number(name, value, 1, MOST_STEPS))

    def _duration(self, span: _Span) -> int:
        """The time as a number of updates: what was given, else until the call of fit ends."""
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            return self.epochs * span.epoch_steps(self)
        if span.total_steps is None:
            raise ValueError(
                f"schedule: {self!r} does not know how long it is to last; give it steps=…, or "
                f"epochs=… for training with fit"
            )
        # None are left where a warm-up before it takes all of them.
        return max(span.total_steps, 1)

    def _counted(self, span: _Span) -> tuple[NDArray[np.int64], int]:
        """The steps, or the epochs, and how many of them the time is."""
        if self.steps is not None:
            return span.step, self.steps
        assert self.epochs is not None
        return span.epoch(self), self.epochs


def _one_of_two(epochs: object, steps: object) -> None:
    if epochs is not None and steps is not None:
        raise ValueError(f"steps: got {steps!r} and epochs={epochs!r}; give one of the two")


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate always: ``factor = 1``. What no schedule is.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Constant().rates(0.1, 0, 3)
    array([0.1, 0.1, 0.1])
    """

    def _factors(self, span: _Span) -> Numbers:
        return np.ones(span.n_steps)


@dataclass(frozen=True)
class Step(_Timed):
    """Lower the rate every so often: ``factor ** (epoch // epochs)``. As PyTorch's StepLR.

    Counts epochs, or with ``steps`` steps: ``factor ** (step // steps)``.

    Parameters
    ----------
    factor : float, default 0.1
        Above 0 and below 1.
    epochs : int, default 30 if ``steps`` is not given
        At least 1.
    steps : int, optional
        At least 1; in place of ``epochs``.

    Raises
    ------
    ValueError
        If a setting is outside its range, or both times are given.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Step(factor=0.5, steps=2).rates(1.0, 0, 5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    factor: float = 0.1
    epochs: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        self._check("factor", 0, 1, above=True)
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", 30)
        self._check_time()

    def _factors(self, span: _Span) -> Numbers:
        count, every = self._counted(span)
        return _lowered(self.factor, count // every)


@dataclass(frozen=True)
class MultiStep(Schedule):
    """Lower the rate at each of some moments. As PyTorch's MultiStepLR.

    The rate is ``lr · factor ** k`` once ``k`` of the moments have come. They count epochs, or with
    ``steps`` steps.

    Parameters
    ----------
    factor : float, default 0.1
        Above 0 and below 1.
    epochs : sequence of int, optional
        Whole epochs before each drop, in increasing order.
    steps : sequence of int, optional
        Updates before each drop; in place of ``epochs``.

    Raises
    ------
    ValueError
        If a setting is outside its range, or not exactly one of the two times is given.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.MultiStep(factor=0.5, steps=[1, 4]).rates(1.0, 0, 6)
    array([1.  , 0.5 , 0.5 , 0.5 , 0.25, 0.25])
    """

    factor: float = 0.1
    epochs: Sequence[int] | None = None
    steps: Sequence[int] | None = None

    def __post_init__(self) -> None:
        self._check("factor", 0, 1, above=True)
        _one_of_two(self.epochs, self.steps)
        name = "epochs" if self.steps is None else "steps"
        given = getattr(self, name)
        expected = "expected whole numbers of at least 1 in increasing order, such as [30, 60, 80]"
        try:
            moments = tuple(whole_number(name, moment, 1, MOST_STEPS) for moment in given)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: got {given!r}, {expected}") from None
        if not moments or sorted(set(moments)) != list(moments):
            raise ValueError(f"{name}: got {given!r}, {expected}")
        object.__setattr__(self, name, moments)

    def _factors(self, span: _Span) -> Numbers:
        if self.steps is not None:
            count, moments = span.step, self.steps
        else:
            assert self.epochs is not None
            count, moments = span.epoch(self), self.epochs
        return _lowered(self.factor, np.searchsorted(moments, count, side="right"))


@dataclass(frozen=True)
class Exponential(_Timed):
    """Lower the rate by the same factor again and again. As PyTorch's ExponentialLR.

    ``factor ** (epoch / epochs)``, which changes between epochs; or with ``steps``
    ``factor ** (step / steps)``, which changes with every update (Keras's ExponentialDecay).

    Parameters
    ----------
    factor : float, default 0.95
        Above 0 and below 1.
    epochs : int, default 1 if ``steps`` is not given
        In how many epochs the rate falls by ``factor``.
    steps : int, optional
        In how many updates; in place of ``epochs``.

    Raises
    ------
    ValueError
        If a setting is outside its range, or both times are given.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Exponential(factor=0.5).rates(0.4, 0, 6, steps_per_epoch=2)
    array([0.4, 0.4, 0.2, 0.2, 0.1, 0.1])
    """

    factor: float = 0.95
    epochs: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        self._check("factor", 0, 1, above=True)
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", 1)
        self._check_time()

    def _factors(self, span: _Span) -> Numbers:
        count, time = self._counted(span)
        return _lowered(self.factor, count, time)


@dataclass(frozen=True)
class Polynomial(_Timed):
    """Lower the rate to ``to_factor`` along a power; with power 1, along a straight line.

    ``to_factor + (1 - to_factor) · (1 - t)^power``, with ``t`` from 0 to 1 over the time given;
    from then on ``to_factor``. As PyTorch's PolynomialLR. Changes with every update.

    Parameters
    ----------
    epochs, steps : int, optional
        How long it lasts, in one of the two. Default: until the call of ``fit`` ends.
    power : float, default 1
        Above 0.
    to_factor : float, default 0
        From 0 up to (not including) 1: the last rate as a part of the first.

    Raises
    ------
    ValueError
        If a setting is outside its range, or both times are given.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Polynomial(steps=4).rates(1.0, 0, 6)
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """

    epochs: int | None = None
    steps: int | None = None
    power: float = 1.0
    to_factor: float = 0.0

    def __post_init__(self) -> None:
        self._check_time()
        self._check("power", 0, above=True)
        self._check("to_factor", 0, 1)

    def _factors(self, span: _Span) -> Numbers:
        left = 1 - np.minimum(span.step / self._duration(span), 1)
        return self.to_factor + (1 - self.to_factor) * left**self.power


@dataclass(frozen=True)
class Cosine(_Timed):
    """Lower the rate to ``to_factor`` along half a cosine, once or again and again.

    ``to_factor + (1 - to_factor) · (1 + cos(π t)) / 2``, with ``t`` from 0 to 1 over the time
    given; from then on ``to_factor``, or from the top again: Loshchilov and Hutter, "SGDR:
    stochastic gradient descent with warm restarts" (2017). As PyTorch's CosineAnnealingLR within
    its T_max, and CosineAnnealingWarmRestarts. Changes with every update.

    Parameters
    ----------
    epochs, steps : int, optional
        How long it lasts, in one of the two. Default: until the call of ``fit`` ends.
    to_factor : float, default 0
        From 0 up to (not including) 1: the last rate as a part of the first.
    restarts : bool, default False
        Begin again from the top whenever the time is over. Needs a time.
    growth : int, default 1
        At least 1: how many times as long each cycle is as the one before it. Needs ``restarts``.

    Raises
    ------
    ValueError
        If a setting is outside its range, both times are given, or one is missing that another
        needs.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Cosine(steps=2).rates(1.0, 0, 4)
    array([1. , 0.5, 0. , 0. ])
    >>> fm.Cosine(steps=2, restarts=True).rates(1.0, 0, 4)
    array([1. , 0.5, 1. , 0.5])
    """

    epochs: int | None = None
    steps: int | None = None
    to_factor: float = 0.0
    restarts: bool = False
    growth: int = 1

    def __post_init__(self) -> None:
        self._check_time()
        self._check("to_factor", 0, 1)
        object.__setattr__(self, "growth", whole_number("growth", self.growth, 1, MOST_STEPS))
        if self.restarts and self.epochs is None and self.steps is None:
            raise ValueError("restarts: got True without a time; give epochs=… or steps=…")
        if self.growth > 1 and not self.restarts:
            raise ValueError(
                f"growth: got {self.growth} with restarts=False; give restarts=True, or growth=1"
            )

    def _factors(self, span: _Span) -> Numbers:
        step, length = span.step, self._duration(span)
        if not self.restarts:
            t = np.minimum(step / length, 1)
        elif self.growth == 1:
            t = step % length / length
        else:
            begins, lengths, last = [0], [length], span.first_step + span.n_steps
            while begins[-1] + lengths[-1] < last:
                begins.append(begins[-1] + lengths[-1])
                lengths.append(lengths[-1] * self.growth)
            cycle = np.searchsorted(begins, step, side="right") - 1
            t = (step - np.array(begins)[cycle]) / np.array(lengths, np.float64)[cycle]
        return self.to_factor + (1 - self.to_factor) * (1 + np.cos(np.pi * t)) / 2


@dataclass(frozen=True)
class OneCycle(_Timed):
    """Raise the rate from a low one to ``lr``, then lower it to almost nothing.

    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning
    rates" (2018). As PyTorch's OneCycleLR, whose ``max_lr`` is our ``lr``: from ``lr / div_factor``
    up to ``lr``, and down to ``lr / div_factor / final_div_factor``; from then on that. The rate
    alone is scheduled, not the momentum. Changes with every update.

    Parameters
    ----------
    epochs, steps : int, optional
        How long it lasts, in one of the two. Default: until the call of ``fit`` ends.
    rise : float, default 0.3
        From 0 up to (not including) 1: the part of the time in which the rate rises. PyTorch's
        ``pct_start``.
    anneal : {"cosine", "linear"}
        Along which curve the rate goes.
    div_factor, final_div_factor : float, default 25 and 1e4
        At least 1.
    three_phase : bool, default False
        As in the paper: the rate falls to where it began as fast as it has risen, and only then to
        its end. ``rise`` is then at most 0.5.

    Raises
    ------
    ValueError
        If a setting is outside its range, or both times are given.

    Examples
    --------
    >>> import fastmlp as fm
    >>> cycle = fm.OneCycle(steps=6, rise=0.5, anneal="linear", div_factor=5, final_div_factor=1)
    >>> cycle.rates(1.0, 0, 6).round(3)
    array([0.2  , 0.6  , 1.   , 0.733, 0.467, 0.2  ])
    """

    epochs: int | None = None
    steps: int | None = None
    rise: float = 0.3
    anneal: str = "cosine"
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    def __post_init__(self) -> None:
        self._check_time()
        self._check("rise", 0, 1)
        self._check_choice("anneal", "cosine", "linear")
        self._check("div_factor", 1)
        self._check("final_div_factor", 1)
        if self.three_phase and self.rise > 0.5:
            raise ValueError(
                f"rise: got {self.rise:g} with three_phase=True, expected at most 0.5: the rate "
                f"falls as long as it rises"
            )

    def _factors(self, span: _Span) -> Numbers:
        length, low = self._duration(span), 1 / self.div_factor
        # Where the phases end, and the factors from the beginning of the first on.
        ends = [self.rise * length - 1, length - 1]
        levels = [low, 1, low / self.final_div_factor]
        if self.three_phase:
            ends.insert(1, 2 * self.rise * length - 2)
            levels.insert(2, low)
        step, factors, done, begin = span.step, np.empty(span.n_steps), 0, 0.0
        for end, first, last in zip(ends, levels[:-1], levels[1:], strict=True):
            # The updates up to `end` that are left, or for the last phase all that are left.
            n = span.n_steps if end == ends[-1] else math.floor(end) + 1 - span.first_step
            part = slice(done, max(done, min(n, span.n_steps)))
            # A phase that ends with the very first update has no length: it is at its end.
            t = (step[part] - begin) / (end - begin) if end != begin else np.ones(1)
            factors[part] = self._between(first, last, np.minimum(t, 1))
            done, begin = part.stop, end
        return factors

    def _between(self, first: float, last: float, t: Numbers) -> Numbers:
        if self.anneal == "linear":
            return first + (last - first) * t
        return last + (first - last) * (1 + np.cos(np.pi * t)) / 2


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """Lower the rate with a power of time: ``(1 + step) ** -power``.

    Counts steps, and changes with every update. With ``rows`` as scikit-learn's ``"invscaling"``,
    which counts the rows it has seen and looks at the count between epochs only:
    ``(1 + rows · epoch) ** -power``.

    Parameters
    ----------
    power : float, default 0.5
        Above 0.
    rows : int, optional
        How many rows an epoch has.

    Raises
    ------
    ValueError
        If a setting is outside its range.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.InverseScaling(power=1).rates(1.0, 0, 4)
    array([1.        , 0.5       , 0.33333333, 0.25      ])
    """

    power: float = 0.5
    rows: int | None = None

    def __post_init__(self) -> None:
        self._check("power", 0, above=True)
        if self.rows is not None:
            object.__setattr__(self, "rows", whole_number("rows", self.rows, 1, MOST_STEPS))

    def _factors(self, span: _Span) -> Numbers:
        time = span.step if self.rows is None else span.epoch(self) * float(self.rows)
        return np.asarray((1.0 + time) ** -self.power)


@dataclass(frozen=True)
class FromFunction(Schedule):
    """A user's own schedule: ``f(step, epoch)`` returns the factor. As PyTorch's LambdaLR.

    Wherever a schedule is wanted the function itself will do.

    Parameters
    ----------
    function : callable
        Of the number of updates and of whole epochs before this one; the epoch is None in a loop by
        hand, which has none. It returns a finite number of at least 0. It is called for many
        updates in advance and again after a resume, so it must depend on nothing else.

    Raises
    ------
    TypeError
        If ``function`` cannot be called.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Warmup(lambda step, epoch: 0.5**epoch, epochs=1, from_factor=0.2).rates(1.0, 0, 8, 2)
    array([0.2 , 0.6 , 1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25])
    """

    function: Function

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(
                f"function: got {self.function!r} of type {type(self.function).__name__}, "
                f"expected a function of (step, epoch)"
            )

    def _factors(self, span: _Span) -> Numbers:
        steps = span.step.tolist()
        known = span.steps_per_epoch is not None
        epochs = span.epoch(self).tolist() if known else [None] * len(steps)
        factors = np.empty(len(steps))
        for i, (step, epoch) in enumerate(zip(steps, epochs, strict=True)):
            factor = self.function(step, epoch)
            # What is plainly in order is not judged at length: there may be millions of them.
            if not (type(factor) is float and 0 <= factor < math.inf):
                factor = number(f"schedule({step}, {epoch})", factor, 0)
            factors[i] = factor
        return factors


@dataclass(frozen=True)
class OnPlateau(Schedule):
    """Lower the rate whenever a measured number has stopped improving.

    As PyTorch's ReduceLROnPlateau with ``eps=0``. Counts epochs, and looks at the number after each
    of them.

    Parameters
    ----------
    factor : float, default 0.1
        Above 0 and below 1: what the rate is multiplied by.
    patience : int, default 10
        How many epochs in a row may bring no improvement; the next one lowers the rate.
    threshold : float, default 1e-4
        At least 0: what counts as an improvement, see ``threshold_mode``.
    min_lr : float, default 0
        The rate, itself and not as a factor, that is the lowest to go to.
    cooldown : int, default 0
        For how many epochs after lowering the rate none is counted.
    metric : str, default "loss"
        A name in ``history``: ``"loss"``, ``"val_loss"``, ``"val_<metric>"``.
    mode : {"min", "max"}
        Whether lower or higher is better.
    threshold_mode : {"rel", "abs"}
        Better than the best so far by ``threshold · best`` (below 1 then), or by ``threshold``.

    Raises
    ------
    ValueError, TypeError
        If a setting is outside its range.

    Examples
    --------
    >>> import fastmlp as fm
    >>> schedule = fm.OnPlateau(factor=0.5, patience=1)
    >>> state = schedule.new_state()
    >>> for loss in (0.8, 0.6, 0.6, 0.6):
    ...     schedule.after_epoch(state, {"loss": loss})
    >>> schedule.rates(0.1, 8, 2, state=state)
    array([0.05, 0.05])
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    min_lr: float = 0.0
    cooldown: int = 0
    metric: str = "loss"
    mode: str = "min"
    threshold_mode: str = "rel"

    def __post_init__(self) -> None:
        self._check("factor", 0, 1, above=True)
        self._check_choice("mode", "min", "max")
        self._check_choice("threshold_mode", "rel", "abs")
        self._check("threshold", 0, 1 if self.threshold_mode == "rel" else math.inf)
        self._check("min_lr", 0)
        for name in ("patience", "cooldown"):
            value = whole_number(name, getattr(self, name), 0, MOST_STEPS)
            object.__setattr__(self, name, value)
        if not isinstance(self.metric, str):
            raise TypeError(
                f"metric: got {self.metric!r} of type {type(self.metric).__name__}, expected a "
                f"name in history, such as 'val_loss'"
            )

    @property
    def watches(self) -> str:
        """The metric."""
        return self.metric

    def new_state(self) -> Numbers:
        """Return the factor now, the best so far, epochs without improvement, and of cooldown."""
        return np.array([1.0, math.inf if self.mode == "min" else -math.inf, 0.0, 0.0])

    def after_epoch(self, state: Numbers, measured: Mapping[str, float]) -> None:
        """Take in the numbers of an epoch just finished: ``state`` is changed in place.

        Raises
        ------
        ValueError
            If the metric is not among them.
        """
        self.check_measured(measured)
        value = float(measured[self.metric])
        factor, best, stale, cooldown = state.tolist()
        if self._is_better(value, best):
            best, stale = value, 0
        else:
            stale += 1
        if cooldown > 0:
            cooldown, stale = cooldown - 1, 0
        if stale > self.patience:
            factor, stale, cooldown = factor * self.factor, 0, self.cooldown
        state[:] = factor, best, stale, cooldown

    def _is_better(self, value: float, best: float) -> bool:
        relative = self.threshold_mode == "rel"
        if self.mode == "min":
            return value < (best * (1 - self.threshold) if relative else best - self.threshold)
        return value > (best * (1 + self.threshold) if relative else best + self.threshold)

    def _rates(self, lr: float, span: _Span, state: Numbers) -> Numbers:
        # A rate that is below min_lr from the beginning stays where it is.
        return np.full(span.n_steps, max(lr * state[0], min(self.min_lr, lr)))


@dataclass(frozen=True)
class Warmup(_Timed):
    """Raise the rate along a straight line to where another schedule begins, then follow that.

    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour" (2017). As PyTorch's
    LinearLR followed by the schedule in a SequentialLR. The schedule begins where the warm-up ends:
    its step 0 is the next update, its epoch 0 the epoch which that is in, and the call of ``fit``
    is for it what the warm-up leaves. Changes with every update.

    Parameters
    ----------
    schedule : str, Schedule or callable, optional
        What comes after. Default: the rate stays.
    epochs, steps : int
        How long the warm-up lasts, in one of the two.
    from_factor : float, default 0.1
        From 0 up to (not including) 1: the first rate as a part of the schedule's first. With 0 the
        first update changes nothing.

    Raises
    ------
    ValueError, TypeError
        If a setting is outside its range, or not exactly one of the two times is given.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Warmup("cosine", steps=2, from_factor=0.5).rates(1.0, 0, 5, total_steps=4)
    array([0.5 , 0.75, 1.  , 0.5 , 0.  ])
    """

    schedule: str | Schedule | Function | None = None
    epochs: int | None = None
    steps: int | None = None
    from_factor: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedule", get(self.schedule))
        self._check_time()
        if self.epochs is None and self.steps is None:
            raise ValueError("epochs: got None and steps=None; say how long the warm-up lasts")
        self._check("from_factor", 0, 1)

    @property
    def _after(self) -> Schedule:
        return get(self.schedule)

    @property
    def watches(self) -> str | None:
        """What the schedule watches."""
        return self._after.watches

    def new_state(self) -> Numbers:
        """Return the schedule's state."""
        return self._after.new_state()

    def after_epoch(self, state: Numbers, measured: Mapping[str, float]) -> None:
        """Tell the schedule; it is told of the epochs of the warm-up too."""
        self._after.after_epoch(state, measured)

    def _rates(self, lr: float, span: _Span, state: Numbers) -> Numbers:
        length = self._duration(span)
        n_warm = min(max(length - span.first_step, 0), span.n_steps)
        after = span.after(length)
        rates = np.empty(span.n_steps)
        if n_warm > 0:
            begin = self._after._rates(lr, replace(after, first_step=0, n_steps=1), state)
            t = span.step[:n_warm] / length
            rates[:n_warm] = begin * (self.from_factor + (1 - self.from_factor) * t)
        if n_warm < span.n_steps:
            rest = replace(
                after, first_step=after.first_step + n_warm, n_steps=span.n_steps - n_warm
            )
            rates[n_warm:] = self._after._rates(lr, rest, state)
        return rates


@dataclass(frozen=True)
class RangeTest(_Timed):
    """Raise the rate from ``lr_min`` to ``lr_max``, by the same factor with every update.

    For finding a learning rate: Smith, "Cyclical learning rates for training neural networks"
    (2017). ``lr_min · (lr_max / lr_min)^t``, with ``t`` from 0 at the first update to 1 at the last
    of the time given; from then on ``lr_max``. The optimizer's own rate does not matter.

    Parameters
    ----------
    lr_min, lr_max : float, default 1e-7 and 10
        Above 0, the second above the first.
    epochs, steps : int, optional
        How long it lasts, in one of the two. Default: until the call of ``fit`` ends.

    Raises
    ------
    ValueError
        If a setting is outside its range, or both times are given.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.schedules.RangeTest(0.001, 1, steps=4).rates(0.1, 0, 4)
    array([0.001, 0.01 , 0.1  , 1.   ])
    """

    lr_min: float = 1e-7
    lr_max: float = 10.0
    epochs: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        self._check("lr_min", 0, above=True)
        self._check("lr_max", self.lr_min, above=True)
        self._check_time()

    def _rates(self, lr: float, span: _Span, state: Numbers) -> Numbers:
        t: Numbers = np.minimum(span.step / max(self._duration(span) - 1, 1), 1)
        return self.lr_min * (self.lr_max / self.lr_min) ** t


def _lowered(factor: float, count: NDArray[np.int64], time: int = 1) -> Numbers:
    """Return ``factor ** (count / time)``; counts never fall, and each power is taken once."""
    if len(count) == 0:
        return np.empty(0)
    powers = factor ** (np.arange(count[0], count[-1] + 1) / time)
    found: Numbers = powers[count - count[0]]
    return found


# Those that say enough without settings.
SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "exponential": Exponential,
    "inverse_scaling": InverseScaling,
    "on_plateau": OnPlateau,
    "one_cycle": OneCycle,
    "polynomial": Polynomial,
    "linear": Polynomial,
    "step": Step,
}


def get(schedule: object) -> Schedule:
    """Return a schedule from its name, from itself, from a function, or for None the constant."""
    if schedule is None:
        return Constant()
    if isinstance(schedule, Schedule):
        return schedule
    # A class can be called too, but whoever gives one means an object of it.
    if callable(schedule) and not isinstance(schedule, type):
        return FromFunction(schedule)
    return find("schedule", schedule, SCHEDULES)()
