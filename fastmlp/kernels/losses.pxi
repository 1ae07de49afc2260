# Losses: a value and a derivative per row, then the table that names them.
#
# A loss gets one row: the raw scores z, the outputs a = f(z) and the target t. It returns the row's
# value and writes `factor` times the row's derivative into dz. Where the formula has a mean over
# the outputs, it gives the sum, and the table says that n_out divides both. The table also says with
# respect to what the derivative is: to z itself where loss and output activation are one formula
# (softmax with cross-entropy, sigmoid with binary cross-entropy: finite for any score), otherwise
# to a, and the activation's own derivative follows.

from libc.math cimport NAN, exp as libm_exp, fabs, log as libm_log, log1p


ctypedef double (*loss_function)(const real*, const real*, const real*, real, real*,
                                 Py_ssize_t) noexcept nogil

cdef struct LossRows:
    # A chunk's rows on their way through a loss.
    const real* z
    const real* a
    Py_ssize_t ld                  # from one row of z, a and dz to the next
    const real* t
    Py_ssize_t ld_t
    const real* weights            # (rows,), or NULL for ones
    double scale
    real* dz
    Py_ssize_t rows, n_out


cdef inline double each_row(loss_function of_row, const LossRows* r) noexcept nogil:
    """The weighted sum of the rows' losses, in order; writes weight * scale * derivative to dz."""
    cdef Py_ssize_t i
    cdef const real* z = r.z
    cdef const real* a = r.a
    cdef const real* t = r.t
    cdef real* dz = r.dz
    cdef double total = 0, weight = 1
    for i in range(r.rows):
        if r.weights != NULL:
            weight = r.weights[i]
        total += weight * of_row(z, a, t, <real> (weight * r.scale), dz, r.n_out)
        z += r.ld
        a += r.ld
        dz += r.ld
        t += r.ld_t
    return total


cdef inline double sum_of_squares(const real* x, Py_ssize_t n) noexcept nogil:
    """In eight sums side by side, so that one addition need not wait for the last."""
    cdef double lanes[8]
    cdef double total = 0
    cdef Py_ssize_t j = 0
    cdef int lane
    if n >= 8:
        for lane in range(8):
            lanes[lane] = 0
        while j + 8 <= n:
            for lane in range(8):
                lanes[lane] += <double> x[j + lane] * x[j + lane]
            j += 8
        for lane in range(8):
            total += lanes[lane]
    while j < n:
        total += <double> x[j] * x[j]
        j += 1
    return total


cdef inline double squared_differences(const real* a, const real* t, real factor, real* dz,
                                       Py_ssize_t n) noexcept nogil:
    """The sum of (a - t)**2, made like ``sum_of_squares``; dz = factor (a - t)."""
    cdef double lanes[8]
    cdef double total = 0
    cdef real difference
    cdef Py_ssize_t j = 0
    cdef int lane
    if n >= 8:
        for lane in range(8):
            lanes[lane] = 0
        while j + 8 <= n:
            for lane in range(8):
                difference = a[j + lane] - t[j + lane]
                dz[j + lane] = factor * difference
                lanes[lane] += <double> difference * difference
            j += 8
        for lane in range(8):
            total += lanes[lane]
    while j < n:
        difference = a[j] - t[j]
        dz[j] = factor * difference
        total += <double> difference * difference
        j += 1
    return total


# ---- mse: mean over the outputs of (a - t)**2; to a: 2 (a - t) / n_out

cdef inline double mse_of_row(const real* z, const real* a, const real* t, real factor, real* dz,
                              Py_ssize_t n) noexcept nogil:
    return squared_differences(a, t, factor + factor, dz, n)

cdef double mse(const LossRows* rows) noexcept nogil:
    return each_row(mse_of_row, rows)


# ---- half_squared_error: half the sum over the outputs of (a - t)**2; to a: a - t

cdef inline double half_squared_error_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n) noexcept nogil:
    return 0.5 * squared_differences(a, t, factor, dz, n)

cdef double half_squared_error(const LossRows* rows) noexcept nogil:
    return each_row(half_squared_error_of_row, rows)


# ---- cross_entropy, a = softmax(z): -sum of t log a; to z: a sum(t) - t
#
# log a[j] = z[j] - max z - log(sum of e**(z - max z)), and that sum is 1 / max a.

