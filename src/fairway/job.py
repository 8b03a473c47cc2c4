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

__all__ = ["YIELDED", "attempt", "checkpoint_dir", "report", "should_stop", "yield_"]

YIELDED = 75
"""Exit status of a program that stopped because it was asked to, and has not finished (EX_TEMPFAIL)."""

_stop_asked = False
_listening = False
_last_checkpoint = ""


def report(step: int | None = None, total: int | None = None, checkpoint: bool = False) -> None:
    """Say how far the program is: ``step`` of ``total``, counted from 0, and whether a checkpoint is complete now.

    Costs some tens of microseconds. Does nothing outside Fairway. Raises ValueError for numbers that cannot be, and
    OSError when the file cannot be written.
    """
    for name, value in (("step", step), ("total", total)):
        if value is not None and value < 0:
            raise ValueError(f"{name} is {value}: it counts from 0")
    path = os.environ.get("FAIRWAY_PROGRESS")
    if not path:
        return
    global _last_checkpoint
    words = [f"{name}={int(value)}" for name, value in (("step", step), ("total", total)) if value is not None]
    line = " ".join([*words, *(["checkpoint"] if checkpoint else []), f"time={time.time_ns() // 1_000_000}"]) + "\n"
    text = line if checkpoint else _last_checkpoint + line
    if checkpoint:
        _last_checkpoint = line
    # Replaced as a whole, so that nobody reads half of it and it does not grow.
    fresh = f"{path}.{os.getpid()}.{get_ident()}"
    with open(fresh, "w", encoding="ascii") as file:
        file.write(text)
    os.replace(fresh, path)


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
