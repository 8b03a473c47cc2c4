"""Who comes first inside a queue. Every discipline is a plain function of columns, chosen by name in ``DISCIPLINES``.

The order within a queue: priority class (aged), then the number inside the class, then the deadline that is most urgent
and can still be met, then the queue's discipline, then submission. *Attained* is GPU-time served so far, over all
attempts; *remaining* is the run time still expected, on a full set of workers.

Under some disciplines (``TAKE_TURNS``) a waiting job may take the place of running ones (``displace``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fairway.decide import forecast
from fairway.model.job import PriorityClass
from fairway.model.policy import Ordering, Policy
from fairway.model.queue import DISCIPLINES, TAKE_TURNS
from fairway.model.resources import WHOLE
from fairway.model.time import SECOND
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.jobs import JobTable
from fairway.state.snapshot import Snapshot
from fairway.state.tables import NO_LIMIT


@dataclass(frozen=True, slots=True)
class Standing:
    """What disciplines may look at, (P,) each, for the jobs in ``rows``. Milliseconds; widths in milli-GPUs."""

    rows: Ints
    attained: Floats
    """Milli-GPU milliseconds served."""
    remaining: Floats
    """Run time still expected."""
    width: Floats
    """What a full start takes; CPU cores count as ``1 / cores_per_gpu`` of a GPU."""
    queue: Ints
    user: Ints
    ordinal: Ints
    snap: Snapshot
    policy: Policy

    @property
    def order(self) -> Ordering:
        """The part of the policy that disciplines go by."""
        return self.policy.order

    @property
    def held(self) -> Floats:
        """What the user of each job holds in the job's queue right now: found by looking at all that runs."""
        return _held_by_user(self.snap, self.policy, self.rows)


_WRONG = 1.5
"""How many times off an estimate must be expected to be before experience is believed in its stead."""

Key = Callable[[Standing], Floats]
"""(P,) the smaller, the earlier."""


def fifo(jobs: Standing) -> Floats:
    """As submitted: nobody before anybody."""
    return np.zeros(len(jobs.rows))


def sjf(jobs: Standing) -> Floats:
    """Shortest job first, by the run time still expected."""
    return jobs.remaining


def srsf(jobs: Standing) -> Floats:
    """Shortest remaining service first: expected run time times width (Tiresias, NSDI'19, section 3.1)."""
    return jobs.remaining * jobs.width


def las(jobs: Standing) -> Floats:
    """Least attained service first, for jobs whose length nobody knows (Tiresias, NSDI'19, section 3.2).

    In levels that each are ``margin`` times as long as the one before, without a last one; the first is a GPU for
    ``least_run``. Within a level whoever was submitted first goes first, and whoever runs goes on.
    """
    return _level_end(jobs, _level(jobs))


def _level(jobs: Standing) -> Floats:
    first, base = _level_end(jobs, np.zeros(1))[0], jobs.order.margin
    return np.maximum(np.floor(np.log(np.maximum(jobs.attained, 1.0) / first) / np.log(base) + 1e-9) + 1, 0.0)


def _level_end(jobs: Standing, level: Floats) -> Floats:
    """Milli-GPU milliseconds at which a level ends."""
    return float(max(jobs.order.least_run, SECOND)) * WHOLE * np.power(jobs.order.margin, level)


def las_falls(jobs: Standing, key: float) -> tuple[Floats, Floats]:
    """When a job that runs comes into the next level, or into the first one with such a key, if that is later."""
    wanted = np.ceil(np.log(max(key, 1.0) / _level_end(jobs, np.zeros(1))[0]) / np.log(jobs.order.margin) - 1e-6)
    level = np.maximum(_level(jobs) + 1, wanted)
    return (_level_end(jobs, level - 1) - jobs.attained) / jobs.width, _level_end(jobs, level)


def srsf_falls(jobs: Standing, key: float) -> tuple[Floats, Floats]:
    """When a job that runs has outlived what was expected of it."""
    return jobs.remaining, np.full(len(jobs.rows), np.inf)


