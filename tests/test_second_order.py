"""Trainings by curvature: Levenberg-Marquardt in the kernels, L-BFGS over their gradient."""

import math
import threading

import numpy as np
import pytest

import fastmlp as fm
from bench import second_order
from fastmlp import losses, optimizers

MARQUARDT = "levenberg_marquardt"


def regression(n=40, n_in=3, n_out=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_in))
    return X, np.tanh(X @ rng.normal(size=(n_in, n_out))) + 0.1 * rng.normal(size=(n, n_out))


def network(sizes=(3, 6, 2), seed=0, dtype="float64", **options):
    return fm.MLP(sizes, **{"activation": "tanh", "seed": seed, "dtype": dtype, **options})


def make_trainer(sizes=(3, 6, 2), loss="mse", optimizer=MARQUARDT, **options):
    of_network = {name: options.pop(name) for name in ("seed", "dtype", "scale") if name in options}
    return fm.Trainer(network(sizes, **of_network), loss=loss, optimizer=optimizer, **options)


def listener(**events):
    """A callback that overrides just the events given, each a function of the trainer."""
    methods = {
        name: lambda self, trainer, *loss, act=act: act(trainer) for name, act in events.items()
    }
    return type("Listener", (fm.Callback,), methods)()


# ---- what Levenberg-Marquardt takes


def test_the_limit_of_parameters_is_stated_and_kept():
    assert optimizers.MOST_PARAMS == 4096
    assert "at most 4,096 parameters" in " ".join(fm.LevenbergMarquardt.__doc__.split())
    # 3 h + 1 parameters.
    assert make_trainer((1, 1365, 1)).mlp.n_params == 4096
    with pytest.raises(ValueError, match=r"^optimizer: .* 4,099 parameters, .* at most 4,096; use"):
        make_trainer((1, 1366, 1))


OTHER_LOSSES = [name for name in losses.LOSSES if name not in ("mse", "half_squared_error")]


@pytest.mark.parametrize(
    ("of_network", "of_trainer", "message"),
    [
        ({"dtype": "float32"}, {}, r"optimizer: .*float32.*make the network with dtype='float64'"),
        *(
            (
                {"output": losses.LOSSES[name].outputs[0]},
                {"loss": name},
                rf"optimizer: .* with loss '{name}', expected 'mse' or 'half_squared_error'",
            )
            for name in OTHER_LOSSES
        ),
        ({"normalization": "batch"}, {}, r"optimizer: .*normalization or dropout, expected plain"),
        ({"normalization": "layer"}, {}, r"optimizer: .*normalization or dropout, expected plain"),
        ({"dropout": 0.1}, {}, r"optimizer: .*normalization or dropout, expected plain"),
        ({"input_dropout": 0.1}, {}, r"optimizer: .*normalization or dropout, expected plain"),
        ({}, {"l1": 0.1}, r"l1: got 0.1, expected none with Levenberg-Marquardt"),
        ({}, {"penalties_over_rows": True}, r"penalties_over_rows: got True, expected none"),
        ({}, {"clip_value": 1}, r"clip_value: got 1, expected none"),
        ({}, {"clip_norm": 1}, r"clip_norm: got 1, expected none"),
        ({}, {"max_norm": 1}, r"max_norm: got 1, expected none"),
        ({}, {"schedule": "cosine"}, r"schedule: got 'cosine', expected none"),
        (
            {},
            {"loss": fm.MeanSquaredError(missing="ignore")},
            r"missing: got True, expected none",
        ),
    ],
)
def test_what_it_cannot_work_with_is_refused_in_one_sentence(of_network, of_trainer, message):
    options = {"loss": "mse", "optimizer": MARQUARDT, **of_trainer}
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        fm.Trainer(network(**of_network), **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    "act",
    [
        lambda trainer, X, y: trainer.partial_fit(X, y),
        lambda trainer, X, y: trainer.fit([(X, y)], epochs=1),
        lambda trainer, X, y: trainer.fit(
            X, y, epochs=1, callbacks=[listener(on_batch_end=lambda trainer: None)]
        ),
        lambda trainer, X, y: trainer.fit(
            X, y, epochs=1, callbacks=[listener(on_gradient=lambda trainer: None)]
        ),
    ],
    ids=["partial_fit", "a stream", "on_batch_end", "on_gradient"],
)
def test_what_needs_minibatches_is_refused(act):
    trainer = make_trainer()
    before = trainer.mlp.params.copy()
    with pytest.raises(ValueError, match="LevenbergMarquardt makes its steps from all rows"):
        act(trainer, *regression())
    np.testing.assert_array_equal(trainer.mlp.params, before)
    assert (trainer.epoch, trainer.n_steps) == (0, 0)


