"""RTP packets within an RTSP connection over TCP, on their way through a proxy: looked at, changed or left out."""

import re
from collections.abc import Callable

Tamper = Callable[[bytes], bytes | None]  # an RTP packet -> the one to send in its place; None: none
HEADER = 12  # bytes of an RTP header without extras
CYCLE = 1 << 32  # RTP time stamps start anew after so many ticks


class Interleaved:
    """Takes an RTSP server's bytes as they come and gives those to pass on."""

    def __init__(self, tamper: Tamper, describe: Callable[[str], str] = str) -> None:
        self._tamper = tamper
        self._describe = describe  # changes the SDP
        self._kept = bytearray()

    def __call__(self, came: bytes) -> bytes:
        self._kept += came
        passed = bytearray()
        while (taken := self._packet() if self._kept[:1] == b"$" else self._message()) is not None:
            passed += taken
        return bytes(passed)

    def _packet(self) -> bytes | None:
        end = 4 + int.from_bytes(self._kept[2:4])
        if len(self._kept) < max(4, end):
            return None
        channel, packet = self._kept[1], bytes(self._kept[4:end])
        del self._kept[:end]
        tampered = self._tamper(packet) if channel % 2 == 0 else packet
        return b"" if tampered is None else bytes([0x24, channel]) + len(tampered).to_bytes(2) + tampered

    def _message(self) -> bytes | None:
        head, gap, rest = self._kept.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else 0
        if not gap or len(rest) < size:
            return None
        self._kept = rest[size:]
        if not length:
            return bytes(head + gap)
        body = self._describe(rest[:size].decode()).encode()
        return bytes(head[: length.start(1)] + str(len(body)).encode() + head[length.end(1) :] + gap + body)


def stamp_of(packet: bytes) -> int:
    """The RTP time stamp, in ticks."""
    return int.from_bytes(packet[4:8])


def shifted(packet: bytes, ticks: int) -> bytes:
    """The packet as if its clock were ahead by so many ticks (90,000 a second for video)."""
    return packet[:4] + ((stamp_of(packet) + ticks) % CYCLE).to_bytes(4) + packet[8:]


def truncated(packet: bytes) -> bytes:
    """The packet without the second half of its payload."""
    return packet[: HEADER + max(2, (len(packet) - HEADER) // 2)]


def hevc_unit(packet: bytes) -> int:
    """The kind of unit in an H.265 packet: 32 to 34 are parameter sets (VPS, SPS, PPS), 49 a fragment."""
    return (packet[HEADER] >> 1) & 0x3F
