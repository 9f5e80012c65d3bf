"""Find faces in pictures that lie on a GPU: reduced there, seen by RetinaFace there, overlaps removed there.

`stream_detect.faces.detector.find_faces` is the definition. What crosses to the host is a count and the best faces of
each picture, 60 bytes a face, in one copy; crowds take a second one.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from stream_detect.arrays import settled
from stream_detect.cuda.crops import reduced, ruler_for
from stream_detect.cuda.networks import bucket_of
from stream_detect.cuda.stream import Lane, as_array, as_tensor
from stream_detect.cuda.transfers import Transfers
from stream_detect.decode.frame import Frame
from stream_detect.faces import retinaface
from stream_detect.faces.detector import (
    DEFAULTS,
    SECOND_LOOK_PX,
    DetectorSettings,
    faces_in_frame,
    fills,
    shifted,
)
from stream_detect.faces.network import CANDIDATES, load_network
from stream_detect.types import Face

MOST_PICTURES = 64  # the largest bucket; more are looked at in turn
FIRST_FACES = 16  # of a picture that cross in the first copy
ROW = 15  # confidence, box and landmarks of a face
THREADS = 256
HELD = 24  # graphs kept: one for each size and number of pictures

Outputs = Float32[Any, "pictures candidates 15"]


class Look(NamedTuple):
    """The network for so many pictures of one size: where they go, and what it then says of them."""

    pictures: Any  # (bucket, 3, height, width) float32 of the lane
    candidates: Callable[[], Tensor]  # (bucket, candidates, 15): falling confidence, box, landmarks


@final
class DeviceFinder:
    """RetinaFace on a lane, in float32; networks are captured for each size and number of pictures.

    Args:
        lane: where it runs.
        transfers: by which faces come to the host.
        settings: what counts as a face.
    """

    def __init__(self, lane: Lane, transfers: Transfers, settings: DetectorSettings = DEFAULTS) -> None:
        self._lane = lane
        self._transfers = transfers
        self._settings = settings
        network: Any = load_network().to(lane.tensors)
        self._network: Any = network.to(memory_format=torch.channels_last)
        self._looks: dict[tuple[int, int, int], Look] = {}

    def find(self, frames: Sequence[Frame], max_side: int = 640) -> list[list[Face]]:
        """The faces of each frame of any sizes, best first, in pixels of the frame, boxes clipped to it.

        Args:
            frames: on the lane's device, of layout "nv12" or "yuv420".
            max_side: longer side of the copy on which they are sought, in pixels.
        """
        found: list[list[Face]] = [[] for _ in frames]
        for indices in parts_of_one_size(frames, MOST_PICTURES):
            some = [frames[index] for index in indices]
            for index, faces in zip(indices, self._find(some, max_side), strict=True):
                found[index] = faces
        return found

    def forget(self) -> None:
        """Let go of all that was made for certain sizes and numbers of pictures."""
        self._looks.clear()

    def _find(self, frames: Sequence[Frame], max_side: int) -> list[list[Face]]:
        found = self._first_look(frames, max_side)
        empty = [index for index, faces in enumerate(found) if not faces]
        if empty:
            for index, faces in zip(empty, self._second_look([frames[i] for i in empty]), strict=True):
                found[index] = faces
        return found

    def _first_look(self, frames: Sequence[Frame], max_side: int) -> list[list[Face]]:
        ruler = ruler_for(frames[0].height, frames[0].width, max_side)
        look = self._look(len(frames), ruler.height, ruler.width)
        reduced(self._lane.bench, frames, max_side, look.pictures[: len(frames)])
        picture = blank(ruler.height, ruler.width)
        said = self._faces(look, len(frames))
        return [faces_in_frame(faces, picture, frame) for faces, frame in zip(said, frames, strict=True)]

    def _second_look(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """As `stream_detect.faces.detector.find_filling`: small copies among their own mirror images."""
        small = reduced(self._lane.bench, frames, SECOND_LOOK_PX)
        height, width = small.shape[2:]
        above, left = height // 2, width // 2
        look = self._look(len(frames), height + 2 * above, width + 2 * left)
        rows, columns = (mirrored_on(self._lane.bench.xp, self._lane.name, side) for side in (height, width))
        look.pictures[: len(frames)] = small[:, :, rows][..., columns]
        picture = blank(height, width)
        found = []
        for faces, frame in zip(self._faces(look, len(frames)), frames, strict=True):
            moved = [shifted(face, -left, -above) for face in faces]
            found.append(faces_in_frame([face for face in moved if fills(face, picture)], picture, frame))
        return found

    def _look(self, pictures: int, height: int, width: int) -> Look:
        key = (bucket_of(pictures), height, width)
        if key not in self._looks:
            if len(self._looks) >= HELD:
                del self._looks[next(iter(self._looks))]  # the oldest
            given = self._lane.bench.xp.zeros((key[0], 3, height, width), np.float32)
            tensor, anchors = as_tensor(given), torch.tensor(retinaface.anchors(height, width)).to(self._lane.tensors)
            self._looks[key] = Look(given, self._lane.held(lambda: self._candidates(tensor, anchors)))
        return self._looks[key]

    @torch.inference_mode()
    def _candidates(self, pictures: Tensor, anchors: Tensor) -> Tensor:
        """The anchors most like a face, best first: confidence, box and landmarks as `retinaface.decode` has them."""
        loc, conf, landmarks = self._network(pictures.contiguous(memory_format=torch.channels_last))
        best, index = conf[..., 1].topk(min(CANDIDATES, conf.shape[1]), dim=1)
        table = torch.cat([loc, landmarks], dim=2).gather(1, index[..., None].expand(-1, -1, ROW - 1))
        center, side = anchors[index][..., :2], anchors[index][..., 2:]
        middle = center + retinaface.CENTER_VARIANCE * side * table[..., :2]
        half = side * torch.exp(retinaface.SIDE_VARIANCE * table[..., 2:4]) / 2
        points = center.repeat(1, 1, 5) + retinaface.CENTER_VARIANCE * side * table[..., 4:]
        return torch.cat([best[..., None], middle - half, middle + half, points], dim=2)

    def _faces(self, look: Look, pictures: int) -> list[list[Face]]:
        candidates = as_array(self._lane.bench.xp, look.candidates())[:pictures]
        counts, rows = suppress(self._lane, candidates, self._settings)
        few = min(FIRST_FACES, rows.shape[1])
        counted, first = self._transfers.bring(counts, rows[:, :few])
        most = int(counted.max())
        if most > few:
            (first,) = self._transfers.bring(rows[:, :most])
        return [[face_of(row) for row in some[: int(count)]] for some, count in zip(first, counted, strict=True)]


def suppress(lane: Lane, candidates: Outputs, settings: DetectorSettings) -> tuple[Any, Any]:
    """`retinaface.suppress` of each picture's candidates, by kernels/nms.cu.

    Args:
        lane: where it runs.
        candidates: confidence, falling, then box and landmarks; at most `CANDIDATES` a picture, contiguous.
        settings: least confidence, greatest overlap, and how many are kept at most.

    Returns:
        How many are kept of each picture, (pictures,) float32, and those, best first, (pictures, max_faces, 15).

    Raises:
        ValueError: if there are more candidates than the kernel has room for.
    """
    pictures, num = candidates.shape[:2]
    if num > CANDIDATES:
        raise ValueError(f"expected at most {CANDIDATES} candidates a picture, got {num}; keep the best")
    xp = lane.bench.xp
    counts = xp.empty(pictures, np.float32)
    faces = xp.empty((pictures, settings.max_faces, ROW), np.float32)
    limits = (np.int32(num), np.int32(settings.max_faces), np.float32(settings.min_confidence))
    overlap = np.float32(settings.max_iou)
    lane.bench.launch("nms", "nms", pictures, THREADS, candidates, *limits, overlap, counts, faces)
    return counts, faces


def parts_of_one_size(frames: Sequence[Frame], most: int) -> list[list[int]]:
    """Which frames go together: at most `most`, of one size (height, width)."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for index, frame in enumerate(frames):
        by_size.setdefault((frame.height, frame.width), []).append(index)
    return [indices[start : start + most] for indices in by_size.values() for start in range(0, len(indices), most)]


def mirrored_side(side: int) -> np.ndarray:
    """The pixels of an axis of `side` pixels with half as many mirrored at both ends: cba abcd dcb."""
    return np.pad(np.arange(side), side // 2, mode="symmetric")


@lru_cache(maxsize=64)
def mirrored_on(xp: Any, device: str, side: int) -> Any:
    """`mirrored_side` on the current device, which has that name; copied there once."""
    return settled(xp.asarray(mirrored_side(side)))


def blank(height: int, width: int) -> np.ndarray:
    """A picture of that size that takes no memory: what asks for a picture's size needs no pixels of it."""
    return np.broadcast_to(np.uint8(0), (height, width, 3))


def face_of(row: Float32[np.ndarray, " 15"]) -> Face:
    return Face(row[1:5].copy(), row[5:].reshape(5, 2).copy(), float(row[0]))
