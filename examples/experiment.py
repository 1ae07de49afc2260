"""Turn one knob at a time and see what it does, on 1,797 handwritten digits.

The starting point is a network of 64 inputs, two hidden layers of 32 ReLUs and 10 outputs, trained
by plain gradient descent with a learning rate of 0.1. Every other line of the table differs from
it in what the line says: the learning rate, the activation, a layer, or the initial weights. Two
more networks try XOR, with and without a hidden layer.

    python examples/experiment.py               # the table, and what it means
    python examples/experiment.py curves.png    # also a picture of the loss curves
"""

import sys
import textwrap
import warnings
from typing import Any, NamedTuple

import numpy as np

import fastmlp as fm

EPOCHS = 30

# Group, then line, then what is different from the starting point.
EXPERIMENTS: dict[str, dict[str, dict[str, Any]]] = {
    "learning rate": {
        "0.1, right": {},
        "0.003, too small": {"lr": 0.003},
        "2, too large": {"lr": 2.0},
        "1,000,000, absurd": {"lr": 1e6},
    },
    "activation": {
        "relu": {},
        "tanh": {"activation": "tanh"},
        "sigmoid": {"activation": "sigmoid"},
        "sigmoid, rate 0.5": {"activation": "sigmoid", "lr": 0.5},
        "none": {"activation": "identity"},
    },
    "hidden layers": {
        "two": {},
        "one": {"sizes": [64, 32, 10]},
        "none at all": {"sizes": [64, 10]},
    },
    "initial weights": {
        "random": {},
        "zero": {"init": "zeros"},
        "zero, sigmoid, rate 0.5": {"init": "zeros", "activation": "sigmoid", "lr": 0.5},
    },
}


class Run(NamedTuple):
    """One line of the table: the trained network, its loss curve, and how well it does."""

    mlp: fm.MLP
    losses: list[float]
    stop_reason: str | None
    train_accuracy: float
    test_accuracy: float | None  # XOR has no rows to hold out
    warnings: list[str]


def train(
    *,
    sizes: tuple[int, ...] | list[int] = (64, 32, 32, 10),
    activation: str = "relu",
    init: str | None = None,
    lr: float = 0.1,
) -> Run:
    """Train one network on the digits, and keep what the library warns of."""
    (X, y), (X_test, y_test) = fm.datasets.digits()
    mlp = fm.MLP(sizes, activation=activation, output="softmax", init=init, seed=0)
    # Some of these networks are broken on purpose, and the library says so. The warnings are part
    # of the result: caught here, printed under the table.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = mlp.fit(X, y, optimizer=fm.SGD(lr=lr), epochs=EPOCHS, batch_size=32, seed=0)
    return Run(
        mlp=mlp,
        losses=list(history["loss"]),
        stop_reason=history.stop_reason,
        train_accuracy=mlp.evaluate(X, y)["accuracy"],
        test_accuracy=mlp.evaluate(X_test, y_test)["accuracy"],
        warnings=[str(warning.message) for warning in caught],
    )


def train_xor(sizes: list[int]) -> Run:
    """Train one network on the four rows of XOR, thoroughly."""
    X, y = fm.datasets.xor()
    mlp = fm.MLP(sizes, activation="tanh", output="sigmoid", seed=0)
    history = mlp.fit(X, y, optimizer=fm.Adam(lr=0.02), epochs=2000, batch_size=4, seed=0)
    accuracy = mlp.evaluate(X, y, metrics=["accuracy"])["accuracy"]
    return Run(mlp, list(history["loss"]), history.stop_reason, accuracy, None, [])


def multiplied_out(mlp: fm.MLP) -> fm.MLP:
    """Return the network without hidden layers that equals one without activations.

    (x·w₁ + b₁)·w₂ + b₂ = x·(w₁·w₂) + (b₁·w₂ + b₂), and so on through the layers.
    """
    w, b = mlp.weights[0], mlp.biases[0]
    for next_w, next_b in zip(mlp.weights[1:], mlp.biases[1:], strict=True):
        w, b = w @ next_w, b @ next_w + next_b
    return fm.MLP.from_weights([w], [b], output=mlp.output)


def print_table(runs: dict[str, dict[str, Run]]) -> None:
    """Print a line for each run: loss and accuracies after training."""
    print(f"{'':43}{'loss':>7}{'accuracy on':>14}{'held out':>11}")
    print(f"{'':43}{'':>7}{'training rows':>14}")
    for group, lines in runs.items():
        for i, (line, run) in enumerate(lines.items()):
            loss = f"{run.losses[-1]:.3f}" if run.losses else "-"
            test = "-" if run.test_accuracy is None else f"{run.test_accuracy:.1%}"
            ended = "  diverged" if run.stop_reason == "diverged" else ""
            print(
                f"{group if i == 0 else '':18}{line:25}{loss:>7}{run.train_accuracy:>14.1%}"
                f"{test:>11}{ended}"
            )


def print_item(text: str) -> None:
    """Print one item of a list, in lines that fit a terminal."""
    print(textwrap.fill(text, width=88, initial_indent="- ", subsequent_indent="  "))


