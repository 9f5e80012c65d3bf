"""HTTP servers on the loopback interface: a folder (HLS, plain files) and a camera that sends MJPEG."""

import io
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image


class Quiet(ThreadingHTTPServer):
    """Says nothing when a client leaves in the middle."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        return


class Folder(SimpleHTTPRequestHandler):
    """Serves files and keeps its log to itself."""

    def log_message(self, format: str, *args: object) -> None:
        return


@contextmanager
def serve(handler: Callable[..., socketserver.BaseRequestHandler]) -> Iterator[str]:
    """Run an HTTP server in a thread; gives its address, without a slash at the end."""
    with Quiet(("127.0.0.1", 0), handler) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="http server")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def serve_folder(folder: Path) -> AbstractContextManager[str]:
    """Serve the files of a folder; gives the address of the folder."""
    return serve(partial(Folder, directory=str(folder)))


def jpeg(rgb: np.ndarray) -> bytes:
    """The bytes of a JPEG file."""
    kept = io.BytesIO()
    Image.fromarray(rgb).save(kept, "JPEG", quality=90)
    return kept.getvalue()


@contextmanager
def mjpeg_server(frames: Sequence[np.ndarray], *, fps: float = 25.0, num: int | None = None) -> Iterator[str]:
    """A camera that sends JPEG pictures as multipart, in a loop, `num` of them (None: for ever); gives its address."""
    pictures = [jpeg(frame) for frame in frames]
    stop = threading.Event()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            sent, due_s = 0, time.monotonic()
            while not stop.is_set() and (num is None or sent < num):
                picture = pictures[sent % len(pictures)]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")
                sent, due_s = sent + 1, due_s + 1 / fps
                stop.wait(max(0.0, due_s - time.monotonic()))

        def log_message(self, format: str, *args: object) -> None:
            return

    with serve(Camera) as address:
        try:
            yield f"{address}/video.mjpg"
        finally:
            stop.set()
