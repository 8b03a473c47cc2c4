"""The kernel against its plain twin: ``gang.place`` and the limits of ``admit``, job by job on a trial of its own."""

from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import kernels_walk as kernel
from fairway.decide.admit import over_limit
from fairway.decide.gang import Fitted, place
from fairway.decide.line import Line
from fairway.decide.pipeline import decide
from fairway.model.job import PriorityClass, Role
from fairway.model.plan import Start
from fairway.model.policy import Policy
from fairway.model.resources import Request
from fairway.state.groups import Shape
from fairway.state.jobs import placed_sums
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


@given(loads)
def test_single_tasks_go_where_the_plain_twin_puts_them(load: Loads) -> None:
    it = rehearse(load)
    snap, policy = snapshot(it.state), Policy()
    trial, twin = Trial(snap), Trial(snap)
    line = Line(snap, trial, policy)
    assert not list(line.walk()), "nothing here needs the slow path"
    got = {at: (placement, reason) for at, placement, reason in line.placed()}
    for at, row in enumerate(line.rows.tolist()):
        group = snap.groups.group(int(line.groups[at]))
        if over_limit(snap, twin, group.queue, group.shape.sums):
            assert line.answers[at] == kernel.OVER_LIMIT
            continue
        outcome = place(snap, twin, policy, group.shape)
        assert isinstance(outcome, Fitted) == (at in got)
        if isinstance(outcome, Fitted):
            twin.charge(group.queue, placed_sums(snap.jobs.job(row), outcome.placement))
            placement, reason = got[at]
            assert placement == outcome.placement
            assert abs(reason.score - outcome.reason.score) <= 1e-4
    for name in ("free", "device_free", "idle", "share_max", "gpu_free", "used"):
        assert (getattr(trial, name) == getattr(twin, name)).all(), name


@given(loads, st.integers(2, 12))
def test_gangs_start_whole_where_there_is_room_and_not_at_all_where_there_is_none(load: Loads, count: int) -> None:
    it = rehearse(load, count)
    snap, policy = snapshot(it.state), Policy()
    trial = Trial(snap)
    line = Line(snap, trial, policy)
    assert not list(line.walk())
    got = {at: placement for at, placement, _ in line.placed()}
    assert all([task.rank for task in placement] == list(range(count)) for placement in got.values())
    assert (trial.device_free >= 0).all()
    assert (trial.free >= 0).all()
    for at in range(len(line)):
        if line.answers[at] == kernel.NO_ROOM:
            shape: Shape = snap.groups.group(int(line.groups[at])).shape
            assert not isinstance(place(snap, trial, policy, shape), Fitted), "what was refused fits after all"
    it.decide()
    it.prove()


def test_a_gang_of_a_fast_and_a_slow_type_fills_the_fast_one_first_and_few_nodes() -> None:
    it = Rehearsal()
    it.nodes(a_node("slow", 8, "A100"), a_node("fast-1", 8, "H100"), a_node("fast-2", 4, "H100"))
    role = Role(count=7, request=a_request(2, types=("H100", ("A100", 0.5))))
    it.tell(submitted(a_job("j", role)))
    it.decide()
    assert it.where("j") == ("fast-1",) * 4 + ("fast-2",) * 2 + ("slow",)


def test_a_search_of_a_large_cluster_ends_after_enough_nodes_and_stays_tight() -> None:
    it = Rehearsal()
    it.nodes(*(a_node(f"n{i:04}", 8) for i in range(1_000)))
    it.tell(*(submitted(a_job(f"j{i}", a_request(1))) for i in range(80)))
    plan = decide(snapshot(it.state), it.policy)
    starts = [action for action in plan.actions if isinstance(action, Start)]
    assert len(starts) == 80
    assert len({task.node for start in starts for task in start.placement}) == 10, "ten nodes are filled"
