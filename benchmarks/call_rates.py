"""Which quantizer does a call's bit-rate stand for? Real clips encoded at fixed quantizers, the bits counted.

python -m benchmarks.call_rates CLIP [CLIP ...] [--height 180 ...]

Prints the table `RATES` of stream_detect/training/channel/rates.py: kbit/s for each encoder, frame height and
quantizer, the median over the clips. The square in the middle of each clip is brought to the height of the frame and
stands for the whole frame (in a call the background lies still and costs little); a camera's noise is added; 30 frames
are encoded with the settings of the channel. The key frame at the start isn't counted: calls have few.

The table was measured with five clips of train's real footage: two of LivePortrait's drivers at 512 pixels a side
(KwaiVGI d0, d10), one of 720x1280 (d13) and two film clips (HelloVision amns of 720, xzy1 of 512).
"""

import argparse
import itertools
from pathlib import Path

import av
import cv2
import numpy as np

from stream_detect.training.channel.codecs import ENCODERS, VIDEO, Codec, Coding, encoded
from stream_detect.training.channel.rates import FPS, HEIGHTS, QUANTIZERS

FRAMES = 30
NOISE = 1.5  # sigma in 8-bit steps, alike in all colors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", help="real footage of at least 480 pixels a side")
    parser.add_argument("--height", type=int, action="append", help="of the frames; all that the table has by default")
    args = parser.parse_args()
    clips = [squares(path) for path in args.clips]
    for height in args.height or HEIGHTS:
        pictures = [brought_to(clip, height) for clip in clips]
        for codec in VIDEO:
            rates = [float(np.median([kbps(codec, q, clip) for clip in pictures])) for q in QUANTIZERS[codec]]
            print(f"{height:5d} {codec:5s}", *(f"{rate:8.0f}" for rate in rates), flush=True)


def squares(path: Path) -> list[np.ndarray]:
    """The square in the middle of the first frames: (side, side, 3) uint8 each."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(container.decode(video=0), FRAMES)]
    side = min(frames[0].shape[:2])
    top, left = ((length - side) // 2 for length in frames[0].shape[:2])
    return [frame[top : top + side, left : left + side] for frame in frames]


def brought_to(clip: list[np.ndarray], height: int) -> list[np.ndarray]:
    """The clip at `height` pixels a side, with the noise of a camera."""
    rng = np.random.default_rng(0)
    method = cv2.INTER_AREA if height < len(clip[0]) else cv2.INTER_CUBIC
    pictures = [cv2.resize(rgb, (height, height), interpolation=method) for rgb in clip]
    grain = [NOISE * rng.standard_normal((height, height, 1), dtype=np.float32) for _ in pictures]
    return [np.clip(rgb + noise + 0.5, 0, 255).astype(np.uint8) for rgb, noise in zip(pictures, grain, strict=True)]


def kbps(codec: Codec, quantizer: int, pictures: list[np.ndarray]) -> float:
    """Bit-rate after the first frame, at `FPS` frames a second."""
    packets = encoded(pictures, ENCODERS[codec], Coding(codec, quantizer).options(), FPS)
    return 8 * sum(len(packet) for packet in packets[1:]) * FPS / (len(pictures) - 1) / 1000


if __name__ == "__main__":
    main()
