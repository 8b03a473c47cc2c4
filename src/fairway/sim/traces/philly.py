"""Microsoft's Philly traces: the jobs of 15 virtual clusters, and the two of them that Muri replays."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from fairway.model.errors import InvalidField
from fairway.model.ids import QUEUE_PATTERN, JobId, QueueId
from fairway.model.job import Job, Role
from fairway.model.node import Node
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Amount
from fairway.model.time import Duration, Instant
from fairway.sim.traces.columns import Table
from fairway.sim.traces.nodes import read_nodes
from fairway.sim.traces.trace import Sources, Trace, gpu_nodes, gpu_roles, in_order, nodes_missing

COLUMNS = ("timestamp", "duration", "num_gpus", "cluster")
MURI_COLUMNS = ("job_id", "num_gpu", "submit_time", "duration", "iteration_time", "model_name")

GPUS_PER_NODE = 8
MURI_NODES = 8

_ONLY_GPUS = "the trace says nothing of CPU and memory: no job asks for any"
_GANGS = f"a job of more than {GPUS_PER_NODE} GPUs is a gang of equal tasks of at most {GPUS_PER_NODE}"


def read(sources: Sources) -> Trace:
    """Each virtual cluster is a queue that owns its nodes' GPUs and may borrow the others'. Raises InvalidField.

    The nodes are those of ``sources.vc_nodes``, 8 GPUs each, unless ``sources.nodes`` lists others.
    """
    if sources.vc_nodes is None and sources.nodes is None:
        raise nodes_missing(sources, "give the nodes of each virtual cluster (vc_nodes.csv) with --vc-nodes")
    owned = _vc_nodes(sources.vc_nodes) if sources.vc_nodes else {}
    rows = _rows(Table(sources.jobs, COLUMNS))
    first = rows[0].submitted if rows else 0
    queues = {row.queue for row in rows}
    jobs = tuple(
        Job(
            id=JobId(f"philly-{row.number}"),
            name="philly",
            queue=row.queue,
            roles=row.roles,
            submitted=Instant(row.submitted - first),
            work=Duration(max(row.work, 1)),
        )
        for row in rows
    )
    nodes = read_nodes(sources.nodes) if sources.nodes else gpu_nodes(sum(owned.values()), GPUS_PER_NODE)
    return Trace(
        name=sources.name,
        format="philly",
        nodes=nodes,
        queues=tuple(_tenant(name, owned.get(name, 0)) for name in sorted({*owned, *queues})),
        jobs=jobs,
        notes=_notes(nodes, owned, queues, bool(sources.vc_nodes)),
    )


class _Row(NamedTuple):
    submitted: int
    number: int
    work: int
    queue: QueueId
    roles: tuple[Role, ...]


def _rows(table: Table) -> list[_Row]:
    """Every job, sorted by submission. Jobs are built afterwards: shifting the times of 80,000 frozen ones is slow."""
    roles: dict[int, tuple[Role, ...]] = {}
    queues: dict[str, QueueId] = {}
    rows: list[_Row] = []
    for number, row in enumerate(table.rows(), 1):
        cluster = row.text("cluster")
        gpus = row.integer("num_gpus", least=1, most=100_000)
        if gpus not in roles:
            roles[gpus] = gpu_roles(gpus, GPUS_PER_NODE)
        if cluster not in queues:
            queues[cluster] = _queue(row, "cluster", cluster)
        rows.append(_Row(_timestamp(row), number, row.seconds("duration"), queues[cluster], roles[gpus]))
    rows.sort(key=lambda row: row.submitted)
    return rows


def read_muri(sources: Sources) -> Trace:
    """Muri's format: times in milliseconds, one queue, 8 nodes of 8 GPUs unless ``sources.nodes`` lists others."""
    table = Table(sources.jobs, MURI_COLUMNS)
    queue = QueueId("muri")
    roles: dict[int, tuple[Role, ...]] = {}
    jobs: list[Job] = []
    names: set[str] = set()
    for row in table.rows():
        gpus = row.integer("num_gpu", least=1, most=100_000)
        if gpus not in roles:
            roles[gpus] = gpu_roles(gpus, GPUS_PER_NODE)
        name = f"{row.text('model_name', 'job')}-{row.integer('job_id')}"
        if name in names:
            raise row.wrong("job_id", row.text("job_id"), "a number of its own")
        names.add(name)
        jobs.append(
            Job(
                id=JobId(name),
                name=row.text("model_name", "job"),
                queue=queue,
                roles=roles[gpus],
                submitted=Instant(row.integer("submit_time")),
                work=Duration(max(row.integer("duration"), 1)),
            )
        )
    default = f"the cluster is {MURI_NODES} nodes of {GPUS_PER_NODE} GPUs, as in the paper"
    return Trace(
        name=sources.name,
        format="philly-muri",
        nodes=read_nodes(sources.nodes) if sources.nodes else gpu_nodes(MURI_NODES, GPUS_PER_NODE),
        queues=(Queue(queue),),
        jobs=in_order(jobs),
        notes=(
            *(() if sources.nodes else (default,)),
            "priority, iterations and resource times are not used: a job runs for its duration",
            _ONLY_GPUS,
            _GANGS,
        ),
    )


def _timestamp(row: Table) -> int:
    text = row.text("timestamp")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise row.wrong("timestamp", text, "a local time like 2017-10-09 07:01:55") from None
    if moment.tzinfo is not None:
        raise row.wrong("timestamp", text, "a local time: it names a time zone")
    # Whole days and seconds, by hand: timestamp() would look up a time zone, and one that has summer time.
    seconds = moment.toordinal() * 86_400 + moment.hour * 3600 + moment.minute * 60 + moment.second
    return seconds * 1000 + moment.microsecond // 1000


def _queue(row: Table, column: str, cluster: str) -> QueueId:
    if not QUEUE_PATTERN.fullmatch(cluster):
        raise row.wrong(column, cluster, "a virtual cluster's name in lower case letters and digits")
    return QueueId(cluster)


def _tenant(name: str, nodes: int) -> Queue:
    return Queue(QueueId(name), quota=Amount(gpu_milli=nodes * GPUS_PER_NODE * WHOLE))


def _vc_nodes(path: Path) -> dict[str, int]:
    table = Table(path, ("vc", "node num"))
    owned: dict[str, int] = {}
    for row in table.rows():
        name = _queue(row, "vc", row.text("vc"))
        if name in owned:
            raise row.wrong("vc", name, "a virtual cluster of its own: it is listed twice")
        owned[name] = row.integer("node num", most=1_000_000)
    if not sum(owned.values()):
        raise InvalidField(f"{path.name}:2", "has no nodes: list vc,node num")
    return owned


def _notes(nodes: tuple[Node, ...], owned: dict[str, int], queues: set[QueueId], sized: bool) -> tuple[str, ...]:
    notes = [
        "timestamps are local times, taken as they stand: an hour that summer time repeats or skips is not mended",
        _ONLY_GPUS,
        _GANGS,
    ]
    poor = sorted(queues - set(owned))
    if not sized:
        notes.append("no virtual cluster owns anything: all of them borrow (--vc-nodes says what each owns)")
    elif poor:
        notes.append(f"the virtual clusters {', '.join(poor)} have no size: they own nothing and borrow")
    if sized:
        notes.append(f"{len(nodes)} nodes; a virtual cluster may borrow whatever the others leave idle")
    return tuple(notes)
