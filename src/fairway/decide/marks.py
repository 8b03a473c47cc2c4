"""What a walk along the line says: of a job, and of why it stopped. Plain numbers, for the kernel's sake."""

DONE, SLOW, REFUSED = 0, 1, 2
"""Why a walk stopped: nothing is left; a job needs ``gang.place``; a job that may preempt found no room."""

UNTRIED, PLACED, NO_ROOM, OVER_LIMIT = 0, 1, 2, 3
"""What became of a job."""
