"""Free ports and waiting for somebody to listen on one."""

import socket
import time


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_listening(port: int, timeout_s: float = 15.0) -> None:
    """Return when somebody accepts connections on a loopback port."""
    until_s = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            assert time.monotonic() < until_s, f"nobody listened on port {port} within {timeout_s} s"
            time.sleep(0.05)
        else:
            return
