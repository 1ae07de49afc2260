# Rows of the user's array into the kernels' own: chosen by an order, converted on the way. Where a
# product can read them as they lie, prediction leaves them there.

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

# With `shift` and `factor`, one for each column, an element x becomes (x - shift) * factor, in double
# precision: what is far from zero keeps its digits.
ctypedef void (*row_function)(const char* source, Py_ssize_t stride, real* row, Py_ssize_t n,
                              const double* shift, const double* factor) noexcept nogil


cdef void convert_row(const char* source, Py_ssize_t stride, real* row, Py_ssize_t n,
                      const double* shift, const double* factor, stored* _type) noexcept nogil:
    """Elements ``stride`` bytes apart become one contiguous row of ``real``."""
    cdef Py_ssize_t j
    cdef const stored* dense = <const stored*> source
    if shift != NULL and stride == sizeof(stored):
        for j in range(n):
            row[j] = <real> ((dense[j] - shift[j]) * factor[j])
    elif shift != NULL:
        for j in range(n):
            row[j] = <real> (((<const stored*> (source + j * stride))[0] - shift[j]) * factor[j])
    elif stride == sizeof(stored):
        for j in range(n):
            row[j] = <real> dense[j]
    else:
        for j in range(n):
            row[j] = <real> (<const stored*> (source + j * stride))[0]


cdef inline float float_of_half(unsigned short half) noexcept nogil:
    """IEEE 754 binary16 to binary32, exactly: the exponent is corrected by a multiplication."""
    cdef uint32_t bits = (<uint32_t> (half & 0x7FFF) << 13)
    cdef uint32_t sign = <uint32_t> (half & 0x8000) << 16
    cdef float value
    if half & 0x7C00 == 0x7C00:
        bits |= 0x7F800000
        return float_of_bits(bits | sign)
    value = float_of_bits(bits) * <float> 5.192296858534828e33    # 2**112
    return -value if sign else value


cdef void row_of_f16(const char* source, Py_ssize_t stride, real* row, Py_ssize_t n,
                     const double* shift, const double* factor) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        row[j] = float_of_half((<const unsigned short*> (source + j * stride))[0])
    if shift != NULL:
        # Apart: both in one loop need more registers than the base build has.
        for j in range(n):
            row[j] = <real> ((row[j] - shift[j]) * factor[j])


# One function per stored type, so that a type is looked up once per array and not once per row.
cdef void row_of_f32(const char* s, Py_ssize_t d, real* r, Py_ssize_t n, const double* shift,
                     const double* factor) noexcept nogil:
    convert_row[float](s, d, r, n, shift, factor, NULL)

cdef void row_of_f64(const char* s, Py_ssize_t d, real* r, Py_ssize_t n, const double* shift,
                     const double* factor) noexcept nogil:
    convert_row[double](s, d, r, n, shift, factor, NULL)

cdef void row_of_i8(const char* s, Py_ssize_t d, real* r, Py_ssize_t n, const double* shift,
                    const double* factor) noexcept nogil:
    convert_row[cython.schar](s, d, r, n, shift, factor, NULL)

cdef void row_of_u8(const char* s, Py_ssize_t d, real* r, Py_ssize_t n, const double* shift,
                    const double* factor) noexcept nogil:
    convert_row[cython.uchar](s, d, r, n, shift, factor, NULL)

cdef void row_of_i16(const char* s, Py_ssize_t d, real* r, Py_ssize_t n, const double* shift,
                     const double* factor) noexcept nogil:
    convert_row[short](s, d, r, n, shift, factor, NULL)

cdef void row_of_u16(const char* s, Py_ssize_t d, real* r, Py_ssize_t n, const double* shift,
                     const double* factor) noexcept nogil:
    convert_row[cython.ushort](s, d, r, n, shift, factor, NULL)

cdef void row_of_i32(const char* s, Py_ssize_t d, real* r, Py_ssize_t n, const double* shift,
                     const double* factor) noexcept nogil:
    convert_row[int](s, d, r, n, shift, factor, NULL)

cdef void row_of_u32(const char* s, Py_ssize_t d, real* r, Py_ssize_t n, const double* shift,
                     const double* factor) noexcept nogil:
    convert_row[cython.uint](s, d, r, n, shift, factor, NULL)

