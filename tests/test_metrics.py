"""Metrics: what Prometheus reads, by name, and that a feed's series go with it."""

import os
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

import stream_detect.metrics
from stream_detect.cuda.nvml import GpuFigures
from stream_detect.metrics import FAMILIES, Buckets, Metrics
from stream_detect.processes import read_process
from stream_detect.stats import FeedStats, Observer
from stream_detect.types import Alert, FaceVerdict, FrameVerdict

CAM = FeedStats(
    "cam",
    "rtsp://cam/live",
    "rtsp",
    True,
    "live",
    "",
    3.5,
    frames=100,
    analysed=80,
    dropped={"stale": 20, "corrupt": 0},
    reconnects={"refused": 4},
    faces=2,
    last_frame_s=0.04,
    active_alerts=1,
    pid=os.getpid(),
)


def face(probability: float | None) -> FaceVerdict:
    return FaceVerdict(3, (0.0, 0.0, 9.0, 9.0), probability, 2.6, 0.88, "fake", (), {}, 1.0)


def read(metrics: Metrics) -> dict[str, float]:
    """Every series with its value, such as `stream_detect_up{feed="cam"}`, as Prometheus' own parser reads it."""
    text, _ = metrics.text()
    series = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            series[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return series


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics()
    made.follow(lambda: [CAM], lambda: 0.25)
    return made


def test_a_feed_in_figures(metrics):
    series = read(metrics)
    assert series['stream_detect_frames_total{feed="cam"}'] == 100
    assert series['stream_detect_analysed_total{feed="cam"}'] == 80
    assert series['stream_detect_dropped_total{cause="stale",feed="cam"}'] == 20
    assert series['stream_detect_reconnects_total{fault="refused",feed="cam"}'] == 4
    assert series['stream_detect_up{feed="cam"}'] == 1
    assert series['stream_detect_state{feed="cam",state="live"}'] == 1
    assert series['stream_detect_state{feed="cam",state="stalled"}'] == 0
    assert series['stream_detect_state_seconds{feed="cam"}'] == 3.5
    assert series['stream_detect_faces{feed="cam"}'] == 2
    assert series['stream_detect_last_frame_seconds{feed="cam"}'] == 0.04
    assert series['stream_detect_active_alerts{feed="cam"}'] == 1
    assert series["stream_detect_loop_idle_seconds"] == 0.25


def test_lines_become_scores_latencies_and_alerts(metrics):
    metrics.take(FrameVerdict("cam", 0, 0.0, "t", 30.0, (face(0.93), face(0.02), face(None)), latency_from="capture"))
    metrics.take(FrameVerdict("cam", 1, 0.1, "t", None, (), reasons=("frozen",)))
    for event in ("raised", "updated", "updated"):
        metrics.take(Alert(event, "a1", "cam", 3, "sustained", "t", 3.2, None, 0.9))
    series = read(metrics)
    assert series['stream_detect_fake_probability_bucket{feed="cam",le="0.1"}'] == 1
    assert series['stream_detect_fake_probability_bucket{feed="cam",le="0.9"}'] == 1
    assert series['stream_detect_fake_probability_count{feed="cam"}'] == 2
    assert series['stream_detect_verdict_latency_seconds_sum{feed="cam",since="capture"}'] == 0.03
    assert series['stream_detect_alerts_total{event="raised",feed="cam",rule="sustained"}'] == 1
    assert series['stream_detect_alerts_total{event="updated",feed="cam",rule="sustained"}'] == 2
    metrics.close()


def test_it_observes_the_work(metrics):
    assert isinstance(metrics, Observer)
    metrics.stage("cam", "judge", 0.012)
    metrics.stage("cam", "judge", 99.0)
    metrics.age("cam", 0.04)
    metrics.batch(3, 0.02)
    series = read(metrics)
    assert series['stream_detect_latency_seconds_bucket{feed="cam",le="0.02",stage="judge"}'] == 1
    assert series['stream_detect_latency_seconds_bucket{feed="cam",le="10.0",stage="judge"}'] == 1
    assert series['stream_detect_latency_seconds_bucket{feed="cam",le="+Inf",stage="judge"}'] == 2
    assert series['stream_detect_frame_age_seconds_count{feed="cam"}'] == 1
    assert series['stream_detect_batch_frames_bucket{le="4.0"}'] == 1
    assert series["stream_detect_batch_seconds_sum"] == 0.02


def test_the_series_of_a_removed_feed_are_gone_and_begin_anew_when_it_comes_back():
    feeds = [CAM, replace(CAM, name="door")]
    metrics = Metrics()
    metrics.follow(lambda: feeds)
    metrics.age("door", 0.01)
    metrics.take(FrameVerdict("door", 0, 0.0, "t", 30.0, (face(0.5),)))
    assert any("door" in name for name in read(metrics))
    door = feeds.pop()
    metrics.age("door", 0.01)  # a frame that was still on its way
    assert not any("door" in name for name in read(metrics))
    feeds.append(door)
    metrics.age("door", 0.01)
    assert read(metrics)['stream_detect_frame_age_seconds_count{feed="door"}'] == 1


def test_the_process_that_decodes_a_feed_is_measured(metrics):
    series = read(metrics)
    resident = series['stream_detect_worker_resident_bytes{feed="cam"}']
    assert resident == pytest.approx(series["stream_detect_process_resident_memory_bytes"], rel=0.2)
    assert 0 < series['stream_detect_worker_proportional_bytes{feed="cam"}'] <= 1.2 * resident
    assert series['stream_detect_worker_threads{feed="cam"}'] >= 1
    assert series['stream_detect_worker_cpu_seconds_total{feed="cam"}'] > 0


def test_a_process_that_is_gone_has_no_figures():
    metrics = Metrics()
    metrics.follow(lambda: [replace(CAM, pid=2**22 + 1)])
    assert read_process(2**22 + 1) is None
    assert not any("worker" in name for name in read(metrics))


def test_a_gpu_is_told_of_only_where_one_is_used(monkeypatch, metrics):
    figures = {"cuda:1": GpuFigures(3_000, 80_000, 0.25)}
    monkeypatch.setattr(stream_detect.metrics, "read_gpu", figures.get)
    assert not any("gpu" in name for name in read(metrics))
    series = read(Metrics("cuda:1"))
    assert series['stream_detect_gpu_memory_used_bytes{gpu="cuda:1"}'] == 3_000
    assert series['stream_detect_gpu_memory_total_bytes{gpu="cuda:1"}'] == 80_000
    assert series['stream_detect_gpu_utilization_ratio{gpu="cuda:1"}'] == 0.25


def test_names_of_feeds_may_hold_anything():
    odd = 'a "b" \\ c\nd é {}'
    metrics = Metrics()
    metrics.follow(lambda: [replace(CAM, name=odd)])
    (name,) = [name for name in read(metrics) if name.startswith("stream_detect_up")]
    assert name == f'stream_detect_up{{feed="{odd}"}}'


def test_openmetrics_where_it_is_asked_for(metrics):
    text, content_type = metrics.text("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_every_name_begins_with_ours_and_every_family_is_told(metrics):
    text, content_type = metrics.text()
    told = {line.split()[2] for line in text.decode().splitlines() if line.startswith("# TYPE")}
    assert content_type.startswith("text/plain")
    assert all(name.startswith("stream_detect_") for name in told)
    expected = {name + ("_total" if kind == "counter" else "") for name, (kind, _, _) in FAMILIES.items()}
    without_gpu = {f"stream_detect_{name}" for name in expected if not name.startswith("gpu_")}
    assert without_gpu <= told


def test_a_value_on_a_bound_belongs_to_it():
    buckets = Buckets((1, 2))
    for value in (1, 1.5, 2, 3):
        buckets.add(value)
    assert buckets.cumulated() == [("1.0", 1), ("2.0", 3), ("+Inf", 4)]
