"""Where a store is: an SQLite file or another database, and what stands beside it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from stream_detect.errors import ConfigError, OutputError
from stream_detect.redact import redact
from stream_detect.secrets import filled, has_placeholder

SQLITE_HEADER = b"SQLite format 3\0"
EXPECTED = "expected the path of an SQLite file, or a URL such as postgresql://user@host/name"
RECOVER = "sqlite3 {path} .recover | sqlite3 NEW.db"


@dataclass(frozen=True, slots=True)
class Place:
    """A database by its URL; `path` is the file of an SQLite one. As a text it holds no secret."""

    url: URL
    path: Path | None
    journal: Path  # where alerts go while the database does not answer

    @property
    def is_sqlite(self) -> bool:
        return self.path is not None

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else redact(self.url.render_as_string(hide_password=True))


def place_of(where: str | Path) -> Place:
    """The place that a path or a URL names; ${NAME} and ${file:PATH} in it are filled in.

    Raises:
        ConfigError: if it names none, or no database that we can use, or a secret in it can't be had.
    """
    text = str(where)
    whole = filled(text) if has_placeholder(text) else text
    if not whole.strip():
        raise ConfigError(f"an empty place for a store: {EXPECTED}")
    if "://" not in whole:
        return place_of_file(Path(whole).expanduser())
    url = url_of(whole)
    if url.get_backend_name() == "sqlite":
        return place_of_file(file_of(url))
    return Place(url, None, journal_of(url))


def place_of_file(path: Path) -> Place:
    return Place(URL.create("sqlite", database=str(path)), path, path.with_name(f"{path.name}.journal"))


def url_of(text: str) -> URL:
    """The URL that a text is.

    Raises:
        ConfigError: if it is none, or of a database that we can't use.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"{redact(text, text)}: not the URL of a database; {EXPECTED}") from error
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(f"{redact(text, text)}: no store for {url.get_backend_name()!r}; {EXPECTED}")
    return url


def file_of(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or url.query:
        raise ConfigError(f"{url.render_as_string()}: a store needs a file of its own; give its path")
    return Path(url.database)


def journal_of(url: URL) -> Path:
    """A file in the user's state folder, the same for the same database whatever its password."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    named = hashlib.sha256(url.set(password=None).render_as_string().encode()).hexdigest()[:12]
    return state / "stream-detect" / f"store-{named}.journal"


def check_file(path: Path, create: bool) -> None:
    """Refuse a file that can't become or isn't an SQLite one, before anything touches it.

    Raises:
        OutputError: says what is there instead.
    """
    if path.is_dir():
        raise OutputError(f"{path}: it is a folder; give the path of a file in it, such as {path / 'store.db'}")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: its folder does not exist; make it, or choose another path")
    if not path.exists() and not create:
        raise OutputError(f"{path}: there is no store; stream-detect watch --store {path} makes one")
    try:
        begins = first_bytes(path)
    except OSError as error:
        raise OutputError(f"{path}: it can't be read ({error.strerror}); choose another path") from error
    if begins not in (b"", SQLITE_HEADER):
        raise OutputError(f"{path}: not an SQLite database; it is left as it is, choose another path")
    if create and not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{path}: it can't be written (no permission); choose another path")


def first_bytes(path: Path) -> bytes:
    """What tells an SQLite file; empty for one that is empty or not there."""
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_HEADER))
    except FileNotFoundError:
        return b""


def damaged(place: Place, why: str) -> OutputError:
    """What is said of a database that can't be trusted."""
    way = f"; or save what can be read of it with: {RECOVER.format(path=place.path)}" if place.is_sqlite else ""
    return OutputError(f"{place}: the database is damaged ({why}); it is left as it is. Choose another path{way}")
