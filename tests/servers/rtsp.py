"""A real RTSP server (GStreamer's) that a test can kill and bring back."""

import signal
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import numpy as np
from PIL import Image

from tests.requirements import require_gstreamer
from tests.servers.ports import free_port

PROGRAM = Path(__file__).with_name("gst_rtsp_server.py")
START_TIMEOUT_S = 30.0


class RtspServer:
    """Serves a moving ball, or a loop of PNG pictures, at `url`; skips the test where GStreamer is missing.

        with RtspServer(codec="h265", login="user:password") as server:
            open_source(server.url)

    `pictures` is a pattern of PNG files, as `write_pictures` gives it; `packets` one of coded H.264 pictures.
    """

    def __init__(self, *, login: str = "", port: int | None = None, **options: str | int) -> None:
        self.python = require_gstreamer()
        self.port = port or free_port()
        self.login = login
        self.options = options
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """The address, with the login if there is one, escaped."""
        user, colon, password = self.login.partition(":")
        login = f"{quote(user, safe='')}{colon}{quote(password, safe='')}@" if self.login else ""
        return f"rtsp://{login}127.0.0.1:{self.port}/live"

    def url_with(self, login: str) -> str:
        """The address with another login, as it is written."""
        return f"rtsp://{login}@127.0.0.1:{self.port}/live"

    def start(self) -> "RtspServer":
        """Start, or bring back after `kill`, on the same port; returns when it serves."""
        options = {"port": self.port, "login": self.login, **self.options}
        arguments = [f"--{key}={value}" for key, value in options.items()]
        command = [self.python, str(PROGRAM), *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert (line := self._answer()) == "ready\n", f"the RTSP server did not start: {line!r}"
        return self

    def tell(self, command: str) -> None:
        """One of the commands of gst_rtsp_server.py, such as "codec h265"; returns when it is done."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert (line := self._answer()) == "ok\n", f"{command}: the RTSP server says {line!r}"

    def pause(self) -> None:
        """Stop the process (SIGSTOP): it accepts connections and answers nothing, until `go_on`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answer(self) -> str:
        """The next line that the server prints; the server is killed if it takes too long."""
        assert self._process is not None
        assert self._process.stdout is not None
        guard = threading.Timer(START_TIMEOUT_S, self._process.kill)
        guard.start()
        line = self._process.stdout.readline()
        guard.cancel()
        guard.join()
        return line

    @property
    def pid(self) -> int | None:
        """Of the server's process, while there is one."""
        return self._process.pid if self._process else None

    def kill(self) -> None:
        """End it without a goodbye; its connections break off."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> "RtspServer":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def write_pictures(folder: Path, frames: Iterable[np.ndarray]) -> str:
    """Write RGB frames as PNG files and return the pattern that `RtspServer(pictures=...)` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:05d}.png", compress_level=1)
    return str(folder / "%05d.png")
