"""What a queue has booked is its own when it begins, whatever happens before, and nothing else breaks."""

from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairway.decide import forecast, walk_fast
from fairway.decide.booked import LARGE, BookedRoom, may_yield
from fairway.model.booking import Booking, Devices
from fairway.model.facts import BookingRemoved, BookingSet, NodeGone, Progressed
from fairway.model.ids import BookingId, JobId, NodeId, QueueId
from fairway.model.job import Job, PriorityClass, Role
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Book, Overbooked, Placement, Start, Starts
from fairway.model.policy import Backfill, Large, Policy
from fairway.model.time import HOUR, MINUTE, SECOND, Duration, Instant
from fairway.state.bookings import owns
from fairway.state.check import check, oversubscribed
from fairway.state.groups import shape_of
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, same, submitted

BEGIN = 10 * HOUR
QUEUES = ("prod", "prod/vision", "dev", "lab")


class Agency:
    """A small cluster on which queues book; executors obey within the grace of a job, and the clock stops at timers."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        large = Large(
            gpus=self.rng.choice((0, 0, 3, 6)), share=self.rng.choice((0.3, 0.6)), lend=self.rng.random() < 0.5
        )
        self.it = Rehearsal(Policy(backfill=Backfill(large=large)))
        self.it.tell(after=BEGIN)
        self.nodes = [a_node(f"n{index}", self.rng.choice((0, 2, 4, 8))) for index in range(self.rng.randint(1, 4))]
        self.it.nodes(*self.nodes)
        self.stopping: dict[JobId, int] = {}
        """When jobs that were told to stop will have."""
        self.shaken: dict[str, int] = {}
        """When the devices of a booking were last chosen."""
        self.devices: dict[str, Devices] = {}
        self.count = 0

    def run(self, events: int) -> None:
        for _ in range(events):
            self.happen()
            self.settle()
            self.pass_time(self.rng.choice((SECOND, 5 * MINUTE, 40 * MINUTE, 2 * HOUR)))
        assert same(self.it.replayed(), self.it.state)

    def happen(self) -> None:
        rng, it = self.rng, self.it
        draw = rng.random()
        live = [job for job in it.state.jobs.row_of if it.phase(job) is JobPhase.RUNNING]
        if draw < 0.25:
            it.tell(BookingSet(self.booking()))
        elif draw < 0.7:
            it.tell(*(submitted(self.job()) for _ in range(rng.randint(1, 4))))
        elif draw < 0.8 and live:
            it.end(rng.choice(live))
        elif draw < 0.85 and live:
            it.tell(Progressed(it.attempt(rng.choice(live)), checkpoint=it.state.now))
        elif draw < 0.9 and it.state.bookings.table:
            it.tell(BookingRemoved(rng.choice(list(it.state.bookings.table))))
        elif draw < 0.95:
            lost = rng.choice(self.nodes)
            it.tell(NodeGone(lost.id))
            it.nodes(*(node for node in self.nodes if rng.random() < 0.7 or node.id != lost.id))
        else:
            it.restart()

    def booking(self) -> Booking:
        rng = self.rng
        self.count += 1
        start = self.it.state.now + rng.choice((0, 10 * MINUTE, HOUR, 5 * HOUR))
        gpus, nodes, per_node = rng.choice(((rng.randint(1, 8), 0, 0), (0, rng.randint(1, 2), 0), (4, 0, 2)))
        return Booking(
            BookingId(f"b{self.count}"), QueueId(rng.choice(QUEUES[:3])), Instant(start),
            Instant(start + rng.choice((HOUR, 6 * HOUR))), flexible=rng.random() < 0.3,
            idle_for=rng.choice((None, None, Duration(30 * MINUTE))), gpus=gpus, nodes=nodes, per_node=per_node,
        )  # fmt: skip

    def job(self) -> Job:
        rng = self.rng
        self.count += 1
        tasks = rng.choice((1, 1, 1, 2, 3))
        role = Role("w", tasks, a_request(rng.choice((0, 0.5, 1, 2, 4)), rng.choice((1, 8))), rng.choice((None, 1)))
        return a_job(
            f"j{self.count}", role, queue=rng.choice(QUEUES), cls=rng.choice(tuple(PriorityClass)),
            checkpoints=rng.random() < 0.5, estimate=Duration(rng.randint(1, 300) * MINUTE),
            max_runtime=rng.choice((None, Duration(20 * MINUTE))),
            grace=rng.choice((Duration(30 * SECOND), Duration(10 * MINUTE))),
        )  # fmt: skip

    def settle(self) -> None:
        for _ in range(40):
            plan = self.it.decide()
            for action in plan.each():
                if isinstance(action, Book):
                    known = self.shaken.get(action.booking)
                    if known is None or action.devices != self.devices.get(action.booking):
                        self.shaken[action.booking] = self.it.state.now
                    self.devices[action.booking] = action.devices
                elif isinstance(action, Start):
                    self.belongs(action)
            if self.rng.random() < 0.15:
                self.it.prove()
            wrong = [*check(self.it.state), *(oversubscribed(self.it.state) if not self.it.shrunk else ())]
            assert not wrong, wrong
            self.obey()
            self.kept()
            if not plan.actions:
                return
        raise AssertionError("decisions without an end")

    def obey(self) -> None:
        it, jobs = self.it, self.it.state.jobs
        it.start()
        for name in [job for job in it.state.unmet if it.phase(job) is JobPhase.STOPPING]:
            grace = jobs.job(jobs.row_of[name]).grace
            self.stopping.setdefault(name, it.state.now + self.rng.randint(0, grace))

    def pass_time(self, span: int) -> None:
        it = self.it
        until = it.state.now + span
        while it.state.now < until:
            timers = [timer[0] for timer in it.state.timers if it.state.counts(timer)]
            now = it.state.now
            next_at = min([at for at in (*timers, *self.stopping.values(), until) if at > now], default=until)
            it.tell(after=next_at - now)
            for name in [job for job, at in self.stopping.items() if at <= next_at]:
                del self.stopping[name]
                if name in it.state.jobs and it.phase(name) is JobPhase.STOPPING:
                    it.end(name, Cause.FAILED, signal=15)
            self.settle()

    def belongs(self, start: Start) -> None:
        """Whoever starts on a node that is kept for large jobs is one, or short, or may be asked to yield."""
        snap, policy = snapshot(self.it.state), self.it.state.policy
        room, row = BookedRoom(snap, Trial(snap), policy), snap.jobs.row_of[start.attempt.job]
        shape, large = shape_of(snap.jobs.job(row)), policy.backfill.large
        if LARGE not in room.columns or not room.touches(LARGE, start.placement) or room.large(shape):
            return
        lasts = forecast.running(snap.history, snap.jobs, np.array([row]), snap.now).p90[0]
        assert lasts <= large.short or (large.lend and may_yield(snap, row)), (start, lasts)

    def kept(self) -> None:
        """From its start on nobody else is where a queue has booked, or he is leaving as it was chosen late; and nobody
        else has just been let in who may not be asked to yield."""
        state = self.it.state
        snap = snapshot(state)
        room = BookedRoom(snap, Trial(snap), state.policy)
        for name, found in state.bookings.table.items():
            booking = found.booking
            if not found.accepted or found.look or state.now < booking.start:
                continue
            for job in state.jobs.row_of:
                row = state.jobs.row_of[job]
                placement: Placement = state.jobs.placement[row]
                if not placement or owns(state.queues, int(state.jobs.queue[row]), booking):
                    continue
                if not room.touches(name, placement) or (booking.flexible and may_yield(snap, row)):
                    continue
                leaves = state.jobs.phase_of(row) is JobPhase.STOPPING
                late = self.shaken[name] > booking.drains
                told = f"{job} runs in {name}: {placement}, {state.jobs.phase_of(row)}"
                assert leaves, told
                assert late or self.stopping.get(job, 0) <= state.now, told


@given(st.integers(0, 10_000))
@example(4019)  # nodes for large jobs become others', where only an elastic job could make room
def test_what_is_booked_is_its_queues_own_when_it_begins(seed: int) -> None:
    Agency(seed).run(8)


def the_plans(seed: int, *, fast: bool, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Many jobs and a few bookings, decided by one walk or the other."""
    monkeypatch.setattr(walk_fast, "ready", fast)
    rng, it, plans = Random(seed), Rehearsal(), list[object]()
    it.tell(after=BEGIN)
    it.nodes(*(a_node(f"n{index}", 8) for index in range(6)))
    for number, start in enumerate((0, HOUR)):
        booking = Booking(
            BookingId(f"b{number}"), QueueId("prod"), Instant(BEGIN + start), Instant(BEGIN + 9 * HOUR), gpus=12
        )
        it.tell(BookingSet(booking))
    for round_ in range(3):
        it.tell(
            *(
                submitted(
                    a_job(
                        f"j{round_}-{index}", a_request(rng.choice((1, 2, 4)), 1), queue=rng.choice(QUEUES),
                        estimate=Duration(rng.randint(1, 300) * MINUTE), checkpoints=rng.random() < 0.3,
                    )
                )
                for index in range(20)
            ),
            after=MINUTE,
        )  # fmt: skip
        plan = it.decide()
        plans += [list(each) if isinstance(each, Starts) else each for each in plan.actions]
        it.prove()
    return plans


