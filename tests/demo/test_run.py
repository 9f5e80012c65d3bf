"""The demonstration end to end, with a detector whose answers are known, and what counts as misbehaviour."""

import av
import numpy as np
import pytest

from stream_detect.config import DecisionSettings
from stream_detect.demo import DemoSettings, make_clip, run_demo
from stream_detect.demo.clip import DemoClip
from stream_detect.demo.plots import frame_after, frame_before
from stream_detect.demo.report import Recording, expert_means
from stream_detect.demo.run import watch_clip
from stream_detect.errors import OutputError, SourceError, UsageError
from stream_detect.types import Alert, FaceVerdict, FrameVerdict
from tests import clips
from tests.doubles import ScriptedDetector

CHANGE_S = 3.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Six seconds of 240 x 180 pixels, of which the second half counts as forged."""
    path = clips.write_clip(tmp_path_factory.mktemp("demo") / "clip.mp4", clips.scenery(150, 180, 240))
    return DemoClip(path, 6.0, CHANGE_S)


def caught(pts_s):
    return 3.0 if pts_s >= CHANGE_S else -3.0


def run(clip, tmp_path, llr_at=caught, **settings):
    detector = ScriptedDetector(llr_at, DecisionSettings(looks_per_s=4.0))
    return run_demo(DemoSettings(out=tmp_path, **settings), detector, clip=clip)


def test_a_forgery_is_alerted_after_the_change(clip, tmp_path):
    report = run(clip, tmp_path)
    assert report.misbehaviour is None
    assert 0 < report.recording.time_to_alert_s < 3
    assert report.plot.read_bytes().startswith(b"\x89PNG")
    assert frame_before(report.recording).verdict.pts_s < CHANGE_S < frame_after(report.recording).verdict.pts_s


def test_the_feed_arrives_in_real_time_and_whole(clip, tmp_path):
    recording = watch_clip(clip, ScriptedDetector())
    times = [verdict.pts_s for verdict in recording.verdicts]
    assert times[0] < 1.5
    assert times[-1] == pytest.approx(6.0, abs=0.5)
    assert {verdict.source for verdict in recording.verdicts} == {"demo"}


def test_no_alert_is_told(clip, tmp_path):
    assert run(clip, tmp_path, lambda pts_s: -3.0).misbehaviour == "no alert was raised after the face was forged"


def test_an_alert_before_the_change_is_told(clip, tmp_path):
    assert "before the face was forged" in run(clip, tmp_path, lambda pts_s: 3.0).misbehaviour


def test_an_alert_in_the_control_is_told(clip, tmp_path):
    control = DemoClip(clip.path, clip.seconds, None)
    assert "although nothing was forged" in run(control, tmp_path, control=True).misbehaviour
    assert (tmp_path / "control.png").exists()


def test_a_feed_that_never_arrives_is_an_error_of_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr("stream_detect.demo.run.SLACK_S", 1.0)
    with pytest.raises(SourceError, match=r"did not arrive over loopback \(.*No such file"):
        watch_clip(DemoClip(tmp_path / "none.mp4", 1.0, None), ScriptedDetector())


def test_a_folder_that_can_not_be_written_fails_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--out"):
        make_clip(DemoSettings(out=tmp_path / "file" / "folder"))


def test_a_length_below_zero_fails():
    with pytest.raises(UsageError, match="seconds"):
        DemoSettings(seconds=-1.0)


def test_the_making_of_the_clip_tells_how_far_it_is(tmp_path):
    heard = []
    made = make_clip(DemoSettings(out=tmp_path, seconds=0.2), lambda *told: heard.append(told))
    assert heard[-1] == ("making the clip", 5, 5, "")
    with av.open(str(made.path)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 5


def said(pts_s, probability, **experts):
    face = FaceVerdict(1, (0, 0, 1, 1), probability, 0.0, probability, "real", (), experts, 1.0)
    return FrameVerdict("demo", 0, pts_s, "t", None, (face,))


def alert(started_s):
    return Alert("raised", "a", "demo", 1, "sustained", "t", started_s, None, 0.9)


def test_means_are_taken_apart_before_and_after():
    recording = Recording(change_s=2.0)
    for pts_s, probability in ((0.0, 0.1), (1.0, 0.3), (2.0, 0.7), (3.0, 0.9)):
        recording.take(said(pts_s, probability, color=probability))
    assert expert_means(recording.faces(before=True)) == pytest.approx({"color": 0.2, "together": 0.2, "running": 0.2})
    assert expert_means(recording.faces(before=False))["color"] == pytest.approx(0.8)


def test_faces_that_were_not_judged_do_not_count():
    recording = Recording(change_s=None)
    recording.take(said(0.0, None))
    assert recording.faces(before=True) == []
    assert expert_means([]) == {"together": None, "running": None}


def test_the_alert_is_timed_by_the_frame_that_raised_it():
    recording = Recording(change_s=2.0)
    recording.take(said(2.5, 0.9))
    recording.take(alert(started_s=2.2))
    assert recording.alert_s == 2.5
    assert recording.time_to_alert_s == pytest.approx(0.5)


def test_the_frame_of_the_first_alert_is_kept():
    from stream_detect.decode.frame import Frame

    recording, frame = Recording(change_s=0.0), Frame.from_rgb(np.zeros((8, 8, 3), np.uint8))
    alerted = FaceVerdict(1, (0, 0, 1, 1), 0.9, 1.0, 0.9, "fake", (), {}, 1.0, "a")
    for pts_s, faces in ((0.0, ()), (0.1, ()), (0.2, (alerted,)), (0.3, (alerted,))):
        recording.see(frame, FrameVerdict("demo", 0, pts_s, "t", None, faces))
    assert [kept.verdict.pts_s for kept in recording.kept] == [0.0, 0.2]
