"""Golden scenarios: a cluster, a line and the plan that is right, as text that reads like the case.

A scenario is a text file of blocks. The first sets the scene, one thing to a line::

    ## a critical job takes the room of the one that loses least
    queues   prod gpus=16                   a queue and what it may use; borrow=8 (or any) lend=4 weight=2
                                            discipline=las gpu-hours=100/7d grace=0.1
    policy   max_victims=4 weights.gpu=0.5  what is not at its default, written as in a manifest
    nodes    n1..n2 8xH100 cpu=64           one or many; also memory= gpumem= disk= net= executor= cordoned lost
    running  dev/j1 8 on n1 priority=low started=2h-ago checkpoint=40m-ago
    pending  prod/j2 8 priority=critical    priority=high+5 deadline=2h max_runtime=1h not_before=5m retries=2
                                            after=a,b! (ended) or c? (else wait) array=s/2/8/3 checkpoints
    # plan
    preempt  dev/j1  higher priority prod/j2 (critical); loses 40m x 8 GPU
    hold     prod/j2 on n1[0-7] until dev/j1 has stopped

What a job asks for: ``8`` devices, ``0.5`` of one, ``4x8`` a gang of four tasks of 8, ``2..4x8`` one that may shrink to
two (and with ``checkpoints`` grow and shrink while it runs; ``speedup=1:1,2:1.9`` and ``batch=32..1024/8..64`` are what
it says of itself); ``cpu= memory= gpumem= disk= net=`` per task, ``type=H100,A100:0.5`` with speeds; ``ps:1x0/cpu=4``
is a role of its own; ``user= estimate=`` are the job's. ``on n1*2 n2`` puts two tasks on n1 and one on n2. After ``#
plan`` stand the actions that are right, in order, then perhaps ``# then`` or ``# after 5m`` and what happens next:
``start JOB``, ``end JOB OUTCOME`` (succeeded, failed, killed, yielded, unstarted, lost; ``JOB@1`` is an attempt that is
not the newest), ``cancel``, ``cordon``, ``uncordon``, ``lose``, ``checkpoint``, ``measures JOB batch=256
throughput=3400 noise=1200``, ``keep`` and ``let`` (a person holds and releases a job), ``service NAME replicas=2 ...``,
``book NAME`` and ``loan NAME`` (``scenario_words.booking_of``, ``loan_of``), ``unbook NAME``, ``recall NAME``, and all
of the first block. ``why JOB`` adds a line to the end of the plan: where the job stands, and why; ``helps JOB`` one
with what would help it. ``admit JOB`` submits a job as ``pending`` does, unless it is refused at once. What says where
nodes stand and where jobs may run is in ``place_words``.

``python -m fairway.testing.scenarios --update FILES`` writes the plans made now: read every line of the change.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fairway.decide import fit
from fairway.decide.admit import validate
from fairway.decide.advice import advise, sentence
from fairway.decide.explain import never_fits
from fairway.decide.pipeline import decide
from fairway.decide.suspect import suspicions
from fairway.engine.story import awaiting
from fairway.model import facts as f
from fairway.model.ids import AttemptId, BookingId, ExecutorId, JobId, LoanId, NodeId
from fairway.model.job import Job
from fairway.model.phases import Cause
from fairway.model.plan import Placement, Plan, Start, TaskPlacement
from fairway.model.policy import Policy
from fairway.model.reasons import Placed
from fairway.model.time import Duration, Instant, format_duration, parse_duration
from fairway.state.apply import apply
from fairway.state.check import check, oversubscribed
from fairway.state.cluster import ClusterState
from fairway.state.groups import shape_of
from fairway.state.snapshot import snapshot
from fairway.testing.builders import restored_problems
from fairway.testing.scenario_lines import BEGIN, render
from fairway.testing.scenario_words import (
    ScenarioError,
    ago,
    began,
    booking_of,
    job_of,
    loan_of,
    measured_of,
    names_of,
    node_of,
    options_of,
    policy_of_words,
    queue_of,
    service_of,
)

_OUTCOMES = {
    "succeeded": f.Outcome(Cause.SUCCEEDED, 0),
    "failed": f.Outcome(Cause.FAILED, 1),
    "killed": f.Outcome(Cause.FAILED, signal=15),
    "yielded": f.Outcome(Cause.FAILED, 75),
    "unstarted": f.Outcome(Cause.START_FAILED, message="no such program"),
    "lost": f.Outcome(Cause.NODE_LOST),
}


@dataclass(frozen=True, slots=True)
class Block:
    """What happens, then the plan that is right. ``after`` is how much time passes first, in milliseconds."""

    after: Duration
    events: tuple[str, ...]
    plan: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario file as read."""

    title: str
    blocks: tuple[Block, ...]


