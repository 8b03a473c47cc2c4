"""Ten thousand small clusters under ``make thorough``, some of them at every run; and broken decisions, to be found."""

from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide.pipeline import decide
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Plan, Start, Stop
from fairway.model.policy import Policy
from fairway.model.reasons import RanTooLong
from fairway.state.snapshot import Snapshot
from tests.properties.case import Broken, Case

DECIDE = "fairway.testing.builders.decide"


@given(st.integers(0, (1 << 32) - 1))
def test_every_promise_holds_to_the_end(seed: int) -> None:
    assert Case(seed).run()["started"] >= 0


def says_nothing(snap: Snapshot, policy: Policy) -> Plan:
    """Nobody is told anything."""
    return Plan()


def stops_all_the_time(snap: Snapshot, policy: Policy) -> Plan:
    """Whoever runs is stopped and started again, for ever."""
    jobs = snap.jobs
    running = [row for row in jobs.rows() if jobs.phase_of(row) is JobPhase.RUNNING]
    stops = [Stop(jobs.attempt_id(row), Cause.PREEMPTED, RanTooLong(1)) for row in running]
    return Plan((*decide(snap, policy).each(), *stops), tried=True)


def starts_twice_as_much(snap: Snapshot, policy: Policy) -> Plan:
    """Room is given out as if there were no other job."""
    plan = decide(snap, policy)
    starts = [action for action in plan.each() if isinstance(action, Start) and action.placement[0].devices]
    if len(starts) < 2 or len(starts[0].placement) != len(starts[1].placement):
        return plan
    doubled = Start(starts[1].attempt, starts[0].placement, starts[1].reason)
    return Plan(tuple(doubled if action is starts[1] else action for action in plan.each()), plan.tried)


def starts_parts_of_gangs(snap: Snapshot, policy: Policy) -> Plan:
    """The last task of everything is left out."""
    plan = decide(snap, policy)
    cut = [
        Start(action.attempt, action.placement[:-1], action.reason)
        if isinstance(action, Start) and len(action.placement) > 1
        else action
        for action in plan.each()
    ]
    return Plan(tuple(cut), plan.tried)


@pytest.mark.parametrize("wrong", [says_nothing, stops_all_the_time, starts_twice_as_much, starts_parts_of_gangs])
def test_a_decision_that_breaks_a_promise_is_found(wrong: Callable[[Snapshot, Policy], Plan]) -> None:
    with mock.patch(DECIDE, wrong), pytest.raises(Broken):
        some_cases()


def some_cases() -> None:
    for seed in range(60):
        Case(seed).run()
