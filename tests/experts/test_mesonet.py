"""The port of MesoNet: its size, its order of layers, and the authors' published outputs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stream_detect.errors import WeightsError
from stream_detect.experts.mesonet import Inception, Meso4, MesoInception4, MesoNet
from tests.requirements import SHARED, require_shared

OFFICIAL = SHARED / "peers" / "mesonet"
FACES = ["df/df00204.jpg", "df/df01254.jpg", "real/real00240.jpg", "real/real00772.jpg"]  # two fakes, two reals


def official_faces() -> torch.Tensor:
    """The four faces as Keras' ImageDataGenerator gives them: nearest neighbour to 256, divided by 255."""
    pictures = [Image.open(OFFICIAL / "test_images" / name).convert("RGB") for name in FACES]
    small = [np.asarray(picture.resize((256, 256), Image.Resampling.NEAREST)) for picture in pictures]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2) / 255


@torch.inference_mode()
def p_real(network: MesoNet, weights: str) -> np.ndarray:
    network.load_official(OFFICIAL / "weights" / weights)
    return torch.sigmoid(-network.eval()(official_faces())).numpy()


@pytest.mark.parametrize(("network", "expected"), [(Meso4, 27_977), (MesoInception4, 28_615)])
def test_each_network_has_the_papers_number_of_parameters(network: type[MesoNet], expected: int) -> None:
    assert sum(parameter.numel() for parameter in network().parameters()) == expected


@pytest.mark.parametrize("network", [Meso4, MesoInception4])
def test_a_face_gives_sixteen_features_and_one_logit(network: type[MesoNet]) -> None:
    faces = torch.rand(2, 3, 256, 256)
    with torch.inference_mode():
        net = network().eval()
        assert net.features(faces).shape == (2, 16)
        assert net(faces).shape == (2,)
        assert torch.equal(net.head(net.features(faces)).squeeze(1), net(faces))


def test_each_layer_normalizes_after_its_relu_with_statistics_of_its_own() -> None:
    norms = [layer for layer in Meso4().modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [8, 8, 16, 16]
    assert {norm.eps for norm in norms} == {1e-3}
    network = Meso4().eval()
    with torch.inference_mode():
        activated = network.layer1[0](torch.randn(1, 3, 256, 256))
    assert activated.min() == 0


def test_an_inception_block_joins_four_scales() -> None:
    block = Inception(3, 1, 4, 4, 2)
    with torch.inference_mode():
        assert block(torch.rand(1, 3, 16, 16)).shape == (1, 11, 16, 16)
    reach = [branch[1][0].dilation for branch in (block.branch2, block.branch3, block.branch4)]
    assert reach == [(1, 1), (2, 2), (3, 3)]


def test_the_official_meso4_gives_its_published_outputs() -> None:
    require_shared("peers/mesonet")
    assert p_real(Meso4(), "Meso4_DF.h5") == pytest.approx([0.041, 0.049, 0.990, 0.998], abs=6e-4)


def test_the_official_mesoinception_tells_its_own_faces_apart() -> None:
    require_shared("peers/mesonet")
    fakes_and_reals = p_real(MesoInception4(), "MesoInception_DF.h5")
    assert fakes_and_reals[:2].max() < 0.5 < fakes_and_reals[2:].min()


def test_the_weights_of_the_other_network_are_refused() -> None:
    require_shared("peers/mesonet")
    with pytest.raises(WeightsError, match=r"expected 4 convolutions.*for Meso4, got \[16, 4, 2\]"):
        Meso4().load_official(OFFICIAL / "weights" / "MesoInception_DF.h5")


def test_a_file_that_is_not_keras_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_text("not weights")
    with pytest.raises(WeightsError, match=r"weights.h5: expected the authors' Keras weights"):
        Meso4().load_official(path)


def test_missing_official_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected the authors' Keras weights"):
        Meso4().load_official(tmp_path / "absent.h5")
