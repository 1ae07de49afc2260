"""The table of builds: one row per instruction set, read by setup.py and at import.

A row's ``features`` give both the compiler flags of a build (``-m<feature>``) and the check whether
this CPU may run it, so the two cannot drift apart. The first row a CPU can run is the one in use;
the last needs nothing and runs everywhere.
"""

from __future__ import annotations

from typing import NamedTuple


class Variant(NamedTuple):
    """One instruction set that ``kernels.pyx`` is built for.

    ``vector_bytes`` is the width of a vector register. A tile of a matrix product is ``tile_rows``
    rows by ``tile_vectors`` vectors and must fit the registers; ``dense.pxi`` tells how the two
    were chosen.

    Rows of a wide matrix lie so far apart that every other one is another page to look up, and that
    they fight for the same cache sets (128 floats apart, for eight of 64). So right-hand sides of
    more than ``widest_in_place`` columns are copied before a product, and the inputs of a layer
    with at least ``narrowest_to_pack`` outputs before that of its gradient. On a Zen 3 (avx2)
    copying took 784-128-10 5 to 9 % less time and 1024-wide gradients a third; on a Zen 5 (avx512),
    whose first-level cache has half as many ways again, reading in place up to 512 columns took
    784-128-10 4 % less and 784-512-512-10 3 %, and inputs are never worth the copy.
    """

    name: str
    features: tuple[str, ...]
    tuning: tuple[str, ...]
    vector_bytes: int
    tile_rows: int
    tile_vectors: int
    widest_in_place: int
    narrowest_to_pack: int

    @property
    def flags(self) -> list[str]:
        """The compiler flags of this build."""
        return [*(f"-m{feature}" for feature in self.features), *self.tuning]


_AVX2 = ("avx2", "fma", "bmi", "bmi2")
_NEVER = 2**31 - 1
_AVX512 = (*_AVX2, "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl")

VARIANTS = (
    Variant("avx512", _AVX512, ("-mprefer-vector-width=512",), 64, 8, 3, 512, _NEVER),
    Variant("avx2", _AVX2, (), 32, 6, 2, 96, 384),
    Variant("base", (), (), 16, 6, 2, 96, 384),
)

DTYPES = {"f32": "float32", "f64": "float64"}


def module_name(variant: str, dtype: str) -> str:
    """The extension module that holds ``variant`` for ``dtype`` ("f32" or "f64")."""
    return f"_{variant}_{dtype}"
