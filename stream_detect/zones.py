"""Parts of a feed's picture in which faces are no persons: posters, screens, a mirror."""

from collections.abc import Sequence

from stream_detect.types import Face

Zone = tuple[float, float, float, float]  # left, top, right, bottom in shares of the picture's width and height


def outside(faces: Sequence[Face], zones: Sequence[Zone], height: int, width: int) -> list[Face]:
    """The faces whose centre lies in none of the zones, in their order.

    Args:
        faces: with boxes in pixels of a picture of `height` x `width`.
        zones: each with its left and top edge, without its right and bottom one.
    """
    return [face for face in faces if not any(is_in(face, zone, height, width) for zone in zones)]


def is_in(face: Face, zone: Zone, height: int, width: int) -> bool:
    """Whether the centre of a face lies in a zone."""
    left, top, right, bottom = zone
    x1, y1, x2, y2 = (float(side) for side in face.box)
    x, y = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
    return left <= x < right and top <= y < bottom
