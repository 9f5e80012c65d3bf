"""How far does the arithmetic of the networks move a face's probability?

    python -m benchmarks.precision --data DIR [--stills 400] [--precisions fp16 bf16] [--weights DIR] [--quick]

Pictures of a manifest (DIR/manifest.csv: path, label, kind) are judged as always, all experts and the fusion, once with
the networks in float32 and once in each other precision, on the same crops. What is told is by how much the fused
probability of a face differs between the two: median, 99th percentile, largest.

It runs on a CPU: torch's rounding there stands in for a GPU's tensor cores, which round the same weights and
activations to the same formats but add up in another order. `tests/cuda/test_examiner.py` compares a real one.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import at_most, finish, load_weights_or_random, metadata, on_one_thread, parser_of, show_table
from benchmarks.engines import spread_of

PRECISIONS = ("fp16", "bf16")
P99_TARGET = 0.01
STILLS, QUICK_STILLS = 400, 24
AT_ONCE = 16  # faces


def main(arguments: list[str] | None = None) -> None:
    from stream_detect.detector import Detector

    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder with manifest.csv and its pictures")
    parser.add_argument("--stills", type=int, default=STILLS, help="pictures, evenly spread over the manifest")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--weights", type=Path, help="a folder; by default the shipped ones")
    args = parser.parse_args(arguments)
    on_one_thread()
    about = metadata()
    about["command"] = about["command"].replace(str(args.data), args.data.name)  # no paths of a machine
    weights, named = load_weights_or_random(args.weights)
    paths = stills_of(args.data, QUICK_STILLS if args.quick else args.stills)
    with Detector(device="cpu", weights=weights) as detector:
        judged = judge(detector, paths, ("fp32", *args.precisions))
    moved = {name: compared(judged[name], judged["fp32"]) for name in args.precisions}
    result = {
        "question": "by how much the networks' precision moves the fused probability of a face",
        "about": about,
        "settings": {"stills": len(paths), "seed": None, "reference": "fp32 by torch", "device": "cpu, as a stand-in"},
        "data": f"{args.data.name}: {len(paths)} stills of its manifest, evenly spread",
        "weights": named,
        "moved": moved,
        "targets": [
            at_most(f"p99 of |probability in {name} - in fp32|", P99_TARGET, row["probability"]["p99"])
            for name, row in moved.items()
        ],
    }
    show_table(
        ("precision", "faces", "median", "p99", "max", "verdicts moved"),
        [(n, r["faces"], *r["probability"].values(), r["moved_past_half"]) for n, r in moved.items()],
    )
    finish("precision", result, args)


def stills_of(folder: Path, num: int) -> list[Path]:
    """`num` pictures of a manifest, real and fake as they come, evenly spread."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("kind", "image") == "image"]
    if not rows:
        raise argparse.ArgumentTypeError(f"{folder}: expected pictures (kind image) in manifest.csv, found none")
    picked = np.unique(np.linspace(0, len(rows) - 1, num).astype(int))
    return [folder / rows[index]["path"] for index in picked]


def judge(detector: Any, paths: list[Path], precisions: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The probability of every face that can be judged, in each precision."""
    networks = {name: networks_in(detector.weights, name) for name in precisions}
    found: dict[str, list[np.ndarray]] = {name: [] for name in precisions}
    for start in range(0, len(paths), AT_ONCE):
        measures, crops, logits = looked_at(detector, paths[start : start + AT_ONCE])
        if not len(measures):
            continue
        for name in precisions:
            said = logits | {expert: head(embed(crops.aligned)) for expert, (embed, head) in networks[name].items()}
            llr = np.array([evidence.llr for evidence in detector._evidence(said, measures)])
            found[name].append(1 / (1 + np.exp(-llr)))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def looked_at(detector: Any, paths: list[Path]) -> tuple[np.ndarray, Any, dict[str, np.ndarray]]:
    """Measures, crops and the fingerprints' logits of the faces of some pictures that can be judged."""
    from stream_detect.detector import PICTURE_SIDE
    from stream_detect.examiner import chosen
    from stream_detect.faces import concatenate, cut_faces
    from stream_detect.fusion.quality import measure_quality, quality_reasons
    from stream_detect.sources import read_picture

    frames = [read_picture(path) for path in paths]
    found = detector.find_faces(frames, PICTURE_SIDE)
    crops = concatenate([cut_faces(frame, faces) for frame, faces in zip(frames, found, strict=True)])
    measures = measure_quality(crops)
    usable = np.flatnonzero([not some for some in quality_reasons(measures, detector.quality_limits)])
    crops = chosen(crops, usable)
    names = [name for name in detector.experts if name not in detector.weights.networks]
    return measures[usable], crops, {name: detector.experts[name].kind_logits(crops) for name in names}


def networks_in(weights: Any, precision: str) -> dict[str, tuple[Any, Any]]:
    """Of each network: aligned faces to embeddings, as `stream_detect.cuda.networks` makes them, and its heads."""
    import torch

    from stream_detect.cuda.networks import prepared

    def embedder(features: Any) -> Any:
        def embed(aligned: np.ndarray) -> np.ndarray:
            given = torch.from_numpy(aligned).permute(0, 3, 1, 2).float() / 255
            made: np.ndarray = features(given.contiguous()).numpy()
            return made

        return embed

    return {
        name: (embedder(prepared(given, "cpu", precision)), weights.heads[name])  # type: ignore[arg-type]
        for name, given in weights.networks.items()
    }


def compared(one: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    moved = int(((one > 0.5) != (other > 0.5)).sum())
    return {"faces": len(one), "probability": spread_of(np.abs(one - other)), "moved_past_half": moved}


if __name__ == "__main__":
    main()
