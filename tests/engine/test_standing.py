"""What a queue is told of its swarm of short jobs, now and as time goes by."""

import pytest

from fairway.engine.readmodel import ReadModel
from fairway.engine.status import QueueStatus
from fairway.faces.api import shapes
from fairway.model.facts import PolicySet
from fairway.model.ids import JobId, QueueId
from fairway.model.policy import Fairness, Policy, Swarm
from fairway.model.time import HOUR, SECOND, Instant
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

QUEUES = ("lab/sweep", "lab/train", "ads")
NOTE = (
    "queue lab/sweep comes later: 4 of its jobs ended less than 10s after their start lately, 2 are allowed, so 0.50 "
    "of its weight counts; all of it from 1970-01-01 01:00 UTC on, if no more do"
)


@pytest.fixture
def it() -> Rehearsal:
    """A swarm of four in one project of the lab; the other one, and ads, keep to what is allowed."""
    made = Rehearsal(policy=policy(allowed=2), views=[ReadModel()])
    made.nodes(a_node("n1", 8))
    for queue, jobs in zip(QUEUES, (4, 2, 2), strict=True):
        for index in range(jobs):
            name = f"{queue}.{index}"
            made.tell(submitted(a_job(name, a_request(1), queue=queue)))
            made.decide()
            made.start(name)
            made.end(name)
    return made


def policy(**rules: float) -> Policy:
    return Policy(fairness=Fairness(swarm=Swarm(**rules)))  # type: ignore[arg-type]


def told(it: Rehearsal, queue: str) -> QueueStatus:
    [model] = it.views
    assert isinstance(model, ReadModel)
    status = model.queue(QueueId(queue))
    assert status is not None
    return status


def test_the_queue_and_those_above_it_say_why_they_come_later(it: Rehearsal) -> None:
    now = it.state.now
    assert told(it, "lab/sweep").notes_at(now) == (NOTE,)
    assert "queue lab comes later: 4 of its jobs" in told(it, "lab").notes_at(now)[0]
    for innocent in ("lab/train", "ads", ""):
        assert told(it, innocent).notes_at(now) == ()
    found = shapes.queue(told(it, "lab/sweep"), now)
    assert found["notes"] == [NOTE]
    assert found["swarm"] == {
        "short_jobs": 4, "allowed": 2, "within_ms": 10 * SECOND, "weight_counts": 0.5, "until_ms": HOUR, "note": NOTE,
    }  # fmt: skip
    assert shapes.queue(told(it, "ads"), now)["swarm"] is None


def test_a_waiting_job_is_told(it: Rehearsal) -> None:
    it.tell(submitted(a_job("j", a_request(16), queue="lab/sweep")))
    it.decide()
    [model] = it.views
    assert isinstance(model, ReadModel)
    status = model.job(JobId("j"))
    assert status is not None
    found = shapes.explained(status, (), (), it.state.now, queues=(told(it, "lab/sweep"), told(it, "lab")))
    assert found["queue_notes"][0] == NOTE
    assert len(found["queue_notes"]) == 2


def test_it_is_over_when_it_was_said_to_be_though_nothing_happens(it: Rehearsal) -> None:
    status = told(it, "lab/sweep")
    assert status.swarm is not None
    assert status.swarm.weight_at(HOUR // 2) == pytest.approx(2 / (4 * 0.5**0.5))
    assert status.notes_at(Instant(HOUR - SECOND)) != ()
    assert status.notes_at(Instant(HOUR)) == ()
    assert shapes.queue(status, Instant(HOUR))["swarm"] is None


def test_another_policy_is_told_at_once(it: Rehearsal) -> None:
    it.tell(PolicySet(policy(allowed=3)))
    assert "3 are allowed, so 0.75" in told(it, "lab/sweep").notes_at(it.state.now)[0]
    it.tell(PolicySet(policy(allowed=4)))
    assert told(it, "lab/sweep").notes_at(it.state.now) == ()
