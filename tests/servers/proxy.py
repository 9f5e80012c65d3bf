"""A TCP proxy in front of a real server that suffers every fault of a network on command, and recovers from it."""

import errno
import random
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final

from tests.servers.ports import free_port
from tests.servers.rtp import Interleaved, Tamper

# What becomes of open connections, and of new ones, until `heal`:
FAULTS: Final = (
    "refused",  # reset; nobody listens
    "silent",  # reset; accepted and never answered
    "hang",  # open and silent; accepted and never answered
    "hang_session",  # open and silent; served as ever
    "reset",  # reset; served as ever
    "end",  # ended with a goodbye (FIN); served as ever
    "cut",  # ended with a goodbye (FIN); each of the new ones as well, at once
    "garbage",  # random bytes in place of the server's; the same
    "trickle",  # `trickle_bytes_s` of the server's bytes a second; the same
    "black_hole",  # open and silent; not even accepted: who connects hears nothing
)
CHUNK = 65536
TICK_S = 0.1
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close throws away what is left and resets


class Link:
    """One connection through the proxy: bytes read from one end wait in `pending` until the other takes them."""

    def __init__(self, client: socket.socket, server: socket.socket | None) -> None:
        self.client = client
        self.server = server
        self.is_dead = server is None  # nothing passes any more, whatever becomes of the proxy
        self.rtsp: Interleaved | None = None
        self.pending: dict[socket.socket, bytearray] = {client: bytearray()}
        if server is not None:
            self.pending[server] = bytearray()
        for end in self.pending:
            end.setblocking(False)

    def other(self, end: socket.socket) -> socket.socket | None:
        return self.server if end is self.client else self.client


