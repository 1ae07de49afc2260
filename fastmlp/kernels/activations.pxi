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


cdef inline real exponential_minus_one(real x) noexcept nogil:
    """e**x - 1 for x <= 0, without the cancellation near zero; NaN for NaN."""
    cdef real lowest = -64.0    # where it is -1 in either type
    cdef real one = 1.0
    cdef real power, r
    cdef integer n
    x = lowest if x < lowest else x
    r = reduce_exponent(x, &n)
    power = power_of_two(n)
    return expm1_reduced(r) * power + (power - one)


cdef inline real log_one_plus(real x) noexcept nogil:
    """log(1 + x) for 0 <= x <= 1; NaN for NaN.

    As 2 artanh(s) with s = x / (2 + x) <= 1/3, by the series of artanh: the first term left out is
    below 2**-28 of the sum in float32, 2**-58 in float64.
    """
    cdef real two = 2.0
    cdef real s = x / (x + two)
    cdef real square = s * s
    cdef real p
    if sizeof(real) == 4:
        p = 1.0 / 15.0
    else:
        p = 1.0 / 33.0
        p = p * square + <real> (1.0 / 31.0)
        p = p * square + <real> (1.0 / 29.0)
        p = p * square + <real> (1.0 / 27.0)
        p = p * square + <real> (1.0 / 25.0)
        p = p * square + <real> (1.0 / 23.0)
        p = p * square + <real> (1.0 / 21.0)
        p = p * square + <real> (1.0 / 19.0)
        p = p * square + <real> (1.0 / 17.0)
        p = p * square + <real> (1.0 / 15.0)
    p = p * square + <real> (1.0 / 13.0)
    p = p * square + <real> (1.0 / 11.0)
    p = p * square + <real> (1.0 / 9.0)
    p = p * square + <real> (1.0 / 7.0)
    p = p * square + <real> (1.0 / 5.0)
    p = p * square + <real> (1.0 / 3.0)
    s += s
    return s * (p * square) + s


cdef inline real magnitude(real x) noexcept nogil:
    """|x|."""
    return real_of(bits_of(x) & ~bits_of(<real> -0.0))


# ---- identity: a = z, f' = 1

cdef void identity_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                           real constant) noexcept nogil:
    pass

cdef void identity_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                            Py_ssize_t ld, real constant) noexcept nogil:
    pass


# ---- sigmoid: a = 1 / (1 + e**-z), f' = a (1 - a)

cdef void sigmoid_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                          real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(cols):
            a[i * ld + j] = logistic(a[i * ld + j])

cdef void sigmoid_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                           Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real one = 1.0
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] *= a[i * ld + j] * (one - a[i * ld + j])


# ---- tanh: f' = 1 - a**2

cdef void tanh_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                       real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(cols):
            a[i * ld + j] = hyperbolic_tangent(a[i * ld + j])

cdef void tanh_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                        Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real one = 1.0
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] *= one - a[i * ld + j] * a[i * ld + j]


# ---- relu: a = max(z, 0), f' = 1 where a > 0, else 0; a NaN stays one

cdef void relu_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                       real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0
    for i in range(rows):
        for j in range(cols):
            a[i * ld + j] = zero if a[i * ld + j] < zero else a[i * ld + j]

cdef void relu_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                        Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] = dz[i * ld + j] if a[i * ld + j] > zero else zero


# ---- leaky_relu: a = z where z > 0, else slope z; f' = 1, else slope. Maas, Hannun and Ng (2013)
#      The constant is the slope, at least 0: a's sign is then z's.

cdef void leaky_relu_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                             real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0
    for i in range(rows):
        for j in range(cols):
            a[i * ld + j] = constant * a[i * ld + j] if a[i * ld + j] < zero else a[i * ld + j]

cdef void leaky_relu_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                              Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] = dz[i * ld + j] if a[i * ld + j] > zero else constant * dz[i * ld + j]


# ---- elu: a = z where z > 0, else alpha (e**z - 1); f' = 1, else a + alpha.
#      Clevert, Unterthiner and Hochreiter (2016). The constant is alpha, above 0

cdef void elu_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                      real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0, z
    for i in range(rows):
        for j in range(cols):
            z = a[i * ld + j]
            a[i * ld + j] = constant * exponential_minus_one(z if z < zero else zero) \
                if z < zero else z

