"""Central differences prove the reference, and nothing the package offers is missing from it."""

import itertools

import numpy as np
import pytest
import reference

from fastmlp import activations, kernels, losses, optimizers

HIDDEN = [row.name for row in activations.ACTIVATIONS.values() if not row.output_only]
DEPTHS = [0, 1, 3]
# Scores at which a derivative jumps.
KINKS = {"relu": [0], "leaky_relu": [0], "selu": [0], "hard_sigmoid": [-3, 3]}
ROWS, N_IN, N_HIDDEN, N_OUT = 5, 3, 3, 2


def losses_and_outputs():
    """Every loss of the kernels, with every output activation it goes with."""
    for name, loss in losses.LOSSES.items():
        for form in (name, f"{name}_of_labels"):
            if form in kernels.float64.LOSSES:
                yield from ((form, output) for output in loss.outputs)


def targets_for(loss, rng):
    if loss == "cross_entropy_of_labels":
        return rng.integers(0, N_OUT, (ROWS, 1)).astype(np.float64)
    if loss == "cross_entropy":
        return rng.dirichlet(np.ones(N_OUT), ROWS)
    if loss == "binary_cross_entropy":
        return rng.uniform(0, 1, (ROWS, N_OUT))
    if loss in ("poisson", "half_poisson_deviance"):
        return rng.poisson(3, (ROWS, N_OUT)).astype(np.float64)
    return rng.normal(0, 1, (ROWS, N_OUT)) + 1


def problem_away_from_kinks(hidden, output, depth, loss):
    """Parameters, data and targets of a network none of whose scores is close to a kink."""
    sizes = [N_IN, *[N_HIDDEN] * depth, N_OUT]
    names = [*[hidden] * depth, output]
    for seed in itertools.count():
        rng = np.random.default_rng(seed)
        params = rng.normal(0, 1, sum((m + 1) * n for m, n in itertools.pairwise(sizes)))
        x = rng.normal(0, 1, (ROWS, N_IN))
        z, a = reference.forward(reference.unpack(params, sizes, names), x)
        t = targets_for(loss, rng)
        # An update of one parameter by h moves a score by some 10·h at most; and every relu must
        # be open in some row, for its weights to have a gradient.
        kinked = [(s, KINKS[name]) for s, name in zip(z, names, strict=True) if name in KINKS]
        near = any((np.abs(s - kink) < 1e-3).any() for s, kinks in kinked for kink in kinks)
        flat = [s for s, name in zip(z, names, strict=True) if name in ("relu", "hard_sigmoid")]
        shut = any(not (np.abs(s - 1.5) < 1.5).any(axis=0).all() for s in flat)
        # mae and quantile have a kink where output and target meet, huber's slope one at 1.
        apart = np.abs(a[-1] - t)
        near = near or (apart < 1e-3).any() or (np.abs(apart - 1) < 1e-3).any()
        if near or shut or np.abs(a[-1]).max() > 1e3:
            continue
        # Where the parts of a row's gradient cancel, as of two softmax outputs that are both too
        # large, or those of a tensor, there is nothing to compare.
        layers = reference.unpack(params, sizes, names)
        gradient, all_dz = reference.backward(layers, x, t, loss)
        least = min(
            np.linalg.norm(part)
            for dw, db, _ in reference.unpack(gradient, sizes, names)
            for part in (dw, db)
        )
        value = reference.objective(layers, x, t, loss)
        if min(np.linalg.norm(all_dz[-1], axis=1)) > 1e-3 and least > 5e-3 * value:
            return sizes, names, params, x, t


# Every formula with the plain ones around it; that they go together is proved on the kernels.
CASES = [
    *((loss, output, "tanh", depth) for loss, output in losses_and_outputs() for depth in DEPTHS),
    *(("mse", "identity", hidden, depth) for hidden in HIDDEN for depth in DEPTHS if depth),
]


