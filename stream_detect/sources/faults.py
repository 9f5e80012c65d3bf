"""What went wrong with a source, in words that help and hold no secret: FFmpeg's errors end here."""

import errno
import math
import os
import sys
from pathlib import Path

import av

from stream_detect.errors import (
    SourceDenied,
    SourceError,
    SourceNotFound,
    SourceRefused,
    SourceTimeout,
    SourceUnsupported,
)
from stream_detect.redact import redact
from stream_detect.sources.address import Source

Words = tuple[type[SourceError], str]
WORDS: dict[type[Exception], Words] = {  # the first that fits; what a person can do follows the semicolon
    av.error.HTTPUnauthorizedError: (
        SourceDenied,
        "wrong user name or password (401); correct the login in the address",
    ),
    av.error.HTTPForbiddenError: (SourceDenied, "not allowed (403); check the login or the token"),
    av.error.HTTPNotFoundError: (SourceNotFound, "the server has nothing under that path (404); check the path"),
    av.error.HTTPTooManyRequestsError: (SourceDenied, "the server asks us to come less often (429)"),
    av.error.HTTPClientError: (SourceError, "the server refuses the request; check the address"),
    av.error.HTTPServerError: (SourceError, "the server has a fault of its own (5xx)"),
    av.error.ConnectionRefusedError: (SourceRefused, "nobody listens there (connection refused); check host and port"),
    av.error.ConnectionResetError: (SourceError, "the server closed the connection"),
    av.error.BrokenPipeError: (SourceError, "the server closed the connection"),
    av.error.FileNotFoundError: (SourceNotFound, "not found; check the address"),
    av.error.PermissionError: (SourceDenied, "no permission to read it"),
    av.error.ProtocolNotFoundError: (SourceUnsupported, "it leads to a protocol that is not allowed or not known here"),
    av.error.DemuxerNotFoundError: (SourceUnsupported, "this kind of input is not built into PyAV here"),
    av.error.DecoderNotFoundError: (SourceUnsupported, "its codec is unknown here; convert it to H.264 first"),
    av.error.EOFError: (SourceError, "the stream ended before it began"),
}
BUSY, UNREACHABLE = "busy", "unreachable"  # faults beside those of the classes of errors
NO_WAY = {
    errno.EHOSTUNREACH: "there is no way to that host; check the address and the network",
    errno.ENETUNREACH: "there is no way to that network; check the address and the network",
}


def explain(
    error: BaseException, source: Source, waited_s: float = 0.0, timeout_s: float = math.inf, *, is_open: bool = True
) -> SourceError:
    """Our error for one of FFmpeg's, redacted; it came after `waited_s` of at most `timeout_s` seconds.

    `is_open` says whether it came while reading, or already while opening.
    """
    if isinstance(error, SourceError):
        return error
    if isinstance(error, (av.error.TimeoutError, av.error.ExitError)) or waited_s >= timeout_s:
        return SourceTimeout(f"{source.address}: nothing came for {waited_s:.1f} s")
    if is_open and source.kind == "network" and getattr(error, "errno", None) == errno.EIO:
        return SourceError(f"{source.address}: the stream broke off")
    kind, words = _words(error, source)
    explained = kind(f"{source.address}: {words}")
    if isinstance(error, av.error.HTTPTooManyRequestsError):
        explained.fault = BUSY
    elif source.kind == "network" and kind is SourceError and getattr(error, "errno", None) in (errno.EIO, *NO_WAY):
        explained.fault = UNREACHABLE
    return explained


def _words(error: BaseException, source: Source) -> Words:
    if source.kind == "webcam":
        return _camera_words(error, source)
    if source.kind == "screen":
        return _screen_words()
    if source.kind == "file" and isinstance(error, av.error.InvalidDataError):
        return (
            SourceUnsupported,
            "not a video that can be read, or cut off at its start; play it in another program to check",
        )
    for known, words in WORDS.items():
        if isinstance(error, known):
            return words
    number = getattr(error, "errno", None)
    if number in NO_WAY:
        return SourceError, NO_WAY[number]
    if isinstance(error, av.error.InvalidDataError):
        return SourceUnsupported, "what the server sends is not a video stream; check the path"
    if number == errno.EIO and source.kind == "network":
        return SourceError, "it could not be opened (input/output error); check the host name and the path"
    return SourceError, f"it could not be read: {redact(plain(error), source.url)}"


def plain(error: BaseException) -> str:
    """An error's text without the address that FFmpeg adds to it."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)


def _camera_words(error: BaseException, source: Source) -> Words:
    if isinstance(error, FileNotFoundError):
        found = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
        return SourceNotFound, f"no camera at {redact(source.url)} (there are: {found}); plug one in or choose webcam:N"
    if isinstance(error, PermissionError):
        return SourceDenied, f"no permission for {redact(source.url)}; on Linux, join the group video and log in again"
    if getattr(error, "errno", None) == errno.EBUSY:
        return SourceDenied, "another program uses the camera; close it and try again"
    return SourceError, f"the camera could not be read: {redact(plain(error), source.url)}"


def _screen_words() -> Words:
    if sys.platform == "linux" and os.environ.get("WAYLAND_DISPLAY"):
        return SourceUnsupported, "under Wayland a program can't grab the screen; log in to an X11 session"
    if sys.platform == "linux":
        return SourceNotFound, "no display to grab; set DISPLAY, or check that the area lies on the screen"
    return SourceError, "the screen could not be read; allow screen recording for this program"
