"""Every example runs, and shows what it claims to show."""

import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    """Import an example from its file, as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# ---- all of them


def test_readme_lists_every_example():
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[`(\w+)\.py`\]\(\1\.py\)", readme, re.M)
    assert sorted(listed) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


# ---- xor


def textbook_loop(seed):
    """The tutorials' NumPy network; yields (mean squared error, all weights) every 1,000 epochs."""
    rng = np.random.RandomState(seed)
    W1, W2 = rng.randn(2, 4), rng.randn(4, 1)
    b1, b2 = np.zeros((1, 4)), np.zeros((1, 1))
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    y = np.array([[0], [1], [1], [0]])

    def forward():
        a1 = sigmoid(X @ W1 + b1)
        return a1, sigmoid(a1 @ W2 + b2)

    for epoch in range(1, 10_001):
        a1, a2 = forward()
        delta2 = (a2 - y) * a2 * (1 - a2)
        delta1 = delta2 @ W2.T * a1 * (1 - a1)
        W2 -= 0.1 * a1.T @ delta2
        b2 -= 0.1 * delta2.sum(axis=0)
        W1 -= 0.1 * X.T @ delta1
        b1 -= 0.1 * delta1.sum(axis=0)
        if epoch % 1000 == 0:
            parameters = np.concatenate([W1.ravel(), b1.ravel(), W2.ravel(), b2.ravel()])
            yield np.mean((forward()[1] - y) ** 2), parameters


def test_xor_equals_the_textbook_loop_over_the_whole_run(capsys):
    records = load("xor").main(seed=0)
    assert [epoch for epoch, _, _ in records] == list(range(1000, 10_001, 1000))
    for (_, mse, params), (textbook_mse, textbook_params) in zip(
        records, textbook_loop(0), strict=True
    ):
        assert params.dtype == np.float64
        np.testing.assert_allclose(params, textbook_params, rtol=0, atol=1e-10)
        assert mse == pytest.approx(textbook_mse, rel=0, abs=1e-10)
    printed = re.findall(r"mean squared error (\S+)", capsys.readouterr().out)
    assert printed == [f"{mse:.6f}" for _, mse, _ in records]


def test_xor_is_learned_from_every_seed():
    xor = load("xor")
    last = {seed: xor.main(seed)[-1][1] for seed in range(100)}
    assert {seed: mse for seed, mse in last.items() if not mse < 0.01} == {}


def test_xor_as_a_script(tmp_path):
    # From another folder, as somebody who installed fastmlp; the tests may run uninstalled.
    home = str(Path(fm.__file__).parents[1])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "xor.py")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[9] == "epoch 10,000   mean squared error 0.001993"
    answers = [float(line.split(": ")[1]) for line in lines[10:]]
    np.testing.assert_allclose(answers, [0, 1, 1, 0], atol=0.05)


# ---- by hand

