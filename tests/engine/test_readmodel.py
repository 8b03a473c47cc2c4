import threading
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fairway.engine.loop import Loop
from fairway.engine.readmodel import KEEP_LINES, ReadModel
from fairway.model import facts as f
from fairway.model.ids import AttemptId, JobId, QueueId, ServiceId
from fairway.model.job import ArrayIndex, Priority, PriorityClass, Role
from fairway.model.phases import Cause, JobPhase, Reach
from fairway.model.queue import Queue
from fairway.model.resources import WHOLE, Amount, Request
from fairway.model.service import Service
from fairway.model.time import Duration, Instant
from fairway.state.cluster import ClusterState
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted
from tests.engine.small_world import NODES, SmallWorld, Unruly, job, looped

GPU = (Role(request=Request(cpu_milli=1_000, gpus=2)),)
DONE = f.Outcome(Cause.SUCCEEDED, 0)


def played(*facts: f.Fact, model: ReadModel | None = None) -> tuple[Loop, ReadModel]:
    """A loop that has believed an inventory and these facts, and what it published."""
    model = model or ReadModel()
    loop = looped(SmallWorld(), [model])
    loop.turn(f.Facts(Instant(1_000), (loop.world.inventory(), *facts)))
    return loop, model


def turn(loop: Loop, at: int, *facts: f.Fact) -> None:
    """One more turn, with the executor's answers so far."""
    answers, loop.world.answers = loop.world.answers, []
    loop.world.now = at
    loop.turn(f.Facts(Instant(at), (*answers, *facts)))


def test_a_job_is_told_from_its_submission_to_its_end() -> None:
    element = ArrayIndex("sweep", 3, 8)
    loop, model = played(f.JobSubmitted(job("j1", roles=GPU, user="ada", submitted=Instant(900), array=element)))
    told = model.job(JobId("j1"))
    assert told is not None
    assert (told.phase, told.attempt, told.user, told.array) == (JobPhase.STARTING, 1, "ada", "sweep[3]")
    assert (told.request, told.priority) == ("2 GPU + 1 CPU", "medium")
    assert told.devices == (f"{told.nodes[0]}:0", f"{told.nodes[0]}:1")
    turn(loop, 2_000)
    turn(loop, 5_000, f.Progressed(AttemptId(JobId("j1"), 1), 7, 10, Instant(4_000)))
    told = model.job(JobId("j1"))
    assert told is not None
    assert (told.phase, told.started, told.run_ms, told.wait_ms) == (JobPhase.RUNNING, 1_000, 4_000, 100)
    assert (told.step, told.total, told.checkpoint_at) == (7, 10, 4_000)
    assert (told.gpu_ms, told.gpu_ms_at(6_000)) == (4_000 * 2 * WHOLE, 5_000 * 2 * WHOLE)
    loop.world.end(AttemptId(JobId("j1"), 1), DONE)
    turn(loop, 9_000)
    told = model.job(JobId("j1"))
    assert told is not None
    assert (told.phase, told.ended, told.exit_code, told.cause) == (JobPhase.SUCCEEDED, 9_000, 0, Cause.SUCCEEDED)
    assert told.nodes != ()
    assert told.run_at(10**9) == told.run_ms
    assert told.gpu_ms_at(10**9) == told.gpu_ms
    assert [line for _, line in model.story(JobId("j1"))][1] == "attempt 1 succeeded after 4s"


def test_what_waits_says_why_and_equal_jobs_share_it() -> None:
    filler = [f.JobSubmitted(job(f"fill-{i}", roles=GPU)) for i in range(2)]
    waiting = [f.JobSubmitted(job(f"wait-{i}", roles=GPU)) for i in range(3)]
    loop, model = played(*filler, *waiting)
    told = [model.job(JobId(f"wait-{i}")) for i in range(3)]
    assert {status.tier for status in told if status} == {"no room now"}
    assert {status.reason for status in told if status} == {told[0].reason if told[0] else ""}
    assert "needs 2 GPU" in told[0].reason if told[0] else False
    assert [status for status in model.jobs() if status.id == "wait-2"] == [told[2]]
    turn(loop, 2_000, f.CancelAsked(JobId("wait-0"), "ada"))
    ended = model.job(JobId("wait-0"))
    assert ended is not None
    assert (ended.phase, ended.message, ended.reason) == (JobPhase.CANCELLED, "asked by ada", "")


