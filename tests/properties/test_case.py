"""Ten thousand small clusters under ``make thorough``, some of them at every run; and broken decisions, to be found.

A checker that finds nothing may be one that looks for nothing: each promise is broken on purpose, one after the other.
"""

from collections import Counter
from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.decide.pipeline import decide
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Plan, Start, Stop
from fairway.model.policy import Policy
from fairway.model.reasons import NeverFits, RanTooLong
from fairway.state.columns import Floats
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial
from tests.properties.case import Broken, Case
from tests.properties.make import Kind
from tests.properties.promises import TIERS

EXAMPLES = settings().max_examples
"""Of the profile; a case costs as much as a hundred examples of other properties."""
MET = (
    *(f"stopped: {name}" for name in ("PreemptedBy", "ReclaimedBy", "RanTooLong")),
    *(f"waits: {tier}" for tier in TIERS if tier != "invalid"),
    *("lose", "returns", "hold", "saves"),
)
DECIDE = "fairway.testing.builders.decide"


@settings(max_examples=EXAMPLES if EXAMPLES > 1_000 else EXAMPLES // 2)
@given(st.integers(0, (1 << 32) - 1))
def test_every_promise_holds_to_the_end(seed: int) -> None:
    assert Case(seed).run()["comes"] > 0


def test_cases_are_about_something() -> None:
    """They meet what the promises speak of."""
    met: Counter[str] = Counter()
    for seed in (51, 83, 22, 25, *range(60)):
        met += Case(seed, "any").run()
        if all(met[name] for name in MET):
            return
    pytest.fail(f"of {MET} only {dict(met)}")


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


def never_fits(snap: Snapshot, trial: Trial, shape: Shape) -> NeverFits:
    """Nobody ever fits, they are told."""
    return NeverFits(str(shape), "nothing", "nodes")


def nobody(*_: object) -> None:
    """What is looked for is not found."""


def no_heads(*_: object) -> list[int]:
    """Nobody has room kept."""
    return []


def no_wake_up(*_: object) -> None:
    """Nobody hears that there is room again."""


def no_share(snap: Snapshot, policy: Policy) -> Floats:
    """A queue's weight does not count: the later a queue was made, the less it gets."""
    return 0.001 ** np.arange(snap.queues.height)


DECISIONS = (says_nothing, stops_all_the_time, starts_twice_as_much)
BREAKS: dict[str, tuple[str, Kind, str, Callable[..., object]]] = {
    **{wrong.__name__: (number, "stream", DECIDE, wrong) for number, wrong in zip("631", DECISIONS, strict=True)},
    "gangs are cut": ("5", "any", DECIDE, starts_parts_of_gangs),
    "nothing is taken back": ("4", "any", "fairway.decide.reclaim.Reclaim.find", nobody),
    "everybody is told a lie": ("6", "any", "fairway.decide.explain.no_room", never_fits),
    "no room is kept": ("2", "stream", "fairway.decide.reserve.heads", no_heads),
    "nobody wakes up": ("2", "stream", "fairway.state.groups.GroupTable.wake_for_room", no_wake_up),
    "a queue is left out": ("2", "tenants", "fairway.decide.share.weights", no_share),
}
"""What is broken: the number of the promise, in what kind of case it shows, and what is done instead of what."""
FIRST = {"nothing is taken back": 22, "a queue is left out": 70}
"""The seeds that are tried first, where it takes many to show."""


@pytest.mark.parametrize("name", BREAKS)
def test_a_decision_that_breaks_a_promise_is_found(name: str) -> None:
    number, kind, where, wrong = BREAKS[name]
    with mock.patch(where, wrong), pytest.raises(Broken) as caught:
        some_cases(kind, FIRST.get(name, 0))
    assert f"{number}: " in str(caught.value)


def some_cases(kind: Kind, first: int) -> None:
    for seed in (*range(first, first + 200), *range(first)):
        Case(seed, kind).run()
