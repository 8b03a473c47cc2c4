"""The pace of a job from the steps it has measured: nonlinear least squares of logarithms, and optimism where nothing
has been measured yet (Pollux, Qiao et al., OSDI'21, section 4.1).

What has not been seen costs nothing: a job that never spanned nodes is taken to exchange gradients there about as fast
as within one, and one that never had more than two replicas to lose nothing by more. So it is given a chance to
find out, and each new size corrects the picture.
"""

from typing import Final, NamedTuple

import numpy as np

from fairway.decide.goodput import Pace, compute_time, step_time
from fairway.model.errors import InvalidField
from fairway.state.columns import Bools, Floats, Ints

NOTHING: Final = 1e-8
"""Seconds that stand for a cost that has not been seen."""
STEPS: Final = 30
FORETOLD: Final = 0.01
"""A step that was foretold to this part teaches nothing."""
PULL: Final = 0.05
"""How strongly costs that grow with every replica are taken for constant ones."""
LEAST_OVERLAP: Final = 1.001
MOST_OVERLAP: Final = 10.0


class Steps(NamedTuple):
    """Steps of one job, all (M,): on how many nodes and GPUs, with which local batch, seconds of computing one local
    batch (NaN where nobody measured it), and seconds of a whole step, which adds up ``accumulated`` + 1 local batches;
    None: one."""

    nodes: Ints
    gpus: Ints
    local: Ints
    compute: Floats
    step: Floats
    accumulated: Ints | None = None

    def predicted(self, pace: Pace) -> Floats:
        """(M,) seconds that whole steps would take at a pace."""
        once = step_time(pace, self.nodes, self.gpus, self.local)
        return once if self.accumulated is None else once + self.accumulated * compute_time(pace, self.local)


def fitted(measured: Steps, known: Pace | None = None) -> Pace:
    """The pace that explains the steps best. ``known`` is the pace before the last step was measured: it is kept if it
    foretold that step to ``FORETOLD``, and else is where the search begins. Raises InvalidField when there are no
    steps, or one took no time."""
    known_times = measured.compute[~np.isnan(measured.compute)]
    if not len(measured.step) or not len(known_times) or min(float(measured.step.min()), float(known_times.min())) <= 0:
        raise InvalidField("measured", "must hold at least one step, and every step takes time")
    if known is not None and _foretold(known, measured):
        return known
    free, fixed = _seen(measured, known)
    found = _descend(measured, free, fixed)
    if not (measured.nodes > 1).any():
        remote, more = max(found.remote, found.local * 1.1), max(found.remote_more, found.local_more * 1.1)
        found = found._replace(remote=remote, remote_more=more)
    return found


def _foretold(pace: Pace, measured: Steps) -> bool:
    step = np.abs(np.log(measured.predicted(pace)[-1:] / measured.step[-1:]))
    compute = np.abs(np.log(compute_time(pace, measured.local[-1:]) / measured.compute[-1:]))
    return bool(step[0] < FORETOLD and not compute[0] >= FORETOLD)  # not known is as good as foretold


def _seen(measured: Steps, known: Pace | None) -> tuple[Bools, Pace]:
    """(which parameters the steps say anything about (7,), where to start, with the others at what stands for them)."""
    across = measured.nodes > 1
    within = ~across & (measured.gpus > 1)
    several, remote, local = len(np.unique(measured.local)) > 1, bool(across.any()), bool(within.any())
    # One size cannot tell a constant cost from what every replica adds either: then it is constant, and more may help.
    more = [len(np.unique(np.maximum(measured.gpus[rows], 2))) > 1 for rows in (across, within)]
    free = np.array([several, True, remote, more[0], local, more[1], remote or local])
    # Where nothing is known, half of the mean step is constant, and every other cost is a part of it.
    step = float(measured.step.mean())
    guess = Pace(step / 2, step / 200, step / 20, step / 200, step / 20, step / 200, 1.5)
    start = guess if known is None else known
    values = [value if sees else NOTHING for value, sees in zip(start, free, strict=True)]
    for at in np.flatnonzero(free).tolist():
        values[at] = values[at] if values[at] > 1e-6 else guess[at]
    # One batch size cannot tell the constant part from what every example adds: half each.
    values[0] = values[0] if several else float(np.nanmean(measured.compute)) / 2
    values[6] = min(max(start.overlap, LEAST_OVERLAP), MOST_OVERLAP) if free[6] else LEAST_OVERLAP
    return free, Pace(*values)


def _off(values: Floats, measured: Steps) -> Floats:
    """What least squares makes small: logarithms of predicted over measured times, and a pull towards optimism."""
    pace = Pace(*values.tolist())
    root = len(measured.step) ** -0.5
    compute = np.nan_to_num(np.log(compute_time(pace, measured.local) / measured.compute)) * root
    step = np.log(measured.predicted(pace) / measured.step) * root
    pull = [1e-3 * (pace.overlap - 1), PULL * pace.remote_more / pace.remote, PULL * pace.local_more / pace.local]
    return np.concatenate([compute, step, pull])


def _descend(measured: Steps, free: Bools, start: Pace) -> Pace:
    """Levenberg-Marquardt on the logarithms of the free parameters."""
    logs, at = np.log(np.array(start)), np.flatnonzero(free)
    low, high = np.full(7, np.log(NOTHING)), np.full(7, np.log(1e4))
    low[6], high[6] = np.log(LEAST_OVERLAP), np.log(MOST_OVERLAP)
    off, damping = _off(np.exp(logs), measured), 1e-2
    for _ in range(STEPS):
        slope = np.empty((len(off), len(at)))
        for column, parameter in enumerate(at.tolist()):
            nudged = logs.copy()
            nudged[parameter] += 1e-5
            slope[:, column] = (_off(np.exp(nudged), measured) - off) / 1e-5
        bend, pull = slope.T @ slope, slope.T @ off
        tried, following = logs, off
        while damping < 1e8:
            brake = damping * (np.diag(bend) + 1e-9)
            tried = logs.copy()
            tried[at] -= np.linalg.solve(bend + np.diag(brake), pull)
            tried = np.clip(tried, low, high)
            following = _off(np.exp(tried), measured)
            if float(following @ following) < float(off @ off):
                damping *= 0.2
                break
            damping *= 5
        better = float(off @ off) - float(following @ following)
        if better <= 1e-4 * float(off @ off) + 1e-10:
            break
        logs, off = tried, following
    return Pace(*np.exp(logs).tolist())
