"""A room that a reader can hold in mind: modules up to 400 lines, functions up to 60.

A module whose subject needs more says why in its docstring, in a line that starts with "Long because".
"""

import ast

import pytest

from tests.architecture.source import Module, modules

MODULE_LINES = 400
FUNCTION_LINES = 60

EVERYTHING = modules("src", "bench", "tests")


def excused(tree: ast.Module) -> bool:
    """Whether the module's docstring says why it is long."""
    lines = [line.strip() for line in (ast.get_docstring(tree) or "").splitlines()]
    return any(line.startswith("Long because ") and len(line.split()) > 3 for line in lines)


def oversize(module: Module) -> list[str]:
    """What in this module is longer than it may be, with its length."""
    lines = len(module.text.splitlines())
    found = [f"{module.path}: {lines} lines"] if lines > MODULE_LINES and not excused(module.tree) else []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"{module.at(node.lineno)}: {node.name} has {length} lines")
    return found


@pytest.mark.parametrize("module", EVERYTHING, ids=lambda module: module.path)
def test_modules_and_functions_keep_their_size(module: Module) -> None:
    assert oversize(module) == []


def test_what_is_too_long_is_noticed() -> None:
    body = "    x = 1\n"
    assert oversize(Module("a.py", "def f():\n" + body * 59)) == []
    assert oversize(Module("a.py", "def f():\n" + body * 60)) == ["a.py:1: f has 61 lines"]
    assert oversize(Module("a.py", "x = 1\n" * 400)) == []
    assert oversize(Module("a.py", "x = 1\n" * 401)) == ["a.py: 401 lines"]


def test_a_long_module_says_why() -> None:
    reason = '"""Facts.\n\nLong because every fact has one function here, and a reader wants them side by side.\n"""\n'
    assert oversize(Module("a.py", reason + "x = 1\n" * 401)) == []
    assert oversize(Module("a.py", '"""Facts.\n\nLong because\n"""\n' + "x = 1\n" * 401)) == ["a.py: 405 lines"]
