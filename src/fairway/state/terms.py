"""The terms of a queue as columns have them: what it is guaranteed, may use, and keeps for itself."""

from fairway.model.queue import Queue

SUMS = ("cpu_milli", "memory_mib", "gpu_milli")
"""Column order of every sum over tasks: quotas, limits, usage."""
NO_LIMIT = 1 << 62
NOT_NAMED = -1
"""In the place of a quota where nothing is guaranteed."""
MOST_KEPT = 1 << 50
"""Of any resource by any one queue: more than there is anywhere, and sums over all queues stay within 64 bits."""


def terms(queue: Queue, lent: list[int], *, root: bool) -> tuple[list[int], list[int], list[int]]:
    """(quota, limit, keep), in ``SUMS`` order, where loans add ``lent`` to what was declared. The ``root`` has nobody
    whom it could lend to."""
    quotas, limits, keeps = list[int](), list[int](), list[int]()
    for name, more in zip(SUMS, lent, strict=True):
        declared = min(getattr(queue.quota, name) or 0, NO_LIMIT)
        quota = min(max(declared + more, 0), NO_LIMIT)
        borrow, lend = getattr(queue.borrow, name), getattr(queue.lend, name)
        quotas.append(quota if declared or more > 0 else NOT_NAMED)
        limits.append(NO_LIMIT if borrow is None else min(quota + borrow, NO_LIMIT))
        keeps.append(0 if lend is None or root else min(max(quota - lend, 0), MOST_KEPT))
    return quotas, limits, keeps
