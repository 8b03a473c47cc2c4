"""Whose turn it is: the tournament against a plain walk down the tree, and what the order promises."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import kernels_share as kernel
from fairway.decide.line import Line
from fairway.decide.share import capacity, past_use, shares, turns
from fairway.decide.turns import Alone, Turns
from fairway.model.facts import QueueSet
from fairway.model.ids import QueueId
from fairway.model.job import PriorityClass
from fairway.model.policy import Fairness, Policy, Swarm
from fairway.model.queue import Queue
from fairway.model.resources import Amount
from fairway.model.time import HOUR, Duration
from fairway.state.snapshot import Snapshot, Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

SWARM = Swarm(allowed=2, least=0.3)
PATHS = ("a", "b", "a/x", "a/y", "b/x", "b/x/u", "b/x/v", "c")


@dataclass(frozen=True)
class Case:
    """Queues with weights and quotas, jobs of (queue, GPUs, cores, class) that wait, and some that run for hours."""

    weights: list[float]
    quotas: list[int | None]
    running: list[tuple[int, int, int]]
    jobs: list[tuple[int, int, int, PriorityClass]]
    refused: list[bool]
    short: list[int]
    """Queues of jobs that were over in no time."""


cases = st.builds(
    Case,
    st.lists(st.sampled_from((0.5, 1.0, 1.0, 2.0, 3.0)), min_size=len(PATHS), max_size=len(PATHS)),
    st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=len(PATHS), max_size=len(PATHS)),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4), st.integers(0, 9)), max_size=8),
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 4), st.integers(0, 9), st.sampled_from(tuple(PriorityClass))),
        max_size=40,
    ),
    st.lists(st.booleans(), min_size=40, max_size=40),
    st.one_of(st.just([]), st.lists(st.sampled_from((*range(8), 3, 3, 3)), max_size=12)),
)


def stage(case: Case) -> Rehearsal:
    """A large cluster with the case's queues, what runs, and then the line."""
    it = Rehearsal(policy=Policy(fairness=Fairness(half_life=Duration(2 * HOUR), swarm=SWARM)))
    it.nodes(*(a_node(f"n{i}", 8, cpu=96) for i in range(40)))
    for path, weight, quota in zip(PATHS, case.weights, case.quotas, strict=True):
        amount = Amount(gpu_milli=None if quota is None else quota * 1000)
        it.tell(QueueSet(Queue(QueueId(path), weight, amount)))
    for index, (queue, gpus, cores) in enumerate(case.running):
        it.tell(submitted(a_job(f"r{index}", a_request(gpus, cores), queue=PATHS[queue])))
        it.decide()
    it.tell(after=3 * HOUR)
    for index, queue in enumerate(case.short):
        it.tell(submitted(a_job(f"s{index}", a_request(0, 1), queue=PATHS[queue])))
        it.decide()
        it.start(f"s{index}")
        it.end(f"s{index}")
    for index, (queue, gpus, cores, cls) in enumerate(case.jobs):
        it.tell(submitted(a_job(f"j{index}", a_request(gpus, cores), queue=PATHS[queue], cls=cls)))
    return it


