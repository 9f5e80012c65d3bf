"""The story from an address to an alert: `watch` opens sources, finds faces, judges them and decides over time.

    Reader (a thread a source) -> Mailbox -> one loop here: newest frame of every feed -> faces -> Detector -> Decision

Everything that is said comes out of one iterator, in order: frames, alerts, and what became of the sources.
"""

import math
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Protocol, runtime_checkable

from stream_detect.config import DecisionSettings, Feed, WatchSettings
from stream_detect.decode.frame import Frame, faults_of_a_device
from stream_detect.errors import DeviceLost, UsageError
from stream_detect.faces.tracker import Tracker, TrackerSettings
from stream_detect.mailbox import Mailbox, wait_for_any
from stream_detect.pace import Pace
from stream_detect.sources import Source, SourceOptions, open_source
from stream_detect.sources.reader import Reader
from stream_detect.temporal import Decision
from stream_detect.types import Alert, Face, FaceVerdict, FrameVerdict, Reason, Since, State, Status

Line = FrameVerdict | Alert | Status
Watchable = str | Feed | Source
OnFrame = Callable[[Frame, FrameVerdict], None]

LOOK_AROUND_S = 0.2  # how long the loop waits at most before it looks at the clock
PATIENCE_S = 2.0  # how long readers are waited for at the end, all of them together
STATUSES = 256  # status lines that may wait to be told
FINAL: tuple[State, ...] = ("ended", "failed")
ALWAYS_TOLD = ("stale", "corrupt")  # causes that every status names, at 0 too
STILL_LOOK_S = 0.5  # how often a picture on a GPU is compared with the one before: each time the GPU is waited for
LIGHT_QUEUE = 3  # so many times as many frames may wait of a feed of which some are judged only
SPARSE_ROWS = 16  # every so manieth row is compared first to see whether a picture stands still


@runtime_checkable
class Judge(Protocol):
    """What `watch` needs of a detector.

    One that takes frames which lie on a GPU says so by an attribute `decode_device`, "cuda:N": files and network
    sources are then decoded there, as far as that GPU can.
    """

    @property
    def decision(self) -> DecisionSettings: ...

    def find_faces(self, frames: Sequence[Frame], max_side: int = 640) -> list[list[Face]]: ...

    def judge(self, seen: Sequence[tuple[Frame, Sequence[Face]]]) -> list[tuple[FaceVerdict, ...]]: ...


