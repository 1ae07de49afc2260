"""MNIST by three hidden layers with dropout, without knowledge of images: 98.7 %.

Follows Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to
prevent neural networks from overfitting" (JMLR 15, 2014), table 2: 3 layers of 1,024 rectified
linear units with dropout and a max-norm constraint, 1.06 % errors (98.94 %). Ours makes 1.30 %
(98.70 %, with the AVX2 build). Theirs saw every image some 3,000 times; ours sees them 40 times, by
Adam, with a rate that falls to zero.

Optimizer and epochs were chosen on 10,000 of the training images (98.65 % on them); the test images
are looked at once.

The folder holds the four MNIST files:   FASTMLP_DATA_DIR=folder python examples/mnist_dropout.py
"""

import fastmlp as fm


def main(seed=0, epochs=40, width=1024, rows=None):
    """Train once; return the accuracy on the test images."""
    (X, y), (X_test, y_test) = fm.datasets.mnist()
    mlp = fm.MLP(
        [784, width, width, width, 10],
        activation="relu",
        output="softmax",
        dropout=0.5,
        input_dropout=0.2,
        seed=seed,
    )
    trainer = fm.Trainer(
        mlp,
        optimizer=fm.Adam(lr=1e-3),
        schedule=fm.Warmup(fm.Cosine(), epochs=1),
        batch_size=128,
        seed=seed,
    )
    trainer.fit(X[:rows], y[:rows], epochs=epochs, verbose=1)
    accuracy = mlp.evaluate(X_test, y_test)["accuracy"]
    print(f"accuracy on {len(X_test):,} test images: {accuracy:.2%}")
    return accuracy


if __name__ == "__main__":
    main()
