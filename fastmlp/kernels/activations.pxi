# Activations: f and its derivative side by side, then the table that names them.
#
# The loops are plain so that the compiler vectorises them: no branch, no call, no errno. Forward
# works in place on a block of rows; backward multiplies dz by f'(z), read from a = f(z) or from z,
# whichever the table says. Whole vectors are processed, padding included: what a padded column
# holds is never read. Where rows lie without a gap, several may come as a single long one.


cdef inline real round_to_integer(real x, integer* whole) noexcept nogil:
    """Round |x| < 2**21 to the nearest integer, as a ``real`` and (in ``whole``) as an integer.

    Adding 1.5 * 2**(bits of the mantissa) pushes the fraction out and leaves the integer in the
    low bits of the sum: two additions, on every CPU.
    """
    cdef real magic = 12582912.0 if sizeof(real) == 4 else 6755399441055744.0
    cdef real shifted = x + magic
    whole[0] = bits_of(shifted) - bits_of(magic)
    return shifted - magic


cdef inline real power_of_two(integer n) noexcept nogil:
    """2**n as bits of an exponent; n within the normal range."""
    return real_of((n + EXPONENT_BIAS) << MANTISSA_BITS)


cdef inline real reduce_exponent(real x, integer* n) noexcept nogil:
    """x = n ln 2 + r with |r| <= ln(2)/2; returns r.

    Cody and Waite (1980): ln 2 in two parts, the first short enough that n times it is exact.
    """
    cdef real log2_e = 1.44269504088896340736
    cdef real ln2_high = 0.693359375 if sizeof(real) == 4 else 6.93145751953125e-1
    cdef real ln2_low = -2.12194440e-4 if sizeof(real) == 4 else 1.42860682030941723212e-6
    cdef real whole = round_to_integer(x * log2_e, n)
    return (x - whole * ln2_high) - whole * ln2_low


cdef inline real expm1_reduced(real r) noexcept nogil:
    """e**r - 1 for |r| <= ln(2)/2.

    float32: Moshier's minimax polynomial (Cephes, expf). float64: the Taylor series, whose first
    term left out, r**14/14!, is below 2**-57 of the result.
    """
    cdef real p
    cdef real square = r * r
    if sizeof(real) == 4:
        # By Estrin's scheme: a tiny network waits for every step of the chain.
        p = (<real> 1.9875691500e-4 * r + <real> 1.3981999507e-3) * square \
            + (<real> 8.3334519073e-3 * r + <real> 4.1665795894e-2)
        p = p * square + (<real> 1.6666665459e-1 * r + <real> 5.0000001201e-1)
    else:
        p = 1.0 / 6227020800.0
        p = p * r + <real> (1.0 / 479001600.0)
        p = p * r + <real> (1.0 / 39916800.0)
        p = p * r + <real> (1.0 / 3628800.0)
        p = p * r + <real> (1.0 / 362880.0)
        p = p * r + <real> (1.0 / 40320.0)
        p = p * r + <real> (1.0 / 5040.0)
        p = p * r + <real> (1.0 / 720.0)
        p = p * r + <real> (1.0 / 120.0)
        p = p * r + <real> (1.0 / 24.0)
        p = p * r + <real> (1.0 / 6.0)
        p = p * r + <real> 0.5
    return p * square + r


cdef inline real exponential(real x) noexcept nogil:
    """e**x within 2 units in the last place; 0 and infinity beyond the range; NaN for NaN."""
    cdef real highest = 89.0 if sizeof(real) == 4 else 710.0
    cdef real lowest = -104.0 if sizeof(real) == 4 else -746.0
    cdef real one = 1.0
    cdef real r
    cdef integer n, half
    # Written so that a NaN passes: every comparison with it is false.
    x = highest if x > highest else x
    x = lowest if x < lowest else x
    r = reduce_exponent(x, &n)
    # In two steps: 2**n alone may lie beyond the range where e**x does not.
    half = n >> 1
    return (expm1_reduced(r) + one) * power_of_two(half) * power_of_two(n - half)


cdef inline real doubled_exponential(real x) noexcept nogil:
    """e**(2x) for 0 <= x <= 20, as exactly as tanh needs it.

    An error of k units in it is less than k / 2 in tanh from x = 0.55 on, and soon next to none.
    So float32 reduces x in one step, x 2 log2(e) = n + f, and takes a minimax polynomial of 2**f
    for |f| <= 1/2 whose own error is 0.05 units.
    """
    cdef real two_log2_e = 2.88539008177792681472
    cdef real one = 1.0
    cdef real f, p
    cdef integer n
    if sizeof(real) == 4:
        f = x * two_log2_e - round_to_integer(x * two_log2_e, &n)
        p = 1.5326471475418657e-4
        p = p * f + <real> 1.3390806270763278e-3
        p = p * f + <real> 9.618505835533142e-3
        p = p * f + <real> 5.550359934568405e-2
        p = p * f + <real> 2.4022647738456726e-1
        p = p * f + <real> 6.931471824645996e-1
        p = p * f + one
    else:
        p = expm1_reduced(reduce_exponent(x + x, &n)) + one
    return p * power_of_two(n)


