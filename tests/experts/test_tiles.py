"""Statistics of a face's tiles by place, and of its extreme ones: exact values, the same everywhere."""

import numpy as np
import pytest

from stream_detect.experts.tiles import EXTREMES, PLACES, extremes, layout


def by_name(table: np.ndarray, names: tuple[str, ...], some: int) -> dict[str, np.ndarray]:
    return dict(zip(names, table[0].reshape(len(names), some), strict=True))


def test_rows_and_columns_of_a_counted_grid(place):
    grid = np.arange(16, dtype=np.float32)
    per_tile = np.stack([grid, 10 * grid], axis=-1)[None]
    found = by_name(place.get(layout(place.xp, place.put(per_tile))), PLACES, 2)
    for name, expected in {"row_1": -6, "row_2": -2, "row_3": 2, "row_4": 6, "middle": 0}.items():
        np.testing.assert_allclose(found[name], [expected, 10 * expected])


def test_the_middle_is_above_the_sides():
    grid = np.zeros((1, 16, 1), np.float32)
    grid[:, [5, 6, 9, 10]] = 1
    assert by_name(layout(np, grid), PLACES, 1)["middle"] == pytest.approx(0.5)


def test_extremes_of_known_tiles(place):
    face = np.full((1, 16, 1), 5, np.float32)
    face[0, 3], face[0, 7] = 1, 9
    around = np.array([0, 2, 4, 6] * 3, np.float32)[None, :, None]
    found = by_name(place.get(extremes(place.xp, place.put(face), place.put(around))), EXTREMES, 1)
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(
        {"lowest": -4, "highest": 4, "lowest_against": 1, "highest_against": 3, "spread_around": np.sqrt(5)}
    )


def test_equal_tiles_have_no_places_and_no_extremes(place):
    face, around = np.full((2, 16, 3), 0.7, np.float32), np.full((2, 12, 3), 0.7, np.float32)
    place.assert_equal(layout(place.xp, place.put(face)), np.zeros((2, 15)), atol=1e-6)
    place.assert_equal(extremes(place.xp, place.put(face), place.put(around)), np.zeros((2, 15)), atol=1e-6)
