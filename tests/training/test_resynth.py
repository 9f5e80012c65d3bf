import hashlib

import cv2
import numpy as np
import pytest
import torch

from stream_detect.errors import ConfigError, WeightsError
from stream_detect.training.forgeries import KINDS
from stream_detect.training.forgeries.decoders import (
    UPSAMPLERS,
    Autoencoders,
    cut_patches,
    enlarge,
    fit_decoders,
    load_decoders,
    save_decoders,
    shipped_decoders,
    to_tensor,
)
from stream_detect.training.forgeries.family import Footage
from stream_detect.training.forgeries.resynth import (
    MOST_PX,
    RESYNTH_FAMILIES,
    drawn,
    paste_mask,
    recolored,
    resynthesized,
)
from stream_detect.training.scenes import Scene
from tests.training.made import made_face, noise, person

SEEDS = range(3)


@pytest.fixture(scope="module")
def untrained():
    """Autoencoders that have learned nothing: enough to see what becomes of their output."""
    torch.manual_seed(0)
    return Autoencoders().eval()


@pytest.fixture(scope="module")
def footage():
    return Footage(scene(), lambda rng: None, lambda rng: None)


def scene(height=150, width=140, side=60):
    return Scene(person(0, height, width, side), made_face(width / 2, height / 2, side), 0)


def psnr(one, other):
    return -10 * np.log10(np.square((one.astype(float) - other) / 255).mean())


def through(networks, rgb, upsampler, stride):
    with torch.inference_mode():
        out = networks.decoder(upsampler, stride)(networks.encoder(stride)(to_tensor(rgb)))
    return ((out[0].permute(1, 2, 0).numpy() + 1) * 127.5).clip(0, 255)


