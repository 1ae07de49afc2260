"""One step of learning, small enough to check with a pencil, and then all the steps that follow.

Three inputs, two hidden neurons (sigmoid), two outputs (linear), mean squared error, learning rate
0.02, one row. Every number that is printed comes from the compiled kernels; on the way forward

    z = x·w + b,   a = f(z)

and on the way back, with the mean over the two outputs cancelling the 2 of the square's derivative,

    last layer     dz = a - t
    hidden layer   dz = (dz of the last layer · its wᵀ) · a · (1 - a)
    every layer    dw = xᵀ·dz,   db = dz,   new_w = w - 0.02·dw,   new_b = b - 0.02·db

The tutorial this network is taken from shows its starting values as images only, so the values
here are our own, chosen so that both hidden z come out short: 0.2 and 0.6.

    python examples/by_hand.py
"""

import fastmlp as fm
from fastmlp.trace import Trace

X = [[1.0, 2.0, 3.0]]
T = [[0.0, 1.0]]
WEIGHTS = [
    [[0.1, 0.2], [0.3, -0.4], [-0.2, 0.5]],  # w[i][j] leads from input i to hidden neuron j
    [[0.5, -0.6], [0.7, 0.8]],
]
BIASES = [[0.1, -0.3], [0.2, -0.1]]


def main() -> tuple[Trace, fm.MLP, fm.History]:
    """Print one step and train on; return the step, the trained network and its history."""
    # Plain Python numbers make a float64 network.
    mlp = fm.MLP.from_weights(WEIGHTS, BIASES, activation="sigmoid", output="identity")
    sgd = fm.SGD(lr=0.02)

    step = mlp.trace(X, T, loss="mse", optimizer=sgd)  # on a copy: mlp is still untrained
    print(step)

    print()
    print(f"before training   {mlp.predict(X)[0].round(6)}, wanted {T[0]}")
    history = mlp.fit(X, T, loss="mse", optimizer=sgd, epochs=10_000, target_loss=1e-6)
    print(f"after training    {mlp.predict(X)[0].round(6)}")
    print(f"stopped for {history.stop_reason!r} after {len(history['loss'])} epochs")
    return step, mlp, history


if __name__ == "__main__":
    main()
