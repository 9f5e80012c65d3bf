"""kill -9 at any moment: no alert that `take` returned for is lost, and none is there by half."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stream_detect.store import open_store
from tests.store.lines import ids, journal_of

ROOT = Path(__file__).resolve().parents[2]
LONGEST_LIFE_S = 0.15


@contextmanager
def raising(path: Path) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "tests.store.raising", str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def killed_after(process: "subprocess.Popen[str]", life_s: float) -> list[str]:
    """Begin a child, kill it after so many seconds, and give back the ids that it said."""
    process.stdin.write("go\n")
    process.stdin.flush()
    begun = process.stdout.readline()
    time.sleep(life_s)
    os.kill(int(begun.split()[1]), signal.SIGKILL)
    return list(iter(lambda: process.stdout.readline().strip(), "over"))


def check_whole(path: Path) -> None:
    """Nothing in the store is there by half."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        lonely = "SELECT count(*) FROM alerts WHERE NOT EXISTS (SELECT 1 FROM alert_events WHERE alert = alerts.id {})"
        for event in ("", "AND event = 'raised'"):
            assert connection.execute(lonely.format(event)).fetchone() == (0,)
        wrong = "SELECT count(*) FROM alerts WHERE (state = 'cleared') <> EXISTS (SELECT 1 FROM alert_events {})"
        where = "WHERE alert = alerts.id AND event = 'cleared'"
        assert connection.execute(wrong.format(where)).fetchone() == (0,)


def kill_often(path: Path, times: int) -> None:
    chance = random.Random(6)
    said: set[str] = set()
    with raising(path) as process:
        for _ in range(times):
            said |= set(killed_after(process, chance.uniform(0.0, LONGEST_LIFE_S)))
            if path.exists() and path.stat().st_size:
                with open_store(path) as store:
                    assert said <= ids(store)
                check_whole(path)
    assert len(said) >= times / 3
    assert not journal_of(path).exists()


def test_no_alert_is_lost_when_the_program_is_killed(tmp_path):
    kill_often(tmp_path / "store.db", times=30)


@pytest.mark.slow
def test_no_alert_is_lost_when_the_program_is_killed_three_hundred_times(tmp_path):
    kill_often(tmp_path / "store.db", times=300)


def test_no_alert_is_lost_when_it_is_killed_while_the_database_is_locked(tmp_path):
    path = tmp_path / "store.db"
    open_store(path).close()
    with raising(path) as process, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process.stdin.write("go\n")
        process.stdin.flush()
        pid = int(process.stdout.readline().split()[1])
        said = [process.stdout.readline().strip() for _ in range(5)]
        os.kill(pid, signal.SIGKILL)
        said += list(iter(lambda: process.stdout.readline().strip(), "over"))
        other.execute("ROLLBACK")
    assert journal_of(path).exists()
    with open_store(path, create=False) as store:
        assert set(said) <= ids(store)
    assert not journal_of(path).exists()
    check_whole(path)
