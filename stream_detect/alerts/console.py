"""What a person sees: a live table on a terminal, plain lines elsewhere, and a summary at the end."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from stream_detect.alerts.sink import Line, Sink
from stream_detect.alerts.table import STYLES, draw
from stream_detect.alerts.troubles import Troubles
from stream_detect.alerts.views import Views
from stream_detect.alerts.words import alert_words, counted, summary_words
from stream_detect.errors import ReaderGone
from stream_detect.logs import one_line
from stream_detect.stats import FeedStats
from stream_detect.types import Alert, Score, Status

REFRESH_HZ = 2.0  # drawing fifty feeds takes about 10 ms
Feeds = Callable[[], Sequence[FeedStats]]


@runtime_checkable
class Writable(Protocol):
    """A text stream."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


class PlainConsole:
    """One line for each trouble of a source, for its end, and for each alert; frames are not told one by one."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._views = Views()
        self._troubles = Troubles()
        self._is_closed = False

    def follow(self, feeds: Feeds) -> None:
        """Plain lines need no figures beside the lines."""

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
            print(one_line(words), file=self._stream, flush=True)
        except BrokenPipeError as error:
            raise ReaderGone("the console") from error


class LiveConsole:
    """A table that is redrawn in place, by a thread of its own: figures change also while no line comes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._views = Views()
        self._feeds: Feeds | None = None
        self._lock = threading.Lock()  # around the views: lines come from the loop's thread
        self._is_closed = False
        self._live = Live(
            console=console,
            refresh_per_second=REFRESH_HZ,
            transient=True,
            vertical_overflow="crop",
            get_renderable=self._drawn,
        )
        self._live.start()

    def follow(self, feeds: Feeds) -> None:
        """Where the figures of the feeds come from."""
        self._feeds = feeds

    def take(self, line: Line) -> None:
        with self._lock:
            self._views.take(line)

    def close(self) -> None:
        """Leave the last table and the summary standing, once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._live.stop()
        self._console.print(self._drawn(is_whole=True))
        for words in summary(self._views):
            self._console.print(one_line(words), markup=False, highlight=False, soft_wrap=True)

    def _drawn(self, is_whole: bool = False) -> Group:
        feeds = self._feeds() if self._feeds else ()
        width, height = self._console.size
        with self._lock:
            return draw(self._views, feeds, time.monotonic(), width, None if is_whole else height)


class Silent:
    """Says nothing: the log tells everything."""

    def follow(self, feeds: Feeds) -> None:
        pass

    def take(self, line: Line) -> None:
        pass

    def close(self) -> None:
        pass


class ConsoleSink(Sink, Protocol):
    """A sink for a person, which can be told where the figures of the feeds come from."""

    def follow(self, feeds: Feeds) -> None: ...


def open_console(is_stdout_taken: bool, is_logged: bool = False, feeds: Feeds | None = None) -> ConsoleSink:
    """The console that fits: stdout, or stderr if stdout is for JSON lines; a live table only where one is alone.

    Where the log tells everything (`is_logged`) there are no plain lines.
    """
    console = Console(stderr=is_stdout_taken)
    shares_terminal = is_stdout_taken and sys.stdout.isatty()
    made: ConsoleSink
    if console.is_terminal and not shares_terminal:
        made = LiveConsole(console)
    else:
        made = Silent() if is_logged else PlainConsole(sys.stderr if is_stdout_taken else sys.stdout)
    if feeds is not None:
        made.follow(feeds)
    return made


def summary(views: Views) -> list[str]:
    """One line a source: how many frames, where the others went, how many alerts."""
    return [summary_words(view) for view in views.sources.values()]


def in_words(score: Score) -> Text:
    """A score for a person: `clip.mp4  fake 0.93  video, 1 face, 118 of 120 frames judged`."""
    probability = "" if score.fake_probability is None else f" {score.fake_probability:.2f}"
    why = f" ({', '.join(score.reasons)})" if score.reasons else ""
    judged = f", {score.judged} of {score.frames} frames judged" if score.kind == "video" else ""
    words = Text(f"{score.path}  ")
    words.append(f"{score.verdict}{probability}{why}", STYLES[score.verdict])
    return words.append(f"  {score.kind}, {counted(score.faces, 'face')}{judged}")
