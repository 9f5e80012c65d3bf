"""Old evidence goes, its tombstones stay, and a crash at any moment does no harm."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream_detect.errors import OutputError
from stream_detect.evidence import retention
from stream_detect.evidence.ledger import Entry, ListLedger
from stream_detect.evidence.removed import REMOVED, line_of
from stream_detect.evidence.retention import GIB, retire
from stream_detect.evidence.verify import verify
from stream_detect.store import open_store
from tests.evidence.chains import chain, days_later, evidence, folder_bytes, grow, retired


class Crashing(ListLedger):
    """The machine goes off when the second folder is buried."""

    def bury(self, folder: str, removed_at: str, why: str) -> None:
        if any(entry.removed_at for entry in self.entries()):
            raise OutputError("power cut")
        super().bury(folder, removed_at, why)


def test_what_is_too_old_goes(tmp_path):
    ledger = chain(tmp_path, 3)
    assert retire(tmp_path, ledger, 30, None, days_later(29)) == []
    now = days_later(31)
    gone = retire(tmp_path, ledger, 30, None, now)
    assert [entry.removed_why for entry in gone] == ["older than 30 days"] * 3
    assert gone == ledger.entries()
    assert not any(path.is_file() for path in tmp_path.rglob("scores.json"))
    assert (tmp_path / REMOVED).read_bytes() == b"".join(map(line_of, gone))


def test_the_oldest_go_until_the_rest_fits(tmp_path):
    ledger = chain(tmp_path, 4)
    last = sum(folder_bytes(tmp_path / entry.folder) for entry in ledger.entries()[2:])
    gone = retire(tmp_path, ledger, None, last / GIB)
    assert [entry.position for entry in gone] == [0, 1]
    assert gone[0].removed_why is not None
    assert "GiB" in gone[0].removed_why
    assert verify(tmp_path, ledger.entries()).word == "consistent"
    assert retire(tmp_path, ledger, None, last / GIB) == []


def test_what_is_open_counts_but_stays(tmp_path):
    ledger = chain(tmp_path, 2)
    evidence(tmp_path, "cam0/open")
    assert len(retire(tmp_path, ledger, 0.001, 1 / GIB, days_later(9))) == 2
    assert (tmp_path / "cam0/open/scores.json").exists()


def test_without_limits_nothing_goes(tmp_path):
    assert retire(tmp_path, chain(tmp_path), None, None, days_later(9999)) == []
    assert not (tmp_path / REMOVED).exists()


def test_the_chain_goes_on_after_all_of_it_was_removed(tmp_path):
    ledger = chain(tmp_path, 2)
    retire(tmp_path, ledger, 1, None, days_later(2))
    grow(tmp_path, ledger, "cam0/next")
    report = verify(tmp_path, ledger.entries())
    assert (report.word, report.removed, report.entries) == ("consistent", 2, 3)


def test_no_tombstone_explains_what_somebody_else_took(tmp_path):
    ledger = chain(tmp_path, 2)
    shutil.rmtree(tmp_path / "cam0/a0000")
    assert [entry.folder for entry in retire(tmp_path, ledger, 1, None, days_later(2))] == ["cam1/a0001"]
    assert "the folder is missing" in verify(tmp_path, ledger.entries()).problems[0].what


def test_a_folder_that_a_ledger_names_elsewhere_is_left_alone(tmp_path):
    outside = chain(tmp_path / "outside", 1).entries()[0]
    root = tmp_path / "root"
    root.mkdir()
    ledger = ListLedger()
    ledger.append(replace(outside, folder="../outside/cam0/a0000"))
    assert retire(root, ledger, 1, None, days_later(2)) == []
    assert (tmp_path / "outside/cam0/a0000/scores.json").exists()


def test_a_crash_before_the_ledger_knows_removes_nothing_and_is_mended(tmp_path):
    ledger = Crashing()
    for number in range(3):
        grow(tmp_path, ledger, f"cam0/{number}")
    with pytest.raises(OutputError, match="power cut"):
        retire(tmp_path, ledger, 1, None, days_later(2))
    assert verify(tmp_path, ledger.entries()).word == "consistent"
    later = ListLedger()
    later._entries = ledger.entries()
    assert len(retire(tmp_path, later, None, None)) == 0
    assert not (tmp_path / "cam0/0").exists()
    assert len((tmp_path / REMOVED).read_bytes().splitlines()) == 1
    assert not verify(tmp_path, later.entries()).notes


def test_left_overs_are_deleted_next_time(tmp_path, monkeypatch):
    ledger = chain(tmp_path, 2)
    with monkeypatch.context() as patched:
        patched.setattr(retention, "delete", lambda root, buried: None)
        retired(tmp_path, ledger, 1)
    assert "not all of it is deleted" in verify(tmp_path, ledger.entries()).notes[0]
    (tmp_path / "cam0/a0000/scores.json").unlink()
    assert verify(tmp_path, ledger.entries()).word == "consistent"
    retire(tmp_path, ledger, None, None)
    assert not (tmp_path / "cam0/a0000").exists()


def test_what_others_put_where_a_removed_folder_was_is_found(tmp_path):
    ledger = chain(tmp_path, 2)
    retired(tmp_path, ledger, 1)
    (tmp_path / "cam0/a0000").mkdir()
    (tmp_path / "cam0/a0000/new").write_bytes(b"new")
    assert "the manifest is missing" in verify(tmp_path, ledger.entries()).problems[0].what


def test_a_tombstone_that_the_recorder_did_not_write_deletes_nothing(tmp_path):
    ledger = chain(tmp_path, 2)
    ledger.bury("cam0/a0000", "2026-11-22T13:00:00.000Z", "by hand")
    retire(tmp_path, ledger, None, None)
    assert (tmp_path / "cam0/a0000/scores.json").exists()
    assert verify(tmp_path, ledger.entries()).word == "tampered"


def test_a_folder_that_can_not_be_deleted_is_said_and_keeps_no_other(tmp_path, monkeypatch):
    ledger = chain(tmp_path, 3)
    remove = retention.delete_folder

    def refuse(folder: Path) -> None:
        if folder.name == "a0000":
            raise PermissionError(1, "Operation not permitted", str(folder))
        remove(folder)

    monkeypatch.setattr(retention, "delete_folder", refuse)
    with pytest.raises(OutputError, match="old evidence can't be removed"):
        retire(tmp_path, ledger, 1, None, days_later(2))
    assert not (tmp_path / "cam1/a0001").exists()
    assert not (tmp_path / "cam0/a0002").exists()


def test_a_damaged_list_is_kept_as_it_is(tmp_path):
    ledger = chain(tmp_path, 3)
    retired(tmp_path, ledger, 1)
    with (tmp_path / REMOVED).open("ab") as file:
        file.write(b"half a li")
    retired(tmp_path, ledger, 1)
    assert b"half a li\n" in (tmp_path / REMOVED).read_bytes()
    assert "line 2: expected a tombstone" in verify(tmp_path, ledger.entries()).problems[0].what


def test_a_time_that_is_none_is_no_reason_to_remove(tmp_path):
    assert not retention.is_older("yesterday", datetime.now(UTC))


def test_a_store_keeps_the_tombstones(tmp_path):
    with open_store(tmp_path / "store.sqlite") as store:
        for number in range(3):
            grow(tmp_path, store.ledger, f"cam0/{number}")
        gone: list[Entry] = retire(tmp_path, store.ledger, 1, None, days_later(2))
    with open_store(tmp_path / "store.sqlite", create=False) as store:
        assert store.ledger.entries() == gone
        assert verify(tmp_path, store.ledger.entries()).word == "consistent"
