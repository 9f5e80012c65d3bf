"""How a run of `watch` ends: at once when it is told to, and without losing a line when it is killed."""

import json
import random
import re
import signal
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest

from tests.cli.program import PROGRAM, no_traceback
from tests.servers import free_port, silent_server

ANALYSED = re.compile(r'stream_detect_analysed_total\{feed="synthetic"\} (\d+)')
ENDS_WITHIN_S = 2.0


def test_sigterm_ends_a_run_soon_whatever_its_feeds_do(tmp_path, weights_folder):
    path, port = tmp_path / "lines.jsonl", free_port()
    with silent_server() as silent:
        dead = [
            f"rtsp://127.0.0.1:{silent}/hangs",
            f"http://127.0.0.1:{silent}/hangs.mjpg",
            "rtsp://127.0.0.1:9/refused",
        ]
        options = ["--jsonl", path, "--metrics-port", port, "--weights", weights_folder]
        with watching("synthetic", *dead, *options) as program:
            counted(port, 1)
            started_s = time.monotonic()
            program.send_signal(signal.SIGTERM)
            assert program.wait(30) == 0
            assert time.monotonic() - started_s < ENDS_WITHIN_S
            assert no_traceback(program.stderr.read())
    last = {line["source"]: line for line in map(json.loads, path.read_text().splitlines())}
    assert len(last) == 4
    assert {line["state"] for line in last.values()} == {"ended"}
    of_synthetic = last["synthetic"]
    assert of_synthetic["frames"] == of_synthetic["analysed"] + sum(of_synthetic["dropped"].values())


@pytest.mark.parametrize("seed", range(4))
def test_sigkill_loses_no_line_that_was_counted(seed, tmp_path, weights_folder):
    path, port = tmp_path / "lines.jsonl", free_port()
    options = ["--jsonl", path, "--metrics-port", port, "--weights", weights_folder]
    with watching("synthetic", *options) as program:
        counted(port, 1)
        time.sleep(random.Random(seed).uniform(0.0, 0.3))
        number = counted(port, 1)
        program.kill()
        program.wait()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum(line["type"] == "frame" for line in lines) >= number


@contextmanager
def watching(*arguments):
    command = [str(PROGRAM), "watch", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def counted(port, least, patience_s=60.0):
    """How many frames the metrics say were judged, once it is at least so many."""
    until_s = time.monotonic() + patience_s
    while time.monotonic() < until_s:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                found = ANALYSED.search(answer.read().decode())
        except OSError:
            found = None
        if found and int(found[1]) >= least:
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(f"not {least} frames were judged within {patience_s} s")
