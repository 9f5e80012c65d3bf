"""A network as an ONNX graph without its weights: made once, when weights are saved, so that judging needs no torch.

The graph depends on the network's kind and configuration alone. Its initializers bear the names of the tensors, behind
`PREFIX`, and hold no data; whoever runs the graph gives each its tensor, so that weights are stored once.
"""

import io
import json
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from stream_detect.weights import NetworkWeights

OPSET = 17
PREFIX = "network."  # of a tensor's name in the graph
NOWHERE = "the tensors of these weights"  # in place of a file's name: no such file is ever read


def graph_of(weights: NetworkWeights) -> bytes:
    """The graph that came with the weights; of weights that have none it is exported, which takes seconds and torch.

    Raises:
        WeightsError: if the network is of no kind that is known here, or its configuration can't be built.
    """
    return weights.graph or export_graph(weights.kind, weights.config)


def export_graph(kind: str, config: Mapping[str, Any]) -> bytes:
    """The graph from bytes (faces, 256, 256, 3) to embeddings, for any number of faces.

    Raises:
        WeightsError: if the kind is unknown, or the configuration can't be built.
    """
    return _exported(kind, json.dumps(dict(config)))  # in its own order: trunks are in that of the embedding


def named_tensors(graph: bytes, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the tensors that the graph uses, by their names in it; a network's last layer is not in it."""
    named = {PREFIX + name: tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if name.encode() in graph}


def filled(graph: bytes, tensors: Mapping[str, np.ndarray]) -> bytes:
    """The graph with its tensors inside, for programs that know nothing of tensors from elsewhere."""
    import onnx

    model = onnx.load_from_string(graph)
    named = named_tensors(graph, tensors)
    for initializer in model.graph.initializer:
        initializer.CopyFrom(onnx.numpy_helper.from_array(named[initializer.name], initializer.name))
    whole: bytes = model.SerializeToString()
    return whole


@lru_cache(maxsize=16)
def _exported(kind: str, config: str) -> bytes:
    import torch

    from stream_detect.experts.networks import Embedder, make_network

    embedder = Embedder(make_network(kind, json.loads(config))).eval()
    tell_apart(embedder)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: the newer exporter would need the package onnxscript
        torch.onnx.export(
            embedder,
            (torch.zeros(2, 256, 256, 3, dtype=torch.uint8),),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=["aligned"],
            output_names=["embedding"],
            dynamic_axes={"aligned": {0: "faces"}, "embedding": {0: "faces"}},
            training=torch.onnx.TrainingMode.PRESERVE,  # of a network in eval: nothing is merged, and names stay
            do_constant_folding=False,
        )
    return without_data(buffer.getvalue())


def tell_apart(network: Any) -> None:
    """Give all tensors different values: the exporter makes one of tensors that are equal, as untrained ones are."""
    import torch

    numbers = torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5, generator=numbers)


def without_data(model: bytes) -> bytes:
    """The model with its initializers' names, types and shapes, but not their numbers."""
    import onnx

    parsed = onnx.load_from_string(model)
    for initializer in parsed.graph.initializer:
        initializer.ClearField("raw_data")
        initializer.data_location = onnx.TensorProto.EXTERNAL
        initializer.external_data.add(key="location", value=NOWHERE)
    held: bytes = parsed.SerializeToString(deterministic=True)
    return held
