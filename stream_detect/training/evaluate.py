"""How good the detector is on labelled files: figures with intervals, by generator and by expert, beside baselines.

The score of a file is exactly what `stream-detect score` gives. Where nothing could be judged it counts as 0.5, and
the figures on what was judged stand beside, with the coverage.
"""

import contextlib
import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.detector import Detector
from stream_detect.errors import OutputError, SourceError, UsageError
from stream_detect.experts.table import Expert
from stream_detect.faces import load_detector
from stream_detect.fusion.calibration import expected_calibration_error
from stream_detect.sources import open_source, read_frames
from stream_detect.sources.picture import read_picture
from stream_detect.training.alike import encode_alike
from stream_detect.training.facts import FileFacts, file_facts, guess_from_facts
from stream_detect.training.manifest import Item, read_manifest
from stream_detect.training.metrics import auc, average_precision, bootstrap, equal_error_rate, true_positive_rate
from stream_detect.types import FaceCrops, Score

OFFICIAL = "mesonet_official"
NEAR_BITS = 46  # of 256: forged pictures whose hashes differ in fewer show the same face (others: 50 and more)
Tell = Callable[[str, int, int, str], None]


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """What to evaluate, on which terms, beside what."""

    manifest: Path
    out: Path  # report.json, report.md, scores.jsonl and plots go here
    alike: bool = False  # encode both classes alike first
    official: Path | None = None  # MesoNet's published weights (.h5), run on the same crops
    without: Path | None = None  # a manifest whose near-duplicates are left out (the training one)
    draws: int = 1000  # of the bootstrap over people


@dataclass(frozen=True, slots=True)
class Scored:
    """A file, what was said of it, and what its container alone would give away."""

    item: Item
    score: Score
    facts: FileFacts


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
    duplicates = near_duplicates(items, read_manifest(settings.without)) if settings.without else []
    with tempfile.TemporaryDirectory() as folder, beside(detector, settings.official):
        scored, failed = score_all(items, settings, detector, Path(folder), tell)
    kept = [one for one in scored if one.item not in duplicates]
    report = {
        "manifest": settings.manifest.name,
        "encoding": "alike: see stream_detect/training/alike.py" if settings.alike else "as published",
        "weights": detector.weights.digest,
        "files": len(items),
        "scored": len(scored),
        "failed": failed,
        "near_duplicates_left_out": len(duplicates),
        **{kind: figures([one for one in kept if one.item.kind == kind], settings) for kind in ("image", "video")},
    }
    write_report(settings.out, report, scored, kept)
    return report


def require_packages(settings: EvaluateSettings) -> None:
    """Say what is missing before hours are spent on scores.

    Raises:
        UsageError: naming the package.
    """
    for package in ("matplotlib", *(["h5py"] if settings.official else [])):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"evaluation needs the package {package}: pip install 'stream-detect[train]'")


@contextlib.contextmanager
def beside(detector: Detector, official: Path | None) -> Iterator[None]:
    """The detector with the official MesoNet as one more expert, until the end of the block."""
    if official is None:
        yield
        return
    detector.experts[OFFICIAL] = official_mesonet(official)
    try:
        yield
    finally:
        del detector.experts[OFFICIAL]


def score_all(
    items: Sequence[Item], settings: EvaluateSettings, detector: Detector, folder: Path, tell: Tell
) -> tuple[list[Scored], list[str]]:
    """Every file's score, and one line for each that can't be read."""
    scored: list[Scored] = []
    failed: list[str] = []
    finder = load_detector()
    for number, item in enumerate(items, start=1):
        try:
            path = encode_alike(item, folder, finder) if settings.alike else item.path
            scored.append(Scored(item, detector.score(path), file_facts(path)))
            if settings.alike:
                path.unlink()
        except SourceError as exc:
            failed.append(str(exc))
        tell("scoring", number, len(items), item.path.name)
    return scored, failed


def figures(scored: Sequence[Scored], settings: EvaluateSettings) -> dict[str, Any]:
    """All figures of one kind of file; empty without both classes."""
    is_fake = np.array([one.item.is_fake for one in scored], bool)
    if len(np.unique(is_fake)) < 2:
        return {}
    groups = np.array([one.item.group for one in scored])
    ours, judged = probabilities(scored)
    columns = {"ours": ours, "facts": guess_from_facts([one.facts for one in scored], is_fake, groups)}
    names = sorted({name for one in scored for name in one.score.experts})
    columns |= {name: expert_column(scored, name) for name in names}
    generators = np.array([one.item.generator for one in scored])
    sources = np.array([one.item.source for one in scored])
    return {
        "real": int((~is_fake).sum()),
        "fake": int(is_fake.sum()),
        "groups": len(np.unique(groups)),
        "coverage": round(float(judged.mean()), 4),
        "coverage_real": round(float(judged[~is_fake].mean()), 4),
        "coverage_fake": round(float(judged[is_fake].mean()), 4),
        "auc_judged": rounded(auc(ours[judged], is_fake[judged])),
        "ap": rounded(average_precision(ours, is_fake)),
        "eer": rounded(equal_error_rate(ours, is_fake)),
        "tpr_at_1_percent_fpr": rounded(true_positive_rate(ours, is_fake)),
        "calibration_error": rounded(expected_calibration_error(ours[judged], is_fake[judged].astype(int))),
        "verdicts": verdict_counts(scored),
        "auc": {name: with_interval(column, is_fake, groups, settings.draws) for name, column in columns.items()},
        "auc_differences": differences(columns, is_fake, groups, settings.draws),
        "auc_by_generator": by_part(ours, is_fake, generators, is_fake),
        "auc_by_real_source": by_part(ours, is_fake, sources, ~is_fake),
    }


