"""What is made of the figures of `stream-detect bench`, and one short run of it as a user runs it."""

import json
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from stream_detect.bench.footage import Coded, coded, talking_head, write_clip
from stream_detect.bench.line import Counting, Ran, percentiles
from stream_detect.bench.machine import ask_nvidia_smi, machine
from stream_detect.bench.plot import require_matplotlib, save_plot
from stream_detect.bench.run import BenchReport, Measured, carried, length_s, rows_of_rates, rows_of_stages
from stream_detect.bench.timers import StageTable
from stream_detect.errors import OutputError, UsageError
from stream_detect.types import FaceVerdict, FrameVerdict, Status
from tests.cli.program import run

FACE = FaceVerdict(1, (0.0, 0.0, 9.0, 9.0), 0.5, 0.0, None, "inconclusive", (), {}, 1.0)


def ran(fps: float, others: float | None = 0.0) -> Ran:
    return Ran(5.0, fps, fps / 2, (10.0, 20.0, 30.0), 1.0, {"stale": 3, "profile": 7, "unseen": 9}, 1.0, others)


def report(full: float = 33.0, light: float = 100.0, others: float | None = 0.0) -> BenchReport:
    table = StageTable(100, 2.0, 20.0, {"decode": {"cpu_ms_a_frame": 5.0, "share": 0.25}})
    less = StageTable(100, 2.0, 8.0, {"decode": {"cpu_ms_a_frame": 5.0, "share": 0.625}})
    return BenchReport(
        about={"cores": 2, "cpu": "some processor", "gpu": None, "load_average_before": [0.1, 0.1, 0.1]},
        floor={"fps": 200.0, "cpu_ms_a_frame": 5.0},
        profiles={"full": Measured(ran(full, others), table), "light": Measured(ran(light), less)},
        live=ran(30.0),
        device="cpu",
    )


def test_what_a_machine_carries_is_whole_feeds():
    assert carried(100) == "about 3 feeds 720p30"
    assert carried(31) == "about 1 feed 720p30"
    assert carried(24) == "no whole feed 720p30 (one at 24 frames a second)"
    expected = "this machine carries about 3 feeds 720p30 at profile light, about 1 feed 720p30 at profile full"
    assert report().carries() == expected


def test_a_busy_machine_is_said_and_a_quiet_one_is_not():
    assert report().warning() == ""
    assert report(others=None).warning() == ""
    assert "other programs used up to 1.0 of 2 cores meanwhile" in report(others=1.0).warning()


def test_the_tables_hold_every_profile():
    assert rows_of_stages(report()) == [
        ("decode", "5.00", "25%", "5.00", "62%"),
        ("all", "20.00", "100%", "8.00", "100%"),
    ]
    rates = dict(rows_of_rates(report()))
    assert rates["profile light"] == "100 frames a second, 50 of them judged; 50% of decoding alone"
    assert rates["frames lost meanwhile"] == "3"


def test_the_report_is_json():
    said = json.loads(json.dumps(report().to_json()))
    assert said["profiles"]["light"]["feeds_720p30"] == 3
    assert said["profiles"]["light"]["share_of_decoding_alone"] == 0.5
    assert said["warning"] is None
    assert said["live"]["latency_ms"] == {"p50": 20.0, "p95": 29.0, "p99": 29.8, "max": 30.0}


def test_the_clip_outlasts_the_measurement_at_the_speed_of_decoding():
    assert length_s(300, 8) * 30 > 300 * 8
    assert length_s(1, 1) == 30


def test_the_plot_is_drawn_and_a_bad_place_fails(tmp_path: Path):
    assert save_plot(report(), tmp_path / "speed.png").stat().st_size > 10_000
    with pytest.raises(OutputError, match="another place"):
        save_plot(report(), tmp_path / "nowhere" / "speed.png")
    with pytest.raises(UsageError, match=r"name it \.png"):
        save_plot(report(), tmp_path / "speed.wordperfect")


def test_frames_before_the_warm_up_and_after_the_end_do_not_count(monkeypatch: pytest.MonkeyPatch):
    now_s = [0.0]
    monkeypatch.setattr("stream_detect.bench.line.time.monotonic", lambda: now_s[0])
    counting = Counting(warm_up_s=1.0, duration_s=2.0)
    for index in range(100):
        now_s[0] = index * 0.1
        counting.is_over(FrameVerdict("a", index * 3, index / 10, "", 5.0, (FACE,)))
    counting.is_over(Status("a", "ended", "", 300, 100, {"stale": 2}))
    found = counting.ran()
    assert found.seconds == pytest.approx(2.0, abs=0.11)
    assert found.analysed_fps == pytest.approx(10)
    assert found.fps == pytest.approx(30)  # two of three frames were let go
    assert found.dropped == {"stale": 2}
    assert found.faces == 1


def test_too_few_frames_fail():
    with pytest.raises(ValueError, match="3 judged frames or more, got 0"):
        Counting(0, None).ran()


def test_percentiles_of_a_hundred_values():
    assert percentiles(range(101)) == {"p50": 50, "p95": 95, "p99": 99, "max": 100}


def test_the_footage_has_the_size_asked_for_and_is_the_same_each_time():
    one, other = list(talking_head(2)), list(talking_head(2))
    assert one[0].shape == (720, 1280, 3)
    assert next(talking_head(1, height=1080)).shape == (1080, 1920, 3)
    assert np.array_equal(one, other)
    assert not np.array_equal(one[0], one[1])


def test_a_clip_repeats_its_pictures_without_coding_them_again(tmp_path: Path):
    pictures = coded(num=6)
    assert [picture.is_key for picture in pictures] == [True, *[False] * 5]
    assert isinstance(pictures[0], Coded)
    path = write_clip(tmp_path / "clip.ts", pictures, seconds=0.6)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert len(frames) == 18
    assert np.array_equal(frames[0], frames[6])


def test_the_machine_is_named():
    about = machine()
    assert about["cpu"]
    assert about["cores"] >= 1
    assert set(about) >= {"load_average_before", "system", "python", "gpu"}


def test_a_machine_without_the_drivers_program_has_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_nvidia_smi(("name",)) is None


@pytest.mark.timeout(280)
def test_a_user_measures_a_machine(tmp_path: Path):
    done = run("bench", "--device", "cpu", "--seconds", "1", "--json", "--plot", tmp_path / "speed.png", timeout_s=250)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["device"] == "cpu"
    assert set(said["profiles"]) == {"full", "light"}
    stages = set(said["profiles"]["full"]["stages"]["stages"])
    asked = {"demux", "decode", "convert", "faces", "crops", "quality", "fusion", "decision", "output", "the rest"}
    assert stages >= asked | {f"expert {name}" for name in ("spectrum", "residual", "color", "mesonet", "attention")}
    assert said["profiles"]["full"]["faces_a_frame"] == 1
    assert "this machine carries" in said["carries"]
    assert (tmp_path / "speed.png").exists()


def test_a_gpu_that_is_not_there_is_one_line():
    done = run("bench", "--device", "cuda:99")
    assert done.returncode == 2
    assert "cuda:99" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_plot_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"--plot needs matplotlib: pip install 'stream-detect\[demo\]'"):
        require_matplotlib()
