"""Feeds that come, change and go while others are watched, each with settings of its own."""

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from stream_detect import pipeline
from stream_detect.config import DecisionSettings, Feed, WatchSettings
from stream_detect.errors import SourceError, UnknownFeed, UsageError
from stream_detect.pipeline import Watching
from stream_detect.sources import reader
from stream_detect.types import Alert, FrameVerdict, Status
from tests.doubles import ChoosyDetector, ScriptedDetector, SlowDetector, SteadyOpener
from tests.faults.outage import assert_nothing_more_than, held
from tests.servers import RtspServer

FORGED = DecisionSettings(drift=0.5, raise_at=0.2, window_s=0.3, looks_per_s=10.0)


@pytest.fixture
def openers(monkeypatch):
    """Every source gives a small picture 25 times a second; the openers that were made, by name."""
    made: dict[str, list[SteadyOpener]] = {}

    def opener_for(source):
        made.setdefault(source.name, []).append(SteadyOpener())
        return made[source.name][-1]

    monkeypatch.setattr(reader, "opener_for", opener_for)
    return made


class Run:
    """A run in a thread of its own, and everything it said."""

    def __init__(self, watching: Watching) -> None:
        self.watching = watching
        self.lines: list = []
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="run")

    def _follow(self) -> None:
        with self.watching:
            for line in self.watching.lines(self.stop):
                self.lines.append(line)

    def of(self, name: str, kind: type) -> list:
        return [line for line in list(self.lines) if isinstance(line, kind) and line.source == name]

    def states(self, name: str) -> list[tuple[str, str]]:
        return [(line.state, line.reason) for line in self.of(name, Status)]

    def until(self, has_come, patience_s: float = 10.0) -> None:
        until_s = time.monotonic() + patience_s
        while not has_come():
            assert time.monotonic() < until_s, self.lines[-5:]
            time.sleep(0.005)

    def until_frames(self, name: str, more: int = 5) -> None:
        before = len(self.of(name, FrameVerdict))
        self.until(lambda: len(self.of(name, FrameVerdict)) >= before + more)

    def stats(self, name: str):
        (one,) = [stats for stats in self.watching.feeds() if stats.name == name]
        return one


@contextmanager
def running(*feeds, detector=None, settings=None, decision=None, **about):
    watching = Watching(feeds, detector or ScriptedDetector(), settings, decision, **about)
    run = Run(watching)
    run._thread.start()
    try:
        yield run
    finally:
        run.stop.set()
        run._thread.join(10)
        assert not run._thread.is_alive()
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("reader")] == []


def feed(name, **settings):
    return Feed("synthetic", name, **settings)


def test_a_feed_is_added_while_another_is_watched(openers):
    with running(feed("a")) as run:
        run.until_frames("a")
        assert run.watching.add(feed("b")) == "b"
        run.until_frames("b")
        run.until_frames("a")
        assert [stats.name for stats in run.watching.feeds()] == ["a", "b"]
        assert [state for state, _ in run.states("a")] == ["connecting", "live"]
    assert len(openers["a"]) == len(openers["b"]) == 1
    assert run.states("b")[-1] == ("ended", "stopped")


def test_a_feed_is_removed_with_its_last_lines(openers):
    with running(feed("a"), feed("b"), detector=ScriptedDetector(lambda pts_s: 3.0), decision=FORGED) as run:
        run.until(lambda: run.of("a", Alert))
        assert run.stats("a").active_alerts == 1
        run.watching.remove("a")
        assert [stats.name for stats in run.watching.feeds()] == ["b"]
        run.until(lambda: run.states("a")[-1] == ("ended", "removed"))
        last = run.lines.index(run.of("a", Status)[-1])
        run.until_frames("b")
        assert [line for line in run.lines[last + 1 :] if line.source == "a"] == []
        assert [alert.event for alert in run.of("a", Alert) if alert.event != "updated"] == ["raised", "cleared"]
        assert [state for state, _ in run.states("b")] == ["connecting", "live"]


