"""A real RTSP server, watched, killed and brought back."""

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import pytest

from stream_detect.decode.convert import Converter
from stream_detect.errors import SourceDenied, SourceNotFound
from stream_detect.sources import SourceOptions
from stream_detect.sources.ring import remux
from tests.servers import RtspServer, free_port, mute_rtsp_server, silent_server
from tests.sources.following import QUICK, Following

pytestmark = pytest.mark.services
PASSWORD = "p@s/s:w#d?1"
Isolation = Literal["process", "thread"]
both = pytest.mark.parametrize("isolation", get_args(Isolation))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_every_codec_over_every_transport(codec: str, transport: str):
    options = SourceOptions(transport=transport, open_timeout_s=5, read_timeout_s=3)
    with RtspServer(codec=codec) as server, Following(server.url, options) as feed:
        frames = feed.wait_for_frames(20)
        assert {(frame.height, frame.width) for frame in frames} == {(240, 320)}
        assert all(later.pts_s > earlier.pts_s for earlier, later in pairwise(frames))
        assert not frames[-1].is_corrupt
        assert feed.states == ["connecting", "live"]


def test_a_login_with_awkward_characters():
    with RtspServer(login=f"user:{PASSWORD}") as server:
        for url in (server.url, server.url_with(f"user:{PASSWORD}")):
            with Following(url) as feed:
                feed.wait_for_frames(3)
                assert PASSWORD not in feed.said


def test_a_wrong_password_is_said_and_tried_again_without_showing_it():
    with RtspServer(login=f"user:{PASSWORD}") as server:
        with Following(server.url_with("user:wr0ng-s3cret"), SourceOptions(retries=1)) as feed:
            feed.drain()
        assert feed.states == ["connecting", "reconnecting", "failed"]
        assert "401" in feed.said
        assert isinstance(feed.error, SourceDenied)
        assert "wr0ng" not in f"{feed.said}{feed.error!r}"


def test_a_wrong_path_is_said():
    with RtspServer() as server, Following(f"{server.url}/nothing", SourceOptions(retries=0)) as feed:
        feed.drain()
        assert isinstance(feed.error, SourceNotFound)
        assert "404" in feed.said


@both
def test_a_server_that_is_killed_and_comes_back(isolation: Isolation):
    with RtspServer() as server, Following(server.url, replace(QUICK, isolation=isolation)) as feed:
        before = feed.wait_for_frames(5)
        server.kill()
        feed.wait_for_state("reconnecting")
        time.sleep(1.5)
        server.start()
        started_s = time.monotonic()
        feed.wait_for_state("live")
        assert time.monotonic() - started_s < 6
        after = feed.wait_for_frames(5)
        assert after[-1].index > after[0].index > before[-1].index
        assert after[0].pts_s > before[-1].pts_s + 1
        assert "ended" in feed.said
        assert "refused" in feed.said


def test_a_server_that_starts_after_us():
    port = free_port()
    with Following(f"rtsp://127.0.0.1:{port}/live") as feed:
        feed.wait_for_state("reconnecting")
        with RtspServer(port=port):
            feed.wait_for_frames(3)
            feed.reader.close()


@both
def test_evidence_can_be_cut_from_the_packets(tmp_path: Path, isolation: Isolation):
    with RtspServer() as server, Following(server.url, replace(QUICK, isolation=isolation)) as feed:
        feed.wait_for_frames(30)
        packets = feed.reader.ring.since(0.0)
        assert packets[0].is_keyframe
        assert remux(packets, tmp_path / "cut.mp4") == len(packets)
    with Following(str(tmp_path / "cut.mp4"), newest_wins=False) as again:
        again.drain()
        assert len(again.frames) == len(packets)


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp"])
def test_a_silent_server_is_not_waited_for_forever(scheme: str):
    options = SourceOptions(open_timeout_s=1.0, read_timeout_s=1.0, retries=0)
    with silent_server() as port, Following(f"{scheme}://127.0.0.1:{port}/x", options) as feed:
        feed.drain(timeout_s=6)
        assert "nothing came" in str(feed.error)


def test_a_stream_that_never_sends_a_frame_is_opened_anew():
    options = SourceOptions(open_timeout_s=2.0, read_timeout_s=1.0, retries=0)
    with mute_rtsp_server() as address, Following(address, options) as feed:
        feed.drain(timeout_s=10)
        assert "nothing came" in str(feed.error)
        assert not feed.frames


@both
def test_a_closed_feed_ends_within_its_time_out(isolation: Isolation):
    options = replace(QUICK, isolation=isolation)
    with silent_server() as port, Following(f"rtsp://127.0.0.1:{port}/x", options):
        time.sleep(2.7)  # `Following` checks that no thread is left


def test_frames_do_not_age_when_decoding_is_too_slow(monkeypatch: pytest.MonkeyPatch):
    """25 frames a second come, some 10 can be decoded: others are skipped, counted, and the picture stays fresh."""
    convert = Converter.__call__

    def slowly(self, picture):
        time.sleep(0.1)
        return convert(self, picture)

    monkeypatch.setattr(Converter, "__call__", slowly)
    with RtspServer() as server, Following(server.url, replace(QUICK, isolation="thread")) as feed:
        feed.wait_until(lambda: feed.reader.counts.dropped["late"] > 40, timeout_s=30, what="skipped frames")
        lags = [frame.arrived_s - frame.pts_s for frame in feed.frames]
        assert min(lags[-5:]) - min(lags) < 4.0
