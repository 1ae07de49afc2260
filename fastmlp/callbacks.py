"""The events of training, and the listeners that come with the package.

Training announces events; printing, bars and plots listen. Subclass `Callback` and override what
you want to hear. Training returns to Python only for events that somebody overrides: a listener to
epochs costs a few microseconds an epoch, one to minibatches turns the compiled loop into a Python
loop over minibatches (with the same results, bit for bit).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from .arguments import whole_number

if TYPE_CHECKING:
    from .training import Trainer

__all__ = ["Callback", "Progress"]


class Callback:
    """Base of all listeners: every event, doing nothing.

    In every event, ``trainer.history`` holds the epochs so far, ``trainer.mlp`` is the network, and
    ``trainer.stop()`` ends the training after the event.

    Examples
    --------
    >>> import fastmlp as fm
    >>> class Shout(fm.Callback):
    ...     def on_epoch_end(self, trainer):
    ...         print(f"epoch {trainer.epoch} done")
    >>> X, y = fm.datasets.xor()
    >>> history = fm.MLP([2, 4, 1]).fit(X, y, epochs=2, callbacks=[Shout()])
    epoch 1 done
    epoch 2 done
    """

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Before the first epoch of a call of ``fit``."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Before an epoch; ``trainer.epoch`` whole ones came before it."""

    def on_gradient(self, trainer: Trainer) -> None:
        """Between backward and step: ``trainer.grads`` may be read and changed in place."""

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        """After a minibatch's step; ``loss`` is its objective, before the step."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After an epoch, its validation included; its numbers are in ``trainer.history``."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch; ``trainer.history.stop_reason`` says why."""


def overrides(callback: Callback, *events: str) -> bool:
    """Whether a callback listens to one of the events."""
    return any(getattr(type(callback), event) is not getattr(Callback, event) for event in events)


def checked(callbacks: Iterable[Callback]) -> list[Callback]:
    """Return callbacks as a list; refuse what is none."""
    listeners = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    for listener in listeners:
        if not isinstance(listener, Callback) or not isinstance(callbacks, Iterable):
            raise TypeError(
                f"callbacks: got {listener!r}, expected a list of objects of subclasses of "
                f"fastmlp.Callback"
            )
    return listeners


class Progress(Callback):
    """One plain line of progress for an epoch, on at most about ``lines`` epochs.

    Parameters
    ----------
    lines : int, default 20
        How many lines to print at most for one call of ``fit``; with more epochs than that, only
        every so many epochs one is printed, the last always.
    file : text stream, optional
        Default: standard output, looked up when it is written to.

    Raises
    ------
    ValueError
        If ``lines`` is below 1.
    """

    def __init__(self, lines: int = 20, file: TextIO | None = None) -> None:
        self.lines = whole_number("lines", lines, 1)
        self.file = file
        self._printed = -1

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Note when the training begins."""
        self._started = time.perf_counter()
        self._printed = -1

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Print the epoch's line if it is its turn."""
        first, last = trainer.epoch_range
        every = -(-(last - first) // self.lines)
        if (trainer.epoch - first) % every == 0 or trainer.epoch == last:
            self._print(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Print the last epoch's line, and why training ended if not for the number of epochs."""
        if trainer.epoch not in (self._printed, trainer.epoch_range[0]):
            self._print(trainer)
        if trainer.history.stop_reason != "epochs":
            self._write(f"stopped: {trainer.history.stop_reason}")

    def _print(self, trainer: Trainer) -> None:
        self._printed = trainer.epoch
        last = trainer.epoch_range[1]
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in trainer.history.last().items())
        seconds = time.perf_counter() - self._started
        self._write(f"epoch {trainer.epoch:>{len(str(last))}}/{last}  {numbers}  {seconds:.1f} s")

    def _write(self, line: str) -> None:
        print(line, file=self.file or sys.stdout, flush=True)
