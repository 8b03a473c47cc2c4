"""Keeping the garbage collector from holding up decisions.

The state of a large cluster is millions of objects that live for long and form no cycles. A full collection looks at
every one of them, 0.4 s for 100,000 jobs, and comes whenever a quarter as many were made again: in the midst of a
decision as likely as not.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THAW_AFTER = 1_000
"""Full collections until everything is looked at once more: what has become a dead cycle after it was set aside."""


@contextmanager
def short_pauses(thaw_after: int = THAW_AFTER) -> Iterator[None]:
    """While the block lasts, a full collection looks only at what was made since the one before: whatever outlives one
    is set aside (``gc.freeze``). What is no part of a cycle is freed at once, as ever. For a whole process."""
    full = 0

    def set_aside(phase: str, info: dict[str, int]) -> None:
        nonlocal full
        if phase == "stop" and info["generation"] == 2:
            full += 1
            if full % thaw_after:
                gc.freeze()
            else:
                gc.unfreeze()

    gc.freeze()
    gc.callbacks.append(set_aside)
    try:
        yield
    finally:
        gc.callbacks.remove(set_aside)
        gc.unfreeze()
