"""Parity with PyTorch in float64: outputs, losses, gradients, and fifty steps of each optimizer.

Where the two ecosystems differ (the rate inside the velocity, eps before the correction), the
other form is proved in test_losses_and_optimizers.py against scikit-learn and by hand.
"""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import activations, losses

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

N_ROWS, N_IN, N_OUT = 40, 6, 4
HIDDEN = [name for name, row in activations.ACTIVATIONS.items() if not row.output_only]
PAIRS = [(name, output) for name, loss in losses.LOSSES.items() for output in loss.outputs]

THEIRS = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softmax": lambda z: torch.softmax(z, dim=1),
}


@pytest.fixture(autouse=True)
def one_thread():
    """PyTorch's own threads only get in the way of arrays this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Twin:
    """The same network in PyTorch, from the same weights."""

    def __init__(self, mlp):
        self.mlp = mlp
        self.ws = [torch.tensor(w, requires_grad=True) for w in mlp.weights]
        self.bs = [torch.tensor(b, requires_grad=True) for b in mlp.biases]

    @property
    def parameters(self):
        """In the order of ``mlp.params``."""
        return [p for pair in zip(self.ws, self.bs, strict=True) for p in pair]

    def scores(self, x):
        """The last layer's z."""
        a = torch.as_tensor(x)
        for w, b, name in zip(self.ws, self.bs, self.mlp.activations, strict=True):
            z = a @ w + b
            a = THEIRS[name](z)
        return z

    def flat(self):
        return torch.cat([p.detach().ravel() for p in self.parameters]).numpy()

    def flat_grads(self):
        return torch.cat([p.grad.ravel() for p in self.parameters]).numpy()


def rows_of_losses(loss, output, z, t):
    """Each row's loss, by the functions PyTorch has for it."""
    f = torch.nn.functional
    if loss == "cross_entropy":
        return f.cross_entropy(z, t, reduction="none")
    if loss == "binary_cross_entropy":
        return f.binary_cross_entropy_with_logits(z, t, reduction="none").mean(dim=1)
    squares = f.mse_loss(THEIRS[output](z), t, reduction="none")
    return squares.mean(dim=1) if loss == "mse" else squares.sum(dim=1) / 2


def targets_for(loss, rng, form="probabilities"):
    kind = losses.LOSSES[loss].targets
    if kind == "classes":
        labels = rng.integers(0, N_OUT, N_ROWS)
        return labels if form == "labels" else rng.dirichlet(np.ones(N_OUT), N_ROWS)
    if kind == "fractions":
        return rng.uniform(size=(N_ROWS, N_OUT))
    return rng.normal(size=(N_ROWS, N_OUT))


def make(hidden, output, rng):
    mlp = fm.MLP([N_IN, 9, 7, N_OUT], activation=hidden, output=output, seed=0, dtype="float64")
    for b in mlp.biases:
        b[:] = rng.normal(scale=0.3, size=b.shape)
    return mlp


def check_one_step(mlp, x, t, loss, output, weight=None, reduction="mean", l2=0.0):
    trainer = fm.Trainer(mlp, loss=losses.LOSSES[loss](reduction=reduction), l2=l2)
    twin = Twin(mlp)
    z = twin.scores(x)
    prediction = trainer.forward(x)
    expected = THEIRS[output](z).detach().numpy()
    np.testing.assert_allclose(prediction, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(mlp.predict(x), expected, rtol=1e-12, atol=1e-15)

    rows = rows_of_losses(loss, output, z, torch.as_tensor(t))
    w = torch.ones(len(rows), dtype=torch.float64) if weight is None else torch.as_tensor(weight)
    objective = (w * rows).sum()
    if reduction == "mean":
        objective = objective / w.sum()
    objective = objective + l2 / 2 * sum((v**2).sum() for v in twin.ws)
    assert trainer.compute_loss(t, weight) == pytest.approx(objective.item(), rel=1e-12)

    trainer.backward()
    objective.backward()
    grads = twin.flat_grads()
    assert np.abs(grads).max() > 1e-4  # or the comparison would prove nothing
    scale = np.abs(grads).max()
    np.testing.assert_allclose(trainer.grads, grads, rtol=1e-11, atol=1e-13 * scale)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_forward_loss_and_gradient(hidden, loss, output, rng):
    x = rng.normal(size=(N_ROWS, N_IN))
    mlp = make(hidden, output, rng)
    check_one_step(mlp, x, targets_for(loss, rng), loss, output)
    if losses.LOSSES[loss].targets == "classes":
        check_one_step(mlp, x, targets_for(loss, rng, "labels"), loss, output)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [0, 0.3])
