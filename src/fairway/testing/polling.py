"""The one way in which tests of real processes wait: look again and again, up to a deadline only a fault reaches."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 30.0
"""Much longer than anything takes on a busy machine."""


def wait_for(look: Callable[[], T], what: str = "", within: float = PATIENCE_S) -> T:
    """What ``look`` returns, once it is true. Raises AssertionError that names ``what`` after ``within`` seconds."""
    until = time.monotonic() + within
    pause = 0.001
    while not (found := look()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {within:g} s for {what or look}; last seen: {found!r}")
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    return found


async def await_for(look: Callable[[], T], what: str = "", within: float = PATIENCE_S) -> T:
    """``wait_for`` inside a coroutine: others go on meanwhile."""
    until = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited {within:g} s for {what or look}; last seen: {found!r}")
        await asyncio.sleep(0.001)
