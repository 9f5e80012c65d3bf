"""The nursery: a small process that has imported all that a worker needs, and forks one whenever it is asked to.

It is started by `nursery.py` with the number of its end of a socket, has one thread, opens nothing itself and ends when
that socket closes. A request is a number, which its answer begins with, and FORK, which is answered by the worker's
process number and its end of a socket, or FATE and a process number, which is answered by what became of that worker.
"""

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys

from stream_detect.sources.worker import child
from stream_detect.sources.worker.nursery import FATE, FORK, READY

PR_SET_PDEATHSIG = 1
REAP_EVERY_S = 1.0
KEPT_FATES = 256


def main(file: str) -> None:
    ignore_signals()
    control = socket.socket(fileno=int(file))
    gc.collect()
    gc.freeze()  # pages of what is there now stay shared with every worker
    fates: dict[int, int] = {}
    control.sendall(READY)
    while True:
        asked = select.select([control], [], [], REAP_EVERY_S)[0]
        reap(fates)
        if not asked:
            continue
        request = control.recv(64)
        if not request:
            return
        number, order, *pids = request.split()
        if order == FORK:
            fork(control, number, fates)
        elif order == FATE:
            control.sendall(number + b" " + json.dumps(fates.get(int(pids[0]))).encode())


def fork(control: socket.socket, number: bytes, fates: dict[int, int]) -> None:
    """Make a worker and send its process number and the other end of its socket, or say why there is none."""
    try:
        theirs, ours = socket.socketpair()
    except OSError as error:
        refuse(control, number, error)
        return
    try:
        pid = os.fork()
    except OSError as error:  # too many processes, or too little memory: the workers that are there stay
        theirs.close()
        ours.close()
        refuse(control, number, error)
        return
    if pid:
        ours.close()
        fates.pop(pid, None)  # process numbers come again
        with theirs:
            socket.send_fds(control, [number + b" " + str(pid).encode()], [theirs.fileno()])
        return
    code = 1
    with contextlib.suppress(BaseException):
        die_with_parent()
        theirs.close()
        control.close()
        child.main(ours)
        code = 0
    os._exit(code)


def refuse(control: socket.socket, number: bytes, error: OSError) -> None:
    control.sendall(number + b" - " + str(error.strerror).encode())


def reap(fates: dict[int, int]) -> None:
    """Note what became of workers that have ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            fates[ended[0]] = os.waitstatus_to_exitcode(ended[1])
    while len(fates) > KEPT_FATES:
        del fates[next(iter(fates))]


def ignore_signals() -> None:
    """A Ctrl-C, and the end of a service, are the main process's matter: it closes the sockets."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def die_with_parent() -> None:
    """End when the nursery ends, in whatever way; it has one thread, and Linux follows the thread that forked."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
