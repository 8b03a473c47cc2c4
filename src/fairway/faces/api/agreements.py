"""Loans on their way in: whether they can be kept, with the queues declared beside them, before any is accepted."""

from collections.abc import Sequence

from fairway.faces.api.present import Present
from fairway.faces.manifests.convert import Caller, loan_of, queue_of
from fairway.faces.manifests.queues import LoanSpec, QueueSpec
from fairway.faces.manifests.read import Declared
from fairway.model.errors import Conflict, FairwayError, NotFound
from fairway.model.ids import LoanId, QueueId, ancestry
from fairway.model.loan import Loan
from fairway.model.resources import Amount
from fairway.model.time import Instant
from fairway.state.loans import broken, refusal


class Agreements:
    """What one control plane has accepted of loans, published or not."""

    def __init__(self, present: Present) -> None:
        self._present = present
        self._coming: set[LoanId] = set()
        """Accepted, and perhaps not published yet."""

    def expect(self, loan: LoanId) -> None:
        """Remember a loan until the loop has read it."""
        self._coming.add(loan)

    async def settled(self, declared: Sequence[Declared]) -> None:
        """Wait until earlier loans are published, and the queues of these: they decide what can be lent."""
        model = self._present.model
        loans = [each.spec for each in declared if isinstance(each.spec, LoanSpec)]
        queues = {QueueId(name) for loan in loans for name in (loan.lender, loan.borrower)}

        def known() -> bool:
            self._coming -= {agreed.loan.id for agreed in model.loans()}
            here = [model.queue(name) is not None or self._present.max_pending(name) is None for name in queues]
            return not self._coming and all(here)

        await self._present.until(known)

    async def standing(self, name: str) -> LoanId:
        """A loan that is not over, by its name. Raises NotFound, Conflict."""
        await self.settled(())
        loans = self._present.model.loans()
        found = next((agreed for agreed in loans if agreed.loan.id == name), None)
        if found is None:
            known = [agreed.loan.id for agreed in loans if agreed.over is None]
            raise NotFound(f"no loan {name!r}; " + (f"there are {', '.join(known[:8])}" if known else "none"), "loan")
        if found.over is not None:
            raise Conflict(f"loan {name} is over already" + (f": {found.why}" if found.why else ""), "loan")
        return found.loan.id

    def objections(self, declared: Sequence[Declared], now: Instant, caller: Caller) -> list[FairwayError]:
        """What speaks against loans, or against quotas that loans need, in the order in which they are declared; empty
        when all can be kept."""
        model, quotas = self._present.model, dict[QueueId, Amount]()
        known = {agreed.loan.id for agreed in model.loans()}
        alive = [agreed.loan for agreed in model.loans() if agreed.over is None]

        def quota_of(queue: QueueId) -> Amount | None:
            status = model.queue(queue)
            return quotas.get(queue, status.quota if status else None)

        found: list[FairwayError] = []
        for each in declared:
            spec = each.spec
            if isinstance(spec, QueueSpec):
                quotas |= {name: quota_of(name) or Amount() for name in ancestry(QueueId(spec.name)) if name}
                quotas[QueueId(spec.name)] = queue_of(spec).quota
                failing = broken(quota_of, alive, now)
                if failing is not None:
                    found.append(_too_low(each, *failing))
                    alive.remove(failing[0])
            elif isinstance(spec, LoanSpec):
                loan = loan_of(spec, now, caller)
                text = f"there is a loan {loan.id} already: choose another name (`fairway loans` lists them)"
                wrong = ("name", text) if loan.id in known else refusal(loan, quota_of, alive, now)
                if wrong is None:
                    alive.append(loan)
                else:
                    found.append(each.document.error(tuple(wrong[0].split(".")), wrong[1]))
                known.add(loan.id)
        return found


def _too_low(each: Declared, loan: Loan, why: str) -> FairwayError:
    return each.document.error(("quota",), f"{why}: end the loan {loan.id} first (`fairway recall {loan.id}`)")
