"""How good the detector is on labelled files: figures with intervals, by generator and by expert, beside baselines.

The score of a file is exactly what `stream-detect score` gives. Where nothing could be judged it counts as 0.5, and
the figures on what was judged stand beside, with the coverage.
"""

import contextlib
import importlib.util
import json
import multiprocessing
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.detector import Detector
from stream_detect.errors import ConfigError, OutputError, SourceError, UsageError
from stream_detect.faces import FaceDetector, load_detector
from stream_detect.sources import open_source, read_frames
from stream_detect.sources.picture import read_picture
from stream_detect.training.alike import encode_alike
from stream_detect.training.controlled import encode_controlled
from stream_detect.training.facts import file_facts
from stream_detect.training.figures import figures, pooled_calibration, subset_figures
from stream_detect.training.looks import Beside, Look, Recorder, Scored
from stream_detect.training.manifest import Item, read_manifest
from stream_detect.training.report import as_markdown
from stream_detect.training.rows import OFFICIAL, RowKind, Rows, rows_of
from stream_detect.types import FaceCrops
from stream_detect.weights import Weights

NEAR_BITS = 46  # of 256: forged pictures whose hashes differ in fewer show the same face (others: 50 and more)
Tell = Callable[[str, int, int, str], None]
Terms = Literal["raw", "alike", "controlled"]
ENCODED: dict[Terms, str] = {
    "raw": "as published",
    "alike": "both classes alike: the square around the face as 192x192 JPEG of quality 75, or 256x256 H.264 at 250 "
    "kbit/s",
    "controlled": "controlled: every face brought to a box 112 pixels wide in a square of 256, then H.264 of crf 26",
}
ENCODERS: dict[Terms, Callable[[Item, Path, FaceDetector], Path]] = {
    "alike": encode_alike,
    "controlled": encode_controlled,
}


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """What to evaluate, on which terms, beside what."""

    manifest: Path
    out: Path  # report.json, report.md, scores.jsonl, looks.jsonl and plots go here
    terms: Terms = "raw"  # how files are encoded again before they are scored, if at all
    official: tuple[Path, ...] = ()  # MesoNet's published weights (.h5), each run on the same crops
    without: Path | None = None  # a manifest whose near-duplicates are left out (the training one)
    draws: int = 1000  # of the bootstrap over people
    jobs: int = 1  # processes that score at the same time

    def __post_init__(self) -> None:
        if self.draws < 1 or self.jobs < 1:
            raise ConfigError(f"expected at least one draw and one job, got {self.draws} and {self.jobs}")


class Failure(NamedTuple):
    """A file that could not be read, and why."""

    words: str


def evaluate(settings: EvaluateSettings, detector: Detector, tell: Tell = lambda *_: None) -> dict[str, Any]:
    """Score every file of a manifest, write the report and give it back.

    Files that can't be read are listed in the report, never left out in silence.

    Raises:
        ConfigError, SourceNotFound: for a manifest that can't be used.
        OutputError: if the folder can't be written.
        UsageError: if the packages of stream-detect[train] are missing.
        WeightsError: if the official weights can't be read.
    """
    require_packages(settings)
    items = read_manifest(settings.manifest)
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{settings.out}: can't write the report here: {exc.strerror}; name another folder") from exc
    official_mesonets(settings.official)  # what is wrong with them is told before hours are spent
    duplicates = near_duplicates(items, read_manifest(settings.without)) if settings.without else []
    scored, failed = score_all(items, settings, detector, tell)
    kept = [one for one in scored if one.item not in duplicates]
    tell("figures", 0, 1, "")
    rows = rows_of(kept)
    told: dict[str, Any] = {kind: figures(some, detector.limits, settings.draws) for kind, some in rows.items()}
    report = {
        "manifest": settings.manifest.name,
        "terms": settings.terms,
        "encoding": ENCODED[settings.terms],
        "weights": detector.weights.digest,
        "experts": list(detector.experts),
        "files": len(items),
        "scored": len(scored),
        "failed": failed,
        "near_duplicates_left_out": len(duplicates),
        "draws": settings.draws,
        **told,
        "files_together": pooled_calibration([rows["image"], rows["video"]], settings.draws),
        "subsets": subset_figures(kept, detector.weights.fusion, settings.draws),
    }
    write_report(settings, report, scored, kept)
    plot_report(settings.out, rows, report)
    tell("figures", 1, 1, "")
    return report