@pytest.mark.parametrize(("loss", "output", "hidden", "depth"), CASES)
def test_gradients_are_central_differences(loss, output, hidden, depth):
    sizes, names, params, x, t = problem_away_from_kinks(hidden, output, depth, loss)
    weights_of_rows = [None, np.array([0.5, 2.0, 0.0, 1.0, 3.0])]
    beside = [
        {},
        {"l1": 0.03, "l2": 0.05},
        {"l1": 0.15, "l2": 0.25, "over_rows": True},
        {"shares": (0.7, 0.7)},
    ]
    for row_weights, own, mean in itertools.product(weights_of_rows, beside, [True, False]):
        options = {"row_weights": row_weights, "mean": mean, **own}

        def value(p, options=options):
            return reference.objective(reference.unpack(p, sizes, names), x, t, loss, **options)

        # Cut off is h²/6 times the third derivative, 6e-12 of it; rounding adds eps/h = 4e-11 of
        # the value. With gradients above 1e-3 of the value, 1e-7 leaves either some room.
        h = np.cbrt(np.finfo(np.float64).eps)
        differences = np.array(
            [(value(params + h * e) - value(params - h * e)) / (2 * h) for e in np.eye(len(params))]
        )
        layers = reference.unpack(params, sizes, names)
        gradient, _ = reference.backward(layers, x, t, loss, **options)
        assert gradient.shape == params.shape
        tensors = zip(
            reference.unpack(gradient, sizes, names),
            reference.unpack(differences, sizes, names),
            strict=True,
        )
        for (dw, db, _), (dw_wanted, db_wanted, _) in tensors:
            for got, wanted in ((dw, dw_wanted), (db, db_wanted)):
                assert np.linalg.norm(wanted) > 1e-3 * value(params), "no gradient to speak of"
                assert np.linalg.norm(got - wanted) <= 1e-7 * np.linalg.norm(wanted)


def test_dz_is_the_derivative_by_the_scores():
    """A bias adds to its layer's scores, so a row's dz is its gradient by the biases."""
    sizes, names, params, x, t = problem_away_from_kinks("tanh", "identity", 1, "mse")
    layers = reference.unpack(params, sizes, names)
    _, all_dz = reference.backward(layers, x, t, "mse", mean=False)
    for i in range(ROWS):
        row = slice(i, i + 1)
        gradient, _ = reference.backward(layers, x[row], t[row], "mse", mean=False)
        for dz, (_, db, _) in zip(all_dz, reference.unpack(gradient, sizes, names), strict=True):
            np.testing.assert_allclose(dz[i], db, rtol=1e-12)


def test_losses_by_hand():
    """Two outputs, one row, on paper."""
    z, t = np.array([[0.0, np.log(3.0)]]), np.array([[1.0, 0.0]])
    softmax = reference.softmax(z)
    sigmoid = reference.sigmoid(z)
    np.testing.assert_allclose(softmax, [[0.25, 0.75]], rtol=1e-15)
    np.testing.assert_allclose(sigmoid, [[0.5, 0.75]], rtol=1e-15)
    # (0.25 - 1)² + (0.75 - 0)² = 2 · 9/16
    wanted = {
        "mse": 9 / 16,
        "half_squared_error": 9 / 16,
        "cross_entropy": np.log(4),
        # -(log 0.5 + log(1 - 0.75)) / 2
        "binary_cross_entropy": (np.log(2) + np.log(4)) / 2,
        "cross_entropy_of_labels": np.log(4 / 3),
        # |0.25 - 1| and |0.75 - 0|
        "mae": 3 / 4,
        "huber": 9 / 32,
        "quantile": 3 / 8,
        "log_cosh": np.log((np.exp(0.75) + np.exp(-0.75)) / 2),
        # 0.25 - 1·0 and 0.75 - 0·log 3
        "poisson": 1 / 2,
    }
    for name, value in wanted.items():
        a = sigmoid if name == "binary_cross_entropy" else softmax
        target = np.array([[1.0]]) if name == "cross_entropy_of_labels" else t
        np.testing.assert_allclose(reference.LOSSES[name][0](z, a, target), [value], rtol=1e-15)


