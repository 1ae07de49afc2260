# Matrix products: the three of a dense layer, all made of one register tile.
#
#     forward   z  = x  w + b     (n, n_out)      sums over n_in
#     backward  dx = dz wT        (n, n_in)       sums over n_out
#               dw = xT dz        (n_in, n_out)   sums over the chunk's rows
#               db = sum of dz    (n_out,)        sums over the chunk's rows
#
# A bias is the weight of an input that is always 1: x has a column of ones behind its last, b lies
# behind w's last row in params, and db behind dw in grads. So bias and db cost no pass of their own.
# Only the user's own rows, read where they lie, have no such column: b is added last all the same.
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
# Edges. Rows: each number of rows below MR has a tile of its own, so nothing is computed in vain.
# Columns: B is padded with zeros to whole vectors wherever its rows are not, and so are all
# matrices of our own; only a gradient, which lies in the flat vector without padding, is written
# through a small buffer. Every element is one sum in the order of k, whatever the tile: a row's
# bits do not depend on its neighbours.
#
# A product goes block by block through k, and in a block through groups of B's panels (a panel is
# NR columns) and blocks of A's rows:
#
#     for a group of panels       copied together, just before they are used, unless they are read
#       for a block of k          in place or were copied for all chunks of a minibatch at once
#         for a block of rows     A's part: in the second-level cache while the group passes by
#           for a panel           B's part, K_BLOCK x NR: passes through the first-level cache
#                                 for every tile, from the second where it is too long for it
#             for a tile of rows
#
# Where the network's input is mostly 0, a tile goes by a list of the steps k that add something:
# zeros.pxi makes it.
#
# Two ways lead past the tiles, to the same sums: a tiny C is made a few rows at a time (`straight`),
# and a single row of C by reading B along its rows (`one_row_in_place`). A layer with one output has
# its dw as a row, dzT x, or all but one column of every vector would be padding. The dx of a large
# layer is made the other way round, as dxT = w dzT (`multiply_turned`).

cdef enum:
    # Additions that two units with a latency of four cycles have under way.
    SUMS_IN_FLIGHT = 8
    GROUP_PANELS = (128 + NR - 1) // NR
    ROW_BLOCK = 16 * MR
    PANELS_AT_ONCE = (SUMS_IN_FLIGHT + NV - 1) // NV    # of a single row
    # Of B, for a single row of C. Reading along them, instead of panel by panel, predicts one row
    # of 784-512-512-10 in 46 instead of 62 us; 4 at once or fetching ahead made it slower.
    ROWS_AT_ONCE = 8
    # Fewer rows than these do not repay the copy.
    FEWEST_ROWS_TO_PACK = 32
    # Up to so many multiplications of vectors, finding the tiles takes longer than the sums do:
    # without tiles 8-8-1 trains 1.4 times as fast on 4 rows, 1.2 to 1.3 times on 40.
    LARGEST_STRAIGHT = 512
    STRAIGHT_ROWS = 4                        # side by side
    # Multiplications and additions, or elements, below which waking a thread costs more.
    LEAST_PARALLEL_WORK = 250000
    LEAST_PARALLEL_COPY = 65536
    TASKS_PER_THREAD = 2    # where columns alone make too few

cdef enum TileMode:
    FROM_ZERO         # C = A B
    FROM_C            # C += A B, the sum going on from C: a later block of k
    ADD_TO_C          # C = C + (A B), the sum made apart and then added: a later chunk of rows


cdef inline void tile_of(const int mr, const int nv, const bint listed, TileMode mode,
                         Py_ssize_t k, const int32_t* steps, const real* a, Py_ssize_t a_row,
                         Py_ssize_t a_step, const real* b, Py_ssize_t ld_b, const real* bias,
                         real* c, Py_ssize_t ld_c) noexcept nogil:
    """mr rows by nv vectors; A's elements lie ``a_row`` apart down and ``a_step`` along k.

    With ``listed`` only the k steps of a list: see zeros.pxi. ``bias``, or NULL, is a last row of B
    whose elements of A are 1, and not there.
    """
    cdef vec acc[MR * NV]
    cdef vec b_row[NV]
    cdef const real* first_a = a
    cdef const real* first_b = b
    cdef Py_ssize_t step
    cdef int i, j
    for i in range(mr):
        for j in range(nv):
            acc[i * NV + j] = ZEROS
    if mode == FROM_C:
        for i in range(mr):
            for j in range(nv):
                acc[i * NV + j] = (<vec_in_memory*> (c + i * ld_c + j * VW))[0]
    for step in range(k):
        if listed:
            a, b = first_a + steps[step] * a_step, first_b + steps[step] * ld_b
        for j in range(nv):
            b_row[j] = (<const vec_in_memory*> (b + j * VW))[0]
        for i in range(mr):
            for j in range(nv):
                acc[i * NV + j] += b_row[j] * a[i * a_row]
        if not listed:
            b += ld_b
            a += a_step
    if bias != NULL:
        for i in range(mr):
            for j in range(nv):
                acc[i * NV + j] += (<const vec_in_memory*> (bias + j * VW))[0]
    if mode == ADD_TO_C:
        for i in range(mr):
            for j in range(nv):
                acc[i * NV + j] += (<vec_in_memory*> (c + i * ld_c + j * VW))[0]
    for i in range(mr):
        for j in range(nv):
            (<vec_in_memory*> (c + i * ld_c + j * VW))[0] = acc[i * NV + j]


