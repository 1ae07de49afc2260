"""What the compiled room should compute, in one page of plain float64 NumPy.

The letters are those of DESIGN.md: ``x`` input, ``z = x·w + b``, ``a = f(z)``, ``t`` target, and
``dz`` the objective's derivative by ``z``. ``layers`` is a list of ``(w, b, activation)``.
"""

import math

import numpy as np

# ---- activations: a = f(z), and dz from da (softmax couples the outputs of a row)


def identity(z):
    return z


def identity_dz(z, a, da):
    return da


def sigmoid(z):
    return np.exp(-np.logaddexp(0, -z))


def sigmoid_dz(z, a, da):
    return da * a * (1 - a)


def tanh_dz(z, a, da):
    return da * (1 - a**2)


def relu(z):
    return np.maximum(z, 0)


def relu_dz(z, a, da):
    return da * (z > 0)


def leaky_relu(z):
    return np.where(z > 0, z, 0.01 * z)


def leaky_relu_dz(z, a, da):
    return da * np.where(z > 0, 1, 0.01)


def elu(z):
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def elu_dz(z, a, da):
    return da * np.exp(np.minimum(z, 0))


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def selu(z):
    return SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0)))


def selu_dz(z, a, da):
    return da * SELU_SCALE * np.where(z > 0, 1, SELU_ALPHA * np.exp(np.minimum(z, 0)))


def gelu(z):
    return z * normal_weight_below(z)


def normal_weight_below(z):
    return np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)), otypes=[float])(z)


def gelu_dz(z, a, da):
    return da * (normal_weight_below(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))


def gelu_tanh(z):
    return z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def gelu_tanh_dz(z, a, da):
    t = np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))
    slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * z**2)
    return da * ((1 + t) / 2 + z / 2 * (1 - t**2) * slope)


def silu(z):
    return z * sigmoid(z)


def silu_dz(z, a, da):
    return da * sigmoid(z) * (1 + z * sigmoid(-z))


def softplus(z):
    return np.logaddexp(0, z)


def softplus_dz(z, a, da):
    return da * sigmoid(z)


def mish(z):
    return z * np.tanh(softplus(z))


def mish_dz(z, a, da):
    return da * (np.tanh(softplus(z)) + z / np.cosh(softplus(z)) ** 2 * sigmoid(z))


def hard_sigmoid(z):
    return np.clip(z / 6 + 0.5, 0, 1)


def hard_sigmoid_dz(z, a, da):
    return da * (np.abs(z) < 3) / 6


def exp_dz(z, a, da):
    return da * a


def log_of_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def softmax(z):
    return np.exp(log_of_softmax(z))


def softmax_dz(z, a, da):
    return a * (da - (a * da).sum(axis=1, keepdims=True))


ACTIVATIONS = {
    "identity": (identity, identity_dz),
    "sigmoid": (sigmoid, sigmoid_dz),
    "tanh": (np.tanh, tanh_dz),
    "relu": (relu, relu_dz),
    "leaky_relu": (leaky_relu, leaky_relu_dz),
    "elu": (elu, elu_dz),
    "selu": (selu, selu_dz),
    "gelu": (gelu, gelu_dz),
    "gelu_tanh": (gelu_tanh, gelu_tanh_dz),
    "silu": (silu, silu_dz),
    "mish": (mish, mish_dz),
    "softplus": (softplus, softplus_dz),
    "hard_sigmoid": (hard_sigmoid, hard_sigmoid_dz),
    "exp": (np.exp, exp_dz),
    "softmax": (softmax, softmax_dz),
}

# ---- losses: the value of each row, and its derivative by a or, where the output activation is
#      part of the formula, by z


def mse(z, a, t):
    return ((a - t) ** 2).mean(axis=1)


def mse_da(z, a, t):
    return 2 * (a - t) / a.shape[1]


def half_squared_error(z, a, t):
    return 0.5 * ((a - t) ** 2).sum(axis=1)


def half_squared_error_da(z, a, t):
    return a - t


def cross_entropy(z, a, t):
    return -(t * log_of_softmax(z)).sum(axis=1)


def cross_entropy_dz(z, a, t):
    return a * t.sum(axis=1, keepdims=True) - t


def one_hot(z, t):
    return np.eye(z.shape[1])[t[:, 0].astype(int)]


def cross_entropy_of_labels(z, a, t):
    return cross_entropy(z, a, one_hot(z, t))


def cross_entropy_of_labels_dz(z, a, t):
    return cross_entropy_dz(z, a, one_hot(z, t))


def binary_cross_entropy(z, a, t):
    return (np.logaddexp(0, z) - t * z).mean(axis=1)


def binary_cross_entropy_dz(z, a, t):
    return (a - t) / a.shape[1]


def mae(z, a, t):
    return np.abs(a - t).mean(axis=1)


