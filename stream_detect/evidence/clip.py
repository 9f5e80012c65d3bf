"""The video of an alert: the original packets where there are any, else pictures that were kept, encoded."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Literal, cast

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from stream_detect.errors import OutputError
from stream_detect.sources.ring import RingPacket, remux
from stream_detect.types import rounded

ClipKind = Literal["remuxed", "encoded", "blurred", "none"]
Boxes = Sequence[tuple[float, float, float, float]]
IN_MP4 = ("h264", "hevc", "av1", "vp9", "mpeg4")  # codecs whose clips players expect in .mp4; others go into .mkv
TICKS = 90_000
CODEC_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0"}
STEM = "clip"
UNPLAYABLE = (av.FFmpegError, ValueError, OSError)


@dataclass(frozen=True, slots=True)
class Clip:
    """What became of an alert's video."""

    kind: ClipKind
    name: str | None  # of the file in the alert's folder
    start_s: float | None = None  # pts of its first picture, in seconds of the feed
    end_s: float | None = None
    pictures: int = 0
    why: str = ""  # there is none, or it isn't made of the original packets

    def to_json(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "file": self.name,
            "start_s": rounded(self.start_s),
            "end_s": rounded(self.end_s),
            "pictures": self.pictures,
            "why": self.why,
        }


def between(packets: Sequence[RingPacket], start_s: float, end_s: float) -> list[RingPacket]:
    """The packets from the last key frame at or before the start (else the first one after it) up to the end.

    Only those of one stream: a reconnection that changed the picture's format ends the clip, or begins it.
    """
    keys = [k for k, packet in enumerate(packets) if packet.is_keyframe]
    first = max((k for k in keys if packets[k].pts_s <= start_s), default=keys[0] if keys else len(packets))
    kept = list(itertools.takewhile(lambda packet: packet.pts_s <= end_s, packets[first:]))
    return [packet for packet in kept if packet.template == kept[0].template]


def codec_of(packet: RingPacket) -> str:
    """FFmpeg's name of the codec."""
    with av.open(BytesIO(packet.template.header), "r", format="nut") as header:
        return header.streams.video[0].codec_context.name


def write_remuxed(packets: Sequence[RingPacket], folder: Path) -> Clip:
    """The packets as they came, in a file that players open.

    Raises:
        OutputError: if it can't be written.
    """
    ending = ".mp4" if codec_of(packets[0]) in IN_MP4 else ".mkv"
    with _written(folder / f"{STEM}{ending}") as path:
        count = remux(list(packets), path)
    return Clip("remuxed", path.name, packets[0].pts_s, packets[count - 1].pts_s, count)


def write_hidden(packets: Sequence[RingPacket], folder: Path, hide: Callable[[np.ndarray, float], np.ndarray]) -> Clip:
    """The packets decoded, with faces hidden in every picture, encoded again.

    Args:
        hide: takes a picture (height, width, 3) uint8 and its time, gives it back without faces.

    Raises:
        OutputError: if it can't be written.
    """
    pictures = ((pts_s, hide(rgb, pts_s)) for pts_s, rgb in decoded(packets))
    return write_encoded(pictures, folder, "blurred", "faces are hidden, so it was encoded again")


def write_encoded(pictures: Iterable[tuple[float, np.ndarray]], folder: Path, kind: ClipKind, why: str) -> Clip:
    """Pictures with their times as H.264.

    Raises:
        OutputError: if it can't be written.
    """
    stream: VideoStream | None = None
    times: list[float] = []
    with _written(folder / f"{STEM}.mp4") as path, av.open(str(path), "w") as container:
        for pts_s, rgb in pictures:
            if times and pts_s <= times[-1]:
                continue
            stream = stream or _begun(container, rgb)
            times.append(pts_s)
            container.mux(stream.encode(_picture(rgb, stream, pts_s - times[0])))
        if stream is not None:
            container.mux(stream.encode(None))
    if not times:
        path.unlink(missing_ok=True)
        return Clip("none", None, why="no picture was kept")
    return Clip(kind, path.name, times[0], times[-1], len(times), why)


def decoded(packets: Sequence[RingPacket]) -> Iterator[tuple[float, np.ndarray]]:
    """The pictures of packets of one stream, with their times: RGB (height, width, 3) uint8."""
    times: dict[int, float] = {}
    with av.open(BytesIO(packets[0].template.header), "r", format="nut") as header:
        context = header.streams.video[0].codec_context
        context.thread_count = 1
        for number, kept in enumerate(packets):
            packet = Packet(kept.data)
            stamp = number if kept.pts is None else kept.pts
            packet.pts = packet.dts = stamp
            times[stamp] = kept.pts_s
            yield from _pictures(context.decode(packet), times)
        yield from _pictures(context.decode(None), times)


def _pictures(frames: Iterable[object], times: dict[int, float]) -> Iterator[tuple[float, np.ndarray]]:
    for frame in cast(Iterable[av.VideoFrame], frames):
        if frame.pts is not None and frame.pts in times:
            yield times[frame.pts], frame.to_ndarray(format="rgb24")


def _begun(container: OutputContainer, rgb: np.ndarray) -> VideoStream:
    stream = container.add_stream("libx264", rate=25, options=CODEC_OPTIONS)
    stream.height, stream.width = (max(2, side // 2 * 2) for side in rgb.shape[:2])
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, TICKS)
    stream.codec_context.thread_count = 1
    return stream


def _picture(rgb: np.ndarray, stream: VideoStream, pts_s: float) -> av.VideoFrame:
    if rgb.shape[:2] != (stream.height, stream.width):
        rgb = np.asarray(cv2.resize(rgb, (stream.width, stream.height), interpolation=cv2.INTER_AREA), np.uint8)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    picture.pts, picture.time_base = round(pts_s * TICKS), Fraction(1, TICKS)
    return picture


class _written:
    """A file that is written in the block; a part of it is removed if that fails."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        self._path.unlink(missing_ok=True)
        if isinstance(error, UNPLAYABLE) and not isinstance(error, OutputError):
            why = getattr(error, "strerror", None) or error
            raise OutputError(f"{self._path.name}: the clip can't be written ({why})") from error
