"""Where jobs may run: what starts stands where its constraints allow, and what does not start could not."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fairway.decide import fit, near
from fairway.decide.explain import never_fits
from fairway.decide.gang import Fitted, place
from fairway.decide.line import Line
from fairway.decide.marks import PLACED
from fairway.model.facts import NodeCordoned, NodeGone
from fairway.model.ids import ExecutorId, NodeId
from fairway.model.job import ArrayIndex, Job, Priority, PriorityClass, Role
from fairway.model.node import Node, Topology
from fairway.model.phases import Cause, Lifecycle
from fairway.model.plan import Hold, Placement, Start, Stop
from fairway.model.policy import Policy
from fairway.model.where import Apart, Level, Selector, Together, Where, domain_of, permits
from fairway.state.groups import shape_of
from fairway.state.places import LEVELS
from fairway.state.snapshot import Trial, snapshot
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted

NAMES = st.sampled_from(("", "a", "b"))
TOPOLOGIES = st.builds(Topology, region=NAMES, zone=NAMES, rack=NAMES, island=NAMES)
SITES = st.tuples(
    st.integers(0, 4),
    TOPOLOGIES,
    st.sampled_from(Lifecycle),
    st.sampled_from(((), (("disk", "nvme"),), (("disk", "hdd"), ("old", "")))),
    st.sampled_from(((), (), ("gpu",), ("team=a",))),
    st.sampled_from(("e1", "e1", "e2")),
)
SELECTORS = st.builds(Selector, st.sampled_from(("disk", "old")), st.sampled_from(((), ("nvme",))), st.booleans())
APARTS = st.builds(
    lambda kind, level: replace(kind, level=level),
    st.sampled_from((Apart("array"), Apart("label", "team"), Apart("label", "team", "a"))),
    st.sampled_from(LEVELS),
)
WHERES = st.builds(
    Where,
    st.lists(SELECTORS, max_size=1).map(tuple),
    zones=st.sampled_from(((), (), ("a",), ("a", "b"))),
    tolerates=st.sampled_from(((), ("gpu",), ("team",), ("*",))),
    spot=st.booleans(),
    apart=st.lists(APARTS, max_size=2).map(tuple),
    together=st.none() | st.builds(Together, st.sampled_from(LEVELS), st.booleans()),
)
JOBS = st.tuples(
    WHERES,
    st.sampled_from((0.5, 1, 2)),
    st.integers(1, 4),
    st.sampled_from((None, "s1", "s2")),
    st.sampled_from(((), (("team", "a"),), (("team", "b"),))),
    st.sampled_from((PriorityClass.MEDIUM, PriorityClass.LOW)),
)


def a_site(index: int, site: tuple) -> Node:
    gpus, topology, lifecycle, labels, taints, executor = site
    return a_node(
        f"n{index}", gpus, executor=ExecutorId(executor), topology=topology, lifecycle=lifecycle, labels=labels,
        taints=taints,
    )  # fmt: skip


def a_wish(index: int, wish: tuple) -> Job:
    where, gpus, count, array, labels, cls = wish
    role = Role(count=count, request=a_request(gpus))
    element = ArrayIndex(array, index, 9) if array else None
    return a_job(f"j{index}", role, cls=cls, where=where, array=element, labels=labels)


def met(apart: Apart, job: Job, other: Job) -> bool:
    """Whether a job that asks for ``apart`` keeps away from another."""
    if apart.of == "array":
        return job.array is not None and other.array is not None and job.array.array == other.array.array
    return any(key == apart.key and apart.value in ("", value) for key, value in other.labels)


def broken(job: Job, placement: Placement, nodes: dict[str, Node], placed: list[tuple[Job, Placement]]) -> list[str]:
    """Constraints that a placement breaks, given what was placed before it."""
    here, wrong = [nodes[task.node] for task in placement], list[str]()
    wrong += [f"not on {node.id}" for node in here if not permits(job.where, node)]
    for apart in job.where.apart:
        own = {domain_of(node, apart.level) for node in here}
        for other, there in placed:
            if met(apart, job, other) and own & {domain_of(nodes[task.node], apart.level) for task in there}:
                wrong.append(f"not with {other.id}")
    together = job.where.together
    if together is not None and together.required and len({domain_of(node, together.level) for node in here}) > 1:
        wrong.append(f"not in one {together.level}")
    return wrong


@given(st.lists(SITES, min_size=1, max_size=6), st.lists(JOBS, min_size=1, max_size=7))
def test_what_starts_stands_where_it_may_and_everybody_else_knows_why(sites: list, wishes: list) -> None:
    it = Rehearsal()
    nodes = [a_site(index, site) for index, site in enumerate(sites)]
    it.nodes(*nodes)
    jobs = {job.id: job for job in (a_wish(index, wish) for index, wish in enumerate(wishes))}
    by_name = {node.id: node for node in nodes}
    it.tell(*map(submitted, jobs.values()))
    placed: list[tuple[Job, Placement]] = []
    for _ in range(3):
        for action in it.decide().actions:
            if isinstance(action, Start):
                job = jobs[action.attempt.job]
                assert broken(job, action.placement, by_name, placed) == []
                placed.append((job, action.placement))
        it.prove()
        if placed:
            it.start()
            ended, _ = placed.pop(0)
            it.end(ended.id)
    it.decide()
    snap = snapshot(it.state)
    for name, job in jobs.items():
        if name in it.state.jobs and not it.phase(name).live:
            shape = shape_of(job)
            assert it.why(name) is not None
            assert (never_fits(snap, shape) is not None) == (not fits_when_empty(it, job))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), JOBS, st.sampled_from(PriorityClass)),
        st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from((Cause.SUCCEEDED, Cause.FAILED))),
        st.tuples(st.just("node"), st.integers(0, 4), SITES),
        st.tuples(st.just("cordon"), st.integers(0, 4), st.booleans()),
        st.tuples(st.just("lose"), st.integers(0, 4), st.none()),
    ),
    min_size=3,
    max_size=14,
)


@given(st.lists(SITES, min_size=2, max_size=5), STEPS)
def test_whatever_happens_nobody_is_placed_where_it_may_not_run(sites: list, steps: list) -> None:
    it = Rehearsal()
    it.nodes(*(a_site(index, site) for index, site in enumerate(sites)))
    for number, (what, first, second) in enumerate(steps):
        running = [name for name in it.state.jobs.row_of if it.phase(name).live]
        if what == "submit":
            it.tell(submitted(replace(a_wish(number, first), priority=Priority(second), checkpoints=bool(number % 2))))
        elif what == "end" and running:
            it.end(running[first % len(running)], second, exit_code=1)
        elif what == "node":
            it.nodes(a_site(first, second))
        elif what == "cordon" and f"n{first}" in it.state.nodes:
            it.tell(NodeCordoned(NodeId(f"n{first}"), second))
        elif what == "lose":
            it.tell(NodeGone(NodeId(f"n{first}")))
        before = [(name, it.state.jobs.placement[row]) for name, row in it.state.jobs.row_of.items()]
        placed = [(it.state.jobs.job(it.state.jobs.row_of[name]), placement) for name, placement in before if placement]
        by_name = {it.state.nodes.id_of(row): it.state.nodes.node(row) for row in it.state.nodes.rows()}
        plan = it.decide()
        for action in plan.actions:
            if isinstance(action, Start | Hold):
                name = action.attempt.job if isinstance(action, Start) else action.job
                row = it.state.jobs.row_of[name]
                held = isinstance(action, Start) and action.reason.policy == "held"
                stopped = {a.attempt.job for a in plan.actions if isinstance(a, Stop)}
                others = [(job, there) for job, there in placed if job.id not in (name, *stopped)]
                # What was held is taken as it was decided, though nodes may have changed their labels since.
                assert held or broken(it.state.jobs.job(row), action.placement, by_name, others) == []
                placed.append((it.state.jobs.job(row), action.placement))
        it.prove()
        it.start()


def fits_when_empty(it: Rehearsal, job: Job) -> bool:
    """Whether a job of one role starts alone on the same nodes, with nobody to keep apart from."""
    alone = Rehearsal()
    alone.nodes(*(it.state.nodes.node(row) for row in it.state.nodes.rows()))
    alone.tell(submitted(job))
    return any(isinstance(action, Start) for action in alone.decide().actions)


@given(st.lists(SITES, min_size=1, max_size=80), st.lists(JOBS, min_size=1, max_size=12))
def test_the_kernel_looks_at_the_nodes_that_its_plain_twin_may_use(sites: list, wishes: list) -> None:
    it = Rehearsal()
    it.nodes(*(a_site(index, (*site[:5], "e1")) for index, site in enumerate(sites)))
    plain = [(replace(wish[0], apart=(), together=None), wish[1], 1, *wish[3:]) for wish in wishes]
    it.tell(*(submitted(a_wish(index, wish)) for index, wish in enumerate(plain)))
    snap = snapshot(it.state)
    trial, twin = Trial(snap), Trial(snap)
    line = Line(snap, trial, Policy())
    assert not list(line.walk_fast()), "nothing here needs the slow path"
    got = {at: placement for at, placement, _ in line.placed()}
    for at in range(len(line)):
        outcome = place(snap, twin, Policy(), snap.groups.group(int(line.groups[at])).shape)
        assert got.get(at) == (outcome.placement if isinstance(outcome, Fitted) else None)
        assert (line.answers[at] == PLACED) == (at in got)


@given(st.lists(SITES, min_size=1, max_size=10), st.sampled_from(LEVELS), st.integers(2, 6), st.booleans())
def test_a_gang_goes_to_the_tightest_of_the_smallest_domains(
    sites: list, level: Level, count: int, required: bool
) -> None:
    it = Rehearsal()
    nodes = [a_site(index, site) for index, site in enumerate(sites)]
    it.nodes(*nodes)
    where = Where(spot=True, tolerates=("*",), together=Together(level, required))
    it.tell(submitted(a_job("j", Role(count=count, request=a_request(1)), where=where)))
    snap = snapshot(it.state)
    outcome = place(snap, Trial(snap), Policy(), snap.groups.shapes.shapes[0])
    levels = LEVELS[: LEVELS.index(level) + 1] if required else LEVELS
    for each in levels:
        room: dict[tuple[str, ...], int] = {}
        for node in nodes:
            domain = domain_of(node, each)
            room[domain] = room.get(domain, 0) + node.gpus
        enough = {domain: devices for domain, devices in room.items() if devices >= count}
        if enough:
            assert isinstance(outcome, Fitted)
            [domain] = {domain_of(it.state.nodes.node(snap.nodes.row_of[t.node]), each) for t in outcome.placement}
            assert enough[domain] == min(enough.values())
            assert (f"as no {level} has room" in outcome.reason.domain) == (
                each not in LEVELS[: LEVELS.index(level) + 1]
            )
            return
    anywhere = {domain_of(node, Level.NODE)[0]: 0 for node in nodes}
    for node in nodes:
        anywhere[node.executor] += node.gpus
    assert isinstance(outcome, Fitted) == (not required and max(anywhere.values()) >= count)


@given(st.lists(SITES, min_size=1, max_size=12), st.sampled_from(LEVELS), st.integers(1, 9))
def test_the_domain_with_the_most_room_is_named(sites: list, level: Level, count: int) -> None:
    it = Rehearsal()
    nodes = [a_site(index, site) for index, site in enumerate(sites)]
    it.nodes(*nodes)
    snap = snapshot(it.state)
    room = fit.room(snap.nodes, fit.whole_capacity(snap), a_request(1))
    placed, name = near.most_room(snap, [(room, count)], level)
    by_domain: dict[tuple[str, ...], int] = {}
    for node in nodes:
        domain = domain_of(node, level)
        by_domain[domain] = by_domain.get(domain, 0) + node.gpus
    assert placed == min(max(by_domain.values()), count)
    assert any(domain[-1] == name.split()[-1] and devices >= placed for domain, devices in by_domain.items())
