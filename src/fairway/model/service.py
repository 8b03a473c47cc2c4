"""Services: replicas behind one name, without an end. Fairway decides how many there are."""

from dataclasses import dataclass

from fairway.model.ids import QueueId, ServiceId
from fairway.model.job import Priority
from fairway.model.resources import Request
from fairway.model.where import Where


@dataclass(frozen=True, slots=True)
class Service:
    """A service as declared: ``replicas`` equal tasks, each one attempt, kept running."""

    id: ServiceId
    queue: QueueId
    replicas: int = 1
    min_replicas: int = 0
    max_replicas: int | None = None
    request: Request = Request()
    priority: Priority = Priority()
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    where: Where = Where()
    """Which nodes will do."""
