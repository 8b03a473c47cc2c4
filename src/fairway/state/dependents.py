"""Jobs that come after other jobs: who waits for whom.

``ClusterState.dependents`` names for each job, and each array, the jobs that wait for its end, so that an end costs
what depends on it and nothing else. ``settle`` tells them.
"""

from fairway.model.ids import JobId
from fairway.model.phases import Cause, JobPhase
from fairway.state.cluster import ClusterState, EndedJob, Standing

SUCCEEDED = Standing("succeeded")
_PAST = {JobPhase.FAILED: "which failed", JobPhase.CANCELLED: "which was cancelled"}


def standing(state: ClusterState, job: JobId) -> Standing:
    """How far a job, or an array, has come."""
    if job in state.jobs or job in state.arrays:
        return Standing("alive")
    ended, failed = state.ended.get(job), state.ended_arrays.get(job)
    if ended is not None:
        return of_job(ended)
    return of_array(failed) if failed is not None else Standing("unknown", "which is not known")


def of_job(ended: EndedJob) -> Standing:
    """How a job has ended."""
    if ended.phase is JobPhase.SUCCEEDED:
        return SUCCEEDED
    # A chain would tell all its links.
    told = ended.outcome.message if ended.outcome.cause is not Cause.DEPENDENCY else ""
    return Standing("failed", f"{_PAST[ended.phase]}: {told}" if told else _PAST[ended.phase])


def of_array(failed: int) -> Standing:
    """How an array has ended of which so many elements did not succeed."""
    return Standing("failed", f"of which {failed} did not succeed") if failed else SUCCEEDED


def register(state: ClusterState, row: int) -> None:
    """A job was submitted: note what it has to wait for."""
    jobs = state.jobs
    for dependency in jobs.job(row).after:
        now = standing(state, dependency.job)
        if now.how == "succeeded" or (now.how == "failed" and dependency.when == "ended"):
            continue
        missing = jobs.missing[row] or {}
        missing[dependency.job] = False
        jobs.missing[row] = missing
        state.dependents.setdefault(dependency.job, {})[jobs.id_of(row)] = None
        if now.how != "alive":
            state.settled[dependency.job] = now


def forget(state: ClusterState, row: int, target: JobId) -> None:
    """A job waits for ``target`` no longer."""
    jobs = state.jobs
    missing = jobs.missing[row]
    if missing is None or target not in missing:
        return
    del missing[target]
    if not missing:
        jobs.missing[row] = None
    others = state.dependents[target]
    del others[jobs.id_of(row)]
    if not others:
        del state.dependents[target]


def forget_all(state: ClusterState, row: int, *, hopeless: bool = False) -> None:
    """A job waits for nothing any more; with ``hopeless`` it only gives up what did not succeed."""
    for target, failed in list((state.jobs.missing[row] or {}).items()):
        if failed or not hopeless:
            forget(state, row, target)
