# Rows of the user's array into the kernels' own: chosen by an order, converted on the way.

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDED_RO, PyBuffer_Release, PyObject_GetBuffer, Py_buffer,
)

# The types a user's array may have. The one fused type of the compiled room: it is not `real`,
# which is chosen at build time, but what a row is converted from.
ctypedef fused stored:
    float
    double
    signed char
    unsigned char
    short
    unsigned short
    int
    unsigned int
    long long
    unsigned long long

ctypedef void (*row_function)(const char* source, Py_ssize_t stride, real* row,
                              Py_ssize_t n) noexcept nogil


cdef void convert_row(const char* source, Py_ssize_t stride, real* row, Py_ssize_t n,
                      stored* _type) noexcept nogil:
    """Elements ``stride`` bytes apart become one contiguous row of ``real``."""
    cdef Py_ssize_t j
    cdef const stored* dense = <const stored*> source
    if stride == sizeof(stored):
        for j in range(n):
            row[j] = <real> dense[j]
    else:
        for j in range(n):
            row[j] = <real> (<const stored*> (source + j * stride))[0]


# One function per stored type, so that a type is looked up once per array and not once per row.
cdef void row_of_f32(const char* s, Py_ssize_t d, real* r, Py_ssize_t n) noexcept nogil:
    convert_row[float](s, d, r, n, NULL)

cdef void row_of_f64(const char* s, Py_ssize_t d, real* r, Py_ssize_t n) noexcept nogil:
    convert_row[double](s, d, r, n, NULL)

cdef void row_of_i8(const char* s, Py_ssize_t d, real* r, Py_ssize_t n) noexcept nogil:
    convert_row[cython.schar](s, d, r, n, NULL)

cdef void row_of_u8(const char* s, Py_ssize_t d, real* r, Py_ssize_t n) noexcept nogil:
    convert_row[cython.uchar](s, d, r, n, NULL)

cdef void row_of_i16(const char* s, Py_ssize_t d, real* r, Py_ssize_t n) noexcept nogil:
    convert_row[short](s, d, r, n, NULL)

cdef void row_of_u16(const char* s, Py_ssize_t d, real* r, Py_ssize_t n) noexcept nogil:
    convert_row[cython.ushort](s, d, r, n, NULL)

cdef void row_of_i32(const char* s, Py_ssize_t d, real* r, Py_ssize_t n) noexcept nogil:
    convert_row[int](s, d, r, n, NULL)

cdef void row_of_u32(const char* s, Py_ssize_t d, real* r, Py_ssize_t n) noexcept nogil:
    convert_row[cython.uint](s, d, r, n, NULL)

cdef void row_of_i64(const char* s, Py_ssize_t d, real* r, Py_ssize_t n) noexcept nogil:
    convert_row[cython.longlong](s, d, r, n, NULL)

cdef void row_of_u64(const char* s, Py_ssize_t d, real* r, Py_ssize_t n) noexcept nogil:
    convert_row[cython.ulonglong](s, d, r, n, NULL)


cdef row_function row_function_of(bytes kind, Py_ssize_t size) except? NULL:
    """The conversion for a buffer's format character and item size."""
    if kind == b"f" and size == 4: return row_of_f32
    if kind == b"d" and size == 8: return row_of_f64
    if kind in b"?Bb" and size == 1: return row_of_i8 if kind == b"b" else row_of_u8
    if kind in b"hilq":
        return row_of_i16 if size == 2 else row_of_i32 if size == 4 else row_of_i64
    if kind in b"HILQ":
        return row_of_u16 if size == 2 else row_of_u32 if size == 4 else row_of_u64
    raise TypeError(f"array: the kernels cannot read elements of format {kind!r}")


cdef inline bint is_finite_row(const real* row, Py_ssize_t n) noexcept nogil:
    """No NaN and no infinity: no element with every bit of its exponent set."""
    cdef integer exponent = <integer> (2 * EXPONENT_BIAS + 1) << MANTISSA_BITS
    cdef integer bad = 0
    cdef Py_ssize_t j
    for j in range(n):
        bad |= (bits_of(row[j]) & exponent) == exponent
    return bad == 0


