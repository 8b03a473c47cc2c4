"""The benchmark of expected starts: its keys, and that the ranges hold where work comes as it came before."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import starts
from fairway.engine.calibration import Calibration
from fairway.model.ids import JobId, QueueId
from fairway.model.job import Job, Priority, PriorityClass, Role
from fairway.model.queue import Queue
from fairway.model.resources import Request
from fairway.model.time import HOUR, MINUTE, Duration, Instant
from fairway.sim.traces import Trace
from fairway.testing.builders import a_node


def test_it_prints_the_promised_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert starts.main(["--jobs", "80", "--workload", "growing", "--every", "5", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    same = {"unknown", "p50", "p90", "wait_s", "width", "over"}
    assert figures.keys() == {"asked", "late", "ask_ms", "uncorrected", "rival"} | same
    assert figures["uncorrected"].keys() == figures["rival"].keys() == same
    assert figures["asked"] > 0


def a_steady_trace(count: int, seed: int) -> Trace:
    """Twenty users, each with run times of its own, on 16 GPUs that are wanted for nine tenths of the time."""
    rng = np.random.default_rng(seed)
    typical, at, jobs = rng.uniform(np.log(5 * MINUTE), np.log(60 * MINUTE), 20), 0.0, list[Job]()
    for index in range(count):
        user, width = int(rng.integers(20)), int(rng.choice((1, 1, 2, 4)))
        at += rng.exponential(4.6 * MINUTE)
        work = max(int(rng.lognormal(typical[user], 0.5)), 1)
        jobs.append(
            Job(
                JobId(f"j{index}"), "run", QueueId("q"), (Role(request=Request(gpus=width)),), user=f"u{user}",
                submitted=Instant(int(at)), work=Duration(work),
            )
        )  # fmt: skip
    return Trace("steady", "generated", (a_node("n1", 8), a_node("n2", 8)), (Queue(QueueId("q")),), tuple(jobs), ())


def test_the_ranges_hold_where_the_line_grows_and_would_not_if_they_were_not_corrected() -> None:
    """Twice as much comes as can be done, in three classes: whoever comes of a higher one goes ahead."""
    rng, trace = np.random.default_rng(5), a_steady_trace(300, 2)
    jobs = tuple(
        replace(job, submitted=Instant(job.submitted // 2), priority=Priority(PriorityClass(int(rng.integers(1, 4)))))
        for job in trace.jobs
    )
    figures = starts.Course(replace(trace, jobs=jobs), calibration=Calibration(every=Duration(HOUR))).run(0)
    assert figures["asked"] > 100
    assert 0.3 < figures["p50"] < 0.8
    assert 0.8 < figures["p90"] < 0.99
    assert figures["over"] < 12, "a range that is always right because it never ends is of no use"
    assert figures["uncorrected"]["p90"] < figures["p90"] - 0.15
    assert figures["rival"]["p90"] < figures["p90"] - 0.1


def test_the_ranges_hold_where_work_comes_as_before() -> None:
    course = starts.Course(a_steady_trace(700, 1), every=3, upto=1.0)
    course.run(0)
    course.told = [told for told in course.told if told.job not in {f"j{i}" for i in range(200)}]
    figures = course.figures()
    assert figures["asked"] > 40
    assert figures["unknown"] < 0.05
    assert 0.4 < figures["p50"] < 0.85
    assert 0.8 < figures["p90"] <= 1.0


def test_a_wrong_trace_is_one_line_and_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert starts.main(["--trace", str(tmp_path / "absent.csv")]) == 3
    assert capsys.readouterr().err.count("\n") == 1
