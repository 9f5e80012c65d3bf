"""What the benchmarks say is computed as their README says, and each of them runs."""

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import all as all_of_them
from benchmarks import experts, feeds, kernels, peers, performance_page, stages, stream
from benchmarks.common import ROOT, Timing, at_least, at_most, commit, compare, metadata, slope_per_minute
from benchmarks.watching import Order, Sample, Watched, memory, summary, totals
from stream_detect.weights import load_weights
from tests.kernels.emulate import HostBench
from tests.requirements import require_gstreamer

LATENCY = {"p50": 10.0, "p95": 20.0, "p99": 30.0, "max": 40.0}


def test_a_growth_of_one_a_second_is_sixty_a_minute():
    at_s = np.linspace(100, 400, 50)
    assert slope_per_minute(at_s, at_s + 7) == pytest.approx(60)
    assert slope_per_minute(at_s[:1], at_s[:1]) == 0


def test_subjects_take_turns_and_the_warm_up_is_not_counted():
    calls: list[str] = []
    timings = compare({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, warm_up=2)
    assert "".join(calls) == "ababababab"
    assert len(timings["a"].wall_ms) == len(timings["b"].cpu_ms) == 3


def test_a_batch_is_told_by_the_face_with_median_and_quartiles():
    timing = Timing(np.array([8.0, 16.0, 24.0, 32.0, 40.0]), np.full(5, 4.0))
    assert timing.to_json(per=8) == {"median_ms": 3.0, "iqr_ms": [2.0, 4.0], "cpu_median_ms": 0.5, "rounds": 5}


def test_every_result_names_commit_machine_and_versions():
    about = metadata()
    assert about["commit"] == commit()
    assert about["cpu"]
    assert "gpu" in about
    assert about["packages"]["torch"]


def test_a_target_is_met_missed_or_not_measured():
    assert at_least("rate", 30, 31)["met"] is True
    assert at_most("latency", 60, 61)["met"] is False
    assert at_least("rate on a GPU", 30, None)["met"] is None


# One run of the command.


def line(source: str, index: int, latency_ms: float = 20.0) -> dict:
    moment = f"2026-11-22T13:00:{index / 30:09.6f}+00:00"
    faces = [{"experts": {"spectrum": 0.5}}]
    about = {"type": "frame", "source": source, "frame": index, "pts_s": index / 30}
    return about | {"seen_at": moment, "latency_ms": latency_ms, "faces": faces}


def status(source: str, frames: int, analysed: int, **dropped: int) -> dict:
    return {"type": "status", "source": source, "frames": frames, "analysed": analysed, "dropped": dropped}


def run_of(lines: list[dict]) -> Watched:
    return Watched(lines, SimpleNamespace(between=lambda start_s, end_s: {}), 0.0)


def test_a_run_is_told_from_its_warm_up_on():
    every_other = [line("a", index) for index in range(0, 600, 2)]
    said = summary(run_of([*every_other, status("a", 600, 300, stale=300)]), warm_up_s=10)
    assert said["seconds"] == pytest.approx(9.9, abs=0.1)
    assert said["fps"] == pytest.approx(30, rel=0.01)
    assert said["analysed_fps"] == said["slowest_feed_analysed_fps"] == pytest.approx(15, rel=0.01)
    assert said["latency_ms"]["p95"] == 20
    assert said["frame_age"]["growth_ms"] == pytest.approx(0, abs=0.5)
    assert said["lost_share"] == 0.5


def test_the_slowest_of_several_feeds_is_told():
    lines = [line("a", index) for index in range(90)] + [line("b", index) for index in range(0, 90, 3)]
    said = summary(run_of([*lines, status("a", 90, 90), status("b", 90, 30, profile=60)]), warm_up_s=0)
    assert said["feeds"] == 2
    assert said["fps"] == pytest.approx(60, rel=0.05)
    assert said["slowest_feed_analysed_fps"] == pytest.approx(10, rel=0.05)
    assert said["unaccounted"] == 0


def test_frames_that_age_are_seen():
    lines = [line("a", index, latency_ms=index) for index in range(90)]
    assert summary(run_of([*lines, status("a", 90, 90)]), 0)["frame_age"]["growth_ms"] == pytest.approx(89, rel=0.05)


def test_too_short_a_run_fails_with_how_many_frames_there_were():
    with pytest.raises(RuntimeError, match="3 judged frames or more after 10 s, got 0"):
        summary(run_of([line("a", 0), status("a", 1, 1)]), 10)


def test_frames_that_nothing_accounts_for_are_counted():
    assert totals([status("a", 100, 60, stale=30, late=5)])["unaccounted"] == 10


def test_memory_is_flat_from_when_the_ring_is_full():
    samples = [Sample(float(s), 0, 0, 0, 200 + min(s, 60) / 2, None) for s in range(180)]
    said = memory(samples)
    assert said["first"] == pytest.approx(202, abs=1)
    assert said["last"] == said["most"] == 230
    assert said["flat_growth_a_minute"] == pytest.approx(0)
    assert memory(samples[:30])["flat_growth_a_minute"] is None


def test_an_order_becomes_a_command_line():
    order = Order(["a.ts"], 5, 2, "light", "cpu", every_frame=True, weights=["--weights", "w"])
    words = " ".join(order.arguments(Path("lines.jsonl")))
    assert words == (
        "watch a.ts --jsonl lines.jsonl --profile light --device cpu --every-frame --duration 9 --weights w"
    )


# Feeds and their wall.


def feed_row(**changes: object) -> dict:
    row = {"feeds": 3, "asked_feeds": 3, "slowest_feed_analysed_fps": 5.9, "lost_share": 0.2, "dropped": {}}
    return row | {"cores_used": {"watch": 1.0, "server": 0.1}, "gpu_percent": None, "unaccounted": 0} | changes


def test_feeds_are_carried_while_each_is_judged_as_often_as_its_profile_asks():
    assert feeds.judged(feed_row(), "light")["is_carried"]
    assert not feeds.judged(feed_row(), "full")["is_carried"]
    assert not feeds.judged(feed_row(slowest_feed_analysed_fps=5.0), "light")["is_carried"]
    assert not feeds.judged(feed_row(feeds=2), "light")["is_carried"]


def test_the_wall_is_what_is_used_up():
    assert feeds.wall(feed_row(cores_used={"watch": 1.9}), cores=2) == {"what": "CPU", "share": 0.95}
    late = feed_row(cores_used={"watch": 1.9}, dropped={"late": 9, "stale": 1})
    assert feeds.wall(late, cores=2)["what"] == "CPU, by decoding"
    assert feeds.wall(feed_row(gpu_percent={"gpu": 40, "nvdec": 99}), cores=16) == {"what": "NVDEC", "share": 0.99}
    assert "none is used up, CPU most" in feeds.wall(feed_row(), cores=2)["what"]


def test_feeds_are_added_until_two_numbers_in_a_row_are_too_many():
    args = SimpleNamespace(most=64, profile="light")
    rows = feeds.until_stale(
        args, lambda num: feed_row(feeds=num, asked_feeds=num, slowest_feed_analysed_fps=6.0 if num in (1, 3) else 4.0)
    )
    assert [(row["feeds"], row["is_carried"]) for row in rows] == [
        (1, True), (2, False), (3, True), (4, False), (6, False),
    ]  # fmt: skip
    said = [row | {"latency_ms": LATENCY} for row in rows]
    asked = feeds.targets(SimpleNamespace(device="cpu", profile="light", height=720), said, 3)
    assert [one["met"] for one in asked] == [True, True, True]


# Kernels: the whole of what a GPU would run, with the sources compiled for this machine and NumPy's arrays.


@pytest.fixture(scope="module")
def rows_of_kernels():
    return kernels.batch(HostBench(), kernels.HostWatch(), kernels.faces_seen(2), load_weights(), rounds=2)


def test_every_kernel_is_timed_launch_by_launch(rows_of_kernels):
    finding = {"nv12_reduced", "nms"}
    assert set(rows_of_kernels) == finding | {"nv12_crops", "spectrum", "residual", "color", "quality", "kind_heads"}
    spectrum = rows_of_kernels["spectrum"]
    assert set(spectrum["launches"]) == {"window_tiles", "rfft2", "radial_power", "spectrum_features"}
    for row in rows_of_kernels.values():
        assert row["kernel"]["median_ms"] > 0
        assert row["definition"]["median_ms"] > 0
        assert row["bytes_moved"] > 0
    assert all(one["a_batch"] == 1 for row in rows_of_kernels.values() for one in row["launches"].values())


def test_every_kernel_file_is_timed(rows_of_kernels):
    stems = {path.stem for path in (ROOT / "kernels").glob("*.cu")}
    assert stems - set(rows_of_kernels) == {"radial_power"}  # which is "spectrum"


def test_a_kernel_is_held_against_the_bandwidth(rows_of_kernels):
    row = {"kernel": {"median_ms": 1.0}, "bytes_moved": 1_000_000_000}
    said = kernels.against(row, bandwidth=2e12)
    assert said == {"megabytes": 1000.0, "gb_a_second": 1000.0, "share_of_copy": 0.5, "least_ms": 0.5}


def test_the_targets_of_kernels_are_those_of_64_faces(rows_of_kernels):
    as_if = {
        name: row | {"kernel": {"median_ms": 0.2}, "naive": {"median_ms": 4.0}} for name, row in rows_of_kernels.items()
    }
    networks, fingerprints, naive = kernels.targets({"64": as_if}, "64", {"64": {"ours": {"median_ms": 2.5}}})
    assert (networks["reached"], networks["met"]) == (2.5, False)
    assert (fingerprints["reached"], fingerprints["met"]) == (0.6, True)
    assert (naive["reached"], naive["met"]) == (20.0, True)
    assert [one["met"] for one in kernels.targets({"8": as_if}, "8", {})] == [None, None, None]


def test_naive_crops_have_the_sizes_of_ours():
    import torch

    ((frame, (face,)),) = kernels.on_device(np, kernels.faces_seen(1))
    aligned, tiles, pixels = kernels.naive_crops([torch.from_numpy(plane) for plane in frame.planes], face)
    assert aligned.shape == (1, 3, 256, 256)
    assert tiles.shape == (28, 64, 64)
    assert pixels.shape == (3, 64, 64)
    assert 0.1 < float(aligned.mean()) < 0.9


def test_networks_are_timed_as_they_run_and_naively():
    lane = SimpleNamespace(name="host", tensors="cpu", bench=HostBench(), held=lambda work: work)
    lane.landing, lane.current, lane.release = None, contextlib.nullcontext, lambda: None
    said = kernels.networks_row(lane, kernels.HostWatch(), load_weights(), faces=1, rounds=1)
    assert set(said["names"]) == {"mesonet", "attention"}
    assert said["ours"]["median_ms"] > 0
    assert said["naive"]["median_ms"] > 0


@pytest.mark.gpu
def test_kernels_are_timed_on_a_gpu(tmp_path: Path):
    said = json.loads(kernels.main(["--quick", "--faces", "4", "--out", str(tmp_path)]).read_text())
    assert said["copy_gb_a_second"]["median"] > 10
    assert said["roofline"]["4"]["residual"]["share_of_copy"] > 0
    assert said["networks"]["4"]["ours"]["median_ms"] > 0


# The page.


def test_the_page_and_the_results_agree():
    assert performance_page.main(["--check"]) == 0


def test_a_page_takes_its_figures_from_results_alone():
    text = "before\n<!-- results: stream -->\nold\n<!-- end -->\nafter\n"
    run = {
        "analysed_fps": 29.5,
        "latency_ms": LATENCY,
        "lost_share": 0.01,
        "rss_mib": None,
        "cores_used": {"watch": 1.5},
    }
    said = performance_page.filled(text, {"stream-rtsp-full": run})
    assert "| full | 29.5 | 10.0 | 20.0 | 30.0 | 1.0% | 1.5 | - | - |" in said
    assert "old" not in said
    assert said.startswith("before\n")
    assert said.endswith("after\n")
    assert performance_page.filled(said, {"stream-rtsp-full": run}) == said


def test_what_was_not_measured_is_said_with_the_command():
    text = "<!-- results: feeds -->\n<!-- end -->\n"
    assert "Not measured yet: `python -m benchmarks.feeds" in performance_page.filled(text, {})


def test_an_unknown_table_fails():
    with pytest.raises(ValueError, match="no table is called 'tables'"):
        performance_page.filled("<!-- results: tables -->\n<!-- end -->", {})
    with pytest.raises(ValueError, match="expected markers"):
        performance_page.filled("a page without any", {})


def test_every_table_is_on_the_page():
    text = performance_page.PAGE.read_text(encoding="utf-8")
    assert {match["name"] for match in performance_page.BLOCK.finditer(text)} == set(performance_page.TABLES)


# All of them.


def test_a_quick_run_of_all_has_no_other_length():
    assert all_of_them.command_of("stream-rtsp-full", is_quick=True)[3:] == [
        "--source", "rtsp", "--profile", "full", "--quick",
    ]  # fmt: skip
    assert all_of_them.command_of("experts", is_quick=True)[3:] == ["--quick"]
    assert "130" in all_of_them.command_of("stream-rtsp-full", is_quick=False)


def test_what_fails_is_said_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(all_of_them, "RUNS", {"missing": ("no_such_script",), "help": ("experts", "--help")})
    monkeypatch.setattr(all_of_them, "LOOK_S", 0.0)
    assert all_of_them.main([]) == 1
    said = capsys.readouterr().out
    assert "failed with 1" in said
    assert "done" in said


def test_the_readme_names_every_script():
    words = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for script in {options[0] for options in all_of_them.RUNS.values()}:
        assert f"`python -m benchmarks.{script}`" in words


def quick(script, folder: Path, *more: str) -> dict:
    return json.loads(script.main(["--quick", "--out", str(folder), *more]).read_text())


@pytest.mark.timeout(280)
def test_a_file_is_streamed_beside_decoding_alone(tmp_path: Path):
    said = quick(stream, tmp_path, "--source", "file", "--profile", "light", "--device", "cpu")
    assert said["faces_judged"] == 1
    assert 0 < said["share_of_decoding_alone"] < 1
    assert [one["what"] for one in said["targets"]] == ["cold start to the first verdict, s", "share of decoding alone"]
    assert said["about"]["commit"]


@pytest.mark.services
@pytest.mark.timeout(280)
def test_a_feed_is_streamed_from_a_real_server(tmp_path: Path):
    require_gstreamer()
    said = quick(stream, tmp_path, "--source", "rtsp", "--device", "cpu")
    assert said["latency_ms"]["p95"] > 0
    assert said["unaccounted"] == 0
    assert len(said["targets"]) == 5


@pytest.mark.timeout(280)
def test_every_stage_has_its_row(tmp_path: Path):
    said = quick(stages, tmp_path, "--device", "cpu")
    assert list(said["stages"])[:3] == ["demux", "decode", "convert"]
    assert list(said["stages"])[-2:] == ["output", "the rest"]
    assert {"faces", "crops", "quality", "expert attention", "fusion", "decision"} <= set(said["stages"])


@pytest.mark.timeout(280)
def test_feeds_are_counted(tmp_path: Path):
    said = quick(feeds, tmp_path, "--source", "file", "--device", "cpu", "--most", "1")
    (row,) = said["rows"]
    assert row["feeds"] == 1
    assert row["wall"]["what"]


def test_peers_are_built_and_timed_on_the_same_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small = dict.fromkeys(peers.PEERS, ("mobilenetv3_small_050", 64))  # the real ones take gigabytes and a minute
    monkeypatch.setattr(peers, "PEERS", small)
    said = quick(peers, tmp_path, "--no-loops", "--rounds", "1")
    rows = said["a_face_on_one_cpu_thread"]
    assert rows[peers.OURS]["times_ours"] == 1
    assert all(row["median_ms"] > 0 for row in rows.values())
    assert set(rows) == {*small, peers.OURS, peers.LIGHT, peers.MESO, *(name + peers.BY_ONNX for name in small)} - {
        peers.CLIP + peers.BY_ONNX
    }
    asked = [one["asked"] for one in said["targets"]]
    assert asked == [">= 15", ">= 50", ">= 3", ">= 20000"]


def test_the_peers_are_networks_that_timm_has():
    import stream_detect.vision  # noqa: F401  (before timm)

    import timm  # isort: skip

    assert {model for model, _ in peers.PEERS.values()} <= set(timm.list_models())


def test_the_usual_loop_judges_every_face_that_it_finds():
    import torch

    from benchmarks.usual_loop import judged
    from stream_detect.experts.mesonet import Meso4

    cascade = SimpleNamespace(
        detectMultiScale=lambda grey, **options: [(10, 20, 30, 40)] if grey.shape == (60, 80) else []
    )
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    (said,) = judged(picture, cascade, Meso4().eval(), shrink=2)
    assert 0 < said < 1
    assert judged(picture, cascade, Meso4().eval(), shrink=1) == []
    assert torch.is_inference_mode_enabled() is False


def test_without_opencv_4_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peers, "OPENCV_4", tmp_path)
    said = peers.usual_loop(tmp_path / "clip.ts", 1.0, 1)
    assert "pip install --no-deps --target .venv/opencv4" in said
    loops = {next(iter(peers.LOOPS)): said, "ours, profile full": {"fps": 30.0}}
    costs = {peers.XCEPTION: {"times_ours": 16.0}, peers.CLIP: {"times_ours": 49.0}}
    assert [one["met"] for one in peers.targets(costs, "no GPU", loops)] == [True, False, None, None]


def test_experts_are_timed(tmp_path: Path):
    said = quick(experts, tmp_path)
    assert set(said["batches"]) == {"1", "8"}
    assert said["targets"][0]["asked"] == "<= 25"


def test_without_a_gpu_the_definitions_alone_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "missing_for_cuda", lambda: "there is no GPU")
    said = quick(kernels, tmp_path, "--faces", "1")
    assert "nothing was measured" in said["without_gpu"]
    assert set(said["batches"]["1"]["residual"]) == {"definition"}
    assert all(one["met"] is None for one in said["targets"])