cdef class Source:
    """A two-dimensional array of the user's, read where it lies.

    Holds a buffer of the array (which so cannot be resized or freed), never writes to it, and
    reads any strides. The rows come out through ``gather``.
    """

    cdef Py_buffer view
    cdef bint held
    cdef row_function convert
    cdef bint may_be_infinite          # a floating type: integers need no check
    cdef bint is_plain                 # `real`, the elements of a row side by side
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_cols

    def __cinit__(self, array):
        cdef bytes kind
        PyObject_GetBuffer(array, &self.view, PyBUF_STRIDED_RO | PyBUF_FORMAT)
        self.held = True
        if self.view.ndim != 2:
            raise ValueError(f"array: {self.view.ndim} dimensions, the kernels read 2")
        kind = self.view.format
        if kind[:1] in b"@=":
            kind = kind[1:]
        self.convert = row_function_of(kind, self.view.itemsize)
        self.may_be_infinite = kind in b"fd"
        self.is_plain = (kind == (b"f" if sizeof(real) == 4 else b"d")
                         and self.view.strides[1] == sizeof(real))
        self.n_rows = self.view.shape[0]
        self.n_cols = self.view.shape[1]

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef bint gather(self, const int64_t* order, Py_ssize_t start, Py_ssize_t n,
                     real* out, Py_ssize_t ld, Py_ssize_t* bad) noexcept nogil:
        """Rows start … start+n-1 of ``order`` (of the array itself where it is NULL) into ``out``.

        Rows of ``out`` lie ``ld`` elements apart. Returns False and sets ``bad`` to the row's
        number in the array at the first that is not finite once it is ``real``.
        """
        cdef Py_ssize_t i, row
        cdef const char* base = <const char*> self.view.buf
        if self.is_plain and self.copy_rows(order, start, n, out, ld):
            return True
        for i in range(start, start + n):
            row = i if order == NULL else order[i]
            self.convert(base + row * self.view.strides[0], self.view.strides[1], out, self.n_cols)
            if self.may_be_infinite and not is_finite_row(out, self.n_cols):
                bad[0] = row
                return False
            out += ld
        return True

    cdef bint copy_rows(self, const int64_t* order, Py_ssize_t start, Py_ssize_t n, real* out,
                        Py_ssize_t ld) noexcept nogil:
        """``gather`` for an array of ``real`` with dense rows; False if any number is not finite.

        Copied and looked at in one loop: short rows are not worth two calls each.
        """
        cdef integer exponent = <integer> (2 * EXPONENT_BIAS + 1) << MANTISSA_BITS
        cdef integer bad = 0
        cdef Py_ssize_t i, j
        cdef const real* row
        for i in range(start, start + n):
            row = <const real*> (<const char*> self.view.buf
                                 + (i if order == NULL else order[i]) * self.view.strides[0])
            for j in range(self.n_cols):
                out[j] = row[j]
                bad |= (bits_of(row[j]) & exponent) == exponent
            out += ld
        return bad == 0

    def first_bad_row(self):
        """The first row with a NaN, an infinity, or a number that ``real`` cannot hold; or -1."""
        cdef Py_ssize_t row, bad = -1
        cdef real* buffer
        if not self.may_be_infinite:
            return -1
        buffer = <real*> PyMem_RawMalloc(max(self.n_cols, 1) * sizeof(real))
        if buffer == NULL:
            raise MemoryError()
        with nogil:
            for row in range(self.n_rows):
                if not self.gather(NULL, row, 1, buffer, self.n_cols, &bad):
                    break
        PyMem_RawFree(buffer)
        return bad


def gather(Source source not None, const int64_t[::1] order, real[:, ::1] out):
    """Copy the rows ``order`` (n,) of ``source`` into ``out`` (n, n_cols); the bad row, or -1."""
    cdef Py_ssize_t bad = -1
    if order.shape[0]:
        with nogil:
            source.gather(&order[0], 0, order.shape[0], &out[0, 0], out.shape[1], &bad)
    return bad
