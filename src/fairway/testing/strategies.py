"""Hypothesis strategies for the vocabulary: ``of(Job)``, ``of(Fact)``, ``batches()``.

They make every value the *types* allow, sensible or not: codecs and stores must keep whatever they are given.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from fairway.model.facts import Fact, Facts
from fairway.model.ids import JobId, NodeId, QueueId
from fairway.model.time import Instant

WHOLE_NUMBERS = st.one_of(st.integers(0, 20), st.integers(-(1 << 63) + 1, (1 << 63) - 1))
INSTANTS = st.integers(0, 1 << 62)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}(-[0-9]{1,3})?", fullmatch=True)


def batches(max_size: int = 4) -> st.SearchStrategy[Facts]:
    """Batches of up to ``max_size`` facts of any kind."""
    return st.builds(Facts, INSTANTS.map(Instant), st.lists(of(Fact), max_size=max_size).map(tuple))


@cache
def of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type of the vocabulary: a dataclass, a union, an enum, or what they are made of."""
    if kind in _LEAVES:
        return _LEAVES[kind]
    if isinstance(kind, NewType):
        return of(kind.__supertype__)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return st.one_of([of(argument) for argument in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        if arguments[-1:] == (Ellipsis,):
            return st.lists(of(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*[of(argument) for argument in arguments])
    return _of_class(kind)


def _of_class(kind: Any) -> st.SearchStrategy[Any]:
    if issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    hints = get_type_hints(kind)
    make: Callable[..., Any] = kind
    if is_dataclass(kind):
        return st.builds(make, **{field.name: _of_field(field, hints[field.name]) for field in fields(kind)})
    if issubclass(kind, tuple):
        return st.builds(make, *[of(hint) for hint in hints.values()])
    raise TypeError(f"no strategy for {kind!r}")


def _of_field(field: "Field[Any]", hint: Any) -> st.SearchStrategy[Any]:
    """Defaults come up often: codecs leave them out, which is a path of its own."""
    if field.default is not MISSING:
        return st.one_of(st.just(field.default), of(hint))
    make: Any = field.default_factory
    return of(hint) if make is MISSING else st.one_of(_called(make), of(hint))


def _called(make: Callable[[], Any]) -> st.SearchStrategy[Any]:
    return st.builds(make)


_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: WHOLE_NUMBERS,
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=12),
    NoneType: st.none(),
    Instant: INSTANTS,
    JobId: NAMES,
    NodeId: NAMES,
    QueueId: st.lists(NAMES, max_size=3).map("/".join),
}
