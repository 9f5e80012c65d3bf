"""Faces are found, whatever their place and the engine that looks for them."""

import sys

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stream_detect.decode.frame import Frame
from stream_detect.errors import WeightsError
from stream_detect.faces import find_faces, load_detector
from stream_detect.faces.detector import DetectorSettings
from stream_detect.faces.network import TorchRetinaFace
from stream_detect.types import Face
from tests import clips

EYES = np.array([[205, 101], [247, 103]])  # of the astronaut, seen left to right
BOX = np.array([178, 57, 273, 177])


@pytest.fixture(scope="module")
def detector():
    return load_detector("cpu")


def close(face, other, px):
    return np.abs(face.box - other.box).max() < px and np.abs(face.landmarks - other.landmarks).max() < px


def test_the_astronaut_has_one_face(detector):
    ((face,),) = detector([clips.astronaut()])
    assert np.abs(face.box - BOX).max() < 3
    assert np.abs(face.landmarks[:2] - EYES).max() < 3
    assert face.confidence > 0.99
    assert face.track is None
    assert face.box.dtype == face.landmarks.dtype == np.float32


def test_landmarks_are_named_as_seen_in_the_picture(detector):
    for picture in (clips.astronaut(), clips.astronaut()[:, ::-1].copy()):
        left_eye, right_eye, nose, left_mouth, right_mouth = detector([picture])[0][0].landmarks
        assert left_eye[0] < nose[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert left_eye[1] < nose[1] < left_mouth[1]


def test_pictures_of_any_sizes_go_in_one_call(detector):
    pictures = [clips.portrait(240, 320), clips.astronaut(), clips.portrait(240, 320, center=(100, 100))]
    together = detector(pictures)
    for picture, faces in zip(pictures, together, strict=True):
        (alone,) = detector([picture])
        assert len(alone) == len(faces) == 1
        assert close(alone[0], faces[0], px=0.01)


def test_no_picture_gives_no_list(detector):
    assert detector([]) == []
    assert find_faces([], detector) == []


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (48, 17)])
def test_tiny_pictures_without_a_face_are_fine(detector, height, width):
    assert find_faces([Frame.from_rgb(np.full((height, width, 3), 90, np.uint8))], detector) == [[]]


def test_a_face_of_24_pixels_is_found_in_a_frame_of_640(detector):
    picture = np.full((360, 640, 3), 110, np.uint8)
    scale = 24 / 107  # the geometric mean of the box's sides
    small = cv2.resize(clips.astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture[100 : 100 + len(small), 300 : 300 + len(small)] = small
    ((face,),) = find_faces([Frame.from_rgb(picture)], detector)
    assert np.sqrt(np.prod(face.box[2:] - face.box[:2])) == pytest.approx(24, abs=4)


def test_faces_of_a_large_frame_are_given_in_its_own_pixels(detector):
    picture = cv2.resize(clips.astronaut(), (2048, 2048))
    ((face,),) = find_faces([Frame.from_rgb(picture)], detector)
    assert np.abs(face.box / 4 - BOX).max() < 3
    assert np.abs(face.landmarks[:2] / 4 - EYES).max() < 3


def test_the_copy_that_is_searched_is_never_larger_than_asked(detector):
    sides = []

    def watched(pictures):
        sides.extend(picture.shape[:2] for picture in pictures)
        return detector(pictures)

    frames = [Frame.from_rgb(clips.astronaut()), Frame.from_rgb(clips.portrait(100, 120, 60))]
    find_faces(frames, watched, max_side=256)
    assert sides == [(256, 256), (100, 120)]


def test_boxes_are_clipped_to_the_frame():
    boxes = [[-10, 5, 20, 30], [90, 90, 120, 110], [101, 10, 130, 40]]
    faces = [Face(np.array(box, np.float32), np.zeros((5, 2), np.float32), 0.9) for box in boxes]
    found = find_faces([Frame.from_rgb(np.zeros((200, 400, 3), np.uint8))], lambda pictures: [faces], max_side=100)
    assert [face.box.tolist() for face in found[0]] == [[0, 20, 80, 120]]


def test_a_face_cut_off_by_the_edge_is_found(detector):
    ((face,),) = find_faces([Frame.from_rgb(clips.astronaut()[:, 210:].copy())], detector)
    assert 0 <= face.box[0] < 5
    assert face.box[2] == pytest.approx(273 - 210, abs=6)


@pytest.mark.parametrize("side", [100, 256, 640])
def test_a_face_that_fills_the_picture_is_found(detector, side):
    tight = clips.astronaut()[70:165, 185:266]
    scale = side / 95
    frame = Frame.from_rgb(cv2.resize(tight, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))
    ((face,),) = find_faces([frame], detector)
    assert np.prod(face.box[2:] - face.box[:2]) > 0.7 * frame.height * frame.width


def test_a_second_look_adds_surroundings():
    seen = []

    def blind(pictures):
        seen.append([picture.shape[:2] for picture in pictures])
        return [[] for _ in pictures]

    find_faces(
        [Frame.from_rgb(np.zeros((300, 600, 3), np.uint8)), Frame.from_rgb(np.zeros((40, 50, 3), np.uint8))], blind
    )
    assert seen == [[(300, 600), (40, 50)], [(96 * 2, 192 * 2), (80, 100)]]


def test_the_torch_network_gives_the_same_numbers(detector):
    torch_detector = TorchRetinaFace("cpu")
    for batch in (np.stack([clips.astronaut(), clips.astronaut()[::-1]]), clips.portrait(135, 187)[None]):
        for one, other in zip(detector.raw(batch), torch_detector.raw(batch), strict=True):
            np.testing.assert_allclose(one, other.numpy(), atol=1e-4)


def test_the_torch_detector_finds_the_same_faces(detector):
    pictures = [clips.astronaut(), clips.portrait(240, 320), np.zeros((240, 320, 3), np.uint8)]
    found, expected = TorchRetinaFace("cpu")(pictures), detector(pictures)
    assert [len(faces) for faces in found] == [len(faces) for faces in expected] == [1, 1, 0]
    assert all(close(one[0], other[0], px=1e-3) for one, other in zip(found[:2], expected[:2], strict=True))


@pytest.mark.gpu
def test_the_gpu_gives_the_same_numbers(detector):
    batch = np.stack([clips.astronaut(), clips.astronaut()[::-1]])
    for one, other in zip(detector.raw(batch), load_detector("cuda").raw(batch), strict=True):
        np.testing.assert_allclose(one, other.cpu().numpy(), atol=1e-4)


def test_a_gpu_without_the_package_that_reads_the_weights_gets_a_way_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "stream_detect.faces.network")
    with pytest.raises(WeightsError, match=r"package onnx.*stream-detect\[gpu\]"):
        load_detector("cuda")


