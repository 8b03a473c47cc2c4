"""What faces ask of the tables is answered as a plain search through all of it would."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairway.adapters.stores import views
from fairway.adapters.stores.catchup import recover_with
from fairway.adapters.stores.projection import Projection
from fairway.adapters.stores.queries import Queries, sum_usage
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.engine.loop import run
from fairway.engine.status import JobStatus
from fairway.model.errors import StoreError
from fairway.model.facts import JobSubmitted, Outcome, ServiceRemoved, ServiceSet
from fairway.model.ids import AttemptId, ExecutorId, JobId, NodeId, QueueId, ServiceId
from fairway.model.phases import Cause, JobPhase
from fairway.model.policy import Policy
from fairway.model.service import Service
from fairway.model.time import DAY, HOUR, Instant
from fairway.state.cluster import ClusterState, EndedAttempt
from tests.adapters.stores.tables import Place, live
from tests.engine.small_world import SmallWorld, job


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queries]:
    """The tables of one run, to ask."""
    place = Place(tmp_path_factory.mktemp("queries"))
    live(place, 7, rounds=100)
    with Queries(place.tables) as queries:
        yield queries


def everything(queries: Queries) -> list[JobStatus]:
    return queries.jobs(limit=1_000)


FILTERS: dict[str, tuple[dict[str, Any], Callable[[JobStatus], bool]]] = {
    "a queue and those below it": ({"queue": QueueId("a")}, lambda job: job.queue in ("a", "a/b")),
    "a queue below": ({"queue": QueueId("a/b")}, lambda job: job.queue == "a/b"),
    "the root": ({"queue": QueueId("")}, lambda job: True),
    "phases": (
        {"phases": [JobPhase.SUCCEEDED, JobPhase.FAILED]},
        lambda job: job.phase in (JobPhase.SUCCEEDED, JobPhase.FAILED),
    ),
    "all of it": (
        {"queue": QueueId("a"), "phases": [JobPhase.SUCCEEDED], "since": Instant(0), "user": ""},
        lambda job: job.queue in ("a", "a/b") and job.phase is JobPhase.SUCCEEDED,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_gives_what_it_says(queries: Queries, name: str) -> None:
    arguments, wanted = FILTERS[name]
    jobs = everything(queries)
    expected = [job for job in jobs if wanted(job)]
    assert expected
    assert name == "the root" or len(expected) < len(jobs)
    assert queries.jobs(**arguments, limit=1_000) == expected
    assert queries.jobs(**arguments, limit=3) == expected[:3]


def test_a_time_is_that_of_the_submission(queries: Queries) -> None:
    jobs = everything(queries)
    middle = jobs[len(jobs) // 2].submitted
    later = queries.jobs(since=middle, limit=1_000)
    assert later == [status for status in jobs if status.submitted >= middle]
    assert 0 < len(later) < len(jobs)


def test_a_name_or_user_nobody_has_gives_nothing(queries: Queries) -> None:
    some = everything(queries)[0]
    assert queries.jobs(name=some.name) == [some]
    assert queries.jobs(name="nobody") == queries.jobs(user="nobody") == []


def test_jobs_come_newest_first_and_page_by_page(queries: Queries) -> None:
    jobs = everything(queries)
    assert len(jobs) > 20
    assert jobs == sorted(jobs, key=lambda job: (job.submitted, job.id), reverse=True)
    pages: list[JobStatus] = []
    while page := queries.jobs(limit=7, before=(pages[-1].submitted, pages[-1].id) if pages else None):
        pages += page
    assert pages == jobs


def test_a_job_has_its_attempts_in_order(queries: Queries) -> None:
    tried = [job for job in everything(queries) if job.attempt]
    assert any(job.attempt > 1 for job in tried)
    for status in tried:
        attempts = queries.attempts(status.id)
        assert [attempt.n for attempt in attempts] == list(range(1, status.attempt + 1))
        assert all(attempt.queue == status.queue and attempt.nodes for attempt in attempts)
        assert [attempt.ended is None for attempt in attempts[:-1]] == [False] * (status.attempt - 1)
        assert (attempts[-1].ended is None) == status.phase.live
    assert queries.attempts(JobId("nobody")) == []


def test_a_story_tells_starts_and_ends(queries: Queries) -> None:
    for status in everything(queries):
        story = queries.decisions(status.id, limit=1_000)
        kinds = [line.kind for line in story]
        assert kinds.count("Start") == status.attempt
        assert kinds.count("End") == status.attempt - status.phase.live
        assert queries.decisions(status.id, limit=2) == story[-2:]


def test_usage_can_be_asked_by_queue_and_day(queries: Queries) -> None:
    rows = queries.usage()
    assert {row.queue for row in rows} == {"a", "a/b", "c"}
    assert {row.queue for row in queries.usage(queue=QueueId("a"))} == {"a", "a/b"}
    assert queries.usage(first_day=1) == queries.usage(last_day=-1) == []
    sums = sum_usage(rows)
    assert sums[QueueId("")].ended == sum(row.ended for row in rows)
    assert sums[QueueId("a")].gpu_hours > sums[QueueId("a/b")].gpu_hours > 0


def test_an_attempt_counts_on_every_day_on_which_it_held_something() -> None:
    placed, ended = 2 * DAY - HOUR, 4 * DAY + 2 * HOUR
    end = EndedAttempt(
        AttemptId(JobId("j"), 1), QueueId("q"), "u", ExecutorId("e"), (NodeId("n"),), Instant(placed), None,
        Instant(ended), Outcome(Cause.PREEMPTED), (1_000, 5, 2_000), 77,
    )  # fmt: skip
    rows = views.usage_of(end)
    assert [(row.day, row.ended, row.lost_gpu_ms) for row in rows] == [(1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 1, 77)]
    assert [row.gpu_milli_ms // 2_000 for row in rows] == [HOUR, DAY, DAY, 2 * HOUR]
    assert sum(row.cpu_milli_ms for row in rows) == (ended - placed) * 1_000
    assert rows[0].gpu_hours == 2.0


def test_a_services_history_has_a_row_for_each_change(place: Place) -> None:
    web = ServiceId("web")
    world = SmallWorld()
    world.script = [
        (1_000, (world.inventory(),)),
        (2_000, (ServiceSet(Service(web, QueueId("team"), replicas=2)),)),
        (3_000, (ServiceSet(Service(web, QueueId("team"), replicas=1)),)),
        (4_000, (JobSubmitted(job("other")),)),
        (5_000, (ServiceRemoved(web),)),
    ]
    with SqliteStore.open(place.journal) as store, Projection(place.tables) as projection:
        run(ClusterState(), world, store, Policy(), [projection])
    with Queries(place.tables) as queries:
        history = queries.service_history(web)
        assert [(row.at, row.replicas) for row in history if row.at in (2_000, 3_000, 5_000)] == [
            (2_000, 2), (3_000, 1), (5_000, None)
        ]  # fmt: skip
        assert max(row.running for row in history) == 2
        assert [row.running for row in history if row.at < 5_000][-1] == 1
        assert history[-1].replicas is None
        assert queries.service_history(web, since=Instant(5_000)) == history[-1:]
    with SqliteStore.open(place.journal) as store, Projection(place.tables) as projection:
        recover_with(store, projection)
        projection.flush()
        with Queries(place.tables) as queries:
            assert queries.service_history(web) == history


def test_readers_go_on_while_tables_are_written_and_made_anew(place: Place) -> None:
    live(place, 1)
    with Queries(place.tables) as queries:
        seq, jobs = queries.seq(), len(everything(queries))
        live(place, 2)
        assert queries.seq() > seq
        assert len(everything(queries)) > jobs
        with Projection(place.tables) as projection:
            projection.clear("another")
            assert queries.seq() == 0
            assert everything(queries) == []


def test_there_is_nothing_to_query_before_the_first_start(place: Place) -> None:
    with pytest.raises(StoreError, match="start Fairway once"):
        Queries(place.tables)
