"""What a person sees: a live table on a terminal, plain lines elsewhere, and a summary at the end."""

import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from stream_detect.alerts.sink import Line, Sink
from stream_detect.alerts.troubles import Troubles
from stream_detect.errors import ReaderGone
from stream_detect.types import Alert, FaceVerdict, FrameVerdict, Score, Status

RATE_WINDOW_S = 3.0  # over which analysed frames a second are counted
SHOWN_FACES = 6  # of one source in the table
SHOWN_ALERTS = 8
REFRESH_HZ = 8.0
STYLES = {"fake": "bold red", "real": "green", "inconclusive": "yellow", "raised": "bold red", "cleared": "green"}


@dataclass(slots=True)
class SourceView:
    """What is shown of one source."""

    status: Status
    last: FrameVerdict | None = None
    highest: float | None = None  # running probability of any track so far
    raised: int = 0
    analysed_at: deque[float] = field(default_factory=lambda: deque(maxlen=512))

    def take(self, frame: FrameVerdict, now_s: float) -> None:
        self.last = frame
        if not frame.reasons:
            self.analysed_at.append(now_s)
        running = [face.track_probability for face in frame.faces if face.track_probability is not None]
        self.highest = max([*running, *([] if self.highest is None else [self.highest])], default=None)

    def rate_hz(self, now_s: float) -> float:
        """Analysed frames a second, lately."""
        recent = [at for at in self.analysed_at if now_s - at <= RATE_WINDOW_S]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 and recent[-1] > recent[0] else 0.0


class Views:
    """The sources of a run as they stand, and its last alerts."""

    def __init__(self) -> None:
        self.sources: dict[str, SourceView] = {}
        self.alerts: deque[Alert] = deque(maxlen=SHOWN_ALERTS)

    def take(self, line: Line) -> None:
        view = self.sources.setdefault(line.source, SourceView(Status(line.source, "connecting")))
        if isinstance(line, Status):
            view.status = line
        elif isinstance(line, FrameVerdict):
            view.take(line, time.monotonic())
        elif line.event != "updated":
            view.raised += line.event == "raised"
            self.alerts.append(line)


@runtime_checkable
class Writable(Protocol):
    """A text stream."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class PlainConsole:
    """One line for each change of a source and each alert; frames are not told one by one."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._views = Views()
        self._troubles = Troubles()
        self._is_closed = False

    def take(self, line: Line) -> None:
        self._views.take(line)
        if isinstance(line, Status) and (news := self._troubles.news(line)):
            self._say(f"{news.source}  {news.text}")
        elif isinstance(line, Alert) and line.event != "updated":
            self._say(alert_words(line))

    def close(self) -> None:
        """Say the summary, once."""
        if not self._is_closed:
            self._is_closed = True
            for words in summary(self._views):
                self._say(words)

    def _say(self, words: str) -> None:
        try:
            print(words, file=self._stream, flush=True)
        except BrokenPipeError as error:
            raise ReaderGone("the console") from error


class LiveConsole:
    """A table that is redrawn in place: a row a source, the last alerts below."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._views = Views()
        self._live = Live(console=console, refresh_per_second=REFRESH_HZ, auto_refresh=False, transient=True)
        self._drawn_s = 0.0
        self._is_closed = False
        self._live.start()

    def take(self, line: Line) -> None:
        self._views.take(line)
        now_s = time.monotonic()
        if now_s - self._drawn_s >= 1 / REFRESH_HZ:
            self._drawn_s = now_s
            self._live.update(draw(self._views, now_s), refresh=True)

    def close(self) -> None:
        """Leave the last table and the summary standing, once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._live.stop()
        self._console.print(draw(self._views, time.monotonic()))
        for words in summary(self._views):
            self._console.print(words, markup=False, highlight=False, soft_wrap=True)


def open_console(is_stdout_taken: bool) -> Sink:
    """The console that fits: stdout, or stderr if stdout is for JSON lines; a live table only where one is alone."""
    console = Console(stderr=is_stdout_taken)
    shares_terminal = is_stdout_taken and sys.stdout.isatty()
    if console.is_terminal and not shares_terminal:
        return LiveConsole(console)
    return PlainConsole(sys.stderr if is_stdout_taken else sys.stdout)


