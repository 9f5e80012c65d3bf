"""Keeps evidence of every alert: what the loop hands over is remembered, one thread writes it, and it is sealed.

    saw -> FeedMemory; noted -> Case -> [thread] pictures, scores, page -> clip -> page again -> seal -> news

The loop waits for none of it. What can't be written, such as on a full disk, is told once an outage and left out: an
alert never waits for its evidence, and is never lost with it.
"""

import logging
import queue
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_detect.config import EvidenceSettings
from stream_detect.decode.frame import Frame
from stream_detect.errors import OutputError
from stream_detect.evidence import clip as clips
from stream_detect.evidence.clip import Clip
from stream_detect.evidence.ledger import Ledger
from stream_detect.evidence.manifest import seal, seal_left_open
from stream_detect.evidence.memory import APART_S, FeedMemory, Kept
from stream_detect.evidence.pictures import Pictures, Telling, warm_up, write_pictures
from stream_detect.evidence.report import Moment, write_report, write_scores
from stream_detect.evidence.retention import retire
from stream_detect.privacy import blurred
from stream_detect.redact import redact
from stream_detect.sources.ring import PacketRing, RingPacket
from stream_detect.types import Alert, FrameVerdict

if TYPE_CHECKING:
    from stream_detect.evidence.signing import SigningKey

LOOK_S = 0.1  # how often the thread looks whether a clip is complete
LATE_S = 1.0  # how long the last packets of a clip are waited for beyond their time
TIDY_EVERY_S = 600.0  # how often old evidence is removed
HIDDEN_S = 0.5  # faces are hidden where they were seen within so long
MOST_WAITING = 256  # alerts whose evidence waits to be written
MARGIN_S = 2.0  # more of a feed is remembered than a clip needs
DRAIN_S = 2.0  # how long the thread is waited for when the recorder is closed

log = logging.getLogger("stream_detect.evidence")


@dataclass(slots=True)
class Case:
    """The evidence of one alert, while it is collected."""

    alert: Alert  # its last line
    folder: str  # within the root, with / between its parts
    memory: FeedMemory
    packets: PacketRing | None
    raised_s: float  # pts of the frame that raised it
    due_s: float  # monotonic clock: when the clip has to be made of what there is
    telling: list[Telling] = field(default_factory=list)
    pictures: Pictures | None = None
    is_last_call: bool = False  # no more frames come


