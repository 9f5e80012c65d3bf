"""The server: on this machine alone, gone when it is closed."""

import http.client
import socket
import threading
import time

import psutil
import pytest

from stream_detect.errors import UsageError
from tests.web.asking import ask


def test_it_listens_on_loopback_alone(port):
    listening = [each.laddr for each in psutil.Process().net_connections() if each.status == "LISTEN"]
    assert ("127.0.0.1", port) in listening
    assert {address.ip for address in listening if address.port == port} == {"127.0.0.1"}


def test_a_taken_port_is_said(played, port):
    with pytest.raises(UsageError, match=rf"port {port} of 127.0.0.1 can't be had \(.+\); choose another one"):
        from_port(played, port)


@pytest.mark.parametrize("number", [-1, 70_000])
def test_a_port_that_is_none_is_said(played, number):
    with pytest.raises(UsageError, match=f"port {number} .*choose another one"):
        from_port(played, number)


def from_port(played, number):
    from stream_detect.web import serving

    return serving(number, list, metrics=played.metrics)


def test_closing_leaves_no_thread_and_no_socket(played):
    fds, threads = psutil.Process().num_fds(), threading.active_count()
    server = played.served()
    assert ask(server.port, "/metrics").status == 200
    server.close()
    server.close()
    assert not refuses_not(server.port)
    until_s = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < until_s:
        time.sleep(0.01)  # threads that answered a request end on their own, right afterwards
    assert psutil.Process().num_fds() <= fds
    assert threading.active_count() <= threads


def refuses_not(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_closes_soon_though_clients_keep_their_connections(played):
    server = played.served()
    kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    kept.request("GET", "/healthz")
    kept.getresponse().read()
    silent = socket.create_connection(("127.0.0.1", server.port))
    begun_s = time.monotonic()
    server.close()
    assert time.monotonic() - begun_s < 1.8  # a clean stop of the whole has 2 s
    kept.close()
    silent.close()


def test_one_client_that_says_nothing_holds_up_no_other(port):
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        assert ask(port, "/healthz").status == 200


def test_requests_in_many_threads_edit_one_after_the_other(played, port):
    def add(number: int) -> None:
        assert ask(port, "/feeds", "POST", {"url": "rtsp://yard", "name": f"yard{number}"}).status == 201

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(played.file.tables) == 13
