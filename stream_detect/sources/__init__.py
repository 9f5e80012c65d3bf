"""Where frames come from: files, network streams, cameras, the screen, a test pattern, and still pictures."""

from stream_detect.sources.address import Source, SourceOptions, open_source
from stream_detect.sources.feed import Feed, read_frames
from stream_detect.sources.picture import kind_of, read_picture
from stream_detect.sources.reader import Counts, Reader
from stream_detect.sources.ring import PacketRing, RingPacket

__all__ = [
    "Counts",
    "Feed",
    "PacketRing",
    "Reader",
    "RingPacket",
    "Source",
    "SourceOptions",
    "kind_of",
    "open_source",
    "read_frames",
    "read_picture",
]
