"""Tables and times for people."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fairway.model.time import format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PHASE_STYLE = {
    "waiting": "yellow",
    "queued": "yellow",
    "starting": "cyan",
    "running": "green",
    "stopping": "magenta",
    "succeeded": "dim",
    "failed": "red",
    "cancelled": "dim",
}

PIPED_WIDTH = 10_000
"""A pipe has no width: nothing is cut off for one."""


def console(stderr: bool = False) -> "Console":
    """Colours only on a terminal, and never against $NO_COLOR."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=PIPED_WIDTH)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], flexible: str = "") -> "Table":
    """Rows under headers. ``>`` before a header aligns to the right; ``flexible`` is the column that may be cut."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        right = name.startswith(">")
        plain = name.removeprefix(">")
        cut = plain == flexible
        made.add_column(
            plain, justify="right" if right else "left", no_wrap=True, overflow="ellipsis" if cut else "fold"
        )
    for row in rows:
        made.add_row(
            *(cell if hasattr(cell, "__rich_console__") or hasattr(cell, "plain") else _text(cell) for cell in row)
        )
    return made


def styled(text: str, style: str) -> Any:
    """A cell in a style."""
    from rich.text import Text

    return Text(text, style)


def put(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str, flexible: str = "") -> None:
    """Print a table, or a sentence when there is nothing in it."""
    found = list(rows)
    if not found:
        console(stderr=True).print(empty)
        return
    out = console()
    if out.is_terminal:
        out.print(table(columns, found, flexible))
    else:
        print("\n".join(_lines(columns, found)))


def _lines(columns: Sequence[str], rows: list[Sequence[Any]]) -> Iterator[str]:
    """The same table for a pipe: thousands of rows at once, and nothing cut off."""
    texts = [[name.removeprefix(">") for name in columns], *([_plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in texts) for at in range(len(columns))]
    for row in texts:
        cells = zip(columns, row, widths, strict=True)
        yield "  ".join(
            text.rjust(width) if name[0:1] == ">" else text.ljust(width) for name, text, width in cells
        ).rstrip()


def _plain(cell: Any) -> str:
    return cell.plain if hasattr(cell, "plain") else "" if cell is None else str(cell)


def _text(cell: Any) -> Any:
    from rich.text import Text

    return Text("" if cell is None else str(cell))


def ago(instant: int | None, now: int) -> str:
    """``3m20s ago``, ``in 2h``, or nothing."""
    if not instant:
        return ""
    gap = now - instant
    return f"in {span(-gap)}" if gap < 0 else f"{span(gap)} ago"


def span(milliseconds: int) -> str:
    """A duration without what nobody reads: ``350ms`` only below one second, no seconds beyond an hour."""
    if milliseconds >= 3_600_000:
        milliseconds -= milliseconds % 60_000
    elif milliseconds >= 1000:
        milliseconds -= milliseconds % 1000
    return format_duration(milliseconds)


def clock_time(instant: int | None) -> str:
    """The local date and time of an instant."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant / 1000)) if instant else ""


def to_the_minute(instant: int) -> str:
    """The local date and time of an instant, as people plan: ``2026-11-21 18:00``."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(instant / 1000))


def memory(mib: int | None) -> str:
    """``64Gi``, ``512Mi``."""
    if mib is None:
        return "-"
    return f"{mib / 1024:.4g}Gi" if mib >= 1024 else f"{mib}Mi"


def number(value: float | None) -> str:
    """A number without needless digits; ``-`` for none."""
    return "-" if value is None else f"{value:g}"
