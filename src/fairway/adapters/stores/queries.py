"""What faces ask of the relational tables. Read-only, from any thread; as new as the projection's last write."""

from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any, Self

from fairway.adapters.stores import views
from fairway.adapters.stores.errors import translated
from fairway.adapters.stores.views import AttemptRow, DecisionRow, ServiceRow, UsageRow
from fairway.adapters.stores.viewsfile import open_for_reading
from fairway.engine.status import JobStatus
from fairway.model.ids import JobId, QueueId, ServiceId, ancestry
from fairway.model.phases import JobPhase
from fairway.model.time import Instant

MOST = 1_000


class Queries:
    """A reader of ``views.db``. Raises StoreError on opening where there are no tables that it can read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_for_reading(path)
        self._lock = Lock()

    def seq(self) -> int:
        """The journal's frame up to which the tables stand."""
        with self._lock, translated(self.path):
            return self._connection.execute("SELECT value FROM meta WHERE name = 'seq'").fetchone()[0]

    def job(self, job: JobId) -> JobStatus | None:
        """A job by id, as of when it last changed."""
        return next(iter(self._select(JobStatus, "SELECT * FROM jobs WHERE id = ?", [job])), None)

    def jobs(
        self,
        *,
        queue: QueueId | None = None,
        user: str | None = None,
        phases: Iterable[JobPhase] = (),
        name: str | None = None,
        since: Instant | None = None,
        before: tuple[Instant, JobId] | None = None,
        limit: int = 100,
    ) -> list[JobStatus]:
        """Jobs, newest submission first; at most ``limit`` of them, and never more than ``MOST``.

        ``queue`` includes the queues below it; ``phases`` empty means any; ``since`` is the earliest submission.
        ``before`` goes on after the (submitted, id) of the last job of the page before.
        """
        where: list[tuple[str, list[Any]]] = []
        if queue:
            where.append(_below(queue))
        for column, value in (("user", user), ("name", name)):
            if value is not None:
                where.append((f'"{column}" = ?', [value]))
        wanted = [phase.value for phase in phases]
        if wanted:
            where.append((f"phase IN ({', '.join('?' * len(wanted))})", wanted))
        if since is not None:
            where.append(("submitted >= ?", [since]))
        if before is not None:
            where.append(("(submitted, id) < (?, ?)", list(before)))
        return self._select(
            JobStatus, f"SELECT * FROM jobs {_where(where)} ORDER BY submitted DESC, id DESC LIMIT ?",
            [*_values(where), min(limit, MOST)],
        )  # fmt: skip

    def attempts(self, job: JobId) -> list[AttemptRow]:
        """Every run of a job, in order; the last may be running."""
        return self._select(AttemptRow, "SELECT * FROM attempts WHERE job = ? ORDER BY n", [job])

    def decisions(self, job: JobId, limit: int = 50) -> list[DecisionRow]:
        """The newest lines of a job's story, in the order in which they became known."""
        columns = views.quoted(views.COLUMNS["decisions"])
        sql = f"SELECT {columns} FROM decisions WHERE job = ? ORDER BY id DESC LIMIT ?"
        return self._select(DecisionRow, sql, [job, min(limit, MOST)])[::-1]

    def usage(
        self, *, queue: QueueId | None = None, first_day: int | None = None, last_day: int | None = None
    ) -> list[UsageRow]:
        """What was used by queue, user and day, of a queue and those below it: ended attempts only. ``sum_usage`` adds
        it up."""
        where: list[tuple[str, list[Any]]] = []
        if queue:
            where.append(_below(queue))
        if first_day is not None:
            where.append(("day >= ?", [first_day]))
        if last_day is not None:
            where.append(("day <= ?", [last_day]))
        sql = f'SELECT * FROM usage {_where(where)} ORDER BY queue, day, "user"'
        return self._select(UsageRow, sql, _values(where))

    def service_history(self, service: ServiceId, since: Instant | None = None) -> list[ServiceRow]:
        """How many replicas a service wanted and had, from each change on, oldest first."""
        sql = "SELECT * FROM services WHERE service = ? AND at >= ? ORDER BY at"
        return self._select(ServiceRow, sql, [service, since or 0])

    def _select(self, kind: type[Any], sql: str, values: list[Any]) -> list[Any]:
        with self._lock, translated(self.path):
            cursor = self._connection.cursor()
            cursor.row_factory = views.reader_of(kind)
            return cursor.execute(sql, values).fetchall()

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sum_usage(rows: Iterable[UsageRow]) -> dict[QueueId, UsageRow]:
    """Usage by queue over all users and days, the queues below each included; ``user`` is empty and ``day`` 0."""
    sums: dict[QueueId, list[int]] = {}
    for row in rows:
        for queue in ancestry(row.queue):
            total = sums.setdefault(queue, [0] * len(views.USED))
            for at, name in enumerate(views.USED):
                total[at] += getattr(row, name)
    return {queue: UsageRow(queue, "", 0, *total) for queue, total in sorted(sums.items())}


def _below(queue: QueueId) -> tuple[str, list[Any]]:
    """A queue and the queues below it; ``0`` is the character after ``/``."""
    return "(queue = ? OR (queue > ? AND queue < ?))", [queue, f"{queue}/", f"{queue}0"]


def _where(conditions: list[tuple[str, list[Any]]]) -> str:
    return "WHERE " + " AND ".join(text for text, _ in conditions) if conditions else ""


def _values(conditions: list[tuple[str, list[Any]]]) -> list[Any]:
    return [value for _, values in conditions for value in values]
