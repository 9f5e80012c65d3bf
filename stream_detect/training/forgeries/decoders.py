"""Small autoencoders whose decoders enlarge in four ways, fitted on real faces: their output carries the prints of such
enlarging as generators' pictures do, without a generator.

Uneven overlaps of transposed convolutions: Odena et al., "Deconvolution and checkerboard artifacts", Distill 2016;
sub-pixel shuffling: Shi et al., CVPR 2016; a stand-in for unseen generators: Zhang et al. (AutoGAN), WIFS 2019.
"""

import hashlib
import importlib.resources
import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from stream_detect.errors import ConfigError, WeightsError
from stream_detect.training.manifest import Item
from stream_detect.training.scenes import SceneStore

UPSAMPLERS = ("transposed", "nearest", "bilinear", "shuffle")
LATENT = {4: 12, 8: 32}  # channels of the code at a stride: the first keeps nearly all detail, the second doesn't
NOISE = {4: 0.03, 8: 0.1}  # standard deviation added to codes in fitting, so that near-by codes decode well, as a VAE's
WIDTH = {1: 16, 2: 24, 4: 40, 8: 48}  # channels at a stride
CODE_LIMIT = 3.0  # codes lie in -3..3

PATCH_PX = 64  # side of the pictures that are learned from
PATCHES = 4  # of each face
SHIPPED = "decoders.safetensors"
SHIPPED_SHA256 = "07603fe3febfe804c047934181d42f7c9a7308450ceec6e340a08e6880f26b8b"


class Encoder(nn.Module):
    """Strided convolutions down to a bounded code."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        sides = [1, *(2**k for k in range(1, int(math.log2(stride)) + 1))]
        channels = [3, *(WIDTH[side] for side in sides[1:])]
        down = [
            nn.Sequential(nn.Conv2d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True))
            for a, b in pairwise(channels)
        ]
        self.down = nn.Sequential(*down)
        self.mix = nn.Conv2d(channels[-1], channels[-1], 3, padding=1)
        self.code = nn.Conv2d(channels[-1], LATENT[stride], 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        x = x + F.leaky_relu(self.mix(x), 0.2)
        return CODE_LIMIT * torch.tanh(self.code(x) / CODE_LIMIT)


class Decoder(nn.Module):
    """A code back to a picture, enlarged by two at a time in one of the four ways."""

    def __init__(self, upsampler: str, stride: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(LATENT[stride], WIDTH[stride], 3, padding=1)
        self.mixes, self.ups = nn.ModuleList(), nn.ModuleList()
        side = stride
        while side > 1:
            self.mixes.append(Mix(WIDTH[side]))
            self.ups.append(enlarge(upsampler, WIDTH[side], WIDTH[side // 2]))
            side //= 2
        self.head = nn.Conv2d(WIDTH[1], 3, 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        x: Tensor = self.enter(code)
        for mix, up in zip(self.mixes, self.ups, strict=True):
            x = F.leaky_relu(up(mix(x)), 0.2)
        return self.head(x)  # type: ignore[no-any-return]

    def last_layers(self) -> "list[nn.Conv2d | nn.ConvTranspose2d]":
        """The convolution of the last enlarging, and the head."""
        last = next(layer for layer in self.ups[-1].modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d))
        return [last, self.head]


class Mix(nn.Module):
    """A residual convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.leaky_relu(self.conv(x), 0.2)


