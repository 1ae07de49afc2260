"""PyTorch: ``nn.Sequential``, an optimizer, zero_grad, backward, step.

As in its tutorials, the optimizers are built without ``fused`` or ``foreach``.
"""

# ruff: noqa: D101, D102 (the interface is described in rivals/__init__.py)
# mypy: allow-untyped-calls

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..works import SGD, Data, Weights, Work, folded


class Run:
    def __init__(self, work: Work, weights: Weights, data: Data, n_threads: int) -> None:
        torch.set_num_threads(n_threads)
        self.work, self.initial = work, weights
        self.model = build_model(work)
        self.loss_fn = build_loss(work)
        self.batches = split_batches(work, data)
        self.reset()

    def reset(self) -> None:
        load_weights(self.model, self.initial)
        self.optimizer = build_optimizer(self.work, self.model)

    def train(self) -> None:
        self.model.train()
        for _ in range(self.work.epochs):
            for x, y in self.batches:
                self.optimizer.zero_grad()
                loss = self.loss_fn(self.model(x), y)
                loss.backward()
                self.optimizer.step()

    def weights(self) -> Weights:
        return read_weights(self.model)


def split_batches(work: Work, data: Data) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the minibatches as views; a DataLoader would cost more than a small step itself."""
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    return list(zip(x.split(work.batch_size), y.split(work.batch_size), strict=True))


def build_model(work: Work) -> nn.Sequential:
    """Return the network; softmax is left to the loss."""
    hidden = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}[work.activation]
    layers: list[nn.Module] = []
    for n_in, n_out in zip(work.sizes, work.sizes[1:-1], strict=False):
        layers.append(nn.Linear(n_in, n_out))
        if work.batch_norm:
            layers.append(nn.BatchNorm1d(n_out))
        layers.append(hidden())
        if work.dropout:
            layers.append(nn.Dropout(work.dropout))
    layers.append(nn.Linear(work.sizes[-2], work.sizes[-1]))
    if work.output == "sigmoid":
        layers.append(nn.Sigmoid())
    return nn.Sequential(*layers)


def build_loss(work: Work) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the work's loss."""
    match work.loss:
        case "mse":
            return nn.MSELoss()
        case "cross_entropy":
            return nn.CrossEntropyLoss()
        case "half_squared_error":
            squared_error = nn.MSELoss(reduction="sum")
            return lambda a, y: 0.5 * squared_error(a, y)


def build_optimizer(work: Work, model: nn.Module) -> torch.optim.Optimizer:
    """Return a fresh optimizer for the model."""
    s = work.optimizer
    if isinstance(s, SGD):
        return torch.optim.SGD(model.parameters(), lr=s.lr, momentum=s.momentum)
    if s.weight_decay:
        # Weights alone decay, as is usual.
        groups: list[dict[str, Any]] = [
            {"params": [p for p in model.parameters() if p.ndim > 1]},
            {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            groups, lr=s.lr, betas=(s.beta1, s.beta2), eps=s.eps, weight_decay=s.weight_decay
        )
    return torch.optim.Adam(model.parameters(), lr=s.lr, betas=(s.beta1, s.beta2), eps=s.eps)


@torch.no_grad()
def load_weights(model: nn.Sequential, weights: Weights) -> None:
    """Copy the weights into the model, whose own are (n_out, n_in)."""
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    for layer, (w, b) in zip(linear, weights, strict=True):
        layer.weight.copy_(torch.from_numpy(w.T))
        layer.bias.copy_(torch.from_numpy(b))
    for norm in model:
        if isinstance(norm, nn.BatchNorm1d):
            norm.reset_parameters()


@torch.no_grad()
def read_weights(model: nn.Sequential) -> Weights:
    """Copy the weights out of the model."""
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    weights = [(layer.weight.numpy().T.copy(), layer.bias.numpy().copy()) for layer in linear]
    norms = [layer for layer in model if isinstance(layer, nn.BatchNorm1d)]
    for i, norm in enumerate(norms):
        statistics = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        gamma, beta, mean, variance = (part.numpy() for part in statistics if part is not None)
        weights[i] = folded(*weights[i], gamma, beta, mean, variance)
    return weights
