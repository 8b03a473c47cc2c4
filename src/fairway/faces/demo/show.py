"""What there is to see while it plays: a live table on a terminal, a line for each change anywhere else."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from fairway.faces.cli.jobs import progress, why
from fairway.faces.cli.tables import PHASE_STYLE, console, span, styled, table

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("JOB", "QUEUE", "PRIORITY", "PHASE", "GPUS", "PROGRESS", ">WAITED", "REASON")


class Show(Protocol):
    """Shows the jobs as they are now, and says sentences."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def update(self, jobs: list[dict[str, Any]]) -> None: ...
    def say(self, text: str) -> None: ...


def make_show(quiet: bool) -> Show:
    """On stderr, so that ``--json`` has stdout for itself."""
    out = console(stderr=True)
    return Live() if out.is_terminal and not quiet else Lines()


class Live:
    """A table that keeps itself up to date."""

    def __init__(self) -> None:
        from rich.live import Live as RichLive

        self._console = console(stderr=True)
        self._live = RichLive(console=self._console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, jobs: list[dict[str, Any]]) -> None:
        """Draw the table anew."""
        self._live.update(_table(jobs), refresh=True)

    def say(self, text: str) -> None:
        """A sentence above the table."""
        self._console.print(styled(text, "bold"))


class Lines:
    """A line for each change of phase."""

    def __init__(self) -> None:
        self._console = console(stderr=True)
        self._began = time.monotonic()
        self._told: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._told.clear()

    def update(self, jobs: list[dict[str, Any]]) -> None:
        """Say what has changed."""
        for job in jobs:
            phase = job["phase"]
            if self._told.get(job["id"]) != phase and phase != "starting":
                self._told[job["id"]] = phase
                where = f" on GPU {_devices(job)}" if phase == "running" and job["devices"] else ""
                reason = why(job)
                self._line(f"{job['id']:<16} {phase}{where}{f': {reason}' if reason else ''}")

    def say(self, text: str) -> None:
        """A sentence on a line of its own."""
        self._line(text)

    def _line(self, text: str) -> None:
        self._console.print(styled(f"{time.monotonic() - self._began:6.1f}s  {text}", ""))


def _table(jobs: list[dict[str, Any]]) -> "Table":
    rows = [
        (
            job["id"],
            job["queue"],
            job["priority"],
            styled(job["phase"], PHASE_STYLE.get(job["phase"], "")),
            _devices(job) if job["phase"] in ("starting", "running", "stopping") else "",
            progress(job),
            span(job["wait_ms"]),
            why(job),
        )
        for job in jobs
    ]
    return table(COLUMNS, rows, flexible="REASON")


def _devices(job: dict[str, Any]) -> str:
    """``0,1,2``: which devices of the one machine there is."""
    return ",".join(device.rpartition(":")[2] for device in job["devices"])
