# Dropout: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014), the inverted form. In
# training an output is zero with probability p, else divided by 1 - p; prediction knows nothing of it.
#
# Which outputs is drawn anew for every update, from the seed, the update's number, the layer and the
# row's place in the minibatch alone. So backward makes the same mask again instead of keeping it,
# and threads, chunks and the way steps are called change nothing. Philox gives each row of a layer
# 64 bits; a column's draw mixes them with its number (the finalizer of Appleby's MurmurHash3), in
# 32-bit arithmetic that every instruction set has in vectors.

cdef struct Dropout:
    uint32_t threshold         # of 2**32: what is drawn below is dropped; 0 for no dropout
    real scale                 # 1 / (1 - p)


cdef Dropout dropout_of(double p) noexcept:
    cdef Dropout dropout
    dropout.threshold = <uint32_t> (p * 4294967296.0)
    dropout.scale = <real> (1 / (1 - p))
    return dropout


cdef void draw_row_keys(uint64_t seed, uint64_t step, int layer, Py_ssize_t first, Py_ssize_t rows,
                        uint64_t* keys) noexcept nogil:
    """The 64 bits of rows first … first+rows-1 of a minibatch, at one layer."""
    cdef uint32_t counter[4]
    cdef Py_ssize_t i
    for i in range(rows):
        counter[0] = <uint32_t> (first + i)
        counter[1] = <uint32_t> step
        counter[2] = <uint32_t> (step >> 32) ^ (<uint32_t> layer << 16)
        counter[3] = STREAM_DROPOUT
        philox(counter, <uint32_t> seed, <uint32_t> (seed >> 32))
        keys[i] = (<uint64_t> counter[1] << 32) | counter[0]


cdef inline uint32_t draw_of_column(uint32_t low, uint32_t high, uint32_t column) noexcept nogil:
    cdef uint32_t h = (low + column * 0x9E3779B9u) ^ high
    h ^= h >> 16
    h *= 0x85EBCA6Bu
    h ^= h >> 13
    h *= 0xC2B2AE35u
    return h ^ (h >> 16)


cdef void drop(const Dropout* dropout, const uint64_t* keys, const real* x, real* out,
               Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld) noexcept nogil:
    """``out`` = x with the mask of some rows; ``out`` may be ``x``."""
    cdef Py_ssize_t i, j
    cdef uint32_t low, high, threshold = dropout.threshold
    cdef real scale = dropout.scale, zero = 0.0
    for i in range(rows):
        low, high = <uint32_t> keys[i], <uint32_t> (keys[i] >> 32)
        for j in range(cols):
            out[j] = zero if draw_of_column(low, high, <uint32_t> j) < threshold else scale * x[j]
        x += ld
        out += ld


cdef enum:
    DROPPED_ROWS = 16          # of one task
    LEAST_PARALLEL_DROP = 65536

cdef struct DropJob:
    const Dropout* dropout
    const uint64_t* keys
    const real* x
    real* out
    Py_ssize_t rows, cols, ld


cdef void drop_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const DropJob* job = <const DropJob*> context
    cdef Py_ssize_t first = task * DROPPED_ROWS
    drop(job.dropout, job.keys + first, job.x + first * job.ld, job.out + first * job.ld,
         min(job.rows - first, <Py_ssize_t> DROPPED_ROWS), job.cols, job.ld)


cdef void drop_rows(const Dropout* dropout, const uint64_t* keys, const real* x, real* out,
                    Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld, int n_threads) noexcept nogil:
    """The same, the rows shared by threads."""
    cdef DropJob job
    job.dropout, job.keys, job.x, job.out = dropout, keys, x, out
    job.rows, job.cols, job.ld = rows, cols, ld
    if rows * cols < LEAST_PARALLEL_DROP:
        n_threads = 1
    parallel_for(n_threads, shares(rows, DROPPED_ROWS), drop_task, &job)


def dropout_mask(uint64_t seed, uint64_t step, int layer, double p, real[:, ::1] out):
    """Write the factors, 0 or 1 / (1 - p), of a layer's outputs at one update: for the tests."""
    cdef Py_ssize_t i
    cdef uint64_t key
    cdef Dropout dropout = dropout_of(p)
    out[:, :] = 1
    for i in range(out.shape[0]):
        draw_row_keys(seed, step, layer, i, 1, &key)
        drop(&dropout, &key, &out[i, 0], &out[i, 0], 1, out.shape[1], out.shape[1])