cdef inline double log_of_sum(const real* z, const real* a, Py_ssize_t n) noexcept nogil:
    """log of the sum of e**z[j], from z and its softmax a."""
    cdef Py_ssize_t j, best = 0
    for j in range(1, n):
        if z[j] > z[best]:
            best = j
    return <double> z[best] - libm_log(<double> a[best])

cdef inline double cross_entropy_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef double log_sum = log_of_sum(z, a, n)
    cdef double total = 0
    cdef real weight = 0
    for j in range(n):
        weight += t[j]
    for j in range(n):
        total += t[j] * (log_sum - z[j])
        dz[j] = factor * (a[j] * weight - t[j])
    return total

cdef double cross_entropy(const LossRows* rows) noexcept nogil:
    return each_row(cross_entropy_of_row, rows)

cdef inline double cross_entropy_of_labels_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n) noexcept nogil:
    """The same for one class number t[0] instead of a probability for each class."""
    cdef Py_ssize_t j
    cdef Py_ssize_t label = <Py_ssize_t> t[0]
    if label < 0 or label >= n:
        return NAN    # the user's array was written to after it was judged
    for j in range(n):
        dz[j] = factor * (a[j] - (j == label))
    return log_of_sum(z, a, n) - z[label]

cdef double cross_entropy_of_labels(const LossRows* rows) noexcept nogil:
    return each_row(cross_entropy_of_labels_of_row, rows)


# ---- binary_cross_entropy, a = sigmoid(z): mean over the outputs of -t log a - (1-t) log(1-a);
#      to z: (a - t) / n_out

cdef inline double binary_cross_entropy_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    cdef double total = 0
    for j in range(n):
        total += (z[j] if z[j] > 0 else 0.0) - <double> z[j] * t[j] \
            + log1p(libm_exp(-fabs(<double> z[j])))
        dz[j] = factor * (a[j] - t[j])
    return total

cdef double binary_cross_entropy(const LossRows* rows) noexcept nogil:
    return each_row(binary_cross_entropy_of_row, rows)


ctypedef double (*rows_function)(const LossRows*) noexcept nogil

cdef struct Loss:
    rows_function of_rows
    bint from_scores          # the derivative is with respect to z
    bint of_labels            # the target is one class number, not n_out numbers
    bint mean_over_outputs    # value and derivative are still to be divided by n_out

cdef enum:
    MSE, HALF_SQUARED_ERROR, CROSS_ENTROPY, CROSS_ENTROPY_OF_LABELS, BINARY_CROSS_ENTROPY, N_LOSSES

cdef Loss[N_LOSSES] loss_table
loss_table[MSE]                     = Loss(mse,                     False, False, True)
loss_table[HALF_SQUARED_ERROR]      = Loss(half_squared_error,      False, False, False)
loss_table[CROSS_ENTROPY]           = Loss(cross_entropy,           True,  False, False)
loss_table[CROSS_ENTROPY_OF_LABELS] = Loss(cross_entropy_of_labels, True,  True,  False)
loss_table[BINARY_CROSS_ENTROPY]    = Loss(binary_cross_entropy,    True,  False, True)

LOSSES = {"mse": MSE, "half_squared_error": HALF_SQUARED_ERROR, "cross_entropy": CROSS_ENTROPY,
          "cross_entropy_of_labels": CROSS_ENTROPY_OF_LABELS,
          "binary_cross_entropy": BINARY_CROSS_ENTROPY}


cdef double losses_of_rows(int loss, const real* z, const real* a, const real* t, Py_ssize_t ld_t,
                           const real* weights, double scale, real* dz, Py_ssize_t rows,
                           Py_ssize_t n_out, Py_ssize_t ld) noexcept nogil:
    """The weighted sum of a chunk's losses, in order; writes weight * scale * derivative to dz.

    ``weights`` (rows,) may be NULL for ones.
    """
    cdef double share = 1.0 / n_out if loss_table[loss].mean_over_outputs else 1.0
    cdef LossRows r
    r.z, r.a, r.ld, r.t, r.ld_t = z, a, ld, t, ld_t
    r.weights, r.scale, r.dz, r.rows, r.n_out = weights, scale * share, dz, rows, n_out
    return loss_table[loss].of_rows(&r) * share
