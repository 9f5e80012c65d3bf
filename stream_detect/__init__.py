"""Real-time, local, calibrated deepfake detection.

    from stream_detect import Detector, watch

    detector = Detector(device="auto")
    for line in watch("rtsp://...", detector):  # FrameVerdict | Alert | Status
        print(line.to_json())
    detector.score("clip.mp4")  # Score
    detector.frame(rgb)  # FrameVerdict of one (height, width, 3) uint8 picture

Names are imported when they are first used, so that importing the package costs nothing.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

CV2_CAME_FIRST = "cv2" in sys.modules and "av" not in sys.modules


class _AvFirst:
    """Imports PyAV before OpenCV: with OpenCV's X libraries loaded first, PyAV crashes when it grabs the screen."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name == "cv2":
            importlib.import_module("av")


sys.meta_path.insert(0, _AvFirst())
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: its idle threads would spin otherwise
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before ONNX Runtime is imported: it would tell its maker's servers of us
if "onnxruntime" in sys.modules:
    sys.modules["onnxruntime"].disable_telemetry_events()

if TYPE_CHECKING:
    from stream_detect.config import DecisionSettings, Feed, WatchSettings
    from stream_detect.detector import Detector
    from stream_detect.errors import (
        ConfigError,
        DecoderDied,
        OutputError,
        SourceDenied,
        SourceEnded,
        SourceError,
        SourceNotFound,
        SourceRefused,
        SourceTimeout,
        SourceUnsupported,
        StreamDetectError,
        UnknownFeed,
        UsageError,
        WeightsError,
    )
    from stream_detect.pipeline import Watching, watch
    from stream_detect.sources import SourceOptions, open_source
    from stream_detect.types import Alert, Face, FaceVerdict, FrameVerdict, Score, Status

__all__ = [
    "Alert",
    "ConfigError",
    "DecisionSettings",
    "DecoderDied",
    "Detector",
    "Face",
    "FaceVerdict",
    "Feed",
    "FrameVerdict",
    "OutputError",
    "Score",
    "SourceDenied",
    "SourceEnded",
    "SourceError",
    "SourceNotFound",
    "SourceOptions",
    "SourceRefused",
    "SourceTimeout",
    "SourceUnsupported",
    "Status",
    "StreamDetectError",
    "UnknownFeed",
    "UsageError",
    "WatchSettings",
    "Watching",
    "WeightsError",
    "open_source",
    "watch",
]

MODULES = {
    "stream_detect.config": ("DecisionSettings", "Feed", "WatchSettings"),
    "stream_detect.detector": ("Detector",),
    "stream_detect.pipeline": ("Watching", "watch"),
    "stream_detect.sources": ("SourceOptions", "open_source"),
    "stream_detect.types": ("Alert", "Face", "FaceVerdict", "FrameVerdict", "Score", "Status"),
}
MODULE_OF = {name: module for module, names in MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(MODULE_OF.get(name, "stream_detect.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
