"""On a CPU the fingerprints take another way to the numbers of their definitions."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_detect.experts.host import folded_weights, residual_on_host, spectrum_on_host
from stream_detect.experts.residual import residual_features
from stream_detect.experts.spectrum import group_weights, spectrum_features

BOTH = pytest.mark.parametrize(
    ("on_host", "definition"), [(spectrum_on_host, spectrum_features), (residual_on_host, residual_features)]
)
FEW = settings(max_examples=10, deadline=None)


def grain(seed: int, faces: int = 1, levels: float = 3.0) -> np.ndarray:
    """8-bit luma with noise of so many gray levels on a slope."""
    rng = np.random.default_rng(seed)
    slope = np.add.outer(np.arange(64), np.arange(64)) * rng.uniform(-0.5, 0.5)
    luma = rng.uniform(60, 190) + slope + levels * rng.standard_normal((faces, 28, 64, 64))
    return np.asarray(luma.clip(0, 255).round() / 255, np.float32)


@BOTH
@FEW
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([0.3, 3.0, 30.0]))
def test_any_picture_gives_the_numbers_of_the_definition(on_host, definition, seed, levels):
    tiles = grain(seed, levels=levels)
    np.testing.assert_allclose(on_host(tiles), definition(tiles), atol=1e-3)


@BOTH
@pytest.mark.parametrize("luma", [0.0, 0.3, 1.0])
def test_a_flat_face_gives_them_too(on_host, definition, luma):
    tiles = np.full((1, 28, 64, 64), luma, np.float32)
    np.testing.assert_allclose(on_host(tiles), definition(tiles), atol=1e-3)


@BOTH
@pytest.mark.parametrize("tiles", [17, 28, 40])
def test_any_number_of_tiles_and_faces(on_host, definition, tiles):
    luma = np.concatenate([grain(0, 3), grain(1, 3)], axis=1)[:, :tiles]
    np.testing.assert_allclose(on_host(luma), definition(luma), atol=1e-3)
    assert on_host(luma[:0]).shape == (0, definition(luma).shape[1])


@BOTH
def test_threads_do_not_write_into_each_others_rooms(on_host, definition):
    faces = [grain(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(on_host, faces * 4))
    assert all(np.array_equal(one, on_host(face)) for one, face in zip(together, faces * 4, strict=True))


@BOTH
def test_tiles_of_another_layout_in_memory(on_host, definition):
    tiles = grain(0, 2)
    for same in (np.flip(np.flip(tiles, 2).copy(), 2), np.asfortranarray(tiles)):
        np.testing.assert_allclose(on_host(same), definition(tiles), atol=1e-3)


@BOTH
def test_tiles_of_another_shape_fail(on_host, definition):
    with pytest.raises(ValueError, match="expected tiles of shape"):
        on_host(np.zeros((1, 28, 32, 32), np.float32))


def test_the_two_signs_of_the_vertical_frequency_weigh_the_same():
    both = group_weights().reshape(64, 33, -1)
    assert np.array_equal(both[1:32], both[:32:-1])
    assert folded_weights().sum() == pytest.approx(group_weights().sum())
