"""An RTSP or RTMP publisher in a child process, for a source in listen mode."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.servers.ports import free_port

PROGRAM = Path(__file__).with_name("publish.py")


class Publisher:
    """Publishes numbered grey frames of 160 x 120 to `url` for `seconds`, as soon as a source listens there."""

    def __init__(self, scheme: str, seconds: float = 20.0) -> None:
        self.url = f"{scheme}://127.0.0.1:{free_port()}/live/test"
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Publisher":
        command = [sys.executable, str(PROGRAM), self.url, str(self._seconds)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
