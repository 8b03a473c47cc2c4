"""Tiresias and Optimus as Pollux's evaluation runs them (Qiao et al., OSDI'21, section 5.1 and its artifact).

``Tiresias`` (Gu et al., NSDI'19): two queues by attained service, first come first served in each; GPUs and batch size
are the user's. Preempted when a job of a higher queue, or an earlier one, needs the room; no promotion.
``optimus`` (Peng et al., EuroSys'18): every job one GPU, then one more where it saves most of the time that is left,
with the true step times and the true number of steps left at the user's batch size ("Oracle").
Both put a job on the nodes with most free GPUs first.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from bench.pollux_apps import FIXED
from bench.pollux_world import GPUS, Job
from fairway.state.columns import Ints

SERVICE_S: Final = 16 * 3600.0
"""GPU-seconds of attained service after which a job falls into Tiresias' second queue."""


def spread(given: Ints, seats: Ints) -> Ints:
    """(J, N) seats: jobs whose number of GPUs stays keep theirs, the others take from the emptiest node on."""
    placed = np.where((seats.sum(axis=1) == given)[:, None], seats, 0)
    free = GPUS - placed.sum(axis=0)
    for row in np.flatnonzero((given > 0) & (placed.sum(axis=1) == 0)).tolist():
        rest = int(given[row])
        while rest:
            node = int(free.argmax())
            took = min(rest, int(free[node]))
            placed[row, node] += took
            free[node] -= took
            rest -= took
    return placed


class Tiresias:
    """Its queues: the order in which jobs joined them."""

    def __init__(self) -> None:
        self.queues: dict[str, tuple[int, int]] = {}
        self.joined = 0

    def __call__(self, jobs: Sequence[Job], now: float, seats: Ints) -> Ints:
        """Seats (J, N) from now on."""
        for job in jobs:
            level = int(job.attained >= SERVICE_S)
            if self.queues.get(job.name, (-1, 0))[0] != level:
                self.joined += 1
                self.queues[job.name] = level, self.joined
        left, given = seats.shape[1] * GPUS, np.zeros(len(jobs), np.int64)
        for row in sorted(range(len(jobs)), key=lambda at: self.queues[jobs[at].name]):
            if jobs[row].gpus <= left:
                given[row] = jobs[row].gpus
                left -= jobs[row].gpus
        return spread(given, seats)


def step_seconds(job: Job, gpus: int) -> float:
    """Seconds of a step at the user's batch size on so many GPUs, on as few nodes as they fit."""
    placement = (*(GPUS for _ in range(gpus // GPUS)), *((gpus % GPUS,) if gpus % GPUS else ()))
    local, accumulated = job.app.fixed(gpus, job.batch)
    step, sync = job.app.step(placement, local)
    return step + accumulated * (step - sync)


def optimus(jobs: Sequence[Job], now: float, seats: Ints) -> Ints:
    """Seats (J, N) from now on."""
    total = seats.shape[1] * GPUS
    given = np.zeros(len(jobs), np.int64)
    given[:total] = 1
    left = total - int(given.sum())
    steps = [job.app.steps_left(job.batch, job.epoch) for job in jobs]
    most = [1 if job.app.name in FIXED else min(total, job.batch // job.app.limits.local_least) for job in jobs]

    def saved(row: int) -> float:
        have = int(given[row])
        if not have or have >= most[row]:
            return 0.0
        return (step_seconds(jobs[row], have) - step_seconds(jobs[row], have + 1)) * steps[row]

    gains = [saved(row) for row in range(len(jobs))]
    while left and max(gains, default=0.0) > 0:
        row = int(np.argmax(gains))
        given[row] += 1
        left -= 1
        gains[row] = saved(row)
    return spread(given, seats)
