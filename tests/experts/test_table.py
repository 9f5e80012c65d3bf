"""The table of experts: all five, a choice of them, and those that other packages bring."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from stream_detect.errors import UsageError, WeightsError
from stream_detect.experts import table
from stream_detect.experts.heads import FORGED, LinearHead, noisy_or
from stream_detect.experts.table import EXPERTS, Expert, build_experts, fingerprint, gather_logits
from stream_detect.types import KINDS, FaceCrops
from stream_detect.weights import Weights, even_fusion, random_weights


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights()


def crops(faces: int = 3) -> FaceCrops:
    rng = np.random.default_rng(0)
    return FaceCrops(
        tiles=rng.random((faces, 28, 64, 64), np.float32),
        pixels=rng.integers(0, 256, (faces, 64, 64, 3), dtype=np.uint8),
        aligned=rng.integers(0, 256, (faces, 256, 256, 3), dtype=np.uint8),
        face_px=np.full(faces, 120, np.float32),
        around_share=np.ones(faces, np.float32),
    )


def brightness(weights: Weights, device: str, threads: int) -> Expert:
    """A plug-in: the brighter, the more suspicious."""
    return Expert("brightness", lambda faces: faces.aligned.mean(axis=(1, 2, 3))[:, None], lambda x: x[:, 0] - 127)


def broken(weights: Weights, device: str, threads: int) -> Expert:
    raise RuntimeError("no licence file")


def stranger(weights: Weights, device: str, threads: int) -> str:
    return "not an expert"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that a package brings these experts: name=address."""

    def installed(**addresses: str) -> None:
        points = [EntryPoint(name, address, table.GROUP) for name, address in addresses.items()]
        monkeypatch.setattr(table, "entry_points", lambda group: points if group == table.GROUP else [])

    return installed


def test_all_five_give_a_logit_a_face(weights: Weights) -> None:
    experts = build_experts(weights)
    assert list(experts) == ["spectrum", "residual", "color", "mesonet", "attention"] == list(EXPERTS)
    for name, expert in experts.items():
        assert expert.name == name
        logits = expert.logits(crops())
        assert logits.shape == (3,)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()
        kinds = expert.kind_logits(crops())
        assert kinds.shape == (3, len(KINDS))
        np.testing.assert_allclose(noisy_or(kinds), logits, atol=1e-4)


@pytest.mark.parametrize("name", ["spectrum", "residual", "color"])
def test_a_fingerprint_needs_no_weights(weights: Weights, name: str) -> None:
    expert = build_experts(weights)[name]
    features = fingerprint(name, crops())
    assert features.shape == (3, weights.heads[name].dim)
    np.testing.assert_array_equal(expert.extract(crops()), features)


@pytest.mark.parametrize("name", ["spectrum", "residual", "color"])
def test_the_first_weights_still_judge_by_the_features_they_knew(weights: Weights, name: str) -> None:
    whole = build_experts(weights)[name].extract(crops())
    dim = table.FORMER_DIMS[name]
    ones, bias = np.ones(dim, np.float32), np.zeros(1, np.float32)
    former = LinearHead(mean=0 * ones, scale=1e6 * ones, weight=1e6 * ones, bias=bias)
    fusion = even_fusion((name,), weights.fusion.quality, (FORGED,))
    expert = build_experts(replace(weights, heads={name: former.as_kinds()}, fusion=fusion), [name])[name]
    np.testing.assert_allclose(expert.logits(crops()), whole[:, :dim].sum(axis=1), rtol=1e-3)


def test_no_faces_cost_nothing(weights: Weights) -> None:
    experts = build_experts(weights).values()
    assert [expert.logits(crops(0)).shape for expert in experts] == [(0,)] * 5
    assert [expert.kind_logits(crops(0)).shape for expert in experts] == [(0, len(KINDS))] * 5


def test_a_logit_does_not_depend_on_the_other_faces(weights: Weights) -> None:
    faces = crops()
    alone = FaceCrops(
        *(getattr(faces, name)[1:2] for name in ("tiles", "pixels", "aligned", "face_px", "around_share"))
    )
    for expert in build_experts(weights).values():
        np.testing.assert_allclose(expert.logits(alone), expert.logits(faces)[1:2], atol=1e-3)


