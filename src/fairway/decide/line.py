"""The line of one decision: every job that may start now, in order, and what becomes of each.

A *walk* goes along it and places job after job. ``walk_plainly`` is the rule; ``walk_fast`` does the same with a
compiled kernel, many thousand times a second. Both stop at a job that needs more than they do (several roles, an
elastic gang, one that stands together, a gang where there are several executors, a job that keeps apart) and at one
that may preempt and found no room; the pipeline then does what is to be done on the same trial, and lets the walk go on
behind it.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from fairway.decide import fit, order, quota, rolling, scores, share, typechoice, walk_fast
from fairway.decide.admit import kept_back, over_own_limit
from fairway.decide.gang import Fitted, place
from fairway.decide.marks import DONE, NO_ROOM, OVER_LIMIT, PLACED, REFUSED, SLOW, UNTRIED
from fairway.decide.turns import Alone, Turns
from fairway.model.plan import Placement, Starts
from fairway.model.policy import Policy
from fairway.model.reasons import Placed
from fairway.state.columns import Bools, Floats, Ints, narrow
from fairway.state.company import Company
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial

NO_KINDS: fit.Kinds = (("", 0),)
NOBODY: Ints = np.empty(0, np.int64)
ALONE: Ints = np.zeros(1, np.int64)
"""The order of a line of one."""


class Compiled(NamedTuple):
    """A shape for the walk: devices per task, share of one by kind, what puts one kind before another (speed, unless
    ``typechoice`` says otherwise), and whether it is left to the caller."""

    gpus: int
    milli: Ints
    speed: Floats
    slow: bool


class Line:
    """``rows`` (P,) are job rows in the order of their turns, as far as a walk has come; ``groups`` and ``shapes`` (P,)
    are theirs, ``answers`` (P,) what became of each (``marks.PLACED`` and so on)."""

    def __init__(
        self, snap: Snapshot, trial: Trial, policy: Policy, disciplines: order.Disciplines = order.TABLE,
        among: Bools | None = None,
    ) -> None:  # fmt: skip
        """Of ``among`` (J,), or of all."""
        self.snap, self.trial, self.policy = snap, trial, policy
        groups, rows = snap.groups, _in_order(snap, policy, disciplines, among)
        # The jobs as they stand before anybody's turn: queue by queue, in order.
        self._order: Ints = _by_queue(snap, rows) if len(rows) > 1 else ALONE[: len(rows)]
        self._rows: Ints = rows[self._order] if len(rows) > 1 else rows
        self._groups = snap.jobs.group[self._rows]
        self._shapes: Ints = groups.shape[self._groups]
        self._apart: Ints = self._groups[:0]
        """Groups that are asked about though others like them ask in vain: room is kept for them, or booked."""
        if snap.reserved:
            self._apart = self._groups[_reserved(snap)[self._rows]]
        self.rows, self.groups, self.shapes, self.answers = np.zeros((4, len(rows)), np.int64)
        if policy.placement.types != "fastest":
            trial.liking = typechoice.liking(snap, trial, policy, self._rows, self._shapes)
        self.no_room = np.zeros(len(groups.shapes.shapes), np.int64) - 1
        """(S,) place in line of the first job of each shape that found no room; -1 for none."""
        self.over = np.zeros(groups.height, np.int64) - 1
        """(G,) place in line of the first job of each group that met a limit; -1 for none."""
        self.refuses = False
        """Whether anybody may have found no room, or met a limit."""
        self.hopeless = np.zeros(groups.height, np.bool_)
        """(G,) groups that would be asked about in vain."""
        self._by_shape: list[Ints] | None = None
        self._of_takers = False
        """Whether the caller is asked only about those that may take room from others."""
        self._several = several(snap, policy)
        self._fitted: dict[int, Fitted] = {}
        self._last: tuple[Shape, Fitted] | None = None
        """What was placed just before, when it was one task."""
        self._fast: walk_fast.Columns | None = None
        self._counted = 0
        """Places in line up to which ``tell_company`` has looked."""

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def _urgent(self) -> Bools:
        """(P,) whether to ask the caller when a job finds no room: it keeps what is reserved from those behind it."""
        urgent = self.snap.groups.takes(self.snap.queues, self._groups)
        return urgent | _reserved(self.snap)[self._rows] if self.snap.reserved else urgent

    def walk(self) -> Iterator[tuple[int, int]]:
        """Place job after job. Yields (``SLOW`` or ``REFUSED``, place in line) where the caller is to act."""
        fast = scores.linear(self.policy) and walk_fast.pays(len(self))
        return self.walk_fast() if fast else self.walk_plainly()

    def walk_plainly(self) -> Iterator[tuple[int, int]]:
        """``walk``, one job at a time."""
        if not len(self):
            return
        queue = self.snap.jobs.queue
        alone = queue[self._rows[0]] == queue[self._rows[-1]]
        whose, at = Alone(len(self)) if alone else Turns(self._tournament()), 0
        while (entrant := whose.next()) is not None:
            first, why = True, DONE
            while why == DONE and (place := whose.head(entrant)) is not None and (first or self._in_vain(place)):
                first = False
                whose.take(entrant)
                self.rows[at], self.groups[at] = self._rows[place], self._groups[place]
                self.shapes[at] = self._shapes[place]
                why = self._deal(at, place)
                at += 1
            if why != DONE:
                self._last = None
                yield why, at - 1
            whose.refresh(entrant)

    def walk_fast(self) -> Iterator[tuple[int, int]]:
        """``walk``, by the kernel."""
        if not len(self):
            return
        self.refuses = True  # or may do so: the kernel does not say
        compiled = [self.compiled(shape) for shape in self.snap.groups.shapes.shapes]
        self._fast = walk_fast.Columns(self.snap, self.trial, self.policy, self._rows, compiled)
        marks = (self.no_room, self.over, self.hopeless)
        jobs = (self._shapes, self._groups, self._urgent)
        yield from self._fast.walk(self._tournament(), jobs, marks, self.answers, self._stand)

    def _tournament(self) -> share.Columns:
        jobs = self._shapes, order.aged(self.snap, self.policy.order, self._rows), self._order
        return share.turns(self.snap, self.trial, self.policy, self.snap.jobs.queue[self._rows], jobs)

    def _stand(self, at: int, places: Ints) -> None:
        """From ``at`` on, these jobs have had their turns."""
        upto = at + len(places)
        self.rows[at:upto], self.groups[at:upto] = self._rows[places], self._groups[places]
        self.shapes[at:upto] = self._shapes[places]

    def _wants(self, place: int) -> bool:
        """Whether a job is to be asked about when it finds no room."""
        return bool(self._urgent[place] and not self.hopeless[self._groups[place]])

    def _in_vain(self, place: int) -> bool:
        """Whether a job is refused whenever it is asked: it need not wait for its turn."""
        no_room = self.no_room[self._shapes[place]] >= 0 and not self._wants(place)
        return bool(no_room or self.over[self._groups[place]] >= 0)

    def _deal(self, at: int, place: int) -> int:
        """Place a job, or refuse it; what the caller is asked for, ``DONE`` for nothing."""
        shape_row, group = self.shapes.item(at), self.groups.item(at)
        shape, queue = self.snap.groups.shapes.shapes[shape_row], self.snap.groups.queue.item(group)
        slow = is_slow(shape, self._several)
        if self.over.item(group) < 0 and not slow and over_own_limit(self.snap, self.trial, queue, shape.sums):
            self.over[group], self.refuses = at, True
        if self.over.item(group) >= 0:
            self.answers[at] = OVER_LIMIT
            return DONE
        known = self.no_room.item(shape_row) >= 0
        if not known or self._wants(place):
            if slow:
                return SLOW
            if not known:
                kept = self.trial.lending is not None and kept_back(self.snap, self.trial, queue, shape.sums)
                if kept and self._would_fit(shape):
                    # Only the caller can help it: by what others have borrowed, instead of what is kept.
                    urgent = self._wants(place)
                    self.over[group], self.refuses = -1 if urgent else at, True
                    self.answers[at] = OVER_LIMIT
                    return REFUSED if urgent else DONE
                if not kept and self._place(at, shape, queue):
                    self.answers[at] = PLACED
                    return DONE
                self.no_room[shape_row] = at
        self.answers[at], self.refuses = NO_ROOM, True
        return REFUSED if self._wants(place) else DONE

    def helped(self, at: int) -> None:
        """The caller has found a way for the job it was asked about: those equal to it are tried again."""
        self.answers[at] = UNTRIED
        self._fitted.pop(at, None)
        if self.no_room[self.shapes[at]] == at:
            self.no_room[self.shapes[at]] = -1

    def refuse(self, at: int, limit: bool, *, final: bool = True) -> None:
        """The caller could not start the job it was asked about either: those equal to it need not be asked about.
        Not ``final``: it might for another one that may take no room from others, as its own starts may yet move."""
        self.refuses = True
        if limit:
            self.over[self.groups[at]] = at
        else:
            self.hopeless[self.groups[at]] = True
            self._give_up_like(at, final)
            if self.no_room[self.shapes[at]] < 0:
                self.no_room[self.shapes[at]] = at
        self.answers[at] = OVER_LIMIT if limit else NO_ROOM

    def _give_up_like(self, at: int, final: bool) -> None:
        """Nobody of the same shape and no higher class fares better, but for those that a quota covers, or that may
        preempt, when this one is not or may not; and but for those that room is kept for."""
        jobs, preempts = self.snap.jobs, self.snap.groups.preempts
        places = self._alike(int(self.shapes[at]))
        rows = self._rows[places]
        alike = jobs.cls[rows] >= jobs.cls[self.rows[at]]
        groups = self._groups[places[alike]]
        if not final:
            groups = groups[self.snap.groups.takes(self.snap.queues, groups)]
        if not preempts[self.groups[at]]:
            groups = groups[~preempts[groups]]
        if self.trial.lending is not None:  # what others keep is out of reach for some queues, not for all
            guard, queue = self.snap.queues.guard, self.snap.groups.queue
            groups = groups[guard[queue[groups]] == guard[jobs.queue[self.rows[at]]]]
        sums, own = self.snap.groups.shapes.shapes[int(self.shapes[at])].least_sums, jobs.queue[self.rows[at : at + 1]]
        if not quota.covers(self.snap, self.trial, sums, own)[0]:
            groups = groups[~quota.covers(self.snap, self.trial, sums, self.snap.groups.queue[groups])]
        self.hopeless[groups[~np.isin(groups, self._apart)] if len(self._apart) else groups] = True

    def _alike(self, shape: int) -> Ints:
        """Places of the jobs of one shape, as they stood before anybody's turn."""
        if self._by_shape is None:
            height = len(self.snap.groups.shapes.shapes)
            order = np.argsort(narrow(self._shapes, height), kind="stable")
            self._by_shape = np.split(order, np.searchsorted(self._shapes[order], np.arange(1, height)))
        return self._by_shape[shape]

    def ask_of_all(self) -> None:
        """Ask the caller about every group that finds no room, not only about those that may take it from others."""
        self._urgent = np.ones(len(self), np.bool_)

    def ask_of(self, groups: Bools) -> None:
        """Ask the caller about every job of these groups (G,) that finds no room, too."""
        asked = groups[self._groups]
        self._urgent |= asked
        self._apart = np.concatenate([self._apart, self._groups[asked]])

    def ask_no_more(self, *, of_anybody: bool = False) -> None:
        """The caller can do nothing more for jobs that find no room and may not take it from others, or of anybody."""
        if of_anybody or not self._of_takers:
            hopeless = of_anybody | ~self.snap.groups.takes(self.snap.queues)
            hopeless[self._apart] = False
            self.hopeless |= hopeless
            self._of_takers = True

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

    def backfilled(self, at: int) -> None:
        """The caller has placed a refused job after all: the next one like it speaks for those that wait."""
        self.answers[at] = UNTRIED
        shape = self.shapes[at]
        if self.no_room[shape] == at:
            rest = np.flatnonzero((self.shapes == shape) & (self.answers == NO_ROOM))
            self.no_room[shape] = rest[0] if len(rest) else -1

    def refused(self) -> Ints:
        """Places in line of the jobs that found no room."""
        return np.flatnonzero(self.answers == NO_ROOM) if self.refuses else NOBODY

    def placed(self) -> Iterator[tuple[int, Placement, Placed]]:
        """(place in line, placement, reason) of every job that the walk itself has placed."""
        for at, fitted in self._fitted.items():
            yield at, fitted.placement, fitted.reason
        if self._fast is not None:
            yield from self._fast.placed(self._placed_fast(single=False))

    def starts(self) -> Starts | None:
        """Jobs of one task that the kernel has placed, as columns, when they are many; ``placed`` leaves them out."""
        if self._fast is None:
            return None
        places = self._placed_fast(single=True)
        return self._fast.starts(places, self.rows[places])

    def _placed_fast(self, *, single: bool) -> Ints:
        """Places in line of jobs that the kernel has placed: those that ``starts`` tells of, or the others."""
        if self._fast is None:
            return NOBODY
        places = np.flatnonzero(self.answers == PLACED)
        alone = self._fast.single(places)
        many = np.count_nonzero(alone) >= walk_fast.MANY
        return places[alone if single else ~alone] if many else places[:0] if single else places

    def compiled(self, shape: Shape) -> Compiled:
        """What the walk needs to know of a shape."""
        compiled = _compiled(shape, tuple(self.snap.nodes.kinds) or NO_KINDS, self._several)
        liked = self.trial.liking.get(shape.roles[0][0])
        return compiled if liked is None else compiled._replace(speed=liked)

    def _would_fit(self, shape: Shape) -> bool:
        """Whether there is room for a job, though it may not be for this one."""
        self._last, mark = None, self.trial.mark()
        fits = isinstance(place(self.snap, self.trial, self.policy, shape), Fitted)
        self.trial.rollback(mark)
        return fits

    def _place(self, at: int, shape: Shape, queue: int) -> bool:
        outcome = place(self.snap, self.trial, self.policy, shape)
        if not isinstance(outcome, Fitted):
            self._last = None
            return False
        if self._last is not None and shape.single and self._last[0] == shape:
            before = self._last[1]
            if before.placement[0].node == outcome.placement[0].node:  # as the kernel, which does not search again
                outcome = replace(outcome, reason=replace(outcome.reason, candidates=before.reason.candidates))
        self._last = (shape, outcome) if shape.single and scores.linear(self.policy) else None
        self.trial.charge(queue, shape.sums)
        self._fitted[at] = outcome
        return True


