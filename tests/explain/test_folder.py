"""Names of explanations: predictable, unique, and never over another file's picture."""

import sys

import pytest
from PIL import Image

from stream_detect.errors import OutputError, UsageError
from stream_detect.explain.folder import ExplanationFolder, is_free, subject_of
from tests.explain import made


def of(path: str):
    from dataclasses import replace

    nothing = made.nothing_found()
    return replace(nothing, score=replace(nothing.score, path=path))


def test_a_picture_is_named_after_its_file(tmp_path):
    assert ExplanationFolder(tmp_path / "new" / "folder").take(of("in/clip.mp4")) == "clip.explained.png"
    assert (tmp_path / "new" / "folder" / "clip.explained.png").is_file()


def test_files_with_the_same_stem_get_numbers(tmp_path):
    folder = ExplanationFolder(tmp_path)
    names = [folder.take(of(path)) for path in ("a/clip.mp4", "b/clip.mp4", "a/Clip.jpg", "a/clip-2.png")]
    assert names == ["clip.explained.png", "clip-2.explained.png", "Clip-3.explained.png", "clip-2-2.explained.png"]


def test_a_later_run_replaces_the_explanation_of_the_same_file_only(tmp_path):
    paths = ["a/clip.mp4", "b/clip.mp4"]
    first = ExplanationFolder(tmp_path)
    assert [first.take(of(path)) for path in paths] == ["clip.explained.png", "clip-2.explained.png"]
    assert ExplanationFolder(tmp_path).take(of("b/clip.mp4")) == "clip-2.explained.png"
    assert ExplanationFolder(tmp_path).take(of("c/clip.mp4")) == "clip-3.explained.png"
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_no_explanation_stays(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.explained.png")
    (tmp_path / "a-2.explained.png").write_text("notes")
    assert ExplanationFolder(tmp_path).take(of("a.jpg")) == "a-3.explained.png"
    assert (tmp_path / "a-2.explained.png").read_text() == "notes"
    assert not is_free(tmp_path / "a.explained.png", subject_of("a.jpg"))


def test_an_arrays_explanation_has_a_name_too(tmp_path):
    assert ExplanationFolder(tmp_path).take(of("")) == "picture.explained.png"


def test_a_place_that_can_not_be_written_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder with --explain"):
        ExplanationFolder(tmp_path / "file")
    with pytest.raises(OutputError, match="choose another folder with --explain"):
        ExplanationFolder(tmp_path / "file" / "below")


def test_without_matplotlib_nothing_is_begun(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"explanations need matplotlib: pip install 'stream-detect\[explain\]'"):
        ExplanationFolder(tmp_path / "new")
    assert not (tmp_path / "new").exists()
