"""``peak.c``, compiled for the build in use: what this core can do at most."""

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from fastmlp import kernels
from fastmlp.kernels.variants import VARIANTS


class Peak:
    """The programs of ``peak.c``. Each call returns how much it has done; the caller times it.

    Parameters
    ----------
    dtype : numpy.dtype
        Element type.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        variant = next(v for v in VARIANTS if v.name == kernels.VARIANT)
        lanes = variant.vector_bytes // dtype.itemsize
        chains = variant.tile_rows * variant.tile_vectors
        real = "float" if dtype == np.float32 else "double"
        defines = [f"-DREAL={real}", f"-DBYTES={variant.vector_bytes}", f"-DCHAINS={chains}"]
        source = Path(__file__).with_name("peak.c")
        compiler = [os.environ.get("CC", "cc"), "-O3", "-ffp-contract=fast", "-shared", "-fPIC"]
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder, "peak.so")
            subprocess.run(
                [*compiler, *variant.flags, *defines, str(source), "-o", str(library)], check=True
            )
            self._library = ctypes.CDLL(str(library))
        for function in (
            self._library.peak,
            self._library.read_memory,
            self._library.update_memory,
        ):
            function.restype = ctypes.c_double
        self._seeds = np.linspace(0.5, 1.5, 2 + chains * lanes).astype(dtype)
        self._seeds[:2] = 0.999, 0.001
        self._out = np.zeros(lanes, dtype)

    def operations(self, steps: int) -> float:
        """Multiply and add in registers; returns the operations done."""
        done: float = self._library.peak(ctypes.c_long(steps), self._pointer(self._seeds))
        return done

    def read(self, x: np.ndarray, times: int) -> float:
        """Read an array from its beginning to its end; returns the bytes read."""
        sizes = ctypes.c_long(x.size), ctypes.c_long(times)
        done: float = self._library.read_memory(*sizes, self._pointer(x), self._pointer(self._out))
        return done

    def update(self, p: np.ndarray, g: np.ndarray, times: int) -> float:
        """Subtract a little of ``g`` from ``p``; returns the bytes read and written."""
        sizes = ctypes.c_long(p.size), ctypes.c_long(times)
        rate = ctypes.c_float(1e-9) if self.dtype == np.float32 else ctypes.c_double(1e-9)
        done: float = self._library.update_memory(*sizes, rate, self._pointer(p), self._pointer(g))
        return done

    @staticmethod
    def _pointer(array: np.ndarray) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)
