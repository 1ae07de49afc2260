"""Control of a training: validation, stopping, the clock, rates, masks, normalisation, the step."""

import math
import pickle
import time
import tracemalloc
import weakref
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from trainings import EPS, HearMinibatches, make_trainer

import fastmlp as fm
from fastmlp import fitting, kernels
from fastmlp.metrics import Metric


@pytest.fixture
def data(rng):
    """Rows of something a small network can learn a little of, and then too much."""
    X = rng.normal(size=(120, 4))
    return X, np.tanh(X @ rng.normal(size=(4, 3))) + 0.3 * rng.normal(size=(120, 3))


def network_of(trainer):
    """What the network is, as bytes."""
    mlp = trainer.mlp
    return mlp.params.tobytes(), {name: buffer.tobytes() for name, buffer in mlp.buffers.items()}


def state(trainer):
    """Everything that training has made, as bytes and plain numbers."""
    return (
        network_of(trainer),
        trainer._state.tobytes(),
        trainer.n_steps,
        trainer.epoch,
        trainer.epoch_range,
        {name: list(column) for name, column in trainer.history.items()},
        trainer.history.stop_reason,
    )


def order_of_epoch(trainer, n, epoch):
    order = np.empty(n, np.int64)
    kernels.of(trainer.mlp.dtype).row_order(order, trainer.seed, epoch)
    return order


def train_by_hand(trainer, X, y, epochs, first=0, after_epoch=None):
    """What ``fit`` does, step by step."""
    for epoch in range(first, first + epochs):
        order = order_of_epoch(trainer, len(X), epoch)
        for start in range(0, len(X), trainer.batch_size):
            rows = order[start : start + trainer.batch_size]
            trainer.forward(X[rows])
            trainer.compute_loss(y[rows])
            trainer.backward()
            trainer.step()
        if after_epoch is not None:
            after_epoch()


# ---- rows held out


class See:
    """A metric that keeps the targets it is given."""

    __name__ = "see"

    def __init__(self):
        self.seen = []

    def __call__(self, y_true, y_pred, sample_weight=None):
        self.seen.append(np.array(y_true)[:, 0])
        return 0.0


def rows_held_out(share=0.25, n=120, seed=1, dtype="float64", trainer=None, **options):
    """Which rows ``fit`` measures on: the targets are the rows' numbers."""
    see, numbers = See(), np.arange(float(n))
    trainer = trainer or make_trainer(dtype, (1, 1), optimizer=fm.SGD(1e-9), seed=seed)
    trainer.fit(
        numbers[:, None], numbers, validation_split=share, metrics=[see], **{"epochs": 2, **options}
    )
    assert len(see.seen) >= 2
    assert all(seen.tolist() == see.seen[0].tolist() for seen in see.seen)
    return see.seen[0].astype(int)


def test_the_seed_alone_says_which_rows_are_held_out(rng):
    rows = rows_held_out()
    assert len(set(rows)) == len(rows) == 30
    for options in (
        {"dtype": "float32"},
        {"shuffle": False},
        {"epochs": 5},
        {"callbacks": [HearMinibatches()]},
        {"sample_weight": rng.uniform(1, 2, 120)},
        {"early_stopping": "val_loss"},
    ):
        assert rows_held_out(**options).tolist() == rows.tolist()
    # Later calls hold out the same rows, so that none is learned from before it is measured on.
    trainer = make_trainer(sizes=(1, 1), optimizer=fm.SGD(1e-9))
    for _ in range(2):
        assert rows_held_out(trainer=trainer).tolist() == rows.tolist()
    others = [rows_held_out(seed=seed) for seed in range(2, 7)]
    assert len({tuple(other) for other in (rows, *others)}) == 6
    # Neither the first rows nor the last: about evenly from both halves.
    share = np.mean([(other < 60).mean() for other in others])
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(5 * 30)


@pytest.mark.parametrize(("share", "n", "expected"), [(0.2, 10, 2), (0.5, 3, 2), (0.9, 2, None)])
def test_the_share_of_rows_held_out(share, n, expected):
    if expected is None:
        with pytest.raises(ValueError, match=r"^validation_split: 0.9 of 2 rows is 2"):
            rows_held_out(share, n)
    else:
        assert len(rows_held_out(share, n)) == expected


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("callbacks", [[], [HearMinibatches()]], ids=["compiled", "by hand"])
@pytest.mark.parametrize("batch_size", [16, 1000])
def test_a_split_is_training_on_the_rest(
    batch_size, callbacks, shuffle, weighted, dtype, data, rng
):
    X, y = data
    weights = rng.uniform(0.1, 2, 120) if weighted else None
    out = rows_held_out(0.3)
    rest = np.setdiff1d(np.arange(120), out)
    split, by_hand = (make_trainer(dtype, batch_size=batch_size) for _ in range(2))
    options = {"epochs": 4, "shuffle": shuffle, "metrics": ["mae"], "callbacks": callbacks}
    split.fit(X, y, validation_split=0.3, sample_weight=weights, **options)
    pick = (lambda rows: ()) if weights is None else (lambda rows: (weights[rows],))
    by_hand.fit(
        X[rest], y[rest], sample_weight=weights[rest] if weighted else None,
        validation_data=(X[out], y[out], *pick(out)), **options,
    )  # fmt: skip
    assert list(split.history) == ["loss", "val_loss", "val_mae"]
    assert {len(column) for column in split.history.values()} == {4}
    assert state(split) == state(by_hand)


def test_class_numbers_and_fractions_are_split_too(rng):
    X, labels = rng.normal(size=(80, 4)), rng.integers(0, 3, 80)
    for y, output, metric in (
        (labels, "softmax", "accuracy"),
        (np.eye(3)[labels], "softmax", "accuracy"),
        (X[:, :3] > 0, "sigmoid", "subset_accuracy"),
    ):
        trainer = make_trainer(output=output)
        history = trainer.fit(X, y, epochs=2, validation_split=0.25, metrics=[metric])
        assert 0 <= history[f"val_{metric}"][-1] <= 1
        assert trainer.n_steps == 2 * math.ceil(60 / 16)


@pytest.mark.parametrize(
    ("share", "pattern"),
    [
        (0.001, r"0.001 of 120 rows is 0, expected at least one row to hold out"),
        (0.999, r"0.999 of 120 rows is 120, expected at least one row to hold out and one to"),
        (1.0, r"got 1.0, expected a finite number of at least 0 and below 1"),
        (-0.1, r"got -0.1, expected"),
        (np.nan, r"got nan, expected"),
        ("0.2", r"got '0.2', expected"),
    ],
)
def test_a_share_that_leaves_nothing_is_refused(share, pattern, data):
    trainer = make_trainer()
    before = state(trainer)
    with pytest.raises(ValueError, match=rf"^validation_split: {pattern}"):
        trainer.fit(*data, validation_split=share)
    assert state(trainer) == before


def test_a_split_beside_validation_data_is_refused(data):
    trainer = make_trainer()
    before = state(trainer)
    with pytest.raises(ValueError, match=r"^validation_split: got one beside validation_data"):
        trainer.fit(*data, validation_split=0.2, validation_data=data)
    assert state(trainer) == before


@pytest.mark.parametrize("by_hand", [False, True], ids=["compiled", "by hand"])
@pytest.mark.parametrize("where", ["X", "y"])
def test_a_row_spoiled_beside_rows_held_out_is_named(where, by_hand, data):
    """By its number among the rows given, not among those trained on."""
    arrays = dict(zip("Xy", data, strict=True))
    row = int(np.setdiff1d(np.arange(120), rows_held_out())[60])
    assert row > 60

    class Spoil(fm.Callback):
        def on_epoch_end(self, trainer):
            arrays[where][row, 1] = np.nan

    callbacks = [Spoil(), *[HearMinibatches()] * by_hand]
    trainer = make_trainer()
    with pytest.raises(ValueError, match=rf"^{where}: row {row} holds nan in column 1"):
        trainer.fit(arrays["X"], arrays["y"], validation_split=0.25, callbacks=callbacks)
    assert trainer.epoch == 1


# ---- early stopping


