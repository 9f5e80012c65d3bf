"""One draw of the channel: what lies between the camera and the detector, applied to real faces and forged ones alike.

All that is drawn stands in fields, so that `repr` tells everything and the same draw gives the same bytes. Nothing here
knows, or can know, whether a picture is forged.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from stream_detect.decode.frame import Frame
from stream_detect.training.channel.codecs import Codec, Coding, Loss
from stream_detect.training.channel.optics import DENOISERS, Optics, sharpened
from stream_detect.training.channel.rates import quantizer_at
from stream_detect.training.channel.resampling import KERNELS, Detour, Kernel, Picture, scaled

Rng = np.random.Generator
KERNEL_SHARES = (0.05, 0.25, 0.3, 0.25, 0.15)
CODEC_SHARES: dict[Codec, float] = {"jpeg": 0.35, "h264": 0.35, "vp8": 0.13, "vp9": 0.12, "h265": 0.05}
FRAME_HEIGHTS = (180, 240, 360, 480, 540, 720, 1080)
FACE_OF_FRAME = (0.18, 0.6)  # how much of a call's height a face takes
LOWEST_KBPS, HIGHEST_KBPS = 150.0, 4000.0
SCREEN_ZOOMS = (1.25, 1.5, 1.75, 2.0)  # the zoom steps that desktops offer
LEAST_FACE_PX = 40.0
USUAL_FACE_PX = 140.0


@dataclass(frozen=True, slots=True)
class Degradation:
    """Scaling, camera and filters, a first compression (perhaps at another size), sharpening, a last compression."""

    scale: float = 1.0
    kernel: Kernel = "area"
    is_smooth: bool = True  # the kernel widens when it reduces, so that nothing aliases
    optics: Optics = field(default_factory=Optics)
    detour: Detour | None = None  # the size at which the first compression happens
    first: Coding = field(default_factory=Coding)
    sharpening: float = 0.0  # amount of an unsharp mask on what was decoded
    last: Coding = field(default_factory=Coding)
    seed: int = 0  # for whoever needs chance that goes with this draw

    @classmethod
    def draw(cls, rng: Rng, scale: float, strength: float = 1.0, face_side: float | None = None) -> "Degradation":
        """A random channel after scaling by `scale`.

        Args:
            rng: where chance comes from.
            scale: of the picture's sides.
            strength: in [0, 1], how often and how hard it bites; 0 does nothing but scale.
            face_side: pixels of the face after scaling; a call's frame then has a size in which such a face occurs, and
                no detour makes it smaller than 40 pixels.
        """
        has_two = sometimes(rng, 0.35 * strength)
        detour = draw_detour(rng, strength, face_side) if sometimes(rng, 0.4 * strength) else None
        return cls(
            scale=scale,
            kernel=draw_kernel(rng),
            is_smooth=not sometimes(rng, 0.4 * strength),
            optics=draw_optics(rng, strength, face_side),
            detour=detour,
            first=draw_coding(rng, strength, face_side) if has_two else Coding(),
            sharpening=float(rng.uniform(0.2, 1.0)) if sometimes(rng, 0.12 * strength) else 0.0,
            last=draw_coding(rng, strength, face_side) if sometimes(rng, 0.85 * strength) else Coding(),
            seed=int(rng.integers(2**31)),
        )

    def __call__(self, rgb: Picture) -> Frame:
        """The picture after the channel, as a decoder gives it out."""
        return self.last(self.before_last(rgb))

    def before_last(self, rgb: Picture) -> Picture:
        """The picture as the last encoder is given it."""
        rgb = self.optics(scaled(rgb, self.scale, self.kernel, self.is_smooth))
        height, width = rgb.shape[:2]
        sent = self.first.rgb(self.detour.out(rgb) if self.detour else rgb)
        rgb = self.detour.home(sent, height, width) if self.detour else sent
        return sharpened(rgb, self.sharpening, 1.0) if self.sharpening else rgb

    def place(self, points: Float[np.ndarray, "*any 2"], height: int, width: int) -> Float[np.ndarray, "*any 2"]:
        """Where points (x, y) of a picture of `height` by `width` pixels are found after the channel."""
        if self.scale == 1.0:
            by = np.ones(2)
        else:
            by = np.array([max(2, round(self.scale * width)) / width, max(2, round(self.scale * height)) / height])
        shift = np.array(self.detour.shift if self.detour else (0.0, 0.0))
        return np.asarray((points + 0.5) * by - 0.5 + shift, points.dtype)


def sometimes(rng: Rng, share: float) -> bool:
    return bool(rng.random() < share)


def log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw_kernel(rng: Rng, but_nearest: bool = False) -> Kernel:
    kernel = KERNELS[int(rng.choice(len(KERNELS), p=KERNEL_SHARES))]
    return "linear" if but_nearest and kernel == "nearest" else kernel


def draw_detour(rng: Rng, strength: float, face_side: float | None = None) -> Detour:
    """A smaller size on the way, seldom a larger one; half of them come back by a desktop's zoom, off the grid."""
    is_screen = sometimes(rng, 0.5)
    zoom = float(rng.choice(SCREEN_ZOOMS)) if is_screen else log_uniform(rng, 1.1, 1.2 + 1.3 * strength)
    factor = 1 / zoom if sometimes(rng, 0.85) else zoom ** (0.5 if is_screen else 1)
    least = min(1.0, LEAST_FACE_PX / face_side) if face_side else 0.0
    shift = (float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.5, 0.5))) if is_screen else (0.0, 0.0)
    return Detour(max(factor, least), draw_kernel(rng), draw_kernel(rng, but_nearest=is_screen), shift)