def test_half_poisson_deviance_by_hand():
    """Outputs of 1, 2 and 3: one as its target, one below a target of 4, one above one of 0."""
    z, t = np.log([[1.0, 2.0, 3.0]]), np.array([[1.0, 4.0, 0.0]])
    # 0, then 4·log(4 / 2) - 4 + 2, then 3
    value = reference.half_poisson_deviance(z, np.exp(z), t)
    np.testing.assert_allclose(value, [4 * np.log(2) + 1], rtol=1e-15)
    dz = reference.half_poisson_deviance_dz(z, np.exp(z), t)
    np.testing.assert_allclose(dz, [[0, -2, 3]], rtol=1e-15)


# But the cross-entropies, a sum by hand above: another output is another softmax.
@pytest.mark.parametrize(
    "loss", sorted(name for name in reference.LOSSES if not name.startswith("cross_entropy"))
)
def test_a_mean_stays_where_every_output_is_there_twice(loss):
    z, t = np.array([[0.2, -0.3]]), np.array([[0.7, 0.1]])
    formula = reference.LOSSES[loss][0]
    once, twice = (formula(*(np.tile(v, times) for v in (z, np.exp(z), t))) for times in (1, 2))
    np.testing.assert_allclose(twice, once * (1 if loss in reference.MEANS else 2), rtol=1e-15)


def test_reduction_and_penalty_by_hand():
    """One weight of 3, no activation; rows 1 and 2 with targets 2 and 2: losses 1 and 16."""
    layers = [(np.array([[3.0]]), np.array([0.0]), "identity")]
    x, t = np.array([[1.0], [2.0]]), np.array([[2.0], [2.0]])
    weights = np.array([3.0, 1.0])
    assert reference.objective(layers, x, t, "mse") == 8.5
    assert reference.objective(layers, x, t, "mse", mean=False) == 17
    assert reference.objective(layers, x, t, "mse", row_weights=weights) == 19 / 4
    assert reference.objective(layers, x, t, "mse", row_weights=weights, mean=False) == 19
    assert reference.objective(layers, x, t, "mse", l2=0.1) == pytest.approx(8.5 + 0.45)
    over_rows = {"l1": 0.2, "l2": 0.1, "over_rows": True}
    for mean, value in ((True, 8.5), (False, 17)):
        found = reference.objective(layers, x, t, "mse", mean=mean, **over_rows)
        assert found == pytest.approx(value + (0.6 + 0.45) / 2)
    found = reference.objective(layers, x, t, "mse", row_weights=weights, **over_rows)
    assert found == pytest.approx(19 / 4 + (0.6 + 0.45) / 4)


@pytest.mark.parametrize(("loss", "value"), [("mse", 26), ("half_squared_error", 13)])
def test_shares_by_hand(loss, value):
    """No activation; of two outputs of 3 and 2 with targets of 0, squares of 9 and 4."""
    layers = [(np.array([[3.0, 2.0]]), np.zeros(2), "identity")]
    x, t = np.array([[1.0]]), np.zeros((1, 2))
    assert reference.objective(layers, x, t, loss, shares=(2, 5)) == value
    # By each output 2·3 and 2·2, or half that; the same for w and for b.
    gradient, _ = reference.backward(layers, x, t, loss, shares=(2, 5))
    np.testing.assert_array_equal(gradient, value / 13 * 5 * np.array([3, 2, 3, 2]))


