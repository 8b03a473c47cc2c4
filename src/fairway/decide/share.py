"""Whose turn it is: hierarchical dominant-resource fairness over the queue tree.

The next job is sent by the queue, from the root down, that has the least *weighted dominant share* among those that
could send a job of the best tier; tiers put ``CRITICAL`` first, then what a guaranteed quota covers before what is
borrowed, then the class. A share is the largest, over the resources, of what the queue uses now plus its decaying mean
of the past, as a part of what the cluster has, over the queue's weight (Ghodsi et al., *Dominant Resource Fairness*,
NSDI 2011; Bhattacharya et al., *Hierarchical Scheduling for Diverse Datacenter Workloads*, SoCC 2013). A queue counts
with all that is used below it. A start raises the shares on its path at once, so the next job comes from the queue that
is poorest then.
"""

from typing import Any

import numpy as np

from fairway.model.policy import Policy
from fairway.state.columns import Floats, Ints
from fairway.state.snapshot import Snapshot, Trial
from fairway.state.tables import SUMS

Columns = tuple[tuple[Any, ...], ...]
"""(line, tree, quotas, heads, keys), as ``kernels_share`` describes them."""


def capacity(snap: Snapshot) -> Ints:
    """(3,) what the nodes that take work have of each resource, in ``SUMS`` order."""
    nodes, height = snap.nodes, snap.nodes.height
    up = nodes.placeable[:height]
    total = nodes.total[:height, :2][up].sum(axis=0)
    return np.array([*total.tolist(), int(nodes.gpu_count[:height][up].sum()) * 1000], np.int64)


def past_use(snap: Snapshot, policy: Policy) -> Floats:
    """(Q, 3) what each queue's past counts as being used now: ``history`` times its decayed average."""
    return snap.queues.average_at(snap.now) * policy.fairness.history


def shares(snap: Snapshot, policy: Policy) -> Floats:
    """(Q,) the weighted dominant share of every queue: above 1 for one that uses, and has used, more than its part."""
    use = snap.queues.used[: snap.queues.height] + past_use(snap, policy)
    return (use * _per_unit(snap)).max(axis=1) / weights(snap, policy)


def weights(snap: Snapshot, policy: Policy) -> Floats:
    """(Q,) what each queue's share is divided by: its weight, or ``throttle`` times that while its average use is above
    its guaranteed quota in a resource that the quota names; less while too many jobs of it, or of queues below it, are
    over in no time (``Swarm.weight``)."""
    queues, height = snap.queues, snap.queues.height
    quota, weight, rules = queues.quota[:height], queues.weight[:height], policy.fairness.swarm
    if policy.fairness.throttle < 1 and (quota >= 0).any():
        long = ((quota >= 0) & (queues.average_at(snap.now) > quota)).any(axis=1)
        weight = np.where(long, weight * policy.fairness.throttle, weight)
    swarms = snap.short.beyond(queues, snap.now, rules)
    if swarms:
        weight = weight.copy()
        for row, counts in swarms.items():
            weight[row] *= rules.weight(counts)
    return weight


def _own_weights(snap: Snapshot, policy: Policy, entrants: Ints) -> Floats:
    """(E,) the weight of the jobs of each queue itself, which stand beside the queues below it."""
    weight, rules = np.ones(len(entrants)), policy.fairness.swarm
    if snap.short.any_beyond(snap.now, rules):
        for at, row in enumerate(entrants.tolist()):
            weight[at] = rules.weight([snap.short.count_at(row, snap.now, rules.half_life)])
    return weight


def turns(snap: Snapshot, trial: Trial, policy: Policy, queue_of: Ints, jobs: tuple[Ints, Ints, Ints]) -> Columns:
    """The tournament over a line, not played yet. ``queue_of`` (P,) are the queue rows of its jobs, which stand
    together by queue; ``jobs`` is (shape, class, order) of each, (P,): of two jobs that are equal in all else the lower
    order goes first."""
    queues, height = snap.queues, snap.queues.height
    entrants, firsts = np.unique(queue_of, return_index=True)
    rows, parents = _active(snap, entrants)
    place = np.full(height + 1, -1, np.int64)
    place[rows] = np.arange(len(rows))
    parent = np.concatenate([place[parents], place[entrants]])
    past, members = past_use(snap, policy), len(parent)
    uses = np.concatenate([trial.used[rows], _own(snap, trial.used)[entrants]])
    pasts = np.concatenate([past[rows], np.maximum(_own(snap, past)[entrants], 0.0)])
    weight = np.concatenate([weights(snap, policy)[rows], _own_weights(snap, policy, entrants)])
    shape, cls, order = jobs
    return (
        (entrants, np.append(firsts[1:], len(queue_of)), shape, snap.groups.shapes.sums, cls, order),
        _tree(parent, rows),
        (queues.guard[:height], trial.used, queues.quota[:height]),
        (firsts.astype(np.int64), uses, pasts, _per_unit(snap) / weight.reshape(-1, 1)),
        tuple(np.zeros(members, np.int64) for _ in range(4)),
    )


def _per_unit(snap: Snapshot) -> Floats:
    """(3,) what part of the cluster a unit of each resource is."""
    whole = capacity(snap).astype(np.float64)
    return np.divide(1.0, whole, out=np.zeros(len(SUMS)), where=whole > 0)


def _active(snap: Snapshot, entrants: Ints) -> tuple[Ints, Ints]:
    """(A,) each: the queues with a job in line at or below them, the root first and none before the one above it, and
    the row above each (-1 above the root)."""
    path = snap.queues.path
    rows = np.unique(path[entrants])
    rows = rows[rows >= 0]
    depth = (path[rows] >= 0).sum(axis=1) - 1
    rows, depth = rows[np.argsort(depth, kind="stable")], np.sort(depth)
    return rows, np.where(depth > 0, path[rows, np.maximum(depth - 1, 0)], -1)


def _own(snap: Snapshot, used: Ints | Floats) -> Ints | Floats:
    """(Q, 3) what the jobs of each queue itself use: all that it uses less what the queues below it do."""
    path, height = snap.queues.path, snap.queues.height
    depth = (path >= 0).sum(axis=1) - 1
    below = np.flatnonzero(depth > 0)
    own = used[:height].copy()
    np.subtract.at(own, path[below, depth[below] - 1], used[below])
    return own


def _tree(parent: Ints, rows: Ints) -> tuple[Ints, ...]:
    """The tournaments: a power of two of slots for the members below each queue, behind as many matches."""
    active, members = len(rows), len(parent)
    below = np.bincount(parent[1:], minlength=active)
    size = 1 << np.ceil(np.log2(np.maximum(below, 1))).astype(np.int64)
    base = np.concatenate([[0], np.cumsum(2 * size)]).astype(np.int64)
    by_parent = np.argsort(parent[1:], kind="stable") + 1
    first = np.concatenate([[0], np.cumsum(below)])[:-1]
    slot = np.zeros(members, np.int64)
    owner = parent[by_parent]
    slot[by_parent] = base[owner] + size[owner] + np.arange(members - 1) - first[owner]
    return parent, slot, base, rows, np.full(int(base[-1]), -1, np.int64)
