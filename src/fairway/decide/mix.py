"""The mix of work that is known from what has been submitted, and the worth of nodes to it.

``worth`` values a node by what typical work could make of it. What is typical is counted as jobs come (``ShapeTable``);
the tables are made anew whenever that count has doubled, or the fleet has changed, and kept until then. So they depend
on the state alone: whoever replays the same facts places by the same tables.
"""

import numpy as np

from fairway.decide import fit
from fairway.decide.packing import NO_WAY, Need, Nodes, typical_work
from fairway.decide.worth import Fleet, Worth, fleet_of, worth_of
from fairway.model.resources import WHOLE, Request
from fairway.state.columns import Floats, Ints
from fairway.state.snapshot import Snapshot, Trial

MOST_CLASSES = 512
"""Classes of work, the most frequent ones, that nodes are valued by."""
MOST_NEEDS = 512
"""Needs whose costs are kept from one decision to the next."""


class WorthBoard:
    """Costs of every node for each need; only nodes that have changed since are scored again.

    One board follows the state and is kept from decision to decision; that of a trial begins where this one stands.
    """

    def __init__(self, worth: Worth, kinds: fit.Kinds, nodes: Nodes, below: "WorthBoard | None" = None) -> None:
        self.worth, self._kinds, self._nodes, self._below = worth, kinds, nodes, below
        self._known: dict[tuple[Request, int], tuple[Floats, Ints, int]] = {}
        self._changes: list[int] = []

    def changed(self, row: int) -> None:
        """A node's free capacity is no longer what it was."""
        self._changes.append(row)
        if self._below is None and len(self._changes) > 2 * len(self._nodes.gpus) + 64:
            self._known.clear()
            self._changes.clear()

    def scores(self, request: Request, times: int) -> tuple[Floats, Ints]:
        """(costs, picks), both (N,): milli-GPUs of typical work that each node would lose to ``times`` tasks, infinite
        where they do not fit, and the device that a share would get; read them before anything is placed."""
        from fairway.decide import kernels

        now, key = len(self._changes), (request, times)
        if key not in self._known:
            self._known[key] = self._first(request, times)
        costs, picks, seen = self._known[key]
        if seen < now:
            rows = np.unique(np.array(self._changes[seen:], np.int64))
            need = need_of(request, self._kinds, times)
            found = kernels.score_worth(rows, self._nodes, need.flats, need.gpus, need.millis, self.worth)
            costs[rows], picks[rows] = found
            self._known[key] = costs, picks, now
        return costs, picks

    def _first(self, request: Request, times: int) -> tuple[Floats, Ints, int]:
        from fairway.decide import kernels

        if self._below is not None:
            costs, picks = self._below.scores(request, times)
            return costs.copy(), picks.copy(), 0
        if len(self._known) >= MOST_NEEDS:
            del self._known[next(iter(self._known))]
        rows, need = np.arange(len(self._nodes.gpus)), need_of(request, self._kinds, times)
        found = kernels.score_worth(rows, self._nodes, need.flats, need.gpus, need.millis, self.worth)
        return *found, len(self._changes)


def board_of(snap: Snapshot, trial: Trial) -> WorthBoard | None:
    """The board of a trial, made on first use; None while no mix of work is known."""
    if isinstance(trial.watcher, WorthBoard):
        return trial.watcher
    below = known_board(snap)
    if below is None:
        return None
    nodes, height = snap.nodes, snap.nodes.height
    columns = Nodes(trial.free, trial.device_free, nodes.gpu_count[:height], nodes.kind[:height])
    trial.watcher = board = WorthBoard(below.worth, tuple(nodes.kinds), columns, below)
    for row in trial.written():
        board.changed(row)
    return board


def known_board(snap: Snapshot) -> WorthBoard | None:
    """The board of the state, for the fleet and the mix of work; None while too little was submitted, or there are no
    GPUs."""
    shapes, nodes, height = snap.groups.shapes, snap.nodes, snap.nodes.height
    kept, made_for = nodes.watcher, (shapes.lessons, nodes.version)
    if isinstance(kept, _Kept) and kept.made_for == made_for:
        return kept
    if not shapes.lessons or not nodes.gpu_count[:height].any():
        return None
    kinds = tuple(nodes.kinds)
    fleet = fleet_of(nodes.total[:height], nodes.gpu_count[:height], nodes.kind[:height], len(kinds))
    like = (shapes.lessons, kinds, *(part.tobytes() for part in (fleet.nodes, fleet.flat, fleet.beside)))
    worth = kept.worth if isinstance(kept, _Kept) and kept.like == like else _made(snap, kinds, fleet)
    if worth is None:
        return None
    columns = Nodes(nodes.free[:height], nodes.device_free[:height], nodes.gpu_count[:height], nodes.kind[:height])
    nodes.watcher = board = _Kept(worth, kinds, columns)
    board.made_for, board.like = made_for, like
    return board


class _Kept(WorthBoard):
    """The board of the state, and what it was made for: lessons and version, and the fleet itself."""

    made_for: tuple[int, int] = (0, 0)
    like: tuple[object, ...] = ()


def _made(snap: Snapshot, kinds: fit.Kinds, fleet: Fleet) -> Worth | None:
    classes = sorted(_classes(snap, kinds), key=lambda each: -each[1])[:MOST_CLASSES]
    return worth_of(typical_work(classes, 1.0), fleet) if any(need.gpus for need, _ in classes) else None


def _classes(snap: Snapshot, kinds: fit.Kinds) -> list[tuple[Need, int]]:
    """Every class of tasks that has been submitted, and how many."""
    shapes, counts = snap.groups.shapes, dict[Need, int]()
    for row in np.flatnonzero(shapes.learned[: len(shapes.shapes)]).tolist():
        for request, count, _ in shapes.shapes[row].roles:
            need = need_of(request, kinds)
            counts[need] = counts.get(need, 0) + count * int(shapes.learned[row])
    return list(counts.items())


def need_of(request: Request, kinds: fit.Kinds, times: int = 1) -> Need:
    """What ``times`` tasks on one node take there; more than one only of whole devices."""
    if not request.gpus:
        milli = (WHOLE,) * len(kinds)
    else:
        milli = tuple(
            min(request.milli_on(memory) if request.fractional else WHOLE, NO_WAY) if request.accepts(name) else NO_WAY
            for name, memory in kinds
        )
    return Need(tuple(need * times for need in request.flat), request.gpus * times, milli)
