"""Which engine runs the networks fastest on a CPU, and do scores stay the same?

    python -m benchmarks.engines [--rounds 40] [--faces 64] [--weights DIR] [--quick]

Each network is run by each engine on one thread, a face a call, in turn. For the scores the same faces are judged by
all experts with each engine: what is told is by how much a face's probability differs from that with onnxruntime. The
faces are one person's, made lighter and darker, smaller, noisier and compressed: they show how far arithmetic moves a
score, and say nothing of accuracy. An engine that is not installed, or that this processor has no arithmetic for, is
named with the reason.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.common import (
    Timing,
    at_most,
    compare,
    finish,
    load_weights_or_random,
    metadata,
    on_one_thread,
    parser_of,
    rounded,
    show_table,
)
from benchmarks.experts import faces_of_feeds
from stream_detect.bench.footage import talking_head
from stream_detect.decode.frame import Frame
from stream_detect.detector import Detector
from stream_detect.errors import UsageError
from stream_detect.experts.engine import ENGINES, Engine, make_engine
from stream_detect.faces import cut_faces
from stream_detect.types import Face

ROUNDS, FACES, WARM_UP = 40, 64, 3
QUICK_ROUNDS, QUICK_FACES = 5, 8
REFERENCE = "onnxruntime"
P99_TARGET = 0.01  # of the difference in probability

Seen = list[tuple[Frame, list[Face]]]


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--faces", type=int, default=FACES, help="that scores are compared on")
    parser.add_argument("--weights", type=Path, help="a folder; by default the shipped ones")
    args = parser.parse_args(arguments)
    if args.quick:
        args.rounds, args.faces = QUICK_ROUNDS, QUICK_FACES
    on_one_thread()
    about = metadata()
    weights, named = load_weights_or_random(args.weights)
    usable, refused = engines_here(weights)
    speed = {name: speeds(network, usable, args.rounds) for name, network in weights.networks.items()}
    scores = differences(weights, usable, args.faces)
    result = {
        "question": "milliseconds a face of each network by each engine, one thread, and what becomes of the scores",
        "about": about,
        "settings": {"threads": 1, "faces": args.faces, "warm_up": WARM_UP, "reference": REFERENCE},
        "weights": named,
        "speed": speed,
        "scores": scores,
        "refused": refused,
        "targets": targets_of(scores),
    }
    show(result)
    finish("engines", result, args)


def targets_of(scores: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        at_most(f"p99 of |probability by {name} - by {REFERENCE}|", P99_TARGET, row["probability"]["p99"])
        for name, row in scores.items()
    ]


def engines_here(weights: Any) -> tuple[list[str], dict[str, str]]:
    """The engines that run here, and why the others don't."""
    usable, refused = [], {}
    network = next(iter(weights.networks.values()))
    for name in ENGINES:
        try:
            make_engine(network, engine=name)
            usable.append(name)
        except UsageError as error:
            refused[name] = str(error)
    return usable, refused


def speeds(network: Any, engines: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Of one network by each engine: time a face, and its ratio to the reference in the same round."""
    ((frame, faces),) = faces_of_feeds(1, 240)
    aligned = cut_faces(frame, faces).aligned
    subjects: dict[str, Callable[[], object]] = {
        name: partial(call, make_engine(network, engine=name), aligned) for name in engines
    }
    timings = compare(subjects, rounds, WARM_UP)
    return {name: row(timing, timings[REFERENCE]) for name, timing in timings.items()}


def call(engine: Engine, aligned: np.ndarray) -> object:
    return engine(aligned)


def row(timing: Timing, reference: Timing) -> dict[str, Any]:
    return timing.to_json() | {"ratio_to_reference": rounded(np.median(timing.wall_ms / reference.wall_ms))}


def differences(weights: Any, engines: list[str], num: int) -> dict[str, dict[str, Any]]:
    """By how much probabilities and experts' logits differ from the reference's, face by face."""
    seen = faces_to_judge(weights, num)
    judged = {name: judge(weights, name, seen) for name in engines}
    return {
        name: {"faces": len(judged[name][0])} | compared(judged[name], judged[REFERENCE])
        for name in engines
        if name != REFERENCE
    }


def judge(weights: Any, engine: str, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Probability and log likelihood ratio of every face that can be judged."""
    with Detector(device="cpu", weights=weights, engine=engine) as detector:
        verdicts = [verdict for faces in detector.judge(seen) for verdict in faces]
    llr = np.array([verdict.llr for verdict in verdicts if verdict.llr is not None])
    return 1 / (1 + np.exp(-llr)), llr


def compared(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    return {name: spread_of(np.abs(a - b)) for name, a, b in zip(("probability", "llr"), one, other, strict=True)}


def spread_of(differences: np.ndarray) -> dict[str, float]:
    """Median, 99th percentile and largest of the differences, to three figures."""
    figures = {"median": np.median(differences), "p99": np.percentile(differences, 99), "max": differences.max()}
    return {name: float(f"{figure:.3g}") for name, figure in figures.items()}


def faces_to_judge(weights: Any, num: int) -> Seen:
    """`num` pictures in which a face is found, each changed in its own way."""
    with Detector(device="cpu", weights=weights, experts=["color"]) as detector:
        frames = [Frame.from_rgb(picture) for picture in pictures(num)]
        found = [detector.find_faces([frame])[0] for frame in frames]
    return list(zip(frames, found, strict=True))


def pictures(num: int) -> Iterator[np.ndarray]:
    """A talking head, from picture to picture in another light and size, and coded worse and worse."""
    for index, rgb in enumerate(talking_head(num)):
        share = index / max(num - 1, 1)
        lit = cv2.convertScaleAbs(rgb, alpha=0.6 + 0.7 * share, beta=20 * (index % 3 - 1))
        side = 1.0 - 0.4 * (index % 5) / 4
        scaled = cv2.resize(lit, None, fx=side, fy=side, interpolation=cv2.INTER_AREA)
        _, coded = cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, 95 - index % 4 * 15])
        yield cv2.imdecode(coded, cv2.IMREAD_COLOR)


def show(result: dict[str, Any]) -> None:
    rows = [
        (f"{network} by {name}", f"{cell['median_ms']:.2f}", f"{cell['cpu_median_ms']:.2f}", cell["ratio_to_reference"])
        for network, cells in result["speed"].items()
        for name, cell in cells.items()
    ]
    show_table(("network", "ms a face", "CPU ms", f"to {REFERENCE}"), rows)
    moved = [
        (name, *(cell[what][figure] for what in ("probability", "llr") for figure in ("median", "p99", "max")))
        for name, cell in result["scores"].items()
    ]
    show_table(("|difference|", "probability", "p99", "max", "llr", "p99", "max"), moved)
    for name, reason in result["refused"].items():
        print(f"{name}: {reason}")


if __name__ == "__main__":
    main()