cdef void elu_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                       Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0, one = 1.0
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] *= a[i * ld + j] + constant if a[i * ld + j] < zero else one


# ---- selu: a = s z where z > 0, else s alpha (e**z - 1); f' = s, else a + s alpha.
#      Klambauer, Unterthiner, Mayr and Hochreiter (2017), whose constants keep mean 0, variance 1

cdef void selu_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                       real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0, z
    cdef real scale = 1.0507009873554804934193349852946
    cdef real scale_alpha = 1.7580993408473768599402175208123
    for i in range(rows):
        for j in range(cols):
            z = a[i * ld + j]
            a[i * ld + j] = scale_alpha * exponential_minus_one(z if z < zero else zero) \
                if z < zero else scale * z

cdef void selu_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                        Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0
    cdef real scale = 1.0507009873554804934193349852946
    cdef real scale_alpha = 1.7580993408473768599402175208123
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] *= a[i * ld + j] + scale_alpha if a[i * ld + j] < zero else scale


# ---- gelu: a = z P with P = (1 + erf(z / sqrt 2)) / 2, the normal distribution; f' = P + z P', read
#      from z. Hendrycks and Gimpel (2016)

cdef inline real upper_tail(real x, real* density) noexcept nogil:
    """The normal distribution's weight above x >= 0, and its density at x without 1 / sqrt(2 pi).

    Half of erfc(y), y = x / sqrt 2: e**(-y**2) t q(u) with t = k / (k + y) and u = 2 t - 1, and for q
    the polynomial through the Chebyshev nodes; its own relative error is 8e-9 for float32 (k = 2.5)
    and 1e-16 for float64 (k = 4). The form is that of Press et al., Numerical Recipes, 6.2.2.
    """
    cdef real k = 2.5 if sizeof(real) == 4 else 4.0
    cdef real half = 0.5, root_half = 0.70710678118654752440
    cdef real y = x * root_half
    cdef real u = (k - y) / (k + y)
    cdef real t = half * u + half
    cdef real q
    density[0] = exponential(-half * x * x)
    if sizeof(real) == 4:
        q = -2.91685825e-5
        q = q * u + <real> -1.07462366e-5
        q = q * u + <real> 2.66488318e-4
        q = q * u + <real> 1.6544152e-4
        q = q * u + <real> -1.92138204e-3
        q = q * u + <real> -3.35315529e-3
        q = q * u + <real> 1.13435468e-2
        q = q * u + <real> 6.84997675e-2
        q = q * u + <real> 1.815657e-1
        q = q * u + <real> 3.21860774e-1
        q = q * u + <real> 4.21612728e-1
    else:
        q = 3.13042307052945504e-10
        q = q * u + <real> -6.61794251248617299e-11
        q = q * u + <real> -3.88051569790312801e-9
        q = q * u + <real> -2.06912190340547448e-10
        q = q * u + <real> 3.07790185563974291e-8
        q = q * u + <real> 1.89944021872652524e-8
        q = q * u + <real> -2.11110378462830674e-7
        q = q * u + <real> -3.56239320095962498e-7
        q = q * u + <real> 1.17326094982916661e-6
        q = q * u + <real> 4.71537044449394106e-6
        q = q * u + <real> -9.0863950935908617e-7
        q = q * u + <real> -4.42032711892992351e-5
        q = q * u + <real> -1.13763212376223332e-4
        q = q * u + <real> 7.02397342986402234e-5
        q = q * u + <real> 1.52801392052880116e-3
        q = q * u + <real> 6.59251333223748609e-3
        q = q * u + <real> 1.90953787267521594e-2
        q = q * u + <real> 4.35027343102289228e-2
        q = q * u + <real> 8.27128969695258481e-2
        q = q * u + <real> 1.3521345782829913e-1
        q = q * u + <real> 1.93302175566309008e-1
        q = q * u + <real> 2.4413718227022061e-1
        q = q * u + <real> 2.7399891525012278e-1
    return half * density[0] * t * q

cdef inline real weight_below(real z, real* density) noexcept nogil:
    """The normal distribution's weight below z, and its density without 1 / sqrt(2 pi)."""
    cdef real one = 1.0, zero = 0.0, farthest = 1e3
    cdef real x = magnitude(z)
    cdef real tail = upper_tail(farthest if x > farthest else x, density)
    return tail if z < zero else one - tail

