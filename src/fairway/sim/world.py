"""The simulated world: virtual time over a trace, with whatever faults are switched on.

It meets ``engine.ports.World`` and drives the same ``run()`` as every other world. A batch of facts goes out at each
instant at which something happened that a decision could depend on. What no decision waits for (that a start succeeded,
that a checkpoint was taken) rides along with the next batch.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

from fairway.engine.commands import Command, WakeAt
from fairway.model import facts as f
from fairway.model.ids import ExecutorId
from fairway.model.job import Job
from fairway.model.plan import Plan
from fairway.model.time import NEVER, SECOND, Duration, Instant
from fairway.sim.agenda import Agenda, Clock
from fairway.sim.faults import ControlPlaneCrash, Fate, Faults
from fairway.sim.link import Link
from fairway.sim.mishaps import Mishaps
from fairway.sim.programs import Programs, plain
from fairway.sim.progress import Progress, Speedup, linear
from fairway.sim.site import Site, StartLuck, to_nobody
from fairway.sim.traces.trace import Trace

INVENTORY_EVERY = Duration(30 * SECOND)
"""How often a site says all it has, where messages may be lost: at least, and at most so many times in a trace."""
MOST_INVENTORIES = 10_000

AT_ONCE = Duration(0)

_QUIET_ROUNDS = 3
"""Inventories of a world at rest that must bring nothing new before it is over."""

_PATIENT = (f.AttemptStarted, f.Progressed)
_LETTERS = (
    f.JobSubmitted, f.CancelAsked, f.JobHeld, f.JobReleased, f.QueueSet, f.ServiceSet, f.ServiceRemoved,
    f.QuotaLent, f.LoanEnded,
    f.PoolSet, f.PolicySet, f.NodeCordoned, f.NodeGone,
)  # fmt: skip
"""Facts that come again until they are durable: a face keeps them in the store's inbox, a detector looks again."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How this world behaves when nothing goes wrong. Times are milliseconds."""

    start_delay: Duration = AT_ONCE
    """From the order to start until a job does its first work."""
    stop_delay: Duration = AT_ONCE
    """From SIGTERM to the end of a job, at most its grace."""
    window: Duration = AT_ONCE
    """Facts up to so long after the first are put into one batch, as a live inbox does."""
    inventory_every: Duration | None = None
    """How often every site says all it has. None: only at the beginning; where messages may be lost every 30 s, or in a
    long trace so often that there are ten thousand."""
    speedup: Speedup = linear
    programs: Programs = plain
    """What the tasks of an attempt do: by default they work for as long as their job's work takes, and succeed."""
    ends: Instant = NEVER
    """The world is over then, whatever still runs: for services, which have no end."""


