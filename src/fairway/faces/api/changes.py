"""What a manifest would change: field by field, against what is published."""

from dataclasses import dataclass, fields, replace
from typing import Any

from fairway.engine.readmodel import ReadModel
from fairway.faces.manifests.convert import Caller, pool_of, queue_of, service_of
from fairway.faces.manifests.policy import PolicySpec, changes_between, policy_of
from fairway.faces.manifests.reservation import ReservationSpec, booking_of
from fairway.faces.manifests.schema import JobSpec, LoanSpec, Manifest, PoolSpec, QueueSpec, ServiceSpec
from fairway.model.ids import BookingId, QueueId
from fairway.model.resources import Amount


@dataclass(frozen=True, slots=True)
class Change:
    """One field, as text: what it is and what it would be."""

    field: str
    old: str
    new: str


def changes_of(spec: Manifest, model: ReadModel, caller: Caller) -> tuple[str, tuple[Change, ...]]:
    """``submitted``, ``agreed``, ``created``, ``changed`` or ``unchanged``, and the fields that differ."""
    match spec:
        case JobSpec():
            return "submitted", ()
        case QueueSpec():
            return _verdict(_queue(spec, model))
        case LoanSpec():
            return "agreed", ()
        case ServiceSpec():
            declared = service_of(spec, caller)
            return _verdict(_differences(model.service_spec(declared.id), declared))
        case PoolSpec():
            pool = pool_of(spec)
            before = next((each for each in model.pools() if each.id == pool.id), None)
            return _verdict(_differences(before, pool))
        case ReservationSpec():
            known = model.booking(BookingId(spec.name))
            wanted = booking_of(spec, model.published[1], caller.user)
            before = None if known is None or known.refused else replace(known.booking, by=wanted.by)
            return _verdict(_differences(before, wanted))
        case PolicySpec():
            return _verdict(tuple(Change(*each) for each in changes_between(model.policy(), policy_of(spec))))


def _verdict(changes: tuple[Change, ...] | None) -> tuple[str, tuple[Change, ...]]:
    if changes is None:
        return "created", ()
    return ("changed" if changes else "unchanged"), changes


def _queue(spec: QueueSpec, model: ReadModel) -> tuple[Change, ...] | None:
    """A published queue says its limit, which is its quota and what it may borrow."""
    queue = queue_of(spec)
    status = model.queue(QueueId(spec.name))
    if status is None:
        return None
    pairs = [
        ("weight", status.weight, queue.weight),
        *_amounts("quota", status.quota, queue.quota),
        *_amounts("limit", status.declared_limit, queue.limit),
        *_amounts("lend", status.lend, queue.lend),
        ("max_pending", status.max_pending, queue.max_pending),
        ("discipline", status.discipline, queue.discipline),
        ("rolling", status.rolling, queue.rolling),
    ]
    return tuple(Change(name, _text(old), _text(new)) for name, old, new in pairs if old != new)


def _amounts(name: str, old: Amount, new: Amount) -> list[tuple[str, Any, Any]]:
    return [
        (f"{name}.{field.name}", getattr(old, field.name) or None, getattr(new, field.name) or None)
        if name == "quota"  # nothing guaranteed and a guarantee of nothing are the same
        else (f"{name}.{field.name}", getattr(old, field.name), getattr(new, field.name))
        for field in fields(Amount)
    ]


def _differences(old: Any, new: Any) -> tuple[Change, ...] | None:
    if old is None:
        return None
    found = [(field.name, getattr(old, field.name), getattr(new, field.name)) for field in fields(new)]
    return tuple(Change(name, _text(before), _text(after)) for name, before, after in found if before != after)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return " ".join(_text(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
