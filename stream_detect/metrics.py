"""What Prometheus is told: every feed's frames, ages, faults, scores and alerts, and what the process itself costs.

`Metrics` hears of each line (it is a sink) and of each piece of work (it is an `Observer`), and asks for the figures of
the feeds when it is read. The series of a feed that was removed are gone with it.
"""

import platform
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal, Protocol, get_args, runtime_checkable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from stream_detect.alerts.sink import Line
from stream_detect.cuda.nvml import GpuFigures, read_gpu
from stream_detect.processes import ProcessFigures, read_process
from stream_detect.stats import FeedStats, Stage
from stream_detect.types import Alert, FrameVerdict, State

PREFIX = "stream_detect"
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 1.0, 2.5, 10.0)
SHARES = tuple(number / 10 for number in range(1, 11))
FRAMES = (1, 2, 4, 8, 16, 32, 64)
STATES: tuple[State, ...] = get_args(State)
Type = Literal["counter", "gauge", "histogram"]

# name without the prefix: type, labels, help. A counter's name gets _total, as Prometheus wants it.
FAMILIES: dict[str, tuple[Type, tuple[str, ...], str]] = {
    "build_info": ("gauge", ("version", "python", "device"), "Always 1; what runs here, and on which device."),
    "frames": ("counter", ("feed",), "Frames decoded."),
    "analysed": ("counter", ("feed",), "Frames judged."),
    "dropped": ("counter", ("feed", "cause"), "Frames that were not judged, by cause."),
    "reconnects": ("counter", ("feed", "fault"), "Lost connections and failed attempts to connect, by fault."),
    "alerts": ("counter", ("feed", "rule", "event"), "Alerts, by rule and event (raised, updated, cleared)."),
    "active_alerts": ("gauge", ("feed",), "Alerts that are raised and not yet cleared."),
    "up": ("gauge", ("feed",), "1 if the feed is live, else 0."),
    "state": ("gauge", ("feed", "state"), "1 for the state that the feed is in, 0 for the others."),
    "state_seconds": ("gauge", ("feed",), "How long the feed has been in its state."),
    "last_frame_seconds": ("gauge", ("feed",), "How long ago the last frame was decoded; absent before the first."),
    "faces": ("gauge", ("feed",), "Faces in the frame that was judged last."),
    "frame_age_seconds": ("histogram", ("feed",), "Age of a frame when its verdict was told, from its arrival."),
    "verdict_latency_seconds": (
        "histogram",
        ("feed", "since"),
        "From capture (by the sender's clock) or arrival of a frame to its verdict; the label says which.",
    ),
    "latency_seconds": ("histogram", ("feed", "stage"), "What a frame spent in each stage of its way."),
    "fake_probability": ("histogram", ("feed",), "Probability that a face is forged, of each face judged."),
    "batch_frames": ("histogram", (), "Frames of all feeds that were judged together."),
    "batch_seconds": ("histogram", (), "How long judging them took."),
    "loop_idle_seconds": ("gauge", (), "How long ago the loop went round last; more than seconds: it hangs."),
    "process_threads": ("gauge", (), "Threads of the main process."),
    "worker_resident_bytes": ("gauge", ("feed",), "Memory of the process that decodes the feed, shared pages too."),
    "worker_proportional_bytes": ("gauge", ("feed",), "The same with its share of what processes share; adds up."),
    "worker_cpu_seconds": ("counter", ("feed",), "CPU time of the process that decodes the feed; anew with each."),
    "worker_threads": ("gauge", ("feed",), "Threads of the process that decodes the feed."),
    "sink_delivered": ("counter", ("sink",), "Lines of alerts that a sink's receiver took."),
    "sink_failed": ("counter", ("sink",), "Attempts to deliver a line that did not succeed; a line may have many."),
    "sink_dropped": ("counter", ("sink",), "Lines that were given up: refused for good, or no room was left."),
    "sink_pending": ("gauge", ("sink",), "Lines that wait to be delivered."),
    "store_up": ("gauge", (), "1 if the store took what was written to it last, else 0; absent without a store."),
    "store_failures": ("counter", ("kind",), "What went wrong with the store, by kind."),
    "gpu_memory_used_bytes": ("gauge", ("gpu",), "Memory in use on the GPU, by all programs."),
    "gpu_memory_total_bytes": ("gauge", ("gpu",), "Memory of the GPU."),
    "gpu_utilization_ratio": ("gauge", ("gpu",), "Share of the time in which the GPU worked, lately, 0 to 1."),
}


