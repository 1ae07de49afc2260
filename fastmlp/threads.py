"""How many threads: one function, one rule."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from numbers import Integral

__all__ = ["get_num_threads", "set_num_threads"]

# The kernels' pool is no larger.
MAX_THREADS = 64
# Multiplications below which even asking for the default takes longer than they do.
LEAST_WORK = 250_000

_chosen: int | None = None


# One for each set of networks that are trained at once; it is set to interrupt them. A signal comes
# to the main thread alone, which hands it on.
_at_once: list[threading.Event] = []


def set_num_threads(n_threads: int | None) -> None:
    """Set how many threads fastmlp uses where no ``n_threads`` is given.

    Parameters
    ----------
    n_threads : int or None
        From 1 to 64. None goes back to the default of `get_num_threads`.

    Raises
    ------
    ValueError, TypeError
        If it is not a whole number of at least 1.

    Examples
    --------
    >>> import fastmlp as fm
    >>> fm.set_num_threads(1)
    >>> fm.get_num_threads()
    1
    >>> fm.set_num_threads(None)
    """
    global _chosen
    _chosen = None if n_threads is None else _checked(n_threads)


def get_num_threads() -> int:
    """Return how many threads fastmlp uses where no ``n_threads`` is given.

    What `set_num_threads` set; else what ``FASTMLP_NUM_THREADS`` or ``OMP_NUM_THREADS`` says; else
    every processor this process may use, by its affinity and its control group's quota.

    Returns
    -------
    int
        From 1 to 64.
    """
    if _chosen is not None:
        return _chosen
    for variable in ("FASTMLP_NUM_THREADS", "OMP_NUM_THREADS"):
        # OpenMP allows one number per nesting level; the first is ours.
        text = os.environ.get(variable, "").split(",")[0].strip()
        if text.isdigit() and int(text) > 0:
            return min(int(text), MAX_THREADS)
    return max(1, min(_processors(), _quota(), MAX_THREADS))


@contextmanager
def one_a_network() -> Iterator[threading.Event]:
    """Let no network have more than one thread, while several are trained at once.

    Setting the event ends all trainings as Ctrl-C ends one.
    """
    interrupted = threading.Event()
    _at_once.append(interrupted)
    try:
        yield interrupted
    finally:
        _at_once.remove(interrupted)


def check_interrupt() -> None:
    """Raise `KeyboardInterrupt` in a training that is to end with others."""
    if any(interrupted.is_set() for interrupted in _at_once):
        raise KeyboardInterrupt


def resolve(n_threads: int | None, work: int = LEAST_WORK) -> int:
    """Return ``n_threads`` checked; for None the default, or 1 for too little work.

    ``work`` counts multiplications.
    """
    if n_threads is not None:
        n_threads = _checked(n_threads)
        return 1 if _at_once else n_threads
    return 1 if _at_once or work < LEAST_WORK else get_num_threads()


def _checked(n_threads: int) -> int:
    if isinstance(n_threads, bool) or not isinstance(n_threads, Integral):
        raise TypeError(
            f"n_threads: got {n_threads!r}, expected a whole number from 1 to {MAX_THREADS}, "
            f"or None for the default"
        )
    if n_threads < 1:
        raise ValueError(
            f"n_threads: got {n_threads}, expected a whole number from 1 to {MAX_THREADS}, "
            f"or None for the default"
        )
    return min(int(n_threads), MAX_THREADS)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _quota() -> int:
    """Return the processors the control group's CPU quota amounts to, rounded up; read once."""
    smallest: float = MAX_THREADS
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        # Version 2 has one nameless hierarchy; version 1 one for the cpu controller.
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = "/sys/fs/cgroup/cpu" if controllers else "/sys/fs/cgroup"
        smallest = min(smallest, _quota_of(folder))
        for name in path.strip("/").split("/"):
            folder = f"{folder}/{name}"
            smallest = min(smallest, _quota_of(folder))
    return math.ceil(smallest)


def _quota_of(group: str) -> float:
    """Return the processors one control group may use; version 2 has one file, version 1 two."""
    text = _text(f"{group}/cpu.max") or (
        _text(f"{group}/cpu.cfs_quota_us") + _text(f"{group}/cpu.cfs_period_us")
    )
    numbers = text.split()
    if len(numbers) != 2 or not all(number.isdigit() and int(number) for number in numbers):
        return MAX_THREADS
    return int(numbers[0]) / int(numbers[1])


def _text(path: str) -> str:
    """Return a file of the system's; nothing where there is no such file."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
