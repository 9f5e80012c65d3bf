"""Metrics, health and the feeds of a run over HTTP. The file of feeds owns the feeds: a change here edits it."""

import difflib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stream_detect.config import Config, Feed
from stream_detect.errors import OutputError, SourceError, StreamDetectError, UnknownFeed, UsageError
from stream_detect.metrics import Metrics
from stream_detect.stats import FeedStats
from stream_detect.types import rounded
from stream_detect.web.answers import answer, body_of, figures, of_file, of_http, of_usage, settings, texts_in
from stream_detect.web.guard import Guard

HANGS_S = 10.0  # a loop that did not go round for so long hangs, in seconds
SHOWN_REASONS = 8  # why a run is not ready: so many feeds are named


@runtime_checkable
class FeedsFileLike(Protocol):
    """The file that owns the feeds: every edit is checked before it replaces the file."""

    def read(self) -> Config: ...

    def add(self, table: Mapping[str, Any], /) -> Feed: ...

    def change(self, name: str, table: Mapping[str, Any], /) -> Feed: ...

    def remove(self, name: str, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Run:
    """What the application needs of a run; everything is asked from threads of the server."""

    feeds: Callable[[], Sequence[FeedStats]]
    metrics: Metrics
    feeds_file: FeedsFileLike | None = None
    apply: Callable[[], Sequence[str]] | None = None  # reads the file again; says which feeds could not be
    last_turn_s: Callable[[], float] | None = None  # how long ago the loop went round
    waits_for: Callable[[], str] | None = None  # what is still being prepared, in words
    editing: threading.Lock = field(default_factory=threading.Lock)


def build_app(run: Run, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The application; `more` are routes beside its own."""
    app = Starlette(
        routes=[*ROUTES, *more],
        middleware=[Middleware(Guard)],
        exception_handlers=HANDLERS,
    )
    app.state.run = run
    return app


def metrics(request: Request) -> Response:
    text, content_type = run_of(request).metrics.text(request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


def healthz(request: Request) -> Response:
    """Whether the loop goes round: if not, only a restart helps."""
    idle_s = idle_of(run_of(request))
    is_alive = idle_s <= HANGS_S
    told = {"status": "alive" if is_alive else "hangs", "last_turn_s": rounded(idle_s, 3)}
    return answer(told, HTTPStatus.OK if is_alive else HTTPStatus.SERVICE_UNAVAILABLE)


def readyz(request: Request) -> Response:
    """Whether something is watched: the detector is there, and a feed is live at least."""
    reasons = reasons_not_ready(run_of(request))
    told = {"status": "not ready" if reasons else "ready", "reasons": reasons}
    return answer(told, HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK)


def list_feeds(request: Request) -> Response:
    return answer({"feeds": [figures(feed) for feed in run_of(request).feeds()]})


def show_feed(request: Request) -> Response:
    return answer(shown(run_of(request), request.path_params["name"]))


async def add_feed(request: Request) -> Response:
    table = without_placeholders(await body_of(request))
    run = run_of(request)
    name, told = await run_in_threadpool(edited, run, lambda file: file.add(table))
    return answer(told, HTTPStatus.CREATED, {"Location": f"/feeds/{quote(name, safe='')}"})


async def change_feed(request: Request) -> Response:
    table = without_placeholders(await body_of(request))
    name = request.path_params["name"]
    _, told = await run_in_threadpool(edited, run_of(request), lambda file: file.change(name, table))
    return answer(told)


def remove_feed(request: Request) -> Response:
    name = request.path_params["name"]
    _, told = edited(run_of(request), lambda file: file.remove(name))
    return answer({"name": name, "removed": True} | told)


HANDLERS = {HTTPException: of_http, OutputError: of_file, UsageError: of_usage, SourceError: of_usage, OSError: of_file}
ROUTES: list[BaseRoute] = [
    Route("/metrics", metrics),
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/feeds", list_feeds, methods=["GET"]),
    Route("/feeds", add_feed, methods=["POST"]),
    Route("/feeds/{name:path}", show_feed, methods=["GET"]),
    Route("/feeds/{name:path}", change_feed, methods=["PATCH"]),
    Route("/feeds/{name:path}", remove_feed, methods=["DELETE"]),
]


def run_of(request: Request) -> Run:
    run = request.app.state.run
    assert isinstance(run, Run)
    return run


def idle_of(run: Run) -> float:
    return run.last_turn_s() if run.last_turn_s else 0.0


def reasons_not_ready(run: Run) -> list[str]:
    """Everything that keeps a run from being ready, in words."""
    reasons = [run.waits_for()] if run.waits_for and run.waits_for() else []
    if (idle_s := idle_of(run)) > HANGS_S:
        reasons.append(f"the loop hangs: it went round {idle_s:.0f} s ago")
    feeds = run.feeds()
    if not feeds:
        return [*reasons, "there are no feeds"]
    if any(feed.state == "live" for feed in feeds):
        return reasons
    named = [f"{feed.name}: {feed.state}" + (f" ({feed.reason})" if feed.reason else "") for feed in feeds]
    more = [f"and {len(named) - SHOWN_REASONS} more"] if len(named) > SHOWN_REASONS else []
    return [*reasons, "no feed is live", *named[:SHOWN_REASONS], *more]


def shown(run: Run, name: str) -> dict[str, Any]:
    """A feed as it stands, and what the file says of it.

    Raises:
        UnknownFeed: if there is none of that name.
    """
    known = {feed.name: figures(feed) for feed in run.feeds()}
    in_file, problems = settings_in_file(run)
    if name in known:
        return known[name] | in_file.get(name, {}) | problems
    if name in in_file:
        return {"name": name, "state": "not watched"} | in_file[name] | problems
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {len(known)}, see /feeds"
    raise UnknownFeed(f"no feed {name!r}; {hint}")


def settings_in_file(run: Run) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """What the file says of each feed, by name; and what is wrong with a file that can't be read."""
    if run.feeds_file is None:
        return {}, {}
    try:
        feeds = run.feeds_file.read().feeds
    except (UsageError, SourceError) as error:  # somebody is editing it
        return {}, {"problems": [str(error)]}
    return {feed.name or "": {"settings": settings(feed)} for feed in feeds}, {}


def without_placeholders(table: dict[str, Any]) -> dict[str, Any]:
    """The table, if nothing in it is to be filled in: that is done with the rights of this program.

    Any account of the machine may ask here. It could have the program read a file, and send it as part of an address.

    Raises:
        UsageError: if there is a ${NAME} or ${file:PATH} in it.
    """
    if any("${" in text for text in texts_in(table)):
        raise UsageError("placeholders such as ${NAME} can't be set here; write them into the file by hand")
    return table


def edited(run: Run, edit: Callable[[FeedsFileLike], Feed | object]) -> tuple[str, dict[str, Any]]:
    """The name and the settings of a feed after an edit of the file, and what could not be put into effect.

    Raises:
        HTTPException: 409 if the run has no file of feeds.
        UsageError: for an edit that can't be meant; nothing is changed then.
    """
    if run.feeds_file is None:
        words = "this run has no file that feeds could be written to: start it with --config FILE.toml"
        raise HTTPException(HTTPStatus.CONFLICT, words)
    with run.editing:
        feed = edit(run.feeds_file)
        problems = applied(run)
    told: dict[str, Any] = {"problems": problems} if problems else {}
    if not isinstance(feed, Feed):
        return "", told
    name = feed.name or ""
    return name, {"name": name, "settings": settings(feed)} | told


def applied(run: Run) -> list[str]:
    """Puts the file into effect; what could not be, in words: the file is as it was asked for all the same."""
    try:
        return list(run.apply()) if run.apply else []
    except StreamDetectError as error:
        return [str(error)]
