"""The command line under observation: `stream-detect watch` in a process of its own, what it says and what it uses."""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.common import ROOT, parser_of, rounded, slope_per_minute
from stream_detect.bench.footage import FACE_PX, FPS, write_packets
from stream_detect.bench.line import percentiles
from stream_detect.bench.machine import busy_s, gpu_use
from stream_detect.config import PROFILES
from stream_detect.device import resolve_device
from tests.servers.rtsp import RtspServer

PROGRAM = str(Path(sys.executable).with_name("stream-detect"))
SAMPLE_S = 1.0
END_S = 10.0  # memory is compared between stretches of so many seconds
FULL_S = 60.0  # the ring of packets that evidence is cut from is full by then: memory has to be flat from here on
GRACE_S = 120.0  # for the command to load and to end
START_S = 2.0  # until the first picture

Line = dict[str, Any]


@dataclass(slots=True)
class Sample:
    """One look at the processes; processor time in seconds since they started."""

    at_s: float  # wall clock
    watch_s: float
    server_s: float
    machine_s: float
    rss_mib: float
    gpu: tuple[float, float] | None  # percent busy: the GPU, its video decoder


class Usage:
    """Processor time and memory of the command and the server, of the machine and its GPU, once a second.

    The processes in which the command decodes count as the command.
    """

    def __init__(self, watch: int, server: int | None = None) -> None:
        self.done = threading.Event()
        self.samples: list[Sample] = []
        self._watch = psutil.Process(watch)
        self._server = None if server is None else psutil.Process(server)
        self._has_gpu = gpu_use() is not None

    def follow(self) -> None:
        while not self.done.wait(SAMPLE_S):
            try:
                self.samples.append(self._sample())
            except psutil.Error:  # it has ended
                return

    def _sample(self) -> Sample:
        decoders = self._watch.children(recursive=True)
        shares = sum(one.memory_full_info().pss for one in decoders)  # what processes share counts once
        return Sample(
            at_s=time.time(),
            watch_s=sum(sum(one.cpu_times()[:2]) for one in (self._watch, *decoders)),
            server_s=0.0 if self._server is None else sum(self._server.cpu_times()[:2]),
            machine_s=busy_s() or 0.0,
            rss_mib=(self._watch.memory_info().rss + shares) / 2**20,
            gpu=gpu_use() if self._has_gpu else None,
        )

    def between(self, start_s: float, end_s: float) -> dict[str, Any]:
        """The figures of a stretch of wall clock time; processor time in cores, 1 being one core fully used."""
        rows = [row for row in self.samples if start_s <= row.at_s <= end_s]
        if len(rows) < 2:
            return {"cores_used": None, "rss_mib": None, "gpu_percent": None}
        seconds = rows[-1].at_s - rows[0].at_s
        watch, server, machine = (
            (getattr(rows[-1], name) - getattr(rows[0], name)) / seconds
            for name in ("watch_s", "server_s", "machine_s")
        )
        return {
            "cores_used": {
                "watch": rounded(watch, 2),
                "server": rounded(server, 2),
                "everything_else": rounded(max(0.0, machine - watch - server), 2),
            },
            "rss_mib": memory(rows),
            "gpu_percent": gpu_shares(rows),
        }


def memory(rows: Sequence[Sample]) -> dict[str, Any]:
    """How much memory there was and how it grew; `flat_*` from when the packet ring is full, None in a short run."""
    at_s, mebibytes = np.array([row.at_s for row in rows]), np.array([row.rss_mib for row in rows])
    first, last = (np.median(mebibytes[mask]) for mask in (at_s < at_s[0] + END_S, at_s > at_s[-1] - END_S))
    flat = at_s >= at_s[0] + FULL_S
    is_long = flat.sum() * SAMPLE_S > FULL_S / 2
    return {
        "first": rounded(first, 1),
        "last": rounded(last, 1),
        "most": rounded(mebibytes.max(), 1),
        "growth": rounded(last - first, 1),
        "flat_growth_a_minute": rounded(slope_per_minute(at_s[flat], mebibytes[flat]), 2) if is_long else None,
        "every_30_s": [rounded(value, 1) for value in mebibytes[:: round(30 / SAMPLE_S)]],
    }


