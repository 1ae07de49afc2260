"""The events of training: which come when, what a listener may do, and the lines of progress."""

import io
import re

import numpy as np
import pytest

import fastmlp as fm

EVENTS = [name for name in vars(fm.Callback) if name.startswith("on_")]
BY_MINIBATCH = ["on_gradient", "on_batch_end"]


@pytest.fixture
def data(rng):
    X = rng.normal(size=(50, 4))
    return X, np.tanh(X @ rng.normal(size=(4, 3)))


def make_trainer(dtype="float64", **options):
    mlp = fm.MLP([4, 7, 3], activation="tanh", seed=0, dtype=dtype)
    return fm.Trainer(mlp, **{"batch_size": 20, "seed": 1, **options})


def listener(**events):
    """A callback that overrides just the events given, each a function of the trainer."""
    methods = {
        name: lambda self, trainer, *loss, act=act: act(trainer, *loss)
        for name, act in events.items()
    }
    return type("Listener", (fm.Callback,), methods)()


def recorder(log, name=None):
    """A callback that writes down every event, with how far training is."""

    def write(event):
        def act(trainer, *loss):
            entry = (event, trainer.epoch, trainer.n_steps)
            log.append(entry if name is None else (name, event))

        return act

    return listener(**{event: write(event) for event in EVENTS})


# ---- which come when


def test_the_events_are_these():
    assert EVENTS == [
        "on_fit_begin",
        "on_epoch_begin",
        "on_gradient",
        "on_batch_end",
        "on_epoch_end",
        "on_fit_end",
    ]


def test_every_event_comes_in_order(data):
    log = []
    trainer = make_trainer()
    callback = recorder(log)
    trainer.fit(*data, epochs=2, callbacks=[callback])
    # (event, whole epochs, updates) for 50 rows in minibatches of 20.
    expected = [("on_fit_begin", 0, 0)]
    for epoch in range(2):
        expected.append(("on_epoch_begin", epoch, 3 * epoch))
        for minibatch in range(3):
            steps = 3 * epoch + minibatch
            expected += [("on_gradient", epoch, steps), ("on_batch_end", epoch, steps + 1)]
        expected.append(("on_epoch_end", epoch + 1, 3 * epoch + 3))
    expected.append(("on_fit_end", 2, 6))
    assert log == expected

    log.clear()
    trainer.fit(*data, epochs=1, callbacks=[callback])
    assert log[0] == ("on_fit_begin", 2, 6)
    assert log[-1] == ("on_fit_end", 3, 9)
    assert len(log) == 1 + 1 + 2 * 3 + 1 + 1


@pytest.mark.parametrize("event", EVENTS)
def test_one_event_alone_comes_as_often(event, data):
    counts = {"on_fit_begin": 1, "on_epoch_begin": 5, "on_gradient": 15}
    counts |= {"on_batch_end": 15, "on_epoch_end": 5, "on_fit_end": 1}
    log = []
    make_trainer().fit(
        *data, epochs=5, callbacks=[listener(**{event: lambda *arguments: log.append(arguments)})]
    )
    assert len(log) == counts[event]


def test_callbacks_are_told_in_the_order_given(data):
    log = []
    callbacks = (recorder(log, name) for name in "ab")  # any iterable
    make_trainer(batch_size=50).fit(*data, epochs=1, callbacks=callbacks)
    assert log == [(name, event) for event in EVENTS for name in "ab"]


def test_what_an_event_sees(data):
    found = {}

    def at_begin(trainer):
        found["begin"] = (
            trainer.history.stop_reason,
            trainer.epoch_range,
            len(trainer.history["loss"]),
        )

    def at_epoch(trainer):
        found["epoch"] = trainer.history.last()
        assert len(trainer.history["val_mse"]) == trainer.epoch

    def at_end(trainer):
        found["end"] = trainer.history.stop_reason

    trainer = make_trainer()
    trainer.fit(*data, epochs=2)
    callback = listener(on_fit_begin=at_begin, on_epoch_end=at_epoch, on_fit_end=at_end)
    history = trainer.fit(
        *data, epochs=2, validation_data=data, metrics=["mse"], callbacks=[callback]
    )
    assert found["begin"] == (None, (2, 4), 2)
    assert found["epoch"] == {name: column[-1] for name, column in history.items()}
    assert set(found["epoch"]) == {"loss", "val_loss", "val_mse"}
    assert found["end"] == "epochs"


