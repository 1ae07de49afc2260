# Losses: a value and a derivative per row, then the table that names them.
#
# A loss gets one row: the raw scores z, the outputs a = f(z), the target t and, if it has any, a
# constant for each output. It returns the row's value and writes `factor` times the row's derivative
# into dz. Where the formula has a mean over the outputs, it gives the sum, and the table says that
# n_out divides both; a plan may be given other shares. The table also says with respect to what the
# derivative is: to z itself where loss and output activation are one formula (softmax with
# cross-entropy, sigmoid with binary cross-entropy, exp with poisson and half_poisson_deviance),
# otherwise to a, and the activation's own derivative follows.
#
# A target may be unknown: NaN, where the plan allows it. A loss that is made output by output then
# sees the row's known outputs only.

from libc.math cimport NAN, M_LN2 as LOG_2, exp as libm_exp, expm1 as libm_expm1, \
    log as libm_log, log1p


ctypedef double (*loss_function)(const real*, const real*, const real*, real, real*, Py_ssize_t,
                                 const real*) noexcept nogil

cdef struct LossRows:
    # A chunk's rows on their way through a loss.
    const real* z
    const real* a
    Py_ssize_t ld                  # from one row of z, a and dz to the next
    const real* t
    Py_ssize_t ld_t
    const real* weights            # (rows,), or NULL for ones
    const real* constants          # (n_out,), or NULL
    double scale
    real* dz
    Py_ssize_t rows, n_out
    bint mean_over_outputs
    real* known                    # (5, n_out), room for the known part of a row; NULL: all are


cdef inline double each_row(loss_function of_row, const LossRows* r) noexcept nogil:
    """The weighted sum of the rows' losses, in order; writes weight * scale * derivative to dz."""
    cdef Py_ssize_t i, n_out = r.n_out, ld = r.ld, ld_t = r.ld_t
    cdef const real* z = r.z
    cdef const real* a = r.a
    cdef const real* t = r.t
    cdef const real* constants = r.constants
    cdef real* dz = r.dz
    cdef double total = 0, weight = 1, scale = r.scale
    if r.known != NULL:
        return each_known_row(of_row, r)
    for i in range(r.rows):
        if r.weights != NULL:
            weight = r.weights[i]
        total += weight * of_row(z, a, t, <real> (weight * scale), dz, n_out, constants)
        z += ld
        a += ld
        dz += ld
        t += ld_t
    return total


cdef double each_known_row(loss_function of_row, const LossRows* r) noexcept nogil:
    """The same where some targets are unknown."""
    cdef Py_ssize_t i, n_known
    cdef const real* z = r.z
    cdef const real* a = r.a
    cdef const real* t = r.t
    cdef real* dz = r.dz
    cdef double total = 0, weight = 1, share
    for i in range(r.rows):
        if r.weights != NULL:
            weight = r.weights[i]
        n_known = keep_known(r, z, a, t)
        if n_known == r.n_out:
            total += weight * of_row(z, a, t, <real> (weight * r.scale), dz, r.n_out, r.constants)
        else:
            # The mean, where there is one, is over the outputs that are known.
            share = <double> r.n_out / n_known if r.mean_over_outputs and n_known > 0 else 1
            total += weight * share * of_row(
                r.known, r.known + r.n_out, r.known + 2 * r.n_out,
                <real> (weight * r.scale * share), r.known + 3 * r.n_out, n_known,
                r.known + 4 * r.n_out if r.constants != NULL else NULL)
            spread_known(r, t, dz)
        z += r.ld
        a += r.ld
        dz += r.ld
        t += r.ld_t
    return total


cdef inline bint is_known(real t) noexcept nogil:
    """Whether a target is a number."""
    return t == t


