"""What programs have measured of themselves, and what they were told: a row for each job of which anything is known.

Whatever an executor says may be wrong, late or made up. A number that cannot be is refused, and the sentence is kept
for whoever asks; one that differs much from what was believed before moves it by a little only (``WEIGHT`` of at most
``JUMP``, in logarithms), so that one lie does no harm and a change that lasts is believed in the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from fairway.model.elastic import MOST_BATCH, Batch
from fairway.model.facts import Measured
from fairway.model.ids import JobId
from fairway.model.job import Job
from fairway.state.columns import Floats, Ints, Table

if TYPE_CHECKING:
    from fairway.state.cluster import ClusterState

MOST_RUNS: Final = 8
"""Kinds of steps (nodes, workers, local batch, accumulation) that are remembered of a job; the oldest makes room."""
JUMP: Final = 4.0
"""One report counts as at most so many times what was believed, and at least as that part of it."""
WEIGHT: Final = 0.2
"""How much one report counts beside all that came before."""
LONG_ENOUGH: Final = 60_000
"""Milliseconds for which an attempt has to tell of its steps before they say how fast it is."""
LEAST_SCALING: Final = 0.01
"""More workers are never taken to be of no use at all: the difference may be noise."""
_RANGES: Final = {
    "batch": (1, MOST_BATCH), "accumulate": (1, 1 << 20), "throughput": (1e-9, 1e15), "compute": (1e-9, 1e9),
    "noise": (1e-6, 1e15),
}  # fmt: skip
"""What a measured number can be at all; limits included."""


class Run(NamedTuple):
    """Steps of one kind: on how many nodes and workers, ``local`` examples on each worker at once, so ``accumulate``
    times; seconds of such a step, and of computing one local batch (0: not known)."""

    nodes: int
    workers: int
    local: int
    accumulate: int
    step: float
    compute: float


@dataclass(frozen=True, slots=True)
class MeasuredRecord:
    """What a job has measured: its numbers in the order of ``Measurements.COLUMNS``, whole ones and others apart."""

    job: JobId
    whole: tuple[int, ...]
    other: tuple[float, ...]
    refused: str = ""


class Measurements(Table[JobId]):
    """A row per job that has measured something or was told its batch size."""

    COLUMNS = (
        ("paced_from", np.int64, 2),
        ("paced_to", np.int64, 2),
        ("rate", np.float64, 2),
        ("scaling", np.float64, 0),
        ("told", np.int64, 3),
        ("batch", np.int64, 0),
        ("throughput", np.float64, 0),
        ("noise", np.float64, 0),
        ("kinds", np.int64, 4 * MOST_RUNS),
        ("times", np.float64, 2 * MOST_RUNS),
    )
    paced_from: Ints
    """The first step that the current attempt reported, and when; (0, 0) before."""
    paced_to: Ints
    """The last one, and when."""
    rate: Floats
    """Steps per millisecond of the last attempt that told of them for long enough, and its workers; zeros before."""
    scaling: Floats
    """Speed grows with the number of workers to this power; 0 until it ran on two numbers of them."""
    told: Ints
    """The ``Batch`` that the newest attempt was told; zeros for none."""
    batch: Ints
    """Examples in a step, as last reported; 0 before."""
    throughput: Floats
    """Examples per second, as last reported; 0 before."""
    noise: Floats
    """Gradient noise scale as it is believed, in examples; 0 before it was reported."""
    kinds: Ints
    """(R, 4 x MOST_RUNS) nodes, workers, local and accumulate of each ``Run``, the oldest first; zeros behind the
    last."""
    times: Floats
    """(R, 2 x MOST_RUNS) its seconds: of a step, and of computing a local batch."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        """Why the last report was not believed; empty when it was."""

    def of(self, job: JobId) -> int:
        """The row of a job, made on first use."""
        row = self.row_of.get(job)
        if row is None:
            row = self.add(job)
            self.refused[row : row + 1] = [""]
        return row

    def forget(self, job: JobId) -> None:
        """A job has ended."""
        if job in self.row_of:
            self.remove(job)

    def runs(self, row: int) -> tuple[Run, ...]:
        """What is known of its steps, the oldest first."""
        kinds: list[list[int]] = self.kinds[row].reshape(MOST_RUNS, 4).tolist()
        times: list[list[float]] = self.times[row].reshape(MOST_RUNS, 2).tolist()
        known = zip(kinds, times, strict=True)
        return tuple(Run(n, w, local, a, step, compute) for (n, w, local, a), (step, compute) in known if w)

    def batch_of(self, job: JobId) -> Batch | None:
        """What the newest attempt of a job was told."""
        row = self.row_of.get(job)
        if row is None or not self.told[row, 0]:
            return None
        total, local, accumulate = self.told[row].tolist()
        return Batch(total, local, accumulate)

    def tell(self, job: JobId, batch: Batch | None) -> None:
        """An attempt starts, and is told its batch size, or nothing of it."""
        if batch is not None:
            self.told[self.of(job)] = batch.total, batch.local, batch.accumulate
        elif job in self.row_of:
            self.told[self.row_of[job]] = 0

    def tell_step(self, job: JobId, step: int, now: int) -> None:
        """The live attempt has come to a step."""
        row = self.of(job)
        self.paced_to[row] = step, now
        if not self.paced_from[row, 1]:
            self.paced_from[row] = step, now

    def end_attempt(self, job: JobId, workers: int) -> None:
        """How fast the steps of an attempt came; with another number of workers than before, how speed grows with
        them."""
        row = self.row_of.get(job)
        if row is None:
            return
        steps, took = (self.paced_to[row] - self.paced_from[row]).tolist()
        self.paced_from[row] = self.paced_to[row] = 0
        if took < LONG_ENOUGH or steps < 1:
            return
        rate, (before, on) = steps / took, self.rate[row].tolist()
        if on and on != workers:
            self.scaling[row] = min(max(log(rate / before) / log(workers / on), LEAST_SCALING), 1.0)
        self.rate[row] = rate, workers

    def remember(self, row: int, seen: Run) -> None:
        """Steps of some kind took so long: the first such, or one more."""
        runs = list(self.runs(row))
        at = next((index for index, run in enumerate(runs) if run[:4] == seen[:4]), -1)
        if at >= 0:
            before = runs[at]
            runs[at] = before._replace(
                step=believed(before.step, seen.step),
                compute=believed(before.compute, seen.compute) if seen.compute else before.compute,
            )
        else:
            runs = [*runs[-MOST_RUNS + 1 :], seen]
        self.put_runs(row, runs)

    def put_runs(self, row: int, runs: list[Run]) -> None:
        """Write all runs of a row."""
        self.kinds[row], self.times[row] = 0, 0.0
        self.kinds[row, : 4 * len(runs)] = [number for run in runs for number in run[:4]]
        self.times[row, : 2 * len(runs)] = [seconds for run in runs for seconds in run[4:]]

    def records(self) -> tuple[MeasuredRecord, ...]:
        """Every row, by job: what ``restore`` takes."""
        found: list[MeasuredRecord] = []
        for job, row in sorted(self.row_of.items()):
            whole, other = _numbers(self, np.int64, row), _numbers(self, np.float64, row)
            found.append(MeasuredRecord(job, whole, other, self.refused[row]))
        return tuple(found)

    def restore(self, records: tuple[MeasuredRecord, ...]) -> None:
        """Fill an empty table."""
        for record in records:
            row = self.of(record.job)
            self.refused[row] = record.refused
            for kind, numbers in ((np.int64, list(record.whole)), (np.float64, list(record.other))):
                for name, _, width in (column for column in self.COLUMNS if column[1] is kind):
                    getattr(self, name)[row] = numbers[:width] if width else numbers[0]
                    del numbers[: width or 1]


def _numbers(table: Measurements, kind: type, row: int) -> tuple[Any, ...]:
    """All numbers of one kind in a row."""
    columns = (getattr(table, name)[row] for name, dtype, _ in table.COLUMNS if dtype is kind)
    return tuple(number for column in columns for number in np.atleast_1d(column).tolist())


def believed(before: float, said: float) -> float:
    """What is believed of a number that was ``before`` (0: nothing known) when somebody says ``said``."""
    if not before:
        return said
    return before * exp(WEIGHT * log(min(max(said / before, 1 / JUMP), JUMP)))


def measured(state: "ClusterState", fact: Measured) -> None:
    """A program tells what it has measured; what cannot be is refused as a whole."""
    at = state.jobs.current(fact.attempt)
    if at is None:
        return
    table, job, placement = state.measured, state.jobs.job(at), state.jobs.placement[at]
    row = table.of(job.id)
    state.news.jobs[job.id] = None
    table.refused[row] = next(_wrong(job, fact, len(placement)), "")
    if table.refused[row]:
        return
    if fact.noise is not None:
        table.noise[row] = believed(float(table.noise[row]), fact.noise)
    if fact.batch is None:
        return
    table.batch[row] = fact.batch
    if fact.throughput is not None:
        table.throughput[row] = fact.throughput
        local = max(round(fact.batch / (len(placement) * fact.accumulate)), 1)
        nodes = len({task.node for task in placement})
        step = fact.batch / fact.throughput
        table.remember(row, Run(nodes, len(placement), local, fact.accumulate, step, fact.compute or 0.0))


def _wrong(job: Job, fact: Measured, workers: int) -> Iterator[str]:
    """Why a report cannot be, with what to change."""
    for name, (least, most) in _RANGES.items():
        value = getattr(fact, name)
        if value is not None and not (isfinite(value) and least <= value <= most):
            yield f"{name} is {value:g}: it must be a number from {least:g} to {most:g}"
    if fact.workers is not None and fact.workers != workers:
        yield f"workers is {fact.workers}, and the attempt has {workers}: report what all of them do together"
    if fact.throughput is not None and fact.batch is None:
        yield "throughput says nothing without batch: report both"
    if fact.compute is not None and fact.throughput is None:
        yield "compute says nothing without throughput: report both"
    limits = job.elastic.batch
    if limits is not None and fact.batch is not None and not limits.first <= fact.batch <= limits.most:
        yield f"batch is {fact.batch}, and the manifest allows {limits.first} to {limits.most}"
    if fact.batch is not None and fact.batch < workers * fact.accumulate:
        yield f"batch is {fact.batch}: {workers} workers that add up {fact.accumulate} have at least one example each"


def problems(state: "ClusterState") -> list[str]:
    """Every broken invariant of the table, as a sentence."""
    table, wrong = state.measured, list[str]()
    for row in table.rows():
        name = table.id_of(row)
        at = state.jobs.row_of.get(name)
        if at is None:
            wrong.append(f"job {name}: has ended, and what it measured is kept")
            continue
        numbers = (*table.times[row].tolist(), float(table.noise[row]), float(table.throughput[row]))
        if not all(isfinite(number) and number >= 0 for number in numbers):
            wrong.append(f"job {name}: measured {numbers}")
        batch, workers = table.batch_of(name), len(state.jobs.placement[at])
        if batch is not None and workers and batch.total != batch.local * batch.accumulate * workers:
            wrong.append(f"job {name}: was told {batch} for {workers} workers")
    return wrong
