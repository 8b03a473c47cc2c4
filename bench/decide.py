"""How fast decisions are made on a large cluster: ``python -m bench.decide --gpus 100000 --pending 100000 --json``.

A cluster of 8-GPU nodes of four types, all empty, and a line of jobs over many queues: half of them one GPU, the others
2 to 8, fractions, gangs of up to 32 GPUs and CPU-only work, in five priority classes. The *first pass* decides
everything that fits. Then come cycles: in each, one per cent of what runs ends and as many jobs are submitted, and one
decision is made. A cycle's time is from facts to plan, believing them included (``cycle_ms``); ``decide_ms`` is the
decision alone. Believing the plan is measured beside it (``apply_ms``).
"""

import argparse
import json
import resource
import time
from collections.abc import Sequence

import numpy as np

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
from fairway.model.node import Node
from fairway.model.phases import Cause
from fairway.model.plan import Plan, Start
from fairway.model.policy import Policy
from fairway.model.queue import Queue
from fairway.model.resources import Accelerator, Request
from fairway.model.time import Instant
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.snapshot import snapshot

TYPES = (("H100", 81_920), ("A100", 81_920), ("A100", 40_960), ("V100", 16_384))
CLASSES = (PriorityClass.HIGH, PriorityClass.MEDIUM, PriorityClass.MEDIUM, PriorityClass.LOW, PriorityClass.PREEMPTIBLE)
EXECUTOR = ExecutorId("bench")


class Load:
    """Jobs from a seed: the same for every run with the same arguments."""

    def __init__(self, queues: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
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
        return Job(JobId(f"j-{self.made}"), "j", queue, (Role("main", count, request),), Priority(cls))


def cluster(gpus: int, load: Load) -> ClusterState:
    """An empty cluster of ``gpus`` devices, and the queues."""
    state = ClusterState()
    facts: list[Fact] = [QueueSet(Queue(queue)) for queue in load.queues]
    for index in range(gpus // 8):
        kind, memory = TYPES[index % len(TYPES)]
        facts.append(NodeSeen(Node(NodeId(f"n{index}"), EXECUTOR, 128_000, 1_048_576, 0, 0, 8, kind, memory)))
    apply(state, Facts(Instant(1), tuple(facts)))
    return state


def run(gpus: int, pending: int, queues: int, cycles: int, churn: float, seed: int) -> dict[str, object]:
    """One measurement; figures by name."""
    load, policy = Load(queues, seed), Policy()
    state = cluster(gpus, load)
    apply(state, Facts(Instant(2), tuple(JobSubmitted(load.job()) for _ in range(pending))))
    warm()
    began = time.perf_counter()
    plan = decide(snapshot(state), policy)
    first = time.perf_counter() - began
    singles, gangs = _counts(state, plan)
    running: list[AttemptId] = []
    rng = np.random.default_rng(seed)
    _believe(state, plan, 3, running)
    whole, alone, after = list[float](), list[float](), list[float]()
    for cycle in range(cycles):
        now = Instant(1000 * (cycle + 1))
        ended = [running[i] for i in sorted(rng.choice(len(running), max(int(churn * len(running)), 1), replace=False))]
        gone = set(ended)
        running = [attempt for attempt in running if attempt not in gone]
        facts: list[Fact] = [AttemptEnded(a, EXECUTOR, 1, now, Outcome(Cause.SUCCEEDED, 0)) for a in ended]
        facts += [JobSubmitted(load.job()) for _ in ended]
        began = time.perf_counter()
        apply(state, Facts(now, tuple(facts)))
        believed = time.perf_counter()
        plan = decide(snapshot(state), policy)
        decided = time.perf_counter()
        _believe(state, plan, now, running)
        whole.append(decided - began)
        alone.append(decided - believed)
        after.append(time.perf_counter() - decided)
    return {
        "gpus": gpus, "pending": pending, "queues": queues, "cycles": cycles, "changes_per_cycle": len(ended),
        "first_pass_ms": round(first * 1e3, 2),
        "first_pass_placed": singles + gangs,
        "cycle_ms": _spread(whole), "decide_ms": _spread(alone), "apply_ms": _spread(after),
        "placements_per_s": round((singles + gangs) / first),
        "gangs_per_s": round(gangs / first),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def _believe(state: ClusterState, plan: Plan, now: int, running: list[AttemptId]) -> None:
    """Apply a plan, and confirm every start; stops are confirmed as ended."""
    apply(state, Facts(Instant(now), (Ruled(plan),)))
    told: list[Fact] = []
    for action in plan.each():
        if isinstance(action, Start):
            told.append(AttemptStarted(action.attempt, EXECUTOR, 1, Instant(now)))
            running.append(action.attempt)
    state.news.clear()
    apply(state, Facts(Instant(now), tuple(told)))
    state.news.clear()


def _counts(state: ClusterState, plan: Plan) -> tuple[int, int]:
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
    parser.add_argument("--churn", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sweep", action="store_true", help="from 1,000 to 1,000,000 GPUs, the same change per cycle")
    options = parser.parse_args(arguments)
    figures = run(options.gpus, options.pending, options.queues, options.cycles, options.churn, options.seed)
    print(json.dumps(figures, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
