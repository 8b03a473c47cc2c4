"""Hypothesis strategies for the vocabulary: ``of(Job)``, ``of(Fact)``, ``batches()``.

They make every value the *types* allow, sensible or not: codecs and stores must keep whatever they are given.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from random import Random
from types import NoneType, UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from fairway.model.errors import InvalidField
from fairway.model.facts import Fact, Facts
from fairway.model.ids import JobId, NodeId, QueueId
from fairway.model.policy import Policy
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


def policies() -> st.SearchStrategy[Policy]:
    """Policies: valid ones, for no other can be made."""
    return st.integers(0, 1 << 16).map(lambda seed: changed(Policy(), Random(seed)))


def changed(part: Any, rng: Random | None = None) -> Any:
    """A part of a policy with other values wherever it allows one; each with even odds given a ``rng``."""
    for field in fields(part):
        old = getattr(part, field.name)
        if is_dataclass(old):
            part = replace(part, **{field.name: changed(old, rng)})
        elif rng is None or rng.random() < 0.5:
            hint = get_type_hints(type(part))[field.name]
            part = next((new for value in _others(old, hint) if (new := _with(part, field.name, value))), part)
    return part


def _with(part: Any, name: str, value: Any) -> Any:
    try:
        return replace(part, **{name: value})
    except InvalidField:
        return None


def _others(old: Any, hint: Any) -> list[Any]:
    """Values of the type of ``old`` that it does not have, those nearby first."""
    choices = [value for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal for value in get_args(kind)]
    enums = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and issubclass(kind, Enum)]
    choices += [member for kind in enums for member in kind]
    if choices:
        return [value for value in choices if value != old]
    if isinstance(old, bool):
        return [not old]
    if isinstance(old, float):
        return [old / 2, 2 * old, 0.5, 1.0, 0.0]
    if isinstance(old, int):
        return [old + 1, old - 1, 2 * old]
    return [1, 1.5] if old is None else []


_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: WHOLE_NUMBERS,
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=12),
    NoneType: st.none(),
    Instant: INSTANTS,
    JobId: NAMES,
    NodeId: NAMES,
    Policy: policies(),
    QueueId: st.lists(NAMES, max_size=3).map("/".join),
}
