"""What people ask for, checked and put into the durable inbox in one step: all of it, or nothing.

Nothing is acknowledged before it is on the disk. A token makes a repetition harmless: the same token again gets the
same answer, however many control planes have come and gone in between.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairway.adapters.stores.inbox import Entry, Inbox
from fairway.decide.admit import validate
from fairway.engine.adviser import Verdict
from fairway.engine.status import JobStatus
from fairway.faces.api.agreements import Agreements
from fairway.faces.api.changes import Change, changes_of
from fairway.faces.api.earlier import Earlier, look_up
from fairway.faces.api.present import Accepted, Present
from fairway.faces.api.reservations import Reservations
from fairway.faces.api.unfit import Fitting
from fairway.faces.errors import several
from fairway.faces.manifests.complaints import InvalidManifest
from fairway.faces.manifests.convert import Caller, facts_of, jobs_of
from fairway.faces.manifests.read import Declared
from fairway.faces.manifests.reservation import ReservationSpec
from fairway.faces.manifests.schema import JobSpec, LoanSpec, QueueSpec, ServiceSpec
from fairway.model.booking import Booking
from fairway.model.errors import Conflict, FairwayError, InvalidField, NotFound, Refused
from fairway.model.facts import (
    BookingRemoved,
    CancelAsked,
    Fact,
    Facts,
    JobHeld,
    JobReleased,
    LoanEnded,
    NodeCordoned,
    ServiceRemoved,
)
from fairway.model.ids import BookingId, JobId, LoanId, NodeId, QueueId, ServiceId, ancestry
from fairway.model.job import Job
from fairway.model.resources import UNITS
from fairway.model.time import Instant
from fairway.state.frames import encode
from fairway.state.groups import shape_of
from fairway.state.tables import SUMS


class QueueFull(Refused):
    """A queue takes no more: the same request may be accepted later."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to do with manifests: only say what would change, or accept jobs that cannot run on what there is."""

    caller: Caller = field(default_factory=Caller)
    token: str | None = None
    dry_run: bool = False
    allow_unfit: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What became, or would become, of one manifest."""

    kind: str
    name: str
    action: str
    """``submitted``, ``agreed``, ``created``, ``changed`` or ``unchanged``; with a dry run what would be."""
    id: str | None = None
    jobs: int = 0
    """How many jobs it makes: the ids of an array's are ``<id>.0`` and on."""
    changes: tuple[Change, ...] = ()
    warning: str = ""

    def shape(self) -> dict[str, Any]:
        """As the API answers it."""
        changes = [{"field": each.field, "from": each.old, "to": each.new} for each in self.changes]
        ids = [self.id] if self.jobs == 1 and self.id else []
        if self.jobs > 1 and self.id:
            ids = [f"{self.id}.{index}" for index in range(self.jobs)]
        return {
            "kind": self.kind,
            "name": self.name,
            "action": self.action,
            "id": self.id,
            "jobs": ids,
            "count": self.jobs,
            "changes": changes,
            "warning": self.warning,
        }


@dataclass(slots=True)
class _Batch:
    """What the manifests of one request add up to, while they are checked in order."""

    queues: dict[QueueId, int] = field(default_factory=dict[QueueId, int])
    """Declared here, with their ``max_pending``."""
    coming: dict[QueueId, int] = field(default_factory=dict[QueueId, int])
    errors: list[FairwayError] = field(default_factory=list[FairwayError])


