"""What forgeries are made of: outlines, colours, warps, and the sheet that shows them."""

import numpy as np
import pytest
from PIL import Image

from stream_detect.errors import ConfigError, OutputError
from stream_detect.training.forgeries import FAMILIES, FIVE_POINTS
from stream_detect.training.forgeries.colors import TRANSFERS, Tint, blend, transfer_color
from stream_detect.training.forgeries.geometry import eye_distance
from stream_detect.training.forgeries.masks import FACE_BOX, HULL, MOUTH, face_mask, hard_mask, soft_box, soft_mask
from stream_detect.training.forgeries.sheet import CELL_PX, draw_sheet, scenes_to_show
from stream_detect.training.forgeries.warps import by_affine, by_mesh, by_similarity, by_spline, draw, through_canvas
from stream_detect.training.manifest import Item
from stream_detect.training.scenes import Scene
from tests.training.made import made_face, noise

FACE, OTHER = made_face(), made_face(140, 120, 90)
SHAPE = (300, 300)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_mask_covers_the_face_and_no_corner():
    for seed in range(10):
        mask = face_mask(SHAPE, FACE, rng(seed))
        assert mask[150, 150] > 0.5
        assert mask[:60].max() == mask[:, :60].max() == 0


def test_a_hard_mask_has_hardly_a_border_and_a_soft_one_has():
    hard, soft = hard_mask(SHAPE, FACE, [HULL], rng()), soft_mask(SHAPE, FACE, [HULL], rng())
    assert set(np.unique(hard)) == {0, 1}
    assert ((soft > 0.05) & (soft < 0.95)).mean() > 0.02


def test_the_mouths_mask_lies_about_the_mouth():
    mask = soft_mask(SHAPE, FACE, [MOUTH], rng())
    rows, columns = np.nonzero(mask > 0.5)
    mouth = FACE.landmarks[3:].mean(0)
    assert abs(columns.mean() - mouth[0]) < 8
    assert abs(rows.mean() - mouth[1]) < 8


def test_the_outline_of_a_turned_face_is_narrow_where_the_nose_points():
    turned = made_face()
    turned.landmarks[2, 0] += 0.3 * eye_distance(turned)
    across = np.flatnonzero(hard_mask(SHAPE, turned, [FACE_BOX], rng()).max(0))
    assert across[-1] - 150 < 0.85 * (150 - across[0])


def test_a_soft_box_is_full_in_the_middle_and_empty_at_the_sides():
    box = soft_box((60, 80), 0.1)
    assert box[30, 40] == 1
    assert box[0].max() < 0.1


def test_a_tint_of_nothing_changes_nothing():
    neutral = Tint((0.0, 0.0, 0.0), 0.0, 1.0, 0.0, 1.0, 1.0, 0.0)
    assert np.abs(neutral(noise()).astype(int) - noise()).max() <= 1


def test_a_tint_does_what_it_says():
    grey = np.full((40, 40, 3), 100, np.uint8)
    assert Tint((10.0, 0.0, -10.0), 0.0, 1.0, 0.0, 1.0, 1.0, 0.0)(grey)[0, 0].tolist() == [110, 100, 90]
    soft, sharp = Tint((0.0,) * 3, 0.0, 1.0, 0.0, 1.0, 3.0, 0.0), Tint((0.0,) * 3, 0.0, 1.0, 0.0, 1.0, 1.0, 0.8)
    assert soft(noise()).std() < noise().std() < sharp(noise()).std()


@pytest.mark.parametrize("way", ["mean", "spread", "histogram"])
def test_colours_are_transferred_under_the_mask(way):
    source, target = noise(seed=1), np.clip(noise(seed=2) * 0.5 + 90, 0, 255).astype(np.uint8)
    mask = face_mask(SHAPE, FACE, rng())
    where = mask > 0.5
    before = np.abs(source[where].mean(0) - target[where].mean(0)).max()
    after = np.abs(transfer_color(source, target, mask, way)[where].mean(0) - target[where].mean(0)).max()
    assert after < 6 < before


