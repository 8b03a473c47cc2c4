"""Every score that a policy can name chooses as its plain twin does; the mix of work is what was submitted."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import fit, score, scores
from fairway.decide.mix import WorthBoard, known_board, need_of
from fairway.decide.packing import Nodes, typical_work
from fairway.decide.worth import fleet_of, least_worth, worth_of
from fairway.model.errors import InvalidField
from fairway.model.job import Role
from fairway.model.money import MicroDollars
from fairway.model.node import Node
from fairway.model.policy import SCORES, Placing, Policy
from fairway.model.resources import WHOLE, Request
from fairway.state.codec import dump, load
from fairway.state.groups import FIRST_LESSON, shape_of
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted
from tests.decide.clusters import CLUSTERS, REQUESTS, Used, plain_room, stage


def plain_key(name: str, used: Used, request: Request, times: int) -> tuple[float, ...]:
    """A score's keys for one node, from the numbers of the node alone; the last ties go to the first node."""
    node = used.node
    milli = request.gpus * times * (request.milli_on(node.gpu_memory_mib) if request.fractional else WHOLE)
    free = [have - need * times for have, need in zip(used.free, request.flat, strict=True)]

    def part(column: int) -> float:
        return 1 - free[column] / node.flat[column] if node.flat[column] else 0.0

    gpus = 1 - (sum(used.device_free) - milli) / node.gpu_milli if node.gpus else 0.0
    if name == "spread":
        return float(bool(node.gpus) and not request.gpus), max(part(0), part(1), gpus, 0.0)
    if name == "fastest":
        return (max(part(0), part(1), part(3), 0.0),)
    taken = max(
        milli / max(node.gpu_milli, 1),
        request.cpu_milli * times / max(node.cpu_milli, 1),
        request.memory_mib * times / max(node.memory_mib, 1),
    )
    return (round(node.hourly * taken / request.speed_on(node.gpu_type) / times) / 1e6,)


@given(CLUSTERS, REQUESTS, st.sampled_from(("spread", "fastest", "cheapest")), st.integers(1, 3))
def test_a_score_chooses_as_its_plain_twin(cluster: tuple[Used, ...], request: Request, name: str, wanted: int) -> None:
    priced = tuple(
        Used(_priced(used.node, index), used.devices, used.flat, used.cordoned) for index, used in enumerate(cluster)
    )
    snap, trial = stage(priced)
    policy = Policy(placement=Placing(name))  # type: ignore[arg-type]
    every = np.ones(snap.nodes.height, np.bool_)
    for typed in scores.tiers(snap, trial, policy, request):
        found = scores.best(snap, trial, policy, request, wanted, typed, every)
        room = [plain_room(used, request) if typed[row] else 0 for row, used in enumerate(priced)]
        times = min(max(room), 1 if request.fractional or name == "spread" else wanted)
        able = [row for row, count in enumerate(room) if count >= times > 0]
        if not able:
            assert found is None
            continue
        assert found is not None
        keys = {row: plain_key(name, priced[row], request, times) for row in able}
        assert (found.times, found.candidates) == (times, len(able))
        assert keys[found.row] == pytest.approx(min(keys.values()))


def _priced(node: Node, index: int) -> Node:
    return replace(node, hourly=MicroDollars((0, 3_000_000, 40_000_000)[index % 3]))


@given(CLUSTERS, REQUESTS)
def test_pack_fills_the_node_with_the_fewest_free_gpus(cluster: tuple[Used, ...], request: Request) -> None:
    snap, trial = stage(cluster)
    policy = Policy(placement=Placing("pack"))
    typed = list(scores.tiers(snap, trial, policy, request))[:1]
    for here in typed:
        found = scores.best(snap, trial, policy, request, 1, here, np.ones(snap.nodes.height, np.bool_))
        if found is not None:
            rows = np.flatnonzero(fit.fits(snap.nodes, fit.free_capacity(snap, trial, here), request))
            left = score.leftovers(snap, trial, request, rows)[0]
            assert left[rows.tolist().index(found.row)] <= left.min() + snap.nodes.largest[1] * 0.0021


MIX = ((0.5, 2), (1, 4), (0.25, 8), (2, 2), (0, 4), (8, 16))


def learned(policy: Policy | None = None, jobs: int = FIRST_LESSON) -> Rehearsal:
    """A cluster that has seen a mix of work, of which nothing is left."""
    it = Rehearsal(policy=policy or Policy(placement=Placing("fragmentation")))
    it.nodes(*(a_node(f"n{i}", (8, 4, 2, 0)[i % 4], ("H100", "A100")[i % 2], cpu=32 + i) for i in range(12)))
    for index in range(jobs):
        gpus, cpu = MIX[index % len(MIX)]
        it.tell(submitted(a_job(f"past-{index}", a_request(gpus, cpu))))
        it.cancel(f"past-{index}")
    return it


