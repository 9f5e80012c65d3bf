"""Whether a face can be judged at all: size, sharpness, compression and light, measured on its native pixels.

The measures go to fusion as they are; against `QualityLimits` they also become a score and the reasons for an
"inconclusive". Plain NumPy: the crops lie on the host, and all measures together take a fraction of a millisecond.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Float32

from stream_detect.errors import ConfigError
from stream_detect.types import TILE_PX, FaceCrops, Reason

STEP = 1 / 255  # one gray level
GRID_PX = 8  # side of the blocks that JPEG and most of H.264 code in
USED_TILES = (0, 2, 5, 7, 8, 10, 13, 15)  # every second tile of the 4 x 4 grid inside the face, like a checkerboard
QUALITY_NAMES = (
    "log2_face_px",  # log2 of the geometric mean of the box's sides, in native pixels
    "sharpness",  # log2 of mean |second| over mean |first difference|: 0.8 white noise, -2 and below a blurred face
    "blockiness",  # log2 of mean |first difference| on the strongest of the 8 grid phases over the median one
    "flatness",  # share of second differences below half a gray level, in [0, 1]
    "exposure",  # mean luma in [0, 1]
    "contrast",  # standard deviation of luma, in [0, 0.5]
    "around_share",  # share of the surrounding tiles' area that lies outside the face, in [0, 1]
    "fine_share",  # log2 of the share of detail above half of Nyquist: -1 white noise, -7 a face enlarged x2
)
WINDOW = np.hanning(TILE_PX).astype(np.float32)
SHARPNESS_FLOOR, FINE_FLOOR = -3.0, -10.0  # of these two measures: a picture can lose no more


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """Where a judgement stops holding: beyond a limit the face is inconclusive, at `clear_…` nothing is lost."""

    min_face_px: float = 48.0  # below: small_face
    clear_face_px: float = 96.0
    min_sharpness: float = -2.0  # below: blurred
    clear_sharpness: float = -1.0
    max_flatness: float = 0.9  # above: over_compressed
    clear_flatness: float = 0.6
    max_blockiness: float = 2.0  # above: over_compressed
    clear_blockiness: float = 1.0

    def __post_init__(self) -> None:
        if not all(np.isfinite(getattr(self, field.name)) for field in fields(self)):
            raise ConfigError(f"quality limits must be finite numbers, got {self}")
        if not 0 < self.min_face_px < self.clear_face_px:
            raise ConfigError(f"expected 0 < min_face_px < clear_face_px, got {self.min_face_px}, {self.clear_face_px}")
        for less, more in (
            ("min_sharpness", "clear_sharpness"),
            ("clear_flatness", "max_flatness"),
            ("clear_blockiness", "max_blockiness"),
        ):
            if getattr(self, less) >= getattr(self, more):
                raise ConfigError(f"expected {less} < {more}, got {getattr(self, less)}, {getattr(self, more)}")


def measure_quality(crops: FaceCrops) -> Float32[np.ndarray, "faces measures"]:
    """The measures of `QUALITY_NAMES`, in their order, for each face; always finite."""
    luma = crops.tiles[:, USED_TILES]
    right, below = np.diff(luma, axis=-1), np.diff(luma, axis=-2)
    bend = np.abs(np.diff(right[..., ::2, :], axis=-1))
    bend_below = np.abs(below[..., 1::2, :] - below[..., :-1:2, :])
    columns, rows = np.abs(right).mean(axis=-2), np.abs(below).mean(axis=-1)  # (faces, tiles, 63)
    measures = [
        np.log2(np.maximum(crops.face_px, 1.0)),
        _sharpness(_mean(columns) + _mean(rows), _bent(bend) + _bent(bend_below)),
        (_blockiness(columns) + _blockiness(rows)) / 2,
        (bend < STEP / 2).mean(axis=(1, 2, 3)),
        luma.mean(axis=(1, 2, 3)),
        luma[..., ::2, ::2].std(axis=(1, 2, 3)),
        crops.around_share,
        _fine_share(luma),
    ]
    return np.asarray(np.stack(measures, axis=1), np.float32)


def quality_score(
    measures: Float32[np.ndarray, "faces measures"], limits: QualityLimits | None = None
) -> Float32[np.ndarray, " faces"]:
    """How well each face can be judged, in [0, 1]: its worst measure's share of the way from a limit to "clear".

    At most 0.5 where `quality_reasons` gives a reason, at least 0.5 where it gives none; 1 where all is clear.
    """
    shares = _margins(measures, limits or QualityLimits())
    return np.asarray(np.clip(0.5 + 0.5 * shares.min(axis=1), 0.0, 1.0), np.float32)


def quality_reasons(
    measures: Float32[np.ndarray, "faces measures"], limits: QualityLimits | None = None
) -> list[tuple[Reason, ...]]:
    """Why each face can't be judged: some of "small_face", "blurred", "over_compressed", or nothing."""
    reasons: tuple[Reason, ...] = ("small_face", "blurred", "over_compressed")
    margins = _margins(measures, limits or QualityLimits())
    return [tuple(reason for reason, margin in zip(reasons, row, strict=True) if margin < 0) for row in margins]


