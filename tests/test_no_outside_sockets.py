"""No connection is opened, and nothing listens, but to the sources asked for and on the loopback interface."""

import ipaddress
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.requirements import require_program
from tests.servers import RtspServer
from tests.servers.ports import free_port

PROGRAM = Path(sys.executable).with_name("stream-detect")
CALL = re.compile(r"\b(connect|bind|sendto|sendmsg|sendmmsg)\(")
PLACE = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
PATIENCE_S = 90.0
TELLING_S = 5.0  # what libraries tell their makers they tell within


@pytest.mark.services
def test_every_socket_stays_on_this_machine(tmp_path: Path):
    """The kernel's own account of a whole run: the program, its decoding processes, its server and its libraries."""
    strace, port, calls, home = require_program("strace"), free_port(), tmp_path / "calls", tmp_path / "home"
    home.mkdir()
    with RtspServer() as server:
        feeds = tmp_path / "feeds.toml"
        feeds.write_text(f'[[feed]]\nname = "cam"\nurl = "{server.url}"\n')
        options = ["--config", str(feeds), "--metrics-port", str(port)]
        tracing = [strace, "-f", "-qq", "-e", "trace=connect,bind,sendto,sendmsg,sendmmsg", "-o", str(calls)]
        command = [*tracing, str(PROGRAM), "watch", *options, "--jsonl", str(tmp_path / "lines")]
        alone = {"PATH": os.environ["PATH"], "HOME": str(home)}  # libraries that tell their makers don't in CI's
        run = subprocess.Popen(command, env=alone)
        try:
            wait_for_metrics(port)
            time.sleep(TELLING_S)
        finally:
            for program in psutil.Process(run.pid).children():  # strace itself takes no signal meanwhile
                program.terminate()
            run.wait(PATIENCE_S)
    said = calls.read_text(errors="replace")
    places = places_in(said)
    assert {str(place) for place in places} == {"127.0.0.1"}, sorted(map(str, places))
    assert f"htons({port})" in said
    assert f"htons({server.port})" in said
    assert not list(home.iterdir())  # such as a number by which one of them knows this machine again


def wait_for_metrics(port: int) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                if re.search(rb'stream_detect_analysed_total\{feed="cam"\} [1-9]', answer.read()):
                    return
        except OSError:
            pass
        time.sleep(0.3)
    raise AssertionError("no frame was judged in time")


def places_in(calls: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Every address of the internet's kind that a call names."""
    named = (PLACE.findall(line) for line in calls.splitlines() if CALL.search(line))
    return {ipaddress.ip_address(four or six) for found in named for four, six in found}


def test_addresses_are_seen_in_what_the_kernel_tells():
    calls = (
        '7 connect(5, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8")}, 16) = 0\n'
        "7 connect(5, {sa_family=AF_INET6, sin6_port=htons(1), sin6_flowinfo=htonl(0), "
        'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 ENETUNREACH\n'
        '7 bind(6, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("0.0.0.0")}, 16) = 0\n'
    )
    assert {str(place) for place in places_in(calls)} == {"8.8.8.8", "2001:db8::1", "0.0.0.0"}
