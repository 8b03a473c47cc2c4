"""Taking turns inside a queue: under some disciplines a waiting job takes the place of running ones that rank
clearly behind it.

Who is to run is decided first: everybody of the queue in order of rank, until the room is used up. Only then is it seen
where: whoever runs and may go on keeps its place, and others are stopped only where somebody who goes first really fits
in their stead, those that rank last before the others.

Nobody is thrashed. A running job that has not had its least run (``SHORTEST`` at the least), or that keeps no
checkpoints, is not stopped, and otherwise it counts as ``margin`` times better than it is. The one that takes and the
one that yields are ranked by the same key, and nobody takes the place of one that ranks ahead of it, so that a victim
that is back in line does not stop who has stopped it until that has fallen behind it by the margin. It stops nobody
else either before it has waited for a least run.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fairway.decide import order
from fairway.decide.admit import over_limit
from fairway.decide.gang import Fitted, Short, place
from fairway.model.ids import NodeId
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Placement
from fairway.model.policy import Policy
from fairway.model.queue import TAKE_TURNS
from fairway.model.reasons import Placed
from fairway.model.time import NEVER, SECOND, Instant
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial
from fairway.state.tables import CPU, MEMORY, NO_LIMIT

_ROUNDING = 1 + 1e-9
"""Keys that are equal but for their last bits are equal."""
SHORTEST = SECOND
"""Nobody yields its turn sooner after it was placed, whatever ``least_run`` says: least attained service is told apart
by no less, and what was placed for somebody in this very instant is not decided again."""


@dataclass(frozen=True, slots=True)
class Turn:
    """``row`` takes its turn on ``placement`` when ``victims``, rows of running jobs, have stopped, and ``leaving``,
    rows that were told to stop before, too."""

    row: int
    placement: Placement
    reason: Placed
    victims: tuple[int, ...]
    leaving: tuple[int, ...]


def queues(snap: Snapshot, policy: Policy) -> list[int]:
    """Rows of queues whose jobs take turns and that have to be looked at: somebody in line there is not blocked."""
    groups, codes = snap.groups, snap.queues.discipline[: snap.queues.height]
    if not groups.ready or not (policy.order.discipline in TAKE_TURNS or np.count_nonzero(codes)):
        return []
    ready = ~groups.blocked[: groups.height] & (groups.pending[: groups.height] > 0)
    awake = np.unique(groups.queue[: groups.height][ready])
    return awake[order.take_turns(snap, policy)[awake]].tolist()


def turns(
    snap: Snapshot,
    trial: Trial,
    policy: Policy,
    queue: int,
    discipline: order.Discipline,
    settled: set[int],
    stopped: set[int],
) -> tuple[list[Turn], Instant]:
    """Who takes whose place in a queue now, in order of rank; and when to look again. The trial is left as it was.

    ``settled`` are rows of waiting jobs that this plan has found room for, ``stopped`` of running ones that it stops.
    """
    jobs, height = snap.jobs, snap.jobs.height
    here = jobs.in_line[:height] & (jobs.queue[:height] == queue)
    here[list(settled)] = False
    waiting = np.flatnonzero(here)
    found, again, gone = list[Turn](), Instant(0), set(stopped)
    mark = trial.mark()
    live = _live(snap)
    _free(snap, trial, [row for row in live if row in gone or snap.jobs.phase_of(row) is JobPhase.STOPPING])
    for level in _levels(snap, waiting):
        ranks = _Ranks(snap, trial, policy, queue, discipline, level, live, gone)
        new = ranks.take_turns()
        gone.update(victim for turn in new for victim in turn.victims)
        found += new
        at = ranks.next_change()
        again = min(again, at) if again else at
    trial.rollback(mark)
    return found, again


def _levels(snap: Snapshot, waiting: Ints) -> list[Ints]:
    """These rows by class and number, those that come first first."""
    if not len(waiting):
        return []
    cls, number = snap.jobs.cls[waiting], -snap.jobs.number[waiting]
    by_level = np.lexsort((number, cls))
    edges = np.flatnonzero((np.diff(cls[by_level]) != 0) | (np.diff(number[by_level]) != 0)) + 1
    return [waiting[part] for part in np.split(by_level, edges)]


class _Ranks:
    """Running jobs of one queue, class and number, then those that wait, and their order of rank. Columns (P,)."""

    def __init__(
        self,
        snap: Snapshot,
        trial: Trial,
        policy: Policy,
        queue: int,
        discipline: order.Discipline,
        waiting: Ints,
        live: list[int],
        gone: Iterable[int],
    ) -> None:
        self.snap, self.trial, self.policy, self.queue, self.discipline = snap, trial, policy, queue, discipline
        jobs, groups, out = snap.jobs, snap.groups, set(gone)
        cls, number = jobs.cls[waiting[0]], jobs.number[waiting[0]]
        running = [
            row for row in live
            if jobs.queue[row] == queue and jobs.cls[row] == cls and jobs.number[row] == number
            and row not in out and jobs.phase_of(row) is not JobPhase.STOPPING and jobs.job(row).service is None
        ]  # fmt: skip
        self.rows: Ints = np.concatenate([np.array(running, np.int64), waiting])
        self.running = len(running)
        self.waits: Bools = np.arange(len(self.rows)) >= len(running)
        self.seen = order.standing(snap, policy, self.rows)
        self.key: Floats = self.discipline.key(self.seen)
        latest = order.latest_start(snap, self.seen)
        least = max(policy.order.least_run, SHORTEST)
        self.until: Ints = np.where(latest < NO_LIMIT, NEVER, jobs.placed_at[self.rows] + least)
        """When a running job may be stopped; NEVER while its deadline is at stake or it would have to begin again."""
        self.until[: len(running)][[not _keeps_its_work(snap, row) for row in running]] = NEVER
        self.pinned: Bools = ~self.waits & (self.until > snap.now)
        self.rests = _rest(snap, waiting, len(running), least)
        self.shape: Ints = groups.shape[jobs.group[self.rows]]
        self.need: Ints = np.where(self.waits[:, None], groups.shapes.sums[self.shape], jobs.sums[self.rows])
        rank = np.where(self.waits, self.key, self.key / policy.order.margin * _ROUNDING)
        self.sequence: list[int] = np.lexsort((self.seen.ordinal, rank, latest)).tolist()
        self.runners = [i for i in self.sequence if i < len(running)]
        up = snap.nodes.placeable[: snap.nodes.height]
        free = np.array((trial.free[up, CPU].sum(), trial.free[up, MEMORY].sum(), trial.gpu_free[up].sum()))
        above = snap.queues.above[queue]
        below_limits = (snap.queues.limit[above] - trial.used[above]).min(axis=0)
        if trial.lending is not None:
            below_limits = np.minimum(below_limits, trial.lending.open(queue))
        self.room: Ints = np.minimum(free, below_limits) + self.need[~self.waits].sum(axis=0)
        """Everything that these jobs could use, in ``SUMS`` order."""
        self.leaving: list[int] = [row for row in live if row in out or jobs.phase_of(row) is JobPhase.STOPPING]
        self.victims: set[int] = set()

    def take_turns(self) -> list[Turn]:
        """Find a place for whoever ranks ahead. A shape that has none, though by the sums it should, is left out, and
        who is to run is decided again without it, before those behind it: else these might take the place of one that
        ranks ahead of them, and was to yield only to it."""
        found: list[Turn] = []
        hopeless: set[int] = set()
        behind = {i: place for place, i in enumerate(self.sequence)}
        again = True
        while again:
            again = False
            chosen = self._chosen(hopeless)
            stay = set(chosen)
            yielding = [i for i in reversed(self.runners) if i not in stay and not self.pinned[i]]
            for index in [i for i in chosen if self.waits[i]]:
                last = [i for i in yielding if i not in self.victims and behind[i] > behind[index]]
                turn = self._make_room(index, last)
                if turn is None:
                    hopeless.add(int(self.shape[index]))
                    again = True
                    break
                found.append(turn)
                self.waits[index], self.pinned[index] = False, True
        return found

    def next_change(self) -> Instant:
        """When somebody who runs may next be passed by somebody who still waits; NEVER while that takes an event."""
        waiting = self.key[self.waits]
        if not len(waiting):
            return Instant(0)
        now, first = self.snap.now, float(waiting.min()) * self.policy.order.margin / _ROUNDING
        runs = np.arange(len(self.rows)) < self.running
        runs[list(self.victims)] = False
        behind = runs & (self.key >= first)
        soon = self.until[behind & (self.until > now) & (self.until < NEVER)]
        if self.discipline.falls is not None:
            after, key = self.discipline.falls(self.seen, first)
            ahead = runs & (key >= first) & (self.until < NEVER)
            soon = np.concatenate([soon, np.maximum(now + after[ahead], self.until[ahead])])
        for index, rested in self.rests.items():
            behind = runs & (self.key >= self.key[index] * self.policy.order.margin / _ROUNDING) & (self.until < NEVER)
            soon = np.concatenate([soon, np.maximum(self.until[behind], rested)])
        return Instant(max(int(np.ceil(soon.min())), now + 1)) if len(soon) else NEVER

    def _chosen(self, hopeless: set[int]) -> list[int]:
        """Indices of who is to run, beyond those who must: in order of rank as long as there is room in sum."""
        room = (self.room - self.need[self.pinned].sum(axis=0)).tolist()
        least, chosen = self.need.min(axis=0).tolist(), list[int]()
        for i in self.sequence:
            if self.pinned[i] or i in self.victims:
                continue
            if self.waits[i] and int(self.shape[i]) in hopeless:
                continue
            need = self.need[i].tolist()
            if need[0] <= room[0] and need[1] <= room[1] and need[2] <= room[2]:
                room = [has - takes for has, takes in zip(room, need, strict=True)]
                if i not in self.rests:  # its room is nobody's who ranks behind it
                    chosen.append(i)
                if room[0] < least[0] or room[1] < least[1] or room[2] < least[2]:
                    break
        return chosen

    def _make_room(self, index: int, yielding: list[int]) -> Turn | None:
        """Stop the fewest of the running jobs that rank last, so that this one fits; taken on the trial."""
        row, trial = int(self.rows[index]), self.trial
        shape = self.snap.groups.shapes.shapes[int(self.shape[index])]
        rows = [int(self.rows[i]) for i in yielding]
        low, high = self._enough(shape, rows), len(rows)
        if self._placed(row, shape, rows, rollback=True) is None:
            return None
        while low < high:
            middle = (low + high) // 2
            if self._placed(row, shape, rows[:middle], rollback=True) is None:
                low = middle + 1
            else:
                high = middle
        fitted = self._placed(row, shape, rows[:high], rollback=False)
        if fitted is None:
            return None
        victims: list[int] = []
        for i in reversed(yielding[:high]):
            mark = trial.mark()
            if not self._goes_on(int(self.rows[i])):
                trial.rollback(mark)
                victims.append(int(self.rows[i]))
                self.victims.add(i)
        nodes = {task.node for task in fitted.placement}
        leaving = tuple(r for r in self.leaving if nodes & self._nodes_of(r) or self._shares_a_limit(r))
        self.leaving += victims
        return Turn(row, fitted.placement, fitted.reason, tuple(victims), leaving)

    def _nodes_of(self, row: int) -> set[NodeId]:
        return {task.node for task in self.snap.jobs.placement[row]}

    def _shares_a_limit(self, row: int) -> bool:
        """Whether what a job uses counts against a limit of this queue, or of one above it: until it has stopped."""
        queues, other = self.snap.queues, self.snap.queues.above[int(self.snap.jobs.queue[row])]
        return any(above in other and (queues.limit[above] < NO_LIMIT).any() for above in queues.above[self.queue])

    def _enough(self, shape: Shape, rows: list[int]) -> int:
        """How many of these jobs have to stop at the least before there are devices enough on single nodes."""
        if len(shape.roles) != 1 or not shape.roles[0][0].gpus or shape.roles[0][0].fractional:
            return 0
        nodes, gpus, tasks = self.snap.nodes, shape.roles[0][0].gpus, shape.roles[0][2]
        idle = np.where(nodes.placeable[: nodes.height], self.trial.idle, 0)
        have = int((idle // gpus).sum())
        for count, row in enumerate(rows):
            if have >= tasks:
                return count
            for task in self.snap.jobs.placement[row]:
                node = nodes.row_of[task.node]
                have -= int(idle[node] // gpus)
                idle[node] += len(task.devices)
                have += int(idle[node] // gpus)
        return len(rows)

    def _placed(self, row: int, shape: Shape, without: list[int], *, rollback: bool) -> Fitted | None:
        """Where a job would go if these running ones were gone."""
        mark = self.trial.mark()
        _free(self.snap, self.trial, without)
        outcome: Fitted | None = None
        if over_limit(self.snap, self.trial, self.queue, shape.least_sums) is None:
            found = place(self.snap, self.trial, self.policy, shape, least=True)
            outcome = None if isinstance(found, Short) else found
        if rollback or outcome is None:
            self.trial.rollback(mark)
        else:
            self.trial.charge(self.queue, shape.least_sums)
            there = (self.snap.nodes.row_of[task.node] for task in outcome.placement)
            self.trial.company.join(self.snap.jobs.job(row), there)
        return outcome

    def _goes_on(self, row: int) -> bool:
        """Whether a running job could stay after all; taken on the trial if so."""
        if over_limit(self.snap, self.trial, self.queue, _sums(self.snap, row)) is not None:
            return False
        _free(self.snap, self.trial, [row], sign=1)
        rows = {self.snap.nodes.row_of[task.node] for task in self.snap.jobs.placement[row]}
        free, devices = self.trial.free, self.trial.device_free
        return all((free[node] >= 0).all() and (devices[node] >= 0).all() for node in rows)


def _rest(snap: Snapshot, waiting: Ints, first: int, least: int) -> dict[int, int]:
    """Until when victims among those that wait rest, by index from ``first`` on: for a least run from their end.

    The job that stopped them could do so only where they were, and not where others ran that rank behind them. If they
    stopped these at once, one turn would stop a whole chain of jobs.
    """
    jobs, found = snap.jobs, dict[int, int]()
    perhaps = (jobs.preemptions[waiting] > 0) & (jobs.queued_at[waiting] > snap.now - least)
    for index in np.flatnonzero(perhaps).tolist():
        end = jobs.last_end[int(waiting[index])]
        if end is not None and end.outcome.cause is Cause.PREEMPTED and end.at + least > snap.now:
            found[first + index] = end.at + least
    return found


def _keeps_its_work(snap: Snapshot, row: int) -> bool:
    """Whether a job would go on where it was: taking turns with one that begins again would waste all it has done."""
    return snap.jobs.job(row).checkpoints or bool(snap.jobs.checkpoint_at[row])


def _live(snap: Snapshot) -> list[int]:
    return np.flatnonzero(snap.jobs.live()).tolist()


def _sums(snap: Snapshot, row: int) -> tuple[int, int, int]:
    cpu, memory, gpu = snap.jobs.sums[row].tolist()
    return cpu, memory, gpu


def _free(snap: Snapshot, trial: Trial, rows: Iterable[int], sign: int = -1) -> None:
    """Give back on the trial what these jobs hold; ``sign=1`` takes it."""
    for row in rows:
        trial.put(row, snap.jobs.placement[row], sign, charge=True)
