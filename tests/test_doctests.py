"""Every example in a docstring runs, and gives what it says."""

import ast
import doctest
from pathlib import Path

import pytest

import fastmlp as fm

PACKAGE = Path(fm.__file__).parent
PARSER = doctest.DocTestParser()


def documented(tree, name):
    """The docstrings of a module and of all its classes and functions, with their names."""
    docstring = ast.get_docstring(tree)
    if docstring:
        yield name, docstring, getattr(tree, "lineno", 1)
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield from documented(node, f"{name}.{node.name}")


def examples():
    """Read from the sources, so that nothing need be imported to find them."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for name, docstring, line in documented(ast.parse(path.read_text()), module):
            # Every example begins with its own imports, as a reader would type it.
            test = PARSER.get_doctest(docstring, {}, name, str(path), line)
            if test.examples:
                yield pytest.param(test, id=name)


EXAMPLES = list(examples())


def test_there_are_examples():
    names = {parameter.id for parameter in EXAMPLES}
    assert {"fastmlp.network.MLP", "fastmlp.training.Trainer", "fastmlp.network.MLP.fit"} <= names
    assert len(names) >= 10


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example):
    if example.name.startswith("fastmlp.sklearn"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    said = []
    runner = doctest.DocTestRunner(verbose=False)
    failed = runner.run(example, out=said.append).failed
    assert failed == 0, f"{example.name}:\n{''.join(said)}"
