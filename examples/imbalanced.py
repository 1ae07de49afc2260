"""Rare cases: one row in fifty is of the class that matters, and accuracy says nothing.

A network that always says "no" is right 98 % of the time. Class weights make the rare rows count
as much as all others; what is looked at is how many of them are found (recall), and the mean over
both classes (balanced accuracy).

    python examples/imbalanced.py
"""

import numpy as np

import fastmlp as fm

METRICS = ("accuracy", "balanced_accuracy", "recall")


def draw(rng, n):
    """Two clouds that overlap; one row in fifty belongs to the smaller one."""
    rare = rng.random(n) < 0.02
    return rng.normal(0, 1, (n, 10)) + 0.55 * rare[:, None], rare.astype(int)


def main(seed=0, rows=20_000, epochs=15):
    """Train without and with class weights; return the metrics of both on new rows."""
    rng = np.random.default_rng(seed)
    X, y = draw(rng, rows)
    X_new, y_new = draw(rng, rows)
    found = {}
    for class_weight in (None, "balanced"):
        mlp = fm.MLP([10, 16, 1], output="sigmoid", seed=seed)
        mlp.fit(X, y, epochs=epochs, batch_size=128, class_weight=class_weight, seed=seed)
        numbers = mlp.evaluate(X_new, y_new, metrics=METRICS)
        found[class_weight] = {name: numbers[name] for name in METRICS}
        shown = "  ".join(f"{name} {numbers[name]:.3f}" for name in METRICS)
        print(f"class_weight={class_weight!r}:  {shown}")
    return found


if __name__ == "__main__":
    main()