@lru_cache(maxsize=65_536)
def _compiled(shape: Shape, kinds: fit.Kinds, several: bool) -> Compiled:
    request = shape.roles[0][0]
    shares, speeds = fit.share_by_kind(request, kinds), fit.speed_by_kind(request, kinds)
    return Compiled(request.gpus, shares, speeds, is_slow(shape, several))


def several(snap: Snapshot, policy: Policy) -> bool:
    """Whether it matters for every gang which nodes stand together: there are several executors, or domains."""
    return len(snap.nodes.executors) > 1 or policy.placement.together is not None


@lru_cache(maxsize=65_536)
def is_slow(shape: Shape, several: bool) -> bool:
    """Whether the walk leaves jobs of a shape to its caller."""
    by_memory = any(request.gpu_memory_mib for request, _, _ in shape.roles)
    picky = bool(shape.where.apart) or (shape.where.together is not None and not shape.single)
    return len(shape.roles) > 1 or shape.elastic or (several and not shape.single) or by_memory or picky


def _in_order(snap: Snapshot, policy: Policy, disciplines: order.Disciplines, among: Bools | None) -> Ints:
    """Rows of every job in line whose group is ready, or that room is kept for."""
    rows: Ints = snap.jobs.in_line[: snap.jobs.height].nonzero()[0]
    if among is not None:
        rows = rows[among[rows]]
    if not snap.groups.refused and not snap.queues.rolling:
        return order.in_order(snap, policy, rows, disciplines)
    ready = ~snap.groups.blocked[snap.jobs.group[rows]]
    if snap.reserved:
        ready |= _reserved(snap)[rows]
    if snap.queues.rolling:
        ready &= ~rolling.spent(snap)[snap.jobs.group[rows]]
    return order.in_order(snap, policy, rows[ready], disciplines)


def _by_queue(snap: Snapshot, rows: Ints) -> Ints:
    """(P,) places of these rows, queue by queue."""
    return narrow(snap.jobs.queue[rows], snap.queues.height).argsort(kind="stable")


def _reserved(snap: Snapshot) -> Bools:
    """(J,) whether room is kept for a job."""
    kept = np.zeros(snap.jobs.height, np.bool_)
    kept[[snap.jobs.row_of[job] for job in snap.reserved]] = True
    return kept
