"""What does it cost to decode each feed in a process of its own, and how soon is a killed one replaced?

    python -m benchmarks.isolation [--seconds 8] [--rounds 5] [--quick]

A feed of a real RTSP server is opened in a thread and in a worker process in turn, its frames are taken as they come
and let go of. Then workers are killed, and counted in memory.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.common import at_most, finish, metadata, parser_of, rounded, show_table
from benchmarks.stream import NO_SERVER
from benchmarks.watching import served
from stream_detect.bench.footage import FPS, KBPS, LOOP_S, coded
from stream_detect.bench.machine import Usage
from stream_detect.decode.clock import StreamClock
from stream_detect.decode.frame import Frame
from stream_detect.errors import DecoderDied
from stream_detect.sources import SourceOptions, open_source
from stream_detect.sources.opening import Connection, Opener, ThreadOpener
from stream_detect.sources.ring import PacketRing
from stream_detect.sources.worker.nursery import Nursery
from stream_detect.sources.worker.remote import WorkerOpener
from tests.requirements import has_gstreamer

MODES: dict[str, type[ThreadOpener] | type[WorkerOpener]] = {"thread": ThreadOpener, "process": WorkerOpener}
SECONDS, ROUNDS, QUICK_SECONDS, QUICK_ROUNDS = 8.0, 5, 1.0, 1
WARM_UP_FRAMES = FPS
WORKERS = 4  # whose memory is looked at
FORKS, KILLS, QUICK_FORKS, QUICK_KILLS = 20, 10, 3, 2
RING_BYTES = 16 << 20
ADDED_CPU_MS, ADDED_P50_MS, PSS_MIB, BACK_MS = 1.0, 2.0, 40.0, 2000.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One stretch of one mode."""

    first_frame_ms: float  # from the call to open it
    ages_ms: np.ndarray  # of frames when they are taken, since their packet came
    cpu_ms: float  # a frame: this process and the worker
    everything_else: float | None  # cores that the server and other programs used
    dropped: int


def main(arguments: list[str] | None = None) -> Path:
    args = parse(arguments)
    about = metadata()
    with tempfile.TemporaryDirectory(prefix="stream-detect-bench-") as folder:
        pictures = coded(KBPS, num=FPS if args.quick else LOOP_S * FPS)
        with served(Path(folder), pictures) as (url, _):
            turns = in_turn(url, args.rounds, args.seconds)
            kills = [killed(url) for _ in range(QUICK_KILLS if args.quick else KILLS)]
            memory = memory_of(url)
    modes = {mode: figures(turns[mode]) for mode in MODES}
    result: dict[str, Any] = {
        "question": f"what does a process of its own cost a feed of 720p{FPS}, and how soon is it replaced",
        "about": about,
        "settings": {"rounds": args.rounds, "seconds": args.seconds, "fps": FPS, "kbps": KBPS, "workers": WORKERS},
        "modes": modes,
        "added": added(modes),
        "start_ms": started(QUICK_FORKS if args.quick else FORKS),
        "memory_mib": memory,
        "killed_ms": {"noticed": spread([one for one, _ in kills]), "next_frame": spread([one for _, one in kills])},
    }
    result["targets"] = targets(result)
    show(result)
    return finish("isolation", result, args)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, help=f"of each turn; {SECONDS:g} by default")
    parser.add_argument("--rounds", type=int, help=f"turns of each mode; {ROUNDS} by default")
    args = parser.parse_args(arguments)
    args.seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    args.rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    if not has_gstreamer():
        sys.exit(NO_SERVER)
    return args


def in_turn(url: str, rounds: int, seconds: float) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {mode: [] for mode in MODES}
    for _ in range(rounds):
        for mode, kind in MODES.items():
            with closing(kind()) as opener:
                if isinstance(opener, WorkerOpener):
                    begin(opener, url)  # the nursery's start is measured by itself
                turns[mode].append(turn(opener, url, seconds))
    return turns


def begin(opener: WorkerOpener, url: str) -> None:
    with opened(opener, url, Counter()) as connection:
        next(connection.frames())


def turn(opener: Opener, url: str, seconds: float) -> Turn:
    drops, began_s = Counter[str](), time.monotonic()
    with opened(opener, url, drops) as connection:
        frames = connection.frames()
        next(frames)
        first_frame_ms = 1000 * (time.monotonic() - began_s)
        for _ in islice(frames, WARM_UP_FRAMES):
            pass
        usage, cpu_s, began_s = Usage(), cpu_seconds(opener), time.monotonic()
        own_s = time.process_time()
        ages = np.array([age_ms(frame) for frame in islice(frames, round(seconds * FPS))])
        used_s, own_s = cpu_seconds(opener) - cpu_s, time.process_time() - own_s
        others = usage.cores()[1]
        if others is not None:
            others = max(0.0, others - (used_s - own_s) / (time.monotonic() - began_s))
    return Turn(first_frame_ms, ages, 1000 * used_s / len(ages), others, drops.total())


@contextmanager
def opened(opener: Opener, url: str, drops: Counter[str]) -> Iterator[Connection]:
    source, ring = open_source(url, options=SourceOptions()), PacketRing(RING_BYTES)
    with opener.open(
        source, clock=StreamClock(source.is_live), ring=ring, drops=drops, first_index=0, may_skip=True
    ) as connection:
        yield connection


def age_ms(frame: Frame) -> float:
    return 1000 * (time.monotonic() - frame.arrived_s)


