"""What is accepted is durable and counted at once; what is refused leaves nothing behind."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairway.adapters.stores.inbox import Inbox
from fairway.adapters.stores.projection import Projection
from fairway.adapters.stores.queries import Queries
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.engine.readmodel import ReadModel
from fairway.faces.api import shapes
from fairway.faces.api.intake import Applied, Intake, QueueFull, Wish
from fairway.faces.api.present import Present
from fairway.faces.errors import errors_of
from fairway.faces.manifests.complaints import InvalidManifest
from fairway.faces.manifests.convert import Caller
from fairway.faces.manifests.read import manifests_from
from fairway.model.errors import Conflict, FairwayError, NotFound, Refused
from fairway.model.facts import CancelAsked, Facts, NodeSeen
from fairway.model.ids import JobId
from fairway.model.node import Topology
from fairway.model.time import Instant
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.frames import decode
from fairway.testing.builders import a_node

JOB: dict[str, Any] = {"kind": "Job", "name": "j", "command": ["x"]}
NARROW: dict[str, Any] = {"kind": "Queue", "name": "narrow", "max_pending": 3}


class Desk:
    """An intake with its store, and a loop that reads the inbox only when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore.open(folder / "fairway.db")
        self.projection = Projection(folder / "views.db")
        self.inbox = Inbox(folder / "fairway.db")
        self.queries = Queries(folder / "views.db")
        self.state, self.model, self.seq = ClusterState(), ReadModel(), 0
        self.now = Instant(1_000)
        self.tell(NodeSeen(a_node("n1", 8)))
        self.present = Present(self.model, self.queries, lambda: self.now, self.inbox.waiting)
        self.intake = Intake(self.inbox, self.present)

    def tell(self, *facts: Any) -> None:
        self.seq += 1
        apply(self.state, Facts(self.now, facts))
        self.model.fold(self.seq, self.now, self.state)
        self.state.news.clear()

    def read_inbox(self) -> list[Any]:
        """One turn of the loop."""
        rows = self.store.take(1_000)
        facts = [fact for row in rows for fact in decode(row.body).items]
        if facts:
            self.tell(*facts)
            self.store.append(Facts(self.now, tuple(facts)))
            self.store.consumed(rows[-1].seq)
            self.store.commit()
        return facts

    def apply(self, *documents: dict[str, Any], **wish: Any) -> list[Applied]:
        return asyncio.run(self.intake.apply(manifests_from(list(documents)), Wish(Caller("ada", "/w"), **wish)))

    def close(self) -> None:
        self.inbox.close()
        self.queries.close()
        self.projection.close()
        self.store.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def refused(desk: Desk, kind: type[FairwayError], *documents: dict[str, Any], **wish: Any) -> list[str]:
    """The errors of a submission that leaves nothing in the inbox."""
    with pytest.raises(kind) as raised:
        desk.apply(*documents, **wish)
    assert desk.inbox.waiting() == 0
    return [str(each) for each in errors_of(raised.value)]


def test_ids_are_names_and_places_in_the_inbox(desk: Desk) -> None:
    applied = desk.apply(NARROW, JOB, {**JOB, "array": 2})
    assert [(each.id, each.jobs) for each in applied] == [("narrow", 0), ("j-2", 1), ("j-3", 2)]
    assert applied[2].shape()["jobs"] == ["j-3.0", "j-3.1"]
    facts = desk.read_inbox()
    assert [fact.job.id for fact in facts[1:]] == ["j-2", "j-3.0", "j-3.1"]
    assert {fact.job.user for fact in facts[1:]} == {"ada"}


def test_one_mistake_refuses_the_whole_batch(desk: Desk) -> None:
    found = refused(desk, NotFound, JOB, {**JOB, "queue": "narow"}, {**JOB, "queue": "other"})
    assert found == [
        "documents[1].queue: no queue 'narow'; there is default; declare it with kind: Queue",
        "documents[2].queue: no queue 'other'; there is default; declare it with kind: Queue",
    ]
    assert refused(desk, InvalidManifest, JOB, {**JOB, "deadline": "0s"}, {**JOB, "queue": "other"}) == [
        "documents[1].deadline: must be later than the submission and the start time"
    ]


