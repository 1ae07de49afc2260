"""PyTorch with ``torch.compile`` around the whole training step, the optimizer included."""

# ruff: noqa: D101, D102 (the interface is described in rivals/__init__.py)
# mypy: allow-untyped-calls

import torch

from ..works import Data, Weights, Work
from .pytorch_eager import (
    build_loss,
    build_model,
    build_optimizer,
    load_weights,
    read_weights,
    split_batches,
)


class Run:
    def __init__(self, work: Work, weights: Weights, data: Data, n_threads: int) -> None:
        torch.set_num_threads(n_threads)
        self.work, self.initial = work, weights
        self.batches = split_batches(work, data)
        self.model = build_model(work)
        self.optimizer = build_optimizer(work, self.model)
        loss_fn = build_loss(work)

        # one specialised step for whole minibatches and one for the last, smaller one
        @torch.compile(dynamic=False)
        def step(x: torch.Tensor, y: torch.Tensor) -> None:
            self.optimizer.zero_grad()
            loss = loss_fn(self.model(x), y)
            loss.backward()
            self.optimizer.step()

        self.step = step
        self.reset()

    def reset(self) -> None:
        load_weights(self.model, self.initial)
        # zeroed in place: the compiled step is bound to this optimizer and its tensors
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()

    def train(self) -> None:
        self.model.train()
        for _ in range(self.work.epochs):
            for x, y in self.batches:
                self.step(x, y)

    def weights(self) -> Weights:
        return read_weights(self.model)
