"""The store of weights: what comes back, and the one clear line that every kind of damage gives."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import stream_detect.weights
from stream_detect.errors import OutputError, WeightsError
from stream_detect.fusion.fusion import fuse
from stream_detect.types import KINDS
from stream_detect.weights import (
    HEADS,
    INDEX,
    Weights,
    check_folder,
    even_fusion,
    load_weights,
    random_weights,
    save_weights,
)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return replace(
        random_weights(seed=3),
        quality_limits={"min_face_px": 48.0},
        thresholds={"fake": 0.8, "real": 0.3},
        data="faces of nobody, licence: none",
        reference={"spectrum_mean": np.arange(4, dtype=np.float32)},
        operating={"false_positive_rate": 0.01, "chosen_on": "nobody"},
    )


@pytest.fixture
def folder(weights: Weights, tmp_path: Path) -> Path:
    save_weights(weights, tmp_path)
    return tmp_path


def change_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))


def change_tensors(folder: Path, name: str, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Change a file and give it its new hash, as someone would who makes weights with another program."""
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name)
    rehash(folder, name)


def rehash(folder: Path, name: str) -> None:
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    change_index(folder, lambda index: index["files"].update({name: digest}))


def test_what_was_saved_comes_back(weights: Weights, folder: Path) -> None:
    loaded = load_weights(folder)
    assert loaded.thresholds == weights.thresholds
    assert loaded.quality_limits == weights.quality_limits
    assert loaded.data == weights.data
    assert loaded.created_by.startswith("stream-detect ")
    assert list(loaded.heads) == list(weights.heads)
    for name, head in weights.heads.items():
        np.testing.assert_array_equal(loaded.heads[name].weight, head.weight)
        np.testing.assert_array_equal(loaded.heads[name].knots, head.knots)
        assert loaded.heads[name].kinds == head.kinds
    assert loaded.operating == weights.operating
    assert list(loaded.reference) == ["spectrum_mean"]
    np.testing.assert_array_equal(loaded.reference["spectrum_mean"], [0, 1, 2, 3])
    assert loaded.fusion.experts == weights.fusion.experts
    assert (loaded.fusion.kinds, loaded.fusion.joint, loaded.kinds) == (KINDS, "noisy_or", KINDS)
    np.testing.assert_array_equal(loaded.fusion.weights, weights.fusion.weights)


