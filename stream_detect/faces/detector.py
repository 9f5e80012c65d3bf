"""Find faces: one detector interface, the engines behind it, and the search on a reduced copy of a frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
from jaxtyping import Float32, UInt8

from stream_detect.decode.frame import Frame
from stream_detect.errors import WeightsError
from stream_detect.faces import retinaface
from stream_detect.types import Face

SECOND_LOOK_PX = 192  # longer side of the small copy on which a face that fills the frame is sought

Picture = UInt8[np.ndarray, "_ _ 3"]  # sizes may differ from one to the next


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """What counts as a face."""

    min_confidence: float = 0.6  # of the detector, in [0, 1]
    max_iou: float = 0.4  # two boxes that overlap more are one face
    max_faces: int = 512  # in one picture; the best are kept

    def __post_init__(self) -> None:
        if not (0 < self.min_confidence < 1 and 0 < self.max_iou < 1):
            raise ValueError(f"min_confidence and max_iou lie between 0 and 1, got {self}")
        if self.max_faces < 1:
            raise ValueError(f"max_faces is at least 1, got {self.max_faces}")


DEFAULTS = DetectorSettings()


@runtime_checkable
class FaceDetector(Protocol):
    """Finds the faces of RGB pictures of any sizes, best first, in pixels of each picture."""

    def __call__(self, pictures: Sequence[Picture]) -> list[list[Face]]: ...


def load_detector(
    device: str = "cpu",
    weights: Path | None = None,
    threads: int = 1,
    settings: DetectorSettings = DEFAULTS,
) -> FaceDetector:
    """RetinaFace on `device` ("cpu", "cuda", "cuda:1"), or the YuNet model in the ONNX file `weights`.

    Args:
        threads: CPU threads of one call; YuNet uses OpenCV's, which are the whole process's.

    Raises:
        WeightsError: if weights are missing, damaged or of another kind.
    """
    if weights is not None:
        from stream_detect.faces.yunet import YuNet

        return YuNet(weights, settings)
    if device == "cpu":
        return OnnxRetinaFace(threads, settings)
    return torch_retinaface(device, settings)


def torch_retinaface(device: str, settings: DetectorSettings) -> FaceDetector:
    """The detector on a torch device; torch is imported only here."""
    try:
        from stream_detect.faces.network import TorchRetinaFace
    except ModuleNotFoundError as exc:
        raise WeightsError(
            f"the face detector on {device} reads its weights with the package {exc.name}, which isn't installed; "
            "install it with: pip install 'stream-detect[gpu]'"
        ) from exc
    return TorchRetinaFace(device, settings)


class OnnxRetinaFace:
    """The published bytes, run by onnxruntime on the CPU."""

    def __init__(self, threads: int = 1, settings: DetectorSettings = DEFAULTS) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # idle threads leave the core to others
        options.log_severity_level = 3
        self.settings = settings
        self._session = ort.InferenceSession(retinaface.read_weights(), options, providers=["CPUExecutionProvider"])

    def __call__(self, pictures: Sequence[Picture]) -> list[list[Face]]:
        return in_batches_of_one_size(pictures, self._find)

    def raw(self, batch: UInt8[np.ndarray, "n height width 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Untouched outputs for RGB pictures: loc (n, anchors, 4), conf (n, anchors, 2), landmarks (n, anchors, 10)."""
        loc, conf, landmarks = self._session.run(list(retinaface.OUTPUTS), {"input": network_input(batch)})
        return loc, conf, landmarks

    def _find(self, batch: UInt8[np.ndarray, "n height width 3"]) -> list[list[Face]]:
        anchor = retinaface.anchors(*batch.shape[1:3])
        loc, conf, landmarks = self.raw(batch)
        return [self._select(*outputs, anchor) for outputs in zip(loc, conf[..., 1], landmarks, strict=True)]

    def _select(self, loc: np.ndarray, conf: np.ndarray, points: np.ndarray, anchor: np.ndarray) -> list[Face]:
        likely = np.flatnonzero(conf > self.settings.min_confidence)
        faces = retinaface.decode(loc[likely], conf[likely], points[likely], anchor[likely], self.settings.max_iou)
        return faces[: self.settings.max_faces]


