"""Orders of other schedulers as plain functions, to run in Fairway's own loop beside its own: the least key first.

``fifo`` and ``srsf`` need no function: they are disciplines of Fairway's, here without hysteresis.
"""

import numpy as np

from fairway.decide.order import Discipline, Standing
from fairway.model.resources import WHOLE
from fairway.model.time import HOUR
from fairway.state.columns import Floats, Ints

TIRESIAS_LIMITS = (3_600.0, 7_200.0, 18_000.0)
"""GPU-seconds at which a job falls into the next queue, as in the simulators of Tiresias and of Muri."""
LEASE = HOUR
_FAR = 1e6
"""How much worse a lower queue is. Within a queue keys stay within one per cent, so that nobody yields to an equal."""


def srtf(jobs: Standing) -> Floats:
    """Shortest remaining time first, whatever the width."""
    return jobs.remaining


def never(jobs: Standing, key: float) -> tuple[Floats, Floats]:
    """Whoever runs falls behind nobody as long as nothing happens: run times are known."""
    return np.full(len(jobs.rows), np.inf), np.full(len(jobs.rows), -1.0)


def tiresias(limits: tuple[float, ...] = TIRESIAS_LIMITS) -> Discipline:
    """Discretised two-dimensional least attained service (Gu et al., NSDI'19, section 3.3): a few queues by GPU-time
    served, the last without end; in a queue who started first goes first, then by submission, and nobody yields to
    an equal. Jobs that wait are not promoted (PROMOTEKNOB infinite, as in the paper's evaluation)."""
    ends = np.array(limits) * 1000.0 * WHOLE

    def key(jobs: Standing) -> Floats:
        started = jobs.snap.jobs.first_started[jobs.rows]
        first = np.where(started > 0, started / (2.0 * jobs.snap.now + 1.0), 1.0)
        return np.power(_FAR, np.searchsorted(ends, jobs.attained + 1.0, side="right")) * (1 + 0.009 * first)

    def falls(jobs: Standing, least: float) -> tuple[Floats, Floats]:
        at = np.searchsorted(ends, jobs.attained + 1.0, side="right")
        rest = np.append(ends, np.inf)[at] - jobs.attained
        return rest / jobs.width, np.where(at < len(ends), np.power(_FAR, at + 1), -1.0)

    return Discipline(key, falls)


def themis(gpus: float, submitted: Ints, lease: int = LEASE) -> Discipline:
    """Finish-time fairness (Mahajan et al., NSDI'20, section 3): when a lease ends, whoever would end latest compared
    with an equal share of the ``gpus`` goes first. ``submitted`` (J,) are instants by submission. Run times are known
    to it, and the GPUs go to the worst off, not by auction among several."""

    def key(jobs: Standing) -> Floats:
        now = jobs.snap.now
        total = jobs.remaining + jobs.attained / jobs.width
        share = gpus * WHOLE / max(len(jobs.snap.jobs), 1)
        alone = total * np.maximum(jobs.width / share, 1.0)
        return alone / np.maximum(now - submitted[jobs.ordinal] + jobs.remaining, 1.0)

    def falls(jobs: Standing, least: float) -> tuple[Floats, Floats]:
        left = lease - jobs.snap.now % lease
        return np.full(len(jobs.rows), float(left)), np.full(len(jobs.rows), np.inf)

    return Discipline(key, falls)
