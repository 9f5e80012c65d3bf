"""What is normal for one feed, and traces that are kept: learned from a file that stands for a camera."""

import math
from dataclasses import replace

import numpy as np
import pytest

from stream_detect.config import DecisionSettings
from stream_detect.errors import ConfigError, OutputError, SourceError
from stream_detect.sources import open_source, read_frames
from stream_detect.temporal import Thresholds
from stream_detect.temporal.thresholds import with_feed
from stream_detect.training.alarms import (
    AlarmSettings,
    Kept,
    feed_words,
    learn_alerts,
    learn_feed,
    normal_of,
    real_traces,
)
from stream_detect.training.manifest import Item
from stream_detect.training.prints import prints_of, swap_tail
from tests.clips import portrait, write_clip
from tests.doubles import ScriptedDetector
from tests.training.test_budget import PEOPLE, made

FPS = 5


class Digest:
    files_digest = "abc"


class Camera(ScriptedDetector):
    """A scripted detector with alert levels."""

    def __init__(self, llr_at):
        super().__init__(llr_at)
        self.thresholds = Thresholds()
        self.weights = Digest()


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("media") / "door.mp4"
    write_clip(path, [portrait(64, 96, 30)] * (70 * FPS), fps=FPS)
    return path


def wander(mean):
    return lambda pts_s: mean + 0.3 * math.sin(1.7 * pts_s)


def test_a_feed_that_looks_very_real_is_watched_more_closely(recording):
    name, normal = learn_feed(str(recording), 2.0, Camera(wander(-3.0)))
    thresholds = with_feed(Thresholds(), name, normal)
    own, usual = (thresholds.levels(DecisionSettings(), feed) for feed in (name, "another"))
    assert name == "door.mp4"
    assert own.drift < usual.drift
    assert seconds_until(own) < seconds_until(usual)
    assert "door.mp4: learned in 1.2 minutes" in feed_words(name, thresholds)


def seconds_until(levels, llr=2.5):
    """How long a forgery that shows so much takes to be alerted."""
    return levels.raise_at / (llr - levels.drift)


def test_a_feed_that_raises_alerts_is_not_taken_for_real(recording):
    with pytest.raises(ConfigError, match=r"alerts would have been raised.*--accept"):
        learn_feed(str(recording), 2.0, Camera(wander(2.5)))


def test_it_is_if_a_person_says_so(recording):
    _, normal = learn_feed(str(recording), 2.0, Camera(wander(1.5)), is_accepted=True)
    assert normal.drift >= 1.5


def test_a_feed_that_shows_nobody_for_long_enough_fails(recording):
    with pytest.raises(ConfigError, match=r"faces could be judged for 0 s, expected 60 s or more"):
        learn_feed(str(recording), 2.0, Camera(lambda pts_s: None))


def test_a_feed_that_is_not_there_fails(tmp_path):
    with pytest.raises(SourceError):
        learn_feed(str(tmp_path / "nowhere.mp4"), 0.1, Camera(wander(-3.0)))


def test_little_of_a_feed_leans_on_what_all_footage_showed():
    calm = made("feed", seconds=120.0, mean=-3.0, spread=0.05)
    normal = normal_of(calm, Thresholds(), DecisionSettings())
    assert normal.sustained.scale == pytest.approx(Thresholds().sustained.scale, rel=0.5)


def test_what_was_judged_is_kept_and_not_judged_again(tmp_path, recording):
    clips = [Item(recording, False, "video", identity="somebody")]
    detector = Camera(wander(-2.0))
    kept = Kept(tmp_path / "traces.npz")
    (first,) = real_traces(clips, detector, ["as it is"], kept, lambda *_: None, print)
    searches = len(detector.searches)
    (again,) = real_traces(clips, detector, ["as it is"], Kept(tmp_path / "traces.npz"), lambda *_: None, print)
    assert len(detector.searches) == searches
    assert np.array_equal(first.llr, again.llr)
    assert (again.group, again.wire) == ("somebody", "as it is")


def test_a_clip_goes_through_a_wire_for_a_minute_at_most(recording):
    clips = [Item(recording, False, "video", identity="somebody")]
    (sent,) = real_traces(clips, Camera(wander(-2.0)), ["h264 300 kbit/s"], Kept(None), lambda *_: None, print)
    assert sent.seconds == pytest.approx(60.0, abs=1.0)


def test_a_clip_that_can_not_be_read_is_left_out_and_told(tmp_path):
    (tmp_path / "broken.mp4").write_text("once upon a time")
    warned = []
    items = [Item(tmp_path / "broken.mp4", False, "video")]
    assert list(real_traces(items, Camera(wander(0)), ["as it is"], Kept(None), lambda *_: None, warned.append)) == []
    assert "broken.mp4" in warned[0]


def test_a_file_that_holds_no_traces_fails(tmp_path):
    (tmp_path / "traces.npz").write_text("x")
    with pytest.raises(ConfigError, match="not a file of traces"):
        Kept(tmp_path / "traces.npz")


def test_traces_that_can_not_be_kept_fail(tmp_path):
    with pytest.raises(OutputError, match="can't be written"):
        Kept(tmp_path / "nowhere" / "traces.npz").add([PEOPLE[0]])


def test_a_wire_that_there_is_not_fails():
    with pytest.raises(ConfigError, match=r"unknown wires carrier pigeon; expected some of as it is"):
        AlarmSettings(wires=("carrier pigeon",))


def test_levels_are_learned_from_clips_that_were_judged_before(tmp_path, recording):
    kept = Kept(tmp_path / "traces.npz")
    kept.add([replace(one, clip=f"{one.group}.mp4") for one in PEOPLE])
    items = [Item(tmp_path / f"{one.group}.mp4", False, "video", identity=one.group) for one in PEOPLE]
    settings = AlarmSettings(wires=("as it is",), kept=tmp_path / "traces.npz")
    thresholds = learn_alerts(items, Camera(wander(-2.0)), settings)
    assert (thresholds.weights, thresholds.basis.identities) == ("abc", len(PEOPLE))


def test_the_level_of_a_swapped_feed_is_learned_from_clips_that_nobody_swapped():
    scene = np.random.default_rng(1).normal(size=(24, 12))
    calm = [(k / 2, scene + 0.02 * np.random.default_rng(k).normal(size=scene.shape)) for k in range(60)]
    jumpy = [(at, one + (0.6 if 30 <= k < 33 else 0.0)) for k, (at, one) in enumerate(calm)]
    quiet, lively = swap_tail([("a", calm)]), swap_tail([("a", calm), ("b", jumpy)])
    assert lively.at(0.02) > quiet.at(0.02)
    assert swap_tail([("a", [(0.0, None), (0.5, None)])]) is None


def test_a_clip_has_a_fingerprint_every_half_second(tmp_path):
    path = tmp_path / "wide.mp4"
    write_clip(path, [portrait(256, 512, 60)] * 30, fps=10)
    stream = list(prints_of(read_frames(open_source(str(path))), Camera(wander(-2.0))))
    assert [at for at, _ in stream] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    assert all(one is not None for _, one in stream)
