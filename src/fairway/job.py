"""What a program that runs under Fairway can say and ask. Standard library only; harmless without Fairway.

A training loop that survives being preempted::

    from fairway import job

    state = load(job.checkpoint_dir()) if job.attempt() > 1 else fresh()
    for step in range(state.step, total):
        train(state)
        if job.should_stop():
            save(state, job.checkpoint_dir())
            job.report(step=step, total=total, checkpoint=True)
            job.yield_()
        job.report(step=step, total=total)

An elastic program (``workers: {min: 1, max: 8}``) may say what makes it faster, so that it gets the workers that help
it most; with ``batch`` limits in its manifest it is also told with which batch size it learns fastest on what it has::

    batch, local, accumulate = job.batch_size(256), job.local_batch_size(32), job.accumulate()
    ...
    job.report(step=step, total=total, batch=batch, noise=job.noise_scale(small, large, local, batch))

A program that cannot import this does the same by hand:

- It writes a line like ``step=40 total=100`` to the file that ``$FAIRWAY_PROGRESS`` names, and
  ``step=40 total=100 checkpoint`` when a checkpoint is complete; it may append to the file or write it anew. A line
  counts when its newline is there, and the last line counts. ``time=1760000000000`` on it (milliseconds since the Unix
  epoch) says when that was true; else the file's modification time does. Words that nobody knows are passed over.
- It keeps what it needs to go on in the folder ``$FAIRWAY_CHECKPOINT_DIR``, the same in every attempt, and sees
  by ``$FAIRWAY_ATTEMPT`` (1, 2, ...) whether it is the first.
- On SIGTERM it saves and exits with status 75 (EX_TEMPFAIL): stopped as asked, not finished. It has the job's grace
  for that; then it is killed, and loses what it did since its last checkpoint. If it exits with 0 it counts as
  finished, unless its last line said that ``step`` is less than ``total``.

- ``batch=256 throughput=3400.5`` on a line says how many examples a step of all workers has, and how many pass in a
  second; with ``accumulate=2`` where every worker adds up two local batches before a step, ``compute=0.07`` for the
  seconds of one local batch without the exchange of gradients, ``noise=1200`` for the gradient noise scale in examples,
  ``workers=4`` for how many do this. What a number cannot be is passed over with a warning in the control plane's log.
- Where its batch size is left to Fairway, it is in ``$FAIRWAY_BATCH_SIZE``: ``$FAIRWAY_LOCAL_BATCH_SIZE`` on each
  worker at once, and so ``$FAIRWAY_ACCUMULATE`` times in a step.

In a gang every task may report; what is said last counts, so it is best that only rank 0 does.
"""

# Half of the standard library stays outside until it is needed: a program starts as fast with this module as without.
from __future__ import annotations

import os
import time
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType
    from typing import NoReturn

__all__ = [
    "YIELDED",
    "accumulate",
    "attempt",
    "batch_size",
    "checkpoint_dir",
    "local_batch_size",
    "noise_scale",
    "report",
    "should_stop",
    "yield_",
]

YIELDED = 75
"""Exit status of a program that stopped because it was asked to, and has not finished (EX_TEMPFAIL)."""

_stop_asked = False
_listening = False
_last_checkpoint = ""
_last_measured = ""
_since: tuple[int, int, int, float | None] | None = None
"""(step, batch, nanoseconds) from which on examples are counted, and how many passed in a second before."""
_LONG_ENOUGH = 500_000_000
"""Nanoseconds over which examples are counted at the least: single steps differ too much."""


def report(
    step: int | None = None,
    total: int | None = None,
    checkpoint: bool = False,
    *,
    batch: int | None = None,
    throughput: float | None = None,
    accumulate: int | None = None,
    compute: float | None = None,
    noise: float | None = None,
) -> None:
    """Say how far the program is: ``step`` of ``total``, counted from 0, and whether a checkpoint is complete now.

    ``batch``: examples in a step of all workers, each of which adds up ``accumulate`` local batches (default: what it
    was told, or 1). ``throughput``: examples per second; left out, it is measured from one report to the next, which
    takes a ``step`` for one of the optimizer's, and leaves out the time of checkpoints. ``compute``: seconds of one
    local batch without the exchange of gradients. ``noise``: the gradient noise scale in examples (``noise_scale``).

    Costs some tens of microseconds. Does nothing outside Fairway. Raises ValueError for numbers that cannot be, and
    OSError when the file cannot be written.
    """
    _refuse(
        whole=(("step", step, 0), ("total", total, 0), ("batch", batch, 1), ("accumulate", accumulate, 1)),
        other=(("throughput", throughput), ("compute", compute), ("noise", noise)),
    )
    if batch is None and (throughput, compute, accumulate) != (None, None, None):
        raise ValueError("batch is missing: throughput, compute and accumulate say nothing without it")
    path = os.environ.get("FAIRWAY_PROGRESS")
    if not path:
        return
    global _last_checkpoint, _last_measured
    if batch is not None:
        passed = _count(step, batch, checkpoint)
        _last_measured = _measured(batch, throughput or passed, accumulate, compute, noise) or _last_measured
    elif noise is not None:
        _last_measured = f"noise={float(noise)!r}"
    words = [f"{name}={int(value)}" for name, value in (("step", step), ("total", total)) if value is not None]
    words += [_last_measured] if _last_measured else []
    line = " ".join([*words, *(["checkpoint"] if checkpoint else []), f"time={time.time_ns() // 1_000_000}"]) + "\n"
    text = line if checkpoint else _last_checkpoint + line
    if checkpoint:
        _last_checkpoint = line
    # Replaced as a whole, so that nobody reads half of it and it does not grow.
    fresh = f"{path}.{os.getpid()}.{get_ident()}"
    with open(fresh, "w", encoding="ascii") as file:
        file.write(text)
    os.replace(fresh, path)