def draw_optics(rng: Rng, strength: float, face_side: float | None = None) -> Optics:
    """What camera and filters do: most often nothing, seldom several things; a small face is blurred less."""
    reach = float(np.clip((face_side or USUAL_FACE_PX) / USUAL_FACE_PX, 0.4, 1.5))

    def maybe(share: float, low: float, high: float, otherwise: float) -> float:
        value = float(rng.uniform(low, high))
        return value if sometimes(rng, share * strength) else otherwise

    is_dim, is_noisy = sometimes(rng, 0.15 * strength), sometimes(rng, 0.2 * strength)
    dimmed = log_uniform(rng, 0.05, 0.4) if is_dim else 1.0
    photons = log_uniform(rng, 60, 600) * (1 - 0.5 * strength) if is_dim else 0.0
    cleans = sometimes(rng, 0.65) if is_dim or is_noisy else sometimes(rng, 0.12 * strength)
    beautifies, balances = sometimes(rng, 0.15 * strength), sometimes(rng, 0.25 * strength)
    motion = (reach * float(rng.uniform(1.5, 2 + 5 * strength)), float(rng.uniform(0, np.pi)))
    return Optics(
        blur_px=reach * maybe(0.2, 0.3, 0.6 + 0.9 * strength, 0.0),
        motion=motion if sometimes(rng, 0.1 * strength) else (0.0, 0.0),
        white_balance=(log_uniform(rng, 0.75, 1.33), log_uniform(rng, 0.75, 1.33)) if balances else (1.0, 1.0),
        dimmed=dimmed,
        photons=photons,
        gain=float(dimmed ** -rng.uniform(0.4, 0.9)) if is_dim else 1.0,
        noise=float(rng.uniform(1, 3 + 5 * strength)) if is_noisy else 0.0,
        grain_px=float(rng.choice([0.0, 0.5, 0.8])),
        denoiser=DENOISERS[int(rng.integers(len(DENOISERS)))] if cleans else "none",
        denoising=float(rng.uniform(0.2, 1.0)),
        gamma=float(np.exp(maybe(0.3, -0.35, 0.35, 0.0))),
        brightness=maybe(0.25, -0.12, 0.12, 0.0),
        contrast=maybe(0.2, 0.8, 1.25, 1.0),
        smoothing=float(rng.uniform(0.3, 1.0)) if beautifies else 0.0,
        is_skin_only=sometimes(rng, 0.7),
        glow=float(rng.uniform(0.0, 0.7)) if beautifies and sometimes(rng, 0.6) else 0.0,
        sharpening=maybe(0.15, 0.2, 1.4, 0.0),
        sharpening_px=float(rng.uniform(0.6, 2.0)),
        seed=int(rng.integers(2**31)),
    )


