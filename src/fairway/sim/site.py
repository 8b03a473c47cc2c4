"""A site: the machines of one executor, and what really runs on them, whatever the control plane believes.

It obeys commands as every executor must: an attempt is started at most once, whatever is repeated or comes late; a stop
that comes first keeps it from ever starting; an end is told again until the control plane says to forget it. All of
this outlives the control plane.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from fairway.engine.commands import ForgetAttempt, StartAttempt, StopAttempt
from fairway.model.facts import AttemptEnded, AttemptStarted, Fact, Inventory, Observed, Outcome, Progressed
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId
from fairway.model.job import Job
from fairway.model.node import Node
from fairway.model.phases import Cause
from fairway.model.plan import Placement
from fairway.model.time import SECOND, Instant
from fairway.sim.agenda import Agenda
from fairway.sim.programs import SIGKILL, SIGTERM, YIELDED, Program, Programs, plain
from fairway.sim.progress import Progress, Speedup, linear, speed

NO_ANSWER = SECOND
"""How long a site waits for a machine before it reports that a start there came to nothing."""

_SUCCESS = Outcome(Cause.SUCCEEDED, exit_code=0)


def to_nobody(fact: Fact) -> None:
    """Where facts go while nobody listens: they are gone, and found again in the next inventory."""


@dataclass(frozen=True, slots=True)
class StartLuck:
    """What one start meets: milliseconds until it runs, and whether it fails instead."""

    delay: int = 0
    fails: bool = False


@dataclass(slots=True, eq=False)
class Run:
    """One attempt that has been started and has not ended. Times are true times; ``began`` is None while it starts."""

    attempt: AttemptId
    job: Job
    placement: Placement
    alive: set[int]
    """Indices of ``programs`` that have not ended."""
    pace: float = 1.0
    began: int | None = None
    started: AttemptStarted | None = None
    programs: tuple[Program, ...] = ()
    killed_at: int | None = None
    """When SIGKILL comes; None before a stop."""
    failure: Outcome | None = None
    """How the first task to fail did."""


class Site:
    """``tell`` is called with every fact as it comes up. ``luck`` decides how each start goes.

    ``stop_delay`` is how long a program that heeds SIGTERM takes to end, in milliseconds.
    """

    def __init__(
        self,
        name: ExecutorId,
        nodes: Iterable[Node],
        agenda: Agenda,
        tell: Callable[[Fact], None],
        progress: Progress | None = None,
        *,
        luck: Callable[[], StartLuck] | None = None,
        programs: Programs = plain,
        stop_delay: int = 0,
        speedup: Speedup = linear,
    ) -> None:
        self.name = name
        self.nodes: dict[NodeId, Node] = {node.id: node for node in nodes}
        self.runs: dict[AttemptId, Run] = {}
        self.ended: dict[AttemptId, AttemptEnded] = {}
        self.skew = 0
        """What the site's clock shows more than the true time, in milliseconds."""
        self._fence: dict[JobId, int] = {}
        self._seq = 0
        self.tell = tell
        self._agenda, self._progress = agenda, progress or Progress()
        self._luck, self._programs, self._stop_delay, self._speedup = luck, programs, stop_delay, speedup

    # -- commands -------------------------------------------------------------------------------------------------

    def start(self, command: StartAttempt) -> None:
        """Start an attempt, unless it was ever started, or stopped before it could; then say again what is known."""
        attempt = command.attempt
        run = self.runs.get(attempt)
        if run is not None:
            if run.started is not None:
                self.tell(replace(run.started, seq=self._next()))
        elif attempt in self.ended:
            self.tell(replace(self.ended[attempt], seq=self._next()))
        elif attempt.n > self._fence.get(attempt.job, 0):
            self._fence[attempt.job] = attempt.n
            self._prepare(Run(attempt, command.job, command.placement, set()))
        # Else it is forgotten, or overtaken by a later attempt: the control plane no longer waits for it.

    def stop(self, command: StopAttempt) -> None:
        """Ask an attempt to end; an unknown one is reported as lost and will never start."""
        attempt = command.attempt
        run = self.runs.get(attempt)
        if run is not None:
            self._ask_to_stop(run, command.grace)
            return
        if attempt in self.ended:
            self.tell(replace(self.ended[attempt], seq=self._next()))
            return
        self._fence[attempt.job] = max(attempt.n, self._fence.get(attempt.job, 0))
        self._close(attempt, Outcome(Cause.NODE_LOST, message=f"executor {self.name} does not know it"))

    def forget(self, command: ForgetAttempt) -> None:
        """Leave an ended attempt out of inventories. One that still runs is not forgotten."""
        self.ended.pop(command.attempt, None)

    def inventory(self) -> Inventory:
        """Every node that is up, every run, and every end not yet forgotten."""
        running = [Observed(run.attempt, run.started.at if run.started else None) for run in self.runs.values()]
        ended = [Observed(end.attempt, None, ended=end.at, outcome=end.outcome) for end in self.ended.values()]
        return Inventory(self.name, self._next(), tuple(self.nodes.values()), (*running, *ended))

    # -- what befalls it ------------------------------------------------------------------------------------------

    @property
    def clock(self) -> Instant:
        """The time that this site would tell."""
        return Instant(max(self._agenda.now + self.skew, 0))

    def lose_node(self, node: NodeId) -> Node | None:
        """A machine dies, and with it every attempt that has a task there. Returns what it was, None if it was gone."""
        lost = self.nodes.pop(node, None)
        if lost is not None:
            for run in [run for run in self.runs.values() if any(task.node == node for task in run.placement)]:
                self._end(run, Outcome(Cause.NODE_LOST, message=f"node {node} died"))
        return lost

    def add_node(self, node: Node) -> None:
        """A machine comes up, or comes back, empty."""
        self.nodes[node.id] = node

    # -- the life of a run ----------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _prepare(self, run: Run) -> None:
        self.runs[run.attempt] = run
        if any(task.node not in self.nodes for task in run.placement):
            self._agenda.put(self._agenda.now + NO_ANSWER, self._miss, run)
            return
        luck = self._luck() if self._luck else None
        if luck is None:
            self._begin(run)
        elif luck.fails:
            self._agenda.put(self._agenda.now + luck.delay, self._fail, run)
        elif luck.delay:
            self._agenda.put(self._agenda.now + luck.delay, self._begin, run)
        else:
            self._begin(run)

    def _begin(self, run: Run) -> None:
        if run.attempt not in self.runs:
            return
        agenda, job = self._agenda, run.job
        run.began = agenda.now
        run.pace = speed(job, run.placement, self.nodes, self._speedup)
        run.started = AttemptStarted(run.attempt, self.name, self._next(), self.clock)
        self.tell(run.started)
        duration = self._progress.duration(job, run.pace)
        run.programs = self._programs(job, duration)
        run.alive.update(range(len(run.programs)))
        for index, program in enumerate(run.programs):
            if program.runs is not None:
                agenda.put(agenda.now + program.runs, self._finish, (run, index))
        every = job.checkpoint_every
        if job.checkpoints and every is not None and (duration is None or every < duration):
            agenda.put_chore(agenda.now + every, self._checkpoint, run)

    def _miss(self, run: Run) -> None:
        if run.attempt in self.runs:
            self._end(run, Outcome(Cause.NODE_LOST, message="its node does not answer"))

    def _fail(self, run: Run) -> None:
        if run.attempt in self.runs:
            self._end(run, Outcome(Cause.START_FAILED, message="the program could not be started"))

    def _checkpoint(self, run: Run) -> None:
        every = run.job.checkpoint_every
        if self.runs.get(run.attempt) is run and every is not None:
            self.tell(Progressed(run.attempt, checkpoint=self.clock))
            self._agenda.put_chore(self._agenda.now + every, self._checkpoint, run)

    def _ask_to_stop(self, run: Run, grace: int) -> None:
        agenda = self._agenda
        first = run.killed_at is None
        run.killed_at = min(agenda.now + grace, run.killed_at if run.killed_at is not None else agenda.now + grace)
        if run.began is None:
            self._end(run, Outcome(Cause.FAILED, signal=SIGTERM, message="stopped before it began"))
            return
        if first:
            for index, program in enumerate(run.programs):
                if index in run.alive and program.on_stop != "ignores":
                    agenda.put(min(agenda.now + self._stop_delay, run.killed_at), self._terminate, (run, index))
        if any(program.on_stop == "ignores" for program in run.programs):
            agenda.put(run.killed_at, self._kill, run)

    def _terminate(self, which: tuple[Run, int]) -> None:
        run, index = which
        if run.programs[index].on_stop == "yields":
            self._exit(run, index, YIELDED, None)
        else:
            self._exit(run, index, None, SIGTERM)

    def _kill(self, run: Run) -> None:
        for index in sorted(run.alive):
            self._exit(run, index, None, SIGKILL)

    def _finish(self, which: tuple[Run, int]) -> None:
        run, index = which
        self._exit(run, index, run.programs[index].exit_code, None)

    def _exit(self, run: Run, index: int, code: int | None, signal: int | None) -> None:
        """A task is over. The first to fail brings its gang down, unless all of them were told to stop anyway."""
        if index not in run.alive or self.runs.get(run.attempt) is not run:
            return
        run.alive.discard(index)
        if (code or signal) and run.failure is None:
            how = f"exit status {code}" if signal is None else f"signal {signal}"
            run.failure = Outcome(Cause.FAILED, code, signal, f"task {index}: {how}")
        if run.failure is not None and run.killed_at is None:
            run.alive.clear()
        if not run.alive:
            self._end(run, run.failure or _SUCCESS)

    def _end(self, run: Run, outcome: Outcome) -> None:
        del self.runs[run.attempt]
        run.alive.clear()
        told = run.killed_at is not None
        if outcome.cause is Cause.SUCCEEDED:
            self._progress.finished(run.job)
        elif run.began is not None:
            ran = self._agenda.now - run.began
            if told and self._progress.last_checkpoint(run.job, ran, told) == ran:
                self.tell(Progressed(run.attempt, checkpoint=self.clock))
            self._progress.stopped(run.job, run.pace, ran, told)
        self._close(run.attempt, outcome)

    def _close(self, attempt: AttemptId, outcome: Outcome) -> None:
        end = AttemptEnded(attempt, self.name, self._next(), self.clock, outcome)
        self.ended[attempt] = end
        self.tell(end)
