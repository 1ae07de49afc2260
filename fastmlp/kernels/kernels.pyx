# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, embedsignature=True, autotestdict=False
"""The compiled room: everything that touches a number while a network learns.

One source, built once per instruction set and element type (``variants.py``). ``real`` is the
element type, ``vec`` one vector register full of it. ``__init__.pyi`` is the manual.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    #ifdef FASTMLP_DOUBLE
    typedef double real;
    typedef int64_t integer;
    enum { MANTISSA_BITS = 52, EXPONENT_BIAS = 1023 };
    #define FASTMLP_DTYPE "float64"
    #else
    typedef float real;
    typedef int32_t integer;
    enum { MANTISSA_BITS = 23, EXPONENT_BIAS = 127 };
    #define FASTMLP_DTYPE "float32"
    #endif

    typedef real vec __attribute__((vector_size(FASTMLP_VECTOR_BYTES)));
    typedef real vec_in_memory
        __attribute__((vector_size(FASTMLP_VECTOR_BYTES), aligned(sizeof(real)), may_alias));
    typedef integer bit_vec __attribute__((vector_size(FASTMLP_VECTOR_BYTES)));
    typedef integer bit_vec_in_memory
        __attribute__((vector_size(FASTMLP_VECTOR_BYTES), aligned(sizeof(real)), may_alias));

    enum {
        VW = FASTMLP_VECTOR_BYTES / sizeof(real),
        MR = FASTMLP_TILE_ROWS,
        NV = FASTMLP_TILE_VECTORS,
        NR = NV * VW,
        // 1024 inputs and the bias are one block, 512 in float64.
        K_BLOCK = 4096 / sizeof(real) + 8,
        WIDEST_IN_PLACE = FASTMLP_WIDEST_IN_PLACE,
        NARROWEST_TO_PACK = FASTMLP_NARROWEST_TO_PACK
    };
    static const vec ZEROS;

    // Assigning to it rounds: the compiler may not fuse a multiplication before with what follows.
    typedef volatile double rounded;

    static inline void prefetch(const void *p) { __builtin_prefetch(p); }
    static inline integer bits_of(real x) { integer i; memcpy(&i, &x, sizeof i); return i; }
    static inline real real_of(integer i) { real x; memcpy(&x, &i, sizeof x); return x; }
    static inline int64_t int64_at(const real *p) { int64_t i; memcpy(&i, p, sizeof i); return i; }
    static inline float float_of_bits(uint32_t i) { float x; memcpy(&x, &i, sizeof x); return x; }
    """
    ctypedef float real            # an element: float32 or float64
    ctypedef real vec              # VW elements in a register
    ctypedef real vec_in_memory    # the same, at any address of an element
    ctypedef int32_t integer       # a signed integer as wide as an element
    ctypedef integer bit_vec       # VW of them: the bits of a vec
    ctypedef integer bit_vec_in_memory
    ctypedef double rounded        # never part of a fused multiply-add
    void prefetch(const void* p) noexcept nogil
    integer bits_of(real x) noexcept nogil
    real real_of(integer i) noexcept nogil
    int64_t int64_at(const real* p) noexcept nogil    # the bits of 8 bytes
    float float_of_bits(uint32_t i) noexcept nogil
    const char* _VARIANT "FASTMLP_VARIANT"
    const char* _DTYPE "FASTMLP_DTYPE"
    enum:
        MANTISSA_BITS
        EXPONENT_BIAS
        VW    # elements in a vector
        MR    # rows of a register tile
        NV    # vectors across a register tile
        NR    # columns of a register tile
        K_BLOCK    # how much of a sum a tile makes at a time
        WIDEST_IN_PLACE      # columns up to which a right-hand side is read where it lies
        NARROWEST_TO_PACK    # outputs from which on x is copied for dw
    const vec ZEROS

VARIANT = _VARIANT.decode()
DTYPE = _DTYPE.decode()
TILE = (MR, NR, VW)

include "random.pxi"
include "parallel.pxi"
include "gather.pxi"
include "sums.pxi"
include "activations.pxi"
include "losses.pxi"
include "optimizers.pxi"
include "dropout.pxi"
include "dense.pxi"
include "zeros.pxi"
include "normalization.pxi"
include "status.pxi"
include "layers.pxi"
include "step.pxi"
include "scoring.pxi"
include "levenberg.pxi"
include "plan.pxi"
