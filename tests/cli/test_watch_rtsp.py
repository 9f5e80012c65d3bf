"""A real RTSP server watched by the real command line, killed and brought back."""

import signal
import time

import pytest

from tests import clips
from tests.cli.program import Running, json_lines, no_traceback, run
from tests.cli.schema import check_line
from tests.servers import RtspServer, free_port, mute_rtsp_server, silent_server
from tests.servers.rtsp import write_pictures

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two seconds of a swaying head."""
    return write_pictures(tmp_path_factory.mktemp("pictures"), clips.talking_head(50))


def is_judged(line):
    return line["type"] == "frame" and any(face["llr"] is not None for face in line["faces"])


@pytest.mark.parametrize(("codec", "transport"), [("h264", []), ("h265", ["--udp"])])
def test_a_feed_with_a_login_is_judged(pictures, weights_folder, codec, transport):
    with RtspServer(pictures=pictures, codec=codec, login="admin:p@ss/word") as server:
        arguments = ["--jsonl", "-", "--weights", weights_folder, "--max-frames", 40, "--duration", 60]
        done = run("watch", server.url, *transport, *arguments)
    assert done.returncode == 0, done.stderr
    lines = json_lines(done.stdout)
    for line in lines:
        check_line(line)
    assert sum(is_judged(line) for line in lines) >= 20
    assert {face["track"] for line in lines if line["type"] == "frame" for face in line["faces"]} == {1}
    assert lines[-1]["analysed"] == 40
    assert "p@ss" not in done.stdout + done.stderr
    assert "p%40ss" not in done.stdout + done.stderr


def test_a_feed_that_dies_comes_back(pictures, weights_folder):
    with (
        RtspServer(pictures=pictures) as server,
        Running("watch", server.url, "synthetic", "--jsonl", "-", "--weights", weights_folder) as program,
    ):
        name = f"127.0.0.1:{server.port}/live"

        def is_state(state):
            return lambda line: line["type"] == "status" and line["source"] == name and line["state"] == state

        program.wait_for(lambda line: line["source"] == name and is_judged(line))
        server.kill()
        program.wait_for(is_state("reconnecting"))
        program.wait_for(lambda line: line["type"] == "frame" and line["source"] == "synthetic")
        server.start()
        program.wait_for(is_state("live"))
        again = program.wait_for(lambda line: line["source"] == name and is_judged(line))
        assert program.stop(signal.SIGTERM) == 0
    stamps = [line["pts_s"] for line in program.lines if line["type"] == "frame" and line["source"] == name]
    assert stamps == sorted(set(stamps))
    assert again["pts_s"] == pytest.approx(stamps[-1], abs=60)
    assert no_traceback(program.errors)


def test_a_wrong_password_is_told_at_once_and_costs_three(pictures, weights_folder):
    with RtspServer(pictures=pictures, login="admin:right") as server:
        url = server.url_with("admin:wrong-one")
        done = run("watch", url, "--retries", "0", "--jsonl", "-", "--weights", weights_folder)
    assert done.returncode == 3
    assert "wrong user name or password" in done.stderr
    assert "wrong-one" not in done.stdout + done.stderr


@pytest.mark.parametrize("server", [silent_server, mute_rtsp_server], ids=["silent", "mute"])
def test_a_server_that_never_sends_a_frame_ends_with_three(server, weights_folder):
    """It is tried again and again until --duration ends it."""
    started_s = time.monotonic()
    with server() as place:
        url = place if isinstance(place, str) else f"rtsp://127.0.0.1:{place}/live"
        done = run("watch", url, "--duration", "4", "--jsonl", "-", "--weights", weights_folder)
    assert time.monotonic() - started_s < 45
    assert done.returncode == 3
    last = json_lines(done.stdout)[-1]
    assert (last["state"], last["reason"], last["frames"]) == ("ended", "stopped after 4 s", 0)
    assert no_traceback(done.stderr)


def test_nobody_listens(weights_folder):
    url = f"rtsp://127.0.0.1:{free_port()}/live"
    done = run("watch", url, "--retries", "1", "--jsonl", "-", "--weights", weights_folder)
    assert done.returncode == 3
    states = [line["state"] for line in json_lines(done.stdout)]
    assert states == ["connecting", "reconnecting", "failed"]
    assert "check host and port" in done.stderr


def test_one_feed_that_is_down_disturbs_no_other(pictures, weights_folder):
    with RtspServer(pictures=pictures) as server:
        down = f"rtsp://127.0.0.1:{free_port()}/down"
        done = run("watch", server.url, down, "--duration", 8, "--jsonl", "-", "--weights", weights_folder)
    assert done.returncode == 3
    lines = json_lines(done.stdout)
    assert sum(is_judged(line) for line in lines) >= 20
    assert "/down: stopped after 8 s" in done.stderr


@pytest.mark.parametrize(("source", "words"), [("webcam:77", "no camera at /dev/video77"), ("screen", "no display")])
def test_no_camera_and_no_display(source, words, weights_folder, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    done = run("watch", source, "--jsonl", "-", "--weights", weights_folder)
    assert done.returncode == 3
    assert words in done.stderr
    assert no_traceback(done.stderr)
