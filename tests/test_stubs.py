"""The manual of the compiled room, ``kernels/__init__.pyi``, against the compiled modules."""

import ast
import inspect
from pathlib import Path

import pytest

from fastmlp import kernels

STUB = ast.parse((Path(kernels.__file__).parent / "__init__.pyi").read_text())
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def functions(class_name):
    return [node for node in CLASSES[class_name].body if isinstance(node, ast.FunctionDef)]


def attributes(class_name):
    return [node.target.id for node in CLASSES[class_name].body if isinstance(node, ast.AnnAssign)]


def parameters(function):
    """Names and kinds of a stub's parameters, and which have a default; self left out."""
    found = [(a.arg, "positional") for a in function.args.args if a.arg != "self"]
    return found + [(a.arg, "keyword") for a in function.args.kwonlyargs]


def real_parameters(function):
    kinds = {inspect.Parameter.KEYWORD_ONLY: "keyword"}
    return [
        (p.name, kinds.get(p.kind, "positional"))
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"
    ]


@pytest.fixture(params=["float32", "float64"])
def build(request):
    return getattr(kernels, request.param)


def test_every_build_has_what_the_manual_lists(build):
    for name in attributes("_Build"):
        assert hasattr(build, name), name
    for function in functions("_Build"):
        assert parameters(function) == real_parameters(getattr(build, function.name))


def test_the_manual_lists_all_that_a_build_has(build):
    listed = {*attributes("_Build"), *(function.name for function in functions("_Build"))}
    public = {name for name in vars(build) if not name.startswith("_")}
    assert public == listed


@pytest.mark.parametrize("name", ["Plan", "Source"])
def test_classes_are_as_the_manual_says(build, name):
    compiled = getattr(build, name)
    listed = {f.name for f in functions(name)} - {"__init__"}
    public = {n for n in vars(compiled) if not n.startswith("_")}
    assert public == listed | set(attributes(name))
    for function in functions(name):
        if function.name != "__init__":
            assert parameters(function) == real_parameters(getattr(compiled, function.name))