def require_packages(settings: EvaluateSettings) -> None:
    """Say what is missing before hours are spent on scores.

    Raises:
        UsageError: naming the package.
    """
    for package in ("matplotlib", *(["h5py"] if settings.official else [])):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"evaluation needs the package {package}: pip install 'stream-detect[train]'")


class Scorer:
    """Scores one file after another and keeps every look; a context manager, during which it listens.

    Args:
        folder: a temporary one of its own, for files that are encoded again.
    """

    def __init__(self, detector: Detector, terms: Terms, official: Sequence[Path], folder: Path) -> None:
        self._detector, self._terms, self._folder = detector, terms, folder
        self._finder = load_detector()
        self._recorder = Recorder(detector, official_mesonets(official))
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Scorer":
        self._stack.enter_context(self._recorder.listening())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, item: Item) -> Scored | Failure:
        try:
            return self._scored(item)
        except SourceError as exc:
            self._recorder.take()
            return Failure(str(exc))

    def _scored(self, item: Item) -> Scored:
        if self._terms == "raw":
            return Scored(item, self._detector.score(item.path), file_facts(item.path), self._recorder.take())
        path = ENCODERS[self._terms](item, self._folder, self._finder)
        try:
            return Scored(item, self._detector.score(path), file_facts(path), self._recorder.take())
        finally:
            path.unlink()


def score_all(
    items: Sequence[Item], settings: EvaluateSettings, detector: Detector, tell: Tell
) -> tuple[list[Scored], list[str]]:
    """Every file's score, and one line for each that can't be read, both in the order of the items."""
    scored: list[Scored] = []
    failed: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(results(items, settings, detector, Path(folder))) as done,
    ):
        for number, (item, one) in enumerate(zip(items, done, strict=True), start=1):
            if isinstance(one, Scored):
                scored.append(one)
            else:
                failed.append(one.words)
            tell("scoring", number, len(items), item.path.name)
    return scored, failed


def results(
    items: Sequence[Item], settings: EvaluateSettings, detector: Detector, folder: Path
) -> Generator[Scored | Failure, None, None]:
    """What came of each file, in order: from this process, or from several that work side by side."""
    if settings.jobs == 1:
        with Scorer(detector, settings.terms, settings.official, folder) as scorer:
            yield from map(scorer, items)
        return
    start = (detector.weights, detector.device, list(detector.experts), settings.terms, settings.official, folder)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(settings.jobs, context, initializer=start_worker, initargs=start) as pool:
        yield from pool.map(score_in_worker, items)


def start_worker(
    weights: Weights, device: str, experts: list[str], terms: Terms, official: Sequence[Path], folder: Path
) -> None:
    """Make the scorer that this process keeps until it ends."""
    own = Path(tempfile.mkdtemp(dir=folder))
    scorer = Scorer(Detector(device, weights, experts), terms, official, own)
    worker["scorer"] = contextlib.ExitStack().enter_context(scorer)


def score_in_worker(item: Item) -> Scored | Failure:
    return worker["scorer"](item)


worker: dict[str, Scorer] = {}  # of this process, where it is one of several


def official_mesonets(paths: Sequence[Path]) -> Beside:
    """MesoNet with its authors' weights, which the fusion doesn't hear; named "official Meso4_DF" and the like.

    Raises:
        WeightsError: if a file is not such weights.
    """
    return {OFFICIAL + path.stem: official_mesonet(path) for path in paths}


