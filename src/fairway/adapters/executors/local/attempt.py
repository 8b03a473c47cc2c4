"""One attempt in the executor's memory: what its files say, and which of its processes are watched."""

from dataclasses import dataclass, field

from fairway.adapters.executors.local.folder import Exit, Folder, Spec, StopOrder, TaskSpec
from fairway.adapters.executors.local.outcome import attempt_outcome, failed
from fairway.adapters.executors.local.progress import Measure, ProgressFile
from fairway.model.facts import Observed, Outcome
from fairway.model.ids import AttemptId
from fairway.model.time import Instant


@dataclass(slots=True)
class Task:
    """One task. It is *idle* until its wrapper is found or started, and *live* while that is watched; then its end is
    known, and it is *cleared* when nothing that it started is left."""

    spec: TaskSpec
    pid: int = 0
    """Its wrapper, which leads its session and its process group; 0 as soon as the number may have been given away."""
    pidfd: int | None = None
    ours: bool = False
    """Whether we have started the wrapper ourselves."""
    end: Exit | None = None
    cleared: bool = False
    cgroup: str = ""

    @property
    def rank(self) -> int:
        return self.spec.rank

    @property
    def live(self) -> bool:
        return self.pidfd is not None

    @property
    def idle(self) -> bool:
        return self.pidfd is None and self.end is None


@dataclass(slots=True)
class Attempt:
    """``started`` is when its spec was written, once every task was; ``ended`` and ``outcome`` come together."""

    folder: Folder
    spec: Spec | None = None
    planned: Instant | None = None
    started: Instant | None = None
    tasks: list[Task] = field(default_factory=list[Task])
    order: StopOrder | None = None
    ordered: Instant | None = None
    ended: Instant | None = None
    outcome: Outcome | None = None
    fresh: bool = False
    """Just now made by us: nobody can have claimed any of it."""
    progress: ProgressFile = field(init=False)
    measured: Measure | None = None
    """What was last told of its measurements, and when."""
    measured_at: int = 0

    def __post_init__(self) -> None:
        self.progress = ProgressFile(self.folder.progress)

    @property
    def id(self) -> AttemptId:
        return self.folder.attempt

    @property
    def known(self) -> bool:
        """Whether anything of it was ever started, or is never to start."""
        return self.outcome is not None or self.order is not None or any(not task.idle for task in self.tasks)

    @property
    def over(self) -> bool:
        """Whether every task is cleared, or will never start."""
        if self.order is not None:
            return all(task.idle or task.cleared for task in self.tasks)
        return bool(self.tasks) and all(task.cleared for task in self.tasks)

    def take_spec(self, spec: Spec, planned: Instant) -> None:
        self.spec, self.planned = spec, planned
        if not self.tasks:
            self.tasks = [Task(task) for task in spec.tasks]

    def take_order(self, order: StopOrder, ordered: Instant) -> None:
        self.order, self.ordered = order, ordered

    def first_failure(self) -> int | None:
        """The rank of the task whose failure ended first, None while none has failed."""
        failures = [(task.end.at, task.rank) for task in self.tasks if task.end is not None and failed(task.end)]
        return min(failures)[1] if failures else None

    def conclude(self) -> None:
        """Fill in ``ended`` and ``outcome`` from how the tasks ended: for an attempt that is over."""
        ends = [task.end for task in self.tasks]
        self.outcome = attempt_outcome([task.spec for task in self.tasks], ends, self.order)
        self.ended = max((end.at for end in ends if end is not None), default=self.ordered)

    def observed(self) -> Observed:
        """Its line in an inventory."""
        return Observed(self.id, self.started, self.ended, self.outcome)


def load(folder: Folder) -> Attempt:
    """What the files say of an attempt. Tasks without an end are idle: their wrappers must still be looked for.

    A spec that cannot be read (it was cut short by a power cut) is as good as none.
    """
    attempt = Attempt(folder)
    if (spec := folder.spec()) is not None:
        attempt.take_spec(*spec)
    if (order := folder.stop()) is not None:
        attempt.take_order(*order)
    for task in attempt.tasks:
        task.end = folder.exit(task.rank)
    if attempt.tasks and all(folder.claimed(task.rank) for task in attempt.tasks):
        attempt.started = attempt.planned
    return attempt
