"""Colours: changes that are the same for every pixel, and colours carried over from one face to another."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from stream_detect.training.forgeries.family import Mask, Picture, Rng

Transfer = Literal["mean", "spread", "histogram", "seamless"]
TRANSFERS: tuple[Transfer, ...] = ("mean", "spread", "histogram", "seamless")
TRANSFER_SHARES = (0.15, 0.45, 0.2, 0.2)
LEAST_PIXELS = 16  # under the mask, for statistics
SEAMLESS_PX = 24  # side of the picture in which low frequencies are compared
LARGEST_FIELD = 45.0  # added to a channel by that, in 8-bit steps
GRAY = np.array([0.299, 0.587, 0.114])


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
        """Colours and sharpness as far off as the self-blending paper has them."""
        is_soft = rng.random() < 0.5
        is_subtle = rng.random() < 0.4  # of hardly another colour: as after a good colour transfer
        strength = 0.25 if is_subtle else 1.0
        shift = strength * rng.uniform(-20, 20, 3) * (rng.random() < 0.3)
        return cls(
            rgb_shift=(float(shift[0]), float(shift[1]), float(shift[2])),
            hue=float(strength * rng.uniform(-0.03, 0.03)),
            saturation=float(1 + strength * rng.uniform(-0.3, 0.3)),
            brightness=float(strength * rng.uniform(-0.1, 0.1)),
            contrast=float(1 + strength * rng.uniform(-0.1, 0.1)),
            reduce=float(rng.uniform(1.3, 4.0)) if is_soft else 1.0,
            sharpen=0.0 if is_soft else float(rng.uniform(0.2, 0.8)),
        )

    @property
    def matrix(self) -> np.ndarray:
        """(3, 4): the change of colour as one affine map of RGB in 8-bit steps."""
        turn = 2 * np.pi * self.hue
        axis = np.full(3, 1 / np.sqrt(3))
        cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        hue = np.cos(turn) * np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * np.outer(axis, axis)
        saturation = self.saturation * np.eye(3) + (1 - self.saturation) * np.outer(np.ones(3), GRAY)
        offset = self.contrast * (np.array(self.rgb_shift) - 128) + 128 + 255 * self.brightness
        return np.column_stack([self.contrast * saturation @ hue, offset])

    def __call__(self, rgb: Picture) -> Picture:
        """The picture changed; its size stays."""
        tinted = np.asarray(cv2.transform(rgb, self.matrix.astype(np.float32)), np.uint8)
        return change_sharpness(tinted, self.reduce, self.sharpen)


def change_sharpness(rgb: Picture, reduce: float = 1.0, sharpen: float = 0.0) -> Picture:
    """The picture scaled down by `reduce` and up again, or sharpened by `sharpen`, or as it is."""
    height, width = rgb.shape[:2]
    if reduce > 1:
        to = (max(8, int(width / reduce)), max(8, int(height / reduce)))
        small = cv2.resize(rgb, to, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    if sharpen > 0:
        return np.asarray(cv2.addWeighted(rgb, 1 + sharpen, cv2.GaussianBlur(rgb, (0, 0), 1.0), -sharpen, 0))
    return rgb


def draw_transfer(rng: Rng) -> Transfer:
    """One of the ways to carry colours over."""
    return TRANSFERS[rng.choice(len(TRANSFERS), p=TRANSFER_SHARES)]


def transfer_color(source: Picture, target: Picture, mask: Mask, way: Transfer = "spread") -> Picture:
    """The source in the target's colours under the mask; as it is if the mask covers hardly anything.

    `mean` and `spread` move the mean (and the spread) of each Lab channel (Reinhard et al., CG&A 2001), `histogram`
    moves every quantile of each RGB channel, `seamless` takes over the target's low frequencies at the mask's border
    (what Poisson blending does to colours; Pérez et al., SIGGRAPH 2003).
    """
    where = mask > 0.5
    if np.count_nonzero(where) < LEAST_PIXELS:
        return source
    if way == "seamless":
        return _seamless(source, target, mask)
    if way == "histogram":
        return _matched(source, target, where)
    return _moved(source, target, where, keep_spread=way == "mean")


def _moved(source: Picture, target: Picture, where: np.ndarray, keep_spread: bool) -> Picture:
    labs = [cv2.cvtColor(picture, cv2.COLOR_RGB2LAB) for picture in (source, target)]
    stats = [cv2.meanStdDev(lab, mask=where.astype(np.uint8)) for lab in labs]
    (mean_s, std_s), (mean_t, std_t) = ((mean.ravel(), std.ravel() + 1) for mean, std in stats)
    gain = np.ones(3) if keep_spread else np.clip(std_t / std_s, 0.5, 2.0)
    moved = cv2.transform(labs[0], np.column_stack([np.diag(gain), mean_t - gain * mean_s]).astype(np.float32))
    return np.asarray(cv2.cvtColor(moved, cv2.COLOR_LAB2RGB))


def _matched(source: Picture, target: Picture, where: np.ndarray) -> Picture:
    shares = np.linspace(0.01, 0.99, 15)
    levels = np.arange(256)
    tables = np.empty((256, 3), np.uint8)
    for k in range(3):
        ours, theirs = (np.quantile(picture[..., k][where][::3], shares) for picture in (source, target))
        tables[:, k] = np.clip(np.interp(levels, ours + 1e-3 * np.arange(15), theirs), 0, 255)
    return np.asarray(cv2.LUT(source, tables[None]))


def _seamless(source: Picture, target: Picture, mask: Mask) -> Picture:
    """The difference of both pictures at the border, spread smoothly over the inside, added to the source."""
    to = (SEAMLESS_PX, SEAMLESS_PX)
    small = [cv2.resize(p, to, interpolation=cv2.INTER_AREA).astype(np.float32) for p in (source, target)]
    inside = np.asarray(cv2.resize(mask, to, interpolation=cv2.INTER_AREA))
    border = (4 * inside * (1 - inside) + 1e-3 * inside)[..., None]
    near = cv2.GaussianBlur((small[1] - small[0]) * border, (0, 0), 4.0)
    field = near / np.maximum(cv2.GaussianBlur(border, (0, 0), 4.0), 1e-4)[..., None]
    field = np.clip(field, -LARGEST_FIELD, LARGEST_FIELD).astype(np.float32)
    whole = np.asarray(cv2.resize(field, (source.shape[1], source.shape[0]), interpolation=cv2.INTER_LINEAR))
    return np.asarray(np.clip(source + whole + 0.5, 0, 255), np.uint8)


def blend(source: Picture, target: Picture, mask: Mask, ratio: float = 1.0) -> Picture:
    """The source over the target, each pixel by mask times ratio; untouched where that is 0."""
    weight = cv2.merge([mask * np.float32(ratio)] * 3)
    mixed = target + weight * (source.astype(np.float32) - target)
    return np.asarray(np.clip(mixed + 0.5, 0, 255), np.uint8)
