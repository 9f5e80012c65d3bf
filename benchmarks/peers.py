"""What does the whole ensemble cost beside what one would use instead? In one run, on the same faces and the same clip.

    python -m benchmarks.peers [--rounds 15] [--no-loops] [--quick]

A face, on one CPU thread (and on the GPU where there is one): all five experts with quality and fusion, from crops to a
fused score, beside Xception at 299, EfficientNet-B4 at 380 (the network of self-blended images), CLIP's ViT-L/14 at 224
and Meso-4, each from its ready input to its output, which leaves out what it takes to cut and scale the face. Their
weights are random, which is enough for speed.
A frame: `stream-detect watch` on every frame of a clip, beside benchmarks/usual_loop.py on the same clip.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    ROOT,
    Timing,
    at_least,
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
from benchmarks.watching import Order, summary, watched, weights_options
from stream_detect.bench.footage import FACE_PX, FPS, KBPS, LOOP_S, coded, write_clip
from stream_detect.bench.line import decode_alone
from stream_detect.config import PROFILES
from stream_detect.device import missing_for_cuda

OURS, LIGHT = "all five experts, fused", "the three of profile light, fused"
XCEPTION, CLIP = "Xception, 299", "CLIP ViT-L/14, 224"
BY_ONNX = " by onnxruntime"
PEERS = {  # name -> timm's name, side of the input in pixels
    XCEPTION: ("legacy_xception", 299),
    "EfficientNet-B4, 380": ("efficientnet_b4", 380),
    CLIP: ("vit_large_patch14_clip_224", 224),
}
HEAVY = (CLIP,)  # 1.2 GB: built alone, and let go
MESO = "Meso-4, 256"
ROUNDS, HEAVY_ROUNDS, WARM_UP = 15, 5, 2
GPU_FACES = (1, 64)
OPENCV_4 = ROOT / ".venv" / "opencv4"
SECONDS, QUICK_SECONDS = 20.0, 3.0
WARM_UP_S = 5.0
LOOPS = {"usual loop: Haar cascade, Meso-4": 1, "usual loop, faces sought at half size": 2}
TIMES_XCEPTION, TIMES_CLIP, TIMES_LOOP = 15.0, 50.0, 3.0
GPU_FACES_A_SECOND = 20_000.0  # in batches of the largest size
NOT_MEASURED_ON_GPU = "no GPU: nothing was measured on one"
NO_OPENCV_4 = (
    "the usual loop was not measured: OpenCV 5 has no Haar cascade in its main packages; "
    f"pip install --no-deps --target {OPENCV_4.relative_to(ROOT)} opencv-python-headless==4.13.0.92"
)

Subject = Callable[[], object]


def main(arguments: list[str] | None = None) -> Path:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS} by default, {HEAVY_ROUNDS} for the largest")
    parser.add_argument("--no-loops", action="store_true", help="leave out what a frame costs")
    parser.add_argument("--seconds", type=float, help=f"of each loop; {SECONDS:g} by default")
    parser.add_argument("--weights", type=Path, help="a folder; by default the shipped ones")
    args = parser.parse_args(arguments)
    args.rounds = args.rounds or (2 if args.quick else ROUNDS)
    args.seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    about = metadata()
    weights, named = load_weights_or_random(args.weights)
    loops = {} if args.no_loops else a_frame(args)
    on_one_thread()
    on_cpu = a_face_on_cpu(weights, args)
    on_gpu = NOT_MEASURED_ON_GPU if missing_for_cuda() else a_face_on_gpu(weights, args)
    result = {
        "question": "what a face and a frame cost, of our ensemble and of what one would use instead",
        "about": about,
        "settings": {
            "rounds": args.rounds,
            "face_px": FACE_PX,
            "peers": {name: list(peer) for name, peer in PEERS.items()} | {MESO: ["stream_detect's port", 256]},
            "weights_of_peers": "random",
            "seconds_of_loops": args.seconds,
        },
        "weights": named,
        "a_face_on_one_cpu_thread": on_cpu,
        "a_face_on_a_gpu": on_gpu,
        "a_frame": loops,
        "targets": targets(on_cpu, on_gpu, loops),
    }
    show(result)
    return finish("peers", result, args)


def a_face_on_cpu(weights: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a face, one face at a time, and how many times ours that is in the same rounds."""
    table: dict[str, Any] = {}
    ours = ensembles(weights)
    small = {name: by_torch(name) for name in PEERS if name not in HEAVY}
    timings = compare({**ours, **small, **by_onnx(), MESO: meso()}, args.rounds, WARM_UP)
    table |= {name: row(timing, timings[OURS]) for name, timing in timings.items()}
    del small
    for name in HEAVY:
        gc.collect()
        pair = {OURS: ours[OURS], name: by_torch(name)}
        timings = compare(pair, min(args.rounds, HEAVY_ROUNDS), 1)
        table[name] = row(timings[name], timings[OURS])
        del pair
    gc.collect()
    return table


