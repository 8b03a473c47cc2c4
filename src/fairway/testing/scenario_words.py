"""The words of golden scenarios: nodes, queues, jobs and services as one line of text each.

``scenarios`` describes the language; every function here takes the words of a line behind its verb.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from fairway.faces.manifests.policy import PolicySpec, policy_of
from fairway.faces.manifests.read import manifests_from
from fairway.model.booking import Booking
from fairway.model.elastic import BatchLimits, Elasticity
from fairway.model.facts import Measured
from fairway.model.ids import AttemptId, BookingId, ExecutorId, JobId, LoanId, NodeId, QueueId, ServiceId
from fairway.model.job import ArrayIndex, Dependency, Job, Priority, PriorityClass, Retry, Role
from fairway.model.loan import Lent, Loan
from fairway.model.node import Node
from fairway.model.policy import Policy
from fairway.model.queue import DISCIPLINES, Discipline, Queue, RollingQuota
from fairway.model.resources import WHOLE, Accelerator, Amount, Request
from fairway.model.service import Service
from fairway.model.time import HOUR, Duration, Instant, parse_duration
from fairway.model.where import ANYWHERE, Selector, Where
from fairway.testing.place_words import place_of_job, place_of_node

_SIZES = {"": 1, "Mi": 1, "Gi": 1 << 10, "Ti": 1 << 20}


class ScenarioError(Exception):
    """A line that cannot be read; the message says which and why."""


def options_of(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The ``key=value`` words of a line."""
    return ((key, value) for key, equals, value in (word.partition("=") for word in words) if equals and ":" not in key)


def names_of(text: str) -> list[str]:
    """``n1..n4`` as four names; any other text as one."""
    first, dots, last = text.partition("..")
    if not dots:
        return [text]
    prefix = first.rstrip("0123456789")
    return [f"{prefix}{i}" for i in range(int(first[len(prefix) :]), int(last[len(prefix) :]) + 1)]


def ago(text: str) -> Duration:
    """Milliseconds of ``40m-ago``."""
    return parse_duration(text.removesuffix("-ago"))


def began(words: list[str]) -> int:
    """How a running job sorts by its start: minus how long ago that was."""
    return -ago(dict(options_of(words)).get("started", f"{HOUR}ms-ago"))


def _mib(text: str) -> int:
    match = re.fullmatch(r"(\d+)(Mi|Gi|Ti|)", text)
    if match is None:
        raise ScenarioError(f"{text!r} is not an amount of memory: write 512Gi")
    return int(match[1]) * _SIZES[match[2]]


def _milli(text: str) -> int:
    return round(float(text) * 1000)


def node_of(name: str, words: Sequence[str], options: dict[str, str]) -> Node:
    """A node: ``8xH100 cpu=64`` behind its name. Raises ScenarioError."""
    shape = re.fullmatch(r"(\d+)x(\w+)", words[0]) if words else None
    return Node(
        NodeId(name),
        ExecutorId(options.get("executor", "local")),
        cpu_milli=_milli(options.get("cpu", "64")),
        memory_mib=_mib(options.get("memory", "512Gi")),
        disk_mib=_mib(options.get("disk", "1Ti")),
        network_mbps=int(options.get("net", "100000")),
        gpus=int(shape[1]) if shape else 0,
        gpu_type=shape[2] if shape else "",
        gpu_memory_mib=_mib(options.get("gpumem", "80Gi")) if shape else 0,
        **place_of_node(options),
    )


def policy_of_words(words: Sequence[str]) -> Policy:
    """A policy: ``path=value`` for what is not at its default, as a manifest writes it."""
    document: dict[str, Any] = {"kind": "Policy"}
    for path, value in options_of(words):
        *parts, last = path.split(".")
        here = document
        for part in parts:
            here = here.setdefault(part, {})
        here[last] = yaml.safe_load(value)
    [declared] = manifests_from([document], "policy")
    assert isinstance(declared.spec, PolicySpec)
    return policy_of(declared.spec)