class EvidenceRecorder:
    """A `pipeline.Witness` that writes into a folder. Use it in a `with`, or close it.

    Args:
        root: of all evidence; nothing else may be written there.
        settings: what is kept, and for how long.
        detector: whose maps are drawn.
        ledger: where the chain is entered.
        about: what the manifest says of the run: configuration, addresses, whatever else is known.
        key: that manifests are signed with.

    Raises:
        OutputError: at once, if the folder can't be written.
    """

    def __init__(
        self,
        root: Path,
        settings: EvidenceSettings,
        *,
        detector: Any,
        ledger: Ledger,
        about: Mapping[str, Any] | None = None,
        key: "SigningKey | None" = None,
    ) -> None:
        self.counts: Counter[str] = Counter()  # sealed, without_clip, failed, crowded_out
        self._root, self._settings, self._detector, self._ledger, self._key = root, settings, detector, ledger, key
        self._about = dict(about or {})
        self._memories: dict[str, FeedMemory] = {}
        self._cases: dict[str, Case] = {}  # of alerts that are active, by identifier: in the loop's hands
        self._folders: dict[str, str] = {}
        self._todo: queue.Queue[Case | None] = queue.Queue(MOST_WAITING)
        self._open: list[Case] = []  # in the thread's hands
        self._told: deque[Alert] = deque()
        self._is_down = False
        self._last_call = threading.Event()
        self._idle = threading.Event()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="evidence", daemon=True)
        _make_root(root)

    def __enter__(self) -> "EvidenceRecorder":
        seal_left_open(self._root, self._ledger, self._key)
        warm_up(self._detector)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the thread; what it has not written by then stays open and is sealed at the next start."""
        self._last_call.set()
        self._is_closed.set()
        if self._thread.is_alive():
            self._thread.join(DRAIN_S)

    def saw(self, frame: Frame, verdict: FrameVerdict, packets: PacketRing | None) -> None:
        """Remember a judged frame."""
        memory = self._memories.get(verdict.source)
        if memory is None:
            keep_s = self._settings.before_s + self._settings.after_s + MARGIN_S
            memory = self._memories[verdict.source] = FeedMemory(keep_s, self._settings.pictures)
        memory.saw(frame, verdict, has_packets=packets is not None and len(packets) > 0)

    def noted(self, alert: Alert, packets: PacketRing | None) -> Alert:
        """The alert with where its evidence lies; without one, where none can be kept."""
        if alert.event == "raised":
            self._begin(alert, packets)
        case = self._cases.get(alert.id)
        if case is not None:
            case.alert = replace(alert, evidence=case.folder)
        told = replace(alert, evidence=self._folders.get(alert.id))
        if alert.event == "cleared":
            self._cases.pop(alert.id, None)
            self._folders.pop(alert.id, None)
        return told

    def news(self) -> Sequence[Alert]:
        """`updated` lines of alerts whose clip is complete."""
        lines = []
        while self._told:
            lines.append(self._told.popleft())
        return lines

    def finish(self, patience_s: float) -> Sequence[Alert]:
        """Complete what is open with what there is."""
        self._last_call.set()
        until_s = time.monotonic() + patience_s
        while time.monotonic() < until_s and not self._is_done():
            self._idle.wait(LOOK_S)
        return self.news()

    def _is_done(self) -> bool:
        return self._todo.empty() and self._idle.is_set()

    def _begin(self, alert: Alert, packets: PacketRing | None) -> None:
        memory = self._memories.get(alert.source)
        if memory is None:
            return
        folder = f"{slug(alert.source)}/{re.sub(r'[^0-9TZ]', '', alert.seen_at[:19])}Z-{alert.id}"
        try:
            (self._root / folder).mkdir(parents=True)
        except OSError as error:
            self._failed(folder, error.strerror or str(error))
            return
        due_s = time.monotonic() + self._settings.after_s + LATE_S
        case = Case(replace(alert, evidence=folder), folder, memory, packets, memory.now_s, due_s)
        case.telling = [telling_of(one) for one in most_telling(memory, alert, self._settings.pictures)]
        memory.held.append(case.raised_s - self._settings.before_s)
        self._cases[alert.id], self._folders[alert.id] = case, folder
        self._idle.clear()
        try:
            self._todo.put_nowait(case)
        except queue.Full:
            self.counts["crowded_out"] += 1
            self._failed(folder, f"more than {MOST_WAITING} alerts wait to be written")

    # From here on in the thread.

    def _work(self) -> None:
        tidy_at_s = time.monotonic()
        while not (self._is_closed.is_set() and not self._open and self._todo.empty()):
            if time.monotonic() >= tidy_at_s:
                self._guarded("old evidence", self._tidy)
                tidy_at_s = time.monotonic() + TIDY_EVERY_S
            self._take_up()
            for case in [case for case in self._open if self._is_complete(case)]:
                self._complete(case)
                self._open.remove(case)
                case.memory.held.remove(case.raised_s - self._settings.before_s)
            if not self._open and self._todo.empty():
                self._idle.set()
        self._idle.set()

    def _take_up(self) -> None:
        try:
            case = self._todo.get(timeout=LOOK_S)
        except queue.Empty:
            return
        if case is not None:
            self._open.append(case)
            self._guarded(case.folder, lambda: self._write_first(case))

    def _is_complete(self, case: Case) -> bool:
        """Whether all packets of the clip are there, or none come any more."""
        if self._last_call.is_set() or time.monotonic() >= case.due_s:
            return True
        until_s = case.raised_s + self._settings.after_s
        newest = case.packets.since(float("inf"))[-1:] if case.packets is not None else []
        return case.memory.now_s > until_s and all(packet.pts_s > until_s for packet in newest)

    def _write_first(self, case: Case) -> None:
        """What is known at once: pictures, scores and the page."""
        folder = self._root / case.folder
        hides = self._settings.privacy == "blur"
        case.pictures = write_pictures(folder, case.telling, self._detector, hides_faces=hides)
        self._write_page(case, Clip("none", None, why="it is not complete yet"))

    def _complete(self, case: Case) -> None:
        """The clip, the page with it, the seal, and the news of it."""
        made = self._guarded(case.folder, lambda: self._clip(case)) or Clip("none", None, why="it can't be written")
        if made.name is None:
            self.counts["without_clip"] += 1
        is_sealed = self._guarded(case.folder, lambda: self._seal(case, made))
        if made.name is not None and is_sealed:
            self._told.append(replace(case.alert, event="updated", clip=f"{case.folder}/{made.name}"))

    def _clip(self, case: Case) -> Clip:
        start_s, end_s = case.raised_s - self._settings.before_s, case.raised_s + self._settings.after_s
        folder = self._root / case.folder
        packets: list[RingPacket] = []
        if case.packets is not None and len(case.packets):
            packets = clips.between(case.packets.since(start_s), start_s, end_s)
        if packets and self._settings.privacy == "blur":
            return clips.write_hidden(packets, folder, lambda rgb, pts_s: hidden(rgb, case.memory, pts_s))
        if packets:
            return clips.write_remuxed(packets, folder)
        pictures = case.memory.pictures_between(start_s, end_s)
        if self._settings.privacy == "blur":
            scaled = ((pts_s, hidden_small(rgb, case.memory, pts_s)) for pts_s, rgb in pictures)
            return clips.write_encoded(scaled, folder, "blurred", "faces are hidden; the source has no packets")
        return clips.write_encoded(pictures, folder, "encoded", "the source has no packets, pictures of it were kept")

    def _seal(self, case: Case, made: Clip) -> bool:
        self._write_page(case, made)
        seal(self._root, case.folder, self._about_of(case, made), self._ledger, self._key)
        self.counts["sealed"] += 1
        if self._is_down:
            self._is_down = False
            log.warning("evidence can be kept again")
        return True

    def _write_page(self, case: Case, made: Clip) -> None:
        folder, moments = self._root / case.folder, self._moments(case)
        write_scores(folder, moments)
        pictures = case.pictures or Pictures()
        about = self._about_of(case, made)
        write_report(folder, case.alert.to_json(), about, moments, pictures, made.name, made.kind)

    def _about_of(self, case: Case, made: Clip) -> dict[str, Any]:
        digest = getattr(getattr(self._detector, "weights", None), "digest", "")
        return {
            **self._about,
            "feed": case.alert.source,
            "alert": case.alert.to_json(),
            "raised_s": round(case.raised_s, 4),
            "weights": digest,
            "software": f"stream-detect {version('stream-detect')}",
            "clip": made.to_json(),
            "privacy": self._settings.privacy,
        }

    def _moments(self, case: Case) -> list[Moment]:
        """What was said of the alert's face, frame by frame; of the most suspicious one where it is of the picture."""
        start_s, end_s = case.raised_s - self._settings.before_s, case.raised_s + self._settings.after_s
        moments, alert = [], case.alert
        for verdict in tuple(case.memory.verdicts):
            faces = [one for one in verdict.faces if one.alert == alert.id or alert.track in (None, one.track)]
            if start_s <= verdict.pts_s <= end_s and faces:
                face = max(faces, key=lambda one: -np.inf if one.llr is None else one.llr)
                said = (face.fake_probability, face.track_probability, face.experts, face.quality, face.verdict)
                moments.append(Moment(verdict.pts_s, *said))
        return moments

    def _tidy(self) -> bool:
        """Seal what a store that was down has not taken, and remove what is too old or too much."""
        seal_left_open(self._root, self._ledger, self._key, is_open=[case.folder for case in self._open])
        retire(self._root, self._ledger, self._settings.keep_days, self._settings.keep_gib)
        return True

    def _guarded(self, what: str, work: Any) -> Any:
        """What the work gives; None, told once an outage, if the place can't be written."""
        try:
            return work()
        except (OutputError, OSError) as error:
            self._failed(what, str(error))
        except Exception as error:  # a slip of ours must not end the evidence of later alerts
            self._failed(what, f"{type(error).__name__}: {error}")
            log.debug("evidence of %s", what, exc_info=error)
        return None

    def _failed(self, what: str, why: str) -> None:
        self.counts["failed"] += 1
        if not self._is_down:
            log.warning("evidence can't be kept, alerts go on without: %s: %s", what, redact(why))
        self._is_down = True


