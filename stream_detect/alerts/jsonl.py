"""JSON lines: one object a line, written out at once."""

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TextIO, runtime_checkable

from stream_detect.errors import OutputError, ReaderGone


@runtime_checkable
class Jsonable(Protocol):
    """Anything that has a JSON line."""

    def to_json(self) -> dict[str, Any]: ...


class JsonlSink:
    """Writes to a file, which is begun anew or continued, or to stdout ("-"), which is then for nothing else.

    A line is in the file when `take` returns, whatever becomes of the program then. A torn last line, as a machine that
    lost its power leaves, is ended before the file is continued.

    Raises:
        OutputError: at once, if the file can't be written.
        ReaderGone: from `take`, when the reader of stdout went away.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self._is_stdout = str(path) == "-"
        self._stream: TextIO = sys.stdout if self._is_stdout else _opened(Path(path), "a" if append else "w")

    def take(self, line: Jsonable) -> None:
        text = json.dumps(line.to_json(), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except BrokenPipeError as error:
            raise ReaderGone(self._stream.name) from error
        except OSError as error:
            raise OutputError(f"{self._stream.name}: can't be written any more ({error.strerror})") from error

    def close(self) -> None:
        if not self._is_stdout:
            self._stream.close()

    def __enter__(self) -> "JsonlSink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(path: Path, mode: str) -> TextIO:
    try:
        stream: TextIO = path.open(mode, encoding="utf-8")  # type: ignore[assignment]
        if mode == "a" and _is_torn(path):
            stream.write("\n")
        return stream
    except OSError as error:
        hint = "its folder does not exist" if not path.parent.is_dir() else (error.strerror or "unknown error")
        raise OutputError(f"{path}: can't be written ({hint}); choose another path, or - for stdout") from error


def _is_torn(path: Path) -> bool:
    """Whether a file ends in the middle of a line; never of a pipe or a device."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"
