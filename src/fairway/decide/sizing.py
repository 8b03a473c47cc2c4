"""The loops of sizing elastic jobs, in the plain part of Python that ``kernels_elastic`` can compile as it stands.

Letters in shapes: J jobs, L sizes of a job, K buckets of time. What the numbers mean is told in ``elastic``; every
function here has a slow twin in the tests that was written from the definition.
"""

import heapq
from typing import TYPE_CHECKING

import numpy as np

from fairway.state.columns import Floats, Ints

if TYPE_CHECKING:
    from fairway.decide.elastic import Workers

EPSILON = 1e-9


def enough(w: "Workers", j: int, step: int) -> bool:
    """Whether a job that runs at this step of its curve from now on ends in time."""
    work = w.need[j]
    if w.sizes[j, step] != w.held[j]:
        work += w.restart[j] * w.speed[j, step]
    return bool(w.speed[j, step] * w.left[j] >= work - EPSILON * work)


def shares(w: "Workers") -> Ints:
    """(J,) the step of the minimum satisfactory share of each job: the smallest size that still meets its deadline.

    -1 where even the largest is too slow, and where there is no deadline.
    """
    found = np.full(len(w.need), -1, np.int64)
    for j in range(len(w.need)):
        if w.left[j] < np.inf:
            for step in range(w.steps[j]):
                if enough(w, j, step):
                    found[j] = step
                    break
    return found


def _reserve(
    w: "Workers", j: int, step: int, edges: Floats, free: Floats, grain: float, book: bool
) -> tuple[bool, int]:
    """Work through the buckets back from the deadline with at most this step; whether it is enough, and the size now.

    With ``book`` what is used is taken off ``free``.
    """
    rest = w.need[j]
    if w.sizes[j, step] != w.held[j]:
        rest += w.restart[j] * w.speed[j, step]
    rest -= EPSILON * rest
    now = 0
    for k in range(len(free) - 1, -1, -1):
        width = min(edges[k + 1], w.left[j]) - edges[k]
        if width <= 0:
            continue
        use = step
        while use >= 0 and w.sizes[j, use] > free[k] + EPSILON:
            use -= 1
        if use < 0:
            continue
        wanted = rest / w.speed[j, use]
        spent = min(width, wanted)
        rest -= spent * w.speed[j, use]
        if book:
            if grain > 0.0:
                spent = min(np.ceil(spent / grain - EPSILON) * grain, edges[k + 1] - edges[k])
            if k == 0:
                now = int(w.sizes[j, use])
                spent = edges[1] - edges[0]
            free[k] -= w.sizes[j, use] * spent / (edges[k + 1] - edges[k])
        if wanted <= width:
            return True, now
    return False, 0


def save(w: "Workers", order: Ints, least: Ints, edges: Floats, free: Floats, grain: float) -> tuple[Ints, Ints]:
    """Job by job in ``order``: room that lets it end in time, as late as possible and on as few workers as possible.

    ``least`` (J,) are the steps to begin with (-1: do not try). Returns (J,) the step that was found, -1 for none, and
    (J,) the workers it needs at once, 0 where later will do. ``free`` (K,) workers free in each bucket is used up.
    """
    found = np.full(len(w.need), -1, np.int64)
    now = np.zeros(len(w.need), np.int64)
    for i in range(len(order)):
        j = order[i]
        if least[j] < 0:
            continue
        for step in range(least[j], w.steps[j]):
            if _reserve(w, j, step, edges, free, grain, False)[0]:
                found[j] = step
                now[j] = _reserve(w, j, step, edges, free, grain, True)[1]
                break
    return found, now


def gain(w: "Workers", j: int, have: int, step: int) -> float:
    """What one more worker of a larger step brings, in units of what one of the job's first brings."""
    before, size = 0.0, 0
    if have >= 0:
        before, size = w.speed[j, have], w.sizes[j, have]
    added = w.sizes[j, step] - size
    if added == 0:
        return np.inf
    return float((w.speed[j, step] - before) / added / (w.speed[j, 0] / max(w.sizes[j, 0], 1)))


def step_of(w: "Workers", j: int, size: int) -> int:
    """The largest step of at most ``size`` workers; -1 for none."""
    step = w.steps[j] - 1
    while step >= 0 and w.sizes[j, step] > size:
        step -= 1
    return int(step)


def worthwhile(w: "Workers", j: int, step: int, margin: float) -> bool:
    """Whether the time that growing saves is more than ``margin`` times what it costs; always, for one not running."""
    if w.held[j] == 0 or w.sizes[j, step] == w.held[j]:
        return True
    now = step_of(w, j, w.held[j])
    if now < 0 or now >= step:
        return True
    if w.fixed[j]:
        return False
    saved = w.need[j] * (1.0 / w.speed[j, now] - 1.0 / w.speed[j, step])
    return bool(saved > margin * w.restart[j])


def _next_step(w: "Workers", given: Ints, j: int, free: int, margin: float, back: bool) -> tuple[float, int]:
    """The greatest marginal gain of one job among larger steps that fit and are worth it, and the step; 0 for none."""
    have = step_of(w, j, given[j])
    best, target = 0.0, -1
    first = step_of(w, j, w.held[j]) if back else have + 1
    last = first if back else w.steps[j] - 1
    for step in range(max(first, have + 1), last + 1):
        if w.sizes[j, step] - given[j] <= free and worthwhile(w, j, step, margin):
            worth = gain(w, j, have, step)
            if worth > best:
                best, target = worth, step
    return best, target


def grow(w: "Workers", given: Ints, free: int, margin: float, back: bool) -> int:
    """Hand out free workers, one step of one job at a time, the greatest marginal gain first. Returns what is left.

    ``given`` (J,) workers of each job, changed; jobs that have none are left out. A step must fit what is free and be
    worth its restart; ``back`` gives jobs what they hold already, and no other number.
    """
    heap = [(0.0, -1, -1)]
    heap.pop()
    for j in range(len(w.need)):
        if given[j] > 0:
            worth, step = _next_step(w, given, j, free, margin, back)
            if step >= 0:
                heapq.heappush(heap, (-worth, j, step))
    while len(heap) > 0 and free > 0:
        _, j, step = heapq.heappop(heap)
        # Less is free than when this was put in: the job's best step may be another by now, and never a better one.
        worth, current = _next_step(w, given, j, free, margin, back)
        if current == step:
            free -= w.sizes[j, step] - given[j]
            given[j] = w.sizes[j, step]
            worth, current = _next_step(w, given, j, free, margin, back)
        if current >= 0:
            heapq.heappush(heap, (-worth, j, current))
    return free


def hand_out(w: "Workers", line: Ints, step: Ints, now: Ints, capacity: int) -> tuple[Ints, int]:
    """Down the line: what a job needs at once, or the size that was planned for it, or else the largest that is free.

    Returns (J,) workers, 0 for those for whom not even their smallest size was left, and the workers left over.
    """
    given = np.zeros(len(w.need), np.int64)
    free = capacity
    for i in range(len(line)):
        j = line[i]
        size = int(now[j]) if now[j] > 0 else int(w.sizes[j, step[j]])
        if size > free:
            fitting = step_of(w, j, free)
            size = int(w.sizes[j, fitting]) if fitting >= 0 else 0
        given[j] = size
        free -= size
    return given, free
