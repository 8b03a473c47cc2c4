"""Moving starts that have not begun: more of the line starts, in the order of the line, and nothing breaks."""

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import repack
from fairway.decide.pipeline import decide
from fairway.model.ids import QueueId
from fairway.model.job import PriorityClass, Role
from fairway.model.plan import Plan, Start
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.resources import Amount
from fairway.state.snapshot import snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

NODES = st.lists(
    st.tuples(st.integers(1, 8), st.sampled_from(("H100", "A100")), st.integers(4, 32)), min_size=1, max_size=5
)
REQUESTS = st.builds(
    a_request,
    st.sampled_from((0, 0.25, 0.5, 0.7, 1, 1, 2, 3, 4)),
    st.sampled_from((1, 2, 8)),
    types=st.sampled_from(((), (), ("H100",), ("A100",), ("H100", ("A100", 0.5)))),
)
JOBS = st.lists(
    st.tuples(REQUESTS, st.sampled_from((1, 1, 1, 2, 3)), st.sampled_from((0, 0, 1)), st.booleans()),
    min_size=2,
    max_size=12,
)


QUEUES = st.lists(
    st.builds(
        lambda weight, quota, borrow, lend: (weight, Amount(gpu_milli=quota), Amount(gpu_milli=borrow), lend),
        st.sampled_from((0.5, 1.0, 2.0)),
        st.sampled_from((None, 1000, 2000, 4000)),
        st.sampled_from((None, None, 0, 2000)),
        st.sampled_from((None, None, 0)),
    ),
    min_size=2,
    max_size=2,
)
"""Weight, quota, what may be borrowed and lent, of each queue."""


def rehearse(nodes, jobs, queues) -> Rehearsal:
    it = Rehearsal()
    it.nodes(*(a_node(f"n{i}", gpus, kind, cpu=cpu) for i, (gpus, kind, cpu) in enumerate(nodes)))
    for name, (weight, quota, borrow, lend) in zip("ab", queues, strict=True):
        it.queues(Queue(QueueId(name), weight, quota, borrow, lend=Amount(gpu_milli=lend)))
    for index, (request, count, low, first) in enumerate(jobs):
        cls = PriorityClass.LOW if low else PriorityClass.MEDIUM
        role = Role(count=count, request=request, min_count=1 if count == 3 else None)
        it.tell(submitted(a_job(f"j{index}", role, queue="a" if first else "b", cls=cls)))
    return it


def started(plan: Plan) -> dict[str, Start]:
    return {action.attempt.job: action for action in plan.each() if isinstance(action, Start)}


@given(NODES, JOBS, QUEUES)
def test_the_first_to_differ_in_line_is_one_more_that_starts(nodes, jobs, queues) -> None:
    it = rehearse(nodes, jobs, queues)
    snap = snapshot(it.state)
    with mock.patch.object(repack, "MOST_ASKS", 0):
        plain = list(started(decide(snap, Policy())))
    moved = list(started(decide(snap, Policy())))
    # Plans are in the order of the line, and turns are the same as long as starts are: the first that differs is one
    # that would have been passed over.
    differ = next((at for at in range(len(plain)) if moved[at : at + 1] != plain[at : at + 1]), None)
    assert differ is None or (len(moved) > differ and moved[differ] not in plain)
    it.decide()
    it.prove()


@given(NODES, JOBS, QUEUES)
def test_nobody_is_moved_to_slower_devices(nodes, jobs, queues) -> None:
    snap = snapshot(rehearse(nodes, jobs, queues).state)
    with mock.patch.object(repack, "MOST_ASKS", 0):
        plain = started(decide(snap, Policy()))
    moved = started(decide(snap, Policy()))

    def pace(start: Start) -> float:
        job = snap.jobs.job(snap.jobs.row_of[start.attempt.job])
        kinds = [snap.nodes.node(snap.nodes.row_of[task.node]).gpu_type for task in start.placement]
        return min(job.roles[0].request.speed_on(kind) for kind in kinds)

    first = next((name for name in moved if name not in plain), None)
    before = [name for name in moved if first is None or list(moved).index(name) < list(moved).index(first)]
    for name in before:
        if name in plain:
            assert pace(moved[name]) >= pace(plain[name])


def test_the_work_is_bounded() -> None:
    it = Rehearsal()
    it.nodes(*(a_node(f"n{index}", 4, "H100" if index % 2 else "A100") for index in range(8)))
    for index in range(200):
        types = (("H100",), ("A100",), ())[index % 3]
        it.tell(submitted(a_job(f"j{index}", a_request(1 + index % 4, cpu=1 + index % 7, types=types))))
    with mock.patch.object(repack, "place", wraps=repack.place) as placed:
        plan = decide(snapshot(it.state), Policy())
    assert started(plan)
    assert 0 < placed.call_count <= repack.LOOKS // repack.LEAST


@given(NODES, JOBS, QUEUES)
def test_nobody_is_turned_away_whom_moving_others_would_help(nodes, jobs, queues) -> None:
    """Where less is free in all than a job needs, no order is tried; the plan is the same."""
    it = rehearse(nodes, jobs, queues)
    plan = decide(snapshot(it.state), Policy())
    with mock.patch.object(repack.Repack, "_enough", return_value=True):
        assert decide(snapshot(it.state), Policy()) == plan


def test_nothing_is_tried_where_nothing_is_free() -> None:
    """One of ten thousand equal jobs takes what another has left: a decision in a swarm asks for no other order."""
    it = rehearse([(2, "H100", 8)], [], [(1.0, Amount(), Amount(), None)] * 2)
    it.tell(*(submitted(a_job(f"j{index}", a_request(1, 1))) for index in range(20)))
    with mock.patch.object(repack.Repack, "_place", side_effect=AssertionError("tried")):
        it.settle()
    assert it.state.groups.refused == 18
