"""The Standard Workload Format of the Parallel Workloads Archive, version 2.2: header comments, then 18 numbers a line.

A processor is one core. The cluster is ``MaxNodes`` nodes that share ``MaxProcs`` cores as evenly as can be.
"""

import re
from collections import Counter
from typing import NamedTuple

from fairway.model.errors import InvalidField
from fairway.model.ids import JobId, NodeId, QueueId
from fairway.model.job import Job, Role
from fairway.model.node import Node
from fairway.model.queue import Queue
from fairway.model.resources import Request
from fairway.model.time import Duration, Instant
from fairway.sim.traces.columns import text_of
from fairway.sim.traces.nodes import read_nodes
from fairway.sim.traces.trace import EXECUTOR, Sources, Trace, in_order, nodes_missing

FIELDS = (
    "job", "submit", "wait", "run", "processors", "cpu", "memory", "requested_processors", "requested_time",
    "requested_memory", "status", "user", "group", "executable", "queue", "partition", "preceding", "think",
)  # fmt: skip

_HEADER = re.compile(r";\s*(\w+)\s*:\s*(.*?)\s*$")


class _Row(NamedTuple):
    job: int
    submit: int
    run: int
    processors: int
    requested_time: int
    requested_memory: int
    user: int
    queue: int


def read(sources: Sources) -> Trace:
    """The jobs that ran, as gangs over as few nodes as hold them; the nodes from the header or ``sources.nodes``.

    Raises InvalidField with the line and the field.
    """
    header, rows, dropped = _parse(sources)
    nodes = read_nodes(sources.nodes) if sources.nodes else _nodes(sources, header)
    # Gangs are cut to the commonest node, so that a few odd ones do not shape every job.
    cores = Counter(node.cpu_milli // 1000 for node in nodes).most_common(1)[0][0]
    if not cores:
        raise InvalidField("nodes", "most nodes have no core: a processor of this format is one")
    memory = all(node.memory_mib for node in nodes)
    roles: dict[tuple[int, int], tuple[Role, ...]] = {}
    jobs: list[Job] = []
    for row in rows:
        shape = (row.processors, row.requested_memory if memory else 0)
        if shape not in roles:
            roles[shape] = _roles(row.processors, cores, shape[1])
        jobs.append(
            Job(
                id=JobId(f"{sources.name}-{row.job}"),
                name=sources.name,
                queue=_queue(row.queue),
                roles=roles[shape],
                user=f"user{row.user}" if row.user >= 0 else "",
                submitted=Instant(row.submit * 1000),
                work=Duration(max(row.run * 1000, 1)),
                estimate=Duration(row.requested_time * 1000) if row.requested_time > 0 else None,
            )
        )
    return Trace(
        name=sources.name,
        format="swf",
        nodes=nodes,
        queues=tuple(Queue(_queue(number)) for number in sorted({row.queue for row in rows})),
        jobs=in_order(jobs),
        notes=_notes(dropped, memory),
    )


def _parse(sources: Sources) -> tuple[dict[str, str], list[_Row], int]:
    """(header, the jobs that ran, how many lines did not)."""
    header: dict[str, str] = {}
    rows: list[_Row] = []
    seen: set[int] = set()
    dropped = 0
    for line, text in enumerate(text_of(sources.jobs).split("\n"), 1):
        if text.lstrip().startswith(";"):
            if match := _HEADER.match(text.strip()):
                header.setdefault(match[1], match[2])
            continue
        cells = text.split()
        if not cells:
            continue
        where = f"{sources.jobs.name}:{line}"
        if len(cells) != len(FIELDS):
            raise InvalidField(where, f"has {len(cells)} fields, the Standard Workload Format has {len(FIELDS)}")
        row = _row(where, cells)
        if row.run < 0 or row.processors <= 0:
            dropped += 1
            continue
        if row.job in seen:
            raise InvalidField(f"{where}:job", f"the number {row.job} is not a job's own")
        seen.add(row.job)
        rows.append(row)
    return header, rows, dropped


def _row(where: str, cells: list[str]) -> _Row:
    values: dict[str, int] = {}
    for name, cell in zip(FIELDS, cells, strict=True):
        try:
            values[name] = int(cell) if cell.lstrip("-").isdigit() else round(float(cell))
        except (ValueError, OverflowError):
            raise InvalidField(f"{where}:{name}", f"{cell!r} is not a number") from None
    if values["submit"] < 0:
        raise InvalidField(f"{where}:submit", f"{values['submit']} is before the trace begins")
    wanted = values["requested_processors"]
    return _Row(
        values["job"],
        values["submit"],
        values["run"],
        wanted if wanted > 0 else values["processors"],
        values["requested_time"],
        max(values["requested_memory"], 0),
        values["user"],
        values["queue"],
    )


def _nodes(sources: Sources, header: dict[str, str]) -> tuple[Node, ...]:
    def number(key: str) -> int:
        match = re.match(r"\d+", header.get(key, ""))
        return int(match[0]) if match else 0

    procs, count, memory_kib = number("MaxProcs"), number("MaxNodes"), number("MaxMemory")
    if not procs and not count:
        raise nodes_missing(sources, "its header has neither MaxNodes nor MaxProcs; list the nodes with --nodes")
    count = count or procs
    cores, rest = divmod(max(procs, count), count)
    return tuple(
        Node(
            NodeId(f"n{index}"),
            executor=EXECUTOR,
            cpu_milli=(cores + (index < rest)) * 1000,
            memory_mib=memory_kib // 1024,
        )
        for index in range(count)
    )


def _roles(processors: int, cores: int, memory_kib: int) -> tuple[Role, ...]:
    """The fewest equal tasks that nodes of so many cores hold; memory is given per processor."""
    tasks = -(-processors // cores)
    while processors % tasks:
        tasks += 1
    each = processors // tasks
    return (Role(count=tasks, request=Request(cpu_milli=each * 1000, memory_mib=-(-each * memory_kib // 1024))),)


def _queue(number: int) -> QueueId:
    return QueueId(f"q{number}" if number >= 0 else "default")


def _notes(dropped: int, memory: bool) -> tuple[str, ...]:
    notes = [
        "a processor is one core; a job's estimate is its requested time, which never stops it",
        "preceding jobs, think times and the recorded waits are not used",
    ]
    if not memory:
        notes.append("memory is not used: the nodes' memory is not known")
    if dropped:
        notes.append(f"{dropped} jobs that never ran (run time or processors unknown) are left out")
    return tuple(notes)
