"""scikit-learn's numbers, epoch by epoch, from the class that takes its place.

The same settings, rows and ``random_state`` give the same initial weights, the same rows held out
and the same order of rows; only rounding differs. Needs scikit-learn:
``pip install "fastmlp[sklearn]"``.
"""

import time

import numpy as np
from sklearn import neural_network

import fastmlp as fm


def main(epochs=60):
    """Train both on the digits; return them, and the largest difference of their losses."""
    (X, y), (X_test, y_test) = fm.datasets.digits()
    X, X_test = X.astype(np.float64), X_test.astype(np.float64)
    fitted = []
    for kind in (neural_network.MLPClassifier, fm.MLPClassifier):
        clf = kind((64,), early_stopping=True, max_iter=epochs, tol=0.002, random_state=0)
        began = time.perf_counter()
        clf.fit(X, y)
        seconds = time.perf_counter() - began
        score = clf.score(X_test, y_test)
        print(f"{kind.__module__.partition('.')[0]}: {score:.1%} right, {1000 * seconds:.0f} ms")
        fitted.append(clf)

    theirs, ours = fitted
    print("epoch      scikit-learn           fastmlp")
    for epoch in range(0, ours.n_iter_, 10):
        print(f"{epoch + 1:5} {theirs.loss_curve_[epoch]:17.14f} {ours.loss_curve_[epoch]:17.14f}")
    largest = np.abs(np.subtract(theirs.loss_curve_, ours.loss_curve_)).max()
    print(f"largest difference in {ours.n_iter_} epochs: {largest:.1e}")
    return theirs, ours, largest


if __name__ == "__main__":
    main()