def _margins(measures: np.ndarray, limits: QualityLimits) -> Float[np.ndarray, "faces 3"]:
    """Size, sharpness and compression: 0 at the limit, 1 where nothing is lost, negative beyond the limit."""
    size, sharpness, blockiness, flatness = (measures[:, k].astype(np.float64) for k in range(4))
    least_size, clear_size = np.log2(limits.min_face_px), np.log2(limits.clear_face_px)
    grid = (limits.max_blockiness - blockiness) / (limits.max_blockiness - limits.clear_blockiness)
    flat = (limits.max_flatness - flatness) / (limits.max_flatness - limits.clear_flatness)
    margins = [
        (size - least_size) / (clear_size - least_size),
        (sharpness - limits.min_sharpness) / (limits.clear_sharpness - limits.min_sharpness),
        np.minimum(grid, flat),
    ]
    return np.stack(margins, axis=1)


def _mean(lines: np.ndarray) -> np.ndarray:
    mean: np.ndarray = lines.mean(axis=(1, 2))
    return mean


def _bent(bend: np.ndarray) -> np.ndarray:
    """Mean second difference, without those of one gray level: rounding leaves them on the smoothest slope."""
    mean: np.ndarray = (bend * (bend > 1.5 * STEP)).mean(axis=(1, 2, 3))
    return mean


def _sharpness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Falls with blur however strong, down to its floor: a slope that is nearly flat has no detail either."""
    floor = 0.1 * STEP
    ratio = (second + floor * 2**SHARPNESS_FLOOR) / (first + floor)
    sharpness: np.ndarray = np.maximum(np.log2(ratio), SHARPNESS_FLOOR)
    return sharpness


def _fine_share(luma: np.ndarray) -> np.ndarray:
    """Of every eighth line's power above an eighth of Nyquist, the share above a half; rounding's own is taken off."""
    lines = np.fft.rfft(luma[..., ::8, :] * WINDOW, axis=-1)
    power = (lines.real**2 + lines.imag**2).mean(axis=(1, 2))  # (faces, 33)
    rounding = STEP**2 / 12 * float((WINDOW**2).sum())  # in each bin, as for white noise
    detail, fine = power[:, 4:], power[:, 17:]
    left = np.maximum(fine.sum(axis=-1) - 2 * rounding * fine.shape[-1], 0)
    all_of_it = detail.sum(axis=-1) + rounding * detail.shape[-1]
    lost = rounding * detail.shape[-1] * 2**FINE_FLOOR
    share: np.ndarray = np.maximum(np.log2((left + lost) / all_of_it), FINE_FLOOR)
    return share


def _blockiness(lines: np.ndarray) -> np.ndarray:
    """How far the strongest of eight phases stands above the median one, wherever a tile's grid begins."""
    faces, tiles = lines.shape[:2]
    phases = lines[..., : GRID_PX * 7].reshape(faces, tiles, 7, GRID_PX).mean(axis=2) + 0.1 * STEP
    ordered = np.sort(phases, axis=-1)
    median = (ordered[..., GRID_PX // 2 - 1] + ordered[..., GRID_PX // 2]) / 2
    excess: np.ndarray = np.log2(ordered[..., -1] / median).mean(axis=1)
    return excess
