"""Who is stopped for whom: only lower classes, the least lost work, and nobody without need."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fairway.model.facts import Progressed
from fairway.model.job import PriorityClass
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Hold, Stop
from fairway.model.policy import Policy, Preemption
from fairway.model.time import Duration
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, effects, submitted

LOW, HIGH, CRITICAL = PriorityClass.LOW, PriorityClass.HIGH, PriorityClass.CRITICAL


def two_large_victims() -> Rehearsal:
    it = Rehearsal()
    it.nodes(a_node("n1", 8), a_node("n2", 8))
    it.tell(submitted(a_job("v1", a_request(8), cls=LOW)), submitted(a_job("v2", a_request(8), cls=LOW)))
    it.decide()
    it.start()
    it.tell(after=60_000)
    return it


def test_two_preemptors_share_the_room_of_one_victim() -> None:
    it = two_large_victims()
    it.tell(submitted(a_job("c1", a_request(4), cls=CRITICAL)), submitted(a_job("c2", a_request(4), cls=CRITICAL)))
    actions = effects(it.decide())
    assert [type(action) for action in actions] == [Stop, Hold, Hold]
    assert len({task.node for hold in actions[1:] for task in hold.placement}) == 1
    it.prove()


def test_a_later_preemptor_takes_what_an_earlier_one_left_of_its_victim() -> None:
    it = two_large_victims()
    it.tell(submitted(a_job("c1", a_request(4), cls=CRITICAL)))
    it.decide()
    it.tell(submitted(a_job("c2", a_request(4), cls=HIGH)), after=1000)
    assert [type(action) for action in effects(it.decide())] == [Hold]
    it.prove()


def test_nobody_is_stopped_for_room_that_is_being_freed_anyway() -> None:
    it = two_large_victims()
    it.cancel("v2")
    it.tell(submitted(a_job("c1", a_request(8), cls=CRITICAL)))
    assert [type(action) for action in effects(it.decide())] == [Hold]
    it.end("v2")
    it.decide()
    assert it.where("c1") == ("n2",)
    assert it.phase("v1") is JobPhase.RUNNING


def test_a_preemptor_without_victims_is_woken_by_a_cancel() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("top", a_request(8), cls=CRITICAL)))
    it.decide()
    it.tell(submitted(a_job("high", a_request(8), cls=HIGH)))
    it.decide()
    assert "no room now" in str(it.why("high"))
    it.cancel("top")
    assert [type(action) for action in effects(it.decide())] == [Hold]
    it.prove()


def test_the_checkpoint_decides_who_loses_least() -> None:
    it = two_large_victims()
    it.tell(Progressed(it.attempt("v2"), checkpoint=it.state.now), after=0)
    it.tell(submitted(a_job("c1", a_request(8), cls=CRITICAL)))
    stop, _ = effects(it.decide())
    assert isinstance(stop, Stop)
    assert (stop.attempt.job, str(stop.reason)) == ("v2", "higher priority c1 (critical); loses 0ms x 8 GPU")


def test_what_is_stopping_anyway_does_not_count_against_how_many_may_be_stopped() -> None:
    it = Rehearsal(Policy(max_victims=1))
    it.nodes(a_node("n1", 8))
    it.tell(*(submitted(a_job(f"v{i}", a_request(2), cls=LOW)) for i in range(4)))
    it.decide()
    it.start()
    it.cancel("v0", "v1", "v2")
    it.tell(submitted(a_job("c1", a_request(8), cls=CRITICAL)))
    assert [type(action) for action in effects(it.decide())] == [Stop, Hold]


@given(
    st.lists(st.tuples(st.sampled_from(tuple(PriorityClass)), st.sampled_from((1, 2, 4))), min_size=2, max_size=14),
    st.integers(0, 1 << 16),
)
def test_preemption_comes_to_an_end(jobs: list[tuple[PriorityClass, int]], seed: int) -> None:
    """However jobs come and go, each stops others once at most, and none while it waits as a victim (``Rehearsal``
    proves that of every decision)."""
    rng = Random(seed)
    it = Rehearsal(Policy(preemption=Preemption(protect=Duration(500))))
    it.nodes(a_node("n1", 4))
    waiting = [a_job(f"j{i}", a_request(gpus), cls=cls) for i, (cls, gpus) in enumerate(jobs)]
    stopped_for: list[str] = []
    for _ in range(12 * len(jobs)):
        it.tell(after=1000)
        if waiting and rng.random() < 0.5:
            it.tell(submitted(waiting.pop()))
        plan = it.decide()
        stopped_for += {action.reason.by for action in effects(plan) if isinstance(action, Stop)}  # type: ignore[union-attr]
        it.prove()
        it.start()
        live = [name for name in it.state.jobs.row_of if it.phase(name).live]
        for name in live:
            if it.phase(name) is JobPhase.STOPPING:
                it.end(name, Cause.FAILED, signal=15)
            elif rng.random() < 0.3:
                it.end(name)
    assert len(stopped_for) == len(set(stopped_for))


def test_protection_ends_in_steps_and_wakes_who_waits() -> None:
    rules = Preemption(protect=Duration(60_000))
    assert [rules.exposed_from(placed) for placed in (0, 1, 5_999, 6_000)] == [60_000, 66_000, 66_000, 66_000]
    it = Rehearsal(Policy(preemption=rules))
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("low", a_request(8), cls=LOW)), after=1000)
    it.decide()
    it.start()
    it.tell(submitted(a_job("high", a_request(8), cls=HIGH)), after=1000)
    assert effects(it.decide()) == []
    assert it.state.next_timer() == 66_000
    it.restart()
    it.tell(after=63_999)
    assert effects(it.decide()) == []
    it.tell(after=1)
    assert [type(action) for action in effects(it.decide())] == [Stop, Hold]
