"""Model files: round trips, the official reader, damaged files, writing wholly or not at all."""

import errno
import hashlib
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp import activations

NETWORKS = {
    "one layer": ([3, 2], {}),
    "smallest": ([1, 1], {"output": "sigmoid"}),
    "every activation": (
        [3, 5, 4, 6, 2, 3],
        {"activation": ["identity", "sigmoid", "tanh", "relu"], "output": "softmax"},
    ),
}
# Hypothesis runs a test many times within one temporary folder: that is meant.
MANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make(dtype="float32", seed=0):
    return fm.MLP([2, 3, 1], activation="tanh", output="sigmoid", seed=seed, dtype=dtype)


def same(first, second):
    return repr(first) == repr(second) and first.params.tobytes() == second.params.tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The file of ``make()``: its bytes, its metadata and its tensors."""
    path = tmp_path_factory.mktemp("original") / "model.safetensors"
    make().save(path)
    return path.read_bytes(), *read_parts(path)


def load_or_refuse(path):
    """The network of a file that may be damaged, or None where it is refused as it should be."""
    try:
        return fm.load(path)
    except ValueError as error:
        said = str(error)
    assert said.startswith(f"{path}: ")
    return None


def read_parts(path):
    """The metadata and the tensors of a file, by the official package."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write_parts(path, metadata, tensors, checksum=True):
    """A file with these parts, by the official package; its checksum right unless asked."""
    from safetensors.numpy import save_file

    if checksum:
        metadata = {**metadata, "checksum": checksum_of(metadata, tensors)}
    save_file(tensors, path, metadata)


def checksum_of(metadata, tensors):
    """As docs/model-format.md says it is made."""
    digest = hashlib.sha256()
    for key in sorted(metadata):
        if key != "checksum":
            digest.update(f"{key}={metadata[key]}\n".encode())
    for name in sorted(tensors):
        digest.update(f"{name}\n".encode() + tensors[name].tobytes())
    return digest.hexdigest()


# ---- there and back


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip_keeps_every_bit(name, path, dtype, rng):
    sizes, options = NETWORKS[name]
    mlp = fm.MLP(sizes, seed=0, dtype=dtype, **options)
    mlp.params[:] = rng.normal(size=mlp.n_params)
    info = np.finfo(dtype)
    extremes = [info.max, -info.max, info.tiny, info.smallest_subnormal, -0.0]
    mlp.params[: len(extremes)] = extremes[: mlp.n_params]
    mlp.save(path)
    loaded = fm.load(path)
    assert same(loaded, mlp)
    assert loaded.activations == mlp.activations
    assert loaded.dtype == dtype
    assert all(np.shares_memory(w, loaded.params) for w in loaded.weights)


@pytest.mark.parametrize("output", activations.ACTIVATIONS)
@pytest.mark.parametrize("hidden", [a for a in activations.ACTIVATIONS if a != "softmax"])
def test_round_trip_of_every_activation(hidden, output, path, dtype, rng):
    mlp = fm.MLP([2, 3, 4], activation=hidden, output=output, seed=0, dtype=dtype)
    mlp.save(path)
    loaded = fm.load(path)
    assert same(loaded, mlp)
    X = rng.normal(size=(5, 2))
    assert loaded.predict(X).tobytes() == mlp.predict(X).tobytes()


def test_loaded_networks_own_their_parameters(path):
    """Writing to one changes neither the file nor another that is loaded from it."""
    make().save(path)
    content = path.read_bytes()
    first = fm.load(path)
    assert first.params.flags.writeable
    first.params[:] = 7
    assert path.read_bytes() == content
    assert same(fm.load(path), make())


def test_a_trained_network_is_saved_as_it_is_now(path):
    mlp = make()
    mlp.save(path)
    mlp.fit([[0, 1], [1, 0]], [[1], [0]], epochs=2)
    mlp.save(path)
    assert same(fm.load(path), mlp)
    assert not same(mlp, make())


def test_paths_may_be_text_or_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make().save("relative")
    make().save(tmp_path / "größe 1.safetensors")
    assert same(fm.load("relative"), fm.load(str(tmp_path / "größe 1.safetensors")))


# ---- the official package


