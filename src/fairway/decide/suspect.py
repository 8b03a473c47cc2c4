"""Requests that could run and yet look like a mistake: a wrong unit, a forgotten field, a node half wasted.

Each rule is a plain function of a job, the nodes and the thresholds; it says what is odd and what to write instead, or
nothing. ``RULES`` is all of them by name. They are asked at submission, where a person can still answer: what is
accepted is never questioned again.
"""

from collections.abc import Callable, Iterator, Sequence

from fairway.model.admission import Admission
from fairway.model.job import Job
from fairway.model.node import Node
from fairway.model.reasons import Suspicious
from fairway.model.resources import WHOLE, Request
from fairway.model.time import format_duration

Nodes = Sequence[Node]
Found = Iterator[tuple[str, str]]
"""(field, what is odd about it and what to write) of every place where a rule applies."""


def suspicions(job: Job, nodes: Nodes, limits: Admission) -> list[Suspicious]:
    """Everything about a job that looks like a mistake, by rule and field; empty for most.

    ``nodes`` is what there is, or a node of each kind; rules that compare with nodes say nothing where there is none.
    """
    return [
        Suspicious(name, field, text)
        for name, rule in RULES.items()
        if limits.asks(name)
        for field, text in rule(job, nodes, limits)
    ]


def gpus_without_cpu(job: Job, nodes: Nodes, limits: Admission) -> Found:
    """Devices that nothing could feed: no CPU at all, or next to none for each. Virtual devices need no feeding."""
    if any(node.virtual for node in nodes):
        return
    for path, request in _requests(job):
        need = request.gpus * limits.least_cpu_milli_per_gpu if not request.fractional else 1
        if request.gpus and request.cpu_milli < need:
            some = "a CPU" if request.fractional else f"at least {-(-need // 1000)}"
            text = f"{request.cpu_milli / 1000:g} CPU cannot feed {request.gpus} GPU{'s' * (request.gpus > 1)}"
            yield f"{path}.cpu_milli", f"{text}: write {some}"


def gpus_without_memory(job: Job, nodes: Nodes, limits: Admission) -> Found:
    """Devices without memory beside them: none set aside, so that neighbours may take all of it."""
    for path, request in _requests(job):
        if request.gpus and not request.memory_mib:
            yield f"{path}.memory_mib", "no memory is set aside for a task with GPUs: write how much it needs"


def tiny_memory(job: Job, nodes: Nodes, limits: Admission) -> Found:
    """Too little memory for any program that uses a device: Mi for Gi."""
    for path, request in _requests(job):
        if request.gpus and 0 < request.memory_mib < limits.least_memory_mib_per_gpu:
            text = f"{request.memory_mib} MiB is too little for a program that uses a GPU"
            yield f"{path}.memory_mib", f"{text}: is it Gi that is meant?"


def tiny_share(job: Job, nodes: Nodes, limits: Admission) -> Found:
    """A share of a device that no program can run in."""
    for path, request in _requests(job):
        if request.gpus == 1 and 0 < request.gpu_milli < limits.least_gpu_milli:
            text = f"{request.gpu_milli / WHOLE:g} of a GPU is less than {limits.least_gpu_milli / WHOLE:g}"
            yield f"{path}.gpu_milli", f"{text}: write a larger share, or whole GPUs"


def strands_gpus(job: Job, nodes: Nodes, limits: Admission) -> Found:
    """CPU or memory beside each device many times what nodes have: the rest of the node's devices would idle."""
    for path, request in _requests(job):
        if not request.gpus or request.fractional:
            continue
        able = [node for node in nodes if node.gpus and request.accepts(node.gpu_type)]
        for field, name, unit in (("cpu_milli", "CPUs", 1000), ("memory_mib", "MiB", 1)):
            most = max((getattr(node, field) / node.gpus for node in able), default=0.0)
            asked = getattr(request, field) / request.gpus
            if most and asked > limits.most_times_a_node * most:
                text = f"{asked / unit:g} {name} for each GPU, where nodes have {most / unit:g} at most"
                yield f"{path}.{field}", f"{text}: other GPUs of the node would idle; ask for less, or for more GPUs"


def endless_runtime(job: Job, nodes: Nodes, limits: Admission) -> Found:
    """A run time longer than anything lives here: a wrong unit, or a limit that limits nothing."""
    for name in ("max_runtime", "estimate"):
        value = getattr(job, name)
        if value is not None and value > limits.longest:
            text = f"{format_duration(value)} is more than {format_duration(limits.longest)}"
            yield name, f"{text}: is the unit right? Leave it out for a job without a limit"


def estimate_over_limit(job: Job, nodes: Nodes, limits: Admission) -> Found:
    """A job that is expected to be stopped before it is done."""
    if job.estimate is not None and job.max_runtime is not None and job.estimate > job.max_runtime:
        text = f"{format_duration(job.max_runtime)} is less than the estimate of {format_duration(job.estimate)}"
        yield "max_runtime", f"{text}: it would be stopped before it is done; write a longer one"


def long_grace(job: Job, nodes: Nodes, limits: Admission) -> Found:
    """A grace so long that whoever is to take its place waits as for a job."""
    if job.grace > limits.longest_grace:
        text = f"{format_duration(job.grace)} is more than {format_duration(limits.longest_grace)}"
        yield "grace", f"{text}: it is the time from SIGTERM to SIGKILL; take checkpoints and write less"


def spot_without_checkpoints(job: Job, nodes: Nodes, limits: Admission) -> Found:
    """A long job on machines that are taken away, with nothing to go on from."""
    expected = job.estimate if job.estimate is not None else job.max_runtime
    if job.where.spot and not job.checkpoints and expected is not None and expected > limits.longest_on_spot:
        text = f"a job of {format_duration(expected)} without checkpoints would start over each time a node goes"
        yield "where.spot", f"{text}: keep checkpoints (checkpoints: true), or remove spot"


RULES: dict[str, Callable[[Job, Nodes, Admission], Found]] = {
    rule.__name__: rule
    for rule in (
        gpus_without_cpu, gpus_without_memory, tiny_memory, tiny_share, strands_gpus, endless_runtime,
        estimate_over_limit, long_grace, spot_without_checkpoints,
    )
}  # fmt: skip
"""Every rule, in the order in which they are told."""


def _requests(job: Job) -> Iterator[tuple[str, Request]]:
    return ((f"roles[{index}].request", role.request) for index, role in enumerate(job.roles))
