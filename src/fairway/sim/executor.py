"""The simulated machines behind the port that every executor meets: for contract tests and asynchronous callers.

The simulated world itself talks to its sites without this: it is synchronous.
"""

from collections.abc import Callable

from fairway.engine.commands import ForgetAttempt, StartAttempt, StopAttempt
from fairway.model.facts import Fact, Inventory
from fairway.sim.site import Site, to_nobody


class SimulatedExecutor:
    """An executor in virtual time. The site outlives it, as machines outlive a control plane."""

    def __init__(self, site: Site) -> None:
        self.name: str = site.name
        self._site = site

    async def open(self, emit: Callable[[Fact], None], epoch: int) -> None:
        """Begin: from now on, what the site tells goes to ``emit``."""
        self._site.tell = emit

    async def start(self, command: StartAttempt) -> None:
        """Start an attempt, unless it was ever started or stopped."""
        self._site.start(command)

    async def stop(self, command: StopAttempt) -> None:
        """SIGTERM, then SIGKILL after the grace."""
        self._site.stop(command)

    async def forget(self, command: ForgetAttempt) -> None:
        """Leave an ended attempt out of inventories from now on."""
        self._site.forget(command)

    async def inventory(self) -> Inventory:
        """Everything there is, complete as of its ``seq``."""
        return self._site.inventory()

    async def close(self) -> None:
        """End without stopping any attempt."""
        self._site.tell = to_nobody
