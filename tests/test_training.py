"""Training: history, epochs, stopping, the loop by hand, arrays of every kind, and learning."""

import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import fitting, kernels, training

# Far more than any of this takes on a slow machine: only a hang reaches it.
HANG = 120
PENALTIES = [{}, {"l2": 0.05}, {"l1": 0.1, "l2": 0.8, "penalties_over_rows": True}]


@pytest.fixture
def data(rng):
    """Fifty rows of something a small network can learn a little of."""
    X = rng.normal(size=(50, 4))
    return X, np.tanh(X @ rng.normal(size=(4, 3))) + 0.1 * rng.normal(size=(50, 3))


def make_trainer(dtype="float64", **options):
    mlp = fm.MLP([4, 7, 3], activation="tanh", seed=0, dtype=dtype)
    return fm.Trainer(mlp, **{"batch_size": 16, "seed": 1, **options})


def order_of_epoch(trainer, n, epoch, shuffle):
    order = np.arange(n)
    if shuffle:
        kernels.of(trainer.mlp.dtype).row_order(order, trainer.seed, epoch)
    return order


def train_by_hand(trainer, X, y, epochs, shuffle=True, weight=None, first=0):
    """What ``fit`` does, step by step; returns the losses of the epochs."""
    losses = []
    for epoch in range(first, first + epochs):
        order = order_of_epoch(trainer, len(X), epoch, shuffle)
        total = 0.0
        for start in range(0, len(X), trainer.batch_size):
            rows = order[start : start + trainer.batch_size]
            trainer.forward(X[rows])
            value = trainer.compute_loss(y[rows], None if weight is None else weight[rows])
            trainer.backward()
            trainer.step()
            total += value * len(rows)
        losses.append(total / len(X))
    return losses


def state_of(trainer):
    """Everything of a trainer that an error must leave alone."""
    history = {name: list(column) for name, column in trainer.history.items()}
    return (
        trainer.mlp.params.tobytes(),
        trainer.grads.tobytes(),
        trainer._state.tobytes(),
        trainer.epoch,
        trainer.n_steps,
        trainer.history.stop_reason,
        history,
    )


# ---- history


@pytest.mark.parametrize("l2", [0, 0.3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_full_batch_loss_is_the_objective_before_each_step(l2, reduction, data):
    X, y = data
    loss = fm.MeanSquaredError(reduction=reduction)
    trainer = make_trainer(loss=loss, l2=l2, batch_size=50, optimizer=fm.SGD(lr=1e-3))
    expected = []
    for _ in range(5):
        (w1, w2), (b1, b2) = trainer.mlp.weights, trainer.mlp.biases
        prediction = np.tanh(X @ w1 + b1) @ w2 + b2
        rows = ((prediction - y) ** 2).mean(axis=1)
        penalty = l2 / 2 * ((w1**2).sum() + (w2**2).sum())
        expected.append((rows.mean() if reduction == "mean" else rows.sum()) + penalty)
        trainer.fit(X, y, epochs=1, shuffle=False)
    np.testing.assert_allclose(trainer.history["loss"], expected, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_is_the_row_weighted_mean_of_the_minibatches(weighted, reduction, data, rng):
    """With two rows left over for the last minibatch: it counts as two rows, not as sixteen."""
    X, y = data
    weight = rng.uniform(size=50) if weighted else None
    options = {"loss": fm.HalfSquaredError(reduction=reduction), "l2": 0.1}
    trainer, by_hand = make_trainer(**options), make_trainer(**options)
    history = trainer.fit(X, y, epochs=4, sample_weight=weight)
    expected = train_by_hand(by_hand, X, y, 4, weight=weight)
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-13)
    assert trainer.n_steps == 4 * 4


def test_history_is_a_mapping_of_lists(data):
    trainer = make_trainer()
    history = trainer.history
    assert dict(history) == {"loss": []}
    assert history.last() == {}
    assert history.stop_reason is None
    assert repr(history) == "History(0 epochs, stop_reason=None)"
    assert trainer.fit(*data, epochs=3, validation_data=data, metrics=["mse"]) is history
    assert list(history) == ["loss", "val_loss", "val_mse"]
    assert len(history) == 3
    assert all(type(value) is float for column in history.values() for value in column)
    assert history.last() == {name: column[-1] for name, column in history.items()}
    shown = f"History(3 epochs, loss {history['loss'][-1]:.6g}, stop_reason='epochs')"
    assert repr(history) == shown


def test_epochs_count_per_call_and_go_on(data):
    X, y = data
    whole, parts = make_trainer(), make_trainer()
    whole.fit(X, y, epochs=7)
    for epochs, range_ in [(2, (0, 2)), (1, (2, 3)), (4, (3, 7))]:
        history = parts.fit(X, y, epochs=epochs)
        assert parts.epoch_range == range_
        assert parts.epoch == range_[1]
        assert len(history["loss"]) == range_[1]
        assert history.stop_reason == "epochs"
    assert state_of(parts) == state_of(whole)


def test_a_new_fit_of_the_network_starts_a_new_trainer(data):
    mlp = fm.MLP([4, 3], seed=0)
    assert len(mlp.fit(*data, epochs=2)["loss"]) == 2
    assert len(mlp.fit(*data, epochs=3)["loss"]) == 3


def test_columns_that_come_later_are_filled_up(data):
    trainer = make_trainer()
    trainer.fit(*data, epochs=2)
    trainer.fit(*data, epochs=1, validation_data=data)
    trainer.fit(*data, epochs=1)
    history = trainer.history
    assert {len(column) for column in history.values()} == {4}
    np.testing.assert_array_equal(np.isnan(history["val_loss"]), [True, True, False, True])


def test_more_epochs_than_the_compiled_loop_writes_down_at_once(monkeypatch, data):
    monkeypatch.setattr(fitting, "EPOCHS_AT_ONCE", 3)
    trainer, usual = make_trainer(), make_trainer()
    trainer.fit(*data, epochs=10)
    monkeypatch.undo()
    usual.fit(*data, epochs=10)
    assert state_of(trainer) == state_of(usual)


# ---- minibatches


@pytest.mark.parametrize("batch_size", [50, 51, 10**9])
def test_a_batch_above_the_rows_is_the_full_batch(batch_size, data):
    X, y = data
    trainer, full = make_trainer(batch_size=batch_size), make_trainer(batch_size=50)
    trainer.fit(X, y, epochs=3)
    full.fit(X, y, epochs=3)
    assert trainer.n_steps == 3
    assert state_of(trainer) == state_of(full)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 25, 49])
