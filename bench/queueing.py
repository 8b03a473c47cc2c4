"""Mean completion times under disciplines that take turns, on 64 GPUs: Muri's two traces of Philly's virtual clusters.

::

    python -m bench.queueing --trace trace1.csv --json
    python -m bench.queueing --trace trace1.csv --policies tiresias,fairway_unknown

Every row is the real loop (``fairway.sim``) with the real decisions; what differs is the order of the one queue. The
rows of others put their own order (``bench.peers.queues``) in its place, without hysteresis; where, and at whose
expense, is decided for all of them alike. A job keeps what it has done when it yields, and every start, the first too,
costs ``--restart`` seconds of its GPUs. No row reserves room or moves running work to make room for large jobs.

``fifo``, ``tiresias`` and ``fairway_unknown`` are told nothing of run times; ``srtf``, ``srsf``, ``themis`` and
``fairway_known`` know them. ``srsf`` is one of Fairway's own disciplines: ``fairway_known`` is it, eager too.
``worst_ftf`` is finish-time fairness: the largest ratio of a job's completion time to the one it would have if at every
instant all jobs in the system had equal shares of the GPUs, none more than it asks for, at no cost of sharing.
"""

import argparse
import heapq
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, Final

import numpy as np

from bench import traces
from bench.peers import queues
from fairway.decide.order import TABLE, Discipline
from fairway.decide.pipeline import decide
from fairway.decide.warm import warm
from fairway.engine.loop import run
from fairway.model.errors import FairwayError, InvalidField
from fairway.model.ids import JobId
from fairway.model.job import Job
from fairway.model.policy import Backfill, Defrag, Ordering, Policy
from fairway.model.time import SECOND, Duration
from fairway.sim.simulate import NO_CHECKPOINTS, Forgetful
from fairway.sim.traces import Trace
from fairway.sim.world import Settings, SimulatedWorld
from fairway.state.cluster import ClusterState
from fairway.state.columns import Floats

SMALL: Final = ("--jobs", "60", "--policies", "tiresias,fairway_unknown")
RESTART_S: Final = 30.0
EAGER: Final = {"margin": 1.01, "least_run": Duration(0)}
"""Rows of others yield at once, however small the difference."""
COMMON: Final = Policy(backfill=Backfill("none"), defrag=Defrag(moves_per_hour=0))
"""What holds for every row: no room is reserved, and nobody is moved but by the order."""
_EXACT: Final = 0.5
"""Milliseconds: sums of floats are not more exact than that over a year, and ends are told in milliseconds anyway."""


@dataclass(frozen=True)
class Row:
    """How the queue is ordered, and whether run times are told. ``order`` stands in for Fairway's own of that name."""

    ordering: Ordering
    known: bool = False
    order: Callable[[Trace], Discipline] | None = None


ROWS: Final = {
    "fifo": Row(Ordering("fifo")),
    "srtf": Row(Ordering("srsf", **EAGER), True, lambda _: Discipline(queues.srtf, queues.never)),
    "srsf": Row(Ordering("srsf", **EAGER), True),
    "tiresias": Row(Ordering("las", **EAGER), False, lambda _: queues.tiresias()),
    "themis": Row(Ordering("las", margin=1.01, least_run=Duration(queues.LEASE)), True, lambda trace: _themis(trace)),
    "fairway_unknown": Row(Ordering("las")),
    "fairway_known": Row(Ordering("srsf", **EAGER), True),
}


def _themis(trace: Trace) -> Discipline:
    submitted = np.array([job.submitted for job in trace.jobs], np.int64)
    return queues.themis(trace.gpu_milli / 1000, submitted)


class Ends:
    """A view that notes when each job ended, in milliseconds, and how often it yielded."""

    def __init__(self) -> None:
        self.at: dict[JobId, int] = {}
        self.preemptions = 0

    def fold(self, seq: int, now: int, state: ClusterState) -> None:
        """Take over what has ended."""
        for job in state.news.jobs:
            end = state.ended.get(job)
            if end is not None and job not in self.at:
                self.at[job] = end.ended
                self.preemptions += end.preemptions


