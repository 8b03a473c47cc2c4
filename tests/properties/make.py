"""Random clusters, policies and jobs, of a seed: everything that a job, a queue or a policy may ask for.

Three kinds of case: any (most), a *stream* (one queue in order of submission, in which a large job waits among small
ones), and *tenants* (sibling queues of one-GPU jobs, in which each has its part).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal, get_args

from fairway.model.elastic import BatchLimits, Elasticity
from fairway.model.ids import ExecutorId, JobId, QueueId
from fairway.model.job import ArrayIndex, Dependency, Job, PriorityClass, Retry, Role
from fairway.model.node import Node, Topology
from fairway.model.phases import Lifecycle
from fairway.model.policy import (
    Backfill,
    Elastic,
    Fairness,
    Policy,
    Swarm,
)
from fairway.model.queue import Queue
from fairway.model.resources import Request
from fairway.model.time import HOUR, MINUTE, SECOND, Duration, Instant
from fairway.model.where import ANYWHERE, Apart, Selector, Together, Where
from fairway.testing.builders import EXECUTOR, a_job, a_node, a_request
from tests.properties.policies import LEVELS, a_policy, a_queue, a_swarm

KINDS = ("H100", "A100")
QUEUES = ("ads", "ads/rank", "lab", "lab/vision", "")
HORIZON = 6 * HOUR
LONGEST_WORK = 2 * HOUR

Kind = Literal["any", "stream", "tenants"]
KINDS_OF_CASES: tuple[Kind, ...] = get_args(Kind)


@dataclass(slots=True)
class Work:
    """A job, when it comes, and what it really takes on a full start. Milliseconds."""

    job: Job
    at: Instant
    takes: Duration


@dataclass(slots=True)
class Taste:
    """What the jobs of one case have in common: the fewer queues, classes and sorts, the more they are in each other's
    way."""

    rng: Random
    plain: bool
    most: int
    """GPUs of the largest node."""
    queues: tuple[str, ...] = ()
    classes: tuple[PriorityClass, ...] = ()
    elastic: float = 0.0
    busy: float = 0.0

    def __post_init__(self) -> None:
        rng = self.rng
        self.queues = tuple(rng.sample(QUEUES, rng.choice((1, 2, 2, 3, 5))))
        self.classes = tuple(rng.sample(tuple(PriorityClass), rng.choice((1, 2, 3, 5))))
        self.elastic, self.busy = rng.choice((0.1, 0.2, 0.7)), rng.choice((0.3, 0.7, 0.9))


@dataclass(slots=True)
class Made:
    """Everything that a case is made of."""

    kind: Kind
    policy: Policy
    nodes: list[Node]
    queues: list[Queue]
    work: list[Work]
    outside: list[tuple[Instant, str]] = field(default_factory=list[tuple[Instant, str]])
    """When something happens that nobody in the cluster has any hand in, and what."""


def make(rng: Random, kind: Kind | None = None) -> Made:
    """A case, of a kind if one is named."""
    kind = kind or rng.choices(KINDS_OF_CASES, (8, 1, 1))[0]
    if kind == "stream":
        return _stream(rng)
    if kind == "tenants":
        return _tenants(rng)
    plain = rng.random() < 0.25
    policy = Policy() if plain else a_policy(rng)
    executors = (EXECUTOR, ExecutorId("slurm")) if rng.random() < 0.15 else (EXECUTOR,)
    nodes = [
        a_random_node(rng, f"n{index}", rng.choice(executors), plain) for index in range(rng.choice((1, 1, 2, 2, 3, 4)))
    ]
    taste = Taste(rng, plain, max(node.gpus for node in nodes))
    some = sorted(name for name in taste.queues if name and rng.random() < 0.8)
    work = list(_work(taste))
    names = ("lose", "lose", "cordon", "cancel", "hold", "policy", "queue", "restart", "grow_node", "book")
    often = rng.choice((0, 0, 1, 3, 6))
    outside = [(Instant(rng.randint(1, HORIZON)), rng.choice(names)) for _ in range(rng.randint(0, often))]
    return Made("any", policy, nodes, [a_queue(rng, name) for name in some], work, sorted(outside))


# -- nodes --------------------------------------------------------------------------------------------------------


def a_random_node(rng: Random, name: str, executor: ExecutorId, plain: bool) -> Node:
    """A node somewhere; unless ``plain`` it may be tainted, labelled or spot."""
    odd = not plain and rng.random() < 0.4
    place = Topology(
        zone=rng.choice(("", "z1", "z2")),
        rack=rng.choice(("", "r1", "r2")),
        island=rng.choice(("", "i1")),
    )
    gpus = rng.choice((0, 1, 2, 2, 4, 4, 8))
    return a_node(
        name,
        gpus,
        rng.choice(KINDS),
        cpu=rng.choice((8, 16, 64)),
        memory=rng.choice((32, 512)) << 10,
        executor=executor,
        topology=place,
        lifecycle=Lifecycle.SPOT if odd and rng.random() < 0.4 else Lifecycle.ON_DEMAND,
        labels=(("disk", rng.choice(("ssd", "hdd"))),) if rng.random() < 0.4 else (),
        taints=("infra",) if odd and rng.random() < 0.4 else (),
        gpu_memory_mib=rng.choice((40, 80)) * 1024 if gpus else 0,
        hourly=rng.randint(0, 9),
    )


# -- jobs ---------------------------------------------------------------------------------------------------------


def _work(taste: Taste) -> Iterator[Work]:
    rng = taste.rng
    at, many, index = 0, rng.randint(3, 12), 0
    while index < many:
        at += rng.randint(0, 10 * MINUTE) if rng.random() < taste.busy else rng.choice((0, rng.randint(0, HOUR)))
        if rng.random() < 0.05:
            for work in _array(taste, index, Instant(at)):
                yield work
                index += 1
            continue
        before = [JobId(f"j{other}") for other in range(index)]
        yield a_work(taste, f"j{index}", Instant(at), before)
        index += 1


def _array(taste: Taste, index: int, at: Instant) -> Iterator[Work]:
    rng = taste.rng
    size, limit = rng.randint(2, 5), rng.choice((None, 1, 2))
    apart = Where(apart=(Apart("array"),)) if rng.random() < 0.3 else ANYWHERE
    request, queue, cls = a_random_request(taste), rng.choice(taste.queues), rng.choice(taste.classes)
    for element in range(size):
        takes = Duration(rng.randint(1, HOUR))
        job = a_job(
            f"a{index}.{element}", request, queue=queue, cls=cls, where=apart,
            submitted=at, array=ArrayIndex(f"a{index}", element, size, limit),
        )  # fmt: skip
        yield Work(job, at, takes)


def a_work(taste: Taste, name: str, at: Instant, before: list[JobId]) -> Work:
    """One job of any sort."""
    rng = taste.rng
    takes = Duration(rng.choice((rng.randint(1, 5 * MINUTE), rng.randint(1, LONGEST_WORK))))
    guess = Duration(max(round(takes * rng.choice((0.3, 1.0, 1.0, 1.1, 3.0))), 1))
    more: dict[str, object] = {
        "checkpoints": rng.random() < 0.75,
        "estimate": guess if rng.random() < 0.7 else None,
        "max_runtime": Duration(max(round(takes * rng.choice((0.5, 1.2, 2.0))), 1)) if rng.random() < 0.2 else None,
        "deadline": Instant(at + takes + rng.randint(1, 3 * HOUR)) if rng.random() < 0.15 else None,
        "not_before": Instant(at + rng.randint(1, 2 * HOUR)) if rng.random() < 0.08 else None,
        "retry": Retry(rng.randint(0, 2), Duration(rng.choice((10 * SECOND, MINUTE)))),
        "user": rng.choice(("ann", "bob")),
        "labels": (("app", rng.choice(("web", "db"))),) if rng.random() < 0.25 else (),
        "where": ANYWHERE if taste.plain else a_where(rng),
        "grace": Duration(rng.choice((0, 30 * SECOND))),
    }
    if before and rng.random() < 0.1:
        other = Dependency(rng.choice(before), rng.choice(("succeeded", "ended")), rng.choice(("fail", "wait")))
        more["after"] = (other,)
    roles = some_roles(taste)
    job = a_job(
        name, *roles, queue=rng.choice(taste.queues), cls=rng.choice(taste.classes), number=rng.choice((0, 0, 0, 1)),
        submitted=at, elastic=an_elasticity(taste, roles), **more,
    )  # fmt: skip
    return Work(job, at, takes)


def a_random_request(taste: Taste) -> Request:
    """GPUs whole, by milli or by memory, of some types or any, and a little CPU. Seldom more than a node has."""
    rng = taste.rng
    types = rng.choice(((), (), (), (), ("H100",), ("A100",), (("H100", 2.0), "A100")))
    gpus = rng.choice((0, 0.25, 0.3, 0.5, 0.7, 1, 1, 1, 2, 2, 4, 8))
    if gpus > taste.most and rng.random() < 0.95:
        gpus = taste.most
    request = a_request(gpus, rng.choice((0, 1, 1, 2, 8)), types=types if gpus else ())
    if gpus == 0.7:
        memory = rng.choice((10, 20, 45)) * 1024
        request = Request(request.cpu_milli, gpus=1, gpu_memory_mib=memory, accelerators=request.accelerators)
    return request


def some_roles(taste: Taste) -> tuple[Role, ...]:
    """One task, a gang, an elastic gang, or several roles."""
    rng, request = taste.rng, a_random_request(taste)
    if rng.random() < taste.elastic:
        count = rng.randint(2, 5)
        return (Role("w", count, request, rng.randint(1, count)),)
    match rng.choices(("one", "gang", "roles"), (6, 2, 1))[0]:
        case "gang":
            return (Role("w", rng.randint(2, 4), request),)
        case "roles":
            workers = rng.randint(1, 3)
            return (Role("head", 1, a_request(0, 1)), Role("w", workers, request, rng.choice((None, 1))))
        case _:
            return (Role(request=request),)


def an_elasticity(taste: Taste, roles: tuple[Role, ...]) -> Elasticity:
    """What a job that changes its number of workers says of its speed and its batch, now and then."""
    rng, role = taste.rng, roles[0]
    if len(roles) > 1 or role.least == role.count or rng.random() < 0.5:
        return Elasticity()
    points = ((role.least, 1.0), (role.count, 1 + (role.count / role.least - 1) * rng.choice((0.3, 0.9))))
    return Elasticity(points if rng.random() < 0.5 else (), BatchLimits(32, 4096, 4, 256))


def a_where(rng: Random) -> Where:
    """Now and then a job asks something of the nodes."""
    if rng.random() < 0.5:
        return Where(spot=rng.random() < 0.5)
    together, apart = None, tuple[Apart, ...]()
    if rng.random() < 0.4:
        together = Together(rng.choice(LEVELS), rng.random() < 0.6)
    if rng.random() < 0.25:
        apart = (Apart("label", "app", rng.choice(("", "web", "db")), rng.choice(LEVELS)),)
    return Where(
        labels=(Selector("disk", ("ssd",), rng.random() < 0.5),) if rng.random() < 0.2 else (),
        zones=(rng.choice(("z1", "z2")),) if rng.random() < 0.1 else (),
        tolerates=rng.choice(((), (), ("infra",), ("*",))),
        spot=rng.random() < 0.5,
        apart=apart,
        together=together,
    )


# -- cases of one kind --------------------------------------------------------------------------------------------


def _stream(rng: Random) -> Made:
    """One queue in order of submission: large jobs wait among small ones that come all the time. Every job tells how
    long it runs at most, and most are right."""
    mode = rng.choice(("easy", "conservative"))
    after, depth = Duration(rng.choice((0, 10)) * MINUTE), rng.choice((1, 4))
    policy = Policy(backfill=Backfill(mode, after, depth), elastic=Elastic(grow=False, shrink=False))
    nodes = [a_node(f"n{index}", rng.choice((2, 4)), "H100") for index in range(rng.randint(1, 3))]
    most, work, at = max(node.gpus for node in nodes), list[Work](), 0
    gpus_in_all, minutes = sum(node.gpus for node in nodes), rng.choice((2, 4, 10))
    for index in range(rng.randint(8, 32)):
        at += rng.randint(0, minutes * MINUTE // gpus_in_all)
        takes = Duration(rng.randint(MINUTE, minutes * MINUTE))
        gpus = most if rng.random() < 0.1 else rng.choice((0.5, 1, 1))
        limit = Duration(takes + rng.choice((0, 0, MINUTE)))
        job = a_job(f"j{index}", a_request(gpus, 1), submitted=at, estimate=limit, max_runtime=limit)
        work.append(Work(job, Instant(at), takes))
    if rng.random() < 0.3:
        job = a_job("j_never", a_request(16, 1), submitted=0)
        work.insert(0, Work(job, Instant(0), Duration(MINUTE)))
    return Made("stream", policy, nodes, [], work)


def _some_swarm(rng: Random) -> Swarm:
    """Mostly none: what may lower a weight makes bounds wider."""
    return a_swarm(rng) if rng.random() < 0.3 else Swarm(within=Duration(0))


def _tenants(rng: Random) -> Made:
    """Sibling queues without quotas, each of which always has a job of one GPU in line, after a time in which only one
    of them had."""
    fairness = Fairness(Duration(rng.choice((HOUR, 2 * HOUR))), rng.choice((0.0, 1.0)))
    nodes = [a_node(f"n{index}", rng.choice((2, 4))) for index in range(rng.randint(1, 2))]
    names = ("a", "b", "c")[: rng.randint(2, 3)]
    queues = [Queue(QueueId(name), rng.choice((0.5, 1.0, 2.0))) for name in names]
    gpus, work = sum(node.gpus for node in nodes), list[Work]()
    late = rng.choice((0, HOUR))
    for name in names:
        at = 0 if name == names[0] else late
        for index in range(rng.choice((2, 3)) * gpus):
            takes = Duration(rng.randint(MINUTE, 30 * MINUTE))
            work.append(Work(a_job(f"{name}{index}", a_request(1, 1), queue=name, submitted=at), Instant(at), takes))
    rng.shuffle(work)
    work.sort(key=lambda each: each.at)
    policy = Policy(fairness=replace(fairness, swarm=_some_swarm(rng)))
    return Made("tenants", policy, nodes, queues, work)
