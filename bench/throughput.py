"""How many real programs a second go all the way through: submitted, placed, started, ended, recorded.

::

    python -m bench.throughput --jobs 2000 --json

Every job is ``/bin/true`` in a process of its own. On Fairway's side each is a submission by itself through the
durable inbox, as a face makes it, by several clients at a time; each is acknowledged only when it is on the disk; the
clock runs from the first submission until the last job's success is on the disk and shown. Where Slurm's daemons are
installed (and this runs as root), the same programs then run through a Slurm of one machine with as many declared CPUs,
tuned for speed: ``--slurm-jobs`` of them as one array, its fastest way in, from ``sbatch`` until the queue is empty.
Slurm is asked for neither logs nor durability; Fairway has both.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fairway.testing.polling import wait_for

CPUS = 64
"""Declared on both sides: this many programs run at once, more than either side keeps busy."""
CLIENTS = 8
SLURM_JOBS = 300
PATIENCE_S = 600.0


def fairway(jobs: int, folder: Path) -> dict[str, Any]:
    """Jobs a second through a control plane with its store in ``folder``."""
    from fairway.adapters.controlplane import ControlPlane
    from fairway.adapters.executors.local import LocalConfig, LocalExecutor
    from fairway.model.facts import Facts, JobSubmitted
    from fairway.model.ids import JobId, QueueId
    from fairway.model.job import Job, Role
    from fairway.model.resources import Request
    from fairway.model.time import Instant
    from fairway.state.frames import encode

    queue = QueueId("bench")
    roles = (Role(request=Request(cpu_milli=1_000)),)
    config = LocalConfig(cpu_milli=CPUS * 1_000)

    def body(seq: int) -> bytes:
        now = Instant(time.time_ns() // 1_000_000)
        job = Job(JobId(f"true-{seq}"), "true", queue, roles, command=("/bin/true",), submitted=now)
        return encode(Facts(now, (JobSubmitted(job),)))

    with ControlPlane.open(folder, [LocalExecutor(folder / "local", config)]).running() as plane:
        wait_for(lambda: plane.health().recovery, "the executor")
        cpu, began = time.process_time(), time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as clients:
            last = max(clients.map(lambda _: plane.inbox.put(None, body), range(jobs)))
        submitted = time.monotonic() - began
        wait_for(lambda: plane.readmodel.job(JobId(f"true-{last}")), "the last job to be taken in", PATIENCE_S)

        def empty() -> bool:
            told = plane.readmodel.queue(queue)
            return told is not None and told.pending + told.running == 0

        wait_for(empty, "all jobs to end", PATIENCE_S)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        phases = Counter(status.phase.value for status in plane.readmodel.jobs())
    expected = {"succeeded": min(jobs, 10_000)}
    if phases != expected:
        raise AssertionError(f"{phases} instead of {expected}")
    return {
        "fairway_jobs_per_s": round(jobs / took, 1),
        "submissions_per_s": round(jobs / submitted, 1),
        "control_plane_cpu_ms_per_job": round(1_000 * cpu / jobs, 3),
        "wall_s": round(took, 2),
    }


def slurm(jobs: int) -> float | None:
    """Jobs a second through a Slurm of one machine; None where it is not installed."""
    from bench.slurm import Slurm, installed

    if not jobs or not installed():
        return None
    with Slurm(CPUS) as cluster:
        return round(cluster.jobs_per_s(jobs), 1)


def bench(jobs: int, slurm_jobs: int) -> dict[str, Any]:
    """Both sides, one after the other."""
    folder = Path(tempfile.mkdtemp(prefix="fairway-throughput-"))
    try:
        ours = fairway(jobs, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    theirs = slurm(slurm_jobs)
    ratio = round(ours["fairway_jobs_per_s"] / theirs, 2) if theirs else None
    return {
        **ours,
        "slurm_jobs_per_s": theirs,
        "ratio": ratio,
        "jobs": jobs,
        "slurm_jobs": slurm_jobs if theirs else 0,
        "cpus": os.cpu_count(),
    }


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--slurm-jobs", type=int, default=SLURM_JOBS, help="0: leave Slurm out")
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    options = parser.parse_args()
    result = bench(options.jobs, options.slurm_jobs)
    print(json.dumps(result) if options.json else "\n".join(f"{key:30} {value}" for key, value in result.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
