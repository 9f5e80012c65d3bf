"""The examples run as they stand, on made media."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests import clips
from tests.weights_for_tests import write_random_weights

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_random_weights(tmp_path_factory.mktemp("weights") / "random")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "face.png"
    Image.fromarray(clips.portrait(480, 640, 200)).save(path)
    return path


def run_example(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_watching(face_clip, weights):
    said = run_example("watch_rtsp.py", face_clip, "--weights", weights).splitlines()
    assert said[0].startswith("face.mp4 is connecting")
    assert said[-1].startswith("face.mp4 is ended")


def test_scoring(face_clip, picture, weights, tmp_path):
    said = run_example("score_file.py", face_clip, picture, tmp_path / "none.mp4", "--weights", weights)
    assert "no such file" in said
    assert said.count("mesonet:") == 2


def test_one_picture(picture, weights):
    assert run_example("one_picture.py", picture, "--weights", weights).startswith("1 faces in")


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"watch_rtsp.py", "score_file.py", "one_picture.py"}
