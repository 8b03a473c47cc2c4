"""Which tasks are bound to which cores. Cores are shared when more is asked for than there is: least loaded first."""

from collections.abc import Sequence


class Cores:
    """The load of each core, in millicores of the tasks bound to it."""

    def __init__(self, cores: Sequence[int]) -> None:
        self._load = dict.fromkeys(cores, 0)

    def choose(self, cpu_milli: int) -> tuple[int, ...]:
        """The least loaded cores, as many as it takes to give so many millicores, in ascending order.

        Empty when nothing is asked for or every core is needed: such a task is bound to none and may use any.
        """
        count = -(-cpu_milli // 1_000)
        if not 0 < count < len(self._load):
            return ()
        return tuple(sorted(sorted(self._load, key=lambda core: (self._load[core], core))[:count]))

    def add(self, cores: Sequence[int], cpu_milli: int) -> None:
        """Count a task on its cores. Cores that this machine does not have (any more) do not count."""
        for core in cores:
            if core in self._load:
                self._load[core] += cpu_milli // len(cores)

    def remove(self, cores: Sequence[int], cpu_milli: int) -> None:
        """The reverse of ``add`` with the same arguments."""
        for core in cores:
            if core in self._load:
                self._load[core] -= cpu_milli // len(cores)

    @property
    def load(self) -> dict[int, int]:
        """A copy: millicores by core."""
        return dict(self._load)