cdef inline bint any_known(const real* t, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        if is_known(t[j]):
            return True
    return False


cdef Py_ssize_t keep_known(const LossRows* r, const real* z, const real* a,
                           const real* t) noexcept nogil:
    """Move the known outputs of a row together, into ``known``; how many they are."""
    cdef Py_ssize_t j, n = 0, n_out = r.n_out
    for j in range(n_out):
        if is_known(t[j]):
            r.known[n], r.known[n_out + n], r.known[2 * n_out + n] = z[j], a[j], t[j]
            if r.constants != NULL:
                r.known[4 * n_out + n] = r.constants[j]
            n += 1
    return n


cdef void spread_known(const LossRows* r, const real* t, real* dz) noexcept nogil:
    """The derivative back to where the known outputs are; zero for the others."""
    cdef Py_ssize_t j, n = 0
    for j in range(r.n_out):
        dz[j] = 0
        if is_known(t[j]):
            dz[j] = r.known[3 * r.n_out + n]
            n += 1


cdef inline double squared_differences(const real* a, const real* t, real factor, real* dz,
                                       Py_ssize_t n) noexcept nogil:
    """The sum of (a - t)**2, in the order of ``sum_of_squares``; dz = factor (a - t)."""
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
                              Py_ssize_t n, const real* c) noexcept nogil:
    return squared_differences(a, t, factor + factor, dz, n)

cdef double mse(const LossRows* rows) noexcept nogil:
    return each_row(mse_of_row, rows)


# ---- half_squared_error: half the sum over the outputs of (a - t)**2; to a: a - t

cdef inline double half_squared_error_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n,
        const real* c) noexcept nogil:
    return 0.5 * squared_differences(a, t, factor, dz, n)

cdef double half_squared_error(const LossRows* rows) noexcept nogil:
    return each_row(half_squared_error_of_row, rows)


# ---- cross_entropy, a = softmax(z): -sum of t log a; to z: a sum(t) - t
#      The constant is a smoothing s (Szegedy et al., 2016): t becomes (1 - s) t + s / n.
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
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n,
        const real* c) noexcept nogil:
    cdef Py_ssize_t j
    cdef double log_sum = log_of_sum(z, a, n)
    cdef double total = 0
    cdef real weight = 0, one = 1.0, target
    cdef real smoothing = c[0] if c != NULL else 0
    cdef real floor = smoothing / n
    for j in range(n):
        weight += (one - smoothing) * t[j] + floor
    for j in range(n):
        target = (one - smoothing) * t[j] + floor
        total += target * (log_sum - z[j])
        dz[j] = factor * (a[j] * weight - target)
    return total

cdef double cross_entropy(const LossRows* rows) noexcept nogil:
    return each_row(cross_entropy_of_row, rows)

cdef inline double cross_entropy_of_labels_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n,
        const real* c) noexcept nogil:
    """The same for one class number t[0] instead of a probability for each class."""
    cdef Py_ssize_t j
    cdef Py_ssize_t label = <Py_ssize_t> t[0]
    if label < 0 or label >= n:
        return NAN    # the user's array was written to after it was judged
    cdef double log_sum = log_of_sum(z, a, n)
    cdef double total = log_sum - z[label], of_all = 0
    cdef real one = 1.0
    cdef real smoothing = c[0] if c != NULL else 0
    cdef real floor = smoothing / n
    for j in range(n):
        dz[j] = factor * (a[j] - floor - (one - smoothing) * (j == label))
    if smoothing > 0:
        for j in range(n):
            of_all += log_sum - z[j]
        total = (one - smoothing) * total + floor * of_all
    return total

cdef double cross_entropy_of_labels(const LossRows* rows) noexcept nogil:
    return each_row(cross_entropy_of_labels_of_row, rows)


# ---- binary_cross_entropy, a = sigmoid(z): mean over the outputs of -t log a - (1-t) log(1-a);
#      to z: (a - t) / n_out

