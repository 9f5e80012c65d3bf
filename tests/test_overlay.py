"""Drawn verdicts: seen without colour, inside the picture, in a video with the source's times."""

import contextlib
import signal
import subprocess
import sys

import av
import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.errors import OutputError
from stream_detect.overlay import OverlayWriter, draw, where_and_when, words
from stream_detect.types import FaceVerdict, FrameVerdict
from tests import clips


def face(verdict="fake", probability=0.93, box=(20.0, 40.0, 120.0, 140.0), reasons=(), alert=None):
    return FaceVerdict(3, box, probability, None, 0.5, verdict, reasons, {}, 1.0, alert)


def said(*faces, reasons=(), pts_s=0.0):
    return FrameVerdict("cam", 0, pts_s, "t", None, faces, reasons=reasons)


def frame(height=180, width=240, **about):
    return Frame.from_rgb(np.full((height, width, 3), 128, np.uint8), **about)


def test_verdicts_are_words():
    assert words(face()) == "#3 FAKE 93 %"
    assert words(face(alert="a1")) == "ALERT #3 FAKE 93 %"
    assert words(face("inconclusive", None, reasons=("small_face",))) == "#3 inconclusive: small_face"


def test_verdicts_differ_in_grey():
    drawn = [draw(frame(), said(face(v, p))) for v, p in (("fake", 0.9), ("real", 0.1), ("inconclusive", None))]
    grey = [rgb.mean(axis=2) for rgb in drawn]
    assert all(np.abs(one - other).max() > 60 for i, one in enumerate(grey) for other in grey[:i])


def test_the_picture_itself_is_left_as_it_was():
    source = frame()
    before = source.planes[0].copy()
    draw(source, said(face()))
    assert np.array_equal(source.planes[0], before)


@pytest.mark.parametrize("box", [(-50.0, -50.0, 20.0, 20.0), (230.0, 170.0, 400.0, 300.0), (0.0, 0.0, 1.0, 1.0)])
def test_faces_at_the_edge_can_be_drawn(box):
    assert draw(frame(), said(face(box=box))).shape == (180, 240, 3)


def test_a_frame_that_was_not_judged_says_why():
    assert not np.array_equal(draw(frame(), said(reasons=("frozen",))), draw(frame(), said()))


def test_a_video_keeps_the_times_of_its_source(tmp_path):
    path = tmp_path / "out.mp4"
    times = [0.0, 0.04, 0.5, 0.54]
    with OverlayWriter(path) as writer:
        for index, pts_s in enumerate(times):
            size = (180, 240) if index < 3 else (90, 121)
            writer.write(frame(*size, index=index, pts_s=pts_s), said(face(), pts_s=pts_s))
    writer.close()
    with av.open(str(path)) as video:
        seen = [picture.time for picture in video.decode(video=0)]
    assert seen == pytest.approx(times, abs=0.002)


def test_an_odd_size_can_be_written(tmp_path):
    with OverlayWriter(tmp_path / "odd.mkv") as writer:
        writer.write(frame(91, 121), said())
    with av.open(str(tmp_path / "odd.mkv")) as video:
        assert (video.streams.video[0].height, video.streams.video[0].width) == (90, 120)


def test_a_video_without_a_frame_is_left_out(tmp_path):
    OverlayWriter(tmp_path / "out.mp4").close()
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("name", ["no/folder/out.mp4", "out.nonsense", "."])
def test_a_place_that_can_not_be_written_fails(tmp_path, name):
    with pytest.raises(OutputError, match="can't be written as a video"):
        OverlayWriter(tmp_path / name)


def test_the_made_clip_can_be_drawn(face_clip):
    from stream_detect.sources import open_source, read_frames

    first = next(iter(read_frames(open_source(str(face_clip)))))
    assert draw(first, said(face())).shape == clips.talking_head(1)[0].shape


def test_the_source_and_the_time_stand_below():
    verdict = FrameVerdict("cam1", 0, 3664.26, "t", None, ())
    assert where_and_when(verdict) == "cam1  1:01:04.3"
    assert where_and_when(FrameVerdict("Tür", 0, 59.96, "t", None, ())) == "T?r  0:01:00.0"
    assert not np.array_equal(
        draw(frame(), said())[-12:], draw(frame(), FrameVerdict("x", 0, 9.0, "t", None, ()))[-12:]
    )


def test_an_alert_is_a_banner_across_the_top():
    quiet, alerted = (draw(frame(360, 480), said(face(box=(200.0, 150.0, 300.0, 250.0), alert=a))) for a in (None, "a"))
    assert np.abs(quiet[:12].astype(int) - alerted[:12]).max() > 60


@pytest.mark.parametrize(("height", "width"), [(360, 640), (480, 640), (1080, 1920), (16, 16)])
def test_every_size_can_be_drawn(height, width):
    assert draw(frame(height, width), said(face(alert="a"))).shape == (height, width, 3)


def test_a_video_whose_writer_was_killed_plays_up_to_there(tmp_path):
    path = tmp_path / "out.mp4"
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    seen = 0
    with av.open(str(path)) as video, contextlib.suppress(av.InvalidDataError):
        for _ in video.decode(video=0):
            seen += 1
    assert seen >= 150


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
import numpy as np
from stream_detect.decode.frame import Frame
from stream_detect.overlay import OverlayWriter
from stream_detect.types import FrameVerdict
writer = OverlayWriter(Path(sys.argv[1]))
rng = np.random.default_rng(0)
for i in range(300):
    noise = rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)
    writer.write(Frame.from_rgb(noise, pts_s=i / 25), FrameVerdict("cam", i, i / 25, "t", None, ()))
os.kill(os.getpid(), signal.SIGKILL)
"""