def test_a_job_that_waits_for_time_or_yields_says_its_own_reason() -> None:
    low = [f.JobSubmitted(job(f"low-{i}", roles=GPU, priority=Priority(PriorityClass.LOW))) for i in range(2)]
    loop, model = played(*low, f.JobSubmitted(job("later", not_before=Instant(50_000))))
    turn(loop, 2_000)
    told = model.job(JobId("later"))
    assert told is not None
    assert (told.phase, told.tier, told.until) == (JobPhase.WAITING, "waiting", 50_000)
    turn(loop, 3_000, f.JobSubmitted(job("urgent", roles=GPU, priority=Priority(PriorityClass.CRITICAL))))
    urgent = model.job(JobId("urgent"))
    victim = next(status for status in model.jobs() if status.phase is JobPhase.STOPPING)
    assert urgent is not None
    assert victim.id in urgent.reason
    assert "urgent" in victim.reason
    turn(loop, 4_000)
    yielded = model.job(victim.id)
    assert yielded is not None
    assert (yielded.tier, yielded.preemptions) == ("yielding", 1)
    story = [line for _, line in model.story(victim.id)]
    assert story[1].startswith("attempt 1 is told to stop: higher priority urgent")
    assert story[2] == "attempt 1 yielded after 2s, signal 15; lost 2s x 2 GPU"


def test_a_victim_waits_as_all_do_once_the_one_it_yielded_to_has_ended() -> None:
    it, model = Rehearsal(), ReadModel()
    it.nodes(a_node("n1", 1))
    it.tell(submitted(a_job("low", a_request(1), cls=PriorityClass.LOW)))
    it.settle()
    it.start()
    it.tell(submitted(a_job("urgent", a_request(1), cls=PriorityClass.CRITICAL)), after=600_000)
    it.settle()
    it.end("low", Cause.FAILED, signal=15)
    it.settle()
    it.start()
    it.tell(submitted(a_job("next", a_request(1), cls=PriorityClass.HIGH)))
    it.settle()
    model.fold(1, it.state.now, it.state)
    assert [status.tier for status in model.jobs() if status.id == "low"] == ["yielding"]
    it.end("urgent")
    it.settle()
    model = ReadModel()
    model.fold(2, it.state.now, it.state)
    (waits,) = [status for status in model.jobs() if status.id == "low"]
    assert waits.tier == "no room now", waits.reason


def test_queues_count_what_is_below_them() -> None:
    jobs = [f.JobSubmitted(job(f"j{i}", roles=GPU, queue=QueueId(q))) for i, q in enumerate(("a/b", "a/c", "a/b"))]
    loop, model = played(f.QueueSet(Queue(QueueId("a"), 2.0, Amount(gpu_milli=8_000))), *jobs)
    turn(loop, 2_000)
    turn(loop, 61_000, f.CancelAsked(JobId("j1")))
    told = {queue.id: queue for queue in model.queues()}
    assert list(told) == ["", "a", "a/b", "a/c"]
    assert [(told[q].pending, told[q].running) for q in ("", "a", "a/b", "a/c")] == [(1, 2), (1, 2), (1, 1), (0, 1)]
    assert (told["a"].weight, told["a"].quota.gpu_milli, told["a"].used.gpu_milli) == (2.0, 8_000, 4_000)
    assert told["a/b"].own_pending == 1
    assert (told["a"].own_pending, told["a"].limit) == (0, Amount())
    assert told["a"].gpu_hours_at(61_000) == 4 * 60 / 3600
    turn(loop, 121_000)
    assert model.queue(QueueId("a")).gpu_hours_at(121_000) == (4 * 60 + 2 * 60) / 3600  # type: ignore[union-attr]


def test_nodes_say_what_is_free_and_what_is_pretended() -> None:
    loop, model = played(f.JobSubmitted(job("j1", roles=(Role(request=Request(500, 100, 1, 400)),))))
    told = {node.id: node for node in model.nodes()}
    assert sorted(told) == [node.id for node in NODES]
    busy = next(node for node in told.values() if node.jobs)
    assert (busy.jobs, busy.devices_free, busy.free[:2]) == (("j1",), (600, 1_000), (7_500, 31_900))
    assert {name for name, node in told.items() if node.virtual} == {"n1"}
    assert model.job(JobId("j1")).virtual is (busy.id == "n1")  # type: ignore[union-attr]
    turn(loop, 2_000, f.NodeGone(busy.id), f.NodeCordoned(NODES[0].id))
    told = {node.id: node for node in model.nodes()}
    assert told[busy.id].reach is Reach.LOST
    assert told[NODES[0].id].cordoned


def test_services_say_how_many_run() -> None:
    service = Service(ServiceId("web"), QueueId("team"), 3, request=Request(1_000))
    loop, model = played(f.ServiceSet(service))
    turn(loop, 2_000)
    (told,) = model.services()
    assert (told.replicas, told.running, len(told.jobs)) == (3, 3, 3)
    turn(loop, 3_000, f.ServiceRemoved(service.id))
    assert model.services() == []