def print_meaning(runs: dict[str, dict[str, Run]]) -> None:
    """Print what the library warned of, and look inside the networks that went wrong."""
    print("\nThe library's warnings:")
    for group, lines in runs.items():
        for line, run in lines.items():
            for message in run.warnings:
                print_item(f"{group} {line}: {message}")

    (X, _), (X_test, _) = fm.datasets.digits()
    print("\nWhy:")

    trainer = fm.Trainer(runs["learning rate"]["2, too large"].mlp)
    trainer.forward(X)
    hidden = trainer.read("a", 1)
    print_item(
        f"Learning rate 2: the first steps threw the second hidden layer so far down that "
        f"{np.count_nonzero(hidden)} of its {hidden.size:,} outputs over the training rows are "
        f"above zero. A ReLU's slope is 0 there, so it never comes back."
    )

    symmetric = runs["initial weights"]["zero, sigmoid, rate 0.5"].mlp
    spread = max(float(np.ptp(w, axis=1).max()) for w in symmetric.weights[:-1])
    print_item(
        f"Zero weights: neurons that start alike get the same gradient and stay alike. After "
        f"{EPOCHS} epochs the weights into any two sigmoid neurons of a hidden layer differ by at "
        f"most {spread:g}: all hidden neurons are equal, and each layer of 32 works like one "
        f"neuron. ReLUs fare worse: all put out 0, and only the biases of the output learn."
    )

    deep = runs["activation"]["none"].mlp
    flat = multiplied_out(deep)
    difference = float(np.abs(deep.predict(X_test) - flat.predict(X_test)).max())
    print_item(
        f"No activation: a product of matrices is a matrix. Multiplied out, the "
        f"{len(deep.weights)} layers of {deep.n_params:,} parameters are one of {flat.n_params}; "
        f"its probabilities for the held-out digits differ by at most {difference:.0e}."
    )

    X_xor, _ = fm.datasets.xor()
    for line, run in runs["XOR"].items():
        outputs = "  ".join(f"{value:.2f}" for value in run.mlp.predict(X_xor)[:, 0])
        print_item(f"XOR, {line}: answers {outputs}, wanted 0 1 1 0.")
    print_item(
        "XOR: no straight line has (0, 1) and (1, 0) on one side, (0, 0) and (1, 1) on the other. "
        "Without a hidden layer, one half for every row is the best there is."
    )


def draw(runs: dict[str, dict[str, Run]], path: str) -> None:
    """Draw the loss curves of the digits, one panel for each knob, into a file."""
    try:
        # Without pyplot no window system is involved: a Figure alone can only be saved.
        from matplotlib.figure import Figure
    except ImportError:
        print('\nNo picture: matplotlib is missing; pip install "fastmlp[plots]" brings it.')
        return

    # The starting point is black in every panel; the rest are told apart by colour-blind eyes too.
    colors = ["#222222", "#0072b2", "#d55e00", "#009e73", "#cc79a7"]
    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle("One knob at a time: training loss on handwritten digits", fontsize=14)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for panel, group in zip(panels.flat, EXPERIMENTS, strict=True):
        for color, (line, run) in zip(colors, runs[group].items(), strict=False):
            label = line
            if run.stop_reason == "diverged":
                label += f": diverged in epoch {len(run.losses) + 1}"
            epochs = range(1, len(run.losses) + 1)
            panel.plot(epochs, run.losses, color=color, linewidth=2, label=label)
        # Ten equally likely digits: what a network that looks at nothing can reach.
        panel.axhline(np.log(10), color="0.6", linewidth=1, linestyle=":")
        panel.set_title(group, loc="left", fontweight="bold")
        panel.set_yscale("log")
        panel.set_ylim(0.015, 5)
        panel.set_yticks([0.03, 0.1, 0.3, 1, 3], labels=["0.03", "0.1", "0.3", "1", "3"])
        panel.minorticks_off()
        panel.set_xlim(0, EPOCHS)
        panel.grid(color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, loc="lower left")
    panels[0, 0].annotate("guessing", (EPOCHS, np.log(10)), (0, 4), color="0.4", ha="right",
                          textcoords="offset points")  # fmt: skip
    for panel in panels[1]:
        panel.set_xlabel("epoch")
    for panel in panels[:, 0]:
        panel.set_ylabel("cross-entropy")
    figure.savefig(path, dpi=120)
    print(f"\nThe loss curves are in {path}.")


def main(picture: str | None = None) -> dict[str, dict[str, Run]]:
    """Run all experiments, print the table, draw the picture if asked; return the runs."""
    runs = {
        group: {line: train(**changes) for line, changes in lines.items()}
        for group, lines in EXPERIMENTS.items()
    }
    runs["XOR"] = {
        "no hidden layer": train_xor([2, 1]),
        "4 hidden neurons": train_xor([2, 4, 1]),
    }
    print_table(runs)
    print_meaning(runs)
    if picture is not None:
        draw(runs, picture)
    return runs


if __name__ == "__main__":
    main(*sys.argv[1:2])
