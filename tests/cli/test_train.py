"""`stream-detect train`: what it refuses, and what it says when it is interrupted."""

import signal
import subprocess
import time

import pytest

from tests.cli.program import PROGRAM, run
from tests.training.made import write_people


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "nothing to train on"),
        (["none.csv"], 3, "no such manifest"),
        (["--real", "nowhere"], 3, "no such folder"),
        (["--rounds", "0", "none.csv"], 2, "rounds"),
    ],
)
def test_wrong_use_gets_one_line(arguments, code, words, tmp_path):
    done = run("train", *arguments, "--out", tmp_path / "weights", "--run", tmp_path / "run")
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert words in done.stderr


def test_an_interrupted_training_says_how_to_go_on(tmp_path):
    write_people(tmp_path / "real", 40)
    command = [
        PROGRAM,
        "train",
        "--rounds",
        "50",
        "--real",
        tmp_path / "real",
        "--out",
        tmp_path / "w",
        "--run",
        tmp_path / "run",
    ]
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) as program:
        until_s = time.monotonic() + 90
        while not list(tmp_path.glob("run/scenes/*.json")) and time.monotonic() < until_s:
            time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        errors = program.communicate(timeout=60)[1]
    assert program.returncode == 130
    assert errors == f"stream-detect: interrupted; run again with the same --run {tmp_path / 'run'} to go on\n"
