"""Every setting with its default, unit and meaning, and the TOML file that may change them."""

import difflib
import math
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from stream_detect.errors import ConfigError, SourceNotFound
from stream_detect.redact import redact

Settings = TypeVar("Settings")
SIMPLE = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}
LONGEST_NAME = 200  # of a feed, in characters
RULES = ("sustained", "spike", "feed_swap")  # that raise alerts


@dataclass(frozen=True, slots=True)
class DecisionSettings:
    """When an alert is raised, and when it is over.

    `drift`, `raise_at`, `spike_at` and `swap_at` follow from `false_alarms_per_hour` and what was learned from real
    footage (`stream_detect.temporal.thresholds`), unless they are set.
    """

    false_alarms_per_hour: float = 0.1  # of one feed, by all rules together, that may be raised on real faces
    rules: tuple[str, ...] = RULES  # that may raise alerts: sustained, spike, feed_swap
    drift: float | None = None  # llr that a real face may show all the time; only what is more adds up
    raise_at: float | None = None  # sustained: level of the sequential test, in llr seconds
    spike_at: float | None = None  # spike: step of the llr within a second
    swap_at: float | None = None  # feed_swap: level of the change in the whole picture's fingerprint
    window_s: float = 1.5  # time constant over which old evidence fades from the running probability, in seconds
    looks_per_s: float = 1.0  # how many independent looks a second of video is worth there (neighbouring frames agree)
    llr_limit: float = 3.0  # one frame's log likelihood ratio counts for at most this much, either way
    score_limit: float = 4.0  # the running log likelihood ratio stays within ± this
    clear_below: float = 0.5  # running probability under which an alert starts to end
    hold_s: float = 2.0  # how long it has to stay under `clear_below`, in seconds
    cooldown_s: float = 3.0  # how long a track stays quiet after an alert ended, in seconds
    longest_gap_s: float = 0.5  # one observation speaks for at most this much video, in seconds
    min_quality: float = 0.0  # frames of lower quality leave the running score as it is
    forget_s: float = 3.0  # a track that was not seen for so long is over, and its alert with it, in seconds
    event_s: float = 10.0  # what several rules find in one face or feed within so long is one event, in seconds
    update_every_s: float = 1.0  # an active alert is repeated at most this often, in seconds

    def __post_init__(self) -> None:
        positive = ("false_alarms_per_hour", "window_s", "looks_per_s", "llr_limit", "score_limit", "longest_gap_s")
        levels = ("raise_at", "spike_at", "swap_at")
        require({name: getattr(self, name) > 0 for name in (*positive, "forget_s")}, self, "more than 0")
        set_ones = {name: value for name in levels if (value := getattr(self, name)) is not None}
        require({name: value > 0 for name, value in set_ones.items()}, self, "more than 0")
        require({"drift": self.drift is None or abs(self.drift) < self.llr_limit}, self, "within ± llr_limit")
        not_negative = ("hold_s", "cooldown_s", "event_s", "update_every_s")
        require({name: getattr(self, name) >= 0 for name in not_negative}, self, "0 or more")
        require({"min_quality": 0 <= self.min_quality < 1}, self, "in [0, 1)")
        require({"clear_below": 0 < self.clear_below < 1}, self, "in (0, 1)")
        require({"rules": set(self.rules) <= set(RULES)}, self, f"some of {', '.join(RULES)}")


@dataclass(frozen=True, slots=True)
class VerdictLimits:
    """Where one face's calibrated probability becomes a word; in between it is inconclusive."""

    fake: float = 0.8  # at least this: "fake"
    real: float = 0.35  # at most this: "real"
    disagreement: float = 1.0  # inconclusive if the experts contradict one another more than this, in [0, 1]

    def __post_init__(self) -> None:
        require({"real": 0 <= self.real <= self.fake <= 1}, self, "0 <= real <= fake <= 1")
        require({"disagreement": 0 <= self.disagreement <= 1}, self, "in [0, 1]")


@dataclass(frozen=True, slots=True)
class Profile:
    """How much is done for each second of a feed, by name in `PROFILES`."""

    experts: tuple[str, ...] | None  # that look at the faces; None: all
    analyse_hz: float | None  # so many frames a second are judged; None: every one
    follow_hz: float | None  # in so many a second, the judged ones included, faces are followed; None: in every one
    detect_every: int  # in every so manieth of those faces are searched


