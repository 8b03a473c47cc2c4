"""How right expected starts are: jobs of a trace wait, are told when they will start, and start.

::

    python -m bench.starts --workload growing --jobs 600 --json
    python -m bench.starts --trace philly.csv --vc-nodes vc_nodes.csv --jobs 3000 --shrink 20 --json

The trace is run through facts, ``decide`` and ``apply``, without executors between them: a job starts when it is
placed, ends when its work is done, and yields at once, with all its work lost, when it is told to. After every
``--every``-th of the first two thirds of all submissions and ends, ``--ask`` jobs that fit at all, spread evenly over
the line, are told their ranges: played (``decide.expect``) and corrected by what came of ranges before, as the engine's
adviser does.
``p50`` and ``p90`` are the shares of ranges whose job started by then; ``unknown`` is the share that was told nothing;
``late`` that of ranges whose job started only when nobody came any more, which nobody could know; ``wait_s`` the median
real wait from the question on; ``width`` the median of p90 - now over p50 - now, and ``over`` that of p90 - now by the
real wait. ``uncorrected`` is the same of the ranges as they were played, and ``rival`` of what is simplest: how much
longer jobs of the queue, class and shape stood in line lately that had stood there as long. ``ask_ms`` is what the
answers to one instant's questions took. ``--shrink`` leaves out all but every n-th node.
"""

import argparse
import heapq
import json
import sys
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from bench import traces
from bench.waiting import WORKLOADS
from fairway.decide import expect, order
from fairway.decide.explain import never_fits
from fairway.decide.pipeline import decide
from fairway.engine.calibration import Calibration
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
from fairway.model.plan import Start, Starts, Stop
from fairway.model.policy import Policy
from fairway.model.reasons import Range
from fairway.model.time import NEVER, Instant
from fairway.sim.traces import Trace
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.lifecycle import YIELD_EXIT, executor_of
from fairway.state.snapshot import snapshot

SMALL = ("--jobs", "300")


@dataclass(slots=True)
class Told:
    """What a job in line was told, and when; what it would have been told without correction, and by the rival."""

    at: int
    job: JobId
    expected: Range | None
    played: Range | None = None
    rival: Range | None = None


