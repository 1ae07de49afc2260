"""Draws docs/loss_curve.png, the picture in the README: ``python docs/loss_curve.py``."""

from pathlib import Path

import matplotlib.pyplot as plt

import fastmlp as fm


def main() -> None:
    """Train the README's network and draw its loss on both parts of the data."""
    (X, y), (X_test, y_test) = fm.datasets.digits()
    mlp = fm.MLP([64, 128, 10], activation="relu", output="softmax", seed=0)
    history = mlp.fit(
        X, y, optimizer=fm.Adam(lr=2e-3), epochs=40, seed=0, validation_data=(X_test, y_test)
    )
    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    axes.plot(epochs, history["loss"], label="training digits")
    axes.plot(epochs, history["val_loss"], label="held-out digits")
    axes.set(xlabel="epoch", ylabel="cross-entropy", yscale="log", xlim=(1, len(epochs)))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(Path(__file__).with_name("loss_curve.png"), dpi=150)


if __name__ == "__main__":
    main()
