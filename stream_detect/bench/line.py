"""The real line, from a file to lines of JSON, run for some seconds and counted."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from stream_detect.alerts import JsonlSink
from stream_detect.bench.machine import Usage
from stream_detect.config import PROFILES, WatchSettings
from stream_detect.detector import Detector
from stream_detect.pipeline import watch
from stream_detect.types import FrameVerdict, Status
from stream_detect.weights import Weights

PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run, once it was warm."""

    seconds: float
    fps: float  # frames that were taken care of a second, of all feeds: judged, followed or let go by the profile
    analysed_fps: float  # frames that were judged a second, of all feeds
    latency_ms: tuple[float, ...]  # of each judged frame, from its arrival to the verdict
    faces: float  # judged faces in a judged frame, on average
    dropped: dict[str, int]  # frames of the whole run, by cause
    own_cores: float
    other_cores: float | None  # what else used the machine meanwhile

    def to_json(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 2),
            "fps": round(self.fps, 2),
            "analysed_fps": round(self.analysed_fps, 2),
            "latency_ms": percentiles(self.latency_ms),
            "faces_a_frame": round(self.faces, 3),
            "dropped": dict(self.dropped),
            "cores": round(self.own_cores, 2),
            "cores_of_everything_else": None if self.other_cores is None else round(self.other_cores, 2),
        }


def detector_for(profile: str, weights: Weights, device: str = "auto") -> Detector:
    """The detector with those experts of the profile that the weights have."""
    named = PROFILES[profile].experts
    return Detector(device, weights, None if named is None else [name for name in named if name in weights.heads])


def run_line(
    clips: Sequence[Path], detector: Detector, settings: WatchSettings, lines: Path, warm_up_s: float = 1.0
) -> Ran:
    """Watch clips, all at once, until `settings.duration_s` after the warm-up or until they end.

    Raises:
        ValueError: if too few frames were judged to say anything.
    """
    counts, stop = Counting(warm_up_s, settings.duration_s), threading.Event()
    endless = replace(settings, duration_s=None)  # the time that it takes to start is not part of it
    with JsonlSink(str(lines)) as sink:
        for line in watch([str(clip) for clip in clips], detector, settings=endless, stop=stop):
            sink.take(line)
            if counts.is_over(line):
                stop.set()
    return counts.ran()


class Counting:
    """Counts the lines of a run from the warm-up on."""

    def __init__(self, warm_up_s: float, duration_s: float | None) -> None:
        self._warm_up_s, self._duration_s = warm_up_s, duration_s
        self._is_over = False
        self._first_s: float | None = None  # when the first frame was judged
        self._usage: Usage | None = None  # from the end of the warm-up
        self._cores: tuple[float, float | None] = (0.0, None)
        self._judged: list[tuple[float, str, int, float, int]] = []  # when, source, index, latency in ms, faces
        self._dropped: dict[str, dict[str, int]] = {}

    def is_over(self, line: object) -> bool:
        """Note a line; whether that was enough of them."""
        if isinstance(line, Status):
            self._dropped[line.source] = dict(line.dropped)
        if not isinstance(line, FrameVerdict) or self._is_over:
            return self._is_over
        now_s = time.monotonic()
        self._first_s = now_s if self._first_s is None else self._first_s
        if now_s - self._first_s < self._warm_up_s:
            return False
        self._usage = self._usage or Usage()
        judged = sum(face.fake_probability is not None for face in line.faces)
        self._judged.append((now_s, line.source, line.frame, line.latency_ms or 0.0, judged))
        self._cores = self._usage.cores() if len(self._judged) % 16 == 0 else self._cores
        self._is_over = self._duration_s is not None and now_s - self._judged[0][0] >= self._duration_s
        return self._is_over

    def ran(self) -> Ran:
        """The figures of the run.

        Raises:
            ValueError: if too few frames were judged to say anything.
        """
        if len(self._judged) < 3:
            raise ValueError(f"expected 3 judged frames or more, got {len(self._judged)}; measure for longer")
        assert self._usage is not None
        at_s = np.array([row[0] for row in self._judged])
        seconds = float(at_s[-1] - at_s[0])
        ends: dict[str, list[int]] = {}
        for _, source, index, _, _ in self._judged:
            ends.setdefault(source, []).append(index)
        frames = sum(indices[-1] - indices[0] for indices in ends.values())
        own, others = self._cores if self._cores[0] else self._usage.cores()
        dropped = Counter[str]()
        for causes in self._dropped.values():
            dropped.update(causes)
        return Ran(
            seconds=seconds,
            fps=frames / seconds,
            analysed_fps=(len(self._judged) - len(ends)) / seconds,
            latency_ms=tuple(row[3] for row in self._judged),
            faces=float(np.mean([row[4] for row in self._judged])),
            dropped=dict(dropped),
            own_cores=own,
            other_cores=others,
        )


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The percentiles by which latency is told."""
    return {name: round(float(np.percentile(values, share)), 2) for name, share in PERCENTILES.items()}


def decode_alone(path: Path, seconds: float, warm_up_s: float = 0.5) -> dict[str, float]:
    """The floor: the frames a second of nothing but demuxing and decoding a file, as often as fits into `seconds`.

    FFmpeg decodes as it does for the line: two threads of its own for a file.
    """
    frames, began_s, cpu_s = 0, time.monotonic(), 0.0
    warm_s: float | None = None
    while True:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "AUTO", 2
            for _ in container.decode(stream):
                now_s = time.monotonic()
                if warm_s is None:
                    if now_s - began_s >= warm_up_s:
                        warm_s, cpu_s = now_s, time.process_time()
                    continue
                frames += 1
                if now_s - warm_s >= seconds:
                    used_s = time.process_time() - cpu_s
                    rate = frames / (now_s - warm_s)
                    return {"fps": round(rate, 2), "cpu_ms_a_frame": round(used_s * 1000 / frames, 3)}
