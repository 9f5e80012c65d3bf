"""Where the time goes: a timer around each stage of a frame, for the processor time of its thread and the wall clock.

The wall clock is more where threads wait for a core or for each other. Decoding a file happens in FFmpeg's own threads,
which Linux knows by name: their time is added to the stage "decode". What no timer covers (the loop itself, waiting) is
"the rest".
"""

import functools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FRAME = "convert"  # the stage that each decoded frame passes once
DECODE, REST = "decode", "the rest"
DECODER_THREADS = "av:"  # how FFmpeg's names begin
LOOK_EVERY = 15  # frames between two looks at their clocks, which tick every 10 ms

Sample = tuple[float, float, float]  # when it began, wall and processor time, in seconds
Stage = str | Callable[[Any], str]  # its name, or what gives it for the first argument


@dataclass(frozen=True, slots=True)
class StageTable:
    """What each stage cost for a decoded frame, in milliseconds of processor time."""

    frames: int
    seconds: float
    cpu_ms_a_frame: float  # of the whole process
    stages: Mapping[str, Mapping[str, float]]  # in the order of a frame's way, the rest last

    @property
    def fps(self) -> float:
        return self.frames / self.seconds

    def to_json(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "fps": round(self.fps, 2),
            "cpu_ms_a_frame": round(self.cpu_ms_a_frame, 3),
            "stages": {name: dict(row) for name, row in self.stages.items()},
        }


class Timers:
    """What each stage took, call by call; a timer inside another one of the same thread counts nothing."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self.process: list[tuple[float, float]] = []  # wall clock and processor time of the process at each frame
        self.decoders: list[tuple[float, float]] = []  # wall clock and processor time of FFmpeg's threads
        self._inside = threading.local()
        self._order: list[str] = []
        self._named_at = 0  # where in the order those come that are named as they are called

    @contextmanager
    def around(self, owner: Any, attribute: str, stage: Stage) -> Iterator[None]:
        """A timer around a function or method, until the block is left.

        Raises:
            AttributeError: if there is no such thing.
        """
        function = getattr(owner, attribute)
        setattr(owner, attribute, self._timed(function, stage))
        if not isinstance(stage, str):
            self._named_at = len(self._order)
        elif stage not in self._order:
            self._order.append(stage)
        try:
            yield
        finally:
            setattr(owner, attribute, function)

    @contextmanager
    def around_steps(self, owner: Any, attribute: str, stage: str) -> Iterator[None]:
        """A timer around each step of what a function that yields does, until the block is left."""
        function = getattr(owner, attribute)

        @functools.wraps(function)
        def steps(*args: Any, **kwargs: Any) -> Iterator[Any]:
            iterator = function(*args, **kwargs)
            following = self._timed(lambda: next(iterator), stage)
            try:
                while True:
                    try:
                        item = following()
                    except StopIteration:
                        return
                    yield item
            finally:
                iterator.close()

        setattr(owner, attribute, steps)
        self._order.append(stage)
        try:
            yield
        finally:
            setattr(owner, attribute, function)

    def _timed(self, function: Callable[..., Any], stage: Stage) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._inside, "is_busy", False):
                return function(*args, **kwargs)
            self._inside.is_busy = True
            began_s, cpu_s = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                name = stage if isinstance(stage, str) else stage(args[0])
                self._note(name, began_s, time.perf_counter() - began_s, time.thread_time() - cpu_s)
                self._inside.is_busy = False

        return timed

    def _note(self, stage: str, began_s: float, wall_s: float, cpu_s: float) -> None:
        self.samples[stage].append((began_s, wall_s, cpu_s))
        if stage == FRAME:
            if len(self.process) % LOOK_EVERY == 0:
                self.decoders.append((began_s, threads_s(DECODER_THREADS)))
            self.process.append((began_s, time.process_time()))

    def _ordered(self) -> list[str]:
        named = sorted(set(self.samples) - set(self._order))
        return [*self._order[: self._named_at], *named, *self._order[self._named_at :]]

    def table(self, warm_up_s: float = 0.0) -> StageTable:
        """The stages from `warm_up_s` after the first frame on.

        Raises:
            ValueError: if no two frames came after that.
        """
        first_s = self.process[0][0] if self.process else 0.0
        steady = [row for row in self.process if row[0] >= first_s + warm_up_s]
        if len(steady) < 2:
            raise ValueError(f"expected two frames or more after {warm_up_s:g} s, got {len(steady)}")
        (start_s, cpu_start_s), (end_s, cpu_end_s) = steady[0], steady[-1]
        frames, whole_ms = len(steady) - 1, (cpu_end_s - cpu_start_s) * 1000
        stages = {}
        for name in self._ordered():
            rows = np.array([row for row in self.samples[name] if start_s <= row[0] < end_s]).reshape(-1, 3) * 1000
            if len(rows):
                stages[name] = stage_row(rows, frames, whole_ms)
        if DECODE in stages:
            stages[DECODE] |= self._with_decoders(stages[DECODE], start_s, end_s, whole_ms / frames)
        rest_ms = whole_ms / frames - sum(stage["cpu_ms_a_frame"] for stage in stages.values())
        stages[REST] = {"cpu_ms_a_frame": round(rest_ms, 3), "share": round(rest_ms * frames / whole_ms, 3)}
        return StageTable(frames, end_s - start_s, whole_ms / frames, stages)

    def _with_decoders(self, row: dict[str, float], start_s: float, end_s: float, whole_ms: float) -> dict[str, float]:
        """The processor time of decoding with that of FFmpeg's threads, for a frame."""
        looks = [look for look in self.decoders if start_s <= look[0] <= end_s]
        if len(looks) < 2:
            return {}
        frames = LOOK_EVERY * (len(looks) - 1)
        cpu_ms = row["cpu_ms_a_frame"] + max(0.0, looks[-1][1] - looks[0][1]) * 1000 / frames
        return {"cpu_ms_a_frame": round(cpu_ms, 3), "share": round(cpu_ms / whole_ms, 3)}


