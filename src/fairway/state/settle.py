"""What becomes of jobs that come after others, when those have ended.

Ends are collected while facts are believed and looked at once, at the end of the batch: a chain that fails does so link
by link, not by recursion.
"""

from fairway.model.facts import Outcome
from fairway.model.ids import JobId
from fairway.model.phases import Cause, JobPhase
from fairway.state import lifecycle
from fairway.state.cluster import ClusterState, Standing
from fairway.state.dependents import forget, standing
from fairway.state.line import advance, waiting_for


def settle(state: ClusterState) -> None:
    """Tell everybody who waits for what has ended since this was last done, first in line first."""
    while state.settled:
        target, end = state.settled.popitem()
        if end.how == "unknown":
            end = standing(state, target)  # it may have come later in the same batch
        jobs = state.jobs
        waiting = [jobs.row_of[job] for job in state.dependents.get(target, ())]
        for row in sorted(waiting, key=lambda row: int(jobs.ordinal[row])):
            _tell(state, row, target, end)


def _tell(state: ClusterState, row: int, target: JobId, end: Standing) -> None:
    """One dependent learns how ``target`` has ended."""
    jobs, missing = state.jobs, state.jobs.missing[row]
    if end.how == "alive" or missing is None:
        return
    dependency = next(each for each in jobs.job(row).after if each.job == target)
    if end.how == "succeeded" or (end.how == "failed" and dependency.when == "ended"):
        forget(state, row, target)
        if not jobs.missing[row]:
            jobs.queued_at[row] = state.now
        advance(state, row)
    elif dependency.otherwise == "fail":
        outcome = Outcome(Cause.DEPENDENCY, message=f"it was to come after {target}, {end.why}")
        lifecycle.finish(state, row, JobPhase.FAILED, outcome)
    else:
        missing[target] = True
        if jobs.kept_by[row] is None:
            jobs.reason[row] = waiting_for(missing)
            state.news.jobs[jobs.id_of(row)] = None