@pytest.mark.parametrize("wrong", [{"min_confidence": 1.0}, {"max_iou": 0}, {"max_faces": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DetectorSettings(**wrong)


def test_a_missing_yunet_file(tmp_path):
    with pytest.raises(WeightsError, match=r"yunet\.onnx: no such file"):
        load_detector(weights=tmp_path / "yunet.onnx")


@pytest.mark.parametrize("content", [b"", b"not a network", None])
def test_a_file_that_is_not_yunet(tmp_path, content):
    path = tmp_path / "other.onnx"
    if content is None:  # a network, but another one
        onnx.save(network([helper.make_node("Relu", ["input"], ["output"])], {"output": [1, 3, 32, 32]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"other\.onnx: .*expected face_detection_yunet_2023mar"):
        load_detector(weights=path)


def test_a_yunet_file_is_used(tmp_path):
    path = tmp_path / "yunet.onnx"
    onnx.save(white_blocks_are_faces(), path)
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[32:64, 64:96] = 255
    found = load_detector(weights=path)([picture, np.zeros((32, 32, 3), np.uint8)])
    (face,), nothing = found
    np.testing.assert_allclose(face.box, [64 - 16, 32 - 16, 64 + 16, 32 + 16], atol=0.01)
    np.testing.assert_allclose(face.landmarks, np.full((5, 2), [64, 32]), atol=0.01)
    assert face.confidence == pytest.approx(1, abs=0.01)
    assert nothing == []


def network(nodes, outputs, weights=()):
    sides = ["height", "width"]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *sides])
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    graph = helper.make_graph(nodes, "network", [given], results, list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def white_blocks_are_faces():
    """YuNet's outputs: a white 32 x 32 cell is a face of 32 x 32 pixels about the cell's upper left corner."""
    values, nodes, weights = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}, [], []
    for stride in (8, 16, 32):
        nodes.append(
            helper.make_node(
                "AveragePool", ["input"], [f"cells{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            )
        )
        for name, number in values.items():
            key = f"{name}_{stride}"
            gain = 1 / 765 if stride == 32 and name in ("cls", "obj") else 0.0
            weights += [
                helper.make_tensor(f"{key}_w", TensorProto.FLOAT, [number, 3, 1, 1], [gain] * 3 * number),
                helper.make_tensor(f"{key}_s", TensorProto.INT64, [3], [1, -1, number]),
            ]
            nodes += [
                helper.make_node("Conv", [f"cells{stride}", f"{key}_w"], [f"{key}_map"], kernel_shape=[1, 1]),
                helper.make_node("Transpose", [f"{key}_map"], [f"{key}_rows"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{key}_rows", f"{key}_s"], [key]),
            ]
    rows = {
        f"{name}_{stride}": [1, f"rows{stride}", number] for name, number in values.items() for stride in (8, 16, 32)
    }
    return network(nodes, rows, weights)
