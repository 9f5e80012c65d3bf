"""Help: fast, complete, with an example for every command."""

import subprocess
import time

import pytest

from tests.cli.program import PROGRAM, run

COMMANDS = ["demo", "watch", "score", "evaluate", "train", "calibrate", "bench", "doctor"]


def test_help_comes_at_once():
    best_s = min(timed_help() for _ in range(3))
    assert best_s < 1.5  # 0.35 s on an idle machine; tests share theirs


def timed_help():
    started_s = time.perf_counter()
    assert run("--help").returncode == 0
    return time.perf_counter() - started_s


def test_help_imports_nothing_heavy():
    python = str(PROGRAM).replace("stream-detect", "python")
    code = (
        "import sys\nfrom stream_detect.cli import main\ntry:\n    main(['--help'])\nfinally:\n    print(*sys.modules)"
    )
    modules = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "cv2", "numpy", "scipy", "onnxruntime"} & set(modules)


def test_the_version_is_said():
    assert run("--version").stdout.startswith("stream-detect 0.")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    done = run(command, "--help", COLUMNS="200")
    assert done.returncode == 0
    assert f"stream-detect {command}" in done.stdout
    assert "Example" in done.stdout


def test_no_command_gets_the_help():
    done = run()
    assert done.returncode == 2
    assert "watch" in done.stdout + done.stderr