cdef void row_of_i64(const char* s, Py_ssize_t d, real* r, Py_ssize_t n, const double* shift,
                     const double* factor) noexcept nogil:
    convert_row[cython.longlong](s, d, r, n, shift, factor, NULL)

cdef void row_of_u64(const char* s, Py_ssize_t d, real* r, Py_ssize_t n, const double* shift,
                     const double* factor) noexcept nogil:
    convert_row[cython.ulonglong](s, d, r, n, shift, factor, NULL)


cdef enum:
    # In an order of rows, so many rows before a row is read, so much of it is called for: the
    # processor itself foresees only what lies together.
    ROWS_AHEAD = 8
    BYTES_AHEAD = 256
    # Fewer elements are copied in no time; more than a product without tiles reads. Left where they
    # are, 10,000 rows of 784-128-10 are predicted 1.1 times as fast, of 4-32-16-4 1.04 times.
    LEAST_IN_PLACE = 1024


cdef inline void call_for(const char* row, Py_ssize_t size) noexcept nogil:
    """Have the beginning of a row brought to the cache, up to the line its last byte lies in."""
    cdef Py_ssize_t i
    size = min(size, <Py_ssize_t> BYTES_AHEAD)
    for i in range((size + 63) // 64):
        prefetch(row + 64 * i)
    prefetch(row + size - 1)


cdef row_function row_function_of(const char* kind, Py_ssize_t size) except? NULL:
    """The conversion for a buffer's format and item size."""
    cdef char c = kind[0] if strlen(kind) == 1 else 0
    if c == c"e" and size == 2: return row_of_f16
    if c == c"f" and size == 4: return row_of_f32
    if c == c"d" and size == 8: return row_of_f64
    if c in b"?Bb" and size == 1: return row_of_i8 if c == c"b" else row_of_u8
    if c in b"hilq":
        return row_of_i16 if size == 2 else row_of_i32 if size == 4 else row_of_i64
    if c in b"HILQ":
        return row_of_u16 if size == 2 else row_of_u32 if size == 4 else row_of_u64
    raise TypeError(f"array: the kernels cannot read elements of format {kind!r}")


cdef inline integer not_finite(integer bits) noexcept nogil:
    """Negative where every bit of the exponent is set: of a NaN or an infinity.

    Without a comparison, which SSE2 does not have for 64 bits.
    """
    cdef integer exponent = <integer> (2 * EXPONENT_BIAS + 1) << MANTISSA_BITS
    return exponent - 1 - (bits & exponent)


cdef inline bint is_finite_row(const real* row, Py_ssize_t n) noexcept nogil:
    """No NaN and no infinity."""
    cdef integer bad = 0
    cdef Py_ssize_t j
    for j in range(n):
        bad |= not_finite(bits_of(row[j]))
    return bad >= 0


cdef class Source:
    """A two-dimensional array of the user's, read where it lies. See ``__init__.pyi``.

    Holds a buffer of the array (which so cannot be resized or freed), never writes to it, and
    reads any strides. The rows come out through ``gather``.
    """

    cdef Py_buffer view
    cdef bint held
    cdef row_function convert
    cdef bint is_checked               # a number may be infinite or NaN, and must not
    cdef bint is_plain                 # `real`, the elements of a row side by side, taken as they are
    cdef Py_ssize_t ld                 # of plain rows: elements from one to the next
    cdef const double[:, ::1] scaling
    cdef const double* shift           # (n_cols,) each, or NULL
    cdef const double* factor
    # Compressed sparse rows: the array is then (1, stored elements), starts not NULL.
    cdef const int64_t[::1] starts_view
    cdef const int64_t* starts
    cdef const int32_t[::1] columns_view
    cdef const int32_t* columns
    cdef const int64_t[::1] wide_columns_view
    cdef const int64_t* wide_columns
    cdef const int64_t[::1] chosen_view
    cdef const int64_t* chosen         # which rows of the array these are, or NULL: all
    cdef Py_ssize_t n_stored_rows
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_cols

    def __cinit__(self, array, *, const int64_t[::1] chosen=None,
                  const double[:, ::1] scaling=None, bint missing=False, columns=None,
                  const int64_t[::1] starts=None, Py_ssize_t n_cols=0):
        cdef const char* kind
        PyObject_GetBuffer(array, &self.view, PyBUF_STRIDED_RO | PyBUF_FORMAT)
        self.held = True
        if self.view.ndim != 2:
            raise ValueError(f"array: {self.view.ndim} dimensions, the kernels read 2")
        kind = self.view.format
        if kind[0] in b"@=":
            kind += 1
        self.convert = row_function_of(kind, self.view.itemsize)
        self.is_checked = kind[0] in b"efd" and not missing
        self.n_rows = self.view.shape[0]
        self.n_cols = self.view.shape[1]
        if starts is not None:
            self.starts_view, self.starts = starts, &starts[0]
            self.n_rows, self.n_cols = starts.shape[0] - 1, n_cols
            if self.view.shape[1] > 0 and columns.dtype.itemsize == 4:
                self.columns_view = columns
                self.columns = &self.columns_view[0]
            elif self.view.shape[1] > 0:
                self.wide_columns_view = columns
                self.wide_columns = &self.wide_columns_view[0]
        self.n_stored_rows = self.n_rows
        if chosen is not None:
            self.chosen_view, self.chosen = chosen, &chosen[0]
            self.n_rows = chosen.shape[0]
        if scaling is not None:
            self.scaling = scaling
            self.shift, self.factor = &scaling[0, 0], &scaling[1, 0]
        self.is_plain = (kind[0] == (c"f" if sizeof(real) == 4 else c"d")
                         and self.view.strides[1] == sizeof(real)
                         and starts is None and scaling is None and not missing)
        self.ld = self.view.strides[0] // <Py_ssize_t> sizeof(real)

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef inline Py_ssize_t row_of(self, const int64_t* order, Py_ssize_t i) noexcept nogil:
        """The array's row that is the i-th of ``order``."""
        cdef Py_ssize_t row = i if order == NULL else order[i]
        return row if self.chosen == NULL else self.chosen[row]

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
            row = self.row_of(order, i)
            if self.starts != NULL:
                self.spread_row(row, out)
            else:
                if order != NULL and i + ROWS_AHEAD < start + n:
                    call_for(base + self.row_of(order, i + ROWS_AHEAD) * self.view.strides[0],
                             self.n_cols * self.view.itemsize)
                self.convert(base + row * self.view.strides[0], self.view.strides[1], out,
                             self.n_cols, self.shift, self.factor)
            if self.is_checked and not is_finite_row(out, self.n_cols):
                bad[0] = row
                return False
            out += ld
        return True

    cdef void spread_row(self, Py_ssize_t row, real* out) noexcept nogil:
        """A sparse row, its zeros written out.

        Columns outside the array are left out: the arrays are the user's, who may have written to
        them since they were judged.
        """
        cdef Py_ssize_t j, at, size = self.view.itemsize
        cdef Py_ssize_t n_stored = self.view.shape[1]
        cdef const char* base = <const char*> self.view.buf
        for j in range(self.n_cols):
            out[j] = <real> ((0 - self.shift[j]) * self.factor[j]) if self.shift != NULL else 0
        for at in range(max(self.starts[row], <int64_t> 0),
                        min(self.starts[row + 1], <int64_t> n_stored)):
            j = self.columns[at] if self.columns != NULL else self.wide_columns[at]
            if 0 <= j < self.n_cols:
                self.convert(base + at * self.view.strides[1], size, out + j, 1,
                             self.shift + j if self.shift != NULL else NULL,
                             self.factor + j if self.shift != NULL else NULL)

    cdef bint copy_rows(self, const int64_t* order, Py_ssize_t start, Py_ssize_t n, real* out,
                        Py_ssize_t ld) noexcept nogil:
        """``gather`` for an array of ``real`` with dense rows; False if a number is not finite.

        Copied and looked at in one loop, in whole vectors: these go on into the next row, which is
        overwritten by its own numbers, or looked at for nothing. So not where nothing follows.
        """
        cdef integer exponent = <integer> (2 * EXPONENT_BIAS + 1) << MANTISSA_BITS
        cdef bit_vec bits
        cdef bit_vec bad_bits = <bit_vec> ZEROS
        cdef integer bad = 0
        cdef Py_ssize_t i, j
        cdef Py_ssize_t padded = whole_vectors(self.n_cols)
        cdef bint is_whole = padded == self.n_cols
        cdef Py_ssize_t stride = self.view.strides[0]
        cdef const char* base = <const char*> self.view.buf
        cdef const real* last = <const real*> (base + (self.n_stored_rows - 1) * stride) \
            + self.n_cols - padded
        cdef real* last_out = out + (n - 1) * ld + self.n_cols - padded
        cdef const real* row = <const real*> (base + start * stride)
        cdef real behind
        cdef Py_ssize_t end = start + n
        if order == NULL and self.chosen == NULL and padded == VW and not is_whole and stride > 0:
            # Rows narrower than a vector, one after another: what the loop below decides for each
            # takes longer than the row.
            while start < end and row <= last and out <= last_out:
                behind = out[self.n_cols]
                bits = (<const bit_vec_in_memory*> row)[0]
                (<bit_vec_in_memory*> out)[0] = bits
                out[self.n_cols] = behind
                bad_bits |= exponent - 1 - (bits & exponent)
                row = <const real*> (<const char*> row + stride)
                out += ld
                start += 1
        for i in range(start, end):
            row = <const real*> (base + self.row_of(order, i) * stride)
            if order != NULL and i + ROWS_AHEAD < end:
                call_for(base + self.row_of(order, i + ROWS_AHEAD) * stride,
                         self.n_cols * sizeof(real))
            if row <= last and out <= last_out and stride > 0:
                behind = 0 if is_whole else out[self.n_cols]
                j = 0
                while j < padded:
                    bits = (<const bit_vec_in_memory*> (row + j))[0]
                    (<bit_vec_in_memory*> (out + j))[0] = bits
                    bad_bits |= exponent - 1 - (bits & exponent)
                    j += VW
                if not is_whole:
                    out[self.n_cols] = behind
            else:
                for j in range(self.n_cols):
                    out[j] = row[j]
                    bad |= not_finite(bits_of(row[j]))
            out += ld
        for j in range(VW):
            bad |= (<integer*> &bad_bits)[j]
        return bad >= 0

    cdef const real* in_place(self, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
        """Row ``start``, where a product may read ``n`` rows where they lie; or NULL.

        Not a single row, whose products go other ways, and not rows that share a few cache sets:
        see ``row_stride``.
        """
        cdef Py_ssize_t stride = self.view.strides[0]
        cdef const char* row = <const char*> self.view.buf + start * stride
        if not self.is_plain or self.chosen != NULL or n == 1 or n * self.n_cols < LEAST_IN_PLACE \
                or stride <= 0 or stride % 1024 == 0 or stride % sizeof(real) != 0 \
                or <Py_ssize_t> row % sizeof(real) != 0:
            return NULL
        return <const real*> row

    cdef bint are_finite(self, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
        """No NaN and no infinity in rows that were read where they lie."""
        cdef const real* row = self.in_place(start, n)
        cdef Py_ssize_t i
        if self.ld == self.n_cols:
            return is_finite_row(row, n * self.ld)
        for i in range(n):
            if not is_finite_row(row + i * self.ld, self.n_cols):
                return False
        return True

    def first_bad_row(self):
        """The first row with a NaN, an infinity, or a number that ``real`` cannot hold; or -1."""
        cdef Py_ssize_t row, bad = -1
        cdef real* buffer
        if not self.is_checked:
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


cdef void copy_out(const real* rows, Py_ssize_t ld, Py_ssize_t n, Py_ssize_t n_cols,
                   real* out) noexcept nogil:
    """Rows of ours, padded to whole vectors, into a dense array: the way back.

    A whole vector goes on into the next row, which is then overwritten by its own numbers.
    """
    cdef Py_ssize_t padded = whole_vectors(n_cols)
    cdef real* last = out + n * n_cols - padded
    cdef Py_ssize_t i, j
    for i in range(n):
        if out <= last:
            j = 0
            while j < padded:
                (<vec_in_memory*> (out + j))[0] = (<const vec_in_memory*> (rows + j))[0]
                j += VW
        else:
            for j in range(n_cols):
                out[j] = rows[j]
        rows += ld
        out += n_cols


def gather(Source source not None, const int64_t[::1] order, real[:, ::1] out):
    """Copy the rows ``order`` (n,) of ``source`` into ``out`` (n, n_cols); the bad row, or -1."""
    cdef Py_ssize_t bad = -1
    if order.shape[0]:
        with nogil:
            source.gather(&order[0], 0, order.shape[0], &out[0, 0], out.shape[1], &bad)
    return bad
