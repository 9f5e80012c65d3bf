"""Where does the time go? The command line with a timer around each stage of a frame.

    python -m benchmarks.stages OUT.json watch rtsp://... --duration 40

The timers count the processor time of the thread that a stage runs in, and the wall clock, which is more where threads
wait for a core or for each other. What no timer covers (receiving packets, the loop itself) is the rest.
"""

import functools
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import rounded

WARM_UP_S = 10.0
FRAME = "decision"  # the stage that each judged frame passes once

Sample = tuple[float, float, float]  # when it began, wall and processor time, in seconds


class Timers:
    """What each stage took, call by call."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self.process: list[tuple[float, float]] = []  # wall clock and processor time of the process at each frame
        self._inside = threading.local()

    def wrap(self, owner: Any, attribute: str, stage: str | Callable[[Any], str]) -> None:
        """Put a timer around a function or method; inside another timer of the same thread it counts nothing."""
        function = getattr(owner, attribute)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._inside, "busy", False):
                return function(*args, **kwargs)
            self._inside.busy = True
            began_s, cpu_s = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                name = stage if isinstance(stage, str) else stage(args[0])
                self._note(name, began_s, time.perf_counter() - began_s, time.thread_time() - cpu_s)
                self._inside.busy = False

        setattr(owner, attribute, timed)

    def _note(self, stage: str, began_s: float, wall_s: float, cpu_s: float) -> None:
        self.samples[stage].append((began_s, wall_s, cpu_s))
        if stage == FRAME:
            self.process.append((began_s, time.process_time()))

    def table(self) -> dict[str, Any]:
        """Milliseconds of processor time by stage for each analysed frame, once the warm-up is over."""
        steady = [row for row in self.process if row[0] >= self.process[0][0] + WARM_UP_S]
        (start_s, cpu_start_s), (end_s, cpu_end_s) = steady[0], steady[-1]
        frames, whole_ms = len(steady) - 1, (cpu_end_s - cpu_start_s) * 1000
        stages = {}
        for name, samples in self.samples.items():
            rows = np.array([row for row in samples if start_s <= row[0] < end_s]).reshape(-1, 3) * 1000
            if len(rows):
                stages[name] = stage_row(rows, frames, whole_ms)
        rest_ms = whole_ms / frames - sum(stage["cpu_ms_a_frame"] for stage in stages.values())
        stages["the rest"] = {"cpu_ms_a_frame": rounded(rest_ms), "share": rounded(rest_ms * frames / whole_ms)}
        ordered = sorted(stages.items(), key=lambda item: -item[1]["cpu_ms_a_frame"])
        return {
            "analysed_frames": frames,
            "analysed_fps": rounded(frames / (end_s - start_s), 2),
            "cpu_ms_a_frame": rounded(whole_ms / frames),
            "stages": dict(ordered),
        }


def stage_row(rows: np.ndarray, frames: int, whole_ms: float) -> dict[str, float]:
    wall_ms, cpu_ms = rows[:, 1], rows[:, 2]
    return {
        "calls_a_frame": rounded(len(rows) / frames),
        "cpu_ms_a_frame": rounded(cpu_ms.sum() / frames),
        "share": rounded(cpu_ms.sum() / whole_ms),
        "cpu_ms_a_call": rounded(np.median(cpu_ms)),
        "wall_ms_a_call": rounded(np.median(wall_ms)),
    }


def wrap_stages(timers: Timers) -> None:
    """Timers around the stages of a frame, in the order of its way."""
    import stream_detect.detector as judging
    from stream_detect.alerts import JsonlSink
    from stream_detect.decode.convert import Converter
    from stream_detect.experts.table import Expert
    from stream_detect.faces.tracker import Tracker
    from stream_detect.pipeline import Stillness
    from stream_detect.sources.feed import Feed
    from stream_detect.temporal import Decision

    timers.wrap(Feed, "_decode", "decode")
    timers.wrap(Converter, "__call__", "copy planes")
    timers.wrap(Stillness, "is_frozen", "still picture?")
    timers.wrap(judging.Detector, "find_faces", "find faces")
    for method in ("due", "detected", "between"):
        timers.wrap(Tracker, method, "follow faces")
    timers.wrap(judging, "cut_faces", "cut faces")
    for function in ("measure_quality", "quality_reasons", "quality_score"):
        timers.wrap(judging, function, "quality")
    timers.wrap(Expert, "logits", lambda expert: f"expert {expert.name}")
    timers.wrap(judging, "fuse", "fusion")
    timers.wrap(Decision, "judged", FRAME)
    timers.wrap(JsonlSink, "take", "write lines")


def main() -> None:
    out, *arguments = sys.argv[1:]
    timers = Timers()
    wrap_stages(timers)
    from stream_detect.cli import main as command_line

    sys.argv = ["stream-detect", *arguments]
    try:
        command_line()
    finally:
        Path(out).write_text(json.dumps(timers.table(), indent=1))


if __name__ == "__main__":
    main()