def test_the_official_package_reads_what_the_specification_says(path, dtype):
    mlp = fm.MLP([3, 4, 2], activation="tanh", output="softmax", seed=0, dtype=dtype)
    mlp.save(path)
    metadata, tensors = read_parts(path)
    assert {key: metadata[key] for key in metadata if key != "checksum"} == {
        "format": "fastmlp",
        "format_version": "2",
        "sizes": "[3, 4, 2]",
        "activations": '["tanh", "softmax"]',
        "normalization": "[null, null]",
        "dropout": "[0.0]",
        "input_dropout": "0.0",
        "scale": "null",
    }
    assert metadata["checksum"] == checksum_of(metadata, tensors)
    expected = {}
    for i in range(2):
        expected[f"layers.{i}.w"] = mlp.weights[i]
        expected[f"layers.{i}.b"] = mlp.biases[i]
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        assert tensor.dtype == dtype
        np.testing.assert_array_equal(tensor, expected[name])


def test_files_of_version_1_are_loaded(path, original):
    """They say nothing of normalisation, dropout and scales, since there were none."""
    _, metadata, tensors = original
    first = {key: metadata[key] for key in ("format", "sizes", "activations")}
    write_parts(path, first | {"format_version": "1"}, tensors)
    assert same(fm.load(path), make())


def test_a_network_of_every_kind_of_layer_comes_back(path, dtype, rng):
    mlp = fm.MLP(
        [5, 8, 7, 6, 3], normalization=["batch(momentum=0.2)", "layer", None],
        dropout=[0, 0.25, 0.5], input_dropout=0.1, scale="standard", seed=0, dtype=dtype,
    )  # fmt: skip
    X, y = rng.normal(3, 5, (60, 5)), rng.normal(-2, 7, (60, 3))
    mlp.fit(X, y, epochs=3, seed=0)
    mlp.save(path)
    loaded = fm.load(path)
    assert loaded.summary() == mlp.summary()
    assert loaded.predict(X).tobytes() == mlp.predict(X).tobytes()
    assert loaded.fit(X, y, epochs=2, seed=1)["loss"] == mlp.fit(X, y, epochs=2, seed=1)["loss"]


def test_a_file_the_official_package_writes_is_loaded(path, tmp_path, dtype):
    mlp = make(dtype)
    mlp.save(path)
    other = tmp_path / "other"
    write_parts(other, *read_parts(path))
    assert same(fm.load(other), mlp)


# ---- writing


def files_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def check_a_failed_save_changes_nothing(path, expected=OSError, match=None):
    old = path.read_bytes() if path.exists() else None
    before = files_in(path.parent)
    with pytest.raises(expected, match=match):
        make(seed=1).save(path)
    assert files_in(path.parent) == before
    assert (path.read_bytes() if path.exists() else None) == old


@pytest.fixture(params=[True, False], ids=["over an old file", "a new file"])
def target(request, path):
    if request.param:
        make().save(path)
    return path


@pytest.mark.parametrize("call", ["fsync", "replace", "open", "fdopen"])
def test_a_system_call_that_fails_leaves_the_old_file(call, target, monkeypatch):
    """As on a disk that is full: data may be refused only when they are flushed."""

    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    make().save(target.parent / "warm-up")  # the first use imports what it needs
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        check_a_failed_save_changes_nothing(target, match="No space left")
    make(seed=1).save(target)
    assert same(fm.load(target), make(seed=1))


def test_permissions_that_cannot_be_kept_leave_the_old_file(path, monkeypatch):
    make().save(path)

    def fail(*arguments, **options):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patched:
        patched.setattr(os, "chmod", fail)
        check_a_failed_save_changes_nothing(path, match="not permitted")


def test_an_interrupted_save_leaves_the_old_file(target, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupt)
        check_a_failed_save_changes_nothing(target, KeyboardInterrupt)


def test_a_disk_that_takes_half_the_file_leaves_the_old_one(tmp_path):
    """A real refusal of the kernel in the middle of writing: the limit on file sizes.

    A tiny file system would need the right to mount one, and /dev/full cannot be renamed to.
    """
    code = """
import resource, signal, sys
import fastmlp as fm
path = sys.argv[1]
fm.MLP([100, 100], seed=0).save(path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    fm.MLP([100, 100], seed=1).save(path)
except OSError as error:
    print("refused:", error.strerror)
"""
    path = tmp_path / "model"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, path], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == f"refused: {os.strerror(errno.EFBIG)}\n", done.stderr
    assert files_in(tmp_path) == ["model"]
    assert same(fm.load(path), fm.MLP([100, 100], seed=0))


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "no" / "model"
    with pytest.raises(
        FileNotFoundError, match=r"no/model: the folder .*no does not exist; create"
    ):
        make().save(path)
    assert files_in(tmp_path) == []


