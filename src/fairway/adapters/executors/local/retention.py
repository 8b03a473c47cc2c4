"""Removing what forgotten attempts have left, so that a disk does not fill up over the years."""

import os
import shutil
import time

_DAY = 86_400


def prune(data: str, keep: int | None, days: float | None) -> int:
    """Remove the folders of forgotten attempts beyond the newest ``keep``, and those older than ``days``.

    None is no limit. An attempt's age is that of its folder's last change. Returns how many were removed. An attempt
    that was not forgotten is never touched.
    """
    if keep is None and days is None:
        return 0
    attempts = f"{data}/attempts"
    ages: list[tuple[float, str]] = []
    with os.scandir(attempts) as entries:
        for entry in entries:
            if not os.path.exists(f"{data}/index/{entry.name}"):
                ages.append((entry.stat(follow_symlinks=False).st_mtime, entry.name))
    ages.sort(reverse=True)
    oldest = time.time() - days * _DAY if days is not None else 0.0
    gone = [name for i, (changed, name) in enumerate(ages) if (keep is not None and i >= keep) or changed < oldest]
    for name in gone:
        shutil.rmtree(f"{attempts}/{name}", ignore_errors=True)
    return len(gone)
