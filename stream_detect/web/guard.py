"""What keeps strangers out of a server on 127.0.0.1: web pages of other places that a browser here has open.

A page can name this address under a host name of its own (DNS rebinding), and can send requests here without being
allowed to read the answers. So the host and the origin of a request have to be this machine, and changes have to be
JSON, which no page of another origin may send unasked.
"""

import re
from collections.abc import Callable
from http import HTTPStatus

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from stream_detect.web.answers import refusal

LOOPBACK = re.compile(r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
CHANGING = ("POST", "PUT", "PATCH", "DELETE", "WEBSOCKET")
WITH_BODY = ("POST", "PUT", "PATCH")
REFUSED = 1008  # why a WebSocket is closed: against the rules


class Guard:
    """Lets requests through that come from this machine, and only to be answered here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        refused = next((answer for check in CHECKS if (answer := check(asked))), None)
        if refused is not None and scope["type"] == "websocket":
            await WebSocketClose(REFUSED)(scope, receive, send)
        else:
            await (refused or self._app)(scope, receive, send)


def wrong_host(asked: HTTPConnection) -> Response | None:
    if len(asked.headers.getlist("host")) == 1 and LOOPBACK.fullmatch(asked.headers["host"]):
        return None
    return refusal(HTTPStatus.MISDIRECTED_REQUEST, "this server answers to 127.0.0.1 and localhost only")


def foreign_origin(asked: HTTPConnection) -> Response | None:
    origin = asked.headers.get("origin")
    own = (f"http://{asked.headers['host']}", f"https://{asked.headers['host']}")
    is_foreign = origin is not None and origin.lower() not in (place.lower() for place in own)
    asks_from = asked.headers.get("sec-fetch-site", "none") if method_of(asked) in CHANGING else "none"
    if is_foreign or asks_from not in ("none", "same-origin"):
        return refusal(HTTPStatus.FORBIDDEN, "requests from pages of other places are refused")
    return None


def not_json(asked: HTTPConnection) -> Response | None:
    content_type = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
    if method_of(asked) in WITH_BODY and content_type != "application/json":
        return refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, with Content-Type: application/json")
    return None


def method_of(asked: HTTPConnection) -> str:
    return str(asked.scope.get("method", "WEBSOCKET"))


CHECKS: tuple[Callable[[HTTPConnection], Response | None], ...] = (wrong_host, foreign_origin, not_json)
