"""``kind: Policy``: a manifest made from the dataclasses of ``fairway.model.policy``, where alone a key is declared.

What is left out of the manifest has its default: a policy that is applied replaces the one before as a whole.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from fairway.faces.manifests.fields import FieldError, Time
from fairway.model.errors import InvalidField
from fairway.model.policy import Policy
from fairway.model.time import DAY, HOUR, MINUTE, SECOND, Duration

_UNITS = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1))


_KINDS: dict[type[Any], type[Any]] = {}
"""The dataclass of each model that was made."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Top(_Part):
    @property
    def name(self) -> str:
        """There is one policy, so it has no name."""
        return ""


def policy_of(spec: BaseModel) -> Policy:
    """The policy that a manifest says."""
    return _built(spec, Policy)


def document_of(policy: Policy) -> dict[str, Any]:
    """The manifest of a policy, every field written out: what ``policy_of`` reads back as the same policy."""
    return {"kind": "Policy", **_written(policy, Policy)}


def changes_between(old: Any, new: Any, path: str = "") -> list[tuple[str, str, str]]:
    """Field by field what differs between two policies: path, before and after, as a manifest writes them."""
    found: list[tuple[str, str, str]] = []
    hints = get_type_hints(type(new))
    for field in fields(new):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        where = f"{path}{field.name}"
        if is_dataclass(after) and type(before) is type(after):
            found += changes_between(before, after, f"{where}.")
        else:
            found.append((where, _said(before, hints[field.name]), _said(after, hints[field.name])))
    return found


def duration_text(duration: int) -> str:
    """A duration exactly, in as few units as it takes: ``1h30m``, ``0s``."""
    parts: list[str] = []
    rest = duration
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


@cache
def _model(kind: type[Any], path: str) -> type[BaseModel]:
    """The model of one part, which stands at ``path`` and refuses what the part itself refuses."""
    hints = get_type_hints(kind)
    made: dict[str, Any] = {
        field.name: (_annotation(hints[field.name], f"{path}.{field.name}"), _default(field, f"{path}.{field.name}"))
        for field in fields(kind)
    }

    def check(self: BaseModel) -> BaseModel:
        try:
            _built(self, kind)
        except InvalidField as error:
            inner = error.field.removeprefix(path).removeprefix(".")
            raise FieldError(inner, error.message) from None if inner else ValueError(error.message)
        return self

    base = _Top if kind is Policy else _Part
    if kind is Policy:
        made = {"kind": (Literal["Policy"], "Policy"), **made}
    validators: dict[str, Any] = {"check": model_validator(mode="after")(check)}
    model = create_model(f"{kind.__name__}Spec", __base__=base, __doc__=kind.__doc__, __validators__=validators, **made)
    _KINDS[model] = kind
    return model


def _default(field: Any, path: str) -> Any:
    return _spec_of(field.default, path) if is_dataclass(field.default) else field.default


def _spec_of(part: Any, path: str) -> BaseModel:
    """A part as its model: the default of a nested one."""
    return _model(type(part), path)(**_written(part, type(part)))


def _annotation(hint: Any, path: str) -> Any:
    """What a field of a manifest reads, by the type of the dataclass's field."""
    if hint is Duration:
        return Time
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return hint
    if origin in (Union, UnionType):
        return Union[tuple(_annotation(each, path) for each in arguments)]  # noqa: UP007 - the types are values here
    if origin is tuple:
        return tuple[tuple(each if each is ... else _annotation(each, path) for each in arguments)]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if is_dataclass(hint):
        return _model(hint, path)  # type: ignore[arg-type]
    raise TypeError(f"{path}: a manifest cannot hold {hint!r}; use bool, int, float, str, Duration, Literal or a part")


_SIMPLE: dict[Any, Any] = {
    bool: Annotated[bool, Field(strict=True)],
    int: Annotated[int, Field(strict=True)],
    float: Annotated[float, Field(allow_inf_nan=False)],
    str: Annotated[str, Field(strict=True)],
    type(None): None,
}


def _built(spec: Any, kind: type[Any]) -> Any:
    """A part from its model; raises InvalidField as the part does."""
    return kind(**{field.name: _value(getattr(spec, field.name)) for field in fields(kind)})


def _value(value: Any) -> Any:
    kind = _KINDS.get(type(value))
    if kind is not None:
        return _built(value, kind)
    return tuple(_value(each) for each in value) if isinstance(value, tuple) else value


def _written(part: Any, kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: _plain(getattr(part, field.name), hints[field.name]) for field in fields(kind)}


def _plain(value: Any, hint: Any) -> Any:
    """A value as a manifest writes it."""
    if is_dataclass(value):
        return _written(value, type(value))
    if isinstance(value, tuple):
        inner = get_args(hint)
        kinds = [inner[0]] * len(value) if inner[-1:] == (...,) else inner
        return [_plain(each, kind) for each, kind in zip(value, kinds, strict=True)]
    if isinstance(value, Enum):
        return value.value
    durations = (hint, *get_args(hint))
    return duration_text(value) if Duration in durations and isinstance(value, int) else value


def _said(value: Any, hint: Any) -> str:
    plain = _plain(value, hint)
    shown: dict[Any, Callable[[Any], str]] = {bool: lambda on: str(on).lower(), float: lambda number: f"{number:g}"}
    return "none" if plain is None else shown.get(type(plain), str)(plain)


if TYPE_CHECKING:

    class PolicySpec(_Top):
        """The knobs of every decision, as a manifest."""

        kind: Literal["Policy"] = "Policy"

else:
    PolicySpec = _model(Policy, "policy")
