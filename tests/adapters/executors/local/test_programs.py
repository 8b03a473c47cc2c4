"""What programs find and may do: real ones, through the whole executor."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from fairway.adapters.executors.local import LocalConfig
from fairway.engine.commands import ForgetAttempt
from fairway.model.facts import AttemptEnded, Progressed
from fairway.model.phases import Cause
from fairway.model.resources import Request
from fairway.model.time import Duration
from tests.adapters.executors.local.world import CONFIG, LocalWorld, marked, played, python, sh

pytestmark = pytest.mark.real

# -- output -----------------------------------------------------------------------------------------------------------


@played
async def test_both_streams_are_kept_apart_byte_for_byte(world: LocalWorld) -> None:
    text = "grün ✓ \U0001f680\n"
    job = await world.start(sh('printf "%s" "$TEXT"; printf "\\377\\000err" >&2'), env=(("TEXT", text),))
    assert (await world.end(job)).cause is Cause.SUCCEEDED
    assert world.log(job) == text.encode()
    assert world.log(job, "err") == b"\xff\0err"


@played
async def test_much_output_is_kept_whole(world: LocalWorld) -> None:
    job = await world.start(python("import sys; [sys.stdout.write(str(i) + '\\n') for i in range(2_000_000)]"))
    await world.end(job)
    expected = "".join(f"{i}\n" for i in range(2_000_000)).encode()
    assert hashlib.sha256(world.log(job)).digest() == hashlib.sha256(expected).digest()


@played
async def test_lines_of_many_processes_stay_whole(world: LocalWorld) -> None:
    job = await world.start(sh("for i in 1 2 3 4; do (for j in $(seq 200); do echo line-$i-$j; done) & done; wait"))
    await world.end(job)
    assert sorted(world.log(job).split()) == sorted(
        f"line-{i}-{j}".encode() for i in range(1, 5) for j in range(1, 201)
    )


def test_a_log_that_grows_is_rotated_while_it_is_written(tmp_path: Path) -> None:
    async def play(world: LocalWorld) -> None:
        await world.open()
        job = await world.start(python(
            "import sys, time\n"
            "for i in range(40):\n"
            "    sys.stdout.write((f'{i:04} ' * 20_000)); sys.stdout.flush(); time.sleep(0.03)\n"
        ))  # fmt: skip
        assert (await world.end(job)).cause is Cause.SUCCEEDED
        await world.close()
        parts = {path.name: path.read_bytes() for path in world.files(job, "0.out*")}
        assert parts.keys() == {"0.out", "0.out.1", "0.out.2"}
        newest = parts["0.out"] or parts["0.out.1"]
        assert newest.endswith(b"0039 ")
        assert sum(map(len, parts.values())) < 40 * 100_000, "the oldest parts are gone"
        assert b"\0" not in newest, "no holes"

    asyncio.run(play(LocalWorld(tmp_path, CONFIG.model_copy(update={"log_mib": 1, "poll_ms": 5}))))


@played
async def test_there_is_no_input(world: LocalWorld) -> None:
    job = await world.start(sh("cat; echo end"))
    await world.end(job)
    assert world.log(job) == b"end\n"


# -- what it finds ----------------------------------------------------------------------------------------------------


@played
async def test_its_environment(world: LocalWorld) -> None:
    os.environ["FAIRWAY_TEST_SECRET"] = "hidden"
    try:
        await world.close()
        await world.open()
        job = await world.start(
            ("env", "-0"), name="train-7", n=2,
            env=(("MINE", "a b"), ("CUDA_VISIBLE_DEVICES", "0,1,2"), ("PATH", "/usr/bin:/bin"), ("odd.name", "1")),
        )  # fmt: skip
        await world.end(job)
    finally:
        del os.environ["FAIRWAY_TEST_SECRET"]
    found = dict(entry.split("=", 1) for entry in world.log(job).decode().split("\0")[:-1])
    assert (found["MINE"], found["PATH"], found["odd.name"]) == ("a b", "/usr/bin:/bin", "1")
    assert (found["FAIRWAY_JOB"], found["FAIRWAY_ATTEMPT"], found["FAIRWAY_ROLE"]) == ("train-7", "2", "r0")
    assert found["CUDA_VISIBLE_DEVICES"] == "", "nobody gives itself devices"
    assert "FAIRWAY_TEST_SECRET" not in found
    assert found["HOME"] == os.environ["HOME"]
    assert Path(found["FAIRWAY_CHECKPOINT_DIR"]).is_relative_to(world.data)


def test_pretend_devices(tmp_path: Path) -> None:
    async def play(world: LocalWorld) -> None:
        await world.open()
        job = await world.start(
            sh("echo $CUDA_VISIBLE_DEVICES $FAIRWAY_GPUS $FAIRWAY_VIRTUAL_GPUS $FAIRWAY_GPU_MILLI"),
            sh("echo $CUDA_VISIBLE_DEVICES"),
            request=Request(gpus=1, gpu_milli=400),
        )
        assert (await world.end(job)).cause is Cause.SUCCEEDED
        assert (world.log(job), world.log(job, rank=1)) == (b"0 0 1 400\n", b"1\n")
        inventory = await world.executor.inventory()
        assert inventory.nodes[0].virtual
        await world.close()

    asyncio.run(play(LocalWorld(tmp_path, CONFIG.model_copy(update={"virtual_gpus": 2}))))


@played
async def test_it_starts_in_its_own_folder_or_where_it_is_told(world: LocalWorld) -> None:
    own = await world.start(sh("pwd"), name="own-1")
    told = await world.start(sh("pwd"), name="told-1", workdir="/usr")
    await world.end(own)
    await world.end(told)
    assert world.log(own).decode() == f"{world.executor.data}/attempts/own-1@1\n"
    assert world.log(told) == b"/usr\n"


@played
async def test_its_checkpoints_are_there_in_the_next_attempt(world: LocalWorld) -> None:
    first = await world.start(sh("echo 41 > $FAIRWAY_CHECKPOINT_DIR/step; exit 1"), name="train-1", n=1)
    await world.end(first)
    second = await world.start(sh("cat $FAIRWAY_CHECKPOINT_DIR/step"), name="train-1", n=2)
    await world.end(second)
    assert world.log(second) == b"41\n"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores to tell them apart")
@played
async def test_tasks_are_bound_to_different_cores_and_adoption_keeps_count(world: LocalWorld) -> None:
    show = "grep Cpus_allowed_list /proc/self/status | cut -f2; sleep 600"
    jobs = [await world.start(sh(show), name=f"bound-{i}", request=Request(cpu_milli=1_000)) for i in range(2)]
    await world.settle(lambda: all(world.log(job) for job in jobs))
    given = [int(world.log(job)) for job in jobs]
    assert given[0] != given[1]
    higher = jobs[given.index(max(given))]
    await world.stop(higher, 0)
    await world.end(higher)
    await world.executor.forget(ForgetAttempt(world.executor.name, higher))
    await world.close()
    await world.open()
    third = await world.start(sh(show), name="bound-3", request=Request(cpu_milli=1_000))
    await world.settle(lambda: bool(world.log(third)))
    if len(os.sched_getaffinity(0)) == 2:
        assert int(world.log(third)) == max(given), "the lower is still taken by the adopted one"
    anywhere = await world.start(sh(show), name="any-1")
    await world.settle(lambda: bool(world.log(anywhere)))
    assert not world.log(anywhere).strip().isdigit()


def test_nobody_is_bound_where_cores_are_only_declared(tmp_path: Path) -> None:
    async def play(world: LocalWorld) -> None:
        await world.open()
        job = await world.start(sh("nproc"), request=Request(cpu_milli=1_000))
        await world.end(job)
        assert int(world.log(job)) == len(os.sched_getaffinity(0))
        await world.close()

    asyncio.run(play(LocalWorld(tmp_path, CONFIG.model_copy(update={"cpu_milli": 1_000_000}))))


# -- limits -----------------------------------------------------------------------------------------------------------

HOG = "x = bytearray({} << 20); print('had it')"


@played
async def test_memory_is_limited(world: LocalWorld) -> None:
    job = await world.start(python(HOG.format(400)), request=Request(memory_mib=200))
    outcome = await world.end(job)
    assert (outcome.cause, outcome.exit_code) == (Cause.FAILED, 1)
    assert b"MemoryError" in world.log(job, "err")
    assert b"had it" not in world.log(job)


@played
async def test_memory_within_the_limit_is_given_and_address_space_is_free(world: LocalWorld) -> None:
    reserve = "import mmap; m = mmap.mmap(-1, 64 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=0); "
    job = await world.start(python(reserve + HOG.format(150)), request=Request(memory_mib=200))
    assert (await world.end(job)).cause is Cause.SUCCEEDED, world.log(job, "err")


@played
async def test_no_limit_without_a_request(world: LocalWorld) -> None:
    job = await world.start(sh("ulimit -d"))
    await world.end(job)
    assert world.log(job) == b"unlimited\n"


# -- progress ---------------------------------------------------------------------------------------------------------


@played
async def test_progress_is_told_while_it_runs_and_before_its_end(world: LocalWorld) -> None:
    job = await world.start(
        sh("echo step=1 total=3 checkpoint >> $FAIRWAY_PROGRESS; while [ ! -e go ]; do sleep 0.01; done;"
           "echo step=3 total=3 time=99 >> $FAIRWAY_PROGRESS")
    )  # fmt: skip
    await world.settle(lambda: any(isinstance(f, Progressed) for f in world.facts))
    first = next(f for f in world.facts if isinstance(f, Progressed))
    assert (first.attempt, first.step, first.total) == (job, 1, 3)
    assert first.checkpoint is not None
    world.touch(job, "go")
    await world.end(job)
    last = [f for f in world.facts if isinstance(f, Progressed)][-1]
    assert (last.step, last.checkpoint) == (3, first.checkpoint)
    assert world.facts.index(last) < next(i for i, f in enumerate(world.facts) if isinstance(f, AttemptEnded))


@played
async def test_the_sdk_yields_and_goes_on_where_it_was(world: LocalWorld) -> None:
    program = """
