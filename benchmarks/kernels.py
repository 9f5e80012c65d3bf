"""What does each CUDA kernel gain over its NumPy definition, and how near is it to what the card's memory allows?

    python -m benchmarks.kernels [--faces 1 8 64] [--rounds 20] [--quick]

On a GPU: for 1 to 64 faces, one a 720p picture, the time of each kernel by CUDA events behind a copy that keeps the
queue full and the caches cold; the bytes that it can't do without, over that time, against the bandwidth of a plain
copy in the same run (the roofline); the same definition run by CuPy on the whole batch; and the same work written
naively, a face at a time in torch on the same GPU. Without a GPU the NumPy definitions are timed, and nothing else.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from benchmarks.common import (
    Timing,
    at_least,
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
from stream_detect.bench.footage import FACE_PX, talking_head
from stream_detect.cuda import crops, fingerprints, quality, residual
from stream_detect.cuda.kernels import Bench
from stream_detect.decode.frame import Frame
from stream_detect.device import missing_for_cuda
from stream_detect.experts.color import color_features
from stream_detect.experts.heads import KindHeads
from stream_detect.experts.residual import residual_features
from stream_detect.experts.spectrum import spectrum_features
from stream_detect.faces import concatenate, cut_faces, find_faces, load_detector
from stream_detect.faces.detector import DEFAULTS
from stream_detect.faces.network import CANDIDATES
from stream_detect.faces.retinaface import suppress
from stream_detect.fusion.quality import measure_quality
from stream_detect.types import ALIGNED_PX, TILE_PX, Face, FaceCrops

if TYPE_CHECKING:
    from stream_detect.cuda.stream import Lane

FACES, QUICK_FACES = (1, 2, 4, 8, 16, 32, 64), (1, 4)
PICTURES = 8  # different ones; more faces than that see them again
ROUNDS, WARM_UP = 20, 3
COPY_BYTES = 1 << 29
FINDER_PX = 640  # longer side of the pictures that faces are sought in
ROW, NMS_THREADS = 15, 256  # as stream_detect/cuda/faces.py has them
FINGERPRINTS = ("spectrum", "residual", "color")
FINGERPRINTS_MS, NETWORKS_MS, NAIVE_TIMES = 1.0, 2.0, 10.0
WITHOUT = (
    "no GPU: of the kernels nothing was measured, neither time nor bandwidth; these are their definitions on the CPU"
)

Seen = list[tuple[Frame, list[Face]]]
Work = Callable[[], object]


class Watch(Protocol):
    """Tells the time of a device's queue of work."""

    def mark(self) -> Any:
        """A moment in the queue."""

    def ms(self, begin: Any, end: Any) -> float:
        """Milliseconds between two marks; waits for the second."""

    def fill(self) -> None:
        """Give the device enough to do that what follows waits in its queue."""


class CudaWatch:
    """CUDA events on CuPy's current stream, behind a copy that also throws everything out of the caches."""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        self._from, self._to = (cupy.zeros(COPY_BYTES, cupy.uint8) for _ in range(2))

    def mark(self) -> Any:
        event = self._cupy.cuda.Event()
        event.record()
        return event

    def ms(self, begin: Any, end: Any) -> float:
        end.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(begin, end))

    def fill(self) -> None:
        self._to[...] = self._from

    def bandwidth(self, rounds: int) -> np.ndarray:
        """Bytes a second of copying half a gibibyte: what is read and what is written counts."""
        took_ms = []
        for _ in range(rounds + WARM_UP):
            self.fill()
            begin = self.mark()
            self.fill()
            took_ms.append(self.ms(begin, self.mark()))
        return 2 * COPY_BYTES / (np.array(took_ms[WARM_UP:]) / 1000)


class HostWatch:
    """The wall clock, where work is done when a call returns."""

    def mark(self) -> float:
        return perf_counter()

    def ms(self, begin: float, end: float) -> float:
        return (end - begin) * 1000

    def fill(self) -> None:
        pass


