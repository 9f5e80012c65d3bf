"""An opened source: packets come in, frames go out, until it ends or breaks."""

import os
import stat
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stream_detect import CV2_CAME_FIRST
from stream_detect.decode.clock import StreamClock
from stream_detect.decode.convert import Converter, Planes, check_area
from stream_detect.decode.damage import Smears, damage_of
from stream_detect.decode.frame import Frame, Layout, Matrix
from stream_detect.decode.gaps import HEAD_BYTES, Gaps
from stream_detect.decode.nvdec import DecoderFault, Hardware, Patience, hardware_for, is_of_accelerator, one_line
from stream_detect.errors import SourceDenied, SourceNotFound, SourceTimeout, SourceUnsupported
from stream_detect.sources.address import BRIEF, THOROUGH, Source
from stream_detect.sources.faults import explain
from stream_detect.sources.pace import Backlog
from stream_detect.sources.ring import PacketRing, StreamTemplate, VideoPacket
from stream_detect.sources.times import Pace, SenderClock

NOT_VIDEO = {
    "tty",
    "ansi",
    "bin",
    "xbin",
    "adf",
    "idf",
    "concat",
    "lrc",
    "srt",
    "webvtt",
    "ass",
}  # text that FFmpeg draws
COUNTS_FRAMES = {"mpjpeg"}  # formats whose stamps are a nominal frame count
IN_BURSTS = {"hls"}  # formats that come a segment at a time
HOPELESS_PACKETS = 500  # packets in a row that can't be decoded
TAINTED_S = 12.0  # pictures after a damaged one count as corrupt up to the next key frame, at most for so long
SMEARS_FROM_PX = 160  # rows of a picture that has blocks enough to tell smears
CUT_SHORT_S = 0.5  # a file that ends earlier than it says by more than this, and by 2 %, is cut short


