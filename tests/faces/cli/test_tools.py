"""The commands that need no control plane."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fairway import __version__
from tests.faces.plane import Outcome, RunningPlane, fairway, running

JOBS = """id,submit_s,duration_s,gpus
a,0,100,1
b,10,50,2
c,20,50,1
"""
NODES = "id,count,cpu,memory_mib,gpus,gpu_type\nn,1,8,65536,2,H100\n"


def test_version(tmp_path: Path) -> None:
    assert fairway("version", home=tmp_path).out == f"fairway {__version__}\n"
    assert fairway("version", "--json", home=tmp_path).json == {"version": __version__}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_fairway_itself(tmp_path: Path, shell: str) -> None:
    script = fairway("completion", shell, home=tmp_path).out
    assert "_FAIRWAY_COMPLETE=complete_" + shell in script


def test_completion_knows_the_commands(tmp_path: Path) -> None:
    asked = {"_FAIRWAY_COMPLETE": "complete_bash", "COMP_WORDS": "fairway expl", "COMP_CWORD": "1"}
    assert fairway(home=tmp_path, **asked).out.split() == ["explain"]


def test_the_schema_is_json(tmp_path: Path) -> None:
    schema = fairway("schema", home=tmp_path).json
    assert {"JobSpec", "ServiceSpec", "QueueSpec", "PoolSpec"} <= set(schema["$defs"])
    out = tmp_path / "schema.json"
    assert fairway("schema", "--out", str(out), home=tmp_path).code == 0
    assert json.loads(out.read_text("utf-8")) == schema


def doctor(home: Path) -> dict[str, dict[str, str]]:
    outcome = fairway("doctor", "--json", home=home)
    assert outcome.json["ok"] is (outcome.code == 0)
    return {check["name"]: check for check in outcome.json["checks"]}


def test_a_doctor_before_the_first_start_makes_nothing(tmp_path: Path) -> None:
    checks = doctor(tmp_path / "home")
    assert checks["control plane"]["text"] == "not running"
    assert checks["data directory"]["text"].endswith("(not made yet)")
    assert not (tmp_path / "home").exists()


def test_a_doctor_of_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = fairway("doctor", "--json", home=tmp_path / "file" / "home", cwd=tmp_path)
    failed = [check for check in outcome.json["checks"] if check["level"] == "failed"]
    assert outcome.code == 1
    assert "data directory" in [check["name"] for check in failed]
    assert all(check["cure"] for check in failed if check["name"] == "data directory")


@pytest.mark.real
def test_a_doctor_beside_a_control_plane_and_after_damage(tmp_path: Path) -> None:
    with running(tmp_path) as plane:
        plane.until(plane.submit("true"))
        checks = doctor(plane.home)
        assert checks["control plane"]["text"].startswith("running as process")
        assert checks["store"]["level"] == "ok"
        refused = plane.cli("doctor", "--repair-journal")
        assert refused.code == 7
        assert "is led by" in refused.error
    damage(plane.home / "fairway.db")
    assert doctor(plane.home)["store"]["level"] == "failed"
    assert plane.cli("up").code == 7
    repaired = plane.cli("doctor", "--repair-journal")
    assert repaired.code == 0
    assert "set aside" in repaired.out
    assert doctor(plane.home)["store"]["level"] == "ok"


def damage(store: Path) -> None:
    """Change the newest frame behind the checksum's back, and drop checkpoints that would stand for it."""
    import sqlite3

    connection = sqlite3.connect(store)
    with connection:
        connection.execute("DELETE FROM checkpoints")
        connection.execute("UPDATE frames SET body = x'00' WHERE seq = (SELECT max(seq) FROM frames)")
    connection.close()


def test_there_is_nothing_to_repair_where_there_is_no_store(tmp_path: Path) -> None:
    outcome = fairway("doctor", "--repair-journal", home=tmp_path / "home")
    assert outcome.code == 3
    assert "there is no store here: nothing to repair" in outcome.error


def simulated(tmp_path: Path, *options: str) -> Outcome:
    (tmp_path / "jobs.csv").write_text(JOBS, "utf-8")
    (tmp_path / "nodes.csv").write_text(NODES, "utf-8")
    return fairway("simulate", "--trace", "jobs.csv", "--nodes", "nodes.csv", *options, home=tmp_path, cwd=tmp_path)


def test_a_simulation_of_a_table_of_jobs(tmp_path: Path) -> None:
    report = simulated(tmp_path, "--json", "--seed", "3").json
    assert (report["jobs"], report["completed"]) == (3, 3)
    assert report["wait_s"]["mean"] > 0
    assert {"jct_s", "makespan_s", "gpu_utilization", "gpu_allocated_ratio", "decision_ms", "wall_s"} <= set(report)
    text = simulated(tmp_path, "--faults", "lost=0.1").out
    assert "jobs (table): 3 jobs on 1 nodes with 2 GPUs" in text
    assert "completed" in text


def test_a_simulation_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert simulated(tmp_path, "--plot", "run.svg", "--json").code == 0
    assert (tmp_path / "run.svg").stat().st_size > 1000
    refused = simulated(tmp_path, "--plot", "nowhere/run.svg")
    assert refused.error.startswith("--plot: there is no folder")
    assert refused.code == 2


def test_up_says_what_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = fairway("up", home=tmp_path / "file" / "home", cwd=tmp_path)
    assert outcome.code == 7
    assert "cannot be made" in outcome.error


def test_python_minus_m_is_the_same_command() -> None:
    outcome = subprocess.run([sys.executable, "-m", "fairway", "version"], capture_output=True, text=True, check=True)
    assert outcome.stdout == f"fairway {__version__}\n"


@pytest.mark.real
def test_a_second_control_plane_waits_for_the_first_to_end(plane: RunningPlane) -> None:
    command = [sys.executable, "-m", "fairway", "up", "--wait", "--data-dir", str(plane.home), *plane.options]
    second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        first = plane.process
        plane.stop()
        assert first is not None
        assert second.stderr is not None
        line = second.stderr.readline()
        assert "VIRTUAL" in line, line
    finally:
        second.terminate()
        second.communicate(timeout=30)
    plane.start()
