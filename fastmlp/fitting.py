"""One call of ``fit``: its settings, its rows, and the loop from epoch to epoch."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import arrays, schedules, threads
from .arguments import flag, number, whole_number
from .arrays import loss_code
from .callbacks import Callback, overrides
from .metrics import METRICS, Metric

if TYPE_CHECKING:
    from .training import Trainer

__all__ = ["Checkpoint", "EarlyStopping"]

# How long compiled code runs before Python gets a chance to handle Ctrl-C, in seconds.
SLICE = 0.05
# Epochs whose losses the compiled loop writes down before Python takes them over.
EPOCHS_AT_ONCE = 65536
# Learning rates worked out at a time.
RATES_AT_ONCE = 65536
# What a draw of the shuffle can tell apart.
MOST_ROWS = 2**32
# An epoch that never comes: its order of rows decides which of them are held out.
EPOCH_OF_SPLIT = 2**64 - 1
# What is hashed at a time to know data again, in bytes.
HASHED_AT_ONCE = 1 << 24

# Where training stands, as the kernels count it: indices into Trainer._position.
EPOCH, ROW, STEP, STALE = range(4)


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when a measured number has not improved for some epochs, and go back to its best.

    Parameters
    ----------
    metric : str, default "val_loss"
        A name in ``history``: ``"loss"``, ``"val_loss"``, ``"val_<metric>"``.
    patience : int, default 10
        How many epochs in a row may bring no improvement.
    min_delta : float, default 0
        How much better than the best an epoch must be to count as an improvement.
    restore_best : bool, default True
        Leave the network, when training ends, as it was after its best epoch.
    mode : {"min", "max"}, optional
        Whether lower or higher is better. Default: what is known of the metric; a loss is better
        the lower it is.

    Raises
    ------
    ValueError
        If a setting is outside its range, or ``mode`` is needed and not given.

    Examples
    --------
    >>> import fastmlp as fm
    >>> (X, y), _ = fm.datasets.digits()
    >>> mlp = fm.MLP([64, 16, 10], output="softmax", seed=0)
    >>> history = mlp.fit(
    ...     X, y, epochs=50, validation_split=0.2, metrics=["accuracy"], seed=0,
    ...     early_stopping=fm.EarlyStopping("val_accuracy", patience=3),
    ... )
    >>> history.stop_reason
    'early_stopping'
    """

    metric: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True
    mode: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str):
            raise TypeError(f"metric: got {self.metric!r}, expected a name such as 'val_loss'")
        object.__setattr__(self, "patience", whole_number("patience", self.patience, 1))
        object.__setattr__(self, "min_delta", number("min_delta", self.min_delta, 0))
        if self.mode not in (None, "min", "max"):
            raise ValueError(f"mode: got {self.mode!r}, expected 'min' or 'max'")

    def sign(self, metrics: Mapping[str, Metric]) -> float:
        """Return 1 where lower is better, -1 where higher is."""
        if self.mode is not None:
            return 1.0 if self.mode == "min" else -1.0
        name = self.metric.removeprefix("val_")
        if name == "loss":
            return 1.0
        known = METRICS | dict(metrics)
        better = known[name].greater_is_better if name in known else None
        if better is None:
            raise ValueError(
                f"mode: it is not known whether a higher or a lower {self.metric!r} is better; "
                f"give mode='max' or mode='min'"
            )
        return -1.0 if better else 1.0


@dataclass(frozen=True)
class Checkpoint:
    """Save the whole state of training to a file, again and again while it goes on.

    `Trainer.resume` goes on from it as if nothing had happened: the same bits. The file is written
    beside the old one and moved into its place, so that there is a whole one at any time.

    Parameters
    ----------
    path : path-like
        The file; replaced every time.
    epochs : int, optional
        Save after every so many epochs.
    seconds : float, optional
        Save whenever so many seconds have passed since the last time, also in the middle of an
        epoch. Default of both: after every epoch.

    Raises
    ------
    ValueError
        If a number is outside its range.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.Checkpoint("run.ckpt", seconds=60)
    Checkpoint(path='run.ckpt', epochs=None, seconds=60)
    """

    path: Any
    epochs: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"checkpoint: got {self.path!r}, expected the path of a file")
        if self.epochs is not None:
            whole_number("epochs", self.epochs, 1)
        if self.seconds is not None:
            number("seconds", self.seconds, 0)

    def check(self, trainer: Trainer) -> None:
        """Refuse, before training, what could not be written after an hour of it."""
        path = Path(self.path)
        if path.is_dir():
            raise IsADirectoryError(f"checkpoint: {path} is a folder, expected a file")
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"checkpoint: the folder {path.parent} does not exist; create it first"
            )
        from .checkpoints import check_declarations

        check_declarations(trainer)

    def is_due(self, epochs: int, seconds: float) -> bool:
        """Whether to save, so long after the last time."""
        every = 1 if self.epochs is None and self.seconds is None else self.epochs
        return (every is not None and epochs >= every) or (
            self.seconds is not None and seconds >= self.seconds
        )


