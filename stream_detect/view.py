"""A window that shows frames with what is said of them, where there is a display."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

import numpy as np

from stream_detect.decode.frame import Frame
from stream_detect.errors import OutputError
from stream_detect.overlay import drawn, whole
from stream_detect.privacy import FaceHider
from stream_detect.types import FrameVerdict
from stream_detect.window import HEADER

PROGRAM = Path(__file__).with_name("window.py")
LEAVE_S = 5.0


class Window:
    """One window for each source, in a process of its own. Closing a window, or pressing q in it, sets `stop`.

    With `hides_faces` nobody is recognised in it, and pictures are shown some frames later.

    Raises:
        OutputError: at once, if there is no display.
    """

    def __init__(self, stop: threading.Event, *, hides_faces: bool = False) -> None:
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise OutputError("--view: no display to show a window on; set DISPLAY, or use --overlay OUT.mp4 instead")
        self._stop = stop
        self._hider = FaceHider() if hides_faces else None
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)],  # -P: our types.py must not stand in for Python's
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Qt's remarks on fonts
            start_new_session=True,  # Ctrl-C is for us: we close it
        )

    def show(self, frame: Frame, verdict: FrameVerdict) -> None:
        """Show one frame; where faces are hidden, that of a moment ago."""
        if self._process is None or self._stop.is_set():
            return
        rgb = whole(frame)
        for shown, said in self._hider.take(rgb, verdict) if self._hider else [(rgb, verdict)]:
            self._show(drawn(shown, said), said.source)

    def _show(self, rgb: np.ndarray, source: str) -> None:
        if self._process is None or self._process.stdin is None or self._stop.is_set():
            return
        title = f"stream-detect: {source}".encode()
        try:
            self._process.stdin.write(HEADER.pack(len(title), *rgb.shape[:2]) + title + rgb[:, :, ::-1].tobytes())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._stop.set()

    def close(self) -> None:
        """Close the windows; may be called twice.

        Raises:
            OutputError: if no window could be shown.
        """
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if (
            process.returncode > 0 or process.returncode == -signal.SIGABRT
        ):  # Qt aborts where it can't reach the display
            raise OutputError("--view: no window could be shown on this display; use --overlay OUT.mp4 instead")

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
