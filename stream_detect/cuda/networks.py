"""The experts' networks on a GPU: one CUDA graph for each size of batch, for all networks at once."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, final

import torch
from jaxtyping import Float32

from stream_detect.cuda.stream import Lane, as_array, as_tensor
from stream_detect.experts.networks import build
from stream_detect.weights import NetworkWeights

Precision = Literal["fp32", "fp16", "bf16"]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SHIPPED: Precision = "fp16"  # benchmarks/precision.py says why
MOST_FACES = 64  # the largest bucket; larger batches are split

Features = Callable[[torch.Tensor], torch.Tensor]


def bucket_of(number: int) -> int:
    """The smallest of 1, 2, 4, 8 ... that is not below `number`."""
    return 1 << max(0, number - 1).bit_length()


def prepared(weights: NetworkWeights, device: str, precision: Precision = SHIPPED) -> Features:
    """What makes embeddings, (faces, dim) float32, of RGB in [0, 1], (faces, 3, 256, 256) float32.

    Args:
        weights: of the network.
        device: as torch names it.
        precision: of weights and values between layers; "fp32" is IEEE's where a `CudaLane` was made.

    Raises:
        WeightsError: if the weights are not of a network that is known here.
    """
    kind = DTYPES[precision]
    network: Any = build(weights).requires_grad_(False)
    network = network.to(device=device, dtype=kind).to(memory_format=torch.channels_last)

    def features(aligned: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            x = aligned.to(kind, memory_format=torch.channels_last)  # (B, 3, 256, 256)
            made: torch.Tensor = network.features(x).float()  # (B, dim)
            return made

    return features


@final
class DeviceNetworks:
    """Several networks that look at the same faces; each bucket is captured when it is first needed.

    Args:
        lane: where they run.
        weights: of each network, by name.
        inputs: (most, 3, 256, 256) float32 RGB in [0, 1], an array of the lane that is refilled for each batch. It is
            read where it lies; what stands in the rows behind a batch's last face doesn't matter.
        precision: of the arithmetic.
    """

    def __init__(
        self, lane: Lane, weights: Mapping[str, NetworkWeights], inputs: Any, precision: Precision = SHIPPED
    ) -> None:
        self._lane = lane
        self._inputs: torch.Tensor = as_tensor(inputs)
        self._networks = {name: prepared(given, lane.tensors, precision) for name, given in weights.items()}
        self._held: dict[int, Callable[[], Any]] = {}

    def __call__(self, faces: int) -> dict[str, Float32[Any, "faces dim"]]:
        """The embeddings of the first `faces` faces by each network, arrays of the lane; valid until the next call.

        Raises:
            ValueError: if there is no room for so many, or none are asked for.
        """
        if not 1 <= faces <= len(self._inputs):
            raise ValueError(f"expected 1 to {len(self._inputs)} faces, got {faces}; split larger batches")
        if not self._networks:
            return {}
        bucket = min(bucket_of(faces), len(self._inputs))
        if bucket not in self._held:
            self._held[bucket] = self._lane.held(lambda: self._run(bucket))
        made = self._held[bucket]()
        return {name: as_array(self._lane.bench.xp, tensor)[:faces] for name, tensor in made.items()}

    def _run(self, bucket: int) -> dict[str, torch.Tensor]:
        return {name: features(self._inputs[:bucket]) for name, features in self._networks.items()}