@dataclass(frozen=True)
class Settings:
    """What a call of ``fit`` was asked for, its data aside: all a resumed one needs to go on."""

    epochs: int = 10
    shuffle: bool = True
    target_loss: float | None = None
    tol: float | None = None
    patience: int = 10
    max_seconds: float | None = None
    early_stopping: EarlyStopping | None = None
    validation_split: float = 0.0

    def __post_init__(self) -> None:
        flag("shuffle", self.shuffle)
        whole_number("epochs", self.epochs, 1)
        whole_number("patience", self.patience, 1)
        if self.target_loss is not None:
            number("target_loss", self.target_loss)
        if self.tol is not None:
            number("tol", self.tol, 0)
        if self.max_seconds is not None:
            number("max_seconds", self.max_seconds, 0, above=True)
        number("validation_split", self.validation_split, 0, 1)
        if self.early_stopping is not None and not isinstance(self.early_stopping, EarlyStopping):
            raise TypeError(
                f"early_stopping: got {self.early_stopping!r}, expected the name of what is "
                f"measured, such as 'val_loss', or a fastmlp.EarlyStopping"
            )

    def check_same(self, given: Settings) -> None:
        """Refuse settings for the rest of a call that are not those it began with."""
        for field in fields(self):
            value = getattr(given, field.name)
            if value not in (field.default, getattr(self, field.name)):
                raise ValueError(
                    f"{field.name}: got {value!r}, expected {getattr(self, field.name)!r}, with "
                    f"which the interrupted training began; leave it out, or give epochs for a "
                    f"new training"
                )


@dataclass(frozen=True)
class Data:
    """Rows, targets and weights of rows to train on."""

    rows: arrays.Rows
    targets: arrays.Rows
    weights: arrays.Rows | None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: NDArray[np.int64]) -> Data:
        """Return some of the rows, copied."""
        weights = None if self.weights is None else self.weights.take(chosen)
        return Data(self.rows.take(chosen), self.targets.take(chosen), weights)

    def subset(self, chosen: NDArray[np.int64]) -> Data:
        """Return some of the rows, read where they lie."""
        weights = None if self.weights is None else self.weights.subset(chosen)
        return Data(self.rows.subset(chosen), self.targets.subset(chosen), weights)

    def fingerprint(self) -> str:
        """Return what tells these data from others."""
        digest = hashlib.sha256()
        for rows in (self.rows, self.targets, self.weights):
            for piece in () if rows is None else rows.pieces(HASHED_AT_ONCE):
                digest.update(f"{piece.dtype}{piece.shape}".encode())
                digest.update(np.ascontiguousarray(piece).data)
            digest.update(b"|")
        return digest.hexdigest()


