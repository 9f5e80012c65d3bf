"""The server of the application: a thread of its own, on 127.0.0.1 alone."""

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

import uvicorn
from starlette.applications import Starlette

from stream_detect.errors import StreamDetectError, UsageError
from stream_detect.metrics import Metrics
from stream_detect.stats import FeedStats
from stream_detect.web.app import FeedsFileLike, Run, build_app

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
HIGHEST_PORT = 65_535
START_S = 10.0  # how long the server may take to start, in seconds
STOP_S = 1  # how long requests may take to end when it stops, in seconds
MOST_CONNECTIONS = 64  # more at a time are answered with 503
BACKLOG = 64


class Server:
    """An application that is served from now on. Close it, or use it in a `with`."""

    def __init__(self, app: Starlette, listening: socket.socket) -> None:
        self.port: int = listening.getsockname()[1]
        self._listening = listening
        self._server = uvicorn.Server(settings_of(app))
        self._thread = threading.Thread(target=self._server.run, args=([listening],), name="web", daemon=True)
        self._thread.start()
        self._wait_for_start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Answer what was asked, and stop; may be called twice."""
        self._server.should_exit = True
        self._thread.join(STOP_S + 1)
        self._listening.close()

    def _wait_for_start(self) -> None:
        until = threading.Event()
        for _ in range(int(START_S / 0.01)):
            if self._server.started or not self._thread.is_alive():
                break
            until.wait(0.01)
        if not self._server.started:
            self.close()
            raise StreamDetectError(f"the server on port {self.port} did not start")


def serving(
    port: int,
    feeds: Callable[[], Sequence[FeedStats]],
    *,
    metrics: Metrics,
    feeds_file: FeedsFileLike | None = None,
    apply: Callable[[], Sequence[str]] | None = None,
    last_turn_s: Callable[[], float] | None = None,
    waits_for: Callable[[], str] | None = None,
) -> Server:
    """Serve metrics, health and the feeds of a run on 127.0.0.1 until it is closed.

    Args:
        port: 0 picks a free one, see `Server.port`.
        feeds: the figures of every feed at this moment.
        metrics: what /metrics tells; from now on it asks `feeds`, too.
        feeds_file: the file that owns the feeds; without one they can't be changed here.
        apply: puts the file into effect, and returns in words which feeds could not be; is called
            in the server's threads.
        last_turn_s: how long ago the loop went round, in seconds.
        waits_for: what is still being prepared, in words; nothing: "".

    Raises:
        UsageError: if the port can't be had.
    """
    metrics.follow(feeds, last_turn_s)
    run = Run(feeds, metrics, feeds_file, apply, last_turn_s, waits_for)
    server = Server(build_app(run), listening_on(port))
    log.info("metrics, health and feeds are served at %s", server.url)
    return server


def listening_on(port: int) -> socket.socket:
    """A socket that listens on a port of 127.0.0.1.

    Raises:
        UsageError: if the port is taken, reserved or none.
    """
    if not 0 <= port <= HIGHEST_PORT:
        raise UsageError(f"port {port} is none; choose another one, up to {HIGHEST_PORT}, or 0 for any")
    try:
        return socket.create_server((HOST, port), backlog=BACKLOG)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"port {port} of {HOST} can't be had ({why}); choose another one, or 0 for any") from error


def settings_of(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=STOP_S,
    )
