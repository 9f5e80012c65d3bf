"""Learn alert levels from clips of real people, or what is normal for one feed, and keep what was judged on the way."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from stream_detect.config import DecisionSettings, WatchSettings
from stream_detect.detector import Detector
from stream_detect.errors import ConfigError, OutputError, SourceError
from stream_detect.pipeline import Judge, Watchable, utc_text, watch
from stream_detect.temporal import Thresholds
from stream_detect.temporal.thresholds import Normal, Tail, with_feed
from stream_detect.training.budget import (
    DRIFTS,
    fit_tail,
    fit_thresholds,
    open_levels,
    peaks_of,
    quickest,
    raised_at,
)
from stream_detect.training.footage import base_weights
from stream_detect.training.manifest import Item
from stream_detect.training.prints import swap_tail_of
from stream_detect.training.traces import WIRES, Trace, load_traces, save_traces, trace, trace_of
from stream_detect.training.turning import LEARNED, gather, turning_traces
from stream_detect.training.turns import fit_turn
from stream_detect.types import FrameVerdict, Status
from stream_detect.weights import INDEX, load_weights, save_weights

JUDGED_HZ = 10.0  # so many frames of a second of a clip are judged
USUAL_WIRES = ("as it is", "h264 300 kbit/s")
TURNING_CLIPS = 10  # people whose clips are forged to learn from
TURNING_HZ = 15.0
FEWEST_FACE_S = 60.0  # of a feed, before its normal is known
DRIFTS_OF_A_FEED = (-2.0, -1.5, -1.0, -0.5, *DRIFTS)
PEAKS_OF_BASE = 20  # so many excursions of a feed weigh as much as the scale that all footage gave
Tell = Callable[[str, int, int, str], None]
Warn = Callable[[str], None]


@runtime_checkable
class Levelled(Judge, Protocol):
    """A detector whose weights have alert levels: a `Detector`."""

    @property
    def thresholds(self) -> Thresholds: ...

    @property
    def weights(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    """What is judged to learn alert levels."""

    wires: tuple[str, ...] = USUAL_WIRES  # of `traces.WIRES`: each clip goes through each of them
    kept: Path | None = None  # a file of traces: what is in it is not judged again, what is judged is added
    turning: bool = False  # whether to learn, too, how a face that turns forged departs from its normal

    def __post_init__(self) -> None:
        unknown = [wire for wire in self.wires if wire not in WIRES]
        if unknown or not self.wires:
            raise ConfigError(f"unknown wires {', '.join(unknown) or '(none)'}; expected some of {', '.join(WIRES)}")


def learn_alerts(
    items: Sequence[Item], detector: Levelled, settings: AlarmSettings, tell: Tell = lambda *_: None, warn: Warn = print
) -> Thresholds:
    """Alert levels for footage like these real clips.

    Raises:
        ConfigError: with clips of fewer than five people.
        OutputError: if the file of traces can't be written.
    """
    kept = Kept(settings.kept)
    clips = [item for item in items if item.kind == "video" and not item.is_fake]
    base = detector.thresholds
    real = list(real_traces(clips, detector, settings.wires, kept, tell, warn))
    if settings.turning:
        base = replace(base, turn=fit_turn(real, turning(clips, detector, kept, tell)))
    tell("fitting", 1, 1, "alert levels")
    swap = swap_tail_of(clips, detector) or base.swap
    return replace(fit_thresholds(real, base), swap=swap, weights=detector.weights.files_digest)


class Kept:
    """Traces that were judged, in a file if there is one: a run that was cut off goes on where it was."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        try:
            self.traces = load_traces(path) if path is not None and path.exists() else []
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise ConfigError(f"{path}: not a file of traces; name another one, or none that is there") from error

    def of(self, item: Item, wire: str) -> Trace | None:
        """What was judged of a real clip after a wire."""
        mine = (item.group, item.path.name, wire)
        return next((one for one in self.traces if (one.group, one.clip, one.wire) == mine and one.is_real), None)

    def add(self, traces: Sequence[Trace]) -> None:
        self.traces += traces
        if self._path is None:
            return
        try:
            save_traces(self._path, self.traces)
        except OSError as error:
            raise OutputError(f"{self._path}: can't be written ({error.strerror}); name another file") from error


def real_traces(
    clips: Sequence[Item], detector: Levelled, wires: Sequence[str], kept: Kept, tell: Tell, warn: Warn
) -> Iterator[Trace]:
    """What is said of every clip after every wire; clips that can't be read are left out."""
    pairs = [(wire, item) for wire in wires for item in clips]
    for done, (wire, item) in enumerate(pairs, start=1):
        tell("judging clips", done, len(pairs), f"{item.path.name}, {wire}")
        known = kept.of(item, wire)
        if known is None:
            try:
                known = trace(item.path, detector, group=item.group, wire=wire, analyse_hz=JUDGED_HZ)
            except SourceError as error:
                warn(f"left out: {error}")
                continue
            kept.add([known])
        yield known


def turning(clips: Sequence[Item], detector: Levelled, kept: Kept, tell: Tell) -> list[Trace]:
    """Feeds made of the clips in which a real face turns forged."""
    known = [one for one in kept.traces if not one.is_real]
    if known:
        return known
    from stream_detect.faces import load_detector

    shots = gather(clips, TURNING_CLIPS, load_detector())
    made: list[Trace] = []
    total = len(shots) * len(LEARNED)
    for one in turning_traces(shots, LEARNED, detector, analyse_hz=TURNING_HZ):
        made.append(one)
        tell("forging and judging", len(made), total, one.wire)
    kept.add(made)
    return made


