"""Training: epochs, minibatches, stopping, and the loop by hand."""

from __future__ import annotations

import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import arrays, kernels, losses, optimizers, threads
from .arguments import number, whole_number
from .callbacks import Callback, Progress, overrides
from .metrics import named_metrics
from .network import MLP, loss_code

__all__ = ["History", "Trainer"]

# How long compiled code runs before Python gets a chance to handle Ctrl-C, in seconds.
SLICE = 0.05
# Epochs whose losses the compiled loop writes down before Python takes them over.
EPOCHS_AT_ONCE = 65536
# What a draw of the shuffle can tell apart.
MOST_ROWS = 2**32

# Where training stands, as the kernels count it: indices into Trainer._position and ._running.
EPOCH, ROW, STEP, STALE = range(4)
LOSS_SUM, BEST_LOSS = range(2)


class History(Mapping[str, Sequence[float]]):
    """What was measured after every epoch: a mapping from names to lists, one entry an epoch.

    ``history["loss"]`` is the mean of the minibatches' objectives as they were trained on
    (penalties included), weighted by their rows. With validation data, ``"val_loss"`` (without
    penalties) and ``"val_<metric>"`` follow.

    Attributes
    ----------
    stop_reason : str or None
        Why the last call of ``fit`` ended: ``"epochs"``, ``"converged"``, ``"target_loss"``,
        ``"early_stopping"`` (a callback asked), ``"interrupted"`` or ``"diverged"``; None before.
    """

    def __init__(self) -> None:
        self.stop_reason: str | None = None
        self._columns: dict[str, list[float]] = {"loss": []}

    def __getitem__(self, name: str) -> list[float]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        loss = self["loss"]
        last = f", loss {loss[-1]:.6g}" if loss else ""
        return f"History({len(loss)} epochs{last}, stop_reason={self.stop_reason!r})"

    def last(self) -> dict[str, float]:
        """Return the numbers of the latest epoch, of those that were measured in it."""
        n_epochs = len(self["loss"])
        return {name: column[-1] for name, column in self.items() if len(column) == n_epochs > 0}

    def _append(self, numbers: Mapping[str, float]) -> None:
        """Add to the epoch just finished; a column has nan for epochs it was not measured in."""
        n_epochs = len(self["loss"])
        for name, value in numbers.items():
            column = self._columns.setdefault(name, [])
            column.extend([math.nan] * (n_epochs - len(column)))
            column[-1] = value

    def _even_out(self) -> None:
        for column in self._columns.values():
            column.extend([math.nan] * (len(self["loss"]) - len(column)))


