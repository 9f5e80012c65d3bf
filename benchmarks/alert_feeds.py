"""Feeds in which a real face turns into a forged one: every family of the robustness suite, at H.264 1 Mbit/s, judged.

python -m benchmarks.alert_feeds FOOTAGE OUT.npz [--clips 12] [--families a,b] [--seed 0]

FOOTAGE is a folder or manifest.csv of which the real clips are used, one of each person. How the feeds are made stands
in stream_detect/training/turning.py. What was judged is read by `python -m benchmarks.alerts`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import on_one_thread
from benchmarks.robustness_people import real_items
from benchmarks.robustness_scores import SUITE, family
from stream_detect.detector import Detector
from stream_detect.errors import StreamDetectError, UsageError
from stream_detect.faces import load_detector
from stream_detect.training.traces import save_traces
from stream_detect.training.turning import gather, turning_traces


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path, metavar="FOOTAGE")
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    parser.add_argument("--clips", type=int, default=12, help="of as many people as there are")
    parser.add_argument("--families", default=",".join(SUITE), help="of the robustness suite, by name")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--analyse-hz", type=float, help="judge so many frames a second; all 30 by default")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    on_one_thread()
    try:
        make(args)
    except StreamDetectError as error:
        print(f"alert_feeds: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def make(args: argparse.Namespace) -> None:
    """Make, judge and write the feeds.

    Raises:
        UsageError: for a family that there isn't.
        SourceNotFound, ConfigError: if there is no such footage, or it shows nobody.
    """
    unknown = [name for name in args.families.split(",") if name not in SUITE]
    if unknown:
        raise UsageError(f"unknown families {', '.join(unknown)}; expected some of {', '.join(SUITE)}")
    families = {name: [family(one) for one in SUITE[name]] for name in args.families.split(",")}
    shots = gather(real_items(args.footage, None), args.clips, load_detector())
    with Detector("cpu", args.weights) as detector:
        traces = turning_traces(
            shots, families, detector, seed=args.seed, analyse_hz=args.analyse_hz, tell=lambda words: print(words)
        )
        save_traces(args.out, list(traces))


if __name__ == "__main__":
    sys.exit(main())