def read(text: str) -> Scenario:
    """Parse a scenario file. Raises ScenarioError."""
    title, blocks = "", list[Block]()
    after, events, plan, in_plan = Duration(0), list[str](), list[str](), False
    for line in text.splitlines():
        if line.startswith("## "):
            title = line[3:].strip()
        elif line.strip() == "# plan":
            in_plan = True
        elif line.startswith(("# then", "# after ")):
            blocks.append(Block(after, tuple(events), tuple(plan)))
            after = parse_duration(line[8:].strip()) if line.startswith("# after ") else Duration(0)
            events, plan, in_plan = [], [], False
        elif line.strip() and not line.startswith("#"):
            (plan if in_plan else events).append(line.rstrip())
    if not title or not in_plan:
        raise ScenarioError("a scenario begins with '## title' and has a '# plan'")
    return Scenario(title, (*blocks, Block(after, tuple(events), tuple(plan))))


def write(scenario: Scenario, plans: Sequence[Sequence[str]]) -> str:
    """The file of a scenario with other plans."""
    lines = [f"## {scenario.title}"]
    for index, (block, plan) in enumerate(zip(scenario.blocks, plans, strict=True)):
        if index:
            lines += ["", f"# after {block.after // 1000}s" if block.after else "# then"]
        lines += [*block.events, "# plan", *plan]
    return "\n".join(lines) + "\n"


def play(scenario: Scenario, policy: Policy | None = None) -> list[list[str]]:
    """The plan of every block, as lines. Raises AssertionError when an invariant does not hold on the way."""
    stage = Stage(policy)
    return [stage.play(block) for block in scenario.blocks]