def stopping_epoch(column, patience, min_delta=0.0, mode="min"):
    """The documentation's words: the best epoch, and the one after which training ends."""
    best, best_epoch = math.inf, 0
    for epoch, value in enumerate(column, 1):
        value = value if mode == "min" else -value
        if value < best - min_delta:
            best, best_epoch = value, epoch
        elif epoch - best_epoch >= patience:
            return best_epoch, epoch
    return best_epoch, None


# Steps so large that the curves go up and down, and with them the statistics of a batch.
WILD = {"optimizer": fm.SGD(0.3, momentum=0.5), "batch_size": 8, "normalization": "batch"}
VALIDATED = {"validation_split": 0.3, "metrics": ["mse", "r2"]}


@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize("callbacks", [[], [HearMinibatches()]], ids=["compiled", "by hand"])
@pytest.mark.parametrize(
    ("metric", "mode", "patience", "min_delta"),
    [
        ("val_loss", "min", 1, 0),
        ("val_loss", "min", 3, 0),
        ("val_loss", "min", 5, 0.02),
        ("loss", "min", 2, 0),
        ("val_r2", "max", 3, 0),
        ("val_r2", "max", 2, 0.05),
    ],
)
def test_training_stops_and_goes_back(
    metric, mode, patience, min_delta, callbacks, restore_best, data
):
    """To the parameters and to the running means and variances after the best epoch."""
    whole = make_trainer(**WILD).fit(*data, epochs=60, **VALIDATED)
    best, last = stopping_epoch(whole[metric], patience, min_delta, mode)
    assert last is not None
    assert last > best
    stopped = make_trainer(**WILD)
    history = stopped.fit(
        *data, epochs=60, **VALIDATED, callbacks=callbacks,
        early_stopping=fm.EarlyStopping(
            metric, patience=patience, min_delta=min_delta, restore_best=restore_best
        ),
    )  # fmt: skip
    assert history.stop_reason == "early_stopping"
    assert stopped.epoch == last
    assert {name: list(c) for name, c in history.items()} == {
        name: c[:last] for name, c in whole.items()
    }
    expected = make_trainer(**WILD)
    expected.fit(*data, epochs=best if restore_best else last, **VALIDATED)
    assert network_of(stopped) == network_of(expected)


def test_the_best_network_is_left_however_training_ends(data):
    """By the number of epochs, or by a loss on the way."""
    whole = make_trainer(**WILD).fit(*data, epochs=12, **VALIDATED)
    best, _ = stopping_epoch(whole["val_loss"], 100)
    assert best < 12
    expected = make_trainer(**WILD)
    expected.fit(*data, epochs=best, **VALIDATED)
    early = fm.EarlyStopping(patience=100)
    trainer = make_trainer(**WILD)
    assert trainer.fit(*data, epochs=12, **VALIDATED, early_stopping=early).stop_reason == "epochs"
    assert network_of(trainer) == network_of(expected)
    # The first epoch with a loss so low that comes after its best one.
    ends = next(
        epoch
        for epoch in range(2, 13)
        if whole["loss"][epoch - 1] < min(whole["loss"][: epoch - 1])
        and stopping_epoch(whole["val_loss"][:epoch], 100)[0] < epoch
    )
    trainer = make_trainer(**WILD)
    history = trainer.fit(
        *data, epochs=12, **VALIDATED, early_stopping=early, target_loss=whole["loss"][ends - 1]
    )
    assert history.stop_reason == "target_loss"
    assert trainer.epoch == ends
    expected = make_trainer(**WILD)
    expected.fit(*data, epochs=stopping_epoch(whole["val_loss"][:ends], 100)[0], **VALIDATED)
    assert network_of(trainer) == network_of(expected)


def test_a_name_stands_for_early_stopping_with_its_defaults(data):
    found = []
    for early in ("val_loss", fm.EarlyStopping("val_loss"), fm.EarlyStopping()):
        trainer = make_trainer(**WILD)
        trainer.fit(*data, epochs=200, **VALIDATED, early_stopping=early)
        found.append(state(trainer))
    assert found[0] == found[1] == found[2]
    assert found[0][-1] == "early_stopping"


def test_every_call_looks_for_a_best_epoch_of_its_own(data):
    trainer = make_trainer(**WILD)
    trainer.fit(*data, epochs=200, **VALIDATED, early_stopping="val_loss")
    # Targets that it has never seen: every epoch of before was better.
    X, y = data
    before = trainer.epoch
    trainer.fit(X, 5 - y, epochs=1, **VALIDATED, early_stopping="val_loss")
    after = network_of(trainer)
    assert trainer.epoch == before + 1
    measured = trainer.mlp.evaluate(X, 5 - y)["loss"]
    assert measured < 20
    # Without early stopping nothing goes back.
    trainer.fit(X, 5 - y, epochs=1, **VALIDATED)
    assert network_of(trainer) != after


def upside_down(y_true, y_pred):
    return -float(((y_true - y_pred) ** 2).mean())


