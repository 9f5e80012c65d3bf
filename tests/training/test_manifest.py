"""Manifests and folders: what is read, and what is said of those that can't be meant."""

import pytest

from stream_detect.errors import ConfigError, SourceNotFound
from stream_detect.training.manifest import items_in_folders, read_manifest


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "manifest.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_paths_are_relative_to_the_manifest(tmp_path):
    first, second = read_manifest(
        written(
            tmp_path,
            "path,label,generator,source,identity\nsub/a.mp4,real,,calls,Ann\nb.jpg,Fake ,stylegan,,\n",
        )
    )
    assert (first.path, first.is_fake, first.kind) == (tmp_path / "sub" / "a.mp4", False, "video")
    assert (first.generator, first.source, first.group) == ("none", "calls", "Ann")
    assert (second.is_fake, second.kind, second.generator, second.group) == (True, "image", "stylegan", "b.jpg")


def test_a_spreadsheet_may_have_written_it(tmp_path):
    (item,) = read_manifest(written(tmp_path, "path,label\r\na.png,real\r\n", "utf-8-sig"))
    assert item.path == tmp_path / "a.png"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,kind\na.png,image\n", "column label missing"),
        ("a.png,real\n", "column label and path missing"),
        ("", "column label and path missing"),
        ("path,label\na.png,forged\n", r"manifest.csv:2: label 'forged', expected real or fake"),
        ("path,label\na.png\n", r"manifest.csv:2: label None"),
        ("path,label\na.png,real\n,fake\n", r"manifest.csv:3: no path"),
        ("label,path\nreal\n", r"manifest.csv:2: no path"),
        ("path,label,kind\na.png,real,clip\n", r"manifest.csv:2: kind 'clip', expected image or video"),
        ("path,label\n", "no rows"),
    ],
)
def test_a_manifest_that_can_not_be_meant_fails(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        read_manifest(written(tmp_path, text))


def test_a_picture_is_no_manifest(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(ConfigError, match="expected a CSV in UTF-8"):
        read_manifest(path)


def test_a_manifest_that_is_not_there_fails(tmp_path):
    with pytest.raises(SourceNotFound, match="no such manifest"):
        read_manifest(tmp_path / "none.csv")


def test_folders_hold_pictures_clips_and_people(tmp_path):
    for name in ("real/a.JPG", "real/b.mp4", "real/ann/1.png", "real/ann/2.png", "real/notes.txt", "fake/c.webm"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    items = items_in_folders([tmp_path / "real"], [tmp_path / "fake"])
    assert {item.path.name: (item.kind, item.is_fake, item.source, item.group) for item in items} == {
        "a.JPG": ("image", False, "real", "a.JPG"),
        "1.png": ("image", False, "real", "ann"),
        "2.png": ("image", False, "real", "ann"),
        "b.mp4": ("video", False, "real", "b.mp4"),
        "c.webm": ("video", True, "fake", "c.webm"),
    }


def test_folders_without_footage_fail(tmp_path):
    with pytest.raises(SourceNotFound, match="nothing to look at"):
        items_in_folders([tmp_path])
    with pytest.raises(SourceNotFound, match="no such folder"):
        items_in_folders([tmp_path / "none"])
