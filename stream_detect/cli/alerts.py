"""`stream-detect alerts list|show|export|mark`: what a store holds of alerts, and what people say of them."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_detect.errors import OutputError, ReaderGone, StreamDetectError, UsageError

if TYPE_CHECKING:
    from stream_detect.store import Store, StoredAlert

app = typer.Typer(
    help="List, show, export and mark the alerts of a store (watch --store).",
    epilog="Example: stream-detect alerts list --store alerts.db --since 24h --state open",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
LIST_EXAMPLE = (
    "Examples: stream-detect alerts list --store alerts.db --since 24h --state open\n\n"
    "stream-detect alerts list --feed cam1 --since 2026-11-22 --until 2026-11-23T06:00 --csv"
)
SHOW_EXAMPLE = "Example: stream-detect alerts show 3f9a --store alerts.db   (the beginning of an id is enough)"
EXPORT_EXAMPLE = "Example: stream-detect alerts export --store alerts.db --format csv --out alerts.csv"
MARK_EXAMPLE = 'Example: stream-detect alerts mark 3f9a false-alarm --note "a poster" --by jo --store alerts.db'
STATES = ("raised", "cleared")
MARKS = ("open", "acknowledged", "false_alarm")
AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
AROUND_S = 10.0  # how much of the scores before and after an alert is shown, in seconds
COLUMNS = ("id", "raised", "feed", "track", "rule", "state", "mark", "probability", "evidence")
SHOWN_ID = 12
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PATH|URL",
        envvar="STREAM_DETECT_STORE",
        help="An SQLite file or the URL of a database, as given to watch --store.",
    ),
]
FeedOption = Annotated[str | None, typer.Option("--feed", metavar="NAME", help="Of this feed only.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Raised since: 2h, 3d, or 2026-11-22T13:00 (UTC).")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Raised before, in the same words.")]
RuleOption = Annotated[str | None, typer.Option("--rule", metavar="RULE", help="sustained, spike or feed_swap.")]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state", metavar="STATE", help="raised, cleared, acknowledged, false_alarm, or open: nobody judged it yet."
    ),
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="The newest N only.")]


@app.command("list", epilog=LIST_EXAMPLE)
def list_alerts(
    store: StoreOption = None,
    feed: FeedOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    rule: RuleOption = None,
    state: StateOption = None,
    limit: LimitOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array instead of a table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV instead of a table.")] = False,
) -> None:
    """List alerts, the newest first. Times are UTC."""
    if as_json and as_csv:
        raise UsageError("--json and --csv: expected one of them, got both")
    with opened(store) as kept:
        found = chosen(kept, feed, since, until, rule, state, limit)
    if as_json:
        write("-", json_text([alert.to_json() for alert in found]))
    elif as_csv:
        write("-", csv_text(found))
    else:
        show_list(found)


@app.command("show", epilog=SHOW_EXAMPLE)
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="Of an alert; its beginning is enough.")],
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object instead of text.")] = False,
) -> None:
    """Show one alert: its lines, its marks, where its evidence lies, and the scores around it."""
    with opened(store) as kept:
        about = all_about(kept, kept.find(id))
    write("-", json_text(about) if as_json else "\n".join([*words_about(about), ""]))


@app.command("export", epilog=EXPORT_EXAMPLE)
def export(
    store: StoreOption = None,
    out: Annotated[str, typer.Option("--out", metavar="FILE|-", help="Where to; - is stdout.")] = "-",
    form: Annotated[str, typer.Option("--format", metavar="json|csv", help="json has every line and mark.")] = "json",
    feed: FeedOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    rule: RuleOption = None,
    state: StateOption = None,
    limit: LimitOption = None,
) -> None:
    """Write alerts to a file: JSON with all their lines and marks, or CSV with a row each."""
    if form not in ("json", "csv"):
        raise UsageError(f"--format {form}: expected json or csv")
    with opened(store) as kept:
        found = chosen(kept, feed, since, until, rule, state, limit)
        text = csv_text(found) if form == "csv" else json_text([whole(kept, alert) for alert in found])
    write(out, text)


@app.command("mark", epilog=MARK_EXAMPLE)
def mark(
    id: Annotated[str, typer.Argument(metavar="ID", help="Of an alert; its beginning is enough.")],
    kind: Annotated[str, typer.Argument(metavar="acknowledged|false-alarm|note|reopened", help="What it is.")],
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why.")] = "",
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who says so. Default: nobody.")] = None,
    store: StoreOption = None,
) -> None:
    """Mark an alert. Marks are added, never changed: the last one counts, reopened takes back those before."""
    with opened(store) as kept:
        alert = kept.find(id)
        said = kept.mark(alert.id, kind.replace("-", "_"), note, by)
    write("-", f"{alert.id}  {said.kind}  {said.at}\n")


@contextmanager
def opened(where: str | None) -> "Iterator[Store]":
    """The store that is asked for, which has to be there.

    Raises:
        UsageError: if none is named, or it can't be opened.
    """
    from stream_detect.secrets import hide_arguments

    hide_arguments()
    if not where:
        raise UsageError("no store: give --store PATH, as to watch, or set STREAM_DETECT_STORE")
    from stream_detect import logs
    from stream_detect.store import open_store

    with logs.configure(), open_store(where, create=False) as store:
        yield store


def chosen(
    store: "Store",
    feed: str | None,
    since: str | None,
    until: str | None,
    rule: str | None,
    state: str | None,
    limit: int | None,
) -> "list[StoredAlert]":
    """The alerts that the options ask for.

    Raises:
        UsageError: for a time, rule or state that can't be meant.
    """
    from stream_detect.types import Rule

    word = state.replace("-", "_") if state else None
    one_of("--state", word, (*STATES, *MARKS))
    one_of("--rule", rule, Rule.__args__)  # type: ignore[attr-defined]
    now = datetime.now(UTC)
    return store.alerts(
        feed,
        moment(since, now, "--since"),
        moment(until, now, "--until"),
        rule,
        word if word in STATES else None,
        word if word in MARKS else None,
        limit,
    )


def one_of(option: str, word: str | None, known: Sequence[str]) -> None:
    """Raises UsageError unless a word is among the known ones, or not given."""
    if word is not None and word not in known:
        raise UsageError(f"{option} {word}: expected one of {', '.join(known)}")


def moment(text: str | None, now: datetime, option: str) -> datetime | None:
    """A moment given as an age ("2h", "3d") or in ISO's words; without a zone it is UTC.

    Raises:
        UsageError: if it is neither.
    """
    if text is None:
        return None
    try:
        if age := AGE.fullmatch(text.strip()):
            return now - timedelta(**{UNITS[age[2]]: float(age[1])})
        given = datetime.fromisoformat(text.strip())
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option} {text}: expected an age such as 2h or 3d, or a time such as 2026-11-22T13:00"
        ) from error


def show_list(alerts: "Sequence[StoredAlert]") -> None:
    """A table on a terminal, plain columns elsewhere."""
    from rich.console import Console

    console = Console()
    if not alerts:
        write("-", "no alerts\n")
    elif console.is_terminal:
        console.print(table_of(alerts))
    else:
        write("-", columns_text([COLUMNS, *(cells_of(alert) for alert in alerts)]))


def columns_text(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, ""])


def table_of(alerts: "Sequence[StoredAlert]") -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(*COLUMNS, box=None, pad_edge=False)
    for alert in alerts:
        style = "bold red" if alert.state == "raised" and alert.marked == "open" else ""
        table.add_row(*(Text(cell) for cell in cells_of(alert)), style=style)
    return table


def cells_of(alert: "StoredAlert") -> tuple[str, ...]:
    from stream_detect.logs import one_line

    track = "" if alert.track is None else str(alert.track)
    sure = "" if alert.highest is None else f"{alert.highest:.2f}"
    cells = (
        alert.id[:SHOWN_ID],
        alert.raised_at,
        alert.feed,
        track,
        alert.rule,
        alert.state,
        alert.marked,
        sure,
        alert.evidence or "",
    )
    return tuple(one_line(cell) for cell in cells)


def whole(store: "Store", alert: "StoredAlert") -> dict[str, Any]:
    """An alert with every line and mark of it."""
    return {
        **alert.to_json(),
        "lines": [event.to_json() for event in store.events(alert.id)],
        "marks": [mark.to_json() for mark in store.marks(alert.id)],
    }


def all_about(store: "Store", alert: "StoredAlert") -> dict[str, Any]:
    """The same, and what was said of its feed around the time in which it was raised."""
    ends_at = datetime.fromisoformat(alert.cleared_at or alert.updated_at)
    since = datetime.fromisoformat(alert.raised_at) - timedelta(seconds=AROUND_S)
    seconds = store.scores(alert.feed, since, ends_at + timedelta(seconds=AROUND_S))
    return {**whole(store, alert), "scores": [second.to_json() for second in seconds]}


def words_about(about: dict[str, Any]) -> Iterator[str]:
    """An alert in lines for a person."""
    from stream_detect.logs import one_line

    apart = ("lines", "marks", "scores", "experts")
    experts = ", ".join(f"{name} {said(p)}" for name, p in about["experts"].items())
    for name, value in {**about, "experts": experts}.items():
        if name not in apart or name == "experts":
            yield f"{name.ljust(18)}{one_line(said(value))}".rstrip()
    yield from titled("lines", (words_of_line(line) for line in about["lines"]))
    yield from titled("marks", (words_of_mark(mark) for mark in about["marks"]))
    yield from titled("scores of the feed", (words_of_second(second) for second in about["scores"]))


def titled(title: str, lines: Iterator[str]) -> Iterator[str]:
    from stream_detect.logs import one_line

    for number, line in enumerate(lines):
        if number == 0:
            yield f"\n{title}"
        yield f"  {one_line(line)}"


def words_of_line(line: dict[str, Any]) -> str:
    where = f"  {line['clip']}" if line.get("clip") else ""
    return f"{line['seen_at']}  {line['event']}  probability {said(line.get('fake_probability'))}{where}"


def words_of_mark(mark: dict[str, Any]) -> str:
    by = f"  by {mark['who']}" if mark["who"] else ""
    return f"{mark['at']}  {mark['kind']}{by}  {mark['note']}".rstrip()


def words_of_second(second: dict[str, Any]) -> str:
    probabilities = (said(second[name]) for name in ("mean_probability", "max_probability", "max_track_probability"))
    mean, highest, track = probabilities
    return f"{second['second']}  {second['faces']} faces  mean {mean}  max {highest}  running {track}"


def said(value: object) -> str:
    """A value for a person: nothing as -, numbers short."""
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def json_text(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(alerts: "Sequence[StoredAlert]") -> str:
    """A row an alert, in which no cell is a formula to a spreadsheet."""
    from stream_detect.store.records import ALERT_FIELDS

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(ALERT_FIELDS)
    for alert in alerts:
        row = {**alert.to_json(), "experts": json.dumps(dict(alert.experts))}
        writer.writerow([harmless(row[name]) for name in ALERT_FIELDS])
    return text.getvalue()


def harmless(value: object) -> object:
    """A text that a spreadsheet would take for a formula begins with a quote instead."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def write(out: str, text: str) -> None:
    """Write a text to a file, or to stdout (-).

    Raises:
        OutputError: if it can't be written.
        ReaderGone: if the reader of stdout went away.
    """
    with written(out):
        if out == "-":
            print(text, end="")
        else:
            Path(out).write_text(text, encoding="utf-8", newline="")


@contextmanager
def written(out: str) -> Iterator[None]:
    """While something is written to a file, or to stdout (-): what becomes of errors.

    Raises:
        OutputError: if it can't be written.
        ReaderGone: if the reader of stdout went away.
    """
    try:
        yield
        if out == "-":
            sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGone("stdout") from error
    except OSError as error:
        if isinstance(error, StreamDetectError):
            raise
        raise OutputError(f"{out}: can't be written ({error.strerror or error}); choose another path") from error
