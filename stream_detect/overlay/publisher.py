"""Sends drawn frames to a server (RTSP, RTMP) from a process of its own, for which the loop never waits.

A process, because PyAV's network outputs hold the GIL while they connect and heed no time-out; one that hangs is ended
and replaced. The loop pays for one copy of each frame into memory that both share.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from stream_detect.decode.frame import Frame
from stream_detect.overlay.messages import MEMORY, ORDER, PICTURE, Memory, Order, Picture, give, heard
from stream_detect.redact import redact
from stream_detect.sources.worker.slots import Layout, SlotWriter
from stream_detect.types import FrameVerdict

SLOTS = 4  # frames that may be on their way
START_S = 30.0  # for the imports of a process, on a machine that is busy with others
SILENT_S = 8.0  # one that says nothing for so long hangs; connecting, it can't
STUCK_S = 5.0  # nor does one that is at one picture for so long
IDLE_S = 60.0  # without a frame for so long no process is kept
LEAVE_S = 1.0  # to say goodbye to the server
LISTEN_S = 0.2
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 15.0  # from one process that hung to the next
DEBUG = "STREAM_DETECT_DEBUG"
PACKAGES = Path(__file__).parents[2]  # where stream_detect lies

log = logging.getLogger(__name__)


class OverlayPublisher:
    """Sends frames with what is said of them to `target`, always the newest; close it, or use it in a `with`.

    A server that is away or refuses is tried again for ever. `counts` tells frames that were "given" to the process and
    those that were let go ("late"), and processes that were "replaced"; `state` is one of `messages.STATES`.

    Args:
        target: rtsp(s)://... or rtmp(s)://..., with its login. It is told to nobody but the process that sends.
        hides_faces: whether faces are made unrecognisable; what is sent is some frames late then.
        gpu: number of the GPU whose encoder is tried first; None: the processor encodes.
    """

    def __init__(self, target: str, *, hides_faces: bool = False, gpu: int | None = None) -> None:
        self._order = Order(target, hides_faces, gpu)
        self.address = redact(target, target)
        self.counts: Counter[str] = Counter()
        self.state, self.sent, self.encoder = "starting", 0, ""
        self._why, self._sent_before = "", 0
        self._lock = threading.Lock()  # around `_channel`, for moments
        self._channel: Channel | None = None
        self._written_s = 0.0
        self._is_wanted = threading.Event()  # a frame came, or the end
        self._is_leaving = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="overlay", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the process that sends, while there is one."""
        with self._lock:
            return self._channel.pid if self._channel else None

    def write(self, frame: Frame, verdict: FrameVerdict) -> None:
        """Hand over one frame, or let it go where the one before it is still being sent; never waits.

        Raises:
            DeviceLost: if the frame lies on a GPU that no longer gives it.
        """
        self._written_s = time.monotonic()
        self._is_wanted.set()
        with self._lock:
            is_given = self._channel is not None and self._channel.put(frame.on_host(), verdict)
        self.counts["given" if is_given else "late"] += 1

    def close(self) -> None:
        """Say goodbye to the server and end the process, within a second or so; may be called twice."""
        self.leave()
        self._thread.join()

    def leave(self) -> None:
        """Begin to close, without waiting for the end of it."""
        self._is_leaving.set()
        self._is_wanted.set()
        with self._lock:
            if self._channel is not None:
                self._channel.finish()

    def __enter__(self) -> "OverlayPublisher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _keep(self) -> None:
        """Keep a process while there are frames. It ends with this thread, since Linux tells it of its end."""
        delay_s = 0.0
        while not self._is_leaving.wait(delay_s):
            if not self._is_wanted.wait(LISTEN_S):
                continue
            sent = self.sent
            is_well = self._attend()
            self.counts["replaced"] += not is_well
            delay_s = 0.0 if is_well or self.sent > sent else min(LONGEST_DELAY_S, max(FIRST_DELAY_S, 2 * delay_s))

    def _attend(self) -> bool:
        """Start a process and listen to it for as long as it is wanted; whether it was well to its end."""
        try:
            channel = Channel(self._order)
        except OSError as error:
            self._note("lost", f"no process to send from could be started ({error.strerror})")
            return False
        with self._lock:
            self._channel = channel
        try:
            return self._listen(channel)
        finally:
            with self._lock:
                self._channel = None
            channel.close()

    def _listen(self, channel: "Channel") -> bool:
        heard_s, patience_s, self._sent_before = time.monotonic(), START_S, 0
        while not self._is_leaving.is_set():
            try:
                said = heard(channel.end, LISTEN_S)
            except EOFError:
                return self._is_leaving.is_set() or self._replace("the process that sends it ended")
            now_s = time.monotonic()
            if said is not None:
                heard_s, patience_s = now_s, SILENT_S
                self._heed(said)
            if now_s - heard_s > patience_s:
                return self._replace(f"no answer for {patience_s:g} s")
            if said is not None and said["busy_s"] > STUCK_S:
                return self._replace(f"the server took nothing for {STUCK_S:g} s")
            if now_s - self._written_s > IDLE_S:
                self._is_wanted.clear()
                return True
        channel.wait_for_goodbye()
        return True

    def _replace(self, why: str) -> bool:
        self._note("lost", why)
        return False

    def _heed(self, said: dict[str, Any]) -> None:
        sent = int(said["sent"])
        self.sent += sent - self._sent_before
        self._sent_before = sent
        self.encoder = str(said["encoder"])
        self._note(str(said["state"]), str(said["why"]))

    def _note(self, state: str, why: str = "") -> None:
        """Log how things stand, when that has changed."""
        if (state, why) == (self.state, self._why) or (state, self.state) == ("connecting", "lost"):
            return
        self.state, self._why = state, why
        if state == "live":
            log.info("the overlay is sent to %s", self.address)
        elif state == "lost":
            words = redact(why, self._order.target)
            log.warning("the overlay can't be sent to %s: %s; it is tried again", self.address, words)


