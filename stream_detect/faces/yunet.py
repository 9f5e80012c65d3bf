"""YuNet, a still smaller face detector, out of an ONNX file that the user gives.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023; the file is face_detection_yunet_2023mar.onnx of
OpenCV's model zoo (MIT). OpenCV runs it, one picture at a time.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from stream_detect.errors import WeightsError
from stream_detect.faces.detector import DEFAULTS, DetectorSettings, Picture
from stream_detect.types import Face

MODEL = "face_detection_yunet_2023mar.onnx"


class YuNet:
    """OpenCV's `FaceDetectorYN`.

    Raises:
        WeightsError: if the file is missing or isn't a YuNet model.
    """

    def __init__(self, path: Path, settings: DetectorSettings = DEFAULTS) -> None:
        if not path.is_file():
            raise WeightsError(f"{path}: no such file; expected YuNet's {MODEL}")
        self.settings = settings
        try:
            self._detector = cv2.FaceDetectorYN.create(
                str(path), "", (320, 320), settings.min_confidence, settings.max_iou, settings.max_faces
            )
            self._find(np.zeros((32, 32, 3), np.uint8))
        except cv2.error as exc:
            raise WeightsError(
                f"{path}: not a model that OpenCV {cv2.__version__} can run as YuNet; expected {MODEL}"
            ) from exc

    def __call__(self, pictures: Sequence[Picture]) -> list[list[Face]]:
        return [self._find(picture) for picture in pictures]

    def _find(self, picture: Picture) -> list[Face]:
        self._detector.setInputSize(picture.shape[1::-1])
        _, rows = self._detector.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return [] if rows is None else [to_face(row) for row in rows]


def to_face(row: np.ndarray) -> Face:
    """A row of OpenCV's table: x, y, width, height, five points (left eye of the picture first), confidence."""
    box = np.concatenate([row[:2], row[:2] + row[2:4]]).astype(np.float32)
    return Face(box, row[4:14].reshape(5, 2).astype(np.float32), float(row[14]))
