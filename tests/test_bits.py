"""The same bits, however a training is cut up, called, or shared among threads."""

import math
import time

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import fitting, kernels

OPTIMIZERS = [
    fm.SGD(lr=0.05),
    fm.SGD(lr=0.05, momentum=0.9),
    fm.SGD(lr=0.05, momentum=0.9, nesterov=True),
    fm.SGD(lr=0.05, momentum=0.9, rate_inside_velocity=True),
    fm.SGD(lr=0.05, momentum=0.9, nesterov=True, rate_inside_velocity=True),
    fm.Adam(lr=0.01),
    fm.Adam(lr=0.01, eps_before_correction=True),
]
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.kernel)
MOMENTUM = OPTIMIZERS[1]

# What a training may look like: (sizes, rows, batch size). Chunks have 256 rows where a row is as
# narrow as in the third shape, whatever the type, and 128 where it is wide.
SHAPES = {
    "small batches": ([64, 128, 64, 3], 730, 50),
    "batches of some chunks": ([20, 30, 3], 1000, 300),
    "one batch of many chunks": ([12, 16, 3], 8000, 8000),
    "many parameters": ([300, 280, 3], 300, 140),
    "layers updated block by block": ([257, 300, 271, 3], 170, 100),
}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
# Every shape with one optimizer, and every optimizer with two shapes.
each_shape_and_optimizer = pytest.mark.parametrize(
    ("shape", "optimizer"),
    [
        *(pytest.param(shape, MOMENTUM, id=name) for name, shape in SHAPES.items()),
        *(pytest.param(SHAPES["small batches"], o, id=o.kernel) for o in OPTIMIZERS),
        *(
            pytest.param(SHAPES["layers updated block by block"], o, id=f"{o.kernel}, by blocks")
            for o in (*OPTIMIZERS, fm.AdamW(lr=0.01, weight_decay=0.1))
        ),
    ],
)
SEED, EPOCHS = 7, 3
# Seconds until a worker must have had its share, however busy the machine is.
PATIENCE = 30


def data(sizes, rows):
    """Inputs, class numbers and weights of the rows."""
    rng = np.random.default_rng(1)
    X = rng.normal(0, 1, (rows, sizes[0]))
    return X, rng.integers(0, sizes[-1], rows), rng.uniform(0.5, 2, rows)


def new_trainer(dtype, sizes, batch_size, optimizer=MOMENTUM, n_threads=1):
    mlp = fm.MLP(sizes, activation="tanh", output="softmax", seed=0, dtype=dtype)
    return fm.Trainer(
        mlp, optimizer=optimizer, batch_size=batch_size, l2=0.01, seed=SEED, n_threads=n_threads
    )


def bits_of(trainer):
    """All that a training leaves behind, for comparison with ``==``."""
    losses = np.array(trainer.history["loss"])
    return trainer.mlp.params.tobytes(), trainer.n_steps, trainer.epoch, losses.tobytes()


def assert_same(trainer, wanted):
    """A comparison that says what differs."""
    params, n_steps, epoch, losses = bits_of(trainer)
    assert (n_steps, epoch) == wanted[1:3]
    assert params == wanted[0], "the parameters differ"
    assert losses == wanted[3], "the parameters agree, but the losses in the history differ"


def trained(dtype, shape, optimizer=MOMENTUM, n_threads=1, **options):
    """A training in one call."""
    sizes, rows, batch_size = shape
    X, y, weights = data(sizes, rows)
    trainer = new_trainer(dtype, sizes, batch_size, optimizer, n_threads)
    trainer.fit(X, y, epochs=EPOCHS, sample_weight=weights, **options)
    return trainer


class CountedPlan:
    """A plan whose calls of ``run`` are counted."""

    def __init__(self, plan):
        self.plan, self.runs = plan, 0

    def __getattr__(self, name):
        return getattr(self.plan, name)

    def run(self, *arguments):
        self.runs += 1
        return self.plan.run(*arguments)


# ---- whole, sliced, step by step


