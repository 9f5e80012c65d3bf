"""A program of the user's: what it is given, when that counts as delivered, and what becomes of one that hangs."""

import json
import logging
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream_detect.config import SinkSettings
from stream_detect.errors import ConfigError
from stream_detect.sinks.command import MOST_OUTPUT, Command
from stream_detect.sinks.outbox import Message, Outbox, Pauses, Refused
from stream_detect.types import Alert

ALERT = Alert(
    event="raised",
    id="door-7",
    source="door ünder #1",
    track=3,
    rule="sustained",
    seen_at="2026-03-01T12:00:00Z",
    started_s=4.0,
    ended_s=None,
    fake_probability=0.9,
)
MESSAGE = Message(key="door-7-raised-1", line=ALERT.to_json(), made_at="2026-03-01T12:00:00Z")


def script(folder: Path, text: str) -> str:
    """The path of a shell script that a test wrote."""
    path = folder / "hook.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def settings(*command: str, timeout_s: float = 20.0) -> SinkSettings:
    return SinkSettings(kind="command", command=command, timeout_s=timeout_s)


def until(condition, timeout_s=15.0):
    """Wait for a condition."""
    until_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < until_s, "it did not come to it"
        time.sleep(0.02)
    return found


def test_a_program_finds_the_line_on_its_input_and_the_alert_in_its_environment(tmp_path):
    told = 'cat > "$1"; echo "$STREAM_DETECT_ALERT_ID|$STREAM_DETECT_ALERT_EVENT" > "$2"'
    told += '; echo "$STREAM_DETECT_ALERT_FEED|$STREAM_DETECT_ALERT_RULE" >> "$2"'
    line, variables = tmp_path / "line", tmp_path / "variables"
    Command(settings(script(tmp_path, told), str(line), str(variables))).deliver(MESSAGE)
    assert line.read_text().endswith("\n")
    assert json.loads(line.read_text()) == ALERT.to_json()
    assert variables.read_text() == "door-7|raised\ndoor ünder #1|sustained\n"


def test_arguments_are_given_as_they_are_and_no_shell_reads_them(tmp_path):
    out = tmp_path / "out"
    Command(settings(script(tmp_path, 'echo "$2" > "$1"'), str(out), "$(id) ; `id` && *")).deliver(MESSAGE)
    assert out.read_text() == "$(id) ; `id` && *\n"


def test_a_program_that_reads_nothing_is_no_failure():
    Command(settings("true")).deliver(MESSAGE)


def test_a_program_that_fails_is_refused_for_good(tmp_path):
    command = Command(settings(script(tmp_path, "exit 3")))
    with pytest.raises(Refused, match=r"hook.sh ended with 3") as refused:
        command.deliver(MESSAGE)
    assert refused.value.permanent


def test_a_program_that_a_signal_ended_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"ended with -15"):
        Command(settings(script(tmp_path, "kill $$; sleep 60"))).deliver(MESSAGE)


def test_a_file_that_is_no_program_is_refused_for_good(tmp_path):
    path = tmp_path / "hook"
    path.write_bytes(b"\x7fELF, it says")
    path.chmod(0o755)
    with pytest.raises(Refused, match="can't be started") as refused:
        Command(settings(str(path))).deliver(MESSAGE)
    assert refused.value.permanent


@pytest.mark.parametrize("program", ["no-such-program-at-all", "/no/such/program"])
def test_a_program_that_is_not_there_is_told_at_once(program):
    with pytest.raises(ConfigError, match=f"{program}: there is no such program"):
        Command(settings(program))


def test_a_program_that_may_not_be_run_is_told_at_once(tmp_path):
    path = tmp_path / "hook.sh"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(ConfigError, match="may not be run"):
        Command(settings(str(path)))


def test_a_program_that_hangs_is_killed_with_what_it_started(tmp_path):
    child = tmp_path / "child"
    command = Command(settings(script(tmp_path, f"sleep 600 & echo $! > {child}; wait"), timeout_s=0.5))
    with pytest.raises(Refused, match=r"was killed after 0.5 s") as refused:
        command.deliver(MESSAGE)
    assert refused.value.permanent
    until(lambda: not is_running(int(child.read_text())))


def test_a_program_that_leaves_another_one_behind_has_ended_all_the_same(tmp_path):
    child = tmp_path / "child"
    Command(settings(script(tmp_path, f"sleep 600 & echo $! > {child}"))).deliver(MESSAGE)
    assert is_running(int(child.read_text()))
    os.kill(int(child.read_text()), 9)


def test_what_a_program_says_goes_to_the_log_up_to_a_length(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "stream_detect.sinks")
    Command(settings(script(tmp_path, "echo told; head -c 3000000 /dev/zero | tr '\\0' x"))).deliver(MESSAGE)
    (record,) = caplog.records
    assert "hook.sh said: told\nxxx" in record.getMessage()
    assert len(record.getMessage()) < MOST_OUTPUT + 200


def test_an_abort_kills_the_program_and_none_is_started_any_more(tmp_path):
    started = tmp_path / "started"
    command = Command(settings(script(tmp_path, f"touch {started}; sleep 600")))
    with ThreadPoolExecutor(1) as pool:
        delivering = pool.submit(command.deliver, MESSAGE)
        until(started.exists)
        command.abort()
    with pytest.raises(Refused, match="killed at the end of the run") as refused:
        delivering.result()
    assert not refused.value.permanent
    with pytest.raises(Refused, match="no program is started"):
        command.deliver(MESSAGE)


def test_a_program_that_always_fails_is_tried_three_times(tmp_path):
    tries = tmp_path / "tries"
    given = settings(script(tmp_path, f"echo >> {tries}; exit 1"))
    outbox = Outbox(given, Command(given), tmp_path / "spool", pauses=Pauses(0.01, 0.01))
    outbox.take(ALERT)
    until(lambda: outbox.figures().pending == 0 and outbox.figures().failed == 3)
    outbox.close()
    assert tries.read_text() == "\n" * 3
    assert outbox.figures().delivered == 0


def is_running(pid: int) -> bool:
    """Whether there is such a process that is not merely waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
