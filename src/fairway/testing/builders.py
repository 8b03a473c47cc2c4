"""Short ways to say what a test is about, and a ``Rehearsal``: a state that is fed by facts alone and never trusted.

A rehearsal keeps every batch it was told, so that a test can replay it, and after every step can prove what must always
hold (``problems``): the invariants of ``state.check``, that a checkpoint is the state, that nothing is lost between two
decisions, that limits and capacity are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairway.decide.pipeline import decide
from fairway.engine.ports import View
from fairway.model.facts import (
    AttemptEnded,
    AttemptStarted,
    CancelAsked,
    Fact,
    Facts,
    JobSubmitted,
    NodeSeen,
    Outcome,
    PolicySet,
    QueueSet,
    Ruled,
)
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId, QueueId
from fairway.model.job import Job, Priority, PriorityClass, Role
from fairway.model.node import Node
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Action, Look, Plan, Release, Review, Stop, Tidy, Unplaced
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.reasons import PreemptedBy, Refusal
from fairway.model.resources import Accelerator, Amount, Request
from fairway.model.time import Duration, Instant
from fairway.state.apply import apply
from fairway.state.check import check, oversubscribed
from fairway.state.cluster import ClusterState
from fairway.state.codec import digest, dump, load
from fairway.state.lifecycle import YIELD_EXIT
from fairway.state.snapshot import snapshot
from fairway.state.tables import SUMS

EXECUTOR = ExecutorId("local")


def a_node(name: str, gpus: int = 0, kind: str = "H100", *, cpu: int = 64, memory: int = 1 << 19, **more: Any) -> Node:
    """A node with ``gpus`` devices of 80 GiB, ``cpu`` cores and ``memory`` MiB; ``more`` are fields of ``Node``."""
    fields: dict[str, Any] = {"gpu_memory_mib": 80 * 1024 if gpus else 0, "executor": EXECUTOR, **more}
    return Node(
        NodeId(name),
        cpu_milli=cpu * 1000,
        memory_mib=memory,
        gpus=gpus,
        gpu_type=kind if gpus else "",
        **fields,
    )


def a_request(
    gpus: float = 0, cpu: float = 0, memory: int = 0, *, types: Sequence[str | tuple[str, float]] = ()
) -> Request:
    """Whole GPUs, or a share of one when below 1; CPU cores; MiB; accepted types, each with a speed if not 1."""
    accepted = tuple(Accelerator(t) if isinstance(t, str) else Accelerator(*t) for t in types)
    whole = int(gpus) if gpus >= 1 else int(gpus > 0)
    milli = {"gpu_milli": round(gpus * 1000)} if 0 < gpus < 1 else {}
    return Request(cpu_milli=round(cpu * 1000), memory_mib=memory, gpus=whole, accelerators=accepted, **milli)


def a_job(
    name: str,
    *roles: Role | Request,
    queue: str = "",
    cls: PriorityClass = PriorityClass.MEDIUM,
    number: int = 0,
    submitted: int = 0,
    **more: Any,
) -> Job:
    """A job of these roles (a bare request is a role of one task); ``more`` are fields of ``Job``."""
    made = tuple(role if isinstance(role, Role) else Role(request=role) for role in roles) or (Role(),)
    fields: dict[str, Any] = {"submitted": Instant(submitted), "priority": Priority(cls, number), **more}
    return Job(JobId(name), name, QueueId(queue), made, **fields)


def submitted(job: Job) -> JobSubmitted:
    """The fact that a job was accepted."""
    return JobSubmitted(job)


def a_queue(path: str, gpus: float | None = None, cpu: float | None = None, memory: int | None = None) -> Queue:
    """A queue that may use so much and no more; ``None`` is without limit."""
    limits = (cpu, None if memory is None else memory / 1000, gpus)
    quota = Amount(*(None if limit is None else round(limit * 1000) for limit in limits))
    borrow = Amount(*(None if limit is None else 0 for limit in limits))
    return Queue(QueueId(path), quota=quota, borrow=borrow)


@dataclass(slots=True)
class Rehearsal:
    """A state, everything it was told, and the decisions made on it.

    ``lowered`` are queues whose limit fell below what they used: they may be over it until their use falls. ``shrunk``
    are nodes that became smaller than what runs on them.
    """

    policy: Policy = field(default_factory=Policy)
    state: ClusterState = field(default_factory=ClusterState)
    told: list[Facts] = field(default_factory=list[Facts])
    ends: dict[AttemptId, Cause] = field(default_factory=dict[AttemptId, Cause])
    lowered: set[QueueId] = field(default_factory=set[QueueId])
    shrunk: set[NodeId] = field(default_factory=set[NodeId])
    seq: int = 0
    views: list[View] = field(default_factory=list[View])
    """What faces would be shown: told of every batch."""

    def __post_init__(self) -> None:
        if self.policy != self.state.policy:
            self.tell(PolicySet(self.policy))

    def tell(self, *items: Fact, after: int = 0) -> None:
        """Believe facts ``after`` milliseconds more. Raises AssertionError when an attempt ends a second time."""
        batch = Facts(Instant(self.state.now + after), items)
        self.told.append(batch)
        apply(self.state, batch)
        over = {NodeId(name) for name in oversubscribed(self.state)}
        if any(not isinstance(item, Ruled) for item in items):
            self.shrunk |= over
            self.lowered |= over_limit(self.state)
        self.shrunk &= over
        self.lowered &= over_limit(self.state)
        for end in self.state.news.attempts:
            assert end.attempt not in self.ends, f"{end.attempt} ended twice"
            self.ends[end.attempt] = end.outcome.cause
        for view in self.views:
            view.fold(len(self.told), self.state.now, self.state)
        self.state.news.clear()

    def decide(self) -> Plan:
        """Decide once, and believe the ruling."""
        plan = decide(snapshot(self.state), self.state.policy)
        chains = [str(action) for action in plan.actions if _for_a_victim(self.state, action)]
        assert not chains, f"a victim stops others in turn: {chains}"
        if plan:
            self.tell(Ruled(plan))
        return plan

    def settle(self) -> None:
        """Decide until there is nothing more to do. Raises AssertionError when that does not come to an end."""
        for _ in range(4 + 2 * len(self.state.jobs)):
            if not effects(self.decide()):
                return
        raise AssertionError("decisions without an end")

    def carry_out(self) -> list[Action]:
        """Decide, let every stop end at once and every start begin, until nothing more happens; returns what was done.
        Raises AssertionError when that does not come to an end, or a promise is broken on the way."""
        done: list[Action] = []
        for _ in range(20 + 4 * len(self.state.jobs)):
            actions = effects(self.decide())
            self.prove()
            stopped = self.stop()
            self.start()
            if not actions and not stopped:
                return done
            done += actions
        raise AssertionError("decisions without an end")

    def stop(self) -> list[JobId]:
        """The executor says that whatever was told to stop has yielded; which jobs that were."""
        stopping = [job for job in self.state.unmet if self.phase(job) is JobPhase.STOPPING]
        for job in stopping:
            self.end(job, Cause.FAILED, exit_code=YIELD_EXIT)
        return stopping

    def start(self, *jobs: str) -> None:
        """The executor confirms the start of these jobs' attempts; of all that wait for it when none is named."""
        for job in jobs or [name for name in self.state.unmet if self.phase(name) is JobPhase.STARTING]:
            self.seq += 1
            self.tell(AttemptStarted(self.attempt(job), EXECUTOR, self.seq, self.state.now))

    def end(
        self, job: str, cause: Cause = Cause.SUCCEEDED, exit_code: int | None = None, signal: int | None = None
    ) -> None:
        """The executor says that the job's live attempt has ended."""
        self.seq += 1
        status = 0 if cause is Cause.SUCCEEDED else exit_code
        outcome = Outcome(cause, status, signal)
        self.tell(AttemptEnded(self.attempt(job), EXECUTOR, self.seq, self.state.now, outcome))

    def cancel(self, *jobs: str) -> None:
        """Somebody wants these jobs to end."""
        self.tell(*(CancelAsked(JobId(job)) for job in jobs))

    def nodes(self, *nodes: Node) -> None:
        """These nodes are there."""
        self.tell(*(NodeSeen(node) for node in nodes))

    def queues(self, *queues: Queue) -> None:
        """These queues are declared."""
        self.tell(*(QueueSet(queue) for queue in queues))

    def attempt(self, job: str) -> AttemptId:
        """The newest attempt of a job that has not ended."""
        return self.state.jobs.attempt_id(self.state.jobs.row_of[JobId(job)])

    def phase(self, job: str) -> JobPhase:
        """Where a job stands, ended or not."""
        ended = self.state.ended.get(JobId(job))
        return ended.phase if ended else self.state.jobs.phase_of(self.state.jobs.row_of[JobId(job)])

    def where(self, job: str) -> tuple[str, ...]:
        """The nodes of a job's live attempt, task by task; empty when it has none."""
        return tuple(task.node for task in self.state.jobs.placement[self.state.jobs.row_of[JobId(job)]])

    def why(self, job: str) -> Refusal | None:
        """Why a job waits: its own reason, else its group's while that is blocked."""
        jobs = self.state.jobs
        row = jobs.row_of[JobId(job)]
        group = int(jobs.group[row])
        return jobs.reason[row] or (self.state.groups.reason(group) if self.state.groups.blocked[group] else None)

    def problems(self) -> list[str]:
        """Every promise that the state breaks right now, as sentences; empty when all hold."""
        state = self.state
        wrong = [*check(state), *_capacity(state, self.shrunk), *_limits(state, self.lowered), *_silent(state)]
        return wrong + restored_problems(state, state.policy)

    def prove(self) -> None:
        """Raises AssertionError with every problem there is."""
        wrong = self.problems()
        assert not wrong, "; ".join(wrong)

    def restart(self) -> None:
        """Go on with what a checkpoint kept."""
        self.state = load(dump(self.state))

    def replayed(self) -> ClusterState:
        """A new state that was told the same."""
        state = ClusterState()
        for batch in self.told:
            apply(state, batch)
        return state


