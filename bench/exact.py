"""The best that could start at once: mixed-integer programs over the jobs of a line, solved by HiGHS.

The rules are those of the decision: a job starts with all its tasks or not at all; a task lies on one node, of a type
it accepts; whole devices are idle ones; a share lies on one device, whose shares add up to at most 1000 milli-GPUs,
shares by memory rounded up on each device type. The nodes are empty, and of one executor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fairway.model.errors import Unavailable
from fairway.model.ids import JobId
from fairway.model.job import Job
from fairway.model.node import Node
from fairway.model.resources import FLAT, WHOLE, Request

if TYPE_CHECKING:
    from highspy import Highs


@dataclass(frozen=True)
class Best:
    """``value`` is of the best start found, ``bound`` what none can exceed; they are equal when it is ``proven``."""

    value: float
    bound: float
    proven: bool


@dataclass
class _Room:
    """What is taken of one node, as terms (coefficient, variable) of sums that must stay within what it has."""

    node: Node
    flat: list[list[tuple[int, Any]]] = field(default_factory=lambda: [[] for _ in FLAT])
    whole: list[tuple[int, Any]] = field(default_factory=list)
    shares: list[list[tuple[int, Any]]] = field(default_factory=list)
    """By device."""


def best_start(nodes: Sequence[Node], jobs: Sequence[Job], values: Sequence[float], seconds: float = 10.0) -> Best:
    """The most value that can start together on these empty nodes, searched for at most ``seconds``.

    Raises Unavailable where HiGHS is not installed.
    """
    highs = _solver(seconds)
    rooms = [_Room(node, shares=[[] for _ in range(node.gpus)]) for node in nodes]
    starts = [highs.addBinary(obj=value) for value in values]
    for job, start in zip(jobs, starts, strict=True):
        for role in job.roles:
            tasks = [task for room in rooms for task in _tasks(highs, room, role.request, role.count)]
            # All of them, or none: a job that does not start has no task anywhere.
            highs.addConstr(highs.qsum([*tasks, -role.count * start]) == 0)
    for room in rooms:
        _within(highs, room)
    highs.setMaximize()
    highs.run()
    info, status = highs.getInfo(), highs.modelStatusToString(highs.getModelStatus())
    return Best(
        info.objective_function_value, max(info.mip_dual_bound, info.objective_function_value), status == "Optimal"
    )


def start_in_order(
    nodes: Sequence[Node], line: Sequence[Job], feasible: frozenset[JobId], seconds: float = 10.0
) -> frozenset[JobId]:
    """The jobs that start when each in turn is let in if it can start together with those let in before it, wherever
    all of them then lie. ``feasible`` are known to fit together, which spares questions. A question that is not
    answered in ``seconds`` counts as a yes, so that the answer is never too small. Raises Unavailable."""
    inside: list[Job] = []
    for job in line:
        wanted = [*inside, job]
        if {one.id for one in wanted} <= feasible:
            inside.append(job)
            continue
        found = best_start(nodes, wanted, [1.0] * len(wanted), seconds)
        if found.bound > len(wanted) - 0.5:
            inside.append(job)
    return frozenset(job.id for job in inside)


def _solver(seconds: float) -> "Highs":
    try:
        from highspy import Highs
    except ImportError:
        raise Unavailable("the exact solver is not installed: pip install 'fairway[bench]'") from None
    highs = Highs()
    for option, value in (
        ("output_flag", False), ("threads", 1), ("random_seed", 1), ("mip_rel_gap", 0.0), ("time_limit", seconds),
    ):  # fmt: skip
        highs.setOptionValue(option, value)
    return highs


def _tasks(highs: "Highs", room: _Room, request: Request, count: int) -> list[Any]:
    """Variables whose sum is how many of ``count`` equal tasks lie on a node; none where not even one fits."""
    node = room.node
    milli = request.milli_on(node.gpu_memory_mib)
    fits = all(need <= total for need, total in zip(request.flat, node.flat, strict=True))
    if not fits or request.gpus > node.gpus or (request.gpus and (milli > WHOLE or not request.accepts(node.gpu_type))):
        return []
    if request.fractional:
        tasks = [highs.addIntegral(0, min(count, WHOLE // milli)) for _ in room.shares]
        for device, task in zip(room.shares, tasks, strict=True):
            device.append((milli, task))
    else:
        tasks = [highs.addIntegral(0, count)]
        if request.gpus:
            room.whole.append((request.gpus, tasks[0]))
    for terms, need in zip(room.flat, request.flat, strict=True):
        if need:
            terms += [(need, task) for task in tasks]
    return tasks


def _within(highs: "Highs", room: _Room) -> None:
    """No more on a node than it has. A shared device is not idle; shared devices come first, as all are equal."""
    for terms, total in zip(room.flat, room.node.flat, strict=True):
        if terms:
            highs.addConstr(highs.qsum([need * task for need, task in terms]) <= total)
    if not room.node.gpus or not (room.whole or any(room.shares)):
        return
    shared = [highs.addBinary() for _ in room.shares]
    for terms, opened in zip(room.shares, shared, strict=True):
        highs.addConstr(highs.qsum([*(milli * task for milli, task in terms), -WHOLE * opened]) <= 0)
    for one, other in pairwise(shared):
        highs.addConstr(one - other >= 0)
    highs.addConstr(highs.qsum([*(gpus * task for gpus, task in room.whole), *shared]) <= room.node.gpus)
