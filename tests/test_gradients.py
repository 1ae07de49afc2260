"""Gradients of the compiled library against central differences, in every combination it offers.

In float64, away from kinks: the largest norm-relative error of any tensor is 1e-6. Rounding in the
objective is divided by the step, so the differences themselves are right to some 1e-9.
"""

import itertools

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.losses import LOSSES, OutputLoss

TOLERANCE = 1e-6
ROWS, N_IN, WIDTH, N_OUT = 9, 3, 4, 4

HIDDEN = [
    *(name for name, row in fm.activations.ACTIVATIONS.items() if not row.output_only),
    "leaky_relu(slope=0.3)",
    "elu(alpha=0.7)",
]
# Scores at which a derivative jumps.
KINKS = {
    "relu": [0],
    "leaky_relu": [0],
    "elu(alpha=0.7)": [0],
    "selu": [0],
    "hard_sigmoid": [-3, 3],
}
# What stands beside the layers: each with its share of the objective or of the way through.
BESIDE = {
    "plain": ({}, {}),
    "l1 and l2": ({}, {"l1": 0.01, "l2": 0.02}),
    "l1 and l2 over rows": ({}, {"l1": 0.1, "l2": 0.2, "penalties_over_rows": True}),
    "dropout": ({"dropout": 0.3, "input_dropout": 0.2}, {}),
    "batch": ({"normalization": "batch"}, {}),
    "layer": ({"normalization": "layer"}, {}),
    "batch and dropout": ({"normalization": "batch", "dropout": 0.25}, {"l2": 0.02}),
}


def every_loss():
    """Every loss with every output activation it goes with, its options on."""
    options = {
        "huber": {"delta": 0.5},
        "quantile": {"tau": (0.1, 0.6)},
        "cross_entropy": {"label_smoothing": 0.1},
    }
    for name, loss in LOSSES.items():
        for output in loss.outputs:
            yield loss(**options.get(name, {})), output


def targets_for(loss, rng):
    if loss.targets == "classes":
        return rng.integers(0, N_OUT, ROWS)
    if loss.targets == "fractions":
        return rng.uniform(0, 1, (ROWS, N_OUT))
    if loss.targets == "counts":
        return rng.poisson(2.0, (ROWS, N_OUT)).astype(float)
    return rng.normal(0, 1, (ROWS, loss.target_columns(N_OUT)))


def problem(loss, output, hidden, depth, network, **options):
    """A trainer and a minibatch of whose scores none is near a kink; the same at every call."""
    for seed in itertools.count():
        rng = np.random.default_rng(seed)
        sizes = [N_IN, *[WIDTH] * depth, N_OUT]
        network_here = network if depth else {k: v for k, v in network.items() if k[0] == "i"}
        mlp = fm.MLP(
            sizes, activation=hidden, output=output, seed=seed, dtype="float64", **network_here
        )
        mlp.params[:] += rng.normal(0, 0.2, mlp.n_params)
        trainer = fm.Trainer(mlp, loss=loss, optimizer="sgd", seed=seed, **options)
        x, t = rng.normal(0, 1, (ROWS, N_IN)), targets_for(loss, rng)
        a = trainer.forward(x)
        names = mlp.activations
        scores = [trainer.read("z", i) for i in range(len(names))]
        near = [
            np.abs(z - kink).min()
            for z, name in zip(scores, names, strict=True)
            for kink in KINKS.get(name, KINKS.get(name.partition("(")[0], []))
        ]
        if a.shape == np.shape(t):
            # Where the losses' own derivatives jump, or bend.
            near += [np.abs(np.abs(a - t) - kink).min() for kink in (0, 0.5)]
        else:
            near += [1.0] if loss.targets == "classes" else [np.abs(a - np.repeat(t, 2, 1)).min()]
        if min(near) > 1e-3 and np.abs(a).max() < 1e3:
            return trainer, x, t


CASES = [
    # Every activation at every depth, beside everything.
    *(
        ("mse", "identity", hidden, depth, beside)
        for hidden in HIDDEN
        for depth in (1, 3)
        for beside in BESIDE
    ),
    # Every loss with every output at every depth, beside everything but on one activation.
    *(
        (loss, output, "tanh", depth, beside)
        for loss, output in every_loss()
        for depth in (0, 1, 3)
        for beside in ("plain", "l1 and l2", "batch and dropout", "layer")
    ),
]


def test_there_are_enough_of_them():
    assert len(CASES) >= 600


@pytest.mark.parametrize(
    ("loss", "output", "hidden", "depth", "beside"),
    CASES,
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_gradients_are_central_differences(loss, output, hidden, depth, beside):
    network, options = BESIDE[beside]
    loss = LOSSES[loss]() if isinstance(loss, str) else loss
    trainer, x, t = problem(loss, output, hidden, depth, network, **options)
    before = trainer.mlp.params.copy()
    errors = trainer.check_gradients(x, t)
    assert max(errors.values()) <= TOLERANCE, errors
    np.testing.assert_array_equal(trainer.mlp.params, before)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("loss", "output"),
    [(loss, output) for loss, output in every_loss() if isinstance(loss, OutputLoss)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_gradients_with_unknown_targets(loss, output, reduction):
    settings = {"tau": loss.tau} if loss.name == "quantile" else {}
    loss = type(loss)(reduction=reduction, missing="ignore", **settings)
    trainer, x, t = problem(loss, output, "tanh", 1, {})
    t = t.copy()
    t[2, 1], t[3, :], t[5, 0] = np.nan, np.nan, np.nan
    errors = trainer.check_gradients(x, t)
    assert max(errors.values()) <= TOLERANCE, errors


def test_an_error_would_be_seen():
    """A gradient that is wrong in one element is found out."""
    trainer, x, t = problem(LOSSES["mse"](), "identity", "tanh", 1, {})
    honest = trainer.backward

    def backward():
        honest()
        trainer.grads[3] *= 1.001

    trainer.backward = backward
    errors = trainer.check_gradients(x, t)
    assert errors["layers.0.w"] > 1e-5
    assert errors["layers.1.w"] < TOLERANCE
