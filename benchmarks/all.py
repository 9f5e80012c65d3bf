"""Every speed that is published, measured again, one script after the other, with sizes that mean something.

python -m benchmarks.all [--quick] [--only NAME ...] [--page]

Takes about a quarter of an hour on two cores. Leave the machine alone meanwhile: what else runs counts against it, and
is written down. Commits nothing. --page writes docs/performance.md from the results.
"""

import os
import subprocess
import sys
import time

from benchmarks.common import ROOT, parser_of, show_table
from stream_detect.bench.machine import Usage
from stream_detect.device import missing_for_cuda
from tests.requirements import has_gstreamer

RUNS: dict[str, tuple[str, ...]] = {
    "experts": ("experts", "--rounds", "30"),
    "kernels": ("kernels",),
    "stages-full": ("stages", "--profile", "full"),
    "stages-light": ("stages", "--profile", "light"),
    "stream-rtsp-full": ("stream", "--source", "rtsp", "--profile", "full", "--seconds", "130"),
    "stream-rtsp-light": ("stream", "--source", "rtsp", "--profile", "light", "--seconds", "30"),
    "stream-file-full": ("stream", "--source", "file", "--profile", "full", "--seconds", "20"),
    "stream-file-light": ("stream", "--source", "file", "--profile", "light", "--seconds", "20"),
    "feeds-full": ("feeds", "--profile", "full"),
    "feeds-light": ("feeds", "--profile", "light"),
    "isolation": ("isolation",),
    "peers": ("peers",),
    "engines": ("engines",),
    "cold_start": ("cold_start",),
}
LIMIT_S = 1200.0  # for one script
LOOK_S, BUSY_CORES = 2.0, 0.2  # before the start


def main(arguments: list[str] | None = None) -> int:
    """Run them; gives 1 if any failed, which stops none of the others."""
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(RUNS), metavar="NAME", help=f"some of {', '.join(RUNS)}")
    parser.add_argument("--page", action="store_true", help="write docs/performance.md from the results, too")
    args = parser.parse_args(arguments)
    warn_if_busy()
    rows = []
    for name in args.only or RUNS:
        command = command_of(name, args.quick)
        print(f"\n== {' '.join(command[1:])}", flush=True)
        began_s = time.monotonic()
        words = ran(command + (["--out", str(args.out)] if args.out else []))
        rows.append((name, words, f"{time.monotonic() - began_s:.0f}"))
    print()
    show_table(("benchmark", "", "seconds"), rows)
    if args.page:
        from benchmarks.performance_page import write_page

        print(write_page())
    return int(any(words.startswith("failed") for _, words, _ in rows))


def command_of(name: str, is_quick: bool) -> list[str]:
    """The command of one benchmark; without an RTSP server feeds are files that are shown at their own pace.

    On a GPU the feeds of profile full are of 1080 lines.
    """
    script, *options = RUNS[name]
    if name == "feeds-full" and not missing_for_cuda():
        options += ["--height", "1080"]
    if script == "feeds" and not has_gstreamer():
        options += ["--source", "file"]
    if is_quick:
        options = [*without_lengths(options), "--quick"]
    return [sys.executable, "-m", f"benchmarks.{script}", *options]


def without_lengths(options: list[str]) -> list[str]:
    """The options but for those that say how long to measure."""
    kept = list(options)
    for name in ("--seconds", "--rounds"):
        if name in kept:
            at = kept.index(name)
            del kept[at : at + 2]
    return kept


def ran(command: list[str]) -> str:
    """What became of one benchmark."""
    if "rtsp" in command and not has_gstreamer():
        return "left out: no RTSP server (.ci/run names Debian's packages)"
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=os.environ | quiet, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"failed: not done after {LIMIT_S:g} s"
    return f"failed with {done.returncode}" if done.returncode else "done"


def warn_if_busy() -> None:
    """Say so before the start if other programs use the machine."""
    usage = Usage()
    time.sleep(LOOK_S)
    _, others = usage.cores()
    if others is not None and others > BUSY_CORES:
        print(f"other programs use {others:.1f} cores right now: the figures will be of what is left", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
