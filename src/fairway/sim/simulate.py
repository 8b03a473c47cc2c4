"""A whole run: a trace, a policy and a seed in, a report out. The loop is the real one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from fairway.decide import walk_fast
from fairway.decide.pipeline import decide
from fairway.decide.warm import warm
from fairway.engine.loop import CHECKPOINT_EVERY, run
from fairway.engine.memory_journal import MemoryJournal
from fairway.engine.ports import View
from fairway.engine.recover import recover
from fairway.model.facts import Fact, Facts
from fairway.model.plan import Plan
from fairway.model.policy import Policy
from fairway.model.time import Instant, format_duration
from fairway.sim.faults import ControlPlaneCrash, Faults
from fairway.sim.recorder import Recorder
from fairway.sim.report import Report, make_report
from fairway.sim.traces.trace import Trace
from fairway.sim.world import Settings, SimulatedWorld
from fairway.state.cluster import ClusterState
from fairway.state.snapshot import Snapshot

NO_CHECKPOINTS = 1 << 60

WORTH_LOADING = 50_000
"""Jobs in long lines from which on, over all decisions so far, it pays to get the kernels ready: by then what loading
takes has been spent walking without."""


class Warming:
    """``decide`` for a process that has nothing to do meanwhile: it gets the kernels ready once that pays."""

    def __init__(self) -> None:
        self._walked = 0

    def __call__(self, snap: Snapshot, policy: Policy) -> Plan:
        if not walk_fast.ready and snap.groups.ready >= walk_fast.WORTH_IT:
            self._walked += snap.groups.ready
            if self._walked >= WORTH_LOADING:
                warm()
        return decide(snap, policy)


@dataclass(slots=True)
class Forgetful:
    """A journal for runs that are never recovered: it counts frames and keeps nothing."""

    seq: int = 0

    def append(self, facts: Facts) -> int:
        """The frame's sequence number, counted from 1."""
        self.seq += 1
        return self.seq

    def commit(self) -> None:
        """Nothing is durable, so nothing is to be done."""

    def tail(self, after: int) -> Iterable[tuple[int, Facts]]:
        """Nothing."""
        return ()

    def checkpoint(self, seq: int, state: bytes) -> None:
        """The state is not kept."""

    def newest_checkpoint(self) -> tuple[int, bytes] | None:
        """None was kept."""
        return None


class CrashingJournal:
    """A journal whose process may die at every step: before and after each of its operations."""

    def __init__(self, journal: MemoryJournal, step: Callable[[], None]) -> None:
        self.inner = journal
        self._step = step

    def append(self, facts: Facts) -> int:
        """As the journal does."""
        self._step()
        seq = self.inner.append(facts)
        self._step()
        return seq

    def commit(self) -> None:
        """As the journal does."""
        self._step()
        self.inner.commit()
        self._step()

    def tail(self, after: int) -> Iterable[tuple[int, Facts]]:
        """As the journal does."""
        return self.inner.tail(after)

    def checkpoint(self, seq: int, state: bytes) -> None:
        """As the journal does."""
        self._step()
        self.inner.checkpoint(seq, state)
        self._step()

    def newest_checkpoint(self) -> tuple[int, bytes] | None:
        """As the journal does."""
        return self.inner.newest_checkpoint()


@dataclass(slots=True)
class Ending:
    """What a run left behind. ``journal`` is None where nothing was kept."""

    state: ClusterState
    seq: int
    journal: MemoryJournal | None = None
    crashes: int = 0


def drive(
    world: SimulatedWorld,
    policy: Policy,
    views: Sequence[View] = (),
    *,
    keep: bool = False,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> Ending:
    """Run the loop until the world is over. Where the control plane may crash, its state is thrown away each time and
    recovered from its journal. ``keep`` keeps the journal, as bytes, also where it cannot crash."""
    if not keep and (world.fate is None or not world.fate.faults.crash):
        state = ClusterState()
        journal = Forgetful()
        run(state, world, journal, policy, views, decide=Warming(), checkpoint_every=NO_CHECKPOINTS)
        return Ending(state, journal.seq)
    disk = MemoryJournal(encoded=keep)
    crashes = 0
    while True:
        recovered = recover(disk, views)
        journal = CrashingJournal(disk, world.step)
        try:
            first = policy if recovered.seq == 0 else None  # what was changed since must stay changed
            run(
                recovered.state, world, journal, first, views,
                seq=recovered.seq, decide=Warming(), checkpoint_every=checkpoint_every,
            )  # fmt: skip
        except ControlPlaneCrash:
            crashes += 1
            disk = disk.crashed()
            world.crashed()
        else:
            return Ending(recovered.state, disk.last, disk, crashes)


def simulate(
    trace: Trace,
    *,
    policy: Policy | None = None,
    faults: Faults | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    also: Iterable[tuple[Instant, Fact]] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Run ``trace`` through the loop in virtual time and report what came of it.

    Faults without an ``until`` go on for as long as jobs are submitted, and the longest job's time after that.
    ``progress(ended jobs, virtual milliseconds)`` is called now and then. The same arguments give the same decisions
    and the same report, but for wall and decision times.
    """
    recorder = Recorder(progress)
    if faults and faults.until is None:
        faults = replace(faults, until=_last_trouble(trace))
    started = perf_counter()
    world = SimulatedWorld(trace, faults=faults, seed=seed, settings=settings, also=also)
    ending = drive(world, policy or Policy(), (recorder,))
    return make_report(
        trace,
        recorder,
        world.decision_ns,
        seed=seed,
        wall_s=perf_counter() - started,
        crashes=ending.crashes,
        notes=_notes(world.settings, faults),
    )


def _last_trouble(trace: Trace) -> Instant:
    last = max((job.submitted for job in trace.jobs), default=0)
    return Instant(last + max((job.work or 0 for job in trace.jobs), default=0))


def _notes(settings: Settings, faults: Faults | None) -> list[str]:
    """What this simulator assumes."""
    notes = [
        f"a job starts {settings.start_delay} ms after it is placed and ends {settings.stop_delay} ms after SIGTERM"
    ]
    if faults:
        until = "" if faults.until is None else f", until {format_duration(faults.until)} after the first submission"
        notes.append(f"faults: {faults.told()}{until}")
    return notes
