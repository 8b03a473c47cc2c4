"""Running work moves to other types only where the fleet gains more than that costs."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.decide import retype
from fairway.decide.pipeline import decide
from fairway.model.ids import JobId
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Hold, Stop
from fairway.model.policy import Defrag, Placing, Policy
from fairway.model.reasons import Migrated
from fairway.model.time import HOUR, MINUTE
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, effects, minutes, submitted

KINDS = ("K80", "P100", "V100")
POLICIES = st.sampled_from(["max_min", "makespan"])
SPEEDS = st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0])


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, tuple[float, ...], int, bool]]]:
    """(GPUs of each type, jobs as (GPUs, speed by type, hours, whether it keeps checkpoints))."""
    nodes = draw(st.lists(st.sampled_from([2, 4]), min_size=3, max_size=3))
    job = st.tuples(
        st.integers(1, 2), st.tuples(SPEEDS, SPEEDS, SPEEDS), st.integers(1, 60), st.sampled_from([1, 1, 1, 0])
    )
    return nodes, [(gpus, speed, hours, bool(keeps)) for gpus, speed, hours, keeps in draw(st.lists(job, max_size=7))]


def running(policy: Policy, nodes: list[int], jobs: list[tuple[int, tuple[float, ...], int, bool]]) -> Rehearsal:
    """All of them submitted, those that fit started, an hour ago."""
    it = Rehearsal(policy)
    it.nodes(*(a_node(kind, gpus, kind) for kind, gpus in zip(KINDS, nodes, strict=True)))
    for index, (gpus, speed, hours, keeps) in enumerate(jobs):
        request = a_request(gpus, types=list(zip(KINDS, speed, strict=True)))
        it.tell(submitted(a_job(f"j{index}", request, checkpoints=keeps, estimate=minutes(60 * hours))))
        it.settle()
        it.start()
    it.tell(after=HOUR)
    return it


def worth(policy: Policy, running: retype.Running, pair: tuple[tuple[int, int], ...]) -> tuple[float, float]:
    """(gain, cost) of a change by its definition, one job after the other."""
    parts: list[tuple[float, float, float]] = []
    for one, kind in pair:
        speed, work, lost = running.speed[one], float(running.work[one]), float(running.lost[one])
        here, there, best = float(speed[running.kind[one]]), float(speed[kind]), float(speed.max())
        if policy.placement.types == "makespan":
            parts.append((work / here, work / there, lost))
        else:
            unit = float(running.weight[one]) * int(running.gpus[one]) / best
            parts.append((unit * (there - here) * min(work / best, 24 * HOUR), 0.0, unit * there * lost))
    if policy.placement.types == "makespan":
        return max(p[0] for p in parts) - max(p[1] for p in parts), max(p[2] for p in parts)
    return sum(p[0] for p in parts), sum(p[2] for p in parts)


def moves_of(it: Rehearsal) -> list[Stop]:
    """Whom a decision moves to another type."""
    return [
        action
        for action in effects(it.decide())
        if isinstance(action, Stop) and isinstance(action.reason, Migrated) and action.reason.kind
    ]


@settings(max_examples=40)
@given(fleets(), POLICIES)
def test_whoever_moves_gains_the_fleet_more_than_it_costs_and_nobody_loses_a_device(
    fleet: tuple[list[int], list[tuple[int, tuple[float, ...], int, bool]]], types: str
) -> None:
    policy = Policy(placement=Placing(types=types))  # type: ignore[arg-type]
    it = running(policy, *fleet)
    it.state.look_due = True
    snap = snapshot(it.state)
    rows = retype.movable(snap, policy, set())
    columns = retype._running(snap, policy, rows)
    found = list(retype.changes(snap, Trial(snap), policy, set(), idle=True))
    at = {int(row): index for index, row in enumerate(columns.rows)}
    names = [name for name, _ in snap.nodes.kinds]
    for change in found:
        pair = tuple((at[row], names.index(kind)) for row, kind in zip(change.rows, change.kinds, strict=True))
        gains, cost = worth(policy, columns, pair)
        assert gains > policy.placement.margin * cost > 0
        assert change.gains == pytest.approx(gains - cost, abs=1)
        for row, placement in zip(change.rows, change.placements, strict=True):
            assert it.state.jobs.checkpoints[row]
            assert len(placement) == len(it.state.jobs.placement[row])
            assert sum(len(task.devices) for task in placement) == columns.gpus[at[row]]
    movers = [row for change in found for row in change.rows]
    assert len(movers) == len(set(movers))
    before = {name: it.phase(name) for name in (f"j{index}" for index in range(len(fleet[1])))}
    it.carry_out()
    for name, phase in before.items():
        assert phase is not JobPhase.RUNNING or it.phase(name) is JobPhase.RUNNING, "who ran goes on running"


@settings(max_examples=20)
@given(fleets(), POLICIES)
def test_a_quiet_fleet_settles(
    fleet: tuple[list[int], list[tuple[int, tuple[float, ...], int, bool]]], types: str
) -> None:
    """Every change gains, and who takes turns under max-min does so ever more seldom, however often it is looked."""
    it = running(Policy(placement=Placing(types=types)), *fleet)  # type: ignore[arg-type]
    moved: list[int] = []
    for hour in range(8):
        for _ in range(3):
            moved += [hour] * sum(
                isinstance(action, Stop) and isinstance(action.reason, Migrated) for action in it.carry_out()
            )
            it.tell(after=20 * MINUTE)
    assert len(moved) <= (4 * len(fleet[1]) if types == "max_min" else len(fleet[1]))
    assert sum(hour >= 6 for hour in moved) <= (2 if types == "max_min" else 0)


@settings(max_examples=30)
@given(st.lists(st.tuples(SPEEDS, SPEEDS), min_size=2, max_size=2), POLICIES)
def test_of_two_jobs_the_better_assignment_is_found(speed: list[tuple[float, float]], types: str) -> None:
    """A twin that tries both, without what a restart costs."""
    policy = Policy(placement=Placing(types=types, margin=1.0))  # type: ignore[arg-type]
    it = Rehearsal(policy)
    it.nodes(a_node("a", 2, "A"), a_node("b", 2, "B"))
    for index, (name, home) in enumerate((("first", "A"), ("second", "B"))):
        request = a_request(2, types=[("A", speed[index][0]), ("B", speed[index][1])])
        it.nodes(a_node("a", 2 if home == "A" else 0, "A"), a_node("b", 2, "B")) if index == 0 else None
        it.tell(submitted(a_job(name, request, checkpoints=True, estimate=minutes(6000))))
        it.settle()
        it.start()
    it.tell(after=HOUR)
    snap = snapshot(it.state)
    columns = retype._running(snap, policy, retype.movable(snap, policy, set()))
    if len(columns.rows) < 2:
        return
    stays = tuple(enumerate(columns.kind.tolist()))
    best = max(
        (worth(policy, columns, tuple(enumerate(kinds))) for kinds in permutations(columns.kind.tolist())),
        key=lambda worth: worth[0] - worth[1],
    )
    found = list(retype.changes(snap, Trial(snap), policy, set(), idle=False))
    if found:
        assert [change.rows for change in found] in ([(0, 1)], [(1, 0)])
        assert found[0].gains == pytest.approx(best[0] - best[1], abs=1)
    else:
        assert best[0] <= max(best[1], worth(policy, columns, stays)[0] + 1e-6) or types == "makespan"


def test_no_more_move_than_an_hour_allows() -> None:
    policy = Policy(placement=Placing(types="max_min"), defrag=Defrag(moves_per_hour=2))
    it = Rehearsal(policy)
    it.nodes(a_node("slow", 4, "K80"))
    for index in range(4):
        request = a_request(1, types=[("K80", 0.1), "V100"])
        it.tell(submitted(a_job(f"j{index}", request, checkpoints=True, estimate=minutes(6000))))
    it.settle()
    it.start()
    it.tell(after=HOUR)
    it.nodes(a_node("fast", 4, "V100"))
    it.carry_out()
    it.tell(after=10 * MINUTE)
    it.carry_out()
    assert sum(it.where(f"j{index}") == ("fast",) for index in range(4)) == 2
    it.tell(after=2 * HOUR)
    it.carry_out()
    assert all(it.where(f"j{index}") == ("fast",) for index in range(4))


def test_without_a_table_of_speeds_nothing_is_looked_at() -> None:
    it = Rehearsal(Policy(placement=Placing(types="max_min")))
    it.nodes(a_node("a", 4, "K80"), a_node("b", 4, "V100"))
    it.tell(submitted(a_job("any", a_request(2), checkpoints=True)))
    it.tell(submitted(a_job("one", a_request(2, types=["V100"]), checkpoints=True)))
    it.settle()
    it.start()
    it.tell(after=HOUR)
    assert not it.state.flexible
    assert it.state.next_timer() is None
    assert not decide(snapshot(it.state), it.state.policy)


def test_a_policy_that_is_changed_counts_for_what_runs_already() -> None:
    it = running(Policy(), [2, 2, 2], [(2, (0.5, 0.5, 1.0), 40, True), (2, (0.1, 0.2, 1.0), 40, True)])
    assert not it.state.flexible
    it.policy = Policy(placement=Placing(types="max_min"))
    it.__post_init__()
    assert len(it.state.flexible) == 2
    it.prove()
    assert moves_of(it)


def test_one_that_ends_instead_of_yielding_leaves_the_other_its_room() -> None:
    it = running(
        Policy(placement=Placing(types="max_min")),
        [0, 2, 2],
        [(2, (0.1, 0.9, 1.0), 40, True), (2, (0.1, 0.1, 1.0), 40, True)],
    )
    stops = moves_of(it)
    assert {stop.attempt.job for stop in stops} == {"j0", "j1"}
    assert all(stop.cause is Cause.MOVED for stop in stops)
    it.end("j0", Cause.SUCCEEDED)
    it.end("j1", Cause.FAILED, exit_code=75)
    it.carry_out()
    assert it.where("j1") == ("V100",)
    it.prove()


def test_while_somebody_waits_jobs_only_change_places() -> None:
    it = Rehearsal(Policy(placement=Placing(types="max_min")))
    it.nodes(a_node("a", 2, "K80"))
    request = a_request(2, types=[("K80", 0.1), "V100"])
    it.tell(submitted(a_job("slow", request, checkpoints=True, estimate=minutes(6000))))
    it.settle()
    it.start()
    it.tell(submitted(a_job("large", a_request(4, types=["V100"]))), after=HOUR)
    it.nodes(a_node("b", 3, "V100"))
    plan = it.decide()
    assert not [action for action in plan.each() if isinstance(action, Hold | Stop)]
    it.cancel("large")
    it.tell(after=10 * MINUTE)
    assert moves_of(it)
    assert it.state.jobs.row_of[JobId("slow")] == 0
    assert np.count_nonzero(it.state.jobs.checkpoints) == 1
