"""Gavel's two experiments: jobs whose measured throughput differs by accelerator type, in rounds of six minutes.

- a trace in which all jobs are there from the start (``minimize_makespan.trace``: 100 jobs, on 8 V100, 16 P100 and 24
  K80): when does the last one end;
- a trace of jobs as they came (``msr_seed0_103959.trace``: one virtual cluster's, on the same devices): mean completion
  time. Of several traces of a kind in the folder, the mean::

    python -m bench.hetero --data DIR --json
    python -m bench.hetero --data DIR --throughputs physical_cluster --restart 0

Fairway's row is ``fairway.decide.hetero`` by the policy ``makespan`` in the first experiment and ``max_min`` in the
second, where it does not know how long jobs run. ``fairway_events`` is the same, but decides whenever a job ends or
comes, as the live loop does, and not only every six minutes. ``gavel`` and ``las_het`` are the paper's makespan and
max-min policies (both max-min in the second experiment), ``las`` takes one type for as good as another.

The loop around all of them is the one in this file, not ``fairway.sim``: jobs are columns, and a start on another type,
or after a wait, costs ``--restart`` seconds of the gang's time. A kind of job that was not measured with that many GPUs
does its speed on one times their number. No schedule of whole jobs beats ``bound_h``, however often it moves them.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Final

import numpy as np

from bench.peers import gavel
from fairway.decide import hetero
from fairway.decide.hetero import WAITS, Fleet
from fairway.decide.typemarket import share, usable
from fairway.model.errors import FairwayError, InvalidField, NotFound
from fairway.state.columns import Bools, Floats, Ints

TYPES: Final = ("v100", "p100", "k80")
ROUND_S: Final = 360.0
RESTART_S: Final = 20.0
STATIC: Final = "minimize_makespan.trace"
PUBLISHED: Final = {"gavel": 17.98, "las_het": 19.03, "ftf_het": 19.56, "gandiva": 21.11}

Pick = Callable[[Ints, Fleet, Floats, Floats], Ints]
"""(ids (J,), fleet, device-seconds attained (J,), work left (J,)) to types (J,)."""


@dataclass(frozen=True)
class Work:
    """Jobs as columns: ``speed`` (J, T) steps a second of the gang, ``steps``, ``gang`` and ``arrival`` (J,)."""

    speed: Floats
    steps: Floats
    gang: Ints
    arrival: Floats


@dataclass
class Run:
    """A simulation in progress, in seconds. ``current`` holds types; ``done`` (J,) is not a number until a job ends."""

    work: Work
    count: Ints
    restart: float
    left: Floats = field(init=False)
    attained: Floats = field(init=False)
    done: Floats = field(init=False)
    current: Ints = field(init=False)
    moves: int = 0
    decisions: int = 0

    def __post_init__(self) -> None:
        jobs = len(self.work.steps)
        self.left, self.attained = self.work.steps.copy(), np.zeros(jobs)
        self.done, self.current = np.full(jobs, np.nan), np.full(jobs, WAITS, np.int64)
        self.best = usable(self.work.speed, self.work.gang, self.count).max(axis=1)
        self.pay = np.zeros(jobs)
        if not self.best.all():
            raise InvalidField("data", f"job {int(self.best.argmin())} of the trace fits no type of this fleet")

    def fleet(self, ids: Ints) -> Fleet:
        """What a policy is shown of some jobs."""
        part = min(1.0, self.restart / ROUND_S)
        return Fleet(self.work.speed[ids], self.work.gang[ids], self.count, self.current[ids], part)

    def decide(self, ids: Ints, pick: Pick) -> None:
        """Ask for types, check them, and charge the restarts."""
        types = pick(ids, self.fleet(ids), self.attained[ids], self.left[ids])
        used = np.bincount(types[types != WAITS], self.work.gang[ids][types != WAITS], len(self.count))
        if (used > self.count).any():
            raise AssertionError(f"a policy gave out {used} of {self.count} devices")
        moved = (types != self.current[ids]) & (types != WAITS)
        self.pay[ids] = np.where(moved, self.restart, np.where(types == WAITS, 0.0, self.pay[ids]))
        self.current[ids] = types
        self.moves += int(moved.sum())
        self.decisions += 1

    def ends(self, ids: Ints) -> Floats:
        """(J,) seconds until each job ends if nothing changes."""
        speed = np.where(self.current[ids] == WAITS, 0.0, self.work.speed[ids, self.current[ids]])
        with np.errstate(divide="ignore"):
            return np.where(speed > 0, self.left[ids] / speed, np.inf) + self.pay[ids]

    def advance(self, ids: Ints, now: float, seconds: float) -> Bools:
        """Let jobs run, and say which of them ended: those free their devices at once or with the round."""
        need = self.ends(ids)
        speed = np.where(self.current[ids] == WAITS, 0.0, self.work.speed[ids, self.current[ids]])
        ran = np.maximum(0.0, np.minimum(seconds, need) - self.pay[ids])
        self.pay[ids] = np.maximum(0.0, self.pay[ids] - np.where(self.current[ids] == WAITS, 0.0, seconds))
        self.left[ids] = np.maximum(0.0, self.left[ids] - speed * ran)
        self.attained[ids] += speed * ran / self.best[ids] * self.work.gang[ids]
        ended = need <= seconds * (1 + 1e-12)
        self.done[ids[ended]] = now + need[ended]
        self.current[ids[ended]] = WAITS
        return ended


def simulate(work: Work, count: Ints, pick: Pick, restart: float = RESTART_S, events: bool = False) -> Run:
    """Run all jobs to their end. With ``events`` decisions are made when a job comes or ends as well as every round."""
    run = Run(work, count, restart)
    coming = np.argsort(work.arrival, kind="stable")
    ids, now, after = np.zeros(0, np.int64), 0.0, 0
    while after < len(coming) or len(ids):
        arrived = after + int(np.searchsorted(work.arrival[coming[after:]], now, side="right"))
        ids, after = np.append(ids, coming[after:arrived]), arrived
        following = float(work.arrival[coming[after]]) if after < len(coming) else np.inf
        if not len(ids):
            now = following if events else float(np.ceil(following / ROUND_S) * ROUND_S)
            continue
        run.decide(ids, pick)
        span = ROUND_S
        if events:
            span = max(1e-3, min(span, following - now, float(run.ends(ids).min())))
        ids = ids[~run.advance(ids, now, span)]
        now += span
    return run


def fairway(policy: str) -> Callable[[int], Pick]:
    """A policy of ``fairway.decide.hetero``. It is not asked again while nothing that it looks at has changed."""

    def make(types: int) -> Pick:
        last: tuple[bytes, ...] = ()

        def pick(ids: Ints, fleet: Fleet, attained: Floats, left: Floats) -> Ints:
            nonlocal last
            asked = (ids.tobytes(), hetero.levels(attained).tobytes())
            if policy == "max_min" and last == (*asked, fleet.current.tobytes()):
                return fleet.current.copy()
            types = hetero.POLICIES[policy](fleet, attained, left)
            last = (*asked, types.tobytes())
            return types

        return pick

    return make


def peer(goal: gavel.Goal) -> Callable[[int], Pick]:
    """A policy of Gavel, with its mechanism."""

    def make(types: int) -> Pick:
        mechanism = gavel.Mechanism(goal, types)
        return lambda ids, fleet, attained, left: mechanism.pick(ids, fleet, left)

    return make


@dataclass(frozen=True)
class Row:
    """One line of the report: how each experiment is decided."""

    static: Callable[[int], Pick]
    continuous: Callable[[int], Pick]
    events: bool = False


ROWS: Final = {
    "gavel": Row(peer(gavel.makespan), peer(gavel.max_min)),
    "las_het": Row(peer(gavel.max_min), peer(gavel.max_min)),
    "las": Row(peer(gavel.blind), peer(gavel.blind)),
    "fairway": Row(fairway("makespan"), fairway("max_min")),
    "fairway_events": Row(fairway("makespan"), fairway("max_min"), events=True),
}


def measure(
    row: Row, static: Sequence[Work], continuous: Sequence[Work], count: Ints, restart: float
) -> dict[str, float]:
    """The figures of one row: means over the traces of either kind, none of a kind that there is none of."""
    began = perf_counter()
    first = [simulate(work, count, row.static(len(count)), restart, row.events) for work in static]
    spent, decided = perf_counter() - began, sum(run.decisions for run in first)
    second = [simulate(work, count, row.continuous(len(count)), restart, row.events) for work in continuous]
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)

    for run in first:
        note("makespan_h", float(run.done.max()) / 3600)
        note("makespan_mean_jct_h", float(run.done.mean()) / 3600)
        note("makespan_moves", run.moves)
        note("decision_ms", spent / max(1, decided) * 1e3)
    for run in second:
        took = run.done - run.work.arrival
        note("mean_jct_h", float(took.mean()) / 3600)
        note("p99_jct_h", float(np.quantile(took, 0.99)) / 3600)
        note("mean_slowdown", float((took * run.best / run.work.steps).mean()))
        note("moves", run.moves)
    return {name: round(fmean(values), 3) for name, values in figures.items()}


def read_speeds(path: Path) -> dict[str, dict[tuple[str, int], float]]:
    """Steps a second by type, kind of job and GPUs. Raises NotFound and InvalidField."""
    try:
        table = json.loads(path.read_text("utf-8"))
        speeds: dict[str, dict[tuple[str, int], float]] = {kind: {} for kind in TYPES}
        for kind in TYPES:
            for key, alone in table[kind].items():
                name, _, gpus = key.rpartition(",")
                speeds[kind][name.strip("(' "), int(gpus.strip(") "))] = float(alone["null"])
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", "data") from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InvalidField("data", f"{path.name} is not a table of throughputs: {error}") from None
    return speeds


def read_work(path: Path, speeds: dict[str, dict[tuple[str, int], float]]) -> Work:
    """A trace of Gavel's, with 10 columns (the newer form) or 7. Raises NotFound and InvalidField."""
    if not path.is_file():
        raise NotFound(f"there is no file {path}", "data")
    rows: list[tuple[str, int, int, float]] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        cells = line.split("\t")
        try:
            steps, gpus, arrival = (5, 6, 9) if len(cells) == 10 else (4, 6, 5)
            rows.append((cells[0], int(cells[steps]), int(cells[gpus]), float(cells[arrival])))
        except (ValueError, IndexError):
            raise InvalidField(f"{path.name}:{number}", "is not a job: steps, GPUs and arrival are missing") from None
    unknown = sorted({kind for kind, _, _, _ in rows if (kind, 1) not in speeds[TYPES[0]]})
    if unknown or not rows:
        raise InvalidField(path.name, f"has no jobs, or kinds without a throughput: {', '.join(unknown)}")
    speed = [[_speed(speeds[kind], job, gpus) for kind in TYPES] for job, _, gpus, _ in rows]
    steps, gang, arrival = ([row[column] for row in rows] for column in (1, 2, 3))
    return Work(np.array(speed), np.array(steps, np.float64), np.array(gang, np.int64), np.array(arrival, np.float64))