def test_a_folder_is_not_overwritten(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        make().save(folder)
    assert files_in(tmp_path) == ["folder"]
    with pytest.raises(IsADirectoryError, match="folder"):
        fm.load(folder)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, -1])
def test_parameters_that_are_not_finite_are_refused(bad, at, target):
    mlp = make(seed=1)
    mlp.params[at] = bad
    old = target.read_bytes() if target.exists() else None
    with pytest.raises(ValueError, match=r"^mlp: a parameter is not a finite number"):
        mlp.save(target)
    assert (target.read_bytes() if target.exists() else None) == old
    assert files_in(target.parent) == ([target.name] if old else [])


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(mask, path):
    before = os.umask(mask)
    try:
        make().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
        assert os.umask(mask) == mask, "saving must leave the mask of new files alone"
    finally:
        os.umask(before)


def test_permissions_of_an_old_file_stay(path):
    make().save(path)
    path.chmod(0o640)
    make(seed=1).save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_as_long_a_name_as_the_file_system_takes(tmp_path):
    path = tmp_path / ("n" * 255)
    path.touch()  # it can be made
    make().save(path)
    assert same(fm.load(path), make())


SAVE_FOR_EVER = """
import sys
import numpy as np
import fastmlp as fm
mlp = fm.MLP([500, 500], seed=0)
value = 1
mlp.params[:] = value
mlp.save(sys.argv[1])
print("begun", flush=True)
while True:
    value = 3 - value
    mlp.params[:] = value
    mlp.save(sys.argv[1])
"""


def test_a_killed_process_leaves_the_old_or_the_new_file(path):
    seen = set()
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", SAVE_FOR_EVER, path], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout.readline() == "begun\n"
            # Different moments of a save, which takes a few milliseconds.
            time.sleep(0.01 + 0.0037 * attempt)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        (value,) = set(fm.load(path).params.tolist())
        seen.add(value)
    assert seen <= {1.0, 2.0}


# ---- damaged files


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing: there is no such file"):
        fm.load(tmp_path / "nothing")


def test_a_file_cut_short_is_refused_at_every_length(path, dtype):
    make(dtype).save(path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"model\.safetensors: "):
            fm.load(path)


@pytest.mark.parametrize("more", [b"\0", b" ", b"\0" * 4096])
def test_a_file_with_more_behind_it_is_refused(more, path):
    make().save(path)
    path.write_bytes(path.read_bytes() + more)
    with pytest.raises(ValueError, match=r"model\.safetensors: "):
        fm.load(path)


@pytest.mark.parametrize("flip", [0x01, 0x02, 0x20, 0x80, 0xFF])
def test_every_changed_byte_is_noticed_or_means_the_same(flip, path, original):
    harmless = 0
    for at in range(len(original[0])):
        changed = bytearray(original[0])
        changed[at] ^= flip
        path.write_bytes(changed)
        loaded = load_or_refuse(path)
        if loaded is not None:
            assert same(loaded, make())
            harmless += 1
    # At most the blanks that fill the header up to a multiple of eight.
    assert harmless < 8


@MANY
@given(st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=9)), min_size=1, max_size=4))
def test_changed_and_missing_stretches_are_noticed(path, original, edits):
    content = bytearray(original[0])
    for at, replacement in edits:
        at %= len(content)
        content[at : at + max(len(replacement), 1)] = replacement
    path.write_bytes(content)
    loaded = load_or_refuse(path)
    assert loaded is None or same(loaded, make())


@MANY
@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors: "):
        fm.load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 a zip file",
        b"\x80\x04\x95 a pickle",
        b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 100_000_000) + b"{}",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_model_is_refused(content, path):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors: .*expected.* mlp\.save wrote"):
        fm.load(path)


def test_a_device_is_refused():
    with pytest.raises((ValueError, OSError), match="/dev/null"):
        fm.load("/dev/null")


def header_of(claims):
    text = json.dumps(claims).encode()
    return struct.pack("<Q", len(text)) + text


