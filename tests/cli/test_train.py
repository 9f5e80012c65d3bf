"""`stream-detect train`: it adapts weights to footage; what it refuses, and what it says when it is interrupted."""

import signal
import subprocess
import time
from functools import partial

import pytest

from stream_detect.weights import random_weights, save_weights
from tests.cli.program import PROGRAM, no_traceback, run
from tests.training.made import write_people


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "weights"
    save_weights(random_weights(), folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "nothing to train on"),
        (["none.csv"], 3, "no such manifest"),
        (["none.csv", "--real", "nowhere"], 2, "expected one of them, got both"),
        (["--real", "nowhere"], 2, "no such folder"),
        (["--fake", "nowhere"], 2, "only forged footage was given"),
        (["--rounds", "0", "none.csv"], 2, "rounds"),
    ],
)
def test_wrong_use_gets_one_line(arguments, code, words, tmp_path):
    done = run("train", *arguments, "--out", tmp_path / "weights", "--run", tmp_path / "run")
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert words in done.stderr


def test_missing_weights_are_told_as_such(tmp_path):
    real = write_people(tmp_path / "real", 1)
    done = run(
        "train", "--real", real, "--weights", tmp_path / "none", "--out", tmp_path / "w", "--run", tmp_path / "r"
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1), done.stderr
    assert "expected a folder of weights" in done.stderr


def test_weights_are_adapted_to_real_footage_alone(base, tmp_path):
    real = write_people(tmp_path / "real", 8)
    (real / "broken.jpg").write_text("once upon a time")
    out = tmp_path / "w"
    done = run(
        *("train", "--real", real, "--weights", base, "--out", out, "--run", tmp_path / "run"),
        *("--faces", "12", "--jobs", "1"),
    )
    assert done.returncode == 0, done.stderr
    assert "| AUC |" in done.stdout
    assert f"--weights {out}" in done.stdout
    assert "broken.jpg" in done.stderr
    assert no_traceback(done.stderr)
    assert (out / "ADAPTED.md").is_file()
    assert run("score", real / "person00.png", "--weights", out).returncode == 0


def test_an_interrupted_training_says_how_to_go_on(base, tmp_path):
    write_people(tmp_path / "real", 40)
    command = [PROGRAM, "train", "--real", tmp_path / "real", "--weights", base]
    command += ["--out", tmp_path / "w", "--run", tmp_path / "run"]
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests that run in the background ignore it
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True, preexec_fn=listen) as program:
        until_s = time.monotonic() + 90
        while not list(tmp_path.glob("run/scenes/*.json")) and time.monotonic() < until_s:
            time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        errors = program.communicate(timeout=60)[1]
    assert program.returncode == 130
    assert errors == f"stream-detect: interrupted; run again with the same --run {tmp_path / 'run'} to go on\n"
