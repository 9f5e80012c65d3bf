"""The main process's side of a worker: opens sources in it, takes its frames, and ends it when it crashes or hangs."""

import contextlib
import math
import pickle
import signal
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from types import TracebackType
from typing import Any, get_args

from stream_detect import errors
from stream_detect.decode.clock import StreamClock
from stream_detect.decode.frame import SUBSAMPLING, Frame, Layout
from stream_detect.errors import DecoderDied, SourceError, SourceTimeout
from stream_detect.redact import redact
from stream_detect.sources.address import Source
from stream_detect.sources.faults import BUSY, UNREACHABLE
from stream_detect.sources.ring import PacketRing, RingPacket, StreamTemplate
from stream_detect.sources.worker import messages, slots
from stream_detect.sources.worker.messages import (
    BEAT,
    BEAT_BODY,
    CLOSE,
    DECODING,
    ENDED,
    FAILED,
    FRAME,
    FRAME_BODY,
    MATRICES,
    NO_STAMP,
    OPEN,
    OPENED,
    OPENING,
    PACKET,
    PACKET_BODY,
    READING,
    SLOTS,
    TEMPLATE,
    Gone,
    Line,
    Message,
)
from stream_detect.sources.worker.nursery import Share, Worker

SILENT_S = 2.0  # a worker tells that it lives four times a second
MARGIN_S = 0.5  # beyond a time-out, until it is the worker that hangs and not its source
STUCK_S = 2.0  # no picture takes so long to decode
LEAVE_S = 0.4  # how long a worker may take to leave a connection before it is ended
FATE_TRIES, FATE_AGAIN_S = 5, 0.01
# what nonsense leads to
BROKEN = (Gone, OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError, struct.error)
FAULTS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, SourceError)}

FAULT_WORDS = {BUSY, UNREACHABLE, *(kind.fault for kind in FAULTS.values())}


class WorkerOpener:
    """Opens one source in a worker process, which is made when it is needed and again when it has died.

    `abort` and `pid` may be used from any thread; what they end is seen by the thread that opens or reads, as
    `DecoderDied`. A worker without a connection is left in peace by `abort`. `close` may be called twice.
    """

    def __init__(self) -> None:
        self._share: Share | None = None  # from the first connection on
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._line: Line | None = None
        self._is_busy = False
        self._is_left = False  # for good

    @property
    def pid(self) -> int | None:
        worker = self._worker
        return worker.pid if worker else None

    def open(
        self,
        source: Source,
        *,
        clock: StreamClock,
        ring: PacketRing | None,
        drops: Counter[str],
        first_index: int,
        may_skip: bool,
    ) -> "RemoteConnection":
        """As `opening.Opener.open`.

        Raises:
            SourceError: if it can't be opened; `DecoderDied` if the worker died of it.
        """
        line = self._ready()
        connection = RemoteConnection(self, line, source, clock, ring, drops, first_index)
        try:
            with self.reporting(source):
                plain = replace(source, ffmpeg_options=dict(source.ffmpeg_options))
                line.send(OPEN, pickle.dumps((plain, clock, may_skip, ring is not None)))
            connection.wait_until_open()
        except BaseException:
            self.leave(connection)
            raise
        return connection

    def _ready(self) -> Line:
        if (line := self._line) is None:
            share = self._share = self._share or Share()
            worker = share.nursery.fork()  # both may take a while: `abort` must not wait for them
            with self._lock:
                self._worker, line = worker, Line(worker.end)
                self._line = line
        with self._lock:
            self._is_busy = True
            if self._is_left and self._worker is not None:
                self._worker.kill()
        return line

    @contextlib.contextmanager
    def reporting(self, source: Source) -> Iterator[None]:
        """What the end of a worker is called, by a signal or by an exit; one that sends nonsense is ended for it."""
        try:
            yield
        except BROKEN as error:
            raise DecoderDied(f"{source.address}: the process that decodes it {self._fate()}") from error

    def _fate(self) -> str:
        pid = self.pid
        self.drop()
        code = None if pid is None else self._fate_of(pid)
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return "ended" if not code else f"ended with {code}"

    def _fate_of(self, pid: int) -> int | None:
        """The exit code of a worker; its socket closes a little before it has ended."""
        for _ in range(FATE_TRIES):
            if self._share is not None and (code := self._share.nursery.fate(pid)) is not None:
                return code
            time.sleep(FATE_AGAIN_S)
        return None

    def leave(self, connection: "RemoteConnection") -> None:
        """The worker has left a connection, or is to be ended if it won't."""
        if not connection.is_over:
            self.drop()
        with self._lock:
            self._is_busy = False

    def drop(self) -> None:
        """End the worker; the next connection gets another."""
        with self._lock:
            worker, line, self._worker, self._line = self._worker, self._line, None, None
            if worker is not None:
                worker.close()
        if line is not None:
            line.close()

    def abort(self, *, for_good: bool = False) -> None:
        with self._lock:
            self._is_left = self._is_left or for_good
            if self._is_busy and self._worker is not None:
                self._worker.kill()

    def close(self) -> None:
        self.drop()
        with self._lock:
            share, self._share = self._share, None
        if share is not None:
            share.close()