def enlarge(upsampler: str, before: int, after: int) -> nn.Module:
    """A layer that doubles the sides.

    Raises:
        ValueError: if the way isn't one of `UPSAMPLERS`.
    """
    if upsampler == "transposed":  # a kernel of 3 at a stride of 2 overlaps unevenly
        return nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1)
    if upsampler in ("nearest", "bilinear"):
        return nn.Sequential(nn.Upsample(scale_factor=2, mode=upsampler), nn.Conv2d(before, after, 3, padding=1))
    if upsampler == "shuffle":
        kernel = 3 if after == WIDTH[1] else 1
        conv = nn.Conv2d(before, 4 * after, kernel, padding=kernel // 2)
        return nn.Sequential(conv, nn.PixelShuffle(2))
    raise ValueError(f"expected one of {', '.join(UPSAMPLERS)}, got {upsampler!r}")


class Autoencoders(nn.Module):
    """An encoder a stride, and for each a decoder an up-sampler."""

    def __init__(self, strides: Sequence[int] = tuple(LATENT), upsamplers: Sequence[str] = UPSAMPLERS) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({str(stride): Encoder(stride) for stride in strides})
        self.decoders = nn.ModuleDict(
            {f"{kind}{stride}": Decoder(kind, stride) for stride in strides for kind in upsamplers}
        )

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(int(stride) for stride in self.encoders)

    def encoder(self, stride: int) -> Encoder:
        return self.encoders[str(stride)]  # type: ignore[return-value]

    def decoder(self, upsampler: str, stride: int) -> Decoder:
        return self.decoders[f"{upsampler}{stride}"]  # type: ignore[return-value]


def to_tensor(rgb: UInt8[np.ndarray, "*pictures height width 3"]) -> Tensor:
    """Pictures as the networks take them: (pictures, 3, height, width) in -1..1, channels last in memory."""
    pictures = rgb[None] if rgb.ndim == 3 else rgb
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def fit_decoders(
    pictures: Iterable[UInt8[np.ndarray, "_ _ 3"]],
    steps: int = 1300,
    seed: int = 0,
    *,
    strides: Sequence[int] = tuple(LATENT),
    upsamplers: Sequence[str] = UPSAMPLERS,
    batch: int = 8,
    tell: Callable[[int, float], None] = lambda *_: None,
) -> Autoencoders:
    """Autoencoders of real faces, after `steps` steps for every stride; the same for the same pictures and seed.

    Pictures are faces of at least 64 x 64 pixels, smaller ones are passed over; four patches of each are kept in
    memory, 12 KiB apiece. `tell` gets step and loss now and then.

    Raises:
        ConfigError: if no picture is large enough.
    """
    rng = np.random.default_rng(seed)
    patches = list(chain.from_iterable(cut_patches(rgb, rng) for rgb in pictures))
    if not patches:
        raise ConfigError(f"expected faces of {PATCH_PX} x {PATCH_PX} pixels or more to fit decoders on, got none")
    pool = np.stack(patches)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = Autoencoders(strides, upsamplers)
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for stride in strides:
            fit_stride(networks, stride, upsamplers, draw_batches(pool, batch, rng), steps, tell)
    networks.eval()
    return networks


def cut_patches(rgb: UInt8[np.ndarray, "_ _ 3"], rng: np.random.Generator) -> Iterator[UInt8[np.ndarray, "64 64 3"]]:
    """Random patches of a picture, half of them after reducing it, half of them mirrored."""
    for k in range(PATCHES):
        smallest = PATCH_PX / min(rgb.shape[:2])
        if smallest > 1:
            return
        scale = 1.0 if k % 2 else float(rng.uniform(max(smallest, 0.3), 1))
        to = (max(PATCH_PX, round(rgb.shape[1] * scale)), max(PATCH_PX, round(rgb.shape[0] * scale)))
        small = cv2.resize(rgb, to, interpolation=cv2.INTER_AREA)
        y, x = (int(rng.integers(side - PATCH_PX + 1)) for side in small.shape[:2])
        patch = small[y : y + PATCH_PX, x : x + PATCH_PX]
        yield (patch[:, ::-1] if rng.random() < 0.5 else patch).astype(np.uint8)


def draw_batches(pool: UInt8[np.ndarray, "patches 64 64 3"], batch: int, rng: np.random.Generator) -> Iterator[Tensor]:
    while True:
        rows = rng.permutation(len(pool))
        for start in range(0, max(1, len(rows) - batch + 1), batch):
            yield to_tensor(pool[rows[start : start + batch]])


def fit_stride(
    networks: Autoencoders,
    stride: int,
    upsamplers: Sequence[str],
    batches: Iterator[Tensor],
    steps: int,
    tell: Callable[[int, float], None],
) -> None:
    """Fit the encoder and all decoders of one stride together, by Adam with a warm-up and a cosine."""
    encoder, decoders = networks.encoder(stride), [networks.decoder(kind, stride) for kind in upsamplers]
    parameters = [p for module in (encoder, *decoders) for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 50) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)
        real = next(batches).contiguous(memory_format=torch.channels_last)
        code = encoder(real)
        code = code + NOISE[stride] * torch.randn_like(code)
        loss = torch.stack([loss_of(decoder(code), real) for decoder in decoders]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            tell(step, float(loss.detach()))


def loss_of(drawn: Tensor, real: Tensor) -> Tensor:
    """Absolute differences of pixels and of gradients, and of how much fine texture there is around each place.

    The last keeps the texture that plain distances smooth away: its strength must be right, its course need not.
    """
    gradients = sum(
        ((drawn.diff(dim=axis) - real.diff(dim=axis)).abs().mean() for axis in (2, 3)), start=torch.zeros(())
    )
    texture = (texture_of(drawn) - texture_of(real)).abs().mean()
    return (drawn - real).abs().mean() + 0.5 * gradients + 0.5 * texture


def texture_of(pictures: Float[Tensor, "pictures 3 height width"]) -> Float[Tensor, "pictures 3 rows columns"]:
    """Root mean square of the Laplacian in 8 x 8 blocks."""
    inner = pictures[..., 1:-1, 1:-1]
    around = pictures[..., 2:, 1:-1] + pictures[..., :-2, 1:-1] + pictures[..., 1:-1, 2:] + pictures[..., 1:-1, :-2]
    return (F.avg_pool2d((inner - around / 4).square(), 8) + 1e-5).sqrt()


def save_decoders(networks: Autoencoders, path: Path) -> str:
    """Write the weights in half precision; gives the file's SHA-256."""
    tensors = {name: tensor.detach().half().contiguous() for name, tensor in networks.state_dict().items()}
    data = save(tensors)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load_decoders(path: Path) -> Autoencoders:
    """What `save_decoders` wrote.

    Raises:
        WeightsError: if the file is missing, damaged or holds something else.
    """
    try:
        return unpack(path.read_bytes())
    except OSError as exc:
        raise WeightsError(f"{path}: expected decoders, can't read it: {exc}; fit them with fit_decoders") from exc


@lru_cache(maxsize=1)
def shipped_decoders() -> Autoencoders:
    """The decoders that came with the package, checked against their hash; read once a process.

    Raises:
        WeightsError: if the file is missing or isn't the one that was shipped.
    """
    place = importlib.resources.files("stream_detect.training.forgeries") / SHIPPED
    try:
        data = place.read_bytes()
    except OSError as exc:
        raise WeightsError(f"{place}: expected the package's decoders, found none; install the package again") from exc
    found = hashlib.sha256(data).hexdigest()
    if found != SHIPPED_SHA256:
        raise WeightsError(f"{place}: expected sha256 {SHIPPED_SHA256}, got {found}; install the package again")
    return unpack(data)


def unpack(data: bytes) -> Autoencoders:
    """Networks out of a safetensors file's bytes; strides and up-samplers are read from the names in it.

    Raises:
        WeightsError: if the bytes aren't those of decoders.
    """
    try:
        tensors = {name: tensor.float() for name, tensor in load(data).items()}
        names = sorted({name.split(".")[1] for name in tensors if name.startswith("decoders.")})
        strides = sorted({int(name[-1]) for name in names})
        upsamplers = [kind for kind in UPSAMPLERS if any(name[:-1] == kind for name in names)]
        networks = Autoencoders(strides, upsamplers)
        networks.load_state_dict(tensors)
    except (SafetensorError, IndexError, KeyError, RuntimeError, ValueError) as exc:
        raise WeightsError(f"expected decoders written by save_decoders: {exc}; fit them with fit_decoders") from exc
    networks.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return networks


def faces_to_learn_from(
    items: Sequence[Item], store: SceneStore, held_out: Container[str], count: int = 3000, seed: int = 0
) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
    """Real faces with some surroundings out of a store of cut scenes, but for the people in `held_out`."""
    rows = [k for k, item in enumerate(items) if not item.is_fake and item.group not in held_out]
    keys = store.keys(rows)
    for k in np.random.default_rng(seed).permutation(len(keys))[:count]:
        scene = store.load(keys[k])
        x1, y1, x2, y2 = (float(side) for side in scene.face.box)
        x, y, half = (x1 + x2) / 2, (y1 + y2) / 2, 0.65 * max(x2 - x1, y2 - y1)
        left, top = max(0, round(x - half)), max(0, round(y - half))
        yield scene.rgb[top : round(y + half), left : round(x + half)]