cdef inline void tiles_of(const int mr, const int nv, Py_ssize_t n, TileMode mode, Py_ssize_t k,
                          const real* a, Py_ssize_t a_tile, Py_ssize_t a_row, Py_ssize_t a_step,
                          const real* b, Py_ssize_t ld_b, const real* bias, real* c,
                          Py_ssize_t ld_c) noexcept nogil:
    """``n`` tiles below one another, A's ``a_tile`` apart."""
    cdef Py_ssize_t t
    for t in range(n):
        tile_of(mr, nv, False, mode, k, NULL, a, a_row, a_step, b, ld_b, bias, c, ld_c)
        a += a_tile
        c += mr * ld_c


cdef inline void tiles_of_width(const int mr, int nv, Py_ssize_t n, TileMode mode, Py_ssize_t k,
                                const real* a, Py_ssize_t a_tile, Py_ssize_t a_row,
                                Py_ssize_t a_step, const real* b, Py_ssize_t ld_b,
                                const real* bias, real* c, Py_ssize_t ld_c) noexcept nogil:
    if nv == 1:
        tiles_of(mr, 1, n, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
    elif nv == 2:
        tiles_of(mr, 2, n, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
    else:
        tiles_of(mr, NV, n, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)


cdef void tiles(Py_ssize_t rows, int nv, TileMode mode, Py_ssize_t k, const real* a,
                Py_ssize_t a_tile, Py_ssize_t a_row, Py_ssize_t a_step, const real* b,
                Py_ssize_t ld_b, const real* bias, real* c, Py_ssize_t ld_c) noexcept nogil:
    """``rows`` rows of C: ``tile_of`` for each constant height and width, its loops unrolled."""
    cdef Py_ssize_t n = rows // MR, rest = rows % MR, height = rest
    if 0 < rest * NV < SUMS_IN_FLIGHT and n > 0 and a_tile == MR * a_row:
        # So few sums would wait for one another: the last full tile's rows are shared with them.
        n -= 1
        rest += MR
        height = (rest + 1) // 2
    if n > 0:
        tiles_of_width(MR, nv, n, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
        a += n * a_tile
        c += n * MR * ld_c
    while rest > 0:
        if height == 1:
            tiles_of_width(1, nv, 1, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
        elif height == 2:
            tiles_of_width(2, nv, 1, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
        elif height == 3:
            tiles_of_width(3, nv, 1, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
        elif height == 4:
            tiles_of_width(4, nv, 1, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
        elif height == 5:
            tiles_of_width(5, nv, 1, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
        elif MR > 6 and height == 6:
            tiles_of_width(6, nv, 1, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
        elif MR > 7 and height == 7:
            tiles_of_width(7, nv, 1, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
        a += height * a_row
        c += height * ld_c
        rest -= height
        height = rest


cdef struct Product:
    # C (m, n) = A (m, k) B (k, n), with what happens to a tile of C while it is in cache.
    Py_ssize_t m, n, k
    const real* a
    Py_ssize_t a_row, a_step        # from a row of A to the next, and from an element to the next
    bint a_in_panels                # a points at panels of MR rows, as pack_rows makes them
    bint a_lacks_ones               # A's last column is 1, the bias's input, and not in memory
    const real* b                   # rows ld_b apart
    Py_ssize_t ld_b
    bint b_transposed               # b holds B transposed, (n, k)
    bint b_is_padded                # its rows go on to whole vectors
    const real* b_end               # where what lies behind an unpadded b may still be read
    bint in_place                   # panels of b are read where they are, if they are padded
    const real* panels              # all of B in panels, as pack_all makes them, or NULL
    real* scratch                   # for those copies: scratch_size elements for each thread
    Py_ssize_t scratch_size
    real* c
    Py_ssize_t ld_c
    bint c_is_padded                # whole vectors may be written to every row of C
    bint over_rows                  # a sum over a chunk's rows: never cut
    bint add                        # C += instead of C =
    bint one_behind                 # forward: C's column n is 1, the input of the next layer's bias
    real* z                         # forward: z is kept here too, laid out like C, or NULL
    forward_function forward        # forward: applied to C, or NULL
    backward_function backward      # backward: C *= f'(reads), or NULL
    real constant                   # the activation's
    const real* reads               # backward: a or z of the layer below, laid out like C
    Py_ssize_t panels_per_task, rows_per_task
    const int32_t* steps            # of each tile of MR rows, those to be taken, or NULL: all
    const int32_t* step_ends        # for each tile, where among its steps every block of k ends


cdef inline Py_ssize_t blocks_of_k(const Product* p) noexcept nogil:
    """How many blocks of k a sum is cut into."""
    return 1 if p.over_rows else (p.k + K_BLOCK - 1) // K_BLOCK


cdef inline void listed_tiles_of(const int nv, const Product* p, Py_ssize_t i, Py_ssize_t rows,
                                 TileMode mode, Py_ssize_t k, const real* a, Py_ssize_t a_tile,
                                 Py_ssize_t a_row, Py_ssize_t a_step, const real* b,
                                 Py_ssize_t ld_b, const real* bias, real* c,
                                 Py_ssize_t ld_c) noexcept nogil:
    """``listed_tiles`` of a constant width. A list counts its steps from the start of the sum."""
    cdef Py_ssize_t tile, blocks = blocks_of_k(p)
    cdef const int32_t* ends
    a -= k * a_step
    b -= k * ld_b
    for tile in range(i // MR, (i + rows) // MR):
        ends = p.step_ends + tile * (blocks + 1) + k // K_BLOCK
        tile_of(MR, nv, True, mode, ends[1] - ends[0], p.steps + tile * p.k + ends[0], a, a_row,
                a_step, b, ld_b, bias, c, ld_c)
        a += a_tile
        c += MR * ld_c


cdef void listed_tiles(const Product* p, Py_ssize_t i, Py_ssize_t rows, int nv, TileMode mode,
                       Py_ssize_t k, const real* a, Py_ssize_t a_tile, Py_ssize_t a_row,
                       Py_ssize_t a_step, const real* b, Py_ssize_t ld_b, const real* bias,
                       real* c, Py_ssize_t ld_c) noexcept nogil:
    """``rows`` rows of C from row i on, whole tiles: the listed steps of the block from k on."""
    if nv == 1:
        listed_tiles_of(1, p, i, rows, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
    elif nv == 2:
        listed_tiles_of(2, p, i, rows, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)
    else:
        listed_tiles_of(NV, p, i, rows, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c, ld_c)


cdef inline Py_ssize_t whole_vectors(Py_ssize_t n) noexcept nogil:
    """``n`` columns rounded up to whole vectors."""
    return (n + VW - 1) // VW * VW


cdef inline Py_ssize_t whole_tiles(Py_ssize_t n) noexcept nogil:
    """``n`` rows rounded up to whole tiles."""
    return (n + MR - 1) // MR * MR


cdef inline Py_ssize_t row_stride(Py_ssize_t n) noexcept nogil:
    """Elements between rows of a matrix of ours: whole vectors, and never a multiple of 1 KB.

    Rows a power of two apart would share a few cache sets.
    """
    cdef Py_ssize_t ld = whole_vectors(n)
    if ld * sizeof(real) % 1024 == 0:
        ld += 64 // sizeof(real)
    return ld


cdef void* allocate(Py_ssize_t size) except NULL:
    cdef void* memory = PyMem_RawCalloc(max(size, 1), 1)
    if memory == NULL:
        raise MemoryError(f"cannot allocate {size} bytes of scratch memory")
    return memory


cdef inline void finish(const Product* p, Py_ssize_t i, Py_ssize_t rows, Py_ssize_t j,
                        Py_ssize_t cols) noexcept nogil:
    """Activation, or its derivative, on a finished rectangle of C, padding included."""
    cdef real* c = p.c + i * p.ld_c + j
    cdef const real* reads
    cdef Py_ssize_t row, n = rows, ld = p.ld_c
    if cols == ld:
        # Whole rows: one long row.
        cols *= rows
        n = 1
    if p.z != NULL:
        for row in range(n):
            memcpy(p.z + (i + row) * ld + j, c + row * ld, cols * sizeof(real))
    if p.forward != NULL:
        p.forward(c, n, cols, ld, p.constant)
        if p.one_behind and p.n % VW != 0 and j + NR * GROUP_PANELS >= p.n:
            put_ones(p.c + i * ld + p.n, rows, ld)
    if p.backward != NULL:
        reads = p.reads + i * ld + j
        p.backward(reads, c, n, cols, ld, p.constant)


cdef inline void put_ones(real* at, Py_ssize_t rows, Py_ssize_t ld) noexcept nogil:
    """The input of the next layer's bias."""
    cdef Py_ssize_t row
    for row in range(rows):
        at[row * ld] = 1


cdef void product_block(const Product* p, Py_ssize_t i, Py_ssize_t last_row, Py_ssize_t panel,
                        Py_ssize_t k, Py_ssize_t k_end, const real* b,
                        Py_ssize_t ld_b) noexcept nogil:
    """Rows i … last_row-1 of a panel of C, summed over k … k_end-1; ``b`` starts at k."""
    cdef Py_ssize_t j = panel * NR
    cdef Py_ssize_t cols = min(p.n - j, <Py_ssize_t> NR)
    cdef Py_ssize_t padded = whole_vectors(cols)
    cdef int nv = <int> (padded // VW)
    cdef TileMode mode = FROM_C if k > 0 else ADD_TO_C if p.add else FROM_ZERO
    cdef Py_ssize_t a_tile = MR * p.a_row, a_row = p.a_row, a_step = p.a_step
    cdef Py_ssize_t rows, row, col
    cdef const real* a
    cdef const real* bias = NULL
    cdef real* c = p.c + i * p.ld_c + j
    cdef real buffer[MR * NR]
    if p.a_in_panels:
        a_tile, a_row, a_step = MR * p.k, 1, MR
    a = p.a + i // MR * a_tile + k * a_step
    if p.a_lacks_ones and k_end == p.k:
        k_end -= 1
        bias = b + (k_end - k) * ld_b
    if padded == cols or p.c_is_padded:
        if p.steps != NULL:
            rows = (last_row - i) // MR * MR
            listed_tiles(p, i, rows, nv, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, c,
                         p.ld_c)
            i += rows
            a += rows // MR * a_tile
            c += rows * p.ld_c
        tiles(last_row - i, nv, mode, k_end - k, a, a_tile, a_row, a_step, b, ld_b, bias, c,
              p.ld_c)
        return
    while i < last_row:
        rows = min(last_row - i, <Py_ssize_t> MR)
        if mode != FROM_ZERO:
            for row in range(rows):
                for col in range(cols):
                    buffer[row * NR + col] = c[row * p.ld_c + col]
        if p.steps != NULL and rows == MR:
            listed_tiles(p, i, MR, nv, mode, k, a, a_tile, a_row, a_step, b, ld_b, bias, buffer,
                         NR)
        else:
            tiles(rows, nv, mode, k_end - k, a, a_tile, a_row, a_step, b, ld_b, bias, buffer, NR)
        for row in range(rows):
            for col in range(cols):
                c[row * p.ld_c + col] = buffer[row * NR + col]
        i += MR
        a += a_tile
        c += MR * p.ld_c


cdef inline void one_row_of_width(const int nv, const bint listed, const Product* p, Py_ssize_t j,
                                  Py_ssize_t k, Py_ssize_t n_steps, const int32_t* steps,
                                  const real** b, const Py_ssize_t* ld_b) noexcept nogil:
    """PANELS_AT_ONCE panels of the only row of C, the last of ``nv`` vectors, side by side.

    The first ``n_steps`` steps from k on or, ``listed``, those of a list.
    """
    cdef vec acc[PANELS_AT_ONCE * NV]
    cdef const real* at[PANELS_AT_ONCE]
    cdef int n = (PANELS_AT_ONCE - 1) * NV + nv
    cdef Py_ssize_t step
    cdef const real* a = p.a + k * p.a_step
    cdef real* c = p.c + j
    cdef int i
    for i in range(PANELS_AT_ONCE):
        at[i] = b[i]
    for i in range(n):
        acc[i] = ZEROS
        if k > 0:
            acc[i] = (<vec_in_memory*> (c + i * VW))[0]
    for step in range(n_steps):
        if listed:
            a = p.a + (k + steps[step]) * p.a_step
            for i in range(PANELS_AT_ONCE):
                at[i] = b[i] + steps[step] * ld_b[i]
        for i in range(n):
            acc[i] += (<const vec_in_memory*> (at[i // NV] + i % NV * VW))[0] * a[0]
        if not listed:
            a += p.a_step
            for i in range(PANELS_AT_ONCE):
                at[i] += ld_b[i]
    if p.add:
        for i in range(n):
            acc[i] += (<vec_in_memory*> (c + i * VW))[0]
    for i in range(n):
        (<vec_in_memory*> (c + i * VW))[0] = acc[i]


cdef inline void one_row_listed(const bint listed, const Product* p, Py_ssize_t j, Py_ssize_t cols,
                                Py_ssize_t k, Py_ssize_t n_steps, const int32_t* steps,
                                const real** b, const Py_ssize_t* ld_b) noexcept nogil:
    """``one_row_of_width`` for ``cols`` columns in the last panel."""
    if NV > 1 and cols <= VW:
        one_row_of_width(1, listed, p, j, k, n_steps, steps, b, ld_b)
    elif NV > 2 and cols <= 2 * VW:
        one_row_of_width(2, listed, p, j, k, n_steps, steps, b, ld_b)
    else:
        one_row_of_width(NV, listed, p, j, k, n_steps, steps, b, ld_b)


cdef Py_ssize_t one_row(const Product* p, Py_ssize_t j, Py_ssize_t n_panels, Py_ssize_t k,
                        Py_ssize_t k_end, const real** b, const Py_ssize_t* ld_b) noexcept nogil:
    """Panels of the only row of C from column j on, PANELS_AT_ONCE side by side; how many.

    One row's sums in a tile of NV vectors would wait for each other's additions.
    """
    cdef int32_t steps[K_BLOCK]
    cdef Py_ssize_t panel = 0, cols, n_steps = -1
    if k_end - k <= K_BLOCK and n_panels >= PANELS_AT_ONCE:
        n_steps = steps_of_row(p.a + k * p.a_step, p.a_step, k_end - k, steps)
    while panel + PANELS_AT_ONCE <= n_panels and (
            p.c_is_padded or j + PANELS_AT_ONCE * NR <= p.n):
        cols = min(p.n - j - (PANELS_AT_ONCE - 1) * NR, <Py_ssize_t> NR)
        if n_steps >= 0:
            one_row_listed(True, p, j, cols, k, n_steps, steps, b + panel, ld_b + panel)
        else:
            one_row_listed(False, p, j, cols, k, k_end - k, NULL, b + panel, ld_b + panel)
        panel += PANELS_AT_ONCE
        j += PANELS_AT_ONCE * NR
    return panel


cdef inline bint reads_rows_of_b(const Product* p) noexcept nogil:
    """Whether C is a single row, and B fit to be read along its rows.

    A C that fits the registers stays there instead.
    """
    return p.m == 1 and p.in_place and p.b_is_padded and p.panels == NULL and not p.over_rows \
        and (p.n + NR - 1) // NR != PANELS_AT_ONCE


cdef inline void add_rows_of_b(const int n, const bint listed, const Product* p, Py_ssize_t j,
                               Py_ssize_t k, const int32_t* steps,
                               Py_ssize_t vectors) noexcept nogil:
    """Add n rows of B from row k on, or those listed, times their elements of A, to C."""
    cdef const real* at[ROWS_AT_ONCE]
    cdef real factor[ROWS_AT_ONCE]
    cdef const real* b = p.b + k * p.ld_b + j
    cdef real* c = p.c + j
    cdef Py_ssize_t v, ld_b = p.ld_b
    cdef vec acc
    cdef int row
    for row in range(n):
        if listed:
            at[row] = b + steps[row] * ld_b
            factor[row] = p.a[(k + steps[row]) * p.a_step]
        else:
            factor[row] = p.a[(k + row) * p.a_step]
    for v in range(vectors):
        acc = (<vec_in_memory*> (c + v * VW))[0]
        for row in range(n):
            if listed:
                acc += (<const vec_in_memory*> (at[row] + v * VW))[0] * factor[row]
            else:
                acc += (<const vec_in_memory*> (b + row * ld_b + v * VW))[0] * factor[row]
        (<vec_in_memory*> (c + v * VW))[0] = acc


cdef inline void rows_in_place(const bint listed, const Product* p, Py_ssize_t j, Py_ssize_t k,
                               Py_ssize_t n_steps, const int32_t* steps,
                               Py_ssize_t vectors) noexcept nogil:
    """Add the first ``n_steps`` rows of B from row k on, or those listed."""
    cdef Py_ssize_t i = 0
    while i + ROWS_AT_ONCE <= n_steps:
        add_rows_of_b(ROWS_AT_ONCE, listed, p, j, k if listed else k + i, steps + i, vectors)
        i += ROWS_AT_ONCE
    while i < n_steps:
        add_rows_of_b(1, listed, p, j, k if listed else k + i, steps + i, vectors)
        i += 1


cdef void one_row_in_place(const Product* p, Py_ssize_t j, Py_ssize_t cols) noexcept nogil:
    """``cols`` columns of the only row of C, B read where it lies, some of its rows at a time.

    B is read along its rows, as memory likes it, and C stays in the first-level cache; the order of
    every sum is still that of k.
    """
    cdef int32_t steps[K_BLOCK]
    cdef Py_ssize_t k = 0, k_end, n_steps, vectors = cols // VW
    memset(p.c + j, 0, cols * sizeof(real))
    while k < p.k:
        k_end = min(k + K_BLOCK, p.k)
        n_steps = steps_of_row(p.a + k * p.a_step, p.a_step, k_end - k, steps)
        if n_steps >= 0:
            rows_in_place(True, p, j, k, n_steps, steps, vectors)
        else:
            rows_in_place(False, p, j, k, k_end - k, steps, vectors)
        k = k_end
    finish(p, 0, 1, j, cols)


cdef void product_group(const Product* p, Py_ssize_t first_row, Py_ssize_t last_row,
                        Py_ssize_t first, Py_ssize_t n_panels, real* scratch) noexcept nogil:
    """All of k for a group of panels: find or make B's part, then all rows."""
    cdef Py_ssize_t k = 0, k_end, i, end, panel, cols, padded
    cdef Py_ssize_t j = first * NR
    cdef const real* b[GROUP_PANELS]
    cdef Py_ssize_t ld_b[GROUP_PANELS]
    if reads_rows_of_b(p):
        one_row_in_place(p, j, min(p.n - j, n_panels * NR))
        return
    while k < p.k:
        k_end = p.k if p.over_rows else min(k + K_BLOCK, p.k)
        if p.panels == NULL and not p.in_place:
            pack_panels(p, first, n_panels, k, k_end, scratch)
        for panel in range(n_panels):
            cols = min(p.n - (first + panel) * NR, <Py_ssize_t> NR)
            padded = whole_vectors(cols)
            ld_b[panel] = padded
            if p.panels != NULL:
                b[panel] = p.panels + (first + panel) * NR * p.k + k * padded
            elif p.in_place and (cols == padded or p.b_is_padded):
                b[panel] = p.b + k * p.ld_b + (first + panel) * NR
                ld_b[panel] = p.ld_b
            else:
                b[panel] = scratch + panel * NR * (k_end - k)
                if p.in_place:
                    pack_panels(p, first + panel, 1, k, k_end, <real*> b[panel])
        i = first_row
        while i < last_row:
            end = min(i + ROW_BLOCK, last_row)
            panel = one_row(p, j, n_panels, k, k_end, b, ld_b) if p.m == 1 else 0
            for panel in range(panel, n_panels):
                product_block(p, i, end, first + panel, k, k_end, b[panel], ld_b[panel])
            if k_end == p.k and p.c_is_padded:
                finish(p, i, end - i, j, whole_vectors(min(p.n - j, n_panels * NR)))
            i = end
        k = k_end


cdef void product_rows(const Product* p, Py_ssize_t first_row, Py_ssize_t last_row,
                       real* scratch) noexcept nogil:
    """All groups of panels for some rows."""
    cdef Py_ssize_t panel = 0, n_panels = (p.n + NR - 1) // NR
    while panel < n_panels:
        product_group(p, first_row, last_row, panel,
                      min(n_panels - panel, <Py_ssize_t> GROUP_PANELS), scratch)
        panel += GROUP_PANELS


cdef inline bint has_whole_rows(const Product* p) noexcept nogil:
    """Whether whole vectors of B, one vector wide, may be read where they lie."""
    return p.b_is_padded or (not p.b_transposed and p.b + (p.k - 1) * p.ld_b + VW <= p.b_end)


cdef inline bint is_straight(const Product* p) noexcept nogil:
    """Whether C is one vector wide and so small that ``straight`` makes it."""
    return p.n <= VW and not p.add and p.panels == NULL and (
        p.m * p.k <= LARGEST_STRAIGHT or (p.m == 1 and has_whole_rows(p)))


cdef inline void copy_part(real* to, const real* x, Py_ssize_t n) noexcept nogil:
    """n < VW elements, in pieces of constant size."""
    if VW > 8 and n & 8:
        memcpy(to, x, 8 * sizeof(real))
        to, x = to + 8, x + 8
    if VW > 4 and n & 4:
        memcpy(to, x, 4 * sizeof(real))
        to, x = to + 4, x + 4
    if n & 2:
        memcpy(to, x, 2 * sizeof(real))
        to, x = to + 2, x + 2
    if n & 1:
        to[0] = x[0]


cdef inline void straight_rows(const int height, const bint whole, Py_ssize_t n, Py_ssize_t k,
                               const real* a, Py_ssize_t a_row, Py_ssize_t a_step, const real* b,
                               Py_ssize_t ld_b, real* c, Py_ssize_t ld_c) noexcept nogil:
    """``height`` rows of a tiny C side by side, written as ``whole`` vectors or as n elements."""
    cdef vec acc[STRAIGHT_ROWS]
    cdef vec b_row
    cdef Py_ssize_t step
    cdef int i
    for i in range(height):
        acc[i] = ZEROS
    for step in range(k):
        b_row = (<const vec_in_memory*> b)[0]
        for i in range(height):
            acc[i] += b_row * a[i * a_row]
        a += a_step
        b += ld_b
    for i in range(height):
        if whole:
            (<vec_in_memory*> (c + i * ld_c))[0] = acc[i]
        else:
            b_row = acc[i]
            copy_part(c + i * ld_c, <const real*> &b_row, n)


cdef inline void straight_sums(const int height, const bint whole, Py_ssize_t k, const real* a,
                               Py_ssize_t a_row, Py_ssize_t a_step, const real* b, Py_ssize_t ld_b,
                               real* c, Py_ssize_t ld_c) noexcept nogil:
    """The same where C and B are one column; ``whole`` vectors are filled with the one sum."""
    cdef real acc[STRAIGHT_ROWS]
    cdef Py_ssize_t step
    cdef int i
    for i in range(height):
        acc[i] = 0
    for step in range(k):
        for i in range(height):
            acc[i] += b[0] * a[i * a_row]
        a += a_step
        b += ld_b
    for i in range(height):
        if whole:
            (<vec_in_memory*> (c + i * ld_c))[0] = acc[i] - ZEROS
        else:
            c[i * ld_c] = acc[i]


cdef void straight(const Product* p) noexcept nogil:
    """All of a tiny C: the same sums as a tile's, and little around them.

    Whole vectors of B are read as long as there is anything behind its rows, and written to C as
    long as what follows them is C's own and still to come.
    """
    cdef real panel[LARGEST_STRAIGHT * VW]
    cdef Py_ssize_t rows = p.m, whole_rows = p.m, height
    cdef Py_ssize_t n = p.n, k = p.k, a_row = p.a_row, a_step = p.a_step, ld_c = p.ld_c
    cdef Py_ssize_t ld_b = p.ld_b
    cdef const real* a = p.a
    cdef const real* b = p.b
    cdef real* c = p.c
    if n == 1:
        if p.b_transposed:
            ld_b = 1
        while rows > 0:
            height = 1
            if not p.c_is_padded:
                straight_sums(1, False, k, a, a_row, a_step, b, ld_b, c, ld_c)
            elif rows >= STRAIGHT_ROWS:
                height = STRAIGHT_ROWS
                straight_sums(STRAIGHT_ROWS, True, k, a, a_row, a_step, b, ld_b, c, ld_c)
            else:
                straight_sums(1, True, k, a, a_row, a_step, b, ld_b, c, ld_c)
            a += height * a_row
            c += height * ld_c
            rows -= height
    else:
        if k == 1 and not p.b_is_padded:
            if b + VW > p.b_end:
                (<vec_in_memory*> panel)[0] = ZEROS
                copy_part(panel, b, n)
                b = panel
        elif not has_whole_rows(p):
            pack_panels(p, 0, 1, 0, k, panel)
            b, ld_b = panel, VW
        if not p.c_is_padded:
            whole_rows -= (VW - 1) // ld_c
        while rows > 0:
            height = 1
            if whole_rows >= STRAIGHT_ROWS:
                height = STRAIGHT_ROWS
                straight_rows(STRAIGHT_ROWS, True, n, k, a, a_row, a_step, b, ld_b, c, ld_c)
            elif whole_rows >= 2:
                height = 2
                straight_rows(2, True, n, k, a, a_row, a_step, b, ld_b, c, ld_c)
            elif whole_rows == 1:
                straight_rows(1, True, n, k, a, a_row, a_step, b, ld_b, c, ld_c)
            else:
                straight_rows(1, False, n, k, a, a_row, a_step, b, ld_b, c, ld_c)
            a += height * a_row
            c += height * ld_c
            rows -= height
            whole_rows -= height
    if p.c_is_padded:
        finish(p, 0, p.m, 0, VW)


cdef void product_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    """A rectangle of C."""
    cdef const Product* p = <const Product*> context
    cdef Py_ssize_t row_shares = (p.m + p.rows_per_task - 1) // p.rows_per_task
    cdef Py_ssize_t first_row = task % row_shares * p.rows_per_task
    cdef Py_ssize_t first = task // row_shares * p.panels_per_task
    product_group(p, first_row, min(first_row + p.rows_per_task, p.m), first,
                  min(p.panels_per_task, (p.n + NR - 1) // NR - first),
                  p.scratch + thread * p.scratch_size)


cdef void multiply(Product* p, int n_threads) noexcept nogil:
    """Carry out a product; tasks are rectangles of C, so threads never meet."""
    cdef Py_ssize_t n_panels = (p.n + NR - 1) // NR
    cdef Py_ssize_t groups, row_shares
    if is_straight(p):
        straight(p)
        return
    if p.m * p.n * p.k < LEAST_PARALLEL_WORK:
        n_threads = 1
    p.panels_per_task = min(<Py_ssize_t> GROUP_PANELS, n_panels)
    if reads_rows_of_b(p):
        p.panels_per_task = (n_panels + n_threads - 1) // n_threads
    if n_threads == 1 and n_panels <= p.panels_per_task:
        product_group(p, 0, p.m, 0, n_panels, p.scratch)
        return
    groups = (n_panels + p.panels_per_task - 1) // p.panels_per_task
    row_shares = 1
    if n_threads > 1:
        row_shares = max(1, min(TASKS_PER_THREAD * n_threads // groups, p.m // MR))
    p.rows_per_task = ((p.m + row_shares - 1) // row_shares + MR - 1) // MR * MR
    row_shares = (p.m + p.rows_per_task - 1) // p.rows_per_task
    parallel_for(n_threads, groups * row_shares, product_task, p)


# ---- dx the other way round
#
# dxT = w dzT is the same sums. Then dz and dx are what is transposed, a minibatch's rows long, and w
# is read as it lies: on a Zen 5, 784-1024-1024-1024-10 trains 3 % faster, 784-512-512-10 2 %.

cdef struct TurnedJob:
    Product* backward                # dx = dz wT
    Product turned                   # dxT = w dzT
    real* blocks                     # of dxT: block_size elements for each thread
    Py_ssize_t block_size


cdef inline bint is_turned(Py_ssize_t rows, Py_ssize_t n_in, Py_ssize_t n_out) noexcept nogil:
    """Whether the gradient of a layer's input is made the other way round."""
    return 2 * rows <= min(n_in, n_out) and rows >= FEWEST_ROWS_TO_PACK


cdef void turned_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const TurnedJob* job = <const TurnedJob*> context
    cdef const Product* dx = job.backward
    cdef Product p = job.turned
    cdef Py_ssize_t first = task * ROW_BLOCK
    cdef Py_ssize_t last = min(first + ROW_BLOCK, p.m)
    cdef real* block = job.blocks + thread * job.block_size
    p.c = block - first * p.ld_c
    product_rows(&p, first, last, NULL)
    transpose(block, p.ld_c, last - first, p.n, dx.c + first, dx.ld_c, last - first)
    finish(dx, 0, dx.m, first, whole_vectors(last - first))


cdef void multiply_turned(Product* dx, real* panels, real* blocks, Py_ssize_t block_size,
                          int n_threads) noexcept nogil:
    """Carry out dx = dz wT as dxT = w dzT, in blocks of dxT's rows."""
    cdef TurnedJob job
    cdef Product* p = &job.turned
    memset(p, 0, sizeof(Product))
    job.backward, job.blocks, job.block_size = dx, blocks, block_size
    p.m, p.n, p.k = dx.n, dx.m, dx.k
    p.a, p.a_row, p.a_step = dx.b, dx.ld_b, 1
    p.b, p.ld_b, p.b_transposed = dx.a, dx.a_row, True
    p.panels = panels
    p.ld_c, p.c_is_padded = row_stride(p.n), True
    pack_all(p, n_threads)
    parallel_for(n_threads, (p.m + ROW_BLOCK - 1) // ROW_BLOCK, turned_task, &job)


# ---- operands in panels

cdef void pack_panels(const Product* p, Py_ssize_t first, Py_ssize_t n_panels, Py_ssize_t k,
                      Py_ssize_t k_end, real* to) noexcept nogil:
    """Rows k … k_end-1 of some panels of B, panel after panel, each padded to whole vectors."""
    cdef Py_ssize_t j = first * NR
    cdef Py_ssize_t cols = min(p.n - j, n_panels * NR)
    cdef Py_ssize_t whole = cols // NR * NR, rest = cols - whole
    cdef Py_ssize_t depth = k_end - k, padded = whole_vectors(rest)
    cdef Py_ssize_t panel, row, col
    cdef const real* b
    cdef int v
    if p.b_transposed:
        for panel in range(n_panels):
            cols = min(p.n - j, <Py_ssize_t> NR)
            transpose(p.b + j * p.ld_b + k, p.ld_b, cols, depth, to, whole_vectors(cols),
                      whole_vectors(cols))
            j += NR
            to += NR * depth
        return
    b = p.b + k * p.ld_b + j
    for row in range(depth):
        # Along the row: what lies together in memory is read together.
        col = 0
        while col < whole:
            for v in range(NV):
                (<vec_in_memory*> (to + col * depth + row * NR + v * VW))[0] = \
                    (<const vec_in_memory*> (b + col + v * VW))[0]
            col += NR
        for col in range(whole, cols):
            to[whole * depth + row * padded + col - whole] = b[col]
        for col in range(rest, padded):
            to[whole * depth + row * padded + col] = 0
        b += p.ld_b


cdef void transpose(const real* b, Py_ssize_t ld, Py_ssize_t rows, Py_ssize_t cols, real* to,
                    Py_ssize_t ld_to, Py_ssize_t padded) noexcept nogil:
    """(rows, cols) becomes (cols, rows), each row padded with zeros to ``padded`` elements.

    Four rows at a time, their elements written together; many more would have their lines, a power
    of two apart, in one cache set. ``ld_to`` is never a constant: gcc would vectorise along the
    rows instead and scatter single elements, twice as slowly.
    """
    cdef Py_ssize_t i = 0, j
    cdef real first, second, third, fourth
    while i + 4 <= rows:
        for j in range(cols):
            first, second, third, fourth = b[j], b[ld + j], b[2 * ld + j], b[3 * ld + j]
            to[j * ld_to], to[j * ld_to + 1] = first, second
            to[j * ld_to + 2], to[j * ld_to + 3] = third, fourth
        b += 4 * ld
        to += 4
        i += 4
    for i in range(i, padded):
        for j in range(cols):
            to[j * ld_to] = b[j] if i < rows else 0
        b += ld
        to += 1


cdef void pack_task(void* context, Py_ssize_t panel, int thread) noexcept nogil:
    cdef const Product* p = <const Product*> context
    pack_panels(p, panel, 1, 0, p.k, <real*> p.panels + panel * NR * p.k)


cdef void pack_all(const Product* p, int n_threads) noexcept nogil:
    """All of B into ``p.panels``."""
    if p.k * p.n < LEAST_PARALLEL_COPY:
        n_threads = 1
    parallel_for(n_threads, (p.n + NR - 1) // NR, pack_task, <void*> p)


cdef struct RowPacking:
    const real* x
    Py_ssize_t rows, cols, ld
    real* panels


cdef void pack_rows_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const RowPacking* job = <const RowPacking*> context
    cdef Py_ssize_t first = task * ROW_BLOCK
    cdef Py_ssize_t last = min(first + ROW_BLOCK, job.cols)
    cdef Py_ssize_t row, j
    for row in range(job.rows):
        j = first
        while j + MR <= last:
            memcpy(job.panels + j * job.rows + row * MR, job.x + row * job.ld + j,
                   MR * sizeof(real))
            j += MR
        if j < last:
            memset(job.panels + j * job.rows + row * MR, 0, MR * sizeof(real))
            memcpy(job.panels + j * job.rows + row * MR, job.x + row * job.ld + j,
                   (last - j) * sizeof(real))


cdef void pack_rows(const real* x, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld, real* panels,
                    int n_threads) noexcept nogil:
    """x (rows, cols), the left-hand side of xT dz, into panels of MR columns, zero-padded."""
    cdef RowPacking job
    job.x, job.rows, job.cols, job.ld, job.panels = x, rows, cols, ld, panels
    if rows * cols < LEAST_PARALLEL_COPY:
        n_threads = 1
    parallel_for(n_threads, (cols + ROW_BLOCK - 1) // ROW_BLOCK, pack_rows_task, &job)