class TimedBench:
    """A `Bench` that notes when each launch began and ended, each behind work of its own that it waits for."""

    def __init__(self, bench: Bench, watch: Watch) -> None:
        self.xp, self.launches, self.pointer = bench.xp, bench.launches, bench.pointer
        self.marks: list[tuple[str, Any, Any]] = []
        self._bench, self._watch = bench, watch

    def launch(self, stem: str, function: str, grid: Any, block: int, *arguments: Any) -> None:
        self._watch.fill()
        begin = self._watch.mark()
        self._bench.launch(stem, function, grid, block, *arguments)
        self.marks.append((function, begin, self._watch.mark()))

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, noted like a launch: for what a library launches."""

        def noted(*arguments: Any) -> Any:
            self._watch.fill()
            begin = self._watch.mark()
            result = call(*arguments)
            self.marks.append((name, begin, self._watch.mark()))
            return result

        return noted


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel's work for a batch of faces, in the ways that it can be done."""

    definition: Work  # NumPy and OpenCV
    kernel: Work  # on the bench
    bytes_moved: int  # that it can't do without
    by_namespace: Work | None = None  # the definition on the whole batch, on the bench's arrays
    naive: Work | None = None  # a face at a time, by torch


def main(arguments: list[str] | None = None) -> Path:
    args = parse(arguments)
    on_one_thread()
    about, (weights, named) = metadata(), load_weights_or_random(args.weights)
    seen = faces_seen(max(args.faces))
    missing = missing_for_cuda()
    measured = on_cpu(seen, weights, args) if missing else on_gpu(seen, weights, args)
    result = {
        "question": "what each kernel costs, against its definition, the memory's bandwidth and a naive version",
        "about": about,
        "settings": {"rounds": args.rounds, "warm_up": WARM_UP, "face_px": FACE_PX, "faces": list(args.faces)},
        "weights": named,
        "without_gpu": f"{WITHOUT} ({missing})" if missing else None,
        **measured,
    }
    show(result)
    return finish("kernels", result, args)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--faces", type=int, nargs="+", help=f"{' '.join(map(str, FACES))} by default")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--weights", type=Path, help="a folder; by default the shipped ones")
    args = parser.parse_args(arguments)
    args.faces = args.faces or (QUICK_FACES if args.quick else FACES)
    args.rounds = args.rounds or (3 if args.quick else ROUNDS)
    return args


def faces_seen(faces: int, face_px: float = FACE_PX) -> Seen:
    """`faces` 720p pictures on the host, as decoders give them, with the one face in each."""
    pictures = [yuv_frame(rgb) for rgb in talking_head(min(faces, PICTURES), face_px)]
    found = find_faces(pictures, load_detector())
    assert all(len(one) == 1 for one in found), f"expected one face a picture, got {[len(one) for one in found]}"
    return [(pictures[k % len(pictures)], found[k % len(pictures)]) for k in range(faces)]


