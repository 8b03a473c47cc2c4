"""The numba kernel that says whose turn it is: the queue tree as a tournament that a start costs a few comparisons.

Nothing else is in here. ``share`` prepares its columns; ``tests/decide`` holds a plain twin.

*Members* are the active queues (0..A-1, the root first, none before the one above it) and, behind them, the *entrants*:
for every queue with jobs in line one member below it that stands for these very jobs. Each active queue keeps a winner
tree over the members directly below it; a member is compared by (tier of the job it would send, share of its own, order
of that job). When an entrant's job has been dealt with, only the members on its path to the root are compared again.

``line`` is (queue row of each entrant (E,), where its jobs end (E,), shape of each job (P,), sums of each shape (S, 3),
class (P,), order (P,)): the jobs of an entrant are next to each other. ``tree`` is (parent (M,), slot in ``wins`` (M,),
where each queue's tournament begins (A + 1,), table row of each queue (A,), ``wins``). ``quotas`` is (row of the queue
whose quota covers each (Q,), used (Q, 3), quota (Q, 3)). ``heads`` is (next job of each entrant (E,), what each member
uses (M, 3), used (M, 3), what its use is multiplied by (M, 3)). ``keys`` is (tier, share, order, entrant), (M,) each.
"""

from typing import Any

from numba import njit  # type: ignore[import-untyped]

from fairway.decide.marks import BORROWED, FINE, FOLLOWING, NOBODY


@njit(cache=True)
def covered(queue: int, sums: Any, quotas: Any) -> bool:
    """Whether a queue may take ``sums`` more within the quota that covers it.

    Only resources that the job needs and the quota names count; a job that needs none of these is not covered.
    """
    guard, used, quota = quotas
    by, named = guard[queue], False
    if by < 0:
        return False
    for c in range(3):
        if sums[c] > 0 and quota[by, c] >= 0:
            if used[by, c] + sums[c] > quota[by, c]:
                return False
            named = True
    return named


@njit(cache=True)
def build(line: Any, tree: Any, quotas: Any, heads: Any, keys: Any) -> None:
    """Play every tournament, the deepest first."""
    parent, slot, base, _, wins = tree
    active = len(base) - 1
    for e in range(len(line[0])):
        _enter(e, line, active, quotas, heads, keys)
    for member in range(len(parent) - 1, -1, -1):
        if member < active:
            low = base[member]
            for node in range((base[member + 1] - low) // 2 - 1, 0, -1):
                wins[low + node] = _better(wins[low + 2 * node], wins[low + 2 * node + 1], keys)
            _adopt(member, wins[low + 1], heads, keys)
        if member:
            wins[slot[member]] = member


@njit(cache=True)
def refresh(e: int, line: Any, tree: Any, quotas: Any, heads: Any, keys: Any) -> None:
    """Take over what came of an entrant's last job: what its queue uses by now, and the next job at its head.

    Nobody else may have been charged since the last refresh.
    """
    parent, slot, base, rows, wins = tree
    used, uses = quotas[1], heads[1]
    active = len(base) - 1
    member = active + e
    above = parent[member]
    for c in range(3):
        uses[member, c] += used[rows[above], c] - uses[above, c]
    _enter(e, line, active, quotas, heads, keys)
    while above >= 0:
        low = base[above]
        node = (slot[member] - low) // 2
        while node > 0:
            wins[low + node] = _better(wins[low + 2 * node], wins[low + 2 * node + 1], keys)
            node //= 2
        member = above
        for c in range(3):
            uses[member, c] = used[rows[member], c]
        _adopt(member, wins[low + 1], heads, keys)
        above = parent[member]


@njit(cache=True)
def _better(a: int, b: int, keys: Any) -> int:
    """Of two members, or -1 for none, the one whose job comes first."""
    tier, share, order, _ = keys
    if a < 0 or b < 0:
        return max(a, b)
    if tier[a] != tier[b]:
        return a if tier[a] < tier[b] else b
    if share[a] != share[b]:
        return a if share[a] < share[b] else b
    return a if order[a] < order[b] else b


@njit(cache=True)
def _enter(e: int, line: Any, active: int, quotas: Any, heads: Any, keys: Any) -> None:
    """Set the keys of an entrant from the job at its head."""
    queue_of, last, shape, sums, cls, order = line
    tier, share, orders, entrant = keys
    member, j = active + e, heads[0][e]
    entrant[member] = e
    if j >= last[e]:
        tier[member] = NOBODY
        return
    tier[member] = cls[j]
    if not covered(queue_of[e], sums[shape[j]], quotas):
        tier[member] += BORROWED
    if cls[j] > 0:
        tier[member] += FOLLOWING
    share[member] = _share(member, heads)
    orders[member] = order[j]


@njit(cache=True)
def _adopt(member: int, winner: int, heads: Any, keys: Any) -> None:
    """Set the keys of a queue: the job that its winner sends, and a share of its own."""
    tier, share, orders, entrant = keys
    tier[member], orders[member], entrant[member] = tier[winner], orders[winner], entrant[winner]
    share[member] = _share(member, heads)


@njit(cache=True)
def _share(member: int, heads: Any) -> int:
    """The dominant share of what a member uses and has used, in billionths."""
    _, uses, past, worth = heads
    most = 0.0
    for c in range(3):
        most = max(most, (uses[member, c] + past[member, c]) * worth[member, c])
    return int(min(most, 1e9) * FINE + 0.5)


@njit(cache=True)
def turn(line: Any, tree: Any, quotas: Any, heads: Any, keys: Any) -> int:
    """The entrant whose turn it is; -1 when nobody has a job left.

    Others may have used up the quota that covered a job when its key was set, so that is looked at once more: keys only
    ever get worse, hence the first that still holds is the best.
    """
    while True:
        winner = tree[4][1]
        if winner < 0 or keys[0][winner] == NOBODY:
            return -1
        e = keys[3][winner]
        if keys[0][winner] & BORROWED or covered(line[0][e], line[3][line[2][heads[0][e]]], quotas):
            return e
        refresh(e, line, tree, quotas, heads, keys)
