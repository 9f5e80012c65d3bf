"""The fault proxy itself: each fault is what it says, and over when it is over."""

import socket
import socketserver
import time
from collections.abc import Iterator

import pytest

from tests.servers import strange
from tests.servers.proxy import FAULTS, FaultProxy


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes."""

    def handle(self) -> None:
        while came := self.request.recv(65536):
            self.request.sendall(came)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with strange.serve(Echo) as port, FaultProxy(port) as proxy:
        yield proxy


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 0.5)


def heard(client: socket.socket, said: bytes = b"hello") -> bytes:
    client.sendall(said)
    return client.recv(65536)


def test_without_a_fault_bytes_pass(proxy: FaultProxy):
    much = bytes(range(256)) * 20_000
    with connect(proxy) as client:
        assert heard(client) == b"hello"
        client.settimeout(10)
        came = bytearray()
        for start in range(0, len(much), 65536):
            client.sendall(much[start : start + 65536])
            while len(came) < min(start + 65536, len(much)):
                came += client.recv(65536)
        assert came == much


@pytest.mark.parametrize("fault", FAULTS)
def test_after_a_fault_bytes_pass_again(proxy: FaultProxy, fault: str):
    with connect(proxy) as before:
        assert heard(before) == b"hello"
        proxy.suffer(fault)
        proxy.heal()
        with connect(proxy) as after:
            assert heard(after) == b"hello"


def test_refused(proxy: FaultProxy):
    with connect(proxy) as before:
        heard(before)
        proxy.suffer("refused")
        with pytest.raises(ConnectionResetError):
            before.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)


@pytest.mark.parametrize("fault", ["silent", "hang"])
def test_accepted_and_never_answered(proxy: FaultProxy, fault: str):
    proxy.suffer(fault)
    with connect(proxy) as client, pytest.raises(TimeoutError):
        heard(client)


def test_an_open_connection_hangs_while_new_ones_are_served(proxy: FaultProxy):
    with connect(proxy) as before:
        heard(before)
        proxy.suffer("hang_session")
        with pytest.raises(TimeoutError):
            heard(before)
        with connect(proxy) as after:
            assert heard(after) == b"hello"


def test_a_reset_and_an_end(proxy: FaultProxy):
    with connect(proxy) as client:
        heard(client)
        proxy.suffer("reset")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connect(proxy) as client:
        heard(client)
        proxy.suffer("end")
        assert client.recv(1) == b""
    proxy.suffer("cut")
    with connect(proxy) as client:
        assert client.recv(1) == b""


def test_garbage(proxy: FaultProxy):
    with connect(proxy) as client:
        proxy.suffer("garbage")
        came = heard(client, b"hello, are you there?")
        assert len(came) == 21
        assert came != b"hello, are you there?"


def test_a_trickle(proxy: FaultProxy):
    with connect(proxy) as client:
        proxy.suffer("trickle")
        started_s, came = time.monotonic(), heard(client, bytes(60))
        while len(came) < 60:
            came += client.recv(100)
        assert 0.15 < time.monotonic() - started_s < 3


def test_a_black_hole(proxy: FaultProxy):
    proxy.suffer("black_hole")
    with pytest.raises(TimeoutError):
        connect(proxy)


def test_close_twice(proxy: FaultProxy):
    with connect(proxy):
        proxy.close()
        proxy.close()
    assert not proxy.num_open
