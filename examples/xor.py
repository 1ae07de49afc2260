"""XOR, the textbooks' first network: two inputs, four hidden neurons, one output.

What the class of the tutorials does in a NumPy loop, with the same numbers: the same initial
weights, the same updates, the same errors, to the tenth decimal of every weight.

    python examples/xor.py
"""

import numpy as np
from numpy.typing import NDArray

import fastmlp as fm


def textbook_network(seed: int) -> fm.MLP:
    """Return the 2-4-1 network as the tutorials start it: W ~ N(0, 1), b = 0."""
    # Tutorials call np.random.seed(seed) and np.random.randn. RandomState draws the same numbers
    # without reseeding the generator of the whole process; fm.MLP(seed=) would draw others.
    rng = np.random.RandomState(seed)
    weights = [rng.randn(2, 4), rng.randn(4, 1)]
    biases = [np.zeros(4), np.zeros(1)]
    # Float64 arrays make a float64 network.
    return fm.MLP.from_weights(weights, biases, activation="sigmoid", output="sigmoid")


def main(seed: int = 0) -> list[tuple[int, float, NDArray[np.float64]]]:
    """Train for 10,000 epochs; return (epoch, mean squared error, parameters) every 1,000."""
    X, y = fm.datasets.xor()  # whole numbers, four rows
    mlp = textbook_network(seed)
    trainer = fm.Trainer(
        mlp,
        # The tutorials' delta, (a - t)·a·(1 - a), is the gradient of half the squared error, and
        # X.T @ delta adds it up over the rows: a sum, not a mean.
        loss=fm.HalfSquaredError(reduction="sum"),
        optimizer=fm.SGD(lr=0.1),
        batch_size=4,  # all rows: one update an epoch
    )
    records = []
    for _ in range(10):
        trainer.fit(X, y, epochs=1000, shuffle=False)  # continues where the last call ended
        mse = float(np.mean((mlp.predict(X) - y) ** 2))
        records.append((trainer.epoch, mse, mlp.params.copy()))
        print(f"epoch {trainer.epoch:6,}   mean squared error {mse:.6f}")

    for (first, second), answer in zip(X, mlp.predict(X)[:, 0], strict=True):
        print(f"{first} xor {second}: {answer:.3f}")
    return records


if __name__ == "__main__":
    main()
