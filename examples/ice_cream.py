"""How much will the ice cream parlour take? Revenue from temperature and weekday.

Revenue rises steeply around 20 degrees and then levels off, and a weekend multiplies it: nothing
that a straight line can follow. Two hidden neurons see most of it, sixteen nearly all of it. The
last fifth of the days is held out, and decides.

    python examples/ice_cream.py
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastmlp as fm

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
SATURDAY = DAYS.index("Saturday")


class Score(NamedTuple):
    """How well the held-out days were predicted: mean absolute error in euros, and R²."""

    mae: float
    r2: float


def main() -> dict[str, Score]:
    """Compare linear regression with two networks; return their scores on the held-out days."""
    X, y = fm.datasets.ice_cream()  # 730 days: (°C, 0 … 6) and euros
    n_train = len(X) * 4 // 5

    # Standardise: subtract the mean, divide by the standard deviation. A network starts with
    # weights that suit inputs of about 1 in size and has to get to targets from near 0; hundreds
    # of euros would be a long way to go. Only training days are measured: a mean over all days
    # would tell the networks something about the held-out ones.
    x_mean, x_std = X[:n_train].mean(axis=0), X[:n_train].std(axis=0)
    y_mean, y_std = y[:n_train].mean(), y[:n_train].std()
    x, t = (X - x_mean) / x_std, (y - y_mean) / y_std

    scores: dict[str, Score] = {}

    def judge(name: str, outputs: NDArray[np.floating]) -> None:
        euros = outputs * y_std + y_mean  # back from standardised targets
        truth = y[n_train:]
        scores[name] = Score(
            fm.metrics.mean_absolute_error(truth, euros), fm.metrics.r2(truth, euros)
        )

    with_ones = np.column_stack([x, np.ones(len(x))])  # the column of ones is the intercept
    coefficients = np.linalg.lstsq(with_ones[:n_train], t[:n_train], rcond=None)[0]
    judge("linear regression", with_ones[n_train:] @ coefficients)

    networks = {}
    for n_hidden in (2, 16):
        mlp = fm.MLP([2, n_hidden, 1], activation="tanh", seed=0)
        mlp.fit(x[:n_train], t[:n_train], optimizer=fm.Adam(lr=0.01), epochs=500, seed=0)
        judge(f"{n_hidden} hidden neurons", mlp.predict(x[n_train:]))
        networks[n_hidden] = mlp

    print(f"{len(X) - n_train} held-out days       mean absolute error       R²")
    for name, score in scores.items():
        print(f"{name:20} {score.mae:19.1f} €   {score.r2:8.3f}")

    saturday = n_train + int(np.argmax(X[n_train:, 1] == SATURDAY))
    print(f"\nThe first held-out Saturday, {X[saturday, 0]:.1f} °C, in the network of two:")
    explain(networks[2], x[saturday], t[saturday])
    two, sixteen = (mlp.predict(x[saturday : saturday + 1])[0, 0] for mlp in networks.values())
    print(f"  in euros: {two:+.3f} · {y_std:.1f} + {y_mean:.1f} = {two * y_std + y_mean:.0f}")
    print(f"The till said {y[saturday, 0]:.0f}; sixteen say {sixteen * y_std + y_mean:.0f}.")
    return scores


def explain(mlp: fm.MLP, x: NDArray[np.floating], t: NDArray[np.floating]) -> None:
    """Print what every neuron makes of one row, as the kernels computed it."""
    print(f"  standardised: temperature {x[0]:+.3f}, weekday {x[1]:+.3f}")
    # A trace also goes backward, which is why it wants the target; here only x, z and a matter.
    for layer in mlp.trace(x[None, :], t[None, :]).layers:
        neuron = "hidden neuron" if layer.activation == "tanh" else "output neuron"
        for j in range(len(layer.b)):
            terms = " ".join(
                f"{value:+.3f}·({w:+.3f})"
                for value, w in zip(layer.x[0], layer.w[:, j], strict=True)
            )
            line = f"  {neuron} {j + 1}: z = {terms} {layer.b[j]:+.3f} = {layer.z[0, j]:+.3f}"
            if layer.activation == "tanh":
                line += f", a = tanh(z) = {layer.a[0, j]:+.3f}"
            print(line)


if __name__ == "__main__":
    main()
