"""Quota lent between queues for a time: what was agreed on, and what each queue is guaranteed because of it.

While a part of a loan stands, the lender and the queues above it are guaranteed so much less, the borrower and those
above it so much more, up to where the two meet: what all are guaranteed together is the same at every instant. The
columns of ``QueueTable`` change only when a part begins or ends, so decisions cost nothing more. Only what a queue has
itself can be lent, not what was lent to it: loans make no chains.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from fairway.model.facts import LoanEnded, QuotaLent
from fairway.model.ids import ROOT, LoanId, QueueId, ancestry
from fairway.model.loan import Lent, Loan
from fairway.model.resources import UNITS, Amount
from fairway.model.time import Instant, format_instant
from fairway.state.tables import SUMS, QueueTable

KEEP_OVER = 1_000
"""Loans that are over and still told of."""

QuotaOf = Callable[[QueueId], Amount | None]
"""What a queue was declared to be guaranteed; None for one that is not there."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """A loan, and since when it is over, if it is; ``why`` says of one that ended early, or never began, what ended
    it."""

    loan: Loan
    over: Instant | None = None
    why: str = ""

    def phase(self, now: int) -> str:
        """``planned``, ``standing``, ``ended``, or ``void`` for one that could not be kept."""
        if self.over is not None:
            return "ended" if self.over else "void"
        return "standing" if any(part.stands(now) for part in self.loan.parts) else "planned"


def refusal(loan: Loan, quota_of: QuotaOf, others: Iterable[Loan], now: int) -> tuple[str, str] | None:
    """Why a loan cannot be: (field of its first wrong part, sentence); None when it can. ``others`` are the loans that
    are not over."""
    if not loan.parts:
        return "amount", "lends nothing"
    known = [part for other in others for part in other.parts]
    for index, part in enumerate(loan.parts):
        wrong = _wrong(part, quota_of, now) or _too_much(part, quota_of, [*known, *loan.parts])
        if wrong is not None:
            return (wrong[0] if not index else f"in_return.{wrong[0]}"), wrong[1]
    return None


def _wrong(part: Lent, quota_of: QuotaOf, now: int) -> tuple[str, str] | None:
    for field in ("lender", "borrower"):
        if getattr(part, field) == ROOT or quota_of(getattr(part, field)) is None:
            return field, f"there is no queue {getattr(part, field)!r}"
    if not part.givers() or not part.takers():
        return "borrower", f"{part.lender} and {part.borrower} are the same, or one is above the other"
    if not part.begins < part.ends:
        return "ends", "must be later than it begins"
    if part.ends <= now:
        return "ends", f"is over since {format_instant(part.ends)} UTC"
    named = [name for name in SUMS if getattr(part.amount, name) is not None]
    if not named or any(getattr(part.amount, name) <= 0 for name in named):
        return "amount", "must be above 0"
    above = [quota_of(queue) or Amount() for queue in ancestry(part.borrower)]
    guarded = any(getattr(quota, name) for quota in above for name in SUMS)
    for name in named:
        if guarded and not getattr(above[0], name):
            # It would then be covered up to what it borrowed only, by its own quota instead of the one above.
            text = f"{part.borrower} is guaranteed no {UNITS[name][1]} of its own, so it cannot borrow any"
            return "borrower", f"{text}: give it a quota, or lend to the queue whose quota covers it"
    return None


def _too_much(part: Lent, quota_of: QuotaOf, all_parts: list[Lent]) -> tuple[str, str] | None:
    """Nobody lends more at any time than it is guaranteed; ``all_parts`` has this one too."""
    at_once = [at for at in {other.begins for other in all_parts} | {part.begins} if part.stands(at)]
    for queue in part.givers():
        lent = [other for other in all_parts if queue in other.givers()]
        for name in SUMS:
            has = getattr(quota_of(queue) or Amount(), name) or 0
            if not getattr(part.amount, name) or (not has and queue != part.lender):
                continue
            most = max(sum(getattr(other.amount, name) or 0 for other in lent if other.stands(at)) for at in at_once)
            if most > has:
                size, unit = UNITS[name]
                text = f"{queue} is guaranteed {has / size:g} {unit}, and would lend {most / size:g} at once"
                return "amount", f"{text} (what it borrowed does not count)"
    return None


def broken(quota_of: QuotaOf, loans: Iterable[Loan], now: int) -> tuple[Loan, str] | None:
    """The first loan, of those that are not over, that quotas do not allow from ``now`` on, and why; None when all can
    be kept."""
    kept: list[Lent] = []
    for loan in loans:
        kept += [part for part in loan.parts if part.ends > now]
        wrong = next(filter(None, (_too_much(part, quota_of, kept) for part in kept)), None)
        if wrong is not None:
            return loan, wrong[1]
    return None


def net(queues: QueueTable, loans: Iterable[Loan], at: int) -> dict[tuple[int, int], int]:
    """What queues have more, or less, of each resource than they were declared to be guaranteed: (row, column) to
    amount. Queues above the two count where their own quota names the resource."""
    found: dict[tuple[int, int], int] = {}
    for part in (part for loan in loans for part in loan.parts if part.stands(at)):
        for sign, chain in ((-1, part.givers()), (1, part.takers())):
            for index, queue in enumerate(chain):
                row = queues.row_of[queue]
                for column, name in enumerate(SUMS):
                    amount = getattr(part.amount, name)
                    if amount and (not index or getattr(queues.spec[row].quota, name)):
                        found[row, column] = found.get((row, column), 0) + sign * amount
    return found


def count_guaranteed(queues: QueueTable, row: int, now: int) -> None:
    """Count what a queue was guaranteed until ``now``, before it is guaranteed something else."""
    ms = max(now - int(queues.guaranteed_at[row]), 0)
    queues.guaranteed[row] += queues.quota[row].clip(0) * float(ms)
    queues.guaranteed_at[row] += ms


class Loans:
    """What was agreed on, by id, in that order. ``apply`` is the only writer."""

    def __init__(self, queues: QueueTable) -> None:
        self._queues = queues
        self.agreed: dict[LoanId, Agreed] = {}

    @property
    def alive(self) -> list[Loan]:
        """Those that are not over."""
        return [agreed.loan for agreed in self.agreed.values() if agreed.over is None]

    def quota_of(self, queue: QueueId) -> Amount | None:
        """What a queue was declared to be guaranteed; None for one that is not there."""
        row = self._queues.row_of.get(queue)
        return None if row is None else self._queues.spec[row].quota

    def due(self, loan: LoanId, at: int) -> bool:
        """Whether something of a loan begins or ends at an instant."""
        agreed = self.agreed.get(loan)
        return agreed is not None and agreed.over is None and at in agreed.loan.instants

    def lend(self, fact: QuotaLent, now: Instant) -> list[Instant]:
        """Take in a loan, which is void when it cannot be kept; the instants at which to ``turn``."""
        loan = fact.loan
        if loan.id in self.agreed:
            return []
        wrong = refusal(loan, self.quota_of, self.alive, now)
        self.agreed[loan.id] = Agreed(loan) if wrong is None else Agreed(loan, Instant(0), wrong[1])
        return [] if wrong else [at for at in loan.instants if at > now]

    def end(self, fact: LoanEnded, now: Instant) -> None:
        """End a loan early."""
        agreed = self.agreed.get(fact.loan)
        if agreed is not None and agreed.over is None:
            self.agreed[fact.loan] = replace(agreed, over=now, why=f"ended by {fact.by or 'somebody'}")

    def keep_to_quotas(self, now: Instant) -> None:
        """End the newest loans that quotas no longer allow."""
        while (found := broken(self.quota_of, self.alive, now)) is not None:
            loan, why = found
            self.agreed[loan.id] = Agreed(loan, now, f"a quota was lowered: {why}")

    def turn(self, at: Instant) -> list[int]:
        """Take over what stands at an instant: the rows of queues whose quota is another one now."""
        for name, agreed in self.agreed.items():
            if agreed.over is None and agreed.loan.ends <= at:
                self.agreed[name] = replace(agreed, over=agreed.loan.ends)
        over = [name for name, agreed in self.agreed.items() if agreed.over is not None]
        for name in over[: max(len(over) - KEEP_OVER, 0)]:
            del self.agreed[name]
        return self.settle(at)

    def settle(self, at: Instant) -> list[int]:
        """Have every queue guaranteed what stands at an instant; the rows that changed."""
        queues, wanted = self._queues, net(self._queues, self.alive, at)
        rows = [row for row in queues.rows() if queues.lent[row].any()] if queues.lent.any() else []
        changed: list[int] = []
        for row in sorted({*rows, *(row for row, _ in wanted)}):
            lent = [wanted.get((row, column), 0) for column in range(len(SUMS))]
            if lent != queues.lent[row].tolist():
                count_guaranteed(queues, row, at)
                queues.lent[row] = lent
                queues.requote(row)
                changed.append(row)
        return changed
