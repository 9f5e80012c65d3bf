"""Lost H.264 pictures show in the stream's own counting."""

import functools
from fractions import Fraction
from pathlib import Path

import av
import pytest

from stream_detect.decode.gaps import Gaps
from tests.clips import scenery, write_clip


@functools.cache
def packets(options: tuple[tuple[str, str], ...] = (), num: int = 60, gop: int = 30) -> list[tuple[bytes, bool]]:
    """An encoded clip: each packet and whether it is a key frame."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 160, 120, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.gop_size = Fraction(1, 25), Fraction(25), gop
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", **dict(options)}
    pictures = [av.VideoFrame.from_ndarray(rgb, format="rgb24") for rgb in scenery(num)]
    for index, picture in enumerate(pictures):
        picture.pts = index
    coded = [packet for picture in [*pictures, None] for packet in encoder.encode(picture)]
    return [(bytes(packet), packet.is_keyframe) for packet in coded]


def gaps_in(stream: list[bytes], extradata: bytes | None = None) -> list[int]:
    gaps = Gaps(extradata)
    return [index for index, packet in enumerate(stream) if gaps.lost_before(packet)]


ENCODINGS = [
    pytest.param((), id="plain"),
    pytest.param((("preset", "veryfast"), ("tune", "film")), id="b-frames"),
    pytest.param((("x264-params", "slices=4:sliced-threads=0"),), id="slices"),
    pytest.param((("x264-params", "intra-refresh=1"),), id="intra-refresh"),
    pytest.param((("profile", "baseline"),), id="baseline"),
    pytest.param((("preset", "veryfast"), ("x264-params", "cqm=jvt")), id="scaling lists"),
    pytest.param((("x264-params", "interlaced=1"),), id="interlaced"),
]


@pytest.mark.parametrize("options", ENCODINGS)
def test_a_whole_stream_has_no_gaps(options: tuple[tuple[str, str], ...]) -> None:
    assert gaps_in([packet for packet, _ in packets(options)]) == []


def test_a_counter_that_runs_over_is_no_gap() -> None:
    assert gaps_in([packet for packet, _ in packets(num=300, gop=1000)]) == []


@pytest.mark.parametrize("lost", [5, 29, 30, 31])  # the 30th is a key frame
def test_a_lost_picture_is_missed_at_the_next_one(lost: int) -> None:
    stream = [packet for packet, _ in packets()]
    del stream[lost]
    assert gaps_in(stream) == ([] if lost == 29 else [lost])  # before a key frame nothing is missed


def test_a_picture_that_nothing_is_built_on_is_not_missed() -> None:
    stream = [packet for packet, _ in packets((("preset", "veryfast"), ("tune", "film")))]
    spare = next(i for i, packet in enumerate(stream) if i > 5 and not first_slice(packet) & 0x60)
    del stream[spare]
    assert gaps_in(stream) == []


def test_a_picture_cut_short_is_no_gap_but_does_no_harm() -> None:
    stream = [packet for packet, _ in packets()]
    for length in range(40):
        gaps_in([*stream[:5], stream[5][:length], b"", b"\x00\x00\x01", *stream[6:]])


def test_an_mp4_says_how_its_units_are_told_apart(tmp_path: Path) -> None:
    with av.open(str(write_clip(tmp_path / "clip.mp4", scenery(40)))) as container:
        stream = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        extradata = container.streams.video[0].codec_context.extradata
    assert gaps_in(stream, extradata) == []
    del stream[7]
    assert gaps_in(stream, extradata) == [7]


def first_slice(packet: bytes) -> int:
    """The first byte of a packet's first slice."""
    starts = (i + 3 for i in range(len(packet) - 3) if packet[i : i + 3] == b"\x00\x00\x01")
    return next(packet[start] for start in starts if packet[start] & 31 in (1, 5))
