# Optimizers: one loop over flat vectors for each, then the table that names them.
#
# A step has two halves: scalars that are the same for every parameter, computed once in double
# precision (`prepare`), and an elementwise loop over any range of the vectors (`update`). `prepare`
# may keep what it has worked out in a memory of two numbers, 0 at first; what it returns depends on
# its other arguments alone.

from libc.math cimport pow as libm_pow, sqrt as libm_sqrt

cdef extern from "math.h":
    float sqrtf(float x) noexcept nogil

cdef enum:
    # Settings as Python hands them over, and scalars as the loops take them.
    MAX_SETTINGS = 8
    MAX_VECTORS = 3


cdef inline real square_root(real x) noexcept nogil:
    if sizeof(real) == 4:
        return <real> sqrtf(<float> x)
    return <real> libm_sqrt(<double> x)


# ---- sgd: settings (momentum, nesterov, rate_inside_velocity); p -= lr g
#      The rate outside the velocity, as PyTorch:   v = m v + g,     p -= lr v  (Nesterov: g + m v)
#      The rate inside, as scikit-learn and Keras:  v = m v - lr g,  p += v     (Nesterov: m v - lr g)

cdef void sgd_prepare(const double* settings, double lr, int64_t step, double* memory,
                      real* s) noexcept nogil:
    s[0] = <real> lr
    s[1] = <real> settings[0]

cdef void sgd(real* p, const real* g, real** v, const real* s, Py_ssize_t n) noexcept nogil:
    cdef real lr = s[0]
    cdef Py_ssize_t i
    for i in range(n):
        p[i] -= lr * g[i]

cdef void sgd_momentum(real* p, const real* g, real** vectors, const real* s,
                       Py_ssize_t n) noexcept nogil:
    cdef real lr = s[0], momentum = s[1]
    cdef real* v = vectors[0]
    cdef Py_ssize_t i
    for i in range(n):
        v[i] = momentum * v[i] + g[i]
        p[i] -= lr * v[i]

cdef void sgd_nesterov(real* p, const real* g, real** vectors, const real* s,
                       Py_ssize_t n) noexcept nogil:
    cdef real lr = s[0], momentum = s[1]
    cdef real* v = vectors[0]
    cdef Py_ssize_t i
    for i in range(n):
        v[i] = momentum * v[i] + g[i]
        p[i] -= lr * (g[i] + momentum * v[i])

cdef void sgd_momentum_inside(real* p, const real* g, real** vectors, const real* s,
                              Py_ssize_t n) noexcept nogil:
    cdef real lr = s[0], momentum = s[1]
    cdef real* v = vectors[0]
    cdef Py_ssize_t i
    for i in range(n):
        v[i] = momentum * v[i] - lr * g[i]
        p[i] += v[i]

cdef void sgd_nesterov_inside(real* p, const real* g, real** vectors, const real* s,
                              Py_ssize_t n) noexcept nogil:
    cdef real lr = s[0], momentum = s[1]
    cdef real* v = vectors[0]
    cdef Py_ssize_t i
    for i in range(n):
        v[i] = momentum * v[i] - lr * g[i]
        p[i] += momentum * v[i] - lr * g[i]


# ---- adam: settings (beta1, beta2, eps); m, v are running means of g and g**2.
#      eps after the bias correction, as Kingma and Ba's algorithm 1 and PyTorch:
#          p -= lr / (1 - beta1**t) * m / (sqrt(v) / sqrt(1 - beta2**t) + eps)
#      eps before it, as their section 2's faster order and scikit-learn:
#          p -= lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + eps)
#      Both are  p -= s[3] * m / (sqrt(v) * s[4] + eps).

cdef void adam_prepare(const double* settings, double lr, int64_t step, double* memory,
                       real* s) noexcept nogil:
    cdef double correction1 = 1 - libm_pow(settings[0], <double> step)
    cdef double correction2 = libm_sqrt(1 - libm_pow(settings[1], <double> step))
    s[0] = <real> (1 - settings[0])
    s[1] = <real> settings[1]
    s[2] = <real> (1 - settings[1])
    s[3] = <real> (lr / correction1)
    s[4] = <real> (1 / correction2)
    s[5] = <real> settings[2]

cdef void adam_eps_before_prepare(const double* settings, double lr, int64_t step, double* memory,
                                  real* s) noexcept nogil:
    adam_prepare(settings, lr, step, memory, s)
    s[3] = <real> (lr * libm_sqrt(1 - libm_pow(settings[1], <double> step))
                   / (1 - libm_pow(settings[0], <double> step)))
    s[4] = 1

cdef void adam(real* p, const real* g, real** vectors, const real* s, Py_ssize_t n) noexcept nogil:
    cdef real one_minus_beta1 = s[0], beta2 = s[1], one_minus_beta2 = s[2]
    cdef real rate = s[3], root_scale = s[4], eps = s[5]
    cdef real* m = vectors[0]
    cdef real* v = vectors[1]
    cdef Py_ssize_t i
    for i in range(n):
        m[i] += one_minus_beta1 * (g[i] - m[i])
        v[i] = beta2 * v[i] + one_minus_beta2 * (g[i] * g[i])
        p[i] -= rate * m[i] / (square_root(v[i]) * root_scale + eps)