def mae_da(z, a, t):
    return np.sign(a - t) / a.shape[1]


def huber(z, a, t, delta=1.0):
    d = np.abs(a - t)
    return np.where(d <= delta, d**2 / 2, delta * (d - delta / 2)).mean(axis=1)


def huber_da(z, a, t, delta=1.0):
    return np.clip(a - t, -delta, delta) / a.shape[1]


def quantile(z, a, t, tau=0.5):
    return np.maximum(tau * (t - a), (tau - 1) * (t - a)).mean(axis=1)


def quantile_da(z, a, t, tau=0.5):
    return np.where(t > a, -tau, np.where(t < a, 1 - tau, 0)) / a.shape[1]


def log_cosh(z, a, t):
    return (np.logaddexp(a - t, t - a) - np.log(2)).mean(axis=1)


def log_cosh_da(z, a, t):
    return np.tanh(a - t) / a.shape[1]


def poisson(z, a, t):
    return (a - t * z).mean(axis=1)


def poisson_dz(z, a, t):
    return (a - t) / a.shape[1]


def half_poisson_deviance(z, a, t):
    # t·log t is 0 where t is.
    return (t * (np.log(np.where(t > 0, t, 1)) - z) - t + a).sum(axis=1)


def half_poisson_deviance_dz(z, a, t):
    return a - t


LOSSES = {
    "mse": (mse, mse_da, "a"),
    "half_squared_error": (half_squared_error, half_squared_error_da, "a"),
    "cross_entropy": (cross_entropy, cross_entropy_dz, "z"),
    "cross_entropy_of_labels": (cross_entropy_of_labels, cross_entropy_of_labels_dz, "z"),
    "binary_cross_entropy": (binary_cross_entropy, binary_cross_entropy_dz, "z"),
    "mae": (mae, mae_da, "a"),
    "huber": (huber, huber_da, "a"),
    "quantile": (quantile, quantile_da, "a"),
    "log_cosh": (log_cosh, log_cosh_da, "a"),
    "poisson": (poisson, poisson_dz, "z"),
    "half_poisson_deviance": (half_poisson_deviance, half_poisson_deviance_dz, "z"),
}
# Those that are a mean over the outputs; the others are a sum.
MEANS = {"mse", "binary_cross_entropy", "mae", "huber", "quantile", "log_cosh", "poisson"}


def factors(loss, n_out, shares):
    """What value and derivative are multiplied by, to have these shares of the sum over outputs."""
    if shares is None:
        return 1, 1
    own = 1 / n_out if loss in MEANS else 1
    return shares[0] / own, shares[1] / own


# ---- a network, forward and back


def unpack(params, sizes, activations):
    """Cut a flat vector, laid out as ``mlp.params``, into layers; always float64."""
    layers, at = [], 0
    for n_in, n_out, activation in zip(sizes[:-1], sizes[1:], activations, strict=True):
        w = params[at : at + n_in * n_out].reshape(n_in, n_out).astype(np.float64)
        at += n_in * n_out
        layers.append((w, params[at : at + n_out].astype(np.float64), activation))
        at += n_out
    return layers


def forward(layers, x):
    """Return all scores ``z`` and, one more, the input and all outputs ``a``."""
    z, a = [], [x.astype(np.float64)]
    for w, b, activation in layers:
        z.append(a[-1] @ w + b)
        a.append(ACTIVATIONS[activation][0](z[-1]))
    return z, a


def objective(
    layers, x, t, loss, *, row_weights=None, mean=True, l1=0.0, l2=0.0, over_rows=False, shares=None
):
    """Return Σ w·loss / Σ w over the rows, or the sum, and l1·Σ|W| + l2/2·‖W‖².

    ``over_rows`` divides the penalties by Σ w.
    """
    z, a = forward(layers, x)
    weights = np.ones(len(x)) if row_weights is None else row_weights.astype(np.float64)
    factor, _ = factors(loss, a[-1].shape[1], shares)
    total = factor * (weights * LOSSES[loss][0](z[-1], a[-1], t)).sum()
    penalty = sum(l1 * np.abs(w).sum() + l2 / 2 * (w**2).sum() for w, _, _ in layers)
    weight_sum = weights.sum()
    return total / (weight_sum if mean else 1) + penalty / (weight_sum if over_rows else 1)


