"""What zeros in the input would add is left out, and no bit of any result shows it."""

import itertools

import numpy as np
import pytest
from trainings import make_trainer

import fastmlp as fm

DTYPES = ["float32", "float64"]
# Around whole vectors and panels of every build, and past a block of k.
N_IN = [32, 33, 100, 784, 1100]
N_OUT = [32, 33, 48, 100, 145, 400]
ROWS = [8, 9, 13, 64, 130]
SHAPES = [shape for i, shape in enumerate(itertools.product(N_IN, N_OUT, ROWS)) if i % 7 == 0]
SPARSE = 0.03
"""How much of the inputs is not zero. Then few tiles of 8 rows need a step."""


def sparse_rows(rng, rows, n_in, dtype):
    x = rng.standard_normal((rows, n_in))
    return (x * (rng.random(x.shape) < SPARSE)).astype(dtype)


def widened(mlp, more):
    """The same network with ``more`` inputs behind its own that count nothing."""
    ws, bs = list(mlp.weights), list(mlp.biases)
    ws[0] = np.concatenate([ws[0], np.zeros((more, ws[0].shape[1]), ws[0].dtype)])
    return fm.MLP.from_weights(ws, bs, activation="tanh", output="softmax")


def gradient(mlp, x, y, n_threads):
    trainer = fm.Trainer(mlp, optimizer=fm.SGD(lr=0.1), n_threads=n_threads)
    trainer.forward(x)
    trainer.compute_loss(y)
    trainer.backward()
    return trainer.grads.copy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "-".join(map(str, s)))
def test_gradients_are_those_of_all_steps(dtype, shape):
    """Beside enough inputs that are not zero nothing is left out: the same bits."""
    n_in, n_out, rows = shape
    rng = np.random.default_rng(2)
    x = sparse_rows(rng, rows, n_in, dtype)
    y = rng.integers(0, 3, rows)
    mlp = fm.MLP([n_in, n_out, 3], activation="tanh", output="softmax", seed=0, dtype=dtype)
    mlp.biases[0][:] = rng.standard_normal(n_out)
    more = 4 * n_in
    dense = np.concatenate([x, rng.uniform(1, 2, (rows, more)).astype(dtype)], axis=1)
    wide = widened(mlp, more)
    for n_threads in (1, 2):
        left_out = gradient(mlp, x, y, n_threads)
        all_steps = gradient(wide, dense, y, n_threads)
        end = n_in * n_out
        np.testing.assert_array_equal(left_out[:end], all_steps[:end])
        np.testing.assert_array_equal(left_out[end:], all_steps[end + more * n_out :])
        np.testing.assert_array_equal(
            mlp.predict(x, n_threads=n_threads), wide.predict(dense, n_threads=n_threads)
        )
    assert np.count_nonzero(left_out[:end])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), [*itertools.product(N_IN, N_OUT)])
def test_a_row_alone_and_beside_others(dtype, n_in, n_out):
    """One row leaves out its own zeros, a tile those its rows share, among dense rows none."""
    rng = np.random.default_rng(3)
    mlp = fm.MLP([n_in, n_out, n_out, 3], activation="relu", seed=0, dtype=dtype)
    x = sparse_rows(rng, 40, n_in, dtype)
    beside = rng.uniform(1, 2, (40, n_in)).astype(dtype)
    expected = mlp.predict(x)
    mixed = np.stack([x, beside], axis=1).reshape(80, n_in)
    np.testing.assert_array_equal(mlp.predict(mixed)[::2], expected)
    frozen = mlp.freeze()
    for i in range(0, 40, 7):
        np.testing.assert_array_equal(mlp.predict(x[i : i + 1]), expected[i : i + 1])
        np.testing.assert_array_equal(frozen(x[i : i + 1]), expected[i : i + 1])
        np.testing.assert_array_equal(
            mlp.predict(beside[i : i + 1]), mlp.predict(beside)[i : i + 1]
        )
    np.testing.assert_array_equal(frozen(x), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 24, 72])  # whole tiles in every build
def test_steps_are_left_out(dtype, rows):
    """0 times an infinite weight would be NaN: that weight is never read."""
    rng = np.random.default_rng(4)
    x = sparse_rows(rng, rows, 200, dtype)  # half of its zeros are -0
    x[:, 77] = 0
    # Whole vectors, and all panels of a single row side by side, in every build.
    mlp = fm.MLP([200, 576, 3], seed=0, dtype=dtype)
    expected = mlp.predict(x)
    mlp.weights[0][77] = np.inf
    np.testing.assert_array_equal(mlp.predict(x), expected)
    np.testing.assert_array_equal(mlp.freeze()(x), expected)
    dense = np.where(x == 0, 1, x)
    dense[:, 77] = 0
    assert not np.isfinite(mlp.predict(dense)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_are_left_out_of_the_gradient(dtype):
    """Where a row's derivative is infinite, inputs that are 0 would have NaN for a gradient."""
    rng = np.random.default_rng(5)
    x = sparse_rows(rng, 64, 200, dtype)
    x[:, 48:96] = 0
    mlp = fm.MLP([200, 96, 1], activation="identity", output="identity", seed=0, dtype=dtype)
    trainer = fm.Trainer(mlp, loss="mse", optimizer=fm.SGD(lr=0.1), n_threads=1)
    y = np.zeros((64, 1), dtype)
    y[5] = np.finfo(dtype).max
    mlp.weights[1][:] = 1e4
    trainer.forward(x)
    trainer.compute_loss(y)
    trainer.backward()
    of_zeros = trainer.grads[: 200 * 96].reshape(200, 96)[48:96]
    assert not np.isfinite(trainer.grads).all()
    np.testing.assert_array_equal(of_zeros, np.zeros_like(of_zeros))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(130, 40, 3), (257, 300, 271, 3)])
def test_the_same_training_for_any_number_of_threads(dtype, sizes):
    rng = np.random.default_rng(6)
    x = sparse_rows(rng, 700, sizes[0], dtype)
    y = rng.integers(0, 3, 700)
    params = []
    for n_threads in (1, 2, 3, 8):
        trainer = make_trainer(dtype, sizes, batch_size=270, n_threads=n_threads, output="softmax")
        trainer.fit(x, y, epochs=3)
        params.append(trainer.mlp.params.copy())
    for others in params[1:]:
        np.testing.assert_array_equal(others, params[0])
