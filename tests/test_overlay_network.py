"""Drawn frames sent to real servers: what arrives, what happens when they are away, and that nobody waits for them."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import av
import numpy as np
import psutil
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.errors import ConfigError, OutputError, UsageError
from stream_detect.overlay import Overlay, OverlayPublisher, publisher
from stream_detect.overlay.drawing import COLORS
from stream_detect.overlay.encoding import TICKS, Timeline, encoders, works
from stream_detect.types import FaceVerdict, FrameVerdict
from tests.servers.ports import free_port
from tests.servers.record import RecordingServer
from tests.servers.strange import Silent, serve

FPS = 25
FACE = FaceVerdict(3, (60.0, 60.0, 140.0, 140.0), 0.9, 1.0, 0.5, "fake", (), {}, 1.0, "a")
PATIENCE_S = 40.0
LIVELY = np.random.default_rng(2).integers(0, 256, (8, 480, 640, 3), dtype=np.uint8)  # what no encoder makes small


class Feed:
    """Gives a publisher noise with a face in it, 25 frames a second, from a thread, and times each call."""

    def __init__(self, to, source: str = "cam", rate_hz: float = FPS, is_lively: bool = False) -> None:
        self.to, self.source, self.rate_hz, self.is_lively = to, source, rate_hz, is_lively
        self.given, self.longest_s = 0, 0.0
        noise = np.random.default_rng(1).integers(90, 166, (240, 320, 3), dtype=np.uint8)
        self.noise = np.repeat(np.repeat(noise[::8, ::8], 8, axis=0), 8, axis=1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(1 / self.rate_hz):
            pts_s = self.given / FPS
            verdict = FrameVerdict(self.source, self.given, pts_s, "t", None, (FACE,))
            rgb = LIVELY[self.given % len(LIVELY)] if self.is_lively else self.noise
            began_s = time.monotonic()
            self.to.write(Frame.from_rgb(rgb, pts_s=pts_s, source=self.source), verdict)
            self.longest_s = max(self.longest_s, time.monotonic() - began_s)
            self.given += 1

    def __enter__(self) -> "Feed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def wait_until(is_so, what: str, timeout_s: float = PATIENCE_S) -> None:
    until_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)


def is_boxed(rgb) -> bool:
    """Whether the line of the box is there, in the colour of a forged face."""
    line = rgb[80:130, 58:63].reshape(-1, 3).astype(int)
    return np.abs(line - COLORS["fake"]).max(axis=1).min() < 60


@pytest.fixture
def server(tmp_path):
    with RecordingServer(tmp_path) as server:
        yield server


@pytest.mark.services
def test_a_server_gets_pictures_with_boxes(server):
    with OverlayPublisher(server.url) as to:
        with Feed(to):
            wait_until(lambda: len(server.pictures()) > 20, "pictures arrive")
        wait_until(lambda: to.sent > 20, "that is told")
        assert to.state == "live"
        assert to.encoder == "libx264"
    pictures = server.pictures()
    assert all(rgb.shape == (240, 320, 3) for rgb in pictures)
    assert all(is_boxed(rgb) for rgb in pictures)


@pytest.mark.services
def test_a_face_that_is_hidden_is_hidden_for_the_server_too(server):
    with OverlayPublisher(server.url, hides_faces=True) as to, Feed(to) as feed:
        wait_until(lambda: len(server.pictures()) > 5, "pictures arrive")
    rgb = server.pictures()[-1]
    assert is_boxed(rgb)
    assert rgb[80:120, 80:120].std() < feed.noise[80:120, 80:120].std() / 3
    assert rgb[20:40, 250:300].std() > feed.noise[20:40, 250:300].std() / 2


@pytest.mark.services
def test_a_server_that_dies_and_comes_back_is_found_again(server, caplog):
    caplog.set_level(logging.INFO)
    with OverlayPublisher(server.url) as to, Feed(to):
        wait_until(lambda: to.sent > 5, "pictures are sent")
        process = to.pid
        server.kill()
        wait_until(lambda: to.state == "lost", "the loss is noticed")
        server.start()
        wait_until(lambda: len(server.pictures()) > 5, "pictures arrive again")
        assert to.pid == process
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]


@pytest.mark.services
def test_a_server_that_hangs_disturbs_nobody(server, monkeypatch):
    monkeypatch.setattr(publisher, "STUCK_S", 1.0)
    monkeypatch.setattr(publisher, "SILENT_S", 3.0)
    with OverlayPublisher(server.url) as to, Feed(to, rate_hz=100, is_lively=True) as feed:
        wait_until(lambda: to.sent > 5, "pictures are sent")
        given, process = feed.given, to.pid
        server.pause()
        wait_until(lambda: to.counts["replaced"] > 0 and to.pid not in (None, process), "the process is replaced")
        assert feed.given > given
        assert feed.given == pytest.approx(to.counts["given"] + to.counts["late"], abs=1)
        assert feed.longest_s < 1.0
        server.kill()
        server.start()
        wait_until(lambda: server.num_bytes() > 100_000, "pictures arrive again")
    assert not psutil.pid_exists(process)


def test_a_server_that_says_nothing_is_left_again_and_again(monkeypatch, caplog):
    monkeypatch.setattr(publisher, "SILENT_S", 1.0)
    with serve(Silent) as port, OverlayPublisher(f"rtsp://127.0.0.1:{port}/live") as to, Feed(to):
        wait_until(lambda: to.counts["replaced"] >= 2, "the process is replaced twice")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no answer for 1 s; it is tried again" in caplog.text


def test_a_process_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(publisher, "SILENT_S", 1.5)
    with OverlayPublisher(f"rtsp://127.0.0.1:{free_port()}/live") as to, Feed(to):
        wait_until(lambda: to.state == "lost", "it is told that nobody listens")
        process = to.pid
        os.kill(process, signal.SIGSTOP)
        wait_until(lambda: to.pid not in (None, process), "it is replaced")
        assert not psutil.pid_exists(process)


def test_a_process_that_is_killed_is_replaced():
    with OverlayPublisher(f"rtsp://127.0.0.1:{free_port()}/live") as to, Feed(to):
        wait_until(lambda: to.pid is not None, "it is there")
        process = to.pid
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: to.pid not in (None, process), "it is replaced")


def test_no_process_is_kept_without_frames(monkeypatch):
    monkeypatch.setattr(publisher, "IDLE_S", 1.0)
    with OverlayPublisher(f"rtsp://127.0.0.1:{free_port()}/live") as to:
        assert to.pid is None
        for _ in range(2):
            with Feed(to):
                wait_until(lambda: to.pid is not None, "it is started")
            wait_until(lambda: to.pid is None, "it is ended")


def test_nothing_is_left_behind():
    me = psutil.Process()
    before = me.num_fds(), threading.active_count()
    children = me.children()  # a spare decoding process of an earlier test may live on
    for _ in range(3):
        with OverlayPublisher(f"rtsp://127.0.0.1:{free_port()}/live") as to, Feed(to):
            wait_until(lambda: to.state == "lost", "it is tried")
        to.close()
    assert set(me.children()) <= set(children)
    assert (me.num_fds(), threading.active_count()) == before
    assert not [one.path for one in me.memory_maps() if "memfd:stream-detect" in one.path]


def test_frames_of_another_size_are_sent_too():
    port = free_port()
    with Receiver(port) as received, OverlayPublisher(received.url) as to, Feed(to):
        wait_until(lambda: to.sent > 5, "pictures are sent")
        for number in range(10):
            big = Frame.from_rgb(np.zeros((301, 501, 3), np.uint8))
            to.write(big, FrameVerdict("cam", number, 10.0 + number / FPS, "t", None, ()))
        sent = to.sent
        wait_until(lambda: to.sent > sent + 5, "pictures are sent again")
    assert to.counts["replaced"] == 0


class Receiver:
    """Takes one RTMP connection, as a server would, by FFmpeg in a process of its own."""

    def __init__(self, port: int) -> None:
        self.url = f"rtmp://127.0.0.1:{port}/live/stream-key-1234"
        self._port = port

    def __enter__(self) -> "Receiver":
        command = [sys.executable, "-c", RECEIVE, self.url]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> dict:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


RECEIVE = """
import json, sys
import av
with av.open(sys.argv[1], options={"listen": "1", "analyzeduration": "500000"}, timeout=60) as video:
    for picture in video.decode(video=0):
        rgb = picture.to_ndarray(format="rgb24")
        about = {"shape": rgb.shape, "line": rgb[80:130, 58:63].reshape(-1, 3).tolist(), "time": picture.time}
        print(json.dumps(about), flush=True)
