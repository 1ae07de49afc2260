"""Where a training stands, apart from its network: for pickles, and for another trainer to go on.

A pickle may come from anywhere, so what compiled code will rely on is judged when it comes in.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import schedules
from ..arguments import whole_number
from ..fitting import EPOCH, STEP
from ..history import History
from ..network import MLP
from ..optimizers import SGD, Adam, Optimizer
from ..training import Trainer


@dataclass
class Standing:
    """What an optimizer has come to: its vectors, its counts, the rate and the history."""

    optimizer: Optimizer
    vectors: NDArray[Any]
    memory: NDArray[np.float64]
    rate: NDArray[np.float64]
    n_steps: int
    n_epochs: int
    seed: int
    history: History

    @classmethod
    def of(cls, trainer: Trainer) -> Standing:
        """Return where a trainer stands; the arrays are its own."""
        return cls(
            trainer.optimizer, trainer._state, trainer._memory, trainer._schedule_state,
            trainer.n_steps, trainer.epoch, trainer.seed, trainer.history,
        )  # fmt: skip

    @classmethod
    def of_theirs(cls, optimizer: Any, mlp: MLP) -> Standing:
        """Return where an optimizer of scikit-learn's stands that trains the same network."""
        lr, rate = optimizer.learning_rate_init, []
        if hasattr(optimizer, "ms"):
            ours: Optimizer = Adam(
                lr, optimizer.beta_1, optimizer.beta_2, optimizer.epsilon,
                eps_before_correction=True,
            )  # fmt: skip
            vectors, n_steps = [optimizer.ms, optimizer.vs], int(optimizer.t)
        else:
            nesterov = bool(optimizer.nesterov and optimizer.momentum > 0)
            ours = SGD(
                lr, momentum=optimizer.momentum, nesterov=nesterov, rate_inside_velocity=True
            )
            vectors, n_steps = [optimizer.velocities][: ours.n_vectors], 0
            if optimizer.lr_schedule != "constant":
                rate = [float(optimizer.learning_rate)]
        flat = np.zeros((ours.n_vectors, mlp.n_params), mlp.dtype)
        parts = mlp._structure.parts
        for row, arrays in zip(flat, vectors, strict=True):
            # One array for each layer's weights, then one for each layer's biases.
            n = len(parts)
            for part, w, b in zip(parts, arrays[:n], arrays[n:], strict=True):
                row[part.w], row[part.b] = np.ravel(w), b
        return cls(ours, flat, np.zeros(2), np.array(rate, np.float64), n_steps, 0, 0, History())

    def judged(self, mlp: MLP) -> Standing:
        """Return what was read from a pickle, copied, if a trainer of ``mlp`` can go on from it."""
        optimizer = self.optimizer
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"optimizer: got {optimizer!r}, expected one of fastmlp's")
        # Made anew, for an unpickled one has not been judged.
        optimizer = replace(
            optimizer, **{f.name: getattr(optimizer, f.name) for f in fields(optimizer) if f.init}
        )
        vectors = _array("vectors", self.vectors, (optimizer.n_vectors, mlp.n_params), mlp.dtype)
        memory = _array("memory", self.memory, (2,), np.dtype(np.float64))
        rate = _array("rate", self.rate, (np.size(self.rate),), np.dtype(np.float64))
        n_epochs = whole_number("n_epochs", self.n_epochs, 0, schedules.MOST_STEPS)
        n_steps = whole_number("n_steps", self.n_steps, 0, schedules.MOST_STEPS)
        seed = whole_number("seed", self.seed, 0, 2**64)
        history = _history(self.history, n_epochs)
        return Standing(optimizer, vectors, memory, rate, n_steps, n_epochs, seed, history)

    def give(self, trainer: Trainer) -> None:
        """Let a new trainer of the same network and optimizer go on from here."""
        trainer._state[:] = self.vectors
        trainer._memory[:] = self.memory
        if len(self.rate) == len(trainer._schedule_state):
            trainer._schedule_state[:] = self.rate
        trainer._position[STEP], trainer._position[EPOCH] = self.n_steps, self.n_epochs
        trainer._history = self.history
        trainer._losses = self.n_epochs, np.empty(0)


class Last(NamedTuple):
    """The network after the last epoch, where it has then gone back to the best one's."""

    params: NDArray[Any]
    running: NDArray[np.float64]
    # By which it is seen whether somebody has changed it since.
    best: NDArray[Any]


@dataclass
class Course:
    """What a call of ``fit`` that goes on exactly needs beside: ``continue_exactly``.

    The order of rows in the last epoch, the rows trained on and those held out, and the last
    network.
    """

    order: NDArray[np.int64] | None = None
    split: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    last: Last | None = None

    def judged(self, mlp: MLP) -> Course:
        """Return what was read from a pickle, copied, if it is whole."""
        order, split, last = self.order, self.split, self.last
        if order is not None:
            order = _rows("order", order)
        if split is not None:
            train, held_out = split
            both = _rows("split", np.concatenate([np.asarray(train), np.asarray(held_out)]))
            split = both[: len(train)], both[len(train) :]
        if last is not None:
            params = mlp.params
            last = Last(
                _array("last", last.params, params.shape, params.dtype),
                _array("last", last.running, mlp._running.shape, mlp._running.dtype),
                _array("last", last.best, params.shape, params.dtype),
            )
        return Course(order, split, last)


def _array(name: str, given: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if not isinstance(given, np.ndarray) or given.shape != shape or given.dtype != dtype:
        got = f"{given.dtype} {given.shape}" if isinstance(given, np.ndarray) else repr(given)
        raise ValueError(f"{name}: got {got}, expected {dtype} {shape}")
    return given.copy()


def _rows(name: str, given: Any) -> NDArray[np.int64]:
    """Return the numbers of rows: each from 0 to n - 1 once."""
    rows = _array(name, given, np.shape(given), np.dtype(np.int64))
    if rows.ndim != 1 or not np.array_equal(np.sort(rows), np.arange(len(rows))):
        raise ValueError(f"{name}: got {rows!r}, expected the number of each row once")
    return rows


def _history(given: Any, n_epochs: int) -> History:
    columns = given._columns if isinstance(given, History) else {}
    if "loss" not in columns or any(len(column) != n_epochs for column in columns.values()):
        raise ValueError(f"history: got {given!r}, expected one of {n_epochs} epochs")
    found = History()
    found._columns = {str(name): [float(v) for v in column] for name, column in columns.items()}
    found.stop_reason = given.stop_reason
    return found
