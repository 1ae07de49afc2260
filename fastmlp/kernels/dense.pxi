# Matrix products: the three of a dense layer, all made of one register tile.
#
#     forward   z  = x  w + b     (n, n_out)      sums over n_in
#     backward  dx = dz wT        (n, n_in)       sums over n_out
#               dw = xT dz        (n_in, n_out)   sums over the chunk's rows
#               db = sum of dz    (n_out,)        sums over the chunk's rows
#
# The tile: C[i, j] += sum over k of A[i, k] B[k, j], MR rows by nv <= NV vectors of VW columns.
#
#                 B   k ->  one row of nv vectors, loaded
#                     +------+------+
#                     |  b0  |  b1  |
#                     +------+------+
#     A  one element  +------+------+
#        of each      | acc0 | acc1 |   i = 0     every acc a register for the whole sum,
#        row, sent    | acc2 | acc3 |   i = 1     every A element sent to a whole vector
#        to a whole   |  :   |  :   |    :
#        vector       | acc. | acc. |   i = MR-1
#                     +------+------+
#
# `acc` is an array of the vector *type*, indexed by constants once the compiler has unrolled the
# loops, so it lives in registers with gcc and clang alike; loops over single elements depend on
# the vectoriser, which gives up on some shapes (6x16 for AVX2 ran 15 times slower). MR * NV
# accumulators, NV vectors of B and one of A must fit: 8 * 3 + 3 + 1 of 32 registers for AVX-512,
# 6 * 2 + 2 + 1 of 16 for AVX2 and the baseline.
#
# Edges. Rows: the tile reads its last valid row again in place of the missing ones and its result
# goes through a small buffer; so there is one inner loop, and a row's bits do not depend on its
# neighbours. Columns: B is padded with zeros to whole vectors wherever its rows are not, and so
# are all matrices of our own; only a gradient, which lies in the flat vector without padding, is
# written through the buffer. Every element is one sum in the order of k, whatever the tile.
#
# K_BLOCK cuts the sum so that the NR columns of B in use (32 KB) stay in the first-level cache
# while all rows of A pass by.

cdef enum:
    # Rows of A that one task takes: a whole number of tiles, few enough to stay in the cache.
    ROW_BLOCK = 8 * MR
    # Wider right-hand sides are copied into panels: their rows lie so far apart that every other
    # one is another page to look up, and they fight for the same cache sets. On a busy Zen 3 the
    # copy took 128x512x512 from 46-54 to 61-78 GFLOP/s, a 1024-wide dw from 6.1-6.8 to 4.1-4.8 ms.
    WIDEST_IN_PLACE = 128
    # Fewer rows than these do not repay the copy.
    FEWEST_ROWS_TO_PACK = 32
    # Multiplications and additions, or elements, below which waking a thread costs more.
    LEAST_PARALLEL_WORK = 250000
    LEAST_PARALLEL_COPY = 65536

cdef enum TileMode:
    FROM_ZERO         # C = A B
    FROM_C            # C += A B, the sum going on from C: a later block of k
    ADD_TO_C          # C = C + (A B), the sum made apart and then added: a later chunk of rows


cdef inline void tile_of(const int nv, TileMode mode, Py_ssize_t k, const real** a,
                         Py_ssize_t a_step, const real* b, Py_ssize_t ld_b,
                         real* c, Py_ssize_t ld_c) noexcept nogil:
    """MR rows by nv vectors. ``a[i]`` starts row i, whose elements lie ``a_step`` apart."""
    cdef vec acc[MR * NV]
    cdef vec b_row[NV]
    cdef Py_ssize_t step, at = 0
    cdef int i, j
    for i in range(MR):
        for j in range(nv):
            acc[i * NV + j] = ZEROS
    if mode == FROM_C:
        for i in range(MR):
            for j in range(nv):
                acc[i * NV + j] = (<vec_in_memory*> (c + i * ld_c + j * VW))[0]
    for step in range(k):
        for j in range(nv):
            b_row[j] = (<const vec_in_memory*> (b + j * VW))[0]
        for i in range(MR):
            for j in range(nv):
                acc[i * NV + j] += b_row[j] * a[i][at]
        b += ld_b
        at += a_step
    if mode == ADD_TO_C:
        for i in range(MR):
            for j in range(nv):
                acc[i * NV + j] += (<vec_in_memory*> (c + i * ld_c + j * VW))[0]
    for i in range(MR):
        for j in range(nv):
            (<vec_in_memory*> (c + i * ld_c + j * VW))[0] = acc[i * NV + j]