import time
from fairway import job
path = job.checkpoint_dir() / "step"
step = int(path.read_text()) if job.attempt() > 1 else 0
assert not job.should_stop()
while step < 1_000:
    step += 1
    job.report(step=step, total=1_000)
    if job.should_stop():
        path.write_text(str(step))
        job.report(step=step, total=1_000, checkpoint=True)
        job.yield_()
    time.sleep(0.002 if job.attempt() == 1 else 0)
"""
    first = await world.start(python(program), name="sdk-1", n=1)
    await world.settle(lambda: any(isinstance(f, Progressed) and (f.step or 0) > 10 for f in world.facts))
    await world.stop(first)
    outcome = await world.end(first)
    assert (outcome.cause, outcome.exit_code) == (Cause.FAILED, 75), world.log(first, "err")
    told = [f for f in world.facts if isinstance(f, Progressed)][-1]
    assert told.checkpoint is not None
    assert told.step is not None
    assert 10 < told.step < 1_000
    second = await world.start(python(program), name="sdk-1", n=2)
    assert (await world.end(second)).cause is Cause.SUCCEEDED
    again = [f for f in world.facts if isinstance(f, Progressed) and f.attempt == second]
    assert again[0].step is not None
    assert again[0].step > told.step
    assert again[-1].step == 1_000


# -- gangs ------------------------------------------------------------------------------------------------------------


@played
async def test_a_gang_talks_over_the_loopback(world: LocalWorld) -> None:
    program = """
