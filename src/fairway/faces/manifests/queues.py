"""The manifests of queues, and of what they lend each other: ``kind: Queue``, ``kind: Loan``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fairway.faces.manifests.fields import Cpu, FieldError, GpuSum, Memory, Name, QueuePath, Strict, Time, When
from fairway.model.queue import Discipline


class AmountSpec(Strict):
    """A sum over tasks; what is left out is not counted."""

    cpu: Cpu | None = None
    memory: Memory | None = None
    gpus: GpuSum | None = None


class RollingSpec(Strict):
    """GPU-hours in any stretch of ``period``, and how much more, as a part of them, before jobs wait."""

    gpu_hours: Annotated[float, Field(ge=0, le=1e9)]
    period: Time
    grace: Annotated[float, Field(ge=0, le=10)] = 0.1


class QueueSpec(Strict):
    """A place in the tenant tree: what it is guaranteed, and what it may use beyond."""

    kind: Literal["Queue"] = "Queue"
    name: QueuePath
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    quota: AmountSpec = AmountSpec()
    borrow: AmountSpec = AmountSpec()
    """What is left out may be borrowed without end; ``gpus: 0`` keeps the queue within its quota."""
    lend: AmountSpec = AmountSpec()
    """What others may borrow of its quota while it is idle; what is left out is lent as a whole."""
    max_pending: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] = 1_000_000
    discipline: Discipline | None = None
    """How its own jobs are ordered; what is left out is the policy's (``order.discipline``)."""
    rolling: RollingSpec | None = None
    """GPU time that it may spend in any stretch of time; what is left out has no end."""

    @model_validator(mode="after")
    def _lends_what_it_has(self) -> "QueueSpec":
        for name in AmountSpec.model_fields:
            lent, has = getattr(self.lend, name), getattr(self.quota, name) or 0
            if lent is not None and lent > has:
                raise FieldError(f"lend.{name}", "is more than its quota: it can lend what it is guaranteed")
        return self


class ReturnSpec(Strict):
    """What the borrower lends the lender for it."""

    amount: AmountSpec
    begins: When | None = None
    ends: When | None = None


class LoanSpec(Strict):
    """Quota that one queue gives to another for a time; with ``in_return`` a trade, of which all holds, or nothing."""

    kind: Literal["Loan"] = "Loan"
    name: Name
    lender: QueuePath
    borrower: QueuePath
    amount: AmountSpec
    begins: When | None = None
    """At once where left out; a duration counts from the submission, as it does in ``ends``."""
    ends: When
    in_return: ReturnSpec | None = None
    """For the same time, where it names no other."""
