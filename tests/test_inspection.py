"""Looking inside: layers by hand, derivatives against central differences, rates that are found.

All in float64 where nothing else is said: a central difference is then right to some 1e-9.
"""

import numpy as np
import pytest
import reference
from test_gradients import every_loss, problem

import fastmlp as fm
from fastmlp import finder, kernels

TOLERANCE = 1e-6
FORMULAS = {name: formula for name, (formula, _) in reference.ACTIVATIONS.items()}
HIDDEN = ["tanh", "relu", "gelu", "softplus"]
OUTPUTS = ["identity", "sigmoid", "softmax", "exp"]
N_IN, N_OUT = 4, 3
# More than the 256 rows that go through a narrow network together, by several chunks and a rest.
MANY = 3001


def trained(hidden="tanh", output="identity", normalization=None, **options):
    """A network whose running means, scales and shifts are not those it began with."""
    rng = np.random.default_rng(1)
    mlp = fm.MLP(
        [N_IN, 6, 5, N_OUT], activation=hidden, output=output, normalization=normalization,
        seed=0, dtype="float64", **options,
    )  # fmt: skip
    mlp.params[:] += rng.normal(0, 0.2, mlp.n_params)
    # Means and deviations far from 0 and 1, so that a forgotten scaling would be seen.
    mlp.fit(
        rng.normal(5, 3, (60, N_IN)), rng.normal(-2, 7, (60, N_OUT)), loss="mse", epochs=2, seed=0
    )
    return mlp


def inputs(n=7, seed=2):
    return np.random.default_rng(seed).normal(5, 3, (n, N_IN))


def error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def by_hand(mlp, X):
    """What every layer puts out in prediction, in NumPy."""
    a, found = X, []
    if "inputs.mean" in mlp.buffers:
        a = (X - mlp.buffers["inputs.mean"]) / mlp.buffers["inputs.std"]
    for i, name in enumerate(mlp.activations):
        z = a @ mlp.weights[i] + mlp.biases[i]
        if mlp.gammas[i] is not None:
            if f"layers.{i}.mean" in mlp.buffers:
                mean, variance = (mlp.buffers[f"layers.{i}.{n}"] for n in ("mean", "variance"))
            else:
                mean, variance = z.mean(1, keepdims=True), z.var(1, keepdims=True)
            z = mlp.gammas[i] * (z - mean) / np.sqrt(variance + 1e-5) + mlp.betas[i]
        a = FORMULAS[name](z)
        found.append(a)
    return found


def central_differences(mlp, X):
    """The derivatives of all outputs by the inputs, row by row, from predictions."""
    found = np.empty((len(X), N_OUT, N_IN))
    for j in range(N_IN):
        step = np.zeros(N_IN)
        step[j] = 1e-5
        found[:, :, j] = (mlp.predict(X + step) - mlp.predict(X - step)) / 2e-5
    return found


def state_of(trainer):
    """All of a trainer that looking must leave alone."""
    mlp = trainer.mlp
    arrays = (
        mlp.params, mlp._running, trainer.grads, trainer._state, trainer._memory,
        trainer._position, trainer._running,
    )  # fmt: skip
    buffers = {name: buffer.tobytes() for name, buffer in mlp.buffers.items()}
    return [a.tobytes() for a in arrays], buffers, dict(trainer.history)


# ---- hidden


