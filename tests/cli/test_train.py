"""`stream-detect train`: what it refuses."""

import pytest

from tests.cli.program import run


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