def official_mesonet(path: Path) -> Callable[[FaceCrops], np.ndarray]:
    import torch

    from stream_detect.experts.mesonet import Meso4, MesoInception4

    network = MesoInception4() if "Inception" in path.name else Meso4()
    network.load_official(path)
    network.eval()

    @torch.inference_mode()
    def logits(crops: FaceCrops) -> np.ndarray:
        x = torch.from_numpy(crops.aligned).permute(0, 3, 1, 2).float() / 255
        column: np.ndarray = network(x).numpy().reshape(len(crops))
        return column

    return logits


def near_duplicates(items: Sequence[Item], others: Sequence[Item]) -> list[Item]:
    """The forged pictures and clips that look the same as one of `others` (difference hash of the first frame)."""
    known = [code for code in (picture_hash(other) for other in others if other.is_fake) if code is not None]
    if not known:
        return []
    codes = np.stack(known)
    near = []
    for item in items:
        code = picture_hash(item) if item.is_fake else None
        if code is not None and (codes != code).sum(axis=1).min() < NEAR_BITS:
            near.append(item)
    return near


def picture_hash(item: Item) -> np.ndarray | None:
    """256 bits: whether brightness falls from each cell of a 16x17 grid to its right neighbour; None if unreadable."""
    try:
        frame = read_picture(item.path) if item.kind == "image" else first_frame(item.path)
    except SourceError:
        return None
    if frame is None:
        return None
    luma = frame.luma((0, 0, frame.width, frame.height))
    small = cv2.resize(luma, (17, 16), interpolation=cv2.INTER_AREA)
    bits: np.ndarray = (small[:, 1:] < small[:, :-1]).ravel()
    return bits


def first_frame(path: Path) -> Frame | None:
    return next((frame for frame in read_frames(open_source(str(path)))), None)


def write_report(
    settings: EvaluateSettings, report: Mapping[str, Any], scored: Sequence[Scored], kept: Sequence[Scored]
) -> None:
    """The report, a line for every file that was scored, and one for every look at a face.

    Raises:
        OutputError: if the folder can't be written.
    """
    out, root = settings.out, settings.manifest.parent
    try:
        (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (out / "report.md").write_text(as_markdown(report), encoding="utf-8")
        write_lines(out / "scores.jsonl", (score_line(one, root, one in kept) for one in scored))
        write_lines(out / "looks.jsonl", (look_line(one, look, root) for one in scored for look in one.looks))
    except OSError as exc:
        raise OutputError(f"{out}: can't write the report here: {exc.strerror}; name another folder") from exc


def plot_report(out: Path, rows: Mapping[RowKind, Rows], report: Mapping[str, Any]) -> None:
    """A picture for stills, clips and frames each, where there are both classes."""
    from stream_detect.training.plots import plot_rows

    for kind, some in rows.items():
        if report[kind]:
            plot_rows(out / f"{kind}s.png", some, report[kind])


def write_lines(path: Path, lines: Iterator[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def score_line(one: Scored, root: Path, counts: bool) -> dict[str, Any]:
    """What `score` says of a file, under its path in the manifest, with its label and what is known of it."""
    item = one.item
    about = {"label": "fake" if item.is_fake else "real", "generator": item.generator, "source": item.source}
    place = {"path": relative(item.path, root), "identity": item.identity, "counts": counts}
    return one.score.to_json() | {"kind": item.kind} | about | place


def look_line(one: Scored, look: Look, root: Path) -> dict[str, Any]:
    """One face of one frame: what was said, every expert's logits, the measures of its picture."""
    said = {name: np.round(logits, 4).tolist() for name, logits in look.logits.items()}
    beside = {name: round(logit, 4) for name, logit in look.beside.items()}
    quality = None if look.quality is None else np.round(look.quality, 4).tolist()
    about = {"path": relative(one.item.path, root), "pts_s": round(look.pts_s, 4), "turn": round(look.turn, 4)}
    return about | look.verdict.to_json() | {"logits": said, "beside": beside, "measures": quality}


def relative(path: Path, root: Path) -> str:
    """The path as the manifest has it."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
