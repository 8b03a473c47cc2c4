"""The kernel against its plain twin: both walk the same line, each on a trial of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import walk_fast
from fairway.decide.line import Line
from fairway.decide.marks import OVER_LIMIT, REFUSED
from fairway.decide.pipeline import decide
from fairway.model.ids import JobId, QueueId
from fairway.model.job import PriorityClass, Role
from fairway.model.plan import Placement, Start, Starts
from fairway.model.policy import Placing, Policy
from fairway.model.queue import Queue
from fairway.model.reasons import Placed
from fairway.model.resources import Amount, Request
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_queue, a_request, submitted

KINDS = ("H100", "A100", "V100")

nodes = st.tuples(
    st.integers(0, 9), st.sampled_from(KINDS), st.integers(1, 64), st.sampled_from((1 << 10, 1 << 16, 1 << 19))
)
requests = st.builds(
    a_request,
    st.sampled_from((0, 0.25, 0.5, 0.7, 1, 2, 3, 8)),
    st.sampled_from((0, 1, 4, 16)),
    st.sampled_from((0, 1 << 9, 1 << 15)),
    types=st.lists(st.sampled_from((*KINDS, ("A100", 0.5), ("V100", 0.2))), max_size=2, unique_by=str),
)
loads = st.tuples(
    st.lists(nodes, min_size=1, max_size=90),
    st.lists(requests, min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(tuple(PriorityClass)[2:]), st.booleans()), max_size=40),
    st.one_of(st.none(), st.integers(0, 20)),
)
Loads = tuple[list[tuple[int, str, int, int]], list[Request], list[tuple[int, PriorityClass, bool]], int | None]


def rehearse(load: Loads, count: int = 1) -> Rehearsal:
    """The cluster and the line of a load; every job has ``count`` tasks."""
    its_nodes, its_requests, jobs, limit = load
    it = Rehearsal()
    it.nodes(
        *(a_node(f"n{i:03}", gpus, kind, cpu=cpu, memory=mem) for i, (gpus, kind, cpu, mem) in enumerate(its_nodes))
    )
    it.queues(a_queue("a", gpus=limit), a_queue("b"))
    for index, (which, cls, first) in enumerate(jobs):
        role = Role(count=count, request=its_requests[which % len(its_requests)])
        it.tell(submitted(a_job(f"j{index}", role, queue="a" if first else "b", cls=cls)))
    return it


Outcome = tuple[dict[JobId, tuple[Placement, Placed]], list[int], list[list[int]]]


def outcome(it: Rehearsal, policy: Policy = Policy(), *, fast: bool) -> Outcome:  # noqa: B008 - frozen
    """What a walk does with the line: placements and reasons, what became of each job, and the trial after it."""
    snap = snapshot(it.state)
    trial = Trial(snap)
    line = Line(snap, trial, policy)
    for why, at in line.walk_fast() if fast else line.walk_plainly():
        assert why == REFUSED, "nothing here needs the caller, except to take back what others have borrowed"
        line.refuse(at, line.answers[at] == OVER_LIMIT)
    columns = [
        getattr(trial, name).tolist() for name in ("free", "device_free", "idle", "share_max", "gpu_free", "used")
    ]
    columns.append(trial.lending.inner.tolist() if trial.lending else [])
    found = {snap.jobs.id_of(int(line.rows[at])): (placement, reason) for at, placement, reason in line.placed()}
    found |= {start.attempt.job: (start.placement, start.reason) for start in line.starts() or ()}
    return found, line.answers.tolist(), columns


@given(loads)
def test_both_walks_do_the_same_with_single_tasks(load: Loads) -> None:
    it = rehearse(load)
    assert outcome(it, fast=True) == outcome(it, fast=False)


@given(loads, st.sampled_from((1, 2, 5)))
def test_both_walks_do_the_same_when_they_pack(load: Loads, count: int) -> None:
    it, policy = rehearse(load, count), Policy(placement=Placing("pack"))
    assert outcome(it, policy, fast=True) == outcome(it, policy, fast=False)


keeps = st.tuples(*[st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from((0, 4)))] * 2)


@given(loads, st.sampled_from((1, 3)), keeps)
def test_both_walks_do_the_same_where_queues_keep_what_they_do_not_use(
    load: Loads, count: int, queues: tuple[tuple[int, int, int], ...]
) -> None:
    it = rehearse(load, count)
    for name, (quota, lend, cpu) in zip(("b", "c/d"), queues, strict=True):
        quotas, lends = Amount(cpu * 1000, None, quota * 1000), Amount(0, None, lend * 1000)
        it.queues(Queue(QueueId(name), quota=quotas, lend=lends))
    it.queues(Queue(QueueId("c"), quota=Amount(gpu_milli=8000), lend=Amount(gpu_milli=4000)))
    assert outcome(it, fast=True) == outcome(it, fast=False)
    it.decide()
    it.prove()


@given(loads, st.integers(2, 12))
def test_both_walks_do_the_same_with_gangs(load: Loads, count: int) -> None:
    it = rehearse(load, count)
    assert outcome(it, fast=True) == outcome(it, fast=False)
    it.decide()
    it.prove()


@pytest.mark.parametrize("seed", range(4))
def test_both_walks_do_the_same_where_not_every_node_is_compared(seed: int) -> None:
    rng = np.random.default_rng(seed)
    it = Rehearsal()
    sizes = rng.choice((0, 4, 8), 700)
    it.nodes(*(a_node(f"n{i:03}", int(n), str(rng.choice(KINDS)), cpu=64) for i, n in enumerate(sizes)))
    for i in range(150):
        request = a_request(rng.choice((0, 0.25, 0.5, 1, 1, 2, 4)), cpu=int(rng.choice((1, 4))))
        it.tell(submitted(a_job(f"j{i}", Role(count=int(rng.choice((1, 1, 1, 3))), request=request))))
    assert outcome(it, fast=True) == outcome(it, fast=False)


def test_a_gang_of_a_fast_and_a_slow_type_fills_the_fast_one_first_and_few_nodes() -> None:
    it = Rehearsal()
    it.nodes(a_node("slow", 8, "A100"), a_node("fast-1", 8, "H100"), a_node("fast-2", 4, "H100"))
    role = Role(count=7, request=a_request(2, types=("H100", ("A100", 0.5))))
    it.tell(submitted(a_job("j", role)))
    it.decide()
    assert it.where("j") == ("fast-1",) * 4 + ("fast-2",) * 2 + ("slow",)


def test_a_search_of_a_large_cluster_ends_after_enough_nodes_and_stays_tight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk_fast, "ready", True)
    it = Rehearsal()
    it.nodes(*(a_node(f"n{i:04}", 8) for i in range(1_000)))
    it.tell(*(submitted(a_job(f"j{i}", a_request(1))) for i in range(80)))
    plan = decide(snapshot(it.state), it.policy)
    assert any(isinstance(action, Starts) for action in plan.actions), "many are told as columns"
    starts = [action for action in plan.each() if isinstance(action, Start)]
    assert len(starts) == 80
    assert len({task.node for start in starts for task in start.placement}) == 10, "ten nodes are filled"


@pytest.mark.parametrize(("gpus", "share", "looks"), [(1, 0, False), (0, 0, True), (1, 500, True)])
def test_no_block_is_looked_at_whose_idle_devices_and_free_cores_are_on_different_nodes(
    gpus: int, share: int, looks: bool
) -> None:
    from fairway.decide import kernels_walk

    free = np.array([[100_000, 9, 0, 0], [1_000, 9, 0, 0]], np.int64)
    idle, most = np.array([0, 1], np.int64), np.array([700, 1_000], np.int64)
    columns = np.ones(2, np.bool_), free, np.zeros((2, 1), np.int64), idle, most, most, np.zeros(2, np.int64)
    blocks = tuple(np.zeros((1, width), np.int64) for width in (1, 1, 8, 1, 1, 8))
    kernels_walk.summarise_all(columns, blocks)
    flat, milli, ours = np.array([8_000, 1, 0, 0], np.int64), np.array([share], np.int64), np.ones(1, np.bool_)
    have = kernels_walk._counts(0, blocks[0], blocks[1], blocks[2], flat, gpus, 1, milli, ours)
    assert bool(have) == looks
    area = kernels_walk._counts(0, blocks[3], blocks[4], blocks[5], flat, gpus, 1, milli, ours)
    assert area == have