def test_batch_losses_are_the_objectives_before_the_step(data):
    X, y = data
    losses = []
    trainer = make_trainer(l2=0.1)
    callback = listener(on_batch_end=lambda trainer, loss: losses.append(loss))
    history = trainer.fit(X, y, epochs=1, shuffle=False, callbacks=[callback])
    by_hand = make_trainer(l2=0.1)
    for start, loss in zip((0, 20, 40), losses, strict=True):
        by_hand.forward(X[start : start + 20])
        assert by_hand.compute_loss(y[start : start + 20]) == loss
        by_hand.backward()
        by_hand.step()
    assert history["loss"] == [pytest.approx(np.average(losses, weights=[20, 20, 10]), rel=1e-14)]


# ---- listening changes nothing


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("l2", [0, 0.03])
@pytest.mark.parametrize("loss", ["mse", fm.HalfSquaredError(reduction="sum")], ids=str)
@pytest.mark.parametrize("batch_size", [7, 20, 32, 50])
def test_listening_changes_no_bit(event, l2, loss, batch_size, dtype, data, rng):
    options = {"dtype": dtype, "l2": l2, "loss": loss, "batch_size": batch_size}
    weight = rng.uniform(size=50)
    for optimizer in (fm.Adam(lr=0.01), fm.SGD(lr=0.01, momentum=0.9)):
        alone, heard = (make_trainer(optimizer=optimizer, **options) for _ in range(2))
        alone.fit(*data, epochs=5, sample_weight=weight)
        callback = listener(**{event: lambda *arguments: None})
        heard.fit(*data, epochs=5, sample_weight=weight, callbacks=[callback])
        assert heard.mlp.params.tobytes() == alone.mlp.params.tobytes()
        assert heard.history["loss"] == alone.history["loss"]
        assert heard.n_steps == alone.n_steps


@pytest.mark.parametrize("event", BY_MINIBATCH)
@pytest.mark.parametrize("batch_size", [300, 999, 2000])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_listening_changes_no_bit_of_large_minibatches(event, batch_size, n_threads, rng):
    """Minibatches of many chunks go through the compiled loop and the steps in other ways."""
    X, y = rng.normal(size=(2000, 4)), rng.normal(size=(2000, 3))
    found = []
    for callbacks in ([], [listener(**{event: lambda *arguments: None})]):
        trainer = make_trainer("float32", batch_size=batch_size, n_threads=n_threads)
        trainer.fit(X, y, epochs=3, callbacks=callbacks)
        found.append((trainer.mlp.params.tobytes(), trainer.history["loss"]))
    assert found[0] == found[1]


@pytest.mark.parametrize("event", BY_MINIBATCH)
def test_listening_changes_no_reason_to_stop(event, data):
    listening = [listener(**{event: lambda *arguments: None})]
    losses = make_trainer().fit(*data, epochs=20)["loss"]
    for options in ({"target_loss": losses[6]}, {"tol": 1e9, "patience": 3}):
        found = []
        for callbacks in ([], listening):
            trainer = make_trainer()
            history = trainer.fit(*data, epochs=20, callbacks=callbacks, **options)
            found.append((history.stop_reason, trainer.epoch, trainer.mlp.params.tobytes()))
        assert found[0] == found[1]
        assert found[0][0] != "epochs"


def test_class_numbers_with_a_listener_to_minibatches(rng):
    X, y = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    found = []
    for callbacks in ([], [listener(on_batch_end=lambda *arguments: None)]):
        mlp = fm.MLP([4, 5, 3], output="softmax", seed=0)
        history = mlp.fit(X, y, epochs=3, seed=0, batch_size=20, callbacks=callbacks)
        found.append((mlp.params.tobytes(), history["loss"]))
    assert found[0] == found[1]


# ---- what a listener may do


def test_zeroed_gradients_stop_learning(data):
    trainer = make_trainer(optimizer="adam", l2=0.1)
    before = trainer.mlp.params.copy()

    def zero(trainer):
        assert trainer.grads.any()
        trainer.grads[:] = 0

    trainer.fit(*data, epochs=3, callbacks=[listener(on_gradient=zero)])
    np.testing.assert_array_equal(trainer.mlp.params, before)


def test_gradients_may_be_changed_in_place(data):
    """Half the gradient is half the rate, exactly."""

    def halve(trainer):
        trainer.grads *= 0.5

    halved = make_trainer(optimizer=fm.SGD(lr=0.25))
    halved.fit(*data, epochs=3, callbacks=[listener(on_gradient=halve)])
    usual = make_trainer(optimizer=fm.SGD(lr=0.125))
    usual.fit(*data, epochs=3)
    np.testing.assert_array_equal(halved.mlp.params, usual.mlp.params)


