"""Recompute every invariant from the immutable parts and compare: after every step in tests, sampled in production."""

from collections import Counter

import numpy as np

from fairway.model.ids import JobId
from fairway.model.phases import Cause, JobPhase, Reach
from fairway.model.reasons import ArrayFull, Yielding
from fairway.model.resources import WHOLE
from fairway.state.bookings import clashes
from fairway.state.cluster import ClusterState
from fairway.state.company import Company
from fairway.state.groups import shape_of
from fairway.state.history import pattern_of, size_of
from fairway.state.jobs import home_of, task_need
from fairway.state.loans import net
from fairway.state.measured import problems
from fairway.state.terms import MOST_KEPT, NO_LIMIT, NOT_NAMED, SUMS


def check(state: ClusterState) -> list[str]:
    """Every broken invariant as a sentence; empty when all hold."""
    parts = (_nodes, _queues, _lines, _attempts, _history, _waiting, clashes, problems)
    return [sentence for part in parts for sentence in part(state)]


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
        if sums != (int((column == WHOLE).sum()), int(column.max(initial=0)), int(np.maximum(column, 0).sum())):
            wrong.append(f"node {name}: device sums {sums} are stale")
        if bool(nodes.placeable[row]) != (nodes.reach[row] is Reach.UP and not nodes.cordoned[row]):
            wrong.append(f"node {name}: placeable is stale")
        if set(nodes.attempts[row]) != holders[row]:
            wrong.append(f"node {name}: holds {sorted(nodes.attempts[row])} but recomputed {sorted(holders[row])}")
    company = Company()
    for row in jobs.rows():
        hold = jobs.hold[row]
        for placement in (jobs.placement[row], hold.placement if hold else ()):
            company.join(jobs.job(row), (nodes.row_of[task.node] for task in placement))
    if company.tasks != nodes.company.tasks:
        wrong.append(f"nodes: company {nodes.company.tasks} but recomputed {company.tasks}")
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
    short = state.short.problems(queues, state.now, state.policy.fairness.swarm.half_life)
    return wrong + _averages(state) + _kept(state) + short


def _kept(state: ClusterState) -> list[str]:
    """A queue is guaranteed what was declared and what loans make of it, never less than nothing; it keeps for itself
    what of that it does not lend; the root lends to nobody."""
    queues, wrong = state.queues, list[str]()
    lent = net(queues, state.loans.alive, state.now)
    for row in queues.rows():
        for column, name in enumerate(SUMS):
            declared, more = min(getattr(queues.spec[row].quota, name) or 0, NO_LIMIT), lent.get((row, column), 0)
            quota = min(declared + more, NO_LIMIT) if declared or more > 0 else NOT_NAMED
            if (queues.quota[row, column], queues.lent[row, column]) != (quota, more) or declared + more < 0:
                wrong.append(f"queue {queues.id_of(row)}: guaranteed {queues.quota[row]} but recomputed {quota}")
        lends = [getattr(queues.spec[row].lend, name) for name in SUMS]
        has = queues.quota[row].clip(0).tolist()
        keeps = [
            0 if most is None or row == 0 else min(max(quota - most, 0), MOST_KEPT)
            for quota, most in zip(has, lends, strict=True)
        ]
        if queues.keep[row].tolist() != keeps or (row in queues.keepers) != any(keeps):
            wrong.append(f"queue {queues.id_of(row)}: keeps {queues.keep[row]} but recomputed {keeps}")
    return wrong


def _averages(state: ClusterState) -> list[str]:
    """A queue has used all that the queues below it have; nobody has used less than nothing."""
    queues, wrong = state.queues, list[str]()
    average, below = queues.average_at(state.now), np.zeros((queues.height, 3))
    for row in queues.rows():
        if len(queues.above[row]) > 1:
            below[queues.above[row][1]] += average[row]
        guard = next((above for above in queues.above[row] if (queues.quota[above] >= 0).any()), -1)
        if queues.guard[row] != guard:
            wrong.append(f"queue {queues.id_of(row) or '(root)'}: guarded by {queues.guard[row]}, not by {guard}")
    slack = 1e-6 * (1 + average)
    for row in np.flatnonzero(((average < below - slack) | (average < -slack)).any(axis=1)).tolist():
        name = queues.id_of(row) or "(root)"
        wrong.append(f"queue {name}: used {average[row]} on average, and those below it {below[row]}")
    return wrong


