"""The fingerprints and the experts' heads on a GPU: the same numbers as the NumPy functions, by kernels/*.cu.

Every function takes a `Bench` and arrays of its namespace, launches each kernel once for a batch of faces, and returns
without waiting for the device.
"""

from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
from jaxtyping import Complex64, Float, Float32, UInt8

from stream_detect.arrays import constant
from stream_detect.cuda.kernels import Bench
from stream_detect.experts import spectrum
from stream_detect.experts.color import COLOR_DIM
from stream_detect.experts.heads import KindHeads
from stream_detect.types import AROUND_TILES, INSIDE_TILES, PIXELS_PX, TILE_PX

TILES = INSIDE_TILES + AROUND_TILES
TILE_THREADS = 256  # of a block that takes one tile
FACE_THREADS = 256  # of a block that takes one face
BINS = TILE_PX * (TILE_PX // 2 + 1)  # of a tile's real FFT
HEAD_THREADS = 256  # of a block that takes one face of one expert
HELD_TABLES = 64  # tables of addresses kept: as many as there are different sets of arrays that come again
HELD_PLANS = 16  # FFT plans kept, one for each size of batch: more than there are buckets

Rfft2 = Callable[[Any], Any]  # (tiles, 64, 64) float32 -> (tiles, 64, 33) complex64


def spectrum_features(
    bench: Bench, tiles: Float[Any, "faces tiles height width"], rfft2: Rfft2
) -> Float32[Any, "faces 200"]:
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


def window_tiles(bench: Bench, tiles: Float32[Any, "tiles 64 64"]) -> Float32[Any, "tiles 64 64"]:
    """Contiguous tiles without their windowed mean, under a Hann window of unit energy."""
    windowed, window = bench.xp.empty_like(tiles), constant(spectrum.hann_window, tiles)
    whole = np.float32(spectrum.hann_window().sum())
    bench.launch("radial_power", "window_tiles", len(tiles), TILE_THREADS, tiles, window, whole, windowed)
    return windowed


def radial_power(bench: Bench, waves: Complex64[Any, "tiles ..."]) -> Float32[Any, "tiles 80"]:
    """Mean power of each tile in the groups of `spectrum.group_weights`, from its real FFT, contiguous."""
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

    def __call__(self, windowed: Float32[Any, "tiles 64 64"]) -> Complex64[Any, "tiles 64 33"]:
        """The coefficients of each tile, those that a real transform has."""
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


def color_features(bench: Bench, pixels: UInt8[Any, "faces height width 3"]) -> Float32[Any, "faces 63"]:
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


@final
class DeviceHeads:
    """The heads of all experts, `stream_detect.experts.heads.KindHeads`, by kernels/kind_heads.cu.

    Args:
        bench: where the kernel runs.
        heads: of each expert, all of the same kinds.

    Raises:
        ValueError: if there are none, or they know different kinds.
    """

    def __init__(self, bench: Bench, heads: Mapping[str, KindHeads]) -> None:
        kinds = {head.kinds for head in heads.values()}
        if len(kinds) != 1:
            raise ValueError(f"expected experts of the same kinds of forgery, got {sorted(kinds)}")
        (self.kinds,) = kinds
        self.experts = tuple(heads)
        self._bench = bench
        self._heads = dict(heads)
        packed = {name: pack_head(head) for name, head in heads.items()}
        self._begins = dict(zip(packed, np.cumsum([0, *map(len, packed.values())]).tolist(), strict=False))
        self._numbers = bench.xp.asarray(np.concatenate(list(packed.values())))
        self._tables: dict[bytes, Any] = {}

    def __call__(self, features: Mapping[str, Any]) -> Float32[Any, "faces experts kinds"]:
        """The logits of every face, NaN where an expert's features are not finite or not there.

        Args:
            features: (faces, dim) float32 of some of the experts, by name, on the bench; of wider ones the first `dim`
                count. Rows may be apart; the numbers of one may not.

        Returns:
            (faces, experts, kinds) float32, experts and kinds in the order of the heads.

        Raises:
            ValueError: for features of another expert, shape or type, or of none.
        """
        faces = self._check(features)
        logits = self._bench.xp.empty((faces, len(self.experts), len(self.kinds)), np.float32)
        table, grid = self._table(features), (faces, len(self.experts))
        kinds = np.int32(len(self.kinds))
        self._bench.launch("kind_heads", "kind_heads", grid, HEAD_THREADS, table, self._numbers, kinds, logits)
        return logits

    def bytes_moved(self, faces: int) -> dict[str, int]:
        """The least that a launch for all experts reads and writes of the device's memory, in bytes."""
        read = self._numbers.nbytes + sum(faces * head.dim * 4 for head in self._heads.values())
        return {"kind_heads": read + faces * len(self.experts) * len(self.kinds) * 4}

    def _check(self, features: Mapping[str, Any]) -> int:
        if not features or not set(features) <= set(self.experts):
            raise ValueError(f"expected features of some of {', '.join(self.experts)}, got {', '.join(features)}")
        faces = len(next(iter(features.values())))
        for name, given in features.items():
            dim = self._heads[name].dim
            is_fit = given.ndim == 2 and len(given) == faces and given.shape[1] >= dim and given.dtype == np.float32
            if not is_fit or (given.size and (given.strides[1] != 4 or given.strides[0] < 0)):
                raise ValueError(
                    f"{name}: expected ({faces}, {dim}) float32, row after row, the numbers of a row side by side, "
                    f"got {tuple(given.shape)} {given.dtype}"
                )
        return faces

    def _table(self, features: Mapping[str, Any]) -> Any:
        """What the kernel reads of each expert; copied to the device only if an array lies elsewhere than before."""
        rows = np.array([self._row(name, features.get(name)) for name in self.experts], np.uint64)
        key = rows.tobytes()
        if key not in self._tables:
            if len(self._tables) >= HELD_TABLES:
                del self._tables[next(iter(self._tables))]  # the oldest
            self._tables[key] = self._bench.xp.asarray(rows)
        return self._tables[key]

    def _row(self, name: str, given: Any) -> tuple[int, int, int, int, int]:
        head = self._heads[name]
        address, stride = (0, 0) if given is None else (self._bench.pointer(given), given.strides[0] // 4)
        return address, stride, head.dim, max(head.knots.shape[1], 1), self._begins[name]


def pack_head(head: KindHeads) -> np.ndarray:
    """The numbers of a head as kernels/kind_heads.cu reads them, float32: each part padded to a multiple of four."""
    dim, segments, kinds = head.dim, max(head.knots.shape[1], 1), len(head.kinds)
    quads = -(-kinds // 4)
    ramps = head.weight[dim:].reshape(dim, segments - 1, kinds).transpose(1, 0, 2)
    weight = np.concatenate([head.weight[None, :dim], ramps])  # (segments, dim, kinds)
    weight = np.pad(weight, ((0, 0), (0, 0), (0, 4 * quads - kinds))).reshape(segments, dim, quads, 4)
    lows, widths = head.knots[:, :-1].T, np.diff(head.knots, axis=1).T
    parts = head.mean, head.scale, lows, 1 / widths, head.bias, weight.transpose(2, 0, 1, 3)
    flat = [np.asarray(part, np.float32).reshape(-1) for part in parts]
    return np.concatenate([np.pad(part, (0, -len(part) % 4)) for part in flat])


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
