"""The story from an address to an alert: `watch` opens sources, finds faces, judges them and decides over time.

    Reader (a thread a source) -> Mailbox -> one loop here: newest frame of every feed -> faces -> Detector -> Decision

Everything that is said comes out of one iterator, in order: frames, alerts, and what became of the sources.
"""

import itertools
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Protocol, runtime_checkable

from stream_detect.config import DecisionSettings, Feed, WatchSettings
from stream_detect.decode.frame import Frame
from stream_detect.errors import DeviceLost, UnknownFeed, UsageError
from stream_detect.mailbox import Mailbox, wait_for_any
from stream_detect.sources import Source
from stream_detect.sources.reader import Reader
from stream_detect.sources.ring import PacketRing
from stream_detect.stats import FeedStats, Observer, Stage
from stream_detect.turns import Effort, Turn, in_turn
from stream_detect.types import Alert, Face, FaceVerdict, FrameVerdict, Reason, Since, Status
from stream_detect.watched import FINAL, Wanted, Watchable, Watched, decoded_on, opened_source, unique, wanted_of

__all__ = [
    "Judge",
    "Line",
    "OnFrame",
    "Watchable",
    "Watching",
    "Witness",
    "decoded_on",
    "opened_source",
    "unique",
    "watch",
]

Line = FrameVerdict | Alert | Status
OnFrame = Callable[[Frame, FrameVerdict], None]
Order = tuple[Literal["add", "change", "remove"], Wanted]  # what is to be done with which feed

LOOK_AROUND_S = 0.2  # how long the loop waits at most before it looks at the clock
PATIENCE_S = 1.0  # how long readers are waited for at the end, all of them together
STATUSES = 1024  # status lines that may wait to be told
ORDERS = 4096  # changes of feeds that may wait for the loop
EVIDENCE_AT_STOP_S = 1.0  # how long evidence may take to be completed when a run is stopped
EVIDENCE_AT_END_S = 20.0  # and when its sources have ended
GATHER_ON_GPU_S = 0.004  # a batch on a GPU waits so long for the frames of other feeds


@runtime_checkable
class Judge(Protocol):
    """What `watch` needs of a detector.

    One that takes frames which lie on a GPU says so by an attribute `decode_device`, "cuda:N": files and network
    sources are then decoded there, as far as that GPU can. One of which feeds may ask for a part of its experts has a
    mapping `experts` by name, and its `judge` takes their names as `experts=`.
    """

    @property
    def decision(self) -> DecisionSettings: ...

    def find_faces(self, frames: Sequence[Frame], max_side: int = 640) -> list[list[Face]]: ...

    def judge(self, seen: Sequence[tuple[Frame, Sequence[Face]]]) -> list[tuple[FaceVerdict, ...]]: ...


@runtime_checkable
class Witness(Protocol):
    """What keeps evidence of alerts (`stream_detect.evidence`). The loop calls it and waits for none of its work."""

    def saw(self, frame: Frame, verdict: FrameVerdict, packets: PacketRing | None) -> None:
        """A judged frame, what was said of it and the packets of its feed, before the alerts of it are noted."""

    def noted(self, alert: Alert, packets: PacketRing | None) -> Alert:
        """An alert before it is told, and the packets of its feed; gives it back with where its evidence lies."""

    def news(self) -> Sequence[Alert]:
        """`updated` lines of alerts whose clip was completed since it was last asked."""

    def finish(self, patience_s: float) -> Sequence[Alert]:
        """The run is over: what is still open is completed with what there is, within so many seconds."""


