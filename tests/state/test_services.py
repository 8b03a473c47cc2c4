"""What keeps a service at the number of replicas it wants."""

from fairway.model.facts import CancelAsked, ServiceRemoved, ServiceSet
from fairway.model.ids import JobId, QueueId, ServiceId
from fairway.model.phases import Cause, JobPhase
from fairway.model.service import Service
from fairway.testing.builders import Rehearsal, a_node, a_request


def web(replicas: int, gpus: float = 1) -> ServiceSet:
    """A service that wants so many replicas."""
    return ServiceSet(Service(ServiceId("web"), QueueId("prod"), replicas, request=a_request(gpus)))


def served(replicas: int) -> Rehearsal:
    """A service whose replicas all run."""
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(web(replicas))
    it.decide()
    for index in range(replicas):
        it.start(f"web.{index}")
    return it


def test_a_replica_that_ends_is_started_again_after_a_pause_whatever_its_end() -> None:
    it = served(1)
    it.end("web.0")
    assert it.phase("web.0") is JobPhase.WAITING
    it.tell(after=1_000)
    it.decide()
    assert it.where("web.0") == ("n1",)
    it.prove()


def test_fewer_replicas_stop_the_newest_and_the_same_again_changes_nothing() -> None:
    it = served(3)
    it.tell(web(2))
    it.tell(web(2))
    assert [it.phase(f"web.{i}") for i in range(3)] == [JobPhase.RUNNING, JobPhase.RUNNING, JobPhase.STOPPING]
    it.end("web.2", Cause.FAILED, signal=15)
    it.decide()
    assert it.phase("web.2") is JobPhase.CANCELLED
    it.prove()


def test_another_request_replaces_every_replica() -> None:
    it = served(2)
    it.tell(web(2, gpus=2))
    assert it.phase("web.0") is JobPhase.STOPPING
    it.decide()
    assert it.where("web.2") == it.where("web.3") == ("n1",)
    it.prove()


def test_a_replica_is_not_cancelled_by_itself_but_goes_with_its_service() -> None:
    it = served(1)
    it.tell(CancelAsked(JobId("web.0"), "ada"))
    assert it.phase("web.0") is JobPhase.RUNNING
    it.tell(ServiceRemoved(ServiceId("web")))
    assert it.phase("web.0") is JobPhase.STOPPING
    it.end("web.0", Cause.FAILED, signal=15)
    assert it.phase("web.0") is JobPhase.CANCELLED
    it.prove()
