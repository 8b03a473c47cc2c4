"""Room that is kept for jobs in line from a time on: what ``decide.reserve`` has decided, as the state remembers it."""

from fairway.model.ids import JobId, NodeId
from fairway.model.plan import Reserve
from fairway.model.reasons import AwaitingReservation
from fairway.state.bookings import node_changed
from fairway.state.cluster import ClusterState, Decision


def keep_room(state: ClusterState, action: Reserve) -> None:
    """Keep the room of a reservation, in place of an earlier one of its job."""
    drop_reservation(state, action.job)
    state.reserved[action.job] = action
    nodes = tuple(dict.fromkeys(task.node for task in action.placement))
    state.jobs.reason[state.jobs.row_of[action.job]] = AwaitingReservation(nodes, action.expected)
    state.news.jobs[action.job] = None
    state.news.decisions.append(Decision(action.job, state.now, action))


def drop_reservation(state: ClusterState, job: JobId) -> None:
    """Keep no more room for a job, if any is kept: others may have it."""
    reserved = state.reserved.pop(job, None)
    if reserved is None:
        return
    row = state.jobs.row_of[job]
    if isinstance(state.jobs.reason[row], AwaitingReservation):
        state.jobs.reason[row] = None
    state.news.jobs[job] = None
    state.roomier.update(dict.fromkeys(state.nodes.row_of[task.node] for task in reserved.placement))


def break_reservations(state: ClusterState, node: NodeId) -> None:
    """Nothing will start on a node any more: room that is kept there is kept for nobody, and what is booked there is
    looked for elsewhere."""
    node_changed(state, node)
    for job, reserved in list(state.reserved.items()):
        if any(task.node == node for task in reserved.placement):
            drop_reservation(state, job)