def test_huge_claims_take_no_memory(path, original):
    metadata = original[1]
    huge = 2**40
    claims = [
        {"w": {"dtype": "F32", "shape": [huge], "data_offsets": [0, 4 * huge]}},
        {"w": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [0, huge], "data_offsets": [0, 0]}},
        {
            "__metadata__": {**metadata, "sizes": f"[{huge}, 1]"},
            "layers.0.w": {"dtype": "F32", "shape": [huge, 1], "data_offsets": [0, 4 * huge]},
            "layers.0.b": {"dtype": "F32", "shape": [1], "data_offsets": [4 * huge, 4 * huge + 4]},
        },
    ]
    tracemalloc.start()
    try:
        for claim in claims:
            path.write_bytes(header_of(claim) + b"\0" * 8)
            with pytest.raises(ValueError, match=r"model\.safetensors: "):
                fm.load(path)
        # The network that is claimed would have terabytes.
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


# ---- whole safetensors files that are no models of ours


def changed(metadata=(), tensors=()):
    return lambda m, t: ({**m, **dict(metadata)}, {**t, **dict(tensors)})


def without_metadata(key):
    return lambda m, t: ({name: value for name, value in m.items() if name != key}, t)


def without_tensor(key):
    return lambda m, t: (m, {name: value for name, value in t.items() if name != key})


F32 = np.float32
# A network [2, 3, 1], changed; every file's checksum is right.
FOREIGN = {
    "no metadata": (lambda m, t: ({}, t), "not of ours"),
    "another format": (changed({"format": "pt"}), "not of ours"),
    "no version": (without_metadata("format_version"), r"format version None, expected 1 or 2"),
    "a later version": (
        changed({"format_version": "3"}),
        r"format version '3', expected 1 or 2; load it with",
    ),
    "version 1.0": (changed({"format_version": "1.0"}), r"format version '1\.0', expected 1 or 2"),
    "no sizes": (without_metadata("sizes"), "sizes"),
    "no activations": (without_metadata("activations"), "activations None do not describe"),
    "sizes not JSON": (changed({"sizes": "2, 3, 1"}), "sizes"),
    "sizes not a list": (changed({"sizes": '{"0": 2}'}), "sizes"),
    "sizes of many digits": (changed({"sizes": "[" + "9" * 10_000 + "]"}), "'sizes'|sizes"),
    "sizes deeply nested": (changed({"sizes": "[" * 100_000}), "'sizes'"),
    "sizes of nothing": (
        changed({"sizes": "[]"}),
        "do not describe a network|not a network that can be",
    ),
    "sizes of zero": (
        changed({"sizes": "[2, 0, 1]"}),
        "do not describe a network|not a network that can be",
    ),
    "sizes below zero": (
        changed({"sizes": "[2, -3, 1]"}),
        "do not describe a network|not a network that can be",
    ),
    "sizes of fractions": (
        changed({"sizes": "[2, 3.0, 1]"}),
        "do not describe a network|not a network that can be",
    ),
    "sizes of truths": (
        changed({"sizes": "[2, 3, true]"}),
        "do not describe a network|not a network that can be",
    ),
    "sizes of text": (
        changed({"sizes": '["2", "3", "1"]'}),
        "do not describe a network|not a network that can be",
    ),
    "huge sizes": (
        changed({"sizes": f"[2, 3, {2**47}]"}),
        "its tensor .* is .*, expected|nobody asked for its tensor",
    ),
    "a layer more": (
        changed(
            {
                "sizes": "[2, 3, 1, 1]",
                "activations": '["tanh", "tanh", "sigmoid"]',
                "normalization": "[null, null, null]",
                "dropout": "[0.0, 0.0]",
            }
        ),
        "its tensor .* is .*, expected|nobody asked for its tensor",
    ),
    "too few activations": (
        changed({"activations": '["tanh"]'}),
        "do not describe a network|not a network that can be",
    ),
    "unknown activation": (
        changed({"activations": '["tanh", "sofplus"]'}),
        "do not describe a network|not a network that can be",
    ),
    "softmax inside": (changed({"activations": '["softmax", "tanh"]'}), "softmax"),
    "activations of lists": (
        changed({"activations": '["tanh", ["relu"]]'}),
        "not a network that can be",
    ),
    "activations of maps": (changed({"activations": '["tanh", {}]'}), "not a network that can be"),
    "activations of null": (
        changed({"activations": '["tanh", null]'}),
        "not a network that can be",
    ),
    "an alias": (changed({"activations": '["tanh", "logistic"]'}), "which are written"),
    "a tensor missing": (
        without_tensor("layers.1.b"),
        "its tensor .* is .*, expected|nobody asked for its tensor",
    ),
    "a tensor more": (
        changed((), {"extra": np.ones(1, F32)}),
        "its tensor .* is .*, expected|nobody asked for its tensor",
    ),
    "a transposed tensor": (
        changed((), {"layers.0.w": np.ones((3, 2), F32)}),
        "its tensor .* is .*, expected",
    ),
    "a flat tensor": (
        changed((), {"layers.0.w": np.ones(6, F32)}),
        "its tensor .* is .*, expected|nobody asked for its tensor",
    ),
    "mixed types": (
        changed((), {"layers.1.b": np.ones(1)}),
        "its tensor .* is .*, expected|nobody asked for its tensor",
    ),
    "whole numbers": (
        lambda m, t: (m, {name: value.astype(np.int32) for name, value in t.items()}),
        "dtype: got",
    ),
    "half precision": (
        lambda m, t: (m, {name: value.astype(np.float16) for name, value in t.items()}),
        "dtype: got",
    ),
    "a weight not finite": (
        changed((), {"layers.0.w": np.full((2, 3), np.nan, F32)}),
        "is not finite",
    ),
    "a bias not finite": (changed((), {"layers.0.b": np.full(3, np.inf, F32)}), "is not finite"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_refused_with_its_path_and_what_is_wrong(name, path, original):
    change, said = FOREIGN[name]
    write_parts(path, *change(*original[1:]))
    with pytest.raises(ValueError, match=rf"model\.safetensors: .*({said})") as caught:
        fm.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "change",
    [
        lambda m, t: ({**m, "checksum": "0" * 64}, t),
        without_metadata("checksum"),
        changed({"activations": '["tanh", "identity"]'}),
        changed({"note": "added later"}),
        changed((), {"layers.1.b": np.ones(1, F32)}),
    ],
    ids=["another", "none", "other metadata", "more metadata", "other values"],
)
def test_a_wrong_checksum_is_refused(change, path, original):
    write_parts(path, *change(*original[1:]), checksum=False)
    with pytest.raises(ValueError, match=r"model\.safetensors: the checksum does not match"):
        fm.load(path)


# Anything JSON can hold, and what could be meant by it.
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 5)
    | st.floats()
    | st.sampled_from(["relu", "tanh", "sigmoid", "softmax", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("key"), inner),
    max_leaves=4,
)


