"""The policy is part of the state: changed by a fact, kept by a checkpoint, followed at once."""

from fairway.engine.loop import Loop
from fairway.engine.memory_journal import MemoryJournal
from fairway.engine.recover import recover
from fairway.model import facts as f
from fairway.model.job import PriorityClass
from fairway.model.plan import Hold, Stop
from fairway.model.policy import Policy
from fairway.model.time import Instant
from fairway.state.cluster import ClusterState
from fairway.state.codec import dump, load
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, effects, submitted
from tests.engine.small_world import SmallWorld


def test_a_checkpoint_keeps_the_policy() -> None:
    it = Rehearsal(Policy(max_victims=3))
    assert load(dump(it.state)).policy == Policy(max_victims=3)


def test_who_was_refused_is_tried_under_the_new_policy() -> None:
    it = Rehearsal(Policy(max_victims=1))
    it.nodes(a_node("n1", 8))
    it.tell(*(submitted(a_job(f"v{i}", a_request(4), cls=PriorityClass.LOW)) for i in range(2)))
    it.decide()
    it.start()
    it.tell(submitted(a_job("c1", a_request(8), cls=PriorityClass.CRITICAL)))
    assert effects(it.decide()) == []
    it.tell(f.PolicySet(Policy(max_victims=2)))
    assert [type(action) for action in effects(it.decide())] == [Stop, Stop, Hold]


def test_a_loop_sets_the_policy_it_is_given_once_and_a_recovered_one_keeps_what_came_later() -> None:
    journal = MemoryJournal(encoded=True)
    loop = Loop(ClusterState(), SmallWorld(), journal, Policy(max_victims=3))
    loop.turn(f.Facts(Instant(1)))
    assert loop.state.policy.max_victims == 3
    loop.turn(f.Facts(Instant(2), (f.PolicySet(Policy(max_victims=5)),)))
    assert recover(journal).state.policy.max_victims == 5
    again = Loop(recover(journal).state, SmallWorld(), journal, seq=recover(journal).seq)
    again.turn(f.Facts(Instant(3)))
    assert again.state.policy.max_victims == 5
