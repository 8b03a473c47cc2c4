"""Nothing pretends: no error is swallowed in silence, nothing is left unfinished, nothing does nothing.

A handler that does nothing is allowed for a narrow error when a comment in it says why the error does not matter.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.source import Module, comments, modules

BROAD = frozenset({"Exception", "BaseException"})
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def named(node: ast.expr | None) -> set[str]:
    """The names in `except A`, `except (A, b.C)`, a base class or a decorator, without what stands before the dot."""
    if isinstance(node, ast.Tuple):
        return set().union(*(named(item) for item in node.elts))
    if isinstance(node, ast.Call | ast.Subscript):
        return named(node.func if isinstance(node, ast.Call) else node.value)
    if isinstance(node, ast.Attribute):
        return {node.attr}
    return {node.id} if isinstance(node, ast.Name) else set()


def idle(body: list[ast.stmt]) -> bool:
    """Whether the statements do nothing at all."""
    return all(
        isinstance(item, ast.Pass | ast.Continue)
        or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and item.value.value is ...)
        for item in body
    )


def suppressed(node: ast.Call) -> set[str]:
    """The errors that a call of `contextlib.suppress` lets go; none for any other call."""
    return set[str]().union(*map(named, node.args)) if "suppress" in named(node.func) else set()


def silent(module: Module) -> Iterator[str]:
    """The places where an error disappears and nobody learns of it."""
    said = {line for line, _ in comments(module.text)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and idle(node.body):
            broad = node.type is None or named(node.type) & BROAD
            if broad or not said & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)):
                yield f"{module.at(node.lineno)}: an error is swallowed"
        elif isinstance(node, ast.Call) and suppressed(node) & BROAD:
            yield f"{module.at(node.lineno)}: every error is suppressed"


def unfinished(module: Module) -> Iterator[str]:
    """Notes to come back later, and code that is not there yet."""
    for line, text in comments(module.text):
        if UNFINISHED.search(text):
            yield f"{module.at(line)}: {text}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Raise) and "NotImplementedError" in named(node.exc):
            yield f"{module.at(node.lineno)}: not implemented"
    yield from hollow(module, module.tree, abstract=False)


def hollow(module: Module, parent: ast.AST, abstract: bool) -> Iterator[str]:
    """Functions of `pass` or `...` alone, outside protocols, overloads and abstract methods."""
    for node in ast.iter_child_nodes(parent):
        inside = abstract
        if isinstance(node, ast.ClassDef):
            inside = any("Protocol" in named(base) for base in node.bases)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            declared = any(named(item) & {"overload", "abstractmethod"} for item in node.decorator_list)
            if idle(node.body) and not (abstract or declared):
                yield f"{module.at(node.lineno)}: {node.name} does nothing"
            inside = False
        yield from hollow(module, node, inside)


@pytest.mark.parametrize("module", modules("src", "bench", "tests"), ids=lambda module: module.path)
def test_nothing_is_swallowed_or_left_unfinished(module: Module) -> None:
    assert [*silent(module), *(unfinished(module) if not module.path.startswith("tests/") else ())] == []


SWALLOWED = [
    "try:\n    f()\nexcept:\n    pass\n",
    "try:\n    f()\nexcept Exception:\n    # no matter\n    pass\n",
    "try:\n    f()\nexcept (KeyError, Exception):\n    ...\n",
    "for x in y:\n    try:\n        f()\n    except OSError:\n        continue\n",
    "with contextlib.suppress(Exception):\n    f()\n",
]


@pytest.mark.parametrize("text", SWALLOWED)
def test_a_swallowed_error_is_noticed(text: str) -> None:
    assert len(list(silent(Module("a.py", text)))) == 1


def test_a_narrow_error_may_be_let_go_with_a_reason() -> None:
    text = "try:\n    kill(p)\nexcept ProcessLookupError:\n    pass  # it ended by itself, which is what we want\n"
    assert list(silent(Module("a.py", text))) == []


LEFT = [
    "x = 1  # TODO: later\n",
    "def f():\n    raise NotImplementedError\n",
    "def f():\n    raise NotImplementedError('later')\n",
    "def f(): ...\n",
    "class A:\n    def f(self):\n        pass\n",
    "class A(Protocol):\n    def f(self):\n        def g(): ...\n        return g\n",
]


@pytest.mark.parametrize("text", LEFT)
def test_what_is_left_unfinished_is_noticed(text: str) -> None:
    assert len(list(unfinished(Module("a.py", text)))) == 1


FINISHED = [
    "class A(Protocol[T]):\n    def f(self): ...\n",
    "@typing.overload\ndef f(): ...\n",
    "class A:\n    @abc.abstractmethod\n    def f(self): ...\n",
    'class Shadow:\n    def send(self, commands):\n        """Shadow sends nothing."""\n',
]


@pytest.mark.parametrize("text", FINISHED)
def test_a_declaration_and_a_documented_nothing_are_finished(text: str) -> None:
    assert list(unfinished(Module("a.py", text))) == []
