"""The kernel that makes luma small on a GPU gives OpenCV's numbers."""

import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.faces.flow import reduction, small_luma, small_on_device
from tests.kernels.emulate import HostBench


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("size", [(360, 480), (543, 961), (720, 1280), (1080, 1920), (1083, 1917), (48, 8000)])
def test_luma_on_a_device_is_made_small_with_the_same_numbers(size, backwards):
    plane = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    frame, bench = Frame((plane,), "gray"), HostBench(backwards)
    small = small_on_device(plane, reduction(frame, 480).bit_length() - 1, bench)
    np.testing.assert_array_equal(small, small_luma(frame, 480))
    assert bench.launches == {"small_luma": 1}


@pytest.mark.parametrize("halvings", range(7))
def test_every_number_of_halvings(halvings):
    plane = np.random.default_rng(1).integers(0, 256, (200, 333), dtype=np.uint8)
    expected = plane
    for _ in range(halvings):
        rows, columns = (side // 2 for side in expected.shape)
        quads = expected[: 2 * rows, : 2 * columns].astype(int).reshape(rows, 2, columns, 2)
        expected = (quads.sum(axis=(1, 3)) + 2) // 4
    np.testing.assert_array_equal(small_on_device(plane, halvings, HostBench()), expected)


def test_more_halvings_than_the_kernel_knows_are_refused():
    with pytest.raises(ValueError, match="at most 6 halvings, got 7"):
        small_on_device(np.zeros((512, 512), np.uint8), 7, HostBench())


@pytest.mark.gpu
def test_a_gpu_gives_the_same_numbers():
    import cupy

    plane = np.random.default_rng(0).integers(0, 256, (1080, 1920), dtype=np.uint8)
    chroma = cupy.full((540, 960, 2), 128, cupy.uint8)
    small = small_luma(Frame((cupy.asarray(plane), chroma), "nv12"), 480)
    np.testing.assert_array_equal(small, small_luma(Frame((plane,), "gray"), 480))
