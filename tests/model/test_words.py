"""Ids, money, priorities, requests, queues and retries: the small rules of the vocabulary."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.ids import NAME_PATTERN, QUEUE_PATTERN, ROOT, AttemptId, JobId, QueueId, ancestry, parent_of
from fairway.model.job import Priority, PriorityClass, Retry, Role
from fairway.model.money import MicroDollars, cost, dollars, format_money
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Accelerator, Amount, Request
from fairway.model.time import HOUR, Duration
from fairway.testing.builders import a_job

AMOUNTS = st.integers(1, 1 << 40)


@pytest.mark.parametrize("name", ["a", "train-17", "a_b", "0", "a" * 63])
def test_a_name_is_good(name: str) -> None:
    assert NAME_PATTERN.fullmatch(name)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "_a", "a b", "a/b", "ä", "a" * 64, "a\n"])
def test_a_name_is_not_good(name: str) -> None:
    assert not NAME_PATTERN.fullmatch(name)


@pytest.mark.parametrize(
    ("path", "good"), [("a", True), ("a/b/c", True), ("/a", False), ("a/", False), ("a//b", False)]
)
def test_a_path_of_a_queue(path: str, good: bool) -> None:
    assert bool(QUEUE_PATTERN.fullmatch(path)) is good


def test_what_stands_above_a_queue() -> None:
    assert ancestry(QueueId("a/b/c")) == ("a/b/c", "a/b", "a", ROOT)
    assert ancestry(ROOT) == (ROOT,)
    assert parent_of(QueueId("a")) == ROOT


def test_an_attempt_is_written_with_its_number() -> None:
    assert str(AttemptId(JobId("train-17"), 2)) == "train-17@2"


@given(st.integers(0, 10**9), st.integers(0, 10**11))
def test_a_cost_is_never_less_than_what_is_owed_and_less_than_a_micro_dollar_more(hourly: int, duration: int) -> None:
    owed = Fraction(hourly * duration, HOUR)
    assert owed <= cost(MicroDollars(hourly), duration) < owed + 1


@pytest.mark.parametrize(
    ("amount", "text"), [(12.34, "$12.34"), (0, "$0.00"), (0.0042, "$0.0042"), (1234.5, "$1,234.50")]
)
def test_money_is_shown(amount: float, text: str) -> None:
    assert format_money(dollars(amount)) == text


@given(st.integers(1, 1 << 40), AMOUNTS, st.integers(1, 200))
def test_the_wait_doubles_up_to_its_most(backoff: int, most: int, failures: int) -> None:
    retry = Retry(backoff=Duration(backoff), backoff_max=Duration(most))
    assert retry.wait(1) == min(backoff, most)
    assert retry.wait(failures + 1) == min(2 * retry.wait(failures), most) or failures > 30


def test_priorities_are_ordered_by_class_and_shown_with_their_number() -> None:
    assert [cls.name for cls in PriorityClass if cls.may_preempt] == ["CRITICAL", "HIGH"]
    assert str(Priority(PriorityClass.LOW, -3)) == "low-3"
    assert str(Priority()) == "medium"


@given(AMOUNTS, AMOUNTS)
def test_shares_by_memory_never_add_up_to_more_memory_than_there_is(asked: int, device: int) -> None:
    milli = Request(gpus=1, gpu_memory_mib=asked).milli_on(device)
    assert (milli - 1) * device < asked * WHOLE <= milli * device
    assert (milli > WHOLE) == (asked > device)


def test_a_device_without_memory_gives_no_share_by_memory() -> None:
    assert Request(gpus=1, gpu_memory_mib=1).milli_on(0) > WHOLE


def test_types_and_their_speeds() -> None:
    picky = Request(gpus=1, accelerators=(Accelerator("H100"), Accelerator("A100", 0.5)))
    assert [picky.accepts(kind) for kind in ("H100", "A100", "V100")] == [True, True, False]
    assert [picky.speed_on(kind) for kind in ("H100", "A100")] == [1.0, 0.5]
    assert Request(gpus=1).accepts("anything")


REQUESTS = [
    (Request(), "nothing"),
    (Request(gpus=8, cpu_milli=64_000), "8 GPU + 64 CPU"),
    (Request(gpus=1, gpu_milli=250), "0.25 GPU"),
    (Request(gpus=2, accelerators=(Accelerator("H100"), Accelerator("A100", 0.5))), "2 H100/A100"),
    (Request(cpu_milli=500, memory_mib=10, disk_mib=20, network_mbps=30), "0.5 CPU + 10 MiB + 20 MiB disk + 30 Mbit/s"),
]


@pytest.mark.parametrize(("request_", "text"), REQUESTS)
def test_a_request_is_said_in_a_few_words(request_: Request, text: str) -> None:
    assert str(request_) == text


def test_a_queue_may_use_what_it_is_guaranteed_and_what_it_may_borrow() -> None:
    queue = Queue(
        QueueId("q"), quota=Amount(gpu_milli=4000, cpu_milli=1000), borrow=Amount(gpu_milli=2000, memory_mib=5)
    )
    assert queue.limit == Amount(cpu_milli=None, memory_mib=5, gpu_milli=6000)


def test_what_makes_a_gang() -> None:
    assert not a_job("x").gang
    assert a_job("x", Role(count=2)).gang
    assert a_job("x", Role(), Role("b")).gang
    assert a_job("x", Role(count=4, min_count=1)).roles[0].least == 1
