"""A picture of what is said, drawn on frames, written as a video, or sent to a server that players show."""

from stream_detect.overlay.drawing import draw, drawn, where_and_when, whole, words
from stream_detect.overlay.file import OverlayWriter
from stream_detect.overlay.publisher import OverlayPublisher
from stream_detect.overlay.targets import Overlay

__all__ = ["Overlay", "OverlayPublisher", "OverlayWriter", "draw", "drawn", "where_and_when", "whole", "words"]
