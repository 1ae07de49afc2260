"""Checkpoints: training that is killed and resumed gives the bits of one that is not."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from safetensors import safe_open

import fastmlp as fm
from fastmlp import serialization


class InterruptionError(Exception):
    """Ends a training from a callback, as a crash would."""


class EndAfterEpoch(fm.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, trainer):
        if trainer.epoch == self.epoch:
            raise InterruptionError


class SaveAndEnd(fm.Callback):
    """Saves after so many minibatches, in the middle of an epoch, and ends."""

    def __init__(self, path, minibatches):
        self.path, self.left = path, minibatches

    def on_batch_end(self, trainer, loss):
        self.left -= 1
        if self.left == 0:
            trainer.save_checkpoint(self.path)
            raise InterruptionError


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(0, 1, (500, 6)).astype(np.float32)
    return X, (X[:, 0] * X[:, 1] > 0) + (X[:, 2] > 0.5).astype(np.int64)


def own_factor(step, epoch):
    return 1 / (1 + 0.1 * epoch)


OPTIMIZERS = {
    "sgd": fm.SGD(0.05, momentum=0.9, nesterov=True),
    "adamw": fm.AdamW(3e-3),
    "nadam": fm.Nadam(),
    "rmsprop": fm.RMSprop(1e-3, momentum=0.5, centered=True),
    "adagrad": fm.Adagrad(0.05),
}
SCHEDULES = {
    "constant": None,
    "warm-up and cosine": fm.Warmup(fm.Cosine(), epochs=2),
    "one cycle": fm.OneCycle(),
    "plateau": fm.OnPlateau(metric="val_loss", patience=1, threshold=0.05),
}
NETWORKS = {
    "plain": {},
    "dropout": {"dropout": 0.2, "input_dropout": 0.1},
    "batch": {"normalization": "batch", "dropout": [0.2, 0]},
    "layer": {"normalization": "layer", "scale": "standard"},
}


def make_trainer(network="plain", optimizer="adamw", schedule=None, **options):
    mlp = fm.MLP([6, 16, 8, 3], output="softmax", seed=0, **NETWORKS[network])
    return fm.Trainer(
        mlp,
        optimizer=OPTIMIZERS[optimizer],
        schedule=SCHEDULES.get(schedule, schedule),
        batch_size=32,
        seed=5,
        **options,
    )


FIT = {"epochs": 9, "validation_split": 0.2, "metrics": ["accuracy"]}


def state(trainer):
    """Everything that training has made, as bytes and plain numbers."""
    return (
        trainer.mlp.params.tobytes(),
        {name: buffer.tobytes() for name, buffer in trainer.mlp.buffers.items()},
        trainer._state.tobytes(),
        trainer.n_steps,
        trainer.epoch,
        trainer.epoch_range,
        {name: list(column) for name, column in trainer.history.items()},
        trainer.history.stop_reason,
    )


CASES = [
    *(("plain", optimizer, "constant") for optimizer in OPTIMIZERS),
    *(("plain", "adamw", schedule) for schedule in SCHEDULES),
    *((network, "sgd", "warm-up and cosine") for network in NETWORKS),
]


@pytest.mark.parametrize(("network", "optimizer", "schedule"), CASES)
@pytest.mark.parametrize("where", ["between epochs", "within an epoch"])
def test_a_resumed_training_is_one_that_was_not_interrupted(
    tmp_path, data, network, optimizer, schedule, where
):
    whole = make_trainer(network, optimizer, schedule)
    whole.fit(*data, **FIT)

    path = tmp_path / "run.ckpt"
    cut = make_trainer(network, optimizer, schedule)
    how = (
        {"checkpoint": path, "callbacks": [EndAfterEpoch(5)]}
        if where == "between epochs"
        else {"callbacks": [SaveAndEnd(path, 40)]}
    )
    with pytest.raises(InterruptionError):
        cut.fit(*data, **FIT, **how)
    resumed = fm.Trainer.resume(path)
    assert resumed.epoch in (3, 4), "otherwise nothing is left to be done"
    resumed.fit(*data)
    assert state(resumed) == state(whole)
    # And it goes on alike.
    for trainer in (whole, resumed):
        trainer.fit(*data, **FIT | {"epochs": 2})
    assert state(resumed) == state(whole)


@pytest.mark.parametrize("where", ["between epochs", "within an epoch"])
def test_penalties_stay_divided_by_rows(tmp_path, data, where):
    penalties = {"l1": 0.02, "l2": 0.1}
    whole, cut, undivided = (
        make_trainer(**penalties, penalties_over_rows=given) for given in (True, np.True_, False)
    )
    for trainer in (whole, undivided):
        trainer.fit(*data, **FIT)
    assert whole.history["loss"][-1] < 0.9 * undivided.history["loss"][-1]
    path = tmp_path / "run.ckpt"
    how = (
        {"checkpoint": path, "callbacks": [EndAfterEpoch(5)]}
        if where == "between epochs"
        else {"callbacks": [SaveAndEnd(path, 40)]}
    )
    with pytest.raises(InterruptionError):
        cut.fit(*data, **FIT, **how)
    resumed = fm.Trainer.resume(path)
    assert resumed.penalties_over_rows is True
    resumed.fit(*data)
    assert state(resumed) == state(whole)


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ({"early_stopping": fm.EarlyStopping("val_accuracy", patience=3)}, "early_stopping"),
        ({"tol": 10.0, "patience": 7}, "converged"),
        ({"target_loss": 0.9}, "target_loss"),
    ],
)
def test_what_ends_a_training_is_resumed_too(tmp_path, data, stop, reason):
    """Patience goes on where it stood, and the best network so far is still there."""
    options = {**FIT, "epochs": 60, **stop}
    whole = make_trainer()
    whole.fit(*data, **options)
    assert whole.history.stop_reason == reason
    assert whole.epoch >= 6
    cut = make_trainer()
    with pytest.raises(InterruptionError):
        cut.fit(*data, **options, checkpoint=tmp_path / "a", callbacks=[EndAfterEpoch(6)])
    resumed = fm.Trainer.resume(tmp_path / "a")
    resumed.fit(*data)
    assert state(resumed) == state(whole)


def test_callbacks_and_own_schedules_are_given_again(tmp_path, data):
    heard = []

    class Listen(fm.Callback):
        def on_epoch_end(self, trainer):
            heard.append(trainer.epoch)

    whole = make_trainer(schedule=own_factor)
    whole.fit(*data, **FIT)
    cut = make_trainer(schedule=own_factor)
    with pytest.raises(InterruptionError):
        cut.fit(*data, **FIT, checkpoint=tmp_path / "a", callbacks=[EndAfterEpoch(4)])
    with pytest.raises(ValueError, match=r"schedule: .* function of your own"):
        fm.Trainer.resume(tmp_path / "a")
    resumed = fm.Trainer.resume(tmp_path / "a", schedule=own_factor, callbacks=[Listen()])
    resumed.fit(*data)
    assert heard == [4, 5, 6, 7, 8, 9]
    assert state(resumed) == state(whole)
    named = make_trainer()
    named.save_checkpoint(tmp_path / "b")
    with pytest.raises(ValueError, match=r"schedule: got one, but .* holds its own"):
        fm.Trainer.resume(tmp_path / "b", schedule=own_factor)


def changed(data, what):
    X, y = (array.copy() for array in data)
    if what == "a number":
        X[499, 5] += 1e-3
    elif what == "a class":
        y[0] = (y[0] + 1) % 3
    elif what == "the type":
        X = X.astype(np.float64)
    elif what == "a row less":
        X, y = X[:-1], y[:-1]
    elif what == "the order":
        X, y = X[::-1], y[::-1]
    return X, y


@pytest.mark.parametrize(
    "what", ["a number", "a class", "the type", "a row less", "the order", "weights"]
)
def test_other_data_are_refused(tmp_path, data, what):
    cut = make_trainer()
    with pytest.raises(InterruptionError):
        cut.fit(*data, **FIT, checkpoint=tmp_path / "a", callbacks=[EndAfterEpoch(4)])
    resumed = fm.Trainer.resume(tmp_path / "a")
    before = state(resumed)
    weights = np.ones(500) if what == "weights" else None
    with pytest.raises(ValueError, match="X: not the rows, targets and weights"):
        resumed.fit(*changed(data, what), sample_weight=weights)
    assert state(resumed) == before
    resumed.fit(*changed(data, what), epochs=1)  # a new training may have others


def test_other_settings_for_the_rest_are_refused(tmp_path, data):
    cut = make_trainer()
    with pytest.raises(InterruptionError):
        cut.fit(*data, **FIT, checkpoint=tmp_path / "a", callbacks=[EndAfterEpoch(4)])
    resumed = fm.Trainer.resume(tmp_path / "a")
    with pytest.raises(ValueError, match=r"shuffle: got False, expected True, with which"):
        resumed.fit(*data, shuffle=False)
    with pytest.raises(ValueError, match=r"target_loss: got 0.1, expected None, with which"):
        resumed.fit(*data, target_loss=0.1)


def test_a_trainer_that_was_not_interrupted_begins_anew(tmp_path, data):
    trainer = make_trainer()
    trainer.fit(*data, **FIT, checkpoint=tmp_path / "a")
    resumed = fm.Trainer.resume(tmp_path / "a")
    assert state(resumed) == state(trainer)
    resumed.fit(*data, epochs=3)
    trainer.fit(*data, epochs=3)
    assert state(resumed) == state(trainer)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_threads_may_change(tmp_path, data, n_threads):
    whole = make_trainer("batch", n_threads=2)
    whole.fit(*data, **FIT)
    cut = make_trainer("batch", n_threads=2)
    with pytest.raises(InterruptionError):
        cut.fit(*data, **FIT, checkpoint=tmp_path / "a", callbacks=[EndAfterEpoch(4)])
    resumed = fm.Trainer.resume(tmp_path / "a", n_threads=n_threads)
    resumed.fit(*data)
    assert state(resumed) == state(whole)


def test_a_damaged_checkpoint_is_refused(tmp_path, data):
    trainer = make_trainer("batch")
    trainer.fit(*data, epochs=2)
    path = tmp_path / "a"
    trainer.save_checkpoint(path)
    content = path.read_bytes()
    for cut in (0, 7, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"a: .*(not a whole|damaged|not of ours)"):
            fm.Trainer.resume(path)
    rng = random.Random(0)
    for _ in range(60):
        at = rng.randrange(len(content))
        path.write_bytes(
            content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
        )
        with pytest.raises(ValueError, match=r"a: |schedule: "):
            fm.Trainer.resume(path)
    path.write_bytes(content)
    assert state(fm.Trainer.resume(path)) == state(trainer)


def test_a_model_is_no_checkpoint(tmp_path):
    fm.MLP([2, 1], seed=0).save(tmp_path / "model")
    with pytest.raises(ValueError, match="not of ours; expected a checkpoint"):
        fm.Trainer.resume(tmp_path / "model")
    make_trainer().save_checkpoint(tmp_path / "a")
    with pytest.raises(ValueError, match="not of ours; expected a model"):
        fm.load(tmp_path / "a")


# ---- kill -9

KILLS = 20
SCRIPT = """
    import hashlib, os, sys
    import numpy as np
    import fastmlp as fm
    from fastmlp import serialization

    path, out = sys.argv[1:]
    write = serialization.write_whole

    def say_and_write(*arguments):
        os.write(1, b"(")
        write(*arguments)
        os.write(1, b")")

    serialization.write_whole = say_and_write
    rng = np.random.default_rng(0)
    X = rng.normal(0, 1, (20_000, 30)).astype(np.float32)
    y = (X[:, :3].sum(axis=1) > 0).astype(np.int64)
    if os.path.exists(path):
        trainer = fm.Trainer.resume(path)
        epochs = None
    else:
        mlp = fm.MLP([30, 64, 64, 2], output="softmax", normalization=["batch", None],
                     dropout=[0, 0.2], seed=0)
        trainer = fm.Trainer(mlp, optimizer=fm.SGD(0.01, momentum=0.9), schedule="cosine",
                             batch_size=64, seed=1)
        epochs = 250
    checkpoint = fm.Checkpoint(path, seconds=0.02)
    if not os.path.exists(path) or trainer._unfinished is not None:
        trainer.fit(X, y, epochs=epochs, checkpoint=checkpoint, metrics=["accuracy"],
                    validation_split=0.1)
    digest = hashlib.sha256(trainer.mlp.params.tobytes() + trainer._state.tobytes())
    digest.update(repr({name: list(c) for name, c in trainer.history.items()}).encode())
    with open(out, "w") as file:
        file.write(digest.hexdigest())
