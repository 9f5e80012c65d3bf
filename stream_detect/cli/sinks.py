"""The sinks of `watch` that take alerts elsewhere: those of its options and those of its configuration file."""

import logging
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from stream_detect.errors import UsageError

if TYPE_CHECKING:
    from stream_detect.config import Config, SinkSettings
    from stream_detect.sinks import Outbox
    from stream_detect.store import Store

WEBHOOK = (
    "Post every alert to this address as JSON; what it did not take is tried again until it does. May be repeated."
)
MQTT = "Publish alerts and the states of feeds to this broker: mqtt(s)://user:password@host:port. May be repeated."
ON_ALERT = "Start this program for every line of an alert, which it finds on its input as JSON; no shell reads it."
SPOOL = (
    "Keep what a webhook, broker or program did not take yet in this folder. Default: beside the folder of evidence, "
    "else beside the SQLite store, else in memory alone."
)
log = logging.getLogger("stream_detect.run")


def sinks_meant(
    file: "Config", webhooks: Sequence[str] | None, brokers: Sequence[str] | None, programs: Sequence[str] | None
) -> "list[SinkSettings]":
    """The sinks of the configuration file, then those of the command line.

    Raises:
        UsageError: if one can't be meant.
    """
    from stream_detect.config import SinkSettings

    of_options = [
        *(SinkSettings("webhook", url) for url in webhooks or ()),
        *(SinkSettings("mqtt", url) for url in brokers or ()),
        *(SinkSettings("command", command=words_of(program)) for program in programs or ()),
    ]
    return [*file.sinks, *of_options]


def words_of(program: str) -> tuple[str, ...]:
    """A program and its arguments, in quotes where they hold blanks.

    Raises:
        UsageError: if a quote has no end.
    """
    try:
        return tuple(shlex.split(program))
    except ValueError as error:
        raise UsageError(f"--on-alert {program}: expected a program and its arguments ({error})") from error


def open_outboxes(
    stack: ExitStack,
    meant: "Sequence[SinkSettings]",
    spool: Path | None,
    store: "Store | None",
    evidence: Path | None,
) -> "list[Outbox]":
    """The sinks that take alerts elsewhere, each with a thread of its own until the stack is closed.

    Raises:
        ConfigError, OutputError: if one can't be meant, or the spool can't be used.
    """
    if not meant:
        return []
    from stream_detect.secrets import hide_arguments
    from stream_detect.sinks import open_sinks

    folder = spool_of(spool, store, evidence)
    outboxes = open_sinks(meant, folder)
    stack.callback(close_together, outboxes)
    hide_arguments()  # the tokens in addresses are known now
    if folder is None:
        log.warning("alerts that a sink does not take wait in memory alone; --spool DIR or --store PATH keeps them")
    return outboxes


def spool_of(asked: Path | None, store: "Store | None", evidence: Path | None) -> Path | None:
    """Where undelivered alerts are kept; None: in memory. Never in a folder of evidence, which holds nothing else."""
    if asked is not None:
        return asked
    if evidence is not None:
        return Path(f"{evidence}.spool")
    return Path(f"{store.place}.spool") if store is not None and "://" not in store.place else None


def close_together(outboxes: "Sequence[Outbox]") -> None:
    """Close them all at the same time: the slowest one decides how long it takes."""
    threads = [Thread(target=outbox.close, name=f"end of {outbox.name}") for outbox in outboxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
