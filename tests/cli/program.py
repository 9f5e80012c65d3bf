"""The real program as a subprocess: run it, read its lines, stop it."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = str(Path(sys.executable).with_name("stream-detect"))
Line = dict[str, Any]


def run(*arguments: object, timeout_s: float = 120.0, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the program to its end."""
    return subprocess.run(
        [PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, **environment},
    )


def json_lines(text: str) -> list[Line]:
    """Every line of a text, each of which has to be one JSON object."""
    return [json.loads(line) for line in text.splitlines()]


def no_traceback(errors: str) -> bool:
    return "Traceback" not in errors and 'File "' not in errors


class Running:
    """The program while it runs: its JSON lines come one by one, `stop` sends a signal and waits.

    with Running("watch", url, "--jsonl", "-") as program:
        program.wait_for(lambda line: line["type"] == "frame")
    """

    def __init__(self, *arguments: object) -> None:
        command = [PROGRAM, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[Line] = []
        self.errors = ""
        self._waiting: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=read) for read in (self._read_lines, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, is_wanted: Callable[[Line], bool], timeout_s: float = 60.0) -> Line:
        """The next line that is wanted; lines before it are kept in `lines`."""
        for line in self.following(timeout_s):
            if is_wanted(line):
                return line
        raise AssertionError(f"the line did not come within {timeout_s} s; last lines {self.lines[-3:]}, {self.errors}")

    def following(self, timeout_s: float) -> Iterator[Line]:
        until_s = time.monotonic() + timeout_s
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                line = self._waiting.get(timeout=left_s)
            except queue.Empty:
                return
            if line is None:
                return
            self.lines.append(line)
            yield line

    def stop(self, number: int = signal.SIGINT, timeout_s: float = 30.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.end(timeout_s)

    def end(self, timeout_s: float = 60.0) -> int:
        """Wait for the end; the exit code. All lines are in `lines` then."""
        code = self.process.wait(timeout_s)
        for thread in self._threads:
            thread.join()
        for _ in self.following(1.0):
            pass
        return code

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._waiting.put(json.loads(line))
        self._waiting.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line