def yuv_frame(rgb: np.ndarray) -> Frame:
    height, width = rgb.shape[:2]
    flat = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    whole, part = height * width, height * width // 4
    luma, u, v = flat[:whole], flat[whole : whole + part], flat[whole + part :]
    planes = (luma.reshape(height, width), *(plane.reshape(height // 2, width // 2) for plane in (u, v)))
    return Frame(tuple(plane.copy() for plane in planes), "yuv420")


def on_device(xp: Any, seen: Seen) -> Seen:
    """The same pictures as NV12 planes of `xp`, each one copied once."""
    kept: dict[int, Frame] = {}
    for frame, _ in seen:
        if id(frame) not in kept:
            luma, u, v = frame.planes
            kept[id(frame)] = Frame((xp.asarray(luma), xp.asarray(np.stack([u, v], axis=-1))), "nv12")
    return [(kept[id(frame)], faces) for frame, faces in seen]


def definitions(seen: Seen, made: FaceCrops, heads: Mapping[str, KindHeads]) -> dict[str, Work]:
    """Each kernel's definition on these faces, by the kernel's stem."""
    features = {name: feature_function(name)(stored(made, name)) for name in FINGERPRINTS if name in heads}
    candidates = made_candidates(len(seen))
    sure = [rows[rows[:, 0] > DEFAULTS.min_confidence] for rows in candidates]
    works: dict[str, Work] = {
        "nv12_reduced": lambda: [frame.reduced(FINDER_PX) for frame, _ in seen],
        "nms": lambda: [suppress(rows[:, 1:5], rows[:, 0], DEFAULTS.max_iou) for rows in sure],
        "nv12_crops": lambda: concatenate([cut_faces(frame, faces) for frame, faces in seen]),
        "spectrum": lambda: spectrum_features(made.tiles),
        "residual": lambda: residual_features(made.tiles),
        "color": lambda: color_features(made.pixels),
        "quality": lambda: measure_quality(made),
    }
    if features:
        works["kind_heads"] = lambda: [heads[name](numbers) for name, numbers in features.items()]
    return works


def made_candidates(pictures: int) -> np.ndarray:
    """What the face finder's network could say of pictures: confidence, falling, box and landmarks of each anchor.

    (pictures, CANDIDATES, 15) float32; each of 20 faces is hit by about ten anchors, and the rest are unsure.
    """
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 500, (pictures, 20, 2)).repeat(CANDIDATES // 20 + 1, axis=1)[:, :CANDIDATES]
    corners += rng.normal(0, 4, corners.shape)
    confidence = np.sort(rng.beta(0.3, 2.0, (pictures, CANDIDATES, 1)), axis=1)[:, ::-1]
    points = (corners[:, :, None] + rng.uniform(10, 70, (pictures, CANDIDATES, 5, 2))).reshape(pictures, CANDIDATES, 10)
    return np.ascontiguousarray(np.concatenate([confidence, corners, corners + 80, points], axis=2), np.float32)


def feature_function(name: str) -> Callable[[Any], Any]:
    return {"spectrum": spectrum_features, "residual": residual_features, "color": color_features}[name]


def stored(made: Any, name: str) -> Any:
    return made.pixels if name == "color" else made.tiles


def heads_of(weights: Any) -> dict[str, KindHeads]:
    """The heads of the fingerprints, as far as they are of the kind that the kernel takes."""
    found = {name: weights.heads[name] for name in FINGERPRINTS if isinstance(weights.heads.get(name), KindHeads)}
    return found if len({head.kinds for head in found.values()}) == 1 else {}


def on_cpu(seen: Seen, weights: Any, args: argparse.Namespace) -> dict[str, Any]:
    """The definitions alone."""
    batches = {}
    for faces in args.faces:
        some = seen[:faces]
        made = concatenate([cut_faces(frame, found) for frame, found in some])
        timings = compare(definitions(some, made, heads_of(weights)), args.rounds, 1)
        batches[str(faces)] = {name: {"definition": timing.to_json()} for name, timing in timings.items()}
    return {"batches": batches, "targets": targets({}, None, {})}


def on_gpu(seen: Seen, weights: Any, args: argparse.Namespace) -> dict[str, Any]:
    from stream_detect.cuda.stream import CudaLane

    lane = CudaLane()
    with lane.current():
        watch = CudaWatch()
        copied = watch.bandwidth(args.rounds)
        batches = {str(faces): batch(lane.bench, watch, seen[:faces], weights, args.rounds) for faces in args.faces}
        networks = {str(faces): networks_row(lane, watch, weights, faces, args.rounds) for faces in args.faces}
    bandwidth = float(np.median(copied))
    low, high = np.percentile(copied, [25, 75])
    roofline = {faces: {name: against(row, bandwidth) for name, row in rows.items()} for faces, rows in batches.items()}
    largest = str(max(args.faces))
    return {
        "copy_gb_a_second": {
            "median": rounded(bandwidth / 1e9, 1),
            "iqr": [rounded(low / 1e9, 1), rounded(high / 1e9, 1)],
        },
        "batches": batches,
        "roofline": roofline,
        "networks": networks,
        "targets": targets(batches, largest, networks),
    }


def batch(bench: Bench, watch: Watch, seen: Seen, weights: Any, rounds: int) -> dict[str, Any]:
    """Every kernel on these faces, in the ways that its work can be done."""
    timed = TimedBench(bench, watch)
    rows = {}
    for name, step in steps(timed, seen, weights).items():
        rows[name] = {
            "bytes_moved": step.bytes_moved,
            **launched(step.kernel, timed, watch, rounds),
            "definition": compare({name: step.definition}, max(2, rounds // 5), 1)[name].to_json(),
            "definition_on_device": on_queue(step.by_namespace, watch, rounds),
            "naive": on_queue(step.naive, watch, rounds),
        }
    return rows


def networks_row(lane: "Lane", watch: Watch, weights: Any, faces: int, rounds: int) -> dict[str, Any]:
    """All networks on the same faces: as they are run, and each face by itself as torch runs it."""
    import torch

    from stream_detect.cuda.networks import SHIPPED, DeviceNetworks
    from stream_detect.experts.networks import build

    given = torch.rand(faces, 3, ALIGNED_PX, ALIGNED_PX, device=lane.tensors)
    inputs = lane.bench.xp.asarray(given)
    ours = DeviceNetworks(lane, weights.networks, inputs)
    plain: list[Any] = [build(one).to(lane.tensors) for one in weights.networks.values()]

    def naive() -> object:
        with torch.inference_mode():
            return [network.features(given[k : k + 1]) for network in plain for k in range(faces)]

    return {
        "names": list(weights.networks),
        "precision": SHIPPED,
        "ours": on_queue(lambda: ours(faces), watch, rounds),
        "naive": on_queue(naive, watch, max(2, rounds // 5)),
    }


def steps(bench: TimedBench, seen: Seen, weights: Any) -> dict[str, Step]:
    """The work of every kernel on these faces, ready to be timed."""
    xp, heads = bench.xp, heads_of(weights)
    on_host = concatenate([cut_faces(frame, faces) for frame, faces in seen])
    frames = on_device(xp, seen)
    room = crops.room_for(bench, len(seen))
    made = crops.cut_faces(bench, frames, room)
    rfft2 = bench.timed("rfft2", fingerprints.HeldRfft2(xp))
    sizes = xp.asarray(made.face_px), xp.asarray(made.around_share)
    pictures, candidates = [frame for frame, _ in frames], xp.asarray(made_candidates(len(seen)))
    kernels: dict[str, tuple[Work, int]] = {
        "nv12_reduced": (
            lambda: crops.reduced(bench, pictures, FINDER_PX),
            crops.bytes_moved_reduced([frame for frame, _ in seen], FINDER_PX),
        ),
        "nms": (lambda: suppressed(bench, candidates), nms_bytes(len(seen))),
        "nv12_crops": (lambda: crops.cut_faces(bench, frames, room), crops.bytes_moved(seen)),
        "spectrum": (
            lambda: fingerprints.spectrum_features(bench, made.tiles, rfft2),
            sum(fingerprints.spectrum_bytes(len(seen)).values()),
        ),
        "residual": (lambda: residual.residual_features(bench, made.tiles), residual.bytes_moved(len(seen))),
        "color": (
            lambda: fingerprints.color_features(bench, made.pixels),
            sum(fingerprints.color_bytes(len(seen)).values()),
        ),
        "quality": (lambda: quality.quality_measures(bench, made.tiles, *sizes), quality.bytes_moved(len(seen))),
    }
    if heads:
        device_heads = fingerprints.DeviceHeads(bench, heads)
        features = {name: xp.asarray(feature_function(name)(stored(on_host, name))) for name in heads}
        moved = sum(device_heads.bytes_moved(len(seen)).values())
        kernels["kind_heads"] = (lambda: device_heads(features), moved)
    naive = naive_works(frames, made) if xp is not np else {}
    by_namespace: dict[str, Work] = {name: whole(name, stored(made, name)) for name in FINGERPRINTS if xp is not np}
    works = definitions(seen, on_host, heads)
    return {name: Step(works[name], *pair, by_namespace.get(name), naive.get(name)) for name, pair in kernels.items()}


def suppressed(bench: TimedBench, candidates: Any) -> object:
    """The launch of `stream_detect.cuda.faces.suppress`, with the settings that are shipped."""
    pictures, num = candidates.shape[:2]
    counts = bench.xp.empty(pictures, np.float32)
    faces = bench.xp.empty((pictures, DEFAULTS.max_faces, ROW), np.float32)
    limits = (np.int32(num), np.int32(DEFAULTS.max_faces), np.float32(DEFAULTS.min_confidence))
    overlap = np.float32(DEFAULTS.max_iou)
    bench.launch("nms", "nms", pictures, NMS_THREADS, candidates, *limits, overlap, counts, faces)
    return counts, faces


def nms_bytes(pictures: int) -> int:
    """The least that suppression reads and writes: sure candidates once, those that are kept once, of made-up ones."""
    sure = int((made_candidates(pictures)[..., 0] > DEFAULTS.min_confidence).sum())
    return 4 * (ROW * sure + pictures)


def whole(name: str, given: Any) -> Work:
    """A definition on the whole batch, on arrays as they are."""
    return lambda: feature_function(name)(given)


def naive_works(frames: Seen, made: Any) -> dict[str, Work]:
    """The same work as one would write it at first: torch on the GPU, a frame and a face at a time."""
    import torch

    def each(name: str) -> Work:
        given, function = torch.as_tensor(stored(made, name), device="cuda"), feature_function(name)
        return lambda: [function(given[k : k + 1]) for k in range(len(given))]

    pictures = [tuple(torch.as_tensor(plane, device="cuda") for plane in frame.planes) for frame, _ in frames]
    faces = [found[0] for _, found in frames]
    cut: Work = lambda: [naive_crops(planes, face) for planes, face in zip(pictures, faces, strict=True)]  # noqa: E731
    return {"nv12_crops": cut, **{name: each(name) for name in FINGERPRINTS}}


def naive_crops(planes: Sequence[Any], face: Face) -> tuple[Any, Any, Any]:
    """A face's crops in plain torch: the whole picture becomes RGB, an aligned crop is sampled, tiles are sliced."""
    import torch
    from torch.nn import functional

    luma, chroma = planes[0].float(), planes[1].float().permute(2, 0, 1)[None]
    chroma = functional.interpolate(chroma, size=luma.shape, mode="bilinear")[0] - 128
    y, u, v = (luma - 16) * 1.164, chroma[0], chroma[1]
    rgb = torch.stack([y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u]).clamp(0, 255) / 255
    x1, y1, x2, y2 = (float(side) for side in face.box)
    height, width = luma.shape
    theta = torch.tensor(
        [[[(x2 - x1) / width, 0, (x1 + x2) / width - 1], [0, (y2 - y1) / height, (y1 + y2) / height - 1]]],
        device=luma.device,
    )
    grid = functional.affine_grid(theta, [1, 3, ALIGNED_PX, ALIGNED_PX], align_corners=False)
    aligned = functional.grid_sample(rgb[None], grid, align_corners=False)
    across = np.linspace(max(0, x1 - TILE_PX), min(width, x2 + TILE_PX) - TILE_PX, 7).astype(int)
    down = np.linspace(max(0, y1 - TILE_PX), min(height, y2 + TILE_PX) - TILE_PX, 4).astype(int)
    tiles = torch.stack([luma[t : t + TILE_PX, s : s + TILE_PX] for t in down for s in across]) / 255
    rows, columns = np.linspace(y1, y2 - 1, 64).astype(int), np.linspace(x1, x2 - 1, 64).astype(int)
    pixels = rgb[:, rows][:, :, columns]
    return aligned, tiles, pixels


def launched(kernel: Work, bench: TimedBench, watch: Watch, rounds: int) -> dict[str, Any]:
    """What each launch of a kernel's work took, and all of them together, in milliseconds; how many there are."""
    times: dict[str, list[float]] = {}
    totals = []
    for turn in range(rounds + WARM_UP):
        bench.marks.clear()
        kernel()
        if turn < WARM_UP:
            continue
        took = [(name, watch.ms(begin, end)) for name, begin, end in bench.marks]
        totals.append(sum(ms for _, ms in took))
        for name, ms in took:
            times.setdefault(name, []).append(ms)
    return {
        "kernel": of_times(totals),
        "launches": {name: of_times(values) | {"a_batch": len(values) // rounds} for name, values in times.items()},
    }


def on_queue(work: Work | None, watch: Watch, rounds: int) -> dict[str, Any] | None:
    """The time of work on the device, from its first to its last step; None where there is no such work."""
    if work is None:
        return None
    took = []
    for turn in range(rounds + 1):
        watch.fill()
        begin = watch.mark()
        work()
        ms = watch.ms(begin, watch.mark())
        took += [ms] if turn else []
    return of_times(took)


def of_times(values: Sequence[float]) -> dict[str, Any]:
    said = Timing(np.array(values), np.zeros(len(values))).to_json()
    return {name: said[name] for name in ("median_ms", "iqr_ms", "rounds")}


def against(row: Mapping[str, Any], bandwidth: float) -> dict[str, float]:
    """How near a kernel comes to the copy's bandwidth, in bytes a second."""
    seconds = max(row["kernel"]["median_ms"], 1e-6) / 1000
    reached = row["bytes_moved"] / seconds
    return {
        "megabytes": rounded(row["bytes_moved"] / 1e6),
        "gb_a_second": rounded(reached / 1e9, 1),
        "share_of_copy": rounded(reached / bandwidth),
        "least_ms": rounded(row["bytes_moved"] / bandwidth * 1000, 5),
    }


def targets(batches: Mapping[str, Any], largest: str | None, networks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was asked at 64 faces; not measured without a GPU, or with fewer faces."""
    rows = batches[largest] if largest == "64" else None
    took = sum(rows[name]["kernel"]["median_ms"] for name in FINGERPRINTS) if rows else None
    ratio = None
    if rows:
        both = [row for row in rows.values() if row["naive"]]
        naive, ours = (sum(row[way]["median_ms"] for row in both) for way in ("naive", "kernel"))
        ratio = rounded(naive / ours, 1)
    both_ms = networks[largest]["ours"]["median_ms"] if rows and largest in networks else None
    return [
        at_most("both networks on 64 faces, ms", NETWORKS_MS, both_ms),
        at_most("all fingerprints of 64 faces, ms", FINGERPRINTS_MS, None if took is None else rounded(took)),
        at_least("times faster than naively a frame at a time, 64 faces", NAIVE_TIMES, ratio),
    ]


def show(result: Mapping[str, Any]) -> None:
    if result["without_gpu"]:
        print(result["without_gpu"], "\n")
        names = list(next(iter(result["batches"].values())))
        rows = [
            (faces, *(f"{cells[name]['definition']['median_ms']:.2f}" for name in names))
            for faces, cells in result["batches"].items()
        ]
        show_table(("definitions, ms for so many faces", *names), rows)
        return
    print(f"copying: {result['copy_gb_a_second']['median']} GB/s\n")
    head = ("ms", "kernel", "GB/s", "of a copy", "NumPy", "CuPy", "naive", "launches")
    for faces, cells in result["batches"].items():
        rows = []
        for name, row in cells.items():
            roof = result["roofline"][faces][name]
            others = (row[way] and row[way]["median_ms"] for way in ("definition", "definition_on_device", "naive"))
            share = f"{roof['share_of_copy']:.0%}"
            launches = sum(one["a_batch"] for one in row["launches"].values())
            rows.append((name, row["kernel"]["median_ms"], roof["gb_a_second"], share, *others, launches))
        net = result["networks"][faces]
        rows.append(
            (f"networks, {net['precision']}", net["ours"]["median_ms"], *[None] * 4, net["naive"]["median_ms"], None)
        )
        show_table((f"{faces} faces, {head[0]}", *head[1:]), rows)


if __name__ == "__main__":
    main()
