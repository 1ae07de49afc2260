"""Classes of any type in, what a network is trained on out; and back from its outputs.

scikit-learn's `LabelBinarizer` says of what kind the labels are, and makes its errors. Where a row
has several classes at once, there is one for each column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target, unique_labels

# Of arrays whose classes say of what kind they are: not floats, which may be continuous, nor
# objects, which may be anything.
_PLAIN = "biuU"
MULTIOUTPUT = "multiclass-multioutput"

# A binarizer, or one for each column.
Binarizer = Any


def are_plain(y: Any) -> bool:
    """Tell whether labels are one a row, and of a type that says what kind they are."""
    return isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind in _PLAIN


def fitted(y: Any) -> Binarizer:
    """Return the binarizer of labels; raise `ValueError` as scikit-learn's if they are none."""
    if are_plain(y):
        return of_classes(unique(y))
    if y.ndim == 2 and type_of_target(y, input_name="y") == MULTIOUTPUT:
        return [fitted(column) for column in y.T]
    return LabelBinarizer().fit(y)


def of_classes(classes: NDArray[Any]) -> LabelBinarizer:
    """Return what `LabelBinarizer` becomes by ``fit`` with these classes."""
    binarizer = LabelBinarizer()
    binarizer.y_type_ = "multiclass" if len(classes) > 2 else "binary"
    binarizer.sparse_input_ = False
    binarizer.classes_ = classes
    return binarizer


def unique(y: Any) -> NDArray[Any]:
    """Return what scikit-learn's ``unique_labels`` does, sooner."""
    if are_plain(y):
        found = np.unique(y)
        # As there, strings are as wide as the longest, not as the array's.
        return np.asarray(found.tolist()) if found.dtype.kind == "U" else found
    labels: NDArray[Any] = unique_labels(y)
    return labels


def kind(binarizer: Binarizer) -> str:
    """Return scikit-learn's name of the kind of target."""
    return MULTIOUTPUT if isinstance(binarizer, list) else str(binarizer.y_type_)


def classes(binarizer: Binarizer) -> Any:
    """Return the classes, or a list of those of each column."""
    if isinstance(binarizer, list):
        return [column.classes_ for column in binarizer]
    return binarizer.classes_


def n_columns(binarizer: Binarizer) -> int:
    """Return how many classes there are, those of several columns together."""
    if isinstance(binarizer, list):
        return sum(len(column.classes_) for column in binarizer)
    return len(binarizer.classes_)


def seen(binarizer: Binarizer, y: Any) -> Any:
    """Return the classes in ``y`` as `classes` does; None where they are of another kind."""
    if isinstance(binarizer, list):
        if y.ndim != 2 or y.shape[1] != len(binarizer):
            return None
        return [unique(column) for column in y.T]
    of_labels = binarizer.y_type_.startswith("multilabel")
    return unique(y) if of_labels == (y.ndim == 2) else None


def unknown(found: Any, known: Any) -> NDArray[Any]:
    """Return what is found and not known; of several columns, in the first that has any."""
    if isinstance(known, list):
        each = [unknown(column, of_column) for column, of_column in zip(found, known, strict=True)]
        return next((left for left in each if len(left)), each[0])
    return np.setdiff1d(found, known, assume_unique=True)


def are_same(found: Any, known: Any) -> bool:
    """Whether all classes known are found, and no others."""
    if isinstance(known, list):
        return len(found) == len(known) and all(map(are_same, found, known))
    return len(found) == len(known) and len(unknown(found, known)) == 0


def first_seen(y: Any, known: NDArray[Any]) -> LabelBinarizer:
    """Return the binarizer for the first rows of many, of which all classes are known."""
    if type_of_target(y).startswith("multilabel"):
        return LabelBinarizer().fit(y)
    return LabelBinarizer().fit(known)


def encoded(binarizer: Binarizer, y: Any, n_out: int, as_numbers: bool) -> NDArray[Any]:
    """Return known labels as a network learns them.

    Class numbers (n, 1) where the loss takes them; else 0 and 1: one column (n, 1) for two classes,
    an indicator for each class or label (n, n_out) otherwise.
    """
    if isinstance(binarizer, list):
        columns = [
            _indicators(_numbers(column, labels), len(column.classes_))
            for column, labels in zip(binarizer, y.T, strict=True)
        ]
        return np.hstack(columns)
    if binarizer.y_type_.startswith("multilabel"):
        dense = y.toarray() if hasattr(y, "toarray") else y
        indicators: NDArray[Any] = dense != 0
        return indicators
    numbers = _numbers(binarizer, y)
    if as_numbers or n_out == 1:
        return numbers[:, None]
    return _indicators(numbers, n_out)


def _numbers(binarizer: LabelBinarizer, y: NDArray[Any]) -> NDArray[np.intp]:
    numbers: NDArray[np.intp] = np.searchsorted(binarizer.classes_, y)
    return numbers


def _indicators(numbers: NDArray[np.intp], n_classes: int) -> NDArray[np.bool_]:
    indicators: NDArray[np.bool_] = numbers[:, None] == np.arange(n_classes)
    return indicators


def decoded(binarizer: Binarizer, outputs: NDArray[Any]) -> Any:
    """Return the labels that outputs (n, n_out) stand for."""
    if isinstance(binarizer, list):
        best = numbers_of_groups(binarizer, outputs)
        columns = [b.classes_[best[:, i]] for i, b in enumerate(binarizer)]
        return np.stack(columns, axis=1)
    if binarizer.y_type_.startswith("multilabel"):
        if binarizer.sparse_input_:
            return binarizer.inverse_transform(outputs)
        return (outputs > 0.5).astype(np.int64)
    known = binarizer.classes_
    if outputs.shape[1] > 1:
        # With one class, the second of two outputs is none.
        return known[np.minimum(outputs.argmax(axis=1), len(known) - 1)]
    above = outputs[:, 0] > 0.5
    return known[above.view(np.int8)] if len(known) > 1 else np.repeat(known, len(outputs))


def numbers_of_groups(binarizer: list[LabelBinarizer], outputs: NDArray[Any]) -> NDArray[np.intp]:
    """Return the number of the highest output in each column's group of them."""
    groups = _groups(binarizer, outputs)
    return np.stack([group.argmax(axis=1) for group in groups], axis=1)


def probabilities(binarizer: Binarizer, outputs: NDArray[Any]) -> Any:
    """Return the probability of each class, for several columns as a list of arrays."""
    if isinstance(binarizer, list):
        return [_normalised(group) for group in _groups(binarizer, outputs)]
    if outputs.shape[1] == 1:
        both = np.empty((len(outputs), 2), outputs.dtype)
        both[:, 1] = outputs[:, 0]
        np.subtract(1, both[:, 1], out=both[:, 0])
        return both
    return outputs


def normalised(outputs: NDArray[Any]) -> NDArray[Any]:
    """Return one-against-the-rest probabilities as those of classes that exclude each other."""
    return _normalised(outputs)


def _groups(binarizer: list[LabelBinarizer], outputs: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the outputs of each column's classes."""
    ends = np.cumsum([len(column.classes_) for column in binarizer])
    return np.split(outputs, ends[:-1], axis=1)


def _normalised(outputs: NDArray[Any]) -> NDArray[Any]:
    total = outputs.sum(axis=1, keepdims=True)
    # All zero only by underflow: nothing then speaks for any of them.
    equal = outputs.dtype.type(1 / outputs.shape[1])
    return np.where(total > 0, outputs / np.where(total > 0, total, 1), equal)