def test_a_queue_declared_in_the_same_batch_or_a_moment_ago_is_known(desk: Desk) -> None:
    assert len(desk.apply({**JOB, "queue": "narrow"}, NARROW)) == 2
    assert len(desk.apply({**JOB, "queue": "narrow"})) == 1  # the loop has not read the first one yet
    assert (
        refused_after_reading(desk, {**JOB, "queue": "narow"})
        == "documents[0].queue: no queue 'narow'; did you mean narrow?"
    )


def refused_after_reading(desk: Desk, document: dict[str, Any]) -> str:
    desk.read_inbox()
    return refused(desk, NotFound, document)[0]


@pytest.mark.parametrize("read", [False, True], ids=["before the loop has read", "after"])
def test_a_queue_takes_exactly_as_many_as_may_wait(desk: Desk, read: bool) -> None:
    desk.apply(NARROW)
    desk.apply({**JOB, "queue": "narrow"}, {**JOB, "queue": "narrow", "array": 2})
    if read:
        desk.read_inbox()
    with pytest.raises(QueueFull) as raised:
        desk.apply({**JOB, "queue": "narrow"})
    assert "queue narrow is full: 3 of 3 jobs wait and this adds 1" in str(raised.value)


def test_a_batch_fills_a_queue_by_itself(desk: Desk) -> None:
    desk.apply(NARROW)
    desk.read_inbox()
    found = refused(desk, QueueFull, *[{**JOB, "queue": "narrow"}] * 5)
    assert [text.partition(":")[0] for text in found] == ["documents[3].queue", "documents[4].queue"]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"gpus": 9}, "needs 9 GPU + 1 CPU, the largest there is: 8 H100"),
        ({"gpus": 1, "accelerators": ["B200"]}, "(short of B200)"),
        ({"cpu": 65}, "(short of CPU)"),
        ({"gpu_memory": "81Gi"}, "never fits"),
        ({"cpu": 1, "disk": "1Gi"}, "(short of disk)"),
    ],
)
def test_what_can_never_run_is_refused_unless_it_is_wanted(desk: Desk, request_: dict[str, Any], says: str) -> None:
    [found] = refused(desk, Refused, {**JOB, "request": request_})
    assert found.startswith("documents[0].request: never fits: ")
    assert says in found
    [applied] = desk.apply({**JOB, "request": request_}, allow_unfit=True)
    assert applied.warning.startswith("never fits")


def test_what_looks_like_a_mistake_is_refused_by_its_rule_unless_it_is_meant(desk: Desk) -> None:
    odd = {**JOB, "request": {"gpus": 8}}
    [found] = refused(desk, Refused, odd)
    assert found == (
        "documents[0].request.cpu: 1 CPU cannot feed 8 GPUs: write at least 2; if it is meant, submit it with --force "
        "(allow_unfit; rule gpus_without_cpu)"
    )
    [applied] = desk.apply(odd, allow_unfit=True)
    assert applied.warning.endswith("(rule gpus_without_cpu)")
    desk.apply({"kind": "Policy", "admission": {"off": ["gpus_without_cpu"]}})
    desk.read_inbox()
    assert desk.apply(odd)[0].warning == ""


def test_a_node_says_where_it_stands(desk: Desk) -> None:
    place = Topology("eu", "eu-1", rack="r7")
    desk.tell(NodeSeen(a_node("n2", 1, topology=place, labels=(("disk", "nvme"),), taints=("flaky",))))
    told = shapes.node(desk.model.nodes()[1])
    assert told["topology"] == {"region": "eu", "zone": "eu-1", "rack": "r7"}
    assert (told["labels"], told["taints"], told["lifecycle"]) == ({"disk": "nvme"}, ["flaky"], "on_demand")


