"""How the application answers: JSON, errors in words, and no secret in either."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from stream_detect.config import Feed
from stream_detect.errors import UnknownFeed
from stream_detect.logs import without_secrets
from stream_detect.redact import redact
from stream_detect.stats import FeedStats
from stream_detect.types import rounded

BODY_WITHIN_S = 5.0  # how long the body of a request may take, in seconds
LONGEST_BODY = 64 * 1024  # of a request, in bytes: a feed with a thousand zones fits


def answer(value: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON, every text in it redacted."""
    text = json.dumps(without_secrets(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text + "\n", status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def refusal(status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
    """What is wrong, in words."""
    return answer({"error": words}, status, headers)


def of_http(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such path, wrong method) as ours."""
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}", error.headers)


def of_usage(request: Request, error: Exception) -> Response:
    """Something that can't be meant: 404 for a feed that there is not, 400 for the rest."""
    status = HTTPStatus.NOT_FOUND if isinstance(error, UnknownFeed) else HTTPStatus.BAD_REQUEST
    return refusal(status, redact(str(error), *addresses_in(request)))


def of_file(request: Request, error: Exception) -> Response:
    """A file of feeds that can't be read or written."""
    words = f"the file of feeds: {redact(str(error), *addresses_in(request))}"
    return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, words)


def addresses_in(request: Request) -> tuple[str, ...]:
    """The addresses that a request brought: their secrets are hidden however they are written."""
    return getattr(request.state, "addresses", ())


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object that a request brings.

    Raises:
        HTTPException: 413 if it is too long, 408 if it does not come, 400 if it is no object.
    """
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            body = await all_of(request)
    except TimeoutError as error:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the body did not come in time") from error
    try:
        table = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is not JSON") from error
    if not isinstance(table, dict):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is not a JSON object with the keys of a [[feed]]")
    request.state.addresses = tuple(text for text in texts_in(table) if "://" in text or "@" in text)
    return table


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value, however deep it lies."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


async def all_of(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {LONGEST_BODY} bytes")
    return bytes(body)


def figures(feed: FeedStats) -> dict[str, Any]:
    """A feed as it stands, for JSON."""
    told = asdict(feed) | {"dropped": dict(feed.dropped), "reconnects": dict(feed.reconnects)}
    told |= {name: rounded(value, 3) for name, value in told.items() if isinstance(value, float)}
    return told | {"address": redact(feed.address, feed.address)}


def settings(feed: Feed) -> dict[str, Any]:
    """What the file says of a feed, its address without secrets."""
    said = {name: value for name, value in asdict(feed).items() if value not in (None, (), {})}
    return said | {"url": redact(feed.url, feed.url)}
