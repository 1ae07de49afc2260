"""User arrays in, `Rows` out: the only place where shapes, types and values of arrays are judged.

A `Rows` describes an array once. Nothing is copied when the kernels can read the array as it is
(any strides, any native integer, bool, float32 or float64); the user's array is never written to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .arguments import number
from .losses import Loss

__all__ = ["Rows"]

_BYTES_OF_A_BLOCK = 1 << 23


class Rows:
    """A two-dimensional array of a user's, described once.

    Parameters
    ----------
    array : array_like, shape (n, n_cols)
        Numbers. A one-dimensional array is refused for inputs, because it could be one row or one
        column; `targets` and `weights` accept one.
    name : str
        What the user calls it, for error messages.
    n_cols : int, optional
        The columns expected.
    columns : str, optional
        What the network has one of for each column, for error messages.

    Raises
    ------
    TypeError
        If the elements are not real numbers (strings, objects, complex numbers, dates).
    ValueError
        If it is empty, has another number of dimensions or columns, or is masked.
    """

    def __init__(
        self, array: Any, name: str, n_cols: int | None = None, columns: str = "columns"
    ) -> None:
        self.name = name
        self.may_be_missing = False
        self.chosen: NDArray[np.int64] | None = None
        self.array = as_numbers(array, name)
        if self.array.ndim != 2:
            advice = ""
            if self.array.ndim == 1:
                advice = f"; {name}[None, :] makes one row of it, {name}[:, None] one column"
            raise ValueError(
                f"{name}: got {_dimensions(self.array.ndim)}, shape {self.array.shape}, expected "
                f"two, (rows, {'columns' if n_cols is None else n_cols}){advice}"
            )
        if n_cols is not None and self.array.shape[1] != n_cols:
            raise _wrong_columns(name, self.array.shape[1], n_cols, columns)
        if len(self.array) == 0:
            raise ValueError(f"{name}: got no rows, expected at least one")

    def __len__(self) -> int:
        return len(self.array) if self.chosen is None else len(self.chosen)

    @property
    def n_cols(self) -> int:
        """Columns of the array."""
        return int(self.array.shape[1])

    def subset(self, chosen: NDArray[np.int64]) -> Rows:
        """Return some of the rows, read where they lie."""
        some = object.__new__(Rows)
        some.name, some.array, some.may_be_missing = self.name, self.array, self.may_be_missing
        some.chosen = chosen if self.chosen is None else self.chosen[chosen]
        return some

    def pieces(self, n_bytes: int) -> Iterator[NDArray[Any]]:
        """Yield the rows' array in pieces of about so many bytes."""
        n = max(1, n_bytes // max(1, self.array.itemsize * self.n_cols))
        for start in range(0, len(self), n):
            yield self._block(start, start + n)

    def whole(self) -> NDArray[Any]:
        """Return all rows as an array."""
        return self._block(0, len(self))

    def _block(self, start: int, end: int) -> NDArray[Any]:
        """Return some rows side by side, as an array."""
        if self.chosen is None:
            return self.array[start:end]
        return self.array[self.chosen[start:end]]

    def source(self, dtype: np.dtype[Any], scaling: NDArray[np.float64] | None = None) -> Any:
        """Return the array as the kernels of ``dtype`` read it.

        ``scaling`` (2, n_cols) makes ``(x - scaling[0]) * scaling[1]`` of every element x.
        """
        if scaling is not None and scaling.shape[1] != self.n_cols:
            # Several outputs for each target, scaled alike.
            scaling = np.ascontiguousarray(scaling[:, :: scaling.shape[1] // self.n_cols])
        return kernels.of(dtype).Source(
            self.array, chosen=self.chosen, scaling=scaling, missing=self.may_be_missing
        )

    def mean_and_std(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return every column's mean and standard deviation; 1 for a column that is constant.

        Made from blocks of rows, so that no copy of the array exists; NaN counts as nothing.
        """
        n = np.zeros(self.n_cols)
        mean = np.zeros(self.n_cols)
        squares = np.zeros(self.n_cols)
        low, high = np.full(self.n_cols, np.inf), np.full(self.n_cols, -np.inf)
        n_rows = max(1, _BYTES_OF_A_BLOCK // (8 * self.n_cols))
        for start in range(0, len(self), n_rows):
            block = self._block(start, start + n_rows).astype(np.float64)
            known = ~np.isnan(block)
            low, high = np.fmin(low, np.fmin.reduce(block)), np.fmax(high, np.fmax.reduce(block))
            n_block = known.sum(axis=0)
            mean_block = np.where(known, block, 0).sum(axis=0) / np.maximum(n_block, 1)
            around = np.where(known, block - mean_block, 0)
            # Chan, Golub and LeVeque (1979): two sets' sums of squares made one.
            total = np.maximum(n + n_block, 1)
            distance = mean_block - mean
            squares += (around**2).sum(axis=0) + distance**2 * n * n_block / total
            mean += distance * n_block / total
            n = n + n_block
        std = np.sqrt(squares / np.maximum(n, 1))
        # The mean of equal numbers is not always that number.
        mean = np.where(low == high, low, mean)
        return mean, np.where((low < high) & (std > 0), std, 1)

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Return some of the rows, copied."""
        taken = object.__new__(Rows)
        taken.name, taken.may_be_missing = self.name, self.may_be_missing
        taken.array = self.array[rows if self.chosen is None else self.chosen[rows]]
        taken.chosen = None
        return taken

    def check_finite(self, dtype: np.dtype[Any]) -> None:
        """Raise `ValueError` if a row has a number that is not finite as ``dtype``."""
        if self.may_be_missing:
            with np.errstate(over="ignore"):
                bad = np.isinf(self.array.astype(dtype, copy=False)).any(axis=1)
            row = int(np.argmax(bad)) if bad.any() else -1
        else:
            row = self.source(dtype).first_bad_row()
        if row >= 0:
            raise self.not_finite(row, dtype)

    def not_finite(self, row: int, dtype: np.dtype[Any]) -> ValueError:
        """Return the error that names what is wrong with a row."""
        values = self.array[row]
        with np.errstate(over="ignore"):
            finite = np.isfinite(values.astype(dtype))
        if self.may_be_missing:
            finite |= np.isnan(values)
        column = int(np.argmin(finite))
        value = values[column]
        if np.isfinite(value):
            return ValueError(
                f"{self.name}: row {row} holds {value} in column {column}, more than {dtype} can "
                f"hold; scale the data, or make the network with dtype='float64'"
            )
        return ValueError(
            f"{self.name}: row {row} holds {value} in column {column}, expected finite numbers; "
            f"drop the row or fill in a value"
        )


class SparseRows(Rows):
    """Rows of one of SciPy's sparse arrays or matrices.

    Zeros are written out only as the kernels gather a row.

    Raises
    ------
    TypeError, ValueError
        As `Rows`.
    """

    def __init__(
        self, array: Any, name: str, n_cols: int | None = None, columns: str = "columns"
    ) -> None:
        self.name, self.may_be_missing, self.chosen = name, False, None
        if array.ndim != 2:
            raise ValueError(f"{name}: got {_dimensions(array.ndim)}, expected two")
        if n_cols is not None and array.shape[1] != n_cols:
            raise _wrong_columns(name, array.shape[1], n_cols, columns)
        if array.shape[0] == 0:
            raise ValueError(f"{name}: got no rows, expected at least one")
        found = array.tocsr()
        if not found.has_canonical_format:
            # What is stored twice is added up as SciPy does, in the array's own type.
            found = found.copy()
            found.sum_duplicates()
        self.array = as_numbers(found.data, name)
        self.indices, self.starts = found.indices, found.indptr.astype(np.int64)
        self.shape = found.shape
        if len(self.indices) and not (self.indices.min() >= 0 and self.indices.max() < self.n_cols):
            raise ValueError(
                f"{name}: holds an index outside its {self.n_cols} columns; see check_format() of "
                f"scipy.sparse"
            )

    def __len__(self) -> int:
        return self.shape[0] if self.chosen is None else len(self.chosen)

    @property
    def n_cols(self) -> int:
        """Columns of the array."""
        return int(self.shape[1])

    def source(self, dtype: np.dtype[Any], scaling: NDArray[np.float64] | None = None) -> Any:
        """Return the array as the kernels of ``dtype`` read it."""
        return kernels.of(dtype).Source(
            self.array[None, :],
            chosen=self.chosen,
            scaling=scaling,
            columns=self.indices,
            starts=self.starts,
            n_cols=self.n_cols,
        )

    def subset(self, chosen: NDArray[np.int64]) -> Rows:
        """Return some of the rows, read where they lie."""
        some = object.__new__(SparseRows)
        some.__dict__.update(self.__dict__)
        some.chosen = chosen if self.chosen is None else self.chosen[chosen]
        return some

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Return some of the rows, with their zeros."""
        taken = object.__new__(Rows)
        taken.name, taken.may_be_missing, taken.chosen = self.name, False, None
        taken.array = self._dense(rows if self.chosen is None else self.chosen[rows])
        return taken

    def _block(self, start: int, end: int) -> NDArray[Any]:
        rows = np.arange(start, min(end, len(self)))
        return self._dense(rows if self.chosen is None else self.chosen[rows])

    def _dense(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        dense = np.zeros((len(rows), self.n_cols), self.array.dtype)
        for i, row in enumerate(rows):
            stored = slice(self.starts[row], self.starts[row + 1])
            np.add.at(dense[i], self.indices[stored], self.array[stored])
        return dense

    def not_finite(self, row: int, dtype: np.dtype[Any]) -> ValueError:
        """Return the error that names what is wrong with a row."""
        whole = object.__new__(Rows)
        whole.name, whole.chosen, whole.may_be_missing = self.name, None, False
        whole.array = np.broadcast_to(self._dense(np.array([row]))[0], (row + 1, self.n_cols))
        return Rows.not_finite(whole, row, dtype)


def is_direct(X: Any, n_in: int, dtype: np.dtype[Any]) -> bool:
    """Whether the kernels can read inputs as they are, and nothing about them need be judged.

    But for whether they are finite, which the kernels say. A `Rows` takes longer than a tiny
    network's prediction.
    """
    return (
        type(X) is np.ndarray
        and X.dtype == dtype
        and X.ndim == 2
        and X.shape[1] == n_in
        and len(X) > 0
        and X.flags.aligned
    )


def inputs(X: Any, n_in: int, name: str = "X") -> Rows:
    """Return the inputs ``X`` of shape (n, n_in) as `Rows`."""
    # Where there is a sparse array, SciPy has been imported.
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(X):
        return SparseRows(X, name, n_in, "inputs")
    return Rows(X, name, n_in, "inputs")


def targets(y: Any, loss: Loss, n_out: int, n_rows: int, name: str = "y") -> Rows:
    """Return the targets of ``n_rows`` rows for ``loss`` as `Rows`.

    Class numbers become one column; anything else has ``n_out`` columns, and (n,) will do for one.

    Raises
    ------
    TypeError, ValueError
        If they are not numbers, not as many as the rows, or not what the loss compares with.
    """
    array = as_numbers(y, name)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(
            f"{name}: got {_dimensions(array.ndim)}, shape {array.shape}, expected two, "
            f"({n_rows}, {n_out})"
        )
    if len(array) != n_rows:
        raise ValueError(
            f"{name}: got {len(array)} rows, expected {n_rows}, as many as X has; "
            f"pass one target for each row"
        )
    if loss.targets == "classes" and array.shape[1] == 1:
        rows = Rows(array, name)
        check_class_numbers(rows, n_out)
        return rows
    rows = Rows(array, name, loss.target_columns(n_out), "outputs")
    rows.may_be_missing = loss.takes_missing and rows.array.dtype.kind == "f"
    if loss.targets == "classes":
        _check_probabilities(rows)
    elif loss.targets == "fractions":
        _check_fractions(rows, loss)
    elif loss.targets == "counts":
        _check_counts(rows, loss)
    return rows


def are_class_numbers(rows: Rows, loss: Loss) -> bool:
    """Whether `targets` found one class number a row."""
    return loss.targets == "classes" and rows.array.shape[1] == 1


def loss_code(loss: Loss, targets: Rows, dtype: np.dtype[Any]) -> int:
    """Return the kernels' code for a loss with targets of this kind."""
    name = loss.name
    if are_class_numbers(targets, loss):
        name += "_of_labels"
    code: int = kernels.of(dtype).LOSSES[name]
    return code


def loss_constants(loss: Loss, n_out: int, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Return a loss's constants as the kernels take them."""
    found = loss.constants(n_out)
    return None if found is None else found.astype(dtype)


def loss_shares(loss: Loss, n_out: int) -> NDArray[np.float64] | None:
    """Return a loss's shares as the kernels take them."""
    found = loss.shares(n_out)
    return None if found is None else np.array(found, np.float64)


def weights(sample_weight: Any, n_rows: int, dtype: np.dtype[Any]) -> Rows | None:
    """Return a weight for each row as `Rows`, or None for None."""
    if sample_weight is None:
        return None
    name = "sample_weight"
    array = as_numbers(sample_weight, name)
    if array.shape not in ((n_rows,), (n_rows, 1)):
        raise ValueError(
            f"{name}: got shape {array.shape}, expected ({n_rows},), one weight for each row of X"
        )
    rows = Rows(array.reshape(-1, 1), name)
    rows.check_finite(dtype)
    if (array < 0).any():
        row = int(np.argmax(rows.array[:, 0] < 0))
        raise ValueError(
            f"{name}: row {row} has the weight {rows.array[row, 0]}, expected 0 or more"
        )
    if not array.any():
        raise ValueError(f"{name}: every weight is 0, expected at least one above it")
    return rows


def targets_and_weights(
    y: Any,
    loss: Loss,
    n_out: int,
    n_rows: int,
    dtype: np.dtype[Any],
    sample_weight: Any = None,
    class_weight: Any = None,
    name: str = "y",
) -> tuple[Rows, Rows | None]:
    """Return targets of ``n_rows`` rows, and the rows' weights, that a network can use."""
    found = targets(y, loss, n_out, n_rows, name)
    found.check_finite(dtype)
    of_rows = weights(sample_weight, n_rows, dtype)
    if class_weight is not None:
        of_rows = with_class_weights(of_rows, class_weight, found, loss, n_out)
        of_rows.check_finite(dtype)
    return found, of_rows


def with_class_weights(
    weights: Rows | None, class_weight: Any, targets: Rows, loss: Loss, n_out: int
) -> Rows:
    """Return the rows' weights times those of their classes; see `Trainer.fit`."""
    name = "class_weight"
    if are_class_numbers(targets, loss):
        classes = targets.array[:, 0].astype(np.int64)
    elif loss.targets == "fractions" and n_out == 1:
        classes, n_out = (targets.array[:, 0] > 0.5).astype(np.int64), 2
    elif loss.targets == "classes":
        classes = targets.array.argmax(axis=1)
    else:
        raise ValueError(
            f"{name}: {loss.name!r} has no classes, expected class numbers as targets; give "
            f"sample_weight instead"
        )
    of_class = np.ones(n_out)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(
                f"{name}: got {class_weight!r}, expected 'balanced' or a weight for each class"
            )
        # A row whose target is not known is in no class.
        known = classes[~np.isnan(targets.array).any(axis=1)]
        counts = np.bincount(known, minlength=n_out)
        of_class = len(known) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, Mapping):
        for key, value in class_weight.items():
            if (
                isinstance(key, bool)
                or not isinstance(key, int | np.integer)
                or not 0 <= key < n_out
            ):
                raise ValueError(
                    f"{name}: got the class {key!r}, expected one from 0 to {n_out - 1}"
                )
            of_class[key] = number(f"{name}[{key}]", value, 0)
    else:
        given = as_numbers(class_weight, name)
        if given.shape != (n_out,):
            raise ValueError(
                f"{name}: got shape {given.shape}, expected ({n_out},), one for each class"
            )
        of_class = np.array([number(f"{name}[{i}]", value, 0) for i, value in enumerate(given)])
    found = of_class[classes]
    if weights is not None:
        found = found * weights.array[:, 0]
    if not found.any():
        raise ValueError(f"{name}: every row has the weight 0, expected at least one above it")
    return Rows(found[:, None], "sample_weight")


def output_buffer(out: Any, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return ``out`` if results can be written to it as it is; a new array for None."""
    if out is None:
        return np.empty(shape, dtype)
    fits = isinstance(out, np.ndarray) and out.shape == shape and out.dtype == dtype
    if not fits or not out.flags.c_contiguous or not out.flags.writeable:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(
            f"out: got {got}, expected a writeable, C-contiguous {dtype} array of shape {shape}"
        )
    result: NDArray[Any] = out
    return result


def _wrong_columns(name: str, got: int, expected: int, columns: str) -> ValueError:
    return ValueError(
        f"{name}: got {got} columns, expected {expected}, one for each of the network's {columns}"
    )


def _dimensions(n: int) -> str:
    return f"{n} dimension" if n == 1 else f"{n} dimensions"


def as_numbers(array: Any, name: str) -> NDArray[Any]:
    """Return a NumPy array of a type the kernels read, without a copy where it is one already."""
    # NumPy imports numpy.ma when it is first asked for, which takes as long as importing fastmlp;
    # where there is a masked array, that has happened.
    if isinstance(array, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ())):
        raise TypeError(
            f"{name}: got a masked array, expected plain numbers; fill it or drop its masked rows"
        )
    try:
        found = np.asarray(array)
    except ValueError as error:
        raise ValueError(
            f"{name}: cannot be read as an array of numbers ({error}); "
            f"give every row the same length"
        ) from None
    kind = found.dtype.kind
    if kind not in "biuf":
        what = {"U": "strings", "S": "byte strings", "O": "Python objects", "c": "complex numbers"}
        raise TypeError(
            f"{name}: got {what.get(kind, str(found.dtype))}, expected real numbers; "
            f"convert it first, for instance with numpy.asarray({name}, dtype='float32')"
        )
    dtype = found.dtype
    if kind == "f" and dtype.itemsize not in (2, 4, 8):
        dtype = np.dtype(np.float64)
    # Foreign byte order and unaligned fields are the two layouts the kernels cannot read.
    if dtype != found.dtype or not dtype.isnative or not found.flags.aligned:
        found = found.astype(dtype.newbyteorder("="))
    return found


def check_class_numbers(rows: Rows, n_out: int) -> None:
    """Refuse a column with anything but class numbers from 0 to ``n_out`` - 1."""
    name = rows.name
    classes = rows.array[:, 0]
    if classes.dtype.kind == "f":
        whole = np.isfinite(classes) & (classes == np.floor(classes))
        if not whole.all():
            row = int(np.argmin(whole))
            raise ValueError(
                f"{name}: row {row} holds {classes[row]}, expected a class number from 0 to "
                f"{n_out - 1}, or {n_out} columns of class probabilities"
            )
    outside = (classes < 0) | (classes >= n_out)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"{name}: row {row} holds the class {classes[row]}, expected one from 0 to "
            f"{n_out - 1}; the network has {n_out} outputs"
        )


def _check_probabilities(rows: Rows) -> None:
    """Refuse rows that are not a distribution over the classes."""
    # What is not finite is left to the check for that, which says more.
    with np.errstate(invalid="ignore"):
        sums = rows.array.sum(axis=1, dtype=np.float64)
        lowest = rows.array.min(axis=1)
    bad = np.isfinite(sums) & ((lowest < 0) | (np.abs(sums - 1) > 1e-3))
    if bad.any():
        row = int(np.argmax(bad))
        what = f"holds {lowest[row]}" if lowest[row] < 0 else f"sums to {sums[row]:g}"
        raise ValueError(
            f"{rows.name}: row {row} {what}, expected class probabilities: numbers of at least 0 "
            f"that sum to 1 (or one column of class numbers)"
        )


def _check_fractions(rows: Rows, loss: Loss) -> None:
    bad = (rows.array < 0) | (rows.array > 1)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{rows.name}: row {row} holds {rows.array[row, column]} in column {column}, expected "
            f"a number from 0 to 1 for {loss.name!r}; for other targets use loss='mse'"
        )


def _check_counts(rows: Rows, loss: Loss) -> None:
    bad = rows.array < 0
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{rows.name}: row {row} holds {rows.array[row, column]} in column {column}, expected "
            f"a number of at least 0 for {loss.name!r}; for other targets use loss='mse'"
        )