class Channel:
    """One process that sends, and the memory that it shares with this one.

    Raises:
        OSError: if no process can be started.
    """

    def __init__(self, order: Order) -> None:
        self.end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._slots: SlotWriter | None = None
        self._generation = 0
        try:
            with theirs:
                self._process = started(theirs)
        except OSError:
            self.end.close()
            raise
        give(self.end, ORDER, order)

    @property
    def pid(self) -> int:
        return self._process.pid

    def put(self, frame: Frame, verdict: FrameVerdict) -> bool:
        """Copy a frame into a free slot and say so; False if there is none."""
        shapes = tuple(tuple(plane.shape) for plane in frame.planes)
        if self._slots is None or self._slots.layout.shapes != shapes:
            self._slots = self._shared(Layout(shapes, SLOTS))
        slot = self._slots.put(frame.planes) if self._slots else None
        if slot is None:
            return False
        picture = Picture(self._generation, slot, frame.layout, frame.matrix, frame.is_full_range, verdict)
        if not give(self.end, PICTURE, picture):
            self._slots = None  # the slot would never be free again
            return False
        return True

    def finish(self) -> None:
        """No more frames: the process says goodbye to the server and ends."""
        try:
            self.end.shutdown(socket.SHUT_WR)
        except OSError:  # it has ended
            return

    def wait_for_goodbye(self) -> None:
        self.finish()
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            return

    def close(self) -> None:
        """End the process; may be called twice."""
        self.end.close()
        self._process.kill()
        self._process.wait()
        self._slots = None

    def _shared(self, layout: Layout) -> SlotWriter | None:
        slots = SlotWriter(layout)
        self._generation += 1
        is_given = give(self.end, MEMORY, Memory(self._generation, layout.shapes, layout.slots), (slots.file,))
        slots.close()  # the mapping stays
        return slots if is_given else None


def started(end: socket.socket) -> "subprocess.Popen[bytes]":
    """The process, which knows of its socket and its parent alone."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "stream_detect.overlay", str(end.fileno()), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if os.environ.get(DEBUG) else subprocess.DEVNULL,
        pass_fds=[end.fileno()],
        env=environment,
        start_new_session=True,  # Ctrl-C is for us: we close it
    )