class RemoteConnection(AbstractContextManager["RemoteConnection"]):
    """One connection that lives in a worker: as `feed.Feed`, for the thread that opened it."""

    decoding = ""

    def __init__(
        self,
        opener: WorkerOpener,
        line: Line,
        source: Source,
        clock: StreamClock,
        ring: PacketRing | None,
        drops: Counter[str],
        first_index: int,
    ) -> None:
        self.source = source
        self.ends = not source.is_live
        self.comes_in_bursts = False
        self.warning = ""
        self.is_over = False  # the worker has left it
        self._is_open = False  # what it told of drops before is of the connection before
        self._opener = opener
        self._line = line
        self._clock = clock
        self._ring = ring
        self._template: StreamTemplate | None = None
        self._drops = drops
        self._dropped = (0, 0)  # as told last
        self._next_index = first_index
        self._slots: slots.SlotReader | None = None
        self._generation = 0
        self._layout: Layout = "yuv420"
        self._is_closed = False

    def wait_until_open(self) -> None:
        """Take what the worker says until the source is open.

        Raises:
            SourceError: if it can't be opened.
        """
        while True:
            message = self._next()
            if message.kind == OPENED:
                self._is_open = True
                with self._opener.reporting(self.source):
                    said = message.json()
                self.ends, self.comes_in_bursts = bool(said.get("ends")), bool(said.get("comes_in_bursts"))
                return

    def frames(self) -> Iterator[Frame]:
        """Every frame that the worker gives.

        Raises:
            SourceError: as `feed.Feed.frames`, and `DecoderDied` if the worker crashed or hung.
        """
        while not self.is_over:
            message = self._next()
            if message.kind == FRAME:
                with self._opener.reporting(self.source):
                    frame = self._frame(message)
                yield frame
                del frame  # or its slot would stay taken while the next is waited for

    def _next(self) -> Message:
        """The next message; what is not for `frames` or `wait_until_open` alone is dealt with.

        Raises:
            SourceError: what the worker or its silence says.
        """
        with self._opener.reporting(self.source):
            message = self._line.take(SILENT_S)
            if message is not None:
                self._heed(message)
                said = message.json() if message.kind == FAILED else {}
                doing, for_s, *_ = BEAT_BODY.unpack(message.body) if message.kind == BEAT else (b"", 0.0)
        if message is None:
            self._opener.drop()
            raise DecoderDied(f"{self.source.address}: the process that decodes it said nothing for {SILENT_S:g} s")
        if message.kind == FAILED:
            self.is_over = True
            raise self._fault(said)
        self._listen(doing, for_s)
        return message

    def _heed(self, message: Message) -> None:
        if message.kind == PACKET and self._ring is not None and self._template is not None:
            self._ring.keep(_packet(message.body, self._template))
        elif message.kind == TEMPLATE and self._ring is not None:
            self._template = StreamTemplate(message.body) if message.body else None
            self._ring.describe(self._template)
        elif message.kind == SLOTS:
            self._take_slots(message)
        elif message.kind == ENDED:
            self.is_over = True
            self.warning = redact(str(message.json().get("warning", "")), self.source.url)
        elif message.kind == BEAT and self._is_open:
            self._count(*BEAT_BODY.unpack(message.body)[2:])

    def _listen(self, doing: bytes, for_s: float) -> None:
        """Judge by what the worker does, and for how long, whether it hangs.

        Raises:
            SourceTimeout: if its source keeps it waiting beyond every time-out.
            DecoderDied: if it hangs in decoding.
        """
        options = self.source.options
        if doing == DECODING and for_s > STUCK_S:
            self._opener.drop()
            raise DecoderDied(f"{self.source.address}: the process that decodes it hung for {for_s:.1f} s")
        longest_s = {OPENING: 2 * options.open_timeout_s, READING: options.read_timeout_s}.get(doing, math.inf)
        if self.source.is_live and for_s > longest_s + MARGIN_S:
            self._opener.drop()
            raise SourceTimeout(f"{self.source.address}: nothing came for {for_s:.1f} s")

    def _take_slots(self, message: Message) -> None:
        try:
            said = message.json()
            layout, kind = slots.Layout.checked(said["shapes"], said["slots"]), said["layout"]
            if len(message.files) != 1 or kind not in get_args(Layout) or not _is_picture(kind, layout.shapes):
                raise Gone("what came is no memory for pictures")
            self._slots = slots.SlotReader(message.files[0], layout)
            self._generation, self._layout = said["generation"], kind
        finally:
            message.close()

    def _frame(self, message: Message) -> Frame:
        if len(message.body) != FRAME_BODY.size or self._slots is None:
            raise Gone("what came is no frame")
        generation, slot, pts_s, arrived_s, captured_s, seen_s, matrix, flags, *dropped = FRAME_BODY.unpack(
            message.body
        )
        if generation != self._generation or matrix >= len(MATRICES):
            raise Gone("what came is no frame of these slots")
        is_later = self._clock.last_s is None or pts_s > self._clock.last_s
        if not (is_later and math.isfinite(pts_s) and arrived_s <= time.monotonic()) or math.isinf(captured_s):
            raise Gone("what came is no frame of this time")
        seen_at = datetime.fromtimestamp(seen_s, UTC)
        self._count(*dropped)
        self._clock.follow(pts_s, arrived_s, seen_at)
        index, self._next_index = self._next_index, self._next_index + 1
        return Frame(
            self._slots.take(slot),
            self._layout,
            source=self.source.name,
            index=index,
            pts_s=pts_s,
            arrived_s=arrived_s,
            captured_s=None if math.isnan(captured_s) else captured_s,
            seen_at=seen_at,
            matrix=MATRICES[matrix],
            is_full_range=bool(flags & messages.IS_FULL_RANGE),
            is_corrupt=bool(flags & messages.IS_CORRUPT),
        )

    def _count(self, late: int, corrupt: int) -> None:
        for cause, now, before in zip(("late", "corrupt"), (late, corrupt), self._dropped, strict=True):
            if now > before:
                self._drops[cause] += now - before
        self._dropped = (max(late, self._dropped[0]), max(corrupt, self._dropped[1]))  # beats may come out of order

    def _fault(self, said: dict[str, Any]) -> SourceError:
        text = redact(str(said.get("text", "")), self.source.url)
        kind = FAULTS.get(str(said.get("error")))
        fault = kind(text) if kind else DecoderDied(f"{self.source.address}: a fault while decoding: {text}")
        if said.get("fault") in FAULT_WORDS:
            fault.fault = said["fault"]
        return fault

    def close(self) -> None:
        """Leave the connection; a worker that does not do so at once is ended."""
        if self._is_closed:
            return
        self._is_closed = True
        if not self.is_over:
            with contextlib.suppress(*BROKEN):
                self._ask_to_leave()
        self._slots = None
        self._opener.leave(self)

    def _ask_to_leave(self) -> None:
        self._line.send(CLOSE)
        until_s = time.monotonic() + LEAVE_S
        while (left_s := until_s - time.monotonic()) > 0:
            message = self._line.take(left_s)
            if message is not None and message.kind == SLOTS:
                message.close()
            if message is not None and message.kind == BEAT:
                self._heed(message)
            if message is not None and message.kind == ENDED and message.json().get("closed"):
                self.is_over = True
                return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_picture(kind: Layout, shapes: slots.Shapes) -> bool:
    """Whether planes of these shapes are a picture of this kind."""
    height, width, *colours = shapes[0]
    if kind == "rgb":
        return len(shapes) == 1 and colours == [3]
    if kind == "gray":
        return len(shapes) == 1 and not colours
    if kind == "nv12":
        return not colours and shapes[1:] == ((-(-height // 2), -(-width // 2), 2),)
    rows, columns = SUBSAMPLING[kind]
    return not colours and shapes[1:] == ((-(-height // rows), -(-width // columns)),) * 2


def _packet(body: bytes, template: StreamTemplate) -> RingPacket:
    """A packet as the ring keeps it.

    Raises:
        Gone: if it is none.
    """
    if len(body) < PACKET_BODY.size:
        raise Gone("what came is no packet")
    pts, dts, duration, numerator, denominator, is_keyframe, pts_s = PACKET_BODY.unpack_from(body)
    if not denominator:
        raise Gone("what came is no packet")
    stamps = (None if pts == NO_STAMP else pts, None if dts == NO_STAMP else dts, duration)
    base = Fraction(numerator, denominator)
    return RingPacket(body[PACKET_BODY.size :], *stamps, base, bool(is_keyframe), pts_s, template)
