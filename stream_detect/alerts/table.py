"""The live table: a row a feed with its figures, and below it why feeds are not live, the faces, the last alerts."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from stream_detect.alerts.troubles import time_words
from stream_detect.alerts.views import SourceView, Views
from stream_detect.alerts.words import alert_words, causes_words, face_words, short
from stream_detect.logs import one_line
from stream_detect.stats import FeedStats
from stream_detect.types import FaceVerdict, FrameVerdict, State, Status

SHOWN_FACES = 6  # of one source
NARROW = 80  # columns that the table makes do with
NAME_CHARS = 12  # a feed's name has at least so many
STYLES = {"fake": "bold red", "real": "green", "inconclusive": "yellow", "raised": "bold red", "cleared": "green"}
STATE_STYLES: dict[State, str] = {"live": "green", "ended": "dim", "failed": "bold red"}
COLUMNS: dict[str, int] = {  # heading and width; what is left goes to the name and to the causes of dropped frames
    "state": 12,
    "fps": 7,  # frames that come, and those that are judged
    "age ms": 6,
    "p50/p95": 7,  # latency of half and of nearly all of the last frames
    "lost": 4,
    "faces": 5,
    "alerts": 6,
}
CAUSES_CHARS = 9


@dataclass(frozen=True, slots=True)
class Row:
    """One feed as it is shown."""

    name: str
    state: State
    reason: str
    since_s: float | None
    in_hz: float | None
    analysed_hz: float
    age_ms: float | None
    last_frame_s: float | None
    latencies_ms: tuple[float | None, float | None]
    dropped: dict[str, int]
    lost: int
    faces: int
    alerts: int
    active_alerts: int
    last: FrameVerdict | None

    @property
    def urgency(self) -> int:
        """Where room is short, lower ones are shown first."""
        if self.active_alerts:
            return 0
        return {"failed": 1, "reconnecting": 1, "stalled": 1, "connecting": 2, "live": 3, "ended": 4}[self.state]


def draw(
    views: Views, feeds: Sequence[FeedStats], now_s: float, width: int = NARROW, height: int | None = None
) -> Group:
    """The table, at most `width` columns wide and `height` lines high (None: as high as it gets)."""
    rows = rows_of(views, feeds, now_s)
    part = len(rows) + len(views.alerts) if height is None else max(1, height // 5)
    alerts = [Text(one_line(alert_words(alert)), STYLES.get(alert.event, "")) for alert in views.alerts][-part:]
    troubles = [trouble_text(row) for row in rows if row.reason and row.state not in ("live", "ended")]
    troubles = shortened(troubles, part, "not live")
    room = len(rows) if height is None else max(1, height - 3 - len(alerts) - len(troubles))
    shown, hidden = rows, []
    if len(rows) > room:
        rows = sorted(rows, key=lambda row: row.urgency)
        shown, hidden = rows[: max(1, room - 1)], rows[max(1, room - 1) :]
    faces_room = len(rows) if height is None else max(0, room - len(shown) - bool(hidden))
    faces = faces_lines(shown, faces_room)
    lines = [*([more_text(hidden)] if hidden else []), *troubles, *faces, *alerts]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return Group(table_of(shown, width), *lines)


def rows_of(views: Views, feeds: Sequence[FeedStats], now_s: float) -> list[Row]:
    """A row for each feed; without figures of the run from what its lines said."""
    if feeds:
        return [row_of_figures(feed, views.sources.get(feed.name), now_s) for feed in feeds]
    return [row_of_lines(view, now_s) for view in views.sources.values()]


def row_of_figures(feed: FeedStats, view: SourceView | None, now_s: float) -> Row:
    view = view or SourceView(Status(feed.name, feed.state, feed.reason))
    return Row(
        feed.name,
        feed.state,
        feed.reason,
        feed.since_s,
        feed.in_hz,
        feed.analysed_hz,
        None if feed.age_s is None else feed.age_s * 1000,
        feed.last_frame_s,
        (view.latency_ms(0.5), view.latency_ms(0.95)),
        dict(feed.dropped),
        sum(feed.reconnects.values()),
        feed.faces,
        feed.alerts,
        feed.active_alerts,
        view.last,
    )


def row_of_lines(view: SourceView, now_s: float) -> Row:
    status, last = view.status, view.last
    return Row(
        status.source,
        status.state,
        status.reason,
        None,
        None,
        view.rate_hz(now_s),
        last.latency_ms if last else None,
        None,
        (view.latency_ms(0.5), view.latency_ms(0.95)),
        dict(status.dropped),
        sum(status.reconnects.values()),
        len(last.faces) if last else 0,
        view.raised,
        len({face.alert for face in last.faces if face.alert}) if last else 0,
        last,
    )


def table_of(rows: Sequence[Row], width: int) -> Table:
    """The rows with their headings."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    left = width - sum(COLUMNS.values()) - len(COLUMNS) - 1
    longest = max((len(row.name) for row in rows), default=NAME_CHARS)
    name_chars = max(NAME_CHARS, min(longest, left - CAUSES_CHARS))
    table.add_column("feed", width=name_chars, no_wrap=True, overflow="ellipsis")
    for heading, chars in COLUMNS.items():
        table.add_column(
            heading, width=chars, no_wrap=True, overflow="ellipsis", justify="left" if heading == "state" else "right"
        )
        if heading == "p50/p95":
            table.add_column("dropped", width=max(CAUSES_CHARS, left - name_chars), no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*cells(row))
    return table


