"""Losses and optimizers: their formulas row by row, extreme scores, and their settings."""

import dataclasses

import numpy as np
import pytest
import reference

import fastmlp as fm
from fastmlp import kernels, losses, optimizers

# Every loss with an output it goes with; the rest of the pairs follow from the table.
PAIRS = [(name, output) for name, loss in losses.LOSSES.items() for output in loss.outputs]
N_OUT = 3


OUTPUTS = {name: formula for name, (formula, _) in reference.ACTIVATIONS.items()}
# The loss of each row from scores z, outputs a and targets t.
FORMULAS = {name: formula for name, (formula, *_) in reference.LOSSES.items()}


def targets_for(loss, rng, n):
    if losses.LOSSES[loss].targets == "classes":
        return rng.dirichlet(np.ones(N_OUT), n)
    if losses.LOSSES[loss].targets == "fractions":
        return rng.uniform(size=(n, N_OUT))
    if losses.LOSSES[loss].targets == "counts":
        return rng.poisson(3, (n, N_OUT)).astype(float)
    return rng.normal(size=(n, N_OUT))


def scores_network(output, dtype="float64"):
    """A network whose scores z are its inputs."""
    return fm.MLP.from_weights([np.eye(N_OUT)], [np.zeros(N_OUT)], output=output, dtype=dtype)


# ---- losses


@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_loss_is_its_formula(loss, output, rng):
    z, t = rng.normal(size=(11, N_OUT)), targets_for(loss, rng, 11)
    weight = rng.uniform(size=11)
    trainer = fm.Trainer(scores_network(output), loss=loss)
    a = trainer.forward(z)
    np.testing.assert_allclose(a, OUTPUTS[output](z), rtol=1e-12, atol=1e-14)
    rows = FORMULAS[loss](z, OUTPUTS[output](z), t)
    assert trainer.compute_loss(t) == pytest.approx(rows.mean(), rel=1e-12)
    weighted = np.average(rows, weights=weight)
    assert trainer.compute_loss(t, weight) == pytest.approx(weighted, rel=1e-12)

    summing = fm.Trainer(scores_network(output), loss=losses.LOSSES[loss](reduction="sum"))
    summing.forward(z)
    assert summing.compute_loss(t) == pytest.approx(rows.sum(), rel=1e-12)
    assert summing.compute_loss(t, weight) == pytest.approx(weight @ rows, rel=1e-12)


