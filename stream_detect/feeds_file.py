"""The TOML file that owns the feeds of a run: it is read, edited without losing a comment, and put into effect."""

import os
import stat
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT

from stream_detect.config import Config, Feed, config_of, name_of, read_config
from stream_detect.errors import ConfigError, OutputError, SourceError, UnknownFeed, UsageError
from stream_detect.redact import redact
from stream_detect.secrets import filled
from stream_detect.sources.address import open_source

Edit = Callable[[Any], None]  # changes the list of feeds of a document


class FeedsFile:
    """A configuration file whose [[feed]] tables can be added, changed and removed while a run watches them.

    An edit keeps comments and order. It is checked as a whole before it replaces the file, at once or not at all.
    May be used from several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._editing = threading.Lock()

    def read(self) -> Config:
        """What the file says now; every feed has its name.

        Raises:
            SourceNotFound: if there is no such file.
            ConfigError: if it can't be meant.
        """
        return _named(read_config(self.path))

    def add(self, table: Mapping[str, Any], /) -> Feed:
        """Write one more feed into the file; `table` has the keys of a [[feed]].

        Raises:
            ConfigError: if the feed can't be meant, or its name is taken; the file is as it was then.
            OutputError: if the file can't be written.
        """
        said = _without_nothing(table)
        with self._editing:
            return self._edited(lambda feeds: _append(feeds, said), added=True)[-1]

    def change(self, name: str, table: Mapping[str, Any], /) -> Feed:
        """Write other values of some keys of a feed into the file; None takes a key out.

        Raises:
            UnknownFeed: if there is none of that name.
            ConfigError: if the feed can't be meant then; the file is as it was.
            OutputError: if the file can't be written.
        """
        with self._editing:
            place, feed = self._place(name)
            named = {} if feed.name else {"name": name}  # its address no longer names it
            return self._edited(lambda feeds: _update(feeds[place], {**named, **table}), changed=place)[place]

    def remove(self, name: str, /) -> None:
        """Take a feed out of the file.

        Raises:
            UnknownFeed: if there is none of that name.
            OutputError: if the file can't be written.
        """
        with self._editing:
            place, _ = self._place(name)
            self._edited(lambda feeds: feeds.pop(place), removed=place)

    def _place(self, name: str) -> tuple[int, Feed]:
        feeds = read_config(self.path).feeds
        for place, feed in enumerate(feeds):
            if name_of(feed) == name:
                return place, feed
        raise UnknownFeed(
            f"{self.path}: there is no feed {name!r}; there are {', '.join(map(name_of, feeds)) or 'none'}"
        )

    def _edited(
        self, edit: Edit, *, added: bool = False, changed: int | None = None, removed: int | None = None
    ) -> tuple[Feed, ...]:
        """The feeds after an edit of the file, which changes no other feed than it says."""
        where, before = str(self.path), list(read_config(self.path).feeds)
        text = _after(_text_of(self.path), edit, where)
        feeds = _named(config_of(text, where)).feeds
        if added or changed is not None:
            _refuse_unreachable(feeds[-1 if added else changed or 0], where)
        after = list(config_of(text, where).feeds)
        _forget(before, removed if changed is None else changed)
        _forget(after, -1 if added else changed)
        if before != after:
            raise ConfigError(f"{where}: it can't be edited without touching other feeds; edit it by hand")
        replace_text(self.path, text)
        return feeds


class FeedsInEffect:
    """Which feeds of a file a run watches, and what is to be done for it to watch those that the file has now.

    Args:
        watching: the run, see `pipeline.Watching`.
        feeds: of the file that it watches already.
    """

    def __init__(self, watching: "Changeable", feeds: Sequence[Feed] = (), settings: Config | None = None) -> None:
        self._watching = watching
        self._applying = threading.Lock()
        self._feeds = {name_of(feed): (feed, _filled(feed)) for feed in feeds}
        self._settings = settings

    def apply(self, config: Config) -> list[str]:
        """Add, change and remove feeds so that the run watches those of `config`; no other feed is disturbed.

        Returns:
            What could not be done, in words; one bad feed keeps no other from being watched.
        """
        with self._applying:
            wanted = {name_of(feed): feed for feed in config.feeds}
            tried = [self._tried(name, feed) for name, feed in wanted.items()]
            for name in [name for name in self._feeds if name not in wanted]:
                self._remove(name)
            return [words for words in [*tried, self._of_settings(config)] if words]

    def _tried(self, name: str, feed: Feed) -> str:
        try:
            self._put(name, replace(feed, name=name))
        except (UsageError, SourceError) as error:
            return redact(f"{name}: {str(error).removeprefix(f'{name}: ')}", feed.url)
        return ""

    def _put(self, name: str, feed: Feed) -> None:
        now = (feed, filled(feed.url))
        before = self._feeds.get(name)
        if before is None:
            self._watching.add(feed)
        elif now != (replace(before[0], name=name), before[1]):
            self._watching.change(feed)
        self._feeds[name] = now

    def _remove(self, name: str) -> None:
        del self._feeds[name]
        with suppress(UsageError):  # the run has let go of it already
            self._watching.remove(name)

    def _of_settings(self, config: Config) -> str:
        before, self._settings = self._settings, replace(config, feeds=())
        if before is None or replace(before, feeds=()) == self._settings:
            return ""
        return "[watch] and [decision] take effect when the run is started again; the feeds have been read"


class Changeable(Protocol):
    """What `FeedsInEffect` needs of a run: its feeds change while it goes on."""

    def add(self, feed: Feed) -> str: ...

    def change(self, feed: Feed) -> None: ...

    def remove(self, name: str) -> None: ...


def replace_text(path: Path, text: str) -> None:
    """Replace a file by one with this text, at once or not at all; its mode stays, and where it can, its owner.

    Raises:
        OutputError: if it can't be written.
    """
    place = Path(os.path.realpath(path))
    try:
        _write_beside(place, text)
    except OSError as error:
        raise OutputError(f"{path}: it can't be replaced ({error.strerror}); its folder must be writable") from error


def _write_beside(place: Path, text: str) -> None:
    about = place.stat()
    handle, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            with suppress(PermissionError):
                os.fchown(file.fileno(), about.st_uid, about.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(about.st_mode))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, place)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _text_of(path: Path) -> str:
    return path.read_bytes().decode()  # line ends as they are


def _after(text: str, edit: Edit, where: str) -> str:
    """The text of a document after an edit of its list of feeds."""
    try:
        document = tomlkit.parse(text)
        if "feed" not in document:
            document.append("feed", tomlkit.aot())
        edit(document["feed"])
        if not document["feed"]:
            del document["feed"]
        return tomlkit.dumps(document)
    except (TOMLKitError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: it can't be edited so: {redact(str(error))}") from error


def _append(feeds: Any, said: Mapping[str, Any]) -> None:
    if isinstance(feeds, AoT) and feeds and not any(isinstance(value, Mapping) for value in feeds[-1].values()):
        feeds[-1].add(tomlkit.nl())
    table = tomlkit.table() if isinstance(feeds, AoT) else tomlkit.inline_table()
    table.update(said)
    feeds.append(table)


def _update(table: Any, said: Mapping[str, Any]) -> None:
    for key, value in said.items():
        if value is not None:
            table[key] = value
        elif key in table:
            del table[key]


def _forget(feeds: list[Feed], place: int | None) -> None:
    if place is not None:
        del feeds[place]


def _without_nothing(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}


def _named(config: Config) -> Config:
    return replace(config, feeds=tuple(replace(feed, name=name_of(feed)) for feed in config.feeds))


def _refuse_unreachable(feed: Feed, where: str) -> None:
    try:
        open_source(feed.url)
    except SourceError as error:
        raise ConfigError(f"{where}: {error}") from error


def _filled(feed: Feed) -> str:
    try:
        return filled(feed.url)
    except ConfigError:
        return ""
