"""What queues are guaranteed: by declaration, and by loans that begin and end with time. Only ``apply`` calls these."""

from collections.abc import Iterable

from fairway.model.facts import LoanEnded, QueueSet, QuotaLent
from fairway.model.time import Instant
from fairway.state.cluster import ClusterState
from fairway.state.loans import Agreed


def set_queue(state: ClusterState, fact: QueueSet) -> None:
    """Declare a queue. The newest loans that its new quota does not allow are over."""
    state.lighter.add(state.put_queue(fact.queue))
    state.lent = True
    if state.loans.agreed:
        state.loans.keep_to_quotas(state.now)
        turn(state, state.now)


def lend(state: ClusterState, fact: QuotaLent) -> None:
    """Take in a loan: it begins and ends by itself."""
    for at in state.loans.lend(fact, state.now):
        state.set_timer(at, "loan", fact.loan.id)
    turn(state, state.now)


def end_loan(state: ClusterState, fact: LoanEnded) -> None:
    """End a loan now."""
    state.loans.end(fact, state.now)
    turn(state, state.now)


def turn(state: ClusterState, at: Instant) -> None:
    """Have queues guaranteed what stands at an instant. Whoever this may let in is tried again."""
    for row in state.loans.turn(at):
        state.lighter.add(row)
        state.lent = True
        state.news.queues[state.queues.id_of(row)] = None


def restore(state: ClusterState, saved: Iterable[Agreed], counted: Iterable[tuple[tuple[float, ...], int]]) -> None:
    """Go on with what was agreed on: queues are as declared until now. ``counted`` is what each queue was guaranteed,
    and until when; nothing where nobody counted."""
    for agreed in saved:
        state.loans.agreed[agreed.loan.id] = agreed
        for at in agreed.loan.instants if agreed.over is None else ():
            if at > state.now:
                state.set_timer(at, "loan", agreed.loan.id)
    state.loans.settle(state.now)
    for row, (guaranteed, at) in enumerate(counted):
        if guaranteed:
            state.queues.guaranteed[row], state.queues.guaranteed_at[row] = guaranteed, at
