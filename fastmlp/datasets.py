"""Small data sets that come with the package, and a reader for IDX files.

Bundled: `digits`. Generated: `xor`, `ice_cream`. From files of the user: `mnist`, `read_idx`.
Nothing here touches the network.
"""

import gzip
import math
import os
import zlib
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["digits", "ice_cream", "mnist", "read_idx", "xor"]

Inputs: TypeAlias = NDArray[np.float32] | NDArray[np.uint8]
Labels: TypeAlias = NDArray[np.int64]

# The third byte of an IDX file: the type of the elements, always big-endian.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_TYPES_TEXT = ", ".join(f"0x{code:02X}" for code in _IDX_TYPES)

_MAX_DIMENSIONS = 32  # what every supported NumPy can hold; NumPy 2 raised its own limit to 64
_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"

_MNIST_HELP = (
    "The four files can be had from https://ossci-datasets.s3.amazonaws.com/mnist/; keep the names "
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, plain or with .gz appended"
)

_WEEKDAY_FACTOR = np.array([1.0, 1.0, 1.0, 1.0, 1.2, 1.5, 1.8])  # Monday … Sunday


def digits() -> tuple[tuple[NDArray[np.float32], Labels], tuple[NDArray[np.float32], Labels]]:
    """Return the 1,797 bundled handwritten digits, split into training and test rows.

    Every image has 8 x 8 pixels, row by row. The original pixels are whole numbers from 0 to 16
    (how many points of a 4 x 4 block of the scan are ink); here they are divided by 16.

    The split is fixed: with the rows sorted by digit, and in their original order within a
    digit, every fifth row is a test row, starting with the first. All ten digits are thus held
    out in equal proportion, and no random number is involved. Both parts keep the original order
    of rows. The same 13 people wrote the training and the test rows, so the test accuracy says
    little about a new person's handwriting.

    Returns
    -------
    (X_train, y_train), (X_test, y_test)
        Images, float32 of shape (1437, 64) and (360, 64), values in 0..1; and the digits 0..9,
        int64 of shape (1437,) and (360,).

    Notes
    -----
    Source: the test part of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten
    Digits", UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, distributed
    under CC BY 4.0, https://creativecommons.org/licenses/by/4.0/. What was changed stands in
    ``fastmlp/data/LICENSE-digits.md``.
    """
    # Imported here: it costs more than importing the rest of the package.
    from importlib import resources

    folder = resources.files("fastmlp") / "data"
    with resources.as_file(folder / "digits-images-idx3-ubyte.gz") as path:
        images = read_idx(path)
    with resources.as_file(folder / "digits-labels-idx1-ubyte.gz") as path:
        labels = read_idx(path)

    X = np.divide(images.reshape(len(images), -1), 16, dtype=np.float32)
    y = labels.astype(np.int64)
    held_out = np.zeros(len(y), dtype=bool)
    held_out[np.argsort(y, kind="stable")[::5]] = True
    return (X[~held_out], y[~held_out]), (X[held_out], y[held_out])


def xor(dtype: DTypeLike = np.int64) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the four rows of the exclusive or.

    Parameters
    ----------
    dtype : dtype, default=np.int64
        Element type of both arrays; whole numbers by default, as the textbooks write them.

    Returns
    -------
    X : array of shape (4, 2)
        ``[[0, 0], [0, 1], [1, 0], [1, 1]]``.
    y : array of shape (4, 1)
        ``[[0], [1], [1], [0]]``.
    """
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=dtype)
    y = np.array([[0], [1], [1], [0]], dtype=dtype)
    return X, y


def ice_cream(n_days: int = 730, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return temperature and weekday, and what an invented ice cream parlour took on that day.

    Temperatures t are uniform between 0 and 40 degrees; the weekdays d follow one another,
    starting with a Monday. With s(u) = 1 / (1 + exp(-u))::

        demand(t) = 50 + 800 * s((t - 20) / 3) * (1 - 0.5 * s(t - 36))
        revenue   = demand(t) * factor[d] * (1 + 0.05 * noise)

    ``factor`` is 1 from Monday to Thursday, 1.2 on Friday, 1.5 on Saturday and 1.8 on Sunday;
    ``noise`` is standard normal. So revenue rises steeply around 20 degrees, levels off, drops in
    extreme heat, when people stay at home, and the weekend multiplies all of it: a straight line
    fits badly, two hidden neurons fit the rise and the weekend, a few more fit the rest.

    Parameters
    ----------
    n_days : int, default=730
        Number of rows, at least 1.
    seed : int, default=0
        Seed of ``numpy.random.default_rng``, which draws all temperatures, then all noise.

    Returns
    -------
    X : float64 array of shape (n_days, 2)
        Temperature in degrees Celsius; weekday from 0 (Monday) to 6 (Sunday).
    y : float64 array of shape (n_days, 1)
        Revenue of the day in euros.

    Raises
    ------
    ValueError
        If `n_days` is below 1.
    """
    if n_days < 1:
        raise ValueError(f"n_days: got {n_days}, expected a whole number of at least 1")
    rng = np.random.default_rng(seed)
    temperature = rng.uniform(0.0, 40.0, n_days)
    noise = rng.standard_normal(n_days)
    weekday = np.arange(n_days) % 7

    demand = 50 + 800 * _sigmoid((temperature - 20) / 3) * (1 - 0.5 * _sigmoid(temperature - 36))
    revenue = demand * _WEEKDAY_FACTOR[weekday] * (1 + 0.05 * noise)
    return np.column_stack([temperature, weekday]), revenue[:, np.newaxis]


