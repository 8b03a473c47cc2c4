"""A job alone in line is started without a line: by the same plan, and only where that is all there is to it."""

import pytest

from fairway.decide import pipeline
from fairway.decide.alone import start_alone
from fairway.decide.cycle import Cycle
from fairway.engine.loop import run
from fairway.model.plan import Plan, Start
from fairway.model.policy import Backfill, Large, Ordering, Placing, Policy
from fairway.model.where import Level
from fairway.sim.simulate import Forgetful
from fairway.sim.traces import generate
from fairway.sim.world import SimulatedWorld
from fairway.state.cluster import ClusterState
from fairway.state.snapshot import Snapshot
from fairway.testing import builders
from tests.properties.case import Case


class TwoWays:
    """Makes each decision with and without the short cut. Raises AssertionError where they differ."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.alone = 0
        self._patch = patch
        patch.setattr(pipeline, "start_alone", self._counting)

    def _counting(self, cycle: Cycle) -> Start | None:
        found = start_alone(cycle)
        self.alone += found is not None
        return found

    def decide(self, snap: Snapshot, policy: Policy) -> Plan:
        with self._patch.context() as patch:
            patch.setattr(pipeline, "start_alone", lambda _: None)
            by_the_line = pipeline.decide(snap, policy)
        assert pipeline.decide(snap, policy) == by_the_line
        return by_the_line


@pytest.mark.parametrize("executors", [1, 2])
@pytest.mark.parametrize(
    ("policy", "often"),
    [
        (Policy(), True),
        (Policy(placement=Placing("pack", together=Level.RACK)), True),
        (Policy(placement=Placing("fragmentation")), True),
        (Policy(placement=Placing("cheapest"), order=Ordering("las")), True),
        (Policy(placement=Placing(types="makespan")), False),
        (Policy(backfill=Backfill("conservative", large=Large(4, 0.3))), False),
    ],
)
def test_the_plan_is_that_of_the_line(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, often: bool, executors: int
) -> None:
    """Mixed work comes one by one to a cluster that is half empty."""
    ways, trace = TwoWays(monkeypatch), generate(1, nodes=6, jobs=150, load=0.4, executors=executors)
    run(ClusterState(), SimulatedWorld(trace), Forgetful(), policy, decide=ways.decide)
    assert ways.alone > 50 if often else not ways.alone


def test_the_plan_is_that_of_the_line_in_a_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """With quotas, bookings, loans and whatever else may keep room from a job."""
    ways = TwoWays(monkeypatch)
    monkeypatch.setattr(builders, "decide", ways.decide)
    for seed in range(12):
        Case(seed).run()
    assert ways.alone
