"""What faces read: the published present, without a lock and without touching the state.

Memory model. One thread, the loop's, folds; any number of threads read. Every value is frozen and replaced as a whole,
by one assignment into a dict; readers take ``dict.copy()``, a single step that no other thread can split. So a reader
never sees half a value, never waits, and never makes the loop wait. Two values may come from neighbouring turns: the
counts of a queue can be one turn behind its jobs.

Waiting jobs that are equal share one reason, which may change for all of them at once: it is kept once per group and
joined to a job when it is read, so that a turn costs what has changed and not what waits.
"""

from collections.abc import Iterable
from dataclasses import replace

from fairway.decide.share import shares
from fairway.engine.present import amount, booking_statuses, ended_status, live_status, node_status, service_status
from fairway.engine.standing import guaranteed, guaranteed_gpu_ms, loan_notes
from fairway.engine.status import BookingStatus, JobStatus, NodeStatus, QueueStatus, ServiceStatus, Swarming
from fairway.engine.story import end_sentence, sentence
from fairway.model.ids import BookingId, JobId, NodeId, QueueId, ServiceId
from fairway.model.job import Job
from fairway.model.offer import Pool
from fairway.model.phases import JobPhase
from fairway.model.policy import Policy
from fairway.model.service import Service
from fairway.model.time import Instant
from fairway.state.cluster import ClusterState
from fairway.state.columns import Floats
from fairway.state.loans import Agreed
from fairway.state.snapshot import snapshot

KEEP_ENDED = 10_000
"""Ended jobs that can be read here; the relational tables have all of them."""
KEEP_LINES = 50
"""Lines of a job's story that are kept here, the newest ones."""

Story = tuple[tuple[Instant, str], ...]
_NOT_TRIED = ("in line, not tried yet", "in line")


