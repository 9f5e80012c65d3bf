"""One feed of a run: what is wanted of it, its reader, its tracks, its decision and its counts."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stream_detect.config import PROFILES, DecisionSettings, Feed, Profile, WatchSettings, updated
from stream_detect.decode.frame import Frame
from stream_detect.decode.stillness import Stillness
from stream_detect.errors import DeviceLost, UsageError
from stream_detect.faces.tracker import Tracker, TrackerSettings
from stream_detect.mailbox import Mailbox
from stream_detect.pace import Pace
from stream_detect.sources import Source, SourceOptions, open_source
from stream_detect.sources.address import LIVE_RING_BYTES
from stream_detect.sources.reader import Counts, Reader
from stream_detect.stats import FeedStats
from stream_detect.temporal import Decision, Levels, Thresholds
from stream_detect.temporal.fingerprint import picture_fingerprint
from stream_detect.temporal.swap import LOOKS_HZ, SwapState, feed_swap
from stream_detect.turns import UsualDelay
from stream_detect.types import Alert, Face, FaceVerdict, Reason, State, Status
from stream_detect.zones import Zone, outside

Watchable = str | Feed | Source

FINAL: tuple[State, ...] = ("ended", "failed")
ALWAYS_TOLD = ("stale", "corrupt")  # causes that every status names, at 0 too
NEVER_DECODED = ("late", "corrupt")  # causes of a reader's drops that are no part of its decoded frames
LIGHT_QUEUE = 3  # so many times as many frames may wait of a feed of which some are judged only
GOLDEN = 0.618034  # feeds of one rate are due at times that this spreads over the period
RATE_OVER_S = 5.0  # frames a second are counted over so long
SAMPLES = 10  # points in that time


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a feed: where it comes from, how often and by whom it is looked at, when that is an alert."""

    source: Source
    workload: Profile
    decision: DecisionSettings
    levels: Levels
    frozen_after_s: float
    queue_frames: int
    experts: tuple[str, ...] | None = None  # that look at its faces; None: all that the detector has
    ignore: tuple[Zone, ...] = ()

    @property
    def name(self) -> str:
        return self.source.name


def wanted_of(asked: Watchable, detector: Any, settings: WatchSettings, decision: DecisionSettings) -> Wanted:
    """What is wanted of a feed: by the run, and by its own settings, which go before them.

    Raises:
        SourceError: if nothing can ever be reached under its address.
        UsageError: for an expert that the detector does not have, or a key of a decision that there isn't.
    """
    source = decoded_on(opened_source(asked, settings), getattr(detector, "decode_device", "cpu"))
    feed = asked if isinstance(asked, Feed) else Feed(source.address or "-")
    workload = workload_of(feed, settings)
    decision = updated(decision, feed.decision, f"{source.name}: decision")
    return Wanted(
        source=source,
        workload=workload,
        decision=decision,
        levels=getattr(detector, "thresholds", Thresholds()).levels(decision, source.name),
        frozen_after_s=settings.frozen_after_s if feed.frozen_after_s is None else feed.frozen_after_s,
        queue_frames=settings.queue_frames * (1 if workload.analyse_hz is None else LIGHT_QUEUE),
        experts=experts_of(feed, source.name, getattr(detector, "experts", None)),
        ignore=tuple(feed.ignore),
    )


def opened_source(source: Watchable, settings: WatchSettings) -> Source:
    """The source under an address with the run's options, which a feed's own ones override."""
    if isinstance(source, Source):
        return source
    feed = Feed(source) if isinstance(source, str) else source
    transport: Literal["tcp", "udp"] = "udp" if (feed.transport or settings.transport) == "udp" else "tcp"
    times = {name: getattr(feed, name) for name in ("open_timeout_s", "read_timeout_s")}
    options = SourceOptions(
        transport=transport,
        retries=settings.retries if feed.retries is None else feed.retries,
        every_frame=settings.every_frame if feed.every_frame is None else feed.every_frame,
        isolation=settings.isolation if feed.isolation is None else feed.isolation,  # type: ignore[arg-type]
        ring_bytes=LIVE_RING_BYTES if settings.keep_packets else None,
        **{name: seconds for name, seconds in times.items() if seconds is not None},
    )
    return open_source(feed.url, name=feed.name, options=options)


def decoded_on(source: Source, device: str) -> Source:
    """The source, decoded on "cpu" or "cuda:N" unless its own options say where."""
    if source.options.decoder is not None:
        return source
    return replace(source, options=replace(source.options, decoder=device))


