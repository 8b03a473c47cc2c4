"""A service's replicas are jobs without an end; these functions keep as many as are wanted."""

from dataclasses import replace

from fairway.model.facts import Outcome
from fairway.model.ids import JobId, ServiceId
from fairway.model.job import Job, Retry, Role
from fairway.model.phases import Cause, JobPhase
from fairway.model.reasons import Asked
from fairway.model.service import Service
from fairway.model.time import SECOND, Duration
from fairway.state import lifecycle
from fairway.state.cluster import ClusterState


def set_service(state: ClusterState, service: Service) -> None:
    """Take over a declaration: scale when only ``replicas`` differ, else replace every replica."""
    old = state.services.get(service.id)
    replicas = state.replicas.setdefault(service.id, {})
    if old is not None and replace(old, replicas=service.replicas) != service:
        _stop(state, list(replicas))
        replicas.clear()
    state.services[service.id] = service
    surplus = list(replicas)[service.replicas :]
    _stop(state, surplus)
    for job in surplus:
        del replicas[job]
    while len(replicas) < service.replicas:
        job = _replica(state, service)
        replicas[job.id] = None
        lifecycle.submit(state, job)


def remove_service(state: ClusterState, service: ServiceId) -> None:
    """Forget a service and stop its replicas."""
    state.services.pop(service, None)
    _stop(state, list(state.replicas.pop(service, {})))


def _replica(state: ClusterState, service: Service) -> Job:
    return Job(
        id=JobId(f"{service.id}.{state.ordinal}"),
        name=service.id,
        queue=service.queue,
        roles=(Role("replica", 1, service.request),),
        priority=service.priority,
        command=service.command,
        env=service.env,
        workdir=service.workdir,
        submitted=state.now,
        retry=Retry(backoff=Duration(SECOND)),
        service=service.id,
        where=service.where,
    )


def _stop(state: ClusterState, jobs: list[JobId]) -> None:
    reason = Asked("its service")
    for job in jobs:
        row = state.jobs.row_of.get(job)
        if row is None:
            continue
        if state.jobs.phase_of(row).live:
            lifecycle.ask_stop(state, row, Cause.CANCELLED, reason)
        else:
            lifecycle.finish(state, row, JobPhase.CANCELLED, Outcome(Cause.CANCELLED, message=str(reason)))
