"""A stand-in for a GPU that decodes: FFmpeg does it on the CPU, and the pictures count as the GPU's until it fails."""

from av.codec.hwaccel import HWAccel

from stream_detect.decode.convert import FULL_RANGE, matrix_of
from stream_detect.decode.nvdec import DecoderFault, own_planes


class StandIn:
    """Decodes like a GPU whose arrays are NumPy's.

    Args:
        fails_at: the picture, counted from 0, at which it fails; None: it doesn't.
        cant_start: the accelerator is refused with these words.
        refuses: the opened stream is refused with these words.
        leaves_at: from this picture on FFmpeg decodes on the CPU by itself.
        accelerator: what `av.open` is given.
    """

    name = "cuda:0"

    def __init__(
        self,
        fails_at: int | None = None,
        cant_start: str = "",
        refuses: str = "",
        leaves_at: int | None = None,
        accelerator: HWAccel | None = None,
    ) -> None:
        import numpy

        self._xp = numpy
        self._fails_at, self._leaves_at = fails_at, leaves_at
        self._cant_start, self._refuses = cant_start, refuses
        self._accelerator = accelerator
        self.given = self.asked = 0  # pictures

    def accelerator(self) -> HWAccel | None:
        if self._cant_start:
            raise DecoderFault(self._cant_start)
        return self._accelerator

    def refusal(self, codec) -> str | None:
        return self._refuses or None

    def holds(self, picture) -> bool:
        self.asked += 1
        return self._leaves_at is None or self.asked <= self._leaves_at

    def __call__(self, picture, codec):
        if self.given == self._fails_at:
            raise DecoderFault(f"{self.name} failed (it fell off the bus)")
        self.given += 1
        planes = own_planes(picture.reformat(format="nv12"), self._xp)
        return planes, "nv12", matrix_of(picture), picture.color_range == FULL_RANGE

    def why(self, codec, picture=None) -> str:
        return f"{codec.name} is not decoded by this GPU"
