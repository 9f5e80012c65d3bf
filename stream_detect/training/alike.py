"""Both classes through one encoder: the same size, codec and rate, so that only the picture can tell them apart."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceError
from stream_detect.faces import FaceDetector, find_faces
from stream_detect.sources import open_source, read_frames
from stream_detect.sources.picture import read_picture
from stream_detect.training.manifest import Item
from stream_detect.types import Face

SURROUND = 2.0  # side of the kept square, in sides of the face
STILL_PX, JPEG_QUALITY = 192, 75
CLIP_PX, BIT_RATE, FPS, LONGEST_S = 256, 250_000, 25, 10.0
ENCODER = {"preset": "medium", "x264-params": "keyint=50"}
Window = tuple[int, int, int, int]  # xyxy in pixels of the frame
SOUGHT_FRAMES = 50  # of a clip; when none of them has a face, all of the picture is taken


def encode_alike(item: Item, folder: Path, detector: FaceDetector) -> Path:
    """Write the square around the largest face as every other file is written; gives the new file.

    A picture becomes 192x192 JPEG of quality 75, a clip 256x256 H.264 at 250 kbit/s and 25 frames a second, at most
    ten seconds of it. A file without a face is taken whole.

    Raises:
        SourceError: if the file can't be read.
    """
    if item.kind == "image":
        frame = read_picture(item.path)
        path = folder / f"{item.path.stem}.jpg"
        square = squared(frame, kept_square(frame, largest(frame, detector)), STILL_PX)
        Image.fromarray(square).save(path, "JPEG", quality=JPEG_QUALITY, subsampling=2)
        return path
    path = folder / f"{item.path.stem}.mp4"
    write_clip(path, squares(item, detector, kept_square, CLIP_PX), CLIP_PX, ENCODER, BIT_RATE)
    return path


def squares(
    item: Item, detector: FaceDetector, around: Callable[[Frame, Face | None], Window], side: int
) -> Iterator[np.ndarray]:
    """The clip's first ten seconds at `FPS`, every frame cut at one place: `around` the first face that is found."""
    window, due_s = clip_window(item, detector, around), 0.0
    with contextlib.closing(clip_frames(item)) as frames:
        for frame in frames:
            if frame.pts_s > LONGEST_S:
                return
            square = squared(frame, window, side) if due_s <= frame.pts_s + 1e-6 else None
            while square is not None and due_s <= frame.pts_s + 1e-6:
                yield square
                due_s += 1 / FPS


def clip_window(item: Item, detector: FaceDetector, around: Callable[[Frame, Face | None], Window]) -> Window:
    """What is cut of a clip: `around` the first face in its first frames, or around none."""
    frame = None
    with contextlib.closing(clip_frames(item)) as frames:
        for frame in itertools.islice(frames, SOUGHT_FRAMES):
            if face := largest(frame, detector):
                return around(frame, face)
    if frame is None:
        raise SourceError(f"{item.path}: no frames came from the clip")
    return around(frame, None)


def clip_frames(item: Item) -> Generator[Frame, None, None]:
    yield from read_frames(open_source(str(item.path)))


def largest(frame: Frame, detector: FaceDetector) -> Face | None:
    faces = find_faces([frame], detector)[0]
    return max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])), default=None)


def kept_square(frame: Frame, face: Face | None) -> Window:
    """The square of `SURROUND` faces around a face, moved and shrunk to lie in the frame; all of it without a face."""
    least = min(frame.height, frame.width)
    if face is None:
        center, side = (frame.width / 2, frame.height / 2), least
    else:
        x1, y1, x2, y2 = (float(edge) for edge in face.box)
        center, side = ((x1 + x2) / 2, (y1 + y2) / 2), min(least, round(SURROUND * max(x2 - x1, y2 - y1)))
    left = int(np.clip(center[0] - side / 2, 0, frame.width - side))
    top = int(np.clip(center[1] - side / 2, 0, frame.height - side))
    return left, top, left + side, top + side


def squared(frame: Frame, window: Window, side: int) -> np.ndarray:
    """A window of the frame, reduced by area or enlarged bicubically; what lies outside the frame is mirrored in."""
    rgb = frame.rgb(window)
    method = cv2.INTER_AREA if rgb.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (side, side), interpolation=method), np.uint8)


def write_clip(
    path: Path, pictures: Iterable[np.ndarray], side: int, encoder: Mapping[str, str], bit_rate: int | None = None
) -> None:
    """Pictures of `side` pixels as H.264, at a bit-rate or as the encoder's options have it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=dict(encoder))
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        if bit_rate:
            stream.bit_rate = bit_rate
        stream.codec_context.thread_count = 1
        for rgb in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
