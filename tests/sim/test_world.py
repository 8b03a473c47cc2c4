"""The simulated world as the loop sees it: batches, time, wake-ups, and where it ends."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.engine.commands import ForgetAttempt, StartAttempt, StopAttempt, WakeAt
from fairway.engine.ports import World
from fairway.model import facts as f
from fairway.model.ids import AttemptId, JobId, NodeId, QueueId
from fairway.model.job import Job, Role
from fairway.model.node import Node
from fairway.model.phases import JobPhase
from fairway.model.plan import Plan, TaskPlacement
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.resources import Accelerator, Request
from fairway.model.service import Service
from fairway.model.time import Duration, Instant
from fairway.sim.faults import Faults
from fairway.sim.simulate import drive, simulate
from fairway.sim.traces import Trace, generate
from fairway.sim.traces.trace import EXECUTOR
from fairway.sim.world import Settings, SimulatedWorld

NODE = Node(NodeId("n0"), executor=EXECUTOR, cpu_milli=4_000, gpus=2)


def job(name: str, submitted: int = 0, work: int = 1_000, gpus: int = 1) -> Job:
    return Job(
        id=JobId(name),
        name=name,
        queue=QueueId("q"),
        roles=(Role(request=Request(gpus=gpus)),),
        submitted=Instant(submitted),
        work=Duration(work),
    )


def trace(*jobs: Job, nodes: tuple[Node, ...] = (NODE,)) -> Trace:
    return Trace("test", "test", nodes, (Queue(QueueId("q")),), jobs)


def start(what: Job, n: int = 1, node: str = "n0") -> StartAttempt:
    placement = (TaskPlacement(0, 0, NodeId(node), (0,), 1_000),)
    return StartAttempt(EXECUTOR, AttemptId(what.id, n), what, placement)


class Puppet:
    """Plays the loop by hand: takes a batch, and sends what a test says."""

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world
        self.batches = world.facts()

    def turn(self, *commands: StartAttempt | StopAttempt | ForgetAttempt | WakeAt) -> f.Facts | None:
        facts = next(self.batches, None)
        if facts is not None:
            self.world.accept(Plan())
            self.world.send(commands)
        return facts


def kinds(facts: f.Facts | None) -> list[str]:
    assert facts is not None
    return [type(item).__name__ for item in facts.items]


def test_it_is_a_world() -> None:
    world: World = SimulatedWorld(trace(job("a")))
    assert world


def test_the_first_batch_has_queues_nodes_and_what_is_submitted_at_once() -> None:
    puppet = Puppet(SimulatedWorld(trace(job("a"), job("b"), job("c", submitted=5))))
    first = puppet.turn()
    assert kinds(first) == ["QueueSet", "Inventory", "JobSubmitted", "JobSubmitted"]
    assert kinds(puppet.turn()) == ["JobSubmitted"]
    assert puppet.turn() is None


def test_an_attempt_runs_for_its_work_and_the_start_rides_along() -> None:
    a = job("a", work=700)
    puppet = Puppet(SimulatedWorld(trace(a)))
    puppet.turn(start(a))
    facts = puppet.turn()
    assert facts is not None
    assert facts.now == 700
    assert kinds(facts) == ["AttemptStarted", "AttemptEnded"]
    assert puppet.turn() is None


def test_a_wake_up_is_an_empty_batch_at_its_instant() -> None:
    puppet = Puppet(SimulatedWorld(trace(job("a"))))
    puppet.turn(WakeAt(Instant(300)), WakeAt(Instant(200)), WakeAt(Instant(300)))
    assert puppet.turn() == f.Facts(Instant(200))
    assert puppet.turn() == f.Facts(Instant(300))
    assert puppet.turn() is None


@pytest.mark.parametrize("faults", [None, Faults(duplicated=0.5)])
def test_nobody_wakes_to_repeat_what_cannot_be_lost(faults: Faults | None) -> None:
    """Where messages may be lost they do."""
    puppet = Puppet(SimulatedWorld(trace(job("late", submitted=900)), faults=faults))
    puppet.turn(WakeAt(Instant(300), repeat=True))
    facts = puppet.turn()
    assert facts is not None
    assert facts.now == (900 if faults is None else 300)


@pytest.mark.parametrize(
    "waits_for_it",
    [
        {"max_runtime": Duration(60_000)},
        {"checkpoints": True, "roles": (Role(count=2, min_count=1, request=Request(gpus=1)),)},
        {
            "checkpoints": True,
            "roles": (Role(request=Request(gpus=1, accelerators=(Accelerator("A"), Accelerator("B")))),),
        },
    ],
)
def test_a_start_that_a_decision_waits_for_is_heard_at_once(waits_for_it: dict[str, Any]) -> None:
    """One with a limit, which runs from then on; one that may go on with more workers, or on another type."""
    plain, awaited = job("plain"), replace(job("awaited"), **waits_for_it)
    puppet = Puppet(SimulatedWorld(trace(plain, awaited)))
    puppet.turn(start(plain))
    puppet.turn(start(awaited))
    facts = puppet.turn()
    assert facts is not None
    assert facts.now == 1_000
    puppet = Puppet(SimulatedWorld(trace(plain, awaited)))
    puppet.turn(start(awaited))
    assert puppet.turn() == f.Facts(Instant(0), (f.AttemptStarted(AttemptId(awaited.id, 1), EXECUTOR, 2, Instant(0)),))


def test_what_happens_at_one_instant_is_one_batch() -> None:
    a, b = job("a", work=500), job("b", work=500)
    puppet = Puppet(SimulatedWorld(trace(a, b, job("c", submitted=500))))
    puppet.turn(start(a), start(b), WakeAt(Instant(500)))
    facts = puppet.turn()
    assert sorted(kinds(facts)) == ["AttemptEnded", "AttemptEnded", "AttemptStarted", "AttemptStarted", "JobSubmitted"]
    assert puppet.turn() is None


def test_a_window_gathers_what_comes_within_it() -> None:
    jobs = [job(f"j{index}", submitted=100 + 40 * index) for index in range(4)]
    puppet = Puppet(SimulatedWorld(trace(*jobs), settings=Settings(window=Duration(100))))
    assert kinds(puppet.turn()) == ["QueueSet", "Inventory", "JobSubmitted"]
    second = puppet.turn()
    assert second is not None
    assert (second.now, len(second.items)) == (240, 3)


def test_delays_are_as_set() -> None:
    a = job("a", work=1_000)
    puppet = Puppet(SimulatedWorld(trace(a), settings=Settings(start_delay=Duration(50), stop_delay=Duration(30))))
    puppet.turn(start(a), WakeAt(Instant(400)))
    facts = puppet.turn(StopAttempt(EXECUTOR, AttemptId(a.id, 1), Duration(10_000)))
    assert facts is not None
    started = facts.items[0]
    assert isinstance(started, f.AttemptStarted)
    assert started.at == 50
    facts = puppet.turn()
    assert facts is not None
    assert facts.now == 430
    assert kinds(facts) == ["AttemptEnded"]


def test_a_preempted_job_resumes_from_its_checkpoint() -> None:
    a = replace(job("a", work=1_000), checkpoints=True, checkpoint_every=Duration(300))
    puppet = Puppet(SimulatedWorld(trace(a)))
    puppet.turn(start(a), WakeAt(Instant(700)))
    facts = puppet.turn(StopAttempt(EXECUTOR, AttemptId(a.id, 1), Duration(0)))
    assert kinds(facts) == ["AttemptStarted", "Progressed", "Progressed"]
    assert kinds(puppet.turn(start(a, 2))) == ["AttemptEnded"]
    facts = puppet.turn()
    assert facts is not None
    assert facts.now == 700 + 400


def test_a_service_runs_until_the_world_ends() -> None:
    service = Service(f.ServiceId("web"), QueueId("q"), replicas=2, request=Request(gpus=1))
    world = SimulatedWorld(
        trace(job("a", gpus=0)), settings=Settings(ends=Instant(60_000)), also=[(Instant(10), f.ServiceSet(service))]
    )
    ending = drive(world, Policy())
    assert [ending.state.jobs.phase_of(row) for row in ending.state.jobs.rows()] == [JobPhase.RUNNING] * 2
    assert world.agenda.now <= 60_000


def test_work_that_can_never_run_does_not_keep_the_world_going() -> None:
    report = simulate(trace(job("a"), job("huge", gpus=3)))
    assert (report.jobs, report.completed, report.unfinished) == (2, 1, 1)


def test_a_crash_gives_letters_again_and_then_the_epoch_and_an_inventory() -> None:
    a = job("a", work=60_000)
    world = SimulatedWorld(trace(a, job("b", submitted=10)), faults=Faults(late=1e-9))
    puppet = Puppet(world)
    puppet.turn(start(a))
    batches = world.facts()
    kept: list[str] = []
    while "JobSubmitted" not in kept:
        kept = kinds(next(batches))
    world.crashed()
    after = kinds(next(world.facts()))
    assert after[:2] == ["EpochBegan", "JobSubmitted"]
    assert "Inventory" in after
    assert "AttemptStarted" not in after


def test_what_was_acknowledged_is_not_given_again() -> None:
    world = SimulatedWorld(trace(job("a")), faults=Faults(late=1e-9))
    Puppet(world).turn()
    world.crashed()
    assert kinds(next(world.facts())) == ["EpochBegan", "Inventory"]


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), window=st.sampled_from((0, 500, 60_000)), executors=st.integers(1, 3))
def test_time_never_steps_back_and_everything_ends(seed: int, window: int, executors: int) -> None:
    workload = generate(seed, nodes=6, jobs=20, gpus_per_node=4, executors=executors)
    world = SimulatedWorld(workload, settings=Settings(window=Duration(window)))
    times: list[int] = []

    class Times:
        def fold(self, seq: int, now: int, state: object) -> None:
            times.append(now)

    ending = drive(world, Policy(), (Times(),))
    assert times == sorted(times)
    assert len(ending.state.ended) == 20
    assert all(end.phase is JobPhase.SUCCEEDED for end in ending.state.ended.values())
    assert not any(link.site.runs or link.site.ended for link in world.links.values())


@pytest.mark.parametrize("kind", ["lost", "late", "reordered", "duplicated"])
def test_faults_that_are_off_change_nothing(kind: str) -> None:
    workload = generate(5, nodes=4, jobs=30)
    quiet = simulate(workload, faults=Faults()).as_dict()
    never = simulate(workload, faults=replace(Faults(), **{kind: 1.0}, until=Instant(0))).as_dict()
    for report in (quiet, never):
        for name in ("wall_s", "decision_ms", "decisions", "notes"):
            del report[name]
    assert never["jct_s"] == quiet["jct_s"]
    assert never["wait_s"] == quiet["wait_s"]