def gpu_shares(rows: Sequence[Sample]) -> dict[str, float] | None:
    """How busy the GPU and its video decoder were, in percent; None where there is none."""
    known = np.array([row.gpu for row in rows if row.gpu is not None])
    if not len(known):
        return None
    gpu, decoder = known.mean(axis=0)
    return {"gpu": rounded(gpu, 1), "nvdec": rounded(decoder, 1)}


@dataclass(slots=True)
class Watched:
    """A run of the command: what it said and what it used."""

    lines: list[Line]
    usage: Usage
    started_s: float  # wall clock

    def first_verdict_s(self) -> float:
        """From the start of the process to the first judged frame."""
        return min(map(judged_at, frames_of(self.lines))) - self.started_s


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be watched, and how."""

    sources: Sequence[str]
    seconds: float  # measured, after the warm-up
    warm_up_s: float
    profile: str = "full"
    device: str = "auto"
    every_frame: bool = False
    weights: Sequence[str] = field(default_factory=tuple)  # options that say which

    def arguments(self, lines: Path) -> list[str]:
        duration_s = f"{self.seconds + self.warm_up_s + START_S:g}"
        pace = "--every-frame" if self.every_frame else "--live"
        chosen = ["--profile", self.profile, "--device", self.device, pace, "--duration", duration_s, *self.weights]
        return ["watch", *self.sources, "--jsonl", str(lines), *chosen]


def watched(order: Order, folder: Path, server: int | None = None, program: Sequence[str] = (PROGRAM,)) -> Watched:
    """Run the command to its end while it is observed.

    Raises:
        RuntimeError: if it fails, with what it said.
    """
    lines = folder / f"lines-{time.monotonic_ns()}.jsonl"
    command = [*program, *order.arguments(lines)]
    started_s = time.time()
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    usage = Usage(child.pid, server)
    sampler = threading.Thread(target=usage.follow, name="sampler")
    sampler.start()
    try:
        _, said = child.communicate(timeout=order.seconds + order.warm_up_s + GRACE_S)
    finally:
        child.kill()
        usage.done.set()
        sampler.join()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} ended with {child.returncode}: {said.strip()[-500:]}")
    return Watched([json.loads(line) for line in lines.read_text().splitlines()], usage, started_s)


def summary(run: Watched, warm_up_s: float) -> dict[str, Any]:
    """The figures of a run, of all its feeds together, from `warm_up_s` after the first verdict on.

    Raises:
        RuntimeError: if it judged too few frames.
    """
    frames = frames_of(run.lines)
    judged_s = np.array([judged_at(line) for line in frames])
    steady = judged_s >= judged_s.min(initial=np.inf) + warm_up_s
    if steady.sum() < 3:
        raise RuntimeError(f"expected 3 judged frames or more after {warm_up_s:g} s, got {steady.sum()}")
    frames, judged_s = [line for line, is_in in zip(frames, steady, strict=True) if is_in], judged_s[steady]
    seconds = float(judged_s.max() - judged_s.min())
    feeds: dict[str, list[tuple[float, int, float]]] = {line["source"]: [] for line in frames}
    for line, at_s in zip(frames, judged_s, strict=True):
        feeds[line["source"]].append((at_s, line["frame"], line["pts_s"]))
    return {
        "seconds": rounded(seconds, 1),
        "feeds": len(feeds),
        "fps": rounded(sum(rows[-1][1] - rows[0][1] for rows in feeds.values()) / seconds, 2),
        "analysed_fps": rounded(sum(len(rows) - 1 for rows in feeds.values()) / seconds, 2),
        "slowest_feed_analysed_fps": rounded(min(len(rows) - 1 for rows in feeds.values()) / seconds, 2),
        "faces_judged": rounded(np.mean([is_judged(line) for line in frames]), 4),
        "latency_ms": percentiles([line["latency_ms"] for line in frames]),
        "frame_age": worst_age([np.array(rows) for rows in feeds.values()]),
        **totals(run.lines),
        **run.usage.between(judged_s.min(), judged_s.max()),
    }


def worst_age(feeds: Sequence[np.ndarray]) -> dict[str, float]:
    """How the age of frames grew in the feed where it grew most; rows of a feed are (judged at, index, pts)."""
    growth = [slope_per_minute(rows[:, 0], (rows[:, 0] - rows[:, 2]) * 1000) for rows in feeds if len(rows) > 2] or [
        0.0
    ]
    minutes = max(rows[-1, 0] - rows[0, 0] for rows in feeds) / 60
    return {"growth_ms_a_minute": rounded(max(growth), 2), "growth_ms": rounded(max(growth) * minutes, 2)}


def totals(lines: Sequence[Line]) -> dict[str, Any]:
    """Frames of the whole run, warm-up included: how many came, were analysed, were dropped by which cause."""
    last = {line["source"]: line for line in lines if line["type"] == "status"}
    dropped = Counter[str]()
    for line in last.values():
        dropped.update(line["dropped"])
    frames, analysed = (sum(line[key] for line in last.values()) for key in ("frames", "analysed"))
    late = dropped["late"]  # never decoded, and so not among the frames
    lost = dropped["stale"] + late + dropped["corrupt"]
    return {
        "frames": frames,
        "analysed": analysed,
        "dropped": dict(dropped),
        "lost_share": rounded(lost / max(1, frames + late), 4),
        "unaccounted": frames - analysed - (sum(dropped.values()) - late),
    }


def frames_of(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line["type"] == "frame"]


def judged_at(line: Line) -> float:
    """When a frame's verdict was there, wall clock."""
    return datetime.fromisoformat(line["seen_at"]).timestamp() + float(line["latency_ms"]) / 1000


