"""`stream-detect calibrate`: limits for one's own cameras, what it prints and what it refuses."""

from dataclasses import replace

import pytest

from stream_detect.weights import load_weights, random_weights, save_weights
from tests.cli.program import no_traceback, run
from tests.training.made import write_people


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "weights"
    save_weights(replace(random_weights(), thresholds={"fake": 0.5, "real": 0.1}), folder)
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("real"), 8)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "name either folders of real footage"),
        (["--real", "nowhere", "--feed", "synthetic"], 2, "name either folders of real footage"),
        (["--feed", "nowhere.mp4", "--minutes", "0.1"], 3, "nowhere.mp4"),
        (["--real", "nowhere"], 2, "no such folder"),
        (["--real", "nowhere", "--false-positive-rate", "0.5"], 2, "must lie between 0 and 0.5"),
        (["--real", "nowhere", "--false-positive-rate", "0"], 2, "must lie between 0 and 0.5"),
        (["--real", "nowhere", "--false-positive-rate", "few"], 2, "false-positive-rate"),
    ],
)
def test_wrong_use_gets_one_line(arguments, code, words, tmp_path):
    done = run("calibrate", *arguments, "--out", tmp_path / "w")
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert words in done.stderr


def test_missing_weights_are_told_as_such(real, tmp_path):
    done = run("calibrate", "--real", real, "--weights", tmp_path / "none", "--out", tmp_path / "w")
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1), done.stderr


def test_too_little_footage_is_refused(base, real, tmp_path):
    done = run("calibrate", "--real", real, "--weights", base, "--out", tmp_path / "w")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "needs 300 or more that can be judged, got 8" in done.stderr


def test_the_base_is_never_replaced(base, real):
    done = run("calibrate", "--real", real, "--weights", base, "--out", base)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "name another --out" in done.stderr


def test_limits_move_and_both_are_printed(base, real, tmp_path):
    out = tmp_path / "w"
    done = run("calibrate", "--real", real, "--weights", base, "--out", out, "--false-positive-rate", "0.4")
    assert done.returncode == 0, done.stderr
    assert no_traceback(done.stderr)
    assert "| real faces called fake |" in done.stdout
    assert f"--weights {out}" in done.stdout
    assert load_weights(out).operating["calibrated_rate"] == 0.4
