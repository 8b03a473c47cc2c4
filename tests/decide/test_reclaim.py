"""What is guaranteed can always be had back, nobody loses what its own quota covers, and it comes to an end."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.facts import QueueSet
from fairway.model.ids import QueueId
from fairway.model.job import PriorityClass, Role
from fairway.model.phases import JobPhase
from fairway.model.plan import Stop
from fairway.model.queue import Queue
from fairway.model.reasons import PreemptedBy, ReclaimedBy
from fairway.model.resources import Amount
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, effects, minutes, submitted

NAMES = ("a", "b", "c", "d/x", "d/y")


def stage(nodes: int, quotas: list[int | None]) -> Rehearsal:
    """Nodes of 4 GPUs, and queues with these quotas that may borrow all there is; ``d`` has one for two below it."""
    it = Rehearsal()
    it.nodes(*(a_node(f"n{i}", 4) for i in range(nodes)))
    for name, quota in zip(("a", "b", "c", "d"), quotas, strict=True):
        it.tell(QueueSet(Queue(QueueId(name), quota=Amount(gpu_milli=None if quota is None else quota * 1000))))
    return it


def used(it: Rehearsal, name: str) -> int:
    """GPUs that a queue uses, those of jobs that are being stopped left out."""
    jobs, queues = it.state.jobs, it.state.queues
    row = queues.row_of.get(QueueId(name), -1)
    own = [r for r in jobs.rows() if row in queues.above[int(jobs.queue[r])] and jobs.stop[r] is None]
    return int(np.array([jobs.sums[r, 2] for r in own]).sum()) // 1000


def settle(it: Rehearsal) -> list[ReclaimedBy]:
    """Decide, and let who is told to stop stop, until nothing more happens; why jobs were stopped."""
    why: list[ReclaimedBy] = []
    for _ in range(20 + 4 * len(it.state.jobs)):
        before = {name: used(it, name) for name in ("a", "b", "c", "d")}
        plan = it.decide()
        it.prove()
        if not effects(plan):
            return why
        stops = [action for action in plan.actions if isinstance(action, Stop)]
        why += [stop.reason for stop in stops if isinstance(stop.reason, ReclaimedBy)]
        for name, held in before.items():
            quota = int(it.state.queues.quota[it.state.queues.row_of[QueueId(name)], 2]) // 1000
            # A high job that its quota covers may stop lower ones of others, as critical ones may.
            by_class = any(isinstance(stop.reason, PreemptedBy) for stop in stops)
            if not by_class and not any(jobs_of_class(it, name, PriorityClass.CRITICAL) for name in NAMES):
                assert used(it, name) >= min(held, quota), f"{name} has lost what it is guaranteed"
        it.start()
        it.stop()
    raise AssertionError("decisions without an end")


def jobs_of_class(it: Rehearsal, name: str, cls: PriorityClass) -> list[int]:
    """Rows of the live and waiting jobs of a queue that have a class."""
    jobs, row = it.state.jobs, it.state.queues.row_of.get(QueueId(name), -1)
    return [r for r in jobs.rows() if jobs.queue[r] == row and jobs.cls[r] == cls]


classes = st.sampled_from((PriorityClass.HIGH, PriorityClass.MEDIUM, PriorityClass.LOW))
crowds = st.lists(st.tuples(st.sampled_from(NAMES), classes), min_size=10, max_size=24)


@given(st.tuples(*[st.integers(0, 3)] * 4), crowds, st.sampled_from(NAMES), classes)
def test_a_guaranteed_quota_can_always_be_had_back(
    quotas: tuple[int, ...], crowd: list[tuple[str, PriorityClass]], owner: str, cls: PriorityClass
) -> None:
    it = stage(3, list(quotas))
    for index, (name, own) in enumerate(crowd):
        if name.split("/")[0] != owner.split("/")[0]:
            it.tell(submitted(a_job(f"c{index}", a_request(1), queue=name, cls=own)))
    settle(it)
    it.tell(after=minutes(30))
    top = owner.split("/")[0]
    quota = quotas[("a", "b", "c", "d").index(top)]
    for index in range(quota):
        it.tell(submitted(a_job(f"o{index}", a_request(1), queue=owner, cls=cls)))
    settle(it)
    assert used(it, top) == quota


loads = st.lists(
    st.tuples(
        st.sampled_from(NAMES), st.sampled_from((0.5, 1, 2, 3, 4)), st.integers(1, 3),
        st.sampled_from(tuple(PriorityClass)), st.integers(0, 40),
    ),
    max_size=14,
)  # fmt: skip


@given(st.lists(st.one_of(st.none(), st.integers(0, 8)), min_size=4, max_size=4), loads)
def test_taking_back_comes_to_an_end_and_takes_nothing_that_is_covered(
    quotas: list[int | None], load: list[tuple[str, float, int, PriorityClass, int]]
) -> None:
    it, reclaimed = stage(3, quotas), list[ReclaimedBy]()
    for index, (name, gpus, count, cls, wait) in enumerate(load):
        it.tell(submitted(a_job(f"j{index}", Role(count=count, request=a_request(gpus)), queue=name, cls=cls)))
        reclaimed += settle(it)
        it.tell(after=minutes(wait))
    assert len(reclaimed) <= len(load) * len(load)


def test_most_over_its_quota_of_those_that_lose_the_same() -> None:
    it = stage(2, [4, 2, 2, None])
    for index in range(3):
        it.tell(submitted(a_job(f"b{index}", a_request(1), queue="b")))
    for index in range(5):
        it.tell(submitted(a_job(f"c{index}", a_request(1), queue="c")))
    settle(it)
    it.tell(submitted(a_job("owner", a_request(1), queue="a")))
    (why,) = settle(it)
    assert (why.borrower, why.over) == ("c", 3000)


def test_where_a_queue_may_lose_one_of_two_jobs_it_is_the_one_that_helps() -> None:
    it = stage(0, [4, 8, None, None])
    it.nodes(a_node("full", 4, cpu=8))
    it.tell(submitted(a_job("cores", a_request(cpu=7), queue="c", cls=PriorityClass.CRITICAL)))
    it.decide()
    it.start()
    it.nodes(a_node("node", 4, cpu=8))
    it.tell(submitted(a_job("helps", a_request(4, cpu=2), queue="a")))
    it.decide()
    it.start()
    it.tell(after=minutes(30))
    it.tell(submitted(a_job("cheaper", a_request(4), queue="a")))
    it.decide()
    it.start()
    it.nodes(a_node("free", 4, cpu=8))
    it.tell(submitted(a_job("gang", Role("w", 2, a_request(4, cpu=4)), queue="b")))
    settle(it)
    assert it.phase("gang") is JobPhase.RUNNING
    assert it.phase("cheaper") is JobPhase.RUNNING


def test_who_was_refused_is_told_when_a_queue_that_borrows_borrows_more() -> None:
    it = stage(0, [1, 1, None, None])
    it.nodes(a_node("n", 2), a_node("m", 1, "V100"))
    it.tell(submitted(a_job("large", a_request(2), queue="a")))  # its queue needs some of it for its quota
    settle(it)
    it.tell(submitted(a_job("owner", a_request(1, types=("H100",)), queue="b")))
    assert not settle(it)
    it.tell(submitted(a_job("more", a_request(1), queue="a")))
    (why,) = settle(it)
    assert (why.by, why.borrower) == ("owner", "a")
