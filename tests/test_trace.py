"""A trace is one step as training makes it, number by number: object, table and JSON."""

import dataclasses
import json

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import kernels
from fastmlp.optimizers import OPTIMIZERS
from fastmlp.trace import trace

ROWS, SIZES = 5, [3, 4, 6, 2]
RATE = 0.05
# Sums of at most six products of numbers about 1, and what follows from them.
CLOSE = {"rtol": 1e-12, "atol": 1e-14}

NETWORKS = {
    "plain": {},
    "batch": {"normalization": "batch"},
    "layer": {"normalization": "layer"},
    "dropout": {"dropout": 0.4, "input_dropout": 0.3},
    "all": {"normalization": ["layer", "batch"], "dropout": [0.4, 0.0], "input_dropout": 0.3},
}
# Every optimizer with every set of state vectors that it can have.
EVERY_OPTIMIZER = [
    fm.SGD(lr=RATE),
    fm.SGD(lr=RATE, momentum=0.9),
    fm.SGD(lr=RATE, momentum=0.9, nesterov=True, rate_inside_velocity=True),
    fm.Adam(lr=RATE),
    fm.AdamW(lr=RATE),
    fm.Nadam(lr=RATE),
    fm.RMSprop(lr=RATE),
    fm.RMSprop(lr=RATE, momentum=0.9),
    fm.RMSprop(lr=RATE, centered=True),
    fm.RMSprop(lr=RATE, momentum=0.9, centered=True),
    fm.Adagrad(lr=RATE),
]


def make(network="plain", dtype="float64", **options):
    mlp = fm.MLP(
        SIZES, activation=["tanh", "gelu"], seed=0, dtype=dtype, **NETWORKS[network], **options
    )
    # So that no bias is 0 and no gamma 1.
    mlp.params[:] += np.random.default_rng(1).normal(0, 0.2, mlp.n_params)
    return mlp


def minibatch(seed=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ROWS, SIZES[0])), rng.normal(size=(ROWS, SIZES[-1]))


def flat(found, form="{}"):
    """The named tensors of all layers, laid out like ``params``."""
    names = [form.format(name) for name in ("w", "b", "gamma", "beta")]
    parts = [getattr(layer, name) for layer in found.layers for name in names]
    return np.concatenate([part.ravel() for part in parts if part is not None])


def vectors(found, when="new_state"):
    """The optimizer's vectors of all layers, laid out like ``params``, by name."""
    of_layers = [getattr(layer, when) for layer in found.layers]
    return {
        name: np.concatenate([part.ravel() for of in of_layers for part in of[name].values()])
        for name in of_layers[0]
    }


def arrays_of(found):
    """Every array of a trace with the path that leads to it in JSON."""
    for name in ("inputs", "targets"):
        yield (name,), getattr(found, name)
    for i, layer in enumerate(found.layers):
        for field in dataclasses.fields(layer):
            value = getattr(layer, field.name)
            if isinstance(value, np.ndarray):
                yield ("layers", i, field.name), value
            elif isinstance(value, dict):
                for vector, tensors in value.items():
                    for tensor, array in tensors.items():
                        yield ("layers", i, field.name, vector, tensor), array


