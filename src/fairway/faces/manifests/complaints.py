"""What is wrong with a manifest, one line each: the path of the field, the value and its limit, what to write."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from fairway.faces.manifests.fields import FieldError
from fairway.faces.manifests.units import said
from fairway.model.errors import InvalidField

Loc = tuple[int | str, ...]
"""The way from a document to one of its fields: keys and indices."""


class InvalidManifest(InvalidField):
    """Everything that is wrong with what was handed in; itself the first of ``errors``."""

    def __init__(self, errors: Sequence[InvalidField]) -> None:
        super().__init__(errors[0].field, errors[0].message)
        self.errors = tuple(errors)


def path_of(loc: Iterable[int | str]) -> str:
    """``roles[0].request.gpus``."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def complaints(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Loc, str]]:
    """Where and what: every error that pydantic found, in Fairway's words."""
    for each in error.errors(include_url=False):
        loc, cause = each["loc"], each.get("ctx", {}).get("error")
        if isinstance(cause, FieldError):
            yield (*loc, cause.field), str(cause)
        elif each["type"] == "extra_forbidden":
            yield loc, unknown_key(str(loc[-1]), loc[:-1], model)
        else:
            yield loc, _sentence(each["type"], each["input"], each.get("ctx", {}), each["msg"])


_SENTENCES: dict[str, Callable[[str, dict[str, Any]], str]] = {
    "missing": lambda value, ctx: "is missing: add it",
    "value_error": lambda value, ctx: str(ctx["error"]),
    "greater_than_equal": lambda value, ctx: f"{value} < {ctx['ge']}: write at least {ctx['ge']}",
    "greater_than": lambda value, ctx: f"{value} is not above {ctx['gt']}: write more than {ctx['gt']:g}",
    "less_than_equal": lambda value, ctx: f"{value} > {ctx['le']:g}: write at most {ctx['le']:g}",
    "int_type": lambda value, ctx: f"{value} is not a whole number: write one like 2",
    "float_type": lambda value, ctx: f"{value} is not a number: write one like 0.5",
    "float_parsing": lambda value, ctx: f"{value} is not a number: write one like 0.5",
    "finite_number": lambda value, ctx: f"{value} is not a finite number: write one like 0.5",
    "bool_type": lambda value, ctx: f"{value} is neither true nor false: write one of them",
    "string_type": lambda value, ctx: f"{value} is not a text: put it in quotes",
    "string_too_short": lambda value, ctx: "is empty: write something, or remove it",
    "tuple_type": lambda value, ctx: f"{value} is not a list: write [a, b], or lines that begin with '-'",
    "list_type": lambda value, ctx: f"{value} is not a list: write [a, b], or lines that begin with '-'",
    "dict_type": lambda value, ctx: f"{value} is not a mapping: write key: value lines",
    "model_type": lambda value, ctx: f"{value} is not a mapping: write key: value lines",
    "enum": lambda value, ctx: f"{value} is none of {ctx['expected']}",
    "literal_error": lambda value, ctx: f"{value} is none of {ctx['expected']}",
}


def _sentence(kind: str, value: Any, ctx: dict[str, Any], message: str) -> str:
    known = _SENTENCES.get(kind)
    return known(said(value), ctx) if known else f"{said(value)}: {message}"


def unknown_key(key: str, at: Loc, model: type[BaseModel]) -> str:
    """The sentence for a key that is not known: the nearest one in its place, or the same one in another."""
    paths = key_paths(model)
    place = ".".join(step for step in at if isinstance(step, str))
    here = [path for path in paths if path.rpartition(".")[0] == place]
    names = [path.rpartition(".")[2] for path in here]
    plain = _plain(key)
    same = [name for name in names if _plain(name) == plain]
    elsewhere = [path for path in paths if _plain(path.rpartition(".")[2]) == plain]
    near = same or elsewhere or get_close_matches(key.lower(), names, 1, 0.6)
    if not near:
        near = [path for path in paths if path.rpartition(".")[2] in get_close_matches(plain, _last(paths), 1, 0.75)]
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; known here: {', '.join(names)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` with the word's nearest, or nothing where none is near."""
    by_plain = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), list(by_plain), 1, 0.6)
    return f"; did you mean {by_plain[near[0]]}?" if near else ""


def _plain(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


def _last(paths: Iterable[str]) -> list[str]:
    return [path.rpartition(".")[2] for path in paths]


@cache
def key_paths(model: type[BaseModel]) -> tuple[str, ...]:
    """Every key that a manifest of this kind may have, by its path without indices: ``roles.request.gpus``."""
    found: dict[str, None] = {}
    for name, field in model.model_fields.items():
        found[name] = None
        for inner in _models(field.annotation):
            found.update(dict.fromkeys(f"{name}.{path}" for path in key_paths(inner)))
    return tuple(found)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
