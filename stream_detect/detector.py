"""The detector: weights, face finder and experts behind one object that judges faces of any number of feeds at once."""

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve a busy machine

from stream_detect.config import DecisionSettings, VerdictLimits
from stream_detect.decode.frame import Frame
from stream_detect.device import resolve_device
from stream_detect.errors import DeviceLost, StreamDetectError, WeightsError
from stream_detect.examiner import CpuExaminer, Examined, Examiner
from stream_detect.experts.heads import noisy_or
from stream_detect.experts.table import Expert, build_experts, gather_logits
from stream_detect.faces.tracker import Tracker
from stream_detect.fusion.fusion import disagreement, fuse_kinds, kind_shares
from stream_detect.fusion.quality import QUALITY_NAMES, QualityLimits, quality_reasons, quality_score
from stream_detect.scoring import Seen, score_image, score_video, word
from stream_detect.sources import kind_of, open_source, read_frames, read_picture
from stream_detect.temporal import Thresholds, probability_of
from stream_detect.types import Face, FaceVerdict, FrameVerdict, Reason, Score
from stream_detect.weights import Weights, load_weights

if TYPE_CHECKING:
    import stream_detect.explain

SCORED_HZ = 8.0  # of a clip, so many frames a second are analysed at least
BATCH = 8  # analysed frames that go through together
PICTURE_SIDE = 1280  # faces of a still picture are sought on a copy whose longer side is at most this

log = logging.getLogger("stream_detect")


