"""How fast a job runs on what it has, and what of it survives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.ids import JobId, NodeId, QueueId
from fairway.model.job import Job, Role
from fairway.model.node import Node
from fairway.model.plan import Placement, TaskPlacement
from fairway.model.resources import Accelerator, Request
from fairway.model.time import Duration
from fairway.sim.progress import Progress, speed

NODES = {NodeId(kind): Node(NodeId(kind), gpus=8, gpu_type=kind) for kind in ("H100", "A100")}
TYPED = Request(gpus=1, accelerators=(Accelerator("H100", 2.0), Accelerator("A100", 0.5)))


def job(*roles: Role, work: int | None = 1_000, every: int | None = None, checkpoints: bool = False) -> Job:
    return Job(
        id=JobId("j"),
        name="j",
        queue=QueueId("q"),
        roles=roles or (Role(),),
        work=None if work is None else Duration(work),
        checkpoints=checkpoints or every is not None,
        checkpoint_every=None if every is None else Duration(every),
    )


def on(*places: tuple[int, str]) -> Placement:
    return tuple(TaskPlacement(rank, role, NodeId(node), (0,), 1_000) for rank, (role, node) in enumerate(places))


CASES = [
    pytest.param(job(), on((0, "A100")), 1.0, id="no preference"),
    pytest.param(job(Role(request=TYPED)), on((0, "H100")), 2.0, id="fast type"),
    pytest.param(job(Role(request=TYPED)), on((0, "A100")), 0.5, id="slow type"),
    pytest.param(job(Role(count=2, request=TYPED)), on((0, "H100"), (0, "A100")), 0.5, id="a gang at its slowest"),
    pytest.param(job(Role(count=4, min_count=1)), on((0, "A100")), 0.25, id="one of four workers"),
    pytest.param(
        job(Role("ps", 1), Role("worker", 4, min_count=2)),
        on((0, "A100"), (1, "A100"), (1, "A100")),
        0.5,
        id="the scarcest role",
    ),
    pytest.param(
        job(Role(count=2, min_count=1, request=TYPED)), on((0, "H100")), 1.0, id="fast type, half the workers"
    ),
]


@pytest.mark.parametrize(("what", "placement", "expected"), CASES)
def test_speed(what: Job, placement: Placement, expected: float) -> None:
    assert speed(what, placement, NODES) == expected


def test_another_speedup_can_be_given() -> None:
    elastic = job(Role(count=4, min_count=1))
    assert speed(elastic, on((0, "A100")), NODES, lambda workers, full: (workers / full) ** 0.5) == 0.5


def test_work_without_an_end_has_no_duration() -> None:
    assert Progress().duration(job(work=None), 1.0) is None


def test_a_job_without_checkpoints_begins_again() -> None:
    progress, what = Progress(), job()
    progress.stopped(what, 1.0, 700, told=True)
    assert progress.duration(what, 1.0) == 1_000


def test_a_job_resumes_from_its_last_checkpoint() -> None:
    progress, what = Progress(), job(every=300)
    progress.stopped(what, 1.0, 700, told=False)
    assert progress.duration(what, 1.0) == 400
    progress.stopped(what, 2.0, 150, told=True)
    assert progress.duration(what, 1.0) == 400, "the last checkpoint is as old as it was"
    assert progress.duration(what, 2.0) == 200


def test_a_job_that_is_told_to_stop_saves_all_when_it_names_no_interval() -> None:
    progress, what = Progress(), job(checkpoints=True)
    progress.stopped(what, 1.0, 700, told=True)
    assert progress.duration(what, 1.0) == 300
    progress.stopped(what, 1.0, 100, told=False)
    assert progress.duration(what, 1.0) == 300, "a lost node leaves no time to save"


@given(
    work=st.integers(1, 10**9),
    every=st.integers(1, 10**6),
    runs=st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from((0.25, 0.5, 1.0, 2.0, 3.3)), st.booleans())),
)
def test_progress_only_grows_and_never_beyond_what_was_run(
    work: int, every: int, runs: list[tuple[int, float, bool]]
) -> None:
    progress, what, done = Progress(), job(work=work, every=every), 0.0
    for ran, pace, told in runs:
        left = progress.duration(what, pace)
        assert left is not None
        ran = min(ran, left)
        before = progress.kept(what)
        progress.stopped(what, pace, ran, told)
        done += ran * pace
        assert before <= progress.kept(what) <= done + 1e-3
        assert progress.kept(what) - before >= max(ran - every, 0) * pace - 1e-3
