# Normalisation between a dense layer and its activation: y = gamma n + beta with n = (z - mean) / root
# and root = sqrt(variance + eps).
#
#     batch     mean and variance over the minibatch's rows, one for each column. Ioffe and Szegedy
#               (2015), as PyTorch; running means of both serve prediction
#     layer     over the columns, one for each row. Ba, Kiros and Hinton (2016)
#
# Training keeps n and 1 / root. The way back, with dy the derivative by y:
#
#     dbeta = sum of dy, dgamma = sum of dy n      over the rows
#     dz = (g - mean(g) - n mean(g n)) / root      with g = dy gamma, means over what was normalised
#
# Sums are made in double precision, in the order of the rows (batch) or columns (layer). A task is a
# range of columns or of rows, so that threads never meet.

cdef enum Normalization:
    NO_NORMALIZATION, BATCH_NORMALIZATION, LAYER_NORMALIZATION

NORMALIZATIONS = {None: NO_NORMALIZATION, "batch": BATCH_NORMALIZATION,
                  "layer": LAYER_NORMALIZATION}

cdef enum:
    NORMALIZED_COLUMNS = 64          # of one task: a line of the cache and more from every row
    NORMALIZED_ROWS = 16

cdef struct NormJob:
    Py_ssize_t rows, n, ld
    real* z                          # (rows, ld): z becomes y; on the way back dy becomes dz
    real* normalized                 # (rows, ld): n
    real* inverse                    # 1 / root: (n,) of the batch's columns, (rows,) of a layer's rows
    const real* gamma
    const real* beta
    double eps, momentum
    double* running_mean             # (n,), of the batch's, or NULL: not to be changed
    double* running_variance
    real* dgamma
    real* dbeta
    bint add                         # dgamma, dbeta += instead of =


# ---- batch: forward in training

cdef void batch_forward_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const NormJob* job = <const NormJob*> context
    cdef Py_ssize_t first = task * NORMALIZED_COLUMNS
    cdef Py_ssize_t n = min(job.n - first, <Py_ssize_t> NORMALIZED_COLUMNS)
    cdef double mean[NORMALIZED_COLUMNS]
    cdef double square[NORMALIZED_COLUMNS]
    cdef real center[NORMALIZED_COLUMNS]
    cdef double distance, variance
    cdef const real* gamma = job.gamma + first
    cdef const real* beta = job.beta + first
    cdef real* inverse = job.inverse + first
    cdef real* z
    cdef real* normalized
    cdef Py_ssize_t i, j
    for j in range(n):
        mean[j], square[j] = 0, 0
    for i in range(job.rows):
        z = job.z + i * job.ld + first
        for j in range(n):
            mean[j] += z[j]
    for j in range(n):
        mean[j] /= job.rows
    for i in range(job.rows):
        z = job.z + i * job.ld + first
        for j in range(n):
            distance = z[j] - mean[j]
            square[j] += distance * distance
    for j in range(n):
        variance = square[j] / job.rows
        center[j] = <real> mean[j]
        inverse[j] = <real> (1 / libm_sqrt(variance + job.eps))
        if job.running_mean != NULL and job.rows > 1:
            # The running variance estimates that of all rows: n - 1 degrees of freedom.
            variance = square[j] / (job.rows - 1)
            job.running_mean[first + j] += job.momentum * (mean[j] - job.running_mean[first + j])
            job.running_variance[first + j] += \
                job.momentum * (variance - job.running_variance[first + j])
    for i in range(job.rows):
        z = job.z + i * job.ld + first
        normalized = job.normalized + i * job.ld + first
        for j in range(n):
            normalized[j] = (z[j] - center[j]) * inverse[j]
            z[j] = gamma[j] * normalized[j] + beta[j]


cdef void sum_gradients(const NormJob* job, Py_ssize_t first, Py_ssize_t n, double* dgamma,
                        double* dbeta) noexcept nogil:
    """Of some columns, also into the gradient."""
    cdef const real* dy
    cdef const real* normalized
    cdef Py_ssize_t i, j
    for j in range(n):
        dgamma[j], dbeta[j] = 0, 0
    for i in range(job.rows):
        dy = job.z + i * job.ld + first
        normalized = job.normalized + i * job.ld + first
        for j in range(n):
            dbeta[j] += dy[j]
            dgamma[j] += <double> dy[j] * normalized[j]
    for j in range(n):
        job.dgamma[first + j] = (job.dgamma[first + j] if job.add else 0) + <real> dgamma[j]
        job.dbeta[first + j] = (job.dbeta[first + j] if job.add else 0) + <real> dbeta[j]


