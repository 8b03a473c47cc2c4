"""The benchmark of run-time forecasts: its keys, and that it can tell good forecasts from bad ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import forecast
from fairway.model.time import HOUR, Duration, Instant
from fairway.sim.traces import generate


def test_it_prints_the_promised_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast.main(["--jobs", "300", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures.keys() == {"forecast", "last_two", "running", "unknown", "kinds"}
    assert figures["forecast"]["n"] + figures["unknown"] == 300
    assert 0 <= figures["forecast"]["p50"] <= figures["forecast"]["p90"] <= 1


def test_work_that_is_always_the_same_is_forecast_exactly() -> None:
    trace = generate(0, nodes=4, jobs=200)
    jobs = (replace(job, work=Duration(HOUR), submitted=Instant(2 * HOUR * at)) for at, job in enumerate(trace.jobs))
    figures = forecast.Course(replace(trace, jobs=tuple(jobs))).run()
    assert figures["forecast"]["p90"] > 0.97
    assert figures["forecast"]["error"] < 0.1
    assert figures["unknown"] == 1


def test_a_wrong_trace_is_one_line_and_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forecast.main(["--trace", str(tmp_path / "absent.csv")]) == 3
    assert capsys.readouterr().err.count("\n") == 1
