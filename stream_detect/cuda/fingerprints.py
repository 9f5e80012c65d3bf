"""The fingerprints and the experts' heads on a GPU: the same numbers as the NumPy functions, by kernels/*.cu.

Every function takes a `Bench` and arrays of its namespace, launches each kernel once for a batch of faces, and returns
without waiting for the device.
"""

from collections.abc import Callable
from typing import Any, final

import numpy as np

from stream_detect.arrays import constant
from stream_detect.cuda.kernels import Bench
from stream_detect.experts import spectrum
from stream_detect.experts.color import COLOR_DIM
from stream_detect.types import AROUND_TILES, INSIDE_TILES, PIXELS_PX, TILE_PX

TILES = INSIDE_TILES + AROUND_TILES
TILE_THREADS = 256  # of a block that takes one tile
FACE_THREADS = 256  # of a block that takes one face
BINS = TILE_PX * (TILE_PX // 2 + 1)  # of a tile's real FFT
HELD_PLANS = 16  # FFT plans kept, one for each size of batch: more than there are buckets

Rfft2 = Callable[[Any], Any]  # (tiles, 64, 64) float32 -> (tiles, 64, 33) complex64


def spectrum_features(bench: Bench, tiles: Any, rfft2: Rfft2) -> Any:
    """`stream_detect.experts.spectrum.spectrum_features`, by kernels/radial_power.cu and an FFT.

    Args:
        bench: where the kernels run.
        tiles: (faces, 28, 64, 64) float32, contiguous; they are left as they are.
        rfft2: real FFT of the last two axes, such as `HeldRfft2`.

    Returns:
        (faces, SPECTRUM_DIM) float32.

    Raises:
        ValueError: if the tiles are others.
    """
    check(tiles, (TILES, TILE_PX, TILE_PX), np.float32, "tiles")
    xp, faces = bench.xp, len(tiles)
    features = xp.empty((faces, spectrum.SPECTRUM_DIM), np.float32)
    if not faces:
        return features
    waves = rfft2(window_tiles(bench, xp.reshape(tiles, (-1, TILE_PX, TILE_PX))))
    power = radial_power(bench, xp.ascontiguousarray(waves, np.complex64))
    bench.launch("radial_power", "spectrum_features", faces, FACE_THREADS, power, features)
    return features


def window_tiles(bench: Bench, tiles: Any) -> Any:
    """Tiles without their windowed mean, under a Hann window of unit energy: (tiles, 64, 64) float32."""
    windowed, window = bench.xp.empty_like(tiles), constant(spectrum.hann_window, tiles)
    whole = np.float32(spectrum.hann_window().sum())
    bench.launch("radial_power", "window_tiles", len(tiles), TILE_THREADS, tiles, window, whole, windowed)
    return windowed


def radial_power(bench: Bench, waves: Any) -> Any:
    """Mean power of each tile in the groups of `spectrum.group_weights`: (tiles, groups) float32."""
    groups = len(spectrum.group_starts()) - 1
    makers = (spectrum.group_starts, spectrum.group_bins, spectrum.group_entries)
    lists = tuple(constant(make, waves) for make in makers)
    power = bench.xp.empty((len(waves), groups), np.float32)
    bench.launch("radial_power", "radial_power", len(waves), TILE_THREADS, waves, *lists, np.int32(groups), power)
    return power


@final
class HeldRfft2:
    """Real FFTs of (tiles, 64, 64) float32, whose plans are made once for each number of tiles and then held.

    A plan belongs to the device that was current when it was made. NumPy's arrays go through SciPy.
    """

    def __init__(self, xp: Any) -> None:
        self._transform = _scipy_rfft2 if xp is np else _HeldPlans()

    def __call__(self, windowed: Any) -> Any:
        """(tiles, 64, 33) complex64."""
        return self._transform(windowed)


def _scipy_rfft2(windowed: np.ndarray) -> Any:
    import scipy.fft  # type: ignore[import-untyped]

    return scipy.fft.rfft2(windowed)


class _HeldPlans:
    def __init__(self) -> None:
        self._plans: dict[int, Any] = {}

    def __call__(self, windowed: Any) -> Any:
        from cupyx.scipy.fft import rfft2

        return rfft2(windowed, plan=self._plan(windowed))

    def _plan(self, windowed: Any) -> Any:
        from cupyx.scipy.fft import get_fft_plan

        tiles = len(windowed)
        if tiles not in self._plans:
            if len(self._plans) >= HELD_PLANS:
                del self._plans[next(iter(self._plans))]  # the oldest
            self._plans[tiles] = get_fft_plan(windowed, axes=(1, 2), value_type="R2C")
        return self._plans[tiles]


def spectrum_bytes(faces: int) -> dict[str, int]:
    """The least that each step of `spectrum_features` reads and writes of the device's memory, in bytes."""
    tile, wave = 4 * TILE_PX**2, 8 * BINS
    power = 4 * (len(spectrum.group_starts()) - 1)
    features = 4 * spectrum.SPECTRUM_DIM
    tiles = faces * TILES
    return {
        "window_tiles": tiles * 2 * tile,
        "rfft2": tiles * (tile + wave),
        "radial_power": tiles * (wave + power),
        "spectrum_features": tiles * power + faces * features,
    }


def color_features(bench: Bench, pixels: Any) -> Any:
    """`stream_detect.experts.color.color_features`, by kernels/color.cu.

    Args:
        bench: where the kernel runs.
        pixels: (faces, 64, 64, 3) uint8 RGB, contiguous.

    Returns:
        (faces, COLOR_DIM) float32.

    Raises:
        ValueError: if the pixels are others.
    """
    check(pixels, (PIXELS_PX, PIXELS_PX, 3), np.uint8, "pixels")
    features = bench.xp.empty((len(pixels), COLOR_DIM), np.float32)
    bench.launch("color", "color_features", len(pixels), FACE_THREADS, pixels, features)
    return features


def color_bytes(faces: int) -> dict[str, int]:
    """The least that `color_features` reads and writes of the device's memory, in bytes."""
    return {"color_features": faces * (3 * PIXELS_PX**2 + 4 * COLOR_DIM)}


def check(array: Any, shape: tuple[int, ...], dtype: Any, what: str) -> None:
    """What a kernel takes without looking again.

    Raises:
        ValueError: if `array` isn't (faces, *shape), of another type, or not contiguous.
    """
    if tuple(array.shape[1:]) != shape or array.dtype != dtype or not array.flags.c_contiguous:
        layout = "" if array.flags.c_contiguous else ", not contiguous"
        expected = ", ".join(str(side) for side in ("faces", *shape))
        raise ValueError(
            f"expected contiguous {what} ({expected}) {np.dtype(dtype)}, got {tuple(array.shape)} {array.dtype}{layout}"
        )