@each_shape_and_optimizer
def test_sliced_trainings(dtype, shape, optimizer, monkeypatch):
    """A slice as short as it can be: back at every look at the clock, also within a minibatch."""
    sizes, rows, batch_size = shape
    X, y, weights = data(sizes, rows)
    for n_threads in (1, 2):
        monkeypatch.setattr(fitting, "SLICE", 1e9)
        whole = bits_of(trained(dtype, shape, optimizer, n_threads))
        monkeypatch.setattr(fitting, "SLICE", 0)
        trainer = new_trainer(dtype, sizes, batch_size, optimizer, n_threads)
        plan = CountedPlan(trainer._plan_for(kernels.of(dtype).LOSSES["cross_entropy_of_labels"]))
        monkeypatch.setattr(trainer, "_plan_for", lambda code, plan=plan: plan)
        trainer.fit(X, y, epochs=EPOCHS, sample_weight=weights)
        assert_same(trainer, whole)
        # The few rows of "batches of some chunks" may be over before anyone looks at the clock.
        if shape is not SHAPES["batches of some chunks"]:
            assert plan.runs > 2 * EPOCHS


@each_shape
@pytest.mark.parametrize("shuffle", [True, False])
def test_runs_of_a_plan(dtype, shape, shuffle):
    """The plan alone, run with no time at all again and again, against one run."""
    sizes, rows, batch_size = shape
    X, y, weights = data(sizes, rows)
    build = kernels.of(dtype)
    found = []
    for seconds in (1e9, 0):
        trainer = new_trainer(dtype, sizes, batch_size)
        params = trainer.mlp.params
        plan = trainer._plan_for(build.LOSSES["cross_entropy_of_labels"])
        losses, position = np.full(EPOCHS, np.nan), np.zeros(4, np.int64)
        plan.begin(
            build.Source(X), build.Source(y[:, None]), build.Source(weights[:, None]),
            order=np.empty(rows, np.int64) if shuffle else None, position=position,
            running=np.array([0, np.inf]), snapshot=np.empty_like(params),
            buffers_snapshot=None, seed=SEED, shuffle=shuffle, batch_size=batch_size, lr=0.05,
            target_loss=-math.inf, tol=0, patience=0, n_threads=1,
        )  # fmt: skip
        statuses = [build.STATUS["slice"]]
        while statuses[-1] == build.STATUS["slice"]:
            statuses.append(plan.run(losses, 0, EPOCHS, False, seconds))
        assert statuses[-1] == build.STATUS["epochs"]
        assert len(statuses) == 2 if seconds else len(statuses) > EPOCHS
        found.append((params.tobytes(), losses.tobytes(), position.tolist()))
    assert found[0] == found[1]
    if shuffle:
        wanted = trained(dtype, shape)
        assert found[0][:2] == (wanted.mlp.params.tobytes(), bits_of(wanted)[3])


@each_shape_and_optimizer
def test_steps_by_hand(dtype, shape, optimizer):
    """forward, compute_loss, backward and step over the same order of rows."""
    sizes, rows, batch_size = shape
    X, y, weights = data(sizes, rows)
    trainer = new_trainer(dtype, sizes, batch_size, optimizer)
    order, losses = np.empty(rows, np.int64), []
    for epoch in range(EPOCHS):
        kernels.of(dtype).row_order(order, SEED, epoch)
        total = 0.0
        for start in range(0, rows, batch_size):
            chosen = order[start : start + batch_size]
            trainer.forward(X[chosen])
            total += trainer.compute_loss(y[chosen], weights[chosen]) * len(chosen)
            trainer.backward()
            trainer.step()
        losses.append(total / rows)
    whole = trained(dtype, shape, optimizer)
    assert trainer.mlp.params.tobytes() == whole.mlp.params.tobytes()
    assert trainer.n_steps == whole.n_steps
    assert losses == whole.history["loss"]


class Minibatches(fm.Callback):
    """Hears every minibatch, which makes ``fit`` a Python loop."""

    def __init__(self):
        self.gradients = self.minibatches = 0

    def on_gradient(self, trainer):
        self.gradients += 1

    def on_batch_end(self, trainer, loss):
        self.minibatches += 1


class Epochs(fm.Callback):
    """Hears every epoch, so that compiled code comes back after each."""

    def __init__(self):
        self.epochs = 0

    def on_epoch_end(self, trainer):
        self.epochs += 1


@each_shape_and_optimizer
@pytest.mark.parametrize("shuffle", [True, False])
def test_listening_to_minibatches(dtype, shape, optimizer, shuffle):
    whole = trained(dtype, shape, optimizer, shuffle=shuffle)
    listener = Minibatches()
    heard = trained(dtype, shape, optimizer, shuffle=shuffle, callbacks=[listener])
    assert listener.minibatches == listener.gradients == whole.n_steps
    assert_same(heard, bits_of(whole))


@each_shape
def test_listening_to_epochs(dtype, shape):
    X, y, _ = data(*shape[:2])
    whole = bits_of(trained(dtype, shape))
    listener = Epochs()
    assert_same(trained(dtype, shape, callbacks=[listener]), whole)
    assert listener.epochs == EPOCHS
    assert_same(trained(dtype, shape, validation_data=(X[:50], y[:50])), whole)