def test_a_removed_feed_may_come_back_and_hears_nothing_of_its_former_reader(openers):
    with running(feed("a"), feed("b")) as run:
        for _ in range(5):
            run.until_frames("a", 2)
            run.watching.remove("a")
            run.watching.add(feed("a"))
        run.until_frames("a")
        assert run.stats("a").state == "live"
        assert [state for state, _ in run.states("a")].count("ended") == 5
        assert len(openers["a"]) == 6


def test_rates_and_thresholds_change_without_a_new_connection(openers):
    with running(feed("a"), detector=ScriptedDetector(lambda pts_s: 1.0)) as run:
        run.until_frames("a", 20)
        run.watching.change(feed("a", analyse_hz=2.0, decision={"drift": 0.5, "raise_at": 0.1}))
        run.until(lambda: run.of("a", Alert))
        run.until_frames("a", 3)
        frames = run.of("a", FrameVerdict)[-3:]
        assert frames[-1].pts_s - frames[-2].pts_s == pytest.approx(0.5, abs=0.1)
        assert [state for state, _ in run.states("a")] == ["connecting", "live"]
    assert len(openers["a"]) == 1


def test_another_way_of_reading_connects_that_feed_anew_and_its_counts_go_on(openers):
    with running(feed("a"), feed("b"), detector=ScriptedDetector(lambda pts_s: 3.0), decision=FORGED) as run:
        run.until(lambda: run.of("a", Alert))
        before = run.stats("a")
        run.watching.change(feed("a", read_timeout_s=1.0))
        run.until(lambda: len(openers["a"]) == 2)
        run.until_frames("a", 25)
        after = run.stats("a")
        assert [state for state, _ in run.states("a")] == ["connecting", "live", "reconnecting", "connecting", "live"]
        assert [state for state, _ in run.states("b")] == ["connecting", "live"]
        assert after.frames > before.frames
        assert after.alerts == 2
        assert [alert.event for alert in run.of("a", Alert) if alert.event != "updated"][:2] == ["raised", "cleared"]
    last = run.of("a", Status)[-1]
    assert last.frames == last.analysed + sum(last.dropped.values())
    assert last.analysed == len(run.of("a", FrameVerdict))


def test_what_can_not_be_meant_is_said_at_once_and_changes_nothing(openers):
    with running(feed("a"), detector=ChoosyDetector()) as run:
        run.until_frames("a")
        for wrong, error, words in (
            (lambda: run.watching.add(feed("a")), UsageError, "a: there is a feed of that name already"),
            (lambda: run.watching.add(Feed("gopher://host/x", "b")), SourceError, "unknown scheme"),
            (lambda: run.watching.change(feed("b")), UnknownFeed, "there is no feed of that name; there are a"),
            (lambda: run.watching.remove("b"), UnknownFeed, "b: there is no feed"),
            (lambda: run.watching.change(feed("a", experts=("meso",))), UsageError, "meso.*has spectrum, mesonet"),
            (lambda: run.watching.change(feed("a", decision={"raise": 0.5})), UsageError, "unknown key 'raise'"),
        ):
            with pytest.raises(error, match=words):
                wrong()
        run.until_frames("a")
        assert [stats.name for stats in run.watching.feeds()] == ["a"]
        assert [state for state, _ in run.states("a")] == ["connecting", "live"]


def test_feeds_may_be_changed_in_the_loop_s_own_thread(openers):
    watching = Watching([feed("a")], ScriptedDetector())
    said = []
    with watching:
        for line in watching.lines(threading.Event()):
            said.append((line.source, line.state if isinstance(line, Status) else "frame"))
            if said.count(("a", "frame")) == 3 and ("b", "frame") not in said and len(watching.feeds()) == 1:
                watching.add(feed("b"))
            if ("b", "frame") in said:
                for stats in watching.feeds():
                    watching.remove(stats.name)
    assert said[-2:] == [("a", "ended"), ("b", "ended")]


def test_a_run_that_stays_waits_for_feeds(openers):
    with running(stays=True) as run:
        time.sleep(0.3)
        assert run.watching.last_turn_s() < 0.3
        run.watching.add(feed("a"))
        run.until_frames("a")
        run.watching.remove("a")
        run.until(lambda: ("ended", "removed") in run.states("a"))
        time.sleep(0.3)
        assert run._thread.is_alive()


