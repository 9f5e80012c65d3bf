"""Alerts for a program of the user's: started for each line, without a shell."""

import json
import logging
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from typing import IO

from stream_detect.config import SinkSettings
from stream_detect.errors import ConfigError
from stream_detect.redact import redact
from stream_detect.sinks.outbox import Message, Refused

MOST_OUTPUT = 4096  # bytes of what the program says that go to the log
LOOK_S = 0.05  # how often the program is looked at
log = logging.getLogger("stream_detect.sinks")


class Command:
    """Gives each line to a program: JSON on its standard input, and the alert's ID, EVENT, FEED and RULE as variables.

    It is well done if the program ends with 0 within the time-out. Otherwise it is killed, with all that it started in
    its process group.

    Raises:
        ConfigError: at once, if there is no such program.
    """

    def __init__(self, settings: SinkSettings) -> None:
        program, *arguments = settings.command
        found = shutil.which(os.path.expanduser(program))
        if found is None:
            raise ConfigError(f"{program}: there is no such program, or it may not be run; give the path of one")
        self._command = [os.path.abspath(found), *arguments]
        self._timeout_s = settings.timeout_s
        self._aborted = threading.Event()

    def deliver(self, message: Message) -> None:
        """Run the program once; returns when it has ended well.

        Raises:
            Refused: if it did not, or can't be started.
        """
        with tempfile.TemporaryFile() as line:
            line.write(json.dumps(message.line, ensure_ascii=False).encode() + b"\n")
            line.seek(0)
            process = self._start(line, {**os.environ, **variables(message)})
        try:
            self._follow(process)
        finally:
            end_group(process)

    def abort(self) -> None:
        """Kill the program that runs, and start none any more; from any thread."""
        self._aborted.set()

    def close(self) -> None:
        """Nothing runs between two lines; may be called twice."""
        self.abort()

    def _start(self, line: IO[bytes], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        if self._aborted.is_set():
            raise Refused("no program is started at the end of the run")
        try:
            return subprocess.Popen(
                self._command,
                stdin=line,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise Refused(f"{self._command[0]} can't be started ({error})", permanent=True) from error

    def _follow(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait for the end of the program, and read what it says so that it is never kept waiting."""
        until_s = time.monotonic() + self._timeout_s
        output = Output(process)
        while (code := process.poll()) is None and time.monotonic() < until_s and not self._aborted.is_set():
            output.read(min(LOOK_S, self._timeout_s))
        output.read(0.0)
        if output.text:
            log.debug("%s said: %s", self._command[0], output.text)
        if code is None and self._aborted.is_set():
            raise Refused(f"{self._command[0]} was killed at the end of the run")
        if code is None:
            raise Refused(f"{self._command[0]} was killed after {self._timeout_s:g} s", permanent=True)
        if code != 0:
            raise Refused(f"{self._command[0]} ended with {code}", permanent=True)


class Output:
    """What a program says: its beginning is kept, the rest is read and forgotten."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        self._file = process.stdout.fileno()
        self._said = b""
        self._is_open = True
        os.set_blocking(self._file, False)

    @property
    def text(self) -> str:
        return redact(self._said.decode(errors="replace").strip())

    def read(self, timeout_s: float) -> None:
        """Take what is there, or wait so long for something, in seconds."""
        if not self._is_open:
            time.sleep(timeout_s)
            return
        if select.select([self._file], [], [], timeout_s)[0]:
            said = os.read(self._file, 1 << 16)
            self._is_open = bool(said)
            self._said += said[: MOST_OUTPUT - len(self._said)]


def variables(message: Message) -> dict[str, str]:
    """What the program finds in its environment."""
    line = message.line
    about = {"ID": line["id"], "EVENT": line["event"], "FEED": line["source"], "RULE": line["rule"]}
    return {f"STREAM_DETECT_ALERT_{name}": str(value) for name, value in about.items()}


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill the program, unless it has ended, with its process group, and let go of it."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
