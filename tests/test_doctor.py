"""What the doctor finds, advises and exits with."""

import json
import shutil
from pathlib import Path

import pytest

from stream_detect import doctor
from stream_detect.doctor import Check, diagnose, exit_code
from tests.cli.program import run
from tests.weights_for_tests import weights_folder

__all__ = ["weights_folder"]
CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"


def named(checks, name):
    return next(check for check in checks if check.name == name)


def test_the_tested_versions_are_those_of_constraints():
    pins = dict(line.split("==") for line in CONSTRAINTS.read_text().split())
    assert {name: pins[name] for name in doctor.TESTED} == doctor.TESTED


def test_this_installation_works(weights_folder):
    checks = diagnose(weights_folder)
    assert [check for check in checks if check.state == "broken"] == []
    assert exit_code(checks) == 0
    assert "h264" in named(checks, "video").found
    assert all(check.advice for check in checks if check.state == "note")


def test_missing_weights_exit_with_4(tmp_path):
    checks = diagnose(tmp_path)
    assert named(checks, "weights").state == "broken"
    assert exit_code(checks) == 4


@pytest.mark.parametrize(
    ("broken", "code"), [([], 0), (["weights"], 4), (["face detector"], 4), (["weights", "torch"], 70), (["av"], 70)]
)
def test_exit_codes(broken, code):
    checks = [Check("python", "ok", ""), Check("display", "note", "", "x"), *(Check(b, "broken", "") for b in broken)]
    assert exit_code(checks) == code


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda name: None if name == "av" else doctor.TESTED[name])
    check = named(doctor.check_packages(), "av")
    assert (check.state, check.found) == ("broken", "not installed")
    assert check.advice.startswith("pip install 'av")
    assert "18.1" in check.advice


def test_another_version_is_a_note_and_a_local_build_is_not(monkeypatch):
    versions = {**doctor.TESTED, "torch": "2.13.0+cpu", "timm": "1.0.99"}
    monkeypatch.setattr(doctor, "version_of", versions.get)
    assert [check.name for check in doctor.check_packages() if check.state != "ok"] == ["timm"]


def test_a_check_that_dies_is_broken():
    def dies():
        raise AttributeError("half a library")
        yield

    (check,) = doctor.looked_at("torch", dies)
    assert (check.name, check.state) == ("torch", "broken")
    assert "half a library" in check.found


def test_a_machine_without_a_driver_hears_of_no_parts_of_a_gpu(monkeypatch):
    from stream_detect.cuda import health

    monkeypatch.setattr(health, "asked_driver", lambda: (None, 0))
    assert list(doctor.check_gpu_parts()) == []


def test_no_display_points_to_the_overlay(monkeypatch):
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert "--overlay" in named(doctor.check_display(), "display").advice


def test_weights_without_graphs_are_a_note(weights_folder, tmp_path):
    folder = shutil.copytree(weights_folder, tmp_path / "old")
    index = json.loads((folder / "heads.json").read_text())
    index["files"] = {name: digest for name, digest in index["files"].items() if not name.endswith(".onnx")}
    (folder / "heads.json").write_text(json.dumps(index | {"version": 2}))
    check = named(doctor.check_weights(folder), "weights")
    assert (check.state, "every start takes seconds longer" in check.found) == ("note", True)
    assert named(doctor.check_weights(weights_folder), "weights").state == "ok"


def test_the_command_gives_json(tmp_path):
    done = run("doctor", "--json", "--weights", tmp_path)
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["type"]) == (4, False, "doctor")
    assert {"name", "state", "found", "advice"} == set(told["checks"][0])


def test_the_command_gives_a_table(weights_folder):
    done = run("doctor", "--weights", weights_folder, COLUMNS="160")
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout
