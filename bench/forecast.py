"""How right forecasts of run times are: every job of a trace is forecast when it is submitted, and again while it runs.

::

    python -m bench.forecast --trace philly.csv --vc-nodes vc_nodes.csv --json

A job starts when it is submitted, runs for as long as the trace says, and is learned from when it ends: the forecasts
are those of ``decide.forecast`` over the sketches of ``state.history``, without a scheduler between them. Where a trace
names no users, its queues stand for them. ``p50`` and ``p90`` are shares of jobs that took at most what was said;
``error`` is the median of |log2(forecast / real)| and ``within_2x`` the share within a factor of two; ``last_two`` is
the mean of the user's last two of the same shape (Tsafrir, Etsion and Feitelson, TPDS 2007), which gives no range.
``running`` asks again at ages of ten minutes, two hours and a day, about what is left.
"""

import argparse
import heapq
import json
import sys
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np

from bench import traces
from fairway.decide import forecast
from fairway.model.errors import FairwayError
from fairway.model.job import Job
from fairway.model.time import DAY, HOUR, MINUTE
from fairway.sim.traces import Trace
from fairway.state.groups import shape_of
from fairway.state.history import RunTimes, pattern_of
from fairway.state.jobs import JobTable
from fairway.state.tables import NO_LIMIT

SMALL = ("--jobs", "2000")
AGES = {"10m": 10 * MINUTE, "2h": 2 * HOUR, "1d": DAY}


@dataclass(slots=True)
class Tally:
    """Pairs of what was said and what came."""

    p50: list[float] = field(default_factory=list)
    p90: list[float] = field(default_factory=list)
    real: list[float] = field(default_factory=list)

    def add(self, p50: float, p90: float, real: float) -> None:
        """One more forecast."""
        self.p50.append(p50)
        self.p90.append(p90)
        self.real.append(real)

    def figures(self) -> dict[str, Any]:
        """Coverage and error; None where nothing was forecast."""
        if not self.real:
            return {"n": 0, "p50": None, "p90": None, "error": None, "within_2x": None}
        real = np.array(self.real)
        error = np.abs(np.log2(np.maximum(self.p50, 1.0) / np.maximum(real, 1.0)))
        return {
            "n": len(real),
            "p50": round(float((real <= self.p50).mean()), 3),
            "p90": round(float((real <= self.p90).mean()), 3),
            "error": round(float(median(error.tolist())), 3),
            "within_2x": round(float((error <= 1).mean()), 3),
        }


class Course:
    """The jobs of a trace, each in a row of its own, and what was said of them."""

    def __init__(self, trace: Trace) -> None:
        self.history, self.jobs = RunTimes(), JobTable()
        self.told, self.last_two = Tally(), Tally()
        self.running = {name: Tally() for name in AGES}
        self.unknown = 0
        self._lasts: dict[Any, deque[int]] = defaultdict(lambda: deque(maxlen=2))
        self._trace = trace

    def run(self) -> dict[str, Any]:
        """The figures of the whole trace."""
        agenda: list[tuple[int, int, str, Job]] = []
        for at, number, job in self._submissions():
            self._until(at, agenda)
            work = job.work or 1
            self._submitted(job, work)
            heapq.heappush(agenda, (at + work, number, "end", job))
            for name, age in AGES.items():
                if age < work:
                    heapq.heappush(agenda, (at + age, number, name, job))
        return {
            "forecast": self.told.figures(),
            "last_two": {key: value for key, value in self.last_two.figures().items() if key != "p90"},
            "running": {name: tally.figures() for name, tally in self.running.items()},
            "unknown": self.unknown,
            "kinds": len(self.history),
        }

    def _submissions(self) -> Iterator[tuple[int, int, Job]]:
        for number, job in enumerate(self._trace.jobs):
            if job.work is not None:
                yield job.submitted, number, replace(job, user=job.user or str(job.queue))

    def _until(self, at: int, agenda: list[tuple[int, int, str, Job]]) -> None:
        while agenda and agenda[0][0] <= at:
            now, _, what, job = heapq.heappop(agenda)
            row = self.jobs.row_of[job.id]
            if what == "end":
                self._ended(job, row)
                continue
            span = forecast.running(self.history, self.jobs, np.array([row]), now + 1)
            left = (job.work or 1) - AGES[what]
            self.running[what].add(float(span.p50[0]), float(span.p90[0]), left)

    def _submitted(self, job: Job, work: int) -> None:
        jobs, row = self.jobs, self.jobs.add(job.id)
        jobs.history[row] = self.history.enter(job, shape_of(job))
        jobs.started_at[row], jobs.pace[row] = job.submitted + 1, 1.0
        jobs.estimate[row] = job.estimate or 0
        jobs.longest[row] = NO_LIMIT
        span = forecast.pending(self.history, jobs, np.array([row]))
        if span.known[0]:
            self.told.add(float(span.p50[0]), float(span.p90[0]), work)
        else:
            self.unknown += 1
        lasts = self._lasts[job.user, pattern_of(job.name), job.roles]
        if lasts:
            guess = sum(lasts) / len(lasts)
            self.last_two.add(guess, guess, work)

    def _ended(self, job: Job, row: int) -> None:
        work = job.work or 1
        self.history.learn(int(self.jobs.history[row]), work, job.estimate)
        self.history.leave(int(self.jobs.history[row]))
        self._lasts[job.user, pattern_of(job.name), job.roles].append(work)
        self.jobs.remove(job.id)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.forecast", description=(__doc__ or "").splitlines()[0])
    traces.ask(parser, jobs=10_000)
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    options = parser.parse_args(arguments)
    try:
        trace = traces.load(options, nodes=32)
    except FairwayError as error:
        print(f"bench.forecast: {error}", file=sys.stderr)
        return error.exit_code
    figures = Course(trace).run()
    print(json.dumps(figures) if options.json else "\n".join(f"{key:12} {value}" for key, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
