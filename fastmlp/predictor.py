"""Prediction alone: a network's weights packed once, for as long as they are needed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import arrays, kernels, threads
from .structure import Structure

__all__ = ["Predictor"]


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
        self,
        structure: Structure,
        params: NDArray[Any],
        inputs: NDArray[np.float64] | None = None,
        outputs: NDArray[np.float64] | None = None,
    ) -> None:
        self.sizes = structure.sizes
        self.activations = structure.activations
        self.dtype = params.dtype
        self._structure, self._params = structure, params
        # Means and deviations that the parameters do not contain.
        self._inputs, self._outputs = inputs, outputs
        self._scaling = None if inputs is None else np.stack([inputs[0], 1 / inputs[1]])
        self._build = kernels.of(params.dtype)
        self._idle = [self._new_plan()]

    def __call__(
        self, X: Any, *, out: NDArray[Any] | None = None, n_threads: int | None = None
    ) -> NDArray[Any]:
        """Return the outputs for rows.

        The same bits as the network's ``predict``; the same within rounding where batch
        normalisation or a scaling was folded into the weights.

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
        if arrays.is_direct(X, self.sizes[0], self.dtype):
            n, source = len(X), self._build.Source(X, scaling=self._scaling)
        else:
            rows = arrays.inputs(X, self.sizes[0])
            n, source = len(rows), rows.source(self.dtype, self._scaling)
        n_threads = threads.resolve(n_threads, n * len(self._params))
        result = arrays.output_buffer(out, (n, self.sizes[-1]), self.dtype)
        if isinstance(X, np.ndarray) and out is not None and np.may_share_memory(out, X):
            rows = arrays.inputs(X, self.sizes[0])
            source = rows.take(np.arange(n)).source(self.dtype, self._scaling)
        # Taking from a list is one step for every thread; a plan in no list is ours alone.
        try:
            plan = self._idle.pop()
        except IndexError:
            plan = self._new_plan()
        bad = plan.predict(source, result, n_threads)
        self._idle.append(plan)
        if bad >= 0:
            raise arrays.inputs(X, self.sizes[0]).not_finite(bad, self.dtype)
        return result

    def _new_plan(self) -> Any:
        return self._build.Plan(
            *self._structure.tables, self._params, output_scaling=self._outputs, frozen=True
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._structure, self._params, self._inputs, self._outputs)

    def __repr__(self) -> str:
        return f"Predictor({list(self.sizes)}, dtype={self.dtype.name!r})"
