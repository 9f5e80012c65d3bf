"""Eight named channels for the robustness suite. Each is harder and narrower than what training draws.

A channel is called with a source of chance and the side of the face in the picture (pixels); it gives a `Degradation`,
which is called with the picture. All but `untouched` bring the face to 80 to 200 pixels, never larger than it was.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from stream_detect.training.channel.codecs import Codec, Coding, Loss
from stream_detect.training.channel.degradation import Degradation, draw_kernel, log_uniform
from stream_detect.training.channel.optics import Optics
from stream_detect.training.channel.rates import quantizer_at
from stream_detect.training.channel.resampling import Detour

Rng = np.random.Generator
Channel = Callable[[Rng, float], Degradation]
SMALLEST_FACE_PX, LARGEST_FACE_PX = 80.0, 200.0
PUBLISHED: dict[str, tuple[int, int, int]] = {  # frame height, lowest and highest kbit/s
    "h264": (360, 200, 600),
    "h265": (360, 150, 450),
    "vp8": (240, 150, 250),
    "vp9": (360, 150, 400),
}
BUSY = (2.0, 4.0)  # times the bits that a calm talking head needs: hand-held, a lively room


def untouched(rng: Rng, face_side: float) -> Degradation:
    """The picture as it is."""
    return Degradation(seed=int(rng.integers(2**31)))


def jpeg(rng: Rng, face_side: float) -> Degradation:
    """Two JPEG compressions on grids that don't agree: quality 60 to 95, cut anew, then 30 to 75."""
    grid = (int(rng.integers(1, 16)), int(rng.integers(1, 16)))
    first = Coding("jpeg", int(rng.integers(60, 96)), is_full_chroma=bool(rng.random() < 0.5), grid=grid)
    last = Coding("jpeg", int(rng.integers(30, 76)), is_full_chroma=bool(rng.random() < 0.25))
    return replace(brought_near(rng, face_side), first=first, last=last)


def h264_call(rng: Rng, face_side: float) -> Degradation:
    """A 360p call in H.264 at 200 to 600 kbit/s."""
    return replace(brought_near(rng, face_side), last=call(rng, "h264"))


def h265_call(rng: Rng, face_side: float) -> Degradation:
    """A 360p call in H.265 at 150 to 450 kbit/s."""
    return replace(brought_near(rng, face_side), last=call(rng, "h265"))


def vp8_call(rng: Rng, face_side: float) -> Degradation:
    """A 240p call in VP8 at 150 to 250 kbit/s: what browsers fall back to on a poor line."""
    return replace(brought_near(rng, face_side), last=call(rng, "vp8"))


def vp9_call(rng: Rng, face_side: float) -> Degradation:
    """A 360p call in VP9 at 150 to 400 kbit/s."""
    return replace(brought_near(rng, face_side), last=call(rng, "vp9"))


def screen_capture(rng: Rng, face_side: float) -> Degradation:
    """A call's window shown 1.25 to 2 times its size, off the pixel grid, captured and encoded again in H.264."""
    codec: Codec = "vp9" if rng.random() < 0.5 else "h264"
    zoom, shift = float(rng.choice([1.25, 1.5, 1.75, 2.0])), rng.uniform(-0.5, 0.5, 2)
    detour = Detour(1 / zoom, "area", "linear" if rng.random() < 0.6 else "cubic", (float(shift[0]), float(shift[1])))
    last = Coding("h264", int(rng.integers(22, 31)), is_adaptive=True, drift=drift(rng))
    return replace(brought_near(rng, face_side), detour=detour, first=call(rng, codec), last=last)


def filters_low_light_loss(rng: Rng, face_side: float) -> Degradation:
    """A dim room: sensor noise, gain, a denoiser, skin smoothed and sharpened; then H.264 with a part that got lost."""
    dimmed = log_uniform(rng, 0.06, 0.25)
    optics = Optics(
        white_balance=(log_uniform(rng, 1.0, 1.3), log_uniform(rng, 0.75, 1.0)),
        dimmed=dimmed,
        photons=log_uniform(rng, 80, 300),
        gain=float(dimmed ** -rng.uniform(0.6, 0.85)),
        denoiser="bilateral" if rng.random() < 0.5 else "temporal",
        denoising=float(rng.uniform(0.4, 1.0)),
        smoothing=float(rng.uniform(0.3, 0.9)),
        glow=float(rng.uniform(0.0, 0.5)),
        sharpening=float(rng.uniform(0.2, 0.8)),
        seed=int(rng.integers(2**31)),
    )
    lost: Loss = "slice" if rng.random() < 0.5 else "rows"
    last = replace(call(rng, "h264"), lost=lost, lost_at=float(rng.random()), drift=drift(rng, 0.8))
    return replace(brought_near(rng, face_side), optics=optics, last=last)


def brought_near(rng: Rng, face_side: float) -> Degradation:
    """Scaled so that the face has the size it has in calls; nothing else."""
    scale = min(1.0, log_uniform(rng, SMALLEST_FACE_PX, LARGEST_FACE_PX) / face_side)
    return Degradation(scale, draw_kernel(rng), seed=int(rng.integers(2**31)))


def call(rng: Rng, codec: Codec) -> Coding:
    """A call's codec at the height and rate of `PUBLISHED`."""
    height, low, high = PUBLISHED[codec]
    kbps = int(log_uniform(rng, low, high))
    quality = quantizer_at(codec, height, kbps, log_uniform(rng, *BUSY))
    return Coding(codec, quality, drift=drift(rng), kbps=kbps, frame_height=height)


def drift(rng: Rng, fastest: float = 1.5) -> tuple[float, float]:
    """How far the scene moves from frame to frame, pixels."""
    return float(rng.uniform(-fastest, fastest)), float(rng.uniform(-fastest, fastest)) / 2


CHANNELS: dict[str, Channel] = {
    "untouched": untouched,
    "jpeg": jpeg,
    "h264_call": h264_call,
    "h265_call": h265_call,
    "vp8_call": vp8_call,
    "vp9_call": vp9_call,
    "screen_capture": screen_capture,
    "filters_low_light_loss": filters_low_light_loss,
}