def _lines(state: ClusterState) -> list[str]:
    jobs, groups, wrong = state.jobs, state.groups, list[str]()
    pending: Counter[int] = Counter()
    for row in jobs.rows():
        name, phase, job = jobs.id_of(row), jobs.phase_of(row), jobs.job(row)
        held, in_line = jobs.hold[row] is not None, bool(jobs.in_line[row])
        pending[int(jobs.group[row])] += in_line
        if (phase is JobPhase.QUEUED and not held) != in_line:
            wrong.append(f"job {name}: {phase}, {'held' if held else 'not held'}, in line: {in_line}")
        if name in state.reserved and not in_line:
            wrong.append(f"job {name}: room is kept for it, and it does not stand in line")
        if held != (name in state.held):
            wrong.append(f"job {name}: hold and held disagree")
        last = jobs.last_end[row]
        victim = last is not None and last.outcome.cause is Cause.PREEMPTED
        yields = victim and job.priority.cls.may_preempt
        key = (groups.shapes.row_of[shape_of(job)], state.queues.row_of[job.queue], int(job.priority.cls), yields)
        if groups.keys[int(jobs.group[row])] != key:
            wrong.append(f"job {name}: is in the wrong group")
    for row in range(groups.height):
        if groups.pending[row] != pending[row]:
            wrong.append(f"group {row}: pending {groups.pending[row]} but recomputed {pending[row]}")
    ready = sum(count for row, count in pending.items() if not groups.blocked[row])
    refused = pending.total() - ready
    if (groups.ready, groups.refused) != (ready, refused):
        wrong.append(f"groups: {groups.ready} ready, {groups.refused} refused but recomputed {ready}, {refused}")
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
        if jobs.home[row] != home_of(placement, state.nodes.row_of):
            wrong.append(f"job {name}: home is stale")
        if (phase in (JobPhase.STARTING, JobPhase.STOPPING)) != (name in state.unmet):
            wrong.append(f"job {name}: {phase}, unmet: {name in state.unmet}")
        if (phase.live and state.may_change(jobs.job(row))) != (name in state.flexible):
            wrong.append(f"job {name}: {phase}, may change while it runs: {name in state.flexible}")
        if name in state.ended:
            wrong.append(f"job {name}: ended and alive")
    return wrong


def _history(state: ClusterState) -> list[str]:
    history, wrong = state.history, list[str]()
    refs = Counter(int(state.jobs.history[row]) for row in state.jobs.rows())
    refs.update(history.row_of[kind[:-1]] for kind in history.kinds if kind)
    for row, kind in enumerate(history.kinds):
        name = "/".join(kind) or "(all)"
        if history.refs[row] != refs[row]:
            wrong.append(f"kind {name}: refs {history.refs[row]} but recomputed {refs[row]}")
        if not np.array_equal(history.total[row], history.counts[row].sum(axis=1)):
            wrong.append(f"kind {name}: total {history.total[row]} is stale")
        if not np.array_equal(history.below[row], history.counts[row].cumsum(axis=1)):
            wrong.append(f"kind {name}: cumulated counts are stale")
        if kind and history.parent[row] != history.row_of[kind[:-1]]:
            wrong.append(f"kind {name}: has the wrong parent")
    for row in state.jobs.rows():
        job, kind = state.jobs.job(row), history.kinds[int(state.jobs.history[row])]
        if (size_of(shape_of(job)), job.user, pattern_of(job.name))[: len(kind)] != kind:
            wrong.append(f"job {job.id}: is counted as the wrong kind of work")
    return wrong


def _waiting(state: ClusterState) -> list[str]:
    """Arrays keep their limit and nobody in them waits in vain; dependents are those who wait for somebody."""
    jobs, wrong = state.jobs, list[str]()
    active: Counter[str] = Counter()
    waits: set[str] = set()
    dependents: dict[JobId, set[JobId]] = {}
    for row in jobs.rows():
        name, phase, array, reason = jobs.id_of(row), jobs.phase_of(row), jobs.job(row).array, jobs.reason[row]
        for target in jobs.missing[row] or {}:
            dependents.setdefault(target, set()).add(name)
        if jobs.missing[row] and phase is not JobPhase.WAITING:
            wrong.append(f"job {name}: {phase}, and has to wait for {sorted(jobs.missing[row] or {})}")
        if jobs.kept_by[row] is not None and phase is JobPhase.QUEUED:
            wrong.append(f"job {name}: in line though held")
        if array is not None:
            active[array.array] += phase is not JobPhase.WAITING
            if bool(jobs.placed[row]) != (phase is not JobPhase.WAITING):
                wrong.append(f"job {name}: {phase}, counted in its array: {bool(jobs.placed[row])}")
            if phase is JobPhase.WAITING and isinstance(reason, ArrayFull):
                waits.add(array.array)
        if isinstance(reason, Yielding) and name not in state.yielding.get(reason.to, ()):
            wrong.append(f"job {name}: yields to {reason.to}, which does not know of it")
    for name, count in state.arrays.items():
        if count.active != active[name]:
            wrong.append(f"array {name}: {count.active} active but recomputed {active[name]}")
        if count.limit is not None and (count.active > count.limit or (name in waits and count.active < count.limit)):
            wrong.append(f"array {name}: {count.active} active of at most {count.limit}, waiting: {name in waits}")
    if {target: set(found) for target, found in state.dependents.items()} != dependents:
        wrong.append(f"dependents {state.dependents} but recomputed {dependents}")
    if state.settled:
        wrong.append(f"dependents of {sorted(state.settled)} have not been told")
    return wrong
