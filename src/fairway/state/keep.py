"""Jobs that somebody holds and releases."""

from fairway.model.facts import JobHeld, JobReleased
from fairway.model.phases import JobPhase
from fairway.model.reasons import Kept
from fairway.state import lifecycle
from fairway.state.cluster import ClusterState, Decision
from fairway.state.dependents import forget_all
from fairway.state.line import advance


def hold(state: ClusterState, fact: JobHeld) -> None:
    """Keep a job out of the line; one that runs goes on, and is kept out when it would come back."""
    row = state.jobs.row_of.get(fact.job)
    if row is None or state.jobs.job(row).service is not None or state.jobs.kept_by[row] is not None:
        return
    state.jobs.kept_by[row] = fact.by
    state.news.decisions.append(Decision(fact.job, state.now, Kept(fact.by)))
    if not state.jobs.phase_of(row).live:
        lifecycle.drop_hold(state, row)
        advance(state, row)


def release(state: ClusterState, fact: JobReleased) -> None:
    """Let a job go on that is held, or whose dependencies did not succeed."""
    row = state.jobs.row_of.get(fact.job)
    if row is None:
        return
    state.jobs.kept_by[row] = None
    forget_all(state, row, hopeless=True)
    if state.jobs.phase_of(row) is JobPhase.WAITING:
        state.jobs.queued_at[row] = state.now
        advance(state, row)