cdef inline double binary_cross_entropy_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n,
        const real* c) noexcept nogil:
    cdef Py_ssize_t j
    cdef double total = 0
    for j in range(n):
        total += (z[j] if z[j] > 0 else 0.0) - <double> z[j] * t[j] \
            + log1p(libm_exp(-fabs(<double> z[j])))
        dz[j] = factor * (a[j] - t[j])
    return total

cdef double binary_cross_entropy(const LossRows* rows) noexcept nogil:
    return each_row(binary_cross_entropy_of_row, rows)


# ---- mae: mean over the outputs of |a - t|; to a: the sign of a - t, / n_out

cdef inline double mae_of_row(const real* z, const real* a, const real* t, real factor, real* dz,
                              Py_ssize_t n, const real* c) noexcept nogil:
    cdef Py_ssize_t j
    cdef real zero = 0.0, difference
    cdef double total = 0
    for j in range(n):
        difference = a[j] - t[j]
        total += fabs(<double> difference)
        dz[j] = factor if difference > zero else -factor if difference < zero else zero
    return total

cdef double mae(const LossRows* rows) noexcept nogil:
    return each_row(mae_of_row, rows)


# ---- huber: mean over the outputs of d**2 / 2 where |d| <= delta, else delta (|d| - delta / 2), with
#      d = a - t; to a: d, or delta with d's sign, / n_out. Huber (1964), as PyTorch. The constant is
#      delta

cdef inline double huber_of_row(const real* z, const real* a, const real* t, real factor, real* dz,
                                Py_ssize_t n, const real* c) noexcept nogil:
    cdef Py_ssize_t j
    cdef real difference, cut
    cdef double total = 0
    for j in range(n):
        difference = a[j] - t[j]
        cut = c[j] if difference > c[j] else -c[j] if difference < -c[j] else difference
        # d cut - cut**2 / 2 is both cases.
        total += <double> cut * (difference - 0.5 * cut)
        dz[j] = factor * cut
    return total

cdef double huber(const LossRows* rows) noexcept nogil:
    return each_row(huber_of_row, rows)


# ---- quantile: mean over the outputs of tau d where d > 0, else (tau - 1) d, with d = t - a; to a:
#      -tau or 1 - tau, / n_out. Koenker and Bassett (1978). The constant is tau

cdef inline double quantile_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n,
        const real* c) noexcept nogil:
    cdef Py_ssize_t j
    cdef real zero = 0.0, one = 1.0, difference, slope
    cdef double total = 0
    for j in range(n):
        difference = t[j] - a[j]
        slope = c[j] if difference > zero else c[j] - one if difference < zero else zero
        total += <double> slope * difference
        dz[j] = -factor * slope
    return total

cdef double quantile(const LossRows* rows) noexcept nogil:
    return each_row(quantile_of_row, rows)


# ---- log_cosh: mean over the outputs of log cosh d with d = a - t; to a: tanh d / n_out

cdef inline double log_cosh_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n,
        const real* c) noexcept nogil:
    cdef Py_ssize_t j
    cdef double total = 0, size
    for j in range(n):
        size = fabs(<double> a[j] - t[j])
        # cosh itself overflows; near zero the sum of the two logarithms would cancel.
        total += log1p(0.5 * libm_expm1(-size) * libm_expm1(-size) * libm_exp(size)) \
            if size < 1 else size + log1p(libm_exp(-2 * size)) - LOG_2
        dz[j] = factor * hyperbolic_tangent(a[j] - t[j])
    return total

cdef double log_cosh(const LossRows* rows) noexcept nogil:
    return each_row(log_cosh_of_row, rows)


# ---- poisson, a = exp(z): mean over the outputs of a - t z, the negative logarithm of the likelihood
#      without what depends on t alone; to z: (a - t) / n_out

cdef inline double poisson_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n,
        const real* c) noexcept nogil:
    cdef Py_ssize_t j
    cdef double total = 0
    for j in range(n):
        total += a[j] - <double> t[j] * z[j]
        dz[j] = factor * (a[j] - t[j])
    return total

