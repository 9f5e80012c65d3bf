"""The whole way of a frame, with a detector whose words are known beforehand."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from stream_detect.config import Feed, WatchSettings
from stream_detect.decode.frame import Frame
from stream_detect.decode.stillness import Stillness, same
from stream_detect.errors import DeviceLost, SourceNotFound, UsageError
from stream_detect.pipeline import decoded_on, unique, utc_text, watch
from stream_detect.sources import open_source
from stream_detect.sources.feed import Feed as Connection
from stream_detect.types import Alert, FrameVerdict, Status
from tests import clips
from tests.doubles import ScriptedDetector


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("reader")] == []


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """Twelve seconds at 10 fps."""
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "long.mp4", clips.scenery(120), fps=10)


@pytest.fixture(scope="module")
def long_talk(tmp_path_factory):
    """Twelve seconds at 10 fps of a face that stays in the middle."""
    frames = clips.talking_head(120, height=120, width=160, face_px=40)
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "talk.mp4", frames, fps=10)


def kinds(lines, kind):
    return [line for line in lines if isinstance(line, kind)]


def test_every_frame_of_a_file_is_judged_in_order(face_clip):
    lines = list(watch(str(face_clip), ScriptedDetector()))
    frames = kinds(lines, FrameVerdict)
    assert [frame.frame for frame in frames] == list(range(10))
    assert {frame.source for frame in frames} == {"face.mp4"}
    assert {len(frame.faces) for frame in frames} == {1}
    assert {frame.faces[0].track for frame in frames} == {1}
    assert all(frame.latency_ms >= 0 for frame in frames)
    last = lines[-1]
    assert isinstance(last, Status)
    assert (last.state, last.frames, last.analysed) == ("ended", 10, 10)
    assert last.dropped == {"stale": 0, "corrupt": 0}
    assert len({line.run for line in lines}) == 1


def test_states_are_told_in_order(face_clip):
    states = [line.state for line in watch(str(face_clip), ScriptedDetector()) if isinstance(line, Status)]
    assert states == ["connecting", "live", "ended"]


def test_a_change_raises_an_alert_and_the_end_clears_it(long_clip):
    detector = ScriptedDetector(lambda pts_s: -2.0 if pts_s < 5 else 3.0)
    lines = list(watch(str(long_clip), detector))
    alerts = kinds(lines, Alert)
    assert alerts[0].event == "raised"
    assert alerts[0].started_s == pytest.approx(5.0, abs=0.2)
    assert alerts[-1].event == "cleared"
    assert len({alert.id for alert in alerts}) == 1
    at = lines.index(alerts[0])
    assert isinstance(lines[at - 1], FrameVerdict)
    assert lines[at - 1].faces[0].alert == alerts[0].id
    assert isinstance(lines[-1], Status)


def test_faces_are_searched_in_some_frames_and_followed_in_the_others(long_clip):
    detector = ScriptedDetector()
    list(watch(str(long_clip), detector, detect_every=4, max_frames=40))
    assert 10 <= len(detector.searches) <= 20
    assert len(detector.batches) == 40


def test_the_light_profile_judges_some_frames_and_counts_the_others(long_talk):
    detector = ScriptedDetector()
    lines = list(watch(str(long_talk), detector, profile="light"))
    frames, last = kinds(lines, FrameVerdict), lines[-1]
    assert len(frames) == last.analysed == pytest.approx(72, abs=1)
    assert {face.track for frame in frames for face in frame.faces} == {1}
    assert (last.frames, last.dropped) == (120, {"stale": 0, "corrupt": 0, "profile": 120 - last.analysed})
    assert len(detector.searches) < 30


def test_a_rate_of_ones_own_goes_before_that_of_the_profile(long_clip):
    lines = list(watch(str(long_clip), ScriptedDetector(), analyse_hz=2.0, detect_every=1))
    assert lines[-1].analysed == 24


@pytest.mark.parametrize("rate_hz", [6.0, 1.0])
def test_an_alert_comes_also_where_few_frames_are_judged(long_talk, rate_hz):
    detector = ScriptedDetector(lambda pts_s: -2.0 if pts_s < 5 else 3.0)
    alerts = kinds(list(watch(str(long_talk), detector, profile="light", analyse_hz=rate_hz)), Alert)
    assert alerts[0].event == "raised"
    assert alerts[0].started_s == pytest.approx(5.0, abs=1 / rate_hz + 0.2)


def test_a_corrupt_frame_is_told_whatever_the_profile(face_clip, monkeypatch):
    frames = Connection.frames
    damaged = lambda feed: (replace(frame, is_corrupt=frame.index == 3) for frame in frames(feed))  # noqa: E731
    monkeypatch.setattr(Connection, "frames", damaged)
    lines = list(watch(str(face_clip), ScriptedDetector(), profile="light"))
    assert [frame.frame for frame in kinds(lines, FrameVerdict) if frame.reasons == ("corrupt",)] == [3]


class FreeDetector(ScriptedDetector):
    """Its searches may run beside its judging; it tells in which threads they do."""

    device = "cpu"

    def find_faces(self, frames, max_side=640):
        self.threads = [*getattr(self, "threads", []), threading.current_thread().name]
        return super().find_faces(frames, max_side)


def test_an_ordinary_search_runs_beside_the_judging_and_changes_little(long_talk):
    beside, at_once = FreeDetector(), ScriptedDetector()
    boxes = []
    for detector in (beside, at_once):
        frames = kinds(list(watch(str(long_talk), detector)), FrameVerdict)
        assert [[face.track for face in frame.faces] for frame in frames] == [[1]] * 120
        boxes.append(np.array([frame.faces[0].box for frame in frames]))
    assert beside.threads[0] == "MainThread"
    assert set(beside.threads[1:]) == {"search_0"}
    assert len(beside.searches) in range(20, 25)
    assert np.abs(boxes[0] - boxes[1]).max() < 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("search")]


def test_what_is_found_beside_is_the_same_each_time(long_talk):
    runs = [kinds(list(watch(str(long_talk), FreeDetector(), profile="light")), FrameVerdict) for _ in range(2)]
    assert [[face.box for face in frame.faces] for frame in runs[0]] == [
        [face.box for face in frame.faces] for frame in runs[1]
    ]


def test_a_fault_of_a_search_beside_comes_out(long_talk):
    class Failing(FreeDetector):
        def find_faces(self, frames, max_side=640):
            if threading.current_thread().name.startswith("search"):
                raise ZeroDivisionError("a fault of the search")
            return super().find_faces(frames, max_side)

    with pytest.raises(ZeroDivisionError, match="the search"):
        list(watch(str(long_talk), Failing()))


def test_frames_of_all_feeds_are_judged_in_one_batch(face_clip, long_clip):
    detector = ScriptedDetector()
    lines = list(watch([Feed(str(face_clip), "a"), Feed(str(long_clip), "b")], detector, max_frames=60))
    assert ["a", "b"] in [sorted(batch) for batch in detector.batches]
    assert {line.source for line in kinds(lines, FrameVerdict)} == {"a", "b"}


def test_a_source_that_fails_disturbs_no_other(tmp_path, face_clip):
    broken = tmp_path / "broken.mp4"
    broken.write_text("this is no video")
    lines = list(watch([str(broken), str(face_clip)], ScriptedDetector()))
    last = {line.source: line for line in lines if isinstance(line, Status)}
    assert last["broken.mp4"].state == "failed"
    assert "not a video" in last["broken.mp4"].reason
    assert (last["face.mp4"].state, last["face.mp4"].analysed) == ("ended", 10)


def test_a_missing_file_is_told_like_any_other_failure(tmp_path, face_clip):
    lines = list(watch([str(tmp_path / "none.mp4"), str(face_clip)], ScriptedDetector()))
    states = {line.source: line.state for line in lines if isinstance(line, Status)}
    assert states == {"none.mp4": "failed", "face.mp4": "ended"}


def test_a_live_source_skips_to_the_newest_and_counts_what_it_skipped():
    detector = ScriptedDetector()
    slow = detector.judge

    def judge(seen):
        time.sleep(0.15)
        return slow(seen)

    detector.judge = judge
    lines = list(watch("synthetic", detector, duration_s=2.0))
    last = lines[-1]
    frames = kinds(lines, FrameVerdict)
    assert last.state == "ended"
    assert last.dropped["stale"] > 10
    assert last.frames == last.analysed + sum(last.dropped.values())
    assert last.analysed == len(frames)
    assert max(frame.latency_ms for frame in frames) < 1000


def test_the_duration_ends_a_live_source():
    started_s = time.monotonic()
    lines = list(watch("synthetic", ScriptedDetector(), duration_s=1.0))
    assert time.monotonic() - started_s < 5
    assert lines[-1].reason == "stopped after 1 s"


def test_the_number_of_frames_ends_a_run(long_clip):
    lines = list(watch(str(long_clip), ScriptedDetector(), max_frames=7))
    assert len(kinds(lines, FrameVerdict)) == 7
    assert lines[-1].analysed == 7
    assert lines[-1].frames == 7 + lines[-1].dropped["unseen"]


def test_stop_ends_a_run_with_its_last_lines():
    stop, lines = threading.Event(), []
    for line in watch("synthetic", ScriptedDetector(lambda pts_s: 3.0), stop=stop):
        lines.append(line)
        if isinstance(line, Alert):
            stop.set()
    assert [alert.event for alert in kinds(lines, Alert)][-1] == "cleared"
    assert (lines[-1].state, lines[-1].reason) == ("ended", "stopped")


def test_closing_the_iterator_closes_the_sources():
    lines = watch("synthetic", ScriptedDetector())
    next(lines)
    lines.close()
    lines.close()


def test_a_fault_of_the_detector_comes_out_and_closes_the_sources(face_clip):
    with pytest.raises(ZeroDivisionError):
        list(watch([str(face_clip), "synthetic"], ScriptedDetector(fails=True)))


def test_a_fault_of_the_caller_closes_the_sources():
    def fail(frame, verdict):
        raise RuntimeError("no room on disk")

    with pytest.raises(RuntimeError, match="no room"):
        list(watch("synthetic", ScriptedDetector(), on_frame=fail))


def test_on_frame_sees_each_frame_with_its_verdict(face_clip):
    seen = []
    list(watch(str(face_clip), ScriptedDetector(), on_frame=lambda frame, said: seen.append((frame.index, said.frame))))
    assert seen == [(index, index) for index in range(10)]


def test_a_picture_that_stands_still_is_frozen_and_not_judged():
    still = "color=c=gray:size=160x120:rate=30,format=yuv420p,realtime"
    from stream_detect.sources import SourceOptions

    source = open_source(still, name="still", options=SourceOptions(input_format="lavfi"))
    lines = list(watch(source, ScriptedDetector(), frozen_after_s=0.5, duration_s=1.5))
    frozen = [frame for frame in kinds(lines, FrameVerdict) if frame.reasons == ("frozen",)]
    assert frozen
    assert all(frame.faces == () for frame in frozen)
    assert lines[-1].dropped["frozen"] == len(frozen)
    assert [line.state for line in kinds(lines, Status)] == ["connecting", "live", "stalled", "ended"]


def test_a_file_may_stand_still(tmp_path):
    path = clips.write_clip(tmp_path / "still.mp4", [clips.scenery(1)[0]] * 50)
    lines = list(watch(str(path), ScriptedDetector(), frozen_after_s=0.01))
    assert lines[-1].analysed == 50


def test_a_corrupt_frame_is_told_and_not_judged(face_clip, monkeypatch):
    frames = Connection.frames
    damaged = lambda feed: (replace(frame, is_corrupt=frame.index == 3) for frame in frames(feed))  # noqa: E731
    monkeypatch.setattr(Connection, "frames", damaged)
    lines = list(watch(str(face_clip), ScriptedDetector()))
    assert [frame.frame for frame in kinds(lines, FrameVerdict) if frame.reasons == ("corrupt",)] == [3]
    assert (lines[-1].analysed, lines[-1].dropped["corrupt"]) == (9, 1)


def test_stillness_needs_every_pixel_and_the_whole_time():
    stillness = Stillness(1.0)
    grey = np.full((64, 64), 100, np.uint8)
    moved = grey.copy()
    moved[33, 7] = 101
    shown = [(0.0, grey), (0.9, grey), (1.1, grey), (1.2, moved), (2.0, moved), (2.3, moved)]
    said = [stillness.is_frozen(Frame((luma,), "gray", arrived_s=at)) for at, luma in shown]
    assert said == [False, False, True, False, False, True]


class DeviceArray:
    """Stands in for a GPU's array, which can be cut, compared and brought to the host."""

    def __init__(self, array: np.ndarray, looks: list | None = None) -> None:
        self.array, self._looks = array, [] if looks is None else looks
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, part) -> "DeviceArray":
        return DeviceArray(self.array[part], self._looks)

    def __eq__(self, other) -> np.ndarray:
        self._looks.append(self.shape)
        return self.array == other.array

    __hash__ = None

    def get(self) -> np.ndarray:
        return self.array.copy()


