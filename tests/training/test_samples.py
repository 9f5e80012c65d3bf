"""Samples: a real face and its forgery side by side, in shards that are whole or not there."""

import shutil

import numpy as np
import pytest

from stream_detect.training.manifest import Item
from stream_detect.training.samples import Pictures, Task, Workshop, draw_scale, plan_shards, read_shards, write_shard
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


def task(name="round00-0000", seed=3):
    return Task(name, KEYS, seed, 0.8)


def test_a_real_face_has_its_forgery_beside_it(workshop):
    samples = read_shards([workshop.make(task(), KEYS[:2])])
    assert samples.is_fake.tolist() == [False, True, False, True, True]
    assert samples.item.tolist() == [0, 0, 1, 1, 2]
    assert samples.made[[0, 2, 4]].tolist() == ["real", "real", "paint"]
    assert set(samples.made[[1, 3]]) <= {"self_blend", "swap"}
    first, second, lone = samples.pair[[0, 2, 4]]
    assert samples.pair.tolist() == [first, first, second, second, lone]
    assert len({first, second, lone}) == 3


def test_samples_have_what_experts_and_fusion_need(workshop):
    samples = read_shards([workshop.make(task(), KEYS[:2])])
    assert samples.aligned[np.arange(5)].shape == (5, 256, 256, 3)
    assert samples.aligned[np.arange(5)].dtype == np.uint8
    for name in ("spectrum", "residual", "color", "quality"):
        column = getattr(samples, name)
        assert (len(column), column.dtype) == (5, np.float32)
        assert np.isfinite(column).all()


def test_a_shard_is_made_once(workshop):
    folder = workshop.make(task(), KEYS[:2])
    before = (folder / "aligned.npy").stat().st_mtime_ns
    assert workshop.make(task(), KEYS[:2]) == folder
    assert (folder / "aligned.npy").stat().st_mtime_ns == before


def test_a_shard_that_was_interrupted_is_made_anew_and_the_same(workshop):
    folder = workshop.make(task(), KEYS[:2])
    whole = read_shards([folder])
    kept = whole.aligned[np.arange(5)], whole.residual
    shutil.rmtree(folder)
    partial = folder.with_suffix(".part")
    partial.mkdir()
    (partial / "aligned.npy").write_bytes(b"half of it")
    again = read_shards([workshop.make(task(), KEYS[:2])])
    assert not partial.exists()
    assert np.array_equal(again.aligned[np.arange(5)], kept[0])
    assert np.array_equal(again.residual, kept[1])


def test_another_seed_makes_other_samples(workshop):
    first, second = (read_shards([workshop.make(task(f"round{k:02d}-0000", k), KEYS[:2])]) for k in range(2))
    assert not np.array_equal(first.aligned[np.array([0])], second.aligned[np.array([0])])
    assert not set(first.pair) & set(second.pair)


def test_people_are_swapped_with_others(workshop, monkeypatch):
    monkeypatch.setattr("stream_detect.training.samples.SWAP_SHARE", 1.0)
    sources = []

    def swap(target, face, source, source_face, rng):
        sources.append(source.shape[0])
        return target

    monkeypatch.setattr("stream_detect.training.samples.swap", swap)
    workshop.make(task(), KEYS[:2])
    assert sources == [260, 240]


def test_pictures_of_several_shards_are_one_sequence():
    shards = [np.full((size, 2, 2, 3), k, np.uint8) for k, size in enumerate((2, 1, 3))]
    pictures = Pictures(shards)
    assert len(pictures) == 6
    assert pictures[np.array([5, 0, 2, 1])][:, 0, 0, 0].tolist() == [2, 0, 1, 0]


def test_shards_follow_each_other(tmp_path):
    for k in range(2):
        row = {"aligned": np.zeros((2, 2, 3), np.uint8), "is_fake": np.bool_(k)}
        row |= {name: np.float32([k]) for name in ("spectrum", "residual", "color", "quality")}
        row |= {"made": np.str_("real" if k else "a long name"), "item": np.int64(k), "pair": np.int64(k)}
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
    assert [one.strength for one in tasks] == [0.8] * 3 + [0.3] * 3


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
