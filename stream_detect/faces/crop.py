"""Cut faces out of a frame: native tiles and pixels for fingerprints, an aligned picture for networks.

Coordinates are those of boxes: pixel `i` covers `i`..`i + 1`. What a crop needs beyond the frame is mirrored in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from stream_detect.decode.frame import Frame
from stream_detect.types import ALIGNED_PX, AROUND_TILES, INSIDE_TILES, PIXELS_PX, TILE_PX, Face, FaceCrops

RING_PX = 36  # the ring tiles' centres lie this far beyond the face box, so the tiles begin 4 pixels beyond it
BOX_SHARE = 1.3  # side of the aligned crop over the longer side of an ordinary, upright face's box
MAX_MISFIT = 2.0  # landmarks that ask for a crop this many times larger or smaller than the box does are not believed

# Where eyes, nose and mouth corners lie in the aligned crop: their mean places in upright faces' boxes, made symmetric.
TEMPLATE = np.array([[95, 106], [161, 106], [128, 144], [100, 174], [156, 174]], np.float64)


class Window(NamedTuple):
    """Whole pixels of a frame, left and top included, right and bottom not."""

    x1: int
    y1: int
    x2: int
    y2: int

    def grown_to_multiple(self, of: int) -> "Window":
        """The window grown at its right and bottom until its sides are multiples of `of`."""
        return Window(self.x1, self.y1, self.x2 + (self.x1 - self.x2) % of, self.y2 + (self.y1 - self.y2) % of)


@dataclass(frozen=True, slots=True)
class Placement:
    """The similarity that takes pixels of the frame to the aligned crop: `crop = turn * frame + shift`, as x + iy."""

    turn: complex  # crop pixels a frame pixel, and the angle
    shift: complex

    @property
    def reduction(self) -> float:
        """Frame pixels a crop pixel."""
        return 1 / abs(self.turn)

    @property
    def whole_reduction(self) -> int:
        return max(1, int(self.reduction))

    def in_frame(self, crop: complex) -> complex:
        return (crop - self.shift) / self.turn


def cut_faces(frame: Frame, faces: Sequence[Face]) -> FaceCrops:
    """Everything that the experts look at, for each face of one frame.

    `tiles`: 16 tiles on a 4 x 4 grid inside the box (all on its middle along an axis where the box is below 64 pixels)
    and 12 on a square ring around it, moved into the frame where they would leave it. `pixels`: nearest pixels of a
    64 x 64 grid over the box. `aligned`: a similarity, fitted to the five landmarks by least squares, puts them on
    `TEMPLATE`; it is taken bilinearly, of a picture that `antialiased` smoothed where the face is reduced.
    """
    crops = no_crops(len(faces))
    for index, face in enumerate(faces):
        box = sound_box(face.box)
        crops.face_px[index] = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        crops.around_share[index] = cut_tiles(frame, box, crops.tiles[index])
        crops.pixels[index], crops.aligned[index] = cut_pictures(frame, face, box)
    return crops


def no_crops(num_faces: int = 0) -> FaceCrops:
    """Room for the crops of `num_faces` faces, not yet filled."""
    return FaceCrops(
        tiles=np.empty((num_faces, INSIDE_TILES + AROUND_TILES, TILE_PX, TILE_PX), np.float32),
        pixels=np.empty((num_faces, PIXELS_PX, PIXELS_PX, 3), np.uint8),
        aligned=np.empty((num_faces, ALIGNED_PX, ALIGNED_PX, 3), np.uint8),
        face_px=np.empty(num_faces, np.float32),
        around_share=np.empty(num_faces, np.float32),
    )


def concatenate(crops: Sequence[FaceCrops]) -> FaceCrops:
    """The crops of several frames or feeds as one batch, in order; none gives an empty batch."""
    if not crops:
        return no_crops()
    if len(crops) == 1:
        return crops[0]
    return FaceCrops(
        tiles=np.concatenate([crop.tiles for crop in crops]),
        pixels=np.concatenate([crop.pixels for crop in crops]),
        aligned=np.concatenate([crop.aligned for crop in crops]),
        face_px=np.concatenate([crop.face_px for crop in crops]),
        around_share=np.concatenate([crop.around_share for crop in crops]),
    )


def sound_box(box: Float32[np.ndarray, " 4"]) -> Float[np.ndarray, " 4"]:
    """The box in float64, at least one pixel wide and high.

    Raises:
        ValueError: if it isn't four finite numbers.
    """
    sides = np.asarray(box, np.float64)
    if sides.shape != (4,) or not np.isfinite(sides).all():
        raise ValueError(f"a face box is four finite numbers, x1 y1 x2 y2 in pixels, got {box}")
    return np.concatenate([sides[:2], np.maximum(sides[2:], sides[:2] + 1)])


def cut_tiles(frame: Frame, box: Float[np.ndarray, " 4"], out: Float32[np.ndarray, "28 64 64"]) -> float:
    """Fill `out` with the tiles of one face; what share of the ring tiles' area lies outside its box.

    All tiles are views of one window of native luma.
    """
    corners = tile_corners(box, frame.height, frame.width)
    window = Window(*corners.min(axis=0).tolist(), *(corners.max(axis=0) + TILE_PX).tolist())
    luma = frame.luma(window)
    for tile, (x, y) in zip(out, (corners - window[:2]).tolist(), strict=True):
        tile[:] = luma[y : y + TILE_PX, x : x + TILE_PX]
    return share_outside(corners[INSIDE_TILES:], box)


def tile_corners(box: Float[np.ndarray, " 4"], height: int, width: int) -> Int[np.ndarray, "28 2"]:
    """Upper left corners (x, y) of the tiles: the grid on the face row by row, then the ring around it row by row."""
    columns, rows = (tile_starts(box[axis], box[axis + 2], limit) for axis, limit in ((0, width), (1, height)))
    inside = [(x, y) for y in rows[0] for x in columns[0]]
    ring = [(x, y) for j, y in enumerate(rows[1]) for i, x in enumerate(columns[1]) if {i, j} & {0, 3}]
    return np.array(inside + ring)


def tile_starts(low: float, high: float, limit: int) -> tuple[list[int], list[int]]:
    """Along one axis of `limit` pixels: the four starts of the tiles inside `low`..`high`, and of those around."""
    first, side = int(np.floor(low + 0.5)), high - low
    room = max(side - TILE_PX, 0.0)
    inset = (side - TILE_PX - room) / 2  # below 0 where the tiles are larger than the face
    inside = [inset + room * step / 3 for step in range(4)]
    around = [-RING_PX - TILE_PX / 2 + (side + 2 * RING_PX) * step / 3 for step in range(4)]
    starts = [into_frame(first + int(np.floor(start + 0.5)), limit) for start in inside + around]
    return starts[:4], starts[4:]


def into_frame(start: int, limit: int) -> int:
    """The start of a tile moved so that it lies inside; a tile that can't lies over the middle."""
    if limit < TILE_PX:
        return (limit - TILE_PX) // 2
    return min(max(start, 0), limit - TILE_PX)