# The step of by_hand.py on paper. x = (1, 2, 3), t = (0, 1), rate 0.02; σ(z) = 1 / (1 + e^-z).
#
# Layer 1, forward
#   z₁ = 1·0.1 + 2·0.3    + 3·(-0.2) + 0.1  = 0.1 + 0.6 - 0.6 + 0.1  = 0.2
#   z₂ = 1·0.2 + 2·(-0.4) + 3·0.5    - 0.3  = 0.2 - 0.8 + 1.5 - 0.3  = 0.6
#   a₁ = σ(0.2) = 1 / (1 + 0.8187307530780) = 0.5498339973125
#   a₂ = σ(0.6) = 1 / (1 + 0.5488116360940) = 0.6456563062258
# Layer 2, forward; a = z, for it is linear
#   z₁ = 0.5498339973125·0.5    + 0.6456563062258·0.7 + 0.2
#      =  0.2749169986562 + 0.4519594143581 + 0.2 = 0.9268764130143
#   z₂ = 0.5498339973125·(-0.6) + 0.6456563062258·0.8 - 0.1
#      = -0.3299003983875 + 0.5165250449806 - 0.1 = 0.0866246465931
# Loss: the mean of the squares
#   a - t = (0.9268764130143 - 0, 0.0866246465931 - 1) = (0.9268764130143, -0.9133753534069)
#   (0.8590998850022 + 0.8342545362111) / 2 = 0.8466772106067
# Layer 2, backward
#   dz = 2·(a - t) / 2 = a - t
#   dw = aᵀ·dz:  0.5498339973125 · (0.9268764130143, -0.9133753534069)
#                    = (0.5096281631823, -0.5022048216104)
#                0.6456563062258 · (0.9268764130143, -0.9133753534069)
#                    = (0.5984436011546, -0.5897265568783)
#   db = dz
#   new w:  0.5 - 0.02·0.5096281631823 = 0.4898074367364
#          -0.6 + 0.02·0.5022048216104 = -0.5899559035678
#           0.7 - 0.02·0.5984436011546 = 0.6880311279769
#           0.8 + 0.02·0.5897265568783 = 0.8117945311376
#   new b:  0.2 - 0.02·0.9268764130143 = 0.1814624717397
#          -0.1 + 0.02·0.9133753534069 = -0.0817324929319
# Layer 1, backward; with the weights of layer 2 from before the update
#   back to a₁:  0.9268764130143·0.5 - 0.9133753534069·(-0.6)
#                    = 0.4634382065071 + 0.5480252120441 = 1.0114634185512
#   back to a₂:  0.9268764130143·0.7 - 0.9133753534069·0.8
#                    = 0.6488134891100 - 0.7307002827255 = -0.0818867936155
#   slope of σ:  a·(1 - a) = (0.2475165727119, 0.2287842404567)
#   dz = (1.0114634185512·0.2475165727119, -0.0818867936155·0.2287842404567)
#      = (0.2503539587832, -0.0187344078808)
#   dw = xᵀ·dz: once, twice and three times dz
#   db = dz
#   new w:  0.1 - 0.02·0.2503539587832 =  0.0949929208243
#           0.2 + 0.02·0.0187344078808 =  0.2003746881576
#           0.3 - 0.02·0.5007079175665 =  0.2899858416487
#          -0.4 + 0.02·0.0374688157615 = -0.3992506236848
#          -0.2 - 0.02·0.7510618763497 = -0.2150212375270
#           0.5 + 0.02·0.0562032236422 =  0.5011240644728
#   new b:  0.1 - 0.02·0.2503539587832 =  0.0949929208243
#          -0.3 + 0.02·0.0187344078808 = -0.2996253118424
ON_PAPER = [
    {
        "x": [[1, 2, 3]],
        "w": [[0.1, 0.2], [0.3, -0.4], [-0.2, 0.5]],
        "b": [0.1, -0.3],
        "z": [[0.2, 0.6]],
        "a": [[0.5498339973125, 0.6456563062258]],
        "dz": [[0.2503539587832, -0.0187344078808]],
        "dw": [
            [0.2503539587832, -0.0187344078808],
            [0.5007079175665, -0.0374688157615],
            [0.7510618763497, -0.0562032236422],
        ],
        "db": [0.2503539587832, -0.0187344078808],
        "new_w": [
            [0.0949929208243, 0.2003746881576],
            [0.2899858416487, -0.3992506236848],
            [-0.2150212375270, 0.5011240644728],
        ],
        "new_b": [0.0949929208243, -0.2996253118424],
    },
    {
        "x": [[0.5498339973125, 0.6456563062258]],
        "w": [[0.5, -0.6], [0.7, 0.8]],
        "b": [0.2, -0.1],
        "z": [[0.9268764130143, 0.0866246465931]],
        "a": [[0.9268764130143, 0.0866246465931]],
        "dz": [[0.9268764130143, -0.9133753534069]],
        "dw": [[0.5096281631823, -0.5022048216104], [0.5984436011546, -0.5897265568783]],
        "db": [0.9268764130143, -0.9133753534069],
        "new_w": [[0.4898074367364, -0.5899559035678], [0.6880311279769, 0.8117945311376]],
        "new_b": [0.1814624717397, -0.0817324929319],
    },
]


@pytest.fixture(scope="module")
def by_hand():
    return load("by_hand").main()


def test_by_hand_equals_the_numbers_on_paper(by_hand):
    step, _, _ = by_hand
    assert step.loss == pytest.approx(0.8466772106067, rel=0, abs=2e-13)
    assert [layer.activation for layer in step.layers] == ["sigmoid", "identity"]
    for layer, numbers in zip(step.layers, ON_PAPER, strict=True):
        for name, expected in numbers.items():
            found = getattr(layer, name)
            assert found.dtype == np.float64
            assert found.shape == np.shape(expected)
            # The paper has 13 decimals.
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-13, err_msg=name)


def test_by_hand_prints_every_number(capsys):
    load("by_hand").main()
    printed = capsys.readouterr().out
    for numbers in ON_PAPER:
        for values in numbers.values():
            for value in np.ravel(values):
                assert f"{value:.8f}" in printed


