"""scikit-learn: ``MLPClassifier`` and ``MLPRegressor``, stopping criteria off.

Two differences remain that it offers no setting for, both below the tolerance on these works: its
Adam adds epsilon before the bias correction, and its squared error is half the sum over outputs,
a constant factor in the gradient that Adam divides out again.
"""

# ruff: noqa: D101, D102 (the interface is described in rivals/__init__.py)

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from ..works import SGD, Data, Weights, Work


class Run:
    def __init__(self, work: Work, weights: Weights, data: Data, n_threads: int) -> None:
        if not work.is_plain:
            raise NotImplementedError("it has neither dropout nor batch normalisation nor AdamW")
        # the number of threads is that of NumPy's BLAS, set by the environment
        if work.loss == "half_squared_error":
            raise NotImplementedError("its squared error has the identity as its only output")
        self.initial = weights
        self.x, self.y = data.x, data.y.ravel() if work.sizes[-1] == 1 else data.y
        self.model = build_model(work)
        # fit keeps the weights it finds (warm_start) but wants to have made the arrays itself
        first = slice(work.batch_size)
        if work.loss == "cross_entropy":
            classes = np.arange(work.sizes[-1])
            self.model.partial_fit(self.x[first], self.y[first], classes=classes)
        else:
            self.model.partial_fit(self.x[first], self.y[first])
        self.reset()

    def reset(self) -> None:
        self.model.coefs_ = [w.copy() for w, _ in self.initial]
        self.model.intercepts_ = [b.copy() for _, b in self.initial]

    def train(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it means: all epochs were used
            self.model.fit(self.x, self.y)

    def weights(self) -> Weights:
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))


def build_model(work: Work) -> MLPClassifier | MLPRegressor:
    """Return the estimator, its optimizer's settings those of the work."""
    s = work.optimizer
    if isinstance(s, SGD):
        solver = {"solver": "sgd", "momentum": s.momentum, "nesterovs_momentum": False}
    else:
        solver = {"solver": "adam", "beta_1": s.beta1, "beta_2": s.beta2, "epsilon": s.eps}
    estimator = MLPClassifier if work.loss == "cross_entropy" else MLPRegressor
    return estimator(
        hidden_layer_sizes=work.sizes[1:-1],
        activation={"sigmoid": "logistic"}.get(work.activation, work.activation),
        alpha=0.0,
        batch_size=work.batch_size,
        learning_rate_init=s.lr,
        max_iter=work.epochs,
        shuffle=False,
        tol=0.0,
        n_iter_no_change=np.inf,
        warm_start=True,
        **solver,
    )