def fair(jobs: Standing) -> Floats:
    """Users take turns: what a user holds, plus what it has asked for earlier in line, counts against its next job."""
    order = np.lexsort((jobs.ordinal, jobs.user, jobs.queue))
    total = np.cumsum(jobs.width[order])
    turn = (np.diff(jobs.queue[order], prepend=-1) != 0) | (np.diff(jobs.user[order], prepend=-1) != 0)
    before = (total - jobs.width[order])[turn]
    key = np.empty(len(order))
    key[order] = total - before[np.cumsum(turn) - 1]
    return key + jobs.held


@dataclass(frozen=True, slots=True)
class Discipline:
    """``falls`` says when a running job falls back, so that others may pass it: (milliseconds from now, its key then),
    (P,) each, of the next time that brings it to the given key or beyond. None: never while it runs."""

    key: Key
    falls: Callable[[Standing, float], tuple[Floats, Floats]] | None = None


Disciplines = Mapping[str, Discipline]

TABLE: Disciplines = {
    "fifo": Discipline(fifo),
    "sjf": Discipline(sjf),
    "srsf": Discipline(srsf, falls=srsf_falls),
    "las": Discipline(las, falls=las_falls),
    "fair": Discipline(fair),
}


def discipline_of(snap: Snapshot, policy: Policy, queue: int) -> str:
    """The name of a queue row's discipline."""
    return snap.queues.spec[queue].discipline or policy.order.discipline


def take_turns(snap: Snapshot, policy: Policy) -> Bools:
    """(Q,) whether the jobs of each queue may take each other's places."""
    code = snap.queues.discipline[: snap.queues.height]
    code = np.where(code == 0, DISCIPLINES.index(policy.order.discipline) + 1, code)
    return np.isin(code, [DISCIPLINES.index(name) + 1 for name in TAKE_TURNS])


def standing(snap: Snapshot, policy: Policy, rows: Ints) -> Standing:
    """What disciplines may know of these jobs, pending or running."""
    jobs, groups = snap.jobs, snap.groups
    sums = groups.shapes.sums[groups.shape[jobs.group[rows]]]
    width = np.maximum(_gpus(sums, policy), 1.0)
    served = attained(snap, policy, rows)
    return Standing(
        rows, served, remaining(snap, policy.order, rows, served / width), width, jobs.queue[rows], jobs.user[rows],
        jobs.ordinal[rows], snap, policy,
    )  # fmt: skip


def _gpus(sums: np.ndarray, policy: Policy) -> Floats:
    return sums[:, 2] + sums[:, 0] / policy.cores_per_gpu


def attained(snap: Snapshot, policy: Policy, rows: Ints) -> Floats:
    """(P,) milli-GPU milliseconds that each job has held so far, its live attempt included."""
    jobs = snap.jobs
    live = np.maximum(snap.now - jobs.placed_at[rows], 0)
    return _gpus(jobs.spent[rows], policy) + _gpus(jobs.sums[rows], policy) * live


def remaining(snap: Snapshot, order: Ordering, rows: Ints, ran: Floats) -> Floats:
    """(P,) expected run time from now on, in milliseconds, of jobs that have run for ``ran`` (P,).

    From what the job reports of its steps; else from its estimate, unless such estimates were far off; else from
    how long such work took, which also corrects a bad estimate (``forecast``); else a job is taken for one of
    ``order.unknown``. For one that has outlived what was expected the expectation is doubled, again and again: run
    times are heavy-tailed.
    """
    jobs, span = snap.jobs, forecast.after(snap.history, snap.jobs, rows, ran)
    told = np.where(jobs.estimate[rows] > 0, jobs.estimate[rows], order.unknown).astype(np.float64)
    doubled = told * np.exp2(np.floor(np.log2(np.maximum(ran / told, 0.5))) + 1)
    estimate = jobs.estimate[rows]
    # Judged as of the start: of those who get close to the end of an exact estimate, nobody is known to go beyond it.
    fresh = forecast.after(snap.history, jobs, rows, np.zeros(len(rows)))
    wrong = fresh.known & (np.abs(np.log2(fresh.p50 / np.maximum(estimate, 1))) > np.log2(_WRONG))
    left = np.where(span.known & ((estimate <= 0) | wrong), span.p50, doubled - ran)
    step, total = jobs.step[rows], jobs.total_steps[rows]
    reports = (step > 0) & (total >= step) & (ran > 0)
    return np.where(reports, ran * (total - step) / np.maximum(step, 1), left)


