"""Every face at the same size through the same codec: what is left to tell real and forged apart on equal terms."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceError
from stream_detect.faces import FaceDetector
from stream_detect.sources.picture import read_picture
from stream_detect.training.alike import SOUGHT_FRAMES, clip_frames, largest
from stream_detect.training.manifest import Item
from stream_detect.types import Face

FACE_PX = 112  # width of the face's box
SIDE_PX = 256  # of the square around its middle; the ring around the face fits in
CRF = "26"
FPS, LONGEST_S = 25, 10.0
Square = UInt8[np.ndarray, "256 256 3"]
Window = tuple[int, int, int, int]  # xyxy in pixels of the frame


def encode_controlled(item: Item, folder: Path, detector: FaceDetector) -> Path:
    """Write the largest face as H.264 of crf 26, its box 112 pixels wide, in a square of 256; gives the new file.

    A picture becomes a clip of one coded frame. Of a clip at most ten seconds are taken, at 25 frames a second, cut
    where its first face is. What the square needs beyond the frame is mirrored in. A file without a face is reduced or
    enlarged as a whole.

    Raises:
        SourceError: if the file can't be read.
    """
    path = folder / f"{item.path.stem}.mp4"
    if item.kind == "image":
        frame = read_picture(item.path)
        write_h264(path, [squared(frame, window_around(frame, largest(frame, detector)))])
    else:
        write_h264(path, squares(item, detector))
    return path


def squares(item: Item, detector: FaceDetector) -> Iterator[Square]:
    """The clip's frames at `FPS`, each cut at the same place."""
    window, due_s = window_of_clip(item, detector), 0.0
    with contextlib.closing(clip_frames(item)) as frames:
        for frame in frames:
            if frame.pts_s > LONGEST_S:
                return
            square = squared(frame, window) if due_s <= frame.pts_s + 1e-6 else None
            while square is not None and due_s <= frame.pts_s + 1e-6:
                yield square
                due_s += 1 / FPS


def window_of_clip(item: Item, detector: FaceDetector) -> Window:
    """What is cut of a clip: around the first face in its first frames, the whole frame where there is none."""
    frame = None
    with contextlib.closing(clip_frames(item)) as frames:
        for frame in itertools.islice(frames, SOUGHT_FRAMES):
            if face := largest(frame, detector):
                return window_around(frame, face)
    if frame is None:
        raise SourceError(f"{item.path}: no frames came from the clip")
    return window_around(frame, None)


def window_around(frame: Frame, face: Face | None) -> Window:
    """The square about the middle of a face whose box is to be `FACE_PX` wide of `SIDE_PX`; it may leave the frame."""
    x1, y1, x2, y2 = (0, 0, frame.width, frame.height) if face is None else (float(edge) for edge in face.box)
    side = round(max(x2, y2) if face is None else max(x2 - x1, 1.0) * SIDE_PX / FACE_PX)
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    return left, top, left + side, top + side


def squared(frame: Frame, window: Window) -> Square:
    """A window of the frame, reduced by area or enlarged bicubically; what lies outside the frame is mirrored in."""
    rgb = frame.rgb(window)
    method = cv2.INTER_AREA if rgb.shape[0] > SIDE_PX else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (SIDE_PX, SIDE_PX), interpolation=method), np.uint8)


def write_h264(path: Path, pictures: Iterable[Square]) -> None:
    """Squares as H.264 at the constant quality `CRF`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "medium", "crf": CRF})
        stream.width, stream.height, stream.pix_fmt = SIDE_PX, SIDE_PX, "yuv420p"
        stream.codec_context.thread_count = 1
        for rgb in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
