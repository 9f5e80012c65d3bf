"""What a store keeps of what it takes, and what it answers."""

import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from stream_detect.alerts import Sink
from stream_detect.config import StoreSettings
from stream_detect.errors import UsageError
from stream_detect.store import open_store
from stream_detect.store.journal import Noted
from tests.store.lines import SEEN_AT, alert, frame, ids, journal_of, status, wait_until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def store(path):
    with open_store(path) as store:
        yield store


def test_a_store_is_a_sink(store):
    assert isinstance(store, Sink)


def test_an_alert_is_there_for_everybody_when_take_returns(store, path):
    store.take(alert("a1"))
    with open_store(path, create=False) as other:
        found = other.alert("a1")
    assert (found.feed, found.track, found.rule, found.state, found.marked) == (
        "cam1",
        7,
        "sustained",
        "raised",
        "open",
    )
    assert found.raised_at == SEEN_AT
    assert found.experts == {"mesonet": 0.8, "spectrum": None}


def test_an_alert_that_there_is_not_is_none(store):
    assert store.alert("a1") is None


def test_the_lines_of_an_alert_add_up(store):
    store.take(alert("a1", evidence="a1"))
    store.take(alert("a1", "updated", fake_probability=0.97, seen_at="2026-11-22T13:00:01.000Z"))
    store.take(alert("a1", "cleared", fake_probability=0.3, ended_s=5.5, seen_at="2026-11-22T13:00:02.000Z"))
    store.take(alert("a1", "updated", clip="a1/clip.mp4", seen_at="2026-11-22T13:00:07.000Z"))
    found = store.alert("a1")
    assert (found.state, found.cleared_at, found.ended_s) == ("cleared", "2026-11-22T13:00:02.000Z", 5.5)
    assert (found.highest, found.evidence, found.clip) == (0.97, "a1", "a1/clip.mp4")
    assert (found.raised_at, found.updated_at) == (SEEN_AT, "2026-11-22T13:00:07.000Z")
    assert [event.event for event in store.events("a1")] == ["raised", "updated", "cleared", "updated"]
    assert store.events("a1")[0].line == alert("a1", evidence="a1").to_json()


def test_an_alert_of_a_whole_picture_has_no_track(store):
    store.take(alert("a1", track=None, rule="feed_swap", fake_probability=None))
    assert (store.alert("a1").track, store.alert("a1").highest) == (None, None)


def test_the_newest_alert_comes_first_also_when_the_clock_was_set_back(store):
    store.take(alert("a1", seen_at="2026-11-22T13:00:00.000Z"))
    store.take(alert("a2", seen_at="2026-11-22T11:00:00.000Z"))
    assert [alert.id for alert in store.alerts()] == ["a2", "a1"]


def test_events_keep_their_order_when_the_clock_is_set_back(store, monkeypatch):
    times = iter([2000, 1000, 500])
    monkeypatch.setattr("stream_detect.store.store.time.time_ns", lambda: next(times))
    for event in ("raised", "updated", "cleared"):
        store.take(alert("a1", event))
    assert [event.event for event in store.events("a1")] == ["raised", "updated", "cleared"]
    assert [event.sequence for event in store.events("a1")] == [2000, 2001, 2002]


@pytest.fixture
def several(store):
    store.take(alert("a1", source="cam1", seen_at="2026-11-22T13:00:00.000Z"))
    store.take(alert("a2", source="cam2", seen_at="2026-11-22T14:00:00.000Z", rule="spike"))
    store.take(alert("b3", source="cam2", seen_at="2026-11-22T15:00:00.000Z"))
    store.take(alert("b3", "cleared", source="cam2", seen_at="2026-11-22T15:00:09.000Z"))
    store.mark("a1", "acknowledged", "seen")
    store.mark("a2", "false_alarm")
    store.mark("a2", "note", "a poster")
    return store


AT_TWO = datetime(2026, 11, 22, 14)


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({}, ["b3", "a2", "a1"]),
        ({"feed": "cam2"}, ["b3", "a2"]),
        ({"since": AT_TWO}, ["b3", "a2"]),
        ({"until": AT_TWO}, ["a1"]),
        ({"since": AT_TWO.replace(tzinfo=UTC), "until": AT_TWO + timedelta(hours=1)}, ["a2"]),
        ({"rule": "spike"}, ["a2"]),
        ({"state": "raised"}, ["a2", "a1"]),
        ({"state": "cleared"}, ["b3"]),
        ({"mark": "acknowledged"}, ["a1"]),
        ({"mark": "false_alarm"}, ["a2"]),
        ({"mark": "open"}, ["b3"]),
        ({"feed": "cam2", "limit": 1}, ["b3"]),
        ({"feed": "nobody"}, []),
    ],
)
def test_alerts_are_found_by(several, conditions, found):
    assert [alert.id for alert in several.alerts(**conditions)] == found