cdef void tile(int nv, TileMode mode, Py_ssize_t k, const real** a, Py_ssize_t a_step,
               const real* b, Py_ssize_t ld_b, real* c, Py_ssize_t ld_c) noexcept nogil:
    """``tile_of`` for each constant width, so that each has its own unrolled loop."""
    if nv == 1:
        tile_of(1, mode, k, a, a_step, b, ld_b, c, ld_c)
    elif nv == 2:
        tile_of(2, mode, k, a, a_step, b, ld_b, c, ld_c)
    else:
        tile_of(NV, mode, k, a, a_step, b, ld_b, c, ld_c)


cdef struct Product:
    # C (m, n) = A (m, k) B (k, n), with what happens to a tile of C while it is in cache.
    Py_ssize_t m, n, k
    const real* a
    Py_ssize_t a_row, a_step        # from a row of A to the next, and from an element to the next
    const real* b                   # read in place, rows ld_b apart; NULL: all in panels
    Py_ssize_t ld_b
    const real* panels              # k rows of at most NR columns after one another, zero-padded:
                                    # at least the last panel where b's rows are not padded
    real* c
    Py_ssize_t ld_c
    bint c_is_padded                # whole vectors may be written to every row of C
    bint add                        # C += instead of C =
    const real* bias                # forward: (n,) padded to whole vectors, or NULL
    real* z                         # forward: z is kept here too, laid out like C, or NULL
    forward_function forward        # forward: applied to the tile, or NULL
    backward_function backward      # backward: C *= f'(reads), or NULL
    const real* reads               # backward: a or z of the layer below, laid out like C


cdef inline Py_ssize_t whole_vectors(Py_ssize_t n) noexcept nogil:
    """``n`` columns rounded up to whole vectors."""
    return (n + VW - 1) // VW * VW


cdef void finish_tile(const Product* p, Py_ssize_t i, Py_ssize_t j, Py_ssize_t rows,
                      Py_ssize_t cols) noexcept nogil:
    """Bias and activation, or the activation's derivative, on a finished tile of C."""
    cdef real* c = p.c + i * p.ld_c + j
    cdef real* z
    cdef Py_ssize_t row, col
    if p.bias != NULL:
        for row in range(rows):
            for col in range(cols):
                c[row * p.ld_c + col] += p.bias[j + col]
    if p.z != NULL:
        z = p.z + i * p.ld_c + j
        for row in range(rows):
            memcpy(z + row * p.ld_c, c + row * p.ld_c, cols * sizeof(real))
    if p.forward != NULL:
        p.forward(c, rows, cols, p.ld_c)
    if p.backward != NULL:
        p.backward(p.reads + i * p.ld_c + j, c, rows, cols, p.ld_c)


