"""The line of one decision: every job that may start now, in order, and what becomes of each.

A *walk* goes along it and places job after job. ``walk_plainly`` is the rule; ``walk_fast`` does the same with a
compiled kernel, many thousand times a second. Both stop at a job that needs more than they do (several roles, an
elastic gang, one that stands together, a gang where there are several executors, a job that keeps apart) and at one
that may preempt and found no room; the pipeline then does what is to be done on the same trial, and lets the walk go on
behind it.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fairway.decide import fit, order, walk_fast
from fairway.decide.admit import over_limit
from fairway.decide.gang import Fitted, place
from fairway.decide.marks import NO_ROOM, OVER_LIMIT, PLACED, REFUSED, SLOW, UNTRIED
from fairway.model.plan import Placement, Starts
from fairway.model.policy import Policy
from fairway.model.reasons import Placed
from fairway.state.columns import Floats, Ints
from fairway.state.company import Company
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial

NO_KINDS: fit.Kinds = (("", 0),)


class Compiled(NamedTuple):
    """A shape for the walk: devices per task, share of one and speed by kind, and whether it is left to the caller."""

    gpus: int
    milli: Ints
    speed: Floats
    slow: bool


class Line:
    """``rows`` (P,) are job rows in order; ``answers`` (P,) what became of each (``marks.PLACED`` and so on)."""

    def __init__(
        self, snap: Snapshot, trial: Trial, policy: Policy, disciplines: order.Disciplines = order.TABLE
    ) -> None:
        self.snap, self.trial, self.policy = snap, trial, policy
        self.rows = _in_order(snap, policy, disciplines)
        groups = snap.groups
        self.groups = snap.jobs.group[self.rows]
        self.shapes: Ints = groups.shape[self.groups]
        self.urgent = groups.preempts[self.groups]
        """(P,) whether to ask the caller when a job finds no room."""
        self.answers: Ints = np.zeros(len(self.rows), np.int64)
        self.no_room = np.full(len(groups.shapes.shapes), -1, np.int64)
        """(S,) place in line of the first job of each shape that found no room; -1 for none."""
        self.over = np.full(groups.height, -1, np.int64)
        """(G,) place in line of the first job of each group that met a limit; -1 for none."""
        self.hopeless = np.zeros(groups.height, np.bool_)
        """(G,) groups that may preempt, but cannot."""
        self._fitted: dict[int, Fitted] = {}
        self._last: tuple[Shape, Fitted] | None = None
        """What was placed just before, when it was one task."""
        self._fast: walk_fast.Columns | None = None
        self._counted = 0
        """Places in line up to which ``tell_company`` has looked."""

    def __len__(self) -> int:
        return len(self.rows)

    def walk(self) -> Iterator[tuple[int, int]]:
        """Place job after job. Yields (``SLOW`` or ``REFUSED``, place in line) where the caller is to act."""
        return self.walk_fast() if walk_fast.pays(len(self)) else self.walk_plainly()

    def walk_plainly(self) -> Iterator[tuple[int, int]]:
        """``walk``, one job at a time."""
        groups, queues = self.snap.groups, self.snap.jobs.queue
        for at in range(len(self)):
            shape_row, group, queue = int(self.shapes[at]), int(self.groups[at]), int(queues[self.rows[at]])
            shape = groups.shapes.shapes[shape_row]
            slow, urgent = self.compiled(shape).slow, self.urgent[at] and not self.hopeless[group]
            if self.over[group] >= 0:
                self.answers[at] = OVER_LIMIT
            elif not slow and over_limit(self.snap, self.trial, queue, shape.sums):
                self.over[group], self.answers[at] = at, OVER_LIMIT
            elif self.no_room[shape_row] >= 0 and not urgent:
                self.answers[at] = NO_ROOM
            elif slow:
                self._last = None
                yield SLOW, at
            elif self.no_room[shape_row] < 0 and self._place(at, shape, queue):
                self.answers[at] = PLACED
            else:
                if self.no_room[shape_row] < 0:
                    self.no_room[shape_row] = at
                self.answers[at] = NO_ROOM
                if urgent:
                    self._last = None
                    yield REFUSED, at

    def walk_fast(self) -> Iterator[tuple[int, int]]:
        """``walk``, by the kernel."""
        compiled = [self.compiled(shape) for shape in self.snap.groups.shapes.shapes]
        self._fast = walk_fast.Columns(self.snap, self.trial, self.policy, self.rows, compiled)
        marks = (self.no_room, self.over, self.hopeless)
        return self._fast.walk((self.shapes, self.groups, self.urgent), marks, self.answers)

    def helped(self, at: int) -> None:
        """The caller has found a way for the job it was asked about: those equal to it are tried again."""
        self.answers[at] = UNTRIED
        self._fitted.pop(at, None)
        if self.no_room[self.shapes[at]] == at:
            self.no_room[self.shapes[at]] = -1

    def refuse(self, at: int, limit: bool) -> None:
        """The caller could not start the job it was asked about either: those equal to it need not be asked about."""
        if limit:
            self.over[self.groups[at]] = at
        else:
            self.hopeless[self.groups[at]] = True
            if self.no_room[self.shapes[at]] < 0:
                self.no_room[self.shapes[at]] = at
        self.answers[at] = OVER_LIMIT if limit else NO_ROOM

    def ask_of_all(self) -> None:
        """Ask the caller about every group that finds no room, and not only about those that may preempt."""
        self.urgent[:] = True

    def ask_no_more(self) -> None:
        """The caller can do nothing more for jobs that find no room and may not preempt."""
        self.hopeless |= ~self.snap.groups.preempts[: len(self.hopeless)]

    def count_placed(self, before: int) -> int:
        """How many of the jobs before a place in line the walk itself has placed."""
        return int(np.count_nonzero(self.answers[:before] == PLACED))

    def tell_company(self, company: Company, until: int) -> None:
        """Count in whom the walk has placed, before place ``until``, since this was last asked."""
        for at in range(self._counted, until):
            if self.answers[at] == PLACED:
                company.join(self.snap.jobs.job(int(self.rows[at])), self._nodes_of(at))
        self._counted = until

    def _nodes_of(self, at: int) -> list[int]:
        if self._fast is not None:
            return self._fast.nodes_of(at)
        return [self.snap.nodes.row_of[task.node] for task in self._fitted[at].placement]

    def placed(self) -> Iterator[tuple[int, Placement, Placed]]:
        """(place in line, placement, reason) of every job that the walk itself has placed."""
        for at, fitted in self._fitted.items():
            yield at, fitted.placement, fitted.reason
        if self._fast is not None:
            yield from self._fast.placed(self._placed_fast(single=False))

    def starts(self) -> Starts | None:
        """Jobs of one task that the kernel has placed, as columns, when they are many; ``placed`` leaves them out."""
        return self._fast and self._fast.starts(self._placed_fast(single=True))

    def _placed_fast(self, *, single: bool) -> Ints:
        """Places in line of jobs that the kernel has placed: those that ``starts`` tells of, or the others."""
        places = np.flatnonzero(self.answers == PLACED)
        if self._fast is None:
            return places[:0]
        alone = self._fast.single(places)
        many = np.count_nonzero(alone) >= walk_fast.MANY
        return places[alone if single else ~alone] if many else places[:0] if single else places

    def compiled(self, shape: Shape) -> Compiled:
        """What the walk needs to know of a shape."""
        nodes = self.snap.nodes
        return _compiled(shape, tuple(nodes.kinds) or NO_KINDS, len(nodes.executors) > 1)

    def _place(self, at: int, shape: Shape, queue: int) -> bool:
        outcome = place(self.snap, self.trial, self.policy, shape)
        if not isinstance(outcome, Fitted):
            self._last = None
            return False
        if self._last is not None and shape.single and self._last[0] == shape:
            before = self._last[1]
            if before.placement[0].node == outcome.placement[0].node:  # as the kernel, which does not search again
                outcome = replace(outcome, reason=replace(outcome.reason, candidates=before.reason.candidates))
        self._last = (shape, outcome) if shape.single else None
        self.trial.charge(queue, shape.sums)
        self._fitted[at] = outcome
        return True


@lru_cache(maxsize=65_536)
def _compiled(shape: Shape, kinds: fit.Kinds, several: bool) -> Compiled:
    request = shape.roles[0][0]
    by_memory = any(request.gpu_memory_mib for request, _, _ in shape.roles)
    picky = bool(shape.where.apart) or (shape.where.together is not None and not shape.single)
    slow = len(shape.roles) > 1 or shape.elastic or (several and not shape.single) or by_memory or picky
    return Compiled(request.gpus, fit.share_by_kind(request, kinds), fit.speed_by_kind(request, kinds), slow)


def _in_order(snap: Snapshot, policy: Policy, disciplines: order.Disciplines) -> Ints:
    """Rows of every job in line whose group is ready."""
    rows = np.flatnonzero(snap.jobs.in_line[: snap.jobs.height])
    return order.in_order(snap, policy, rows[~snap.groups.blocked[snap.jobs.group[rows]]], disciplines)
