"""At which levels alerts are raised: learned from real footage, for any budget of false alarms, in one file of JSON.

How often a rule's statistic exceeds a level on real footage falls off exponentially with the level (for a CUSUM:
Siegmund, "Sequential Analysis", 1985; peaks over a threshold: Davison & Smith, J. R. Statist. Soc. B 52, 1990). A
`Tail` is that line, fitted where there is footage to count on; a budget below that is read from its prolongation, and
`basis` says how much footage stands behind it.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from stream_detect.config import DecisionSettings
from stream_detect.errors import OutputError, WeightsError
from stream_detect.temporal.normal import TurnModel

FILE = "alerts.json"  # beside heads.json
FORMAT = "stream-detect alert thresholds"
VERSION = 1
OF_A_FEED = ("sustained", "turned", "spike")
AGAIN = "write it again with `stream-detect calibrate`"


@dataclass(frozen=True, slots=True)
class Tail:
    """How often real footage of one feed exceeds a level: `per_hour` times an hour at `level`, e times less often with
    each `scale` more."""

    level: float
    per_hour: float
    scale: float

    def __post_init__(self) -> None:
        for one in fields(self):
            if not 0 < getattr(self, one.name) < math.inf:
                raise ValueError(f"{one.name} must be more than 0, got {getattr(self, one.name)}")

    def at(self, per_hour: float) -> float:
        """The level that is exceeded so many times an hour; never less than `level` itself."""
        return self.level + self.scale * max(0.0, math.log(self.per_hour / per_hour))


@dataclass(frozen=True, slots=True)
class Levels:
    """Where the rules raise alerts in one feed."""

    drift: float  # llr
    raise_at: float  # llr seconds, `sequential`
    spike_at: float  # llr, `spike`
    swap_at: float  # as `swap` counts it
    turn: TurnModel | None = None  # what a frame says against what is normal for its face; None: not known
    turn_at: float = math.inf  # `normal`: level of the sequential test against it, in spreads times seconds


@dataclass(frozen=True, slots=True)
class Basis:
    """The real footage that thresholds were fitted to, and what it can show."""

    minutes: float = 0.0  # unique ones, before any variant of encoding
    identities: int = 0
    hours_replayed: float = 0.0  # with all variants
    alarms: int = 0  # in these, at the levels of the budget below
    false_alarms_per_hour: float = 0.1  # the budget that these alarms were counted at
    bound_95_per_hour: float | None = None  # no more than that, says the unique footage (Poisson)


@dataclass(frozen=True, slots=True)
class Normal:
    """What one feed usually shows, learned from minutes of it in which all faces were real."""

    drift: float
    sustained: Tail
    turned: Tail
    spike: Tail
    minutes: float
    learned_at: str = ""  # UTC


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is in the file; these defaults stand in where weights came without one."""

    drift: float = 1.0
    sustained: Tail = Tail(1.0, 1.0, 0.5)
    spike: Tail = Tail(3.0, 1.0, 0.5)
    swap: Tail = Tail(0.033, 33.77, 0.622)  # 29 clips, 18 minutes with re-encoded ones: benchmarks.feed_swap
    turn: TurnModel | None = None
    turned: Tail = Tail(1.0, 1.0, 0.5)
    shares: Mapping[str, float] = field(default_factory=lambda: {"sustained": 0.6, "spike": 0.2, "feed_swap": 0.2})
    basis: Basis = Basis()
    feeds: Mapping[str, Normal] = field(default_factory=dict)
    weights: str = ""  # digest of the weights that they were fitted with; empty for these defaults

    def levels(self, settings: DecisionSettings, feed: str = "") -> Levels:
        """Where alerts are raised in a feed, as its settings ask for: their budget, unless they set a level."""
        normal = self.feeds.get(feed)
        budget = {rule: self.share(rule, settings.rules) * settings.false_alarms_per_hour for rule in self.shares}
        of = self if normal is None else normal
        sustained, spike, turned = of.sustained, of.spike, of.turned
        drift = self.drift if normal is None else normal.drift
        return Levels(
            drift=drift if settings.drift is None else settings.drift,
            raise_at=chosen(settings.raise_at, sustained, budget["sustained"] / (1 if self.turn is None else 2)),
            spike_at=chosen(settings.spike_at, spike, budget["spike"]),
            swap_at=chosen(settings.swap_at, self.swap, budget["feed_swap"]),
            turn=self.turn if settings.raise_at is None else None,
            turn_at=turned.at(budget["sustained"] / 2),
        )

    def share(self, rule: str, rules: tuple[str, ...]) -> float:
        """The part of the budget that is a rule's, when these rules share it."""
        together = sum(self.shares[one] for one in rules)
        return self.shares[rule] / together if rule in rules and together else 1.0


