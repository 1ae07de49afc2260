"""The network: layers, one flat vector of parameters with views into it, and prediction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import activations, arrays, initializers, inspection, kernels, losses, threads
from .activations import Activation
from .arguments import number, sequence
from .arrays import loss_code, loss_constants, loss_shares
from .metrics import Metric, named_metrics
from .predictor import Predictor
from .structure import Structure

if TYPE_CHECKING:
    from .history import History
    from .trace import Trace

__all__ = ["MLP"]

# Mean over deviation of an input beyond which its scaling is not folded into weights: float32 has
# seven digits.
_FURTHEST_FROM_ZERO = 1e3
# Elements behind the parameters that the kernels may read, and never use: as many as the widest
# vector has, so that they can take the last weights by whole vectors.
_READ_BEHIND = 16
# The options of `fit` that are the trainer's.
_OF_TRAINER = (
    "loss", "optimizer", "batch_size", "schedule", "l1", "l2", "penalties_over_rows",
    "clip_value", "clip_norm", "max_norm", "seed", "n_threads",
)  # fmt: skip


class MLP:
    """A multi-layer perceptron: dense layers, each ``a = f(x·w + b)``.

    Parameters
    ----------
    sizes : sequence of int
        Neurons of each layer, the inputs first: ``[784, 128, 10]`` has one hidden layer. At least
        two numbers, each at least 1.
    activation : str, Activation or sequence of them, default "relu"
        The activation of the hidden layers: one for all, or one for each. ``identity``
        (``linear``), ``sigmoid`` (``logistic``), ``tanh``, ``relu``, ``leaky_relu``, ``elu``,
        ``selu``, ``gelu``, ``gelu_tanh``, ``silu`` (``swish``), ``mish``, ``softplus``,
        ``hard_sigmoid``, ``exp``. A slope or an alpha is given in brackets,
        ``"leaky_relu(slope=0.2)"``, or by `fastmlp.activations.leaky_relu` and ``elu``.
    output : str or Activation, default "identity"
        The activation of the last layer: any of those, or ``softmax``.
    normalization : str or sequence of str, optional
        What stands between a hidden layer's scores and its activation: ``"batch"`` (Ioffe and
        Szegedy, 2015), ``"layer"`` (Ba, Kiros and Hinton, 2016) or None, one for all or one for
        each. ``"batch(momentum=0.01, eps=0.001)"`` changes what PyTorch's defaults are here too,
        0.1 and 1e-5.
    dropout : float or sequence of float, default 0
        The probability, below 1, with which training drops an output of a hidden layer, one for all
        or one for each; what is kept is divided by 1 - p. Srivastava et al. (2014).
    input_dropout : float, default 0
        The same for inputs.
    scale : {"standard"} or float, optional
        What inputs are scaled by on their way in. ``"standard"``: each is brought to mean 0 and
        standard deviation 1, and so are the targets of a network whose output is ``identity`` and
        whose loss compares numbers; means and deviations are those of the first training's rows.
        A number is a factor for all inputs: ``1/255`` for bytes.
    init : str or sequence of str, optional
        How initial weights are drawn: one name for all layers, or one for each. Default: what
        suits each layer's activation, ``he_uniform`` for relu and its kin, ``lecun_normal`` for
        selu, ``glorot_uniform`` for the rest.
    seed : int, optional
        For the initial weights. None draws other ones every time.
    dtype : {"float32", "float64"}, default "float32"
        The element type of parameters and arithmetic.

    Attributes
    ----------
    params : ndarray, shape (n_params,)
        All parameters, layer by layer ``w``, ``b``, then ``gamma`` and ``beta`` if it normalises.
        Write to it to change them; it is never replaced by another array.
    weights, biases : tuple of ndarray
        Views of ``params``: ``weights[i]`` of shape (sizes[i], sizes[i+1]), ``biases[i]`` of shape
        (sizes[i+1],).
    gammas, betas : tuple of (ndarray or None)
        Views of ``params``: what each layer's normalisation learns, shape (sizes[i+1],).
    buffers : dict of str to ndarray
        What belongs to the network but is not learned by gradients, in float64:
        ``"layers.0.mean"`` and ``"layers.0.variance"``, the running ones of batch normalisation;
        ``"inputs.mean"``, ``"inputs.std"``, ``"targets.mean"`` and ``"targets.std"`` with
        ``scale``. Empty for plain layers.
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
        activation: str | Activation | Sequence[str | Activation] = "relu",
        output: str | Activation = "identity",
        normalization: str | Sequence[str | None] | None = None,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        scale: str | float | None = None,
        init: str | Sequence[str] | None = None,
        seed: int | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        self._set_structure(
            Structure.checked(
                sizes, activation, output, normalization, dropout, input_dropout, dtype
            ),
            scale,
        )
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
        activation: str | Activation | Sequence[str | Activation] = "relu",
        output: str | Activation = "identity",
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
            for i, w in enumerate(sequence("weights", weights, "arrays"))
        ]
        bs = [
            arrays.as_numbers(b, f"biases[{i}]")
            for i, b in enumerate(sequence("biases", biases, "arrays"))
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
            narrow = all(a.dtype.char in "ef" for a in (*Ws, *bs))
            dtype = "float32" if narrow else "float64"
        sizes = [Ws[0].shape[0], *(w.shape[1] for w in Ws)]
        mlp = cls._blank(Structure.checked(sizes, activation, output, None, 0, 0, dtype))
        for i, (w, b) in enumerate(zip(Ws, bs, strict=True)):
            arrays.Rows(w, f"weights[{i}]").check_finite(mlp.dtype)
            arrays.Rows(b[None, :], f"biases[{i}]").check_finite(mlp.dtype)
            mlp.weights[i][:] = w
            mlp.biases[i][:] = b
        return mlp

    @classmethod
    def _blank(cls, structure: Structure, scale: str | float | None = None) -> MLP:
        """Return a network whose weights and biases are zero, for others to be written in."""
        mlp = cls.__new__(cls)
        mlp._set_structure(structure, scale)
        return mlp

    def _set_structure(self, structure: Structure, scale: str | float | None = None) -> None:
        """Set all that does not depend on the values of the parameters; those are zero then."""
        self._structure = structure
        self.sizes, self.activations = structure.sizes, structure.activations
        self.dtype = structure.dtype
        self.scale = checked_scale(scale)
        try:
            memory = kernels.zeros(structure.n_params + _READ_BEHIND, self.dtype)
        except (MemoryError, ValueError):
            raise MemoryError(
                f"sizes: got {list(self.sizes)}, {structure.n_params:,} parameters, expected a "
                f"network that fits the memory; make layers smaller"
            ) from None
        self._params = params = memory[: structure.n_params]
        self._running = np.zeros(structure.n_running)
        self.buffers: dict[str, NDArray[np.float64]] = {}
        weights, biases, gammas, betas = [], [], [], []
        for i, parts in enumerate(structure.parts):
            weights.append(params[parts.w].reshape(self.sizes[i], -1))
            biases.append(params[parts.b])
            normalizes = structure.normalization[i] is not None
            gammas.append(params[parts.gamma] if normalizes else None)
            betas.append(params[parts.beta] if normalizes else None)
            if normalizes:
                params[parts.gamma] = 1
            if structure.is_batch(i):
                self.buffers[f"layers.{i}.mean"] = self._running[parts.mean]
                self.buffers[f"layers.{i}.variance"] = self._running[parts.variance]
                self._running[parts.variance] = 1
        self.weights, self.biases = tuple(weights), tuple(biases)
        self.gammas, self.betas = tuple(gammas), tuple(betas)
        self._scalings: dict[str, NDArray[np.float64]] = {}
        self._build = kernels.of(self.dtype)
        self._plan: Any = None
        self._lock = threading.RLock()
        if isinstance(self.scale, float):
            n_in = self.sizes[0]
            self._set_scalings({"inputs": (np.zeros(n_in), np.full(n_in, 1 / self.scale))})

    def _set_scalings(self, found: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
        """Take means and deviations; ``buffers`` has views of them, which plans read."""
        both = {what: np.stack(values).astype(np.float64) for what, values in found.items()}
        for what, values in both.items():
            self.buffers |= {f"{what}.mean": values[0], f"{what}.std": values[1]}
        # Last, so that an interruption before leaves none, and they are taken again.
        self._scalings = both
        self._plan = None

    def _scaling(self, what: str) -> NDArray[np.float64] | None:
        """Return shift and divisor (2, n) of ``"inputs"`` or ``"targets"``, if they are scaled."""
        return self._scalings.get(what)

    def _source(self, rows: arrays.Rows, what: str = "inputs") -> Any:
        """Return inputs or targets as the kernels read them, scaled on the way.

        The lock must be held where another thread may train.
        """
        scaling = self._scaling(what)
        if scaling is not None:
            scaling = np.stack([scaling[0], 1 / scaling[1]])
        return rows.source(self.dtype, scaling)

    def _measure(self, rows: arrays.Rows, targets: arrays.Rows, loss: losses.Loss) -> None:
        """Take means and deviations from the rows of the first training, with scale="standard"."""
        with self._lock:
            if not self._is_unmeasured:
                return
            found = {"inputs": rows.mean_and_std()}
            if self.output == "identity" and loss.targets == "numbers":
                repeats = self.sizes[-1] // targets.n_cols
                mean, std = targets.mean_and_std()
                found["targets"] = np.repeat(mean, repeats), np.repeat(std, repeats)
            self._set_scalings(found)

    @property
    def _is_unmeasured(self) -> bool:
        """Whether the scaling is still to be taken from the rows of the first training."""
        return self.scale == "standard" and not self._scalings

    def _initializers(self, init: str | Sequence[str] | None) -> list[initializers.Initializer]:
        n_layers = len(self.sizes) - 1
        if init is None:
            return [
                initializers.get(activations.get(name).initializer) for name in self.activations
            ]
        names = [init] * n_layers if isinstance(init, str) else sequence("init", init, "names")
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
    def _n_readable(self) -> int:
        """Elements from the first parameter on that may be read."""
        return self.n_params + _READ_BEHIND

    @property
    def output(self) -> str:
        """The activation of the last layer."""
        return self.activations[-1]

    def __repr__(self) -> str:
        def shown_as(name: str, values: tuple[Any, ...], default: Any) -> str:
            if set(values) <= {default}:
                return ""
            return f"{name}={(values[0] if len(set(values)) == 1 else list(values))!r}, "

        structure = self._structure
        shown = (
            shown_as("activation", self.activations[:-1], ())
            + shown_as("normalization", structure.normalization[:-1], None)
            + shown_as("dropout", structure.dropout, 0.0)
            + shown_as("input_dropout", (structure.input_dropout,), 0.0)
            + shown_as("scale", (self.scale,), None)
        )
        return (
            f"MLP({list(self.sizes)}, {shown}output={self.output!r}, dtype={self.dtype.name!r})"
            f"  # {self.n_params:,} parameters"
        )

    def summary(self) -> str:
        """Return what the network is made of, one line a layer: print it.

        A layer's number is its index in ``weights`` and ``biases``. The bytes are those of
        ``params`` and ``buffers``; the multiplications are those of the matrix products with which
        one row is predicted. Training multiplies up to three times as much.

        Returns
        -------
        str

        Examples
        --------
        >>> import fastmlp as fm
        >>> print(fm.MLP([784, 128, 10], output="softmax", dropout=0.5).summary())
        layer  inputs  outputs  activation  dropout  parameters
            0     784      128  relu        0.5         100,480
            1     128       10  softmax                   1,290
        total                                           101,770
        407,080 bytes (float32), 101,632 multiplications a row
        """
        structure = self._structure
        parts = [p.beta.stop - p.w.start for p in structure.parts]
        columns: dict[str, list[str | int]] = {
            "layer": [*range(len(parts)), "total"],
            "inputs": [*self.sizes[:-1], ""],
            "outputs": [*self.sizes[1:], ""],
            "normalization": [*(kind or "" for kind in structure.normalization), ""],
            "activation": [*self.activations, ""],
            "dropout": [*(str(p) if p else "" for p in structure.dropout), "", ""],
            "parameters": [*parts, self.n_params],
        }
        # What no layer has is not shown.
        shown = {name: cells for name, cells in columns.items() if any(c != "" for c in cells)}
        lines = [tuple(shown), *zip(*shown.values(), strict=True)]
        n_bytes = sum(array.nbytes for array in (self.params, *self.buffers.values()))
        n_products = sum(w.size for w in self.weights)
        return (
            f"{_aligned(lines)}\n"
            f"{n_bytes:,} bytes ({self.dtype}), {n_products:,} multiplications a row"
        )

    # ---- prediction

    def _predicting_plan(self) -> Any:
        """Return the plan that predicts with the network; the lock must be held."""
        if self._plan is None:
            self._plan = self._build.Plan(
                *self._structure.tables,
                self.params,
                buffers=self._running,
                output_scaling=self._scaling("targets"),
                readable=self._n_readable,
            )
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
        direct = out is None and not self._scalings
        direct = direct and arrays.is_direct(X, self.sizes[0], self.dtype)
        rows = None if direct else arrays.inputs(X, self.sizes[0])
        n = len(X if rows is None else rows)
        n_threads = threads.resolve(n_threads, n * len(self._params))
        result = arrays.output_buffer(out, (n, self.sizes[-1]), self.dtype)
        if out is not None and rows is not None and np.may_share_memory(out, rows.array):
            rows = rows.take(np.arange(n))
        with self._lock:
            plan = self._predicting_plan()
            source = self._build.Source(X) if rows is None else self._source(rows)
            bad = plan.predict(source, result, n_threads)
        if bad >= 0:
            raise (rows or arrays.inputs(X, self.sizes[0])).not_finite(bad, self.dtype)
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
            return Predictor(*self._folded())

    def _folded(self) -> tuple[Structure, NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
        """Return structure and parameters without batch normalisation, and the scalings left.

        Scalings are folded into the first and the last layer, unless the inputs lie so far from
        zero that the type could no longer tell them apart.
        """
        structure = self._structure.without_batch_normalization()
        params = np.zeros(structure.n_params, np.float64)
        for i, (old, new) in enumerate(zip(self._structure.parts, structure.parts, strict=True)):
            n_in = self.sizes[i]
            w = params[new.w].reshape(n_in, -1)
            w[:], params[new.b] = self.weights[i], self.biases[i]
            if self._structure.is_batch(i):
                spread = np.sqrt(self._running[old.variance] + self._structure.eps_of(i))
                factor = self.gammas[i] / spread
                w *= factor
                params[new.b] = (params[new.b] - self._running[old.mean]) * factor + self.betas[i]
            else:
                params[new.gamma], params[new.beta] = self.params[old.gamma], self.params[old.beta]
        inputs, outputs = self._scaling("inputs"), self._scaling("targets")
        if inputs is not None and np.all(np.abs(inputs[0] / inputs[1]) < _FURTHEST_FROM_ZERO):
            first = structure.parts[0]
            w = params[first.w].reshape(self.sizes[0], -1)
            w /= inputs[1][:, None]
            params[first.b] -= (inputs[0][:, None] * w).sum(axis=0)
            inputs = None
        if outputs is not None:
            last = structure.parts[-1]
            params[last.w].reshape(-1, self.sizes[-1])[:] *= outputs[1]
            params[last.b] = params[last.b] * outputs[1] + outputs[0]
            outputs = None
        return structure, params.astype(self.dtype), inputs, outputs

    def evaluate(
        self,
        X: Any,
        y: Any,
        *,
        metrics: Iterable[str | Callable[..., float]] | None = None,
        loss: str | losses.Loss | None = None,
        sample_weight: Any = None,
        class_weight: Any = None,
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
        class_weight : "balanced" or dict or array_like, optional
            As for `Trainer.fit`.
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
        wanted = named_metrics(metrics)
        rows = arrays.inputs(X, self.sizes[0])
        targets, weights = arrays.targets_and_weights(
            y, found, self.sizes[-1], len(rows), self.dtype, sample_weight, class_weight
        )
        return self._evaluate(rows, targets, weights, found, wanted, n_threads)

    def _evaluate(
        self,
        rows: arrays.Rows,
        targets: arrays.Rows,
        weights: arrays.Rows | None,
        loss: losses.Loss,
        wanted: dict[str, Metric],
        n_threads: int | None,
    ) -> dict[str, float]:
        """Do what `evaluate` does, on arguments that have been judged."""
        prediction = np.empty((len(rows), self.sizes[-1]), self.dtype)
        with self._lock:
            value, bad = self._predicting_plan().evaluate(
                self._source(rows),
                self._source(targets, "targets"),
                None if weights is None else weights.source(self.dtype),
                prediction,
                loss_code(loss, targets, self.dtype),
                loss_constants(loss, self.sizes[-1], self.dtype),
                loss_shares(loss, self.sizes[-1]),
                loss.takes_missing,
                loss.reduction == "mean",
                threads.resolve(n_threads),
            )
        if bad >= 0:
            raise rows.not_finite(bad, self.dtype)
        given = None if weights is None else weights.whole()[:, 0]
        truth = targets.whole()
        if arrays.are_class_numbers(targets, loss):
            truth = truth[:, 0].astype(np.int64)
        result = {"loss": value}
        for name, metric in wanted.items():
            result[name] = metric(truth, prediction, given)
        return result

    # ---- looking inside

    def hidden(self, X: Any, *, n_threads: int | None = None) -> list[NDArray[Any]]:
        """Return what every layer puts out for given rows, as in prediction.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
        n_threads : int, optional

        Returns
        -------
        list of ndarray, shapes (n, sizes[i + 1])
            The activations of each layer; the last are the network's outputs, in the units that
            they have inside the network.

        Raises
        ------
        ValueError, TypeError
            As `predict`.

        Examples
        --------
        >>> import fastmlp as fm
        >>> [a.shape for a in fm.MLP([2, 4, 1], seed=0).hidden([[1.0, 2.0]])]
        [(1, 4), (1, 1)]
        """
        return inspection.hidden(self, X, n_threads)

    def input_gradient(
        self, X: Any, output: int | None = None, *, n_threads: int | None = None
    ) -> NDArray[Any]:
        """Return how one output changes with each input: its derivatives, row by row.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
        output : int, optional
            Which output, from 0; may be left out if there is but one.
        n_threads : int, optional

        Returns
        -------
        ndarray, shape (n, n_in)

        Raises
        ------
        ValueError, TypeError
            As `predict`; or if there is no such output.

        Examples
        --------
        >>> import fastmlp as fm
        >>> fm.MLP.from_weights([[[2.0], [3.0]]], [[1.0]]).input_gradient([[10.0, 100.0]])
        array([[2., 3.]])
        """
        return inspection.input_gradient(self, X, output, n_threads)

    def jacobian(self, X: Any, *, n_threads: int | None = None) -> NDArray[Any]:
        """Return how every output changes with each input, row by row.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
        n_threads : int, optional

        Returns
        -------
        ndarray, shape (n, n_out, n_in)

        Raises
        ------
        ValueError, TypeError
            As `predict`.

        Examples
        --------
        >>> import fastmlp as fm
        >>> fm.MLP([3, 8, 2], seed=0).jacobian([[1.0, 2.0, 3.0]]).shape
        (1, 2, 3)
        """
        return inspection.jacobian(self, X, n_threads)

    # ---- learning, in one line

    def fit(self, X: Any, y: Any = None, **options: Any) -> History:
        """Train the network: a new `Trainer`'s ``fit``, in one line.

        Parameters
        ----------
        X : array_like, shape (n, n_in)
        y : array_like, shape (n,) or (n, n_out)
        **options
            Those of `Trainer` (``loss``, ``optimizer``, ``batch_size``, ``schedule``, ``l1``,
            ``l2``, ``penalties_over_rows``, ``clip_value``, ``clip_norm``, ``max_norm``, ``seed``,
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

        settings = {name: options.pop(name) for name in _OF_TRAINER if name in options}
        return Trainer(self, **settings).fit(X, y, **options)

    def trace(
        self,
        x: Any,
        y: Any,
        *,
        loss: str | losses.Loss | None = None,
        optimizer: Any = "sgd",
        sample_weight: Any = None,
        **settings: Any,
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
        sample_weight : array_like, shape (n,), optional
        **settings
            Others of `Trainer`: ``l1``, ``l2``, ``penalties_over_rows``, ``clip_value``,
            ``clip_norm``, ``max_norm``, ``seed``.

        Returns
        -------
        Trace
            ``print`` shows every number, ``to_json`` writes them exactly.

        Raises
        ------
        ValueError, TypeError
            As `Trainer`; or if the optimizer does not step by the gradient.

        Examples
        --------
        >>> import fastmlp as fm
        >>> mlp = fm.MLP([2, 3, 1], seed=0)
        >>> found = mlp.trace([[1.0, 2.0]], [[3.0]], optimizer=fm.SGD(momentum=0.9))
        >>> found.layers[0].new_state["velocity"]["w"].shape
        (2, 3)
        """
        from .trace import trace

        return trace(
            self, x, y, loss=loss, optimizer=optimizer, sample_weight=sample_weight, **settings
        )

    # ---- copies

    def copy(self) -> MLP:
        """Return a network of its own with the same parameters."""
        twin = type(self).__new__(type(self))
        twin._restore(self._structure, self.__getstate__())
        return twin

    def __copy__(self) -> MLP:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> MLP:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        # The views, the plan and the lock are made anew from these.
        with self._lock:
            return {
                "structure": self._structure,
                "scale": self.scale,
                "params": self.params.copy(),
                "buffers": {name: buffer.copy() for name, buffer in self.buffers.items()},
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A pickle may come from anywhere: what compiled code will rely on is judged as a user's.
        structure: Structure = state["structure"].judged_again()
        params = arrays.as_numbers(state["params"], "params")
        if params.shape != (structure.n_params,):
            raise ValueError(
                f"params: got shape {params.shape}, expected ({structure.n_params},) for a network "
                f"of sizes {list(structure.sizes)}"
            )
        for name, buffer in state["buffers"].items():
            expected = structure.scaled.get(name.partition(".")[0])
            if expected is not None and np.shape(buffer) != (expected,):
                raise ValueError(
                    f"buffers[{name!r}]: got shape {np.shape(buffer)}, expected ({expected},)"
                )
        self._restore(structure, state)

    def _restore(self, structure: Structure, state: dict[str, Any]) -> None:
        """Take what `__getstate__` has returned, for a structure that has been judged."""
        self._set_structure(structure, state["scale"])
        self.params[:] = state["params"]
        self._take_buffers(state["buffers"])

    def _take_buffers(self, buffers: dict[str, NDArray[np.float64]]) -> None:
        """Copy buffers saved before."""
        scalings = [what for what in self._structure.scaled if f"{what}.mean" in buffers]
        self._set_scalings(
            {what: (buffers[f"{what}.mean"], buffers[f"{what}.std"]) for what in scalings}
        )
        for name, buffer in buffers.items():
            if name in self.buffers:
                self.buffers[name][:] = buffer
            else:
                self.buffers[name] = buffer.copy()

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


def _aligned(lines: Sequence[tuple[str | int, ...]]) -> str:
    """Return lines of cells as text: columns with numbers to the right, words to the left."""
    columns = []
    for cells in zip(*lines, strict=True):
        texts = [f"{cell:,}" if isinstance(cell, int) else cell for cell in cells]
        width = max(map(len, texts))
        to_the_right = any(isinstance(cell, int) for cell in cells)
        columns.append([f"{text:{'>' if to_the_right else '<'}{width}}" for text in texts])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def checked_scale(scale: Any) -> str | float | None:
    """Return the ``scale`` of `MLP` if it is one."""
    if scale is None or (isinstance(scale, str) and scale == "standard"):
        return scale
    if isinstance(scale, str):
        raise ValueError(f"scale: got {scale!r}, expected 'standard', a number or None")
    return number("scale", scale, 0, above=True)
