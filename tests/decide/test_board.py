"""A board's answers are those of scoring every node from scratch, whatever changed in between."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import packing
from fairway.decide.board import Board, Choice
from fairway.decide.packing import Need, Nodes

NEEDS = [Need((cpu, 1), gpus, (milli,)) for cpu, gpus, milli in [(1, 1, 300), (2, 1, 1000), (3, 2, 1000), (4, 0, 0)]]


def from_scratch(nodes: Nodes, need: Need) -> Choice | None:
    costs, picks = packing.best_fit(nodes, np.arange(len(nodes.gpus)), need)
    row = int(costs.argmin())
    return Choice(row, int(picks[row]), float(costs[row])) if costs[row] < math.inf else None


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 1000)), max_size=300),
    st.sampled_from([1, 2, 512]),
)
def test_a_board_answers_as_if_it_scored_everything(steps: list[tuple[int, int, int]], keep: int) -> None:
    nodes = Nodes(np.full((6, 2), 50_000), np.full((6, 2), 1000), np.full(6, 2), np.zeros(6, np.int64))
    board = Board(nodes, packing.best_fit, keep)
    for index, row, free in steps:
        assert board.best(NEEDS[index]) == from_scratch(nodes, NEEDS[index])
        nodes.devices[row, free % 2] = free
        nodes.free[row, 0] = free * 50
        board.changed(row)
    for need in NEEDS:
        assert board.best(need) == from_scratch(nodes, need)


def test_only_changed_nodes_are_scored_again() -> None:
    asked: list[list[int]] = []

    def score(nodes: Nodes, rows: packing.Ints, need: Need) -> packing.Scored:
        asked.append(rows.tolist())
        return packing.best_fit(nodes, rows, need)

    nodes = Nodes(np.full((4, 2), 50_000), np.full((4, 2), 1000), np.full(4, 2), np.zeros(4, np.int64))
    board = Board(nodes, score)
    board.best(NEEDS[0])
    board.best(NEEDS[0])
    for row in (2, 1, 2):
        board.changed(row)
    board.best(NEEDS[0])
    assert asked == [[0, 1, 2, 3], [1, 2]]


def test_a_task_that_fits_nowhere_has_no_choice() -> None:
    nodes = Nodes(np.zeros((2, 2), np.int64), np.full((2, 2), 1000), np.full(2, 2), np.zeros(2, np.int64))
    assert Board(nodes, packing.best_fit).best(NEEDS[0]) is None
