"""The journal: whole lines on the disk, for several processes, gone when its lines are taken."""

import pytest

from stream_detect.errors import OutputError
from stream_detect.store.journal import Journal, Noted
from tests.store.lines import alert


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "store.db.journal")


def noted(number: int) -> Noted:
    return Noted(number, "2026-11-22T13:00:00.000Z", alert(f"a{number}").to_json())


def test_what_was_added_is_read(journal):
    journal.add([noted(1), noted(2)])
    journal.add([noted(3)])
    assert journal.read().notes == (noted(1), noted(2), noted(3))


def test_nothing_added_nothing_there(journal):
    assert journal.is_empty
    assert journal.read() is None


def test_others_can_not_read_it(journal):
    journal.add([noted(1)])
    assert journal.path.stat().st_mode & 0o077 == 0


def test_it_is_removed_when_its_lines_are_taken(journal):
    journal.add([noted(1)])
    assert journal.remove(journal.read())
    assert journal.is_empty


def test_it_stays_when_something_came_in_between(journal):
    journal.add([noted(1)])
    taken = journal.read()
    journal.add([noted(2)])
    assert not journal.remove(taken)
    assert journal.read().notes == (noted(1), noted(2))


def test_it_stays_when_another_one_was_begun_in_between(journal):
    journal.add([noted(1)])
    with journal.path.open("rb"):  # as another process that is just reading it
        taken = journal.read()
        journal.path.unlink()
        journal.add([noted(2)])
        assert not journal.remove(taken)
    assert journal.read().notes == (noted(2),)


def test_removing_twice(journal):
    journal.add([noted(1)])
    taken = journal.read()
    assert journal.remove(taken)
    assert journal.remove(taken)


def test_a_torn_line_is_told_apart_and_does_not_spoil_the_next(journal):
    journal.add([noted(1)])
    with journal.path.open("ab") as file:
        file.write(b'{"sequence":2,"ta')
    journal.add([noted(3)])
    found = journal.read()
    assert found.notes == (noted(1), noted(3))
    assert found.unreadable == (b'{"sequence":2,"ta',)


@pytest.mark.parametrize("line", [b"7", b"{}", b'{"sequence":"x","taken_at":"","line":{}}', b"\xff\xfe"])
def test_a_line_of_something_else_is_told_apart(journal, line):
    journal.path.write_bytes(line + b"\n")
    assert journal.read().unreadable == (line,)


def test_a_place_that_can_not_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't be written"):
        Journal(tmp_path / "file" / "journal").add([noted(1)])
