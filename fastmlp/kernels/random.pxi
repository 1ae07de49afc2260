# Random numbers that depend on nothing but their key and their counter.
#
# Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
# (SC 2011): a counter of four 32-bit words goes in, four random words come out. No state, so a
# number is the same whichever thread asks for it, and in whatever order.


cdef inline void philox(uint32_t* counter, uint32_t key0, uint32_t key1) noexcept nogil:
    """Turn ``counter`` (4 words, overwritten) into 4 random words."""
    cdef uint64_t left, right
    cdef uint32_t c1, c3
    cdef int i
    for i in range(10):
        left = <uint64_t> 0xD2511F53u * counter[0]
        right = <uint64_t> 0xCD9E8D57u * counter[2]
        c1, c3 = counter[1], counter[3]
        counter[0] = <uint32_t> (right >> 32) ^ c1 ^ key0
        counter[1] = <uint32_t> right
        counter[2] = <uint32_t> (left >> 32) ^ c3 ^ key1
        counter[3] = <uint32_t> left
        key0 += 0x9E3779B9u
        key1 += 0xBB67AE85u


cdef enum:
    # What a number is drawn for: the fourth word of the counter, so that streams never meet.
    STREAM_ORDER = 1
    STREAM_DROPOUT = 2


cdef inline Py_ssize_t below(uint64_t word, Py_ssize_t n) noexcept nogil:
    """A whole number in [0, n) from 64 random bits: the upper half of ``word * n``.

    The 128-bit product is put together from 32-bit halves (n < 2**32 leaves one of them zero).
    """
    cdef uint64_t low = (word & 0xFFFFFFFFu) * <uint64_t> (n & 0xFFFFFFFFu)
    cdef uint64_t high = (word >> 32) * <uint64_t> (n & 0xFFFFFFFFu) + (low >> 32)
    return <Py_ssize_t> (high >> 32)


cdef enum:
    DRAWS_AHEAD = 32    # even; so many elements are on their way to the cache at a time


cdef void shuffled_order(int64_t* order, Py_ssize_t n, uint64_t seed, uint64_t epoch) noexcept nogil:
    """Write a permutation of 0 … n-1 (n < 2**32) that only ``seed`` and ``epoch`` decide.

    Fisher and Yates' shuffle of the identity, two draws to a Philox block.
    """
    cdef Py_ssize_t i, draw, draws
    cdef Py_ssize_t partner[DRAWS_AHEAD]
    cdef int64_t kept
    cdef uint32_t counter[4]
    for i in range(n):
        order[i] = i
    i = n - 1
    while i > 0:
        draws = min(i, <Py_ssize_t> DRAWS_AHEAD)
        for draw in range(0, draws, 2):
            counter[0] = <uint32_t> (i - draw)
            counter[1] = <uint32_t> epoch
            counter[2] = <uint32_t> (epoch >> 32)
            counter[3] = STREAM_ORDER
            philox(counter, <uint32_t> seed, <uint32_t> (seed >> 32))
            partner[draw] = below((<uint64_t> counter[3] << 32) | counter[2], i - draw + 1)
            partner[draw + 1] = below((<uint64_t> counter[1] << 32) | counter[0], i - draw)
            prefetch(order + partner[draw])
            prefetch(order + partner[draw + 1])
        for draw in range(draws):
            kept = order[i - draw]
            order[i - draw] = order[partner[draw]]
            order[partner[draw]] = kept
        i -= draws


def philox_block(const uint32_t[::1] counter, const uint32_t[::1] key, uint32_t[::1] out):
    """Philox4x32-10 of one counter (4,) under one key (2,), into ``out`` (4,)."""
    cdef int i
    for i in range(4):
        out[i] = counter[i]
    philox(&out[0], key[0], key[1])


def row_order(int64_t[::1] order, uint64_t seed, uint64_t epoch):
    """Fill ``order`` (n,) with the order of rows of one shuffled epoch."""
    if order.shape[0]:
        with nogil:
            shuffled_order(&order[0], order.shape[0], seed, epoch)