def steps_to_target(target):
    """Train the 3-2-2 network in plain Python; return how many steps until the loss is there."""
    x, t = [1.0, 2.0, 3.0], [0.0, 1.0]
    W1, b1 = [[0.1, 0.2], [0.3, -0.4], [-0.2, 0.5]], [0.1, -0.3]
    W2, b2 = [[0.5, -0.6], [0.7, 0.8]], [0.2, -0.1]
    steps, loss = 0, math.inf
    while loss > target:
        a = [1 / (1 + math.exp(-b1[j] - sum(x[i] * W1[i][j] for i in range(3)))) for j in range(2)]
        out = [b2[k] + sum(a[j] * W2[j][k] for j in range(2)) for k in range(2)]
        loss = sum((out[k] - t[k]) ** 2 for k in range(2)) / 2
        dz2 = [out[k] - t[k] for k in range(2)]
        dz1 = [a[j] * (1 - a[j]) * sum(dz2[k] * W2[j][k] for k in range(2)) for j in range(2)]
        for j in range(2):
            for k in range(2):
                W2[j][k] -= 0.02 * a[j] * dz2[k]
            for i in range(3):
                W1[i][j] -= 0.02 * x[i] * dz1[j]
            b1[j] -= 0.02 * dz1[j]
            b2[j] -= 0.02 * dz2[j]
        steps += 1
    return steps


def test_by_hand_goes_on_to_the_target_error(by_hand):
    _, mlp, history = by_hand
    assert history.stop_reason == "target_loss"
    assert len(history["loss"]) == steps_to_target(1e-6)
    # An epoch's loss is from before its update, so the network is a step better than that.
    assert history["loss"][-1] <= 1e-6 < history["loss"][-2]
    np.testing.assert_allclose(mlp.predict([[1, 2, 3]]), [[0, 1]], atol=2e-3)


# ---- ice cream


def test_ice_cream_beats_linear_regression_on_held_out_days(capsys):
    scores = load("ice_cream").main()
    linear, two, sixteen = scores.values()
    assert list(scores) == ["linear regression", "2 hidden neurons", "16 hidden neurons"]

    # Linear regression does not care for standardised numbers: the same from the raw ones.
    X, y = fm.datasets.ice_cream()
    X = np.column_stack([X, np.ones(len(X))])
    error = y[584:] - X[584:] @ np.linalg.lstsq(X[:584], y[:584], rcond=None)[0]
    assert linear.mae == pytest.approx(np.abs(error).mean(), rel=1e-9)
    assert linear.r2 == pytest.approx(1 - np.mean(error**2) / np.var(y[584:]), rel=1e-9)

    # Measured over several seeds: 156, about 80 and 23 to 28 euros. The noise alone makes 20.
    assert two.mae < 0.6 * linear.mae
    assert sixteen.mae < 0.5 * two.mae
    assert linear.r2 < 0.75 < 0.88 < two.r2 < 0.95 < 0.98 < sixteen.r2

    printed = capsys.readouterr().out
    for name, score in scores.items():
        assert re.search(rf"^{name} +{score.mae:.1f} € +{score.r2:.3f}$", printed, re.M)
    check_the_explained_day(printed)


def check_the_explained_day(printed):
    """Work out what the printed lines say, from the numbers they say it with."""
    number = r"([+-]\d+\.\d+)"
    x = [float(v) for v in re.search(rf"temperature {number}, weekday {number}", printed).groups()]
    neuron = rf"z = {number}·\({number}\) {number}·\({number}\) {number} = {number}"
    rows = [[float(v) for v in groups] for groups in re.findall(neuron, printed)]
    hidden = [float(v) for v in re.findall(rf"a = tanh\(z\) = {number}", printed)]
    assert len(rows) == 3
    assert len(hidden) == 2
    for row, inputs in zip(rows, (x, x, hidden), strict=True):
        assert [row[0], row[2]] == inputs
        assert row[5] == pytest.approx(row[0] * row[1] + row[2] * row[3] + row[4], abs=0.01)
    for a, row in zip(hidden, rows[:2], strict=True):
        assert a == pytest.approx(math.tanh(row[5]), abs=0.001)
    output, std, mean, euros = (
        float(v) for v in re.search(rf"euros: {number} · (\S+) \+ (\S+) = (\d+)", printed).groups()
    )
    assert output == rows[2][5]
    assert euros == pytest.approx(output * std + mean, abs=1)


# ---- mnist


def test_mnist_is_at_most_50_lines():
    assert len((EXAMPLES / "mnist.py").read_text(encoding="utf-8").splitlines()) <= 50