@given(seed=st.integers(0, 1_000))
@example(seed=633)
def test_both_walks_keep_it(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plain = the_plans(seed, fast=False, monkeypatch=patch)
        assert the_plans(seed, fast=True, monkeypatch=patch) == plain


@given(st.integers(0, 1_000))
def test_what_is_closed_and_opened_again_is_as_before(seed: int) -> None:
    rng, it = Random(seed), Rehearsal()
    it.tell(after=BEGIN)
    it.nodes(*(a_node(f"n{index}", 4) for index in range(3)))
    it.tell(*(submitted(a_job(f"j{n}", a_request(rng.choice((0.5, 1, 2)), 8), queue="dev")) for n in range(4)))
    it.settle()
    for number in range(3):
        booking = Booking(
            BookingId(f"b{number}"), QueueId(rng.choice(QUEUES)), Instant(BEGIN + 2 * HOUR * number),
            Instant(BEGIN + 2 * HOUR * number + 3 * HOUR), gpus=rng.randint(1, 4),
        )  # fmt: skip
        it.tell(BookingSet(booking))
        assert any(isinstance(action, Book | Overbooked) for action in it.decide().actions)
    snap = snapshot(it.state)
    trial, plain = Trial(snap), Trial(snap)
    room = BookedRoom(snap, trial, it.state.policy)
    for _ in range(5):
        room.close(frozenset(name for name in room.columns if rng.random() < 0.5))
    room.close(frozenset())
    for column in ("free", "device_free", "idle", "share_max", "gpu_free"):
        assert np.array_equal(getattr(trial, column), getattr(plain, column)), column


def test_a_booking_of_an_unknown_node_is_short_and_says_so() -> None:
    it = Rehearsal()
    it.tell(after=BEGIN)
    it.nodes(a_node("n1", 4))
    wanted = Booking(BookingId("b"), QueueId("prod"), Instant(BEGIN), Instant(BEGIN + HOUR), gpus=8)
    it.tell(BookingSet(wanted))
    [action] = it.decide().actions
    assert isinstance(action, Overbooked)
    assert str(action.reason) == "asks for 8 GPU; the largest possible then is 4 GPU: there are 4 GPUs in all"
    it.tell(NodeGone(NodeId("n1")))
    it.tell(BookingSet(wanted))
    [again] = it.decide().actions
    assert isinstance(again, Overbooked)
    assert "there are 0 GPUs" in str(again.reason)
