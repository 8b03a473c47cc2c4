import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fairway.adapters import live
from fairway.adapters.controlplane import STORE
from fairway.adapters.live import LiveWorld, WallClock
from fairway.adapters.stores.queries import Queries
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.engine.commands import WakeAt
from fairway.model import facts as f
from fairway.model.errors import StaleEpoch, StoreBusy
from fairway.model.ids import AttemptId, JobId
from fairway.model.phases import JobPhase
from fairway.model.time import Instant
from fairway.testing.polling import wait_for
from tests.adapters.actor import Actor, Stage, phase, plane_of, submit, submit_beside, succeeded

FIRST = AttemptId(JobId("job-1"), 1)


@pytest.fixture
def stage() -> Stage:
    return Stage()


# -- the whole -----------------------------------------------------------------------------------------------------


def test_a_submission_runs_and_is_forgotten_by_its_executor(tmp_path: Path, stage: Stage) -> None:
    with plane_of(tmp_path, stage).running() as plane:
        succeeded(plane, submit(plane.inbox))
        wait_for(lambda: stage.called("forget"))
        assert plane.health().ok
        assert wait_for(lambda: plane.queries.job(JobId("job-1")))
    assert stage.runs == {}
    assert [call for call, _ in stage.calls if call in ("open", "start", "close")] == ["open", "start", "close"]


def test_a_submission_of_another_process_is_found(tmp_path: Path, stage: Stage) -> None:
    with plane_of(tmp_path, stage).running() as plane:
        succeeded(plane, submit_beside(tmp_path / STORE))


def test_what_was_submitted_while_nobody_led_is_taken_in(tmp_path: Path, stage: Stage) -> None:
    plane_of(tmp_path, stage).close()
    job = submit_beside(tmp_path / STORE)
    with plane_of(tmp_path, stage).running() as plane:
        succeeded(plane, job)


def test_a_new_leader_goes_on_where_the_last_one_stopped(tmp_path: Path, stage: Stage) -> None:
    stage.ends_by_itself = False
    with plane_of(tmp_path, stage).running() as plane:
        job = submit(plane.inbox)
        wait_for(lambda: phase(plane, job) is JobPhase.RUNNING)
    assert stage.runs[FIRST].ended is None
    stage.runs[FIRST] = f.Observed(FIRST, stage.runs[FIRST].started)
    again = plane_of(tmp_path, stage)
    assert phase(again, job) is JobPhase.RUNNING, "shown before the first turn"
    with again.running() as plane:
        recovery = wait_for(lambda: plane.health().recovery)
        assert (recovery.adopted, plane.epoch) == (1, 2)
        assert recovery.frames == 0, "an orderly end leaves a checkpoint"
    assert stage.called("start") == 1


def test_an_attempt_that_vanished_meanwhile_runs_again(tmp_path: Path, stage: Stage) -> None:
    stage.ends_by_itself = False
    with plane_of(tmp_path, stage).running() as plane:
        job = submit(plane.inbox)
        wait_for(lambda: phase(plane, job) is JobPhase.RUNNING)
    stage.runs.clear()
    stage.ends_by_itself = True
    with plane_of(tmp_path, stage).running() as plane:
        succeeded(plane, job)
        assert wait_for(lambda: plane.health().recovery).adopted == 0
        assert plane.readmodel.job(job).attempt == 2  # type: ignore[union-attr]


def test_a_store_has_one_leader(tmp_path: Path, stage: Stage) -> None:
    with plane_of(tmp_path, stage).running(), pytest.raises(StoreBusy):
        plane_of(tmp_path, stage)


def test_a_leader_that_was_overtaken_ends_and_says_so(tmp_path: Path, stage: Stage) -> None:
    plane = plane_of(tmp_path, stage)
    with closing(sqlite3.connect(tmp_path / STORE)) as other:
        other.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
        other.execute("UPDATE meta SET value = 'somebody else' WHERE name = 'holder'")
        other.commit()
    with pytest.raises(StaleEpoch, match="somebody else"), plane.running():
        wait_for(lambda: not plane.health().leading)
    assert stage.called("start") == 0


# -- the inbox of facts ---------------------------------------------------------------------------------------------


def world_of(*actors: Actor, at: int = 1_000) -> LiveWorld:
    return LiveWorld(actors, epoch=1, clock=WallClock(read=lambda: at * 1_000_000), idle_s=0.005)


def test_a_batch_is_bounded_and_the_rest_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_FACTS", 10)
    world = world_of()
    for step in range(25):
        world.emit(f.Progressed(FIRST, step))
    batches = world.facts()
    sizes = [len(next(batches).items) for _ in range(4)]
    world.close()
    assert sizes == [1, 10, 10, 5], "the first tells the epoch"


def test_facts_that_do_not_fit_are_made_up_for_by_inventories(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "MOST_WAITING", 10)
    world = world_of(Actor(stage))
    batches = world.facts()
    next(batches)
    wait_for(lambda: stage.called("inventory"))
    asked = stage.called("inventory")
    for step in range(25):
        world.emit(f.Progressed(FIRST, step))
    next(batches)
    wait_for(lambda: stage.called("inventory") > asked)
    world.close()
    assert world.dropped >= 15
    assert "dropped" in caplog.text


def test_a_wake_up_ends_the_wait_early() -> None:
    clock = WallClock()
    world = LiveWorld([], epoch=1, clock=clock, idle_s=3600)
    batches = world.facts()
    next(batches)
    world.send([WakeAt(Instant(clock() + 30))])
    woken = next(batches)
    world.close()
    assert woken.items == ()


def test_a_clock_that_is_set_back_stands_still(caplog: pytest.LogCaptureFixture) -> None:
    times = iter([5_000_000, 4_000, 4_999_999, 5_000_001])
    clock = WallClock(4_999_000, lambda: next(times) * 1_000_000)
    assert [clock() for _ in range(4)] == [5_000_000, 5_000_000, 5_000_000, 5_000_001]
    assert "time stands still" in caplog.text


# -- signals --------------------------------------------------------------------------------------------------------

PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fairway.adapters.controlplane import ControlPlane
from tests.adapters.actor import Actor, Stage
plane = ControlPlane.open(Path(sys.argv[1]), [Actor(Stage())])
print("up", flush=True)
try:
    plane.run()
finally:
    plane.close()
print("down", flush=True)
"""


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, repository: Path, number: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(repository)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        job = submit_beside(tmp_path / STORE)
        wait_for(lambda: _done(tmp_path, job), "the job")
        os.kill(process.pid, number)
        assert process.stdout.read() == "down\n"
    assert process.returncode == 0
    with SqliteStore.open(tmp_path / STORE) as store:
        checkpoint = store.newest_checkpoint()
        assert checkpoint is not None
        assert checkpoint[0] == store.last


def _done(folder: Path, job: JobId) -> bool:
    with Queries(folder / "views.db") as queries:
        status = queries.job(job)
        return status is not None and status.phase is JobPhase.SUCCEEDED
