"""Fewer workers of running jobs, for one that finds no room: who could give some up, and how few of them will do.

They shrink for a job of their own class or a higher one, before anybody is preempted; those who lose least speed per
worker first, nobody below what its deadline needs, nobody by a worker more than is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Self

import numpy as np

from fairway.decide import curves, fit, near, sizing
from fairway.decide.admit import over_limit
from fairway.decide.gang import Fitted, place
from fairway.decide.resize import Resize, dropped, resizable, shrunk, workers
from fairway.model.plan import Placement
from fairway.model.policy import Policy
from fairway.model.resources import WHOLE
from fairway.state.columns import Ints
from fairway.state.groups import Group, Shape
from fairway.state.jobs import placed_sums
from fairway.state.snapshot import Snapshot, Takings, Trial

MOST_LOOKED = 256
"""Jobs that might shrink among which those who do are looked for, of the lowest classes first."""


@dataclass(frozen=True, slots=True)
class Room:
    """``placement`` is free for a waiting job when the jobs of ``shrunk`` have stopped."""

    placement: Placement
    shrunk: tuple[Resize, ...]


class Shrinking:
    """Who could go on with fewer workers, for one decision. ``leaving`` are rows of jobs that its plan stops; it grows
    as the plan does. False when there is nobody."""

    def __init__(self, snap: Snapshot, trial: Trial, policy: Policy, leaving: set[int]) -> None:
        self._snap, self._trial, self._policy, self._leaving = snap, trial, policy, leaving
        self._rows = resizable(snap, leaving) if policy.elastic.shrink else []
        self._ranked: list[tuple[int, int, int]] | None = None
        self._leaves: dict[tuple[int, int], Takings] = {}
        """What a job gives up when it keeps so many workers, by (row, workers)."""
        self._together: dict[tuple[tuple[int, int], ...], _Left] = {}
        self._hopeless: dict[Shape, int] = {}
        """The highest class in which a shape was looked for in vain: a lower one may take from fewer."""

    def __bool__(self) -> bool:
        return bool(self._rows)

    def find(self, group: Group, row: int) -> Room | None:
        """Room for the least start of a waiting job by fewer workers of others; None where that is not to be had. The
        trial is left as it was."""
        snap, trial, policy = self._snap, self._trial, self._policy
        if not self._rows or self._hopeless.get(group.shape, group.cls + 1) <= group.cls:
            return None
        least_cls = int(group.cls)
        lower = ((other, least) for other, least, cls in self._floors() if cls >= least_cls)
        able = list(islice((each for each in lower if each[0] not in self._leaving), policy.max_victims))
        count, low, high = _Count.of(snap, trial, policy, group.shape) if able else None, 1, len(able)
        while low < high and not self._fits(group, dict(able[:low]), count):  # mostly a few will do
            low *= 2
        if low >= high and not (able and self._fits(group, dict(able), count)):
            if over_limit(snap, trial, group.queue, group.shape.least_sums) is None:
                self._hopeless[group.shape] = group.cls
            return None
        low, high = low // 2 + 1, min(low, high)
        while low < high:
            middle = (low + high) // 2
            if self._fits(group, dict(able[:middle]), count):
                high = middle
            else:
                low = middle + 1
        given_up = self._there(group, dict(able[:high]), count)
        for other in reversed(list(given_up)):
            self._spare(group, given_up, other, count)
        placement = self._room(group, given_up)
        if placement is None:
            return None
        name = snap.jobs.id_of(row)
        return Room(placement, tuple(shrunk(snap, other, kept, name) for other, kept in given_up.items()))

    def _floors(self) -> list[tuple[int, int, int]]:
        """(row, fewest workers, class) of those with more: the lowest class, and there who loses least, first."""
        if self._ranked is None:
            cls = {row: int(self._snap.jobs.cls[row]) for row in self._rows}
            some = sorted(self._rows, key=lambda row: -cls[row])[:MOST_LOOKED]
            floors = _floors(self._snap, self._policy, some)
            loss = {row: _loss(self._snap, self._policy, row, least) for row, least in floors.items()}
            order = sorted(floors, key=lambda row: (-cls[row], loss[row], row))
            self._ranked = [(row, floors[row], cls[row]) for row in order]
        return self._ranked

    def _there(self, group: Group, given_up: dict[int, int], count: "_Count | None") -> dict[int, int]:
        """Those only that leave something where the job then goes; all of them where they alone will not do."""
        placement = self._room(group, given_up) or ()
        nodes = {task.node for task in placement}
        some = {row: kept for row, kept in given_up.items() if nodes & {t.node for t in dropped(self._snap, row, kept)}}
        return some if some and (len(some) == len(given_up) or self._fits(group, some, count)) else given_up

    def _spare(self, group: Group, given_up: dict[int, int], other: int, count: "_Count | None") -> None:
        """Let a job keep as many workers as it can; all of them, and it is left out."""
        low, high = given_up[other], len(self._snap.jobs.placement[other])
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(group, {**given_up, other: middle}, count):
                low = middle
            else:
                high = middle - 1
        if low == len(self._snap.jobs.placement[other]):
            del given_up[other]
        else:
            given_up[other] = low

    def _fits(self, group: Group, kept: Mapping[int, int], count: "_Count | None") -> bool:
        """Whether the least start finds room, within limits, when these jobs keep so many workers."""
        if count is None:
            return self._room(group, kept) is not None
        return self._within_limits(group, kept) and count.fits(self._by_node(kept))

    def _within_limits(self, group: Group, kept: Mapping[int, int]) -> bool:
        snap, trial, least = self._snap, self._trial, group.shape.least_sums
        if over_limit(snap, trial, group.queue, least) is None:
            return True
        mark = trial.mark()
        for row, count in kept.items():
            sums = placed_sums(snap.jobs.job(row), tuple(dropped(snap, row, count)))
            trial.charge(int(snap.jobs.queue[row]), tuple(-amount for amount in sums))
        within = over_limit(snap, trial, group.queue, least) is None
        trial.rollback(mark)
        return within

    def _room(self, group: Group, kept: Mapping[int, int]) -> Placement | None:
        """Where the least start fits, within limits, when these jobs keep so many workers; the trial is as before."""
        if not self._within_limits(group, kept):
            return None
        trial, mark = self._trial, self._trial.mark()
        if kept:
            trial.take_all(self._given_up(kept).reverse())
        outcome = place(self._snap, trial, self._policy, group.shape, least=True)
        trial.rollback(mark)
        return outcome.placement if isinstance(outcome, Fitted) else None

    def _given_up(self, kept: Mapping[int, int]) -> Takings:
        new = [each for each in kept.items() if each not in self._leaves]
        if new:
            parted = [[(row, task) for task in dropped(self._snap, row, count)] for row, count in new]
            all_of_them, first = Takings.of(self._snap, [each for tasks in parted for each in tasks]), 0
            for each, tasks in zip(new, parted, strict=True):
                self._leaves[each] = all_of_them.some(slice(first, first + len(tasks)))
                first += len(tasks)
        return Takings.together([self._leaves[each] for each in kept.items()])

    def _by_node(self, kept: Mapping[int, int]) -> "_Left":
        """What these jobs give up together. Who asks next often tries the same ones."""
        key = tuple(kept.items())
        known = self._together.get(key)
        if known is None:
            known = self._together[key] = _Left.of(self._given_up(kept))
        return known


class _Count:
    """Whether a job of one role that may stand anywhere finds room, told by counting. What others leave is counted anew
    on their nodes alone, while to place it looks at all nodes."""

    def __init__(self, snap: Snapshot, trial: Trial, shape: Shape) -> None:
        self._nodes, (self._request, _, self._least) = snap.nodes, shape.roles[0]
        self._capacity = fit.free_capacity(snap, trial, near.allowed(snap, shape, trial))
        self._room = fit.room(snap.nodes, self._capacity, self._request)
        self._total = int(self._room.sum())

    @classmethod
    def of(cls, snap: Snapshot, trial: Trial, policy: Policy, shape: Shape) -> "_Count | None":
        """For such a job; None for others."""
        apart = len(snap.nodes.executors) > 1 and not shape.single
        if len(shape.roles) > 1 or apart or near.together_of(policy, shape) is not None:
            return None
        return cls(snap, trial, shape)

    def fits(self, left: "_Left") -> bool:
        """Whether its least start finds room when this is given back."""
        here = self._capacity.at(left.rows)
        devices = here.device_free + left.milli
        idle, most = (devices == WHOLE).sum(axis=1), devices.max(axis=1, initial=0)
        capacity = fit.Capacity(here.flat + left.flat, idle, most, devices, here.allowed)
        then = fit.room_on(self._nodes, capacity, self._request, left.rows)
        return self._total + int((then - self._room[left.rows]).sum()) >= self._least


class _Left(NamedTuple):
    """What is given up, node by node: ``rows`` (R,), ``flat`` (R, 4), ``milli`` (R, D)."""

    rows: Ints
    flat: Ints
    milli: Ints

    @classmethod
    def of(cls, some: Takings) -> Self:
        """Of tasks, summed up by node."""
        rows, at = np.unique(some.nodes, return_inverse=True)
        flat, milli = (np.zeros((len(rows), column.shape[1]), np.int64) for column in (some.flat, some.milli))
        np.add.at(flat, at, some.flat)
        np.add.at(milli, at, some.milli)
        return cls(rows, flat, milli)


def _floors(snap: Snapshot, policy: Policy, rows: list[int]) -> dict[int, int]:
    """The fewest workers that each job can do with: its least, or what its deadline needs. Only of those with more."""
    w, unit = workers(snap, policy, rows)
    share, floors = sizing.shares(w), dict[int, int]()
    for index, row in enumerate(rows):
        least = snap.jobs.job(row).roles[0].least
        if share[index] >= 0:
            least = max(least, int(w.sizes[index, share[index]]) // max(int(unit[index]), 1))
        if least < len(snap.jobs.placement[row]):
            floors[row] = least
    return floors


def _loss(snap: Snapshot, policy: Policy, row: int, floor: int) -> float:
    """Speed lost per worker given up, as a share of the speed of a full set."""
    full, held = snap.jobs.job(row).tasks, len(snap.jobs.placement[row])
    least, now, most = curves.speeds(snap, policy, row, [floor, held, full]).tolist()
    return (now - least) / max(now, most) / (held - floor)