def test_old_ends_and_long_stories_are_let_go() -> None:
    loop, model = played(model=ReadModel(keep_ended=2))
    for i in range(5):
        turn(loop, 2_000 + i, f.JobSubmitted(job(f"j{i}", not_before=Instant(10**9))), f.CancelAsked(JobId(f"j{i}")))
    assert [status.id for status in model.jobs()] == ["j3", "j4"]
    assert model.job(JobId("j0")) is None
    assert model.spec(JobId("j0")) is None
    assert model.spec(JobId("j4")) is not None
    decision = f.JobSubmitted(job("often", roles=GPU))
    turn(loop, 3_000, decision)
    for n in range(1, KEEP_LINES):
        loop.world.end(AttemptId(JobId("often"), n), f.Outcome(Cause.NODE_LOST))
        turn(loop, 3_000 + n)
    story = model.story(JobId("often"))
    assert len(story) == KEEP_LINES
    assert story[-1][1].startswith(f"attempt {KEEP_LINES} starts on")


def as_told(model: ReadModel) -> object:
    """What a reader sees, less what only depends on when it was last published."""
    jobs = {job.id: (job.phase, job.attempt, job.reason, job.gpu_ms_at(10**7), job.failures) for job in model.jobs()}
    queues = {q.id: (q.pending, q.running, q.used, q.gpu_ms_at(10**7), q.own_pending) for q in model.queues()}
    return jobs, queues, model.nodes(), model.services()


@given(st.integers(0, 10_000))
def test_what_is_folded_turn_by_turn_is_what_a_fresh_look_would_show(seed: int) -> None:
    model = ReadModel()
    loop = looped(Unruly(random=Random(seed), rounds=20), [model])
    for facts in loop.world.facts():
        loop.turn(facts)
        if loop.seq:
            fresh = ReadModel()
            fresh.fold(loop.seq, loop.state.now, loop.state)
            assert as_told(model) == as_told(fresh)
            assert_gpu_time(loop.state, model)


def assert_gpu_time(state: ClusterState, model: ReadModel) -> None:
    """GPU time of the root queue, recomputed from the attempts that are live now and the books of those that ended."""
    root, jobs = model.queue(QueueId("")), state.jobs
    assert root is not None
    live = 0
    for row in jobs.rows():
        held = sum(len(task.devices) * task.gpu_milli for task in jobs.placement[row])
        live += held * (state.now - int(jobs.placed_at[row]))
    assert root.gpu_ms_at(state.now) == int(state.queues.spent[0, 2]) + live


def test_readers_in_other_threads_see_whole_values_while_the_loop_runs() -> None:
    model, stop, wrong, seen = ReadModel(keep_ended=20), threading.Event(), list[object](), list[int]()

    def read() -> None:
        while not stop.is_set():
            for status in model.jobs():
                if status.phase.ended != (status.ended is not None):
                    wrong.append(status)
                model.story(status.id)
            seen.append(len(model.queues()) + len(model.nodes()) + len(model.services()))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    loop = looped(Unruly(random=Random(3), rounds=120), [model])
    for facts in loop.world.facts():
        loop.turn(facts)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert seen, "nobody read anything"


def test_a_job_that_can_no_longer_meet_its_deadline_says_by_how_much() -> None:
    hour = 3_600_000
    blocker, wide = (Role(request=Request(gpus=count)) for count in (2, 1_000))
    loop, model = played(
        f.JobSubmitted(job("runs", roles=(blocker,), estimate=Duration(hour), deadline=Instant(1_000 + hour))),
        f.JobSubmitted(job("waits", roles=(wide,), estimate=Duration(2 * hour), deadline=Instant(1_000 + 3 * hour))),
        f.JobSubmitted(job("calm", roles=(wide,))),
    )
    turn(loop, 2_000)

    def late(name: str, now: int) -> int:
        told = model.job(JobId(name))
        assert told is not None
        return told.late_at(now)

    assert [late(name, 2_000) for name in ("runs", "waits", "calm")] == [0, 0, 0]
    assert [late(name, 1_000 + hour) for name in ("runs", "waits", "calm")] == [0, 0, 0]
    assert late("waits", 1_000 + hour + 5) == 5
    turn(loop, 1_000 + hour // 2, f.Progressed(AttemptId(JobId("runs"), 1), 1, 4))
    assert late("runs", 1_000 + hour // 2) == hour
    loop.world.end(AttemptId(JobId("runs"), 1), DONE)
    turn(loop, 9 * hour)
    assert late("runs", 9 * hour) == 0
