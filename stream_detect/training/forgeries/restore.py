"""Face restoration after a forgery: the face reduced, enlarged with made-up detail, pasted back by a soft box.

What Wang et al. (GFPGAN, CVPR 2021, https://arxiv.org/abs/2101.04061) and Zhou et al. (CodeFormer, NeurIPS 2022) leave
in a picture, without their networks: detail of one band of frequencies, smooth skin, a soft rectangle as border. Calls
filter real faces alike, so a share of the restorations is of the whole picture, of the real partner as of the fake; and
the channel restores both classes too.
"""

from typing import Literal

import cv2
import numpy as np

from stream_detect.training.forgeries.colors import blend
from stream_detect.training.forgeries.family import AnyPicture, Forged, Rng
from stream_detect.training.forgeries.geometry import near_changes
from stream_detect.training.forgeries.masks import soft_box

FAINT = np.float32(1 / 255)  # the mask where the trace of a forgery was blurred into its surroundings
WHOLE_SHARE = 0.15  # of the restorations: those of the whole picture, of real and fake alike
Way = Literal["unsharp", "bilateral", "guided", "bands"]
WAYS: tuple[Way, ...] = ("unsharp", "bilateral", "guided", "bands")


def restored(forged: Forged, rng: Rng) -> Forged:
    """The forgery after restoration of a box around what is forged; the mask grows by what that changed.

    One in seven times the whole picture is restored, and the real partner with it: then the mask only spreads as far
    as that blurs.
    """
    way, scale, amount = WAYS[rng.integers(len(WAYS))], float(rng.uniform(1.5, 4.0)), float(rng.uniform(0.3, 1.2))
    ratio = np.float32(rng.uniform(0.5, 1.0))
    top, bottom, left, right = _box(forged.mask, rng)
    if rng.random() < WHOLE_SHARE:
        real, fake = (_restore(picture, way, scale, amount) for picture in (forged.real, forged.fake))
        spread = np.maximum(cv2.GaussianBlur(forged.mask, (0, 0), scale), FAINT)
        return Forged(real, fake, np.where(near_changes(real, fake), spread, 0).astype(np.float32))
    inside = (slice(top, bottom), slice(left, right))
    before = forged.fake[inside]
    weight = ratio * soft_box(before.shape, border=float(rng.uniform(0.05, 0.2)))
    fake, mask = forged.fake.copy(), forged.mask.copy()
    fake[inside] = blend(_restore(before, way, scale, amount), before, weight)
    mask[inside] = np.maximum(mask[inside], weight)
    return Forged(forged.real, fake, np.where(near_changes(forged.real, fake), mask, 0).astype(np.float32))


def _box(mask: np.ndarray, rng: Rng) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of a box about what is forged, a little larger; of everything where nothing is."""
    height, width = mask.shape
    more = float(rng.uniform(0.1, 0.3))
    rows, columns = np.flatnonzero(mask.max(1) > 0.05), np.flatnonzero(mask.max(0) > 0.05)
    if not len(rows) or not len(columns):
        return 0, height, 0, width
    down, across = more * (rows[-1] - rows[0] + 1), more * (columns[-1] - columns[0] + 1)
    top, left = max(0, int(rows[0] - down)), max(0, int(columns[0] - across))
    return top, min(height, int(rows[-1] + down) + 1), left, min(width, int(columns[-1] + across) + 1)


def _restore(rgb: AnyPicture, way: Way, scale: float, amount: float) -> AnyPicture:
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (max(8, round(width / scale)), max(8, round(height / scale))), interpolation=cv2.INTER_AREA)
    if way == "bilateral":
        small = cv2.bilateralFilter(small, 5, 30, 3)
    elif way == "guided":
        small = _guided(small, radius=2, flatness=60.0)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    detail = cv2.GaussianBlur(large, (0, 0), 0.6 * scale)
    restored = cv2.addWeighted(large, 1 + amount, detail, -amount, 0)
    if way == "bands":
        wide = cv2.GaussianBlur(large, (0, 0), 1.8 * scale)
        restored = cv2.addWeighted(restored, 1.0, cv2.subtract(detail, wide), 0.5 * amount, 0)
    return np.asarray(restored)


def _guided(rgb: AnyPicture, radius: int, flatness: float) -> AnyPicture:
    """Flat parts smoothed, edges kept: the guided filter with the picture as its own guide (He et al., ECCV 2010)."""
    picture, side = rgb.astype(np.float32), (2 * radius + 1, 2 * radius + 1)
    mean = cv2.blur(picture, side)
    spread = np.maximum(cv2.blur(picture * picture, side) - mean * mean, 0)
    gain = spread / (spread + flatness)
    smoothed = cv2.blur(gain, side) * picture + cv2.blur((1 - gain) * mean, side)
    return np.asarray(np.clip(smoothed + 0.5, 0, 255), np.uint8)
