"""What stands between the loop and a slow or dead receiver of alerts: a queue, its spool, and threads of its own."""

import logging
import random
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

from stream_detect.alerts.sink import Line
from stream_detect.config import SinkSettings
from stream_detect.errors import ConfigError
from stream_detect.redact import redact
from stream_detect.secrets import filled
from stream_detect.sinks.spool import Limits, Message, Spool
from stream_detect.types import Alert, Status

__all__ = ["Carrier", "Figures", "Limits", "Message", "Outbox", "Pauses", "Refused", "name_of"]

ABORTED_S = 0.2  # how long a delivery may take to end once it is aborted, in seconds
TRIES = 3  # of a message that its receiver refuses for good, before it is set aside
LONGEST_NAME = 100  # of a spool's files, in characters
log = logging.getLogger("stream_detect.sinks")


class Refused(Exception):
    """A message that was not delivered, and why: in words that may be told once they are redacted.

    `permanent` says that trying again will hardly help; `retry_after_s` that the receiver asked for such a pause.
    """

    def __init__(self, reason: str, *, permanent: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.retry_after_s = retry_after_s


@runtime_checkable
@runtime_checkable
class Carrier(Protocol):
    """Brings messages to one receiver; called by one thread only, which may wait in it."""

    def deliver(self, message: Message) -> None:
        """Returns when the receiver has it; raises `Refused` if it has not."""

    def abort(self) -> None:
        """End what `deliver` waits for, as far as that can be done; called from another thread at the end of a run."""

    def close(self) -> None: ...


@runtime_checkable
class Hearing(Protocol):
    """A carrier that also tells how feeds fare: it hears every line of an alert or a state, in order."""

    def status(self, line: Line) -> None: ...


@dataclass(frozen=True, slots=True)
class Pauses:
    """Between two tries: doubled each time, up to the longest; a half to the whole of it by chance. In seconds."""

    first_s: float = 1.0
    longest_s: float = 60.0
    longest_asked_s: float = 300.0  # that a receiver may ask for

    def after(self, failures: int, asked_s: float | None) -> float:
        """How long to wait after so many failures in a row, in seconds."""
        pause_s = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)
        return max(pause_s, min(asked_s or 0.0, self.longest_asked_s))


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of the messages since the start; `failed` counts tries."""

    delivered: int = 0
    failed: int = 0
    refused: int = 0  # set aside
    dropped: int = 0  # for want of room, or at the end of a run without a spool
    pending: int = 0  # now


class Outbox:
    """A sink whose `take` never waits: one thread keeps what is to be sent, another one sends it, oldest first.

    With a folder for spools what is not delivered is sent by the next run. A message may come twice, with the same
    key, if the power goes just after it was delivered.

    Raises:
        OutputError: at once, if the spool can't be used.
    """

    def __init__(
        self,
        settings: SinkSettings,
        carrier: Carrier,
        spool: Path | None = None,
        *,
        limits: Limits | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self.name = name_of(settings)
        self._settings = settings
        self._carrier = carrier
        self._pauses = pauses or Pauses()
        self._spool = Spool(spool / f"{file_name(self.name)}.jsonl" if spool else None, limits)
        self._num_taken = self._spool.pending + self._spool.dropped  # those of earlier runs included
        self._taken: SimpleQueue[tuple[Alert | Status, str] | None] = SimpleQueue()
        self._news, self._closing, self._all_kept = Event(), Event(), Event()
        self._until_s = float("inf")
        self._trouble = Trouble(self.name, settings.url)
        self._closed = Lock()
        self._counts = {"delivered": 0, "failed": 0, "refused": 0, "dropped": 0}
        self._keeper = Thread(target=self._keep, name=f"spool {self.name}", daemon=True)
        self._sender = Thread(target=self._send, name=f"sink {self.name}", daemon=True)
        self._keeper.start()
        self._sender.start()

    def take(self, line: Line) -> None:
        """Enqueue a line, if it is one of an alert or a state; a state goes to carriers that tell it alone."""
        if not isinstance(line, Alert | Status) or self._closing.is_set():
            return
        is_sent = self._is_sent(line)
        if is_sent or isinstance(self._carrier, Hearing):
            self._num_taken += is_sent
            self._taken.put((line, now_text()))

    def figures(self) -> Figures:
        counts = self._counts
        dropped = counts["dropped"] + self._spool.dropped
        pending = max(0, self._num_taken - counts["delivered"] - counts["refused"] - dropped)
        return Figures(counts["delivered"], counts["failed"], counts["refused"], dropped, pending)

    def close(self, patience_s: float = 1.0) -> None:
        """Give what waits so many seconds; the rest stays in the spool. May be called twice."""
        if not self._closed.acquire(blocking=False):
            return
        self._until_s = time.monotonic() + patience_s
        self._closing.set()
        self._taken.put(None)
        self._keeper.join(patience_s)
        self._sender.join(max(0.0, self._until_s - time.monotonic()))
        if self._sender.is_alive():
            self._carrier.abort()
            self._sender.join(ABORTED_S)
        self._tell_the_rest()

    def _keep(self) -> None:
        """The keeper's life: from the queue into the spool."""
        while (taken := self._taken.get()) is not None:
            line, taken_at = taken
            if isinstance(line, Alert) and self._is_sent(line):
                self._keep_one(line, taken_at)
            if isinstance(self._carrier, Hearing):
                self._hear(self._carrier, line)
        self._all_kept.set()
        self._news.set()

    def _is_sent(self, line: Line) -> bool:
        return isinstance(line, Alert) and line.event in self._settings.events

    def _keep_one(self, alert: Alert, taken_at: str) -> None:
        try:
            self._spool.add(alert.to_json(), taken_at)
        except Exception:  # one that is no JSON: those after it are kept all the same
            self._counts["dropped"] += 1
            log.exception("%s: an alert can't be kept", self.name)
        self._news.set()

    def _hear(self, carrier: Hearing, line: Line) -> None:
        try:
            carrier.status(line)
        except Exception as error:
            log.warning("%s: a state is not told (%s)", self.name, self._trouble.told(error))

    def _send(self) -> None:
        """The sender's life: from the spool to the receiver."""
        try:
            while (message := self._next()) is not None:
                self._bring(message)
        finally:
            try:
                self._carrier.close()
            except Exception as error:
                log.warning("%s: %s while it was closed", self.name, self._trouble.told(error))
            self._all_kept.wait()
            self._spool.close()

    def _next(self) -> Message | None:
        """The message that is due; None if there will be none in this run."""
        while time.monotonic() < self._until_s:
            self._news.clear()
            is_last = self._all_kept.is_set()
            message = self._spool.first()
            if message is not None or is_last:
                return message
            self._news.wait()
        return None

    def _bring(self, message: Message) -> None:
        """Try until a message is delivered or set aside, or the run ends."""
        failures = permanent = 0
        while time.monotonic() < self._until_s:
            was_closing = self._closing.is_set()
            refused = self._try(message)
            if refused is None:
                return
            failures, permanent = failures + 1, permanent + refused.permanent
            if permanent >= TRIES:
                return self._set_aside(message, refused)
            if was_closing:
                self._until_s = 0.0  # no second chance
            self._closing.wait(self._pauses.after(failures, refused.retry_after_s))

    def _try(self, message: Message) -> Refused | None:
        try:
            self._carrier.deliver(message)
        except Exception as error:
            refused = error if isinstance(error, Refused) else Refused(str(error), permanent=not is_passing(error))
            self._counts["failed"] += 1
            if not refused.permanent:
                self._trouble.began(error)
            return refused
        self._counts["delivered"] += 1
        self._spool.done(message)
        self._trouble.ended(self._spool.pending)
        return None

    def _set_aside(self, message: Message, refused: Refused) -> None:
        path = self._spool.set_aside(message, self._trouble.told(refused))
        self._counts["refused"] += 1
        self._spool.done(message)
        self._trouble.set_aside(refused, path)

    def _tell_the_rest(self) -> None:
        pending, in_memory = self._spool.pending, self._spool.in_memory
        if pending > in_memory:
            log.warning("%s: %d alerts wait in the spool for the next run", self.name, pending - in_memory)
        if in_memory:
            self._counts["dropped"] += in_memory
            log.error("%s: %d alerts were not delivered, and no spool keeps them", self.name, in_memory)


