"""What a queue does not lend is empty when its owner comes, whatever others do; and nobody else loses by it."""

from collections.abc import Sequence
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.facts import QueueSet
from fairway.model.ids import QueueId
from fairway.model.job import PriorityClass, Role
from fairway.model.phases import JobPhase
from fairway.model.queue import Queue
from fairway.model.reasons import KeptBack, NoRoom
from fairway.model.resources import Amount
from fairway.state.lending import Lending
from fairway.state.snapshot import snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

TREE = ("a", "a/x", "a/y", "b", "c")
LEAVES = ("a/x", "a/y", "b", "c", "guest")
GPUS = 12

quotas = st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * len(TREE))
Quotas = Sequence[tuple[int, int]]


def stage(some: Quotas) -> Rehearsal:
    """12 GPUs, and queues with (quota, lend); what ``a`` keeps is not more than all keep who are below it."""
    it = Rehearsal()
    it.nodes(a_node("n", GPUS))
    for name, (quota, lend) in zip(TREE, some, strict=True):
        amounts = Amount(gpu_milli=quota * 1000), Amount(gpu_milli=lend * 1000)
        it.tell(QueueSet(Queue(QueueId(name), quota=amounts[0], lend=amounts[1])))
    return it


def keeps(some: Quotas, name: str) -> int:
    """GPUs that a queue keeps for itself."""
    quota, lend = dict(zip(TREE, some, strict=True)).get(name, (0, 0))
    return max(quota - lend, 0)


def used(it: Rehearsal, name: str) -> int:
    row = it.state.queues.row_of.get(QueueId(name))
    return 0 if row is None else int(it.state.queues.used[row, 2]) // 1000


def plain_claims(it: Rehearsal, some: Quotas) -> int:
    """GPUs that are used, or kept, by all together; the plain rule, from the definition."""
    team = {name: max(used(it, name), keeps(some, name)) for name in ("a/x", "a/y")}
    own = used(it, "a") - used(it, "a/x") - used(it, "a/y")
    rest = used(it, "") - used(it, "a") - used(it, "b") - used(it, "c")
    tops = {name: max(used(it, name), keeps(some, name)) for name in ("b", "c")}
    return max(keeps(some, "a"), own + sum(team.values())) + sum(tops.values()) + rest


def promised(some: Quotas) -> int:
    """GPUs that all together keep when nothing runs."""
    return max(keeps(some, "a"), keeps(some, "a/x") + keeps(some, "a/y")) + keeps(some, "b") + keeps(some, "c")


@given(quotas, st.integers(0, 1 << 30), st.sampled_from(LEAVES[:-1]))
def test_what_is_kept_is_empty_when_its_owner_comes(some: Quotas, seed: int, owner: str) -> None:
    if promised(some) > GPUS:
        return
    it, rng = stage(some), Random(seed)
    classes = tuple(PriorityClass)
    for index in range(16):
        draw = rng.random()
        live = [name for name in it.state.jobs.row_of if it.phase(name) is JobPhase.RUNNING]
        if draw < 0.75 or not live:
            leaf = rng.choice([name for name in LEAVES if name != owner])
            size = rng.choice((1, 1, 1, 2, 3))
            role = Role(count=size, request=a_request(1), min_count=rng.choice((None, 1)))
            it.tell(submitted(a_job(f"j{index}", role, queue=leaf, cls=rng.choice(classes))), after=1000)
        else:
            it.end(rng.choice(live))
        it.carry_out()
        assert plain_claims(it, some) <= GPUS, "somebody has taken what is kept"
    for index in range(keeps(some, owner)):
        it.tell(submitted(a_job(f"own{index}", a_request(1), queue=owner, cls=PriorityClass.LOW)))
    it.decide()
    assert used(it, owner) == keeps(some, owner), "they start at once, without anybody having to stop"
    it.prove()