def threads_s(prefix: str) -> float:
    """Processor time of the threads of this process whose names begin so, in seconds; 0 where that isn't told."""
    total = 0
    for task in Path("/proc/self/task").glob("*"):
        try:
            if (task / "comm").read_text().startswith(prefix):
                total += sum(map(int, (task / "stat").read_text().rpartition(")")[2].split()[11:13]))
        except OSError:  # it has ended
            continue
    return total / os.sysconf("SC_CLK_TCK") if total else 0.0


def stage_row(rows: np.ndarray, frames: int, whole_ms: float) -> dict[str, float]:
    """The figures of one stage; `rows` are (calls, 3): beginning, wall clock and processor time in milliseconds."""
    wall_ms, cpu_ms = rows[:, 1], rows[:, 2]
    low, median, high = np.percentile(wall_ms, [25, 50, 75])
    return {
        "calls_a_frame": round(len(rows) / frames, 3),
        "cpu_ms_a_frame": round(float(cpu_ms.sum()) / frames, 3),
        "share": round(float(cpu_ms.sum()) / whole_ms, 3),
        "cpu_ms_a_call": round(float(np.median(cpu_ms)), 3),
        "wall_ms_a_call": round(float(median), 3),
        "wall_iqr_low_ms": round(float(low), 3),
        "wall_iqr_high_ms": round(float(high), 3),
    }


@contextmanager
def timed_stages(device: str = "cpu") -> Iterator[Timers]:
    """Timers around every stage of a frame, in the order of its way, until the block is left.

    Args:
        device: on a GPU crops, quality, experts and fusion are one stage: the host's part of it in processor time, and
            the wait for the device in wall clock. benchmarks/kernels.py tells what happens in between.
    """
    from stream_detect.alerts import JsonlSink
    from stream_detect.decode.stillness import Stillness
    from stream_detect.detector import Detector
    from stream_detect.faces.tracker import Tracker
    from stream_detect.sources.feed import Feed
    from stream_detect.temporal import Decision

    timers = Timers()
    with ExitStack() as stack:
        stack.enter_context(timers.around_steps(Feed, "_packets", "demux"))
        for owner, attribute, stage in (
            (Feed, "_decode", DECODE),
            (Feed, "_frame", FRAME),
            (Stillness, "is_frozen", "still picture?"),
            (Detector, "find_faces", "faces"),
            (Tracker, "due", "follow faces"),
            (Tracker, "detected", "follow faces"),
            (Tracker, "between", "follow faces"),
            *(cpu_stages() if device == "cpu" else [(Detector, "judge", "crops to fusion")]),
            (Decision, "judged", "decision"),
            (JsonlSink, "take", "output"),
        ):
            stack.enter_context(timers.around(owner, attribute, stage))
        yield timers


def cpu_stages() -> tuple[tuple[Any, str, Stage], ...]:
    """What a CPU does between crops and fusion: owner, function, stage."""
    from stream_detect import detector, examiner
    from stream_detect.experts.table import Expert

    return (
        (examiner, "cut_faces", "crops"),
        (examiner, "measure_quality", "quality"),
        (examiner, "quality_reasons", "quality"),
        (Expert, "kind_logits", expert_stage),
        (detector, "fuse_kinds", "fusion"),
    )


def expert_stage(expert: Any) -> str:
    return f"expert {expert.name}"
