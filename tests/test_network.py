"""The network: structure, parameters and their views, copies, initial weights, prediction."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import reference

import fastmlp as fm
from fastmlp import activations, initializers

SIZES = [(3, 2), (1, 1), (2, 4, 1), (5, 1, 7), (8, 6, 4, 3), (33, 65, 17, 9)]


def predict_by_hand(mlp, X):
    a = np.asarray(X, np.float64)
    for w, b, name in zip(mlp.weights, mlp.biases, mlp.activations, strict=True):
        formula, _ = reference.ACTIVATIONS[name]
        a = formula(a @ w.astype(np.float64) + b.astype(np.float64))
    return a


def tolerance(dtype):
    return {"float32": 1e-5, "float64": 1e-13}[np.dtype(dtype).name]


# ---- structure


@pytest.mark.parametrize("sizes", SIZES)
def test_shapes_and_count_of_parameters(sizes, dtype):
    mlp = fm.MLP(sizes, seed=0, dtype=dtype)
    pairs = list(pairwise(sizes))
    assert mlp.sizes == sizes
    assert [w.shape for w in mlp.weights] == pairs
    assert [b.shape for b in mlp.biases] == [(n_out,) for _, n_out in pairs]
    assert mlp.n_params == sum((n_in + 1) * n_out for n_in, n_out in pairs)
    assert mlp.params.shape == (mlp.n_params,)
    assert {a.dtype for a in (mlp.params, *mlp.weights, *mlp.biases)} == {dtype}
    assert mlp.dtype == dtype
    assert mlp.buffers == {}


def test_default_element_type_is_float32():
    assert fm.MLP([2, 1]).dtype == np.float32


@pytest.mark.parametrize("sizes", SIZES)
def test_params_hold_w_then_b_layer_by_layer(sizes):
    mlp = fm.MLP(sizes, seed=0)
    mlp.params[:] = np.arange(mlp.n_params)
    parts = [part.ravel() for pair in zip(mlp.weights, mlp.biases, strict=True) for part in pair]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(mlp.n_params))


def test_sizes_may_be_any_sequence_of_whole_numbers():
    expected = (4, 3, 2)
    assert fm.MLP(np.array([4, 3, 2])).sizes == expected
    assert fm.MLP(iter([4, 3, 2])).sizes == expected
    assert all(type(size) is int for size in fm.MLP(np.array([4, 3, 2])).sizes)


# ---- views


def test_weights_and_biases_share_the_memory_of_params():
    mlp = fm.MLP([3, 5, 2], seed=0)
    assert all(np.shares_memory(view, mlp.params) for view in (*mlp.weights, *mlp.biases))
    mlp.weights[1][4, 1] = 7
    mlp.biases[1][1] = 8
    np.testing.assert_array_equal(mlp.params[[-3, -1]], [7, 8])
    mlp.params[:] = 0
    assert not any(view.any() for view in (*mlp.weights, *mlp.biases))


@pytest.mark.parametrize("write", ["params", "weights", "biases"])
@pytest.mark.parametrize("sizes", [(3, 4, 2), (40, 1100, 700, 3)])
def test_writing_changes_predictions_at_once(sizes, write, dtype, rng):
    """Also in a network so wide that its weights are copied into panels, and once predicted."""
    mlp = fm.MLP(sizes, activation="tanh", seed=0, dtype=dtype)
    X = rng.normal(size=(20, sizes[0]))
    before = mlp.predict(X)
    parts = {"params": [mlp.params], "weights": mlp.weights, "biases": mlp.biases}
    for part in parts[write]:
        part += 0.01
    after = mlp.predict(X)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, predict_by_hand(mlp, X), rtol=0, atol=10 * tolerance(dtype))


def test_training_changes_params_in_place():
    mlp = fm.MLP([2, 4, 1], seed=0)
    params, weights, biases = mlp.params, mlp.weights, mlp.biases
    before = params.copy()
    mlp.fit([[0, 1], [1, 0]], [[1], [0]], epochs=2)
    assert mlp.params is params
    assert mlp.weights is weights
    assert mlp.biases is biases
    assert not np.array_equal(params, before)
    np.testing.assert_array_equal(params[:8], weights[0].ravel())


def test_params_can_be_changed_but_not_replaced():
    """Another array in their place would be seen by no view and by no kernel."""
    mlp = fm.MLP([2, 4, 1], seed=0)
    before = mlp.params.copy()
    mlp.params *= 2
    np.testing.assert_array_equal(mlp.weights[0].ravel(), 2 * before[:8])
    with pytest.raises(AttributeError, match="params"):
        mlp.params = np.zeros_like(before)
    np.testing.assert_array_equal(mlp.params, 2 * before)


# ---- from given weights


def test_from_weights_predicts_with_exactly_them(dtype, rng):
    Ws = [rng.normal(size=(3, 4)), rng.normal(size=(4, 2))]
    bs = [rng.normal(size=4), rng.normal(size=2)]
    mlp = fm.MLP.from_weights(Ws, bs, activation="tanh", output="sigmoid", dtype=dtype)
    assert mlp.sizes == (3, 4, 2)
    assert mlp.activations == ("tanh", "sigmoid")
    for given, kept in zip([*Ws, *bs], [*mlp.weights, *mlp.biases], strict=True):
        np.testing.assert_array_equal(given.astype(dtype), kept)
    X = rng.normal(size=(7, 3))
    np.testing.assert_allclose(
        mlp.predict(X), predict_by_hand(mlp, X), rtol=0, atol=tolerance(dtype)
    )


def test_from_weights_copies(rng):
    Ws, bs = [rng.normal(size=(3, 2))], [rng.normal(size=2)]
    mlp = fm.MLP.from_weights(Ws, bs)
    kept = mlp.params.copy()
    Ws[0][:] = 0
    bs[0][:] = 0
    np.testing.assert_array_equal(mlp.params, kept)
    mlp.params[:] = 5
    assert not Ws[0].any()
    assert not bs[0].any()


@pytest.mark.parametrize(
    ("of_weights", "of_biases", "found"),
    [
        ("float32", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float64", "float32", "float64"),
        ("float64", "float64", "float64"),
        ("int64", "float32", "float64"),
        ("float32", "int8", "float64"),
        ("float16", "float32", "float32"),
        ("float32", "float16", "float32"),
        (">f4", ">f4", "float32"),
        (">f4", "float32", "float32"),
    ],
)
def test_from_weights_is_float32_if_every_array_is(of_weights, of_biases, found):
    mlp = fm.MLP.from_weights([np.ones((2, 2), of_weights)], [np.ones(2, of_biases)])
    assert mlp.dtype == found
    assert mlp.params.tolist() == [1] * 6


def test_from_weights_takes_lists_and_an_explicit_dtype():
    assert fm.MLP.from_weights([[[1, 2]]], [[3, 4]]).dtype == np.float64
    mlp = fm.MLP.from_weights([[[1, 2]]], [[3, 4]], dtype="float32")
    assert mlp.dtype == np.float32
    assert mlp.params.tolist() == [1, 2, 3, 4]


def test_from_weights_takes_any_layout(rng):
    w = rng.normal(size=(4, 6)).astype(">f8")
    w.flags.writeable = False
    plain = np.ascontiguousarray(w, np.float64)
    for given, expected in [(w, plain), (w.T, plain.T), (w[::-2, ::3], plain[::-2, ::3])]:
        mlp = fm.MLP.from_weights([given], [np.zeros(given.shape[1])])
        np.testing.assert_array_equal(mlp.weights[0], expected)


def test_from_weights_of_one_layer_and_of_several_activations():
    one = fm.MLP.from_weights([np.ones((2, 3))], [np.zeros(3)], output="tanh")
    assert one.activations == ("tanh",)
    ones = [np.ones((2, 2))] * 3, [np.zeros(2)] * 3
    mlp = fm.MLP.from_weights(*ones, activation=["tanh", "logistic"], output="softmax")
    assert mlp.activations == ("tanh", "sigmoid", "softmax")


# ---- copies


def pickled(protocol):
    return lambda mlp: pickle.loads(pickle.dumps(mlp, protocol))


COPIES = {
    "copy method": lambda mlp: mlp.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "in a deep-copied list": lambda mlp: copy.deepcopy([mlp, mlp])[1],
    **{f"pickle {n}": pickled(n) for n in range(2, pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("sizes", [(3, 2), (3, 5, 4, 2)])
def test_copies_keep_the_params_and_lay_live_views_over_them(copied, sizes, dtype, rng):
    hidden = ["tanh", "relu"][: len(sizes) - 2]
    mlp = fm.MLP(sizes, activation=hidden, output="sigmoid", seed=0, dtype=dtype)
    X = rng.normal(size=(4, 3))
    expected = mlp.predict(X)  # so that there is a plan, which cannot be copied
    twin = copied(mlp)
    assert twin is not mlp
    assert repr(twin) == repr(mlp)
    assert twin.activations == mlp.activations
    assert twin.params.tobytes() == mlp.params.tobytes()
    assert not np.shares_memory(twin.params, mlp.params)
    assert all(np.shares_memory(view, twin.params) for view in (*twin.weights, *twin.biases))
    np.testing.assert_array_equal(twin.predict(X), expected)
    twin.params[:] = 0
    assert not any(w.any() for w in twin.weights)
    np.testing.assert_array_equal(twin.predict(X), np.full((4, 2), 0.5))
    np.testing.assert_array_equal(mlp.predict(X), expected)


def test_a_network_copied_twice_in_one_object_stays_one():
    first, second = copy.deepcopy([mlp := fm.MLP([2, 1], seed=0), mlp])
    assert first is second


def test_a_copy_trains_like_the_original(rng):
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    mlp = fm.MLP([3, 4, 2], seed=0)
    twin = pickle.loads(pickle.dumps(mlp))
    for network in (mlp, twin):
        network.fit(X, y, epochs=3, seed=5)
    assert mlp.params.tobytes() == twin.params.tobytes()


def test_a_damaged_pickle_is_refused():
    """What compiled code relies on is judged again; nothing is read outside an array."""
    mlp = fm.MLP([4, 6, 3], scale="standard", normalization="batch", seed=0)
    mlp.fit(np.eye(4), np.eye(4)[:, :3], epochs=1)
    state = mlp.__getstate__()

    def refused(message, change):
        damaged = copy.deepcopy(state)
        change(damaged)
        with pytest.raises((ValueError, TypeError), match=message):
            fm.MLP.__new__(fm.MLP).__setstate__(damaged)

    def structure(**values):
        def change(damaged):
            for name, value in values.items():
                object.__setattr__(damaged["structure"], name, value)

        return change

    refused(
        r"params: got shape \(62,\), expected \(63,\)", lambda s: s.update(params=s["params"][1:])
    )
    refused("params: got strings", lambda s: s.update(params=np.array(["0"] * 63)))
    refused(
        r"buffers\['inputs.mean'\]: got shape \(3,\), expected \(4,\)",
        lambda s: s["buffers"].update({"inputs.mean": np.zeros(3)}),
    )
    refused("could not broadcast", lambda s: s["buffers"].update({"layers.0.mean": np.zeros(7)}))
    refused("scale: got 'double'", lambda s: s.update(scale="double"))
    refused("sizes: got -6, expected whole numbers", structure(sizes=(4, -6, 3)))
    refused("activation: got 1 names", structure(sizes=(4, 6, 6, 3)))
    refused("output: unknown name 'evil'", structure(activations=("relu", "evil")))
    refused("dropout: got 2", structure(dropout=(2,)))
    refused("dtype: got dtype\\('int32'\\)", structure(dtype=np.dtype("int32")))
    twin = fm.MLP.__new__(fm.MLP)
    twin.__setstate__(copy.deepcopy(state))
    np.testing.assert_array_equal(twin.predict(np.eye(4)), mlp.predict(np.eye(4)))


# ---- initial weights


def test_the_same_seed_draws_the_same_weights():
    first, again, other = (fm.MLP([20, 30, 5], seed=seed) for seed in (7, 7, 8))
    assert first.params.tobytes() == again.params.tobytes()
    assert not np.array_equal(first.weights[0], other.weights[0])


def test_without_a_seed_every_network_starts_elsewhere():
    first, second = fm.MLP([20, 30, 5]), fm.MLP([20, 30, 5])
    assert not np.array_equal(first.params, second.params)


@pytest.mark.parametrize("init", [None, *initializers.INITIALIZERS])
def test_both_element_types_start_alike(init):
    narrow = fm.MLP([9, 8, 7], init=init, seed=3, dtype="float32")
    wide = fm.MLP([9, 8, 7], init=init, seed=3, dtype="float64")
    np.testing.assert_array_equal(narrow.params, wide.params.astype(np.float32))


def test_nothing_touches_numpys_global_generator():
    before = np.random.get_state()[1].tolist()
    mlp = fm.MLP([2, 4, 1])
    mlp.fit([[0, 1], [1, 0]], [[1], [0]], epochs=2)
    assert np.random.get_state()[1].tolist() == before


# Limit of a uniform distribution, or standard deviation of a normal one.
SPREAD = {
    "he_uniform": lambda n_in, n_out: np.sqrt(6 / n_in),
    "he_normal": lambda n_in, n_out: np.sqrt(2 / n_in),
    "glorot_uniform": lambda n_in, n_out: np.sqrt(6 / (n_in + n_out)),
    "glorot_normal": lambda n_in, n_out: np.sqrt(2 / (n_in + n_out)),
    "xavier_uniform": lambda n_in, n_out: np.sqrt(6 / (n_in + n_out)),
    "xavier_normal": lambda n_in, n_out: np.sqrt(2 / (n_in + n_out)),
    "lecun_uniform": lambda n_in, n_out: np.sqrt(3 / n_in),
    "lecun_normal": lambda n_in, n_out: np.sqrt(1 / n_in),
    "normal": lambda n_in, n_out: 1.0,
    "zeros": lambda n_in, n_out: 0.0,
}


@pytest.mark.parametrize("name", initializers.INITIALIZERS)
def test_statistics_of_initial_weights(name):
    n_in, n_out = 150, 400
    (w,) = fm.MLP([n_in, n_out], init=name, seed=0, dtype="float64").weights
    spread = SPREAD[name](n_in, n_out)
    if name.endswith("uniform"):
        assert 0.999 * spread < np.abs(w).max() <= spread
        deviation = spread / np.sqrt(3)
    else:
        deviation = spread
        assert np.abs(w).max() <= 6 * deviation
    # 60,000 draws: five standard errors of the mean, and of the deviation (at most 1/sqrt(2n)).
    assert abs(w.mean()) <= 5 * deviation / np.sqrt(w.size)
    assert w.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * w.size))


@pytest.mark.parametrize("name", ["normal", "he_normal", "glorot_normal"])
def test_normal_weights_have_the_tails_of_a_normal_distribution(name):
    (w,) = fm.MLP([150, 400], init=name, seed=0, dtype="float64").weights
    assert np.mean(np.abs(w) < w.std()) == pytest.approx(0.6827, abs=0.01)
    assert np.mean(np.abs(w) < 2 * w.std()) == pytest.approx(0.9545, abs=0.01)


@pytest.mark.parametrize("init", [None, "normal", "he_uniform"])
def test_biases_start_at_zero(init):
    assert not any(b.any() for b in fm.MLP([5, 4, 3], init=init, seed=0).biases)


# Of the activations that are not symmetric about zero; selu's is that of Klambauer et al. (2017).
SUITED = dict.fromkeys(
    ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "mish", "softplus"), "he_uniform"
) | {"selu": "lecun_normal"}


@pytest.mark.parametrize(
    "name", [name for name, row in activations.ACTIVATIONS.items() if not row.output_only]
)
def test_default_initial_weights_follow_the_activation(name):
    suited = SUITED.get(name, "glorot_uniform")
    found = fm.MLP([6, 5, 4], activation=name, output=name, seed=1)
    expected = fm.MLP([6, 5, 4], activation=name, output=name, init=suited, seed=1)
    assert found.params.tobytes() == expected.params.tobytes()


def test_default_initial_weights_of_mixed_layers():
    layers = {"activation": ["relu", "tanh"], "output": "softmax", "seed": 1}
    found = fm.MLP([6, 5, 4, 3], **layers)
    suited = ["he_uniform", "glorot_uniform", "glorot_uniform"]
    expected = fm.MLP([6, 5, 4, 3], init=suited, **layers)
    assert found.params.tobytes() == expected.params.tobytes()
    all_alike = fm.MLP([6, 5, 4, 3], init="he_uniform", **layers)
    assert found.params.tobytes() != all_alike.params.tobytes()


# ---- names


@pytest.mark.parametrize(("alias", "name"), [("logistic", "sigmoid"), ("linear", "identity")])
def test_aliases_of_activations(alias, name):
    mlp = fm.MLP([2, 3, 1], activation=alias, output=alias)
    assert mlp.activations == (name, name)
    assert mlp.output == name


def test_one_activation_for_each_hidden_layer():
    mlp = fm.MLP([2, 3, 3, 3, 1], activation=["relu", "tanh", "logistic"])
    assert mlp.activations == ("relu", "tanh", "sigmoid", "identity")


@pytest.mark.parametrize(
    ("mlp", "expected"),
    [
        (
            fm.MLP([784, 128, 10], output="softmax"),
            "MLP([784, 128, 10], activation='relu', output='softmax', dtype='float32')"
            "  # 101,770 parameters",
        ),
        (
            fm.MLP([2, 3, 3, 1], activation=["tanh", "relu"], dtype="float64"),
            "MLP([2, 3, 3, 1], activation=['tanh', 'relu'], output='identity', dtype='float64')"
            "  # 25 parameters",
        ),
        (fm.MLP([2, 1]), "MLP([2, 1], output='identity', dtype='float32')  # 3 parameters"),
    ],
)
def test_repr_can_be_evaluated(mlp, expected):
    assert repr(mlp) == expected
    assert repr(eval(expected, {"MLP": fm.MLP})) == expected


# ---- summary


def test_summary_has_a_line_for_each_layer_and_the_totals():
    mlp = fm.MLP([2, 3, 1200, 1], activation=["tanh", "relu"], output="sigmoid", dtype="float64")
    assert mlp.summary().splitlines() == [
        "layer  inputs  outputs  activation  parameters",
        "    0       2        3  tanh                 9",
        "    1       3    1,200  relu             4,800",
        "    2   1,200        1  sigmoid          1,201",
        "total                                    6,010",
        "48,080 bytes (float64), 4,806 multiplications a row",
    ]


def test_a_summary_shows_normalisation_and_dropout_where_there_are_any():
    mlp = fm.MLP([2, 3, 4, 1], normalization=["batch", None], dropout=[0.2, 0], input_dropout=0.1)
    header, *lines = mlp.summary().splitlines()
    assert header.split() == [
        "layer", "inputs", "outputs", "normalization", "activation", "dropout", "parameters",
    ]  # fmt: skip
    assert [line.split() for line in lines[:4]] == [
        ["0", "2", "3", "batch", "relu", "0.2", "15"],
        ["1", "3", "4", "relu", "16"],
        ["2", "4", "1", "identity", "5"],
        ["total", "36"],
    ]


@pytest.mark.parametrize("sizes", SIZES)
def test_the_numbers_of_a_summary_add_up(sizes, dtype):
    mlp = fm.MLP(sizes, dtype=dtype)
    _, *lines, last = mlp.summary().splitlines()
    *counts, total = (int(line.split()[-1].replace(",", "")) for line in lines)
    parts = zip(mlp.weights, mlp.biases, strict=True)
    assert counts == [w.size + b.size for w, b in parts]
    assert sum(counts) == total == mlp.n_params
    n_bytes, n_products = mlp.params.nbytes, sum(w.size for w in mlp.weights)
    assert last == f"{n_bytes:,} bytes ({dtype}), {n_products:,} multiplications a row"


def test_a_summary_counts_the_bytes_of_buffers():
    mlp = fm.MLP([2, 1])
    mlp.buffers["mean"] = np.zeros(2)
    assert mlp.summary().splitlines()[-1].startswith("28 bytes")


# ---- prediction


@pytest.mark.parametrize("output", activations.ACTIVATIONS)
@pytest.mark.parametrize("hidden", [a for a in activations.ACTIVATIONS if a != "softmax"])
def test_predictions_are_the_formula(hidden, output, dtype, rng):
    mlp = fm.MLP([7, 19, 10, 5], activation=hidden, output=output, seed=0, dtype=dtype)
    # An exponential of exponentials is soon beyond any element type.
    mlp.params[:] = rng.normal(scale=0.05 if hidden == "exp" else 0.5, size=mlp.n_params)
    X = rng.normal(size=(300, 7))
    found = mlp.predict(X)
    assert found.dtype == dtype
    assert found.shape == (300, 5)
    expected = predict_by_hand(mlp, X)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance(dtype) * scale)


def test_predict_writes_to_out(dtype, rng):
    mlp = fm.MLP([3, 2], seed=0, dtype=dtype)
    X = rng.normal(size=(5, 3))
    out = np.full((5, 2), np.nan, dtype)
    assert mlp.predict(X, out=out) is out
    assert out.tobytes() == mlp.predict(X).tobytes()


@pytest.mark.parametrize("shift", [0, 1, -1])
def test_out_may_overlap_the_input(shift, rng):
    """As NumPy's own functions have it: the result is that of a separate input."""
    mlp = fm.MLP([3, 3], output="tanh", seed=0)
    memory = rng.normal(size=(1002, 3)).astype(np.float32)
    X, out = memory[1:-1], memory[1 + shift :][:1000]
    expected = mlp.predict(X)
    mlp.predict(X, out=out)
    np.testing.assert_array_equal(out, expected)


