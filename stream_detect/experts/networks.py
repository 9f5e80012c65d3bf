"""The networks by name: built from stored weights, packed into them, and wrapped to take pictures as they come."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from stream_detect.errors import WeightsError
from stream_detect.experts.attention import AttentionConfig, AttentionNet, AttentionTrunks
from stream_detect.experts.mesonet import Meso4, MesoInception4
from stream_detect.weights import NetworkWeights

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "meso4": Meso4,
    "meso_inception4": MesoInception4,
    "attention": lambda **config: AttentionNet(AttentionConfig(**config)),
    "attention_trunks": lambda trunks: AttentionTrunks(
        {name: AttentionNet(AttentionConfig(**config)) for name, config in trunks.items()}
    ),
}
COUNTER = "num_batches_tracked"  # of batch normalization: training's alone, never stored


@final
class Embedder(nn.Module):
    """Pictures as bytes to embeddings: what an engine runs and what is exported."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, aligned: UInt8[Tensor, "faces 256 256 3"]) -> Float[Tensor, "faces dim"]:
        x = aligned.permute(0, 3, 1, 2).float() / 255  # (B, 3, 256, 256)
        return self.network.features(x)  # type: ignore[no-any-return]


def build(weights: NetworkWeights) -> nn.Module:
    """The network, ready to judge (`eval`).

    Raises:
        WeightsError: if the kind or its configuration is unknown, or the tensors are not those of such a network.
    """
    network = make_network(weights.kind, weights.config)
    check_tensors(weights.kind, network.state_dict(), weights.tensors)
    network.load_state_dict({name: torch.tensor(values) for name, values in weights.tensors.items()}, strict=False)
    return network.eval()


def make_network(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """An untrained network.

    Raises:
        WeightsError: if the kind or its configuration is unknown.
    """
    if kind not in NETWORKS:
        raise WeightsError(
            f"expected a network of a kind among {', '.join(NETWORKS)}, got {kind!r}; "
            "install a newer stream-detect, or take other weights"
        )
    try:
        return NETWORKS[kind](**config)
    except (TypeError, ValueError) as exc:
        raise WeightsError(f"{kind}: these weights have a configuration that can't be built: {exc}") from exc


def pack(network: nn.Module) -> NetworkWeights:
    """What to store of a network.

    Raises:
        TypeError: if it is none of ours.
    """
    stored = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(COUNTER)}
    tensors = {name: tensor.detach().cpu().float().numpy().copy() for name, tensor in stored.items()}
    if isinstance(network, AttentionNet):
        return NetworkWeights("attention", asdict(network.config), tensors)
    if isinstance(network, AttentionTrunks):
        configs = {name: asdict(trunk.config) for name, trunk in network.each().items()}
        return NetworkWeights("attention_trunks", {"trunks": configs}, tensors)
    for kind in ("meso4", "meso_inception4"):
        if type(network) is NETWORKS[kind]:
            return NetworkWeights(kind, {"outputs": network.outputs}, tensors)
    raise TypeError(f"expected one of {', '.join(NETWORKS)}, got {type(network).__name__}")


def check_tensors(kind: str, expected: Mapping[str, Tensor], given: Mapping[str, Any]) -> None:
    """Raise WeightsError unless `given` has the names and the shapes of `expected`."""
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items() if not name.endswith(COUNTER)}
    found = {name: tuple(tensor.shape) for name, tensor in given.items()}
    for name in shapes.keys() | found.keys():
        if shapes.get(name) != found.get(name):
            raise WeightsError(
                f"{kind}: expected {shapes.get(name, 'no tensor')} for {name}, got {found.get(name, 'no tensor')}; "
                "take weights that were made for this version of stream-detect"
            )
