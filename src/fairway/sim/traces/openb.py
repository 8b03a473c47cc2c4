"""Alibaba's openb pod lists (kubernetes-scheduler-simulator, FGD, USENIX ATC'23): nodes and pods that share GPUs."""

from fairway.model.ids import JobId, QueueId
from fairway.model.job import Job, Role
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Accelerator, Request
from fairway.model.time import DAY, SECOND, Duration, Instant
from fairway.sim.traces.columns import Table
from fairway.sim.traces.nodes import read_nodes
from fairway.sim.traces.trace import Sources, Trace, in_order, nodes_missing

COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")

QUEUE = QueueId("openb")
UNTIMED_WORK = DAY
"""Run time of a pod in a list that has no times: long enough that the whole list is there at once."""
UNTIMED_EVERY = SECOND
"""Time between two arrivals in a list that has no times."""


def read(sources: Sources) -> Trace:
    """Pods as jobs of one task in one queue; the nodes come from ``sources.nodes``. Raises InvalidField."""
    if sources.nodes is None:
        raise nodes_missing(sources, "give its node list (openb_node_list_gpu_node.csv) with --nodes")
    table = Table(sources.jobs, COLUMNS)
    timed = "creation_time" in table and "deletion_time" in table
    requests: dict[Request, tuple[Role, ...]] = {}
    jobs: list[Job] = []
    names: set[str] = set()
    unscheduled = zero = 0
    for index, row in enumerate(table.rows()):
        name = row.text("name")
        if not name or name in names:
            raise row.wrong("name", name, "a pod's own name")
        names.add(name)
        submitted, work = index * UNTIMED_EVERY, int(UNTIMED_WORK)
        if timed:
            submitted, work, waited = _times(row)
            unscheduled += waited
            zero += not work
        request = _request(row)
        jobs.append(
            Job(
                id=JobId(name),
                name=name,
                queue=QUEUE,
                roles=requests.setdefault(request, (Role(request=request),)),
                submitted=Instant(submitted),
                work=Duration(max(work, 1)),
                labels=(("qos", row.text("qos")),) if "qos" in row else (),
            )
        )
    return Trace(
        name=sources.name,
        format="openb",
        nodes=read_nodes(sources.nodes),
        queues=(Queue(QUEUE),),
        jobs=in_order(jobs),
        notes=_notes(timed, unscheduled, zero),
    )


def _times(row: Table) -> tuple[int, int, bool]:
    """(creation, run time, whether it was never scheduled), in milliseconds."""
    created, deleted = row.seconds("creation_time"), row.seconds("deletion_time")
    waiting = not row.text("scheduled_time")
    began = created if waiting else row.seconds("scheduled_time")
    if deleted < began:
        raise row.wrong("deletion_time", row.text("deletion_time"), "at or after the pod's start")
    return created, deleted - began, waiting


def _request(row: Table) -> Request:
    gpus, milli = row.integer("num_gpu", most=1024), row.integer("gpu_milli", most=WHOLE)
    if gpus > 1 and milli != WHOLE:
        raise row.wrong("gpu_milli", str(milli), f"{WHOLE}: several GPUs are taken whole")
    if gpus and not milli:
        raise row.wrong("gpu_milli", "0", "a share of a GPU, though num_gpu asks for one")
    spec = row.text("gpu_spec") if gpus else ""
    return Request(
        cpu_milli=row.integer("cpu_milli"),
        memory_mib=row.integer("memory_mib"),
        gpus=gpus,
        gpu_milli=milli if gpus else WHOLE,
        accelerators=tuple(Accelerator(kind.strip()) for kind in spec.split("|")) if spec else (),
    )


def _notes(timed: bool, unscheduled: int, zero: int) -> tuple[str, ...]:
    notes = ["one queue and one priority class: the list names no teams, and its qos is kept as a label only"]
    if not timed:
        return (
            *notes,
            f"the list has no times: pods arrive {UNTIMED_EVERY // SECOND} s apart and each runs for "
            f"{UNTIMED_WORK // 3_600_000} h",
        )
    notes.append("a pod's run time is deletion_time - scheduled_time, in seconds, whatever its pod_phase")
    if unscheduled:
        notes.append(f"{unscheduled} pods were never scheduled: they run from creation_time to deletion_time")
    if zero:
        notes.append(f"{zero} pods with a run time of 0 run for 1 ms")
    return tuple(notes)
