"""`watch` with a file of feeds: SIGHUP and the local application change them while it runs, and disturb no other."""

import json
import re
import signal
import time
from pathlib import Path

import psutil

from tests import clips
from tests.cli.program import Running, no_traceback, run
from tests.servers.ports import free_port
from tests.web.asking import ask


def feeds_in(path: Path, **urls: str) -> Path:
    path.write_text("".join(f'[[feed]]\nname = "{name}"\nurl = "{url}"\n' for name, url in urls.items()))
    return path


def says(source, state):
    return lambda line: (line["source"], line.get("state")) == (source, state)


def judged(source):
    return lambda line: (line["type"], line["source"]) == ("frame", source)


def wait_until(is_so, timeout_s=20.0):
    until_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_a_signal_has_the_file_read_again_and_other_feeds_go_on(tmp_path, weights_folder):
    path = feeds_in(tmp_path / "feeds.toml", kept="synthetic", gone="synthetic")
    arguments = ("--config", path, "--jsonl", "-", "--weights", weights_folder, "--experts", "color")
    with Running("watch", *arguments) as program:
        for name in ("kept", "gone"):
            program.wait_for(judged(name))
        path.write_text("[[feed\n")
        program.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "nothing has changed" in program.errors)
        feeds_in(path, kept="synthetic", new="synthetic", odd="gopher://user:hunter22@x/y")
        program.process.send_signal(signal.SIGHUP)
        assert program.wait_for(says("gone", "ended"))["reason"] == "removed"
        program.wait_for(judged("new"))
        program.wait_for(judged("kept"))
        assert program.stop() == 0
    assert [line["state"] for line in program.lines if line["type"] == "status" and line["source"] == "kept"][:2] == [
        "connecting",
        "live",
    ]
    frames = [line["frame"] for line in program.lines if line["type"] == "frame" and line["source"] == "kept"]
    assert frames == sorted(set(frames))
    assert "odd: gopher://***@x/y: unknown scheme" in program.errors
    assert "not a TOML file" in program.errors
    assert no_traceback(program.errors)


def test_the_application_edits_the_file_and_the_run_follows(tmp_path, weights_folder):
    path = tmp_path / "feeds.toml"
    path.write_text("# none yet\n")
    port = free_port()
    arguments = ("--config", path, "--metrics-port", port, "--jsonl", "-", "--weights", weights_folder)
    with Running("watch", *arguments, "--experts", "color", "--log-json") as program:
        wait_until(lambda: is_listening(port, program))
        assert ask(port, "/healthz").status == 200
        assert ask(port, "/readyz").json["reasons"] == ["there are no feeds"]
        assert ask(port, "/feeds", "POST", {"name": "new", "url": "synthetic", "analyse_hz": 5}).status == 201
        program.wait_for(judged("new"))
        assert ask(port, "/readyz").status == 200
        assert ask(port, "/feeds/new", "PATCH", {"analyse_hz": 2, "ignore": [[0, 0, 1, 1]]}).status == 200
        assert "analyse_hz = 2" in path.read_text()
        assert 'stream_detect_analysed_total{feed="new"}' in ask(port, "/metrics").text
        assert ask(port, "/feeds", "POST", {"name": "bad", "url": "synthetic", "experts": ["tea leaves"]}).json[
            "problems"
        ]
        assert ask(port, "/feeds/bad", "DELETE").status == 200
        assert ask(port, "/feeds/new", "DELETE").status == 200
        assert program.wait_for(says("new", "ended"))["reason"] == "removed"
        assert ask(port, "/feeds").json["feeds"] == []
        started_s = time.monotonic()
        assert program.stop(signal.SIGTERM) == 0
        assert time.monotonic() - started_s < 5
    assert path.read_text() == "# none yet\n"
    for line in program.errors.splitlines():
        assert {"time", "level", "logger", "message"} <= set(json.loads(line)), line


def is_listening(port, program):
    assert program.process.poll() is None, program.errors
    return any(one.laddr.port == port for one in psutil.Process(program.process.pid).net_connections("tcp"))


def test_a_port_of_zero_is_told_and_a_taken_one_is_wrong_use(face_clip, weights_folder):
    arguments = ("--weights", weights_folder, "--experts", "color")
    with Running("watch", "synthetic", "--metrics-port", "0", "--jsonl", "-", *arguments) as program:
        program.wait_for(judged("synthetic"))
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/metrics", program.errors)[1])
        assert ask(port, "/feeds", "POST", {"url": "webcam"}).status == 409
        done = run("watch", face_clip, "--metrics-port", port, *arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert f"port {port}" in done.stderr
        assert program.stop() == 0


def test_a_password_is_in_no_argument_that_other_programs_see(weights_folder):
    url = "rtsp://admin:hunter22@127.0.0.1:9/live"
    with Running("watch", url, "rtmp://127.0.0.1:9/app/S3cr3tKey", "--weights", weights_folder) as program:
        seen = Path(f"/proc/{program.process.pid}/cmdline")
        wait_until(lambda: b"hunter22" not in seen.read_bytes())
        assert b"S3cr3tKey" not in seen.read_bytes()
        assert b"rtsp://***@127.0.0.1:9/live" in seen.read_bytes()
        program.process.send_signal(signal.SIGINT)
        program.process.wait(30)


def test_a_login_comes_from_the_environment_or_a_file_and_is_told_nowhere(tmp_path, monkeypatch, weights_folder):
    monkeypatch.setenv("CAMERA_USER", "gatekeeper")
    secret = tmp_path / "password"
    secret.write_text("p@ss/w0rd?\n")
    config = feeds_in(tmp_path / "feeds.toml", door=f"rtsp://${{CAMERA_USER}}:${{file:{secret}}}@127.0.0.1:9/live")
    done = run("watch", "--config", config, "--retries", "0", "--jsonl", "-", "--weights", weights_folder)
    assert done.returncode == 3
    assert "nobody listens there" in done.stderr
    assert not re.search(r"gatekeeper|w0rd", done.stdout + done.stderr)
    monkeypatch.delenv("CAMERA_USER")
    done = run("watch", "--config", config, "--weights", weights_folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "set CAMERA_USER" in done.stderr


def test_a_feed_whose_login_is_not_there_is_told_at_once_and_the_others_are_watched(tmp_path, weights_folder):
    path = feeds_in(tmp_path / "feeds.toml", door="rtsp://u:${NO_SUCH_VARIABLE}@127.0.0.1:9/live", kept="synthetic")
    with Running("watch", "--config", path, "--jsonl", "-", "--weights", weights_folder) as program:
        program.wait_for(judged("kept"))
        assert "set NO_SUCH_VARIABLE; it is not watched" in program.errors
        assert program.stop() == 3


def test_files_end_a_run_with_a_configuration(tmp_path, weights_folder):
    clip = clips.write_clip(tmp_path / "clip.mp4", clips.talking_head(3))
    done = run("watch", "--config", feeds_in(tmp_path / "feeds.toml", a=str(clip)), "--weights", weights_folder)
    assert done.returncode == 0


def test_wrong_options_are_wrong_use(weights_folder):
    for options, words in (
        (["--isolation", "fork"], "isolation must be process or thread"),
        (["--log-level", "loud"], "no log level 'loud'"),
        (["--metrics-port", "70000"], "65535"),
    ):
        done = run("watch", "synthetic", *options, "--weights", weights_folder)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert words in done.stderr
