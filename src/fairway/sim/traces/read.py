"""Which format a file has, and its importer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fairway.model.errors import InvalidField
from fairway.sim.traces import openb, philly, swf, table
from fairway.sim.traces.columns import text_of
from fairway.sim.traces.trace import Estimates, Importer, Sources, Trace


@dataclass(frozen=True, slots=True)
class Format:
    """A format by its name: how its first line is told, and what reads it."""

    name: str
    known_by: str
    recognises: Callable[[str], bool]
    read: Importer


def _columns(*names: str) -> Callable[[str], bool]:
    return lambda line: set(names) <= {cell.strip() for cell in line.split(",")}


def _is_swf(line: str) -> bool:
    return line.lstrip().startswith(";") or ("," not in line and len(line.split()) == len(swf.FIELDS))


FORMATS: tuple[Format, ...] = (
    Format("openb", ",".join(openb.COLUMNS), _columns(*openb.COLUMNS), openb.read),
    Format("philly", ",".join(philly.COLUMNS), _columns(*philly.COLUMNS), philly.read),
    Format("philly-muri", ",".join(philly.MURI_COLUMNS), _columns(*philly.MURI_COLUMNS), philly.read_muri),
    Format("table", ",".join(table.COLUMNS), _columns(*table.COLUMNS), table.read),
    Format("swf", "; comments, then 18 numbers a line", _is_swf, swf.read),
)
"""Every format, in the order in which a file is tried."""


def read(
    jobs: Path | str,
    *,
    format: str = "auto",
    nodes: Path | str | None = None,
    vc_nodes: Path | str | None = None,
    estimates: Estimates = "none",
) -> Trace:
    """The trace in a file. ``nodes`` and ``vc_nodes`` are the files in which some formats keep the cluster.

    Raises NotFound for a file that is not there, InvalidField with ``file:line:column`` for what cannot be read.
    """
    sources = Sources(Path(jobs), Path(nodes) if nodes else None, Path(vc_nodes) if vc_nodes else None)
    chosen = _detect(sources.jobs) if format == "auto" else _named(format)
    trace = chosen.read(sources)
    if not trace.jobs:
        raise InvalidField(sources.jobs.name, "has no jobs: the table is empty")
    return trace.told(estimates)


def _named(name: str) -> Format:
    for each in FORMATS:
        if each.name == name:
            return each
    raise InvalidField("format", f"{name!r} is not one of auto, {', '.join(each.name for each in FORMATS)}")


def _detect(path: Path) -> Format:
    text = text_of(path)
    first = text[: text.find("\n")] if "\n" in text else text
    for each in FORMATS:
        if each.recognises(first):
            return each
    known = "; ".join(f"{each.name}: {each.known_by}" for each in FORMATS)
    raise InvalidField(f"{path.name}:1", f"{first.strip()[:120]!r} is the header of no known format ({known})")
