"""Prediction intervals: how far tomorrow's value may lie from the forecast, by quantile loss.

One network with three outputs learns the 5 %, 50 % and 95 % quantiles of a value whose spread
itself depends on the input. Of rows it has not seen, nine in ten should lie between the outer two.

    python examples/intervals.py
"""

import numpy as np

import fastmlp as fm

TAUS = (0.05, 0.5, 0.95)


def draw(rng, n):
    """Rows whose value swings, and swings the more uncertainly the larger x is."""
    x = rng.uniform(0, 6, (n, 1))
    return x, np.sin(x) + rng.normal(0, 0.05 + 0.1 * x)


def main(seed=0, rows=5000, epochs=150):
    """Train; return the share of unseen rows between the outer quantiles, and below each."""
    rng = np.random.default_rng(seed)
    x, y = draw(rng, rows)
    mlp = fm.MLP([1, 32, 32, 3], activation="tanh", scale="standard", seed=seed)
    mlp.fit(
        x,
        y,
        loss=fm.Quantile(tau=TAUS),
        optimizer=fm.Adam(lr=3e-3),
        schedule="cosine",
        batch_size=64,
        epochs=epochs,
        seed=seed,
    )
    x_new, y_new = draw(rng, 20_000)
    low, middle, high = mlp.predict(x_new).T
    below = [float(np.mean(y_new[:, 0] < bound)) for bound in (low, middle, high)]
    inside = below[2] - below[0]
    print(f"between the 5 % and the 95 % quantile: {inside:.1%} of 20,000 new rows")
    for at in (0.5, 3.0, 5.5):
        bounds = mlp.predict([[at]])[0]
        print(f"x = {at}: {bounds[1]:6.3f}, from {bounds[0]:6.3f} to {bounds[2]:6.3f}")
    return inside, below


if __name__ == "__main__":
    main()
