"""The counter-based generator against its authors' numbers, and the orders of rows made from it."""

import itertools

import numpy as np
import pytest

from fastmlp import kernels

BUILDS = [kernels.float32, kernels.float64]
# The word of the counter that tells an order of rows from other streams.
STREAM_ORDER = 1


def philox(build, counter, key):
    out = np.empty(4, np.uint32)
    build.philox_block(np.array(counter, np.uint32), np.array(key, np.uint32), out)
    return out.tolist()


def row_order(n, seed, epoch, build=kernels.float32):
    order = np.full(n, -1, np.int64)
    build.row_order(order, seed, epoch)
    return order


# Random123's kat_vectors: "philox 4x32 10", counter, key, expected.
KNOWN_ANSWERS = [
    (
        [0, 0, 0, 0],
        [0, 0],
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
    ),
    (
        [0xFFFFFFFF] * 4,
        [0xFFFFFFFF] * 2,
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
    ),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "wanted"), KNOWN_ANSWERS)
@pytest.mark.parametrize("build", BUILDS, ids=["f32", "f64"])
def test_philox_known_answers(build, counter, key, wanted):
    assert philox(build, counter, key) == wanted


def test_philox_leaves_its_arguments_alone():
    counter, key = np.arange(4, dtype=np.uint32), np.arange(2, dtype=np.uint32)
    counter.flags.writeable = key.flags.writeable = False
    kernels.float32.philox_block(counter, key, np.empty(4, np.uint32))
    assert counter.tolist() == [0, 1, 2, 3]
    assert key.tolist() == [0, 1]


def plain_philox(counter, key):
    """Philox4x32-10 as its paper writes it, in whole numbers of any size."""
    a, b, c, d = counter
    low_half = 2**32 - 1
    for i in range(10):
        key0 = (key[0] + i * 0x9E3779B9) & low_half
        key1 = (key[1] + i * 0xBB67AE85) & low_half
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (
            (right >> 32) ^ b ^ key0,
            right & low_half,
            (left >> 32) ^ d ^ key1,
            left & low_half,
        )
    return [a, b, c, d]


def plain_row_order(n, seed, epoch):
    """Fisher and Yates' shuffle, from the last place down: two draws of 64 bits to a block."""
    order = list(range(n))
    low_half = 2**32 - 1
    draws = []
    for i in range(n - 1, 0, -1):
        if not draws:
            counter = [i, epoch & low_half, epoch >> 32, STREAM_ORDER]
            block = plain_philox(counter, [seed & low_half, seed >> 32])
            draws = [block[1] << 32 | block[0], block[3] << 32 | block[2]]
        j = draws.pop() * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    return order


@pytest.mark.parametrize(("counter", "key", "wanted"), KNOWN_ANSWERS)
def test_the_plain_generator_is_philox(counter, key, wanted):
    assert plain_philox(counter, key) == wanted


@pytest.mark.parametrize("n", [1, 2, 3, 10, 101, 1000])
@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
@pytest.mark.parametrize("epoch", [0, 1, 2**32 + 5, 2**62])
def test_row_order_is_a_shuffle_of_philox(n, seed, epoch):
    for build in BUILDS:
        assert row_order(n, seed, epoch, build).tolist() == plain_row_order(n, seed, epoch)


def test_row_order_is_what_it_was():
    """Written down: an order that changes changes every training of every user."""
    assert row_order(8, 0, 0).tolist() == [0, 3, 4, 2, 5, 1, 6, 7]
    assert row_order(8, 0, 1).tolist() == [1, 2, 7, 5, 3, 0, 6, 4]
    assert row_order(8, 1, 0).tolist() == [7, 5, 0, 3, 2, 1, 6, 4]


def test_row_order_is_a_permutation():
    for n in (1, 2, 1000, 100_003):
        order = row_order(n, 5, 3)
        np.testing.assert_array_equal(np.sort(order), np.arange(n))


def test_row_order_of_nothing():
    assert len(row_order(0, 0, 0)) == 0


def test_row_order_depends_on_seed_and_epoch_alone():
    keys = [(0, 0), (1, 0), (0, 1), (1, 1), (2**32, 0), (0, 2**32), (2**63, 0), (0, 2**62)]
    orders = {key: row_order(50, *key).tolist() for key in keys}
    for one, other in itertools.combinations(keys, 2):
        assert orders[one] != orders[other]
    np.random.default_rng(0).random(3)
    for key in reversed(keys):
        assert row_order(50, *key).tolist() == orders[key]
        state = np.full(50, 7, np.int64)
        kernels.float64.row_order(state, *key)
        assert state.tolist() == orders[key]


@pytest.mark.parametrize("varied", ["seed", "epoch"])
def test_every_row_comes_everywhere_alike(varied):
    """Chi-square over (place, row) pairs, whose counts have expectation trials / n."""
    n, trials = 12, 24_000
    counts = np.zeros((n, n))
    for i in range(trials):
        order = row_order(n, i, 0) if varied == "seed" else row_order(n, 0, i)
        counts[np.arange(n), order] += 1
    expected = trials / n
    chi_square = ((counts - expected) ** 2 / expected).sum() * (n - 1) / n
    # (n - 1)² = 121 degrees of freedom: mean 121, standard deviation 15.6; four of them either way.
    assert 59 < chi_square < 183


def test_pairs_of_rows_come_in_either_order_alike():
    """What counting places cannot see: whether row 0 comes before row 1, and so on."""
    n, trials = 6, 20_000
    before = np.zeros((n, n))
    for i in range(trials):
        place = np.argsort(row_order(n, i, i % 7))
        before += place[:, None] < place[None, :]
    share = before[np.triu_indices(n, 1)] / trials
    # Standard deviation 0.5 / √trials = 0.0035; fifteen pairs, four of them either way.
    assert np.abs(share - 0.5).max() < 4 * 0.5 / np.sqrt(trials)


def test_all_permutations_of_four_rows_come():
    trials = 24_000
    counts = np.zeros(256)
    for i in range(trials):
        counts[row_order(4, i, 3) @ [64, 16, 4, 1]] += 1
    counts = counts[counts > 0]
    assert len(counts) == 24
    # 23 degrees of freedom: mean 23, standard deviation 6.8; four of them up.
    assert ((counts - 1000) ** 2 / 1000).sum() < 50