@pytest.mark.parametrize(("loss", "output"), PAIRS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradient_is_the_formulas_central_difference(loss, output, weighted, reduction, rng):
    n, step = 5, 1e-6
    z, t = rng.normal(size=(n, N_OUT)), targets_for(loss, rng, n)
    weight = rng.uniform(0.5, 2, n) if weighted else np.ones(n)

    def objective(z):
        total = weight @ FORMULAS[loss](z, OUTPUTS[output](z), t)
        return total / weight.sum() if reduction == "mean" else total

    expected = np.empty_like(z)
    for at in np.ndindex(z.shape):
        above, below = z.copy(), z.copy()
        above[at] += step
        below[at] -= step
        expected[at] = (objective(above) - objective(below)) / (2 * step)
    assert np.abs(expected).max() > 1e-3  # or the comparison would prove nothing

    trainer = fm.Trainer(scores_network(output), loss=losses.LOSSES[loss](reduction=reduction))
    trainer.forward(z)
    trainer.compute_loss(t, weight if weighted else None)
    trainer.backward()
    np.testing.assert_allclose(trainer.read("dz", 0), expected, rtol=1e-6, atol=1e-8)
    # The layers below: dw = xT dz and db = the sum of dz.
    grads = np.concatenate([(z.T @ expected).ravel(), expected.sum(axis=0)])
    np.testing.assert_allclose(trainer.grads, grads, rtol=1e-6, atol=1e-7)


def test_half_poisson_deviance_is_scipys(dtype, rng):
    """Also for counts of 0; SciPy calls it the Kullback-Leibler divergence."""
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")
    z, t = rng.normal(size=(60, N_OUT)).astype(dtype), rng.poisson(1, (60, N_OUT))
    assert {0, 1, 2} <= set(t.ravel())
    trainer = fm.Trainer(scores_network("exp", dtype), loss="half_poisson_deviance")
    rows = special.kl_div(t, np.exp(z.astype(np.float64))).sum(axis=1)
    for n in (1, 60):
        a = trainer.forward(z[:n])
        rtol = 4 * np.finfo(dtype).eps * np.sqrt(n * N_OUT)
        assert trainer.compute_loss(t[:n]) == pytest.approx(rows[:n].mean(), rel=rtol)
        trainer.backward()
        np.testing.assert_allclose(trainer.read("dz", 0), (a - t[:n]) / n, rtol=rtol)


def test_half_poisson_deviance_of_a_perfect_prediction_is_0():
    t = np.array([[1.0, 2.0, 7.0], [1e-9, 1.0, 1e6]])
    trainer = fm.Trainer(scores_network("exp"), loss="half_poisson_deviance")
    trainer.forward(np.log(t))
    # Of 1e6, whose logarithm is rounded at 14.
    assert abs(trainer.compute_loss(t)) < 16 * np.finfo(np.float64).eps * 1e6


@pytest.mark.parametrize("weighted", [False, True])
def test_class_numbers_are_one_hot_probabilities(weighted, dtype, rng):
    X, labels = rng.normal(size=(40, 4)), rng.integers(0, 5, 40)
    weight = rng.uniform(size=40) if weighted else None
    found = []
    for y in (
        labels,
        labels[:, None].astype(float),
        np.eye(5)[labels],
        np.eye(5, dtype=int)[labels],
    ):
        mlp = fm.MLP([4, 6, 5], output="softmax", seed=0, dtype=dtype)
        trainer = fm.Trainer(mlp, batch_size=16, seed=0)
        trainer.forward(X)
        value = trainer.compute_loss(y, weight)
        trainer.backward()
        grads = trainer.grads.copy()
        history = trainer.fit(X, y, epochs=3, sample_weight=weight)
        found.append((value, grads, history["loss"], mlp.params))
    tolerance = 1e-13 if dtype == np.float64 else 1e-5
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("score", [100.0, 1e4, -1e4])
def test_losses_from_scores_are_finite_and_right_for_extreme_scores(score, dtype):
    z = np.array([[score, 0, 0]])
    for loss, output in [("cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid")]:
        for row in np.eye(N_OUT):
            t = row[None, :]
            trainer = fm.Trainer(scores_network(output, dtype), loss=loss)
            a = trainer.forward(z)
            value = trainer.compute_loss(t)
            trainer.backward()
            (expected,) = FORMULAS[loss](z, a, t)
            assert value == pytest.approx(expected, rel=1e-6, abs=1e-30)
            assert np.isfinite(trainer.grads).all()
            mean_of = N_OUT if loss == "binary_cross_entropy" else 1
            error = (OUTPUTS[output](z) - t) / mean_of
            np.testing.assert_allclose(trainer.read("dz", 0), error, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("softmax", "cross_entropy"),
        ("sigmoid", "binary_cross_entropy"),
        ("identity", "mse"),
        ("tanh", "mse"),
        ("relu", "mse"),
        ("exp", "poisson"),
    ],
)
def test_default_loss_follows_the_output(output, loss):
    assert fm.Trainer(fm.MLP([2, 2], output=output)).loss == losses.LOSSES[loss]()


def test_losses_are_compared_by_their_options_and_cannot_be_changed():
    assert fm.MeanSquaredError() == fm.MeanSquaredError(reduction="mean")
    assert fm.MeanSquaredError() != fm.MeanSquaredError(reduction="sum")
    assert fm.MeanSquaredError() != fm.HalfSquaredError()
    with pytest.raises(dataclasses.FrozenInstanceError):
        fm.MeanSquaredError().reduction = "sum"


# ---- penalties


