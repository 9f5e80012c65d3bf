"""Decoding on an NVIDIA GPU: FFmpeg's NVDEC surfaces become planes of our own there, and refusals become words.

FFmpeg is given the CUDA context that CuPy and torch use (the current one, so that it doesn't matter who came first) and
copies every decoded picture on that context's default stream. Our copy is queued behind it on the same stream and
waited for, some tens of microseconds: whoever gets a frame needs to wait for nothing, the surface is free at once, and
a fault of the device shows here, where the source can be opened again.
"""

import ctypes
import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import av
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from stream_detect.decode.convert import FULL_RANGE, Planes, check_area, matrix_of
from stream_detect.decode.frame import Layout, Matrix

CODECS = {"h264": 4, "hevc": 8, "vp8": 9, "vp9": 10, "av1": 11}  # decoded on a GPU if it can; cudaVideoCodec's numbers
CHROMA_420 = 1  # cudaVideoChromaFormat
CURRENT_CONTEXT = {"primary_ctx": "0", "current_ctx": "1"}
GPU_ERRORS = (RuntimeError, MemoryError, BufferError, av.FFmpegError)  # what CuPy and PyAV raise when a device fails
BROKEN_GPU = (av.error.ExternalError, av.error.UnknownError)  # FFmpeg's for a fault of CUDA, not of the stream
ACCELERATOR_ERRNOS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOMEM, errno.ENODEV}
STRIKES = 8  # packets in a row that fail after others were decoded; before the first picture one is enough
QUIET_PACKETS = 64  # packets in a row without a picture and without an error
KEYLESS_PACKETS = 250  # so many may fail before the first key frame: a live stream is entered anywhere
NO_MORE = "it opened no decoder for it (too many at once, no memory left, or a driver too old)"


class DecoderFault(Exception):
    """A GPU can't decode a stream, or no longer; the text says why and fits behind "decoded on the CPU: "."""


@runtime_checkable
class Hardware(Protocol):
    """A device that decodes, as a feed uses it. All of it may raise `DecoderFault`."""

    name: str  # "cuda:0"

    def accelerator(self) -> HWAccel | None:
        """What `av.open` is to be given."""
        ...

    def refusal(self, codec: VideoCodecContext) -> str | None:
        """Why the device is not to decode an opened stream; None if it may try."""
        ...

    def holds(self, picture: VideoFrame) -> bool:
        """Whether the device has decoded the picture, rather than FFmpeg on the CPU in its place."""
        ...

    def __call__(self, picture: VideoFrame, codec: VideoCodecContext) -> tuple[Planes, Layout, Matrix, bool]:
        """Planes of our own on the device, and how to read them, as `convert.Converter` gives them."""
        ...

    def why(self, codec: VideoCodecContext, picture: VideoFrame | None = None) -> str:
        """Why a stream, of which FFmpeg may have decoded a picture instead, could not be decoded."""
        ...


