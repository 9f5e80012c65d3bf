"""The child's side: draws, encodes and sends the newest frame, and connects again whenever that fails."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable

import av
import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.mailbox import Mailbox
from stream_detect.overlay.drawing import drawn, whole
from stream_detect.overlay.encoding import Output
from stream_detect.overlay.messages import MEMORY, Memory, Order, Picture, taken, tell
from stream_detect.privacy import FaceHider
from stream_detect.redact import redact
from stream_detect.sources.worker.slots import Layout, SlotReader
from stream_detect.types import FrameVerdict

BEAT_EVERY_S = 0.5
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 5.0  # from a lost connection to the next attempt
STEADY_S = 10.0  # a connection that lasted so long was a good one

Told = tuple[Frame, FrameVerdict]


class Sending:
    """Three threads: this one draws and sends, one takes what comes, one says that all is well."""

    def __init__(self, end: socket.socket, order: Order) -> None:
        self._end = end
        self._order = order
        self._hider = FaceHider() if order.hides_faces else None
        self._newest: Mailbox[Told] = Mailbox(1, newest_wins=True)
        self._link = Link(order, self._tell)
        for name, work in (("listen", self._listen), ("beat", self._beat)):
            threading.Thread(target=work, name=name, daemon=True).start()

    def work(self) -> None:
        """Send what comes until the other end is closed, then say goodbye to the server."""
        while not self._newest.is_drained:
            told = self._newest.take(None)
            if told is not None:
                self._show(self._shown(*told))
                del told  # or its slot would stay taken while the next is waited for
        self._show(self._hider.rest() if self._hider else ())
        self._link.close()

    def _shown(self, frame: Frame, verdict: FrameVerdict) -> Iterable[tuple[np.ndarray, FrameVerdict]]:
        rgb = whole(frame)
        return self._hider.take(rgb, verdict) if self._hider else [(rgb, verdict)]

    def _show(self, shown: Iterable[tuple[np.ndarray, FrameVerdict]]) -> None:
        for rgb, verdict in shown:
            if self._link.is_due:
                self._link.send(drawn(rgb, verdict), verdict.pts_s)

    def _listen(self) -> None:
        """Take every message, so that nobody waits, and keep the newest frame alone."""
        with contextlib.suppress(OSError, EOFError, ValueError):
            memory: dict[int, SlotReader] = {}
            while (message := taken(self._end)) is not None:
                kind, said, files = message
                if kind == MEMORY:
                    memory = {said.generation: opened(said, files)}
                elif said.generation in memory:
                    self._newest.put((frame_of(said, memory[said.generation]), said.verdict))
        self._newest.close()

    def _beat(self) -> None:
        while True:
            self._tell()
            time.sleep(BEAT_EVERY_S)

    def _tell(self) -> None:
        tell(self._end, **self._link.figures())


class Link:
    """The connection to the target: made when the first picture is there, and again whenever it is lost."""

    def __init__(self, order: Order, changed: Callable[[], None]) -> None:
        self._order = order
        self._changed = changed
        self._output: Output | None = None
        self._state, self._why, self._sent = "connecting", "", 0
        self._delay_s, self._due_s, self._began_s = 0.0, 0.0, 0.0
        self._busy_since_s: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether a picture can be sent now: not while the next attempt is waited for."""
        return self._output is not None or time.monotonic() >= self._due_s

    def figures(self) -> dict[str, object]:
        """How things stand."""
        since_s = self._busy_since_s
        busy_s = 0.0 if since_s is None else time.monotonic() - since_s
        encoder = self._output.encoder if self._output else ""
        return {"state": self._state, "why": self._why, "sent": self._sent, "busy_s": busy_s, "encoder": encoder}

    def send(self, rgb: np.ndarray, pts_s: float) -> None:
        self._busy_since_s = time.monotonic()
        try:
            output = self._output or self._opened(rgb)
            output.write(rgb, pts_s)
            self._sent += 1
            self._become("live")
        except (av.FFmpegError, OSError, ValueError) as error:
            self._lose(error)
        finally:
            self._busy_since_s = None

    def close(self) -> None:
        if self._output is not None:
            self._output.close()
            self._output = None

    def _opened(self, rgb: np.ndarray) -> Output:
        self._output = Output(self._order.target, rgb, self._order.gpu)
        self._began_s = time.monotonic()
        return self._output

    def _lose(self, error: Exception) -> None:
        self.close()
        if time.monotonic() - self._began_s > STEADY_S:
            self._delay_s = 0.0
        self._delay_s = min(LONGEST_DELAY_S, max(FIRST_DELAY_S, 2 * self._delay_s))
        self._due_s = time.monotonic() + self._delay_s
        words = getattr(error, "strerror", None) or str(error)
        self._become("lost", redact(str(words), self._order.target))

    def _become(self, state: str, why: str = "") -> None:
        is_news = (state, why) != (self._state, self._why)
        self._state, self._why = state, why
        if is_news:
            self._changed()


def opened(memory: Memory, files: list[int]) -> SlotReader:
    try:
        return SlotReader(files[0], Layout.checked(memory.shapes, memory.slots))
    finally:
        os.close(files[0])


def frame_of(picture: Picture, memory: SlotReader) -> Frame:
    about = picture.verdict
    return Frame(
        memory.take(picture.slot),
        picture.layout,
        source=about.source,
        pts_s=about.pts_s,
        matrix=picture.matrix,
        is_full_range=picture.is_full_range,
    )
