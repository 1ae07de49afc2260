# The step: clipping, weight decay, the optimizer's update and max-norm, each in blocks that threads take.
#
# Where nothing needs the whole gradient first, a large layer's parameters are updated as soon as a
# block of its gradient is made, while that lies in the second-level cache: the gradient as a whole
# is then never written to memory, and read back, at all. On a Zen 5, 784-1024-1024-1024-10 trains
# 2 % faster, 784-128-10 1.5 %.

cdef enum:
    # What is done to gradients and weights around a step: indices into `penalties`.
    L1, L2, WEIGHT_DECAY, CLIP_VALUE, CLIP_NORM, MAX_NORM, OVER_ROWS, PENALTIES

cdef enum:
    UPDATE_BLOCK = 16384             # parameters one task takes
    FUSED_BLOCK = 65536              # of a gradient that is made and used up in one task
    SMALLEST_FUSED = 65536           # parameters of a layer worth it
    SHORTENED_COLUMNS = 64


cdef struct UpdateJob:
    # What comes before the update of some parameters, where there is such: called by its address,
    # so that the compiler leaves it out of the way of tiny networks.
    void (*before)(const UpdateJob*, Py_ssize_t first, Py_ssize_t end) noexcept nogil
    update_function update
    real* params
    real* grads
    real* vectors[MAX_VECTORS]
    real scalars[MAX_SETTINGS]
    Py_ssize_t n
    const Layer* layers
    int n_layers
    real l1, l2                      # of the penalties, where their gradient is still to be added
    real kept                        # 1 - lr * weight_decay
    real cut                         # highest size of a gradient's element, or 0
    real factor                      # of the gradient, from its norm
    double* squares                  # a sum for each block
    double max_norm                  # of a unit's incoming weights


