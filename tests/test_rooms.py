"""Imports only point down, other packages come in by their own doors, and importing is quiet."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastmlp as fm

PACKAGE = Path(fm.__file__).parent

# Room 3, the doors to other packages and the command line. Room 1 is kernels, room 2 all the rest.
ROOM_3 = {
    *("cli", "__main__", "benchmarks", "sklearn"),
    *("progress", "plots", "lbfgs"),
}
# Each package from elsewhere, and who alone may import it. NumPy may be imported anywhere.
DOORS = {
    "safetensors": "fastmlp.serialization",
    "tqdm": "fastmlp.progress",
    "matplotlib": "fastmlp.plots",
    "scipy": "fastmlp.lbfgs",
    "sklearn": ("fastmlp.sklearn", "fastmlp.benchmarks.rivals.scikit_learn"),
    "joblib": "fastmlp.sklearn",
    "torch": (
        "fastmlp.benchmarks.rivals.pytorch_eager",
        "fastmlp.benchmarks.rivals.pytorch_compiled",
    ),
    "jax": ("fastmlp.benchmarks.rivals.jax_scan", "fastmlp.benchmarks.rivals.jax_layers"),
    "onnx": "fastmlp.benchmarks.rivals.onnx_runtime",
    "onnxruntime": "fastmlp.benchmarks.rivals.onnx_runtime",
}


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module):
    """1, 2 or 3; 0 for the package itself, which is above all and belongs to none."""
    parts = module.split(".")
    if len(parts) == 1:
        return 0
    if parts[1] == "kernels":
        return 1
    return 3 if parts[1] in ROOM_3 else 2


def is_for_types_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(module, with_lazy=True):
    """The modules that a module imports when it runs: (name, node)."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if is_for_types_only(child):
                continue
            if isinstance(child, ast.FunctionDef) and not with_lazy:
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from targets(child)
            yield from walk(child)

    def targets(node):
        base = node.module or ""
        if node.level:
            parent = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parent, *([node.module] if node.module else [])])
        # `from . import x` may name a module or something within one.
        for alias in node.names:
            full = f"{base}.{alias.name}"
            yield full if full in MODULES else base

    return set(walk(ast.parse(path.read_text())))


def is_ours(name):
    return name.split(".")[0] == "fastmlp"


def calls(module, *names):
    """Whether a module calls one of the functions, under any prefix."""
    tree = ast.parse(MODULES[module].read_text())
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in names
        for node in ast.walk(tree)
    )


def test_the_modules_are_found():
    assert {"fastmlp", "fastmlp.network", "fastmlp.kernels", "fastmlp.cli"} <= set(MODULES)
    assert {room(module) for module in MODULES} == {0, 1, 2, 3}


def test_the_imports_of_a_module_are_found():
    """This very reading, on imports whose answer is known."""
    assert {"fastmlp.kernels", "fastmlp.callbacks", "fastmlp.network", "numpy"} <= imports(
        "fastmlp.training"
    )
    assert "fastmlp.training" not in imports("fastmlp.callbacks")  # for type checkers only
    assert "fastmlp.serialization" in imports("fastmlp.network")
    assert "fastmlp.serialization" not in imports("fastmlp.network", with_lazy=False)


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) == 1])
def test_the_compiled_room_knows_nothing_of_the_others(module):
    outside = {name for name in imports(module) if is_ours(name) and room(name) != 1}
    assert outside == set()


def test_the_compiled_sources_know_nothing_of_the_others():
    """Neither Python modules of the package nor NumPy: read in the checkout, not in the wheel."""
    folder = Path(__file__).parents[1] / "fastmlp" / "kernels"
    sources = [*folder.glob("*.pyx"), *folder.glob("*.pxi")]
    assert sources
    for source in sources:
        for line in source.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"], ["cimport"]):
                assert words[1].split(".")[0] in ("cython", "cpython", "libc", "posix"), source.name


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) == 2])
def test_the_library_never_imports_a_door(module):
    """Not even within a function: whoever wants a door opens it."""
    outside = {name for name in imports(module) if is_ours(name) and room(name) in (0, 3)}
    assert outside == set()
    assert not calls(module, "import_module", "__import__"), "an import that cannot be read"


def test_the_package_opens_doors_only_when_asked():
    assert {room(name) for name in imports("fastmlp", with_lazy=False) if is_ours(name)} <= {1, 2}
    assert all(f"fastmlp.{module}" in MODULES for module in fm._LAZY.values())


