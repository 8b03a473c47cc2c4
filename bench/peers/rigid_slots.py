"""Policies for a cluster in slots that give every job the GPUs it asked for or none, re-implemented from their papers.

Each sorts the jobs that are there and walks down the line: one that does not fit what is left is passed over. Running
jobs are stopped when others come before them (all of these papers preempt).
"""

import numpy as np

from bench.slots import View
from fairway.state.columns import Floats, Ints

TIRESIAS_QUEUES = (3250.0, 7200.0, 18000.0)
"""GPU-seconds of attained service at which a job falls one queue lower: three steps, as ElasticFlow ran it."""
THEMIS_LEASE_S = 600.0
"""How long a job keeps what it got before it is offered to others again."""


def walk(view: View, order: Ints) -> Ints:
    """GPUs for each job when all are asked in this order."""
    given, free = np.zeros(len(order), np.int64), view.capacity
    asked = view.jobs.asked[view.rows]
    for at in order:
        if asked[at] <= free:
            given[at] = asked[at]
            free -= asked[at]
    return given


def edf(view: View) -> Ints:
    """Earliest deadline first."""
    return walk(view, np.argsort(view.left, kind="stable"))


def tiresias(view: View) -> Ints:
    """Discretised two-dimensional least attained service (Gu et al., "Tiresias", NSDI'19, section 3.2): queues by
    GPU-seconds attained, in a queue by submission."""
    queue = np.searchsorted(np.array(TIRESIAS_QUEUES), view.served, "right")
    return walk(view, np.lexsort((np.arange(len(queue)), queue)))


def themis(view: View) -> Ints:
    """Worst finish-time fairness first, with leases (Mahajan et al., "Themis", NSDI'20, section 4; its auction among
    rigid jobs gives the GPUs whose lease has run out to those that are farthest behind).

    Finish-time fairness is the time a job takes in all, if it runs from now on, over what it would take alone.
    """
    alone = view.jobs.work[view.rows] / view.jobs.asked_speed[view.rows]
    rest: Floats = view.rest / view.jobs.asked_speed[view.rows]
    unfairness = (view.now - view.jobs.submitted[view.rows] + rest) / alone
    leased = (view.held > 0) & (view.now - view.changed < THEMIS_LEASE_S)
    return walk(view, np.lexsort((np.arange(len(rest)), -unfairness, ~leased)))


def edf_scaled(view: View) -> Ints:
    """Earliest deadline first, each on the number of GPUs on which it is fastest, as ElasticFlow's paper runs EDF."""
    w = view.workers()
    given, free = np.zeros(len(view.rows), np.int64), view.capacity
    for at in np.argsort(view.left, kind="stable"):
        fitting = w.sizes[at, : w.steps[at]][w.sizes[at, : w.steps[at]] <= free]
        if len(fitting):
            given[at] = fitting[-1]
            free -= given[at]
    return given
