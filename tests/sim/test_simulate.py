"""A simulation as a whole: what it does beside the loop."""

import pytest

from fairway.decide import walk_fast
from fairway.model.policy import Policy
from fairway.sim import simulate as simulated
from fairway.sim.simulate import simulate
from fairway.sim.traces import generate


@pytest.mark.parametrize("load", [0.3, 3.0])
def test_kernels_are_made_ready_where_lines_are_long(monkeypatch: pytest.MonkeyPatch, load: float) -> None:
    """Never for lines of a few jobs, however many there are; once where plain walks have cost as much."""
    made: list[bool] = []

    def warm() -> None:
        made.append(True)
        walk_fast.ready = True

    monkeypatch.setattr(simulated, "warm", warm)
    monkeypatch.setattr(simulated, "WORTH_LOADING", 2_000)
    monkeypatch.setattr(walk_fast, "ready", False)
    trace = generate(3, nodes=2, jobs=400, load=load)
    report = simulate(trace, policy=Policy())
    assert made == ([True] if load > 1 else [])
    monkeypatch.setattr(walk_fast, "ready", True)
    assert simulate(trace, policy=Policy()).as_dict()["queues"] == report.as_dict()["queues"]
