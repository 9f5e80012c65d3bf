"""Meso-4 and MesoInception-4: two very small networks that look at mesoscopic texture.

Afchar, Nozick, Yamagishi, Echizen, "MesoNet: a Compact Facial Video Forgery Detection Network", WIFS 2018,
arXiv 1809.00888. The order is convolution, ReLU, batch normalization, pooling, as in the authors' code; their
output 1 means real, ours means fake.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stream_detect.errors import WeightsError

EPS = 1e-3  # of every batch normalization: Keras' default, and the official weights need it


class MesoNet(nn.Module):
    """What both networks share: the last two layers and the head; the first two come from the subclass."""

    embedding_dim = 16

    def __init__(self, first: nn.Module, second: nn.Module, channels: tuple[int, int], outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.layer1 = nn.Sequential(first, nn.BatchNorm2d(channels[0], eps=EPS), nn.MaxPool2d(2))
        self.layer2 = nn.Sequential(second, nn.BatchNorm2d(channels[1], eps=EPS), nn.MaxPool2d(2))
        self.layer3 = nn.Sequential(conv(channels[1], 16, 5), nn.BatchNorm2d(16, eps=EPS), nn.MaxPool2d(2))
        self.layer4 = nn.Sequential(conv(16, 16, 5), nn.BatchNorm2d(16, eps=EPS), nn.MaxPool2d(4))
        self.embed = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(1024, 16), nn.LeakyReLU(0.1))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, outputs))

    def features(self, x: Float[Tensor, "faces 3 256 256"]) -> Float[Tensor, "faces 16"]:
        """The embedding before the last layer, of RGB in [0, 1]."""
        x = self.layer1(x)  # (B, 8 or 11, 128, 128)
        x = self.layer2(x)  # (B, 8 or 12, 64, 64)
        x = self.layer3(x)  # (B, 16, 32, 32)
        x = self.layer4(x)  # (B, 16, 8, 8)
        return self.embed(x)  # type: ignore[no-any-return]  # (B, 16)

    def kind_logits(self, x: Float[Tensor, "faces 3 256 256"]) -> Float[Tensor, "faces outputs"]:
        """A logit a face and output, positive for fake, of RGB in [0, 1]."""
        return self.head(self.features(x))  # type: ignore[no-any-return]

    def forward(self, x: Float[Tensor, "faces 3 256 256"]) -> Float[Tensor, " faces"]:
        """The first logit of each face, positive for fake, of RGB in [0, 1]."""
        return self.kind_logits(x)[:, 0]

    def load_official(self, path: Path) -> None:
        """Take the authors' published Keras weights (.h5, read with h5py); the sign is turned so that 1 is fake.

        Raises:
            WeightsError: if the file can't be read or is not of this network.
        """
        layers = read_keras(path)
        convs = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]
        norms = [layer for layer in self.modules() if isinstance(layer, nn.BatchNorm2d)]
        given = layers["conv2d"], layers["batch_normalization"], layers["dense"]
        if [len(group) for group in given] != [len(convs), len(norms), 2]:
            raise WeightsError(
                f"{path}: expected {len(convs)} convolutions, {len(norms)} normalizations and 2 dense layers "
                f"for {type(self).__name__}, got {[len(group) for group in given]}; take the file of the same network"
            )
        tensors = [*official_tensors(convs, norms, *given[:2]), *self._official_dense(given[2])]
        for parameter, values in tensors:
            if parameter.shape != values.shape:
                raise WeightsError(
                    f"{path}: expected a tensor of shape {tuple(parameter.shape)}, got {values.shape}; "
                    f"this is not {type(self).__name__}"
                )
        with torch.no_grad():
            for parameter, values in tensors:
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))

    def _official_dense(self, dense: list[list[np.ndarray]]) -> Iterator[tuple[Tensor, np.ndarray]]:
        """Keras flattens height, width, channels, torch channels first; the last layer is negated, for each output."""
        (hidden, hidden_bias), (last, last_bias) = dense
        if hidden.size == 1024 * 16:
            hidden = hidden.reshape(8, 8, 16, 16).transpose(2, 0, 1, 3).reshape(1024, 16)
        arrays = hidden.T, hidden_bias, np.repeat(-last.T, self.outputs, 0), np.repeat(-last_bias, self.outputs)
        yield from zip((*self.embed[2].parameters(), *self.head[1].parameters()), arrays, strict=True)


@final
class Meso4(MesoNet):
    """Four plain convolutions and two dense layers: 27,977 parameters with one output."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__(conv(3, 8, 3), conv(8, 8, 5), (8, 8), outputs)


@final
class MesoInception4(MesoNet):
    """Meso-4 whose first two layers look at four scales at once: 28,615 parameters with one output."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__(Inception(3, 1, 4, 4, 2), Inception(11, 2, 4, 4, 2), (11, 12), outputs)


class Inception(nn.Module):
    """A 1x1 of `a` channels beside 3x3 convolutions of `b`, `c`, `d` channels at dilation 1, 2, 3."""

    def __init__(self, channels: int, a: int, b: int, c: int, d: int) -> None:
        super().__init__()
        self.branch1 = conv(channels, a, 1)
        self.branch2 = nn.Sequential(conv(channels, b, 1), conv(b, b, 3))
        self.branch3 = nn.Sequential(conv(channels, c, 1), conv(c, c, 3, dilation=2))
        self.branch4 = nn.Sequential(conv(channels, d, 1), conv(d, d, 3, dilation=3))

    def forward(self, x: Tensor) -> Tensor:
        branches = self.branch1, self.branch2, self.branch3, self.branch4
        return torch.cat([branch(x) for branch in branches], dim=1)  # (B, a + b + c + d, H, W)


def conv(channels: int, out: int, side: int, dilation: int = 1) -> nn.Sequential:
    """A convolution that keeps height and width, then ReLU."""
    padding = dilation * (side // 2)
    return nn.Sequential(nn.Conv2d(channels, out, side, padding=padding, dilation=dilation), nn.ReLU())


def read_keras(path: Path) -> dict[str, list[list[np.ndarray]]]:
    """The arrays of a Keras .h5 by kind of layer, in the order in which the layers were made."""
    import h5py  # type: ignore[import-untyped]

    try:
        with h5py.File(path) as file:
            root = file.get("model_weights", file)
            return {kind: keras_layers(root, kind) for kind in ("conv2d", "batch_normalization", "dense")}
    except (OSError, KeyError) as exc:
        raise WeightsError(f"{path}: expected the authors' Keras weights (.h5), got {exc}") from exc


def keras_layers(root: Any, kind: str) -> list[list[np.ndarray]]:
    """The arrays of each layer named `kind_<number>`, by number."""
    numbered = [(int(match[1]), name) for name in root if (match := re.fullmatch(rf"{kind}_(\d+)", name))]
    return [
        [np.asarray(root[name][weight], dtype=np.float32) for weight in root[name].attrs["weight_names"]]
        for _, name in sorted(numbered)
    ]


def official_tensors(
    convs: list[nn.Conv2d],
    norms: list[nn.BatchNorm2d],
    given_convs: list[list[np.ndarray]],
    given_norms: list[list[np.ndarray]],
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Pairs of our tensor and Keras' array: kernels are height, width, in, out there."""
    for layer, (kernel, bias) in zip(convs, given_convs, strict=True):
        yield layer.weight, kernel.transpose(3, 2, 0, 1)
        assert layer.bias is not None
        yield layer.bias, bias
    for norm, arrays in zip(norms, given_norms, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        yield from zip((norm.weight, norm.bias, norm.running_mean, norm.running_var), arrays, strict=True)