class Intake:
    """The way into one control plane."""

    def __init__(self, inbox: Inbox, present: Present, try_booking: Callable[[Booking], Verdict] | None = None) -> None:
        """``try_booking`` says whether something could be booked; without it, only the next decision does."""
        self._inbox = inbox
        self._reservations = Reservations(present, try_booking)
        self._present = present
        self._fitting = Fitting()
        self.agreements = Agreements(present)

    async def apply(self, declared: Sequence[Declared], wish: Wish) -> list[Applied]:
        """Accept manifests. Raises InvalidManifest, NotFound, Refused (each with all errors of its kind): then nothing
        was accepted; StoreFull, StoreBusy."""
        now = self._present.clock()
        repeated = None if wish.dry_run else self._repetition(wish)
        if any(isinstance(each.spec, JobSpec) and each.spec.after for each in declared):
            await self._present.settled()  # whoever submits one job and then the next finds the first
        if any(isinstance(each.spec, LoanSpec) for each in declared):
            await self.agreements.settled(declared)
        earlier = look_up(declared, self._present)
        warnings = [""] * len(declared) if repeated else self._check(declared, now, wish, earlier)
        if not repeated:
            await self._reservations.check(declared, now, wish.caller, allow_unfit=wish.allow_unfit)
        planned = [changes_of(each.spec, self._present.model, wish.caller) for each in declared]
        if wish.dry_run:
            return [
                _applied(each, None, action, changes, warning)
                for each, (action, changes), warning in zip(declared, planned, warnings, strict=True)
            ]
        numbers = await self._inbox.put_async(
            _entry(each, i, len(declared), now, wish, earlier) for i, each in enumerate(declared)
        )
        for each, number in zip(declared, numbers, strict=True):
            self._expect(each, number)
        return [
            _applied(each, number, action, changes, warning)
            for each, number, (action, changes), warning in zip(declared, numbers, planned, warnings, strict=True)
        ]

    def _repetition(self, wish: Wish) -> bool:
        """Whether the token was used: then the checks were passed once, and what they count is the request itself."""
        return wish.token is not None and self._inbox.number_of(f"{wish.token}/0") is not None

    def _expect(self, each: Declared, number: int) -> None:
        spec = each.spec
        if isinstance(spec, JobSpec):
            stem, jobs = f"{spec.name}-{number}", _count(spec)
            last = JobId(f"{stem}.{jobs - 1}" if spec.array else stem)
            if self._present.model.job(last) is None:
                self._present.accept(stem, Accepted(QueueId(spec.queue), jobs, last))
        elif isinstance(spec, QueueSpec):
            self._present.expect_queue(QueueId(spec.name), spec.max_pending)
        elif isinstance(spec, LoanSpec):
            self.agreements.expect(LoanId(spec.name))

    # -- checks ---------------------------------------------------------------------------------------------------

    def _check(self, declared: Sequence[Declared], now: Instant, wish: Wish, earlier: Earlier) -> list[str]:
        """A warning for each manifest, mostly empty. Raises what is wrong with them, the worst kind first."""
        batch = _Batch(errors=list(earlier.errors))
        for each in declared:
            if isinstance(each.spec, QueueSpec):
                batch.queues |= {name: 1_000_000 for name in ancestry(QueueId(each.spec.name)) if name}
        for each in declared:
            if isinstance(each.spec, QueueSpec):
                batch.queues[QueueId(each.spec.name)] = each.spec.max_pending
        warnings = [self._check_one(each, now, wish, batch) for each in declared]
        batch.errors += self.agreements.objections(declared, now, wish.caller)
        for kind in (InvalidField, NotFound, Refused):
            found = [error for error in batch.errors if isinstance(error, kind)]
            if found:
                invalid = [error for error in found if isinstance(error, InvalidField)]
                raise InvalidManifest(invalid) if invalid else several(found)
        return warnings

    def _check_one(self, each: Declared, now: Instant, wish: Wish, batch: _Batch) -> str:
        spec = each.spec
        if not isinstance(spec, JobSpec | ServiceSpec | ReservationSpec):
            return ""
        queue = QueueId(spec.queue)
        limit = batch.queues.get(queue, self._present.max_pending(queue))
        if limit is None:
            where = each.document.error(("queue",), "").field
            batch.errors.append(self._present.unknown_queue(queue, where, batch.queues))
        if not isinstance(spec, JobSpec):
            return ""
        job = jobs_of(spec, 0, now, wish.caller)[0]
        for wrong in validate(job):
            batch.errors.append(each.document.error(_loc(wrong.field, spec), wrong.message))
        if limit is not None:
            self._check_room(each, queue, limit, batch)
        unfit = self._unfit(job)
        if unfit and not wish.allow_unfit:
            where = each.document.error(("request",), "").field
            text = f"{unfit}; ask for less, or queue it all the same with --force (allow_unfit)"
            batch.errors.append(Refused(text, where))
        return unfit or self._check_odd(each, job, wish, batch)

    def _check_odd(self, each: Declared, job: Job, wish: Wish, batch: _Batch) -> str:
        """Refuse what looks like a mistake; a warning for somebody who means it."""
        assert isinstance(each.spec, JobSpec)
        model = self._present.model
        odd = self._fitting.odd(job, model.nodes(), model.pools(), model.policy().admission)
        if not wish.allow_unfit:
            for found in odd:
                where = each.document.error(_loc(found.field, each.spec), "").field
                text = f"{found.message}; if it is meant, submit it with --force (allow_unfit; rule {found.rule})"
                batch.errors.append(Refused(text, where))
        return "; ".join(map(str, odd))

    def _check_room(self, each: Declared, queue: QueueId, limit: int, batch: _Batch) -> None:
        assert isinstance(each.spec, JobSpec)
        jobs = _count(each.spec)
        used = self._present.pending(queue) + batch.coming.get(queue, 0)
        batch.coming[queue] = batch.coming.get(queue, 0) + jobs
        if used + jobs > limit:
            where = each.document.error(("queue",), "").field
            text = f"queue {queue} is full: {used} of {limit} jobs wait and this adds {jobs}"
            batch.errors.append(QueueFull(f"{text}; wait, cancel some, or raise its max_pending", where))

    def _unfit(self, job: Job) -> str:
        """Why a job could never start on what there is; empty when it could."""
        never = self._fitting.never(job, self._present.model.nodes(), self._present.model.pools())
        if never is not None:
            return str(never)
        needs: dict[str, int] = dict(zip(SUMS, shape_of(job).least_sums, strict=True))
        for status in self._present.limits(job.queue):
            for name, (size, unit) in UNITS.items():
                # A loan is over some day.
                need, now, then = needs[name], getattr(status.limit, name), getattr(status.declared_limit, name)
                most = None if now is None or then is None else max(now, then)
                if most is not None and need > most:
                    who = f"queue {status.id}" if status.id else "everybody together"
                    return f"never fits: needs {need / size:g} {unit}, and {who} may use {most / size:g} at most"
        return ""

    # -- other wishes ---------------------------------------------------------------------------------------------

    async def cancel(self, names: Sequence[str], by: str) -> tuple[list[JobStatus], list[FairwayError]]:
        """Ask for jobs, or all of an array's, to end. Returns those that were asked, and why others were not."""
        asked: dict[str, JobStatus] = {}
        errors: list[FairwayError] = []
        for name in names:
            try:
                found = await self._alive(name, "cancelled")
            except FairwayError as error:
                errors.append(error)
            else:
                asked.update((status.id, status) for status in found)
        if asked:
            await self._put([CancelAsked(status.id, by) for status in asked.values()])
        return list(asked.values()), errors

    async def _alive(self, name: str, participle: str) -> list[JobStatus]:
        """The jobs of a name that have not ended. Raises NotFound, Conflict."""
        elements = self._present.elements(name) or [await self._present.job(name)]
        live = [status for status in elements if not status.phase.ended]
        if not live:
            phase = elements[0].phase.value
            what = "its jobs have all ended" if len(elements) > 1 else f"it has already {_ENDED[phase]}"
            raise Conflict(f"{name} cannot be {participle}: {what}", "job")
        if live[0].service is not None:
            what = f"it is a replica of the service {live[0].service}; apply that with fewer replicas, or remove it"
            raise Conflict(f"{name} cannot be {participle}: {what}", "job")
        return live

    async def keep(self, names: Sequence[str], by: str, *, release: bool) -> tuple[list[JobStatus], list[FairwayError]]:
        """Hold or ``release`` jobs, or all of an array's. Returns those that were told, and why others were not."""
        told: dict[str, JobStatus] = {}
        errors: list[FairwayError] = []
        for name in names:
            try:
                found = await self._alive(name, "released" if release else "held")
            except FairwayError as error:
                errors.append(error)
            else:
                told.update((status.id, status) for status in found)
        if told:
            fact = JobReleased if release else JobHeld
            await self._put([fact(status.id, by) for status in told.values()])
        return list(told.values()), errors

    async def end_loan(self, loan: str, by: str) -> None:
        """End a loan early. Raises NotFound, Conflict."""
        await self._put([LoanEnded(await self.agreements.standing(loan), by)])

    async def cordon(self, node: str, on: bool) -> None:
        """Place nothing more on a node, or place there again. Raises NotFound."""
        known = [status.id for status in self._present.model.nodes()]
        if node not in known:
            raise NotFound(f"no node {node!r}; {_listed(known)}", "node")
        await self._put([NodeCordoned(NodeId(node), on)])

    async def remove_service(self, service: str) -> None:
        """Stop a service and forget it. Raises NotFound."""
        known = [status.id for status in self._present.model.services()]
        if service not in known:
            raise NotFound(f"no service {service!r}; {_listed(known)}", "service")
        await self._put([ServiceRemoved(ServiceId(service))])

    async def remove_booking(self, booking: str, by: str) -> None:
        """Give a booking up. Raises NotFound."""
        known = [status.booking.id for status in self._present.model.bookings()]
        if booking not in known:
            raise NotFound(f"no reservation {booking!r}; {_listed(known)}", "reservation")
        await self._put([BookingRemoved(BookingId(booking), by)])

    async def _put(self, facts: Sequence[Fact]) -> None:
        await self._inbox.put_async([Entry(None, encode(Facts(self._present.clock(), tuple(facts))))])


