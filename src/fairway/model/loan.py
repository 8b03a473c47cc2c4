"""Loans: quota that a queue gives to another for a time, and has back when the time is over."""

from dataclasses import dataclass

from fairway.model.ids import LoanId, QueueId, ancestry
from fairway.model.resources import Amount
from fairway.model.time import Instant


@dataclass(frozen=True, slots=True)
class Lent:
    """``amount`` of what ``lender`` is guaranteed is guaranteed to ``borrower`` instead, from ``begins`` until
    ``ends``."""

    lender: QueueId
    borrower: QueueId
    amount: Amount
    begins: Instant
    ends: Instant

    def stands(self, at: int) -> bool:
        """Whether it is lent at an instant."""
        return self.begins <= at < self.ends

    def givers(self) -> tuple[QueueId, ...]:
        """The queues that have less: the lender and those above it, up to where the borrower's begin."""
        above = ancestry(self.borrower)
        return tuple(queue for queue in ancestry(self.lender) if queue not in above)

    def takers(self) -> tuple[QueueId, ...]:
        """The queues that have more: the borrower first."""
        above = ancestry(self.lender)
        return tuple(queue for queue in ancestry(self.borrower) if queue not in above)

    def __str__(self) -> str:
        return f"{self.lender} lends {self.amount} to {self.borrower}"


@dataclass(frozen=True, slots=True)
class Loan:
    """What was agreed on as one: a single part, or, for a trade, one of each side. All of it holds, or nothing."""

    id: LoanId
    parts: tuple[Lent, ...]
    by: str = ""

    @property
    def instants(self) -> tuple[Instant, ...]:
        """When anything of it begins or ends."""
        return tuple(sorted({at for part in self.parts for at in (part.begins, part.ends)}))

    @property
    def ends(self) -> Instant:
        """When all of it has ended."""
        return max((part.ends for part in self.parts), default=Instant(0))
