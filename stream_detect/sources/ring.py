"""Encoded packets outlive decoding: a ring of bounded size from which a clip can be cut later, without a loss."""

import io
import threading
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.packet import Packet
from av.video.stream import VideoStream

if TYPE_CHECKING:
    VideoPacket = Packet[Any]
else:
    VideoPacket = Packet  # which is generic for type checkers only

RAW = {"rawvideo", "wrapped_avframe"}  # codecs that compress nothing: too large to keep, and nothing to keep


@dataclass(frozen=True, slots=True)
class StreamTemplate:
    """What a later remux needs to know of a stream: codec, extradata, picture size, as the header of a NUT file."""

    header: bytes

    @classmethod
    def of(cls, stream: VideoStream) -> "StreamTemplate | None":
        """The template of an open stream of known picture size; None for raw pictures, which aren't worth keeping."""
        if stream.codec_context.name in RAW or not stream.codec_context.width:
            return None
        kept = io.BytesIO()
        with av.open(kept, "w", format="nut") as output:
            kept_stream = output.add_stream_from_template(stream, opaque=True)
            output.mux(_first_packet(kept_stream))  # NUT writes its header with the first packet
        return cls(kept.getvalue())


@dataclass(frozen=True, slots=True)
class RingPacket:
    """One encoded picture; stamps in units of `time_base`, `pts_s` on the clock of the frames."""

    data: bytes
    pts: int | None
    dts: int | None
    duration: int
    time_base: Fraction
    is_keyframe: bool
    pts_s: float
    template: StreamTemplate


class PacketRing:
    """The newest packets of a feed, at most `max_bytes` and `max_s` seconds of them, always from a key frame on.

    One thread appends, others may read.
    """

    def __init__(self, max_bytes: int, max_s: float = 60.0) -> None:
        if max_bytes < 1 or not max_s > 0:
            raise ValueError(f"a ring needs room, got max_bytes={max_bytes} and max_s={max_s}")
        self.max_bytes = max_bytes
        self.max_s = max_s
        self.num_bytes = 0
        self._packets: deque[RingPacket] = deque()
        self._template: StreamTemplate | None = None
        self._lock = threading.Lock()

    def describe(self, template: StreamTemplate | None) -> None:
        """Packets appended from now on are of this stream; None: they aren't worth keeping."""
        self._template = template

    def append(self, packet: VideoPacket, pts_s: float) -> None:
        """Keep a copy of a packet; what no longer fits goes, oldest first."""
        if self._template is None:
            return
        base = Fraction(packet.time_base)
        stamps = (packet.pts, packet.dts, packet.duration or 0)
        self.keep(RingPacket(bytes(packet), *stamps, base, packet.is_keyframe, pts_s, self._template))

    def keep(self, packet: RingPacket) -> None:
        """Keep a packet that was copied already; what no longer fits goes, oldest first."""
        with self._lock:
            if self._packets or packet.is_keyframe:
                self._packets.append(packet)
                self.num_bytes += len(packet.data)
            self._forget(packet.pts_s)

    def since(self, pts_s: float) -> list[RingPacket]:
        """The packets from the last key frame at or before `pts_s` on; from the oldest one if there is none so old."""
        with self._lock:
            packets = list(self._packets)
        starts = [at for at, packet in enumerate(packets) if packet.is_keyframe and packet.pts_s <= pts_s]
        return packets[starts[-1] if starts else 0 :]

    def clear(self) -> None:
        with self._lock:
            self._packets.clear()
            self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._packets)

    def _forget(self, newest_s: float) -> None:
        while self._packets and self._is_too_much(newest_s):
            self._drop()
            while self._packets and not self._packets[0].is_keyframe:
                self._drop()

    def _is_too_much(self, newest_s: float) -> bool:
        return self.num_bytes > self.max_bytes or self._packets[0].pts_s < newest_s - self.max_s

    def _drop(self) -> None:
        self.num_bytes -= len(self._packets.popleft().data)


def remux(packets: list[RingPacket], path: Path) -> int:
    """Write packets of one stream to a video file as they are; returns how many were written.

    Packets after a reconnection, which may be of another stream, are left out.

    Raises:
        ValueError: if there are no packets, or the first is no key frame.
    """
    if not packets or not packets[0].is_keyframe:
        raise ValueError("a clip begins with a key frame")
    template = packets[0].template
    same = [packet for packet in packets if packet.template == template]
    stamps = _rising([packet.pts if packet.dts is None else packet.dts for packet in same])
    with av.open(io.BytesIO(template.header), "r", format="nut") as header, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(header.streams.video[0], opaque=True)
        for kept, dts in zip(same, stamps, strict=True):
            output.mux(_packet(kept, dts, stamps[0], stream))
    return len(same)


def _first_packet(stream: VideoStream) -> VideoPacket:
    packet = Packet(b"\0")
    packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
    return packet


def _packet(kept: RingPacket, dts: int, start: int, stream: VideoStream) -> VideoPacket:
    packet = Packet(kept.data)
    packet.stream = stream
    packet.time_base = kept.time_base
    packet.dts, packet.pts = dts - start, max(dts, dts if kept.pts is None else kept.pts) - start
    packet.duration = kept.duration
    packet.is_keyframe = kept.is_keyframe
    return packet


def _rising(stamps: list[int | None]) -> list[int]:
    """The stamps, strictly rising: missing ones and steps back go one unit further."""
    rising: list[int] = []
    for stamp in stamps:
        least = rising[-1] + 1 if rising else (stamp or 0)
        rising.append(least if stamp is None else max(least, stamp))
    return rising
