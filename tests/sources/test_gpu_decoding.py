"""A feed whose source asks for a GPU: what it gives, what it says, and how it goes on where the GPU doesn't."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.hwaccel import HWAccel

from stream_detect.decode.nvdec import QUIET_PACKETS, STRIKES
from stream_detect.mailbox import Mailbox
from stream_detect.sources import Reader, SourceOptions, feed, open_source, read_frames
from stream_detect.sources.feed import Feed
from tests import clips
from tests.decode.gpus import StandIn

ON_A_GPU = SourceOptions(decoder="cuda:0")
STREAMED = SourceOptions(decoder="cuda:0", retries=0, every_frame=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write_clip(tmp_path_factory.mktemp("clips") / "a.mp4", clips.numbered(30))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    """Lets feeds decode on a stand-in: `gpu(fails_at=3)`."""

    def use(**how) -> StandIn:
        stand_in = StandIn(**how)
        monkeypatch.setattr(feed, "hardware_for", lambda device: stand_in)
        return stand_in

    return use


def read(path: Path, options: SourceOptions = ON_A_GPU) -> tuple[list, list[str], dict[str, int]]:
    """The frames of a file, what its reader said while it was live, and what was dropped."""
    statuses = []
    box: Mailbox = Mailbox(4, newest_wins=False)
    frames = []
    with Reader(open_source(str(path), options=options), box, statuses.append) as reader:
        while not box.is_drained:
            if (frame := box.take(0.05)) is not None:
                frames.append(frame)
    assert reader.counts.frames == len(frames)
    return frames, [status.reason for status in statuses if status.state == "live"], reader.counts.dropped


def numbers(frames: list) -> list[int]:
    return [clips.number_of(frame.rgb((0, 0, frame.width, frame.height))) for frame in frames]


def test_what_the_gpu_decodes_stays_there_and_is_said(clip: Path, gpu):
    stand_in = gpu()
    frames, said, dropped = read(clip)
    assert {frame.layout for frame in frames} == {"nv12"}
    assert numbers(frames) == list(range(30))
    assert said == ["96x64, h264 decoded on cuda:0"]
    assert stand_in.given == 30
    assert set(dropped.values()) == {0}


def test_without_a_wish_for_a_gpu_nothing_is_said_of_it(clip: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed, "hardware_for", pytest.fail)
    for options in (SourceOptions(), SourceOptions(decoder="cpu")):
        assert read(clip, options)[1] == ["96x64"]


@pytest.mark.parametrize("how", [{"cant_start": "no driver"}, {"refuses": "no driver"}])
def test_a_gpu_that_can_not_begin_is_told_and_not_needed(clip: Path, gpu, how):
    gpu(**how)
    frames, said, _ = read(clip)
    assert numbers(frames) == list(range(30))
    assert said == ["96x64, decoded on the CPU: no driver"]


@pytest.mark.parametrize("at", [0, 1, 17, 29])
def test_a_gpu_that_fails_midway_costs_no_frame_and_gives_none_twice(clip: Path, gpu, at: int):
    gpu(fails_at=at)
    frames, said, dropped = read(clip)
    assert numbers(frames) == [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.pts_s for frame in frames], np.arange(30) / 25, atol=0.002)
    assert [frame.layout for frame in frames] == ["nv12"] * at + ["yuv420"] * (30 - at)
    before = ["96x64, h264 decoded on cuda:0"] if at else []
    assert said == [*before, "96x64, decoded on the CPU: cuda:0 failed (it fell off the bus)"]
    assert set(dropped.values()) == {0}


@pytest.mark.parametrize("at", [0, 12])
def test_ffmpegs_own_return_to_the_cpu_is_noticed(clip: Path, gpu, at: int):
    gpu(leaves_at=at)
    frames, said, _ = read(clip)
    assert numbers(frames) == list(range(30))
    assert said[-1] == "96x64, decoded on the CPU: h264 is not decoded by this GPU"


def test_a_damaged_packet_is_no_reason_to_leave_the_gpu(tmp_path: Path, gpu, monkeypatch):
    gpu()
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(30), options={"g": "10", "bf": "0"})
    break_packets(monkeypatch, {12, 13})
    frames, said, dropped = read(path)
    assert (len(frames), dropped["corrupt"]) == (28, 2)
    assert said == ["96x64, h264 decoded on cuda:0"]


def test_many_packets_that_fail_are_and_count_once(tmp_path: Path, gpu, monkeypatch):
    gpu()
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(30), options={"g": "10", "bf": "0"})
    break_packets(monkeypatch, {4, *range(12, 12 + STRIKES)}, times=1)
    frames, said, dropped = read(path)
    assert numbers(frames)[:4] == [0, 1, 2, 3]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert dropped["corrupt"] == 1
    assert said == ["96x64, h264 decoded on cuda:0", "96x64, decoded on the CPU: cuda:0 no longer decodes it"]


def test_a_fault_of_cuda_while_decoding_is_believed_at_once(clip: Path, gpu, monkeypatch):
    gpu()
    break_packets(monkeypatch, {12}, times=1, error=av.error.ExternalError(1, "CUDA_ERROR_UNKNOWN"))
    frames, said, dropped = read(clip)
    assert numbers(frames) == list(range(30))
    assert dropped["corrupt"] == 0
    assert said[-1] == "96x64, decoded on the CPU: cuda:0 no longer decodes it"


def test_a_gpu_that_gives_nothing_is_not_waited_for(tmp_path: Path, gpu, monkeypatch):
    gpu()
    path = clips.write_clip(tmp_path / "a.mp4", clips.numbered(QUIET_PACKETS + 20))
    swallow_packets(monkeypatch, QUIET_PACKETS)
    frames, said, _ = read(path)
    assert len(frames) == QUIET_PACKETS + 20
    assert said == ["96x64, decoded on the CPU: h264 is not decoded by this GPU"]


def test_a_short_file_of_which_the_gpu_gives_nothing_is_read_too(clip: Path, gpu, monkeypatch):
    gpu()
    swallow_packets(monkeypatch, 31)
    assert numbers(read(clip)[0]) == list(range(30))


def test_a_picture_filmed_sideways_is_turned_on_the_host(tmp_path: Path, gpu):
    gpu()
    upright = clips.portrait(96, 160, 60)
    stored = np.ascontiguousarray(np.rot90(upright, -1))
    clips.write_clip(tmp_path / "a.mp4", [stored] * 3, rotation=90)
    frame = read(tmp_path / "a.mp4")[0][0]
    assert np.abs(frame.rgb((0, 0, frame.width, frame.height)).astype(int) - upright).mean() < 8


def test_a_live_source_goes_on_in_place_where_ffmpeg_does(clip: Path, gpu, opened):
    gpu(leaves_at=0)
    frames, said, _ = read_live(clip, opened)
    assert numbers(frames) == list(range(30))
    assert said == "decoded on the CPU: h264 is not decoded by this GPU"
    assert opened.count == 1


def test_a_live_source_is_connected_to_anew_when_the_gpu_fails(clip: Path, gpu, opened):
    gpu(fails_at=10)
    frames, said, _ = read_live(clip, opened)
    assert [frame.index for frame in frames] == list(range(40))  # here the "live" file begins again
    assert numbers(frames) == [*range(10), *range(30)]
    assert (np.diff([frame.pts_s for frame in frames]) > 0).all()
    assert said == "decoded on the CPU: cuda:0 failed (it fell off the bus)"
    assert opened.count == 2


def test_the_next_connection_tries_the_gpu_again(clip: Path, gpu):
    source = open_source(str(clip), options=ON_A_GPU)
    gpu(fails_at=3)
    with Feed(source) as first:
        assert len(list(first.frames())) == 30
        assert "CPU" in first.decoding
    gpu()
    with Feed(source) as second:
        assert len(list(second.frames())) == 30
        assert second.decoding == "h264 decoded on cuda:0"


def test_on_a_machine_without_a_driver_the_cpu_decodes_and_the_reason_is_said(clip: Path):
    from tests.requirements import has_gpu

    if has_gpu():
        pytest.skip("this machine has a GPU")
    frames, said, _ = read(clip)
    assert numbers(frames) == list(range(30))
    assert len(said) == 1
    assert said[0].startswith("96x64, decoded on the CPU: ")


def test_an_accelerator_that_av_open_refuses_is_left_out(clip: Path, gpu):
    from tests.requirements import has_gpu

    if has_gpu():
        pytest.skip("this machine has a GPU")
    gpu(accelerator=HWAccel(device_type="cuda", device="0", allow_software_fallback=True, is_hw_owned=True))
    frames, said, _ = read(clip)
    assert numbers(frames) == list(range(30))
    assert said == ["96x64, decoded on the CPU: CUDA refuses (Operation not permitted); see stream-detect doctor"]


def test_a_file_that_is_none_fails_as_ever(tmp_path: Path, gpu):
    gpu()
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(OSError, match="not a video"):
        list(read_frames(open_source(str(tmp_path / "a.mp4"), options=ON_A_GPU)))


def test_cameras_and_the_screen_stay_on_the_cpu():
    for text in ("webcam", "synthetic"):
        assert open_source(text, options=ON_A_GPU).decoder == "cpu"
    assert open_source("rtsp://host/live", options=ON_A_GPU).decoder == "cuda:0"
    with pytest.raises(ValueError, match="decoder is cpu or cuda:N, got 'gpu'"):
        SourceOptions(decoder="gpu")


class Opened:
    """Counts connections, and makes feeds of files behave like live ones."""

    count = 0


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    counter, before = Opened(), feed._open

    def open_and_count(*given, **named):
        counter.count += 1
        return before(*given, **named)

    monkeypatch.setattr(feed, "_open", open_and_count)
    monkeypatch.setattr(Feed, "ends", property(lambda one: False))
    return counter


def read_live(path: Path, opened: Opened) -> tuple[list, str, dict[str, int]]:
    with Feed(open_source(str(path), options=STREAMED)) as one:
        return list(one.frames()), one.decoding, dict(one.drops)


def break_packets(monkeypatch, numbers: set[int], times: int | None = None, error: Exception | None = None) -> None:
    """These packets of a connection can't be decoded; only in the first `times` connections."""
    fault = error or av.error.InvalidDataError(1094995529, "Invalid data found")
    decode_on_demand(monkeypatch, lambda number: number in numbers and raise_(fault), times)


def swallow_packets(monkeypatch, num: int) -> None:
    """The first `num` packets of the first connection give no picture."""
    decode_on_demand(monkeypatch, lambda number: [] if number < num else False, 1)


def raise_(error: Exception):
    raise error


def decode_on_demand(monkeypatch, instead, times: int | None) -> None:
    """Ask `instead(number)` first; what it returns, unless that is False, is what the packet gives."""
    state = {"connection": 0, "packet": 0}
    connect, decode = Feed._open, feed.pictures_of

    def opened(one: Feed, hardware) -> None:
        state.update(connection=state["connection"] + 1, packet=0)
        connect(one, hardware)

    def pictures_of(packet):
        number, state["packet"] = state["packet"], state["packet"] + 1
        given = instead(number) if times is None or state["connection"] <= times else False
        return decode(packet) if given is False else given

    monkeypatch.setattr(Feed, "_open", opened)
    monkeypatch.setattr(feed, "pictures_of", pictures_of)
