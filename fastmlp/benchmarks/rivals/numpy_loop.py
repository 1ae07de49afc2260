"""NumPy: forward, backward and update written out, vectorised over the minibatch."""

# ruff: noqa: D101, D102 (the interface is described in rivals/__init__.py)

from collections.abc import Callable

import numpy as np

from ..works import SGD, Array, Data, Weights, Work


class Run:
    def __init__(self, work: Work, weights: Weights, data: Data, n_threads: int) -> None:
        if not work.is_plain:
            raise NotImplementedError("the loop written out is that of plain layers")
        # the number of threads is that of NumPy's BLAS, set by the environment
        self.work, self.initial, self.data = work, weights, data
        self.reset()

    def reset(self) -> None:
        self.ws = [w.copy() for w, _ in self.initial]
        self.bs = [b.copy() for _, b in self.initial]
        self.n_steps = 0
        self.m = [np.zeros_like(p) for p in self.ws + self.bs]
        self.v = [np.zeros_like(p) for p in self.ws + self.bs]

    def train(self) -> None:
        x, y, batch_size = self.data.x, self.data.y, self.work.batch_size
        for _ in range(self.work.epochs):
            for i in range(0, len(x), batch_size):
                self._step(x[i : i + batch_size], y[i : i + batch_size])

    def weights(self) -> Weights:
        return list(zip(self.ws, self.bs, strict=True))

    def _step(self, x: Array, y: Array) -> None:
        f, derivative = _ACTIVATIONS[self.work.activation]

        a = [x]
        for w, b in zip(self.ws[:-1], self.bs[:-1], strict=True):
            a.append(f(a[-1] @ w + b))
        z = a[-1] @ self.ws[-1] + self.bs[-1]

        dz = _LOSS_GRADIENTS[self.work.loss](z, y)
        dws: list[Array] = []
        dbs: list[Array] = []
        for k in reversed(range(len(self.ws))):
            dws.insert(0, a[k].T @ dz)
            dbs.insert(0, dz.sum(axis=0))
            if k:
                dz = (dz @ self.ws[k].T) * derivative(a[k])

        self._update(dws + dbs)

    def _update(self, grads: list[Array]) -> None:
        s = self.work.optimizer
        self.n_steps += 1
        for p, g, m, v in zip(self.ws + self.bs, grads, self.m, self.v, strict=True):
            if isinstance(s, SGD):
                if s.momentum:
                    m *= s.momentum
                    m += g
                    g = m
                p -= s.lr * g
            else:
                m *= s.beta1
                m += (1 - s.beta1) * g
                v *= s.beta2
                v += (1 - s.beta2) * g * g
                m_hat = m / (1 - s.beta1**self.n_steps)
                v_hat = v / (1 - s.beta2**self.n_steps)
                p -= s.lr * m_hat / (np.sqrt(v_hat) + s.eps)


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


# the function, and its derivative in terms of its value
_ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "sigmoid": (_sigmoid, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a * a),
    "relu": (lambda z: np.maximum(z, 0), lambda a: a > 0),
}


def _half_squared_error(z: Array, y: Array) -> Array:
    a = _sigmoid(z)
    dz: Array = (a - y) * a * (1 - a)
    return dz


def _mse(z: Array, y: Array) -> Array:
    return (z - y) * (2 / z.size)


def _cross_entropy(z: Array, y: Array) -> Array:
    p: Array = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    p /= len(y)
    return p


# the derivative of the minibatch's loss with respect to z, through the output it is used with
_LOSS_GRADIENTS: dict[str, Callable[[Array, Array], Array]] = {
    "half_squared_error": _half_squared_error,
    "mse": _mse,
    "cross_entropy": _cross_entropy,
}
