"""The figures of a simulated run, each defined here.

*Wait*: from submission to the first start that the control plane learned of; jobs that started. *JCT* (job completion
time): from submission to success; jobs that succeeded. *Makespan*: from the first submission to the last success.

*GPU utilisation*: GPU-time held by attempts / GPU-time there was, on nodes that were up, from the first submission to
the last turn of the control plane. *GPU allocated ratio*: GPU-time held / the GPU-time that could have been held, which
is at every instant the smaller of what there was and what was held or waited for in line. The first says how busy the
cluster was; the second how much of what was both wanted and there was handed out: 1.0 when nobody ever waited.

*Lost GPU-hours*: GPU-time since the last reported checkpoint of attempts that were preempted or lost with a node.
*Decision*: from handing a batch of facts to the control plane to being asked to accept its plan: it covers writing the
facts to the journal's buffer, believing them and deciding, not committing nor carrying out.
"""

from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairway.model.phases import JobPhase
from fairway.sim.recorder import Numbers, QueueTally, Recorder, Series
from fairway.sim.traces.trace import Trace

_GPU_MILLI_MS_PER_HOUR = 1000 * 3_600_000


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, median and 99th percentile, interpolated linearly; all 0 of nothing."""

    mean: float = 0.0
    p50: float = 0.0
    p99: float = 0.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a decision took."""

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue's jobs, not counting the queues below it."""

    queue: str
    jobs: int
    completed: int
    failed: int
    wait_s: Spread
    jct_s: Spread
    gpu_hours: float
    lost_gpu_hours: float
    preemptions: int


@dataclass(frozen=True, slots=True)
class Report:
    """The figures, as the module's docstring defines them. Ratios are between 0 and 1, None without such a resource."""

    trace: str
    format: str
    seed: int
    nodes: int
    gpus: float
    jobs: int
    completed: int
    failed: int
    cancelled: int
    unfinished: int
    """Jobs that had not ended when nothing more could happen: no node could ever hold them, or the run was cut off."""
    wait_s: Spread
    jct_s: Spread
    makespan_s: float
    gpu_utilization: float | None
    gpu_allocated_ratio: float | None
    peak_gpu_utilization: float | None
    cpu_utilization: float | None
    gpu_hours: float
    lost_gpu_hours: float
    preemptions: int
    deadlines: int
    deadlines_met: int
    decisions: int
    decision_ms: Latency
    crashes: int
    wall_s: float
    queues: tuple[QueueRow, ...]
    notes: tuple[str, ...]
    series: Series
    """Levels over time, for ``plot``; not part of ``as_dict``, nor are the waits."""
    waits_ms: Numbers

    def as_dict(self) -> dict[str, Any]:
        """Everything but the series, ready for JSON."""
        values = {name: getattr(self, name) for name in self.__slots__ if name not in ("series", "waits_ms")}
        for name in ("wait_s", "jct_s", "decision_ms"):
            values[name] = asdict(values[name])
        values["queues"] = [asdict(row) for row in self.queues]
        values["notes"] = list(self.notes)
        return values

    def plot(self, path: Path | str) -> None:
        """Draw utilisation, the line and the waits over time to a file (PNG, SVG or PDF by its ending).

        Raises InvalidField when matplotlib is not installed or does not know the ending.
        """
        from fairway.sim.plot import draw

        draw(self, Path(path))


def make_report(
    trace: Trace,
    recorder: Recorder,
    decision_ns: Numbers,
    *,
    seed: int,
    wall_s: float,
    crashes: int = 0,
    notes: Iterable[str] = (),
) -> Report:
    """The figures of a run that is over."""
    tallies = recorder.queues

    def count(phase: JobPhase) -> int:
        return sum(tally.ended.get(phase, 0) for tally in tallies.values())

    first = recorder.first_submitted or 0
    return Report(
        trace=trace.name,
        format=trace.format,
        seed=seed,
        nodes=len(trace.nodes),
        gpus=trace.gpu_milli / 1000,
        jobs=sum(tally.submitted for tally in tallies.values()),
        completed=count(JobPhase.SUCCEEDED),
        failed=count(JobPhase.FAILED),
        cancelled=count(JobPhase.CANCELLED),
        unfinished=recorder.open,
        wait_s=_spread(tally.waits for tally in tallies.values()),
        jct_s=_spread(tally.completions for tally in tallies.values()),
        makespan_s=max(recorder.last_completed - first, 0) / 1000,
        gpu_utilization=_ratio(recorder.gpu_held, recorder.gpu_there),
        gpu_allocated_ratio=_ratio(recorder.gpu_held, recorder.gpu_possible) if recorder.gpu_there else None,
        peak_gpu_utilization=_peak(recorder.series),
        cpu_utilization=_ratio(recorder.cpu_held, recorder.cpu_there),
        gpu_hours=_hours(sum(tally.gpu_ms for tally in tallies.values())),
        lost_gpu_hours=_hours(sum(tally.lost_gpu_ms for tally in tallies.values())),
        preemptions=sum(tally.preemptions for tally in tallies.values()),
        deadlines=sum(tally.deadlines for tally in tallies.values()),
        deadlines_met=sum(tally.deadlines_met for tally in tallies.values()),
        decisions=len(decision_ns),
        decision_ms=_latency(decision_ns),
        crashes=crashes,
        wall_s=round(wall_s, 3),
        queues=tuple(_row(name, tallies[name]) for name in sorted(tallies)),
        notes=(*trace.notes, *notes),
        series=recorder.series,
        waits_ms=sum((tally.waits for tally in tallies.values()), array("q")),
    )


def _row(name: str, tally: QueueTally) -> QueueRow:
    return QueueRow(
        queue=name,
        jobs=tally.submitted,
        completed=tally.ended.get(JobPhase.SUCCEEDED, 0),
        failed=tally.ended.get(JobPhase.FAILED, 0),
        wait_s=_spread([tally.waits]),
        jct_s=_spread([tally.completions]),
        gpu_hours=_hours(tally.gpu_ms),
        lost_gpu_hours=_hours(tally.lost_gpu_ms),
        preemptions=tally.preemptions,
    )


def _spread(parts: Iterable[Numbers]) -> Spread:
    values = np.concatenate([np.zeros(0, np.int64), *(np.frombuffer(part, np.int64) for part in parts if part)]) / 1000
    if not len(values):
        return Spread()
    p50, p99 = np.percentile(values, (50, 99))
    return Spread(round(float(values.mean()), 3), round(float(p50), 3), round(float(p99), 3))


def _latency(ns: Numbers) -> Latency:
    if not ns:
        return Latency()
    values = np.frombuffer(ns, np.int64) / 1e6
    p50, p99 = np.percentile(values, (50, 99))
    return Latency(round(float(p50), 4), round(float(p99), 4), round(float(values.max()), 4))


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _peak(series: Series) -> float | None:
    held, there = np.frombuffer(series.held, np.int64), np.frombuffer(series.there, np.int64)
    known = there > 0
    return round(float((held[known] / there[known]).max()), 6) if known.any() else None


def _hours(milli_ms: int) -> float:
    return round(milli_ms / _GPU_MILLI_MS_PER_HOUR, 3)
