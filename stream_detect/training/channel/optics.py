"""Light, lens, sensor and the filters behind them: what happens to a picture before it is sent."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from stream_detect.training.channel.resampling import Picture

Denoiser = Literal["none", "bilateral", "median", "gaussian", "temporal"]
DENOISERS: tuple[Denoiser, ...] = ("bilateral", "median", "gaussian", "temporal")
SKIN_CR_CB = (151.0, 108.0)  # 8-bit, about the middle of all skins (Chai and Ngan, 1999: Cr 133-173, Cb 77-127)
SKIN_SPREAD = (14.0, 16.0)
READ_NOISE = 2.5  # electrons


@dataclass(frozen=True, slots=True)
class Optics:
    """Camera and filters; applied in the order of the fields. Nothing is moved."""

    blur_px: float = 0.0  # sigma: out of focus
    motion: tuple[float, float] = (0.0, 0.0)  # length in pixels, direction in radians; both ways, so that nothing moves
    white_balance: tuple[float, float] = (1.0, 1.0)  # gains of red and blue
    dimmed: float = 1.0  # linear light, of what it was
    photons: float = 0.0  # electrons that white gives after dimming, 0 for a noiseless sensor
    gain: float = 1.0  # of linear light, after the sensor
    noise: float = 0.0  # sigma in 8-bit steps
    grain_px: float = 0.0  # sigma over which the noise hangs together: demosaicing, compression in the camera
    denoiser: Denoiser = "none"
    denoising: float = 0.0  # in [0, 1]
    gamma: float = 1.0
    brightness: float = 0.0  # offset in [0, 1] units
    contrast: float = 1.0  # about the middle
    smoothing: float = 0.0  # in [0, 1]: of skin, edges are kept
    is_skin_only: bool = True  # else the whole picture is smoothed
    glow: float = 0.0  # in [0, 1]: skin made brighter
    sharpening: float = 0.0  # amount of an unsharp mask
    sharpening_px: float = 1.0  # its sigma
    seed: int = 0  # of the noise

    def __call__(self, rgb: Picture) -> Picture:
        rgb = self._lens(rgb)
        rgb = self._sensor(rgb)
        if self.denoiser != "none":
            rgb = denoised(rgb, self.denoiser, self.denoising)
        rgb = through_levels(rgb, self._levels())
        if self.smoothing or self.glow:
            rgb = beautified(rgb, self.smoothing, self.glow, self.is_skin_only)
        return sharpened(rgb, self.sharpening, self.sharpening_px) if self.sharpening else rgb

    def _lens(self, rgb: Picture) -> Picture:
        if self.blur_px:
            rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), self.blur_px), np.uint8)
        return smeared(rgb, *self.motion) if self.motion[0] else rgb

    def _sensor(self, rgb: Picture) -> Picture:
        rng = np.random.default_rng(self.seed)
        if (self.white_balance, self.dimmed, self.gain, self.photons) != ((1.0, 1.0), 1.0, 1.0, 0.0):
            rgb = exposed(rgb, self.white_balance, self.dimmed, self.photons, self.gain, rng)
        if not self.noise:
            return rgb
        grain = self.noise * coherent(rng.standard_normal(rgb.shape, dtype=np.float32), self.grain_px)
        return np.asarray(np.clip(rgb + grain + 0.5, 0, 255), np.uint8)

    def _levels(self) -> np.ndarray:
        """What each 8-bit level becomes, in [0, 1]."""
        levels = (np.arange(256) / 255) ** self.gamma
        return (
            (levels - 0.5) * self.contrast + 0.5 + self.brightness if self.contrast != 1 else levels + self.brightness
        )


def coherent(noise: np.ndarray, sigma_px: float) -> np.ndarray:
    """White noise made to hang together over `sigma_px`, its strength kept."""
    if not sigma_px:
        return noise
    soft = cv2.GaussianBlur(noise, (0, 0), sigma_px)
    return np.asarray(soft / max(float(soft.std()), 1e-6), np.float32)


def exposed(
    rgb: Picture,
    white_balance: tuple[float, float],
    dimmed: float,
    photons: float,
    gain: float,
    rng: np.random.Generator,
) -> Picture:
    """The picture as a sensor sees it in other light.

    Noise is that of photons and read-out in linear light: variance is the number of electrons plus `READ_NOISE`
    squared (Foi et al., Practical Poissonian-Gaussian noise modeling, 2008), Gaussian in shape.
    """
    balance = np.array([white_balance[0], 1.0, white_balance[1]], np.float32)
    linear = (np.arange(256, dtype=np.float32) / 255) ** 2.2
    light = cv2.LUT(rgb, linear) * (dimmed * balance)
    if photons:
        electrons = photons / max(dimmed, 1e-3) * light
        spread = np.sqrt(electrons + READ_NOISE**2)
        electrons += spread * rng.standard_normal(rgb.shape, dtype=np.float32)
        light = electrons * (max(dimmed, 1e-3) / photons)
    steps = np.clip(1023 * gain * light + 0.5, 0, 1023).astype(np.int32)
    back = (255 * (np.arange(1024) / 1023) ** (1 / 2.2) + 0.5).astype(np.uint8)
    return np.asarray(back[steps], np.uint8)


def denoised(rgb: Picture, denoiser: Denoiser, strength: float) -> Picture:
    """A camera's or a call's noise filter; `strength` in [0, 1]."""
    if denoiser == "bilateral":
        return np.asarray(cv2.bilateralFilter(rgb, 5, 10 + 45 * strength, 2.0), np.uint8)
    if denoiser == "median":
        soft = cv2.medianBlur(rgb, 3 if strength < 0.7 else 5)
        return np.asarray(cv2.addWeighted(rgb, 0.4 - 0.4 * strength, soft, 0.6 + 0.4 * strength, 0), np.uint8)
    if denoiser == "gaussian":
        return np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.4 + 0.7 * strength), np.uint8)
    return ghosted(rgb, 0.2 + 0.5 * strength)


def ghosted(rgb: Picture, share: float) -> Picture:
    """A recursive filter over time: the picture mixed with those before, which lay half a pixel to each side."""
    shifts = [np.array([[1, 0, dx], [0, 1, dy]], np.float64) for dx, dy in ((0.5, 0.3), (-0.5, -0.3))]
    size = (rgb.shape[1], rgb.shape[0])
    past = [
        cv2.warpAffine(rgb, shift, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for shift in shifts
    ]
    mean = cv2.addWeighted(past[0], 0.5, past[1], 0.5, 0)
    return np.asarray(cv2.addWeighted(rgb, 1 - share, mean, share, 0), np.uint8)


def through_levels(rgb: Picture, levels: np.ndarray) -> Picture:
    """Each 8-bit level replaced; `levels` is (256,) in [0, 1], what lies outside is clipped."""
    table = np.clip(255 * levels + 0.5, 0, 255).astype(np.uint8)
    return rgb if np.array_equal(table, np.arange(256)) else np.asarray(cv2.LUT(rgb, table), np.uint8)


def skin(rgb: Picture) -> np.ndarray:
    """How much each pixel looks like skin, softly, by its chroma: (height, width) float32 in [0, 1]."""
    chroma = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float32)
    away = ((chroma - np.array(SKIN_CR_CB, np.float32)) / np.array(SKIN_SPREAD, np.float32)) ** 2
    return np.asarray(cv2.blur(np.exp(-0.5 * away.sum(axis=-1)), (9, 9)), np.float32)


def beautified(rgb: Picture, smoothing: float, glow: float, is_skin_only: bool) -> Picture:
    """What "touch up my appearance" does: edges are kept, pores are not; skin becomes a little brighter."""
    weight = skin(rgb)[..., None] if is_skin_only else np.ones((*rgb.shape[:2], 1), np.float32)
    soft = rgb
    for _ in range(1 + (smoothing > 0.6)):
        soft = np.asarray(cv2.bilateralFilter(soft, 7, 20 + 30 * smoothing, 3.0), np.uint8)
    wanted = soft.astype(np.float32)
    if glow:
        wanted += 0.3 * glow * (255 - wanted) * wanted / 255
    weight = min(1.0, smoothing + glow) * weight
    return np.asarray(np.clip(rgb + weight * (wanted - rgb) + 0.5, 0, 255), np.uint8)


def sharpened(rgb: Picture, amount: float, sigma_px: float) -> Picture:
    """An unsharp mask, as phones, televisions and restoring filters put on."""
    soft = cv2.GaussianBlur(rgb, (0, 0), sigma_px)
    return np.asarray(cv2.addWeighted(rgb, 1 + amount, soft, -amount, 0), np.uint8)


def smeared(rgb: Picture, length_px: float, angle: float) -> Picture:
    """Moved while the shutter was open, as far to one side as to the other."""
    reach = int(np.ceil(length_px / 2)) + 1
    side = 2 * reach + 1
    kernel = np.zeros((side, side), np.float32)
    for at in np.linspace(-length_px / 2, length_px / 2, 4 * reach + 1):
        x, y = reach + at * np.cos(angle), reach + at * np.sin(angle)
        left, top = int(x), int(y)
        for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            if row < side and column < side:
                kernel[row, column] += (1 - abs(x - column)) * (1 - abs(y - row))
    return np.asarray(cv2.filter2D(rgb, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101), np.uint8)
