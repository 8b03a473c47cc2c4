"""The whole spine on real processes: the loop, the store and the local executor."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import fairway
from fairway.adapters.controlplane import ControlPlane
from fairway.adapters.executors.local import LocalConfig, LocalExecutor, log_path
from fairway.engine.status import JobStatus
from fairway.model import facts as f
from fairway.model.elastic import BatchLimits, Elasticity
from fairway.model.ids import JobId, QueueId
from fairway.model.job import Job, Priority, PriorityClass, Retry, Role
from fairway.model.phases import Cause, JobPhase
from fairway.model.policy import Elastic, Policy
from fairway.model.resources import Request
from fairway.model.time import HOUR, SECOND, Duration, Instant
from fairway.state.frames import encode
from fairway.testing.polling import wait_for

pytestmark = pytest.mark.real


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def plane(folder: Path) -> Iterator[ControlPlane]:
    with opened(folder).running() as plane:
        yield plane


def opened(folder: Path) -> ControlPlane:
    config = LocalConfig(virtual_gpus=2, cpu_milli=16_000, poll_ms=50, measure_ms=100)
    return ControlPlane.open(folder, [LocalExecutor(folder / "local", config)])


def submit(plane: ControlPlane, script: str, *arguments: str, gpus: int = 0, **fields: object) -> JobId:
    """A shell script as a job of 1 CPU and some GPUs."""

    def body(seq: int) -> bytes:
        given = {"roles": (Role(request=Request(cpu_milli=1_000, gpus=gpus)),), "submitted": plane.clock()} | fields
        command = ("/bin/sh", "-c", script, "sh", *arguments)
        job = Job(JobId(f"job-{seq}"), "job", QueueId("team"), command=command, **given)  # type: ignore[arg-type]
        return encode(f.Facts(Instant(0), (f.JobSubmitted(job),)))

    return JobId(f"job-{plane.inbox.put(None, body)}")


def tell(plane: ControlPlane, fact: f.Fact) -> None:
    plane.inbox.put(None, encode(f.Facts(Instant(0), (fact,))))


def at(plane: ControlPlane, job: JobId, phase: JobPhase) -> JobStatus:
    """The job, as soon as it is in a phase."""

    def look() -> JobStatus | None:
        status = plane.readmodel.job(job)
        return status if status and status.phase is phase else None

    found = wait_for(look, f"{job} to be {phase}")
    assert found is not None
    return found


def test_a_program_runs_and_leaves_its_status_and_its_words(plane: ControlPlane, folder: Path) -> None:
    good = submit(plane, "echo hello; exit 0")
    bad = submit(plane, "echo oh dear >&2; exit 3")
    assert at(plane, good, JobPhase.SUCCEEDED).exit_code == 0
    failed = at(plane, bad, JobPhase.FAILED)
    assert (failed.exit_code, failed.cause, failed.attempt) == (3, Cause.FAILED, 1)
    assert Path(log_path(folder / "local", good, 1)).read_text() == "hello\n"
    assert Path(log_path(folder / "local", bad, 1, stream="err")).read_text() == "oh dear\n"


def test_a_program_that_cannot_be_started_says_what_to_change(plane: ControlPlane) -> None:
    job = submit(plane, "", workdir="/no/such/place", retry=Retry(start_limit=0))
    failed = at(plane, job, JobPhase.FAILED)
    assert failed.cause is Cause.START_FAILED
    assert "/no/such/place" in failed.message


def test_a_failure_is_tried_again_after_a_pause(plane: ControlPlane, tmp_path: Path) -> None:
    script = 'test -e "$1" && exit 0; touch "$1"; exit 9'
    job = submit(plane, script, str(tmp_path / "mark"), retry=Retry(limit=2, backoff=Duration(50)))
    done = at(plane, job, JobPhase.SUCCEEDED)
    assert (done.attempt, done.failures) == (2, 1)


def test_a_job_that_runs_too_long_is_stopped(plane: ControlPlane) -> None:
    job = submit(plane, "sleep 600", max_runtime=Duration(300), grace=Duration(5 * SECOND))
    failed = at(plane, job, JobPhase.FAILED)
    assert (failed.cause, failed.signal) == (Cause.TIMED_OUT, 15)
    assert failed.run_ms >= 300


def test_a_job_is_cancelled_while_it_runs_and_while_it_waits(plane: ControlPlane) -> None:
    running, waiting = submit(plane, "sleep 600", gpus=2), submit(plane, "sleep 600", gpus=2)
    at(plane, running, JobPhase.RUNNING)
    assert "no room now" in at(plane, waiting, JobPhase.QUEUED).reason
    tell(plane, f.CancelAsked(waiting, "ada"))
    assert at(plane, waiting, JobPhase.CANCELLED).message == "asked by ada"
    tell(plane, f.CancelAsked(running, "ada"))
    ended = at(plane, running, JobPhase.CANCELLED)
    assert (ended.cause, ended.signal) == (Cause.CANCELLED, 15)


def test_a_critical_job_takes_the_devices_and_the_other_goes_on_from_its_checkpoint(
    plane: ControlPlane, tmp_path: Path
) -> None:
    script = """
        trap 'echo "$step" >"$FAIRWAY_CHECKPOINT_DIR/step"; exit 75' TERM
        step=$(cat "$FAIRWAY_CHECKPOINT_DIR/step" 2>/dev/null || echo 0)
        echo "from $step" >>"$1"
        while [ "$step" -lt 40 ]; do step=$((step + 1)); sleep 0.02; echo "$step" >"$2"; done
    """
    log, step = tmp_path / "log", tmp_path / "step"
    low = submit(plane, script, str(log), str(step), gpus=2, priority=Priority(PriorityClass.LOW), checkpoints=True)
    at(plane, low, JobPhase.RUNNING)
    wait_for(lambda: step.exists() and step.read_text().strip() not in ("", "1"), "some steps")
    urgent = submit(plane, "sleep 0.1", gpus=1, priority=Priority(PriorityClass.CRITICAL))
    at(plane, urgent, JobPhase.SUCCEEDED)
    done = at(plane, low, JobPhase.SUCCEEDED)
    assert (done.attempt, done.preemptions, done.failures) == (2, 1, 0)
    first, second = log.read_text().split("\n")[:2]
    assert first == "from 0"
    assert int(second.removeprefix("from ")) >= 1, "not from the beginning"
    story = [line for _, line in plane.readmodel.story(low)]
    assert any(f"higher priority {urgent}" in line for line in story)
    assert done.virtual
    assert done.lost_gpu_ms > 0


def test_a_gang_starts_together_and_finds_itself(plane: ControlPlane, tmp_path: Path) -> None:
    script = 'echo "$RANK of $WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT" >>"$1"'
    roles = (Role("worker", 3, Request(cpu_milli=1_000)),)
    job = submit(plane, script, str(tmp_path / "gang"), roles=roles)
    assert at(plane, job, JobPhase.SUCCEEDED).tasks == 3
    lines = sorted((tmp_path / "gang").read_text().splitlines())
    assert [line.split(" at ")[0] for line in lines] == ["0 of 3", "1 of 3", "2 of 3"]
    assert len({line.split(" at ")[1] for line in lines}) == 1


TRAINING = """
import os, pathlib, sys, time
from fairway import job

