"""A run to be asked about: two feeds, a file of feeds in memory, and the server of both."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from stream_detect.config import Config, Feed, build
from stream_detect.errors import ConfigError, UnknownFeed
from stream_detect.metrics import Metrics
from stream_detect.stats import FeedStats
from stream_detect.web import Server, serving

CAM = FeedStats("cam", "rtsp://cam/live", "rtsp", True, "live", "", 3.5, frames=100, analysed=80, dropped={"stale": 20})
DOOR = replace(CAM, name="door/left", state="reconnecting", reason="nobody listens there", reconnects={"refused": 3})


@dataclass
class FeedsInMemory:
    """Stands in for the file of feeds."""

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def read(self) -> Config:
        return Config(tuple(Feed(**table) for table in self.tables.values()))

    def add(self, table: Mapping[str, Any]) -> Feed:
        feed = build(Feed, table, "feeds.toml [[feed]]")
        name = feed.name or "unnamed"
        if name in self.tables:
            raise ConfigError(f"feeds.toml: there is a feed {name!r} already")
        self.tables[name] = dict(table)
        return replace(feed, name=name)

    def change(self, name: str, table: Mapping[str, Any]) -> Feed:
        changed = {key: value for key, value in {**self._of(name), **table}.items() if value is not None}
        feed = build(Feed, changed, "feeds.toml [[feed]]")
        self.tables[name] = changed
        return feed

    def remove(self, name: str) -> None:
        self._of(name)
        del self.tables[name]

    def _of(self, name: str) -> dict[str, Any]:
        if name not in self.tables:
            raise UnknownFeed(f"feeds.toml: no feed {name!r}")
        return self.tables[name]


@dataclass
class Played:
    """A run that the tests play: what it says of itself, and what was asked of it."""

    feeds: list[FeedStats] = field(default_factory=lambda: [CAM, DOOR])
    file: FeedsInMemory = field(default_factory=FeedsInMemory)
    metrics: Metrics = field(default_factory=Metrics)
    idle_s: float = 0.1
    waits_for: str = ""
    problems: list[str] = field(default_factory=list)
    applied_in: list[str] = field(default_factory=list)  # the threads in which edits were put into effect

    def apply(self) -> list[str]:
        self.applied_in.append(threading.current_thread().name)
        return self.problems

    def served(self, has_file: bool = True) -> Server:
        return serving(
            0,
            lambda: list(self.feeds),
            metrics=self.metrics,
            feeds_file=self.file if has_file else None,
            apply=self.apply,
            last_turn_s=lambda: self.idle_s,
            waits_for=lambda: self.waits_for,
        )


class Stage:
    """One server for all tests: what it says comes from the run that is played at the moment."""

    def __init__(self) -> None:
        self.now = Played()
        self.metrics = self.now.metrics

    def server(self) -> Server:
        return serving(
            0,
            lambda: list(self.now.feeds),
            metrics=self.metrics,
            feeds_file=self,
            apply=lambda: self.now.apply(),
            last_turn_s=lambda: self.now.idle_s,
            waits_for=lambda: self.now.waits_for,
        )

    def read(self) -> Config:
        return self.now.file.read()

    def add(self, table: Mapping[str, Any]) -> Feed:
        return self.now.file.add(table)

    def change(self, name: str, table: Mapping[str, Any]) -> Feed:
        return self.now.file.change(name, table)

    def remove(self, name: str) -> None:
        self.now.file.remove(name)


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Stage, int]]:
    made = Stage()
    with made.server() as server:
        yield made, server.port


@pytest.fixture
def played(stage: tuple[Stage, int]) -> Played:
    run = stage[0].now = Played(metrics=stage[0].metrics)
    run.file.tables["cam"] = {"url": "rtsp://admin:hunter22@cam/live", "name": "cam"}
    return run


@pytest.fixture
def port(played: Played, stage: tuple[Stage, int]) -> int:
    return stage[1]
