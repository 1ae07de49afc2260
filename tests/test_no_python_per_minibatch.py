"""What a minibatch costs beside arithmetic: no Python, no memory, no matrix product of NumPy's.

Proved here, each for training without listeners to minibatches:

- The Python functions called by ``fit`` are as many for 2,000 minibatches as for 20 (the profiler
  counts them), and the compiled loop holds no lock of the interpreter, so it cannot make a Python
  object either.
- Memory is asked for as often for 2,000 minibatches as for 20 (the interpreter's allocators, the
  only ones the compiled modules use, are replaced by some that count), and training takes no more
  of it than when it began (tracemalloc).
- ``fit``, the loop by hand, ``predict`` and ``evaluate`` work where every function of NumPy's that
  multiplies matrices raises; the operator ``@`` and the method ``dot``, which cannot be replaced,
  do not occur in the package; and the compiled modules know neither NumPy nor a BLAS.
"""

import ast
import ctypes
import gc
import importlib.util
import re
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import fitting
from fastmlp.kernels.variants import DTYPES, VARIANTS, module_name

PACKAGE = Path(fm.__file__).parent
# What may differ between two runs, such as the growth of a list, however many minibatches: far less
# than a call or an object for each of the 2,000.
HANDFUL = 50

MODULES = [
    importlib.util.find_spec(f"fastmlp.kernels.{module_name(variant.name, dtype)}")
    for variant in VARIANTS
    for dtype in DTYPES
]
# Only x86 has more than one build.
FILES = [Path(spec.origin) for spec in MODULES if spec is not None]

# How a training may differ: every kind of it takes its own way through the compiled loop.
KINDS = {
    "plain": {},
    "unshuffled": {"shuffle": False},
    "weighted": {"weighted": True},
    "penalised": {"l2": 0.1},
    "momentum": {"optimizer": fm.SGD(lr=1e-6, momentum=0.9, nesterov=True)},
    "stopping": {"tol": 0.0, "patience": 10**6, "target_loss": -1.0},
    "double": {"dtype": "float64"},
    "whole numbers": {"stored": "int8"},
    "classes": {"classes": True},
    "two threads": {"n_threads": 2},
    "bytes": {"stored": "uint8", "network": {"scale": 1 / 255}},
    "half precision": {"stored": "float16", "network": {"scale": "standard"}},
    "sparse": {"sparse": True},
    "dropout": {"network": {"dropout": 0.5, "input_dropout": 0.2}},
    "batch normalisation": {"network": {"normalization": "batch"}},
    "layer normalisation": {"network": {"normalization": "layer"}},
    "schedule": {"trainer": {"schedule": "cosine"}},
    "all around a step": {
        "optimizer": fm.AdamW(lr=1e-6),
        "trainer": {"clip_value": 1.0, "clip_norm": 1.0, "max_norm": 3.0, "l1": 1e-6},
    },
    "nadam": {"optimizer": fm.Nadam(lr=1e-6)},
    "rmsprop": {"optimizer": fm.RMSprop(lr=1e-6, momentum=0.9, centered=True)},
    "huber": {"trainer": {"loss": fm.Huber(missing="ignore")}},
}


def prepare(
    n_rows=640,
    batch_size=32,
    sizes=(20, 30, 3),
    dtype="float32",
    stored="float32",
    classes=False,
    weighted=False,
    l2=0.0,
    optimizer="adam",
    n_threads=1,
    sparse=False,
    network=None,
    trainer=None,
    **options,
):
    """A trainer, and its ``fit`` with all arguments but ``epochs``."""
    rng = np.random.default_rng(0)
    X = np.abs(5 * rng.normal(size=(n_rows, sizes[0]))).astype(stored)
    if sparse:
        X = scipy_sparse().csr_array(X * (X > 3))
    y = rng.integers(0, sizes[-1], n_rows) if classes else rng.normal(size=(n_rows, sizes[-1]))
    output = "softmax" if classes else "identity"
    mlp = fm.MLP(sizes, output=output, seed=0, dtype=dtype, **network or {})
    trainer = fm.Trainer(
        mlp, batch_size=batch_size, l2=l2, optimizer=optimizer, n_threads=n_threads, seed=0,
        **trainer or {},
    )  # fmt: skip
    weight = rng.uniform(size=n_rows) if weighted else None
    return trainer, lambda epochs, **more: trainer.fit(
        X, y, epochs=epochs, sample_weight=weight, **options, **more
    )


