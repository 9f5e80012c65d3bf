"""What a person types to name a source, and what becomes of it: `open_source("rtsp://...")` gives a `Source`.

Nothing is opened here. A `Source` knows how FFmpeg has to be asked; `feed.py` asks.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from stream_detect.errors import SourceError, SourceUnsupported, UsageError
from stream_detect.redact import redact, safe_name
from stream_detect.secrets import filled, has_placeholder

Kind = Literal["file", "network", "webcam", "screen", "synthetic", "lavfi"]
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
WAYS = "a file, rtsp(s)://, http(s)://, rtmp://, webcam[:N], screen[:WxH+X+Y] or synthetic"
PROTOCOLS = {  # what FFmpeg may open on behalf of a source: a playlist on disk must not reach into the network
    "file": "file,crypto,data",
    "http": "http,https,tcp,tls,crypto,data,httpproxy",
}
WEBCAM = re.compile(r"webcam(?::(?P<device>.+))?")
SCREEN = re.compile(r"screen(?::(?P<width>\d+)x(?P<height>\d+)\+(?P<left>\d+)\+(?P<top>\d+))?")
PLAIN_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:@/?#]+)(:\d+)?")
PROBE_US, PROBE_BYTES = 1_000_000, 1_000_000  # how long FFmpeg looks at a live stream before it gives frames
BRIEF = {"analyzeduration": "500000", "probesize": "32", "fpsprobesize": "0"}  # RTSP's description says all before
THOROUGH = {"analyzeduration": str(PROBE_US), "probesize": str(PROBE_BYTES), "fpsprobesize": "-1"}
LIVE_RING_BYTES = 16 << 20  # of encoded packets of a live source that are remembered


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read."""

    transport: Literal["tcp", "udp"] = "tcp"  # how RTSP carries its packets
    open_timeout_s: float = 10.0  # for connecting and for the first bytes, each
    read_timeout_s: float = 2.2  # a live stream without a frame for that long is given up and opened anew
    retries: int | None = None  # failed attempts in a row before a live source is given up; None: for ever
    every_frame: bool | None = None  # wait for whoever reads rather than drop; None: files do, live sources don't
    ring_bytes: int | None = None  # encoded packets kept for evidence; None: 16 MiB for a live source, 0 for a file
    ring_s: float = 60.0  # and no older than that
    listen: bool = False  # rtsp and rtmp: wait for somebody to publish to this address
    listen_timeout_s: float = 30.0
    rate_hz: int = 30  # frame rate asked of a camera, a screen or the synthetic pattern
    height_width: tuple[int, int] | None = None  # picture size asked of a camera or the synthetic pattern
    input_format: str | None = None  # FFmpeg's name of an input device, with its own addresses ("lavfi")
    isolation: Literal["process", "thread"] | None = None  # where a CPU demuxes and decodes; None: as the source has it
    decoder: str | None = None  # cpu, or cuda:N for files and the network; None: where `watch`'s detector looks, or cpu

    def __post_init__(self) -> None:
        if self.transport not in ("tcp", "udp"):
            raise UsageError(f"transport is tcp or udp, got {self.transport!r}")
        if self.decoder is not None and not re.fullmatch(r"cpu|cuda:\d+", self.decoder):
            raise UsageError(f"decoder is cpu or cuda:N, got {self.decoder!r}")
        if self.isolation not in (None, "process", "thread"):
            raise UsageError(f"isolation is process or thread, got {self.isolation!r}")
        for name in ("open_timeout_s", "read_timeout_s", "ring_s", "listen_timeout_s", "rate_hz"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("retries", "ring_bytes"):
            if (getattr(self, name) or 0) < 0:
                raise UsageError(f"{name} can't be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class Source:
    """A source that can be opened: `Reader` or `read_frames` do. Only `url` may hold a secret, and it isn't printed."""

    name: str
    address: str  # redacted
    kind: Kind
    url: str = field(repr=False)
    is_live: bool
    format: str | None = None  # FFmpeg's input format, None: FFmpeg finds out
    ffmpeg_options: Mapping[str, str] = field(default_factory=dict)
    options: SourceOptions = field(default_factory=SourceOptions)

    @property
    def every_frame(self) -> bool:
        """Whether whoever reads gets every frame, or the newest one."""
        return not self.is_live if self.options.every_frame is None else self.options.every_frame

    @property
    def decoder(self) -> str:
        """Where pictures are to be decoded: "cpu" or "cuda:N"; a camera's or the screen's always on the CPU."""
        return self.options.decoder or "cpu" if self.kind in ("file", "network") else "cpu"

    @property
    def is_isolated(self) -> bool:
        """Whether a process of its own demuxes and decodes: by default what the network sends, except for a GPU."""
        asked = self.options.isolation
        can = self.decoder == "cpu" and self.kind != "synthetic" and hasattr(os, "fork")
        return can and (asked == "process" or (asked is None and self.kind == "network" and not self.options.listen))

    @property
    def ring_bytes(self) -> int:
        """Encoded packets kept for evidence, in bytes."""
        if self.options.ring_bytes is not None:
            return self.options.ring_bytes
        return LIVE_RING_BYTES if self.is_live else 0

    @property
    def host_port(self) -> tuple[str, int] | None:
        """Where a TCP connection shows whether the server is up; None where there is no such place."""
        if self.kind != "network" or self.options.listen:
            return None
        parts = urlsplit(self.url)
        return (parts.hostname or "", parts.port or PORTS[parts.scheme])


def open_source(text: str, *, name: str | None = None, options: SourceOptions | None = None) -> Source:
    """The source that `text` names; nothing is opened yet.

    `${NAME}` and `${file:PATH}` in it are filled in for `Source.url` alone.

    Raises:
        SourceError: if no source can ever be reached under that text.
        ConfigError: if something in it can't be filled in.
    """
    options, text = options or SourceOptions(), text.strip()
    if not has_placeholder(text):
        return _opened(text, name, options)
    source = _opened(filled(text), name or name_from(text), options)
    return replace(source, address=redact(text, text))


def name_from(text: str) -> str:
    """The name that a source gets if it is given none: it has nothing secret in it."""
    try:
        return safe_name(text) if has_placeholder(text) else open_source(text).name
    except SourceError:
        return safe_name(text)


def _opened(text: str, name: str | None, options: SourceOptions) -> Source:
    if options.input_format:
        return _device(text, name or options.input_format, options)
    if text == "synthetic":
        return _synthetic(name or text, options)
    if text == "webcam" or text.startswith("webcam:"):
        return _webcam(text, name or text, options)
    if text == "screen" or text.startswith("screen:"):
        return _screen(text, name or text, options)
    if text.lower().startswith("file://"):
        return _file(Path(unquote(text[len("file://") :])), name, options)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text):
        return _network(text, name, options)
    if sys.platform == "linux" and re.fullmatch(r"/dev/video\d+", text):
        return _webcam(f"webcam:{text}", name or text, options)
    return _file(Path(text), name, options)


def _file(path: Path, name: str | None, options: SourceOptions) -> Source:
    if str(path) in ("", "."):
        raise SourceError(f"an empty address; expected {WAYS}")
    address = redact(str(path))
    ffmpeg_options = {"protocol_whitelist": PROTOCOLS["file"]}
    url = f"file:{path.expanduser().absolute()}"
    return Source(name or redact(path.name), address, "file", url, False, None, ffmpeg_options, options)


def _network(text: str, name: str | None, options: SourceOptions) -> Source:
    scheme = text.partition("://")[0].lower()
    if scheme not in PORTS:
        raise SourceError(f"{redact(text, text)}: unknown scheme {scheme!r}; expected {WAYS}")
    url = escape_login(text)
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        has_host = False
    if not has_host or re.search(r"[\s\x00-\x1f]", url):
        raise SourceError(f"{redact(text, text)}: not an address; expected {scheme}://[user:password@]host[:port]/path")
    if options.listen and scheme not in ("rtsp", "rtmp"):
        raise SourceError(f"{redact(text, text)}: only rtsp:// and rtmp:// can wait for a publisher")
    asked = _network_options(scheme, options)
    return Source(name or safe_name(text), redact(text, text), "network", url, True, None, asked, options)


def _network_options(scheme: str, options: SourceOptions) -> dict[str, str]:
    """FFmpeg's options; its own time-out comes after PyAV's and is there for where that isn't asked."""
    timeout_us = str(int(1e6 * (1.0 + max(options.open_timeout_s, options.read_timeout_s))))
    listen_s = str(max(1, round(options.listen_timeout_s)))
    probing = THOROUGH
    if scheme.startswith("rtsp"):
        if options.listen:
            return {**probing, "rtsp_flags": "listen", "listen_timeout": listen_s}
        return {**BRIEF, "rtsp_transport": options.transport, "timeout": timeout_us}
    if scheme.startswith("rtmp"):
        waiting = {"listen": "1", "timeout": listen_s} if options.listen else {}
        return {**probing, **waiting, "rw_timeout": timeout_us}
    whitelist = {"protocol_whitelist": PROTOCOLS["http"]}
    return {**probing, **whitelist, "timeout": timeout_us, "rw_timeout": timeout_us}


def escape_login(url: str) -> str:
    """The URL with a login that FFmpeg can tell from the host, whatever characters the password has.

    Where an unescaped / ? or # leaves more than one reading, RTSP and RTMP logins reach to the last @.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority and ("@" not in rest or PLAIN_AUTHORITY.fullmatch(authority)):
        return f"{scheme}://{rest}"
    is_standard = "@" in authority and scheme.startswith("http")
    login, _, place = authority.rpartition("@") if is_standard else rest.rpartition("@")
    place += rest[len(authority) :] if is_standard else ""
    user, colon, password = login.partition(":")
    return f"{scheme}://{_escaped(user)}{colon}{_escaped(password)}@{place}"


def _escaped(part: str) -> str:
    """Percent-escaped, unless it already is."""
    return quote(unquote(part) if re.search(r"%[0-9a-fA-F]{2}", part) else part, safe="")


def _webcam(text: str, name: str, options: SourceOptions) -> Source:
    """A camera: v4l2 on Linux; avfoundation (macOS) and dshow (Windows) are written down but untested."""
    match = WEBCAM.fullmatch(text)
    device = (match and match["device"]) or "0"
    asked = {"framerate": str(options.rate_hz)}
    if options.height_width:
        asked["video_size"] = f"{options.height_width[1]}x{options.height_width[0]}"
    if sys.platform == "darwin":
        return Source(name, text, "webcam", f"{device}:none", True, "avfoundation", asked, options)
    if sys.platform == "win32":
        return Source(name, text, "webcam", f"video={device}", True, "dshow", asked, options)
    url = f"/dev/video{device}" if device.isdigit() else device
    return Source(name, text, "webcam", url, True, "v4l2", asked, options)


def _screen(text: str, name: str, options: SourceOptions) -> Source:
    """The screen or a part of it: x11grab on Linux; avfoundation (macOS) and gdigrab (Windows) are untested."""
    match = SCREEN.fullmatch(text)
    if match is None:
        raise SourceError(f"{text}: expected screen or screen:WIDTHxHEIGHT+LEFT+TOP, such as screen:1280x720+0+0")
    asked = {"framerate": str(options.rate_hz), "draw_mouse": "0"}
    place = {key: int(value) for key, value in match.groupdict().items() if value is not None}
    if place and 0 in (place["width"], place["height"]):
        raise SourceError(f"{text}: a screen area needs a width and a height above 0")
    if sys.platform == "darwin":
        return _mac_screen(text, name, place, options)
    if place:
        asked["video_size"] = f"{place['width']}x{place['height']}"
    if sys.platform == "win32":
        offsets = {"offset_x": str(place["left"]), "offset_y": str(place["top"])} if place else {}
        return Source(name, text, "screen", "desktop", True, "gdigrab", asked | offsets, options)
    offsets = {"grab_x": str(place["left"]), "grab_y": str(place["top"])} if place else {}
    return Source(name, text, "screen", "", True, "x11grab", asked | offsets, options)


def _mac_screen(text: str, name: str, place: dict[str, int], options: SourceOptions) -> Source:
    if place:
        raise SourceUnsupported(f"{text}: macOS gives whole screens only; use screen")
    asked = {"framerate": str(options.rate_hz), "capture_cursor": "0"}
    return Source(name, text, "screen", "Capture screen 0:none", True, "avfoundation", asked, options)


def _synthetic(name: str, options: SourceOptions) -> Source:
    """A moving test pattern at the pace of a camera; no network, no face."""
    height, width = options.height_width or (360, 640)
    pattern = f"testsrc2=size={width}x{height}:rate={options.rate_hz},format=yuv420p,realtime"
    return Source(name, "synthetic", "synthetic", pattern, True, "lavfi", {}, options)


def _device(text: str, name: str, options: SourceOptions) -> Source:
    kind: Kind = "lavfi" if options.input_format == "lavfi" else "webcam"
    return Source(name, redact(text), kind, text, True, options.input_format, {}, options)