class Detector:
    """Judges faces. Make one and share it: it holds the weights, and all feeds go through it together.

    Args:
        device: "auto" (a GPU where one can be used), "cpu", "cuda" or "cuda:N".
        weights: a folder of weights, or `Weights`; by default those that came with the package.
        experts: names of the experts to use; all of them by default.
        threads: CPU threads of each network.
        engine: what runs the networks on a CPU: "onnxruntime", or with the extra openvino "openvino" (and
            "openvino-bf16", where the processor has such arithmetic).

    Raises:
        WeightsError: if weights are missing, damaged or of another kind.
        UsageError: for an expert, a device or an engine that there isn't.
    """

    def __init__(
        self,
        device: str = "auto",
        weights: Path | str | Weights | None = None,
        experts: Sequence[str] | None = None,
        threads: int = 1,
        engine: str = "onnxruntime",
    ) -> None:
        self.device = resolve_device(device)
        limit_torch_threads(threads)
        given = weights if isinstance(weights, Weights) else load_weights(None if weights is None else Path(weights))
        self.weights = given
        self.experts: dict[str, Expert] = build_experts(given, experts, "cpu", threads, engine)
        self.limits: VerdictLimits = settings_from(VerdictLimits(), given.thresholds)
        self.quality_limits: QualityLimits = settings_from(QualityLimits(), given.quality_limits)
        self._decision: DecisionSettings = settings_from(DecisionSettings(), given.thresholds)
        self.thresholds: Thresholds = given.alerts
        self._quality_columns = columns_of(given.fusion.quality)
        self._threads = threads
        self._examiner: Examiner = self._examiner_on_cpu() if self.device == "cpu" else self._examiner_on_gpu()

    def close(self) -> None:
        """End the threads that experts run in; may be called twice. What is judged later is judged in one thread."""
        self._examiner.close()

    def __enter__(self) -> "Detector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def decision(self) -> DecisionSettings:
        """When alerts are raised, as these weights suggest."""
        return self._decision

    @property
    def decode_device(self) -> str:
        """Where the frames that it looks at are best decoded: "cuda:N" if it takes them on a GPU, else "cpu"."""
        device: str = getattr(self._examiner, "decode_device", "cpu")
        return device

    def find_faces(self, frames: Sequence[Frame], max_side: int = 640) -> list[list[Face]]:
        """The faces of each frame, sought on copies whose longer side is at most `max_side` pixels."""
        return self._examiner.find_faces(frames, max_side)

    def judge(
        self, seen: Sequence[tuple[Frame, Sequence[Face]]], experts: Sequence[str] | None = None
    ) -> list[tuple[FaceVerdict, ...]]:
        """What is said of each face of each frame; all faces go through the experts in one batch.

        Args:
            seen: frames of any feeds, with the faces in each.
            experts: names of those that look, of the detector's; None: all of them.
        """
        faces = [face for _, found in seen for face in found]
        verdicts = iter(self._verdicts(self._examined(seen, experts), faces))
        return [tuple(next(verdicts) for _ in found) for _, found in seen]

    def frame(self, rgb: np.ndarray) -> FrameVerdict:
        """What is said of one picture, (height, width, 3) uint8 RGB.

        Raises:
            ValueError: if it is no such array.
        """
        frame = Frame.from_rgb(rgb)
        (faces,) = self._judged_pictures([frame])
        latency_ms = (time.monotonic() - frame.arrived_s) * 1000
        seen_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return FrameVerdict("", 0, 0.0, seen_at, latency_ms, faces, reasons=() if faces else ("no_face",))

    def score(self, path: Path | str, *, on_warning: Callable[[str], None] | None = None) -> Score:
        """What is said of a picture or a clip as a whole.

        Every frame of a clip is decoded, and about eight a second, evenly spread, are analysed. The score is the
        trimmed mean log likelihood ratio of the most suspicious face that is seen in a good part of the clip.

        Args:
            path: of a file.
            on_warning: hears of a clip that could be read in part only.

        Raises:
            SourceError: if the file is neither a picture nor a video that can be read.
        """
        if kind_of(path) == "image":
            (faces,) = self._judged_pictures([read_picture(path)])
            return score_image(str(path), faces, self.limits)
        return self._score_video(Path(path), on_warning)

    def explain(
        self, picture: Path | str | np.ndarray, *, on_warning: Callable[[str], None] | None = None
    ) -> "stream_detect.explain.Explanation":
        """The score of a file, or of a (height, width, 3) uint8 RGB picture, and what a person can look at to see why.

        Raises:
            SourceError: if the file is neither a picture nor a video that can be read.
            ValueError: if an array is no such picture.
        """
        from stream_detect.explain.observe import explain

        return explain(self, picture, on_warning=on_warning)

    def look_through(
        self, path: Path, counted: "Counted", on_warning: Callable[[str], None] | None = None
    ) -> Iterator[tuple[Frame, list[Face], tuple[FaceVerdict, ...]]]:
        """The analysed frames of a clip, with the faces in each, numbered by track, and what is said of them."""
        tracker = Tracker()
        frames = read_frames(open_source(str(path)), on_warning=on_warning)
        for some in in_batches(counted.evenly(frames), BATCH):
            found = zip(self.find_faces(some), some, strict=True)
            followed = [tracker.detected(faces, frame) for faces, frame in found]
            judged = self.judge(list(zip(some, followed, strict=True)))
            yield from zip(some, followed, judged, strict=True)

    @contextmanager
    def looking_on_cpu(self) -> Iterator[None]:
        """Until the end of the block `experts` are called on the host, where others can see what they are shown."""
        examiner = self._examiner
        if self.device != "cpu":
            self._examiner = self._examiner_on_cpu()
        try:
            yield
        finally:
            if self._examiner is not examiner:
                self._examiner.close()
            self._examiner = examiner

    def _examiner_on_cpu(self, names: Sequence[str] | None = None) -> Examiner:
        experts = self.experts if names is None else {name: self.experts[name] for name in names}
        return CpuExaminer(experts, self.quality_limits, self._threads)

    def _examiner_on_gpu(self) -> Examiner:
        """A GPU's examiner, with the CPU's behind it; the CPU's alone if the GPU can't be used."""
        from stream_detect.cuda.examiner import CudaExaminer
        from stream_detect.cuda.fallback import FallbackExaminer

        names, limits = tuple(self.experts), self.quality_limits
        try:
            primary = CudaExaminer(self.weights, names, limits, self._examiner_on_cpu, self.device)
        except DeviceLost as lost:
            log.warning("%s; faces are looked at on the CPU", lost)
            return self._examiner_on_cpu()
        return FallbackExaminer(primary, self._examiner_on_cpu, log.warning)

    def _judged_pictures(self, frames: Sequence[Frame]) -> list[tuple[FaceVerdict, ...]]:
        return self.judge(list(zip(frames, self.find_faces(frames, PICTURE_SIDE), strict=True)))

    def _score_video(self, path: Path, on_warning: Callable[[str], None] | None) -> Score:
        counted = Counted()
        looked = self.look_through(path, counted, on_warning)
        seen = [Seen(frame.pts_s, verdicts) for frame, _, verdicts in looked]
        return score_video(str(path), seen, counted.frames, self.limits)

    def _examined(self, seen: Sequence[tuple[Frame, Sequence[Face]]], experts: Sequence[str] | None) -> Examined:
        """What the experts asked for say; of the others nothing is known. On a GPU all of them look."""
        if experts is None:
            return self._examiner.examine(seen)
        if isinstance(self._examiner, CpuExaminer):
            return self._examiner.examine(seen, experts)
        examined = self._examiner.examine(seen)
        return replace(examined, logits={name: examined.logits[name] for name in experts if name in examined.logits})

    def _verdicts(self, examined: Examined, faces: Sequence[Face]) -> list[FaceVerdict]:
        """A verdict a face; experts count only where something can be said."""
        if not faces:
            return []
        measures = examined.measures
        reasons = quality_reasons(measures, self.quality_limits)
        usable = np.flatnonzero([not some for some in reasons])
        quality = quality_score(measures, self.quality_limits)
        evidence = [Evidence.none(len(self.experts))] * len(faces)
        said = {name: logits[usable] for name, logits in examined.logits.items()}
        for k, one in zip(usable, self._evidence(said, measures[usable]), strict=True):
            evidence[k] = one
        return [self._verdict(*one) for one in zip(faces, reasons, evidence, quality, strict=True)]

    def _evidence(self, said: Mapping[str, np.ndarray], measures: np.ndarray) -> "list[Evidence]":
        """What is known of each face that can be judged."""
        if not len(measures):
            return []
        fusion = self.weights.fusion
        known = gather_logits(said, fusion.experts, len(fusion.kinds))
        llr, kinds = fuse_kinds(known, measures[:, self._quality_columns], fusion)
        silent = np.full(len(measures), np.nan, np.float32)
        logits = [noisy_or(said[name]) if name in said else silent for name in self.experts]
        experts = np.stack(logits, axis=1).astype(np.float32)
        doubt = disagreement(known)
        return [Evidence(*one) for one in zip(llr, kind_shares(kinds, fusion), experts, doubt, strict=True)]

    def _verdict(
        self, face: Face, reasons: tuple[Reason, ...], evidence: "Evidence", quality: np.float32
    ) -> FaceVerdict:
        x1, y1, x2, y2 = (float(side) for side in face.box)
        said = None if np.isnan(evidence.llr) else float(evidence.llr)
        verdict, doubts = word(said, self.limits, [reasons or ("disagreement",)])
        if evidence.disagreement > self.limits.disagreement:
            verdict, doubts = "inconclusive", ("disagreement",)
        return FaceVerdict(
            track=face.track,
            box=(x1, y1, x2, y2),
            fake_probability=None if said is None else probability_of(said),
            llr=said,
            track_probability=None,
            verdict=verdict,
            reasons=reasons or doubts,
            experts=dict(zip(self.experts, map(probability_or_none, evidence.experts), strict=True)),
            quality=float(quality),
            kinds=kind_probabilities(self.weights.kinds, evidence.kinds, said),
        )


