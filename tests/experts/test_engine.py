"""Engines: they give the same numbers, from graphs that come with the weights or are made when they don't."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream_detect.errors import UsageError, WeightsError
from stream_detect.experts import engine
from stream_detect.experts.engine import OnnxEngine, TorchEngine, make_engine
from stream_detect.experts.graph import export_graph, filled, graph_of, named_tensors
from stream_detect.weights import NetworkWeights, random_weights, save_weights

TOLERANCE = 1e-4
NETWORKS = ("meso4", "meso_inception4", "attention", "attention_cropped", "vit_112_16", "trunks")


TWO_THREADS = """
import threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from stream_detect.experts.engine import make_engine
from stream_detect.experts.mesonet import Meso4
from stream_detect.experts.networks import pack
engines = [make_engine(pack(Meso4()), engine="openvino") for _ in range(2)]
together = threading.Barrier(2)
def use(engine):
    together.wait()
    return engine(np.zeros((1, 256, 256, 3), np.uint8)).shape[1]
with ThreadPoolExecutor(2) as pool:
    print(*pool.map(use, engines))
"""


@pytest.fixture(scope="module")
def networks() -> dict[str, NetworkWeights]:
    """Every kind and shape of network that may be stored, untrained."""
    import torch

    from stream_detect.experts.attention import VIT_112_16, AttentionConfig, AttentionNet, AttentionTrunks
    from stream_detect.experts.mesonet import Meso4, MesoInception4
    from stream_detect.experts.networks import pack

    torch.manual_seed(0)
    small = AttentionConfig(stem="patches", input_px=64, dim=24, depth=1)
    return {
        "meso4": pack(Meso4()),
        "meso_inception4": pack(MesoInception4()),
        "attention": pack(AttentionNet()),
        "attention_cropped": pack(AttentionNet(AttentionConfig(crop_px=224, input_px=160, dim=96, heads=3))),
        "vit_112_16": pack(AttentionNet(VIT_112_16)),
        "trunks": pack(AttentionTrunks({"z": AttentionNet(small), "a": AttentionNet(replace(small, crop_px=128))})),
    }


def faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 256, 256, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", NETWORKS)
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


@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_names_every_tensor_of_its_embedding_and_holds_none(
    networks: dict[str, NetworkWeights], name: str
) -> None:
    import onnx

    made = export_graph(networks[name].kind, networks[name].config)
    initializers = onnx.load_from_string(made).graph.initializer
    named = named_tensors(made, networks[name].tensors)
    assert {one.name: tuple(one.dims) for one in initializers} == {key: value.shape for key, value in named.items()}
    unused = {key for key in networks[name].tensors if f"network.{key}" not in named}
    assert all("head." in key for key in unused)
    assert len(made) < 400_000


def test_a_graph_serves_other_weights_of_the_same_shape(networks: dict[str, NetworkWeights]) -> None:
    network = networks["meso4"]
    made = export_graph(network.kind, network.config)
    changed = {key: value * np.float32(1.5) for key, value in network.tensors.items()}
    other = NetworkWeights(network.kind, network.config, changed, made)
    np.testing.assert_allclose(OnnxEngine(other)(faces(1)), TorchEngine(other)(faces(1)), rtol=1e-4, atol=TOLERANCE)


def test_a_graph_is_exported_once(networks: dict[str, NetworkWeights]) -> None:
    assert graph_of(networks["meso4"]) is graph_of(networks["meso4"])
    given = replace(networks["meso4"], graph=b"given")
    assert graph_of(given) == b"given"


def test_a_filled_graph_is_a_model_of_its_own(networks: dict[str, NetworkWeights]) -> None:
    import onnxruntime

    network = networks["meso_inception4"]
    session = onnxruntime.InferenceSession(filled(graph_of(network), network.tensors))
    (embedding,) = session.run(None, {"aligned": faces(2)})
    np.testing.assert_allclose(embedding, OnnxEngine(network)(faces(2)), atol=TOLERANCE)


def without_one(network: NetworkWeights) -> NetworkWeights:
    return replace(network, tensors={k: v for k, v in network.tensors.items() if k != "layer1.0.0.bias"})


def with_another_shape(network: NetworkWeights) -> NetworkWeights:
    return replace(network, tensors={**network.tensors, "layer1.0.0.bias": np.zeros(9, np.float32)})


@pytest.mark.parametrize(
    "spoil",
    [without_one, with_another_shape, lambda network: replace(network, graph=b"nonsense")],
    ids=["a missing tensor", "a tensor of another shape", "no graph at all"],
)
def test_a_graph_that_does_not_fit_fails(networks: dict[str, NetworkWeights], spoil) -> None:
    with pytest.raises(WeightsError, match=r"the graph meso4 of these weights can't be run: .*take another copy"):
        OnnxEngine(spoil(networks["meso4"]))


def test_an_engine_that_there_is_not_fails(networks: dict[str, NetworkWeights]) -> None:
    with pytest.raises(UsageError, match="unknown engine 'tensorflow', expected one of onnxruntime, openvino"):
        make_engine(networks["meso4"], engine="tensorflow")


def test_the_first_start_needs_neither_torch_nor_timm(tmp_path: Path) -> None:
    weights = random_weights()
    save_weights(weights, tmp_path / "weights")
    script = (
        "import sys; from pathlib import Path; from stream_detect.weights import load_weights; "
        "from stream_detect.experts.engine import make_engine; "
        "weights = load_weights(Path(sys.argv[1])); "
        "engines = [make_engine(network) for network in weights.networks.values()]; "
        "print(sorted({'torch', 'timm', 'torchvision', 'onnx', 'scipy'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "weights")]
    start = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert (start.stdout.strip(), start.stderr) == ("[]", "")


@pytest.fixture
def openvino():
    return pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'stream-detect[openvino]'")


@pytest.mark.parametrize("name", NETWORKS)
def test_openvino_gives_the_same_embeddings(openvino, networks: dict[str, NetworkWeights], name: str) -> None:
    run = make_engine(networks[name], engine="openvino")
    expected = OnnxEngine(networks[name])(faces(3))
    assert (run.dim, run(faces(0)).shape) == (expected.shape[1], (0, expected.shape[1]))
    np.testing.assert_allclose(run(faces(3)), expected, atol=TOLERANCE)


def test_two_threads_may_use_openvino_first(openvino) -> None:
    """In a process of its own: what waited for ever was the first use of all."""
    done = subprocess.run([sys.executable, "-c", TWO_THREADS], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["16", "16"], done.stderr


def test_openvino_in_bf16_where_the_processor_has_it(openvino, networks: dict[str, NetworkWeights]) -> None:
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(UsageError, match="this processor has no bf16 arithmetic; use the engine openvino or"):
            make_engine(networks["meso4"], engine="openvino-bf16")
        return
    rounded = make_engine(networks["meso4"], engine="openvino-bf16")(faces(2))
    np.testing.assert_allclose(rounded, OnnxEngine(networks["meso4"])(faces(2)), rtol=0.1, atol=0.1)


def test_a_graph_that_does_not_fit_fails_in_openvino_too(openvino, networks: dict[str, NetworkWeights]) -> None:
    for spoil in (without_one, with_another_shape):
        with pytest.raises(WeightsError, match=r"the graph meso4 of these weights can't be run"):
            make_engine(spoil(networks["meso4"]), engine="openvino")


def test_openvino_that_is_not_installed_says_how_to_get_it(
    networks: dict[str, NetworkWeights], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"pip install 'stream-detect\[openvino\]'"):
        make_engine(networks["meso4"], engine="openvino")


def test_openvino_calls_nobody(openvino) -> None:
    """Its telemetry would, in a thread, when it is imported."""
    script = (
        "import socket, threading\n"
        "asked = []\n"
        "socket.getaddrinfo = lambda *to, **how: asked.append(to)\n"
        "socket.socket.connect = lambda self, to: asked.append(to)\n"
        "from stream_detect.experts.engine import import_openvino\n"
        "import_openvino().Core()\n"
        "print(asked, threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["[]", "1"]
