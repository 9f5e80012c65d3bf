"""Does `stream-detect watch` keep up with one 720p30 feed with one face, and what does that cost?

    python -m benchmarks.stream [--source rtsp|file] [--profile full|light] [--seconds 60] [--quick]

rtsp: a camera's feed from GStreamer's RTSP server (Debian's packages; .ci/run names them), the newest frame first.
file: every frame of a clip, as fast as it goes, beside the floor: decoding alone of the same file in the same run.
The footage is coded beforehand, so that serving it takes next to nothing from the cores.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import at_least, at_most, finish, metadata, rounded, show_table
from benchmarks.watching import Order, Watched, parser_of_watching, served, settled, summary, watched, weights_options
from stream_detect.bench.footage import FPS, KBPS, LOOP_S, coded, write_clip
from stream_detect.bench.line import decode_alone
from tests.requirements import has_gstreamer

WARM_UP_S, QUICK_WARM_UP_S = 10.0, 2.0  # after the first verdict: left out of every figure
SECONDS, QUICK_SECONDS = 60.0, 5.0
QUICK_LOOP_S = 1
LONGEST_S = 900.0  # of a clip: half a gigabyte
FLOOR_S = 5.0
FPS_SHARE = 0.98  # of the feed's frames, at least so many judged counts as its full rate
P95_MS = 60.0
RSS_MIB = 700e6 / 2**20
AGE_MS = 1000 / FPS  # over a whole run the age of frames may grow by less than one frame
FLOOR_SHARE = 0.4  # of decoding alone, profile light
COLD_START_S = {"cpu": 4.0, "cuda": 8.0}
NO_SERVER = (
    "expected GStreamer's RTSP server, found none: install Debian's packages that .ci/run names, or use --source file"
)


def main(arguments: list[str] | None = None) -> Path:
    args = parse(arguments)
    if args.source == "rtsp" and not has_gstreamer():
        sys.exit(NO_SERVER)
    about = metadata()
    with tempfile.TemporaryDirectory(prefix="stream-detect-bench-") as name:
        folder = Path(name)
        weights, named = weights_options(args.weights, folder)
        measured = (from_server if args.source == "rtsp" else from_file)(args, folder, weights)
    result = {
        "question": f"one {args.height}p30 feed with one face, by {args.source}, profile {args.profile}: what it takes",
        "about": about,
        "settings": settings_of(args),
        "weights": named,
        **measured,
        "targets": targets(args, measured),
    }
    show(result)
    return finish(args.name or f"stream-{args.source}-{args.profile}", result, args)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = parser_of_watching(__doc__, "full", SECONDS)
    parser.add_argument("--source", choices=["rtsp", "file"], default="rtsp")
    parser.add_argument("--kbps", type=int, default=KBPS)
    return settled(parser.parse_args(arguments), (SECONDS, QUICK_SECONDS), (WARM_UP_S, QUICK_WARM_UP_S))


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "picture": [round(args.height * 16 / 9), args.height],
        "fps": FPS,
        "kbps": args.kbps,
        "face_px": args.face_px,
        "seconds": args.seconds,
        "warm_up_s": args.warm_up,
        "device": args.device,
        "profile": args.profile,
    }


def pictures_of(args: argparse.Namespace) -> list[Any]:
    return coded(args.kbps, args.face_px, args.height, (QUICK_LOOP_S if args.quick else LOOP_S) * FPS)


def order_of(args: argparse.Namespace, source: str, weights: list[str], every_frame: bool) -> Order:
    return Order([source], args.seconds, args.warm_up, args.profile, args.device, every_frame, weights)


def from_server(args: argparse.Namespace, folder: Path, weights: list[str]) -> dict[str, Any]:
    with served(folder, pictures_of(args)) as (url, server):
        run = watched(order_of(args, url, weights, every_frame=False), folder, server)
    return figures(run, args)


def from_file(args: argparse.Namespace, folder: Path, weights: list[str]) -> dict[str, Any]:
    """Every frame, as fast as it goes, between two measurements of the floor."""
    pictures = pictures_of(args)
    short = write_clip(folder / "short.ts", pictures, 20, args.height)
    floor_s = min(FLOOR_S, args.seconds)
    before = decode_alone(short, floor_s)
    length_s = min(LONGEST_S, 1.5 * before["fps"] / FPS * (args.seconds + args.warm_up))
    clip = write_clip(folder / "clip.ts", pictures, length_s, args.height)
    measured = figures(watched(order_of(args, str(clip), weights, every_frame=True), folder), args)
    after = decode_alone(short, floor_s)
    floor_fps = (before["fps"] + after["fps"]) / 2
    return measured | {
        "decoding_alone": {"fps": rounded(floor_fps, 2), "before": before, "after": after},
        "share_of_decoding_alone": rounded(measured["fps"] / floor_fps, 4),
    }


def figures(run: Watched, args: argparse.Namespace) -> dict[str, Any]:
    return {"first_verdict_s": rounded(run.first_verdict_s(), 2)} | summary(run, args.warm_up)


def targets(args: argparse.Namespace, measured: dict[str, Any]) -> list[dict[str, Any]]:
    """What was asked of this source, profile and device."""
    kind = args.device.partition(":")[0]
    asked = []
    if args.source == "file":
        start_s = COLD_START_S[kind]
        asked.append(at_most("cold start to the first verdict, s", start_s, measured["first_verdict_s"]))
        if args.profile == "light" and kind == "cpu":
            asked.append(at_least("share of decoding alone", FLOOR_SHARE, measured["share_of_decoding_alone"]))
        return asked
    if args.profile == "full":
        asked.append(at_least("frames analysed a second", rounded(FPS_SHARE * FPS, 2), measured["analysed_fps"]))
    asked.append(at_most("arrival to verdict, p95, ms", P95_MS, measured["latency_ms"]["p95"]))
    asked.append(at_most("growth of the frames' age, ms", rounded(AGE_MS, 1), measured["frame_age"]["growth_ms"]))
    if kind == "cpu":
        most = (measured["rss_mib"] or {}).get("most")
        asked.append(at_most("memory, MiB (700 MB)", rounded(RSS_MIB, 1), most))
    asked.append(at_most("frames that nothing accounts for", 0, abs(measured["unaccounted"])))
    return asked


def show(result: dict[str, Any]) -> None:
    latency, cores, memory = (result[key] or {} for key in ("latency_ms", "cores_used", "rss_mib"))
    rows: list[tuple[str, object]] = [
        ("frames a second, taken care of", result["fps"]),
        ("frames a second, judged", result["analysed_fps"]),
        *((f"arrival to verdict, {name}, ms", value) for name, value in latency.items()),
        *((f"dropped: {cause}", number) for cause, number in result["dropped"].items()),
        *((f"cores: {who}", number) for who, number in cores.items()),
        *((f"memory: {when}, MiB", memory.get(when)) for when in ("first", "last", "most")),
        *((f"{what} busy, %", share) for what, share in (result["gpu_percent"] or {}).items()),
        ("start to first verdict, s", result["first_verdict_s"]),
    ]
    if "decoding_alone" in result:
        rows.append(("decoding alone, frames a second", result["decoding_alone"]["fps"]))
        rows.append(("share of decoding alone", result["share_of_decoding_alone"]))
    show_table((result["question"], ""), rows)


if __name__ == "__main__":
    main()
