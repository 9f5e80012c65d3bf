"""How well a map finds what was forged, on masks whose answer is known."""

import numpy as np
import pytest

from stream_detect.explain.localisation import blind_maps, localisation_auc


def mouth(num: int = 1) -> np.ndarray:
    masks = np.zeros((num, 16, 16), np.float32)
    masks[:, 10:14, 4:12] = 1
    return masks


def test_a_map_that_is_the_mask_finds_everything():
    assert localisation_auc(mouth(2), mouth(2)).tolist() == [1, 1]


def test_the_opposite_finds_nothing_and_a_flat_map_is_chance():
    assert localisation_auc(np.concatenate([1 - mouth(), np.zeros((1, 16, 16), np.float32)]), mouth(2)).tolist() == [
        0,
        0.5,
    ]


def test_places_may_be_coarser_than_the_mask():
    coarse = np.zeros((1, 4, 4), np.float32)
    coarse[0, 2:, 1:3] = 1
    masks = np.zeros((1, 64, 64), np.float32)
    masks[0, 32:, 16:48] = 1
    assert localisation_auc(coarse, masks).tolist() == [1]


def test_places_that_are_forged_in_part_are_left_out():
    masks = np.full((1, 4, 4), 0.3, np.float32)
    masks[0, 0, 0], masks[0, 3, 3] = 1, 0
    values = np.full((1, 4, 4), 9.0, np.float32)
    values[0, 0, 0], values[0, 3, 3] = 1, 0
    assert localisation_auc(values, masks).tolist() == [1]


def test_half_of_the_pairs_in_order_is_a_half():
    masks = np.zeros((1, 2, 2), np.float32)
    masks[0, 0] = 1
    assert localisation_auc(np.array([[[3.0, 1.0], [2.0, 2.0]]]), masks).tolist() == [0.5]


@pytest.mark.parametrize("mask", [np.zeros((1, 8, 8)), np.ones((1, 8, 8))])
def test_a_face_that_is_wholly_forged_or_not_at_all_has_no_figure(mask):
    assert np.isnan(localisation_auc(np.random.default_rng(0).random((1, 8, 8)), mask)).all()


def test_a_mask_that_is_missing_fails():
    with pytest.raises(ValueError, match="expected a mask for each of 2 maps, got 1"):
        localisation_auc(np.zeros((2, 4, 4)), np.zeros((1, 4, 4)))


def test_blind_maps_are_the_mean_of_the_other_masks():
    masks = np.stack([np.full((2, 2), share) for share in (0.0, 0.5, 1.0)])
    assert blind_maps(masks)[:, 0, 0].tolist() == [0.75, 0.5, 0.25]
    with pytest.raises(ValueError, match="two faces or more, got 1"):
        blind_maps(masks[:1])


def test_what_can_be_guessed_is_found_without_looking():
    assert localisation_auc(blind_maps(mouth(3)), mouth(3)).tolist() == [1, 1, 1]