def measure(trace: Trace, row: Row, restart_s: float, fair: Floats) -> dict[str, Any]:
    """The figures of one policy. ``fair`` (J,) are completion times under equal shares, in milliseconds."""
    ends, told = Ends(), trace.told("perfect" if row.known else "none")
    table = TABLE if row.order is None else {**TABLE, row.ordering.discipline: row.order(trace)}
    world = SimulatedWorld(told, settings=Settings(start_delay=Duration(round(restart_s * SECOND))))
    began = perf_counter()
    run(
        ClusterState(), world, Forgetful(), replace(COMMON, order=row.ordering), (ends,),
        decide=partial(decide, disciplines=table), checkpoint_every=NO_CHECKPOINTS,
    )  # fmt: skip
    wall = perf_counter() - began
    if len(ends.at) < len(trace.jobs):
        raise InvalidField("trace", f"{len(trace.jobs) - len(ends.at)} of its jobs never ended: do they fit the nodes?")
    took = np.array([ends.at[job.id] - job.submitted for job in trace.jobs], np.float64)
    first = min(job.submitted for job in trace.jobs)
    return {
        "mean_jct_s": round(float(took.mean()) / SECOND, 1),
        "p99_jct_s": round(float(np.percentile(took, 99)) / SECOND, 1),
        "makespan_s": round((max(ends.at.values()) - first) / SECOND, 1),
        "worst_ftf": round(float((took / fair).max()), 2),
        "mean_ftf": round(float((took / fair).mean()), 3),
        "preemptions": ends.preemptions,
        "decisions": len(world.decision_ns),
        "wall_s": round(wall, 1),
    }


def equal_shares(jobs: Sequence[Job], gpus: float) -> Floats:
    """(J,) milliseconds from submission to end if at every instant the GPUs are shared equally among the jobs there.

    Nobody has more than it asks for; what it leaves is shared by the others (max-min). A job on a part of its GPUs runs
    at that part of its speed. Jobs of a width run at one pace, so only the first of each width to end is looked at.
    """
    widths = sorted({_width(job) for job in jobs})
    ends: dict[int, list[tuple[float, int]]] = {width: [] for width in widths}
    done, now = dict.fromkeys(widths, 0.0), 0.0
    took = np.zeros(len(jobs))
    coming = iter(sorted(range(len(jobs)), key=lambda index: jobs[index].submitted))
    following = next(coming, None)
    while following is not None or any(ends.values()):
        pace = _paces({width: len(heap) for width, heap in ends.items()}, gpus)
        until = float(jobs[following].submitted) if following is not None else np.inf
        for width, heap in ends.items():
            if heap:
                until = min(until, now + (heap[0][0] - done[width]) / pace[width])
        for width in widths:
            done[width] += (until - now) * pace[width]
        now = until
        for width, heap in ends.items():
            while heap and heap[0][0] <= done[width] + _EXACT:
                _, index = heapq.heappop(heap)
                took[index] = now - jobs[index].submitted
        while following is not None and jobs[following].submitted <= now:
            width = _width(jobs[following])
            heapq.heappush(ends[width], (done[width] + (jobs[following].work or 0), following))
            following = next(coming, None)
    return np.maximum(took, 1.0)


def _paces(count: dict[int, int], gpus: float) -> dict[int, float]:
    """How fast jobs of each width run: narrow ones are satisfied first."""
    left, jobs, pace = gpus, sum(count.values()), dict.fromkeys(count, 0.0)
    for width in sorted(count):
        share = left / jobs if jobs else 0.0
        pace[width] = min(1.0, share / width)
        left -= count[width] * width * pace[width]
        jobs -= count[width]
    return pace


def _width(job: Job) -> int:
    return max(sum(role.count * role.request.gpus for role in job.roles), 1)


def load(options: argparse.Namespace) -> Trace:
    """The trace, every job of which keeps checkpoints; a generated one where none is named."""
    trace = traces.load(options, nodes=4)
    jobs = tuple(replace(job, checkpoints=True, checkpoint_every=None, estimate=None) for job in trace.jobs)
    return replace(trace, jobs=jobs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.queueing", description=(__doc__ or "").splitlines()[0])
    traces.ask(parser, jobs=200)
    parser.add_argument("--policies", default=",".join(ROWS), help="some of the rows, joined by commas")
    parser.add_argument("--restart", type=float, default=RESTART_S, help="seconds that every start costs")
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    options = parser.parse_args(arguments)
    names = options.policies.split(",")
    for name in names:
        if name not in ROWS:
            parser.error(f"there is no policy {name!r}: choose from {', '.join(ROWS)}")
    policies: dict[str, dict[str, Any]] = {}
    try:
        trace = load(options)
        warm()
        fair = equal_shares(trace.jobs, trace.gpu_milli / 1000)
        for name in names:
            policies[name] = measure(trace, ROWS[name], options.restart, fair)
            if not options.json:
                print(f"{name:16} {policies[name]}", flush=True)
    except FairwayError as error:
        print(f"bench.queueing: {error}", file=sys.stderr)
        return error.exit_code
    if options.json:
        result = {"trace": trace.name, "jobs": len(trace.jobs), "gpus": trace.gpu_milli / 1000}
        print(json.dumps({**result, "restart_s": options.restart, "policies": policies}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