cdef void before_update(const UpdateJob* job, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """Decay of those of params first … end-1 that are weights, and the clipped norm."""
    cdef Py_ssize_t i, low, high
    cdef int l
    if job.kept != 1:
        for l in range(job.n_layers):
            low, high = max(first, job.layers[l].w), min(end, job.layers[l].b)
            for i in range(low, high):
                job.params[i] *= job.kept
    if job.factor != 1:
        for i in range(first, end):
            job.grads[i] *= job.factor


cdef void update_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    update_block(<const UpdateJob*> context, task * UPDATE_BLOCK)


cdef inline void update_block(const UpdateJob* job, Py_ssize_t first) noexcept nogil:
    """The update of the parameters from ``first`` on, as many as a task takes."""
    update_range(job, first, min(<Py_ssize_t> UPDATE_BLOCK, job.n - first), job.grads + first)


cdef inline void update_range(const UpdateJob* job, Py_ssize_t first, Py_ssize_t n,
                              real* g) noexcept nogil:
    """The update of ``n`` parameters from ``first`` on by their gradient ``g``."""
    cdef real* vectors[MAX_VECTORS]
    cdef int i
    if job.before != NULL:
        job.before(job, first, first + n)
    for i in range(MAX_VECTORS):
        vectors[i] = job.vectors[i] + first if job.vectors[i] != NULL else NULL
    job.update(job.params + first, g, vectors, job.scalars, n)


cdef void penalise(real* g, const real* w, Py_ssize_t n, real l1, real l2) noexcept nogil:
    """Add the penalties' gradient by some weights to ``g``."""
    cdef Py_ssize_t i
    cdef real zero = 0.0
    if l2 > 0:
        for i in range(n):
            g[i] += l2 * w[i]
    if l1 > 0:
        for i in range(n):
            g[i] += l1 if w[i] > zero else -l1 if w[i] < zero else zero


cdef struct FusedJob:
    # A layer's gradient and, block by block, the update by it.
    Product* gradient
    const UpdateJob* update
    const Layer* layer
    Py_ssize_t rows_per_task
    real* blocks                     # block_size elements for each thread
    Py_ssize_t block_size


cdef Py_ssize_t fused_rows(Py_ssize_t n_out) noexcept nogil:
    """Rows of a gradient in a block."""
    return max(FUSED_BLOCK // n_out // MR * MR, <Py_ssize_t> MR)


cdef inline bint is_fused(const Layer* layer) noexcept nogil:
    """Whether a layer is large enough to be updated block by block."""
    return layer.n_out > 1 and layer.n_in * layer.n_out >= SMALLEST_FUSED


cdef void fused_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const FusedJob* job = <const FusedJob*> context
    cdef Product p = job.gradient[0]
    cdef Py_ssize_t first = task * job.rows_per_task
    cdef Py_ssize_t last = min(first + job.rows_per_task, p.m)
    cdef real* g
    if not p.add:
        p.c = job.blocks + thread * job.block_size - first * p.ld_c
    g = p.c + first * p.ld_c
    product_rows(&p, first, last, p.scratch + thread * p.scratch_size)
    use_gradient(job.update, job.layer, first, last, g)


cdef void use_gradient(const UpdateJob* job, const Layer* layer, Py_ssize_t first,
                       Py_ssize_t last, real* g) noexcept nogil:
    """Penalties and update for rows first … last-1 of a layer's [w; b], by their gradient ``g``."""
    cdef Py_ssize_t at = layer.w + first * layer.n_out
    cdef Py_ssize_t n_weights = min(last, layer.n_in) - first
    if job.l1 > 0 or job.l2 > 0:
        penalise(g, job.params + at, n_weights * layer.n_out, job.l1, job.l2)
    update_range(job, at, (last - first) * layer.n_out, g)


cdef void multiply_and_update(FusedJob* job, int n_threads) noexcept nogil:
    """Make a layer's gradient and use it up."""
    cdef Product* p = job.gradient
    job.rows_per_task = fused_rows(p.n)
    if n_threads > 1:
        job.rows_per_task = min(job.rows_per_task, max(
            p.m // (TASKS_PER_THREAD * n_threads) // MR * MR, <Py_ssize_t> MR))
    if p.panels != NULL:
        pack_all(p, n_threads)
    parallel_for(n_threads, shares(p.m, job.rows_per_task), fused_task, job)


cdef void clip_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    """Cut a block of the gradient to its highest size, and sum its squares."""
    cdef const UpdateJob* job = <const UpdateJob*> context
    cdef Py_ssize_t first = task * UPDATE_BLOCK
    cdef Py_ssize_t i, n = min(<Py_ssize_t> UPDATE_BLOCK, job.n - first)
    cdef real* grads = job.grads + first
    cdef real cut = job.cut
    if cut > 0:
        for i in range(n):
            grads[i] = cut if grads[i] > cut else grads[i]
            grads[i] = -cut if grads[i] < -cut else grads[i]
    job.squares[task] = sum_of_squares(grads, n)


cdef void max_norm_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    """Shorten the columns of some weights that are longer than ``max_norm``."""
    cdef const UpdateJob* job = <const UpdateJob*> context
    cdef const Layer* layer = job.layers
    cdef Py_ssize_t i, j, n, first
    cdef double squares[SHORTENED_COLUMNS]
    cdef real factor[SHORTENED_COLUMNS]
    cdef double norm
    cdef real* w
    while task >= shares(layer.n_out, SHORTENED_COLUMNS):
        task -= shares(layer.n_out, SHORTENED_COLUMNS)
        layer += 1
    first = task * SHORTENED_COLUMNS
    n = min(layer.n_out - first, <Py_ssize_t> SHORTENED_COLUMNS)
    for j in range(n):
        squares[j] = 0
    w = job.params + layer.w + first
    for i in range(layer.n_in):
        for j in range(n):
            squares[j] += <double> w[j] * w[j]
        w += layer.n_out
    for j in range(n):
        norm = libm_sqrt(squares[j])
        factor[j] = <real> (job.max_norm / norm) if norm > job.max_norm else <real> 1
    w = job.params + layer.w + first
    for i in range(layer.n_in):
        for j in range(n):
            w[j] *= factor[j]
        w += layer.n_out
