"""`stream-detect evaluate`: a report with the same numbers as `score`, and what it refuses."""

import json

import pytest
from PIL import Image

from tests import clips
from tests.cli.program import json_lines, run


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage")
    rows = ["path,label,generator,identity"]
    for number in range(6):
        name, label = f"{number}.png", ("real", "fake")[number % 2]
        Image.fromarray(clips.portrait(480, 640, 150 + 10 * number)).save(folder / name)
        rows.append(f"{name},{label},{'none' if label == 'real' else 'paint'},person {number}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder / "manifest.csv"


def test_the_report_has_the_numbers_of_score(manifest, weights_folder, tmp_path):
    done = run("evaluate", manifest, "--out", tmp_path / "report", "--draws", 20, "--weights", weights_folder)
    assert done.returncode == 0, done.stderr
    assert "AUC, all files" in done.stdout
    assert "6 of 6 files scored" in done.stdout
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (report["files"], report["scored"], report["failed"]) == (6, 6, [])
    scored = json_lines(run("score", manifest.parent, "--jsonl", "-", "--weights", weights_folder).stdout)
    evaluated = json_lines((tmp_path / "report" / "scores.jsonl").read_text())
    by_name = {line["path"].rsplit("/", 1)[-1]: line["fake_probability"] for line in scored}
    assert {line["path"]: line["fake_probability"] for line in evaluated} == by_name


def test_a_file_that_can_not_be_read_is_listed(manifest, weights_folder, tmp_path):
    listed = manifest.with_name("longer.csv")
    listed.write_text(manifest.read_text() + "\nnone.png,real,none,nobody\n")
    done = run("evaluate", listed, "--out", tmp_path / "report", "--draws", 10, "--weights", weights_folder)
    assert done.returncode == 3
    assert "none.png" in done.stderr


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (None, 3, "no such manifest"),
        ("path\na.png\n", 2, "column label missing"),
        ("path,label\na.png,forged\n", 2, "expected real or fake"),
        ("path,label\n", 2, "no rows"),
    ],
)
def test_a_wrong_manifest_gets_one_line(tmp_path, text, code, words):
    path = tmp_path / "manifest.csv"
    if text is not None:
        path.write_text(text)
    done = run("evaluate", path)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert words in done.stderr


def test_two_ways_of_encoding_are_one_too_many(manifest):
    done = run("evaluate", manifest, "--alike", "--controlled")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "expected one of them" in done.stderr
