"""Quota lent for a time: nothing is promised twice, nothing is lost, and the lender has it back when it is over."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.facts import LoanEnded, QueueSet, QuotaLent
from fairway.model.ids import LoanId, QueueId
from fairway.model.loan import Lent, Loan
from fairway.model.queue import Queue
from fairway.model.resources import Amount
from fairway.model.time import Instant
from fairway.state.loans import KEEP_OVER, net, refusal
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, same, submitted
from tests.state.weather import Storm

QUOTAS = {"a": 4, "b": 2, "c": 0, "org": 6, "org/x": 3, "org/y": 2, "org/z": 0}
"""GPUs that queues are guaranteed."""
PARTIES = ("a", "b", "org/x", "org/y")


def stage(gpus: int = 12) -> Rehearsal:
    it = Rehearsal()
    it.nodes(a_node("n", gpus))
    for name, quota in QUOTAS.items():
        it.tell(QueueSet(Queue(QueueId(name), quota=Amount(gpu_milli=quota * 1000))))
    return it


def part(lender: str, borrower: str, gpus: float, begins: int = 0, ends: int = 1000) -> Lent:
    amount = Amount(gpu_milli=round(gpus * 1000))
    return Lent(QueueId(lender), QueueId(borrower), amount, Instant(begins), Instant(ends))


def lent(name: str, *parts: Lent) -> QuotaLent:
    return QuotaLent(Loan(LoanId(name), parts))


def quota(it: Rehearsal, name: str) -> float:
    """GPUs that a queue is guaranteed now."""
    queues = it.state.queues
    return max(int(queues.quota[queues.row_of[QueueId(name)], 2]), 0) / 1000


def used(it: Rehearsal, name: str) -> int:
    queues = it.state.queues
    return int(queues.used[queues.row_of[QueueId(name)], 2]) // 1000


parts = st.builds(
    part, st.sampled_from(PARTIES), st.sampled_from(PARTIES), st.sampled_from((0.5, 1, 2, 3)),
    st.integers(0, 40), st.integers(1, 60),
)  # fmt: skip
happenings = st.lists(
    st.one_of(
        st.lists(parts, min_size=1, max_size=2),
        st.integers(0, 12),
        st.tuples(st.sampled_from(PARTIES), st.integers(0, 5)),
    ),
    max_size=14,
)


@given(happenings, st.integers(0, 1 << 20))
def test_what_all_are_guaranteed_is_the_same_at_every_instant(some: list[object], seed: int) -> None:
    it, rng, declared = stage(), Random(seed), dict(QUOTAS)
    due = dict.fromkeys(PARTIES, 0.0)
    for index, what in enumerate(some):
        now = it.state.now
        if isinstance(what, list):
            moved = [
                Lent(each.lender, each.borrower, each.amount, Instant(now + each.begins), Instant(now + each.ends))
                for each in what
            ]
            it.tell(lent(f"l{index}", *moved))
        elif isinstance(what, int):
            it.tell(LoanEnded(LoanId(f"l{what}")))
        else:
            name, amount = what
            declared[name] = amount
            it.tell(QueueSet(Queue(QueueId(name), quota=Amount(gpu_milli=amount * 1000))))
        for _ in range(rng.randint(1, 4)):
            it.prove()
            own = {name: quota(it, name) for name in PARTIES}
            assert min(own.values()) >= 0, "nobody lends more than it has"
            assert sum(own.values()) == sum(declared[name] for name in PARTIES), "nothing is promised twice, or lost"
            flow = sum(own[name] - declared[name] for name in ("org/x", "org/y"))
            assert quota(it, "org") == declared["org"] + flow, "what its teams lend to others, the organisation has not"
            wait = rng.randint(0, 15)
            before = it.state.now
            it.tell(after=wait)
            for name in PARTIES:
                due[name] += _held(it, name, declared[name], before)
    for name, guaranteed in due.items():
        row = it.state.queues.row_of[QueueId(name)]
        since = it.state.now - int(it.state.queues.guaranteed_at[row])
        counted = float(it.state.queues.guaranteed[row, 2]) + quota(it, name) * 1000 * since
        assert counted == pytest.approx(guaranteed * 1000), f"{name} was guaranteed something else than is counted"
    assert same(it.state, it.replayed())


def _held(it: Rehearsal, name: str, declared: int, since: int) -> float:
    """GPU-milliseconds that a queue was guaranteed since an instant, millisecond by millisecond."""
    queues, total = it.state.queues, 0.0
    alive = [agreed.loan for agreed in it.state.loans.agreed.values()]
    over = {agreed.loan.id: agreed.over for agreed in it.state.loans.agreed.values()}
    row = queues.row_of[QueueId(name)]
    for at in range(since, it.state.now):
        stand = [loan for loan in alive if (end := over[loan.id]) is None or end > at]
        total += declared + net(queues, stand, at).get((row, 2), 0) / 1000
    return total


class Lenders(Storm):
    """A storm in which quotas are lent, traded, recalled and lowered."""

    def errands(self) -> tuple[Callable[[], None], ...]:
        return self.lend, self.lend, self.recall, self.set_queue


@pytest.mark.parametrize("seed", range(3000, 3006))
def test_storms_with_loans(seed: int) -> None:
    storm = Lenders(seed)
    storm.blow(90)
    assert storm.loans


def test_the_lender_has_it_back_when_the_time_is_over() -> None:
    it = stage(6)
    it.tell(lent("l", part("a", "b", 3, 10, 100)))
    for index in range(6):
        it.tell(submitted(a_job(f"b{index}", a_request(1), queue="b")))
    it.tell(after=10)
    it.carry_out()
    assert (used(it, "b"), quota(it, "b"), quota(it, "a")) == (6, 5, 1)
    for index in range(4):
        it.tell(submitted(a_job(f"a{index}", a_request(1), queue="a")))
    it.carry_out()
    assert (used(it, "a"), used(it, "b")) == (1, 5), "what is lent is the borrower's"
    assert it.state.next_timer() == 100
    it.tell(after=90)
    assert quota(it, "a") == 4
    it.carry_out()
    assert (used(it, "a"), used(it, "b")) == (4, 2)


def test_a_restored_state_begins_and_ends_what_was_agreed_on() -> None:
    it = stage()
    it.tell(lent("l", part("a", "b", 1, 50, 100), part("b", "a", 2, 100, 200)))
    it.restart()
    assert [quota(it, "a"), quota(it, "b")] == [4, 2]
    for after, expected in ((50, [3, 3]), (50, [6, 0]), (100, [4, 2])):
        it.tell(after=after)
        it.restart()
        it.prove()
        assert [quota(it, "a"), quota(it, "b")] == expected
    assert it.state.loans.agreed[LoanId("l")].phase(it.state.now) == "ended"
    assert it.state.next_timer() is None


def test_what_is_agreed_on_twice_counts_once() -> None:
    it = stage()
    it.tell(lent("l", part("a", "b", 1)), lent("l", part("a", "b", 2)))
    it.tell(lent("l", part("a", "b", 2)))
    assert quota(it, "a") == 3


def test_a_trade_holds_as_a_whole_or_not_at_all() -> None:
    it = stage()
    it.tell(lent("l", part("a", "b", 1), part("b", "a", 9, 500, 900)))
    agreed = it.state.loans.agreed[LoanId("l")]
    assert (quota(it, "a"), agreed.phase(it.state.now)) == (4, "void")
    assert agreed.why == "b is guaranteed 2 GPUs, and would lend 9 at once (what it borrowed does not count)"
    it.tell(lent("m", part("a", "b", 1, 0, 500), part("b", "a", 1, 500, 900)))
    it.tell(LoanEnded(LoanId("m"), "ada"), after=200)
    it.tell(after=400)
    assert (quota(it, "a"), it.state.loans.agreed[LoanId("m")].why) == (4, "ended by ada")


def test_a_quota_that_is_lowered_ends_the_newest_loans_it_no_longer_allows() -> None:
    it = stage()
    it.tell(lent("old", part("a", "b", 2)), lent("new", part("a", "b", 2)))
    it.tell(QueueSet(Queue(QueueId("a"), quota=Amount(gpu_milli=3000))), after=5)
    assert [it.state.loans.agreed[LoanId(name)].phase(it.state.now) for name in ("old", "new")] == ["standing", "ended"]
    assert (quota(it, "a"), quota(it, "b")) == (1, 4)
    it.prove()


def test_only_so_many_that_are_over_are_remembered() -> None:
    it = stage()
    for index in range(KEEP_OVER + 5):
        it.tell(lent(f"l{index}", part("a", "b", 9)))
    assert len(it.state.loans.agreed) == KEEP_OVER
    assert LoanId("l0") not in it.state.loans.agreed


WRONG = [
    (part("a", "nobody", 1), "borrower", "there is no queue 'nobody'"),
    (part("", "b", 1), "lender", "there is no queue ''"),
    (part("a", "a", 1), "borrower", "a and a are the same, or one is above the other"),
    (part("org", "org/x", 1), "borrower", "org and org/x are the same, or one is above the other"),
    (part("a", "b", 1, 50, 50), "ends", "must be later than it begins"),
    (part("a", "b", 0), "amount", "must be above 0"),
    (part("a", "b", 1, 0, 5), "ends", "is over since 1970-01-01 00:00 UTC"),
    (part("a", "b", 5), "amount", "a is guaranteed 4 GPUs, and would lend 5 at once (what it borrowed does not count)"),
    (part("c", "b", 1), "amount", "c is guaranteed 0 GPUs, and would lend 1 at once (what it borrowed does not count)"),
    (
        part("a", "org/z", 1),
        "borrower",
        "org/z is guaranteed no GPUs of its own, so it cannot borrow any: give it a quota, or lend to the queue whose"
        " quota covers it",
    ),
]


@pytest.mark.parametrize(("wrong", "field", "text"), WRONG, ids=[text[:40] for _, _, text in WRONG])
def test_what_cannot_be_is_refused_with_its_field(wrong: Lent, field: str, text: str) -> None:
    it = stage()
    assert refusal(Loan(LoanId("l"), (wrong,)), it.state.loans.quota_of, [], 10) == (field, text)


def test_who_is_guaranteed_nothing_anywhere_may_borrow() -> None:
    it = stage()
    it.tell(lent("l", part("a", "c", 1)))
    assert (quota(it, "c"), quota(it, "a")) == (1, 3)
    it.tell(after=1000)
    row = it.state.queues.row_of[QueueId("c")]
    assert it.state.queues.guard[row] == -1
    it.prove()


def test_loans_at_different_times_may_be_of_the_same_quota() -> None:
    it = stage()
    first, second = Loan(LoanId("l"), (part("a", "b", 4, 0, 100),)), Loan(LoanId("m"), (part("a", "b", 4, 100, 200),))
    assert refusal(second, it.state.loans.quota_of, [first], 10) is None
    third = Loan(LoanId("n"), (part("a", "b", 1, 99, 101),))
    assert refusal(third, it.state.loans.quota_of, [first, second], 10) is not None
