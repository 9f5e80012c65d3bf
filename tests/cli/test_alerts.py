"""`alerts`: what a store holds, for people and for programs; and `watch --store`, which fills it."""

import csv
import io
import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass

import pytest

from stream_detect.cli.alerts import app
from stream_detect.cli.app import exit_code_of
from stream_detect.store import open_store
from tests import clips
from tests.cli.program import PROGRAM, Running, json_lines, no_traceback, run
from tests.store.lines import alert, frame


@dataclass(frozen=True)
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def alerts(capsys):
    """Runs `stream-detect alerts` within this process, which takes no second of starting."""

    def run_here(*arguments: object) -> Done:
        capsys.readouterr()
        command = list(map(str, arguments))
        code = exit_code_of(lambda: app(command, prog_name="stream-detect alerts", standalone_mode=False))
        return Done(code, *capsys.readouterr())

    return run_here


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "alerts.db"
    with open_store(path) as store:
        store.take(frame("2026-11-22T12:59:58.000Z", 0.75))
        store.take(alert("aaa1", seen_at="2026-11-22T13:00:00.000Z", evidence="2026/aaa1"))
        store.take(alert("aaa1", "cleared", seen_at="2026-11-22T13:00:05.000Z", ended_s=8.0))
        store.take(alert("aab2", source="=HYPERLINK(1)", rule="spike", seen_at="2026-11-22T14:00:00.000Z"))
        store.mark("aaa1", "acknowledged", "we look", by="jo")
    return path


def test_a_list_is_plain_columns_where_there_is_no_terminal(alerts, path):
    done = alerts("list", "--store", path)
    assert done.returncode == 0
    heading, newest, oldest = done.stdout.splitlines()
    assert heading.split() == ["id", "raised", "feed", "track", "rule", "state", "mark", "probability", "evidence"]
    assert newest.split()[:2] == ["aab2", "2026-11-22T14:00:00.000Z"]
    assert oldest.split()[-4:] == ["cleared", "acknowledged", "0.91", "2026/aaa1"]


def test_a_list_is_a_table_on_a_terminal(path):
    ours, theirs = pty.openpty()
    command = [PROGRAM, "alerts", "list", "--store", str(path)]
    environment = {**os.environ, "COLUMNS": "140", "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        assert process.wait(60) == 0
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "aaa1" in shown
    assert "\x1b[" in shown


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--feed", "cam1"], ["aaa1"]),
        (["--rule", "spike"], ["aab2"]),
        (["--state", "cleared"], ["aaa1"]),
        (["--state", "open"], ["aab2"]),
        (["--since", "2026-11-22T13:30"], ["aab2"]),
        (["--until", "2026-11-22T14:30+01:00"], ["aaa1"]),
        (["--since", "1s"], []),
        (["--limit", "1"], ["aab2"]),
    ],
)
def test_a_list_is_narrowed_down_by(alerts, path, options, found):
    done = alerts("list", "--json", *options, "--store", path)
    assert [alert["id"] for alert in json.loads(done.stdout)] == found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--state", "over"], "--state over: expected one of raised, cleared, open"),
        (["--rule", "luck"], "--rule luck: expected one of sustained"),
        (["--since", "noon"], "--since noon: expected an age such as 2h or 3d, or a time"),
        (["--since", "99999999999w"], "expected an age such as"),
        (["--json", "--csv"], "expected one of them"),
        (["--store", "/nowhere/alerts.db"], "its folder does not exist"),
    ],
)
def test_what_can_not_be_meant_is_told_in_one_line(alerts, path, options, words):
    done = alerts("list", "--store", path, *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_store_is_named_by_an_option_or_the_environment(alerts, path, monkeypatch):
    monkeypatch.setenv("STREAM_DETECT_STORE", str(path))
    assert "aaa1" in alerts("list").stdout
    monkeypatch.delenv("STREAM_DETECT_STORE")
    done = alerts("list")
    assert done.returncode == 2
    assert "give --store PATH" in done.stderr


def test_an_empty_store_has_no_alerts(alerts, tmp_path):
    open_store(tmp_path / "empty.db").close()
    done = alerts("list", "--store", tmp_path / "empty.db")
    assert (done.returncode, done.stdout) == (0, "no alerts\n")
    assert alerts("list", "--json", "--store", tmp_path / "empty.db").stdout == "[]\n"


def test_one_alert_is_shown_with_all_that_is_known(alerts, path):
    done = alerts("show", "aaa", "--store", path)
    assert done.returncode == 0
    for words in ("2026/aaa1", "mesonet 0.80, spectrum -", "acknowledged  by jo  we look"):
        assert words in done.stdout
    assert "2026-11-22T12:59:58Z  1 faces  mean 0.75" in done.stdout
    about = json.loads(alerts("show", "aaa1", "--json", "--store", path).stdout)
    assert [line["event"] for line in about["lines"]] == ["raised", "cleared"]
    assert about["marks"][0]["note"] == "we look"
    assert about["scores"][0]["mean_probability"] == 0.75


@pytest.mark.parametrize(("id", "words"), [("zzz", "no such alert"), ("aa", "several alerts begin so (aaa1, aab2)")])
def test_an_alert_that_can_not_be_told_apart(alerts, path, id, words):
    done = alerts("show", id, "--store", path)
    assert done.returncode == 2
    assert words in done.stderr


def test_an_export_in_json_has_every_line(alerts, path, tmp_path):
    out = tmp_path / "out.json"
    assert alerts("export", "--out", out, "--store", path).returncode == 0
    whole = json.loads(out.read_text())
    assert [len(alert["lines"]) for alert in whole] == [1, 2]
    assert whole[0]["feed"] == "=HYPERLINK(1)"


def test_an_export_in_csv_holds_no_formula(alerts, path):
    done = alerts("export", "--format", "csv", "--store", path)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["feed"] for row in rows] == ["'=HYPERLINK(1)", "cam1"]
    assert float(rows[1]["ended_s"]) == 8.0
    assert json.loads(rows[1]["experts"]) == {"mesonet": 0.8, "spectrum": None}