def test_predict_returns_a_new_array_every_time(rng):
    mlp = fm.MLP([3, 2], seed=0)
    X = rng.normal(size=(5, 3))
    first = mlp.predict(X)
    kept = first.copy()
    mlp.predict(2 * X)
    np.testing.assert_array_equal(first, kept)


def test_predict_takes_lists_and_whole_numbers():
    mlp = fm.MLP.from_weights([[[2.0], [3.0]]], [[1.0]])
    for X in ([[10, 100]], ([10.0, 100.0],), np.array([[10, 100]], np.uint8)):
        assert mlp.predict(X).tolist() == [[321.0]]


def test_predict_asks_which_way_round_one_dimension_is():
    with pytest.raises(ValueError, match=r"^X: got 1 dimension.*X\[None, :\].*X\[:, None\]"):
        fm.MLP([3, 2]).predict([1, 2, 3])


@pytest.mark.parametrize("n_rows", [2, 7, 129, 600])
def test_a_rows_prediction_does_not_depend_on_its_neighbours(n_rows, dtype, rng):
    mlp = fm.MLP([11, 40, 23, 3], activation="tanh", output="softmax", seed=0, dtype=dtype)
    X = rng.normal(size=(n_rows, 11))
    together = mlp.predict(X, n_threads=2)
    for row in {0, 1, n_rows // 2, n_rows - 1}:
        assert mlp.predict(X[row : row + 1], n_threads=1).tobytes() == together[row].tobytes()


def test_predict_does_not_modify_its_input(rng):
    X = rng.normal(size=(5, 3)).astype(np.float32)
    kept = X.copy()
    mlp = fm.MLP([3, 3], output="relu", seed=0)
    mlp.predict(X)
    np.testing.assert_array_equal(X, kept)


# ---- evaluation


def test_evaluate_classes_by_hand(dtype, rng):
    mlp = fm.MLP([4, 6, 3], output="softmax", seed=0, dtype=dtype)
    X, y = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    weight = rng.uniform(0, 2, 50)
    probabilities = predict_by_hand(mlp, X)
    row_losses = -np.log(probabilities[np.arange(50), y])
    right = probabilities.argmax(axis=1) == y
    expected = {"loss": row_losses.mean(), "accuracy": right.mean()}
    assert mlp.evaluate(X, y) == pytest.approx(expected, rel=10 * tolerance(dtype))
    expected = {
        "loss": np.average(row_losses, weights=weight),
        "accuracy": np.average(right, weights=weight),
    }
    found = mlp.evaluate(X, y, sample_weight=weight)
    assert found == pytest.approx(expected, rel=10 * tolerance(dtype))


def test_evaluate_numbers_by_hand(dtype, rng):
    mlp = fm.MLP([4, 6, 3], seed=0, dtype=dtype)
    X, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 3))
    error = predict_by_hand(mlp, X) - y
    found = mlp.evaluate(X, y, loss="half_squared_error", metrics=["mse", "mae", "r2"])
    expected = {
        "loss": 0.5 * (error**2).sum(axis=1).mean(),
        "mse": (error**2).mean(),
        "mae": np.abs(error).mean(),
        "r2": np.mean(1 - (error**2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)),
    }
    assert found == pytest.approx(expected, rel=10 * tolerance(dtype))
    summed = mlp.evaluate(X, y, loss=fm.HalfSquaredError(reduction="sum"), metrics=())
    assert summed == pytest.approx({"loss": 50 * expected["loss"]}, rel=10 * tolerance(dtype))