def batch_size(default: int = 0) -> int:
    """Examples in a step of all workers, as Fairway has chosen; ``default`` where that is left to the program."""
    return int(os.environ.get("FAIRWAY_BATCH_SIZE") or default)


def local_batch_size(default: int = 0) -> int:
    """Examples on each worker at once; ``default`` where that is left to the program."""
    return int(os.environ.get("FAIRWAY_LOCAL_BATCH_SIZE") or default)


def accumulate(default: int = 1) -> int:
    """How many local batches a worker adds up before a step; ``default`` where that is left to the program."""
    return int(os.environ.get("FAIRWAY_ACCUMULATE") or default)


def noise_scale(small: float, large: float, small_batch: int, large_batch: int) -> float | None:
    """The gradient noise scale in examples, from squared norms of gradients: ``small``, the mean over workers of that
    of a local batch of ``small_batch`` examples, and ``large``, that of the mean gradient of all ``large_batch``.

    These are unbiased estimates (McCandlish et al. 2018, appendix A.1) and noisy ones: average both norms over some
    tens of steps. None where they contradict each other, as single ones may. Raises ValueError unless the second batch
    is the larger one. Where variance and squared norm are known, the scale is the variance of one example's gradient
    over the squared norm of the mean one.
    """
    if not 0 < small_batch < large_batch:
        raise ValueError(f"large_batch is {large_batch}: it must be above small_batch, {small_batch}")
    square = (large_batch * large - small_batch * small) / (large_batch - small_batch)
    variance = (small - large) / (1 / small_batch - 1 / large_batch)
    return variance / square if square > 0 and variance > 0 else None


def should_stop() -> bool:
    """Whether the program has been asked to stop (SIGTERM): save, and call ``yield_``.

    The first call begins to listen, so make it early: before it, SIGTERM ends the program at once. A handler that was
    there before is called as well. Raises RuntimeError when the first call is not in the main thread, which alone can
    listen.
    """
    if not _listening:
        _listen()
    return _stop_asked


def yield_() -> NoReturn:
    """Exit, saying: stopped as asked, not finished. Cleans up as ``sys.exit`` does."""
    raise SystemExit(YIELDED)


def checkpoint_dir() -> Path:
    """The folder for this job's checkpoints, the same in every attempt; made if need be. Else ``./checkpoints``."""
    from pathlib import Path

    folder = Path(os.environ.get("FAIRWAY_CHECKPOINT_DIR") or "checkpoints")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def attempt() -> int:
    """Which attempt this is, counted from 1. Outside Fairway 1."""
    return int(os.environ.get("FAIRWAY_ATTEMPT") or 1)


def _refuse(whole: tuple[tuple[str, int | None, int], ...], other: tuple[tuple[str, float | None], ...]) -> None:
    for name, count, least in whole:
        if count is not None and count < least:
            raise ValueError(f"{name} is {count}: it counts from {least}")
        if count is not None and count >= 10**18:
            raise ValueError(f"{name} is {count}: nobody counts so far")
    for name, number in other:
        if number is not None and not 0 < number < float("inf"):
            raise ValueError(f"{name} is {number}: it is a number above 0")


def _count(step: int | None, batch: int, checkpoint: bool) -> float | None:
    """Examples per second since they were last counted, for steps of this size; None where that cannot be told yet."""
    global _since
    now, before = time.monotonic_ns(), _since
    if step is None or before is None or before[1] != batch or step < before[0]:
        _since = None if step is None else (step, batch, now, None)
        return None
    first, _, began, found = before
    if checkpoint:  # saving took part of the time
        _since = (step, batch, now, found)
    elif now - began >= _LONG_ENOUGH and step > first:
        found = (step - first) * batch * 1e9 / (now - began)
        _since = (step, batch, now, found)
    return found


def _measured(
    batch: int, throughput: float | None, accumulated: int | None, compute: float | None, noise: float | None
) -> str:
    """The words of what is measured; empty where there is nothing to tell yet."""
    if throughput is None and noise is None:
        return ""
    words = [f"batch={int(batch)}"]
    times, workers = accumulated or accumulate(), os.environ.get("WORLD_SIZE")
    words += [f"workers={workers}"] if workers else []
    words += [f"accumulate={int(times)}"] if times > 1 else []
    words += [f"throughput={float(throughput)!r}"] if throughput is not None else []
    words += [f"compute={float(compute)!r}"] if compute is not None and throughput is not None else []
    words += [f"noise={float(noise)!r}"] if noise is not None else []
    return " ".join(words)


def _listen() -> None:
    import signal
    import threading

    global _listening
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("call should_stop() in the main thread once, before it is called in others")
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        global _stop_asked
        _stop_asked = True
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, stop)
    _listening = True
