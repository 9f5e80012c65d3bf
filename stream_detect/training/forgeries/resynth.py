"""Faces drawn anew by small decoders, one family an up-sampler: the prints of generators without a generator.

A picture goes through a decoder of `decoders.py` whose code, last layers and size are altered a little at random, so
that one decoder leaves many prints (AutoGAN: Zhang et al., "Detecting and simulating artifacts in GAN fake images",
WIFS 2019). What else happens to the picture happens to its real partner too.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from stream_detect.training.forgeries.decoders import (
    CODE_LIMIT,
    NOISE,
    UPSAMPLERS,
    Autoencoders,
    Decoder,
    shipped_decoders,
    to_tensor,
)
from stream_detect.training.forgeries.family import AnyPicture, Family, Footage, Forged, Picture, Rng
from stream_detect.training.scenes import Scene
from stream_detect.types import Face

MOST_PX = 66_000  # pixels that a decoder draws: bounds the time a forgery takes
LEAST_PX = 24  # a smaller face isn't drawn
GENERATED_PX = (64.0, 256.0)  # sides of generated faces
PAD_PX = 8  # mirrored around what is drawn, so that no border shows
REDUCE = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
ENLARGE = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)

SOURCES = {
    "transposed": "checkerboards of transposed convolutions: Odena et al., Distill 2016",
    "nearest": "nearest-neighbour enlarging, then a convolution: Odena et al., Distill 2016",
    "bilinear": "bilinear enlarging, then a convolution: Odena et al., Distill 2016",
    "shuffle": "sub-pixel convolution: Shi et al., CVPR 2016",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn anew, and how."""

    region: tuple[int, int, int, int]  # left, top, right, bottom in the scene's pixels; right and bottom not included
    is_whole: bool  # the region is all of the picture
    is_soft: bool  # pasted through a soft ellipse; else the rectangle is, with a narrow border
    scale: float  # at most 1: the size it is drawn at
    is_same_for_real: bool  # all of the picture goes through that size, the real partner as well
    kernels: tuple[int, int]  # OpenCV's for reducing and for enlarging
    stride: int


def resynthesized(scene: Scene, upsampler: str, networks: Autoencoders, rng: Rng) -> Forged | None:
    """The scene, or its face with some surroundings, as a decoder with this up-sampler draws it.

    None where the face is smaller than 24 pixels.
    """
    if face_px(scene.face) < LEAST_PX:
        return None
    plan = draw_plan(scene, networks.strides, rng)
    redraw = partial(drawn, networks=networks, upsampler=upsampler, stride=plan.stride, rng=rng)
    return draw_in_all(scene.rgb, plan, redraw) if plan.is_same_for_real else draw_in_face(scene.rgb, plan, redraw)


def draw_plan(scene: Scene, strides: tuple[int, ...], rng: Rng) -> Plan:
    """Half of the pictures are drawn whole; half at their own size as far as time allows, half at a generator's."""
    height, width = scene.rgb.shape[:2]
    is_whole = bool(rng.random() < 0.5)
    is_soft = not is_whole and bool(rng.random() < 0.5)
    region = (0, 0, width, height) if is_whole else region_around(scene, float(rng.uniform(1.2, 1.6)), rng)
    area = (region[2] - region[0]) * (region[3] - region[1])
    scale = min(1.0, math.sqrt(MOST_PX / area))
    if rng.random() < 0.5:
        scale = min(scale, float(np.exp(rng.uniform(*np.log(GENERATED_PX)))) / face_px(scene.face))
    is_same_for_real = is_whole or bool(rng.random() < 0.5)
    kernels = (REDUCE[rng.integers(len(REDUCE))], ENLARGE[rng.integers(len(ENLARGE))])
    return Plan(region, is_whole, is_soft, scale, is_same_for_real, kernels, int(rng.choice(strides)))


