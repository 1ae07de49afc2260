# The step: clipping, weight decay, the optimizer's update and max-norm, each in blocks that threads take.

cdef enum:
    # What is done to gradients and weights around a step: indices into `penalties`.
    L1, L2, WEIGHT_DECAY, CLIP_VALUE, CLIP_NORM, MAX_NORM, PENALTIES

cdef enum:
    UPDATE_BLOCK = 16384             # parameters one task takes
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
    cdef Py_ssize_t i, n = min(<Py_ssize_t> UPDATE_BLOCK, job.n - first)
    cdef real* vectors[MAX_VECTORS]
    if job.before != NULL:
        job.before(job, first, first + n)
    for i in range(MAX_VECTORS):
        vectors[i] = job.vectors[i] + first if job.vectors[i] != NULL else NULL
    job.update(job.params + first, job.grads + first, vectors, job.scalars, n)


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