def over_limit(state: ClusterState) -> set[QueueId]:
    """Queues that use more than they may."""
    queues = state.queues
    return {queues.id_of(row) for row in queues.rows() if (queues.used[row] > queues.limit[row]).any()}


def effects(plan: Plan) -> list[Action]:
    """The actions of a plan that change something: all but refusals, and notes of when to look again."""
    return [action for action in plan.each() if not isinstance(action, Unplaced | Review | Tidy | Look)]


def _for_a_victim(state: ClusterState, action: Action) -> bool:
    """Whether a job is stopped for one that was itself a victim when it last ran."""
    if not (isinstance(action, Stop) and isinstance(action.reason, PreemptedBy)):
        return False
    end = state.jobs.last_end[state.jobs.row_of[action.reason.by]]
    return end is not None and end.outcome.cause is Cause.PREEMPTED


def _capacity(state: ClusterState, shrunk: set[NodeId]) -> list[str]:
    return [f"node {name}: more placed than it has" for name in oversubscribed(state) if name not in shrunk]


def _limits(state: ClusterState, lowered: set[QueueId]) -> list[str]:
    wrong: list[str] = []
    for name in sorted(over_limit(state) - lowered):
        row = state.queues.row_of[name]
        wrong.append(f"queue {name or '(root)'}: uses {state.queues.used[row]} of {state.queues.limit[row]} {SUMS}")
    return wrong


