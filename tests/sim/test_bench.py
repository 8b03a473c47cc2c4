"""The benchmark of the simulated world, and the program that runs all benchmarks, do what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import bench.__main__ as every
from bench import simulate

ROOT = Path(__file__).parents[2]


def test_it_prints_the_promised_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--jobs", "150", "--nodes-generated", "4", "--profile", "50", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures.keys() >= {"jobs_per_s", "wall_s", "rss_mib"}
    assert (figures["jobs"], figures["completed"]) == (150, 150)
    assert figures["jobs_per_s"] == pytest.approx(150 / figures["wall_s"], rel=0.01)
    assert 10 < figures["rss_mib"] < 4_000
    assert sum(figures["share"].values()) == pytest.approx(1.0, abs=0.01)
    assert figures["share"]["state"] > figures["share"]["model"] > 0


def test_it_takes_a_recorded_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, clusters = tmp_path / "philly.csv", tmp_path / "vc.csv"
    trace.write_text("timestamp,duration,num_gpus,gpu_time,cluster\n" + "2017-10-09 07:01:55,66.0,1,66.0,a\n" * 9)
    clusters.write_text("vc,node num\na,1\n")
    assert simulate.main(["--trace", str(trace), "--vc-nodes", str(clusters), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["completed"] == 9


def test_a_wrong_trace_is_one_line_and_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--trace", str(tmp_path / "absent.csv")]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_every_benchmark_is_found() -> None:
    found = every.benchmarks()
    assert {"simulate", "crash", "throughput", "store"} <= set(found)
    assert every.small("simulate") == simulate.SMALL
    assert every.small("crash") == every.SMALL["crash"]


def test_an_unknown_benchmark_is_refused() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bench", "nonsense"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "there is no benchmark 'nonsense'" in run.stderr
