"""Tables grow, give rows back and are laid out again as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.facts import QueueSet
from fairway.model.ids import QUEUE_PATTERN, QueueId
from fairway.model.job import PriorityClass
from fairway.model.queue import Queue
from fairway.model.resources import Amount
from fairway.state.columns import Ints, Table
from fairway.testing.builders import Rehearsal, a_job, a_node, a_queue, a_request, same, submitted


class Pairs(Table[str]):
    COLUMNS = (("one", np.int64, 0), ("two", np.int64, 2))
    one: Ints
    two: Ints


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=150))
def test_a_table_is_a_dict_of_rows(moves: list[tuple[bool, int]]) -> None:
    table, model = Pairs(), dict[str, int]()
    for step, (add, number) in enumerate(moves):
        key = f"k{number}"
        if add and key not in model:
            row = table.add(key)
            assert (table.one[row], table.two[row].tolist()) == (0, [0, 0])
            table.one[row], table.two[row] = step, (step, -step)
            model[key] = step
        elif not add and key in model:
            table.remove(key)
            del model[key]
    assert len(table) == len(model)
    assert {key: int(table.one[table.row_of[key]]) for key in model} == model
    assert sorted(table.id_of(row) for row in table.rows()) == sorted(model)
    again = Pairs()
    again.place_rows(table.ids, table.free_rows)
    assert (again.row_of, again.height) == (table.row_of, table.height)
    assert again.add("new") == table.add("new")


def test_a_free_row_has_no_id() -> None:
    table = Pairs()
    table.add("a")
    row = table.remove("a")
    with pytest.raises(KeyError, match="is free"):
        table.id_of(row)


def test_many_nodes_of_many_widths_and_many_queues() -> None:
    it = Rehearsal()
    it.nodes(*(a_node(f"n{i}", i % 21) for i in range(70)))
    it.queues(*(a_queue(f"q{i}/p", gpus=20) for i in range(30)))
    it.prove()
    it.tell(*(submitted(a_job(f"j{i}", a_request(i % 21), queue=f"q{i % 30}/p")) for i in range(70)))
    it.settle()
    it.prove()
    running = [job for job in (f"j{i}" for i in range(70)) if it.where(job)]
    assert len(running) > 40
    it.restart()
    for job in running[::2]:
        it.end(job)
    it.settle()
    it.prove()
    assert same(it.state, it.replayed())


def test_a_queue_brings_those_above_it_along_and_counts_against_them() -> None:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(2), queue="a/b/c", cls=PriorityClass.LOW)))
    it.decide()
    queues = it.state.queues
    assert list(queues.row_of) == ["", "a", "a/b", "a/b/c"]
    assert [int(queues.used[queues.row_of[QueueId(name)], 2]) for name in ("", "a", "a/b", "a/b/c")] == [2000] * 4
    it.queues(a_queue("a/b", gpus=1))
    assert queues.above[queues.row_of[QueueId("a/b/c")]] == [3, 2, 1, 0]


def test_a_path_may_be_deep_but_is_refused_when_it_is_no_organisation_any_more() -> None:
    deepest, deeper = "/".join("a" * 16), "/".join("a" * 17)
    assert QUEUE_PATTERN.fullmatch(deepest)
    assert not QUEUE_PATTERN.fullmatch(deeper)
    it = Rehearsal()
    it.queues(a_queue("/".join("a" * 2000), gpus=1))
    assert len(it.state.queues) == 2001
    it.restart()
    assert len(it.state.queues) == 2001


def test_a_limit_beyond_64_bits_is_no_limit() -> None:
    it = Rehearsal()
    it.tell(QueueSet(Queue(QueueId("q"), quota=Amount(gpu_milli=1 << 63), borrow=Amount(gpu_milli=(1 << 63) - 1))))
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("j", a_request(8), queue="q")))
    it.decide()
    assert it.where("j") == ("n1",)
