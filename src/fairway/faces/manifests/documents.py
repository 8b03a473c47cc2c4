"""From YAML text to documents that know where each of their fields was written.

Only plain YAML: no tags, no key twice, and a number of nodes that a person could have written.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from fairway.faces.manifests.complaints import InvalidManifest, Loc, path_of
from fairway.model.errors import InvalidField

# libyaml's loader, where PyYAML was built with it, is ten times faster.
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

LONGEST_TEXT = 16 << 20
MOST_NODES = 2_000_000
DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Document:
    """One manifest before it is understood: ``place`` begins every path in it, ``lines`` says where fields stand."""

    place: str
    value: Any
    lines: dict[Loc, int] = field(default_factory=dict[Loc, int])

    def error(self, loc: Loc, message: str) -> InvalidField:
        """An error about one field, with its path and, where there is a text, its line."""
        path = path_of(loc)
        where = f"{self.place}.{path}" if self.place and path else self.place or path
        line = self.line(loc)
        return InvalidField(where, f"{message} (line {line})" if line else message)

    def line(self, loc: Loc) -> int:
        """Where a field, or the nearest thing around it, is written; 0 where there is no text."""
        return next((self.lines[loc[:end]] for end in range(len(loc), -1, -1) if loc[:end] in self.lines), 0)


def read_yaml(text: str, source: str) -> list[Document]:
    """The documents of a YAML text, none of an empty one. ``source`` is the file's name; a file of several has their
    index in the path.

    Raises InvalidManifest for what is not YAML, holds a key twice, or is too large.
    """
    if len(text) > LONGEST_TEXT:
        raise InvalidManifest([InvalidField(source, f"{len(text)} characters > {LONGEST_TEXT}: split the file")])
    loader = _Loader(text)
    try:
        roots = list(_compose(loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise InvalidManifest([InvalidField(where, f"not YAML: {error.problem or error.context}")]) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise InvalidManifest([InvalidField(source, f"not YAML: {' '.join(str(error).split())}")]) from None
    finally:
        loader.dispose()
    return [_document(root, f"{source}[{index}]" if len(roots) > 1 else source) for index, root in enumerate(roots)]


def _compose(loader: Any) -> Iterator[yaml.Node]:
    while loader.check_node():
        node = loader.get_node()
        empty = isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")
        if node is not None and not empty:  # `---` before the first and after the last document is common
            yield node


def _document(root: yaml.Node, place: str) -> Document:
    lines: dict[Loc, int] = {}
    errors: list[InvalidField] = []
    document = Document(place, None, lines)
    for loc, node in _walk(root, ()):
        if len(lines) >= MOST_NODES or len(loc) > DEEPEST:
            raise InvalidManifest([document.error(loc[:3], "is too large or too deep: split it, or write it out")])
        lines[loc] = node.start_mark.line + 1
        for key, line in _twice(node):
            lines[(*loc, key)] = line
            errors.append(document.error((*loc, key), "is written twice: remove one"))
    if errors:
        raise InvalidManifest(errors)
    try:
        return Document(place, _value(root), lines)
    except (yaml.YAMLError, ValueError, TypeError) as error:  # a tag of its own, an impossible date, a list as a key
        problem = getattr(error, "problem", None) or error
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise InvalidManifest([InvalidField(place, f"{problem}: write plain YAML{line}")]) from None


def _value(root: yaml.Node) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _walk(node: yaml.Node, loc: Loc) -> Iterator[tuple[Loc, yaml.Node]]:
    """Every node under ``node`` with its path; what an alias repeats is walked again, so that its size counts."""
    yield loc, node
    if len(loc) > DEEPEST:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, (*loc, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*loc, index))


def _twice(node: yaml.Node) -> Iterator[tuple[str, int]]:
    """Keys of a mapping that were there before, and their lines."""
    seen: set[str] = set()
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        name = str(key.value)
        if isinstance(key, yaml.ScalarNode) and name != "<<":
            if name in seen:
                yield name, key.start_mark.line + 1
            seen.add(name)