_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "there are none"
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"


def _count(spec: JobSpec) -> int:
    return spec.array.points if spec.array else 1


def _entry(each: Declared, index: int, of: int, now: Instant, wish: Wish, earlier: Earlier) -> Entry:
    def body(seq: int) -> bytes:
        if isinstance(each.spec, JobSpec):
            earlier.accepted(index, each.spec, seq)
        return encode(Facts(now, tuple(facts_of(each.spec, seq, now, wish.caller, earlier.of(index)))))

    said: list[Any] = [each.document.value, wish.caller.user, wish.caller.base, of]
    same = json.dumps(said, sort_keys=True, default=str).encode()
    return Entry(f"{wish.token}/{index}" if wish.token else None, body, same=same)


def _applied(each: Declared, number: int | None, action: str, changes: tuple[Change, ...], warning: str) -> Applied:
    spec = each.spec
    if isinstance(spec, JobSpec):
        stem = None if number is None else f"{spec.name}-{number}"
        jobs = _count(spec)
        return Applied("Job", spec.name, action, stem, jobs, (), warning)
    return Applied(spec.kind, spec.name, action, spec.name, 0, changes, warning)


def _loc(path: str, spec: JobSpec) -> tuple[int | str, ...]:
    """Where a field of a job stands in its manifest."""
    if not spec.roles:
        path = path.removeprefix("roles[0].")
    names = {
        "retry": "retries", "count": "workers", "min_count": "workers", "cpu_milli": "cpu", "memory_mib": "memory",
        "gpu_milli": "gpus",
    }  # fmt: skip
    steps: list[int | str] = []
    for step in path.replace("[", ".[").split("."):
        if step.startswith("["):
            steps.append(int(step[1:-1]))
        else:
            steps.append(names.get(step, step))
    return tuple(steps)
