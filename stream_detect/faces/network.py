"""RetinaFace's network as a torch module that reads the same published bytes, for a GPU.

Names of the layers are those of the ONNX graph, so that weights load strictly by name; batch normalisation is already
folded into the convolutions there.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from jaxtyping import Float, UInt8
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from stream_detect.cuda.float32 import plain_convolutions
from stream_detect.faces import retinaface
from stream_detect.faces.detector import DEFAULTS, DetectorSettings, Picture, in_batches_of_one_size
from stream_detect.types import Face

CANDIDATES = 2048  # anchors of a picture that leave the device; a face is usually hit by ten to thirty


def conv(channels: int, filters: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, groups=groups)


def conv_leaky(channels: int, filters: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(conv(channels, filters, kernel, stride, groups), nn.LeakyReLU(0.1))


def separable(channels: int, filters: int, stride: int = 1) -> nn.Sequential:
    """A depthwise, then a pointwise convolution (MobileNet, Howard et al. 2017)."""
    return nn.Sequential(conv_leaky(channels, channels, 3, stride, channels), conv_leaky(channels, filters, 1))


class Trunk(nn.Module):
    """MobileNet at a quarter of its width; features at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            conv_leaky(3, 8, stride=2),
            separable(8, 16),
            separable(16, 32, stride=2),
            separable(32, 32),
            separable(32, 64, stride=2),
            separable(64, 64),
        )
        self.stage2 = nn.Sequential(separable(64, 128, stride=2), *(separable(128, 128) for _ in range(5)))
        self.stage3 = nn.Sequential(separable(128, 256, stride=2), separable(256, 256))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (B, 3, H, W)
        fine = self.stage1(x)  # (B, 64, H/8, W/8)
        middle = self.stage2(fine)  # (B, 128, H/16, W/16)
        return fine, middle, self.stage3(middle)  # (B, 256, H/32, W/32)