@final
class Nvdec:
    """NVDEC of one GPU, for one feed at a time; a `Hardware`.

    Args:
        index: of the GPU.
        xp: where planes go, CuPy by default; it must have from_dlpack.
        stream: begins what runs on FFmpeg's stream of that GPU and ends when it is done.
    """

    def __init__(
        self,
        index: int,
        xp: Any = None,
        stream: Callable[[int], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.name = f"cuda:{index}"
        self._index = index
        self._xp = xp or imported_cupy()
        self._stream = stream or ffmpegs_stream

    def accelerator(self) -> HWAccel:
        """What `av.open` is to be given, after a try whether CUDA starts; the GPU's context is current afterwards.

        Raises:
            DecoderFault: if there is no usable driver or no such GPU.
        """
        try:
            self._xp.cuda.Device(self._index).use()
            self._xp.cuda.runtime.free(0)  # which makes the context
            accelerator = accelerator_of(self._index)
            av.CodecContext.create("h264", "r", hwaccel=accelerator)
        except GPU_ERRORS as error:
            raise DecoderFault(f"CUDA does not start ({one_line(error)}); see stream-detect doctor") from error
        return accelerator

    def refusal(self, codec: VideoCodecContext) -> str | None:
        if codec.name in CODECS and codec.is_hwaccel:
            return odd_size(codec)
        return f"{codec.codec.canonical_name} is not decoded on a GPU here"

    def holds(self, picture: VideoFrame) -> bool:
        return picture.format.name == "cuda"

    def __call__(self, picture: VideoFrame, codec: VideoCodecContext) -> tuple[Planes, Layout, Matrix, bool]:
        """Planes on the GPU, complete, and how to read them.

        Raises:
            DecoderFault: if the picture is not 4:2:0 with 8 bits a sample and even sides, or the device fails.
            SourceUnsupported: if the picture is empty or enormous.
        """
        check_area(picture.width, picture.height)
        stored = picture.sw_format or picture.format
        if stored.name != "nv12":
            raise DecoderFault(oddity(stored) or f"its pictures come as {stored.name}")
        if (odd := odd_size(codec)) is not None:
            raise DecoderFault(odd)  # it has changed
        try:
            with self._stream(self._index):
                planes = own_planes(picture, self._xp)
        except GPU_ERRORS as error:
            raise DecoderFault(f"{self.name} failed ({one_line(error)})") from error
        return planes, "nv12", matrix_of(picture), picture.color_range == FULL_RANGE

    def why(self, codec: VideoCodecContext, picture: VideoFrame | None = None) -> str:
        stored = picture.format if picture is not None else None
        return why_not(codec.name, stored, codec.width, codec.height, capabilities)


class Capabilities(NamedTuple):
    """What a GPU decodes of one codec, at 8 bits and 4:2:0; sides in pixels."""

    is_supported: bool
    least_width: int = 0
    least_height: int = 0
    most_width: int = 0
    most_height: int = 0


class Patience:
    """Tells a GPU that can't decode a stream from a stream of which a few packets are damaged."""

    def __init__(self) -> None:
        self.errors = 0  # packets in a row that failed
        self.has_given = False  # any picture
        self._quiet = 0
        self._has_key = False

    def ends(self, *, is_key: bool, pictures: int, error: Exception | None = None) -> bool:
        """Whether, after one more packet, the GPU is to be given up."""
        self._has_key |= is_key
        self.has_given |= pictures > 0
        self.errors = 0 if pictures else self.errors + (error is not None)
        self._quiet = 0 if pictures else self._quiet + (error is None and self._has_key)
        if isinstance(error, BROKEN_GPU) or self._quiet >= QUIET_PACKETS:
            return True
        allowed = STRIKES if self.has_given else 1
        return self.errors >= (allowed if self._has_key else KEYLESS_PACKETS)


def hardware_for(device: str | None) -> Hardware | None:
    """What decodes on "cuda:N"; None for "cpu" and None.

    Raises:
        DecoderFault: if CuPy is missing or does not fit.
        ValueError: for another device.
    """
    if device in (None, "cpu"):
        return None
    kind, _, index = str(device).partition(":")
    if kind != "cuda" or not index.isdigit():
        raise ValueError(f"pictures are decoded on cpu or cuda:N, got {device!r}")
    return Nvdec(int(index))


def accelerator_of(index: int) -> HWAccel:
    """FFmpeg's use of a GPU, in the CUDA context that is current when a stream is opened.

    Where the GPU can't decode a stream FFmpeg does it on the CPU instead; a feed sees that in the pictures and says it.
    """
    return HWAccel(
        device_type="cuda",
        device=str(index),
        allow_software_fallback=True,
        options=dict(CURRENT_CONTEXT),
        is_hw_owned=True,
    )


@contextmanager
def ffmpegs_stream(index: int) -> Iterator[None]:
    """What is begun inside runs on the default stream of a GPU, behind FFmpeg's copies, and is done afterwards."""
    import cupy

    with cupy.cuda.Device(index), cupy.cuda.Stream.null:
        yield
        done = cupy.cuda.Event(block=True, disable_timing=True)
        done.record()
        done.synchronize()


@final
class WithoutStream:
    """A plane that is exported without naming a stream, the only way in which PyAV gives away planes on a GPU."""

    def __init__(self, plane: VideoPlane) -> None:
        self._plane = plane

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._plane.__dlpack_device__()

    def __dlpack__(self, **asked: Any) -> Any:
        return self._plane.__dlpack__()


def own_planes(picture: VideoFrame, xp: Any) -> Planes:
    """Copies of Y (height, width) and UV (height / 2, width / 2, 2) of an NV12 picture, without the rows' padding."""
    luma, chroma = (xp.from_dlpack(WithoutStream(plane)) for plane in picture.planes[:2])
    return luma.copy(), chroma.copy()


def odd_size(codec: VideoCodecContext) -> str | None:
    """Why a stream's size keeps it from a GPU: of an odd height FFmpeg copies one row of chroma too few."""
    if codec.width % 2 or codec.height % 2:
        return f"{codec.width}x{codec.height} is an odd size"
    return None


def imported_cupy() -> Any:
    """CuPy.

    Raises:
        DecoderFault: if it is not installed, or not for this CUDA.
    """
    try:
        import cupy
    except ImportError as error:
        raise DecoderFault(f"CuPy can't be used ({one_line(error)}); see stream-detect doctor") from error
    return cupy


def why_not(
    codec: str,
    stored: VideoFormat | None,
    width: int,
    height: int,
    look_up: Callable[[str], Capabilities],
) -> str:
    """Why a GPU did not decode a stream, from what is known of it.

    Args:
        codec: FFmpeg's name, one of `CODECS`.
        stored: the pixel format of a picture that the CPU decoded; None if there is none.
        width, height: in pixels.
        look_up: what the GPU decodes of a codec, as `capabilities` says it.
    """
    if stored is not None and (odd := oddity(stored)) is not None:
        return odd
    try:
        can = look_up(codec)
    except OSError:
        return "libnvcuvid is missing; see stream-detect doctor"
    except RuntimeError as error:
        return one_line(error)
    if not can.is_supported:
        return f"{codec} is not decoded by this GPU"
    if width > can.most_width or height > can.most_height:
        return f"{codec} is decoded by this GPU up to {can.most_width}x{can.most_height}"
    if width < can.least_width or height < can.least_height:
        return f"{codec} is decoded by this GPU from {can.least_width}x{can.least_height} on"
    return NO_MORE


def oddity(stored: VideoFormat) -> str | None:
    """What keeps a pixel format from being decoded on a GPU here; None for 4:2:0 with 8 bits."""
    bits = max(part.bits for part in stored.components)
    if bits > 8:
        return f"{bits} bits a sample"
    if (stored.chroma_width(16), stored.chroma_height(16)) != (8, 8):
        return f"its chroma is not 4:2:0 ({stored.name})"
    return None


class _Asked(ctypes.Structure):
    """CUVIDDECODECAPS of NVIDIA's Video Codec SDK."""

    _fields_ = [
        ("codec", ctypes.c_int),
        ("chroma", ctypes.c_int),
        ("bits_above_8", ctypes.c_uint),
        ("reserved", ctypes.c_uint * 3),
        ("is_supported", ctypes.c_ubyte),
        ("engines", ctypes.c_ubyte),
        ("output_formats", ctypes.c_ushort),
        ("most_width", ctypes.c_uint),
        ("most_height", ctypes.c_uint),
        ("most_blocks", ctypes.c_uint),
        ("least_width", ctypes.c_ushort),
        ("least_height", ctypes.c_ushort),
        ("rest", ctypes.c_uint * 11),
    ]


def capabilities(codec: str, library: Any = None) -> Capabilities:
    """What the GPU whose CUDA context is current decodes of one of `CODECS`.

    Args:
        library: libnvcuvid; loaded by default.

    Raises:
        OSError: if libnvcuvid is missing.
        RuntimeError: if it refuses to answer.
    """
    asked = _Asked(codec=CODECS[codec], chroma=CHROMA_420, bits_above_8=0)
    fault = (library or nvcuvid()).cuvidGetDecoderCaps(ctypes.byref(asked))
    if fault:
        raise RuntimeError(f"cuvidGetDecoderCaps gives CUDA error {fault}")
    sides = (asked.least_width, asked.least_height, asked.most_width, asked.most_height)
    return Capabilities(bool(asked.is_supported), *sides)


def nvcuvid() -> Any:
    """The driver's decoding library.

    Raises:
        OSError: if it is missing, as in containers without the capability "video".
    """
    return ctypes.CDLL("nvcuvid.dll" if sys.platform == "win32" else "libnvcuvid.so.1")


def is_of_accelerator(error: BaseException) -> bool:
    """Whether an error while opening may be the accelerator's rather than the source's."""
    return isinstance(error, BROKEN_GPU) or getattr(error, "errno", None) in ACCELERATOR_ERRNOS


def one_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