def minibatches_of_as_few_rows_as_can_be(kind):
    """Two thousand of them."""
    rows = 2 if kind.get("network") == {"normalization": "batch"} else 1
    return {"batch_size": rows, "n_rows": 2000 * rows}


def scipy_sparse():
    return pytest.importorskip("scipy.sparse", reason="SciPy is not installed")


@pytest.fixture
def one_slice(monkeypatch):
    """Let the compiled loop run through, so that a slow machine counts as a fast one does.

    And collect no garbage meanwhile: what other tests have left would be called and counted here,
    and the interpreter's stores of unused objects emptied.
    """
    monkeypatch.setattr(fitting, "SLICE", 600)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# ---- no Python


def calls_of(function, *arguments, **options):
    """How many Python functions, and C functions called from Python, run in a call."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(*arguments, **options)
    finally:
        sys.setprofile(before)
    return calls


def python_calls(epochs, callbacks=(), **kind):
    """The calls in ``fit``, and the minibatches it trained on."""
    trainer, fit = prepare(**kind)
    return calls_of(fit, epochs, callbacks=callbacks), trainer.n_steps


@pytest.mark.usefixtures("one_slice")
@pytest.mark.parametrize("kind", KINDS)
def test_python_is_not_called_for_a_minibatch(kind):
    python_calls(1, **KINDS[kind])  # what happens once in a process
    few, n_few = python_calls(1, **KINDS[kind])
    many_epochs, n_epochs = python_calls(100, **KINDS[kind])
    small = KINDS[kind] | minibatches_of_as_few_rows_as_can_be(KINDS[kind])
    many_batches, n_batches = python_calls(1, **small)
    assert (n_few, n_epochs, n_batches) == (20, 2000, 2000)
    assert abs(many_epochs - few) <= HANDFUL
    assert abs(many_batches - few) <= HANDFUL


class ToMinibatches(fm.Callback):
    def on_batch_end(self, trainer, loss):
        pass


class ToEpochs(fm.Callback):
    def on_epoch_end(self, trainer):
        pass


def test_a_listener_to_minibatches_is_what_the_count_would_show():
    """The count above can fail: here Python does run for every minibatch."""
    calls, n_steps = python_calls(5, [ToMinibatches()])
    assert calls > 5 * n_steps


@pytest.mark.usefixtures("one_slice")
def test_a_listener_to_epochs_costs_calls_by_the_epoch_alone():
    python_calls(1, [ToEpochs()])
    few, n_few = python_calls(10, [ToEpochs()], batch_size=640)
    many, n_many = python_calls(10, [ToEpochs()], batch_size=1)
    assert (n_few, n_many) == (10, 6400)
    assert abs(many - few) <= HANDFUL


@pytest.mark.usefixtures("one_slice")
def test_the_compiled_loop_leaves_the_interpreter_to_others():
    """Another thread goes on during ``fit``, although nobody may take the interpreter by force.

    So the loop runs without the lock that every Python object needs, and makes and touches none.
    """
    _, fit = prepare(sizes=(256, 512, 512, 10), n_rows=8000)
    ticks, done = 0, threading.Event()

    def tick():
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.002)  # gives the interpreter back by itself

    interval = sys.getswitchinterval()
    clock = threading.Thread(target=tick)
    sys.setswitchinterval(1000)
    try:
        clock.start()
        before = ticks
        fit(1)
        seen = ticks - before
    finally:
        sys.setswitchinterval(interval)
        done.set()
        clock.join()
    # Some tenths of a second of training, of which the other thread needs a few milliseconds; with
    # the lock held it could only tick at the beginning and at the end.
    assert seen > 5


# ---- no memory

# Stands in front of the interpreter's three allocators, counts, and hands on. In C, because Python
# could not count without allocating.
COUNTER = """
#include <stddef.h>

struct allocator {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
};
typedef void exchange(int domain, struct allocator *);

static struct allocator usual[3], counting[3];
static long calls[3];

#define COUNT(domain) __atomic_add_fetch(&calls[domain], 1, __ATOMIC_RELAXED)
#define DOMAIN(d) \\
    static void *malloc_##d(void *c, size_t n) { COUNT(d); return usual[d].malloc(c, n); } \\
    static void *calloc_##d(void *c, size_t n, size_t size) \\
        { COUNT(d); return usual[d].calloc(c, n, size); } \\
    static void *realloc_##d(void *c, void *p, size_t n) \\
        { COUNT(d); return usual[d].realloc(c, p, n); }