def test_l2_is_half_lambda_times_the_squares_of_weights_only(rng):
    X, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 2))
    mlp = fm.MLP([4, 5, 2], activation="tanh", seed=0, dtype="float64")
    mlp.biases[0][:] = mlp.biases[1][:] = 3
    found = []
    for l2 in (0, 0.7):
        trainer = fm.Trainer(mlp, l2=l2)
        trainer.forward(X)
        found.append(trainer.compute_loss(y))
        trainer.backward()
        found.append(trainer.grads)
    value, grads, penalised_value, penalised_grads = found
    squares = sum((w**2).sum() for w in mlp.weights)
    assert penalised_value - value == pytest.approx(0.35 * squares, rel=1e-12)
    weights_only = mlp.copy()
    for b in weights_only.biases:
        b[:] = 0
    np.testing.assert_allclose(
        penalised_grads - grads, 0.7 * weights_only.params, rtol=1e-10, atol=1e-14
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_l2_is_not_divided_by_rows_or_by_weights(reduction, rng):
    X, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 2))
    mlp = fm.MLP([4, 2], seed=0, dtype="float64")
    for n, weight in [(9, None), (3, None), (9, np.full(9, 5.0))]:
        difference = []
        for l2 in (0, 1):
            trainer = fm.Trainer(mlp, loss=fm.MeanSquaredError(reduction=reduction), l2=l2)
            trainer.forward(X[:n])
            difference.append(trainer.compute_loss(y[:n], weight))
        penalty = difference[1] - difference[0]
        assert penalty == pytest.approx(0.5 * (mlp.weights[0] ** 2).sum(), rel=1e-10)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("missing", ["error", "ignore"])
def test_penalties_over_rows_are_divided_by_rows_or_by_weights(reduction, missing, rng):
    """A row without a known target is none: its weight is not counted, either."""
    X, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 2))
    if missing == "ignore":
        y[2], y[:, 1] = np.nan, np.nan
    mlp = fm.MLP([4, 2], seed=0, dtype="float64")
    (w,) = mlp.weights
    loss = fm.MeanSquaredError(reduction=reduction, missing=missing)
    known = np.isfinite(y).any(axis=1)
    for n, weight in [(9, None), (3, None), (9, np.full(9, 5.0)), (9, np.arange(9.0))]:
        found = []
        for options in ({}, {"l1": 0.7, "l2": 3.0, "penalties_over_rows": True}):
            trainer = fm.Trainer(mlp, loss=loss, **options)
            trainer.forward(X[:n])
            found.append(trainer.compute_loss(y[:n], weight))
            trainer.backward()
            found.append(trainer.grads)
        value, grads, penalised_value, penalised_grads = found
        divisor = (np.ones(n) if weight is None else weight) @ known[:n]
        penalty = 0.7 * np.abs(w).sum() + 1.5 * (w**2).sum()
        assert penalised_value - value == pytest.approx(penalty / divisor, rel=1e-10)
        slope = np.concatenate([(0.7 * np.sign(w) + 3 * w).ravel(), np.zeros(2)])
        np.testing.assert_allclose(penalised_grads - grads, slope / divisor, rtol=1e-10, atol=1e-14)


# ---- shares of the sum over the outputs


class Shared:
    """Beside a loss: twice the sum over the outputs in the value, once in the gradient."""

    def shares(self, n_out):
        assert n_out == N_OUT
        return 2.0, 1.0


