"""Packets outlive decoding, within bounds, and a clip can be cut from them without a loss."""

from pathlib import Path

import pytest

from stream_detect.sources import Feed, PacketRing, open_source, read_frames
from stream_detect.sources.ring import remux
from tests import clips


def ring_of(path: Path, **bounds) -> PacketRing:
    ring = PacketRing(**{"max_bytes": 1 << 24, **bounds})
    with Feed(open_source(str(path)), ring=ring) as feed:
        assert sum(1 for _ in feed.frames()) == 50
    return ring


@pytest.fixture(params=["h264", "hevc", "vp9", "mjpeg"])
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    gop = {"g": "10", "sc_threshold": "0"} if request.param == "h264" else {}
    suffix = ".avi" if request.param == "mjpeg" else ".mkv"
    return clips.write_clip(tmp_path / f"a{suffix}", clips.numbered(50), codec=request.param, options=gop)


def test_what_is_cut_decodes_to_the_same_frames(clip: Path, tmp_path: Path):
    packets = ring_of(clip).since(0.0)
    assert remux(packets, tmp_path / "cut.mkv") == 50
    frames = list(read_frames(open_source(str(tmp_path / "cut.mkv"))))
    assert [clips.number_of(frame.rgb((0, 0, 96, 64))) for frame in frames] == list(range(50))


def test_a_cut_begins_with_the_key_frame_before(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(50), options={"g": "10", "sc_threshold": "0", "bf": "0"})
    packets = ring_of(path).since(1.0)  # frame 25
    assert packets[0].is_keyframe
    assert packets[0].pts_s == pytest.approx(0.8, abs=0.001)  # frame 20
    assert remux(packets, tmp_path / "cut.mp4") == 30
    frames = list(read_frames(open_source(str(tmp_path / "cut.mp4"))))
    assert clips.number_of(frames[0].rgb((0, 0, 96, 64))) == 20


def test_bytes_are_bounded_and_the_oldest_is_a_key_frame(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.scenery(50), options={"g": "5", "sc_threshold": "0"})
    whole = ring_of(path)
    small = ring_of(path, max_bytes=whole.num_bytes // 3)
    assert 0 < small.num_bytes <= whole.num_bytes // 3
    assert small.num_bytes == sum(len(packet.data) for packet in small.since(0.0))
    assert small.since(0.0)[0].is_keyframe


def test_seconds_are_bounded(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(50), options={"g": "5", "sc_threshold": "0"})
    packets = ring_of(path, max_s=0.5).since(0.0)
    assert packets[-1].pts_s - packets[0].pts_s <= 0.6


def test_an_empty_ring_gives_nothing_and_cannot_be_cut(tmp_path: Path):
    ring = PacketRing(1000)
    assert ring.since(0.0) == []
    ring.clear()
    with pytest.raises(ValueError, match="key frame"):
        remux(ring.since(0.0), tmp_path / "cut.mp4")
    with pytest.raises(ValueError, match="room"):
        PacketRing(0)


def test_raw_pictures_are_not_kept():
    ring = PacketRing(1 << 20)
    with Feed(open_source("synthetic"), ring=ring) as feed:
        next(feed.frames())
    assert len(ring) == 0
