"""Bitstreams that are damaged, cut, mixed or incomplete crash nothing: frames come, marked, or one clear error."""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from http.server import BaseHTTPRequestHandler
from itertools import islice, pairwise
from pathlib import Path
from threading import Event

import av
import cv2
import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceError, SourceTimeout, SourceUnsupported
from stream_detect.sources import SourceOptions, open_source, read_frames, times
from stream_detect.sources.feed import Feed
from tests import clips
from tests.servers.http import serve

ENCODERS = {"h264": ("libx264", "x264-params"), "hevc": ("libx265", "x265-params")}
PICTURE_PARAMETERS = {"h264": 8, "hevc": 34}
KEY_EVERY = 10
Pictures = list[bytes]


@cache
def moving(num: int, height: int, width: int) -> list[np.ndarray]:
    """A portrait that sways, with a camera's noise: nothing in it stands still or is flat."""
    rng = np.random.default_rng(0)
    heads = clips.talking_head(num, height, width, face_px=height / 2)
    return [cv2.add(head, rng.integers(0, 9, head.shape, dtype=np.uint8)) for head in heads]


@cache
def coded(codec: str, num: int = 30, height: int = 96, width: int = 128, b_frames: int = 0) -> Pictures:
    """Coded pictures with start codes, a key frame and its parameter sets every ten."""
    name, key = ENCODERS[codec]
    encoder = av.CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    about = f"keyint={KEY_EVERY}:min-keyint={KEY_EVERY}:scenecut=0:bframes={b_frames}:repeat-headers=1"
    quiet = ":log-level=none:pools=1:frame-threads=1" if codec == "hevc" else ""
    encoder.options = {"preset": "ultrafast", "crf": "24", key: about + quiet}
    packets = []
    for rgb in moving(num, height, width):
        packets += encoder.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    return [bytes(packet) for packet in [*packets, *encoder.encode(None)]]


def kind(unit: bytes, codec: str) -> int:
    """Of a NAL unit without its start code."""
    return unit[0] & 31 if codec == "h264" else (unit[0] >> 1) & 63


def without(picture: bytes, codec: str, unwanted: int) -> bytes:
    """A coded picture without the NAL units of a kind."""
    units = [unit for unit in re.split(rb"\x00?\x00\x00\x01", picture) if unit]
    return b"".join(b"\0\0\0\1" + unit for unit in units if kind(unit, codec) != unwanted)


