"""The benchmark of disciplines: on traces small enough to check by hand, and on generated ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import queueing
from fairway.model.ids import JobId, QueueId
from fairway.model.job import Job, Role
from fairway.model.resources import Request
from fairway.model.time import HOUR, Duration, Instant


def muri(path: Path, rows: list[tuple[int, float, float]]) -> Path:
    """A trace in Muri's format: (GPUs, submitted, duration) in hours."""
    head = "job_id,num_gpu,submit_time,iterations,model_name,batch_size,duration,interval,iteration_time"
    lines = [
        f"{at},{gpus},{round(submitted * HOUR)},1,vgg16,1,{round(took * HOUR)},0,1"
        for at, (gpus, submitted, took) in enumerate(rows)
    ]
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, float]]:
    assert queueing.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["policies"]


def test_every_policy_ends_every_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    rows = [(int(rng.choice((1, 8, 16))), 3.0 * at, float(rng.lognormal(2, 2))) for at in range(40)]
    policies = told(capsys, "--trace", str(muri(tmp_path / "t.csv", rows)), "--restart", "0")
    assert list(policies) == ["fifo", "srtf", "srsf", "tiresias", "themis", "fairway_unknown", "fairway_known"]
    for figures in policies.values():
        assert {"mean_jct_s", "p99_jct_s", "makespan_s", "worst_ftf"} <= figures.keys()
        assert figures["mean_jct_s"] >= float(np.mean([row[2] for row in rows])) * 3600 - 1
        assert figures["worst_ftf"] > 0.5


def test_short_jobs_do_not_wait_for_a_long_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All GPUs are taken by a job of a hundred hours when ten of an hour come, one after the other."""
    rows = [(64, 0.0, 100.0), *[(64, 10.0 + 2 * at, 1.0) for at in range(10)]]
    policies = told(capsys, "--trace", str(muri(tmp_path / "t.csv", rows)), "--restart", "0")
    assert policies["fifo"]["mean_jct_s"] > 80 * 3600
    for name in ("srsf", "tiresias", "fairway_unknown", "fairway_known"):
        assert policies[name]["preemptions"] == 10
        assert policies[name]["mean_jct_s"] == pytest.approx((110 + 10 * 1) / 11 * 3600, rel=0.01)


def test_a_start_costs_what_it_is_said_to_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = str(muri(tmp_path / "t.csv", [(1, 0.0, 1.0)]))
    policies = told(capsys, "--trace", trace, "--restart", "600", "--policies", "fairway_unknown")
    assert policies["fairway_unknown"]["mean_jct_s"] == 3600 + 600


def test_a_generated_workload_needs_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(told(capsys, "--jobs", "30", "--policies", "fifo,fairway_unknown")) == {"fifo", "fairway_unknown"}


def test_an_unknown_policy_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        queueing.main(["--policies", "lottery"])
    assert "choose from fifo" in capsys.readouterr().err


def a_job(name: str, gpus: int, submitted: int, work: int) -> Job:
    roles = (Role(request=Request(gpus=gpus)),)
    return Job(JobId(name), name, QueueId("q"), roles, submitted=Instant(submitted), work=Duration(work))


JOBS = st.lists(
    st.tuples(st.sampled_from((1, 2, 4, 8)), st.integers(0, 100), st.integers(1, 100)), min_size=1, max_size=8
)


@given(JOBS)
def test_equal_shares_are_what_small_steps_make_of_them(rows: list[tuple[int, int, int]]) -> None:
    """The plain twin: in steps of a millisecond, give everybody the same and the rest to who wants more."""
    jobs = [a_job(f"j{at}", gpus, 10 * submitted, 10 * work) for at, (gpus, submitted, work) in enumerate(rows)]
    took = queueing.equal_shares(jobs, 8)
    step, now = 1.0, 0.0
    left = np.array([float(job.work or 0) for job in jobs])
    ends = np.full(len(jobs), np.nan)
    while np.isnan(ends).any():
        there = [i for i, job in enumerate(jobs) if np.isnan(ends[i]) and job.submitted <= now]
        rest, waiting = 8.0, len(there)
        for i in sorted(there, key=lambda i: rows[i][0]):
            part = min(float(rows[i][0]), rest / waiting)
            rest, waiting = rest - part, waiting - 1
            left[i] -= step * part / rows[i][0]
        now += step
        for i in there:
            if left[i] <= 1e-9:
                ends[i] = now
    expected = ends - [job.submitted for job in jobs]
    assert took == pytest.approx(expected, abs=8 * len(jobs))