@pytest.mark.parametrize("scale", [None, 0.25, "standard"])
@pytest.mark.parametrize("normalization", [None, "batch", "layer", ["batch", "layer"]])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_hidden_is_every_layer_by_hand(hidden, normalization, scale):
    mlp, X = trained(hidden, normalization=normalization, scale=scale, dropout=0.3), inputs()
    found = mlp.hidden(X)
    for a, expected in zip(found, by_hand(mlp, X), strict=True):
        np.testing.assert_allclose(a, expected, rtol=1e-11, atol=1e-12)
    last = found[-1]
    if scale == "standard":
        last = mlp.buffers["targets.mean"] + mlp.buffers["targets.std"] * last
    np.testing.assert_allclose(last, mlp.predict(X), rtol=1e-14)


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_hidden_of_many_rows_is_that_of_each(normalization, dtype):
    """Like predictions, it does not depend by a bit on the rows beside it or on the threads."""
    mlp = fm.MLP([N_IN, 40, N_OUT], normalization=normalization, seed=0, dtype=dtype)
    X = inputs(MANY)
    whole = mlp.hidden(X)
    for row in (0, 255, 256, 1500, MANY - 1):
        for a, alone in zip(whole, mlp.hidden(X[row : row + 1]), strict=True):
            np.testing.assert_array_equal(a[row], alone[0])
    for a, b in zip(whole, mlp.hidden(X, n_threads=2), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole[-1], mlp.predict(X))


# ---- derivatives by the inputs


@pytest.mark.parametrize("scale", [None, 0.25, "standard"])
@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize(
    ("hidden", "output"),
    [*((hidden, "identity") for hidden in HIDDEN), *(("tanh", output) for output in OUTPUTS[1:])],
)
def test_the_jacobian_is_central_differences(hidden, output, normalization, scale):
    mlp, X = trained(hidden, output, normalization, scale=scale, dropout=0.3), inputs()
    expected = central_differences(mlp, X)
    assert np.linalg.norm(expected) > 1e-3  # or the comparison would prove nothing
    assert error(mlp.jacobian(X), expected) < TOLERANCE


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_input_gradients_are_the_jacobians_rows(output, normalization):
    mlp, X = trained("gelu", output, normalization, scale="standard"), inputs()
    jacobian = mlp.jacobian(X)
    for i in range(N_OUT):
        np.testing.assert_array_equal(mlp.input_gradient(X, i), jacobian[:, i])


def test_a_single_output_need_not_be_named():
    mlp = fm.MLP([N_IN, 5, 1], seed=0)
    np.testing.assert_array_equal(mlp.input_gradient(inputs()), mlp.input_gradient(inputs(), 0))
    with pytest.raises(ValueError, match="output: missing; the network has 3, say which one"):
        fm.MLP([N_IN, 3]).input_gradient(inputs())
    for output in (3, -1):
        with pytest.raises(ValueError, match=rf"output: got {output}, expected"):
            fm.MLP([N_IN, 3]).input_gradient(inputs(), output)


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("sizes", [[3, 5, 2], [70, 130, 90, 3], [3, 7], [1, 1]])
def test_derivatives_of_many_rows_are_those_of_each(sizes, normalization, dtype):
    mlp = fm.MLP(sizes, activation="tanh", normalization=normalization, seed=0, dtype=dtype)
    X = np.random.default_rng(0).normal(size=(MANY, sizes[0]))
    jacobian = mlp.jacobian(X)
    np.testing.assert_array_equal(jacobian, mlp.jacobian(X, n_threads=2))
    for row in (0, 127, 128, 256, 1500, MANY - 1):
        # Each element is a sum of at most 130 products in each of three layers.
        limit = 8 * np.finfo(dtype).eps * np.sqrt(3 * max(sizes))
        assert error(jacobian[row], mlp.jacobian(X[row : row + 1])[0]) <= limit


def test_looking_leaves_a_training_alone():
    """In the middle of the loop by hand, between forward and backward."""
    mlp = trained(normalization="batch", dropout=0.2)
    x, t = inputs(), np.zeros((7, N_OUT))
    grads = []
    for looks in (False, True):
        trainer = fm.Trainer(mlp.copy(), loss="mse", seed=0)
        trainer.forward(x)
        trainer.compute_loss(t)
        if looks:
            before = state_of(trainer)
            trainer.mlp.hidden(inputs(20))
            trainer.mlp.jacobian(inputs(20))
            trainer.mlp.input_gradient(inputs(20), 1)
            assert state_of(trainer) == before
        trainer.backward()
        grads.append(trainer.grads)
    np.testing.assert_array_equal(*grads)