cdef void product_block(const Product* p, Py_ssize_t first_row, Py_ssize_t last_row,
                        Py_ssize_t panel) noexcept nogil:
    """Rows first_row … last_row-1 of one panel of NR columns of C."""
    cdef Py_ssize_t j = panel * NR
    cdef Py_ssize_t cols = min(p.n - j, <Py_ssize_t> NR)
    cdef Py_ssize_t padded = whole_vectors(cols)
    cdef int nv = <int> (padded // VW)
    cdef bint through_buffer
    cdef Py_ssize_t width = padded if p.c_is_padded else cols
    cdef Py_ssize_t i, k, k_end, rows, row, ld_b
    cdef const real* b
    cdef const real* a[MR]
    cdef real buffer[MR * NR]
    cdef TileMode mode
    if p.b != NULL and (cols == padded or p.panels == NULL):
        b = p.b + j
        ld_b = p.ld_b
    else:
        b = p.panels + panel * p.k * NR
        ld_b = padded
    k = 0
    while True:
        # A share that is added to C is summed apart, so it is not cut: a chunk has few rows.
        k_end = p.k if p.add else min(k + K_BLOCK, p.k)
        mode = FROM_C if k > 0 else ADD_TO_C if p.add else FROM_ZERO
        i = first_row
        while i < last_row:
            rows = min(last_row - i, <Py_ssize_t> MR)
            for row in range(MR):
                a[row] = p.a + (i + min(row, rows - 1)) * p.a_row + k * p.a_step
            through_buffer = rows < MR or (cols < padded and not p.c_is_padded)
            if through_buffer:
                if mode != FROM_ZERO:
                    for row in range(rows):
                        memcpy(buffer + row * NR, p.c + (i + row) * p.ld_c + j,
                               width * sizeof(real))
                tile(nv, mode, k_end - k, a, p.a_step, b + k * ld_b, ld_b, buffer, NR)
                for row in range(rows):
                    memcpy(p.c + (i + row) * p.ld_c + j, buffer + row * NR, width * sizeof(real))
            else:
                tile(nv, mode, k_end - k, a, p.a_step, b + k * ld_b, ld_b,
                     p.c + i * p.ld_c + j, p.ld_c)
            if k_end == p.k and p.c_is_padded:
                finish_tile(p, i, j, rows, padded)
            i += MR
        k = k_end
        if k >= p.k:
            break


cdef void product_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const Product* p = <const Product*> context
    cdef Py_ssize_t row_blocks = (p.m + ROW_BLOCK - 1) // ROW_BLOCK
    cdef Py_ssize_t first = task % row_blocks * ROW_BLOCK
    product_block(p, first, min(first + ROW_BLOCK, p.m), task // row_blocks)


cdef void multiply(Product* p, int n_threads) noexcept nogil:
    """Carry out a product; tasks are tiles of C, so threads never meet."""
    cdef Py_ssize_t panels = (p.n + NR - 1) // NR
    if p.m * p.n * p.k < LEAST_PARALLEL_WORK:
        n_threads = 1
    parallel_for(n_threads, panels * ((p.m + ROW_BLOCK - 1) // ROW_BLOCK), product_task, p)


# ---- right-hand sides in panels

cdef void pack_panels(const real* w, Py_ssize_t n_in, Py_ssize_t n_out, Py_ssize_t ld,
                      bint only_last, real* panels) noexcept nogil:
    """A matrix (n_in, n_out), rows ``ld`` apart, into panels of NR columns.

    ``only_last``: just the last panel, where it is not whole vectors wide; the others are read
    in place.
    """
    cdef Py_ssize_t j, row, cols, padded
    cdef real* to
    cdef const real* source
    j = (n_out - 1) // NR * NR if only_last else 0
    if only_last and n_out % VW == 0:
        return
    while j < n_out:
        cols = min(n_out - j, <Py_ssize_t> NR)
        padded = whole_vectors(cols)
        to = panels + j * n_in
        source = w + j
        for row in range(n_in):
            memcpy(to, source, cols * sizeof(real))
            if padded > cols:
                memset(to + cols, 0, (padded - cols) * sizeof(real))
            to += padded
            source += ld
        j += NR


cdef struct Transposition:
    const real* w
    Py_ssize_t n_in, n_out
    real* panels


cdef void transpose_task(void* context, Py_ssize_t panel, int thread) noexcept nogil:
    """One panel of wT: row j holds w[i, j] for the NR rows i of the panel."""
    cdef const Transposition* t = <const Transposition*> context
    cdef Py_ssize_t first = panel * NR
    cdef Py_ssize_t cols = min(t.n_in - first, <Py_ssize_t> NR)
    cdef Py_ssize_t padded = whole_vectors(cols)
    cdef real* to = t.panels + first * t.n_out
    cdef const real* w = t.w + first * t.n_out
    cdef Py_ssize_t i, j, i_block, j_block, j_end
    # Blocks of VW by VW: the lines read and the lines written stay in the first-level cache.
    j_block = 0
    while j_block < t.n_out:
        j_end = min(j_block + VW, t.n_out)
        i_block = 0
        while i_block < padded:
            if i_block + VW <= cols and j_block + VW <= t.n_out:
                for j in range(VW):
                    for i in range(VW):
                        to[(j_block + j) * padded + i_block + i] = \
                            w[(i_block + i) * t.n_out + j_block + j]
            else:
                for j in range(j_block, j_end):
                    for i in range(i_block, i_block + VW):
                        to[j * padded + i] = w[i * t.n_out + j] if i < cols else 0
            i_block += VW
        j_block += VW


cdef void pack_transposed(const real* w, Py_ssize_t n_in, Py_ssize_t n_out, real* panels,
                          int n_threads) noexcept nogil:
    """wT (n_out, n_in) into panels of NR columns, for the product dz wT."""
    cdef Transposition t
    t.w, t.n_in, t.n_out, t.panels = w, n_in, n_out, panels
    if n_in * n_out < LEAST_PARALLEL_COPY:
        n_threads = 1
    parallel_for(n_threads, (n_in + NR - 1) // NR, transpose_task, &t)


# ---- bias gradients

cdef void column_sums(const real* dz, Py_ssize_t rows, Py_ssize_t n_out, Py_ssize_t ld,
                      bint add, real* db) noexcept nogil:
    """db = the sums of dz's columns over the rows, in order; ``add``: added to what db holds."""
    cdef Py_ssize_t i, j, cols
    cdef Py_ssize_t block = 0
    cdef real sums[NR]
    while block < n_out:
        cols = min(n_out - block, <Py_ssize_t> NR)
        for j in range(NR):
            sums[j] = 0
        for i in range(rows):
            for j in range(cols):
                sums[j] += dz[i * ld + block + j]
        for j in range(cols):
            db[block + j] = db[block + j] + sums[j] if add else sums[j]
        block += NR