def test_a_feed_that_ended_is_shown_until_it_is_removed_and_may_be_opened_anew(face_clip):
    with running(Feed(str(face_clip), "clip"), stays=True) as run:
        run.until(lambda: "ended" in [state for state, _ in run.states("clip")])
        run.until(lambda: run.stats("clip").state == "ended")
        assert (run.stats("clip").frames, run.stats("clip").analysed, run.stats("clip").in_hz) == (10, 10, 0.0)
        for again, opens in enumerate((run.watching.add, run.watching.change), start=2):
            opens(Feed(str(face_clip), "clip"))
            run.until(lambda again=again: len(run.of("clip", FrameVerdict)) == 10 * again)
            run.until(lambda again=again: [state for state, _ in run.states("clip")].count("ended") == again)
        assert run.stats("clip").analysed == 30
        run.watching.remove("clip")
        assert run.watching.feeds() == []


def test_a_run_that_is_over_takes_no_more_changes(openers):
    with running(feed("a")) as run:
        run.until_frames("a")
    for change, name in ((run.watching.add, "b"), (run.watching.change, "a")):
        with pytest.raises(UsageError, match="the run is over"):
            change(feed(name))


def test_no_feed_that_failed_is_forgotten_however_many_fail_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(pipeline, "STATUSES", 4)
    watching = Watching([str(tmp_path / f"{number}.mp4") for number in range(40)], ScriptedDetector())
    with watching:
        last = [line for line in watching.lines(threading.Event()) if line.state == "failed"]
    assert len({line.source for line in last}) == len(last) == 40


def test_frames_left_at_the_end_are_counted_in_the_figures_too(openers):
    with running(feed("a"), stays=True, detector=SlowDetector(0.1)) as run:
        run.until_frames("a")
    last, stats = run.of("a", Status)[-1], run.stats("a")
    assert last.frames == last.analysed + sum(last.dropped.values())
    assert stats.dropped == {cause: number for cause, number in last.dropped.items() if number}