def device_frame(luma: np.ndarray, looks: list, **about) -> Frame:
    chroma = np.full((32, 32, 2), 128, np.uint8)
    return Frame((DeviceArray(luma, looks), DeviceArray(chroma)), "nv12", **about)


def test_pictures_on_a_gpu_are_compared_there_and_seldom():
    stillness, looks = Stillness(1.0), []
    grey = np.full((64, 64), 100, np.uint8)
    moved = grey.copy()
    moved[33, 7] = 101
    shown = [(10 + k / 30, grey) for k in range(40)] + [(10 + k / 30, moved) for k in range(40, 90)]
    said = [stillness.is_frozen(device_frame(luma, looks, arrived_s=at)) for at, luma in shown]
    assert len(looks) < 20
    assert [k for k, frozen in enumerate(said) if frozen] == pytest.approx([*range(31, 45), *range(76, 90)], abs=1)


def test_a_source_that_moves_from_the_gpu_to_the_cpu_is_not_frozen():
    stillness, grey = Stillness(1.0), np.full((64, 64), 100, np.uint8)
    assert not stillness.is_frozen(device_frame(grey, [], arrived_s=10.0))
    assert not stillness.is_frozen(Frame((grey,), "gray", arrived_s=11.5))


@pytest.mark.parametrize(("chosen", "expected"), [(None, "cuda:0"), ("cpu", "cpu"), ("cuda:1", "cuda:1")])
def test_sources_are_decoded_where_the_detector_looks_unless_they_say_otherwise(chosen, expected, face_clip):
    from stream_detect.sources import SourceOptions

    source = open_source(str(face_clip), options=SourceOptions(decoder=chosen))
    assert decoded_on(source, "cuda:0").decoder == expected


