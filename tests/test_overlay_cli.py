"""`watch --overlay` to servers, as the real program: what arrives, how it ends, and which words wrong use gets."""

import signal
import threading
import time

import numpy as np
import psutil
import pytest

from stream_detect.view import Window
from stream_detect.window import HEADER
from tests.cli.program import Running, no_traceback, run
from tests.servers import virtual_display
from tests.servers.ports import free_port
from tests.servers.record import RecordingServer
from tests.servers.strange import Silent, serve
from tests.test_overlay_network import Feed, wait_until
from tests.weights_for_tests import weights_folder

__all__ = ["weights_folder"]


@pytest.fixture
def server(tmp_path):
    with RecordingServer(tmp_path) as server:
        yield server


@pytest.mark.services
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_is_seen_elsewhere_and_ends_at_once(server, weights_folder, number):
    arguments = ["--overlay", server.url, "--privacy", "blur", "--jsonl", "-", "--weights", weights_folder]
    with Running("watch", "synthetic", *arguments) as program:
        wait_until(lambda: len(server.pictures()) > 10, "pictures arrive")
        children = psutil.Process(program.process.pid).children(recursive=True)
        assert "stream_detect.overlay" in str([child.cmdline() for child in children])
        began_s = time.monotonic()
        assert program.stop(number) == 0
        assert time.monotonic() - began_s < 4.0
    assert not [child for child in children if child.is_running()]
    assert no_traceback(program.errors)


@pytest.mark.parametrize("answer", ["refused", "silent"])
def test_a_server_that_is_away_costs_no_frame_and_no_time_at_the_end(weights_folder, answer):
    with serve(Silent) as silent:
        port = free_port() if answer == "refused" else silent
        target = f"rtsp://me:S3cretPass@127.0.0.1:{port}/live"
        arguments = ["--overlay", target, "--jsonl", "-", "--weights", weights_folder]
        with Running("watch", "synthetic", *arguments) as program:
            frames = [program.wait_for(lambda line: line["type"] == "frame") for _ in range(50)]
            began_s = time.monotonic()
            assert program.stop() == 0
            assert time.monotonic() - began_s < 4.0
    assert len(frames) == 50
    assert "S3cretPass" not in program.errors
    assert no_traceback(program.errors)


def test_a_target_from_the_environment_is_told_without_its_secret(weights_folder):
    target = f"rtmp://127.0.0.1:{free_port()}/live/${{STREAM_KEY}}"
    arguments = ["--overlay", target, "--weights", weights_folder, "--log-level", "info", "--every-frame"]
    done = run("watch", "synthetic", *arguments, "--duration", 4, STREAM_KEY="live_1234_secret")
    assert done.returncode == 0, done.stderr
    assert "the overlay can't be sent to rtmp://127.0.0.1" in done.stderr
    assert "live_1234_secret" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["synthetic", "--overlay", "srt://host:9000"], "--overlay: srt:// is not known here; expected rtsp://"),
        (["synthetic", "webcam", "--overlay", "rtsp://host/live"], "put {feed} into its name"),
        (["synthetic", "--overlay", "rtsp://${NO_SUCH_LOGIN}@host/live"], "there is no such variable"),
    ],
)
def test_wrong_use_gets_one_line(arguments, words, weights_folder):
    done = run("watch", *arguments, "--weights", weights_folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert words in done.stderr


@pytest.mark.services
def test_two_feeds_go_to_two_addresses(tmp_path, weights_folder):
    """The server takes /live alone, so that one of two feeds is seen there and the other is told to be lost."""
    config = tmp_path / "feeds.toml"
    config.write_text('[[feed]]\nurl = "synthetic"\nname = "live"\n\n[[feed]]\nurl = "synthetic"\nname = "yard"\n')
    with RecordingServer(tmp_path) as server:
        target = server.url.replace("/live", "/{feed}")
        arguments = ["--config", config, "--overlay", target, "--jsonl", "-", "--weights", weights_folder]
        with Running("watch", *arguments) as program:
            wait_until(lambda: len(server.pictures()) > 3, "one feed arrives")
            wait_until(lambda: "/yard" in program.errors, "the loss of the other is told")
            assert program.stop() == 0
    assert no_traceback(program.errors)


@pytest.mark.services
def test_a_window_is_shown_where_faces_are_hidden(face_clip, weights_folder):
    with virtual_display() as display:
        done = run("watch", face_clip, "--view", "--privacy", "blur", "--weights", weights_folder, DISPLAY=display)
    assert done.returncode == 0, done.stderr
    assert "10 frames, 10 analysed" in done.stdout
    assert no_traceback(done.stderr)


class Shown:
    """Stands for the window's process: keeps what it is given."""

    def __init__(self) -> None:
        self.stdin = self
        self.pictures: list[np.ndarray] = []

    def write(self, data: bytes) -> None:
        length, height, width = HEADER.unpack_from(data)
        pixels = np.frombuffer(data, np.uint8, offset=HEADER.size + length)
        self.pictures.append(pixels.reshape(height, width, 3)[:, :, ::-1])

    def flush(self) -> None: ...


class Showing:
    """A window as the feed of these tests writes to it."""

    def __init__(self, window: Window) -> None:
        self.write = window.show


def test_a_window_gets_no_face(monkeypatch):
    shown = Shown()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("stream_detect.view.subprocess.Popen", lambda *_, **__: shown)
    window = Window(threading.Event(), hides_faces=True)
    with Feed(Showing(window)) as feed:
        wait_until(lambda: len(shown.pictures) > 3, "pictures are shown")
    assert shown.pictures[-1][80:120, 80:120].std() < feed.noise[80:120, 80:120].std() / 3