def draw(views: Views, now_s: float) -> Group:
    """The table of sources and the list of alerts."""
    table = Table(expand=True)
    for column in ("source", "state", "fps", "latency", "faces"):
        table.add_column(column, justify="right" if column in ("fps", "latency") else "left")
    for name, view in views.sources.items():
        latency = view.last.latency_ms if view.last else None
        table.add_row(
            escape(name),
            state_text(view.status),
            f"{view.rate_hz(now_s):.1f}",
            "" if latency is None else f"{latency:.0f} ms",
            faces_text(view.last),
        )
    alerts = [Text(alert_words(alert), STYLES.get(alert.event, "")) for alert in views.alerts]
    return Group(table, *alerts)


def state_text(status: Status) -> Text:
    words = status.state if status.state == "live" or not status.reason else f"{status.state}: {status.reason}"
    return Text(words, "green" if status.state == "live" else "yellow")


def faces_text(frame: FrameVerdict | None) -> Text:
    """Every face of a frame in words: verdict, running probability, reasons."""
    if frame is None:
        return Text("")
    if frame.reasons:
        return Text(", ".join(frame.reasons), "yellow")
    shown = [Text(face_words(face), STYLES[face.verdict]) for face in frame.faces[:SHOWN_FACES]]
    more = len(frame.faces) - len(shown)
    return Text("\n").join([*shown, *([Text(f"and {more} more")] if more else [])]) if shown else Text("no face", "dim")


def face_words(face: FaceVerdict) -> str:
    """Such as `#3 fake 0.93 (running 0.88)`."""
    probability = "" if face.fake_probability is None else f" {face.fake_probability:.2f}"
    running = "" if face.track_probability is None else f" (running {face.track_probability:.2f})"
    why = f" {', '.join(face.reasons)}" if face.reasons else ""
    number = "" if face.track is None else f"#{face.track} "
    return f"{number}{face.verdict}{probability}{running}{why}"


def alert_words(alert: Alert) -> str:
    """Such as `ALERT raised  cam1 track 7: 0.93 forged, since 3.2 s, noticed after 0.6 s`."""
    sure = "" if alert.fake_probability is None else f" probability of a forgery {alert.fake_probability:.2f},"
    if alert.event == "cleared":
        return f"ALERT cleared  {alert.source} track {alert.track}: it lasted until {alert.ended_s:.1f} s"
    after = "" if alert.time_to_alert_s is None else f", noticed after {alert.time_to_alert_s:.1f} s"
    return f"ALERT {alert.event}  {alert.source} track {alert.track}:{sure} since {alert.started_s:.1f} s{after}"


def summary(views: Views) -> list[str]:
    """One line a source: how many frames, where the others went, how many alerts."""
    return [summary_words(view) for view in views.sources.values()]


def summary_words(view: SourceView) -> str:
    status = view.status
    lost = ", ".join(f"{number} {cause}" for cause, number in status.dropped.items() if number)
    highest = "" if view.highest is None else f", highest running probability {view.highest:.2f}"
    alerts = f"{view.raised} alert" + ("" if view.raised == 1 else "s")
    dropped = f" ({lost})" if lost else ""
    return f"{status.source}  {status.frames} frames, {status.analysed} analysed{dropped}, {alerts}{highest}"


def in_words(score: Score) -> Text:
    """A score for a person: `clip.mp4  fake 0.93  video, 1 face, 118 of 120 frames judged`."""
    probability = "" if score.fake_probability is None else f" {score.fake_probability:.2f}"
    why = f" ({', '.join(score.reasons)})" if score.reasons else ""
    faces = f"{score.faces} face" + ("" if score.faces == 1 else "s")
    judged = f", {score.judged} of {score.frames} frames judged" if score.kind == "video" else ""
    words = Text(f"{score.path}  ")
    words.append(f"{score.verdict}{probability}{why}", STYLES[score.verdict])
    return words.append(f"  {score.kind}, {faces}{judged}")