def test_faces_are_judged_in_frames_that_lie_on_a_gpu(face_clip, monkeypatch):
    from stream_detect.sources import feed
    from tests.decode.gpus import StandIn

    asked = []
    monkeypatch.setattr(feed, "hardware_for", lambda device: asked.append(device) or StandIn(fails_at=6))
    detector, shown = ScriptedDetector(), []
    detector.decode_device = "cuda:0"
    lines = list(watch(str(face_clip), detector, on_frame=lambda frame, said: shown.append(frame)))
    assert asked == ["cuda:0"]
    assert [frame.layout for frame in shown] == ["nv12"] * 6 + ["yuv420"] * 4
    assert {frame.rgb((0, 0, 480, 360)).shape for frame in shown} == {(360, 480, 3)}
    assert (lines[-1].frames, lines[-1].analysed) == (10, 10)
    assert [line.reason for line in kinds(lines, Status)][1:3] == [
        "480x360, h264 decoded on cuda:0",
        "480x360, decoded on the CPU: cuda:0 failed (it fell off the bus)",
    ]


class Looker(ScriptedDetector):
    """A detector that brings each frame to the host before it says anything."""

    def judge(self, seen):
        for frame, _ in seen:
            frame.on_host()
        return super().judge(seen)


class Lost(DeviceArray):
    """An array of a GPU that is gone."""

    def get(self) -> np.ndarray:
        raise RuntimeError("cudaErrorDevicesUnavailable")

    def __getitem__(self, part) -> "Lost":
        raise RuntimeError("cudaErrorDevicesUnavailable")