class ReadModel:
    """A view (``ports.View``) that is read from any thread. The first ``fold`` takes over everything there is."""

    def __init__(self, keep_ended: int = KEEP_ENDED) -> None:
        self.published: tuple[int, Instant, int] = (0, Instant(0), 0)
        """(frame, instant, epoch) up to which everything here is told; frame 0 before the first ``fold``."""
        self._keep_ended = keep_ended
        self._jobs: dict[JobId, JobStatus] = {}
        self._nodes: dict[NodeId, NodeStatus] = {}
        self._queues = _Queues()
        self._services: dict[ServiceId, ServiceStatus] = {}
        self._service_specs: dict[ServiceId, Service] = {}
        self._pools: tuple[Pool, ...] = ()
        self._loans: tuple[Agreed, ...] = ()
        self._policy = Policy()
        self._bookings: tuple[int, tuple[BookingStatus, ...]] = (0, ())
        self._specs: dict[JobId, Job] = {}
        self._stories: dict[JobId, Story] = {}
        self._ended: dict[JobId, None] = {}
        self._group_of: dict[JobId, tuple[int, int]] = {}
        self._limit_reason: dict[int, tuple[str, str]] = {}
        self._room_reason: dict[int, tuple[str, str]] = {}

    # -- read, from any thread ------------------------------------------------------------------------------------

    def job(self, job: JobId) -> JobStatus | None:
        """A job by id; None when it is unknown, or ended so long ago that only the relational tables have it."""
        status = self._jobs.get(job)
        return self._with_reason(status) if status else None

    def spec(self, job: JobId) -> Job | None:
        """A job as submitted; None where ``job`` gives None."""
        return self._specs.get(job)

    def jobs(self) -> list[JobStatus]:
        """Every job here, oldest submission first as far as this process has seen them come."""
        return [self._with_reason(status) for status in self._jobs.copy().values()]

    def queue(self, queue: QueueId) -> QueueStatus | None:
        """A queue by id."""
        return self._queues.published.get(queue)

    def queues(self) -> list[QueueStatus]:
        """Every queue, by id."""
        return sorted(self._queues.published.copy().values(), key=lambda queue: queue.id)

    def nodes(self) -> list[NodeStatus]:
        """Every node, by id."""
        return sorted(self._nodes.copy().values(), key=lambda node: node.id)

    def services(self) -> list[ServiceStatus]:
        """Every service, by id."""
        return sorted(self._services.copy().values(), key=lambda service: service.id)

    def service_spec(self, service: ServiceId) -> Service | None:
        """A service as declared; None when there is none of that name."""
        return self._service_specs.get(service)

    def pools(self) -> list[Pool]:
        """Every pool, by id."""
        return sorted(self._pools, key=lambda pool: pool.id)

    def bookings(self) -> tuple[BookingStatus, ...]:
        """Every booking, in the order in which they were asked for."""
        return self._bookings[1]

    def booking(self, booking: BookingId) -> BookingStatus | None:
        """A booking by its name; None when there is none."""
        return next((each for each in self.bookings() if each.booking.id == booking), None)

    def loans(self) -> tuple[Agreed, ...]:
        """Every loan that is not long over, in the order in which they were agreed on."""
        return self._loans

    def policy(self) -> Policy:
        """The policy that decisions follow."""
        return self._policy

    def story(self, job: JobId) -> Story:
        """(when, sentence) of what was decided about a job and of how its attempts ended, oldest first."""
        return self._stories.get(job, ())

    def _with_reason(self, status: JobStatus) -> JobStatus:
        group = self._group_of.get(status.id)
        if group is None or status.reason or status.phase is not JobPhase.QUEUED:
            return status
        reason, tier = self._limit_reason.get(group[0]) or self._room_reason.get(group[1], _NOT_TRIED)
        return replace(status, reason=reason, tier=tier)

    # -- fold, by the loop ----------------------------------------------------------------------------------------

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        """Publish what ``state.news`` names; everything at first."""
        first, at = self.published[0] == 0, Instant(now)
        news = state.news
        changed: Iterable[JobId] = self._all_jobs(state) if first else news.jobs
        services = self._changed_services(state)
        for job in changed:
            status = self._job(state, job, at)
            if status is not None and status.service is not None:
                services.add(status.service)
        for node in state.nodes.row_of if first else news.nodes:
            self._nodes[node] = node_status(state, state.nodes.row_of[node])
        self._queues.fold(state, at, everything=first or state.policy is not self._policy)
        for service in services:
            self._service(state, service)
        self._pools = tuple(state.pools.values())
        self._loans = tuple(state.loans.agreed.values())
        self._policy = state.policy
        if state.bookings.version != self._bookings[0]:
            self._bookings = state.bookings.version, booking_statuses(state)
        self._tell(state)
        self._forget_old()
        self.published = (seq, at, state.epoch)

    def _all_jobs(self, state: ClusterState) -> list[JobId]:
        ordinal, row_of = state.jobs.ordinal, state.jobs.row_of
        return [*list(state.ended)[-self._keep_ended :], *sorted(row_of, key=lambda job: int(ordinal[row_of[job]]))]

    def _reason(self, state: ClusterState, group: int) -> tuple[int, int]:
        """Take over why a group's jobs, and all of its shape, wait; returns (group, shape)."""
        groups, shape = state.groups, int(state.groups.shape[group])
        limit, room = groups.limit_reason[group], groups.shapes.reason[shape]
        if limit is not None:
            self._limit_reason[group] = (str(limit), limit.tier)
        else:
            self._limit_reason.pop(group, None)
        if room is not None:
            self._room_reason[shape] = (str(room), room.tier)
        return group, shape

    def _job(self, state: ClusterState, job: JobId, now: Instant) -> JobStatus | None:
        row, before = state.jobs.row_of.get(job), self._jobs.get(job)
        if row is not None:
            status = live_status(state, row, now)
            if status.phase is JobPhase.QUEUED:
                self._group_of[job] = self._reason(state, int(state.jobs.group[row]))
            else:
                self._group_of.pop(job, None)
            self._jobs[job], self._specs[job] = status, state.jobs.job(row)
            self._queues.charge(state, job, row)
            return status
        self._group_of.pop(job, None)
        self._queues.release(state, job, before.queue if before else None)
        record = state.ended.get(job)
        if record is None:
            return None
        self._jobs[job] = status = ended_status(record, before)
        self._specs[job], self._ended[job] = record.job, None
        return status

    def _changed_services(self, state: ClusterState) -> set[ServiceId]:
        specs = self._service_specs
        changed = {name for name, spec in state.services.items() if specs.get(name) is not spec}
        return changed | (specs.keys() - state.services.keys() if len(specs) != len(state.services) else set())

    def _service(self, state: ClusterState, name: ServiceId) -> None:
        spec = state.services.get(name)
        if spec is None:
            self._services.pop(name, None)
            self._service_specs.pop(name, None)
        else:
            self._service_specs[name] = spec
            self._services[name] = service_status(state, spec)

    def _tell(self, state: ClusterState) -> None:
        lines = [(end.attempt.job, end.ended, end_sentence(end)) for end in state.news.attempts]
        lines += [(decision.job, decision.at, sentence(decision)) for decision in state.news.decisions]
        for job, at, line in lines:
            if job in self._jobs:
                self._stories[job] = (*self._stories.get(job, ())[1 - KEEP_LINES :], (at, line))

    def _forget_old(self) -> None:
        while len(self._ended) > self._keep_ended:
            job = next(iter(self._ended))
            del self._ended[job], self._jobs[job], self._specs[job]
            self._stories.pop(job, None)


