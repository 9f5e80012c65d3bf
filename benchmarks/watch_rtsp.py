"""Does `watch` keep up with a camera? A 720p30 H.264 feed with one face over RTSP, watched by the real command line.

    python -m benchmarks.watch_rtsp [--seconds 60] [--weights DIR] [--no-profile]

Needs GStreamer's RTSP server (Debian's packages; .ci/run names them). The feed is coded beforehand, so that serving it
takes next to nothing from the two cores. A second, shorter run under timers says where the time goes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.common import ROOT, load_weights_or_random, metadata, rounded, slope_per_minute, write_result
from benchmarks.footage import FPS, HEIGHT, WIDTH, write_packets
from tests.requirements import has_gstreamer
from tests.servers.rtsp import RtspServer

WARM_UP_S = 10.0  # after the first line: left out of every figure
PROFILE_S = 30.0
TARGET_FPS = 25.0
TARGET_AGE_MS = 33.0  # over a whole run the age of frames may drift by less than one frame
SAMPLE_S = 1.0
END_S = 10.0  # memory is compared between the first and the last so many seconds
GRACE_S = 90.0  # for the command to load and to end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="measured, after a warm-up of 10 s")
    parser.add_argument("--face-px", type=float, default=240.0, help="height of the face")
    parser.add_argument("--kbps", type=int, default=4000)
    parser.add_argument("--weights", type=Path, help="a folder; by default the shipped ones")
    parser.add_argument("--no-profile", action="store_true")
    parser.add_argument("--name", default="watch_rtsp", help="of the result")
    args = parser.parse_args()
    if not has_gstreamer():
        sys.exit("expected GStreamer's RTSP server, found none: install Debian's packages that .ci/run names")
    about = metadata()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stream-detect-bench-")))
        weights, named = weights_folder(args.weights, folder)
        packets = write_packets(folder, args.kbps, args.face_px)
        server = stack.enter_context(RtspServer(packets=packets, fps=FPS))
        settings = {"picture": [WIDTH, HEIGHT], "fps": FPS, "kbps": args.kbps, "face_px": args.face_px}
        result = {
            "question": "frames analysed a second on one 720p30 RTSP feed with one face, all experts",
            "about": about,
            "settings": settings | {"seconds": args.seconds, "warm_up_s": WARM_UP_S},
            "weights": named,
            **watched(server, folder, weights, args.seconds),
        }
        if not args.no_profile:
            result["profile"] = profiled(server, folder, weights)
    print(json.dumps({key: value for key, value in result.items() if key != "about"}, indent=1))
    print(write_result(args.name, result))


def weights_folder(given: Path | None, folder: Path) -> tuple[list[str], str]:
    """What to tell the command about weights, and what to call them."""
    from stream_detect.weights import save_weights

    weights, named = load_weights_or_random(given)
    if given is not None:
        return ["--weights", str(given)], named
    if named.startswith("shipped"):
        return [], named
    save_weights(weights, folder / "weights")
    return ["--weights", str(folder / "weights")], named


def watched(server: RtspServer, folder: Path, weights: list[str], seconds: float) -> dict[str, Any]:
    """Run the command line for `seconds` beyond the warm-up, and say how it did."""
    lines = folder / "watched.jsonl"
    command = [str(Path(sys.executable).with_name("stream-detect")), *arguments(server, lines, weights, seconds)]
    usage = run_sampled(command, server, seconds)
    return summary(read_lines(lines), usage)


def profiled(server: RtspServer, folder: Path, weights: list[str]) -> dict[str, Any]:
    """Where the time goes: the same command under timers (benchmarks/stages.py)."""
    lines, table = folder / "profiled.jsonl", folder / "stages.json"
    command = [sys.executable, "-m", "benchmarks.stages", str(table), *arguments(server, lines, weights, PROFILE_S)]
    run_sampled(command, server, PROFILE_S)
    profile: dict[str, Any] = json.loads(table.read_text())
    return profile


def arguments(server: RtspServer, lines: Path, weights: list[str], seconds: float) -> list[str]:
    duration_s = str(seconds + WARM_UP_S + 2)  # 2 s until the first picture
    return ["watch", server.url, "--jsonl", str(lines), "--duration", duration_s, *weights]


def run_sampled(command: list[str], server: RtspServer, seconds: float) -> "Usage":
    """Run a command to its end while its processor time and memory are looked at each second.

    Raises:
        RuntimeError: if it fails, with what it said.
    """
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    usage = Usage(child.pid, server.pid)
    sampler = threading.Thread(target=usage.follow, name="sampler")
    sampler.start()
    try:
        _, said = child.communicate(timeout=seconds + WARM_UP_S + GRACE_S)
    finally:
        child.kill()
        usage.done.set()
        sampler.join()
    if child.returncode:
        raise RuntimeError(f"{command[0]} ended with {child.returncode}: {said.strip()[-500:]}")
    return usage


class Usage:
    """Processor time and memory of the command, of the server, and of the whole machine, once a second."""

    def __init__(self, watch: int, server: int | None) -> None:
        self.done = threading.Event()
        self.samples: list[tuple[float, float, float, float, float]] = []  # wall, watch, server, machine; bytes
        self._processes = [psutil.Process(watch), psutil.Process(server)]

    def follow(self) -> None:
        while not self.done.wait(SAMPLE_S):
            try:
                self.samples.append(self._sample())
            except psutil.Error:  # it has ended
                return

    def _sample(self) -> tuple[float, float, float, float, float]:
        watch, server = (sum(process.cpu_times()[:2]) for process in self._processes)
        whole = psutil.cpu_times()
        busy = whole.user + whole.nice + whole.system + whole.irq + whole.softirq + whole.steal
        return time.time(), watch, server, busy, self._processes[0].memory_info().rss

    def between(self, start_s: float, end_s: float) -> dict[str, Any]:
        """The figures of a stretch of wall clock time; processor time in cores, 1 being one core fully used."""
        rows = np.array([row for row in self.samples if start_s <= row[0] <= end_s])
        used = (rows[-1] - rows[0]) / (rows[-1, 0] - rows[0, 0])
        mebibytes, at_s = rows[:, 4] / 2**20, rows[:, 0]
        ends = [np.median(mebibytes[mask]) for mask in (at_s < at_s[0] + END_S, at_s > at_s[-1] - END_S)]
        return {
            "cores_used": {
                "watch": rounded(used[1], 2),
                "server": rounded(used[2], 2),
                "everything_else": rounded(used[3] - used[1] - used[2], 2),
            },
            "rss_mib": {
                "first": rounded(ends[0], 1),
                "last": rounded(ends[1], 1),
                "growth": rounded(ends[1] - ends[0], 1),
                "growth_a_minute": rounded(slope_per_minute(at_s, mebibytes), 2),
                "every_30_s": [rounded(value, 1) for value in mebibytes[:: round(30 / SAMPLE_S)]],
            },
        }


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def summary(lines: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
    """The figures of a run, from its JSON lines and what it used."""
    frames = [line for line in lines if line["type"] == "frame"]
    judged_s = np.array([time_of(line) + line["latency_ms"] / 1000 for line in frames])
    steady = judged_s >= judged_s[0] + WARM_UP_S
    judged_s, frames = judged_s[steady], [line for line, is_steady in zip(frames, steady, strict=True) if is_steady]
    latency_ms = np.array([line["latency_ms"] for line in frames])
    age_ms = (judged_s - np.array([line["pts_s"] for line in frames])) * 1000  # and a constant
    fps = (len(frames) - 1) / (judged_s[-1] - judged_s[0])
    drift_ms = slope_per_minute(judged_s, age_ms) * (judged_s[-1] - judged_s[0]) / 60
    return {
        "seconds": rounded(judged_s[-1] - judged_s[0], 1),
        "analysed_fps": rounded(fps, 2),
        "faces_judged_by_all_experts": rounded(np.mean([is_judged(line) for line in frames]), 4),
        "latency_ms": dict(
            zip(("p50", "p95", "max"), map(rounded, np.percentile(latency_ms, [50, 95, 100])), strict=True)
        ),
        "frame_age": {
            "growth_ms_a_minute": rounded(slope_per_minute(judged_s, age_ms), 2),
            "growth_ms": rounded(drift_ms, 2),
            "over_youngest_p95_ms": rounded(np.percentile(age_ms, 95) - age_ms.min(), 1),
        },
        "last_status": last_status(lines),
        **usage.between(judged_s[0], judged_s[-1]),
        "target": {
            "analysed_fps": TARGET_FPS,
            "age_growth_below_ms": TARGET_AGE_MS,
            "met": bool(fps >= TARGET_FPS and drift_ms < TARGET_AGE_MS),
        },
    }


def time_of(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["seen_at"]).timestamp()


def is_judged(line: dict[str, Any]) -> bool:
    """Whether the frame shows one face and every expert said something of it."""
    return len(line["faces"]) == 1 and all(p is not None for p in line["faces"][0]["experts"].values())


def last_status(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """How many frames came, were analysed and were dropped by which cause in the whole run, warm-up included."""
    last = [line for line in lines if line["type"] == "status"][-1]
    return {key: last[key] for key in ("state", "frames", "analysed", "dropped")}


if __name__ == "__main__":
    main()