def with_planes(kind, numbers: range):
    """Feeds whose frames of these numbers lie on a device, as `kind` has it."""
    frames = Connection.frames

    def moved(feed):
        for frame in frames(feed):
            y, u, v = frame.planes
            planes = (kind(y), kind(np.stack((u, v), axis=-1)))
            yield replace(frame, planes=planes, layout="nv12") if frame.index in numbers else frame

    return moved


@pytest.mark.parametrize("looker", [Looker, ScriptedDetector])
def test_frames_that_are_lost_with_a_gpu_are_counted_and_the_run_goes_on(looker, face_clip, long_clip, monkeypatch):
    monkeypatch.setattr(Connection, "frames", with_planes(Lost, range(4, 7)))
    shown = []
    lines = list(
        watch([str(face_clip), str(long_clip)], looker(), on_frame=lambda frame, said: shown.append(frame.on_host()))
    )
    last = {line.source: line for line in kinds(lines, Status)}[face_clip.name]
    assert last.state == "ended"
    assert last.frames == last.analysed + sum(last.dropped.values()) == 10
    assert last.dropped.get("device", 0) <= 3
    if looker is Looker:
        assert (last.analysed, last.dropped["device"]) == (7, 3)


def test_a_live_picture_that_can_no_longer_be_compared_is_lost():
    stillness, grey = Stillness(1.0), np.full((64, 64), 100, np.uint8)
    chroma = np.full((32, 32, 2), 128, np.uint8)
    stillness.is_frozen(Frame((Lost(grey), Lost(chroma)), "nv12", arrived_s=10.0))
    with pytest.raises(DeviceLost, match=r"no longer answers \(cudaErrorDevicesUnavailable"):
        stillness.is_frozen(Frame((Lost(grey), Lost(chroma)), "nv12", arrived_s=11.0))