def transport_stream(path: Path, pictures: Pictures, codec: str, start: int = 0) -> bytes:
    """The pictures as a MPEG transport stream, 25 a second."""
    with av.open(str(path), "w", format="mpegts") as output:
        stream = output.add_stream(ENCODERS[codec][0], rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number, data in enumerate(pictures, start):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.is_keyframe = number % KEY_EVERY == 0
            output.mux(packet)
    return path.read_bytes()


def frames_of(path: Path, pictures: Pictures | bytes) -> list[Frame]:
    path.write_bytes(pictures if isinstance(pictures, bytes) else b"".join(pictures))
    return list(read_frames(open_source(str(path))))


def corrupt(frames: list[Frame]) -> list[int]:
    return [frame.index for frame in frames if frame.is_corrupt]


@pytest.mark.parametrize(("height", "width"), [(96, 128), (240, 320)])
@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_whole_stream_has_no_corrupt_frame(codec: str, b_frames: int, height: int, width: int, tmp_path: Path):
    frames = frames_of(tmp_path / f"a.{codec}", coded(codec, 30, height, width, b_frames))
    assert len(frames) == 30
    assert not corrupt(frames)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_stream_cut_anywhere_gives_what_came_or_one_clear_error(codec: str, tmp_path: Path):
    whole = b"".join(coded(codec))
    dice = random.Random(1)
    for size in sorted(dice.sample(range(1, len(whole)), 25)):
        try:
            num = len(frames_of(tmp_path / f"a.{codec}", whole[:size]))
        except SourceUnsupported:
            num = 0
        assert num <= 30
        assert num > 0 or size < len(coded(codec)[0]) + 50


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_garbage_in_a_stream_crashes_nothing(codec: str, tmp_path: Path):
    whole = b"".join(coded(codec))
    dice = random.Random(2)
    for _ in range(25):
        damaged = bytearray(whole)
        for _ in range(dice.choice((1, 10, 200))):
            at, length = dice.randrange(len(whole)), dice.choice((1, 4, 100))
            damaged[at : at + length] = dice.randbytes(len(damaged[at : at + length]))
        try:
            frames = frames_of(tmp_path / f"a.{codec}", bytes(damaged))
        except SourceUnsupported:
            continue
        assert [frame.index for frame in frames] == list(range(len(frames)))
        assert all(later.pts_s > earlier.pts_s for earlier, later in pairwise(frames))


def test_a_truncated_picture_taints_up_to_the_next_key_frame(tmp_path: Path):
    pictures = list(coded("h264"))
    pictures[14] = pictures[14][: len(pictures[14]) // 2]
    assert corrupt(frames_of(tmp_path / "a.h264", pictures)) == [14, 15, 16, 17, 18, 19]


def test_a_lost_picture_taints_up_to_the_next_key_frame(tmp_path: Path):
    pictures = list(coded("h264"))
    del pictures[14]
    tainted = set(corrupt(frames_of(tmp_path / "a.h264", pictures)))
    assert {14, 15, 16, 17, 18} <= tainted <= {13, 14, 15, 16, 17, 18}  # of a file one is decoded ahead


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_lost_packets_of_a_transport_stream_taint_up_to_the_next_key_frame(codec: str, tmp_path: Path):
    whole = transport_stream(tmp_path / "whole.ts", coded(codec), codec)
    assert not corrupt(frames_of(tmp_path / "a.ts", whole))
    parts = [whole[at : at + 188] for at in range(0, len(whole), 188)]
    before = transport_stream(tmp_path / "before.ts", coded(codec)[:14], codec)
    del parts[len(before) // 188 + 1]
    tainted = corrupt(frames_of(tmp_path / "a.ts", b"".join(parts)))
    assert tainted
    assert set(tainted) <= set(range(12, 20))
    assert tainted == list(range(tainted[0], tainted[-1] + 1))
    assert tainted[-1] >= 18


def test_a_damaged_hevc_picture_that_shows_taints_up_to_the_next_key_frame(tmp_path: Path):
    whole, dice, spoilt = coded("hevc", 30, 240, 320), random.Random(3), 0
    for _ in range(6):
        pictures = list(whole)
        data = bytearray(pictures[20])  # a key frame, its parameter sets untouched
        for at in (dice.randrange(len(data) // 3, len(data)) for _ in range(20)):
            data[at] ^= 1 << dice.randrange(8)
        pictures[20] = bytes(data)
        tainted = corrupt(frames_of(tmp_path / "a.hevc", pictures))
        assert not tainted or (tainted[0] >= 20 and tainted == list(range(tainted[0], 30)))
        spoilt += bool(tainted)
    assert spoilt >= 2  # FFmpeg flags none of them


def test_a_picture_partly_grey_is_corrupt_though_its_decoder_says_nothing(tmp_path: Path):
    pictures = [rgb.copy() for rgb in moving(6, 96, 128)]
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number, rgb in enumerate(pictures):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
            planes = picture.to_ndarray()
            if number == 3:
                for plane in (planes[48:96], planes[96 + 12 : 96 + 24], planes[120 + 12 :]):
                    plane[:] = 128
            output.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        output.mux(stream.encode(None))
    assert corrupt(list(read_frames(open_source(str(tmp_path / "a.mkv"))))) == [3]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_stream_without_its_parameter_sets_is_said_to_be_undecodable(codec: str, tmp_path: Path):
    pictures = [without(picture, codec, PICTURE_PARAMETERS[codec]) for picture in coded(codec)]
    with pytest.raises(SourceUnsupported, match="no picture could be decoded"):
        frames_of(tmp_path / f"a.{codec}", pictures)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_change_of_the_picture_size_is_followed(codec: str, tmp_path: Path):
    sizes = [coded(codec, 10), coded(codec, 10, 192, 256), coded(codec, 10, 64, 80)]
    frames = frames_of(tmp_path / f"a.{codec}", [picture for part in sizes for picture in part])
    assert [(frame.height, frame.width) for frame in frames[::10]] == [(96, 128), (192, 256), (64, 80)]
    assert len(frames) == 30
    assert not corrupt(frames)


@contextmanager
def camera(pictures: Callable[[], Iterator[bytes]], fps: float = 25.0) -> Iterator[str]:
    """Sends coded pictures over HTTP for as long as there are any; gives its address."""
    stop = Event()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.end_headers()
            for picture in pictures():
                self.wfile.write(picture)
                if stop.wait(1 / fps):
                    return

        def log_message(self, format: str, *args: object) -> None:
            return

    with serve(Camera) as address:
        try:
            yield f"{address}/live"
        finally:
            stop.set()


def forever(pictures: Pictures) -> Iterator[bytes]:
    while True:
        yield from pictures


def live(address: str, demuxer: str, *, may_skip: bool = False, **timeouts: float) -> Feed:
    """A connection to a `camera` that is not looked at for long first, as one to an RTSP server isn't."""
    source = open_source(address, options=SourceOptions(**timeouts))
    probing = {"probesize": "2048", "analyzeduration": "0", "fpsprobesize": "0"}
    object.__setattr__(source, "ffmpeg_options", {**source.ffmpeg_options, **probing})
    object.__setattr__(source, "format", demuxer)
    return Feed(source, may_skip=may_skip)


@pytest.mark.parametrize(("before", "after"), [("h264", "hevc"), ("hevc", "h264")])
def test_a_change_of_codec_is_a_fault_within_the_time_out(before: str, after: str):
    def pictures() -> Iterator[bytes]:
        yield from coded(before)
        yield from forever(coded(after))

    with camera(pictures) as address, live(address, before, read_timeout_s=0.8) as feed:
        frames: list[Frame] = []
        with pytest.raises(SourceError) as raised:
            frames.extend(feed.frames())  # those that came before the fault stay
        assert time.monotonic() - frames[-1].arrived_s < 0.8 + 1.0
        assert len(frames) >= 25
        assert raised.value.fault in ("unreadable", "silent")  # a parser may find no end of a picture any more


def test_a_stream_that_lost_its_parameter_sets_is_a_fault_within_the_time_out():
    bare = [without(picture, "hevc", PICTURE_PARAMETERS["hevc"]) for picture in coded("hevc")]
    with camera(lambda: forever(bare)) as address, live(address, "hevc", read_timeout_s=0.8) as feed:
        started_s = time.monotonic()
        with pytest.raises(SourceTimeout, match="could not be decoded") as raised:
            next(feed.frames())
        assert time.monotonic() - started_s < 0.8 + 1.0
        assert raised.value.fault == "unreadable"


def test_a_first_key_frame_that_comes_late_is_waited_for():
    def pictures() -> Iterator[bytes]:
        yield coded("h264")[0]
        yield from (picture for _ in range(4) for picture in coded("h264")[1:10])
        yield from forever(coded("h264"))

    def mid_way() -> Iterator[bytes]:
        parameters = without(without(coded("h264")[0], "h264", 5), "h264", 6)
        return (parameters + picture if number == 1 else picture for number, picture in enumerate(pictures()) if number)

    with camera(mid_way) as address, live(address, "h264", read_timeout_s=0.5, open_timeout_s=6) as feed:
        assert next(feed.frames()).height == 96


def test_a_camera_that_stamps_more_pictures_than_it_sends_goes_by_arrival(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(times, "PACE_S", 0.5)
    whole = transport_stream(tmp_path / "a.ts", [*coded("h264"), *coded("h264"), *coded("h264")], "h264")
    parts = [whole[at : at + len(whole) // 90] for at in range(0, len(whole), len(whole) // 90)]
    with camera(lambda: iter(parts), fps=12.5) as address, live(address, "mpegts", may_skip=True) as feed:
        frames = list(islice(feed.frames(), 50))
    assert frames[12].pts_s - frames[2].pts_s == pytest.approx(0.4, abs=0.01)  # 25 a second, as they are stamped
    passed_s = frames[-1].arrived_s - frames[-11].arrived_s
    assert passed_s > 0.6
    assert frames[-1].pts_s - frames[-11].pts_s == pytest.approx(passed_s, abs=0.02)
