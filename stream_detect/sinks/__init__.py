"""Where alerts go besides the console: webhooks, MQTT brokers and commands, none of which slows the loop."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from stream_detect.config import SinkSettings
from stream_detect.errors import ConfigError
from stream_detect.sinks.outbox import Carrier, Figures, Outbox, file_name, name_of

__all__ = ["Figures", "Outbox", "open_sinks"]


def open_sinks(settings: Sequence[SinkSettings], spool: Path | None) -> list[Outbox]:
    """One outbox for each sink; what waits is kept in the folder `spool`, in memory alone without one. Close them all.

    Raises:
        ConfigError: if two sinks are called the same, or one can't be meant.
        OutputError: if the folder can't be used.
    """
    refuse_same_names(settings)
    with ExitStack() as stack:
        carriers = []
        for one in settings:
            carriers.append(CARRIERS[one.kind](one))
            stack.callback(carriers[-1].close)
        outboxes = []
        for one, carrier in zip(settings, carriers, strict=True):
            outboxes.append(Outbox(one, carrier, spool))
            stack.callback(outboxes[-1].close, 0.0)
        stack.pop_all()
    return outboxes


def refuse_same_names(settings: Sequence[SinkSettings]) -> None:
    """Refuse two sinks whose spools would be the same files.

    Raises:
        ConfigError: if there are such.
    """
    numbers: dict[str, int] = {}
    for number, one in enumerate(settings, start=1):
        name = name_of(one)
        first = numbers.setdefault(file_name(name), number)
        if first != number:
            raise ConfigError(f"[[sink]] {number}: [[sink]] {first} is called {name!r} too; give it a name of its own")


def webhook(settings: SinkSettings) -> Carrier:
    from stream_detect.sinks.webhook import Webhook

    return Webhook(settings)


def mqtt(settings: SinkSettings) -> Carrier:
    from stream_detect.sinks.mqtt import Mqtt

    return Mqtt(settings)


def command(settings: SinkSettings) -> Carrier:
    from stream_detect.sinks.command import Command

    return Command(settings)


CARRIERS: dict[str, Callable[[SinkSettings], Carrier]] = {"webhook": webhook, "mqtt": mqtt, "command": command}
