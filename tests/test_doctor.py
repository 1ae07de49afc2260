"""The doctor names what was planted, and keeps quiet about healthy trainings."""

import io
import re

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import doctor

NETWORKS_EACH, HEALTHY = 20, 50
KINDS = ["classes", "yes or no", "numbers"]


def problem(rng):
    """Rows that a small network can learn something from; what its output is, and how wide."""
    n, d = int(rng.integers(600, 1500)), int(rng.integers(3, 12))
    X = rng.normal(0, 1, (n, d)).astype(np.float32)
    W = rng.normal(0, 1, (d, 3))
    kind = KINDS[rng.integers(3)]
    if kind == "classes":
        return X, (X @ W + 0.3 * np.sin(2 * X[:, :1])).argmax(axis=1), {"output": "softmax"}, 3
    if kind == "yes or no":
        return X, (X @ W[:, 0] + X[:, 0] * X[:, 1] > 0).astype(int), {"output": "sigmoid"}, 1
    return X, np.tanh(X @ W[:, :1]) + 0.5 * X[:, :1] ** 2, {}, 1


def network(rng, X, n_out, output, activation=None, depth=None):
    depth = depth or int(rng.integers(1, 4))
    activation = activation or str(rng.choice(["relu", "tanh", "elu", "silu", "leaky_relu"]))
    sizes = [X.shape[1], *(int(width) for width in rng.integers(12, 48, depth)), n_out]
    return fm.MLP(sizes, activation=activation, seed=int(rng.integers(10**6)), **output)


def examine(rng, mlp, X, y, optimizer="adam"):
    """Train, and return what was found; every epoch is looked at, whatever the time it takes."""
    found = fm.Doctor(verbose=False, share=0.999)
    trainer = fm.Trainer(
        mlp, optimizer=optimizer, batch_size=int(rng.choice([16, 32, 64])),
        seed=int(rng.integers(10**6)),
    )  # fmt: skip
    epochs = int(rng.integers(12, 40))
    trainer.fit(X, y, epochs=epochs, callbacks=[found], validation_split=0.2)
    return found


def planted(name, rng):
    X, y, output, n_out = problem(rng)
    if name == "dead_units":
        mlp = network(rng, X, n_out, output, "relu")
        mlp.biases[rng.integers(len(mlp.biases) - 1)][:] -= rng.uniform(20, 60)
    elif name == "saturated_units":
        mlp = network(rng, X, n_out, output, ["sigmoid", "tanh"][rng.integers(2)])
        mlp.weights[rng.integers(len(mlp.weights) - 1)][:] *= rng.uniform(100, 300)
    elif name == "vanishing_gradients":
        mlp = network(rng, X, n_out, output, "sigmoid", int(rng.integers(7, 11)))
    elif name == "exploding_gradients":
        mlp = network(rng, X, n_out, output, ["relu", "elu"][rng.integers(2)], 5)
        for w in mlp.weights[1:-1]:
            w *= rng.uniform(6, 10)
        return examine(rng, mlp, X, y, fm.Adam(1e-5))
    else:
        mlp = network(rng, X, n_out, output)
    if name == "unscaled_inputs":
        X = X * np.exp(rng.uniform(np.log(50), np.log(1e4))) + rng.choice([0, 300])
    if name == "labels_not_learned":
        y = rng.permutation(y)
    optimizer = "adam"
    if name == "rate_too_high":
        optimizer = [fm.SGD(rng.uniform(5, 50)), fm.Adam(rng.uniform(0.5, 3))][rng.integers(2)]
    if name == "rate_too_low":
        rates = 10 ** rng.uniform(-5, -4), 10 ** rng.uniform(-6, -5.3)
        optimizer = [fm.SGD(rates[0]), fm.Adam(rates[1])][rng.integers(2)]
    return examine(rng, mlp, X, y, optimizer)


@pytest.mark.filterwarnings("ignore:training diverged")
def test_what_was_planted_is_named_first():
    right = {}
    for number, name in enumerate(doctor.ORDER):
        findings = [
            planted(name, np.random.default_rng([1, number, i])).findings
            for i in range(NETWORKS_EACH)
        ]
        right[name] = sum(bool(found) and found[0].name == name for found in findings)
    assert sum(right.values()) >= 0.95 * NETWORKS_EACH * len(doctor.ORDER), right
    assert min(right.values()) >= 0.8 * NETWORKS_EACH, right


def test_healthy_trainings_are_left_alone():
    alarms = []
    for i in range(HEALTHY):
        rng = np.random.default_rng([2, i])
        X, y, output, n_out = problem(rng)
        mlp = network(rng, X, n_out, output)
        optimizer = [fm.Adam(10 ** rng.uniform(-3, -2)), fm.SGD(10 ** rng.uniform(-2, -1.3))]
        found = examine(rng, mlp, X, y, optimizer[rng.integers(2)])
        alarms += [(mlp, str(finding)) for finding in found.findings]
    assert len(alarms) <= 1, alarms


def test_it_says_what_and_where_and_what_to_do():
    X, y, output, n_out = problem(np.random.default_rng(0))
    mlp = network(np.random.default_rng(0), X, n_out, output, "relu", 2)
    mlp.biases[0][:] -= 100
    file = io.StringIO()
    mlp.fit(X, y, epochs=5, callbacks=[fm.Doctor(share=0.999, file=file)])
    assert re.match(
        r"doctor: dead_units in layer 0: 100% of its units put out zero for every row; lower the ",
        file.getvalue(),
    )


def test_it_keeps_to_its_share_of_the_time():
    """Its own count of the time it takes; a test of the clock would be one of the machine."""
    X, y, output, n_out = problem(np.random.default_rng(0))
    mlp = network(np.random.default_rng(0), X, n_out, output)
    found = fm.Doctor(verbose=False, share=0.02)
    mlp.fit(X, y, epochs=300, callbacks=[found])
    assert found._looks > 1
    never = fm.Doctor(verbose=False, share=0.0)
    mlp.fit(X, y, epochs=20, callbacks=[never])
    assert never._looks == 1, "only before the first update"


def test_the_network_is_left_alone():
    """Training with a doctor beside it gives the same bits, running means included."""
    X, y, output, n_out = problem(np.random.default_rng(3))
    mlps = []
    for callbacks in ([], [fm.Doctor(verbose=False, share=0.999)]):
        mlp = fm.MLP([X.shape[1], 16, n_out], normalization="batch", dropout=0.2, seed=0, **output)
        mlp.fit(X, y, epochs=4, seed=0, callbacks=callbacks)
        mlps.append(mlp)
    np.testing.assert_array_equal(mlps[0].params, mlps[1].params)
    for name, buffer in mlps[0].buffers.items():
        np.testing.assert_array_equal(buffer, mlps[1].buffers[name])


def test_streams_are_judged_by_their_losses_alone():
    X, y, output, n_out = problem(np.random.default_rng(0))
    found = fm.Doctor(verbose=False)
    mlp = network(np.random.default_rng(0), X, n_out, output)
    mlp.fit([(X[:50], y[:50])], epochs=3, callbacks=[found])
    assert found.findings == []