def share_outside(corners: Int[np.ndarray, "tiles 2"], box: Float[np.ndarray, " 4"]) -> float:
    shared = np.clip(np.minimum(corners + TILE_PX, box[2:]) - np.maximum(corners, box[:2]), 0, None)
    return float(1 - shared.prod(axis=1).mean() / TILE_PX**2)


def cut_pictures(
    frame: Frame, face: Face, box: Float[np.ndarray, " 4"]
) -> tuple[UInt8[np.ndarray, "64 64 3"], UInt8[np.ndarray, "256 256 3"]]:
    """The picked pixels and the aligned crop of one face, out of one window of RGB."""
    placement = place(face.landmarks, box)
    window = union(window_of(placement), window_of_box(box)).grown_to_multiple(placement.whole_reduction)
    rgb = frame.rgb(window)
    return pick(rgb, box, window), align(rgb, placement, window)


def place(landmarks: Float32[np.ndarray, "5 2"], box: Float[np.ndarray, " 4"]) -> Placement:
    """The similarity that fits the landmarks to the template, or, if they can't be believed, the box to the crop."""
    middle = complex((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    side = max(box[2] - box[0], box[3] - box[1])
    upright = Placement(ALIGNED_PX / (BOX_SHARE * side) + 0j, 0j)
    upright = Placement(upright.turn, ALIGNED_PX / 2 * (1 + 1j) - upright.turn * middle)
    fitted = fit(landmarks)
    if fitted is None or not 1 / MAX_MISFIT <= abs(fitted.turn / upright.turn) <= MAX_MISFIT:
        return upright
    off = fitted.in_frame(ALIGNED_PX / 2 * (1 + 1j)) - middle
    return fitted if max(abs(off.real), abs(off.imag)) <= side / 2 else upright


def fit(landmarks: Float32[np.ndarray, "5 2"]) -> Placement | None:
    """Least-squares similarity from landmarks to template (Umeyama 1991, without reflection); None if degenerate."""
    seen, wanted = (points @ np.array([1, 1j]) for points in (np.asarray(landmarks, np.float64), TEMPLATE))
    seen_middle, wanted_middle = seen.mean(), wanted.mean()
    spread = np.sum(np.abs(seen - seen_middle) ** 2)
    if not np.isfinite(spread) or spread < 1e-6:
        return None
    turn = complex(np.sum(np.conj(seen - seen_middle) * (wanted - wanted_middle)) / spread)
    return Placement(turn, complex(wanted_middle - turn * seen_middle)) if abs(turn) > 1e-6 else None


def window_of(placement: Placement) -> Window:
    """The frame's pixels under the aligned crop, and two crop pixels more on each side."""
    ends = [-2, ALIGNED_PX + 2]
    corners = [placement.in_frame(complex(x, y)) for x in ends for y in ends]
    x, y = [c.real for c in corners], [c.imag for c in corners]
    low, high = np.floor([min(x), min(y)]).astype(int) - 1, np.ceil([max(x), max(y)]).astype(int) + 1
    return Window(*low.tolist(), *high.tolist())


def window_of_box(box: Float[np.ndarray, " 4"]) -> Window:
    x1, y1, x2, y2 = np.floor(box + 0.5).astype(int).tolist()
    return Window(x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))


def union(a: Window, b: Window) -> Window:
    return Window(min(a.x1, b.x1), min(a.y1, b.y1), max(a.x2, b.x2), max(a.y2, b.y2))


def pick(
    rgb: UInt8[np.ndarray, "height width 3"], box: Float[np.ndarray, " 4"], window: Window
) -> UInt8[np.ndarray, "64 64 3"]:
    """Untouched pixels at the middles of a 64 x 64 grid over the box."""
    inner = window_of_box(box)
    steps = (2 * np.arange(PIXELS_PX) + 1) / (2 * PIXELS_PX)
    columns = inner.x1 - window.x1 + (steps * (inner.x2 - inner.x1)).astype(np.intp)
    rows = inner.y1 - window.y1 + (steps * (inner.y2 - inner.y1)).astype(np.intp)
    return rgb[rows[:, None], columns]


def align(
    rgb: UInt8[np.ndarray, "height width 3"], placement: Placement, window: Window
) -> UInt8[np.ndarray, "256 256 3"]:
    """The aligned crop, out of a window that holds all it needs and divides by the whole reduction."""
    whole = placement.whole_reduction
    smooth = antialiased(rgb, whole, placement.reduction / whole)
    back = 1 / placement.turn / whole
    origin = (placement.in_frame(0.5 + 0.5j) - complex(window.x1, window.y1)) / whole - (0.5 + 0.5j)
    inverse = np.array([[back.real, -back.imag, origin.real], [back.imag, back.real, origin.imag]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    rgba = cv2.cvtColor(smooth, cv2.COLOR_RGB2RGBA)  # OpenCV turns four channels more than twice as fast as three
    turned = cv2.warpAffine(rgba, inverse, (ALIGNED_PX, ALIGNED_PX), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return cv2.cvtColor(turned, cv2.COLOR_RGBA2RGB).astype(np.uint8, copy=False)


def antialiased(
    rgb: UInt8[np.ndarray, "height width 3"], whole: int, rest: float
) -> UInt8[np.ndarray, "reduced_height reduced_width 3"]:
    """`rgb` ready to be taken at `whole * rest` of its pixels a step: what is finer than that is averaged away.

    Blocks of `whole` pixels are averaged. Then, for 1 < `rest` < 2, rows and columns are filtered with (a, 1 - 2a, a),
    a = (1 - 1 / rest^2) / 4, which passes about 0.6 at the new Nyquist frequency, as an area average does. Nothing
    happens where a face is magnified.
    """
    if whole > 1:
        to = (rgb.shape[1] // whole, rgb.shape[0] // whole)
        rgb = cv2.resize(rgb, to, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    if rest > 1:
        side = (1 - rest**-2) / 4
        taps = np.array([side, 1 - 2 * side, side], np.float32)
        rgb = cv2.sepFilter2D(rgb, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101).astype(np.uint8, copy=False)
    return rgb
