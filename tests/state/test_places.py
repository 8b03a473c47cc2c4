"""Which nodes a constraint allows, and which stand together: always what each node's spec says by itself."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.model.ids import ExecutorId, NodeId, PoolId
from fairway.model.node import Node, Topology
from fairway.model.phases import Lifecycle
from fairway.model.where import ANYWHERE, Level, Selector, Where, domain_of, permits
from fairway.state.places import LEVELS, Places

NAMES = st.sampled_from(("", "a", "b"))
KEYS = st.sampled_from(("disk", "team", "rack", "node", "pool", "none"))
VALUES = st.sampled_from(("a", "b", "n0", "n1"))
TOPOLOGIES = st.builds(Topology, NAMES, NAMES, NAMES, NAMES, NAMES, NAMES)
NODES = st.builds(
    lambda index, executor, topology, lifecycle, pool, labels, taints: Node(
        NodeId(f"n{index}"),
        ExecutorId(executor),
        topology=topology,
        lifecycle=lifecycle,
        pool=PoolId(pool) if pool else None,
        labels=tuple(sorted(labels.items())),
        taints=tuple(sorted(taints)),
    ),
    st.integers(0, 24),
    st.sampled_from(("e1", "e2")),
    TOPOLOGIES,
    st.sampled_from(Lifecycle),
    NAMES,
    st.dictionaries(KEYS, VALUES, max_size=2),
    st.sets(st.sampled_from(("gpu", "gpu=a", "team=b")), max_size=2),
)
LISTS = st.lists(st.sampled_from(("a", "b", "c")), max_size=2).map(tuple)
WHERES = st.builds(
    Where,
    st.lists(st.builds(Selector, KEYS, st.lists(VALUES, max_size=2).map(tuple), st.booleans()), max_size=2).map(tuple),
    LISTS,
    LISTS,
    LISTS,
    st.lists(st.sampled_from(("gpu", "gpu=a", "team", "*")), max_size=2).map(tuple),
    st.booleans(),
)


@given(st.lists(NODES, min_size=1, max_size=40), st.lists(WHERES, min_size=1, max_size=3), st.integers(0, 40))
def test_masks_and_domains_follow_every_change(nodes: list[Node], wheres: list[Where], asked: int) -> None:
    places, rows, known = Places(), dict[NodeId, int](), list[Node]()
    for index, node in enumerate(nodes):
        if index == asked:  # from now on they are kept up to date
            for where in wheres:
                places.allowed(where, len(known))
        row = rows.setdefault(node.id, len(known))
        known[row : row + 1] = [node]
        places.put(row, node)
    for where in (*wheres, ANYWHERE):
        assert places.allowed(where, len(known)).tolist() == [permits(where, node) for node in known]
    for level in LEVELS:
        codes = places.domains(level, len(known)).tolist()
        for left, code in zip(known, codes, strict=True):
            same = [domain_of(right, level) == domain_of(left, level) for right in known]
            assert same == [other == code for other in codes]
            inside = ("region", "zone", "cluster", "block", "rack", "island")
            narrower = inside[inside.index(level) :] if level.path else ()
            said = [f"{name} {getattr(left.topology, name)}" for name in narrower if getattr(left.topology, name)]
            assert places.domain_name(level, code) == (said[0] if said else f"node {left.id}")


@given(NODES, WHERES)
def test_what_is_left_out_is_left_out_by_a_constraint_that_can_be_named(node: Node, where: Where) -> None:
    freer = [rest for _, rest in where.without()]
    if not permits(where, node):
        names = dict(where.without())
        assert names
        while freer and not any(permits(rest, node) for rest in freer):
            freer = [less for rest in freer for _, less in rest.without()]
        assert freer
    else:
        assert all(permits(rest, node) for rest in freer)


@given(st.lists(NODES, min_size=2, max_size=6, unique_by=lambda node: node.id))
def test_who_shares_a_domain_shares_every_wider_one(nodes: list[Node]) -> None:
    for left in nodes:
        for right in nodes:
            shared = [domain_of(left, level) == domain_of(right, level) for level in LEVELS]
            assert shared == sorted(shared)


RACKS = Topology("eu", "eu-1", "c", "b", "r1")


@pytest.mark.parametrize(
    ("where", "node", "may"),
    [
        (ANYWHERE, Node(NodeId("n")), True),
        (ANYWHERE, Node(NodeId("n"), lifecycle=Lifecycle.SPOT), False),
        (ANYWHERE, Node(NodeId("n"), lifecycle=Lifecycle.RESERVED), True),
        (Where(spot=True), Node(NodeId("n"), lifecycle=Lifecycle.SPOT), True),
        (ANYWHERE, Node(NodeId("n"), taints=("gpu=h100",)), False),
        (Where(tolerates=("gpu",)), Node(NodeId("n"), taints=("gpu=h100",)), True),
        (Where(tolerates=("gpu=a100",)), Node(NodeId("n"), taints=("gpu=h100",)), False),
        (Where(tolerates=("gpu",)), Node(NodeId("n"), taints=("gpu=h100", "team")), False),
        (Where(tolerates=("*",)), Node(NodeId("n"), taints=("gpu=h100", "team")), True),
        (Where(regions=("eu", "us")), Node(NodeId("n"), topology=RACKS), True),
        (Where(zones=("eu-2",)), Node(NodeId("n"), topology=RACKS), False),
        (Where(clusters=("c",)), Node(NodeId("n")), False),
        (Where((Selector("node", ("n",)),)), Node(NodeId("n")), True),
        (Where((Selector("node", ("n",), True),)), Node(NodeId("n")), False),
        (Where((Selector("disk"),)), Node(NodeId("n"), labels=(("disk", "nvme"),)), True),
        (Where((Selector("disk", without=True),)), Node(NodeId("n"), labels=(("disk", "nvme"),)), False),
        (Where((Selector("disk", ("hdd",), True),)), Node(NodeId("n")), True),
    ],
)
def test_a_node_answers_for_itself(where: Where, node: Node, may: bool) -> None:
    assert permits(where, node) is may


def test_racks_of_one_name_in_two_blocks_are_two() -> None:
    here = Node(NodeId("n1"), topology=RACKS)
    there = replace(here, id=NodeId("n2"), topology=replace(RACKS, block="c"))
    assert domain_of(here, Level.RACK) != domain_of(there, Level.RACK)
    assert domain_of(here, Level.CLUSTER) == domain_of(there, Level.CLUSTER)