def test_conditions_that_there_are_not_are_refused(store):
    with pytest.raises(UsageError, match="state 'over': expected raised or cleared"):
        store.alerts(state="over")
    with pytest.raises(UsageError, match="mark 'bad': expected one of open"):
        store.alerts(mark="bad")


def test_the_beginning_of_an_id_is_enough(several):
    assert several.find("b").id == "b3"
    with pytest.raises(UsageError, match=r"several alerts begin so \(a1, a2\)"):
        several.find("a")
    with pytest.raises(UsageError, match="no such alert"):
        several.find("%")


def test_an_id_that_another_one_begins_with_is_found(store):
    store.take(alert("a1"))
    store.take(alert("a12"))
    assert store.find("a1").id == "a1"


def test_marks_are_added_and_the_last_one_counts(store):
    store.take(alert("a1"))
    store.mark("a1", "acknowledged", "we look", by="jo")
    store.mark("a1", "false_alarm", "a poster")
    assert store.alert("a1").marked == "false_alarm"
    store.mark("a1", "reopened")
    assert store.alert("a1").marked == "open"
    said = [(mark.kind, mark.note, mark.who) for mark in store.marks("a1")]
    assert said == [("acknowledged", "we look", "jo"), ("false_alarm", "a poster", None), ("reopened", "", None)]


def test_marks_that_can_not_be_meant_are_refused(store):
    with pytest.raises(UsageError, match="no such alert"):
        store.mark("a1", "acknowledged")
    store.take(alert("a1"))
    with pytest.raises(UsageError, match="mark 'nice': expected one of acknowledged"):
        store.mark("a1", "nice")
    with pytest.raises(UsageError, match="a note: expected 1 to"):
        store.mark("a1", "note", " ")


@pytest.mark.parametrize("table", ["marks", "alert_events"])
@pytest.mark.parametrize("what", ["DELETE FROM {}", "UPDATE {} SET alert = alert"])
def test_what_was_said_can_not_be_changed(store, table, what):
    store.take(alert("a1"))
    store.mark("a1", "acknowledged")
    with pytest.raises(IntegrityError, match="append-only"), store._database.writing() as connection:
        connection.exec_driver_sql(what.format(table))
    assert len(store.marks("a1")) == len(store.events("a1")) == 1


def test_the_scores_of_a_second_are_brought_together(store):
    store.take(frame("2026-11-22T13:00:00.100Z", 0.2, 0.4))
    store.take(frame("2026-11-22T13:00:00.500Z", 0.6, None, None))
    store.take(frame("2026-11-22T13:00:01.000Z", 0.5))
    wait_until(lambda: store.scores("cam1"))
    (second,) = store.scores("cam1")
    assert second.to_json() == {
        "second": "2026-11-22T13:00:00Z",
        "faces": 3,
        "judged": 3,
        "mean_probability": 0.4,
        "max_probability": 0.6,
        "max_track_probability": 0.6,
    }


def test_a_second_without_a_face_leaves_nothing(store, path):
    for second in range(5):
        store.take(frame(f"2026-11-22T13:00:0{second}.000Z"))
    store.close()
    with open_store(path) as again:
        assert again.scores("cam1") == []


def test_a_second_in_two_parts_is_one(path):
    for probabilities in ((0.2, 0.4), (0.9,), (None,)):
        with open_store(path) as store:
            store.take(frame(SEEN_AT, *probabilities))
    with open_store(path) as store:
        (second,) = store.scores("cam1")
    assert (second.faces, second.judged, second.max_probability) == (2, 3, 0.9)
    assert second.mean_probability == pytest.approx(0.5)


def test_a_second_in_which_nothing_was_judged_has_no_mean(path):
    for _ in range(2):
        with open_store(path) as store:
            store.take(frame(SEEN_AT, None))
    with open_store(path) as store:
        (second,) = store.scores("cam1")
    assert (second.faces, second.judged, second.mean_probability, second.max_probability) == (1, 0, None, None)


def test_scores_are_found_by_feed_and_time(path):
    with open_store(path) as store:
        for second in range(5):
            store.take(frame(f"2026-11-22T13:00:0{second}.000Z", 0.5))
            store.take(frame(f"2026-11-22T13:00:0{second}.000Z", 0.5, source="cam2"))
    since = datetime(2026, 11, 22, 13, 0, 1)
    with open_store(path) as store:
        found = store.scores("cam1", since, since + timedelta(seconds=2))
    assert [second.second - int(since.replace(tzinfo=UTC).timestamp()) for second in found] == [0, 1]


