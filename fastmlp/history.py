"""What was measured after every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

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