def test_a_choice_comes_in_the_order_of_the_table(weights: Weights) -> None:
    assert list(build_experts(weights, ["mesonet", "spectrum"])) == ["spectrum", "mesonet"]


def test_weights_with_fewer_experts_build_those(weights: Weights) -> None:
    fewer = replace(weights, heads={"color": weights.heads["color"]})
    assert list(build_experts(fewer)) == ["color"]
    with pytest.raises(WeightsError, match="expected a head for mesonet in the weights, found only color"):
        build_experts(fewer, ["mesonet"])


def test_an_unknown_name_lists_the_known(weights: Weights) -> None:
    with pytest.raises(UsageError, match="no expert is called spectre: name some of spectrum, residual, color"):
        build_experts(weights, ["spectre", "color"])


def test_no_expert_at_all_is_refused(weights: Weights) -> None:
    with pytest.raises(UsageError, match="name some of spectrum"):
        build_experts(weights, [])


def test_weights_without_the_network_are_refused(weights: Weights) -> None:
    with pytest.raises(WeightsError, match="expected a network for mesonet in the weights, found none"):
        build_experts(replace(weights, networks={}), ["mesonet"])


def test_a_head_for_other_features_is_refused(weights: Weights) -> None:
    swapped = replace(weights, heads={"color": weights.heads["mesonet"]})
    with pytest.raises(WeightsError, match=r"color: the weights expect 16 numbers a face, this version measures \d+"):
        build_experts(swapped)


def test_another_package_adds_an_expert(weights: Weights, install: Callable[..., None]) -> None:
    install(brightness=f"{__name__}:brightness")
    experts = build_experts(weights)
    assert list(experts) == [*EXPERTS, "brightness"]
    assert experts["brightness"].logits(crops()).shape == (3,)
    assert experts["brightness"].kind_logits(crops()).shape == (3, 1)
    assert list(build_experts(weights, ["color", "brightness"])) == ["color", "brightness"]
    assert list(build_experts(weights, ["color"])) == ["color"]


@pytest.mark.parametrize(
    ("address", "reason"),
    [("broken", "RuntimeError.*no licence file"), ("absent", "has no attribute 'absent'")],
)
def test_a_broken_plugin_is_named(weights: Weights, install: Callable[..., None], address: str, reason: str) -> None:
    install(smell=f"{__name__}:{address}")
    with pytest.raises(UsageError, match=f"the expert smell of .* doesn't load: .*{reason}.*--experts"):
        build_experts(weights, ["smell"])


def test_a_plugin_whose_package_is_gone_is_named(weights: Weights, install: Callable[..., None]) -> None:
    install(smell="no_such_package:expert")
    with pytest.raises(UsageError, match=r"the expert smell of .* doesn't load: ModuleNotFoundError"):
        build_experts(weights)


def test_a_plugin_that_gives_something_else_is_named(weights: Weights, install: Callable[..., None]) -> None:
    install(smell=f"{__name__}:stranger")
    with pytest.raises(
        UsageError, match=r"the expert smell of .* gives str, expected a stream_detect.experts.table.Expert"
    ):
        build_experts(weights)


def test_a_broken_plugin_that_is_not_asked_for_does_no_harm(weights: Weights, install: Callable[..., None]) -> None:
    install(smell=f"{__name__}:broken")
    assert list(build_experts(weights, ["color"])) == ["color"]


def test_a_plugin_cannot_take_the_place_of_ours(weights: Weights, install: Callable[..., None]) -> None:
    install(color=f"{__name__}:broken")
    assert list(build_experts(weights, ["color"])) == ["color"]


def test_logits_are_gathered_in_the_order_of_the_fusion() -> None:
    given = {"color": np.array([[1, 3], [2, 4]], np.float32), "brightness": np.array([[9], [9]], np.float32)}
    columns = gather_logits(given, ("spectrum", "color"), kinds=2)
    np.testing.assert_array_equal(columns, [[[np.nan] * 2, [1, 3]], [[np.nan] * 2, [2, 4]]])
    assert gather_logits({}, ("spectrum", "color"), kinds=3).shape == (0, 2, 3)