def test_there_is_a_family_for_each_up_sampler():
    assert list(RESYNTH_FAMILIES) == [f"resynth_{kind}" for kind in UPSAMPLERS]
    for name, family in RESYNTH_FAMILIES.items():
        assert family.name == name
        assert family.kind == "resynthesised"
        assert family.kind in KINDS
        assert "Zhang" in family.source


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(footage, upsampler):
    forge = RESYNTH_FAMILIES[f"resynth_{upsampler}"].forge
    first, again, other = (forge(footage, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.fake.tobytes() == again.fake.tobytes()
    assert first.real.tobytes() == again.real.tobytes()
    assert first.mask.tobytes() == again.mask.tobytes()
    assert first.fake.tobytes() != other.fake.tobytes()


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
@pytest.mark.parametrize("shape", [(150, 140), (121, 87)])
def test_sizes_are_kept_and_the_mask_tells_where_it_was_drawn(untrained, upsampler, shape):
    footage = scene(*shape, side=shape[1] * 0.45)
    for seed in SEEDS:
        forged = resynthesized(footage, upsampler, untrained, np.random.default_rng(seed))
        assert forged.real.shape == forged.fake.shape == (*shape, 3)
        assert forged.real.dtype == forged.fake.dtype == np.uint8
        assert forged.mask.shape == shape
        assert forged.mask.dtype == np.float32
        assert forged.mask.min() >= 0
        assert forged.mask.max() == 1
        changed = (forged.real != forged.fake).any(axis=2)
        assert changed[forged.mask > 0.5].mean() > 0.9
        assert not changed[resting(forged.mask)].any()


def resting(mask):
    """Where nothing was drawn, enlarging kernels' reach left out."""
    return cv2.dilate(mask, np.ones((33, 33))) == 0


def test_some_pictures_are_drawn_whole_and_some_only_in_the_face(untrained):
    shares = [
        resynthesized(scene(), "nearest", untrained, np.random.default_rng(seed)).mask.mean() for seed in range(12)
    ]
    assert 1.0 in shares
    assert min(shares) < 0.6


def test_the_footage_is_not_altered(untrained):
    one = scene()
    before = one.rgb.copy()
    for seed in SEEDS:
        resynthesized(one, "shuffle", untrained, np.random.default_rng(seed))
    assert (one.rgb == before).all()


def test_a_tiny_face_is_left_alone(untrained):
    assert resynthesized(scene(60, 60, 20), "nearest", untrained, np.random.default_rng(0)) is None


def test_the_decoders_are_as_before_after_a_forgery(untrained):
    before = {name: tensor.clone() for name, tensor in untrained.state_dict().items()}
    for seed in SEEDS:
        resynthesized(scene(), "transposed", untrained, np.random.default_rng(seed))
    assert all((tensor == before[name]).all() for name, tensor in untrained.state_dict().items())


def test_pytorch_keeps_its_threads(untrained):
    before = torch.get_num_threads()
    resynthesized(scene(), "nearest", untrained, np.random.default_rng(0))
    assert torch.get_num_threads() == before


def test_a_large_scene_is_drawn_at_a_size_that_bounds_the_time(untrained, monkeypatch):
    sizes = []

    def spy(rgb, **kwargs):
        sizes.append(rgb.shape[0] * rgb.shape[1])
        return drawn(rgb, **kwargs)

    monkeypatch.setattr("stream_detect.training.forgeries.resynth.drawn", spy)
    for seed in SEEDS:
        resynthesized(scene(600, 590, 250), "nearest", untrained, np.random.default_rng(seed))
    assert len(sizes) == len(SEEDS)
    assert max(sizes) < 1.02 * MOST_PX


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
@pytest.mark.parametrize("stride", [4, 8])
def test_pictures_of_any_size_go_through_a_decoder(untrained, upsampler, stride):
    for shape in ((40, 40), (41, 57), (63, 33)):
        rgb = noise(*shape)
        out = drawn(rgb, networks=untrained, upsampler=upsampler, stride=stride, rng=np.random.default_rng(0))
        assert out.shape == rgb.shape
        assert out.dtype == np.uint8


def test_colors_stay_as_they_were():
    rng = np.random.default_rng(0)
    like = noise(80, 80)
    out = recolored(rng.normal(60, 5, (80, 80, 3)).astype(np.float32), like, is_local=False)
    assert np.abs(out.mean(axis=(0, 1)) - like.mean(axis=(0, 1))).max() < 1


@pytest.mark.parametrize("is_soft", [True, False])
def test_a_paste_mask_ends_before_the_border(is_soft):
    mask = paste_mask((50, 41), is_soft)
    assert mask.shape == (50, 41)
    assert mask[25, 20] == 1
    assert mask[0].max() == mask[-1].max() == mask[:, 0].max() == mask[:, -1].max() == 0


def test_an_unknown_up_sampler_is_named():
    with pytest.raises(ValueError, match="expected one of transposed, nearest, bilinear, shuffle, got 'lanczos'"):
        enlarge("lanczos", 8, 8)


# Fitting


def test_fitting_lowers_the_loss():
    losses = []
    fit_decoders(
        [person(k, 160, 160, 100) for k in range(6)],
        40,
        strides=(4,),
        upsamplers=("nearest", "shuffle"),
        batch=4,
        tell=lambda step, loss: losses.append(loss),
    )
    assert losses[-1] < 0.7 * losses[0]


def test_fitting_again_gives_the_same_weights():
    faces = [person(k, 80, 80, 60) for k in range(3)]
    one, two = (fit_decoders(faces, 3, seed=1, strides=(4,), upsamplers=("bilinear",), batch=2) for _ in range(2))
    assert all((one.state_dict()[name] == tensor).all() for name, tensor in two.state_dict().items())


def test_fitting_leaves_the_global_seed_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit_decoders([person(0, 80, 80, 60)], 1, strides=(4,), upsamplers=("nearest",), batch=2)
    assert torch.rand(1) == expected


def test_fitting_on_nothing_fails():
    with pytest.raises(ConfigError, match="64 x 64 pixels or more"):
        fit_decoders([noise(50, 200)], 1)


def test_patches_are_cut_from_anything_large_enough():
    rng = np.random.default_rng(0)
    assert [patch.shape for patch in cut_patches(noise(64, 90), rng)] == [(64, 64, 3)] * 4
    assert list(cut_patches(noise(63, 90), rng)) == []


# Files


def test_decoders_come_back_from_their_file(tmp_path, untrained):
    digest = save_decoders(untrained, tmp_path / "decoders.safetensors")
    assert digest == hashlib.sha256((tmp_path / "decoders.safetensors").read_bytes()).hexdigest()
    back = load_decoders(tmp_path / "decoders.safetensors")
    assert back.strides == (4, 8)
    tensors = back.state_dict()
    assert all((tensors[name] == tensor.half().float()).all() for name, tensor in untrained.state_dict().items())


def test_a_part_of_the_decoders_comes_back_too(tmp_path):
    save_decoders(Autoencoders((8,), ("shuffle",)), tmp_path / "some.safetensors")
    assert list(load_decoders(tmp_path / "some.safetensors").decoders) == ["shuffle8"]


def test_a_missing_or_foreign_file_fails(tmp_path):
    with pytest.raises(WeightsError, match="can't read it"):
        load_decoders(tmp_path / "none.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="expected decoders"):
        load_decoders(tmp_path / "junk.safetensors")


def test_shipped_decoders_that_were_changed_are_refused(monkeypatch):
    monkeypatch.setattr("stream_detect.training.forgeries.decoders.SHIPPED_SHA256", "0" * 64)
    shipped_decoders.cache_clear()
    with pytest.raises(WeightsError, match="expected sha256 000"):
        shipped_decoders()
    shipped_decoders.cache_clear()


# The shipped decoders


def test_the_shipped_decoders_are_small_and_read_once():
    networks = shipped_decoders()
    assert networks is shipped_decoders()
    assert networks.strides == (4, 8)
    assert all(sum(p.numel() for p in decoder.parameters()) < 100_000 for decoder in networks.decoders.values())


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_the_shipped_decoders_draw_faces_not_mush(upsampler):
    face = person(0, 192, 192, 130)
    fine, coarse = (psnr(through(shipped_decoders(), face, upsampler, stride), face) for stride in (4, 8))
    assert fine > 30
    assert coarse > 25
    assert fine > coarse


def test_decoders_of_different_up_samplers_leave_different_prints():
    face = person(1, 192, 192, 130).astype(float)
    prints = [(through(shipped_decoders(), face.astype(np.uint8), kind, 4) - face).ravel() for kind in UPSAMPLERS]
    alike = np.corrcoef(prints)
    assert alike[np.triu_indices(4, 1)].max() < 0.98