def cpu_seconds(opener: Opener) -> float:
    """Of this process and the worker, if there is one."""
    times = psutil.Process(opener.pid).cpu_times() if opener.pid else None
    return time.process_time() + (times.user + times.system if times else 0.0)


def killed(url: str) -> tuple[float, float]:
    """From the death of a worker until it is noticed, and until the next frame, in milliseconds."""
    with closing(WorkerOpener()) as opener:
        with opened(opener, url, Counter()) as connection:
            frames = connection.frames()
            next(frames)
            pid = opener.pid
            assert pid is not None
            died_s = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            try:
                for _ in frames:
                    pass
            except DecoderDied:
                noticed_s = time.monotonic()
        begin(opener, url)
        return 1000 * (noticed_s - died_s), 1000 * (time.monotonic() - died_s)


def started(forks: int) -> dict[str, Any]:
    """How long the nursery takes to fork its first worker, and each further one."""
    nursery, began_s = Nursery(), time.monotonic()
    try:
        nursery.fork().close()
        first_ms, each = 1000 * (time.monotonic() - began_s), []
        for _ in range(forks):
            began_s = time.monotonic()
            worker = nursery.fork()
            each.append(1000 * (time.monotonic() - began_s))
            worker.close()
    finally:
        nursery.close()
    return {"nursery_and_first_worker": rounded(first_ms), "further_worker": spread(each)}


def memory_of(url: str) -> dict[str, Any]:
    """What the nursery and each of several workers take, shared pages by halves, thirds and so on (PSS)."""
    with ExitStack() as stack:
        openers = [stack.enter_context(closing(WorkerOpener())) for _ in range(WORKERS)]
        streams = []
        for opener in openers:
            streams.append(stack.enter_context(opened(opener, url, Counter())).frames())
        for _ in range(WARM_UP_FRAMES):
            for frames in streams:
                next(frames)
        pids = [opener.pid for opener in openers if opener.pid is not None]
        nursery = psutil.Process(pids[0]).parent()
        each = [pss_mib(pid) for pid in pids]
        return {
            "nursery": pss_mib(nursery.pid)["Pss"] if nursery else None,
            "worker": spread([one["Pss"] for one in each]),
            "of_which_pictures": spread([one["Pss_Shmem"] for one in each]),
            "worker_rss": spread([one["Rss"] for one in each]),
        }


def pss_mib(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): rounded(int(kib) / 1024) for name, kib, *_ in map(str.split, lines)}


def figures(turns: Sequence[Turn]) -> dict[str, Any]:
    ages = np.concatenate([turn.ages_ms for turn in turns])
    others = [turn.everything_else for turn in turns if turn.everything_else is not None]
    return {
        "cpu_ms_a_frame": spread([turn.cpu_ms for turn in turns]),
        "age_when_taken_ms": {f"p{share}": rounded(np.percentile(ages, share)) for share in (50, 95, 99)},
        "first_frame_ms": spread([turn.first_frame_ms for turn in turns]),
        "frames": len(ages),
        "dropped": sum(turn.dropped for turn in turns),
        "everything_else": spread(others) if others else None,
    }


def added(modes: dict[str, dict[str, Any]]) -> dict[str, float]:
    """What the process takes beyond the thread."""
    thread, process = modes["thread"], modes["process"]
    ages = {name: (process["age_when_taken_ms"][name], thread["age_when_taken_ms"][name]) for name in ("p50", "p95")}
    return {
        "cpu_ms_a_frame": rounded(process["cpu_ms_a_frame"]["median"] - thread["cpu_ms_a_frame"]["median"]),
        **{f"age_{name}_ms": rounded(ours - theirs) for name, (ours, theirs) in ages.items()},
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": rounded(middle), "iqr": [rounded(low), rounded(high)], "times": len(values)}


def targets(result: dict[str, Any]) -> list[dict[str, Any]]:
    extra = result["added"]
    return [
        at_most("processor time added, ms a frame", ADDED_CPU_MS, extra["cpu_ms_a_frame"]),
        at_most("age added, p50, ms", ADDED_P50_MS, extra["age_p50_ms"]),
        at_most("memory of a worker (PSS), MiB", PSS_MIB, result["memory_mib"]["worker"]["median"]),
        at_most("killed worker to next frame, ms", BACK_MS, result["killed_ms"]["next_frame"]["median"]),
    ]


def show(result: dict[str, Any]) -> None:
    rows = []
    for mode, said in result["modes"].items():
        ages = said["age_when_taken_ms"].values()
        rows.append((mode, said["cpu_ms_a_frame"]["median"], *ages, said["first_frame_ms"]["median"], said["dropped"]))
    show_table(("720p in a", "cpu ms a frame", "age p50", "p95", "p99", "first frame ms", "dropped"), rows)
    start, memory, kills = result["start_ms"], result["memory_mib"], result["killed_ms"]
    others = [
        ("nursery and first worker, ms", start["nursery_and_first_worker"]),
        ("a further worker, ms", start["further_worker"]["median"]),
        ("a worker's memory (PSS), MiB", memory["worker"]["median"]),
        ("of which pictures, MiB", memory["of_which_pictures"]["median"]),
        ("the nursery's, MiB", memory["nursery"]),
        ("a death until it is noticed, ms", kills["noticed"]["median"]),
        ("a death until the next frame, ms", kills["next_frame"]["median"]),
    ]
    show_table(("worker processes", ""), others)


if __name__ == "__main__":
    main()
