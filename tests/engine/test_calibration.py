"""Now and then a job in line is told when it starts, unasked, and it is seen whether that held."""

import pytest

from fairway.engine import calibration as calibration_module
from fairway.engine.adviser import Adviser
from fairway.engine.calibration import EVERY, Calibration
from fairway.model.ids import JobId
from fairway.model.reasons import Range
from fairway.model.time import HOUR, Duration, Instant
from fairway.testing.builders import Rehearsal, a_job, a_node, a_request, submitted


def a_full_cluster(waiting: int) -> Rehearsal:
    it = Rehearsal()
    it.nodes(a_node("n1", 8))
    it.tell(submitted(a_job("r", a_request(8), estimate=Duration(HOUR))))
    it.decide()
    it.start()
    it.tell(*(submitted(a_job(f"w{at}", a_request(8), estimate=Duration(HOUR))) for at in range(waiting)))
    it.decide()
    return it


def test_who_is_told_is_watched_until_it_starts() -> None:
    it, calibration = a_full_cluster(1), Calibration()
    calibration.watch(it.state)
    (one,) = calibration.watched
    assert one.job == "w0"
    assert one.told.came is None
    told_at = it.state.now
    it.tell(after=3 * HOUR)
    it.end("r")
    it.decide()
    calibration.watch(it.state)
    (one,) = calibration.watched
    assert one.told.came == told_at + 3 * HOUR


def test_it_tells_no_more_often_than_it_says_and_nothing_where_nobody_waits() -> None:
    it, calibration = a_full_cluster(1), Calibration()
    for _ in range(3):
        calibration.watch(it.state)
    assert len(calibration.watched) == 1
    it.tell(after=EVERY)
    calibration.watch(it.state)
    assert len(calibration.watched) == 2
    idle = Calibration()
    idle.watch(Rehearsal().state)
    assert idle.watched == []


def test_who_leaves_the_line_without_having_started_teaches_nothing() -> None:
    it, calibration = a_full_cluster(1), Calibration()
    calibration.watch(it.state)
    it.cancel("w0")
    calibration.correct(it.state, Range(it.state.now, it.state.now))
    assert calibration.watched == []


def test_what_is_kept_is_bounded_and_goes_back_further_where_people_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_module, "MOST", 16)
    it, calibration = a_full_cluster(2), Calibration()
    for _ in range(3 * 16):
        it.tell(after=EVERY)
        calibration.watch(it.state)
        assert len(calibration.watched) <= 16
    assert calibration.every > EVERY
    oldest = calibration.watched[0].told.at
    assert it.state.now - oldest > 16 * EVERY


def test_starts_later_than_said_make_what_is_said_later() -> None:
    it, calibration = a_full_cluster(1), Calibration()
    calibration.watch(it.state)
    said = Range(Instant(it.state.now + HOUR), Instant(it.state.now + 2 * HOUR))
    before = calibration.correct(it.state, said)
    it.tell(after=200 * HOUR)
    later = Range(Instant(it.state.now + HOUR), Instant(it.state.now + 2 * HOUR))
    after = calibration.correct(it.state, later)
    assert after.p90 - it.state.now > before.p90 - (it.state.now - 200 * HOUR)


def test_the_same_course_says_the_same() -> None:
    said: list[Range] = []
    for _ in range(2):
        it, calibration = a_full_cluster(6), Calibration()
        for _ in range(10):
            it.tell(after=EVERY)
            calibration.watch(it.state)
        said.append(calibration.correct(it.state, Range(it.state.now, Instant(it.state.now + HOUR))))
    assert said[0] == said[1]


def test_the_adviser_says_corrected_ranges_and_outlives_a_watch_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    it, rung = a_full_cluster(1), list[int]()
    adviser = Adviser(lambda: rung.append(1))
    answer = adviser.ask(JobId("w0"))
    adviser.answer(it.state)
    advice = answer.result(0)
    assert advice is not None
    assert advice.expected is not None
    assert advice.expected.p50 > it.state.now + HOUR, "plays are known to say too early"

    def broken(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(Calibration, "watch", broken)
    again = adviser.ask(JobId("w0"))
    adviser.answer(it.state)
    assert again.result(0) is not None
    assert len(rung) == 2
