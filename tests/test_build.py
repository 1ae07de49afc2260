"""What was built: the right instructions in each module, the best one in use, a small package."""

import importlib.metadata
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fastmlp as fm
from bench import check
from fastmlp import kernels
from fastmlp.kernels.variants import DTYPES, VARIANTS, module_name

BUILDS = [(variant, dtype) for variant in VARIANTS for dtype in DTYPES]
X86 = "avx2" in kernels.CPU_FEATURES or "avx512" in kernels.usable_variants()

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the built modules are inspected as ELF files of Linux"
)


def file_of(variant, dtype):
    """The module's file; every variant is built on x86, whether or not this CPU can run it."""
    spec = importlib.util.find_spec(f"fastmlp.kernels.{module_name(variant.name, dtype)}")
    assert spec is not None, f"the {variant.name} build is missing from this installation"
    return spec.origin


def disassembly(variant, dtype):
    assert shutil.which("objdump"), "objdump is needed: it comes with the C compiler (binutils)"
    command = ["objdump", "-d", "--no-show-raw-insn", file_of(variant, dtype)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not X86, reason="this CPU is not an x86: there is one build, with no flags")
@pytest.mark.parametrize(
    ("variant", "dtype"), BUILDS, ids=lambda value: getattr(value, "name", value)
)
def test_no_wider_registers_than_the_variant_may_use(variant, dtype):
    text = disassembly(variant, dtype)
    assert ("%zmm" in text) == (variant.name == "avx512")
    assert ("%ymm" in text) == (variant.name != "base")


@pytest.mark.skipif(not X86, reason="this CPU is not an x86: there is one build, with no flags")
@pytest.mark.parametrize(
    ("variant", "dtype"), BUILDS, ids=lambda value: getattr(value, "name", value)
)
def test_every_register_tile_is_one_loop_of_full_width(variant, dtype):
    # gcc falls off the fast path silently: `make bench-check` looks at the other inner loops too.
    tiles = [row for row in check.check(variant, dtype) if row.loop.startswith("tile")]
    assert len(tiles) == variant.tile_rows
    assert [row.fault for row in tiles if row.fault] == []


def test_cpu_module_needs_no_special_instruction():
    spec = importlib.util.find_spec("fastmlp.kernels.cpu")
    command = ["objdump", "-d", "--no-show-raw-insn", spec.origin]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "%ymm" not in text
    assert "%zmm" not in text


def test_the_best_usable_build_is_in_use():
    able = [v.name for v in VARIANTS if kernels.CPU_FEATURES.issuperset(v.features)]
    assert kernels.usable_variants() == able
    assert (os.environ.get("FASTMLP_VARIANT") or able[0]) == kernels.VARIANT
    if sys.platform == "linux" and X86:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        said = set(flags.group(1).split())
        expected = [v.name for v in VARIANTS if said.issuperset({*v.features} - {"bmi"})]
        assert able == expected


def run(code, **environment):
    command = [sys.executable, "-P", "-W", "error", "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


def test_a_variant_can_be_forced():
    for name in kernels.usable_variants():
        done = run("import fastmlp.kernels as k; print(k.VARIANT)", FASTMLP_VARIANT=name)
        assert done.stdout.strip() == name, done.stderr


@pytest.mark.parametrize("name", ["avx1024", "Base"])
def test_an_impossible_variant_is_refused_with_the_possible_ones(name):
    done = run("import fastmlp", FASTMLP_VARIANT=name)
    assert done.returncode != 0
    assert f"FASTMLP_VARIANT: '{name}' cannot be used here" in done.stderr
    assert ", ".join(kernels.usable_variants()) in done.stderr


def test_a_build_for_another_cpu_is_refused():
    unable = [v.name for v in VARIANTS if v.name not in kernels.usable_variants()]
    if not unable:
        pytest.skip("this CPU can run every build")
    done = run("import fastmlp", FASTMLP_VARIANT=unable[0])
    assert done.returncode != 0
    assert "cannot be used here" in done.stderr


def test_the_package_is_small_and_whole():
    folder = Path(fm.__file__).parent
    files = [path for path in folder.rglob("*") if path.suffix not in (".pyc", ".c")]
    assert folder / "py.typed" in files
    assert folder / "kernels" / "__init__.pyi" in files
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in files:
            wheel.write(path, path.relative_to(folder))
    assert len(packed.getvalue()) <= 3 * 2**20


def test_modules_are_stripped():
    for variant, dtype in BUILDS if X86 else [(VARIANTS[-1], "f32")]:
        headers = subprocess.run(
            ["objdump", "-h", file_of(variant, dtype)], capture_output=True, text=True, check=True
        ).stdout
        assert ".debug" not in headers
        assert ".symtab" not in headers


def test_no_flag_changes_the_floating_point_state_of_the_process():
    # -ffast-math links code that sets flush-to-zero: 2**-1074 would then be 0.
    done = run("import fastmlp, numpy; print(numpy.float64(2**-1073) / 2 > 0)")
    assert done.stdout.strip() == "True", done.stderr


def test_show_config_tells_what_is_in_use(capsys):
    told = fm.show_config(mode="dict")
    assert told["variant"] == kernels.VARIANT
    assert told["threads"] == fm.get_num_threads()
    assert told["fastmlp"] == importlib.metadata.version("fastmlp")
    assert fm.show_config() is None
    assert f"variant:          {kernels.VARIANT}" in capsys.readouterr().out
