"""kernels/nms.cu keeps the boxes that `retinaface.suppress` keeps: on the host, and on a GPU where there is one."""

import numpy as np
import pytest

from stream_detect.cuda.faces import ROW, suppress
from stream_detect.cuda.stream import CudaLane
from stream_detect.faces import retinaface
from stream_detect.faces.detector import DetectorSettings
from stream_detect.faces.network import CANDIDATES
from tests.cuda.lanes import HostLane
from tests.kernels.emulate import HostBench

DEFAULTS = DetectorSettings()


class BackwardsLane(HostLane):
    def __init__(self) -> None:
        super().__init__()
        self.bench = HostBench(backwards=True)


LANES = {"host": HostLane, "backwards": BackwardsLane, "gpu": CudaLane}


@pytest.fixture(params=["host", "backwards", pytest.param("gpu", marks=pytest.mark.gpu)])
def lane(request):
    return LANES[request.param]()


def crowd(pictures: int, num: int, faces: int, seed: int = 0) -> np.ndarray:
    """Candidates around some faces of each picture, best first; whole pixels: no overlap is rounded."""
    rng = np.random.default_rng(seed)
    middle = rng.integers(0, 600, (pictures, faces, 2))
    which = rng.integers(0, faces, (pictures, num))
    near = np.take_along_axis(middle, which[..., None], axis=1) + rng.integers(-12, 13, (pictures, num, 2))
    half = rng.integers(10, 40, (pictures, num, 2))
    confidence = -np.sort(-rng.random((pictures, num)), axis=1)
    points = rng.normal(size=(pictures, num, 10))
    return np.concatenate([confidence[..., None], near - half, near + half, points], axis=2).astype(np.float32)


def kept_by_definition(rows: np.ndarray, settings: DetectorSettings) -> np.ndarray:
    likely = rows[rows[:, 0] > settings.min_confidence]
    kept = retinaface.suppress(likely[:, 1:5], likely[:, 0], settings.max_iou)
    return likely[kept][: settings.max_faces]


def run(lane, candidates: np.ndarray, settings: DetectorSettings = DEFAULTS) -> list[np.ndarray]:
    with lane.current():
        counts, faces = suppress(lane, lane.bench.xp.asarray(candidates), settings)
        counted, rows = (lane.landing(array.reshape(-1)).copy() for array in (counts, faces))
    rows = rows.reshape(len(candidates), -1, ROW)
    return [some[: int(count)] for some, count in zip(rows, counted, strict=True)]


@pytest.mark.parametrize(
    ("pictures", "num", "faces"), [(1, 1, 1), (3, 40, 2), (2, 700, 60), (1, CANDIDATES, 400), (16, 33, 5)]
)
def test_the_same_faces_are_kept_in_the_same_order(lane, pictures, num, faces):
    candidates = crowd(pictures, num, faces)
    for kept, rows in zip(run(lane, candidates), candidates, strict=True):
        np.testing.assert_array_equal(kept, kept_by_definition(rows, DEFAULTS))


def test_nothing_is_kept_of_candidates_that_are_not_likely(lane):
    candidates = crowd(2, 50, 5)
    candidates[1, :, 0] = 0.6  # not above it
    kept, none = run(lane, candidates)
    assert len(kept) > 0
    assert len(none) == 0


def test_no_more_faces_are_kept_than_asked_for(lane):
    settings = DetectorSettings(max_faces=3)
    (kept,) = run(lane, crowd(1, 500, 100), settings)
    np.testing.assert_array_equal(kept, kept_by_definition(crowd(1, 500, 100)[0], settings))
    assert len(kept) == 3


def test_boxes_without_area_overlap_nothing(lane):
    candidates = np.full((1, 4, ROW), 0.9, np.float32)
    candidates[..., 1:5] = 50
    assert len(run(lane, candidates)[0]) == 4


def test_too_many_candidates():
    with pytest.raises(ValueError, match="expected at most 2048 candidates a picture, got 2049"):
        suppress(HostLane(), np.zeros((1, CANDIDATES + 1, ROW), np.float32), DEFAULTS)
