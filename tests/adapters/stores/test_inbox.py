"""Durable intake: what was acknowledged is given to a leader exactly once, whoever puts and however often."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.adapters.stores.inbox import Entry, Inbox
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.model.errors import Conflict, CorruptJournal, StoreError
from fairway.testing.contracts.journal import batch
from tests.adapters.stores.places import child, spoil


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fairway.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore.open(path) as store:
        yield store


@pytest.fixture
def inbox(path: Path) -> Iterator[Inbox]:
    with Inbox(path) as inbox:
        yield inbox


def move(store: SqliteStore, limit: int = 100) -> list[int]:
    """What a leader does: take, append, say so, commit."""
    rows = store.take(limit)
    for row in rows:
        store.append(batch(row.seq))
    if rows:
        store.consumed(rows[-1].seq)
    store.commit()
    return [row.seq for row in rows]


# -- order and consumption ----------------------------------------------------------------------------------------


def test_rows_come_out_in_the_order_they_went_in(store: SqliteStore, inbox: Inbox) -> None:
    assert [inbox.put(None, b"a"), inbox.put(None, b"b", "facts"), inbox.put(None, b"c", "other")] == [1, 2, 3]
    assert store.take(2) == [(1, "facts", b"a"), (2, "facts", b"b")]
    assert store.take(10)[2] == (3, "other", b"c")


def test_rows_are_given_until_their_frames_are_durable(path: Path, store: SqliteStore, inbox: Inbox) -> None:
    inbox.put_many([Entry(f"t{n}", b"x") for n in range(4)])
    assert [row.seq for row in store.take(2)] == [1, 2]
    assert [row.seq for row in store.take(2)] == [1, 2]
    store.append(batch(1))
    store.consumed(2)
    assert [row.seq for row in store.take(10)] == [3, 4]
    assert inbox.waiting() == 4
    store.close()
    with SqliteStore.open(path) as successor:  # the first one died before it committed
        assert move(successor) == [1, 2, 3, 4]
        assert move(successor) == []
    assert inbox.waiting() == 0


def test_a_failed_commit_gives_the_rows_again(store: SqliteStore, inbox: Inbox) -> None:
    inbox.put("t", b"x")
    store._database.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError):
        move(store)
    store._database.connection.execute("PRAGMA query_only = OFF")
    assert move(store) == [1]


def test_rows_may_be_consumed_without_a_frame(path: Path, store: SqliteStore, inbox: Inbox) -> None:
    """A row that no version understands is passed over."""
    inbox.put("t", b"?", kind="riddle")
    store.consumed(1)
    store.commit()
    assert store.take(10) == []
    assert list(store.tail(0)) == []


def test_numbers_are_not_used_twice(path: Path, store: SqliteStore, inbox: Inbox) -> None:
    inbox.put_many([Entry(None, b"x")] * 3)
    store._database.connection.execute("DELETE FROM inbox")
    assert inbox.put(None, b"y") == 4


def test_a_damaged_row_is_named_and_set_aside(path: Path, store: SqliteStore, inbox: Inbox) -> None:
    inbox.put_many([Entry(f"t{n}", b"body") for n in range(3)])
    spoil(path, "inbox", 2)
    with pytest.raises(CorruptJournal, match=r"inbox 2: .*--repair-journal"):
        store.take(10)
    assert store.quarantine_tail().inbox == (2,)
    assert [row.seq for row in store.take(10)] == [1, 3]
    assert inbox.put("t1", b"again") == 4


# -- repetition ---------------------------------------------------------------------------------------------------


def test_the_same_token_is_the_same_submission(store: SqliteStore, inbox: Inbox) -> None:
    assert [inbox.put("t", b"x"), inbox.put("t", b"x"), inbox.put("u", b"x")] == [1, 1, 2]
    assert move(store) == [1, 2]
    assert inbox.put("t", b"x") == 1
    assert move(store) == []


def test_a_token_used_for_something_else_is_a_conflict(inbox: Inbox) -> None:
    inbox.put("t", b"x")
    with pytest.raises(Conflict, match=r"token: 't' was used for a different submission \(number 1\)"):
        inbox.put("t", b"y")
    with pytest.raises(Conflict):
        inbox.put("t", b"x", kind="other")
    assert inbox.waiting() == 1


def test_without_a_token_nothing_is_the_same(inbox: Inbox) -> None:
    assert [inbox.put(None, b"x"), inbox.put(None, b"x")] == [1, 2]


def test_a_body_may_contain_its_own_number(store: SqliteStore, inbox: Inbox) -> None:
    def make(seq: int) -> bytes:
        return b'{"id":"train-%d"}' % seq

    assert inbox.put("t", make) == 1
    assert inbox.put("u", make) == 2
    assert inbox.put("t", make) == 1
    assert [row.body for row in store.take(10)] == [b'{"id":"train-1"}', b'{"id":"train-2"}']


def test_what_makes_a_repetition_the_same_may_be_less_than_the_body(store: SqliteStore, inbox: Inbox) -> None:
    """A client that asks again sends the same manifest, but the body holds the time of acceptance."""
    assert inbox.put("t", lambda seq: b"%d at 10:00" % seq, same=b"manifest") == 1
    assert inbox.put("t", lambda seq: b"%d at 10:05" % seq, same=b"manifest") == 1
    with pytest.raises(Conflict):
        inbox.put("t", lambda seq: b"%d at 10:00" % seq, same=b"another manifest")
    assert [row.body for row in store.take(10)] == [b"1 at 10:00"]


def test_several_are_put_in_one_step_or_not_at_all(inbox: Inbox) -> None:
    inbox.put("old", b"x")
    assert inbox.put_many([Entry("a", b"1"), Entry("old", b"x"), Entry("b", b"2"), Entry("a", b"1")]) == [2, 1, 3, 2]
    with pytest.raises(Conflict):
        inbox.put_many([Entry("c", b"3"), Entry("old", b"other")])
    with pytest.raises(Conflict):
        inbox.put_many([Entry("d", b"4"), Entry("d", b"5")])
    assert inbox.waiting() == 3
    assert inbox.put_many([]) == []
    assert inbox.put("c", b"3") == 4


def test_the_mistake_of_one_caller_costs_the_others_nothing(inbox: Inbox) -> None:
    """Whether or not they are written in one transaction."""

    def broken(seq: int) -> bytes:
        raise ZeroDivisionError(seq)

    async def all_at_once() -> list[object]:
        inbox.put("used", b"x")
        return await asyncio.gather(
            inbox.put_async([Entry("a", b"1")]),
            inbox.put_async([Entry("b", b"2"), Entry("z", broken)]),
            inbox.put_async([Entry("used", b"y")]),
            inbox.put_async([Entry("c", b"3")]),
            return_exceptions=True,
        )

    first, crash, conflict, last = asyncio.run(all_at_once())
    assert (first, last) == ([2], [3])
    assert isinstance(crash, ZeroDivisionError)
    assert isinstance(conflict, Conflict)
    assert inbox.waiting() == 3


# -- many at once -------------------------------------------------------------------------------------------------


def test_waiting_callers_share_a_transaction(inbox: Inbox) -> None:
    """While one writes, others hand in: all of them are written by the next transaction."""
    writing, go_on = Event(), Event()

    def slow(seq: int) -> bytes:
        writing.set()
        assert go_on.wait(60)
        return b"%d" % seq

    statements: list[str] = []
    inbox._database.connection.set_trace_callback(statements.append)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(inbox.put, "slow", slow)
        assert writing.wait(60)
        assert inbox.number_of("slow") is None
        assert inbox.waiting() == 0
        handed_in = [inbox._hand_in([Entry(f"t{n}", b"x")]) for n in range(50)]
        go_on.set()
        assert first.result() == 1
        assert [answer.result() for answer in handed_in] == [[n] for n in range(2, 52)]
    assert statements.count("COMMIT") == 2
    assert inbox.waiting() == 51
    assert inbox.number_of("slow") == 1


def test_threads_coroutines_and_processes_may_put_while_a_leader_takes(path: Path, store: SqliteStore) -> None:
    others = [child(PUT, str(path), name) for name in ("p", "q")]
    with Inbox(path) as inbox:

        async def coroutines() -> list[list[int]]:
            return await asyncio.gather(*[inbox.put_async([Entry(f"c{n}", b"c%d" % n)]) for n in range(100)])

        with ThreadPoolExecutor(4) as pool:
            threads = [pool.submit(inbox.put, f"t{n}", b"t%d" % n) for n in range(100)]
            several = asyncio.run(coroutines())
            taken = move(store, 7)
            while any(other.poll() is None for other in others) or store.take(1):
                taken += move(store, 7)
            seqs = [thread.result() for thread in threads] + [seq for seqs in several for seq in seqs]
    for other in others:
        out, err = other.communicate()
        assert other.returncode == 0, err
        seqs += [int(line) for line in out.split()]
    assert sorted(seqs) == list(range(1, 401))
    assert taken == list(range(1, 401))


PUT = """
import sys
from pathlib import Path
from fairway.adapters.stores.inbox import Inbox
with Inbox(Path(sys.argv[1])) as inbox:
    for n in range(100):
        print(inbox.put(f"{sys.argv[2]}{n}", b"x"))
