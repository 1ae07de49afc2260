"""What the README and the other pages show is run as it stands there."""

import re
from pathlib import Path

import numpy as np

import fastmlp as fm

ROOT = Path(__file__).parents[1]


def blocks(page, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_example_and_the_loop_by_hand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example, by_hand = blocks("README.md")
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
    for page in ("README.md", "CONTRIBUTING.md", "docs/model-format.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text()):
            assert (ROOT / page).parent.joinpath(link).exists(), f"{page}: {link}"
