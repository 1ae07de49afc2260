# Optimizers: one loop over flat vectors for each, then the table that names them.
#
# A step has two halves: scalars that are the same for every parameter, computed once in double
# precision (`prepare`), and an elementwise loop over any range of the vectors (`update`).

from libc.math cimport pow as libm_pow, sqrt as libm_sqrt

cdef extern from "math.h":
    float sqrtf(float x) noexcept nogil

cdef enum:
    # Settings as Python hands them over, and scalars as the loops take them.
    MAX_SETTINGS = 8
    MAX_VECTORS = 2


cdef inline real square_root(real x) noexcept nogil:
    if sizeof(real) == 4:
        return <real> sqrtf(<float> x)
    return <real> libm_sqrt(<double> x)


# ---- sgd: settings (momentum, nesterov, rate_inside_velocity); p -= lr g
#      The rate outside the velocity, as PyTorch:   v = m v + g,     p -= lr v  (Nesterov: g + m v)
#      The rate inside, as scikit-learn and Keras:  v = m v - lr g,  p += v     (Nesterov: m v - lr g)

cdef void sgd_prepare(const double* settings, double lr, int64_t step, real* s) noexcept nogil:
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

cdef void adam_prepare(const double* settings, double lr, int64_t step, real* s) noexcept nogil:
    cdef double correction1 = 1 - libm_pow(settings[0], <double> step)
    cdef double correction2 = libm_sqrt(1 - libm_pow(settings[1], <double> step))
    s[0] = <real> (1 - settings[0])
    s[1] = <real> settings[1]
    s[2] = <real> (1 - settings[1])
    s[3] = <real> (lr / correction1)
    s[4] = <real> (1 / correction2)
    s[5] = <real> settings[2]

cdef void adam_eps_before_prepare(const double* settings, double lr, int64_t step,
                                  real* s) noexcept nogil:
    adam_prepare(settings, lr, step, s)
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


ctypedef void (*prepare_function)(const double*, double, int64_t, real*) noexcept nogil
ctypedef void (*update_function)(real*, const real*, real**, const real*,
                                 Py_ssize_t) noexcept nogil

cdef struct Optimizer:
    prepare_function prepare
    update_function update
    int n_vectors             # state vectors, each as long as params

cdef enum:
    SGD, SGD_MOMENTUM, SGD_NESTEROV, SGD_MOMENTUM_INSIDE, SGD_NESTEROV_INSIDE
    ADAM, ADAM_EPS_BEFORE
    N_OPTIMIZERS

cdef Optimizer[N_OPTIMIZERS] optimizer_table
optimizer_table[SGD]                 = Optimizer(sgd_prepare,             sgd,                 0)
optimizer_table[SGD_MOMENTUM]        = Optimizer(sgd_prepare,             sgd_momentum,        1)
optimizer_table[SGD_NESTEROV]        = Optimizer(sgd_prepare,             sgd_nesterov,        1)
optimizer_table[SGD_MOMENTUM_INSIDE] = Optimizer(sgd_prepare,             sgd_momentum_inside, 1)
optimizer_table[SGD_NESTEROV_INSIDE] = Optimizer(sgd_prepare,             sgd_nesterov_inside, 1)
optimizer_table[ADAM]                = Optimizer(adam_prepare,            adam,                2)
optimizer_table[ADAM_EPS_BEFORE]     = Optimizer(adam_eps_before_prepare, adam,                2)

OPTIMIZERS = {"sgd": SGD, "sgd_momentum": SGD_MOMENTUM, "sgd_nesterov": SGD_NESTEROV,
              "sgd_momentum_inside": SGD_MOMENTUM_INSIDE,
              "sgd_nesterov_inside": SGD_NESTEROV_INSIDE,
              "adam": ADAM, "adam_eps_before": ADAM_EPS_BEFORE}
