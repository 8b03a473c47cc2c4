"""Reservations: the promise they make is kept, nobody starves, and nothing else breaks."""

import heapq
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import reserve
from fairway.decide.gang import Fitted, place
from fairway.model.facts import Ruled
from fairway.model.ids import JobId
from fairway.model.job import Job, Role
from fairway.model.plan import Reserve, Start
from fairway.model.policy import Backfill, Policy
from fairway.model.reasons import AwaitingReservation
from fairway.model.time import HOUR, MINUTE, SECOND, Duration
from fairway.state.groups import shape_of
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted
from tests.state.weather import Storm

BEGIN = 10 * HOUR


@dataclass
class Course:
    """Jobs that come and last exactly as long as they say, and what becomes of them."""

    it: Rehearsal
    started: dict[str, int] = field(default_factory=dict)
    promised: dict[str, int] = field(default_factory=dict)
    """When each job with a reservation was first expected to start."""

    def run(self, arrivals: list[tuple[int, Job]], until: int = 1 << 60) -> None:
        agenda = [(at, number, "submit", job) for number, (at, job) in enumerate(arrivals)]
        heapq.heapify(agenda)
        number = len(agenda)
        while agenda and agenda[0][0] <= until:
            at, _, what, job = heapq.heappop(agenda)
            self.it.tell(after=max(at - self.it.state.now, 0))
            if what == "submit":
                self.it.tell(submitted(job))
            else:
                self.it.end(job.id)
            for action in self.it.decide().actions:
                if isinstance(action, Start):
                    ends = self.it.state.now + int(
                        self.it.state.jobs.job(self.it.state.jobs.row_of[action.attempt.job]).estimate or 0
                    )
                    number += 1
                    job = self.it.state.jobs.job(self.it.state.jobs.row_of[action.attempt.job])
                    heapq.heappush(agenda, (ends, number, "end", job))
                    self.started[job.id] = self.it.state.now
                elif isinstance(action, Reserve):
                    self.promised.setdefault(action.job, action.expected.p50)
            self.it.start()


def a_course(policy: Policy, nodes: int, gpus: int = 8) -> Course:
    it = Rehearsal(policy)
    it.tell(after=BEGIN)
    it.nodes(*(a_node(f"n{i}", gpus) for i in range(nodes)))
    return Course(it)


WIDTHS = st.sampled_from((1, 1, 1, 2, 2, 4, 8, 16))


@given(
    st.lists(st.tuples(st.integers(0, 40), WIDTHS, st.integers(1, 120)), min_size=5, max_size=30),
    st.integers(1, 3),
    st.sampled_from(("easy", "conservative")),
)
def test_with_right_estimates_nobody_starts_later_than_its_reservation(
    jobs: list[tuple[int, int, int]], nodes: int, mode: str
) -> None:
    """EASY's promise: later jobs never delay the first one, whatever they are."""
    course = a_course(Policy(backfill=Backfill(mode, Duration(5 * MINUTE))), nodes)  # type: ignore[arg-type]
    at, arrivals = BEGIN, []
    for index, (gap, width, minutes) in enumerate(jobs):
        at += gap * MINUTE
        role = Role("w", 2, a_request(8)) if width == 16 else Role(request=a_request(width))
        arrivals.append((at, a_job(f"j{index}", role, user=f"u{index}", estimate=Duration(minutes * MINUTE))))
    course.run(arrivals)
    fitting = {job.id for _, job in arrivals if job.tasks <= nodes}
    assert set(course.started) == fitting
    for job, promised in course.promised.items():
        assert course.started[job] <= promised + SECOND


def small_stream(hours: int) -> list[tuple[int, Job]]:
    """Two-GPU jobs of an hour, one every ten minutes: half as many again as a node of 8 can run, and never a gap."""
    return [
        (BEGIN + 10 * MINUTE * at, a_job(f"small-{at}", a_request(2), user="many", estimate=Duration(HOUR)))
        for at in range(6 * hours)
    ]


@pytest.mark.parametrize("mode", ["easy", "conservative", "none"])
def test_a_large_job_starves_behind_small_ones_only_without_reservations(mode: str) -> None:
    course = a_course(Policy(backfill=Backfill(mode)), 2)  # type: ignore[arg-type]
    large = a_job("large", Role("w", 2, a_request(8)), user="one", estimate=Duration(HOUR))
    course.run([*small_stream(40), (BEGIN + HOUR, large)], until=BEGIN + 39 * HOUR)
    if mode == "none":
        assert "large" not in course.started
    else:
        waited = course.started["large"] - BEGIN - HOUR
        assert waited <= 10 * MINUTE + HOUR + 10 * MINUTE + SECOND, "the longest that can run, after the patience"


