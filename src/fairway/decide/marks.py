"""What a walk along the line says: of a job, and of why it stopped. Plain numbers, for the kernel's sake."""

DONE, SLOW, REFUSED = 0, 1, 2
"""Why a walk stopped: nothing is left; a job needs ``gang.place``; a job that may preempt found no room."""

UNTRIED, PLACED, NO_ROOM, OVER_LIMIT = 0, 1, 2, 3
"""What became of a job."""

NOBODY = 1 << 20
"""The tier of a member of the tournament that has no job left."""
BORROWED = 16
"""Added to a class for a job that no guaranteed quota covers."""
FOLLOWING = 32
"""Added for every class but the first, ``CRITICAL``."""
FINE = 1e9
"""Shares are compared in steps of a billionth: what differs by less was rounded differently."""