class Evidence(NamedTuple):
    """What experts and fusion say of one face."""

    llr: float  # NaN where nobody said anything
    kinds: np.ndarray  # (kinds,) how likely each is, if it is forged
    experts: np.ndarray  # (experts,) logits; NaN for those that said nothing
    disagreement: float  # among them, in [0, 1]

    @classmethod
    def none(cls, experts: int) -> "Evidence":
        return cls(math.nan, np.zeros(0), np.full(experts, np.nan, np.float32), math.nan)


def kind_probabilities(kinds: Sequence[str], shares: np.ndarray, llr: float | None) -> dict[str, float]:
    """How likely the face was forged in each way, summing to its probability; empty where no kinds are known."""
    if llr is None or len(kinds) < 2:
        return {}
    return {kind: probability_of(llr) * float(share) for kind, share in zip(kinds, shares, strict=True)}


class Counted:
    """Counts the frames that go by while some of them, spread evenly, are picked."""

    def __init__(self, rate_hz: float = SCORED_HZ) -> None:
        self.frames = 0
        self._rate_hz = rate_hz

    def evenly(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Every so manieth frame: as few as give at least `rate_hz` a second."""
        due_s, before_s = -math.inf, 0.0
        for frame in frames:
            self.frames += 1
            step_s = frame.pts_s - before_s
            before_s = frame.pts_s
            if frame.is_corrupt or frame.pts_s + step_s <= due_s:
                continue
            due_s = frame.pts_s + 1 / self._rate_hz
            yield frame


def in_batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """Lists of up to `size` frames."""
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def columns_of(measures: Sequence[str]) -> list[int]:
    """Where the fusion's quality measures stand among ours.

    Raises:
        WeightsError: if it wants one that this version doesn't have.
    """
    unknown = [name for name in measures if name not in QUALITY_NAMES]
    if unknown:
        raise WeightsError(f"the weights use a quality measure {unknown[0]!r} that this version doesn't have")
    return [QUALITY_NAMES.index(name) for name in measures]


def settings_from(settings: Any, given: Mapping[str, float]) -> Any:
    """The settings with those of their fields that the weights give.

    Raises:
        WeightsError: if a value is out of range.
    """
    names = {field.name for field in fields(settings)}
    try:
        return replace(settings, **{name: value for name, value in given.items() if name in names})
    except (StreamDetectError, ValueError) as error:
        raise WeightsError(f"the weights hold a limit that can't be meant: {error}") from error


def probability_or_none(logit: np.float32) -> float | None:
    return None if np.isnan(logit) else probability_of(float(logit))


def limit_torch_threads(threads: int) -> None:
    """torch's own pool of threads: as small as asked, so that it leaves the cores to decoding; if torch is there."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(max(1, threads))
