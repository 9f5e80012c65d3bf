"""Tells from H.264's own counting that whole pictures were lost on the way: the decoder makes them up and says nothing.

What comes after is smeared over a wrong picture until the next key frame (ITU-T H.264, 7.4.3 `frame_num`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

HEAD_BYTES = 4096  # of a packet that are looked at: parameter sets, notes and the beginning of the first slice
HEADER_BYTES = 64  # of a slice that hold what is read of its header
WITH_CHROMA_FORMAT = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}  # profiles
SLICE, KEY_SLICE, SEQUENCE, PICTURE = 1, 5, 7, 8  # kinds of NAL units


@dataclass(frozen=True)
class Sequence:
    """What a sequence parameter set says about counting."""

    counter_bits: int
    may_skip: bool  # gaps are meant: layers that were left out
    has_fields: bool
    has_color_planes: bool


class Gaps:
    """Reads the counters of one H.264 stream, packet after packet, as they come from the demuxer.

    `extradata` is the stream's: it says how NAL units are told apart, and may hold the parameter sets.
    """

    def __init__(self, extradata: bytes | None = None) -> None:
        self._length_bytes = 0  # before each NAL unit; 0: start codes
        self._sequences: dict[int, Sequence] = {}
        self._sequence_of: dict[int, int] = {}  # by picture parameter set
        self._last: int | None = None  # counter of the last picture that others may be built on
        self._was_reference = False
        if extradata and len(extradata) > 6 and extradata[0] == 1:
            self._length_bytes = (extradata[4] & 3) + 1
            units = units_of_avcc(extradata)
        else:
            units = units_by_start_code(extradata or b"")
        for unit in units:
            self._learn(unit)

    def lost_before(self, packet: bytes) -> bool:
        """Whether pictures that this packet's may be built on are missing; False where that can't be told."""
        head = bytes(packet[:HEAD_BYTES])
        units = units_by_length(head, self._length_bytes) if self._length_bytes else units_by_start_code(head)
        for unit in units:
            kind = unit[0] & 31
            if kind in (SLICE, KEY_SLICE):
                try:
                    return self._is_gap(unit, kind == KEY_SLICE)
                except (IndexError, KeyError):
                    return False  # cut short, or of an unknown parameter set: the decoder says so itself
            self._learn(unit)
        return False

    def _is_gap(self, unit: bytes, is_key: bool) -> bool:
        bits = Bits(unit[1:HEADER_BYTES])
        first_block, _kind, picture = bits.golomb(), bits.golomb(), bits.golomb()
        sequence = self._sequences[self._sequence_of[picture]]
        if sequence.has_color_planes:
            bits.take(2)
        number, last = bits.take(sequence.counter_bits), self._last
        is_reference = bool(unit[0] & 0x60)
        is_second = self._was_reference and is_reference and not sequence.has_fields and first_block == 0
        self._was_reference = is_reference
        if is_reference:
            self._last = number
        if is_key or last is None or sequence.may_skip:
            return False
        following = (last + 1) % (1 << sequence.counter_bits)
        return number != following and (number != last or is_second)

    def _learn(self, unit: bytes) -> None:
        try:
            if unit[0] & 31 == SEQUENCE:
                number, sequence = sequence_of(unit[1:])
                self._sequences[number] = sequence
            elif unit[0] & 31 == PICTURE:
                bits = Bits(unit[1:HEADER_BYTES])
                picture = bits.golomb()
                self._sequence_of[picture] = bits.golomb()
        except IndexError:
            return  # cut short: what was known stays


class Bits:
    """Reads the bits of a NAL unit's payload, its emulation prevention taken out.

    Raises:
        IndexError: beyond the end.
    """

    def __init__(self, payload: bytes) -> None:
        payload = payload.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value, self._left = int.from_bytes(payload, "big"), 8 * len(payload)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError("beyond the end of a NAL unit")
        return (self._value >> self._left) & ((1 << count) - 1)

    def golomb(self) -> int:
        """An unsigned number in Exp-Golomb code, of at most 32 bits."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise IndexError("no such number in a NAL unit")
        return (1 << zeros) - 1 + self.take(zeros)

    def signed_golomb(self) -> int:
        coded = self.golomb()
        return (coded + 1) // 2 if coded % 2 else -(coded // 2)


def sequence_of(payload: bytes) -> tuple[int, Sequence]:
    """The number of a sequence parameter set and what it says (7.3.2.1.1).

    Raises:
        IndexError: if it is cut short.
    """
    bits = Bits(payload)
    profile = bits.take(24) >> 16
    number = bits.golomb()
    has_color_planes = False
    if profile in WITH_CHROMA_FORMAT:
        chroma = bits.golomb()
        has_color_planes = chroma == 3 and bool(bits.take(1))
        bits.golomb(), bits.golomb(), bits.take(1)  # bit depths, lossless
        if bits.take(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    skip_scaling_list(bits, 16 if index < 6 else 64)
    counter_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1), bits.golomb(), bits.golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.golomb()
    bits.golomb()  # reference pictures kept
    may_skip = bool(bits.take(1))
    bits.golomb(), bits.golomb()  # width, height
    if counter_bits > 16:
        raise IndexError("no such counter")
    return number, Sequence(counter_bits, may_skip, not bits.take(1), has_color_planes)


def skip_scaling_list(bits: Bits, length: int) -> None:
    last = scale = 8
    for _ in range(length):
        if scale:
            scale = (last + bits.signed_golomb()) % 256
        last = scale or last


def units_by_start_code(head: bytes) -> Iterator[bytes]:
    """NAL units that begin after 00 00 01; the last one may be cut short."""
    start = head.find(b"\x00\x00\x01")
    while start >= 0:
        end = head.find(b"\x00\x00\x01", start + 3)
        if unit := head[start + 3 : end if end >= 0 else None]:
            yield unit
        start = end


def units_by_length(head: bytes, length_bytes: int) -> Iterator[bytes]:
    """NAL units that come after their length; the last one may be cut short."""
    start = 0
    while start + length_bytes < len(head):
        end = start + length_bytes + int.from_bytes(head[start : start + length_bytes], "big")
        if unit := head[start + length_bytes : end]:
            yield unit
        start = end


def units_of_avcc(extradata: bytes) -> Iterator[bytes]:
    """The parameter sets in an MP4's or FLV's configuration record (ISO/IEC 14496-15, 5.3.3.1)."""
    at, count = 6, extradata[5] & 31
    for left in (count, None):
        if left is None:
            if at >= len(extradata):
                return
            left, at = extradata[at], at + 1
        for _ in range(left):
            length = int.from_bytes(extradata[at : at + 2], "big")
            if unit := extradata[at + 2 : at + 2 + length]:
                yield unit
            at += 2 + length
