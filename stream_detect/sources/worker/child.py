"""The worker: opens what it is told to, decodes it and hands the pictures over, until its socket closes."""

import contextlib
import math
import os
import pickle
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from stream_detect.decode.clock import StreamClock
from stream_detect.decode.frame import Frame
from stream_detect.errors import SourceError
from stream_detect.processes import give_memory_back
from stream_detect.redact import redact
from stream_detect.sources.address import Source
from stream_detect.sources.feed import Feed
from stream_detect.sources.ring import PacketRing, StreamTemplate, VideoPacket
from stream_detect.sources.worker.messages import (
    BEAT,
    BEAT_BODY,
    CLOSE,
    DECODING,
    ENDED,
    FAILED,
    FRAME,
    FRAME_BODY,
    IDLE,
    IS_CORRUPT,
    IS_FULL_RANGE,
    MATRICES,
    NO_STAMP,
    OPEN,
    OPENED,
    OPENING,
    PACKET,
    PACKET_BODY,
    READING,
    SLOTS,
    TELLING,
    TEMPLATE,
    Gone,
    Line,
    Message,
)
from stream_detect.sources.worker.slots import Layout, SlotWriter

BEAT_EVERY_S = 0.25
LOOK_AGAIN_S = 0.002  # for a free slot, where every frame counts


def main(end: socket.socket) -> None:
    """Do what comes through the socket; returns when its other end is closed."""
    worker = Decoding(Line(end))
    threading.Thread(target=worker.beat, name="beat", daemon=True).start()
    threading.Thread(target=worker.listen, name="listen", daemon=True).start()
    worker.work()