@pytest.mark.parametrize("module", MODULES)
def test_other_packages_come_in_by_their_own_doors(module):
    standard = sys.stdlib_module_names
    for name in imports(module):
        top = name.split(".")[0]
        if is_ours(name) or top in standard or top == "numpy":
            continue
        assert top in DOORS, f"{module} imports {top}, which has no door"
        doors = (DOORS[top],) if isinstance(DOORS[top], str) else DOORS[top]
        assert any(module == door or module.startswith(f"{door}.") for door in doors)


# ---- importing the package


def run(code, *flags):
    done = subprocess.run(
        [sys.executable, "-P", *flags, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done


def test_importing_loads_numpy_and_nothing_else():
    done = run("""
import json, sys
import numpy
before = set(sys.modules)
import fastmlp
print(json.dumps(sorted(set(sys.modules) - before)))
""")
    loaded = json.loads(done.stdout)
    assert "fastmlp.network" in loaded
    strange = {
        name
        for name in loaded
        if name.split(".")[0] not in {"fastmlp", "numpy", *sys.stdlib_module_names}
        # What Cython makes for the types that its modules share.
        and not name.startswith(("_cython_", "cython_runtime"))
    }
    assert strange == set()
    assert not {f"fastmlp.{name}" for name in (*ROOM_3, "serialization")} & set(loaded)


def test_predicting_imports_nothing_of_numpy_s():
    """NumPy imports some of its modules when they are first asked for, which takes its time."""
    done = run("""
import sys
import numpy, fastmlp
x = numpy.zeros((3, 2), numpy.float32)
mlp = fastmlp.MLP([2, 1], init="zeros")
before = set(sys.modules)
mlp.predict(x)
mlp.freeze()(x)
print(sorted(name for name in set(sys.modules) - before if name.startswith("numpy")))
""")
    assert done.stdout.strip() == "[]"


def test_importing_is_silent():
    done = run("import fastmlp", "-W", "error")
    assert done.stdout == done.stderr == ""


def test_importing_everything_by_name_needs_no_optional_package():
    """``from fastmlp import *`` works where nothing but NumPy and safetensors is installed."""
    run("""
import sys
sys.modules.update(dict.fromkeys(["tqdm", "tqdm.auto", "matplotlib", "scipy", "sklearn"]))
from fastmlp import *
MLP, Trainer
""")


@pytest.mark.parametrize(
    ("modules", "name", "said", "extra"),
    [
        (["tqdm", "tqdm.auto"], "ProgressBar", "ProgressBar needs tqdm", "progress"),
        (["matplotlib"], "plots", "plots needs matplotlib", "plots"),
        (["scipy.optimize"], "fit_lbfgs", "fit_lbfgs needs SciPy", "lbfgs"),
        (["sklearn"], "MLPClassifier", "fastmlp.sklearn needs scikit-learn", "sklearn"),
    ],
)
def test_a_missing_optional_package_is_named_with_what_to_install(modules, name, said, extra):
    done = run(f"""
import sys
sys.modules.update(dict.fromkeys({modules}))
import fastmlp
try:
    fastmlp.{name}
except ImportError as error:
    print(error)
""")
    assert said in done.stdout
    assert f"pip install 'fastmlp[{extra}]'" in done.stdout
    assert done.stdout.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted as Linux lists them")
def test_importing_starts_no_thread():
    """The pool starts when it is first used: it would not survive a fork, and costs a moment."""
    done = run("""
import os
import numpy
before = len(os.listdir("/proc/self/task"))
import fastmlp
assert len(os.listdir("/proc/self/task")) == before
mlp = fastmlp.MLP([100, 400, 3], seed=0)
mlp.predict(numpy.zeros((2000, 100)), n_threads=2)
print(len(os.listdir("/proc/self/task")) - before)
""")
    assert done.stdout.strip() == "1"


def test_importing_needs_no_home(tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", "import fastmlp"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(tmp_path / "missing")},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "missing").exists()


def test_what_not_every_program_needs_is_imported_when_it_is_used():
    """A program that only predicts starts in half the time."""
    script = (
        "import sys, fastmlp as fm\n"
        "late = ['training', 'fitting', 'optimizers', 'schedules', 'doctor', 'serialization']\n"
        "fm.MLP([2, 1]).predict([[1, 2]])\n"
        "print([name for name in late if f'fastmlp.{name}' in sys.modules])\n"
        "fm.Trainer(fm.MLP([2, 1]), optimizer=fm.SGD(), schedule=fm.Cosine())\n"
        "print(all(hasattr(fm, name) for name in fm.__all__))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", script], capture_output=True, text=True
    )
    assert done.stdout == "[]\nTrue\n", done.stderr