def watch(
    sources: Watchable | Sequence[Watchable],
    detector: Judge,
    *,
    settings: WatchSettings | None = None,
    decision: DecisionSettings | None = None,
    on_frame: OnFrame | None = None,
    stop: threading.Event | None = None,
    observer: Observer | None = None,
    witness: Witness | None = None,
    **changes: Any,
) -> Iterator[Line]:
    """Watch sources until they end, and say everything that there is to say about them, in order.

    Args:
        sources: addresses as on the command line, `config.Feed`s or opened `Source`s; one of them or several.
        detector: shared by all sources; faces of all feeds are judged in one batch.
        settings: how to watch; any of its fields may be given by name instead (`duration_s=10.0`). The profile says
            here how often faces are judged; which experts look is the detector's matter
            (`Detector(experts=PROFILES["light"].experts)`).
        decision: when an alert is raised; what the detector's weights say by default.
        on_frame: is called with each frame and what was said of it, before the line is given out.
        stop: once set, the sources are left, with their last lines, as if they had ended.
        observer: hears how long each stage took.
        witness: keeps evidence of alerts.

    Yields:
        A `FrameVerdict` for each analysed frame, `Alert`s right after the frame that caused them, a `Status` whenever
        the state of a source changes, and a last one for each source. A source that fails is told in its `Status` and
        disturbs no other. Closing the iterator closes every source.

    Raises:
        SourceError: at once, if nothing can ever be reached under an address.
        UsageError: at once, for a setting that does not exist.
    """
    settings = changed(settings or WatchSettings(), changes)
    listed = [sources] if isinstance(sources, (str, Feed, Source)) else list(sources)
    if not listed:
        raise UsageError("nothing to watch: give at least one source, such as rtsp://host/path, a file or webcam")
    watching = Watching(listed, detector, settings, decision, on_frame, observer=observer, witness=witness)
    return _lines_of(watching, stop or threading.Event())


def _lines_of(watching: "Watching", stop: threading.Event) -> Iterator[Line]:
    with watching:
        yield from watching.lines(stop)


def changed(settings: WatchSettings, changes: Mapping[str, Any]) -> WatchSettings:
    """The settings with some fields changed.

    Raises:
        UsageError: for a field that does not exist.
    """
    try:
        return replace(settings, **changes)
    except TypeError as error:
        known = ", ".join(WatchSettings.__dataclass_fields__)
        raise UsageError(f"unknown setting among {', '.join(changes)}; expected some of {known}") from error