@dataclass(slots=True)
class Stage:
    """A state that a scenario is played on."""

    policy: Policy | None = None
    state: ClusterState = field(default_factory=ClusterState)
    now: Instant = BEGIN
    seq: int = 1
    refused: list[str] = field(default_factory=list[str])
    """Lines about what was not even accepted."""

    def __post_init__(self) -> None:
        if self.policy is not None:
            self.state.policy = self.policy

    def play(self, block: Block) -> list[str]:
        """One block: let it happen, decide, take the plan over."""
        now = Instant(self.now + block.after)
        self.now = now if self.state.now else Instant(1)
        words = [line.split() for line in block.events]
        past = [line for line in words if line[0] == "running"]
        for verb in ("policy", "queues", "nodes"):
            for line in words:
                if line[0] == verb:
                    self.event(line)
        self.now = now
        for line in sorted(past, key=began):
            self.running(line[1:])
        for line in words:
            if line[0] not in ("policy", "queues", "nodes", "running", "why", "helps"):
                self.event(line)
        self.tell()
        plan = self.decide()
        asked = [f"why      {line[1]}  {self.why(line[1])}".rstrip() for line in words if line[0] == "why"]
        told, self.refused = self.refused, []
        asked += [f"helps    {line[1]}  {self.helps(line[1])}".rstrip() for line in words if line[0] == "helps"]
        return [*told, *(rendered for action in plan.each() for rendered in render(action)), *asked]

    def helps(self, name: str) -> str:
        """What would help a waiting job; times count from the beginning of the scenario."""
        row = self.state.jobs.row_of[JobId(name)]
        advice = advise(snapshot(self.state), self.state.policy, row, np.random.default_rng(0))
        return sentence(advice, lambda at: f"+{format_duration(max(at - BEGIN, 0))}")

    def why(self, name: str) -> str:
        """Where a job stands, and why."""
        jobs, groups, job = self.state.jobs, self.state.groups, JobId(name)
        if job in self.state.ended:
            ended = self.state.ended[job]
            return f"{ended.phase}: {ended.outcome.message}".removesuffix(": ")
        row = jobs.row_of[job]
        hold, group, phase = jobs.hold[row], int(jobs.group[row]), jobs.phase_of(row)
        reason = (
            awaiting(hold) if hold else jobs.reason[row] or (groups.reason(group) if groups.blocked[group] else None)
        )
        return str(phase) if phase.live or reason is None else f"{phase}: {reason}"

    def decide(self) -> Plan:
        """Decide, prove that a restored state decides the same and that nobody is asleep, take the plan over."""
        plan = decide(snapshot(self.state), self.state.policy)
        wrong = restored_problems(self.state, self.state.policy)
        assert not wrong, "; ".join(wrong)
        if plan:
            self.tell(f.Ruled(plan))
        return plan

    def tell(self, *facts: f.Fact, at: Instant | None = None) -> None:
        """Believe facts at an instant, and prove every invariant."""
        apply(self.state, f.Facts(self.now if at is None else at, facts))
        wrong = [*check(self.state), *(f"{node}: more placed than it has" for node in oversubscribed(self.state))]
        assert not wrong, "; ".join(wrong)

    def event(self, words: list[str]) -> None:
        """One line of a block, other than a running job."""
        events: dict[str, Callable[[list[str]], None]] = {
            "queues": lambda rest: self.tell(f.QueueSet(queue_of(rest))),
            "nodes": self.nodes,
            "loan": lambda rest: self.tell(f.QuotaLent(loan_of(rest, self.now))),
            "recall": lambda rest: self.tell(f.LoanEnded(LoanId(rest[0]), "ada")),
            "policy": lambda rest: self.tell(f.PolicySet(policy_of_words(rest))),
            "admit": lambda rest: self.admit(job_of(rest, self.now)),
            "pending": lambda rest: self.tell(f.JobSubmitted(job_of(rest, self.now))),
            "service": lambda rest: self.tell(f.ServiceSet(service_of(rest))),
            "start": lambda rest: self.tell(f.AttemptStarted(self.attempt(rest[0]), _local(), self.next(), self.now)),
            "end": lambda rest: self.tell(
                f.AttemptEnded(self.attempt(rest[0]), _local(), self.next(), self.now, _OUTCOMES[rest[1]])
            ),
            "book": lambda rest: self.tell(f.BookingSet(booking_of(rest, self.now))),
            "unbook": lambda rest: self.tell(f.BookingRemoved(BookingId(rest[0]), "ada")),
            "keep": lambda rest: self.tell(f.JobHeld(JobId(rest[0]), "ada")),
            "let": lambda rest: self.tell(f.JobReleased(JobId(rest[0]), "ada")),
            "cancel": lambda rest: self.tell(f.CancelAsked(JobId(rest[0]), "ada")),
            "cordon": lambda rest: self.tell(f.NodeCordoned(NodeId(rest[0]))),
            "uncordon": lambda rest: self.tell(f.NodeCordoned(NodeId(rest[0]), on=False)),
            "lose": lambda rest: self.tell(f.NodeGone(NodeId(rest[0]))),
            "measures": lambda rest: self.tell(measured_of(self.attempt(rest[0]), rest)),
            "checkpoint": lambda rest: self.tell(f.Progressed(self.attempt(rest[0]), checkpoint=self.now)),
        }
        if words[0] not in events:
            raise ScenarioError(f"{' '.join(words)!r}: {words[0]!r} is none of {', '.join([*events, 'running'])}")
        events[words[0]](words[1:])

    def admit(self, job: Job) -> None:
        """Take a job in as a face does, or refuse what can never be right, never fits, or looks like a mistake."""
        nodes = self.state.nodes
        never = never_fits(snapshot(self.state), shape_of(job))
        known = [nodes.node(row) for row in nodes.rows()]
        wrong = validate(job) or ([never] if never else suspicions(job, known, self.state.policy.admission))
        self.refused += [f"refuse   {job.id}  {each}" for each in wrong]
        if not wrong:
            self.tell(f.JobSubmitted(job))

    def next(self) -> int:
        """The next message number of the executor."""
        self.seq += 1
        return self.seq

    def attempt(self, job: str) -> AttemptId:
        """A job's newest attempt, or the one that is named."""
        name, at, n = job.partition("@")
        if at:
            return AttemptId(JobId(name), int(n))
        row = self.state.jobs.row_of.get(JobId(name))
        if row is None:
            raise ScenarioError(f"no job {name}")
        return self.state.jobs.attempt_id(row)

    def nodes(self, words: list[str]) -> None:
        """``n1 8xH100 ...`` or ``n1..n4 ...``."""
        options = dict(options_of(words[1:]))
        for name in names_of(words[0]):
            self.tell(f.NodeSeen(node_of(name, words[1:], options)))
            if "cordoned" in words:
                self.tell(f.NodeCordoned(NodeId(name)))
            if "lost" in words:
                self.tell(f.NodeGone(NodeId(name)))

    def running(self, words: list[str]) -> None:
        """A job that has been running since ``started``, an hour if not said."""
        options = dict(options_of(words))
        began = Instant(self.now - ago(options.get("started", "1h-ago")))
        job = job_of(words, began)
        self.tell(f.JobSubmitted(job), at=began)
        start = Start(AttemptId(job.id, 1), self.placement(job, words), Placed("given", 0.0, (), 0))
        self.tell(f.Ruled(Plan((start,))), at=began)
        self.tell(f.AttemptStarted(start.attempt, _local(), self.next(), began), at=began)
        if "checkpoint" in options:
            taken = Instant(self.now - ago(options["checkpoint"]))
            self.tell(f.Progressed(start.attempt, checkpoint=taken), at=taken)

    def placement(self, job: Job, words: list[str]) -> Placement:
        """``on n1*2 n2``: task after task, each on the first devices that are free there."""
        nodes = self.state.nodes
        free = nodes.device_free.copy()
        where = [w for w in words[words.index("on") + 1 :] if "=" not in w]
        names = [n for w in where for n in [w.partition("*")[0]] * int(w.partition("*")[2] or 1)]
        roles = [index for index, role in enumerate(job.roles) for _ in range(role.count)]
        tasks: list[TaskPlacement] = []
        for rank, (name, role) in enumerate(zip(names, roles, strict=False)):
            request, row = job.roles[role].request, nodes.row_of[NodeId(name)]
            milli = request.milli_on(int(nodes.gpu_memory[row]))
            devices = fit.pick_devices(free[row], request, milli)
            for device in devices:
                free[row, device] -= milli
            tasks.append(TaskPlacement(rank, role, NodeId(name), devices, milli if devices else 0))
        return tuple(tasks)


def _local() -> ExecutorId:
    return ExecutorId("local")


def main(arguments: Sequence[str] | None = None) -> int:
    """Play scenario files and compare; with ``--update`` write the plans made now. Returns how many differ."""
    parser = argparse.ArgumentParser(prog="fairway.testing.scenarios", description="play golden scenarios")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--update", action="store_true", help="write the plans that are made now")
    options = parser.parse_args(arguments)
    differ = 0
    for path in options.files:
        scenario = read(path.read_text())
        plans = play(scenario)
        if [list(block.plan) for block in scenario.blocks] != plans:
            differ += 1
            sys.stdout.write(f"{path}: {'written' if options.update else 'differs'}\n")
            if options.update:
                path.write_text(write(scenario, plans))
    return differ


if __name__ == "__main__":
    raise SystemExit(main())
