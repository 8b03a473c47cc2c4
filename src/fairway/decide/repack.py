"""Moving what is not yet anywhere: a job that finds no room may still fit if this decision's own starts lay elsewhere.

The line is walked job by job, and each takes the best place for itself alone. When one further back then finds no room,
the starts before it that this very decision has chosen have not begun: moving them costs nothing and harms nobody. So
all of them are taken off, and placed again in another order together with the job that was refused. If everybody fits,
that is the plan; else it stays as it was. Nobody is passed over for another's sake, and nothing that runs is touched.

The order is found by *squeaky wheel optimization* (Joslin and Clements, JAIR 10, 1999): first the hardest to place,
then, again and again, whoever did not fit moves to the front. A start is never moved to devices on which it would be
slower. The work is bounded (``LOOKS``), so that on a large cluster only few starts are ever moved; there the next hole
is near anyway. ``bench.optimal`` measures what it is worth.
"""

import math
from dataclasses import dataclass

from fairway.decide import fit, near
from fairway.decide.admit import over_limit
from fairway.decide.gang import Fitted, place
from fairway.decide.line import Line
from fairway.model.plan import Action, Placement, Start
from fairway.state.groups import Group, Shape
from fairway.state.jobs import placed_sums
from fairway.state.tables import CPU, MEMORY

LOOKS = 1 << 14
"""Nodes that one decision may look at for this; a placement looks at all of them, and costs as much as ``LEAST``."""
LEAST = 128
MOST_ASKS = 8
"""Refused jobs for which one decision tries."""
ROUNDS = 8
"""Orders tried for each."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A start that may be moved, or the job that wants in: its place in line, and as fast as what it must remain."""

    at: int
    group: Group
    placement: Placement
    speed: float
    hardness: tuple[float, int]


class Repack:
    """For one walk along ``line``."""

    def __init__(self, line: Line) -> None:
        self._line, self._snap, self._trial = line, line.snap, line.trial
        self._left = LOOKS // max(self._snap.nodes.height, LEAST)
        # Who keeps apart from others was placed after them: with such work in line nothing is moved.
        self._asks = 0 if self._snap.groups.any_apart else MOST_ASKS
        self._hardness: dict[Shape, tuple[float, int]] = {}
        self._whole: fit.Capacity | None = None

    @property
    def spent(self) -> bool:
        """True when this decision tries for nobody more."""
        return self._asks <= 0 or self._left <= 1

    def make_room(self, at: int, group: Group, said: dict[int, list[Action]]) -> dict[int, Fitted] | None:
        """Where the job at place ``at`` and starts before it are to go, by place in line, taken off the trial and
        charged already; None when nothing is found, and the trial is as before. ``said`` has what the walk's caller has
        decided itself."""
        if self.spent or self._snap.groups.shapes.any_apart:  # who keeps apart from whom would change with every move
            return None
        if over_limit(self._snap, self._trial, group.queue, group.shape.sums):
            return None
        self._asks -= 1
        pieces = self._movable(at, said)
        if not pieces or len(pieces) + 2 > self._left or not self._enough([group, *(piece.group for piece in pieces)]):
            return None
        mark = self._trial.mark()
        for piece in pieces:
            self._take_off(piece)
        wanted = _Piece(at, group, (), 0.0, self._hard(group.shape))
        found = self._order([*pieces, wanted]) if self._fits_alone(wanted) else None
        if found is None:
            self._trial.rollback(mark)
        return found

    def _enough(self, groups: list[Group]) -> bool:
        """Whether what is free in all would do for the first of them: moving the others makes no more of it, but where
        a share by memory is less of another type's device."""
        trial, nodes = self._trial, self._snap.nodes
        if any(request.gpu_memory_mib for group in groups for request, _, _ in group.shape.roles):
            return True
        up = nodes.placeable[: nodes.height]
        free = (*trial.free[up][:, (CPU, MEMORY)].clip(0).sum(axis=0).tolist(), int(trial.gpu_free[up].sum()))
        return all(there >= need for there, need in zip(free, groups[0].shape.least_sums, strict=True))

    def _movable(self, at: int, said: dict[int, list[Action]]) -> list[_Piece]:
        """The starts before place ``at``. One that started smaller than it would like, or stands together though it
        need not, keeps its place."""
        line, groups = self._line, self._snap.groups
        if line.count_placed(at) > self._left:
            return []
        starts = {other: placement for other, placement, _ in line.placed()}
        for other, actions in said.items():
            if len(actions) == 1 and isinstance(actions[0], Start):
                starts[other] = actions[0].placement
        pieces: list[_Piece] = []
        for other, placement in sorted(starts.items()):
            group = groups.group(int(line.groups[other]))
            together = near.together_of(line.policy, group.shape)
            if not group.shape.elastic and (together is None or together.required):
                speed = self._speed(group.shape, placement)
                pieces.append(_Piece(other, group, placement, speed, self._hard(group.shape)))
        return pieces

    def _hard(self, shape: Shape) -> tuple[float, int]:
        """How few such jobs an empty cluster could hold, then how much one takes: the smallest is placed first."""
        known = self._hardness.get(shape)
        if known is None:
            self._whole = self._whole or fit.whole_capacity(self._snap)
            rooms = [
                int(fit.room(self._snap.nodes, self._whole, request).sum()) / count for request, count, _ in shape.roles
            ]
            known = self._hardness[shape] = (min(rooms), -shape.sums[2])
        return known

    def _speed(self, shape: Shape, placement: Placement) -> float:
        """Of the slowest task."""
        slowest = math.inf
        for task in placement:
            request = shape.roles[task.role][0]
            if request.accelerators:
                node = self._snap.nodes.node(self._snap.nodes.row_of[task.node])
                slowest = min(slowest, request.speed_on(node.gpu_type))
        return slowest

    def _take_off(self, piece: _Piece) -> None:
        self._trial.put(int(self._line.rows[piece.at]), piece.placement, sign=-1, charge=True)

    def _place(self, piece: _Piece) -> Fitted | None:
        """A place for one of them, taken and charged; None, and the trial as before, when it has none as good."""
        self._left -= 1
        trial, mark = self._trial, self._trial.mark()
        outcome = place(self._snap, trial, self._line.policy, piece.group.shape, least=piece.group.shape.elastic)
        if isinstance(outcome, Fitted):
            job = self._snap.jobs.job(int(self._line.rows[piece.at]))
            sums = placed_sums(job, outcome.placement)
            slower = piece.placement and self._speed(piece.group.shape, outcome.placement) < piece.speed
            if not slower and not over_limit(self._snap, trial, piece.group.queue, sums):
                trial.charge(piece.group.queue, sums)
                return outcome
        trial.rollback(mark)
        return None

    def _fits_alone(self, piece: _Piece) -> bool:
        mark = self._trial.mark()
        fits = self._place(piece) is not None
        self._trial.rollback(mark)
        return fits

    def _order(self, pieces: list[_Piece]) -> dict[int, Fitted] | None:
        """All of them placed, in some order in which they fit."""
        order = sorted(pieces, key=lambda piece: (piece.hardness, piece.at))
        for _ in range(ROUNDS):
            if self._left < len(order):
                return None
            mark, found = self._trial.mark(), dict[int, Fitted]()
            squeaks: _Piece | None = None
            for piece in order:
                outcome = self._place(piece)
                if outcome is None:
                    squeaks = piece
                    break
                found[piece.at] = outcome
            if squeaks is None:
                return found
            self._trial.rollback(mark)
            if squeaks is order[0]:
                return None
            order.remove(squeaks)
            order.insert(0, squeaks)
        return None
