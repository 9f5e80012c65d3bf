"""Servers that misbehave: one that says nothing, one that promises a stream and sends none, one that floods."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=mute\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:streamid=0\r\n"
)


class Server(socketserver.ThreadingTCPServer):
    """A TCP server whose connections are daemon threads and which never complains."""

    allow_reuse_address = True
    daemon_threads = True
    stop: threading.Event

    def handle_error(self, request: object, client_address: object) -> None:
        return


@contextmanager
def serve(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """Run a TCP server in a thread; gives its port."""
    with Server(("127.0.0.1", 0), handler) as server:
        server.stop = threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="tcp server")
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.stop.set()
            server.shutdown()
            thread.join()


class Silent(socketserver.BaseRequestHandler):
    """Accepts and never says a word."""

    def handle(self) -> None:
        self.server.stop.wait()  # type: ignore[attr-defined]


class MuteRtsp(socketserver.StreamRequestHandler):
    """Answers every RTSP request as if all were well and never sends a packet."""

    def handle(self) -> None:
        while request := self.request_lines():
            method, number = request[0].split(" ")[0], self.sequence_number(request)
            self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{self.answer(method, request)}".encode())

    def request_lines(self) -> list[str]:
        lines: list[str] = []
        while line := self.rfile.readline().decode().strip():
            lines.append(line)
        return lines

    @staticmethod
    def sequence_number(request: list[str]) -> str:
        return next(line.split(":")[1].strip() for line in request if line.lower().startswith("cseq"))

    @staticmethod
    def answer(method: str, request: list[str]) -> str:
        if method == "OPTIONS":
            return "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n"
        if method == "DESCRIBE":
            return f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}"
        if method == "SETUP":
            transport = next(line.split(":", 1)[1].strip() for line in request if line.lower().startswith("transport"))
            return f"Session: 1\r\nTransport: {transport}\r\n\r\n"
        return "Session: 1\r\n\r\n"


@contextmanager
def silent_server() -> Iterator[int]:
    """Accepts TCP connections and says nothing; gives its port."""
    with serve(Silent) as port:
        yield port


@contextmanager
def mute_rtsp_server() -> Iterator[str]:
    """An RTSP server that agrees to everything and never sends a packet; gives its address."""
    with serve(MuteRtsp) as port:
        yield f"rtsp://127.0.0.1:{port}/live"


@contextmanager
def greedy_server(path: Path) -> Iterator[str]:
    """Sends a file over HTTP, without saying how long it is, as fast as it is taken, and then waits."""

    class Flood(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n")
            self.wfile.write(path.read_bytes())
            self.server.stop.wait()  # type: ignore[attr-defined]

    with serve(Flood) as port:
        yield f"http://127.0.0.1:{port}/stream.ts"