class Buckets:
    """Counts of values at most as large as each bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float], counts: Sequence[int] = (), total: float = 0.0) -> None:
        self.bounds = bounds
        self.counts = list(counts) or [0] * (len(bounds) + 1)
        self.total = total

    def copy(self) -> "Buckets":
        return Buckets(self.bounds, self.counts, self.total)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulated(self) -> list[tuple[str, int]]:
        """As Prometheus wants it: (bound, how many values up to it), the last one for all."""
        above = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        seen = 0
        listed: list[tuple[str, int]] = []
        for bound, count in zip(above, self.counts, strict=True):
            seen += count
            listed.append((bound, seen))
        return listed


def seconds_buckets() -> Buckets:
    return Buckets(SECONDS)


@dataclass(slots=True)
class Heard:
    """What was heard of one feed so far."""

    age: Buckets = field(default_factory=seconds_buckets)
    stages: dict[str, Buckets] = field(default_factory=dict)
    latency: dict[str, Buckets] = field(default_factory=dict)
    scores: Buckets = field(default_factory=lambda: Buckets(SHARES))
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def copy(self) -> "Heard":
        stages = {stage: buckets.copy() for stage, buckets in self.stages.items()}
        latency = {since: buckets.copy() for since, buckets in self.latency.items()}
        return Heard(self.age.copy(), stages, latency, self.scores.copy(), self.alerts.copy())


@runtime_checkable
class SinkCounts(Protocol):
    """What became of the lines of one sink."""

    @property
    def delivered(self) -> int: ...

    @property
    def failed(self) -> int: ...

    @property
    def refused(self) -> int: ...

    @property
    def dropped(self) -> int: ...

    @property
    def pending(self) -> int: ...


@runtime_checkable
class Counting(Protocol):
    """A sink that counts."""

    name: str

    def figures(self) -> SinkCounts: ...


@runtime_checkable
class Keeping(Protocol):
    """A store, as far as its health goes."""

    @property
    def is_down(self) -> bool: ...

    @property
    def failures(self) -> Mapping[str, int]: ...


def no_feeds() -> Sequence[FeedStats]:
    return ()


class Metrics:
    """A sink for lines, an `Observer` of the work, and what a scrape is answered with; from any thread.

    `device` is where faces are judged: with "cuda:N" the figures of that GPU are told, too.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._feeds: Callable[[], Sequence[FeedStats]] = no_feeds
        self._idle_s: Callable[[], float] | None = None
        self._sinks: Sequence[Counting] = ()
        self._store: Keeping | None = None
        self._heard: dict[str, Heard] = {}
        self._batches, self._batch_times = Buckets(FRAMES), seconds_buckets()
        self._lock = threading.Lock()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(namespace=PREFIX, registry=self.registry)

    def follow(self, feeds: Callable[[], Sequence[FeedStats]], idle_s: Callable[[], float] | None = None) -> None:
        """Where the figures of the feeds come from, and how long ago the loop went round."""
        self._feeds, self._idle_s = feeds, idle_s

    def follow_outputs(self, sinks: Sequence[Counting], store: Keeping | None) -> None:
        """Which sinks and which store are to be told of."""
        self._sinks, self._store = sinks, store

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """What a scrape is answered with, and its content type, as the `Accept` of the request wants it."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def take(self, line: Line) -> None:
        if isinstance(line, FrameVerdict):
            self._take_frame(line)
        elif isinstance(line, Alert):
            with self._lock:
                self._of(line.source).alerts[line.rule, line.event] += 1

    def close(self) -> None:
        """Nothing is left to be written."""

    def stage(self, feed: str, stage: Stage, seconds: float) -> None:
        with self._lock:
            buckets_in(self._of(feed).stages, stage).add(seconds)

    def age(self, feed: str, seconds: float) -> None:
        with self._lock:
            self._of(feed).age.add(seconds)

    def batch(self, frames: int, seconds: float) -> None:
        with self._lock:
            self._batches.add(frames)
            self._batch_times.add(seconds)

    def collect(self) -> Iterator[Metric]:
        """Every family with its samples, as they are now."""
        feeds = list(self._feeds())
        families = {name: family(name) for name in FAMILIES if not name.startswith("gpu_")}
        tell(families["build_info"], [version("stream-detect"), platform.python_version(), self._device], 1.0)
        tell(families["process_threads"], [], threading.active_count())
        if self._idle_s is not None:
            tell(families["loop_idle_seconds"], [], self._idle_s())
        for sink in self._sinks:
            tell_sink(families, sink)
        if self._store is not None:
            tell_store(families, self._store)
        for feed in feeds:
            tell_feed(families, feed)
            if feed.pid is not None and (worker := read_process(feed.pid)):
                tell_worker(families, feed.name, worker)
        with self._lock:  # the loop waits for it: no longer than for a copy
            if self._feeds is not no_feeds:
                self._forget_all_but({feed.name for feed in feeds})
            heard = {name: heard.copy() for name, heard in self._heard.items()}
            batches, batch_times = self._batches.copy(), self._batch_times.copy()
        tell_buckets(families["batch_frames"], [], batches)
        tell_buckets(families["batch_seconds"], [], batch_times)
        for name, of_feed in heard.items():
            tell_heard(families, name, of_feed)
        if figures := read_gpu(self._device):
            families |= gpu_families(self._device, figures)
        yield from families.values()

    def _take_frame(self, line: FrameVerdict) -> None:
        with self._lock:
            heard = self._of(line.source)
            if line.latency_ms is not None:
                buckets_in(heard.latency, line.latency_from).add(max(0.0, line.latency_ms / 1000))
            for face in line.faces:
                if face.fake_probability is not None:
                    heard.scores.add(face.fake_probability)

    def _of(self, feed: str) -> Heard:
        heard = self._heard.get(feed)
        if heard is None:
            heard = self._heard[feed] = Heard()
        return heard

    def _forget_all_but(self, names: set[str]) -> None:
        for name in self._heard.keys() - names:
            del self._heard[name]


def buckets_in(table: dict[str, Buckets], key: str) -> Buckets:
    buckets = table.get(key)
    if buckets is None:
        buckets = table[key] = seconds_buckets()
    return buckets


def family(name: str) -> Metric:
    """An empty family of `FAMILIES`."""
    kind, _, words = FAMILIES[name]
    return Metric(f"{PREFIX}_{name}", words, kind)


def labelled(family: Metric, values: Sequence[str]) -> dict[str, str]:
    _, names, _ = FAMILIES[family.name.removeprefix(f"{PREFIX}_")]
    return dict(zip(names, values, strict=True))


def tell(family: Metric, labels: Sequence[str], value: float) -> None:
    """Add one number to a counter or a gauge."""
    suffix = "_total" if family.type == "counter" else ""
    family.add_sample(family.name + suffix, labelled(family, labels), float(value))


def tell_buckets(family: Metric, labels: Sequence[str], buckets: Buckets) -> None:
    """Add one distribution to a histogram."""
    place, name = labelled(family, labels), f"{family.name}_bucket"
    cumulated = buckets.cumulated()
    for bound, count in cumulated:
        family.add_sample(name, {**place, "le": bound}, count)
    family.add_sample(f"{family.name}_count", place, cumulated[-1][1])
    family.add_sample(f"{family.name}_sum", place, buckets.total)


def tell_feed(families: dict[str, Metric], feed: FeedStats) -> None:
    name = feed.name
    figures = {
        "frames": feed.frames,
        "analysed": feed.analysed,
        "active_alerts": feed.active_alerts,
        "up": feed.state == "live",
        "state_seconds": feed.since_s,
        "last_frame_seconds": feed.last_frame_s,
        "faces": feed.faces,
    }
    for figure, value in figures.items():
        if value is not None:
            tell(families[figure], [name], value)
    for state in STATES:
        tell(families["state"], [name, state], feed.state == state)
    for cause, number in feed.dropped.items():
        tell(families["dropped"], [name, cause], number)
    for fault, number in feed.reconnects.items():
        tell(families["reconnects"], [name, fault], number)


def tell_sink(families: dict[str, Metric], sink: Counting) -> None:
    counts = sink.figures()
    tell(families["sink_delivered"], [sink.name], counts.delivered)
    tell(families["sink_failed"], [sink.name], counts.failed)
    tell(families["sink_dropped"], [sink.name], counts.refused + counts.dropped)
    tell(families["sink_pending"], [sink.name], counts.pending)


def tell_store(families: dict[str, Metric], store: Keeping) -> None:
    tell(families["store_up"], [], not store.is_down)
    for kind, number in store.failures.items():
        tell(families["store_failures"], [kind], number)


def tell_worker(families: dict[str, Metric], feed: str, worker: ProcessFigures) -> None:
    tell(families["worker_resident_bytes"], [feed], worker.resident_bytes)
    if worker.proportional_bytes is not None:
        tell(families["worker_proportional_bytes"], [feed], worker.proportional_bytes)
    tell(families["worker_cpu_seconds"], [feed], worker.cpu_s)
    tell(families["worker_threads"], [feed], worker.threads)


def tell_heard(families: dict[str, Metric], feed: str, heard: Heard) -> None:
    tell_buckets(families["frame_age_seconds"], [feed], heard.age)
    tell_buckets(families["fake_probability"], [feed], heard.scores)
    for since, buckets in heard.latency.items():
        tell_buckets(families["verdict_latency_seconds"], [feed, since], buckets)
    for stage, buckets in heard.stages.items():
        tell_buckets(families["latency_seconds"], [feed, stage], buckets)
    for (rule, event), number in heard.alerts.items():
        tell(families["alerts"], [feed, rule, event], number)


def gpu_families(device: str, figures: GpuFigures) -> dict[str, Metric]:
    """The families of a GPU with its figures; those that it does not tell stay empty."""
    families = {name: family(name) for name in FAMILIES if name.startswith("gpu_")}
    tell(families["gpu_memory_used_bytes"], [device], figures.memory_used_bytes)
    tell(families["gpu_memory_total_bytes"], [device], figures.memory_total_bytes)
    if figures.utilization is not None:
        tell(families["gpu_utilization_ratio"], [device], figures.utilization)
    return families
