"""Many networks at once: independent trainings, one network a thread, over one set of data."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from . import threads

__all__ = ["fit_many"]

# Between two looks at whether Ctrl-C was pressed, in seconds.
LONGEST_WAIT = 0.1


def fit_many(
    jobs: Iterable[Any], X: Any, y: Any = None, *, n_threads: int | None = None
) -> list[Any]:
    """Train independent networks at once, one network a thread.

    For networks too small to keep several threads busy each: no processes, no pickling, and the
    rows are shared. Every result is, bit for bit, that of the same ``fit`` alone.

    Parameters
    ----------
    jobs : iterable of MLP, or of pairs (model, options)
        What to train: an `MLP`, a `Trainer`, an estimator such as `MLPClassifier`, or anything
        else with a ``fit``; of any mixture of kinds and shapes. ``options`` are that ``fit``'s own,
        such as ``{"epochs": 20, "seed": 1}``; ``"X"`` and ``"y"`` among them take the place of
        those given for all. No model may come twice, and none share with another what a ``fit``
        changes, such as a callback or a ``RandomState``.
    X, y : array_like
        The rows and targets of all of them, which nobody may write to meanwhile.
    n_threads : int, optional
        Networks trained at a time. Default: `fastmlp.get_num_threads`. While this runs, fastmlp
        gives no network more than one thread.

    Returns
    -------
    list
        What each ``fit`` returned, in the order of ``jobs``: of a network its `History`, of an
        estimator itself.

    Raises
    ------
    TypeError, ValueError
        If a job is not of that form.
    Exception
        The first error of a ``fit``, with a note that says which job it was. Those under way are
        finished, those not yet begun are left out.

    Notes
    -----
    Ctrl-C ends every training under way as it ends one alone, after its last whole minibatch, and
    is raised again.

    Examples
    --------
    >>> import fastmlp as fm
    >>> X, y = fm.datasets.xor()
    >>> mlps = [fm.MLP([2, n, 1], output="sigmoid", seed=0) for n in (2, 4, 8)]
    >>> histories = fm.fit_many([(mlp, {"epochs": 10, "seed": 0}) for mlp in mlps], X, y)
    >>> [len(history["loss"]) for history in histories]
    [10, 10, 10]

    Estimators come back fitted:

    >>> (X, y), (Xv, yv) = fm.datasets.digits()
    >>> clfs = [fm.MLPClassifier((n,), early_stopping=True, random_state=0) for n in (16, 64)]
    >>> [clf.score(Xv, yv) > 0.85 for clf in fm.fit_many(clfs, X, y)]
    [True, True]
    """
    pairs = [_pair(i, job) for i, job in enumerate(jobs)]
    _check_distinct([model for model, _ in pairs])
    n_workers = min(threads.resolve(n_threads), max(len(pairs), 1))
    results: list[Any] = [None] * len(pairs)
    errors: dict[int, BaseException] = {}
    waiting = deque(range(len(pairs)))

    def work() -> None:
        while waiting:
            try:
                i = waiting.popleft()
            except IndexError:
                return
            model, options = pairs[i]
            try:
                results[i] = model.fit(**{"X": X, "y": y, **options})
            except BaseException as error:
                error.add_note(f"fit_many: this is of job {i}, {type(model).__name__}")
                errors[i] = error
                waiting.clear()

    # The filters of warnings are the whole process's; estimators of scikit-learn's that change them
    # for a moment, several at once, may leave them changed.
    with (
        warnings.catch_warnings(),
        threads.one_a_network() as interrupted,
        ThreadPoolExecutor(n_workers) as pool,
    ):
        try:
            # A future for each worker, not for each job: to wait for a thousand takes its time.
            pending = {pool.submit(work) for _ in range(n_workers)}
            # In short waits: some packages, such as polars, handle Ctrl-C in a way that does not
            # wake a long one.
            while pending:
                _, pending = wait(pending, LONGEST_WAIT)
        except BaseException:
            waiting.clear()
            interrupted.set()
            raise
    if errors:
        raise errors[min(errors)]
    return results


def _pair(i: int, job: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return the model and the options of a job."""
    model, options = job if isinstance(job, tuple) and len(job) == 2 else (job, {})
    if not hasattr(model, "fit") or not isinstance(options, Mapping):
        raise TypeError(
            f"jobs[{i}]: got {job!r}, expected a model with a fit, or a pair of a model and a "
            f"dict of fit's options"
        )
    return model, options


def _check_distinct(models: list[Any]) -> None:
    seen: dict[int, int] = {}
    for i, model in enumerate(models):
        # Two trainers of one network would train it at once, too.
        first = seen.setdefault(id(getattr(model, "mlp", model)), i)
        if first != i:
            raise ValueError(
                f"jobs[{i}]: got the same network as jobs[{first}], expected one of its own for "
                f"each; copy it first"
            )
