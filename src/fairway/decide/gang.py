"""Placing a job on a trial: every task of every role, or nothing.

The tasks of a role go where the fastest accepted type has room, and there to the node that the policy's score likes
best; many equal tasks fill as few nodes as they can. A gang never spans two executors: nobody could start it as one.
"""

from dataclasses import dataclass, replace

import numpy as np

from fairway.decide import fit, near, score, scores
from fairway.decide.ranks import Ranks, ranks_for
from fairway.decide.search import Found, best_with_room
from fairway.model.frozen import frozen
from fairway.model.plan import Placement, TaskPlacement
from fairway.model.policy import Policy
from fairway.model.reasons import Placed
from fairway.model.resources import Request
from fairway.model.where import Together
from fairway.state.columns import Bools, Ints
from fairway.state.groups import Shape
from fairway.state.places import LEVELS
from fairway.state.snapshot import Snapshot, Trial


@frozen
class Fitted:
    """A job that fits, taken off the trial already."""

    placement: Placement
    reason: Placed


@dataclass(frozen=True, slots=True)
class Short:
    """A job that does not fit; the trial is as before."""


@dataclass(slots=True)
class _Task:
    role: int
    node: int
    devices: tuple[int, ...]
    milli: int


def place(
    snap: Snapshot, trial: Trial, policy: Policy, shape: Shape, *, least: bool = False, only: Bools | None = None
) -> Fitted | Short:
    """Place a job of this shape on nodes that will do. Roles that may shrink get as many tasks as fit, at least their
    least; with ``least`` they get no more than that. ``only`` (N,) restricts a job to some nodes."""
    if shape.single and only is None:
        ranks = ranks_for(snap, trial, policy, shape)
        if ranks is not None:
            return _place_ranked(snap, trial, policy, shape.roles[0][0], ranks)
    able = near.allowed(snap, shape, trial)
    able = able if only is None else able & only
    together = near.together_of(policy, shape)
    if together is not None:
        return _place_together(snap, trial, policy, shape, able, together, least)
    return _place_anywhere(snap, trial, policy, shape, able, least)


def _place_ranked(snap: Snapshot, trial: Trial, policy: Policy, request: Request, ranks: Ranks) -> Fitted | Short:
    """The only task of a job, where nodes are ranked already."""
    found = ranks.best()
    if found is None:
        return Short()
    reason = _reason(snap, trial, policy, request, found, ranks.scale)
    devices, milli = _take(snap, trial, request, found)
    return Fitted((TaskPlacement(0, 0, snap.nodes.id_of(found.row), devices, milli),), reason)


def _place_anywhere(
    snap: Snapshot, trial: Trial, policy: Policy, shape: Shape, able: Bools, least: bool
) -> Fitted | Short:
    """All on the nodes of one executor: the first with room for a full start, else the one that takes most."""
    executors = _executors(snap, shape, able)
    wanted = sum(minimum if least else count for _, count, minimum in shape.roles)
    mark, most, roomiest = trial.mark(), 0, None
    for allowed in executors:
        outcome = _place_within(snap, trial, policy, shape, allowed, least)
        if isinstance(outcome, Fitted):
            if len(executors) == 1 or len(outcome.placement) == wanted:
                return outcome
            if len(outcome.placement) > most:
                most, roomiest = len(outcome.placement), allowed
        trial.rollback(mark)
    return Short() if roomiest is None else _place_within(snap, trial, policy, shape, roomiest, least)


def _executors(snap: Snapshot, shape: Shape, able: Bools) -> list[Bools]:
    """The nodes to try together: all for a single task, one executor's at a time for a gang."""
    if shape.single or len(snap.nodes.executors) < 2:
        return [able]
    column = snap.nodes.executor[: snap.nodes.height]
    return [able & (column == code) for _, code in sorted(snap.nodes.executors.items())]


def _place_together(
    snap: Snapshot, trial: Trial, policy: Policy, shape: Shape, able: Bools, together: Together, least: bool
) -> Fitted | Short:
    """In the smallest domain that can be, up to the level asked for; beyond it only where that is a wish."""
    mark = trial.mark()
    for level, name, inside in near.domains_to_try(snap, trial, shape, able, together, least=least):
        outcome = _place_within(snap, trial, policy, shape, able & inside, least)
        if isinstance(outcome, Fitted):
            return _in_domain(outcome, name, LEVELS.index(level) > LEVELS.index(together.level), together)
        trial.rollback(mark)
    if together.required:
        return Short()
    outcome = _place_anywhere(snap, trial, policy, shape, able, least)
    return outcome if isinstance(outcome, Short) else _in_domain(outcome, "", True, together)


def _in_domain(found: Fitted, name: str, wider: bool, together: Together) -> Fitted:
    """The same, with the domain in its reason, and that it is wider than was wished for."""
    domain = f"in {name}" if name else "across all domains"
    return replace(
        found,
        reason=replace(
            found.reason, domain=f"{domain}, as no {together.level} has room for all of it" if wider else domain
        ),
    )


