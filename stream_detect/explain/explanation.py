"""What can be told of a judgement: the score, the face that decided it, and all that the experts saw of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream_detect.config import VerdictLimits
from stream_detect.explain.maps import FaceMap
from stream_detect.explain.residual import ResidualMap
from stream_detect.explain.spectrum import SpectrumLines
from stream_detect.types import FaceVerdict, Score


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """One face as the experts saw it."""

    verdict: FaceVerdict
    pts_s: float  # of its frame, in seconds since the start of the clip
    close_up: np.ndarray  # (height, width, 3) uint8 RGB: the face and what is around it
    box: tuple[float, float, float, float]  # of the face, xyxy in pixels of `close_up`
    aligned: np.ndarray  # (256, 256, 3) uint8 RGB: eyes and mouth at fixed places
    maps: Sequence[FaceMap] = ()
    residual: ResidualMap | None = None
    spectrum: SpectrumLines | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """One judgement of one face in a clip."""

    pts_s: float
    fake_probability: float
    is_worst: bool  # whether it is of the face that decided


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A score and why it came about."""

    score: Score
    sight: Sight | None  # the most suspicious face where it looked worst; a face that can't be judged; None without one
    picture: np.ndarray | None  # (height, width, 3) uint8 RGB: where no face was found; None if nothing was seen
    moments: Sequence[Moment]  # of a clip, in the order of time
    limits: VerdictLimits
    digest: str  # of the weights

    def save(self, path: Path, subject: str = "") -> Path:
        """Write one picture of it all as PNG, 1400 pixels wide; `subject` says in its text what it explains.

        Raises:
            UsageError: if matplotlib is not installed.
            OutputError: if the place can't be written.
        """
        from stream_detect.explain.picture import save_picture

        return save_picture(self, path, subject)
