"""`demo` and `demo --control` with the shipped weights, as a user runs them."""

import re

import pytest

from tests.cli.program import json_lines, no_traceback, run


@pytest.mark.timeout(900)  # a clip is made, and watched in real time; tests share the machine
def test_the_forged_face_is_alerted_and_the_real_one_is_not(tmp_path):
    done = run("demo", "--out", tmp_path / "out", "--jsonl", "-", timeout_s=800)
    assert done.returncode == 0, done.stderr
    lines = json_lines(done.stdout)
    (first, *_) = [line for line in lines if line["type"] == "alert" and line["event"] == "raised"]
    seen_before = [line["pts_s"] for line in lines[: lines.index(first)] if line["type"] == "frame"]
    assert 12 <= seen_before[-1] < 24
    assert re.search(r"the alert came \d+\.\d s later", done.stderr)
    for expert in ("spectrum", "residual", "color", "mesonet", "attention"):
        assert expert in done.stderr
    assert (tmp_path / "out" / "demo.png").stat().st_size > 50_000
    assert (tmp_path / "out" / "demo.mp4").stat().st_size > 500_000
    assert no_traceback(done.stderr)


@pytest.mark.timeout(1200)
def test_the_control_raises_no_alert(tmp_path):
    done = run("demo", "--control", "--out", tmp_path, "--jsonl", tmp_path / "control.jsonl", timeout_s=1100)
    assert done.returncode == 0, done.stderr
    lines = json_lines((tmp_path / "control.jsonl").read_text())
    assert not [line for line in lines if line["type"] == "alert"]
    assert max(line["pts_s"] for line in lines if line["type"] == "frame") > 55
    assert "no alert in 60 s" in done.stdout
    assert (tmp_path / "control.png").exists()


def test_untrained_weights_behave_wrongly_and_it_is_said(weights_folder, tmp_path):
    done = run("demo", "--weights", weights_folder, "--out", tmp_path, "--seconds", "4", timeout_s=280)
    assert done.returncode == 70
    assert "the demo did not behave as it should: no alert was raised" in done.stderr


def test_a_place_that_can_not_be_written_is_one_line(weights_folder, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("demo", "--out", tmp_path / "file" / "out", "--weights", weights_folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "--out" in done.stderr
