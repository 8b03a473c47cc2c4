"""The world of Pollux's simulator: jobs that work on whatever GPUs they have, one interval after another.

A job that adapts measures its steps, fits its pace to them (``fairway.decide.goodput_fit``) and chooses its batch size
by it, as Pollux's agents do; another keeps the user's. Progress and step times are replayed from measured ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from bench.pollux_apps import App
from fairway.decide import goodput
from fairway.decide.goodput import Pace
from fairway.decide.goodput_fit import Steps, fitted
from fairway.state.columns import Ints

NODES: Final = 16
GPUS: Final = 4
INTERVAL_S: Final = 60.0
RESTART_S: Final = 30.0


@dataclass
class Job:
    """One job in the world: what was asked for, where it stands, and what it has measured."""

    name: str
    app: App
    submitted: float
    gpus: int
    batch: int
    adapts: bool
    placement: tuple[int, ...] = ()
    local: int = 0
    accumulated: int = 0
    epoch: int = 0
    progress: float = 0.0
    pause: float = 0.0
    attained: float = 0.0
    """GPU-seconds."""
    restarts: int = 0
    ended: float = np.inf
    pace: Pace | None = None
    steps: dict[tuple[int, int, int], tuple[float, float]] = field(default_factory=dict)
    most: int = 0
    """The most GPUs it has measured a step on."""

    @property
    def noise(self) -> goodput.Noise:
        """The gradient noise it measures now."""
        total = max(self.app.limits.first, sum(self.placement) * self.local * (self.accumulated + 1))
        return self.app.noise_at(min(self.epoch, self.app.epochs - 1), total)

    def move(self, placement: tuple[int, ...]) -> None:
        """Have other GPUs from now on."""
        self.restarts += bool(placement) and self.attained > 0
        self.placement, self.pause = placement, RESTART_S if placement else 0.0
        if placement:
            self.choose()

    def choose(self) -> None:
        """Choose the batch size for these GPUs: the user's, or the best by what has been measured."""
        gpus = sum(self.placement)
        if not self.adapts or self.pace is None:
            batch = self.batch if not self.adapts else max(self.app.limits.first, self.app.limits.local_least * gpus)
            self.local, self.accumulated = self.app.fixed(gpus, batch)
            return
        nodes, counts = np.array([len(self.placement)]), np.array([gpus])
        tuned = goodput.tune(self.pace, self.noise, self.app.limits, nodes, counts)
        self.local, self.accumulated = int(tuned.local[0]), int(tuned.accumulated[0])

    def run(self, now: float, seconds: float) -> None:
        """Work for a while, epoch by epoch."""
        gpus = sum(self.placement)
        paused = min(self.pause, seconds)
        self.pause -= paused
        left = seconds - paused
        self.attained += paused * gpus
        while left > 1e-9:
            if self.adapts:
                self.measure()
            speed = self.app.goodput(self.placement, self.local, self.accumulated, self.epoch)
            need = (float(self.app.progress[self.epoch + 1]) - self.progress) / speed
            took = min(left, need)
            self.progress += speed * took
            self.attained += took * gpus
            left -= took
            if need <= took:
                self.progress = float(self.app.progress[self.epoch + 1])
                self.epoch += 1
                if self.epoch == self.app.epochs:
                    self.ended = now + seconds - left
                    return
                if self.adapts:
                    self.choose()

    def measure(self) -> None:
        """Note how long a step takes, and fit the pace anew when it does not say so already."""
        key = len(self.placement), sum(self.placement), self.local
        if key in self.steps:
            return
        self.steps[key] = self.app.step(self.placement, self.local)
        self.most = max(self.most, key[1])
        nodes, gpus, local = np.array(list(self.steps), np.int64).T
        step, sync = np.array(list(self.steps.values())).T
        self.pace = fitted(Steps(nodes, gpus, local, step - sync, step), self.pace)


class Policy(Protocol):
    """Who has which GPUs: jobs that are there and have not ended, the time, and seats (J, N) to seats (J, N)."""

    def __call__(self, jobs: Sequence[Job], now: float, seats: Ints) -> Ints: ...


def simulate(workload: Sequence[Job], policy: Policy, nodes: int = NODES) -> list[Job]:
    """Run jobs to their end."""
    waiting = sorted(workload, key=lambda job: job.submitted)
    active: list[Job] = []
    seats = np.zeros((0, nodes), np.int64)
    now, after = 0.0, 0
    while active or after < len(waiting):
        for job in active:
            if job.placement:
                job.run(now, INTERVAL_S)
        now += INTERVAL_S
        going = np.array([job.ended == np.inf for job in active], np.bool_)
        active, seats = [job for job in active if job.ended == np.inf], seats[going]
        while after < len(waiting) and waiting[after].submitted <= now:
            active.append(waiting[after])
            seats = np.vstack([seats, np.zeros((1, nodes), np.int64)])
            after += 1
        if not active:
            continue
        given = policy(active, now, seats)
        if (given.sum(axis=0) > GPUS).any() or (given < 0).any():
            raise AssertionError(f"a policy gave out {given.sum(axis=0)} GPUs on nodes of {GPUS}")
        for job, before, seat in zip(active, seats, given, strict=True):
            if (before != seat).any():
                job.move(tuple(seat[seat > 0].tolist()))
        seats = given
    return waiting
