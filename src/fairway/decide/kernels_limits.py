"""The numba kernels of what queues may use: limits, and what other queues keep for themselves.

Nothing else is in here; ``kernels_walk`` calls them. Their plain twins are in ``admit`` and ``state.lending``.
"""

from typing import Any

from numba import njit  # type: ignore[import-untyped]


@njit(cache=True)
def over_limit(queue: int, sums: Any, queues: Any) -> int:
    """The nearest queue, from ``queue`` upwards, whose limit taking ``sums`` more would break; -1 for none.

    ``queues`` is (path (Q, depth) from the root down, used (Q, 3), limit (Q, 3)) and what ``state.lending`` has: (keep
    (Q, 3), inner (Q, 3), total (3,)), without rows where nobody keeps anything.
    """
    path, used, limit = queues[:3]
    for d in range(path.shape[1] - 1, -1, -1):
        q = path[queue, d]
        if q >= 0:
            for c in range(3):
                if sums[c] > 0 and used[q, c] + sums[c] > limit[q, c]:
                    return q
    return -1


@njit(cache=True)
def kept_back(queue: int, sums: Any, queues: Any) -> bool:
    """Whether a queue may not take ``sums`` more because others keep some of that for themselves."""
    path, used, _, keep, inner, total = queues
    for c in range(3 if len(keep) else 0):
        claimed, left = max(keep[0, c], inner[0, c]), sums[c]
        if left > 0 and claimed > used[0, c]:
            for d in range(path.shape[1] - 1, -1, -1):
                q = path[queue, d]
                if q >= 0:
                    left = max(keep[q, c], inner[q, c] + left) - max(keep[q, c], inner[q, c])
            if left > 0 and claimed + left > total[c]:
                return True
    return False


@njit(cache=True)
def charge(queue: int, sums: Any, queues: Any) -> None:
    """Count use against a queue and every queue above it."""
    path, used, _, keep, inner, _ = queues
    for d in range(path.shape[1]):
        if path[queue, d] >= 0:
            for c in range(3):
                used[path[queue, d], c] += sums[c]
    for c in range(3 if len(keep) else 0):
        more = sums[c]
        for d in range(path.shape[1] - 1, -1, -1):
            q = path[queue, d]
            if q >= 0:
                before = max(keep[q, c], inner[q, c])
                inner[q, c] += more
                more = max(keep[q, c], inner[q, c]) - before