def is_judged(line: Line) -> bool:
    """Whether the frame shows one face and every expert said something of it."""
    return len(line["faces"]) == 1 and all(said is not None for said in line["faces"][0]["experts"].values())


@contextmanager
def served(folder: Path, pictures: Any) -> Iterator[tuple[str, int | None]]:
    """A real RTSP server of these coded pictures; its address and its process."""
    with RtspServer(packets=write_packets(folder, pictures), fps=FPS) as server:
        yield server.url, server.pid


def parser_of_watching(doc: str | None, profile: str, seconds: float) -> argparse.ArgumentParser:
    """The options that every script has, and those of all that run the command line on made feeds.

    Args:
        doc: of the script.
        profile: the default one.
        seconds: that are measured by default.
    """
    parser = parser_of(doc)
    parser.add_argument("--profile", choices=list(PROFILES), default=profile)
    parser.add_argument("--seconds", type=float, help=f"measured, each time; {seconds:g} by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--height", type=int, choices=[720, 1080], default=720)
    parser.add_argument("--face-px", type=float, default=FACE_PX, help="height of the face")
    parser.add_argument("--weights", type=Path, help="a folder; by default the shipped ones")
    parser.add_argument("--name", help="of the result")
    return parser


def settled(
    args: argparse.Namespace, seconds: tuple[float, float], warm_up_s: tuple[float, float]
) -> argparse.Namespace:
    """The arguments with what was left open: how long to measure and warm up, usually and with --quick; the device."""
    args.seconds = args.seconds or seconds[args.quick]
    args.warm_up = warm_up_s[args.quick]
    args.device = resolve_device(args.device)
    return args


def weights_options(given: Path | None, folder: Path) -> tuple[list[str], str]:
    """What to tell the command about weights, and what to call them."""
    from benchmarks.common import load_weights_or_random
    from stream_detect.weights import save_weights

    weights, named = load_weights_or_random(given)
    if given is not None:
        return ["--weights", str(given)], named
    if named.startswith("shipped"):
        return [], named
    save_weights(weights, folder / "weights")
    return ["--weights", str(folder / "weights")], named
