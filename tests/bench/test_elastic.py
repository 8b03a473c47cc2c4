"""Pollux's experiment: in a world small enough to check by hand, and against the published figures."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import elastic
from bench.peers.adaptive import Tiresias, optimus
from bench.pollux_apps import read_app, read_apps
from bench.pollux_world import GPUS, RESTART_S, Job, simulate

Ints = NDArray[np.int64]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """``bert`` of two epochs of 600 steps: a step on one GPU takes 1 s, on n GPUs 1/n of the batch and 0.1 s more."""
    folder = tmp_path / "profiles" / "bert"
    folder.mkdir(parents=True)
    rows = ["placement,local_bsz,step_time,sync_time"]
    for placement in ("1", "2", "3", "4", "11", "44"):
        sync = 0.0 if placement == "1" else 0.1 * len(placement)
        rows += [f"{placement},{local},{local / 16 + sync},{sync}" for local in (2, 4, 8, 16)]
    (folder / "placements.csv").write_text("\n".join(rows))
    rows = ["num_nodes,num_replicas,local_bsz,step_time,sync_time"]
    rows += [f"{nodes},{nodes * 4},{local},{local / 16 + 1},1" for nodes in (8, 16) for local in (2, 4, 8, 16)]
    (folder / "scalability.csv").write_text("\n".join(rows))
    for batch in (16, 64):
        # Next to no noise: a larger batch hardly helps.
        lines = [f"{600 * epoch},{600 * epoch * 16 // batch},0,1.0,0.01" for epoch in (1, 2)]
        (folder / f"validation-{batch}.csv").write_text(
            "progress,iteration,metric,grad_sqr,grad_var\n" + "\n".join(lines)
        )
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads" / "workload-1.csv").write_text(
        "name,time,application,num_replicas,batch_size\na,10,bert,2,16\nb,20,bert,1,16\nc,5000,bert,4,64\n"
    )
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, dict[str, float]]]:
    assert elastic.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_policy_ends_every_job(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "published").mkdir()
    (data / "published" / "pollux-1.0.json").write_text(json.dumps({"avgs": {"workload-1": 7200, "workload-9": 0}}))
    report = told(capsys, "--data", str(data))["policies"]
    assert set(report) == {*elastic.POLICIES, "pollux"}
    assert report["pollux"] == {"published_mean_jct_h": 2.0}, "of the workloads that are there"
    for name in elastic.POLICIES:
        assert 0 < report[name]["mean_jct_h"] <= report[name]["p99_jct_h"] <= report[name]["makespan_h"]


def test_a_rigid_job_takes_what_its_steps_take(data: Path) -> None:
    apps = read_apps(data / "profiles")
    jobs = elastic.read_workload(data / "workloads" / "workload-1.csv", apps, adapts=False)
    done = {job.name: job for job in simulate(jobs, Tiresias())}
    # It starts at the next full minute, stands still for its restart, and does 1,200 steps: of a second and noisier
    # batches accumulated twice on one GPU, or half a second and the exchange on two.
    assert done["b"].ended == pytest.approx(60 + RESTART_S + 1200, rel=0.01)
    assert done["a"].ended == pytest.approx(60 + RESTART_S + 1200 * 0.6, rel=0.01)
    assert done["a"].restarts == 0
    assert done["a"].attained == pytest.approx(2 * (done["a"].ended - 60))


def test_times_are_interpolated_between_what_was_measured(data: Path) -> None:
    app = read_app(data / "profiles" / "bert")
    assert app.step((1,), 3) == pytest.approx((3 / 16, 0.0))
    assert app.step((4, 4), 8) == pytest.approx((0.7, 0.2))
    # Five nodes were not measured: between two nodes and eight, in proportion.
    assert app.step((4,) * 5, 8) == pytest.approx((0.5 + 0.6, 0.6))
    assert app.limits == (16, 64, 2, 16)
    assert app.fixed(1, 64) == (16, 3)
    assert app.steps_left(32, 0) == pytest.approx(900)
    assert app.steps_left(16, 1) == 600


def test_a_job_that_adapts_learns_its_pace_and_grows(data: Path) -> None:
    apps = read_apps(data / "profiles")
    jobs = elastic.read_workload(data / "workloads" / "workload-1.csv", apps, adapts=True)
    done = simulate(jobs, elastic.Fairway())
    for job in done:
        assert job.pace is not None
        assert 1 <= job.most <= 16 * GPUS
        assert job.attained > 0
    assert max(job.most for job in done) > 1, "there is room for all of them to find out"


def test_optimus_gives_everybody_one_before_anybody_two(data: Path) -> None:
    app = read_app(data / "profiles" / "bert")
    jobs = [Job(str(k), app, 0.0, 1, 64, adapts=False) for k in range(10)]
    given = optimus(jobs, 0.0, np.zeros((10, 3), np.int64)).sum(axis=1)
    assert given.min() == 1
    assert given.sum() == 3 * GPUS


def test_a_policy_that_gives_a_gpu_out_twice_is_caught(data: Path) -> None:
    app = read_app(data / "profiles" / "bert")

    def greedy(jobs: list[Job], now: float, seats: Ints) -> Ints:
        return np.full_like(seats, GPUS)

    jobs = [Job(str(k), app, 0.0, 1, 16, adapts=False) for k in range(2)]
    with pytest.raises(AssertionError, match="gave out"):
        simulate(jobs, greedy)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--loads", "3.0"), "no workloads of load"), (("--profiles", "/nowhere"), "there are no applications")],
)
def test_what_cannot_be_measured_is_said(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert elastic.main(["--data", str(data), *arguments]) != 0
    assert said in capsys.readouterr().err


def test_a_row_of_an_unknown_application_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / "workloads" / "workload-1.csv"
    path.write_text("name,time,application,num_replicas,batch_size\na,10,gpt,2,16\n")
    assert elastic.main(["--data", str(data)]) != 0
    assert "workload-1.csv:2" in capsys.readouterr().err


@pytest.mark.slow
def test_the_world_is_theirs(traces: Path) -> None:
    """What was published of Tiresias on the first workload comes out here within a twentieth."""
    folder = traces / "pollux"
    apps = read_apps(folder / "profiles")
    published = json.loads((folder / "published" / "tiresias-1.0.json").read_text("utf-8"))["avgs"]["workload-1"]
    done = simulate(elastic.read_workload(folder / "workloads" / "workload-1.csv", apps, adapts=False), Tiresias())
    assert np.mean([job.ended - job.submitted for job in done]) == pytest.approx(published, rel=0.05)