@pytest.mark.parametrize(("loss", "output"), PAIRS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_shares_take_the_place_of_the_formulas_own(loss, output, reduction, rng):
    """In training and in scoring, beside weights and either reduction."""
    known = losses.LOSSES[loss]
    own, shared = (kind(reduction=reduction) for kind in (known, type("Own", (Shared, known), {})))
    z, t = rng.normal(size=(11, N_OUT)), targets_for(loss, rng, 11)
    weight = rng.uniform(size=11)
    of_sum = N_OUT if loss in reference.MEANS else 1
    found = []
    for each in (own, shared):
        trainer = fm.Trainer(scores_network(output), loss=each)
        trainer.forward(z)
        value = trainer.compute_loss(t, weight)
        trainer.backward()
        scored = trainer.mlp.evaluate(z, t, loss=each, sample_weight=weight)["loss"]
        assert scored == pytest.approx(value, rel=1e-13)
        found.append((value, trainer.grads))
    (value, grads), (shared_value, shared_grads) = found
    assert shared_value == pytest.approx(2 * of_sum * value, rel=1e-13)
    np.testing.assert_allclose(shared_grads, of_sum * grads, rtol=1e-12, atol=1e-14)


def test_shares_are_of_the_known_targets_alone():
    """The sum over them, not their mean: one of them counts no more where others are missing."""

    class Own(Shared, fm.MeanSquaredError):
        pass

    mlp = scores_network("identity")
    trainer = fm.Trainer(mlp, loss=Own(missing="ignore"))
    for t, squares in (([1.0, 2.0, 3.0], 14), ([1.0, np.nan, 3.0], 10), ([np.nan, 2.0, np.nan], 4)):
        trainer.forward(np.zeros((1, N_OUT)))
        assert trainer.compute_loss([t]) == 2 * squares
        trainer.backward()
        np.testing.assert_array_equal(trainer.read("dz", 0), -2 * np.nan_to_num([t]))
        assert mlp.evaluate(np.zeros((1, N_OUT)), [t], loss=trainer.loss)["loss"] == 2 * squares


def test_shares_stay_when_class_numbers_take_turns_with_probabilities(rng):
    class Own(Shared, fm.CrossEntropy):
        pass

    z, labels = rng.normal(size=(7, N_OUT)), rng.integers(0, N_OUT, 7)
    own, shared = (
        fm.Trainer(scores_network("softmax"), loss=loss()) for loss in (fm.CrossEntropy, Own)
    )
    for t in (labels, np.eye(N_OUT)[labels], labels):
        values = []
        for trainer in (own, shared):
            trainer.forward(z)
            values.append(trainer.compute_loss(t))
        assert values[1] == pytest.approx(2 * values[0], rel=1e-14)


# ---- optimizers: in NumPy, as their documentation writes them


def sgd(options, p, g, state, t):
    p -= options.lr * g


def momentum_outside(options, p, g, state, t):
    v = state.setdefault("v", np.zeros_like(p))
    v[:] = options.momentum * v + g
    p -= options.lr * (g + options.momentum * v if options.nesterov else v)


def momentum_inside(options, p, g, state, t):
    v = state.setdefault("v", np.zeros_like(p))
    v[:] = options.momentum * v - options.lr * g
    p += options.momentum * v - options.lr * g if options.nesterov else v


def adam(options, p, g, state, t):
    m = state.setdefault("m", np.zeros_like(p))
    v = state.setdefault("v", np.zeros_like(p))
    m[:] = options.beta1 * m + (1 - options.beta1) * g
    v[:] = options.beta2 * v + (1 - options.beta2) * g**2
    right1, right2 = 1 - options.beta1**t, 1 - options.beta2**t
    if options.eps_before_correction:
        p -= options.lr * np.sqrt(right2) / right1 * m / (np.sqrt(v) + options.eps)
    else:
        p -= options.lr * (m / right1) / (np.sqrt(v / right2) + options.eps)


def nadam(options, p, g, state, t):
    m = state.setdefault("m", np.zeros_like(p))
    v = state.setdefault("v", np.zeros_like(p))

    def mu(t):
        return options.beta1 * (1 - 0.5 * 0.96 ** (t * options.momentum_decay))

    product = np.prod([mu(i) for i in range(1, t + 1)])
    m[:] = options.beta1 * m + (1 - options.beta1) * g
    v[:] = options.beta2 * v + (1 - options.beta2) * g**2
    ahead = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
    p -= options.lr * ahead / (np.sqrt(v / (1 - options.beta2**t)) + options.eps)


def rmsprop(options, p, g, state, t):
    v = state.setdefault("v", np.zeros_like(p))
    mean = state.setdefault("mean", np.zeros_like(p))
    b = state.setdefault("b", np.zeros_like(p))
    v[:] = options.alpha * v + (1 - options.alpha) * g**2
    mean[:] = options.alpha * mean + (1 - options.alpha) * g
    spread = np.sqrt(v - mean**2 if options.centered else v) + options.eps
    b[:] = options.momentum * b + g / spread
    p -= options.lr * b


def adagrad(options, p, g, state, t):
    total = state.setdefault("total", np.zeros_like(p))
    total += g**2
    p -= options.lr / (1 + (t - 1) * options.rate_decay) * g / (np.sqrt(total) + options.eps)


RULES = {
    "sgd": (fm.SGD(lr=0.1), sgd),
    "sgd_momentum": (fm.SGD(lr=0.1, momentum=0.9), momentum_outside),
    "sgd_nesterov": (fm.SGD(lr=0.1, momentum=0.8, nesterov=True), momentum_outside),
    "sgd_momentum_inside": (
        fm.SGD(lr=0.1, momentum=0.9, rate_inside_velocity=True),
        momentum_inside,
    ),
    "sgd_nesterov_inside": (
        fm.SGD(lr=0.1, momentum=0.8, nesterov=True, rate_inside_velocity=True),
        momentum_inside,
    ),
    "adam": (fm.Adam(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-3), adam),
    "adam_eps_before": (
        fm.Adam(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-3, eps_before_correction=True),
        adam,
    ),
    "nadam": (fm.Nadam(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-3, momentum_decay=0.01), nadam),
    "rmsprop": (fm.RMSprop(lr=0.01, alpha=0.9, eps=1e-3), rmsprop),
    "rmsprop_momentum": (fm.RMSprop(lr=0.01, alpha=0.9, eps=1e-3, momentum=0.8), rmsprop),
    "rmsprop_centered": (fm.RMSprop(lr=0.01, alpha=0.9, eps=1e-3, centered=True), rmsprop),
    "rmsprop_centered_momentum": (
        fm.RMSprop(lr=0.01, alpha=0.9, eps=1e-3, centered=True, momentum=0.8),
        rmsprop,
    ),
    "adagrad": (fm.Adagrad(lr=0.1, rate_decay=0.01, eps=1e-3), adagrad),
}


def test_every_optimizer_has_its_rule():
    assert set(RULES) == set(kernels.float64.OPTIMIZERS)
    assert all(options.kernel == name for name, (options, _) in RULES.items())


@pytest.mark.parametrize("name", RULES)
def test_fifty_steps_follow_the_rule(name, rng):
    options, rule = RULES[name]
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    mlp = fm.MLP([3, 5, 2], activation="tanh", seed=0, dtype="float64")
    trainer = fm.Trainer(mlp, optimizer=options)
    p, state = mlp.params.copy(), {}
    for t in range(1, 51):
        rows = rng.permutation(20)[:8]
        trainer.forward(X[rows])
        trainer.compute_loss(y[rows])
        trainer.backward()
        rule(options, p, trainer.grads, state, t)
        trainer.step()
        np.testing.assert_allclose(mlp.params, p, rtol=0, atol=1e-13)


def test_where_the_rate_stands_matters_only_when_it_changes(rng):
    """Inside and outside the velocity agree at one rate: the two rules above are one formula."""
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    found = []
    for inside in (False, True):
        mlp = fm.MLP([3, 5, 2], seed=0, dtype="float64")
        options = fm.SGD(lr=0.1, momentum=0.9, nesterov=True, rate_inside_velocity=inside)
        mlp.fit(X, y, optimizer=options, epochs=20, batch_size=8, seed=0)
        found.append(mlp.params)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10, atol=1e-13)
    assert not np.array_equal(found[0], found[1])


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_inside_matches_scikit_learn(nesterov, rng):
    sk = pytest.importorskip(
        "sklearn.neural_network._stochastic_optimizers", reason="scikit-learn is not installed"
    )
    options = fm.SGD(lr=0.1, momentum=0.9, nesterov=nesterov, rate_inside_velocity=True)
    check_against_scikit_learn(
        options, lambda p: sk.SGDOptimizer([p], 0.1, momentum=0.9, nesterov=nesterov), rng
    )


