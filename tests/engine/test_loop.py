from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from fairway.engine.commands import Command, ForgetAttempt, StartAttempt, StopAttempt
from fairway.engine.loop import Loop, run
from fairway.engine.memory_journal import Disk, MemoryJournal
from fairway.model import facts as f
from fairway.model.errors import StaleEpoch, StoreFull
from fairway.model.ids import AttemptId, JobId
from fairway.model.phases import Cause, JobPhase
from fairway.model.plan import Plan
from fairway.model.policy import Policy
from fairway.model.time import Duration, Instant
from fairway.state.cluster import ClusterState
from fairway.state.codec import digest
from tests.engine.small_world import SmallWorld, job, looped

FIRST = AttemptId(JobId("j1"), 1)


def submitted(name: str = "j1", **kwargs: object) -> f.JobSubmitted:
    return f.JobSubmitted(job(name, **kwargs))


def world(*script: tuple[int, tuple[f.Fact, ...]]) -> SmallWorld:
    small = SmallWorld([*script])
    small.script.insert(0, (1_000, (small.inventory(),)))
    return small


def play(loop: Loop, *, until_ended: bool = True) -> None:
    """Turns until the world is over; what runs ends well as soon as it is started."""
    small = loop.world
    assert isinstance(small, SmallWorld)
    for facts in small.facts():
        loop.turn(facts)
        if until_ended:
            for attempt, run_ in small.runs.items():
                if run_.outcome is None:
                    small.end(attempt, f.Outcome(Cause.SUCCEEDED, 0))


def test_a_job_goes_from_its_submission_to_its_end_and_is_forgotten() -> None:
    loop = looped(world((2_000, (submitted(),))))
    play(loop)
    assert loop.state.ended[JobId("j1")].phase is JobPhase.SUCCEEDED
    assert [command.attempt for command in loop.world.of(StartAttempt)] == [FIRST]
    assert loop.world.of(ForgetAttempt) == [ForgetAttempt("local", FIRST)]
    assert loop.world.runs == {}


def test_an_idle_tick_writes_nothing_and_changes_nothing() -> None:
    loop = looped(world())
    play(loop)
    before, frames = digest(loop.state), loop.seq
    for now in range(5_000, 50_000, 1_000):
        loop.turn(f.Facts(Instant(now)))
    assert (digest(loop.state), loop.seq, loop.journal.last) == (before, frames, frames)


def test_a_timer_that_goes_off_is_written_down() -> None:
    loop = looped(world((2_000, (submitted(not_before=Instant(9_000)),))))
    play(loop)
    assert loop.state.ended[JobId("j1")].first_started is not None
    ticks = [facts.now for _, facts in loop.journal.tail(0) if not facts.items]
    assert ticks == [9_000]


def test_time_that_steps_back_stands_still() -> None:
    loop = looped(world())
    loop.turn(f.Facts(Instant(50_000), (submitted(),)))
    loop.turn(f.Facts(Instant(10), (submitted("j2"),)))
    assert loop.state.now == 50_000
    assert [facts.now for _, facts in loop.journal.tail(0)] == sorted(f.now for _, f in loop.journal.tail(0))


def test_nothing_is_sent_or_shown_before_it_is_durable() -> None:
    @dataclass
    class Watch(SmallWorld):
        journal: MemoryJournal = field(default_factory=MemoryJournal)

        def send(self, commands: Sequence[Command]) -> None:
            assert self.journal.last == len(self.journal.disk.frames)
            super().send(commands)

        def fold(self, seq: int, now: int, state: ClusterState) -> None:
            assert seq == len(self.journal.disk.frames)
            shown.append((seq, tuple(state.news.jobs)))

    shown: list[tuple[int, tuple[str, ...]]] = []
    watch = Watch([(2_000, (submitted(),))])
    watch.script.insert(0, (1_000, (watch.inventory(),)))
    loop = looped(watch, [watch], journal=watch.journal)
    play(loop)
    assert len(watch.of(StartAttempt)) == 1
    assert [seq for seq, jobs in shown if jobs] == sorted({seq for seq, jobs in shown if jobs})


@pytest.mark.parametrize("error", [StoreFull, StaleEpoch])
def test_a_commit_that_fails_sends_nothing(error: type[Exception]) -> None:
    small = world((2_000, (submitted(),)))
    disk = Disk()
    loop = looped(small, journal=MemoryJournal(disk))
    batches = small.facts()
    loop.turn(next(batches))
    sent = len(small.sent)
    if error is StoreFull:
        disk.full = True
    else:
        disk.epoch += 1
    with pytest.raises(error):
        loop.turn(next(batches))
    assert (len(small.sent), len(disk.frames)) == (sent, loop.seq - 2)


def test_a_world_that_accepts_nothing_starts_nothing() -> None:
    small = world((2_000, (submitted(),)))
    small.accepts = False
    loop = looped(small)
    play(loop)
    assert small.of(StartAttempt) == []
    assert loop.state.jobs.phase_of(loop.state.jobs.row_of[JobId("j1")]) is JobPhase.QUEUED


def test_a_job_that_runs_too_long_is_stopped_by_time_alone() -> None:
    loop = looped(world((2_000, (submitted(max_runtime=Duration(7_000)),))))
    play(loop, until_ended=False)
    stop = next(at for at, command in loop.world.sent if isinstance(command, StopAttempt))
    assert stop == loop.state.ended[JobId("j1")].first_started + 7_000
    assert loop.state.ended[JobId("j1")].outcome.cause is Cause.TIMED_OUT


def test_checkpoints_come_every_so_many_facts_and_rarer_for_a_large_state() -> None:
    small = world(*((2_000 + i, (submitted(f"j{i}", not_before=Instant(10**6)),)) for i in range(250)))
    journal, kept = MemoryJournal(), list[int]()
    loop = Loop(ClusterState(), small, journal, Policy(), checkpoint_every=7)
    for facts in small.facts():
        if facts.now < 10**6:
            loop.turn(facts)
            kept += [seq for seq in journal.disk.checkpoints if seq not in kept]
    gaps = [b - a for a, b in pairwise(kept)]
    assert len(gaps) >= 2
    assert gaps[0] >= 7
    assert gaps == sorted(gaps), "the more jobs, the rarer"


def test_a_loop_that_was_recovered_counts_what_it_replayed() -> None:
    loop = Loop(ClusterState(), world(), MemoryJournal(), Policy(), checkpoint_every=5, since=4)
    loop.turn(next(loop.world.facts()))
    assert loop.journal.newest_checkpoint() is not None


def test_a_decision_can_be_replaced() -> None:
    asked: list[Instant] = []

    def nothing(snapshot: object, policy: Policy) -> Plan:
        asked.append(snapshot.now)  # type: ignore[attr-defined]
        return Plan()

    small = world((2_000, (submitted(),)), (3_000, ()))
    run(ClusterState(), small, MemoryJournal(), Policy(), decide=nothing)
    assert asked == [1_000, 2_000, 3_000], "an idle tick is decided on too, at its own instant"
    assert small.of(StartAttempt) == []
