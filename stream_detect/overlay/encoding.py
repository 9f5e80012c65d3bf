"""From drawn pictures to H.264 that plays at once: which encoder, which times, and the connection it goes out on."""

import contextlib
from fractions import Fraction
from types import TracebackType

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.stream import VideoStream

TICKS = 90_000  # a second, in videos that are written or sent
KEYFRAME_EVERY_S = 1.0  # whoever begins to look waits no longer
LONGEST_GAP_S = 2.0  # a longer one in the times of a source is closed in what is sent
FORMATS = {"rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "flv", "rtmps": "flv"}  # by the scheme of the target
OF_FORMAT = {"rtsp": {"rtsp_transport": "tcp"}, "flv": {"flvflags": "no_duration_filesize", "flush_packets": "1"}}
ON_CPU = {"preset": "superfast", "tune": "zerolatency", "crf": "23", "maxrate": "8M", "bufsize": "4M", "threads": "1"}
ON_GPU = {"preset": "p3", "tune": "ull", "rc": "vbr", "cq": "23", "zerolatency": "1", "forced-idr": "1", "delay": "0"}
NO_B_FRAMES = {"bf": "0", "g": "250"}  # key frames are asked for by time


def even(rgb: np.ndarray) -> tuple[int, int]:
    """Height and width of a picture as H.264 can code it."""
    height, width = (max(2, side // 2 * 2) for side in rgb.shape[:2])
    return height, width


def picture_of(rgb: np.ndarray, shape: tuple[int, int], tick: int) -> av.VideoFrame:
    """A picture for an encoder, fitted to (height, width), at a time in `TICKS`."""
    if rgb.shape[:2] != shape:
        rgb = cv2.resize(rgb, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    picture.pts, picture.time_base = tick, Fraction(1, TICKS)
    return picture


def encoders(gpu: int | None) -> list[tuple[str, dict[str, str]]]:
    """Encoders and their options, the one to try first first."""
    on_gpu = [("h264_nvenc", {**ON_GPU, **NO_B_FRAMES, "gpu": str(gpu)})] if gpu is not None else []
    return [*on_gpu, ("libx264", {**ON_CPU, **NO_B_FRAMES})]


def works(encoder: str, options: dict[str, str], shape: tuple[int, int]) -> bool:
    """Whether pictures of a (height, width) can be encoded so here: not every GPU has an encoder."""
    try:
        context = av.CodecContext.create(encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.height, context.width, context.pix_fmt = *shape, "yuv420p"
        context.time_base, context.options = Fraction(1, TICKS), options
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


class Timeline:
    """Times of what is sent: those of the source from 0 on, always growing, without its gaps and jumps."""

    def __init__(self) -> None:
        self._last_s = 0.0
        self._last_tick = -1

    def tick(self, pts_s: float) -> int:
        """The time of the next picture, in `TICKS`."""
        step_s = pts_s - self._last_s
        self._last_s = pts_s
        if self._last_tick < 0:
            self._last_tick = 0
        elif 0 < step_s <= LONGEST_GAP_S:
            self._last_tick += max(1, round(step_s * TICKS))
        else:
            self._last_tick += TICKS // 25
        return self._last_tick


class Output:
    """One connection on which pictures go out as H.264. The first one says how large they are.

    Raises:
        OSError, ValueError: from FFmpeg, if there is none to be had.
    """

    def __init__(self, target: str, rgb: np.ndarray, gpu: int | None = None) -> None:
        kind = FORMATS[target.partition("://")[0].lower()]
        self.shape = even(rgb)
        self.encoder, options = next(one for one in encoders(gpu) if works(*one, self.shape))
        self._container: OutputContainer | None = av.open(
            target, "w", format=kind, container_options=OF_FORMAT[kind], options=options
        )
        try:
            self._stream = self._started(self._container, options)
        except BaseException:
            self.close()
            raise
        self._timeline = Timeline()
        self._key_tick = -TICKS * 3600

    def _started(self, container: OutputContainer, options: dict[str, str]) -> VideoStream:
        stream = container.add_stream(self.encoder, rate=25, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = self.shape
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        container.start_encoding()  # this is where the server is asked
        return stream

    def write(self, rgb: np.ndarray, pts_s: float) -> None:
        """Send one picture.

        Raises:
            OSError: from FFmpeg, if the connection is lost.
        """
        assert self._container is not None
        tick = self._timeline.tick(pts_s)
        picture = picture_of(rgb, self.shape, tick)
        if tick - self._key_tick >= KEYFRAME_EVERY_S * TICKS:
            picture.pict_type, self._key_tick = PictureType.I, tick
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Say goodbye, if the server still listens; may be called twice."""
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(av.FFmpegError, OSError, ValueError):
                container.close()

    def __enter__(self) -> "Output":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
