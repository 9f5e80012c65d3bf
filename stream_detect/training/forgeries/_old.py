"""Forgeries made from real faces, so that training needs no forged footage of anyone.

Two families: `self_blend` (a face blended into itself after a small change, after Shiohara & Yamasaki, "Detecting
Deepfakes with Self-Blended Images", CVPR 2022, https://arxiv.org/abs/2204.08376; written from the paper's idea) and
`swap` (one person's face warped onto another's landmarks, its colours transferred: what an identity swap does).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from stream_detect.types import Face

Rng = np.random.Generator
Picture = UInt8[np.ndarray, "height width 3"]
AnyPicture = UInt8[np.ndarray, "_ _ 3"]  # of another size
Mask = Float32[np.ndarray, "height width"]

# Where the five landmarks and the outline of a face lie on average, in units of the distance between the eyes,
# from the point between the eyes; y points down.
FIVE_POINTS = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.57], [-0.41, 1.15], [0.41, 1.15]], np.float32)
JAW = [
    (-1.06, 0.0),
    (-1.0, 0.58),
    (-0.85, 1.12),
    (-0.55, 1.55),
    (0.0, 1.75),
    (0.55, 1.55),
    (0.85, 1.12),
    (1.0, 0.58),
    (1.06, 0.0),
]
BROWS = [(1.0, -0.35), (0.55, -0.5), (0.0, -0.42), (-0.55, -0.5), (-1.0, -0.35)]
FOREHEAD = [(1.0, -0.55), (0.6, -1.0), (0.0, -1.15), (-0.6, -1.0), (-1.0, -0.55)]
INNER = [(-0.85, -0.25), (-0.8, 0.5), (-0.6, 1.3), (0.0, 1.5), (0.6, 1.3), (0.8, 0.5), (0.85, -0.25)]
OUTLINES = (JAW + BROWS, JAW + FOREHEAD, INNER)
BLEND_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Tint:
    """A change of colour and sharpness that is the same for every pixel."""

    rgb_shift: tuple[float, float, float]  # in 8-bit steps, each within ±20
    hue: float  # within ±0.03 turns
    saturation: float  # factor
    brightness: float  # offset in [0, 1] units, within ±0.1
    contrast: float  # factor, within 1 ± 0.1
    reduce: float  # the picture is scaled down by this factor and up again; 1 leaves it
    sharpen: float  # amount of unsharp masking; 0 leaves it

    @classmethod
    def draw(cls, rng: Rng) -> "Tint":
        is_soft = rng.random() < 0.5
        shift = rng.uniform(-20, 20, 3) if rng.random() < 0.3 else np.zeros(3)
        return cls(
            rgb_shift=(float(shift[0]), float(shift[1]), float(shift[2])),
            hue=float(rng.uniform(-0.03, 0.03)),
            saturation=float(rng.uniform(0.7, 1.3)),
            brightness=float(rng.uniform(-0.1, 0.1)),
            contrast=float(rng.uniform(0.9, 1.1)),
            reduce=float(rng.uniform(1.3, 4.0)) if is_soft else 1.0,
            sharpen=0.0 if is_soft else float(rng.uniform(0.2, 0.8)),
        )

    def __call__(self, rgb: Picture) -> Picture:
        hsv = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)  # hue in degrees
        hsv[..., 0] = (hsv[..., 0] + 360 * self.hue) % 360
        hsv[..., 1] = np.clip(hsv[..., 1] * self.saturation, 0, 1)
        tinted = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255 + np.array(self.rgb_shift, np.float32)
        tinted = (tinted - 128) * self.contrast + 128 + 255 * self.brightness
        return _sharpness(np.clip(tinted, 0, 255).astype(np.uint8), self.reduce, self.sharpen)


def _sharpness(rgb: Picture, reduce: float, sharpen: float) -> Picture:
    height, width = rgb.shape[:2]
    if reduce > 1:
        small = cv2.resize(
            rgb, (max(8, int(width / reduce)), max(8, int(height / reduce))), interpolation=cv2.INTER_AREA
        )
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if sharpen > 0:
        return cv2.addWeighted(rgb, 1 + sharpen, cv2.GaussianBlur(rgb, (0, 0), 1.0), -sharpen, 0)
    return rgb


def self_blend(rgb: Picture, face: Face, rng: Rng) -> Picture:
    """A forgery of one picture with its own face: mismatched colour, sharpness and place inside a blended mask."""
    mask = face_mask(rgb.shape[:2], face, rng)
    tint = Tint.draw(rng)
    source, target = (tint(rgb), rgb) if rng.random() < 0.5 else (rgb, tint(rgb))
    source, mask = _nudge(source, mask, face, rng)
    return _blend(source, target, _soften(mask, face, rng), rng.choice(BLEND_RATIOS))


def swap(target: Picture, face: Face, source: AnyPicture, source_face: Face, rng: Rng) -> Picture:
    """The source's face on the target: warped onto its landmarks, colours transferred, blended by a mask.

    The face may come at the low resolution of a live face swapper (64 to 256 pixels), then enlarged.
    """
    height, width = target.shape[:2]
    to_target = _affine(source_face.landmarks, face.landmarks)
    side = face_side(face)
    through = min(1.0, rng.uniform(64, 256) / max(side, 1.0))  # resolution of the swapped face against the frame's
    small = (max(8, int(width * through)), max(8, int(height * through)))
    scale = np.diag([small[0] / width, small[1] / height, 1.0])
    warp = (scale @ np.vstack([to_target, [0, 0, 1]]))[:2]
    warped = cv2.warpAffine(source, warp, small, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101)
    kernel = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]))
    warped = cv2.resize(warped, (width, height), interpolation=kernel)
    mask = face_mask(target.shape[:2], face, rng)
    if rng.random() < 0.85:
        warped = transfer_color(warped, target, mask)
    return _blend(warped, target, _soften(mask, face, rng), float(rng.choice([0.75, 1.0, 1.0, 1.0])))


def transfer_color(source: Picture, target: Picture, mask: Mask) -> Picture:
    """The source with the target's mean and spread of each Lab channel under the mask (Reinhard et al. 2001)."""
    labs = [cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32) for picture in (source, target)]
    where = mask > 0.5
    if where.sum() < 16:
        return source
    (mean_s, std_s), (mean_t, std_t) = ((lab[where].mean(0), lab[where].std(0) + 1) for lab in labs)
    moved = (labs[0] - mean_s) * (std_t / std_s) + mean_t
    return np.asarray(cv2.cvtColor(np.clip(moved, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB))


def face_mask(shape: tuple[int, ...], face: Face, rng: Rng) -> Mask:
    """1 inside a randomly jittered outline of the face, 0 outside."""
    outline = np.array(OUTLINES[rng.choice(len(OUTLINES), p=(0.45, 0.3, 0.25))], np.float32)
    outline = outline + rng.normal(0, 0.05, outline.shape).astype(np.float32)
    to_face = _affine(FIVE_POINTS, face.landmarks)
    points = cv2.convexHull(outline @ to_face[:, :2].T.astype(np.float32) + to_face[:, 2].astype(np.float32))
    mask = np.zeros(shape[:2], np.float32)
    cv2.fillConvexPoly(mask, np.round(points).astype(np.int32), 1.0)
    return mask


def misfit(source: Face, target: Face) -> float:
    """How badly the one face's landmarks fit the other's after the best similarity, in sides of the target's box."""
    ours, theirs = (np.asarray(face.landmarks, np.float64) @ np.array([1, 1j]) for face in (source, target))
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    turn = (theirs @ ours.conj()) / max(float((np.abs(ours) ** 2).sum()), 1e-9)
    return float(np.abs(theirs - turn * ours).mean()) / face_side(target)


def face_side(face: Face) -> float:
    """Geometric mean of the box's sides, in pixels."""
    x1, y1, x2, y2 = face.box
    return float(np.sqrt(max(1.0, (x2 - x1) * (y2 - y1))))


def _nudge(source: Picture, mask: Mask, face: Face, rng: Rng) -> tuple[Picture, Mask]:
    """Source and mask moved and scaled a little about the face's centre."""
    x1, y1, x2, y2 = (float(side) for side in face.box)
    scale = float(rng.uniform(0.95, 1 / 0.95))
    moved = cv2.getRotationMatrix2D(((x1 + x2) / 2, (y1 + y2) / 2), 0, scale)
    moved[:, 2] += np.array([rng.uniform(-0.03, 0.03) * (x2 - x1), rng.uniform(-0.015, 0.015) * (y2 - y1)])
    to = (source.shape[1], source.shape[0])
    return (
        cv2.warpAffine(source, moved, to, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
        cv2.warpAffine(mask, moved, to, flags=cv2.INTER_LINEAR),
    )


def _soften(mask: Mask, face: Face, rng: Rng) -> Mask:
    """The mask deformed elastically, blurred, eroded and blurred again; widths follow the size of the face."""
    unit = face_side(face) / 160  # the paper's pixels are those of a face of about this size
    mask = _elastic(mask, alpha=50 * unit, sigma=7 * unit, rng=rng)
    mask = cv2.GaussianBlur(mask, (0, 0), max(0.5, unit * rng.uniform(1, 5)))
    mask = np.where(mask >= 0.99 * max(float(mask.max()), 1e-6), mask, 0).astype(np.float32)
    mask = cv2.GaussianBlur(mask, (0, 0), max(0.5, unit * rng.uniform(1, 9)))
    softened: Mask = mask / max(float(mask.max()), 1e-6)
    return softened


def _elastic(mask: Mask, alpha: float, sigma: float, rng: Rng) -> Mask:
    height, width = mask.shape
    grid_x, grid_y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    shift_x, shift_y = (
        alpha * cv2.GaussianBlur(rng.uniform(-1, 1, mask.shape).astype(np.float32), (0, 0), max(0.8, sigma))
        for _ in range(2)
    )
    return cv2.remap(mask, grid_x + shift_x, grid_y + shift_y, cv2.INTER_LINEAR)


def _blend(source: Picture, target: Picture, mask: Mask, ratio: float) -> Picture:
    weight = (mask * ratio)[..., None]
    mixed = weight * source.astype(np.float32) + (1 - weight) * target.astype(np.float32)
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def _affine(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """The 2x3 affine map that takes `points` nearest to `to` (least squares)."""
    design = np.column_stack([points, np.ones(len(points))])
    solution, *_ = np.linalg.lstsq(design, np.asarray(to, np.float64), rcond=None)
    return np.asarray(solution.T)
