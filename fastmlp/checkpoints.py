"""Checkpoints: the whole state of training in one safetensors file.

Beside the network the file holds the optimizer's vectors, where training stands, the history, and
what the call of ``fit`` under way was asked for. It holds no code: callbacks and schedules that are
functions are given to `Trainer.resume`. Specified in docs/model-format.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import losses, optimizers, schedules, serialization, threads
from .arguments import number, whole_number
from .callbacks import Callback
from .fitting import EarlyStopping, Settings
from .training import Unfinished

if TYPE_CHECKING:
    from .training import Trainer

FORMAT = "fastmlp-checkpoint"
FORMAT_VERSION = 1
_WHAT = "checkpoint that trainer.save_checkpoint wrote"

_TYPES = {
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "I64": np.dtype(np.int64),
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}

# The declarations a file may name.
_DECLARATIONS = {
    cls.__name__: cls
    for cls in (
        *losses.LOSSES.values(),
        *optimizers.OPTIMIZERS.values(),
        *schedules.SCHEDULES.values(),
        schedules.MultiStep,
        schedules.RangeTest,
        schedules.Warmup,
        EarlyStopping,
        Settings,
    )
}
# What stands for a schedule that is a function of the user's.
_FUNCTION = "function of the user's"


def check_declarations(trainer: Trainer) -> None:
    """Refuse a loss or an optimizer of the user's own: a file holds no code."""
    for name, given in (("loss", trainer.loss), ("optimizer", trainer.optimizer)):
        if type(given) not in _DECLARATIONS.values():
            raise TypeError(
                f"{name}: got {given!r}, expected one of the package's, since no checkpoint holds "
                f"code"
            )


def _holds_code(schedule: schedules.Schedule) -> bool:
    """Whether there is a function of the user's in it."""
    if isinstance(schedule, schedules.Warmup):
        return _holds_code(schedule._after)
    return type(schedule) not in _DECLARATIONS.values()


def save_checkpoint(trainer: Trainer, path: str | PathLike[str]) -> None:
    """Write a trainer to ``path``; see `Trainer.save_checkpoint`."""
    check_declarations(trainer)
    if trainer._fitting is not None and trainer._stage != "start":
        raise RuntimeError(
            "save_checkpoint: a minibatch is half done, expected a call after its step, as in "
            "on_batch_end"
        )
    tensors, metadata = serialization.contents(trainer.mlp)
    trainer.history  # noqa: B018  takes over what compiled code has written down
    call, unfinished = trainer._fitting, None
    if call is not None:
        unfinished = {
            "settings": _described(call.settings),
            "fingerprint": call.fingerprint(),
            "metrics": call.metrics,
            "seconds": call.seconds,
        }
    elif trainer._unfinished is not None:
        known = trainer._unfinished
        unfinished = {
            "settings": _described(known.settings),
            "fingerprint": known.fingerprint,
            "metrics": known.metrics,
            "seconds": known.seconds,
        }
    best = trainer._best
    described = {
        "loss": _described(trainer.loss),
        "optimizer": _described(trainer.optimizer),
        "schedule": _FUNCTION if _holds_code(trainer.schedule) else _described(trainer.schedule),
        "batch_size": trainer.batch_size,
        "l1": trainer.l1,
        "l2": trainer.l2,
        "penalties_over_rows": trainer.penalties_over_rows,
        "clip_value": trainer.clip_value,
        "clip_norm": trainer.clip_norm,
        "max_norm": trainer.max_norm,
        # As text: JSON's readers may take large numbers for floating-point ones.
        "seed": str(trainer.seed),
        "epoch_range": list(trainer.epoch_range),
        "history": list(trainer.history),
        "stop_reason": trainer.history.stop_reason,
        "best_stale": best.stale,
        "best_kept": best.kept,
        "unfinished": unfinished,
    }
    tensors |= _tensors(trainer)
    for i, column in enumerate(trainer.history.values()):
        # While a call is under way, what it does not measure has no number for its epochs yet.
        missing = [math.nan] * (trainer.epoch - len(column))
        tensors[f"trainer.history.{i}"] = np.array([*column, *missing], np.float64)
    if best.kept:
        tensors |= {"trainer.best.params": best.params, "trainer.best.running": best.running}
    metadata |= {name: serialization.to_json(value) for name, value in described.items()}
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION)} | metadata
    serialization.write_file(Path(path), tensors, metadata)


def _tensors(trainer: Trainer) -> dict[str, Any]:
    """Return the arrays that a trainer of the same settings has in the same shapes."""
    return {
        "trainer.state": trainer._state,
        "trainer.memory": trainer._memory,
        "trainer.position": trainer._position,
        "trainer.running": trainer._running,
        "trainer.schedule": trainer._schedule_state,
        "trainer.snapshot": trainer._snapshot,
        "trainer.running_snapshot": trainer._running_snapshot,
        "trainer.best.value": np.array([trainer._best.value]),
    }


def load_checkpoint(
    cls: type[Trainer],
    path: str | PathLike[str],
    callbacks: list[Callback],
    schedule: Any,
    n_threads: int | None,
) -> Trainer:
    """Return the trainer that a file describes; see `Trainer.resume`."""

    def read(file: serialization.File) -> Trainer:
        try:
            return _read(cls, file, callbacks, schedule, n_threads)
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise file.damaged(f"its metadata make no sense ({error})") from None

    return serialization.read_file(Path(path), FORMAT, (str(FORMAT_VERSION),), _WHAT, read)


