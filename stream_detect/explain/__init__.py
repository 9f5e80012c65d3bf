"""Why a face was judged as it was: where networks look, residuals, spectrum and experts, and one picture of it all."""

from stream_detect.explain.explanation import Explanation, Moment, Sight
from stream_detect.explain.maps import FaceMap, face_maps
from stream_detect.explain.residual import ResidualMap, residual_map
from stream_detect.explain.spectrum import SpectrumLines, spectrum_lines, spectrum_reference

__all__ = [
    "Explanation",
    "FaceMap",
    "Moment",
    "ResidualMap",
    "Sight",
    "SpectrumLines",
    "face_maps",
    "residual_map",
    "spectrum_lines",
    "spectrum_reference",
]
