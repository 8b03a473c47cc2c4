"""What a swarm of short jobs of one team does to the waits of another, with and without the penalty for swarms.

::

    python -m bench.swarm --json
    python -m bench.swarm --short 10000 --seconds 2 --gpus 8 --load 0.8 --seeds 5

Two queues of equal weight share one node. ``train`` submits jobs of one GPU that run for minutes (``--mean`` of them,
exponential), at random instants over ``--hours``, so many that they ask for ``--load`` of the GPUs. An hour after the
first, ``sweep`` submits an array of ``--short`` jobs of ``--seconds``, of one GPU each; of these never more than 64
stand in line or run, but always more than there are GPUs. Every start takes ``--start`` seconds, in which it holds its
GPU, as starting containers does.

The loop is the real one (``fairway.sim``). ``alone``: there is no swarm; ``without``: the penalty is off; ``with``: the
default policy. ``wait_s`` is the mean wait of the jobs of train, ``p99_s`` its 99th percentile, ``sweep_wait_s`` the
mean wait of the swarm, ``last_h`` when the last job of all has ended; all are means over the seeds.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from fairway.model.ids import ExecutorId, JobId, NodeId, QueueId
from fairway.model.job import ArrayIndex, Job, Role
from fairway.model.node import Node
from fairway.model.policy import Fairness, Policy, Swarm
from fairway.model.queue import Queue
from fairway.model.resources import Request
from fairway.model.time import HOUR, MINUTE, SECOND, Duration, Instant
from fairway.sim.report import Report
from fairway.sim.simulate import simulate
from fairway.sim.traces.trace import EXECUTOR, Trace
from fairway.sim.world import Settings

SMALL = ("--short", "2000", "--hours", "3", "--seeds", "1")
AT_A_TIME = 64
TRAIN, SWEEP = QueueId("train"), QueueId("sweep")


@dataclass(frozen=True, slots=True)
class Storm:
    """As the module's docstring says."""

    gpus: int = 8
    load: float = 0.8
    minutes: float = 10.0
    hours: float = 6.0
    short: int = 10_000
    seconds: float = 2.0
    start: float = 1.0

    @property
    def mean(self) -> float:
        """Milliseconds that a job of train runs on average."""
        return self.minutes * MINUTE

    def trace(self, seed: int, *, swarm: bool) -> Trace:
        """The jobs of both teams, or of train alone."""
        rng, jobs, at = random.Random(seed), list[Job](), 0.0
        gap = self.mean / (self.load * self.gpus)
        while (at := at + rng.expovariate(1 / gap)) < self.hours * HOUR:
            jobs.append(_job(TRAIN, len(jobs), Instant(int(at)), max(rng.expovariate(1 / self.mean), MINUTE)))
        if swarm:
            jobs += [self._element(index) for index in range(self.short)]
        node = Node(NodeId("n1"), ExecutorId(EXECUTOR), cpu_milli=64_000, memory_mib=1 << 19, gpus=self.gpus)
        jobs.sort(key=lambda job: job.submitted)
        return Trace(f"swarm-{seed}", "made", (node,), (Queue(TRAIN), Queue(SWEEP)), tuple(jobs))

    def _element(self, index: int) -> Job:
        made = _job(SWEEP, index, Instant(HOUR), self.seconds * SECOND)
        return replace(made, array=ArrayIndex("sweep", index, self.short, AT_A_TIME))

    def run(self, seed: int, policy: Policy, *, swarm: bool = True) -> Report:
        """One simulation."""
        settings = Settings(start_delay=Duration(round(self.start * SECOND)))
        return simulate(self.trace(seed, swarm=swarm), policy=policy, seed=seed, settings=settings)


def _job(queue: QueueId, index: int, at: Instant, work: float) -> Job:
    name = f"{queue}-{index}"
    return Job(JobId(name), name, queue, (Role(request=Request(gpus=1)),), submitted=at, work=Duration(round(work)))


def figures(reports: Sequence[Report]) -> dict[str, float]:
    """What is printed of the runs of one policy."""
    rows = [{row.queue: row for row in report.queues} for report in reports]
    swept = [each[SWEEP].wait_s.mean for each in rows if SWEEP in each]
    return {
        "wait_s": round(fmean(each[TRAIN].wait_s.mean for each in rows), 1),
        "p99_s": round(fmean(each[TRAIN].wait_s.p99 for each in rows), 1),
        "sweep_wait_s": round(fmean(swept), 1) if swept else 0.0,
        "last_h": round(fmean(report.makespan_s for report in reports) / 3600, 2),
    }


def measure(storm: Storm, seeds: Sequence[int], rules: Swarm) -> dict[str, dict[str, float]]:
    """The figures of ``alone``, ``without`` and ``with``, where ``rules`` are those of the last."""
    off, on = (Policy(fairness=Fairness(swarm=each)) for each in (Swarm(within=Duration(0)), rules))
    return {
        "alone": figures([storm.run(seed, off, swarm=False) for seed in seeds]),
        "without": figures([storm.run(seed, off) for seed in seeds]),
        "with": figures([storm.run(seed, on) for seed in seeds]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.swarm", description=(__doc__ or "").splitlines()[0])
    usual = Storm()
    parser.add_argument("--gpus", type=int, default=usual.gpus)
    parser.add_argument("--load", type=float, default=usual.load)
    parser.add_argument("--mean", type=float, default=usual.minutes, help="minutes that a job of train runs")
    parser.add_argument("--hours", type=float, default=usual.hours)
    parser.add_argument("--short", type=int, default=usual.short)
    parser.add_argument("--seconds", type=float, default=usual.seconds)
    parser.add_argument("--start", type=float, default=usual.start)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    shape = options.gpus, options.load, options.mean, options.hours
    storm = Storm(*shape, options.short, options.seconds, options.start)
    found: dict[str, Any] = {"policies": measure(storm, range(options.seeds), Swarm())}
    if options.json:
        print(json.dumps(found))
        return 0
    for name, row in found["policies"].items():
        print(f"{name:8}", "  ".join(f"{key} {value:g}" for key, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