def test_the_last_minibatch_may_be_smaller(batch_size, data):
    trainer = make_trainer(batch_size=batch_size)
    trainer.fit(*data, epochs=3)
    assert trainer.n_steps == 3 * -(-50 // batch_size)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalties", PENALTIES)
def test_fit_is_the_loop_by_hand_bit_for_bit(shuffle, weighted, penalties, dtype, data, rng):
    X, y = data
    weight = rng.uniform(size=50) if weighted else None
    for optimizer in (fm.SGD(lr=0.1, momentum=0.9, nesterov=True), fm.Adam(lr=0.01)):
        options = {"dtype": dtype, "optimizer": optimizer, **penalties}
        trainer, by_hand = make_trainer(**options), make_trainer(**options)
        history = trainer.fit(X, y, epochs=5, shuffle=shuffle, sample_weight=weight)
        losses = train_by_hand(by_hand, X, y, 5, shuffle, weight)
        assert trainer.mlp.params.tobytes() == by_hand.mlp.params.tobytes()
        assert trainer.grads.tobytes() == by_hand.grads.tobytes()
        # The mean over minibatches is this file's own: compiled code may round a sum once less.
        assert history["loss"] == pytest.approx(losses, rel=1e-14)


@pytest.mark.parametrize("batch_size", [300, 2000])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("penalties", PENALTIES)
def test_fit_is_the_loop_by_hand_in_minibatches_of_many_chunks(
    batch_size, n_threads, penalties, dtype, rng
):
    X, y = rng.normal(size=(2000, 4)), rng.normal(size=(2000, 3))
    options = {"dtype": dtype, "batch_size": batch_size, "n_threads": n_threads, **penalties}
    trainer, by_hand = make_trainer(**options), make_trainer(**options)
    history = trainer.fit(X, y, epochs=2)
    assert train_by_hand(by_hand, X, y, 2) == pytest.approx(history["loss"], rel=1e-14)
    assert trainer.mlp.params.tobytes() == by_hand.mlp.params.tobytes()


def test_bits_do_not_depend_on_the_slices(monkeypatch, rng):
    """A slice of no length comes back wherever it may, also within a minibatch of many chunks."""
    X, y = rng.normal(size=(3000, 4)), rng.normal(size=(3000, 3))
    found = []
    for seconds in (fitting.SLICE, 0, -1):
        monkeypatch.setattr(fitting, "SLICE", seconds)
        for batch_size in (10, 1500, 3000):
            trainer = make_trainer("float32", batch_size=batch_size)
            trainer.fit(X, y, epochs=3)
            found.append(state_of(trainer))
    assert found[:3] == found[3:6] == found[6:]


def test_shuffling_visits_every_row_once_in_a_new_order_every_epoch(data):
    X, y = data
    orders = [order_of_epoch(make_trainer(), 50, epoch, True) for epoch in range(4)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    first, again, other, unshuffled = (make_trainer(seed=seed) for seed in (3, 3, 4, 3))
    for trainer in (first, again, other):
        trainer.fit(X, y, epochs=2)
    unshuffled.fit(X, y, epochs=2, shuffle=False)
    params = [t.mlp.params.tobytes() for t in (first, again, other, unshuffled)]
    assert params[0] == params[1]
    assert len(set(params)) == 3


def test_without_a_seed_the_trainer_keeps_the_one_it_took(data):
    first, second = make_trainer(seed=None), make_trainer(seed=None)
    assert first.seed != second.seed
    again = make_trainer(seed=first.seed)
    first.fit(*data, epochs=2)
    again.fit(*data, epochs=2)
    assert first.mlp.params.tobytes() == again.mlp.params.tobytes()


# ---- weights of rows


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("penalties", PENALTIES)
def test_whole_weights_are_repeated_rows(reduction, optimizer, penalties, data, rng):
    X, y = data
    weight = rng.integers(0, 4, 50)
    loss = fm.MeanSquaredError(reduction=reduction)
    options = {"loss": loss, "optimizer": optimizer, **penalties}
    weighted, repeated = (make_trainer(batch_size=1000, **options) for _ in range(2))
    weighted.fit(X, y, epochs=10, sample_weight=weight)
    repeated.fit(X.repeat(weight, axis=0), y.repeat(weight, axis=0), epochs=10)
    np.testing.assert_allclose(weighted.history["loss"], repeated.history["loss"], rtol=1e-10)
    np.testing.assert_allclose(weighted.mlp.params, repeated.mlp.params, rtol=0, atol=1e-10)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("penalties", PENALTIES)
def test_a_row_without_weight_is_absent(reduction, penalties, data):
    X, y = data
    options = {"loss": fm.MeanSquaredError(reduction=reduction), "batch_size": 50, **penalties}
    weighted, without = (make_trainer(**options) for _ in range(2))
    wild = X.copy(), y.copy()
    wild[0][::7] *= 100
    wild[1][::7] -= 100
    present = np.arange(50) % 7 != 0
    weighted.fit(*wild, epochs=5, sample_weight=present)
    without.fit(X[present], y[present], epochs=5)
    np.testing.assert_allclose(weighted.history["loss"], without.history["loss"], rtol=1e-10)
    np.testing.assert_allclose(weighted.mlp.params, without.mlp.params, rtol=0, atol=1e-10)


def test_a_minibatch_without_weight_changes_nothing_but_the_penalty(data):
    X, y = data
    weight = np.zeros(50)
    weight[16:] = 1
    trainer = make_trainer(optimizer="sgd")
    before = trainer.mlp.params.copy()
    trainer.fit(X[:32], y[:32], epochs=1, shuffle=False, sample_weight=weight[:32])
    only_second = make_trainer(optimizer="sgd")
    only_second.fit(X[16:32], y[16:32], epochs=1, shuffle=False)
    np.testing.assert_array_equal(trainer.mlp.params, only_second.mlp.params)
    assert not np.array_equal(trainer.mlp.params, before)


# ---- reasons to stop


def test_target_loss_stops_after_the_first_epoch_at_or_below_it(data):
    losses = make_trainer().fit(*data, epochs=30)["loss"]
    assert losses == sorted(losses, reverse=True)  # or the epoch expected is not this one
    for target, epochs in [(losses[11], 12), (np.nextafter(losses[11], 0), 13), (1e9, 1)]:
        history = make_trainer().fit(*data, epochs=30, target_loss=target)
        assert history.stop_reason == "target_loss"
        assert history["loss"] == losses[:epochs]
    history = make_trainer().fit(*data, epochs=30, target_loss=losses[-1] / 2)
    assert history.stop_reason == "epochs"


def epoch_of_convergence(losses, tol, patience):
    """The documentation's words: ``patience`` epochs in a row not more than ``tol`` below."""
    best, stale = np.inf, 0
    for epoch, loss in enumerate(losses, 1):
        stale = 0 if loss < best - tol else stale + 1
        best = min(best, loss)
        if stale == patience:
            return epoch
    return None


@pytest.mark.parametrize("tol", [0, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("patience", [1, 2, 3, 5])
def test_convergence_comes_in_the_epoch_the_curve_says(tol, patience, data):
    # Steps so large that the curve goes up and down.
    options = {"optimizer": fm.SGD(lr=0.35), "batch_size": 4, "dtype": "float32"}
    losses = make_trainer(**options).fit(*data, epochs=150)["loss"]
    expected = epoch_of_convergence(losses, tol, patience)
    assert expected is not None
    assert expected > patience
    history = make_trainer(**options).fit(*data, epochs=150, tol=tol, patience=patience)
    assert history.stop_reason == "converged"
    assert history["loss"] == losses[:expected]


def test_every_call_waits_for_convergence_anew(data):
    trainer = make_trainer()
    for _ in range(2):
        before = trainer.epoch
        history = trainer.fit(*data, epochs=100, tol=1e9, patience=3)
        assert history.stop_reason == "converged"
        assert trainer.epoch - before == 4  # the first epoch has nothing to compare with


def test_a_constant_loss_has_converged():
    """No epoch brings it more than 0 below the best so far."""
    mlp = fm.MLP([2, 1], output="relu", seed=0)
    mlp.weights[0][:] = 1
    mlp.biases[0][:] = -100
    history = mlp.fit([[0, 1], [1, 0]], [[1], [0]], loss="mse", epochs=50, tol=0.0, patience=3)
    assert set(history["loss"]) == {0.5}
    assert history.stop_reason == "converged"
    assert len(history["loss"]) == 4


def test_patience_without_tol_never_stops(data):
    history = make_trainer(optimizer=fm.SGD(lr=0.35), batch_size=4).fit(
        *data, epochs=60, patience=1
    )
    assert max(np.diff(history["loss"])) > 0
    assert history.stop_reason == "epochs"


@pytest.mark.parametrize("listening", [False, True])
def test_reasons_are_the_same_with_a_listener_to_epochs(listening, data):
    class Listener(fm.Callback):
        def on_epoch_end(self, trainer):
            pass

    callbacks = [Listener()] if listening else []
    losses = make_trainer().fit(*data, epochs=20)["loss"]
    trainer = make_trainer()
    assert (
        trainer.fit(*data, callbacks=callbacks, target_loss=losses[4]).stop_reason == "target_loss"
    )
    assert trainer.epoch == 5
    history = trainer.fit(*data, callbacks=callbacks, tol=1e9, patience=2)
    assert history.stop_reason == "converged"
    assert trainer.epoch == 8


# ---- divergence


def diverging(data, dtype="float32"):
    """A trainer that diverges in its third epoch, with a copy of what it was before."""
    X, y = data
    trainer = make_trainer(dtype, optimizer=fm.SGD(lr=0.05, momentum=0.9))
    trainer.fit(X, y, epochs=2)
    before = trainer.mlp.params.copy()
    scale = 1e30 if dtype == "float32" else 1e200
    return trainer, before, (X, y * scale)


def test_divergence_restores_the_last_finite_epoch_and_says_what_to_try(dtype, data):
    trainer, before, wild = diverging(data, dtype.name)
    advice = r"training diverged in epoch 3: .*after epoch 2\. Try a learning rate below 0\.05"
    with pytest.warns(RuntimeWarning, match=advice) as caught:
        history = trainer.fit(*wild, epochs=5)
    assert len(caught) == 1
    # Wider numbers are the advice where there are any.
    assert ("float64" in str(caught[0].message)) == (dtype == np.float32)
    assert Path(caught[0].filename) == Path(__file__)
    assert history.stop_reason == "diverged"
    assert trainer.epoch == 2
    assert len(history["loss"]) == 2
    assert np.isfinite(history["loss"]).all()
    assert trainer.mlp.params.tobytes() == before.tobytes()


def test_training_goes_on_after_divergence(data):
    X, y = data
    trainer, _, wild = diverging(data)
    with pytest.warns(RuntimeWarning, match="diverged"):
        trainer.fit(*wild, epochs=5)
    history = trainer.fit(X, y, epochs=3)
    assert history.stop_reason == "epochs"
    assert trainer.epoch == 5
    assert len(history["loss"]) == 5
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize(
    "optimizer", [fm.SGD(lr=0.05, momentum=0.9), fm.Adam(lr=0.01)], ids=["momentum", "adam"]
)
def test_the_optimizer_starts_anew_after_divergence(optimizer, data):
    """As the documentation of ``fit`` says: also Adam's count of steps, for its correction."""
    X, y = data
    trainer = fm.Trainer(fm.MLP([4, 7, 3], seed=0), optimizer=optimizer, batch_size=16)
    trainer.fit(X, y, epochs=5, shuffle=False)
    with pytest.warns(RuntimeWarning, match="diverged"):
        trainer.fit(X * 1e38, y, epochs=1, shuffle=False)
    fresh = fm.Trainer(trainer.mlp.copy(), optimizer=optimizer, batch_size=16)
    trainer.fit(X, y, epochs=2, shuffle=False)
    fresh.fit(X, y, epochs=2, shuffle=False)
    assert trainer.mlp.params.tobytes() == fresh.mlp.params.tobytes()


def test_divergence_with_a_listener_to_minibatches(data):
    class Listener(fm.Callback):
        def on_batch_end(self, trainer, loss):
            assert np.isfinite(loss)

    trainer, before, wild = diverging(data)
    with pytest.warns(RuntimeWarning, match="diverged in epoch 3"):
        history = trainer.fit(*wild, epochs=5, callbacks=[Listener()])
    assert history.stop_reason == "diverged"
    assert trainer.epoch == len(history["loss"]) == 2
    assert trainer.mlp.params.tobytes() == before.tobytes()


def test_divergence_in_the_first_epoch_restores_the_start(data):
    X, y = data
    trainer = make_trainer("float32", optimizer=fm.SGD(lr=1e30))
    before = trainer.mlp.params.copy()
    with pytest.warns(RuntimeWarning, match=r"epoch 1: .*below 1e\+30"):
        trainer.fit(X, y, epochs=5)
    assert trainer.mlp.params.tobytes() == before.tobytes()
    assert trainer.history["loss"] == []


# ---- rows that cannot be used


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("where", ["X", "y", "sample_weight"])
def test_a_row_that_is_not_finite_is_named_and_nothing_is_changed(bad, where, data):
    X, y = data
    trainer, untouched = make_trainer("float32"), make_trainer("float32")
    for each in (trainer, untouched):
        each.fit(X, y, epochs=2)
    before = state_of(trainer)
    arrays = {"X": X.copy(), "y": y.copy(), "sample_weight": np.ones((50, 1))}
    arrays[where][37, -1] = bad
    with pytest.raises(ValueError, match=rf"^{where}: row 37 holds {re.escape(str(bad))}"):
        trainer.fit(arrays["X"], arrays["y"], sample_weight=arrays["sample_weight"][:, 0])
    assert state_of(trainer) == before
    trainer.fit(X, y, epochs=2)
    untouched.fit(X, y, epochs=2)
    assert state_of(trainer) == state_of(untouched)


class Poisoner(fm.Callback):
    """Spoils one value of an array once training has begun."""

    def __init__(self, array):
        self.array = array

    def on_epoch_end(self, trainer):
        self.array[37, -1] = np.nan


class PoisonerByBatch(Poisoner):
    def on_batch_end(self, trainer, loss):
        pass


@pytest.mark.parametrize("poisoner", [Poisoner, PoisonerByBatch])
@pytest.mark.parametrize("where", ["X", "y"])
def test_a_row_that_is_spoiled_during_training_is_named(poisoner, where, data):
    arrays = dict(zip("Xy", data, strict=True))
    trainer = make_trainer("float32")
    with pytest.raises(ValueError, match=rf"^{where}: row 37 holds nan"):
        trainer.fit(arrays["X"], arrays["y"], callbacks=[poisoner(arrays[where])])
    assert np.isfinite(trainer.mlp.params).all()
    assert trainer.epoch == len(trainer.history["loss"]) == 1
    arrays[where][37, -1] = 0
    assert trainer.fit(arrays["X"], arrays["y"], epochs=1).stop_reason == "epochs"


# ---- interruption

CHILD = """
import os, signal, threading
import numpy as np
import fastmlp as fm
from fastmlp import kernels

# A suite that was started in the background passes on that Ctrl-C is to be ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

class InterruptAfter(fm.Callback):
    def __init__(self, seconds):
        self.seconds = seconds

    def on_fit_begin(self, trainer):
        threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
"""


def run_child(code):
    """Run a script that may hang in a process of its own."""
    command = [sys.executable, "-P", "-W", "error", "-c", CHILD + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_leaves_the_last_whole_minibatch():
    run_child("""
rng = np.random.default_rng(0)
X, y = rng.normal(size=(500, 20)), rng.normal(size=(500, 3))

def make():
    return fm.Trainer(fm.MLP([20, 30, 3], activation="tanh", seed=0), batch_size=32, seed=1)

trainer, twin = make(), make()
trainer.fit(X, y, epochs=2)
history = trainer.fit(X, y, epochs=10**9, callbacks=[InterruptAfter(0.4)])
assert history.stop_reason == "interrupted"
assert len(history["loss"]) == trainer.epoch > 2

# The same epochs, then the same minibatches of the next one.
twin.fit(X, y, epochs=trainer.epoch)
assert history["loss"] == twin.history["loss"]
order = np.empty(500, np.int64)
kernels.float32.row_order(order, 1, trainer.epoch)
n_more = trainer.n_steps - twin.n_steps
assert 0 <= n_more < 16
for start in range(0, 32 * n_more, 32):
    rows = order[start : start + 32]
    twin.forward(X[rows])
    twin.compute_loss(y[rows])
    twin.backward()
    twin.step()
assert trainer.mlp.params.tobytes() == twin.mlp.params.tobytes()

# And it is usable.
assert np.isfinite(trainer.mlp.predict(X)).all()
epochs = trainer.epoch
assert trainer.fit(X, y, epochs=3).stop_reason == "epochs"
assert trainer.epoch == len(history["loss"]) == epochs + 3
""")


@pytest.mark.parametrize(
    ("sizes", "n_rows", "n_threads"),
    [
        ([784, 1024, 1024, 10], 2_000_000, 1),
        ([784, 1024, 1024, 10], 2_000_000, 2),
        ([784, 64, 10], 20_000_000, 2),  # threads take chunks of the minibatch here
    ],
)
def test_ctrl_c_during_one_huge_step(sizes, n_rows, n_threads):
    """One full-batch step of many minutes, on one image repeated without memory."""
    run_child(f"""
row = np.arange(784, dtype=np.uint8)[None, :]
X = np.broadcast_to(row, ({n_rows}, 784))
y = np.broadcast_to(np.array([3], np.uint8), ({n_rows},))
mlp = fm.MLP({sizes}, output="softmax", seed=0)
trainer = fm.Trainer(mlp, optimizer=fm.SGD(lr=1e-4), batch_size={n_rows}, n_threads={n_threads})
trainer.fit(X[:200], y[:200], epochs=2)
params = mlp.params.tobytes()
history = trainer.fit(X, y, epochs=1, shuffle=False, callbacks=[InterruptAfter(0.5)])
assert history.stop_reason == "interrupted"
assert trainer.n_steps == trainer.epoch == len(history["loss"]) == 2
assert mlp.params.tobytes() == params
mlp.predict(row)
assert trainer.fit(X[:200], y[:200], epochs=1).stop_reason == "epochs"
assert trainer.n_steps == trainer.epoch == len(history["loss"]) == 3
""")


class InterruptAtLine:
    """Raises KeyboardInterrupt at the n-th line of training.py and fitting.py that runs."""

    def __init__(self, n):
        self.left = n

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename not in (training.__file__, fitting.__file__):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


def test_ctrl_c_within_a_compiled_step_counts_it(rng):
    """A signal that arrives while the kernels work is handled as they return."""

    class Listener(fm.Callback):
        def on_batch_end(self, trainer, loss):
            after.append(trainer.mlp.params.tobytes())

    def make():
        mlp = fm.MLP([20, 3000, 3000, 1], seed=0)
        return fm.Trainer(mlp, batch_size=1, optimizer="adam", seed=0, n_threads=1)

    X, y = rng.normal(size=(8, 20)), rng.normal(size=(8, 1))
    after = []
    whole = make()
    start = whole.mlp.params.tobytes()
    whole.fit(X, y, epochs=1, callbacks=[Listener()])
    known = [start, *after]
    within = 0
    for delay in np.linspace(0.004, 0.12, 24):
        trainer = make()
        after = []
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, delay)
        try:
            history = trainer.fit(X, y, epochs=1, callbacks=[Listener()])
        except KeyboardInterrupt:
            continue  # before training began
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert trainer.mlp.params.tobytes() == known[trainer.n_steps]
        if history.stop_reason == "interrupted":
            assert trainer._position[1] == trainer.n_steps
            within += trainer.n_steps > len(after)
    assert within > 0, "no signal came within a step"


@pytest.mark.parametrize("listening", ["to nothing", "to epochs", "to minibatches"])
def test_ctrl_c_at_any_line_keeps_history_and_network_together(listening, data):
    """A signal arrives between any two lines of Python: every one of them is tried."""

    class ToEpochs(fm.Callback):
        def on_epoch_end(self, trainer):
            pass

    class ToMinibatches(fm.Callback):
        def on_batch_end(self, trainer, loss):
            pass

    options = {
        "to nothing": {},
        "to epochs": {"callbacks": [ToEpochs()], "validation_data": data},
        "to minibatches": {"callbacks": [ToMinibatches()]},
    }[listening]
    # All the states that whole minibatches lead to.
    trajectory = []

    class Recorder(fm.Callback):
        def on_batch_end(self, trainer, loss):
            trajectory.append(trainer.mlp.params.tobytes())

    by_hand = make_trainer(batch_size=25)
    trajectory.append(by_hand.mlp.params.tobytes())
    by_hand.fit(*data, epochs=2, callbacks=[Recorder()])

    n, finished = 0, False
    reasons = set()
    while not finished:
        n += 1
        trainer = make_trainer(batch_size=25)
        interrupt = InterruptAtLine(n)
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            reasons.add(trainer.fit(*data, epochs=2, **options).stop_reason)
        except KeyboardInterrupt:
            reasons.add("raised")
        finally:
            sys.settrace(before)
        finished = interrupt.left > 0
        lengths = {len(column) for column in trainer.history.values()}
        assert lengths == {trainer.epoch}, f"interrupted at line {n}"
        assert trainer.mlp.params.tobytes() in trajectory
        assert trainer.fit(*data, epochs=1).stop_reason == "epochs"
        assert len(trainer.history["loss"]) == trainer.epoch
    assert n > 50
    assert {"interrupted", "epochs"} <= reasons


# ---- what could make compiled code write where it must not: each in a process of its own

TRAINED = """
rng = np.random.default_rng(0)
X, y = rng.normal(size=(40, 3)), np.arange(40) % 2
mlp = fm.MLP([3, 4, 2], output="softmax", seed=0)
"""


def test_class_numbers_that_change_during_training_are_refused():
    """They are the user's memory: a file that is mapped may change at any time."""
    run_child(f"""{TRAINED}
class Spoil(fm.Callback):
    def on_epoch_end(self, trainer):
        y[7] = 10**6

class SpoilByBatch(Spoil):
    def on_batch_end(self, trainer, loss):
        pass

for callback in (Spoil(), SpoilByBatch()):
    y[7] = 0
    trainer = fm.Trainer(mlp, batch_size=16)
    try:
        trainer.fit(X, y, epochs=20, callbacks=[callback])
    except ValueError as error:
        assert "y: row 7 holds" in str(error), error
    else:
        raise AssertionError("not refused")
    assert trainer.epoch == len(trainer.history["loss"]) == 1
    assert np.isfinite(mlp.params).all()
""")


@pytest.mark.parametrize("fit_before", [False, True])
def test_another_optimizer_in_a_trainer_is_refused_or_takes_over(fit_before):
    """After divergence one tries another: the vectors must then be those of the new one."""
    run_child(f"""{TRAINED}
trainer = fm.Trainer(mlp, optimizer="sgd", seed=0)
if {fit_before}:
    trainer.fit(X, y, epochs=2)
try:
    trainer.optimizer = fm.Adam(lr=0.01)
except AttributeError as error:
    assert "optimizer" in str(error), error
else:
    other = fm.Trainer(mlp.copy(), optimizer=fm.Adam(lr=0.01), seed=0)
    trainer.fit(X, y, epochs=2, shuffle=False)
    other.fit(X, y, epochs=2, shuffle=False)
    assert trainer.mlp.params.tobytes() == other.mlp.params.tobytes()
""")


def test_one_trainer_in_two_threads_is_refused_or_takes_turns():
    run_child(f"""{TRAINED}
trainer = fm.Trainer(mlp)
said = []

def fit():
    try:
        trainer.fit(X, y, epochs=20_000)
    except RuntimeError as error:
        said.append(str(error))

workers = [threading.Thread(target=fit) for _ in range(3)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
assert all("fit" in text for text in said), said
assert trainer.epoch == len(trainer.history["loss"]) == 20_000 * (3 - len(said))
assert trainer.n_steps == 2 * trainer.epoch
""")


def test_several_trainers_of_one_network_take_turns():
    run_child(f"""{TRAINED}
trainers = [fm.Trainer(mlp, n_threads=2) for _ in range(3)]
workers = [threading.Thread(target=t.fit, args=(X, y), kwargs={{"epochs": 2000}}) for t in trainers]
for worker in workers:
    worker.start()
while any(worker.is_alive() for worker in workers):
    np.testing.assert_allclose(mlp.predict(X).sum(axis=1), 1, rtol=1e-5)
for worker in workers:
    worker.join()
for trainer in trainers:
    assert trainer.epoch == len(trainer.history["loss"]) == 2000
    assert trainer.history["loss"][-1] < trainer.history["loss"][0]
""")


# ---- validation


def test_validation_measures_without_penalties_after_every_epoch(data, rng):
    X, y = data
    Xv, yv, weight = rng.normal(size=(9, 4)), rng.normal(size=(9, 3)), rng.uniform(size=9)

    class Measure(fm.Callback):
        def __init__(self):
            self.found = []

        def on_epoch_end(self, trainer):
            options = {"metrics": ["mse", "r2"], "sample_weight": weight}
            self.found.append(trainer.mlp.evaluate(Xv, yv, **options))

    trainer, unwatched = make_trainer(l2=0.5), make_trainer(l2=0.5)
    measure = Measure()
    history = trainer.fit(
        X,
        y,
        epochs=4,
        validation_data=(Xv, yv, weight),
        metrics=["mse", "r2"],
        callbacks=[measure],
    )
    assert [history["val_loss"], history["val_mse"], history["val_r2"]] == [
        [numbers[name] for numbers in measure.found] for name in ("loss", "mse", "r2")
    ]
    # Without a penalty: the loss is the metric.
    assert history["val_loss"] == pytest.approx(history["val_mse"], rel=1e-14)
    unwatched.fit(X, y, epochs=4)
    assert trainer.mlp.params.tobytes() == unwatched.mlp.params.tobytes()
    assert history["loss"] == unwatched.history["loss"]


# ---- printing


def test_verbose_prints_a_line_on_up_to_twenty_epochs(capsys, data):
    make_trainer().fit(*data, epochs=7, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", f"{i}/7"] for i in range(1, 8)]
    make_trainer().fit(*data, epochs=1000, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert 15 <= len(lines) <= 21
    assert lines[-1].startswith("epoch 1000/1000  loss ")


def test_verbose_prints_every_epoch_or_nothing(capsys, data):
    make_trainer().fit(*data, epochs=50, verbose=2)
    assert len(capsys.readouterr().out.splitlines()) == 50
    make_trainer().fit(*data, epochs=50, verbose=0)
    make_trainer().fit(*data, epochs=50)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


# ---- the loop by hand


def test_steps_in_the_wrong_order_are_refused_and_change_nothing(data):
    X, y = data
    trainer = make_trainer()

    def refused(step, message):
        before = state_of(trainer)
        with pytest.raises(RuntimeError, match=message):
            step()
        assert state_of(trainer) == before

    def compute_loss():
        trainer.compute_loss(y)

    call_forward = r"forward\(x\)"
    refused(compute_loss, rf"^compute_loss: .*call {call_forward} first")
    refused(trainer.backward, rf"^backward: .*call {call_forward} and compute_loss\(t\) first")
    refused(
        trainer.step, rf"^step: .*call {call_forward}, compute_loss\(t\) and backward\(\) first"
    )
    trainer.forward(X)
    refused(trainer.backward, r"^backward: .*call compute_loss\(t\) first")
    refused(trainer.step, "^step: ")
    compute_loss()
    refused(trainer.step, "^step: ")
    trainer.backward()
    refused(trainer.backward, "^backward: ")
    trainer.step()
    for again in (compute_loss, trainer.backward, trainer.step):
        refused(again, call_forward)
    # A whole training ends a minibatch that was begun by hand.
    trainer.forward(X)
    trainer.fit(X, y, epochs=1)
    refused(compute_loss, "^compute_loss: ")


def test_a_minibatch_that_is_refused_is_not_in_the_network(data):
    X, y = data
    trainer = make_trainer()
    trainer.forward(X)
    with pytest.raises(ValueError, match=r"^x: row 0 holds nan"):
        trainer.forward(np.full((2, 4), np.nan))
    with pytest.raises(RuntimeError, match=r"^compute_loss: .*forward\(x\) first"):
        trainer.compute_loss(y)


def test_targets_that_are_refused_leave_the_minibatch_in_the_network(data):
    X, y = data
    trainer, usual = make_trainer(), make_trainer()
    trainer.forward(X)
    for bad in (y[:-1], y[:, :2], np.full((50, 3), np.nan)):
        with pytest.raises(ValueError, match=r"^t: "):
            trainer.compute_loss(bad)
    usual.forward(X)
    assert trainer.compute_loss(y) == usual.compute_loss(y)


def test_the_loss_may_be_computed_again_with_other_targets(data):
    X, y = data
    trainer, usual = make_trainer(), make_trainer()
    trainer.forward(X)
    trainer.compute_loss(2 * y)
    trainer.compute_loss(y)
    trainer.backward()
    usual.forward(X)
    usual.compute_loss(y)
    usual.backward()
    assert trainer.grads.tobytes() == usual.grads.tobytes()


def test_forward_returns_what_predict_does(dtype, data):
    X, _ = data
    trainer = make_trainer(dtype)
    found = trainer.forward(X)
    assert found.tobytes() == trainer.mlp.predict(X).tobytes()
    kept = found.copy()
    trainer.forward(2 * X)
    np.testing.assert_array_equal(found, kept)


def test_gradients_are_overwritten_not_added(data):
    X, y = data
    trainer = make_trainer()
    grads = trainer.grads
    found = []
    for _ in range(2):
        trainer.forward(X)
        trainer.compute_loss(y)
        trainer.backward()
        found.append(trainer.grads.copy())
    assert trainer.grads is grads
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].any()


def test_gradients_changed_by_hand_are_what_step_takes(data):
    X, y = data
    trainer = make_trainer(optimizer=fm.SGD(lr=0.5))
    before = trainer.mlp.params.copy()
    trainer.forward(X)
    trainer.compute_loss(y)
    trainer.backward()
    trainer.grads[:] = 2
    trainer.step()
    np.testing.assert_array_equal(trainer.mlp.params, before - 1)


def test_read_gives_what_the_minibatch_left(data):
    X, y = data
    trainer = make_trainer()
    mlp = trainer.mlp
    with pytest.raises(RuntimeError, match=r"^read: .*forward\(x\) first"):
        trainer.read("a", 0)
    prediction = trainer.forward(X)
    with pytest.raises(RuntimeError, match=r"^read: .*backward\(\) first"):
        trainer.read("dz", 0)
    trainer.compute_loss(y)
    trainer.backward()
    z1 = X @ mlp.weights[0] + mlp.biases[0]
    dz2 = 2 * (prediction - y) / y.size
    dz1 = dz2 @ mlp.weights[1].T * (1 - np.tanh(z1) ** 2)
    expected = {
        ("x", 0): X,
        ("z", 0): z1,
        ("a", 0): np.tanh(z1),
        ("x", 1): np.tanh(z1),
        ("z", 1): prediction,
        ("a", 1): prediction,
        ("dz", 1): dz2,
        ("dz", 0): dz1,
    }
    for (what, layer), values in expected.items():
        found = trainer.read(what, layer)
        np.testing.assert_allclose(found, values, rtol=1e-11, atol=1e-13)
        found[:] = 0  # a copy
        assert trainer.read(what, layer).any()


def test_trace_is_one_step_on_a_copy(data):
    X, y = data[0][:3], data[1][:3]
    trainer = make_trainer(optimizer=fm.SGD(lr=0.1))
    mlp = trainer.mlp
    before = mlp.params.copy()
    trace = mlp.trace(X, y, optimizer=fm.SGD(lr=0.1))
    np.testing.assert_array_equal(mlp.params, before)
    trainer.forward(X)
    assert trace.loss == trainer.compute_loss(y)
    trainer.backward()
    grads = [part for layer in trace.layers for part in (layer.dw.ravel(), layer.db)]
    np.testing.assert_array_equal(np.concatenate(grads), trainer.grads)
    for i, layer in enumerate(trace.layers):
        for what in ("x", "z", "a", "dz"):
            np.testing.assert_array_equal(getattr(layer, what), trainer.read(what, i))
        np.testing.assert_array_equal(layer.w, mlp.weights[i])
    trainer.step()
    for i, layer in enumerate(trace.layers):
        np.testing.assert_array_equal(layer.new_w, mlp.weights[i])
        np.testing.assert_array_equal(layer.new_b, mlp.biases[i])
    shown = str(trace)
    assert "layer 2, forward: z = x·w + b, a = identity(z)" in shown
    for layer in trace.layers:
        for values in (layer.x, layer.z, layer.a, layer.dz, layer.dw, layer.new_w, layer.new_b):
            assert f"{values.flat[-1]: .8f}" in shown


# ---- warnings


def test_weights_that_are_all_zero_are_warned_of(data):
    mlp = fm.MLP([4, 5, 3], init="zeros")
    with pytest.warns(RuntimeWarning, match="all zero.*start from random weights") as caught:
        mlp.fit(*data, epochs=1)
    assert len(caught) == 1
    one_zero_layer = fm.MLP([4, 5, 5, 3], init=["he_normal", "zeros", "he_normal"], seed=0)
    with pytest.warns(RuntimeWarning, match="all zero"):
        one_zero_layer.fit(*data, epochs=1)


def test_one_layer_of_zeros_can_learn_and_is_not_warned_of(data):
    history = fm.MLP([4, 3], init="zeros").fit(*data, epochs=20)
    assert history["loss"][-1] < history["loss"][0]


# ---- arrays of every kind


def big_endian(a):
    return a.astype(a.dtype.newbyteorder(">"))


def strided(a):
    return np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3]


def unaligned(a):
    packed = np.zeros(len(a), [("pad", "u1"), ("row", a.dtype, a.shape[1:])])
    packed["row"] = a
    return packed["row"]


def read_only(a):
    copied = a.copy()
    copied.flags.writeable = False
    return copied


def on_disk(a, path):
    mapped = np.memmap(path, a.dtype, "w+", shape=a.shape)
    mapped[:] = a
    mapped.flush()
    return np.memmap(path, a.dtype, "r", shape=a.shape)


LAYOUTS = {
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "big-endian": big_endian,
    "unaligned": unaligned,
    "lists": lambda a: a.tolist(),
    "a subclass": lambda a: a.view(np.recarray),
}


def check_trains_alike(X, y, dtype, plain=None, **options):
    """Training on the arrays is training on plain copies of them, and leaves them as they are."""
    plain_X, plain_y = plain if plain is not None else (X, y)
    converted = [np.ascontiguousarray(np.asarray(a), dtype) for a in (plain_X, plain_y)]
    kept = [np.array(a).tobytes() for a in (X, y)]
    found = []
    for arrays in ((X, y), converted):
        trainer = make_trainer(dtype, **options)
        trainer.fit(*arrays, epochs=3)
        predicted = trainer.mlp.predict(arrays[0])
        trainer.forward(arrays[0])
        trainer.compute_loss(arrays[1])
        trainer.backward()
        found.append((state_of(trainer), predicted.tobytes()))
    assert found[0] == found[1]
    assert [np.array(a).tobytes() for a in (X, y)] == kept


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stored", ["float32", "float64", "int16"])
def test_arrays_of_any_layout(layout, stored, dtype, data):
    X, y = ((10 * a).astype(stored) for a in data)
    lay_out = LAYOUTS[layout]
    check_trains_alike(lay_out(X), lay_out(y), dtype, plain=(X, y), optimizer=fm.SGD(lr=1e-4))


def test_arrays_on_disk(tmp_path, dtype, data):
    X, y = (on_disk(a, tmp_path / name) for name, a in zip("Xy", data, strict=True))
    check_trains_alike(X, y, dtype)


def test_a_row_broadcast_without_memory(dtype):
    X = np.broadcast_to(np.arange(4.0), (50, 4))
    y = np.broadcast_to(np.float32(0.5), (50, 3))
    check_trains_alike(X, y, dtype)


@pytest.mark.parametrize(
    "stored",
    [
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("longlong", "ulonglong", "float16", "float32", "float64", "longdouble"),
        *(">i4", ">u2", ">f2", ">f8"),
    ],
)
def test_elements_of_any_type(stored, dtype, rng):
    X, y = (rng.integers(0, 3, (50, n)).astype(stored) for n in (4, 3))
    check_trains_alike(X, y, dtype)


@pytest.mark.parametrize("stored", ["bool", "uint8", "int64", "float16", "float64", ">i8"])
def test_class_numbers_of_any_type(stored, dtype, data, rng):
    X, labels = data[0], rng.integers(0, 2, 50)
    found = []
    for y in (labels.astype(stored), labels):
        mlp = fm.MLP([4, 3, 2], output="softmax", seed=0, dtype=dtype)
        history = mlp.fit(X, y, epochs=3, seed=0, validation_data=(X, y), metrics=["accuracy"])
        found.append((mlp.params.tobytes(), dict(history)))
    assert found[0] == found[1]


@pytest.mark.parametrize("stored", ["bool", "uint8", "float16", ">f4"])
def test_weights_of_any_type(stored, data, rng):
    weight = rng.integers(0, 2, 50).astype(stored)
    found = []
    for given in (weight, weight[:, None], weight.astype(np.float64), weight.tolist()):
        trainer = make_trainer()
        trainer.fit(*data, epochs=3, sample_weight=given)
        found.append(state_of(trainer))
    assert found == found[:1] * 4


def test_one_output_takes_targets_of_one_dimension(data):
    X, y = data[0], data[1][:, 0]
    found = []
    for targets in (y, y[:, None]):
        mlp = fm.MLP([4, 1], seed=0)
        mlp.fit(X, targets, epochs=3, seed=0)
        found.append(mlp.params.tobytes())
    assert found[0] == found[1]


# ---- learning


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
def test_xor_is_learned(output, dtype):
    X, y = fm.datasets.xor()
    mlp = fm.MLP([2, 8, 1], activation="tanh", output=output, seed=1, dtype=dtype)
    history = mlp.fit(X, y, optimizer=fm.Adam(lr=0.05), epochs=500, seed=0)
    assert history["loss"][-1] < 0.01
    assert (mlp.predict(X) > 0.5).astype(int).tolist() == y.tolist()


def test_digits_are_learned_with_the_settings_of_the_demo(dtype):
    (X, y), (X_test, y_test) = fm.datasets.digits()
    mlp = fm.MLP([64, 128, 10], activation="relu", output="softmax", seed=0, dtype=dtype)
    mlp.fit(X, y, optimizer=fm.Adam(lr=2e-3), epochs=40, batch_size=32, seed=0)
    assert mlp.evaluate(X_test, y_test)["accuracy"] >= 0.97


def test_fit_is_silent(data):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer().fit(*data, epochs=2, validation_data=data, metrics=["mse"])
    assert caught == []