@pytest.mark.parametrize(
    ("metric", "name", "mode"),
    [
        ("r2", "val_r2", "max"),
        ("mean_squared_error", "val_mean_squared_error", "min"),
        ("mse", "val_mse", "min"),
        ("rmse", "val_rmse", "min"),
        ("r2_score", "val_r2_score", "max"),
        (Metric("mine", upside_down, True), "val_mine", "max"),
        (Metric("mine", lambda t, p: -upside_down(t, p), False), "val_mine", "min"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_is_known_of_a_metric_says_which_way_is_better(metric, name, mode, data):
    options = {"validation_split": 0.3, "metrics": [metric]}
    whole = make_trainer(**WILD).fit(*data, epochs=60, **options)
    last = stopping_epoch(whole[name], 3, mode=mode)[1]
    assert last is not None
    stopped = make_trainer(**WILD)
    stopped.fit(*data, epochs=60, **options, early_stopping=fm.EarlyStopping(name, patience=3))
    assert stopped.epoch == last
    # And a mode that is given counts more than what is known.
    other = {"min": "max", "max": "min"}[mode]
    early = fm.EarlyStopping(name, patience=3, mode=other)
    stopped = make_trainer(**WILD)
    stopped.fit(*data, epochs=60, **options, early_stopping=early)
    assert stopped.epoch == stopping_epoch(whole[name], 3, mode=other)[1]


def test_a_function_needs_a_mode(data):
    trainer = make_trainer(**WILD)
    before = state(trainer)
    options = {"validation_split": 0.3, "metrics": [upside_down]}
    with pytest.raises(ValueError, match=r"^mode: it is not known .*'val_upside_down' is better"):
        trainer.fit(*data, **options, early_stopping="val_upside_down")
    assert state(trainer) == before
    early = fm.EarlyStopping("val_upside_down", patience=2, mode="max")
    assert trainer.fit(*data, epochs=99, **options, early_stopping=early).stop_reason != "epochs"


def test_what_nobody_measures_is_refused_with_what_is_measured(data):
    trainer = make_trainer()
    before = state(trainer)
    with pytest.raises(
        ValueError,
        match=r"^early_stopping: 'val_accuracy' is not measured, expected one of loss, val_loss, "
        r"val_mse, val_r2; give",
    ):
        trainer.fit(*data, **VALIDATED, early_stopping="val_accuracy")
    with pytest.raises(ValueError, match=r"'val_loss' is not measured, expected one of loss; give"):
        trainer.fit(*data, early_stopping="val_loss")
    with pytest.raises(TypeError, match=r"^early_stopping: got 3, expected the name"):
        trainer.fit(*data, early_stopping=3)
    assert state(trainer) == before


@pytest.mark.parametrize(
    ("settings", "error", "pattern"),
    [
        ({"patience": 0}, ValueError, r"^patience: got 0"),
        ({"min_delta": -1}, ValueError, r"^min_delta: got -1"),
        ({"mode": "lower"}, ValueError, r"^mode: got 'lower', expected 'min' or 'max'"),
        ({"metric": 3}, TypeError, r"^metric: got 3, expected a name"),
    ],
)
def test_settings_of_early_stopping_that_make_no_sense(settings, error, pattern):
    with pytest.raises(error, match=pattern):
        fm.EarlyStopping(**settings)


def test_an_epoch_that_cannot_be_measured_is_no_improvement(data):
    values = iter([3.0, np.nan, 2.0, np.nan, np.nan, np.nan, 1.0])

    def from_a_list(y_true, y_pred):
        return next(values)

    next(values)  # what validation is tried with, before training begins
    trainer = make_trainer()
    early = fm.EarlyStopping("val_from_a_list", patience=3, mode="min")
    values = iter([0.0, 3.0, np.nan, 2.0, np.nan, np.nan, np.nan, 1.0])
    history = trainer.fit(
        *data, epochs=20, validation_split=0.3, metrics=[from_a_list], early_stopping=early
    )
    assert history.stop_reason == "early_stopping"
    assert trainer.epoch == 6
    expected = make_trainer()
    expected.fit(*data, epochs=3, validation_split=0.3)
    assert network_of(trainer) == network_of(expected)


# ---- the clock


class Clock:
    """In the place of the module ``time``: it is as late as somebody says."""

    def __init__(self, monkeypatch, tick=0.0):
        self.now, self.tick = 100.0, tick
        monkeypatch.setattr(fitting, "time", SimpleNamespace(perf_counter=self.read))

    def read(self):
        self.now += self.tick
        return self.now


@pytest.mark.parametrize("minibatches", [1, 5, 8, 11, 16])
def test_time_is_up_after_the_minibatch_under_way(minibatches, monkeypatch, data):
    """Each takes a second; there are eight of them in an epoch."""
    clock = Clock(monkeypatch)

    class TakeASecond(fm.Callback):
        def on_batch_end(self, trainer, loss):
            clock.now += 1

    trainer = make_trainer()
    history = trainer.fit(
        *data, epochs=100, max_seconds=minibatches - 0.5, callbacks=[TakeASecond()]
    )
    assert history.stop_reason == "max_seconds"
    assert trainer.n_steps == minibatches
    assert trainer.epoch == len(history["loss"]) == minibatches // 8
    check_stopped_within(trainer, data, make_trainer)


def check_stopped_within(trainer, data, make):
    """The network is that of its last whole minibatch, and training goes on."""
    X, y = data
    twin = make()
    n_full = trainer.epoch
    train_by_hand(twin, X, y, n_full)
    order = order_of_epoch(twin, len(X), n_full)
    while twin.n_steps < trainer.n_steps:
        start = (twin.n_steps - n_full * -(-len(X) // twin.batch_size)) * twin.batch_size
        rows = order[start : start + twin.batch_size]
        twin.forward(X[rows])
        twin.compute_loss(y[rows])
        twin.backward()
        twin.step()
    assert trainer.mlp.params.tobytes() == twin.mlp.params.tobytes()
    assert np.isfinite(trainer.mlp.predict(X)).all()
    steps = trainer.n_steps
    assert trainer.fit(X, y, epochs=1).stop_reason == "epochs"
    # A new call begins with a whole epoch.
    assert trainer.n_steps == steps + -(-len(X) // trainer.batch_size)
    assert trainer.epoch == len(trainer.history["loss"]) == n_full + 1


def make_slow(**options):
    """Two minibatches are more work than is done between two looks at the clock."""
    return make_trainer("float32", (4, 150, 100, 3), batch_size=64, **options)


@pytest.mark.parametrize("ticks", [3, 10, 40])
def test_time_is_up_in_the_compiled_loop(ticks, monkeypatch, rng):
    """With a clock that goes on by one whenever it is looked at, in slices as short as can be."""
    data = rng.normal(size=(1000, 4)), rng.normal(size=(1000, 3))
    Clock(monkeypatch, tick=1)
    monkeypatch.setattr(fitting, "SLICE", 0)
    trainer = make_slow()
    history = trainer.fit(*data, epochs=10**6, max_seconds=ticks)
    assert history.stop_reason == "max_seconds"
    # At least one look at the clock for a slice, and not more minibatches than make one.
    assert 1 <= trainer.n_steps <= 4 * ticks
    assert len(history["loss"]) == trainer.epoch
    monkeypatch.undo()
    check_stopped_within(trainer, data, make_slow)


def test_time_may_be_up_in_the_middle_of_an_epoch(monkeypatch, rng):
    data = rng.normal(size=(1000, 4)), rng.normal(size=(1000, 3))
    Clock(monkeypatch, tick=1)
    monkeypatch.setattr(fitting, "SLICE", 0)
    found = set()
    for ticks in range(2, 12):
        trainer = make_slow()
        trainer.fit(*data, epochs=10**6, max_seconds=ticks)
        found.add(trainer.n_steps % 16)
    assert found - {0}


def test_one_minibatch_of_minutes_is_left_within_the_time():
    """Many chunks of one image repeated without memory: no step is made then."""
    X = np.broadcast_to(np.arange(784, dtype=np.uint8), (2_000_000, 784))
    y = np.broadcast_to(np.uint8(3), (2_000_000,))
    mlp = fm.MLP([784, 1024, 1024, 10], output="softmax", seed=0)
    trainer = fm.Trainer(mlp, batch_size=len(X), seed=0)
    before = mlp.params.tobytes()
    began = time.perf_counter()
    history = trainer.fit(X, y, epochs=1, shuffle=False, max_seconds=0.3)
    assert 0.3 <= time.perf_counter() - began < 3
    assert history.stop_reason == "max_seconds"
    assert trainer.n_steps == trainer.epoch == len(history["loss"]) == 0
    assert mlp.params.tobytes() == before
    assert trainer.fit(X[:100], y[:100], epochs=1).stop_reason == "epochs"
    assert trainer.n_steps == 1


def test_tiny_epochs_without_number_end_within_the_time():
    """Minibatches of microseconds; the clock is not looked at after each."""
    X, y = fm.datasets.xor()
    trainer = fm.Trainer(fm.MLP([2, 4, 1], output="sigmoid", seed=0), batch_size=4, seed=0)
    began = time.perf_counter()
    history = trainer.fit(X, y, epochs=10**9, max_seconds=0.3)
    assert 0.3 <= time.perf_counter() - began < 3
    assert history.stop_reason == "max_seconds"
    assert len(history["loss"]) == trainer.epoch == trainer.n_steps > 1000


def test_when_time_is_up_the_best_network_is_left(monkeypatch, data):
    clock = Clock(monkeypatch)

    class TakeASecond(fm.Callback):
        def on_epoch_end(self, trainer):
            clock.now += 1

    whole = make_trainer(**WILD).fit(*data, epochs=30, **VALIDATED)
    limit = next(n for n in range(3, 30) if stopping_epoch(whole["val_loss"][:n], 99)[0] < n)
    trainer = make_trainer(**WILD)
    history = trainer.fit(
        *data, epochs=30, **VALIDATED, max_seconds=limit, callbacks=[TakeASecond()],
        early_stopping=fm.EarlyStopping(patience=99),
    )  # fmt: skip
    assert history.stop_reason == "max_seconds"
    assert trainer.epoch == limit
    expected = make_trainer(**WILD)
    expected.fit(*data, epochs=stopping_epoch(whole["val_loss"][:limit], 99)[0], **VALIDATED)
    assert network_of(trainer) == network_of(expected)


def test_time_enough_changes_nothing(data):
    found = []
    for limit in (None, 1e9):
        trainer = make_trainer()
        trainer.fit(*data, epochs=3, max_seconds=limit)
        found.append(state(trainer))
    assert found[0] == found[1]


@pytest.mark.parametrize("limit", [0, -1.0, np.nan, np.inf, "60"])
def test_what_is_no_time_is_refused(limit, data):
    with pytest.raises(ValueError, match=r"^max_seconds: got .*, expected a finite number above 0"):
        make_trainer().fit(*data, max_seconds=limit)


# ---- metrics


def worst_row(y_true, y_pred):
    """The row that is furthest off."""
    return np.abs(np.asarray(y_true) - y_pred).max()


def weighted_miss(y_true, y_pred, sample_weight=None):
    miss = np.abs(y_true - y_pred).mean(axis=1)
    return np.average(miss, weights=sample_weight)


def test_any_function_is_a_metric(data, rng):
    X, y = data
    weights = rng.uniform(0.1, 2, 120)
    trainer = make_trainer()
    metrics = [worst_row, "mse", Metric("off", weighted_miss, False)]
    history = trainer.fit(X, y, epochs=2, validation_data=(X, y), metrics=metrics)
    assert list(history) == ["loss", "val_loss", "val_worst_row", "val_mse", "val_off"]
    predicted = trainer.mlp.predict(X)
    off = np.abs(y - predicted)
    assert history["val_worst_row"][-1] == pytest.approx(off.max(), rel=1e-12)
    found = trainer.mlp.evaluate(X, y, metrics=metrics)
    assert list(found) == ["loss", "worst_row", "mse", "off"]
    assert all(type(value) is float for value in found.values())
    assert {f"val_{name}": value for name, value in found.items()} == {
        name: column[-1] for name, column in history.items() if name != "loss"
    }
    # Weights are passed on where there are any.
    found = trainer.mlp.evaluate(X, y, metrics=[metrics[2]], sample_weight=weights)
    expected = np.average(off.mean(axis=1), weights=weights)
    assert found["off"] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(TypeError, match="sample_weight"):
        trainer.mlp.evaluate(X, y, metrics=[worst_row], sample_weight=weights)


def test_a_metric_of_classes_is_given_class_numbers(rng):
    X, labels = rng.normal(size=(90, 4)), rng.integers(0, 3, 90)
    seen = []

    def confused(y_true, y_pred):
        seen.append((y_true.copy(), y_pred.shape))
        return float((y_true != y_pred.argmax(axis=1)).sum())

    trainer = make_trainer(output="softmax")
    history = trainer.fit(
        X, labels.astype(float), epochs=1, metrics=[confused, "accuracy"], class_weight="balanced",
        validation_data=(X, labels),
    )  # fmt: skip
    assert history["val_confused"][-1] == pytest.approx(90 * (1 - history["val_accuracy"][-1]))
    for y_true, shape in seen:
        assert y_true.dtype.kind == "i"
        np.testing.assert_array_equal(y_true, labels)
        assert shape == (90, 3)


def test_metrics_that_cannot_be_are_refused(data):
    trainer = make_trainer()
    before = state(trainer)
    for metrics, error, pattern in (
        ([worst_row, worst_row], ValueError, r"^metrics: two results would be called 'worst_row'"),
        ("mse", TypeError, r"^metrics: got 'mse', expected a list"),
        (worst_row, TypeError, r"^metrics: got <function worst_row"),
        (["mes"], ValueError, r"unknown name 'mes'"),
    ):
        with pytest.raises(error, match=pattern):
            trainer.fit(*data, validation_split=0.2, metrics=metrics)
    with pytest.raises(ValueError, match=r"^metrics: got some, but no validation_data"):
        trainer.fit(*data, metrics=["mse"])

    def broken(y_true, y_pred):
        raise ZeroDivisionError("of the metric's own")

    with pytest.raises(ZeroDivisionError, match="of the metric's own"):
        trainer.fit(*data, validation_split=0.2, metrics=[broken])
    assert state(trainer) == before


# ---- rates

# 120 rows in minibatches of 16: eight updates an epoch.
PER_EPOCH = 8


def own_factor(step, epoch):
    return 1 / (1 + 0.05 * step) + 0.5 * (epoch % 2)


# Each with the factors of ``n`` updates, as NumPy makes them from the documentation's words.
SCHEDULES = {
    "step": (
        fm.Step(factor=0.5, epochs=2),
        lambda n: 0.5 ** (np.arange(n) // (2 * PER_EPOCH)),
    ),
    "steps": (fm.Step(factor=0.5, steps=5), lambda n: 0.5 ** (np.arange(n) // 5)),
    "multi-step": (
        fm.MultiStep(factor=0.25, steps=[3, 20]),
        lambda n: 0.25 ** ((np.arange(n) >= 3) * 1 + (np.arange(n) >= 20)),
    ),
    "own": (own_factor, lambda n: [own_factor(i, i // PER_EPOCH) for i in range(n)]),
}


def by_table(rates, **options):
    """A trainer whose n-th update has the n-th rate."""
    optimizer = fm.SGD(lr=1.0, momentum=0.9, weight_decay=0.01)
    return make_trainer(optimizer=optimizer, schedule=lambda step, epoch: rates[step], **options)


def scheduled(schedule, **options):
    optimizer = fm.SGD(lr=0.125, momentum=0.9, weight_decay=0.01)
    return make_trainer(optimizer=optimizer, schedule=schedule, **options)


@pytest.mark.parametrize("at_once", [1, 3, 65536])
@pytest.mark.parametrize("callbacks", [[], [HearMinibatches()]], ids=["compiled", "by hand"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rates_are_those_of_the_schedule(name, callbacks, at_once, monkeypatch, dtype, data):
    """Across two calls of ``fit``, and however many rates are worked out at a time."""
    monkeypatch.setattr(fitting, "RATES_AT_ONCE", at_once)
    schedule, factors = SCHEDULES[name]
    rates = 0.125 * np.array(factors(5 * PER_EPOCH), np.float64)
    assert len(set(rates.tolist())) > 2
    trainer, by_hand = scheduled(schedule, dtype=dtype), by_table(rates.tolist(), dtype=dtype)
    for first, epochs in ((0, 3), (3, 2)):
        trainer.fit(*data, epochs=epochs, callbacks=callbacks)
        train_by_hand(by_hand, *data, epochs, first)
        assert trainer.n_steps == by_hand.n_steps
        assert network_of(trainer) == network_of(by_hand)
    assert trainer._state.tobytes() == by_hand._state.tobytes()


@pytest.mark.parametrize("callbacks", [[], [HearMinibatches()]], ids=["compiled", "by hand"])
@pytest.mark.parametrize(
    "schedule", [fm.Step(factor=0.5, epochs=1), own_factor], ids=["step", "own"]
)
def test_epochs_are_counted_where_they_have_other_numbers_of_updates(schedule, callbacks, data):
    """Three of eight updates, then two of four, with fewer rows."""
    X, y = data
    epochs = np.repeat([0, 1, 2, 3, 4], [8, 8, 8, 4, 4]).tolist()
    factor = own_factor if schedule is own_factor else (lambda step, epoch: 0.5**epoch)
    rates = [0.125 * factor(step, epoch) for step, epoch in enumerate(epochs)]
    trainer, by_hand = scheduled(schedule), by_table(rates)
    trainer.fit(X, y, epochs=3, callbacks=callbacks)
    trainer.fit(X[:60], y[:60], epochs=2, callbacks=callbacks)
    train_by_hand(by_hand, X, y, 3)
    train_by_hand(by_hand, X[:60], y[:60], 2, first=3)
    assert trainer.n_steps == by_hand.n_steps == len(rates)
    assert network_of(trainer) == network_of(by_hand)


@pytest.mark.parametrize("at_once", [1, 5, 65536])
@pytest.mark.parametrize(
    "schedule",
    ["cosine", "one_cycle", fm.Warmup(fm.Cosine(), epochs=1), fm.Polynomial()],
    ids=str,
)
def test_a_schedule_without_a_length_lasts_until_the_call_ends(
    schedule, at_once, monkeypatch, data
):
    """From the first update of all; a second call goes on with one that reaches to its own end."""
    monkeypatch.setattr(fitting, "RATES_AT_ONCE", at_once)
    trainer = scheduled(schedule)
    declared = trainer.schedule
    n = [3 * PER_EPOCH, 5 * PER_EPOCH]
    rates = np.concatenate(
        [
            declared.rates(0.125, 0, n[0], PER_EPOCH, n[0]),
            declared.rates(0.125, n[0], n[1] - n[0], PER_EPOCH, n[1]),
        ]
    )
    by_hand = by_table(rates.tolist())
    for first, epochs in ((0, 3), (3, 2)):
        trainer.fit(*data, epochs=epochs)
        train_by_hand(by_hand, *data, epochs, first)
        assert network_of(trainer) == network_of(by_hand)


@pytest.mark.parametrize("callbacks", [[], [HearMinibatches()]], ids=["compiled", "by hand"])
@pytest.mark.parametrize("at_once", [3, 65536])
def test_a_plateau_of_what_is_measured_lowers_the_rate(callbacks, at_once, monkeypatch, data):
    monkeypatch.setattr(fitting, "RATES_AT_ONCE", at_once)
    X, y = data[0][:90], data[1][:90]
    held_out = data[0][90:], data[1][90:]
    schedule = fm.OnPlateau(factor=0.5, patience=1, metric="val_mae", threshold=0.01)
    trainer, by_hand = (make_trainer(optimizer=fm.SGD(0.5), schedule=schedule) for _ in range(2))
    lowered = []

    def measure():
        found = by_hand.mlp.evaluate(*held_out, metrics=["mae"])
        schedule.after_epoch(by_hand._schedule_state, {"val_mae": found["mae"]})
        lowered.append(by_hand._schedule_state[0])

    options = {"validation_data": held_out, "metrics": ["mae"], "callbacks": callbacks}
    for first, epochs in ((0, 9), (9, 4)):
        trainer.fit(X, y, epochs=epochs, **options)
        train_by_hand(by_hand, X, y, epochs, first, measure)
        assert network_of(trainer) == network_of(by_hand)
        np.testing.assert_array_equal(trainer._schedule_state, by_hand._schedule_state)
    assert len(set(lowered)) >= 2


def test_a_plateau_that_nobody_measures_is_refused(data):
    trainer = scheduled(fm.OnPlateau(metric="val_loss"))
    before = state(trainer)
    with pytest.raises(
        ValueError, match=r"^schedule: it watches 'val_loss', which is not measured"
    ):
        trainer.fit(*data)
    assert state(trainer) == before


def test_a_function_whose_factor_is_none_is_refused(data):
    trainer = scheduled(lambda step, epoch: -1.0 if step == 2 else 1.0)
    params = trainer.mlp.params.tobytes()
    with pytest.raises(ValueError, match=r"^schedule\(2, 0\): got -1.0, expected a finite number"):
        trainer.fit(*data)
    assert trainer.mlp.params.tobytes() == params


# ---- dropout

# Rows and columns of the masks.
MASKS = 500, 80


def mask_trainer(p, dtype="float64", seed=3):
    """Layers that pass on what they are given, and between them layers that put out ones.

    So the scores of layers 0, 2 and 4 are the masks of the inputs and of layers 1 and 3.
    """
    n = MASKS[1]
    mlp = fm.MLP(
        [n] * 6, activation="identity", input_dropout=p, dropout=[0, p, 0, p], seed=0, dtype=dtype
    )
    for layer, (w, b) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
        w[:] = 0 if layer % 2 else np.eye(n)
        b[:] = layer % 2
    return fm.Trainer(mlp, optimizer=fm.SGD(1.0), seed=seed, n_threads=1)


def masks(trainer, n_rows=MASKS[0]):
    trainer.forward(np.ones((n_rows, MASKS[1])))
    return [trainer.read("z", layer) for layer in (0, 2, 4)]


def after_a_step(trainer):
    """The same weights, one update later."""
    kept = trainer.mlp.params.copy()
    trainer.compute_loss(np.zeros((MASKS[0], MASKS[1])))
    trainer.backward()
    trainer.step()
    trainer.mlp.params[:] = kept
    return masks(trainer)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_a_share_of_outputs_is_dropped_and_the_rest_enlarged(p, dtype):
    for mask in masks(mask_trainer(p, dtype)):
        kept = mask[mask != 0]
        assert set(kept.tolist()) == {float(dtype.type(1 / (1 - p)))}
        error = np.sqrt(p * (1 - p) / mask.size)
        assert abs((mask == 0).mean() - p) < 5 * error
        # No row and no column is left out of it: each of these is one of some hundred draws.
        for axis, n in ((0, MASKS[0]), (1, MASKS[1])):
            shares = (mask == 0).mean(axis=axis)
            assert np.abs(shares - p).max() < 6 * np.sqrt(p * (1 - p) / n)


def correlation(a, b):
    return float(np.corrcoef((a != 0).ravel(), (b != 0).ravel())[0, 1])


def test_masks_have_nothing_to_do_with_each_other(dtype):
    """Those of other layers, updates, rows, columns and seeds."""
    trainer = mask_trainer(0.5, dtype)
    now = masks(trainer)
    later, latest = after_a_step(trainer), after_a_step(trainer)
    others = [masks(mask_trainer(0.5, dtype, seed)) for seed in (4, 3 + 2**32, 2**63)]
    everything = [*now, *later, *latest, *(mask for other in others for mask in other)]
    limit = 5 / np.sqrt(now[0].size)
    pairs = 0
    for i, a in enumerate(everything):
        for b in everything[:i]:
            assert abs(correlation(a, b)) < limit
            pairs += 1
        for shift in (1, 2, 16, 64):
            assert abs(correlation(a[shift:], a[:-shift])) < 2 * limit
            assert abs(correlation(a[:, shift:], a[:, :-shift])) < 3 * limit
    assert pairs == 18 * 17 / 2


def test_a_mask_depends_on_seed_update_layer_and_place_alone(dtype):
    trainer, twin = mask_trainer(0.5, dtype), mask_trainer(0.5, dtype)
    found = masks(trainer)
    assert [m.tobytes() for m in masks(trainer)] == [m.tobytes() for m in found]
    # The first rows of a larger minibatch are those of a smaller one.
    assert [m.tobytes() for m in masks(twin, 77)] == [m[:77].tobytes() for m in found]
    other_type = masks(mask_trainer(0.5, "float64" if dtype == np.float32 else "float32"))
    for a, b in zip(found, other_type, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("normalization", [None, "layer", "batch"])
def test_prediction_knows_nothing_of_dropout(normalization, dtype, data):
    X, y = data
    options = {"normalization": normalization, "sizes": (4, 9, 8, 3)}
    trainer = make_trainer(dtype, dropout=[0.5, 0.2], input_dropout=0.3, **options)
    trainer.fit(X, y, epochs=3)
    plain = make_trainer(dtype, **options).mlp
    plain.params[:], plain._running[:] = trainer.mlp.params, trainer.mlp._running
    mlp = trainer.mlp
    assert mlp.predict(X).tobytes() == plain.predict(X).tobytes()
    assert mlp.freeze()(X).tobytes() == plain.freeze()(X).tobytes()
    assert mlp.evaluate(X, y) == plain.evaluate(X, y)
    for a, b in zip(mlp.hidden(X), plain.hidden(X), strict=True):
        assert a.tobytes() == b.tobytes()
    # But training does.
    assert trainer.forward(X).tobytes() != mlp.predict(X).tobytes()


def test_the_inputs_of_a_layer_are_what_its_scores_are_made_of(data):
    """``read("x", …)`` is what is left of the outputs below, as of the inputs."""
    trainer = make_trainer(sizes=(4, 9, 8, 3), dropout=[0.5, 0.2], input_dropout=0.3)
    mlp = trainer.mlp
    trainer.forward(data[0])
    for layer, (w, b) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
        x = trainer.read("x", layer)
        assert (x == 0).any(), "otherwise nothing was dropped"
        expected = x @ w + b
        atol = 8 * EPS["float64"] * np.sqrt(9)
        np.testing.assert_allclose(trainer.read("z", layer), expected, rtol=0, atol=atol)


def test_dropout_of_nothing_is_none(data):
    found = []
    for options in ({}, {"dropout": 0.0, "input_dropout": 0}, {"dropout": [0]}):
        trainer = make_trainer(**options)
        trainer.fit(*data, epochs=2)
        found.append(state(trainer))
    assert found[0] == found[1] == found[2]


# ---- normalisation


def batch_trainer(dtype="float64", kind="batch", **options):
    """One that normalises, its learned scales and shifts not those of the beginning."""
    trainer = make_trainer(
        dtype, (4, 9, 8, 3), **{"normalization": kind, "optimizer": fm.SGD(1e-300), **options}
    )
    rng = np.random.default_rng(4)
    trainer.mlp.params[:] += rng.normal(0, 0.2, trainer.mlp.n_params)
    return trainer


def forward_by_hand(mlp, X, normalize):
    """Outputs, and what each hidden layer normalised; ``normalize(z, layer)`` returns n."""
    a, scores = X, []
    for i, (w, b) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
        z = a @ w + b
        if i < len(mlp.weights) - 1:
            scores.append(z)
            a = np.tanh(mlp.gammas[i] * normalize(z, i) + mlp.betas[i])
        else:
            a = z
    return a, scores


def by_rows(eps):
    return lambda z, i: (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + eps)


@pytest.mark.parametrize(
    ("kind", "momentum", "eps"),
    [("batch", 0.1, 1e-5), ("batch(momentum=0.25, eps=0.01)", 0.25, 0.01)],
)
def test_running_statistics_after_a_minibatch(kind, momentum, eps, dtype, data):
    """PyTorch's: a part of mean and of variance with n - 1, from 0 and 1."""
    X = data[0].astype(dtype)
    trainer = batch_trainer(dtype, kind)
    mlp = trainer.mlp
    for name, buffer in mlp.buffers.items():
        np.testing.assert_array_equal(buffer, 0 if name.endswith("mean") else 1)
    trainer.forward(X)
    atol = 32 * EPS[dtype.name] * np.sqrt(len(X))
    means, variances = [np.zeros(9), np.zeros(8)], [np.ones(9), np.ones(8)]
    for rows in (X, X[:40]):
        _, scores = forward_by_hand(mlp, rows.astype(np.float64), by_rows(eps))
        for i, z in enumerate(scores):
            means[i] = (1 - momentum) * means[i] + momentum * z.mean(axis=0)
            variances[i] = (1 - momentum) * variances[i] + momentum * z.var(axis=0, ddof=1)
            np.testing.assert_allclose(mlp.buffers[f"layers.{i}.mean"], means[i], atol=atol)
            np.testing.assert_allclose(mlp.buffers[f"layers.{i}.variance"], variances[i], atol=atol)
        trainer.forward(X[:40])


def test_running_statistics_follow_every_minibatch_of_fit(dtype, data):
    """Also those of the last, smaller one, in the order of the epoch."""
    X, y = data[0][:100].astype(dtype), data[1][:100]
    trainer = batch_trainer(dtype)
    trainer.fit(X, y, epochs=2)
    means, variances = [np.zeros(9), np.zeros(8)], [np.ones(9), np.ones(8)]
    for epoch in range(2):
        order = order_of_epoch(trainer, 100, epoch)
        for start in range(0, 100, 16):
            rows = X[order[start : start + 16]].astype(np.float64)
            _, scores = forward_by_hand(trainer.mlp, rows, by_rows(1e-5))
            for i, z in enumerate(scores):
                means[i] += 0.1 * (z.mean(axis=0) - means[i])
                variances[i] += 0.1 * (z.var(axis=0, ddof=1) - variances[i])
    # The learning rate is so low that the parameters stay where they are.
    atol = 32 * EPS[dtype.name] * np.sqrt(200)
    for i in range(2):
        np.testing.assert_allclose(trainer.mlp.buffers[f"layers.{i}.mean"], means[i], atol=atol)
        np.testing.assert_allclose(
            trainer.mlp.buffers[f"layers.{i}.variance"], variances[i], atol=atol
        )


def test_training_uses_the_minibatch_and_prediction_the_running_statistics(dtype, data):
    X = data[0].astype(dtype)
    trainer = batch_trainer(dtype)
    mlp = trainer.mlp
    atol = 32 * EPS[dtype.name] * np.sqrt(9)
    trained = trainer.forward(X)
    expected, _ = forward_by_hand(mlp, X.astype(np.float64), by_rows(1e-5))
    np.testing.assert_allclose(trained, expected, rtol=0, atol=atol)

    def by_buffers(z, i):
        variance = mlp.buffers[f"layers.{i}.variance"]
        return (z - mlp.buffers[f"layers.{i}.mean"]) / np.sqrt(variance + 1e-5)

    before = network_of(trainer)
    predicted = mlp.predict(X)
    expected, _ = forward_by_hand(mlp, X.astype(np.float64), by_buffers)
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=atol)
    assert np.abs(predicted - trained).max() > 0.01
    # A row's prediction does not depend on the rows beside it, and changes no statistics.
    assert mlp.predict(X[7:8]).tobytes() == predicted[7:8].tobytes()
    mlp.evaluate(X, data[1])
    mlp.hidden(X)
    mlp.freeze()(X)
    assert network_of(trainer) == before


def test_layer_normalisation_is_over_the_units_of_a_row(dtype, data):
    X = data[0].astype(dtype)
    trainer = batch_trainer(dtype, "layer(eps=0.01)")
    assert trainer.mlp.buffers == {}
    expected, _ = forward_by_hand(
        trainer.mlp,
        X.astype(np.float64),
        lambda z, i: (
            (z - z.mean(axis=1, keepdims=True)) / np.sqrt(z.var(axis=1, keepdims=True) + 0.01)
        ),
    )
    atol = 32 * EPS[dtype.name] * np.sqrt(9)
    found = trainer.forward(X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    assert trainer.mlp.predict(X).tobytes() == found.tobytes()
    assert trainer.mlp.freeze()(X).tobytes() == found.tobytes()


@pytest.mark.parametrize("kind", ["batch", "layer", ["batch", "layer"], [None, "batch"]], ids=str)
def test_a_frozen_network_predicts_the_same(kind, dtype, data):
    """Batch normalisation is folded into the weights, each of which is rounded once more."""
    X, y = data
    trainer = batch_trainer(dtype, kind, optimizer=fm.Adam(0.01), scale="standard")
    trainer.fit(X, y, epochs=5)
    fast = trainer.mlp.freeze()
    wanted = trainer.mlp.predict(X)
    atol = 32 * EPS[dtype.name] * np.sqrt(9)
    np.testing.assert_allclose(fast(X), wanted, rtol=0, atol=atol)
    np.testing.assert_allclose(fast(X[:1].astype(dtype)), wanted[:1], rtol=0, atol=atol)
    # Later training does not change it.
    before = fast(X).tobytes()
    trainer.fit(X, y, epochs=1)
    assert fast(X).tobytes() == before


@pytest.mark.parametrize("kind", ["batch(momentum=0.2)", "layer", [None, "batch"]], ids=str)
def test_a_network_that_normalises_is_saved_loaded_and_copied(kind, tmp_path, dtype, data):
    X, y = data
    trainer = batch_trainer(dtype, kind, optimizer=fm.SGD(0.05), dropout=0.1)
    trainer.fit(X, y, epochs=3)
    trainer.mlp.save(tmp_path / "model")
    twins = [fm.load(tmp_path / "model"), trainer.mlp.copy()]
    twins.append(pickle.loads(pickle.dumps(trainer.mlp)))
    predicted = trainer.mlp.predict(X).tobytes()
    frozen = trainer.mlp.freeze()(X).tobytes()
    trainers = [fm.Trainer(twin, optimizer=fm.SGD(0.05), seed=9) for twin in twins]
    for each in trainers:
        assert network_of(each) == network_of(trainer)
        assert each.mlp.predict(X).tobytes() == predicted
        assert each.mlp.freeze()(X).tobytes() == frozen
    # They go on alike, statistics too.
    for each in trainers:
        each.fit(X, y, epochs=2)
    assert network_of(trainers[0]) == network_of(trainers[1]) == network_of(trainers[2])
    assert network_of(trainers[0]) != network_of(trainer)


def test_divergence_restores_the_running_statistics(data):
    X, y = data
    trainer = batch_trainer("float32", optimizer=fm.SGD(0.05), activation="relu")
    trainer.fit(X, y, epochs=2)
    before = network_of(trainer)
    with pytest.warns(RuntimeWarning, match="diverged in epoch 3"):
        trainer.fit(np.full_like(X, 3e38), y, epochs=1)
    assert network_of(trainer) == before
    assert np.isfinite(trainer.mlp.predict(X)).all()


def test_a_minibatch_of_one_row_is_its_own_mean(data):
    """It teaches what is before the normalisation nothing, and breaks nothing."""
    X, y = data
    trainer = batch_trainer(optimizer=fm.SGD(0.1), batch_size=40)
    trainer.fit(X[:41], y[:41], epochs=3)
    assert np.isfinite(trainer.history["loss"]).all()
    trainer.forward(X[:1])
    trainer.compute_loss(y[:1])
    trainer.backward()
    w, b = trainer.mlp._structure.parts[0][:2]
    np.testing.assert_array_equal(trainer.grads[w], 0)
    np.testing.assert_array_equal(trainer.grads[b], 0)
    assert trainer.grads.any()


# ---- one step by hand

# More columns than are shortened at a time, and more parameters than a block has.
STEP_SIZES = (60, 150, 70, 3)


def step_problem(dtype, rng, **options):
    """A trainer after ``backward``, its parameters, and the gradient without what is asked for."""
    X, y = rng.normal(size=(50, 60)), rng.normal(size=(50, 3))
    plain, trainer = (
        make_trainer(dtype, STEP_SIZES, normalization=["batch", "layer"], **given)
        for given in ({"optimizer": fm.SGD(0.1)}, {"optimizer": fm.SGD(0.1), **options})
    )
    assert plain.mlp.n_params > 16384
    noise = rng.normal(0, 0.1, plain.mlp.n_params)
    values = []
    for each in (plain, trainer):
        each.mlp.params[:] += noise
        each.forward(X)
        values.append(each.compute_loss(y))
        each.backward()
    params = trainer.mlp.params.astype(np.float64)
    return trainer, params, plain.grads.astype(np.float64), values


def weights_of(mlp):
    """Where in ``params`` the weights are: not biases, scales and shifts."""
    chosen = np.zeros(mlp.n_params, bool)
    for parts in mlp._structure.parts:
        chosen[parts.w] = True
    assert 0.9 < chosen.mean() < 1
    return chosen


def check_step(trainer, expected, params, summed=1):
    """Each number is rounded a few times on the way, and its change also as a sum of so many."""
    eps = EPS[trainer.mlp.dtype.name]
    change = np.abs(expected - params)
    assert change.max() > 1e-3
    atol = 8 * eps * (np.abs(params) + np.sqrt(summed) * change)
    assert (np.abs(trainer.mlp.params - expected) <= atol).all()


@pytest.mark.parametrize("limit", [1e-3, 1e9])
def test_elements_of_the_gradient_are_cut(limit, dtype, rng):
    trainer, params, gradient, _ = step_problem(
        dtype, rng, clip_value=limit, optimizer=fm.SGD(10.0)
    )
    trainer.step()
    assert (np.abs(gradient) > limit).any() == (limit < 1)
    check_step(trainer, params - 10 * np.clip(gradient, -limit, limit), params)


@pytest.mark.parametrize("limit", [1e-2, 1e9])
def test_the_gradient_is_shortened(limit, dtype, rng):
    """Its direction stays, and one that is short enough is left as it is."""
    trainer, params, gradient, _ = step_problem(dtype, rng, clip_norm=limit, optimizer=fm.SGD(10.0))
    trainer.step()
    norm = np.linalg.norm(gradient)
    assert (norm > limit) == (limit < 1)
    expected = params - 10 * gradient * min(1, limit / norm)
    check_step(trainer, expected, params, summed=len(params))


def test_elements_are_cut_before_the_gradient_is_shortened(dtype, rng):
    trainer, params, gradient, _ = step_problem(
        dtype, rng, clip_value=1e-3, clip_norm=0.02, optimizer=fm.SGD(10.0)
    )
    trainer.step()
    cut = np.clip(gradient, -1e-3, 1e-3)
    assert np.linalg.norm(cut) > 0.02
    expected = params - 10 * cut * 0.02 / np.linalg.norm(cut)
    check_step(trainer, expected, params, summed=len(params))
    # ``grads`` is what the step was made with.
    norm = np.linalg.norm(trainer.grads.astype(np.float64))
    assert norm == pytest.approx(0.02, rel=4 * EPS[dtype.name] * np.sqrt(len(params)))


@pytest.mark.parametrize("limit", [1.0, 100.0])
def test_incoming_weights_of_a_unit_are_shortened(limit, dtype, rng):
    """After the step, every column on its own; biases, scales and shifts are left alone."""
    trainer, params, gradient, _ = step_problem(dtype, rng, max_norm=limit)
    trainer.step()
    expected = params - 0.1 * gradient
    shortened = 0
    for parts, (n_in, n_out) in zip(
        trainer.mlp._structure.parts, pairwise(STEP_SIZES), strict=True
    ):
        w = expected[parts.w].reshape(n_in, n_out)
        norms = np.linalg.norm(w, axis=0)
        w *= np.minimum(1, limit / norms)
        shortened += (norms > limit).sum()
    assert (shortened > 50) == (limit == 1)
    assert shortened < sum(STEP_SIZES[1:])
    check_step(trainer, expected, params, summed=max(STEP_SIZES))
    lengths = np.concatenate([np.linalg.norm(w, axis=0) for w in trainer.mlp.weights])
    assert lengths.max() <= limit * (1 + 4 * EPS[dtype.name] * np.sqrt(150))


@pytest.mark.parametrize(("l1", "l2"), [(0.05, 0), (0, 0.3), (0.05, 0.3)])
def test_penalties_are_part_of_objective_and_gradient(l1, l2, dtype, rng):
    trainer, params, gradient, (plain, value) = step_problem(dtype, rng, l1=l1, l2=l2)
    chosen = weights_of(trainer.mlp)
    w = params[chosen]
    eps = EPS[dtype.name]
    penalty = l1 * np.abs(w).sum() + l2 / 2 * (w**2).sum()
    assert value - plain == pytest.approx(penalty, rel=8 * eps * np.sqrt(len(w)))
    slope = np.where(chosen, l1 * np.sign(params) + l2 * params, 0)
    atol = 8 * eps * (np.abs(gradient) + np.abs(slope))
    assert (np.abs(trainer.grads - (gradient + slope)) <= atol).all()
    trainer.step()
    check_step(trainer, params - 0.1 * (gradient + slope), params)


def test_a_weight_of_zero_has_no_slope(dtype, rng):
    trainer = make_trainer(dtype, (4, 3), l1=0.5)
    trainer.mlp.params[:] = 0
    trainer.forward(np.zeros((2, 4)))
    assert trainer.compute_loss(np.zeros((2, 3))) == 0
    trainer.backward()
    np.testing.assert_array_equal(trainer.grads, 0)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop", "adagrad", "nadam"])
def test_decay_takes_its_part_of_the_weights_before_the_step(optimizer, dtype, rng):
    """Beside the gradient, whatever the optimizer makes of that."""
    made = {"sgd": fm.SGD, "adamw": fm.AdamW, "rmsprop": fm.RMSprop, "adagrad": fm.Adagrad}
    kind = made.get(optimizer, fm.Nadam)
    trainer, params, _, _ = step_problem(dtype, rng, optimizer=kind(0.1, weight_decay=0.5))
    without = make_trainer(
        dtype, STEP_SIZES, normalization=["batch", "layer"], optimizer=kind(0.1, weight_decay=0)
    )
    # The same gradient, from where the weights are after their decay.
    chosen = weights_of(trainer.mlp)
    without.mlp.params[:] = np.where(chosen, params * (1 - 0.1 * 0.5), params)
    without.forward(rng.normal(size=(5, 60)))
    without.compute_loss(np.zeros((5, 3)))
    without.backward()
    without.grads[:] = trainer.grads
    trainer.step()
    without.step()
    check_step(trainer, without.mlp.params.astype(np.float64), params)


# ---- threads

# What may depend on them: every option, on networks whose chunks are shared and whose tiles are.
SMALL, LARGE = "chunks shared", "tiles shared"
SHAPES = {
    SMALL: ((12, 16, 12, 10), 2100, 2000),
    LARGE: ((300, 400, 300, 10), 160, 128),
}
OPTIONS = {
    "nadam": {"optimizer": fm.Nadam()},
    "rmsprop": {"optimizer": fm.RMSprop(1e-3, momentum=0.5, centered=True)},
    "adagrad": {"optimizer": fm.Adagrad(0.05, rate_decay=0.1)},
    "adamw": {"optimizer": fm.AdamW(weight_decay=0.1)},
    "dropout": {"dropout": 0.3, "input_dropout": 0.2},
    "batch": {"normalization": "batch", "dropout": [0.2, 0]},
    "layer": {"normalization": "layer"},
    "clip_norm": {"clip_norm": 1e-3, "clip_value": 1e-3},
    "max_norm": {"max_norm": 0.5, "l1": 1e-4, "l2": 1e-3},
    "penalties over rows": {"l1": 0.1, "l2": 1.0, "penalties_over_rows": True},
    "schedule": {"schedule": fm.Warmup(fm.Cosine(), steps=2)},
    "label smoothing": {"loss": fm.CrossEntropy(label_smoothing=0.1)},
    "scale": {"scale": "standard"},
    "weights of classes": {},
    "sparse": {},
    "bytes": {"scale": 1 / 255},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPTIONS)
def test_threads_change_no_bit(name, shape, dtype):
    rng = np.random.default_rng(6)
    sizes, n_rows, batch_size = SHAPES[shape]
    X, y = rng.normal(size=(n_rows, sizes[0])).astype(dtype), rng.integers(0, 10, n_rows)
    if name == "bytes":
        X = rng.integers(0, 256, X.shape).astype(np.uint8)
    if name == "sparse":
        scipy_sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
        X = scipy_sparse.csr_array(X * (rng.random(X.shape) < 0.1))
    fit = {"class_weight": "balanced"} if name == "weights of classes" else {}

    def train(n_threads):
        trainer = make_trainer(
            dtype, sizes, batch_size=batch_size, output="softmax", activation="relu",
            n_threads=n_threads, **OPTIONS[name],
        )  # fmt: skip
        # Two updates of the large one, and three of the small one.
        epochs = 3 if shape == SMALL else 1
        trainer.fit(X, y, epochs=epochs, validation_split=0.05, **fit)
        predicted = trainer.mlp.predict(X, n_threads=n_threads)
        frozen = trainer.mlp.freeze()(X, n_threads=n_threads)
        return state(trainer), predicted.tobytes(), frozen.tobytes()

    alone = train(1)
    assert alone[0][2] >= 2
    for n_threads in (2, 3, 4, 8):
        assert train(n_threads) == alone, f"{n_threads} threads"


@pytest.mark.parametrize("name", ["dropout", "batch", "layer"])
def test_masks_and_statistics_by_hand_are_those_of_any_number_of_threads(name, dtype, rng):
    """What ``forward`` and ``backward`` leave in every layer."""
    X, y = rng.normal(size=(128, 300)), rng.integers(0, 10, 128)

    def steps(n_threads):
        trainer = make_trainer(
            dtype, SHAPES[LARGE][0], output="softmax", n_threads=n_threads, **OPTIONS[name]
        )
        out = trainer.forward(X)
        trainer.compute_loss(y)
        trainer.backward()
        seen = [trainer.read(what, i) for what in ("x", "z", "a", "dz") for i in range(3)]
        return [a.tobytes() for a in (out, *seen, trainer.grads, trainer.mlp._running)]

    alone = steps(1)
    for n_threads in (2, 4, 8):
        assert steps(n_threads) == alone


# ---- refused before anything changes


def test_a_batch_of_one_row_cannot_be_normalised(rng):
    X, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 1))
    trainer = fm.Trainer(fm.MLP([3, 4, 1], normalization="batch", seed=0), batch_size=1)
    before = trainer.mlp.params.copy()
    with pytest.raises(ValueError, match="batch_size: minibatches of one row"):
        trainer.fit(X, y, epochs=1)
    np.testing.assert_array_equal(trainer.mlp.params, before)


def test_a_last_minibatch_of_one_row_leaves_the_running_statistics(dtype, rng):
    """Its variance is zero, which says nothing of all rows."""
    X, y = rng.normal(size=(33, 3)), rng.normal(size=(33, 1))
    found = []
    for rows in (32, 33):
        mlp = fm.MLP([3, 4, 1], normalization="batch", seed=0, dtype=dtype)
        mlp.fit(X[:rows], y[:rows], epochs=1, batch_size=32, shuffle=False, optimizer="sgd")
        found.append({name: buffer.copy() for name, buffer in mlp.buffers.items()})
    for name, buffer in found[0].items():
        np.testing.assert_array_equal(found[1][name], buffer)


@pytest.mark.parametrize("how", ["stream", "callback"])
def test_levenberg_marquardt_refuses_minibatches_before_anything_changes(how, rng):
    class Listener(fm.Callback):
        def on_batch_end(self, trainer, loss):
            raise AssertionError("it trains")

        def on_fit_begin(self, trainer):
            raise AssertionError("it begins")

    X, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 1))
    mlp = fm.MLP([3, 4, 1], dtype="float64", scale=None if how == "stream" else "standard")
    trainer = fm.Trainer(mlp, optimizer="levenberg_marquardt")
    what = ([(X, y)],) if how == "stream" else (X, y)
    with pytest.raises(ValueError, match="makes its steps from all rows"):
        trainer.fit(*what, epochs=1, callbacks=[Listener()])
    assert mlp.buffers == {}


def test_a_schedule_that_must_know_the_end_refuses_an_endless_stream_at_once(rng):
    X, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 1))
    trainer = fm.Trainer(fm.MLP([3, 4, 1], normalization="batch", seed=0), schedule="cosine")
    before = trainer.mlp._running.copy()
    with pytest.raises(ValueError, match="schedule"):
        trainer.fit(lambda: iter([(X, y)]), epochs=2)
    np.testing.assert_array_equal(trainer.mlp._running, before)
    assert trainer.n_steps == 0


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "many"])
def test_a_batch_size_that_cannot_be_is_refused_where_it_is_set(batch_size):
    trainer = fm.Trainer(fm.MLP([3, 1], seed=0), batch_size=7)
    with pytest.raises(ValueError, match="batch_size: got"):
        trainer.batch_size = batch_size
    assert trainer.batch_size == 7


def test_arrays_are_let_go_of_after_training(rng):
    X, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 1))
    alive = weakref.ref(X)
    trainer = fm.Trainer(fm.MLP([3, 1], seed=0))
    trainer.fit(X, y, epochs=1)
    del X
    assert alive() is None


# ---- class weights where rows are only measured


def test_class_weights_count_in_evaluation(rng):
    X, y = rng.normal(size=(40, 3)), (rng.random(40) > 0.8).astype(int)
    mlp = fm.MLP([3, 4, 2], output="softmax", seed=0)
    weight = np.where(y == 1, 5.0, 0.5)
    assert mlp.evaluate(X, y, class_weight={0: 0.5, 1: 5.0}) == mlp.evaluate(
        X, y, sample_weight=weight
    )


def test_rows_held_out_are_not_weighed_by_class(rng):
    X, y = rng.normal(size=(100, 3)), (rng.random(100) > 0.8).astype(int)
    found = []
    for weights in ({}, {"class_weight": {0: 0.0, 1: 1.0}}):
        mlp = fm.MLP([3, 4, 2], output="softmax", seed=0)
        trainer = fm.Trainer(mlp, optimizer=fm.SGD(1e-30), seed=0)
        options = {"validation_split": 0.3, "metrics": ["accuracy"], **weights}
        trainer.fit(X, y, epochs=1, **options)
        found.append(trainer.history.last())
    assert found[0]["val_loss"] == found[1]["val_loss"]
    assert found[0]["val_accuracy"] == found[1]["val_accuracy"]
    assert found[0]["loss"] != found[1]["loss"]


def test_sparse_rows_held_out_stay_sparse(rng):
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    X = sparse.random_array((400, 20_000), density=1e-3, rng=rng, format="csr", dtype=np.float32)
    y = rng.normal(size=(400, 1))
    trainer = fm.Trainer(fm.MLP([20_000, 2, 1], seed=0), batch_size=16, n_threads=1)
    tracemalloc.start()
    try:
        trainer.fit(X, y, epochs=1, validation_split=0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * 20_000 * 4, "as much as the rows held out would take"


def test_a_pickled_network_carries_no_codes_of_this_release():
    """The kernels' numbers of activations may change; their names may not."""
    mlp = fm.MLP([3, 4, 1], normalization="layer", seed=0)
    mlp.predict(np.zeros((1, 3)))
    for thing in (mlp, mlp.freeze()):
        assert b"tables" not in pickle.dumps(thing)
        assert pickle.loads(pickle.dumps(thing))._structure == thing._structure