class Feed(AbstractContextManager["Feed"]):
    """One connection to a source. Opens at once; `frames` gives the frames; `close` may be called twice.

    Where the source asks for a GPU and that can't decode it, or no longer, the CPU does for as long as the feed lives:
    of a file no frame is lost or given twice; a live source is connected to anew unless FFmpeg goes on by itself.

    Raises:
        SourceError: if it can't be opened, or later, while reading, if it breaks.
    """

    def __init__(
        self,
        source: Source,
        *,
        clock: StreamClock | None = None,
        ring: PacketRing | None = None,
        drops: Counter[str] | None = None,
        first_index: int = 0,
        may_skip: bool = False,
    ) -> None:
        self.source = source
        self.num_frames = 0
        self.drops = Counter[str]() if drops is None else drops  # packets not decoded, by cause: "late", "corrupt"
        self._clock = clock or StreamClock(source.is_live)
        self._ring = ring
        self._first_index = first_index
        self._converter = Converter()
        self._came_s = 0.0  # when the last packet came, on the monotonic clock
        self._num_broken = 0
        self._tainted_until_s = 0.0  # of the stream: pictures may be built on a damaged one until then
        self._tainted_by: int | None = None  # stamp of the packet that was damaged, or followed a lost one
        self._num_unseen = 0  # packets since the last picture
        self._is_owed = False  # a picture: a key frame came, or something that can't be decoded
        self._is_described = False
        self._hardware: Hardware | None = None  # decodes the pictures; None: the CPU does
        self._patience = Patience()
        self._given_before = 0  # pictures to pass over: they were given out before the file was opened again
        self.decoding = ""  # where pictures are decoded and why, if a GPU was asked for: "h264 decoded on cuda:0"
        self._connect()
        self._may_skip = may_skip and not self.comes_in_bursts
        self._backlog = Backlog()
        self._rebase()

    def _connect(self) -> None:
        """Open the source, for the GPU to decode it if that is asked for and possible."""
        if self._hardware_wanted():
            try:
                self._hardware = hardware_for(self.source.decoder)
                self._open(self._hardware)
                return
            except DecoderFault as fault:
                self._use_cpu(fault)
        self._open(None)

    def _hardware_wanted(self) -> bool:
        return self.source.decoder != "cpu" and not self.decoding

    def _open(self, hardware: Hardware | None) -> None:
        is_brief = BRIEF.items() <= self.source.ffmpeg_options.items()
        try:
            self._open_as(hardware, {})
        except SourceUnsupported as error:
            if not is_brief or error.__cause__ is not None:  # FFmpeg could not open it
                raise
            self._open_as(hardware, THOROUGH)  # its description did not say all

    def _open_as(self, hardware: Hardware | None, probing: Mapping[str, str]) -> None:
        accelerator = hardware.accelerator() if hardware else None
        self._container = _open(self.source, accelerator, {**self.source.ffmpeg_options, **probing})
        try:
            self._stream = self._choose_stream(hardware)
            codec = self._stream.codec_context
            self._gaps = Gaps(codec.extradata) if codec.name == "h264" else None
            self._smears = Smears() if codec.name == "hevc" else None  # of which FFmpeg says nothing
            self._duration_s = (self._container.duration or 0) / av.time_base
        except BaseException:
            self._container.close()
            raise

    def _use_cpu(self, fault: DecoderFault) -> None:
        self._hardware = None
        self.decoding = f"decoded on the CPU: {fault}"

    @property
    def ends(self) -> bool:
        """Whether an end is expected: a file, also one that comes over HTTP."""
        by_http = self.source.url.startswith(("http://", "https://"))
        return not self.source.is_live or (by_http and self._duration_s > 0)

    @property
    def comes_in_bursts(self) -> bool:
        """Whether frames come faster than they are to be shown: from a file, or a segment at a time."""
        return self.ends or self._container.format.name in IN_BURSTS

    @property
    def warning(self) -> str:
        """What was wrong with a file that could be read in part; empty if nothing."""
        said, read_s = self._duration_s, (self._clock.last_s or 0.0) + self._frame_s
        if self.ends and read_s < said - max(CUT_SHORT_S, 0.02 * said):
            return f"cut short: it ends after {read_s:.1f} s of {said:.1f} s"
        if self._num_broken:
            return f"damaged: {self._num_broken} of its packets could not be decoded"
        return ""

    def frames(self) -> Iterator[Frame]:
        """Every frame in order.

        Raises:
            SourceTimeout: if no frame came for the read time-out, whatever else came.
            SourceUnsupported: if there was no frame that could be decoded.
            SourceError: if the stream broke.
        """
        while True:
            try:
                yield from self._frames()
            except DecoderFault as fault:
                self._go_on_without_hardware(fault)
            else:
                return

    def _frames(self) -> Iterator[Frame]:
        last_s = time.monotonic()
        for packet in self._packets():
            pictures = deque(self._decode(packet) if packet is not None else [])
            is_alive = bool(pictures) or self._is_skipping
            self._note(packet, is_alive)
            while pictures:  # none is held while a frame is out: on a GPU they are few
                if self._given_before:
                    self._given_before -= 1
                    pictures.popleft()
                else:
                    yield self._frame(pictures.popleft())
            now_s = time.monotonic()
            last_s = now_s if is_alive else last_s
            if self.source.is_live:
                self._insist(now_s - last_s)
        if not self.num_frames and self._hardware is not None:
            raise DecoderFault(self._hardware.why(self._stream.codec_context))
        if not self.num_frames and not self.source.is_live:
            raise SourceUnsupported(f"{self.source.address}: no picture could be decoded from it")

    def _note(self, packet: VideoPacket | None, is_alive: bool) -> None:
        if is_alive:
            self._num_unseen, self._is_owed = 0, True
        elif packet is not None and packet.size:
            self._num_unseen += 1
            self._is_owed = self._is_owed or packet.is_keyframe

    def _insist(self, waited_s: float) -> None:
        """Wait for a picture no longer than the read time-out; for the first key frame of a stream, as for an opening.

        Raises:
            SourceTimeout: if it should be there.
        """
        options = self.source.options
        is_between_keys = self._num_unseen and not self._is_owed
        if waited_s <= max(options.read_timeout_s, options.open_timeout_s if is_between_keys else 0.0):
            return
        if not self._num_unseen:
            raise SourceTimeout(f"{self.source.address}: no picture for {waited_s:.1f} s")
        fault = SourceTimeout(f"{self.source.address}: what came for {waited_s:.1f} s could not be decoded")
        fault.fault = SourceUnsupported.fault
        raise fault

    def _go_on_without_hardware(self, fault: DecoderFault) -> None:
        """Open the source again for the CPU: a file from its beginning, with what was given out passed over."""
        self._use_cpu(fault)
        self._container.close()
        if self.ends:
            self._given_before = self.num_frames
            self._num_broken -= self._patience.errors  # those packets come again
            self.drops["corrupt"] -= self._patience.errors
        self._open(None)
        if not self.ends:
            self._rebase()

    def _rebase(self) -> None:
        self._sender, self._pace = SenderClock(), Pace()
        self._clock.rebase(follows_arrival=self._container.format.name in COUNTS_FRAMES)

    def close(self) -> None:
        self._container.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _frame_s(self) -> float:
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(1 / rate) if rate else 0.04

    def _choose_stream(self, hardware: Hardware | None) -> VideoStream:
        address, kind = self.source.address, self._container.format.name
        videos = [stream for stream in self._container.streams.video if not _is_cover(stream)]
        if not videos or kind in NOT_VIDEO:
            others = sorted({stream.type for stream in self._container.streams})
            held = f"it holds {', '.join(others)} only" if others and kind not in NOT_VIDEO else "it is text"
            raise SourceUnsupported(f"{address}: no video in it ({held}); give a video or a picture")
        stream = videos[0]
        if stream.codec_context is None:
            raise SourceUnsupported(f"{address}: its video codec is unknown here; convert it to H.264 first")
        check = stream.codec_context
        if check.width and check.height:
            _with_address(address, check.width, check.height)
        if hardware is not None and (refusal := hardware.refusal(check)) is not None:
            raise DecoderFault(refusal)
        is_alone = self.source.is_live or hardware is not None
        stream.thread_type = "SLICE" if is_alone else "AUTO"
        stream.codec_context.thread_count = 1 if is_alone else 2
        return stream

    def _packets(self) -> Iterator[VideoPacket | None]:
        """Our packets; None for each of another stream, so that those can't hide that ours stay away."""
        came_s = asked_s = time.monotonic()
        timeout_s = self.source.options.read_timeout_s
        try:
            for packet in self._container.demux():
                before_s, came_s = came_s, time.monotonic()
                if self.source.is_live and came_s - asked_s >= timeout_s:  # a last one that FFmpeg still held
                    raise SourceTimeout(f"{self.source.address}: nothing came for {came_s - asked_s:.1f} s")
                self._came_s = came_s
                self._backlog.read(came_s - asked_s, came_s - before_s)
                yield self._kept(packet) if packet.stream_index == self._stream.index else None
                asked_s = time.monotonic()
        except av.FFmpegError as error:
            raise explain(error, self.source, time.monotonic() - asked_s, timeout_s) from error

    def _kept(self, packet: VideoPacket) -> VideoPacket:
        if self._ring is not None and packet.size:
            if not self._is_described:  # a stream may tell its picture size no earlier than with its first picture
                template = StreamTemplate.of(self._stream)
                self._ring.describe(template)
                self._is_described = template is not None
            at_s = self._clock.seconds(packet.pts, packet.time_base)
            self._ring.append(packet, self._clock.last_s or 0.0 if at_s is None else at_s)
        return packet

    def _decode(self, packet: VideoPacket) -> list[VideoFrame]:
        self._keep_up(packet)
        if packet.is_corrupt or self._is_gap_before(packet):
            self._taint(packet.pts)
        try:
            pictures = pictures_of(packet)
        except av.FFmpegError as error:
            if self._given_before:
                return []  # it was counted the first time
            self._num_broken += 1
            self.drops["corrupt"] += 1
            self._be_patient(packet, 0, error)
            self._taint(packet.pts)
            self._is_owed = True
            if self._num_broken - self.num_frames >= HOPELESS_PACKETS:
                raise explain(error, self.source) from error
            return []
        if self._is_skipping and not pictures:
            self.drops["late"] += 1
        else:
            self._be_patient(packet, len(pictures))
        return pictures

    def _be_patient(self, packet: VideoPacket, pictures: int, error: Exception | None = None) -> None:
        """Note what became of a packet on the GPU.

        Raises:
            DecoderFault: if there is no reason left for patience.
        """
        hardware = self._hardware
        if hardware is None or not self._patience.ends(is_key=packet.is_keyframe, pictures=pictures, error=error):
            return
        if self._patience.has_given:
            raise DecoderFault(f"{hardware.name} no longer decodes it") from error
        raise DecoderFault(hardware.why(self._stream.codec_context)) from error

    @property
    def _is_skipping(self) -> bool:
        return self._stream.codec_context.skip_frame == "NONKEY"

    def _keep_up(self, packet: VideoPacket) -> None:
        """Decode key frames only while more has come than can be decoded, so that no frame is shown late."""
        at_s = self._clock.seconds(packet.pts, packet.time_base) if self._may_skip else None
        is_behind = at_s is not None and self._backlog.is_behind(time.monotonic() - at_s)
        if is_behind and not self._is_skipping:
            self._stream.codec_context.skip_frame = "NONKEY"
        if self._is_skipping and not is_behind and packet.is_keyframe:
            self._stream.codec_context.skip_frame = "DEFAULT"

    def _frame(self, picture: VideoFrame) -> Frame:
        arrived_s = self._came_s
        try:
            planes, layout, matrix, is_full_range = self._planes(picture)
        except SourceUnsupported as error:
            raise SourceUnsupported(f"{self.source.address}: {error}") from error
        index, self.num_frames = self._first_index + self.num_frames, self.num_frames + 1
        pts_s = self._clock.tick(picture.pts, picture.time_base, arrived_s, self._frame_s)
        captured_s = self._captured_s(picture, arrived_s)
        self._check_pace(picture, arrived_s)
        frame = Frame(
            planes,
            layout,
            source=self.source.name,
            index=index,
            pts_s=pts_s,
            arrived_s=arrived_s,
            captured_s=captured_s,
            seen_at=self._clock.seen_at(arrived_s if captured_s is None else captured_s),
            matrix=matrix,
            is_full_range=is_full_range,
            is_corrupt=self._is_tainted(picture, pts_s, planes) or self._is_damaged(planes, layout),
        )
        return frame.turned(round(picture.rotation / 90)) if picture.rotation else frame

    def _captured_s(self, picture: VideoFrame, arrived_s: float) -> float | None:
        if self._container.format.name != "rtsp" or picture.pts is None or not picture.time_base:
            return None
        stamp_s = float(picture.pts * picture.time_base)
        return self._sender.captured_s(stamp_s, self._container.start_time_realtime, arrived_s)

    def _check_pace(self, picture: VideoFrame, arrived_s: float) -> None:
        """Go by arrival from now on where stamps don't count seconds. Whoever reads slowly makes pictures late too."""
        if not self._may_skip or picture.pts is None or not picture.time_base:
            return
        if self._pace.is_astray(float(picture.pts * picture.time_base), arrived_s):
            self._clock.rebase(follows_arrival=True)

    def _is_smeared(self, planes: Planes) -> bool:
        if self._smears is None or self._hardware is not None or planes[0].shape[0] < SMEARS_FROM_PX:
            return False
        return self._smears.is_smeared(planes[0])

    def _is_damaged(self, planes: Planes, layout: Layout) -> bool:
        return self._hardware is None and damage_of(planes, layout) is not None

    def _planes(self, picture: VideoFrame) -> tuple[Planes, Layout, Matrix, bool]:
        hardware = self._hardware
        if hardware is None:
            return self._converter(picture)
        codec = self._stream.codec_context
        if hardware.holds(picture):
            planes = hardware(picture, codec)
            self.decoding = f"{codec.name} decoded on {hardware.name}"
            return planes
        fault = DecoderFault(hardware.why(codec, picture))
        if self.ends:
            raise fault  # to open it again for several threads
        self._use_cpu(fault)
        return self._converter(picture)

    def _is_gap_before(self, packet: VideoPacket) -> bool:
        return self._gaps is not None and self._gaps.lost_before(bytes(memoryview(packet)[:HEAD_BYTES]))

    def _taint(self, stamp: int | None) -> None:
        """From here to the next key frame pictures may be built on what is damaged or missing."""
        self._tainted_until_s = (self._clock.last_s or 0.0) + TAINTED_S
        self._tainted_by = stamp

    def _is_tainted(self, picture: VideoFrame, pts_s: float, planes: Planes) -> bool:
        """Whether a picture is damaged, or may be built on one that was: the decoder flags only the first itself."""
        if picture.is_corrupt or self._is_smeared(planes):
            self._taint(picture.pts)
        elif picture.key_frame and not self._is_of_before(picture):
            self._tainted_until_s = 0.0
        return pts_s < self._tainted_until_s

    def _is_of_before(self, picture: VideoFrame) -> bool:
        """Whether a picture came before, or with, the packet that taints: decoders give some pictures late."""
        return self._tainted_by is not None and picture.pts is not None and picture.pts <= self._tainted_by