def line_of(snap: Snapshot) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the jobs in line by queue and then class and submission, and their places in the order of all."""
    jobs = snap.jobs
    rows = np.flatnonzero(jobs.in_line[: jobs.height])
    rows = rows[np.lexsort((jobs.ordinal[rows], jobs.cls[rows]))]
    order = np.arange(len(rows))
    by_queue = np.argsort(jobs.queue[rows], kind="stable")
    return rows[by_queue], order[by_queue]


def by_tournament(it: Rehearsal, case: Case, *, fast: bool) -> list[int]:
    """Job rows in the order of their turns; a job that is not refused takes its share."""
    snap = snapshot(it.state)
    trial, (rows, order), found = Trial(snap), line_of(snap), list[int]()
    shape = snap.groups.shape[snap.jobs.group[rows]]
    if not len(rows):
        return found
    made = turns(snap, trial, it.policy, snap.jobs.queue[rows], (shape, snap.jobs.cls[rows], order))
    plain = None if fast else Turns(made)
    if fast:
        kernel.build(*made)
    while (e := plain.next() if plain else kernel.turn(*made)) is not None and e >= 0:
        place = int(made[3][0][e])
        row = int(rows[place])
        if not case.refused[len(found)]:
            trial.charge(int(snap.jobs.queue[row]), snap.groups.shapes.shapes[shape[place]].sums)
        made[3][0][e] += 1
        plain.refresh(e) if plain else kernel.refresh(e, *made)
        found.append(row)
    return found


def kept(case: Case, name: str, *, below: bool = False) -> float:
    """What part of its weight is left of a queue, or of its own jobs, by how many were over in no time."""
    beyond = 0
    for path in PATHS:
        if path == name or (below and path.startswith(f"{name}/")):
            beyond += max([PATHS[queue] for queue in case.short].count(path) - SWARM.allowed, 0)
    return max(SWARM.allowed / (SWARM.allowed + beyond), SWARM.least)


def by_hand(it: Rehearsal, case: Case) -> list[int]:
    """The same, as the module says it: from the root down, again for every turn."""
    snap = snapshot(it.state)
    trial, queues, jobs = Trial(snap), snap.queues, snap.jobs
    rows, order = line_of(snap)
    place_of = dict(zip(rows.tolist(), order.tolist(), strict=True))
    waiting: dict[int, list[int]] = {}
    for row in rows.tolist():
        waiting.setdefault(int(jobs.queue[row]), []).append(row)
    past, whole, found = past_use(snap, it.policy), capacity(snap), list[int]()
    average = queues.average_at(snap.now)

    def weight_of(row: int) -> float:
        """Half of it for who has used more than its quota for long."""
        long = any(0 <= queues.quota[row, c] < average[row, c] for c in range(3))
        return float(queues.weight[row]) * (0.5 if long else 1.0) * kept(case, queues.id_of(row), below=True)

    children = {row: [other for other in queues.rows() if queues.above[other][1:2] == [row]] for row in queues.rows()}

    def dominant(use: np.ndarray, weight: float) -> int:
        return int(max(u / c if c else 0.0 for u, c in zip(use, whole, strict=True)) / weight * 1e9 + 0.5)

    def tier(row: int) -> tuple[bool, bool, int]:
        sums = snap.groups.group(int(jobs.group[row])).shape.sums
        guard = next((up for up in queues.above[int(jobs.queue[row])] if (queues.quota[up] >= 0).any()), -1)
        named = [c for c in range(3) if guard >= 0 and sums[c] and queues.quota[guard, c] >= 0]
        covered = named and all(trial.used[guard, c] + sums[c] <= queues.quota[guard, c] for c in named)
        return bool(jobs.cls[row]), not covered, int(jobs.cls[row])

    def best(queue: int) -> tuple[tuple[bool, bool, int], int, int] | None:
        """(tier, place in the order of all, row) of the job that a queue sends."""
        sent: list[tuple[tuple[bool, bool, int], int, int, int]] = []
        for child in children[queue]:
            theirs = best(child)
            if theirs:
                use = trial.used[child] + past[child]
                sent.append((theirs[0], dominant(use, weight_of(child)), *theirs[1:]))
        if waiting.get(queue):
            row, below = waiting[queue][0], children[queue]
            use = trial.used[queue] - trial.used[below].sum(axis=0)
            use = use + np.maximum(past[queue] - past[below].sum(axis=0), 0)
            sent.append((tier(row), dominant(use, kept(case, queues.id_of(queue))), place_of[row], row))
        if not sent:
            return None
        chosen = min(sent)
        return chosen[0], chosen[2], chosen[3]

    while (sent := best(0)) is not None:
        row = sent[2]
        queue = int(jobs.queue[row])
        waiting[queue].remove(row)
        if not case.refused[len(found)]:
            trial.charge(queue, snap.groups.group(int(jobs.group[row])).shape.sums)
        found.append(row)
    return found


@given(cases)
def test_the_tournament_sends_whom_a_walk_down_the_tree_would(case: Case) -> None:
    it = stage(case)
    expected = by_hand(it, case)
    assert by_tournament(it, case, fast=False) == expected
    assert by_tournament(it, case, fast=True) == expected


def test_shares_are_dominant_and_weighted() -> None:
    it = Rehearsal()
    it.nodes(a_node("n", 8, cpu=80))
    it.tell(QueueSet(Queue(QueueId("gpu"), 2.0)))
    it.tell(submitted(a_job("g", a_request(4, 10), queue="gpu")), submitted(a_job("c", a_request(0, 60), queue="cpu")))
    it.decide()
    found = shares(snapshot(it.state), it.policy)
    row_of = it.state.queues.row_of
    assert found[row_of[QueueId("gpu")]] == 0.25
    assert found[row_of[QueueId("cpu")]] == 0.75


@given(st.lists(st.tuples(st.sampled_from(tuple(PriorityClass)), st.integers(0, 3)), min_size=1, max_size=12))
def test_jobs_of_one_queue_take_their_turns_as_they_stand(jobs: list[tuple[PriorityClass, int]]) -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 4))
    it.queues(Queue(QueueId("a"), quota=Amount(gpu_milli=2000)))
    it.tell(
        *(submitted(a_job(f"j{i}", a_request(gpus), queue="a", cls=cls)) for i, (cls, gpus) in enumerate(jobs)),
    )
    snap = snapshot(it.state)
    line = Line(snap, Trial(snap), Policy())
    orders: list[list[int]] = []
    for whose in (Turns(line._tournament()), Alone(len(line))):
        orders.append([])
        while (entrant := whose.next()) is not None:
            place = whose.head(entrant)
            assert place is not None
            orders[-1].append(place)
            whose.take(entrant)
            whose.refresh(entrant)
    assert orders[0] == orders[1] == list(range(len(jobs)))