cdef inline real hyperbolic_tangent(real x) noexcept nogil:
    """tanh x within 2 units in the last place.

    Near zero x + x**3 P(x**2), elsewhere 1 - 2 / (e**2|x| + 1). Both are computed, so that there
    is no branch. P: for float32 a minimax polynomial with an error of 0.6 units below 0.55, for
    float64 Moshier's rational function (Cephes, tanh), made for up to 0.625.
    """
    cdef real saturated = 10.0 if sizeof(real) == 4 else 20.0
    cdef real switch_at = 0.55 if sizeof(real) == 4 else 0.625
    cdef real one = 1.0
    cdef real two = 2.0
    cdef integer sign_bit = bits_of(<real> -0.0)
    cdef integer sign = bits_of(x) & sign_bit
    cdef real square, p, q, near, far
    x = real_of(bits_of(x) & ~sign_bit)
    square = x * x
    if sizeof(real) == 4:
        p = 1.643787883222103e-2
        p = p * square + <real> -5.267200991511345e-2
        p = p * square + <real> 1.332072913646698e-1
        p = p * square + <real> -3.333294689655304e-1
    else:
        p = -9.64399179425052238628e-1
        p = p * square + <real> -9.92877231001918586564e1
        p = p * square + <real> -1.61468768441708447952e3
        q = square + <real> 1.12811678491632931402e2
        q = q * square + <real> 2.23548839060100448583e3
        q = q * square + <real> 4.84406305325125486048e3
        p /= q
    near = x * (p * square) + x
    far = one - two / (doubled_exponential(x if x < saturated else saturated) + one)
    # A NaN is not at or above anything, so it comes out of the near formula.
    return real_of(bits_of(far if x >= switch_at else near) | sign)


cdef inline real logistic(real x) noexcept nogil:
    """1 / (1 + e**-x)."""
    cdef real one = 1.0
    return one / (one + exponential(-x))


# ---- identity: a = z, f' = 1

cdef void identity_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld) noexcept nogil:
    pass

cdef void identity_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                            Py_ssize_t ld) noexcept nogil:
    pass


# ---- sigmoid: a = 1 / (1 + e**-z), f' = a (1 - a)

cdef void sigmoid_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(cols):
            a[i * ld + j] = logistic(a[i * ld + j])

cdef void sigmoid_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                           Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real one = 1.0
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] *= a[i * ld + j] * (one - a[i * ld + j])


# ---- tanh: f' = 1 - a**2

cdef void tanh_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(cols):
            a[i * ld + j] = hyperbolic_tangent(a[i * ld + j])

cdef void tanh_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                        Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real one = 1.0
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] *= one - a[i * ld + j] * a[i * ld + j]


# ---- relu: a = max(z, 0), f' = 1 where a > 0, else 0; a NaN stays one

cdef void relu_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0
    for i in range(rows):
        for j in range(cols):
            a[i * ld + j] = zero if a[i * ld + j] < zero else a[i * ld + j]

cdef void relu_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                        Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] = dz[i * ld + j] if a[i * ld + j] > zero else zero


# ---- softmax: a = e**z / sum of e**z over the row; the derivative couples the row's columns,
#      dz = a (da - sum of a da). Output layer only: it needs the whole row, so no tile applies it.

cdef void softmax_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real highest, total
    for i in range(rows):
        highest = a[0]
        for j in range(1, cols):
            highest = a[j] if a[j] > highest else highest
        for j in range(cols):
            a[j] = exponential(a[j] - highest)
        total = 0
        for j in range(cols):
            total += a[j]
        for j in range(cols):
            a[j] /= total
        a += ld

cdef void softmax_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                           Py_ssize_t ld) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real mean
    for i in range(rows):
        mean = 0
        for j in range(cols):
            mean += a[j] * dz[j]
        for j in range(cols):
            dz[j] = a[j] * (dz[j] - mean)
        a += ld
        dz += ld


ctypedef void (*forward_function)(real*, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
ctypedef void (*backward_function)(const real*, real*, Py_ssize_t, Py_ssize_t,
                                   Py_ssize_t) noexcept nogil

cdef struct Activation:
    forward_function forward
    backward_function backward
    bint reads_z          # the derivative is taken from z, so the plan keeps it
    bint whole_row        # couples the columns of a row, so no tile applies it

cdef enum:
    IDENTITY, SIGMOID, TANH, RELU, SOFTMAX, N_ACTIVATIONS

cdef Activation[N_ACTIVATIONS] activation_table
activation_table[IDENTITY] = Activation(identity_forward, identity_backward, False, False)
activation_table[SIGMOID]  = Activation(sigmoid_forward,  sigmoid_backward,  False, False)
activation_table[TANH]     = Activation(tanh_forward,     tanh_backward,     False, False)
activation_table[RELU]     = Activation(relu_forward,     relu_backward,     False, False)
activation_table[SOFTMAX]  = Activation(softmax_forward,  softmax_backward,  False, True)

ACTIVATIONS = {"identity": IDENTITY, "sigmoid": SIGMOID, "tanh": TANH, "relu": RELU,
               "softmax": SOFTMAX}


def activate(int activation, real[:, ::1] a):
    """Apply an activation in place to ``a`` (n, n_out)."""
    if a.shape[0] and a.shape[1]:
        with nogil:
            activation_table[activation].forward(&a[0, 0], a.shape[0], a.shape[1], a.shape[1])


def exp(real[::1] x):
    """e**x, elementwise in place: the loop inside softmax and sigmoid, laid bare for the tests."""
    cdef Py_ssize_t i
    for i in range(x.shape[0]):
        x[i] = exponential(x[i])
