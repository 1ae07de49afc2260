"""The manual of the compiled room.

Every build of ``kernels.pyx`` (``float32`` and ``float64`` of the variant in use) holds what
`_Build` lists. ``real`` below is the build's element type. Arrays are C-contiguous. Nothing here
checks shapes, types or ranges: that is done in ``arrays.py``, ``network.py`` and ``training.py``,
and a wrong argument here is a crash.

Each function says what it reads, what it writes, and what it overwrites. Nothing is ever added to
what an output held before, unless it says so. All of it runs without the GIL.
"""

from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CPU_FEATURES", "VARIANT", "float32", "float64", "of", "usable_variants", "zeros"]

CPU_FEATURES: frozenset[str]
VARIANT: str
float32: _Build
float64: _Build

def of(dtype: np.dtype[Any]) -> _Build: ...
def usable_variants() -> list[str]: ...
def zeros(n: int, dtype: np.dtype[Any]) -> NDArray[Any]: ...

_Real = NDArray[np.float32] | NDArray[np.float64]
_Int64 = NDArray[np.int64]
_Double = NDArray[np.float64]

@final
class Source:
    """A two-dimensional array of the user's, read where it lies, in its own type and strides.

    Holds the array's buffer; never writes to it. The type is one of float16, float32, float64, bool
    and the integers of 8 to 64 bits, in native byte order.

    Parameters
    ----------
    array : shape (n, n_cols)
        Or, of compressed sparse rows, the stored elements, (1, n_stored).
    chosen : int64, shape (n_rows,), optional
        Which rows of the array these are.
    scaling : float64, shape (2, n_cols), optional
        An element x is read as ``(x - scaling[0]) * scaling[1]``, in double precision.
    missing : bool
        Elements may be NaN or infinite.
    columns : int32 or int64, shape (n_stored,), optional
        Of sparse rows: the stored elements' columns.
    starts : int64, shape (n + 1,), optional
        Of sparse rows: where each begins among the stored elements.
    n_cols : int
        Of sparse rows.
    """

    n_rows: int
    n_cols: int
    def __init__(
        self,
        array: NDArray[Any],
        *,
        chosen: _Int64 | None = None,
        scaling: _Double | None = None,
        missing: bool = False,
        columns: NDArray[np.int32] | _Int64 | None = None,
        starts: _Int64 | None = None,
        n_cols: int = 0,
    ) -> None: ...
    def first_bad_row(self) -> int:
        """The first row with a number that is not finite as ``real``, or -1."""