def test_a_step_by_hand_is_refused_and_the_gradient_is_not():
    X, y = regression()
    trainer = make_trainer(l2=0.1)
    trainer.forward(X)
    trainer.compute_loss(y)
    trainer.backward()
    assert trainer.grads.any()
    with pytest.raises(ValueError, match="step: LevenbergMarquardt makes its steps from all rows"):
        trainer.step()


def test_a_search_for_its_learning_rate_is_refused():
    with pytest.raises(ValueError, match="LevenbergMarquardt has no learning rate"):
        make_trainer().find_learning_rate(*regression())


@pytest.mark.parametrize("damping", [0, -1, math.nan, math.inf])
def test_its_damping_is_above_zero(damping):
    with pytest.raises(ValueError, match="damping: got"):
        fm.LevenbergMarquardt(damping=damping)


# ---- what it does


def jacobian_by_hand(mlp, X):
    """Outputs (n, n_out) of a network with one hidden layer of tanh, and their derivatives by all
    parameters, (n, n_out, n_params)."""
    (w1, w2), (b1, b2) = mlp.weights, mlp.biases
    a = np.tanh(X @ w1 + b1)
    n, n_out = len(X), w2.shape[1]
    rows = []
    for output in range(n_out):
        dz1 = w2[:, output] * (1 - a**2)
        dw2, db2 = np.zeros((n, *w2.shape)), np.zeros((n, n_out))
        dw2[:, :, output], db2[:, output] = a, 1
        dw1 = X[:, :, None] * dz1[:, None, :]
        rows.append(np.concatenate([dw1.reshape(n, -1), dz1, dw2.reshape(n, -1), db2], axis=1))
    return a @ w2 + b2, np.stack(rows, axis=1)


class ByHand:
    """Levenberg-Marquardt in NumPy; the damping after Nielsen (1999)."""

    def __init__(self, mlp, X, y, loss, reduction, weight, l2, damping):
        self.mlp, self.X, self.y, self.l2 = mlp.copy(), X, y, l2
        weight = np.ones(len(X)) if weight is None else weight
        if reduction == "mean":
            weight = weight / weight.sum()
        # The square root of each residual's share of the objective.
        self.share = np.sqrt(weight / (y.shape[1] if loss == "mse" else 2))[:, None]
        self.is_weight = np.zeros(mlp.n_params)
        for part in mlp._structure.parts:
            self.is_weight[part.w] = 1
        self.damping, self.growth, self.first = None, 2.0, damping
        self.trials = []

    def residuals(self):
        a, jacobian = jacobian_by_hand(self.mlp, self.X)
        J = (self.share[:, :, None] * jacobian).reshape(-1, self.mlp.n_params)
        return (self.share * (a - self.y)).ravel(), J

    def objective(self):
        penalty = self.l2 / 2 * (self.is_weight * self.mlp.params**2).sum()
        return (self.residuals()[0] ** 2).sum() + penalty

    def step(self):
        """Take one step; return the objective before it."""
        before, params = self.objective(), self.mlp.params.copy()
        r, J = self.residuals()
        normal = J.T @ J + np.diag(self.l2 / 2 * self.is_weight)
        gradient = J.T @ r + self.l2 / 2 * self.is_weight * params
        if self.damping is None:
            self.damping = self.first * normal.diagonal().max()
        self.trials.append(0)
        while self.trials[-1] < 40:
            self.trials[-1] += 1
            d = np.linalg.solve(normal + self.damping * np.eye(len(params)), -gradient)
            self.mlp.params[:] = params + d
            gained = before - self.objective()
            if gained > 0:
                promised = d @ (self.damping * d - gradient)
                self.damping *= max(1 / 3, 1 - (2 * gained / promised - 1) ** 3)
                self.growth = 2.0
                break
            self.mlp.params[:] = params
            self.damping *= self.growth
            self.growth *= 2
        return before