class SimulatedWorld:
    """``also`` are facts beyond the trace's own, each at its instant: cancels, changed queues, services."""

    def __init__(
        self,
        trace: Trace,
        *,
        faults: Faults | None = None,
        seed: int = 0,
        settings: Settings | None = None,
        also: Iterable[tuple[Instant, f.Fact]] = (),
    ) -> None:
        self.trace = trace
        self.settings = settings or Settings()
        self.fate = Fate(faults, seed) if faults else None
        self.agenda = Agenda()
        self.clock = Clock(self.agenda)
        self.decision_ns = array("q")
        """Nanoseconds from handing over a batch to being asked to accept the plan, one for every decision."""
        self._inbox: list[f.Fact] = []
        self._given: tuple[f.Fact, ...] = ()
        self._given_at = 0
        self._due = False
        self._down = False
        self._wakes: set[int] = set()
        self._epoch = 0
        self._quiet = 0
        span = trace.jobs[-1].submitted if trace.jobs else 0
        often = max(INVENTORY_EVERY, span // MOST_INVENTORIES) if self.fate else None
        self._every = self.settings.inventory_every or often
        self._arrivals = iter(trace.jobs)
        self.links = self._links()
        self._set_out(also)

    # -- the port -------------------------------------------------------------------------------------------------

    def facts(self) -> Iterator[f.Facts]:
        """Batches until nothing is left to happen. May be asked again after a crash, and goes on where it was."""
        while self._advance():
            self._given = tuple(self._inbox)
            self._inbox.clear()
            self._due = False
            batch = f.Facts(self.clock.read(), self._given)
            if self.fate is not None:
                self.step()
            self._given_at = perf_counter_ns()
            yield batch

    def accept(self, plan: Plan) -> Plan:
        """The plan itself."""
        self.decision_ns.append(perf_counter_ns() - self._given_at)
        if self.fate is not None:
            self.step()
        return plan

    def send(self, commands: Sequence[Command]) -> None:
        """Everything said so far is durable; carry out the commands."""
        self._given = ()
        for command in commands:
            if self.fate is not None:
                self.step()
            if isinstance(command, WakeAt):
                if self.fate is not None or not command.repeat:  # where no message is lost none is repeated
                    self._wake_at(command.at)
            else:
                self.links[ExecutorId(command.executor)].down(command)

    # -- the control plane dies and comes back --------------------------------------------------------------------

    def step(self) -> None:
        """A step of the control plane. Raises ControlPlaneCrash when it dies at it."""
        if self.fate is not None and self.fate.dies_here(self.agenda.now):
            raise ControlPlaneCrash

    def crashed(self) -> None:
        """The control plane is dead: what it was told and had not made durable is gone, but for letters."""
        self._inbox = [fact for fact in (*self._given, *self._inbox) if isinstance(fact, _LETTERS)]
        self._given = ()
        self._down = True
        self._due = False
        self._wakes.clear()
        away = self.fate.upto("crash", self.fate.faults.downtime) if self.fate else 1
        self.agenda.put(self.agenda.now + away, self._back)

    def _back(self, _: None) -> None:
        self._down = False
        self._due = True
        self._epoch += 1
        self._inbox.insert(0, f.EpochBegan(self._epoch))
        for link in self.links.values():
            link.up(link.site.inventory())

    # -- what happens ---------------------------------------------------------------------------------------------

    def _links(self) -> dict[ExecutorId, Link]:
        settings, progress = self.settings, Progress()
        luck = self._luck if self.fate is not None or settings.start_delay else None
        links: dict[ExecutorId, Link] = {}
        for name in sorted({node.executor for node in self.trace.nodes}):
            nodes = [node for node in self.trace.nodes if node.executor == name]
            site = Site(
                name, nodes, self.agenda, to_nobody, progress,
                luck=luck, programs=settings.programs, stop_delay=settings.stop_delay, speedup=settings.speedup,
            )  # fmt: skip
            links[name] = Link(site, self.agenda, self._hear, self.fate)
        return links

    def _set_out(self, also: Iterable[tuple[Instant, f.Fact]]) -> None:
        self.agenda.put(0, self._begin, rank=-2)
        for at, fact in also:
            self.agenda.put(at, self._hear, fact)
        self._arrive(None)
        if self._every:
            self.agenda.put_chore(self._every, self._take_inventories)
        if self.fate is not None:
            Mishaps(self.fate, self.agenda, list(self.links.values()), self.clock, self._hear)

    def _begin(self, _: None) -> None:
        for queue in self.trace.queues:
            self._hear(f.QueueSet(queue))
        for link in self.links.values():
            link.up(link.site.inventory())

    def _advance(self) -> bool:
        """Let time pass until a batch is due. False when nothing more will happen."""
        agenda, ends = self.agenda, self.settings.ends
        while not self._due:
            at = agenda.next
            if at is None or at >= ends or (agenda.at_rest and self._over()):
                return bool(self._inbox) and not self._down
            agenda.advance(at)
        if self.settings.window:
            agenda.advance(min(agenda.now + self.settings.window, ends))
        return True

    def _over(self) -> bool:
        """At rest: nothing runs, and where messages may be lost, inventories have brought nothing new for a while."""
        if self._every is None:
            return not self._active()
        return self._quiet >= _QUIET_ROUNDS and not self._active()

    def _active(self) -> bool:
        return any(link.site.runs or link.cut for link in self.links.values())

    def _hear(self, fact: f.Fact) -> None:
        if self._down:
            if isinstance(fact, _LETTERS):
                self._inbox.append(fact)
            return
        self._inbox.append(fact)
        if not self._due and (self.fate is not None or not isinstance(fact, _PATIENT) or self._awaited(fact)):
            self._due = True

    def _awaited(self, fact: f.AttemptStarted | f.Progressed) -> bool:
        """Whether it matters from when on an attempt runs: it has a limit, or may go on otherwise."""
        if isinstance(fact, f.Progressed):
            return False
        job = self.links[fact.executor].site.runs[fact.attempt].job
        return job.max_runtime is not None or job.resizable or job.retypable

    def _arrive(self, job: Job | None) -> None:
        """A job is submitted; the next one is put on the agenda."""
        if job is not None:
            self._hear(f.JobSubmitted(job))
        following = next(self._arrivals, None)
        if following is not None:
            self.agenda.put(following.submitted, self._arrive, following, rank=-1)

    def _wake_at(self, at: Instant) -> None:
        if at not in self._wakes:
            self._wakes.add(at)
            self.agenda.put(self.clock.when(at), self._wake_up, at, rank=1)

    def _wake_up(self, at: int) -> None:
        if at not in self._wakes:
            return
        if self.clock.read() < at:
            # The clock has stepped back meanwhile.
            self.agenda.put(self.clock.when(at), self._wake_up, at, rank=1)
            return
        self._wakes.discard(at)
        self._due = True

    def _take_inventories(self, _: None) -> None:
        self._quiet = self._quiet + 1 if self.agenda.at_rest and not self._active() else 0
        for link in self.links.values():
            link.up(link.site.inventory())
        if self._every:
            self.agenda.put_chore(self.agenda.now + self._every, self._take_inventories)

    def _luck(self) -> StartLuck:
        if self.fate is None:
            return StartLuck(self.settings.start_delay)
        return self.fate.start(self.agenda.now, self.settings.start_delay)