def draw_coding(rng: Rng, strength: float, face_side: float | None = None) -> Coding:
    """A compression: JPEG, an upload's H.264 at a constant rate factor, or a call's codec at its bit-rate."""
    codec = list(CODEC_SHARES)[int(rng.choice(len(CODEC_SHARES), p=list(CODEC_SHARES.values())))]
    if codec == "jpeg":
        return draw_jpeg(rng, strength)
    if codec == "h264" and sometimes(rng, 0.4):
        return video(rng, codec, int(rng.uniform(18, 20 + 18 * strength)), strength, is_adaptive=True)
    return draw_call(rng, codec, strength, face_side)


def draw_jpeg(rng: Rng, strength: float) -> Coding:
    grid = (int(rng.integers(16)), int(rng.integers(16))) if sometimes(rng, 0.5) else (0, 0)
    quality = int(rng.uniform(95 - 65 * strength, 97))
    return Coding("jpeg", quality, is_full_chroma=sometimes(rng, 0.25), grid=grid)


def draw_call(rng: Rng, codec: Codec, strength: float, face_side: float | None = None) -> Coding:
    """A call's codec: the frame's height, then a bit-rate that is usual for it, then the quantizer that gives it."""
    height = draw_frame_height(rng, face_side)
    usual = LOWEST_KBPS * (height / 180) ** 1.2
    low = max(LOWEST_KBPS, usual * (1.6 - 1.2 * strength))
    kbps = int(log_uniform(rng, low, min(HIGHEST_KBPS, 4 * usual)))
    motion = log_uniform(rng, 0.5, 1 + 5 * strength)
    return video(rng, codec, quantizer_at(codec, height, kbps, motion), strength, kbps=kbps, frame_height=height)


def draw_frame_height(rng: Rng, face_side: float | None) -> int:
    """The height of a call's frames; one in which a face of that size is usual, where it is known."""
    if face_side is None:
        return int(rng.choice(FRAME_HEIGHTS))
    wanted = face_side / rng.uniform(*FACE_OF_FRAME)
    return min(FRAME_HEIGHTS, key=lambda height: abs(np.log(height / wanted)))


def video(
    rng: Rng,
    codec: Codec,
    quality: int,
    strength: float,
    is_adaptive: bool = False,
    kbps: int = 0,
    frame_height: int = 0,
) -> Coding:
    lost = draw_loss(rng, codec) if sometimes(rng, 0.12 * strength) else "nothing"
    fastest = 0.8 if lost != "nothing" else 2.0  # pixels a frame: what is lost shows the frame before
    return Coding(
        codec,
        quality,
        is_adaptive=is_adaptive,
        before=2 if codec == "h265" else int(rng.integers(2, 4)),
        drift=(float(rng.uniform(-fastest, fastest)), float(rng.uniform(-fastest, fastest)) / 2),
        lost=lost,
        lost_at=float(rng.random()),
        kbps=kbps,
        frame_height=frame_height,
    )


def draw_loss(rng: Rng, codec: Codec) -> Loss:
    """What is lost; no frame of H.265, whose decoder then stands still at one that lies too far back."""
    kinds: dict[Codec, tuple[Loss, ...]] = {"h264": ("frame", "slice", "rows"), "h265": ("rows",)}
    possible = kinds.get(codec, ("frame", "rows"))
    return possible[int(rng.integers(len(possible)))]