cdef void batch_backward_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const NormJob* job = <const NormJob*> context
    cdef Py_ssize_t first = task * NORMALIZED_COLUMNS
    cdef Py_ssize_t n = min(job.n - first, <Py_ssize_t> NORMALIZED_COLUMNS)
    cdef double dgamma[NORMALIZED_COLUMNS]
    cdef double dbeta[NORMALIZED_COLUMNS]
    cdef real factor[NORMALIZED_COLUMNS]
    cdef real by_normalized[NORMALIZED_COLUMNS]
    cdef real mean[NORMALIZED_COLUMNS]
    cdef real* dz
    cdef const real* normalized
    cdef Py_ssize_t i, j
    sum_gradients(job, first, n, dgamma, dbeta)
    for j in range(n):
        factor[j] = job.gamma[first + j] * job.inverse[first + j]
        by_normalized[j] = <real> (dgamma[j] / job.rows)
        mean[j] = <real> (dbeta[j] / job.rows)
    for i in range(job.rows):
        dz = job.z + i * job.ld + first
        normalized = job.normalized + i * job.ld + first
        for j in range(n):
            dz[j] = factor[j] * (dz[j] - mean[j] - normalized[j] * by_normalized[j])


# ---- batch: in prediction y = scale z + shift

cdef void batch_constants(const NormJob* job, real* scale, real* shift) noexcept nogil:
    """(n,) each, from the running means."""
    cdef Py_ssize_t j
    cdef double factor
    for j in range(job.n):
        factor = job.gamma[j] / libm_sqrt(job.running_variance[j] + job.eps)
        scale[j] = <real> factor
        shift[j] = <real> (job.beta[j] - job.running_mean[j] * factor)


cdef void scale_and_shift(real* z, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t ld, const real* scale,
                          const real* shift) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(n):
            z[j] = scale[j] * z[j] + shift[j]
        z += ld


cdef void scale_columns(real* dz, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t ld,
                        const real* scale) noexcept nogil:
    """The way back from that."""
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(n):
            dz[j] *= scale[j]
        dz += ld


# ---- layer

cdef void layer_forward_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const NormJob* job = <const NormJob*> context
    cdef Py_ssize_t first = task * NORMALIZED_ROWS
    cdef const real* gamma = job.gamma
    cdef const real* beta = job.beta
    cdef real center, inverse
    cdef real* z
    cdef real* normalized
    cdef Py_ssize_t i, j, n = job.n
    for i in range(first, min(first + NORMALIZED_ROWS, job.rows)):
        z = job.z + i * job.ld
        normalized = job.normalized + i * job.ld if job.normalized != NULL else z
        center = <real> (sum_of(z, n) / n)
        for j in range(n):
            normalized[j] = z[j] - center
        inverse = <real> (1 / libm_sqrt(sum_of_squares(normalized, n) / n + job.eps))
        if job.inverse != NULL:
            job.inverse[i] = inverse
        for j in range(n):
            normalized[j] *= inverse
        for j in range(n):
            z[j] = gamma[j] * normalized[j] + beta[j]


cdef void layer_gradients_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const NormJob* job = <const NormJob*> context
    cdef Py_ssize_t first = task * NORMALIZED_COLUMNS
    cdef double dgamma[NORMALIZED_COLUMNS]
    cdef double dbeta[NORMALIZED_COLUMNS]
    sum_gradients(job, first, min(job.n - first, <Py_ssize_t> NORMALIZED_COLUMNS), dgamma, dbeta)


cdef void layer_backward_task(void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const NormJob* job = <const NormJob*> context
    cdef Py_ssize_t first = task * NORMALIZED_ROWS
    cdef const real* gamma = job.gamma
    cdef const real* normalized
    cdef real* dz
    cdef real mean, by_normalized, inverse
    cdef Py_ssize_t i, j, n = job.n
    for i in range(first, min(first + NORMALIZED_ROWS, job.rows)):
        dz = job.z + i * job.ld
        normalized = job.normalized + i * job.ld
        for j in range(n):
            dz[j] *= gamma[j]
        mean = <real> (sum_of(dz, n) / n)
        by_normalized = <real> (sum_of_products(dz, normalized, n) / n)
        inverse = job.inverse[i]
        for j in range(n):
            dz[j] = inverse * (dz[j] - mean - normalized[j] * by_normalized)


# ---- both

cdef void normalize(Normalization kind, NormJob* job, int n_threads) noexcept nogil:
    """z becomes y; what the way back needs is kept where the job has room for it."""
    if job.rows * job.n < LEAST_PARALLEL_COPY:
        n_threads = 1
    if kind == BATCH_NORMALIZATION:
        parallel_for(n_threads, shares(job.n, NORMALIZED_COLUMNS), batch_forward_task, job)
    else:
        parallel_for(n_threads, shares(job.rows, NORMALIZED_ROWS), layer_forward_task, job)


cdef void normalize_backward(Normalization kind, NormJob* job, int n_threads) noexcept nogil:
    """dy becomes dz; dgamma and dbeta are written or added to."""
    if job.rows * job.n < LEAST_PARALLEL_COPY:
        n_threads = 1
    if kind == BATCH_NORMALIZATION:
        parallel_for(n_threads, shares(job.n, NORMALIZED_COLUMNS), batch_backward_task, job)
    else:
        parallel_for(n_threads, shares(job.n, NORMALIZED_COLUMNS), layer_gradients_task, job)
        parallel_for(n_threads, shares(job.rows, NORMALIZED_ROWS), layer_backward_task, job)
