"""Files of every kind give every frame, or one clear error."""

import os
from pathlib import Path

import av
import numpy as np
import pytest

from stream_detect.errors import SourceError, SourceNotFound, SourceUnsupported
from stream_detect.sources import SourceOptions, open_source, read_frames
from tests import clips


def frames_of(path: Path) -> list:
    return list(read_frames(open_source(str(path))))


@pytest.mark.parametrize(
    ("codec", "name"),
    [("h264", "a.mp4"), ("h264", "a.mkv"), ("h264", "a.ts"), ("hevc", "a.mp4"), ("vp8", "a.webm"), ("vp9", "a.webm"),
     ("mjpeg", "a.avi")],
)  # fmt: skip
def test_every_frame_of_every_codec(codec: str, name: str, tmp_path: Path):
    clips.write_clip(tmp_path / name, clips.numbered(30), codec=codec)
    frames = frames_of(tmp_path / name)
    assert [frame.index for frame in frames] == list(range(30))
    assert [clips.number_of(frame.rgb((0, 0, 96, 64))) for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.pts_s for frame in frames], np.arange(30) / 25, atol=0.002)
    assert {frame.source for frame in frames} == {name}
    assert not any(frame.is_corrupt for frame in frames)


def test_mpeg4(tmp_path: Path):
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for rgb in clips.numbered(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        output.mux(stream.encode(None))
    assert len(frames_of(tmp_path / "a.mp4")) == 5


def test_an_odd_size(tmp_path: Path):
    clips.write_clip(tmp_path / "a.mkv", clips.numbered(3, 33, 47), pix_fmt="yuv444p")
    clips.write_clip(tmp_path / "b.webm", clips.numbered(3, 33, 47), codec="vp9")
    for name, layout in (("a.mkv", "yuv444"), ("b.webm", "yuv420")):
        frame = frames_of(tmp_path / name)[0]
        assert (frame.height, frame.width, frame.layout) == (33, 47, layout)
        assert frame.rgb((0, 0, 47, 33)).shape == (33, 47, 3)


def test_ten_bits(tmp_path: Path):
    clips.write_clip(tmp_path / "a.mp4", clips.numbered(3), codec="hevc", pix_fmt="yuv420p10le")
    frames = frames_of(tmp_path / "a.mp4")
    assert [clips.number_of(frame.rgb((0, 0, 96, 64))) for frame in frames] == [0, 1, 2]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_picture_filmed_sideways_stands_upright(rotation: int, tmp_path: Path):
    upright = clips.portrait(96, 160, 60)
    stored = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
    clips.write_clip(tmp_path / "a.mp4", [stored] * 3, rotation=rotation)
    frame = frames_of(tmp_path / "a.mp4")[0]
    shown = frame.rgb((0, 0, frame.width, frame.height))
    assert shown.shape == upright.shape
    assert np.abs(shown.astype(int) - upright).mean() < 8


def test_a_cut_file_gives_what_decodes_and_a_warning(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mkv", clips.scenery(75))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    warnings: list[str] = []
    frames = list(read_frames(open_source(str(path)), on_warning=warnings.append))
    assert 10 < len(frames) < 75
    assert len(warnings) == 1
    assert "cut short" in warnings[0]


def test_a_whole_file_gives_no_warning(tmp_path: Path):
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(20))
    warnings: list[str] = []
    list(read_frames(open_source(str(path)), on_warning=warnings.append))
    assert not warnings


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        output.mux(stream.encode(sound))
        output.mux(stream.encode(None))


def cut_at_the_start(path: Path) -> None:
    clips.write_clip(path, clips.numbered(10))
    path.write_bytes(path.read_bytes()[:200])


def of_unknown_codec(path: Path) -> None:
    made = clips.write_clip(path.with_suffix(".avi"), clips.numbered(10), codec="mjpeg")
    path.write_bytes(made.read_bytes().replace(b"MJPG", b"ZZQ9"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("hello world\n" * 50), "not a video"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(bytes(range(256)) * 40), "video"),
        (lambda path: path.mkdir(), "folder"),
        (sound_only, "audio"),
        (of_unknown_codec, "codec is unknown"),
        (cut_at_the_start, "not a video"),
        (lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"), "not a video"),
    ],
)
def test_what_is_no_video_fails_clearly(make, words: str, tmp_path: Path):
    make(tmp_path / "a.mp4")
    with pytest.raises(SourceUnsupported, match=words):
        frames_of(tmp_path / "a.mp4")


def test_text_is_not_drawn(tmp_path: Path):
    (tmp_path / "a.txt").write_text("hello world\n" * 50)
    with pytest.raises(SourceUnsupported, match="text"):
        frames_of(tmp_path / "a.txt")


def test_a_missing_file_fails_clearly(tmp_path: Path):
    with pytest.raises(SourceNotFound, match="check the path"):
        frames_of(tmp_path / "nothing.mp4")


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(SourceUnsupported, match="regular"):
        frames_of(tmp_path / "pipe.mp4")


def test_a_file_with_a_colon_in_its_name(tmp_path: Path):
    clips.write_clip(tmp_path / "a.mp4", clips.numbered(3)).rename(tmp_path / "rtsp:12:30.mp4")
    assert len(frames_of(tmp_path / "rtsp:12:30.mp4")) == 3


def test_a_camera_on_lavfi_gives_live_frames():
    options = SourceOptions(input_format="lavfi")
    source = open_source("testsrc2=size=64x48:rate=50,realtime", options=options)
    assert source.is_live
    frames = read_frames(source)
    assert [next(frames).index for _ in range(5)] == [0, 1, 2, 3, 4]
    frames.close()


def test_a_broken_device_fails_clearly():
    with pytest.raises(SourceError):
        list(read_frames(open_source("nosuchfilter", options=SourceOptions(input_format="lavfi"))))


def test_pictures_after_a_damaged_one_are_corrupt_up_to_the_next_key_frame(tmp_path: Path):
    options = {"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=0"}
    whole, damaged = tmp_path / "whole.ts", tmp_path / "damaged.ts"
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (96, 128, 3), dtype=np.uint8) for _ in range(60)]
    clips.write_clip(whole, noise, options=options)
    with av.open(str(whole)) as source, av.open(str(damaged), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux() if packet.size):
            if number == 25:
                torn = bytes(packet)[: packet.size // 3] + bytes(packet.size - packet.size // 3)
                copy = av.Packet(torn)
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                packet = copy
            packet.stream = stream
            output.mux(packet)
    corrupt = [frame.index for frame in frames_of(damaged) if frame.is_corrupt]
    assert corrupt[0] == 25
    assert corrupt[-1] == 39
    assert len(corrupt) == 15