class Decoding:
    """What one worker does: one connection after the other.

    Three threads: this one works, one listens (and ends the process with its socket), one says that all is well.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._orders: list[Message] = []
        self._ordered = threading.Condition()
        self._is_leaving = threading.Event()
        self._doing = IDLE, time.monotonic()  # and since when; one object, for the thread that tells it
        self._drops: Counter[str] = Counter()
        self._late = 0  # pictures that found no free slot
        self._slots: SlotWriter | None = None
        self._generation = 0

    def listen(self) -> None:
        """Take orders; one to close is heard while the worker works."""
        with contextlib.suppress(BaseException):
            while (order := self._line.take(None)) is not None:
                if order.kind == CLOSE:
                    self._is_leaving.set()
                with self._ordered:
                    self._orders.append(order)
                    self._ordered.notify()
        os._exit(0)  # whatever the other threads hang in

    def beat(self) -> None:
        """Tell every now and then what the worker is doing, and for how long."""
        with contextlib.suppress(Gone):
            while True:
                time.sleep(BEAT_EVERY_S)
                self._tell_state()

    def _tell_state(self) -> None:
        doing, since_s = self._doing
        self._line.send(BEAT, BEAT_BODY.pack(doing, time.monotonic() - since_s, *self._dropped()))

    def work(self) -> None:
        with contextlib.suppress(Gone):
            while True:
                with self._ordered:
                    self._ordered.wait_for(lambda: self._orders)
                    order = self._orders.pop(0)
                if order.kind == OPEN:
                    self._follow(*pickle.loads(order.body))
                elif order.kind == CLOSE:
                    self._is_leaving.clear()
                    self._line.send_json(ENDED, closed=True)

    def _follow(self, source: Source, clock: StreamClock, may_skip: bool, keeps_packets: bool) -> None:
        self._drops, self._late = Counter(), 0
        self._slots = None  # the other end begins each connection without
        self._do(OPENING)
        try:
            ring = Relay(self._line, self) if keeps_packets else None
            with Told(source, clock=clock, ring=ring, drops=self._drops, may_skip=may_skip, decoding=self) as feed:
                self._line.send_json(OPENED, ends=feed.ends, comes_in_bursts=feed.comes_in_bursts)
                self._do(READING)
                for frame in feed.frames():
                    self._do(TELLING)
                    self._tell(frame, is_patient=source.every_frame or feed.comes_in_bursts)
                    if self._is_leaving.is_set():
                        return self._tell_state()  # with what was dropped
                    self._do(DECODING)
                self._tell_state()
                self._line.send_json(ENDED, warning=redact(feed.warning, source.url), closed=False)
        except SourceError as error:
            text = redact(str(error), source.url)
            self._tell_state()
            self._line.send_json(FAILED, error=type(error).__name__, text=text, fault=error.fault)
        except Gone:
            raise
        except Exception as error:
            text = redact(f"{type(error).__name__}: {error}", source.url)
            self._tell_state()
            self._line.send_json(FAILED, error="", text=text, fault="decoder")
        finally:
            self._do(IDLE)
            give_memory_back()  # a feed that is lost a thousand times takes no more than one that is lost once

    def _do(self, what: bytes) -> None:
        self._doing = what, time.monotonic()

    def _tell(self, frame: Frame, *, is_patient: bool) -> None:
        """Hand a frame over; where all slots are taken wait, or let it go."""
        shapes = tuple(tuple(plane.shape) for plane in frame.planes)
        if self._slots is None or self._slots.layout.shapes != shapes or self._told_layout != frame.layout:
            self._make_slots(Layout(shapes), frame.layout)
        assert self._slots is not None
        while (slot := self._slots.put(frame.planes)) is None:
            if not is_patient or self._is_leaving.is_set():
                self._late += 1
                return
            time.sleep(LOOK_AGAIN_S)
            self._do(TELLING)
        captured_s = math.nan if frame.captured_s is None else frame.captured_s
        flags = IS_CORRUPT * frame.is_corrupt | IS_FULL_RANGE * frame.is_full_range
        about = (frame.pts_s, frame.arrived_s, captured_s, frame.seen_at.timestamp())
        matrix = MATRICES.index(frame.matrix)
        body = FRAME_BODY.pack(self._generation, slot, *about, matrix, flags, *self._dropped())
        self._line.send(FRAME, body)

    def _make_slots(self, layout: Layout, kind: str) -> None:
        if self._slots is not None:
            self._slots.close()
        self._slots, self._told_layout = SlotWriter(layout), kind
        self._generation += 1
        self._line.send_json(
            SLOTS,
            files=(self._slots.file,),
            generation=self._generation,
            layout=kind,
            shapes=layout.shapes,
            slots=layout.slots,
        )
        self._slots.close()  # the mapping stays

    def _dropped(self) -> tuple[int, int]:
        return self._drops["late"] + self._late, self._drops["corrupt"]


class Told(Feed):
    """A feed that tells whether it reads or decodes."""

    def __init__(self, *args: Any, decoding: Decoding, **options: Any) -> None:
        self._of = decoding
        super().__init__(*args, **options)

    def _packets(self) -> Iterator[VideoPacket | None]:
        for packet in super()._packets():
            self._of._do(DECODING)
            yield packet
            self._of._do(READING)


class Relay(PacketRing):
    """Hands packets on instead of keeping them."""

    def __init__(self, line: Line, decoding: Decoding) -> None:
        super().__init__(1)
        self._line = line
        self._of = decoding

    def describe(self, template: StreamTemplate | None) -> None:
        super().describe(template)
        self._of._do(TELLING)  # as long as the other side takes nothing
        self._line.send(TEMPLATE, b"" if template is None else template.header)

    def append(self, packet: VideoPacket, pts_s: float) -> None:
        if self._template is None:
            return
        pts, dts = (NO_STAMP if stamp is None else stamp for stamp in (packet.pts, packet.dts))
        base = packet.time_base
        about = (pts, dts, packet.duration or 0, base.numerator, base.denominator, packet.is_keyframe, pts_s)
        self._of._do(TELLING)
        self._line.send(PACKET, PACKET_BODY.pack(*about), bytes(packet))
