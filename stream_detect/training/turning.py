"""Feeds in which a real face turns forged at a known time, made from real clips: to learn from, and to measure delays.

Each clip shows its person as filmed for `REAL_S` and forged from then on for `FORGED_S`, at 30 frames a second, encoded
as H.264 at 1 Mbit/s. One call of a family's draws holds for the whole clip, with the flicker of frame-wise tools.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceError
from stream_detect.faces import FaceDetector, find_faces
from stream_detect.pipeline import Judge
from stream_detect.sources import open_source, read_frames
from stream_detect.training.forgeries import FAMILIES, Family, Footage, face_side, forge_clip, misfit
from stream_detect.training.manifest import Item
from stream_detect.training.scenes import LARGEST_FACE_PX, MARGIN, Scene
from stream_detect.training.traces import CALL, Trace, Wire, frames_judged, trace_of, write_clip
from stream_detect.types import Face

FPS = 30
REAL_S, FORGED_S = 2.0, 4.0
BIT_RATE = 1_000_000
LEAST_FACE_PX = 64.0
LARGEST_SIDE_PX = 1280
CANDIDATES = 12  # people of whom the one whose pose fits best is the partner
PARTNER_FRAMES = (10, 50)  # of their shots
LEARNED: dict[str, tuple[Family, ...]] = {
    "self_blend": (FAMILIES["self_blend"],),
    "swap": (FAMILIES["swap"],),
    "low_res_swap": (FAMILIES["low_res_swap"],),
    "reenact": (FAMILIES["reenact"],),
    "mouth_or_eyes": (FAMILIES["mouth"], FAMILIES["eyes"]),
    "resynth": tuple(family for name, family in FAMILIES.items() if name.startswith("resynth")),
}


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """Pictures of one person at 30 a second, each with its face."""

    item: Item
    number: int  # among the shots, by which people are told apart
    pictures: list[np.ndarray]  # (height, width, 3) uint8
    faces: list[Face]

    def scene(self, at: int) -> tuple[Scene, tuple[int, int]]:
        """The square around the face in one of them, and its left upper corner."""
        rgb, face = self.pictures[at], self.faces[at]
        x1, y1, x2, y2 = (float(side) for side in face.box)
        half = MARGIN * face_side(face) / 2
        left, top = max(0, round((x1 + x2) / 2 - half)), max(0, round((y1 + y2) / 2 - half))
        right = min(rgb.shape[1], round((x1 + x2) / 2 + half))
        bottom = min(rgb.shape[0], round((y1 + y2) / 2 + half))
        by = np.array([left, top], np.float32)
        moved = Face(face.box - np.tile(by, 2), (face.landmarks - by).astype(np.float32), face.confidence)
        return Scene(np.ascontiguousarray(rgb[top:bottom, left:right]), moved, self.number), (left, top)


def turning_traces(
    shots: Sequence[Shot],
    families: Mapping[str, Sequence[Family]],
    detector: Judge,
    *,
    seed: int = 0,
    analyse_hz: float | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Trace]:
    """Every shot, turning forged by a family of each name, as it was judged; left out where none of them can.

    Args:
        families: of each name, those of which the first that can is taken, in random order.
        analyse_hz: judge so many frames a second; all 30 by default.
        tell: hears which is made, and what is left out.
    """
    for number, shot in enumerate(shots):
        for place, (name, some) in enumerate(families.items()):
            tell(f"{name}, {number + 1} of {len(shots)}")
            pictures = forged_from(shot, some, shots, np.random.default_rng([seed, number, place]))
            if pictures is None:
                tell(f"{name}: {shot.item.group} does not allow it")
                continue
            yield judged(pictures, shot, name, detector, analyse_hz)


def gather(items: Sequence[Item], count: int, finder: FaceDetector) -> list[Shot]:
    """One shot of each person, of as many as asked for; clips that are too short or lose the face are passed over."""
    shots: dict[str, Shot] = {}
    for item in items:
        if item.kind == "video" and item.group not in shots and len(shots) < count:
            with contextlib.suppress(SourceError):
                if (shot := shot_of(item, len(shots), finder)) is not None:
                    shots[item.group] = shot
    return list(shots.values())


def shot_of(item: Item, number: int, finder: FaceDetector) -> Shot | None:
    pictures = at_30_hz(item.path)
    if len(pictures) < (REAL_S + FORGED_S) * FPS * 0.8:
        return None
    found = [largest(find_faces([Frame.from_rgb(rgb)], finder)[0]) for rgb in pictures]
    if sum(face is None for face in found) > 0.05 * len(found) or found[0] is None:
        return None
    faces: list[Face] = []
    for face in found:
        faces.append(faces[-1] if face is None else face)
    side = float(np.median([face_side(face) for face in faces]))
    if side < LEAST_FACE_PX:
        return None
    scale = min(1.0, 0.9 * LARGEST_FACE_PX / side, LARGEST_SIDE_PX / max(pictures[0].shape[:2]))
    return Shot(item, number, [reduced(rgb, scale) for rgb in pictures], [scaled(face, scale) for face in faces])


def at_30_hz(path: Path) -> list[np.ndarray]:
    """The clip from its start at 30 pictures a second: some are repeated or left out where it has another rate."""
    pictures: list[np.ndarray] = []
    for frame in read_frames(open_source(str(path))):
        rgb = frame.rgb((0, 0, frame.width // 2 * 2, frame.height // 2 * 2))
        while len(pictures) <= frame.pts_s * FPS + 1e-6 and len(pictures) < (REAL_S + FORGED_S) * FPS:
            pictures.append(rgb)
        if len(pictures) >= (REAL_S + FORGED_S) * FPS:
            break
    return pictures


def reduced(rgb: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return rgb
    to = tuple(round(side * scale) // 2 * 2 for side in rgb.shape[1::-1])
    return np.asarray(cv2.resize(rgb, to, interpolation=cv2.INTER_AREA), np.uint8)


def scaled(face: Face, scale: float) -> Face:
    return Face(face.box * np.float32(scale), (face.landmarks * scale).astype(np.float32), face.confidence)


def largest(faces: Sequence[Face]) -> Face | None:
    return max(faces, key=face_side, default=None)


def forged_from(
    shot: Shot, families: Sequence[Family], shots: Sequence[Shot], rng: np.random.Generator
) -> list[np.ndarray] | None:
    """The shot's pictures, forged from `REAL_S` on; None where no family can."""
    first = round(REAL_S * FPS)
    cut = [shot.scene(at) for at in range(first, len(shot.pictures))]
    siblings = [shot.scene(at)[0] for at in range(0, first, 10)]
    partners = [other.scene(at)[0] for other in shots if other is not shot for at in (10, 60)]
    for k in rng.permutation(len(families)):
        footages = [footage_of(scene, cut[0][0].face, partners, siblings) for scene, _ in cut]
        forged = forge_clip(footages, families[k], rng)
        if not any(one.mask.max() > 0 for one in forged):  # it takes parts of several people
            forged = forge_clip(footages, families[k], rng, has_one_partner=False)
        if np.mean([one.mask.max() > 0 for one in forged]) > 0.5:
            pictures = list(shot.pictures[:first])
            for (_, (left, top)), one, whole in zip(cut, forged, shot.pictures[first:], strict=True):
                pasted = whole.copy()
                pasted[top : top + one.fake.shape[0], left : left + one.fake.shape[1]] = one.fake
                pictures.append(pasted)
            return pictures
    return None