def _read(
    cls: type[Trainer],
    file: serialization.File,
    callbacks: list[Callback],
    schedule: Any,
    n_threads: int | None,
) -> Trainer:
    saved_schedule = file.value("schedule")
    if saved_schedule == _FUNCTION:
        if schedule is None:
            raise ValueError(
                f"schedule: {file.path} was trained with a function of your own, which no file "
                f"holds; give it to resume"
            )
    elif schedule is not None:
        raise ValueError(f"schedule: got one, but {file.path} holds its own; leave it out")
    else:
        schedule = _declared(file, "schedule", saved_schedule, schedules.Schedule)
    # The tensors' shapes follow from the network and the settings, so these come first.
    mlp = serialization.empty_network(file)
    threads.resolve(n_threads)
    loss = _declared(file, "loss", file.value("loss"), losses.Loss)
    optimizer = _declared(file, "optimizer", file.value("optimizer"), optimizers.Optimizer)
    try:
        trainer = cls(
            mlp,
            loss=loss,
            optimizer=optimizer,
            batch_size=file.value("batch_size"),
            schedule=schedule,
            l1=file.value("l1"),
            l2=file.value("l2"),
            penalties_over_rows=file.value("penalties_over_rows"),
            clip_value=file.value("clip_value"),
            clip_norm=file.value("clip_norm"),
            max_norm=file.value("max_norm"),
            seed=int(file.value("seed")),
            n_threads=n_threads,
        )
        first, last = file.value("epoch_range")
        n_epochs = whole_number("epoch_range", last, whole_number("epoch_range", first, 0))
    except ValueError as error:
        raise file.damaged(f"its settings cannot be ({error})") from None
    own = _tensors(trainer)
    expected = {name: (list(array.shape), _NAMES[array.dtype]) for name, array in own.items()}
    columns = file.value("history")
    n_written = file.shape_of("trainer.history.0")
    if not isinstance(columns, list) or columns[:1] != ["loss"] or len(n_written) != 1:
        raise file.damaged("its history is not one")
    for i in range(len(columns)):
        expected[f"trainer.history.{i}"] = n_written, "F64"
    if file.value("best_kept"):
        expected["trainer.best.params"] = [mlp.n_params], _NAMES[mlp.dtype]
        expected["trainer.best.running"] = [len(mlp._running)], "F64"
    tensors = serialization.fill_network(file, mlp, expected)
    for name, array in own.items():
        array[:] = tensors[name]
    position, (_, counted) = trainer._position, trainer._memory
    if (
        (position < 0).any()
        or (position >= 2**53).any()
        or not first <= trainer.epoch <= n_epochs
        or n_written != [trainer.epoch]
        or (trainer.optimizer.kernel == "nadam" and counted != trainer.n_steps)
    ):
        raise file.damaged("it says of training that it stands nowhere")
    for i, name in enumerate(columns):
        trainer._history._columns[str(name)] = tensors[f"trainer.history.{i}"].tolist()
    trainer._history.stop_reason = file.value("stop_reason")
    trainer._losses = (trainer.epoch, np.empty(0))
    trainer.epoch_range = (first, last)
    best = trainer._best
    best.value = float(tensors["trainer.best.value"][0])
    best.stale = whole_number("best_stale", file.value("best_stale"), 0)
    best.kept = bool(file.value("best_kept"))
    if best.kept:
        best.params[:] = tensors["trainer.best.params"]
        best.running[:] = tensors["trainer.best.running"]
    unfinished = file.value("unfinished")
    if unfinished is not None:
        trainer._unfinished = Unfinished(
            _declared(file, "settings", unfinished["settings"], Settings),
            str(unfinished["fingerprint"]),
            [str(name) for name in unfinished["metrics"]],
            number("seconds", unfinished["seconds"], 0),
            callbacks,
        )
    return trainer


def _described(thing: Any) -> Any:
    """Return a declaration as what JSON can hold."""
    if isinstance(thing, schedules.FromFunction):
        return _FUNCTION
    if is_dataclass(thing):
        own = [field.name for field in fields(thing) if field.init]
        settings = {name: _described(getattr(thing, name)) for name in own}
        return {"type": type(thing).__name__} | settings
    if isinstance(thing, list | tuple):
        return [_described(part) for part in thing]
    return thing.item() if isinstance(thing, np.generic) else thing


def _declared(file: serialization.File, name: str, value: Any, kind: type) -> Any:
    """Return the declaration that `_described` made this of, judged as if a user had written it."""
    try:
        found = _rebuilt(value)
    except (ValueError, TypeError, KeyError) as error:
        raise file.damaged(f"its {name} cannot be ({error})") from None
    if not isinstance(found, kind):
        raise file.damaged(f"its {name} is {value!r}")
    return found


def _rebuilt(value: Any) -> Any:
    if isinstance(value, Mapping):
        settings = {name: _rebuilt(part) for name, part in value.items() if name != "type"}
        return _DECLARATIONS[value["type"]](**settings)
    return tuple(_rebuilt(part) for part in value) if isinstance(value, list) else value
