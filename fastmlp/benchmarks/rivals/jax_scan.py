"""JAX: all epochs in one compiled call, minibatches in ``lax.scan``, parameters donated.

Networks with dropout or batch normalisation are those of ``jax_layers``, trained by the same loop.
"""

# ruff: noqa: D101, D102 (the interface is described in rivals/__init__.py)
# mypy: allow-untyped-calls

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..works import SGD, Data, Weights, Work
from . import jax_layers


class Run:
    def __init__(self, work: Work, weights: Weights, data: Data, n_threads: int) -> None:
        # the number of threads is fixed when JAX starts: by the process's CPU affinity
        self.work, self.initial = work, weights
        self.has_layers = work.batch_norm or work.dropout > 0
        # an epoch is a scan over equal minibatches, and a step on the rows left over
        n = len(data.x) // work.batch_size
        whole = n * work.batch_size
        self.batches = tuple(
            jnp.asarray(v[:whole].reshape(n, work.batch_size, *v.shape[1:]))
            for v in (data.x, data.y)
        )
        self.rest = (jnp.asarray(data.x[whole:]), jnp.asarray(data.y[whole:]))
        self.fit = jax.jit(partial(fit, work), donate_argnums=0)
        self.reset()

    def reset(self) -> None:
        params = jax.tree.map(jnp.array, self.initial)
        if not self.has_layers:
            moments = jax.tree.map(jnp.zeros_like, (params, params))
            self.state: tuple[Any, ...] = (params, moments, jnp.zeros(()))
            return
        params, running = jax_layers.initial(self.work, params)
        moments = jax.tree.map(jnp.zeros_like, (params, params))
        self.state = (params, moments, jnp.zeros(()), running, jax.random.key(0))

    def train(self) -> None:
        self.state = jax.block_until_ready(self.fit(self.state, self.batches, self.rest))

    def weights(self) -> Weights:
        if self.has_layers:
            return jax_layers.weights(self.state[0], self.state[3])
        params = self.state[0]
        return [(np.asarray(w), np.asarray(b)) for w, b in params]


def fit(work: Work, state: Any, batches: Any, rest: Any) -> Any:
    """Train for the work's epochs; the state is (params, optimizer's moments, steps done)."""
    gradient = jax.grad(partial(loss, work))

    def plain_step(state: Any, batch: Any) -> tuple[Any, None]:
        params, moments, t = state
        grads = gradient(params, *batch)
        return update(work, params, grads, moments, t + 1), None

    has_layers = work.batch_norm or work.dropout > 0
    step = jax_layers.step_of(work, update) if has_layers else plain_step

    def epoch(state: Any, _: None) -> tuple[Any, None]:
        state, _ = jax.lax.scan(step, state, batches)
        if len(rest[0]):
            state, _ = step(state, rest)
        return state, None

    state, _ = jax.lax.scan(epoch, state, length=work.epochs)
    return state


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
}


def loss(work: Work, params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the objective of one minibatch."""
    for w, b in params[:-1]:
        x = ACTIVATIONS[work.activation](x @ w + b)
    w, b = params[-1]
    z = x @ w + b
    if work.loss == "cross_entropy":
        log_p = jax.nn.log_softmax(z)
        return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))
    if work.loss == "mse":
        return jnp.mean((z - y) ** 2)
    return jnp.sum((jax.nn.sigmoid(z) - y) ** 2) / 2


def update(work: Work, params: Any, grads: Any, moments: Any, t: jax.Array) -> Any:
    """Return the state after one step of the work's optimizer."""
    s = work.optimizer
    m, v = moments
    if isinstance(s, SGD):
        m = jax.tree.map(lambda m, g: s.momentum * m + g, m, grads) if s.momentum else m
        direction = m if s.momentum else grads
        params = jax.tree.map(lambda p, d: p - s.lr * d, params, direction)
        return params, (m, v), t
    m = jax.tree.map(lambda m, g: s.beta1 * m + (1 - s.beta1) * g, m, grads)
    v = jax.tree.map(lambda v, g: s.beta2 * v + (1 - s.beta2) * g * g, v, grads)
    if s.weight_decay:
        kept = 1 - s.lr * s.weight_decay
        params = jax.tree.map(lambda p: p * kept if p.ndim > 1 else p, params)
    m_scale, v_scale = 1 / (1 - s.beta1**t), 1 / (1 - s.beta2**t)
    params = jax.tree.map(
        lambda p, m, v: p - s.lr * m * m_scale / (jnp.sqrt(v * v_scale) + s.eps), params, m, v
    )
    return params, (m, v), t
