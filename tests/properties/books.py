"""What a state says, seen plainly: who is where, what is free, what queues use; and whether a job fits, by trying.

Nothing here uses the scheduler's columns, indexes or rules. Whatever a promise needs is added up from the placements
and holds of single jobs, and whether there is room is found by trying every way to place every task.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from fairway.model.ids import JobId, QueueId, ancestry, parent_of
from fairway.model.job import Job, PriorityClass
from fairway.model.node import Node
from fairway.model.phases import JobPhase, Reach
from fairway.model.plan import Hold, Placement, TaskPlacement
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Amount, Request
from fairway.model.time import Instant
from fairway.model.where import Apart, domain_of, permits
from fairway.state.cluster import ClusterState

MOST_LOOKS = 20_000
"""Places that are tried for one question; beyond that the answer is None."""

RESOURCES = ("cpu_milli", "memory_mib", "gpu_milli")
Sums = tuple[int, int, int]
"""CPU, memory and milli-GPUs."""
Company = list[tuple[Job, Node]]
"""Jobs that are somewhere, once for each task."""


@dataclass(slots=True)
class Entry:
    """One job that has not ended."""

    job: Job
    phase: JobPhase
    placement: Placement
    hold: Hold | None
    in_line: bool
    row: int

    @property
    def id(self) -> JobId:
        return self.job.id

    @property
    def stays(self) -> bool:
        """It lives, and has not been told to stop."""
        return self.phase.live and self.phase is not JobPhase.STOPPING

    @property
    def critical(self) -> bool:
        return self.job.priority.cls is PriorityClass.CRITICAL


@dataclass(slots=True)
class Box:
    """What is free on a node."""

    node: Node
    flat: list[int]
    devices: list[int]

    def take(self, job: Job, task: TaskPlacement, sign: int = 1) -> None:
        """Put a task in; ``sign=-1`` takes it out."""
        for column, need in enumerate(job.roles[task.role].request.flat):
            self.flat[column] -= sign * need
        for device in task.devices:
            self.devices[device] -= sign * task.gpu_milli


@dataclass(slots=True)
class Books:
    """The state at one moment."""

    state: ClusterState
    entries: dict[JobId, Entry] = field(default_factory=dict[JobId, Entry])

    def __post_init__(self) -> None:
        jobs = self.state.jobs
        for row in jobs.rows():
            entry = Entry(
                jobs.job(row), jobs.phase_of(row), jobs.placement[row], jobs.hold[row], bool(jobs.in_line[row]), row
            )
            self.entries[entry.id] = entry

    @property
    def now(self) -> Instant:
        return self.state.now

    def nodes(self, *, taking: bool = True) -> Iterator[Node]:
        """Nodes that take work now, or all that are up."""
        nodes = self.state.nodes
        for row in nodes.rows():
            if nodes.reach[row] is Reach.UP and not (taking and nodes.cordoned[row]):
                yield nodes.node(row)

    def open_nodes(self, job: Job) -> list[Node]:
        """Nodes that take work now of which nothing is kept, whatever else: booked by a queue, or for large jobs."""
        large = self.state.policy.backfill.large.gpus
        if large and least_sums(job)[2] < large * WHOLE:
            return []
        booked = {name for each in self.state.bookings.table.values() for name, _ in each.devices}
        return [node for node in self.nodes() if node.id not in booked]

    def known_nodes(self) -> Iterator[Node]:
        """Nodes that were ever seen, up or not."""
        nodes = self.state.nodes
        for row in nodes.rows():
            yield nodes.node(row)

    def boxes(
        self,
        nodes: Iterable[Node],
        *,
        gone: Iterable[JobId] = (),
        stopping: bool = True,
        holds: bool = True,
        kept_for_others: JobId | None = None,
    ) -> list[Box]:
        """What is free, in boxes. ``gone`` are live jobs that are thought away; without ``stopping`` so are all that
        were told to stop. ``kept_for_others`` takes out what is reserved for any but this job."""
        boxes = {node.id: empty(node) for node in nodes}
        away = set(gone)
        for entry in self.entries.values():
            lives = entry.phase.live and entry.id not in away and (stopping or entry.stays)
            placements = (entry.placement if lives else (), entry.hold.placement if entry.hold and holds else ())
            for placement in placements:
                put(boxes, entry.job, placement)
        if kept_for_others is not None:
            for name, kept in self.state.reserved.items():
                if name != kept_for_others:
                    put(boxes, self.entries[name].job, kept.placement)
        return list(boxes.values())

    def company(self, *, gone: Iterable[JobId] = ()) -> Company:
        """Whoever is somewhere, or has room held there."""
        away, found, nodes = set(gone), Company(), {node.id: node for node in self.known_nodes()}
        for entry in self.entries.values():
            if entry.id in away:
                continue
            placed = (*entry.placement, *(entry.hold.placement if entry.hold else ()))
            found += [(entry.job, nodes[task.node]) for task in placed]
        return found

    # -- queues ---------------------------------------------------------------------------------------------------

    def queue(self, name: QueueId) -> Queue:
        return self.state.queues.spec[self.state.queues.row_of[name]]

    def used(self, *, holds: bool = True, stopping: bool = True) -> Mapping[QueueId, Sums]:
        """What every queue uses with those below it; room that is held for one who does not run counts as used. Without
        ``stopping``, those that were told to stop use nothing."""
        used: dict[QueueId, Sums] = {}
        for entry in self.entries.values():
            if not stopping and entry.phase is JobPhase.STOPPING:
                continue
            placement = entry.placement or (entry.hold.placement if entry.hold and holds else ())
            sums = placed_sums(entry.job, placement)
            for queue in ancestry(entry.job.queue):
                used[queue] = plus(used.get(queue, (0, 0, 0)), sums)
        return used

    def guard(self, name: QueueId) -> QueueId | None:
        """The nearest queue upwards that is guaranteed something."""
        known = (queue for queue in ancestry(name) if queue in self.state.queues.row_of)
        return next((queue for queue in known if any(amounts(self.queue(queue).quota))), None)

    def within_limits(self, job: Job, used: Mapping[QueueId, Sums]) -> bool:
        """Whether a job may start at its smallest without a queue using more than it may, or what another keeps."""
        need = least_sums(job)
        if self._kept_back(job, used):
            return False
        for name in ancestry(job.queue):
            limit, has = self.queue(name).limit, used.get(name, (0, 0, 0))
            most = (limit.cpu_milli, limit.memory_mib, limit.gpu_milli)
            if any(n and m is not None and h + n > m for n, m, h in zip(need, most, has, strict=True)):
                return False
        return True

    def _kept_back(self, job: Job, used: Mapping[QueueId, Sums]) -> bool:
        """Whether others keep what a job would need: all that is used, and kept without being used, would with it be
        more than there is."""
        before, need = self._claim(QueueId(""), used), least_sums(job)
        if before == used.get(QueueId(""), (0, 0, 0)):
            return False
        more = dict(used)
        for name in ancestry(job.queue):
            more[name] = plus(more.get(name, (0, 0, 0)), need)
        after, has = self._claim(QueueId(""), more), used.get(QueueId(""), (0, 0, 0))
        total = self._total()
        return any(a > b > h and a > t for a, b, h, t in zip(after, before, has, total, strict=True))

    def _claim(self, name: QueueId, used: Mapping[QueueId, Sums]) -> Sums:
        """What a queue may come to use by right: what it and those below it use and keep."""
        queues = self.state.queues
        claim = used.get(name, (0, 0, 0))
        for row in queues.rows():
            child = queues.id_of(row)
            if child and parent_of(child) == name:
                extra, has = self._claim(child, used), used.get(child, (0, 0, 0))
                claim = plus(claim, (extra[0] - has[0], extra[1] - has[1], extra[2] - has[2]))
        spec = queues.spec[queues.row_of[name]]
        pairs = ((getattr(spec.quota, each), getattr(spec.lend, each)) for each in RESOURCES)
        keeps = [0 if lent is None else max((quota or 0) - lent, 0) for quota, lent in pairs]
        return (max(claim[0], keeps[0]), max(claim[1], keeps[1]), max(claim[2], keeps[2]))

    def _total(self) -> Sums:
        """All that takes work, and what is used elsewhere."""
        taking, total = {node.id: node for node in self.nodes()}, (0, 0, 0)
        for node in taking.values():
            total = plus(total, (node.cpu_milli, node.memory_mib, node.gpu_milli))
        for entry in self.entries.values():
            total = plus(total, placed_sums(entry.job, tuple(t for t in entry.placement if t.node not in taking)))
        return total

    def covered(self, job: Job, used: Mapping[QueueId, Sums]) -> QueueId | None:
        """The queue whose guaranteed quota has room for a job at its smallest; None when none has."""
        guard = self.guard(job.queue)
        if guard is None:
            return None
        quota, has, need = amounts(self.queue(guard).quota), used.get(guard, (0, 0, 0)), least_sums(job)
        named = [c for c in range(3) if need[c] and quota[c]]
        return guard if named and all(has[c] + need[c] <= quota[c] for c in named) else None

    def spent(self, job: Job) -> bool:
        """Whether a rolling quota keeps a job from starting."""
        queues = self.state.queues
        row = queues.row_of[job.queue]
        bound = least_sums(job)[2] > 0 and job.priority.cls is not PriorityClass.CRITICAL
        return bound and queues.exhausted(row, self.now) is not None


def empty(node: Node) -> Box:
    """A node with nobody on it."""
    return Box(node, list(node.flat), [WHOLE] * node.gpus)


def put(boxes: Mapping[str, Box], job: Job, placement: Placement) -> None:
    """Put tasks into the boxes that there are."""
    for task in placement:
        if task.node in boxes:
            boxes[task.node].take(job, task)


def placed_sums(job: Job, placement: Placement) -> Sums:
    """What a placement takes."""
    sums: Sums = (0, 0, 0)
    for task in placement:
        request = job.roles[task.role].request
        sums = plus(sums, (request.cpu_milli, request.memory_mib, len(task.devices) * task.gpu_milli))
    return sums


def least_sums(job: Job) -> Sums:
    """What a job takes at its smallest; a share by memory counts as a whole device, as nobody knows of which."""
    sums: Sums = (0, 0, 0)
    for role in job.roles:
        request = role.request
        milli = WHOLE if request.gpu_memory_mib else request.gpu_milli
        one = (request.cpu_milli, request.memory_mib, request.gpus * milli)
        for _ in range(role.least):
            sums = plus(sums, one)
    return sums


def plus(left: Sums, right: Sums) -> Sums:
    return (left[0] + right[0], left[1] + right[1], left[2] + right[2])


def amounts(amount: Amount) -> Sums:
    return (amount.cpu_milli or 0, amount.memory_mib or 0, amount.gpu_milli or 0)


# -- does it fit? -------------------------------------------------------------------------------------------------


def fits(job: Job, boxes: Iterable[Box], company: Company) -> bool | None:
    """Whether there is any way at all to place every task of a job at its smallest in these boxes, as its ``where``
    asks. None when that would take too long to find out."""
    allowed = [box for box in boxes if permits(job.where, box.node) and not any(_shunned(job, box.node, company))]
    tasks = [role.request for role in job.roles for _ in range(role.least)]
    tasks.sort(key=lambda request: (-request.gpus, -request.gpu_milli, -request.cpu_milli, str(request)))
    looks, unsure = [MOST_LOOKS], False
    for some in _domains(job, allowed):
        answer = _try(tasks, some, 0, 0, looks)
        if answer:
            return True
        unsure |= answer is None
    return None if unsure else False


def _domains(job: Job, boxes: list[Box]) -> list[list[Box]]:
    """The boxes among which all tasks have to stay: those of one executor, of one domain where that is required."""
    together, found = job.where.together, dict[tuple[str, ...], list[Box]]()
    for box in boxes:
        one = together is not None and together.required and sum(role.least for role in job.roles) > 1
        name = domain_of(box.node, together.level) if one and together else (box.node.executor,)
        found.setdefault(name, []).append(box)
    return list(found.values())


def shuns(apart: Apart, job: Job) -> bool:
    """Whether one who asks for ``apart`` keeps away from a job."""
    match apart.of:
        case "array":
            return job.array is not None and job.array.array == apart.key
        case "service":
            return job.service is not None and job.service == apart.key
        case "label":
            return any(key == apart.key and apart.value in ("", value) for key, value in job.labels)


def named(job: Job) -> Iterator[Apart]:
    """What a job keeps apart from, by name: its own array or service where it says just that."""
    for apart in job.where.apart:
        own = {"label": apart.key, "array": job.array and job.array.array, "service": job.service}[apart.of]
        if own:
            yield Apart(apart.of, own, apart.value, apart.level)


def _shunned(job: Job, node: Node, company: Company) -> Iterator[bool]:
    for apart in named(job):
        here = domain_of(node, apart.level)
        yield any(shuns(apart, other) and domain_of(at, apart.level) == here for other, at in company)


def _try(tasks: list[Request], boxes: list[Box], index: int, first: int, looks: list[int]) -> bool | None:
    """Place ``tasks[index:]``; of equal tasks none goes to a box before that of the one placed last."""
    if index == len(tasks):
        return True
    request, unsure = tasks[index], False
    for at in range(first, len(boxes)):
        for devices, milli in _ways(boxes[at], request):
            looks[0] -= 1
            if looks[0] < 0:
                return None
            _move(boxes[at], request, devices, milli)
            same = index + 1 < len(tasks) and tasks[index + 1] == request
            answer = _try(tasks, boxes, index + 1, at if same else 0, looks)
            _move(boxes[at], request, devices, -milli, -1)
            if answer:
                return True
            unsure |= answer is None
    return None if unsure else False


def _ways(box: Box, request: Request) -> Iterator[tuple[tuple[int, ...], int]]:
    """(devices, milli of each) that a task could take in a box: of equally free devices only the first."""
    if any(have < need for have, need in zip(box.flat, request.flat, strict=True) if need):
        return
    if not request.gpus:
        yield (), 0
        return
    if not request.accepts(box.node.gpu_type):
        return
    milli = request.milli_on(box.node.gpu_memory_mib)
    if request.fractional:
        seen: set[int] = set()
        for device, free in enumerate(box.devices):
            if free >= milli and free not in seen:
                seen.add(free)
                yield (device,), milli
        return
    whole = [device for device, free in enumerate(box.devices) if free == WHOLE]
    if len(whole) >= request.gpus:
        yield tuple(whole[: request.gpus]), WHOLE


def _move(box: Box, request: Request, devices: tuple[int, ...], milli: int, sign: int = 1) -> None:
    for column, need in enumerate(request.flat):
        box.flat[column] -= sign * need
    for device in devices:
        box.devices[device] -= milli
