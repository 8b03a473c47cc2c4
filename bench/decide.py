"""How fast decisions are made on a large cluster: ``python -m bench.decide --gpus 100000 --pending 100000 --json``.

A cluster of 8-GPU nodes of four types, all empty, and a line of jobs over many queues: half of them one GPU, the others
2 to 8, fractions, gangs of up to 32 GPUs and CPU-only work, in five priority classes. The *first pass* decides
everything that fits. Then come cycles: in each, one per cent of what runs ends and as many jobs are submitted, and one
decision is made. A cycle's time is from facts to plan, believing them included (``cycle_ms``); ``decide_ms`` is the
decision alone. Believing the plan is measured beside it (``apply_ms``).

``--with`` adds to that what costs more to decide: ``quota`` (every queue is guaranteed half of an equal part),
and in a tenth of the jobs ``elastic`` workers, gangs in one ``rack``, ``roles`` of two kinds or ``deadline``s.
"""

import argparse
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fairway.adapters.garbage import short_pauses
from fairway.decide.pipeline import decide
from fairway.decide.warm import warm
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
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId, QueueId
from fairway.model.job import Job, Priority, PriorityClass, Role
from fairway.model.node import Node, Topology
from fairway.model.phases import Cause
from fairway.model.plan import Plan, Start, Stop
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Accelerator, Amount, Request
from fairway.model.time import Duration, Instant
from fairway.model.where import Level, Together, Where
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.snapshot import snapshot

TYPES = (("H100", 81_920), ("A100", 81_920), ("A100", 40_960), ("V100", 16_384))
CLASSES = (PriorityClass.HIGH, PriorityClass.MEDIUM, PriorityClass.MEDIUM, PriorityClass.LOW, PriorityClass.PREEMPTIBLE)
EXECUTOR = ExecutorId("bench")
CYCLE = 60_000
"""Milliseconds of the cluster's own time from one cycle to the next: long enough for jobs to lose their protection."""
FEATURES = ("quota", "elastic", "rack", "roles", "deadline")
SWEEP_PENDING, SWEEP_CHANGE = 10_000, 100
SMALL = ("--gpus", "800", "--pending", "800", "--queues", "20", "--cycles", "5", "--json")


class Load:
    """Jobs from a seed: the same for every run with the same arguments."""

    def __init__(self, queues: int, seed: int, features: Sequence[str] = ()) -> None:
        self.rng = np.random.default_rng(seed)
        self.features = features
        self.special = [name for name in features if name != "quota"]
        self.queues = [QueueId(f"org/team-{i // 10}/project-{i}") for i in range(queues)]
        self.made = 0

    def job(self) -> Job:
        """The next job."""
        rng, self.made = self.rng, self.made + 1
        kinds = (Accelerator("H100", 1.0), Accelerator("A100", 0.5)) if rng.random() < 0.3 else ()
        draw, count, milli = rng.random(), 1, 1000
        if draw < 0.5:
            gpus = 1
        elif draw < 0.7:
            gpus = int(rng.choice((2, 4, 8)))
        elif draw < 0.8:
            gpus, milli = 1, int(rng.choice((250, 500)))
        elif draw < 0.9:
            gpus, count = 8, int(rng.choice((2, 4)))
        else:
            gpus = 0
        cores = int(rng.choice((2, 4, 8))) * 1000
        request = Request(cores * max(gpus, 1), 16_384 * max(gpus, 1), gpus, milli, accelerators=kinds if gpus else ())
        cls = CLASSES[int(rng.integers(len(CLASSES)))]
        queue = self.queues[int(rng.integers(len(self.queues)))]
        job = Job(JobId(f"j-{self.made}"), "j", queue, (Role("main", count, request),), Priority(cls))
        return self._special(job, request) if self.special and gpus and rng.random() < 0.1 else job

    def _special(self, job: Job, request: Request) -> Job:
        """The job with one of the features."""
        one = replace(request, gpus=1, gpu_milli=WHOLE)
        match self.special[int(self.rng.integers(len(self.special)))]:
            case "elastic":
                return replace(job, roles=(Role("main", 8, one, 2),), checkpoints=True)
            case "rack":
                gang = Role("main", 4, replace(one, gpus=8))
                return replace(job, roles=(gang,), where=Where(together=Together(Level.RACK)))
            case "roles":
                servers = Role("ps", 2, replace(one, gpus=0, accelerators=()))
                return replace(job, roles=(servers, Role("worker", 4, one)))
            case _:
                due = Instant(CYCLE * int(self.rng.integers(60, 600)))
                return replace(job, deadline=due, estimate=Duration(CYCLE * 30))


