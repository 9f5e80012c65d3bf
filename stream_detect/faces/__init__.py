"""Faces: find them, follow them from frame to frame, cut them out."""

from stream_detect.faces.crop import concatenate, cut_faces, no_crops
from stream_detect.faces.detector import FaceDetector, find_faces, load_detector
from stream_detect.faces.tracker import Tracker, TrackerSettings

__all__ = [
    "FaceDetector",
    "Tracker",
    "TrackerSettings",
    "concatenate",
    "cut_faces",
    "find_faces",
    "load_detector",
    "no_crops",
]
