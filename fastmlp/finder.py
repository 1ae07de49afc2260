"""A learning rate to begin with, found by raising it until training diverges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import schedules
from .arguments import number, whole_number
from .callbacks import Callback

if TYPE_CHECKING:
    from .training import Trainer

__all__ = ["LearningRates", "find_learning_rate"]

# A loss so many times the lowest so far ends the search.
HOPELESS = 4.0
# The running mean of the first few minibatches jumps about.
UNSETTLED = 10
# How much of the running mean of the losses a minibatch leaves.
SMOOTHING = 0.9


@dataclass(frozen=True, eq=False)
class LearningRates:
    """What `Trainer.find_learning_rate` saw; `fastmlp.plots.learning_rates` draws it.

    Attributes
    ----------
    rates : ndarray, shape (n,)
        The learning rates that were tried, growing.
    losses : ndarray, shape (n,)
        The running mean of the minibatches' objectives at each.
    suggestion : float
        A rate to begin with: where the loss fell fastest over the logarithm of the rate.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float


class _Watch(Callback):
    """Notes the objective of every minibatch, and stops when there is no hope."""

    def __init__(self) -> None:
        self.mean = 0.0
        self.losses: list[float] = []

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        self.mean = SMOOTHING * self.mean + (1 - SMOOTHING) * loss
        # The mean began at zero; Kingma and Ba's correction for that.
        self.losses.append(self.mean / (1 - SMOOTHING ** (len(self.losses) + 1)))
        lowest = min(self.losses)
        # Some losses go below zero, where a multiple says nothing.
        if self.losses[-1] > (HOPELESS * lowest if lowest > 0 else self.losses[0]):
            trainer.stop()


def find_learning_rate(
    trainer: Trainer, X: Any, y: Any, lowest: float, highest: float, steps: int, sample_weight: Any
) -> LearningRates:
    """Raise the rate on a copy; see `Trainer.find_learning_rate`."""
    if not trainer.optimizer.elementwise:
        raise ValueError(
            f"find_learning_rate: {type(trainer.optimizer).__name__} has no learning rate, "
            f"expected a trainer with an optimizer that has one"
        )
    lowest = number("lowest", lowest, 0, above=True)
    highest = number("highest", highest, lowest, above=True)
    steps = whole_number("steps", steps, 10)
    watch = _Watch()
    schedule = schedules.RangeTest(lowest, highest, steps=steps)
    twin = trainer._twin(schedule)
    data = twin._judged(X, y, sample_weight, None)
    per_epoch = math.ceil(len(data) / twin.batch_size)
    weights = None if data.weights is None else data.weights.array[:, 0]
    twin._quiet = True
    twin.fit(
        X, y, epochs=math.ceil(steps / per_epoch), sample_weight=weights, callbacks=[watch]
    )  # fmt: skip
    losses = np.array(watch.losses[:steps])
    losses = losses[np.isfinite(losses)]
    rates = schedule.rates(1.0, 0, steps, per_epoch, steps)[: len(losses)]
    if len(losses) < 3:
        raise ValueError(
            f"lowest: training diverges at a rate of {lowest:g} already; scale the data, or search "
            f"from a lower rate"
        )
    slopes = np.gradient(losses, np.log(rates))
    first = min(UNSETTLED, len(losses) // 3)
    last = max(first, int(np.argmin(losses)))
    steepest = first + int(np.argmin(slopes[first : last + 1]))
    return LearningRates(rates, losses, float(rates[steepest]))
