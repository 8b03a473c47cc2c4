"""A swarm of one team makes the other wait, and less so with the penalty."""

import json

import pytest

from bench import swarm
from bench.swarm import Storm, measure
from fairway.model.policy import Swarm


def test_the_other_team_waits_less_with_the_penalty() -> None:
    storm = Storm(gpus=4, minutes=3, hours=1.5, short=1500)
    found = measure(storm, range(2), Swarm(allowed=100))
    assert found["alone"]["wait_s"] < found["with"]["wait_s"] < 0.8 * found["without"]["wait_s"]
    assert found["with"]["sweep_wait_s"] > found["without"]["sweep_wait_s"] > 0


def test_few_short_jobs_change_nothing() -> None:
    found = measure(Storm(gpus=4, hours=1.2, short=150), [0], Swarm(allowed=200))
    assert found["with"] == found["without"]


def test_it_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert swarm.main(["--short", "20", "--hours", "1.1", "--seeds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["policies"]
    assert set(told) == {"alone", "without", "with"}
    assert set(told["with"]) == {"wait_s", "p99_s", "sweep_wait_s", "last_h"}
