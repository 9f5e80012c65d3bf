"""The reader's thread: every frame of a file, the newest of a live source, and an orderly end whatever happens."""

import threading
import time
from pathlib import Path

import pytest

from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceNotFound, SourceRefused, SourceUnsupported
from stream_detect.mailbox import Mailbox
from stream_detect.sources import Reader, SourceOptions, open_source
from tests import clips
from tests.servers import free_port, greedy_server
from tests.sources.following import Following


def test_a_file_waits_for_its_reader(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(40))
    with Following(str(path), newest_wins=False) as feed:
        time.sleep(0.2)  # the thread is far ahead, and waits
        feed.drain()
        assert [frame.index for frame in feed.frames] == list(range(40))
        assert feed.states == ["connecting", "live", "ended"]
        assert feed.reader.counts.frames == 40
        assert feed.reader.counts.dropped == {"stale": 0, "late": 0, "corrupt": 0}
        assert feed.reader.join(1.0)


def test_a_file_read_live_is_shown_at_its_own_pace(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(25))
    started_s = time.monotonic()
    with Following(str(path), SourceOptions(every_frame=False)) as feed:
        feed.drain()
    assert 0.8 < time.monotonic() - started_s < 3


def test_the_time_that_a_frame_is_held_back_is_no_latency(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(10))
    with Following(str(path), SourceOptions(every_frame=False)) as feed:
        feed.drain()
    first = feed.frames[0]
    assert all(frame.arrived_s - first.arrived_s >= frame.pts_s - first.pts_s - 0.01 for frame in feed.frames)


def test_of_a_live_source_the_newest_wins_and_the_rest_is_counted():
    box = Mailbox[Frame](1, newest_wins=True)
    with Reader(open_source("synthetic"), box) as reader:
        time.sleep(0.7)
        first = box.take(1.0)
        assert first is not None
        assert first.index > 5
        assert reader.counts.dropped["stale"] >= first.index - 1
        assert time.monotonic() - first.arrived_s < 0.5


def test_a_cut_file_ends_with_a_warning(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mkv", clips.scenery(75))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Following(str(path), newest_wins=False) as feed:
        feed.drain()
    assert feed.states[-1] == "ended"
    assert "cut short" in feed.statuses[-1].reason


def test_a_bad_file_fails_once_through_the_mailbox(tmp_path: Path):
    (tmp_path / "a.mp4").write_text("hello")
    with Following(str(tmp_path / "a.mp4")) as feed:
        feed.drain()
    assert isinstance(feed.error, SourceUnsupported)
    assert feed.reader.error is feed.error
    assert feed.states == ["connecting", "failed"]


@pytest.mark.parametrize("text", ["webcam:97", "screen"])
def test_a_camera_or_display_that_is_not_there_is_not_waited_for(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with Following(text) as feed:
        feed.drain()
    assert isinstance(feed.error, SourceNotFound)
    assert "\n" not in str(feed.error)


def test_wayland_is_explained(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    with Following("screen") as feed:
        feed.drain()
    assert "X11" in str(feed.error)


def test_retries_end_and_the_password_never_shows():
    url = f"rtsp://admin:s3cr3t-w0rd@127.0.0.1:{free_port()}/live"
    with Following(url, SourceOptions(retries=1)) as feed:
        feed.drain()
    assert feed.states == ["connecting", "reconnecting", "failed"]
    assert isinstance(feed.error, SourceRefused)
    assert "s3cr3t" not in f"{feed.said}{feed.error}{feed.error!r}"


def test_no_retries_means_one_attempt():
    with Following(f"rtsp://127.0.0.1:{free_port()}/live", SourceOptions(retries=0)) as feed:
        feed.drain()
    assert feed.states == ["connecting", "failed"]


def test_close_twice_and_before_the_start():
    reader = Reader(open_source("synthetic"), Mailbox[Frame](1, newest_wins=True))
    reader.close()
    reader = Reader(open_source("synthetic"), Mailbox[Frame](1, newest_wins=True)).start()
    reader.close()
    reader.close()
    assert reader.error is None
    assert reader.join(0.0)


def test_a_writer_that_waits_is_freed_by_close(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(40))
    reader = Reader(open_source(str(path)), Mailbox[Frame](1)).start()
    time.sleep(0.2)
    started_s = time.monotonic()
    reader.close()
    assert time.monotonic() - started_s < 1
    assert "reader a.mp4" not in {thread.name for thread in threading.enumerate()}


def test_a_fault_of_ours_reaches_whoever_takes(monkeypatch: pytest.MonkeyPatch):
    box = Mailbox[Frame](1, newest_wins=True)

    def faulty(status):
        if status.state == "live":
            raise RuntimeError("a bug")

    with Reader(open_source("synthetic"), box, faulty) as reader:
        reader.join(5.0)
        with pytest.raises(RuntimeError, match="a bug"):
            box.take()
        assert isinstance(reader.error, RuntimeError)


def test_a_live_stream_that_comes_faster_than_it_is_taken_still_gives_the_newest(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.ts", clips.numbered(50), options={"g": "10"})
    with greedy_server(path) as address, Following(address) as feed:
        feed.wait_until(lambda: feed.reader.counts.frames >= 40, what="40 frames")
        feed.wait_for_frames(0)
        assert feed.source.is_live