DOMAIN(0)
DOMAIN(1)
DOMAIN(2)
#define HOOK(d) counting[d].malloc = malloc_##d, counting[d].calloc = calloc_##d, \\
    counting[d].realloc = realloc_##d

void start(exchange *get, exchange *set)
{
    int d;
    for (d = 0; d < 3; d++) { get(d, &usual[d]); counting[d] = usual[d]; calls[d] = 0; }
    HOOK(0); HOOK(1); HOOK(2);
    for (d = 0; d < 3; d++) set(d, &counting[d]);
}

void stop(exchange *set, long *found)
{
    int d;
    for (d = 0; d < 3; d++) { set(d, &usual[d]); found[d] = calls[d]; }
}
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """The library above, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler to make the counting allocator with")
    folder = tmp_path_factory.mktemp("counter")
    source, library = folder / "counter.c", folder / "counter.so"
    source.write_text(COUNTER)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return ctypes.PyDLL(str(library))


def allocations(counter, epochs, **kind):
    """How often ``fit`` asks for memory: of the raw allocator, and of those for Python objects."""
    trainer, fit = prepare(**kind)
    found = (ctypes.c_long * 3)()
    get, set_ = ctypes.pythonapi.PyMem_GetAllocator, ctypes.pythonapi.PyMem_SetAllocator
    counter.start(get, set_)
    try:
        fit(epochs)
    finally:
        counter.stop(set_, found)
    return found[0], found[1] + found[2], trainer.n_steps


@pytest.mark.usefixtures("one_slice")
@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_not_asked_for_in_a_minibatch(kind, counter):
    usual = KINDS[kind]
    small = usual | minibatches_of_as_few_rows_as_can_be(usual)
    # Minibatches of two chunks, which threads share.
    large = {**usual, "batch_size": 500, "n_rows": 10_000}
    allocations(counter, 1, **usual)  # what happens once in a process

    raw, objects, n_steps = allocations(counter, 1, **usual)
    assert n_steps == 20
    assert raw >= 3, "the count sees the buffers that are made when training begins"
    assert objects > 50, "the count sees the objects that Python makes then"
    more_raw, more_objects, n_steps = allocations(counter, 1, **small)
    assert n_steps == 2000
    assert abs(more_raw - raw) <= HANDFUL
    assert abs(more_objects - objects) <= HANDFUL

    for setting in (usual, large):
        raw, objects, n_steps = allocations(counter, 1, **setting)
        assert n_steps == 20
        more_raw, more_objects, n_steps = allocations(counter, 100, **setting)
        assert n_steps == 2000
        assert abs(more_raw - raw) <= HANDFUL
        # The loss of every epoch becomes one number in the history.
        assert abs(more_objects - objects) <= 100 + HANDFUL


def test_the_compiled_sources_have_no_other_source_of_memory():
    """What is counted above is all there is."""
    folder = Path(__file__).parents[1] / "fastmlp" / "kernels"
    texts = [path.read_text() for path in (*folder.glob("*.pyx"), *folder.glob("*.pxi"))]
    words = set(re.findall(r"\w*(?:alloc|memalign|mmap|strdup)\w*", "\n".join(texts)))
    functions = {word for word in words if word.lower().endswith(("alloc", "align", "mmap", "dup"))}
    assert {"PyMem_RawCalloc"} <= functions <= {"PyMem_RawCalloc", "PyMem_RawMalloc"}


@pytest.mark.skipif(
    sys.platform != "linux", reason="the built modules are inspected as ELF files of Linux"
)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.split(".")[0])
def test_the_compiled_modules_have_no_other_source_of_memory(file):
    """But for a malloc in Cython's own array type, which nothing here makes."""
    names = set(re.findall(rb"(?<=\0)[A-Za-z_]\w*(?=\0)", file.read_bytes()))
    assert b"PyMem_RawCalloc" in names
    others = b"calloc realloc memalign aligned_alloc posix_memalign mmap brk sbrk strdup"
    assert names.isdisjoint(others.split())


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("batch_size", [64, 1024])
def test_training_takes_no_more_memory_than_it_began_with(n_threads, batch_size):
    """Any scratch array of a minibatch here would be larger than what is allowed for."""
    trainer, fit = prepare(
        n_rows=4096, batch_size=batch_size, sizes=(64, 300, 250, 3), n_threads=n_threads
    )
    measured = {}

    class Measure(fm.Callback):
        def on_fit_begin(self, trainer):
            tracemalloc.reset_peak()
            measured["begin"] = tracemalloc.get_traced_memory()[0]

        def on_fit_end(self, trainer):
            measured["peak"] = tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        fit(2, callbacks=[Measure()])
    finally:
        tracemalloc.stop()
    assert measured["begin"] > 4 * trainer.mlp.n_params, "tracemalloc sees the buffers of the plan"
    assert measured["peak"] - measured["begin"] < 20_000


