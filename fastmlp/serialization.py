"""Model files: one safetensors file, specified in docs/model-format.md.

Nothing is unpickled, and everything a file claims is checked before memory is taken for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from . import network
from .structure import Structure

__all__ = ["load", "save"]

FORMAT = "fastmlp"
FORMAT_VERSION = 2
# Version 1 has neither normalisation nor dropout nor scales.
_READABLE = ("1", "2")

T = TypeVar("T")

_DTYPES = {"F32": "float32", "F64": "float64"}


def save(mlp: network.MLP, path: str | PathLike[str]) -> None:
    """Write a network to ``path``; see `MLP.save`."""
    tensors, metadata = contents(mlp)
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION)} | metadata
    write_file(Path(path), tensors, metadata)


def contents(mlp: network.MLP) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return a network as tensors and metadata; refuse one that cannot be used again."""
    numbers = [mlp.params, *mlp.buffers.values()]
    if not all(np.isfinite(array).all() for array in numbers):
        raise ValueError(
            "mlp: a parameter is not a finite number, so it is not saved; go back to a network "
            "that works"
        )
    structure = mlp._structure
    tensors = {f"buffers.{name}": buffer for name, buffer in mlp.buffers.items()}
    for i in range(len(mlp.weights)):
        tensors |= {f"layers.{i}.w": mlp.weights[i], f"layers.{i}.b": mlp.biases[i]}
        gamma, beta = mlp.gammas[i], mlp.betas[i]
        if gamma is not None and beta is not None:
            tensors |= {f"layers.{i}.gamma": gamma, f"layers.{i}.beta": beta}
    described = {
        "sizes": list(structure.sizes),
        "activations": list(structure.activations),
        "normalization": list(structure.normalization),
        "dropout": list(structure.dropout),
        "input_dropout": structure.input_dropout,
        "scale": mlp.scale,
    }
    return tensors, {name: to_json(value) for name, value in described.items()}


def to_json(value: Any) -> str:
    """Return a value of the metadata as text."""
    return json.dumps(value, allow_nan=False)