class Trainer:
    """Trains one network: loss, optimizer and where training stands.

    Parameters
    ----------
    mlp : MLP
        The network; its ``params`` are changed in place.
    loss : str or Loss, optional
        ``"mse"``, ``"half_squared_error"``, ``"cross_entropy"``, ``"binary_cross_entropy"``, or an
        object such as ``HalfSquaredError(reduction="sum")``. Default: by the network's output,
        cross-entropy for softmax, binary cross-entropy for sigmoid, else mse.
    optimizer : str or Optimizer, default "adam"
        ``"sgd"``, ``"adam"``, or an object such as ``SGD(lr=0.1, momentum=0.9)``.
    batch_size : int, default 32
        Rows in a minibatch; more than there are rows means all of them. The last minibatch of an
        epoch may be smaller.
    l2 : float, default 0
        Adds ``l2 / 2 · ‖W‖²`` to every objective: weights only, not divided by anything.
    seed : int, optional
        For the order of rows. None takes a random one, kept in ``seed``.
    n_threads : int, optional
        Default: `fastmlp.get_num_threads`. The results are the same for any number.

    Attributes
    ----------
    mlp : MLP
    grads : ndarray, shape (n_params,)
        The gradient `backward` computed last, laid out like ``mlp.params``.
    history : History
        Of all calls of `fit` together.
    epoch : int
        Whole epochs trained so far.
    epoch_range : tuple of int
        The first and the last epoch of the latest call of `fit`: ``epoch`` goes from the one to the
        other.
    n_steps : int
        Updates the optimizer has made; after divergence it starts anew.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of its range, or the loss does not go with the network's output.

    Examples
    --------
    >>> import fastmlp as fm
    >>> mlp = fm.MLP([2, 4, 1], activation="sigmoid", output="sigmoid", seed=0)
    >>> trainer = fm.Trainer(mlp, loss="mse", optimizer=fm.SGD(lr=0.5), batch_size=4)
    >>> x, t = fm.datasets.xor()
    >>> for _ in range(3):
    ...     prediction = trainer.forward(x)
    ...     value = trainer.compute_loss(t)
    ...     trainer.backward()
    ...     trainer.step()
    >>> trainer.n_steps
    3
    """

    def __init__(
        self,
        mlp: MLP,
        *,
        loss: str | losses.Loss | None = None,
        optimizer: str | optimizers.Optimizer = "adam",
        batch_size: int = 32,
        l2: float = 0.0,
        seed: int | None = None,
        n_threads: int | None = None,
    ) -> None:
        if not isinstance(mlp, MLP):
            raise TypeError(f"mlp: got {type(mlp).__name__}, expected a fastmlp.MLP")
        self._mlp = mlp
        self._loss = losses.get(loss, mlp.output)
        self._optimizer = optimizers.get(optimizer)
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self._l2 = number("l2", l2, 0)
        self.seed = (
            int.from_bytes(os.urandom(4)) if seed is None else whole_number("seed", seed, 0, 2**64)
        )
        self.n_threads = n_threads
        threads.resolve(n_threads)

        self.grads = np.zeros_like(mlp.params)
        self._state = np.zeros((self.optimizer.n_vectors, mlp.n_params), mlp.dtype)
        self._position = np.zeros(4, np.int64)
        self._running = np.array([0.0, np.inf])
        self._history = History()
        # Losses of epochs from the first on, as compiled code writes them; see `history`.
        self._losses: tuple[int, NDArray[np.float64]] = (0, np.empty(0))
        self._fitting = False
        self._lock = threading.RLock()
        self.epoch_range = (0, 0)
        self._kernels = kernels.of(mlp.dtype)
        self._plan: Any = None
        self._plan_code: int | None = None
        self._stage = "start"
        self._x: arrays.Rows | None = None
        self._went_back = False
        self._stop_asked = False

    # Fixed when the trainer is made: plan and state vectors are those of one optimizer and loss.

    @property
    def mlp(self) -> MLP:
        """The network."""
        return self._mlp

    @property
    def loss(self) -> losses.Loss:
        """The loss."""
        return self._loss

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """The optimizer's settings."""
        return self._optimizer

    @property
    def l2(self) -> float:
        """The penalty's factor."""
        return self._l2

    @property
    def history(self) -> History:
        """What was measured after every epoch of all calls of `fit`."""
        # Whenever somebody looks, so that no epoch is missing wherever a signal has interrupted
        # the lines around the compiled loop.
        self._take_losses()
        if not self._fitting:
            self._history._even_out()
        return self._history

    def _take_losses(self) -> None:
        """Add the losses that compiled code has written down since the last time."""
        first, found = self._losses
        loss = self._history["loss"]
        loss.extend(found[len(loss) - first : self.epoch - first].tolist())

    @property
    def epoch(self) -> int:
        """Whole epochs trained so far."""
        return int(self._position[EPOCH])

    @property
    def n_steps(self) -> int:
        """Updates the optimizer has made."""
        return int(self._position[STEP])

    def __repr__(self) -> str:
        return (
            f"Trainer({self.mlp!r}, loss={self.loss!r}, optimizer={self.optimizer!r}, "
            f"batch_size={self.batch_size}, seed={self.seed})"
        )

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Keep other threads out of this trainer; callbacks in the same thread may come in."""
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                f"{what}: this trainer is at work in another thread; give each thread its own"
            )
        try:
            yield
        finally:
            self._lock.release()

    def _plan_for(self, code: int) -> Any:
        """Return the plan that trains with the loss ``code``: classes come in two forms."""
        if self._plan is None or self._plan_code != code:
            self._plan = self._kernels.Plan(
                self.mlp._table,
                self.mlp.params,
                grads=self.grads,
                loss=code,
                mean=self.loss.reduction == "mean",
                l2=self.l2,
                optimizer=self._kernels.OPTIMIZERS[self.optimizer.kernel],
                settings=np.array(self.optimizer.settings, np.float64),
                state=self._state,
            )
            self._plan_code = code
            self._x = None  # it was in the old plan
        return self._plan

    # ---- the loop by hand

    def forward(self, x: Any) -> NDArray[Any]:
        """Push one minibatch through the network, in training mode.

        Parameters
        ----------
        x : array_like, shape (n, n_in)

        Returns
        -------
        ndarray, shape (n, n_out)
            The network's outputs.

        Raises
        ------
        ValueError, TypeError
            If ``x`` does not fit the network, or holds a number that is not finite.
        """
        rows = arrays.inputs(x, self.mlp.sizes[0], "x")
        with self._alone("forward"):
            bad = self._forward(rows)
        if bad >= 0:
            raise rows.not_finite(bad, self.mlp.dtype)
        return self._output

    def _forward(self, rows: arrays.Rows) -> int:
        """Do what `forward` does; return the first row that is not finite, or -1."""
        self._stage = "start"
        self._x, self._went_back = None, False
        output = np.empty((len(rows), self.mlp.sizes[-1]), self.mlp.dtype)
        # The targets are not known yet; a plan made for either form of class targets will do.
        code = self._plan_code
        if code is None:
            code = self._kernels.LOSSES[self.loss.name]
        with self.mlp._lock:
            bad: int = self._plan_for(code).forward(
                rows.source(self.mlp.dtype), output, threads.resolve(self.n_threads)
            )
        if bad < 0:
            self._x, self._output = rows, output
            self._stage = "forward"
        return bad

    def compute_loss(self, t: Any, sample_weight: Any = None) -> float:
        """Return the objective of the minibatch `forward` saw last, penalties included.

        Parameters
        ----------
        t : array_like, shape (n,) or (n, n_out)
            Targets: class numbers or a probability for each class for cross-entropy, else numbers.
        sample_weight : array_like, shape (n,), optional
            A weight of at least 0 for each row.

        Returns
        -------
        float

        Raises
        ------
        RuntimeError
            If `forward` was not called before.
        ValueError, TypeError
            If the targets do not fit.
        """
        if self._x is None or self._stage == "start":
            raise RuntimeError(
                "compute_loss: no minibatch is in the network; call forward(x) first"
            )
        targets = arrays.targets(t, self.loss, self.mlp.sizes[-1], len(self._x), "t")
        targets.check_finite(self.mlp.dtype)
        weights = arrays.weights(sample_weight, len(self._x), self.mlp.dtype)
        with self._alone("compute_loss"):
            return self._compute_loss(targets, weights)[0]

    def _compute_loss(self, targets: arrays.Rows, weights: arrays.Rows | None) -> tuple[float, int]:
        """Return the objective, and the first target that cannot be learned from, or -1."""
        code = loss_code(self.loss, targets, self.mlp.dtype)
        if code != self._plan_code:
            rows = self._x
            assert rows is not None
            self._plan_for(code)
            self._forward(rows)
        dtype = self.mlp.dtype
        with self.mlp._lock:
            value, bad = self._plan.compute_loss(
                targets.source(dtype), None if weights is None else weights.source(dtype)
            )
        if bad < 0:
            self._stage = "loss"
        return value, bad

    def backward(self) -> None:
        """Overwrite ``grads`` with the gradient of what `compute_loss` returned.

        Raises
        ------
        RuntimeError
            If `compute_loss` was not called for the last `forward`.
        """
        if self._stage != "loss":
            first = (
                "forward(x) and compute_loss(t)" if self._stage != "forward" else "compute_loss(t)"
            )
            raise RuntimeError(f"backward: there is no loss to go back from; call {first} first")
        with self._alone("backward"), self.mlp._lock:
            self._plan.backward(threads.resolve(self.n_threads))
        self._stage = "backward"
        self._went_back = True

    def step(self) -> None:
        """Update the network's parameters by ``grads``, once for each `backward`.

        Raises
        ------
        RuntimeError
            If `backward` was not called since the last step.
        """
        if self._stage != "backward":
            raise RuntimeError(
                "step: there is no new gradient; call forward(x), compute_loss(t) and backward() "
                "first"
            )
        with self._alone("step"), self.mlp._lock:
            n_threads = threads.resolve(self.n_threads)
            self._plan.step(self.optimizer.lr, self.n_steps + 1, n_threads)
            self._position[STEP] += 1
        self._stage = "start"

    def read(self, what: str, layer: int) -> NDArray[Any]:
        """Return a copy of what the last minibatch left in a layer.

        Parameters
        ----------
        what : {"x", "z", "a", "dz"}
            The layer's input, its scores, its output, or the loss's derivative by its scores
            (after `backward`).
        layer : int
            Which layer, from 0.

        Returns
        -------
        ndarray, shape (n, n_in) for ``"x"``, else (n, n_out)

        Raises
        ------
        RuntimeError
            If there is no minibatch, or ``"dz"`` is asked for before `backward`.
        ValueError
            If there is no such layer or value.
        """
        n_layers = len(self.mlp.weights)
        if what not in ("x", "z", "a", "dz"):
            raise ValueError(f"what: got {what!r}, expected 'x', 'z', 'a' or 'dz'")
        if not isinstance(layer, int) or not 0 <= layer < n_layers:
            raise ValueError(f"layer: got {layer!r}, expected a number from 0 to {n_layers - 1}")
        if self._x is None or (what == "dz" and not self._went_back):
            before = "backward()" if what == "dz" else "forward(x)"
            raise RuntimeError(f"read: there is no {what} yet; call {before} first")
        size = self.mlp.sizes[layer if what == "x" else layer + 1]
        out = np.empty((len(self._x), size), self.mlp.dtype)
        with self.mlp._lock:
            self._plan.read(what, layer, out)
        return out

    # ---- whole trainings

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        epochs: int = 10,
        shuffle: bool = True,
        sample_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        metrics: Iterable[str | Callable[..., float]] = (),
        callbacks: Iterable[Callback] = (),
        target_loss: float | None = None,
        tol: float | None = None,
        patience: int = 10,
        verbose: int = 0,
    ) -> History:
        """Train for a number of epochs, or until there is a reason to stop.

        Continues where the last call ended: optimizer, epoch count and history go on.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            Real numbers of any type and layout, finite. Neither copied (unless the type is foreign)
            nor modified.
        y : array_like, shape (n,) or (n, n_out)
            Targets: class numbers or a probability for each class for cross-entropy, else numbers.
        epochs : int, default 10
            How many more epochs.
        shuffle : bool, default True
            Visit the rows in a new order every epoch, which ``seed`` and the epoch's number decide.
        sample_weight : array_like, shape (n,), optional
            A weight of at least 0 for each row.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Rows to measure ``val_loss`` and the metrics on after every epoch.
        metrics : iterable of str or callable, optional
            Names of `fastmlp.metrics` or functions of ``(y, prediction)``, for the validation data.
        callbacks : iterable of Callback, optional
        target_loss : float, optional
            Stop after an epoch with a loss of at most this.
        tol : float, optional
            Stop as converged when ``patience`` epochs in a row have not brought the loss more than
            ``tol`` below the best so far.
        patience : int, default 10
        verbose : int, default 0
            1 prints a line of progress on up to 20 epochs, 2 on every epoch.

        Returns
        -------
        History
            Of this and all earlier calls; ``stop_reason`` says why this one ended. Ctrl-C ends
            training after the last whole minibatch, with stop_reason ``"interrupted"``.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong; nothing is changed then.

        Warns
        -----
        RuntimeWarning
            If the loss is no longer finite (the network is then what it was after the last finite
            epoch, and the optimizer starts anew), or if weights that are all zero cannot learn.
        """
        mlp, dtype = self.mlp, self.mlp.dtype
        rows = arrays.inputs(X, mlp.sizes[0])
        targets = arrays.targets(y, self.loss, mlp.sizes[-1], len(rows))
        rows.check_finite(dtype)
        targets.check_finite(dtype)
        weights = arrays.weights(sample_weight, len(rows), dtype)
        epochs = whole_number("epochs", epochs, 1)
        patience = whole_number("patience", patience, 1)
        target = -math.inf if target_loss is None else number("target_loss", target_loss)
        tolerance = 0.0 if tol is None else number("tol", tol, 0)
        listeners = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
        for listener in listeners:
            if not isinstance(listener, Callback) or not isinstance(callbacks, Iterable):
                raise TypeError(
                    f"callbacks: got {listener!r}, expected a list of objects of subclasses of "
                    f"fastmlp.Callback"
                )
        if verbose:
            listeners.append(Progress() if verbose == 1 else Progress(lines=epochs))
        validate = self._validation(validation_data, metrics)
        _warn_of_zeros(mlp)

        with self._alone("fit"):
            return self._fit(
                rows, targets, weights, listeners, validate, epochs, shuffle, target, tolerance,
                0 if tol is None else patience,
            )  # fmt: skip

    def _fit(
        self,
        rows: arrays.Rows,
        targets: arrays.Rows,
        weights: arrays.Rows | None,
        listeners: list[Callback],
        validate: Callable[[], dict[str, float]] | None,
        epochs: int,
        shuffle: bool,
        target_loss: float,
        tol: float,
        patience: int,
    ) -> History:
        """Train on arguments that have been judged."""
        mlp, dtype = self.mlp, self.mlp.dtype
        self._stage = "start"
        self._stop_asked = False
        # A call begins with a whole epoch, also after one that was interrupted.
        self._running[:] = 0.0, math.inf
        self._position[[ROW, STALE]] = 0
        self.epoch_range = (self.epoch, self.epoch + epochs)
        if shuffle and len(rows) >= MOST_ROWS:
            raise ValueError(
                f"X: got {len(rows):,} rows, expected fewer than {MOST_ROWS:,} with shuffle=True"
            )
        order = np.empty(len(rows), np.int64) if shuffle else None
        plan = self._plan_for(loss_code(self.loss, targets, dtype))
        plan.begin(
            rows.source(dtype),
            targets.source(dtype),
            None if weights is None else weights.source(dtype),
            order=order,
            position=self._position,
            running=self._running,
            snapshot=np.empty_like(mlp.params),
            seed=self.seed,
            shuffle=shuffle,
            batch_size=self.batch_size,
            lr=self.optimizer.lr,
            target_loss=target_loss,
            tol=tol,
            patience=patience,
            n_threads=threads.resolve(self.n_threads),
        )
        by_hand = _Minibatches(self, rows, targets, weights, order, listeners)
        self.history.stop_reason = None
        try:
            self._fitting = True
            for listener in listeners:
                listener.on_fit_begin(self)
            reason = self._loop(plan, by_hand, listeners, validate)
        except KeyboardInterrupt:
            reason = "interrupted"
        finally:
            self._fitting = False
            plan.abandon()
        self.history.stop_reason = reason
        if reason == "diverged":
            self._state[:] = 0
            self._position[STEP] = 0
            self._warn_of_divergence()
        for listener in listeners:
            listener.on_fit_end(self)
        return self.history

    def _loop(
        self,
        plan: Any,
        by_hand: _Minibatches,
        listeners: list[Callback],
        validate: Callable[[], dict[str, float]] | None,
    ) -> str:
        """Train from epoch to epoch; return why it ended."""
        begins = [c for c in listeners if overrides(c, "on_epoch_begin")]
        ends = [c for c in listeners if overrides(c, "on_epoch_end")]
        listen = bool(begins or ends or validate)
        status = self._kernels.STATUS
        last = self.epoch_range[1]
        while True:
            first = self.epoch
            until = min(last, first + EPOCHS_AT_ONCE)
            found = np.empty(1 if listen else until - first)
            self._take_losses()
            self._losses = (first, found)
            for listener in begins:
                listener.on_epoch_begin(self)
            if self._stop_asked:
                return "early_stopping"
            code = status["slice"]
            while code == status["slice"]:
                if by_hand.wanted:
                    code = by_hand.epoch(plan, found)
                else:
                    with self.mlp._lock:
                        code = plan.run(found, first, until, listen, SLICE)
            if listen and self.epoch > first:
                if validate is not None:
                    self.history._append(validate())
                for listener in ends:
                    listener.on_epoch_end(self)
            if code == status["bad_input"] or code == status["bad_target"]:
                raise by_hand.bad_row(code == status["bad_target"], plan.bad_row)
            for name in ("target_loss", "converged", "diverged"):
                if code == status[name]:
                    return name
            if self._stop_asked:
                return "early_stopping"
            if self.epoch >= last:
                return "epochs"

    def stop(self) -> None:
        """End the training under way after the event that calls this: for callbacks."""
        self._stop_asked = True

    def _validation(
        self, data: tuple[Any, ...] | None, chosen: Iterable[str | Callable[..., float]]
    ) -> Callable[[], dict[str, float]] | None:
        """Return what measures the validation data, tried once so that errors come first."""
        wanted = named_metrics(chosen)
        if data is None:
            if wanted:
                raise ValueError(
                    "metrics: got some, but no validation_data to measure them on; give it, or "
                    "use mlp.evaluate(X, y, metrics=…) after training"
                )
            return None
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            got = f"{len(data)} values" if isinstance(data, tuple | list) else type(data).__name__
            raise ValueError(
                f"validation_data: got {got}, expected (X, y) or (X, y, sample_weight)"
            )
        X, y, weight = (*data, None)[:3]
        names = ("validation_data X", "validation_data y")

        def measure() -> dict[str, float]:
            numbers = self.mlp._evaluate(X, y, self.loss, wanted, weight, self.n_threads, names)
            return {f"val_{name}": value for name, value in numbers.items()}

        measure()
        return measure

    def _warn_of_divergence(self) -> None:
        advice = f"a learning rate below {self.optimizer.lr:g}, data scaled to about 1"
        _warn(
            f"training diverged in epoch {self.epoch + 1}: the loss is no longer a finite number. "
            f"The network is what it was after epoch {self.epoch}. Try {advice}"
            + ("" if self.mlp.dtype == np.float64 else ", or dtype='float64'"),
        )


class _Minibatches:
    """An epoch as a Python loop over the steps, for callbacks that listen to every minibatch."""

    def __init__(
        self,
        trainer: Trainer,
        rows: arrays.Rows,
        targets: arrays.Rows,
        weights: arrays.Rows | None,
        order: NDArray[np.int64] | None,
        listeners: list[Callback],
    ) -> None:
        self.trainer, self.rows, self.targets, self.weights = trainer, rows, targets, weights
        self.order = order
        self.gradient = [c for c in listeners if overrides(c, "on_gradient")]
        self.ends = [c for c in listeners if overrides(c, "on_batch_end")]
        self.wanted = bool(self.gradient or self.ends)

    def epoch(self, plan: Any, found: NDArray[np.float64]) -> int:
        """Train one epoch and return the status ``plan.run`` would."""
        trainer = self.trainer
        first, n = trainer.epoch, len(self.rows)
        if self.order is None:
            order = np.arange(n)
        else:
            order = self.order
            trainer._kernels.row_order(order, trainer.seed, first)
        for start in range(0, n, trainer.batch_size):
            chosen = order[start : start + trainer.batch_size]
            bad = trainer._forward(self.rows.take(chosen))
            if bad >= 0:
                raise self.bad_row(False, int(chosen[bad]))
            weights = None if self.weights is None else self.weights.take(chosen)
            value, bad = trainer._compute_loss(self.targets.take(chosen), weights)
            if bad >= 0:
                raise self.bad_row(True, int(chosen[bad]))
            if not math.isfinite(value):
                plan.restore_snapshot()
                return int(trainer._kernels.STATUS["diverged"])
            trainer.backward()
            for listener in self.gradient:
                listener.on_gradient(trainer)
            trainer.step()
            trainer._running[LOSS_SUM] += value * len(chosen)
            for listener in self.ends:
                listener.on_batch_end(trainer, value)
            if trainer._stop_asked:
                # The epoch ends here: its loss is the mean over the rows that were seen.
                trainer._running[LOSS_SUM] *= n / (start + len(chosen))
                break
        return int(plan.close_epoch(found, first))

    def bad_row(self, in_targets: bool, row: int) -> ValueError:
        """Return the error for a row that was in order when training began."""
        mlp = self.trainer.mlp
        if not in_targets:
            return self.rows.not_finite(row, mlp.dtype)
        if arrays.are_class_numbers(self.targets, self.trainer.loss):
            arrays.check_class_numbers(self.targets, mlp.sizes[-1])
        return self.targets.not_finite(row, mlp.dtype)


def _warn(message: str) -> None:
    """Warn at the line of the user's that called into this package, however deep that is."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(__package__):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def _warn_of_zeros(mlp: MLP) -> None:
    if len(mlp.weights) > 1 and any(not w.any() for w in mlp.weights):
        _warn(
            "the network has a layer whose weights are all zero: the neurons of a hidden layer "
            "then stay alike, or learn nothing at all; start from random weights (init=None)",
        )