def _make_root(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"{root}: evidence can't be kept there ({why}); choose another folder") from error


def slug(name: str) -> str:
    """The name of a feed as a folder's: short, plain, without what an address hides."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", redact(name)).strip("-.")
    return plain[:60] or "feed"


def most_telling(memory: FeedMemory, alert: Alert, count: int) -> list[Kept]:
    """The frames since the change that speak most for an alert, in order of time; an earlier one if there is none."""
    kept = [one for number, some in memory.telling.items() if alert.track in (None, number) for one in some]
    since = [one for one in kept if one.pts_s >= alert.started_s - APART_S / 2]
    chosen = sorted(since or kept, key=lambda one: -one.suspicion)[: count if since else 1]
    return sorted(chosen, key=lambda one: one.pts_s)


def telling_of(one: Kept) -> Telling:
    return Telling(one.pts_s, one.rgb, one.face.box, one.face.fake_probability)


def hidden(rgb: np.ndarray, memory: FeedMemory, pts_s: float) -> np.ndarray:
    """A picture without its faces; all of it is hidden where nobody looked for them."""
    boxes = memory.boxes_at(pts_s, HIDDEN_S)
    return np.asarray(blurred(rgb, boxes if memory.is_looked_at(pts_s, HIDDEN_S) else [all_of(rgb)]))


def hidden_small(rgb: np.ndarray, memory: FeedMemory, pts_s: float) -> np.ndarray:
    """The same for a reduced picture, whose boxes are those of the whole one."""
    scale = memory.scale_of(rgb.shape[1])
    near = memory.boxes_at(pts_s, HIDDEN_S)
    boxes = [(x1 * scale, y1 * scale, x2 * scale, y2 * scale) for x1, y1, x2, y2 in near]
    return np.asarray(blurred(rgb, boxes if memory.is_looked_at(pts_s, HIDDEN_S) else [all_of(rgb)]))


def all_of(rgb: np.ndarray) -> tuple[float, float, float, float]:
    return 0.0, 0.0, float(rgb.shape[1]), float(rgb.shape[0])