def unique(sources: Sequence[Source]) -> list[Source]:
    """The sources with names of which no two are the same: cam, cam#2, cam#3."""
    taken: Counter[str] = Counter()
    named = []
    for source in sources:
        taken[source.name] += 1
        number = taken[source.name]
        named.append(source if number == 1 else replace(source, name=f"{source.name}#{number}"))
    return named


def workload_of(feed: Feed, settings: WatchSettings) -> Profile:
    """How often a feed is looked at: its own rates, else those of its own profile, else the run's."""
    workload = settings.workload if feed.profile is None else PROFILES[feed.profile]
    own = {name: getattr(feed, name) for name in ("analyse_hz", "follow_hz")}
    return replace(workload, **{name: rate_hz for name, rate_hz in own.items() if rate_hz is not None})


def experts_of(feed: Feed, name: str, known: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """The detector's experts that look at a feed, in the detector's order; None where all of them do.

    Raises:
        UsageError: for one that the detector does not have, or none at all.
    """
    if feed.experts is None:
        of_profile = None if feed.profile is None else PROFILES[feed.profile].experts
        asked = tuple(expert for expert in of_profile or () if known and expert in known)
        return None if not asked or known is None or set(asked) == set(known) else asked
    unknown = [expert for expert in feed.experts if expert not in (known or ())]
    if unknown or not feed.experts:
        have = ", ".join(known or ()) or "none to choose from"
        raise UsageError(f"{name}: unknown experts {', '.join(unknown) or '(none)'}; the detector has {have}")
    asked = tuple(expert for expert in known or () if expert in feed.experts)
    return None if len(asked) == len(known or ()) else asked


def decision_at(decision: DecisionSettings, analyse_hz: float | None) -> DecisionSettings:
    """The decision for looks so many times a second: one look must speak for all the time until the next."""
    least_s = 1.5 / analyse_hz if analyse_hz else 0.0
    return decision if decision.longest_gap_s >= least_s else replace(decision, longest_gap_s=least_s)


@dataclass(slots=True)
class Tally:
    """What became of a feed's frames, over all its connections and addresses."""

    analysed: int = 0
    unjudged: Counter[str] = field(default_factory=Counter)  # frames that were taken and not judged, by cause
    frames_before: int = 0  # decoded by readers that were replaced
    dropped_before: Counter[str] = field(default_factory=Counter)  # by those readers
    reconnects_before: Counter[str] = field(default_factory=Counter)

    def frames(self, counts: Counts) -> int:
        return self.frames_before + counts.frames

    def dropped(self, counts: Counts, is_over: bool = False) -> Counter[str]:
        """Frames and packets that were not judged, by cause; once it is over, those left unseen as well."""
        dropped = Counter(self.dropped_before)
        if is_over:
            dropped["unseen"] += self.unseen(counts)
        dropped.update(counts.dropped)
        dropped.update(dict(self.unjudged))  # at one stroke: the loop may be counting a new cause
        return dropped

    def reconnects(self, counts: Counts) -> dict[str, int]:
        return dict(self.reconnects_before + Counter(counts.reconnects))

    def unseen(self, counts: Counts) -> int:
        """Decoded frames that are neither judged nor dropped: they wait, or were left in a reader that was stopped."""
        dropped = sum(number for cause, number in counts.dropped.items() if cause not in NEVER_DECODED)
        before = sum(number for cause, number in self.dropped_before.items() if cause not in NEVER_DECODED)
        return max(0, self.frames(counts) - self.analysed - self.unjudged.total() - dropped - before)

    def replaced(self, counts: Counts) -> "Tally":
        """The tally to go on with when the reader of these counts is stopped and another one takes its place."""
        dropped = Counter(self.dropped_before) + Counter(counts.dropped)
        dropped["unseen"] += self.unseen(counts)
        return Tally(
            self.analysed,
            Counter(self.unjudged),
            self.frames(counts),
            dropped,
            self.reconnects_before + Counter(counts.reconnects),
        )


class Watched:
    """One feed of a run under one address, in the loop's hands; `stats` may be asked for from any thread.

    Args:
        wanted: of it; `apply` changes that.
        bell: rung when a frame comes.
        hear: is told what becomes of its source, in the reader's thread.
        run: identifies the run in its lines.
        number: of the feed in the run, from 0.
        before: the same feed under another address, whose reader is stopped; its counts go on.
    """

    def __init__(
        self,
        wanted: Wanted,
        bell: threading.Event,
        hear: "Callable[[Watched, Status], None]",
        *,
        run: str,
        number: int,
        before: "Watched | None" = None,
    ) -> None:
        source, newest_wins = wanted.source, not wanted.source.every_frame
        self.wanted, self.run, self.number = wanted, run, number
        self.tally: Tally = Tally() if before is None else before.tally.replaced(before.reader.counts)
        self.frames: Mailbox[Frame] = Mailbox(
            1 if newest_wins else wanted.queue_frames, newest_wins=newest_wins, bell=bell
        )
        self.reader: Reader = Reader(source, self.frames, lambda status: hear(self, status))
        self.tracker = Tracker(TrackerSettings(every=wanted.workload.detect_every))
        self.decision = Decision(source.name, DecisionSettings(), run=run)
        self.sought: Future[list[list[Face]]] | None = None  # the faces of the frame before, if still searched for
        self.delay = UsualDelay()
        self.decoded_after_s = 0.0  # how long after it arrived the last frame was decoded
        self.state: State = "connecting"
        self.reason = ""
        self.told_s = self.since_s = time.monotonic()  # when its status was last told, when its state changed
        self.farewell: Status | None = None  # the last that its reader said
        self.ending: Status | None = None  # the same once its turn has come; told when its last frame was judged
        self.stands_still = False  # and was told to
        self.served_s: float = -math.inf if before is None else before.served_s  # when a frame of it was last judged
        self.came_s: float | None = None  # when its last frame was decoded
        self.seen_at: str = "" if before is None else before.seen_at
        self.faces = 0
        self.age_s: float | None = None
        self.alerts: int = 0 if before is None else before.alerts
        self.active: set[str] = set()
        self._samples: deque[tuple[float, int, int]] = deque(maxlen=SAMPLES)  # when, frames, analysed
        self.swap = SwapState()
        self._printed_s = -math.inf  # when the whole picture was last looked at
        self._scenes = 0  # changes of scene that the decision knows of
        self.apply(wanted)

    @property
    def name(self) -> str:
        return self.wanted.name

    @property
    def is_live(self) -> bool:
        """Whether its frames grow stale."""
        return self.wanted.source.is_live and not self.wanted.source.every_frame

    def apply(self, wanted: Wanted) -> None:
        """Go on with other rates, thresholds, zones or experts; its address and how it is read stay."""
        workload, source = wanted.workload, wanted.source
        self.wanted = wanted
        self.pace = Pace(workload.analyse_hz, workload.follow_hz, self.number * GOLDEN % 1)
        self.tracker.settings = replace(self.tracker.settings, every=workload.detect_every)
        self.decision.settings = decision_at(wanted.decision, workload.analyse_hz)
        self.decision.levels = wanted.levels
        self.stillness = Stillness(wanted.frozen_after_s if source.is_live else math.inf)

    def tell_scenes(self) -> None:
        """Let the decision know if the picture was cut since it was last told."""
        if self.tracker.scenes != self._scenes:
            self._scenes = self.tracker.scenes
            self.decision.new_scene()

    def swapped(self, frame: Frame, faces: Sequence[FaceVerdict]) -> list[Alert]:
        """What follows from the fingerprint of the whole picture, at which a judged frame is looked now and then."""
        is_due = not 0 <= frame.pts_s - self._printed_s < 1 / LOOKS_HZ
        if not is_due or "feed_swap" not in self.decision.settings.rules:
            return []
        self._printed_s = frame.pts_s
        prints = picture_fingerprint(frame, [face.box for face in faces])
        self.swap, events = feed_swap(self.swap, frame.pts_s, prints, self.decision.levels.swap_at)
        return self.decision.swapped(events)

    def take(self) -> Frame | None:
        """The next frame, if there is one and its reader did not die."""
        try:
            frame = self.frames.take()
        except Exception:  # what its reader died of; the status that is on its way says it in words
            return None
        if frame is not None:
            self.came_s = time.monotonic() - self.frames.waited_s
            self.decoded_after_s = max(0.0, self.came_s - frame.arrived_s)
            self.delay.seen(self.decoded_after_s, self.came_s)
        return frame

    def let_go(self) -> None:
        """Stop its reader, without waiting for it, and hold no picture any more; its figures stay."""
        self.reader.stop()
        while self.take() is not None:
            pass
        self.sought = None
        self.stillness = Stillness(math.inf)
        self.tracker = Tracker(self.tracker.settings)

    def status(self, state: State, reason: str) -> Status:
        """The line that says what became of it and where its frames went."""
        now_s, counts = time.monotonic(), self.reader.counts
        dropped = self.tally.dropped(counts, state in FINAL)
        if state != self.state:
            self.since_s = now_s
        self.state, self.told_s = state, now_s
        self.reason = reason or self.reason
        told = {cause: number for cause, number in dropped.items() if number or cause in ALWAYS_TOLD}
        frames, reconnects = self.tally.frames(counts), self.tally.reconnects(counts)
        return Status(self.name, state, reason, frames, self.tally.analysed, told, self.run, reconnects=reconnects)

    def note(self, alert: Alert) -> None:
        """An alert of it was raised or cleared."""
        if alert.event == "raised":
            self.alerts += 1
            self.active = self.active | {alert.id}
        elif alert.event == "cleared":
            self.active = self.active - {alert.id}

    def sample(self, now_s: float) -> None:
        """Remember what was counted until now, for rates."""
        if not self._samples or now_s - self._samples[-1][0] >= RATE_OVER_S / SAMPLES:
            self._samples.append((now_s, self.tally.frames(self.reader.counts), self.tally.analysed))

    def stats(self) -> FeedStats:
        """Its figures at this moment."""
        now_s, counts, source = time.monotonic(), self.reader.counts, self.wanted.source
        frames, analysed = self.tally.frames(counts), self.tally.analysed
        began_s, frames_then, analysed_then = next(iter(tuple(self._samples)), (self.since_s, 0, 0))
        elapsed_s = max(now_s - began_s, RATE_OVER_S / SAMPLES)
        is_over = self.state in FINAL
        return FeedStats(
            name=self.name,
            address=source.address,
            kind=source.kind,
            is_live=source.is_live,
            state=self.state,
            reason=self.reason,
            since_s=now_s - self.since_s,
            frames=frames,
            analysed=analysed,
            dropped={cause: number for cause, number in self.tally.dropped(counts, is_over).items() if number},
            reconnects=self.tally.reconnects(counts),
            in_hz=0.0 if is_over else (frames - frames_then) / elapsed_s,
            analysed_hz=0.0 if is_over else (analysed - analysed_then) / elapsed_s,
            faces=self.faces,
            age_s=self.age_s,
            last_frame_s=None if self.came_s is None else now_s - self.came_s,
            alerts=self.alerts,
            active_alerts=len(self.active),
            pid=self.reader.pid,
        )

    def is_lost(self, now_s: float) -> bool:
        """Whether a live source gave no frame for so long that whoever was to be seen in it is forgotten."""
        if self.came_s is None or self.state == "live" or not self.wanted.source.is_live or len(self.frames):
            return False
        return now_s - self.came_s > self.wanted.decision.forget_s

    def looked_over(self, frame: Frame) -> tuple[Reason | None, bool]:
        """Why nothing can be said of a frame, and whether it is to be judged; one lost with a GPU is counted so."""
        try:
            reason = self._reason_not_to_judge(frame)
            return reason, reason is None and self._is_due(frame)
        except DeviceLost:
            self.tally.unjudged["device"] += 1
            return None, False

    def followed(self, frame: Frame) -> list[Face]:
        """The faces of a frame that none are searched in; those that were found in the one before are taken up."""
        sought, self.sought = self.sought, None
        if sought is None:
            return self.tracker.between(frame)
        (faces,) = sought.result()
        return self.tracker.detected_before(self.heeded(faces, frame), frame)

    def heeded(self, faces: Sequence[Face], frame: Frame) -> list[Face]:
        """The faces that lie in none of the zones which are to be ignored."""
        return outside(faces, self.wanted.ignore, frame.height, frame.width)

    def _reason_not_to_judge(self, frame: Frame) -> Literal["corrupt", "frozen"] | None:
        """Why nothing can be said of a frame as a whole; None if something can."""
        is_frozen = self.stillness.is_frozen(frame)
        if frame.is_corrupt:
            return "corrupt"
        return "frozen" if is_frozen else None

    def _is_due(self, frame: Frame) -> bool:
        """Whether a frame is to be judged; else the profile drops it, and faces may be followed in it."""
        due = self.pace.due(frame.pts_s)
        if due == "judge":
            return True
        self.tally.unjudged["profile"] += 1
        if due == "follow":
            with suppress(DeviceLost):  # it is counted already
                self.followed(frame)
        return False
