"""Every face at the same size through the same codec: what is left to tell real and forged apart on equal terms."""

from pathlib import Path

from stream_detect.decode.frame import Frame
from stream_detect.faces import FaceDetector
from stream_detect.sources.picture import read_picture
from stream_detect.training.alike import Window, largest, squared, squares, write_clip
from stream_detect.training.manifest import Item
from stream_detect.types import Face

FACE_PX = 112  # width of the face's box
SIDE_PX = 256  # of the square around its middle; the ring around the face fits in
ENCODER = {"preset": "medium", "crf": "26"}


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
        pictures = iter([squared(frame, window_around(frame, largest(frame, detector)), SIDE_PX)])
    else:
        pictures = squares(item, detector, window_around, SIDE_PX)
    write_clip(path, pictures, SIDE_PX, ENCODER)
    return path


def window_around(frame: Frame, face: Face | None) -> Window:
    """The square about the middle of a face whose box is to be `FACE_PX` wide of `SIDE_PX`; it may leave the frame."""
    x1, y1, x2, y2 = (0, 0, frame.width, frame.height) if face is None else (float(edge) for edge in face.box)
    side = round(max(x2, y2) if face is None else max(x2 - x1, 1.0) * SIDE_PX / FACE_PX)
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    return left, top, left + side, top + side
