"""What runs a network: onnxruntime on a CPU (two to three times faster there), torch on a GPU, behind one interface.

The ONNX model is made from the weights once and kept in the user's cache, so that later runs start without torch.
"""

import hashlib
import io
import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from stream_detect.weights import NetworkWeights

MAX_BATCH = 32  # faces in one go on a GPU: bounds memory
OPSET = 17
KEPT_MODELS = 8  # in the cache; the oldest go first
CODE = ("engine.py", "networks.py", "mesonet.py", "attention.py")  # what the graph depends on, besides the weights

log = logging.getLogger(__name__)


@runtime_checkable
class Engine(Protocol):
    """Aligned faces in, embeddings out; safe to call from one thread at a time."""

    dim: int  # numbers in an embedding

    def __call__(self, aligned: UInt8[np.ndarray, "faces 256 256 3"]) -> Float32[np.ndarray, "faces dim"]: ...


def make_engine(weights: NetworkWeights, device: str = "cpu", threads: int = 1) -> Engine:
    """The engine that measures best on `device` ("cpu" or "cuda:N"), with `threads` threads on a CPU.

    Raises:
        WeightsError: if the weights are not of a network that is known here.
    """
    return OnnxEngine(weights, threads) if device == "cpu" else TorchEngine(weights, device)


@final
class OnnxEngine:
    """A network on the CPU by onnxruntime; its threads sleep between calls instead of spinning.

    A thread takes one face at a time, whose planes stay in its cache: MesoInception-4 was a fifth slower on eight.
    """

    def __init__(self, weights: NetworkWeights, threads: int = 1) -> None:
        import onnxruntime  # type: ignore[import-untyped]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.at_once = max(threads, 1)
        if self.at_once == 1:  # sizes that are known beforehand fold into constants: a third of the steps remains
            options.add_free_dimension_override_by_name("faces", 1)
        model = cached_model(weights)
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.dim: int = self.session.get_outputs()[0].shape[1]

    def __call__(self, aligned: UInt8[np.ndarray, "faces 256 256 3"]) -> Float32[np.ndarray, "faces dim"]:
        parts = [self.session.run(None, {"aligned": part})[0] for part in batches(aligned, self.at_once)]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *parts])


@final
class TorchEngine:
    """A network by torch, on any device that torch knows."""

    def __init__(self, weights: NetworkWeights, device: str = "cpu") -> None:
        import torch

        from stream_detect.experts.networks import Embedder, build

        network = build(weights).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = torch.device(device)
        if self.device.type == "cuda":
            cudnn: Any = torch.backends.cudnn
            cudnn.conv.fp32_precision = "ieee"  # not TF32: the same numbers as on a CPU
        self.module: Any = Embedder(network).eval()
        self.dim: int = network.embedding_dim

    def __call__(self, aligned: UInt8[np.ndarray, "faces 256 256 3"]) -> Float32[np.ndarray, "faces dim"]:
        import torch

        with torch.inference_mode():
            given = (torch.tensor(part, device=self.device) for part in batches(aligned, MAX_BATCH))
            parts = [self.module(part).cpu().numpy() for part in given]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *parts])


def batches(aligned: np.ndarray, size: int) -> list[np.ndarray]:
    return [aligned[start : start + size] for start in range(0, len(aligned), size)]


def cached_model(weights: NetworkWeights) -> bytes:
    """The ONNX model of these weights, from the cache if it is whole there, else exported (and kept, if it can be)."""
    path = cache_folder() / f"{model_key(weights)}.model"
    model = read_model(path)
    if model is None:
        model = export_onnx(weights)
        keep_model(path, model)
    return model


def export_onnx(weights: NetworkWeights) -> bytes:
    """An ONNX model from bytes (faces, 256, 256, 3) to embeddings, for any number of faces."""
    import torch

    from stream_detect.experts.networks import Embedder, build

    embedder = Embedder(build(weights)).eval()
    faces = torch.zeros(2, 256, 256, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: the newer exporter would need the package onnxscript
        torch.onnx.export(
            embedder,
            (faces,),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=["aligned"],
            output_names=["embedding"],
            dynamic_axes={"aligned": {0: "faces"}, "embedding": {0: "faces"}},
        )
    return buffer.getvalue()


def model_key(weights: NetworkWeights) -> str:
    """A hash of all that the model depends on: the weights, the code of the networks, the ONNX version."""
    key = hashlib.sha256(json.dumps([weights.kind, dict(weights.config), OPSET], sort_keys=True).encode())
    for name, tensor in sorted(weights.tensors.items()):
        key.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        key.update(np.ascontiguousarray(tensor).data)
    for module in CODE:
        source = Path(__file__).with_name(module)
        key.update(source.read_bytes() if source.is_file() else module.encode())
    return key.hexdigest()


def cache_folder() -> Path:
    """Where models are kept between runs, by the custom of the operating system."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "stream-detect" / "models"


def read_model(path: Path) -> bytes | None:
    """The model kept at `path`, or None if there is none or it is damaged; a file is a sha256, then the model."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, model = content[:32], content[32:]
    return model if hashlib.sha256(model).digest() == digest else None


def keep_model(path: Path, model: bytes) -> None:
    """Put the model in the cache in one step; a cache that can't be written only costs the next run a second."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            file.write(hashlib.sha256(model).digest() + model)
        os.replace(file.name, path)
        forget_old_models(path.parent)
    except OSError as exc:
        log.debug("the exported network is not kept in %s: %s", path.parent, exc)


def forget_old_models(folder: Path) -> None:
    models = sorted(folder.glob("*.model"), key=lambda path: path.stat().st_mtime)
    for path in models[:-KEPT_MODELS]:
        path.unlink(missing_ok=True)
