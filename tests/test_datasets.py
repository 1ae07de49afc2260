"""The bundled and generated data, and the IDX reader against everything a file can hold."""

import gzip
import hashlib
import math
import os
import re
import struct
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp import datasets

DATA = Path(datasets.__file__).parent / "data"
LICENCE = DATA / "LICENSE-digits.md"
CONTENT_SHA256 = {
    "digits-images-idx3-ubyte": "359cd13f0f514122884198b78a131df597421cbf5e93a76678fa96fc548f0d96",
    "digits-labels-idx1-ubyte": "ce71631c1f31ce56fa54f31d1d498fafacff59b001e6c30c4a5e29508aa277ad",
}
IDX_TYPES = {
    0x08: np.uint8,
    0x09: np.int8,
    0x0B: np.int16,
    0x0C: np.int32,
    0x0D: np.float32,
    0x0E: np.float64,
}


def idx(array, code=0x08):
    """Return `array` as the bytes of an IDX file."""
    big_endian = array.astype(np.dtype(IDX_TYPES[code]).newbyteorder(">"))
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + big_endian.tobytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Return a file that the tests of this module overwrite."""
    return tmp_path_factory.mktemp("idx") / "some.file"


# --- digits ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored():
    images = datasets.read_idx(DATA / "digits-images-idx3-ubyte.gz")
    labels = datasets.read_idx(DATA / "digits-labels-idx1-ubyte.gz")
    return images, labels


@pytest.mark.parametrize("name", CONTENT_SHA256)
def test_bundled_files_are_the_ones_their_licence_describes(name):
    content = gzip.decompress((DATA / f"{name}.gz").read_bytes())
    assert hashlib.sha256(content).hexdigest() == CONTENT_SHA256[name]
    assert f"{CONTENT_SHA256[name]}  {name}" in LICENCE.read_text(encoding="utf-8")


def test_source_and_licence_are_stated():
    for text in (datasets.digits.__doc__, LICENCE.read_text(encoding="utf-8")):
        assert "Alpaydin" in text
        assert "https://doi.org/10.24432/C50P49" in text
        assert "CC BY 4.0" in text


def test_stored_digits(stored):
    images, labels = stored
    assert images.shape == (1797, 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # The first image is a zero.
    assert labels[0] == 0
    assert images[0].tolist() == [
        [0, 0, 5, 13, 9, 1, 0, 0],
        [0, 0, 13, 15, 10, 15, 5, 0],
        [0, 3, 15, 2, 0, 11, 8, 0],
        [0, 4, 12, 0, 0, 8, 8, 0],
        [0, 5, 8, 0, 0, 9, 8, 0],
        [0, 4, 11, 0, 1, 12, 7, 0],
        [0, 2, 14, 5, 10, 12, 0, 0],
        [0, 0, 6, 13, 10, 0, 0, 0],
    ]


def test_stored_digits_are_those_of_scikit_learn(stored):
    sklearn_datasets = pytest.importorskip(
        "sklearn.datasets", reason="scikit-learn is not installed"
    )
    X, y = sklearn_datasets.load_digits(return_X_y=True)
    images, labels = stored
    np.testing.assert_array_equal(images.reshape(1797, 64), X)
    np.testing.assert_array_equal(labels, y)


def test_digits_split_is_every_fifth_row_of_the_rows_sorted_by_digit(stored):
    images, labels = stored
    by_digit = sorted(range(1797), key=lambda row: (labels[row], row))
    test_rows = sorted(by_digit[::5])
    train_rows = sorted(set(range(1797)) - set(test_rows))

    (X_train, y_train), (X_test, y_test) = datasets.digits()

    # Together these say that the two parts are disjoint and complete.
    for X, y, rows in ((X_train, y_train, train_rows), (X_test, y_test, test_rows)):
        np.testing.assert_array_equal(X * 16, images[rows].reshape(-1, 64))
        np.testing.assert_array_equal(y, labels[rows])
    assert Counter(y_test.tolist()) == dict(enumerate([36, 36, 36, 36, 37, 36, 36, 36, 35, 36]))


def test_digits_shapes_and_types():
    (X_train, y_train), (X_test, y_test) = datasets.digits()
    assert X_train.shape == (1437, 64)
    assert y_train.shape == (1437,)
    assert X_test.shape == (360, 64)
    assert y_test.shape == (360,)
    assert X_train.dtype == X_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64
    assert (X_train.min(), X_train.max()) == (X_test.min(), X_test.max()) == (0, 1)


def test_digits_returns_fresh_arrays():
    (X, y), _ = datasets.digits()
    X[:] = -1
    y[:] = -1
    (X, y), _ = datasets.digits()
    assert X.min() == 0
    assert y.min() == 0


# --- xor ------------------------------------------------------------------------------------


def test_xor_is_in_whole_numbers():
    X, y = datasets.xor()
    assert X.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert y.tolist() == [[0], [1], [1], [0]]
    assert X.dtype == y.dtype == np.int64


def test_xor_in_another_type():
    X, y = datasets.xor(np.float32)
    assert X.dtype == y.dtype == np.float32
    np.testing.assert_array_equal(y[:, 0], (X[:, 0] != X[:, 1]).astype(np.float32))


# --- ice cream ------------------------------------------------------------------------------


def expected_revenue(temperature, weekday):
    """Recompute the formula of the docstring, without noise."""
    rise = 1 / (1 + math.exp(-(temperature - 20) / 3))
    heat = 1 / (1 + math.exp(-(temperature - 36)))
    factor = {4: 1.2, 5: 1.5, 6: 1.8}.get(weekday, 1.0)
    return (50 + 800 * rise * (1 - 0.5 * heat)) * factor


def test_ice_cream_rows():
    X, y = datasets.ice_cream()
    assert X.shape == (730, 2)
    assert y.shape == (730, 1)
    assert X.dtype == y.dtype == np.float64
    assert 0 <= X[:, 0].min() < 1
    assert 39 < X[:, 0].max() <= 40
    assert X[:9, 1].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert y.min() > 0


def test_ice_cream_follows_its_formula():
    X, y = datasets.ice_cream(n_days=5000, seed=3)
    expected = np.array([expected_revenue(t, d) for t, d in X])
    noise = (y[:, 0] / expected - 1) / 0.05
    rng = np.random.default_rng(3)
    rng.uniform(size=5000)
    np.testing.assert_allclose(noise, rng.standard_normal(5000), atol=1e-10)


def test_ice_cream_is_decided_by_its_seed():
    X, y = datasets.ice_cream(50, seed=1)
    X_again, y_again = datasets.ice_cream(50, seed=1)
    np.testing.assert_array_equal(X, X_again)
    np.testing.assert_array_equal(y, y_again)
    X_other, y_other = datasets.ice_cream(50, seed=2)
    assert not np.array_equal(X[:, 0], X_other[:, 0])
    assert not np.array_equal(y, y_other)


def test_ice_cream_does_not_touch_the_global_generator():
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    datasets.ice_cream(10)
    assert np.random.random() == expected


def test_ice_cream_leaves_a_straight_line_far_from_the_noise():
    X, y = datasets.ice_cream()
    design = np.column_stack([X, np.ones(len(X))])
    line = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    noise = y[:, 0] - [expected_revenue(t, d) for t, d in X]
    assert np.std(y - line) > 4 * np.std(noise)


@pytest.mark.parametrize("n_days", [0, -3])
def test_ice_cream_needs_a_day(n_days):
    with pytest.raises(ValueError, match=f"n_days: got {n_days}, expected .* at least 1"):
        datasets.ice_cream(n_days)


# --- IDX: what is read ----------------------------------------------------------------------


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 4), (1,) * 32])
@pytest.mark.parametrize("code", IDX_TYPES)
def test_read_idx_gives_back_what_was_written(scratch, code, shape, compress):
    dtype = np.dtype(IDX_TYPES[code])
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    if dtype.kind == "f":
        array = array / 3 - 2
    elif dtype.kind == "i":
        array[...] -= np.iinfo(dtype).max // 2 + 1
    scratch.write_bytes(compress(idx(array, code)))

    result = datasets.read_idx(scratch)

    np.testing.assert_array_equal(result, array, strict=True)
    assert result.dtype.isnative
    assert result.flags.c_contiguous
    assert result.flags.writeable


def test_read_idx_reads_big_endian(scratch):
    scratch.write_bytes(bytes([0, 0, 0x0B, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 1, 1, 0, 255, 254]))
    assert datasets.read_idx(scratch).tolist() == [[1, 256, -2]]


def test_read_idx_reads_beyond_one_chunk(scratch):
    array = np.random.default_rng(0).integers(0, 256, (3, 1 << 20), dtype=np.uint8)
    scratch.write_bytes(idx(array))
    np.testing.assert_array_equal(datasets.read_idx(str(scratch)), array)


def test_read_idx_reads_a_gzip_file_of_several_members(scratch):
    content = idx(np.arange(10, dtype=np.uint8))
    scratch.write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]))
    assert datasets.read_idx(scratch).tolist() == list(range(10))


# --- IDX: what is refused -------------------------------------------------------------------

WHOLE = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends after 0 bytes, expected a 4-byte IDX header"),
        (b"\0\0\x08", "ends after 3 bytes, expected a 4-byte IDX header"),
        (b"\x89PNG\r\n\x1a\n", "begins with the bytes 89 50 4e 47, expected an IDX file"),
        (b"\0\x01" + WHOLE[2:], "begins with the bytes 00 01 08 02, expected an IDX file"),
        (b"\0\0\x0a" + WHOLE[3:], "element type 0x0A, expected one of 0x08, 0x09, 0x0B, 0x0C,"),
        (b"\0\0\x08\x00", "has 0 dimensions, expected 1 to 32"),
        (b"\0\0\x08\x21" + b"\0\0\0\x01" * 33 + b"x", "has 33 dimensions, expected 1 to 32"),
        (WHOLE[:11], "ends after 11 bytes, expected 12 bytes of header for 2 dimensions"),
        (WHOLE[:12], "has 0 bytes of data, expected 6 for the shape (2, 3) of uint8"),
        (WHOLE[:-1], "has 5 bytes of data, expected 6 for the shape (2, 3) of uint8"),
        (WHOLE + b"\0", "has more than 6 bytes of data, expected 6 for the shape (2, 3)"),
        (b"\0\0\x08\x01\0\0\0\0", "has the shape (0,), expected at least one element"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\0\0\0\0", "(4294967295, 0), expected at least one"),
        (b"\0\0\x0e\x01\0\0\0\x01" + b"x" * 7, "has 7 bytes of data, expected 8"),
        (b"\0\0\x0e\x20" + b"\xff" * 128 + b"x", "has 1 bytes of data, expected"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_read_idx_refuses(scratch, content, message, compress):
    scratch.write_bytes(compress(content))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        datasets.read_idx(scratch)
    assert str(caught.value).startswith(f"{scratch}: ")


@pytest.mark.parametrize("content", [WHOLE, gzip.compress(WHOLE)], ids=["plain", "gzip"])
def test_read_idx_refuses_every_truncation(scratch, content):
    for length in range(len(content)):
        scratch.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"ends after|expected a whole file|bytes of data"):
            datasets.read_idx(scratch)
    scratch.write_bytes(content)
    assert datasets.read_idx(scratch).shape == (2, 3)


@pytest.mark.parametrize("position", ["data", "checksum", "size", "behind"])
def test_read_idx_refuses_damaged_gzip(scratch, position):
    content = bytearray(gzip.compress(WHOLE))
    if position == "behind":
        content += b"junk"
    else:
        content[{"data": 10, "checksum": -8, "size": -4}[position]] ^= 0xFF
    scratch.write_bytes(content)
    with pytest.raises(ValueError, match="the gzip compression is damaged or cut short"):
        datasets.read_idx(scratch)


@pytest.mark.parametrize("damage", ["trailing byte", "checksum"])
def test_read_idx_looks_behind_data_that_fill_whole_chunks(scratch, damage):
    content = idx(np.zeros(2 << 20, np.uint8))
    if damage == "trailing byte":
        content += b"\0"
    content = bytearray(gzip.compress(content, compresslevel=1))
    if damage == "checksum":
        content[-8] ^= 0xFF
    scratch.write_bytes(content)
    with pytest.raises(ValueError, match=r"more than 2097152 bytes|CRC check failed"):
        datasets.read_idx(scratch)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff" + b"x" * 100, id="plain"),
        pytest.param(gzip.compress(b"\0\0\x0e\x01\xff\xff\xff\xff" + b"x" * 100), id="gzip"),
        # Ends far behind the 6 bytes its header announces.
        pytest.param(gzip.compress(WHOLE + bytes(200 << 20), compresslevel=1), id="bomb"),
    ],
)
def test_read_idx_allocates_for_the_data_not_for_the_claim(scratch, content):
    scratch.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="bytes of data, expected"):
            datasets.read_idx(scratch)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_read_idx_says_which_file_is_missing(tmp_path):
    path = tmp_path / "nowhere.idx"
    with pytest.raises(FileNotFoundError) as caught:
        datasets.read_idx(path)
    assert str(caught.value).startswith(f"{path}: there is no such file; expected ")


def reads_cleanly_or_raises_value_error(path, content):
    path.write_bytes(content)
    message = None
    try:
        array = datasets.read_idx(path)
    except ValueError as error:
        message = str(error)
    if message is not None:
        assert message.startswith(f"{path}: ")
        return
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    # Whatever is accepted is the file, byte for byte.
    code = {np.dtype(dtype): code for code, dtype in IDX_TYPES.items()}[array.dtype]
    assert idx(array, code) == content


fuzz = settings(deadline=None, max_examples=300)


@fuzz
@given(content=st.binary(max_size=64))
def test_read_idx_survives_any_bytes(scratch, content):
    reads_cleanly_or_raises_value_error(scratch, content)


@fuzz
@given(
    code=st.sampled_from([*IDX_TYPES, 0x00, 0x0A, 0xFF]),
    sizes=st.lists(
        st.integers(0, 4) | st.sampled_from([1 << 16, 1 << 31, (1 << 32) - 1]), max_size=5
    ),
    more=st.integers(-3, 3),
    compressed=st.booleans(),
)
def test_read_idx_survives_any_header(scratch, code, sizes, more, compressed):
    n_bytes = math.prod(sizes) * np.dtype(IDX_TYPES.get(code, np.uint8)).itemsize
    header = struct.pack(f">BBBB{len(sizes)}I", 0, 0, code, len(sizes), *sizes)
    content = header + bytes(min(max(n_bytes + more, 0), 10_000))
    reads_cleanly_or_raises_value_error(scratch, gzip.compress(content) if compressed else content)


@fuzz
@given(
    compressed=st.booleans(),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
)
def test_read_idx_survives_changed_bytes(scratch, compressed, changes):
    content = bytearray(gzip.compress(WHOLE) if compressed else WHOLE)
    for position, value in changes:
        content[position % len(content)] = value
    reads_cleanly_or_raises_value_error(scratch, bytes(content))


# --- MNIST ----------------------------------------------------------------------------------


@pytest.fixture
def small_mnist(tmp_path):
    """Write four files in the names and shapes of MNIST, two of them compressed."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 12), ("t10k", 5)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, n, dtype=np.uint8)
    for name, array in arrays.items():
        if "images" in name:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return folder, arrays