@MANY
@given(
    sizes=st.just([2, 3, 1]) | st.lists(JSON, min_size=3, max_size=3) | JSON,
    activations=st.just(["tanh", "sigmoid"]) | st.lists(JSON, min_size=2, max_size=2) | JSON,
)
def test_no_metadata_do_anything_but_be_refused(path, original, sizes, activations):
    _, metadata, tensors = original
    described = {"sizes": json.dumps(sizes), "activations": json.dumps(activations)}
    write_parts(path, {**metadata, **described}, tensors)
    loaded = load_or_refuse(path)
    assert loaded is None or loaded.sizes == (2, 3, 1)


# ---- nothing is executed, and nothing is imported before it is needed


def test_nothing_is_unpickled():
    source = Path(sys.modules[fm.load.__module__].__file__).read_text()
    assert "import pickle" not in source
    assert "allow_pickle" not in source
    assert "eval(" not in source


def test_safetensors_is_imported_by_save_and_load_alone(path):
    code = """
import sys
import numpy as np
import fastmlp as fm

def imported():
    return [name for name in sys.modules if name.split(".")[0] == "safetensors"]

mlp = fm.MLP([2, 3, 1], seed=0)
mlp.fit([[0, 1]], [[1]], epochs=1, validation_data=([[0, 1]], [[1]]), metrics=["mse"])
mlp.predict([[0, 1]])
fm.show_config(mode="dict")
assert imported() == [], imported()
getattr(mlp, sys.argv[1])(sys.argv[2]) if sys.argv[1] == "save" else fm.load(sys.argv[2])
assert "safetensors" in imported()
"""
    for call in ("save", "load"):
        done = subprocess.run(
            [sys.executable, "-P", "-W", "error", "-c", code, call, path],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
