"""A real RTSP server (GStreamer's) that takes what is published and can be stopped, killed and brought back."""

import signal
import subprocess
import threading
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from tests.requirements import require_gstreamer
from tests.servers.ports import free_port

PROGRAM = Path(__file__).with_name("gst_record_server.py")
START_TIMEOUT_S = 30.0


class RecordingServer:
    """Keeps what is published to `url` in a file; skips the test where GStreamer is missing."""

    def __init__(self, folder: Path) -> None:
        self.python = require_gstreamer()
        self.port = free_port()
        self.file = folder / "published.h264"
        self.url = f"rtsp://127.0.0.1:{self.port}/live"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> "RecordingServer":
        """Start, or bring back after `kill`, with an empty file; returns when it listens."""
        self.file.unlink(missing_ok=True)
        command = [self.python, str(PROGRAM), str(self.port), str(self.file)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        guard = threading.Timer(START_TIMEOUT_S, self._process.kill)
        guard.start()
        line = self._process.stdout.readline()
        guard.cancel()
        guard.join()
        assert line == "ready\n", f"the RTSP server did not start: {line!r}"
        return self

    def pause(self) -> None:
        """Stop the process (SIGSTOP): it accepts connections and takes nothing, until it is killed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def num_bytes(self) -> int:
        """How much was published up to now."""
        return self.file.stat().st_size if self.file.exists() else 0

    def pictures(self) -> list[np.ndarray]:
        """What was published up to now: RGB pictures, the last one perhaps missing."""
        if not self.num_bytes():
            return []
        with av.open(str(self.file), format="h264") as video:
            return [picture.to_ndarray(format="rgb24") for picture in video.decode(video=0)]

    def __enter__(self) -> "RecordingServer":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
