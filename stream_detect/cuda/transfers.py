"""The only place where anything crosses from a GPU to the host: one copy and one event a batch, counted in bytes."""

import math
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float32


@runtime_checkable
class Landing(Protocol):
    """Brings one array of a device to the host."""

    def __call__(self, array: Any) -> Float32[np.ndarray, " numbers"]:
        """The numbers of a flat float32 array, once all that was queued before it is done; valid until the next."""
        ...


@final
class PinnedLanding:
    """CuPy's current stream, and one page-locked buffer that grows as needed; a `Landing`."""

    def __init__(self) -> None:
        self._buffer: Any = np.empty(0, np.float32)

    def __call__(self, array: Any) -> Float32[np.ndarray, " numbers"]:
        import cupy
        import cupyx

        if array.size > self._buffer.size:
            self._buffer = cupyx.empty_pinned(1 << (array.size - 1).bit_length(), np.float32)
        landed: np.ndarray = self._buffer[: array.size]
        array.get(out=landed, blocking=False)
        done = cupy.cuda.Event(block=True, disable_timing=True)  # the thread sleeps: decoding has the core
        done.record()
        done.synchronize()
        return landed


@final
class Transfers:
    """What a batch gives to the host.

    Args:
        xp: the namespace of the device's arrays.
        landing: that brings them.
    """

    def __init__(self, xp: Any, landing: Landing) -> None:
        self.device_to_host_bytes = 0  # since it was made
        self.copies = 0
        self._xp = xp
        self._landing = landing

    def bring(self, *arrays: Any) -> list[Float32[np.ndarray, "..."]]:
        """Float32 arrays of any shapes, in one copy; nothing crosses where they are all empty."""
        sizes = [math.prod(array.shape) for array in arrays]
        if not sum(sizes):
            return [np.zeros(array.shape, np.float32) for array in arrays]
        whole = self._xp.concatenate([array.reshape(-1) for array in arrays])
        landed = self._landing(whole).copy()
        self.device_to_host_bytes += landed.nbytes
        self.copies += 1
        parts = np.split(landed, np.cumsum(sizes)[:-1])
        return [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]
