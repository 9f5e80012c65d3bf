"""`watch` with sinks: none of them slows it, none of their secrets is told, and what they missed waits."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from stream_detect.cli.sinks import close_together, open_outboxes, sinks_meant, spool_of, words_of
from stream_detect.config import Config, SinkSettings
from stream_detect.errors import ConfigError, UsageError
from stream_detect.metrics import Metrics
from stream_detect.sinks.outbox import Figures
from tests.cli.program import PROGRAM, no_traceback, run
from tests.clips import talking_head, write_clip
from tests.servers.ports import free_port
from tests.weights_for_tests import weights_folder

__all__ = ["weights_folder"]
ALARMING = "[decision]\ndrift = -2.9\nraise_at = 0.01\nclear_below = 0.001\n"
ENDS_WITHIN_S = 2.0
SAMPLE = re.compile(r"^(stream_detect_[\w]+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip with a face in every picture."""
    path = tmp_path_factory.mktemp("clip") / "door.mp4"
    write_clip(path, talking_head(20))
    return path


def figures(port: int) -> dict[str, float]:
    """What the metrics say now; nothing while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return {name: float(value) for name, value in SAMPLE.findall(answer.read().decode())}
    except OSError:
        return {}


def until(condition, timeout_s=60.0):
    until_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < until_s, "it did not come to it"
        time.sleep(0.05)
    return found


def test_dead_and_hanging_sinks_slow_nothing_and_tell_no_secret(tmp_path, clip, weights_folder):
    """A webhook that never answers, a broker that is not there and a program that hangs, each with a secret."""
    port, lines, pid = free_port(), tmp_path / "lines.jsonl", tmp_path / "pid"
    config = tmp_path / "feeds.toml"
    hangs = json.dumps(["sh", "-c", f"echo $$ > {pid}; sleep 600"])
    config.write_text(f'{ALARMING}[[sink]]\nkind = "command"\nname = "siren"\ncommand = {hangs}\ntimeout_s = 600\n')
    with socket.create_server(("127.0.0.1", 0)) as silent:
        webhook = f"http://127.0.0.1:{silent.getsockname()[1]}/services/T0AAAAAAA/hush-token-1234567"
        broker = f"mqtt://camera:hush-password@127.0.0.1:{free_port()}"
        options = ["--jsonl", lines, "--config", config, "--metrics-port", port, "--weights", weights_folder]
        options += ["--webhook", webhook, "--mqtt", broker, "--spool", tmp_path / "spool", "--log-level", "debug"]
        command = [PROGRAM, "watch", str(clip), "synthetic", *map(str, options)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
            try:
                until(lambda: figures(port).get('stream_detect_sink_pending{sink="siren"}', 0) > 0)
                until(pid.exists)
                until(lambda: figures(port).get('stream_detect_analysed_total{feed="door.mp4"}') == 20)
                before = figures(port)['stream_detect_analysed_total{feed="synthetic"}']
                until(lambda: figures(port)['stream_detect_analysed_total{feed="synthetic"}'] > before + 20)
                told = f"{figures(port)}{Path(f'/proc/{program.pid}/cmdline').read_text()}"
                started_s = time.monotonic()
                program.send_signal(signal.SIGTERM)
                output, errors = program.communicate(timeout=30)
                assert time.monotonic() - started_s < ENDS_WITHIN_S
            finally:
                program.kill()
    assert program.returncode == 0
    assert no_traceback(errors)
    assert "hush" not in told + output + errors + lines.read_text()
    read = [json.loads(line) for line in lines.read_text().splitlines()]
    assert sum(line["type"] == "frame" and "door" in line["source"] for line in read) == 20
    alerts = sum(line["type"] == "alert" for line in read)
    assert alerts > 0
    kept = {path.name: path.read_text() for path in (tmp_path / "spool").rglob("*.jsonl")}
    assert len(kept) == 3
    assert all(text.count('"event"') >= alerts for text in kept.values())
    assert "hush" not in str(kept)
    assert not Path(f"/proc/{pid.read_text().strip()}/task").exists()


def test_what_a_sink_missed_comes_with_the_next_run(tmp_path, clip, weights_folder):
    config, store, heard = tmp_path / "feeds.toml", tmp_path / "store.db", tmp_path / "heard"
    config.write_text(ALARMING)
    script, is_well = tmp_path / "siren.sh", tmp_path / "well"
    script.write_text(f"#!/bin/sh\ntest -e {is_well} || sleep 600\ncat >> {heard}\n")
    script.chmod(0o755)
    options = ["--config", config, "--store", store, "--weights", weights_folder, "--on-alert", f"'{script}'"]
    first = run("watch", clip, *options, "--jsonl", tmp_path / "first")
    assert first.returncode == 0
    assert re.search(r"alerts wait in the spool", first.stderr)
    assert (tmp_path / "store.db.spool").is_dir()
    is_well.touch()
    second = run("watch", clip, *options, "--jsonl", tmp_path / "second")
    assert second.returncode == 0
    raised = [alert["id"] for path in ("first",) for alert in alerts_in(tmp_path / path)]
    assert [alert["id"] for alert in alerts_in(heard)][: len(raised)] == raised


def alerts_in(path: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["type"] == "alert"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--on-alert", "/no/such/siren now"], "/no/such/siren: there is no such program"),
        (["--on-alert", "say 'it"], "expected a program and its arguments"),
        (["--mqtt", "broker.example:1883"], "not the address of an MQTT broker"),
        (["--on-alert", "true", "--on-alert", "true"], "give it a name of its own"),
        (["--on-alert", ""], "command must be a program and its arguments"),
    ],
)
def test_a_sink_that_can_not_be_meant_ends_the_run_at_once(options, words, clip, weights_folder):
    ended = run("watch", clip, "--weights", weights_folder, *options)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert no_traceback(ended.stderr)


def test_sinks_of_the_file_come_before_those_of_the_command_line():
    file = Config(sinks=(SinkSettings("webhook", "http://a"),))
    meant = sinks_meant(file, ["http://b"], ["mqtt://c"], ["siren 'all of it' --now"])
    assert [one.kind for one in meant] == ["webhook", "webhook", "mqtt", "command"]
    assert [one.url for one in meant] == ["http://a", "http://b", "mqtt://c", None]
    assert meant[-1].command == ("siren", "all of it", "--now")
    with pytest.raises(ConfigError, match="command"):
        sinks_meant(file, None, None, [" "])
    with pytest.raises(UsageError, match="No closing quotation"):
        words_of("say 'it")


def test_what_waits_is_kept_beside_the_evidence_else_beside_the_store(tmp_path):
    sqlite, server = (SimpleNamespace(place=place) for place in ("/srv/alerts.db", "postgresql://host/name"))
    assert spool_of(tmp_path, sqlite, Path("/e")) == tmp_path
    assert spool_of(None, sqlite, None) == Path("/srv/alerts.db.spool")
    assert spool_of(None, sqlite, Path("/e")) == Path("/e.spool")
    assert spool_of(None, server, Path("/e")) == Path("/e.spool")
    assert spool_of(None, server, None) is None
    assert spool_of(None, None, None) is None


def test_a_run_without_a_place_for_a_spool_says_so_once(caplog):
    with ExitStack() as stack:
        meant = [SinkSettings("command", command=(program,)) for program in ("true", "false")]
        assert len(open_outboxes(stack, meant, None, None, None)) == 2
    assert caplog.text.count("in memory alone; --spool DIR") == 1


def test_slow_sinks_are_closed_at_the_same_time():
    slow = [SimpleNamespace(name=str(number), close=lambda: time.sleep(0.3)) for number in range(20)]
    started_s = time.monotonic()
    close_together(slow)
    assert time.monotonic() - started_s < 3.0


def test_the_metrics_tell_how_sinks_and_the_store_fare():
    sink = SimpleNamespace(name="siren", figures=lambda: Figures(7, 5, 2, 1, 4))
    store = SimpleNamespace(is_down=True, failures={"outages": 1, "journaled": 3})
    metrics = Metrics()
    metrics.follow_outputs([sink], store)
    told = {name: float(value) for name, value in SAMPLE.findall(metrics.text()[0].decode())}
    of_sinks = {name: value for name, value in told.items() if "sink" in name or "store" in name}
    assert of_sinks == {
        'stream_detect_sink_delivered_total{sink="siren"}': 7,
        'stream_detect_sink_failed_total{sink="siren"}': 5,
        'stream_detect_sink_dropped_total{sink="siren"}': 3,
        'stream_detect_sink_pending{sink="siren"}': 4,
        "stream_detect_store_up": 0,
        'stream_detect_store_failures_total{kind="outages"}': 1,
        'stream_detect_store_failures_total{kind="journaled"}': 3,
    }


def test_without_sinks_nothing_of_them_is_imported():
    told = "import sys; import stream_detect.cli.watch; print([m for m in ('httpx', 'paho') if m in sys.modules])"
    seen = subprocess.run(
        [os.path.join(os.path.dirname(PROGRAM), "python"), "-c", told], capture_output=True, text=True, check=True
    )
    assert seen.stdout == "[]\n"