def test_the_constraint_that_no_node_meets_is_named(desk: Desk) -> None:
    [found] = refused(desk, Refused, {**JOB, "where": {"zones": ["eu-9"]}})
    assert "never fits" in found
    assert "it could but for zone eu-9" in found
    shape = {"cpu": 4, "zone": "eu-9", "labels": {"disk": "nvme"}, "taints": ["team=nlp"]}
    desk.apply({"kind": "Pool", "name": "p", "shape": shape, "max": 1})
    desk.read_inbox()
    [tainted] = refused(desk, Refused, {**JOB, "where": {"zones": ["eu-9"], "labels": {"disk": "nvme"}}})
    assert "it could but for the taints that it does not tolerate" in tainted
    assert desk.apply({**JOB, "where": {"zones": ["eu-9"], "tolerates": ["team"]}})[0].warning == ""


def test_nodes_that_a_pool_could_bring_count(desk: Desk) -> None:
    big = {**JOB, "request": {"gpus": 16, "cpu": 16}}
    refused(desk, Refused, big)
    desk.apply({"kind": "Pool", "name": "p", "shape": {"cpu": 96, "gpus": 16, "accelerator": "B200"}, "max": 1})
    desk.read_inbox()
    assert desk.apply(big)[0].warning == ""
    desk.read_inbox()
    refused(desk, Refused, {**big, "workers": 2})


def test_a_gang_larger_than_its_queue_is_refused(desk: Desk) -> None:
    desk.apply(
        {"kind": "Queue", "name": "acme", "quota": {"gpus": 2}, "borrow": {"gpus": 0}},
        {"kind": "Queue", "name": "acme/a"},
    )
    desk.read_inbox()
    gang = {**JOB, "queue": "acme/a", "request": {"gpus": 1}, "workers": 3}
    [found] = refused(desk, Refused, gang)
    assert "never fits: needs 3 GPUs, and queue acme may use 2 at most" in found
    assert desk.apply({**gang, "workers": {"min": 2, "max": 3}})


def test_the_same_token_is_the_same_submission(desk: Desk) -> None:
    desk.apply(NARROW)
    three = [{**JOB, "queue": "narrow"}] * 3
    first = desk.apply(*three, token="t")
    desk.read_inbox()
    again = desk.apply(*three, token="t")  # the queue is full by now, with the very same jobs
    assert [each.id for each in again] == [each.id for each in first]
    assert desk.read_inbox() == []
    with pytest.raises(Conflict):
        desk.apply({**JOB, "priority": "low"}, token="t")


def test_a_dry_run_checks_everything_and_changes_nothing(desk: Desk) -> None:
    desk.apply(NARROW)
    desk.read_inbox()
    changed = {**NARROW, "max_pending": 5, "quota": {"gpus": 4}}
    applied = desk.apply(changed, NARROW, JOB, {"kind": "Queue", "name": "new"}, dry_run=True)
    assert [each.action for each in applied] == ["changed", "unchanged", "submitted", "created"]
    assert [(c.field, c.old, c.new) for c in applied[0].changes] == [
        ("quota.gpu_milli", "none", "4000"),
        ("max_pending", "3", "5"),
    ]
    assert applied[2].id is None
    assert desk.inbox.waiting() == 0
    refused(desk, NotFound, {**JOB, "queue": "nowhere"}, dry_run=True)


def test_a_service_that_is_declared_again_says_what_changes(desk: Desk) -> None:
    service = {"kind": "Service", "name": "chat", "command": ["serve"], "replicas": 1}
    assert desk.apply(service)[0].action == "created"
    desk.read_inbox()
    [applied] = desk.apply({**service, "replicas": 2}, dry_run=True)
    assert [(c.field, c.old, c.new) for c in applied.changes] == [("replicas", "1", "2")]