class _Queues:
    """The queues' statuses, and the sums over their subtrees that the state does not keep."""

    def __init__(self) -> None:
        self.published: dict[QueueId, QueueStatus] = {}
        self._own: list[tuple[int, int]] = []
        """(pending, running) of the very queue, as counted in ``_below``."""
        self._below: list[list[int]] = []
        """[pending, running, sum of milli-GPUs x instant of placement over live attempts] of the subtree."""
        self._charged: dict[JobId, int] = {}
        """What each live attempt adds to that last sum."""
        self._changed: dict[int, None] = {}

    def charge(self, state: ClusterState, job: JobId, row: int) -> None:
        """Count what a job's live attempt holds, and since when."""
        product = int(state.jobs.sums[row, 2]) * int(state.jobs.placed_at[row])
        self._add(state, int(state.jobs.queue[row]), job, product)

    def release(self, state: ClusterState, job: JobId, queue: QueueId | None) -> None:
        """An ended job holds nothing."""
        if queue is not None:
            self._add(state, state.queues.row_of[queue], job, 0)

    def _add(self, state: ClusterState, queue: int, job: JobId, product: int) -> None:
        self._changed[queue] = None
        change = product - self._charged.get(job, 0)
        if not change:
            return
        self._widen(state)
        for above in state.queues.above[queue]:
            self._below[above][2] += change
        if product:
            self._charged[job] = product
        else:
            del self._charged[job]

    def _widen(self, state: ClusterState) -> None:
        missing = state.queues.height - len(self._own)
        self._own += [(0, 0)] * missing
        self._below += [[0, 0, 0] for _ in range(missing)]

    def fold(self, state: ClusterState, now: Instant, *, everything: bool) -> None:
        """Publish every queue whose sums have changed, and those above it."""
        queues = state.queues
        self._widen(state)
        names = queues.row_of if everything else state.news.queues
        self._changed.update((queues.row_of[name], None) for name in names)
        publish: dict[int, None] = {}
        for row in self._changed:
            own, before = (int(queues.pending[row]), int(queues.running[row])), self._own[row]
            self._own[row] = own
            for above in queues.above[row]:
                self._below[above][0] += own[0] - before[0]
                self._below[above][1] += own[1] - before[1]
                publish[above] = None
        if publish:
            fair = shares(snapshot(state), state.policy), queues.average_at(state.now)[:, 2]
            swarms = state.short.beyond(queues, state.now, state.policy.fairness.swarm)
            for row in publish:
                self.published[queues.id_of(row)] = self._status(state, row, now, fair, swarms.get(row))
        self._changed.clear()

    def _status(
        self, state: ClusterState, row: int, now: Instant, fair: tuple[Floats, Floats], short: list[float] | None
    ) -> QueueStatus:
        queues, spec = state.queues, state.queues.spec[row]
        pending, running, since = self._below[row]
        return QueueStatus(
            id=spec.id,
            weight=spec.weight,
            quota=spec.quota,
            limit=amount(queues.limit[row]),
            declared_limit=spec.limit,
            lend=spec.lend,
            guaranteed=guaranteed(queues.quota[row]),
            guaranteed_gpu_ms=guaranteed_gpu_ms(queues, row, now),
            notes=tuple(loan_notes(state.loans.alive, spec.id, now)) if state.loans.agreed else (),
            used=amount(queues.used[row]),
            pending=pending,
            running=running,
            max_pending=spec.max_pending,
            as_of=now,
            gpu_ms=round(float(queues.spent[row, 2])) + int(queues.used[row, 2]) * now - since,
            own_pending=self._own[row][0],
            discipline=spec.discipline,
            rolling=spec.rolling,
            rolling_gpu_ms=queues.spent_lately(row, state.now) if row in queues.rolling else 0,
            share=round(float(fair[0][row]), 6),
            average_gpu_milli=round(float(fair[1][row])),
            swarm=Swarming(state.policy.fairness.swarm, tuple(short), state.now) if short else None,
        )
