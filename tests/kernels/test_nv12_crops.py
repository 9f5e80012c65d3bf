"""kernels/nv12_crops.cu cuts what `cut_faces` and `Frame.reduced` cut: on the host, and on a GPU where there is one."""

import platform
from collections import Counter
from typing import Any

import cv2
import numpy as np
import pytest

from stream_detect.cuda.crops import bytes_moved, bytes_moved_reduced, cut_faces, placed, reduced, room_for, unpacked
from stream_detect.cuda.kernels import CudaBench
from stream_detect.decode.frame import KR_KB, Frame
from stream_detect.faces import concatenate, crop
from stream_detect.faces.crop import TEMPLATE
from stream_detect.faces.detector import network_input
from stream_detect.types import Face, FaceCrops
from tests.kernels.emulate import ARCHITECTURES, HostBench, bytes_out_of_registers

# OpenCV computes colours in whole 1 / 1024s on x86, and in floats elsewhere; it turns pictures with float weights since
# version 5, and with weights of 5 bits before.
COLOR_SLACK = 0 if platform.machine().lower() in ("x86_64", "amd64") else 1
MEAN, P99, MOST = (0.3, 1, 1) if int(cv2.__version__.split(".")[0]) >= 5 else (1.2, 4, 10)
REDUCED_MOST, REDUCED_SHARE = 3, 0.02  # on a GPU: 1 in luma or chroma, and how many of the values may differ
LAYOUTS = ("nv12", "yuv420")


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def bench(request):
    return HostBench() if request.param == "host" else CudaBench()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_threads_keep_to_registers(architecture):
    assert bytes_out_of_registers("nv12_crops", architecture) == 0


def test_the_order_of_threads_changes_nothing():
    frame, _ = picture(HostBench(), padding=2)
    faces = [face_at(100, 100, 120, 0.3), face_at(10, 200, 230)]
    crops, other = (cut_faces(HostBench(backwards), [(frame, faces)]) for backwards in (False, True))
    for name in ("tiles", "pixels", "aligned", "network"):
        np.testing.assert_array_equal(getattr(crops, name), getattr(other, name))


def noise(rng, *sides):
    return rng.integers(0, 256, sides, dtype=np.uint8)


def smooth(rng, *sides):
    return cv2.GaussianBlur(noise(rng, *sides), (0, 0), 1.5)