class Pyramid(nn.Module):
    """Feature pyramid (Lin et al. 2017): coarse features are added to finer ones."""

    def __init__(self) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (conv_leaky(channels, 64, 1) for channels in (64, 128, 256))
        self.merge1, self.merge2 = conv_leaky(64, 64), conv_leaky(64, 64)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse, middle, fine = self.output3(coarse), self.output2(middle), self.output1(fine)  # (B, 64, ...) each
        middle = self.merge2(middle + functional.interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + functional.interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return fine, middle, coarse


class Context(nn.Module):
    """Single-stage headless context (Najibi et al. 2017): 3x3, 5x5 and 7x7 views side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3X3 = nn.Sequential(conv(64, 32))
        self.conv5X5_1, self.conv5X5_2 = conv_leaky(64, 16), nn.Sequential(conv(16, 16))
        self.conv7X7_2, self.conv7x7_3 = conv_leaky(16, 16), nn.Sequential(conv(16, 16))

    def forward(self, x: Tensor) -> Tensor:  # (B, 64, H, W)
        wide = self.conv5X5_1(x)  # (B, 16, H, W)
        views = [self.conv3X3(x), self.conv5X5_2(wide), self.conv7x7_3(self.conv7X7_2(wide))]
        return functional.relu(torch.cat(views, dim=1))  # (B, 64, H, W)


class RetinaFace(nn.Module):
    """Raw outputs for BGR planes minus the mean: loc (B, A, 4), conf (B, A, 2), landmarks (B, A, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.fx, self.fpn = Trunk(), Pyramid()
        self.ssh1, self.ssh2, self.ssh3 = Context(), Context(), Context()
        self.class_head, self.bbox_head, self.landmark_head = (
            nn.ModuleList(conv(64, 2 * values, 1) for _ in range(3)) for values in (2, 4, 10)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (B, 3, H, W)
        levels = [
            ssh(level) for ssh, level in zip((self.ssh1, self.ssh2, self.ssh3), self.fpn(*self.fx(x)), strict=True)
        ]
        loc = by_anchor(self.bbox_head, levels, 4)
        conf = by_anchor(self.class_head, levels, 2).softmax(dim=2)
        return loc, conf, by_anchor(self.landmark_head, levels, 10)


def by_anchor(heads: nn.ModuleList, levels: list[Tensor], values: int) -> Tensor:
    """Each level's two anchors a place, row by row, all levels in one table (B, A, values)."""
    tables = [head(level).permute(0, 2, 3, 1).flatten(1) for head, level in zip(heads, levels, strict=True)]
    return torch.cat([table.unflatten(1, (-1, values)) for table in tables], dim=1)


def load_network() -> RetinaFace:
    """The network with the published weights, on the CPU, for inference.

    Raises:
        WeightsError: if the weights are missing or not the tested ones.
    """
    network = RetinaFace()
    network.load_state_dict(published_weights(retinaface.read_weights()))
    return network.eval().requires_grad_(False)


def published_weights(graph_bytes: bytes) -> dict[str, Tensor]:
    """Weights of the ONNX graph under the names of the module's layers."""
    graph = onnx.load_from_string(graph_bytes).graph
    arrays = {array.name: numpy_helper.to_array(array) for array in graph.initializer}
    same = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    weights = {}
    for node in graph.node:
        if node.op_type != "Conv" or node.name.endswith("_1/Conv"):  # a second use of a shared layer
            continue
        part, *_, layer, _ = node.name.strip("/").split("/")  # "/ssh1/conv5X5_1/conv5X5_1.0/Conv"
        prefix = layer if part.endswith("_head") else f"{part}.{layer}"
        for kind, name in zip(("weight", "bias"), node.input[1:], strict=True):
            weights[f"{prefix}.{kind}"] = torch.from_numpy(arrays[same.get(name, name)].copy())
    return weights


class TorchRetinaFace:
    """The network on a torch device; candidates are chosen there, overlaps removed on the CPU."""

    def __init__(self, device: str, settings: DetectorSettings = DEFAULTS) -> None:
        self.device = torch.device(device)
        self.settings = settings
        self._network = load_network().to(device=self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.device.type == "cuda":
            plain_convolutions()
        self._mean = torch.tensor(retinaface.MEAN_BGR, device=self.device).reshape(1, 3, 1, 1)

    def __call__(self, pictures: Sequence[Picture]) -> list[list[Face]]:
        return in_batches_of_one_size(pictures, self._find)

    @torch.inference_mode()
    def raw(self, batch: UInt8[np.ndarray, "n height width 3"]) -> tuple[Tensor, Tensor, Tensor]:
        """Untouched outputs for RGB pictures: loc (n, anchors, 4), conf (n, anchors, 2), landmarks (n, anchors, 10)."""
        bgr = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).flip(1)
        planes = (bgr.float() - self._mean).contiguous(memory_format=torch.channels_last)
        outputs: tuple[Tensor, Tensor, Tensor] = self._network(planes)
        return outputs

    def _find(self, batch: UInt8[np.ndarray, "n height width 3"]) -> list[list[Face]]:
        anchor = retinaface.anchors(*batch.shape[1:3])
        likely, table = self._candidates(batch)
        return [self._select(*candidates, anchor) for candidates in zip(likely, table, strict=True)]

    @torch.inference_mode()
    def _candidates(self, batch: UInt8[np.ndarray, "n height width 3"]) -> tuple[np.ndarray, np.ndarray]:
        """The anchors most like a face, (n, k), and their confidence, loc and landmarks, (n, k, 15), on the CPU."""
        loc, conf, landmarks = self.raw(batch)
        best, index = conf[..., 1].topk(min(CANDIDATES, conf.shape[1]), dim=1)
        table = torch.cat([loc, landmarks], dim=2).gather(1, index[..., None].expand(-1, -1, 14))
        return index.cpu().numpy(), torch.cat([best[..., None], table], dim=2).cpu().numpy()

    def _select(self, index: np.ndarray, table: Float[np.ndarray, "k 15"], anchor: np.ndarray) -> list[Face]:
        keep = table[:, 0] > self.settings.min_confidence
        table, index = table[keep], index[keep]
        faces = retinaface.decode(table[:, 1:5], table[:, 0], table[:, 5:], anchor[index], self.settings.max_iou)
        return faces[: self.settings.max_faces]
