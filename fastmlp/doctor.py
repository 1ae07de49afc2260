"""A doctor: names what goes wrong while a network learns, and what to do about it.

It looks at a sample of the rows now and then, on a copy, and at the losses of all epochs at the
end. What it measures stands beside each rule, with the threshold and why it was set there.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from . import inspection
from .arguments import number, whole_number
from .callbacks import Callback
from .fitting import Data

if TYPE_CHECKING:
    from .training import Trainer

__all__ = ["Doctor", "Finding"]

# Inputs: the columns' deviations, or how far their means lie from zero, beyond which the first
# layer's scores are far from the size that initial weights are made for.
WIDEST_STD, NARROWEST_STD, FURTHEST_MEAN = 20.0, 0.02, 20.0
# A unit is dead that puts out zero for every row, and saturated where its slope is below a
# hundredth of the steepest in nearly all of them; a layer is ill if so many are.
ILL_SHARE, SATURATED_ROWS, FLAT = 0.5, 0.95, 0.01
# The root mean square of dz, of the first hidden layer over the last layer's.
VANISHED, EXPLODED = 1e-4, 30.0
# Of the loss of the best constant prediction: above it nothing has been learned.
NOTHING_LEARNED = 0.92
# Epochs without which nothing is said about a course of losses.
FEWEST_EPOCHS = 6
# A rate is too high that brings the loss of the first epoch to so many times what it was, or leaves
# losses that rise in so large a share of the epochs, by so much of the constant prediction's loss.
BLOWN_UP, ROUGH_SHARE, ROUGH_STEP = 3.0, 0.2, 0.04
# A rate is too low if the first epoch leaves the loss nearly what it was, and all others bring it
# down a little, the late ones too, and there is far to go.
SLOW_START, STEADY, STILL_FALLING, FAR_FROM_DONE = 0.15, 0.1, 0.15, 0.7
# Findings in the order of cause and effect.
ORDER = (
    "unscaled_inputs",
    "rate_too_high",
    "dead_units",
    "saturated_units",
    "exploding_gradients",
    "vanishing_gradients",
    "rate_too_low",
    "labels_not_learned",
)


@dataclass(frozen=True)
class Finding:
    """What a `Doctor` has found.

    Attributes
    ----------
    name : str
        ``"dead_units"``, ``"saturated_units"``, ``"vanishing_gradients"``,
        ``"exploding_gradients"``, ``"unscaled_inputs"``, ``"rate_too_high"``, ``"rate_too_low"`` or
        ``"labels_not_learned"``.
    layer : int or None
        Which layer, where it is one.
    message : str
        What was measured.
    advice : str
        What to do.
    """

    name: str
    layer: int | None
    message: str
    advice: str

    def __str__(self) -> str:
        where = "" if self.layer is None else f" in layer {self.layer}"
        return f"{self.name}{where}: {self.message}; {self.advice}"


class Doctor(Callback):
    """Examine a training while it goes on: ``fit(…, callbacks=[Doctor()])``.

    Parameters
    ----------
    rows : int, default 256
        How many rows to look at.
    share : float, default 0.02
        Of the training's time that looking may take, from 0 up to 1.
    file : text stream, optional
        Where to print what was found at the end. Default: standard error.
    verbose : bool, default True
        Whether to print at all.

    Attributes
    ----------
    findings : list of Finding
        What was found in the latest training, causes before effects; complete when it has ended.

    Raises
    ------
    ValueError
        If a number is outside its range.

    Examples
    --------
    >>> import numpy as np, fastmlp as fm
    >>> X = np.random.default_rng(0).normal(0, 1000, (500, 3))
    >>> doctor = fm.Doctor(verbose=False)
    >>> _ = fm.MLP([3, 8, 1], seed=0).fit(X, X[:, 0] / 1000, epochs=10, callbacks=[doctor])
    >>> "unscaled_inputs" in [finding.name for finding in doctor.findings]
    True
    """

    def __init__(
        self,
        *,
        rows: int = 256,
        share: float = 0.02,
        file: TextIO | None = None,
        verbose: bool = True,
    ) -> None:
        self.rows = whole_number("rows", rows, 1)
        self.share = number("share", share, 0, 1)
        self.file, self.verbose = file, verbose
        self.findings: list[Finding] = []

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Take the sample, and look at the inputs."""
        self.findings = []
        self._spent, self._longest, self._looks = 0.0, 0.0, 0
        self._began = time.perf_counter()
        self._first_epoch = trainer.epoch
        self._sample: Data | None = None
        self._constant_loss = self._constant_val_loss = self._first_loss = math.nan
        call = trainer._fitting
        if call is not None and isinstance(call.data, Data):
            n = len(call.data)
            chosen = np.linspace(0, n - 1, min(self.rows, n)).astype(np.int64)
            self._sample = call.data.take(chosen)
            self._look_at_inputs(trainer)
            self._constant_loss = _loss_of_constant(trainer, call.data, call.data)
            if call.held_out is not None:
                self._constant_val_loss = _loss_of_constant(trainer, call.data, call.held_out)
            self._examine(trainer)
            self._first_loss = self._loss
            self._keep_only("unscaled_inputs")

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Look at the layers, if there is time for it."""
        elapsed = time.perf_counter() - self._began
        if self._sample is not None and self._spent + self._longest <= self.share * elapsed:
            self._examine(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Look at the course of the losses, and print what was found."""
        elapsed = time.perf_counter() - self._began
        if self._sample is not None and self._spent + self._longest <= self.share * elapsed:
            self._examine(trainer)
        self._look_at_losses(trainer)
        self.findings.sort(key=lambda finding: ORDER.index(finding.name))
        if self.verbose:
            for finding in self.findings:
                print(f"doctor: {finding}", file=self.file or sys.stderr)

    def _find(self, name: str, layer: int | None, message: str, advice: str) -> None:
        """Note a finding, once for each layer, with what was measured last."""
        self.findings = [f for f in self.findings if (f.name, f.layer) != (name, layer)]
        self.findings.append(Finding(name, layer, message, advice))

    def _lose(self, name: str, layer: int | None) -> None:
        """Forget what is no longer so."""
        self.findings = [f for f in self.findings if (f.name, f.layer) != (name, layer)]

    def _keep_only(self, name: str) -> None:
        """Forget the layers as they were before the first update."""
        self.findings = [f for f in self.findings if f.name == name]

    def _look_at_inputs(self, trainer: Trainer) -> None:
        assert self._sample is not None
        if trainer.mlp.scale is not None:
            return
        mean, std = self._sample.rows.mean_and_std()
        # A constant column has the deviation 1 here, and does no harm.
        widest, narrowest = int(np.argmax(std)), int(np.argmin(std))
        furthest = int(np.argmax(np.abs(mean)))
        if std[widest] > WIDEST_STD or abs(mean[furthest]) > FURTHEST_MEAN:
            wide = std[widest] > WIDEST_STD
            what = (
                f"column {widest} of X has the standard deviation {std[widest]:.3g}"
                if wide
                else f"column {furthest} of X has the mean {mean[furthest]:.3g}"
            )
        elif std[widest] < NARROWEST_STD:
            what = f"no column of X has a standard deviation above {std[widest]:.3g}"
        elif std[narrowest] > 0 and std[widest] / std[narrowest] > WIDEST_STD / NARROWEST_STD:
            what = f"X has columns with deviations from {std[narrowest]:.3g} to {std[widest]:.3g}"
        else:
            return
        self._find(
            "unscaled_inputs", None, what, "make the network with scale='standard', or scale X"
        )

    def _examine(self, trainer: Trainer) -> None:
        """Push the sample forward and back on a copy of the plan, and look at every layer."""
        assert self._sample is not None
        began = time.perf_counter()
        mlp = trainer.mlp
        with mlp._lock:
            self._loss, layers = inspection.layers_of(trainer, self._sample)
        self._looks += 1
        sizes = []
        for i, (a, z, dz) in enumerate(layers):
            sizes.append(math.sqrt(float(np.mean(np.square(dz, dtype=np.float64)))))
            if i < len(layers) - 1:
                self._look_at_units(mlp.activations[i].partition("(")[0], i, a, z)
        if len(sizes) > 1 and sizes[-1] > 0:
            self._look_at_gradients(sizes)
        took = time.perf_counter() - began
        self._spent += took
        self._longest = max(self._longest, took)

    def _look_at_units(self, name: str, i: int, a: NDArray[Any], z: NDArray[Any]) -> None:
        if name == "relu":
            dead = float(np.mean((a <= 0).all(axis=0)))
            if dead > ILL_SHARE:
                self._find(
                    "dead_units", i, f"{dead:.0%} of its units put out zero for every row",
                    "lower the learning rate, or use activation='leaky_relu' and fresh weights",
                )  # fmt: skip
            else:
                self._lose("dead_units", i)
        elif name in ("sigmoid", "tanh", "hard_sigmoid"):
            slope = 1 - a**2 if name == "tanh" else 4 * a * (1 - a)
            saturated = float(np.mean(np.mean(slope < FLAT, axis=0) > SATURATED_ROWS))
            if saturated > ILL_SHARE:
                self._find(
                    "saturated_units", i, f"{saturated:.0%} of its units are at an end of their "
                    "range for nearly every row", "scale the inputs, start from smaller weights, "
                    "or lower the learning rate",
                )  # fmt: skip
            else:
                self._lose("saturated_units", i)

    def _look_at_gradients(self, sizes: list[float]) -> None:
        ratio = sizes[0] / sizes[-1]
        if ratio < VANISHED:
            self._find(
                "vanishing_gradients", 0, f"its gradients are {ratio:.1e} of the last layer's",
                "use activation='relu' or normalization, fewer layers, or the default initial "
                "weights",
            )  # fmt: skip
        elif ratio > EXPLODED:
            self._find(
                "exploding_gradients", 0, f"its gradients are {ratio:.1e} times the last layer's",
                "start from smaller weights, use normalization, or give clip_norm",
            )  # fmt: skip

    def _look_at_losses(self, trainer: Trainer) -> None:
        losses = np.array(trainer.history["loss"][self._first_epoch :])
        reason = trainer.history.stop_reason
        slower = f"try lr={trainer.optimizer.lr / 10:g}, or trainer.find_learning_rate(X, y)"
        if reason == "diverged":
            self._find("rate_too_high", None, "training diverged", slower)
            return
        if len(losses) < FEWEST_EPOCHS:
            return
        if losses[0] > BLOWN_UP * max(self._first_loss, self._constant_loss):
            self._find(
                "rate_too_high", None, f"the first epoch brought the loss from "
                f"{self._first_loss:.3g} to {losses[0]:.3g}", slower,
            )  # fmt: skip
            return
        steps = np.diff(losses)
        late = steps[len(steps) // 2 :]
        rises = late[late > 0]
        if (
            len(rises) > ROUGH_SHARE * len(late)
            and np.median(rises) > ROUGH_STEP * self._constant_loss
        ):
            self._find(
                "rate_too_high", None, f"the loss goes up again and again, by "
                f"{np.median(rises):.3g}, and is {losses[-1]:.3g} at the end", slower,
            )  # fmt: skip
            return
        # Rows that were not trained on say more: a large network learns any labels by heart.
        course, constant = losses, self._constant_loss
        if "val_loss" in trainer.history:
            course = np.array(trainer.history["val_loss"][self._first_epoch :])
            constant = self._constant_val_loss
        fall, recent = losses[0] - losses[-1], -float(late.sum())
        slow_from_the_first = self._first_loss - losses[0] < SLOW_START * self._first_loss
        if (
            slow_from_the_first
            and np.mean(steps > 0) < STEADY
            and recent > STILL_FALLING * fall > 0
            and losses[-1] > FAR_FROM_DONE * self._constant_loss
            and course[len(course) // 2] - course[-1] > 0.5 * recent
        ):
            self._find(
                "rate_too_low", None, f"the loss has fallen from {self._first_loss:.4g} to "
                f"{losses[-1]:.4g} and goes on falling as slowly", "raise the learning rate "
                f"tenfold, to {trainer.optimizer.lr * 10:g}, or see trainer.find_learning_rate",
            )  # fmt: skip
        elif float(np.nanmin(course)) > NOTHING_LEARNED * constant:
            self._find(
                "labels_not_learned", None, f"the loss never falls below "
                f"{float(np.nanmin(course)):.4g}; one and the same prediction for all rows has "
                f"{constant:.4g}", "look at whether the rows of X and y belong together, and "
                "whether X can tell y at all",
            )  # fmt: skip


def _loss_of_constant(trainer: Trainer, data: Data, of: Data) -> float:
    """Return the loss of one prediction for all rows ``of``, the best for ``data``, if known."""
    loss = trainer.loss
    known, wanted = data.targets.whole(), of.targets.whole()
    if loss.reduction != "mean":
        return math.nan
    if loss.name == "cross_entropy":
        n_out = trainer.mlp.sizes[-1]
        shares = _class_shares(known, n_out)
        # A class that is not there is left out, as in the sum of -t log a where t is 0.
        return float(-(_class_shares(wanted, n_out) * np.log(np.maximum(shares, 1e-6))).sum())
    if loss.name == "binary_cross_entropy":
        p = np.clip(np.nanmean(known.astype(np.float64), axis=0), 1e-6, 1 - 1e-6)
        t = np.nanmean(wanted.astype(np.float64), axis=0)
        return float(np.mean(-t * np.log(p) - (1 - t) * np.log(1 - p)))
    distance = wanted.astype(np.float64) - np.nanmean(known.astype(np.float64), axis=0)
    scaling = trainer.mlp._scaling("targets")
    if scaling is not None:
        distance /= scaling[1][:: len(scaling[1]) // wanted.shape[1]]
    variance = float(np.nanmean(distance**2))
    if loss.name == "mse":
        return variance
    return variance * wanted.shape[1] / 2 if loss.name == "half_squared_error" else math.nan


def _class_shares(targets: NDArray[Any], n_out: int) -> NDArray[np.float64]:
    """Return how often each class is the target."""
    if targets.shape[1] == 1:
        return np.bincount(targets[:, 0].astype(np.int64), minlength=n_out) / len(targets)
    shares: NDArray[np.float64] = targets.mean(axis=0, dtype=np.float64)
    return shares
