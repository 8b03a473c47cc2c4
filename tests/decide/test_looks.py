"""When running jobs are looked at though nothing happens, and that measurements make nobody flap."""

import random
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.decide.goodput import Pace, compute_time, step_time
from fairway.decide.pipeline import decide
from fairway.model.elastic import Batch, BatchLimits, Elasticity
from fairway.model.facts import Measured, Ruled
from fairway.model.ids import JobId
from fairway.model.plan import Look, Stop
from fairway.model.policy import Elastic, Policy
from fairway.model.reasons import Grown, Shrunk
from fairway.model.time import HOUR, MINUTE, Duration
from fairway.state.snapshot import snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, minutes, submitted
from tests.decide.test_resize import elastic

SETTLE, EVERY = Elastic().settle // MINUTE, Elastic().every // MINUTE
JOBS = ("a", "b")


def looks_of(it: Rehearsal, hours: int) -> int:
    """Let time pass from one timer to the next; returns how often running jobs were looked at."""
    end, looks = it.state.now + hours * HOUR, 0
    while (at := it.state.next_timer()) is not None and at < end:
        it.tell(after=max(at - it.state.now, 0))
        plan = decide(snapshot(it.state), it.state.policy)
        looks += sum(isinstance(action, Look) for action in plan.each())
        if plan:
            it.tell(Ruled(plan))
    it.tell(after=end - it.state.now)
    it.prove()
    return looks


@settings(max_examples=30)
@given(st.integers(1, 8), st.integers(0, 4), st.integers(1, 30))
def test_a_quiet_cluster_is_looked_at_seldom_and_only_while_somebody_could_grow(
    room: int, more: int, every: int
) -> None:
    it = Rehearsal(Policy(elastic=Elastic(every=Duration(every * MINUTE))))
    it.nodes(a_node("n1", room))
    it.tell(submitted(elastic("a", 1, room + more, estimate=minutes(6000))))
    it.carry_out()
    looks = looks_of(it, 10)
    assert looks <= (10 * 60 // every + 2 if more else 1)
    assert looks >= (10 * 60 // max(every, SETTLE) - 1 if more else 0)


def test_without_a_job_that_could_change_nothing_is_ever_due() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("a", a_request(2), checkpoints=True)), submitted(elastic("b", 2, 2)))
    it.carry_out()
    it.end("a")
    assert not it.state.look_due
    assert it.state.next_timer() is None
    assert not decide(snapshot(it.state), it.state.policy)


def test_who_may_not_grow_is_not_looked_at() -> None:
    it = Rehearsal(Policy(elastic=Elastic(grow=False)))
    it.nodes(a_node("n1", 2))
    it.tell(submitted(elastic("a", 1, 8, estimate=minutes(6000))))
    it.carry_out()
    it.nodes(a_node("n1", 8))
    assert not it.carry_out()
    assert it.state.next_timer() is None


def test_what_a_full_job_measures_is_looked_at_in_due_time() -> None:
    """It has all the workers it may have; that some of them are of no use is news."""
    it = Rehearsal()
    it.nodes(a_node("n1", 4))
    it.tell(submitted(elastic("a", 1, 4, estimate=minutes(6000))))
    it.carry_out()
    assert it.state.next_timer() is None
    it.tell(Measured(it.attempt("a"), batch=64, throughput=100.0), after=MINUTE)
    assert it.state.next_timer() == it.state.now + EVERY * MINUTE
    it.tell(Measured(it.attempt("a"), batch=64, throughput=110.0), after=MINUTE)
    assert it.state.next_timer() == it.state.now + (EVERY - 1) * MINUTE, "one timer stands for all of it"


class Program:
    """A training program that measures its steps, more or less well."""

    def __init__(self, rng: random.Random, noise: float) -> None:
        low_high = ((0.005, 0.1), (1e-4, 5e-3), (0.01, 0.5), (0.0, 0.02), (0.005, 0.2), (0.0, 0.01), (1.1, 4.0))
        self.pace = Pace(*(rng.uniform(*bounds) for bounds in low_high))
        self.scale = 10 ** rng.uniform(1, 5)
        self.rng, self.noise = rng, noise

    def report(self, it: Rehearsal, name: str) -> None:
        """One report of where it runs now."""
        placement = it.state.jobs.placement[it.state.jobs.row_of[JobId(name)]]
        workers, nodes = len(placement), len({task.node for task in placement})
        batch = it.state.measured.batch_of(JobId(name)) or Batch(64 // workers * workers, 64 // workers)
        local = np.array([batch.local])
        seconds = float(step_time(self.pace, np.array([nodes]), np.array([workers]), local)[0])
        seconds += (batch.accumulate - 1) * float(compute_time(self.pace, local)[0])
        seconds, scale = (number * np.exp(self.rng.gauss(0, self.noise)) for number in (seconds, self.scale))
        told = Measured(it.attempt(name), batch.total, workers, batch.accumulate, batch.total / seconds, None, scale)
        it.tell(told)
        assert it.state.measured.refused[it.state.measured.row_of[JobId(name)]] == ""


def play(seed: int, noise: float, hours: int) -> list[tuple[int, str, int, int]]:
    """(minute, job, before, after) of every resize of two jobs on eight GPUs, most of which are free after an hour."""
    rng, it = random.Random(seed), Rehearsal()
    it.nodes(a_node("n1", 4), a_node("n2", 4))
    it.tell(submitted(a_job("first", a_request(3))), submitted(a_job("second", a_request(3))))
    it.carry_out()
    limits = Elasticity(batch=BatchLimits(64, 2048, 4, 256))
    it.tell(*(submitted(elastic(name, 1, 8, estimate=minutes(6000), elastic=limits)) for name in JOBS))
    it.carry_out()
    programs = {name: Program(rng, noise) for name in JOBS}
    found: list[tuple[int, str, int, int]] = []
    for minute in range(0, hours * 60, 2):
        if minute in (30, 60):
            it.end("first" if minute == 30 else "second")
        for name, program in programs.items():
            program.report(it, name)
        for action in it.carry_out():
            if isinstance(action, Stop):
                assert isinstance(action.reason, Grown | Shrunk)
                found.append((minute, action.attempt.job, action.reason.before, action.reason.after))
        it.tell(after=2 * MINUTE)
    return found


@settings(max_examples=15)
@given(st.integers(0, 1 << 30), st.floats(0, 0.15))
def test_measurements_that_vary_make_nobody_flap(seed: int, noise: float) -> None:
    """Whatever a restart costs is paid for: changes are rare, never soon after another, and come to an end."""
    resizes = play(seed, noise, hours=8)
    assert len(resizes) <= 14
    assert sum(minute >= 180 for minute, *_ in resizes) <= 4, "what is to be learned is learned in the first hours"
    for name in JOBS:
        at = [minute for minute, job, *_ in resizes if job == name]
        assert all(later - earlier >= SETTLE for earlier, later in pairwise(at))


def test_what_is_measured_exactly_is_settled_after_a_few_changes() -> None:
    for seed in range(5):
        resizes = play(seed, 0.0, hours=6)
        assert resizes, "they grow when there is room"
        assert max(minute for minute, *_ in resizes) <= 150
