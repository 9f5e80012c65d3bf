"""What cameras, calls and uploads do to a picture; drawn once, applied to a real face and its forgery alike."""

from stream_detect.training.channel.codecs import (
    Coding,
    drifting,
    through_codec,
    through_jpeg,
    video_codec,
    video_frame,
    yuv420_frame,
)
from stream_detect.training.channel.degradation import Degradation
from stream_detect.training.channel.optics import Optics
from stream_detect.training.channel.resampling import Detour, Picture, scaled
from stream_detect.training.channel.suite import CHANNELS, Channel

__all__ = [
    "CHANNELS",
    "Channel",
    "Coding",
    "Degradation",
    "Detour",
    "Optics",
    "Picture",
    "drifting",
    "scaled",
    "through_codec",
    "through_jpeg",
    "video_codec",
    "video_frame",
    "yuv420_frame",
]
