"""The compiled room: picks the build of ``kernels.pyx`` that suits this CPU.

One source becomes several modules, one per instruction set and element type::

    kernels.pyx + *.pxi ──┬── _avx512_f32, _avx512_f64
                          ├── _avx2_f32,   _avx2_f64       flags and run-time check of each:
                          └── _base_f32,   _base_f64       one row of variants.py

``cpu`` says what this CPU can do; the first row of the table it can run, and that was built, is
the one in use, before anything of it is loaded. The environment variable ``FASTMLP_VARIANT`` forces
a row and is refused where it cannot run. ``VARIANT`` names the build in use, ``float32`` and
``float64`` are its two modules, and ``of(dtype)`` gives the one for an element type. What they hold
is described in ``__init__.pyi``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os

import numpy as np

from . import cpu
from .variants import VARIANTS, Variant, module_name

__all__ = ["CPU_FEATURES", "VARIANT", "float32", "float64", "of", "usable_variants", "zeros"]

_CACHE_LINE = 64

CPU_FEATURES = cpu.features()


def _is_built(variant: Variant) -> bool:
    return importlib.util.find_spec(f"{__name__}.{module_name(variant.name, 'f32')}") is not None


def usable_variants() -> list[str]:
    """The builds that are installed and that this CPU can run, best first."""
    return [v.name for v in VARIANTS if CPU_FEATURES.issuperset(v.features) and _is_built(v)]


def _choose() -> str:
    usable = usable_variants()
    wanted = os.environ.get("FASTMLP_VARIANT")
    if not wanted:
        return usable[0]
    if wanted not in usable:
        raise ImportError(
            f"FASTMLP_VARIANT: {wanted!r} cannot be used here; on this machine and in this "
            f"installation the builds are {', '.join(usable)}: set one of them, or unset it"
        )
    return wanted


VARIANT = _choose()

float32 = importlib.import_module(f".{module_name(VARIANT, 'f32')}", __name__)
float64 = importlib.import_module(f".{module_name(VARIANT, 'f64')}", __name__)

# A forked child has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=float32.forget_workers)
    os.register_at_fork(after_in_child=float64.forget_workers)


def of(dtype: np.dtype):
    """The module for an element type, ``float32`` or ``float64``."""
    return float32 if dtype == np.float32 else float64


def zeros(n: int, dtype: np.dtype):
    """Memory for ``n`` elements that starts where a cache line does.

    NumPy's starts 16 bytes behind one, and most vectors of 64 bytes then lie in two lines.
    """
    memory = np.zeros(n + _CACHE_LINE // dtype.itemsize, dtype)
    first = -memory.ctypes.data % _CACHE_LINE // dtype.itemsize
    return memory[first : first + n]
