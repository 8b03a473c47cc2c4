"""Moves: proven before they are made, few, and only of work that can go on elsewhere."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import defrag
from fairway.model.facts import JobHeld, NodeGone, Progressed
from fairway.model.ids import JobId
from fairway.model.job import PriorityClass, Role
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Hold, Stop
from fairway.model.policy import Defrag, Policy
from fairway.model.reasons import Migrated
from fairway.model.time import HOUR, MINUTE, Duration
from fairway.state.groups import shape_of
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, effects, submitted

BUDGET = 3
RULES = Defrag(after=Duration(0), least_run=MINUTE, moves_per_hour=BUDGET)


def scattered(rng: Random, rules: Defrag = RULES) -> Rehearsal:
    """Four nodes of 4 devices with small jobs on them, some of which keep checkpoints; many have ended again."""
    it = Rehearsal(Policy(defrag=rules))
    it.nodes(*(a_node(f"n{i}", 4) for i in range(4)))
    sizes = [rng.choice((1, 1, 2)) for _ in range(12)]
    classes = (PriorityClass.LOW, PriorityClass.MEDIUM, PriorityClass.HIGH)
    it.tell(
        *(
            submitted(a_job(f"j{i}", a_request(gpus), cls=rng.choice(classes), checkpoints=rng.random() < 0.7))
            for i, gpus in enumerate(sizes)
        )
    )
    it.decide()
    it.start()
    for name in [name for name in it.state.jobs.row_of if it.phase(name).live]:
        if rng.random() < 0.5:
            it.end(name)
    return it


def checkpoint(it: Rehearsal) -> None:
    live = [name for name in it.state.jobs.row_of if it.phase(name) is JobPhase.RUNNING]
    it.tell(*(Progressed(it.attempt(name), checkpoint=it.state.now) for name in live))


@given(st.integers(0, 1 << 16), st.sampled_from(((1, 3), (1, 4), (2, 3), (2, 4))))
def test_what_moves_goes_on_elsewhere_and_the_request_starts(seed: int, wanted: tuple[int, int]) -> None:
    """After the moves everybody starts at once where room was held: nothing was moved on hope."""
    it = scattered(Random(seed))
    tasks, gpus = wanted
    it.tell(submitted(a_job("large", Role("w", tasks, a_request(gpus)))), after=10 * MINUTE)
    it.decide()
    free = int(it.state.nodes.idle[:4].sum())
    moved: dict[str, Migrated] = {}
    for _ in range(3):
        it.tell(after=MINUTE)
        checkpoint(it)
        actions = effects(it.decide())
        it.prove()
        stops = [action for action in actions if isinstance(action, Stop)]
        moved |= {stop.attempt.job: stop.reason for stop in stops if isinstance(stop.reason, Migrated)}
        if stops:
            break
    assert len(moved) <= BUDGET
    for name in moved:
        row = it.state.jobs.row_of[JobId(name)]
        assert it.state.jobs.job(row).checkpoints
        assert it.state.jobs.cls[row] >= PriorityClass.MEDIUM
        assert isinstance(it.state.jobs.hold[row], Hold)
    if moved:
        assert free >= tasks * gpus
        for name in moved:
            it.end(name, Cause.FAILED, exit_code=75)
            it.prove()
        it.decide()
        it.prove()
        assert it.phase("large") is JobPhase.STARTING
        assert {it.phase(name) for name in moved} == {JobPhase.STARTING}
        assert {int(it.state.jobs.preemptions[it.state.jobs.row_of[JobId(name)]]) for name in moved} == {0}


@given(st.integers(0, 1 << 16))
def test_looking_leaves_the_trial_as_it_was(seed: int) -> None:
    it = scattered(Random(seed))
    it.tell(after=10 * MINUTE)
    snap = snapshot(it.state)
    trial, untouched = Trial(snap), Trial(snap)
    policy, shape = it.state.policy, shape_of(a_job("large", a_request(4)))
    defrag.for_large(snap, trial, policy, shape, PriorityClass.LOW, set(), 9)
    defrag.to_empty(snap, trial, policy, set(), 9)
    for name in ("free", "device_free", "idle", "share_max", "gpu_free", "used"):
        assert (getattr(trial, name) == getattr(untouched, name)).all(), name


@given(st.integers(0, 1 << 16))
def test_nodes_are_emptied_and_moves_stay_within_the_hour(seed: int) -> None:
    rng = Random(seed)
    it = scattered(rng, Defrag(least_run=MINUTE, moves_per_hour=BUDGET, consolidate=Duration(10 * MINUTE)))
    it.tell(submitted(a_job("tick", a_request(cpu=1))))  # the first ruling sets the timer
    moves: list[int] = []
    for _ in range(10):
        it.tell(after=5 * MINUTE)
        checkpoint(it)
        idle = int((it.state.nodes.idle[:4] == 4).sum())
        stops = [action for action in effects(it.decide()) if isinstance(action, Stop)]
        it.prove()
        moves += [it.state.now for _ in stops]
        for stop in stops:
            it.end(stop.attempt.job, Cause.FAILED, exit_code=75)
        it.decide()
        it.start()
        it.prove()
        assert not stops or int((it.state.nodes.idle[:4] == 4).sum()) > idle
        assert sum(at > it.state.now - HOUR for at in moves) <= BUDGET


def in_the_way() -> Rehearsal:
    """Two small jobs, each on half of a node, and one that needs a whole node and has waited for long enough."""
    it = Rehearsal(Policy(defrag=RULES))
    it.nodes(a_node("n0", 4), a_node("n1", 4))
    it.tell(*(submitted(a_job(f"j{i}", a_request(2), cls=PriorityClass.LOW, checkpoints=True)) for i in range(4)))
    it.decide()
    it.start()
    it.end("j1")
    it.end("j2")
    it.tell(submitted(a_job("large", a_request(4))), after=10 * MINUTE)
    it.decide()
    it.tell(after=MINUTE)
    checkpoint(it)
    return it


def test_a_person_may_hold_what_moves() -> None:
    it = in_the_way()
    [moving] = [action.attempt.job for action in effects(it.decide()) if isinstance(action, Stop)]
    it.restart()
    it.tell(JobHeld(moving, "ada"))
    it.prove()
    it.end(moving, Cause.FAILED, exit_code=75)
    it.prove()
    it.decide()
    assert it.phase(moving) is JobPhase.WAITING
    assert it.phase("large") is JobPhase.STARTING


def test_a_node_lost_on_the_way_ends_the_move() -> None:
    it = in_the_way()
    actions = effects(it.decide())
    [moving] = [action.attempt.job for action in actions if isinstance(action, Stop)]
    target = next(action.placement[0].node for action in actions if isinstance(action, Hold) and action.job == moving)
    it.tell(NodeGone(target))
    it.prove()
    it.end(moving, Cause.FAILED, exit_code=75)
    it.prove()
    it.decide()
    it.prove()
    assert it.phase(moving) in (JobPhase.QUEUED, JobPhase.STARTING)
