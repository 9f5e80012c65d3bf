"""Forgeries made from real faces, so that training needs no forged footage of anyone; one family a module."""

from stream_detect.training.forgeries._old import FIVE_POINTS, face_side, misfit, self_blend, swap
from stream_detect.training.forgeries.family import KINDS, Family, Footage, Forged, Kind

__all__ = ["FIVE_POINTS", "KINDS", "Family", "Footage", "Forged", "Kind", "face_side", "misfit", "self_blend", "swap"]