def cluster(gpus: int, load: Load) -> ClusterState:
    """An empty cluster of ``gpus`` devices, 16 nodes a rack, and the queues."""
    state = ClusterState()
    part = gpus * WHOLE // len(load.queues) // 2
    quota = Amount(gpu_milli=part) if "quota" in load.features else Amount()
    facts: list[Fact] = [QueueSet(Queue(queue, quota=quota)) for queue in load.queues]
    for index in range(gpus // 8):
        kind, memory = TYPES[index % len(TYPES)]
        rack = Topology(rack=f"r{index // 16}" if "rack" in load.features else "")
        node = Node(NodeId(f"n{index}"), EXECUTOR, 128_000, 1_048_576, 0, 0, 8, kind, memory, topology=rack)
        facts.append(NodeSeen(node))
    apply(state, Facts(Instant(1), tuple(facts)))
    return state


def run(
    gpus: int, pending: int, queues: int, cycles: int, change: int | None, seed: int, features: Sequence[str] = ()
) -> dict[str, object]:
    """One measurement; figures by name. ``change`` attempts end in each cycle; None for one in a hundred."""
    load, policy = Load(queues, seed, features), Policy()
    state = cluster(gpus, load)
    apply(state, Facts(Instant(2), tuple(JobSubmitted(load.job()) for _ in range(pending))))
    warm()
    began = time.perf_counter()
    plan = decide(snapshot(state), policy)
    first = time.perf_counter() - began
    singles, gangs = _counts(plan)
    running: dict[AttemptId, None] = {}
    rng = np.random.default_rng(seed)
    _believe(state, plan, 3, running)
    whole, alone, after, stopped, wanted = list[float](), list[float](), list[float](), 0, 0
    for cycle in range(cycles):
        now = Instant(CYCLE * (cycle + 1))
        live = list(running)
        wanted = max(len(live) // 100, 1) if change is None else min(change, len(live))
        ended = [live[i] for i in sorted(rng.choice(len(live), wanted, replace=False))]
        for attempt in ended:
            del running[attempt]
        facts: list[Fact] = [AttemptEnded(a, EXECUTOR, 1, now, Outcome(Cause.SUCCEEDED, 0)) for a in ended]
        facts += [JobSubmitted(load.job()) for _ in ended]
        began = time.perf_counter()
        apply(state, Facts(now, tuple(facts)))
        believed = time.perf_counter()
        plan = decide(snapshot(state), policy)
        decided = time.perf_counter()
        stopped += _believe(state, plan, now, running)
        whole.append(decided - began)
        alone.append(decided - believed)
        after.append(time.perf_counter() - decided)
    return {
        "gpus": gpus, "pending": pending, "queues": queues, "with": list(features), "cycles": cycles,
        "changes_per_cycle": wanted,
        "first_pass_ms": round(first * 1e3, 2), "first_pass_placed": singles + gangs, "preempted": stopped,
        "cycle_ms": _spread(whole), "decide_ms": _spread(alone), "apply_ms": _spread(after),
        "placements_per_s": rate(gpus, queues, Role("main", 1, Request(4_000, 16_384, 1))),
        "gangs_per_s": rate(gpus, queues, Role("main", 2, Request(32_000, 131_072, 8))),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def rate(gpus: int, queues: int, role: Role) -> int:
    """Jobs of one role placed a second, when one decision fills the empty cluster with them; the best of three."""
    load = Load(queues, 0)
    state = cluster(gpus, load)
    count = gpus // (role.count * role.request.gpus)
    jobs = [
        Job(JobId(f"j-{i}"), "j", load.queues[i % len(load.queues)], (role,), submitted=Instant(2))
        for i in range(count)
    ]
    apply(state, Facts(Instant(2), tuple(map(JobSubmitted, jobs))))
    best = 0.0
    for _ in range(3):
        snap = snapshot(state)
        began = time.perf_counter()
        plan = decide(snap, Policy())
        best = max(best, plan.size / (time.perf_counter() - began))
        assert sum(_counts(plan)) == count, "every job has room"
    return round(best)


def sweep(pending: int, queues: int, cycles: int, seed: int) -> dict[str, object]:
    """The same line and the same change per cycle on ever larger clusters; what a cycle costs, and its growth."""
    sizes = (1_000, 10_000, 100_000, 1_000_000)
    found = {str(gpus): run(gpus, pending, queues, cycles, SWEEP_CHANGE, seed)["cycle_ms"] for gpus in sizes}
    first, last = found[str(sizes[0])], found[str(sizes[-1])]
    assert isinstance(first, dict)
    assert isinstance(last, dict)
    return {"pending": pending, "changes_per_cycle": SWEEP_CHANGE, "cycle_ms": found,
            "growth": round(last["p50"] / first["p50"], 2)}  # fmt: skip


def _believe(state: ClusterState, plan: Plan, now: int, running: dict[AttemptId, None]) -> int:
    """Apply a plan, and confirm every start and stop; how many were stopped."""
    apply(state, Facts(Instant(now), (Ruled(plan),)))
    told: list[Fact] = []
    stops = 0
    for action in plan.each():
        if isinstance(action, Start):
            told.append(AttemptStarted(action.attempt, EXECUTOR, 1, Instant(now)))
            running[action.attempt] = None
        elif isinstance(action, Stop) and action.attempt in running:
            del running[action.attempt]
            told.append(AttemptEnded(action.attempt, EXECUTOR, 1, Instant(now), Outcome(Cause.PREEMPTED)))
            stops += 1
    state.news.clear()
    apply(state, Facts(Instant(now), tuple(told)))
    state.news.clear()
    return stops


def _counts(plan: Plan) -> tuple[int, int]:
    sizes = [len(action.placement) for action in plan.each() if isinstance(action, Start)]
    return sum(size == 1 for size in sizes), sum(size > 1 for size in sizes)


def _spread(seconds: list[float]) -> dict[str, float]:
    values = np.array(seconds) * 1e3
    return {"p50": round(float(np.percentile(values, 50)), 3), "p99": round(float(np.percentile(values, 99)), 3),
            "max": round(float(values.max()), 3)}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(prog="bench.decide", description=__doc__)
    parser.add_argument("--gpus", type=int, default=100_000)
    parser.add_argument("--pending", type=int, default=100_000)
    parser.add_argument("--queues", type=int, default=1_000)
    parser.add_argument("--cycles", type=int, default=300)
    parser.add_argument("--change", type=int, help="attempts that end in each cycle (default: one in a hundred)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweep", action="store_true", help="1,000 to 1,000,000 GPUs, the same line and change")
    parser.add_argument("--with", dest="features", nargs="+", choices=FEATURES, default=(), help="what else jobs have")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with short_pauses():  # as the control plane runs
        figures = _measured(options)
    print(json.dumps(figures, indent=None if options.json else 2))


def _measured(options: argparse.Namespace) -> dict[str, object]:
    if options.sweep:
        return sweep(min(options.pending, SWEEP_PENDING), options.queues, min(options.cycles, 60), options.seed)
    change, seed = options.change, options.seed
    return run(options.gpus, options.pending, options.queues, options.cycles, change, seed, options.features)


if __name__ == "__main__":
    main()
