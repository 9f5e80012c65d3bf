"""The process that sends drawn pictures: `python -m stream_detect.overlay END PARENT`, started by `publisher.py`."""

import ctypes
import os
import signal
import socket
import sys

from stream_detect.overlay.messages import taken
from stream_detect.overlay.sending import Sending

PR_SET_PDEATHSIG = 1


def main(file: str, parent: str) -> None:
    """Do what comes through the socket END; ends when its other end is closed, or with the process PARENT."""
    ignore_signals()
    die_with(int(parent))
    end = socket.socket(fileno=int(file))
    first = taken(end)
    if first is not None:
        Sending(end, first[1]).work()
    os._exit(0)  # whatever the other threads do


def ignore_signals() -> None:
    """A Ctrl-C, and the end of a service, are the main process's matter: it closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def die_with(parent: int) -> None:
    """End when the parent ends, in whatever way and whatever FFmpeg hangs in."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
