"""Which tracks are one person: a follower that loses a face and finds it again gives it another number."""

import math

Box = tuple[float, float, float, float]

LEAST_IOU = 0.3  # of the boxes before and after, or
NEAR = 0.75  # their middles are at most so many sides of the face apart,
OTHER_SIZE = 1.6  # and one is at most so many times as large as the other
SAME_IOU = 0.5  # two boxes in one frame that overlap more are drawn around one face


def is_again(before: Box, now: Box) -> bool:
    """Whether a face that was lost a moment ago may be the one that is seen now."""
    larger, smaller = max(side(before), side(now)), min(side(before), side(now))
    if smaller <= 0 or larger / smaller > OTHER_SIZE:
        return False
    return overlap(before, now) >= LEAST_IOU or distance(before, now) <= NEAR * larger


def is_same(one: Box, other: Box) -> bool:
    """Whether two boxes of one frame are drawn around one face."""
    return overlap(one, other) >= SAME_IOU


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    together = side(one) ** 2 + side(other) ** 2 - shared
    return shared / together if together > 0 else 0.0


def side(box: Box) -> float:
    """Geometric mean of the sides, in pixels."""
    return math.sqrt(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]))


def distance(one: Box, other: Box) -> float:
    """Between the middles, in pixels."""
    return math.hypot((one[0] + one[2] - other[0] - other[2]) / 2, (one[1] + one[3] - other[1] - other[3]) / 2)
