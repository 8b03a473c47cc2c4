"""Frozen values that are made all the time.

``dataclass`` sets every field of a frozen value by name, through ``object.__setattr__``. The slots of a class can be
set by themselves, in little more than half the time; ``frozen`` does so. It is for facts, actions and the like, of
which every decision makes dozens, and for nothing else.
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, dataclass_transform

Value = TypeVar("Value")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[Value]) -> type[Value]:
    """``dataclass(frozen=True, slots=True)``, sooner made. Defaults are values, not factories."""
    made = dataclass(frozen=True, slots=True)(cls)
    made.__init__ = _setting_slots(made)
    return made


def _setting_slots(cls: type) -> Callable[..., None]:
    """An ``__init__`` that sets slot by slot, written as ``dataclass`` writes its own."""
    known: dict[str, Any] = {}
    arguments, body = list[str](), list[str]()
    for each in fields(cls):
        known[f"_set_{each.name}"] = getattr(cls, each.name).__set__
        known[f"_default_{each.name}"] = each.default
        arguments.append(each.name if each.default is MISSING else f"{each.name}=_default_{each.name}")
        body.append(f"    _set_{each.name}(self, {each.name})")
    exec("\n".join([f"def __init__(self, {', '.join(arguments)}):", *body]), known)
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made
