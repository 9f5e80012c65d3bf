"""How does the cost grow with the number of feeds, and what is the wall?

    python -m benchmarks.feeds [--profile light|full] [--source rtsp|file] [--seconds 20] [--quick]

1, 2, 3, 4, 6, 8 ... feeds are watched by one `stream-detect watch` each time, until frames that were to be judged go
stale: until some feed is judged less often than its profile asks for. rtsp: every feed is a connection of its own to a
real RTSP server. file: every feed is a clip that is shown at its own pace.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import at_least, at_most, finish, metadata, rounded, show_table
from benchmarks.stream import NO_SERVER
from benchmarks.watching import Order, parser_of_watching, served, settled, summary, watched, weights_options
from stream_detect.bench.footage import FPS, KBPS, LOOP_S, coded, write_clip
from stream_detect.config import PROFILES
from tests.requirements import has_gstreamer

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 100, 128, 160, 200)
WARM_UP_S, QUICK_WARM_UP_S = 6.0, 2.0
SECONDS, QUICK_SECONDS = 20.0, 4.0
SPARE_S = 30.0  # a clip is so much longer than it is watched
SHARE = 0.95  # of the frames that the profile asks for are judged at least in every feed that is carried
NEARLY_ALL = 0.85  # of the cores, the GPU or its decoder: more than this is a wall
CARRIED = {("cpu", "light"): 3, ("cpu", "full"): 1, ("cuda", "full"): 100}
P95_MS = {"cpu": 60.0, "cuda": 50.0}

Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> Path:
    args = parse(arguments)
    if args.source == "rtsp" and not has_gstreamer():
        sys.exit(NO_SERVER)
    about = metadata()
    with tempfile.TemporaryDirectory(prefix="stream-detect-bench-") as name:
        folder = Path(name)
        weights, named = weights_options(args.weights, folder)
        pictures = coded(KBPS, args.face_px, args.height, FPS if args.quick else LOOP_S * FPS)
        rows = (by_server if args.source == "rtsp" else by_files)(args, folder, pictures, weights)
    most = max((row["feeds"] for row in rows if row["is_carried"]), default=0)
    result = {
        "question": f"how many {args.height}p30 feeds with one face does one process carry, profile {args.profile}",
        "about": about,
        "settings": settings_of(args),
        "weights": named,
        "rows": rows,
        "carried": most,
        "wall": next((row["wall"] for row in rows if row["asked_feeds"] > most), None),
        "targets": targets(args, rows, most),
    }
    show(result)
    return finish(args.name or f"feeds-{args.profile}", result, args)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = parser_of_watching(__doc__, "light", SECONDS)
    parser.add_argument("--source", choices=["rtsp", "file"], default="rtsp")
    parser.add_argument("--most", type=int, default=max(COUNTS), metavar="N", help="stop at so many feeds")
    args = settled(parser.parse_args(arguments), (SECONDS, QUICK_SECONDS), (WARM_UP_S, QUICK_WARM_UP_S))
    args.most = min(args.most, 2) if args.quick else args.most
    return args


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    names = ("source", "profile", "device", "height", "face_px", "seconds")
    return {name: getattr(args, name) for name in names} | {"warm_up_s": args.warm_up, "kbps": KBPS, "fps": FPS}


def by_server(args: argparse.Namespace, folder: Path, pictures: list[Any], weights: list[str]) -> list[Row]:
    with served(folder, pictures) as (url, server):
        return until_stale(args, lambda feeds: measured(args, [url] * feeds, folder, weights, server))


def by_files(args: argparse.Namespace, folder: Path, pictures: list[Any], weights: list[str]) -> list[Row]:
    clip = write_clip(folder / "clip.ts", pictures, args.seconds + args.warm_up + SPARE_S, args.height)
    return until_stale(args, lambda feeds: measured(args, [str(clip)] * feeds, folder, weights, None))


def until_stale(args: argparse.Namespace, measure: Callable[[int], Row]) -> list[Row]:
    """A row for each number of feeds, until two in a row are too many: one may have been disturbed."""
    rows: list[Row] = []
    for feeds in COUNTS:
        is_enough = len(rows) >= 2 and not any(row["is_carried"] for row in rows[-2:])
        if feeds > args.most or is_enough:
            break
        rows.append(judged(measure(feeds), args.profile))
        print(f"{feeds} feeds: {rows[-1]['slowest_feed_analysed_fps']} judged a second", file=sys.stderr, flush=True)
    return rows


def measured(args: argparse.Namespace, sources: list[str], folder: Path, weights: list[str], server: int | None) -> Row:
    order = Order(sources, args.seconds, args.warm_up, args.profile, args.device, weights=weights)
    return {"asked_feeds": len(sources)} | summary(watched(order, folder, server), args.warm_up)


def judged(row: Row, profile: str) -> Row:
    """The row with whether so many feeds are carried, and what is most nearly used up."""
    asked_fps = min(float(FPS), PROFILES[profile].analyse_hz or float(FPS))
    is_carried = row["feeds"] == row["asked_feeds"] and row["slowest_feed_analysed_fps"] >= SHARE * asked_fps
    return row | {"is_carried": is_carried, "wall": wall(row, os.cpu_count() or 1)}


def wall(row: Row, cores: int) -> dict[str, Any]:
    """What is most nearly used up, with its share; "waiting" if nothing is."""
    used, gpu = row["cores_used"] or {}, row["gpu_percent"] or {}
    shares = {
        "CPU": sum(used.values()) / cores,
        "GPU": gpu.get("gpu", 0.0) / 100,
        "NVDEC": gpu.get("nvdec", 0.0) / 100,
    }
    name = max(shares, key=lambda one: shares[one])
    if shares[name] < NEARLY_ALL:
        return {"what": f"none is used up, {name} most: the loop waits", "share": rounded(shares[name])}
    if name == "CPU" and row["dropped"].get("late", 0) > row["dropped"].get("stale", 0):
        name = "CPU, by decoding"
    return {"what": name, "share": rounded(shares[name.partition(",")[0]])}


def targets(args: argparse.Namespace, rows: list[Row], most: int) -> list[dict[str, Any]]:
    kind = args.device.partition(":")[0]
    asked = CARRIED.get((kind, args.profile))
    if asked is None:
        return []
    there = next((row for row in rows if row["feeds"] >= asked), None)
    p95 = there["latency_ms"]["p95"] if there else None
    return [
        at_least(f"{args.height}p30 feeds carried, profile {args.profile}", asked, most),
        at_most(f"arrival to verdict at {asked} feeds, p95, ms", P95_MS[kind], p95),
        at_most("frames that nothing accounts for", 0, max((abs(row["unaccounted"]) for row in rows), default=None)),
    ]


def show(result: dict[str, Any]) -> None:
    head = (
        "feeds",
        "judged/s a feed",
        "frames/s",
        "lost",
        "p50 ms",
        "p95 ms",
        "cores",
        "others",
        "GPU %",
        "NVDEC %",
        "",
    )
    rows = []
    for row in result["rows"]:
        used, gpu, latency = row["cores_used"] or {}, row["gpu_percent"] or {}, row["latency_ms"]
        others = rounded(used.get("server", 0) + used.get("everything_else", 0), 2)
        rates = (row["slowest_feed_analysed_fps"], row["fps"], f"{row['lost_share']:.1%}")
        busy = (used.get("watch"), others, gpu.get("gpu"), gpu.get("nvdec"))
        word = "carried" if row["is_carried"] else "too many"
        rows.append((row["feeds"], *rates, latency["p50"], latency["p95"], *busy, word))
    show_table(head, rows)
    if result["wall"]:
        print(f"the wall: {result['wall']['what']}, {result['wall']['share']:.0%} used\n")


if __name__ == "__main__":
    main()