def test_the_mix_of_work_is_what_was_submitted() -> None:
    assert known_board(snapshot(learned(jobs=FIRST_LESSON - 1).state)) is None
    it = learned(jobs=FIRST_LESSON + 50)
    snap = snapshot(it.state)
    nodes, kinds = snap.nodes, tuple(snap.nodes.kinds)
    counts = [sum(index % len(MIX) == kind for index in range(FIRST_LESSON)) for kind in range(len(MIX))]
    work = typical_work([(need_of(a_request(*each), kinds), n) for each, n in zip(MIX, counts, strict=True)], 1.0)
    height = nodes.height
    fleet = fleet_of(nodes.total[:height], nodes.gpu_count[:height], nodes.kind[:height], len(kinds))
    expected, found = worth_of(work, fleet), known_board(snap)
    assert found is not None
    for mine, right in zip(found.worth, expected, strict=True):
        assert np.array_equal(mine, right)
    assert known_board(snap) is found, "made once"
    it.nodes(a_node("n0", 8, cpu=32, labels=(("new", "label"),)))
    again = known_board(snapshot(it.state))
    assert again is not None
    assert again.worth is found.worth, "the same fleet is worth the same"
    assert known_board(snapshot(load(dump(it.state)))) is not None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=25))
def test_a_board_follows_what_is_placed_and_taken_back(steps: list[tuple[int, bool]]) -> None:
    it = learned()
    it.tell(submitted(a_job("running", a_request(1, 2))))
    it.decide()
    snap = snapshot(it.state)
    trial, policy, board = Trial(snap), it.policy, known_board(snap)
    kinds, height = tuple(snap.nodes.kinds), snap.nodes.height
    assert board is not None
    trial.take(3, (1000, 0, 0, 0), (), 0)
    worth = board.worth
    every = np.ones(height, np.bool_)
    for which, keep in steps:
        request, mark = a_request(*MIX[which]), trial.mark()
        found = scores.best(snap, trial, policy, request, 1, every, every)
        columns = Nodes(trial.free, trial.device_free, snap.nodes.gpu_count[:height], snap.nodes.kind[:height])
        costs, _ = least_worth(worth, columns, np.arange(height), need_of(request, kinds))
        assert isinstance(trial.watcher, WorthBoard)
        if found is None:
            assert not np.isfinite(costs).any()
            continue
        assert costs[found.row] == costs.min() == found.value
        free = trial.device_free[found.row]
        devices = (found.device,) if found.device >= 0 else fit.pick_devices(free, request, request.gpu_milli)
        trial.take(found.row, request.flat, devices, request.gpu_milli if devices else 0)
        assert (trial.device_free >= 0).all()
        if not keep:
            trial.rollback(mark)


@pytest.mark.parametrize("name", SCORES)
def test_whole_decisions_hold_under_every_score(name: Any) -> None:
    it = learned(Policy(placement=Placing(name)))
    for index in range(24):
        gpus, cpu = MIX[index % len(MIX)]
        it.tell(submitted(a_job(f"j{index}", Role(count=1 + index % 3, request=a_request(gpus, cpu)))))
    plan = it.decide()
    it.prove()
    assert {reason_of(action) for action in plan.actions} <= {name, None}
    it.restart()
    it.prove()


def reason_of(action: Any) -> str | None:
    """Which score chose a start."""
    return getattr(action.reason, "policy", None)


def test_before_a_mix_is_known_it_is_best_fit() -> None:
    it = learned(jobs=5)
    it.tell(submitted(a_job("j", a_request(1, 1))))
    [action] = it.decide().actions
    assert reason_of(action) == "best_fit"


def test_worth_packs_more_than_best_fit() -> None:
    """Shares and whole GPUs come until nothing more fits: what is placed in the end, in milli-GPUs."""
    placed = {name: _filled(name) for name in ("best_fit", "fragmentation")}
    assert placed["fragmentation"] > placed["best_fit"]


def _filled(name: Any) -> int:
    rng, it = np.random.default_rng(7), learned(Policy(placement=Placing(name)), jobs=2 * FIRST_LESSON)
    for index, which in enumerate(rng.integers(0, len(MIX), 150).tolist()):
        it.tell(submitted(a_job(f"j{index}", a_request(*MIX[which]))))
        it.decide()
    return int(it.state.queues.used[0, 2])


def test_an_unknown_score_is_refused() -> None:
    with pytest.raises(InvalidField, match=r"policy.placement.score: 'best' is none of best_fit, pack, spread"):
        Placing("best")  # type: ignore[arg-type]


def test_shapes_are_counted_by_what_they_need() -> None:
    it = learned()
    table = it.state.groups.shapes
    first = shape_of(a_job("x", a_request(*MIX[0])))
    assert table.learned[table.row_of[first]] == sum(index % len(MIX) == 0 for index in range(FIRST_LESSON))
