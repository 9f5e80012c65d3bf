"""HTTP: a camera's MJPEG, HLS, a file; RTMP from a publisher; a display; each from a real local server."""

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stream_detect.errors import SourceNotFound, SourceRefused
from stream_detect.sources import SourceOptions
from stream_detect.sources.opening import ThreadOpener
from tests import clips
from tests.servers import Publisher, free_port, mjpeg_server, serve_folder, virtual_display
from tests.sources.following import Following


def numbers(feed: Following) -> list[int]:
    return [clips.number_of(frame.rgb((0, 0, frame.width, frame.height))) for frame in feed.frames]


def test_mjpeg_goes_by_arrival():
    with mjpeg_server(clips.numbered(50), fps=12.5) as address, Following(address) as feed:
        feed.wait_for_frames(20)
        steps = np.diff([frame.pts_s for frame in feed.frames[5:]])
        assert 0.06 < np.median(steps) < 0.11  # 0.08 s apart, whatever FFmpeg's nominal 25 fps say


def test_mjpeg_that_ends_is_a_fault():
    with mjpeg_server(clips.numbered(5), num=20) as address, Following(address) as feed:
        feed.wait_for_state("reconnecting")
        assert "broke off" in feed.said


def test_hls_is_shown_at_its_own_pace(tmp_path: Path):
    options = {"g": "12"}
    clips.write_clip(tmp_path / "v.m3u8", clips.numbered(40), container_format="hls", options=options)
    with serve_folder(tmp_path) as address, Following(f"{address}/v.m3u8?token=s3cret") as feed:
        feed.drain()
        assert feed.states[-1] == "ended"
        assert len(feed.frames) > 30
        assert numbers(feed) == sorted(numbers(feed))
        assert "s3cret" not in feed.said


def broadcast(folder: Path, stop: threading.Event) -> None:
    """Write a live HLS playlist at 25 fps, half a second a segment, until told to stop; it never says that it ends."""
    options = {"hls_time": "0.5", "hls_list_size": "4", "hls_flags": "omit_endlist"}
    with av.open(str(folder / "live.m3u8"), "w", format="hls", options=options) as output:
        stream = output.add_stream(
            "libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency", "g": "12"}
        )
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for rgb in itertools.cycle(clips.numbered(50)):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            if stop.wait(0.04):
                return


def test_live_hls_is_followed_at_its_own_pace_and_its_silence_is_a_fault(tmp_path: Path):
    stop = threading.Event()
    writer = threading.Thread(target=broadcast, args=(tmp_path, stop))
    writer.start()
    while not (tmp_path / "live.m3u8").exists():
        stop.wait(0.1)
    try:
        with serve_folder(tmp_path) as address, Following(f"{address}/live.m3u8") as feed:
            frames = feed.wait_for_frames(60)
            shown_s = frames[-1].arrived_s - frames[0].arrived_s
            assert shown_s > 0.6 * (frames[-1].pts_s - frames[0].pts_s)  # and not half a second at once
            stop.set()
            feed.wait_for_state("reconnecting")
            assert feed.reader.counts.dropped["stale"] < 0.3 * feed.reader.counts.frames
    finally:
        stop.set()
        writer.join()


def test_a_file_over_http_ends_as_a_file_does(tmp_path: Path):
    clips.write_clip(tmp_path / "a.mp4", clips.numbered(20))
    options = SourceOptions(every_frame=True)
    with serve_folder(tmp_path) as address, Following(f"{address}/a.mp4", options, newest_wins=False) as feed:
        feed.drain()
        assert feed.states[-1] == "ended"
        assert numbers(feed) == list(range(20))


def test_what_is_not_there_is_said(tmp_path: Path):
    with serve_folder(tmp_path) as address, Following(f"{address}/x.m3u8", SourceOptions(retries=0)) as feed:
        feed.drain()
        assert isinstance(feed.error, SourceNotFound)
    with Following(f"http://127.0.0.1:{free_port()}/x", SourceOptions(retries=0)) as feed:
        feed.drain()
        assert isinstance(feed.error, SourceRefused)


def test_a_web_page_is_no_video(tmp_path: Path):
    (tmp_path / "index.html").write_text("<html><body>hello</body></html>" * 20)
    with serve_folder(tmp_path) as address, Following(f"{address}/index.html", SourceOptions(retries=0)) as feed:
        feed.drain()
        assert feed.states[-1] == "failed"
        assert "\n" not in str(feed.error)


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp"])
def test_publishers_are_waited_for_one_after_the_other(scheme: str):
    publisher = Publisher(scheme, seconds=3.0)
    with Following(publisher.url, SourceOptions(listen=True, read_timeout_s=2.0)) as feed:
        with publisher:
            assert feed.wait_for_frames(15)[0].height == 120
            feed.wait_for_state("reconnecting")
        with publisher:
            assert feed.wait_for_frames(15)[0].height == 120


def test_listening_that_begins_just_after_the_stop_ends_too(monkeypatch: pytest.MonkeyPatch):
    begun = threading.Event()

    def late(*args: Any, **options: Any) -> Any:
        begun.set()
        time.sleep(0.3)
        return at_once(*args, **options)

    at_once = ThreadOpener.open
    monkeypatch.setattr(ThreadOpener, "open", late)
    with Following(Publisher("rtsp").url, SourceOptions(listen=True, read_timeout_s=2.0)):
        assert begun.wait(5)


@pytest.mark.services
def test_the_screen(monkeypatch: pytest.MonkeyPatch):
    with virtual_display(640, 480) as display:
        monkeypatch.setenv("DISPLAY", display)
        with Following("screen:320x200+8+16") as feed:
            assert feed.wait_for_frames(5)[0].planes[0].shape == (200, 320, 3)
        with Following("screen") as feed:
            assert feed.wait_for_frames(3)[0].planes[0].shape == (480, 640, 3)
        with Following("screen:3200x200+8+16") as feed:
            feed.drain()
            assert "area" in str(feed.error)
