"""`MLP.freeze`: the same bits as the network's own predictions, without the network."""

import copy
import pickle
import threading

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import kernels

SIZES = [[1, 1], [2, 4, 1], [4, 32, 16, 4], [5, 131, 10], [600, 300, 7]]


def network(sizes, dtype, output="identity"):
    return fm.MLP(sizes, activation="tanh", output=output, dtype=dtype, seed=3)


def same_bits(a, b):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("n", [1, 2, 31, 32, 129, 600])
def test_predicts_what_the_network_predicts(dtype, sizes, n, rng):
    mlp = network(sizes, dtype)
    x = rng.standard_normal((n, sizes[0])).astype(dtype)
    same_bits(mlp.freeze()(x), mlp.predict(x))


@pytest.mark.parametrize("n_in", [5, 700, 1500])
def test_a_row_alone_has_the_bits_it_has_among_others(dtype, n_in, rng):
    """A single row goes through a kernel of its own, several panels of weights side by side."""
    _, nr, vw = kernels.of(dtype).TILE
    for n_out in (nr - 1, 2 * nr + 1, 3 * nr - vw, 3 * nr, 8 * nr + 1, 17 * nr - 2):
        mlp = network([n_in, n_out, 3], dtype)
        x = rng.standard_normal((40, n_in)).astype(dtype)
        together = mlp.predict(x)
        fast = mlp.freeze()
        for row in (0, 7, 39):
            same_bits(mlp.predict(x[row : row + 1]), together[row : row + 1])
            same_bits(fast(x[row : row + 1]), together[row : row + 1])


def test_softmax_and_threads(dtype, rng):
    mlp = network([20, 300, 10], dtype, "softmax")
    x = rng.standard_normal((1000, 20)).astype(dtype)
    fast = mlp.freeze()
    for n_threads in (1, 2, 3, None):
        same_bits(fast(x, n_threads=n_threads), mlp.predict(x))


def test_later_training_does_not_change_it(rng):
    mlp = fm.MLP([3, 8, 1], seed=0)
    x, y = rng.standard_normal((50, 3)), rng.standard_normal((50, 1))
    fast = mlp.freeze()
    before = mlp.predict(x)
    mlp.fit(x, y, epochs=3)
    assert (mlp.predict(x) != before).any()
    same_bits(fast(x), before)
    mlp.params[:] = np.nan
    same_bits(fast(x), before)


@pytest.mark.parametrize("rows", ["float64", "float32", "int16", "big-endian", "strided", "list"])
def test_rows_of_any_kind(rows, rng):
    mlp = fm.MLP([4, 6, 2], seed=1)
    fast = mlp.freeze()
    x = rng.integers(-9, 9, (10, 4)).astype(np.float32)
    kinds = {
        "big-endian": x.astype(">f8"),
        "strided": np.asfortranarray(x)[::2],
        "list": x.tolist(),
    }
    given = kinds[rows] if rows in kinds else x.astype(rows)
    same_bits(fast(given), mlp.predict(given))


def test_writes_to_out_even_over_its_own_input(rng):
    mlp = fm.MLP([5, 9, 5], seed=2)
    fast = mlp.freeze()
    x = rng.standard_normal((7, 5)).astype(np.float32)
    wanted = mlp.predict(x)
    out = np.empty((7, 5), np.float32)
    assert fast(x, out=out) is out
    same_bits(out, wanted)
    assert fast(x, out=x) is x
    same_bits(x, wanted)


def test_copies_and_pickles(dtype, rng):
    fast = network([6, 40, 3], dtype).freeze()
    x = rng.standard_normal((3, 6)).astype(dtype)
    for twin in (copy.copy(fast), copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        same_bits(twin(x), fast(x))
        assert (twin.sizes, twin.activations, twin.dtype) == (
            fast.sizes,
            fast.activations,
            fast.dtype,
        )


def test_many_threads_call_one_predictor(rng):
    mlp = fm.MLP([50, 400, 400, 10], seed=4)
    fast = mlp.freeze()
    x = rng.standard_normal((8, 300, 50)).astype(np.float32)
    wanted = [mlp.predict(part) for part in x]
    wrong = []
    start = threading.Barrier(len(x))

    def work(i):
        start.wait()
        for _ in range(30):
            if fast(x[i], n_threads=1).tobytes() != wanted[i].tobytes():
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(x))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert wrong == []
    assert 1 <= len(fast._idle) <= len(x)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((2, 3), np.float32), ValueError, "X: got 3 columns, expected 4"),
        (np.zeros(4, np.float32), ValueError, "X: got 1 dimension, shape"),
        (np.zeros((0, 4), np.float32), ValueError, "X: got no rows"),
        ([["a"] * 4], TypeError, "X: got strings, expected real numbers"),
        (np.array([[1, 2, np.nan, 4]], np.float32), ValueError, "X: row 0 holds nan in column 2"),
        (np.array([[1, 2, 3, 4], [1, 1e300, 1, 1]]), ValueError, "X: row 1 holds 1e.300 in col"),
    ],
)
def test_bad_rows(x, error, message):
    fast = fm.MLP([4, 2], seed=0).freeze()
    with pytest.raises(error, match=message):
        fast(x)
    assert fast(np.ones((1, 4))).shape == (1, 2)


def test_bad_out_and_threads():
    fast = fm.MLP([4, 2], seed=0).freeze()
    with pytest.raises(ValueError, match="out: got float32"):
        fast(np.ones((1, 4)), out=np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="n_threads: got 0"):
        fast(np.ones((1, 4)), n_threads=0)


def test_repr():
    assert repr(fm.MLP([4, 2], seed=0).freeze()) == "Predictor([4, 2], dtype='float32')"
