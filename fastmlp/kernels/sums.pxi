# Sums along a vector, in double precision: eight side by side, so that one addition need not wait for
# the last, then those eight in order, then what is left. The order depends on n alone.

from libc.math cimport fabs


cdef inline double sum_of_products(const real* x, const real* y, Py_ssize_t n) noexcept nogil:
    cdef double lanes[8]
    cdef double total = 0
    cdef Py_ssize_t j = 0
    cdef int lane
    if n >= 8:
        for lane in range(8):
            lanes[lane] = 0
        while j + 8 <= n:
            for lane in range(8):
                lanes[lane] += <double> x[j + lane] * y[j + lane]
            j += 8
        for lane in range(8):
            total += lanes[lane]
    while j < n:
        total += <double> x[j] * y[j]
        j += 1
    return total


cdef inline double sum_of_squares(const real* x, Py_ssize_t n) noexcept nogil:
    return sum_of_products(x, x, n)


cdef inline double sum_of(const real* x, Py_ssize_t n) noexcept nogil:
    cdef double lanes[8]
    cdef double total = 0
    cdef Py_ssize_t j = 0
    cdef int lane
    for lane in range(8):
        lanes[lane] = 0
    while j + 8 <= n:
        for lane in range(8):
            lanes[lane] += x[j + lane]
        j += 8
    for lane in range(8):
        total += lanes[lane]
    while j < n:
        total += x[j]
        j += 1
    return total


cdef inline double sum_of_magnitudes(const real* x, Py_ssize_t n) noexcept nogil:
    cdef double lanes[8]
    cdef double total = 0
    cdef Py_ssize_t j = 0
    cdef int lane
    for lane in range(8):
        lanes[lane] = 0
    while j + 8 <= n:
        for lane in range(8):
            lanes[lane] += fabs(<double> x[j + lane])
        j += 8
    for lane in range(8):
        total += lanes[lane]
    while j < n:
        total += fabs(<double> x[j])
        j += 1
    return total


cdef inline bint is_finite(double x) noexcept nogil:
    return x - x == 0
