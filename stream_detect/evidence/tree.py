"""What lies in a folder of evidence, or in a zip of it, under one way of asking."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, runtime_checkable

from stream_detect.errors import OutputError

CHUNK = 1 << 20
DAMAGE = (KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)  # what zipfile raises for it
Kind = Literal["file", "folder", "other"]


@dataclass(frozen=True, slots=True)
class Thing:
    """A file, a folder, or something that does not belong into evidence (a link, a pipe)."""

    path: str  # within the evidence, with / between its parts
    kind: Kind
    bytes: int
    changed_s: float  # since 1970; 0 where it is not known


@runtime_checkable
class Tree(Protocol):
    """Where evidence lies."""

    @property
    def name(self) -> str:
        """How it is called in messages."""

    def things(self) -> Iterator[Thing]:
        """Everything in it; one name may come twice.

        Raises:
            OutputError: if it can't be listed.
        """

    def chunks(self, path: str) -> Iterator[bytes]:
        """What a file of it holds, bit by bit.

        Raises:
            OSError: if it can't be read.
        """


class FolderTree:
    """A folder; links in it are not followed."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise OutputError(f"{root}: expected a folder of evidence, or a zip of it")
        self.name = str(root)
        self._root = root

    def things(self) -> Iterator[Thing]:
        for path in self._root.rglob("*"):
            try:
                yield self._thing(path)
            except FileNotFoundError:  # removed just now
                continue

    def chunks(self, path: str) -> Iterator[bytes]:
        with (self._root / path).open("rb") as file:
            yield from iter(partial(file.read, CHUNK), b"")

    def _thing(self, path: Path) -> Thing:
        about = path.lstat()
        return Thing(path.relative_to(self._root).as_posix(), kind_of(about.st_mode), about.st_size, about.st_mtime)


def kind_of(mode: int) -> Kind:
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"


class ZipTree:
    """A zip; folders are those that its files are in. Close it, or use it in a `with`."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, *DAMAGE) as error:
            raise OutputError(f"{path}: expected a folder of evidence, or a zip of it ({error})") from error

    def things(self) -> Iterator[Thing]:
        for one in self._zip.infolist():
            yield Thing(one.filename.rstrip("/"), "folder" if one.is_dir() else "file", one.file_size, 0.0)
        for folder in sorted({folder for name in self._zip.namelist() for folder in folders_above(name.rstrip("/"))}):
            yield Thing(folder, "folder", 0, 0.0)

    def chunks(self, path: str) -> Iterator[bytes]:
        try:
            with self._zip.open(path) as file:
                yield from iter(partial(file.read, CHUNK), b"")
        except DAMAGE as error:
            raise OSError(f"the zip is damaged: {error}") from error

    def close(self) -> None:
        self._zip.close()

    def __enter__(self) -> "ZipTree":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def folders_above(path: str) -> list[str]:
    """The folders that a path lies in, from the outermost."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: k + 1]) for k in range(len(parts))]


@contextmanager
def tree_of(path: Path) -> Iterator[Tree]:
    """The folder or zip at a path.

    Raises:
        OutputError: if it is neither.
    """
    if path.is_dir():
        yield FolderTree(path)
        return
    with ZipTree(path) as tree:
        yield tree