@each_shape_and_optimizer
def test_two_calls_of_fit_are_one(dtype, shape, optimizer):
    sizes, rows, batch_size = shape
    X, y, _ = data(sizes, rows)
    once, twice = (new_trainer(dtype, sizes, batch_size, optimizer) for _ in range(2))
    once.fit(X, y, epochs=5)
    twice.fit(X, y, epochs=3)
    twice.fit(X, y, epochs=2)
    assert_same(twice, bits_of(once))


# ---- threads


def tasks_so_far(build):
    """Tasks of every thread there may be."""
    counts = build.tasks_per_thread()
    return np.array(counts + [0] * (64 - len(counts)))


def until_workers_ran(build, work):
    """Repeat ``work`` until two threads have had tasks of one call of it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        before = tasks_so_far(build)
        work()
        if (tasks_so_far(build) > before).sum() >= 2:
            return
    pytest.fail(f"in {PATIENCE} seconds, no second thread had a task")


@each_optimizer
@pytest.mark.parametrize(
    "shape",
    [([12, 16, 3], 12000, 12000), ([300, 280, 3], 300, 300)],
    ids=["chunks", "tiles"],
)
def test_training_on_any_number_of_threads(dtype, shape, optimizer):
    """Threads share chunks of a small network; of a large one, tiles and blocks of parameters."""
    alone = bits_of(trained(dtype, shape, optimizer))
    for n_threads in (2, 3, 4, 8):

        def work(n_threads=n_threads):
            assert_same(trained(dtype, shape, optimizer, n_threads), alone)

        until_workers_ran(kernels.of(dtype), work)


def test_steps_on_any_number_of_threads(dtype):
    """Every step called by hand, and what each returns or leaves behind."""
    sizes, rows = [300, 280, 3], 300
    X, y, weights = data(sizes, rows)

    def steps(n_threads):
        trainer = new_trainer(dtype, sizes, rows, n_threads=n_threads)
        out = trainer.forward(X)
        value = trainer.compute_loss(y, weights)
        trainer.backward()
        trainer.step()
        left = out, np.float64(value), trainer.grads, trainer.mlp.params, trainer.read("dz", 0)
        return [array.tobytes() for array in left]

    alone = steps(1)
    for n_threads in (2, 3, 4, 8):

        def work(n_threads=n_threads):
            assert steps(n_threads) == alone

        until_workers_ran(kernels.of(dtype), work)


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [([20, 30, 3], 6000), ([300, 280, 3], 1000), ([300, 280, 3], 100), ([30, 700], 400)],
    ids=["chunks", "chunks of a large network", "tiles", "panels"],
)
def test_prediction_on_any_number_of_threads(dtype, sizes, rows):
    X, y, weights = data(sizes, rows)
    mlp = fm.MLP(sizes, activation="tanh", output="softmax", seed=0, dtype=dtype)
    alone = mlp.predict(X, n_threads=1)
    value = mlp.evaluate(X, y, sample_weight=weights, n_threads=1)
    for n_threads in (2, 3, 4, 8):

        def work(n_threads=n_threads):
            assert mlp.predict(X, n_threads=n_threads).tobytes() == alone.tobytes()
            assert mlp.evaluate(X, y, sample_weight=weights, n_threads=n_threads) == value

        until_workers_ran(kernels.of(dtype), work)


# ---- a row's prediction, and the rows beside it


def widths_of_networks(build):
    mr, nr, vw = build.TILE
    k_block = 32768 // (nr * np.dtype(build.DTYPE).itemsize)
    return [
        [1, 1],
        [3, vw - 1, vw, vw + 1, 2],
        [vw + 1, nr - 1, nr, nr + 1, nr + vw + 1],
        [mr, 2 * nr + 3, 5],
        [k_block + 1, 3],
        # Right-hand sides that are packed for many rows, and read in place for few.
        [5, 513, 3],
        [7, 512 + nr + 3],
        # Few rows go past the tiles.
        [2, 4, 1],
        [9, 3 * vw, 40 * vw, 3],
    ]


@pytest.mark.parametrize("case", range(9))
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_a_row_does_not_depend_on_the_rows_beside_it(dtype, case, activation, rng):
    build = kernels.of(dtype)
    sizes = widths_of_networks(build)[case]
    X = rng.normal(0, 1, (300, sizes[0])).astype(dtype)
    for output in ("softmax" if sizes[-1] > 1 else "identity", "sigmoid"):
        mlp = fm.MLP(sizes, activation=activation, output=output, seed=0, dtype=dtype)
        mlp.params[:] += rng.normal(0, 0.1, mlp.n_params)
        together = mlp.predict(X, n_threads=1)
        alone = np.concatenate([mlp.predict(X[i : i + 1], n_threads=1) for i in range(len(X))])
        assert alone.tobytes() == together.tobytes()
        for n in (build.TILE[0] - 1, build.TILE[0] + 1, 31, 32, 33, 127, 129, 257):
            assert mlp.predict(X[-n:], n_threads=1).tobytes() == together[-n:].tobytes()
        mixed = rng.permutation(len(X))
        for n_threads in (1, 2):
            assert (mlp.predict(X[mixed], n_threads=n_threads) == together[mixed]).all()
        trainer = fm.Trainer(mlp, n_threads=1)
        assert trainer.forward(X).tobytes() == together.tobytes()
        assert trainer.forward(X[17:40]).tobytes() == together[17:40].tobytes()


# The inputs of one layer: around a block of the sum in either type, the last of which can be the
# bias alone.
BLOCK_ENDS = [519, 520, 1031, 1032]


def arranged(x, layout):
    """The rows of ``x`` in an array laid out otherwise."""
    if layout == "a wider array's":
        return np.pad(x, ((0, 0), (3, 2)))[:, 3:-2]
    if layout == "a kilobyte apart":
        columns = -(-x.shape[1] * x.itemsize // 1024) * 1024 // x.itemsize
        return np.pad(x, ((0, 0), (0, columns - x.shape[1])))[:, : x.shape[1]]
    if layout == "upside down":
        return x[::-1].copy()[::-1]
    if layout == "between other fields":
        records = np.zeros(len(x), [("n", "i2"), ("x", x.dtype, x.shape[1])])
        records["x"] = x
        return records["x"]
    return np.asarray(x, order="F" if layout == "by columns" else "C")


@pytest.mark.parametrize("n_out", [1, 7, 33, 145])
@pytest.mark.parametrize("n_in", [4, 33, 256, *BLOCK_ENDS])
@pytest.mark.parametrize("filled", [0.05, 1])
def test_rows_read_where_they_lie(dtype, n_in, n_out, filled, rng):
    """Plain rows are not copied before a product reads them, others are: the same bits."""
    mlp = fm.MLP([n_in, n_out, 3], activation="tanh", seed=0, dtype=dtype)
    mlp.biases[0][:] = rng.standard_normal(n_out)
    for rows in (9, 137, 300):
        x = rng.standard_normal((rows, n_in)) * (rng.random((rows, n_in)) < filled)
        y = rng.standard_normal((rows, 3))
        x = x.astype(dtype)
        copied = arranged(x, "by columns")
        for layout in (
            "plain", "a wider array's", "a kilobyte apart", "upside down", "between other fields",
        ):  # fmt: skip
            given = arranged(x, layout)
            np.testing.assert_array_equal(given, x)
            for n_threads in (1, 2):
                np.testing.assert_array_equal(
                    mlp.predict(given, n_threads=n_threads), mlp.predict(copied)
                )
            assert mlp.evaluate(given, y, loss="mse") == mlp.evaluate(copied, y, loss="mse")
            np.testing.assert_array_equal(mlp.freeze()(given), mlp.predict(copied))


@pytest.mark.parametrize("layout", ["plain", "a wider array's", "by columns"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_row_that_is_not_finite_is_named(dtype, layout, bad, rng):
    """Before or after the product has read it; and the plan goes on with the next array."""
    mlp = fm.MLP([33, 20, 3], activation="relu", seed=0, dtype=dtype)
    x = rng.standard_normal((500, 33)).astype(dtype)
    before = mlp.predict(x)
    for row, column in ((0, 0), (127, 32), (130, 5), (499, 32)):
        spoilt = x.copy()
        spoilt[row, column] = bad
        spoilt[-1, 0] = bad
        for n_threads in (1, 2):
            with pytest.raises(ValueError, match=rf"^X: row {row} holds "):
                mlp.predict(arranged(spoilt, layout), n_threads=n_threads)
        with pytest.raises(ValueError, match=rf"^X: row {row} holds "):
            mlp.evaluate(arranged(spoilt, layout), before, loss="mse")
        np.testing.assert_array_equal(mlp.predict(x), before)
        np.testing.assert_array_equal(mlp.predict(x[:5]), before[:5])
