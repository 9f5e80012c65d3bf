"""A web server on the loopback interface that remembers what was posted and answers as it is told."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE_S = 15.0


@dataclass
class Receiver:
    """`answers` are given one after the other, then 200 for ever; while `hangs` is clear, nothing is answered."""

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    posts: list[tuple[str, dict[str, str], bytes, float]] = field(default_factory=list)
    hangs: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def keys(self) -> list[str]:
        return [headers["Idempotency-Key"] for _, headers, _, _ in self.posts]


@contextmanager
def receiving(*answers: tuple[int, dict[str, str]], port: int = 0, hangs: bool = False) -> Iterator[Receiver]:
    receiver = Receiver(list(answers))
    if not hangs:
        receiver.hangs.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # an answer is one packet

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.posts.append((self.path, dict(self.headers.items()), body, time.monotonic()))
            receiver.hangs.wait(PATIENCE_S)
            code, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *about):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # a client that went away

    server = Server(("127.0.0.1", port), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hangs.set()
        server.shutdown()
        server.server_close()
        thread.join()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition; fails after a while."""
    until_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until_s, "it never came so far"
        time.sleep(0.005)
