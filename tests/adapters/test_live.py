import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fairway.adapters import live
from fairway.adapters.controlplane import STORE, ControlPlane
from fairway.adapters.live import LiveWorld, WallClock, writable
from fairway.adapters.live_executors import Post
from fairway.adapters.live_journal import LiveJournal
from fairway.adapters.stores.queries import Queries
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.engine import reconcile
from fairway.engine.commands import StartAttempt, WakeAt
from fairway.engine.memory_journal import Disk, MemoryJournal
from fairway.model import facts as f
from fairway.model.errors import StaleEpoch, StoreBusy, StoreFull
from fairway.model.ids import AttemptId, ExecutorId, JobId
from fairway.model.job import Job
from fairway.model.phases import Cause, JobPhase
from fairway.model.time import Duration, Instant
from fairway.testing.polling import await_for, wait_for
from tests.adapters.actor import Actor, Stage, submit, submit_beside

FIRST = AttemptId(JobId("job-1"), 1)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not answered is asked again after milliseconds."""
    monkeypatch.setattr(reconcile, "RESEND_FIRST", Duration(20))


def plane_of(folder: Path, stage: Stage) -> ControlPlane:
    return ControlPlane.open(folder, [Actor(stage)])


def phase(plane: ControlPlane, job: JobId) -> JobPhase | None:
    status = plane.readmodel.job(job)
    return status.phase if status else None


def succeeded(plane: ControlPlane, job: JobId) -> bool:
    return wait_for(lambda: phase(plane, job) is JobPhase.SUCCEEDED, f"the end of {job}")


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


# -- executors that fail --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("call", ["open", "start", "forget", "inventory"])
def test_a_call_that_fails_is_made_again(
    tmp_path: Path, stage: Stage, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairway.adapters.live_executors.REOPEN_S", (0.01, 0.01))
    monkeypatch.setattr(LiveWorld.__init__, "__kwdefaults__", LiveWorld.__init__.__kwdefaults__ | {"inventory_s": 0.02})
    stage.errors[call] = [RuntimeError("out of order"), OSError("still out of order")]
    with plane_of(tmp_path, stage).running() as plane:
        succeeded(plane, submit(plane.inbox))
        wait_for(lambda: not stage.runs, "everything to be forgotten")
        wait_for(lambda: plane.health().ok)
    assert stage.errors[call] == []


@pytest.mark.usefixtures("impatient")
def test_what_is_wrong_with_an_executor_is_shown(tmp_path: Path, stage: Stage) -> None:
    stage.errors["start"] = [RuntimeError("out of order")] * 10_000
    with plane_of(tmp_path, stage).running() as plane:
        job = submit(plane.inbox)
        (trouble,) = wait_for(lambda: plane.health().troubles)
        assert "StartAttempt job-1@1 failed on executor local: out of order" in trouble
        wait_for(lambda: phase(plane, job) is JobPhase.STARTING)
        stage.errors.clear()
        succeeded(plane, job)


def test_a_text_that_cannot_be_written_down_does_not_stop_anything(tmp_path: Path, stage: Stage) -> None:
    stage.message = "\udcff not UTF-8"
    with plane_of(tmp_path, stage).running() as plane:
        job = submit(plane.inbox)
        succeeded(plane, job)
        assert plane.readmodel.job(job).message == r"\udcff not UTF-8"  # type: ignore[union-attr]


def test_an_inventory_with_such_a_text_is_mended_and_a_number_out_of_range_dropped() -> None:
    bad = f.Observed(FIRST, Instant(1), Instant(2), f.Outcome(Cause.FAILED, 1, message="\udc80"))
    mended = writable(f.Inventory(ExecutorId("local"), 1, (), (bad,)))
    assert isinstance(mended, f.Inventory)
    assert mended.attempts[0].outcome == f.Outcome(Cause.FAILED, 1, message=r"\udc80")
    assert writable(f.Progressed(FIRST, step=1 << 70)) is None
    assert writable(f.Progressed(FIRST, step=1 << 60)) is not None


def test_a_command_under_way_is_not_doubled_and_one_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairway.adapters.live_executors.CALL_S", 0.05)
    started: list[StartAttempt] = []

    class Hangs(Actor):
        async def start(self, command: StartAttempt) -> None:
            started.append(command)
            await asyncio.sleep(3600)

    async def scene() -> None:
        post = Post(Hangs(Stage()), lambda _: None, 1, 30)
        serving = asyncio.create_task(post.serve())
        command = StartAttempt("local", FIRST, Job(JobId("job-1"), "job", "team"), ())  # type: ignore[arg-type]
        post.take(command)
        post.take(command)
        await await_for(lambda: post.troubles)
        assert started == [command]
        await await_for(lambda: post.take(command) or len(started) == 2)
        serving.cancel()
        await post.close()

    asyncio.run(scene())


def test_an_inventory_that_brings_nothing_new_is_told_now_and_then_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairway.adapters.live_executors.REPEAT_INVENTORY", 5)
    told: list[f.Fact] = []

    async def scene() -> None:
        stage = Stage()
        post = Post(actor := Actor(stage), told.append, 1, 0.001)
        serving = asyncio.create_task(post.serve())
        await await_for(lambda: stage.called("inventory") > 20)
        assert len(told) == (stage.called("inventory") - 1) // 5 + 1
        actor.end(FIRST, f.Outcome(Cause.SUCCEEDED, 0))
        asked = stage.called("inventory")
        await await_for(lambda: stage.called("inventory") > asked + 1)
        serving.cancel()
        assert isinstance(told[-1], f.Inventory), "after any other fact, the next inventory is told"
        assert told[-1].attempts[0].attempt == FIRST

    asyncio.run(scene())


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


# -- a full disk ----------------------------------------------------------------------------------------------------


class Mailbox(MemoryJournal):
    """A journal in memory with an inbox beside it."""

    rows: list[tuple[int, bytes]]
    marks: list[tuple[int, int]]

    def take(self, limit: int) -> list[object]:
        return []

    def consumed(self, up_to: int) -> None:
        self.marks.append((self.last, up_to))


def test_a_full_disk_is_waited_for_and_every_frame_written_once() -> None:
    disk, waited = Disk(), list[float]()

    def pause(seconds: float) -> bool:
        waited.append(seconds)
        disk.full = len(waited) < 3
        return False

    journal = LiveJournal(Mailbox(disk), pause)
    disk.full = True
    batches = [f.Facts(Instant(now), (f.CancelAsked(JobId("j"), str(now)),)) for now in range(2)]
    seqs = [journal.append(batch) for batch in batches]
    journal.commit()
    assert (len(waited), journal.trouble) == (3, "")
    assert list(journal.tail(0)) == list(zip(seqs, batches, strict=True))


def test_a_full_disk_ends_the_loop_only_when_it_is_told_to_stop() -> None:
    disk = Disk(full=True)
    journal = LiveJournal(Mailbox(disk), lambda _: True)
    journal.append(f.Facts(Instant(1), (f.CancelAsked(JobId("j")),)))
    with pytest.raises(StoreFull):
        journal.commit()
    assert "no space" in journal.trouble
    journal.checkpoint(0, b"a checkpoint is not worth an error")


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """While its one item is True, the leader's commits find the disk full."""
    full, commit = [False], SqliteStore.commit

    def checked(store: SqliteStore) -> None:
        if full[0]:
            store._pending, store._marks, store._last = [], {}, None
            raise StoreFull("no space left")
        commit(store)

    monkeypatch.setattr(SqliteStore, "commit", checked)
    monkeypatch.setattr("fairway.adapters.live_journal.PAUSE_S", 0.01)
    yield full
    full[0] = False