# ---- nadam: settings (beta1, beta2, eps, momentum_decay); Adam with Nesterov's look ahead, as Dozat
#      (2016) and PyTorch. With mu[t] = beta1 (1 - 0.96**(t momentum_decay) / 2) and M[t] the product
#      of all mu up to t:
#          p -= lr ((1 - mu[t]) / (1 - M[t]) g + mu[t+1] / (1 - M[t+1]) m)
#                  / (sqrt(v) / sqrt(1 - beta2**t) + eps)

cdef inline double nadam_momentum(const double* settings, int64_t step) noexcept nogil:
    return settings[0] * (1 - 0.5 * libm_pow(0.96, <double> step * settings[3]))

cdef void nadam_prepare(const double* settings, double lr, int64_t step, double* memory,
                        real* s) noexcept nogil:
    cdef double now, following = nadam_momentum(settings, step + 1)
    cdef int64_t t
    # The memory is M[t] and t: a step needs one factor more than the last, in the same order.
    if memory[1] != step - 1 or step == 1:
        memory[0] = 1
        for t in range(1, step):
            memory[0] *= nadam_momentum(settings, t)
    now = nadam_momentum(settings, step)
    memory[0] *= now
    memory[1] = <double> step
    s[0] = <real> (1 - settings[0])
    s[1] = <real> settings[1]
    s[2] = <real> (1 - settings[1])
    s[3] = <real> (lr * (1 - now) / (1 - memory[0]))
    s[4] = <real> (lr * following / (1 - memory[0] * following))
    s[5] = <real> (1 / libm_sqrt(1 - libm_pow(settings[1], <double> step)))
    s[6] = <real> settings[2]

cdef void nadam(real* p, const real* g, real** vectors, const real* s, Py_ssize_t n) noexcept nogil:
    cdef real one_minus_beta1 = s[0], beta2 = s[1], one_minus_beta2 = s[2]
    cdef real rate_of_g = s[3], rate_of_m = s[4], root_scale = s[5], eps = s[6]
    cdef real* m = vectors[0]
    cdef real* v = vectors[1]
    cdef Py_ssize_t i
    for i in range(n):
        m[i] += one_minus_beta1 * (g[i] - m[i])
        v[i] = beta2 * v[i] + one_minus_beta2 * (g[i] * g[i])
        p[i] -= (rate_of_g * g[i] + rate_of_m * m[i]) / (square_root(v[i]) * root_scale + eps)


# ---- rmsprop: settings (alpha, eps, momentum); v is a running mean of g**2, and d = sqrt(v) + eps.
#      Hinton (2012), as PyTorch: p -= lr g / d. With momentum b = momentum b + g / d, p -= lr b.
#      Centered (Graves, 2013): u is a running mean of g, and d = sqrt(v - u**2) + eps.

cdef void rmsprop_prepare(const double* settings, double lr, int64_t step, double* memory,
                          real* s) noexcept nogil:
    s[0] = <real> lr
    s[1] = <real> settings[0]
    s[2] = <real> (1 - settings[0])
    s[3] = <real> settings[1]
    s[4] = <real> settings[2]

cdef void rmsprop(real* p, const real* g, real** vectors, const real* s,
                  Py_ssize_t n) noexcept nogil:
    cdef real lr = s[0], alpha = s[1], one_minus_alpha = s[2], eps = s[3]
    cdef real* v = vectors[0]
    cdef Py_ssize_t i
    for i in range(n):
        v[i] = alpha * v[i] + one_minus_alpha * (g[i] * g[i])
        p[i] -= lr * (g[i] / (square_root(v[i]) + eps))

cdef void rmsprop_momentum(real* p, const real* g, real** vectors, const real* s,
                           Py_ssize_t n) noexcept nogil:
    cdef real lr = s[0], alpha = s[1], one_minus_alpha = s[2], eps = s[3], momentum = s[4]
    cdef real* v = vectors[0]
    cdef real* b = vectors[1]
    cdef Py_ssize_t i
    for i in range(n):
        v[i] = alpha * v[i] + one_minus_alpha * (g[i] * g[i])
        b[i] = momentum * b[i] + g[i] / (square_root(v[i]) + eps)
        p[i] -= lr * b[i]

cdef inline real spread(real v, real u) noexcept nogil:
    """The root of v - u**2, which rounding may bring below zero."""
    cdef real zero = 0.0
    cdef real square = v - u * u
    return square_root(zero if square < zero else square)

cdef void rmsprop_centered(real* p, const real* g, real** vectors, const real* s,
                           Py_ssize_t n) noexcept nogil:
    cdef real lr = s[0], alpha = s[1], one_minus_alpha = s[2], eps = s[3]
    cdef real* v = vectors[0]
    cdef real* u = vectors[1]
    cdef Py_ssize_t i
    for i in range(n):
        v[i] = alpha * v[i] + one_minus_alpha * (g[i] * g[i])
        u[i] += one_minus_alpha * (g[i] - u[i])
        p[i] -= lr * (g[i] / (spread(v[i], u[i]) + eps))