class Watching:
    """The feeds of one run and the one loop that judges their frames. Close it, or use it in a `with`.

    Feeds can be added, changed and removed from any thread while `lines` is iterated, the iterating one included:
    nothing waits for the loop, which does it at its next turn.

    Args:
        feeds: that are watched from the beginning; those of one name get numbers.
        detector: shared by all feeds.
        settings: how to watch.
        decision: when an alert is raised; what the detector's weights say by default.
        on_frame: is called with each frame and what was said of it, before the line is given out.
        observer: hears how long each stage took.
        witness: keeps evidence of alerts.
        stays: whether to go on when no feed is left.

    Raises:
        SourceError: if nothing can ever be reached under an address.
        UsageError: for an expert that the detector does not have, or a decision that can't be meant.
    """

    def __init__(
        self,
        feeds: Sequence[Watchable],
        detector: Judge,
        settings: WatchSettings | None = None,
        decision: DecisionSettings | None = None,
        on_frame: OnFrame | None = None,
        *,
        observer: Observer | None = None,
        witness: Witness | None = None,
        stays: bool = False,
    ) -> None:
        self.run = uuid.uuid4().hex[:12]
        self.stays = stays
        self._detector = detector
        self._settings = settings or WatchSettings()
        self._decision = decision or detector.decision
        self._on_frame = on_frame
        self._observer = observer
        self._witness = witness
        self._analysed = 0
        self._effort = Effort()
        self._bell = threading.Event()
        self._statuses: Mailbox[tuple[Watched, Status]] = Mailbox(STATUSES, newest_wins=True, bell=self._bell)
        self._orders: Mailbox[Order] = Mailbox(ORDERS, bell=self._bell)
        self._lock = threading.Lock()  # around `_asked` and whatever changes `_watched` and `_over`
        self._numbers = itertools.count()
        self._readers: list[Reader] = []  # those that were started and may still run
        self._is_closed = False
        first = [wanted_of(feed, detector, self._settings, self._decision) for feed in feeds]
        named = unique([wanted.source for wanted in first])
        self._asked = {source.name: replace(one, source=source) for one, source in zip(first, named, strict=True)}
        self._watched = {name: self._watch(wanted) for name, wanted in self._asked.items()}
        self._over: dict[str, Watched] = {}  # ended or failed, and not removed yet
        self._turned_s = time.monotonic()
        device = getattr(detector, "device", "")
        gather_ms = self._settings.gather_ms
        usual_s = GATHER_ON_GPU_S if device.startswith("cuda") else 0.0
        self._gather_s = usual_s if gather_ms is None else gather_ms / 1e3
        is_free = device == "cpu"  # where searching and judging share nothing
        self._searches = ThreadPoolExecutor(1, "search") if is_free else None

    def __enter__(self) -> "Watching":
        try:
            for watched in self._watched.values():
                self._start(watched)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every source; may be called twice.

        A reader that hangs in a connection attempt is not waited for: it ends by itself when that times out.
        """
        with self._lock:
            self._is_closed = True
        for watched in self._watched.values():
            watched.let_go()
        for reader in self._readers:
            reader.stop()
        until_s = time.monotonic() + PATIENCE_S
        for reader in self._readers:
            reader.close(max(0.0, until_s - time.monotonic()))
        self._readers.clear()
        if self._searches is not None:
            self._searches.shutdown()

    def add(self, feed: Watchable) -> str:
        """Watch one more feed; returns the name that its lines have.

        Raises:
            SourceError: if nothing can ever be reached under its address.
            UsageError: if its name is taken by a feed that hasn't ended, or it asks for what there isn't.
        """
        wanted = wanted_of(feed, self._detector, self._settings, self._decision)
        with self._lock:
            if wanted.name in self._asked and wanted.name not in self._over:
                raise UsageError(f"{wanted.name}: there is a feed of that name already; change it or take another name")
            self._order("add", wanted)
        return wanted.name

    def change(self, feed: Watchable) -> None:
        """Watch the feed of this name as it is now described.

        Another address or way of reading it connects anew; rates, thresholds, zones and experts apply from the next
        frame on. One that has ended is begun anew. No other feed is disturbed.

        Raises:
            SourceError: if nothing can ever be reached under its address.
            UnknownFeed: if there is no feed of that name.
            UsageError: if it asks for what there isn't.
        """
        wanted = wanted_of(feed, self._detector, self._settings, self._decision)
        with self._lock:
            self._require(wanted.name)
            self._order("change", wanted)

    def remove(self, name: str) -> None:
        """Watch a feed no longer; its last lines are told.

        Raises:
            UnknownFeed: if there is no feed of that name.
        """
        with self._lock:
            self._require(name)
            self._order("remove", self._asked[name])

    def feeds(self) -> list[FeedStats]:
        """The figures of every feed at this moment, those included that ended and were not removed."""
        with self._lock:
            known = {**self._over, **self._watched}
            listed = [(wanted, known.get(name)) for name, wanted in self._asked.items()]
        return [asked_for(wanted) if watched is None else watched.stats() for wanted, watched in listed]

    def last_turn_s(self) -> float:
        """How long ago the loop last went round, in seconds: whether it lives."""
        return time.monotonic() - self._turned_s

    def _require(self, name: str) -> None:
        if name not in self._asked:
            known = ", ".join(self._asked) or "none"
            raise UnknownFeed(f"{name}: there is no feed of that name; there are {known}")

    def _order(self, what: Literal["add", "change", "remove"], wanted: Wanted) -> None:
        """Have the loop do something; the lock is held, so that orders come in the order of what was answered."""
        if self._is_closed:
            raise UsageError("the run is over: its feeds can't be changed any more")
        try:
            self._orders.put((what, wanted), 0.0)
        except TimeoutError as error:
            raise UsageError("too many changes of feeds wait to be done; try again later") from error
        if what == "remove":
            del self._asked[wanted.name]
        else:
            self._asked[wanted.name] = wanted

    def _watch(self, wanted: Wanted, before: Watched | None = None) -> Watched:
        number = next(self._numbers) if before is None else before.number
        return Watched(wanted, self._bell, self._hear, run=self.run, number=number, before=before)

    def _start(self, watched: Watched) -> None:
        try:
            self._readers.append(watched.reader.start())
        except RuntimeError as error:  # there is no thread to be had
            watched.farewell = Status(watched.name, "failed", f"it can't be read: {error}")

    def _hear(self, watched: Watched, status: Status) -> None:
        if status.state in FINAL:
            watched.farewell = status  # which no other status pushes out
            self._bell.set()
        else:
            self._statuses.put((watched, status))

    def lines(self, stop: threading.Event) -> Iterator[Line]:
        """Everything there is to say until all feeds have ended, `stop` is set, or the run's limit is reached."""
        until_s = time.monotonic() + (self._settings.duration_s or math.inf)
        while self._watched or self.stays or len(self._orders):
            self._turned_s = time.monotonic()
            if reason := self._reason_to_stop(stop, until_s):
                yield from self._stopped(reason)
                yield from self._last_evidence(EVIDENCE_AT_STOP_S)
                return
            yield from self._obeyed()
            waiting = self._waiting()
            yield from self._news()
            yield from self._turn(waiting)
            yield from self._ended()
            if self._witness is not None:
                yield from self._witness.news()
            if not waiting:
                wait_for_any(self._bell, max(0.0, min(LOOK_AROUND_S, until_s - time.monotonic())))
        yield from self._last_evidence(EVIDENCE_AT_END_S)

    def _last_evidence(self, patience_s: float) -> Iterator[Alert]:
        if self._witness is not None:
            yield from self._witness.finish(patience_s)

    def _reason_to_stop(self, stop: threading.Event, until_s: float) -> str:
        if stop.is_set():
            return "stopped"
        if time.monotonic() >= until_s:
            return f"stopped after {self._settings.duration_s:g} s"
        if self._frames_left() <= 0:
            return f"stopped after {self._settings.max_frames} frames"
        return ""

    def _frames_left(self) -> float:
        return math.inf if self._settings.max_frames is None else float(self._settings.max_frames - self._analysed)

    def _obeyed(self) -> Iterator[Alert | Status]:
        """What follows from feeds that were added, changed and removed."""
        while (order := self._orders.take()) is not None:
            what, wanted = order
            watched = self._watched.get(wanted.name)
            if what == "remove":
                yield from self._removed(wanted.name)
            elif watched is not None and watched.wanted.source == wanted.source:
                watched.apply(wanted)
            else:
                yield from self._opened(wanted, watched)

    def _opened(self, wanted: Wanted, before: Watched | None) -> Iterator[Alert | Status]:
        """Begin to watch a feed, perhaps one that was watched under another address or in another way."""
        if before is None:
            before = self._over.get(wanted.name)
        else:
            before.let_go()
            yield from self._cleared(before)
            yield before.status("reconnecting", "its settings were changed")
        watched = self._watch(wanted, before)
        with self._lock:
            self._over.pop(wanted.name, None)
            self._watched[wanted.name] = watched
        self._start(watched)

    def _removed(self, name: str) -> Iterator[Alert | Status]:
        with self._lock:
            self._over.pop(name, None)
            watched = self._watched.pop(name, None)
        if watched is not None:
            watched.let_go()
            yield from self._last_lines(watched, Status(name, "ended", "removed"))

    def _waiting(self) -> list[Watched]:
        """The feeds that have a frame; a batch waits a moment for those of the others."""
        waiting = [watched for watched in self._watched.values() if len(watched.frames)]
        until_s = time.monotonic() + self._gather_s
        while waiting and (left_s := until_s - time.monotonic()) > 0:
            if all(len(watched.frames) for watched in self._watched.values() if watched.state == "live"):
                break
            wait_for_any(self._bell, left_s)
            waiting = [watched for watched in self._watched.values() if len(watched.frames)]
        return waiting

    def _news(self) -> Iterator[Alert | Status]:
        """What the readers said, a sign of life of each live source now and then, and what is over with a lost one."""
        gone = [watched for watched in self._watched.values() if watched.farewell]
        while (said := self._statuses.take()) is not None:
            watched, status = said
            if self._watched.get(watched.name) is watched:
                watched.stands_still = False
                yield watched.status(status.state, status.reason)
        for watched in gone:  # after all that was said before
            watched.ending = watched.farewell
        now_s = time.monotonic()
        for watched in list(self._watched.values()):
            watched.sample(now_s)
            if watched.is_lost(now_s):
                yield from self._cleared(watched)
            if watched.state == "live" and now_s - watched.told_s >= self._settings.status_every_s:
                yield watched.status("live", "")

    def _turn(self, waiting: Sequence[Watched]) -> Iterator[Line]:
        """One batch of all feeds: take what is in time, find or follow the faces, judge them, decide."""
        began_s = time.monotonic()
        sound, unsound = self._taken(waiting)
        for watched, frame, reason in unsound:
            yield from self._stillness_news(watched, reason)
            watched.tally.unjudged[reason] += 1
            yield from self._told(watched, frame, (), (reason,))
        for watched, _ in sound:
            yield from self._stillness_news(watched, None)
        judged = self._verdicts(sound)
        for watched, frame, said in judged:
            watched.tally.analysed += 1
            self._analysed += 1
            watched.faces = len(said)
            yield from self._told(watched, frame, said, ())
        if judged:
            self._spent(len(judged), time.monotonic() - began_s)

    def _spent(self, frames: int, seconds: float) -> None:
        self._effort.spent(frames, seconds)
        if self._observer is not None:
            self._observer.batch(frames, seconds)

    def _taken(
        self, waiting: Sequence[Watched]
    ) -> tuple[list[tuple[Watched, Frame]], list[tuple[Watched, Frame, Reason]]]:
        """The frames to judge in this turn, and those of which nothing can be said."""
        sound: list[tuple[Watched, Frame]] = []
        unsound: list[tuple[Watched, Frame, Reason]] = []
        is_shared = any(watched.is_live for watched in self._watched.values())
        turn = Turn(self._settings.budget_ms / 1e3, self._effort.frame_s, time.monotonic(), is_shared)
        for watched in in_turn(waiting):
            frame = self._next_frame(watched, turn) if turn.frames < self._frames_left() else None
            if frame is None:
                continue
            reason, is_due = watched.looked_over(frame)
            if reason is not None:
                unsound.append((watched, frame, reason))
            elif is_due:
                sound.append((watched, frame))
                turn.take(frame.arrived_s if watched.is_live else None, watched.delay.seconds)
                watched.served_s = time.monotonic()
                self._observed(watched, frame)
        return sound, unsound

    def _next_frame(self, watched: Watched, turn: Turn) -> Frame | None:
        """The next frame of a feed if it fits into the turn; one that is too old is dropped."""
        waits = watched.frames.peek()
        if waits is not None:
            arrived_s = waits.arrived_s if watched.is_live else None
            if not turn.fits(time.monotonic(), arrived_s, watched.delay.seconds):
                return None
        frame = watched.take()
        if frame is None or not watched.is_live:
            return frame
        if turn.is_stale(frame.arrived_s, time.monotonic(), watched.delay.seconds):
            watched.tally.unjudged["stale"] += 1
            return None
        return frame

    def _observed(self, watched: Watched, frame: Frame) -> None:
        if self._observer is not None:
            self._observer.stage(watched.name, "decode", watched.decoded_after_s)
            self._observer.stage(watched.name, "wait", watched.frames.waited_s)

    def _shared(self, stage: Stage, sound: Sequence[tuple[Watched, Frame]], seconds: float) -> None:
        if self._observer is not None:
            for watched, _ in sound:
                self._observer.stage(watched.name, stage, seconds / len(sound))

    def _stillness_news(self, watched: Watched, reason: Reason | None) -> Iterator[Status]:
        """A picture that stands still is told once, and so is its moving again."""
        if reason == "frozen" and watched.state == "live":
            words = f"the picture has not changed for {watched.wanted.frozen_after_s:g} s"
            watched.stands_still = True
            yield watched.status("stalled", words)
        elif reason is None and watched.stands_still:
            watched.stands_still = False
            yield watched.status("live", "the picture moves again")

    def _verdicts(self, sound: Sequence[tuple[Watched, Frame]]) -> list[tuple[Watched, Frame, tuple[FaceVerdict, ...]]]:
        """What the detector says of each frame; those that were lost with a GPU are counted and left out."""
        try:
            began_s = time.monotonic()
            seen = [(frame, found) for (_, frame), found in zip(sound, self._faces(sound), strict=True)]
            found_s = time.monotonic()
            verdicts = self._judge(sound, seen)
        except DeviceLost:
            left = [(watched, frame) for watched, frame in sound if not frame.is_on_device]
            if len(left) == len(sound):
                raise
            for watched, frame in sound:
                watched.tally.unjudged["device"] += frame.is_on_device
            return self._verdicts(left)
        self._shared("faces", sound, found_s - began_s)
        self._shared("judge", sound, time.monotonic() - found_s)
        return [(watched, frame, said) for (watched, frame), said in zip(sound, verdicts, strict=True)]

    def _judge(
        self, sound: Sequence[tuple[Watched, Frame]], seen: Sequence[tuple[Frame, Sequence[Face]]]
    ) -> list[tuple[FaceVerdict, ...]]:
        """What is said of each frame; those that the same experts look at go through together."""
        rows_of: dict[tuple[str, ...] | None, list[int]] = {}
        for row, (watched, _) in enumerate(sound):
            rows_of.setdefault(watched.wanted.experts, []).append(row)
        verdicts: list[tuple[FaceVerdict, ...]] = [()] * len(sound)
        for experts, rows in rows_of.items():
            choice: dict[str, Any] = {} if experts is None else {"experts": experts}
            said = self._detector.judge([seen[row] for row in rows], **choice)
            for row, one in zip(rows, said, strict=True):
                verdicts[row] = one
        return verdicts

    def _faces(self, sound: Sequence[tuple[Watched, Frame]]) -> list[list[Face]]:
        """The faces of each frame: searched in all frames that are due, in one batch, and followed in the others.

        An ordinary search runs beside the judging where the detector can do both; what it finds is taken up in the
        next frame. Those in a feed's zones to ignore are left out.
        """
        due = [(watched, frame) for watched, frame in sound if watched.sought is None and watched.tracker.due(frame)]
        beside: list[tuple[Watched, Frame]] = []
        at_once: list[tuple[Watched, Frame]] = []
        for watched, frame in due:
            can_wait = self._searches is not None and watched.tracker.is_routine(frame)
            (beside if can_wait else at_once).append((watched, frame))
        found = self._search([frame for _, frame in at_once])
        found_in = {watched.name: faces for (watched, _), faces in zip(at_once, found, strict=True)}
        faces = [
            watched.tracker.detected(watched.heeded(found_in[watched.name], frame), frame)
            if watched.name in found_in
            else watched.followed(frame)
            for watched, frame in sound
        ]
        if self._searches is not None:
            for watched, frame in beside:
                watched.sought = self._searches.submit(self._search, [frame])
        return [watched.heeded(some, frame) for (watched, frame), some in zip(sound, faces, strict=True)]

    def _search(self, frames: Sequence[Frame]) -> list[list[Face]]:
        return self._detector.find_faces(frames, self._settings.detect_side) if frames else []

    def _verdict(
        self, watched: Watched, frame: Frame, faces: tuple[FaceVerdict, ...], reasons: tuple[Reason, ...]
    ) -> FrameVerdict:
        since: Since = "arrival" if frame.captured_s is None else "capture"
        start_s = frame.arrived_s if frame.captured_s is None else frame.captured_s
        latency_ms = max(0.0, time.monotonic() - start_s) * 1000
        watched.seen_at = max(watched.seen_at, utc_text(frame.seen_at))
        return FrameVerdict(
            watched.name, frame.index, frame.pts_s, watched.seen_at, latency_ms, faces, self.run, reasons, since
        )

    def _told(
        self, watched: Watched, frame: Frame, faces: tuple[FaceVerdict, ...], reasons: tuple[Reason, ...]
    ) -> Iterator[FrameVerdict | Alert]:
        """What is said of a frame and what follows from it; of one without faces too: what isn't seen is forgotten."""
        watched.tell_scenes()
        verdict, alerts = watched.decision.judged(self._verdict(watched, frame, faces, reasons))
        began_s = time.monotonic()
        watched.age_s = max(0.0, began_s - frame.arrived_s)
        with suppress(DeviceLost):  # the picture is lost, what was said of it is not
            if not reasons:
                alerts += watched.swapped(frame, faces)
            if self._on_frame is not None:
                self._on_frame(frame, verdict)
            if self._witness is not None:
                self._witness.saw(frame, verdict, watched.reader.ring)
        yield verdict
        yield from self._noted(watched, alerts)
        if self._observer is not None:
            self._observer.age(watched.name, watched.age_s)
            self._observer.stage(watched.name, "tell", time.monotonic() - began_s)

    def _noted(self, watched: Watched, alerts: Sequence[Alert]) -> Iterator[Alert]:
        for alert in alerts:
            watched.note(alert)
            yield alert if self._witness is None else self._witness.noted(alert, watched.reader.ring)

    def _cleared(self, watched: Watched) -> Iterator[Alert]:
        """Nothing is known any more of who is to be seen in a feed."""
        yield from self._noted(watched, watched.decision.end())

    def _ended(self) -> Iterator[Alert | Status]:
        """The last lines of feeds that are over and whose frames are all judged."""
        over = [watched for watched in self._watched.values() if watched.ending and not len(watched.frames)]
        for watched in over:
            watched.let_go()
            with self._lock:
                self._over[watched.name] = self._watched.pop(watched.name)
            yield from self._last_lines(watched, watched.ending)
        self._readers = [reader for reader in self._readers if not reader.join(0.0)]

    def _stopped(self, reason: str) -> Iterator[Alert | Status]:
        """The last lines of all feeds, which are left as they are."""
        for watched in self._watched.values():
            watched.reader.stop()
        for watched in self._watched.values():
            yield from self._last_lines(watched, watched.ending or Status(watched.name, "ended", reason))

    def _last_lines(self, watched: Watched, ending: Status | None) -> Iterator[Alert | Status]:
        yield from self._cleared(watched)
        if ending is not None:
            yield watched.status(ending.state, ending.reason)


def asked_for(wanted: Wanted) -> FeedStats:
    """The figures of a feed that was just asked for."""
    source = wanted.source
    return FeedStats(wanted.name, source.address, source.kind, source.is_live, "connecting", "", 0.0, 0, 0)


def utc_text(moment: datetime) -> str:
    """A time of day as every line writes it: 2026-11-22T13:00:00.123Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