def queue_of(words: Sequence[str]) -> Queue:
    """A queue: its path, what it is guaranteed, what it may ``borrow`` (``any`` for no end) and ``lend``
    of its GPUs, and its ``weight``."""
    options = dict(options_of(words))
    quota = Amount(
        cpu_milli=_milli(options["cpu"]) if "cpu" in options else None,
        memory_mib=_mib(options["memory"]) if "memory" in options else None,
        gpu_milli=_milli(options["gpus"]) if "gpus" in options else None,
    )
    freely = options.get("borrow") == "any"
    borrowed = 0 if freely else _milli(options.get("borrow", "0"))
    borrow = Amount(
        cpu_milli=0 if "cpu" in options and not freely else None,
        memory_mib=0 if "memory" in options and not freely else None,
        gpu_milli=borrowed if "gpus" in options and not freely else None,
    )
    asked = options.get("discipline")
    discipline: Discipline | None = next((name for name in DISCIPLINES if name == asked), None)
    weight = float(options.get("weight", "1"))
    lend = Amount(gpu_milli=_milli(options["lend"]) if "lend" in options else None)
    rolling = _rolling(options)
    return Queue(QueueId(words[0]), weight, quota, borrow, discipline=discipline, rolling=rolling, lend=lend)


def loan_of(words: Sequence[str], now: Instant) -> Loan:
    """A loan: its name, then ``a->b gpus=2 begins=5m ends=1h``; a trade has two of these with ``and`` between them."""
    parts: list[Lent] = []
    for text in " ".join(words[1:]).split(" and "):
        lender, _, borrower = text.split()[0].partition("->")
        options = dict(options_of(text.split()[1:]))
        begins, ends = (Instant(now + parse_duration(options.get(key, "0s"))) for key in ("begins", "ends"))
        parts.append(Lent(QueueId(lender), QueueId(borrower), Amount(gpu_milli=_milli(options["gpus"])), begins, ends))
    return Loan(LoanId(words[0]), tuple(parts))


def _rolling(options: dict[str, str]) -> RollingQuota | None:
    """``gpu-hours=100/7d``: so many in any stretch of that length."""
    if "gpu-hours" not in options:
        return None
    hours, _, period = options["gpu-hours"].partition("/")
    return RollingQuota(round(float(hours) * 1000 * HOUR), parse_duration(period), float(options.get("grace", "0.1")))


def job_of(words: Sequence[str], now: Instant) -> Job:
    """A job: its path (queue and name), what it asks for, options; times count from ``now``. Raises ScenarioError."""
    path, options = words[0], dict(options_of(words))
    cls, _, number = options.get("priority", "medium").partition("+")

    def instant(key: str) -> Instant | None:
        return Instant(now + parse_duration(options[key])) if key in options else None

    return Job(
        JobId(path),
        path.rpartition("/")[2],
        QueueId(path.rpartition("/")[0]),
        _roles(words[1:], options),
        Priority(PriorityClass[cls.upper()], int(number or 0)),
        submitted=now,
        not_before=instant("not_before"),
        deadline=instant("deadline"),
        user=options.get("user", ""),
        estimate=parse_duration(options["estimate"]) if "estimate" in options else None,
        max_runtime=parse_duration(options["max_runtime"]) if "max_runtime" in options else None,
        retry=Retry(limit=int(options.get("retries", "0"))),
        after=tuple(_dependency(text) for text in options.get("after", "").split(",") if text),
        array=_array(options["array"]) if "array" in options else None,
        checkpoints="checkpoints" in words,
        elastic=_elastic(options),
        **place_of_job(options),
    )


def _dependency(text: str) -> Dependency:
    """``prep``, ``prep!`` when its end will do, ``prep?`` to wait should it fail."""
    name = JobId(text.rstrip("!?"))
    return Dependency(name, "ended" if "!" in text else "succeeded", "wait" if "?" in text else "fail")