"""


def test_killed_at_any_moment(tmp_path):
    """Twenty times SIGKILL, a third of them while the file is being written."""
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def start(name):
        command = [
            sys.executable,
            "-P",
            script,
            tmp_path / f"{name}.ckpt",
            tmp_path / f"{name}.sum",
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    with start("whole") as undisturbed:
        undisturbed.communicate()
    assert undisturbed.returncode == 0
    rng = random.Random(0)
    in_a_write = kills = 0
    while kills < KILLS:
        process = start("killed")
        process.stdout.read(1)  # it trains, and begins to write
        if kills % 2:
            time.sleep(rng.uniform(0, 0.15))
        else:
            # So soon after the beginning of a write that it has not ended.
            time.sleep(rng.uniform(0, 0.0005))
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read()
        process.wait()
        process.stdout.close()
        assert not (tmp_path / "killed.sum").exists(), "it ended before it could be killed"
        in_a_write += (b"(" + said).count(b"(") > said.count(b")")
        kills += 1
    assert in_a_write * 3 >= kills
    with start("killed") as last:
        last.communicate()
    assert last.returncode == 0
    assert (tmp_path / "killed.sum").read_text() == (tmp_path / "whole.sum").read_text()
    leftovers = [name for name in os.listdir(tmp_path) if name.startswith(".fastmlp-")]
    assert len(leftovers) <= in_a_write, "each kill leaves one file at most"


def test_a_history_with_gaps_is_saved_while_training_goes_on(tmp_path, data):
    """The second call measures nothing that the first one did."""
    whole, parts = make_trainer(), make_trainer()
    for trainer in (whole, parts):
        trainer.fit(*data, epochs=2, validation_data=data)
    whole.fit(*data, epochs=4)
    with pytest.raises(InterruptionError):
        parts.fit(*data, epochs=4, checkpoint=tmp_path / "run", callbacks=[EndAfterEpoch(5)])
    resumed = fm.Trainer.resume(tmp_path / "run")
    resumed.fit(*data)
    assert resumed.mlp.params.tobytes() == whole.mlp.params.tobytes()
    for name, column in whole.history.items():
        np.testing.assert_array_equal(resumed.history[name], column)


def test_a_function_within_a_schedule_is_given_again(tmp_path, data):
    schedule = fm.Warmup(own_factor, epochs=1)
    whole, parts = (make_trainer(schedule=schedule) for _ in range(2))
    whole.fit(*data, epochs=5)
    with pytest.raises(InterruptionError):
        parts.fit(*data, epochs=5, checkpoint=tmp_path / "run", callbacks=[EndAfterEpoch(3)])
    with pytest.raises(ValueError, match=r"schedule: .* was trained with a function of your own"):
        fm.Trainer.resume(tmp_path / "run")
    resumed = fm.Trainer.resume(tmp_path / "run", schedule=schedule)
    resumed.fit(*data)
    assert resumed.mlp.params.tobytes() == whole.mlp.params.tobytes()


def test_a_stream_goes_on_where_it_was_interrupted(tmp_path, data):
    X, y = data
    minibatches = [(X[i : i + 50], y[i : i + 50]) for i in range(0, 500, 50)]
    whole, parts = make_trainer("batch"), make_trainer("batch")
    whole.fit(minibatches, epochs=3)
    with pytest.raises(InterruptionError):
        parts.fit(minibatches, epochs=3, callbacks=[SaveAndEnd(tmp_path / "run", 13)])
    resumed = fm.Trainer.resume(tmp_path / "run")
    resumed.fit(minibatches)
    assert resumed.mlp.params.tobytes() == whole.mlp.params.tobytes()
    assert resumed.n_steps == whole.n_steps == 30
    assert resumed.history["loss"] == whole.history["loss"]


def test_half_a_minibatch_is_not_saved(tmp_path, data):
    class SaveInBetween(fm.Callback):
        def on_gradient(self, trainer):
            trainer.save_checkpoint(tmp_path / "run")

    with pytest.raises(RuntimeError, match="save_checkpoint: a minibatch is half done"):
        make_trainer("batch").fit(*data, epochs=1, callbacks=[SaveInBetween()])
    assert os.listdir(tmp_path) == []


def test_a_diverging_training_with_checkpoints_goes_back(tmp_path, data):
    """It may be time to save just between an update that overflows and the next minibatch."""
    trainer = make_trainer(optimizer="sgd")
    trainer = fm.Trainer(trainer.mlp, optimizer=fm.SGD(3e38), batch_size=250, loss=trainer.loss)
    before = trainer.mlp.params.copy()
    checkpoint = fm.Checkpoint(tmp_path / "run", seconds=0)
    with pytest.warns(RuntimeWarning, match="diverged"):
        history = trainer.fit(*data, epochs=3, checkpoint=checkpoint)
    assert history.stop_reason == "diverged"
    np.testing.assert_array_equal(trainer.mlp.params, before)


@pytest.mark.parametrize(
    ("checkpoint", "error", "said"),
    [
        ("missing/run", FileNotFoundError, "checkpoint: the folder .*missing does not exist"),
        (".", IsADirectoryError, "checkpoint: . is a folder"),
        (5, TypeError, "checkpoint: got 5, expected the path of a file"),
    ],
)
def test_where_nothing_can_be_saved_training_does_not_begin(
    checkpoint, error, said, data, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    trainer = make_trainer()
    before = trainer.mlp.params.copy()
    with pytest.raises(error, match=said):
        trainer.fit(*data, epochs=1, checkpoint=checkpoint)
    np.testing.assert_array_equal(trainer.mlp.params, before)


def test_a_loss_of_the_users_own_is_not_saved(data, tmp_path):
    class Own(fm.CrossEntropy):
        pass

    trainer = fm.Trainer(make_trainer().mlp, loss=Own())
    with pytest.raises(TypeError, match=r"loss: got .*Own.*, expected one of the package's"):
        trainer.fit(*data, epochs=1, checkpoint=tmp_path / "run")
    assert trainer.epoch == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schedule", "[" * 100_000),
        ("schedule", '{"type": "Warmup", "after": ' * 2000 + "null" + "}" * 2000),
        ("epoch_range", "[1]"),
        ("epoch_range", '["a", 2]'),
        ("batch_size", "0"),
        ("l1", '"much"'),
        ("penalties_over_rows", '"yes"'),
        ("penalties_over_rows", "1"),
        ("seed", '"-1"'),
        ("seed", "[]"),
        ("optimizer", '{"type": "LevenbergMarquardt", "damping": 0.1}'),
        ("optimizer", '{"type": "Adam", "lr": 1e999}'),
        ("loss", '{"type": "Poisson"}'),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_with_the_path(name, value, tmp_path):
    """Their checksum is right: somebody has made such a file."""
    path = tmp_path / "run"
    make_trainer().save_checkpoint(path)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    del metadata["checksum"]
    serialization.write_file(path, tensors, metadata | {name: value})
    with pytest.raises(ValueError, match=r"/run: .*damaged") as caught:
        fm.Trainer.resume(path)
    assert len(str(caught.value)) < 3000


def test_other_validation_data_are_refused(tmp_path, data):
    options = {"epochs": 9, "early_stopping": "val_loss"}
    cut = make_trainer()
    with pytest.raises(InterruptionError):
        cut.fit(
            *data, **options, validation_data=data, checkpoint=tmp_path / "a",
            callbacks=[EndAfterEpoch(4)],
        )  # fmt: skip
    resumed = fm.Trainer.resume(tmp_path / "a")
    with pytest.raises(ValueError, match="X: not the rows, targets and weights"):
        resumed.fit(*data, validation_data=changed(data, "a number"))
    resumed.fit(*data, validation_data=data)
    assert resumed.epoch == 9
