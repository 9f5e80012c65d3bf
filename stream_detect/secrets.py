"""Logins and tokens that stand elsewhere: `${NAME}` (environment) and `${file:PATH}` in an address.

They are filled in where an address is opened and nowhere else; from then on `redact` hides them in every text.
"""

import ctypes
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from stream_detect.errors import ConfigError
from stream_detect.redact import hide, redact

PLACEHOLDER = re.compile(r"\$\{(?:file:(?P<file>[^{}]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*))\}")
LONGEST = 4096  # of a secret in a file, in bytes


def has_placeholder(address: str) -> bool:
    """Whether something is to be filled in."""
    return PLACEHOLDER.search(address) is not None


def filled(address: str) -> str:
    """The address with every placeholder filled in, escaped as its place asks; `redact` hides the values from now on.

    One that the address begins with is taken as it is: it may be the whole address.

    Raises:
        ConfigError: if there is no such variable or file, or it holds no secret that fits into an address.
    """
    whole = PLACEHOLDER.sub(lambda match: _fitting(match, address), address)
    if PLACEHOLDER.match(address):
        hide(whole)
    return whole


def _fitting(match: re.Match[str], address: str) -> str:
    value = _value(match)
    hide(value)
    return _escaped(value, *_around(match, address))


def _around(match: re.Match[str], address: str) -> tuple[str, str]:
    """What stands before and after a placeholder; other placeholders in it are plain words."""
    return PLACEHOLDER.sub("x", address[: match.start()]), PLACEHOLDER.sub("x", address[match.end() :])


def _escaped(value: str, before: str, after: str) -> str:
    scheme, colon, rest = before.partition("://")
    if not colon:
        return value  # the beginning of an address, or a file's path
    is_authority = not re.search(r"[/?#]", rest)
    if is_authority and "@" in re.split(r"[/?#]", after, maxsplit=1)[0]:
        return quote(value, safe="")
    if is_authority:
        return quote(value, safe="[]:.")
    if scheme.lower().startswith("rtmp"):
        return value  # whose stream keys are sent as they are written
    return quote(value, safe="" if re.search(r"[?#]", rest) else "/")


def _value(match: re.Match[str]) -> str:
    """What a placeholder stands for.

    Raises:
        ConfigError: if that can't be had.
    """
    value = _of_file(match["file"]) if match["file"] else _of_environment(match["name"])
    if not value.isprintable():
        raise ConfigError(f"{match.group()}: expected one line without control characters")
    return value


def _of_environment(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise ConfigError(f"${{{name}}}: there is no such variable in the environment, or it is empty; set {name}")
    return value


def _of_file(name: str) -> str:
    path = Path(name).expanduser()
    try:
        with path.open("rb") as file:
            value = file.read(LONGEST + 1).decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"${{file:{name}}}: it can't be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"${{file:{name}}}: expected a line of text in UTF-8") from error
    if not 0 < len(value) <= LONGEST:
        raise ConfigError(f"${{file:{name}}}: expected one line of at most {LONGEST} bytes")
    return value


def hide_arguments() -> None:
    """Hide what is secret in the arguments that other programs see of this process (`ps`); on Linux only."""
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # from the third one on
        begin, end = int(fields[45]), int(fields[46])  # where the arguments lie in memory
        arguments = Path("/proc/self/cmdline").read_bytes()
        hidden = b"\0".join(_hidden(argument) for argument in arguments.split(b"\0"))
        if hidden != arguments and 0 < begin < end and end - begin == len(arguments) == len(hidden):
            ctypes.memmove(begin, hidden, len(hidden))


def _hidden(argument: bytes) -> bytes:
    """The argument without secrets and of the same length, blanks at its end."""
    text = os.fsdecode(argument)
    told = redact(text, text) if "://" in text else redact(text)
    return argument if told == text else os.fsencode(told)[: len(argument)].ljust(len(argument))
