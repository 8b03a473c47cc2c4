"""The walk along the line by a compiled kernel: the columns it works on, and when it is worth while.

Compiling takes seconds the first time on a machine and loading what was compiled about one, so a process that cares
calls ``warm.warm`` in the background when it starts. Until then, and for a few jobs on few nodes, lines are walked
plainly: both walks place every job alike.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fairway.decide import score, share
from fairway.decide.marks import DONE
from fairway.decide.search import BLOCK, LOOK_AT
from fairway.model.plan import Placement, Starts, TaskPlacement, devices_of
from fairway.model.policy import Policy
from fairway.model.reasons import Placed
from fairway.state.columns import Bools, Floats, Ints
from fairway.state.snapshot import Snapshot, Trial

if TYPE_CHECKING:
    from fairway.decide.line import Compiled

WORTH_IT = 8
"""Jobs in line from which on the kernel is faster than walking plainly, once it is loaded."""
MANY = 64
"""Starts of one task from which on a plan has them as columns."""
WORTH_LOADING = 20_000
"""Jobs in line from which on it is faster even if it has to be loaded first."""

ready = False
"""Whether the kernel is loaded; ``decide.warm`` sees to it."""


def pays(jobs: int) -> bool:
    """Whether a line of so many jobs is walked faster by the kernel."""
    return jobs >= (WORTH_IT if ready else WORTH_LOADING)


class Columns:
    """One walk: the trial's own columns, the shapes compiled, and what the kernel writes."""

    def __init__(
        self, snap: Snapshot, trial: Trial, policy: Policy, rows: Ints, compiled: "Sequence[Compiled]"
    ) -> None:
        self._snap, self._trial, self._policy, self._rows = snap, trial, policy, rows
        table, height, kinds = snap.groups.shapes, len(compiled), max(len(snap.nodes.kinds), 1)
        self._shapes = (
            table.flat[:height],
            np.array([shape.gpus for shape in compiled], np.int64),
            table.tasks[:height],
            np.array([shape.milli for shape in compiled], np.int64).reshape(-1, kinds),
            np.array([shape.speed for shape in compiled], np.float64).reshape(-1, kinds),
            table.sums[:height],
            np.array([shape.slow for shape in compiled], np.bool_),
            *self._masks(height),
        )
        self._out: tuple[Ints, Ints, Ints] | None = None
        self._ends = np.zeros(len(rows) + 1, np.int64)
        self._whys: Floats = np.zeros((len(rows), 4), np.float64)

    def walk(
        self, turns: share.Columns, jobs: tuple[Ints, Ints, Bools], marks: tuple[Ints, Ints, Bools], answers: Ints,
        stand: Callable[[int, Ints], None],
    ) -> Iterator[tuple[int, int]]:  # fmt: skip
        """As ``Line.walk``. ``jobs`` is (shape, group, may preempt), (P,) each; ``marks`` and ``answers`` the line's;
        ``stand`` is told which jobs have had their turns since a place in line."""
        from fairway.decide import kernels_share, kernels_walk

        shapes, groups, urgent = jobs
        tasks = int(self._shapes[2][shapes].sum())
        self._out = (np.zeros(tasks, np.int64), np.zeros(tasks, np.int64), np.zeros(tasks, np.int64))
        nodes, blocks = self._nodes(), self._blocks(kernels_walk)
        snap, trial = self._snap, self._trial
        lending, none = trial.lending, np.zeros((0, 3), np.int64)
        kept = (lending.keep, lending.inner, lending.total) if lending is not None else (none, none, none[:, 0])
        queues = (snap.queues.path, trial.used, snap.queues.limit[: len(trial.used)], *kept)
        scale, done, last = np.array(score.scale(snap, self._policy)), 0, -1
        columns, who = (shapes, snap.jobs.queue[self._rows], groups, urgent), np.zeros(len(shapes), np.int64)
        trial.write_untold()
        kernels_share.build(*turns)
        while True:
            why, at, last = kernels_walk.walk(
                done, last, turns, columns, self._shapes, nodes, blocks, queues, scale, LOOK_AT, marks, self._out,
                (who, answers, self._ends, self._whys),
            )  # fmt: skip
            upto = at + (why != DONE)
            stand(done, who[done:upto])
            done = upto
            if why == DONE:
                return
            known = len(trial.changes)
            yield why, at
            for block in {row // BLOCK for row in trial.changes[known:]}:
                kernels_walk.summarise(block, nodes, blocks)

    def nodes_of(self, at: int) -> list[int]:
        """Rows of the nodes where the kernel has placed the job at ``at``, task by task."""
        return [] if self._out is None else self._out[0][self._ends[at] : self._ends[at + 1]].tolist()

    def starts(self, places: Ints, rows: Ints) -> Starts | None:
        """The jobs of one task at ``places``, ``rows`` of the table, as the kernel has placed them, if many."""
        if self._out is None or len(places) < MANY:
            return None
        jobs = self._snap.jobs
        at = self._ends[places]
        scores, left, seen = self._reasons(places)
        node, devices, milli = (column[at].tolist() for column in self._out)
        return Starts(
            tuple(map(jobs.id_of, rows.tolist())),
            tuple((jobs.attempt[rows] + 1).tolist()),
            tuple(map(self._snap.nodes.id_of, node)),
            tuple(devices),
            tuple(milli),
            score.name_of(self._policy),
            tuple(scores),
            (tuple(left[:, 0].tolist()), tuple(left[:, 1].tolist()), tuple(left[:, 2].tolist())),
            tuple(seen),
        )

    def single(self, places: Ints) -> Bools:
        """(P,) which of the jobs at ``places`` have one task."""
        return self._ends[places + 1] - self._ends[places] == 1

    def _reasons(self, places: Ints) -> tuple[list[float], Floats, list[int]]:
        """(scores, what is left over (P, 3), nodes compared) of jobs that were placed."""
        whys = self._whys[places]
        scores = score.best_fit(whys.T, score.scale(self._snap, self._policy)).round(4).tolist()
        left = (whys[:, :3] / score.largest(self._snap)).round(4)
        return scores, left, whys[:, 3].astype(np.int64).tolist()

    def placed(self, places: Ints) -> Iterator[tuple[int, Placement, Placed]]:
        """(place in line, placement, reason) of the jobs at ``places``, which the kernel has placed."""
        if not len(places) or self._out is None:
            return
        id_of = self._snap.nodes.id_of
        tasks = int(self._ends[places[-1] + 1])
        node, devices, milli = (column[:tasks].tolist() for column in self._out)
        firsts, lasts = self._ends[places].tolist(), self._ends[places + 1].tolist()
        scores, left, seen = self._reasons(places)
        shares, name = left.tolist(), score.name_of(self._policy)
        for index, at in enumerate(places.tolist()):
            first, last = firsts[index], lasts[index]
            placement = tuple(
                [
                    TaskPlacement(k - first, 0, id_of(node[k]), devices_of(devices[k]), milli[k])
                    for k in range(first, last)
                ]
            )
            yield at, placement, score.placed_reason(name, shares[index], scores[index], seen[index])

    def _masks(self, height: int) -> tuple[Ints, Bools, Bools]:
        """Which site a shape has, (S,), the nodes that will do by site, (W, N), and whether a block has any, (W, B); of
        the sites that somebody in line has."""
        nodes, groups, jobs = self._snap.nodes, self._snap.groups, self._snap.jobs
        table = groups.shapes
        used: Ints = np.unique(table.site[groups.shape[jobs.group[self._rows]]])
        sites: list[int] = used.tolist()
        masks = np.array([nodes.places.allowed(table.sites[site], nodes.height) for site in sites], np.bool_)
        masks = masks.reshape(len(used), nodes.height)
        among = np.zeros(len(table.sites), np.int64)
        among[used] = np.arange(len(used))
        starts = np.arange(0, nodes.height, BLOCK)
        some = np.logical_or.reduceat(masks, starts, axis=1) if len(starts) else masks
        return among[table.site[:height]], masks, some

    def _nodes(self) -> tuple[Any, ...]:
        nodes, trial = self._snap.nodes, self._trial
        height = nodes.height
        return (
            nodes.placeable[:height], trial.free, trial.device_free, trial.idle, trial.share_max, trial.gpu_free,
            nodes.kind[:height],
        )  # fmt: skip

    def _blocks(self, kernel: Any) -> tuple[Ints, ...]:
        blocks = -(-self._snap.nodes.height // BLOCK)
        kinds = max(len(self._snap.nodes.kinds), 1)
        summaries = tuple(
            np.zeros((rows, columns), np.int64)
            for rows in (blocks, -(-blocks // BLOCK))
            for columns in (kinds, kinds, 8)
        )
        kernel.summarise_all(self._nodes(), summaries)
        return summaries
