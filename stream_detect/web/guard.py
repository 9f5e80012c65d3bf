"""What keeps strangers out of a server on 127.0.0.1: web pages of other places that a browser here has open.

A page can name this address under a host name of its own (DNS rebinding), and can send requests here without being
allowed to read the answers. So the host and the origin of a request have to be this machine, and changes have to be
JSON, which no page of another origin may send unasked.
"""

import re
from collections.abc import Callable
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stream_detect.web.answers import refusal

LOOPBACK = re.compile(r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
WITH_BODY = ("POST", "PUT", "PATCH")


class Guard:
    """Lets requests through that come from this machine, and only to be answered here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refused = next((answer for check in CHECKS if (answer := check(request))), None)
        await (refused or self._app)(scope, receive, send)


def wrong_host(request: Request) -> Response | None:
    if len(request.headers.getlist("host")) == 1 and LOOPBACK.fullmatch(request.headers["host"]):
        return None
    return refusal(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to 127.0.0.1 and localhost only")


def foreign_origin(request: Request) -> Response | None:
    origin = request.headers.get("origin")
    own = (f"http://{request.headers['host']}", f"https://{request.headers['host']}")
    is_foreign = origin is not None and origin.lower() not in (place.lower() for place in own)
    asks_from = request.headers.get("sec-fetch-site", "none") if request.method in CHANGING else "none"
    if is_foreign or asks_from not in ("none", "same-origin"):
        return refusal(HTTPStatus.FORBIDDEN, "requests from pages of other places are refused")
    return None


def not_json(request: Request) -> Response | None:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method in WITH_BODY and content_type != "application/json":
        return refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, with Content-Type: application/json")
    return None


CHECKS: tuple[Callable[[Request], Response | None], ...] = (wrong_host, foreign_origin, not_json)
