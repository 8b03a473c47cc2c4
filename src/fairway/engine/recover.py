"""From the journal back to the state: the newest checkpoint, then the tail, through the same ``apply`` as ever.

Recovery has no special path beyond this. What happened to attempts and nodes meanwhile comes with the next inventories,
what was decided but not sent is still unmet and is sent by the first turn, and the world's first batch tells the new
epoch (``facts.EpochBegan``).
"""

from collections.abc import Sequence
from typing import NamedTuple

from fairway.engine.ports import Journal, View
from fairway.state.apply import apply
from fairway.state.cluster import ClusterState
from fairway.state.codec import load


class Recovered(NamedTuple):
    """A state, and the last frame it has."""

    state: ClusterState
    seq: int


def recover(journal: Journal, views: Sequence[View] = (), *, from_start: bool = False) -> Recovered:
    """The state that the journal's committed frames add up to; ``views`` take over the frames that they lack.

    ``from_start`` replays every frame, for views that have fewer than the checkpoint stands for. Raises CorruptJournal,
    NewerFormat.
    """
    checkpoint = None if from_start else journal.newest_checkpoint()
    seq, state = (checkpoint[0], load(checkpoint[1])) if checkpoint else (0, ClusterState())
    state.news.clear()
    for frame, facts in journal.tail(seq):
        apply(state, facts)
        seq = frame
        for view in views:
            view.fold(seq, state.now, state)
        state.news.clear()
    return Recovered(state, seq)