"""


def test_rtmp_gets_pictures_with_boxes_and_their_times():
    with Receiver(free_port()) as received, OverlayPublisher(received.url) as to, Feed(to):
        lines = [received.line() for _ in range(20)]
    assert all(line["shape"] == [240, 320, 3] for line in lines)
    assert all(np.abs(np.array(line["line"]) - COLORS["fake"]).max(axis=1).min() < 60 for line in lines)
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert np.median(np.diff(times)) == pytest.approx(1 / FPS, abs=0.021)


def test_secrets_of_the_target_are_told_nowhere(caplog):
    caplog.set_level(logging.DEBUG)
    target = f"rtsp://someone:S3cretPass@127.0.0.1:{free_port()}/live?token=abcdef123456"
    with OverlayPublisher(target) as to, Feed(to):
        wait_until(lambda: to.state == "lost", "it is tried")
        arguments = " ".join(psutil.Process(to.pid).cmdline())
    told = caplog.text + arguments + to.address
    assert "127.0.0.1" in caplog.text
    assert not [secret for secret in ("S3cretPass", "someone", "abcdef123456") if secret in told]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends it at once, others with the socket")
def test_the_process_ends_with_its_parent():
    with serve(Silent) as port:
        parent = subprocess.Popen([sys.executable, "-c", PARENT, str(port)], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.communicate()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "it ends")


PARENT = """
import sys, time
import numpy as np
from stream_detect.decode.frame import Frame
from stream_detect.overlay import OverlayPublisher
from stream_detect.types import FrameVerdict
to = OverlayPublisher(f"rtsp://127.0.0.1:{sys.argv[1]}/live")
for number in range(60):
    to.write(Frame.from_rgb(np.zeros((90, 160, 3), np.uint8)), FrameVerdict("cam", number, number / 25, "t", None, ()))
    time.sleep(0.04)
