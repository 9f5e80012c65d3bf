"""What a service manager is told of a run: it is ready, it goes round, it stops."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_detect.service import Manager, informing, manager_of_environment
from stream_detect.web.app import HANGS_S

PROGRAM = Path(sys.executable).with_name("stream-detect")
READY, SIGN, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"
PATIENCE_S = 60.0


class Listener:
    """A service manager's end of its socket."""

    def __init__(self, inbox: socket.socket, address: str) -> None:
        self.inbox = inbox
        self.address = address

    def hear(self, timeout_s: float = 5.0) -> str:
        self.inbox.settimeout(timeout_s)
        return self.inbox.recv(4096).decode()

    def heard(self) -> list[str]:
        """Everything that has come until now."""
        said: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                said.append(self.hear(0.0))
        return said


@pytest.fixture(params=["path", "name"])
def listener(request: pytest.FixtureRequest) -> Iterator[Listener]:
    """One that listens at a file, and one that listens at a name without a file."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        is_path = request.param == "path"
        address = f"{folder}/notify" if is_path else f"@stream-detect-test{folder}"
        inbox.bind(address if is_path else "\0" + address[1:])
        yield Listener(inbox, address)


def goes_round() -> float:
    return 0.1


def hangs() -> float:
    return HANGS_S + 1


def test_a_run_is_ready_then_alive_then_stops(listener: Listener):
    with informing(Manager(listener.address, watchdog_s=0.03), goes_round):
        assert [listener.hear() for _ in range(4)] == [READY, SIGN, SIGN, SIGN]
    assert listener.heard()[-1] == STOPPING


def test_a_loop_that_hangs_gives_no_sign(listener: Listener):
    with informing(Manager(listener.address, watchdog_s=0.03), hangs):
        time.sleep(0.3)
    assert listener.heard() == [READY, STOPPING]


def test_a_loop_that_goes_on_again_gives_signs_again(listener: Listener):
    idle_s = [HANGS_S + 1]
    with informing(Manager(listener.address, watchdog_s=0.03), lambda: idle_s[0]):
        assert listener.hear() == READY
        time.sleep(0.1)
        assert listener.heard() == []
        idle_s[0] = 0.0
        assert listener.hear() == SIGN


def test_no_sign_is_given_where_none_is_asked_for(listener: Listener):
    with informing(Manager(listener.address), goes_round):
        time.sleep(0.1)
    assert listener.heard() == [READY, STOPPING]


def test_a_run_that_breaks_says_that_it_stops(listener: Listener):
    with (
        pytest.raises(ZeroDivisionError),
        informing(Manager(listener.address), goes_round),
    ):
        raise ZeroDivisionError
    assert listener.heard() == [READY, STOPPING]


def test_nothing_happens_without_a_manager():
    with informing(None, hangs):
        pass


def test_a_manager_that_has_gone_does_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with informing(Manager(str(tmp_path / "none"), watchdog_s=0.03), goes_round):
        time.sleep(0.1)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [READY in told[0], STOPPING in told[1]] == [True, True]
    assert len(told) == 2  # and not one for every sign of life


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of the protocol as they are set here; those of the machine are put back."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_environment_names_the_manager_and_then_does_not(environment: pytest.MonkeyPatch):
    environment.setenv("NOTIFY_SOCKET", "/run/notify")
    environment.setenv("WATCHDOG_USEC", "30000000")
    environment.setenv("WATCHDOG_PID", str(os.getpid()))
    assert manager_of_environment() == Manager("/run/notify", watchdog_s=30.0)
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
    assert manager_of_environment() is None


@pytest.mark.parametrize(("usec", "pid"), [("30000000", "1"), ("", ""), ("0", ""), ("soon", "")])
def test_a_watchdog_of_somebody_else_or_none_asks_for_nothing(environment: pytest.MonkeyPatch, usec: str, pid: str):
    environment.setenv("NOTIFY_SOCKET", "@notify")
    environment.setenv("WATCHDOG_USEC", usec)
    environment.setenv("WATCHDOG_PID", pid)
    assert manager_of_environment() == Manager("@notify")


@pytest.mark.parametrize("address", ["", "vsock:2:9999", "notify"])
def test_an_address_that_is_no_socket_of_this_machine_is_nobody(environment: pytest.MonkeyPatch, address: str):
    environment.setenv("NOTIFY_SOCKET", address)
    assert manager_of_environment() is None


def test_the_program_tells_its_manager(listener: Listener):
    told = {**os.environ, "NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "300000"}
    with subprocess.Popen([PROGRAM, "watch", "synthetic"], env=told, stdout=subprocess.DEVNULL) as program:
        try:
            assert listener.hear(PATIENCE_S) == READY
            assert [listener.hear() for _ in range(5)] == [SIGN] * 5
            program.send_signal(signal.SIGTERM)
            assert program.wait(PATIENCE_S) == 0
        finally:
            program.kill()
    assert listener.heard()[-1] == STOPPING