def mnist(
    data_dir: str | os.PathLike[str] | None = None, *, scaled: bool = True
) -> tuple[tuple[Inputs, Labels], tuple[Inputs, Labels]]:
    """Read the MNIST handwritten digits from the four IDX files on your disk.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each plain or with ``.gz``
    appended, in `data_dir` or in its subfolder ``mnist``. Fashion-MNIST and other sets of
    28 x 28 images that keep these names are read as well.

    Parameters
    ----------
    data_dir : path, optional
        Folder of the files; by default the environment variable ``FASTMLP_DATA_DIR``.
    scaled : bool, default=True
        True: float32 pixels in 0..1. False: the uint8 pixels 0..255 as they are in the file, a
        quarter of the memory.

    Returns
    -------
    (X_train, y_train), (X_test, y_test)
        Images of shape (n, 784), n = 60,000 and 10,000; and the digits 0..9, int64 of shape (n,).

    Raises
    ------
    FileNotFoundError
        If no folder is given, or a file is missing in it.
    ValueError
        If a file is malformed, or images and labels do not belong together.

    Notes
    -----
    Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits".
    """
    if data_dir is None:
        data_dir = os.environ.get("FASTMLP_DATA_DIR")
    if not data_dir:
        raise FileNotFoundError(
            "data_dir: not given, and the environment variable FASTMLP_DATA_DIR is not set; "
            f"name the folder that holds the MNIST files. {_MNIST_HELP}"
        )
    folder = os.path.join(data_dir, "mnist")
    if not os.path.isdir(folder):
        folder = os.fspath(data_dir)

    parts = ("train", "t10k")
    names = [n for p in parts for n in (f"{p}-images-idx3-ubyte", f"{p}-labels-idx1-ubyte")]
    present = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    missing = [name for name in names if not {name, f"{name}.gz"} & present]
    if missing:
        raise FileNotFoundError(f"{folder}: there is no {', no '.join(missing)}. {_MNIST_HELP}")

    paths = [os.path.join(folder, n if n in present else f"{n}.gz") for n in names]
    train = _labelled_images(paths[0], paths[1], scaled)
    test = _labelled_images(paths[2], paths[3], scaled)
    return train, test


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an array from an IDX file, the format of MNIST, plain or compressed with gzip.

    Whether the file is compressed is seen from its content, not from its name. Memory grows with
    the bytes that are really there; what the header claims is never trusted.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    array
        With the shape of the header, in native byte order: uint8, int8, int16, int32, float32 or
        float64.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the content is not one whole IDX array of at least one element, or is followed by
        anything else.

    Notes
    -----
    The format, all numbers big-endian: two zero bytes; one byte for the element type; one byte
    for the number of dimensions; the size of each dimension in four bytes; the elements, the last
    index running fastest. It was defined by Y. LeCun on the web page of MNIST.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            compressed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if not compressed:
                return _parse_idx(file, name)
            with gzip.GzipFile(fileobj=file) as stream:
                return _parse_idx(stream, name)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{name}: there is no such file; expected the path of an IDX file, plain or "
            "compressed with gzip"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{name}: the gzip compression is damaged or cut short ({error}); "
            "expected a whole file, so fetch or copy it again"
        ) from error


def _parse_idx(stream: BinaryIO | gzip.GzipFile, name: str) -> NDArray[Any]:
    """Read one IDX array that must reach exactly to the end of `stream`."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise ValueError(f"{name}: ends after {len(magic)} bytes, expected a 4-byte IDX header")
    if magic[:2] != b"\0\0":
        raise ValueError(
            f"{name}: begins with the bytes {magic.hex(' ')}, expected an IDX file, "
            "which begins with 00 00"
        )
    code, ndim = magic[2], magic[3]
    if code not in _IDX_TYPES:
        raise ValueError(
            f"{name}: has the element type 0x{code:02X}, expected one of {_IDX_TYPES_TEXT}"
        )
    if not 1 <= ndim <= _MAX_DIMENSIONS:
        raise ValueError(f"{name}: has {ndim} dimensions, expected 1 to {_MAX_DIMENSIONS}")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise ValueError(
            f"{name}: ends after {4 + len(sizes)} bytes, "
            f"expected {4 + 4 * ndim} bytes of header for {ndim} dimensions"
        )
    shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
    if 0 in shape:
        raise ValueError(f"{name}: has the shape {shape}, expected at least one element")

    dtype = np.dtype(_IDX_TYPES[code])
    expected = math.prod(shape) * dtype.itemsize
    data = bytearray()
    # One byte more than expected is asked for: it shows trailing bytes, and at the end of a gzip
    # stream it makes GzipFile check the sum. Chunks, because read(n) allocates n bytes at once.
    while len(data) <= expected:
        chunk = stream.read(min(_CHUNK, expected + 1 - len(data)))
        if not chunk:
            break
        data += chunk
    if len(data) != expected:
        came = f"{len(data)}" if len(data) < expected else f"more than {expected}"
        raise ValueError(
            f"{name}: has {came} bytes of data, expected {expected} for the shape {shape} "
            f"of {dtype.newbyteorder('=').name}"
        )
    array = np.frombuffer(data, dtype=dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _labelled_images(images_path: str, labels_path: str, scaled: bool) -> tuple[Inputs, Labels]:
    """Read one part of MNIST: the rows of pixels and their digits."""
    images = read_idx(images_path)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise ValueError(
            f"{images_path}: holds {images.dtype} of shape {images.shape}, "
            "expected uint8 of shape (n, 28, 28)"
        )
    labels = read_idx(labels_path)
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{labels_path}: holds {labels.dtype} of shape {labels.shape}, expected uint8 of "
            f"shape {images.shape[:1]}, one label for each image of {images_path}"
        )
    X: Inputs = images.reshape(len(images), -1)
    if scaled:
        X = np.divide(X, 255, dtype=np.float32)
    return X, labels.astype(np.int64)


def _sigmoid(u: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-u))
