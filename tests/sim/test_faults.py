"""What may go wrong is drawn by seed, kind by kind, and carried out on the wire and on machines."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.engine.commands import StartAttempt
from fairway.model import facts as f
from fairway.model.errors import InvalidField
from fairway.model.ids import ExecutorId, NodeId
from fairway.model.node import Node
from fairway.model.phases import Cause
from fairway.model.time import Instant
from fairway.sim.agenda import Agenda, Clock
from fairway.sim.faults import ALL, KINDS, PER_HOUR, Fate, Faults, parse_faults
from fairway.sim.link import Link
from fairway.sim.mishaps import Mishaps
from fairway.sim.site import Site, to_nobody
from tests.sim.test_world import job, start

HOUR = 3_600_000


def test_parse_names_kinds_rates_and_durations() -> None:
    assert parse_faults("none") == parse_faults("") == Faults()
    assert parse_faults("all") == ALL
    assert parse_faults("lost=0.02, node_loss=3,outage=10m") == Faults(lost=0.02, node_loss=3.0, outage=600_000)
    assert parse_faults("late") == Faults(late=ALL.late)
    assert parse_faults("all,crash=0,until=2h").crash == 0.0


@pytest.mark.parametrize(
    ("text", "field"),
    [("hail=1", "faults"), ("lost=often", "faults.lost"), ("lost=1.5", "faults.lost"), ("outage=3", "faults.outage")],
)
def test_a_wrong_fault_is_refused(text: str, field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_faults(text)
    assert caught.value.field == field


def test_what_is_told_is_read_again() -> None:
    for faults in (Faults(), ALL, Faults(lost=0.25, crash=0.001)):
        assert parse_faults(faults.told()) == faults


def test_every_kind_is_off_by_default_and_on_in_all() -> None:
    assert not Faults()
    for kind in KINDS:
        assert getattr(ALL, kind) > 0
        assert bool(ALL.only(kind))
        assert ALL.only(kind).told().startswith(f"{kind}=")


def test_each_kind_has_a_stream_of_its_own() -> None:
    together, alone = Fate(Faults(lost=0.5, late=0.5), 3), Fate(Faults(lost=0.5), 3)
    both = [(together.strikes("lost", 0), together.strikes("late", 0))[0] for _ in range(50)]
    assert both == [alone.strikes("lost", 0) for _ in range(50)]


@given(st.integers(0, 1000))
def test_rates_are_kept(seed: int) -> None:
    fate = Fate(Faults(lost=0.3, duplicated=0.2, late=0.5, node_loss=6.0), seed)
    arrivals = [fate.deliveries(0) for _ in range(2_000)]
    assert 0.2 < sum(not times for times in arrivals) / 2_000 < 0.28, "lost and not doubled"
    assert 0.1 < sum(len(times) == 2 for times in arrivals) / 2_000 < 0.18
    hits, at = 0, fate.next_time("node_loss", 0)
    while at is not None and at < 100 * HOUR:
        hits, at = hits + 1, fate.next_time("node_loss", at)
    assert 450 < hits < 750


def test_nothing_goes_wrong_after_its_time() -> None:
    fate = Fate(Faults(**dict.fromkeys(KINDS, 1.0), until=Instant(1_000)), 1)
    assert fate.deliveries(1_000) == [0]
    assert fate.start(1_000, 7).delay == 7
    assert not fate.start(1_000, 7).fails
    assert not fate.dies_here(1_000)
    assert all(fate.next_time(kind, 1_000) is None for kind in PER_HOUR)


class Scene:
    """One site of two nodes behind a link, and what the control plane hears of it."""

    def __init__(self, faults: Faults, seed: int = 0) -> None:
        self.agenda = Agenda()
        self.heard: list[tuple[int, f.Fact]] = []
        name = ExecutorId("sim")
        nodes = [Node(NodeId(f"n{index}"), executor=name, gpus=2) for index in range(2)]
        self.site = Site(name, nodes, self.agenda, to_nobody)
        self.fate = Fate(faults, seed)
        self.link = Link(self.site, self.agenda, self.hear, self.fate)

    def hear(self, fact: f.Fact) -> None:
        self.heard.append((self.agenda.now, fact))

    def kinds(self) -> Counter[str]:
        return Counter(type(fact).__name__ for _, fact in self.heard)


def test_a_lost_message_never_comes_and_a_doubled_one_comes_twice() -> None:
    scene = Scene(Faults(lost=1.0))
    scene.link.down(start(job("a")))
    scene.link.up(scene.site.inventory())
    scene.agenda.advance(HOUR)
    assert (scene.site.runs, scene.heard) == ({}, [])
    scene = Scene(Faults(duplicated=1.0))
    scene.link.down(start(job("a")))
    scene.agenda.advance(HOUR)
    assert scene.kinds()["AttemptEnded"] >= 2
    assert len(scene.site.ended) == 1


def test_messages_overtake_each_other() -> None:
    scene = Scene(Faults(reordered=0.5), seed=2)
    for index in range(40):
        scene.link.up(f.NodeGone(NodeId(str(index))))
    scene.agenda.advance(HOUR)
    order = [int(fact.node) for _, fact in scene.heard if isinstance(fact, f.NodeGone)]
    assert sorted(order) == list(range(40)) != order


def test_a_late_message_comes() -> None:
    scene = Scene(Faults(late=1.0))
    scene.link.up(f.NodeGone(NodeId("x")))
    scene.agenda.advance(HOUR)
    ((at, _),) = scene.heard
    assert 0 < at <= scene.fate.faults.late_by


def test_a_cut_holds_everything_until_it_heals() -> None:
    scene = Scene(Faults(late=1e-9))
    first = job("a", work=5_000)
    scene.link.down(start(first))
    assert scene.kinds() == {"AttemptStarted": 1}
    scene.link.cut = True
    scene.link.down(start(job("b", work=100)))
    scene.agenda.advance(60_000)
    assert scene.kinds() == {"AttemptStarted": 1}
    assert [attempt.job for attempt in scene.site.ended] == ["a"], "work goes on behind the cut"
    scene.link.heal()
    scene.agenda.advance(120_000)
    assert scene.kinds() == {"AttemptStarted": 2, "AttemptEnded": 2}


def watch(faults: Faults, hours: int = 20) -> Scene:
    """Let mishaps happen for a while."""
    scene = Scene(faults)
    clock = Clock(scene.agenda)
    Mishaps(scene.fate, scene.agenda, [scene.link], clock, scene.hear)
    scene.agenda.advance(hours * HOUR)
    return scene


def test_a_node_dies_is_noticed_and_comes_back_empty() -> None:
    scene = watch(Faults(node_loss=2.0, until=Instant(19 * HOUR)))
    gone = [fact.node for _, fact in scene.heard if isinstance(fact, f.NodeGone)]
    assert 15 < len(gone) < 70
    assert set(gone) == {"n0", "n1"}
    assert set(scene.site.nodes) == {"n0", "n1"}
    last = scene.heard[-1][1]
    assert isinstance(last, f.Inventory)
    assert len(last.nodes) == 2


def test_what_runs_on_a_node_dies_with_it() -> None:
    scene = Scene(Faults())
    scene.site.start(start(job("a", work=HOUR)))
    node = scene.site.lose_node(NodeId("n0"))
    assert node is not None
    assert scene.site.lose_node(NodeId("n0")) is None
    (end,) = scene.site.ended.values()
    assert end.outcome.cause is Cause.NODE_LOST
    again: StartAttempt = start(job("a", work=HOUR), 2)
    scene.site.start(again)
    scene.agenda.advance(2_000)
    assert scene.site.ended[again.attempt].outcome.cause is Cause.NODE_LOST
    scene.site.add_node(node)
    scene.site.start(start(job("a", work=HOUR), 3))
    assert len(scene.site.runs) == 1


def test_a_partition_declares_nodes_gone_and_then_heals() -> None:
    scene = watch(Faults(partition=1.0, until=Instant(19 * HOUR)))
    gone = [fact for _, fact in scene.heard if isinstance(fact, f.NodeGone)]
    assert len(gone) > 10
    assert len(gone) % 2 == 0, "both nodes each time"
    assert not scene.link.cut


def test_clocks_step_back_and_the_one_that_is_shown_never_does() -> None:
    scene = Scene(Faults(clock_steps=30.0))
    clock = Clock(scene.agenda)
    Mishaps(scene.fate, scene.agenda, [scene.link], clock, scene.hear)
    shown: list[int] = []
    skews: set[bool] = set()
    offsets: set[bool] = set()
    for minute in range(1, 600):
        scene.agenda.advance(minute * 60_000)
        shown.append(clock.read())
        skews.add(scene.site.skew < 0)
        offsets.add(clock.offset < 0)
    assert shown == sorted(shown)
    assert skews == offsets == {False, True}
