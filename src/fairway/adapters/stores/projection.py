"""The relational projection: a view (``engine.ports.View``) that folds the state into the tables of ``views.db``.

``fold`` only collects what has changed, in the loop's thread; a writer of its own brings it to the file, together with
the frame up to which it stands there, in one transaction. So the loop waits for this file only when it is far ahead,
and a frame is either wholly in the tables or not at all. A crash loses what was not written yet: ``catchup`` folds it
again. The file is not synchronised at every step, because it can always be made anew.

Why a job in line does not start is said once for all that are equal to it, and changes with every turn: the read model
has it. Here it stands in ``decisions``, whenever it became another one.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, Self

from fairway.adapters.stores import views
from fairway.adapters.stores.errors import translated
from fairway.adapters.stores.views import AttemptRow, DecisionRow, ServiceRow, UsageRow
from fairway.adapters.stores.viewsfile import open_for_reading, open_for_writing, start_anew
from fairway.engine.present import ended_status, live_status, service_status
from fairway.engine.status import JobStatus
from fairway.model.errors import StoreError
from fairway.model.ids import AttemptId, JobId, ServiceId
from fairway.model.phases import JobPhase
from fairway.model.service import Service
from fairway.model.time import Instant
from fairway.state.cluster import KEEP_ENDED, ClusterState, EndedAttempt, News

log = logging.getLogger("fairway.store")

FAR_AHEAD = 20_000
"""Rows that may wait for the writer before the loop waits for it."""

TOO_FAR = 500_000
"""Rows that are kept while the file cannot be written; then the tables stay as they are until the next start."""


@dataclass(slots=True)
class _Batch:
    """Changes up to frame ``seq``."""

    seq: int = 0
    jobs: dict[JobId, JobStatus] = field(default_factory=dict)
    attempts: dict[AttemptId, AttemptRow] = field(default_factory=dict)
    decisions: list[DecisionRow] = field(default_factory=list)
    usage: list[UsageRow] = field(default_factory=list)
    services: dict[tuple[ServiceId, Instant], ServiceRow] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.jobs) + len(self.attempts) + len(self.decisions) + len(self.usage) + len(self.services)

    def absorb(self, later: "_Batch") -> None:
        """Add what came after."""
        self.seq = max(self.seq, later.seq)
        self.jobs |= later.jobs
        self.attempts |= later.attempts
        self.services |= later.services
        self.decisions += later.decisions
        self.usage += later.usage

    def end(self, end: EndedAttempt) -> None:
        """An attempt is over."""
        self.attempts[end.attempt] = views.ended_attempt(end)
        self.usage += views.usage_of(end)
        self.decisions.append(views.end_row(end))


class Projection:
    """The writer of ``views.db``: one at a time. ``seq`` is the frame up to which it has folded.

    Raises StoreFull, StoreBusy, CorruptJournal (the file is something else) on opening, and never while folding: a file
    that cannot be written is logged, tried again with every fold, and shown by ``failure``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_for_writing(path)
        self._reader = open_for_reading(path)
        self._guard = Lock()
        self._writer = ThreadPoolExecutor(1, "fairway-views")
        self.failure: StoreError | None = None
        """Why the tables are behind; None while they are not."""
        self._stopped = self._closed = False
        self._begin()

    def _begin(self) -> None:
        with translated(self.path):
            meta = dict(self._connection.execute("SELECT name, value FROM meta").fetchall())
        self.seq: int = meta["seq"]
        self.identity: str = meta["identity"]
        """The journal (``SqliteStore.identity``) that the tables were folded from."""
        self._pending = _Batch()
        self._before: dict[JobId, JobStatus] = {}
        """Of jobs that this process has seen: live ones, and as many ended ones as the state may still change."""
        self._ended: deque[JobId] = deque()
        self._specs: dict[ServiceId, Service] = {}
        self._told = self._services_told()

    def _services_told(self) -> dict[ServiceId, ServiceRow]:
        newest = (
            "SELECT * FROM services WHERE (service, at) IN (SELECT service, max(at) FROM services GROUP BY service)"
        )
        return {row.service: row for row in self._rows(ServiceRow, newest)}

    def _rows(self, kind: type[Any], sql: str, *values: Any) -> list[Any]:
        with translated(self.path):
            cursor = self._reader.cursor()
            cursor.row_factory = views.reader_of(kind)
            return cursor.execute(sql, values).fetchall()

    # -- collect, in the loop's thread ------------------------------------------------------------------------------

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        """Take over what ``state.news`` names; nothing when frame ``seq`` is already in the tables."""
        if seq > self.seq and not self._stopped:
            self._collect(seq, Instant(now), state, state.news.jobs, state.news)

    def resync(self, seq: int, now: int, state: ClusterState) -> None:
        """Take over every job and service as they are at frame ``seq``. For tables that have missed frames which cannot
        be read again: what attempts there were between, and why, stays unknown."""
        self._collect(seq, Instant(now), state, [*state.ended, *state.jobs.row_of], News())

    def _collect(self, seq: int, now: Instant, state: ClusterState, jobs: Iterable[JobId], news: News) -> None:
        services = self._changed_services(state)
        with self._guard:
            batch = self._pending
            for job in jobs:
                status = self._job(batch, state, job, now)
                if status is not None and status.service is not None:
                    services[status.service] = None
            for service in services:
                self._service(batch, state, service, now)
            while len(self._ended) > KEEP_ENDED:
                self._before.pop(self._ended.popleft(), None)
            for end in news.attempts:
                batch.end(end)
            batch.decisions += map(views.decision_row, news.decisions)
            batch.seq = self.seq = seq
            waiting = len(batch)
        self._hurry(waiting)

    def _job(self, batch: _Batch, state: ClusterState, job: JobId, now: Instant) -> JobStatus | None:
        row = state.jobs.row_of.get(job)
        if row is None:
            record = state.ended.get(job)
            if record is None:
                return None
            before = self._before.get(job) or self._read(job)
            batch.jobs[job] = self._before[job] = status = ended_status(record, before)
            self._ended.append(job)
            return status
        if _still_in_line(state, row, self._before.get(job)):
            return None
        status = live_status(state, row, now)
        if status.phase.live:
            attempt = views.live_attempt(state, row)
            batch.attempts[views.attempt_key(attempt)] = attempt
        batch.jobs[job] = self._before[job] = status
        return status

    def _read(self, job: JobId) -> JobStatus | None:
        """What an earlier process has written about a job."""
        try:
            return next(iter(self._rows(JobStatus, "SELECT * FROM jobs WHERE id = ?", job)), None)
        except StoreError as error:
            log.warning("%s cannot be asked where %s ran: %s", self.path, job, error)
            return None

    def _changed_services(self, state: ClusterState) -> dict[ServiceId, None]:
        there = state.services
        changed = [name for name, spec in there.items() if self._specs.get(name) is not spec]
        changed += [name for name, told in self._told.items() if told.replicas is not None and name not in there]
        if changed:
            self._specs = there.copy()
        return dict.fromkeys(changed)

    def _service(self, batch: _Batch, state: ClusterState, name: ServiceId, now: Instant) -> None:
        spec, told = state.services.get(name), self._told.get(name)
        if spec is not None:
            row = ServiceRow(name, now, spec.queue, spec.replicas, service_status(state, spec).running)
        elif told is not None:
            row = replace(told, at=now, replicas=None, running=0)
        else:
            return
        if told is None or replace(told, at=now) != row:
            batch.services[name, now] = self._told[name] = row

    # -- write, in a thread of its own ------------------------------------------------------------------------------

    def _hurry(self, waiting: int) -> None:
        round_ = self._writer.submit(self._write)
        if waiting > FAR_AHEAD:
            round_.result()
        if waiting > TOO_FAR and self.failure is not None:
            self._stopped = True
            self._pending = _Batch()
            log.error("%s stays as it is until the next start, which makes up for it", self.path)

    def _write(self) -> None:
        with self._guard:
            batch, self._pending = self._pending, _Batch()
        if not batch.seq:
            return
        try:
            with translated(self.path):
                _store(self._connection, batch)
        except StoreError as error:
            if self.failure is None:
                log.error("%s is behind, and is tried again: %s", self.path, error)
            self._keep(batch, error)
        except Exception as error:
            log.exception("%s is behind: a row that it cannot hold", self.path)
            self._keep(batch, StoreError(f"{self.path}: {error!r}"))
        else:
            self.failure = None

    def _keep(self, batch: _Batch, why: StoreError) -> None:
        """For the next try."""
        self.failure = why
        with self._guard:
            batch.absorb(self._pending)
            self._pending = batch

    def flush(self) -> None:
        """Returns when everything folded so far can be queried. Raises StoreError where it cannot be written."""
        self._writer.submit(self._write).result()
        if self.failure is not None:
            raise self.failure

    def clear(self, identity: str) -> None:
        """Empty tables, to be folded from frame 1 of another journal. Raises StoreError."""
        self._writer.submit(lambda: None).result()
        with translated(self.path):
            start_anew(self._connection)
            self._connection.execute("UPDATE meta SET value = ? WHERE name = 'identity'", (identity,))
        self._begin()

    def close(self) -> None:
        """Writes what was folded, as far as it can be written. Idempotent."""
        if not self._closed:
            self._closed = True
            self._writer.submit(self._write)
            self._writer.shutdown(wait=True)
            self._reader.close()
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _still_in_line(state: ClusterState, row: int, before: JobStatus | None) -> bool:
    """Whether a job was only refused again: most of what changes in a busy turn, and nothing that is kept here."""
    jobs = state.jobs
    return (
        before is not None
        and before.phase is JobPhase.QUEUED
        and jobs.phase_of(row) is JobPhase.QUEUED
        and not before.reason
        and jobs.reason[row] is None
        and jobs.hold[row] is None
        and before.queued == jobs.queued_at[row]
        and before.attempt == jobs.attempt[row]
    )


def _store(connection: sqlite3.Connection, batch: _Batch) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table, rows in (
            ("jobs", batch.jobs.values()),
            ("attempts", batch.attempts.values()),
            ("services", batch.services.values()),
        ):
            columns = views.COLUMNS[table]
            places = ", ".join("?" * len(columns))
            connection.executemany(
                f"INSERT OR REPLACE INTO {table} VALUES ({places})", [views.row_of(row, columns) for row in rows]
            )
        columns = views.COLUMNS["decisions"]
        connection.executemany(
            f"INSERT INTO decisions ({views.quoted(columns)}) VALUES (?, ?, ?, ?)",
            [views.row_of(row, columns) for row in batch.decisions],
        )
        columns = views.COLUMNS["usage"]
        connection.executemany(_ADD_USAGE, [views.row_of(row, columns) for row in batch.usage])
        connection.execute("UPDATE meta SET value = ? WHERE name = 'seq'", (batch.seq,))
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself; the first error says why
            connection.execute("ROLLBACK")
        raise


_ADD_USAGE = (
    f"INSERT INTO usage VALUES ({', '.join('?' * len(views.COLUMNS['usage']))}) ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in views.USED)
)
