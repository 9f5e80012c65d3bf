"""From the verdicts on single frames of a file to one word on the file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stream_detect.config import VerdictLimits
from stream_detect.temporal import probability_of
from stream_detect.types import FaceVerdict, Reason, Score, Verdict

TRIMMED = 0.1  # share of a track's frames that is left out at each end of its mean
LEAST_SHARE = 0.2  # of the judged frames that a track must have to speak for the file
LEAST_IN_SECOND = 3  # judged frames that make a second, where some second has as many
LOGIT_LIMIT = 16.0  # a probability of 0 or 1 counts as this logit


@dataclass(frozen=True, slots=True)
class Seen:
    """The faces of one analysed frame of a file."""

    pts_s: float
    faces: tuple[FaceVerdict, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """One face that was judged in one frame."""

    pts_s: float
    face: FaceVerdict
    llr: float


def score_image(path: str, faces: Sequence[FaceVerdict], limits: VerdictLimits) -> Score:
    """The score of a picture: that of its most suspicious face."""
    judged = [Observation(0.0, face, face.llr) for face in faces if face.llr is not None]
    worst = max(judged, key=lambda one: one.llr, default=None)
    said = [] if worst is None else [worst]
    llr = None if worst is None else worst.llr
    verdict, reasons = word(llr, limits, [face.reasons for face in faces])
    return Score(
        path=path,
        kind="image",
        fake_probability=None if llr is None else probability_of(llr),
        verdict=verdict,
        reasons=reasons,
        faces=len(faces),
        frames=1,
        judged=len(said),
        experts=mean_experts(said),
        kinds={} if worst is None else worst.face.kinds,
    )


def score_video(path: str, seen: Sequence[Seen], frames: int, limits: VerdictLimits) -> Score:
    """The score of a clip: that of its most suspicious face, each face a robust mean over its frames.

    Args:
        seen: the analysed frames, in order; faces carry the numbers of their tracks.
        frames: how many frames the clip has, analysed or not.
    """
    tracks = tracks_that_count(observations(seen))
    worst = max(tracks, key=mean_llr, default=[])
    llr = mean_llr(worst) if worst else None
    verdict, reasons = word(llr, limits, [face.reasons for one in seen for face in one.faces])
    return Score(
        path=path,
        kind="video",
        fake_probability=None if llr is None else probability_of(llr),
        verdict=verdict,
        reasons=reasons,
        faces=max((len(one.faces) for one in seen), default=0),
        frames=frames,
        judged=sum(any(face.llr is not None for face in one.faces) for one in seen),
        experts=mean_experts(worst),
        worst_second=worst_second(worst),
        kinds={} if llr is None else mean_kinds(worst, probability_of(llr)),
    )


def observations(seen: Sequence[Seen]) -> list[Observation]:
    """Every judged face of every frame."""
    return [Observation(one.pts_s, face, face.llr) for one in seen for face in one.faces if face.llr is not None]


def tracks_that_count(judged: Sequence[Observation]) -> list[list[Observation]]:
    """The tracks with enough of the judged frames to speak for the file; if none has, all of them as one."""
    by_track: dict[int | None, list[Observation]] = {}
    for one in judged:
        by_track.setdefault(one.face.track, []).append(one)
    least = LEAST_SHARE * len({one.pts_s for one in judged})
    counting = [track for track in by_track.values() if len(track) >= least]
    return counting or ([list(judged)] if judged else [])


def mean_llr(track: Sequence[Observation]) -> float:
    """The mean log likelihood ratio of a track without its highest and lowest tenth."""
    return trimmed_mean(np.array([one.llr for one in track], np.float64))


def mean_experts(track: Sequence[Observation]) -> dict[str, float | None]:
    """Each expert's probability over a track: the sigmoid of its trimmed mean logit; None where it never spoke."""
    names = list(dict.fromkeys(name for one in track for name in one.face.experts))
    return {name: mean_probability([one.face.experts.get(name) for one in track]) for name in names}


def mean_kinds(track: Sequence[Observation], probability: float) -> dict[str, float]:
    """A track's probability shared out among the kinds of forgery as they were suspected over its frames."""
    totals: dict[str, float] = {}
    for one in track:
        for kind, p in one.face.kinds.items():
            totals[kind] = totals.get(kind, 0.0) + p
    whole = sum(totals.values())
    return {kind: probability * total / whole for kind, total in totals.items()} if whole > 0 else {}


def mean_probability(probabilities: Sequence[float | None]) -> float | None:
    said = np.array([p for p in probabilities if p is not None], np.float64)
    return probability_of(trimmed_mean(logit(said))) if len(said) else None


def logit(probabilities: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    with np.errstate(divide="ignore"):
        logits: np.ndarray = np.log(probabilities) - np.log1p(-probabilities)
    clipped: np.ndarray = np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT)
    return clipped


def trimmed_mean(values: Float[np.ndarray, " n"]) -> float:
    """The mean without the highest and the lowest tenth."""
    cut = int(len(values) * TRIMMED)
    return float(np.sort(values)[cut : len(values) - cut].mean())


def worst_second(track: Sequence[Observation]) -> tuple[float, float] | None:
    """Start and mean probability of the whole second in which a track looks most forged; None for an empty one."""
    seconds: dict[int, list[float]] = {}
    for one in track:
        seconds.setdefault(int(one.pts_s), []).append(probability_of(one.llr))
    if not seconds:
        return None
    least = min(LEAST_IN_SECOND, max(len(said) for said in seconds.values()))
    means = {second: float(np.mean(said)) for second, said in seconds.items() if len(said) >= least}
    start = max(means, key=lambda second: means[second])
    return float(start), means[start]


def word(
    llr: float | None, limits: VerdictLimits, reasons: Sequence[tuple[Reason, ...]]
) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict on a log likelihood ratio and why it is inconclusive, if it is.

    Args:
        llr: None where nothing could be judged: then the most frequent of `reasons`, or that there was no face.
    """
    if llr is None:
        counted = Counter(reason for some in reasons for reason in some)
        return "inconclusive", tuple(reason for reason, _ in counted.most_common(1)) or ("no_face",)
    probability = probability_of(llr)
    if probability >= limits.fake:
        return "fake", ()
    return ("real", ()) if probability <= limits.real else ("inconclusive", ("disagreement",))
