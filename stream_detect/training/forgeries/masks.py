"""Outlines of a face and of its parts from five landmarks, softened as blends soften them: masks in [0, 1]."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stream_detect.training.forgeries.family import Mask, Rng
from stream_detect.training.forgeries.geometry import FIVE_POINTS, Matrix, apply, face_side, fit_affine, invert
from stream_detect.types import Face

DRAWN_SIDE_PX = 96  # masks are drawn for a face of at most this side, then enlarged: they are smooth anyway
PAPER_SIDE_PX = 160.0  # side of a face in the pixels of the self-blending paper's widths
CORNERS = [0, 1, 3, 4]  # the landmarks that lie in one plane: eyes and corners of the mouth
NOSE = 2
MIDDLE = np.array([0.0, 0.45])  # of a face, in canonical units
ELASTIC_NODES = 12  # of the field of random shifts, a side

# Outlines in canonical units: distances between the eyes, from the point between the eyes, y down.
_HALF_JAW = [(-1.06, 0.0), (-1.0, 0.58), (-0.85, 1.12), (-0.55, 1.55), (0.0, 1.75)]
JAW = _HALF_JAW + [(-x, y) for x, y in reversed(_HALF_JAW[:-1])]
BROWS = [(1.0, -0.35), (0.55, -0.5), (0.0, -0.42), (-0.55, -0.5), (-1.0, -0.35)]
FOREHEAD = [(1.0, -0.55), (0.6, -1.0), (0.0, -1.15), (-0.6, -1.0), (-1.0, -0.55)]
INNER = [(-0.85, -0.25), (-0.8, 0.5), (-0.6, 1.3), (0.0, 1.5), (0.6, 1.3), (0.8, 0.5), (0.85, -0.25)]
BOX = [(-1.1, -0.75), (1.1, -0.75), (1.1, 1.65), (-1.1, 1.65)]


def _ellipse(x: float, y: float, half_width: float, half_height: float) -> list[tuple[float, float]]:
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return [(float(x + half_width * np.cos(t)), float(y + half_height * np.sin(t))) for t in turns]


@dataclass(frozen=True, slots=True)
class Outline:
    """A shape in canonical units; `jitter` is the standard deviation of each corner's random shift."""

    corners: Sequence[tuple[float, float]]
    jitter: float = 0.05


HULL = Outline(JAW + BROWS)
WITH_FOREHEAD = Outline(JAW + FOREHEAD)
INNER_FACE = Outline(INNER)
FACE_BOX = Outline(BOX, 0.0)
FACE_ELLIPSE = Outline(_ellipse(0, 0.45, 0.95, 1.35), 0.02)
FACE_OUTLINES = (HULL, WITH_FOREHEAD, INNER_FACE, FACE_BOX, FACE_ELLIPSE)
FACE_SHARES = (0.36, 0.2, 0.2, 0.1, 0.14)
MOUTH = Outline(_ellipse(0, 1.17, 0.72, 0.42), 0.03)
LOWER_FACE = Outline([(-0.9, 0.6), (-0.2, 0.45), (0.2, 0.45), (0.9, 0.6), *reversed(JAW[2:-2])])
LOWER_BOX = Outline([(-0.95, 0.55), (0.95, 0.55), (0.95, 1.75), (-0.95, 1.75)], 0.0)
EYES_AND_BROWS = Outline([(-1.0, -0.45), (1.0, -0.45), (0.95, 0.3), (0.2, 0.2), (-0.2, 0.2), (-0.95, 0.3)])
EYE_BAND = Outline(_ellipse(0, -0.02, 1.0, 0.38), 0.03)
LEFT_EYE = Outline(_ellipse(-0.5, 0, 0.4, 0.27), 0.02)
RIGHT_EYE = Outline(_ellipse(0.5, 0, 0.4, 0.27), 0.02)


def face_mask(shape: tuple[int, ...], face: Face, rng: Rng, grow: float = 1.0) -> Mask:
    """A soft mask of a randomly drawn outline of the whole face."""
    outline = FACE_OUTLINES[rng.choice(len(FACE_OUTLINES), p=FACE_SHARES)]
    return soft_mask(shape, face, [outline], rng, grow=grow)


