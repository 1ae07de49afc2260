"""What the README and the other pages show is run as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm

ROOT = Path(__file__).parents[1]


def blocks(page, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_example_and_the_loop_by_hand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example, _, by_hand = blocks("README.md")
    names = {}
    exec(example, names)
    assert names["probabilities"].shape == (360, 10)
    accuracy = names["mlp"].evaluate(names["X_test"], names["y_test"])["accuracy"]
    assert accuracy >= 0.97
    assert f"'accuracy': {accuracy}" in capsys.readouterr().out
    names["minibatches"] = [(names["X"][:50], names["y"][:50])] * 3
    before = names["mlp"].params.copy()
    exec(by_hand, names)
    assert not np.array_equal(before, names["mlp"].params)


def test_scikit_learns_place_is_taken(capsys):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    _, drop_in, _ = blocks("README.md")
    (X, y), (X_test, y_test) = fm.datasets.digits()
    exec(drop_in, {"X": X, "y": y, "X_test": X_test, "y_test": y_test})
    assert float(capsys.readouterr().out) > 0.9


def test_the_page_for_those_who_come_from_scikit_learn(tmp_path, monkeypatch):
    """All its blocks, one after the other, and what its comments say."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    monkeypatch.chdir(tmp_path)
    names = {}
    try:
        for block in blocks("docs/guide/sklearn.md"):
            exec(block, names)
    finally:
        fm.unpatch_sklearn()
    assert names["MLPRegressor"] is fm.MLPRegressor
    # The first classifier's name is taken again by the second.
    clf, X, y = names["clf"], names["X"], names["y"]
    X_test, y_test = names["X_test"], names["y_test"]
    assert clf.stop_reason_ == "early_stopping"
    assert clf.history_["val_balanced_accuracy"] == clf.validation_scores_
    assert len(clf.validation_loss_curve_) == clf.n_iter_
    assert clf.score(X_test, y_test) > 0.9

    in_one = fm.MLPClassifier(max_iter=5, random_state=0)
    with pytest.warns(match="hasn't converged yet"):
        in_one.fit(X, y)
    assert names["bit_by_bit"].loss_curve_ == in_one.loss_curve_

    assert names["both"].predict(X_test).shape == (360, 2)
    assert (names["digit"].shape, names["odd"].shape) == ((360, 10), (360, 2))

    np.testing.assert_array_equal(names["probabilities"], clf.predict_proba(X_test[:1]))
    np.testing.assert_array_equal(fm.load("digits.safetensors").params, clf.mlp_.params)
    assert np.isfinite(names["step"].loss)
    assert type(names["theirs"]).__module__.startswith("sklearn.")
    np.testing.assert_array_equal(names["ours"].predict(X_test), names["relu"].predict(X_test))

    assert set(names["search"].best_params_) == set(names["grid"])
    assert all(len(member.validation_loss_curve_) > 1 for member in names["several"])


def test_the_model_format_page_reads_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mlp = fm.MLP([4, 5, 3], output="softmax", seed=0, dtype="float64")
    mlp.save("digits.safetensors")
    names = {"x": np.random.default_rng(0).normal(size=(7, 4))}
    expected = mlp.predict(names["x"])
    (reader,) = blocks("docs/model-format.md")
    exec(reader, names)
    np.testing.assert_allclose(names["p"], expected, rtol=1e-13)


def test_the_commands_of_the_first_screen_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in ("README.md", "CONTRIBUTING.md"):
        (first, *_) = blocks(page, "console")
        for target in re.findall(r"^\$ make (\S+)", first, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_linked_files_exist():
    for page in ("README.md", "CONTRIBUTING.md", "docs/model-format.md", "docs/guide/sklearn.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text()):
            assert (ROOT / page).parent.joinpath(link).exists(), f"{page}: {link}"
