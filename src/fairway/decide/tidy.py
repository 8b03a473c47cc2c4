"""Whether work should move now, and for whom: the large requests that have waited longest, then an empty node."""

from collections.abc import Iterator

import numpy as np

from fairway.decide import defrag
from fairway.decide.admit import over_limit
from fairway.decide.defrag import Clearing
from fairway.model.phases import Cause
from fairway.model.plan import Action, Hold, Stop
from fairway.model.policy import Policy
from fairway.model.reasons import Migrated
from fairway.model.time import Duration, Instant, later
from fairway.state.snapshot import Snapshot, Trial

MOST_ASKED = 4
"""Requests that are looked at each time."""


def waiting(snap: Snapshot, settled: set[int]) -> list[int]:
    """Rows of jobs that wait for several whole GPUs of a node, and not for a limit: the first of each group, the higher
    class first, then in order of submission. ``settled`` are rows that this plan has found room for."""
    jobs, groups, height = snap.jobs, snap.groups, snap.jobs.height
    here = jobs.in_line[:height].copy()
    here[list(settled)] = False
    rows = np.flatnonzero(here)
    group = jobs.group[rows]
    many = (groups.shapes.whole[groups.shape[group]] > 1) & ~groups.limited[group]
    rows, group = rows[many], group[many]
    order = np.lexsort((jobs.ordinal[rows], jobs.cls[rows]))
    _, first = np.unique(group[order], return_index=True)
    return rows[order][np.sort(first)].tolist()


def clearings(
    snap: Snapshot, trial: Trial, policy: Policy, settled: set[int], taken: set[int]
) -> Iterator[tuple[int | None, Clearing]]:
    """(row of the job it is for, moves) one after the other; None for a node that is emptied where nobody waits. The
    caller takes each off the trial and adds who moves to ``taken``."""
    rules, moved, asked = policy.defrag, snap.moved, 0
    rows = waiting(snap, settled)
    for row in rows:
        group = snap.groups.group(int(snap.jobs.group[row]))
        old = snap.now - int(snap.jobs.queued_at[row]) >= rules.after
        if not old or asked == MOST_ASKED or over_limit(snap, trial, group.queue, group.shape.least_sums):
            continue
        asked += 1
        found = defrag.for_large(snap, trial, policy, group.shape, group.cls, taken, rules.moves_per_hour - moved)
        if found is not None:
            moved += len(found.moves)
            yield row, found
    if not rows and rules.consolidate is not None:
        found = defrag.to_empty(snap, trial, policy, taken, rules.moves_per_hour - moved)
        if found is not None:
            yield None, found


def again(snap: Snapshot, policy: Policy, settled: set[int]) -> Instant:
    """When to look the next time; 0 for not before somebody needs it. Those who have waited long are looked at less
    often: after a tenth of their wait."""
    rules = policy.defrag
    rows = waiting(snap, settled)
    if rows and bool(snap.jobs.checkpoints[: snap.jobs.height].any()):
        waited = snap.now - int(snap.jobs.queued_at[rows].max())
        return later(snap.now, Duration(max(rules.every, waited // 10)))
    return Instant(0) if rules.consolidate is None else later(snap.now, rules.consolidate)


def actions(snap: Snapshot, row: int | None, found: Clearing) -> list[Action]:
    """Who moves yields, and finds room held for it; and so does the one for whom they move."""
    jobs, said = snap.jobs, list[Action]()
    attempts = tuple(jobs.attempt_id(move.victim.row) for move in found.moves)
    for move, attempt in zip(found.moves, attempts, strict=True):
        victim, milli = move.victim, int(jobs.sums[move.victim.row, 2])
        if row is None:
            why = Migrated(victim.lost_ms, milli, emptied=jobs.placement[victim.row][0].node)
        else:
            why = Migrated(victim.lost_ms, milli, by=jobs.id_of(row))
        said += [Stop(attempt, Cause.MOVED, why), Hold(attempt.job, move.placement, (attempt,))]
    if row is not None:
        said.append(Hold(jobs.id_of(row), found.placement, attempts))
    return said