print(to.pid, flush=True)
time.sleep(60)
"""


def test_an_encoder_that_is_not_there_gives_way():
    assert [name for name, _ in encoders(0)] == ["h264_nvenc", "libx264"]
    assert [name for name, _ in encoders(None)] == ["libx264"]
    assert next(name for name, options in encoders(99) if works(name, options, (240, 320))) == "libx264"


def test_times_always_grow_and_gaps_are_closed():
    line = Timeline()
    ticks = [line.tick(pts_s) for pts_s in (7.0, 7.5, 7.5, 100.0, 3.0, 3.1)]
    assert np.diff(ticks).tolist() == [TICKS // 2, TICKS // 25, TICKS // 25, TICKS // 25, TICKS // 10]
    assert ticks[0] == 0


# What --overlay names


@pytest.mark.parametrize("target", ["srt://host:9000", "http://host/live", "udp://239.0.0.1:1234"])
def test_a_scheme_that_is_not_known_fails(target):
    with pytest.raises(UsageError, match=r"expected rtsp://, rtsps://, rtmp://, rtmps:// or a file such as out\.mp4"):
        Overlay(target)


def test_a_target_without_a_host_fails():
    with pytest.raises(UsageError, match="names no host"):
        Overlay("rtsp://")


def test_a_secret_that_is_not_there_fails():
    with pytest.raises(ConfigError, match="there is no such variable"):
        Overlay("rtsp://me:${NO_SUCH_PASSWORD}@host/live")


@pytest.mark.parametrize("target", ["out.mp4", "rtsp://host/live"])
def test_several_feeds_and_one_target_fail(target):
    with pytest.raises(UsageError, match=r"--overlay writes one source, got 2; put \{feed\} into its name"):
        Overlay(target, feeds=2)


def test_each_feed_has_a_file_of_its_own(tmp_path):
    with Overlay(str(tmp_path / "{feed}.mp4"), feeds=3) as overlay:
        for source in ("door/1", "door-1", "yard"):
            frame = Frame.from_rgb(np.zeros((64, 64, 3), np.uint8), source=source)
            overlay.write(frame, FrameVerdict(source, 0, 0.0, "t", None, ()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["door-1-2.mp4", "door-1.mp4", "yard.mp4"]


def test_a_file_of_a_feed_that_can_not_be_written_fails(tmp_path):
    overlay = Overlay(str(tmp_path / "no" / "{feed}.mp4"), feeds=2)
    with pytest.raises(OutputError, match="its folder does not exist"):
        overlay.write(Frame.from_rgb(np.zeros((64, 64, 3), np.uint8)), FrameVerdict("a", 0, 0.0, "t", None, ()))


def test_a_file_for_one_feed_keeps_to_the_first(tmp_path):
    with Overlay(str(tmp_path / "out.mp4")) as overlay:
        for number, source in enumerate(("a", "b", "a")):
            frame = Frame.from_rgb(np.zeros((64, 64, 3), np.uint8))
            overlay.write(frame, FrameVerdict(source, number, number / 25, "t", None, ()))
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 2


@pytest.mark.services
def test_each_feed_has_an_address_of_its_own(server):
    """The server knows /live alone: the feed of that name gets through, the other one doesn't."""
    target = server.url.replace("/live", "/{feed}")
    with Overlay(target, feeds=2) as overlay, Feed(overlay, "live"), Feed(overlay, "other"):
        wait_until(lambda: len(server.pictures()) > 3, "the pictures of one arrive")
        states = {name: writer.state for name, writer in overlay._writers.items()}
    assert states == {"live": "live", "other": "lost"}