def test_networks_are_stored_as_float16_and_used_as_float32(weights: Weights, folder: Path) -> None:
    stored = load_file(folder / "mesonet.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim > 1} == {np.dtype(np.float16)}
    for name, tensor in weights.networks["mesonet"].tensors.items():
        loaded = load_weights(folder).networks["mesonet"].tensors[name]
        assert loaded.dtype == np.float32
        np.testing.assert_allclose(loaded, tensor, rtol=1e-3, atol=1e-6)


def test_a_matrix_too_large_for_float16_is_kept_whole(weights: Weights, tmp_path: Path) -> None:
    network = weights.networks["mesonet"]
    large = {name: tensor * 0 + 1e6 for name, tensor in network.tensors.items()}
    save_weights(replace(weights, networks={"mesonet": replace(network, tensors=large)}), tmp_path)
    assert load_weights(tmp_path).networks["mesonet"].tensors["embed.2.weight"].max() == 1e6


def test_saving_what_was_loaded_changes_nothing(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    save_weights(load_weights(folder), again)
    assert load_weights(again).digest == load_weights(folder).digest
    assert sorted(path.name for path in again.iterdir()) == sorted(
        ["attention.onnx", "attention.safetensors", HEADS, INDEX, "mesonet.onnx", "mesonet.safetensors"]
    )


def test_random_weights_repeat_with_their_seed() -> None:
    first, second, other = (random_weights(seed).networks["mesonet"].tensors for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["embed.2.weight"], other["embed.2.weight"])


def test_an_even_fusion_weighs_all_the_same() -> None:
    assert even_fusion(("a", "b"), ()).weights[..., 0].tolist() == [[1, 0], [0, 1], [0.5, 0.5]]
    assert even_fusion(("a", "b"), (), ("whole", "part")).weights.shape == (3, 2, 2)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent: expected a folder of weights with heads.json in it"):
        load_weights(tmp_path / "absent")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected heads.json in this folder, found none"):
        load_weights(tmp_path)


def test_a_file_in_place_of_the_folder(folder: Path) -> None:
    with pytest.raises(WeightsError, match="expected a folder of weights"):
        load_weights(folder / INDEX)


def test_an_installation_without_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights came with this installation.*--weights DIR"):
        check_folder(tmp_path, shipped=True)


def test_the_shipped_weights_are_read_from_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_detect.weights.importlib.resources, "files", lambda package: folder)
    assert load_weights().digest == load_weights(folder).digest


def test_a_file_that_is_missing(folder: Path) -> None:
    (folder / "mesonet.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"mesonet.safetensors: expected this file beside heads.json"):
        load_weights(folder)


def test_a_file_that_was_damaged(folder: Path) -> None:
    path = folder / HEADS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"heads.safetensors: expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}"):
        load_weights(folder)


def test_a_file_that_was_cut_short(folder: Path) -> None:
    path = folder / "attention.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="it is damaged or not the one: take another copy"):
        load_weights(folder)


def test_a_pickle_is_not_loaded(folder: Path) -> None:
    (folder / "mesonet.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    rehash(folder, "mesonet.safetensors")
    with pytest.raises(WeightsError, match="expected safetensors, got something else"):
        load_weights(folder)


@pytest.mark.parametrize("text", ["", "{", "\x00\x01", '{"format": '])
def test_an_index_that_is_not_json(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    with pytest.raises(WeightsError, match=r"heads.json: expected JSON, got something else"):
        load_weights(folder)


@pytest.mark.parametrize(("text", "found"), [("[]", "'list'"), ("{}", "None"), ('{"format": "other"}', "'other'")])
def test_an_index_of_another_program(folder: Path, text: str, found: str) -> None:
    (folder / INDEX).write_text(text)
    with pytest.raises(WeightsError, match=f"expected the format 'stream-detect weights', got {found}"):
        load_weights(folder)


def test_weights_of_a_newer_version(folder: Path) -> None:
    change_index(folder, lambda index: index.update(version=4, created_by="stream-detect 9.0"))
    with pytest.raises(WeightsError, match=r"got 4, written by stream-detect 9.0; install a newer stream-detect"):
        load_weights(folder)


@pytest.mark.parametrize("version", [0, "1", None])
def test_a_version_that_never_was(folder: Path, version: object) -> None:
    change_index(folder, lambda index: index.update(version=version))
    with pytest.raises(WeightsError, match="expected a version from 1 to 3"):
        load_weights(folder)


@pytest.mark.parametrize("name", ["../mesonet.safetensors", "/etc/passwd", "weights.pt"])
def test_a_file_elsewhere_is_not_read(folder: Path, name: str) -> None:
    change_index(folder, lambda index: index["files"].update({name: "0" * 64}))
    with pytest.raises(WeightsError, match=r"expected files named <expert>.safetensors or <expert>.onnx, got"):
        load_weights(folder)


def make_version_1(folder: Path) -> None:
    """The same folder as the first release wrote it: one logit an expert, no kinds, no bands of quality."""
    index = json.loads((folder / INDEX).read_text())
    index.update(version=1)
    index.pop("operating")
    for entry in index["experts"].values():
        entry.pop("kinds")
    index["fusion"] = {name: index["fusion"][name] for name in ("experts", "quality")}
    (folder / INDEX).write_text(json.dumps(index))

    def first_kind_only(tensors: dict[str, np.ndarray]) -> None:
        for name in [name for name in tensors if name.endswith(".knots") or name.startswith("reference.")]:
            tensors.pop(name)
        for name in ("prior", "band_axis", "band_knots", "band_scale", "band_offset"):
            tensors.pop(f"fusion.{name}")
        for expert in index["experts"]:
            tensors[f"{expert}.weight"] = tensors[f"{expert}.weight"][:, 0].copy()
            tensors[f"{expert}.bias"] = tensors[f"{expert}.bias"][:1].copy()
        tensors["fusion.weights"] = tensors["fusion.weights"][:, :, 0].copy()
        tensors["fusion.modulation"] = tensors["fusion.modulation"][:, :, 0].copy()
        tensors["fusion.quality_weights"] = tensors["fusion.quality_weights"][:, 0].copy()
        tensors["fusion.bias"] = tensors["fusion.bias"][:, 0].copy()

    change_tensors(folder, HEADS, first_kind_only)


def test_weights_of_version_2_have_no_graphs(weights: Weights, folder: Path, tmp_path: Path) -> None:
    written = load_weights(folder)
    make_version_2(folder)
    loaded = load_weights(folder)
    assert [network.graph for network in loaded.networks.values()] == [b"", b""]
    assert loaded.created_by == written.created_by
    save_weights(loaded, tmp_path / "again")
    assert load_weights(tmp_path / "again").digest == written.digest


def make_version_2(folder: Path) -> None:
    """What the second version of the format was: no graphs."""
    index = json.loads((folder / INDEX).read_text())
    index.update(version=2, files={name: digest for name, digest in index["files"].items() if ".onnx" not in name})
    (folder / INDEX).write_text(json.dumps(index))
    for path in folder.glob("*.onnx"):
        path.unlink()


def test_a_graph_that_was_damaged(folder: Path) -> None:
    (folder / "mesonet.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"mesonet.onnx: expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}"):
        load_weights(folder)


def test_weights_of_version_1_are_read_as_of_one_kind(weights: Weights, folder: Path, tmp_path: Path) -> None:
    make_version_1(folder)
    loaded = load_weights(folder)
    assert loaded.kinds == loaded.heads["color"].kinds == ("forged",)
    given = np.ones((2, loaded.heads["color"].dim), np.float32)
    np.testing.assert_allclose(loaded.heads["color"](given), weights.heads["color"](given)[:, :1], rtol=1e-5)
    said = np.array([[1.0, -2, 3, 0, 5]])
    quality = np.zeros((1, len(loaded.fusion.quality)))
    assert fuse(said, quality, loaded.fusion).tolist() == pytest.approx([1.4])
    save_weights(loaded, tmp_path / "again")
    assert load_weights(tmp_path / "again").kinds == ("forged",)


def test_heads_of_other_kinds_than_the_fusion_fail(weights: Weights) -> None:
    with pytest.raises(ValueError, match=r"expected heads for forged of color, as the fusion has, got synthesised"):
        replace(weights, fusion=even_fusion(("color",), (), ("forged",)))


@pytest.mark.parametrize("note", [None, float("nan"), [1]])
def test_a_note_that_is_neither_words_nor_a_number(folder: Path, note: object) -> None:
    change_index(folder, lambda index: index["operating"].update(chosen_on=note))
    with pytest.raises(WeightsError, match="expected a number or words for operating chosen_on"):
        load_weights(folder)


@pytest.mark.parametrize("key", ["experts", "fusion", "quality_limits", "thresholds", "data", "created_by"])
def test_an_index_with_a_part_missing(folder: Path, key: str) -> None:
    change_index(folder, lambda index: index.pop(key))
    with pytest.raises(WeightsError, match=f"expected '{key}' in the weights, found none"):
        load_weights(folder)


def test_an_index_without_files(folder: Path) -> None:
    change_index(folder, lambda index: index.pop("files"))
    with pytest.raises(WeightsError, match="expected the files and their hashes, found none"):
        load_weights(folder)


@pytest.mark.parametrize("value", ["high", None, True, float("nan")])
def test_a_threshold_that_is_no_number(folder: Path, value: object) -> None:
    change_index(folder, lambda index: index["thresholds"].update(fake=value))
    with pytest.raises(WeightsError, match="expected a number for thresholds fake, got"):
        load_weights(folder)


def test_an_index_of_the_wrong_shape(folder: Path) -> None:
    change_index(folder, lambda index: index.update(thresholds=[1, 2]))
    with pytest.raises(WeightsError, match="these weights don't fit together"):
        load_weights(folder)


def test_a_tensor_that_is_missing(folder: Path) -> None:
    change_tensors(folder, HEADS, lambda tensors: tensors.pop("spectrum.bias"))
    with pytest.raises(WeightsError, match=r"expected 'spectrum.bias' in the weights, found none"):
        load_weights(folder)


def test_a_tensor_of_the_wrong_shape(folder: Path) -> None:
    change_tensors(folder, HEADS, lambda tensors: tensors.update({"spectrum.weight": np.ones(3, np.float32)}))
    with pytest.raises(WeightsError, match=r"don't fit together: weight and bias must be"):
        load_weights(folder)


def test_a_fusion_of_other_experts(folder: Path) -> None:
    change_index(folder, lambda index: index["fusion"]["experts"].pop())
    with pytest.raises(WeightsError, match=r"fusion weights must be \(15, 4, (\d)\), got \(31, 5, \1\)"):
        load_weights(folder)


def test_a_head_of_another_size(folder: Path) -> None:
    change_index(folder, lambda index: index["experts"]["mesonet"].update(dim=99))
    with pytest.raises(WeightsError, match="expected a head of 99 numbers for mesonet, got 16"):
        load_weights(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_tensor_with_a_hole(folder: Path, value: float) -> None:
    change_tensors(folder, "mesonet.safetensors", lambda tensors: tensors["head.1.bias"].fill(value))
    with pytest.raises(WeightsError, match=r"expected finite float16 or float32 in head.1.bias"):
        load_weights(folder)


def test_a_tensor_of_whole_numbers(folder: Path) -> None:
    change_tensors(folder, HEADS, lambda tensors: tensors.update({"spectrum.bias": np.ones(1, np.int64)}))
    with pytest.raises(WeightsError, match=r"expected finite float16 or float32 in spectrum.bias"):
        load_weights(folder)


def test_weights_that_diverged_are_not_saved(weights: Weights, tmp_path: Path) -> None:
    head = replace(weights.heads["color"], bias=np.full(len(KINDS), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"expected finite numbers in color.bias, got NaN or infinity"):
        save_weights(replace(weights, heads={**weights.heads, "color": head}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"can't write weights here: .*; name a folder that can"):
        save_weights(weights, tmp_path / "file" / "weights")


def test_a_bad_file_ends_with_exit_code_four(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path)
    assert caught.value.exit_code == 4
