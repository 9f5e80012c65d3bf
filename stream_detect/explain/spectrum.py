"""The azimuthal spectrum of a face beside that of its surroundings and the band in which real faces lie.

The curves are the first features of the spectrum expert (`experts/spectrum.py`, after Durall et al. 2019), in decibels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from stream_detect.experts.spectrum import SPECTRUM_DIM, spectrum_curve, spectrum_features

DECIBELS = 10 / math.log(10)  # a unit of the natural logarithm of power
BAND = 2.0  # standard deviations on each side of the mean of real faces


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumLines:
    """Mean log power in rings of spatial frequency, in decibels over that of rings 4 to 8; each (36,) float32."""

    cycles_per_px: np.ndarray  # 1/64 to 0.68; 0.5 is the finest that an axis can hold
    face_db: np.ndarray
    around_db: np.ndarray  # of what is around the face
    real_db: np.ndarray | None  # mean of real faces, if the weights have it
    real_sd_db: np.ndarray | None  # their standard deviation

    @property
    def outside_band(self) -> float | None:
        """The share of the rings in which the face lies outside the band of real faces; None if there is no band."""
        if self.real_db is None or self.real_sd_db is None:
            return None
        return float(np.mean(np.abs(self.face_db - self.real_db) > BAND * self.real_sd_db))


def spectrum_lines(
    tiles: Float32[np.ndarray, "1 28 64 64"], reference: Mapping[str, np.ndarray] | None = None
) -> SpectrumLines:
    """The curves of one face.

    Args:
        tiles: of one face, as `cut_faces` gives them.
        reference: what `spectrum_reference` gave for real faces.
    """
    curve = spectrum_curve(tiles)
    rings = len(curve.cycles_per_px)
    features = spectrum_features(tiles)[0]
    inside, against = features[:rings], features[rings : 2 * rings]
    mean, deviation = (band_part(reference or {}, name, rings) for name in ("spectrum_mean", "spectrum_std"))
    return SpectrumLines(
        curve.cycles_per_px,
        (inside * DECIBELS).astype(np.float32),
        ((inside - against) * DECIBELS).astype(np.float32),
        mean,
        deviation,
    )


def spectrum_reference(features: Float[np.ndarray, "faces features"]) -> dict[str, Float32[np.ndarray, " rings"]]:
    """Mean and standard deviation of the rings of real faces, natural logarithms: what weights keep for comparison.

    Args:
        features: `spectrum_features` of real faces.

    Raises:
        ValueError: if there is no face with finite features.
    """
    rings = len(spectrum_curve(np.zeros((0, 28, 64, 64), np.float32)).cycles_per_px)
    inside = features[np.isfinite(features).all(axis=1), :rings].astype(np.float64)
    if not len(inside):
        raise ValueError("expected the spectra of real faces, got none")
    return {
        "spectrum_mean": inside.mean(axis=0).astype(np.float32),
        "spectrum_std": inside.std(axis=0).astype(np.float32),
    }


def band_part(reference: Mapping[str, np.ndarray], name: str, rings: int) -> Float32[np.ndarray, " rings"] | None:
    """A part of the reference in decibels; weights may keep it of all spectrum features, of which rings come first."""
    values = np.asarray(reference.get(name, ()))
    if values.shape not in ((rings,), (SPECTRUM_DIM,)):
        return None
    return (values[:rings] * DECIBELS).astype(np.float32)