def watch(
    sources: Watchable | Sequence[Watchable],
    detector: Judge,
    *,
    settings: WatchSettings | None = None,
    decision: DecisionSettings | None = None,
    on_frame: OnFrame | None = None,
    stop: threading.Event | None = None,
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
    device = getattr(detector, "decode_device", "cpu")
    opened = unique([decoded_on(opened_source(source, settings), device) for source in listed])
    if not opened:
        raise UsageError("nothing to watch: give at least one source, such as rtsp://host/path, a file or webcam")
    return _watching(opened, detector, settings, decision or detector.decision, on_frame, stop or threading.Event())


def _watching(
    sources: Sequence[Source],
    detector: Judge,
    settings: WatchSettings,
    decision: DecisionSettings,
    on_frame: OnFrame | None,
    stop: threading.Event,
) -> Iterator[Line]:
    with Watching(sources, detector, settings, decision, on_frame) as watching:
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


def opened_source(source: Watchable, settings: WatchSettings) -> Source:
    """The source under an address with the run's options, which a feed's own ones override."""
    if isinstance(source, Source):
        return source
    feed = Feed(source) if isinstance(source, str) else source
    transport: Literal["tcp", "udp"] = "udp" if (feed.transport or settings.transport) == "udp" else "tcp"
    options = SourceOptions(
        transport=transport,
        retries=settings.retries if feed.retries is None else feed.retries,
        every_frame=settings.every_frame if feed.every_frame is None else feed.every_frame,
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


@dataclass(slots=True)
class Watched:
    """One source: its reader, its tracks, its decision and its counts."""

    source: Source
    frames: Mailbox[Frame]
    reader: Reader
    pace: Pace
    tracker: Tracker
    decision: Decision
    stillness: "Stillness"
    sought: Future[list[list[Face]]] | None = None  # the faces of the frame before, if they are still searched for
    analysed: int = 0
    unjudged: Counter[str] = field(default_factory=Counter)  # frames that were taken and not judged, by cause
    state: State = "connecting"
    told_s: float = field(default_factory=time.monotonic)  # when its status was last told
    ending: Status | None = None  # its last status, told when its last frame was judged

    def status(self, state: State, reason: str, run: str) -> Status:
        counts = self.reader.counts
        dropped = Counter(counts.dropped)
        dropped.update(self.unjudged)
        if state in FINAL:
            seen = self.analysed + self.unjudged.total() + counts.dropped.get("stale", 0)
            dropped.update({"unseen": max(0, counts.frames - seen)})
        told = {cause: number for cause, number in dropped.items() if number or cause in ALWAYS_TOLD}
        self.state, self.told_s = state, time.monotonic()
        return Status(
            self.source.name, state, reason, counts.frames, self.analysed, told, run, reconnects=counts.reconnects
        )


class Watching:
    """The sources of one run and the one loop that judges their frames. Close it, or use it in a `with`."""

    def __init__(
        self,
        sources: Sequence[Source],
        detector: Judge,
        settings: WatchSettings,
        decision: DecisionSettings,
        on_frame: OnFrame | None = None,
    ) -> None:
        self.run = uuid.uuid4().hex[:12]
        self._detector = detector
        self._settings = settings
        self._on_frame = on_frame
        self._analysed = 0
        self._bell = threading.Event()
        self._statuses: Mailbox[Status] = Mailbox(STATUSES, newest_wins=True, bell=self._bell)
        self._watched = {
            source.name: self._watch(source, decision, phase=place / len(sources))
            for place, source in enumerate(sources)
        }
        self._readers: list[Reader] = []  # those that were started
        is_free = getattr(detector, "device", "") == "cpu"  # where searching and judging share nothing
        self._searches = ThreadPoolExecutor(1, "search") if is_free else None

    def _watch(self, source: Source, decision: DecisionSettings, phase: float) -> Watched:
        newest_wins = not source.every_frame
        workload = self._settings.workload
        capacity = 1 if newest_wins else queue_of(self._settings)
        frames: Mailbox[Frame] = Mailbox(capacity, newest_wins=newest_wins, bell=self._bell)
        return Watched(
            source=source,
            frames=frames,
            reader=Reader(source, frames, self._hear),
            pace=Pace(workload.analyse_hz, workload.follow_hz, phase),
            tracker=Tracker(TrackerSettings(every=workload.detect_every)),
            decision=Decision(source.name, decision_at(decision, workload.analyse_hz), run=self.run),
            stillness=Stillness(self._settings.frozen_after_s if source.is_live else math.inf),
        )

    def _hear(self, status: Status) -> None:
        self._statuses.put(status)

    def __enter__(self) -> "Watching":
        for watched in self._watched.values():
            self._readers.append(watched.reader.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every source; may be called twice.

        A reader that hangs in a connection attempt is not waited for: it ends by itself when that times out.
        """
        for reader in self._readers:
            reader.stop()
        until_s = time.monotonic() + PATIENCE_S
        for reader in self._readers:
            reader.join(max(0.0, until_s - time.monotonic()))
        self._readers.clear()
        if self._searches is not None:
            self._searches.shutdown()

    def lines(self, stop: threading.Event) -> Iterator[Line]:
        """Everything there is to say until all sources have ended, `stop` is set, or the run's limit is reached."""
        until_s = time.monotonic() + (self._settings.duration_s or math.inf)
        while self._watched:
            if reason := self._reason_to_stop(stop, until_s):
                yield from self._stopped(reason)
                return
            taken = self._take_frames()
            yield from self._news()
            yield from self._judged(taken)
            yield from self._ended()
            if not taken and self._watched:
                wait_for_any(self._bell, max(0.0, min(LOOK_AROUND_S, until_s - time.monotonic())))

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

    def _take_frames(self) -> list[tuple[Watched, Frame]]:
        """The next frame of each feed that has one."""
        taken: list[tuple[Watched, Frame]] = []
        for watched in self._watched.values():
            if len(taken) >= self._frames_left():
                break
            try:
                frame = watched.frames.take()
            except Exception:  # what its reader died of; the status that is on its way says it in words
                continue
            if frame is not None:
                taken.append((watched, frame))
        return taken

    def _news(self) -> Iterator[Status]:
        """What the readers said, and a sign of life of each live source now and then."""
        while (said := self._statuses.take()) is not None:
            watched = self._watched.get(said.source)
            if watched is None:
                continue
            if said.state in FINAL:
                watched.ending = said
            else:
                yield watched.status(said.state, said.reason, self.run)
        for watched in self._watched.values():
            if watched.state == "live" and time.monotonic() - watched.told_s >= self._settings.status_every_s:
                yield watched.status("live", "", self.run)

    def _judged(self, taken: Sequence[tuple[Watched, Frame]]) -> Iterator[Line]:
        """One batch for all feeds: find or follow the faces, judge them, decide."""
        sound = []
        for watched, frame in taken:
            reason, due = looked_over(watched, frame)
            yield from self._stillness_news(watched, reason)
            if due:
                sound.append((watched, frame))
            elif reason is not None:
                watched.unjudged[reason] += 1
                yield from self._told(frame, self._verdict(frame, (), (reason,)), [])
        for watched, frame, said in self._verdicts(sound):
            watched.analysed += 1
            self._analysed += 1
            decided, alerts = watched.decision.judged(self._verdict(frame, said, ()))
            yield from self._told(frame, decided, alerts)

    def _stillness_news(self, watched: Watched, reason: Reason | None) -> Iterator[Status]:
        """A picture that stands still is told once, and so is its moving again."""
        if reason == "frozen" and watched.state == "live":
            words = f"the picture has not changed for {self._settings.frozen_after_s:g} s"
            yield watched.status("stalled", words, self.run)
        elif reason is None and watched.state == "stalled":
            yield watched.status("live", "the picture moves again", self.run)

    def _verdicts(self, sound: Sequence[tuple[Watched, Frame]]) -> list[tuple[Watched, Frame, tuple[FaceVerdict, ...]]]:
        """What the detector says of each frame; those that were lost with a GPU are counted and left out."""
        try:
            seen = [(frame, found) for (_, frame), found in zip(sound, self._faces(sound), strict=True)]
            verdicts = self._detector.judge(seen) if seen else []
        except DeviceLost:
            left = [(watched, frame) for watched, frame in sound if not frame.is_on_device]
            if len(left) == len(sound):
                raise
            for watched, frame in sound:
                watched.unjudged["device"] += frame.is_on_device
            return self._verdicts(left)
        return [(watched, frame, said) for (watched, frame), said in zip(sound, verdicts, strict=True)]

    def _faces(self, sound: Sequence[tuple[Watched, Frame]]) -> list[list[Face]]:
        """The faces of each frame: searched in all frames that are due, in one batch, and followed in the others.

        An ordinary search runs beside the judging where the detector can do both; what it finds is taken up in the
        next frame.
        """
        due = [(watched, frame) for watched, frame in sound if watched.sought is None and watched.tracker.due(frame)]
        beside: list[tuple[Watched, Frame]] = []
        at_once: list[tuple[Watched, Frame]] = []
        for watched, frame in due:
            can_wait = self._searches is not None and watched.tracker.is_routine(frame)
            (beside if can_wait else at_once).append((watched, frame))
        found = self._search([frame for _, frame in at_once])
        found_in = {watched.source.name: faces for (watched, _), faces in zip(at_once, found, strict=True)}
        faces = [
            watched.tracker.detected(found_in[watched.source.name], frame)
            if watched.source.name in found_in
            else followed(watched, frame)
            for watched, frame in sound
        ]
        if self._searches is not None:
            for watched, frame in beside:
                watched.sought = self._searches.submit(self._search, [frame])
        return faces

    def _search(self, frames: Sequence[Frame]) -> list[list[Face]]:
        return self._detector.find_faces(frames, self._settings.detect_side) if frames else []

    def _verdict(self, frame: Frame, faces: tuple[FaceVerdict, ...], reasons: tuple[Reason, ...]) -> FrameVerdict:
        since: Since = "arrival" if frame.captured_s is None else "capture"
        start_s = frame.arrived_s if frame.captured_s is None else frame.captured_s
        latency_ms = (time.monotonic() - start_s) * 1000
        seen_at = utc_text(frame.seen_at)
        return FrameVerdict(
            frame.source, frame.index, frame.pts_s, seen_at, latency_ms, faces, self.run, reasons, since
        )

    def _told(self, frame: Frame, verdict: FrameVerdict, alerts: Sequence[Alert]) -> Iterator[FrameVerdict | Alert]:
        if self._on_frame is not None:
            with suppress(DeviceLost):  # the picture is lost, what was said of it is not
                self._on_frame(frame, verdict)
        yield verdict
        yield from alerts

    def _ended(self) -> Iterator[Alert | Status]:
        """The last lines of sources that are over and whose frames are all judged."""
        over = [watched for watched in self._watched.values() if watched.ending and not len(watched.frames)]
        for watched in over:
            del self._watched[watched.source.name]
            watched.reader.close()  # it is done: nothing to wait for
            yield from self._last_lines(watched, watched.ending)

    def _stopped(self, reason: str) -> Iterator[Alert | Status]:
        """The last lines of all sources, which are left as they are."""
        for watched in self._watched.values():
            watched.reader.stop()
        for watched in self._watched.values():
            yield from self._last_lines(watched, watched.ending or Status(watched.source.name, "ended", reason))

    def _last_lines(self, watched: Watched, ending: Status | None) -> Iterator[Alert | Status]:
        yield from watched.decision.end()
        if ending is not None:
            yield watched.status(ending.state, ending.reason, self.run)


class Stillness:
    """Tells when a live picture stands still: a camera or server that repeats its last frame for ever.

    `after_s` is how long it may do so, in seconds; infinity for a source that may stand still, such as a file.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._luma: Any = None  # an array of NumPy or of a GPU
        self._since_s = self._looked_s = 0.0

    def is_frozen(self, frame: Frame) -> bool:
        """Whether the picture has not changed in a single pixel for `after_s` seconds of arrival time.

        Pictures on a GPU are compared every `STILL_LOOK_S` seconds.
        """
        if math.isinf(self._after_s):
            return False
        if frame.is_on_device and 0 <= frame.arrived_s - self._looked_s < STILL_LOOK_S:
            return frame.arrived_s - self._since_s > self._after_s
        self._looked_s = frame.arrived_s
        luma, before = frame.planes[0], self._luma
        self._luma = luma
        if before is None or not same(before, luma):
            self._since_s = frame.arrived_s
        return frame.arrived_s - self._since_s > self._after_s


def same(before: Any, after: Any) -> bool:
    """Whether two pictures are equal and in the same place; a few rows tell apart most that aren't."""
    if before.shape != after.shape or type(before) is not type(after):
        return False
    with faults_of_a_device(before):
        return bool((before[::SPARSE_ROWS] == after[::SPARSE_ROWS]).all()) and bool((before == after).all())


def looked_over(watched: Watched, frame: Frame) -> tuple[Reason | None, bool]:
    """Why nothing can be said of a frame, and whether it is to be judged; one lost with a GPU is counted as that."""
    try:
        reason = reason_not_to_judge(watched, frame)
        return reason, reason is None and is_due(watched, frame)
    except DeviceLost:
        watched.unjudged["device"] += 1
        return None, False


def is_due(watched: Watched, frame: Frame) -> bool:
    """Whether a frame is to be judged; if not, it counts as dropped by the profile, and faces may be followed in it."""
    due = watched.pace.due(frame.pts_s)
    if due == "judge":
        return True
    watched.unjudged["profile"] += 1
    if due == "follow":
        with suppress(DeviceLost):  # it is counted already
            followed(watched, frame)
    return False


def followed(watched: Watched, frame: Frame) -> list[Face]:
    """The faces of a frame that none are searched in; those that were found in the one before are taken up."""
    sought, watched.sought = watched.sought, None
    if sought is None:
        return watched.tracker.between(frame)
    (faces,) = sought.result()
    return watched.tracker.detected_before(faces, frame)


def queue_of(settings: WatchSettings) -> int:
    """How many frames may wait where every frame counts: more where most are let go as soon as they are taken."""
    return settings.queue_frames * (1 if settings.workload.analyse_hz is None else LIGHT_QUEUE)


def decision_at(decision: DecisionSettings, analyse_hz: float | None) -> DecisionSettings:
    """The decision for looks so many times a second: one look must speak for all the time until the next."""
    least_s = 1.5 / analyse_hz if analyse_hz else 0.0
    return decision if decision.longest_gap_s >= least_s else replace(decision, longest_gap_s=least_s)


def reason_not_to_judge(watched: Watched, frame: Frame) -> Literal["corrupt", "frozen"] | None:
    """Why nothing can be said of a frame as a whole; None if something can."""
    is_frozen = watched.stillness.is_frozen(frame)
    if frame.is_corrupt:
        return "corrupt"
    return "frozen" if is_frozen else None


def utc_text(moment: datetime) -> str:
    """A time of day as every line writes it: 2026-11-22T13:00:00.123Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
