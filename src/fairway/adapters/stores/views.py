"""The relational tables that faces query, and how their rows are made: one place for names, columns and types.

The tables are derived: anybody may delete ``views.db``, and a version whose tables are different starts them anew.
"""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any
from zlib import crc32

from fairway.engine.status import JobStatus, Training
from fairway.engine.story import end_sentence, sentence
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId, QueueId, ServiceId
from fairway.model.phases import Cause, JobPhase
from fairway.model.time import DAY, Instant
from fairway.state.cluster import ClusterState, Decision, EndedAttempt
from fairway.state.lifecycle import executor_of

APPLICATION = 0x46575657
"""SQLite's application id of the projection: ``FWVW``."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One run of a job; of one that runs, ``ended`` and what follows from it is empty. Sums are over all its tasks."""

    job: JobId
    n: int
    queue: QueueId
    user: str
    executor: ExecutorId
    nodes: tuple[NodeId, ...]
    placed: Instant
    started: Instant | None
    ended: Instant | None
    cause: Cause | None
    exit_code: int | None
    signal: int | None
    message: str
    cpu_milli: int
    memory_mib: int
    gpu_milli: int
    lost_gpu_ms: int
    """Milli-GPU milliseconds of work that were lost with it."""


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One line of a job's story: ``kind`` is the name of the action or refusal, or ``End``."""

    job: JobId
    at: Instant
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a queue's ended attempts have used on one day, without the queues below it.

    ``day`` counts from the epoch of instants; an attempt counts on every day on which it held something. Used and lost
    are in resource-milliseconds; ``ended`` and ``lost`` count on the day of the end.
    """

    queue: QueueId
    user: str
    day: int
    ended: int
    cpu_milli_ms: int
    memory_mib_ms: int
    gpu_milli_ms: int
    lost_gpu_ms: int

    @property
    def gpu_hours(self) -> float:
        """GPU-hours used."""
        return self.gpu_milli_ms / 3_600_000_000


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A service from an instant on: how many replicas it wants, and how many run. ``replicas`` is None once removed."""

    service: ServiceId
    at: Instant
    queue: QueueId
    replicas: int | None
    running: int


TABLES: dict[str, tuple[type[Any], str]] = {
    "jobs": (JobStatus, "id"),
    "attempts": (AttemptRow, "job, n"),
    "usage": (UsageRow, "queue, user, day"),
    "services": (ServiceRow, "service, at"),
}
"""Table: (what a row is, its primary key). ``decisions`` has the order of its rows for a key."""

COLUMNS: dict[str, tuple[str, ...]] = {
    table: tuple(field.name for field in fields(kind)) for table, (kind, _) in TABLES.items()
} | {"decisions": tuple(field.name for field in fields(DecisionRow))}

INDEXES = (
    "CREATE INDEX jobs_by_queue ON jobs(queue, submitted)",
    "CREATE INDEX jobs_by_user ON jobs(user, submitted)",
    "CREATE INDEX jobs_by_time ON jobs(submitted)",
    "CREATE INDEX jobs_by_end ON jobs(ended) WHERE ended IS NOT NULL",
    "CREATE INDEX decisions_by_job ON decisions(job)",
)

USED = ("ended", "cpu_milli_ms", "memory_mib_ms", "gpu_milli_ms", "lost_gpu_ms")
"""Columns of ``usage`` that are added up."""


def quoted(names: tuple[str, ...]) -> str:
    """Column names for SQL."""
    return ", ".join(f'"{name}"' for name in names)


def statements() -> list[str]:
    """What makes all tables."""
    tables = [
        f"CREATE TABLE {table} ({quoted(COLUMNS[table])}, PRIMARY KEY ({key}))" for table, (_, key) in TABLES.items()
    ]
    decisions = f"CREATE TABLE decisions (id INTEGER PRIMARY KEY, {quoted(COLUMNS['decisions'])})"
    return [*tables, decisions, "CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID", *INDEXES]


def shape() -> int:
    """A number that changes with the tables: SQLite keeps it in the file's header (``user_version``)."""
    return crc32("\n".join(statements()).encode()) & 0x7FFFFFFF


def row_of(value: Any, columns: tuple[str, ...]) -> Row:
    """A dataclass as a row: enums by value, tuples as JSON."""
    return tuple(_plain(getattr(value, name)) for name in columns)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return json.dumps(value) if isinstance(value, tuple) else value


_DECODE: dict[str, Callable[[Any], Any]] = {
    "phase": JobPhase,
    "cause": Cause,
    "nodes": lambda text: tuple(json.loads(text)),
    "devices": lambda text: tuple(json.loads(text)),
    "virtual": bool,
    "training": lambda text: Training(*json.loads(text)),
}


def reader_of(kind: type[Any]) -> Callable[[sqlite3.Cursor, Row], Any]:
    """A row factory for SQLite that makes ``kind`` of rows whose columns are its fields, in order."""
    special = [(at, _DECODE[field.name]) for at, field in enumerate(fields(kind)) if field.name in _DECODE]

    def read(_: sqlite3.Cursor, row: Row) -> Any:
        values = list(row)
        for at, decode in special:
            if values[at] is not None:
                values[at] = decode(values[at])
        return kind(*values)

    return read


def live_attempt(state: ClusterState, row: int) -> AttemptRow:
    """The live attempt in a row of the state's job table."""
    jobs, job = state.jobs, state.jobs.job(row)
    started = int(jobs.started_at[row])
    cpu, memory, gpu = jobs.sums[row].tolist()
    return AttemptRow(
        job.id, int(jobs.attempt[row]), job.queue, job.user, executor_of(state, row),
        _nodes([task.node for task in jobs.placement[row]]), Instant(int(jobs.placed_at[row])),
        Instant(started) if started else None, None, None, None, None, "", cpu, memory, gpu, 0,
    )  # fmt: skip


def ended_attempt(end: EndedAttempt) -> AttemptRow:
    """The same attempt when it is over."""
    job, n = end.attempt
    outcome = end.outcome
    return AttemptRow(
        job, n, end.queue, end.user, end.executor, _nodes(end.nodes), end.placed, end.started, end.ended,
        outcome.cause, outcome.exit_code, outcome.signal, outcome.message, *end.sums, end.lost_gpu_ms,
    )  # fmt: skip


def _nodes(names: Any) -> tuple[NodeId, ...]:
    return tuple(dict.fromkeys(names))


def decision_row(decision: Decision) -> DecisionRow:
    """A decision as a line of its job's story."""
    return DecisionRow(decision.job, decision.at, type(decision.what).__name__, sentence(decision))


def end_row(end: EndedAttempt) -> DecisionRow:
    """The end of an attempt as a line of its job's story."""
    return DecisionRow(end.attempt.job, end.ended, "End", end_sentence(end))


def usage_of(end: EndedAttempt) -> list[UsageRow]:
    """What an attempt used, by day."""
    rows: list[UsageRow] = []
    last = end.ended // DAY
    for day in range(end.placed // DAY, last + 1):
        held = min(end.ended, (day + 1) * DAY) - max(end.placed, day * DAY)
        over = day == last
        cpu, memory, gpu = (amount * held for amount in end.sums)
        lost = end.lost_gpu_ms if over else 0
        rows.append(UsageRow(end.queue, end.user, day, int(over), cpu, memory, gpu, lost))
    return rows


def attempt_key(row: AttemptRow) -> AttemptId:
    """What an attempt is called."""
    return AttemptId(row.job, row.n)
