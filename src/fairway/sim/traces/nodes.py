"""Node lists: the openb one, and one of our own.

=================== ==================================================================
``id``              the node's name; with ``count`` above 1 each gets ``-0``, ``-1`` ...
``count``           how many nodes of this kind (1)
``cpu``             cores (0)
``memory_mib``      MiB (0)
``gpus``            whole devices (0)
``gpu_type``        what jobs may ask for by name
``gpu_memory_mib``  MiB of one device
``region``          topology, as are ``zone``, ``cluster``, ``block``, ``rack`` and ``island``
``hourly``          dollars an hour (0)
=================== ==================================================================

Only ``id`` and one of ``cpu`` and ``gpus`` are needed.
"""

from dataclasses import fields
from pathlib import Path

from fairway.model.errors import InvalidField
from fairway.model.ids import NodeId
from fairway.model.money import dollars
from fairway.model.node import Node, Topology
from fairway.sim.traces.columns import Table
from fairway.sim.traces.trace import EXECUTOR

_DOMAINS = tuple(field.name for field in fields(Topology))


def read_nodes(path: Path) -> tuple[Node, ...]:
    """The nodes of an openb node list or of one of our own, in the file's order.

    Raises InvalidField with line and column.
    """
    table = Table(path, ())
    if "sn" in table:
        nodes = _openb(Table(path, ("sn", "cpu_milli", "memory_mib", "gpu", "model")))
    elif "id" in table and ("cpu" in table or "gpus" in table):
        nodes = _own(table)
    else:
        raise InvalidField(
            f"{path.name}:1", "is not a node list: it needs sn,cpu_milli,memory_mib,gpu,model or id,count,cpu,gpus,..."
        )
    if not nodes:
        raise InvalidField(f"{path.name}:2", "has no nodes: the table is empty")
    return tuple(nodes.values())


def _openb(table: Table) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for row in table.rows():
        name = _fresh(row, "sn", row.text("sn"), nodes)
        nodes[name] = Node(
            NodeId(name),
            executor=EXECUTOR,
            cpu_milli=row.integer("cpu_milli"),
            memory_mib=row.integer("memory_mib"),
            gpus=row.integer("gpu"),
            gpu_type=row.text("model"),
        )
    return nodes


def _own(table: Table) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for row in table.rows():
        count = row.integer("count", 1, least=1, most=1_000_000)
        for index in range(count):
            name = _fresh(row, "id", row.text("id") + (f"-{index}" if count > 1 else ""), nodes)
            nodes[name] = Node(
                NodeId(name),
                executor=EXECUTOR,
                cpu_milli=round(row.number("cpu", 0.0) * 1000),
                memory_mib=row.integer("memory_mib", 0),
                gpus=row.integer("gpus", 0, most=1024),
                gpu_type=row.text("gpu_type"),
                gpu_memory_mib=row.integer("gpu_memory_mib", 0),
                topology=Topology(**{domain: row.text(domain) for domain in _DOMAINS}),
                hourly=dollars(row.number("hourly", 0.0)),
            )
    return nodes


def _fresh(row: Table, column: str, name: str, known: dict[str, Node]) -> str:
    if not name or name in known:
        raise row.wrong(column, name, "a name of its own" if name else "a name")
    return name