def picture(bench, layout="nv12", height=240, width=320, make=noise, seed=0, padding=0, **about):
    """A frame on the bench, and the same on the host as the definition takes it."""
    rng = np.random.default_rng(seed)
    half = (-(-height // 2), -(-width // 2))
    luma, u, v = make(rng, height, width), make(rng, *half), make(rng, *half)
    planes = (luma, np.stack([u, v], axis=-1)) if layout == "nv12" else (luma, u, v)
    put = tuple(with_gaps(bench.xp.asarray(plane), padding) for plane in planes)
    return Frame(put, layout, **about), Frame((luma, u, v), "yuv420", **about)


def with_gaps(plane: Any, padding: int) -> Any:
    """The plane with unused columns behind each row, as decoders leave them."""
    if not padding:
        return plane
    wide = np.zeros_like(plane, shape=(plane.shape[0], plane.shape[1] + padding, *plane.shape[2:]))
    wide[:, : plane.shape[1]] = plane
    return wide[:, : plane.shape[1]]


def face_at(x, y, side, turn=0.0, height=1.0):
    """A face whose box is centred at (x, y), with the landmarks of a face turned by `turn` radians."""
    half = np.array([side, side * height]) / 2
    angle = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    landmarks = (TEMPLATE - 128) * 1.3 * side / 256 @ angle + (x, y)
    box = np.array([x - half[0], y - half[1], x + half[0], y + half[1]])
    return Face(box.astype(np.float32), landmarks.astype(np.float32), 0.9)


def without_landmarks(face: Face, value: float = 5.0) -> Face:
    return Face(face.box, np.full((5, 2), value, np.float32), 0.9)


def on_host(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.get()


def assert_same(crops, expected: FaceCrops):
    """As the head of the kernel's source has it."""
    aligned, network = on_host(crops.aligned), on_host(crops.network)
    np.testing.assert_array_equal(on_host(crops.tiles), expected.tiles)
    assert difference(on_host(crops.pixels), expected.pixels).max(initial=0) <= COLOR_SLACK
    off = difference(aligned, expected.aligned)
    assert off.mean() <= MEAN + COLOR_SLACK
    assert np.percentile(off, 99) <= P99 + COLOR_SLACK
    assert off.max() <= MOST + COLOR_SLACK
    np.testing.assert_array_equal(network, aligned.transpose(0, 3, 1, 2) / np.float32(255))
    np.testing.assert_array_equal(crops.face_px, expected.face_px)
    np.testing.assert_allclose(crops.around_share, expected.around_share, rtol=1e-6, atol=1e-7)


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b)


def assert_cut_alike(bench, faces, **about):
    frame, reference = picture(bench, **about)
    assert_same(cut_faces(bench, [(frame, faces)]), crop.cut_faces(reference, faces))


@pytest.mark.parametrize("make", [noise, smooth])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("height", "width"), [(240, 320), (241, 321), (239, 322)])
def test_crops_are_those_of_the_definition(bench, layout, make, height, width):
    assert_cut_alike(bench, [face_at(160, 120, 100)], layout=layout, make=make, height=height, width=width)


@pytest.mark.parametrize("is_full_range", [False, True])
@pytest.mark.parametrize("matrix", KR_KB)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_colours_follow_matrix_and_range(bench, layout, matrix, is_full_range):
    faces = [face_at(150, 121, 90), face_at(100, 100, 230, 0.3)]
    assert_cut_alike(bench, faces, layout=layout, matrix=matrix, is_full_range=is_full_range)


@pytest.mark.parametrize(
    "face",
    [
        pytest.param(face_at(0, 0, 90), id="over a corner"),
        pytest.param(face_at(319, 120, 80), id="over the right edge"),
        pytest.param(face_at(160, 239, 150, 0.2), id="over the lower edge"),
        pytest.param(face_at(400, 300, 60), id="outside"),
        pytest.param(face_at(-200, -100, 70), id="outside, upper left"),
        pytest.param(face_at(160, 120, 700), id="larger than the frame"),
        pytest.param(face_at(-3000, 2000, 100), id="far outside"),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_lies_beyond_the_frame_is_mirrored_in(bench, layout, face):
    assert_cut_alike(bench, [face], layout=layout, height=239, width=319)


@pytest.mark.parametrize("turn", [-3.0, -1.57, -0.7854, -0.2, 0.1, 0.5, 0.7854, 1.2, 3.14])
def test_turned_faces_are_put_upright(bench, turn):
    assert_cut_alike(bench, [face_at(160, 120, side, turn) for side in (50, 130, 210, 390)])


@pytest.mark.parametrize("side", [1, 3, 17, 40, 63, 64, 65])
def test_small_faces_are_magnified(bench, side):
    assert_cut_alike(bench, [face_at(151.3, 101.8, side), face_at(150, 100, side, 0.3, height=1.3)])


@pytest.mark.parametrize("side", [196, 197, 300, 393, 394, 395, 500, 591, 640, 800, 1000, 1600])
@pytest.mark.parametrize("make", [noise, smooth])
def test_large_faces_are_averaged_before_they_are_turned(bench, make, side):
    about = {"height": 1080, "width": 1440, "make": make}
    assert_cut_alike(bench, [face_at(720, 540, side), face_at(700, 501, side, 0.4)], **about)


@pytest.mark.parametrize("value", [5.0, np.nan, np.inf, 1e30])
def test_landmarks_that_make_no_sense_leave_the_box(bench, value):
    with np.errstate(invalid="ignore"):  # of the definition
        assert_cut_alike(bench, [without_landmarks(face_at(150, 111, 120), value)])


def test_landmarks_that_contradict_the_box_leave_the_box(bench):
    box = face_at(150, 111, 60).box
    assert_cut_alike(bench, [Face(box, face_at(*away).landmarks, 0.9) for away in ((150, 111, 200), (250, 111, 60))])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (2, 3), (40, 50), (63, 200), (65, 64)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_small_frames_are_mirrored_as_often_as_it_takes(bench, layout, height, width):
    faces = [face_at(width / 2, height / 2, 40), face_at(0, 0, 10, 0.5)]
    assert_cut_alike(bench, faces, layout=layout, height=height, width=width)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_may_have_gaps_between_them(bench, layout):
    assert_cut_alike(bench, [face_at(160, 120, 100), face_at(310, 230, 90)], layout=layout, padding=6)


@pytest.mark.parametrize("num_faces", [1, 3, 64])
def test_faces_of_many_frames_go_through_in_one_launch(bench, num_faces):
    rng = np.random.default_rng(num_faces)
    seen, expected = [], []
    for number in range(num_faces):
        height, width = rng.integers(100, 300, 2).tolist()
        layout, matrix = LAYOUTS[number % 2], list(KR_KB)[number % 3]
        frame, reference = picture(
            bench, layout, height, width, seed=number, matrix=matrix, is_full_range=number % 4 == 0
        )
        faces = [face_at(*rng.uniform(0, 300, 2), rng.uniform(20, 300), rng.normal() * 0.3)]
        seen.append((frame, faces))
        expected.append(crop.cut_faces(reference, faces))
    assert_same(cut_faces(bench, seen), concatenate(expected))
    assert bench.launches == Counter({"nv12_crops": 1})


def test_faces_of_one_frame_stay_in_order(bench):
    frame, reference = picture(bench)
    empty, _ = picture(bench, height=50)
    faces = [face_at(30 * number, 100, 40 + number) for number in range(10)]
    crops = cut_faces(bench, [(empty, []), (frame, faces[:4]), (empty, []), (frame, faces[4:])])
    assert_same(crops, crop.cut_faces(reference, faces))


def test_no_face_launches_nothing(bench):
    frame, _ = picture(bench)
    for seen in ([], [(frame, [])]):
        crops = cut_faces(bench, seen)
        assert len(crops) == 0
        assert crops.network.shape == (0, 3, 256, 256)
    assert not bench.launches


def test_room_is_used_again_and_keeps_its_addresses(bench):
    room = room_for(bench, 4)
    frame, reference = picture(bench)
    addresses = [bench.pointer(array) for array in (room.tiles, room.pixels, room.aligned, room.network)]
    for num_faces in (4, 1, 3):
        faces = [face_at(20 + 40 * number, 100, 60) for number in range(num_faces)]
        crops = cut_faces(bench, [(frame, faces)], out=room)
        assert [
            bench.pointer(array) for array in (crops.tiles, crops.pixels, crops.aligned, crops.network)
        ] == addresses
        assert_same(crops, crop.cut_faces(reference, faces))


def test_too_little_room_fails(bench):
    frame, _ = picture(bench)
    with pytest.raises(ValueError, match="room for 1 faces, and 2 came"):
        cut_faces(bench, [(frame, [face_at(100, 100, 50)] * 2)], out=room_for(bench, 1))


@pytest.mark.parametrize("layout", ["yuv422", "yuv444", "gray", "rgb"])
def test_other_layouts_are_refused(bench, layout):
    sides = {"rgb": [(40, 60, 3)], "gray": [(40, 60)], "yuv422": [(40, 60), (40, 30), (40, 30)]}
    planes = tuple(bench.xp.zeros(shape, np.uint8) for shape in sides.get(layout, [(40, 60)] * 3))
    frame = Frame(planes, layout)
    with pytest.raises(ValueError, match=f"nv12 or yuv420, got {layout}"):
        cut_faces(bench, [(frame, [face_at(20, 20, 20)])])
    with pytest.raises(ValueError, match=f"nv12 or yuv420, got {layout}"):
        reduced(bench, [frame], 32)


def test_planes_the_kernel_cannot_read_are_refused():
    bench, face = HostBench(), face_at(20, 20, 20)
    luma, half = np.zeros((40, 60), np.uint8), np.zeros((20, 30), np.uint8)
    frames = {
        "half the luma's sides": Frame((luma, half[:-1], half[:-1]), "yuv420"),
        "without gaps": Frame((np.zeros((40, 120), np.uint8)[:, ::2], half, half), "yuv420"),
        "U's and V's as long": Frame((luma, half, np.zeros((20, 40), np.uint8)[:, :30]), "yuv420"),
        "even addresses": Frame((luma, np.zeros(1201, np.uint8)[1:].reshape(20, 30, 2)), "nv12"),
    }
    for reason, frame in frames.items():
        with pytest.raises(ValueError, match=reason):
            cut_faces(bench, [(frame, [face])])


@pytest.mark.gpu
def test_a_frame_on_the_host_is_refused_on_a_gpu():
    frame, _ = picture(HostBench())
    with pytest.raises(ValueError, match="arrays of cupy to be cut there, got numpy"):
        cut_faces(CudaBench(), [(frame, [face_at(20, 20, 20)])])


def test_a_box_that_is_no_box_fails(bench):
    frame, _ = picture(bench)
    box = np.array([0, 0, np.nan, 3], np.float32)
    with pytest.raises(ValueError, match="four finite numbers"):
        cut_faces(bench, [(frame, [Face(box, np.zeros((5, 2), np.float32), 0.9)])])


def test_many_faces_at_once_go_where_the_definition_puts_each():
    rng, bench = np.random.default_rng(4), HostBench()
    frame, _ = picture(bench, height=720, width=1280)
    faces = [face_at(*rng.uniform(-50, 1300, 2), rng.uniform(1, 1500), rng.normal()) for _ in range(300)]
    faces += [without_landmarks(face_at(x, 360, side)) for x in (640, 641) for side in range(8, 1200, 8)]
    found = placed([(frame, faces)])
    for cut, face in zip(found.cuts, faces, strict=True):
        box = crop.sound_box(face.box)
        placement = crop.place(face.landmarks, box)
        window = crop.union(crop.window_of(placement), crop.window_of_box(box))
        assert cut["whole"] == placement.whole_reduction
        assert tuple(cut["corner"]) == window[:2]
        np.testing.assert_array_equal(cut["tiles"], crop.tile_corners(box, 720, 1280))
        middle = (placement.in_frame(128.5 + 64.5j) - complex(*window[:2])) / cut["whole"] - (0.5 + 0.5j)
        reached = complex(*cut["origin"]) + complex(*cut["step"]) * (128 + 64j)
        assert abs(reached - middle) < 1e-3


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("max_side", [640, 192])
@pytest.mark.parametrize(
    ("height", "width"),
    [(720, 1280), (480, 854), (1080, 1920), (333, 777), (360, 640), (100, 61), (641, 360), (700, 701), (961, 1281)],
)
def test_reduced_pictures_are_those_of_the_definition(bench, layout, max_side, height, width):
    frame, reference = picture(bench, layout, height, width)
    found, expected = unpacked(on_host(reduced(bench, [frame], max_side))), reference.reduced(max_side)
    assert_reduced_alike(bench, found[0], expected)


def assert_reduced_alike(bench, found, expected):
    """The same on the host; a GPU fuses products and sums, so a fractional area's sum may fall on the other side."""
    off = difference(found, expected)
    if isinstance(bench, HostBench):
        assert off.max() <= COLOR_SLACK
        return
    assert off.max() <= REDUCED_MOST + COLOR_SLACK
    assert COLOR_SLACK or (off > 0).mean() <= REDUCED_SHARE


@pytest.mark.parametrize(
    ("height", "width", "max_side"), [(41, 136, 89), (398, 300, 246), (261, 125, 237), (499, 299, 456), (7, 3, 5)]
)
def test_chroma_that_grows_ends_where_opencv_ends_it(bench, height, width, max_side):
    frame, reference = picture(bench, height=height, width=width)
    found = unpacked(on_host(reduced(bench, [frame], max_side)))
    assert_reduced_alike(bench, found[0], reference.reduced(max_side))


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (360, 640), (160, 320), (1440, 2560)])
def test_pictures_reduced_by_whole_factors_are_exact_on_every_device(bench, height, width):
    frame, reference = picture(bench, height=height, width=width)
    found = unpacked(on_host(reduced(bench, [frame], 320)))[0]
    assert difference(found, reference.reduced(320)).max() <= COLOR_SLACK


def test_frames_of_one_size_are_reduced_in_one_launch(bench):
    pictures = [
        picture(bench, LAYOUTS[number % 2], 300, 500, smooth, number, matrix=matrix, is_full_range=number > 0)
        for number, matrix in enumerate(KR_KB)
    ]
    room = bench.xp.empty((3, 3, 96, 160), np.float32)
    found = reduced(bench, [frame for frame, _ in pictures], 160, out=room)
    expected = np.stack([reference.reduced(160) for _, reference in pictures])
    assert found is room
    assert_reduced_alike(bench, unpacked(on_host(found)), expected)
    assert bench.launches == Counter({"nv12_reduced": 1})


def test_reduced_pictures_are_what_the_finders_network_takes(bench):
    frame, reference = picture(bench)
    found = on_host(reduced(bench, [frame], 320))
    assert np.abs(found - network_input(reference.reduced(320)[None])).max() <= COLOR_SLACK
    assert found.dtype == np.float32


def test_frames_of_several_sizes_are_not_reduced_together(bench):
    frames = [picture(bench, height=height)[0] for height in (100, 102)]
    with pytest.raises(ValueError, match=r"one size .height, width., got \[\(100, 320\), \(102, 320\)\]"):
        reduced(bench, frames, 64)
    with pytest.raises(ValueError, match="got none"):
        reduced(bench, [], 64)


def test_room_of_another_size_fails(bench):
    frame, _ = picture(bench)
    with pytest.raises(ValueError, match=r"are \(1, 3, 48, 64\) float32, got room of \(1, 3, 64, 64\)"):
        reduced(bench, [frame], 64, out=bench.xp.empty((1, 3, 64, 64), np.float32))


def test_bytes_moved_by_hand():
    frame, _ = picture(HostBench(), height=720, width=1280)
    upright = without_landmarks(face_at(600, 300, 200))  # 260 x 260 pixels under the crop
    table = 280
    made = 28 * 64 * 64 * 4 + 64 * 64 * 3 + 256 * 256 * 3 * (1 + 4)
    assert bytes_moved([(frame, [upright] * 2)]) == pytest.approx(2 * (table + made + 1.5 * 260 * 260), abs=4)
    assert bytes_moved_reduced([frame], 640) == 720 * 1280 * 1.5 + 360 * 640 * 12
