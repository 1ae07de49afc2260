"""Training: what a network is trained with, where training stands, and the loop by hand."""

from __future__ import annotations

import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import arrays, inspection, kernels, losses, optimizers, threads
from .arguments import flag, number, whole_number
from .arrays import loss_code, loss_constants, loss_shares
from .callbacks import Callback, Progress, checked, overrides
from .fitting import (
    EPOCH,
    EPOCH_OF_SPLIT,
    ROW,
    STALE,
    STEP,
    Best,
    Call,
    Checkpoint,
    Data,
    EarlyStopping,
    Settings,
    Stream,
)
from .history import History
from .metrics import Metric, named_metrics
from .network import MLP

if TYPE_CHECKING:
    from . import finder, schedules

__all__ = ["Trainer"]


class Trainer:
    """Trains one network: loss, optimizer and where training stands.

    Parameters
    ----------
    mlp : MLP
        The network; its ``params`` are changed in place.
    loss : str or Loss, optional
        ``"mse"``, ``"half_squared_error"``, ``"cross_entropy"``, ``"binary_cross_entropy"``,
        ``"mae"``, ``"huber"``, ``"quantile"``, ``"log_cosh"``, ``"poisson"``,
        ``"half_poisson_deviance"``, or an object such as ``HalfSquaredError(reduction="sum")``.
        Default: by the network's output, cross-entropy for softmax, binary cross-entropy for
        sigmoid, poisson for exp, else mse.
    optimizer : str or Optimizer, default "adam"
        ``"sgd"``, ``"adam"``, ``"adamw"``, ``"nadam"``, ``"rmsprop"``, ``"adagrad"``, or an object
        such as ``SGD(lr=0.1, momentum=0.9)``.
    batch_size : int, default 32
        Rows in a minibatch; more than there are rows means all of them. The last minibatch of an
        epoch may be smaller.
    schedule : str, Schedule or callable, optional
        How the learning rate changes: ``"cosine"``, ``"one_cycle"``, …, an object such as
        ``Cosine(epochs=20)``, or a function of step and epoch that returns a factor. See
        `fastmlp.schedules`.
    l1, l2 : float, default 0
        Add ``l1 · Σ|w|`` and ``l2 / 2 · ‖W‖²`` to every objective: weights only, not divided by
        anything.
    penalties_over_rows : bool, default False
        Divide both by the number of rows in the minibatch, or by the sum of their weights, as
        scikit-learn divides its ``alpha``.
    clip_value : float, optional
        The highest size of any element of the gradient; a step cuts what exceeds it.
    clip_norm : float, optional
        The highest length of the whole gradient (after ``clip_value``); a step shortens a longer
        one. Pascanu, Mikolov and Bengio (2013).
    max_norm : float, optional
        The highest length of a neuron's incoming weights; after a step longer ones are shortened.
        Srebro and Shraibman (2005); recommended beside dropout.
    seed : int, optional
        For the order of rows and for dropout. None takes a random one, kept in ``seed``.
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
        schedule: Any = None,
        l1: float = 0.0,
        l2: float = 0.0,
        penalties_over_rows: bool = False,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        max_norm: float | None = None,
        seed: int | None = None,
        n_threads: int | None = None,
    ) -> None:
        if not isinstance(mlp, MLP):
            raise TypeError(f"mlp: got {type(mlp).__name__}, expected a fastmlp.MLP")
        # Not every program that imports the package trains.
        from . import schedules

        self._mlp = mlp
        self._loss = losses.get(loss, mlp.output)
        self._optimizer = optimizers.get(optimizer)
        self._loss.target_columns(mlp.sizes[-1])
        self._check_optimizer(
            l1=l1,
            penalties_over_rows=penalties_over_rows,
            clip_value=clip_value,
            clip_norm=clip_norm,
            max_norm=max_norm,
            schedule=None if isinstance(schedules.get(schedule), schedules.Constant) else schedule,
            missing=self._loss.takes_missing,
        )
        self.batch_size = batch_size
        self._schedule = schedules.get(schedule)
        self._l1, self._l2 = number("l1", l1, 0), number("l2", l2, 0)
        self._penalties_over_rows = flag("penalties_over_rows", penalties_over_rows)
        self._clip_value = _limit("clip_value", clip_value)
        self._clip_norm = _limit("clip_norm", clip_norm)
        self._max_norm = _limit("max_norm", max_norm)
        self.seed = (
            int.from_bytes(os.urandom(4)) if seed is None else whole_number("seed", seed, 0, 2**64)
        )
        self.n_threads = n_threads
        threads.resolve(n_threads)

        self.grads = kernels.zeros(mlp.n_params, mlp.dtype)
        n_vectors = self.optimizer.n_vectors
        self._state = kernels.zeros(n_vectors * mlp.n_params, mlp.dtype).reshape(
            n_vectors, mlp.n_params
        )
        self._schedule_state = self._schedule.new_state()
        self._memory = np.zeros(2)
        self._position = np.zeros(4, np.int64)
        self._running = np.array([0.0, np.inf])
        self._snapshot = np.empty_like(mlp.params)
        self._running_snapshot = np.empty_like(mlp._running)
        self._best = Best(mlp.params, mlp._running)
        self._history = History()
        # Losses of epochs from the first on, as compiled code writes them; see `history`.
        self._losses: tuple[int, NDArray[np.float64]] = (0, np.empty(0))
        self._fitting: Call | None = None
        # Of a call that was interrupted when a checkpoint was taken, for `resume`.
        self._unfinished: Unfinished | None = None
        self._lock = threading.RLock()
        self.epoch_range = (0, 0)
        self._kernels = kernels.of(mlp.dtype)
        self._plan: Any = None
        self._plan_code: int | None = None
        self._stage = "start"
        self._x: arrays.Rows | None = None
        self._went_back = False
        # A twin that is meant to diverge says nothing of it.
        self._quiet = False
        self._stop_asked = False

    def _check_optimizer(self, **others: object) -> None:
        """Refuse what Levenberg-Marquardt cannot work with."""
        if isinstance(self._optimizer, optimizers.LevenbergMarquardt):
            structure = self._mlp._structure
            plain = not any((*structure.normalization, *structure.dropout, structure.input_dropout))
            self._optimizer.check(
                self._mlp.n_params, self._mlp.dtype.name, self._loss.name, plain=plain,
                others=others,
            )  # fmt: skip

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
    def batch_size(self) -> int:
        """Rows in a minibatch; may be set between two calls of `fit`."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        self._batch_size = whole_number("batch_size", value, 1)

    @property
    def schedule(self) -> schedules.Schedule:
        """How the learning rate changes."""
        return self._schedule

    @property
    def l1(self) -> float:
        """The factor of the sum of the weights' sizes."""
        return self._l1

    @property
    def l2(self) -> float:
        """The factor of half the sum of their squares."""
        return self._l2

    @property
    def penalties_over_rows(self) -> bool:
        """Whether the minibatch's rows divide the two."""
        return self._penalties_over_rows

    @property
    def clip_value(self) -> float | None:
        """The highest size of an element of the gradient."""
        return self._clip_value

    @property
    def clip_norm(self) -> float | None:
        """The highest length of the gradient."""
        return self._clip_norm

    @property
    def max_norm(self) -> float | None:
        """The highest length of a neuron's incoming weights."""
        return self._max_norm

    @property
    def history(self) -> History:
        """What was measured after every epoch of all calls of `fit`."""
        # Whenever somebody looks, so that no epoch is missing wherever a signal has interrupted
        # the lines around the compiled loop.
        self._take_losses()
        if self._fitting is None:
            self._history._even_out()
        return self._history

    def _take_losses(self) -> None:
        """Add the losses that compiled code has written down since the last time."""
        first, found = self._losses
        known = self._history._n_epochs
        if self.epoch > known:
            self._history._take(known, found[known - first : self.epoch - first])

    def _count_epoch(self, loss: float) -> None:
        """Note an epoch that was not trained by compiled code, for doors to other optimizers."""
        self._take_losses()
        self._position[EPOCH] += 1
        self._history["loss"].append(loss)
        self._losses = (self.epoch, np.empty(0))

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
        if self._plan is None:
            mlp = self.mlp
            penalties = (
                self.l1, self.l2, self.optimizer.weight_decay, self.clip_value or 0,
                self.clip_norm or 0, self.max_norm or 0, self.penalties_over_rows,
            )  # fmt: skip
            self._plan = self._kernels.Plan(
                *mlp._structure.tables,
                mlp.params,
                buffers=mlp._running,
                input_dropout=mlp._structure.input_dropout,
                output_scaling=mlp._scaling("targets"),
                grads=self.grads,
                loss=code,
                loss_constants=loss_constants(self.loss, mlp.sizes[-1], mlp.dtype),
                loss_shares=loss_shares(self.loss, mlp.sizes[-1]),
                missing=self.loss.takes_missing,
                mean=self.loss.reduction == "mean",
                penalties=np.array(penalties, np.float64),
                optimizer=(self._kernels.OPTIMIZERS | self._kernels.SECOND_ORDER)[
                    self.optimizer.kernel
                ],
                settings=np.array(self.optimizer.settings, np.float64),
                state=self._state,
                memory=self._memory,
                readable=mlp._n_readable,
            )
        elif self._plan_code != code:
            self._plan.set_loss(code)
        self._plan_code = code
        return self._plan

    def _rest(self) -> None:
        """Give back the memory of the plan, which is made anew when it is needed."""
        self._plan = self._plan_code = None
        self._stage = "start"

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
        self._check_measured_scaling()
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
                self.mlp._source(rows),
                output,
                self.seed,
                self.n_steps,
                threads.resolve(self.n_threads),
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
        dtype = self.mlp.dtype
        with self.mlp._lock:
            plan = self._plan_for(loss_code(self.loss, targets, dtype))
            value, bad = plan.compute_loss(
                self.mlp._source(targets, "targets"),
                None if weights is None else weights.source(dtype),
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
        if not self.optimizer.elementwise:
            raise ValueError(
                f"step: {type(self.optimizer).__name__} makes its steps from all rows; use fit"
            )
        if self._stage != "backward":
            raise RuntimeError(
                "step: there is no new gradient; call forward(x), compute_loss(t) and backward() "
                "first"
            )
        with self._alone("step"):
            self._step(0.0, 0)

    def _step(self, value: float, n_rows: int) -> None:
        """Do what `step` does; ``n_rows`` rows with this objective are counted in the epoch."""
        with self.mlp._lock:
            self._plan.step(
                self._rate(),
                self._position,
                self._running,
                value,
                n_rows,
                threads.resolve(self.n_threads),
            )
        self._stage = "start"

    def _rate(self) -> float:
        """Return the learning rate of the next update made by hand."""
        step = self.n_steps
        if self._fitting is not None:
            return float(self._fitting.rates(step, 1)[0])
        rates = self.schedule.rates(self.optimizer.lr, step, 1, state=self._schedule_state)
        return float(rates[0])

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

    def per_sample_gradients(self, x: Any, t: Any) -> NDArray[Any]:
        """Return the gradient of every row's own loss, without penalties.

        Parameters
        ----------
        x : array_like, shape (n, n_in)
        t : array_like, shape (n,) or (n, n_targets)

        Returns
        -------
        ndarray, shape (n, n_params)
            Laid out like ``mlp.params``; their mean (or their sum, with ``reduction="sum"``) is the
            gradient of the minibatch. `grads` is left as it is.

        Raises
        ------
        ValueError, TypeError
            As `fit`; or if a layer normalises.

        Examples
        --------
        >>> import fastmlp as fm
        >>> trainer = fm.Trainer(fm.MLP([2, 1], seed=0), loss="mse")
        >>> trainer.per_sample_gradients([[1.0, 2.0], [3.0, 4.0]], [0.0, 1.0]).shape
        (2, 3)
        """
        return inspection.per_sample_gradients(self, x, t)

    def check_gradients(self, x: Any, t: Any, *, step: float | None = None) -> dict[str, float]:
        """Compare `backward` with central differences of the objective, in training mode.

        Two forward passes for every parameter: for small networks, and best in float64.

        Parameters
        ----------
        x : array_like, shape (n, n_in)
        t : array_like, shape (n,) or (n, n_targets)
        step : float, optional
            How far a parameter is moved each way, times its size if that is above 1. Default: the
            cube root of the type's eps, 6e-6 in float64.

        Returns
        -------
        dict of str to float
            For ``"layers.0.w"`` and so on, the norm of the difference, relative to the norm of that
            tensor's gradient (at least a thousandth of the whole). About 1e-9 in float64 away from
            the kinks of relu and its like; the network is left as it was.

        Raises
        ------
        ValueError, TypeError
            As `fit`.

        Examples
        --------
        >>> import fastmlp as fm
        >>> mlp = fm.MLP([2, 3, 1], activation="tanh", seed=0, dtype="float64")
        >>> errors = fm.Trainer(mlp, loss="mse").check_gradients([[1.0, 2.0]], [[3.0]])
        >>> max(errors.values()) < 1e-6
        True
        """
        return inspection.check_gradients(self, x, t, step)

    # ---- whole trainings

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        epochs: int | None = None,
        shuffle: bool = True,
        sample_weight: Any = None,
        class_weight: Any = None,
        validation_data: tuple[Any, ...] | None = None,
        validation_split: float = 0.0,
        metrics: Iterable[str | Callable[..., float]] = (),
        callbacks: Iterable[Callback] = (),
        early_stopping: str | EarlyStopping | None = None,
        target_loss: float | None = None,
        tol: float | None = None,
        patience: int = 10,
        max_seconds: float | None = None,
        checkpoint: str | PathLike[str] | Checkpoint | None = None,
        verbose: int = 0,
    ) -> History:
        """Train for a number of epochs, or until there is a reason to stop.

        Continues where the last call ended: optimizer, epoch count and history go on.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            Real numbers of any type and layout, finite; NumPy memmaps and SciPy's sparse rows too.
            Neither copied (unless the type is foreign) nor modified. Without ``y``: an iterable of
            minibatches ``(x, t)`` or ``(x, t, sample_weight)``, or a function that returns an
            iterator over those of an epoch; they are taken as they come.
        y : array_like, shape (n,) or (n, n_targets)
            Targets: class numbers or a probability for each class for cross-entropy, else numbers.
        epochs : int, optional
            How many more epochs. Default: 10; of a trainer that `resume` returned, those that the
            interrupted call had still to do.
        shuffle : bool, default True
            Visit the rows in a new order every epoch, which ``seed`` and the epoch's number decide.
        sample_weight : array_like, shape (n,), optional
            A weight of at least 0 for each row.
        class_weight : "balanced" or dict or array_like, optional
            A weight for each class, by number, which multiplies those of the rows. ``"balanced"``
            is n / (n_classes · rows of the class), as scikit-learn. Rows held out keep theirs.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Rows to measure ``val_loss`` and the metrics on after every epoch.
        validation_split : float, default 0
            Hold out this share of the rows for that instead; which ones, ``seed`` decides.
        metrics : iterable of str or callable, optional
            Names of `fastmlp.metrics` or functions of ``(y, prediction)``, for the validation data.
        callbacks : iterable of Callback, optional
        early_stopping : str or EarlyStopping, optional
            Stop when a measured number does not improve any more, and go back to the best epoch's
            network; a name such as ``"val_loss"`` stands for ``EarlyStopping("val_loss")``.
            Not after Ctrl-C and divergence.
        target_loss : float, optional
            Stop after an epoch with a loss of at most this.
        tol : float, optional
            Stop as converged when ``patience`` epochs in a row have not brought the loss more than
            ``tol`` below the best so far.
        patience : int, default 10
        max_seconds : float, optional
            Stop when so much time has passed, after the chunk of rows under way; a minibatch that
            is not whole then changes nothing.
        checkpoint : path-like or Checkpoint, optional
            Save the whole state of training, for `resume`; a path stands for once an epoch.
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
        if isinstance(early_stopping, str):
            early_stopping = EarlyStopping(early_stopping)
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        unfinished = self._unfinished if epochs is None else None
        given = Settings(
            Settings.epochs if epochs is None else epochs, shuffle, target_loss, tol, patience,
            max_seconds, early_stopping, validation_split,
        )  # fmt: skip
        if unfinished is not None:
            unfinished.settings.check_same(given)
            given = unfinished.settings
        wanted = named_metrics(metrics)
        if unfinished is not None and not wanted:
            wanted = named_metrics(unfinished.metrics)
        listeners = checked(callbacks)
        if unfinished is not None:
            listeners = [*unfinished.callbacks, *listeners]
        if verbose:
            listeners.append(Progress() if verbose == 1 else Progress(lines=given.epochs))
        data: Data | Stream
        held_out = self._held_out(validation_data)
        # What a stream holds is not known before it is read.
        seen: list[Data] = []
        if y is None:
            data = self._stream(X, given, sample_weight, class_weight)
        else:
            data = self._judged(X, y, sample_weight, class_weight)
            seen = [data]
            if given.validation_split > 0:
                if held_out is not None:
                    raise ValueError(
                        "validation_split: got one beside validation_data, expected one of the two"
                    )
                data, held_out = self._split(data, given, sample_weight)
        if held_out is not None:
            seen = [*seen, held_out]
        if held_out is None and wanted:
            raise ValueError(
                "metrics: got some, but no validation_data to measure them on; give it, or "
                "use mlp.evaluate(X, y, metrics=…) after training"
            )
        self._check_measured(given, held_out is not None, wanted)
        self._check_minibatches(data, listeners)
        if checkpoint is not None:
            checkpoint.check(self)
        validate = None if held_out is None else partial(self._validate, held_out, wanted)
        if validate is not None:
            validate()  # so that a metric that fails does so first
        _warn_of_zeros(self.mlp)
        self._run(
            given, data, seen, held_out=held_out, listeners=listeners, validate=validate,
            metrics=wanted, checkpoint=checkpoint, unfinished=unfinished,
        )  # fmt: skip
        if self.history.stop_reason == "diverged" and not self._quiet:
            self._warn_of_divergence()
        return self.history

    def _run(
        self,
        settings: Settings,
        data: Data | Stream,
        seen: list[Data],
        *,
        held_out: Data | None = None,
        listeners: Sequence[Callback] = (),
        validate: Callable[[], dict[str, float]] | None = None,
        metrics: Mapping[str, Metric] | None = None,
        checkpoint: Checkpoint | None = None,
        unfinished: Unfinished | None = None,
        order_of: Callable[[NDArray[np.int64]], None] | None = None,
    ) -> None:
        """Do what `fit` does, on arguments that have been judged; see `Call` for what they are."""
        with self._alone("fit"):
            self._stage = "start"
            self._stop_asked = False
            if unfinished is None:
                # A call begins with a whole epoch, also after one that was interrupted.
                self._running[:] = 0.0, math.inf
                self._position[[ROW, STALE]] = 0
                self.epoch_range = (self.epoch, self.epoch + settings.epochs)
                self._best = Best(self.mlp.params, self.mlp._running)
            call = Call(
                self, settings, data, seen, held_out, listeners, validate, metrics or {},
                checkpoint, 0.0 if unfinished is None else unfinished.seconds, order_of,
            )  # fmt: skip
            if unfinished is not None and call.fingerprint() != unfinished.fingerprint:
                raise ValueError(
                    "X: not the rows, targets and weights that the interrupted training had; give "
                    "those, or epochs for a new training"
                )
            self._unfinished = None
            self.history.stop_reason = None
            self.history.stop_reason = reason = call.run()
            if checkpoint is not None and reason != "interrupted":
                self.save_checkpoint(checkpoint.path)
            for listener in listeners:
                listener.on_fit_end(self)

    def partial_fit(self, X: Any, y: Any, *, sample_weight: Any = None) -> float:
        """Train on rows once, in the order they have: for data that come piece by piece.

        The rows are cut into minibatches of ``batch_size``, so that one call for each minibatch
        equals `fit` without shuffling. Neither counts as an epoch nor appears in ``history``.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
        y : array_like, shape (n,) or (n, n_targets)
        sample_weight : array_like, shape (n,), optional

        Returns
        -------
        float
            The mean of the minibatches' objectives, each before its update, weighted by their rows.

        Raises
        ------
        ValueError, TypeError
            If an argument is wrong; nothing is changed then.
        FloatingPointError
            If the loss is no longer a finite number; the network is as it was before the call.

        Examples
        --------
        >>> import fastmlp as fm
        >>> trainer = fm.Trainer(fm.MLP([1, 1], seed=0), optimizer=fm.SGD(lr=0.1))
        >>> for _ in range(100):
        ...     loss = trainer.partial_fit([[0.0], [1.0]], [1.0, 3.0])
        >>> loss < 0.01
        True
        """
        data = self._judged(X, y, sample_weight, None)
        self._check_measured_scaling()
        if not self.optimizer.elementwise:
            raise ValueError(
                f"partial_fit: {type(self.optimizer).__name__} makes its steps from all rows; use "
                f"fit"
            )
        with self._alone("partial_fit"):
            self._stage = "start"
            before = [a.copy() for a in (self.mlp.params, self.mlp._running, self._state)]
            steps, total = self.n_steps, 0.0
            for start in range(0, len(data), self.batch_size):
                end = min(start + self.batch_size, len(data))
                minibatch = data.take(np.arange(start, end))
                self._forward(minibatch.rows)
                value, _ = self._compute_loss(minibatch.targets, minibatch.weights)
                if not math.isfinite(value):
                    total = math.nan
                    break
                self.backward()
                self.step()
                total += value * (end - start)
            # The last update may have left what is no number, too.
            if math.isnan(total) or not np.isfinite(self.mlp.params).all():
                with self.mlp._lock:
                    for a, old in zip(
                        (self.mlp.params, self.mlp._running, self._state), before, strict=True
                    ):
                        a[:] = old
                self._position[STEP] = steps
                self._stage = "start"
                raise FloatingPointError(
                    f"partial_fit: the loss is no longer a finite number; the network is as it "
                    f"was. {self._advice()}"
                )
        return total / len(data)

    def _judged(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        class_weight: Any,
        names: tuple[str, str] = ("X", "y"),
    ) -> Data:
        """Return rows, targets and weights that training can use."""
        mlp = self.mlp
        rows = arrays.inputs(X, mlp.sizes[0], names[0])
        rows.check_finite(mlp.dtype)
        targets, weights = arrays.targets_and_weights(
            y, self.loss, mlp.sizes[-1], len(rows), mlp.dtype, sample_weight, class_weight, names[1]
        )
        return Data(rows, targets, weights)

    def _stream(self, X: Any, settings: Settings, sample_weight: Any, class_weight: Any) -> Stream:
        """Return minibatches that come one by one."""
        is_stream = callable(X) or isinstance(X, Iterable)
        are_rows = hasattr(X, "dtype")
        if isinstance(X, list | tuple) and X and isinstance(X[0], list | tuple):
            are_rows = bool(np.isscalar(X[0][:1] and X[0][0]))
        if are_rows or not is_stream:
            raise ValueError(
                "y: missing; give fit(X, y), or an iterable of minibatches (x, t) as the only one"
            )
        self._check_measured_scaling()
        for name, value in (
            ("sample_weight", sample_weight), ("class_weight", class_weight),
            ("validation_split", settings.validation_split or None),
        ):  # fmt: skip
            if value is not None:
                raise ValueError(
                    f"{name}: got one for minibatches that come one by one; give each minibatch "
                    f"its weights, and validation rows as validation_data"
                )
        return Stream(X, self, settings.epochs)

    def _split(self, data: Data, settings: Settings, sample_weight: Any) -> tuple[Data, Data]:
        """Return the rows to train on, and those held out, which classes do not weigh."""
        n = len(data)
        n_out = round(settings.validation_split * n)
        if not 0 < n_out < n:
            raise ValueError(
                f"validation_split: {settings.validation_split:g} of {n} rows is {n_out}, expected "
                f"at least one row to hold out and one to train on"
            )
        order = np.empty(n, np.int64)
        self._kernels.row_order(order, self.seed, EPOCH_OF_SPLIT)
        own = arrays.weights(sample_weight, n, self.mlp.dtype)
        held_out = replace(data, weights=own).subset(np.sort(order[:n_out]))
        return data.subset(np.sort(order[n_out:])), held_out

    def _check_minibatches(self, data: Data | Stream, listeners: list[Callback]) -> None:
        """Refuse minibatches that the optimizer or the network cannot be trained on."""
        by_hand = isinstance(data, Stream) or any(
            overrides(listener, "on_gradient", "on_batch_end") for listener in listeners
        )
        if by_hand and not self.optimizer.elementwise:
            raise ValueError(
                f"optimizer: {type(self.optimizer).__name__} makes its steps from all rows, "
                f"expected arrays and no callback that listens to minibatches"
            )
        if isinstance(data, Stream):
            # A schedule that needs to know how long an epoch is says so now.
            self.schedule.rates(
                self.optimizer.lr, 0, 1, data.length, (data.length or 0) * data.epochs or None,
                state=self._schedule_state,
            )  # fmt: skip
        elif self.optimizer.elementwise:
            self._check_batch_size(min(self.batch_size, len(data)))

    def _check_measured_scaling(self) -> None:
        """Refuse minibatches one by one while it is not known what they are scaled by."""
        if self.mlp._is_unmeasured:
            raise ValueError(
                "scale: 'standard' is measured on the rows of the first fit(X, y), expected that "
                "before minibatches come one by one; or make the network with a number"
            )

    def _check_batch_size(self, rows: int) -> None:
        if rows == 1 and any(map(self.mlp._structure.is_batch, range(len(self.mlp.weights)))):
            raise ValueError(
                "batch_size: minibatches of one row, expected at least two for a network that "
                "normalises over the batch; use normalization='layer' otherwise"
            )

    def _check_measured(
        self, settings: Settings, validates: bool, wanted: dict[str, Metric]
    ) -> None:
        """Refuse to depend on a number that nobody measures."""
        names = ["loss"]
        if validates:
            names += ["val_loss", *(f"val_{name}" for name in wanted)]
        self.schedule.check_measured(names)
        early = settings.early_stopping
        if early is not None and early.metric in names:
            early.sign(wanted)
        if early is not None and early.metric not in names:
            raise ValueError(
                f"early_stopping: {early.metric!r} is not measured, expected one of "
                f"{', '.join(names)}; give validation_data and metrics for others"
            )

    def find_learning_rate(
        self,
        X: Any,
        y: Any,
        *,
        lowest: float = 1e-7,
        highest: float = 10.0,
        steps: int = 200,
        sample_weight: Any = None,
    ) -> finder.LearningRates:
        """Search for a learning rate to begin with, on a copy: this trainer is left as it is.

        The rate grows from one minibatch to the next until the loss does, too: Smith, "Cyclical
        learning rates for training neural networks" (2017).

        Parameters
        ----------
        X : array_like, shape (n, n_in)
        y : array_like, shape (n,) or (n, n_targets)
        lowest, highest : float, default 1e-7 and 10
            Above 0: where the search begins and, at the latest, ends.
        steps : int, default 200
            Minibatches at most; at least 10.
        sample_weight : array_like, shape (n,), optional

        Returns
        -------
        LearningRates
            ``rates``, ``losses`` and ``suggestion``; `fastmlp.plots.learning_rates` draws it.

        Raises
        ------
        ValueError, TypeError
            As `fit`; or if training diverges from the first.

        Examples
        --------
        >>> import fastmlp as fm
        >>> (X, y), _ = fm.datasets.digits()
        >>> trainer = fm.Trainer(fm.MLP([64, 32, 10], output="softmax", seed=0), seed=0)
        >>> 1e-4 < trainer.find_learning_rate(X, y).suggestion < 1
        True
        """
        from . import finder

        return finder.find_learning_rate(self, X, y, lowest, highest, steps, sample_weight)

    def _twin(self, schedule: schedules.Schedule) -> Trainer:
        """Return a new trainer of the same settings, for a copy of the network."""
        return Trainer(
            self.mlp.copy(),
            loss=self.loss,
            optimizer=self.optimizer,
            batch_size=self.batch_size,
            schedule=schedule,
            l1=self.l1,
            l2=self.l2,
            penalties_over_rows=self.penalties_over_rows,
            clip_value=self.clip_value,
            clip_norm=self.clip_norm,
            max_norm=self.max_norm,
            seed=self.seed,
            n_threads=self.n_threads,
        )

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Write the whole state of training to one file, from which `resume` goes on.

        Parameters
        ----------
        path : path-like
            Where to; written to a temporary file beside it and moved into place.

        Raises
        ------
        OSError
            If it cannot be written; an old file is then untouched.
        ValueError
            If a parameter is not finite.
        """
        from .checkpoints import save_checkpoint

        save_checkpoint(self, path)

    @classmethod
    def resume(
        cls,
        path: str | PathLike[str],
        *,
        callbacks: Iterable[Callback] = (),
        schedule: Any = None,
        n_threads: int | None = None,
    ) -> Trainer:
        """Return a trainer that goes on exactly where a checkpoint was taken.

        ``fit`` with the same rows and without ``epochs`` finishes the call that was interrupted:
        the same bits as if it had not been.

        Parameters
        ----------
        path : path-like
            A file that `save_checkpoint` or ``fit(checkpoint=…)`` wrote.
        callbacks : iterable of Callback, optional
            For the call that is finished: no file holds code.
        schedule : callable, optional
            The function, if the schedule was one of the user's own.
        n_threads : int, optional

        Returns
        -------
        Trainer

        Raises
        ------
        ValueError
            If the file is not a whole, unchanged checkpoint.
        OSError
            If it cannot be read.
        """
        from .checkpoints import load_checkpoint

        return load_checkpoint(cls, path, checked(callbacks), schedule, n_threads)

    def stop(self) -> None:
        """End the training under way after the event that calls this: for callbacks."""
        self._stop_asked = True

    def _held_out(self, data: tuple[Any, ...] | None) -> Data | None:
        """Return the validation data that were given, judged."""
        if data is None:
            return None
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            got = f"{len(data)} values" if isinstance(data, tuple | list) else type(data).__name__
            raise ValueError(
                f"validation_data: got {got}, expected (X, y) or (X, y, sample_weight)"
            )
        X, y, weight = (*data, None)[:3]
        return self._judged(X, y, weight, None, ("validation_data X", "validation_data y"))

    def _validate(self, held_out: Data, wanted: dict[str, Metric]) -> dict[str, float]:
        """Measure the rows held out."""
        numbers = self.mlp._evaluate(
            held_out.rows, held_out.targets, held_out.weights, self.loss, wanted, self.n_threads
        )
        return {f"val_{name}": value for name, value in numbers.items()}

    def _advice(self) -> str:
        advice = f"Try a learning rate below {self.optimizer.lr:g}, data scaled to about 1"
        return advice + ("" if self.mlp.dtype == np.float64 else ", or dtype='float64'")

    def _warn_of_divergence(self) -> None:
        _warn(
            f"training diverged in epoch {self.epoch + 1}: the loss is no longer a finite number. "
            f"The network is what it was after epoch {self.epoch}. {self._advice()}"
        )


class Unfinished:
    """A call of ``fit`` that was under way when a checkpoint was taken."""

    def __init__(
        self,
        settings: Settings,
        fingerprint: str,
        metrics: list[str],
        seconds: float,
        callbacks: list[Callback],
    ) -> None:
        self.settings, self.fingerprint, self.metrics = settings, fingerprint, metrics
        self.seconds, self.callbacks = seconds, callbacks


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


def _limit(name: str, value: float | None) -> float | None:
    return None if value is None else number(name, value, 0, above=True)
