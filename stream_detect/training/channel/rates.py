"""Which quantizer a call's bit-rate stands for. A scene is a piece of a frame, so no rate control can be run on it."""

import numpy as np

FPS = 25
HEIGHTS = (180, 360, 720, 1080)  # of the frame, in pixels
QUANTIZERS = {
    "h264": (18, 24, 30, 36, 42, 48),  # of x264 and x265, 0 to 51
    "h265": (18, 24, 30, 36, 42, 48),
    "vp8": (8, 20, 30, 40, 50, 60),  # of libvpx, 0 to 63
    "vp9": (8, 20, 30, 40, 50, 60),
}
# kbit/s for each height (rows) and quantizer (columns): the median of five real talking heads with a camera's noise,
# measured by `python -m benchmarks.call_rates`, which says how. Single clips lie up to three times off to either side.
RATES: dict[str, tuple[tuple[float, ...], ...]] = {
    "h264": (
        (358, 75, 22, 9, 5, 3),
        (1015, 182, 50, 20, 11, 6),
        (3221, 540, 156, 53, 39, 18),
        (6037, 966, 284, 100, 87, 37),
    ),
    "h265": (
        (477, 103, 24, 8, 5, 3),
        (1245, 247, 53, 17, 9, 7),
        (3414, 648, 168, 46, 23, 16),
        (6677, 1173, 317, 95, 44, 31),
    ),
    "vp8": (
        (360, 108, 60, 34, 17, 12),
        (938, 292, 152, 81, 45, 34),
        (2732, 760, 430, 239, 147, 117),
        (5242, 1423, 777, 514, 363, 279),
    ),
    "vp9": (
        (560, 128, 54, 22, 11, 7),
        (1541, 337, 131, 51, 30, 21),
        (4711, 824, 354, 142, 81, 57),
        (8951, 1418, 596, 246, 150, 105),
    ),
}


def quantizer_at(codec: str, height: float, kbps: float, motion: float = 1.0) -> int:
    """The quantizer at which an encoder gives `kbps`, frames being `height` pixels high.

    Args:
        codec: one of h264, h265, vp8, vp9.
        height: of the whole frame; between the measured heights the rates are interpolated.
        kbps: kbit/s at 25 frames a second.
        motion: how many times the bits of the measured clips the scene needs; they were calm talking heads.
    """
    rates = np.log(np.array(RATES[codec]))
    at_height = [np.interp(np.log(height), np.log(HEIGHTS), column) for column in rates.T]
    return round(float(np.interp(-np.log(kbps / motion), -np.array(at_height), QUANTIZERS[codec])))
