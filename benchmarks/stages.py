"""Where does the time go? `stream-detect watch` on a 720p30 clip with one face, with a timer around each stage.

    python -m benchmarks.stages [--profile full|light] [--seconds 20] [--quick]

The clip is shown at its own pace by default, as a camera would send it; with --every-frame, as fast as it goes.
The timers count the processor time of the thread that a stage runs in (and of FFmpeg's threads for decoding), and the
wall clock, which is more where threads wait for a core or for each other. What no timer covers is "the rest".
`python -m benchmarks.stages --under OUT.json watch ...` is the command line itself, timed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import finish, metadata, rounded, show_table
from benchmarks.watching import Order, parser_of_watching, settled, summary, watched, weights_options
from stream_detect.bench.footage import FPS, KBPS, LOOP_S, coded, write_clip
from stream_detect.bench.line import decode_alone
from stream_detect.bench.timers import timed_stages

WARM_UP_S, QUICK_WARM_UP_S = 5.0, 1.0
SECONDS, QUICK_SECONDS = 20.0, 3.0
CLIP_S = 120.0
FLOOR_S = 3.0


def main(arguments: list[str] | None = None) -> Path | None:
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--under"]:
        return under_timers(Path(given[1]), given[2:])
    args = parse(given)
    about = metadata()
    with tempfile.TemporaryDirectory(prefix="stream-detect-bench-") as name:
        folder = Path(name)
        weights, named = weights_options(args.weights, folder)
        pictures = coded(KBPS, args.face_px, args.height, FPS if args.quick else LOOP_S * FPS)
        clip = write_clip(folder / "clip.ts", pictures, CLIP_S, args.height)
        floor = decode_alone(clip, 1.0 if args.quick else FLOOR_S)
        table, run = timed(args, clip, folder, weights)
    result = {
        "question": f"processor time of each stage for a frame of {args.height}p with one face, profile {args.profile}",
        "about": about,
        "settings": {
            "profile": args.profile,
            "device": args.device,
            "every_frame": args.every_frame,
            "face_px": args.face_px,
            "seconds": args.seconds,
            "warm_up_s": args.warm_up,
        },
        "weights": named,
        **table,
        "decoding_alone": floor,
        "run": run,
    }
    show(result)
    return finish(args.name or f"stages-{args.profile}", result, args)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = parser_of_watching(__doc__, "full", SECONDS)
    parser.add_argument("--every-frame", action="store_true", help="as fast as it goes")
    return settled(parser.parse_args(arguments), (SECONDS, QUICK_SECONDS), (WARM_UP_S, QUICK_WARM_UP_S))


def timed(
    args: argparse.Namespace, clip: Path, folder: Path, weights: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The table of stages, and how the run went besides."""
    out = folder / "stages.json"
    program = (sys.executable, "-m", "benchmarks.stages", "--under", str(out))
    order = Order([str(clip)], args.seconds, args.warm_up, args.profile, args.device, args.every_frame, weights)
    run = watched(order, folder, program=program)
    return json.loads(out.read_text()), summary(run, args.warm_up)


def under_timers(out: Path, arguments: list[str]) -> None:
    """The command line under timers; the table goes to `out` when it ends."""
    from stream_detect.cli import main as command_line

    with timed_stages(arguments[arguments.index("--device") + 1]) as timers:
        sys.argv = ["stream-detect", *arguments]
        try:
            command_line()
        finally:
            warm_up_s = QUICK_WARM_UP_S if len(timers.process) < FPS * WARM_UP_S * 2 else WARM_UP_S
            out.write_text(json.dumps(timers.table(warm_up_s).to_json()))


def show(result: dict[str, Any]) -> None:
    head = ("stage", "calls a frame", "CPU ms a frame", "share", "CPU ms a call", "wall ms a call", "quartiles")
    rows = []
    for name, row in result["stages"].items():
        quartiles = (
            f"{row['wall_iqr_low_ms']:.2f} to {row['wall_iqr_high_ms']:.2f}" if "wall_iqr_low_ms" in row else None
        )
        a_call = (row.get("cpu_ms_a_call"), row.get("wall_ms_a_call"))
        rows.append((name, row.get("calls_a_frame"), row["cpu_ms_a_frame"], f"{row['share']:.1%}", *a_call, quartiles))
    rows.append(("all", None, rounded(result["cpu_ms_a_frame"]), "100.0%", None, None, None))
    rows.append(("decoding alone", 1.0, result["decoding_alone"]["cpu_ms_a_frame"], None, None, None, None))
    show_table(head, rows)


if __name__ == "__main__":
    main()