def test_a_seamless_transfer_brings_the_border_nearer():
    source, target = np.clip(noise(seed=1) * 0.5 + 20, 0, 255).astype(np.uint8), noise(seed=2)
    mask = soft_mask(SHAPE, FACE, [HULL], rng())
    border = (mask > 0.2) & (mask < 0.8)
    before = np.abs(source[border].mean(0) - target[border].mean(0)).max()
    after = np.abs(transfer_color(source, target, mask, "seamless")[border].mean(0) - target[border].mean(0)).max()
    assert after < 0.6 * before


@pytest.mark.parametrize("way", TRANSFERS)
def test_without_a_mask_no_colour_is_transferred(way):
    assert np.array_equal(transfer_color(noise(), noise(seed=1), np.zeros(SHAPE, np.float32), way), noise())


def test_a_blend_leaves_what_the_mask_leaves():
    mask = np.zeros(SHAPE, np.float32)
    mask[:, 150:] = 1
    mixed = blend(noise(seed=1), noise(), mask)
    assert np.array_equal(mixed[:, :150], noise()[:, :150])
    assert np.array_equal(mixed[:, 150:], noise(seed=1)[:, 150:])


@pytest.mark.parametrize("fit", [by_similarity, by_affine, by_mesh])
def test_a_warp_takes_landmarks_to_landmarks(fit):
    np.testing.assert_allclose(fit(OTHER, FACE)(FACE.landmarks), OTHER.landmarks, atol=1e-2)


def test_a_mesh_and_a_spline_meet_landmarks_that_no_affine_map_meets():
    bent = made_face(140, 120, 90)
    bent.landmarks[2] += (5, -4)
    np.testing.assert_allclose(by_mesh(bent, FACE)(FACE.landmarks), bent.landmarks, atol=1e-2)
    knots, to = np.vstack([FACE.landmarks, FACE.box.reshape(2, 2)]), np.vstack([bent.landmarks, bent.box.reshape(2, 2)])
    np.testing.assert_allclose(by_spline(knots, to)(knots), to, atol=1e-2)


def test_a_warp_to_itself_draws_the_same_picture():
    assert np.abs(draw(noise(), by_similarity(FACE, FACE), SHAPE).astype(int) - noise()).max() <= 2


def test_a_small_canvas_costs_detail_and_keeps_the_place():
    warp, soft = by_similarity(FACE, FACE), noise()
    drawn = through_canvas(soft, warp, FACE, SHAPE, 64, 3.3, 1)
    face = (slice(110, 190), slice(110, 190))
    assert drawn.shape == soft.shape
    assert np.abs(drawn[face].astype(float).mean((0, 1)) - soft[face].mean((0, 1))).max() < 3
    assert np.diff(drawn[face].astype(int), axis=1).std() < 0.5 * np.diff(soft[face].astype(int), axis=1).std()


def test_the_unit_of_a_face_is_the_distance_between_its_eyes():
    assert eye_distance(FACE) == pytest.approx(np.hypot(*(FACE.landmarks[1] - FACE.landmarks[0])), rel=1e-3)
    assert FIVE_POINTS.shape == (5, 2)


def scenes():
    return [Scene(noise(seed=k), FACE, k // 2) for k in range(6)]


def test_a_sheet_has_a_row_for_each_family_and_two_for_what_comes_after(tmp_path):
    families = [FAMILIES["self_blend"], FAMILIES["swap"]]
    paths = [draw_sheet(tmp_path / f"{k}.png", scenes(), families, seed=4) for k in range(2)]
    with Image.open(paths[0]) as sheet:
        assert sheet.height == 4 * CELL_PX
        assert np.asarray(sheet).std() > 20
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_sheet_says_where_other_footage_is_needed(tmp_path):
    assert draw_sheet(tmp_path / "lone.png", scenes()[:1], [FAMILIES["swap"]]).is_file()


def test_a_sheet_of_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no face to forge"):
        draw_sheet(tmp_path / "a.png", [], list(FAMILIES.values()))


def test_a_sheet_that_cant_be_written_says_so(tmp_path):
    with pytest.raises(OutputError, match="can't write the contact sheet"):
        draw_sheet(tmp_path / "none" / "a.png", scenes()[:1], [FAMILIES["self_blend"]])


def test_forged_files_alone_are_nothing_to_forge_from(tmp_path, finder):
    with pytest.raises(ConfigError, match="no real footage"):
        scenes_to_show([Item(tmp_path / "a.png", True, "image")], finder)
