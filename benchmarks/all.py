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
from tests.requirements import has_gstreamer

RUNS: dict[str, tuple[str, ...]] = {
    "experts": ("experts",),
    "kernels": ("kernels",),
    "stages-full": ("stages", "--profile", "full"),
    "stages-light": ("stages", "--profile", "light"),
    "stream-rtsp-full": ("stream", "--source", "rtsp", "--profile", "full", "--seconds", "130"),
    "stream-rtsp-light": ("stream", "--source", "rtsp", "--profile", "light", "--seconds", "45"),
    "stream-file-full": ("stream", "--source", "file", "--profile", "full", "--seconds", "30"),
    "stream-file-light": ("stream", "--source", "file", "--profile", "light", "--seconds", "30"),
    "feeds-full": ("feeds", "--profile", "full"),
    "feeds-light": ("feeds", "--profile", "light"),
    "peers": ("peers",),
    "engines": ("engines",),
    "cold_start": ("cold_start",),
}
LIMIT_S = 1200.0  # for one script


def main(arguments: list[str] | None = None) -> int:
    """Run them; gives 1 if any failed, which stops none of the others."""
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(RUNS), metavar="NAME", help=f"some of {', '.join(RUNS)}")
    parser.add_argument("--page", action="store_true", help="write docs/performance.md from the results, too")
    args = parser.parse_args(arguments)
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
    return int(any(words == "failed" for _, words, _ in rows))


def command_of(name: str, is_quick: bool) -> list[str]:
    """The command of one benchmark; without an RTSP server feeds are files that are shown at their own pace."""
    script, *options = RUNS[name]
    if script == "feeds" and not has_gstreamer():
        options += ["--source", "file"]
    if is_quick:
        options = [*without_seconds(options), "--quick"]
    return [sys.executable, "-m", f"benchmarks.{script}", *options]


def without_seconds(options: list[str]) -> list[str]:
    at = options.index("--seconds") if "--seconds" in options else len(options)
    return options[:at] + options[at + 2 :]


def ran(command: list[str]) -> str:
    """What became of one benchmark."""
    if "rtsp" in command and not has_gstreamer():
        return "left out: no RTSP server (.ci/run names Debian's packages)"
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | quiet, timeout=LIMIT_S, check=False)
    return "failed" if done.returncode else "done"


if __name__ == "__main__":
    sys.exit(main())