def test_adam_with_eps_before_matches_scikit_learn(rng):
    sk = pytest.importorskip(
        "sklearn.neural_network._stochastic_optimizers", reason="scikit-learn is not installed"
    )
    options = fm.Adam(lr=0.02, beta1=0.8, beta2=0.95, eps=1e-3, eps_before_correction=True)
    check_against_scikit_learn(
        options, lambda p: sk.AdamOptimizer([p], 0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-3), rng
    )


def check_against_scikit_learn(options, make_theirs, rng):
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    mlp = fm.MLP([3, 5, 2], activation="tanh", seed=0, dtype="float64")
    trainer = fm.Trainer(mlp, optimizer=options)
    p = mlp.params.copy()
    theirs = make_theirs(p)
    for _ in range(50):
        rows = rng.permutation(20)[:8]
        trainer.forward(X[rows])
        trainer.compute_loss(y[rows])
        trainer.backward()
        theirs.update_params([p], [trainer.grads])
        trainer.step()
    assert np.abs(p - fm.MLP([3, 5, 2], seed=0, dtype="float64").params).max() > 0.1
    np.testing.assert_allclose(mlp.params, p, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_float32_follows_float64(name, rng):
    options, _ = RULES[name]
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    found = []
    for dtype in ("float32", "float64"):
        mlp = fm.MLP([3, 5, 2], activation="tanh", seed=0, dtype=dtype)
        mlp.fit(X, y, optimizer=options, epochs=10, batch_size=8, seed=0)
        found.append(mlp.params)
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-4)


