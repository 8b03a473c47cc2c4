"""The manifests: ``kind: Job``, ``Service``, ``Queue``, ``Loan``, ``Pool``, ``Reservation``, ``Policy``, as the model
has them.

An unknown key or an impossible value is refused with its path. Defaults are what somebody expects who has only a
command: one task with one CPU, no GPU, and no limit on its memory, in the queue ``default``.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from fairway.faces.manifests.fields import (
    MOST_AFTER,
    MOST_CPU,
    MOST_ELEMENTS,
    MOST_GPUS,
    MOST_MIB,
    Bandwidth,
    Command,
    Count,
    Cpu,
    Dollars,
    Elements,
    FieldError,
    Flag,
    Gpus,
    Memory,
    Name,
    QueuePath,
    Rank,
    Strict,
    TextMap,
    Time,
    Tries,
    When,
    at_most,
)
from fairway.faces.manifests.policy import PolicySpec
from fairway.faces.manifests.queues import LoanSpec, QueueSpec
from fairway.faces.manifests.reservation import ReservationSpec
from fairway.faces.manifests.units import GpuCount, said
from fairway.faces.manifests.where import Taints, WhereSpec
from fairway.faces.manifests.workers import ElasticSpec, Workers, WorkersSpec, elasticity_of, sizes_of
from fairway.model.elastic import wrong_with
from fairway.model.job import Priority
from fairway.model.phases import Lifecycle
from fairway.model.time import MINUTE, SECOND, Duration, format_duration

DEFAULT_QUEUE = "default"
"""Always exists."""


def _accelerator(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class AcceleratorSpec(Strict):
    """A type of device that will do, and how fast the work runs there relative to the others."""

    type: Annotated[str, Field(min_length=1)]
    speed: Annotated[float, Field(gt=0, le=1000, strict=True)] = 1.0


class RequestSpec(Strict):
    """What one task needs."""

    cpu: Annotated[Cpu, at_most(MOST_CPU, lambda milli: f"{milli / 1000:g}")] = 1000
    memory: Annotated[Memory, at_most(MOST_MIB, lambda mib: f"{mib}Mi")] = 0
    """0: nothing is set aside for it and nothing limits it."""
    gpus: Gpus | None = None
    gpu_memory: Annotated[Memory, at_most(MOST_MIB, lambda mib: f"{mib}Mi")] = 0
    accelerators: tuple[
        Annotated[
            AcceleratorSpec,
            BeforeValidator(_accelerator, json_schema_input_type=str | AcceleratorSpec),
        ],
        ...,
    ] = ()
    disk: Annotated[Memory, at_most(MOST_MIB, lambda mib: f"{mib}Mi")] = 0
    network: Annotated[Bandwidth, at_most(10**9, lambda mbps: f"{mbps}M")] = 0

    @model_validator(mode="after")
    def _consistent(self) -> "RequestSpec":
        gpus = self.gpus
        if gpus is not None and gpus.devices > MOST_GPUS:
            raise FieldError("gpus", f"{gpus.devices} > {MOST_GPUS}: one task cannot ask for more")
        if self.gpu_memory and gpus is not None and gpus != GpuCount(1):
            raise FieldError("gpu_memory", "asks for memory of one shared device: remove it, or remove gpus")
        if self.accelerators and not self.gpu_memory and (gpus is None or not gpus.devices):
            raise FieldError("accelerators", "are listed but no GPU is asked for: add gpus: 1, or remove them")
        kinds = [each.type for each in self.accelerators]
        if len(set(kinds)) < len(kinds):
            raise FieldError("accelerators", f"{said(max(kinds, key=kinds.count))} is listed twice: remove one")
        return self


def _one_program(command: tuple[str, ...], script: str) -> None:
    if command and script:
        raise FieldError("script", "is given and command too: keep one of them")


class RoleSpec(Strict):
    """Equal tasks of a gang."""

    name: Name
    workers: Workers = WorkersSpec(min=1, max=1)
    request: RequestSpec = RequestSpec()
    command: Command = ()
    script: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> "RoleSpec":
        _one_program(self.command, self.script)
        return self


def _retries(value: Any) -> Any:
    return {"limit": value} if isinstance(value, int) and not isinstance(value, bool) else value


class RetrySpec(Strict):
    """How often a failure of the program's own is tried again. Preemption and node loss never count."""

    limit: Tries = 0
    backoff: Time = Duration(10 * SECOND)
    backoff_max: Time = Duration(10 * MINUTE)
    start_limit: Tries = 3

    @model_validator(mode="after")
    def _ordered(self) -> "RetrySpec":
        if self.backoff > self.backoff_max:
            longest = format_duration(self.backoff_max)
            raise FieldError("backoff", f"{format_duration(self.backoff)} > {longest}: it may not be above backoff_max")
        return self