import os, socket, time
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
here = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
assert os.environ["LOCAL_RANK"] == str(rank) == os.environ["FAIRWAY_TASK"]
if rank == 0:
    with socket.create_server(here) as server:
        peers = [server.accept()[0] for _ in range(size - 1)]
        total = sum(int(peer.recv(16)) for peer in peers)
        for peer in peers:
            peer.sendall(str(total).encode())
else:
    while True:
        try:
            master = socket.create_connection(here)
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
    master.sendall(str(rank).encode())
    total = int(master.recv(16))
print(total)
"""
    job = await world.start(*[python(program)] * 3)
    assert (await world.end(job)).cause is Cause.SUCCEEDED, [world.log(job, "err", rank) for rank in range(3)]
    assert [world.log(job, rank=rank) for rank in range(3)] == [b"3\n"] * 3


@played
async def test_gangs_at_once_meet_at_different_ports(world: LocalWorld) -> None:
    meet = sh("echo $MASTER_PORT; sleep 600")
    jobs = [await world.start(meet, meet, name=f"gang-{i}") for i in range(5)]
    await world.settle(lambda: all(world.log(job, rank=rank) for job in jobs for rank in range(2)))
    ports = [{world.log(job, rank=rank) for rank in range(2)} for job in jobs]
    assert all(len(seen) == 1 for seen in ports)
    assert len(set().union(*ports)) == 5


@played
async def test_when_one_fails_the_others_get_their_grace(world: LocalWorld) -> None:
    save = "trap 'sleep 0.2; echo saved; exit 0' TERM; echo ready; sleep 600 & wait"
    fail = "while [ ! -s ../work-1@1/0.out ]; do sleep 0.01; done; exit 9"
    job = await world.start(sh(save), sh(fail))
    outcome = await world.end(job)
    assert (outcome.cause, outcome.exit_code) == (Cause.FAILED, 9)
    assert "task 1 (r1)" in outcome.message
    assert world.log(job) == b"ready\nsaved\n"


@played
async def test_when_one_cannot_start_none_goes_on(world: LocalWorld) -> None:
    job = await world.start(sh("sleep 600"), ("no-such-program",), grace=Duration(2_000))
    outcome = await world.end(job)
    assert outcome.cause is Cause.START_FAILED
    assert "task 1" in outcome.message
    assert not marked(world, job)


def test_control_groups_hold_tasks_where_there_are_some(tmp_path: Path) -> None:
    """On a plain folder: what is asked of the kernel, and that a task that cannot be held is not run."""
    groups = tmp_path / "groups"
    groups.mkdir()
    (groups / "cgroup.subtree_control").write_text("memory pids")
    config = LocalConfig(**{**CONFIG.model_dump(), "cgroup": str(groups), "pids_max": 50})

    async def play(world: LocalWorld) -> None:
        await world.open()
        job = await world.start(sh("ulimit -d; cat $GROUP/*/memory.max; rm -r $GROUP/fairway-*"),
                                request=Request(memory_mib=64), env=(("GROUP", str(groups)),))  # fmt: skip
        assert (await world.end(job)).cause is Cause.SUCCEEDED, world.log(job, "err")
        assert world.log(job).split() == [b"unlimited", str(64 << 20).encode()]
        await world.close()

    asyncio.run(play(LocalWorld(tmp_path, config)))
