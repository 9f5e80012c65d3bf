"""What a detector says of a clip over time, frame by frame as `watch` judges it: what alert thresholds are fitted to.

A clip can be sent through a `Wire` first: encoded as a call or a camera would, at a bit-rate, with packets lost.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from stream_detect.errors import SourceError
from stream_detect.pipeline import Judge, watch
from stream_detect.scoring import logit
from stream_detect.sources import open_source, read_frames
from stream_detect.sources.ring import VideoPacket
from stream_detect.types import FaceVerdict, FrameVerdict, Status

TICKS = 90_000  # a second, in what is written
LONGEST_S = 60.0  # of a clip


@dataclass(frozen=True, slots=True)
class Wire:
    """What lies between a camera and the detector."""

    codec: str  # FFmpeg's name of an encoder
    kbps: float  # for a picture of 640x360; others in proportion to their pixels to the power of 3/4
    options: Mapping[str, str]
    loss: float = 0.0  # share of the packets that are not key frames which never arrive
    scale: float = 1.0  # of the picture's sides before it is encoded

    def bits_a_second(self, height: int, width: int) -> int:
        share: float = (height * width / (640 * 360)) ** 0.75
        return round(1000 * self.kbps * share)


CALL = {"preset": "veryfast", "tune": "zerolatency", "x264-params": "keyint=60:scenecut=0"}
REALTIME = {"deadline": "realtime", "cpu-used": "6"}
WIRES: dict[str, Wire | None] = {
    "as it is": None,
    "h264 1 Mbit/s": Wire("libx264", 1000, CALL),
    "h264 300 kbit/s": Wire("libx264", 300, CALL),
    "vp8 250 kbit/s": Wire("libvpx", 250, REALTIME),
    "h264 lossy": Wire("libx264", 700, CALL, loss=0.02),
    "hevc half size": Wire("libx265", 500, {"preset": "ultrafast", "x265-params": "log-level=none"}, scale=0.5),
}


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One clip as it was judged; a row for each face of each frame, in order of time."""

    group: str  # the person, else the file
    clip: str
    wire: str
    seconds: float
    pts_s: np.ndarray  # (rows,) float64
    track: np.ndarray  # (rows,) int
    llr: np.ndarray  # (rows,) float64, NaN where nothing was judged
    quality: np.ndarray  # (rows,) float64 in [0, 1]
    box: np.ndarray  # (rows, 4) float64, xyxy in pixels
    experts: tuple[str, ...]
    logits: np.ndarray  # (rows, experts) float64 of what each expert reports, NaN where it says nothing
    change_s: float = float("nan")  # from when on a face is forged; NaN: never

    @property
    def is_real(self) -> bool:
        """Whether all faces are, to its end."""
        return not np.isfinite(self.change_s)

    @property
    def tracks(self) -> list[int]:
        return sorted(set(self.track.tolist()))


def trace(
    path: Path, detector: Judge, *, group: str = "", wire: str = "as it is", analyse_hz: float | None = None
) -> Trace:
    """Judge a clip as `watch` does, every frame of it or so many a second.

    Raises:
        SourceError: if it can't be read.
    """
    sent = WIRES[wire]
    if sent is None:
        return trace_of(frames_judged(path, detector, analyse_hz), group or path.name, path.name, wire)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sent.mkv"
        write_clip(file, pictures_of(path), sent)
        return trace_of(frames_judged(file, detector, analyse_hz), group or path.name, path.name, wire)


def frames_judged(path: Path, detector: Judge, analyse_hz: float | None = None) -> Iterator[FrameVerdict]:
    """What is said of the frames of a file.

    Raises:
        SourceError: if it can't be read to its end.
    """
    for line in watch(str(path), detector, every_frame=True, analyse_hz=analyse_hz):
        if isinstance(line, FrameVerdict):
            yield line
        elif isinstance(line, Status) and line.state == "failed":
            raise SourceError(f"{path.name}: {line.reason}")


def trace_of(frames: Iterable[FrameVerdict], group: str, clip: str, wire: str, change_s: float = float("nan")) -> Trace:
    """The rows of these frames."""
    rows, last_s, experts = [], 0.0, tuple[str, ...]()
    for frame in frames:
        last_s = frame.pts_s
        for face in frame.faces:
            if face.track is not None:
                experts = experts or tuple(face.experts)
                llr = float("nan") if face.llr is None else face.llr
                rows.append((frame.pts_s, face.track, llr, face.quality, *face.box, *expert_logits(face, experts)))
    table = np.array(rows, np.float64).reshape(len(rows), 8 + len(experts))
    return traced((group, clip, wire), (last_s, change_s), experts, table)


