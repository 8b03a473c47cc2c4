"""Victims against brute force: every set of running jobs, on small clusters.

What holds, and what does not. A preemption is *sound* (with its victims gone the job fits), *complete* (found whenever
any victims would do) and *minimal* (none of its victims can be spared). For a job of one task, where those that run are
equally large, it is the *cheapest* of all; where they differ it is found greedily, and may lose more than the least.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import preempt, victims
from fairway.model.facts import Progressed, Ruled
from fairway.model.ids import NodeId
from fairway.model.job import Job, PriorityClass, Role
from fairway.model.plan import Plan, Start, TaskPlacement
from fairway.model.policy import Policy, Preemption
from fairway.model.reasons import Placed
from fairway.model.resources import Request
from fairway.model.time import Duration
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

RESTART, PROTECT = 2_000, 4_000
POLICY = Policy(cores_per_gpu=16, preemption=Preemption(Duration(RESTART), Duration(PROTECT)))


@dataclass(frozen=True)
class Running:
    """A job on one node: GPUs, class, when it began, and how long ago its last checkpoint was."""

    node: int
    gpus: int
    cls: PriorityClass
    began: int
    checkpoint: int | None


def runnings(largest: int) -> st.SearchStrategy[list[Running]]:
    """Two nodes of 4 devices, full of jobs of up to ``largest`` GPUs but for a few that are missing."""
    classes = st.sampled_from((PriorityClass.HIGH, PriorityClass.LOW, PriorityClass.PREEMPTIBLE, None))

    @st.composite
    def of_node(draw, node):
        jobs, left = list[Running](), 4
        while left:
            gpus = draw(st.integers(1, min(left, largest)))
            left -= gpus
            cls, began, checkpoint = draw(classes), draw(st.integers(1, 9)), draw(st.none() | st.integers(0, 9))
            if cls is not None:
                jobs.append(Running(node, gpus, cls, began, checkpoint))
        return jobs

    return st.tuples(of_node(0), of_node(1)).map(lambda nodes: [*nodes[0], *nodes[1]])


def on_stage(jobs: Sequence[Running]) -> Rehearsal:
    """Two nodes of 4 devices with these jobs on them."""
    it = Rehearsal(POLICY)
    it.nodes(a_node("n0", 4), a_node("n1", 4))
    free = [list(range(4)) for _ in range(2)]
    for index, run in enumerate(sorted(jobs, key=lambda run: run.began)):
        devices = tuple(free[run.node].pop(0) for _ in range(run.gpus))
        it.tell(after=run.began * 1000 - it.state.now)
        job = a_job(f"r{index}", a_request(run.gpus), cls=run.cls)
        task = TaskPlacement(0, 0, NodeId(f"n{run.node}"), devices, 1000)
        it.tell(submitted(job))
        it.tell(Ruled(Plan((Start(it.attempt(job.id)._replace(n=1), (task,), Placed("given", 0.0, (), 0)),))))
        it.start(job.id)
        if run.checkpoint is not None:
            it.tell(Progressed(it.attempt(job.id), checkpoint=(10 - run.checkpoint) * 1000), after=0)
    it.tell(after=10_000 - it.state.now)
    return it


def found(it: Rehearsal, job: Job) -> preempt.Preemption | None:
    """What ``find`` says for a job that waits."""
    it.tell(submitted(job))
    snap = snapshot(it.state)
    trial = Trial(snap)
    return preempt.find(
        snap, trial, POLICY, it.state.groups.group(int(it.state.jobs.group[it.state.jobs.row_of[job.id]])), set()
    )


def losses(it: Rehearsal, cls: PriorityClass) -> dict[int, int]:
    """Milli-GPU ms that each eligible job would lose, worked out from its columns one by one."""
    jobs = it.state.jobs
    lost: dict[int, int] = {}
    for row in jobs.rows():
        new = it.state.now < -(-(int(jobs.placed_at[row]) + PROTECT) // 400) * 400
        if jobs.placement[row] and jobs.job(row).priority.cls > cls and not (new and cls is PriorityClass.HIGH):
            since = max(int(jobs.started_at[row]), int(jobs.checkpoint_at[row])) - RESTART
            lost[row] = (it.state.now - since) * sum(1000 * len(task.devices) for task in jobs.placement[row])
    return lost


def devices_free(it: Rehearsal, gone: Sequence[int]) -> list[int]:
    """Idle devices of each node with some jobs gone."""
    jobs = it.state.jobs
    idle = [4, 4]
    for row in jobs.rows():
        for task in jobs.placement[row]:
            idle[int(task.node[1:])] -= 0 if row in gone else len(task.devices)
    return idle


def fits(it: Rehearsal, gone: Sequence[int], gpus: int, tasks: int) -> bool:
    return sum(idle // gpus for idle in devices_free(it, gone)) >= tasks


def subsets(rows: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for size in range(len(rows) + 1):
        yield from combinations(rows, size)


@given(runnings(4), st.integers(1, 4), st.integers(1, 3))
def test_a_preemption_is_sound_complete_and_minimal(jobs: list[Running], gpus: int, tasks: int) -> None:
    it = on_stage(jobs)
    lost = losses(it, PriorityClass.CRITICAL)
    if fits(it, (), gpus, tasks):
        return
    preemption = found(it, a_job("top", Role("w", tasks, a_request(gpus)), cls=PriorityClass.CRITICAL))
    assert (preemption is not None) == any(fits(it, gone, gpus, tasks) for gone in subsets(list(lost)))
    if preemption is not None:
        rows = [victim.row for victim in preemption.victims]
        assert set(rows) <= lost.keys()
        assert [victim.lost for victim in preemption.victims] == [lost[row] for row in rows]
        assert fits(it, rows, gpus, tasks)
        assert not any(fits(it, [other for other in rows if other != row], gpus, tasks) for row in rows)
        assert len(preemption.placement) == tasks


@given(runnings(1), st.integers(1, 4))
def test_of_equally_large_jobs_those_are_stopped_that_lose_least(jobs: list[Running], gpus: int) -> None:
    it = on_stage(jobs)
    lost = losses(it, PriorityClass.HIGH)
    if fits(it, (), gpus, 1):
        return
    preemption = found(it, a_job("top", a_request(gpus), cls=PriorityClass.HIGH))
    sums = [sum(lost[row] for row in gone) for gone in subsets(list(lost)) if fits(it, gone, gpus, 1)]
    assert (preemption is None) == (not sums)
    if preemption is not None:
        assert sum(victim.lost for victim in preemption.victims) == min(sums)


@given(runnings(4))
def test_to_look_for_victims_leaves_the_trial_as_it_was(jobs: list[Running]) -> None:
    it = on_stage(jobs)
    job = a_job("top", a_request(4), cls=PriorityClass.CRITICAL)
    it.tell(submitted(job))
    snap = snapshot(it.state)
    trial, untouched = Trial(snap), Trial(snap)
    preempt.find(
        snap, trial, POLICY, it.state.groups.group(int(it.state.jobs.group[it.state.jobs.row_of[job.id]])), set()
    )
    for name in ("free", "device_free", "idle", "share_max", "gpu_free", "used"):
        assert (getattr(trial, name) == getattr(untouched, name)).all(), name


def test_cpu_cores_count_as_a_part_of_a_gpu() -> None:
    it = Rehearsal(POLICY)
    it.nodes(a_node("n1", 1, cpu=64))
    it.tell(submitted(a_job("cores", Request(cpu_milli=64_000), cls=PriorityClass.LOW)))
    it.tell(after=500)
    it.decide()
    it.start()
    it.tell(after=1000)
    (row,) = it.state.jobs.rows()
    victim = preempt.lost_work(snapshot(it.state), POLICY, row)
    assert (victim.lost_ms, victim.lost) == (1000, (1000 + RESTART) * 4000)


@given(
    runnings(4),
    st.sampled_from((0.25, 0.5, 1, 2, 3, 4)),
    st.sampled_from((PriorityClass.CRITICAL, PriorityClass.HIGH)),
    st.sets(st.integers(0, 7), max_size=2),
)
def test_the_columns_say_what_is_true_of_each_job_and_bounds_are_bounds(
    jobs: list[Running], gpus: float, cls: PriorityClass, taken: set[int]
) -> None:
    it = on_stage(jobs)
    taken &= set(it.state.jobs.rows())
    it.tell(submitted(a_job("top", a_request(gpus), cls=cls)))
    snap = snapshot(it.state)
    trial = Trial(snap)
    found = victims.victims(snap, POLICY, cls, taken)
    live = [row for row in it.state.jobs.rows() if it.state.jobs.placement[row]]
    one_by_one = {row: preempt.lost_work(snap, POLICY, row) for row in live if preempt.exposed(snap, POLICY, row, cls)}
    one_by_one |= {row: victims.Victim(row, 0, 0, stopping=True) for row in taken}
    assert {int(row): found.at(index) for index, row in enumerate(found.rows)} == one_by_one
    able = np.ones(2, np.bool_)
    where = victims.shares(snap, found)
    bounds = {
        node: bound
        for bound, node in victims.nodes_by_bound(snap, trial, victims.ordered(where), able, a_request(gpus))
    }
    for node in range(2):
        here = [row for row in one_by_one if it.state.jobs.home[row] == node + 1]
        sums = [
            sum(one_by_one[row].lost for row in gone)
            for gone in subsets(here)
            if gone and devices_free(it, gone)[node] >= gpus
        ]
        assert (node in bounds) == bool(sums)
        if sums:
            assert bounds[node] <= min(sums)
    first = victims.cheapest_first(snap, found, where.on(np.arange(2)), 2)
    rest = sorted(victim.lost for victim in one_by_one.values() if not victim.stopping)
    assert [victim.lost for victim in first if not victim.stopping] == rest[:2]
    assert sum(victim.stopping for victim in first) == len(taken)
