"""Recompute every invariant from the immutable parts and compare: after every step in tests, sampled in production."""

from collections import Counter

import numpy as np

from fairway.model.phases import JobPhase, Reach
from fairway.model.resources import WHOLE
from fairway.state.cluster import ClusterState
from fairway.state.groups import order_key
from fairway.state.jobs import task_need


def check(state: ClusterState) -> list[str]:
    """Every broken invariant as a sentence; empty when all hold."""
    return [*_nodes(state), *_queues(state), *_lines(state), *_attempts(state)]


def _nodes(state: ClusterState) -> list[str]:
    nodes, jobs, wrong = state.nodes, state.jobs, list[str]()
    free = {row: np.array(nodes.node(row).flat, np.int64) for row in nodes.rows()}
    devices = {row: np.zeros(nodes.device_free.shape[1], np.int64) for row in nodes.rows()}
    for row, column in devices.items():
        column[: nodes.node(row).gpus] = WHOLE
    holders: dict[int, set[str]] = {row: set() for row in nodes.rows()}
    for row in jobs.rows():
        for task in jobs.placement[row]:
            node = nodes.row_of[task.node]
            free[node] -= task_need(jobs.job(row), task)
            devices[node][list(task.devices)] -= task.gpu_milli
            holders[node].add(jobs.id_of(row))
    for row in nodes.rows():
        name, column = nodes.id_of(row), devices[row]
        if not np.array_equal(nodes.free[row], free[row]):
            wrong.append(f"node {name}: free {nodes.free[row]} but recomputed {free[row]}")
        if not np.array_equal(nodes.device_free[row], column):
            wrong.append(f"node {name}: devices {nodes.device_free[row]} but recomputed {column}")
        sums = (int(nodes.idle[row]), int(nodes.share_max[row]), int(nodes.gpu_free[row]))
        if sums != (int((column == WHOLE).sum()), int(column.max(initial=0)), int(column.sum())):
            wrong.append(f"node {name}: device sums {sums} are stale")
        if bool(nodes.placeable[row]) != (nodes.reach[row] is Reach.UP and not nodes.cordoned[row]):
            wrong.append(f"node {name}: placeable is stale")
        if set(nodes.attempts[row]) != holders[row]:
            wrong.append(f"node {name}: holds {sorted(nodes.attempts[row])} but recomputed {sorted(holders[row])}")
    return wrong


def oversubscribed(state: ClusterState) -> list[str]:
    """Nodes with more placed than they have. Only a node that shrank under its work may be here."""
    nodes = state.nodes
    return [
        nodes.id_of(row) for row in nodes.rows() if (nodes.free[row] < 0).any() or (nodes.device_free[row] < 0).any()
    ]


def _queues(state: ClusterState) -> list[str]:
    queues, jobs, wrong = state.queues, state.jobs, list[str]()
    used = np.zeros((queues.height, 3), np.int64)
    counts: dict[str, Counter[int]] = {"pending": Counter(), "running": Counter()}
    for row in jobs.rows():
        queue = int(jobs.queue[row])
        used[queues.above[queue]] += jobs.sums[row]
        counts["running" if jobs.phase_of(row).live else "pending"][queue] += 1
    for row in queues.rows():
        name = queues.id_of(row) or "(root)"
        if not np.array_equal(queues.used[row], used[row]):
            wrong.append(f"queue {name}: used {queues.used[row]} but recomputed {used[row]}")
        for what, counter in counts.items():
            stored = int(getattr(queues, what)[row])
            if stored != counter[row]:
                wrong.append(f"queue {name}: {what} {stored} but recomputed {counter[row]}")
    return wrong


def _lines(state: ClusterState) -> list[str]:
    jobs, wrong = state.jobs, list[str]()
    in_line = {row for group in state.groups.groups for _, row in group.line}
    for row in jobs.rows():
        name, phase = jobs.id_of(row), jobs.phase_of(row)
        held = jobs.hold[row] is not None
        if (phase is JobPhase.QUEUED and not held) != (row in in_line):
            wrong.append(f"job {name}: {phase}, {'held' if held else 'not held'}, in line: {row in in_line}")
        if held != (name in state.held):
            wrong.append(f"job {name}: hold and held disagree")
        key = (order_key(jobs.job(row), int(jobs.ordinal[row])), row)
        if row in in_line and key not in jobs.group_of(row).line:
            wrong.append(f"job {name}: stands at the wrong place in line")
    for group in state.groups.groups:
        if (group.row in state.groups.ready) != (bool(group.line) and not group.blocked):
            wrong.append(f"group {group.row}: ready is stale")
    return wrong


def _attempts(state: ClusterState) -> list[str]:
    jobs, wrong = state.jobs, list[str]()
    for row in jobs.rows():
        name, phase, placement = jobs.id_of(row), jobs.phase_of(row), jobs.placement[row]
        if phase.live != bool(placement):
            wrong.append(f"job {name}: {phase} with {len(placement)} placed tasks")
        if placement:
            counts = Counter(task.role for task in placement)
            for index, role in enumerate(jobs.job(row).roles):
                if not role.least <= counts[index] <= role.count:
                    wrong.append(f"job {name}: role {role.name} runs {counts[index]} tasks")
        if (phase in (JobPhase.STARTING, JobPhase.STOPPING)) != (name in state.unmet):
            wrong.append(f"job {name}: {phase}, unmet: {name in state.unmet}")
        if name in state.ended:
            wrong.append(f"job {name}: ended and alive")
    return wrong
