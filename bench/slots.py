"""A cluster in time slots: jobs with deadlines, and one policy that says at each slot who gets how many GPUs.

What is assumed, the same for every policy:

- GPUs are alike and counted, not placed: sizes are powers of two and a job may move whenever slots change, so buddy
  allocation never leaves a hole (ElasticFlow, Gu et al., ASPLOS'23, section 4.3).
- A job is seen at the first slot that begins when or after it is submitted, and is stopped, started and resized at the
  beginning of a slot only. One that ends within a slot leaves its GPUs idle until the slot is over.
- A job runs at the measured speed of its number of GPUs. Starting again, on as many GPUs as before or not, takes
  ``restart`` seconds in which it holds its GPUs and does nothing; its first start takes none.
- The policy knows what is left of each job and how fast it runs on how many GPUs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairway.decide.elastic import Workers, useful
from fairway.model.errors import InvalidField
from fairway.sim.traces.columns import Table, text_of
from fairway.state.columns import Bools, Floats, Ints

SLOT_S = 60.0
POWERS = tuple(2**k for k in range(7))
EXPONENT = 0.8
"""Speed of n GPUs is n to this power where nothing was measured."""


@dataclass(frozen=True)
class Jobs:
    """A trace, in order of submission. ``sizes`` and ``speed`` (J, L): GPUs and work per second, ``steps`` (J,) real
    ones; the last column of ``own`` (J,) is the step of the size that was asked for. Seconds; no deadline: infinite."""

    submitted: Floats
    deadline: Floats
    work: Floats
    sizes: Ints
    speed: Floats
    steps: Ints
    asked: Ints
    asked_speed: Floats

    def rigid(self) -> "Jobs":
        """The same jobs with no other size than the one asked for."""
        return Jobs(
            self.submitted, self.deadline, self.work, self.asked[:, None], self.asked_speed[:, None],
            np.ones_like(self.steps), self.asked, self.asked_speed,
        )  # fmt: skip


@dataclass
class View:
    """What a policy sees at the beginning of a slot, of the A jobs that have come and not ended."""

    now: float
    capacity: int
    slot: float
    restart: float
    jobs: Jobs
    rows: Ints
    """(A,) their rows in ``jobs``, by submission."""
    rest: Floats
    """(A,) work that is left."""
    held: Ints
    """(A,) GPUs they ran on in the slot before."""
    served: Floats
    """(A,) GPU-seconds they have had."""
    started: Bools
    """(A,) whether they ever ran."""
    changed: Floats
    """(A,) when their number of GPUs last changed."""

    @property
    def left(self) -> Floats:
        """(A,) seconds until the deadline."""
        return self.jobs.deadline[self.rows] - self.now

    def workers(self, settle: float = 0.0) -> Workers:
        """As Fairway's decisions see them; ``settle`` is how many seconds a resized job is left alone."""
        rows = self.rows
        return Workers(
            self.jobs.sizes[rows], self.jobs.speed[rows], self.jobs.steps[rows], self.rest, self.left, self.held,
            np.where(self.started, self.restart, 0.0), self.now - self.changed < settle,
        )  # fmt: skip


Policy = Callable[[View], Ints]
"""(A,) GPUs for each job that is there, one of its sizes, 0 to wait, or -1 to refuse it for good."""


@dataclass(frozen=True)
class Outcome:
    """When each job ended (seconds), how often jobs were started again, and how many decisions were asked for."""

    ended: Floats
    restarts: int
    decisions: int

    def met(self, jobs: Jobs) -> float:
        """The share of jobs with a deadline that ended by it."""
        deadlined = np.isfinite(jobs.deadline)
        return float(np.mean(self.ended[deadlined] <= jobs.deadline[deadlined] + 1e-6))


def run(
    jobs: Jobs, capacity: int, policy: Policy, *, slot: float = SLOT_S, restart: float = 0.0, every: float = np.inf
) -> Outcome:
    """All jobs to their end. The policy is asked whenever a job has come or gone, in every slot while any job waits,
    and after ``every`` seconds at most. A job whose smallest size is more than there is never runs.

    Raises InvalidField when the policy hands out what there is not, or leaves all waiting for nothing.
    """
    count = len(jobs.work)
    rest, held, served = jobs.work.copy(), np.zeros(count, np.int64), np.zeros(count)
    debt, changed, ended = np.zeros(count), np.full(count, -np.inf), np.full(count, np.inf)
    started = np.zeros(count, np.bool_)
    arrival = np.ceil(jobs.submitted / slot - 1e-9) * slot
    able = jobs.sizes[:, 0] <= capacity
    come, restarts, decisions = 0, 0, 0
    rows, now = np.zeros(0, np.int64), 0.0
    while come < count or len(rows):
        if not len(rows):
            now = max(now, float(arrival[come]))
        until = int(np.searchsorted(arrival, now, "right"))
        rows, come = np.concatenate([rows, come + np.flatnonzero(able[come:until])]), until
        if not len(rows):
            continue
        view = View(
            now, capacity, slot, restart, jobs, rows, rest[rows], held[rows], served[rows], started[rows], changed[rows]
        )  # fmt: skip
        given = policy(view)
        decisions += 1
        rows, given = rows[given >= 0], given[given >= 0]
        if given.sum() > capacity:
            raise InvalidField("policy", f"hands out {given.sum()} GPUs of {capacity}")
        moved = given != held[rows]
        again = moved & (given > 0) & started[rows]
        restarts += int(again.sum())
        debt[rows[again]] = restart
        changed[rows[moved]] = now
        held[rows] = given
        started[rows] |= given > 0
        pace = _pace(jobs, rows, given)
        ends = np.where(pace > 0, now + debt[rows] + rest[rows] / np.where(pace > 0, pace, 1.0), np.inf)
        coming = float(arrival[come]) if come < count else np.inf
        if not len(rows):
            continue
        if not given.any() and coming == np.inf and every == np.inf:
            raise InvalidField("policy", f"leaves {len(rows)} jobs waiting for nothing")
        patience = every if given.all() else slot
        following = max(now + slot, min(coming, _up(float(ends.min()), slot), _up(now + patience, slot)))
        idle = np.minimum(debt[rows], following - now) * (given > 0)
        debt[rows] -= idle
        rest[rows] -= pace * (following - now - idle)
        served[rows] += given * (np.minimum(ends, following) - now)
        over = ends <= following + 1e-9
        ended[rows[over]] = ends[over]
        rows, now = rows[~over], following
    return Outcome(ended, restarts, decisions)


