"""Each mistake gets one line that says what to change, and an exit code that a script can use."""

from pathlib import Path

import pytest

from tests.faces.plane import RunningPlane, fairway

pytestmark = pytest.mark.real

INVALID, NOT_FOUND, CONFLICT, REFUSED, UNAVAILABLE, STORE = 2, 3, 4, 5, 6, 7


def manifest(plane: RunningPlane, text: str, name: str = "jobs.yaml") -> str:
    path = plane.work / name
    path.write_text(text, "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def ended(plane: RunningPlane) -> str:
    job = plane.submit("true", name="done")
    assert plane.until(job)["phase"] == "succeeded"
    return job


@pytest.fixture(scope="module")
def narrow(plane: RunningPlane) -> str:
    """A queue in which one job may wait, and one does."""
    with plane.client() as client:
        queue = {"kind": "Queue", "name": "narrow", "quota": {"gpus": 0}, "borrow": {"gpus": 1}, "max_pending": 1}
        client.apply([queue])
    request = {"cpu": "10m", "gpus": 1}
    running = plane.submit("sleep 300", queue="narrow", request=request)
    plane.until(running, "running")
    plane.submit("true", queue="narrow", request=request)
    return "narrow"


BAD_MANIFESTS = [
    ("kind: Job\nname: x\ncommand: [a\n", "jobs.yaml:4:1: not YAML: did not find expected ',' or ']'"),
    ("kind: Job\nname: x\n", "jobs.yaml.command: is missing: write what to run, like [python, train.py] (line 1)"),
    ("kind: Job\nname: x\ncommand: a\ngpus: 1\n", "jobs.yaml.gpus: unknown key; did you mean request.gpus? (line 4)"),
    ("kind: Job\nname: x\ncommand: a\nqeue: b\n", "jobs.yaml.qeue: unknown key; did you mean queue? (line 4)"),
    (
        "kind: Jobb\nname: x\n",
        "jobs.yaml.kind: 'Jobb' is none of Job, Service, Queue, Loan, Pool, Reservation, Policy; did you mean Job? "
        "(line 1)",
    ),
    (
        "kind: Queue\nname: q\n---\nkind: Job\nname: x\ncommand: a\nroles: [{name: a, request: {gpus: 1.5}}]\n",
        "jobs.yaml[1].roles[0].request.gpus: 1.5 is neither whole devices nor a share of one: write 1 or less than 1 "
        "(line 7)",
    ),
    (
        "kind: Job\nname: x\ncommand: a\nretries: -1\n",
        "jobs.yaml.retries.limit: -1 < 0: write at least 0 (line 4)",
    ),
    ("", "jobs.yaml: holds no manifest: write kind: Job, Service, Queue, Loan, Pool, Reservation or Policy"),
]


@pytest.mark.parametrize(("text", "expected"), BAD_MANIFESTS, ids=[str(i) for i in range(len(BAD_MANIFESTS))])
@pytest.mark.parametrize("command", ["submit", "apply"])
def test_a_bad_manifest(plane: RunningPlane, command: str, text: str, expected: str) -> None:
    path = manifest(plane, text)
    outcome = plane.cli(command, *(["-f"] if command == "apply" else []), path)
    assert (outcome.error, outcome.code, outcome.out) == (expected, INVALID, "")


def test_every_error_of_a_file_is_told_at_once_and_nothing_of_it_is_accepted(plane: RunningPlane) -> None:
    good = "kind: Queue\nname: never-made\n---\n"
    path = manifest(plane, good + "kind: Job\nname: X\npriority: hihg\n---\nkind: Service\nname: s\nreplicas: many\n")
    outcome = plane.cli("apply", "-f", path)
    assert outcome.code == INVALID
    lines = outcome.err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        "jobs.yaml[1].name",
        "jobs.yaml[1].priority",
        "jobs.yaml[2].replicas",
    ]
    assert "never-made" not in plane.cli("queues", "--json").out


def test_an_impossible_request(plane: RunningPlane) -> None:
    outcome = plane.cli("submit", "--gpus", "9", "--", "true")
    assert outcome.code == REFUSED
    assert outcome.error.startswith("--gpus: never fits: needs 9 GPU + 1 CPU, the largest there is: 4 virtual + 4 CPU")
    assert "--force" in outcome.error
    path = manifest(plane, "kind: Job\nname: x\ncommand: a\nrequest: {memory: 900Ti}\n")
    outcome = plane.cli("submit", path)
    assert outcome.code == REFUSED
    assert outcome.error.startswith("jobs.yaml.request: never fits: needs 1 CPU + 943718400 MiB")


def test_an_impossible_request_may_be_queued_all_the_same(plane: RunningPlane) -> None:
    outcome = plane.cli("submit", "--force", "--gpus", "9", "--name", "big", "--", "true")
    assert outcome.code == 0
    job = outcome.out.strip()
    assert "warning: big never fits: needs 9 GPU" in outcome.err
    assert plane.until(job, "queued")["tier"] in ("never fits", "")
    assert plane.cli("cancel", job).code == 0


def test_more_than_a_queue_may_ever_use(plane: RunningPlane, narrow: str) -> None:
    outcome = plane.cli("submit", "--queue", narrow, "--gpus", "2", "--dry-run", "--", "true")
    assert outcome.code == REFUSED
    assert "needs 2 GPUs, and queue narrow may use 1 at most" in outcome.err


def test_a_full_queue(plane: RunningPlane, narrow: str) -> None:
    outcome = plane.cli("submit", "--queue", narrow, "--", "true")
    expected = (
        "--queue: queue narrow is full: 1 of 1 jobs wait and this adds 1; wait, cancel some, or raise its max_pending"
    )
    assert (outcome.error, outcome.code) == (expected, REFUSED)