def probabilities(scored: Sequence[Scored]) -> tuple[np.ndarray, np.ndarray]:
    """The files' probabilities, 0.5 where there is none, and where there is one."""
    given = [one.score.fake_probability for one in scored]
    return np.array([0.5 if p is None else p for p in given]), np.array([p is not None for p in given])


def expert_column(scored: Sequence[Scored], name: str) -> np.ndarray:
    given = [one.score.experts.get(name) for one in scored]
    return np.array([0.5 if p is None else p for p in given])


def with_interval(column: np.ndarray, is_fake: np.ndarray, groups: np.ndarray, draws: int) -> dict[str, float | None]:
    """AUC on every file with its 90 % interval over people."""
    low, high = bootstrap(lambda rows: auc(column[rows], is_fake[rows]), groups, is_fake, draws)
    return {"auc": rounded(auc(column, is_fake)), "low": rounded(low), "high": rounded(high)}


def differences(columns: dict[str, np.ndarray], is_fake: np.ndarray, groups: np.ndarray, draws: int) -> dict[str, Any]:
    """Ours minus each baseline, drawn together."""
    ours = columns["ours"]

    def between(other: np.ndarray) -> dict[str, float | None]:
        def gap(rows: np.ndarray) -> float:
            return auc(ours[rows], is_fake[rows]) - auc(other[rows], is_fake[rows])

        low, high = bootstrap(gap, groups, is_fake, draws)
        return {"difference": rounded(gap(np.arange(len(ours)))), "low": rounded(low), "high": rounded(high)}

    return {f"ours - {name}": between(columns[name]) for name in ("facts", OFFICIAL) if name in columns}


def by_part(scores: np.ndarray, is_fake: np.ndarray, names: np.ndarray, side: np.ndarray) -> dict[str, Any]:
    """AUC of each part of one side against all of the other, with the part's size."""
    parts = {}
    for name in np.unique(names[side]):
        rows = ~side | (names == name)
        parts[str(name)] = {
            "files": int((side & (names == name)).sum()),
            "auc": rounded(auc(scores[rows], is_fake[rows])),
        }
    return parts


def verdict_counts(scored: Sequence[Scored]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {"real": {}, "fake": {}}
    for one in scored:
        side = counts["fake" if one.item.is_fake else "real"]
        side[one.score.verdict] = side.get(one.score.verdict, 0) + 1
    return counts


def rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def official_mesonet(path: Path) -> Expert:
    """MesoNet with its authors' weights as one more expert, which the fusion doesn't hear.

    Raises:
        WeightsError: if the file is not such weights.
    """
    import torch

    from stream_detect.experts.mesonet import Meso4, MesoInception4

    network = MesoInception4() if "Inception" in path.name else Meso4()
    network.load_official(path)
    network.eval()

    @torch.inference_mode()
    def logit(crops: FaceCrops) -> np.ndarray:
        x = torch.from_numpy(crops.aligned).permute(0, 3, 1, 2).float() / 255
        column: np.ndarray = network(x).numpy()[:, None]
        return column

    return Expert(OFFICIAL, logit, lambda column: column[:, 0])


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


def write_report(out: Path, report: dict[str, Any], scored: Sequence[Scored], kept: Sequence[Scored]) -> None:
    """The report, a line for every file that was scored, and plots of those that count.

    Raises:
        OutputError: if the folder can't be written.
    """
    from stream_detect.training.plots import plot_all

    try:
        (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (out / "report.md").write_text(as_markdown(report), encoding="utf-8")
        with (out / "scores.jsonl").open("w", encoding="utf-8") as lines:
            for one in scored:
                label = "fake" if one.item.is_fake else "real"
                line = one.score.to_json() | {
                    "path": one.item.path.name,
                    "label": label,
                    "generator": one.item.generator,
                }
                lines.write(json.dumps(line) + "\n")
        plot_all(out, kept)
    except OSError as exc:
        raise OutputError(f"{out}: can't write the report here: {exc.strerror}; name another folder") from exc


def as_markdown(report: dict[str, Any]) -> str:
    """The figures as tables."""
    lines = [f"# {report['manifest']}, encoded {report['encoding']}", ""]
    lines += [
        f"{report['scored']} of {report['files']} files scored; {len(report['failed'])} could not be read; "
        f"{report['near_duplicates_left_out']} near-duplicates of training files left out.",
        "",
    ]
    for kind in ("image", "video"):
        if part := report[kind]:
            lines += markdown_part(kind, part)
    return "\n".join(lines) + "\n"


def markdown_part(kind: str, part: dict[str, Any]) -> list[str]:
    plain = ("auc_judged", "ap", "eer", "tpr_at_1_percent_fpr", "calibration_error", "coverage_real", "coverage_fake")
    rows = [f"## {kind}s: {part['real']} real, {part['fake']} fake, {part['groups']} people or files", ""]
    rows += ["| | AUC, all files | 90 % interval |", "|---|---|---|"]
    rows += [f"| {name} | {a['auc']} | {a['low']} to {a['high']} |" for name, a in part["auc"].items()]
    rows += [f"| {n} | {d['difference']} | {d['low']} to {d['high']} |" for n, d in part["auc_differences"].items()]
    rows += ["", "| figure | |", "|---|---|", *(f"| {name} | {part[name]} |" for name in plain)]
    rows += ["", "| generator | files | AUC |", "|---|---|---|"]
    rows += [f"| {name} | {g['files']} | {g['auc']} |" for name, g in part["auc_by_generator"].items()]
    rows += ["", "| reals of | files | AUC |", "|---|---|---|"]
    rows += [f"| {name} | {g['files']} | {g['auc']} |" for name, g in part["auc_by_real_source"].items()]
    return [*rows, ""]
