# cython: language_level=3, autotestdict=False
"""What this CPU can do. Compiled with baseline flags only, so that it can be asked anywhere."""

cdef extern from *:
    """
    #if defined(__x86_64__) || defined(__i386__)
    #define fastmlp_supports(name) __builtin_cpu_supports(name)
    #else
    #define fastmlp_supports(name) 0
    #endif
    """
    # A macro, because the compilers take a string literal only.
    int supports_avx2 "fastmlp_supports(\"avx2\")"
    int supports_fma "fastmlp_supports(\"fma\")"
    int supports_bmi "fastmlp_supports(\"bmi\")"
    int supports_bmi2 "fastmlp_supports(\"bmi2\")"
    int supports_avx512f "fastmlp_supports(\"avx512f\")"
    int supports_avx512cd "fastmlp_supports(\"avx512cd\")"
    int supports_avx512bw "fastmlp_supports(\"avx512bw\")"
    int supports_avx512dq "fastmlp_supports(\"avx512dq\")"
    int supports_avx512vl "fastmlp_supports(\"avx512vl\")"


def features():
    """The instruction sets of ``variants.py`` that this CPU and its operating system support."""
    known = {
        "avx2": supports_avx2,
        "fma": supports_fma,
        "bmi": supports_bmi,
        "bmi2": supports_bmi2,
        "avx512f": supports_avx512f,
        "avx512cd": supports_avx512cd,
        "avx512bw": supports_avx512bw,
        "avx512dq": supports_avx512dq,
        "avx512vl": supports_avx512vl,
    }
    return frozenset(name for name, supported in known.items() if supported)