def test_a_feed_that_no_thread_can_be_had_for_fails_alone(openers, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    with running(feed("a")) as run:
        run.until_frames("a")
        monkeypatch.setattr(threading.Thread, "start", refuse)
        run.watching.add(feed("b"))
        run.until(lambda: run.states("b"))
        monkeypatch.undo()
        assert run.states("b") == [("failed", "it can't be read: can't start new thread")]
        run.until_frames("a")


def test_a_loop_whose_consumer_waits_is_known_to_wait(openers):
    watching, go_on, waits = Watching([feed("a")], ScriptedDetector()), threading.Event(), threading.Event()

    def consume():
        with watching:
            for line in watching.lines(threading.Event()):
                if isinstance(line, FrameVerdict):
                    waits.set()
                    go_on.wait(5)
                    return

    thread = threading.Thread(target=consume)
    thread.start()
    assert waits.wait(5)
    watching.add(feed("b"))  # does not wait for the loop
    time.sleep(0.3)
    assert watching.last_turn_s() >= 0.3
    assert [(stats.name, stats.state) for stats in watching.feeds()] == [("a", "live"), ("b", "connecting")]
    go_on.set()
    thread.join(10)


def test_faces_in_a_zone_to_ignore_are_nobody(openers):
    poster = (0.4, 0.4, 0.6, 0.6)
    with running(feed("a", ignore=(poster,)), feed("b")) as run:
        run.until_frames("a")
        run.until_frames("b")
        assert {len(line.faces) for line in run.of("a", FrameVerdict)} == {0}
        assert {len(line.faces) for line in run.of("b", FrameVerdict)} == {1}
        run.watching.change(feed("b", ignore=(poster,)))
        run.until(lambda: run.of("b", FrameVerdict)[-1].faces == ())
        run.watching.change(feed("a"))
        run.until(lambda: len(run.of("a", FrameVerdict)[-1].faces) == 1)


def test_feeds_of_the_same_experts_are_judged_together(openers):
    detector = ChoosyDetector()
    every, some = ("mesonet", "spectrum"), ("mesonet",)
    feeds = [feed("a"), feed("b", experts=every), feed("c", experts=some), feed("d", experts=some)]
    with running(*feeds, detector=detector) as run:
        for name in "abcd":
            run.until_frames(name, 15)
    asked_of = {name: {experts for experts, names in detector.asked if name in names} for name in "abcd"}
    assert asked_of == {"a": {None}, "b": {None}, "c": {some}, "d": {some}}
    assert any(len(names) > 1 for _, names in detector.asked)


def test_a_light_feed_among_full_ones_is_looked_at_by_fewer(openers):
    detector = ChoosyDetector()
    detector.experts = {"spectrum": None, "residual": None, "color": None}
    with running(feed("a"), feed("b", profile="light"), detector=detector) as run:
        run.until_frames("b", 8)
    times = [line.pts_s for line in run.of("b", FrameVerdict)]
    assert (times[-1] - times[0]) / (len(times) - 1) == pytest.approx(1 / 6, abs=0.04)
    assert {experts for experts, names in detector.asked if "b" in names} == {("residual", "color")}


def test_a_detector_without_experts_lets_nobody_choose():
    with pytest.raises(UsageError, match="the detector has none to choose from"):
        Watching([feed("a", experts=("mesonet",))], ScriptedDetector())


@pytest.mark.parametrize("kind", ["corrupt", "frozen"])
def test_who_is_not_seen_for_long_in_frames_that_say_nothing_is_forgotten(kind, monkeypatch):
    """Evidence is not carried over a stretch of frozen or corrupt frames, and an alert does not outlast it."""
    breaks_s = 1.0

    def changed(frame):
        if frame.pts_s < breaks_s:
            return frame
        if kind == "corrupt":
            return replace(frame, is_corrupt=True)
        return replace(frame, planes=(frame.planes[0] * 0,))

    monkeypatch.setattr(reader, "opener_for", lambda source: SteadyOpener(changed=changed))
    decision = replace(FORGED, forget_s=0.5)
    settings = WatchSettings(frozen_after_s=0.3, analyse_hz=None)
    detector = ScriptedDetector(lambda pts_s: 3.0)
    with running(feed("a"), detector=detector, decision=decision, settings=settings) as run:
        run.until(lambda: [alert.event for alert in run.of("a", Alert)][-1:] == ["cleared"])
        cleared = run.of("a", Alert)[-1]
        seen_s = max(line.pts_s for line in run.of("a", FrameVerdict) if line.faces)
        assert cleared.ended_s == pytest.approx(seen_s + 0.5, abs=0.2)
        time.sleep(0.3)
        unsaid = [line for line in run.of("a", FrameVerdict) if line.reasons]
        assert {line.reasons for line in unsaid} == {(kind,)}
        assert {line.faces for line in unsaid} == {()}
        assert run.of("a", Alert)[-1] is cleared
    last = run.of("a", Status)[-1]
    assert last.dropped[kind] == len([line for line in run.of("a", FrameVerdict) if line.reasons])


def test_an_alert_does_not_outlast_a_source_that_is_lost(monkeypatch):
    def changed(frame):
        if frame.pts_s > 0.6:
            raise SourceError("gone")
        return frame

    monkeypatch.setattr(reader, "opener_for", lambda source: SteadyOpener(changed=changed))
    monkeypatch.setattr("stream_detect.sources.retry.EVERY_S", 60.0)
    decision = replace(FORGED, forget_s=0.5)
    detector = ScriptedDetector(lambda pts_s: 3.0)
    with running(feed("a"), detector=detector, decision=decision) as run:
        run.until(lambda: "reconnecting" in [state for state, _ in run.states("a")])
        run.until(lambda: [alert.event for alert in run.of("a", Alert)].count("cleared") >= 1)


def test_times_of_day_never_step_back(monkeypatch):
    from datetime import timedelta

    def changed(frame):
        return replace(frame, seen_at=frame.seen_at - timedelta(seconds=60 * (frame.index % 3)))

    monkeypatch.setattr(reader, "opener_for", lambda source: SteadyOpener(changed=changed))
    with running(feed("a")) as run:
        run.until_frames("a", 10)
    times = [line.seen_at for line in run.of("a", FrameVerdict)]
    assert times == sorted(times)


class Heard:
    """An observer that remembers everything."""

    def __init__(self) -> None:
        self.stages: dict[tuple[str, str], list[float]] = {}
        self.ages: dict[str, list[float]] = {}
        self.batches: list[tuple[int, float]] = []

    def stage(self, feed, stage, seconds):
        self.stages.setdefault((feed, stage), []).append(seconds)

    def age(self, feed, seconds):
        self.ages.setdefault(feed, []).append(seconds)

    def batch(self, frames, seconds):
        self.batches.append((frames, seconds))


def test_an_observer_hears_of_every_stage_of_every_frame(monkeypatch):
    monkeypatch.setattr(reader, "opener_for", lambda source: SteadyOpener(late_s=0.03))
    observer = Heard()
    with running(feed("a"), feed("b"), observer=observer) as run:
        run.until_frames("a")
        run.until_frames("b")
    for name in "ab":
        analysed = run.of(name, Status)[-1].analysed
        for stage in ("decode", "wait", "faces", "judge", "tell"):
            assert len(observer.stages[name, stage]) == analysed
            assert min(observer.stages[name, stage]) >= 0
        assert min(observer.stages[name, "decode"]) >= 0.03
        assert len(observer.ages[name]) == analysed
        assert min(observer.ages[name]) >= 0.03
    assert sum(frames for frames, _ in observer.batches) == sum(run.of(name, Status)[-1].analysed for name in "ab")


def test_figures_of_a_feed_are_those_of_its_lines(openers):
    with running(feed("a"), detector=ScriptedDetector(lambda pts_s: 3.0), decision=FORGED) as run:
        run.until_frames("a", 50)
        stats = run.stats("a")
        assert (stats.kind, stats.is_live, stats.state, stats.faces) == ("synthetic", True, "live", 1)
        assert stats.in_hz == pytest.approx(25, rel=0.3)
        assert stats.analysed_hz == pytest.approx(25, rel=0.3)
        assert 0 <= stats.age_s < 0.25
        assert 0 <= stats.last_frame_s < 0.25
        assert (stats.alerts, stats.active_alerts) == (1, 1)
        assert stats.frames >= stats.analysed >= 50


def test_a_batch_waits_a_moment_for_frames_of_other_feeds_and_no_longer(monkeypatch):
    """A feed that gives a frame each 40 ms is waited for, one that gives one in two seconds is not."""
    made = {"a": SteadyOpener(), "b": SteadyOpener(), "seldom": SteadyOpener(0.5)}
    monkeypatch.setattr(reader, "opener_for", lambda source: made[source.name])
    detector = ScriptedDetector()
    settings = WatchSettings(gather_ms=60.0)
    with running(feed("a"), feed("b"), feed("seldom"), detector=detector, settings=settings) as run:
        run.until(lambda: run.stats("seldom").state == "live")
        run.until_frames("a")
        del detector.batches[:]
        run.until_frames("a", 20)
        together = sum({"a", "b"} <= set(batch) for batch in detector.batches)
        assert together >= 0.7 * len(detector.batches)
        latencies = [line.latency_ms for line in run.of("a", FrameVerdict)[-20:]]
        assert np.median(latencies) < 120


@pytest.mark.services
@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_feeds_of_a_real_server_come_and_go_and_leave_nothing_behind(isolation):
    with RtspServer() as server:

        def camera(name, **settings):
            return Feed(server.url, name, isolation=isolation, **settings)

        before = held()
        observer = Heard()
        with running(camera("a"), stays=True, observer=observer) as run:
            run.until_frames("a", 1)
            for _ in range(3):
                run.watching.add(camera("b"))
                run.until_frames("b", 5)
                assert (run.stats("b").pid is not None) == (isolation == "process")
                run.watching.change(camera("b", read_timeout_s=3.0))
                run.until(lambda: run.states("b")[-2:-1] == [("reconnecting", "its settings were changed")])
                run.until_frames("b", 5)
                run.watching.remove("b")
                run.until(lambda: run.states("b")[-1] == ("ended", "removed"))
            assert [state for state, _ in run.states("a")] == ["connecting", "live"]
            assert np.percentile(observer.ages["a"], 95) < 0.25
        assert_nothing_more_than(before)
