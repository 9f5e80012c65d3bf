"""`stream-detect watch` on files and made-up sources, as a person runs it."""

import json
import signal
import subprocess
import time

import pytest

from tests import clips
from tests.cli.program import PROGRAM, Running, json_lines, no_traceback, run
from tests.cli.schema import check_line


def test_stdout_holds_json_lines_alone(face_clip, weights_folder):
    done = run("watch", face_clip, "--jsonl", "-", "--weights", weights_folder)
    assert done.returncode == 0
    lines = json_lines(done.stdout)
    for line in lines:
        check_line(line)
    assert [line["type"] for line in lines].count("frame") == 10
    assert (lines[-1]["type"], lines[-1]["state"], lines[-1]["analysed"]) == ("status", "ended", 10)
    assert "10 frames, 10 analysed" in done.stderr


def test_a_person_reads_plain_lines_and_a_file_gets_the_json(face_clip, weights_folder, tmp_path):
    path = tmp_path / "lines.jsonl"
    for _ in range(2):
        done = run("watch", face_clip, "--jsonl", path, "--weights", weights_folder, "--experts", "color")
        assert done.returncode == 0
    assert "face.mp4  ended: the end" in done.stdout
    assert "10 frames, 10 analysed" in done.stdout
    lines = json_lines(path.read_text(encoding="utf-8"))
    assert len({line["run"] for line in lines}) == 2
    assert {frozenset(face["experts"]) for line in lines for face in line.get("faces", [])} == {frozenset({"color"})}


def test_the_light_profile_uses_its_experts_unless_others_are_named(face_clip, weights_folder):
    for options, experts in (([], {"residual", "color", "attention"}), (["--experts", "color"], {"color"})):
        done = run("watch", face_clip, "--jsonl", "-", "--weights", weights_folder, "--profile", "light", *options)
        lines = json_lines(done.stdout)
        assert {frozenset(face["experts"]) for line in lines for face in line.get("faces", [])} == {frozenset(experts)}
        assert lines[-1]["dropped"]["profile"] == 10 - lines[-1]["analysed"] > 0


def test_the_reader_of_stdout_may_leave(face_clip, weights_folder):
    command = f"{PROGRAM} watch {face_clip} --jsonl - --weights {weights_folder} | head -n 3"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert len(json_lines(done.stdout)) == 3
    assert done.returncode == 0, done.stderr
    assert no_traceback(done.stderr)
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_a_summary(number, weights_folder):
    with Running("watch", "synthetic", "--jsonl", "-", "--weights", weights_folder) as program:
        program.wait_for(lambda line: line["type"] == "frame")
        started_s = time.monotonic()
        assert program.stop(number) == 0
        assert time.monotonic() - started_s < 5
        last = program.lines[-1]
    assert (last["type"], last["state"], last["reason"]) == ("status", "ended", "stopped")
    assert last["frames"] == last["analysed"] + sum(last["dropped"].values())
    assert "analysed" in program.errors
    assert no_traceback(program.errors)


def test_the_duration_ends_a_run(weights_folder):
    done = run("watch", "synthetic", "--duration", "1", "--jsonl", "-", "--weights", weights_folder)
    assert done.returncode == 0
    assert json_lines(done.stdout)[-1]["reason"] == "stopped after 1 s"


def test_an_alert_is_an_exit_code_where_that_is_asked_for(tmp_path, weights_folder):
    """With untrained weights any face is near 0.5: a rule that wants no more than that raises at once."""
    clip = clips.write_clip(tmp_path / "clip.mp4", clips.talking_head(30))
    config = tmp_path / "watch.toml"
    eager = "[decision]\ndrift = -2.9\nraise_at = 0.01\nclear_below = 0.001\n"
    config.write_text(f"{eager}[[feed]]\nname = 'door'\nurl = '{clip}'\n")
    done = run("watch", "--config", config, "--fail-on-alert", "--jsonl", "-", "--weights", weights_folder)
    assert done.returncode == 10
    alerts = [line for line in json_lines(done.stdout) if line["type"] == "alert"]
    for alert in alerts:
        check_line(alert)
    assert (alerts[0]["event"], alerts[0]["source"], alerts[-1]["event"]) == ("raised", "door", "cleared")
    assert "ALERT raised  door" in done.stderr
    assert run("watch", "--config", config, "--weights", weights_folder).returncode == 0