def footage_of(scene: Scene, like: Face, partners: Sequence[Scene], siblings: Sequence[Scene]) -> Footage:
    """A frame to forge, with people whose pose fits the face `like`: the same ones for the same draws in each frame."""

    def partner(rng: np.random.Generator) -> Scene | None:
        if not partners:
            return None
        drawn = rng.choice(len(partners), min(CANDIDATES, (len(partners) + 1) // 2), replace=False)
        fitting: Scene = min((partners[k] for k in drawn), key=lambda other: misfit(other.face, like))
        return fitting

    return Footage(scene, partner, lambda rng: siblings[int(rng.integers(len(siblings)))] if siblings else None)


def judged(pictures: Sequence[np.ndarray], shot: Shot, name: str, detector: Judge, analyse_hz: float | None) -> Trace:
    """The feed as it was judged after H.264 at 1 Mbit/s."""
    height, width = pictures[0].shape[:2]
    wire = Wire("libx264", BIT_RATE / 1000 / (height * width / (640 * 360)) ** 0.75, CALL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feed.mkv"
        write_clip(path, ((at / FPS, rgb) for at, rgb in enumerate(pictures)), wire)
        said = frames_judged(path, detector, analyse_hz)
        return trace_of(said, shot.item.group, shot.item.path.name, name, REAL_S)
