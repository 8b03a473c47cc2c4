"""How a queue stands: what it is guaranteed, was guaranteed, and why."""

from collections.abc import Iterable, Iterator

from fairway.model.ids import QueueId
from fairway.model.loan import Loan
from fairway.model.resources import Amount
from fairway.model.time import format_instant
from fairway.state.columns import Ints
from fairway.state.tables import QueueTable


def guaranteed(quota: Ints) -> Amount:
    """A row of quotas; ``None`` where nothing is guaranteed."""
    cpu, memory, gpu = (None if value < 0 else int(value) for value in quota.tolist())
    return Amount(cpu, memory, gpu)


def guaranteed_gpu_ms(queues: QueueTable, row: int, now: int) -> int:
    """Milli-GPU milliseconds that a queue was guaranteed until ``now``."""
    since = max(now - int(queues.guaranteed_at[row]), 0)
    return round(float(queues.guaranteed[row, 2])) + max(int(queues.quota[row, 2]), 0) * since


def loan_notes(loans: Iterable[Loan], queue: QueueId, now: int) -> Iterator[str]:
    """What a queue lends and borrows, now and later, as sentences."""
    for loan in loans:
        for part in loan.parts:
            if part.ends > now and queue in (part.lender, part.borrower):
                begins = "" if part.begins <= now else f" from {format_instant(part.begins)}"
                yield f"{part}{begins} until {format_instant(part.ends)} UTC (loan {loan.id})"
