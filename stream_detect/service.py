"""Tells a service manager such as systemd that a run is ready, still goes round, and stops: sd_notify(3)."""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

log = logging.getLogger(__name__)

SEND_TIMEOUT_S = 1.0  # how long a manager that is busy is waited for
SIGN = "WATCHDOG=1"  # of life
SIGNS = 3  # so many signs of life are sent in the time within which one is asked for


@dataclass(frozen=True, slots=True)
class Manager:
    """Who started this program and wants to hear of it."""

    address: str  # of its socket: a path, or @name for one without a file
    watchdog_s: float | None = None  # it wants a sign of life within so many seconds

    def tell(self, words: str) -> None:
        """Send one message. If it can't be sent the run itself goes on, and the log says so, but not of every sign."""
        place = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_TIMEOUT_S)
                sender.sendto(words.encode(), place)
        except OSError as error:
            level = logging.DEBUG if words == SIGN else logging.WARNING
            log.log(level, "the service manager could not be told %s: %s", words, error)


def manager_of_environment() -> Manager | None:
    """The manager that the environment names, if there is one.

    Its variables are taken out of the environment, so that the processes that decode don't speak for this one.
    """
    address, asked_us, process = (
        os.environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
    )
    if not address.startswith(("/", "@")):
        return None
    is_for_us = process in ("", str(os.getpid()))
    return Manager(address, int(asked_us) / 1e6 if is_for_us and asked_us.isdecimal() and int(asked_us) else None)


@contextlib.contextmanager
def informing(manager: Manager | None, last_turn_s: Callable[[], float]) -> Iterator[None]:
    """Tell the manager that the run is ready now, that it stops at the end, and meanwhile that its loop goes round.

    Args:
        manager: nobody is told anything without one.
        last_turn_s: how long ago the loop went round, in seconds; the rule is the one of /healthz.
    """
    if manager is None:
        yield
        return
    stopping = threading.Event()
    signs = threading.Thread(target=give_signs, args=(manager, last_turn_s, stopping), name="watchdog", daemon=True)
    manager.tell("READY=1")
    signs.start()
    try:
        yield
    finally:
        stopping.set()
        manager.tell("STOPPING=1")
        signs.join()


def give_signs(manager: Manager, last_turn_s: Callable[[], float], stopping: threading.Event) -> None:
    """A sign of life as often as asked for, while the loop goes round: a run that hangs is started anew without one."""
    if manager.watchdog_s is None:
        return
    from stream_detect.web.app import HANGS_S

    while not stopping.wait(manager.watchdog_s / SIGNS):
        if last_turn_s() <= HANGS_S:
            manager.tell(SIGN)