def network_input(batch: UInt8[np.ndarray, "n height width 3"]) -> Float32[np.ndarray, "n 3 height width"]:
    """RGB pictures as the network was trained on them: BGR planes, 0..255 minus the mean."""
    planes = np.empty((len(batch), 3, *batch.shape[1:3]), np.float32)
    for channel, mean in enumerate(retinaface.MEAN_BGR):
        np.subtract(batch[..., 2 - channel], np.float32(mean), out=planes[:, channel], dtype=np.float32)
    return planes


@runtime_checkable
class FindBatch(Protocol):
    def __call__(self, batch: UInt8[np.ndarray, "n height width 3"]) -> list[list[Face]]: ...


def in_batches_of_one_size(pictures: Sequence[Picture], find: FindBatch) -> list[list[Face]]:
    """`find` on pictures of any sizes: those of one size go through together, results come back in order."""
    found: list[list[Face]] = [[] for _ in pictures]
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        by_size.setdefault(picture.shape, []).append(index)
    for indices in by_size.values():
        for index, faces in zip(indices, find(np.stack([pictures[i] for i in indices])), strict=True):
            found[index] = faces
    return found


def find_faces(frames: Sequence[Frame], detector: FaceDetector, max_side: int = 640) -> list[list[Face]]:
    """The faces of each frame, best first, in pixels of the frame, boxes clipped to it.

    The search runs on a copy whose longer side is at most `max_side` pixels; nothing is magnified. A picture in which
    nothing is found gets a second look for a face that fills it.
    """
    pictures = [frame.reduced(max_side) for frame in frames]
    found = [faces_in_frame(*seen) for seen in zip(detector(pictures), pictures, frames, strict=True)]
    empty = [index for index, faces in enumerate(found) if not faces]
    if empty:
        for index, faces in zip(empty, find_filling([frames[i] for i in empty], detector), strict=True):
            found[index] = faces
    return found


def find_filling(frames: Sequence[Frame], detector: FaceDetector) -> list[list[Face]]:
    """Faces that fill most of their frame: sought on small copies that get surroundings, their own mirror image."""
    pictures = [frame.reduced(SECOND_LOOK_PX) for frame in frames]
    margins = [(picture.shape[0] // 2, picture.shape[1] // 2) for picture in pictures]
    bordered = [
        cv2.copyMakeBorder(picture, rows, rows, columns, columns, cv2.BORDER_REFLECT)
        for picture, (rows, columns) in zip(pictures, margins, strict=True)
    ]
    found = []
    for faces, frame, picture, (rows, columns) in zip(detector(bordered), frames, pictures, margins, strict=True):
        moved = [shifted(face, -columns, -rows) for face in faces]
        found.append(faces_in_frame([face for face in moved if fills(face, picture)], picture, frame))
    return found


def fills(face: Face, picture: Picture) -> bool:
    """Whether a face is centred in the picture and at least half as large; its mirror images aren't."""
    height, width = picture.shape[:2]
    middle = (face.box[:2] + face.box[2:]) / 2
    side = max(face.box[2] - face.box[0], face.box[3] - face.box[1])
    return bool(side >= min(height, width) / 2 and 0 < middle[0] < width and 0 < middle[1] < height)


def shifted(face: Face, x: float, y: float) -> Face:
    move = np.array([x, y], np.float32)
    return replace(face, box=face.box + np.tile(move, 2), landmarks=face.landmarks + move)


def faces_in_frame(faces: Sequence[Face], picture: Picture, frame: Frame) -> list[Face]:
    """Faces of a reduced picture in pixels of its frame, boxes clipped to it; those that lie outside are left out."""
    scale = np.array([frame.width / picture.shape[1], frame.height / picture.shape[0]], np.float32)
    limit = np.array([frame.width, frame.height] * 2, np.float32)
    inside = []
    for face in faces:
        box = np.clip(face.box * np.tile(scale, 2), 0, limit).astype(np.float32)
        if min(box[2] - box[0], box[3] - box[1]) >= 1:
            inside.append(replace(face, box=box, landmarks=(face.landmarks * scale).astype(np.float32)))
    return inside
