"""User arrays in, `Rows` out: the only place where shapes, types and values of arrays are judged.

A `Rows` describes an array once. Nothing is copied when the kernels can read the array as it is
(any strides, any native integer, bool, float32 or float64); the user's array is never written to.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .losses import Loss

__all__ = ["Rows"]


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
            raise ValueError(
                f"{name}: got {self.array.shape[1]} columns, expected {n_cols}, one for each "
                f"of the network's {columns}"
            )
        if len(self.array) == 0:
            raise ValueError(f"{name}: got no rows, expected at least one")

    def __len__(self) -> int:
        return len(self.array)

    def source(self, dtype: np.dtype[Any]) -> Any:
        """Return the array as the kernels of ``dtype`` read it."""
        return kernels.of(dtype).Source(self.array)

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """Return some of the rows, copied."""
        taken = object.__new__(Rows)
        taken.name, taken.array = self.name, self.array[rows]
        return taken

    def check_finite(self, dtype: np.dtype[Any]) -> None:
        """Raise `ValueError` if a row has a number that is not finite as ``dtype``."""
        row = self.source(dtype).first_bad_row()
        if row >= 0:
            raise self.not_finite(row, dtype)

    def not_finite(self, row: int, dtype: np.dtype[Any]) -> ValueError:
        """Return the error that names what is wrong with a row."""
        values = self.array[row]
        with np.errstate(over="ignore"):
            column = int(np.argmin(np.isfinite(values.astype(dtype))))
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


def inputs(X: Any, n_in: int, name: str = "X") -> Rows:
    """Return the inputs ``X`` of shape (n, n_in) as `Rows`."""
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
    rows = Rows(array, name, n_out, "outputs")
    if loss.targets == "classes":
        _check_probabilities(rows)
    elif loss.targets == "fractions":
        _check_fractions(rows, loss)
    return rows


def are_class_numbers(rows: Rows, loss: Loss) -> bool:
    """Whether `targets` found one class number a row."""
    return loss.targets == "classes" and rows.array.shape[1] == 1


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
    if kind == "f" and dtype.itemsize not in (4, 8):
        dtype = np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
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