class Call:
    """One call of ``fit`` on its way, on arguments that have been judged.

    ``seen`` are the data that the result depends on: all rows, and those of the validation;
    ``held_out`` the latter alone.
    ``seconds`` is how long it has run before, if it was interrupted and is finished now.
    ``order_of`` is given the order of rows of the epoch before, at first 0, 1, 2, …, and changes it
    in place to that of the next; by default a shuffled order depends on the trainer's seed. It may
    not be shared between two calls, and such a call cannot be resumed.
    """

    def __init__(
        self,
        trainer: Trainer,
        settings: Settings,
        data: Data | Stream,
        seen: list[Data],
        held_out: Data | None,
        listeners: Sequence[Callback],
        validate: Callable[[], dict[str, float]] | None,
        metrics: Mapping[str, Metric],
        checkpoint: Checkpoint | None,
        seconds: float,
        order_of: Callable[[NDArray[np.int64]], None] | None = None,
    ) -> None:
        self.trainer, self.settings, self.data, self.seen = trainer, settings, data, seen
        self.held_out, self.order_of = held_out, order_of
        self.listeners, self.validate, self.checkpoint = listeners, validate, checkpoint
        early = settings.early_stopping
        self.batch_size = trainer.batch_size
        self.metrics = list(metrics)
        self.sign = 1.0 if early is None else early.sign(metrics)
        self._began = time.perf_counter() - seconds
        self._saved = time.perf_counter(), trainer.epoch
        self._fingerprint: str | None = None

    @property
    def seconds(self) -> float:
        """How long the call has run, before it was interrupted too."""
        return time.perf_counter() - self._began

    def fingerprint(self) -> str:
        """Return what tells all data of the call from others; worked out once."""
        if self._fingerprint is None:
            self._fingerprint = "".join(data.fingerprint() for data in self.seen)
        return self._fingerprint

    def run(self) -> str:
        """Train; return why it ended."""
        trainer = self.trainer
        plan = self._begin()
        try:
            trainer._fitting = self
            for listener in self.listeners:
                listener.on_fit_begin(trainer)
            reason = self._loop(plan)
        except KeyboardInterrupt:
            reason = "interrupted"
        finally:
            trainer._fitting = None
            trainer._stage = "start"
            plan.abandon()
        if reason == "diverged":
            trainer._state[:] = 0
            trainer._memory[:] = 0
            trainer._position[STEP] = 0
        elif reason != "interrupted":
            trainer._best.restore(trainer.mlp)
        return reason

    def _begin(self) -> Any:
        """Bind the plan to the rows."""
        trainer, settings, data = self.trainer, self.settings, self.data
        mlp, dtype = trainer.mlp, trainer.mlp.dtype
        arrays_of_data: dict[str, Any] = {"x": None, "y": None, "weights": None}
        order = None
        if isinstance(data, Data):
            mlp._measure(data.rows, data.targets, trainer.loss)
            arrays_of_data = {
                "x": mlp._source(data.rows),
                "y": mlp._source(data.targets, "targets"),
                "weights": None if data.weights is None else data.weights.source(dtype),
            }
            if settings.shuffle and len(data) >= MOST_ROWS:
                raise ValueError(
                    f"X: got {len(data):,} rows, expected fewer than {MOST_ROWS:,} with "
                    f"shuffle=True"
                )
            if not trainer.optimizer.elementwise:
                self.batch_size = len(data)
            elif settings.shuffle:
                order = np.arange(len(data))
            code = loss_code(trainer.loss, data.targets, dtype)
            self.steps_per_epoch: int | None = -(-len(data) // min(self.batch_size, len(data)))
        else:
            code = trainer._kernels.LOSSES[trainer.loss.name]
            self.steps_per_epoch = data.length
        plan = trainer._plan_for(code)
        per_epoch = self.steps_per_epoch or 0
        # An epoch that was interrupted has made some of its updates.
        made = -(-int(trainer._position[ROW]) // self.batch_size)
        whole = trainer.n_steps - made
        self.epoch_zero = whole - trainer.epoch * per_epoch
        self.total_steps = whole + (trainer.epoch_range[1] - trainer.epoch) * per_epoch
        self.order = order
        plan.begin(
            **arrays_of_data,
            order=order,
            position=trainer._position,
            running=trainer._running,
            snapshot=trainer._snapshot,
            buffers_snapshot=trainer._running_snapshot,
            seed=trainer.seed,
            shuffle=order is not None and self.order_of is None,
            batch_size=self.batch_size,
            lr=trainer.optimizer.lr,
            target_loss=-math.inf if settings.target_loss is None else settings.target_loss,
            tol=settings.tol or 0.0,
            patience=0 if settings.tol is None else settings.patience,
            n_threads=threads.resolve(trainer.n_threads),
        )
        return plan

    def _loop(self, plan: Any) -> str:
        """Train from epoch to epoch; return why it ended."""
        trainer, settings = self.trainer, self.settings
        begins = [c for c in self.listeners if overrides(c, "on_epoch_begin")]
        ends = [c for c in self.listeners if overrides(c, "on_epoch_end")]
        watched = trainer.schedule.watches is not None
        early, checkpoint = settings.early_stopping, self.checkpoint
        listen = bool(
            begins or ends or self.validate or watched or early or checkpoint or self.order_of
        )
        by_hand = Minibatches(self)
        status = trainer._kernels.STATUS
        last = trainer.epoch_range[1]
        while True:
            first = trainer.epoch
            until = min(last, first + EPOCHS_AT_ONCE)
            found = np.empty(1 if listen else until - first)
            trainer._take_losses()
            trainer._losses = (first, found)
            if trainer._position[ROW] == 0:
                if self.order_of is not None and self.order is not None:
                    self.order_of(self.order)
                for listener in begins:
                    listener.on_epoch_begin(trainer)
            if trainer._stop_asked:
                return "early_stopping"
            code = status["rates"]
            while code in (status["slice"], status["rates"]):
                threads.check_interrupt()
                if code == status["rates"]:
                    self._renew_rates(plan)
                elif settings.max_seconds is not None and self.seconds >= settings.max_seconds:
                    return "max_seconds"
                elif checkpoint is not None and plan.rows_done == 0:
                    self._save_if_due(0)
                if by_hand.wanted:
                    code = by_hand.epoch(plan, found)
                else:
                    with trainer.mlp._lock:
                        code = plan.run(found, first, until, listen, self._slice())
            if listen and trainer.epoch > first:
                self._measure(early, watched)
                for listener in ends:
                    listener.on_epoch_end(trainer)
            if code in (status["bad_input"], status["bad_target"]):
                raise by_hand.bad_row(code == status["bad_target"], plan.bad_row)
            for name in ("target_loss", "converged", "diverged"):
                if code == status[name]:
                    return name
            if trainer._stop_asked:
                return "early_stopping"
            if early is not None and trainer._best.stale >= early.patience:
                return "early_stopping"
            if trainer.epoch >= last:
                return "epochs"
            if settings.max_seconds is not None and self.seconds >= settings.max_seconds:
                return "max_seconds"
            if checkpoint is not None:
                self._save_if_due(trainer.epoch - self._saved[1])

    def _slice(self) -> float:
        if self.settings.max_seconds is None:
            return SLICE
        return min(SLICE, max(self.settings.max_seconds - self.seconds, 0.0))

    def _measure(self, early: EarlyStopping | None, watched: bool) -> None:
        """After an epoch: validation, and what depends on it."""
        trainer = self.trainer
        if self.validate is not None:
            trainer.history._append(self.validate())
        if not watched and early is None:
            return
        measured = trainer.history.last()
        if watched:
            trainer.schedule.after_epoch(trainer._schedule_state, measured)
        if early is not None:
            value = self.sign * measured[early.metric]
            trainer._best.see(value, early.min_delta, trainer.mlp, early.restore_best)

    def _save_if_due(self, epochs: int) -> None:
        checkpoint = self.checkpoint
        assert checkpoint is not None
        now = time.perf_counter()
        trainer = self.trainer
        if checkpoint.is_due(epochs, now - self._saved[0]):
            if not np.isfinite(trainer.mlp.params).all():
                return  # the next minibatch finds it diverged, and goes back
            trainer.save_checkpoint(checkpoint.path)
            self._saved = time.perf_counter(), trainer.epoch

    def rates(self, first_step: int, n_steps: int) -> NDArray[np.float64]:
        """Return the rates of some updates, counted from 0."""
        trainer = self.trainer
        return trainer.schedule.rates(
            trainer.optimizer.lr,
            first_step,
            n_steps,
            self.steps_per_epoch,
            self.total_steps if self.steps_per_epoch else None,
            epoch_zero=self.epoch_zero,
            state=trainer._schedule_state,
        )

    def _renew_rates(self, plan: Any) -> None:
        """Give the plan the rates of the updates to come."""
        trainer = self.trainer
        if isinstance(trainer.schedule, schedules.Constant) or isinstance(self.data, Stream):
            return
        n_steps = min(RATES_AT_ONCE, max(self.total_steps - trainer.n_steps, 1))
        if trainer.schedule.watches is not None:
            # What is measured after an epoch changes those of the next.
            n_steps = min(n_steps, self.steps_per_epoch or 1)
        plan.set_rates(self.rates(trainer.n_steps, n_steps), trainer.n_steps)


class Stream:
    """Minibatches from an iterable of (x, t) or (x, t, sample_weight), as they come."""

    def __init__(self, minibatches: Any, trainer: Trainer, epochs: int) -> None:
        self.trainer, self.minibatches, self.epochs = trainer, minibatches, epochs
        once = isinstance(minibatches, Iterator)
        if once and epochs > 1:
            raise ValueError(
                "X: an iterator ends after one epoch; give a list, a function that returns a new "
                "iterator, or epochs=1"
            )

    @property
    def length(self) -> int | None:
        """Minibatches in an epoch, where that is known."""
        return len(self.minibatches) if hasattr(self.minibatches, "__len__") else None

    def __iter__(self) -> Iterator[Data]:
        source = self.minibatches() if callable(self.minibatches) else self.minibatches
        for item in source:
            if not isinstance(item, tuple | list) or len(item) not in (2, 3):
                raise TypeError(
                    f"X: got {type(item).__name__} as a minibatch, expected (x, t) or "
                    f"(x, t, sample_weight)"
                )
            x, t, weight = (*item, None)[:3]
            yield self.trainer._judged(x, t, weight, None)


class Minibatches:
    """An epoch as a Python loop over the steps: for streams, and for listeners to minibatches."""

    def __init__(self, call: Call) -> None:
        self.call, self.trainer = call, call.trainer
        self.gradient = [c for c in call.listeners if overrides(c, "on_gradient")]
        self.ends = [c for c in call.listeners if overrides(c, "on_batch_end")]
        self.wanted = bool(self.gradient or self.ends) or isinstance(call.data, Stream)

    def _feed(self) -> Iterator[tuple[Data, NDArray[np.int64] | None]]:
        """Yield the rest of the epoch, minibatch by minibatch."""
        data, trainer, order = self.call.data, self.trainer, self.call.order
        if isinstance(data, Stream):
            # A training that was interrupted within an epoch has seen the first ones.
            seen = int(trainer._position[ROW])
            for minibatch in data:
                if seen > 0:
                    seen -= len(minibatch)
                else:
                    yield minibatch, None
            return
        if order is None:
            order = np.arange(len(data))
        elif self.call.order_of is None:
            trainer._kernels.row_order(order, trainer.seed, trainer.epoch)
        for start in range(int(trainer._position[ROW]), len(data), trainer.batch_size):
            chosen = order[start : start + trainer.batch_size]
            yield data.take(chosen), chosen

    def epoch(self, plan: Any, found: NDArray[np.float64]) -> int:
        """Train the rest of an epoch and return the status ``plan.run`` would."""
        trainer, call = self.trainer, self.call
        status: dict[str, int] = trainer._kernels.STATUS
        first = trainer.epoch
        limit = call.settings.max_seconds
        for minibatch, chosen in self._feed():
            threads.check_interrupt()
            # Looked at where another minibatch follows: an epoch that is whole counts.
            if limit is not None and trainer._position[ROW] > 0 and call.seconds >= limit:
                return status["slice"]
            bad = trainer._forward(minibatch.rows)
            if bad >= 0:
                raise self.bad_row(False, bad if chosen is None else int(chosen[bad]))
            value, bad = trainer._compute_loss(minibatch.targets, minibatch.weights)
            if bad >= 0:
                raise self.bad_row(True, bad if chosen is None else int(chosen[bad]))
            if not math.isfinite(value):
                plan.restore_snapshot()
                return status["diverged"]
            trainer.backward()
            for listener in self.gradient:
                listener.on_gradient(trainer)
            trainer._step(value, len(minibatch))
            for listener in self.ends:
                listener.on_batch_end(trainer, value)
            if trainer._stop_asked:
                break
            if call.checkpoint is not None:
                call._save_if_due(0)
        if trainer._position[ROW] == 0:
            raise ValueError("X: the minibatches have come to an end before the first one")
        # The epoch's loss is the mean over the rows that were seen.
        return int(plan.close_epoch(found, first, int(trainer._position[ROW])))

    def bad_row(self, in_targets: bool, row: int) -> ValueError:
        """Return the error for a row that was in order when training began."""
        data, trainer = self.call.data, self.trainer
        dtype = trainer.mlp.dtype
        if isinstance(data, Stream):
            return ValueError(f"X: row {row} of a minibatch holds what is not a finite number")
        if self.wanted and data.rows.chosen is not None:
            # A place among the rows that are trained on.
            row = int(data.rows.chosen[row])
        if not in_targets:
            return data.rows.not_finite(row, dtype)
        if arrays.are_class_numbers(data.targets, trainer.loss):
            arrays.check_class_numbers(data.targets, trainer.mlp.sizes[-1])
        return data.targets.not_finite(row, dtype)


class Best:
    """The best epoch so far of a call that may stop early, and the network after it."""

    def __init__(self, params: NDArray[Any], running: NDArray[np.float64]) -> None:
        self.value = math.inf
        self.stale = 0
        self.kept = False
        # Written only where the network shall go back to it.
        self.params, self.running = np.empty_like(params), np.empty_like(running)

    def see(self, value: float, min_delta: float, mlp: Any, keep: bool) -> None:
        """Take note of an epoch; lower is better."""
        if value < self.value - min_delta or (math.isinf(self.value) and math.isfinite(value)):
            self.value, self.stale = value, 0
            if keep:
                self.params[:], self.running[:] = mlp.params, mlp._running
                self.kept = True
        else:
            self.stale += 1

    def restore(self, mlp: Any) -> None:
        """Bring the network back to its best."""
        if self.kept:
            with mlp._lock:
                mlp.params[:], mlp._running[:] = self.params, self.running