# "light" keeps the subset of the experts that has the best mean AUC in benchmarks/results/0.1.0/robustness.json (.781;
# all five .776) and costs four fifths of all five. It judges six times a second: the decision counts evidence by time
# (`looks_per_s`), so that an alert hardly comes later. Faces are searched once a second: that changes a frame's log
# likelihood ratio by .34 on average against a search in each judged frame, four searches a second by .26 (8 clips).
PROFILES: Mapping[str, Profile] = types.MappingProxyType(
    {
        "full": Profile(None, None, None, 5),
        "light": Profile(("residual", "color", "attention"), 6.0, 12.0, 12),
    }
)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How sources are watched; the command line's options have the same names."""

    every_frame: bool | None = None  # judge every frame (True), only the newest (False), or as the source is (None)
    duration_s: float | None = None  # stop after so many seconds
    max_frames: int | None = None  # stop after so many analysed frames of all sources together
    retries: int | None = None  # how often a live source is opened again; None: for ever
    transport: str = "tcp"  # how RTSP brings its packets: tcp or udp
    isolation: str | None = None  # process or thread: where a CPU demuxes and decodes; None: as each source has it
    profile: str = "full"  # full: all experts, every frame; light: three of them, six times a second, for more feeds
    analyse_hz: float | None = None  # judge so many frames of a feed a second; None: as the profile has it
    follow_hz: float | None = None  # follow faces in so many frames a second; None: as the profile has it
    detect_every: int | None = None  # search faces in every so manieth of those; None: as the profile has it
    detect_side: int = 640  # longer side of the reduced picture that faces are searched in, in pixels
    frozen_after_s: float = 3.0  # a live picture that did not change for so long is frozen, in seconds
    queue_frames: int = 4  # decoded frames of one source that may wait, when every frame counts
    budget_ms: float = 250.0  # a live frame older than this is dropped before work is spent on it, in milliseconds
    gather_ms: float | None = None  # a batch waits so long for other feeds, in milliseconds; None: 4 on a GPU, else 0
    status_every_s: float = 10.0  # a live source says where its frames went at least this often, in seconds
    keep_packets: bool = False  # whether the packets of files are remembered, too, for evidence; live ones always are

    def __post_init__(self) -> None:
        require({"profile": self.profile in PROFILES}, self, " or ".join(PROFILES))
        counts = ("detect_side", "queue_frames", "frozen_after_s", "budget_ms", "status_every_s")
        require({name: getattr(self, name) > 0 for name in counts}, self, "more than 0")
        optional = ("duration_s", "max_frames", "analyse_hz", "follow_hz", "detect_every")
        require(
            {name: getattr(self, name) is None or getattr(self, name) > 0 for name in optional}, self, "more than 0"
        )
        not_negative = ("retries", "gather_ms")
        require(
            {name: getattr(self, name) is None or getattr(self, name) >= 0 for name in not_negative}, self, "0 or more"
        )
        require({"transport": self.transport in ("tcp", "udp")}, self, "tcp or udp")
        require({"isolation": self.isolation in (None, "process", "thread")}, self, "process or thread")

    @property
    def workload(self) -> Profile:
        """The profile with what these settings say otherwise."""
        said = {name: getattr(self, name) for name in ("analyse_hz", "follow_hz", "detect_every")}
        return replace(PROFILES[self.profile], **{name: value for name, value in said.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Feed:
    """One [[feed]] of a configuration file."""

    url: str  # what `watch` takes as SOURCE; ${NAME} and ${file:PATH} in it are filled in when it is opened
    name: str | None = None  # how it is called in every line; the address without its secrets by default
    transport: str | None = None  # tcp or udp, instead of the run's
    every_frame: bool | None = None  # instead of the run's
    retries: int | None = None  # instead of the run's
    open_timeout_s: float | None = None  # for connecting and for the first bytes, each, in seconds
    read_timeout_s: float | None = None  # without a frame for so long it is opened anew, in seconds
    isolation: str | None = None  # process or thread: where a CPU demuxes and decodes it
    profile: str | None = None  # full or light, instead of the run's
    experts: tuple[str, ...] | None = None  # that look at its faces, of those that the run has
    analyse_hz: float | None = None  # judge so many of its frames a second
    follow_hz: float | None = None  # follow faces in so many a second
    frozen_after_s: float | None = None  # a picture that did not change for so long is frozen, in seconds
    ignore: tuple[tuple[float, float, float, float], ...] = ()  # zones whose faces are no persons: posters, screens;
    # each (left, top, right, bottom) in shares of the picture's width and height, 0 to 1
    decision: Mapping[str, Any] = field(default_factory=dict)  # keys of [decision], instead of the run's

    def __post_init__(self) -> None:
        require({"url": bool(self.url.strip())}, self, "an address")
        require(
            {"name": self.name is None or is_name(self.name)}, self, "a short line without an address's login in it"
        )
        require({"transport": self.transport in (None, "tcp", "udp")}, self, "tcp or udp")
        require({"isolation": self.isolation in (None, "process", "thread")}, self, "process or thread")
        require({"profile": self.profile is None or self.profile in PROFILES}, self, " or ".join(PROFILES))
        optional = ("open_timeout_s", "read_timeout_s", "analyse_hz", "follow_hz", "frozen_after_s")
        positive = {name: getattr(self, name) is None or 0 < getattr(self, name) < math.inf for name in optional}
        require(positive, self, "more than 0")
        zones = all(0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 for x1, y1, x2, y2 in self.ignore)
        require({"ignore": zones}, self, "zones of left < right and top < bottom in [0, 1]")
        require({"retries": self.retries is None or self.retries >= 0}, self, "0 or more")
        require({"experts": self.experts is None or len(self.experts) > 0}, self, "a list of at least one expert")
        checked_table(DecisionSettings, self.decision, "decision")


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """What is kept of every alert, and for how long."""

    dir: str | None = None  # the folder, instead of --evidence
    before_s: float = 5.0  # so much of the feed before the alert, in seconds
    after_s: float = 5.0  # and after it
    pictures: int = 3  # frames that decided, as PNG, at most
    keep_days: float | None = 30.0  # older evidence is removed, its place in the chain stays; None: for ever
    keep_gib: float | None = 10.0  # so much evidence at most, the oldest is removed first; None: without limit
    privacy: str = "none"  # blur: faces are made unrecognisable in everything that is kept; none: kept as it came
    sign_with: str | None = None  # a file with an Ed25519 private key (PEM): evidence is signed

    def __post_init__(self) -> None:
        require({name: getattr(self, name) >= 0 for name in ("before_s", "after_s", "pictures")}, self, "0 or more")
        limits = {name: getattr(self, name) is None or getattr(self, name) > 0 for name in ("keep_days", "keep_gib")}
        require(limits, self, "more than 0")
        require({"privacy": self.privacy in ("blur", "none")}, self, "blur or none")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where alerts, scores and states are kept."""

    url: str | None = None  # a path of an SQLite file, or an SQLAlchemy URL; ${NAME} and ${file:PATH} are filled in
    scores: bool = True  # whether the scores of every second are kept as well
    keep_days: float | None = 90.0  # older scores and states are removed, alerts and marks stay; None: for ever

    def __post_init__(self) -> None:
        require({"keep_days": self.keep_days is None or self.keep_days > 0}, self, "more than 0")


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """One [[sink]] of a configuration file: where alerts go besides the console."""

    kind: str  # webhook, mqtt or command
    url: str | None = None  # of a webhook or broker; ${NAME} and ${file:PATH} are filled in when it is used
    name: str | None = None  # how it is called in logs and metrics; its kind and host by default
    command: tuple[str, ...] = ()  # program and arguments, started without a shell; the alert is JSON on its stdin
    secret: str | None = None  # of a webhook's signature; ${NAME} or ${file:PATH}
    template: str = "json"  # json: the alert's line; slack: a message that Slack and its like show
    topic: str = "stream-detect"  # first part of the topics of an MQTT broker
    events: tuple[str, ...] = ("raised", "updated", "cleared")  # that are sent
    timeout_s: float = 10.0  # for one delivery, in seconds
    headers: Mapping[str, Any] = field(default_factory=dict)  # further ones of a webhook; ${NAME} and ${file:PATH}

    def __post_init__(self) -> None:
        require({"kind": self.kind in ("webhook", "mqtt", "command")}, self, "webhook, mqtt or command")
        require({"url": self.kind == "command" or bool(self.url)}, self, "an address")
        require({"command": self.kind != "command" or len(self.command) > 0}, self, "a program and its arguments")
        require({"template": self.template in ("json", "slack")}, self, "json or slack")
        events = set(self.events) <= {"raised", "updated", "cleared"}
        require({"events": events and len(self.events) > 0}, self, "some of raised, updated, cleared")
        require({"timeout_s": 0 < self.timeout_s < math.inf}, self, "more than 0")


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file: its feeds and sinks, and what it changes of a run, its decision and what is kept."""

    feeds: tuple[Feed, ...] = ()
    watch: Mapping[str, Any] = field(default_factory=dict)
    decision: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)  # fields of `EvidenceSettings`
    store: Mapping[str, Any] = field(default_factory=dict)  # fields of `StoreSettings`
    sinks: tuple[SinkSettings, ...] = ()


def read_config(path: Path) -> Config:
    """The configuration in a TOML file with [[feed]], [[sink]], [watch], [decision], [evidence] and [store] tables.

    Raises:
        SourceNotFound: if there is no such file.
        ConfigError: if it is not TOML, or names a key or value that does not exist.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a TOML file: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise SourceNotFound(
            f"{path}: no such configuration file ({error.strerror}); see --help for an example"
        ) from error
    return config_of(text, str(path))


def config_of(text: str, where: str) -> Config:
    """The configuration that a text in TOML says; `where` it is from begins every complaint.

    Raises:
        ConfigError: if it is not TOML, or names a key or value that does not exist, or two feeds of one name.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not a TOML file: {redact(str(error))}") from error
    refuse_unknown(tables, {"feed", "watch", "decision", "evidence", "store", "sink"}, where)
    feeds, sinks = (listed(tables, name, where) for name in ("feed", "sink"))
    watch, decision, evidence, store = (tables.get(name, {}) for name in ("watch", "decision", "evidence", "store"))
    updated(WatchSettings(), watch, f"{where} [watch]")
    updated(EvidenceSettings(), evidence, f"{where} [evidence]")
    updated(StoreSettings(), store, f"{where} [store]")
    of_run = updated(DecisionSettings(), decision, f"{where} [decision]")
    built = [feed_of(feed, of_run, f"{where} [[feed]] {number}") for number, feed in enumerate(feeds, start=1)]
    refuse_same_names(built, where)
    to = [build(SinkSettings, sink, f"{where} [[sink]] {number}") for number, sink in enumerate(sinks, start=1)]
    return Config(tuple(built), watch, decision, evidence, store, tuple(to))


def listed(tables: Mapping[str, Any], name: str, where: str) -> list[Any]:
    """The tables that stand under a name in two brackets.

    Raises:
        ConfigError: if it stands in one.
    """
    several = tables.get(name, [])
    if not isinstance(several, list):
        raise ConfigError(f"{where}: write [[{name}]] with two brackets, once for each {name}")
    return several


def feed_of(table: Any, decision: DecisionSettings, where: str) -> Feed:
    """The feed that a [[feed]] table describes, in a run of such a decision.

    Raises:
        ConfigError: for an unknown or missing key, or a value of another kind or range.
    """
    feed = build(Feed, table, where)
    updated(decision, feed.decision, f"{where} [feed.decision]")
    return feed


def refuse_same_names(feeds: Sequence[Feed], where: str) -> None:
    """Refuse two feeds that would be called the same.

    Raises:
        ConfigError: if there are such.
    """
    numbers: dict[str, int] = {}
    for number, feed in enumerate(feeds, start=1):
        first = numbers.setdefault(name_of(feed), number)
        if first != number:
            way = "give it another one" if feed.name else "give it a name of its own"
            raise ConfigError(f"{where} [[feed]] {number}: [[feed]] {first} is called {name_of(feed)!r} too; {way}")


def name_of(feed: Feed) -> str:
    """How a feed is called in every line: the name that it was given, or the one that its address gives."""
    if feed.name is not None:
        return feed.name
    from stream_detect.sources.address import name_from  # takes FFmpeg's libraries along: not for settings alone

    return name_from(feed.url)


def is_name(text: str) -> bool:
    """Whether a feed may be called so: a short line that shows no secret."""
    return 0 < len(text.strip()) <= LONGEST_NAME and text.isprintable() and redact(text) == text


def build(cls: type[Settings], table: Any, where: str) -> Settings:
    """The dataclass `cls` from a table of a file.

    Raises:
        ConfigError: for an unknown or missing key, or a value of another kind or range.
    """
    checked = checked_table(cls, table, where)
    needed = [one for one in fields(cls) if one.default is MISSING and one.default_factory is MISSING]  # type: ignore[arg-type]
    missing = [one.name for one in needed if one.name not in checked]
    if missing:
        raise ConfigError(f"{where}: {missing[0]} is missing")
    return _made(lambda: cls(**checked), where)


def updated(settings: Settings, table: Any, where: str) -> Settings:
    """`settings` with the values of a table of a file.

    Raises:
        ConfigError: for an unknown key, or a value of another kind or range.
    """
    checked = checked_table(type(settings), table, where)
    return _made(lambda: replace(settings, **checked), where)  # type: ignore[type-var]


def checked_table(cls: type[Any], table: Any, where: str) -> dict[str, Any]:
    """The table if all its keys are fields of the dataclass `cls` and their values of the right kind.

    Raises:
        ConfigError: names the first wrong key and what was expected.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: expected a table of keys and values, got {table!r}")
    kinds = get_type_hints(cls)
    refuse_unknown(table, set(kinds), where)
    checked = {}
    for key, value in table.items():
        try:
            checked[key] = _as(kinds[key], value)
        except TypeError as error:
            raise ConfigError(f"{where}: {key} expects {_words(kinds[key])}, got {redact(repr(value))}") from error
    return checked


def refuse_unknown(table: Mapping[str, Any], known: set[str], where: str) -> None:
    """Name the first key that is not known, with the nearest one that is.

    Raises:
        ConfigError: if there is such a key.
    """
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected some of {', '.join(sorted(known))}"
            raise ConfigError(f"{where}: unknown key {redact(repr(key))}; {hint}")


def require(claims: Mapping[str, bool], settings: object, expected: str) -> None:
    """Refuse settings of which a claim is false.

    Raises:
        ConfigError: names the field, what was expected and what came.
    """
    for name, holds in claims.items():
        if not holds:
            raise ConfigError(f"{name} must be {expected}, got {redact(repr(getattr(settings, name)))}")


def _made(make: Callable[[], Settings], where: str) -> Settings:
    try:
        return make()
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _as(kind: Any, value: Any) -> Any:
    """A value of a file as a field of this kind holds it: whole numbers are numbers too, lists become tuples.

    Raises:
        TypeError: if it is of another kind.
    """
    for part in _kinds(kind):
        origin = get_origin(part) or part
        if origin is tuple and isinstance(value, (list, tuple)):
            return _as_tuple(get_args(part), value)
        if origin is Mapping and isinstance(value, Mapping):
            return value
        if part in SIMPLE and isinstance(value, part) and (part is bool or not isinstance(value, bool)):
            return value
    if float in _kinds(kind) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise TypeError


def _as_tuple(kinds: tuple[Any, ...], values: Sequence[Any]) -> tuple[Any, ...]:
    if kinds[-1] is Ellipsis:
        return tuple(_as(kinds[0], value) for value in values)
    if len(kinds) != len(values):
        raise TypeError
    return tuple(_as(kind, value) for kind, value in zip(kinds, values, strict=True))


def _words(kind: Any) -> str:
    """Such as "a number" or "a list of lists of 4 numbers"; what may be left out is not named."""
    return " or ".join(_word(part) for part in _kinds(kind) if part is not type(None))


def _word(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"a list of {_several(get_args(kind)[0])}"
    return SIMPLE.get(kind, "a table")


def _several(kind: Any) -> str:
    inner = get_args(kind)
    return f"lists of {len(inner)} {_several(inner[0])}" if inner else {float: "numbers"}.get(kind, "texts in quotes")
