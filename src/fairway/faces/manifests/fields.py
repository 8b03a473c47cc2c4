"""The types of a manifest's fields: how each is read, and what its JSON schema says.

A validator here raises ``ValueError`` with what to write instead; ``complaints`` adds the path.
"""

import re
import shlex
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from fairway.faces.manifests import units
from fairway.faces.manifests.units import GpuCount, Moment, said
from fairway.model.ids import NAME_PATTERN, QUEUE_PATTERN
from fairway.model.job import Priority
from fairway.model.time import Duration

MOST_TASKS = 100_000
MOST_ELEMENTS = 10_000
MOST_CPU = 100_000 * 1000
MOST_MIB = 1 << 32
MOST_GPUS = 4096
MOST_AFTER = 1000

_SHELL = re.compile(r"[|&;<>$`*?~(){}\n]")


class Strict(BaseModel):
    """Refuses what it does not know, and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldError(ValueError):
    """A rule over several fields, blamed on one of them."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def written(read: Any, pattern: str, examples: list[Any], numbers: bool = True) -> Any:
    """The JSON schema of an amount that is read by one of ``units``, and its validator."""
    text = {"type": "string", "pattern": pattern}
    schema = {"anyOf": [{"type": "number", "minimum": 0}, text]} if numbers else dict(text)
    return BeforeValidator(read), WithJsonSchema({**schema, "examples": examples})


def at_most(limit: int, show: Any) -> AfterValidator:
    """Refuses what no task could mean; ``show`` writes an amount as people do."""

    def check(value: int) -> int:
        if value > limit:
            raise ValueError(f"{show(value)} > {show(limit)}: one task cannot ask for more; is the unit right?")
        return value

    return AfterValidator(check)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME_PATTERN.fullmatch(value):
        raise ValueError(
            f"{said(value)} is not a name: use up to 63 small letters, digits, '-' and '_', no '-' or '_' first or last"
        )
    return value


def _queue(value: Any) -> str:
    if not isinstance(value, str) or not QUEUE_PATTERN.fullmatch(value):
        raise ValueError(f"{said(value)} is not a queue: write its path like research or research/nlp")
    return value


def _command(value: Any) -> tuple[str, ...]:
    """The words of a command: a list as it is, a line split as a shell would, but for what only a shell can do."""
    if isinstance(value, str):
        try:
            bare = re.sub(r"'[^']*'|\{\w+\}", "", value)
            words = tuple(shlex.split(value))
        except ValueError as error:
            raise ValueError(f"{said(value)} cannot be split into words ({error}): write it as a list") from None
        special = _SHELL.search(bare)
        if special:
            raise ValueError(f"{special[0]!r} needs a shell, and a command has none: use script, or write it as a list")
    elif isinstance(value, list | tuple):
        wrong = [item for item in value if isinstance(item, bool) or not isinstance(item, str | int | float)]
        if wrong:
            raise ValueError(f"{said(wrong[0])} is not a word: put it in quotes")
        words = tuple(str(item) for item in value)
    else:
        raise ValueError(f"{said(value)} is not a command: write a list of words, or one line")
    if not words:
        raise ValueError("is empty: write the program and its arguments")
    if any("\0" in word for word in words):
        raise ValueError("holds a NUL character, which no program can be given: remove it")
    return words


def _text_map(value: Any) -> dict[str, str]:
    """Names to texts; numbers are taken as they are written, and what YAML makes of ``yes`` is refused."""
    if not isinstance(value, dict):
        raise ValueError(f"{said(value)} is not a mapping: write NAME: value lines")
    for name, item in value.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise ValueError(f"{said(name)} is not the name of a variable or label")
        if isinstance(item, bool) or not isinstance(item, str | int | float) or "\0" in str(item):
            raise ValueError(f"{name} is {said(item)}: put the value in quotes")
    return {name: str(item) for name, item in value.items()}


Name = Annotated[
    str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN.pattern}$"})
]
QueuePath = Annotated[
    str, BeforeValidator(_queue), WithJsonSchema({"type": "string", "pattern": f"^{QUEUE_PATTERN.pattern}$"})
]
Command = Annotated[
    tuple[str, ...],
    BeforeValidator(_command),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
]
TextMap = Annotated[
    dict[str, str],
    BeforeValidator(_text_map),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number"]}}),
]
_MEMORY = (r"^\d+(\.\d+)?\s*([kMGT]|[KMGT]i)B?$", ["512Mi", "64Gi"])
Cpu = Annotated[int, *written(units.cpu, r"^\d+(\.\d+)?m?$", [2, 0.5, "500m"])]
Memory = Annotated[int, *written(units.mebibytes, *_MEMORY, numbers=False)]
Gpus = Annotated[GpuCount, *written(units.gpus, r"^\d+(\.\d+)?m?$", [2, 0.5])]
GpuSum = Annotated[int, *written(units.gpu_sum, r"^\d+(\.\d+)?m?$", [8, 2.5])]
Bandwidth = Annotated[int, *written(units.megabits, r"^\d+(\.\d+)?\s*[MGT]?$", ["500M", "10G"])]
Time = Annotated[
    Duration, *written(units.duration, r"^(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$", ["90s", "1h30m"], numbers=False)
]
When = Annotated[Moment, *written(units.moment, r".+", ["2h", "2026-11-21T18:00"], numbers=False)]
Rank = Annotated[Priority, *written(units.priority, r"^[A-Za-z]+([+-]\d+)?$", ["high", "high+5"], numbers=False)]
Dollars = Annotated[int, *written(units.dollars, r"^\$?\d+(\.\d+)?$", [2.5])]


Tasks = Annotated[int, Field(strict=True, ge=1, le=MOST_TASKS)]
Count = Annotated[int, Field(strict=True, ge=0, le=MOST_TASKS)]
Elements = Annotated[int, Field(strict=True, ge=1, le=MOST_ELEMENTS)]
Tries = Annotated[int, Field(strict=True, ge=0, le=10_000)]
Flag = Annotated[bool, Field(strict=True)]
