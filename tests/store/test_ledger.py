"""The chain of evidence in a store: one chain, whoever seals."""

import multiprocessing
import threading
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from stream_detect.evidence.ledger import Entry, Ledger
from stream_detect.store import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "store.db") as store:
        yield store


def entry(position: int, previous: int | None = None) -> Entry:
    before = position - 1 if previous is None else previous
    return Entry(
        position,
        f"day/a{position}",
        f"hash{position}",
        f"hash{before}" if position else None,
        "2026-11-22T13:00:00.000Z",
    )


def test_a_stores_ledger_is_a_ledger(store):
    assert isinstance(store.ledger, Ledger)


def test_entries_come_in_order_and_stay(store, tmp_path):
    for position in range(3):
        store.ledger.append(entry(position))
    with open_store(tmp_path / "store.db") as again:
        assert again.ledger.entries() == [entry(0), entry(1), entry(2)]


@pytest.mark.parametrize("wrong", [entry(0), entry(2), entry(1, previous=7)])
def test_an_entry_that_does_not_follow_is_refused(store, wrong):
    store.ledger.append(entry(0))
    with pytest.raises(ValueError, match="expected the entry after"):
        store.ledger.append(wrong)
    assert store.ledger.entries() == [entry(0)]


def test_a_folder_has_one_entry(store):
    store.ledger.append(entry(0))
    with pytest.raises(ValueError, match="is in the ledger"):
        store.ledger.append(replace(entry(1), folder="day/a0"))


def test_a_removed_folder_leaves_a_tombstone(store):
    store.ledger.append(entry(0))
    store.ledger.bury("day/a0", "2026-12-24T00:00:00.000Z", "older than 30 days")
    assert store.ledger.entries() == [
        replace(entry(0), removed_at="2026-12-24T00:00:00.000Z", removed_why="older than 30 days")
    ]
    with pytest.raises(ValueError, match="no such entry"):
        store.ledger.bury("day/a1", "2026-12-24T00:00:00.000Z", "")


@pytest.mark.parametrize("what", ["DELETE FROM {}", "UPDATE {} SET previous = NULL", "UPDATE {} SET position = 9"])
def test_a_sealed_entry_can_not_be_changed(store, what):
    store.ledger.append(entry(0))
    with pytest.raises(IntegrityError, match="append-only"), store._database.writing() as connection:
        connection.exec_driver_sql(what.format("evidence_entries"))
    assert store.ledger.entries() == [entry(0)]


def append_some(path, number: int, name: str) -> None:
    """Append so many entries, each after whatever is the last one."""
    with open_store(path) as store:
        done = 0
        while done < number:
            last = store.ledger.entries()[-1:]
            position, previous = (last[0].position + 1, last[0].manifest_sha256) if last else (0, None)
            new = Entry(position, f"{name}{done}", f"{name}{done}", previous, "2026-11-22T13:00:00.000Z")
            try:
                store.ledger.append(new)
            except ValueError:
                continue  # another one was quicker
            done += 1


def check_chain(entries: list[Entry], number: int) -> None:
    assert [entry.position for entry in entries] == list(range(number))
    assert [entry.previous for entry in entries] == [None, *(entry.manifest_sha256 for entry in entries[:-1])]


def test_two_threads_do_not_fork_the_chain(store, tmp_path):
    threads = [threading.Thread(target=append_some, args=(tmp_path / "store.db", 10, name)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_chain(store.ledger.entries(), 20)


def test_two_processes_do_not_fork_the_chain(store, tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append_some, args=(tmp_path / "store.db", 10, name)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    check_chain(store.ledger.entries(), 20)