def expert_logits(face: FaceVerdict, experts: Sequence[str]) -> list[float]:
    """The log odds that each expert reports, within ± `LOGIT_LIMIT`; NaN where it says nothing."""
    said = [np.nan if (p := face.experts.get(name)) is None else p for name in experts]
    return logit(np.array(said, np.float64)).tolist()  # type: ignore[no-any-return]


def traced(
    about: tuple[str, str, str], times: tuple[float, float], experts: tuple[str, ...], table: np.ndarray
) -> Trace:
    columns = (table[:, 0], table[:, 1].astype(np.int64), table[:, 2], table[:, 3], table[:, 4:8])
    return Trace(*about, times[0], *columns, experts, table[:, 8:], times[1])


def pictures_of(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, RGB) of the frames of a clip, sides even, at most `LONGEST_S` of it."""
    for frame in read_frames(open_source(str(path))):
        if frame.pts_s > LONGEST_S:
            return
        yield frame.pts_s, frame.rgb((0, 0, frame.width // 2 * 2, frame.height // 2 * 2))


def write_clip(path: Path, pictures: Iterable[tuple[float, np.ndarray]], wire: Wire, seed: int = 0) -> None:
    """Encode pictures as a wire would carry them; with losses, packets between key frames are left out.

    Raises:
        SourceError: if there are none.
    """
    rng = np.random.default_rng(seed)
    stream: VideoStream | None = None
    with av.open(str(path), "w") as container:
        for pts_s, rgb in pictures:
            if wire.scale != 1:
                to = tuple(max(2, round(side * wire.scale) // 2 * 2) for side in rgb.shape[1::-1])
                rgb = np.asarray(cv2.resize(rgb, to, interpolation=cv2.INTER_AREA), np.uint8)
            if stream is None:
                stream = begun(container, wire, *rgb.shape[:2])
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts, picture.time_base = round(pts_s * TICKS), Fraction(1, TICKS)
            container.mux(kept(stream.encode(picture), wire.loss, rng))
        if stream is None:
            raise SourceError(f"{path.name}: no picture to encode")
        container.mux(kept(stream.encode(None), wire.loss, rng))


def begun(container: OutputContainer, wire: Wire, height: int, width: int) -> VideoStream:
    """A stream for pictures of this size, encoded in one thread."""
    stream = cast(VideoStream, container.add_stream(wire.codec, rate=30, options=dict(wire.options)))
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    stream.bit_rate = wire.bits_a_second(height, width)
    stream.codec_context.time_base = Fraction(1, TICKS)
    stream.codec_context.thread_count = 1
    return stream


def kept(packets: Sequence[VideoPacket], loss: float, rng: np.random.Generator) -> list[VideoPacket]:
    """The packets that arrive; key frames always do."""
    return [packet for packet in packets if packet.is_keyframe or rng.random() >= loss]


def save_traces(path: Path, traces: Sequence[Trace]) -> None:
    """Write traces into one file of arrays."""
    arrays: dict[str, Any] = {}
    for k, one in enumerate(traces):
        arrays[f"{k} about"] = np.array([one.group, one.clip, one.wire, *one.experts])
        arrays[f"{k} times"] = np.array([one.seconds, one.change_s])
        arrays[f"{k} rows"] = np.column_stack([one.pts_s, one.track, one.llr, one.quality, one.box, one.logits])
    np.savez_compressed(path, **arrays)


def load_traces(path: Path) -> list[Trace]:
    """The traces of such a file."""
    with np.load(path, allow_pickle=False) as arrays:
        numbers = sorted(int(name.split()[0]) for name in arrays if name.endswith("about"))
        return [_loaded(*(arrays[f"{k} {part}"] for part in ("about", "times", "rows"))) for k in numbers]


def _loaded(about: np.ndarray, times: np.ndarray, rows: np.ndarray) -> Trace:
    group, clip, wire, *experts = (str(word) for word in about)
    return traced((group, clip, wire), (float(times[0]), float(times[1])), tuple(experts), rows)