def learn_feed(
    feed: Watchable,
    minutes: float,
    detector: Levelled,
    *,
    is_accepted: bool = False,
    tell: Tell = lambda *_: None,
    settings: WatchSettings | None = None,
) -> tuple[str, Normal]:
    """What is normal for one feed while all its faces are real: its name, and the levels that follow.

    Args:
        feed: is watched live for so many minutes.
        is_accepted: learn it although alerts would have been raised.

    Raises:
        SourceError: if no frame came.
        ConfigError: if there was too little of a face, or alerts would have been raised.
    """
    one = watched_for(feed, minutes, detector, tell, settings or WatchSettings())
    face_s = sum(seconds_judged(one, track) for track in one.tracks)
    if face_s < FEWEST_FACE_S:
        raise ConfigError(
            f"{one.clip}: faces could be judged for {face_s:.0f} s, expected {FEWEST_FACE_S:.0f} s or more; "
            "learn it at a time when people are to be seen, for more --minutes"
        )
    decision = DecisionSettings()
    raised = raised_at(one, detector.thresholds, decision)
    if raised and not is_accepted:
        raise ConfigError(
            f"{one.clip}: {len(raised)} alerts would have been raised, the first after {raised[0]:.0f} s: look whether "
            "a face is forged; if all were real, learn it with --accept"
        )
    return one.clip, normal_of(one, detector.thresholds, decision)


def watched_for(feed: Watchable, minutes: float, detector: Levelled, tell: Tell, settings: WatchSettings) -> Trace:
    """What is said of a feed in so many minutes."""
    name, reason, began_s = "", "nothing came", time.monotonic()

    def frames() -> Iterator[FrameVerdict]:
        nonlocal name, reason
        for line in watch(feed, detector, settings=replace(settings, duration_s=60 * minutes)):
            name = line.source
            if isinstance(line, FrameVerdict):
                tell("learning", min(int(time.monotonic() - began_s), int(60 * minutes)), int(60 * minutes), name)
                yield line
            elif isinstance(line, Status):
                reason = line.reason or reason

    one = trace_of(frames(), "feed", "", "live")
    if not len(one.pts_s) and not one.seconds:
        raise SourceError(f"{name}: no frame came in {minutes:g} minutes: {reason}")
    return replace(one, clip=name)


def seconds_judged(one: Trace, track: int) -> float:
    """How long a track could be judged."""
    pts_s = one.pts_s[(one.track == track) & np.isfinite(one.llr)]
    return float(np.minimum(np.diff(pts_s), 0.5).sum()) if len(pts_s) > 1 else 0.0


def normal_of(one: Trace, base: Thresholds, settings: DecisionSettings) -> Normal:
    """The levels of a feed: its own tails, as steep as all footage has them where it showed little itself."""
    hours = sum(seconds_judged(one, track) for track in one.tracks) / 3600

    def tail(thresholds: Thresholds, name: str, usual: Tail) -> Tail:
        peaks = peaks_of([one], open_levels(thresholds), settings, name)
        own = fit_tail(peaks, hours)
        scale = (len(peaks) * own.scale + PEAKS_OF_BASE * usual.scale) / (len(peaks) + PEAKS_OF_BASE)
        return replace(own, scale=scale)

    choices = [
        (drift, tail(replace(base, drift=drift, turn=None), "sustained", base.sustained)) for drift in DRIFTS_OF_A_FEED
    ]
    drift, sustained = quickest(choices, base)
    turned = base.turned if base.turn is None else tail(base, "turned", base.turned)
    spike = tail(base, "spike", base.spike)
    return Normal(drift, sustained, turned, spike, round(one.seconds / 60, 2), utc_text(datetime.now(UTC)))


def learn_feed_into(
    out: Path,
    weights: Path | None,
    feed: Watchable,
    minutes: float,
    is_accepted: bool,
    tell: Tell,
    device: str = "auto",
    threads: int = 1,
) -> tuple[str, Thresholds]:
    """Learn one feed and write weights that know it to `out`, beside those feeds that the weights there know already.

    Raises:
        SourceError, ConfigError: as `learn_feed`.
        WeightsError, OutputError: as `base_weights`.
    """
    known = load_weights(out) if (out / INDEX).is_file() else base_weights(weights, out)
    with Detector(device, known, threads=threads) as detector:
        name, normal = learn_feed(feed, minutes, detector, is_accepted=is_accepted, tell=tell)
    thresholds = replace(with_feed(known.alerts, name, normal), weights=known.files_digest)
    save_weights(replace(known, alerts=thresholds), out)
    return name, thresholds


def feed_words(name: str, thresholds: Thresholds) -> str:
    """What was learned of a feed, against what holds for the others."""
    settings = DecisionSettings()
    own, usual = thresholds.levels(settings, name), thresholds.levels(settings)
    minutes = thresholds.feeds[name].minutes
    words = f"{name}: learned in {minutes:.1f} minutes; alerts are raised at {own.raise_at:.2f} above {own.drift:+.2f}"
    turned = "" if own.turn is None else f", at {own.turn_at:.2f} against its own normal (others: {usual.turn_at:.2f})"
    return f"{words} (others: {usual.raise_at:.2f} above {usual.drift:+.2f}){turned}"