def _array(value: Any) -> Any:
    return {"size": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _after(value: Any) -> Any:
    return {"job": value} if isinstance(value, str) else value


class AfterSpec(Strict):
    """A job to come after: its id, its name (the newest job so called), or an array for all of its elements.

    ``otherwise`` says what happens when it should have succeeded and did not: this one ends too, or waits for somebody
    to release or cancel it.
    """

    job: Annotated[str, Field(min_length=1, max_length=200, strict=True)]
    when: Literal["succeeded", "ended"] = "succeeded"
    otherwise: Literal["fail", "wait"] = "fail"


class ArraySpec(Strict):
    """One job per element. ``parameters`` is a grid (name: values) or a list of points (name: value each).

    ``{name}`` and ``{index}`` in the command, the script and the environment stand for the element's values; each is
    also in its environment as ``FAIRWAY_PARAM_NAME``.
    """

    size: Elements | None = None
    max_running: Elements | None = None
    """How many may be in line or running at a time."""
    parameters: dict[str, list[str | int | float | bool]] | list[dict[str, str | int | float | bool]] = Field(
        default_factory=dict
    )

    @model_validator(mode="before")
    @classmethod
    def _shaped(cls, value: Any) -> Any:
        if isinstance(value, dict) and "parameters" in value:
            _check_parameters(value["parameters"])
        return value

    @model_validator(mode="after")
    def _sized(self) -> "ArraySpec":
        points = self.points
        if not self.parameters and self.size is None:
            raise FieldError("size", "is missing: write how many elements, or give parameters")
        if self.parameters and self.size not in (None, points):
            raise FieldError("size", f"{self.size} is not the {points} that the parameters make: remove size")
        if points > MOST_ELEMENTS:
            raise FieldError("parameters", f"{points} > {MOST_ELEMENTS} elements: give fewer values")
        return self

    @property
    def points(self) -> int:
        """How many elements there are."""
        if not self.parameters:
            return self.size or 0
        if isinstance(self.parameters, list):
            return len(self.parameters)
        total = 1
        for values in self.parameters.values():
            total *= len(values)
        return total


def _check_parameters(parameters: Any) -> None:
    """Plain shapes first, so that an error names the parameter and not a branch of a union."""
    plain = str | int | float | bool
    if isinstance(parameters, dict):
        for name, values in parameters.items():
            if not isinstance(values, list) or not values or not all(isinstance(item, plain) for item in values):
                raise FieldError("parameters", f"{name} is {said(values)}: write a list of numbers or texts")
        names: set[Any] = set(parameters)
    elif isinstance(parameters, list) and parameters and all(isinstance(point, dict) for point in parameters):
        names = set(parameters[0])
        for index, point in enumerate(parameters):
            if set(point) != names or not all(isinstance(item, plain) for item in point.values()):
                raise FieldError("parameters", f"point {index} is not like the first: give every point the same names")
    else:
        raise FieldError("parameters", f"{said(parameters)}: write name: [values] for a grid, or a list of points")
    wrong = [name for name in names if not isinstance(name, str) or not name.isidentifier() or name == "index"]
    if wrong:
        raise FieldError("parameters", f"{said(wrong[0])} is not a parameter's name: use letters, digits and '_'")


class JobSpec(Strict):
    """Work with an end."""

    kind: Literal["Job"] = "Job"
    name: Name
    queue: QueuePath = DEFAULT_QUEUE
    priority: Rank = Priority()
    command: Command = ()
    script: str = ""
    env: TextMap = Field(default_factory=dict)
    workdir: str = ""
    request: RequestSpec = RequestSpec()
    workers: Workers | None = None
    roles: tuple[RoleSpec, ...] = ()
    array: Annotated[ArraySpec, BeforeValidator(_array, json_schema_input_type=int | ArraySpec)] | None = None
    after: tuple[Annotated[AfterSpec, BeforeValidator(_after, json_schema_input_type=str | AfterSpec)], ...] = ()
    not_before: When | None = None
    deadline: When | None = None
    max_runtime: Time | None = None
    estimate: Time | None = None
    grace: Time = Duration(30 * SECOND)
    retries: Annotated[RetrySpec, BeforeValidator(_retries, json_schema_input_type=int | RetrySpec)] = RetrySpec()
    checkpoints: Flag = False
    labels: TextMap = Field(default_factory=dict)
    where: WhereSpec = WhereSpec()
    elastic: ElasticSpec = ElasticSpec()

    @model_validator(mode="after")
    def _consistent(self) -> "JobSpec":
        _one_program(self.command, self.script)
        if self.roles:
            for name in ("workers", "request"):
                if name in self.model_fields_set:
                    raise FieldError(name, "is given and roles too: write it inside each role")
            names = [role.name for role in self.roles]
            if len(set(names)) < len(names):
                raise FieldError("roles", f"{said(max(names, key=names.count))} names two roles: rename one")
        programs = [(role.command, role.script) for role in self.roles] or [((), "")]
        if not (self.command or self.script) and any(not (command or script) for command, script in programs):
            raise FieldError("command", "is missing: write what to run, like [python, train.py]")
        earlier = [each.job for each in self.after]
        if len(set(earlier)) < len(earlier):
            raise FieldError("after", f"{said(max(earlier, key=earlier.count))} is listed twice: remove one")
        if len(earlier) > MOST_AFTER:
            raise FieldError("after", f"{len(earlier)} > {MOST_AFTER}: make an array of them and come after that")
        sizes = sizes_of([role.workers for role in self.roles] or [self.workers])
        for field, why in wrong_with(elasticity_of(self.elastic), sizes):
            raise FieldError(f"elastic.{field}", why)
        for name in ("max_runtime", "estimate"):
            if getattr(self, name) == 0:
                raise FieldError(name, "0 leaves no time to run: write a longer one, or remove it")
        return self


class ServiceSpec(Strict):
    """Replicas without an end, kept running."""

    kind: Literal["Service"] = "Service"
    name: Name
    queue: QueuePath = DEFAULT_QUEUE
    replicas: Count = 1
    min_replicas: Count = 0
    max_replicas: Count | None = None
    request: RequestSpec = RequestSpec()
    priority: Rank = Priority()
    command: Command = ()
    script: str = ""
    env: TextMap = Field(default_factory=dict)
    workdir: str = ""
    where: WhereSpec = WhereSpec()

    @model_validator(mode="after")
    def _consistent(self) -> "ServiceSpec":
        _one_program(self.command, self.script)
        if not (self.command or self.script):
            raise FieldError("command", "is missing: write what a replica runs, like [python, serve.py]")
        if self.replicas < self.min_replicas:
            raise FieldError("replicas", f"{self.replicas} < {self.min_replicas}: it may not be below min_replicas")
        if self.max_replicas is not None and self.replicas > self.max_replicas:
            raise FieldError("replicas", f"{self.replicas} > {self.max_replicas}: it may not be above max_replicas")
        return self


class ShapeSpec(Strict):
    """What one node of a pool has."""

    cpu: Cpu = 0
    memory: Memory = 0
    disk: Memory = 0
    network: Bandwidth = 0
    gpus: Annotated[int, Field(strict=True, ge=0, le=MOST_GPUS)] = 0
    accelerator: str = ""
    gpu_memory: Memory = 0
    region: str = ""
    zone: str = ""
    cluster: str = ""
    labels: TextMap = Field(default_factory=dict)
    taints: Taints = ()
    lifecycle: Lifecycle = Lifecycle.ON_DEMAND
    hourly: Dollars = 0


class PoolSpec(Strict):
    """Nodes of one kind, with a least and a most."""

    kind: Literal["Pool"] = "Pool"
    name: Name
    shape: ShapeSpec
    min: Count = 0
    max: Count = 0

    @model_validator(mode="after")
    def _ordered(self) -> "PoolSpec":
        if self.min > self.max:
            raise FieldError("min", f"{self.min} > {self.max}: it may not be above max")
        return self


Manifest = JobSpec | ServiceSpec | QueueSpec | LoanSpec | PoolSpec | ReservationSpec | PolicySpec

KINDS: dict[str, type[Manifest]] = {spec.model_fields["kind"].default: spec for spec in get_args(Manifest)}
