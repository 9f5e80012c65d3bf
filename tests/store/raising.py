"""A process that raises alerts and says each id once `take` has returned; a test kills it, again and again.

    python -m tests.store.raising STORE

Each line on stdin begins one child, which has everything imported already: "begun PID" and then ids, one a line, come
on stdout, and "over" when the child is gone.
"""

import os
import sys

from stream_detect.store import open_store
from tests.store.lines import alert, frame, status


def raise_alerts(path: str, run: str) -> None:
    with open_store(path) as store:
        store.take(status())
        for number in range(100_000):
            id = f"{run}-{number}"
            store.take(frame(f"2026-11-22T13:00:{number % 60:02d}.000Z", 0.5))
            store.take(alert(id, run=run))
            os.write(1, f"{id}\n".encode())
            store.take(alert(id, "cleared", run=run, ended_s=9.0))


def main(path: str) -> None:
    for number, _ in enumerate(sys.stdin):
        pid = os.fork()
        if pid == 0:
            raise_alerts(path, f"run{number}-{os.getpid()}")
            os._exit(0)
        os.write(1, f"begun {pid}\n".encode())
        os.waitpid(pid, 0)
        os.write(1, b"over\n")


if __name__ == "__main__":
    main(sys.argv[1])
