"""Does it run all day? Feeds that suffer every fault in turn, watched as a whole process.

    python -m benchmarks.soak [--minutes 10] [--feeds 4] [--faults] [--seed 0] [--profile light]

K RTSP servers, each behind a proxy of faults, show a face that is forged for twelve of every thirty-two seconds, and
stands elsewhere in the picture then, so that the lines themselves tell which frames were forged. Every minute what is
known by then is written, so that an interrupted hour is not lost.
"""

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil

from benchmarks.common import at_most, finish, metadata, parser_of, rounded, show_table, slope_per_minute
from benchmarks.watching import PROGRAM
from stream_detect.bench.footage import Coded, write_packets
from stream_detect.bench.line import percentiles
from stream_detect.demo.clip import Camera, astronaut
from stream_detect.demo.swap import FaceSwap
from tests.servers import RtspServer
from tests.servers.ports import free_port
from tests.servers.proxy import FAULTS, FaultProxy

FPS, KBPS = 15, 500
REAL_S, FORGED_S = 20.0, 12.0
SHIFT_PX = 80  # to the left where the face is real, to the right where it is forged
MIDDLE_PX = 320.0
CALM_S, FAULT_S = (20.0, 60.0), (3.0, 10.0)  # between faults of a feed, and how long one lasts
HURRIED = 0.4  # of those times, and of `REAL_S`
OF_SERVERS = ("stopped", "killed", "decoder")  # beside what a proxy does: the server, and the process that decodes
WARM_UP_S = 90.0  # until memory counts: the ring of packets is full by then
SLOPE_S = 600.0
SAMPLE_S, REPORT_S = 5.0, 60.0
LONGEST_GAP_S = 1.0  # a forged stretch with a longer one counts as two
LONG_S = 6.0  # a forged stretch of so long has to raise an alert
WAITED_S = 4.0  # a source that was back for less is not yet missed
GRACE_S = 4.0  # after a forged stretch an alert may still be raised for it
FAULTED_LINES = ("reconnecting", "stalled", "connecting")


@dataclass(slots=True)
class Suffered:
    """One fault of one feed; times on the monotonic clock."""

    feed: str
    kind: str
    start_s: float
    back_s: float = 0.0  # when the source was back
    noticed_s: float | None = None  # the first line that said so
    frame_s: float | None = None  # the first new frame that was taken after it was back


@dataclass(slots=True)
class Seen:
    """What was seen of one feed; frames as (told, pts, age in ms, is at the forged place)."""

    frames: list[tuple[float, float, float, bool]] = field(default_factory=list)
    raised: list[tuple[float, str]] = field(default_factory=list)
    cleared: list[tuple[float, str]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)


class Lines:
    """Takes the lines of the program as they come."""

    def __init__(self) -> None:
        self.feeds: dict[str, Seen] = defaultdict(Seen)
        self.faults: list[Suffered] = []
        self.lock = threading.Lock()
        self.ended_s = math.inf  # when the program was told to end

    def follow(self, stream: Any) -> None:
        for text in stream:
            line, now_s = json.loads(text), time.monotonic()
            with self.lock:
                self.take(line, now_s)

    def take(self, line: dict[str, Any], now_s: float) -> None:
        seen = self.feeds[line["source"]]
        if line["type"] == "frame":
            self.frame(seen, line, now_s)
        elif line["type"] == "status":
            seen.last = line
            for fault in self.open_faults(line["source"]):
                if line["state"] in FAULTED_LINES and fault.noticed_s is None:
                    fault.noticed_s = now_s
        elif line["event"] in ("raised", "cleared"):
            (seen.raised if line["event"] == "raised" else seen.cleared).append((now_s, line["id"]))

    def frame(self, seen: Seen, line: dict[str, Any], now_s: float) -> None:
        age_ms = float(line["latency_ms"])
        for fault in self.open_faults(line["source"]):
            if fault.back_s and now_s - age_ms / 1000 > fault.back_s:
                fault.frame_s = now_s
        boxes = [face["box"] for face in line["faces"]]
        if boxes:
            is_forged = (boxes[0][0] + boxes[0][2]) / 2 > MIDDLE_PX
            seen.frames.append((now_s, line["pts_s"], age_ms, is_forged))

    def open_faults(self, feed: str) -> Iterator[Suffered]:
        return (fault for fault in self.faults if fault.feed == feed and fault.frame_s is None)


