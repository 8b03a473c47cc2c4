"""Greedy against the optimum: what one decision starts on a small, crowded cluster, and what an exact solver could.

::

    python -m bench.optimal --instances 200 --json

Each instance is an empty cluster of 2 to 6 unequal nodes (device types, sizes, CPU and memory) and a line of jobs that
together ask for 0.6 to 2 times its GPUs, none for more than half of them: whole devices, shares of one by milli-GPUs or
by memory, CPU-only work, gangs of equal tasks and of two roles, some bound to device types. The greedy side is one
``decide`` over the state's own snapshot, the very function that every world runs. The other side is HiGHS with a
mixed-integer program of the same rules (``bench.exact``; ``pip install 'fairway[bench]'``).

*Value.* A job that starts is worth the compute it takes, in milli-GPUs, with ``Policy.cores_per_gpu`` cores counted as
one GPU, times the weight of its class: two for one from class to class.

*Two optima.* ``mean_gap_percent`` and ``worst_gap_percent`` compare with the best start that passes over nobody: job
after job in the order of the line, each is let in if there is any way to start it together with those before it,
wherever all of them then lie. What is missing there is lost by deciding job after job without looking back. The
``any_order`` figures compare with the most value that could start if anybody might be passed over for others' sake,
however long they have waited: the difference between the two is the price of the order, which is a policy's to set.

A gap is 1 - greedy / optimum, or 0 where another choice than the optimum's happened to be worth more (``same`` is the
share of instances with exactly its start). Where the solver runs out of time its bound stands for the optimum, so that
no gap is told too small; ``proven`` is the share of instances where it did not.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import fmean, quantiles
from time import perf_counter
from typing import Any

from bench.exact import best_start, start_in_order
from fairway.decide.pipeline import decide
from fairway.model.errors import FairwayError, InvalidField
from fairway.model.ids import JobId, NodeId, QueueId
from fairway.model.job import Job, Priority, PriorityClass, Role
from fairway.model.node import Node
from fairway.model.plan import Start
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE, Accelerator, Request
from fairway.state.snapshot import snapshot
from fairway.testing.builders import Rehearsal, submitted

SMALL = ("--instances", "10")

KINDS = (("A", 81_920, (4, 8)), ("B", 40_960, (2, 4, 8)), ("C", 16_384, (1, 2, 4)))
"""Device types: name, memory in MiB, devices of a node."""
CORES_PER_GPU = (4, 8, 16)
MEMORY_PER_CORE = (2048, 4096, 8192)
"""MiB. Some nodes run out of CPU or memory before GPUs, as real ones do."""
WEIGHTS = {PriorityClass.HIGH: 4.0, PriorityClass.MEDIUM: 2.0, PriorityClass.LOW: 1.0}


@dataclass(frozen=True)
class Instance:
    """A small cluster, empty, and a line of jobs in the order of their submission."""

    nodes: tuple[Node, ...]
    jobs: tuple[Job, ...]


def value(job: Job, policy: Policy) -> float:
    """Milli-GPUs that a job takes, cores counted along, times the weight of its class. Shares by memory count as on the
    largest device, so that a job is worth the same wherever it runs."""
    taken = 0.0
    for role in job.roles:
        request = role.request
        milli = request.milli_on(KINDS[0][1]) * request.gpus
        taken += role.count * (milli + request.cpu_milli / policy.cores_per_gpu)
    return WEIGHTS[job.priority.cls] * taken


def make(rng: Random) -> Instance:
    """An instance: nodes first, then jobs until they ask for what the load says."""
    nodes = tuple(_node(rng, index) for index in range(rng.randint(2, 6)))
    gpus = sum(node.gpus for node in nodes)
    wanted, asked, jobs = rng.uniform(0.6, 2.0) * gpus, 0.0, list[Job]()
    while asked < wanted:
        job = _job(rng, len(jobs), nodes)
        needs = _gpus(job)
        if needs <= gpus / 2:
            asked += needs
            jobs.append(job)
    return Instance(nodes, tuple(jobs))


def _gpus(job: Job) -> float:
    return sum(role.count * role.request.gpus * role.request.milli_on(KINDS[0][1]) / WHOLE for role in job.roles)


def _node(rng: Random, index: int) -> Node:
    kind, memory, sizes = rng.choice(KINDS)
    gpus = rng.choice(sizes)
    cores = gpus * rng.choice(CORES_PER_GPU)
    return Node(
        NodeId(f"n{index}"), cpu_milli=cores * 1000, memory_mib=cores * rng.choice(MEMORY_PER_CORE),
        gpus=gpus, gpu_type=kind, gpu_memory_mib=memory,
    )  # fmt: skip


def _job(rng: Random, index: int, nodes: Sequence[Node]) -> Job:
    draw, most = rng.random(), max(node.gpus for node in nodes)
    types = tuple(Accelerator(kind) for kind in sorted(rng.sample([kind for kind, _, _ in KINDS], rng.randint(1, 2))))
    types = types if rng.random() < 0.25 else ()
    if draw < 0.1:
        roles = (Role(request=_request(rng, 0)),)
    elif draw < 0.3:
        roles = (Role(request=_request(rng, 1, types, gpu_milli=rng.choice((100, 200, 250, 400, 500, 700)))),)
    elif draw < 0.4:
        roles = (Role(request=_request(rng, 1, types, gpu_memory_mib=rng.choice((4_000, 10_000, 20_000)))),)
    elif draw < 0.55:
        roles = (Role(count=rng.choice((2, 2, 3, 4)), request=_request(rng, rng.choice((1, 2, 4)), types)),)
    elif draw < 0.6:
        workers = Role("worker", rng.choice((2, 3)), _request(rng, rng.choice((1, 2)), types))
        roles = (Role("chief", request=_request(rng, 0)), workers)
    else:
        roles = (Role(request=_request(rng, min(rng.choice((1, 1, 1, 2, 2, 3, 4, 8)), most), types)),)
    return Job(
        JobId(f"j{index}"), f"j{index}", QueueId("team"), roles,
        Priority(rng.choices(tuple(WEIGHTS), (0.2, 0.5, 0.3))[0]),
    )  # fmt: skip


def _request(rng: Random, gpus: int, types: tuple[Accelerator, ...] = (), **share: int) -> Request:
    cores = rng.choice((1, 2)) if share else max(gpus, 1) * rng.choice((1, 2, 4, 8))
    return Request(
        cpu_milli=cores * 1000,
        memory_mib=cores * rng.choice(MEMORY_PER_CORE[:2]),
        gpus=gpus,
        accelerators=types,
        **share,
    )


def greedy(instance: Instance, policy: Policy) -> frozenset[JobId]:
    """The jobs that one decision starts."""
    it = Rehearsal(policy=policy)
    it.nodes(*instance.nodes)
    it.tell(*(submitted(job) for job in instance.jobs))
    plan = decide(snapshot(it.state), policy)
    return frozenset(action.attempt.job for action in plan.each() if isinstance(action, Start))


@dataclass
class Tally:
    """What came of the instances: gaps in percent, and the seconds spent on either side."""

    gaps: list[float] = field(default_factory=list[float])
    any_order: list[float] = field(default_factory=list[float])
    same: int = 0
    proven: int = 0
    jobs: int = 0
    decide_s: float = 0.0
    solve_s: float = 0.0

    def add(self, instance: Instance, policy: Policy, seconds: float) -> None:
        """Decide and solve one instance. Raises AssertionError when the decision beats what is the optimum."""
        worth = {job.id: value(job, policy) for job in instance.jobs}
        began = perf_counter()
        mine = greedy(instance, policy)
        middle = perf_counter()
        line = sorted(instance.jobs, key=lambda job: job.priority.cls)
        ordered = start_in_order(instance.nodes, line, mine, seconds)
        best = best_start(instance.nodes, instance.jobs, [worth[job.id] for job in instance.jobs], seconds)
        self.decide_s, self.solve_s = self.decide_s + middle - began, self.solve_s + perf_counter() - middle
        have, could = (sum(worth[job] for job in some) for some in (mine, ordered))
        if have > best.bound + 1e-6 * max(best.bound, 1.0):
            raise AssertionError(f"the decision has {have:g}, more than the optimum {best.bound:g}: {instance}")
        self.gaps.append(_gap(have, could))
        self.any_order.append(_gap(have, best.bound))
        self.same, self.proven, self.jobs = (
            self.same + (mine == ordered), self.proven + best.proven, self.jobs + len(instance.jobs)
        )  # fmt: skip


def _gap(have: float, could: float) -> float:
    return max(0.0, 100 * (1 - have / could)) if could else 0.0


def measure(count: int, seed: int, seconds: float) -> dict[str, Any]:
    """The keys of ``--json``. Raises InvalidField for no instance, Unavailable without the solver."""
    if count < 1:
        raise InvalidField("instances", f"must be at least 1, not {count}")
    tally = Tally()
    for index in range(count):
        tally.add(make(Random(f"{seed}/{index}")), Policy(), seconds)
    return {
        **_summary("", tally.gaps),
        **_summary("any_order_", tally.any_order),
        "same": round(tally.same / count, 3),
        "proven": round(tally.proven / count, 3),
        "instances": count,
        "jobs": tally.jobs,
        "decide_s": round(tally.decide_s, 3),
        "solve_s": round(tally.solve_s, 3),
        "gaps_percent": [round(gap, 3) for gap in tally.gaps],
    }


def _summary(name: str, gaps: list[float]) -> dict[str, float]:
    p90 = quantiles(gaps, n=10)[-1] if len(gaps) > 1 else gaps[0]
    found = {"mean": fmean(gaps), "p90": p90, "worst": max(gaps)}
    return {f"{which}_{name}gap_percent": round(gap, 3) for which, gap in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.optimal", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0, help="what the solver may take for one instance")
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    options = parser.parse_args(arguments)
    try:
        result = measure(options.instances, options.seed, options.seconds)
    except FairwayError as error:
        print(f"bench.optimal: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result) if options.json else "\n".join(f"{key:26} {value}" for key, value in result.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
