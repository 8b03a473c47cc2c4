"""In whole runs: whoever was stopped for others stops nobody in turn, and the rules of preemption hold."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.model.ids import JobId
from fairway.model.job import PriorityClass
from fairway.model.phases import Cause
from fairway.model.plan import Stop
from fairway.model.policy import Policy, Preemption
from fairway.model.reasons import PreemptedBy
from fairway.model.time import HOUR, MINUTE, Duration
from fairway.sim.simulate import drive
from fairway.sim.traces import generate
from fairway.sim.world import SimulatedWorld
from fairway.state.cluster import ClusterState

RULES = Preemption(protect=Duration(2 * MINUTE), per_job=2, per_hour=20)


class Watch:
    """A view that holds every preemption to the rules."""

    def __init__(self) -> None:
        self.stopped: Counter[JobId] = Counter()
        self.by: Counter[JobId] = Counter()
        self.at: list[int] = []
        self.wrong: list[str] = []

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        """Every victim that was told to stop since the last time."""
        jobs = state.jobs
        told = [each.what for each in state.news.decisions if isinstance(each.what, Stop)]
        for stop in told:
            if not isinstance(stop.reason, PreemptedBy):
                continue
            taker, victim = jobs.row_of[stop.reason.by], jobs.row_of[stop.attempt.job]
            last, cls = jobs.last_end[taker], jobs.cls[taker]
            if last is not None and last.outcome.cause is Cause.PREEMPTED:
                self.wrong.append(f"{stop.reason.by} was a victim and stops {stop.attempt.job}")
            if jobs.cls[victim] <= cls:
                self.wrong.append(f"{stop.attempt.job} is of no lower class than {stop.reason.by}")
            if cls != PriorityClass.CRITICAL:
                self.at.append(now)
                if now - jobs.placed_at[victim] < RULES.protect or jobs.preemptions[victim] >= RULES.per_job:
                    self.wrong.append(f"{stop.attempt.job} is protected from {stop.reason.by}")
                if sum(at > now - HOUR for at in self.at) > RULES.per_hour:
                    self.wrong.append(f"more than {RULES.per_hour} in an hour")
            self.stopped[stop.attempt.job] += 1
            self.by[stop.reason.by] += 1


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 1 << 16))
def test_preemption_keeps_its_rules_in_a_crowded_cluster(seed: int) -> None:
    trace = generate(seed, nodes=4, jobs=120, load=1.6)
    watch = Watch()
    ending = drive(SimulatedWorld(trace, seed=seed), Policy(preemption=RULES), (watch,))
    assert watch.wrong == []
    assert len(ending.state.ended) == 120


def test_a_crowded_cluster_preempts() -> None:
    watch = Watch()
    drive(SimulatedWorld(generate(3, nodes=4, jobs=250, load=1.6), seed=3), Policy(preemption=RULES), (watch,))
    assert sum(watch.stopped.values()) > 3
