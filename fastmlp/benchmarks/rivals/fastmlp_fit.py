"""fastmlp: ``Trainer.fit`` with its defaults, so with history, finite checks and Ctrl-C."""

# ruff: noqa: D101, D102 (the interface is described in rivals/__init__.py)

import fastmlp as fm

from ..works import SGD, Data, Weights, Work


class Run:
    def __init__(self, work: Work, weights: Weights, data: Data, n_threads: int) -> None:
        self.work, self.initial, self.data, self.n_threads = work, weights, data, n_threads
        self.reset()

    def reset(self) -> None:
        work = self.work
        ws, bs = zip(*self.initial, strict=True)
        self.mlp = fm.MLP.from_weights(ws, bs, activation=work.activation, output=work.output)
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
        return [
            (w.copy(), b.copy()) for w, b in zip(self.mlp.weights, self.mlp.biases, strict=True)
        ]


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
    return fm.Adam(lr=s.lr, beta1=s.beta1, beta2=s.beta2, eps=s.eps)