cdef void gelu_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                       real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real density
    for i in range(rows):
        for j in range(cols):
            a[i * ld + j] *= weight_below(a[i * ld + j], &density)

cdef void gelu_backward(const real* z, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                        Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real density, weight
    cdef real at_zero = 0.39894228040143267794
    for i in range(rows):
        for j in range(cols):
            weight = weight_below(z[i * ld + j], &density)
            dz[i * ld + j] *= weight + z[i * ld + j] * (at_zero * density)


# ---- gelu_tanh: a = z (1 + tanh u) / 2 with u = sqrt(2 / pi) (z + 0.044715 z**3), read from z.
#      Hendrycks and Gimpel (2016), the form made of tanh

cdef void gelu_tanh_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                            real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real one = 1.0, half = 0.5, z
    cdef real root = 0.79788456080286535588, cube = 0.044715
    for i in range(rows):
        for j in range(cols):
            z = a[i * ld + j]
            a[i * ld + j] = half * z * (one + hyperbolic_tangent(root * z * (one + cube * z * z)))

cdef void gelu_tanh_backward(const real* z, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                             Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real one = 1.0, half = 0.5, three = 3.0, far = 32.0, x, t
    cdef real root = 0.79788456080286535588, cube = 0.044715
    for i in range(rows):
        for j in range(cols):
            # Further out f' is 0 or 1, and z**2 might overflow.
            x = z[i * ld + j]
            x = far if x > far else x
            x = -far if x < -far else x
            t = hyperbolic_tangent(root * x * (one + cube * x * x))
            dz[i * ld + j] *= half * (one + t) + half * x * (one - t * t) * root \
                * (one + three * cube * x * x)


# ---- silu: a = z s with s = 1 / (1 + e**-z); f' = s (1 + z (1 - s)), read from z.
#      Elfwing, Uchibe and Doya (2018); also called swish

cdef void silu_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                       real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(cols):
            a[i * ld + j] *= logistic(a[i * ld + j])

cdef void silu_backward(const real* z, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                        Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real one = 1.0, zero = 0.0, x, e, s, rest
    for i in range(rows):
        for j in range(cols):
            # s and 1 - s, neither by a subtraction.
            x = z[i * ld + j]
            e = exponential(-magnitude(x))
            s = one / (one + e)
            rest = e * s
            dz[i * ld + j] *= rest * (one + x * s) if x < zero else s * (one + x * rest)


# ---- mish: a = z tanh(log(1 + e**z)); f' = t + z (1 - t**2) s, read from z. Misra (2020)
#
# With e = e**z the tanh is n / (n + 2) for n = e (e + 2).

cdef inline real highest_of_mish() noexcept nogil:
    """From here on the tanh is 1, and e**(2z) is still a number."""
    return 20.0 if sizeof(real) == 4 else 40.0

cdef void mish_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                       real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real two = 2.0, highest = highest_of_mish(), z, e, n
    for i in range(rows):
        for j in range(cols):
            z = a[i * ld + j]
            e = exponential(highest if z > highest else z)
            n = e * (e + two)
            a[i * ld + j] = z * (n / (n + two))

cdef void mish_backward(const real* z, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                        Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real one = 1.0, two = 2.0, highest = highest_of_mish(), x, e, n, t
    for i in range(rows):
        for j in range(cols):
            x = z[i * ld + j]
            e = exponential(highest if x > highest else x)
            n = e * (e + two)
            t = n / (n + two)
            dz[i * ld + j] *= t + x * (two / (n + two)) * (one + t) * (e / (e + one))


# ---- softplus: a = log(1 + e**z); f' = 1 / (1 + e**-z) = 1 - e**-a. Dugas et al. (2001)

cdef void softplus_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                           real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0, z
    for i in range(rows):
        for j in range(cols):
            z = a[i * ld + j]
            a[i * ld + j] = (zero if z < zero else z) + log_one_plus(exponential(-magnitude(z)))

cdef void softplus_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                            Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] *= -exponential_minus_one(-a[i * ld + j])


# ---- hard_sigmoid: a = z / 6 + 1/2, cut at 0 and 1; f' = 1/6 between them, else 0.
#      Howard et al. (2019), as PyTorch

cdef void hard_sigmoid_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                               real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0, one = 1.0, half = 0.5, sixth = 1.0 / 6.0, y
    for i in range(rows):
        for j in range(cols):
            y = a[i * ld + j] * sixth + half
            y = zero if y < zero else y
            a[i * ld + j] = one if y > one else y

cdef void hard_sigmoid_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                                Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real zero = 0.0, one = 1.0, sixth = 1.0 / 6.0
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] = sixth * dz[i * ld + j] \
                if (a[i * ld + j] > zero) & (a[i * ld + j] < one) else zero


# ---- exp: a = e**z, f' = a: the mean of a Poisson distribution from its logarithm

cdef void exp_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                      real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(cols):
            a[i * ld + j] = exponential(a[i * ld + j])

cdef void exp_backward(const real* a, real* dz, Py_ssize_t rows, Py_ssize_t cols,
                       Py_ssize_t ld, real constant) noexcept nogil:
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(cols):
            dz[i * ld + j] *= a[i * ld + j]


# ---- softmax: a = e**z / sum of e**z over the row; the derivative couples the row's columns,
#      dz = a (da - sum of a da). Output layer only: it needs the whole row, so no tile applies it.

cdef void softmax_forward(real* a, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t ld,
                          real constant) noexcept nogil:
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
                           Py_ssize_t ld, real constant) noexcept nogil:
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


ctypedef void (*forward_function)(real*, Py_ssize_t, Py_ssize_t, Py_ssize_t, real) noexcept nogil
ctypedef void (*backward_function)(const real*, real*, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                   real) noexcept nogil

cdef struct Activation:
    forward_function forward
    backward_function backward
    bint reads_z          # the derivative is taken from z, so the plan keeps it
    bint whole_row        # couples the columns of a row, so no tile applies it

cdef enum:
    IDENTITY, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SELU, GELU, GELU_TANH, SILU, MISH, SOFTPLUS
    HARD_SIGMOID, EXP, SOFTMAX, N_ACTIVATIONS

cdef Activation[N_ACTIVATIONS] activation_table
activation_table[IDENTITY] = Activation(identity_forward, identity_backward, False, False)
activation_table[SIGMOID] = Activation(sigmoid_forward, sigmoid_backward, False, False)
activation_table[TANH] = Activation(tanh_forward, tanh_backward, False, False)
activation_table[RELU] = Activation(relu_forward, relu_backward, False, False)
activation_table[LEAKY_RELU] = Activation(leaky_relu_forward, leaky_relu_backward, False, False)
activation_table[ELU] = Activation(elu_forward, elu_backward, False, False)
activation_table[SELU] = Activation(selu_forward, selu_backward, False, False)
activation_table[GELU] = Activation(gelu_forward, gelu_backward, True, False)
activation_table[GELU_TANH] = Activation(gelu_tanh_forward, gelu_tanh_backward, True, False)
activation_table[SILU] = Activation(silu_forward, silu_backward, True, False)
activation_table[MISH] = Activation(mish_forward, mish_backward, True, False)
activation_table[SOFTPLUS] = Activation(softplus_forward, softplus_backward, False, False)
activation_table[HARD_SIGMOID] = Activation(hard_sigmoid_forward, hard_sigmoid_backward, False, False)
activation_table[EXP] = Activation(exp_forward, exp_backward, False, False)
activation_table[SOFTMAX] = Activation(softmax_forward, softmax_backward, False, True)

ACTIVATIONS = {"identity": IDENTITY, "sigmoid": SIGMOID, "tanh": TANH, "relu": RELU,
               "leaky_relu": LEAKY_RELU, "elu": ELU, "selu": SELU, "gelu": GELU,
               "gelu_tanh": GELU_TANH, "silu": SILU, "mish": MISH, "softplus": SOFTPLUS,
               "hard_sigmoid": HARD_SIGMOID, "exp": EXP, "softmax": SOFTMAX}


def activate(int activation, real[:, ::1] a, double constant=0.0):
    """Apply an activation in place to ``a`` (n, n_out)."""
    if a.shape[0] and a.shape[1]:
        with nogil:
            activation_table[activation].forward(&a[0, 0], a.shape[0], a.shape[1], a.shape[1],
                                                 <real> constant)


def exp(real[::1] x):
    """e**x, elementwise in place: the loop inside softmax and sigmoid, laid bare for the tests."""
    cdef Py_ssize_t i
    for i in range(x.shape[0]):
        x[i] = exponential(x[i])
