"""The network: layers, one flat vector of parameters with views into it, and prediction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import activations, arrays, initializers, kernels, losses, threads
from .metrics import Metric, named_metrics
from .predictor import Predictor, table_of_layers

if TYPE_CHECKING:
    from .trace import Trace
    from .training import History

__all__ = ["MLP"]


class MLP:
    """A multi-layer perceptron: dense layers, each ``a = f(x·w + b)``.

    Parameters
    ----------
    sizes : sequence of int
        Neurons of each layer, the inputs first: ``[784, 128, 10]`` has one hidden layer. At least
        two numbers, each at least 1.
    activation : str or sequence of str, default "relu"
        The activation of the hidden layers: one name for all, or one for each. ``identity``
        (``linear``), ``sigmoid`` (``logistic``), ``tanh``, ``relu``.
    output : str, default "identity"
        The activation of the last layer: any of those, or ``softmax``.
    init : str or sequence of str, optional
        How initial weights are drawn: one name for all layers, or one for each. Default: what
        suits each layer's activation, ``he_uniform`` for relu and ``glorot_uniform`` for the rest.
    seed : int, optional
        For the initial weights. None draws other ones every time.
    dtype : {"float32", "float64"}, default "float32"
        The element type of parameters and arithmetic.

    Attributes
    ----------
    params : ndarray, shape (n_params,)
        All parameters, layer by layer ``w`` then ``b``. Write to it to change them; it is never
        replaced by another array.
    weights, biases : tuple of ndarray
        Views of ``params``: ``weights[i]`` of shape (sizes[i], sizes[i+1]), ``biases[i]`` of shape
        (sizes[i+1],).
    buffers : dict of str to ndarray
        What belongs to the network but is not learned by gradients; empty for plain layers.
    sizes : tuple of int
    activations : tuple of str
        The activation of every layer, the output's last.
    dtype : numpy.dtype

    Raises
    ------
    ValueError, TypeError
        If a size is below 1, or a name is unknown, or their number does not match.

    Examples
    --------
    >>> import fastmlp as fm
    >>> mlp = fm.MLP([2, 4, 1], activation="sigmoid", output="sigmoid", seed=0)
    >>> mlp
    MLP([2, 4, 1], activation='sigmoid', output='sigmoid', dtype='float32')  # 17 parameters
    >>> mlp.predict([[0, 1], [1, 1]]).shape
    (2, 1)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Sequence[str] = "relu",
        output: str = "identity",
        init: str | Sequence[str] | None = None,
        seed: int | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        self._set_structure(sizes, activation, output, dtype)
        draws = self._initializers(init)
        try:
            rng = np.random.default_rng(seed)
        except (TypeError, ValueError):
            raise ValueError(
                f"seed: got {seed!r}, expected a whole number of at least 0, or None"
            ) from None
        for w, draw in zip(self.weights, draws, strict=True):
            w[:] = draw(rng, *w.shape)

    @classmethod
    def from_weights(
        cls,
        weights: Iterable[Any],
        biases: Iterable[Any],
        *,
        activation: str | Sequence[str] = "relu",
        output: str = "identity",
        dtype: DTypeLike | None = None,
    ) -> MLP:
        """Make a network from given weights and biases, which are copied.

        Parameters
        ----------
        weights : iterable of array_like, shapes (n_in, n_out)
            One matrix a layer; each has as many rows as the one before has columns.
        biases : iterable of array_like, shapes (n_out,)
        activation, output
            As for `MLP`.
        dtype : {"float32", "float64"}, optional
            Default: float32 if every array given is float32 or float16, else float64.

        Returns
        -------
        MLP

        Raises
        ------
        ValueError, TypeError
            If shapes do not fit together or a number is not finite.

        Examples
        --------
        >>> import fastmlp as fm
        >>> mlp = fm.MLP.from_weights([[[2.0], [3.0]]], [[1.0]])
        >>> float(mlp.predict([[10.0, 100.0]])[0, 0])
        321.0
        """
        Ws = [
            arrays.Rows(w, f"weights[{i}]").array
            for i, w in enumerate(_each("weights", weights, "arrays"))
        ]
        bs = [
            arrays.as_numbers(b, f"biases[{i}]")
            for i, b in enumerate(_each("biases", biases, "arrays"))
        ]
        if not Ws or len(Ws) != len(bs):
            raise ValueError(
                f"biases: got {len(bs)} for {len(Ws)} weights, expected one bias vector for each "
                f"of at least one weight matrix"
            )
        for i, (w, b) in enumerate(zip(Ws, bs, strict=True)):
            if i and w.shape[0] != Ws[i - 1].shape[1]:
                raise ValueError(
                    f"weights[{i}]: got {w.shape[0]} rows, expected {Ws[i - 1].shape[1]}, as many "
                    f"as weights[{i - 1}] has columns"
                )
            if b.shape != (w.shape[1],):
                raise ValueError(
                    f"biases[{i}]: got shape {b.shape}, expected ({w.shape[1]},), one for each "
                    f"column of weights[{i}]"
                )
        if dtype is None:
            dtype = "float32" if all(a.dtype == np.float32 for a in (*Ws, *bs)) else "float64"
        mlp = cls.__new__(cls)
        mlp._set_structure([Ws[0].shape[0], *(w.shape[1] for w in Ws)], activation, output, dtype)
        for i, (w, b) in enumerate(zip(Ws, bs, strict=True)):
            arrays.Rows(w, f"weights[{i}]").check_finite(mlp.dtype)
            arrays.Rows(b[None, :], f"biases[{i}]").check_finite(mlp.dtype)
            mlp.weights[i][:] = w
            mlp.biases[i][:] = b
        return mlp

    def _set_structure(
        self,
        sizes: Sequence[int],
        activation: str | Sequence[str],
        output: str,
        dtype: DTypeLike,
    ) -> None:
        """Check and set all that does not depend on the values of the parameters."""
        self.sizes = _checked_sizes(sizes)
        self.activations = _checked_activations(activation, output, len(self.sizes) - 2)
        if self.activations[-1] == "softmax" and self.sizes[-1] == 1:
            raise ValueError(
                "output: got 'softmax' for one output, where it is always 1, expected two outputs; "
                "or use output='sigmoid'"
            )
        self.dtype = _checked_dtype(dtype)
        self.buffers: dict[str, NDArray[Any]] = {}
        n_params = sum(n_in * n_out + n_out for n_in, n_out in pairwise(self.sizes))
        try:
            self._bind(np.zeros(n_params, self.dtype))
        except (MemoryError, ValueError):
            raise MemoryError(
                f"sizes: got {list(self.sizes)}, {n_params:,} parameters, expected a network that "
                f"fits the memory; make layers smaller"
            ) from None

    def _bind(self, params: NDArray[Any]) -> None:
        """Take ``params`` as the network's vector and lay the views over it."""
        self._params = params
        self._table = table_of_layers(self.sizes, self.activations, self.dtype)
        self.weights = tuple(
            params[w:b].reshape(n_in, n_out) for n_in, n_out, w, b, _ in self._table
        )
        self.biases = tuple(params[b : b + n_out] for _, n_out, _, b, _ in self._table)
        self._plan: Any = None
        self._lock = threading.RLock()

    def _initializers(self, init: str | Sequence[str] | None) -> list[initializers.Initializer]:
        n_layers = len(self.sizes) - 1
        if init is None:
            return [
                initializers.get(activations.get(name).initializer) for name in self.activations
            ]
        names = [init] * n_layers if isinstance(init, str) else _each("init", init, "names")
        if len(names) != n_layers:
            raise ValueError(
                f"init: got {len(names)} names, expected one, or one for each of the "
                f"{n_layers} layers"
            )
        return [initializers.get(name) for name in names]

    # ---- what it is

    @property
    def params(self) -> NDArray[Any]:
        """All parameters in one vector; write into it to change them."""
        return self._params

    @params.setter
    def params(self, value: NDArray[Any]) -> None:
        # What `mlp.params *= 2` ends with; another array would be seen by no view and no kernel.
        if value is not self._params:
            raise AttributeError(
                "params: the vector cannot be replaced; write into it, mlp.params[:] = …"
            )

    @property
    def n_params(self) -> int:
        """How many numbers are learned."""
        return len(self.params)

    @property
    def output(self) -> str:
        """The activation of the last layer."""
        return self.activations[-1]

    def __repr__(self) -> str:
        hidden = self.activations[:-1]
        shown = ""
        if hidden:
            same = len(set(hidden)) == 1
            shown = f"activation={(hidden[0] if same else list(hidden))!r}, "
        return (
            f"MLP({list(self.sizes)}, {shown}output={self.output!r}, dtype={self.dtype.name!r})"
            f"  # {self.n_params:,} parameters"
        )

    # ---- prediction

    def _predicting_plan(self) -> Any:
        """Return the plan that predicts with the network; the lock must be held."""
        if self._plan is None:
            self._plan = kernels.of(self.dtype).Plan(self._table, self.params)
        return self._plan

    def predict(
        self, X: Any, *, out: NDArray[Any] | None = None, n_threads: int | None = None
    ) -> NDArray[Any]:
        """Return the network's outputs: probabilities for ``softmax`` and ``sigmoid``.

        A row's result does not depend, by a single bit, on the rows beside it or on the threads.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
            Real numbers of any type and layout, finite. Not modified.
        out : ndarray, shape (n, n_out), optional
            Where to write; C-contiguous and of the network's dtype.
        n_threads : int, optional
            Default: `fastmlp.get_num_threads`.

        Returns
        -------
        ndarray, shape (n, n_out)
            ``out``, or a new array.

        Raises
        ------
        ValueError, TypeError
            If ``X`` has another number of columns, no rows, or a number that is not finite.
        """
        rows = arrays.inputs(X, self.sizes[0])
        n_threads = threads.resolve(n_threads, len(rows) * self.n_params)
        result = arrays.output_buffer(out, (len(rows), self.sizes[-1]), self.dtype)
        if out is not None and np.may_share_memory(out, rows.array):
            rows = rows.take(np.arange(len(rows)))
        source = rows.source(self.dtype)
        with self._lock:
            bad = self._predicting_plan().predict(source, result, n_threads)
        if bad >= 0:
            raise rows.not_finite(bad, self.dtype)
        return result

    def freeze(self) -> Predictor:
        """Return a copy that only predicts: weights packed once, no lock, one row in microseconds.

        Later training of this network does not change it.

        Returns
        -------
        Predictor
            A function of rows: ``fast = mlp.freeze(); fast(x)``.
        """
        with self._lock:
            return Predictor(self.sizes, self.activations, self.params.copy())

    def evaluate(
        self,
        X: Any,
        y: Any,
        *,
        metrics: Iterable[str | Callable[..., float]] | None = None,
        loss: str | losses.Loss | None = None,
        sample_weight: Any = None,
        n_threads: int | None = None,
    ) -> dict[str, float]:
        """Return the loss and the metrics on given rows.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
        y : array_like, shape (n,) or (n, n_out)
            Targets, as for `fit`.
        metrics : iterable of str or callable, optional
            Names of `fastmlp.metrics`, or functions of ``(y, prediction)``. Default: the accuracy
            with cross-entropy, none with other losses.
        loss : str or Loss, optional
            Default: the usual one for the network's output.
        sample_weight : array_like, shape (n,), optional
        n_threads : int, optional

        Returns
        -------
        dict of str to float
            ``"loss"`` (penalties not included) and one entry for each metric, under the name it was
            asked for by.

        Raises
        ------
        ValueError, TypeError
            As `predict` and `fit`.
        """
        found = losses.get(loss, self.output)
        if metrics is None:
            metrics = ("accuracy",) if found.targets == "classes" else ()
        return self._evaluate(X, y, found, named_metrics(metrics), sample_weight, n_threads)

    def _evaluate(
        self,
        X: Any,
        y: Any,
        loss: losses.Loss,
        wanted: dict[str, Metric],
        sample_weight: Any,
        n_threads: int | None,
        names: tuple[str, str] = ("X", "y"),
    ) -> dict[str, float]:
        rows = arrays.inputs(X, self.sizes[0], names[0])
        targets = arrays.targets(y, loss, self.sizes[-1], len(rows), names[1])
        targets.check_finite(self.dtype)
        weights = arrays.weights(sample_weight, len(rows), self.dtype)
        prediction = np.empty((len(rows), self.sizes[-1]), self.dtype)
        source = rows.source(self.dtype)
        with self._lock:
            value, bad = self._predicting_plan().evaluate(
                source,
                targets.source(self.dtype),
                None if weights is None else weights.source(self.dtype),
                prediction,
                loss_code(loss, targets, self.dtype),
                loss.reduction == "mean",
                threads.resolve(n_threads),
            )
        if bad >= 0:
            raise rows.not_finite(bad, self.dtype)
        given = None if weights is None else weights.array[:, 0]
        truth = targets.array
        if arrays.are_class_numbers(targets, loss):
            truth = truth[:, 0].astype(np.int64)
        result = {"loss": value}
        for name, metric in wanted.items():
            result[name] = metric(truth, prediction, given)
        return result

    # ---- learning, in one line

    def fit(self, X: Any, y: Any, **options: Any) -> History:
        """Train the network: a new `Trainer`'s ``fit``, in one line.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
        y : array_like, shape (n,) or (n, n_out)
        **options
            Those of `Trainer` (``loss``, ``optimizer``, ``batch_size``, ``l2``, ``seed``,
            ``n_threads``) and of `Trainer.fit` (``epochs``, ``shuffle``, ``verbose``, …).

        Returns
        -------
        History

        Examples
        --------
        >>> import fastmlp as fm
        >>> X, y = fm.datasets.xor()
        >>> mlp = fm.MLP([2, 8, 1], activation="tanh", output="sigmoid", seed=1)
        >>> history = mlp.fit(X, y, optimizer=fm.Adam(lr=0.05), epochs=500)
        >>> (mlp.predict(X)[:, 0] > 0.5).tolist()
        [False, True, True, False]
        """
        from .training import Trainer

        settings = {
            name: options.pop(name)
            for name in ("loss", "optimizer", "batch_size", "l2", "seed", "n_threads")
            if name in options
        }
        return Trainer(self, **settings).fit(X, y, **options)

    def trace(
        self,
        x: Any,
        y: Any,
        *,
        loss: str | losses.Loss | None = None,
        optimizer: Any = "sgd",
    ) -> Trace:
        """Return every number of one forward, backward and update, from the kernels themselves.

        The network is left as it is: the step is taken on a copy.

        Parameters
        ----------
        x : array_like, shape (n, n_in)
            One minibatch.
        y : array_like, shape (n,) or (n, n_out)
        loss : str or Loss, optional
            Default: the usual one for the network's output.
        optimizer : str or Optimizer, default "sgd"

        Returns
        -------
        Trace
        """
        from .trace import trace

        return trace(self, x, y, loss=loss, optimizer=optimizer)

    # ---- copies

    def copy(self) -> MLP:
        """Return a network of its own with the same parameters."""
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def __copy__(self) -> MLP:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> MLP:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        # The views, the plan and the lock are made anew from these.
        with self._lock:
            return {
                "sizes": self.sizes,
                "activations": self.activations,
                "params": self.params.copy(),
                "buffers": {name: buffer.copy() for name, buffer in self.buffers.items()},
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        params = state["params"]
        *hidden, output = state["activations"]
        self._set_structure(state["sizes"], hidden or "relu", output, params.dtype)
        if params.shape != self.params.shape:
            raise ValueError(
                f"params: got shape {params.shape}, expected {self.params.shape} for a network "
                f"of sizes {list(self.sizes)}"
            )
        self.params[:] = params
        self.buffers = {name: buffer.copy() for name, buffer in state["buffers"].items()}

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to one safetensors file; see `fastmlp.load` for the way back.

        Written to a temporary file beside it, flushed and moved into place: a file that was there
        before stays whole until the new one is.

        Parameters
        ----------
        path : path-like
            Where to; the folder must exist.

        Raises
        ------
        OSError
            If it cannot be written; an old file is then untouched.
        ValueError
            If a parameter is not finite.
        """
        from .serialization import save

        save(self, path)


def loss_code(loss: losses.Loss, targets: arrays.Rows, dtype: np.dtype[Any]) -> int:
    """Return the kernels' code for a loss with targets of this kind."""
    name = loss.name
    if arrays.are_class_numbers(targets, loss):
        name += "_of_labels"
    code: int = kernels.of(dtype).LOSSES[name]
    return code


def _each(argument: str, values: Any, what: str) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{argument}: got {values!r}, expected a sequence of {what}") from None


def _checked_sizes(sizes: Any) -> tuple[int, ...]:
    try:
        found = tuple(sizes)
    except TypeError:
        raise TypeError(
            f"sizes: got {sizes!r}, expected a sequence of whole numbers such as [784, 128, 10]"
        ) from None
    if len(found) < 2:
        raise ValueError(
            f"sizes: got {len(found)} numbers, expected at least two: the inputs and the outputs"
        )
    for size in found:
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"sizes: got {size!r}, expected whole numbers of at least 1")
    return tuple(int(size) for size in found)


def _checked_activations(
    activation: str | Sequence[str], output: str, n_hidden: int
) -> tuple[str, ...]:
    if isinstance(activation, str):
        activations.get(activation)
        names = [activation] * n_hidden
    else:
        names = _each("activation", activation, "names")
    if len(names) != n_hidden:
        raise ValueError(
            f"activation: got {len(names)} names, expected one, or one for each of the "
            f"{n_hidden} hidden layers"
        )
    found = [activations.get(name) for name in names]
    for hidden in found:
        if hidden.output_only:
            raise ValueError(
                f"activation: {hidden.name!r} is for the output; give it as output={hidden.name!r} "
                f"and choose another for the hidden layers"
            )
    return (*(hidden.name for hidden in found), activations.get(output, "output").name)


def _checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.float32, np.float64):
        raise ValueError(f"dtype: got {dtype!r}, expected 'float32' or 'float64'")
    return found
