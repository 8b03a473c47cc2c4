"""The benchmarks run, and the one that is a proof can fail."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bench.crash import Client, judge

pytestmark = [pytest.mark.real, pytest.mark.slow]


def figures(repository: Path, *arguments: str) -> dict[str, object]:
    command = [sys.executable, "-m", *arguments, "--json"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=100, check=True)
    return json.loads(done.stdout)


def test_a_control_plane_that_is_killed_loses_nothing(repository: Path) -> None:
    told = figures(repository, "bench.crash", "--kills", "6", "--jobs", "16", "--seed", "5")
    assert (told["lost"], told["double_run"], told["acknowledged"]) == (0, 0, 16)
    assert isinstance(told["adopted"], int)
    assert set(told["recovery_ms"]) == {"p50", "max"}  # type: ignore[call-overload]


def test_programs_go_all_the_way_through(repository: Path) -> None:
    told = figures(repository, "bench.throughput", "--jobs", "60", "--slurm-jobs", "0")
    assert told["fairway_jobs_per_s"] > 0  # type: ignore[operator]
    assert (told["slurm_jobs_per_s"], told["ratio"]) == (None, None)


def test_decisions_about_everything_at_once_are_measured(repository: Path) -> None:
    size = ("--gpus", "800", "--pending", "800", "--queues", "20", "--cycles", "3")
    told = figures(repository, "bench.decide", *size, "--with", "quota", "elastic", "rack", "roles", "deadline")
    assert told["first_pass_placed"] > 100  # type: ignore[operator]


def test_the_judge_sees_what_was_lost_and_what_ran_twice(tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    client = Client(tmp_path, 4, random.Random(0))
    client.live_on()
    assert verdict(tmp_path, client) == (0, 0)
    evidence = [tmp_path / "evidence" / str(number) for number in range(4)]
    with evidence[0].open("a") as again:
        again.write("begin 2\n")
    assert verdict(tmp_path, client) == (1, 1), "one ran twice"
    evidence[1].unlink()
    assert verdict(tmp_path, client) == (2, 1), "one never ran"
    client.acknowledged[2] = "crash-99"
    assert verdict(tmp_path, client) == (4, 1), "one was promised under a name that nothing has, and one is nobody's"


def verdict(folder: Path, client: Client) -> tuple[int, int]:
    told = judge(folder, client)
    return told["lost"], told["double_run"]
