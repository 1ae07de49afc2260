"""The command line, called as a function and as a program."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import fastmlp as fm
from fastmlp import cli, kernels


def test_demo_learns_the_digits(capsys):
    assert cli.main(["demo"]) == 0
    out = capsys.readouterr().out
    accuracy = re.search(r"accuracy on the held-out digits: (\d\.\d{4})", out)
    assert float(accuracy.group(1)) >= 0.97
    # Progress, build, threads and time.
    assert re.search(r"^epoch +\d+/40  loss ", out, re.MULTILINE)
    assert "epoch 40/40" in out
    assert f"build {kernels.VARIANT}, {fm.get_num_threads()} thread" in out
    assert re.search(r"trained in \d+\.\d\d s", out)
    assert "1,437 handwritten digits" in out
    assert "360 held out" in out


def test_info_tells_what_is_in_use(capsys):
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    told = dict(re.findall(r"^(\w+): +(.*)$", out, re.MULTILINE))
    config = fm.show_config(mode="dict")
    assert set(told) == set(config)
    assert told["variant"] == kernels.VARIANT
    assert told["usable_variants"] == ", ".join(kernels.usable_variants())
    assert told["threads"] == str(fm.get_num_threads())


def test_bench_hands_its_arguments_on(monkeypatch):
    given = []

    def bench(arguments):
        given.append(arguments)
        return 7

    monkeypatch.setattr(import_module("fastmlp.benchmarks"), "main", bench)
    assert cli.main(["bench", "--work", "xor", "-v"]) == 7
    assert given == [["--work", "xor", "-v"]]


def test_bench_explains_itself(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["bench", "--help"])
    assert caught.value.code == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "command"),
        (["dmeo"], "invalid choice: 'dmeo'"),
        (["demo", "--fast"], "unrecognized arguments: --fast"),
        (["info", "extra"], "unrecognized arguments: extra"),
    ],
)
def test_wrong_arguments_are_refused(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("demo", "info", "bench"))


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-P", "-W", "error", "-m", "fastmlp", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_package_can_be_run():
    done = run("info")
    assert (done.returncode, done.stderr) == (0, "")
    assert "variant:" in done.stdout


def test_the_status_of_the_program_is_that_of_the_command():
    done = run("nonsense")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: fastmlp")


def test_the_installed_program_is_this_function():
    settings = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())
    module, _, name = settings["project"]["scripts"]["fastmlp"].partition(":")
    assert getattr(import_module(module), name) is cli.main
