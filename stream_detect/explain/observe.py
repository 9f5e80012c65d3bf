"""Score a file and keep what is needed to explain it: of a clip, which face at which moment; then look again."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.detector import PICTURE_SIDE, Counted, Detector
from stream_detect.explain.explanation import Explanation, Moment, Sight
from stream_detect.explain.maps import face_maps
from stream_detect.explain.residual import residual_map, window_around
from stream_detect.explain.spectrum import spectrum_lines
from stream_detect.faces import cut_faces
from stream_detect.faces.crop import sound_box
from stream_detect.scoring import Observation, Seen, mean_llr, observations, score_image, score_video, tracks_that_count
from stream_detect.sources import kind_of, open_source, read_frames, read_picture
from stream_detect.temporal import probability_of
from stream_detect.types import Face, FaceVerdict, Score

WHOLE_PX = 640  # longer side of the picture that is shown where there is no face


@dataclass(frozen=True, slots=True)
class Found:
    """A face that was found, and what was said of it."""

    index: int  # of the frame in the clip
    pts_s: float
    face: Face
    verdict: FaceVerdict


def explain(
    detector: Detector, picture: Path | str | np.ndarray, *, on_warning: Callable[[str], None] | None = None
) -> Explanation:
    """See `Detector.explain`."""
    if isinstance(picture, np.ndarray):
        return explain_frame(detector, Frame.from_rgb(picture), "")
    if kind_of(picture) == "image":
        return explain_frame(detector, read_picture(picture), str(picture))
    return explain_clip(detector, Path(picture), on_warning)


def explain_frame(detector: Detector, frame: Frame, path: str) -> Explanation:
    """Explain a still picture."""
    (faces,) = detector.find_faces([frame], PICTURE_SIDE)
    (verdicts,) = detector.judge([(frame, faces)])
    found = [Found(0, 0.0, face, verdict) for face, verdict in zip(faces, verdicts, strict=True)]
    return made(detector, score_image(path, verdicts, detector.limits), most_telling(found), frame)


def explain_clip(detector: Detector, path: Path, on_warning: Callable[[str], None] | None) -> Explanation:
    """Explain a clip; it is decoded a second time, up to the moment that is shown."""
    counted, seen, found, indices = Counted(), [], [], []
    for frame, faces, verdicts in detector.look_through(path, counted, on_warning):
        indices.append(frame.index)
        seen.append(Seen(frame.pts_s, verdicts))
        found += [Found(frame.index, frame.pts_s, *pair) for pair in zip(faces, verdicts, strict=True)]
    score = score_video(str(path), seen, counted.frames, detector.limits)
    worst = worst_track(seen)
    shown = most_telling([one for one in found if is_of(worst, one)] if worst else found)
    if not seen:
        return made(detector, score, None, None)
    shown_frame = frame_at(path, indices[len(indices) // 2] if shown is None else shown.index)
    return made(detector, score, shown, shown_frame, moments(seen, worst))


def worst_track(seen: Sequence[Seen]) -> list[Observation]:
    """The judgements that the score of a clip is made of; none if no face could be judged."""
    return max(tracks_that_count(observations(seen)), key=mean_llr, default=[])


def is_of(track: Sequence[Observation], found: Found) -> bool:
    return any(one.face is found.verdict for one in track)


def moments(seen: Sequence[Seen], worst: Sequence[Observation]) -> list[Moment]:
    decisive = {id(one.face) for one in worst}
    return [Moment(one.pts_s, probability_of(one.llr), id(one.face) in decisive) for one in observations(seen)]


def most_telling(found: Sequence[Found]) -> Found | None:
    """The face that looks most forged; if none could be judged, the largest."""

    def key(one: Found) -> tuple[bool, float, float]:
        llr = one.verdict.llr
        return llr is not None, llr or 0.0, float(np.prod(np.maximum(one.face.box[2:] - one.face.box[:2], 0)))

    return max(found, key=key, default=None)


def frame_at(path: Path, index: int) -> Frame | None:
    """A frame of a clip by its number; None if it can't be decoded any more."""
    frames: Any = read_frames(open_source(str(path)))
    with closing(frames):
        return next((frame for frame in frames if frame.index == index), None)


def made(
    detector: Detector, score: Score, shown: Found | None, frame: Frame | None, moments: Sequence[Moment] = ()
) -> Explanation:
    is_seen = shown is not None and frame is not None
    return Explanation(
        score=score,
        sight=sight_of(detector, frame, shown) if frame is not None and shown is not None else None,
        picture=None if is_seen or frame is None else frame.reduced(WHOLE_PX),
        moments=moments,
        limits=detector.limits,
        digest=detector.weights.digest,
    )


def sight_of(detector: Detector, frame: Frame, found: Found) -> Sight:
    """The face as the experts saw it; maps and measures only where it could be judged."""
    crops = cut_faces(frame, [found.face])
    box = sound_box(found.face.box)
    window = window_around(box, frame)
    x1, y1, x2, y2 = (box - np.array([*window[:2], *window[:2]])).tolist()
    about: dict[str, Any] = {}
    if found.verdict.llr is not None:
        about = {
            "maps": face_maps(detector.weights, crops.aligned, detector.experts),
            "residual": residual_map(frame, found.face),
            "spectrum": spectrum_lines(crops.tiles, detector.weights.reference),
        }
    return Sight(found.verdict, found.pts_s, frame.rgb(window), (x1, y1, x2, y2), crops.aligned[0], **about)
