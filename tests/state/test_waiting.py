"""Jobs that wait for other jobs, for a place in their array, or for a person: they start when they may, not before."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fairway.model import facts as f
from fairway.model.ids import JobId, NodeId
from fairway.model.job import ArrayIndex, Dependency, Job
from fairway.model.phases import Cause, JobPhase
from fairway.model.reasons import ArrayFull, Kept, WaitingFor
from fairway.model.time import Instant
from fairway.state.apply import apply
from fairway.state.check import check
from fairway.state.cluster import KEEP_ENDED, ClusterState
from fairway.state.codec import dump, load
from fairway.state.snapshot import snapshot
from fairway.testing.builders import EXECUTOR, Rehearsal, a_job, a_node, a_request, submitted

CORE = a_request(cpu=1)
MANY = KEEP_ENDED + 5000


def cluster(gpus: int = 8) -> Rehearsal:
    it = Rehearsal()
    it.nodes(a_node("n1", gpus))
    return it


def element(index: int, size: int, limit: int | None = None) -> Job:
    return a_job(f"s.{index}", CORE, array=ArrayIndex("s", index, size, limit))


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[tuple[Dependency, ...], bool]]:
    """For each job: what it comes after among those before it, and whether it succeeds when it runs."""
    graph: list[tuple[tuple[Dependency, ...], bool]] = []
    for index in range(draw(st.integers(1, 9))):
        targets = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set[int]()
        after = tuple(
            Dependency(
                JobId(f"j{target}"),
                draw(st.sampled_from(("succeeded", "ended"))),
                draw(st.sampled_from(("fail", "wait"))),
            )
            for target in sorted(targets)
        )
        graph.append((after, draw(st.booleans())))
    return graph


def fates(graph: list[tuple[tuple[Dependency, ...], bool]]) -> list[str]:
    """What must become of each job, link by link: it runs and succeeds or fails, ends without running, or waits."""
    found: list[str] = []
    for after, succeeds in graph:
        met = stuck = True
        dead = False
        stuck = False
        for each in after:
            target = found[int(each.job[1:])]
            if target == "waits":
                stuck = True
            elif target != "succeeded" and each.when == "succeeded":
                met = False
                dead |= each.otherwise == "fail"
        # One that waits for somebody who never ends may still learn that another one failed.
        found.append("dead" if dead else "waits" if stuck or not met else "succeeded" if succeeds else "failed")
    return found


@given(graphs(), st.integers(0, 1 << 16))
def test_a_graph_runs_in_its_order_and_fails_along_its_links(
    graph: list[tuple[tuple[Dependency, ...], bool]], seed: int
) -> None:
    it, rng = cluster(), Random(seed)
    it.tell(*(submitted(a_job(f"j{i}", CORE, after=after)) for i, (after, _) in enumerate(graph)))
    ended: set[str] = set()
    while True:
        it.decide()
        it.prove()
        live = [it.state.jobs.id_of(row) for row in it.state.jobs.rows() if it.state.jobs.phase_of(row).live]
        for name in live:
            assert {each.job for each in graph[int(name[1:])][0]} <= ended, f"{name} runs too early"
        if not live:
            break
        name = rng.choice(live)
        it.end(name, Cause.SUCCEEDED if graph[int(name[1:])][1] else Cause.FAILED, exit_code=1)
        ended = {str(name) for name in it.state.ended}
        if rng.random() < 0.3:
            it.restart()
    for index, fate in enumerate(fates(graph)):
        phase, record = it.phase(f"j{index}"), it.state.ended.get(JobId(f"j{index}"))
        assert phase is {"succeeded": JobPhase.SUCCEEDED, "waits": JobPhase.WAITING}.get(fate, JobPhase.FAILED)
        assert (record is not None and record.outcome.cause is Cause.DEPENDENCY) == (fate == "dead")


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 1 << 16))
def test_no_more_elements_run_than_may_and_all_of_them_end(size: int, limit: int, seed: int) -> None:
    it, rng = cluster(), Random(seed)
    it.tell(*(submitted(element(index, size, limit)) for index in range(size)))
    while it.state.jobs.row_of:
        it.decide()
        it.prove()
        live = [it.state.jobs.id_of(row) for row in it.state.jobs.rows() if it.state.jobs.phase_of(row).live]
        assert len(live) == min(limit, len(it.state.jobs.row_of))
        it.start()  # a start that came to nothing would back off
        it.end(rng.choice(live), rng.choice((Cause.SUCCEEDED, Cause.NODE_LOST)))
    assert it.state.ended_arrays == {"s": 0}


def test_elements_that_do_not_fit_do_not_keep_others_from_starting_beyond_the_limit() -> None:
    it = cluster()
    it.tell(*(submitted(element(index, 4, 2)) for index in range(4)))
    it.decide()
    it.tell(f.JobHeld(JobId("s.0")), f.JobHeld(JobId("s.3")))
    it.start()
    it.end("s.0", Cause.NODE_LOST)
    assert isinstance(it.why("s.0"), Kept)
    it.decide()
    assert [it.phase(f"s.{i}").live for i in range(4)] == [False, True, True, False]
    it.tell(f.JobReleased(JobId("s.0")))
    assert isinstance(it.why("s.0"), ArrayFull)
    it.prove()


def test_dependents_are_not_looked_at_by_a_decision() -> None:
    state = ClusterState()
    after = (Dependency(JobId("first")),)
    jobs = [a_job("first", CORE), *(a_job(f"j{i}", CORE, after=after) for i in range(MANY))]
    apply(state, f.Facts(Instant(1), tuple(map(submitted, jobs))))
    assert state.groups.ready == 1  # of all of them, one is in line
    assert not state.timers
    apply(state, f.Facts(Instant(2), (f.CancelAsked(JobId("first")),)))
    assert not state.jobs.row_of
    assert not state.dependents


def test_a_chain_fails_without_recursion() -> None:
    state = ClusterState()
    links = [
        a_job("j0", CORE),
        *(a_job(f"j{i}", CORE, after=(Dependency(JobId(f"j{i - 1}")),)) for i in range(1, 5000)),
    ]
    apply(state, f.Facts(Instant(1), tuple(map(submitted, links))))
    apply(state, f.Facts(Instant(2), (f.CancelAsked(JobId("j0")),)))
    assert {record.phase for record in state.ended.values()} == {JobPhase.CANCELLED, JobPhase.FAILED}
    assert len(state.ended) == 5000
    assert len(state.ended[JobId("j4999")].outcome.message) < 100


def test_a_dependency_that_is_not_known_says_so() -> None:
    it = cluster()
    it.tell(submitted(a_job("j", CORE, after=(Dependency(JobId("nobody")),))))
    assert it.state.ended[JobId("j")].outcome == f.Outcome(
        Cause.DEPENDENCY, message="it was to come after nobody, which is not known"
    )


def test_a_late_success_lets_those_go_on_that_chose_to_wait() -> None:
    it = cluster()
    after = (Dependency(JobId("first"), otherwise="wait"),)
    it.tell(submitted(a_job("first", CORE)), submitted(a_job("then", CORE, after=after)))
    it.decide()
    it.start()
    lost = it.attempt("first")
    it.tell(f.NodeGone(NodeId("n1")))
    it.nodes(a_node("n1", 8))
    it.decide()
    it.end("first", Cause.FAILED, exit_code=1)
    assert it.why("then") == WaitingFor((JobId("first"),), failed=JobId("first"))
    it.tell(f.AttemptEnded(lost, EXECUTOR, 99, it.state.now, f.Outcome(Cause.SUCCEEDED, 0)))
    assert it.phase("first") is JobPhase.SUCCEEDED
    assert it.phase("then") is JobPhase.QUEUED
    it.prove()


def test_an_older_checkpoint_without_counts_is_counted_anew() -> None:
    it = cluster()
    it.tell(*(submitted(element(index, 3)) for index in range(3)))
    it.decide()
    it.end("s.0")
    kept = dump(it.state).replace(b'"arrays":[{"id":"s","size":3,"limit":null,"ended":1,"failed":0}]', b'"arrays":[]')
    assert kept != dump(it.state)
    restored = load(kept)
    assert check(restored) == []
    assert restored.arrays[JobId("s")].ended == 1


def test_a_held_job_waits_and_goes_on_where_it_stood() -> None:
    it = cluster()
    it.tell(submitted(a_job("a", a_request(8))), submitted(a_job("b", a_request(8))), f.JobHeld(JobId("a"), "ada"))
    it.decide()
    assert str(it.why("a")) == "held by ada"
    assert it.phase("b") is JobPhase.STARTING
    it.tell(f.JobReleased(JobId("a")), f.JobReleased(JobId("a")), f.JobReleased(JobId("nobody")))
    it.start()
    it.end("b", Cause.NODE_LOST)
    it.decide()
    assert it.phase("a") is JobPhase.STARTING
    assert snapshot(it.state).groups.pending.sum() == 1
    it.prove()