def aged(snap: Snapshot, order: Ordering, rows: Ints) -> Ints:
    """(P,) the class each job stands in line with: one higher for every ``order.ageing`` waited, never CRITICAL."""
    cls = snap.jobs.cls[rows]
    if order.ageing is None:
        return cls
    waited = np.maximum(snap.now - snap.jobs.queued_at[rows], 0) // order.ageing
    return np.where(cls > PriorityClass.HIGH, np.maximum(cls - waited, PriorityClass.HIGH), cls)


def must_run(table: JobTable, jobs: Standing) -> Ints:
    """(P,) when each job must run, from then on without a break, to meet its deadline; ``NO_LIMIT`` and more without
    one. A job of whose run time nothing is known is given all the time there is."""
    known = (table.estimate[jobs.rows] > 0) | (table.step[jobs.rows] > 0)
    return table.deadline[jobs.rows] - np.where(known, jobs.remaining, 0.0).astype(np.int64)


def latest_start(snap: Snapshot, jobs: Standing) -> Ints:
    """(P,) ``now`` plus the slack of each job: when it must run. ``NO_LIMIT`` for jobs without a deadline and for those
    that can no longer meet it, which must not starve the others."""
    start = must_run(snap.jobs, jobs)
    return np.where((snap.jobs.deadline[jobs.rows] < NO_LIMIT) & (start >= snap.now), start, NO_LIMIT)


def in_order(snap: Snapshot, policy: Policy, rows: Ints, disciplines: Disciplines = TABLE) -> Ints:
    """These rows in the order in which they are to be tried.

    Queues share one line by class, number, deadline and submission; a queue with another discipline than ``fifo`` fills
    the places that its jobs have there in its own order.
    """
    if len(rows) < 2:
        return rows
    jobs, order = snap.jobs, policy.order
    plain, due = _all_fifo(snap, order), jobs.deadline[rows] < NO_LIMIT
    cls, number, ordinal = aged(snap, order, rows), -jobs.number[rows], jobs.ordinal[rows]
    if plain and not np.count_nonzero(due):
        return rows[np.lexsort((ordinal, number, cls))]
    latest = np.full(len(rows), NO_LIMIT)
    latest[due] = latest_start(snap, standing(snap, policy, rows[due]))
    line = np.lexsort((ordinal, latest, number, cls))
    if plain:
        return rows[line]
    seen = standing(snap, policy, rows)
    key = keys(snap, policy, seen, disciplines)
    queue = seen.queue
    own = np.lexsort((ordinal, key, latest, number, cls, queue))
    places = np.argsort(queue[line], kind="stable")
    line[places] = own
    return rows[line]


def keys(snap: Snapshot, policy: Policy, jobs: Standing, disciplines: Disciplines = TABLE) -> Floats:
    """(P,) each job's key under the discipline of its queue; comparable within a queue only."""
    code = snap.queues.discipline[jobs.queue]
    code = np.where(code == 0, DISCIPLINES.index(policy.order.discipline) + 1, code)
    key = np.zeros(len(jobs.rows))
    for value in np.unique(code).tolist():
        here = code == value
        key[here] = disciplines[DISCIPLINES[value - 1]].key(jobs)[here]
    return key


def _all_fifo(snap: Snapshot, order: Ordering) -> bool:
    codes = snap.queues.discipline[: snap.queues.height]
    return order.discipline == "fifo" and not np.count_nonzero(codes > 1)


def _held_by_user(snap: Snapshot, policy: Policy, rows: Ints) -> Floats:
    """(P,) milli-GPUs that the live attempts of each job's user hold in the job's queue."""
    jobs, height = snap.jobs, snap.jobs.height
    if not len(rows):
        return np.zeros(0)
    live = np.flatnonzero(jobs.sums[:height].any(axis=1))
    users = int(jobs.user[:height].max(initial=0)) + 1
    held = np.zeros(users * snap.queues.height)
    np.add.at(held, jobs.queue[live] * users + jobs.user[live], _gpus(jobs.sums[live], policy))
    return held[jobs.queue[rows] * users + jobs.user[rows]]
