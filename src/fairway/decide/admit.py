"""What may not run at all, and what may not run now: validation and limits of queues."""

from math import inf

from fairway.model.elastic import wrong_with
from fairway.model.ids import NAME_PATTERN, QUEUE_PATTERN
from fairway.model.job import LONGEST, Job, Role
from fairway.model.limits import KeptBack
from fairway.model.reasons import Invalid, OverLimit
from fairway.model.resources import WHOLE, Request
from fairway.state.snapshot import Snapshot, Trial
from fairway.state.tables import SUMS

MOST_TASKS = 100_000
MOST_AMOUNT = 1 << 40
"""Of any one resource in a task: no machine has it, and sums over ``MOST_TASKS`` tasks stay within 64 bits."""


def validate(job: Job) -> list[Invalid]:
    """Everything about a job that can never be right, whatever the cluster. Empty when it may be submitted."""
    wrong: list[Invalid] = []
    if not NAME_PATTERN.fullmatch(job.name):
        wrong.append(Invalid("name", f"{job.name!r} must be lower-case letters, digits, - and _, at most 63"))
    if job.queue and not QUEUE_PATTERN.fullmatch(job.queue):
        wrong.append(Invalid("queue", f"{job.queue!r} must be names joined by /, at most 16"))
    if not job.roles:
        wrong.append(Invalid("roles", "needs at least one role"))
    if job.tasks > MOST_TASKS:
        wrong.append(Invalid("roles", f"{job.tasks} tasks are more than the {MOST_TASKS} a job may have"))
    for index, role in enumerate(job.roles):
        wrong += _role(role, f"roles[{index}]")
    for name in ("max_runtime", "estimate"):
        value = getattr(job, name)
        if value is not None and not 0 < value <= LONGEST:
            wrong.append(Invalid(name, f"must be above 0 and at most ten years, not {value} ms"))
    if not 0 <= job.grace <= LONGEST:
        wrong.append(Invalid("grace", f"must be at least 0, not {job.grace} ms"))
    if job.deadline is not None and job.deadline <= max(job.submitted, job.not_before or 0):
        wrong.append(Invalid("deadline", "must be later than the submission and the start time"))
    wrong += [Invalid(f"elastic.{field}", why) for field, why in wrong_with(job.elastic, job.sizes)]
    for name in ("limit", "backoff", "backoff_max", "start_limit"):
        if getattr(job.retry, name) < 0:
            wrong.append(Invalid(f"retry.{name}", f"must be at least 0, not {getattr(job.retry, name)}"))
    return wrong


def _role(role: Role, path: str) -> list[Invalid]:
    wrong: list[Invalid] = []
    if role.count < 1:
        wrong.append(Invalid(f"{path}.count", f"must be at least 1, not {role.count}"))
    elif not 1 <= role.least <= role.count:
        wrong.append(Invalid(f"{path}.min_count", f"must be from 1 to count ({role.count}), not {role.least}"))
    return wrong + _request(role.request, f"{path}.request")


def _request(request: Request, path: str) -> list[Invalid]:
    wrong: list[Invalid] = []
    for name in ("cpu_milli", "memory_mib", "gpus", "gpu_memory_mib", "disk_mib", "network_mbps"):
        value, most = getattr(request, name), MOST_TASKS if name == "gpus" else MOST_AMOUNT
        if not 0 <= value <= most:
            wrong.append(Invalid(f"{path}.{name}", f"must be from 0 to {most}, not {value}"))
    if not 0 < request.gpu_milli <= WHOLE:
        wrong.append(Invalid(f"{path}.gpu_milli", f"must be from 1 to {WHOLE}, not {request.gpu_milli}"))
    if request.gpus > 1 and (request.gpu_milli < WHOLE or request.gpu_memory_mib):
        wrong.append(Invalid(f"{path}.gpus", "a share is taken of one device only: ask for 1 or for whole devices"))
    if request.gpu_milli < WHOLE and request.gpu_memory_mib:
        wrong.append(Invalid(f"{path}.gpu_memory_mib", "ask for a share by milli-GPUs or by memory, not both"))
    if not request.gpus and (request.gpu_milli < WHOLE or request.gpu_memory_mib or request.accelerators):
        wrong.append(Invalid(f"{path}.gpus", "asks for a share or a type of no GPU: ask for 1"))
    for index, accelerator in enumerate(request.accelerators):
        if not 0 < accelerator.speed < inf:
            wrong.append(Invalid(f"{path}.accelerators[{index}].speed", f"must be above 0, not {accelerator.speed:g}"))
    return wrong


def over_limit(snap: Snapshot, trial: Trial, queue: int, sums: tuple[int, int, int]) -> OverLimit | KeptBack | None:
    """The nearest limit, in the queue or above it, that taking ``sums`` more would break, or what other queues keep for
    themselves and it would need; None when it may take them."""
    return over_own_limit(snap, trial, queue, sums) or kept_back(snap, trial, queue, sums)


def kept_back(snap: Snapshot, trial: Trial, queue: int, sums: tuple[int, int, int]) -> KeptBack | None:
    """What other queues keep for themselves and this one would need, to take ``sums`` more; None when it needs none."""
    lending = trial.lending
    column = lending.short(queue, sums) if lending is not None else None
    if lending is None or column is None:
        return None
    kept, some = int(lending.kept()[column]), int(lending.open(queue)[column])
    owner = snap.queues.id_of(lending.owner(column))
    return KeptBack(SUMS[column], sums[column], kept, some, owner)


def over_own_limit(snap: Snapshot, trial: Trial, queue: int, sums: tuple[int, int, int]) -> OverLimit | None:
    """The nearest limit, in the queue or above it, that taking ``sums`` more would break; None when all hold."""
    for row in snap.queues.bounded_above(queue):
        used, limit = trial.used[row], snap.queues.limit[row]
        for column, resource in enumerate(SUMS):
            need = sums[column]
            if need and used[column] + need > limit[column]:
                return OverLimit(snap.queues.id_of(row), resource, need, int(used[column]), int(limit[column]))
    return None
