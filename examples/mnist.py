"""Handwritten digits by one hidden layer, above 98 %: with `fit`, and with its loop by hand.

The folder holds the four MNIST files:   FASTMLP_DATA_DIR=folder python examples/mnist.py
"""

import numpy as np

import fastmlp as fm

# (learning rate, epochs): large steps to get near, then small ones to settle.
PHASES = ((2e-3, 4), (2e-4, 1))


def with_fit(mlp, X, y, seed):
    """Train in one call for each phase."""
    for lr, epochs in PHASES:
        mlp.fit(X, y, optimizer=fm.Adam(lr=lr), batch_size=128, epochs=epochs, seed=seed, verbose=1)


def by_hand(mlp, X, y, seed):
    """Train minibatch by minibatch: forward, loss, backward, step."""
    rng = np.random.default_rng(seed)
    for lr, epochs in PHASES:
        trainer = fm.Trainer(mlp, optimizer=fm.Adam(lr=lr))
        for epoch in range(epochs):
            order, losses = rng.permutation(len(X)), []
            for start in range(0, len(X), 128):
                rows = order[start : start + 128]
                trainer.forward(X[rows])
                losses.append(trainer.compute_loss(y[rows]))  # cross-entropy, as softmax suggests
                trainer.backward()  # fills trainer.grads
                trainer.step()  # changes mlp.params
            print(f"epoch {epoch + 1}/{epochs}  loss {np.mean(losses):.4g}")


def main(seed=0):
    """Train a network either way; return their accuracies on the test images."""
    (X, y), (X_test, y_test) = fm.datasets.mnist()
    accuracies = {}
    for train in (with_fit, by_hand):
        print(train.__name__)
        mlp = fm.MLP([784, 256, 10], activation="relu", output="softmax", seed=seed)
        train(mlp, X, y, seed)
        accuracies[train.__name__] = mlp.evaluate(X_test, y_test)["accuracy"]
        print(f"accuracy on {len(X_test):,} test images: {accuracies[train.__name__]:.2%}")
    return accuracies


if __name__ == "__main__":
    main()
