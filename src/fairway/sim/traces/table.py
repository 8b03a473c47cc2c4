"""A workload as a plain CSV file, for traces of one's own.

Columns are found by name, in any order; only the first two are needed.

================== ==================================================================================
``submit_s``       when the job was submitted, in seconds
``duration_s``     how long it runs on its full set of workers at speed 1, in seconds
``id``             the job's name (``<file>-<line>``)
``queue``          path of its queue, ``organisation/team`` (``default``)
``user``           who submitted it
``priority``       critical, high, medium, low or preemptible, with a number inside it: ``high+5`` (medium)
``tasks``          how many equal tasks start together (1)
``min_tasks``      the fewest it runs with, which makes it elastic
``gpus``           whole devices of each task (0)
``gpu_milli``      with ``gpus`` 1: thousandths of one device (1000)
``gpu_types``      acceptable types with relative speeds, the best first: ``H100:2|A100:1``
``cpu``            cores of each task (0)
``memory_mib``     MiB of each task (0)
``deadline_s``     when it should be done, on the clock of ``submit_s``
``not_before_s``   the earliest start, on the same clock
``max_runtime_s``  stopped after so long
``estimate_s``     the user's guess of its run time
``checkpoint_s``   time between its checkpoints; without it a preempted job begins again
================== ==================================================================================
"""

import re

from fairway.model.ids import QUEUE_PATTERN, JobId, QueueId
from fairway.model.job import Job, Priority, PriorityClass, Role
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Accelerator, Request
from fairway.model.time import Duration, Instant
from fairway.sim.traces.columns import Table
from fairway.sim.traces.nodes import read_nodes
from fairway.sim.traces.trace import Sources, Trace, in_order, nodes_missing

COLUMNS = ("submit_s", "duration_s")

_PRIORITY = re.compile(r"([a-z]+)([+-]\d+)?")
_CLASSES = {cls.name.lower(): cls for cls in PriorityClass}


def read(sources: Sources) -> Trace:
    """The jobs of a table with the columns above, on the nodes of ``sources.nodes``. Raises InvalidField."""
    if sources.nodes is None:
        raise nodes_missing(sources, "give a table of nodes (id,count,cpu,memory_mib,gpus,gpu_type) with --nodes")
    table = Table(sources.jobs, COLUMNS)
    jobs: dict[str, Job] = {}
    roles: dict[Role, tuple[Role, ...]] = {}
    for row in table.rows():
        name = row.text("id", f"{sources.name}-{row.line}")
        if name in jobs:
            raise row.wrong("id", name, "a name of its own")
        role = _role(row)
        jobs[name] = _job(row, name, roles.setdefault(role, (role,)))
    queues = sorted({job.queue for job in jobs.values()})
    return Trace(
        name=sources.name,
        format="table",
        nodes=read_nodes(sources.nodes),
        queues=tuple(Queue(queue) for queue in queues),
        jobs=in_order(jobs.values()),
        notes=("queues own nothing and borrow everything: the table gives them no quota",),
    )


def _job(row: Table, name: str, roles: tuple[Role, ...]) -> Job:
    queue = row.text("queue", "default")
    if not QUEUE_PATTERN.fullmatch(queue):
        raise row.wrong("queue", queue, "a queue's path: lower case letters, digits, - and _, parts joined by /")
    checkpoint = _optional(row, "checkpoint_s")
    return Job(
        id=JobId(name),
        name=name,
        queue=QueueId(queue),
        roles=roles,
        priority=_priority(row),
        user=row.text("user"),
        submitted=Instant(row.seconds("submit_s")),
        not_before=_instant(row, "not_before_s"),
        deadline=_instant(row, "deadline_s"),
        max_runtime=_optional(row, "max_runtime_s"),
        estimate=_optional(row, "estimate_s"),
        work=Duration(max(row.seconds("duration_s"), 1)),
        checkpoints=checkpoint is not None,
        checkpoint_every=checkpoint,
    )


def _role(row: Table) -> Role:
    tasks = row.integer("tasks", 1, least=1, most=1_000_000)
    gpus, milli = row.integer("gpus", 0, most=1024), row.integer("gpu_milli", WHOLE, least=1, most=WHOLE)
    if milli < WHOLE and gpus != 1:
        raise row.wrong("gpu_milli", str(milli), f"{WHOLE}: a share is of one device, and gpus is {gpus}")
    return Role(
        count=tasks,
        min_count=row.integer("min_tasks", least=1, most=tasks) if row.text("min_tasks") else None,
        request=Request(
            cpu_milli=round(row.number("cpu", 0.0) * 1000),
            memory_mib=row.integer("memory_mib", 0),
            gpus=gpus,
            gpu_milli=milli,
            accelerators=_accelerators(row),
        ),
    )


def _accelerators(row: Table) -> tuple[Accelerator, ...]:
    accepted: list[Accelerator] = []
    for part in filter(None, row.text("gpu_types").split("|")):
        kind, _, speed = part.strip().partition(":")
        try:
            accepted.append(Accelerator(kind, float(speed or 1)))
        except ValueError:
            raise row.wrong("gpu_types", part, "a type, or type:speed") from None
        if not kind or not 0 < accepted[-1].speed < 1_000_000:
            raise row.wrong("gpu_types", part, "a type with a speed above 0")
    return tuple(accepted)


def _priority(row: Table) -> Priority:
    text = row.text("priority", "medium").lower()
    match = _PRIORITY.fullmatch(text)
    if match is None or match[1] not in _CLASSES:
        raise row.wrong("priority", text, f"one of {', '.join(_CLASSES)}, with a number after it or none")
    return Priority(_CLASSES[match[1]], int(match[2] or 0))


def _optional(row: Table, column: str) -> Duration | None:
    return Duration(max(row.seconds(column), 1)) if row.text(column) else None


def _instant(row: Table, column: str) -> Instant | None:
    return Instant(row.seconds(column)) if row.text(column) else None
