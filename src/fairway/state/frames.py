"""The codec of facts: what stands in a journal's frames, in the durable inbox and on every wire between two Fairways.

A batch of facts is JSON that a person can read. Every class of a union carries its name under ``is``; fields at their
default are left out, so frames stay small and a field that is added later needs nothing but a default::

    {"now": 1000, "items": [{"is": "AttemptStarted", "attempt": ["train-17", 1], "executor": "k8s", "seq": 4, "at": 9}]}

Three promises keep old journals readable (``tests/replay`` holds recorded ones): a class, field or enum value is never
renamed or removed; a new field has a default; **a default never changes its value**, because frames rely on it.
A name this version does not know is refused as written by a newer one, never ignored: half a fact is a wrong fact.
"""

from collections.abc import Callable, Sequence
from enum import Enum, IntEnum, StrEnum
from functools import cache
from math import isfinite
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from cattrs import Converter
from cattrs.errors import ForbiddenExtraKeysError

from fairway.model.errors import CorruptJournal, InvalidField, NewerFormat
from fairway.model.facts import Fact, Facts
from fairway.model.plan import Action
from fairway.model.reasons import Refusal, StopReason

T = TypeVar("T")

TAG = "is"
"""A Python keyword, so no field can have this name."""

MAX_INT = (1 << 63) - 1
"""Integers on the wire fit 64 signed bits: no reader in any language needs more."""


class _Unknown(Exception):
    """A class, key or value this version has no name for."""


def encode(facts: Facts) -> bytes:
    """JSON of a batch of facts. Raises InvalidField for a text or number that JSON cannot keep."""
    return encode_value(facts, Facts)


def decode(data: bytes) -> Facts:
    """The batch that ``encode`` wrote. Raises NewerFormat naming what is not known here, CorruptJournal for any
    other bytes."""
    return decode_value(data, Facts)


def encode_value(value: T, kind: type[T], **written: Sequence[bytes]) -> bytes:
    """The same encoding for any type of the vocabulary, the unions too. Fields of ``value`` that are named hold what is
    ``written``: lists of values that were encoded before. Raises InvalidField as ``encode`` does."""
    try:
        fields = _writer(kind)(value)
        for name, values in written.items():
            fields[name] = [msgspec.Raw(each) for each in values]
        return _to_json.encode(fields)
    except UnicodeEncodeError as error:
        broken = ascii(error.object[:80])
        raise InvalidField("text", f"{broken} holds bytes that are not UTF-8; write it in UTF-8") from None


def decode_value(data: bytes, kind: type[T]) -> T:
    """The value that ``encode_value`` wrote of type ``kind``. Raises NewerFormat, CorruptJournal as ``decode`` does."""
    try:
        return _reader(kind)(_from_json.decode(data), kind)
    except _Unknown as error:
        raise NewerFormat(f"{error} was written by a newer version of Fairway; upgrade to read it") from None
    except ForbiddenExtraKeysError as error:
        names = ", ".join(sorted(error.extra_fields))
        text = f"field {names} of {error.cl.__name__} was written by a newer version of Fairway; upgrade to read it"
        raise NewerFormat(text) from None
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        name = getattr(kind, "__name__", kind)
        text = f"not an encoded {name}: {type(error).__name__} {error}; the bytes begin {data[:60]!r}"
        raise CorruptJournal(text) from None


_to_json = msgspec.json.Encoder()
_from_json = msgspec.json.Decoder()


@cache
def _converter() -> Converter:
    # detailed_validation would name the path of every error, at half the speed: frames are checked by their CRC.
    converter = Converter(omit_if_default=True, forbid_extra_keys=True, detailed_validation=False)
    converter.register_unstructure_hook(float, _write_float)
    converter.register_unstructure_hook(int, _write_int)
    for base in (StrEnum, IntEnum):  # named one by one: cattrs would find them as str and int first
        converter.register_structure_hook(base, _read_enum)
    converter.register_structure_hook_factory(_is_literal, _literal_reader)
    for union in (Refusal, StopReason, Action, Fact):  # inner ones first: hooks are bound when a class is first met
        _tag(converter, union)
    return converter


@cache
def _writer(kind: type[Any]) -> Callable[[Any], Any]:
    return _converter().get_unstructure_hook(kind)


@cache
def _reader(kind: type[Any]) -> Callable[[Any, Any], Any]:
    return _converter().get_structure_hook(kind)


def _tag(converter: Converter, union: Any) -> None:
    """Teach ``converter`` a union of dataclasses: the class's name under ``TAG``, then its fields."""
    members: tuple[type[Any], ...] = get_args(union)
    writers = {kind: (kind.__name__, converter.get_unstructure_hook(kind)) for kind in members}
    readers = {kind.__name__: (kind, converter.get_structure_hook(kind)) for kind in members}
    known = readers.get

    def write(value: Any) -> dict[str, Any]:
        name, fields = writers[value.__class__]
        return {TAG: name, **fields(value)}

    def read(raw: dict[str, Any], _: Any) -> Any:
        tag = raw.pop(TAG)  # ``raw`` was parsed for us alone, and the fields' reader refuses a key it does not know
        found = known(tag)
        if found is None:
            raise _Unknown(f"{TAG}={tag!r}")
        kind, fields = found
        return fields(raw, kind)

    converter.register_unstructure_hook(union, write)
    converter.register_structure_hook(union, read)


def _write_float(value: float) -> float:
    if not isfinite(value):
        raise InvalidField("number", f"{value} cannot be written down; use a finite number")
    return value


def _write_int(value: int) -> int:
    if not -MAX_INT <= value <= MAX_INT:
        raise InvalidField("number", f"{value} is out of range; whole numbers go up to {MAX_INT}")
    return value


def _read_enum(raw: Any, kind: type[Enum]) -> Enum:
    member = kind._value2member_map_.get(raw)
    if member is None:
        raise _Unknown(f"{kind.__name__} {raw!r}")
    return member


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _literal_reader(kind: Any) -> Callable[[Any, Any], Any]:
    allowed = frozenset(get_args(kind))

    def read(raw: Any, _: Any) -> Any:
        if raw not in allowed:
            raise _Unknown(f"value {raw!r}")
        return raw

    return read
