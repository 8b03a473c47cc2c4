"""What would help a waiting job: the same placement, tried with requests that are a little different.

Computed when somebody asks, for one job. A change is told only if the job would fit with it right now, on top of all
that is held and reserved; for a job that never fits, if an empty cluster could hold it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from fairway.decide import expect, fit
from fairway.decide.admit import over_limit
from fairway.decide.booked import BookedRoom, keeps
from fairway.decide.explain import never_fits
from fairway.decide.gang import Fitted, place
from fairway.decide.reserve import Part, give_back, withhold
from fairway.model.ids import JobId
from fairway.model.limits import KeptBack
from fairway.model.policy import Policy
from fairway.model.reasons import Range
from fairway.model.resources import UNITS, WHOLE, Accelerator, Request
from fairway.model.time import Instant, format_duration
from fairway.model.where import ANYWHERE
from fairway.state.groups import Shape
from fairway.state.snapshot import Snapshot, Trial

MOST_TYPES = 4
"""Other device types that are named."""
_FINE = 16
"""Steps in which CPU or memory is given up."""

Fits = Callable[[Shape], bool]


@dataclass(frozen=True, slots=True)
class Advice:
    """``fits_if`` are changes each of which alone would let the job start now (with ``never``: ever), the smallest
    first; ``expected`` is when it starts as it is, None where nobody can say."""

    fits_if: tuple[str, ...] = ()
    expected: Range | None = None
    never: bool = False


@dataclass(frozen=True, slots=True)
class _Promised:
    """What is free, less what is held, and less what is reserved for others: ``kept``, by job."""

    trial: Trial
    kept: dict[JobId, list[Part]]


def advise(snap: Snapshot, policy: Policy, row: int, rng: np.random.Generator) -> Advice:
    """What would help the job in a row; nothing where it does not stand in line."""
    if not snap.jobs.in_line[row]:
        return Advice()
    shape = snap.shape_of(row)
    if never_fits(snap, shape) is not None:
        trial = _empty(snap)
        return Advice(tuple(_changes(snap, shape, lambda other: _fits(snap, trial, policy, other))), never=True)
    promised = _promised(snap, policy, row)
    trial, queue = promised.trial, int(snap.jobs.queue[row])

    def fits(other: Shape) -> bool:
        return over_limit(snap, trial, queue, other.least_sums) is None and _fits(snap, trial, policy, other)

    found: list[str] = []
    if not fits(shape):
        found += _limits(snap, trial, policy, queue, shape)
        found += _changes(snap, shape, fits)
        found += _shorter(snap, promised, lambda: fits(shape))
    return Advice(tuple(found), expect.starts(snap, policy, [row], rng)[row])


def _changes(snap: Snapshot, shape: Shape, fits: Fits) -> Iterator[str]:
    """Smaller or other requests that fit, one thing changed at a time, in the role that takes most."""
    index = max(range(len(shape.roles)), key=lambda at: shape.roles[at][0].gpus * shape.roles[at][1])
    request, count, least = shape.roles[index]

    def with_request(other: Request) -> Shape:
        roles = list(shape.roles)
        roles[index] = (other, count, least)
        return replace(shape, roles=tuple(roles))

    each = " in each task" if count > 1 else ""
    if request.gpus > 1:
        less = _least(request.gpus - 1, lambda n: fits(with_request(replace(request, gpus=request.gpus - n))))
        if less:
            yield f"{less} fewer GPU{'s' if less > 1 else ''}{each}"
    elif request.fractional and not request.gpu_memory_mib:
        largest = max(
            (m for m in range(50, request.gpu_milli, 50) if fits(with_request(replace(request, gpu_milli=m)))),
            default=0,
        )
        if largest:
            yield f"a share of {largest / WHOLE:g} GPU instead of {request.gpu_milli / WHOLE:g}{each}"
    if least > 1:
        roles = list(shape.roles)

        def with_fewer(n: int) -> Shape:
            roles[index] = (request, least - n, least - n)
            return replace(shape, roles=tuple(roles))

        less = _least(least - 1, lambda n: fits(with_fewer(n)))
        if less:
            yield f"{less} fewer task{'s' if less > 1 else ''}"
    yield from _types(snap, request, lambda other: fits(with_request(other)))
    yield from _amounts(request, each, lambda other: fits(with_request(other)))
    if shape.where != ANYWHERE and fits(replace(shape, where=ANYWHERE)):
        yield f"without {shape.where}"


def _types(snap: Snapshot, request: Request, fits: Callable[[Request], bool]) -> Iterator[str]:
    accepted = [accelerator.type for accelerator in request.accelerators]
    if not accepted:
        return
    others = sorted({kind for kind, _ in snap.nodes.kinds if kind and kind not in accepted})
    told = [kind for kind in others if fits(replace(request, accelerators=(Accelerator(kind),)))]
    for kind in told[:MOST_TYPES]:
        yield f"{kind} instead of {'/'.join(accepted)}"


def _amounts(request: Request, each: str, fits: Callable[[Request], bool]) -> Iterator[str]:
    """Less CPU, less memory: the least that has to go, to a sixteenth of what is asked for, and 100 milli-CPU."""
    for name, unit, size, grain in (("cpu_milli", "CPU", 1000, 100), ("memory_mib", "MiB memory", 1, 1)):
        amount = int(getattr(request, name))
        step = -(-amount // (_FINE * grain)) * grain or 1

        def less(n: int, key: str = name, had: int = amount, by: int = step) -> bool:
            return fits(replace(request, **{key: max(had - n * by, 0)}))

        steps = _least(-(-amount // step), less)
        if steps:
            yield f"{min(amount, steps * step) / size:g} {unit} less{each}"


def _limits(snap: Snapshot, trial: Trial, policy: Policy, queue: int, shape: Shape) -> Iterator[str]:
    """What its queue would have to give back, where there would be room."""
    over = over_limit(snap, trial, queue, shape.least_sums)
    if over is None or not _fits(snap, trial, policy, shape):
        return
    if isinstance(over, KeptBack):
        size, unit = UNITS[over.resource]
        yield f"queue {over.owner} lends {(over.need - over.open) / size:g} more {unit}"
        return
    excess, (size, unit) = over.used + over.need - over.limit, UNITS[over.resource]
    yield f"queue {over.queue or '(root)'} used {excess / size:g} {unit} less"


def _shorter(snap: Snapshot, promised: _Promised, fits: Callable[[], bool]) -> Iterator[str]:
    """A limit on its run time, where the only room is kept for somebody else."""
    for job, parts in promised.kept.items():
        left = snap.reserved[job].expected.p50 - snap.now
        mark = promised.trial.mark()
        give_back(promised.trial, parts)
        if left > 0 and fits():
            yield f"max_runtime of {format_duration(left)}"
        promised.trial.rollback(mark)


def _promised(snap: Snapshot, policy: Policy, row: int) -> _Promised:
    trial = Trial(snap)
    if keeps(snap, policy):
        shape = snap.shape_of(row)
        BookedRoom(snap, trial, policy).open_for(int(snap.jobs.queue[row]), shape)
    for other in snap.held:
        hold = snap.jobs.hold[other]
        trial.put(other, hold.placement if hold is not None else ())
    own = snap.jobs.id_of(row)
    return _Promised(trial, {job: withhold(snap, trial, kept) for job, kept in snap.reserved.items() if job != own})


def _empty(snap: Snapshot) -> Trial:
    """A trial on which nothing runs, and every known node is up."""
    trial, whole = Trial(snap), fit.whole_capacity(snap)
    trial.write_untold()
    trial.free[:], trial.device_free[:] = whole.flat, whole.device_free
    trial.idle[:], trial.share_max[:] = whole.idle, whole.share_max
    trial.gpu_free[:] = whole.device_free.sum(axis=1)
    return trial


def _fits(snap: Snapshot, trial: Trial, policy: Policy, shape: Shape) -> bool:
    mark = trial.mark()
    fits = isinstance(place(snap, trial, policy, shape), Fitted)
    trial.rollback(mark)
    return fits


def _least(most: int, fits: Callable[[int], bool]) -> int:
    """The least ``n`` from 1 to ``most`` that fits, 0 for none: less always fits where more does."""
    if most < 1 or not fits(most):
        return 0
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def sentence(advice: Advice, clock: Callable[[Instant], str]) -> str:
    """``fits if: 2 fewer GPUs / A100 instead of H100 / after 14:10-14:40``; empty where nothing is known."""
    parts = list(advice.fits_if)
    if advice.expected is not None:
        first, last = clock(advice.expected.p50), clock(advice.expected.p90)
        parts.append(f"after {first}" if first == last else f"after {first}-{last}")
    if not parts:
        return ""
    return f"{'could fit if' if advice.never else 'fits if'}: {' / '.join(parts)}"