def test_parameters_may_be_changed_between_epochs(data):
    def reset(trainer):
        trainer.mlp.params[:] = start

    trainer = make_trainer(optimizer="sgd", batch_size=50)
    start = trainer.mlp.params.copy()
    history = trainer.fit(
        *data, epochs=3, shuffle=False, callbacks=[listener(on_epoch_begin=reset)]
    )
    assert history["loss"] == history["loss"][:1] * 3


@pytest.mark.parametrize(
    ("event", "epochs", "steps"),
    [
        ("on_fit_begin", 0, 0),
        ("on_epoch_begin", 0, 0),
        ("on_gradient", 1, 1),  # the step is taken, and the epoch ends there
        ("on_batch_end", 1, 1),
        ("on_epoch_end", 1, 3),
    ],
)
def test_stop_ends_training_after_the_event(event, epochs, steps, data):
    log = []
    stopper = listener(**{event: lambda trainer, *loss: trainer.stop()})
    trainer = make_trainer()
    history = trainer.fit(*data, epochs=10, callbacks=[stopper, recorder(log)])
    assert history.stop_reason == "early_stopping"
    assert trainer.epoch == len(history["loss"]) == epochs
    assert trainer.n_steps == steps
    assert np.isfinite(history["loss"]).all()
    assert log[-1] == ("on_fit_end", epochs, steps)
    # The next call is not stopped, and begins with a whole epoch.
    assert trainer.fit(*data, epochs=2).stop_reason == "epochs"
    assert trainer.epoch == len(history["loss"]) == epochs + 2
    assert trainer.n_steps == steps + 2 * 3


def test_an_epoch_stopped_early_has_the_loss_of_the_rows_seen(data):
    losses = []

    def stop_after_two(trainer, loss):
        losses.append(loss)
        if len(losses) == 2:
            trainer.stop()

    history = make_trainer().fit(*data, callbacks=[listener(on_batch_end=stop_after_two)])
    assert history["loss"] == [pytest.approx(np.mean(losses), rel=1e-14)]


def test_stop_in_a_later_epoch(data):
    def stop_at_three(trainer):
        if trainer.epoch == 3:
            trainer.stop()

    history = make_trainer().fit(
        *data, validation_data=data, callbacks=[listener(on_epoch_end=stop_at_three)]
    )
    assert history.stop_reason == "early_stopping"
    assert len(history["loss"]) == len(history["val_loss"]) == 3


def test_stop_at_the_end_does_not_stop_the_next_call(data):
    trainer = make_trainer()
    stopper = listener(on_fit_end=lambda trainer: trainer.stop())
    assert trainer.fit(*data, epochs=2, callbacks=[stopper]).stop_reason == "epochs"
    assert trainer.fit(*data, epochs=2).stop_reason == "epochs"
    assert trainer.epoch == 4


class CallbackError(Exception):
    pass


@pytest.mark.parametrize("event", EVENTS)
def test_exceptions_reach_the_caller_and_leave_the_trainer_usable(event, data):
    calls = []

    def fail_the_second_time(trainer, *loss):
        calls.append(event)
        if len(calls) == 2 or event in ("on_fit_begin", "on_fit_end"):
            raise CallbackError

    trainer = make_trainer()
    failing = listener(**{event: fail_the_second_time})
    with pytest.raises(CallbackError):
        trainer.fit(*data, epochs=4, validation_data=data, callbacks=[failing])
    epochs = trainer.epoch
    assert epochs == {"on_epoch_begin": 1, "on_epoch_end": 2, "on_fit_end": 4}.get(event, 0)
    assert len(trainer.history["loss"]) == epochs
    assert np.isfinite(trainer.mlp.predict(data[0])).all()

    # The next call trains whole epochs from where the network is, as any other trainer would.
    twin = fm.Trainer(trainer.mlp.copy(), batch_size=20, seed=1)
    twin._state[:] = trainer._state
    twin._position[:] = trainer._position
    for each in (trainer, twin):
        assert each.fit(*data, epochs=2).stop_reason == "epochs"
    assert trainer.epoch == len(trainer.history["loss"]) == epochs + 2
    assert trainer.mlp.params.tobytes() == twin.mlp.params.tobytes()
    assert trainer.history["loss"][-2:] == twin.history["loss"][-2:]


def test_exceptions_in_a_metric_reach_the_caller(data):
    calls = []

    def failing_metric(y, prediction):
        calls.append(1)
        if len(calls) > 2:
            raise CallbackError
        return 0.0

    trainer = make_trainer()
    with pytest.raises(CallbackError):
        trainer.fit(*data, epochs=9, validation_data=data, metrics=[failing_metric])
    history = trainer.fit(*data, epochs=1)
    assert {len(column) for column in history.values()} == {trainer.epoch}


# ---- lines of progress