def cells(row: Row) -> list[Text]:
    """One row in the order of the headings; a feed that is not live has no latency and no faces."""
    came = "" if row.in_hz is None else f"{row.in_hz:.0f}/"
    return [
        Text(one_line(row.name)),
        Text(row.state, STATE_STYLES.get(row.state, "yellow")),
        Text(f"{came}{row.analysed_hz:.{0 if came else 1}f}"),
        Text(age_words(row)),
        Text(latency_words(row)),
        Text(causes_words(row.dropped)),
        Text(short(row.lost) if row.lost else "", "yellow"),
        Text(short(row.faces) if row.faces and row.state == "live" else ""),
        Text(short(row.alerts) if row.alerts else "", "bold red" if row.active_alerts else ""),
    ]


def age_words(row: Row) -> str:
    """Age of the frame judged last in milliseconds; of a feed that is not live, when its last frame came."""
    if row.state == "live":
        return "" if row.age_ms is None else short(row.age_ms)
    return "" if row.last_frame_s is None or row.state == "ended" else time_words(row.last_frame_s)


def latency_words(row: Row) -> str:
    middle, slowest = row.latencies_ms
    return "" if middle is None or slowest is None or row.state != "live" else f"{short(middle)}/{short(slowest)}"


def trouble_text(row: Row) -> Text:
    """Why a feed is not live."""
    since = "" if row.since_s is None else f" for {time_words(row.since_s)}"
    words = f"{row.name}  {row.state}{since}: {row.reason}"
    return Text(one_line(words), STATE_STYLES.get(row.state, "yellow"))


def faces_lines(rows: Sequence[Row], most: int) -> list[Text]:
    """The faces of each feed that has some; where room is short, of those with the likeliest forgeries."""
    told = [(row, text) for row in rows if (text := faces_text(row)) is not None]
    if len(told) > most:
        told.sort(key=lambda item: -highest_of(item[0]))
    return [text for _, text in told[:most]]


def highest_of(row: Row) -> float:
    faces = row.last.faces if row.last else ()
    return max((face.track_probability or face.fake_probability or 0.0 for face in faces), default=0.0)


def faces_text(row: Row) -> Text | None:
    """Every face of a feed's last frame in words, or why none was judged; nothing where there is none."""
    if row.last is None or row.state != "live":
        return None
    if row.last.reasons:
        return Text(one_line(f"{row.name}  {', '.join(row.last.reasons)}"), "yellow")
    if not row.last.faces:
        return None
    text = Text(one_line(f"{row.name}  "))
    text = text.append(Text("  ").join(face_text(face) for face in row.last.faces[:SHOWN_FACES]))
    more = len(row.last.faces) - SHOWN_FACES
    return text.append(f"  and {more} more") if more > 0 else text


def face_text(face: FaceVerdict) -> Text:
    return Text(face_words(face), STYLES[face.verdict])


def shortened(lines: list[Text], most: int, what: str) -> list[Text]:
    """The first lines, and how many more there are."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], Text(f"and {len(lines) - most + 1} more {what}", "yellow")]


def more_text(hidden: Sequence[Row]) -> Text:
    """Such as `and 24 more: 23 live, 1 ended`."""
    states = {row.state: sum(other.state == row.state for other in hidden) for row in hidden}
    return Text(f"and {len(hidden)} more: " + ", ".join(f"{number} {state}" for state, number in states.items()), "dim")
