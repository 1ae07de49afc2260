"""L-BFGS for full batches: SciPy's minimizer over fastmlp's compiled loss and gradient."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import threads
from .arguments import number, whole_number
from .callbacks import Callback, checked
from .fitting import Data
from .history import History
from .training import Trainer

__all__ = ["fit_lbfgs"]

try:
    from scipy.optimize import minimize
except ImportError as error:
    raise ImportError("fit_lbfgs needs SciPy: pip install 'fastmlp[lbfgs]'") from error


class _Stop(Exception):  # noqa: N818  no error
    """A callback or the target has asked for the end."""


def fit_lbfgs(
    trainer: Trainer,
    X: Any,
    y: Any,
    *,
    epochs: int = 200,
    sample_weight: Any = None,
    class_weight: Any = None,
    memory: int = 10,
    gradient_tol: float = 1e-5,
    target_loss: float | None = None,
    callbacks: Any = (),
) -> History:
    """Train by L-BFGS: Liu and Nocedal (1989), SciPy's L-BFGS-B. For smooth, full-batch problems.

    An epoch is one iteration of the minimizer, which may look at the rows several times. Loss,
    penalties and network are the trainer's; its optimizer, schedule, batch size and seed are not
    used. Networks with dropout are refused, since their objective is another one each time.

    Parameters
    ----------
    trainer : Trainer
    X : array_like, shape (n, n_in)
    y : array_like, shape (n,) or (n, n_targets)
    epochs : int, default 200
        Iterations at most.
    sample_weight, class_weight : optional
        As for `Trainer.fit`.
    memory : int, default 10
        How many steps back the curvature is remembered.
    gradient_tol : float, default 1e-5
        Stop as converged when no element of the gradient is larger.
    target_loss : float, optional
        Stop after an iteration with a loss of at most this.
    callbacks : iterable of Callback, optional
        They hear of the beginning, the end and every epoch.

    Returns
    -------
    History
        The trainer's; ``stop_reason`` is ``"converged"``, ``"epochs"``, ``"target_loss"``,
        ``"early_stopping"``, ``"interrupted"`` or ``"diverged"``.

    Raises
    ------
    ValueError, TypeError
        As `Trainer.fit`; or if the network has dropout.
    ImportError
        If SciPy is not installed.

    Examples
    --------
    >>> import numpy as np, fastmlp as fm
    >>> x = np.linspace(-3, 3, 50)[:, None]
    >>> mlp = fm.MLP([1, 8, 1], activation="tanh", seed=0, dtype="float64")
    >>> history = fm.fit_lbfgs(fm.Trainer(mlp, loss="mse"), x, np.sin(x))
    >>> history["loss"][-1] < 1e-3
    True
    """
    epochs = whole_number("epochs", epochs, 1)
    memory = whole_number("memory", memory, 1)
    gradient_tol = number("gradient_tol", gradient_tol, 0)
    if target_loss is not None:
        target_loss = number("target_loss", target_loss)
    if not trainer.optimizer.elementwise:
        raise ValueError("trainer: made for Levenberg-Marquardt, expected another optimizer")
    data = trainer._judged(X, y, sample_weight, class_weight)
    options = {"maxiter": epochs, "maxcor": memory, "gtol": gradient_tol, "ftol": 0.0}
    minimized(
        trainer, data, {**options, "maxfun": math.inf}, checked(callbacks), target_loss=target_loss
    )
    return trainer.history


def minimized(
    trainer: Trainer,
    data: Data,
    options: dict[str, Any],
    listeners: Sequence[Callback],
    *,
    target_loss: float | None = None,
    max_seconds: float | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
) -> Any:
    """Do what `fit_lbfgs` does, on arguments that have been judged; ``options`` are SciPy's.

    Returns SciPy's result, or None where something else than the minimizer has ended the training;
    ``trainer.history.stop_reason`` says what.
    """
    structure = trainer.mlp._structure
    if any((*structure.dropout, structure.input_dropout)):
        raise ValueError(
            "trainer: its network has dropout, whose objective differs from one look to the next, "
            "expected none for L-BFGS; use Trainer.fit"
        )
    mlp, history = trainer.mlp, trainer.history
    mlp._measure(data.rows, data.targets, trainer.loss)
    trainer.epoch_range = (trainer.epoch, trainer.epoch + options["maxiter"])
    trainer._stop_asked = False
    best: list[NDArray[Any]] = [mlp.params.copy()]
    began = time.perf_counter()
    found = None

    def objective(params: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        threads.check_interrupt()
        with mlp._lock:
            mlp.params[:] = params
        bad = trainer._forward(data.rows)
        if bad >= 0:
            raise data.rows.not_finite(bad, mlp.dtype)
        value, bad = trainer._compute_loss(data.targets, data.weights)
        if bad >= 0:
            raise data.targets.not_finite(bad, mlp.dtype)
        trainer.backward()
        return value, trainer.grads.astype(np.float64)

    def after_iteration(intermediate_result: Any) -> None:
        best[0] = intermediate_result.x.astype(mlp.dtype)
        trainer._count_epoch(float(intermediate_result.fun))
        if validate is not None or listeners:
            # What was looked at last need not be where the iteration ends.
            with mlp._lock:
                mlp.params[:] = best[0]
        if validate is not None:
            history._append(validate())
        for listener in listeners:
            listener.on_epoch_end(trainer)
        if target_loss is not None and intermediate_result.fun <= target_loss:
            raise _Stop("target_loss")
        if trainer._stop_asked:
            raise _Stop("early_stopping")
        if max_seconds is not None and time.perf_counter() - began >= max_seconds:
            raise _Stop("max_seconds")

    with trainer._alone("fit_lbfgs"):
        for listener in listeners:
            listener.on_fit_begin(trainer)
        try:
            found = minimize(
                objective, mlp.params.astype(np.float64), jac=True, method="L-BFGS-B",
                callback=after_iteration, options=options,
            )  # fmt: skip
            # 1 is the end of the iterations; 2 a line search that finds nothing lower.
            reason = "epochs" if found.status == 1 else "converged"
            if not math.isfinite(found.fun):
                reason = "diverged"
            else:
                best[0] = found.x.astype(mlp.dtype)
        except _Stop as stop:
            reason = str(stop)
        except KeyboardInterrupt:
            reason = "interrupted"
        finally:
            trainer._stage = "start"
        with mlp._lock:
            mlp.params[:] = best[0]
        history.stop_reason = reason
        for listener in listeners:
            listener.on_fit_end(trainer)
    trainer._take_losses()
    return found
