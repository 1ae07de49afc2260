# All rows of an array, in chunks: prediction and evaluation.

cdef class Plan


cdef struct ScoreJob:
    # All rows of an array, in chunks, for prediction and for evaluation.
    void* plan
    void* x
    void* y                          # NULL: outputs only
    void* weights                    # or NULL
    LossJob loss
    Py_ssize_t n
    real* out                        # (n, n_out)
    Py_ssize_t* bad                  # one per chunk: a row that is not finite, or -1
    double* values                   # one per chunk: the sum of the losses


cdef void score_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef ScoreJob* job = <ScoreJob*> context
    score_rows(job, task, &(<Plan> job.plan).lanes[thread], 1)


cdef void score_rows(ScoreJob* job, Py_ssize_t task, Lane* lane, int n_threads) noexcept nogil:
    """⓪ and ① for one chunk; with targets also the losses, row by row."""
    score_chunk(<Plan> job.plan, <Source> job.x, job, task, lane, n_threads)
    if job.y != NULL and job.bad[task] < 0:
        score_losses(<Plan> job.plan, <Source> job.y, job, task, lane)


cdef void score_chunk(Plan plan, Source x, ScoreJob* job, Py_ssize_t task, Lane* lane,
                      int n_threads) noexcept nogil:
    cdef Layer* last = &plan.layers[plan.n_layers - 1]
    cdef Py_ssize_t first = task * plan.chunk_rows
    cdef Py_ssize_t rows = min(plan.chunk_rows, job.n - first)
    cdef Py_ssize_t ld_in = plan.layers[0].ld_in
    cdef Product* product = &lane.products[0].forward
    cdef const real* given = x.in_place(first, rows)
    job.bad[task] = -1
    if given == NULL and not x.gather(NULL, first, rows, lane.a[0], ld_in, &job.bad[task]):
        return
    plan.place(lane, 0, rows)
    if given != NULL:
        product.a, product.a_row, product.a_lacks_ones = given, x.ld, True
    plan.forward_rows(lane, 0, rows, job.y != NULL and loss_table[job.loss.loss].from_scores,
                      n_threads)
    if given != NULL:
        product.a, product.a_row, product.a_lacks_ones = lane.a[0], ld_in, False
        # Looked at once the product has brought them to the cache; `gather` finds the bad one.
        if not x.are_finite(first, rows):
            x.gather(NULL, first, rows, lane.a[0], ld_in, &job.bad[task])
            return
    plan.outputs(lane, rows, job.out + first * last.n_out)


cdef void score_losses(Plan plan, Source y, ScoreJob* job, Py_ssize_t task,
                       Lane* lane) noexcept nogil:
    """The chunk's losses, a row at a time."""
    cdef Layer* last = &plan.layers[plan.n_layers - 1]
    cdef Py_ssize_t first = task * plan.chunk_rows
    cdef Py_ssize_t rows = min(plan.chunk_rows, job.n - first)
    cdef Py_ssize_t i, bad
    cdef real weight = 1
    cdef LossRows r
    for i in range(rows):
        y.gather(NULL, first + i, 1, lane.target, job.loss.target_cols, &bad)
        repeat_targets(lane.target, 1, y.n_cols, job.loss.target_cols)
        if job.weights != NULL:
            weight_of(<Source> job.weights, first + i, &weight)
        r.z = lane.z[plan.n_layers - 1] + i * last.ld_out
        r.a = lane.a[plan.n_layers] + i * last.ld_out
        r.dz, r.ld = lane.derivative, last.ld_out
        r.t, r.ld_t, r.weights = lane.target, job.loss.target_cols, &weight
        r.constants, r.known = job.loss.constants, lane.known if job.loss.missing else NULL
        r.rows, r.n_out, r.scale = 1, last.n_out, 1
        job.values[task] += losses_of_rows(&job.loss, &r)


cdef void weight_of(Source weights, Py_ssize_t row, real* weight) noexcept nogil:
    cdef Py_ssize_t bad
    weights.gather(NULL, row, 1, weight, 1, &bad)
