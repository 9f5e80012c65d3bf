"""The systemd unit: checked by systemd's own tools, not run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.files import UNIT, settings, watch_options
from tests.requirements import require_program

TEXT = UNIT.read_text(encoding="utf-8")
SETTINGS = settings(TEXT)
PROGRAM = "/opt/stream-detect/bin/stream-detect"
EXPOSED_AT_MOST = 1.7  # by systemd 252's reckoning, from 0 to 10


def one(name: str) -> str:
    """The only value of a setting."""
    (value,) = SETTINGS[name]
    return value


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is here, as systemd asks for."""
    copy = tmp_path / UNIT.name
    copy.write_text(TEXT.replace(PROGRAM, str(Path(sys.executable).with_name("stream-detect"))))
    return copy


def analyze(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [require_program("systemd-analyze"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.services
def test_systemd_finds_nothing_wrong(unit: Path):
    said = analyze("verify", "--man=no", unit)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


@pytest.mark.services
def test_systemd_finds_a_misspelt_setting_fails(unit: Path):
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillModus=mixed"))
    assert "KillModus" in analyze("verify", "--man=no", unit).stderr


@pytest.mark.services
def test_it_is_hardly_exposed(unit: Path):
    """The option is a tenth: 17 allows 1.7."""
    said = analyze("security", "--offline=yes", f"--threshold={EXPOSED_AT_MOST * 10:.0f}", unit)
    assert said.returncode == 0, said.stdout[-2000:]


def test_the_command_is_one_of_watch():
    program, *arguments = one("ExecStart").split()
    assert program == PROGRAM
    options = watch_options(arguments)
    assert options["metrics_port"] == 9400
    assert options["log_json"]
    folder = Path("/var/lib") / one("StateDirectory")
    assert (options["config"], options["jsonl"]) == (folder / "feeds.toml", str(folder / "lines.jsonl"))


def test_the_file_of_feeds_is_there_before_the_start():
    program, path = one("ExecStartPre").split()
    assert Path(program).exists()
    assert path == str(watch_options(one("ExecStart").split()[1:])["config"])


def test_the_watchdog_is_slower_than_the_rule_for_a_loop_that_hangs():
    from stream_detect.service import SIGNS
    from stream_detect.web.app import HANGS_S

    assert one("Type") == "notify"
    assert one("NotifyAccess") == "main"  # decoding processes can't speak for the detector
    assert float(one("WatchdogSec")) * (1 - 1 / SIGNS) > HANGS_S


def test_a_failure_is_always_followed_by_a_start():
    assert one("Restart") == "always"
    waits_s, times = float(one("RestartSec")), int(one("StartLimitBurst"))
    assert times > 1
    assert waits_s * times < float(one("StartLimitIntervalSec"))  # one that can't start at all is given up and told
    assert one("OOMPolicy") == "continue"  # a decoding process that is killed for its memory ends nothing


def test_it_is_stopped_and_told_to_read_its_file_by_signals():
    assert one("ExecReload") == "/bin/kill -HUP $MAINPID"
    assert one("KillMode") == "mixed"
    assert one("TimeoutStopSec") == "5"


def test_machine_code_may_be_generated():
    assert "MemoryDenyWriteExecute" not in SETTINGS


def test_the_password_of_the_example_is_where_the_comment_says():
    (name,) = re.findall(r"^#LoadCredential=([\w-]+):/", TEXT, flags=re.MULTILINE)
    assert f"${{file:/run/credentials/{UNIT.name}/{name}}}" in TEXT