def _up(at: float, slot: float) -> float:
    return float(np.ceil(at / slot - 1e-9) * slot)


def _pace(jobs: Jobs, rows: Ints, given: Ints) -> Floats:
    """(A,) work per second. Raises InvalidField for a number of GPUs that a job cannot run on."""
    match = (jobs.sizes[rows] == given[:, None]) & (np.arange(jobs.sizes.shape[1]) < jobs.steps[rows][:, None])
    if not (match.any(axis=1) | (given == 0)).all():
        raise InvalidField("policy", "gives a job a number of GPUs that it cannot run on")
    return np.where(match, jobs.speed[rows], 0.0).sum(axis=1)


def read_jobs(path: Path) -> Jobs:
    """A trace of ElasticFlow's (with the folder of measured throughputs beside it) or of Chronus's.

    Raises NotFound and InvalidField.
    """
    header = text_of(path).partition("\n")[0]
    entries = list(_chronus(path) if "expect_time_list" in header else _itp(path))
    if not entries:
        raise InvalidField("trace", f"{path} holds no jobs")
    return jobs_of(entries)


@dataclass(frozen=True)
class Entry:
    """A job as read: seconds, and work per second on each number of GPUs."""

    submitted: float
    deadline: float
    work: float
    asked: int
    speeds: dict[int, float]


def jobs_of(entries: Sequence[Entry]) -> Jobs:
    """Entries as columns, by submission. Raises InvalidField for a job that no number of GPUs helps."""
    ordered = sorted(entries, key=lambda entry: entry.submitted)
    curves = [useful(list(entry.speeds), list(entry.speeds.values())) for entry in ordered]
    width = max(len(sizes) for sizes, _ in curves)
    sizes, speed = np.zeros((len(curves), width), np.int64), np.zeros((len(curves), width))
    for row, (some, speeds) in enumerate(curves):
        sizes[row, : len(some)], speed[row, : len(some)] = some, speeds
    return Jobs(
        np.array([entry.submitted for entry in ordered]),
        np.array([entry.deadline for entry in ordered]),
        np.array([entry.work for entry in ordered]),
        sizes,
        speed,
        np.array([len(some) for some, _ in curves]),
        np.array([entry.asked for entry in ordered]),
        np.array([entry.speeds[entry.asked] for entry in ordered]),
    )


def _itp(path: Path) -> Iterator[Entry]:
    """ElasticFlow's: iterations, and how many a second were measured for the model, batch and number of GPUs."""
    measured = read_throughput(path.parent / "throughput_a100")
    columns = ("submission_time", "num_iteration", "model_name", "deadline", "batch_size", "num_gpu", "duration")
    for row in Table(path, columns).rows():
        key, asked = (row.text("model_name"), row.integer("batch_size")), row.integer("num_gpu", least=1)
        work, duration = row.number("num_iteration"), row.number("duration")
        # A size that nobody measured runs as fast as the job's recorded duration says.
        speeds = {asked: work / duration, **measured.get(key, {})}
        yield Entry(row.number("submission_time"), row.number("deadline"), work, asked, speeds)


def _chronus(path: Path) -> Iterator[Entry]:
    """Chronus's: deadlines count from submission, best-effort jobs have none, jobs without GPUs are left out."""
    for row in Table(path, ("submit_time", "duration", "num_gpu", "expect_time_list", "job_type")).rows():
        asked, submitted = row.integer("num_gpu"), row.number("submit_time")
        if asked:
            due = (
                np.inf
                if row.text("job_type") == "best"
                else submitted + float(row.text("expect_time_list").split("-")[0])
            )
            speeds = {size: float(size / asked) ** EXPONENT for size in sorted({*POWERS, asked})}
            yield Entry(submitted, due, row.number("duration"), asked, speeds)


def read_throughput(folder: Path) -> dict[tuple[str, int], dict[int, float]]:
    """Iterations per second by (model, batch size) and number of GPUs; a size that was measured as 0 does not run."""
    found: dict[tuple[str, int], dict[int, float]] = {}
    for path in sorted(folder.glob("*.csv")):
        for row in Table(path, ("global_batch_size", "1")).rows():
            speeds = {size: row.number(str(size), default=0.0) for size in POWERS}
            curve = {size: speed for size, speed in speeds.items() if speed > 0}
            found[path.stem, row.integer("global_batch_size")] = curve
    return found