def row(timing: Timing, ours: Timing, faces: int = 1) -> dict[str, Any]:
    return timing.to_json(per=faces) | {"times_ours": rounded(np.median(timing.wall_ms / ours.wall_ms), 2)}


def ensembles(weights: Any) -> dict[str, Subject]:
    """From crops (tiles, pixels, aligned faces) to the fused score, expert after expert in one thread."""
    from stream_detect.experts.table import build_experts, gather_logits
    from stream_detect.faces import concatenate, cut_faces
    from stream_detect.fusion.fusion import fuse_kinds
    from stream_detect.fusion.quality import QUALITY_NAMES, measure_quality, quality_reasons

    crops = concatenate([cut_faces(frame, faces) for frame, faces in faces_of_feeds(1, FACE_PX)])
    experts, fusion = build_experts(weights, device="cpu", threads=1), weights.fusion
    columns = [QUALITY_NAMES.index(name) for name in fusion.quality]

    def judge(names: list[str]) -> object:
        measures = measure_quality(crops)
        quality_reasons(measures)
        said = {name: experts[name].kind_logits(crops) for name in names}
        return fuse_kinds(gather_logits(said, fusion.experts, len(fusion.kinds)), measures[:, columns], fusion)

    three = [name for name in PROFILES["light"].experts or () if name in experts]
    return {OURS: lambda: judge(list(experts)), LIGHT: lambda: judge(three)}


def network(name: str) -> tuple[Any, tuple[int, int]]:
    """A peer with random weights, in evaluation mode, and the size of its input."""
    import torch

    import stream_detect.vision  # noqa: F401  (before timm)

    import timm  # type: ignore[import-untyped]  # isort: skip

    torch.manual_seed(0)
    model, side = PEERS[name]
    return timm.create_model(model, pretrained=False, num_classes=2).eval(), (side, side)


def by_torch(name: str, device: str = "cpu", faces: int = 1) -> Subject:
    """A peer in plain torch, from a ready input to scores on the host; in half precision on a GPU."""
    import torch

    net, sides = network(name)
    is_half = device != "cpu"
    net = net.to(device, torch.float16 if is_half else torch.float32)
    given = torch.rand(faces, 3, *sides).to(device, torch.float16 if is_half else torch.float32)

    def judge() -> object:
        with torch.inference_mode():
            return torch.softmax(net(given).float(), dim=1).cpu().numpy()

    return judge


def by_onnx() -> dict[str, Subject]:
    """The smaller peers by onnxruntime, which runs our networks too: what their users could gain."""
    import io
    import warnings

    import onnxruntime  # type: ignore[import-untyped]
    import torch

    subjects: dict[str, Subject] = {}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for name in PEERS:
        if name in HEAVY:
            continue
        net, sides = network(name)
        given, file = torch.rand(1, 3, *sides), io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(net, (given,), file, opset_version=17, input_names=["faces"], dynamo=False)
        session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
        pixels = given.numpy()
        subjects[name + BY_ONNX] = lambda session=session, pixels=pixels: session.run(None, {"faces": pixels})
    return subjects


def meso(device: str = "cpu", faces: int = 1) -> Subject:
    import torch

    from stream_detect.experts.mesonet import Meso4

    net, given = Meso4().eval().to(device), torch.rand(faces, 3, 256, 256, device=device)

    def judge() -> object:
        with torch.inference_mode():
            return torch.sigmoid(net(given)).cpu().numpy()

    return judge