@pytest.mark.skipif(
    not os.environ.get("FASTMLP_DATA_DIR"),
    reason="FASTMLP_DATA_DIR is not set: examples/mnist.py needs the MNIST files",
)
def test_mnist_reaches_its_accuracy():
    accuracies = load("mnist").main()
    assert list(accuracies) == ["with_fit", "by_hand"]
    assert min(accuracies.values()) >= 0.975


def write_idx(path, array):
    """Write an array of bytes as an IDX file."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_mnist_runs_on_tiny_files(tmp_path, monkeypatch, capsys, rng):
    for part, n in (("train", 300), ("t10k", 40)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (n, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(n) % 10)
    monkeypatch.setenv("FASTMLP_DATA_DIR", str(tmp_path))
    accuracies = load("mnist").main()
    assert list(accuracies) == ["with_fit", "by_hand"]
    assert all(0 <= accuracy <= 1 for accuracy in accuracies.values())
    printed = capsys.readouterr().out
    assert printed.count("accuracy on 40 test images") == 2
    # Two phases, of four epochs and of one, once each way.
    assert printed.count("epoch 4/4") == printed.count("epoch 1/1") == 2


# ---- experiment


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """One run of experiment.py: its results, and the picture it drew."""
    picture = tmp_path_factory.mktemp("experiment") / "curves.png"
    return load("experiment").main(str(picture)), picture


def test_experiment_learning_rates(experiment):
    rates = experiment[0]["learning rate"]
    assert rates["0.1, right"].test_accuracy > 0.95
    assert 0.2 < rates["0.003, too small"].test_accuracy < 0.9
    assert rates["2, too large"].test_accuracy < 0.3
    absurd = rates["1,000,000, absurd"]
    assert absurd.stop_reason == "diverged"
    assert np.isfinite(absurd.mlp.params).all()


def test_experiment_activations_and_layers(experiment):
    runs = experiment[0]
    for line in ("relu", "tanh", "sigmoid, rate 0.5", "none"):
        assert runs["activation"][line].test_accuracy > 0.93
    assert runs["activation"]["sigmoid"].test_accuracy < runs["activation"]["tanh"].test_accuracy
    two, one, none = (run.losses[-1] for run in runs["hidden layers"].values())
    assert two < one < none
    assert runs["hidden layers"]["none at all"].test_accuracy > 0.92


def test_experiment_zero_weights_keep_hidden_neurons_alike(experiment):
    lines = experiment[0]["initial weights"]
    assert lines["random"].test_accuracy > 0.95
    assert lines["zero"].test_accuracy < 0.2
    assert not np.concatenate([w.ravel() for w in lines["zero"].mlp.weights]).any()

    symmetric = lines["zero, sigmoid, rate 0.5"]
    assert symmetric.test_accuracy < 0.6
    into_first, _, out = symmetric.mlp.weights
    assert np.abs(into_first).max() > 0.01  # it did learn something,
    for w, b in zip(symmetric.mlp.weights[:2], symmetric.mlp.biases[:2], strict=True):
        assert np.ptp(w, axis=1).max() < 1e-5  # and every neuron the same
        assert np.ptp(b) < 1e-5
    assert np.ptp(out, axis=0).max() < 1e-5


def test_experiment_without_activation_is_one_linear_map(experiment):
    mlp = experiment[0]["activation"]["none"].mlp
    flat = load("experiment").multiplied_out(mlp)
    assert flat.sizes == (64, 10)
    _, (X, _) = fm.datasets.digits()
    np.testing.assert_allclose(flat.predict(X), mlp.predict(X), rtol=0, atol=1e-5)


def test_experiment_perceptron_cannot_learn_xor(experiment):
    runs = experiment[0]["XOR"]
    X, _ = fm.datasets.xor()
    # The lowest loss there is without a hidden layer: ln 2, at one half for every row.
    np.testing.assert_allclose(runs["no hidden layer"].mlp.predict(X), 0.5, atol=0.01)
    assert runs["no hidden layer"].losses[-1] == pytest.approx(math.log(2), abs=1e-4)
    assert runs["no hidden layer"].train_accuracy <= 0.75
    assert runs["4 hidden neurons"].train_accuracy == 1


def test_experiment_shows_every_warning(experiment, capsys):
    runs = experiment[0]
    warned = {
        f"{group} {line}": run.warnings
        for group, lines in runs.items()
        for line, run in lines.items()
        if run.warnings
    }
    assert list(warned) == [
        "learning rate 1,000,000, absurd",
        "initial weights zero",
        "initial weights zero, sigmoid, rate 0.5",
    ]
    expected = ["diverged in epoch 1", "all zero", "all zero"]
    module = load("experiment")
    module.print_table(runs)
    module.print_meaning(runs)
    printed = " ".join(capsys.readouterr().out.split())
    for (line, messages), words in zip(warned.items(), expected, strict=True):
        assert len(messages) == 1
        assert words in messages[0]
        assert f"- {line}: {messages[0]}" in printed


def test_experiment_table_has_a_line_for_every_run(experiment, capsys):
    runs = experiment[0]
    load("experiment").print_table(runs)
    lines = capsys.readouterr().out.splitlines()[2:]
    flat = [(line, run) for group in runs.values() for line, run in group.items()]
    assert len(lines) == len(flat)
    for text, (line, run) in zip(lines, flat, strict=True):
        assert f" {line} " in text
        assert f" {run.train_accuracy:.1%} " in text
        assert run.test_accuracy is None or f" {run.test_accuracy:.1%}" in text
        assert text.endswith("diverged") == (run.stop_reason == "diverged")


def test_experiment_picture(experiment):
    from matplotlib.image import imread

    pixels = imread(experiment[1])
    assert pixels.shape[:2] == (840, 1200)
    # Something was drawn in each of the five colours.
    for color in ("222222", "0072b2", "d55e00", "009e73", "cc79a7"):
        wanted = np.array([int(color[i : i + 2], 16) for i in (0, 2, 4)]) / 255
        assert (np.abs(pixels[..., :3] - wanted) < 0.01).all(axis=-1).sum() > 500


def test_experiment_without_matplotlib(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    load("experiment").main(str(tmp_path / "curves.png"))
    printed = capsys.readouterr().out
    assert "0.1, right" in printed
    assert printed.splitlines()[-1].startswith("No picture: matplotlib is missing")
    assert not (tmp_path / "curves.png").exists()


# ---- quantiles, class weights, mapped files, dropout


def test_intervals_hold_nine_rows_in_ten(capsys):
    inside, below = load("intervals").main()
    assert abs(inside - 0.9) < 0.02
    assert np.abs(np.subtract(below, (0.05, 0.5, 0.95))).max() < 0.03
    assert f"{inside:.1%}" in capsys.readouterr().out


def test_class_weights_find_the_rare_rows(capsys):
    found = load("imbalanced").main()
    plain, balanced = found[None], found["balanced"]
    assert plain["accuracy"] > 0.97
    assert plain["recall"] < 0.1
    assert balanced["recall"] > 0.7
    assert balanced["balanced_accuracy"] > plain["balanced_accuracy"] + 0.2
    assert "balanced_accuracy" in capsys.readouterr().out


def test_a_mapped_file_is_as_good_as_memory(capsys):
    assert load("memmap").main(copies=10, epochs=8) > 0.97
    assert "MB of bytes" in capsys.readouterr().out


def test_dropout_learns_small_digits(monkeypatch, capsys):
    """A small network on few rows; the full size is for `python examples/mnist_dropout.py`."""
    (X, y), (X_test, y_test) = fm.datasets.digits()

    def enlarged(rows):
        images = np.zeros((len(rows), 28, 28), np.float32)
        images[:, 2:26, 2:26] = rows.reshape(-1, 8, 8).repeat(3, axis=1).repeat(3, axis=2)
        return images.reshape(len(rows), 784)

    monkeypatch.setattr(
        fm.datasets, "mnist", lambda: ((enlarged(X), y), (enlarged(X_test), y_test))
    )
    assert load("mnist_dropout").main(epochs=30, width=256) > 0.95
    assert "test images" in capsys.readouterr().out


# ---- scikit-learn's numbers


def test_drop_in_has_scikit_learns_numbers(capsys):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    theirs, ours, largest = load("drop_in").main()
    assert type(theirs) is not type(ours) is fm.MLPClassifier
    assert 20 < ours.n_iter_ == theirs.n_iter_ < 60
    (X, _), (X_test, y_test) = fm.datasets.digits()
    # 100·eps·sqrt(n), n being the rows trained on.
    assert largest < 100 * np.finfo(np.float64).eps * math.sqrt(len(X))
    assert ours.score(X_test, y_test) == theirs.score(X_test, y_test) > 0.92
    printed = capsys.readouterr().out
    assert printed.count("93.6% right") == 2
    assert f"largest difference in {ours.n_iter_} epochs: {largest:.1e}" in printed