@pytest.mark.parametrize("mode", ["easy", "none"])
def test_a_large_job_does_not_starve_where_nothing_is_known(mode: str) -> None:
    """Without a single estimate or sample, and with run times a hundred times what is guessed, it starts when what ran
    in its room has ended."""
    it = Rehearsal(Policy(backfill=Backfill(mode)))  # type: ignore[arg-type]
    it.tell(after=BEGIN)
    it.nodes(a_node("n1", 4), a_node("n2", 4))
    it.tell(*(submitted(a_job(f"s{i}", a_request(1), user="u")) for i in range(8)))
    it.decide()
    it.start()
    it.tell(submitted(a_job("large", Role("w", 2, a_request(4)))))
    rng = Random(3)
    for count in range(8, 100):
        running = [f"s{i}" for i in range(count) if JobId(f"s{i}") in it.state.jobs and it.where(f"s{i}")]
        if it.where("large") or not running:
            break
        it.tell(after=100 * HOUR)
        it.end(rng.choice(running))
        it.tell(submitted(a_job(f"s{count}", a_request(1), user="u")))
        it.decide()
        it.start()
    assert bool(it.where("large")) == (mode == "easy")


@given(st.integers(0, 10_000), st.integers(0, 8), st.integers(1, 3))
def test_the_first_fit_by_bisection_is_that_of_ending_one_job_after_the_other(
    seed: int, width: int, tasks: int
) -> None:
    rng = Random(seed)
    it = Rehearsal()
    it.tell(after=BEGIN)
    it.nodes(*(a_node(f"n{i}", 8) for i in range(3)))
    for index in range(14):
        it.tell(submitted(a_job(f"r{index}", a_request(rng.choice((1, 1, 2, 4))))))
    it.decide()
    snap = snapshot(it.state)
    rows = [row for row in it.state.jobs.rows() if it.state.jobs.placement[row]]
    ends = sorted(rng.randint(1, 50) for _ in rows)
    shape = shape_of(a_job("x", Role("w", tasks, a_request(width))))
    held = [(row, it.state.jobs.placement[row]) for row in rows]
    trial = Trial(snap)
    before = trial.free.copy(), trial.device_free.copy()
    room, by_end = reserve.held_room(snap, held), np.arange(len(held))
    found = reserve.first_fit(snap, trial, Policy(), shape, reserve.timeline(room, by_end, np.array(ends)))
    assert (trial.free == before[0]).all()
    assert (trial.device_free == before[1]).all()
    plain, at = place(snap, trial, Policy(), shape), snap.now
    for (row, placement), end in zip(held, ends, strict=True):
        if isinstance(plain, Fitted):
            break
        for task in placement:
            trial.take(snap.nodes.row_of[task.node], (0, 0, 0, 0), task.devices, -task.gpu_milli)
        plain, at = place(snap, trial, Policy(), shape), end
        assert row >= 0
    assert (found is None) == (not isinstance(plain, Fitted))
    if found is not None and isinstance(plain, Fitted):
        assert found == (plain.placement, at)


@pytest.mark.parametrize("mode", ["easy", "conservative"])
@pytest.mark.parametrize("seed", [30, 34])
def test_storms_with_reservations_break_nothing(seed: int, mode: str) -> None:
    """Every invariant, every wake-up, and one reason for every job, with room kept at once for whoever is passed.
    Seeds under which a bug once showed."""
    storm = Storm(seed, Policy(cores_per_gpu=4, backfill=Backfill(mode, Duration(0), 3)))  # type: ignore[arg-type]
    storm.blow(60)


def test_storms_keep_room_for_somebody() -> None:
    kinds: set[str] = set()
    for seed in (4, 12):
        storm = Storm(seed, Policy(cores_per_gpu=4, backfill=Backfill("conservative", Duration(0), 3)))
        storm.blow(60)
        rulings = (fact.plan for batch in storm.it.told for fact in batch.items if isinstance(fact, Ruled))
        for action in (action for plan in rulings for action in plan.actions):
            kinds |= {type(action).__name__, type(getattr(action, "reason", None)).__name__}
    assert kinds >= {"Reserve", "Unreserve", "KeptFree"}


def test_a_reservation_survives_a_restart_and_ends_with_its_job() -> None:
    it = Rehearsal(Policy(backfill=Backfill("easy", Duration(0))))
    it.tell(after=BEGIN)
    it.nodes(a_node("n1", 8), a_node("n2", 1))
    it.tell(submitted(a_job("r", a_request(4), estimate=Duration(2 * HOUR))))
    it.decide()
    it.start()
    it.tell(submitted(a_job("big", a_request(8))), submitted(a_job("small", a_request(1))))
    it.decide()
    assert isinstance(it.why("big"), AwaitingReservation)
    it.prove()
    it.restart()
    it.prove()
    assert list(it.state.reserved) == ["big"]
    it.cancel("big")
    it.prove()
    assert not it.state.reserved
