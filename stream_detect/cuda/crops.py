"""Cut faces out of pictures that lie on a GPU, and reduce whole pictures for the face finder (kernels/nv12_crops.cu).

`stream_detect.faces.crop.cut_faces` and `Frame.reduced` are the definitions; where every face goes is worked out here
for a whole batch at once, with the definitions' numbers, and crosses to the device as one table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Complex, Float, Float32, Int, UInt8

from stream_detect.arrays import settled
from stream_detect.cuda.kernels import Bench
from stream_detect.decode.frame import Frame, ycbcr_to_rgb
from stream_detect.faces.crop import BOX_SHARE, MAX_MISFIT, RING_PX, TEMPLATE, sound_box
from stream_detect.faces.retinaface import MEAN_BGR
from stream_detect.types import ALIGNED_PX, AROUND_TILES, INSIDE_TILES, PIXELS_PX, TILE_PX, Face

STEM = "nv12_crops"
TILES = INSIDE_TILES + AROUND_TILES
SQUARES = (ALIGNED_PX // 32) ** 2  # parts of an aligned crop, one block each
BLOCKS = SQUARES + TILES + 1  # a face: those, one for each tile, one for the picked pixels
THREADS = 256
REDUCED_THREADS = 128
BITS = 10  # colour weights are whole 1 / 1024s, as OpenCV has them
LINEAR_WHOLE = 2048  # and those of its linear interpolation 1 / 2048s
TO_EVEN, HALVES_UP, LINEAR = range(3)  # how reduced planes are rounded; LINEAR has a way of its own
MIDDLE = ALIGNED_PX / 2 * (1 + 1j)

# As the structs of the same names in kernels/nv12_crops.cu.
PICTURE = np.dtype(
    [
        ("planes", np.uint64, 3),
        ("strides", np.int32, 2),
        ("height", np.int32),
        ("width", np.int32),
        ("is_interleaved", np.int32),
        ("levels", np.int32, 2),
        ("weights", np.int32, 5),
        ("offsets", np.int32, 3),
        ("unused", np.int32),
    ]
)
CUT = np.dtype(
    [
        ("frame", np.int32),
        ("whole", np.int32),
        ("corner", np.int32, 2),
        ("origin", np.float32, 2),
        ("step", np.float32, 2),
        ("taps", np.float32, 2),
        ("picked", np.int32, 4),
        ("tiles", np.int32, (TILES, 2)),
    ]
)

Boxes = Float[np.ndarray, "faces 4"]
Points = Complex[np.ndarray, " faces"]  # x + iy
Seen = Sequence[tuple[Frame, Sequence[Face]]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class DeviceCrops:
    """`FaceCrops` whose pictures lie on the device of a bench, with what networks take beside them."""

    tiles: Any  # (faces, 28, 64, 64) float32 luma in [0, 1]
    pixels: Any  # (faces, 64, 64, 3) uint8 RGB
    aligned: Any  # (faces, 256, 256, 3) uint8 RGB
    network: Any  # (faces, 3, 256, 256) float32: `aligned` in [0, 1]
    face_px: Float32[np.ndarray, " faces"]  # geometric mean of the box's sides, in pixels
    around_share: Float32[np.ndarray, " faces"]  # share of the surrounding tiles' area outside the face box

    def __len__(self) -> int:
        return len(self.face_px)

    def first(self, faces: int) -> "DeviceCrops":
        """The crops of the first `faces` faces: the same memory, at the same addresses."""
        return DeviceCrops(*(getattr(self, field.name)[:faces] for field in fields(self)))


def room_for(bench: Bench, faces: int) -> DeviceCrops:
    """Room for the crops of `faces` faces on the device, not yet filled; whoever reuses it keeps its addresses."""
    xp = bench.xp
    return DeviceCrops(
        tiles=xp.empty((faces, TILES, TILE_PX, TILE_PX), np.float32),
        pixels=xp.empty((faces, PIXELS_PX, PIXELS_PX, 3), np.uint8),
        aligned=xp.empty((faces, ALIGNED_PX, ALIGNED_PX, 3), np.uint8),
        network=xp.empty((faces, 3, ALIGNED_PX, ALIGNED_PX), np.float32),
        face_px=np.empty(faces, np.float32),
        around_share=np.empty(faces, np.float32),
    )


def cut_faces(bench: Bench, seen: Seen, out: DeviceCrops | None = None) -> DeviceCrops:
    """Everything that the experts look at, for each face of several frames, in order: one copy up, one launch.

    Args:
        bench: where the kernel runs; nothing waits for it.
        seen: frames, of any sizes, with their faces. Their planes have to stay until the kernel has run, which CuPy's
            memory pool sees to on the current stream.
        out: room from `room_for`, for as many faces or more; the first of it is filled and returned.

    Raises:
        ValueError: if a frame is of another layout than "nv12" and "yuv420" or isn't on the bench's device, a face box
            isn't four finite numbers, or `out` is too small.
    """
    seen = [(frame, faces) for frame, faces in seen if faces]
    places = placed(seen)
    num_faces = len(places.cuts)
    crops = room_for(bench, num_faces) if out is None else out.first(num_faces)
    if len(crops) < num_faces:
        raise ValueError(f"there is room for {len(crops)} faces, and {num_faces} came; make it with room_for")
    crops.face_px[:], crops.around_share[:] = places.face_px, places.around_share
    if num_faces:
        pictures = table_of_pictures(bench, [frame for frame, _ in seen])
        table = bench.xp.asarray(np.concatenate([pictures.view(np.uint8), places.cuts.view(np.uint8)]))
        made = (crops.tiles, crops.pixels, crops.aligned, crops.network)
        bench.launch(STEM, "nv12_crops", (BLOCKS, num_faces), THREADS, table, np.int32(len(pictures)), *made)
    return crops


def bytes_moved(seen: Seen) -> int:
    """The least that `cut_faces` has to read and write: every crop once, and the stored pixels under it once.

    Those are 1.5 bytes for each pixel under the aligned crop, magnified faces' tiles reaching beyond it left out.
    """
    cuts = placed(seen).cuts
    made = 4 * TILES * TILE_PX**2 + 3 * PIXELS_PX**2 + (1 + 4) * 3 * ALIGNED_PX**2
    pixels = (cuts["step"].astype(np.float64) ** 2).sum(axis=1) * (cuts["whole"] * float(ALIGNED_PX)) ** 2
    return int(len(cuts) * (made + CUT.itemsize) + 1.5 * pixels.sum())


# Where pictures are and what their numbers mean.


def table_of_pictures(bench: Bench, frames: Sequence[Frame]) -> np.ndarray:
    """One `PICTURE` a frame.

    Raises:
        ValueError: as `cut_faces` has it.
    """
    rows = [picture_row(bench, frame) for frame in frames]
    return np.array(rows, PICTURE)


def picture_row(bench: Bench, frame: Frame) -> tuple[Any, ...]:
    check(bench, frame)
    luma, u = frame.planes[:2]
    is_interleaved = frame.layout == "nv12"
    first = [bench.pointer(plane) for plane in frame.planes]
    addresses = (*first[:2], first[1] + 1 if is_interleaved else first[2])
    strides = (luma.strides[0], u.strides[0])
    levels, weights, offsets = color_numbers(frame.matrix, frame.is_full_range)
    return (addresses, strides, frame.height, frame.width, is_interleaved, levels, weights, offsets, 0)


def check(bench: Bench, frame: Frame) -> None:
    """That the kernel can read a frame's planes."""
    if frame.layout not in ("nv12", "yuv420"):
        raise ValueError(f"a GPU cuts frames of layout nv12 or yuv420, got {frame.layout}; the CPU cuts all layouts")
    wanted, half = bench.xp.ndarray, (-(-frame.height // 2), -(-frame.width // 2))
    if not all(isinstance(plane, wanted) for plane in frame.planes):
        names = ", ".join(type(plane).__module__.partition(".")[0] for plane in frame.planes)
        raise ValueError(f"a frame's planes have to be arrays of {bench.xp.__name__} to be cut there, got {names}")
    if any(plane.shape[:2] != half for plane in frame.planes[1:]):
        shapes = [plane.shape for plane in frame.planes]
        raise ValueError(f"4:2:0 chroma has half the luma's sides, rounded up, got planes of {shapes}")
    pixel = (2, 1) if frame.layout == "nv12" else (1,)
    chroma_strides = {plane.strides for plane in frame.planes[1:]}
    if frame.planes[0].strides[1] != 1 or len(chroma_strides) > 1 or chroma_strides.pop()[1:] != pixel:
        strides = [plane.strides for plane in frame.planes]
        raise ValueError(f"a plane's rows have to be without gaps, and U's and V's as long, got strides {strides}")
    if frame.layout == "nv12" and (bench.pointer(frame.planes[1]) % 2 or frame.planes[1].strides[0] % 2):
        raise ValueError("rows of an NV12 frame's UV plane have to begin at even addresses; copy the plane first")


@lru_cache(maxsize=16)
def color_numbers(matrix: Any, is_full_range: bool) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Black and span of luma; the weights Y, V to red, U and V to green, U to blue; red's, green's, blue's offsets.

    Weights and offsets are whole 1 / 1024s, and half a level is added to the offsets, as `cv2.transform` has it.
    """
    whole = np.rint(ycbcr_to_rgb(matrix, is_full_range) * np.float32(1 << BITS)).astype(int).tolist()
    weights = (whole[0][0], whole[0][2], whole[1][1], whole[1][2], whole[2][1])
    levels = (0, 255) if is_full_range else (16, 219)
    return levels, weights, tuple(row[3] + (1 << BITS - 1) for row in whole)


# Where faces go: `stream_detect.faces.crop` for many faces at once, in the same order of operations.


class Places(NamedTuple):
    """What the kernel is told of each face, and the numbers that stay on the host."""

    cuts: np.ndarray  # one `CUT` a face
    face_px: Float32[np.ndarray, " faces"]
    around_share: Float32[np.ndarray, " faces"]


def placed(seen: Seen) -> Places:
    """Where the crops of every face lie.

    Raises:
        ValueError: if a face box isn't four finite numbers.
    """
    faces = [face for _, faces in seen for face in faces]
    counts = np.array([len(faces) for _, faces in seen], np.int64)
    boxes = sound_boxes(faces)
    landmarks = np.array([face.landmarks for face in faces], np.float64).reshape(-1, 5, 2)
    sides = np.array([(frame.width, frame.height) for frame, _ in seen], np.int64).reshape(-1, 2)
    sides = np.repeat(sides, counts, axis=0)

    cuts = np.zeros(len(faces), CUT)
    cuts["frame"] = np.repeat(np.arange(len(seen)), counts)
    cuts["tiles"] = tile_corners(boxes, sides)
    fill_pictures(cuts, boxes, landmarks)
    face_px = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    share = share_outside(cuts["tiles"][:, INSIDE_TILES:], boxes)
    return Places(cuts, face_px.astype(np.float32), share.astype(np.float32))


def sound_boxes(faces: Sequence[Face]) -> Boxes:
    """`crop.sound_box` of each face, which also says what is wrong with one."""
    for face in faces:
        if face.box.shape != (4,):
            sound_box(face.box)
    boxes = np.array([face.box for face in faces], np.float64).reshape(-1, 4)
    for index in np.flatnonzero(~np.isfinite(boxes).all(axis=1)):
        sound_box(faces[int(index)].box)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return boxes


def tile_corners(boxes: Boxes, sides: Int[np.ndarray, "faces 2"]) -> Int[np.ndarray, "faces 28 2"]:
    """Upper left corners (x, y) of the tiles, as `stream_detect.faces.crop.tile_corners`; `sides` are the frames'."""
    low, side = boxes[:, :2, None], (boxes[:, 2:] - boxes[:, :2])[..., None]
    room, step = np.maximum(side - TILE_PX, 0.0), np.arange(4)
    inside = (side - TILE_PX - room) / 2 + room * step / 3
    around = -RING_PX - TILE_PX / 2 + (side + 2 * RING_PX) * step / 3
    limit = sides[..., None]
    starts = np.floor(low + 0.5) + np.floor(np.concatenate([inside, around], axis=2) + 0.5)
    moved = np.minimum(np.maximum(starts, 0), limit - TILE_PX)
    kept = np.where(limit < TILE_PX, (limit - TILE_PX) // 2, moved).astype(np.int32)  # (faces, 2, 8): inside, around
    row, column = np.divmod(np.arange(16), 4)
    on_ring = (row % 3 == 0) | (column % 3 == 0)
    columns = np.concatenate([column, 4 + column[on_ring]])
    rows = np.concatenate([row, 4 + row[on_ring]])
    corners: np.ndarray = np.stack([kept[:, 0, columns], kept[:, 1, rows]], axis=2)
    return corners


def share_outside(corners: Int[np.ndarray, "faces tiles 2"], boxes: Boxes) -> Float[np.ndarray, " faces"]:
    ends = np.minimum(corners + TILE_PX, boxes[:, None, 2:])
    shared = np.maximum(ends - np.maximum(corners, boxes[:, None, :2]), 0)
    outside: np.ndarray = 1 - shared.prod(axis=2).mean(axis=1) / TILE_PX**2
    return outside


def fill_pictures(cuts: np.ndarray, boxes: Boxes, landmarks: Float[np.ndarray, "faces 5 2"]) -> None:
    """What `crop.pick` and `crop.align` need: the grid of pixels, the blocks, and the way from crop to blocks."""
    turn, shift = place(boxes, landmarks)
    reduction = 1 / np.hypot(turn.real, turn.imag)
    whole = np.maximum(1, reduction.astype(np.int64))
    rest = reduction / whole
    inner = np.floor(boxes + 0.5).astype(np.int64)
    inner[:, 2:] = np.maximum(inner[:, 2:], inner[:, :2] + 1)
    corner = np.minimum(first_pixels(turn, shift), inner[:, :2])
    side = np.where(rest > 1, (1 - np.maximum(rest, 1) ** -2) / 4, 0.0)
    origin = in_frame(0.5 + 0.5j, turn, shift) - (corner @ np.array([1, 1j]))
    cuts["whole"], cuts["corner"] = whole, corner
    cuts["origin"] = parts(origin / whole - (0.5 + 0.5j))
    cuts["step"] = parts(1 / turn / whole)
    cuts["taps"] = np.stack([side, 1 - 2 * side], axis=1)
    cuts["picked"] = np.concatenate([inner[:, :2], inner[:, 2:] - inner[:, :2]], axis=1)


def place(boxes: Boxes, landmarks: Float[np.ndarray, "faces 5 2"]) -> tuple[Points, Points]:
    """Turn and shift of each face's `crop.Placement`."""
    middle = (boxes[:, 0] + boxes[:, 2]) / 2 + 1j * ((boxes[:, 1] + boxes[:, 3]) / 2)
    side = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    upright = ALIGNED_PX / (BOX_SHARE * side) + 0j
    with np.errstate(all="ignore"):  # landmarks that can't be believed
        turn, shift, is_fit = fit(landmarks)
        misfit = np.abs(turn) / np.abs(upright)
        off = in_frame(MIDDLE, turn, shift) - middle
        is_fit &= (misfit >= 1 / MAX_MISFIT) & (misfit <= MAX_MISFIT)
        is_fit &= np.maximum(np.abs(off.real), np.abs(off.imag)) <= side / 2
    return np.where(is_fit, turn, upright), np.where(is_fit, shift, MIDDLE - upright * middle)


def fit(landmarks: Float[np.ndarray, "faces 5 2"]) -> tuple[Points, Points, np.ndarray]:
    """Turn and shift of the least-squares similarities, and which of them are any good, as `crop.fit`."""
    seen, wanted = (points @ np.array([1, 1j]) for points in (landmarks, TEMPLATE))
    seen_middle, wanted_middle = seen.mean(axis=1), wanted.mean()
    around = seen - seen_middle[:, None]
    spread = np.sum(np.abs(around) ** 2, axis=1)
    turn = np.sum(np.conj(around) * (wanted - wanted_middle), axis=1) / spread
    is_fit = np.isfinite(spread) & (spread >= 1e-6) & (np.abs(turn) > 1e-6)
    return turn, wanted_middle - turn * seen_middle, is_fit


def first_pixels(turn: Points, shift: Points) -> Int[np.ndarray, "faces 2"]:
    """Left and top of `crop.window_of`."""
    ends = [-2, ALIGNED_PX + 2]
    corners = np.stack([in_frame(complex(x, y), turn, shift) for x in ends for y in ends])
    low = np.stack([corners.real.min(axis=0), corners.imag.min(axis=0)], axis=1)
    first: np.ndarray = np.floor(low).astype(np.int64) - 1
    return first


def in_frame(crop: complex, turn: Points, shift: Points) -> Points:
    found: np.ndarray = (crop - shift) / turn
    return found


def parts(points: Points) -> Float[np.ndarray, "faces 2"]:
    return np.stack([points.real, points.imag], axis=1)


# Whole pictures, reduced.


def reduced(bench: Bench, frames: Sequence[Frame], max_side: int, out: Any = None) -> Any:
    """`Frame.reduced(max_side)` of frames of one size as the face finder takes them, in one launch.

    Args:
        bench: where the kernel runs; nothing waits for it.
        frames: of layout "nv12" or "yuv420", on the bench's device.
        max_side: longer side of the reduced pictures, in pixels; nothing is magnified.
        out: where to put them, or None for an array of their own.

    Returns:
        (frames, 3, height, width) float32 on the device: BGR in 0 .. 255 minus `MEAN_BGR`.

    Raises:
        ValueError: if there is no frame, frames are of several sizes or such as `cut_faces` doesn't take, or `out` has
            other sides.
    """
    sizes = sorted({(frame.height, frame.width) for frame in frames})
    if len(sizes) != 1:
        raise ValueError(f"frames are reduced together if they are of one size (height, width), got {sizes or 'none'}")
    ruler = ruler_for(*sizes[0], max_side)
    shape = (len(frames), 3, ruler.height, ruler.width)
    pictures = bench.xp.empty(shape, np.float32) if out is None else out
    if pictures.shape != shape or pictures.dtype != np.float32:
        raise ValueError(f"reduced pictures are {shape} float32, got room of {pictures.shape} {pictures.dtype}")
    table = bench.xp.asarray(table_of_pictures(bench, frames).view(np.uint8))
    bench.launch(
        STEM,
        "nv12_reduced",
        (-(-ruler.width // REDUCED_THREADS), ruler.height, len(frames)),
        REDUCED_THREADS,
        table,
        *ruler_on(bench.xp, str(frames[0].planes[0].device), ruler.source, max_side),
        *(np.int32(n) for n in (ruler.height, ruler.width, *ruler.taps, *ruler.roundings)),
        *(np.float32(x) for x in (*ruler.shares, *MEAN_BGR)),
        pictures,
    )
    return pictures


def bytes_moved_reduced(frames: Sequence[Frame], max_side: int) -> int:
    """The least that `reduced` has to read and write: every stored pixel and every reduced one, once."""
    rulers = [ruler_for(frame.height, frame.width, max_side) for frame in frames]
    read = sum(frame.height * frame.width * 3 // 2 for frame in frames)
    return read + sum(4 * 3 * ruler.height * ruler.width for ruler in rulers)


class Ruler(NamedTuple):
    """How pictures of one size are reduced: along each axis, a pixel is a weighted sum of `taps` source pixels."""

    source: tuple[int, int]  # height, width of the pictures
    height: int
    width: int
    starts: Int[np.ndarray, " pixels"]  # first source pixel: luma across, luma down, chroma across, chroma down
    weights: Float32[np.ndarray, " weights"]  # in the same order, (taps, pixels) each
    taps: tuple[int, int, int, int]  # none where pictures keep their size
    roundings: tuple[int, int]  # luma, chroma: TO_EVEN, HALVES_UP or LINEAR
    shares: tuple[float, float]  # luma, chroma: what a weighted sum is multiplied by


@lru_cache(maxsize=64)
def ruler_on(xp: Any, device: str, source: tuple[int, int], max_side: int) -> tuple[Any, Any]:
    """A ruler's starts and weights on the current device, which has that name; copied there once."""
    ruler = ruler_for(*source, max_side)
    return settled(xp.asarray(ruler.starts)), settled(xp.asarray(ruler.weights))


@lru_cache(maxsize=64)
def ruler_for(height: int, width: int, max_side: int) -> Ruler:
    scale = min(1.0, max_side / max(height, width))
    if scale == 1.0:
        none = np.zeros(1, np.int32), np.zeros(1, np.float32)
        return Ruler((height, width), height, width, *none, (0, 0, 0, 0), (TO_EVEN, TO_EVEN), (1.0, 1.0))
    to = (max(1, round(height * scale)), max(1, round(width * scale)))
    luma, chroma = (plane_ruler(source, to) for source in ((height, width), (-(-height // 2), -(-width // 2))))
    axes = (*luma.axes, *chroma.axes)
    starts = np.concatenate([starts for starts, _ in axes]).astype(np.int32)
    weights = np.concatenate([weights.ravel() for _, weights in axes]).astype(np.float32)
    across, down, chroma_across, chroma_down = (len(weights) for _, weights in axes)
    taps = (across, down, chroma_across, chroma_down)
    about = (luma.rounding, chroma.rounding), (luma.share, chroma.share)
    return Ruler((height, width), *to, starts, weights, taps, *about)


Axis = tuple[np.ndarray, np.ndarray]  # starts (pixels,), weights (taps, pixels)


class PlaneRuler(NamedTuple):
    """How one plane is reduced."""

    axes: tuple[Axis, Axis]  # across, down
    rounding: int
    share: float


def plane_ruler(source: tuple[int, int], to: tuple[int, int]) -> PlaneRuler:
    """What `cv2.resize` with INTER_AREA does to a plane: it has four ways.

    It interpolates linearly along both axes if one of them grows; sums whole pixels and divides once where both shrink
    by whole factors, with halves rounded up where both are 2; and else weighs pieces of pixels.
    """
    (height, width), (rows, columns) = source, to
    if height < rows or width < columns:
        return PlaneRuler((linear_axis(width, columns), linear_axis(height, rows)), LINEAR, 1.0)
    across, down = round(shrinking(width, columns)), round(shrinking(height, rows))
    rest = max(abs(shrinking(width, columns) - across), abs(shrinking(height, rows) - down))
    if rest >= np.finfo(np.float64).eps:
        return PlaneRuler((area_axis(width, columns), area_axis(height, rows)), TO_EVEN, 1.0)
    rounding = HALVES_UP if across == down == 2 else TO_EVEN
    return PlaneRuler((whole_axis(across, columns), whole_axis(down, rows)), rounding, 1 / (across * down))


def shrinking(source: int, pixels: int) -> float:
    """Source pixels a pixel, to OpenCV's last bit."""
    return 1 / (pixels / source)


def whole_axis(taps: int, pixels: int) -> Axis:
    return np.arange(pixels) * taps, np.ones((taps, pixels))


def area_axis(source: int, pixels: int) -> Axis:
    """Each pixel's share of the source pixels that it covers (`cv2.INTER_AREA`); pieces below 1 / 1000 don't count."""
    scale = shrinking(source, pixels)
    low = np.arange(pixels) * scale
    high, cell = low + scale, np.minimum(scale, source - low)
    first_whole = np.ceil(low).astype(int)
    after_whole = np.minimum(np.floor(high).astype(int), source - 1)
    first_whole = np.minimum(first_whole, after_whole)
    before, after = first_whole - low, high - after_whole
    starts = first_whole - (before > 1e-3)
    taps = int((after_whole - starts + 1).max())
    at = starts + np.arange(taps)[:, None]
    weights = np.where((at >= first_whole) & (at < after_whole), 1.0, 0.0)
    weights += np.where((at == first_whole - 1) & (before > 1e-3), before, 0)
    weights += np.where((at == after_whole) & (after > 1e-3), np.minimum(np.minimum(after, 1), cell), 0)
    return starts, weights / cell


def linear_axis(source: int, pixels: int) -> Axis:
    """Two neighbours each, as `cv2.INTER_AREA` magnifies: linearly at the borders of source pixels. Weights of 2048."""
    numbers = np.arange(pixels)
    starts = np.floor(numbers * shrinking(source, pixels)).astype(int)
    part = ((numbers + 1) - (starts + 1) * (pixels / source)).astype(np.float32)
    part = np.where((part <= 0) | (starts >= source - 1), 0, part - np.floor(part))
    weight = np.rint(part * LINEAR_WHOLE)
    return np.minimum(starts, source - 1), np.stack([LINEAR_WHOLE - weight, weight])


def unpacked(pictures: Float32[np.ndarray, "frames 3 height width"]) -> UInt8[np.ndarray, "frames height width 3"]:
    """The RGB pictures that `reduced` gave, once they are on the host."""
    levels = pictures + np.array(MEAN_BGR, np.float32)[:, None, None]
    rgb: np.ndarray = np.rint(levels).astype(np.uint8).transpose(0, 2, 3, 1)[..., ::-1]
    return np.ascontiguousarray(rgb)