@pytest.mark.parametrize("where", ["folder", "parent", "variable"])
def test_mnist(small_mnist, monkeypatch, where):
    folder, arrays = small_mnist
    monkeypatch.delenv("FASTMLP_DATA_DIR", raising=False)
    if where == "variable":
        monkeypatch.setenv("FASTMLP_DATA_DIR", str(folder.parent))
    data_dir = {"folder": folder, "parent": str(folder.parent), "variable": None}[where]

    pairs = datasets.mnist(data_dir)
    raw_pairs = datasets.mnist(data_dir, scaled=False)

    for part, (X, y), (raw_X, raw_y) in zip(("train", "t10k"), pairs, raw_pairs, strict=True):
        pixels = arrays[f"{part}-images-idx3-ubyte"].reshape(-1, 784)
        np.testing.assert_array_equal(raw_X, pixels, strict=True)
        np.testing.assert_array_equal(X, pixels.astype(np.float32) / np.float32(255), strict=True)
        labels = arrays[f"{part}-labels-idx1-ubyte"].astype(np.int64)
        np.testing.assert_array_equal(y, labels, strict=True)
        np.testing.assert_array_equal(raw_y, labels, strict=True)


@pytest.mark.parametrize("value", [None, ""])
def test_mnist_says_how_to_name_the_folder(monkeypatch, value):
    monkeypatch.delenv("FASTMLP_DATA_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("FASTMLP_DATA_DIR", value)
    with pytest.raises(FileNotFoundError) as caught:
        datasets.mnist()
    assert "FASTMLP_DATA_DIR is not set" in str(caught.value)
    assert "https://" in str(caught.value)


def test_mnist_says_which_files_are_missing(small_mnist):
    folder, _ = small_mnist
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        datasets.mnist(folder)
    message = str(caught.value)
    assert message.startswith(
        f"{folder}: there is no train-labels-idx1-ubyte, no t10k-images-idx3-ubyte. "
    )
    assert "https://" in message
    assert ".gz" in message


def test_mnist_in_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no train-images-idx3-ubyte, no "):
        datasets.mnist(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("t10k-images-idx3-ubyte.gz", np.zeros((5, 784)), r"uint8 of shape \(5, 784\), expected"),
        ("train-labels-idx1-ubyte", np.zeros(11), r"uint8 of shape \(11,\), expected .*\(12,\)"),
        ("train-labels-idx1-ubyte", np.zeros((12, 1)), r"uint8 of shape \(12, 1\), expected"),
    ],
)
def test_mnist_refuses_files_that_do_not_belong_together(small_mnist, name, array, message):
    folder, _ = small_mnist
    (folder / name).write_bytes(idx(array))
    with pytest.raises(ValueError, match=message) as caught:
        datasets.mnist(folder)
    assert str(caught.value).startswith(str(folder / name))


@pytest.mark.skipif(
    not os.environ.get("FASTMLP_DATA_DIR"), reason="FASTMLP_DATA_DIR is not set: no MNIST files"
)
def test_the_real_mnist():
    (X_train, y_train), (X_test, y_test) = datasets.mnist(scaled=False)
    assert X_train.shape == (60_000, 784)
    assert X_test.shape == (10_000, 784)
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    md5 = hashlib.md5(idx(X_train.reshape(-1, 28, 28)), usedforsecurity=False).hexdigest()
    assert md5 == "6bbc9ace898e44ae57da46a324031adb"