def test_training_leaves_no_object_behind_for_a_minibatch():
    _, fit = prepare()
    fit(10)
    before = sys.getallocatedblocks()
    fit(100)
    # A hundred losses as floats, the list they are in, and what a call may keep.
    assert sys.getallocatedblocks() - before < 300


def test_a_trainer_gives_its_memory_back():
    tracemalloc.start()
    try:
        for attempt in range(4):
            _, fit = prepare(sizes=(64, 300, 250, 3), n_threads=2, batch_size=600)
            fit(1)
            del fit, _
            if attempt == 0:
                before = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - before < 50_000
    finally:
        tracemalloc.stop()


# ---- no matrix product of NumPy's

WITHOUT_PRODUCTS = """
import sys
import numpy

FUNCTIONS = (
    "matmul dot vdot inner outer einsum tensordot kron vecdot matvec vecmat c_einsum "
    "multi_dot matrix_power"
).split()

def forbidden(*arguments, **options):
    raise AssertionError("a matrix product of NumPy's")

def modules():
    return [m for name, m in sys.modules.items() if name.split(".")[0] == "numpy"]

replaced = set()
for module in modules():
    for name in FUNCTIONS:
        if name in vars(module):
            setattr(module, name, forbidden)
            replaced.add(name)
assert {"matmul", "dot", "vdot", "inner", "einsum", "tensordot", "multi_dot"} <= replaced

# The replacement works, or the rest would prove nothing.
for name in ("matmul", "dot", "einsum", "inner"):
    try:
        getattr(numpy, name)(numpy.ones((2, 2)), numpy.ones((2, 2)))
    except AssertionError:
        continue
    raise SystemExit(f"numpy.{name} still works")

import fastmlp as fm

X, y = fm.datasets.xor()
for dtype in ("float32", "float64"):
    mlp = fm.MLP([2, 8, 1], activation="tanh", output="sigmoid", seed=1, dtype=dtype)
    history = mlp.fit(X, y, optimizer=fm.Adam(lr=0.05), epochs=500, seed=0, l2=1e-6)
    assert history["loss"][-1] < 0.02
    assert ((mlp.predict(X) > 0.5) == y).all()
    mlp.evaluate(X, y, metrics=["accuracy"])
    trainer = fm.Trainer(mlp)
    trainer.forward(X)
    trainer.compute_loss(y)
    trainer.backward()
    trainer.step()
    mlp.trace(X, y)

(X, y), (X_test, y_test) = fm.datasets.digits()
mlp = fm.MLP([64, 32, 10], output="softmax", seed=0)
mlp.fit(X, y, epochs=10, seed=0, n_threads=2)
assert mlp.evaluate(X_test, y_test)["accuracy"] > 0.9
"""


def test_everything_works_without_numpys_matrix_products():
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_PRODUCTS], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def sources():
    """Every Python file of the package but the benchmarks, whose rivals may multiply so."""
    return [path for path in PACKAGE.rglob("*.py") if "benchmarks" not in path.parts]


def test_the_operator_and_methods_that_multiply_matrices_do_not_occur():
    assert PACKAGE / "training.py" in sources()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            product = isinstance(node, ast.MatMult) or (
                isinstance(node, ast.Attribute) and node.attr in ("dot", "__matmul__", "matmul")
            )
            assert not product, f"{path}: line {getattr(node, 'lineno', '?')}"


@pytest.mark.skipif(
    sys.platform != "linux", reason="the built modules are inspected as ELF files of Linux"
)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.split(".")[0])
def test_the_compiled_modules_know_neither_numpy_nor_a_blas(file):
    content = file.read_bytes().lower()
    for name in (b"numpy", b"blas", b"gemm", b"gemv", b"lapack", b"libmkl", b"libgomp"):
        assert name not in content
