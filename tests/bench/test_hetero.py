"""Gavel's experiments: on a trace small enough to check by hand, and against the bound on the recorded one."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import hetero
from fairway.decide.hetero import WAITS


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two kinds of jobs: ``a`` is ten times as fast on a V100 as on anything else, ``b`` hardly faster."""
    speeds = {"v100": {"a": 10.0, "b": 1.2}, "p100": {"a": 1.0, "b": 1.0}, "k80": {"a": 1.0, "b": 1.0}}
    tables = {
        kind: {f"('{job}', 1)": {"null": speed} for job, speed in table.items()} for kind, table in speeds.items()
    }
    (tmp_path / "simulation_throughputs.json").write_text(json.dumps(tables))
    # Type, command, directory, flag, data, steps, GPUs, weight, deadline, arrival; or the older seven columns.
    rows = [("a", 36000), ("a", 36000), ("b", 3600), ("b", 3600)]
    static = "".join(f"{job}\tx\tx\t-n\t1\t{steps}\t1\t1\t-1\t0\n" for job, steps in rows)
    (tmp_path / hetero.STATIC).write_text(static)
    (tmp_path / "msr_tiny.trace").write_text(
        "".join(f"{job}\tx\t-n\t1\t{steps}\t{100 * at + 1}.0\t1\n" for at, (job, steps) in enumerate(rows))
    )
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, dict[str, float]]]:
    assert hetero.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_policy_ends_every_job(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = told(capsys, "--data", str(data), "--fleet", "1:1:1", "--restart", "0")
    assert set(report["policies"]) == set(hetero.ROWS)
    # The V100 alone does the two jobs that it is faster for in two hours; a device that is left over helps it.
    assert report["bound_h"] == pytest.approx(11 / 6, abs=0.01)
    assert 11 / 6 <= report["policies"]["fairway"]["makespan_h"] <= 2.1
    assert report["policies"]["las"]["makespan_h"] > report["policies"]["fairway"]["makespan_h"]
    for figures in report["policies"].values():
        assert figures["mean_slowdown"] >= 1
        assert figures["mean_jct_h"] >= 0.99


def test_every_trace_of_the_folder_counts(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", str(data), "--fleet", "4:0:0", "--restart", "0", "--policies", "fairway", "--limit", "1")
    (data / "msr_tiny.trace").unlink()
    only = told(capsys, *arguments)["policies"]["fairway"]
    assert (only["makespan_h"], "mean_jct_h" in only) == (1.0, False)
    (data / "twice.trace").write_text("a\tx\tx\t-n\t1\t108000\t1\t1\t-1\t0\n")
    assert told(capsys, *arguments)["policies"]["fairway"]["makespan_h"] == 2.0, "the mean of one hour and three"


def test_a_start_costs_what_it_is_said_to_cost(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", str(data), "--fleet", "4:0:0", "--policies", "fairway,gavel", "--limit", "1")
    free = told(capsys, *arguments, "--restart", "0")["policies"]
    dear = told(capsys, *arguments, "--restart", "72")["policies"]
    for policy in ("fairway", "gavel"):
        assert free[policy]["makespan_h"] == pytest.approx(1.0)
        assert dear[policy]["makespan_h"] == pytest.approx(1.02), "once: a job that stays where it is does not restart"
        assert dear[policy]["makespan_moves"] == 1


def test_rounds_wait_and_events_do_not() -> None:
    work = hetero.Work(np.ones((2, 1)), np.array([100.0, 100.0]), np.array([1, 1]), np.array([10.0, 10.0]))
    one = np.array([1], np.int64)
    pick = hetero.fairway("max_min")
    rounds = hetero.simulate(work, one, pick(1), restart=0)
    assert rounds.done.tolist() == [460, 820]
    events = hetero.simulate(work, one, pick(1), restart=5, events=True)
    assert events.done.tolist() == [115, 220]
    assert (events.current == WAITS).all()


def test_a_policy_that_gives_a_device_out_twice_is_caught() -> None:
    work = hetero.Work(np.ones((2, 1)), np.ones(2), np.array([1, 1]), np.zeros(2))
    with pytest.raises(AssertionError, match="gave out"):
        hetero.simulate(work, np.array([1], np.int64), lambda ids, fleet, attained, left: np.zeros(len(ids), np.int64))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fleet", "1:1"), "other than 3 types"),
        (("--fleet", "0:0:0"), "fits no type"),
        (("--throughputs", "none"), "there is no file"),
    ],
)
def test_what_cannot_be_measured_is_said(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert hetero.main(["--data", str(data), *arguments]) != 0
    assert said in capsys.readouterr().err


def test_a_row_that_is_no_job_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / hetero.STATIC).write_text("a\tx\n")
    assert hetero.main(["--data", str(data)]) != 0
    assert f"{hetero.STATIC}:1" in capsys.readouterr().err
    (data / hetero.STATIC).write_text("c\tx\tx\t-n\t1\t5\t1\t1\t-1\t0\n")
    assert hetero.main(["--data", str(data)]) != 0
    assert "without a throughput: c" in capsys.readouterr().err


@pytest.mark.slow
def test_the_recorded_jobs_end_close_to_the_bound(traces: Path) -> None:
    speeds = hetero.read_speeds(traces / "gavel" / "simulation_throughputs.json")
    work = hetero.read_work(traces / "gavel" / hetero.STATIC, speeds)
    count = np.array([8, 16, 24], np.int64)
    bound = hetero.bound_h(work, count)
    assert bound == pytest.approx(17.708, abs=0.02), "the optimum of the linear program"
    run = hetero.simulate(work, count, hetero.fairway("makespan")(3))
    assert bound <= run.done.max() / 3600 <= hetero.PUBLISHED["gavel"]