STEPS = 6


@pytest.mark.parametrize("damping", [1e-3, 1e-9])
@pytest.mark.parametrize("l2", [0, 0.05])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", ["mse", "half_squared_error"])
@pytest.mark.parametrize("n_out", [1, 3])
def test_steps_are_those_of_numpy(n_out, loss, reduction, weighted, l2, damping):
    X, y = regression(n_out=n_out)
    weight = np.random.default_rng(1).uniform(0, 2, len(X)) if weighted else None
    trainer = make_trainer(
        (3, 4, n_out),
        loss=losses.LOSSES[loss](reduction=reduction),
        optimizer=fm.LevenbergMarquardt(damping=damping),
        l2=l2,
    )
    hand = ByHand(trainer.mlp, X, y, loss, reduction, weight, l2, damping)
    for step in range(STEPS):
        before = hand.step()
        trainer.fit(X, y, epochs=1, sample_weight=weight)
        assert trainer.history["loss"][-1] == pytest.approx(before, rel=1e-7)
        # Each step multiplies what rounding has done by the matrix's condition, up to 1 / damping.
        tolerance = 1e-16 / damping if step == 0 else 1e-5
        error = np.linalg.norm(trainer.mlp.params - hand.mlp.params)
        assert error <= max(tolerance, 1e-11) * np.linalg.norm(hand.mlp.params)
        assert trainer._memory[0] == pytest.approx(hand.damping, rel=1e-4)
    assert trainer.n_steps == trainer.epoch == STEPS


def test_a_step_that_does_not_help_is_tried_again_with_more_damping():
    """As the comparison above has it, of which this makes sure that it sees both."""
    X, y = regression()
    seen = set()
    for damping in (1e-9, 10.0):
        trainer = make_trainer((3, 4, 2), optimizer=fm.LevenbergMarquardt(damping=damping))
        hand = ByHand(trainer.mlp, X, y, "mse", "mean", None, 0, damping)
        for _ in range(STEPS):
            hand.step()
            trainer.fit(X, y, epochs=1)
            assert trainer._memory[0] == pytest.approx(hand.damping, rel=1e-4)
        seen |= {trials > 1 for trials in hand.trials}
    assert seen == {False, True}


def test_many_rows_go_through_in_chunks(rng):
    """A thousand rows are four chunks; the last has 232."""
    X, y = regression(1000)
    trainer = make_trainer((3, 4, 2))
    hand = ByHand(trainer.mlp, X, y, "mse", "mean", None, 0, 1e-3)
    trainer.fit(X, y, epochs=3)
    assert trainer._plan.chunk_rows == 256
    expected = [hand.step() for _ in range(3)]
    np.testing.assert_allclose(trainer.history["loss"], expected, rtol=1e-9)
    np.testing.assert_allclose(trainer.mlp.params, hand.mlp.params, rtol=1e-6, atol=1e-9)