def test_an_export_to_a_place_that_can_not_be_written(alerts, path):
    done = alerts("export", "--out", "/nowhere/out.json", "--store", path)
    assert done.returncode == 2
    assert "/nowhere/out.json: can't be written" in done.stderr
    assert "expected json or csv" in alerts("export", "--format", "xml", "--store", path).stderr


def test_an_alert_is_marked(alerts, tmp_path):
    path = tmp_path / "alerts.db"
    with open_store(path) as store:
        store.take(alert("aaa1"))
    done = alerts("mark", "aa", "false-alarm", "--note", "a poster", "--by", "jo", "--store", path)
    assert done.returncode == 0
    assert done.stdout.startswith("aaa1  false_alarm")
    with open_store(path) as store:
        assert store.alert("aaa1").marked == "false_alarm"
        assert [(mark.note, mark.who) for mark in store.marks("aaa1")] == [("a poster", "jo")]
    done = alerts("mark", "aa", "nice", "--store", path)
    assert done.returncode == 2
    assert "expected one of acknowledged, false_alarm" in done.stderr


@pytest.mark.parametrize("command", ["list", "show", "export", "mark"])
def test_every_command_of_alerts_has_help_with_an_example(alerts, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = alerts(command, "--help")
    assert done.returncode == 0
    assert f"stream-detect alerts {command}" in done.stdout
    assert "Example" in done.stdout


def test_a_closed_pipe_is_nobodys_fault(path):
    command = f"{PROGRAM} alerts list --json --store {path} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


def test_help_needs_no_database_library():
    code = (
        "import sys\nfrom stream_detect.cli import main\n"
        "try:\n    main(['watch', '--help'])\nfinally:\n    print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sqlalchemy", "alembic", "sqlite3"} & set(modules)


def test_watch_keeps_what_it_tells(alerts, face_clip, weights_folder, tmp_path):
    path = tmp_path / "alerts.db"
    done = run("watch", face_clip, "--weights", weights_folder, "--store", path, "--jsonl", "-")
    assert done.returncode == 0, done.stderr
    lines = json_lines(done.stdout)
    told = {line["id"] for line in lines if line["type"] == "alert" and line["event"] == "raised"}
    judged = [face for line in lines if line["type"] == "frame" for face in line["faces"]]
    with open_store(path, create=False) as store:
        assert {alert.id for alert in store.alerts()} == told
        states = [(state.state, state.frames) for state in store.states()]
        faces = [second.judged for second in store.scores(lines[-1]["source"])]
    assert states[-1][0] == "ended"
    assert sum(faces) == sum(face["fake_probability"] is not None for face in judged) > 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM runs WHERE ended_at IS NOT NULL").fetchone() == (1,)


def test_an_alert_is_in_the_store_before_it_is_told(weights_folder, tmp_path):
    """With untrained weights any face is near 0.5: a rule that wants no more than that raises at once."""
    clip = clips.write_clip(tmp_path / "clip.mp4", clips.talking_head(30))
    config, path = tmp_path / "watch.toml", tmp_path / "alerts.db"
    config.write_text(f"[decision]\ndrift = -2.9\nraise_at = 0.01\nclear_below = 0.001\n[store]\nurl = '{path}'\n")
    with Running("watch", clip, "--config", config, "--weights", weights_folder, "--jsonl", "-") as program:
        told = program.wait_for(lambda line: line["type"] == "alert")
        with open_store(path, create=False) as store:
            assert store.events(told["id"])[0].line == told
        assert program.end() == 0
    with open_store(path, create=False) as store:
        assert store.alert(told["id"]).state == "cleared"


def test_watch_takes_the_store_of_its_configuration_file(empty_clip, weights_folder, tmp_path):
    config = tmp_path / "feeds.toml"
    config.write_text('[store]\nurl = "${THE_STORE}"\nkeep_days = 3\n')
    path = tmp_path / "alerts.db"
    done = run("watch", empty_clip, "--weights", weights_folder, "--config", config, THE_STORE=str(path))
    assert done.returncode == 0, done.stderr
    assert path.exists()


def test_watch_refuses_a_store_that_it_can_not_use(empty_clip, tmp_path):
    path = tmp_path / "alerts.db"
    path.write_text("my notes")
    done = run("watch", empty_clip, "--store", path)
    assert done.returncode == 2
    assert "not an SQLite database; it is left as it is" in done.stderr
    assert no_traceback(done.stderr)
    assert path.read_text() == "my notes"