# ---- gradients row by row


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", [
    "mse", "half_squared_error", "cross_entropy", "poisson", "half_poisson_deviance",
])  # fmt: skip
def test_gradients_of_rows_make_up_that_of_the_minibatch(name, reduction, dtype, rng):
    """And each is that of its row alone. The penalty has no part in them."""
    loss = fm.losses.LOSSES[name](reduction=reduction)
    mlp = fm.MLP([N_IN, 6, N_OUT], activation="gelu", output=loss.outputs[0], seed=0, dtype=dtype)
    x = rng.normal(size=(9, N_IN))
    t = rng.integers(0, N_OUT, 9) if loss.targets == "classes" else rng.uniform(size=(9, N_OUT))
    trainer = fm.Trainer(mlp, loss=loss, l1=0.1, l2=0.3)
    before = state_of(trainer)
    found = trainer.per_sample_gradients(x, t)
    assert state_of(trainer) == before
    assert found.shape == (9, mlp.n_params)
    assert found.dtype == dtype

    plain = fm.Trainer(mlp, loss=loss)
    plain.forward(x)
    plain.compute_loss(t)
    plain.backward()
    # Nine rows' sums in another order.
    limit = 8 * np.finfo(dtype).eps * np.sqrt(9)
    whole = found.mean(axis=0) if reduction == "mean" else found.sum(axis=0)
    assert error(whole, plain.grads) <= limit
    for i in range(9):
        plain.forward(x[i : i + 1])
        plain.compute_loss(t[i : i + 1])
        plain.backward()
        assert error(found[i], plain.grads) <= limit


def test_gradients_of_many_rows(rng):
    x, t = rng.normal(size=(MANY, N_IN)), rng.normal(size=(MANY, N_OUT))
    trainer = fm.Trainer(fm.MLP([N_IN, 6, N_OUT], seed=0, dtype="float64"), loss="mse")
    found = trainer.per_sample_gradients(x, t)
    for i in (0, 255, 256, 1500, MANY - 1):
        alone = trainer.per_sample_gradients(x[i : i + 1], t[i : i + 1])[0]
        np.testing.assert_allclose(found[i], alone, rtol=1e-12, atol=1e-14)


def test_gradients_of_rows_with_dropout_make_up_that_of_the_minibatch(rng):
    x, t = rng.normal(size=(9, N_IN)), rng.normal(size=(9, N_OUT))
    mlp = fm.MLP([N_IN, 6, N_OUT], dropout=0.5, input_dropout=0.2, seed=0, dtype="float64")
    trainer = fm.Trainer(mlp, loss="mse", seed=3)
    found = trainer.per_sample_gradients(x, t)
    trainer.forward(x)
    trainer.compute_loss(t)
    trainer.backward()
    assert error(found.mean(axis=0), trainer.grads) < 1e-14
    # A dropped input leaves no trace in its row.
    mask = np.empty((9, N_IN))
    kernels.float64.dropout_mask(3, 0, 0, 0.2, mask)
    dw = found[:, : N_IN * 6].reshape(9, N_IN, 6)
    assert (mask == 0).any()
    assert not dw[mask == 0].any()


