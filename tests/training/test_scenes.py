"""Scenes are cut with their landmarks, stored, and made only once."""

import numpy as np
import pytest

from stream_detect.decode.frame import Frame
from stream_detect.training.manifest import Item
from stream_detect.training.scenes import Scene, SceneStore, collect, cut_scene, frames_of, moved, scenes_of
from tests import clips
from tests.training.made import made_face, noise, write_people


def test_a_face_moves_with_its_landmarks():
    face = moved(made_face(150, 150, 100), (-50, 10), 0.5)
    assert face.box.tolist() == [25, 55, 75, 105]
    np.testing.assert_allclose(face.landmarks, (made_face().landmarks + np.array([-50, 10])) / 2)
    assert (face.box.dtype, face.landmarks.dtype) == (np.float32, np.float32)


def test_a_scene_holds_the_face_and_its_surroundings():
    scene = cut_scene(Frame.from_rgb(noise(400, 400)), made_face(200, 200, 100), 7)
    assert (scene.rgb.shape, scene.item) == ((240, 240, 3), 7)
    assert scene.face.box.tolist() == [70, 70, 170, 170]
    assert np.array_equal(scene.rgb, noise(400, 400)[80:320, 80:320])


def test_a_scene_ends_with_the_frame():
    scene = cut_scene(Frame.from_rgb(noise(200, 300)), made_face(260, 40, 100), 0)
    assert np.array_equal(scene.rgb, noise(200, 300)[0:160, 140:300])
    assert scene.face.box.tolist() == [70, -10, 170, 90]


def test_a_large_face_is_reduced():
    scene = cut_scene(Frame.from_rgb(noise(1600, 1600)), made_face(800, 800, 640), 0)
    assert scene.rgb.shape == (768, 768, 3)
    np.testing.assert_allclose(scene.face.box, [224, 224, 544, 544], atol=0.5)


def item_of(path, kind="image"):
    return Item(path, False, kind)


def test_frames_are_spread_over_a_clip(tmp_path):
    clip = clips.write_clip(tmp_path / "clip.mp4", clips.numbered(21, 64, 96))
    frames = frames_of(item_of(clip, "video"), per_clip=5)
    assert [clips.number_of(f.rgb((0, 0, f.width, f.height))) for f in frames] == [0, 5, 10, 15, 20]
    assert len(frames_of(item_of(clip, "video"), per_clip=50)) == 21


def test_the_largest_face_of_a_picture_is_cut(tmp_path, finder):
    write_people(tmp_path, 1)
    (scene,) = scenes_of(item_of(tmp_path / "person00.png"), 3, finder, 1)
    width, height = scene.face.box[2:] - scene.face.box[:2]
    assert 90 < height < 190
    assert width < height
    assert scene.item == 3


def test_what_was_stored_comes_back(tmp_path):
    store = SceneStore(tmp_path / "scenes")
    scenes = [Scene(noise(50 + k, 60), made_face(20, 30, 25 + k), 4) for k in range(2)]
    store.save(4, scenes)
    assert (store.keys([3, 4]), store.is_done(4), store.is_done(3)) == ([(4, 0), (4, 1)], True, False)
    back = store.load((4, 1))
    assert np.array_equal(back.rgb, scenes[1].rgb)
    assert np.array_equal(back.face.landmarks, scenes[1].face.landmarks)
    assert (back.item, store.face((4, 0)).box.tolist()) == (4, scenes[0].face.box.tolist())


def test_a_save_that_was_interrupted_does_not_count(tmp_path):
    store = SceneStore(tmp_path)
    np.save(tmp_path / "000000_000.npy", noise())
    (tmp_path / "000000.part").write_text('[{"box":')
    assert not store.is_done(0)
    store.save(0, [Scene(noise(), made_face(), 0)])
    assert store.keys([0]) == [(0, 0)]


def test_a_second_collection_cuts_nothing_anew(tmp_path, finder, monkeypatch):
    write_people(tmp_path / "real", 2)
    (tmp_path / "broken.jpg").write_text("once upon a time")
    items = [item_of(tmp_path / "real" / f"person0{k}.png") for k in range(2)] + [item_of(tmp_path / "broken.jpg")]
    store = SceneStore(tmp_path / "scenes")
    assert list(collect(items, store, finder, 2)) == [0, 1, 2]
    assert store.keys(range(3)) == [(0, 0), (1, 0)]
    monkeypatch.setattr("stream_detect.training.scenes.scenes_of", lambda *_: pytest.fail("cut anew"))
    assert list(collect(items, store, finder, 2)) == [0, 1, 2]
