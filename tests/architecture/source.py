"""Reads the repository's own source for the tests beside it: which files there are, and what a module refers to."""

import ast
import io
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
PURE = ("model", "state", "decide", "engine")


@dataclass(frozen=True)
class Module:
    """One Python file: its path from the root of the repository, its text and its syntax tree."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return parse(self.text)

    def at(self, line: int) -> str:
        """Where a reader should look: path:line."""
        return f"{self.path}:{line}"


@cache
def parse(text: str) -> ast.Module:
    return ast.parse(text)


def module(path: Path) -> Module:
    """The Python file at this path."""
    return Module(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))


def modules(*folders: str) -> list[Module]:
    """The Python files under these folders of the repository, in order of path; a folder that is absent has none."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [module(path) for path in paths]


def floor(*names: str) -> list[Module]:
    """The modules of these rooms of src/fairway, packages and single files alike."""
    found = modules(*(f"src/fairway/{name}" for name in names))
    files = (SRC / "fairway" / f"{name}.py" for name in names)
    return found + [module(path) for path in files if path.exists()]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module that the code imports, anywhere in it: (line, full name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def references(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every imported thing that the code names, by its full name whatever it is called here: (line, "time.monotonic").

    A reference counts, and not only a call: a clock handed on as a default argument is a clock all the same.
    """
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.lineno, f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (full := dotted(node, names)):
            yield node.lineno, full


def dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """The full name that an expression like `t.monotonic` stands for; None where its root was not imported."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and (base := dotted(node.value, names)):
        return f"{base}.{node.attr}"
    return None


def comments(text: str) -> Iterator[tuple[int, str]]:
    """Every comment: (line, text)."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def tracked() -> list[Path]:
    """The files that git tracks, plus the new ones that it does not ignore; every file where there is no git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:
        hidden = (".venv", ".git", "__pycache__", ".hypothesis", ".ruff_cache", ".pytest_cache")
        paths = [path for path in ROOT.rglob("*") if not any(part in hidden for part in path.parts)]
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())