# ---- the step is training's own


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("optimizer", EVERY_OPTIMIZER, ids=repr)
def test_a_trace_is_the_trainers_step_bit_by_bit(network, optimizer, dtype):
    mlp, (x, y) = make(network, dtype), minibatch()
    options = {"l2": 0.01, "clip_norm": 0.5, "seed": 7}
    found = trace(mlp, x, y, optimizer=optimizer, **options)
    trainer = fm.Trainer(mlp, optimizer=optimizer, **options)
    np.testing.assert_array_equal(flat(found), mlp.params)
    trainer.forward(x)
    assert found.loss == trainer.compute_loss(y)
    trainer.backward()
    np.testing.assert_array_equal(flat(found, "d{}"), trainer.grads)
    for i, layer in enumerate(found.layers):
        given = layer.z if layer.normalization is None else layer.y
        np.testing.assert_array_equal(given, trainer.read("z", i))
        np.testing.assert_array_equal(layer.a, trainer.read("a", i))
        np.testing.assert_array_equal(layer.dz, trainer.read("dz", i))
    trainer.step()
    np.testing.assert_array_equal(flat(found, "clipped_d{}"), trainer.grads)
    np.testing.assert_array_equal(flat(found, "new_{}"), mlp.params)
    for when, expected in (("state", np.zeros_like(trainer._state)), ("new_state", trainer._state)):
        shown = vectors(found, when)
        assert tuple(shown) == optimizer.vector_names
        for vector, values in zip(shown.values(), expected, strict=True):
            np.testing.assert_array_equal(vector, values)
    assert (found.learning_rate, found.optimizer, found.seed) == (RATE, repr(optimizer), 7)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_network_is_left_untouched(network):
    mlp, (x, y) = make(network), minibatch()
    mlp.fit(x, y, epochs=2, seed=0)
    before = mlp.params.tobytes(), mlp._running.tobytes(), mlp.predict(x).tobytes()
    found = mlp.trace(x, y, optimizer="adam")
    assert (mlp.params.tobytes(), mlp._running.tobytes(), mlp.predict(x).tobytes()) == before
    # Nor do the trace's arrays share memory with it.
    for _, array in arrays_of(found):
        assert not np.may_share_memory(array, mlp.params)
        assert not np.may_share_memory(array, mlp._running)


# ---- the numbers hang together


@pytest.mark.parametrize("network", NETWORKS)
def test_the_forward_numbers_follow_from_each_other(network):
    """Each from those before it, in NumPy: so none is left out, and each is what it is called."""
    mlp, (x, y) = make(network), minibatch()
    found = trace(mlp, x, y, seed=3)
    before = x
    np.testing.assert_array_equal(found.inputs, x)
    np.testing.assert_array_equal(found.targets, y)
    activations = [np.tanh, gelu, lambda z: z]
    for layer, activation in zip(found.layers, activations, strict=True):
        np.testing.assert_allclose(layer.x, before if layer.mask is None else before * layer.mask)
        np.testing.assert_allclose(layer.z, layer.x @ layer.w + layer.b, **CLOSE)
        y = layer.z
        if layer.normalization is not None:
            axis = 0 if layer.normalization == "batch" else 1
            spread = np.sqrt(y.var(axis, keepdims=True) + 1e-5)
            np.testing.assert_allclose(
                layer.normalized, (y - y.mean(axis, keepdims=True)) / spread, rtol=1e-11, atol=1e-13
            )
            np.testing.assert_allclose(
                layer.y, layer.gamma * layer.normalized + layer.beta, **CLOSE
            )
            y = layer.y
        np.testing.assert_allclose(layer.a, activation(y), **CLOSE)
        before = layer.a


def gelu(z):
    """The activation as the library computes it, which other tests compare with its formula."""
    a = z.copy()
    kernels.float64.activate(kernels.float64.ACTIVATIONS["gelu"], a)
    return a


@pytest.mark.parametrize("network", NETWORKS)
def test_the_backward_numbers_follow_from_each_other(network):
    mlp, (x, y) = make(network), minibatch()
    found = trace(mlp, x, y, optimizer=fm.SGD(lr=RATE), seed=3)
    last = found.layers[-1]
    np.testing.assert_allclose(last.dz, 2 * (last.a - y) / y.size, **CLOSE)
    for layer in found.layers:
        np.testing.assert_allclose(layer.dw, layer.x.T @ layer.dz, **CLOSE)
        np.testing.assert_allclose(layer.db, layer.dz.sum(axis=0), **CLOSE)
        for name in ("w", "b", "gamma", "beta"):
            old, gradient = getattr(layer, name), getattr(layer, f"d{name}")
            assert (old is None) == (layer.normalization is None and name in ("gamma", "beta"))
            if old is not None:
                new = getattr(layer, f"new_{name}")
                np.testing.assert_allclose(new, old - RATE * gradient, **CLOSE)