def region_around(scene: Scene, margin: float, rng: Rng) -> tuple[int, int, int, int]:
    """A square about the face, `margin` of its sides wide, off its middle by up to a twentieth; cut at the border."""
    x1, y1, x2, y2 = (float(side) for side in scene.face.box)
    side = margin * max(x2 - x1, y2 - y1)
    x, y = (x1 + x2) / 2 + side * rng.uniform(-0.05, 0.05), (y1 + y2) / 2 + side * rng.uniform(-0.05, 0.05)
    height, width = scene.rgb.shape[:2]
    left, top = max(0, round(x - side / 2)), max(0, round(y - side / 2))
    return left, top, min(width, round(x + side / 2)), min(height, round(y + side / 2))


def draw_in_all(rgb: Picture, plan: Plan, redraw: Callable[[AnyPicture], AnyPicture]) -> Forged:
    """Everything goes through the plan's size, the real partner too; the region is drawn anew there."""
    small = resized(rgb, shape_at(rgb, plan.scale), plan.kernels[0])
    left, top, right, bottom = (round(side * plan.scale) for side in plan.region)
    inside = np.s_[top : min(bottom, small.shape[0]), left : min(right, small.shape[1])]
    mask = np.zeros(small.shape[:2], np.float32)
    mask[inside] = 1.0 if plan.is_whole else paste_mask(mask[inside].shape, plan.is_soft)
    fake = small.copy()
    fake[inside] = blended(small[inside], redraw(small[inside]), mask[inside])
    back = [resized(picture, rgb.shape[:2], plan.kernels[1]) for picture in (small, fake)]
    return Forged(back[0], back[1], np.clip(resized(mask, rgb.shape[:2], cv2.INTER_LINEAR), 0, 1))


def draw_in_face(rgb: Picture, plan: Plan, redraw: Callable[[AnyPicture], AnyPicture]) -> Forged:
    """The region alone goes through the plan's size and a decoder, and is pasted into the untouched picture."""
    left, top, right, bottom = plan.region
    inside = np.s_[top:bottom, left:right]
    small = resized(rgb[inside], shape_at(rgb[inside], plan.scale), plan.kernels[0])
    face = resized(redraw(small), rgb[inside].shape[:2], plan.kernels[1])
    mask = np.zeros(rgb.shape[:2], np.float32)
    mask[inside] = paste_mask(mask[inside].shape, plan.is_soft)
    fake = rgb.copy()
    fake[inside] = blended(rgb[inside], face, mask[inside])
    return Forged(rgb, fake, mask)


def drawn(rgb: AnyPicture, *, networks: Autoencoders, upsampler: str, stride: int, rng: Rng) -> AnyPicture:
    """The picture through encoder and decoder, code and last layers altered, its colors as they were."""
    height, width = rgb.shape[:2]
    before = [PAD_PX + int(offset) for offset in rng.integers(stride, size=2)]  # so that the grid lies anywhere
    after = [PAD_PX + -(side + start + PAD_PX) % stride for side, start in zip((height, width), before, strict=True)]
    padded = cv2.copyMakeBorder(rgb, before[0], after[0], before[1], after[1], cv2.BORDER_REFLECT_101)
    with torch.inference_mode(), one_thread():
        pictures = to_tensor(padded).contiguous(memory_format=torch.channels_last)
        code = altered_code(networks.encoder(stride)(pictures), NOISE[stride], rng)
        decoder = altered_decoder(networks.decoder(upsampler, stride), rng)
        out = decoder(code)[0].permute(1, 2, 0).numpy()
    inside = out[before[0] : before[0] + height, before[1] : before[1] + width]
    return recolored((np.ascontiguousarray(inside) + 1) * 127.5, rgb, is_local=bool(rng.random() < 0.5))


def altered_code(code: Tensor, noise: float, rng: Rng) -> Tensor:
    """The code with noise, a smooth displacement (other shading, other traits), or in coarse steps."""
    shape = tuple(code.shape)
    code = code + float(rng.uniform(0, 1.5)) * noise * torch.from_numpy(rng.standard_normal(shape, np.float32))
    if rng.random() < 0.5:
        coarse = torch.from_numpy(rng.standard_normal((1, shape[1], 4, 4), np.float32))
        smooth = nn.functional.interpolate(coarse, shape[2:], mode="bicubic", align_corners=False)
        code = code + float(rng.uniform(0, 0.15)) * smooth
    if rng.random() < 0.25:
        step = float(rng.uniform(1, 4)) * noise
        code = torch.round(code / step) * step
    return code.clamp(-CODE_LIMIT, CODE_LIMIT)