class Feed:
    """A server, its proxy, and what it suffers."""

    def __init__(
        self, name: str, server: RtspServer, proxy: FaultProxy, lines: Lines, port: int, seed: int, pace: float
    ) -> None:
        self.name = name
        self.proxy = proxy
        self._server = server
        self._lines = lines
        self._port = port
        self._pace = pace
        self._dice = random.Random(seed)
        self._bag: list[str] = []

    @property
    def url(self) -> str:
        return self.proxy.url(self._server.url)

    def suffer(self, stop: threading.Event) -> None:
        """Every fault in random order, again and again, until `stop`."""
        while not stop.wait(self._pace * self._dice.uniform(*CALM_S)):
            if not self._bag:
                self._bag = [*FAULTS, *OF_SERVERS]
                self._dice.shuffle(self._bag)
            self._suffer(self._bag.pop(), stop)

    def _suffer(self, kind: str, stop: threading.Event) -> None:
        fault = Suffered(self.name, kind, time.monotonic())
        with self._lines.lock:
            self._lines.faults.append(fault)
        self._begin(kind)
        if kind != "decoder":
            stop.wait(max(FAULT_S[0], self._pace * self._dice.uniform(*FAULT_S)))
        self._end(kind)
        with self._lines.lock:
            if stop.is_set():  # nobody waits for its end
                self._lines.faults.remove(fault)
            fault.back_s = time.monotonic() if kind != "decoder" else fault.start_s

    def _begin(self, kind: str) -> None:
        if kind == "stopped":
            self._server.pause()
        elif kind == "killed":
            self._server.kill()
        elif kind == "decoder":
            self._kill_decoder()
        else:
            self.proxy.suffer(kind)

    def _end(self, kind: str) -> None:
        if kind == "stopped":
            self._server.go_on()
        elif kind == "killed":
            self._server.start()
        elif kind != "decoder":
            self.proxy.heal()

    def _kill_decoder(self) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/feeds/{self.name}", timeout=10) as answer:
            pid = json.load(answer).get("pid")
        if pid:
            psutil.Process(pid).kill()


@dataclass(slots=True)
class Memory:
    """What the program and the processes it started hold, every few seconds."""

    rows: list[tuple[float, float, float, int, int, int]] = field(default_factory=list)

    def follow(self, pid: int, stop: threading.Event) -> None:
        program = psutil.Process(pid)
        while not stop.wait(SAMPLE_S):
            try:
                self.rows.append(self._row(program))
            except psutil.Error:
                continue  # one of them has just ended

    def _row(self, program: psutil.Process) -> tuple[float, float, float, int, int, int]:
        others = program.children(recursive=True)
        private = sum(one.memory_full_info().uss for one in others) / 2**20
        files = program.num_fds() + sum(one.num_fds() for one in others)
        return (
            time.monotonic(),
            program.memory_info().rss / 2**20,
            private,
            files,
            program.num_threads(),
            1 + len(others),
        )

    def summary(self, start_s: float) -> dict[str, Any]:
        rows = np.array([row for row in self.rows if row[0] - start_s > WARM_UP_S] or self.rows)
        if len(rows) < 3:
            return {}
        at_s = rows[:, 0]
        late = at_s >= (at_s[0] + at_s[-1]) / 2  # what is filled once is full by then; what leaks goes on
        files, threads, processes = ({"first": int(c[0]), "last": int(c[-1]), "most": int(c.max())} for c in rows.T[3:])
        return {
            "rss_mib": {
                "first": rounded(rows[0, 1], 1),
                "last": rounded(rows[-1, 1], 1),
                "most": rounded(rows[:, 1].max(), 1),
                "slope_mib_an_hour": slope_mib_an_hour(at_s, rows[:, 1]),
                "late_slope_mib_an_hour": slope_mib_an_hour(at_s[late], rows[late, 1]),
            },
            "decoders_private_mib": {
                "first": rounded(rows[0, 2], 1),
                "last": rounded(rows[-1, 2], 1),
                "slope_mib_an_hour": slope_mib_an_hour(at_s, rows[:, 2]),
            },
            "files": files,
            "threads": threads,
            "processes": processes,
        }


