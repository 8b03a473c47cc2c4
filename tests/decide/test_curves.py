"""How fast an elastic job is taken to be on other numbers of workers, and the batch size it is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import curves
from fairway.decide.goodput import Limits, Noise, Pace, compute_time, step_time, tune
from fairway.model.elastic import BatchLimits, Elasticity
from fairway.model.facts import Measured
from fairway.model.ids import JobId, NodeId
from fairway.model.job import Role
from fairway.model.node import Node
from fairway.model.phases import Cause
from fairway.model.plan import TaskPlacement
from fairway.model.policy import Policy
from fairway.state.snapshot import snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted
from tests.model.test_elastic import curves as declared

POLICY = Policy()
TRUE = Pace(compute=0.02, example=0.002, remote=0.2, remote_more=0.01, local=0.05, local_more=0.003, overlap=1.5)
LIMITS = BatchLimits(64, 4096, 4, 256)


NOTHING = Elasticity()


def running(workers: int, most: int, elastic: Elasticity = NOTHING) -> Rehearsal:
    """A job of ``workers`` on nodes of four GPUs, which might run on up to ``most``."""
    it = Rehearsal()
    it.nodes(*nodes_for(workers))
    role = Role(count=most, min_count=1, request=a_request(1))
    it.tell(submitted(a_job("a", role, checkpoints=True, elastic=elastic)))
    it.settle()
    it.start()
    assert len(it.where("a")) == workers
    return it


def nodes_for(workers: int) -> list[Node]:
    return [a_node(f"n{index}", max(min(workers - 4 * index, 4), 0)) for index in range(2)]


def resume(it: Rehearsal, workers: int) -> None:
    """Its node is lost, and it goes on where there is room for so many."""
    it.end("a", Cause.NODE_LOST)
    it.nodes(*nodes_for(workers))
    it.tell(after=60_000)
    it.settle()
    it.start()
    assert len(it.where("a")) == workers


def report(it: Rehearsal, batch: int, noise: float | None = None, compute: bool = True) -> None:
    """What a program of the true pace measures where it runs now."""
    where = it.where("a")
    workers, nodes = len(where), len(set(where))
    local = np.array([batch // workers])
    seconds = float(step_time(TRUE, np.array([nodes]), np.array([workers]), local)[0])
    known = float(compute_time(TRUE, local)[0]) if compute else None
    it.tell(Measured(it.attempt("a"), batch, workers, 1, batch / seconds, known, noise))
    assert it.state.measured.refused[0] == ""


def speeds(it: Rehearsal, sizes: list[int]) -> np.ndarray:
    return curves.speeds(snapshot(it.state), POLICY, 0, sizes)


def test_the_best_that_is_known_counts() -> None:
    it = running(4, 8, Elasticity(((1, 1.0), (8, 4.0))))
    job = it.state.jobs.job(0)
    assert curves.source(it.state.measured, job) == "declared"
    it.state.measured.scaling[it.state.measured.of(JobId("a"))] = 0.5
    assert curves.source(it.state.measured, job) == "measured"
    assert speeds(it, [4, 8]).tolist() == pytest.approx([0.5**0.5, 1.0])
    report(it, 64)
    assert curves.source(it.state.measured, job) == "goodput"
    bare = running(4, 8)
    assert curves.source(bare.state.measured, bare.state.jobs.job(0)) == "assumed"
    assert speeds(bare, [4, 8]).tolist() == pytest.approx([0.5**POLICY.elastic.scaling, 1.0])


@given(declared())
def test_a_declared_curve_goes_through_its_points_and_never_beyond_proportion(
    points: tuple[tuple[int, float], ...],
) -> None:
    sizes = tuple(range(1, points[-1][0] + 5))
    found = curves._declared(points, sizes)
    for workers, speed in points:
        assert found[workers - 1] == pytest.approx(speed)
    assert (np.diff(found) > 0).all()
    assert (found[1:] / found[:-1] <= np.array(sizes[1:]) / np.array(sizes[:-1]) * (1 + 1e-9)).all()


@pytest.mark.parametrize("compute", [True, False])
def test_goodput_of_sizes_that_were_measured_is_what_it_is(compute: bool) -> None:
    it = running(1, 8, Elasticity(batch=LIMITS))
    report(it, 64, noise=2000.0, compute=compute)
    for workers in (2, 4, 8):
        resume(it, workers)
        for _ in range(3):
            report(it, 64 * workers, noise=2000.0, compute=compute)
    sizes, nodes = np.array([1, 2, 4, 8]), np.array([1, 1, 1, 2])
    true = tune(TRUE, Noise(1.0, 2000 / 64), Limits(64, 4096, 4, 256), nodes, sizes).goodput
    found = speeds(it, sizes.tolist())
    np.testing.assert_allclose(found / found[0], true / true[0], rtol=0.15 if compute else 0.35)


def test_what_was_not_tried_is_tried_step_by_step() -> None:
    it = running(2, 8)
    report(it, 512)
    kept, fast = curves.useful(snapshot(it.state), POLICY, 0, list(range(1, 9)), 2, settled=True)
    assert kept[-1] == 4, "twice what has been measured"
    assert (np.diff(fast) > 0).all()


def test_sizes_that_only_cost_are_left_out_and_the_present_one_stays() -> None:
    it = running(1, 8)
    report(it, 8)
    resume(it, 8)
    report(it, 8)  # small steps over two nodes: slower than alone
    kept, fast = curves.useful(snapshot(it.state), POLICY, 0, list(range(1, 9)), 8, settled=False)
    assert 8 in kept
    assert fast[kept.index(8)] == fast.max()
    assert (np.diff(fast) >= 0).all()
    others = [its for size, its in zip(kept, fast.tolist(), strict=True) if size != 8]
    assert others == sorted(set(others))
    assert 8 not in curves.useful(snapshot(it.state), POLICY, 0, list(range(1, 9)), 8, settled=True)[0]


@given(
    first=st.integers(1, 500), more=st.integers(0, 5000), local=st.integers(1, 64), workers=st.integers(1, 16),
    noise=st.none() | st.floats(0.01, 1e8), data=st.data(),
)  # fmt: skip
def test_the_batch_that_is_told_is_within_the_limits(
    first: int, more: int, local: int, workers: int, noise: float | None, data: st.DataObject
) -> None:
    limits = BatchLimits(first, first + more, data.draw(st.integers(1, local)), local)
    it = running(4, 16, Elasticity(batch=limits))
    if noise is not None and limits.first >= 4:
        report(it, max(limits.first, 4), noise)
    placement = tuple(TaskPlacement(rank, 0, NodeId(f"n{rank // 4}"), (rank % 4,), 1000) for rank in range(workers))
    told = curves.batch_for(snapshot(it.state), 0, placement)
    if told is not None:
        assert limits.first <= told.total <= limits.most
        assert limits.local_least <= told.local <= limits.local_most
        assert told.total == told.local * told.accumulate * workers
    else:
        totals = (
            local * times * workers
            for local in range(limits.local_least, limits.local_most + 1)
            for times in range(1, limits.most // (local * workers) + 1)
        )
        assert not any(limits.first <= total <= limits.most for total in totals)


def test_noisier_gradients_mean_larger_batches() -> None:
    sizes: list[int] = []
    for noise in (1.0, 100.0, 10_000.0, 1e6):
        it = running(4, 8, Elasticity(batch=LIMITS))
        report(it, 64, noise)
        placement = it.state.jobs.placement[0]
        told = curves.batch_for(snapshot(it.state), 0, placement)
        assert told is not None
        sizes.append(told.total)
    assert sizes == sorted(sizes)
    assert sizes[0] == 64
    assert sizes[-1] > 512


def test_who_chooses_for_itself_is_told_nothing() -> None:
    it = running(4, 8)
    assert curves.batch_for(snapshot(it.state), 0, it.state.jobs.placement[0]) is None
