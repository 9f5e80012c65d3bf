"""`stream-detect score --explain`: a picture a file, named in its line."""

import pytest
from PIL import Image

from tests import clips
from tests.cli.program import json_lines, no_traceback, run


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    Image.fromarray(clips.portrait()).save(folder / "face.png")
    clips.write_clip(folder / "face.mp4", clips.talking_head(6))
    (folder / "broken.jpg").write_text("once upon a time")
    return folder


def test_every_file_that_can_be_read_gets_a_picture(media, tmp_path, weights_folder):
    done = run("score", media, "--explain", tmp_path / "out", "--weights", weights_folder)
    assert done.returncode == 3
    assert no_traceback(done.stderr)
    named = {line["path"].removeprefix(f"{media}/"): line["explanation"] for line in json_lines(done.stdout)}
    assert named == {"face.mp4": "face.explained.png", "face.png": "face-2.explained.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(named.values())


def test_pictures_in_the_folder_of_the_media_are_not_scored_later(media, weights_folder):
    for _ in range(2):
        done = run("score", media, "--explain", media, "--weights", weights_folder)
        assert len(json_lines(done.stdout)) == 2
    assert len(list(media.glob("*.explained.png"))) == 2


def test_without_the_option_lines_have_no_such_key(media, weights_folder):
    done = run("score", media / "face.png", "--weights", weights_folder)
    assert "explanation" not in json_lines(done.stdout)[0]


def test_a_folder_that_can_not_be_written_is_told_before_anything_starts(media):
    done = run("score", media, "--explain", media / "face.png")
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (2, 1, "")
    assert "choose another folder with --explain" in done.stderr