def a_face_on_gpu(weights: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a face in batches, from frames on the host (ours cuts its faces, too) to scores on the host."""
    from stream_detect.detector import Detector

    table: dict[str, Any] = {}
    with Detector("cuda", weights) as detector:
        for faces in GPU_FACES:
            seen = faces_of_feeds(faces, FACE_PX)
            ours = {OURS: lambda seen=seen: detector.judge(seen)}
            rows: dict[str, Any] = {}
            for name in [*PEERS, MESO]:
                peer = meso("cuda", faces) if name == MESO else by_torch(name, "cuda", faces)
                timings = compare({**ours, name: peer}, args.rounds, WARM_UP)
                rows |= {one: row(timing, timings[OURS], faces) for one, timing in timings.items()}
            table[f"batch {faces}"] = rows
    return table


def a_frame(args: argparse.Namespace) -> dict[str, Any]:
    """Frames a second of our command and of the usual loop, on every frame of one clip, with all cores."""
    with tempfile.TemporaryDirectory(prefix="stream-detect-bench-") as name:
        folder = Path(name)
        options, _ = weights_options(args.weights, folder)
        pictures = coded(KBPS, FACE_PX, num=FPS if args.quick else LOOP_S * FPS)
        short = write_clip(folder / "short.ts", pictures, 20)
        floor = decode_alone(short, min(args.seconds, 3.0))
        clip = write_clip(folder / "clip.ts", pictures, 1.5 * floor["fps"] / FPS * (args.seconds + WARM_UP_S))
        rows: dict[str, Any] = {"decoding alone": floor}
        for profile in PROFILES:
            order = Order([str(clip)], args.seconds, WARM_UP_S, profile, every_frame=True, weights=options)
            ran = summary(watched(order, folder), WARM_UP_S)
            rows[f"ours, profile {profile}"] = {key: ran[key] for key in ("fps", "analysed_fps", "faces_judged")}
        for loop, shrink in LOOPS.items():
            rows[loop] = usual_loop(clip, args.seconds, shrink)
    return rows


def usual_loop(clip: Path, seconds: float, shrink: int) -> dict[str, Any] | str:
    """The figures of the usual loop in a process of its own, or why there are none."""
    if not (OPENCV_4 / "cv2").is_dir():
        return NO_OPENCV_4
    command = [sys.executable, "-m", "benchmarks.usual_loop", str(clip), "--seconds", f"{seconds:g}"]
    path = os.pathsep.join([str(OPENCV_4), str(ROOT)])
    without = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PYTHONPATH")}
    done = subprocess.run(
        [*command, "--shrink", str(shrink)],
        cwd=ROOT,
        env=without | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the usual loop ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return dict(json.loads(done.stdout))


def targets(on_cpu: dict[str, Any], on_gpu: dict[str, Any] | str, loops: dict[str, Any]) -> list[dict[str, Any]]:
    rate = None if isinstance(on_gpu, str) else 1000 / on_gpu[f"batch {max(GPU_FACES)}"][OURS]["median_ms"]
    usual, ours = (loops.get(name) for name in (next(iter(LOOPS)), "ours, profile full"))
    ratio = rounded(ours["fps"] / usual["fps"], 2) if isinstance(usual, dict) and ours else None
    return [
        at_least("times cheaper a face than Xception at 299", TIMES_XCEPTION, on_cpu[XCEPTION]["times_ours"]),
        at_least("times cheaper a face than CLIP ViT-L/14", TIMES_CLIP, on_cpu[CLIP]["times_ours"]),
        at_least("times the usual loop's rate, profile full", TIMES_LOOP, ratio),
        at_least("faces a second on a GPU, in batches of 64", GPU_FACES_A_SECOND, rate and rounded(rate, 0)),
    ]


def show(result: dict[str, Any]) -> None:
    tables = {"a face on one CPU thread": result["a_face_on_one_cpu_thread"]}
    if isinstance(result["a_face_on_a_gpu"], dict):
        tables |= {f"a face on the GPU, {size}": rows for size, rows in result["a_face_on_a_gpu"].items()}
    for title, rows in tables.items():
        head = (title, "median ms", "quartiles", "CPU ms", "times ours")
        cells = [
            (
                name,
                one["median_ms"],
                f"{one['iqr_ms'][0]} to {one['iqr_ms'][1]}",
                one["cpu_median_ms"],
                one["times_ours"],
            )
            for name, one in rows.items()
        ]
        show_table(head, cells)
    if isinstance(result["a_face_on_a_gpu"], str):
        print(result["a_face_on_a_gpu"], "\n")
    if loops := result["a_frame"]:
        show_table(
            ("a frame", "frames/s"), [(name, one["fps"]) for name, one in loops.items() if isinstance(one, dict)]
        )
        for words in {one for one in loops.values() if isinstance(one, str)}:
            print(words, "\n")


if __name__ == "__main__":
    main()
