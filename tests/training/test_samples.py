"""Samples: a real face and its forgery side by side, in shards that are whole or not there."""

import shutil

import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.training.manifest import Item
from stream_detect.training.samples import (
    Partners,
    Pictures,
    Samples,
    Task,
    Workshop,
    aligned_mask,
    draw_scale,
    pair_number,
    plan_shards,
    read_shards,
    write_shard,
)
from stream_detect.training.scenes import Scene, SceneStore
from tests.training.made import made_face, noise

KEYS = ((0, 0), (1, 0), (2, 0))


@pytest.fixture
def workshop(tmp_path):
    """Two real people and a forged one with a scene each."""
    items = [Item(tmp_path / f"{k}.png", k == 2, "image", "paint" if k == 2 else "none") for k in range(3)]
    store = SceneStore(tmp_path / "scenes")
    for k in range(3):
        store.save(k, [Scene(noise(240 + 20 * k, 240, seed=k), made_face(120, 120, 100), k)])
    return Workshop(items, store, tmp_path / "shards")


@pytest.fixture
def partners(workshop):
    """Nobody held out."""
    return Partners(workshop.items, workshop.store, KEYS, set())


def task(name="round00-0000", seed=3):
    return Task(name, KEYS, seed, (0.0, 0.8))


def test_a_real_face_has_its_forgeries_beside_it(workshop, partners):
    samples = read_shards([workshop.make(task(), partners)])
    for item in (0, 1):
        rows = samples.item == item
        assert set(samples.kind[rows]) - {"real"} in ({"blended", "resynthesised"}, {"partial", "resynthesised"})
        for pair in np.unique(samples.pair[rows]):
            assert (samples.is_fake[samples.pair == pair] == 0).sum() == 1
    lone = samples.item == 2
    assert (samples.kind[lone].tolist(), samples.made[lone].tolist()) == (["synthesised"], ["paint"])
    assert not set(samples.pair[lone]) & set(samples.pair[~lone])
    assert set(samples.strength.tolist()) <= {0.0, np.float32(0.8)}


def test_the_mask_says_what_is_forged(workshop, partners):
    samples = read_shards([workshop.make(task(), partners)])
    assert (samples.mask.shape[1:], samples.mask.dtype) == ((16, 16), np.uint8)
    assert samples.mask[~samples.is_fake].max() == 0
    assert (samples.mask[samples.is_fake].max(axis=(1, 2)) > 20).all()
    assert samples.mask[samples.made == "paint"].min() == 255


def test_a_mask_lies_where_the_aligned_face_does():
    """The upper half of the picture is forged; the face's eyes are above its middle, its mouth below."""
    mask = np.zeros((240, 240), np.float32)
    mask[:120] = 1
    frame = Frame.from_rgb(noise(480, 480))
    cells = aligned_mask(mask, frame, made_face(240, 240, 200))
    assert cells[:6].min() == 255
    assert cells[11:].max() == 0


def test_samples_have_what_experts_and_fusion_need(workshop, partners):
    samples = read_shards([workshop.make(task(), partners)])
    count = len(samples)
    assert samples.aligned[np.arange(count)].shape == (count, 256, 256, 3)
    assert samples.aligned[np.arange(count)].dtype == np.uint8
    for name in ("spectrum", "residual", "color", "quality"):
        column = getattr(samples, name)
        assert (len(column), column.dtype) == (count, np.float32)
        assert np.isfinite(column).all()


def test_a_shard_is_made_once(workshop, partners):
    folder = workshop.make(task(), partners)
    before = (folder / "aligned.npy").stat().st_mtime_ns
    assert workshop.make(task(), partners) == folder
    assert (folder / "aligned.npy").stat().st_mtime_ns == before


def test_a_shard_that_was_interrupted_is_made_anew_and_the_same(workshop, partners):
    folder = workshop.make(task(), partners)
    whole = read_shards([folder])
    kept = whole.aligned[np.arange(5)], whole.residual
    shutil.rmtree(folder)
    partial = folder.with_suffix(".part")
    partial.mkdir()
    (partial / "aligned.npy").write_bytes(b"half of it")
    again = read_shards([workshop.make(task(), partners)])
    assert not partial.exists()
    assert np.array_equal(again.aligned[np.arange(5)], kept[0])
    assert np.array_equal(again.residual, kept[1])