def soft_mask(
    shape: tuple[int, ...], face: Face, outlines: Sequence[Outline], rng: Rng, softness: float = 1.0, grow: float = 1.0
) -> Mask:
    """Outlines filled, deformed elastically, blurred, eroded and blurred again (self-blending, Shiohara & Yamasaki).

    `softness` scales the widths of the blurs, `grow` the outlines about the middle of the face.
    """
    scale = min(1.0, DRAWN_SIDE_PX / face_side(face))
    small = (max(8, round(shape[0] * scale)), max(8, round(shape[1] * scale)))
    unit = face_side(face) * scale / PAPER_SIDE_PX
    mask = _filled(small, face, outlines, rng, scale, grow)
    mask = _elastic(mask, 4.0 * unit, rng)
    near, far = (max(0.4, unit * softness * rng.uniform(1, widest)) for widest in (5, 9))
    mask = cv2.GaussianBlur(mask, (0, 0), near)
    mask = np.where(mask >= 0.99 * max(float(mask.max()), 1e-6), mask, 0).astype(np.float32)
    mask = cv2.GaussianBlur(mask, (0, 0), far)
    mask = cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    softened: Mask = np.asarray(mask, np.float32) / np.float32(max(float(mask.max()), 1e-6))
    return np.where(softened > 1 / 512, softened, 0).astype(np.float32)


def hard_mask(shape: tuple[int, ...], face: Face, outlines: Sequence[Outline], rng: Rng, feather_px: float = 0) -> Mask:
    """Outlines filled at full resolution, their borders at most feathered by `feather_px`."""
    mask = _filled((shape[0], shape[1]), face, outlines, rng, 1.0, 1.0)
    return cv2.GaussianBlur(mask, (0, 0), feather_px) if feather_px > 0.3 else mask


def soft_box(shape: tuple[int, ...], border: float) -> Mask:
    """1 in the middle, fading to 0 at the sides over `border` of each side."""
    ramps = [
        np.clip(np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / max(border * n, 0.5), 0, 1) for n in shape[:2]
    ]
    smooth = [ramp * ramp * (3 - 2 * ramp) for ramp in ramps]
    return np.outer(smooth[0], smooth[1]).astype(np.float32)


def _filled(
    shape: tuple[int, int], face: Face, outlines: Sequence[Outline], rng: Rng, scale: float, grow: float
) -> Mask:
    to_face = fit_affine(FIVE_POINTS[CORNERS], face.landmarks[CORNERS])
    turn = _turn(face, to_face)
    mask = np.zeros(shape, np.float32)
    for outline in outlines:
        corners = np.array(outline.corners, np.float64)
        corners = (corners - MIDDLE) * grow + MIDDLE + rng.normal(0, outline.jitter + 1e-9, corners.shape)
        corners[:, 0] *= 1 - turn * np.sign(corners[:, 0])
        points = apply(to_face, corners) * scale
        cv2.fillConvexPoly(mask, np.round(cv2.convexHull(points.astype(np.float32))).astype(np.int32), 1.0)
    return mask


def _turn(face: Face, to_face: Matrix) -> float:
    """By which share the side of the face that the nose points to is narrower than a frontal one's, the other wider."""
    nose = float(apply(invert(to_face), face.landmarks[NOSE : NOSE + 1])[0, 0])
    return float(np.clip(0.8 * nose, -0.45, 0.45))


def _elastic(mask: Mask, reach_px: float, rng: Rng) -> Mask:
    """The mask with its points shifted by a smooth random field of about `reach_px`."""
    height, width = mask.shape
    field = rng.normal(0, reach_px, (ELASTIC_NODES, ELASTIC_NODES, 2)).astype(np.float32)
    smooth = np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC))
    across, down = smooth[..., 0] + np.arange(width), smooth[..., 1] + np.arange(height)[:, None]
    return np.asarray(cv2.remap(mask, across.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR))
