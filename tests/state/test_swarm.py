"""Jobs that were over in no time: which count, and that a count fades as it says, whatever happens in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.errors import InvalidField
from fairway.model.facts import AttemptEnded, NodeGone, Outcome, PolicySet, Progressed
from fairway.model.ids import NodeId, QueueId
from fairway.model.job import ArrayIndex, PriorityClass
from fairway.model.phases import Cause
from fairway.model.policy import Fairness, Policy, Swarm
from fairway.model.queue import Queue
from fairway.model.time import HOUR, MINUTE, SECOND, Duration, Instant
from fairway.state.swarm import ShortEnds
from fairway.state.tables import QueueTable
from fairway.testing.builders import EXECUTOR, Rehearsal, a_job, a_node, a_request, submitted

RULES = Swarm(allowed=2, half_life=HOUR)
STEPS = st.lists(st.tuples(st.integers(0, 2 * HOUR), st.integers(1, 3)), max_size=30)


def policy(**rules: object) -> Policy:
    return Policy(fairness=Fairness(swarm=Swarm(**rules)))  # type: ignore[arg-type]


def queues() -> QueueTable:
    """The root, two queues below it, and one below the first of them."""
    table = QueueTable()
    for name, above in (("", -1), ("a", 0), ("b", 0), ("a/x", 1)):
        table.put(Queue(QueueId(name)), above)
    return table


def count(it: Rehearsal, queue: str) -> float:
    return it.state.short.count_at(it.state.queues.row_of[QueueId(queue)], it.state.now, HOUR)


def runs(it: Rehearsal, name: str, span: int, cause: Cause = Cause.SUCCEEDED, **more: object) -> None:
    """A job that ends ``span`` after its start."""
    it.tell(submitted(a_job(name, a_request(1), queue="dev", **more)))  # type: ignore[arg-type]
    it.decide()
    it.tell(after=3 * MINUTE)  # a slow start is not the job's own time
    it.start(name)
    it.tell(after=span)
    it.end(name, cause, exit_code=1)


# -- what counts --------------------------------------------------------------------------------------------------


@pytest.fixture
def it() -> Rehearsal:
    made = Rehearsal()
    made.nodes(a_node("n1", 8))
    return made


@pytest.mark.parametrize("cause", [Cause.SUCCEEDED, Cause.FAILED])
def test_an_end_of_its_own_counts_within_the_time_and_not_later(it: Rehearsal, cause: Cause) -> None:
    runs(it, "long", 10 * SECOND, cause)
    assert it.state.short.counts == {}
    runs(it, "short", 10 * SECOND - 1, cause)
    assert count(it, "dev") == 1
    it.prove()


def test_every_element_of_an_array_counts(it: Rehearsal) -> None:
    for index in range(3):
        runs(it, f"a{index}", 0, array=ArrayIndex("a", index, 3))
    assert 2.5 < count(it, "dev") < 3  # some minutes lie between them


@pytest.mark.parametrize("by", ["preempted", "cancelled", "lost"])
def test_what_somebody_else_ends_does_not_count(it: Rehearsal, by: str) -> None:
    it.tell(submitted(a_job("j", a_request(8), queue="dev")))
    it.decide()
    it.start("j")
    it.tell(after=SECOND)
    if by == "preempted":
        it.tell(submitted(a_job("now", a_request(8), queue="dev", cls=PriorityClass.CRITICAL)))
        it.decide()
        assert it.stop() == ["j"]
    elif by == "cancelled":
        it.cancel("j")
        assert it.stop() == ["j"]
    else:
        it.tell(NodeGone(NodeId("n1")))
    assert [cause.value for cause in it.ends.values()] == ["node_lost" if by == "lost" else by]
    assert it.state.short.counts == {}
    it.prove()


def test_the_last_seconds_of_a_long_job_do_not_count(it: Rehearsal) -> None:
    it.tell(submitted(a_job("long", a_request(8), queue="dev", checkpoints=True)))
    it.decide()
    it.start("long")
    it.tell(after=HOUR)
    it.tell(Progressed(it.attempt("long"), checkpoint=it.state.now))
    it.tell(NodeGone(NodeId("n1")))
    it.nodes(a_node("n2", 8))
    it.decide()
    it.start("long")
    it.tell(after=SECOND)
    it.end("long")
    assert it.state.short.counts == {}


def test_an_end_that_is_heard_again_counts_once(it: Rehearsal) -> None:
    runs(it, "short", SECOND)
    it.tell(*(end for batch in it.told for end in batch.items if isinstance(end, AttemptEnded)))
    assert count(it, "dev") == 1


def test_with_no_time_none_counts() -> None:
    it = Rehearsal(policy=policy(within=Duration(0)))
    it.nodes(a_node("n1", 8))
    runs(it, "short", 0)
    assert it.state.short.counts == {}


# -- how it fades -------------------------------------------------------------------------------------------------


@given(STEPS, st.integers(SECOND, 10 * HOUR), st.integers(0, 5 * HOUR))
def test_a_count_is_the_sum_of_what_is_left_of_each(steps: list[tuple[int, int]], half_life: int, later: int) -> None:
    short, table, now, ends = ShortEnds(), queues(), 0, list[tuple[int, int]]()
    for wait, row in steps:
        now += wait
        short.add(row, now, Duration(half_life))
        ends.append((now, row))
        assert short.problems(table, Instant(now), Duration(half_life)) == []
    for row in range(4):
        left = sum(2.0 ** ((at - now - later) / half_life) for at, other in ends if other == row)
        assert short.count_at(row, now + later, Duration(half_life)) == pytest.approx(left)


@given(STEPS, st.integers(0, 5 * HOUR))
def test_what_is_beyond_is_found_for_the_queue_and_those_above_it(steps: list[tuple[int, int]], later: int) -> None:
    short, table, now = ShortEnds(), queues(), 0
    for wait, row in steps:
        now += wait
        short.add(row, now, HOUR)
    now += later
    counts = [short.count_at(row, now, HOUR) for row in range(4)]
    expected = {row: [value] for row, value in enumerate(counts) if value > RULES.allowed}
    if 3 in expected:
        expected[1] = [*expected.get(1, []), counts[3]]
    found = short.beyond(table, now, RULES)
    assert {row: sorted(some) for row, some in found.items()} == {row: sorted(some) for row, some in expected.items()}


def test_another_half_life_holds_from_then_on(it: Rehearsal) -> None:
    runs(it, "short", SECOND)
    it.tell(after=HOUR)
    it.tell(PolicySet(policy(half_life=Duration(HOUR // 4))))
    row = it.state.queues.row_of[QueueId("dev")]
    assert it.state.short.count_at(row, it.state.now, Duration(HOUR // 4)) == 0.5
    assert it.state.short.count_at(row, it.state.now + HOUR // 4, Duration(HOUR // 4)) == 0.25
    it.prove()


def test_a_count_that_cannot_be_is_noticed(it: Rehearsal) -> None:
    runs(it, "short", SECOND)
    it.state.short.counts[1] = (-1.0, it.state.now)
    assert any("-1.0 short jobs" in sentence for sentence in it.problems())
    it.state.short.counts[1] = (5.0, it.state.now)
    assert any("5.0" in sentence for sentence in it.problems())


# -- what it costs ------------------------------------------------------------------------------------------------

rules = st.builds(Swarm, allowed=st.integers(1, 5000), least=st.floats(0.001, 1))


@given(rules, st.lists(st.floats(0, 1e6), max_size=4), st.floats(0, 1e6))
def test_the_weight_falls_with_the_count_and_never_to_nothing(rule: Swarm, counts: list[float], more: float) -> None:
    weight = rule.weight(counts)
    assert rule.least <= weight <= 1
    assert weight == 1 or max(counts) > rule.allowed
    for index, value in enumerate(counts):
        assert rule.weight([*counts[:index], value + more, *counts[index + 1 :]]) <= weight
    # Without a jump: a job more lowers it by less than it may have.
    assert weight - rule.weight([value + 1 for value in counts]) <= len(counts) / rule.allowed + 1e-9


@given(rules, st.floats(0, 1e6), st.integers(0, 100 * HOUR), st.integers(0, 100 * HOUR))
def test_the_weight_comes_back_with_time(rule: Swarm, value: float, first: int, second: int) -> None:
    def weight(after: int) -> float:
        return rule.weight([value * 2.0 ** (-after / rule.half_life)])

    earlier, later = sorted((first, second))
    assert weight(earlier) <= weight(later)
    assert weight(rule.allowed_from(value, 0)) == pytest.approx(1)
    assert rule.allowed_from(value, 0) == 0 or weight(rule.allowed_from(value, 0) - MINUTE) < max(1, rule.least + 1e-9)


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [("within", -1, "from 0"), ("allowed", 0, "from 1"), ("half_life", 10, "from 1000"), ("least", 0.0, "from 0.001")],
)
def test_what_cannot_be_is_refused_by_name(field: str, value: float, limit: str) -> None:
    with pytest.raises(InvalidField, match=rf"{limit} to .*, not {value}") as caught:
        policy(**{field: value})
    assert caught.value.field == f"policy.fairness.swarm.{field}"


def test_ends_that_executors_report_late_still_count(it: Rehearsal) -> None:
    it.tell(submitted(a_job("j", a_request(1), queue="dev")))
    it.decide()
    it.start("j")
    ended = Instant(it.state.now + SECOND)
    it.tell(after=HOUR)
    it.tell(AttemptEnded(it.attempt("j"), EXECUTOR, 9, ended, Outcome(Cause.SUCCEEDED, 0)))
    assert count(it, "dev") == 1
