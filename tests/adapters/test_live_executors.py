import asyncio
from pathlib import Path

import pytest

from fairway.adapters.live import LiveWorld, writable
from fairway.adapters.live_executors import Post
from fairway.engine import reconcile
from fairway.engine.commands import StartAttempt
from fairway.model import facts as f
from fairway.model.ids import AttemptId, ExecutorId, JobId
from fairway.model.job import Job
from fairway.model.phases import Cause, JobPhase
from fairway.model.time import Duration, Instant
from fairway.testing.polling import await_for, wait_for
from tests.adapters.actor import Actor, Stage, phase, plane_of, submit, succeeded

FIRST = AttemptId(JobId("job-1"), 1)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not answered is asked again after milliseconds."""
    monkeypatch.setattr(reconcile, "RESEND_FIRST", Duration(20))


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
