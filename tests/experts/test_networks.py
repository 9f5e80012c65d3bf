"""Networks from stored weights: whole round trips, and weights that are not what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stream_detect.errors import WeightsError
from stream_detect.experts.attention import AttentionConfig, AttentionNet
from stream_detect.experts.mesonet import Meso4, MesoInception4
from stream_detect.experts.networks import Embedder, build, pack

TINY = AttentionConfig(stem="patches", input_px=64, dim=24, depth=1)


@pytest.mark.parametrize("make", [Meso4, MesoInception4, lambda: AttentionNet(TINY), AttentionNet])
@torch.inference_mode()
def test_a_network_comes_back_as_it_was(make: type[torch.nn.Module]) -> None:
    network = make().train()
    network(torch.rand(2, 3, 256, 256))  # moves the statistics of normalization
    again, faces = build(pack(network)), torch.rand(1, 3, 256, 256)
    assert not again.training
    torch.testing.assert_close(again(faces), network.eval()(faces))


def test_an_embedder_takes_bytes() -> None:
    network, faces = Meso4().eval(), torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network.features(faces.permute(0, 3, 1, 2) / 255)
        torch.testing.assert_close(Embedder(network)(faces), expected)


def test_packed_weights_are_a_copy() -> None:
    network = Meso4()
    packed = pack(network)
    with torch.no_grad():
        network.head[1].bias.add_(1)
    assert packed.tensors["head.1.bias"][0] != network.head[1].bias.item()


def test_a_kind_that_is_unknown() -> None:
    with pytest.raises(WeightsError, match=r"expected a network of a kind among meso4, .*, got 'resnet'"):
        build(replace(pack(Meso4()), kind="resnet"))


@pytest.mark.parametrize("config", [{"colour": 1}, {"stem": "patches", "heads": 5}])
def test_a_configuration_that_cannot_be_built(config: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="attention: these weights have a configuration that can't be built"):
        build(replace(pack(AttentionNet(TINY)), config=config))


def test_a_tensor_of_another_shape() -> None:
    packed = pack(Meso4())
    wrong = {**packed.tensors, "head.1.bias": np.zeros(7, np.float32)}
    with pytest.raises(WeightsError, match=r"meso4: expected \(1,\) for head.1.bias, got \(7,\)"):
        build(replace(packed, tensors=wrong))


def test_a_tensor_that_is_missing() -> None:
    packed = pack(Meso4())
    fewer = {name: tensor for name, tensor in packed.tensors.items() if name != "head.1.bias"}
    with pytest.raises(WeightsError, match=r"expected \(1,\) for head.1.bias, got no tensor"):
        build(replace(packed, tensors=fewer))


def test_a_tensor_too_many() -> None:
    packed = pack(Meso4())
    with pytest.raises(WeightsError, match=r"expected no tensor for extra, got \(1,\)"):
        build(replace(packed, tensors={**packed.tensors, "extra": np.zeros(1, np.float32)}))


def test_a_stranger_is_not_packed() -> None:
    with pytest.raises(
        TypeError, match="expected one of meso4, meso_inception4, attention, attention_trunks, got Linear"
    ):
        pack(torch.nn.Linear(1, 1))