def test_evaluate_fractions_by_hand(dtype, rng):
    mlp = fm.MLP([4, 6, 3], output="sigmoid", seed=0, dtype=dtype)
    X, y = rng.normal(size=(50, 4)), rng.uniform(size=(50, 3))
    a = predict_by_hand(mlp, X)
    expected = {"loss": -np.mean(y * np.log(a) + (1 - y) * np.log(1 - a))}
    found = mlp.evaluate(X, y, metrics=[])
    assert found == pytest.approx(expected, rel=10 * tolerance(dtype))


def test_evaluate_with_a_function_of_the_users():
    def largest_error(y, prediction):
        return np.abs(y - prediction).max()

    mlp = fm.MLP.from_weights([[[2.0]]], [[0.0]])
    found = mlp.evaluate([[1], [2]], [[2], [7]], metrics=[largest_error])
    assert found == {"loss": 4.5, "largest_error": 3.0}


def test_evaluate_changes_nothing(rng):
    mlp = fm.MLP([4, 3], seed=0)
    kept = mlp.params.copy()
    mlp.evaluate(rng.normal(size=(5, 4)), rng.normal(size=(5, 3)), metrics=["mse"])
    np.testing.assert_array_equal(mlp.params, kept)


# ---- the first lines of the documentation


def test_the_public_face(tmp_path, rng):
    """The lines of DESIGN.md that a newcomer types, at a size that costs nothing."""
    X, y = rng.normal(size=(60, 8)), rng.integers(0, 3, 60)
    Xv, yv = X[:20], y[:20]
    mlp = fm.MLP([8, 12, 3], activation="relu", output="softmax", seed=0)
    history = mlp.fit(
        X,
        y,
        loss="cross_entropy",
        optimizer=fm.Adam(lr=1e-3),
        epochs=10,
        batch_size=16,
        validation_data=(Xv, yv),
        metrics=["accuracy"],
        verbose=0,
    )
    assert set(history) == {"loss", "val_loss", "val_accuracy"}
    assert [len(column) for column in history.values()] == [10, 10, 10]
    np.testing.assert_allclose(mlp.predict(X).sum(axis=1), 1, rtol=1e-5)
    assert set(mlp.evaluate(X, y, metrics=["accuracy"])) == {"loss", "accuracy"}
    mlp.save(tmp_path / "digits.safetensors")
    assert fm.load(tmp_path / "digits.safetensors").params.tobytes() == mlp.params.tobytes()

    optimizer = fm.SGD(lr=0.1, momentum=0.9, nesterov=True)
    trainer = fm.Trainer(
        mlp, loss="cross_entropy", optimizer=optimizer, batch_size=64, seed=None, n_threads=None
    )
    trainer.fit(X, y, epochs=10, shuffle=True)
    assert trainer.forward(X[:5]).shape == (5, 3)
    assert isinstance(trainer.compute_loss(y[:5]), float)
    trainer.backward()
    assert trainer.grads.shape == trainer.mlp.params.shape
    trainer.step()


def test_every_public_name_is_there():
    assert all(getattr(fm, name) is not None for name in fm.__all__)
    assert set(fm.__all__) <= set(dir(fm))