def test_a_control_plane_outlives_a_full_disk(tmp_path: Path, stage: Stage, crowded: list[bool]) -> None:
    with plane_of(tmp_path, stage).running() as plane:
        before = submit(plane.inbox)
        succeeded(plane, before)
        crowded[0] = True
        job = submit(plane.inbox)
        wait_for(lambda: "no space left" in plane.health().troubles)
        assert (stage.called("start"), phase(plane, job)) == (1, None)
        crowded[0] = False
        succeeded(plane, job)
        assert plane.health().ok
    with plane_of(tmp_path, stage).running() as plane:
        assert (phase(plane, before), phase(plane, job)) == (JobPhase.SUCCEEDED, JobPhase.SUCCEEDED)
        assert plane.inbox.waiting() == 0
    assert stage.called("start") == 2


def test_what_could_not_be_written_before_the_end_is_taken_in_by_the_next(
    tmp_path: Path, stage: Stage, crowded: list[bool]
) -> None:
    plane = plane_of(tmp_path, stage)
    job = JobId("job-1")

    def crowd_out() -> None:
        with plane.running():
            wait_for(lambda: plane.health().recovery)
            crowded[0] = True
            assert submit(plane.inbox) == job
            wait_for(lambda: plane.health().troubles)

    with pytest.raises(StoreFull):
        crowd_out()
    crowded[0] = False
    with plane_of(tmp_path, stage).running() as successor:
        succeeded(successor, job)


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
