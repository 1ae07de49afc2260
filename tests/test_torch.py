"""Parity with PyTorch in float64: outputs, losses, gradients, a hundred steps of each optimizer.

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
    "leaky_relu": torch.nn.functional.leaky_relu,
    "elu": torch.nn.functional.elu,
    "selu": torch.selu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "mish": torch.nn.functional.mish,
    # PyTorch's goes over to z from 20 on, where the difference is still 2e-9.
    "softplus": lambda z: torch.nn.functional.softplus(z, threshold=100),
    # PyTorch's own has a slope of 1/6 in float32 only.
    "hard_sigmoid": lambda z: torch.clamp(z / 6 + 0.5, 0, 1),
    "exp": torch.exp,
    "softmax": lambda z: torch.softmax(z, dim=1),
}


@pytest.fixture(autouse=True)
def one_thread():
    """PyTorch's own threads only get in the way of arrays this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def double_precision():
    """Some of PyTorch's optimizers keep their own numbers in the default element type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


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
    if loss == "poisson":
        return f.poisson_nll_loss(z, t, log_input=True, reduction="none").mean(dim=1)
    if loss == "half_poisson_deviance":
        # PyTorch leaves out what depends on the target alone.
        own = f.poisson_nll_loss(z, t, log_input=True, reduction="none")
        return (own + torch.xlogy(t, t) - t).sum(dim=1)
    a = THEIRS[output](z)
    if loss == "mae":
        return f.l1_loss(a, t, reduction="none").mean(dim=1)
    if loss == "huber":
        return f.huber_loss(a, t, reduction="none").mean(dim=1)
    if loss == "quantile":
        # PyTorch has none; at tau 1/2 it is half the absolute error.
        return f.l1_loss(a, t, reduction="none").mean(dim=1) / 2
    if loss == "log_cosh":
        return torch.log(torch.cosh(a - t)).mean(dim=1)
    squares = f.mse_loss(a, t, reduction="none")
    return squares.mean(dim=1) if loss == "mse" else squares.sum(dim=1) / 2


def targets_for(loss, rng, form="probabilities"):
    kind = losses.LOSSES[loss].targets
    if kind == "classes":
        labels = rng.integers(0, N_OUT, N_ROWS)
        return labels if form == "labels" else rng.dirichlet(np.ones(N_OUT), N_ROWS)
    if kind == "fractions":
        return rng.uniform(size=(N_ROWS, N_OUT))
    if kind == "counts":
        return rng.poisson(3.0, (N_ROWS, N_OUT)).astype(np.float64)
    return rng.normal(size=(N_ROWS, N_OUT))


def make(hidden, output, rng):
    mlp = fm.MLP([N_IN, 9, 7, N_OUT], activation=hidden, output=output, seed=0, dtype="float64")
    for b in mlp.biases:
        b[:] = rng.normal(scale=0.3, size=b.shape)
    return mlp


def check_one_step(mlp, x, t, loss, output, weight=None, reduction="mean", l2=0.0, over_rows=False):
    trainer = fm.Trainer(
        mlp, loss=losses.LOSSES[loss](reduction=reduction), l2=l2, penalties_over_rows=over_rows
    )
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
    penalty = l2 / 2 * sum((v**2).sum() for v in twin.ws)
    objective = objective + penalty / (w.sum() if over_rows else 1)
    assert trainer.compute_loss(t, weight) == pytest.approx(objective.item(), rel=1e-12)

    trainer.backward()
    objective.backward()
    grads = twin.flat_grads()
    assert np.abs(grads).max() > 1e-4  # or the comparison would prove nothing
    scale = np.abs(grads).max()
    np.testing.assert_allclose(trainer.grads, grads, rtol=1e-11, atol=1e-13 * scale)


# Every activation with one loss, every loss and output with one activation.
CASES = [
    *((hidden, "mse", "identity") for hidden in HIDDEN),
    *(("tanh", loss, output) for loss, output in PAIRS),
]


@pytest.mark.parametrize(("hidden", "loss", "output"), CASES)
def test_forward_loss_and_gradient(hidden, loss, output, rng):
    x = rng.normal(size=(N_ROWS, N_IN))
    mlp = make(hidden, output, rng)
    check_one_step(mlp, x, targets_for(loss, rng), loss, output)
    if losses.LOSSES[loss].targets == "classes":
        check_one_step(mlp, x, targets_for(loss, rng, "labels"), loss, output)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("l2", "over_rows"), [(0, False), (0.3, False), (12, True)])
@pytest.mark.parametrize(
    ("loss", "output"), [(name, loss.outputs[0]) for name, loss in losses.LOSSES.items()]
)
def test_reductions_weights_and_penalties(reduction, weighted, l2, over_rows, loss, output, rng):
    """The penalty is on the weights only, not on the biases, and divided by nothing or the rows."""
    x = rng.normal(size=(N_ROWS, N_IN))
    weight = rng.uniform(size=N_ROWS) if weighted else None
    mlp, t = make("tanh", output, rng), targets_for(loss, rng)
    check_one_step(mlp, x, t, loss, output, weight, reduction, l2, over_rows)


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


def weights_alone(make, **settings):
    """A maker of optimizers that decay weights by 0.1, and biases not at all."""

    def of(parameters):
        return make(
            [
                {"params": parameters[::2], "weight_decay": 0.1},
                {"params": parameters[1::2], "weight_decay": 0.0},
            ],
            **settings,
        )

    return of


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
    "adamw": (fm.AdamW(lr=0.01, weight_decay=0.1), weights_alone(torch.optim.AdamW, lr=0.01)),
    "nadam": (fm.Nadam(lr=0.01), lambda p: torch.optim.NAdam(p, lr=0.01)),
    "rmsprop": (fm.RMSprop(lr=0.003), lambda p: torch.optim.RMSprop(p, lr=0.003)),
    "rmsprop with all settings": (
        fm.RMSprop(lr=0.003, alpha=0.9, eps=1e-3, momentum=0.5, centered=True),
        lambda p: torch.optim.RMSprop(
            p, lr=0.003, alpha=0.9, eps=1e-3, momentum=0.5, centered=True
        ),
    ),
    "adagrad": (
        fm.Adagrad(lr=0.05, rate_decay=0.01),
        lambda p: torch.optim.Adagrad(p, lr=0.05, lr_decay=0.01),
    ),
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
@pytest.mark.parametrize(("l2", "over_rows"), [(0, False), (0.01, False), (0.09, True)])
def test_a_hundred_steps_of_fit(optimizer, hidden, loss, output, l2, over_rows, rng):
    """Twenty epochs of five minibatches, in the order of the rows; the last has 4 rows of 9."""
    ours, make_theirs = OPTIMIZERS[optimizer]
    x, t = rng.normal(size=(N_ROWS, N_IN)), targets_for(loss, rng, "labels")
    mlp = make(hidden, output, rng)
    twin = Twin(mlp)
    theirs = make_theirs(twin.parameters)
    start = mlp.params.copy()

    history = mlp.fit(
        x, t, loss=loss, optimizer=ours, l2=l2, penalties_over_rows=over_rows, batch_size=9,
        epochs=20, shuffle=False,
    )  # fmt: skip
    losses_of_epochs = []
    for _ in range(20):
        total = 0.0
        for first in range(0, N_ROWS, 9):
            rows = slice(first, first + 9)
            each = rows_of_losses(loss, output, twin.scores(x[rows]), torch.as_tensor(t[rows]))
            penalty = l2 / 2 * sum((v**2).sum() for v in twin.ws)
            objective = each.mean() + penalty / (len(each) if over_rows else 1)
            theirs.zero_grad()
            objective.backward()
            theirs.step()
            total += objective.item() * len(each)
        losses_of_epochs.append(total / N_ROWS)
    assert np.abs(mlp.params - start).max() > 0.01
    np.testing.assert_allclose(mlp.params, twin.flat(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(history["loss"], losses_of_epochs, rtol=1e-9)


@pytest.mark.parametrize("kind", ["batch", "layer", "batch(momentum=0.3, eps=0.01)"])
@pytest.mark.parametrize("hidden", ["tanh", "gelu"])
def test_normalization_for_a_hundred_steps(kind, hidden, rng):
    """Learned scales and shifts, running means and variances, and prediction by them."""
    settings = {"momentum": 0.3, "eps": 0.01} if "(" in kind else {}
    mlp = fm.MLP(
        [N_IN, 9, 7, N_OUT], activation=hidden, output="softmax", normalization=kind, seed=0,
        dtype="float64",
    )  # fmt: skip
    mlp.params[:] += rng.normal(0, 0.1, mlp.n_params)
    layers = []
    for i, (w, b) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
        linear = torch.nn.Linear(*w.shape, dtype=torch.float64)
        linear.weight.data, linear.bias.data = torch.tensor(w.T.copy()), torch.tensor(b)
        layers.append(linear)
        if i < 2:
            normalize = torch.nn.BatchNorm1d if kind.startswith("batch") else torch.nn.LayerNorm
            norm = normalize(w.shape[1], dtype=torch.float64, **settings)
            norm.weight.data, norm.bias.data = (
                torch.tensor(mlp.gammas[i]),
                torch.tensor(mlp.betas[i]),
            )
            layers += [norm, torch.nn.Tanh() if hidden == "tanh" else torch.nn.GELU()]
    twin = torch.nn.Sequential(*layers)
    theirs = torch.optim.Adam(twin.parameters(), lr=0.01)
    x, t = rng.normal(size=(N_ROWS, N_IN)), rng.integers(0, N_OUT, N_ROWS)
    mlp.fit(x, t, optimizer=fm.Adam(lr=0.01), batch_size=10, epochs=25, shuffle=False)
    for _ in range(25):
        for first in range(0, N_ROWS, 10):
            rows = slice(first, first + 10)
            theirs.zero_grad()
            torch.nn.functional.cross_entropy(
                twin(torch.as_tensor(x[rows])), torch.as_tensor(t[rows])
            ).backward()
            theirs.step()
    for w, linear in zip(mlp.weights, [m for m in twin if hasattr(m, "in_features")], strict=True):
        np.testing.assert_allclose(w, linear.weight.detach().numpy().T, rtol=1e-8, atol=1e-9)
    norms = [m for m in twin if hasattr(m, "eps")]
    for i, norm in enumerate(norms):
        np.testing.assert_allclose(mlp.gammas[i], norm.weight.detach(), rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(mlp.betas[i], norm.bias.detach(), rtol=1e-8, atol=1e-9)
        if kind.startswith("batch"):
            mean, variance = mlp.buffers[f"layers.{i}.mean"], mlp.buffers[f"layers.{i}.variance"]
            np.testing.assert_allclose(mean, norm.running_mean, rtol=1e-8, atol=1e-9)
            np.testing.assert_allclose(variance, norm.running_var, rtol=1e-8, atol=1e-9)
    twin.eval()
    expected = torch.softmax(twin(torch.as_tensor(x)), dim=1).detach().numpy()
    np.testing.assert_allclose(mlp.predict(x), expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(mlp.freeze()(x), expected, rtol=1e-8, atol=1e-9)


def test_label_smoothing(rng):
    x, labels = rng.normal(size=(N_ROWS, N_IN)), rng.integers(0, N_OUT, N_ROWS)
    for t in (labels, rng.dirichlet(np.ones(N_OUT), N_ROWS)):
        mlp = make("tanh", "softmax", rng)
        trainer = fm.Trainer(mlp, loss=fm.CrossEntropy(label_smoothing=0.2))
        twin = Twin(mlp)
        objective = torch.nn.functional.cross_entropy(
            twin.scores(x), torch.as_tensor(t), label_smoothing=0.2
        )
        objective.backward()
        trainer.forward(x)
        assert trainer.compute_loss(t) == pytest.approx(objective.item(), rel=1e-12)
        trainer.backward()
        np.testing.assert_allclose(trainer.grads, twin.flat_grads(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("norm", [0.01, 100.0])
def test_gradients_are_clipped_by_norm(norm, rng):
    """PyTorch adds 1e-6 to the norm it divides by; ours does not."""
    x, t = rng.normal(size=(N_ROWS, N_IN)), rng.normal(size=(N_ROWS, N_OUT))
    mlp = make("tanh", "identity", rng)
    twin = Twin(mlp)
    trainer = fm.Trainer(mlp, loss="mse", optimizer=fm.SGD(0.1), clip_norm=norm)
    trainer.forward(x)
    trainer.compute_loss(t)
    trainer.backward()
    trainer.step()
    rows_of_losses("mse", "identity", twin.scores(x), torch.as_tensor(t)).mean().backward()
    total = torch.nn.utils.clip_grad_norm_(twin.parameters, norm)
    assert (total > norm) == (norm < 1)
    torch.optim.SGD(twin.parameters, lr=0.1).step()
    np.testing.assert_allclose(mlp.params, twin.flat(), rtol=2e-6, atol=1e-9)