class FaultProxy:
    """Passes TCP connections to `port` of the loopback interface on to `target`, or does what the fault says.

        with RtspServer() as server, FaultProxy(server.port) as proxy:
            open_source(proxy.url(server.url))
            proxy.suffer("hang")
            ...
            proxy.heal()

    `suffer` and `heal` return when it is so. One thread serves all connections. `accepted_s` are the moments, on the
    monotonic clock, at which connections came; `passed` counts the server's bytes that went through.

    Where `is_rtsp`, each RTP packet goes through `tamper` and each SDP through `describe`, as they are at that moment.
    """

    def __init__(
        self,
        target: int,
        *,
        port: int | None = None,
        trickle_bytes_s: int = 200,
        seed: int = 0,
        is_rtsp: bool = False,
    ) -> None:
        self.target = target
        self.port = port or free_port()
        self.trickle_bytes_s = trickle_bytes_s
        self.fault = ""
        self.passed = 0
        self.is_rtsp = is_rtsp
        self.tamper: Tamper = as_it_is
        self.describe: Callable[[str], str] = str
        self.accepted_s: deque[float] = deque(maxlen=100_000)
        self._dice = random.Random(seed)
        self._links: list[Link] = []
        self._listener: socket.socket | None = None
        self._crowd: list[socket.socket] = []  # fills the queue of a listener that accepts nobody
        self._commands: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._alarm, self._bell = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=f"proxy {self.port}", daemon=True)

    def url(self, address: str) -> str:
        """The address of the server, through the proxy."""
        return address.replace(f":{self.target}/", f":{self.port}/")

    @property
    def num_open(self) -> int:
        """How many connections are open at this moment."""
        return len(self._links)

    def suffer(self, fault: str) -> None:
        """Start one of `FAULTS`, instead of the one before."""
        assert fault in FAULTS, f"{fault!r} is none of {', '.join(FAULTS)}"
        self._command(lambda: self._start(fault))

    def heal(self) -> None:
        """Serve as ever. Connections that were hanging or fed garbage are reset."""
        self._command(lambda: self._start(""))

    def start(self) -> "FaultProxy":
        self._listen()
        self._bell.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread.start()
        return self

    def close(self) -> None:
        if self._thread.is_alive():
            self._command(self._stop)
            self._thread.join()

    def __enter__(self) -> "FaultProxy":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _command(self, command: Callable[[], None]) -> None:
        done = threading.Event()
        self._commands.append((command, done))
        self._alarm.send(b"!")
        assert done.wait(10.0), "the proxy does not answer"

    def _run(self) -> None:
        while not self._is_closing:
            self._watch_ends()
            for key, events in self._selector.select(TICK_S if self.fault == "trickle" else None):
                self._serve(key, events)
            if self.fault == "trickle":
                self._trickle()
        self._selector.close()
        self._alarm.close()
        self._bell.close()

    def _serve(self, key: selectors.SelectorKey, events: int) -> None:
        if key.fileobj is self._bell:
            self._bell.recv(CHUNK)
            while self._commands:
                command, done = self._commands.popleft()
                command()
                done.set()
        elif key.fileobj is self._listener:
            self._accept()
        elif key.data in self._links:
            self._pump(key.data, key.fileobj, events)  # type: ignore[arg-type]

    def _start(self, fault: str) -> None:
        before, self.fault = self.fault, fault
        if fault in ("refused", "silent", "reset") or (not fault and before not in ("trickle", "reset", "end")):
            self._drop_links(how=RESET)
        if fault in ("end", "cut"):
            self._drop_links()
        if fault in ("hang", "hang_session", "black_hole"):
            for link in self._links:
                link.is_dead = True
        self._close_listener()
        if fault == "black_hole":
            self._listen(backlog=0)
            self._crowd_out()
        elif fault != "refused":
            self._listen()

    def _stop(self) -> None:
        self._is_closing = True
        self._drop_links(how=RESET)
        self._close_listener()

    def _listen(self, backlog: int = 128) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(backlog)
        listener.setblocking(False)
        self._listener = listener
        if backlog:
            self._selector.register(listener, selectors.EVENT_READ)

    def _close_listener(self) -> None:
        for one in (*self._crowd, *filter(None, [self._listener])):
            if one in self._selector.get_map():
                self._selector.unregister(one)
            one.close()
        self._crowd, self._listener = [], None

    def _crowd_out(self) -> None:
        """Fill the listener's queue, so that the kernel drops what else comes."""
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
            self._crowd.append(one)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self.accepted_s.append(time.monotonic())
        if self.fault == "cut":
            client.close()
            return
        server = None
        if self.fault not in ("silent", "hang"):
            server = socket.socket()
            server.setblocking(False)  # one that is stopped, with its queue full, must not hold up who comes later
            if server.connect_ex(("127.0.0.1", self.target)) not in (0, errno.EINPROGRESS):
                server.close()
                _close(client, RESET)
                return
        self._links.append(link := Link(client, server))
        if self.is_rtsp:
            link.rtsp = Interleaved(lambda packet: self.tamper(packet), lambda sdp: self.describe(sdp))

    def _drop_links(self, how: bytes | None = None) -> None:
        for link in list(self._links):
            self._drop(link, how)

    def _drop(self, link: Link, how: bytes | None = None) -> None:
        self._links.remove(link)
        for end in link.pending:
            if end in self._selector.get_map():
                self._selector.unregister(end)
            _close(end, how if end is link.client else None)

    def _watch_ends(self) -> None:
        """Ask the selector for what each end is to do next."""
        for link in self._links:
            for end, pending in link.pending.items():
                other = link.other(end)
                is_slow = self.fault == "trickle" and end is link.server
                wants = 0
                if not link.is_dead and not is_slow and other is not None and not link.pending[other]:
                    wants |= selectors.EVENT_READ
                if link.is_dead and end is link.client:
                    wants |= selectors.EVENT_READ  # to see it leave
                if pending:
                    wants |= selectors.EVENT_WRITE
                self._ask_for(end, wants, link)

    def _ask_for(self, end: socket.socket, wants: int, link: Link) -> None:
        key = self._selector.get_map().get(end)
        if key is None and wants:
            self._selector.register(end, wants, link)
        elif key is not None and not wants:
            self._selector.unregister(end)
        elif key is not None and key.events != wants:
            self._selector.modify(end, wants, link)

    def _pump(self, link: Link, end: socket.socket, events: int) -> None:
        if events & selectors.EVENT_READ:
            self._read(link, end, CHUNK)
        if events & selectors.EVENT_WRITE and link in self._links:
            self._write(link, end)

    def _read(self, link: Link, end: socket.socket, limit: int) -> None:
        try:
            came = end.recv(limit)
        except BlockingIOError:
            return
        except OSError:
            self._drop(link, RESET if end is link.server else None)  # nobody listens there, or it was reset
            return
        if not came:
            self._drop(link)
            return
        other = link.other(end)
        if link.is_dead or other is None:
            return
        if end is link.server:
            self.passed += len(came)
            came = link.rtsp(came) if link.rtsp is not None else came
            came = self._dice.randbytes(len(came)) if self.fault == "garbage" else came
        link.pending[other] += came
        self._write(link, other)

    def _write(self, link: Link, end: socket.socket) -> None:
        pending = link.pending[end]
        try:
            del pending[: end.send(pending)]
        except BlockingIOError:
            return
        except OSError:
            self._drop(link)

    def _trickle(self) -> None:
        for link in list(self._links):
            if link.server is not None and not link.is_dead and not link.pending[link.client]:
                self._read(link, link.server, max(1, int(self.trickle_bytes_s * TICK_S)))


def as_it_is(packet: bytes) -> bytes | None:
    return packet


def _close(end: socket.socket, how: bytes | None) -> None:
    if how is not None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)
    end.close()