def test_cancelling_reaches_what_was_just_submitted_and_says_what_it_did_not_reach(desk: Desk) -> None:
    desk.apply({**JOB, "array": 2})

    async def cancel() -> tuple[list[Any], list[FairwayError]]:
        asked = asyncio.create_task(desk.intake.cancel(["j-1.0", "nobody"], "ada"))
        await asyncio.sleep(0)
        desk.read_inbox()
        return await asked

    asked, errors = asyncio.run(cancel())
    assert [status.id for status in asked] == ["j-1.0"]
    assert [str(error) for error in errors] == ["job: no job 'nobody': `fairway ps -a` lists them"]
    assert desk.read_inbox() == [CancelAsked(asked[0].id, "ada")]
    with pytest.raises(Conflict, match="it has already been cancelled"):
        raise asyncio.run(desk.intake.cancel(["j-1.0"], "ada"))[1][0]
    asked, errors = asyncio.run(desk.intake.cancel(["j-1"], "ada"))  # the array: what is left of it
    assert ([status.id for status in asked], errors) == (["j-1.1"], [])


@pytest.mark.parametrize("wish", [lambda i: i.cordon("n2", True), lambda i: i.remove_service("s")])
def test_what_is_not_there_cannot_be_changed(desk: Desk, wish: Callable[[Intake], Any]) -> None:
    with pytest.raises(NotFound):
        asyncio.run(wish(desk.intake))
    assert desk.inbox.waiting() == 0


def after(*names: Any, name: str = "late") -> dict[str, Any]:
    return {"kind": "Job", "name": name, "command": ["x"], "after": list(names)}


def waits_for(desk: Desk) -> dict[str, list[str]]:
    """What the jobs that are not in line wait for."""
    jobs = desk.state.jobs
    return {jobs.id_of(row): list(jobs.missing[row] or {}) for row in jobs.rows() if jobs.missing[row]}


def test_names_in_after_stand_for_what_is_above_or_for_the_newest(desk: Desk) -> None:
    desk.apply({"kind": "Job", "name": "prep", "command": ["x"]})
    desk.apply({"kind": "Job", "name": "prep", "command": ["x"]})
    desk.read_inbox()
    desk.apply(after("prep", "prep-1"), after("late", name="later"))
    desk.read_inbox()
    assert waits_for(desk) == {"late-3": ["prep-2", "prep-1"], "later-4": ["late-3"]}


def test_a_whole_array_may_come_first(desk: Desk) -> None:
    sweep = {"kind": "Job", "name": "sweep", "command": ["x"], "array": {"size": 3, "max_running": 2}}
    desk.apply(sweep, after("sweep"))
    desk.read_inbox()
    assert waits_for(desk) == {"late-2": ["sweep-1"]}
    assert desk.state.arrays[JobId("sweep-1")].limit == 2
    desk.apply(after("sweep", {"job": "sweep-1.0", "when": "ended"}, name="more"))
    desk.read_inbox()
    assert waits_for(desk)["more-3"] == ["sweep-1", "sweep-1.0"]


def test_what_is_not_there_or_has_failed_cannot_come_first(desk: Desk) -> None:
    with pytest.raises(NotFound) as missing:
        desk.apply(after("nobody"))
    assert missing.value.field == "documents[0].after[0]"
    desk.apply(JOB)
    desk.read_inbox()
    desk.tell(CancelAsked(JobId("j-1")))
    with pytest.raises(Refused, match="been cancelled"):
        desk.apply(after("j-1"))
    desk.apply(after({"job": "j-1", "when": "ended"}))
    desk.apply(after({"job": "j-1", "otherwise": "wait"}, name="patient"))
    desk.read_inbox()
    assert waits_for(desk) == {"patient-3": ["j-1"]}


def test_jobs_are_held_and_released(desk: Desk) -> None:
    desk.apply(JOB)
    desk.read_inbox()
    told, errors = asyncio.run(desk.intake.keep(["j-1", "nobody"], "ada", release=False))
    assert ([status.id for status in told], [error.code for error in errors]) == (["j-1"], ["not_found"])
    desk.read_inbox()
    assert desk.state.jobs.kept_by[0] == "ada"
    asyncio.run(desk.intake.keep(["j-1"], "ada", release=True))
    desk.read_inbox()
    assert desk.state.jobs.kept_by[0] is None
