"""Where a face lies: fits of five landmarks, the part of a scene to work on, how alike two poses are."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from stream_detect.training.forgeries.family import AnyPicture, Forged, Picture
from stream_detect.training.scenes import Scene, moved
from stream_detect.types import Face

Matrix = Float[np.ndarray, "2 3"]  # an affine map of points (x, y)
Points = Float[np.ndarray, "points 2"]

# Where the five landmarks of a face lie on average, in units of the distance between the eyes, from the point between
# the eyes; y points down. "Canonical" below means these coordinates.
FIVE_POINTS = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.57], [-0.41, 1.15], [0.41, 1.15]], np.float32)
OTHER_SIDE = [1, 0, 2, 4, 3]  # the landmarks of a mirrored face
ROOM = 1.7  # side of the part of a scene that is worked on, in sides of its face


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """The part of a scene around its face, the only one that a forgery touches."""

    rgb: AnyPicture  # a view of the scene's picture
    face: Face  # in the patch's pixels
    left: int  # of the patch in the scene
    top: int


def cut_patch(scene: Scene, room: float = ROOM) -> Patch:
    """The square of `room` face sides around a face, as far as the scene goes; never empty."""
    x1, y1, x2, y2 = (float(side) for side in scene.face.box)
    half, (height, width) = room * face_side(scene.face) / 2, scene.rgb.shape[:2]
    left = min(max(0, round((x1 + x2) / 2 - half)), width - 1)
    top = min(max(0, round((y1 + y2) / 2 - half)), height - 1)
    right, bottom = max(left + 1, round((x1 + x2) / 2 + half)), max(top + 1, round((y1 + y2) / 2 + half))
    return Patch(scene.rgb[top:bottom, left:right], moved(scene.face, (-left, -top)), left, top)


def paste(real: Picture, patch: Patch, fake: AnyPicture, mask: np.ndarray) -> Forged:
    """A picture with `fake` (of the patch's size) in the patch's place; the mask is 0 where that changes nothing."""
    whole, weights = real.copy(), np.zeros(real.shape[:2], np.float32)
    height, width = fake.shape[:2]
    inside = (slice(patch.top, patch.top + height), slice(patch.left, patch.left + width))
    whole[inside] = fake
    weights[inside] = np.where(near_changes(real[inside], fake), np.clip(mask, 0, 1), 0)
    return Forged(real, whole, weights)


def near_changes(real: Picture, fake: Picture) -> np.ndarray:
    """(height, width) bool: pixels that differ or have a neighbour that does, so that chance equals leave no holes."""
    changes = cv2.absdiff(real, fake).max(axis=2)
    return np.asarray(cv2.dilate(changes, np.ones((3, 3), np.uint8)) > 0)


def fit_affine(points: np.ndarray, to: np.ndarray) -> Matrix:
    """The affine map that takes `points` nearest to `to` (least squares)."""
    design = np.column_stack([points, np.ones(len(points))]).astype(np.float64)
    solution, *_ = np.linalg.lstsq(design, np.asarray(to, np.float64), rcond=None)
    return np.asarray(solution.T)


def fit_similarity(points: np.ndarray, to: np.ndarray) -> Matrix:
    """The rotation, scaling and shift that take `points` nearest to `to` (least squares)."""
    ours, theirs = (np.asarray(p, np.float64) @ np.array([1, 1j]) for p in (points, to))
    near, far = ours - ours.mean(), theirs - theirs.mean()
    turn = (near.conj() @ far) / max(float((np.abs(near) ** 2).sum()), 1e-9)
    shift = theirs.mean() - turn * ours.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def apply(matrix: Matrix, points: np.ndarray) -> Points:
    """Points mapped by an affine matrix."""
    return np.asarray(np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2])


def invert(matrix: Matrix) -> Matrix:
    """The affine map back; of a map that flattens everything, the identity."""
    if abs(np.linalg.det(matrix[:, :2])) < 1e-9:
        return np.eye(2, 3)
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


def face_side(face: Face) -> float:
    """Geometric mean of the box's sides, in pixels."""
    x1, y1, x2, y2 = face.box
    return float(np.sqrt(max(1.0, (x2 - x1) * (y2 - y1))))


def eye_distance(face: Face) -> float:
    """The unit of canonical coordinates in pixels: the scale of the similarity from canonical points to landmarks."""
    turn = fit_similarity(FIVE_POINTS, face.landmarks)[:, 0]
    return max(float(np.hypot(turn[0], turn[1])), 1e-3)


def misfit(source: Face, target: Face) -> float:
    """How badly the one face's landmarks fit the other's after the best similarity, in sides of the target's box."""
    fitted = apply(fit_similarity(source.landmarks, target.landmarks), source.landmarks)
    return float(np.hypot(*(fitted - target.landmarks).T).mean()) / face_side(target)


def mirrored(scene: Scene) -> Scene:
    """A scene seen in a mirror."""
    face, width = scene.face, scene.rgb.shape[1]
    x1, y1, x2, y2 = face.box
    landmarks = (face.landmarks * [-1, 1] + [width - 1, 0])[OTHER_SIDE].astype(np.float32)
    box = np.array([width - x2, y1, width - x1, y2], np.float32)
    flipped = Face(box, landmarks, face.confidence, face.track)
    return Scene(np.ascontiguousarray(scene.rgb[:, ::-1]), flipped, scene.item)
