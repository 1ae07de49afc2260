"""Data as they come: sparse, narrow, scaled, unknown, weighted by class, in pieces, mapped."""

import copy
import hashlib
import os
import pickle
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest
import trainings
from trainings import EPS, HearMinibatches

import fastmlp as fm
from fastmlp import kernels

scipy_sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")

ROWS, COLUMNS = 600, 7


def make_trainer(dtype="float64", sizes=(COLUMNS, 12, 3), **options):
    return trainings.make_trainer(
        dtype, sizes, **{"batch_size": 32, "seed": 5, "l2": 0.01, **options}
    )


def state(trainer):
    """Everything that training has made, as bytes and plain numbers."""
    return (
        trainer.mlp.params.tobytes(),
        {name: buffer.tobytes() for name, buffer in trainer.mlp.buffers.items()},
        trainer._state.tobytes(),
        trainer.n_steps,
        trainer.epoch,
        {name: list(column) for name, column in trainer.history.items()},
    )


def all_that_comes_out(trainer, X, y, **options):
    """Training on rows in every way there is, and every prediction for them."""
    trainer.fit(X, y, **{"epochs": 2, "validation_split": 0.2, **options})
    trainer.fit(X, y, epochs=1, callbacks=[HearMinibatches()])
    trainer.fit(X, y, epochs=1, shuffle=False)
    trainer.partial_fit(X, y)
    mlp, n = trainer.mlp, trainer.n_threads
    seen = [
        mlp.predict(X, n_threads=n),
        mlp.freeze()(X, n_threads=n),
        trainer.forward(X),
        mlp.hidden(X, n_threads=n)[0],
    ]
    value = mlp.evaluate(X, y, loss=trainer.loss, n_threads=n)
    return state(trainer), [a.tobytes() for a in seen], value


# ---- SciPy's sparse rows


def sparse(rng, kind=scipy_sparse.csr_array, indices="int32", stored="float64", duplicates=True):
    """Rows of eighths of whole numbers, so that any sum of them is exact; some are empty."""
    per_row = rng.integers(0, 4, ROWS)
    per_row[[0, 17, ROWS - 1]] = 0
    starts = np.concatenate([[0], np.cumsum(per_row)])
    columns = np.concatenate([np.sort(rng.choice(COLUMNS, n, replace=False)) for n in per_row])
    values = rng.integers(1, 40, len(columns))
    if duplicates:
        # Every row's first column is written a second time, at the row's end.
        filled = per_row > 0
        ends, firsts = starts[1:][filled], starts[:-1][filled]
        values = np.insert(values, ends, values[firsts])
        columns = np.insert(columns, ends, columns[firsts])
        starts = np.concatenate([[0], np.cumsum(per_row + filled)])
    values = values.astype(stored) / 8 if stored.startswith("float") else values.astype(stored)
    made = kind((values.astype(stored), columns, starts), shape=(ROWS, COLUMNS))
    # The constructors choose the indices' type themselves.
    made.indices, made.indptr = made.indices.astype(indices), made.indptr.astype(indices)
    return made


@pytest.fixture
def classes(rng):
    return rng.integers(0, 3, ROWS)


@pytest.mark.parametrize("batch_size", [32, 550], ids=["small batches", "batches of some chunks"])
@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("indices", ["int32", "int64"])
@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array"])
def test_sparse_rows_are_dense_ones(kind, indices, n_threads, batch_size, dtype, rng, classes):
    """Empty rows, and columns that are stored twice."""
    X = sparse(rng, getattr(scipy_sparse, kind), indices)
    assert X.indices.dtype == X.indptr.dtype == indices
    assert not X.has_canonical_format
    assert (X.toarray() == 0).all(axis=1).sum() >= 3
    kept = [a.tobytes() for a in (X.data, X.indices, X.indptr)]
    options = {"batch_size": batch_size, "n_threads": n_threads, "output": "softmax"}
    found = [
        all_that_comes_out(make_trainer(dtype, **options), rows, classes)
        for rows in (X, X.toarray())
    ]
    assert found[0] == found[1]
    assert [a.tobytes() for a in (X.data, X.indices, X.indptr)] == kept