def test_scaled_data_are_stepped_on_as_the_network_reads_them(rng):
    X, y = regression()
    X, y = 5 + 3 * X, 100 * y - 7
    trainer = make_trainer((3, 4, 2), scale="standard")
    scaled = [(a - a.mean(axis=0)) / a.std(axis=0) for a in (X, y)]
    hand = ByHand(trainer.mlp, *scaled, "mse", "mean", None, 0, 1e-3)
    trainer.fit(X, y, epochs=3)
    expected = [hand.step() for _ in range(3)]
    np.testing.assert_allclose(trainer.history["loss"], expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("l2", [0, 1e-3])
@pytest.mark.parametrize("output", ["identity", "sigmoid", "softplus"])
def test_the_loss_never_rises(output, l2, seed):
    """Also where noise is all that is left to learn, and where no step helps any more."""
    X, y = regression(seed=seed)
    mlp = network(seed=seed, output=output)
    trainer = fm.Trainer(mlp, loss="mse", optimizer=MARQUARDT, l2=l2)
    loss = trainer.fit(X, y, epochs=80)["loss"]
    assert len(loss) == 80
    assert (np.diff(loss) <= 0).all()
    trainer.forward(X)
    assert trainer.compute_loss(y) <= loss[-1] * (1 + 1e-14)
    assert loss[-1] < 0.9 * loss[0]


@pytest.mark.parametrize("n_rows", [30, 1000])
def test_the_bits_are_the_same_for_any_number_of_threads(n_rows):
    """With more parameters than one thread factorizes at once."""
    X, y = regression(n_rows)
    found = set()
    for n_threads in (1, 2, 4):
        trainer = make_trainer((3, 40, 2), n_threads=n_threads)
        history = trainer.fit(X, y, epochs=4)
        found.add((trainer.mlp.params.tobytes(), tuple(history["loss"])))
    assert len(found) == 1


def test_epochs_one_by_one_are_those_of_one_call():
    X, y = regression()
    whole, parts = make_trainer(), make_trainer()
    whole.fit(X, y, epochs=12)
    for epochs in (1, 4, 7):
        parts.fit(X, y, epochs=epochs)
    np.testing.assert_array_equal(parts.mlp.params, whole.mlp.params)
    assert parts.history["loss"] == whole.history["loss"]


def test_a_training_goes_on_exactly_from_a_checkpoint(tmp_path):
    X, y = regression()
    whole, parts = make_trainer(l2=1e-3), make_trainer(l2=1e-3)
    whole.fit(X, y, epochs=12)
    parts.fit(X, y, epochs=5)
    parts.save_checkpoint(tmp_path / "run")
    resumed = fm.Trainer.resume(tmp_path / "run")
    assert resumed.optimizer == whole.optimizer
    resumed.fit(X, y, epochs=7)
    np.testing.assert_array_equal(resumed.mlp.params, whole.mlp.params)
    assert resumed.history["loss"] == whole.history["loss"]
    assert resumed._memory.tobytes() == whole._memory.tobytes()


def test_an_interrupted_call_is_finished_from_its_checkpoint(tmp_path):
    X, y = regression()

    def interrupt(trainer):
        if trainer.epoch == 5:
            raise KeyboardInterrupt

    whole, parts = make_trainer(), make_trainer()
    whole.fit(X, y, epochs=12)
    parts.fit(
        X, y, epochs=12, checkpoint=fm.Checkpoint(tmp_path / "run", epochs=1),
        callbacks=[listener(on_epoch_begin=interrupt)],
    )  # fmt: skip
    assert parts.history.stop_reason == "interrupted"
    resumed = fm.Trainer.resume(tmp_path / "run")
    resumed.fit(X, y)
    np.testing.assert_array_equal(resumed.mlp.params, whole.mlp.params)
    assert resumed.history["loss"] == whole.history["loss"]


def test_the_clock_is_read_after_every_step_that_takes_long():
    """A step of 320 parameters is tens of millions of multiplications."""
    X, y = regression(10, 20, 10)
    trainer = make_trainer((20, 10, 10))
    trainer.fit(X, y, epochs=30, max_seconds=1e-9)
    assert trainer.history.stop_reason == "max_seconds"
    assert trainer.epoch <= 2


def test_its_loss_on_a_sine_is_a_hundredth_of_adams_with_the_best_of_five_rates():
    """The claim of bench/second_order.py, by steps: one of its own for five of Adam's, which take
    longer together."""
    found = second_order.compared(range(3), {"epochs": 500}, {"epochs": 2500})
    assert second_order.advantage(found) >= second_order.LEAST_ADVANTAGE
    # Adam has learned something, too, or there would be no art in it.
    best = min(second_order.median(records) for records in found["adam"].values())
    assert best < 1e-4
    (table,) = second_order.tables({"seconds": 0.2, "found": found})
    assert [len(row) for row in table.rows] == [5] * 7
    assert table.rows[1][4] == "500"
    assert table.rows[2][4] == "2,500"


# ---- L-BFGS


@pytest.fixture
def lbfgs():
    """The module, where SciPy is at hand."""
    pytest.importorskip("scipy", reason="SciPy is not installed")
    from fastmlp import lbfgs

    return lbfgs


def for_lbfgs(sizes=(3, 6, 2), **options):
    return make_trainer(sizes, optimizer=options.pop("optimizer", "adam"), **options)


def objective_of(trainer, X, y, weight=None):
    trainer.forward(X)
    value = trainer.compute_loss(y, weight)
    trainer.backward()
    return value, trainer.grads.astype(np.float64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lbfgs_reaches_a_lower_loss_than_adam(lbfgs, dtype):
    """In 200 iterations, against 1,000 steps with the best of five rates: a tenth, in fact."""
    X, y = second_order.sine()
    found = for_lbfgs(second_order.SIZES, dtype=dtype)
    history = fm.fit_lbfgs(found, X, y, epochs=200)
    best = math.inf
    for rate in second_order.RATES:
        adam = for_lbfgs(
            second_order.SIZES, optimizer=fm.Adam(lr=rate), batch_size=200, dtype=dtype
        )
        best = min(best, *adam.fit(X, y, epochs=1000, shuffle=False)["loss"])
    assert history["loss"][-1] < best
    assert found.mlp.dtype == dtype
    # Squares of small differences of numbers about 1, whose own rounding counts.
    found_again = found.mlp.evaluate(X, y)["loss"]
    assert math.sqrt(found_again) == pytest.approx(
        math.sqrt(history["loss"][-1]), abs=float(8 * np.finfo(dtype).eps)
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lbfgs_minimizes_the_compiled_objective_by_the_compiled_gradient(lbfgs, monkeypatch, dtype):
    X, y = regression()
    weight = np.random.default_rng(1).uniform(size=len(X))
    options = {"loss": "huber", "l1": 0.01, "l2": 0.1, "dtype": dtype}
    trainer, other = for_lbfgs(**options), for_lbfgs(**options)
    honest, seen = lbfgs.minimize, []

    def minimize(objective, params, **settings):
        def spied(params):
            value, gradient = objective(params)
            seen.append((params.copy(), value, gradient.copy()))
            return value, gradient

        return honest(spied, params, **settings)

    monkeypatch.setattr(lbfgs, "minimize", minimize)
    fm.fit_lbfgs(trainer, X, y, epochs=5, sample_weight=weight)
    assert len(seen) >= 6
    for params, value, gradient in seen:
        other.mlp.params[:] = params
        expected_value, expected = objective_of(other, X, y, weight)
        assert value == expected_value
        assert gradient.dtype == np.float64
        np.testing.assert_array_equal(gradient, expected)


def test_lbfgs_weights_classes_as_fit_does(lbfgs, rng):
    X, labels = rng.normal(size=(40, 3)), np.repeat([0, 1], [30, 10])
    of_class = {0: 1.0, 1: 3.0}
    mlps = [network((3, 4, 2), output="softmax") for _ in range(2)]
    weighted, by_row = (fm.Trainer(mlp) for mlp in mlps)
    fm.fit_lbfgs(weighted, X, labels, epochs=10, class_weight=of_class)
    fm.fit_lbfgs(by_row, X, labels, epochs=10, sample_weight=np.array([1.0, 3.0])[labels])
    np.testing.assert_array_equal(mlps[0].params, mlps[1].params)
    assert weighted.history["loss"][-1] < weighted.history["loss"][0]


def test_lbfgs_adds_its_iterations_to_the_history(lbfgs):
    X, y = regression()
    trainer = for_lbfgs(batch_size=len(X))
    trainer.fit(X, y, epochs=3)
    history = fm.fit_lbfgs(trainer, X, y, epochs=5)
    assert history is trainer.history
    assert trainer.epoch == len(history["loss"]) == 8
    assert trainer.epoch_range == (3, 8)
    assert trainer.n_steps == 3
    fm.fit_lbfgs(trainer, X, y, epochs=2)
    trainer.fit(X, y, epochs=4)
    assert trainer.epoch == len(history["loss"]) == 14
    loss = history["loss"]
    assert all(type(value) is float for value in loss)
    assert (np.diff(loss[2:10]) < 0).all()
    # Adam's losses are those before its steps: its first is that after the last iteration.
    assert loss[10] == pytest.approx(loss[9], rel=1e-14)


def test_lbfgs_leaves_the_best_parameters(lbfgs):
    """After the last iteration, however its line search may have looked beyond."""
    X, y = regression()
    for epochs in (1, 2, 5, 40):
        trainer = for_lbfgs(l2=0.01)
        kept = []
        keep = listener(
            on_epoch_end=lambda trainer, kept=kept: kept.append(trainer.mlp.params.copy())
        )
        history = fm.fit_lbfgs(trainer, X, y, epochs=epochs, callbacks=[keep])
        assert len(kept) == epochs
        value, _ = objective_of(trainer, X, y)
        assert value == min(history["loss"]) == history["loss"][-1]


@pytest.mark.parametrize("epochs", [1, 7])
def test_lbfgs_makes_no_more_iterations_than_asked_for(lbfgs, epochs):
    history = fm.fit_lbfgs(for_lbfgs(), *regression(), epochs=epochs)
    assert len(history["loss"]) == epochs
    assert history.stop_reason == "epochs"


def test_lbfgs_is_the_same_every_time_and_for_any_number_of_threads(lbfgs):
    X, y = regression(1000)
    found = set()
    for n_threads in (1, 2, 4):
        trainer = for_lbfgs(n_threads=n_threads)
        fm.fit_lbfgs(trainer, X, y, epochs=5)
        found.add(trainer.mlp.params.tobytes())
    assert len(found) == 1


def test_lbfgs_stops_where_the_gradient_is_flat(lbfgs):
    """A straight line has one best, and no element of the gradient there is above the limit."""
    X, _ = regression()
    y = X @ np.ones((3, 2)) + 1
    trainer = for_lbfgs((3, 2))
    history = fm.fit_lbfgs(trainer, X, y, gradient_tol=1e-7)
    assert history.stop_reason == "converged"
    assert np.abs(objective_of(trainer, X, y)[1]).max() <= 1e-7
    np.testing.assert_allclose(trainer.mlp.params, 1, atol=1e-6)


def test_lbfgs_stops_at_the_loss_wanted(lbfgs):
    X, y = regression()
    trainer = for_lbfgs()
    history = fm.fit_lbfgs(trainer, X, y, target_loss=0.1)
    assert history.stop_reason == "target_loss"
    *before, last = history["loss"]
    assert last <= 0.1 < min(before)
    assert objective_of(trainer, X, y)[0] == last


def test_lbfgs_tells_its_callbacks(lbfgs):
    log = []

    def note(event):
        return lambda trainer: log.append((event, trainer.epoch, len(trainer.history["loss"])))

    events = {event: note(event) for event in ("on_fit_begin", "on_epoch_end", "on_fit_end")}
    trainer = for_lbfgs()
    fm.fit_lbfgs(trainer, *regression(), epochs=3, callbacks=[listener(**events)])
    epochs = [("on_epoch_end", i, i) for i in (1, 2, 3)]
    assert log == [("on_fit_begin", 0, 0), *epochs, ("on_fit_end", 3, 3)]


def test_a_callback_may_stop_lbfgs(lbfgs):
    X, y = regression()
    trainer = for_lbfgs()

    def stop(trainer):
        if trainer.epoch == 4:
            trainer.stop()

    history = fm.fit_lbfgs(trainer, X, y, callbacks=[listener(on_epoch_end=stop)])
    assert (history.stop_reason, trainer.epoch) == ("early_stopping", 4)
    assert objective_of(trainer, X, y)[0] == history["loss"][-1]
    # What was asked for then is no reason to stop the next time.
    assert fm.fit_lbfgs(trainer, X, y, epochs=2).stop_reason == "epochs"


def test_ctrl_c_ends_lbfgs_after_its_last_iteration(lbfgs, monkeypatch):
    X, y = regression()
    trainer = for_lbfgs()
    honest, calls = trainer._compute_loss, []

    def compute_loss(*given):
        calls.append(None)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return honest(*given)

    monkeypatch.setattr(trainer, "_compute_loss", compute_loss)
    history = fm.fit_lbfgs(trainer, X, y)
    assert history.stop_reason == "interrupted"
    assert trainer.epoch >= 2
    assert objective_of(trainer, X, y)[0] == history["loss"][-1]


def test_an_error_in_a_callback_comes_through(lbfgs):
    def fail(trainer):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fm.fit_lbfgs(for_lbfgs(), *regression(), callbacks=[listener(on_epoch_end=fail)])


def test_lbfgs_that_diverges_leaves_the_network_as_it_was(lbfgs):
    X, y = regression()
    trainer = fm.Trainer(network(activation="identity", dtype="float32"), loss="mse")
    trainer.mlp.params[:] *= 1e18
    before = trainer.mlp.params.copy()
    history = fm.fit_lbfgs(trainer, X, 1e10 * y)
    assert history.stop_reason == "diverged"
    assert history["loss"] == []
    np.testing.assert_array_equal(trainer.mlp.params, before)


@pytest.mark.parametrize("options", [{"dropout": 0.2}, {"input_dropout": 0.2}])
def test_lbfgs_refuses_dropout(lbfgs, options):
    trainer = fm.Trainer(network(**options), loss="mse")
    before = trainer.mlp.params.copy()
    with pytest.raises(ValueError, match=r"trainer: its network has dropout.*expected none"):
        fm.fit_lbfgs(trainer, *regression())
    np.testing.assert_array_equal(trainer.mlp.params, before)


def test_lbfgs_refuses_a_trainer_made_for_another_method(lbfgs):
    trainer = make_trainer()
    before = trainer.mlp.params.copy()
    with pytest.raises(ValueError, match="trainer: made for Levenberg-Marquardt, expected another"):
        fm.fit_lbfgs(trainer, *regression())
    np.testing.assert_array_equal(trainer.mlp.params, before)
    assert trainer.epoch_range == (0, 0)


def test_a_trainer_refused_by_lbfgs_has_measured_nothing(lbfgs):
    trainer = make_trainer(scale="standard")
    with pytest.raises(ValueError, match="trainer: made for Levenberg-Marquardt"):
        fm.fit_lbfgs(trainer, *regression())
    assert trainer.mlp.buffers == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("memory", 0),
        ("memory", 2.5),
        ("callbacks", [3]),
        ("sample_weight", [1.0]),
        *(
            pytest.param(name, value)
            for name, value in [
                ("gradient_tol", -1.0),
                ("gradient_tol", math.nan),
                ("gradient_tol", "low"),
                ("target_loss", math.nan),
                ("target_loss", "low"),
            ]
        ),
    ],
)
def test_wrong_arguments_of_lbfgs_are_named_and_change_nothing(lbfgs, name, value):
    trainer = for_lbfgs()
    before = trainer.mlp.params.copy()
    with pytest.raises((ValueError, TypeError), match=f"^{name}: "):
        fm.fit_lbfgs(trainer, *regression(), **{"epochs": 3, name: value})
    np.testing.assert_array_equal(trainer.mlp.params, before)
    assert trainer.history["loss"] == []


def test_lbfgs_refuses_data_that_do_not_fit(lbfgs):
    X, y = regression()
    for rows, targets, message in [
        (X[:, :2], y, "X: got 2 columns, expected 3"),
        (X, y[:-1], "y: got 39"),
        (np.where(np.arange(40)[:, None] == 3, np.nan, X), y, "X: row 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            fm.fit_lbfgs(for_lbfgs(), rows, targets)


def test_no_gradient_of_lbfgs_is_left_for_a_step(lbfgs):
    trainer = for_lbfgs()
    fm.fit_lbfgs(trainer, *regression(), epochs=2)
    with pytest.raises(RuntimeError, match="step: there is no new gradient"):
        trainer.step()


def test_a_line_search_that_finds_nothing_lower_is_no_end_of_epochs(lbfgs, monkeypatch):
    """SciPy calls it abnormal; it comes where a derivative jumps, before the epochs are over."""
    honest = lbfgs.minimize

    def minimize(objective, params, **settings):
        settings["options"]["maxiter"] = 4
        found = honest(objective, params, **settings)
        found.status, found.success, found.message = 2, False, "ABNORMAL: "
        return found

    monkeypatch.setattr(lbfgs, "minimize", minimize)
    history = fm.fit_lbfgs(for_lbfgs(), *regression(), epochs=3000)
    assert len(history["loss"]) == 4
    assert history.stop_reason == "converged"


def test_lbfgs_keeps_other_threads_out(lbfgs):
    X, y = regression()
    trainer, errors = for_lbfgs(), []

    def fit():
        try:
            trainer.fit(X, y, epochs=1)
        except RuntimeError as error:
            errors.append(str(error))

    def meanwhile(trainer):
        other = threading.Thread(target=fit)
        other.start()
        other.join()

    fm.fit_lbfgs(trainer, X, y, epochs=1, callbacks=[listener(on_epoch_end=meanwhile)])
    assert len(errors) == 1
    assert "at work in another thread" in errors[0]
