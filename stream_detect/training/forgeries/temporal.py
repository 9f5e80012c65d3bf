"""Forgeries of clips: a frame's forgery flickers, drops out, and lags behind the face.

Flicker and unsteady borders of frame-wise forgeries: Zheng et al., "Exploring Temporal Coherence for More General Video
Face Forgery Detection", ICCV 2021 (https://arxiv.org/abs/2108.06693).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from stream_detect.training.forgeries.family import Family, Footage, Forged, Rng
from stream_detect.training.forgeries.geometry import near_changes


@dataclass(frozen=True, slots=True)
class Drift:
    """How a frame's forgery is off: where it lies, how much of it there is, in which light."""

    shift: tuple[float, float] = (0.0, 0.0)  # pixels to the right and down
    ratio: float = 1.0  # of blending; 0 drops the forgery
    light: float = 0.0  # added under the mask, in 8-bit steps

    @classmethod
    def draw(cls, rng: Rng, side_px: float) -> "Drift":
        """A drift for a lone frame of a face of `side_px`."""
        x, y = rng.normal(0, 0.015 * side_px, 2)
        return cls((float(x), float(y)), float(rng.uniform(0.6, 1.0)), float(rng.normal(0, 4)))


def drifted(forged: Forged, drift: Drift) -> Forged:
    """The forgery with its pasted part moved, thinned and lit by `drift`; the real partner stays as it is."""
    if drift.ratio <= 0:
        return Forged(forged.real, forged.real.copy(), np.zeros_like(forged.mask))
    rows, columns = np.flatnonzero(forged.mask.max(1)), np.flatnonzero(forged.mask.max(0))
    if not len(rows):
        return forged
    room = int(np.ceil(max(abs(drift.shift[0]), abs(drift.shift[1])))) + 2
    inside = (
        slice(max(0, rows[0] - room), rows[-1] + room + 1),
        slice(max(0, columns[0] - room), columns[-1] + room + 1),
    )
    real, shift = forged.real[inside], np.array([[1, 0, drift.shift[0]], [0, 1, drift.shift[1]]])
    to = (real.shape[1], real.shape[0])
    pasted = cv2.warpAffine(forged.fake[inside], shift, to, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(forged.mask[inside], shift, to, flags=cv2.INTER_LINEAR)
    # The forgery is blended already; its outer border alone is blended anew.
    weight = (np.clip(3 * mask, 0, 1) * np.float32(drift.ratio))[..., None]
    lit = pasted.astype(np.float32) + np.float32(drift.light) * mask[..., None]
    fake, moved_mask = forged.real.copy(), np.zeros_like(forged.mask)
    fake[inside] = np.clip(weight * lit + (1 - weight) * real + 0.5, 0, 255).astype(np.uint8)
    moved_mask[inside] = np.where(near_changes(real, fake[inside]), np.clip(weight[..., 0], 0, 1), 0)
    return Forged(forged.real, fake, moved_mask)


def draw_drifts(frames: int, side_px: float, rng: Rng) -> list[Drift]:
    """Drifts of the frames of one clip: smooth offsets, flickering ratio and light, a few frames without forgery."""
    offsets = _smooth(rng, frames, 2) * 0.02 * side_px * rng.uniform(0.3, 1.5)
    light = _smooth(rng, frames, 1)[:, 0] * 3 + rng.normal(0, rng.uniform(0, 3), frames)
    ratio = np.clip(1 - np.abs(rng.normal(0, rng.uniform(0.02, 0.25), frames)), 0.3, 1)
    ratio[rng.random(frames) < rng.choice([0.0, 0.05, 0.12])] = 0.0
    return [Drift((float(x), float(y)), float(r), float(b)) for (x, y), r, b in zip(offsets, ratio, light, strict=True)]


def forge_clip(footages: Sequence[Footage], family: Family, rng: Rng, *, has_one_partner: bool = True) -> list[Forged]:
    """Every frame of a clip, in order, forged alike, with flicker and drift; untouched where the family gives nothing.

    All frames see the same draws and the same partner, as one tool run over a clip would; so colours, outlines and
    sizes stay, and what changes from frame to frame is the drift. A family that takes parts of several people asks the
    footages' own finders (`has_one_partner=False`), which then ought to give the same ones for the same draws.
    """
    if not footages:
        return []
    seed = int(rng.integers(2**63))
    partner = footages[0].find_partner(rng)
    x1, y1, x2, y2 = footages[0].scene.face.box
    drifts = draw_drifts(len(footages), float(np.sqrt(max(1.0, (x2 - x1) * (y2 - y1)))), rng)
    made = []
    for footage, drift in zip(footages, drifts, strict=True):
        asked = replace(footage, find_partner=lambda _: partner) if has_one_partner else footage
        forged = family.forge(asked, np.random.default_rng(seed))
        rgb = footage.scene.rgb
        made.append(drifted(forged or Forged(rgb, rgb.copy(), np.zeros(rgb.shape[:2], np.float32)), drift))
    return made


def _smooth(rng: Rng, frames: int, axes: int) -> np.ndarray:
    """(frames, axes): random walks drawn back to 0, of spread about 1."""
    values = np.zeros((frames, axes))
    steps = rng.normal(0, 1, (frames, axes))
    for k in range(frames):
        values[k] = (0.9 * values[k - 1] if k else 0) + 0.44 * steps[k]
    return values