def test_optimizers_by_hand():
    """Gradients of 2 and then 4, from a parameter of 1, at rate 0.1."""
    wanted = {
        "sgd": [0.8, 0.4],
        # v: 2, 5 — outside and inside agree as long as the rate stays
        "sgd_momentum": [0.8, 0.3],
        "sgd_momentum_inside": [0.8, 0.3],
        # 2 + 1 and 4 + 2.5
        "sgd_nesterov": [0.7, 0.05],
        "sgd_nesterov_inside": [0.7, 0.05],
        # m: 1, 2.5 → 2, 10/3; v: 1, 4.75 → 4, 10.857…; eps 1
        "adam": [1 - 0.1 * 2 / 3, 1 - 0.1 * 2 / 3 - 0.1 * (10 / 3) / (np.sqrt(76 / 7) + 1)],
        # √(1/4)/(1/2) = 1; √(7/16)/(3/4)
        "adam_eps_before": [
            1 - 0.1 * 1 / 2,
            1 - 0.1 / 2 - 0.1 * np.sqrt(7) / 3 * 2.5 / (np.sqrt(4.75) + 1),
        ],
        # v: 1, 4.75; eps 1
        "rmsprop": [1 - 0.1 * 2 / 2, 0.9 - 0.1 * 4 / (np.sqrt(4.75) + 1)],
        # b: 1, 0.5 + 4 / …
        "rmsprop_momentum": [0.9, 0.9 - 0.1 * (0.5 + 4 / (np.sqrt(4.75) + 1))],
        # u: 0.5, 1.375; v - u²: 0.75, 4.75 - 1.890625
        "rmsprop_centered": [
            1 - 0.2 / (np.sqrt(0.75) + 1),
            1 - 0.2 / (np.sqrt(0.75) + 1) - 0.4 / (np.sqrt(2.859375) + 1),
        ],
        "rmsprop_centered_momentum": [
            1 - 0.2 / (np.sqrt(0.75) + 1),
            1 - 0.3 / (np.sqrt(0.75) + 1) - 0.4 / (np.sqrt(2.859375) + 1),
        ],
        # v: 4, 20; the rate 0.1, then 0.1 / 1.5; eps 1
        "adagrad": [1 - 0.2 / 3, 1 - 0.2 / 3 - 0.4 / 1.5 / (np.sqrt(20) + 1)],
        # mu: 0.25 for ever if the momentum does not decay; m: 1, 2.5; v as adam's
        "nadam": [
            1 - 0.1 * (2 + 0.25 / (15 / 16)) / 3,
            1
            - 0.1 * (2 + 0.25 / (15 / 16)) / 3
            - 0.1 * (0.75 / (15 / 16) * 4 + 0.25 / (63 / 64) * 2.5) / (np.sqrt(76 / 7) + 1),
        ],
    }
    assert wanted.keys() == reference.OPTIMIZERS.keys()
    settings = {
        "adam": [0.5, 0.75, 1.0],
        "nadam": [0.5, 0.75, 1.0, 0.0],
        "rmsprop": [0.75, 1.0, 0.5],
        "adagrad": [0.5, 1.0],
        "sgd": [0.5],
    }
    for name, values in wanted.items():
        own = [] if name == "sgd" else settings[name.partition("_")[0]]
        p, state = np.array([1.0]), [np.zeros(1)] * 3
        for step, (g, value) in enumerate(zip([2.0, 4.0], values, strict=True), start=1):
            p, state = reference.OPTIMIZERS[name](p, np.array([g]), state, 0.1, step, *own)
            np.testing.assert_allclose(p, [value], rtol=1e-14, err_msg=name)


@pytest.mark.parametrize("build", [kernels.float32, kernels.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("table", ["ACTIVATIONS", "LOSSES", "OPTIMIZERS"])
def test_no_loop_is_without_a_formula(build, table):
    missing = sorted(set(getattr(build, table)) - set(getattr(reference, table)))
    assert not missing, f"tests/reference.py: {table} has no formula for {', '.join(missing)}"


def test_the_library_names_what_the_kernels_have():
    """Rows of the two rooms' tables are named alike, and no loop of the kernels is out of reach."""
    build = kernels.float32
    assert set(activations.ACTIVATIONS) == set(build.ACTIVATIONS)
    assert {form for form, _ in losses_and_outputs()} == set(build.LOSSES)
    yes_or_no = (False, True)
    reachable = {
        *(optimizers.Adam(eps_before_correction=before).kernel for before in yes_or_no),
        *(
            optimizers.SGD(momentum=m, nesterov=nesterov, rate_inside_velocity=inside).kernel
            for m, nesterov, inside in itertools.product((0, 0.9), yes_or_no, yes_or_no)
            if m or not nesterov
        ),
        *(
            optimizers.RMSprop(momentum=m, centered=centered).kernel
            for m, centered in itertools.product((0, 0.9), yes_or_no)
        ),
        optimizers.Nadam().kernel,
        optimizers.Adagrad().kernel,
    }
    assert reachable == set(build.OPTIMIZERS)