def slope_mib_an_hour(at_s: np.ndarray, mib: np.ndarray) -> float | None:
    """None where it was watched for too short a time to tell growth from filling what is filled once."""
    return rounded(60 * slope_per_minute(at_s, mib), 2) if at_s[-1] - at_s[0] >= SLOPE_S else None


def main(arguments: list[str] | None = None) -> Path:
    args = parse(arguments)
    about, lines, memory = metadata(), Lines(), Memory()
    with tempfile.TemporaryDirectory(prefix="stream-detect-soak-") as folder, ExitStack() as stack:
        packets, port = write_packets(Path(folder), coded(args.seed, REAL_S * pace_of(args))), free_port()
        feeds = [served(stack, number, packets, lines, port, args) for number in range(args.feeds)]
        config = Path(folder) / "feeds.toml"
        config.write_text("".join(f'[[feed]]\nname = "{one.name}"\nurl = "{one.url}"\n' for one in feeds))
        program = stack.enter_context(started(args, config, port))
        start_s, stop = time.monotonic(), threading.Event()
        threads = [
            threading.Thread(target=lines.follow, args=(program.stdout,), name="lines"),
            threading.Thread(target=memory.follow, args=(program.pid, stop), name="memory"),
            *(threading.Thread(target=one.suffer, args=(stop,), name=one.name) for one in feeds if args.faults),
        ]
        for thread in threads:
            thread.start()
        until_s = start_s + 60 * args.minutes
        while time.monotonic() < until_s and program.poll() is None:
            time.sleep(max(0.0, min(REPORT_S, until_s - time.monotonic())))
            result = summary(args, about, lines, memory, start_s, None)
            print(progress(result), file=sys.stderr, flush=True)
            if args.partial:
                Path(args.partial).write_text(json.dumps(result, indent=2))
        is_alive = program.poll() is None
        stop.set()
        lines.ended_s = time.monotonic()
        program.terminate()
        code = program.wait(60)
        for thread in threads:
            thread.join()
    result = summary(args, about, lines, memory, start_s, code if is_alive else -1)
    show(result)
    return finish(args.name or "soak", result, args)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--feeds", type=int, default=4, metavar="K")
    parser.add_argument("--faults", action="store_true", help="every feed suffers every fault in turn")
    parser.add_argument("--hurried", action="store_true", help="two and a half times as many faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", choices=["full", "light"], default="light")
    parser.add_argument("--partial", metavar="FILE", help="write what is known by then every minute")
    parser.add_argument("--name", help="of the result")
    return parser.parse_args(arguments)


def pace_of(args: argparse.Namespace) -> float:
    return HURRIED if args.hurried else 1.0


def served(stack: ExitStack, number: int, packets: str, lines: Lines, port: int, args: argparse.Namespace) -> Feed:
    server = stack.enter_context(RtspServer(packets=packets, fps=FPS))
    proxy = stack.enter_context(FaultProxy(server.port, seed=args.seed))
    return Feed(f"feed{number + 1}", server, proxy, lines, port, 1000 * args.seed + number, pace_of(args))


