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
OPENING_S = 0.15  # how long an opening may take
AMID_S = 0.02  # several alerts


@contextmanager
def raising(path: Path) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "tests.store.raising", str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def killed(process: "subprocess.Popen[str]", num_ids: int, after_s: float) -> list[str]:
    """Begin a child, kill it so many seconds after it said so many ids, and give back all that it said."""
    process.stdin.write("go\n")
    process.stdin.flush()
    begun = process.stdout.readline()
    said = [process.stdout.readline().strip() for _ in range(num_ids)]
    time.sleep(after_s)
    os.kill(int(begun.split()[1]), signal.SIGKILL)
    return said + list(iter(lambda: process.stdout.readline().strip(), "over"))


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
    """Kill a child of each three while it opens the store, the others amid their alerts."""
    chance = random.Random(6)
    said: set[str] = set()
    with raising(path) as process:
        for number in range(times):
            num_ids = chance.randint(1, 4) if number % 3 else 0
            said |= set(killed(process, num_ids, chance.uniform(0.0, AMID_S if num_ids else OPENING_S)))
            if path.exists() and path.stat().st_size:
                with open_store(path) as store:
                    assert said <= ids(store)
                check_whole(path)
    assert len(said) >= times / 2
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
        said = killed(process, num_ids=5, after_s=0.0)
        other.execute("ROLLBACK")
    assert journal_of(path).exists()
    with open_store(path, create=False) as store:
        assert set(said) <= ids(store)
    assert not journal_of(path).exists()
    check_whole(path)
