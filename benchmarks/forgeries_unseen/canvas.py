"""What the unseen forgeries share: an upright canvas around a face, warps between faces, colours, pasting back."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from stream_detect.training.forgeries.family import Footage, Forged, Rng
from stream_detect.training.scenes import Scene
from stream_detect.types import Face

Picture = UInt8[np.ndarray, "_ _ 3"]
Colors = Float32[np.ndarray, "_ _ 3"]  # in [0, 1]
Weights = Float32[np.ndarray, "_ _"]
Points = Float[np.ndarray, "points 2"]

# Where eyes, nose and mouth corners come to lie on a canvas, in its sides: less than a quarter of it between the eyes.
PLACES = np.array([[0.34, 0.40], [0.66, 0.40], [0.50, 0.57], [0.37, 0.73], [0.63, 0.73]])
EYES_APART = 0.32  # of the canvas
SMALLEST_PX, LARGEST_PX = 64, 136  # sides of canvases: the face's own resolution as long as time allows
SKIN_CENTER, SKIN_RADII = (0.5, 0.55), (0.24, 0.26)  # of the ellipse on a canvas whose colours are compared
FACE_POWER = 2.4  # of the superellipse in a face's box that is replaced
LARGEST_STRETCH = 1.3  # of colours, when they are transferred
LEAST_SHARE = np.float32(1 / 255)  # of a pixel that differs from the real partner's at all
TRIES = 3  # partners asked for, for each that is wanted


@dataclass(frozen=True, slots=True)
class Canvas:
    """A square upright picture of a face, and the way to it from the scene."""

    matrix: Float[np.ndarray, "2 3"]  # scene pixels to canvas pixels
    side_px: int

    @classmethod
    def of(cls, face: Face) -> "Canvas":
        """The canvas of about the face's own resolution."""
        apart = 1 / max(abs(similarity(face.landmarks, PLACES)), 1e-6)  # scene pixels a canvas side
        side = int(np.clip(round(apart), SMALLEST_PX, LARGEST_PX)) & ~7
        return cls(fitted(face.landmarks, PLACES * side), side)

    def of_other(self, face: Face) -> "Canvas":
        """A canvas of the same size for somebody else's face."""
        return Canvas(fitted(face.landmarks, PLACES * self.side_px), self.side_px)

    def cut(self, rgb: Picture) -> Colors:
        """The scene's face on the canvas; smoothed first where it is reduced."""
        reduction = 1 / np.sqrt(abs(np.linalg.det(self.matrix[:, :2])))
        smooth = cv2.GaussianBlur(rgb, (0, 0), 0.45 * reduction) if reduction > 1.3 else rgb
        size = (self.side_px, self.side_px)
        cut = cv2.warpAffine(smooth, self.matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(cut, np.float32) / 255

    def paste(self, scene: Scene, made: Colors, mask: Weights) -> Forged:
        """The scene with what was made on the canvas in its place, weighted by a mask of the scene."""
        size = scene.rgb.shape[1::-1]
        back = cv2.warpAffine(
            made, self.matrix, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
        return blended(scene, 255 * np.asarray(back, np.float32), mask)


def blended(scene: Scene, made: Float32[np.ndarray, "_ _ 3"], weight: Weights) -> Forged:
    """`made` (0 to 255, of the scene's size) over the scene."""
    return replaced(scene, scene.rgb + weight[..., None] * (np.clip(made, 0, 255) - scene.rgb), weight)


def replaced(scene: Scene, made: Float32[np.ndarray, "_ _ 3"], weight: Weights) -> Forged:
    """`made` in the scene's place; `weight` is how much of each of its pixels is foreign."""
    fake = np.clip(made + 0.5, 0, 255).astype(np.uint8)
    changed = (fake != scene.rgb).any(axis=2)
    return Forged(scene.rgb, fake, np.where(changed, np.maximum(weight, LEAST_SHARE), 0).astype(np.float32))


def skin_mask(side_px: int) -> Weights:
    """1 inside an ellipse on a canvas that holds little but skin, eyes and mouth, 0 outside."""
    at = (np.arange(side_px) + 0.5) / side_px
    x, y = ((at - center) / radius for center, radius in zip(SKIN_CENTER, SKIN_RADII, strict=True))
    return np.asarray(x[None, :] ** 2 + y[:, None] ** 2 < 1, np.float32)


def skin_in_scene(scene: Scene) -> Weights:
    """The same ellipse in the scene."""
    canvas, size = Canvas.of(scene.face), scene.rgb.shape[1::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(skin_mask(canvas.side_px), canvas.matrix, size, flags=flags), np.float32)


def face_mask(scene: Scene, soft: float = 0.06, grow: float = 0.96) -> Weights:
    """A superellipse in the face's box: 1 inside, falling to 0 over `soft` of its smaller side, 0 beyond the box."""
    height, width = scene.rgb.shape[:2]
    x1, y1, x2, y2 = (float(side) for side in scene.face.box)
    half = np.maximum([(x2 - x1) / 2, (y2 - y1) / 2], 1) * grow
    x = np.abs(np.arange(width) + 0.5 - (x1 + x2) / 2) / half[0]
    y = np.abs(np.arange(height) + 0.5 - (y1 + y2) / 2) / half[1]
    distance = (x[None, :] ** FACE_POWER + y[:, None] ** FACE_POWER) ** (1 / FACE_POWER)
    return np.asarray(np.clip((1 - distance) / (2 * soft), 0, 1), np.float32)


def partner(footage: Footage, rng: Rng) -> Scene | None:
    """Of a few partners the one whose pose fits best."""
    found = [scene for scene in (footage.find_partner(rng) for _ in range(TRIES)) if scene is not None]
    return min(found, key=lambda scene: pose_gap(scene.face, footage.scene.face), default=None)


def pose_gap(source: Face, target: Face) -> float:
    """How far the landmarks of the one lie from those of the other after the best similarity, in canvas sides."""
    matrix = fitted(source.landmarks, target.landmarks)
    moved = source.landmarks @ matrix[:, :2].T + matrix[:, 2]
    apart = abs(similarity(target.landmarks, PLACES))
    return float(np.linalg.norm(moved - target.landmarks, axis=1).mean() * apart)


def others(footage: Footage, count: int, rng: Rng) -> list[Scene]:
    """Up to `count` scenes of other people, no file twice."""
    found: dict[int, Scene] = {}
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        if (scene := footage.find_partner(rng)) is not None:
            found.setdefault(scene.item, scene)
    return list(found.values())


def similarity(points: Points, to: Points) -> complex:
    """The turn and scale that take `points` nearest to `to`, as a complex number (Umeyama, PAMI 1991)."""
    ours, theirs = (np.asarray(p, np.float64) @ np.array([1, 1j]) for p in (points, to))
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    return complex((ours.conj() @ theirs) / max(float((np.abs(ours) ** 2).sum()), 1e-9))


def fitted(points: Points, to: Points) -> Float[np.ndarray, "2 3"]:
    """The similarity itself, 2x3."""
    turn = similarity(points, to)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    shift = np.mean(to, axis=0) - linear @ np.mean(points, axis=0)
    return np.column_stack([linear, shift])


def recolored(source: Colors, target: Colors, mask: Weights) -> Colors:
    """The source with the target's mean and covariance of colour under the mask: the linear Monge-Kantorovich map.

    Pitie & Kokaram, "The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer", 2007.
    """
    where = mask > 0.5
    if where.sum() < 16:
        return source
    (mean_s, cov_s), (mean_t, cov_t) = (
        (p[where].mean(axis=0), np.cov(p[where].T) + 1e-5 * np.eye(3)) for p in (source, target)
    )
    root = matrix_power(cov_s, 0.5)
    back = matrix_power(cov_s, -0.5)
    change = back @ matrix_power(root @ cov_t @ root, 0.5) @ back
    change *= min(1.0, LARGEST_STRETCH / float(np.linalg.norm(change, 2)))
    return np.asarray(np.clip((source - mean_s) @ change.T + mean_t, 0, 1), np.float32)


def on_target(other: Colors, target: Colors, sigma_px: float) -> Colors:
    """The other's detail on the target's coarse picture."""
    detail = other - cv2.GaussianBlur(other, (0, 0), sigma_px)
    return np.asarray(np.clip(cv2.GaussianBlur(target, (0, 0), sigma_px) + detail, 0, 1), np.float32)


def matrix_power(matrix: Float[np.ndarray, "3 3"], power: float) -> Float[np.ndarray, "3 3"]:
    """A power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 1e-9) ** power) @ vectors.T)


def spline_map(
    points: Points, to: Points, height: int, width: int
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """For every pixel of a picture where `points` are known, where to look in one where they are at `to`.

    A polyharmonic spline of first order (kernel r), taken on a grid of every eighth pixel.
    """
    scale = float(max(height, width))
    knots = np.asarray(points, np.float64) / scale
    design = np.column_stack([np.ones(len(knots)), knots])
    kernel = np.linalg.norm(knots[:, None] - knots[None], axis=2)
    system = np.block([[kernel, design], [design.T, np.zeros((3, 3))]])
    solved = np.linalg.lstsq(system, np.vstack([to, np.zeros((3, 2))]), rcond=None)[0]
    rows, columns = (side // 8 + 2 for side in (height, width))
    y, x = np.meshgrid(np.linspace(0, height - 1, rows), np.linspace(0, width - 1, columns), indexing="ij")
    at = np.column_stack([x.ravel(), y.ravel()]) / scale
    distance = np.linalg.norm(at[:, None] - knots[None], axis=2)
    found = np.column_stack([distance, np.ones(len(at)), at]) @ solved
    coarse = found.reshape(rows, columns, 2).astype(np.float32)
    return resample_grid(coarse[..., 0], height, width), resample_grid(coarse[..., 1], height, width)


def resample_grid(coarse: Float32[np.ndarray, "rows columns"], height: int, width: int) -> Float32[np.ndarray, "h w"]:
    """A grid whose corners are the corner pixels of a picture, at every pixel."""
    y, x = (
        np.linspace(0, n - 1, side, dtype=np.float32) for n, side in zip(coarse.shape, (height, width), strict=True)
    )
    columns, rows = np.meshgrid(x, y)
    return np.asarray(cv2.remap(coarse, columns, rows, cv2.INTER_LINEAR))


def anchored(face: Face) -> Points:
    """The landmarks, then eight points on the border of the face's box, grown a little."""
    x1, y1, x2, y2 = (float(side) for side in face.box)
    x, y = [x1, (x1 + x2) / 2, x2], [y1, (y1 + y2) / 2, y2]
    border = [(x[i], y[j]) for j in range(3) for i in range(3) if (i, j) != (1, 1)]
    middle = np.array([x[1], y[1]])
    return np.vstack([face.landmarks, middle + 1.08 * (np.array(border) - middle)]).astype(np.float64)


def seen_as(source: Scene, points: Points, to: Points, height: int, width: int) -> Colors:
    """The source's picture drawn so that its `points` come to lie at `to`; smoothed first where it is reduced."""
    rgb, reduction = source.rgb, 1 / max(abs(similarity(points, to)), 1e-6)
    if reduction > 1.3:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.45 * reduction), np.uint8)
    x, y = spline_map(to, points, height, width)
    drawn = cv2.remap(rgb, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(drawn, np.float32) / 255