def test_gradients_of_rows_with_unknown_targets_are_those_of_the_rows_alone(rng):
    x, t = rng.normal(size=(4, N_IN)), rng.normal(size=(4, N_OUT))
    t[2], t[1, 0] = np.nan, np.nan
    loss = fm.MeanSquaredError(missing="ignore")
    trainer = fm.Trainer(fm.MLP([N_IN, 6, N_OUT], seed=0, dtype="float64"), loss=loss)
    found = trainer.per_sample_gradients(x, t)
    assert not found[2].any()
    for i in range(4):
        alone = trainer.per_sample_gradients(x[i : i + 1], t[i : i + 1])[0]
        np.testing.assert_allclose(found[i], alone, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("normalization", ["batch", "layer", [None, "batch"]])
def test_gradients_of_rows_are_refused_where_a_layer_normalises(normalization):
    trainer = fm.Trainer(trained(normalization=normalization), loss="mse")
    before = state_of(trainer)
    number = 1 if isinstance(normalization, list) else 0
    with pytest.raises(ValueError, match=f"per_sample_gradients: layer {number} normalises"):
        trainer.per_sample_gradients(inputs(), np.zeros((7, N_OUT)))
    assert state_of(trainer) == before


# ---- gradients checked

# What the documentation calls about 1e-9, for the worst of many: the objective is right to some
# 1e-16 times its size, which is divided by twice the step, 6e-6, and the gradient's norm.
ABOUT_1E_9 = 1e-8
BESIDE = {
    "penalties": ({}, {"l1": 0.01, "l2": 0.02}),
    "dropout": ({"dropout": 0.3, "input_dropout": 0.2}, {}),
    "batch": ({"normalization": "batch"}, {}),
    "layer": ({"normalization": "layer", "dropout": 0.3}, {"l2": 0.02}),
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("hidden", ["tanh", "softplus", "leaky_relu"])
@pytest.mark.parametrize(
    ("loss", "output"),
    [(loss, output) for loss, output in every_loss() if output in loss.outputs[:2]],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_right_gradient_differs_by_about_1e_9(loss, output, hidden, beside):
    network, options = BESIDE[beside]
    trainer, x, t = problem(loss, output, hidden, 1, network, **options)
    trainer.grads[:] = np.arange(trainer.mlp.n_params)
    before = state_of(trainer)
    errors = trainer.check_gradients(x, t)
    if beside == "batch":
        # Centering takes b away: its derivative is 0, and errors are relative to a thousandth of
        # the whole gradient.
        assert errors["layers.0.b"] < 1e3 * ABOUT_1E_9
        assert max(error for name, error in errors.items() if name != "layers.0.b") < ABOUT_1E_9
    else:
        assert max(errors.values()) < ABOUT_1E_9, errors
    assert state_of(trainer) == before
    names = ["w", "b", "gamma", "beta"] if "normalization" in network else ["w", "b"]
    assert list(errors) == [f"layers.0.{n}" for n in names] + ["layers.1.w", "layers.1.b"]


class Spoiled:
    """A plan whose way back is wrong in some parameters."""

    def __init__(self, plan, grads, part, spoil):
        self.plan, self.grads, self.part, self.spoil = plan, grads, part, spoil

    def __getattr__(self, name):
        return getattr(self.plan, name)

    def backward(self, n_threads):
        self.plan.backward(n_threads)
        self.grads[self.part] = self.spoil(self.grads[self.part])


@pytest.mark.parametrize(
    ("spoil", "least"),
    [
        (lambda g: -g, 1.9),
        (lambda g: 0 * g, 0.9),
        (lambda g: 1.001 * g, 0.9e-3),
        (lambda g: np.roll(g, 1), 0.1),
    ],
    ids=["sign", "nothing", "a thousandth", "places"],
)
@pytest.mark.parametrize(
    ("layer", "tensor"),
    [(0, "w"), (0, "b"), (0, "gamma"), (0, "beta"), (1, "w"), (1, "b"), (2, "w"), (2, "b")],
)
def test_a_wrong_gradient_is_found_and_named(layer, tensor, spoil, least):
    # With layer normalisation b does matter, as it does not where columns are centered.
    mlp = fm.MLP(
        [3, 5, 5, 4], activation="tanh", normalization=["layer", None], seed=0, dtype="float64"
    )
    rng = np.random.default_rng(0)
    mlp.params[:] += rng.normal(0, 0.2, mlp.n_params)
    trainer = fm.Trainer(mlp, loss="mse")
    x, t = rng.normal(size=(9, 3)), rng.normal(size=(9, 4))
    assert max(trainer.check_gradients(x, t).values()) < ABOUT_1E_9
    part = getattr(mlp._structure.parts[layer], tensor)
    trainer._plan = Spoiled(trainer._plan, trainer.grads, part, spoil)
    errors = trainer.check_gradients(x, t)
    assert errors.pop(f"layers.{layer}.{tensor}") > least
    assert max(errors.values()) < ABOUT_1E_9


def test_the_step_of_the_differences_can_be_given():
    """Too long a step bends the differences: they follow no derivative any more."""
    trainer, x, t = problem(fm.MeanSquaredError(), "identity", "tanh", 1, {})
    short, usual, long = (trainer.check_gradients(x, t, step=h) for h in (1e-7, None, 1e-2))
    for name, right in usual.items():
        assert right < ABOUT_1E_9
        assert short[name] < TOLERANCE
        if name.startswith("layers.0"):
            assert long[name] > 1e3 * right


def test_a_check_that_is_interrupted_leaves_the_network_as_it_was(monkeypatch):
    trainer, x, t = problem(fm.MeanSquaredError(), "identity", "tanh", 1, {})
    before, honest, calls = trainer.mlp.params.copy(), trainer.compute_loss, []

    def compute_loss(targets):
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return honest(targets)

    monkeypatch.setattr(trainer, "compute_loss", compute_loss)
    with pytest.raises(KeyboardInterrupt):
        trainer.check_gradients(x, t)
    np.testing.assert_array_equal(trainer.mlp.params, before)


@pytest.mark.parametrize("step", [0, -1e-5, float("nan"), float("inf"), "small"])
def test_a_step_that_is_none_is_refused(step):
    trainer, x, t = problem(fm.MeanSquaredError(), "identity", "tanh", 1, {})
    with pytest.raises((ValueError, TypeError), match="step: got"):
        trainer.check_gradients(x, t, step=step)


# ---- the summary


def test_a_summary_tells_all_of_a_network():
    mlp = fm.MLP(
        [20, 300, 8, 3], activation=["relu", "tanh"], output="softmax",
        normalization=["batch", "layer"], dropout=[0.5, 0], scale=2.0,
    )  # fmt: skip
    # Bytes: 9,351 parameters of 4, and of 8 each 600 running numbers and 40 of the scaling.
    assert mlp.summary().splitlines() == [
        "layer  inputs  outputs  normalization  activation  dropout  parameters",
        "    0      20      300  batch          relu        0.5           6,900",
        "    1     300        8  layer          tanh                      2,424",
        "    2       8        3                 softmax                      27",
        "total                                                            9,351",
        "42,524 bytes (float32), 8,424 multiplications a row",
    ]


# ---- the search for a learning rate


@pytest.fixture(scope="module")
def digits():
    (X, y), _ = fm.datasets.digits()
    return X, y


def make_trainer(seed=0, **options):
    mlp_options = {"activation": "relu", "output": "softmax", "seed": seed}
    mlp_options |= {name: options.pop(name) for name in ("dropout", "scale") if name in options}
    return fm.Trainer(fm.MLP([64, 32, 10], **mlp_options), seed=seed, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam"},
        {"optimizer": fm.SGD(momentum=0.9), "l2": 1e-3},
        {"optimizer": "adam", "dropout": 0.3, "scale": "standard", "schedule": "cosine"},
    ],
)
def test_a_search_leaves_the_trainer_as_it_is(options, digits):
    trainer = make_trainer(**options)
    if "scale" not in options:
        trainer.fit(*digits, epochs=1)
    before = state_of(trainer)
    trainer.find_learning_rate(*digits)
    assert state_of(trainer) == before
    # Nothing of the search is in what the trainer does next.
    other = make_trainer(**options)
    if "scale" not in options:
        other.fit(*digits, epochs=1)
    for each in (trainer, other):
        each.fit(*digits, epochs=1)
    assert state_of(trainer) == state_of(other)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_suggestion_is_a_rate_that_learns(optimizer, seed, digits):
    trainer = make_trainer(seed, optimizer=optimizer)
    found = trainer.find_learning_rate(*digits)
    low, high = (1e-3, 0.3) if optimizer == "adam" else (1e-2, 10)
    assert low < found.suggestion < high
    assert found.suggestion in found.rates
    settings = {"adam": fm.Adam, "sgd": fm.SGD}[optimizer](lr=found.suggestion)
    history = make_trainer(seed, optimizer=settings).fit(*digits, epochs=3)
    # Ten classes at chance have a cross-entropy of 2.3.
    assert history["loss"][-1] < 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("options", [{}, {"batch_size": 8}, {"optimizer": "sgd"}])
def test_no_suggestion_is_from_the_first_ten_points(options, seed, digits):
    """There the running mean is that of a few minibatches, and falls or rises by chance."""
    found = make_trainer(seed, **options).find_learning_rate(*digits)
    assert finder.UNSETTLED == 10
    at = found.rates.tolist().index(found.suggestion)
    assert finder.UNSETTLED <= at <= np.argmin(found.losses)


def test_what_a_search_has_seen(digits):
    found = make_trainer().find_learning_rate(*digits, lowest=1e-5, highest=1.0, steps=120)
    assert found.rates.shape == found.losses.shape
    assert 10 < len(found.rates) <= 120
    assert found.rates[0] == pytest.approx(1e-5)
    # Evenly on a logarithmic scale, from the lowest to the highest.
    ratios = found.rates[1:] / found.rates[:-1]
    np.testing.assert_allclose(ratios, 1e5 ** (1 / 119), rtol=1e-12)
    assert np.isfinite(found.losses).all()
    # It ends at the latest where the loss is four times the lowest.
    assert (found.losses[:-1] <= finder.HOPELESS * np.minimum.accumulate(found.losses)[:-1]).all()


def test_the_same_seed_finds_the_same(digits):
    one, same = (make_trainer(3).find_learning_rate(*digits) for _ in range(2))
    assert one.suggestion == same.suggestion
    np.testing.assert_array_equal(one.losses, same.losses)
    other = make_trainer(4).find_learning_rate(*digits)
    assert not np.array_equal(one.losses[:50], other.losses[:50])


def test_a_search_has_the_trainers_penalties(digits):
    n = len(digits[0])
    plain, penalised, over_rows = (
        make_trainer(batch_size=n, **options).find_learning_rate(*digits, steps=10).losses[0]
        for options in ({}, {"l2": 0.5}, {"l2": 0.5 * n, "penalties_over_rows": True})
    )
    assert penalised > plain + 1
    assert over_rows == pytest.approx(penalised, rel=1e-6)


@pytest.mark.parametrize("lowest", [1e3, 1e20])
def test_rates_that_diverge_at_once_are_refused(lowest, digits):
    trainer = make_trainer(optimizer="sgd")
    before = state_of(trainer)
    with pytest.raises(ValueError, match=r"lowest: training diverges at a rate of .* already"):
        trainer.find_learning_rate(*digits, lowest=lowest, highest=10 * lowest)
    assert state_of(trainer) == before


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("steps", {"steps": 9}),
        pytest.param(
            "lowest", {"lowest": 0},
        ),
        pytest.param(
            "highest", {"lowest": 1e-3, "highest": 1e-4},
        ),
    ],
)  # fmt: skip
def test_a_search_that_cannot_be_is_refused_by_the_name_of_its_argument(name, options, digits):
    with pytest.raises(ValueError, match=f"^{name}: got"):
        make_trainer().find_learning_rate(*digits, **options)
