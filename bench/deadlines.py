"""How many deadlines are met: rigid and elastic policies on one simulated cluster, in slots of 60 s.

::

    python -m bench.deadlines --trace itp/cluster01.csv --nodes 64 --gpus-per-node 8 --json
    python -m bench.deadlines --trace chronus/philly_mix1.csv --nodes 128 --policies edf,fairway

FILE is a trace of ElasticFlow's, with the folder ``throughput_a100`` of measured speeds beside it, or of Chronus's (no
speeds were measured there: n GPUs run at n to the power 0.8). ``met`` is the share of all jobs with a deadline that
ended by it. What the simulator assumes is told in ``bench.slots``, and is the same for every policy.

``fairway`` is ``fairway.decide.elastic.allocate``, the function that the pipeline's stage calls, asked once a slot;
that stage's placing on nodes, queues and classes are not in the loop. ``fairway_rigid`` is the same function where
every job has the one size it asked for. ``edf``, ``tiresias`` and ``themis`` are rigid; ``edf_scaled`` runs each job
on the number of GPUs on which it is fastest, which is what ElasticFlow's paper calls EDF; it runs where
``--policies`` names it. ``reachable`` is what no policy could pass: jobs that would end in time if each had the whole
cluster to itself.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TypedDict

import numpy as np

from bench.peers import rigid_slots
from bench.peers.elasticflow import ElasticFlow
from bench.slots import SLOT_S, Entry, Jobs, Policy, View, jobs_of, read_jobs, run
from fairway.decide import elastic
from fairway.model.errors import FairwayError
from fairway.state.columns import Ints

RESTART_S = 20.0
SETTLE_S = 300.0
"""How long Fairway leaves a job alone that it has resized."""
SMALL = ("--trace", "generated", "--nodes", "4")


class Report(TypedDict):
    """Keys of ``--json``."""

    jobs: int
    deadlines: int
    gpus: int
    restart_s: float
    reachable: dict[str, float]
    policies: dict[str, dict[str, float]]


def fairway(view: View) -> Ints:
    """Fairway's sizes."""
    return elastic.allocate(view.workers(SETTLE_S), view.capacity, view.slot, grain=view.slot).given


POLICIES: dict[str, tuple[bool, Callable[[], Policy]]] = {
    "edf": (True, lambda: rigid_slots.edf),
    "tiresias": (True, lambda: rigid_slots.tiresias),
    "themis": (True, lambda: rigid_slots.themis),
    "fairway_rigid": (True, lambda: fairway),
    "edf_scaled": (False, lambda: rigid_slots.edf_scaled),
    "elasticflow": (False, ElasticFlow),
    "fairway": (False, lambda: fairway),
}
"""Name: whether jobs have only the size they asked for, and how to make the policy."""
MEASURED = tuple(name for name in POLICIES if name != "edf_scaled")


def reachable(jobs: Jobs, capacity: int) -> float:
    """The share of jobs with a deadline that would meet it on an empty cluster of so many GPUs."""
    possible = (jobs.sizes <= capacity) & (np.arange(jobs.sizes.shape[1]) < jobs.steps[:, None])
    fastest = np.where(possible, jobs.speed, 0.0).max(axis=1)
    alone = np.where(fastest > 0, jobs.work / np.maximum(fastest, 1e-300), np.inf)
    ends = np.ceil(jobs.submitted / SLOT_S - 1e-9) * SLOT_S + alone
    deadlined = np.isfinite(jobs.deadline)
    return float(np.mean(ends[deadlined] <= jobs.deadline[deadlined] + 1e-6))


def generated(seed: int = 0, jobs: int = 120) -> Jobs:
    """A small workload of the same kind: bursts, powers of two, deadlines at 0.5 to 1.5 of the time asked for."""
    rng = np.random.default_rng(seed)
    submitted = np.sort(rng.choice(np.arange(0, 8 * 3600, 1800), jobs) + rng.integers(0, 300, jobs))
    asked = 2 ** rng.choice(5, jobs, p=[0.6, 0.15, 0.1, 0.1, 0.05])
    duration = np.exp(rng.normal(7.5, 1.0, jobs))
    entries: list[Entry] = []
    for at in range(jobs):
        speeds = {2**k: (2.0**k) ** float(rng.uniform(0.6, 0.95)) for k in range(6)}
        speeds = dict(zip(speeds, np.maximum.accumulate(list(speeds.values())).tolist(), strict=True))
        size = int(asked[at])
        due = float(submitted[at] + duration[at] * rng.uniform(0.5, 1.5))
        entries.append(Entry(float(submitted[at]), due, float(duration[at] * speeds[size]), size, speeds))
    return jobs_of(entries)


def measure(jobs: Jobs, capacity: int, name: str, restart: float) -> dict[str, float]:
    """One policy: share of deadlines met, restarts, milliseconds per decision (the simulator's own included)."""
    rigid, make = POLICIES[name]
    some = jobs.rigid() if rigid else jobs
    began = perf_counter()
    outcome = run(some, capacity, make(), restart=restart)
    spent = perf_counter() - began
    met = outcome.met(some)
    return {
        "met": round(met, 4),
        "restarts": outcome.restarts,
        "ms_per_decision": round(spent / max(outcome.decisions, 1) * 1e3, 3),
    }


def report(jobs: Jobs, capacity: int, names: Sequence[str], restart: float) -> Report:
    """All figures."""
    warm = generated(jobs=20)
    for name in names:
        measure(warm, 32, name, restart)
    return {
        "jobs": len(jobs.work),
        "deadlines": int(np.isfinite(jobs.deadline).sum()),
        "gpus": capacity,
        "restart_s": restart,
        "reachable": {
            "rigid": round(reachable(jobs.rigid(), capacity), 4),
            "elastic": round(reachable(jobs, capacity), 4),
        },
        "policies": {name: measure(jobs, capacity, name, restart) for name in names},
    }


def table(result: Report) -> str:
    """The figures as text."""
    lines = [f"{result['deadlines']} deadlines on {result['gpus']} GPUs; in reach {result['reachable']}"]
    for name, figures in result["policies"].items():
        lines.append(f"{name:14} met {figures['met']:.4f}  restarts {figures['restarts']:7}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.deadlines", description="Share of deadlines met.")
    parser.add_argument("--trace", type=Path, required=True, help="a trace, or the word generated")
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--restart-s", type=float, default=RESTART_S, help="what starting a job again costs it")
    parser.add_argument("--policies", default=",".join(MEASURED), help=f"some of {','.join(POLICIES)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    names = options.policies.split(",")
    if unknown := set(names) - set(POLICIES):
        parser.error(f"no policy {sorted(unknown)[0]!r}: choose from {', '.join(POLICIES)}")
    if options.nodes < 1 or options.gpus_per_node < 1 or options.restart_s < 0:
        parser.error("a cluster has at least 1 node of at least 1 GPU, and a restart takes 0 s or more")
    try:
        jobs = generated() if str(options.trace) == "generated" else read_jobs(options.trace)
        result = report(jobs, options.nodes * options.gpus_per_node, names, options.restart_s)
    except FairwayError as error:
        print(f"bench.deadlines: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result) if options.json else table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
