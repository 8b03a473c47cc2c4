"""Where the tasks of a gang go: all of them, within one executor, on as few nodes as they can."""

from fairway.model.facts import NodeSeen
from fairway.model.ids import ExecutorId
from fairway.model.job import Role
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted


def placed(it: Rehearsal, *roles: Role) -> tuple[str, ...]:
    it.tell(submitted(a_job("gang", *roles)))
    it.decide()
    it.prove()
    return it.where("gang")


def test_a_role_that_fits_anywhere_leaves_the_only_place_of_another_one_alone() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8, "H100", cpu=62), a_node("n2", 8, "A100", cpu=100))
    head, workers = Role("head", 1, a_request(cpu=4)), Role("w", 1, a_request(8, cpu=60, types=["H100"]))
    assert placed(it, head, workers) == ("n2", "n1")


def test_ranks_follow_the_roles_as_they_were_written_whichever_was_placed_first() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 4, cpu=64), a_node("n2", 0, cpu=8))
    it.tell(submitted(a_job("gang", Role("head", 1, a_request(cpu=1)), Role("w", 2, a_request(2)))))
    it.decide()
    placement = it.state.jobs.placement[it.state.jobs.row_of[it.attempt("gang").job]]
    assert [(task.rank, task.role, task.node) for task in placement] == [(0, 0, "n2"), (1, 1, "n1"), (2, 1, "n1")]


def test_a_gang_takes_the_first_executor_that_has_room_for_all_of_it() -> None:
    it = Rehearsal()
    for index, executor in enumerate(("e1", "e2", "e2")):
        it.tell(NodeSeen(a_node(f"n{index}", 4, executor=ExecutorId(executor))))
    assert placed(it, Role("w", 2, a_request(4))) == ("n1", "n2")


def test_a_gang_that_may_shrink_takes_the_executor_where_it_shrinks_least() -> None:
    it = Rehearsal()
    for name, executor in (("n1", "e1"), ("n2", "e2"), ("n3", "e2"), ("n4", "e3")):
        it.tell(NodeSeen(a_node(name, 4, executor=ExecutorId(executor))))
    assert placed(it, Role("w", 3, a_request(4), min_count=1)) == ("n2", "n3")


def test_a_gang_is_never_split_over_executors() -> None:
    it = Rehearsal()
    for index, executor in enumerate(("e1", "e2")):
        it.tell(NodeSeen(a_node(f"n{index}", 4, executor=ExecutorId(executor))))
    assert placed(it, Role("w", 2, a_request(4))) == ()


def test_equal_tasks_fill_as_few_nodes_as_they_can() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 4), a_node("n2", 8), a_node("n3", 4), a_node("n4", 8))
    assert placed(it, Role("w", 10, a_request(2))) == ("n2",) * 4 + ("n4",) * 4 + ("n1",) * 2