@pytest.mark.parametrize(
    ("loss", "output"), [(name, loss.outputs[0]) for name, loss in losses.LOSSES.items()]
)
def test_reductions_weights_and_penalties(reduction, weighted, l2, loss, output, rng):
    """The penalty is on the weights only, not on the biases, and not divided by anything."""
    x = rng.normal(size=(N_ROWS, N_IN))
    weight = rng.uniform(size=N_ROWS) if weighted else None
    mlp, t = make("tanh", output, rng), targets_for(loss, rng)
    check_one_step(mlp, x, t, loss, output, weight, reduction, l2)


def test_weighted_mean_is_that_of_pytorchs_class_weights(rng):
    """PyTorch divides by the sum of the weights too."""
    x, labels = rng.normal(size=(N_ROWS, N_IN)), rng.integers(0, N_OUT, N_ROWS)
    of_class = rng.uniform(0.1, 3, N_OUT)
    mlp = make("relu", "softmax", rng)
    trainer = fm.Trainer(mlp)
    trainer.forward(x)
    z = Twin(mlp).scores(x)
    expected = torch.nn.functional.cross_entropy(
        z, torch.as_tensor(labels), weight=torch.as_tensor(of_class)
    )
    found = trainer.compute_loss(labels, of_class[labels])
    assert found == pytest.approx(expected.item(), rel=1e-12)


OPTIMIZERS = {
    "sgd": (fm.SGD(lr=0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "momentum": (
        fm.SGD(lr=0.05, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    ),
    "nesterov": (
        fm.SGD(lr=0.05, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    ),
    "adam": (fm.Adam(lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    "adam with all settings": (
        fm.Adam(lr=0.01, beta1=0.8, beta2=0.99, eps=1e-3),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.99), eps=1e-3),
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("hidden", "loss", "output"),
    [
        ("tanh", "mse", "identity"),
        ("relu", "cross_entropy", "softmax"),
        ("sigmoid", "binary_cross_entropy", "sigmoid"),
    ],
)
@pytest.mark.parametrize("l2", [0, 0.01])
def test_fifty_steps_of_fit(optimizer, hidden, loss, output, l2, rng):
    """Ten epochs of five minibatches, in the order of the rows; the last has 4 rows of 9."""
    ours, make_theirs = OPTIMIZERS[optimizer]
    x, t = rng.normal(size=(N_ROWS, N_IN)), targets_for(loss, rng, "labels")
    mlp = make(hidden, output, rng)
    twin = Twin(mlp)
    theirs = make_theirs(twin.parameters)
    start = mlp.params.copy()

    history = mlp.fit(
        x, t, loss=loss, optimizer=ours, l2=l2, batch_size=9, epochs=10, shuffle=False
    )
    losses_of_epochs = []
    for _ in range(10):
        total = 0.0
        for first in range(0, N_ROWS, 9):
            rows = slice(first, first + 9)
            each = rows_of_losses(loss, output, twin.scores(x[rows]), torch.as_tensor(t[rows]))
            objective = each.mean() + l2 / 2 * sum((v**2).sum() for v in twin.ws)
            theirs.zero_grad()
            objective.backward()
            theirs.step()
            total += objective.item() * len(each)
        losses_of_epochs.append(total / N_ROWS)
    assert np.abs(mlp.params - start).max() > 0.01
    np.testing.assert_allclose(mlp.params, twin.flat(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(history["loss"], losses_of_epochs, rtol=1e-9)
