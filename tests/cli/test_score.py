"""`stream-detect score` on good and bad files: a line each, none lost, no traceback."""

import numpy as np
import pytest
from PIL import Image

from tests import clips
from tests.cli.program import json_lines, no_traceback, run
from tests.cli.schema import check_line


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Files that can be scored, odd ones among them."""
    folder = tmp_path_factory.mktemp("good")
    face = clips.portrait(480, 640, 200)
    (folder / "deep" / "er").mkdir(parents=True)
    Image.fromarray(face).save(folder / "deep" / "er" / "face.png")
    Image.fromarray(face).convert("L").save(folder / "grey.jpg")
    Image.fromarray(face).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(face[:, :, 1].astype(np.uint16) * 257).save(folder / "sixteen.png")
    still = Image.fromarray(face).quantize(64)
    still.save(folder / "animated.gif", save_all=True, append_images=[still.rotate(90)])
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    clips.write_clip(folder / "clip.mp4", clips.talking_head(10))
    clips.write_clip(folder / "nobody.webm", clips.scenery(10), codec="vp9")
    (folder / "notes.txt").write_text("not a medium")
    return folder


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Files that can't be scored."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.mp4").write_text("once upon a time")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.jpg").write_text("once upon a time")
    whole = clips.write_clip(folder / "whole.mp4", clips.talking_head(10)).read_bytes()
    (folder / "whole.mp4").unlink()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    return folder


def test_a_folder_gets_a_line_for_every_file(good, weights_folder):
    done = run("score", good, "--jsonl", "-", "--weights", weights_folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line["path"].removeprefix(f"{good}/"): line for line in json_lines(done.stdout)}
    for line in lines.values():
        check_line(line)
    faces = {"deep/er/face.png", "grey.jpg", "cmyk.jpg", "sixteen.png", "animated.gif", "clip.mp4"}
    assert set(lines) == faces | {"one.png", "nobody.webm"}
    assert all(lines[name]["judged"] >= 1 for name in faces)
    assert lines["one.png"]["reasons"] == lines["nobody.webm"]["reasons"] == ["no_face"]
    assert (lines["clip.mp4"]["kind"], lines["clip.mp4"]["frames"]) == ("video", 10)


def test_bad_files_are_named_and_the_others_are_done(good, bad, weights_folder, tmp_path):
    out = tmp_path / "scores.jsonl"
    asked = [bad, good / "clip.mp4", tmp_path / "none.mp4"]
    done = run("score", *asked, "--jsonl", out, "--weights", weights_folder)
    assert (done.returncode, done.stdout) == (3, "")
    assert [line["path"] for line in json_lines(out.read_text(encoding="utf-8"))] == [str(good / "clip.mp4")]
    errors = done.stderr.splitlines()
    for name in ("text.mp4", "empty.mp4", "text.jpg", "cut.mp4", "huge.png", "none.mp4"):
        assert sum(name in line for line in errors) == 1, (name, done.stderr)
    assert len(errors) == 7
    assert "6 could not be scored" in errors[-1]
    assert no_traceback(done.stderr)


def test_the_same_numbers_as_in_python(good, weights_folder):
    from stream_detect import Detector

    done = run("score", good / "clip.mp4", "--weights", weights_folder)
    detector = Detector(device="cpu", weights=weights_folder)
    assert json_lines(done.stdout) == [detector.score(good / "clip.mp4").to_json()]


@pytest.mark.parametrize(("arguments", "code", "words"), [([], 2, "PATH"), (["none.jpg"], 3, "no such file or folder")])
def test_nothing_to_score_gets_one_line(arguments, code, words):
    done = run("score", *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert words in done.stderr


def test_an_empty_folder_gets_one_line(tmp_path):
    done = run("score", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert "no picture and no video" in done.stderr


def test_a_place_that_can_not_be_written_is_told_before_anything_starts(good, tmp_path):
    done = run("score", good, "--jsonl", tmp_path / "no" / "scores.jsonl")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "choose another path" in done.stderr


def test_words_for_a_person():
    from stream_detect.alerts.console import in_words
    from stream_detect.types import Score

    score = Score("a.mp4", "video", 0.93, "fake", (), 1, 120, 40, {})
    assert str(in_words(score)) == "a.mp4  fake 0.93  video, 1 face, 40 of 120 frames judged"
