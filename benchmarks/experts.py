"""What does an expert cost? Milliseconds a face on one thread, beside Meso-4 as it was published, in plain torch.

python -m benchmarks.experts [--rounds 60] [--weights DIR]
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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
)
from stream_detect.bench.footage import HEIGHT, WIDTH, talking_head

BATCHES = (1, 8)
FACE_PX = 240  # height of the face in a 720p picture
ROUNDS, WARM_UP = 60, 5
TARGET_MS = 25.0  # all five experts, a face
REFERENCE = "Meso-4 in plain torch"
ALL = "all experts"
BESIDE = "crops, quality and fusion"


def main(arguments: list[str] | None = None) -> Path:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS} by default")
    parser.add_argument("--weights", type=Path, help="a folder; by default the shipped ones")
    parser.add_argument("--face-px", type=int, default=FACE_PX)
    args = parser.parse_args(arguments)
    args.rounds = args.rounds or (3 if args.quick else ROUNDS)
    on_one_thread()
    about = metadata()
    weights, named = load_weights_or_random(args.weights)
    batches = {size: measured(weights, size, args.rounds, args.face_px) for size in BATCHES}
    worst_ms = max(batch[ALL]["median_ms"] for batch in batches.values())
    result = {
        "question": "milliseconds a face for each expert and for all of them, one thread",
        "about": about,
        "settings": {"face_px": args.face_px, "picture": [WIDTH, HEIGHT], "threads": 1, "warm_up": WARM_UP},
        "weights": named,
        "batches": batches,
        "targets": [at_most("all experts, ms a face, the worst batch", TARGET_MS, worst_ms)],
    }
    show(batches)
    return finish("experts", result, args)


def measured(weights: Any, size: int, rounds: int, face_px: int) -> dict[str, dict[str, Any]]:
    """The table of one batch size: by subject, time a face and its ratio to the reference of the same run."""
    timings = compare(subjects(weights, size, face_px), rounds, WARM_UP)
    return {name: row(timing, timings[REFERENCE], size) for name, timing in timings.items()}


def row(timing: Timing, reference: Timing, size: int) -> dict[str, Any]:
    ratio = np.median(timing.wall_ms / reference.wall_ms)  # of the same round
    return timing.to_json(per=size) | {"ratio_to_reference": rounded(ratio, 2)}


def subjects(weights: Any, size: int, face_px: int) -> dict[str, Callable[[], object]]:
    """What is timed: each expert, all of them one after the other, what goes with them, and the reference."""
    from stream_detect.experts.table import build_experts
    from stream_detect.faces import concatenate, cut_faces

    seen = faces_of_feeds(size, face_px)
    crops = concatenate([cut_faces(frame, faces) for frame, faces in seen])
    experts = build_experts(weights)
    return {
        **{name: partial(expert.logits, crops) for name, expert in experts.items()},
        ALL: lambda: [expert.logits(crops) for expert in experts.values()],
        BESIDE: lambda: cut_and_fuse(seen, weights),
        REFERENCE: reference(crops.aligned),
    }


def cut_and_fuse(seen: list[tuple[Any, Any]], weights: Any) -> object:
    """What each face costs besides its experts: cutting it out, its quality, and the fusion of five logits."""
    from stream_detect.faces import concatenate, cut_faces
    from stream_detect.fusion.fusion import fuse
    from stream_detect.fusion.quality import QUALITY_NAMES, measure_quality, quality_reasons, quality_score

    measures = measure_quality(concatenate([cut_faces(frame, faces) for frame, faces in seen]))
    quality_reasons(measures)
    quality_score(measures)
    columns = [QUALITY_NAMES.index(name) for name in weights.fusion.quality]
    logits = np.zeros((len(measures), len(weights.fusion.experts), len(weights.kinds)), np.float32)
    return fuse(logits, measures[:, columns], weights.fusion)


def faces_of_feeds(size: int, face_px: int) -> list[tuple[Any, Any]]:
    """One frame with one face from each of `size` feeds, found by the ordinary detector."""
    from stream_detect.decode.frame import Frame
    from stream_detect.faces import find_faces, load_detector

    frames = [Frame.from_rgb(rgb) for rgb in talking_head(size, face_px)]
    found = find_faces(frames, load_detector())
    assert all(len(faces) == 1 for faces in found), f"expected one face a picture, got {[len(f) for f in found]}"
    return list(zip(frames, found, strict=True))


def reference(aligned: np.ndarray) -> Callable[[], object]:
    """Meso-4 at its official 256 x 256 pixels, with nothing done for its speed."""
    import torch

    from stream_detect.experts.mesonet import Meso4

    network = Meso4().eval()

    def judge() -> object:
        with torch.inference_mode():
            faces = torch.from_numpy(aligned).permute(0, 3, 1, 2).float() / 255
            return torch.sigmoid(network(faces)).numpy()

    return judge


def show(batches: dict[int, dict[str, dict[str, Any]]]) -> None:
    for size, table in batches.items():
        print(f"batch {size}: ms a face")
        for name, cell in table.items():
            low, high = cell["iqr_ms"]
            print(f"  {name:26} {cell['median_ms']:7.2f} [{low:.2f}, {high:.2f}]  x{cell['ratio_to_reference']:.2f}")


if __name__ == "__main__":
    main()
