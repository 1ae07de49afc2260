"""The extension modules. Everything else about the package is in pyproject.toml.

One ``kernels.pyx`` becomes one module per row of ``fastmlp/kernels/variants.py`` and element type.
Cython keeps build settings per source file, so they are set after ``cythonize``, and every module
gets its C file in a folder of its own.
"""

import os
import platform
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = "fastmlp/kernels"
TABLE = runpy.run_path(f"{KERNELS}/variants.py")

# Explicit: nothing that changes results from one build to the next except fused multiply-add, and
# nothing that changes the floating-point state of the process (as -ffast-math does). What is
# inlined is what the source says: gcc's own choice made the loop of tiny networks a tenth slower.
FLAGS = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
FLAGS += ["-fno-inline-functions"]

if os.environ.get("FASTMLP_SANITIZE"):
    # -O1, as the sanitizer's manual advises: at -O3 gcc takes far too long.
    FLAGS += ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


class BuildExt(build_ext):
    """Builds what the compiler can, and says what it cannot."""

    def build_extensions(self):
        """Leave out the builds whose flags this compiler or processor does not know."""
        x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
        kept = []
        for extension in self.extensions:
            flags = getattr(extension, "variant_flags", [])
            if not flags or (x86 and self.compiles(flags)):
                kept.append(extension)
            else:
                print(
                    f"fastmlp: {extension.name} is left out: this compiler does not take "
                    f"{' '.join(flags)}. The other builds do the same work, more slowly.",
                    file=sys.stderr,
                )
        self.extensions = kept
        super().build_extensions()

    def compiles(self, flags):
        """Whether the compiler takes ``flags``."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "empty.c")
            source.write_text("int nothing;\n")
            command = [*self.compiler.compiler_so, *flags, "-Werror", "-c", str(source)]
            command += ["-o", str(Path(folder, "empty.o"))]
            return subprocess.run(command, capture_output=True).returncode == 0


def extensions():
    """One extension per build, with its C source generated in a folder of its own."""
    directives = {"freethreading_compatible": False}
    cpu = Extension("fastmlp.kernels.cpu", [f"{KERNELS}/cpu.pyx"])
    cpu.extra_compile_args = ["-O2", "-g0"]
    result = cythonize(
        [cpu],
        build_dir="build/cython/cpu",
        compiler_directives=directives,
    )
    for variant in TABLE["VARIANTS"]:
        for dtype in TABLE["DTYPES"]:
            name = TABLE["module_name"](variant.name, dtype)
            (extension,) = cythonize(
                [Extension(f"fastmlp.kernels.{name}", [f"{KERNELS}/kernels.pyx"])],
                build_dir=f"build/cython/{name}",
                compiler_directives=directives,
            )
            extension.extra_compile_args = [*FLAGS, *variant.flags]
            extension.define_macros = [
                # Inline means inline: clang otherwise leaves the register tile a function with a
                # variable width, and its accumulators in memory (ten times slower).
                ("CYTHON_INLINE", "inline __attribute__((__always_inline__))"),
                ("FASTMLP_VARIANT", f'"{variant.name}"'),
                ("FASTMLP_VECTOR_BYTES", str(variant.vector_bytes)),
                ("FASTMLP_TILE_ROWS", str(variant.tile_rows)),
                ("FASTMLP_TILE_VECTORS", str(variant.tile_vectors)),
                ("FASTMLP_WIDEST_IN_PLACE", str(variant.widest_in_place)),
                ("FASTMLP_NARROWEST_TO_PACK", str(variant.narrowest_to_pack)),
            ]
            if dtype == "f64":
                extension.define_macros.append(("FASTMLP_DOUBLE", "1"))
            extension.variant_flags = variant.flags
            result.append(extension)
    for extension in result:
        extension.extra_link_args = ["-Wl,-s"] if sys.platform.startswith("linux") else []
        if os.environ.get("FASTMLP_SANITIZE"):
            extension.extra_link_args.append("-fsanitize=address,undefined")
    return result


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExt},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