class Trouble:
    """Tells of an outage once when it begins and once when it is over, and never of what is secret."""

    def __init__(self, name: str, url: str | None) -> None:
        self._name = name
        self._addresses = (url,) if url else ()
        self._is_out = self._is_refusing = False

    def told(self, error: Exception) -> str:
        text = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        return redact(text, *self._addresses)

    def began(self, error: Exception) -> None:
        if not self._is_out:
            log.warning("%s: alerts can't be delivered (%s); they wait", self._name, self.told(error))
        self._is_out = True

    def ended(self, pending: int) -> None:
        if self._is_out or self._is_refusing:
            log.warning("%s: alerts are delivered again; %d wait", self._name, pending)
        self._is_out = self._is_refusing = False

    def set_aside(self, refused: Refused, path: Path | None) -> None:
        if not self._is_refusing:
            place = f"they are set aside in {path}" if path else "they are dropped"
            log.warning("%s: alerts are refused (%s); %s", self._name, self.told(refused), place)
        self._is_refusing = True


def is_passing(error: Exception) -> bool:
    """Whether an error that a carrier did not foresee may be gone the next time."""
    return isinstance(error, OSError)


def name_of(settings: SinkSettings) -> str:
    """How a sink is called in logs, metrics and its spool's files.

    Raises:
        ConfigError: if its address can't be filled in, or its name holds what is secret.
    """
    name = settings.name or redact(f"{settings.kind} {_place(settings)}".strip())
    if not name.isprintable() or redact(name) != name:
        raise ConfigError(f"[[sink]] name: expected a short line without a secret in it, got {redact(name)!r}")
    return name


def _place(settings: SinkSettings) -> str:
    if settings.kind == "command":
        return Path(settings.command[0]).name
    try:
        return urlsplit(filled(settings.url or "")).hostname or ""
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        return ""


def file_name(name: str) -> str:
    """A name of a file for a name of a sink."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-")[:LONGEST_NAME].lower() or "sink"


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
