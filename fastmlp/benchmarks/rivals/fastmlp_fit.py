"""fastmlp: ``Trainer.fit`` with its defaults, so with history, finite checks and Ctrl-C."""

# ruff: noqa: D101, D102 (the interface is described in rivals/__init__.py)

import fastmlp as fm

from ..works import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, SGD, Data, Weights, Work, folded


class Run:
    def __init__(self, work: Work, weights: Weights, data: Data, n_threads: int) -> None:
        self.work, self.initial, self.data, self.n_threads = work, weights, data, n_threads
        self.reset()

    def reset(self) -> None:
        work = self.work
        normalization = f"batch(momentum={BATCH_NORM_MOMENTUM}, eps={BATCH_NORM_EPS})"
        self.mlp = fm.MLP(
            work.sizes,
            activation=work.activation,
            output=work.output,
            normalization=normalization if work.batch_norm else None,
            dropout=work.dropout,
            init="zeros",
        )
        for i, (w, b) in enumerate(self.initial):
            self.mlp.weights[i][:], self.mlp.biases[i][:] = w, b
        self.trainer = fm.Trainer(
            self.mlp,
            loss=loss_of(work),
            optimizer=optimizer_of(work),
            batch_size=work.batch_size,
            n_threads=self.n_threads,
        )

    def train(self) -> None:
        self.trainer.fit(self.data.x, self.data.y, epochs=self.work.epochs, shuffle=False)

    def weights(self) -> Weights:
        mlp = self.mlp
        weights = [(w.copy(), b.copy()) for w, b in zip(mlp.weights, mlp.biases, strict=True)]
        if self.work.batch_norm:
            scales = zip(mlp.gammas[:-1], mlp.betas[:-1], strict=True)
            for i, (gamma, beta) in enumerate(scales):
                assert gamma is not None
                assert beta is not None
                statistics = [mlp.buffers[f"layers.{i}.{name}"] for name in ("mean", "variance")]
                weights[i] = folded(*weights[i], gamma, beta, *statistics)
        return weights


def loss_of(work: Work) -> fm.HalfSquaredError | str:
    """Return the work's loss as `Trainer` takes it."""
    if work.loss == "half_squared_error":
        return fm.HalfSquaredError(reduction="sum")
    return work.loss


def optimizer_of(work: Work) -> fm.SGD | fm.Adam:
    """Return the work's optimizer as `Trainer` takes it."""
    s = work.optimizer
    if isinstance(s, SGD):
        return fm.SGD(lr=s.lr, momentum=s.momentum)
    if s.weight_decay:
        return fm.AdamW(s.lr, beta1=s.beta1, beta2=s.beta2, eps=s.eps, weight_decay=s.weight_decay)
    return fm.Adam(lr=s.lr, beta1=s.beta1, beta2=s.beta2, eps=s.eps)
