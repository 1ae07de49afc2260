"""JAX: dropout and batch normalisation as functions of explicit keys and running statistics."""

# mypy: allow-untyped-calls

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..works import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, Weights, Work, folded


def initial(work: Work, dense: Any) -> tuple[Any, Any]:
    """Return parameters, (w, b) or (w, b, gamma, beta) for each layer, and running statistics."""
    if not work.batch_norm:
        return dense, []
    params = [(w, b, jnp.ones_like(b), jnp.zeros_like(b)) for w, b in dense[:-1]]
    running = [(jnp.zeros_like(b), jnp.ones_like(b)) for _, b in dense[:-1]]
    return [*params, dense[-1]], running


def weights(params: Any, running: Any) -> Weights:
    """Return the weights as they predict."""
    found = [(np.asarray(layer[0]), np.asarray(layer[1])) for layer in params]
    for i, (mean, variance) in enumerate(running):
        _, _, gamma, beta = params[i]
        found[i] = folded(*found[i], *(np.asarray(v) for v in (gamma, beta, mean, variance)))
    return found


def step_of(work: Work, update: Callable[..., Any]) -> Callable[[Any, Any], tuple[Any, None]]:
    """Return the step of a minibatch; the state is (params, moments, steps, running, key)."""
    gradient = jax.grad(loss, has_aux=True, argnums=1)

    def step(state: Any, batch: Any) -> tuple[Any, None]:
        params, moments, t, running, key = state
        key, own = jax.random.split(key)
        grads, running = gradient(work, params, running, own, *batch)
        params, moments, t = update(work, params, grads, moments, t + 1)
        return (params, moments, t, running, key), None

    return step


def loss(
    work: Work, params: Any, running: Any, key: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, Any]:
    """Return a minibatch's cross-entropy through relu layers, and the new running statistics."""
    seen = []
    for i, layer in enumerate(params[:-1]):
        z = x @ layer[0] + layer[1]
        if work.batch_norm:
            mean, variance = z.mean(axis=0), z.var(axis=0)
            unbiased = variance * len(x) / (len(x) - 1)
            seen.append(
                tuple(
                    (1 - BATCH_NORM_MOMENTUM) * old + BATCH_NORM_MOMENTUM * new
                    for old, new in zip(running[i], (mean, unbiased), strict=True)
                )
            )
            z = (z - mean) * jax.lax.rsqrt(variance + BATCH_NORM_EPS) * layer[2] + layer[3]
        x = jax.nn.relu(z)
        if work.dropout:
            key, own = jax.random.split(key)
            kept = jax.random.bernoulli(own, 1 - work.dropout, x.shape)
            x = jnp.where(kept, x / (1 - work.dropout), 0)
    w, b = params[-1]
    log_p = jax.nn.log_softmax(x @ w + b)
    return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1)), seen