def test_of_several_sources_the_others_are_done(tmp_path, face_clip, weights_folder):
    text = tmp_path / "text.mp4"
    text.write_text("once upon a time")
    sources = [text, face_clip, tmp_path / "none.mp4", "gopher://a/b"]
    done = run("watch", *sources, "--jsonl", "-", "--weights", weights_folder)
    assert done.returncode == 3
    last = {line["source"]: line for line in json_lines(done.stdout) if line["type"] == "status"}
    assert {name: line["state"] for name, line in last.items()} == {
        "text.mp4": "failed",
        "face.mp4": "ended",
        "none.mp4": "failed",
    }
    assert last["face.mp4"]["analysed"] == 10
    assert "gopher://a/b: unknown scheme" in done.stderr
    assert "3 of the sources could not be read" in done.stderr
    assert no_traceback(done.stderr)


def bad_runs(tmp_path):
    """What is asked for, what code that exits with, and what its one line says."""
    wrong_key = tmp_path / "key.toml"
    wrong_key.write_text("[watch]\nduration = 3\n")
    wrong_toml = tmp_path / "wrong.toml"
    wrong_toml.write_text("[watch\n")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "heads.json").write_text("{}")
    return {
        "no source": ([], 2, "nothing to watch"),
        "unknown option": (["synthetic", "--evidenz", "x"], 2, "No such option"),
        "not a number": (["synthetic", "--duration", "long"], 2, "a valid number"),
        "no duration": (["synthetic", "--duration", "-3"], 2, "duration_s must be more than 0"),
        "unwritable lines": (["synthetic", "--jsonl", tmp_path / "no" / "lines"], 2, "its folder does not exist"),
        "unknown key": (["--config", wrong_key], 2, "did you mean 'duration_s'"),
        "broken file": (["--config", wrong_toml], 2, "not a TOML file"),
        "no file": (["--config", tmp_path / "none.toml"], 3, "no such configuration file"),
        "unknown scheme": (["gopher://a/b"], 3, "unknown scheme"),
        "unknown device": (["synthetic", "--device", "tpu"], 2, "unknown device"),
        "no such weights": (["synthetic", "--weights", tmp_path / "none"], 4, "expected a folder of weights"),
        "bad weights": (["synthetic", "--weights", damaged], 4, "expected the format"),
        "no threads": (["synthetic", "--threads", "0"], 2, "threads"),
    }


def test_wrong_use_gets_one_line_and_the_right_code(tmp_path, weights_folder):
    for what, (arguments, code, words) in bad_runs(tmp_path).items():
        weights = [] if "--weights" in arguments else ["--weights", weights_folder]
        done = run("watch", *arguments, *weights)
        assert (what, done.returncode, len(done.stderr.splitlines())) == (what, code, 1), done.stderr
        assert words in done.stderr, what
        assert done.stdout == ""


def test_a_fault_of_ours_is_one_line_and_seventy(monkeypatch, capsys):
    from stream_detect.cli.app import exit_code_of

    def fail():
        raise KeyError("boxes")

    monkeypatch.delenv("STREAM_DETECT_DEBUG", raising=False)
    assert exit_code_of(fail) == 70
    assert "STREAM_DETECT_DEBUG=1" in capsys.readouterr().err
    monkeypatch.setenv("STREAM_DETECT_DEBUG", "1")
    with pytest.raises(KeyError):
        exit_code_of(fail)


def test_a_password_stays_secret(weights_folder):
    url = "rtsp://admin:hunter22@127.0.0.1:9/live"
    done = run("watch", url, "--retries", "0", "--jsonl", "-", "--weights", weights_folder)
    assert done.returncode == 3
    assert "hunter22" not in done.stdout + done.stderr
    assert "nobody listens there" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["state"] == "failed"
