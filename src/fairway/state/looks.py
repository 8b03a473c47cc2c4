"""When to look again, though nothing happens: for those who wait for victims (protection ends, a budget fills), for
large requests that could fit if running work moved, and for running jobs that would be faster with more workers.

Asked once after each ruling that leaves such jobs waiting; then one timer of a kind stands for all of them.
"""

import numpy as np

from fairway.model.facts import Measured
from fairway.model.job import PriorityClass
from fairway.model.phases import JobPhase
from fairway.model.plan import Look, Review, Tidy
from fairway.model.time import NEVER, Instant, later
from fairway.state.cluster import ClusterState
from fairway.state.jobs import PHASE_CODE
from fairway.state.measured import measured

_STARTING, _RUNNING = PHASE_CODE[JobPhase.STARTING], PHASE_CODE[JobPhase.RUNNING]


def watch(state: ClusterState) -> None:
    """Set the timer, or forget it when nobody waits."""
    at = _next(state) if _waits(state) else None
    if at is not None and at != state.exposed_at:
        state.set_timer(at, "exposed")
    state.exposed_at = at or Instant(0)


def expose(state: ClusterState) -> None:
    """It is time: try everybody again who may take room from others."""
    state.exposed_at = Instant(0)
    state.groups.wake(_blocked(state))


def _blocked(state: ClusterState) -> np.ndarray:
    groups, height = state.groups, state.groups.height
    return groups.preempts[:height] & groups.blocked[:height] & (groups.pending[:height] > 0)


def _waits(state: ClusterState) -> bool:
    """Whether a job waits that protection and budgets bind: one that may preempt, and is not critical."""
    if not state.groups.refused:
        return False
    keys = state.groups.keys
    return any(keys[row][2] != PriorityClass.CRITICAL for row in np.flatnonzero(_blocked(state)).tolist())


def _next(state: ClusterState) -> Instant | None:
    jobs, height, rules = state.jobs, state.jobs.height, state.policy.preemption
    found: list[int] = []
    live = _live(state) & (jobs.cls[:height] > PriorityClass.HIGH)
    placed = jobs.placed_at[:height][live]
    placed = placed[placed > state.now - 2 * rules.protect]
    later = [at for at in map(rules.exposed_from, np.unique(placed).tolist()) if at > state.now]
    found += [min(later)] if later else []
    frees = state.preempted.frees_at(state.now)
    found += [] if frees is None else [frees]
    return Instant(min(found)) if found else None


def foresee(state: ClusterState) -> None:
    """Set the timer for looking whether work should move, where somebody may need it and no timer is set."""
    rules = state.policy.defrag
    if state.tidy_at or state.tidy_due or not rules.moves_per_hour:
        return
    if state.groups.refused and _movable(state) and len(large(state)):
        state.tidy_at = later(state.now, rules.every)
    elif rules.consolidate is not None:
        state.tidy_at = later(state.now, rules.consolidate)
    if state.tidy_at:
        state.set_timer(state.tidy_at, "tidy")


def tidy(state: ClusterState, action: Tidy) -> None:
    """It has been looked whether work should move: look again when that was said."""
    state.tidy_due, state.tidy_at = False, action.at
    if action.at:
        state.set_timer(action.at, "tidy")


def look(state: ClusterState, action: Look) -> None:
    """Running jobs that could go on otherwise have been looked at: look again when that was said."""
    state.look_due, state.look_at = False, action.at
    if action.at:
        state.set_timer(action.at, "look")


def hear(state: ClusterState, fact: Measured) -> None:
    """A running job tells what it has measured: look at it in due time, where nobody would otherwise."""
    measured(state, fact)
    if fact.attempt.job in state.flexible and not state.look_at and not state.look_due and state.policy.elastic.grow:
        look(state, Look(later(state.now, state.policy.elastic.every)))


def review(state: ClusterState, action: Review) -> None:
    """Those who run in a queue were compared with those who wait: compare them again when that was said."""
    row = state.queues.row_of[action.queue]
    state.queues.review_at[row] = action.at
    if 0 < action.at < NEVER:
        state.set_timer(action.at, "review", action.queue)


def _movable(state: ClusterState) -> bool:
    keeps = state.jobs.checkpoints[: state.jobs.height]
    return bool(np.count_nonzero(keeps) and np.count_nonzero(keeps & _live(state)))


def _live(state: ClusterState) -> np.ndarray:
    phase = state.jobs.phase[: state.jobs.height]
    return (phase == _STARTING) | (phase == _RUNNING)


def large(state: ClusterState) -> np.ndarray:
    """Groups that wait for several whole GPUs on a node, and not for a limit."""
    groups, height = state.groups, state.groups.height
    waits = groups.blocked[:height] & (groups.pending[:height] > 0) & ~groups.limited[:height]
    return np.flatnonzero(waits & (groups.shapes.whole[groups.shape[:height]] > 1))
