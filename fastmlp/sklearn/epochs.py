"""What scikit-learn does after every epoch: curves, scores, learning rates, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..callbacks import Callback
from ..fitting import Data
from ..network import MLP
from ..schedules import Schedule
from . import labels

if TYPE_CHECKING:
    from ..losses import Loss
    from ..training import Trainer

# Of the policy "adaptive": what a rate that has stopped helping is divided by, and the rate below
# which training ends instead.
ADAPTIVE_DIVISOR = 5.0
LOWEST_RATE = 1e-6


@dataclass(frozen=True)
class RateOfEpoch(Schedule):
    """A rate that a listener sets between epochs, in the trainer's vector for its schedule."""

    first: float

    @property
    def watches(self) -> str:
        """The loss: so that a table of rates never goes beyond an epoch."""
        return "loss"

    def new_state(self) -> NDArray[np.float64]:
        """Return the rate of the first epoch."""
        return np.array([self.first])

    def rates(
        self,
        lr: float,
        first_step: int,
        n_steps: int,
        steps_per_epoch: int | None = None,
        total_steps: int | None = None,
        *,
        epoch_zero: int = 0,
        state: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Return the rate of the epoch that is under way."""
        return np.full(n_steps, self.first if state is None else state[0])


class Order:
    """Orders of rows as scikit-learn draws them: each a shuffle of the one before.

    ``last`` is the order of the last epoch of an earlier call that is gone on from.
    """

    def __init__(self, rng: Any, last: NDArray[np.int64] | None = None) -> None:
        self.rng, self.last = rng, last
        self._first = True

    def __call__(self, order: NDArray[np.int64]) -> None:
        """Make the order of the next epoch of that of the last."""
        if self._first and self.last is not None and len(self.last) == len(order):
            order[:] = self.last
        self._first = False
        chosen = np.arange(len(order))
        self.rng.shuffle(chosen)
        order[:] = order[chosen]
        self.last = order


class Best:
    """The network as it was when it scored best."""

    def __init__(self, mlp: MLP) -> None:
        self.mlp = mlp
        self.params, self.running = mlp.params.copy(), mlp._running.copy()

    def keep(self) -> None:
        """Take the network as it is now for the best."""
        self.params[:], self.running[:] = self.mlp.params, self.mlp._running

    def restore(self) -> None:
        """Bring the network back to it."""
        with self.mlp._lock:
            self.mlp.params[:], self.mlp._running[:] = self.params, self.running


class Validation:
    """Rows held out, on which the loss and a score are measured after every epoch.

    One of two gives the score: ``score``, a metric of targets, outputs and weights, on the outputs
    of the same forward pass as the loss; or ``scorer``, called without arguments.
    """

    def __init__(
        self,
        data: Data,
        loss: Loss,
        name: str,
        score: Callable[..., float] | None,
        scorer: Callable[[], float] | None,
    ) -> None:
        self.data, self.loss, self.name = data, loss, name
        self.score, self.scorer = score, scorer

    def measured(self, mlp: MLP, n_threads: int | None) -> dict[str, float]:
        """Return ``val_loss`` and ``val_<name>`` of the network as it is."""
        data, name = self.data, self.name
        wanted: Any = {} if self.score is None else {name: self.score}
        found = mlp._evaluate(data.rows, data.targets, data.weights, self.loss, wanted, n_threads)
        if self.scorer is not None:
            found[name] = self.scorer()
        return {"val_loss": found["loss"], f"val_{name}": found[name]}


def r2(truth: NDArray[Any], outputs: NDArray[Any], weights: NDArray[Any] | None) -> float:
    """Return R², or NaN where an output is not finite, as scikit-learn's regressor scores."""
    if not np.isfinite(outputs).all():
        return math.nan
    return metrics.r2(truth, outputs, weights)


def accuracy_of(binarizer: labels.Binarizer) -> Callable[..., float]:
    """Return the metric that counts the rows of which every label is right."""

    def accuracy(truth: NDArray[Any], outputs: NDArray[Any], weights: NDArray[Any] | None) -> float:
        hits: Any
        if isinstance(binarizer, list):
            right = labels.numbers_of_groups(binarizer, truth)
            hits = (labels.numbers_of_groups(binarizer, outputs) == right).all(axis=1)
        elif labels.kind(binarizer).startswith("multilabel"):
            hits = ((outputs > 0.5) == truth).all(axis=1)
        elif outputs.shape[1] == 1:
            hits = (outputs[:, 0] > 0.5) == truth[:, 0]
        else:
            right = truth if truth.ndim == 1 else truth.argmax(axis=1)
            hits = outputs.argmax(axis=1) == right
        return float(hits.mean() if weights is None else np.average(hits, weights=weights))

    return accuracy


class Epochs(Callback):
    """Keeps an estimator's curves and counts after every epoch, and ends a training as they say."""

    def __init__(
        self,
        estimator: Any,
        n_rows: int,
        validation: Validation | None,
        best: Best | None,
    ) -> None:
        self.estimator, self.n_rows, self.best = estimator, n_rows, best
        self.name = None if validation is None else f"val_{validation.name}"
        self.patience = estimator.n_iter_no_change
        self.adaptive = self.inverse = False
        self.stopped_by = ""

    def on_fit_begin(self, trainer: Trainer) -> None:
        """See which policy moves the learning rate."""
        if isinstance(trainer.schedule, RateOfEpoch):
            self.adaptive = self.estimator.learning_rate == "adaptive"
            self.inverse = not self.adaptive

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Count the epoch; stop if it was one too many without improvement."""
        own = self.estimator
        history = trainer.history
        loss = history["loss"][-1]
        own.n_iter_ += 1
        own.loss_ = loss
        own.t_ += self.n_rows
        own.loss_curve_.append(loss)
        if own.verbose:
            print(f"Iteration {own.n_iter_}, loss = {loss:.8f}")
        if self.name is not None:
            own.validation_loss_curve_.append(history["val_loss"][-1])
        if self.best is not None:
            self._see_score(history[str(self.name)][-1])
        else:
            above = loss > own.best_loss_ - own.tol
            own._no_improvement_count = own._no_improvement_count + 1 if above else 0
            if loss < own.best_loss_:
                own.best_loss_ = loss
        if self.inverse:
            trainer._schedule_state[0] = own.learning_rate_init / (own.t_ + 1) ** own.power_t
        if own._no_improvement_count > self.patience:
            self._give_up(trainer)

    def _see_score(self, score: float) -> None:
        own = self.estimator
        own.validation_scores_.append(score)
        if own.verbose:
            print(f"Validation score: {score:f}")
        # A score that is no number is not below the best: scikit-learn goes on, and so do we.
        below = score < own.best_validation_score_ + own.tol
        own._no_improvement_count = own._no_improvement_count + 1 if below else 0
        if score > own.best_validation_score_:
            own.best_validation_score_ = score
            assert self.best is not None
            self.best.keep()

    def _give_up(self, trainer: Trainer) -> None:
        """Lower the rate, or stop."""
        own = self.estimator
        what = "Training loss" if self.best is None else "Validation score"
        message = (
            f"{what} did not improve more than tol={own.tol:f} for {self.patience} consecutive "
            f"epochs."
        )
        rate = float(trainer._schedule_state[0]) if self.adaptive else 0.0
        if rate > LOWEST_RATE:
            rate /= ADAPTIVE_DIVISOR
            trainer._schedule_state[0] = rate
            own._no_improvement_count = 0
            message += f" Setting learning rate to {rate:f}"
        else:
            self.stopped_by = "converged" if self.best is None else "early_stopping"
            message += f"{' Learning rate too small.' if self.adaptive else ''} Stopping."
            trainer.stop()
        if own.verbose:
            print(message)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Say what has ended the training."""
        if trainer.history.stop_reason == "early_stopping" and self.stopped_by:
            trainer.history.stop_reason = self.stopped_by