@pytest.mark.parametrize("network", ["batch", "layer"])
def test_gamma_and_beta_have_their_own_gradients(network):
    """dz by the formula of Ioffe and Szegedy (2015), from dgamma and dbeta and what is shown."""
    mlp, (x, y) = make(network), minibatch()
    found = trace(mlp, x, y)
    axis = 0 if network == "batch" else 1
    for layer, above in zip(found.layers, found.layers[1:], strict=False):
        dy = (above.dz @ above.w.T) * derivative(layer.activation, layer.y)
        np.testing.assert_allclose(layer.dbeta, dy.sum(axis=0), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(
            layer.dgamma, (dy * layer.normalized).sum(axis=0), rtol=1e-6, atol=1e-8
        )
        g, n = dy * layer.gamma, layer.normalized
        centered = g - g.mean(axis, keepdims=True) - n * (g * n).mean(axis, keepdims=True)
        dz = centered / np.sqrt(layer.z.var(axis, keepdims=True) + 1e-5)
        np.testing.assert_allclose(layer.dz, dz, rtol=1e-6, atol=1e-8)


def derivative(activation, z):
    """By a central difference: right to some 1e-10."""
    high, low = z + 1e-6, z - 1e-6
    for a in (high, low):
        kernels.float64.activate(kernels.float64.ACTIVATIONS[activation], a)
    return (high - low) / 2e-6


def test_scores_of_a_layer_alone_are_those_it_has_in_the_network(dtype):
    """So are those shown before normalisation, which no kernel keeps, to the last bit."""
    x, y = minibatch()
    for layer in trace(make("dropout", dtype), x, y, seed=3).layers:
        alone = fm.MLP.from_weights([layer.w], [layer.b], dtype=dtype)
        np.testing.assert_array_equal(alone.predict(layer.x), layer.z)


def test_running_means_before_and_after(rng):
    mlp, (x, y) = make("batch"), minibatch()
    mlp.fit(rng.normal(size=(20, 3)), rng.normal(size=(20, 2)), epochs=1, seed=0)
    found = mlp.trace(x, y)
    for i, layer in enumerate(found.layers[:-1]):
        np.testing.assert_array_equal(layer.running_mean, mlp.buffers[f"layers.{i}.mean"])
        np.testing.assert_array_equal(layer.running_variance, mlp.buffers[f"layers.{i}.variance"])
        mean = 0.9 * layer.running_mean + 0.1 * layer.z.mean(axis=0)
        variance = 0.9 * layer.running_variance + 0.1 * layer.z.var(axis=0, ddof=1)
        np.testing.assert_allclose(layer.new_running_mean, mean, **CLOSE)
        np.testing.assert_allclose(layer.new_running_variance, variance, **CLOSE)
    assert found.layers[-1].running_mean is None


def test_masks_are_those_of_the_seed():
    mlp, (x, y) = make("dropout"), minibatch()
    one, same, other = (trace(mlp, x, y, seed=seed) for seed in (3, 3, 4))
    for layer in one.layers:
        assert (layer.mask == 0).any()
        p = 0.3 if layer is one.layers[0] else 0.4
        assert set(np.unique(layer.mask)) == {0, 1 / (1 - p)}
        # Nothing that is dropped is a negative zero.
        assert not np.signbit(layer.x[layer.mask == 0]).any()
    assert same.to_json() == one.to_json()
    assert other.to_json() != one.to_json()


# ---- the optimizer's own numbers


def test_vector_names_are_as_many_as_there_are_vectors():
    seen = {type(optimizer) for optimizer in EVERY_OPTIMIZER} | {fm.LevenbergMarquardt}
    assert seen == set(OPTIMIZERS.values())
    for optimizer in [*EVERY_OPTIMIZER, fm.LevenbergMarquardt()]:
        assert len(set(optimizer.vector_names)) == optimizer.n_vectors
    with pytest.raises(NotImplementedError):
        _ = fm.optimizers.Optimizer(lr=1.0).vector_names


def test_each_vector_holds_what_its_name_says():
    """After the first step, from zeros: by the formulas in the optimizers' docstrings."""
    mlp, (x, y) = make(), minibatch()

    def found(optimizer):
        return vectors(mlp.trace(x, y, optimizer=optimizer))

    g = flat(mlp.trace(x, y), "d{}")
    momentum = {"momentum": 0.9}
    root = np.sqrt(0.01 * g**2)
    centered = np.sqrt(0.01 * g**2 - (0.01 * g) ** 2)
    expected = [
        (fm.SGD(**momentum), {"velocity": g}),
        (fm.SGD(lr=RATE, rate_inside_velocity=True, **momentum), {"velocity": -RATE * g}),
        (fm.Adam(), {"first_moment": 0.1 * g, "second_moment": 0.001 * g**2}),
        (fm.AdamW(), {"first_moment": 0.1 * g, "second_moment": 0.001 * g**2}),
        (fm.Nadam(), {"first_moment": 0.1 * g, "second_moment": 0.001 * g**2}),
        (fm.RMSprop(**momentum), {"mean_square": 0.01 * g**2, "velocity": g / (root + 1e-8)}),
        (
            fm.RMSprop(centered=True, **momentum),
            {
                "mean_square": 0.01 * g**2,
                "mean_gradient": 0.01 * g,
                "velocity": g / (centered + 1e-8),
            },
        ),
        (fm.Adagrad(), {"sum_of_squares": g**2}),
    ]
    for optimizer, values in expected:
        shown = found(optimizer)
        assert list(shown) == list(values)
        for name, value in values.items():
            # The kernel has 1 - 0.999 and its like, right to some 1e-13.
            np.testing.assert_allclose(shown[name], value, rtol=1e-10, err_msg=name)


def test_an_optimizer_without_steps_of_minibatches_is_refused():
    with pytest.raises(ValueError, match=r"optimizer: got LevenbergMarquardt.*expected one of"):
        make().trace(*minibatch(), optimizer="levenberg_marquardt")


# ---- penalties and clipping


def test_penalties_are_shown_apart():
    mlp, (x, y) = make("layer"), minibatch()
    plain, penalized = trace(mlp, x, y), trace(mlp, x, y, l1=0.03, l2=0.2)
    assert plain.data_loss == plain.loss == penalized.data_loss
    assert plain.settings == {}
    assert penalized.settings == {"l1": 0.03, "l2": 0.2}
    penalty = sum(0.03 * np.abs(w).sum() + 0.1 * (w**2).sum() for w in mlp.weights)
    assert penalized.loss - penalized.data_loss == pytest.approx(penalty, rel=1e-12)
    for without, layer in zip(plain.layers, penalized.layers, strict=True):
        assert without.loss_dw is None
        np.testing.assert_array_equal(layer.loss_dw, without.dw)
        share = 0.2 * layer.w + 0.03 * np.sign(layer.w)
        np.testing.assert_allclose(layer.dw - layer.loss_dw, share, **CLOSE)
        np.testing.assert_array_equal(layer.db, without.db)


def test_penalties_over_rows_are_shown_by_their_share():
    mlp, (x, y), weight = make(), minibatch(), np.array([1.0, 0.5, 2.0, 0.0, 1.0])
    options = {"l1": 0.3, "l2": 2.0, "penalties_over_rows": True}
    found = trace(mlp, x, y, sample_weight=weight, **options)
    assert found.settings == options
    assert "(l1=0.3, l2=2, penalties_over_rows=True)" in str(found)
    assert json.loads(found.to_json())["settings"] == options
    penalty = sum(0.3 * np.abs(w).sum() + (w**2).sum() for w in mlp.weights)
    assert found.loss - found.data_loss == pytest.approx(penalty / 4.5, rel=1e-12)
    for layer in found.layers:
        share = (2 * layer.w + 0.3 * np.sign(layer.w)) / 4.5
        np.testing.assert_allclose(layer.dw - layer.loss_dw, share, **CLOSE)


def test_a_clipped_gradient_is_shown_beside_the_whole_one():
    mlp, (x, y) = make(), minibatch()
    found = trace(mlp, x, y, clip_value=0.1, clip_norm=0.2)
    whole = flat(found, "d{}")
    assert np.abs(whole).max() > 0.1
    cut = np.clip(whole, -0.1, 0.1)
    assert np.linalg.norm(cut) > 0.2
    clipped = cut * (0.2 / np.linalg.norm(cut))
    np.testing.assert_allclose(flat(found, "clipped_d{}"), clipped, **CLOSE)
    assert trace(mlp, x, y).layers[0].clipped_dw is None


def test_scaled_inputs_and_targets_are_shown_as_the_network_reads_them(rng):
    X, t = rng.normal(5, 3, (40, 3)), rng.normal(-2, 7, (40, 2))
    mlp = make(scale="standard")
    mlp.fit(X, t, epochs=1, seed=0)
    found = mlp.trace(X[:4], t[:4])
    np.testing.assert_allclose(found.inputs, (X[:4] - X.mean(axis=0)) / X.std(axis=0), **CLOSE)
    np.testing.assert_allclose(found.targets, (t[:4] - t.mean(axis=0)) / t.std(axis=0), **CLOSE)
    error = found.layers[-1].a - found.targets
    assert found.loss == pytest.approx((error**2).mean(), rel=1e-12)


def test_class_numbers_and_weights_of_rows():
    mlp, (x, _) = make(output="softmax"), minibatch()
    labels, weight = np.array([0, 1, 1, 0, 1]), np.array([1.0, 0.5, 2.0, 0.0, 1.0])
    found = trace(mlp, x, labels, sample_weight=weight)
    assert found.targets[:, 0].tolist() == labels.tolist()
    error = (found.layers[-1].a - np.eye(2)[labels]) * weight[:, None] / weight.sum()
    np.testing.assert_allclose(found.layers[-1].dz, error, **CLOSE)


# ---- on paper


@pytest.mark.parametrize("network", NETWORKS)
def test_json_is_exact_to_the_last_bit(network, dtype):
    found = trace(make(network, dtype), *minibatch(), optimizer="adam", l2=0.1, clip_norm=1, seed=3)
    read = json.loads(found.to_json())
    n_arrays = 0
    for path, array in arrays_of(found):
        value = read
        for key in path:
            value = value[key]
        assert np.array(value, dtype).tobytes() == array.astype(dtype).tobytes(), path
        assert np.shape(value) == array.shape
        n_arrays += 1
    assert n_arrays > 50
    for name in ("loss", "data_loss", "optimizer", "learning_rate", "seed"):
        assert read[name] == getattr(found, name)
    assert read["settings"] == {"l2": 0.1, "clip_norm": 1.0}
    assert [layer["activation"] for layer in read["layers"]] == ["tanh", "gelu", "identity"]
    assert read["layers"][-1]["gamma"] is None


def test_json_keeps_what_has_few_digits_in_print():
    """A number that eight digits do not hold, a negative zero, and the smallest there is."""
    w = [[0.1 + 2**-54, -0.0, 5e-324]]
    mlp = fm.MLP.from_weights([w], [np.zeros(3)], dtype="float64")
    read = json.loads(mlp.trace([[1.0]], [[1.0, 2.0, 3.0]]).to_json())["layers"][0]["w"]
    assert np.array(read).tobytes() == np.array(w).tobytes()


@pytest.mark.parametrize("network", NETWORKS)
def test_printing_shows_every_number(network):
    found = trace(make(network), *minibatch(), optimizer="adam", l2=0.1, clip_norm=1, seed=3)
    shown = str(found)
    numbers = set(shown.split())
    n_numbers = 0
    for path, array in arrays_of(found):
        # Inputs without dropout are the first layer's x; targets are the caller's.
        if path == ("targets",) or (path == ("inputs",) and found.layers[0].mask is None):
            continue
        for value in array.ravel():
            assert {f"{value:.8f}", f"{value:.8e}"} & numbers, (path, value)
            n_numbers += 1
    assert n_numbers > 500
    assert f"loss: {found.loss:.10g}, without penalties {found.data_loss:.10g}" in shown
    assert "(l2=0.1, clip_norm=1)" in shown
    for name in ("new first_moment of w", "second_moment of b", "loss_dw", "clipped_db"):
        assert f" {name} " in shown


def test_printing_names_only_what_there_is():
    shown = str(make().trace(*minibatch()))
    for name in ("mask", "gamma", "running", "clipped", "loss_dw", "moment", "penalties"):
        assert name not in shown


def test_small_numbers_keep_their_digits_in_print():
    mlp = fm.MLP.from_weights([[[1.0]]], [[1e-5]], dtype="float64")
    shown = str(mlp.trace([[1.234567891e-7]], [[1.0]]))
    assert "x   1.23456789e-07" in shown
    assert "b   1.00000000e-05" in shown
    assert "w   1.00000000" in shown


def test_what_a_trainer_reads_as_a_layers_input_is_what_dropout_left():
    mlp, (x, y) = make("dropout"), minibatch()
    found = trace(mlp, x, y, seed=3)
    trainer = fm.Trainer(mlp, optimizer="sgd", seed=3)
    trainer.forward(x)
    for i, layer in enumerate(found.layers):
        np.testing.assert_array_equal(trainer.read("x", i), layer.x)
