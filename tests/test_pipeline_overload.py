"""More frames than can be judged: none is judged late, and every feed gets its share."""

import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from stream_detect.config import Feed
from stream_detect.pipeline import Watching
from stream_detect.sources import open_source, reader
from stream_detect.sources.address import SourceOptions
from stream_detect.types import FrameVerdict, Status
from tests.doubles import ScriptedDetector, SlowDetector, SteadyOpener

BUDGET_MS = 250.0
RATE_HZ = 25.0


@pytest.fixture
def steady(monkeypatch):
    monkeypatch.setattr(reader, "opener_for", lambda source: SteadyOpener(RATE_HZ))


def names(number):
    return [f"cam{place}" for place in range(number)]


def followed(detector, feeds, seconds, consumer_s=0.0, during=lambda elapsed_s: None):
    """Every line of a run of so many seconds, each with when it came; a consumer takes so long for each verdict."""
    stop, lines, began_s = threading.Event(), [], time.monotonic()
    with Watching(feeds, detector) as watching:
        for line in watching.lines(stop):
            elapsed_s = time.monotonic() - began_s
            lines.append((elapsed_s, line))
            during(elapsed_s)
            if elapsed_s >= seconds:
                stop.set()
            elif isinstance(line, FrameVerdict):
                time.sleep(consumer_s)
    return lines


def verdicts(lines, since_s=0.0, until_s=float("inf")):
    return [(at_s, line) for at_s, line in lines if isinstance(line, FrameVerdict) and since_s <= at_s < until_s]


def ages_ms(lines, since_s=0.0):
    return np.array([line.latency_ms for _, line in verdicts(lines, since_s)])


def per_feed(lines, since_s=0.0, until_s=float("inf")):
    return Counter(line.source for _, line in verdicts(lines, since_s, until_s))


def assert_every_frame_is_accounted_for(lines):
    last = {line.source: line for _, line in lines if isinstance(line, Status)}
    told = per_feed(lines)
    for name, status in last.items():
        assert status.state == "ended"
        assert status.analysed == told[name]
        assert status.frames == status.analysed + sum(status.dropped.values())
        assert set(status.dropped) <= {"stale", "corrupt", "late", "unseen"}
        assert status.dropped.get("unseen", 0) <= 2


@pytest.mark.parametrize("feeds", [1, 6])
@pytest.mark.parametrize("slow", ["detector", "consumer"])
def test_what_is_slowed_to_a_third_judges_no_old_frame(steady, slow, feeds):
    frame_s = 3 / (RATE_HZ * feeds)
    detector = SlowDetector(frame_s) if slow == "detector" else ScriptedDetector()
    lines = followed(
        detector, [Feed("synthetic", name) for name in names(feeds)], 3.0, frame_s if slow == "consumer" else 0.0
    )
    ages = ages_ms(lines, since_s=1.0)
    times = [at_s for at_s, _ in verdicts(lines, since_s=1.0)]
    assert len(ages) >= 0.5 * 2.0 / frame_s
    assert np.percentile(ages, 99) <= BUDGET_MS
    assert abs(np.polyfit(times, ages, 1)[0]) < 40  # ms of age a second
    assert_every_frame_is_accounted_for(lines)


def test_every_feed_gets_its_share_and_more_again_when_there_is_more(steady):
    detector, feeds = SlowDetector(0.04), names(6)

    def during(elapsed_s):
        detector.frame_s = 0.04 if elapsed_s < 2.5 else 0.001

    lines = followed(detector, [Feed("synthetic", name) for name in feeds], 5.0, during=during)
    busy, idle = per_feed(lines, 0.5, 2.5), per_feed(lines, 3.0, 5.0)
    assert max(busy.values()) - min(busy[name] for name in feeds) <= 2
    assert sum(busy.values()) < 60
    assert all(idle[name] >= 2 * max(busy.values()) for name in feeds)
    assert np.percentile(ages_ms(lines, 1.0), 99) <= BUDGET_MS


def test_a_slow_feed_holds_no_batch_back(monkeypatch):
    """One feed gives two frames a second, another each of its frames late; the third is judged as if it were alone."""
    openers = {"slow": SteadyOpener(2.0), "late": SteadyOpener(RATE_HZ, late_s=0.1), "quick": SteadyOpener(RATE_HZ)}
    monkeypatch.setattr(reader, "opener_for", lambda source: openers[source.name])
    lines = followed(ScriptedDetector(), [Feed("synthetic", name) for name in openers], 3.0)
    counted = per_feed(lines, 1.0, 3.0)
    assert counted["quick"] >= 40
    assert counted["late"] >= 40
    assert counted["slow"] >= 3
    quick = [line.latency_ms for _, line in verdicts(lines, 1.0) if line.source == "quick"]
    assert np.median(quick) < 40


def test_a_feed_whose_decoder_takes_longer_than_the_budget_is_judged_all_the_same(monkeypatch):
    monkeypatch.setattr(reader, "opener_for", lambda source: SteadyOpener(5.0, late_s=0.4))
    lines = followed(ScriptedDetector(), [Feed("synthetic", "cam")], 5.0)
    assert len(verdicts(lines, since_s=3.5)) >= 5


def test_frames_that_come_old_after_a_pause_are_dropped(monkeypatch):
    def changed(frame):
        is_old = 1.0 < frame.pts_s < 1.5
        return replace(frame, arrived_s=frame.arrived_s - 0.4) if is_old else frame

    monkeypatch.setattr(reader, "opener_for", lambda source: SteadyOpener(RATE_HZ, changed=changed))
    lines = followed(ScriptedDetector(), [Feed("synthetic", name) for name in ("cam", "cam2")], 2.5)
    assert [line.pts_s for _, line in verdicts(lines) if 1.0 < line.pts_s < 1.5] == []
    last = {line.source: line for _, line in lines if isinstance(line, Status)}
    assert all(status.dropped["stale"] >= 10 for status in last.values())
    assert_every_frame_is_accounted_for(lines)


def test_files_keep_every_frame_beside_live_feeds_that_are_not_made_to_wait(monkeypatch, face_clip):
    opener_for = reader.opener_for
    monkeypatch.setattr(
        reader, "opener_for", lambda source: opener_for(source) if source.kind == "file" else SteadyOpener(RATE_HZ)
    )
    feeds = [Feed(str(face_clip), f"file{place}") for place in range(4)]
    lines = followed(SlowDetector(0.03), [*feeds, Feed("synthetic", "cam0")], 3.5)
    told = per_feed(lines)
    assert [told[feed.name] for feed in feeds] == [10] * 4
    first = [place for place, (_, line) in enumerate(lines) if isinstance(line, FrameVerdict) and line.source == "cam0"]
    last = [place for place, (_, line) in enumerate(lines) if isinstance(line, FrameVerdict) and line.source != "cam0"]
    assert first[3] < last[-4]  # the live one had its turns while the files were read
    ages = [line.latency_ms for _, line in verdicts(lines) if line.source == "cam0"]
    assert np.percentile(ages, 99) <= BUDGET_MS


def test_a_live_feed_of_which_every_frame_is_wanted_loses_none(steady):
    source = open_source("synthetic", name="cam", options=SourceOptions(every_frame=True))
    lines = followed(SlowDetector(0.08), [source], 2.0)
    indices = [line.frame for _, line in verdicts(lines)]
    assert indices == list(range(len(indices)))
    assert len(indices) >= 15