def test_an_unknown_queue(plane: RunningPlane, narrow: str) -> None:
    outcome = plane.cli("submit", "--queue", "narow", "--", "true")
    assert (outcome.error, outcome.code) == ("--queue: no queue 'narow'; did you mean narrow?", NOT_FOUND)


def test_cancel_of_a_finished_job(plane: RunningPlane, ended: str) -> None:
    outcome = plane.cli("cancel", ended)
    assert (outcome.error, outcome.code) == (f"job: {ended} cannot be cancelled: it has already succeeded", CONFLICT)


def test_cancel_goes_on_after_a_job_that_cannot_be_cancelled(plane: RunningPlane, ended: str) -> None:
    job = plane.submit("sleep 300")
    outcome = plane.cli("cancel", ended, "nobody-1", job)
    assert outcome.out == f"{job} is told to stop\n"
    assert outcome.code == CONFLICT
    assert len(outcome.err.splitlines()) == 2
    assert plane.until(job)["phase"] == "cancelled"


@pytest.mark.parametrize("command", ["logs", "show", "explain", "cancel"])
def test_an_unknown_job(plane: RunningPlane, ended: str, command: str) -> None:
    outcome = plane.cli(command, ended.replace("done", "dome"))
    assert outcome.error == f"job: no job '{ended.replace('done', 'dome')}'; did you mean {ended}?"
    assert outcome.code == NOT_FOUND


def test_a_name_without_its_number_is_told_the_newest_job_of_that_name(plane: RunningPlane, ended: str) -> None:
    assert plane.cli("show", "done").error == f"job: no job 'done'; did you mean {ended}?"


def test_logs_of_a_job_that_has_not_started(plane: RunningPlane, narrow: str) -> None:
    with plane.client() as client:
        [waiting] = client.jobs(queue=narrow, phase="queued")
    outcome = plane.cli("logs", waiting["id"])
    assert outcome.code == CONFLICT
    assert outcome.error.startswith(f"job: {waiting['id']} has not started, so it has no logs: over quota")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--rank", "3"], "rank: {job} has no rank 3: choose from 0 to 0"),
        (["--attempt", "2"], "attempt: {job} has no attempt 2: choose from 1 to 1"),
    ],
)
def test_logs_of_a_task_that_there_is_not(plane: RunningPlane, ended: str, options: list[str], expected: str) -> None:
    outcome = plane.cli("logs", ended, *options)
    assert (outcome.error, outcome.code) == (expected.format(job=ended), NOT_FOUND)


def test_a_second_control_plane_on_the_same_store(plane: RunningPlane) -> None:
    outcome = fairway("up", home=plane.home)
    assert plane.process is not None
    assert outcome.code == STORE
    assert f"is led by pid {plane.process.pid}" in outcome.error


def test_no_control_plane(tmp_path: Path) -> None:
    home = tmp_path / "nowhere"
    outcome = fairway("ps", home=home)
    expected = f"no control plane is running on {home}; start one with `fairway up`"
    assert (outcome.error, outcome.code) == (expected, UNAVAILABLE)
    assert not home.exists()


USAGE = [
    (["bogus"], "No such command 'bogus'."),
    (["submit", "--gups", "1", "--", "true"], "No such option: --gups"),
    (["submit"], "FILE: is missing: name a file, or a command after --"),
    (["submit", "--"], "COMMAND: is missing after --"),
    (["submit", "nothere.yaml"], "nothere.yaml: there is no such file; a command goes after --"),
    (["submit", "--gpus", "1", "jobs.yaml"], "--gpus: is for a command after --: write it in the file instead"),
    (["submit", "--priority", "hihg", "--", "true"], "--priority: 'hihg' is not a priority: did you mean high?"),
    (["submit", "--workers", "two", "--", "true"], "--workers: 'two' is neither a number nor a range"),
    (["submit", "--memory", "64", "--", "true"], "--memory: '64' has no unit: write it like 512Mi or 64Gi"),
    (["submit", "--deadline", "soon", "--", "true"], "--deadline: 'soon' is not a duration"),
    (["submit", "--env", "NOT_SET_ANYWHERE", "--", "true"], "--env: NOT_SET_ANYWHERE is not set in this shell"),
    (["submit", "--param", "lr", "--", "true"], "--param: 'lr' has no value: write NAME=VALUE"),
    (["cancel"], "JOB: name the jobs, or --queue QUEUE, or --all"),
    (["ps", "--phase", "runing"], "--phase: 'runing' is none of waiting, queued,"),
    (["simulate", "--trace", "nothere.csv"], "trace: there is no file nothere.csv"),
    (["simulate", "--trace", "nothere.csv", "--faults", "fire"], "faults: 'fire' is none of all,"),
    (["completion", "tcsh"], "SHELL: 'tcsh' is none of bash, zsh, fish"),
    (["cordon", "nothere"], "node: no node 'nothere'; there is "),
    (["remove", "nothere"], "service: no service 'nothere'; there are none"),
    (["up", "--cpus", "0"], "--cpus: '0' is nothing: give more, or leave it out"),
]


@pytest.mark.parametrize(("arguments", "expected"), USAGE, ids=[" ".join(arguments) for arguments, _ in USAGE])
def test_a_mistaken_command(plane: RunningPlane, arguments: list[str], expected: str) -> None:
    outcome = plane.cli(*arguments)
    assert outcome.error.startswith(expected)
    assert outcome.code in (INVALID, NOT_FOUND)
    assert outcome.out == ""


def test_cancelling_everything_is_not_done_unasked(plane: RunningPlane, narrow: str) -> None:
    outcome = plane.cli("cancel", "--queue", narrow)
    assert outcome.code == INVALID
    assert outcome.error == "--yes: is needed to cancel 2 jobs without being asked"