def _elastic(options: dict[str, str]) -> Elasticity:
    """``speedup=1:1,2:1.9 batch=32..1024/8..64``: the first and the largest batch, least and most on one worker."""
    points = [point.partition(":") for point in options.get("speedup", "").split(",") if point]
    speedup = tuple((int(workers), float(speed)) for workers, _, speed in points)
    if "batch" not in options:
        return Elasticity(speedup)
    whole, _, local = options["batch"].partition("/")
    return Elasticity(speedup, BatchLimits(*(int(n) for part in (whole, local) if part for n in part.split(".."))))


def measured_of(attempt: AttemptId, words: Sequence[str]) -> Measured:
    """What a program measured: ``batch=256 throughput=3400 noise=1200 compute=0.05 accumulate=2 workers=4``."""
    given: dict[str, Any] = dict(options_of(words))
    whole = {key: int(value) for key, value in given.items() if key in ("batch", "workers", "accumulate")}
    return Measured(attempt, **{**{key: float(value) for key, value in given.items()}, **whole})


def _array(text: str) -> ArrayIndex:
    """``sweep/2/8/3``: the third of eight elements, three of which may run at a time."""
    name, index, size, *most = text.split("/")
    return ArrayIndex(name, int(index), int(size), int(most[0]) if most else None)


def _roles(words: Sequence[str], options: dict[str, str]) -> tuple[Role, ...]:
    roles: list[Role] = []
    for word in words:
        match = re.fullmatch(r"(?:(\w+):)?(?:(?:(\d+)\.\.)?(\d+)x)?([\d.]+)((?:/[^/]+)*)", word)
        if word == "on" or match is None:
            break
        name, least, count, gpus, rest = match.groups()
        own = {**options, **dict(options_of(rest.split("/")))} if name else options
        request = _request(float(gpus), own)
        roles.append(Role(name or "main", int(count or 1), request, int(least) if least else None))
    return tuple(roles) or (Role(request=_request(0, options)),)


def _request(gpus: float, options: dict[str, str]) -> Request:
    types = [entry.partition(":") for entry in options["type"].split(",")] if "type" in options else []
    return Request(
        cpu_milli=_milli(options.get("cpu", "0")),
        memory_mib=_mib(options.get("memory", "0")),
        gpus=1 if 0 < gpus < 1 or "gpumem" in options else int(gpus),
        gpu_milli=round(gpus * WHOLE) if 0 < gpus < 1 else WHOLE,
        gpu_memory_mib=_mib(options.get("gpumem", "0")),
        accelerators=tuple(Accelerator(name, float(speed or 1)) for name, _, speed in types),
        disk_mib=_mib(options.get("disk", "0")),
        network_mbps=int(options.get("net", "0")),
    )


def service_of(words: Sequence[str]) -> Service:
    """A service: its path, ``replicas`` and what each asks for."""
    options = dict(options_of(words))
    path = words[0]
    request = _request(float(options.get("gpus", "0")), options)
    queue = QueueId(path.rpartition("/")[0])
    cls = PriorityClass[options.get("priority", "medium").upper()]
    name = ServiceId(path.rpartition("/")[2])
    return Service(name, queue, int(options.get("replicas", "1")), request=request, priority=Priority(cls))


def booking_of(words: Sequence[str], now: Instant) -> Booking:
    """A booking: its name, ``queue=prod``, what it asks for (``gpus=8 per_node=4 type=H100`` or ``nodes=2``, and
    ``label=disk:nvme``), from when to when counted from now (``start=1h end=3h``), ``grace= idle= flexible``."""
    options = dict(options_of(words))
    key, _, value = options.get("label", "").partition(":")
    idle = options.get("idle")
    return Booking(
        BookingId(words[0]),
        QueueId(options["queue"]),
        Instant(now + parse_duration(options.get("start", "0s"))),
        Instant(now + parse_duration(options["end"])),
        gpus=int(options.get("gpus", "0")),
        nodes=int(options.get("nodes", "0")),
        per_node=int(options.get("per_node", "0")),
        types=tuple(options["type"].split(",")) if "type" in options else (),
        where=Where(labels=(Selector(key, (value,)),)) if key else ANYWHERE,
        grace=parse_duration(options.get("grace", "2m")),
        flexible="flexible" in words,
        idle_for=None if idle is None else parse_duration(idle),
    )