def backward(
    layers, x, t, loss, *, row_weights=None, mean=True, l1=0.0, l2=0.0, over_rows=False, shares=None
):
    """Return the objective's gradient, flat, and ``dz`` of every layer."""
    z, a = forward(layers, x)
    weights = np.ones(len(x)) if row_weights is None else row_weights.astype(np.float64)
    weight_sum = weights.sum()
    _, factor = factors(loss, a[-1].shape[1], shares)
    weights = factor * weights / (weight_sum if mean else 1)
    l1, l2 = np.array([l1, l2]) / (weight_sum if over_rows else 1)
    _, derivative, by = LOSSES[loss]
    dz = weights[:, None] * derivative(z[-1], a[-1], t)
    if by == "a":
        dz = ACTIVATIONS[layers[-1][2]][1](z[-1], a[-1], dz)
    all_dz, grads = [dz], []
    for i in reversed(range(len(layers))):
        w = layers[i][0]
        grads = [(a[i].T @ dz + l1 * np.sign(w) + l2 * w).ravel(), dz.sum(axis=0), *grads]
        if i > 0:
            dz = ACTIVATIONS[layers[i - 1][2]][1](z[i - 1], a[i], dz @ w.T)
            all_dz = [dz, *all_dz]
    return np.concatenate(grads), all_dz


# ---- optimizers: parameters and state vectors after a step, from those before; steps count from 1


def sgd(p, g, state, lr, step):
    return p - lr * g, []


def sgd_momentum(p, g, state, lr, step, momentum):
    v = momentum * state[0] + g
    return p - lr * v, [v]


def sgd_nesterov(p, g, state, lr, step, momentum):
    v = momentum * state[0] + g
    return p - lr * (g + momentum * v), [v]


def sgd_momentum_inside(p, g, state, lr, step, momentum):
    v = momentum * state[0] - lr * g
    return p + v, [v]


def sgd_nesterov_inside(p, g, state, lr, step, momentum):
    v = momentum * state[0] - lr * g
    return p + momentum * v - lr * g, [v]


def adam(p, g, state, lr, step, beta1, beta2, eps):
    m = beta1 * state[0] + (1 - beta1) * g
    v = beta2 * state[1] + (1 - beta2) * g**2
    return p - lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps), [m, v]


def adam_eps_before(p, g, state, lr, step, beta1, beta2, eps):
    m = beta1 * state[0] + (1 - beta1) * g
    v = beta2 * state[1] + (1 - beta2) * g**2
    rate = lr * np.sqrt(1 - beta2**step) / (1 - beta1**step)
    return p - rate * m / (np.sqrt(v) + eps), [m, v]


def nadam(p, g, state, lr, step, beta1, beta2, eps, momentum_decay):
    m = beta1 * state[0] + (1 - beta1) * g
    v = beta2 * state[1] + (1 - beta2) * g**2
    mu = [beta1 * (1 - 0.96 ** (t * momentum_decay) / 2) for t in range(1, step + 2)]
    ahead = (1 - mu[-2]) / (1 - math.prod(mu[:-1])) * g + mu[-1] / (1 - math.prod(mu)) * m
    return p - lr * ahead / (np.sqrt(v / (1 - beta2**step)) + eps), [m, v]


def rmsprop(p, g, state, lr, step, alpha, eps, momentum):
    v = alpha * state[0] + (1 - alpha) * g**2
    return p - lr * g / (np.sqrt(v) + eps), [v]


def rmsprop_momentum(p, g, state, lr, step, alpha, eps, momentum):
    v = alpha * state[0] + (1 - alpha) * g**2
    b = momentum * state[1] + g / (np.sqrt(v) + eps)
    return p - lr * b, [v, b]


def rmsprop_centered(p, g, state, lr, step, alpha, eps, momentum):
    v = alpha * state[0] + (1 - alpha) * g**2
    u = alpha * state[1] + (1 - alpha) * g
    return p - lr * g / (np.sqrt(np.maximum(v - u**2, 0)) + eps), [v, u]


def rmsprop_centered_momentum(p, g, state, lr, step, alpha, eps, momentum):
    v = alpha * state[0] + (1 - alpha) * g**2
    u = alpha * state[1] + (1 - alpha) * g
    b = momentum * state[2] + g / (np.sqrt(np.maximum(v - u**2, 0)) + eps)
    return p - lr * b, [v, u, b]


def adagrad(p, g, state, lr, step, rate_decay, eps):
    v = state[0] + g**2
    return p - lr / (1 + (step - 1) * rate_decay) * g / (np.sqrt(v) + eps), [v]


OPTIMIZERS = {
    "nadam": nadam,
    "rmsprop": rmsprop,
    "rmsprop_momentum": rmsprop_momentum,
    "rmsprop_centered": rmsprop_centered,
    "rmsprop_centered_momentum": rmsprop_centered_momentum,
    "adagrad": adagrad,
    "sgd": sgd,
    "sgd_momentum": sgd_momentum,
    "sgd_nesterov": sgd_nesterov,
    "sgd_momentum_inside": sgd_momentum_inside,
    "sgd_nesterov_inside": sgd_nesterov_inside,
    "adam": adam,
    "adam_eps_before": adam_eps_before,
}
