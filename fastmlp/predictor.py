"""Prediction alone: a network's weights packed once, for as long as they are needed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import arrays, kernels, threads

__all__ = ["Predictor"]


def table_of_layers(
    sizes: tuple[int, ...], activations: tuple[str, ...], dtype: np.dtype[Any]
) -> NDArray[np.int64]:
    """Return what the kernels' ``Plan`` is made from: n_in, n_out, where w and b start, f."""
    table = np.empty((len(sizes) - 1, 5), np.int64)
    at = 0
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        code = kernels.of(dtype).ACTIVATIONS[activations[i]]
        table[i] = n_in, n_out, at, at + n_in * n_out, code
        at += (n_in + 1) * n_out
    return table


class Predictor:
    """A network that only predicts, as `MLP.freeze` returns it; call it with rows.

    It may be called from any number of threads at once, without a lock: each call under way has a
    packed copy of the weights, so there are as many of them as there have been calls side by side.
    It can be copied and pickled.

    Attributes
    ----------
    sizes : tuple of int
        Neurons of each layer, the inputs first.
    activations : tuple of str
        The activation of each layer but the first.
    dtype : numpy.dtype
        The type it computes in and returns.

    Examples
    --------
    >>> import fastmlp as fm
    >>> mlp = fm.MLP([2, 4, 1], seed=0)
    >>> fast = mlp.freeze()
    >>> fast([[0.5, -0.5]]) == mlp.predict([[0.5, -0.5]])
    array([[ True]])
    """

    def __init__(
        self, sizes: tuple[int, ...], activations: tuple[str, ...], params: NDArray[Any]
    ) -> None:
        self.sizes = sizes
        self.activations = activations
        self.dtype = params.dtype
        self._params = params
        self._build = kernels.of(params.dtype)
        self._idle = [self._new_plan()]

    def __call__(
        self, X: Any, *, out: NDArray[Any] | None = None, n_threads: int | None = None
    ) -> NDArray[Any]:
        """Return the outputs for rows: the same bits as the network's ``predict``.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            Finite real numbers. An array of the network's ``dtype`` is read without a detour.
        out : ndarray, shape (n, n_out), optional
            Where to write; C-contiguous and of the network's dtype.
        n_threads : int, optional
            Default: `fastmlp.get_num_threads`, or 1 for little work.

        Returns
        -------
        ndarray, shape (n, n_out)
            ``out``, or a new array.

        Raises
        ------
        ValueError, TypeError
            If ``X`` has another number of columns, no rows, or a number that is not finite.
        """
        direct = type(X) is np.ndarray and X.dtype == self.dtype and X.flags.aligned
        if not (direct and X.ndim == 2 and X.shape[1] == self.sizes[0] and len(X)):
            X = arrays.inputs(X, self.sizes[0]).array
        n = len(X)
        n_threads = threads.resolve(n_threads, n * len(self._params))
        result = arrays.output_buffer(out, (n, self.sizes[-1]), self.dtype)
        if out is not None and np.may_share_memory(out, X):
            X = X.copy()
        # Taking from a list is one step for every thread; a plan in no list is ours alone.
        try:
            plan = self._idle.pop()
        except IndexError:
            plan = self._new_plan()
        bad = plan.predict(self._build.Source(X), result, n_threads)
        self._idle.append(plan)
        if bad >= 0:
            raise arrays.inputs(X, self.sizes[0]).not_finite(bad, self.dtype)
        return result

    def _new_plan(self) -> Any:
        table = table_of_layers(self.sizes, self.activations, self.dtype)
        return self._build.Plan(table, self._params, frozen=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.sizes, self.activations, self._params)

    def __repr__(self) -> str:
        return f"Predictor({list(self.sizes)}, dtype={self.dtype.name!r})"
