"""The program: its commands, and what becomes of their errors."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from stream_detect.cli import alerts, bench, calibrate, demo, doctor, evaluate, evidence, score, train, watch
from stream_detect.errors import ReaderGone, StreamDetectError
from stream_detect.redact import redact

DEBUG = "STREAM_DETECT_DEBUG"
INTERRUPTED = 130
FAULT = 70
WrongUse: type[Exception] = typer.BadParameter.__mro__[2]  # typer's own ClickException, which it doesn't export

app = typer.Typer(
    name="stream-detect",
    help="Real-time, local, calibrated deepfake detection for live video, files and pictures.",
    epilog="Start with: stream-detect demo. Exit codes: 0 done, 2 wrong use, 3 a source could not be read, "
    "4 no or bad weights, 5 evidence was tampered with, 10 an alert was raised (--fail-on-alert), 70 a fault of ours.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        typer.echo(f"stream-detect {version('stream-detect')}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=show_version, is_eager=True, help="Say it and exit."),
) -> None:
    """Real-time, local, calibrated deepfake detection for live video, files and pictures."""


app.command("demo", epilog=demo.EXAMPLE)(demo.demo)
app.command("watch", epilog=watch.EXAMPLE)(watch.watch)
app.command("score", epilog=score.EXAMPLE)(score.score)
app.command("evaluate", epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command("train", epilog=train.EXAMPLE)(train.train)
app.command("calibrate", epilog=calibrate.EXAMPLE)(calibrate.calibrate)
app.command("bench", epilog=bench.EXAMPLE)(bench.bench)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
app.add_typer(alerts.app, name="alerts")
app.add_typer(evidence.app, name="evidence")


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit with its code."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(exit_code_of(lambda: app(arguments, prog_name="stream-detect", standalone_mode=False)))


def exit_code_of(run: Callable[[], Any]) -> int:
    """The exit code of a command; errors become one line on stderr."""
    try:
        return int(run() or 0)
    except typer.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return INTERRUPTED
    except ReaderGone:
        silence_stdout()
        return 0
    except StreamDetectError as error:
        say(str(error))
        return error.exit_code
    except WrongUse as error:
        if words := wrong_use(error):  # empty where typer has shown the help
            say(f"{words}; see stream-detect --help")
        return 2
    except Exception as error:  # whatever is left is our fault: say so in one line
        return fault(error)


def wrong_use(error: Any) -> str:
    """The text of an error of the command line's syntax, on one line."""
    return " ".join(str(error.format_message()).split()).rstrip(".")


def fault(error: Exception) -> int:
    if os.environ.get(DEBUG):
        raise error
    say(f"a fault of ours: {type(error).__name__}: {error} (set {DEBUG}=1 to see where, and please report it)")
    return FAULT


def say(text: str) -> None:
    """One line on stderr, without secrets."""
    line = " ".join(redact(text).split("\n"))
    with contextlib.suppress(BrokenPipeError):
        print(f"stream-detect: {line}", file=sys.stderr, flush=True)


def silence_stdout() -> None:
    """Whoever read our output has gone: nothing more is to be written, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
