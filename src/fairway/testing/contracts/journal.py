"""What every journal must do, whatever it writes to.

A test module makes its journal pass by subclassing the suite and giving it a harness, a place that outlives leaders::

    class TestSqliteStore(JournalContract):
        @pytest.fixture
        def harness(self, tmp_path):
            return SqliteHarness(tmp_path)
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from fairway.engine.ports import Journal
from fairway.model.errors import CorruptJournal, InvalidField, StaleEpoch, StoreFull
from fairway.model.facts import CancelAsked, Facts, JobSubmitted, QueueSet
from fairway.model.ids import JobId, QueueId
from fairway.model.job import Job
from fairway.model.queue import Queue
from fairway.model.time import Instant
from fairway.testing.strategies import batches


class JournalHarness(Protocol):
    """One place for a journal."""

    def lead(self) -> Journal:
        """A new leader at this place, as after a crash of the one before, which may still be there and write."""
        ...

    def full(self) -> AbstractContextManager[None]:
        """While it lasts, nothing can be written at this place."""
        ...

    def damage(self, seq: int) -> None:
        """Spoil committed frame ``seq``, as a failing disk would."""
        ...

    def fresh(self) -> "JournalHarness":
        """Another, empty place."""
        ...

    def discard(self) -> None:
        """Close everything."""
        ...


def batch(now: int) -> Facts:
    """A batch that is like no other."""
    return Facts(Instant(now), (CancelAsked(JobId(f"job-{now}"), by="somebody"),))


def committed(journal: Journal, first: int, last: int) -> list[tuple[int, Facts]]:
    """Append and commit ``batch(first)`` ... ``batch(last)``, one commit each."""
    frames: list[tuple[int, Facts]] = []
    for now in range(first, last + 1):
        frames.append((journal.append(batch(now)), batch(now)))
        journal.commit()
    return frames


class JournalContract:
    """The suite. Subclasses define the fixture ``harness``, one new place per test."""

    # -- order ----------------------------------------------------------------------------------------------------

    def test_an_empty_journal_has_nothing(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        assert list(journal.tail(0)) == []
        assert journal.newest_checkpoint() is None

    def test_frames_are_numbered_from_1_without_a_gap(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        assert [journal.append(batch(1)), journal.append(batch(2))] == [1, 2]
        journal.commit()
        assert journal.append(batch(3)) == 3
        journal.commit()
        assert list(journal.tail(0)) == [(seq, batch(seq)) for seq in (1, 2, 3)]
        assert harness.lead().append(batch(4)) == 4

    def test_a_tail_begins_after_what_is_known(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        frames = committed(journal, 1, 5)
        assert list(journal.tail(3)) == frames[3:]
        assert list(journal.tail(5)) == []

    def test_a_long_tail_is_whole(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        for now in range(1, 2001):
            journal.append(batch(now))
        journal.commit()
        assert [seq for seq, _ in journal.tail(0)] == list(range(1, 2001))

    def test_a_tail_may_be_read_while_more_is_written(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        committed(journal, 1, 3)
        tail = iter(journal.tail(0))
        assert next(tail) == (1, batch(1))
        committed(journal, 4, 4)
        assert [seq for seq, _ in tail] in ([2, 3], [2, 3, 4])

    def test_every_kind_of_fact_survives(self, harness: JournalHarness) -> None:
        facts = Facts(
            Instant(7),
            (QueueSet(Queue(QueueId("a/b"), weight=2.5)), JobSubmitted(Job(JobId("j-1"), "j", QueueId("a/b")))),
        )
        journal = harness.lead()
        journal.append(facts)
        journal.commit()
        assert list(harness.lead().tail(0)) == [(1, facts)]

    # -- durability -----------------------------------------------------------------------------------------------

    def test_what_was_not_committed_is_not_there_after_a_crash(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        frames = committed(journal, 1, 2)
        journal.append(batch(3))
        successor = harness.lead()
        assert list(successor.tail(0)) == frames
        assert successor.append(batch(9)) == 3

    def test_what_was_not_committed_is_not_in_the_tail(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        journal.append(batch(1))
        assert list(journal.tail(0)) == []

    def test_an_empty_commit_changes_nothing(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        journal.commit()
        journal.commit()
        assert journal.append(batch(1)) == 1

    def test_a_failed_commit_drops_what_was_appended_and_the_journal_goes_on(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        frames = committed(journal, 1, 3)
        with harness.full():
            assert journal.append(batch(99)) == 4
            assert journal.append(batch(100)) == 5
            with pytest.raises(StoreFull):
                journal.commit()
            assert list(journal.tail(0)) == frames
        assert list(journal.tail(0)) == frames
        assert committed(journal, 4, 4) == [(4, batch(4))]
        assert [seq for seq, _ in harness.lead().tail(0)] == [1, 2, 3, 4]

    def test_it_may_fail_many_times(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        with harness.full():
            for now in range(5):
                journal.append(batch(now))
                with pytest.raises(StoreFull):
                    journal.commit()
        assert committed(journal, 1, 2) == [(1, batch(1)), (2, batch(2))]

    # -- one leader -----------------------------------------------------------------------------------------------

    def test_a_new_leader_stops_the_old_one(self, harness: JournalHarness) -> None:
        old = harness.lead()
        frames = committed(old, 1, 2)
        new = harness.lead()
        old.append(batch(3))
        with pytest.raises(StaleEpoch):
            old.commit()
        assert list(new.tail(0)) == frames

    def test_a_stopped_leader_stays_stopped(self, harness: JournalHarness) -> None:
        old = harness.lead()
        new = harness.lead()
        frames = committed(new, 1, 3)
        for _ in range(3):
            old.append(batch(9))
            with pytest.raises(StaleEpoch):
                old.commit()
        assert list(new.tail(0)) == frames
        assert new.append(batch(4)) == 4

    def test_an_old_leader_cannot_write_a_checkpoint(self, harness: JournalHarness) -> None:
        old = harness.lead()
        committed(old, 1, 2)
        new = harness.lead()
        with pytest.raises(StaleEpoch):
            old.checkpoint(2, b"old")
        assert new.newest_checkpoint() is None

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def test_the_newest_checkpoint_is_kept(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        committed(journal, 1, 5)
        for seq in (1, 3, 5):
            journal.checkpoint(seq, b"state %d" % seq)
        assert journal.newest_checkpoint() == (5, b"state 5")
        assert harness.lead().newest_checkpoint() == (5, b"state 5")

    def test_a_checkpoint_may_be_written_again(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        committed(journal, 1, 1)
        journal.checkpoint(1, b"a")
        journal.checkpoint(1, b"b")
        assert journal.newest_checkpoint() == (1, b"b")

    def test_a_checkpoint_of_what_is_not_committed_is_refused(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        committed(journal, 1, 1)
        journal.append(batch(2))
        with pytest.raises(InvalidField):
            journal.checkpoint(2, b"too early")
        assert journal.newest_checkpoint() is None
        journal.commit()
        journal.checkpoint(2, b"now")
        assert journal.newest_checkpoint() == (2, b"now")

    def test_a_failed_checkpoint_leaves_the_one_before(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        committed(journal, 1, 2)
        journal.checkpoint(1, b"one")
        with harness.full(), pytest.raises(StoreFull):
            journal.checkpoint(2, b"two" * 100_000)
        assert journal.newest_checkpoint() == (1, b"one")
        assert [seq for seq, _ in journal.tail(1)] == [2]

    # -- damage ---------------------------------------------------------------------------------------------------

    def test_a_damaged_frame_is_named_after_all_before_it(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        frames = committed(journal, 1, 6)
        harness.damage(5)
        tail = iter(harness.lead().tail(0))
        assert [next(tail) for _ in range(4)] == frames[:4]
        with pytest.raises(CorruptJournal, match="frame 5"):
            next(tail)

    def test_a_damaged_frame_that_a_checkpoint_stands_for_does_not_matter(self, harness: JournalHarness) -> None:
        journal = harness.lead()
        frames = committed(journal, 1, 4)
        journal.checkpoint(3, b"three")
        harness.damage(2)
        successor = harness.lead()
        assert successor.newest_checkpoint() == (3, b"three")
        assert list(successor.tail(3)) == frames[3:]

    # -- any order of all of it -----------------------------------------------------------------------------------

    def test_it_behaves_as_a_list(self, harness: JournalHarness) -> None:
        """Against a plain list, under any sequence of appends, commits, failures, crashes and takeovers."""

        class Machine(JournalMachine):
            place = staticmethod(harness.fresh)

        run_state_machine_as_test(Machine, settings=STEPS)


STEPS = settings(max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class JournalMachine(RuleBasedStateMachine):
    """A journal and the list it must equal."""

    place: Callable[[], JournalHarness]

    def __init__(self) -> None:
        super().__init__()
        self.harness = self.place()
        self.journal = self.harness.lead()
        self.durable: list[Facts] = []
        self.pending: list[Facts] = []
        self.checkpoint: tuple[int, bytes] | None = None

    @rule(facts=batches(max_size=2))
    def append(self, facts: Facts) -> None:
        self.pending.append(facts)
        assert self.journal.append(facts) == len(self.durable) + len(self.pending)

    @rule()
    def commit(self) -> None:
        self.journal.commit()
        self.durable += self.pending
        self.pending = []

    @rule(facts=batches(max_size=1))
    def fail(self, facts: Facts) -> None:
        self.journal.append(facts)
        with self.harness.full(), pytest.raises(StoreFull):
            self.journal.commit()
        self.pending = []

    @rule()
    def crash(self) -> None:
        self.journal = self.harness.lead()
        self.pending = []

    @rule()
    def take_over(self) -> None:
        old, self.journal = self.journal, self.harness.lead()
        old.append(Facts(Instant(0)))
        with pytest.raises(StaleEpoch):
            old.commit()
        self.pending = []

    @rule(state=st.binary(max_size=20))
    def write_checkpoint(self, state: bytes) -> None:
        self.checkpoint = (len(self.durable), state)
        self.journal.checkpoint(*self.checkpoint)

    @invariant()
    def equals_the_list(self) -> None:
        assert list(self.journal.tail(0)) == list(enumerate(self.durable, 1))
        assert self.journal.newest_checkpoint() == self.checkpoint

    def teardown(self) -> None:
        self.harness.discard()