def started(args: argparse.Namespace, config: Path, port: int) -> subprocess.Popen[str]:
    options = ["--profile", args.profile, "--metrics-port", str(port), "--jsonl", "-", "--log-json"]
    command = [PROGRAM, "watch", "--config", str(config), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def coded(seed: int, real_s: float) -> list[Coded]:
    """A loop of real and forged pictures, 640 x 480, as a camera codes them: no B frames, a key frame a second."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = 640, 480, "yuv420p"
    codec.framerate, codec.time_base, codec.bit_rate = Fraction(FPS), Fraction(1, FPS), KBPS * 1000
    x264 = f"keyint={FPS}:scenecut=0:sliced-threads=0:repeat-headers=1:annexb=1"
    codec.options = {"preset": "veryfast", "tune": "zerolatency", "profile": "main", "x264-params": x264}
    packets = []
    for rgb in loop(seed, real_s):
        packets += codec.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24"))
    packets += codec.encode(None)
    return [Coded(bytes(packet), packet.is_keyframe) for packet in packets]


def loop(seed: int, real_s: float) -> Iterator[np.ndarray]:
    camera, swap = Camera(astronaut(), seed), FaceSwap(seed)
    for index in range(round((real_s + FORGED_S) * FPS)):
        pts_s = index / FPS
        rgb, to_frame = camera(pts_s)
        if pts_s < real_s:
            yield np.roll(rgb, -SHIFT_PX, axis=1)
        else:
            yield np.roll(swap(rgb, to_frame), SHIFT_PX, axis=1)


def summary(
    args: argparse.Namespace, about: Any, lines: Lines, memory: Memory, start_s: float, code: int | None
) -> dict[str, Any]:
    with lines.lock:
        feeds = {name: Seen(list(s.frames), list(s.raised), list(s.cleared), s.last) for name, s in lines.feeds.items()}
        faults = list(lines.faults)
    minutes = (time.monotonic() - start_s) / 60
    ages = frame_ages(list(feeds.values()), start_s)
    recovery = by_kind(faults, min(time.monotonic(), lines.ended_s))
    alerts = alerts_of(list(feeds.values()))
    kept = memory.summary(start_s)
    return {
        "question": "does it run all day, whatever the network does",
        "about": about,
        "settings": {"minutes": args.minutes, "feeds": args.feeds, "faults": args.faults, "hurried": args.hurried}
        | {"seed": args.seed, "profile": args.profile, "fps": FPS, "kbps": KBPS},
        "minutes": rounded(minutes, 1),
        "exit_code": code,
        "frame_age_ms": ages,
        "faults": recovery,
        "alerts": alerts,
        "feeds": {
            name: {k: seen.last.get(k) for k in ("frames", "analysed", "dropped", "reconnects")}
            for name, seen in feeds.items()
        },
        **kept,
        "targets": targets(ages, recovery, alerts, kept),
    }


def frame_ages(feeds: Sequence[Seen], start_s: float) -> dict[str, Any]:
    rows = np.array([(told, age) for seen in feeds for told, _, age, _ in seen.frames if told - start_s > 10.0])
    if len(rows) < 3:
        return {}
    about = percentiles(rows[:, 1].tolist())
    slope = slope_per_minute(rows[:, 0], rows[:, 1])
    return {**about, "p99": rounded(np.percentile(rows[:, 1], 99), 1), "slope_ms_an_hour": rounded(60 * slope, 2)}


def by_kind(faults: Sequence[Suffered], until_s: float) -> dict[str, Any]:
    """Seconds until a fault was told, and from the source's return to the first new frame's verdict."""
    told: dict[str, Any] = {}
    for kind in sorted({fault.kind for fault in faults}):
        ones = [fault for fault in faults if fault.kind == kind and 0 < fault.back_s < until_s - WAITED_S]
        noticed = [one.noticed_s - one.start_s for one in ones if one.noticed_s is not None]
        back = [one.frame_s - one.back_s for one in ones if one.frame_s is not None]
        told[kind] = {"times": len(ones), "never_back": sum(one.frame_s is None for one in ones)}
        told[kind] |= {"noticed_s": middle_and_most(noticed), "back_s": middle_and_most(back)}
    return told


def middle_and_most(seconds: Sequence[float]) -> dict[str, Any]:
    if not seconds:
        return {"of": 0, "p50": None, "max": None}
    return {"of": len(seconds), "p50": rounded(statistics.median(seconds), 2), "max": rounded(max(seconds), 2)}


def alerts_of(feeds: Sequence[Seen]) -> dict[str, int]:
    """How many forged stretches there were, and which raised none, or more than one; alerts in real stretches."""
    counts = {"stretches": 0, "long_stretches": 0, "lost": 0, "duplicated": 0, "false": 0, "raised": 0, "unended": 0}
    for seen in feeds:
        spans = stretches(seen)
        counts["stretches"] += len(spans)
        counts["raised"] += len(seen.raised)
        ended = {alert: at_s for at_s, alert in seen.cleared}
        counts["unended"] += max(0, len(seen.raised) - len(ended) - 1)
        for start_s, end_s in spans:
            within = [at_s for at_s, _ in seen.raised if start_s <= at_s <= end_s + GRACE_S]
            is_active = any(at_s <= end_s and ended.get(alert, np.inf) >= start_s for at_s, alert in seen.raised)
            counts["duplicated"] += len(within) > 1
            if end_s - start_s >= LONG_S:
                counts["long_stretches"] += 1
                counts["lost"] += not within and not is_active
        for at_s, _ in seen.raised:
            counts["false"] += not any(start_s <= at_s <= end_s + GRACE_S for start_s, end_s in spans)
    return counts


def stretches(seen: Seen) -> list[tuple[float, float]]:
    """When forged frames were told, without a break."""
    spans: list[list[float]] = []
    for told_s, _, _, is_forged in seen.frames:
        if not is_forged:
            continue
        if spans and told_s - spans[-1][1] <= LONGEST_GAP_S:
            spans[-1][1] = told_s
        else:
            spans.append([told_s, told_s])
    return [(start_s, end_s) for start_s, end_s in spans if end_s > start_s]


def targets(ages: dict[str, Any], faults: dict[str, Any], alerts: dict[str, int], kept: dict[str, Any]) -> list[Any]:
    noticed = [row["noticed_s"]["max"] for row in faults.values() if row["noticed_s"]["max"] is not None]
    back = [row["back_s"]["max"] for row in faults.values() if row["back_s"]["max"] is not None]
    return [
        at_most("frame age, p99, ms", 250.0, ages.get("p99")),
        at_most("a fault is told within, s", 3.0, max(noticed, default=None)),
        at_most("the first new frame after a return, s", 2.0, max(back, default=None)),
        at_most("sources that never came back", 0, sum(row["never_back"] for row in faults.values())),
        at_most("forged stretches without an alert", 0, alerts["lost"]),
        at_most("forged stretches with two alerts", 0, alerts["duplicated"]),
        at_most("memory growth, MiB an hour", 5.0, kept.get("rss_mib", {}).get("slope_mib_an_hour")),
        at_most("the same, second half", 5.0, kept.get("rss_mib", {}).get("late_slope_mib_an_hour")),
    ]


def progress(result: dict[str, Any]) -> str:
    names = ("minutes", "frame_age_ms", "alerts", "rss_mib", "files", "threads", "processes")
    return json.dumps({name: result.get(name) for name in names})


def show(result: dict[str, Any]) -> None:
    rows = [
        (
            kind,
            row["times"],
            row["noticed_s"]["p50"],
            row["noticed_s"]["max"],
            row["back_s"]["p50"],
            row["back_s"]["max"],
            row["never_back"],
        )
        for kind, row in result["faults"].items()
    ]
    show_table(("fault", "times", "told s p50", "max", "back s p50", "max", "never back"), rows)
    print(progress(result))


if __name__ == "__main__":
    main()
