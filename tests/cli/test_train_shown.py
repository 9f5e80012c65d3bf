"""`stream-detect train --show-forgeries`: a picture of what would be forged, and nothing else."""

import pytest
from PIL import Image

from tests.cli.program import run
from tests.training.made import write_people


def test_forgeries_of_ones_own_footage_are_drawn(tmp_path):
    write_people(tmp_path / "real", 3)
    done = run(
        "train", "--real", tmp_path / "real", "--show-forgeries", tmp_path / "out.png", "--run", tmp_path / "run"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path / "out.png") in done.stdout
    with Image.open(tmp_path / "out.png") as sheet:
        assert sheet.height > sheet.width / 3
    assert not (tmp_path / "run").exists()


def test_without_footage_the_demos_face_is_forged(tmp_path):
    pytest.importorskip("skimage")
    done = run("train", "--show-forgeries", tmp_path / "out.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--show-forgeries", "none/out.png"], 2, "no such folder to write"),
        (["none.csv", "--show-forgeries", "out.png"], 3, "no such manifest"),
        (["--real", "nowhere", "--show-forgeries", "out.png"], 3, "no such folder"),
    ],
)
def test_wrong_use_gets_one_line(arguments, code, words):
    done = run("train", *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert words in done.stderr
