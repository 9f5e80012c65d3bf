"""From frames to what is known of each face in them: found, cut, measured, and shown to every expert.

An `Examiner` does this on one kind of device; what is made of its numbers, and everything after, happens on the host.
"""

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Protocol, final, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32

from stream_detect.decode.frame import Frame
from stream_detect.experts.table import Expert
from stream_detect.faces import concatenate, cut_faces, find_faces, load_detector
from stream_detect.fusion.quality import QUALITY_NAMES, QualityLimits, measure_quality, quality_reasons
from stream_detect.types import Face, FaceCrops

PARALLEL_EXPERTS = 2  # on a CPU, so many experts look at the faces at the same time

Seen = Sequence[tuple[Frame, Sequence[Face]]]  # frames of any feeds, with the faces in each


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """The numbers of a batch of faces, on the host."""

    measures: Float32[np.ndarray, "faces measures"]  # as `QUALITY_NAMES` names them
    logits: Mapping[str, Float32[np.ndarray, "faces kinds"]]  # of each expert; NaN where it said nothing


@runtime_checkable
class Examiner(Protocol):
    """Safe to call from one thread at a time; `close` may be called twice."""

    def find_faces(self, frames: Sequence[Frame], max_side: int = 640) -> list[list[Face]]: ...

    def examine(self, seen: Seen) -> Examined: ...

    def close(self) -> None: ...


@final
class CpuExaminer:
    """NumPy, OpenCV and onnxruntime on the host; several experts look at the same time.

    Args:
        experts: by name; the mapping may be changed later.
        limits: faces beyond these are not shown to the experts.
        threads: CPU threads of the face finder, and of OpenCV in the whole process: its pictures here are so small that
            waking more costs more than they bring.
    """

    def __init__(self, experts: Mapping[str, Expert], limits: QualityLimits, threads: int = 1) -> None:
        self._experts = experts
        self._limits = limits
        cv2.setNumThreads(threads)
        self._finder = load_detector("cpu", threads=threads)
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(PARALLEL_EXPERTS, "expert")

    def close(self) -> None:
        """End the threads that experts run in; what is examined later is examined in one thread."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def find_faces(self, frames: Sequence[Frame], max_side: int = 640) -> list[list[Face]]:
        """The faces of each frame, sought on copies whose longer side is at most `max_side` pixels."""
        return find_faces(frames, self._finder, max_side)

    def examine(self, seen: Seen, experts: Container[str] | None = None) -> Examined:
        """All faces go through every expert in one batch, or through those named; only those that can be judged."""
        crops = concatenate([cut_faces(frame, faces) for frame, faces in seen])
        if not len(crops):
            return Examined(np.zeros((0, len(QUALITY_NAMES)), np.float32), {})
        measures = measure_quality(crops)
        usable = np.flatnonzero([not some for some in quality_reasons(measures, self._limits)])
        said = self._logits(chosen(crops, usable), experts) if len(usable) else {}
        return Examined(measures, {name: spread(logits, usable, len(crops)) for name, logits in said.items()})

    def _logits(self, crops: FaceCrops, experts: Container[str] | None) -> dict[str, np.ndarray]:
        """Each expert's logits, (faces, kinds); the slowest begin first."""
        asked = [name for name in self._experts if experts is None or name in experts]
        if self._pool is None:
            return {name: self._experts[name].kind_logits(crops) for name in asked}
        names = asked[::-1]
        said = dict(zip(names, self._pool.map(lambda name: self._experts[name].kind_logits(crops), names), strict=True))
        return {name: said[name] for name in asked}


def chosen(crops: FaceCrops, rows: np.ndarray) -> FaceCrops:
    """The crops of some faces; all of them are given as they are."""
    if len(rows) == len(crops):
        return crops
    return FaceCrops(**{part.name: getattr(crops, part.name)[rows] for part in fields(FaceCrops)})


def spread(logits: np.ndarray, rows: np.ndarray, faces: int) -> np.ndarray:
    """The logits of some faces as those of all: NaN where nothing was said."""
    if len(rows) == faces:
        return logits
    everyone = np.full((faces, logits.shape[1]), np.nan, np.float32)
    everyone[rows] = logits
    return everyone
