"""Engines: onnxruntime and torch give the same numbers, and the cache survives whatever happens to it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream_detect.experts import engine
from stream_detect.experts.engine import (
    OnnxEngine,
    TorchEngine,
    cache_folder,
    cached_model,
    export_onnx,
    forget_old_models,
    make_engine,
    model_key,
)
from stream_detect.weights import NetworkWeights, random_weights, save_weights

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def networks() -> dict[str, NetworkWeights]:
    """Every kind and shape of network that may be stored, untrained."""
    import torch

    from stream_detect.experts.attention import VIT_112_16, AttentionConfig, AttentionNet
    from stream_detect.experts.mesonet import Meso4, MesoInception4
    from stream_detect.experts.networks import pack

    torch.manual_seed(0)
    return {
        "meso4": pack(Meso4()),
        "meso_inception4": pack(MesoInception4()),
        "attention": pack(AttentionNet()),
        "attention_cropped": pack(AttentionNet(AttentionConfig(crop_px=224, input_px=160, dim=96, heads=3))),
        "vit_112_16": pack(AttentionNet(VIT_112_16)),
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of network exported so far."""
    kinds: list[str] = []

    def counted(weights: NetworkWeights) -> bytes:
        kinds.append(weights.kind)
        return export_onnx(weights)

    monkeypatch.setattr(engine, "export_onnx", counted)
    return kinds


def faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 256, 256, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["meso4", "meso_inception4", "attention", "attention_cropped", "vit_112_16"])
def test_both_engines_give_the_same_embeddings(networks: dict[str, NetworkWeights], name: str) -> None:
    onnx, torch = OnnxEngine(networks[name]), TorchEngine(networks[name])
    expected = torch(faces(3))
    assert expected.shape == (3, torch.dim)
    assert onnx.dim == torch.dim
    np.testing.assert_allclose(onnx(faces(3)), expected, atol=TOLERANCE)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["meso_inception4", "attention"])
def test_a_gpu_gives_the_same_embeddings(networks: dict[str, NetworkWeights], name: str) -> None:
    on_gpu = make_engine(networks[name], "cuda:0")(faces(3))
    np.testing.assert_allclose(on_gpu, TorchEngine(networks[name])(faces(3)), atol=TOLERANCE)


@pytest.mark.parametrize("kind", [OnnxEngine, TorchEngine])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_any_number_of_faces(
    networks: dict[str, NetworkWeights],
    kind: type[OnnxEngine | TorchEngine],
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "MAX_BATCH", 2)
    run, pictures = kind(networks["meso4"]), faces(count)
    one_by_one = [run(pictures[index : index + 1]) for index in range(count)]
    embeddings = run(pictures)
    assert embeddings.shape == (count, 16)
    assert embeddings.dtype == np.float32
    if count:
        np.testing.assert_allclose(embeddings, np.concatenate(one_by_one), atol=TOLERANCE)


def test_a_cpu_gets_onnxruntime_with_the_threads_asked_for(networks: dict[str, NetworkWeights]) -> None:
    chosen = make_engine(networks["meso4"], "cpu", threads=2)
    assert isinstance(chosen, OnnxEngine)
    options = chosen.session.get_session_options()
    assert options.intra_op_num_threads == 2
    assert chosen(faces(3)).shape == (3, 16)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_model_is_exported_once(networks: dict[str, NetworkWeights], cache: Path, exports: list[str]) -> None:
    first, second = cached_model(networks["meso4"]), cached_model(networks["meso4"])
    assert first == second
    assert exports == ["meso4"]
    assert [path.suffix for path in cache.iterdir()] == [".model"]


def test_other_weights_are_another_model(networks: dict[str, NetworkWeights]) -> None:
    network = networks["meso4"]
    changed = {**network.tensors, "head.1.bias": network.tensors["head.1.bias"] + 1}
    keys = {
        model_key(network),
        model_key(replace(network, tensors=changed)),
        model_key(replace(network, kind="meso_inception4")),
        model_key(replace(network, config={"depth": 3})),
    }
    assert len(keys) == 4


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\0" * 5000])
def test_a_damaged_cache_is_made_anew(
    networks: dict[str, NetworkWeights], cache: Path, exports: list[str], damage: bytes
) -> None:
    model = cached_model(networks["meso4"])
    (path,) = cache.iterdir()
    path.write_bytes(damage)
    assert cached_model(networks["meso4"]) == model
    assert exports == ["meso4", "meso4"]
    assert path.read_bytes()[32:] == model


def test_one_flipped_bit_is_noticed(networks: dict[str, NetworkWeights], cache: Path, exports: list[str]) -> None:
    cached_model(networks["meso4"])
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    OnnxEngine(networks["meso4"])
    assert len(exports) == 2


def test_a_cache_that_cannot_be_written_is_done_without(
    networks: dict[str, NetworkWeights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_the_way))
    assert OnnxEngine(networks["meso4"])(faces(1)).shape == (1, 16)
    assert in_the_way.read_text() == ""


def test_the_oldest_models_are_forgotten(tmp_path: Path) -> None:
    for age in range(12):
        path = tmp_path / f"{age}.model"
        path.write_bytes(b"")
        os.utime(path, (1000 - age, 1000 - age))
    forget_old_models(tmp_path)
    assert sorted(int(path.stem) for path in tmp_path.iterdir()) == list(range(8))


def test_a_second_start_needs_no_torch(cache: Path, tmp_path: Path) -> None:
    weights = random_weights()
    save_weights(weights, tmp_path / "weights")
    script = (
        "import sys; from pathlib import Path; from stream_detect.weights import load_weights; "
        "from stream_detect.experts.engine import make_engine; "
        "weights = load_weights(Path(sys.argv[1])); "
        "engines = [make_engine(network) for network in weights.networks.values()]; "
        "print('torch' in sys.modules, 'timm' in sys.modules)"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "weights")]
    starts = [subprocess.run(command, capture_output=True, text=True, timeout=120, check=True) for _ in range(2)]
    assert [start.stdout.split() for start in starts] == [["True", "True"], ["False", "False"]]
    assert [start.stderr for start in starts] == ["", ""]
