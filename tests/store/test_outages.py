"""A database that is locked, full or gone: alerts wait beside it or in memory, that is said once, nothing is lost."""

import logging
import os
import resource
import sqlite3
import subprocess
from contextlib import closing, contextmanager

import pytest

from stream_detect.store import open_store
from stream_detect.store.writer import ANSWER_S
from tests.store.lines import alert, frame, ids, journal_of, wait_until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def store(path):
    with open_store(path) as store:
        yield store


@contextmanager
def locked(path):
    """Another program holds the database."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def answers_again(store):
    wait_until(lambda: not store.is_down, "the end of the outage")


def test_alerts_wait_in_the_journal_while_the_database_is_locked(store, path, caplog):
    caplog.set_level(logging.WARNING, "stream_detect.store")
    store.take(alert("a0"))
    with locked(path):
        for number in range(1, 5):
            store.take(alert(f"a{number}"))
        assert store.is_down
        assert ids(store) == {"a0"}
        assert len(journal_of(path).read_text().splitlines()) == 4
    answers_again(store)
    assert ids(store) == {"a0", "a1", "a2", "a3", "a4"}
    assert not journal_of(path).exists()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert f"did not answer within {ANSWER_S:g} s; alerts wait in {journal_of(path)}" in told[0]
    assert "answers again" in told[1]
    assert store.failures["outages"] == 1
    assert store.failures["journaled"] == 4


def test_an_alert_that_waited_is_cleared(store, path):
    with locked(path):
        store.take(alert("a1"))
        store.take(alert("a1", "cleared", ended_s=4.0))
    answers_again(store)
    assert store.alert("a1").state == "cleared"
    assert [event.event for event in store.events("a1")] == ["raised", "cleared"]


def test_what_waits_is_taken_in_at_the_next_start(path):
    with open_store(path) as store, locked(path):
        store.take(alert("a1"))
        store.close()
    assert journal_of(path).exists()
    with open_store(path, create=False) as store:
        assert ids(store) == {"a1"}
    assert not journal_of(path).exists()


def test_a_journal_is_taken_in_once(path):
    with open_store(path) as store:
        with locked(path):
            store.take(alert("a1"))
        waiting = journal_of(path).read_bytes()
        answers_again(store)
    for _ in range(2):
        journal_of(path).write_bytes(waiting)
        with open_store(path) as store:
            assert len(store.events("a1")) == 1


def test_lines_that_can_not_be_read_are_set_aside(path, caplog):
    with open_store(path) as store:
        with locked(path):
            store.take(alert("a1"))
        answers_again(store)
        waiting = b'{"sequence":5,"taken_at":"x","line":{"id":"a2","event":"raised"\n'
        journal_of(path).write_bytes(waiting)
        wait_until(lambda: not journal_of(path).exists())
    assert journal_of(path).with_name("store.db.journal.unreadable").read_bytes() == waiting
    assert "1 lines of alerts can't be read and lie in" in caplog.text


def test_scores_wait_too_and_the_oldest_go_where_there_are_too_many(store, path, monkeypatch):
    monkeypatch.setattr("stream_detect.store.writer.WAITING_ROWS", 3)
    with locked(path):
        store.take(alert("a1"))
        for second in range(6):
            store.take(frame(f"2026-11-22T13:00:0{second}.000Z", 0.5))
        assert store.failures["lost_rows"] == 2
    wait_until(lambda: len(store.scores("cam1")) == 3)
    answers_again(store)


def test_a_store_that_is_taken_away_and_brought_back(store, path, tmp_path):
    store.take(alert("a1"))
    away = tmp_path / "away"
    away.mkdir()
    names = [other.name for other in tmp_path.glob("store.db*")]
    for name in names:
        (tmp_path / name).rename(away / name)
    store.take(alert("a2"))
    assert store.is_down
    assert journal_of(path).exists()
    for name in names:
        (away / name).rename(tmp_path / name)
    answers_again(store)
    assert ids(store) == {"a1", "a2"}


def test_a_store_that_was_replaced_is_used_from_then_on(store, path, tmp_path):
    store.take(alert("a1"))
    with open_store(tmp_path / "new.db") as new:
        new.take(alert("b1"))
    for other in tmp_path.glob("store.db*"):
        other.unlink()
    (tmp_path / "new.db").rename(path)
    store.take(alert("a2"))
    answers_again(store)
    assert ids(store) == {"b1", "a2"}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    may = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not may:
        pytest.skip("a small disk can't be mounted here; files that may not grow stand for it")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(path):
    """Take what is left of a disk."""
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        write_for_ever(file)


def write_for_ever(file):
    while True:
        file.write(b"\0" * 4096)


def test_a_full_disk_loses_no_alert(small_disk, caplog):
    caplog.set_level(logging.WARNING, "stream_detect.store")
    with open_store(small_disk / "store.db") as store:
        store.take(alert("a0"))
        fill(small_disk / "filler")
        for number in range(1, 60):
            store.take(alert(f"a{number}", experts={f"expert{k}": 0.123 for k in range(40)}))
        assert store.is_down
        assert store.waiting > 0
        assert "No space left on device" in caplog.text
        (small_disk / "filler").unlink()
        answers_again(store)
        assert ids(store) == {f"a{number}" for number in range(60)}
        assert store.waiting == 0
        assert "lost_alerts" not in store.failures


@contextmanager
def files_limited_to(num_bytes):
    """No file may grow beyond, as if its disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_files_that_may_not_grow_lose_no_alert(store):
    store.take(alert("a0"))
    with files_limited_to(64):
        for number in range(1, 4):
            store.take(alert(f"a{number}"))
        assert store.is_down
        assert store.waiting == 3
    answers_again(store)
    assert ids(store) == {"a0", "a1", "a2", "a3"}


def test_what_is_in_memory_goes_to_the_journal_when_the_disk_takes_it(path):
    with open_store(path) as store, locked(path):
        with files_limited_to(64):
            store.take(alert("a1"))
            assert store.waiting == 1
        store.close()
    with open_store(path) as store:
        assert ids(store) == {"a1"}


def test_memory_has_a_bound(store, path, monkeypatch):
    monkeypatch.setattr("stream_detect.store.writer.WAITING_ALERTS", 2)
    with locked(path), files_limited_to(64):
        for number in range(4):
            store.take(alert(f"a{number}"))
        assert store.waiting == 2
        assert store.failures["lost_alerts"] == 2
    answers_again(store)
    assert ids(store) >= {"a2", "a3"}  # the first one waited for the lock, and may have got in
