"""A submission that makes ``apply`` or a decision raise is set aside with its error, and everything else goes on."""

from pathlib import Path
from typing import Any

import pytest

from fairway.adapters.controlplane import STORE, ControlPlane
from fairway.adapters.setaside import unbelievable
from fairway.adapters.stores.database import ReadOnlyDatabase
from fairway.adapters.stores.repair import refused
from fairway.adapters.stores.sqlite import InboxRow
from fairway.decide import pipeline
from fairway.faces.doctor import examine
from fairway.model import facts as f
from fairway.model.ids import JobId, QueueId
from fairway.model.job import Job
from fairway.model.phases import JobPhase
from fairway.model.policy import Policy
from fairway.model.time import Instant
from fairway.state import lifecycle
from fairway.state.cluster import ClusterState
from fairway.state.codec import digest
from fairway.state.frames import encode
from fairway.state.snapshot import Snapshot
from fairway.testing.polling import wait_for
from tests.adapters.actor import Stage, phase, plane_of, submit, succeeded


@pytest.fixture
def stage() -> Stage:
    return Stage()


def poison(name: str = "poison") -> bytes:
    """Two jobs in one row: the second cannot be believed once the first has been."""
    jobs = (Job(JobId(f"{name}-first"), "first", QueueId("team")), Job(JobId(name), name, QueueId("team")))
    return encode(f.Facts(Instant(1), tuple(f.JobSubmitted(job) for job in jobs)))


@pytest.fixture
def _allergic(monkeypatch: pytest.MonkeyPatch) -> None:
    """``apply`` raises at jobs of that name."""
    believe = lifecycle.submit

    def submit_or_raise(state: ClusterState, job: Job) -> None:
        if job.name.startswith("poison"):
            raise KeyError(job.id)
        believe(state, job)

    monkeypatch.setattr(lifecycle, "submit", submit_or_raise)


def set_aside(folder: Path) -> list[tuple[int, str]]:
    database = ReadOnlyDatabase(folder / STORE)
    try:
        return refused(database)
    finally:
        database.close()


@pytest.mark.usefixtures("_allergic")
def test_the_rest_goes_on_and_the_row_is_kept_with_its_error(tmp_path: Path, stage: Stage) -> None:
    stage.ends_by_itself = False
    with plane_of(tmp_path, stage).running() as plane:
        runs = submit(plane.inbox)
        wait_for(lambda: phase(plane, runs) is JobPhase.RUNNING)
        stage.ends_by_itself = True
        number = plane.inbox.put("token", poison())
        after = submit(plane.inbox)
        succeeded(plane, after)
        assert plane.readmodel.job(JobId("poison-first")) is None, "a row is believed as a whole"
        assert phase(plane, runs) is JobPhase.RUNNING, "what ran runs on"
        assert not plane.health().ok
        (trouble,) = plane.health().troubles
        assert f"submission {number} was set aside: job poison-first, job poison: KeyError" in trouble
        assert plane.refused().keys() == {"poison", "poison-first"}
    assert stage.called("start") == 2, "nothing is started twice"
    ((seq, why),) = set_aside(tmp_path)
    assert (seq, "KeyError: 'poison'" in why) == (number, True)
    (check,) = [check for check in examine(tmp_path) if check.name == "submissions"]
    assert (check.level, f"number {number}" in check.text) == ("warning", True)


@pytest.mark.usefixtures("_allergic")
def test_several_among_others_are_found_one_by_one(tmp_path: Path, stage: Stage) -> None:
    plane = plane_of(tmp_path, stage)
    good = [submit(plane.inbox)]
    for name in ("poison-a", "poison-b"):
        plane.inbox.put(None, poison(name))
        good.append(submit(plane.inbox))
    with plane.running():
        for job in good:
            succeeded(plane, job)
    assert [seq for seq, _ in set_aside(tmp_path)] == [2, 4]
    with plane_of(tmp_path, stage).running() as again:
        assert wait_for(lambda: again.health().recovery)
        assert again.health().ok, "the next leader has nothing to see to"
        assert phase(again, good[0]) is JobPhase.SUCCEEDED


def test_one_that_makes_decisions_raise_is_set_aside_too(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(snap: Snapshot, policy: Policy) -> Any:
        if "poison" in snap.jobs.row_of:
            raise ZeroDivisionError("no such share")
        return pipeline.decide(snap, policy)

    monkeypatch.setattr("fairway.adapters.setaside.decide", decide)
    plane = plane_of(tmp_path, stage)
    plane._loop.decide = decide
    with plane.running():
        plane.inbox.put(None, poison())
        succeeded(plane, submit(plane.inbox))
    assert "ZeroDivisionError: no such share" in set_aside(tmp_path)[0][1]


def test_what_is_not_the_inbox_still_ends_the_loop(tmp_path: Path, stage: Stage) -> None:
    plane = plane_of(tmp_path, stage)
    loops_decide = plane._loop.decide

    def decide(snap: Snapshot, policy: Policy) -> Any:
        if len(snap.jobs):
            raise ZeroDivisionError
        return loops_decide(snap, policy)

    plane._loop.decide = decide
    with pytest.raises(ZeroDivisionError):
        run_into(plane)
    assert set_aside(tmp_path) == []


def run_into(plane: ControlPlane) -> None:
    with plane.running():
        submit(plane.inbox)
        wait_for(lambda: not plane.health().leading)


@pytest.mark.usefixtures("_allergic")
def test_the_state_is_not_touched_by_the_search() -> None:
    state = ClusterState()
    before = digest(state)
    rows = [InboxRow(7, "facts", poison()), InboxRow(8, "facts", encode(f.Facts(Instant(1), ())))]
    found = list(unbelievable(state, rows, Instant(5)))
    assert [each.seq for each in found] == [7]
    assert digest(state) == before
