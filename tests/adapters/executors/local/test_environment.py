"""What a task finds in its environment."""

from fairway.adapters.executors.local.discover import Machine
from fairway.adapters.executors.local.environment import base, for_attempt, for_task
from fairway.adapters.executors.local.folder import Folder
from fairway.engine.commands import StartAttempt
from fairway.model.ids import AttemptId, JobId, NodeId, QueueId
from fairway.model.job import ArrayIndex, Job, Role
from fairway.model.node import Node
from fairway.model.plan import TaskPlacement
from fairway.model.resources import Request

NODE = NodeId("n")
REAL = Machine(Node(NODE, gpus=2, gpu_type="H100"), ("GPU-aa", "GPU-bb"), (0, 1))
VIRTUAL = Machine(Node(NODE, gpus=2, gpu_type="H100", virtual=True), ("0", "1"), (0, 1))
ATTEMPT = AttemptId(JobId("train-1"), 3)
FOLDER = Folder("/data", ATTEMPT)
GANG_ONLY = {"MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"}


def command(job: Job, *placement: TaskPlacement) -> StartAttempt:
    return StartAttempt("local", ATTEMPT, job, placement)


def a_job(*roles: Role, array: ArrayIndex | None = None) -> Job:
    return Job(ATTEMPT.job, "train", QueueId("q"), roles=roles or (Role(),), array=array)


def test_the_base_has_what_a_program_needs_and_no_secrets() -> None:
    found = base(
        {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "AWS_SECRET_ACCESS_KEY": "s", "CUDA_VISIBLE_DEVICES": "7"}
    )
    assert found == {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C"}


def test_more_of_it_is_passed_on_when_asked_for() -> None:
    assert base({"PATH": "/bin", "HOME": "/h", "PROXY": "p"}, ["PROXY", "ABSENT"])["PROXY"] == "p"


def test_a_base_without_a_path_or_a_home_gets_one() -> None:
    found = base({})
    assert "/bin" in found["PATH"]
    assert found["HOME"].startswith("/")


def test_a_plain_job() -> None:
    start = command(a_job(), TaskPlacement(0, 0, NODE))
    found = for_attempt(start, FOLDER, REAL, 0) | for_task(start, start.placement[0], REAL)
    assert found == {
        "FAIRWAY_JOB": "train-1",
        "FAIRWAY_ATTEMPT": "3",
        "FAIRWAY_TASK": "0",
        "FAIRWAY_ROLE": "main",
        "FAIRWAY_GPUS": "",
        "FAIRWAY_CHECKPOINT_DIR": "/data/checkpoints/train-1",
        "FAIRWAY_PROGRESS": "/data/attempts/train-1@3/progress",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "",
    }


def test_real_devices_are_named_and_virtual_ones_counted() -> None:
    job = a_job(Role(request=Request(gpus=1, gpu_milli=400)))
    start = command(job, TaskPlacement(0, 0, NODE, (1,), 400))
    real = for_attempt(start, FOLDER, REAL, 0) | for_task(start, start.placement[0], REAL)
    assert (real["CUDA_VISIBLE_DEVICES"], real["FAIRWAY_GPUS"], real["FAIRWAY_GPU_MILLI"]) == ("GPU-bb", "1", "400")
    assert "FAIRWAY_VIRTUAL_GPUS" not in real
    pretend = for_attempt(start, FOLDER, VIRTUAL, 0) | for_task(start, start.placement[0], VIRTUAL)
    assert (pretend["CUDA_VISIBLE_DEVICES"], pretend["FAIRWAY_VIRTUAL_GPUS"]) == ("1", "1")


def test_a_gang_finds_each_other() -> None:
    job = a_job(Role("chief"), Role("worker", count=2, request=Request(gpus=1)))
    start = command(
        job, TaskPlacement(0, 0, NODE), TaskPlacement(1, 1, NODE, (0,), 1000), TaskPlacement(2, 1, NODE, (1,), 1000)
    )
    common = for_attempt(start, FOLDER, REAL, 4_711)
    assert {name: common[name] for name in GANG_ONLY - {"RANK", "LOCAL_RANK"}} == {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "4711",
        "WORLD_SIZE": "3",
        "LOCAL_WORLD_SIZE": "3",
        "NODE_RANK": "0",
    }
    own = [for_task(start, task, REAL) for task in start.placement]
    assert [(o["RANK"], o["LOCAL_RANK"], o["FAIRWAY_ROLE"]) for o in own] == [
        ("0", "0", "chief"),
        ("1", "1", "worker"),
        ("2", "2", "worker"),
    ]
    assert [o["CUDA_VISIBLE_DEVICES"] for o in own] == ["", "GPU-aa", "GPU-bb"]


def test_an_elastic_gang_of_one_is_a_gang() -> None:
    start = command(a_job(Role(count=4, min_count=1)), TaskPlacement(0, 0, NODE))
    assert for_attempt(start, FOLDER, REAL, 1)["WORLD_SIZE"] == "1"


def test_a_plain_job_does_not_wait_for_others() -> None:
    start = command(a_job(), TaskPlacement(0, 0, NODE))
    assert not GANG_ONLY & (for_attempt(start, FOLDER, REAL, 0) | for_task(start, start.placement[0], REAL)).keys()


def test_an_array_element_knows_which_it_is() -> None:
    start = command(a_job(array=ArrayIndex("sweep-18", 3, 10)), TaskPlacement(0, 0, NODE))
    found = for_attempt(start, FOLDER, REAL, 0)
    assert (found["FAIRWAY_ARRAY"], found["FAIRWAY_ARRAY_INDEX"], found["FAIRWAY_ARRAY_SIZE"]) == (
        "sweep-18",
        "3",
        "10",
    )