def write_file(path: Path, tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    """Write tensors and metadata, with a checksum over both, wholly or not at all."""
    metadata = metadata | {"checksum": _checksum(metadata, tensors)}
    write_whole(path, to_bytes(tensors, metadata))


def load(path: str | PathLike[str]) -> network.MLP:
    """Read a network that `MLP.save` wrote.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    MLP

    Raises
    ------
    ValueError
        If the file is not a whole, unchanged fastmlp model of a format version known here.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import fastmlp as fm, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "xor.safetensors")
    >>> fm.MLP([2, 4, 1], seed=0).save(path)
    >>> fm.load(path).sizes
    (2, 4, 1)
    """
    return read_file(Path(path), FORMAT, _READABLE, "model that mlp.save wrote", _read)


def _read(file: File) -> network.MLP:
    mlp = empty_network(file)
    fill_network(file, mlp, {})
    return mlp


def read_file(
    path: Path, kind: str, versions: tuple[str, ...], what: str, read: Callable[[File], T]
) -> T:
    """Open a safetensors file of ours, see that it is of a kind known here, and read it.

    ``what`` it should be is named in the errors. ``read`` is called with the open file.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: this is a folder, expected a {what}")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: this is not a regular file, expected a {what}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file; check the path")
    try:
        with safe_open(path, framework="numpy") as opened:
            file = File(path, opened)
            if file.metadata.get("format") != kind:
                raise ValueError(f"{path}: a safetensors file, but not of ours; expected a {what}")
            version = file.metadata.get("format_version")
            if version not in versions:
                raise ValueError(
                    f"{path}: format version {version!r}, expected {' or '.join(versions)}; load "
                    f"it with the release of fastmlp that wrote it"
                )
            return read(file)
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({error}); expected a {what}"
        ) from None


class File:
    """An open safetensors file: its metadata, and its tensors once their shapes are judged."""

    def __init__(self, path: Path, opened: Any) -> None:
        self.path = path
        self.metadata: dict[str, str] = opened.metadata() or {}
        self._opened = opened

    def damaged(self, what: str) -> ValueError:
        """Return the error for a file that does not hold what it should."""
        return ValueError(f"{self.path}: {what}; the file is damaged")

    def value(self, name: str, default: Any = None) -> Any:
        """Return what the metadata say of ``name``, from its JSON."""
        if name not in self.metadata:
            return default
        try:
            return json.loads(self.metadata[name])
        except (ValueError, RecursionError):
            raise self.damaged(f"its metadata has no readable {name!r}") from None

    def holds(self, name: str) -> bool:
        """Whether there is a tensor of that name."""
        return name in self._opened.keys()  # noqa: SIM118

    def shape_of(self, name: str) -> list[int]:
        """Return a tensor's shape; nothing where there is no such tensor."""
        return list(self._opened.get_slice(name).get_shape()) if self.holds(name) else []

    def type_of(self, name: str) -> str:
        """Return what the file calls a tensor's type; nothing where there is no such tensor."""
        return str(self._opened.get_slice(name).get_dtype()) if self.holds(name) else ""

    def check_shapes(self, expected: dict[str, tuple[list[int], str]]) -> None:
        """Refuse a file whose tensors of these names have other shapes or types."""
        for name, (shape, kind) in expected.items():
            if (self.shape_of(name), self.type_of(name)) != (shape, kind):
                raise self.damaged(
                    f"its tensor {name!r} is {self.type_of(name) or 'missing'} "
                    f"{self.shape_of(name)}, expected {kind} {shape}"
                )

    def tensors(self, expected: dict[str, tuple[list[int], str]]) -> dict[str, NDArray[Any]]:
        """Return the tensors: exactly these, of these shapes and types, with the right checksum."""
        others = set(self._opened.keys()) - expected.keys()
        if others:
            raise self.damaged(f"nobody asked for its tensor {min(others)!r}")
        self.check_shapes(expected)
        tensors = {name: self._opened.get_tensor(name) for name in expected}
        if _checksum(self.metadata, tensors) != self.metadata.get("checksum"):
            raise self.damaged("the checksum does not match")
        return tensors


def empty_network(file: File) -> network.MLP:
    """Return a network of the structure that a file describes, once its tensors have that shape."""
    structure, scale = _structure(file)
    file.check_shapes(_shapes(file, structure, scale))
    mlp = network.MLP.__new__(network.MLP)
    mlp._set_structure(structure, scale)
    return mlp


def fill_network(
    file: File, mlp: network.MLP, others: dict[str, tuple[list[int], str]]
) -> dict[str, NDArray[Any]]:
    """Give a network the file's parameters and buffers; return the other tensors, as expected."""
    shapes = _shapes(file, mlp._structure, mlp.scale)
    tensors = file.tensors(shapes | others)
    for name in shapes:
        if not np.isfinite(tensors[name]).all():
            raise file.damaged(f"its tensor {name!r} is not finite")
        if name.endswith(".variance") and (tensors[name] < 0).any():
            raise file.damaged(f"its tensor {name!r} is below 0")
        if name.endswith(".std") and (tensors[name] <= 0).any():
            raise file.damaged(f"its tensor {name!r} is not above 0")
    for i in range(len(mlp.weights)):
        mlp.weights[i][:], mlp.biases[i][:] = tensors[f"layers.{i}.w"], tensors[f"layers.{i}.b"]
        gamma, beta = mlp.gammas[i], mlp.betas[i]
        if gamma is not None and beta is not None:
            gamma[:], beta[:] = tensors[f"layers.{i}.gamma"], tensors[f"layers.{i}.beta"]
    prefix = "buffers."
    mlp._take_buffers(
        {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    )
    return {name: tensors[name] for name in others}


def _shapes(
    file: File, structure: Structure, scale: str | float | None
) -> dict[str, tuple[list[int], str]]:
    """Return the shape and the type of every tensor of a network."""
    kind = next(name for name, dtype in _DTYPES.items() if dtype == structure.dtype)
    shapes: dict[str, tuple[list[int], str]] = {}
    for i, n_out in enumerate(structure.sizes[1:]):
        shapes[f"layers.{i}.w"] = [structure.sizes[i], n_out], kind
        shapes[f"layers.{i}.b"] = [n_out], kind
        if structure.normalization[i] is not None:
            shapes[f"layers.{i}.gamma"] = shapes[f"layers.{i}.beta"] = [n_out], kind
        if structure.is_batch(i):
            shapes[f"buffers.layers.{i}.mean"] = [n_out], "F64"
            shapes[f"buffers.layers.{i}.variance"] = [n_out], "F64"
    for what, size in structure.scaled.items():
        # With scale="standard" from the first training on, for targets only with some losses.
        if scale is not None and file.holds(f"buffers.{what}.mean"):
            shapes[f"buffers.{what}.mean"] = shapes[f"buffers.{what}.std"] = [size], "F64"
    return shapes


def _structure(file: File) -> tuple[Structure, Any]:
    """Return the structure and the scale that the metadata describe."""
    sizes, names = file.value("sizes"), file.value("activations")
    are_lists = isinstance(sizes, list) and isinstance(names, list)
    if not are_lists or not all(type(size) is int and size < 2**48 for size in sizes) or not names:
        raise file.damaged(f"its sizes {sizes} and activations {names} do not describe a network")
    *hidden, output = names
    kinds = file.value("normalization", [None] * len(names))
    dtype = _DTYPES.get(file.type_of("layers.0.w"), file.type_of("layers.0.w"))
    scale = file.value("scale")
    try:
        structure = Structure.checked(
            sizes,
            hidden,
            output,
            kinds[:-1],
            file.value("dropout", [0.0] * len(hidden)),
            file.value("input_dropout", 0.0),
            dtype,
        )
        scale = network.checked_scale(scale)
    except (ValueError, TypeError) as error:
        raise file.damaged(f"not a network that can be ({error})") from None
    if list(structure.activations) != names:
        raise file.damaged(
            f"its activations are {names}, which are written {list(structure.activations)}"
        )
    return structure, scale


def _checksum(metadata: dict[str, str], tensors: dict[str, NDArray[Any]]) -> str:
    """SHA-256 of the metadata and of every tensor, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(metadata):
        if name != "checksum":
            digest.update(f"{name}={metadata[name]}\n".encode())
    for name in sorted(tensors):
        digest.update(f"{name}\n".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` wholly or not at all."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; create it first")
    # A link stays a link: what it points to is replaced.
    path = Path(os.path.realpath(path))
    temporary = path.parent / f".fastmlp-{os.getpid()}-{os.urandom(6).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if path.exists():
                os.chmod(temporary, path.stat().st_mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        # After the move there is none.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    # The move itself must reach the disk too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