cdef void rmsprop_centered_momentum(real* p, const real* g, real** vectors, const real* s,
                                    Py_ssize_t n) noexcept nogil:
    cdef real lr = s[0], alpha = s[1], one_minus_alpha = s[2], eps = s[3], momentum = s[4]
    cdef real* v = vectors[0]
    cdef real* u = vectors[1]
    cdef real* b = vectors[2]
    cdef Py_ssize_t i
    for i in range(n):
        v[i] = alpha * v[i] + one_minus_alpha * (g[i] * g[i])
        u[i] += one_minus_alpha * (g[i] - u[i])
        b[i] = momentum * b[i] + g[i] / (spread(v[i], u[i]) + eps)
        p[i] -= lr * b[i]


# ---- adagrad: settings (rate_decay, eps); v is the sum of g**2. Duchi, Hazan and Singer (2011), as
#      PyTorch: p -= lr / (1 + (t - 1) rate_decay) g / (sqrt(v) + eps)

cdef void adagrad_prepare(const double* settings, double lr, int64_t step, double* memory,
                          real* s) noexcept nogil:
    s[0] = <real> (lr / (1 + (step - 1) * settings[0]))
    s[1] = <real> settings[1]

cdef void adagrad(real* p, const real* g, real** vectors, const real* s,
                  Py_ssize_t n) noexcept nogil:
    cdef real lr = s[0], eps = s[1]
    cdef real* v = vectors[0]
    cdef Py_ssize_t i
    for i in range(n):
        v[i] += g[i] * g[i]
        p[i] -= lr * (g[i] / (square_root(v[i]) + eps))


ctypedef void (*prepare_function)(const double*, double, int64_t, double*, real*) noexcept nogil
ctypedef void (*update_function)(real*, const real*, real**, const real*,
                                 Py_ssize_t) noexcept nogil

cdef struct Optimizer:
    prepare_function prepare
    update_function update
    int n_vectors             # state vectors, each as long as params

cdef enum:
    SGD, SGD_MOMENTUM, SGD_NESTEROV, SGD_MOMENTUM_INSIDE, SGD_NESTEROV_INSIDE
    ADAM, ADAM_EPS_BEFORE, NADAM
    RMSPROP, RMSPROP_MOMENTUM, RMSPROP_CENTERED, RMSPROP_CENTERED_MOMENTUM, ADAGRAD
    N_OPTIMIZERS
    LEVENBERG_MARQUARDT = N_OPTIMIZERS    # no elementwise step: levenberg.pxi

cdef Optimizer[N_OPTIMIZERS] optimizer_table
optimizer_table[SGD] = Optimizer(sgd_prepare, sgd, 0)
optimizer_table[SGD_MOMENTUM] = Optimizer(sgd_prepare, sgd_momentum, 1)
optimizer_table[SGD_NESTEROV] = Optimizer(sgd_prepare, sgd_nesterov, 1)
optimizer_table[SGD_MOMENTUM_INSIDE] = Optimizer(sgd_prepare, sgd_momentum_inside, 1)
optimizer_table[SGD_NESTEROV_INSIDE] = Optimizer(sgd_prepare, sgd_nesterov_inside, 1)
optimizer_table[ADAM] = Optimizer(adam_prepare, adam, 2)
optimizer_table[ADAM_EPS_BEFORE] = Optimizer(adam_eps_before_prepare, adam, 2)
optimizer_table[NADAM] = Optimizer(nadam_prepare, nadam, 2)
optimizer_table[RMSPROP] = Optimizer(rmsprop_prepare, rmsprop, 1)
optimizer_table[RMSPROP_MOMENTUM] = Optimizer(rmsprop_prepare, rmsprop_momentum, 2)
optimizer_table[RMSPROP_CENTERED] = Optimizer(rmsprop_prepare, rmsprop_centered, 2)
optimizer_table[RMSPROP_CENTERED_MOMENTUM] = Optimizer(rmsprop_prepare, rmsprop_centered_momentum, 3)
optimizer_table[ADAGRAD] = Optimizer(adagrad_prepare, adagrad, 1)

OPTIMIZERS = {"sgd": SGD, "sgd_momentum": SGD_MOMENTUM, "sgd_nesterov": SGD_NESTEROV,
              "sgd_momentum_inside": SGD_MOMENTUM_INSIDE,
              "sgd_nesterov_inside": SGD_NESTEROV_INSIDE,
              "adam": ADAM, "adam_eps_before": ADAM_EPS_BEFORE, "nadam": NADAM,
              "rmsprop": RMSPROP, "rmsprop_momentum": RMSPROP_MOMENTUM,
              "rmsprop_centered": RMSPROP_CENTERED,
              "rmsprop_centered_momentum": RMSPROP_CENTERED_MOMENTUM, "adagrad": ADAGRAD}
SECOND_ORDER = {"levenberg_marquardt": LEVENBERG_MARQUARDT}