@given(quotas, st.integers(0, 1 << 30))
def test_claims_are_counted_as_they_change_and_as_defined(some: Quotas, seed: int) -> None:
    it, rng = stage(some), Random(seed)
    queues = it.state.queues
    snap = snapshot(it.state)
    trial_used = queues.used[: queues.height].copy()
    lending = Lending(snap.nodes, snap.queues, trial_used)
    taken: list[tuple[int, int]] = []
    for _ in range(20):
        if taken and rng.random() < 0.4:
            row, gpus = taken.pop(rng.randrange(len(taken)))
            sign = -1
        else:
            row, gpus, sign = rng.choice(list(queues.rows())), rng.randint(1, 4), 1
            taken.append((row, gpus))
        sums = np.array((0, 0, sign * gpus * 1000), np.int64)
        for above in queues.above[row]:
            trial_used[above] += sums
        lending.charge(row, sums)
        # What there is stays what there is: as much less is free as more is used.
        anew = Lending(snap.nodes, snap.queues, trial_used)
        assert (lending.inner == anew.inner).all()
        for queue in queues.rows():
            open_to = int(lending.open(queue)[2])
            assert lending.short(queue, (0, 0, max(open_to, 0))) is None or lending.claim(0)[2] > lending.total[2]
            if lending.kept()[2] > lending.claim(queue)[2] - lending.inner[queue][2] and open_to >= 0:
                more = (0, 0, open_to + 1)
                assert lending.short(queue, more) == 2 or not _others_keep(lending, queues.above[queue])


def _others_keep(lending: Lending, above: list[int]) -> bool:
    """Whether what is kept is kept by queues that this one is not in."""
    own = sum(int((lending.claim(row) - lending.inner[row])[2]) for row in above)
    return int(lending.kept()[2]) > own


def test_where_nobody_keeps_anything_nothing_is_counted() -> None:
    it = stage([(4, 4)] * len(TREE))
    assert it.state.queues.keepers == []
    row = it.state.queues.row_of[QueueId("b")]
    it.queues(Queue(QueueId("b"), quota=Amount(gpu_milli=4000), lend=Amount(gpu_milli=1000)))
    assert it.state.queues.keepers == [row]
    it.prove()


def test_whoever_is_kept_out_is_tried_again_whatever_becomes_free() -> None:
    it = stage([(0, 0), (0, 0), (0, 0), (4, 0), (0, 0)])
    it.nodes(a_node("m", 4))
    # 16 GPUs, 4 kept: 3 single ones leave 9, and the gang of 10 finds room but may not have it.
    for index in range(3):
        it.tell(submitted(a_job(f"j{index}", a_request(1), queue="guest")))
    it.carry_out()
    it.tell(submitted(a_job("gang", Role(count=10, request=a_request(1)), queue="guest")))
    it.carry_out()
    assert isinstance(it.why("gang"), KeptBack)
    it.end("j0")
    it.decide()
    assert it.phase("gang") is JobPhase.STARTING


def test_a_limit_that_is_lifted_lets_them_in() -> None:
    it = stage([(0, 0), (0, 0), (0, 0), (12, 0), (0, 0)])
    it.tell(submitted(a_job("j", a_request(2), queue="guest")))
    it.carry_out()
    assert isinstance(it.why("j"), KeptBack)
    it.queues(Queue(QueueId("b"), quota=Amount(gpu_milli=12_000), lend=Amount(gpu_milli=2000)))
    it.decide()
    assert it.phase("j") is JobPhase.STARTING


def test_who_finds_no_room_at_all_waits_for_room_and_may_have_it_reserved() -> None:
    it = stage([(0, 0), (0, 0), (0, 0), (1, 0), (0, 0)])
    for index in range(10):
        it.tell(submitted(a_job(f"j{index}", a_request(1), queue="guest")))
    it.carry_out()
    it.tell(submitted(a_job("large", a_request(8), queue="guest")))
    it.carry_out()
    assert isinstance(it.why("large"), NoRoom)