@pytest.mark.parametrize("stored", ["bool", "int8", "uint8", "int16", "int64", "float32"])
def test_sparse_rows_of_any_element_type(stored, dtype, rng, classes):
    X = sparse(rng, stored=stored, duplicates=False)
    found = [
        all_that_comes_out(make_trainer(dtype, output="softmax"), rows, classes)
        for rows in (X, X.toarray())
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("stored", ["bool", "uint8", "float32"])
def test_what_is_stored_twice_is_added_as_scipy_adds_it(stored, rng):
    """In the array's own type: True and True are True, bytes run over, and float32 rounds."""
    X = sparse(rng, stored=stored)
    values = {"bool": [True], "uint8": [200, 100], "float32": [0.1, 0.7]}[stored]
    X.data[:] = np.resize(values, len(X.data))
    y = rng.normal(size=(ROWS, 3))
    found = [
        all_that_comes_out(make_trainer("float64", optimizer=fm.SGD(1e-6)), rows, y)
        for rows in (X, X.toarray())
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("layout", ["csc_array", "coo_array", "lil_array", "bsr_array"])
def test_other_sparse_layouts_are_read_too(layout, dtype, rng, classes):
    X = sparse(rng)
    other = getattr(scipy_sparse, layout)(X)
    found = [
        all_that_comes_out(make_trainer(dtype, output="softmax"), rows, classes)
        for rows in (other, X.toarray())
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("scale", ["standard", 0.25])
def test_sparse_rows_are_scaled_like_dense_ones(scale, dtype, rng, classes):
    X = sparse(rng)
    found = [
        all_that_comes_out(make_trainer(dtype, output="softmax", scale=scale), rows, classes)
        for rows in (X, X.toarray())
    ]
    assert found[0] == found[1]


def test_sparse_rows_without_a_single_element(dtype, rng):
    X, y = scipy_sparse.csr_array((ROWS, COLUMNS)), rng.normal(size=(ROWS, 3))
    assert X.nnz == 0
    found = [all_that_comes_out(make_trainer(dtype), rows, y) for rows in (X, X.toarray())]
    assert found[0] == found[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_sparse_row_that_is_not_finite_is_named(bad, rng):
    X, y = sparse(rng, duplicates=False), rng.normal(size=(ROWS, 3))
    row = 123
    while X.indptr[row] == X.indptr[row + 1]:
        row += 1
    at = X.indptr[row + 1] - 1
    X.data[at] = bad
    trainer = make_trainer("float32")
    mlp, before = trainer.mlp, state(trainer)
    for call in (
        lambda: trainer.fit(X, y),
        lambda: trainer.fit(X, y, validation_split=0.3),
        lambda: trainer.partial_fit(X, y),
        lambda: trainer.forward(X),
        lambda: mlp.predict(X),
        lambda: mlp.freeze()(X),
        lambda: mlp.evaluate(X, y),
    ):
        with pytest.raises(ValueError, match=rf"row {row} holds .* in column {X.indices[at]}\b"):
            call()
    assert state(trainer) == before


def test_sparse_arrays_that_do_not_fit_are_refused(rng):
    X, y = sparse(rng), rng.normal(size=(ROWS, 3))
    trainer = make_trainer()
    mlp, before = trainer.mlp, state(trainer)
    for call in (
        lambda X: trainer.fit(X, y),
        lambda X: trainer.forward(X),
        lambda X: mlp.predict(X),
        lambda X: mlp.freeze()(X),
        lambda X: mlp.evaluate(X, y),
    ):
        with pytest.raises(ValueError, match=r"(?i)^x: got 6 columns, expected 7.*inputs"):
            call(X[:, :-1])
        with pytest.raises(ValueError, match=r"(?i)^x: got no rows"):
            call(X[:0])
        with pytest.raises(ValueError, match=r"(?i)^x: got 1 dimension, expected two"):
            call(scipy_sparse.coo_array(np.ones(COLUMNS)))
        with pytest.raises(TypeError, match=r"(?i)^x: got complex numbers"):
            call(X.astype(complex))
    with pytest.raises(TypeError, match=r"^y: got Python objects"):
        trainer.fit(X, X)
    with pytest.raises(ValueError, match=r"^y: got 599 rows, expected 600"):
        trainer.fit(X, y[1:])
    assert state(trainer) == before


# ---- narrow types


def narrow(rng, stored):
    """Rows that every type in question holds."""
    if stored == "bool":
        return rng.integers(0, 2, (ROWS, COLUMNS)).astype(bool)
    if stored == "float16":
        return rng.normal(size=(ROWS, COLUMNS)).astype(np.float16)
    low = 0 if stored == "uint8" else -300
    return rng.integers(low, 256, (ROWS, COLUMNS)).astype(stored)


@pytest.mark.parametrize("batch_size", [32, 550])
@pytest.mark.parametrize("stored", ["uint8", "int16", "float16", "bool"])
def test_narrow_rows_are_the_same_numbers_in_the_networks_type(stored, batch_size, dtype, rng):
    X, y = narrow(rng, stored), rng.normal(size=(ROWS, 3))
    options = {"batch_size": batch_size, "optimizer": fm.SGD(1e-4), "n_threads": 2}
    found = [
        all_that_comes_out(make_trainer(dtype, **options), rows, y) for rows in (X, X.astype(dtype))
    ]
    assert found[0] == found[1]


def test_the_smallest_and_largest_halves(dtype):
    """Subnormal numbers, zeros of both signs and the ends of the range arrive as they are."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)][:, None]
    found = kernels.of(dtype).Source(halves)
    out = np.empty(halves.shape, dtype)
    assert kernels.of(dtype).gather(found, np.arange(len(halves)), out) == -1
    assert out.tobytes() == halves.astype(dtype).tobytes()


def test_bytes_times_a_factor(dtype, rng):
    """The product is made in double precision and rounded once: the bits of NumPy's."""
    X, y = narrow(rng, "uint8"), rng.normal(size=(ROWS, 3))
    scaled = make_trainer(dtype, scale=1 / 255)
    plain = make_trainer(dtype)
    multiplied = (X * (1 / 255)).astype(dtype)
    for trainer, rows in ((scaled, X), (plain, multiplied)):
        trainer.fit(rows, y, epochs=3)
    assert scaled.mlp.params.tobytes() == plain.mlp.params.tobytes()
    assert scaled.history["loss"] == plain.history["loss"]
    expected = plain.mlp.predict(multiplied)
    assert scaled.mlp.predict(X).tobytes() == expected.tobytes()
    # Folded into the weights, each of them is rounded once more.
    atol = 4 * EPS[dtype.name] * np.sqrt(COLUMNS)
    np.testing.assert_allclose(scaled.mlp.freeze()(X), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("factor", [0.37, 3, 1e-3])
def test_halves_times_a_factor(factor, dtype, rng):
    """Kept as its reciprocal, a factor may be off by an eps of float64."""
    X, y = narrow(rng, "float16"), rng.normal(size=(ROWS, 3))
    scaled, plain = make_trainer(dtype, scale=factor), make_trainer(dtype)
    multiplied = (X.astype(np.float64) * factor).astype(dtype)
    atol = 8 * EPS[dtype.name] * np.sqrt(COLUMNS)
    np.testing.assert_allclose(
        scaled.mlp.predict(X), plain.mlp.predict(multiplied), rtol=0, atol=atol
    )
    for trainer, rows in ((scaled, X), (plain, multiplied)):
        trainer.fit(rows, y, epochs=1)
    # Each of the updates adds its own.
    np.testing.assert_allclose(
        scaled.mlp.params, plain.mlp.params, rtol=0, atol=atol * np.sqrt(plain.n_steps)
    )


def test_a_factor_is_part_of_the_network(tmp_path, rng):
    X = narrow(rng, "uint8")
    mlp = fm.MLP([COLUMNS, 5, 1], scale=1 / 255, seed=0)
    expected = mlp.predict(X).tobytes()
    assert expected != fm.MLP([COLUMNS, 5, 1], seed=0).predict(X).tobytes()
    mlp.save(tmp_path / "model")
    for twin in (fm.load(tmp_path / "model"), mlp.copy(), pickle.loads(pickle.dumps(mlp))):
        assert twin.scale == 1 / 255
        assert twin.predict(X).tobytes() == expected


# ---- scale="standard"


@pytest.fixture
def measured(rng):
    """Inputs and targets far from zero, in units of their own."""
    X = rng.normal(size=(200, 4)) * [1, 20, 0.01, 300] + [5, -100, 0.02, 4000]
    inside = (X - X.mean(axis=0)) / X.std(axis=0)
    y = np.stack([1000 + 50 * np.tanh(inside @ [1, -1, 0.5, 0]), 1e-3 * inside[:, 3]], axis=1)
    return X, y


def standard_trainer(dtype="float64", sizes=(4, 8, 2), **options):
    return make_trainer(dtype, sizes, **{"scale": "standard", "batch_size": 20, **options})


def test_standard_scaling_is_that_by_hand(measured):
    """In float64, by NumPy's mean and std, and with the same order of rows."""
    X, y = measured
    scaled, plain = standard_trainer(), make_trainer(sizes=(4, 8, 2), batch_size=20)
    scaled.fit(X, y, epochs=5)
    by_hand = [(a - a.mean(axis=0)) / a.std(axis=0) for a in (X, y)]
    plain.fit(*by_hand, epochs=5)
    assert scaled.n_steps == 50
    # Rounding of the inputs, carried on through fifty updates.
    eps = EPS["float64"] * np.sqrt(scaled.n_steps * 20)
    tolerance = 100 * eps * np.abs(X.mean(axis=0) / X.std(axis=0)).max()
    np.testing.assert_allclose(scaled.mlp.params, plain.mlp.params, rtol=0, atol=tolerance)
    np.testing.assert_allclose(scaled.history["loss"], plain.history["loss"], rtol=tolerance)
    expected = plain.mlp.predict(by_hand[0]) * y.std(axis=0) + y.mean(axis=0)
    off = np.abs(scaled.mlp.predict(X) - expected) / y.std(axis=0)
    assert off.max() <= 10 * tolerance
    for what, a in (("inputs", X), ("targets", y)):
        # About the numbers' distance from zero, not about their spread.
        rtol = 8 * EPS["float64"] * np.sqrt(len(a))
        mean, std = scaled.mlp.buffers[f"{what}.mean"], scaled.mlp.buffers[f"{what}.std"]
        np.testing.assert_allclose(mean, a.mean(axis=0), rtol=rtol, atol=rtol * a.std(axis=0).min())
        np.testing.assert_allclose(std, a.std(axis=0), rtol=rtol)


def test_means_of_many_blocks_are_those_of_all_rows(rng):
    """Deviations of 1 around a million: squares of the numbers themselves would lose them."""
    X = rng.normal(size=(10_000, 3)) + 1e6
    mlp = fm.MLP([3, 1], scale="standard", seed=0)
    mlp.fit(X, X[:, 0], epochs=1)
    rtol = 8 * EPS["float64"] * np.sqrt(len(X))
    np.testing.assert_allclose(mlp.buffers["inputs.mean"], X.mean(axis=0), rtol=rtol)
    # A mean that is off by a rounding of a million is 1e-10 of the deviation.
    np.testing.assert_allclose(mlp.buffers["inputs.std"], X.std(axis=0), rtol=1e6 * rtol)


def test_predictions_are_in_the_targets_own_units(dtype, measured):
    X, y = measured
    trainer = standard_trainer(dtype, optimizer=fm.Adam(0.01))
    trainer.fit(X, y, epochs=60)
    error = trainer.mlp.predict(X) - y
    assert (error.std(axis=0) < 0.3 * y.std(axis=0)).all()
    assert (np.abs(error.mean(axis=0)) < 0.1 * y.std(axis=0)).all()
    # As are those of training, and what metrics see.
    predicted = trainer.mlp.predict(X)
    assert trainer.forward(X).tobytes() == predicted.tobytes()
    found = trainer.mlp.evaluate(X, y, metrics=["mse"])["mse"]
    assert found == pytest.approx(((predicted.astype(np.float64) - y) ** 2).mean(), rel=1e-6)


def test_the_loss_is_that_of_scaled_targets(measured):
    """So that targets of all units count alike, as in training."""
    X, y = measured
    trainer = standard_trainer(l2=0)
    trainer.fit(X, y, epochs=3)
    inside = (trainer.mlp.predict(X) - y) / y.std(axis=0)
    expected = pytest.approx((inside**2).mean(), rel=1e-9)
    assert trainer.mlp.evaluate(X, y)["loss"] == expected
    trainer.forward(X)
    assert trainer.compute_loss(y) == expected


def test_what_one_trainer_has_measured_holds_for_another(measured):
    X, y = measured
    first = standard_trainer()
    second = fm.Trainer(first.mlp)
    first.fit(X, y, epochs=1)
    assert second.forward(X).tobytes() == first.mlp.predict(X).tobytes()


@pytest.mark.parametrize("call", ["forward", "partial_fit", "stream"])
def test_minibatches_before_anything_was_measured_are_refused(call, measured):
    """They would be trained on as they are, and scaled in the next call."""
    X, y = measured
    trainer = standard_trainer()
    calls = {
        "forward": lambda: trainer.forward(X),
        "partial_fit": lambda: trainer.partial_fit(X, y),
        "stream": lambda: trainer.fit([(X, y)], epochs=1),
    }
    with pytest.raises(ValueError, match="scale: 'standard' is measured on the rows of the first"):
        calls[call]()
    assert trainer.mlp.buffers == {}
    trainer.fit(X, y, epochs=1)
    calls[call]()


@pytest.mark.parametrize("far", [False, True])
def test_a_frozen_standardised_network_predicts_the_same(far, dtype, measured):
    """Inputs too far from zero for the type keep their scaling; the others' goes into weights."""
    X, y = measured
    X = X + np.array([0, 0, 0, 1e8]) * far
    trainer = standard_trainer(dtype)
    trainer.fit(X, y, epochs=5)
    ratio = np.abs(X.mean(axis=0) / X.std(axis=0)).max()
    assert (ratio > 1e5) == far
    # Folded, an input's rounding is one of its distance from zero.
    lost = 1 if far else ratio
    fast, wanted = trainer.mlp.freeze(), trainer.mlp.predict(X)
    off = np.abs(fast(X) - wanted) / y.std(axis=0)
    beside = np.abs(y.mean(axis=0) / y.std(axis=0)).max()
    assert off.max() <= 8 * EPS[dtype.name] * np.sqrt(8) * (lost + beside)
    assert fast(X.astype(dtype)).shape == wanted.shape
    assert pickle.loads(pickle.dumps(fast))(X).tobytes() == fast(X).tobytes()


def test_a_standardised_network_is_saved_loaded_and_copied(tmp_path, dtype, measured):
    X, y = measured
    trainer = standard_trainer(dtype)
    trainer.fit(X, y, epochs=2)
    mlp = trainer.mlp
    mlp.save(tmp_path / "model")
    twins = [fm.load(tmp_path / "model"), mlp.copy(), copy.deepcopy(mlp)]
    twins.append(pickle.loads(pickle.dumps(mlp)))
    for twin in twins:
        assert twin.scale == "standard"
        assert {k: v.tobytes() for k, v in twin.buffers.items()} == {
            k: v.tobytes() for k, v in mlp.buffers.items()
        }
        assert twin.predict(X).tobytes() == mlp.predict(X).tobytes()
        assert twin.freeze()(X).tobytes() == mlp.freeze()(X).tobytes()
    # What was measured once stays.
    before = mlp.buffers["inputs.mean"].copy()
    twins[0].fit(2 * X, y, epochs=1)
    np.testing.assert_array_equal(twins[0].buffers["inputs.mean"], before)
    untrained = fm.MLP([4, 2], scale="standard", seed=0)
    untrained.save(tmp_path / "untrained")
    fm.load(tmp_path / "untrained").fit(X, y, epochs=1)


def test_only_the_rows_of_the_first_training_are_measured(measured):
    X, y = measured
    trainer = standard_trainer()
    trainer.fit(X, y, epochs=1, validation_split=0.25)
    order = np.empty(200, np.int64)
    kernels.float64.row_order(order, 5, 2**64 - 1)
    trained = order[50:]
    rtol = 8 * EPS["float64"] * np.sqrt(200)
    for what, a in (("inputs", X), ("targets", y)):
        mean, std = (trainer.mlp.buffers[f"{what}.{part}"] for part in ("mean", "std"))
        of_trained = a[trained].mean(axis=0)
        np.testing.assert_allclose(mean, of_trained, rtol=rtol, atol=rtol * a.std(axis=0).min())
        np.testing.assert_allclose(std, a[trained].std(axis=0), rtol=rtol)
        assert not np.allclose(std, a.std(axis=0), rtol=1e-6)
    before = {name: buffer.tobytes() for name, buffer in trainer.mlp.buffers.items()}
    trainer.fit(3 * X + 1, 2 * y, epochs=1)
    fm.Trainer(trainer.mlp).fit(-X, y, epochs=1)
    assert {name: buffer.tobytes() for name, buffer in trainer.mlp.buffers.items()} == before


def test_validation_rows_are_scaled_by_the_training_rows(measured):
    X, y = measured
    trainer = standard_trainer()
    history = trainer.fit(X[:150], y[:150], epochs=2, validation_data=(X[150:], y[150:]))
    inside = (trainer.mlp.predict(X[150:]) - y[150:]) / y[:150].std(axis=0)
    assert history["val_loss"][-1] == pytest.approx((inside**2).mean(), rel=1e-9)


@pytest.mark.parametrize("constant", [0.0, 3.0, 0.1, 1e10 / 3, -1e-30])
@pytest.mark.parametrize("rows", [60, 9000])
def test_constant_columns_do_no_harm(constant, rows, dtype, rng):
    """Also where the mean of equal numbers is not quite that number."""
    X = rng.normal(size=(rows, 3))
    X[:, 1] = constant
    y = np.stack([X[:, 0], np.full(rows, constant)], axis=1)
    trainer = standard_trainer(dtype, sizes=(3, 4, 2), batch_size=rows)
    trainer.fit(X, y, epochs=2)
    assert trainer.mlp.buffers["inputs.std"][1] == 1
    assert trainer.mlp.buffers["targets.std"][1] == 1
    assert np.isfinite(trainer.history["loss"]).all()
    if abs(constant) <= 3:
        # A row that differs in that column by little is not another row altogether.
        nearby = X.copy()
        nearby[:, 1] *= 1 + 1e-6
        predicted = trainer.mlp.predict(X)
        np.testing.assert_allclose(trainer.mlp.predict(nearby), predicted, rtol=0, atol=1e-4)


def test_classes_are_not_scaled_and_quantiles_are(measured, rng):
    X, y = measured
    mlp = fm.MLP([4, 2], output="softmax", scale="standard", seed=0)
    mlp.fit(X, rng.integers(0, 2, 200), epochs=1)
    assert sorted(mlp.buffers) == ["inputs.mean", "inputs.std"]
    mlp = fm.MLP([4, 6], scale="standard", seed=0)
    mlp.fit(X, y, loss=fm.Quantile(tau=(0.1, 0.5, 0.9)), epochs=1)
    np.testing.assert_array_equal(
        mlp.buffers["targets.std"], np.repeat(mlp.buffers["targets.std"][[0, 3]], 3)
    )
    np.testing.assert_allclose(mlp.buffers["targets.std"][[0, 3]], y.std(axis=0), rtol=1e-12)


def test_unknown_targets_are_not_measured(measured):
    X, y = measured
    y = y.copy()
    y[::3, 0] = np.nan
    trainer = standard_trainer(loss=fm.MeanSquaredError(missing="ignore"))
    trainer.fit(X, y, epochs=2)
    np.testing.assert_allclose(
        trainer.mlp.buffers["targets.mean"], np.nanmean(y, axis=0), rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(trainer.mlp.buffers["targets.std"], np.nanstd(y, axis=0), rtol=1e-12)
    assert np.isfinite(trainer.history["loss"]).all()


@pytest.mark.parametrize("scale", ["normal", 0, -1.0, np.inf, True, (1, 2)])
def test_what_is_no_scale_is_refused(scale):
    with pytest.raises(ValueError, match=r"^scale: got"):
        fm.MLP([2, 1], scale=scale)


# ---- targets that are not known


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# Each with what it says of one output and its derivative by the score, from score and target.
MISSING = {
    "mse": (fm.MeanSquaredError, {}, lambda z, t: ((z - t) ** 2, 2 * (z - t))),
    "mae": (fm.MeanAbsoluteError, {}, lambda z, t: (np.abs(z - t), np.sign(z - t))),
    "huber": (
        fm.Huber,
        {"delta": 0.5},
        lambda z, t: (
            np.where(np.abs(z - t) <= 0.5, (z - t) ** 2 / 2, 0.5 * (np.abs(z - t) - 0.25)),
            np.clip(z - t, -0.5, 0.5),
        ),
    ),
    "quantile": (
        fm.Quantile,
        {"tau": 0.3},
        lambda z, t: (
            np.maximum(0.3 * (t - z), -0.7 * (t - z)),
            np.where(t > z, -0.3, 0.7),
        ),
    ),
    "log_cosh": (fm.LogCosh, {}, lambda z, t: (np.log(np.cosh(z - t)), np.tanh(z - t))),
    "binary_cross_entropy": (
        fm.BinaryCrossEntropy,
        {},
        lambda z, t: (np.logaddexp(0, z) - z * t, sigmoid(z) - t),
    ),
    "poisson": (fm.Poisson, {}, lambda z, t: (np.exp(z) - t * z, np.exp(z) - t)),
    "half_poisson_deviance": (
        fm.HalfPoissonDeviance,
        {},
        lambda z, t: (t * (np.log(np.where(t > 0, t, 1)) - z) - t + np.exp(z), np.exp(z) - t),
    ),
    "half_squared_error": (fm.HalfSquaredError, {}, lambda z, t: ((z - t) ** 2 / 2, z - t)),
}
OUTPUTS = {"binary_cross_entropy": "sigmoid", "poisson": "exp", "half_poisson_deviance": "exp"}
each_loss = pytest.mark.parametrize("name", MISSING)


def unknown(name, rng, rows=90):
    """Inputs, and targets of which a third is unknown; in four rows all."""
    X = rng.normal(size=(rows, 4))
    y = rng.normal(size=(rows, 3))
    if name in OUTPUTS:
        y = np.abs(y) % 1
    y[rng.random(y.shape) < 0.3] = np.nan
    y[[0, 40, 41, rows - 1]] = np.nan
    assert (~np.isnan(y)).all(axis=1).any()
    return X, y


def missing_trainer(name, reduction="mean", dtype="float64", **options):
    loss, settings, _ = MISSING[name]
    return make_trainer(
        dtype,
        options.pop("sizes", (4, 3)),
        loss=loss(reduction=reduction, missing="ignore", **settings),
        output=OUTPUTS.get(name, "identity"),
        l2=0,
        **options,
    )


def by_hand(name, reduction, mlp, X, y, weights):
    """Loss and gradient of a network of one layer, from the known targets only."""
    z = X @ mlp.weights[0] + mlp.biases[0]
    known = ~np.isnan(y)
    values, slopes = MISSING[name][2](z, np.where(known, y, 0))
    of_each = known / np.maximum(known.sum(axis=1), 1)[:, None]
    if name.startswith("half_"):
        of_each = known.astype(float)
    weights = weights * known.any(axis=1)
    if reduction == "mean":
        weights = weights / weights.sum()
    dz = slopes * of_each * weights[:, None]
    value = (values * of_each).sum(axis=1) @ weights
    return value, np.concatenate([(X.T @ dz).ravel(), dz.sum(axis=0)])


@each_loss
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradient_are_those_of_the_known_targets(name, reduction, weighted, rng):
    X, y = unknown(name, rng)
    weights = rng.uniform(0.1, 3, len(X)) if weighted else None
    trainer = missing_trainer(name, reduction)
    value, gradient = by_hand(
        name, reduction, trainer.mlp, X, y, np.ones(len(X)) if weights is None else weights
    )
    rtol = 32 * EPS["float64"] * np.sqrt(len(X))
    trainer.forward(X)
    assert trainer.compute_loss(y, weights) == pytest.approx(value, rel=rtol)
    trainer.backward()
    np.testing.assert_allclose(
        trainer.grads, gradient, rtol=rtol, atol=rtol * np.abs(gradient).max()
    )
    found = trainer.mlp.evaluate(X, y, loss=trainer.loss, sample_weight=weights)
    assert found["loss"] == pytest.approx(value, rel=rtol)


@each_loss
def test_a_row_without_a_known_target_counts_nothing(name, rng):
    """As if it were not there: not in the mean either."""
    X, y = unknown(name, rng)
    there = ~np.isnan(y).all(axis=1)
    assert 0 < there.sum() < len(y)
    wild = np.where(there[:, None], X, 1e3 * X)
    trainers = [missing_trainer(name, batch_size=100, sizes=(4, 5, 3)) for _ in range(2)]
    trainers[0].fit(wild, y, epochs=5, shuffle=False)
    trainers[1].fit(X[there], y[there], epochs=5, shuffle=False)
    rtol = 100 * EPS["float64"] * np.sqrt(5 * len(X))
    np.testing.assert_allclose(trainers[0].mlp.params, trainers[1].mlp.params, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(trainers[0].history["loss"], trainers[1].history["loss"], rtol=rtol)
    loss = trainers[0].loss
    whole, part = (
        trainers[0].mlp.evaluate(rows, t, loss=loss)["loss"]
        for rows, t in ((X, y), (X[there], y[there]))
    )
    assert whole == pytest.approx(part, rel=rtol)


@each_loss
def test_unknown_targets_in_every_way_of_training(name, dtype, rng):
    """The compiled loop, minibatch by minibatch, in pieces, on threads: the same bits."""
    X, y = unknown(name, rng, rows=600)
    for batch_size in (50, 590):
        found = []
        for n_threads, callbacks in ((1, []), (3, []), (1, [HearMinibatches()])):
            trainer = missing_trainer(
                name, dtype=dtype, sizes=(4, 6, 3), batch_size=batch_size, n_threads=n_threads
            )
            trainer.fit(X, y, epochs=2, callbacks=callbacks, validation_split=0.2)
            found.append(state(trainer))
        assert found[0] == found[1] == found[2]
        assert np.isfinite(trainer.history["loss"]).all()
        assert np.isfinite(trainer.history["val_loss"]).all()


@each_loss
def test_targets_that_are_all_known_are_as_without_the_option(name, dtype, rng):
    X, y = unknown(name, rng)
    y = np.where(np.isnan(y), 0.25, y)
    loss, settings, _ = MISSING[name]
    ignoring = missing_trainer(name, dtype=dtype)
    usual = make_trainer(
        dtype, (4, 3), loss=loss(**settings), output=OUTPUTS.get(name, "identity"), l2=0
    )
    for trainer in (ignoring, usual):
        trainer.fit(X, y, epochs=3)
    assert state(ignoring) == state(usual)


@pytest.mark.parametrize("missing", ["error", "ignore"])
def test_only_what_is_not_known_may_be_missing(missing, rng):
    X, y = unknown("mse", rng)
    trainer = make_trainer(sizes=(4, 3), loss=fm.MeanSquaredError(missing=missing))
    before = state(trainer)
    weights = np.ones(len(X))
    weights[7] = np.nan
    X_unknown = X.copy()
    X_unknown[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"^X: row 3 holds nan in column 2"):
        trainer.fit(X_unknown, y)
    with pytest.raises(ValueError, match=r"^sample_weight: row 7 holds nan"):
        trainer.fit(X, np.nan_to_num(y), sample_weight=weights)
    if missing == "error":
        for call in (trainer.fit, trainer.mlp.evaluate, trainer.partial_fit):
            with pytest.raises(ValueError, match=r"^y: row 0 holds nan in column 0"):
                call(X, y)
    assert state(trainer) == before


@pytest.mark.parametrize(("dtype", "bad"), [("float64", np.inf), ("float32", 1e300)])
def test_a_target_beside_unknown_ones_must_be_finite(dtype, bad, rng):
    """What is named is not the unknown one beside it."""
    X, y = unknown("mse", rng)
    y[5] = np.nan, bad, 0
    trainer = missing_trainer("mse", dtype=dtype)
    before = state(trainer)
    with pytest.raises(ValueError, match=r"^y: row 5 holds (inf|1e\+300) in column 1"):
        trainer.fit(X, y)
    assert state(trainer) == before


def test_losses_over_classes_have_no_unknown_targets(rng):
    with pytest.raises(TypeError, match="missing"):
        fm.CrossEntropy(missing="ignore")
    with pytest.raises(ValueError, match=r"^missing: got 'drop'"):
        fm.MeanSquaredError(missing="drop")


# ---- weights of classes


CLASSES = {
    "class numbers": ({"output": "softmax"}, lambda labels: labels, 3),
    "probabilities": ({"output": "softmax"}, lambda labels: np.eye(3)[labels], 3),
    "yes or no": (
        {"output": "sigmoid", "sizes": (COLUMNS, 5, 1)},
        lambda labels: (labels > 0).astype(float),
        2,
    ),
}
each_form = pytest.mark.parametrize("form", CLASSES)


def lopsided(rng):
    """Rows of three classes of very different number."""
    return rng.normal(size=(200, COLUMNS)), rng.choice(3, 200, p=[0.7, 0.25, 0.05])


@each_form
@pytest.mark.parametrize("given", ["balanced", "dict", "array"])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_of_classes_are_weights_of_rows(form, given, weighted, dtype, rng):
    X, labels = lopsided(rng)
    network, targets_of, n_classes = CLASSES[form]
    y, classes = targets_of(labels), labels if n_classes == 3 else (labels > 0).astype(int)
    counts = np.bincount(classes)
    of_class = {
        "balanced": len(classes) / (n_classes * counts),
        # A class that is not named has the weight 1.
        "dict": np.array([1.0, 20.0, 0.5])[:n_classes],
        "array": np.array([0.0, 2.5, 1.5])[:n_classes],
    }[given]
    class_weight = {
        "balanced": "balanced",
        "dict": {1: 20, np.int64(2): 0.5} if n_classes == 3 else {1: 20.0},
        "array": of_class,
    }[given]
    weights = rng.uniform(0.1, 2, 200) if weighted else None
    found = []
    for options in (
        {"class_weight": class_weight, "sample_weight": weights},
        {"sample_weight": of_class[classes] * (1 if weights is None else weights)},
        {},
    ):
        trainer = make_trainer(dtype, **network)
        trainer.fit(X, y, epochs=3, **options)
        found.append(state(trainer))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_balanced_weights_are_scikit_learns():
    """n / (n_classes · rows of the class), with only the classes there are."""
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(100, COLUMNS)), np.repeat([0, 2], [80, 20])
    found = []
    for options in (
        {"class_weight": "balanced"},
        {"sample_weight": np.where(labels == 0, 100 / (2 * 80), 100 / (2 * 20))},
    ):
        trainer = make_trainer(output="softmax")
        trainer.fit(X, labels, epochs=2, **options)
        found.append(state(trainer))
    assert found[0] == found[1]


def test_given_validation_data_keep_their_own_weights(rng):
    X, labels = lopsided(rng)
    trainer = make_trainer(output="softmax")
    history = trainer.fit(
        X, labels, epochs=2, class_weight="balanced", validation_data=(X, labels),
        metrics=["accuracy"],
    )  # fmt: skip
    found = trainer.mlp.evaluate(X, labels)
    assert history["val_loss"][-1] == found["loss"]
    assert history["val_accuracy"][-1] == found["accuracy"]


@pytest.mark.parametrize(
    ("class_weight", "pattern"),
    [
        ("balance", r"^class_weight: got 'balance', expected 'balanced' or a weight for each"),
        ([1.0, 2.0], r"^class_weight: got shape \(2,\), expected \(3,\)"),
        ([[1.0, 2.0, 3.0]], r"^class_weight: got shape \(1, 3\), expected \(3,\)"),
        ({3: 1.0}, r"^class_weight: got the class 3, expected one from 0 to 2"),
        ({-1: 1.0}, r"^class_weight: got the class -1, expected one from 0 to 2"),
        ({"cat": 1.0}, r"^class_weight: got the class 'cat', expected one from 0 to 2"),
        ({True: 1.0}, r"^class_weight: got the class True, expected one from 0 to 2"),
        ({0: -1.0}, r"^class_weight\[0\]: got -1.0, expected a finite number of at least 0"),
        ([1.0, np.nan, 1.0], r"^class_weight\[1\]: got .*nan.*, expected a finite number"),
        ([0, 0, 0], r"^class_weight: every row has the weight 0"),
    ],
)
def test_weights_of_classes_that_make_no_sense_are_refused(class_weight, pattern, rng):
    X, labels = lopsided(rng)
    trainer = make_trainer(output="softmax")
    before = state(trainer)
    with pytest.raises(ValueError, match=pattern):
        trainer.fit(X, labels, class_weight=class_weight)
    assert state(trainer) == before


def test_a_row_of_no_known_class_is_counted_in_none(rng):
    X, labels = rng.normal(size=(80, COLUMNS)), np.repeat([0.0, 1.0, np.nan], [30, 10, 40])
    found = []
    for options in (
        {"class_weight": "balanced"},
        {"sample_weight": np.repeat([40 / (2 * 30), 40 / (2 * 10), 1], [30, 10, 40])},
    ):
        trainer = make_trainer(
            sizes=(COLUMNS, 1), output="sigmoid", loss=fm.BinaryCrossEntropy(missing="ignore")
        )
        trainer.fit(X, labels, epochs=2, **options)
        found.append(state(trainer))
    assert found[0] == found[1]


def test_losses_without_classes_take_no_weights_of_them(rng):
    X = rng.normal(size=(50, COLUMNS))
    trainer = make_trainer()
    with pytest.raises(ValueError, match=r"^class_weight: 'mse' has no classes.*sample_weight"):
        trainer.fit(X, rng.normal(size=(50, 3)), class_weight="balanced")
    several = make_trainer(output="sigmoid")
    with pytest.raises(ValueError, match=r"^class_weight: 'binary_cross_entropy' has no classes"):
        several.fit(X, rng.random((50, 3)), class_weight="balanced")


# ---- minibatches that come one by one, and rows that come piece by piece

# 210 rows in minibatches of 32: the last one has 18.
STREAMED, BATCH = 210, 32
NETWORKS = {
    "plain": {},
    "dropout": {"dropout": 0.3, "input_dropout": 0.1},
    "layer": {"normalization": "layer"},
    "batch": {"normalization": "batch"},
}
TRAINED_WITH = {
    "momentum": {"optimizer": fm.SGD(0.05, momentum=0.9, nesterov=True)},
    "adam": {"optimizer": fm.Adam(0.01)},
    "nadam": {"optimizer": fm.Nadam(0.01)},
    "schedule": {"optimizer": fm.AdamW(0.01), "schedule": fm.Cosine(steps=15)},
    "function": {"schedule": lambda step, epoch: 0.9**step},
    **{name: network for name, network in NETWORKS.items() if network},
}
TARGETS = {
    "numbers": ({}, lambda rng: rng.normal(size=(STREAMED, 3))),
    "classes": ({"output": "softmax"}, lambda rng: rng.integers(0, 3, STREAMED)),
}


def in_pieces(*arrays):
    """The arrays cut into minibatches, as tuples."""
    cuts = range(0, STREAMED, BATCH)
    return [tuple(a[start : start + BATCH] for a in arrays) for start in cuts]


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("what", TRAINED_WITH)
def test_a_stream_is_fit_without_shuffling(what, targets, dtype, rng):
    """From a list, and from a function that returns an iterator for each epoch."""
    output, targets_of = TARGETS[targets]
    X, y = rng.normal(size=(STREAMED, COLUMNS)), targets_of(rng)
    pieces = in_pieces(X, y)
    found = []
    for data, options in (
        ((X, y), {"shuffle": False}),
        ((pieces,), {}),
        ((lambda: iter(pieces),), {}),
        ((lambda: (list(piece) for piece in pieces),), {}),
    ):
        trainer = make_trainer(dtype, batch_size=BATCH, **output, **TRAINED_WITH[what])
        trainer.fit(*data, epochs=3, **options)
        assert trainer.n_steps == 3 * 7
        assert trainer.epoch == len(trainer.history["loss"]) == 3
        assert trainer.history.stop_reason == "epochs"
        found.append(state(trainer))
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert found[3] == found[0]


def test_a_stream_of_weighted_minibatches(dtype, rng):
    X, y = rng.normal(size=(STREAMED, COLUMNS)), rng.normal(size=(STREAMED, 3))
    weights = rng.uniform(0, 2, STREAMED)
    whole, streamed = (make_trainer(dtype, batch_size=BATCH) for _ in range(2))
    whole.fit(X, y, epochs=3, shuffle=False, sample_weight=weights)
    streamed.fit(in_pieces(X, y, weights), epochs=3)
    assert state(streamed) == state(whole)


@pytest.mark.parametrize("schedule", ["cosine", fm.Step(0.5, epochs=1), fm.Warmup(epochs=1)])
def test_a_list_of_minibatches_has_epochs_for_a_schedule(schedule, rng):
    X, y = rng.normal(size=(STREAMED, COLUMNS)), rng.normal(size=(STREAMED, 3))
    whole, streamed = (make_trainer(batch_size=BATCH, schedule=schedule) for _ in range(2))
    whole.fit(X, y, epochs=4, shuffle=False)
    streamed.fit(in_pieces(X, y), epochs=4)
    assert state(streamed) == state(whole)
    endless = make_trainer(batch_size=BATCH, schedule=fm.Step(0.5, epochs=1))
    params = endless.mlp.params.tobytes()
    with pytest.raises(ValueError, match=r"^schedule: .*counts epochs"):
        endless.fit(lambda: iter(in_pieces(X, y)), epochs=2)
    assert endless.mlp.params.tobytes() == params


def test_a_stream_with_validation_stopping_and_listeners(rng):
    X, y = rng.normal(size=(STREAMED, COLUMNS)), rng.normal(size=(STREAMED, 3))
    found = []
    for data, options in (((X, y), {"shuffle": False}), ((in_pieces(X, y),), {})):
        trainer = make_trainer(batch_size=BATCH)
        history = trainer.fit(
            *data, epochs=200, validation_data=(X[:50] + 0.1, y[:50]), metrics=["mae"],
            early_stopping=fm.EarlyStopping("val_loss", patience=2, min_delta=0.01), **options,
        )  # fmt: skip
        assert history.stop_reason == "early_stopping"
        found.append(state(trainer))
    assert found[0] == found[1]


def test_an_iterator_lasts_for_one_epoch(rng):
    X, y = rng.normal(size=(STREAMED, COLUMNS)), rng.normal(size=(STREAMED, 3))
    trainer = make_trainer(batch_size=BATCH)
    before = state(trainer)
    for options in ({"epochs": 2}, {}):
        with pytest.raises(ValueError, match=r"^X: an iterator ends after one epoch; give a list"):
            trainer.fit(iter(in_pieces(X, y)), **options)
    assert state(trainer) == before
    trainer.fit(iter(in_pieces(X, y)), epochs=1)
    assert trainer.n_steps == 7


def test_an_empty_stream_is_refused(rng):
    used_up = iter(())
    trainer = make_trainer()
    before = state(trainer)
    for empty in ([], used_up, lambda: iter(())):
        with pytest.raises(ValueError, match=r"^X: the minibatches have come to an end before"):
            trainer.fit(empty, epochs=1)
    assert state(trainer) == before
    # It is as it was, and still trains.
    assert trainer.fit(rng.normal(size=(9, COLUMNS)), rng.normal(size=(9, 3))).stop_reason


@pytest.mark.parametrize(
    "options",
    [
        {"sample_weight": np.ones(STREAMED)},
        {"class_weight": "balanced"},
        {"validation_split": 0.2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_needs_all_rows_is_refused_with_a_stream(options, rng):
    pieces = in_pieces(rng.normal(size=(STREAMED, COLUMNS)), rng.integers(0, 3, STREAMED))
    trainer = make_trainer(output="softmax")
    before = state(trainer)
    with pytest.raises(ValueError, match=rf"^{next(iter(options))}: got one for minibatches"):
        trainer.fit(pieces, **options)
    assert state(trainer) == before


def test_what_is_no_stream_is_refused(rng):
    X = rng.normal(size=(STREAMED, COLUMNS))
    trainer = make_trainer()
    with pytest.raises(ValueError, match=r"^y: missing; give fit\(X, y\), or an iterable"):
        trainer.fit(X)
    with pytest.raises(ValueError, match=r"^y: missing"):
        trainer.fit(3)
    for item, what in ((X, "ndarray"), ((X,), "tuple"), ({"x": X}, "dict")):
        with pytest.raises(TypeError, match=rf"^X: got {what} as a minibatch, expected \(x, t\)"):
            trainer.fit([item], epochs=1)
    with pytest.raises(ValueError, match=r"^y: got 4 rows, expected 5"):
        trainer.fit([(X[:5], np.zeros((4, 3)))], epochs=1)
    assert trainer.n_steps == trainer.epoch == 0


def test_pieces_larger_than_the_batch_size_are_taken_as_they_come(rng):
    X, y = rng.normal(size=(STREAMED, COLUMNS)), rng.normal(size=(STREAMED, 3))
    streamed, whole = make_trainer(batch_size=4), make_trainer(batch_size=STREAMED)
    streamed.fit([(X, y)], epochs=3)
    whole.fit(X, y, epochs=3, shuffle=False)
    assert streamed.n_steps == 3
    assert state(streamed) == state(whole)


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("what", TRAINED_WITH)
@pytest.mark.parametrize("at_once", [1, 3, 7], ids=["one", "three", "all"])
def test_partial_fit_is_fit_in_pieces(at_once, what, targets, dtype, rng):
    """A call for each minibatch, or for several: it cuts them itself."""
    output, targets_of = TARGETS[targets]
    X, y = rng.normal(size=(STREAMED, COLUMNS)), targets_of(rng)
    weights = rng.uniform(0, 2, STREAMED)
    whole, pieces = (
        make_trainer(dtype, batch_size=BATCH, **output, **TRAINED_WITH[what]) for _ in range(2)
    )
    whole.fit(X, y, epochs=1, shuffle=False, sample_weight=weights)
    total = 0.0
    for start in range(0, STREAMED, at_once * BATCH):
        rows = slice(start, start + at_once * BATCH)
        value = pieces.partial_fit(X[rows], y[rows], sample_weight=weights[rows])
        total += value * len(X[rows])
    assert pieces.mlp.params.tobytes() == whole.mlp.params.tobytes()
    assert pieces._state.tobytes() == whole._state.tobytes()
    assert state(pieces)[1] == state(whole)[1]
    assert pieces.n_steps == whole.n_steps == 7
    assert total / STREAMED == pytest.approx(whole.history["loss"][0], rel=1e-14)
    # No epoch of its own.
    assert pieces.epoch == len(pieces.history["loss"]) == 0


def test_fit_and_partial_fit_go_on_from_each_other(rng):
    X, y = rng.normal(size=(STREAMED, COLUMNS)), rng.normal(size=(STREAMED, 3))
    mixed, whole = (make_trainer(batch_size=BATCH, optimizer=fm.Nadam()) for _ in range(2))
    mixed.fit(X, y, epochs=1, shuffle=False)
    for piece in in_pieces(X, y):
        mixed.partial_fit(*piece)
    mixed.fit(X, y, epochs=1, shuffle=False)
    whole.fit(X, y, epochs=3, shuffle=False)
    assert mixed.mlp.params.tobytes() == whole.mlp.params.tobytes()
    assert mixed.n_steps == whole.n_steps == 21
    assert (mixed.epoch, whole.epoch) == (2, 3)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "nadam"])
def test_a_partial_fit_that_diverges_changes_nothing(network, optimizer, rng):
    """Also where some of its minibatches were in order: the fourth of seven overflows."""
    X, y = rng.normal(size=(STREAMED, COLUMNS)), rng.normal(size=(STREAMED, 3))
    options = {"activation": "relu", "optimizer": optimizer, "batch_size": BATCH}
    trainer, twin = (make_trainer("float32", **options, **NETWORKS[network]) for _ in range(2))
    for each in (trainer, twin):
        each.partial_fit(X, y)
    before = state(trainer)
    wild = X.copy()
    wild[100:] = 3.3e38
    with pytest.raises(FloatingPointError, match=r"^partial_fit: .*as it was\. Try a learning"):
        trainer.partial_fit(wild, y)
    assert state(trainer) == before
    # And goes on as if nothing had happened.
    for each in (trainer, twin):
        each.partial_fit(X, y)
    assert state(trainer) == state(twin)


def test_a_partial_fit_whose_last_update_overflows_changes_nothing(rng):
    """Its loss was finite, but what it would leave is no network."""
    X, y = rng.normal(size=(BATCH, COLUMNS)), rng.normal(size=(BATCH, 3))
    trainer = make_trainer("float32", batch_size=BATCH, optimizer=fm.SGD(1e37), activation="relu")
    before = state(trainer)
    with pytest.raises(FloatingPointError, match=r"^partial_fit: "):
        trainer.partial_fit(1e5 * X, y)
    assert state(trainer) == before


def test_partial_fit_refuses_what_fit_does(rng):
    X, y = rng.normal(size=(50, COLUMNS)), rng.normal(size=(50, 3))
    trainer = make_trainer()
    before = state(trainer)
    X_bad = X.copy()
    X_bad[40, 1] = np.inf
    for arguments, pattern in (
        ((X_bad, y), r"^X: row 40 holds inf in column 1"),
        ((X, y[:49]), r"^y: got 49 rows, expected 50"),
        ((X[:, 1:], y), r"^X: got 6 columns, expected 7"),
    ):
        with pytest.raises(ValueError, match=pattern):
            trainer.partial_fit(*arguments)
    with pytest.raises(ValueError, match=r"^sample_weight: got shape \(3,\), expected \(50,\)"):
        trainer.partial_fit(X, y, sample_weight=np.ones(3))
    assert state(trainer) == before
    newton = make_trainer(optimizer="levenberg_marquardt", l2=0)
    with pytest.raises(ValueError, match=r"^partial_fit: LevenbergMarquardt makes its steps from"):
        newton.partial_fit(X, y)


# ---- larger than memory

MAPPED_ROWS, MAPPED_COLUMNS = 260_000, 784
MAPPED = """
    import hashlib, resource, sys
    import numpy as np
    import fastmlp as fm

    path, how, rows, columns = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

    def train(X):
        y = np.asarray(X[:, 0]) // 64
        mlp = fm.MLP([columns, 8, 4], output="softmax", scale=1 / 255, seed=0)
        fm.Trainer(mlp, batch_size=128, seed=1, n_threads=1).fit(X, y, epochs=1)
        assert np.isfinite(mlp.params).all()
        print(hashlib.sha256(mlp.params.tobytes()).hexdigest())

    if how == "limited":
        # Memory of the process's own; a file that is mapped is not.
        with open("/proc/self/status") as status:
            used = next(int(line.split()[1]) * 1024 for line in status if "VmData" in line)
        limit = used + (32 << 20)
        assert limit < rows * columns, f"{used} bytes before anything has begun"
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        try:
            np.fromfile(path, np.uint8)
        except MemoryError:
            pass
        else:
            raise AssertionError("the limit does not hold")
        train(np.memmap(path, np.uint8, "r", shape=(rows, columns)))
    else:
        train(np.fromfile(path, np.uint8).reshape(rows, columns))
"""


def test_a_file_larger_than_memory_is_trained_on(tmp_path, rng):
    """Shuffled, byte by byte the training of the same numbers in memory."""
    path = tmp_path / "images.u8"
    with path.open("wb") as file:
        for _ in range(10):
            file.write(rng.bytes(MAPPED_ROWS * MAPPED_COLUMNS // 10))
    assert path.stat().st_size == MAPPED_ROWS * MAPPED_COLUMNS
    found = []
    for how in ("limited", "in memory"):
        command = [sys.executable, "-P", "-W", "error", "-c", textwrap.dedent(MAPPED), path, how]
        done = subprocess.run(
            [*command, str(MAPPED_ROWS), str(MAPPED_COLUMNS)],
            capture_output=True, text=True, timeout=120, check=False,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.strip())
    assert len(found[0]) == len(hashlib.sha256().hexdigest())
    assert found[0] == found[1]


def test_a_mapped_array_gives_the_bits_of_one_in_memory(tmp_path, rng):
    """In every way of training and predicting, rows held out too."""
    X, y = rng.integers(0, 256, (ROWS, COLUMNS)).astype(np.uint8), rng.integers(0, 3, ROWS)
    X.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.uint8, "r", shape=X.shape)
    make = partial(make_trainer, output="softmax", scale=1 / 255)
    assert all_that_comes_out(make(), mapped, y) == all_that_comes_out(make(), X, y)
