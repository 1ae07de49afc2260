"""Model files: one safetensors file, specified in docs/model-format.md.

Nothing is unpickled, and everything a file claims is checked before memory is taken for it.
"""

from __future__ import annotations

import hashlib
import json
import os
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from . import activations, network

__all__ = ["load", "save"]

FORMAT = "fastmlp"
FORMAT_VERSION = 1

_DTYPES = {"F32": "float32", "F64": "float64"}


def save(mlp: network.MLP, path: str | PathLike[str]) -> None:
    """Write a network to ``path``; see `MLP.save`."""
    if not np.isfinite(mlp.params).all():
        raise ValueError(
            "mlp: a parameter is not a finite number, so it is not saved; go back to a network "
            "that works"
        )
    tensors = _tensors(mlp)
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "sizes": json.dumps(list(mlp.sizes)),
        "activations": json.dumps(list(mlp.activations)),
    }
    metadata["checksum"] = _checksum(metadata, tensors)
    write_whole(Path(path), to_bytes(tensors, metadata))


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
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: this is a folder, expected a model file")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: this is not a regular file, expected a model file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file; check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            return _read(path, file)
    except SafetensorError as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({error}); expected a model that mlp.save wrote"
        ) from None


def _read(path: Path, file: Any) -> network.MLP:
    metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path}: a safetensors file, but not a fastmlp model; expected one that mlp.save wrote"
        )
    version = metadata.get("format_version")
    if version != str(FORMAT_VERSION):
        raise ValueError(
            f"{path}: model format version {version!r}, expected {FORMAT_VERSION}; load it with "
            f"the release of fastmlp that wrote it"
        )
    sizes = _structure(path, metadata, "sizes")
    names = _structure(path, metadata, "activations")
    if (
        len(sizes) < 2
        or not all(type(size) is int and 1 <= size < 2**48 for size in sizes)
        or len(names) != len(sizes) - 1
        or not all(type(name) is str and name in activations.ACTIVATIONS for name in names)
    ):
        raise ValueError(
            f"{path}: its sizes {sizes} and activations {names} do not describe a network; "
            f"the file is damaged"
        )
    expected = {}
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        expected[f"layers.{i}.w"] = [n_in, n_out]
        expected[f"layers.{i}.b"] = [n_out]
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    shapes = {name: part.get_shape() for name, part in slices.items()}
    types = {part.get_dtype() for part in slices.values()}
    if shapes != expected or len(types) != 1 or not types <= _DTYPES.keys():
        raise ValueError(
            f"{path}: its tensors {shapes} of {sorted(types)} are not those of a network of sizes "
            f"{sizes}; the file is damaged"
        )
    tensors = {name: file.get_tensor(name) for name in expected}
    if _checksum(metadata, tensors) != metadata.get("checksum"):
        raise ValueError(f"{path}: the checksum does not match; the file is damaged")
    *hidden, output = names
    try:
        return network.MLP.from_weights(
            [tensors[f"layers.{i}.w"] for i in range(len(names))],
            [tensors[f"layers.{i}.b"] for i in range(len(names))],
            activation=hidden,
            output=output,
            dtype=_DTYPES[types.pop()],
        )
    except ValueError as error:
        raise ValueError(f"{path}: not a network that can be ({error})") from None


def _tensors(mlp: network.MLP) -> dict[str, NDArray[Any]]:
    """Return every layer's arrays under their names in the file."""
    tensors = {}
    for i, (w, b) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
        tensors[f"layers.{i}.w"] = w
        tensors[f"layers.{i}.b"] = b
    return tensors


def _structure(path: Path, metadata: dict[str, str], name: str) -> list[Any]:
    try:
        found = json.loads(metadata[name])
    except (KeyError, ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise ValueError(f"{path}: its metadata has no list {name!r}; the file is damaged")
    return found


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
        os.unlink(temporary)
        raise
    # The move itself must reach the disk too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