def altered_decoder(decoder: Decoder, rng: Rng) -> Decoder:
    """Six times in ten a copy whose last up-sampler and head have other weights, by a few per cent.

    Every tap of the up-sampler gets a gain, so that checkerboards grow or shrink; the head mixes channels otherwise.
    """
    strength = 0.06 * abs(float(rng.standard_normal()))
    if rng.random() >= 0.6:
        return decoder
    other = copy.deepcopy(decoder)
    for layer in other.last_layers():
        weight = layer.weight
        taps = rng.standard_normal((1, 1, *weight.shape[2:]), np.float32)
        mixing = rng.standard_normal((*weight.shape[:2], 1, 1), np.float32)
        weight.mul_(torch.from_numpy(1 + strength * (taps + mixing)))
    return other


def recolored(drawn: Float32[np.ndarray, "height width 3"], like: Picture, is_local: bool) -> Picture:
    """Means and spreads of the channels as in `like`; with `is_local` the coarse shading too."""
    mean, spread = like.mean(axis=(0, 1)), like.std(axis=(0, 1))
    gain = np.clip(spread / np.maximum(drawn.std(axis=(0, 1)), 1e-3), 0.5, 2)
    out = ((drawn - drawn.mean(axis=(0, 1))) * gain + mean).astype(np.float32)
    if is_local:
        side = max(3, min(like.shape[:2]) // 6)
        out += cv2.blur(like.astype(np.float32) - out, (side, side), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(np.clip(np.rint(out), 0, 255), np.uint8)


def paste_mask(shape: tuple[int, ...], is_soft: bool) -> Float32[np.ndarray, "height width"]:
    """In [0, 1], 0 at the border: a soft ellipse, or the whole rectangle but for a border of a fiftieth."""
    height, width = shape
    rim = 0.12 if is_soft else 0.02
    y, x = (np.abs(np.linspace(-1, 1, side, dtype=np.float32)) for side in (height, width))
    outward = np.hypot(y[:, None], x) if is_soft else np.maximum(y[:, None], x)
    step = np.clip((1 - outward) / (2 * rim), 0, 1)
    return np.asarray(step * step * (3 - 2 * step), np.float32)


def blended(under: Picture, over: Picture, mask: Float32[np.ndarray, "height width"]) -> Picture:
    share = mask[..., None]
    return np.asarray(np.rint(under + share * (over.astype(np.float32) - under)), np.uint8)


def shape_at(rgb: AnyPicture, scale: float) -> tuple[int, int]:
    return max(8, round(rgb.shape[0] * scale)), max(8, round(rgb.shape[1] * scale))


def resized(picture: np.ndarray, shape: tuple[int, ...], kernel: int) -> np.ndarray:
    """The picture at (height, width), itself where that is its shape."""
    if picture.shape[:2] == tuple(shape):
        return picture
    return np.asarray(cv2.resize(picture, (shape[1], shape[0]), interpolation=kernel), picture.dtype)


def face_px(face: Face) -> float:
    """Geometric mean of the sides of a face's box."""
    width, height = (float(side) for side in np.maximum(face.box[2:] - face.box[:2], 0))
    return math.sqrt(width * height)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: the same bytes everywhere, and nothing taken from other processes."""
    threads = torch.get_num_threads()
    if threads != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if threads != 1:
            torch.set_num_threads(threads)


def resynth(upsampler: str) -> Family:
    """The family of an up-sampler, drawn by the decoders that came with the package."""

    def forge(footage: Footage, rng: Rng) -> Forged | None:
        return resynthesized(footage.scene, upsampler, shipped_decoders(), rng)

    source = f"re-synthesis: AutoGAN, Zhang et al., WIFS 2019; {SOURCES[upsampler]}"
    return Family(f"resynth_{upsampler}", "resynthesised", source, forge)


RESYNTH_FAMILIES: dict[str, Family] = {family.name: family for family in map(resynth, UPSAMPLERS)}
