"""A small cluster, a busy hour squeezed into ten minutes, and everything that can go wrong, by seed.

``ordeal(seed)`` runs the real loop over a real journal in the simulated world and raises ``Broken`` with the first
thing that is not as it must be: after every frame, at the end, and after a replay. To look at one seed by hand::

    python -m tests.sim.ordeal 1080
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from unittest import mock

from fairway.engine import loop
from fairway.engine.memory_journal import MemoryJournal
from fairway.engine.recover import recover
from fairway.model import facts as f
from fairway.model.ids import AttemptId, QueueId, ServiceId
from fairway.model.job import Job, Priority, PriorityClass, Retry
from fairway.model.phases import Cause, JobPhase, Reach
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Amount, Request
from fairway.model.service import Service
from fairway.model.time import MINUTE, SECOND, Duration, Instant
from fairway.sim.faults import Faults
from fairway.sim.programs import Program
from fairway.sim.simulate import drive
from fairway.sim.site import Run
from fairway.sim.traces import Trace, generate
from fairway.sim.traces.generate import Mix
from fairway.sim.world import Settings, SimulatedWorld
from fairway.state.check import check, oversubscribed
from fairway.state.cluster import ClusterState
from fairway.state.codec import digest

JOBS, NODES, GPUS, SITES = 14, 4, 4, 2
CALM = Instant(8 * MINUTE)
"""Nothing goes wrong after this, so that everything can come to its end."""
MOST_STEPS = 8_000
"""Steps of the control plane; an ordeal takes about a fifth of it, so more is a livelock."""

STORM = Faults(
    lost=0.05,
    duplicated=0.05,
    reordered=0.2,
    late=0.05,
    node_loss=12,
    partition=8,
    slow_starts=0.2,
    failing_starts=0.1,
    clock_steps=30,
    crash=0.003,
    until=CALM,
    late_by=Duration(2 * MINUTE),
    outage=Duration(90 * SECOND),
)
"""Everything at once, far worse than life."""


class Broken(AssertionError):
    """Something is not as it must be."""


@dataclass(frozen=True)
class Survived:
    """What came of an ordeal."""

    digest: str
    """Of the final state, and of every frame of the journal."""
    phases: Counter[str]
    turns: int
    crashes: int
    preemptions: int
    attempts: int
    steps: int


class Watched(SimulatedWorld):
    """The simulated world, which also keeps the truth that no control plane knows and looks for what must never be."""

    def __init__(self, trace: Trace, **options: Any) -> None:
        self.steps = 0
        self.begun: Counter[AttemptId] = Counter()
        """How often the programs of each attempt were really started."""
        self.succeeded: set[str] = set()
        """Jobs of which an attempt truly came to its good end."""
        self.wrong: list[str] = []
        super().__init__(trace, **options)
        for link in self.links.values():
            link.site.tell = self._overhearing(link.site.tell)
            link.site._begin = self._witnessing(link.site._begin)

    def _overhearing(self, tell: Callable[[f.Fact], None]) -> Callable[[f.Fact], None]:
        def told(fact: f.Fact) -> None:
            if isinstance(fact, f.AttemptEnded) and fact.outcome.cause is Cause.SUCCEEDED:
                self.succeeded.add(fact.attempt.job)
            tell(fact)

        return told

    def _witnessing(self, begin: Callable[[Run], None]) -> Callable[[Run], None]:
        def begun(run: Run) -> None:
            began = run.began
            begin(run)
            if run.began is not None:
                self.begun[run.attempt] += 1
            if self.begun[run.attempt] > 1 or began is not None:
                self.wrong.append(f"{run.attempt} was started twice")
            if run.attempt.job in self.succeeded and not self.torn:
                self.wrong.append(f"{run.attempt} was started though its job had succeeded")

        return begun

    @property
    def torn(self) -> bool:
        """Whether a site may have been cut off: what runs there then is beyond the control plane's reach."""
        return self.fate is not None and self.fate.faults.partition > 0

    def step(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Broken(f"no end in sight after {MOST_STEPS} steps: a livelock")
        super().step()

    def untrue(self) -> list[str]:
        """What machines do and must not: an attempt started twice, two of one job at once, more on a device than it is.

        Only a site that is cut off, or was, may run on what the control plane has given up.
        """
        if self.torn:
            return self.wrong
        jobs: Counter[str] = Counter()
        wrong = list(self.wrong)
        for link in self.links.values():
            use: Counter[tuple[str, int]] = Counter()
            for run in link.site.runs.values():
                jobs[run.attempt.job] += 1
                use.update({(task.node, d): task.gpu_milli for task in run.placement for d in task.devices})
            wrong += [f"device {place} really runs {milli}/1000" for place, milli in use.items() if milli > WHOLE]
        return wrong + [f"{job} really runs {count} times" for job, count in jobs.items() if count > 1]


def workload(seed: int) -> tuple[Trace, list[tuple[Instant, f.Fact]]]:
    """Jobs of every kind within five minutes, more than fit at once; and what people ask for meanwhile."""
    rng = Random(f"workload/{seed}")
    mix = Mix(cpu_only=0.1, fractions=0.3, gangs=0.2, deadlines=0.2)
    trace = generate(
        seed, NODES, JOBS, gpus_per_node=GPUS, load=2.5, median_runtime=Duration(20 * SECOND), mix=mix, executors=SITES
    )
    jobs = tuple(_varied(rng, job, index) for index, job in enumerate(trace.jobs))
    jobs = tuple(sorted(jobs, key=lambda job: job.submitted))
    nodes = [node.id for node in trace.nodes]
    limit = Queue(QueueId("product"), borrow=Amount(gpu_milli=GPUS * NODES * WHOLE // 2))
    service = Service(ServiceId("web"), QueueId("platform"), replicas=2, request=Request(cpu_milli=1000))
    also: list[tuple[Instant, f.Fact]] = [
        (_when(rng), f.CancelAsked(rng.choice(jobs).id, "somebody")),
        (_when(rng), f.CancelAsked(rng.choice(jobs).id, "somebody")),
        (Instant(30_000), f.QueueSet(limit)),
        (Instant(20_000), f.ServiceSet(service)),
        (_when(rng), f.ServiceSet(replace(service, replicas=1))),
        (CALM, f.ServiceRemoved(service.id)),
        (Instant(40_000), f.NodeCordoned(node := rng.choice(nodes))),
        (Instant(140_000), f.NodeCordoned(node, on=False)),
    ]
    return replace(trace, jobs=jobs), sorted(also, key=lambda pair: pair[0])


def _when(rng: Random) -> Instant:
    return Instant(rng.randrange(10_000, 300_000))


def _varied(rng: Random, job: Job, index: int) -> Job:
    submitted = Instant(job.submitted % 300_000)
    work = Duration(min(job.work or 0, 2 * MINUTE))
    return replace(
        job,
        submitted=submitted,
        deadline=None if job.deadline is None else Instant(submitted + 2 * work),
        work=work,
        priority=Priority(PriorityClass(rng.randrange(5)), rng.choice((0, 0, 3))),
        not_before=Instant(submitted + 15_000) if rng.random() < 0.1 else None,
        max_runtime=Duration(work // 2 + 1) if rng.random() < 0.1 else None,
        checkpoint_every=rng.choice((None, Duration(5_000))) if job.checkpoints else None,
        grace=Duration(rng.choice((0, 1_000, 30_000))),
        retry=Retry(limit=rng.randrange(3), backoff=Duration(2_000), backoff_max=Duration(8_000), start_limit=4),
    )


def programs(job: Job, runs: int | None) -> tuple[Program, ...]:
    """One job in ten has a bug; some take their time to stop."""
    rng = Random(f"{job.id}/{job.work}")
    if rng.random() < 0.1 and runs is not None:
        return (Program(runs // 2, exit_code=1),)
    return (Program(runs, on_stop=rng.choice(("dies", "dies", "yields", "ignores"))),)


def ordeal(seed: int, faults: Faults = STORM) -> Survived:
    """Live through a seed. Raises Broken."""
    trace, also = workload(seed)
    settings = Settings(
        start_delay=Duration(300), stop_delay=Duration(400), programs=programs, inventory_every=Duration(20_000)
    )
    world = Watched(trace, faults=faults, seed=seed, settings=settings, also=also)
    turns = Turns(world)
    with every_frame_checked():
        ending = drive(world, Policy(), (turns,), keep=True, checkpoint_every=1_000 if seed % 2 else 60)
    _settled(ending.state, trace, world)
    _true(ending.state, world)
    _replayed(ending.state, ending.journal)
    ended = ending.state.ended.values()
    return Survived(
        f"{digest(ending.state)}-{_fingerprint(ending.journal)}",
        Counter(job.phase.value for job in ended),
        turns.count,
        ending.crashes,
        sum(job.preemptions for job in ended),
        world.begun.total(),
        world.steps,
    )


class Turns:
    """A view that counts turns, and after each looks at the true world and at the times of what has ended."""

    def __init__(self, world: Watched) -> None:
        self.count = 0
        self._world = world

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        self.count += 1
        wrong = self._world.untrue()
        for end in state.news.attempts:
            # The state keeps 0 for "never started", so a start at instant 0 is noted as 1.
            if not end.placed <= (end.started or end.placed) <= max(end.ended, 1) <= max(now, 1):
                wrong.append(f"{end.attempt}: placed {end.placed}, started {end.started}, ended {end.ended}")
        if wrong:
            raise Broken(f"at {now}: {'; '.join(wrong)}")


@contextmanager
def every_frame_checked() -> Iterator[None]:
    """Recompute every invariant each time the loop has believed something."""
    believe = loop.apply

    def checked(state: ClusterState, facts: f.Facts) -> None:
        before = state.now
        believe(state, facts)
        wrong = check(state) + oversubscribed(state)
        if state.now < before:
            wrong.append(f"time stepped back from {before} to {state.now}")
        if wrong:
            raise Broken(f"at {facts.now}, after {[type(fact).__name__ for fact in facts.items]}: {'; '.join(wrong)}")

    with mock.patch.object(loop, "apply", checked):
        yield


def _settled(state: ClusterState, trace: Trace, world: Watched) -> None:
    """Everything has come to its end, and everybody knows."""
    wrong = [f"{job} is still {state.jobs.phase_of(row)}" for job, row in state.jobs.row_of.items()]
    wrong += [f"{job.id} is forgotten" for job in trace.jobs if job.id not in state.ended]
    for what in ("unmet", "strays", "held", "overdue"):
        if left := getattr(state, what):
            wrong.append(f"{what}: {list(left)}")
    for name, link in world.links.items():
        wrong += [f"{name} still runs {attempt}" for attempt in link.site.runs]
        wrong += [f"{name} was never told to forget {attempt}" for attempt in link.site.ended]
    if wrong:
        raise Broken("; ".join(wrong))


def _true(state: ClusterState, world: Watched) -> None:
    """What is believed of each node is so, and what is believed of each job is what became of it."""
    up = {node for link in world.links.values() for node in link.site.nodes}
    believed = {state.nodes.id_of(row) for row in state.nodes.rows() if state.nodes.reach[row] is Reach.UP}
    if up != believed:
        raise Broken(f"nodes {sorted(up)} are up, and {sorted(believed)} are believed to be")
    for job, end in state.ended.items():
        if min(*end.spent, end.lost_gpu_ms) < 0:
            raise Broken(f"{job} has used {end.spent}, of which {end.lost_gpu_ms} GPU-ms were lost")
        if end.phase is JobPhase.SUCCEEDED and job not in world.succeeded:
            raise Broken(f"{job} is believed to have succeeded and did not")
        if job in world.succeeded and end.phase not in (JobPhase.SUCCEEDED, JobPhase.CANCELLED):
            raise Broken(f"{job} did succeed and is believed {end.phase}")


def _replayed(state: ClusterState, journal: Any) -> None:
    """The journal adds up to the state, from its newest checkpoint and from its first frame."""
    live = digest(state)
    for from_start in (False, True):
        again = recover(journal, from_start=from_start).state
        if digest(again) != live:
            raise Broken(f"the journal replays to another state ({'whole' if from_start else 'from its checkpoint'})")
        wrong = check(again)
        if wrong:
            raise Broken(f"after replay: {'; '.join(wrong)}")


def _fingerprint(journal: MemoryJournal | None) -> str:
    frames = journal.disk.frames if journal else []
    return hashlib.blake2b(b"\n".join(frame for frame in frames if isinstance(frame, bytes)), digest_size=8).hexdigest()


if __name__ == "__main__":
    for seed in sys.argv[1:]:
        print(seed, ordeal(int(seed)).digest)