@final
class Plan:
    """One network with every scratch buffer it needs, the steps of learning, and ``run``.

    Parameters
    ----------
    layers : int64, shape (n_layers, 8)
        For each layer: n_in, n_out, where ``w`` and ``b`` begin in ``params``, the activation's
        code from ``ACTIVATIONS``, the normalisation's from ``NORMALIZATIONS``, where its ``gamma``
        (and, behind it, ``beta``) begins in ``params``, and where its running means (and, behind
        them, variances) begin in ``buffers``. Read once.
    constants : float64, shape (n_layers, 4)
        For each layer: the activation's constant, the probability of dropout, and the
        normalisation's eps and momentum. Read once.
    params : real, shape (n_params,)
        Read by everything, written by ``step`` and ``run``. Held: it must not move.
    buffers : float64, shape (n_buffers,), optional
        Running means and variances of batch normalisation: read in prediction, written in training.
    input_dropout : float
        The probability of dropout of inputs, in training.
    output_scaling : float64, shape (2, n_out), optional
        Outputs are handed out as ``output_scaling[0] + output_scaling[1] * output``.
    grads : real, shape (n_params,), optional
        Overwritten by ``backward`` and ``run``. None makes a plan that only predicts, and the rest
        is not needed.
    loss : int
        A code from ``LOSSES``.
    loss_constants : real, shape (n_out,), optional
        The loss's constant for each output.
    loss_shares : float64, shape (2,), optional
        What the formula's sum over the outputs is multiplied by in a row's value, and its
        derivative in the gradient. Default: the loss's own, 1 or 1 / n_out for both.
    missing : bool
        Targets may be NaN: not known.
    mean : bool
        The objective is the weighted mean over rows, not the weighted sum.
    penalties : float64, shape (7,), optional
        l1 and l2, which add ``l1 · Σ|W| + l2 / 2 · ‖W‖²`` to the objective; weight decay; the
        highest element and the highest norm of the gradient; the highest norm of a unit's incoming
        weights; 1 if the minibatch's rows' weights divide l1 and l2. 0 is none. Read once.
    optimizer : int
        A code from ``OPTIMIZERS`` or ``SECOND_ORDER``.
    settings : float64, shape (at most 8,)
        The optimizer's own: see ``optimizers.pxi``. Read once.
    state : real, shape (n_vectors, n_params)
        The optimizer's vectors. Read and written by ``step`` and ``run``.
    memory : float64, shape (2,)
        What the optimizer keeps beside them. Likewise.
    predicts : bool
        ``forward`` is what ``predict`` does, without dropout and by running means, also with
        ``grads``.
    frozen : bool
        Copy the weights now and for good: ``params`` is not held, and all there is is ``predict``.
    readable : int
        How many elements from the beginning of ``params`` on may be read, if more than those of
        ``params``: with a vector's worth more, a tiny network's weights need not be copied first.
    """

    n_params: int
    chunk_rows: int
    """Rows that go through the network together; sums over the batch are cut here."""
    trains: bool
    rows_done: int
    """Rows of the minibatch that ``run`` has left half done; 0 between two of them."""
    bad_row: int
    """The row in which ``run`` found a number that is not finite, or -1."""
    def __init__(
        self,
        layers: _Int64,
        constants: _Double,
        params: _Real,
        *,
        buffers: _Double | None = None,
        input_dropout: float = 0.0,
        output_scaling: _Double | None = None,
        grads: _Real | None = None,
        loss: int = 0,
        loss_constants: _Real | None = None,
        loss_shares: _Double | None = None,
        missing: bool = False,
        mean: bool = True,
        penalties: _Double | None = None,
        optimizer: int = 0,
        settings: _Double | None = None,
        state: _Real | None = None,
        memory: _Double | None = None,
        predicts: bool = False,
        frozen: bool = False,
        readable: int = 0,
    ) -> None: ...
    def predict(self, x: Source, out: _Real, n_threads: int = 1) -> int:
        """Write the outputs for all rows of ``x`` to ``out`` (n, n_out).

        Returns the first row that is not finite (``out`` is then half written), or -1.
        """

    def evaluate(
        self,
        x: Source,
        y: Source,
        weights: Source | None,
        out: _Real,
        loss: int,
        loss_constants: _Real | None,
        loss_shares: _Double | None,
        missing: bool,
        mean: bool,
        n_threads: int = 1,
    ) -> tuple[float, int]:
        """As ``predict``, and the (weighted) mean or sum of all rows' losses, without penalties.

        ``y`` (n, n_out), or (n, 1) class numbers for a loss of labels, or fewer columns, each for
        several outputs side by side; ``weights`` (n, 1).
        """

    def forward(
        self, x: Source, out: _Real, seed: int = 0, step: int = 0, n_threads: int = 1
    ) -> int:
        """Take all rows of ``x`` as one minibatch, forward; outputs to ``out`` (n, n_out).

        Keeps every layer's input, scores and output for the steps that follow. ``seed`` and
        ``step`` decide what dropout drops. Returns the first row that is not finite, or -1.
        """

    def set_loss(self, loss: int) -> None:
        """Go on with another code from ``LOSSES``: classes come as numbers or as probabilities."""

    def compute_loss(self, y: Source, weights: Source | None) -> tuple[float, int]:
        """Return the objective of the minibatch, penalties included, and -1; or nan and a bad row.

        Writes the derivative by the last layer's scores, for ``backward``.
        """

    def backward(self, n_threads: int = 1) -> None:
        """Overwrite ``grads`` with the objective's gradient. Reads ``params`` as they are."""

    def pull_back(self, seeds: _Real, out: _Real, n_threads: int = 1) -> None:
        """Write the outputs' derivatives by the inputs to ``out`` (n, n_in).

        Weighted by ``seeds`` (n, n_out), for the minibatch that ``forward`` saw. Overwrites
        ``grads``.
        """

    def row_gradients(self, out: _Real) -> None:
        """Write each row's share of the gradient to ``out`` (n, n_params), after ``backward``."""

    def step(
        self,
        lr: float,
        position: _Int64,
        running: _Double,
        objective: float = 0,
        rows: int = 0,
        n_threads: int = 1,
    ) -> None:
        """Clip ``grads`` in place, update ``params`` by it, and count the update.

        ``position`` and ``running`` are those of ``begin``: ``rows`` and ``objective`` times rows
        are added to them in one with the update, whatever signal arrives.
        """

    def read(self, what: str, layer: int, out: _Real) -> None:
        """Copy ``"x"``, ``"z"``, ``"a"`` or ``"dz"`` (n, ·) of a layer in the minibatch."""

    def begin(
        self,
        x: Source | None,
        y: Source | None,
        weights: Source | None,
        *,
        order: _Int64 | None,
        position: _Int64,
        running: _Double,
        snapshot: _Real,
        buffers_snapshot: _Double | None,
        seed: int,
        shuffle: bool,
        batch_size: int,
        lr: float,
        target_loss: float,
        tol: float,
        patience: int,
        n_threads: int,
    ) -> None:
        """Bind what ``run`` trains on, and copy ``params`` to ``snapshot``.

        In the middle of an epoch ``snapshot`` is left as it is. Without ``x`` and ``y`` training
        goes step by step.

        Parameters
        ----------
        order : shape (n,), or None without shuffle
            Overwritten with each epoch's order of rows.
        position : shape (4,)
            Whole epochs, next row of the epoch, updates, epochs without improvement. Read and
            written by ``run``: all that is needed to go on, together with ``running``.
        running : shape (2,)
            The epoch's objectives so far, times their rows; the best epoch's loss. Likewise.
        snapshot : shape (n_params,)
            Overwritten with ``params`` after every epoch in which they were finite.
        buffers_snapshot : shape (n_buffers,)
            Likewise with ``buffers``.
        target_loss : float
            Stop after an epoch with at most this loss; -inf for never.
        tol, patience
            Stop when ``patience`` epochs in a row had no loss below the best less ``tol``; a
            patience of 0 for never.
        """

    def set_rates(self, rates: _Double, first_step: int) -> None:
        """Use these learning rates, one for each update from the ``first_step``-th on.

        Counted from 0. ``run`` comes back with ``"rates"`` where they end.
        """

    def run(
        self, losses: _Double, first_epoch: int, until_epoch: int, listen: bool, seconds: float
    ) -> int:
        """Train, and say why it came back: a code from ``STATUS``.

        ``"slice"``: ``seconds`` are over (a minibatch may be half done; call again). ``"rates"``:
        the next update has no learning rate yet, see ``set_rates``. ``"epoch"``:
        one epoch is over and ``listen`` is set. ``"epochs"``: epoch ``until_epoch`` is reached.
        ``"target_loss"``, ``"converged"``. ``"diverged"``: an objective or a parameter was not
        finite, and ``params`` are ``snapshot`` again. ``"bad_input"``, ``"bad_target"``: see
        ``bad_row``.

        Writes the loss of epoch ``e`` to ``losses[e - first_epoch]``.
        """

    def close_epoch(self, losses: _Double, first_epoch: int, n_rows: int) -> int:
        """End an epoch of ``n_rows`` rows, trained step by step; returns the codes of ``run``."""

    def restore_snapshot(self) -> None:
        """Overwrite ``params`` with ``snapshot``, and ``buffers`` likewise."""

    def abandon(self) -> None:
        """Forget a minibatch that is half done, and let go of what ``begin`` was given."""

