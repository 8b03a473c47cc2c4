"""Every kernel of placing against its slow, plain twin."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import fit, near, score
from fairway.decide.gang import Fitted, place
from fairway.model.errors import InvalidField
from fairway.model.facts import NodeCordoned
from fairway.model.ids import NodeId
from fairway.model.policy import Policy, Weights
from fairway.model.resources import Request
from fairway.state.groups import Shape
from fairway.state.snapshot import snapshot
from fairway.testing.builders import Rehearsal, a_node, a_request
from tests.decide.clusters import CLUSTERS, REQUESTS, Used, plain_devices, plain_room, stage

Cluster = tuple[Used, ...]
MANY = 40


@given(CLUSTERS, REQUESTS)
def test_room_is_how_many_tasks_one_can_place(cluster: Cluster, request: Request) -> None:
    snap, trial = stage(cluster)
    capacity = fit.free_capacity(snap, trial)
    room = np.minimum(fit.room(snap.nodes, capacity, request), MANY)
    assert room.tolist() == [plain_room(used, request, MANY) for used in cluster]
    assert fit.fits(snap.nodes, capacity, request).tolist() == [bool(plain_room(used, request, 1)) for used in cluster]


@given(CLUSTERS, REQUESTS)
def test_whole_capacity_is_every_node_empty_and_up(cluster: Cluster, request: Request) -> None:
    snap, _ = stage(cluster)
    empty = [Used(used.node, (0,) * used.node.gpus, (0, 0, 0, 0), False) for used in cluster]
    room = np.minimum(fit.room(snap.nodes, fit.whole_capacity(snap), request), MANY)
    assert room.tolist() == [plain_room(used, request, MANY) for used in empty]


@given(st.lists(CLUSTERS, min_size=3, max_size=3), REQUESTS, st.data())
def test_where_few_nodes_are_allowed_they_have_the_same_room(
    clusters: list[Cluster], request: Request, data: st.DataObject
) -> None:
    nodes = [used for cluster in clusters for used in cluster]
    named = [replace(used, node=replace(used.node, id=NodeId(f"n{at}"))) for at, used in enumerate(nodes)]
    snap, trial = stage(tuple(named))
    allowed = np.zeros(len(named), np.bool_)
    allowed[list(data.draw(st.sets(st.integers(0, len(named) - 1), max_size=2)))] = True
    everywhere, few = (fit.free_capacity(snap, trial, able) for able in (None, allowed))
    with mock.patch.object(fit, "LARGE", 1):
        room, fits = fit.room(snap.nodes, few, request), fit.fits(snap.nodes, few, request)
    assert (room == fit.room(snap.nodes, everywhere, request) * allowed).all()
    assert (fits == (fit.fits(snap.nodes, everywhere, request) & allowed)).all()


@given(CLUSTERS, REQUESTS)
def test_on_a_large_fleet_only_nodes_that_may_have_room_are_looked_at(cluster: Cluster, request: Request) -> None:
    with mock.patch.object(fit, "LARGE", 1), mock.patch.object(fit, "SPARSE", 1):
        snap, trial = stage(cluster)
        capacity = fit.free_capacity(snap, trial)
        room = np.minimum(fit.room(snap.nodes, capacity, request), MANY)
        assert room.tolist() == [plain_room(used, request, MANY) for used in cluster]
        fits = fit.fits(snap.nodes, capacity, request)
        assert fits.tolist() == [bool(plain_room(used, request, 1)) for used in cluster]


def test_what_a_node_could_hold_is_forgotten_when_it_changes() -> None:
    it, shape = Rehearsal(), Shape(((a_request(4), 1, 1),))
    it.nodes(a_node("n0", 2), a_node("n1", 8))
    assert near.could_host(snapshot(it.state), shape).tolist() == [False, True]
    assert fit.whole_capacity(snapshot(it.state)).idle.tolist() == [2, 8]
    it.nodes(a_node("n0", 4))
    it.tell(NodeCordoned(NodeId("n1")))
    assert near.could_host(snapshot(it.state), shape).tolist() == [True, False]
    assert fit.whole_capacity(snapshot(it.state)).idle.tolist() == [4, 8]


@given(CLUSTERS, REQUESTS)
def test_a_task_gets_the_tightest_device_or_the_first_idle_ones(cluster: Cluster, request: Request) -> None:
    snap, trial = stage(cluster)
    for row, used in enumerate(cluster):
        if plain_room(used, request, 1):
            milli = int(fit.milli_per_device(snap.nodes, request)[row])
            assert milli == request.milli_on(used.node.gpu_memory_mib)
            got = fit.pick_devices(trial.device_free[row], request, milli)
            assert got == plain_devices(list(used.device_free), request, milli)


@given(CLUSTERS, REQUESTS)
def test_the_best_fit_leaves_least_over(cluster: Cluster, request: Request) -> None:
    snap, trial = stage(cluster)
    rows = np.flatnonzero(fit.fits(snap.nodes, fit.free_capacity(snap, trial), request))
    scores = score.best_fit(score.leftovers(snap, trial, request, rows), score.scale(snap, Policy()))
    nodes = [used.node for used in cluster]
    for row, got in zip(rows.tolist(), scores.tolist(), strict=True):
        used = cluster[row]
        taken = request.gpus * request.milli_on(used.node.gpu_memory_mib) if request.gpus else 0
        gpu = (sum(max(free, 0) for free in used.device_free) - taken) / max(*(node.gpus * 1000 for node in nodes), 1)
        memory = (used.free[1] - request.memory_mib) / max(*(node.memory_mib for node in nodes), 1)
        cpu = (used.free[0] - request.cpu_milli) / max(*(node.cpu_milli for node in nodes), 1)
        assert got == pytest.approx(0.5 * gpu + 0.3 * memory + 0.2 * cpu)


@given(CLUSTERS, REQUESTS)
def test_one_task_goes_to_the_fastest_type_and_there_to_the_first_of_the_best(
    cluster: Cluster, request: Request
) -> None:
    snap, trial = stage(cluster)
    shape = Shape(((request, 1, 1),))
    rows = np.array([row for row, used in enumerate(cluster) if plain_room(used, request, 1)], np.int64)
    outcome = place(snap, trial, Policy(), shape)
    assert isinstance(outcome, Fitted) == bool(len(rows))
    if isinstance(outcome, Fitted):
        _, before = stage(cluster)
        scores = score.best_fit(score.leftovers(snap, before, request, rows), score.scale(snap, Policy()))
        speeds = [request.speed_on(cluster[row].node.gpu_type) if request.gpus else 1.0 for row in rows.tolist()]
        best = min(range(len(rows)), key=lambda i: (-speeds[i], scores[i], rows[i]))
        assert outcome.placement[0].node == cluster[int(rows[best])].node.id


@given(CLUSTERS, REQUESTS, st.integers(2, 6), st.integers(1, 6))
def test_a_role_fits_exactly_when_one_executor_has_room(
    cluster: Cluster, request: Request, count: int, least: int
) -> None:
    least = min(least, count)
    snap, trial = stage(cluster)
    before = (
        trial.free.copy(),
        trial.device_free.copy(),
        trial.idle.copy(),
        trial.share_max.copy(),
        trial.gpu_free.copy(),
    )
    outcome = place(snap, trial, Policy(), Shape(((request, count, least),)))
    executors = {used.node.executor for used in cluster}
    rooms = [sum(plain_room(u, request, count) for u in cluster if u.node.executor == name) for name in executors]
    if max(rooms) < least:
        assert not isinstance(outcome, Fitted)
        after = trial.free, trial.device_free, trial.idle, trial.share_max, trial.gpu_free
        assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
        return
    assert isinstance(outcome, Fitted)
    nodes = {used.node.id: used for used in cluster}
    assert len(outcome.placement) == min(count, max(rooms))
    assert len({nodes[task.node].node.executor for task in outcome.placement}) == 1
    assert [task.rank for task in outcome.placement] == list(range(len(outcome.placement)))
    for row, used in enumerate(cluster):
        tasks = [task for task in outcome.placement if task.node == used.node.id]
        assert len(tasks) <= plain_room(used, request, count)
        gone = trial.free[row].tolist() != list(used.free) or trial.device_free[
            row, : len(used.devices)
        ].tolist() != list(used.device_free)
        assert gone == (bool(tasks) and request != Request())


def test_weights_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(InvalidField, match="add up to 1"):
        Weights(gpu=0.9)
    with pytest.raises(InvalidField, match="from 1"):
        Policy(max_victims=0)
