"""Forgeries made from real faces, so that training needs no forged footage of anyone; one family a module."""

import numpy as np

from stream_detect.training.forgeries import reenact, self_blend
from stream_detect.training.forgeries.family import Family, Footage, Forged
from stream_detect.training.forgeries.geometry import FIVE_POINTS, face_side, misfit
from stream_detect.training.forgeries.parts import EYES_FAMILY, MOUTH_FAMILY
from stream_detect.training.forgeries.restore import restored
from stream_detect.training.forgeries.resynth import RESYNTH_FAMILIES
from stream_detect.training.forgeries.swap import LOW_RES_SWAP, SWAP
from stream_detect.training.forgeries.temporal import Drift, drifted, forge_clip
from stream_detect.types import KINDS, Kind

__all__ = [
    "FAMILIES",
    "FIVE_POINTS",
    "KINDS",
    "Drift",
    "Family",
    "Footage",
    "Forged",
    "Kind",
    "drifted",
    "face_side",
    "forge",
    "forge_clip",
    "misfit",
    "restored",
]

_WARPED = (self_blend.FAMILY, SWAP, LOW_RES_SWAP, reenact.FAMILY, MOUTH_FAMILY, EYES_FAMILY)
FAMILIES: dict[str, Family] = {family.name: family for family in _WARPED} | RESYNTH_FAMILIES


def forge(footage: Footage, kind: Kind, rng: np.random.Generator) -> tuple[Forged, str] | None:
    """A forgery of a kind, its family drawn by share, and the family's name; None where this footage allows none."""
    families = [family for family in FAMILIES.values() if family.kind == kind]
    while families:
        shares = np.array([family.share for family in families])
        family = families.pop(int(rng.choice(len(families), p=shares / shares.sum())))
        if (forged := family.forge(footage, rng)) is not None:
            return forged, family.name
    return None
