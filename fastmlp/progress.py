"""A progress bar by tqdm: ``pip install "fastmlp[progress]"``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .callbacks import Callback

try:
    from tqdm.auto import tqdm
except ImportError as error:
    raise ImportError(
        f"ProgressBar needs tqdm ({error}): pip install 'fastmlp[progress]'"
    ) from error

if TYPE_CHECKING:
    from .training import Trainer

__all__ = ["ProgressBar"]


class ProgressBar(Callback):
    """A tqdm bar over the epochs, with the latest numbers beside it.

    Parameters
    ----------
    **options
        Passed on to ``tqdm.auto.tqdm`` (``file``, ``desc``, ``leave``, …).
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Draw an empty bar."""
        first, last = trainer.epoch_range
        self._bar = tqdm(total=last - first, unit="epoch", **self.options)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Move the bar by one epoch."""
        self._bar.set_postfix(
            {name: f"{value:.4g}" for name, value in trainer.history.last().items()}, refresh=False
        )
        self._bar.update()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Leave the bar as it stands."""
        self._bar.close()