def test_scores_are_not_kept_where_that_is_not_wanted(path):
    with open_store(path, StoreSettings(scores=False)) as store:
        store.take(frame(SEEN_AT, 0.9))
        store.take(alert("a1"))
    with open_store(path) as store:
        assert store.scores("cam1") == []
        assert ids(store) == {"a1"}


def test_a_state_is_kept_once_however_often_it_is_told(path):
    with open_store(path) as store:
        for state, reason in (("connecting", ""), ("live", ""), ("live", ""), ("stalled", "no frames"), ("live", "")):
            store.take(status(state, reason))
    with open_store(path) as store:
        assert [state.state for state in store.states("cam1")] == ["connecting", "live", "stalled", "live"]
        assert [state.state for state in store.states("cam1", limit=2)] == ["stalled", "live"]
        assert store.states("cam2") == []
        assert store.states(until=datetime(2020, 1, 1)) == []
        (stalled,) = [state for state in store.states(since=datetime(2020, 1, 1)) if state.state == "stalled"]
    assert (stalled.reason, stalled.frames, stalled.dropped) == ("no frames", 3, {"stale": 1})


def test_the_reason_of_a_state_holds_no_password(path):
    with open_store(path) as store:
        store.take(status("failed", "rtsp://user:hunter22@cam/live refused"))
    assert b"hunter22" not in path.read_bytes()


def test_a_feed_of_a_file_whose_name_is_no_text_is_kept(path):
    name = b"clip\xff.mp4".decode("utf-8", "surrogateescape")
    with open_store(path) as store:
        store.take(alert("a1", source=name))
        store.take(frame(SEEN_AT, 0.5, source=name))
        store.take(status(source=name))
    with open_store(path) as store:
        assert store.alert("a1").feed == "clip?.mp4"
        assert len(store.scores("clip?.mp4")) == len(store.states("clip?.mp4")) == 1
        assert store.failures == {}


def test_a_line_that_no_database_takes_is_set_aside_and_holds_up_nothing(path, caplog):
    journal_of(path).write_text(Noted(7, "", alert("a1").to_json() | {"track": 2**70}).to_text() + "\n")
    with open_store(path) as store:
        store.take(alert("a2"))
        assert ids(store) == {"a2"}
        assert store.failures["refused"] == 1
    assert "a line of alert a1 was refused" in caplog.text
    assert '"id":"a1"' in journal_of(path).with_name("store.db.journal.unreadable").read_text()


def test_a_run_is_begun_and_ended(path):
    with open_store(path) as store:
        store.take(alert("a1"))
    with open_store(path) as store, store._database.reading() as connection:
        ((run, ended_at, version),) = connection.exec_driver_sql("SELECT run, ended_at, version FROM runs").all()
    assert run == "r1"
    assert ended_at.endswith("Z")
    assert version[0].isdigit()


def test_close_twice(store):
    store.take(alert("a1"))
    store.close()
    store.close()


def test_an_alert_after_the_end_waits_in_the_journal(store, path):
    store.close()
    store.take(alert("a1"))
    with open_store(path) as again:
        assert ids(again) == {"a1"}


def test_threads_share_a_store(store):
    def work(number: int) -> None:
        for k in range(10):
            store.take(alert(f"{number}-{k}"))
            store.mark(f"{number}-{k}", "acknowledged")
            assert store.alert(f"{number}-{k}").marked == "acknowledged"

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.alerts(mark="acknowledged")) == 40


def test_what_is_too_old_is_removed_and_alerts_stay(path):
    old, new = "2020-01-01T00:00:00.000Z", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    with open_store(path, StoreSettings(keep_days=None)) as store:
        for source in ("cam1", "cam2"):
            for hour in range(3):
                store.take(frame(old.replace("T00", f"T{8 * hour:02d}"), 0.5, source=source))
            store.take(frame(new, 0.5, source=source))
        store.take(alert("a1", seen_at=old))
    with open_store(path, StoreSettings(keep_days=1.0)) as store:
        assert len(store.scores("cam1")) == 4
        store.take(alert("a2"))
        wait_until(lambda: len(store.scores("cam1")) == len(store.scores("cam2")) == 1)
        assert ids(store) == {"a1", "a2"}


def test_old_states_are_removed(path, monkeypatch):
    with open_store(path) as store:
        store.take(status("live"))
    with open_store(path) as store, store._database.writing() as connection:
        connection.exec_driver_sql("UPDATE feed_states SET at = '2020-01-01T00:00:00.000Z'")
    with open_store(path, StoreSettings(keep_days=1.0)) as store:
        store.take(alert("a1"))
        wait_until(lambda: not store.states())


def test_a_store_leaves_logging_as_it_was(path):
    def described():
        return [
            (logger.level, logger.handlers[:], logger.disabled) for logger in map(logging.getLogger, (None, "alembic"))
        ]

    before = described()
    open_store(path).close()
    assert described() == before