cdef double poisson(const LossRows* rows) noexcept nogil:
    return each_row(poisson_of_row, rows)


# ---- half_poisson_deviance, a = exp(z): sum over the outputs of t log(t / a) - t + a; to z: a - t

cdef inline double half_poisson_deviance_of_row(
        const real* z, const real* a, const real* t, real factor, real* dz, Py_ssize_t n,
        const real* c) noexcept nogil:
    cdef Py_ssize_t j
    cdef double total = 0
    for j in range(n):
        total += <double> a[j] - t[j]
        if t[j] > 0:
            total += t[j] * (libm_log(<double> t[j]) - z[j])
        dz[j] = factor * (a[j] - t[j])
    return total

cdef double half_poisson_deviance(const LossRows* rows) noexcept nogil:
    return each_row(half_poisson_deviance_of_row, rows)


ctypedef double (*rows_function)(const LossRows*) noexcept nogil

cdef struct Loss:
    rows_function of_rows
    bint from_scores          # the derivative is with respect to z
    bint of_labels            # the target is one class number, not n_out numbers
    bint mean_over_outputs    # value and derivative are still to be divided by n_out

cdef enum:
    MSE, HALF_SQUARED_ERROR, CROSS_ENTROPY, CROSS_ENTROPY_OF_LABELS, BINARY_CROSS_ENTROPY
    MAE, HUBER, QUANTILE, LOG_COSH, POISSON, HALF_POISSON_DEVIANCE, N_LOSSES

cdef Loss[N_LOSSES] loss_table
loss_table[MSE]                     = Loss(mse,                     False, False, True)
loss_table[HALF_SQUARED_ERROR]      = Loss(half_squared_error,      False, False, False)
loss_table[CROSS_ENTROPY]           = Loss(cross_entropy,           True,  False, False)
loss_table[CROSS_ENTROPY_OF_LABELS] = Loss(cross_entropy_of_labels, True,  True,  False)
loss_table[BINARY_CROSS_ENTROPY]    = Loss(binary_cross_entropy,    True,  False, True)
loss_table[MAE]                     = Loss(mae,                     False, False, True)
loss_table[HUBER]                   = Loss(huber,                   False, False, True)
loss_table[QUANTILE]                = Loss(quantile,                False, False, True)
loss_table[LOG_COSH]                = Loss(log_cosh,                False, False, True)
loss_table[POISSON]                 = Loss(poisson,                 True,  False, True)
loss_table[HALF_POISSON_DEVIANCE]   = Loss(half_poisson_deviance,   True,  False, False)

LOSSES = {"mse": MSE, "half_squared_error": HALF_SQUARED_ERROR, "cross_entropy": CROSS_ENTROPY,
          "cross_entropy_of_labels": CROSS_ENTROPY_OF_LABELS,
          "binary_cross_entropy": BINARY_CROSS_ENTROPY, "mae": MAE, "huber": HUBER,
          "quantile": QUANTILE, "log_cosh": LOG_COSH, "poisson": POISSON,
          "half_poisson_deviance": HALF_POISSON_DEVIANCE}


cdef struct LossJob:
    # A loss as `evaluate` or the training uses it.
    int loss
    bint mean                        # the objective is a mean over rows, not a sum
    bint missing                     # a target may be NaN: not known
    bint mean_over_outputs
    double value_share               # of the formula's sum over the outputs in a row's value,
    double derivative_share          # and of its derivative
    const real* constants            # (n_out,), or NULL
    Py_ssize_t target_cols           # as the loss reads them


cdef double losses_of_rows(const LossJob* job, LossRows* r) noexcept nogil:
    """The weighted sum of a chunk's losses, in order; writes weight * scale * derivative to dz.

    ``r`` is complete but for what the job says.
    """
    r.mean_over_outputs = job.mean_over_outputs
    r.scale *= job.derivative_share
    return loss_table[job.loss].of_rows(r) * job.value_share
