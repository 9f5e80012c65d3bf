"""How long until the first score? Fresh processes, from their start to a judged face, with and without any cache.

    python -m benchmarks.cold_start [--starts 9] [--weights DIR] [--quick]

A picture of 1280 x 720 with one face is judged by all experts; then the process says what it imported and how much
memory it took at most, and ends. "Nothing cached" has an empty folder in place of the user's cache. Python's compiled
bytecode and the operating system's cache of files are warm: one round is not counted.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import at_most, finish, load_weights_or_random, metadata, parser_of, rounded, show_table
from stream_detect.bench.footage import talking_head

STARTS, QUICK_STARTS = 9, 2
TARGET_SCORE_S, TARGET_HELP_S = 4.0, 0.3
SLOW = ("torch", "timm", "torchvision", "scipy", "onnx", "matplotlib", "openvino")  # none is needed to judge
LARGE = ("numpy", "av", "cv2", "onnxruntime", "jaxtyping", "safetensors", "PIL", "rich", "typer", *SLOW)
NOT_CACHED, CACHED, HELP = "first score, nothing cached", "first score", "stream-detect --help"
FIRST_SCORE = """
import json, sys
import numpy as np
from pathlib import Path
from stream_detect import Detector
picture = np.load(sys.argv[1])
detector = Detector("cpu", Path(sys.argv[2]) if sys.argv[2] else None)
(face,) = detector.frame(picture).faces
assert None not in face.experts.values(), face
modules = [name for name in sys.modules if "." not in name]
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps({"modules": modules, "peak_rss_mib": int(peak[0]) / 1024, "llr": face.llr}), flush=True)
"""


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--starts", type=int, default=STARTS, help="processes of each kind")
    parser.add_argument("--weights", type=Path, help="a folder; by default the shipped ones")
    args = parser.parse_args(arguments)
    starts = min(args.starts, QUICK_STARTS) if args.quick else args.starts
    about = metadata()
    _, named = load_weights_or_random(args.weights)
    with tempfile.TemporaryDirectory() as folder:
        table = measured(make_subjects(Path(folder), args.weights), starts, Path(folder))
    result = {
        "question": "seconds from the start of a process to its first score, and to its help",
        "about": about,
        "settings": {"starts": starts, "device": "cpu", "engine": "onnxruntime"},
        "weights": named,
        "starts": table,
        "targets": targets(table),
    }
    show(table)
    finish("cold_start", result, args)


def make_subjects(folder: Path, weights: Path | None) -> dict[str, list[str]]:
    """The commands, by what they are called."""
    np.save(folder / "picture.npy", next(iter(talking_head(4))))
    score = [sys.executable, "-c", FIRST_SCORE, str(folder / "picture.npy"), str(weights or "")]
    program = [sys.executable, "-c", "from stream_detect.cli import main; main()"]
    return {
        NOT_CACHED: score,
        CACHED: score,
        HELP: [*program, "--help"],
        "stream-detect watch --help": [*program, "watch", "--help"],
        "python alone": [sys.executable, "-c", "pass"],
    }


def measured(subjects: Mapping[str, Sequence[str]], starts: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Each command started once a round, in turn, after one round that isn't counted."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in subjects}
    for turn in range(starts + 1):
        for name, command in subjects.items():
            cache = folder / (f"cache-{turn}" if name == NOT_CACHED else "cache")
            run = one_start(command, {**os.environ, "XDG_CACHE_HOME": str(cache)})
            if turn:
                runs[name].append(run)
    return {name: summary(some) for name, some in runs.items()}


def one_start(command: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Wall clock and processor time of one process in seconds, and the last line it printed."""
    with tempfile.TemporaryFile() as out:
        started_s = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, env=dict(environment))
        _, status, used = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - started_s
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"expected an exit code of 0, got {child.returncode} of: {' '.join(command)}")
        out.seek(0)
        said = out.read().decode().splitlines()
    return {"wall_s": wall_s, "cpu_s": used.ru_utime + used.ru_stime, "said": said[-1:]}


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Median and quartiles of the starts of one command."""
    low, median, high = np.percentile([run["wall_s"] for run in runs], [25, 50, 75])
    row = {
        "median_s": rounded(median),
        "iqr_s": [rounded(low), rounded(high)],
        "cpu_median_s": rounded(np.median([run["cpu_s"] for run in runs])),
        "starts": len(runs),
    }
    return row | told([json.loads(run["said"][0]) for run in runs if run["said"] and run["said"][0].startswith("{")])


def told(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the processes said of themselves, if they did: peak memory, and large libraries in the order of import."""
    if not reports:
        return {}
    modules = reports[0]["modules"]
    return {
        "peak_rss_mib": rounded(np.median([report["peak_rss_mib"] for report in reports]), 1),
        "imported": [name for name in modules if name in LARGE],
        "modules": len(modules),
    }


def targets(table: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    score = table[NOT_CACHED]
    return [
        at_most("seconds to the first score, nothing cached", TARGET_SCORE_S, score["median_s"]),
        at_most("seconds to the help", TARGET_HELP_S, table[HELP]["median_s"]),
        at_most(f"of {', '.join(SLOW)} imported to judge", 0, len(set(score["imported"]) & set(SLOW))),
    ]


def cells(row: Mapping[str, Any]) -> list[object]:
    low, high = row["iqr_s"]
    memory, libraries = row.get("peak_rss_mib"), " ".join(row.get("imported", ()))
    return [f"{row['median_s']:.2f}", f"{low:.2f}-{high:.2f}", f"{row['cpu_median_s']:.2f}", memory, libraries or None]


def show(table: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [[name, *cells(row)] for name, row in table.items()]
    show_table(("process", "s", "quartiles", "CPU s", "peak MiB", "large libraries"), rows)


if __name__ == "__main__":
    main()