def _open(source: Source, hwaccel: HWAccel | None, asked: Mapping[str, str]) -> InputContainer:
    """The container under an address, opened with FFmpeg's options as `asked`.

    Raises:
        DecoderFault: if it could have been opened but for `hwaccel`.
        SourceError: if not.
    """
    options = source.options
    if source.kind == "file":
        check_file(Path(source.url.removeprefix("file:")), source.address)
    url = source.url
    if source.format == "x11grab":
        url = display(source)
    wait_s = options.listen_timeout_s if options.listen else options.open_timeout_s
    timeout = (wait_s, options.read_timeout_s) if source.is_live else None
    started_s = time.monotonic()
    try:
        return av.open(
            url,
            "r",
            source.format,
            options=dict(asked),
            timeout=timeout,
            metadata_errors="replace",
            hwaccel=hwaccel,
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        if hwaccel is not None and is_of_accelerator(error):
            raise DecoderFault(f"CUDA refuses ({one_line(error)}); see stream-detect doctor") from error
        raise explain(error, source, time.monotonic() - started_s, wait_s, is_open=False) from error


def pictures_of(packet: VideoPacket) -> list[VideoFrame]:
    """What the decoder gives after a packet; nothing after the last one."""
    try:
        return packet.decode()
    except av.error.EOFError:
        return []


def display(source: Source) -> str:
    """The X display to grab.

    Raises:
        SourceUnsupported: if OpenCV's X libraries, loaded before PyAV's, would crash the process.
    """
    if CV2_CAME_FIRST:
        raise SourceUnsupported(f"{source.address}: import stream_detect (or av) before cv2 to grab the screen")
    return os.environ.get("DISPLAY", "")


def check_file(path: Path, address: str) -> None:
    """Refuse what can't be a video file before FFmpeg waits for it or misreads it.

    Raises:
        SourceNotFound, SourceDenied, SourceUnsupported: saying why.
    """
    try:
        about = path.stat()
    except PermissionError as error:
        raise SourceDenied(f"{address}: no permission to read it") from error
    except (OSError, ValueError) as error:
        raise SourceNotFound(f"{address}: no such file; check the path") from error
    if stat.S_ISDIR(about.st_mode):
        raise SourceUnsupported(f"{address}: a folder, not a video; name the files in it")
    if not stat.S_ISREG(about.st_mode):
        raise SourceUnsupported(f"{address}: not a regular file")
    if about.st_size == 0:
        raise SourceUnsupported(f"{address}: the file is empty")
    if not os.access(path, os.R_OK):
        raise SourceDenied(f"{address}: no permission to read it")


def read_frames(source: Source, *, on_warning: Callable[[str], None] | None = None) -> Iterator[Frame]:
    """Every frame of a source, one after the other, without threads and without a second attempt.

    `on_warning` hears about a file that could be read in part only.

    Raises:
        SourceError: if the source can't be opened or breaks.
    """
    with Feed(source) as feed:
        yield from feed.frames()
        if on_warning is not None and feed.warning:
            on_warning(feed.warning)


def _with_address(address: str, width: int, height: int) -> None:
    try:
        check_area(width, height)
    except SourceUnsupported as error:
        raise SourceUnsupported(f"{address}: {error}") from error


def _is_cover(stream: VideoStream) -> bool:
    """Whether a "video" is the picture on the sleeve of a music file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