"""


def test_whoever_listens_hears_of_it_after_it_is_durable(path: Path, store: SqliteStore) -> None:
    heard: list[int] = []
    with Inbox(path, on_put=lambda: heard.append(len(store.take(10)))) as inbox:
        inbox.put("a", b"1")
        with pytest.raises(Conflict):
            inbox.put("a", b"2")
        inbox.put("b", b"2")
    assert heard == [1, 2]


def test_a_listener_that_fails_costs_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with Inbox(path, on_put=broken) as inbox:
        assert [inbox.put("a", b"1"), inbox.put("b", b"1")] == [1, 2]
    assert "a listener of the inbox failed" in caplog.text


def test_closing_waits_for_what_was_handed_in(path: Path, store: SqliteStore) -> None:
    inbox = Inbox(path)
    answers = [inbox._hand_in([Entry(f"t{n}", b"x")]) for n in range(200)]
    inbox.close()
    inbox.close()
    assert [answer.result() for answer in answers] == [[n] for n in range(1, 201)]
    with pytest.raises(StoreError, match="closed"):
        inbox.put("late", b"x")
    assert len(store.take(1000)) == 200


# -- a leader dies at any moment ----------------------------------------------------------------------------------


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(st.sampled_from(["put", "put again", "move", "take and die", "append and die"]), max_size=25))
def test_every_row_is_consumed_exactly_once_whenever_leaders_die(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    path = tmp_path_factory.mktemp("store") / "fairway.db"
    puts = 0
    with Inbox(path) as inbox:
        for step in steps:
            match step:
                case "put":
                    puts += 1
                    assert inbox.put(f"t{puts}", b"%d" % puts) == puts
                case "put again" if puts:
                    assert inbox.put(f"t{puts}", b"%d" % puts) == puts
                case "move":
                    with SqliteStore.open(path) as store:
                        move(store, 2)
                case "take and die":
                    with SqliteStore.open(path) as store:
                        store.take(2)
                case "append and die":
                    with SqliteStore.open(path) as store:
                        for row in store.take(2):
                            store.append(batch(row.seq))
                            store.consumed(row.seq)
                case _:
                    pass
        with SqliteStore.open(path) as store:
            while move(store):
                pass
            assert [facts.now for _, facts in store.tail(0)] == list(range(1, puts + 1))