# ---- settings


def test_names_stand_for_the_defaults():
    assert set(optimizers.OPTIMIZERS) == {
        "sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad", "levenberg_marquardt",
    }  # fmt: skip
    mlp = fm.MLP([2, 1])
    assert fm.Trainer(mlp).optimizer == fm.Adam(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8)
    assert fm.Trainer(mlp, optimizer="adam").optimizer == fm.Adam()
    assert fm.Trainer(mlp, optimizer="sgd").optimizer == fm.SGD(lr=0.01)
    adamw = fm.Trainer(mlp, optimizer="adamw").optimizer
    assert adamw == fm.AdamW(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01)
    assert fm.Trainer(mlp, optimizer="nadam").optimizer == fm.Nadam(lr=2e-3)
    assert fm.Trainer(mlp, optimizer="rmsprop").optimizer == fm.RMSprop(lr=0.01, alpha=0.99)
    assert fm.Trainer(mlp, optimizer="adagrad").optimizer == fm.Adagrad(lr=0.01)


def test_one_optimizer_object_may_serve_several_trainers(rng):
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    shared = fm.Adam(lr=0.01)
    results = []
    for options in (shared, shared, fm.Adam(lr=0.01)):
        mlp = fm.MLP([3, 2], seed=0)
        mlp.fit(X, y, optimizer=options, epochs=3, seed=0)
        results.append(mlp.params.tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize(
    ("options", "n_vectors"),
    [
        (fm.SGD(), 0),
        (fm.SGD(momentum=0.5), 1),
        (fm.SGD(momentum=0.5, nesterov=True), 1),
        (fm.Adam(), 2),
    ],
)
def test_state_vectors(options, n_vectors):
    assert options.n_vectors == n_vectors


@pytest.mark.parametrize("number", [np.float16(0.5), np.float32(0.5), np.float64(0.5)])
def test_numpys_numbers_are_numbers(number):
    """A rate read from an array is a NumPy scalar."""
    assert fm.SGD(lr=number, momentum=number).lr == 0.5
    assert fm.Adam(lr=number, beta1=number).beta1 == 0.5
    assert fm.Trainer(fm.MLP([2, 1]), l2=number).l2 == 0.5


@pytest.mark.parametrize("number", [np.int32(2), np.int64(2), np.uint8(2)])
def test_numpys_whole_numbers_are_whole_numbers(number):
    mlp = fm.MLP([number, 1], seed=number)
    assert fm.SGD(lr=number).lr == 2
    assert mlp.predict([[1, 2]], n_threads=number).shape == (1, 1)
    trainer = fm.Trainer(mlp, batch_size=number, seed=number, n_threads=number)
    history = trainer.fit([[1, 2]], [[1]], epochs=number, tol=0, patience=number)
    assert len(history["loss"]) == 2
