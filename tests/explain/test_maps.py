"""Maps of attention networks: which there are, what they mean, and that they are what the networks compute."""

import numpy as np
import pytest
import torch

from stream_detect.experts.attention import AttentionConfig, AttentionNet, AttentionTrunks
from stream_detect.experts.mesonet import Meso4
from stream_detect.experts.networks import pack
from stream_detect.explain.maps import face_maps, over_crop
from stream_detect.weights import random_weights


def net(outputs: int = 1, crop_px: int = 256) -> AttentionNet:
    torch.manual_seed(outputs)
    return AttentionNet(
        AttentionConfig(stem="patches", crop_px=crop_px, input_px=64, dim=24, depth=2, outputs=outputs)
    ).eval()


def weights_with(**networks: torch.nn.Module):
    from dataclasses import replace

    return replace(random_weights(), networks={name: pack(network) for name, network in networks.items()})


def faces(num: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, 256, 256, 3), dtype=np.uint8)


def test_a_network_of_which_nothing_is_known_shows_where_it_looks():
    (one,) = face_maps(weights_with(attention=net()), faces(3))
    assert (one.network, one.kinds, one.is_forgery, one.crop_px) == ("attention", (), False, 256)
    assert one.values.shape == (3, 4, 4)
    assert one.values.mean(axis=(1, 2)) == pytest.approx(1, abs=1e-4)  # multiples of the average place


def test_trunks_give_a_map_for_each_kind_of_which_they_learned_places():
    trunks = {"synthesised": net(2), "border": net(2, crop_px=224)}
    maps = face_maps(weights_with(attention=AttentionTrunks(trunks)), faces())
    told = [(one.network, one.kinds, one.is_forgery, one.crop_px) for one in maps]
    assert told == [
        ("attention synthesised", ("synthesised", "resynthesised"), False, 256),
        ("attention border", ("blended",), True, 224),
        ("attention border", ("partial",), True, 224),
    ]
    x = torch.from_numpy(faces()).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        _, logits = trunks["border"].face_and_token_logits(x)
    for k, one in enumerate(maps[1:]):
        np.testing.assert_allclose(one.values, torch.sigmoid(logits[:, k]), atol=2e-3)  # stored as float16


@pytest.mark.parametrize("trunks", [{"elsewhere": net(2)}, {"border": net(3)}])
def test_a_trunk_with_an_unknown_lesson_shows_only_where_it_looks(trunks):
    (one,) = face_maps(weights_with(attention=AttentionTrunks(trunks)), faces(1))
    assert (one.kinds, one.is_forgery) == ((), False)


def test_networks_without_attention_have_no_map():
    assert face_maps(weights_with(mesonet=Meso4()), faces()) == []


def test_only_networks_that_are_asked_for_are_shown():
    weights = weights_with(attention=net(), other=net(2))
    assert [one.network for one in face_maps(weights, faces(), {"attention"})] == ["attention"]
    assert len(face_maps(weights, faces())) == 2


def test_no_faces_give_empty_maps():
    (one,) = face_maps(weights_with(attention=net()), faces(0))
    assert one.values.shape == (0, 4, 4)


def test_many_faces_are_looked_at_in_parts():
    weights = weights_with(attention=net())
    (many,), (few,) = face_maps(weights, faces(40)), face_maps(weights, faces(40)[38:])
    np.testing.assert_allclose(many.values[38:], few.values, atol=1e-5)


def test_one_face_of_many():
    (maps,) = face_maps(weights_with(attention=net()), faces(3))
    assert np.array_equal(maps.of_face(1).values, maps.values[1:2])


def test_a_map_is_enlarged_without_going_beyond_its_values():
    places = np.arange(16, dtype=np.float32).reshape(4, 4)
    large = over_crop(places, 64)
    assert (large.shape, large.min(), large.max()) == ((64, 64), 0, 15)
    assert not large[:8, :8].any()  # up to the middle of the first place