def _speed(speeds: dict[tuple[str, int], float], job: str, gpus: int) -> float:
    return speeds[job, gpus] if (job, gpus) in speeds else speeds.get((job, 1), 0.0) * gpus


def bound_h(work: Work, count: Ints) -> float:
    """Hours before which no schedule ends the last of jobs that all are there from the start."""
    return 1 / share(work.speed, work.gang, count, work.steps).bound / 3600


def table(policies: dict[str, dict[str, float]]) -> str:
    """The figures as text."""
    names = ("makespan_h", "mean_jct_h", "p99_jct_h", "mean_slowdown", "makespan_moves", "decision_ms")
    lines = ["policy".ljust(16) + "".join(name.rjust(16) for name in names)]
    for policy, figures in policies.items():
        cells = (f"{figures[name]:16.3f}" if name in figures else "-".rjust(16) for name in names)
        lines.append(policy.ljust(16) + "".join(cells))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.hetero", description="Gavel's experiments.")
    parser.add_argument("--data", type=Path, required=True, help="folder with Gavel's traces and throughputs")
    parser.add_argument("--throughputs", default="simulation", help="simulation or physical_cluster")
    parser.add_argument("--fleet", default="8:16:24", help=f"devices of {':'.join(TYPES)}")
    parser.add_argument("--restart", type=float, default=RESTART_S, help="seconds that a start costs")
    parser.add_argument("--policies", default=",".join(ROWS), help=f"some of {','.join(ROWS)}")
    parser.add_argument("--limit", type=int, default=0, help="only the first so many jobs of each trace")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    names = options.policies.split(",")
    if unknown := set(names) - set(ROWS):
        parser.error(f"no policy {sorted(unknown)[0]!r}: choose from {', '.join(ROWS)}")
    try:
        count = np.array([int(part) for part in options.fleet.split(":")], np.int64)
        speeds = read_speeds(options.data / f"{options.throughputs}_throughputs.json")
        paths = sorted(options.data.glob("*.trace"))
        if not paths or len(count) != len(TYPES):
            raise NotFound(f"no *.trace in {options.data}, or a fleet of other than {len(TYPES)} types", "data")
        works = [_first(read_work(path, speeds), options.limit) for path in paths]
        static = [work for work in works if not work.arrival.any()]
        continuous = [work for work in works if work.arrival.any()]
        policies = {name: measure(ROWS[name], static, continuous, count, options.restart) for name in names}
        bounds = [bound_h(work, count) for work in static]
        result = {"policies": policies, "bound_h": round(fmean(bounds), 3) if bounds else None}
        result["published_makespan_h"] = PUBLISHED
    except FairwayError as error:
        print(f"bench.hetero: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result) if options.json else table(policies) + f"\nno schedule beats {result['bound_h']} h")
    return 0


def _first(work: Work, limit: int) -> Work:
    if not limit:
        return work
    parts = {name: getattr(work, name)[:limit] for name in ("speed", "steps", "gang", "arrival")}
    return replace(work, **parts)


if __name__ == "__main__":
    sys.exit(main())