def lines_of(data, epochs, lines=20, **options):
    file = io.StringIO()
    trainer = make_trainer()
    progress = fm.Progress(lines=lines, file=file)
    trainer.fit(*data, epochs=epochs, callbacks=[progress], **options)
    return trainer, file.getvalue().splitlines()


def test_a_line_says_epoch_numbers_and_seconds(data):
    trainer, lines = lines_of(data, 12, validation_data=data, metrics=["mse"])
    assert len(lines) == 12
    numbers = trainer.history.last()
    expected = "epoch 12/12  " + "  ".join(f"{name} {v:.4g}" for name, v in numbers.items())
    assert re.fullmatch(re.escape(expected) + r"  \d+\.\d s", lines[-1])
    assert lines[0].startswith("epoch  1/12  loss ")


@pytest.mark.parametrize(
    ("epochs", "lines", "printed"),
    [
        (20, 20, range(1, 21)),
        (21, 20, [*range(2, 21, 2), 21]),
        (100, 20, range(5, 101, 5)),
        (7, 3, [3, 6, 7]),
        (5, 1, [5]),
        (1, 20, [1]),
    ],
)
def test_lines_are_spread_over_the_epochs_and_the_last_is_there(epochs, lines, printed, data):
    _, found = lines_of(data, epochs, lines)
    assert [int(line.split()[1].split("/")[0]) for line in found] == list(printed)


def test_the_last_epoch_and_the_reason_are_printed_when_training_stops(data):
    losses = make_trainer().fit(*data, epochs=50)["loss"]
    trainer, lines = lines_of(data, 50, 5, target_loss=losses[12])
    assert [line.split()[1] for line in lines] == ["10/50", "13/50", "target_loss"]
    assert lines[-1] == "stopped: target_loss"
    assert trainer.epoch == 13
    # Not twice where the last epoch's line came anyway.
    _, lines = lines_of(data, 50, 5, target_loss=losses[9])
    assert [line.split()[1] for line in lines] == ["10/50", "target_loss"]


def test_a_stop_before_the_first_epoch_prints_the_reason_alone(data, capsys):
    stopper = listener(on_fit_begin=lambda trainer: trainer.stop())
    make_trainer().fit(*data, callbacks=[stopper], verbose=1)
    assert capsys.readouterr().out == "stopped: early_stopping\n"


def test_lines_count_on_in_a_second_call(data, capsys):
    trainer = make_trainer()
    trainer.fit(*data, epochs=2, verbose=1)
    trainer.fit(*data, epochs=2, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1/2", "2/2", "3/4", "4/4"]


def test_lines_of_a_second_call_are_spread_over_that_call(data):
    trainer = make_trainer()
    trainer.fit(*data, epochs=3)
    file = io.StringIO()
    trainer.fit(*data, epochs=4, callbacks=[fm.Progress(lines=2, file=file)])
    assert [line.split()[1] for line in file.getvalue().splitlines()] == ["5/7", "7/7"]


# ---- the bar of tqdm


@pytest.fixture
def tqdm():
    return pytest.importorskip("tqdm", reason="tqdm is not installed")


def bar_of(data, epochs, **options):
    file = io.StringIO()
    trainer = make_trainer()
    # Drawn at every epoch, however fast they are.
    bar = fm.ProgressBar(file=file, mininterval=0, ncols=200)
    trainer.fit(*data, epochs=epochs, callbacks=[bar], **options)
    return trainer, re.split(r"[\r\n]+", file.getvalue().strip())


@pytest.mark.usefixtures("tqdm")
def test_the_bar_counts_epochs_and_shows_numbers(data):
    trainer, drawn = bar_of(data, 8, validation_data=data)
    assert re.search(r"\b0/8 ", drawn[0])
    assert re.search(r"\b8/8 ", drawn[-1])
    numbers = trainer.history.last()
    for name in ("loss", "val_loss"):
        assert f"{name}={numbers[name]:.4g}" in drawn[-1]


@pytest.mark.usefixtures("tqdm")
def test_the_bar_stands_where_training_stopped(data):
    losses = make_trainer().fit(*data, epochs=20)["loss"]
    _, drawn = bar_of(data, 20, target_loss=losses[6])
    assert re.search(r"\b7/20 ", drawn[-1])


@pytest.mark.usefixtures("tqdm")
def test_the_bar_of_a_second_call_counts_that_call(data):
    trainer = make_trainer()
    trainer.fit(*data, epochs=3)
    file = io.StringIO()
    trainer.fit(*data, epochs=5, callbacks=[fm.ProgressBar(file=file, mininterval=0)])
    assert "5/5" in file.getvalue()
    assert "8/" not in file.getvalue()