def chosen(asked: float | None, tail: Tail, budget: float) -> float:
    return tail.at(budget) if asked is None else asked


def load_thresholds(place: Traversable | Path, digest: str) -> Thresholds | None:
    """The thresholds beside weights; None where there are none for weights of this digest.

    Raises:
        WeightsError: if the file is damaged or of a newer version.
    """
    file = place / FILE
    if not file.is_file():
        return None
    try:
        table = json.loads(file.read_bytes())
        if table.get("format") != FORMAT or table.get("version") != VERSION:
            said = f"{table.get('format')!r}, version {table.get('version')!r}"
            raise WeightsError(f"{file}: expected {FORMAT!r}, version {VERSION}, got {said}; {AGAIN}")
        if table.get("sha256") != digest_of(table):
            raise WeightsError(f"{file}: its content is not what was written: it was changed or damaged; {AGAIN}")
        read = thresholds_of(table)
    except WeightsError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{file}: can't be read as alert thresholds ({error}); {AGAIN}") from error
    return read if read.weights == digest else None


def save_thresholds(thresholds: Thresholds, folder: Path) -> None:
    """Write the file beside weights, at once or not at all.

    Raises:
        OutputError: if it can't be written.
    """
    table = table_of(thresholds)
    text = json.dumps(table | {"sha256": digest_of(table)}, indent=2, allow_nan=False) + "\n"
    partial = folder / f".{FILE}.partial"
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, folder / FILE)
    except OSError as error:
        raise OutputError(f"{folder}: can't write {FILE} here ({error.strerror}); name another folder") from error


def table_of(thresholds: Thresholds) -> dict[str, Any]:
    """The thresholds as plain values."""
    tails = {name: plain(getattr(thresholds, name)) for name in ("sustained", "turned", "spike", "swap")}
    feeds = {
        name: plain(normal) | {part: plain(getattr(normal, part)) for part in OF_A_FEED}
        for name, normal in thresholds.feeds.items()
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "weights": thresholds.weights,
        "drift": thresholds.drift,
        "turn": None if thresholds.turn is None else plain(thresholds.turn),
        **tails,
        "shares": dict(thresholds.shares),
        "basis": plain(thresholds.basis),
        "feeds": feeds,
    }


def thresholds_of(table: Mapping[str, Any]) -> Thresholds:
    """The thresholds of such a table.

    Raises:
        KeyError, TypeError, ValueError: if it is not one.
    """
    feeds = {
        name: Normal(**{**normal, **{part: Tail(**normal[part]) for part in OF_A_FEED}})
        for name, normal in table["feeds"].items()
    }
    tails = {name: Tail(**table[name]) for name in ("sustained", "turned", "spike", "swap")}
    turn = table["turn"]
    shares = {name: float(table["shares"][name]) for name in Thresholds().shares}
    return Thresholds(
        drift=float(table["drift"]),
        turn=None if turn is None else TurnModel(turn["bias"], turn["of_llr"], dict(turn["of_change"])),
        shares=shares,
        basis=Basis(**table["basis"]),
        feeds=feeds,
        weights=str(table["weights"]),
        **tails,
    )


def plain(value: Any) -> dict[str, Any]:
    """A small dataclass of numbers as a table, rounded for reading."""
    given = {one.name: getattr(value, one.name) for one in fields(value)}
    return {name: round(one, 6) if isinstance(one, float) else one for name, one in given.items()}


def digest_of(table: Mapping[str, Any]) -> str:
    """SHA-256 of all of it but the digest itself."""
    kept = {name: value for name, value in table.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def with_feed(thresholds: Thresholds, feed: str, normal: Normal) -> Thresholds:
    """The thresholds with what is normal for one more feed."""
    return replace(thresholds, feeds={**thresholds.feeds, feed: normal})
