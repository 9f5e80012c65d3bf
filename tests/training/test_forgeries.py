"""Forgeries: the same from the same seed, different from the real partner under the mask and nowhere else."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from stream_detect.training.forgeries import (
    FAMILIES,
    KINDS,
    Drift,
    Family,
    Footage,
    Forged,
    drifted,
    forge,
    forge_clip,
    misfit,
    restored,
)
from stream_detect.training.forgeries.geometry import apply, fit_affine, fit_similarity, invert, mirrored
from stream_detect.training.scenes import Scene
from stream_detect.types import Face
from tests.training.made import made_face, noise

FACE = made_face()
FORGED_BY_HAND = ("self_blend", "swap", "low_res_swap", "reenact", "mouth", "eyes")
ALL_WARPED = [pytest.param(FAMILIES[name], id=name) for name in FORGED_BY_HAND]
SEEDS = range(8)


def scene_of(seed=0, item=0, height=300, width=300, face=FACE):
    return Scene(noise(height, width, seed), face, item)


def moved_a_little():
    """The face of another frame: the mouth is wider open."""
    lower = np.array([[0, 0], [0, 0], [1, 1], [-2, 6], [2, 6]], np.float32)
    return Face(FACE.box, FACE.landmarks + lower, 0.9)


def footage(scene=None, is_alone=False):
    scene = scene or scene_of()
    if is_alone:
        return Footage(scene, lambda _: None, lambda _: None)
    partner, sibling = scene_of(3, 1, 260, 280, made_face(140, 120, 90)), scene_of(5, face=moved_a_little())
    return Footage(scene, lambda _: partner, lambda _: sibling)


def made(family, seed, given=None):
    forged = family.forge(given or footage(), np.random.default_rng(seed))
    assert forged is not None
    return forged


def assert_sound(forged, scene):
    """Right forms and ranges; where the mask is 0 both pictures have the same pixels."""
    for picture in (forged.real, forged.fake):
        assert (picture.shape, picture.dtype) == (scene.rgb.shape, np.uint8)
    assert (forged.mask.shape, forged.mask.dtype) == (scene.rgb.shape[:2], np.float32)
    assert 0 <= forged.mask.min() <= forged.mask.max() <= 1
    assert np.array_equal(forged.real[forged.mask == 0], forged.fake[forged.mask == 0])


def share_changed(forged):
    return (forged.real != forged.fake).any(axis=2).mean()


def test_every_kind_that_is_made_here_has_families():
    """Wholly generated faces are learned from given files alone."""
    assert {family.kind for family in FAMILIES.values()} == set(KINDS) - {"synthesised"}
    assert all(family.name == name and family.source for name, family in FAMILIES.items())


@pytest.mark.parametrize("family", ALL_WARPED)
def test_outside_the_mask_real_and_fake_are_the_same_pixels(family):
    for seed in SEEDS:
        assert_sound(made(family, seed), scene_of())


@pytest.mark.parametrize("family", ALL_WARPED)
def test_the_same_seed_makes_the_same_forgery(family):
    first, second, other = (made(family, seed) for seed in (1, 1, 2))
    for name in ("real", "fake", "mask"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert first.fake.tobytes() != other.fake.tobytes()


@pytest.mark.parametrize("family", ALL_WARPED)
def test_every_family_changes_the_face_and_leaves_the_corners(family):
    for seed in SEEDS:
        forged = made(family, seed)
        assert 0.005 < share_changed(forged) < 0.6
        assert forged.mask[:40].max() == forged.mask[:, :40].max() == 0


@pytest.mark.parametrize("family", ALL_WARPED)
@pytest.mark.parametrize(("height", "width"), [(301, 257), (170, 420)])
def test_a_face_at_the_border_is_forged_too(family, height, width):
    scene = scene_of(1, 0, height, width, made_face(width - 40, 90, 100))
    for seed in range(4):
        assert_sound(made(family, seed, footage(scene)), scene)


@pytest.mark.parametrize("side", [16, 600])
def test_very_small_and_large_faces_are_forged(side):
    scene = scene_of(face=made_face(side=side))
    for family in (FAMILIES[name] for name in FORGED_BY_HAND):
        if (forged := family.forge(footage(scene), np.random.default_rng(0))) is not None:
            assert_sound(forged, scene)


def test_landmarks_in_one_point_are_no_accident():
    scene = scene_of(face=Face(FACE.box, np.full((5, 2), 150, np.float32), 0.9))
    for name in FORGED_BY_HAND:
        if (forged := FAMILIES[name].forge(footage(scene), np.random.default_rng(0))) is not None:
            assert_sound(forged, scene)


def test_without_a_partner_there_is_no_swap():
    assert FAMILIES["swap"].forge(footage(is_alone=True), np.random.default_rng(0)) is None


@pytest.mark.parametrize("name", [name for name in FORGED_BY_HAND if name != "swap"])
def test_a_lone_face_gives_the_other_families_enough(name):
    given = footage(is_alone=True)
    for seed in SEEDS:
        assert_sound(made(FAMILIES[name], seed, given), given.scene)


def test_a_partner_in_another_pose_is_refused():
    turned = FACE.landmarks * np.array([0.3, 1], np.float32) + np.array([[0, 0], [0, 0], [30, 0], [0, 0], [0, 0]])
    partner = scene_of(3, 1, face=Face(FACE.box, turned.astype(np.float32), 0.9))
    given = replace(footage(), find_partner=lambda _: partner)
    assert FAMILIES["swap"].forge(given, np.random.default_rng(0)) is None


def test_a_swap_brings_the_pixels_of_the_partner():
    """A flat target and a partner with detail: what detail there is came with the partner."""
    flat = Scene(np.full((300, 300, 3), 128, np.uint8), FACE, 0)
    spreads = [made(FAMILIES["swap"], seed, footage(flat)).fake[130:170, 130:170].std() for seed in SEEDS]
    assert np.median(spreads) > 3  # not always: a histogram matched to one colour has one


def test_a_self_blend_tints_the_face_or_the_real_partner_with_its_forgery():
    rgb = scene_of().rgb
    is_partner_tinted = {not np.array_equal(made(FAMILIES["self_blend"], seed).real, rgb) for seed in range(12)}
    assert is_partner_tinted == {True, False}


def test_a_low_resolution_face_is_softer_than_the_frame():
    fake = [made(FAMILIES["low_res_swap"], seed, footage(is_alone=True)) for seed in SEEDS]
    fine = [cv2.Laplacian(f.fake[130:170, 130:170], cv2.CV_32F).std() for f in fake]
    assert np.median(fine) < 0.7 * cv2.Laplacian(scene_of().rgb[130:170, 130:170], cv2.CV_32F).std()


@pytest.mark.parametrize(("name", "rows"), [("mouth", slice(0, 125)), ("eyes", slice(175, 300))])
def test_a_part_leaves_the_rest_of_the_face_alone(name, rows):
    for seed in SEEDS:
        assert made(FAMILIES[name], seed).mask[rows].max() == 0


@pytest.mark.parametrize("name", FORGED_BY_HAND)
def test_restoration_only_adds_to_the_mask(name):
    for seed in SEEDS:
        forged = made(FAMILIES[name], seed)
        after = restored(forged, np.random.default_rng(seed))
        assert_sound(after, scene_of())
        assert not np.array_equal(after.fake, forged.fake)


def test_restoration_of_everything_is_the_real_partners_too():
    forged = made(FAMILIES["self_blend"], 0)
    after = [restored(forged, np.random.default_rng(seed)) for seed in range(30)]
    assert {a.real is forged.real for a in after} == {True, False}
    assert all(not np.array_equal(a.real, forged.real) for a in after if a.real is not forged.real)


def test_a_kinds_families_are_all_drawn():
    for kind in ("blended", "partial"):
        names = {forge(footage(), kind, np.random.default_rng(seed))[1] for seed in range(40)}
        assert names == {family.name for family in FAMILIES.values() if family.kind == kind}


def test_where_a_family_gives_nothing_another_is_drawn():
    names = {forge(footage(is_alone=True), "blended", np.random.default_rng(seed))[1] for seed in range(20)}
    assert names
    assert "swap" not in names


def test_where_no_family_gives_anything_there_is_no_forgery(monkeypatch):
    nothing = Family("nothing", "partial", "nowhere", lambda *_: None)
    monkeypatch.setattr("stream_detect.training.forgeries.FAMILIES", {"nothing": nothing})
    assert forge(footage(), "partial", np.random.default_rng(0)) is None
    assert forge(footage(), "blended", np.random.default_rng(0)) is None


def test_a_drift_of_nothing_keeps_nearly_everything():
    forged = made(FAMILIES["swap"], 0)
    same = drifted(forged, Drift())
    assert_sound(same, scene_of())
    assert np.abs(same.fake.astype(int) - forged.fake)[forged.mask > 0.5].max() <= 1


def test_a_drift_moves_the_mask():
    forged = made(FAMILIES["swap"], 0)
    away = drifted(forged, Drift(shift=(9.0, 0.0)))
    assert_sound(away, scene_of())
    before, after = (np.average(np.arange(300), weights=f.mask.sum(0)) for f in (forged, away))
    assert 6 < after - before < 12


def test_a_frame_that_drops_out_is_real():
    gone = drifted(made(FAMILIES["swap"], 0), Drift(ratio=0.0))
    assert np.array_equal(gone.real, gone.fake)
    assert gone.mask.max() == 0


def test_a_drawn_drift_is_small():
    shifts = [np.hypot(*Drift.draw(np.random.default_rng(seed), 100).shift) for seed in range(50)]
    assert 0.1 < np.mean(shifts) < 5


def test_a_clip_is_forged_frame_by_frame_with_flicker():
    frames = [footage() for _ in range(12)]
    made_alike = forge_clip(frames, FAMILIES["swap"], np.random.default_rng(2))
    assert len(made_alike) == 12
    for forged in made_alike:
        assert_sound(forged, scene_of())
    assert len({forged.fake.tobytes() for forged in made_alike}) > 6
    again = forge_clip(frames, FAMILIES["swap"], np.random.default_rng(2))
    assert all(np.array_equal(a.fake, b.fake) for a, b in zip(made_alike, again, strict=True))


def test_a_clip_without_a_partner_stays_real():
    (forged,) = forge_clip([footage(is_alone=True)], FAMILIES["swap"], np.random.default_rng(0))
    assert isinstance(forged, Forged)
    assert np.array_equal(forged.real, forged.fake)
    assert forge_clip([], FAMILIES["swap"], np.random.default_rng(0)) == []


def similar(face, turn, shift):
    points = face.landmarks @ np.array([1, 1j]) * turn + shift
    return Face(face.box, np.stack([points.real, points.imag], axis=1).astype(np.float32), 0.9)


def test_a_face_that_is_only_moved_turned_and_scaled_fits():
    assert misfit(similar(FACE, 1.7 * np.exp(0.4j), 30 - 12j), FACE) < 1e-6


def test_another_pose_fits_badly():
    squeezed = Face(FACE.box, FACE.landmarks * np.array([0.5, 1], np.float32), 0.9)
    turned = Face(FACE.box, FACE.landmarks + np.array([[0, 0], [0, 0], [15, 0], [0, 0], [0, 0]], np.float32), 0.9)
    assert misfit(squeezed, FACE) > 0.03
    assert misfit(turned, FACE) > 0.03


@pytest.mark.parametrize("fit", [fit_affine, fit_similarity])
def test_a_fit_finds_the_map_and_its_way_back(fit):
    target = similar(FACE, 0.6 * np.exp(-0.3j), 4 + 9j).landmarks
    matrix = fit(FACE.landmarks, target)
    np.testing.assert_allclose(apply(matrix, FACE.landmarks), target, atol=1e-3)
    np.testing.assert_allclose(apply(invert(matrix), target), FACE.landmarks, atol=1e-2)


def test_a_mirror_twice_changes_nothing():
    scene = scene_of(face=similar(FACE, np.exp(0.2j), 10))
    once, twice = mirrored(scene), mirrored(mirrored(scene))
    assert once.face.landmarks[0, 0] < once.face.landmarks[1, 0]  # the left eye stays left
    assert np.array_equal(twice.rgb, scene.rgb)
    np.testing.assert_allclose(twice.face.landmarks, scene.face.landmarks, atol=1e-3)