def test_a_fault_of_the_detector_alone_is_no_lost_device(face_clip):
    class Broken(ScriptedDetector):
        def judge(self, seen):
            raise DeviceLost("gone")

    with pytest.raises(DeviceLost):
        list(watch(str(face_clip), Broken()))


def test_a_detector_on_the_cpu_asks_for_no_gpu(face_clip, monkeypatch):
    from stream_detect.sources import feed

    monkeypatch.setattr(feed, "hardware_for", pytest.fail)
    assert list(watch(str(face_clip), ScriptedDetector()))[-1].analysed == 10


def test_a_change_of_size_is_a_change():
    assert not same(np.zeros((4, 4), np.uint8), np.zeros((4, 6), np.uint8))


def test_a_live_source_shows_signs_of_life():
    lines = list(watch("synthetic", ScriptedDetector(), duration_s=1.2, status_every_s=0.3))
    assert sum(line.state == "live" for line in kinds(lines, Status)) >= 3


def test_sources_of_one_name_get_numbers(face_clip):
    source = open_source(str(face_clip))
    assert [one.name for one in unique([source, source, source])] == ["face.mp4", "face.mp4#2", "face.mp4#3"]


def test_no_source_fails():
    with pytest.raises(UsageError, match="nothing to watch"):
        watch([], ScriptedDetector())


def test_an_unknown_setting_fails(face_clip):
    with pytest.raises(UsageError, match="expected some of every_frame"):
        watch(str(face_clip), ScriptedDetector(), durations=3)


def test_an_address_that_can_not_be_meant_fails_at_once():
    with pytest.raises(OSError, match="unknown scheme"):
        watch("gopher://host/x", ScriptedDetector())


def test_settings_reach_the_sources(monkeypatch):
    asked = []

    def remember(url, name, options):
        asked.append(options)
        raise SourceNotFound("enough")

    monkeypatch.setattr("stream_detect.watched.open_source", remember)
    settings = WatchSettings(transport="udp", retries=3, every_frame=True)
    for feed in (Feed("rtsp://a/b"), Feed("rtsp://a/b", transport="tcp", retries=0, every_frame=False)):
        with pytest.raises(SourceNotFound):
            watch(feed, ScriptedDetector(), settings=settings)
    assert [(one.transport, one.retries, one.every_frame) for one in asked] == [("udp", 3, True), ("tcp", 0, False)]


def test_times_are_written_in_utc():
    from datetime import UTC, datetime

    assert utc_text(datetime(2026, 11, 22, 13, 0, 0, 123000, tzinfo=UTC)) == "2026-11-22T13:00:00.123Z"
