"""Which places become a store, and what is said of those that can't."""

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from stream_detect.errors import ConfigError, OutputError
from stream_detect.store import open_store
from stream_detect.store.place import place_of
from tests.store.lines import alert, ids


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_empty_file_becomes_a_store(path):
    path.touch()
    with open_store(path) as store:
        store.take(alert("a1"))
        assert ids(store) == {"a1"}


@pytest.mark.parametrize("write", ["{}", "sqlite:///{}", "${{STORE_PATH}}"])
def test_a_place_is_written_as(path, write, monkeypatch):
    monkeypatch.setenv("STORE_PATH", str(path))
    with open_store(write.format(path)) as store:
        store.take(alert("a1"))
    assert path.exists()


def test_a_store_that_is_not_there_is_not_made_by_who_only_reads(path):
    with pytest.raises(OutputError, match="there is no store; stream-detect watch --store"):
        open_store(path, create=False)
    path.touch()
    with pytest.raises(OutputError, match="there is no store"):
        open_store(path, create=False)
    assert path.read_bytes() == b""


def test_a_folder_is_no_store(tmp_path):
    with pytest.raises(OutputError, match="it is a folder"):
        open_store(tmp_path)


def test_a_store_needs_a_folder(tmp_path):
    with pytest.raises(OutputError, match="its folder does not exist"):
        open_store(tmp_path / "none" / "store.db")


def test_a_folder_that_can_not_be_written(tmp_path):
    folder = Path("/proc/self") if os.geteuid() == 0 else tmp_path / "locked"
    if os.geteuid() != 0:
        folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"can't be (opened or )?written"):
        open_store(folder / "store.db")


def test_a_file_of_another_kind_is_left_as_it_is(path):
    path.write_text("my notes, not a database\n")
    with pytest.raises(OutputError, match="not an SQLite database; it is left as it is"):
        open_store(path)
    assert path.read_text() == "my notes, not a database\n"


def test_a_database_of_something_else_is_left_as_it_is(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    before = digest(path)
    with pytest.raises(OutputError, match=r"tables of something else \(recipes\)"):
        open_store(path)
    assert digest(path) == before


def test_a_store_of_a_newer_version_is_left_as_it_is(path):
    open_store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE stream_detect_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(OutputError, match=r"version 9999, which is newer than this program's 0\d+; update"):
        open_store(path)


def test_a_damaged_store_is_left_as_it_is(path):
    with open_store(path) as store:
        for number in range(200):
            store.take(alert(f"a{number}"))
    whole = path.read_bytes()
    path.write_bytes(whole[: 4096 * 3] + b"\x5a" * (len(whole) - 4096 * 3))
    before = digest(path)
    with pytest.raises(OutputError, match=r"the database is damaged .*left as it is.*sqlite3 .* \.recover"):
        open_store(path)
    assert digest(path) == before
    assert [other.name for other in path.parent.iterdir() if other.suffix == ".db"] == [path.name]


@pytest.mark.parametrize("where", ["sqlite://", "sqlite:///:memory:", ""])
def test_a_store_is_not_in_memory(where):
    with pytest.raises(ConfigError, match=r"a store needs a file of its own|empty place"):
        open_store(where)


def test_other_databases_are_refused_without_their_password():
    with pytest.raises(ConfigError, match="no store for 'mysql'") as refused:
        open_store("mysql://jo:hunter22@host/name")
    assert "hunter22" not in str(refused.value)


def test_a_server_that_is_not_there_or_a_driver_is_told_without_the_password():
    with pytest.raises((ConfigError, OutputError), match=r"postgresql.*127\.0\.0\.1") as refused:
        open_store("postgresql://jo:hunter22@127.0.0.1:1/name")
    assert "hunter22" not in str(refused.value)


def test_a_driver_that_is_not_installed_is_named():
    with pytest.raises(ConfigError, match="is not installed"):
        open_store("postgresql+nosuchdriver://jo:hunter22@127.0.0.1:1/name")


def test_a_password_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"\$\{NO_SUCH_PASSWORD\}"):
        open_store("postgresql://jo:${NO_SUCH_PASSWORD}@host/name")


def test_the_journal_of_a_server_is_the_same_whatever_the_password(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = (place_of(f"postgresql://jo:{word}@host/name") for word in ("hunter22", "hunter33"))
    assert one.journal == other.journal
    assert one.journal.parent == tmp_path / "stream-detect"
    assert "hunter" not in str(one)