log, go = map(pathlib.Path, sys.argv[1:])
job.should_stop()
workers, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
batch = job.batch_size()
saved = job.checkpoint_dir() / "step"
step = int(saved.read_text()) if saved.exists() else 0
if rank == 0:
    with log.open("a") as file:
        file.write(f"{job.attempt()} {workers} {batch} {job.local_batch_size()} {job.accumulate()} {step}\\n")
while not go.exists():
    step += 1
    stop = job.should_stop()
    if stop and rank == 0:
        saved.write_text(str(step))
    if rank == 0:
        job.report(step=step, total=10**9, checkpoint=stop, batch=batch, throughput=640.0 * workers, noise=1e5)
    if stop:
        job.yield_()
    time.sleep(0.02)
job.report(step=step, total=step)
"""


def test_a_job_reports_grows_from_its_checkpoint_and_is_told_a_larger_batch(
    plane: ControlPlane, tmp_path: Path
) -> None:
    log, go, room = tmp_path / "log", tmp_path / "go", tmp_path / "room"
    eager = Elastic(settle=Duration(0), restart=Duration(SECOND), margin=1.0)
    tell(plane, f.PolicySet(Policy(elastic=eager)))
    other = submit(plane, 'until test -e "$1"; do sleep 0.02; done', str(room), gpus=1)
    at(plane, other, JobPhase.RUNNING)
    job = submit(
        plane, 'exec "$1" -c "$2" "$3" "$4"', sys.executable, TRAINING, str(log), str(go),
        roles=(Role("worker", 2, Request(cpu_milli=1_000, gpus=1), min_count=1),), checkpoints=True,
        env=(("PYTHONPATH", str(Path(fairway.__file__).parents[1])),),
        estimate=Duration(HOUR), elastic=Elasticity(batch=BatchLimits(64, 4096, 16, 512)), grace=Duration(20 * SECOND),
    )  # fmt: skip
    wait_for(lambda: (seen := plane.readmodel.job(job)) and seen.training and seen.training.throughput, "a report")
    room.touch()
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) > 1, "the second attempt")
    grown = wait_for(lambda: (seen := plane.readmodel.job(job)) and seen.training and seen.training.batch > 64 and seen)
    assert grown is not None
    assert (grown.attempt, grown.tasks, grown.preemptions, grown.failures) == (2, 2, 0, 0)
    go.touch()
    assert at(plane, job, JobPhase.SUCCEEDED).attempt == 2
    first, second = (list(map(int, line.split())) for line in log.read_text().splitlines())
    assert first == [1, 1, 64, 64, 1, 0]
    n, workers, batch, local, times, step = second
    assert (n, workers, batch) == (2, 2, 2 * local * times)
    assert 64 < batch <= 4096, "its gradients are noisy"
    assert step >= 1, "it goes on from its checkpoint"
    assert grown.training is not None
    assert (grown.training.speedup, grown.training.told_batch) == ("goodput", batch)
    story = [line for _, line in plane.readmodel.story(job)]
    assert any("grows from 1 to 2 workers" in line and "by its goodput" in line for line in story)


def test_work_goes_on_over_a_restart_and_is_adopted(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "go"
    with opened(folder).running() as plane:
        job = submit(plane, 'echo "$$" >>"$1.began"; until test -e "$1"; do sleep 0.02; done; exit 0', str(mark))
        at(plane, job, JobPhase.RUNNING)
        ended = submit(plane, 'until test -e "$1.soon"; do sleep 0.02; done; exit 4', str(mark))
        at(plane, ended, JobPhase.RUNNING)
    Path(f"{mark}.soon").touch()
    with opened(folder).running() as plane:
        recovery = wait_for(lambda: plane.health().recovery)
        assert recovery is not None
        assert recovery.adopted >= 1
        assert at(plane, ended, JobPhase.FAILED).exit_code == 4
        assert at(plane, job, JobPhase.RUNNING).attempt == 1
        mark.touch()
        assert at(plane, job, JobPhase.SUCCEEDED).attempt == 1
    assert len(Path(f"{mark}.began").read_text().splitlines()) == 1


def test_jobs_come_in_while_others_end(plane: ControlPlane) -> None:
    """Many threads put; everything ends well, each job exactly once."""
    jobs: list[JobId] = []

    def put() -> None:
        jobs.extend(submit(plane, "true") for _ in range(20))

    threads = [threading.Thread(target=put) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(jobs)) == 80
    for job in jobs:
        assert at(plane, job, JobPhase.SUCCEEDED).attempt == 1
    wait_for(lambda: plane.inbox.waiting() == 0)
    wait_for(lambda: plane.queries.seq() == plane.readmodel.published[0], "the tables")
    assert len(plane.queries.jobs(limit=1000)) == 80


def test_python_is_a_program_too(plane: ControlPlane, tmp_path: Path) -> None:
    code = "from fairway.job import report; report(step=7, total=9)"
    job = submit(plane, '"$1" -c "$2"', sys.executable, code)
    done = at(plane, job, JobPhase.SUCCEEDED)
    assert (done.step, done.total) == (7, 9)
