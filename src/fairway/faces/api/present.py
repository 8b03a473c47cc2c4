"""What is known right now: the published read model, and what was accepted but is not in it yet.

An acknowledgement comes when a submission is durable, a moment before the loop has read it. Whoever asks about it in
that moment waits for it here, and a queue's limit counts it already.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from fairway.adapters.stores.queries import Queries
from fairway.engine.readmodel import ReadModel
from fairway.engine.status import JobStatus, QueueStatus
from fairway.faces.manifests.schema import DEFAULT_QUEUE
from fairway.model.errors import NotFound
from fairway.model.ids import ROOT, JobId, QueueId, ancestry
from fairway.model.time import Instant

PATIENCE_S = 3.0
"""The loop reads its inbox within milliseconds; a longer silence is a fault that the caller should see."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A submission on its way: ``last`` is the id of its last job."""

    queue: QueueId
    jobs: int
    last: JobId


class Present:
    """The read model of one control plane, its relational tables for what ended long ago, and its clock.

    ``backlog`` counts the submissions that were durable before this process led, and that it has not read yet;
    ``refused`` are those that the loop has set aside, with what they are and raised.
    """

    def __init__(
        self,
        model: ReadModel,
        queries: Queries,
        clock: Callable[[], Instant],
        backlog: Callable[[], int],
        refused: Callable[[], Mapping[JobId, str]] = dict,
    ) -> None:
        self.model = model
        self.queries = queries
        self.clock = clock
        self._backlog = backlog
        self._refused = refused
        self._accepted: dict[str, Accepted] = {}
        self._queues: dict[QueueId, int] = {}
        """Queues declared but not published yet, with their ``max_pending``."""

    # -- jobs -----------------------------------------------------------------------------------------------------

    def accept(self, stem: str, submission: Accepted) -> None:
        """Remember a submission until the loop has read it."""
        self._accepted[stem] = submission

    async def settled(self) -> None:
        """Wait until everything accepted before this call is published: whoever submits and looks finds it."""
        waiting = list(self._arriving().values())
        if waiting:
            await self.until(lambda: all(self._has_arrived(each.last) for each in waiting))

    def _arriving(self) -> dict[str, Accepted]:
        arrived = [stem for stem, each in self._accepted.items() if self._has_arrived(each.last)]
        for stem in arrived:
            del self._accepted[stem]
        return self._accepted

    def _has_arrived(self, job: JobId) -> bool:
        return self.model.job(job) is not None or job in self._refused()

    async def job(self, name: str) -> JobStatus:
        """A job by its id. Raises NotFound that names near ones, and the elements of an array."""
        job = JobId(name)
        if self.model.job(job) is None and self.coming(name):
            await self.until(lambda: self.model.job(job) is not None or not self.coming(name))
        found = self.model.job(job) or self.queries.job(job)
        if found is None:
            raise self.unknown_job(name)
        return found

    def coming(self, name: str) -> bool:
        """Whether a job, or an array, may have been accepted and is not published yet."""
        return name.partition(".")[0] in self._arriving() or self._backlog() > 0

    def story(self, job: JobId) -> list[tuple[Instant, str]]:
        """What was decided about a job, oldest first: this process saw the newest lines, the tables all of them."""
        told = [(row.at, row.text) for row in self.queries.decisions(job)]
        lines = dict.fromkeys([*told, *self.model.story(job)])
        return sorted(lines, key=lambda line: line[0])

    def unknown_job(self, name: str) -> NotFound:
        """The error for a job that is not there."""
        why = self._refused().get(JobId(name))
        if why is not None:
            return NotFound(
                f"{name} was set aside, as it could not be believed: this is a fault of Fairway ({why})", "job"
            )
        elements = self.elements(name)
        if elements:
            return NotFound(f"{name!r} is an array: name one of its jobs, {elements[0].id} to {elements[-1].id}", "job")
        jobs = self.model.jobs()
        called = [status.id for status in jobs if status.name == name][-1:]
        near = called or get_close_matches(name, [status.id for status in jobs[-5000:]], 1, 0.6)
        hint = f"; did you mean {near[0]}?" if near else ": `fairway ps -a` lists them"
        return NotFound(f"no job {name!r}{hint}", "job")

    def elements(self, array: str) -> list[JobStatus]:
        """The jobs of an array, in order."""
        prefix = f"{array}."
        found = [status for status in self.model.jobs() if status.id.startswith(prefix) and status.array]
        return sorted(found, key=lambda status: int(status.id[len(prefix) :]))

    async def until(self, true: Callable[[], bool], patience: float = PATIENCE_S) -> bool:
        """Wait until something is published; False when it did not happen in time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        pause = 0.002
        while not true():
            if loop.time() > end:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.05)
        return True

    # -- queues ---------------------------------------------------------------------------------------------------

    def expect_queue(self, queue: QueueId, max_pending: int) -> None:
        """Remember a declaration until the loop has read it."""
        self._queues[queue] = max_pending

    def queue(self, name: str) -> QueueStatus | None:
        """A queue as published."""
        return self.model.queue(QueueId(name))

    def max_pending(self, queue: QueueId) -> int | None:
        """How many jobs may wait in a queue; None when there is no such queue."""
        status = self.model.queue(queue)
        if queue in self._queues:
            if status is not None and status.max_pending == self._queues[queue]:
                del self._queues[queue]
            else:
                return self._queues[queue]
        if status is not None:
            return status.max_pending
        return 1_000_000 if queue in (DEFAULT_QUEUE, ROOT) else None

    def pending(self, queue: QueueId) -> int:
        """Jobs that wait in this very queue, those on their way included."""
        status = self.model.queue(queue)
        coming = sum(each.jobs for each in self._arriving().values() if each.queue == queue)
        return coming + (status.own_pending if status else 0)

    def unknown_queue(self, name: str, field: str, also: Iterable[str] = ()) -> NotFound:
        """The error for a queue that is not there."""
        known = sorted({queue.id for queue in self.model.queues() if queue.id} | {DEFAULT_QUEUE, *also})
        near = get_close_matches(name, known, 1, 0.5)
        there = f"there {'is' if len(known) == 1 else 'are'} {', '.join(known[:8])}"
        hint = f"did you mean {near[0]}?" if near else f"{there}; declare it with kind: Queue"
        return NotFound(f"no queue {name!r}; {hint}", field)

    def limits(self, queue: QueueId) -> list[QueueStatus]:
        """The queue and those above it, as far as they are published."""
        return [status for name in ancestry(queue) if (status := self.model.queue(name)) is not None]
