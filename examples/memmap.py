"""Training from a file that need not fit the memory: bytes, mapped, and scaled as they are read.

The rows lie in a file of bytes; NumPy maps it, and fastmlp reads each row where it lies, once an
epoch, in a new order every time. No copy of the data exists, in no type.

    python examples/memmap.py
"""

import tempfile
from pathlib import Path

import numpy as np

import fastmlp as fm


def write_rows(path, copies):
    """Write the bundled digits as bytes, some times over with a little noise; return the labels."""
    (X, y), _ = fm.datasets.digits()
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        for _ in range(copies):
            noisy = 255 * X + rng.normal(0, 12, X.shape)
            file.write(noisy.clip(0, 255).astype(np.uint8).tobytes())
    return np.tile(y, copies)


def main(copies=50, epochs=3):
    """Train on the mapped file; return the accuracy on the test digits."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.u8"
        y = write_rows(path, copies)
        X = np.memmap(path, np.uint8, "r", shape=(len(y), 64))
        mlp = fm.MLP([64, 64, 10], output="softmax", scale=1 / 255, seed=0)
        mlp.fit(X, y, epochs=epochs, batch_size=64, seed=0)
        _, (X_test, y_test) = fm.datasets.digits()
        accuracy = mlp.evaluate(255 * X_test, y_test)["accuracy"]
        print(f"{X.nbytes / 1e6:.1f} MB of bytes, {len(X):,} rows; accuracy {accuracy:.2%}")
        del X  # a mapped file cannot be removed everywhere
    return accuracy


if __name__ == "__main__":
    main()