@dataclass(slots=True)
class Course:
    """One run of a trace. ``every`` and ``ask`` as in the module's docstring."""

    trace: Trace
    every: int = 40
    ask: int = 20
    upto: float = 2 / 3
    """Of all submissions and ends, those after which is asked."""
    state: ClusterState = field(default_factory=ClusterState)
    told: list[Told] = field(default_factory=list[Told])
    began: dict[JobId, list[int]] = field(default_factory=dict[JobId, list[int]])
    took: list[float] = field(default_factory=list[float])
    calibration: Calibration = field(default_factory=Calibration)
    looks: int = expect.LOOKS
    _agenda: list[tuple[int, int, Fact]] = field(default_factory=list[tuple[int, int, Fact]])
    _seq: int = 0

    def run(self, seed: int) -> dict[str, Any]:
        """The figures."""
        policy, rng = Policy(), np.random.default_rng(seed)
        setting = [*map(NodeSeen, self.trace.nodes), *map(QueueSet, self.trace.queues)]
        apply(self.state, Facts(Instant(1), tuple(setting)))
        self._agenda = [(job.submitted + 1, number, JobSubmitted(job)) for number, job in enumerate(self.trace.jobs)]
        heapq.heapify(self._agenda)
        seen, upto = 0, self.upto * 2 * len(self.trace.jobs)
        while self._agenda:
            now, batch = self._agenda[0][0], list[Fact]()
            while self._agenda and self._agenda[0][0] == now:
                batch.append(heapq.heappop(self._agenda)[2])
            apply(self.state, Facts(Instant(now), tuple(batch)))
            while self._decide(policy):
                pass
            self.calibration.watch(self.state)
            before = seen
            seen += len(batch)
            if before // self.every != seen // self.every and before <= upto:
                self._ask(policy, rng)
        return self.figures()

    def _decide(self, policy: Policy) -> bool:
        """Decide, start and stop everything at once; whether somebody was stopped, so that there is more to decide."""
        plan, now = decide(snapshot(self.state), policy), self.state.now
        if not plan:
            return False
        apply(self.state, Facts(now, (Ruled(plan),)))
        stopped = False
        for action in plan.actions:
            for start in action if isinstance(action, Starts) else [action] if isinstance(action, Start) else []:
                self._start(start.attempt, now)
            if isinstance(action, Stop):
                self._stop(action.attempt, now)
                stopped = True
        return stopped

    def _start(self, attempt: AttemptId, now: Instant) -> None:
        jobs, row = self.state.jobs, self.state.jobs.row_of[attempt.job]
        self._seq += 2
        executor = executor_of(self.state, row)
        apply(self.state, Facts(now, (AttemptStarted(attempt, executor, self._seq, now),)))
        self.began.setdefault(attempt.job, []).append(now)
        left = max((jobs.job(row).work or 1) - int(jobs.ran[row]), 1)
        end = Instant(now + round(left / float(jobs.pace[row])) + 1)
        fact = AttemptEnded(attempt, executor, self._seq + 1, end, Outcome(Cause.SUCCEEDED, 0))
        heapq.heappush(self._agenda, (end, len(self.trace.jobs) + self._seq, fact))

    def _stop(self, attempt: AttemptId, now: Instant) -> None:
        row = self.state.jobs.current(attempt)
        if row is None:
            return
        self._seq += 2
        outcome = Outcome(Cause.FAILED, YIELD_EXIT)
        apply(self.state, Facts(now, (AttemptEnded(attempt, executor_of(self.state, row), self._seq, now, outcome),)))

    def _ask(self, policy: Policy, rng: np.random.Generator) -> None:
        snap = snapshot(self.state)
        line = order.in_order(snap, policy, np.flatnonzero(snap.jobs.in_line[: snap.jobs.height]))
        shapes = [snap.groups.group(int(snap.jobs.group[row])).shape for row in line.tolist()]
        line = line[[never_fits(snap, shape) is None for shape in shapes]] if len(line) else line
        asked = line[np.unique(np.linspace(0, len(line) - 1, self.ask).astype(np.int64))] if len(line) else line
        began = perf_counter()
        found = expect.starts(snap, policy, asked.tolist(), rng, self.looks)
        self.took.append(perf_counter() - began)
        rivals = expect.experience(snap, asked.tolist())
        for row, played in found.items():
            expected = None if played is None else self.calibration.correct(self.state, played)
            self.told.append(Told(snap.now, snap.jobs.id_of(row), expected, played, rivals[row]))

    def figures(self) -> dict[str, Any]:
        """How often the ranges held."""
        last = self.trace.jobs[-1].submitted if self.trace.jobs else 0
        asked, came = len(self.told), [self._came(told) for told in self.told]
        figures = _figures(self.told, came, [told.expected for told in self.told])
        late = sum(last < at for at in came) / asked if asked else None
        ask_ms = round(1000 * median(self.took), 1) if self.took else None
        plain = _figures(self.told, came, [told.played for told in self.told])
        rival = _figures(self.told, came, [told.rival for told in self.told])
        late = None if late is None else round(late, 3)
        return {"asked": asked, **figures, "late": late, "ask_ms": ask_ms, "uncorrected": plain, "rival": rival}

    def _came(self, told: Told) -> int:
        """When a job started after it was told."""
        began = self.began.get(told.job, [])
        at = bisect_left(began, told.at)
        return began[at] if at < len(began) else NEVER


def _figures(told: Sequence[Told], came: Sequence[int], ranges: Sequence[Range | None]) -> dict[str, Any]:
    known = [(each.at, at, said) for each, at, said in zip(told, came, ranges, strict=True) if said is not None]
    if not known:
        return dict.fromkeys(("unknown", "p50", "p90", "wait_s", "width", "over"))
    return {
        "unknown": round(1 - len(known) / len(told), 3),
        "p50": round(sum(at <= said.p50 for _, at, said in known) / len(known), 3),
        "p90": round(sum(at <= said.p90 for _, at, said in known) / len(known), 3),
        "wait_s": round(median(at - asked for asked, at, _ in known) / 1000, 1),
        "width": round(median((said.p90 - asked) / max(said.p50 - asked, 1) for asked, _, said in known), 2),
        "over": round(median((said.p90 - asked) / max(at - asked, 1) for asked, at, said in known), 2),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.starts", description=(__doc__ or "").splitlines()[0])
    traces.ask(parser, jobs=2_000)
    parser.add_argument("--workload", choices=sorted(WORKLOADS), default="steady", help="what is generated")
    parser.add_argument("--shrink", type=int, default=1, help="keep every n-th node only")
    parser.add_argument("--every", type=int, default=40)
    parser.add_argument("--ask", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    options = parser.parse_args(arguments)
    try:
        generated = WORKLOADS[options.workload](options.seed, options.jobs or options.generated)
        trace = traces.load(options, nodes=4) if options.trace else generated
    except FairwayError as error:
        print(f"bench.starts: {error}", file=sys.stderr)
        return error.exit_code
    trace = replace(trace, nodes=trace.nodes[:: options.shrink])
    figures = Course(trace, options.every, options.ask).run(options.seed)
    print(json.dumps(figures) if options.json else "\n".join(f"{key:12} {value}" for key, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
