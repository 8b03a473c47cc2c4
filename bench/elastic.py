"""Pollux's simulator experiment (Qiao et al., OSDI'21, section 5.3): elastic jobs on 16 nodes of 4 GPUs.

Jobs come over eight hours; every 60 seconds a policy decides who has which GPUs; a job whose GPUs change stands still
for 30 seconds::

    python -m bench.elastic --data DIR --json
    python -m bench.elastic --data DIR --profiles DIR/profiles --loads 1.0

DIR holds ``workloads`` (load 1.0) and ``workloads-0.5`` and so on, folders of tables; and ``profiles``, the measured
step times and gradient statistics of every application, from which the world here replays steps and progress. What a
policy knows differs, as in the paper: ``tiresias`` takes GPUs and batch size from the user; ``optimus`` takes the batch
size, and knows true step times and how many steps are left; ``fairway`` knows what a job has measured itself until now,
at most doubles the GPUs that a job has tried, and does not know how much is left.

The loop around all of them is ``bench.pollux_world``, not ``fairway.sim``; the decisions of ``fairway`` are
``fairway.decide.goodput``. Published figures of the same workloads stand beside those measured where DIR has them
(``published/POLICY-LOAD.json``): how near ``tiresias`` and ``optimus`` come says how far the simulators differ.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Final

import numpy as np

from bench.peers.adaptive import Tiresias, optimus
from bench.pollux_apps import FIXED, App, read, read_apps
from bench.pollux_world import GPUS, INTERVAL_S, NODES, RESTART_S, Job, Policy, simulate
from fairway.decide import goodput
from fairway.decide.goodput import Asking
from fairway.model.errors import FairwayError, InvalidField, NotFound
from fairway.state.columns import Floats, Ints

SIZES: Final = np.array([1, 2, 3, 4, *range(8, NODES * GPUS + 1, 4)], np.int64)


class Fairway:
    """The decisions of ``fairway.decide.goodput``, with every job's curve kept until the job learns something."""

    def __init__(self) -> None:
        self.curves: dict[str, tuple[tuple[int, int, int], Floats]] = {}

    def __call__(self, jobs: Sequence[Job], now: float, seats: Ints) -> Ints:
        """Seats (J, N) from now on."""
        age = np.array([max(now - job.submitted, INTERVAL_S) for job in jobs])
        asking = Asking(
            sizes=SIZES,
            speed=np.array([self._curve(job) for job in jobs]),
            weight=goodput.favours(np.array([job.attained for job in jobs])),
            held=seats.sum(axis=1),
            lost=goodput.restart_cost(age, np.array([job.restarts for job in jobs]), RESTART_S),
            gpus=seats.shape[1] * GPUS,
        )
        return goodput.seat(goodput.divide(asking), seats, np.full(seats.shape[1], GPUS, np.int64))

    def _curve(self, job: Job) -> Floats:
        state = (job.epoch, len(job.steps), job.most)
        if job.name not in self.curves or self.curves[job.name][0] != state:
            self.curves[job.name] = state, self._tuned(job)
        return self.curves[job.name][1]

    @staticmethod
    def _tuned(job: Job) -> Floats:
        if not job.adapts or job.pace is None:
            return np.equal(SIZES, 1).astype(np.float64)
        speed = goodput.tune(job.pace, job.noise, job.app.limits, -(-SIZES // GPUS), SIZES).goodput
        return np.where(max(1, 2 * job.most) >= SIZES, speed, 0.0)


POLICIES: Final[dict[str, tuple[bool, Callable[[], Policy]]]] = {
    "tiresias": (False, Tiresias),
    "optimus": (False, lambda: optimus),
    "fairway": (True, Fairway),
}
"""Whether jobs adapt their batch size, and how to make a policy without a past."""


def read_workload(path: Path, apps: dict[str, App], adapts: bool) -> list[Job]:
    """The jobs of a workload. Raises NotFound and InvalidField."""
    jobs: list[Job] = []
    for number, row in enumerate(read(path), 2):
        try:
            app = apps[row["application"]]
            batch = FIXED.get(app.name, int(row["batch_size"]))
            adaptive = adapts and app.name not in FIXED
            jobs.append(Job(row["name"], app, float(row["time"]), int(row["num_replicas"]), batch, adaptive))
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidField(f"{path.name}:{number}", f"is not a job of a known application: {error}") from None
    if not jobs or max(job.gpus for job in jobs) > NODES * GPUS:
        raise InvalidField(path.name, f"has no jobs, or one that asks for more than {NODES * GPUS} GPUs")
    return jobs


def figures(done: Sequence[Job]) -> dict[str, float]:
    """What one workload came to."""
    took = np.array([job.ended - job.submitted for job in done])
    return {
        "mean_jct_h": float(took.mean()) / 3600,
        "p99_jct_h": float(np.quantile(took, 0.99)) / 3600,
        "makespan_h": max(job.ended for job in done) / 3600,
        "restarts": sum(job.restarts for job in done) / len(done),
    }


def measure(folder: Path, apps: dict[str, App], names: Sequence[str], published: Path) -> dict[str, dict[str, float]]:
    """The mean of all workloads of one load, by policy, with what was published of the same workloads."""
    load = (folder.name.partition("-")[2] or "1.0").ljust(3, "0")
    paths = sorted(folder.glob("workload-*.csv"))
    if not paths:
        raise NotFound(f"there is no workload-*.csv in {folder}", "data")
    report: dict[str, dict[str, float]] = {}
    for name in names:
        adapts, make = POLICIES[name]
        began = perf_counter()
        runs = [figures(simulate(read_workload(path, apps, adapts), make())) for path in paths]
        means = {key: round(fmean(run[key] for run in runs), 4) for key in runs[0]}
        report[name] = means | {"wall_s": round(perf_counter() - began, 2)}
    for name in (*names, "pollux"):
        known = published / f"{name}-{load}.json"
        if known.is_file():
            means = json.loads(known.read_text("utf-8"))["avgs"]
            mean = fmean(means[path.stem] for path in paths if path.stem in means) / 3600
            report.setdefault(name, {})["published_mean_jct_h"] = round(mean, 4)
    return report


def table(loads: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures as text."""
    columns = ("mean_jct_h", "published_mean_jct_h", "p99_jct_h", "makespan_h", "restarts", "wall_s")
    lines = ["load".ljust(6) + "policy".ljust(10) + "".join(column.rjust(22) for column in columns)]
    for load, rows in loads.items():
        for policy, row in rows.items():
            cells = (f"{row[column]:.3f}".rjust(22) if column in row else "-".rjust(22) for column in columns)
            lines.append(load.ljust(6) + policy.ljust(10) + "".join(cells))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.elastic", description="Pollux's simulator experiment.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the workloads")
    parser.add_argument("--profiles", type=Path, help="folder with the applications (DIR/profiles)")
    parser.add_argument("--loads", default="", help="some of 0.5,1.0,1.5,2.0; all that are there by default")
    parser.add_argument("--policies", default=",".join(POLICIES), help=f"some of {','.join(POLICIES)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    names = options.policies.split(",")
    if unknown := set(names) - set(POLICIES):
        parser.error(f"no policy {sorted(unknown)[0]!r}: choose from {', '.join(POLICIES)}")
    try:
        apps = read_apps(options.profiles or options.data / "profiles")
        folders = {(path.name.partition("-")[2] or "1.0"): path for path in sorted(options.data.glob("workloads*"))}
        wanted = options.loads.split(",") if options.loads else sorted(folders)
        if missing := [load for load in wanted if load not in folders] or not wanted:
            raise NotFound(f"there are no workloads of load {missing} in {options.data}", "data")
        loads = {load: measure(folders[load], apps, names, options.data / "published") for load in wanted}
    except FairwayError as error:
        print(f"bench.elastic: {error}", file=sys.stderr)
        return error.exit_code
    result = {
        "policies": loads.get("1.0", loads[wanted[0]]),
        "loads": {load: {"policies": loads[load]} for load in wanted},
    }
    print(json.dumps(result) if options.json else table(loads))
    return 0


if __name__ == "__main__":
    sys.exit(main())
