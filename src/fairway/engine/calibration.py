"""What came of expected starts: now and then a job in line is told one, unasked, and it is watched whether that holds.

Beside the loop's state, not in it: a decision never looks at it, and a control plane that starts again begins anew and
has learned enough within a few hours. See ``docs/decisions/0011-expected-starts-are-corrected.md``.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from fairway.decide import expect
from fairway.decide.calibrate import Told, corrected
from fairway.decide.explain import never_fits
from fairway.model.ids import JobId
from fairway.model.reasons import Range
from fairway.model.time import MINUTE, Duration, Instant
from fairway.state.cluster import ClusterState
from fairway.state.snapshot import snapshot

EVERY: Duration = Duration(5 * MINUTE)
"""How often a job is told, at the most."""
MOST = 128
"""Ranges that are kept."""


@dataclass(frozen=True, slots=True)
class _Watched:
    job: JobId
    attempt: int
    """Attempts it had had by then."""
    told: Told


@dataclass(slots=True)
class Calibration:
    """``watch`` now and then; ``correct`` what is said to people."""

    every: Duration = EVERY
    watched: list[_Watched] = field(default_factory=list[_Watched])
    _due: int = 0

    def watch(self, state: ClusterState) -> None:
        """Tell a job in line, where that is due, and note which of those before have started. Costs a comparison
        otherwise."""
        if state.now < self._due:
            return
        self._due = state.now + self.every
        self._settle(state)
        self._make_room()
        jobs = state.jobs
        line = np.flatnonzero(jobs.in_line[: jobs.height])
        if not len(line):
            return
        rng = np.random.default_rng([state.ordinal, state.now])  # the same at every replay of the same turns
        row, snap = int(rng.choice(line)), snapshot(state)
        if never_fits(snap, state.groups.group(int(jobs.group[row])).shape) is not None:
            return  # it would be taken for one that waits long
        said = expect.starts(snap, state.policy, [row], rng)[row]
        if said is not None:
            self.watched.append(_Watched(jobs.id_of(row), int(jobs.attempt[row]), Told(state.now, said)))

    def correct(self, state: ClusterState, said: Range) -> Range:
        """A range that was just played, corrected by what came of others."""
        self._settle(state)
        return corrected(said, state.now, [each.told for each in self.watched])

    def _settle(self, state: ClusterState) -> None:
        """Note who has started; forget who left without having done so."""
        kept: list[_Watched] = []
        for each in self.watched:
            if each.told.came is not None:
                kept.append(each)
                continue
            started = _started(state, each)
            if started is not None:
                kept.append(replace(each, told=replace(each.told, came=started)))
            elif each.job in state.jobs:
                kept.append(each)
        self.watched = kept

    def _make_room(self) -> None:
        """Where most still wait, every second one is forgotten and jobs are told half as often, so that what is kept
        goes back further than people wait; else the oldest one is, and jobs are told more often again."""
        waiting = sum(each.told.came is None for each in self.watched)
        if len(self.watched) < MOST:
            return
        if 2 * waiting > MOST:
            self.watched, self.every = self.watched[::2], Duration(2 * self.every)
            return
        del self.watched[0]
        if 8 * waiting < MOST:
            self.every = max(EVERY, Duration(self.every // 2))


def _started(state: ClusterState, each: _Watched) -> Instant | None:
    """When the job's next attempt was placed; the present one's where that was not seen."""
    row = state.jobs.row_of.get(each.job)
    if row is not None:
        return Instant(state.jobs.placed_at.item(row)) if state.jobs.attempt.item(row) > each.attempt else None
    ended = state.ended.get(each.job)
    if ended is None or ended.attempt <= each.attempt:
        return None
    first = ended.first_started
    return first if first is not None and first >= each.told.at else ended.ended