def _silent(state: ClusterState) -> list[str]:
    """Jobs that wait and nobody can say why, and gangs that span executors."""
    jobs, wrong = state.jobs, list[str]()
    for row in jobs.rows():
        name, phase = jobs.id_of(row), jobs.phase_of(row)
        groups, group = state.groups, int(jobs.group[row])
        if phase is JobPhase.WAITING and jobs.reason[row] is None:
            wrong.append(f"job {name}: waits without a reason")
        if (
            phase is JobPhase.QUEUED
            and jobs.hold[row] is None
            and groups.blocked[group]
            and groups.reason(group) is None
        ):
            wrong.append(f"job {name}: is refused without a reason")
    return wrong


def restored_problems(state: ClusterState, policy: Policy) -> list[str]:
    """A restored state is the state: same bytes, sound, and it decides the same; and nobody in it is asleep."""
    kept = dump(state)
    restored = load(kept)
    wrong = [f"restored: {sentence}" for sentence in check(restored)]
    if dump(restored) != kept:
        wrong.append("restored: another digest")
    plan = decide(snapshot(state), policy)
    if decide(snapshot(restored), policy) != plan:
        wrong.append("restored: decides otherwise")
    return wrong + _asleep(restored, policy, effects(plan))


def _asleep(state: ClusterState, policy: Policy, now: list[Action]) -> list[str]:
    """Groups that are blocked though they would start: a lost wake-up. ``state`` is spoilt.

    Compares what is decided ``now`` with a decision from scratch, where every group is tried. Groups of several roles
    stay as they are: where their tasks go is found greedily, so one may fit after another job has taken room, which
    nobody promises to notice; one role fits if and only if there is room. What a plan frees by a stop or a release it
    offers to the next one, once ``apply`` has woken everybody whom that concerns, so such plans are not compared.
    """
    groups = state.groups
    groups.wake(np.array([len(groups.group(row).shape.roles) == 1 for row in range(groups.height)], np.bool_))
    all_tried = effects(decide(snapshot(state), policy))
    if now == all_tried or any(isinstance(action, Stop | Release) for action in now):
        return []
    missed = [action for action in all_tried if action not in now]
    return [f"asleep: from scratch it would {missed or all_tried}, but it would {now}"]


def same(left: ClusterState, right: ClusterState) -> bool:
    """Whether two states are equal in everything a checkpoint keeps."""
    return digest(left) == digest(right)


def minutes(amount: float) -> Duration:
    """So many minutes."""
    return Duration(round(amount * 60_000))