_Source = Source
_Plan = Plan

class _Build(Protocol):
    VARIANT: str
    DTYPE: str
    TILE: tuple[int, int, int]
    """Rows and columns of a register tile, and elements in a vector."""
    ACTIVATIONS: dict[str, int]
    LOSSES: dict[str, int]
    NORMALIZATIONS: dict[str | None, int]
    OPTIMIZERS: dict[str, int]
    SECOND_ORDER: dict[str, int]
    STATUS: dict[str, int]
    Source: type[_Source]
    Plan: type[_Plan]
    def activate(self, activation: int, a: _Real, constant: float = 0.0) -> None:
        """Apply an activation in place to ``a`` (n, n_out)."""

    def exp(self, x: _Real) -> None:
        """Overwrite ``x`` (n,) with e**x."""

    def gather(self, source: _Source, order: _Int64, out: _Real) -> int:
        """Copy rows ``order`` of ``source`` to ``out`` (len(order), n_cols); the bad row, or -1."""

    def dropout_mask(self, seed: int, step: int, layer: int, p: float, out: _Real) -> None:
        """Write the factors, 0 or 1 / (1 - p), of a layer's inputs (n, n_in) at one update."""

    def philox_block(
        self, counter: NDArray[np.uint32], key: NDArray[np.uint32], out: NDArray[np.uint32]
    ) -> None:
        """Write Philox4x32-10 of a counter (4,) under a key (2,) to ``out`` (4,)."""

    def row_order(self, order: _Int64, seed: int, epoch: int) -> None:
        """Write the order of rows of a shuffled epoch to ``order`` (n,)."""

    def forget_workers(self) -> None:
        """Drop the pool: in a forked child its threads do not exist."""

    def tasks_per_thread(self) -> list[int]:
        """Tasks of parallel jobs each thread has run so far, the calling thread first."""
