"""What was measured after every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["History"]


class History(Mapping[str, Sequence[float]]):
    """What was measured after every epoch: a mapping from names to lists, one entry an epoch.

    ``history["loss"]`` is the mean of the minibatches' objectives as they were trained on
    (penalties included), weighted by their rows. With validation data, ``"val_loss"`` (without
    penalties) and ``"val_<metric>"`` follow.

    Attributes
    ----------
    stop_reason : str or None
        Why the last call of ``fit`` ended: ``"epochs"``, ``"converged"``, ``"target_loss"``,
        ``"early_stopping"`` (also when a callback asked), ``"max_seconds"``, ``"interrupted"`` or
        ``"diverged"``; None before.
    """

    def __init__(self) -> None:
        self.stop_reason: str | None = None
        self._columns: dict[str, list[float]] = {"loss": []}
        # Losses that nobody has looked at yet: the first one's epoch, and the array they came in.
        # A tiny network trains for as long as it takes to make Python's numbers of them.
        self._pieces: list[tuple[int, NDArray[np.float64]]] = []

    def __getitem__(self, name: str) -> list[float]:
        if name == "loss" and self._pieces:
            loss = self._columns["loss"]
            # What a signal interrupts is done again, and nothing comes twice.
            for first, values in self._pieces:
                loss.extend(values[max(len(loss) - first, 0) :].tolist())
            self._pieces.clear()
        return self._columns[name]

    def __getstate__(self) -> dict[str, object]:
        self["loss"]  # with what nobody has looked at
        return self.__dict__.copy()

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
        n_epochs = self._n_epochs
        return {name: column[-1] for name, column in self.items() if len(column) == n_epochs > 0}

    @property
    def _n_epochs(self) -> int:
        n_losses = len(self._columns["loss"])
        if not self._pieces:
            return n_losses
        first, values = self._pieces[-1]
        return max(n_losses, first + len(values))

    def _take(self, first: int, values: NDArray[np.float64]) -> None:
        """Take the losses of the epochs from the ``first``-th on, of which none is known yet."""
        self._pieces.append((first, values))

    def _append(self, numbers: Mapping[str, float]) -> None:
        """Add to the epoch just finished; a column has nan for epochs it was not measured in."""
        n_epochs = self._n_epochs
        for name, value in numbers.items():
            column = self._columns.setdefault(name, [])
            column.extend([math.nan] * (n_epochs - len(column)))
            column[-1] = value

    def _even_out(self) -> None:
        n_epochs = self._n_epochs
        for name, column in self._columns.items():
            if name != "loss":
                column.extend([math.nan] * (n_epochs - len(column)))
