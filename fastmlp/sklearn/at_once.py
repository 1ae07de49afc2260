"""Fits on fastmlp's threads: where joblib, and so scikit-learn, has its tasks run.

scikit-learn's searches and ensembles hand each fit to joblib; a backend of joblib's decides what
becomes of it. Here it is run by a thread of this process, while every network has one thread. The
kernels run without the GIL, so that nothing need be copied to other processes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from joblib import parallel_config
from joblib.parallel import ParallelBackendBase
from sklearn import config_context
from sklearn.utils.parallel import _FuncWrapper

from .. import threads


@contextmanager
def at_once() -> Iterator[None]:
    """Let what joblib is given meanwhile run on threads, one a network."""
    # The filters of warnings are the whole process's. Threads that change them for a moment, as
    # scikit-learn does where it checks arrays, may leave them changed.
    with warnings.catch_warnings(), parallel_config(backend=Threads()):
        yield


@contextmanager
def one_by_one() -> Iterator[None]:
    """Let what joblib is given meanwhile run in this thread, whatever ``n_jobs`` says."""
    with parallel_config(backend="sequential"):
        yield


class Threads(ParallelBackendBase):
    """joblib's backend for `at_once`.

    One call of it runs at a time. The main thread waits, so that Ctrl-C comes to it, and hands it
    on to all trainings.
    """

    supports_retrieve_callback = True
    supports_sharedmem = True
    uses_threads = True

    def __init__(self) -> None:
        super().__init__(nesting_level=0)
        self.default_n_jobs = threads.resolve(None)
        self._n_threads = 1
        self._call = ExitStack()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many fits run at a time: 1 within others that run at once already."""
        if n_jobs is None:
            return self.default_n_jobs
        if n_jobs == 0:
            raise ValueError(
                "n_jobs: got 0, expected a number of fits at a time, -1 for one a processor, or "
                "None for the default"
            )
        if n_jobs < 0:
            n_jobs = max(self.default_n_jobs + 1 + n_jobs, 1)
        return threads.resolve(n_jobs)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Take note of how many threads there shall be; return it."""
        self._n_threads = int(super().configure(n_jobs, parallel))
        return self._n_threads

    def start_call(self) -> None:
        """Begin: networks have one thread each, until the end."""
        self._interrupted = self._call.enter_context(threads.one_a_network())
        self._pool = self._call.enter_context(ThreadPoolExecutor(self._n_threads))

    def stop_call(self) -> None:
        """End."""
        self._call.close()

    def submit(self, func: Any, callback: Callable[[Any], None]) -> Future[Any]:
        """Run a batch of tasks, then the callback, both in one of the threads."""
        func.items = [(_bare(task), args, options) for task, args, options in func.items]
        try:
            future = self._pool.submit(func)
        except RuntimeError:
            # Closed, by another thread that has just seen an error.
            return Future()
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return a batch's results, or raise its error."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the trainings under way and leave out the others."""
        self._interrupted.set()
        self._pool.shutdown(cancel_futures=True)


def _bare(task: Any) -> Any:
    """Return a task of scikit-learn's that leaves the filters of warnings alone.

    They are set anew in every worker, which is for processes: here it would clear them for other
    threads that are about to warn.
    """
    if isinstance(task, _FuncWrapper):
        return partial(_configured, task.function, task.config)
    return task


def _configured(
    task: Callable[..., Any], config: dict[str, Any], *args: Any, **options: Any
) -> Any:
    with config_context(**config):
        return task(*args, **options)