def test_another_seed_makes_other_samples(workshop, partners):
    first, second = (read_shards([workshop.make(task(f"round{k:02d}-0000", k), partners)]) for k in range(2))
    assert not np.array_equal(first.aligned[np.array([0])], second.aligned[np.array([0])])
    assert not set(first.pair) & set(second.pair)


def test_partners_are_other_people_of_the_same_side(workshop):
    """Of the two real people one is held out: neither may lend a face to the other."""
    rng = np.random.default_rng(0)
    scene = workshop.store.load(KEYS[0])
    together = Partners(workshop.items, workshop.store, KEYS, set()).footage(scene, KEYS[0])
    assert together.find_partner(rng).item == 1
    apart = Partners(workshop.items, workshop.store, KEYS, {workshop.items[1].group}).footage(scene, KEYS[0])
    assert apart.find_partner(rng) is None


def test_a_sibling_is_another_frame_of_the_clip(workshop):
    rng, scene = np.random.default_rng(0), workshop.store.load(KEYS[0])
    workshop.store.save(0, [scene, Scene(noise(240, 240, seed=9), made_face(120, 120, 100), 0)])
    footage = Partners(workshop.items, workshop.store, [*KEYS, (0, 1)], set()).footage(scene, KEYS[0])
    assert np.array_equal(footage.find_sibling(rng).rgb, noise(240, 240, seed=9))
    assert Partners(workshop.items, workshop.store, KEYS, set()).footage(scene, KEYS[1]).find_sibling(rng) is None


def test_no_two_scenes_share_a_pair():
    numbers = {pair_number(seed, (item, 0), k) for seed in range(3) for item in range(200) for k in range(20)}
    assert len(numbers) == 3 * 200 * 20
    assert all(number % 2 == 0 and number + 1 < 2**63 for number in numbers)


def test_pictures_of_several_shards_are_one_sequence():
    shards = [np.full((size, 2, 2, 3), k, np.uint8) for k, size in enumerate((2, 1, 3))]
    pictures = Pictures(shards)
    assert len(pictures) == 6
    assert pictures[np.array([5, 0, 2, 1])][:, 0, 0, 0].tolist() == [2, 0, 1, 0]


def test_shards_follow_each_other(tmp_path):
    for k in range(2):
        row = {"aligned": np.zeros((2, 2, 3), np.uint8), "is_fake": np.bool_(k)}
        row |= {name: np.float32([k]) for name in ("spectrum", "residual", "color", "quality")}
        row |= {"made": np.str_("real" if k else "a long name"), "kind": np.str_("real"), "strength": np.float32(0)}
        row |= {"item": np.int64(k), "pair": np.int64(k), "mask": np.zeros((16, 16), np.uint8)}
        assert set(row) == set(Samples.__dataclass_fields__)
        write_shard(tmp_path / str(k), [row, row])
    samples = read_shards([tmp_path / "0", tmp_path / "1"])
    assert len(samples) == 4
    assert samples.made.tolist() == ["a long name"] * 2 + ["real"] * 2


def test_every_round_holds_every_scene_as_often_as_asked():
    keys = [(item, scene) for item in range(30) for scene in range(10)]
    tasks = plan_shards(keys, {0: 3}, rounds=2, seed=5, strengths=(0.8, 0.3))
    assert len({one.name for one in tasks}) == len(tasks) == 6
    for number in range(2):
        inside = [key for one in tasks if one.seed == 5000 + number for key in one.scenes]
        assert sorted(inside) == sorted(keys + 2 * keys[:10])
    assert tasks[0].scenes != tasks[3].scenes
    assert {one.strengths for one in tasks} == {(0.8, 0.3)}


def test_faces_are_seldom_enlarged():
    rng = np.random.default_rng(0)
    for side in (50, 150, 300):
        scales = np.array([draw_scale(made_face(side=side), rng, 1.0) for _ in range(200)])
        assert scales.max() <= 1.25
        assert (scales * side).min() > 39.9
        assert (scales > 1).mean() < 0.2


def test_a_light_channel_often_leaves_the_size():
    rng = np.random.default_rng(0)
    scales = np.array([draw_scale(made_face(), rng, 0.25) for _ in range(200)])
    assert 0.6 < (scales == 1).mean() < 1