def _place_within(
    snap: Snapshot, trial: Trial, policy: Policy, shape: Shape, allowed: Bools, least: bool
) -> Fitted | Short:
    tasks: list[_Task] = []
    reason: Placed | None = None
    rooms = _Rooms(snap, trial, policy, shape, allowed)
    order = rooms.hardest_first()
    for index in order:
        request, _, minimum = shape.roles[index]
        found, why = _place_tasks(snap, trial, policy, request, minimum, index, rooms)
        tasks += found
        reason = reason or why
        if len(found) < minimum:
            return Short()
    if not order:
        return Short()
    if not least:
        for index, (request, count, minimum) in enumerate(shape.roles):
            if count > minimum:
                tasks += _place_tasks(snap, trial, policy, request, count - minimum, index, rooms)[0]
    tasks.sort(key=lambda task: task.role)
    placement = tuple(
        TaskPlacement(rank, task.role, snap.nodes.id_of(task.node), task.devices, task.milli)
        for rank, task in enumerate(tasks)
    )
    return Fitted(placement, reason or Placed("best_fit", 0.0, (), 0))


class _Rooms:
    """How many tasks of each role the ``allowed`` nodes have room for: counted over all of them once, then again where
    tasks were taken off the trial."""

    def __init__(self, snap: Snapshot, trial: Trial, policy: Policy, shape: Shape, allowed: Bools) -> None:
        self._snap, self._trial, self._policy, self._shape, self.allowed = snap, trial, policy, shape, allowed
        self.taken: list[int] = []
        """Nodes on which tasks were taken off the trial."""
        self._known: dict[int, Ints] = {}
        self._upto: dict[int, int] = {}

    def hardest_first(self) -> list[int]:
        """Roles by how much room there is beyond their least: one that fits anywhere must not take another's only
        place. None of them where one has no room for its least even by itself."""
        if len(self._shape.roles) == 1 and self.of(0, self._shape.roles[0][2]) is None:
            return [0]  # as soon tried as counted
        spare = [int(self._room(role).sum()) - least for role, (_, _, least) in enumerate(self._shape.roles)]
        return sorted(range(len(spare)), key=spare.__getitem__) if min(spare) >= 0 else []

    def of(self, role: int, wanted: int) -> Ints | None:
        """(N,) the room for tasks of a role; None where ``best`` looks for itself: for a single one, for shares."""
        request = self._shape.roles[role][0]
        if wanted == 1 or request.fractional or not scores.linear(self._policy):
            return None
        return self._room(role)

    def _room(self, role: int) -> Ints:
        known = self._known.get(role)
        if known is None:
            known = fit.room(self._snap.nodes, self._free(), self._shape.roles[role][0])
        elif self._upto[role] < len(self.taken):
            rows = np.array(self.taken[self._upto[role] :], np.int64)
            known[rows] = fit.room_on(self._snap.nodes, self._free().at(rows), self._shape.roles[role][0], rows)
        self._known[role], self._upto[role] = known, len(self.taken)
        return known

    def _free(self) -> fit.Capacity:
        return fit.free_capacity(self._snap, self._trial, self.allowed)


def _place_tasks(
    snap: Snapshot, trial: Trial, policy: Policy, request: Request, count: int, role: int, rooms: _Rooms
) -> tuple[list[_Task], Placed | None]:
    """Up to ``count`` equal tasks, taken off the trial, and the reason of the first.

    The type it likes best comes first; there as many tasks at once as a node can take, on the best of those that can.
    """
    tasks, reason = list[_Task](), None
    for typed in scores.tiers(snap, trial, policy, request):
        while (wanted := count - len(tasks)) > 0:
            room = rooms.of(role, wanted)
            if room is None:
                found = scores.best(snap, trial, policy, request, wanted, typed, rooms.allowed)
            else:
                found = best_with_room(snap, trial, request, wanted, typed, room, score.scale(snap, policy))
            if found is None:
                break
            reason = reason or _reason(snap, trial, policy, request, found)
            tasks += [_Task(role, found.row, *_take(snap, trial, request, found)) for _ in range(found.times)]
            rooms.taken.append(found.row)
    return tasks, reason


def _take(snap: Snapshot, trial: Trial, request: Request, found: Found) -> tuple[tuple[int, ...], int]:
    """Take one task off the trial, on the node that was found: its devices, and the milli-GPUs that it has of each."""
    row = found.row
    milli = request.milli_on(snap.nodes.gpu_memory.item(row))
    devices = fit.pick_devices(trial.device_free[row], request, milli) if found.device < 0 else (found.device,)
    share = milli if devices else 0
    trial.take(row, request.flat, devices, share)
    return devices, share


def _reason(
    snap: Snapshot, trial: Trial, policy: Policy, request: Request, found: Found, scale: score.Scale | None = None
) -> Placed:
    """Why a task goes to the node that was found, before it is taken. ``scale`` is the policy's, where it is known."""
    left = score.leftovers_of(snap, trial, request, found.row)
    most = score.largest(snap)
    shares = [round(left[at] / most[at] * 1e4) / 1e4 for at in (0, 1, 2)]
    if found.score:
        value = float(np.round(found.value, 4))
    else:
        gpu, memory, cpu = scale or score.scale(snap, policy)
        value = round((gpu * left[0] + memory * left[1] + cpu * left[2]) * 1e4) / 1e4
    return score.placed_reason(found.score or score.name_of(policy), shares, value, found.candidates)
