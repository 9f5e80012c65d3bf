"""Where workers come from: one small process that is started with the first of them and ends with the last.

Not `multiprocessing`: that runs the main program's file again in each process, and programs that merely call `watch`
are not written for that.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from stream_detect.errors import DecoderDied

FORK, FATE, READY = b"f", b"w", b"ready"
START_TIMEOUT_S = 30.0  # for its imports, on a machine that is busy with others
ANSWER_TIMEOUT_S = 5.0
FATE_TIMEOUT_S = 0.2  # others wait meanwhile, and it is told in words only
END_TIMEOUT_S = 2.0
DEBUG = "STREAM_DETECT_DEBUG"
PACKAGES = Path(__file__).parents[3]  # where stream_detect lies


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that decodes: its number, a handle that is never another process's, and our end of its socket."""

    pid: int
    handle: int | None
    end: socket.socket

    def kill(self) -> None:
        """End it at once; nothing if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.handle is None:
                os.kill(self.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def close(self) -> None:
        """Kill it and let go of it; once."""
        self.kill()
        self.end.close()
        if self.handle is not None:
            os.close(self.handle)


class Nursery:
    """Forks workers. Started when it is first needed; `close` may be called twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._asked = 0  # requests are numbered: an answer that comes too late is not taken for the next one

    def start(self) -> None:
        """Begin to start it, if it does not run, without waiting for it."""
        with self._lock:
            self._be_there()

    def fork(self) -> Worker:
        """A new worker.

        Raises:
            DecoderDied: if none can be had.
        """
        with self._lock:
            try:
                self._be_there()
                pid, end = self._forked()
            except DecoderDied:  # which is an OSError, too: the nursery and its other workers are well
                raise
            except (OSError, ValueError, IndexError) as error:
                self._end()
                raise DecoderDied(f"no process to decode in could be started ({error})") from error
        try:
            handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        except OSError as error:
            end.close()
            raise DecoderDied("the process to decode in ended at once") from error
        return Worker(pid, handle, end)

    def fate(self, pid: int) -> int | None:
        """The exit code of a worker that has ended, negative for a signal; None where that isn't known."""
        with self._lock:
            if self._control is None:
                return None
            try:
                code = json.loads(self._ask(FATE + b" " + str(pid).encode(), FATE_TIMEOUT_S)[0])
            except (OSError, ValueError):
                return None
            return code if isinstance(code, int) else None

    def close(self) -> None:
        with self._lock:
            self._end()

    def _be_there(self) -> None:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # one thread, or no fork
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
        said = None if os.environ.get(DEBUG) else subprocess.DEVNULL
        command = [sys.executable, "-P", "-m", "stream_detect.sources.worker", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=[theirs.fileno()],
                env=environment,
                start_new_session=True,
            )
        self._control, self._is_ready = ours, False

    def _forked(self) -> tuple[int, socket.socket]:
        """The process number of a new worker and our end of its socket."""
        if not self._is_ready:
            if self._answer(START_TIMEOUT_S)[0] != READY:
                raise ValueError("it did not start")
            self._is_ready = True
        answer, files = self._ask(FORK)
        if answer.startswith(b"- "):
            raise DecoderDied(f"no process to decode in could be started ({answer[2:].decode(errors='replace')})")
        return int(answer), socket.socket(fileno=files[0])

    def _ask(self, request: bytes, timeout_s: float = ANSWER_TIMEOUT_S) -> tuple[bytes, list[int]]:
        """The answer to a request, and what came with it."""
        assert self._control is not None
        self._asked += 1
        self._control.sendall(b"%d %s" % (self._asked, request))
        while True:
            words, files = self._answer(timeout_s)
            number, _, answer = words.partition(b" ")
            if int(number) == self._asked:
                return answer, files
            for file in files:
                os.close(file)

    def _answer(self, timeout_s: float) -> tuple[bytes, list[int]]:
        assert self._control is not None
        if not select.select([self._control], [], [], timeout_s)[0]:
            raise TimeoutError(f"it did not answer for {timeout_s:g} s")
        words, files, _, _ = socket.recv_fds(self._control, 1024, 1)
        if not words:
            raise ConnectionResetError("it has ended")
        for file in files:
            os.set_inheritable(file, False)
        return words, files

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class Share:
    """A share in the one nursery of this process, which ends with the last share; `close` may be called twice."""

    _lock = threading.Lock()
    _shares = 0
    _nursery: Nursery | None = None

    def __init__(self) -> None:
        with Share._lock:
            Share._nursery = Share._nursery or Nursery()
            Share._shares += 1
            self.nursery = Share._nursery
            self._is_open = True
        self.nursery.start()

    def close(self) -> None:
        with Share._lock:
            if not self._is_open:
                return
            self._is_open = False
            Share._shares -= 1
            ending = Share._nursery if not Share._shares else None
            Share._nursery = Share._nursery if Share._shares else None
        if ending is not None:
            ending.close()

    def __enter__(self) -> "Share":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
