"""What runs a network: onnxruntime or OpenVINO on a CPU (two to three times faster there), torch on a GPU."""

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from stream_detect.errors import UsageError, WeightsError
from stream_detect.experts.graph import filled, graph_of, named_tensors
from stream_detect.weights import NetworkWeights

MAX_BATCH = 32  # faces in one go on a GPU: bounds memory
FIRST_USE = threading.Lock()  # two threads that hand OpenVINO its first arrays at the same time wait for ever
BAD_GRAPH = "the graph {kind} of these weights can't be run: {error}; take another copy of the folder, or save it again"


@runtime_checkable
class Engine(Protocol):
    """Aligned faces in, embeddings out; safe to call from one thread at a time."""

    dim: int  # numbers in an embedding

    def __call__(self, aligned: UInt8[np.ndarray, "faces 256 256 3"]) -> Float32[np.ndarray, "faces dim"]: ...


def make_engine(weights: NetworkWeights, device: str = "cpu", threads: int = 1, engine: str = "onnxruntime") -> Engine:
    """What runs the network on `device` ("cpu" or "cuda:N").

    Args:
        weights: of the network.
        device: a GPU always gets torch.
        threads: that it may use on a CPU.
        engine: on a CPU, one of `ENGINES`.

    Raises:
        WeightsError: if the weights are not of a network that is known here.
        UsageError: for an engine that there isn't, or that isn't installed.
    """
    if device != "cpu":
        return TorchEngine(weights, device)
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}, expected one of {', '.join(ENGINES)}")
    return ENGINES[engine](weights, threads)


@final
class OnnxEngine:
    """A network on the CPU by onnxruntime; its threads sleep between calls instead of spinning.

    A thread takes one face at a time, whose planes stay in its cache: MesoInception-4 was a fifth slower on eight.
    """

    def __init__(self, weights: NetworkWeights, threads: int = 1) -> None:
        import onnxruntime  # type: ignore[import-untyped]
        from onnxruntime.capi import onnxruntime_pybind11_state as faults  # type: ignore[import-untyped]

        graph = graph_of(weights)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.at_once = max(threads, 1)
        if self.at_once == 1:  # sizes that are known beforehand fold into constants: a third of the steps remains
            options.add_free_dimension_override_by_name("faces", 1)
        tensors = named_tensors(graph, weights.tensors)
        self._held = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]  # not copied
        try:
            options.add_external_initializers(list(tensors), self._held)
            self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except (faults.Fail, faults.InvalidArgument, faults.InvalidGraph, faults.InvalidProtobuf) as exc:
            raise WeightsError(BAD_GRAPH.format(kind=weights.kind, error=str(exc)[:200])) from exc
        self.dim: int = self.session.get_outputs()[0].shape[1]

    def __call__(self, aligned: UInt8[np.ndarray, "faces 256 256 3"]) -> Float32[np.ndarray, "faces dim"]:
        parts = [self.session.run(None, {"aligned": part})[0] for part in batches(aligned, self.at_once)]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *parts])


@final
class OpenVinoEngine:
    """A network on the CPU by OpenVINO (the extra "openvino"), one face at a time.

    Args:
        weights: of the network.
        threads: that it may use.
        precision: "f32", or "bf16" where the processor has it: that is faster and moves scores a little.

    Raises:
        UsageError: if OpenVINO isn't installed, or the processor lacks the precision.
    """

    def __init__(self, weights: NetworkWeights, threads: int = 1, precision: str = "f32") -> None:
        openvino = import_openvino()
        core = openvino.Core()
        check_precision(precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": precision,
            "ENABLE_CPU_PINNING": "NO",  # experts share the cores with decoding
        }
        try:
            model = core.read_model(filled(graph_of(weights), weights.tensors))
            model.reshape({"aligned": [1, 256, 256, 3]})
            self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        except (RuntimeError, KeyError, ValueError) as exc:
            raise WeightsError(BAD_GRAPH.format(kind=weights.kind, error=str(exc)[:200])) from exc
        self.dim: int = model.output(0).shape[1]
        with FIRST_USE:
            self(np.zeros((1, 256, 256, 3), np.uint8))

    def __call__(self, aligned: UInt8[np.ndarray, "faces 256 256 3"]) -> Float32[np.ndarray, "faces dim"]:
        parts = [self._request.infer([part])[0] for part in batches(np.ascontiguousarray(aligned), 1)]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *parts])


@final
class TorchEngine:
    """A network by torch, on any device that torch knows."""

    def __init__(self, weights: NetworkWeights, device: str = "cpu") -> None:
        import torch

        from stream_detect.cuda.float32 import plain_convolutions
        from stream_detect.experts.networks import Embedder, build

        network = build(weights).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = torch.device(device)
        if self.device.type == "cuda":
            plain_convolutions()
        self.module: Any = Embedder(network).eval()
        self.dim: int = network.embedding_dim

    def __call__(self, aligned: UInt8[np.ndarray, "faces 256 256 3"]) -> Float32[np.ndarray, "faces dim"]:
        import torch

        with torch.inference_mode():
            given = (torch.tensor(part, device=self.device) for part in batches(aligned, MAX_BATCH))
            parts = [self.module(part).cpu().numpy() for part in given]
        return np.concatenate([np.zeros((0, self.dim), np.float32), *parts])


def import_openvino() -> Any:
    """OpenVINO without its telemetry, which would tell Google Analytics of every import.

    Raises:
        UsageError: if it isn't installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO then takes its own stub
    try:
        import openvino
    except ImportError as exc:
        raise UsageError(
            f"the engine openvino needs OpenVINO, which doesn't load ({exc}); pip install 'stream-detect[openvino]'"
        ) from exc
    return openvino


def check_precision(precision: str, capabilities: list[str]) -> None:
    """Raise UsageError unless the processor has such arithmetic: without it OpenVINO takes f32 and says nothing."""
    known = {"f32": "FP32", "bf16": "BF16"}
    if known[precision] not in capabilities:
        raise UsageError(f"this processor has no {precision} arithmetic; use the engine openvino or onnxruntime")


def batches(aligned: np.ndarray, size: int) -> list[np.ndarray]:
    return [aligned[start : start + size] for start in range(0, len(aligned), size)]


ENGINES: dict[str, Callable[[NetworkWeights, int], Engine]] = {
    "onnxruntime": OnnxEngine,
    "openvino": OpenVinoEngine,
    "openvino-bf16": partial(OpenVinoEngine, precision="bf16"),
}
