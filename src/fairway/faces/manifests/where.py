"""``where:`` of a job or service: which nodes will do, whom it keeps away from, how close its tasks stand."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from fairway.faces.manifests.fields import Flag, Strict
from fairway.faces.manifests.units import said
from fairway.model.where import Apart, Level, Selector, Together, Where

ANY = "*"
"""Stands for every value of a label."""

_LEVELS = ", ".join(Level)


def _texts(value: Any, example: str) -> tuple[str, ...]:
    listed = value if isinstance(value, list | tuple) else [value]
    for item in listed:
        if not isinstance(item, str) or not item or "\0" in item:
            raise ValueError(f"{said(item)} is not a name: write {example}")
    if not listed:
        raise ValueError("is an empty list: name at least one, or remove it")
    return tuple(listed)


def _names(value: Any) -> tuple[str, ...]:
    return _texts(value, "one like eu-west, or a list of them")


def _taints(value: Any) -> tuple[str, ...]:
    return _texts(value, "taints like gpu or team=nlp, or '*' for every one")


def _labels(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise ValueError(f"{said(value)} is not a mapping: write label: value lines")
    found: dict[str, tuple[str, ...]] = {}
    for key, values in value.items():
        if not isinstance(key, str) or not key:
            raise ValueError(f"{said(key)} is not a label: put it in quotes")
        try:
            texts = _texts(values, f"{key}: value, a list of values, or '*' for any")
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
        found[key] = () if ANY in texts else texts
    return found


def _level(value: Any) -> Level:
    if not isinstance(value, str) or value not in set(Level):
        raise ValueError(f"{said(value)} is no domain: write one of {_LEVELS}")
    return Level(value)


def _together(value: Any) -> Any:
    return {"level": value} if isinstance(value, str) else value


def _apart(value: Any) -> Any:
    return {"of": value} if isinstance(value, str) else value


def _of(value: Any) -> str:
    if not isinstance(value, str) or not value.partition("=")[0]:
        raise ValueError(f"{said(value)} names nobody: write array, service, or a label of jobs like team=nlp")
    return value


_LISTED = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Names = Annotated[tuple[str, ...], BeforeValidator(_names), WithJsonSchema(_LISTED)]
Taints = Annotated[tuple[str, ...], BeforeValidator(_taints), WithJsonSchema(_LISTED)]
Labels = Annotated[
    dict[str, tuple[str, ...]],
    BeforeValidator(_labels),
    WithJsonSchema({"type": "object", "additionalProperties": _LISTED}),
]
Domain = Annotated[Level, BeforeValidator(_level), WithJsonSchema({"type": "string", "enum": list(Level)})]


class TogetherSpec(Strict):
    """All tasks inside one domain: refused where none has room, or only as near as can be."""

    level: Domain
    required: Flag = True


class ApartSpec(Strict):
    """Not in one domain with others of the same array or service, or with jobs that have a label."""

    of: Annotated[str, BeforeValidator(_of), WithJsonSchema({"type": "string"})]
    level: Domain = Level.NODE


class WhereSpec(Strict):
    """What a job asks of the nodes it runs on."""

    labels: Labels = Field(default_factory=dict)
    """Each must be there with one of the values; ``*`` is any."""
    without: Labels = Field(default_factory=dict)
    """None may be there with one of the values."""
    regions: Names = ()
    zones: Names = ()
    clusters: Names = ()
    tolerates: Taints = ()
    spot: Flag = False
    together: Annotated[TogetherSpec, BeforeValidator(_together, json_schema_input_type=str | TogetherSpec)] | None = (
        None
    )
    apart: tuple[Annotated[ApartSpec, BeforeValidator(_apart, json_schema_input_type=str | ApartSpec)], ...] = ()


def where_of(spec: WhereSpec) -> Where:
    """The constraints as a job keeps them."""
    asked = [Selector(key, values) for key, values in sorted(spec.labels.items())]
    barred = [Selector(key, values, without=True) for key, values in sorted(spec.without.items())]
    together = spec.together
    return Where(
        labels=(*asked, *barred),
        regions=spec.regions,
        zones=spec.zones,
        clusters=spec.clusters,
        tolerates=spec.tolerates,
        spot=spec.spot,
        apart=tuple(map(_apart_of, spec.apart)),
        together=None if together is None else Together(together.level, together.required),
    )


def _apart_of(spec: ApartSpec) -> Apart:
    if spec.of == "array":
        return Apart("array", level=spec.level)
    if spec.of == "service":
        return Apart("service", level=spec.level)
    key, _, value = spec.of.partition("=")
    return Apart("label", key, value, spec.level)
