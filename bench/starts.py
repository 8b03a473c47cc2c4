"""How right expected starts are: jobs of a trace wait, are told when they will start, and start.

::

    python -m bench.starts --trace philly.csv --vc-nodes vc_nodes.csv --jobs 3000 --shrink 20 --json

The trace is run through facts, ``decide`` and ``apply``, without executors between them: a job starts when it is placed
and ends when its work is done. After every ``--every``-th submission each job in line (at most ``--ask``, in order) is
told its range (``decide.expect``). ``p50`` and ``p90`` are the shares of ranges whose job started by then; ``unknown``
is the share that was told nothing; ``wait_s`` the median real wait from the question on, and ``width`` the median of
p90 - now over p50 - now. ``--shrink`` leaves out all but every n-th node, so that jobs wait.
"""

import argparse
import heapq
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np

from bench import traces
from fairway.decide import expect, order
from fairway.decide.pipeline import decide
from fairway.model.errors import FairwayError
from fairway.model.facts import (
    AttemptEnded,
    AttemptStarted,
    Fact,
    Facts,
    JobSubmitted,
    NodeSeen,
    Outcome,
    QueueSet,
    Ruled,
)
from fairway.model.ids import AttemptId, JobId
from fairway.model.phases import Cause
from fairway.model.plan import Start, Starts
from fairway.model.policy import Policy
from fairway.model.reasons import Range
from fairway.model.time import NEVER, Instant
from fairway.sim.traces import Trace
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.snapshot import snapshot

SMALL = ("--jobs", "300")


@dataclass(slots=True)
class Told:
    """What a job in line was told, and when."""

    at: int
    job: JobId
    expected: Range | None


@dataclass(slots=True)
class Course:
    """One run of a trace. ``every`` and ``ask`` as in the module's docstring."""

    trace: Trace
    every: int = 20
    ask: int = 20
    state: ClusterState = field(default_factory=ClusterState)
    told: list[Told] = field(default_factory=list[Told])
    began: dict[JobId, int] = field(default_factory=dict[JobId, int])
    _seq: int = 0

    def run(self, seed: int) -> dict[str, Any]:
        """The figures."""
        policy, rng = Policy(), np.random.default_rng(seed)
        setting = [*map(NodeSeen, self.trace.nodes), *map(QueueSet, self.trace.queues)]
        apply(self.state, Facts(Instant(1), tuple(setting)))
        agenda: list[tuple[int, int, Fact]] = [
            (job.submitted + 1, number, JobSubmitted(job)) for number, job in enumerate(self.trace.jobs)
        ]
        heapq.heapify(agenda)
        submitted = 0
        while agenda:
            now, batch = agenda[0][0], list[Fact]()
            while agenda and agenda[0][0] == now:
                batch.append(heapq.heappop(agenda)[2])
            apply(self.state, Facts(Instant(now), tuple(batch)))
            for end in self._decide(policy):
                self._seq += 1
                heapq.heappush(agenda, (end[0], len(self.trace.jobs) + self._seq, end[1]))
            before = submitted
            submitted += sum(isinstance(fact, JobSubmitted) for fact in batch)
            if before // self.every != submitted // self.every:
                self._ask(policy, rng)
        return self.figures()

    def _decide(self, policy: Policy) -> list[tuple[int, AttemptEnded]]:
        """Decide and start everything at once; returns when each will end."""
        plan, now = decide(snapshot(self.state), policy), self.state.now
        if not plan:
            return []
        apply(self.state, Facts(now, (Ruled(plan),)))
        ends: list[tuple[int, AttemptEnded]] = []
        for action in plan.actions:
            for start in action if isinstance(action, Starts) else [action] if isinstance(action, Start) else []:
                ends.append(self._start(start.attempt, now))
        return ends

    def _start(self, attempt: AttemptId, now: Instant) -> tuple[int, AttemptEnded]:
        jobs, row = self.state.jobs, self.state.jobs.row_of[attempt.job]
        self._seq += 1
        executor = self.state.nodes.node(self.state.nodes.row_of[jobs.placement[row][0].node]).executor
        apply(self.state, Facts(now, (AttemptStarted(attempt, executor, self._seq, now),)))
        self.began[attempt.job] = now
        end = Instant(now + round((jobs.job(row).work or 1) / float(jobs.pace[row])) + 1)
        return end, AttemptEnded(attempt, executor, self._seq + 1, end, Outcome(Cause.SUCCEEDED, 0))

    def _ask(self, policy: Policy, rng: np.random.Generator) -> None:
        snap = snapshot(self.state)
        line = order.in_order(snap, policy, np.flatnonzero(snap.jobs.in_line[: snap.jobs.height]))[: self.ask]
        for row, expected in expect.starts(snap, policy, line.tolist(), rng, 1 << 22).items():
            self.told.append(Told(snap.now, snap.jobs.id_of(row), expected))

    def figures(self) -> dict[str, Any]:
        """How often the ranges held."""
        known = [(told, told.expected) for told in self.told if told.expected is not None]
        if not known:
            return {"asked": len(self.told), "unknown": None, "p50": None, "p90": None, "wait_s": None, "width": None}
        came = [self.began.get(told.job, NEVER) for told, _ in known]
        return {
            "asked": len(self.told),
            "unknown": round(1 - len(known) / len(self.told), 3),
            "p50": round(sum(at <= said.p50 for at, (_, said) in zip(came, known, strict=True)) / len(known), 3),
            "p90": round(sum(at <= said.p90 for at, (_, said) in zip(came, known, strict=True)) / len(known), 3),
            "wait_s": round(median(at - told.at for at, (told, _) in zip(came, known, strict=True)) / 1000, 1),
            "width": round(median((said.p90 - told.at) / max(said.p50 - told.at, 1) for told, said in known), 2),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.starts", description=(__doc__ or "").splitlines()[0])
    traces.ask(parser, jobs=2_000)
    parser.add_argument("--shrink", type=int, default=1, help="keep every n-th node only")
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--ask", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    options = parser.parse_args(arguments)
    try:
        trace = traces.load(options, nodes=4)
    except FairwayError as error:
        print(f"bench.starts: {error}", file=sys.stderr)
        return error.exit_code
    trace = replace(trace, nodes=trace.nodes[:: options.shrink])
    figures = Course(trace, options.every, options.ask).run(options.seed)
    print(json.dumps(figures) if options.json else "\n".join(f"{key:12} {value}" for key, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
